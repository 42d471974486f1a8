"""What the laws see of a server: calls of the official client, each noted as a line of code."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import openai
from attrs import define, evolve, frozen

from vsbatch_core.model import ORDERS
from vsbatch_core.testing.conformance.calls import LISTS, MADE, method_of, retry_after, said, word_of, written
from vsbatch_core.testing.conformance.programs import Step, asserted, polled, program
from vsbatch_core.testing.conformance.tracing import (
    Broken,
    NotReached,
    Traced,
    Unreachable,
    code_of,
    value_of,
)

UNSURE_SECONDS = 0.3
"""How long is waited for a call that was interrupted to have its effect."""

STIR_SECONDS = 2.0
"""How long is waited, at most, for something to become of a file of a batch that is running."""

BAD_FILE = ("vsbatch-check.xyz", bytes(range(256)))
"""What is uploaded as a file that cannot be processed, unless another is given; whether it can is seen."""

_NO_PAGE = SimpleNamespace(data=[])


@frozen
class Scene:
    """A store with one batch in it, as the laws find them; ``batch`` is the answer to its creation."""

    store: Traced
    batch: Traced
    files: list[Any]
    latest: Traced
    """The batch as it was seen last."""
    trace: Trace
    """The calls that made it."""


@define
class Patience:
    """How long is waited, on the probe's own clock: seconds."""

    deadline: float
    """When to give up what is being done."""
    after_end: float
    """How long the counts may lag behind the status, or the status behind the counts, once a batch ends."""


class Probe:
    """One server, through one client.

    ``uploads`` says where files come from: ``True`` uploads them, ``False`` makes ids up, ``None`` uploads if the
    server takes uploads.  ``bad_file`` is a file that the server cannot process: a name and bytes to upload, or,
    where ids are made up, an id.  ``sleep`` and ``now`` are the time that the server lives in: seconds.
    """

    def __init__(
        self,
        client: Any,
        *,
        uploads: bool | None = None,
        bad_file: tuple[str, bytes] | str | None = None,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client.with_options(max_retries=0)
        self.base_url = str(client.base_url).rstrip("/")
        self.uploads = uploads
        self.bad_file = bad_file
        self.sleep = sleep
        self.now = now
        self.patience = Patience(deadline=float("inf"), after_end=5.0)
        self.steps: list[Step] = []
        self.scenes: dict[tuple[Any, ...], Scene] = {}
        self.shared = Trace(self, 0)
        self.token = f"vsbatch-check-{secrets.token_hex(4)}"
        """What the stores are called, and the names of the uploads begin with: no other run has it."""
        self.unsure: str | None = None
        """The path of a call that makes something and was begun, but whose answer was not seen."""
        self.made: list[tuple[str, str]] = []
        """What is to be deleted in the end: what to call, and the id."""
        self._files: list[Any] = []
        self._bad: Any = None
        self._numbers = count(1)

    def number(self) -> int:
        """A number that was not used before."""
        return next(self._numbers)

    def trace(self) -> Trace:
        """A new sequence of calls."""
        return Trace(self, self.number())

    def reach(self) -> None:
        """See whether the server answers at all; raise ``Unreachable``."""
        try:
            self.client.vector_stores.list(limit=1)
        except openai.APIConnectionError as error:
            raise Unreachable(f"no answer from {self.base_url}: {error.__cause__ or error}") from error
        except openai.AuthenticationError as error:
            raise Unreachable(f"{self.base_url} refuses the API key: {said(error)}") from error
        except openai.APIStatusError:
            pass  # an answer: what it should be is for the laws to say

    def files(self, n: int) -> list[Any]:
        """The ids of ``n`` different files, always the same ones, not in ascending order."""
        while len(self._files) < n:
            i = len(self._files)
            self._files.append(self._new_file(f"file-{i // 101}{(i * 37 + 11) % 101:03d}", f"{i}.txt"))
        return self._files[:n]

    def _new_file(self, made_up: str, name: str) -> Any:
        if self.uploads is not False:
            try:
                return self.shared.upload(name, f"The text of {name}.\n".encode())
            except Broken:
                if self.uploads:
                    raise NotReached("the server did not take an upload: give --no-uploads") from None
            self.uploads = False
        return made_up

    def bad(self) -> Any:
        """The id of a file that the server cannot process; raise ``NotReached`` if none is known."""
        if self._bad is None:
            self.files(1)
            if self.uploads is not False:
                try:
                    self._bad = self.shared.upload(
                        *(self.bad_file if isinstance(self.bad_file, tuple) else BAD_FILE)
                    )
                except Broken as broken:
                    raise NotReached(f"the bad file could not be uploaded: {broken.message}") from None
            elif isinstance(self.bad_file, str):
                self._bad = self.bad_file
            else:
                raise NotReached("no file is known that the server cannot process: give --bad-file")
        return self._bad

    def clean_up(self) -> list[str]:
        """Delete all that was made, newest first; answer what could not be deleted, and why.

        What was made by a call that was interrupted is found by its name.
        """
        left = []
        if self.unsure is not None:
            self.sleep(UNSURE_SECONDS)
            left.extend(self._find(self.unsure))
        while self.made:
            path, id = self.made.pop()
            try:
                method_of(self.client, path)(id)
            except openai.NotFoundError:
                pass  # a law deleted it
            except openai.APIError as error:
                left.append(f"{id}: {error}")
        return left

    def _find(self, path: str) -> list[str]:
        """Note what is called as things of this run are, and was made by a call of this path."""
        try:
            page = method_of(self.client, path.replace(".create", ".list"))(limit=100)
        except openai.APIError as error:
            return [f"what {path} was making when it was interrupted: {error}"]
        known = {id for _, id in self.made}
        for item in page.data:
            name = str(getattr(item, "name" if path.startswith("vector") else "filename", ""))
            if name.startswith(self.token) and item.id not in known:
                self.made.append((MADE[path], item.id))
        return []


class Trace:
    """A sequence of calls, and what is required of the answers."""

    def __init__(self, probe: Probe, scene: int) -> None:
        self.probe = probe
        self.scene = scene

    # Calls

    def call(self, path: str, *args: Any, writes: bool = False, refusable: bool = False, **kwargs: Any) -> Traced:
        """Call a method; a refusal breaks the law, unless it is ``refusable``: then it is the answer."""
        variable, call = self._named(path, args, kwargs)
        try:
            value = self._answer(path, args, kwargs)
        except openai.APIStatusError as error:
            if not refusable:
                raise Broken(f"a request was refused with {error.status_code}: {said(error)}", call) from error
            value = error
        code = f"{variable} = {call}"
        if refusable:
            code = f"try:\n    {code}\nexcept openai.APIStatusError as refusal:\n    {variable} = refusal"
        self._note(code, variable, writes=writes)
        return Traced(value, variable)

    def _named(self, path: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[str, str]:
        return f"{word_of(path)}__{self.probe.number()}", written(path, args, kwargs)

    def _answer(self, path: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        probe = self.probe
        method = method_of(probe.client, path)
        while True:
            left = probe.patience.deadline - probe.now()
            if left <= 0:
                raise NotReached("the budget ran out")
            try:
                probe.unsure = path if path in MADE else None
                value = method(*map(value_of, args), **value_of(kwargs))
            except openai.RateLimitError as error:
                probe.sleep(min(left, retry_after(error)))
            except openai.APITimeoutError:
                raise NotReached(f"no answer to {path} in time") from None
            except openai.APIConnectionError as error:
                probe.reach()
                call = written(path, args, kwargs)
                raise Broken(f"the server ended the connection: {error.__cause__ or error}", call) from error
            except openai.APIStatusError:
                probe.unsure = None
                raise
            except (openai.APIError, ValueError) as error:  # ValueError: a body that is no JSON
                call = written(path, args, kwargs)
                raise Broken(f"the answer cannot be read: {error}", call) from error
            else:
                if path in MADE and isinstance(getattr(value, "id", None), str):
                    probe.made.append((MADE[path], value.id))
                probe.unsure = None
                return value

    def _note(self, code: str, variable: str, *, writes: bool) -> None:
        number = self.probe.number()
        self.probe.steps.append(Step(number, self.scene, code, writes, frozenset((variable,))))

    def sleep(self, seconds: float) -> None:
        """Let time pass, on the server too."""
        self.probe.sleep(seconds)
        self._note_sleep(seconds)

    def _note_sleep(self, seconds: float) -> None:
        self.probe.steps.append(Step(self.probe.number(), self.scene, f"time.sleep({seconds})", writes=True))

    # Requirements

    def require(self, condition: Traced, message: str) -> None:
        """Go on if the condition holds; else the law is broken."""
        if not condition:
            raise Broken(message, asserted(code_of(condition), message))

    def program(self, sentence: str, broken: Broken) -> str:
        """The shortest program known that shows it."""
        probe = self.probe
        return program(probe.base_url, sentence, broken.message, probe.steps, self.scene, broken.code)

    # What laws often do

    def upload(self, name: str, content: bytes) -> Traced:
        """Upload a file; its id."""
        own = Traced((f"{self.probe.token}-{name}", content), repr((name, content)))
        return self.call("files.create", file=own, purpose="assistants").id

    def store(self, **kwargs: Any) -> Traced:
        """A new store."""
        name = Traced(self.probe.token, repr("vsbatch check"))
        return self.call("vector_stores.create", name=name, writes=True, **kwargs)

    def create(self, store: Traced, *, refusable: bool = False, **kwargs: Any) -> Traced:
        """A new batch."""
        path = "vector_stores.file_batches.create"
        return self.call(path, store.id, writes=True, refusable=refusable, **kwargs)

    def retrieve(self, store: Traced, batch: Traced, *, writes: bool = False) -> Traced:
        """The batch as it stands; ``writes`` if what follows may depend on that it was looked at."""
        path = "vector_stores.file_batches.retrieve"
        return self.call(path, batch.id, vector_store_id=store.id, writes=writes)

    def cancel(self, store: Traced, batch: Traced, *, refusable: bool = False) -> Traced:
        """Cancel the batch."""
        path = "vector_stores.file_batches.cancel"
        return self.call(path, batch.id, vector_store_id=store.id, writes=True, refusable=refusable)

    def page(self, scene: Scene, where: str, *, refusable: bool = False, **query: Any) -> Traced:
        """A page of the batch's list, or of its store's."""
        args, kwargs = _list_of(scene, where)
        return self.call(LISTS[where], *args, refusable=refusable, **kwargs, **query)

    def walks(self, scene: Scene, where: str, limit: int, most: int, **query: Any) -> list[Traced]:
        """Walk through a list both ways at once, while the batch is running; the ids that each walk shows.

        A walk ends with an empty page, or once it has shown more than ``most``.  Raise ``NotReached`` if nothing
        became of any file meanwhile.
        """
        path = LISTS[where]
        args, kwargs = _list_of(scene, where)
        queries = [{**kwargs, "limit": limit, "order": order, **query} for order in ORDERS]
        pages = [self._page(path, args, of) for of in queries]
        seen: list[list[str]] = [[] for _ in queries]
        waits, stirred = [0.1], False
        while any(page.data for page in pages):
            wait, moved = self._stirred(scene)
            waits.append(wait)
            stirred |= moved
            for i, of in enumerate(queries):
                if pages[i].data and len(seen[i]) <= most:
                    seen[i].extend(item.id for item in pages[i].data)
                    pages[i] = self._page(path, args, {**of, "after": pages[i].data[-1].id})
                else:
                    pages[i] = _NO_PAGE
        if not stirred:
            raise NotReached("nothing became of any file while the list was walked")
        return [self._walk(path, args, of, most, max(waits), ids) for of, ids in zip(queries, seen, strict=True)]

    def _page(self, path: str, args: Sequence[Any], query: dict[str, Any]) -> Any:
        try:
            return self._answer(path, args, query)
        except openai.APIStatusError as error:
            call = written(path, args, query)
            raise Broken(f"a page was refused with {error.status_code}: {said(error)}", call) from error

    def _walk(
        self, path: str, args: Sequence[Any], query: dict[str, Any], most: int, wait: float, ids: list[str]
    ) -> Traced:
        page, first = self._named(path, args, query)
        after = written(path, args, {**query, "after": Traced(None, f"{page}.data[-1].id")})
        seen = f"seen__{self.probe.number()}"
        code = (
            f"{seen} = []\n{page} = {first}\nwhile {page}.data and len({seen}) <= {most}:\n"
            f"    {seen} += [x.id for x in {page}.data]\n    time.sleep({wait})\n    {page} = {after}"
        )
        step = Step(self.probe.number(), self.scene, code, writes=False, defines=frozenset((seen, page)))
        self.probe.steps.append(step)
        return Traced(ids, seen)

    def settle(
        self, store: Traced, batch: Traced, each: Callable[[Traced], None] = lambda _batch: None
    ) -> Traced:
        """Poll until the batch has ended, by its status and by its counts; ``each`` answer is looked at.

        It has also ended if one of the two says so, and the other does not follow within ``after_end``.
        Raise ``NotReached`` if neither says so before the deadline.
        """
        probe = self.probe
        args, kwargs = (batch.id,), {"vector_store_id": store.id}
        path = "vector_stores.file_batches.retrieve"
        variable, call = self._named(path, args, kwargs)
        ended = f"{variable}.file_counts.in_progress == 0 and {variable}.status != 'in_progress'"
        pause, half_since = 0.05, None
        while True:
            try:
                latest = Traced(self._answer(path, args, kwargs), variable)
            except openai.APIStatusError as error:
                raise Broken(f"a poll was refused with {error.status_code}: {said(error)}", call) from error
            try:
                each(latest)
                counts_say = value_of(latest.file_counts.in_progress) == 0
                status_says = value_of(latest.status) != "in_progress"
            except Broken as broken:
                raise Broken(broken.message, polled(variable, call, ended, broken.code)) from broken
            if counts_say is not status_says and half_since is None:
                half_since = probe.now()
            waited = half_since is not None and probe.now() >= half_since + probe.patience.after_end
            if (counts_say and status_says) or waited:
                self._note(polled(variable, call, ended), variable, writes=True)
                return latest
            if probe.now() + pause > probe.patience.deadline:
                raise NotReached("the batch did not end within the budget")
            probe.sleep(pause)
            pause = min(pause * 2, 1.0)

    def stir(self, scene: Scene) -> bool:
        """Let time pass until something becomes of a file, for at most ``STIR_SECONDS``; whether it did."""
        wait, moved = self._stirred(scene)
        self._note_sleep(wait)
        return moved

    def _stirred(self, scene: Scene) -> tuple[float, bool]:
        probe = self.probe
        args, kwargs = (scene.batch.id,), {"vector_store_id": scene.store.id}
        path = "vector_stores.file_batches.retrieve"
        begin, first, pause = probe.now(), None, 0.05
        while True:
            counts = self._page(path, args, kwargs).file_counts
            first = first or counts
            if counts != first or not counts.in_progress or probe.now() >= begin + STIR_SECONDS:
                break
            probe.sleep(pause)
            pause *= 2
        return max(0.1, round(probe.now() - begin, 1)), bool(counts != first)

    # Scenes

    def ended(self, n: int, kind: str = "good", *, cancelled: bool = False) -> Scene:
        """A batch of ``n`` files that has ended; laws share it, and change nothing in it.

        ``kind``: ``good`` files alone, ``mixed`` with one more that cannot be processed, ``bad`` of that alone.
        """
        key = (n, kind, cancelled)
        scene = self.probe.scenes.get(key)
        if scene is None:
            files = self.probe.files(n) if kind != "bad" else []
            if kind != "good":
                files = [*files, self.probe.bad()]
            scene = self._begun(files)
            if cancelled:
                scene.trace.cancel(scene.store, scene.batch)
            self.probe.scenes[key] = scene
        if scene.latest is scene.batch:
            latest = scene.trace.settle(scene.store, scene.batch)
            scene = self.probe.scenes[key] = evolve(scene, latest=latest)
        return scene

    def _begun(self, files: list[Any]) -> Scene:
        own = self.probe.trace()
        store = own.store()
        batch = own.create(store, file_ids=files)
        return Scene(store, batch, files, batch, own)

    def running(self, n: int) -> Scene:
        """A new batch of ``n`` files that has not ended; raise ``NotReached`` if it has at the first look."""
        files = self.probe.files(n)
        store = self.store()
        batch = self.create(store, file_ids=files)
        latest = self.retrieve(store, batch)
        if not value_of(latest.file_counts.in_progress):
            raise NotReached("a batch had already ended at the first look")
        return Scene(store, batch, files, latest, self)

    def fresh(self, n: int, *, cancelled: bool = False) -> Scene:
        """A new batch of ``n`` files that has ended, for this law alone."""
        files = self.probe.files(n)
        store = self.store()
        batch = self.create(store, file_ids=files)
        if cancelled:
            self.cancel(store, batch)
        return Scene(store, batch, files, self.settle(store, batch), self)


def _list_of(scene: Scene, where: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if where == "batch":
        return (scene.batch.id,), {"vector_store_id": scene.store.id}
    return (scene.store.id,), {}
