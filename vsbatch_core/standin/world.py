"""The stand-in itself: an engine with its uploads, its clock, its simulation and its API, and what steers them.

All that begins together and ends together is in one ``_World``, which ``reset`` and ``restore`` make anew and put
in place by one assignment.  A request that is under way meanwhile ends in the world that it began in, and is not
recorded in the new one.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from threading import Lock, RLock
from time import perf_counter
from typing import Any, Literal, cast, get_args

from attrs import evolve, field, frozen

from vsbatch_core import events as ev
from vsbatch_core import validation
from vsbatch_core.adapters.faults import NO_FAULTS, Faults, NoAnswer
from vsbatch_core.adapters.faulty import FaultyApi
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.adapters.uploads import PURPOSES, FileObject, Uploads
from vsbatch_core.clock import IdSource, SeededIds, VirtualClock, random_ids
from vsbatch_core.encoding import compact
from vsbatch_core.engine import Engine
from vsbatch_core.errors import AlreadyFinished, Contradiction, NotAttached, RequestError
from vsbatch_core.model import Profile, VectorStoreFile
from vsbatch_core.simulation import Plan, Simulation
from vsbatch_core.simulation.run import as_plan
from vsbatch_core.standin.data import faults_data, plan_data
from vsbatch_core.standin.feed import Feed
from vsbatch_core.standin.requests import Exchange, RequestLog, kept, message_of
from vsbatch_core.wire import to_wire

Power = Literal["time", "reset", "plan", "faults", "requests"]
"""What can be steered, where it can."""

KEPT = (
    "The stores are in a database, which is not emptied or filled by a request: stop the server and use another "
    "--database, or 'vsbatch database load'."
)
NOT_OURS = (
    "Several processes or servers share this database, and none of them has its time and its plan to itself: "
    "start the server without --database, or with one of SQLite and one process."
)
"""Why an engine that was given cannot be steered in all ways."""

POWERS: tuple[Power, ...] = get_args(Power)


class NotHere(RequestError):
    """The stand-in cannot be steered so."""

    status = 409
    type = "conflict_error"
    code = "not_possible_here"


@frozen(kw_only=True)
class Settings:
    """How a stand-in begins, and begins again.

    * ``plan``: what becomes of files: a ``Plan``, or a function of a file.  ``plan_of``, which is called with the
      uploads, makes one that looks at these.
    * ``faults``: what clients meet.
    * ``profile``: which variant of the API it is.
    * ``seed``: where ids and chance come from; without it ids are random, and chance is drawn from
      ``chance``.
    * ``require_uploaded_files``: whether an id that was never uploaded is refused.
    * ``live``: time passes as on the wall clock, and begins there.
    * ``real_time``: clients that poll wait, and so does who gets a slow response.
    * ``api``: more arguments of the ``Api``, as ``api_keys`` and ``lenient``.
    """

    plan: Any = None
    plan_of: Callable[[Uploads], Plan] | None = None
    faults: Faults = NO_FAULTS
    profile: Profile | None = None
    seed: int | None = 0
    chance: int = 0
    require_uploaded_files: bool = False
    live: bool = False
    real_time: bool = False
    api: dict[str, Any] = field(factory=dict)

    def made_plan(self, uploads: Uploads) -> Plan:
        """Return what becomes of files at the beginning."""
        return as_plan(self.plan) if self.plan_of is None else self.plan_of(uploads)


class StandIn:
    """An engine that stands in for the API, and can be looked into and steered.

    It makes its own engine, in memory and on a virtual clock, unless ``engine`` and ``uploads`` are given, as
    those of a database: they cannot be made anew, and unless the clock is virtual neither time nor plan can be
    steered.  ``why_not`` says why something else, or these, cannot be.

    Any thread may call its methods.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        engine: Engine | None = None,
        uploads: Uploads | None = None,
        why_not: dict[Power, str] | None = None,
    ) -> None:
        self.settings = Settings() if settings is None else settings
        self.requests = RequestLog()
        self.feed = Feed()
        self.observers: list[Callable[[Exchange], object]] = []
        """Each is called with every exchange, when it is over; it must not raise."""
        self._why_not: dict[Power, str] = {}
        if engine is not None:
            self._why_not = {"reset": KEPT, **(why_not or {})}
            if not isinstance(engine.clock, VirtualClock):
                self._why_not = {"time": NOT_OURS, "plan": NOT_OURS, **self._why_not}
        self._lock = RLock()
        self._recording = Lock()
        """Held to see which world it is and to record there; whoever holds it waits for nobody."""
        self._fed: Callable[[], None] | None = None
        """What ends the subscription of the feed, if anybody has asked for it."""
        if engine is None:
            self._world = self._new(self.settings.seed)
        else:
            self._world = _World(self, self.settings, engine, cast("Uploads", uploads))

    def __repr__(self) -> str:
        # As that of an engine it waits for nobody: another clock than this may ask a database.
        clock, stores, requests = self.engine.clock, self.engine.view.stores, len(self.requests)
        at = f" at {clock.time()!r}" if isinstance(clock, VirtualClock) else ""
        frozen = ", frozen" if self.frozen else ""
        return (
            f"<{type(self).__name__}{at}{frozen}: {stores:,} vector store{'' if stores == 1 else 's'}, "
            f"{requests:,} request{'' if requests == 1 else 's'}>"
        )

    @property
    def engine(self) -> Engine:
        """The engine; another one after ``reset`` and ``restore``."""
        return self._world.engine

    @property
    def uploads(self) -> Uploads:
        """The uploaded files."""
        return self._world.uploads

    @property
    def clock(self) -> VirtualClock:
        """The virtual clock.  Raise ``NotHere`` where there is none."""
        self.require("time")
        return cast("VirtualClock", self.engine.clock)

    @property
    def simulation(self) -> Simulation:
        """What processes the files; another one after a new plan.  Raise ``NotHere`` where there is none."""
        self.require("plan")
        return cast("Simulation", self._world.simulation)

    @property
    def api(self) -> StandInApi:
        """The API as it is now."""
        return self._world.api

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys of the API."""
        return self.api.api_keys

    def plain_api(self) -> Api:
        """Return the API for who only looks on: without faults, and nothing is recorded or taken for a poll."""
        return Api(self.engine, uploads=self.uploads, **self.settings.api)

    def dispatch(self, request: Request) -> Response:
        """See ``Api``: by the API as it is now."""
        return self.api.dispatch(request)

    async def dispatch_async(self, request: Request) -> Response:
        """See ``Api``: by the API as it is now."""
        return await self.api.dispatch_async(request)

    def _new(self, seed: int | None, snapshot: Any = None, now: float | None = None) -> _World:
        """Return a new world, with an engine in memory: empty, or what a snapshot says."""
        settings = self.settings
        start = time.time() if settings.live else VirtualClock().time()
        ids: IdSource = random_ids if seed is None else SeededIds(seed)
        clock = VirtualClock(0.0)
        uploads = Uploads(clock=clock, ids=ids, require_uploaded_files=settings.require_uploaded_files)
        options: dict[str, Any] = {"clock": clock, "ids": ids, "file_size": uploads.file_size}
        if snapshot is None:
            engine = Engine(profile=settings.profile, **options)
        else:
            engine = Engine.restore(snapshot["engine"], **options)
            _fill(uploads, snapshot["uploads"])
        clock.advance_to(max(engine.view.latest(), start if now is None else now))
        return _World(self, settings, engine, uploads)

    # Looking

    def can(self, power: Power) -> bool:
        """Return whether this can be steered here."""
        return power not in self._why_not

    def require(self, power: Power) -> None:
        """Raise ``NotHere`` if this cannot be steered here."""
        if power in self._why_not:
            raise NotHere(self._why_not[power])

    @property
    def now(self) -> float:
        """The time on the engine's clock, in seconds since the epoch."""
        return self.engine.clock.time()

    @property
    def frozen(self) -> bool:
        """Whether time stands still."""
        return self._world.frozen

    @property
    def plan(self) -> Plan:
        """What becomes of files."""
        return self._world.plan

    @property
    def faults(self) -> Faults:
        """What clients meet."""
        return self._world.faults

    def clock_data(self) -> dict[str, Any]:
        """Return the time, and how it passes."""
        return {"now": self.now, "frozen": self.frozen, "real_time": self.settings.real_time}

    def snapshot(self) -> dict[str, Any]:
        """Return what there is as JSON-able data: what the engine holds, the uploaded files, and the time."""
        world = self._world
        with world.engine.view.hold():
            return {
                "engine": world.engine.snapshot(),
                "uploads": _uploaded(world.uploads),
                "now": world.engine.clock.time(),
            }

    # Time

    def freeze(self) -> None:
        """Have time stand still until ``run``: neither polls nor the wall clock move it.

        Nothing is processed meanwhile but by ``step`` and ``advance``; who polls waits in real time.
        """
        self.require("time")
        self._world.frozen = True
        self._tell_time()

    def run(self) -> None:
        """Have time pass again; what passed meanwhile on the wall clock is left out."""
        self.require("time")
        self._world.run()
        self._tell_time()

    def advance(self, seconds: float) -> float:
        """Let so much time pass, frozen or not, and do all that is due; return the time."""
        self.require("time")
        with self.engine.view.hold():
            self.simulation.advance(seconds)
        self._tell_time()
        return self.now

    def step(self) -> bool:
        """Do the next thing that is due, moving the clock to it; return whether there was one."""
        self.require("time")
        with self._world.engine.view.hold():
            done = self.simulation.step()
        self._tell_time()
        return done

    @property
    def ticks(self) -> bool:
        """Whether time follows the wall clock by calls of ``tick``."""
        return self.settings.live and self._world.simulation is not None

    def tick(self) -> None:
        """Let as much time pass as has passed on the wall clock since the last call."""
        self._world.tick()

    def _tell_time(self) -> None:
        data = self.clock_data()
        self.feed.add("clock", lambda: data)

    # What becomes of files

    def complete(
        self, vector_store_id: str, file_ids: Sequence[str], usage_bytes: int | None = None
    ) -> list[VectorStoreFile]:
        """Complete files in progress, all or none; return them.  Without ``usage_bytes`` it is their size."""
        engine = self.engine
        if len(file_ids) == 1:
            return [engine.processing.complete(vector_store_id, file_ids[0], usage_bytes=usage_bytes)]
        sizes: int | list[int] = 0 if usage_bytes is None else usage_bytes
        if usage_bytes is None and engine.view.asks_for_sizes:
            sizes = [engine.view.size(id) or 0 for id in file_ids]
        engine.processing.complete_many(vector_store_id, file_ids, usage_bytes=sizes)
        return _files(engine, vector_store_id, file_ids)

    def fail(
        self,
        vector_store_id: str,
        file_ids: Sequence[str],
        *,
        code: Any = "server_error",
        message: str | None = None,
    ) -> list[VectorStoreFile]:
        """Fail files in progress, all or none; return them."""
        engine = self.engine
        if len(file_ids) == 1:
            return [engine.processing.fail(vector_store_id, file_ids[0], code=code, message=message)]
        engine.processing.fail_many(vector_store_id, file_ids, code=code, message=message)
        return _files(engine, vector_store_id, file_ids)

    def release(self, vector_store_id: str, file_ids: Sequence[str]) -> list[VectorStoreFile]:
        """Have workers give files back, all or none, for the plan to decide anew; return the files.

        A file that no worker holds goes on waiting.  Raise ``NotAttached`` or ``AlreadyFinished`` for a file that
        is not in progress.
        """
        world = self._world
        view = world.engine.view
        with view.hold():
            world.engine.vector_stores.retrieve(vector_store_id)
            claims = []
            for id in file_ids:
                attachments = view.attachments(vector_store_id, id)
                status = view.status(vector_store_id, attachments[-1]) if attachments else None
                if status is None:
                    raise NotAttached(id, vector_store_id, "not attached", "release")
                if status != "in_progress":
                    raise AlreadyFinished(id, vector_store_id, status, "release")
                claims.append(view.claim(vector_store_id, attachments[-1]))
            if world.simulation is None:
                # One that was lost meanwhile is a file that waits again, which is what was asked for.
                world.engine.processing.release([claim for claim in claims if claim is not None])
            else:
                for id in file_ids:
                    world.simulation.release(id, vector_store_id=vector_store_id)
            return _files(world.engine, vector_store_id, file_ids)

    def set_plan(self, plan: Any) -> None:
        """Take another plan: it decides anew what becomes of every file that is in progress.

        Raise ``TypeError`` or ``ValueError`` for what is no plan here; then the old one goes on.
        """
        self.require("plan")
        with self._lock:
            self._world.use_plan(plan)
        self.feed.add("plan", partial(plan_data, self.plan))

    def set_faults(self, faults: Faults) -> None:
        """Have clients meet other faults from now on."""
        self.require("faults")
        with self._lock:
            self._world.use_faults(faults)
        self.feed.add("faults", partial(faults_data, faults))

    # Beginning again

    def reset(self) -> None:
        """Begin again, as it began: empty, with its first plan and faults; what was asked is forgotten."""
        self.require("reset")
        with self._lock:
            self._become(lambda: self._new(self.settings.seed))

    def restore(self, snapshot: Any) -> None:
        """Become what ``snapshot`` returned, with the first plan and faults.

        Raise ``SnapshotError`` or another ``VsbatchError`` for what is no snapshot; nothing changes then.
        """
        self.require("reset")
        snapshot = validation.mapping("snapshot", snapshot, ("engine", "uploads", "now"))
        for key in ("engine", "uploads"):
            validation.member("snapshot", snapshot, key)
        with self._lock:
            seed = self.settings.seed
            if seed is not None:
                # Ids that come from what is restored are none that are in it.
                digest = sha256(f"{seed} {compact(snapshot)}".encode()).digest()
                seed = int.from_bytes(digest[:8], "big")
            now = snapshot.get("now")
            if now is not None:
                validation.time("now", now)
            self._become(lambda: self._new(seed, snapshot, now))

    def _become(self, make: Callable[[], _World]) -> None:
        old, new = self._world, make()
        with old.engine.view.hold():
            if self._fed is not None:
                self._fed()
                self._fed = new.engine.subscribe(self._hear)
            cast("Simulation", old.simulation).close()
            with self._recording:
                self._world = new
                self.requests.clear()
                self.feed.add("reset", dict)

    def close(self) -> None:
        """Have the simulation hear of nothing more, and the readers of the feed end."""
        self.feed.close()
        if self._world.simulation is not None:
            self._world.simulation.close()

    # What happened

    def watch(self) -> Feed:
        """Return the feed, and from now on put into it what happens."""
        with self._lock:
            if self._fed is None:
                self._fed = self.engine.subscribe(self._hear)
        return self.feed

    def _hear(self, event: ev.Event) -> None:
        weight = 1 + len(ev.attached(event)) + len(ev.ended(event))
        self.feed.add("event", lambda: to_wire(event), weight)

    def record(self, exchange: Exchange, world: object) -> None:
        """Have all who look on know of an exchange, unless the world that it was of is gone."""
        with self._recording:
            if self._world is not world:
                return
            self.requests.add(exchange)
            if self._fed is not None:
                self.feed.add("request", lambda: exchange.data(bodies=False))
        for observe in self.observers:
            observe(exchange)


class _World:
    """What begins and ends together; it also is what moves the clock for the API."""

    def __init__(self, owner: StandIn, settings: Settings, engine: Engine, uploads: Uploads) -> None:
        self.owner = owner
        self.settings = settings
        self.engine = engine
        self.uploads = uploads
        self.frozen = False
        self.seen = time.monotonic()
        self.seed = settings.chance if settings.seed is None else settings.seed
        self.plan = settings.made_plan(uploads)
        self.simulation = None
        if isinstance(engine.clock, VirtualClock):
            self.simulation = Simulation(engine, plan=self.plan, seed=self.seed)
        self.faults = settings.faults
        self._start = engine.clock.time()
        self._api: StandInApi | None = None
        """Made when it is first needed: it wants an extra."""

    @property
    def api(self) -> StandInApi:
        """The API as it is now."""
        made = self._api
        if made is None:
            with self.engine.view.hold():
                made = self._api = self._api or self._made_api()
        return made

    def _made_api(self) -> StandInApi:
        settings, simulated = self.settings, self.simulation is not None
        return StandInApi(
            self.engine,
            uploads=self.uploads,
            driver=self if simulated and not settings.real_time else None,
            polled=self.polled if simulated else None,
            faults=self.faults,
            start=self._start,
            seed=self.seed,
            waits=self.waits if simulated else None,
            world=self,
            **settings.api,
        )

    def advance(self, seconds: float) -> None:
        """Let time pass for a client that waits, unless time stands still."""
        with self.engine.view.hold():
            if self.simulation is not None and not self.frozen:
                self.simulation.advance(seconds)

    def run(self) -> None:
        """Have time pass again from now on."""
        self.seen = time.monotonic()
        self.frozen = False

    def tick(self) -> None:
        """Let as much time pass as on the wall clock."""
        with self.engine.view.hold():
            now = time.monotonic()
            passed, self.seen = now - self.seen, now
            self.advance(passed)

    def polled(self, looked_at: Any) -> Any:
        """See ``Simulation``."""
        with self.engine.view.hold():
            if self.frozen and self.plan.automatic:
                return looked_at  # what is due at this instant is left to be done
            return cast("Simulation", self.simulation).polled(looked_at)

    def waits(self, vector_store_id: str, file_id: str) -> bool:
        """See ``Simulation``."""
        with self.engine.view.hold():
            return cast("Simulation", self.simulation).waits(vector_store_id, file_id)

    def use_plan(self, given: Any) -> None:
        """Have a new simulation take on all files that are in progress."""
        plan = as_plan(given)
        with self.engine.view.hold():
            old = cast("Simulation", self.simulation)
            # Made before the old one ends: what it refuses changes nothing.
            new = Simulation(self.engine, plan=plan, seed=self.seed)
            old.close()
            self.simulation, self.plan = new, plan

    def use_faults(self, faults: Faults) -> None:
        """Have the API go on with other faults."""
        self.faults = faults
        self._api = evolve(self.api, faults=faults)

    @property
    def poll_waits(self) -> bool:
        """Whether clients that poll wait themselves."""
        return self.frozen or (self.simulation is not None and bool(self.simulation._sleeping))


def _files(engine: Engine, vector_store_id: str, file_ids: Sequence[str]) -> list[VectorStoreFile]:
    files = engine.vector_stores.files
    return [files.retrieve(id, vector_store_id=vector_store_id) for id in file_ids]


_sleep: ContextVar[list[float] | None] = ContextVar("sleep", default=None)
"""Where ``dispatch`` puts the seconds that a response takes, if who called it waits for so long."""

RECORDED: ContextVar[list[int] | None] = ContextVar("recorded", default=None)
"""Where ``dispatch`` puts the number of the exchange that it recorded, if who called it wants to know."""


@frozen(kw_only=True)
class StandInApi(FaultyApi):
    """The API of a stand-in: it records what was asked, and a slow response is slow in real time as well."""

    world: Any = field(eq=False, repr=False)

    def _can_wait(self) -> bool:
        return True

    def _poll(self, request: Request) -> int:
        return self.poll_after_ms if self.world.poll_waits else super()._poll(request)

    def dispatch(self, request: Request) -> Response:
        """Answer one request; see ``FaultyApi``."""
        began, at = perf_counter(), self.engine.clock.time()
        if self.faults == NO_FAULTS:
            # Without the engine's lock: commands of many threads are to share the transactions of a database.
            response = Api.dispatch(self, request)
            self.record(request, None, at, response.status, response.body, perf_counter() - began)
            return response
        answer = self.answer(request)
        if answer.seconds:
            sleep = _sleep.get()
            if sleep is not None and self.driver is None:
                sleep.append(answer.seconds)
            elif self.driver is not None:
                self.driver.advance(answer.seconds)
        status = None if answer.response is None else answer.response.status
        body = b"" if answer.response is None else answer.response.body
        self.record(request, answer.number, at, status, body, perf_counter() - began, answer.faults)
        if answer.response is None:
            raise cast("NoAnswer", answer.lost)
        return answer.response

    def only_reads(self, request: Request) -> bool:
        """See ``Api``; with faults each request counts, and none can be dispatched twice."""
        return self.faults == NO_FAULTS and Api.only_reads(self, request)

    async def dispatch_async(self, request: Request) -> Response:
        """Answer one request; a slow response comes later in real time, if there is no other."""
        seconds: list[float] = []
        token = _sleep.set(seconds)
        try:
            return await super().dispatch_async(request)
        finally:
            _sleep.reset(token)
            if seconds:
                from asyncio import sleep  # noqa: PLC0415 - which a program without coroutines does not need

                await sleep(sum(seconds))

    def record(
        self,
        request: Request,
        number: int | None,
        at: float,
        status: int | None,
        response: bytes,
        seconds: float,
        faults: tuple[str, ...] = (),
    ) -> None:
        """Have the stand-in know what was asked, unless it has begun again since."""
        if number is None:
            number = self.state.count()
        recorded = RECORDED.get()
        if recorded is not None:
            recorded.append(number)
        self.world.owner.record(
            Exchange(
                number=number,
                at=at,
                method=request.method,
                path=request.path,
                query=request.query,
                status=status,
                milliseconds=seconds * 1000,
                faults=faults,
                message=None if status is None else message_of(status, response),
                body=kept(request.body),
                response=kept(response),
            ),
            self.world,
        )


# Uploads as data


def _uploaded(uploads: Uploads) -> list[dict[str, Any]]:
    """Return the uploaded files as JSON-able data, oldest first."""
    return [
        {
            "id": file.id,
            "filename": file.filename,
            "purpose": file.purpose,
            "created_at": file.created_at,
            "expires_at": file.expires_at,
            "content": base64.b64encode(uploads.content(file.id)).decode(),
        }
        for file in uploads.list(order="asc")
    ]


_UPLOAD = ("id", "filename", "purpose", "created_at", "expires_at", "content")


def _fill(uploads: Uploads, data: Any) -> None:
    """Put uploaded files into empty uploads; raise the error that names what is wrong with them."""
    for i, item in enumerate(validation.array("uploads", data, 0, uploads.limit_files)):
        place = f"uploads[{i}]"
        file = validation.mapping(place, item, _UPLOAD)
        for key in _UPLOAD:
            validation.member(place, file, key)
        try:
            content = base64.b64decode(validation.string(f"{place}.content", file["content"]), validate=True)
        except (binascii.Error, ValueError):
            raise Contradiction(f"{place}.content", "it is not base64") from None
        expires_at = file["expires_at"]
        uploads.put(
            FileObject(
                validation.own_id(f"{place}.id", file["id"], "file-"),
                len(content),
                validation.integer(f"{place}.created_at", file["created_at"], 0),
                validation.string(f"{place}.filename", file["filename"]),
                validation.one_of(f"{place}.purpose", file["purpose"], PURPOSES),
                None if expires_at is None else validation.integer(f"{place}.expires_at", expires_at, 0),
            ),
            content,
        )
