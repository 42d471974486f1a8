"""The API with faults: like ``Api``, but it refuses, changes, delays and loses answers as ``Faults`` says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from math import ceil
from random import Random
from threading import Lock
from typing import Any, cast

from attrs import Factory, evolve, field, frozen

from vsbatch_core.adapters.faults import NO_FAULTS, During, Faults, NoAnswer, RateLimited, TimedOut
from vsbatch_core.adapters.http import Api, Request, Response, segments
from vsbatch_core.errors import FileNotFound, VsbatchError

Told = Callable[[str, Request], object]
"""Called with the name of a fault that acted, and the request that it met."""

MINUTE = 60.0
SERVER_ERROR = VsbatchError("The server had an error while processing your request. Sorry about that!")


@frozen
class Answer:
    """What becomes of one request.

    * ``response``: what is answered; ``None`` if nothing comes back, and then ``lost`` says why.
    * ``seconds``: of virtual time, until it is.
    * ``served``: whether the engine got the request.
    * ``faults``: the names of the faults that acted.
    * ``number``: the request's own, from 1.
    """

    response: Response | None
    lost: NoAnswer | None
    seconds: float
    served: bool
    faults: tuple[str, ...]
    number: int


class Recent:
    """Things that were made less than some seconds ago; each call is O(1) for each that was made, in the end."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._times: dict[Any, float] = {}

    def __len__(self) -> int:
        return len(self._times)

    def add(self, thing: Any, at: float) -> None:
        """It was made now, or anew."""
        self._forget(at)
        self._times.pop(thing, None)
        self._times[thing] = at

    def holds(self, thing: Any, now: float) -> bool:
        """Whether it was made less than so many seconds ago."""
        self._forget(now)
        return thing in self._times

    def _forget(self, now: float) -> None:
        times = self._times
        while times and now - times[oldest := next(iter(times))] >= self.seconds:
            del times[oldest]


class State:
    """What the face remembers between requests."""

    def __init__(self, faults: Faults) -> None:
        self.requests = 0
        self._counting = Lock()
        self.met: Counter[str] = Counter()
        self.writes: defaultdict[str, deque[float]] = defaultdict(deque)
        self.changed = Recent(faults.first_list_seconds)
        """By store and batch, and by store and nothing, when files were attached there."""
        self.attached = Recent(faults.read_after_write_seconds)
        """By store and file."""
        self.released: set[str] = set()
        """The batches that were cancelled, and are shown as they are from then on."""

    def count(self) -> int:
        """Count a request; return its number.  Any thread may call it."""
        with self._counting:
            self.requests += 1
            return self.requests

    def use(self, faults: Faults) -> None:
        """Remember for as long as these faults say."""
        self.changed.seconds = faults.first_list_seconds
        self.attached.seconds = faults.read_after_write_seconds


class _Call:
    """A request, and what was found in its path."""

    __slots__ = ("faults", "ids", "kind", "now", "number", "request")

    def __init__(self, request: Request, number: int, now: float) -> None:
        found = segments(request.path, errors="replace")
        self.request = request
        self.number = number
        self.now = now
        self.kind = (request.method, *found[::2], len(found))
        self.ids = found[1::2]
        self.faults: dict[str, None] = {}


_CREATE_STORE = ("POST", "vector_stores", 1)
_CREATE_FILE = ("POST", "vector_stores", "files", 3)
_CREATE_BATCH = ("POST", "vector_stores", "file_batches", 3)
_CANCEL = ("POST", "vector_stores", "file_batches", "cancel", 5)
_GET_FILE = ("GET", "vector_stores", "files", 4)
_GET_BATCH = ("GET", "vector_stores", "file_batches", 4)
_LISTS = (("GET", "vector_stores", "files", 3), ("GET", "vector_stores", "file_batches", "files", 5))
_FILES = (_CREATE_FILE, _GET_FILE, ("POST", "vector_stores", "files", 4), *_LISTS)
"""The requests that are answered with files."""


def _waiting(api: FaultyApi) -> Callable[[str, str], bool]:
    """Without a simulation that knows, a file is picked up when a worker claims it."""
    view = api.engine.view

    def waits(vector_store_id: str, file_id: str) -> bool:
        return view.claim(vector_store_id, view.attachments(vector_store_id, file_id)[-1]) is None

    return waits


@frozen(kw_only=True)
class FaultyApi(Api):
    """An ``Api`` with faults; what takes an ``Api`` takes it.

    * ``faults`` and ``seed``: which there are, and what chance comes from.
    * ``waits(vector_store_id, file_id)``: whether a file in progress still waits to be picked up; without it, one
      that no worker holds.
    * ``told``: called with the name of each fault that acts, and the request.
    * ``start``: the time on the engine's clock that windows of time are counted from, by default the present.
    * ``state``: what is remembered of earlier requests; ``evolve(api, faults=…)`` goes on with it.

    Raise ``ValueError`` if answers are to be slow and there is no virtual clock: neither a ``driver``, nor one of
    the engine's.
    """

    faults: Faults = NO_FAULTS
    seed: int = 0
    waits: Callable[[str, str], bool] | None = None
    told: Told = field(default=lambda _name, _request: None)
    start: float = field(default=Factory(lambda self: self.engine.clock.time(), takes_self=True), eq=False)
    state: State = field(default=Factory(lambda self: State(self.faults), takes_self=True), eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.state.use(self.faults)
        if self.faults.slow is not False and not self._can_wait():
            raise ValueError(
                "Faults(slow=…) takes virtual time, and this engine's clock has none. "
                "Write Engine(clock=VirtualClock())."
            )

    def _can_wait(self) -> bool:
        return hasattr(self.driver or self.engine.clock, "advance")

    def dispatch(self, request: Request) -> Response:
        """Answer one request, or raise ``NoAnswer``; time passes before a slow answer.  Else as ``Api``."""
        answer = self.answer(request)
        if answer.seconds:
            mover: Any = self.driver or self.engine.clock
            mover.advance(answer.seconds)
        if answer.response is None:
            raise cast("NoAnswer", answer.lost)
        return answer.response

    def only_reads(self, request: Request) -> bool:  # noqa: ARG002 - every request is counted
        """See ``Api``: no request can be dispatched twice."""
        return False

    def answer(self, request: Request) -> Answer:
        """What becomes of one request; the seconds that its answer takes have not passed yet."""
        state = self.state
        # The engine's own lock: with one of its own, a subscriber that asks could wait for whom waits for it.
        with self.engine.view.hold():
            call = _Call(request, state.count(), self.engine.clock.time())
            response = self.refuse_unread(request) or self._before(call)
            served = response is None
            if response is None:
                response = super().dispatch(request)
                if response.status == 200:
                    self._remember(call, response)
                    response = self._after(call, response)
            seconds, lost = self._on_the_way(call)
            state.met.update(call.faults.keys())
        for name in call.faults:
            self.told(name, request)
        return Answer(None if lost else response, lost, seconds, served, tuple(call.faults), call.number)

    # When

    def _acts(self, name: str, call: _Call, *about: str) -> bool:
        """Whether the fault acts on this request; ``about`` is what is drawn for, if it is not the request."""
        when = getattr(self.faults, name)
        if isinstance(when, During):
            if not when.since <= call.now - self.start < when.until:
                return False
            when = when.when
        if isinstance(when, bool):
            return when
        if isinstance(when, (int, float)):
            drawn_for = " ".join(about) if about else str(call.number)
            return Random(f"{self.seed} {name} {drawn_for}").random() < when
        if callable(when):
            return bool(when(call.request))
        return call.number in when or not {*call.ids, *about}.isdisjoint(when)

    # Before

    def _before(self, call: _Call) -> Response | None:
        faults, state = self.faults, self.state
        if call.kind in (_CREATE_FILE, _CREATE_BATCH):
            wait = self._until_there_is_room(call)
            if wait and self._acts("rate_limit", call):
                call.faults["rate_limit"] = None
                limited = RateLimited(call.ids[0], faults.writes_per_minute, ceil(wait))
                return self.refuse(limited)
        elif call.kind in _LISTS:
            what = (call.ids[0], call.ids[1] if len(call.ids) > 1 else "")
            recent = state.changed.holds(what, call.now)
            if recent and self._acts("first_list", call, *what):
                call.faults["first_list"] = None
                return self.refuse(SERVER_ERROR)
        elif call.kind == _GET_FILE:
            file = (call.ids[0], call.ids[1])
            recent = state.attached.holds(file, call.now)
            if recent and self._acts("read_after_write", call, *file):
                call.faults["read_after_write"] = None
                return self.refuse(FileNotFound(file[1], file[0]))
        return None

    def _until_there_is_room(self, call: _Call) -> float:
        if call.ids[0] not in self.state.writes:
            return 0.0
        writes = self.state.writes[call.ids[0]]
        while writes and call.now - writes[0] >= MINUTE:
            writes.popleft()
        if not writes:
            del self.state.writes[call.ids[0]]
        too_many = len(writes) - self.faults.writes_per_minute
        return writes[too_many] + MINUTE - call.now if too_many >= 0 else 0.0

    # After

    def _remember(self, call: _Call, response: Response) -> None:
        faults, state, now = self.faults, self.state, call.now
        if call.kind == _CANCEL:
            state.released.add(call.ids[1])
        if call.kind not in (_CREATE_STORE, _CREATE_FILE, _CREATE_BATCH):
            return
        store = call.ids[0] if call.ids else ""
        if store and faults.rate_limit is not False:
            state.writes[store].append(now)
        if faults.first_list is False and faults.read_after_write is False:
            return
        made = json.loads(response.body)
        store = store or made["id"]
        state.changed.add((store, ""), now)
        if call.kind == _CREATE_BATCH:
            state.changed.add((store, made["id"]), now)
        asked = json.loads(call.request.body or b"{}")
        ids = asked.get("file_ids") or [file["file_id"] for file in asked.get("files") or ()]
        for id in ids or ([asked["file_id"]] if "file_id" in asked else ()):
            state.attached.add((store, id), now)

    def _after(self, call: _Call, response: Response) -> Response:
        if call.kind in (_CREATE_BATCH, _GET_BATCH, _CANCEL):
            return self._batch(call, response)
        if call.kind in _FILES and self.faults.created_at_zero is not False:
            return self._files(call, response)
        return response

    def _batch(self, call: _Call, response: Response) -> Response:
        headers, data = response.headers, json.loads(response.body)
        if call.kind == _GET_BATCH:
            counts = data["file_counts"]
            begun = {**dict.fromkeys(counts, 0), "in_progress": counts["total"], "total": counts["total"]}
            if (
                data["id"] not in self.state.released
                and counts != begun
                and self._acts("stuck", call, data["id"])
            ):
                call.faults["stuck"] = None
                data |= {"status": "in_progress", "file_counts": begun}
                if not any(name == "openai-poll-after-ms" for name, _ in headers):
                    headers += (("openai-poll-after-ms", str(self._poll(call.request))),)
        if data["object"] != "vector_store.file_batch" and self._acts("file_batch", call):
            call.faults["file_batch"] = None
            data["object"] = "vector_store.file_batch"
        if call.kind == _GET_BATCH and self._acts("answers_store", call):
            call.faults["answers_store"] = None
            path = call.request.path.rstrip("/").rsplit("/", 2)[0]
            return evolve(super().dispatch(evolve(call.request, path=path)), headers=headers)
        return evolve(response, headers=headers, body=_written(data)) if call.faults else response

    def _files(self, call: _Call, response: Response) -> Response:
        data = json.loads(response.body)
        waits = self.waits or _waiting(self)
        for file in data["data"] if data["object"] == "list" else [data]:
            key = (file["vector_store_id"], file["id"])
            if file["status"] == "in_progress" and waits(*key) and self._acts("created_at_zero", call, *key):
                call.faults["created_at_zero"] = None
                file["created_at"] = 0
        return evolve(response, body=_written(data)) if call.faults else response

    # On the way

    def _on_the_way(self, call: _Call) -> tuple[float, NoAnswer | None]:
        seconds, what = 0.0, f"{call.request.method} {call.request.path}"
        if self._acts("slow", call):
            call.faults["slow"] = None
            seconds, patience = self.faults.slow_seconds, _patience(call.request)
            if patience < seconds:
                return patience, TimedOut(f"{what} was not answered within {patience:g} s")
        if self._acts("dropped", call):
            call.faults["dropped"] = None
            return seconds, NoAnswer(f"The connection was lost before {what} was answered")
        return seconds, None


def _patience(request: Request) -> float:
    """For how many seconds the client waits for an answer, if it says so: the official ones do."""
    try:
        patience = float(request.header("x-stainless-read-timeout") or "inf")
    except ValueError:
        return float("inf")
    return patience if patience >= 0 else float("inf")


def _written(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()
