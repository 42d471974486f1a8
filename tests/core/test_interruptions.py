"""A command happens wholly or not at all, whatever is raised and wherever.

Each command, read, snapshot and subscription is run in small worlds with batches, deletions, attachments made
again, expiry, claims and forgotten cursors, and is interrupted at each place where CPython can raise.  The next
use of the engine, from another thread, must then find it equal to what it was before, or to what it would be
after; each event that happened is delivered once and in order; nothing stays locked.  The same holds for
claims: each is made, extended or ended, or it is not, and an attachment that nobody holds can be claimed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from threading import Event, Thread
from typing import Any

import pytest
from attrs import frozen

from vsbatch_core import (
    Claim,
    Completed,
    Engine,
    Failed,
    Limits,
    Profile,
    Retry,
    SequentialIds,
    VirtualClock,
    VsbatchError,
)
from vsbatch_core.errors import NestedCommand, SubscriberError
from vsbatch_core.registry import Registry
from vsbatch_core.store import PLANS

from ..helpers import interruptions
from ..helpers.brief import BRIEF, EFFORT
from ..helpers.interruptions import Injected, Injector, count

# An exception in a generator that is being closed is raised to nobody.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PLACES = {"brief": 40, "usual": 150, "long": 300}[EFFORT]
"""How many places of each act are tried, spread over all of it."""
PAIRS = {"brief": (8, 4), "usual": (20, 6), "long": (20, 8)}[EFFORT]
"""How many places of each command, and of each repair of it."""


class World:
    """An engine with a past, and those who follow it."""

    def __init__(self, policies: Mapping[str, Any] = {}) -> None:
        self.clock = VirtualClock(start=1_000.0)
        limits = Limits(batch_files=5_000, departed=2, idempotency_keys=2)
        policies = dict(policies)
        retention = policies.pop("retention", None)
        profile = Profile(limits=limits, **policies)
        retry = Retry(attempts=2, backoff=1.0)
        self.ids = SequentialIds()
        self.engine = self.opened(profile, retry, retention)
        self.events: list[Any] = []
        self.others: list[Any] = []
        stores, batches, files = self.parts()
        processing = self.engine.processing
        stores.create(name="one", expires_after={"anchor": "last_active_at", "days": 1})
        stores.create(name="two", file_ids=["file-a", "file-b"], metadata={"a": "b"})
        stores.create(name="three")
        stores.create(name="four")
        batches.create("vs_1", file_ids=[f"file-{i}" for i in range(6)])
        files.create("vs_1", file_id="file-single", attributes={"a": 1})
        batches.create("vs_1", file_ids=["file-4", "file-5", "file-6", "file-7"])
        processing.complete("vs_1", "file-1", usage_bytes=10)
        processing.fail("vs_1", "file-6")
        files.delete("file-2", vector_store_id="vs_1")
        files.create("vs_2", file_id="file-x")
        files.delete("file-a", vector_store_id="vs_2")
        files.delete("file-x", vector_store_id="vs_2")  # vs_2 is full of departed files
        files.create("vs_1", file_id="file-0")
        self.claims: list[Claim] = []
        if profile.cancel == "drain":
            held = {"vector_store_id": "vs_1", "lease_seconds": 60.0}
            a, released, b, c, d, again = processing.claim(9, worker="worker-1", **held)
            self.claims = [a, b, c, d]
            processing.finish([Failed(again, retry=True)])
            processing.release([released])
        stores.delete("vs_3")
        self.engine.view.file("vs_1", 0)
        files.list("vs_1")  # values are kept from here on
        stores.list()
        self.clock.advance(5.0)
        if profile.cancel == "drain":
            self.claims += processing.claim(1, worker="worker-2", attachments=[11], **held)
        self.engine.subscribe(self.events.append)
        self.engine.subscribe(self.others.append)

    def keyed(self) -> None:
        """Keep as many idempotency keys as may be kept, so that the next one makes the oldest be forgotten."""
        stores, batches, _ = self.parts()
        for key in ("key-8", "key-9"):
            stores.create(idempotency_key=key)
            batches.create("vs_1", file_ids=["file-1"], idempotency_key=key)

    def finished(self) -> None:
        """Finish batches at two times, two of them in one step, in two stores; files of theirs have left."""
        _, batches, files = self.parts()
        batches.create("vs_1", file_ids=["file-6", "file-9"])
        batches.create("vs_1", file_ids=["file-8"])
        files.delete("file-4", vector_store_id="vs_1")
        files.delete("file-7", vector_store_id="vs_1")
        files.create("vs_1", file_id="file-5")
        self.engine.processing.complete_many("vs_1", ["file-8", "file-6", "file-9"])
        batches.create("vs_4", file_ids=["file-1"])
        self.engine.processing.complete("vs_4", "file-1")
        self.clock.advance(3.0)
        batches.cancel("vsfb_1", vector_store_id="vs_1")
        self.clock.advance(3.0)

    def opened(self, profile: Profile, retry: Retry, retention: float | None) -> Engine:
        """Return the engine."""
        return Engine(clock=self.clock, ids=self.ids, profile=profile, retry=retry, retention=retention)

    def problem(self) -> str | None:
        """Return what is wrong beside what the engine itself returns."""
        return None

    def later(self) -> None:
        """Let time pass in which claims lapse, one of them on a last attempt, and a store expires."""
        self.clock.advance(100_000.0)

    def drain(self) -> None:
        """Cancel a batch of which workers hold files."""
        self.engine.vector_stores.file_batches.cancel("vsfb_2", vector_store_id="vs_1")

    def drain_later(self) -> None:
        """Let a batch drain until the claims on its files have lapsed."""
        self.drain()
        self.later()

    def waited(self) -> None:
        """Let files wait long enough for another attempt."""
        self.engine.processing.finish([Failed(claim, retry=True) for claim in self.claims])
        self.engine.check()  # which reads what can be claimed: they cannot be
        self.clock.advance(2.0)

    def state(self) -> Any:
        """Return all that is to be seen of the engine, its claims among it."""
        saved = self.engine.snapshot()
        claims = {
            store.number: (dict(store.claims.held), dict(store.claims.attempts), dict(store.claims.delayed))
            for store in self.engine._registry.stores.values()
            if store.claims is not None and (store.claims.held or store.claims.attempts)
        }
        return saved, claims

    def parts(self) -> tuple[Any, Any, Any]:
        stores = self.engine.vector_stores
        return stores, stores.file_batches, stores.files


DRAIN, REUSE, KEPT = {"cancel": "drain"}, {"reattach": "reuse"}, {"retention": 5.0}


@frozen
class Act:
    """Something done with a world, after it was prepared.

    It is one step or more, each of which is done wholly or not at all.
    """

    name: str
    do: Callable[[World], object]
    policies: Mapping[str, Any] = {}
    """Of the profile, and the ``retention``."""
    prepare: Callable[[World], object] = lambda _: None
    steps: tuple[Callable[[World], object], ...] = ()
    """What its steps do, where it is more than one."""
    kind: type[World] = World

    def world(self) -> World:
        """Return a world that is prepared for it."""
        world = self.kind(self.policies)
        self.prepare(world)
        world.events.clear()
        world.others.clear()
        return world


def acts() -> Iterator[Act]:
    """Return all that is interrupted."""

    def stores(world: World) -> Any:
        return world.engine.vector_stores

    def processing(world: World) -> Any:
        return world.engine.processing

    one = {"vector_store_id": "vs_1"}
    yield Act("create a store", lambda w: stores(w).create(name="new", file_ids=["file-1", "file-2"]))
    yield Act("update a store", lambda w: stores(w).update("vs_1", name="other", metadata={"k": "v"}))
    yield Act("delete a store", lambda w: stores(w).delete("vs_2"))
    yield Act("attach", lambda w: stores(w).files.create("vs_1", file_id="file-new", attributes={"b": True}))
    key = {"idempotency_key": "key-1"}
    yield Act("create a store with a key", lambda w: stores(w).create(**key), prepare=World.keyed)
    yield Act(
        "attach with a key",
        lambda w: stores(w).files.create("vs_1", file_id="file-new", **key),
        prepare=World.keyed,
    )
    yield Act(
        "create a batch with the first key of a store",
        lambda w: stores(w).file_batches.create("vs_4", file_ids=["file-1"], **key),
    )
    yield Act("attach again", lambda w: stores(w).files.create("vs_1", file_id="file-single"))
    yield Act("attach again what a batch lists", lambda w: stores(w).files.create("vs_1", file_id="file-7"))
    yield Act("attach again what left", lambda w: stores(w).files.create("vs_2", file_id="file-a"))
    yield Act("update a file", lambda w: stores(w).files.update("file-1", **one, attributes={"c": 2}))
    yield Act("delete a file", lambda w: stores(w).files.delete("file-7", **one))
    yield Act("delete a completed file", lambda w: stores(w).files.delete("file-1", **one))
    yield Act(
        "delete a file and forget another", lambda w: stores(w).files.delete("file-b", vector_store_id="vs_2")
    )
    new = [f"file-{i}" for i in range(3, 12)]
    yield Act("create a batch", lambda w: stores(w).file_batches.create("vs_1", file_ids=new))
    each_file = [{"file_id": f"file-{i}", "attributes": {"i": i}} for i in range(3)]
    yield Act("create a batch of objects", lambda w: stores(w).file_batches.create("vs_4", files=each_file))
    yield Act("cancel", lambda w: stores(w).file_batches.cancel("vsfb_1", **one))
    there = ["file-0", "file-3"]
    yield Act(
        "create a batch without files", lambda w: stores(w).file_batches.create("vs_1", file_ids=there), REUSE
    )
    yield Act(
        "create a batch of the others", lambda w: stores(w).file_batches.create("vs_1", file_ids=new), REUSE
    )
    yield Act("cancel and drain", lambda w: stores(w).file_batches.cancel("vsfb_1", **one), DRAIN)
    yield Act("purge", lambda w: processing(w).purge("vs_1", older_than=1.0), prepare=World.finished)
    yield Act(
        "purge all",
        lambda w: processing(w).purge(older_than=0),
        prepare=World.finished,
        steps=tuple(lambda w, of=of: processing(w).purge(of, older_than=0) for of in ("vs_1", "vs_4")),
    )
    yield Act("pending, when batches are to go", lambda w: processing(w).pending(), KEPT, World.finished)
    yield Act("complete", lambda w: processing(w).complete("vs_1", "file-3", usage_bytes=7))
    yield Act("complete a held file", lambda w: processing(w).complete("vs_1", "file-3"), policies=DRAIN)
    yield Act("fail", lambda w: processing(w).fail("vs_1", "file-single", code="invalid_file"))
    many = ["file-7", "file-3", "file-single", "file-0"]
    yield Act("complete many", lambda w: processing(w).complete_many("vs_1", many, usage_bytes=[1, 2, 3, 4]))
    yield Act(
        "complete a run", lambda w: processing(w).complete_many("vs_1", ["file-4", "file-5"], usage_bytes=9)
    )
    yield Act("fail many", lambda w: processing(w).fail_many("vs_1", many))
    worker = {"worker": "worker-3", "lease_seconds": 5.0}
    yield Act("claim", lambda w: processing(w).claim(3, vector_store_id="vs_1", **worker), policies=DRAIN)
    yield Act("claim from all stores", lambda w: processing(w).claim(9, **worker))
    yield Act("claim by number", lambda w: processing(w).claim(9, **one, **worker, attachments=[11, 9, 4, 6]))
    yield Act("heartbeat", lambda w: processing(w).heartbeat(w.claims[1:], lease_seconds=1.0), policies=DRAIN)
    yield Act("release", lambda w: processing(w).release(w.claims[1:4]), policies=DRAIN)
    yield Act(
        "finish", lambda w: processing(w).finish([Completed(claim, 5) for claim in w.claims]), policies=DRAIN
    )
    yield Act(
        "ask for another attempt",
        lambda w: processing(w).finish([Failed(claim, retry=True) for claim in w.claims]),
        policies=DRAIN,
    )
    each = (
        lambda w: processing(w).finish([Completed(w.claims[0], 5), Completed(w.claims[3])]),
        lambda w: processing(w).finish([Failed(w.claims[1], "invalid_file")]),
        lambda w: processing(w).finish([Failed(w.claims[4], retry=True), Failed(w.claims[2], retry=True)]),
    )

    def mixed(w: World) -> object:
        a, b, c, d, e = w.claims
        outcomes = [Completed(a, 5), Failed(b, "invalid_file"), Failed(e, retry=True), Completed(d)]
        return processing(w).finish([*outcomes, Failed(c, retry=True)])

    yield Act("finish in several ways", mixed, policies=DRAIN, steps=each)
    yield Act(
        "release as it drains", lambda w: processing(w).release(w.claims), policies=DRAIN, prepare=World.drain
    )
    yield Act("pending, when much is due", lambda w: processing(w).pending(), DRAIN, World.drain_later)
    yield Act(
        "complete, when much is due", lambda w: processing(w).complete("vs_2", "file-b"), DRAIN, World.drain_later
    )
    yield Act("claim, when claims have lapsed", lambda w: processing(w).claim(9, **worker), DRAIN, World.later)
    yield Act("claim what has waited", lambda w: processing(w).claim(9, **worker), DRAIN, World.waited)
    yield Act("pending, when files have waited", lambda w: processing(w).pending(), DRAIN, World.waited)
    yield Act("a view, when claims have lapsed", lambda w: w.engine.view.file("vs_1", 0), DRAIN, World.later)
    yield Act("replay", lambda w: w.engine.replay(followed()))
    yield Act("refused", lambda w: processing(w).complete("vs_1", "file-1"))
    yield Act("retrieve", lambda w: (stores(w).retrieve("vs_1"), stores(w).files.retrieve("file-1", **one)))
    yield Act("list", lambda w: list(stores(w).files.list("vs_1", limit=2, filter="in_progress")))
    yield Act("list by id", lambda w: list(stores(w).files.list("vs_1", limit=2)), {"ties": "by_id"})
    yield Act("list a batch", lambda w: list(stores(w).file_batches.list_files("vsfb_1", **one, limit=2)))
    yield Act("list stores", lambda w: list(stores(w).list(limit=1)))
    yield Act("pending", lambda w: processing(w).pending())
    yield Act("snapshot", lambda w: w.engine.snapshot())
    yield Act("check", lambda w: w.engine.check())
    yield Act("subscribe", lambda w: w.engine.subscribe(w.others.append)())


@cache
def followed() -> tuple[Any, ...]:
    """Return an event that another engine delivered, which had the past of a world."""
    other = Engine.restore(World().engine.snapshot(), clock=VirtualClock(start=2_000.0))
    heard: list[Any] = []
    other.subscribe(heard.append)
    other.processing.complete("vs_1", "file-3")
    return tuple(heard)


def spread(n: int, most: int) -> range:
    """Return up to ``most`` places among the first ``n``; their distance is odd, to meet each kind of place."""
    return range(1, n + 1, max(1, n // most) | 1)


ACTS = {act.name: act for act in acts()}
COMMANDS = {name: act for name, act in ACTS.items() if name not in ("retrieve", "pending", "snapshot", "check")}
each_act = pytest.mark.parametrize("name", ACTS)


def quietly(act: Act, world: World) -> None:
    with suppress(VsbatchError):
        act.do(world)


@frozen
class Outcomes:
    """How a world may be found after an act was interrupted, and the events that were then delivered.

    There is one for each number of steps that were done.  Looking makes what is due happen.
    """

    states: list[Any]
    events: list[list[Any]]

    @classmethod
    def of(cls, act: Act) -> Outcomes:
        found = cls([], [])
        steps = act.steps or (act.do,)
        for n in range(len(steps) + 1):
            world = act.world()
            for step in steps[:n]:
                with suppress(VsbatchError):
                    step(world)
            found.states.append(world.state())
            found.events.append(list(world.events))
        world = act.world()
        quietly(act, world)
        assert (world.state(), world.events) == (found.states[-1], found.events[-1])
        return found


def verdict(world: World, outcomes: Outcomes, *, unstarted: bool = False) -> str | None:
    """Return what is wrong with a world in which an act was interrupted; looked at from another thread.

    ``unstarted`` says that a call of a subscriber could not start, which counts as a delivery.
    """
    found: list[str | None] = ["it is locked for ever"]

    def look() -> None:
        try:
            world.engine.check()
            state = world.state()
            if state not in outcomes.states:
                found[0] = "it is half done"
                return
            events = outcomes.events[outcomes.states.index(state)]
            heard = [each for each in (world.events, world.others) if each or not unstarted]
            if any(each != events for each in heard):
                found[0] = f"delivered {len(world.events)} and {len(world.others)} of {len(events)} events"
                return
            found[0] = world.problem()
            if found[0] is not None:
                return
            world.engine.vector_stores.create(name="next")
            if len(world.events) != len(events) + 1 and not unstarted:
                found[0] = "the next event is not delivered once"
                return
            found[0] = world.problem()
        except BaseException as error:  # noqa: BLE001 - the verdict names it
            found[0] = f"{type(error).__name__}: {error}"[:300]

    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(5)
    return found[0]


def interrupted(act: Act, places: int, most: int = 10) -> dict[int, str]:
    """Interrupt an act at so many places; return what is wrong, by place, up to ``most``."""
    outcomes = Outcomes.of(act)
    world = act.world()
    n = count(lambda: quietly(act, world))
    assert n > 10
    wrong = {}
    for at in spread(n, places):
        world = act.world()
        raised = Injector(at).run(lambda world=world: quietly(act, world))  # type: ignore[misc]
        assert raised is None or isinstance(raised, (Injected, SubscriberError)), (at, raised)
        problem = verdict(world, outcomes)
        if problem is not None:
            wrong[at] = problem
            if len(wrong) == most:
                break
    return wrong


@each_act
def test_an_exception_at_any_place_leaves_it_done_wholly_or_not_at_all(name: str) -> None:
    act = ACTS[name]
    assert interrupted(act, PLACES) == {}


COMMITS_NOTHING = (
    "refused",
    "list",
    "list by id",
    "list a batch",
    "list stores",
    "subscribe",
    "pending, when files have waited",
)
REDONE = [name for name in COMMANDS if name not in COMMITS_NOTHING]


@pytest.mark.slow
@pytest.mark.parametrize("name", REDONE)
def test_an_exception_while_an_earlier_one_is_repaired_leaves_it_done_wholly_or_not_at_all(name: str) -> None:
    act = ACTS[name]
    outcomes = Outcomes.of(act)
    world = act.world()
    n = count(lambda: quietly(act, world))
    wrong, unfinished = {}, 0
    for at in spread(n, 6 * PAIRS[0]):
        world = act.world()
        Injector(at).run(lambda world=world: quietly(act, world))  # type: ignore[misc]
        if world.engine._registry._unfinished is None:
            continue
        unfinished += 1
        if unfinished > PAIRS[0]:
            break
        repairs = count(world.engine.version)
        for again in spread(repairs, PAIRS[1]):
            world = act.world()
            Injector(at).run(lambda world=world: quietly(act, world))  # type: ignore[misc]
            Injector(again).run(lambda world=world: world.engine.version())  # type: ignore[misc]
            problem = verdict(world, outcomes)
            if problem is not None:
                wrong[at, again] = problem
    assert wrong == {}
    assert unfinished > 0


@pytest.mark.parametrize("name", REDONE)
def test_near_the_recursion_limit_it_is_done_wholly_or_not_at_all(name: str) -> None:
    act = ACTS[name]
    outcomes = Outcomes.of(act)
    wrong: dict[int, str] = {}
    raised = 0
    for left in range(2, 40, 3 if BRIEF else 1):
        world = act.world()

        def dive(depth: int, world: World = world) -> None:
            if depth:
                dive(depth - 1)
            else:
                quietly(act, world)

        depth, frame = 0, sys._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
        try:
            dive(sys.getrecursionlimit() - depth - left)
        except (RecursionError, SubscriberError):
            raised += 1
        problem = verdict(world, outcomes)
        if problem is not None:
            wrong[left] = problem
    assert wrong == {}
    assert raised > 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this platform")
def test_real_timer_signals_leave_every_command_done_wholly_or_not_at_all() -> None:
    def ring(_number: int, _frame: object) -> None:
        raise Injected

    before = signal.signal(signal.SIGALRM, ring)
    wrong: list[tuple[str, str]] = []
    hits = 0
    try:
        for turn in range(3 if BRIEF else 12):
            for name in REDONE:
                act = ACTS[name]
                outcomes, world = Outcomes.of(act), act.world()
                started = time.perf_counter()
                quietly(act, act.world())
                took = time.perf_counter() - started
                try:
                    signal.setitimer(signal.ITIMER_REAL, max(took * (turn + 0.5) / 12, 1e-6))
                    quietly(act, world)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Injected:
                    hits += 1
                problem = verdict(world, outcomes)
                if problem is not None:
                    wrong.append((name, problem))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert wrong == []
    assert hits > 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("name", REDONE)
def test_a_failing_allocation_leaves_it_done_wholly_or_not_at_all(name: str) -> None:
    testcapi = pytest.importorskip(
        "_testcapi", reason="this Python has no _testcapi to make allocations fail with"
    )
    act = ACTS[name]
    outcomes = Outcomes.of(act)

    def child(at: int) -> str:
        world = act.world()
        failed = ""
        try:
            testcapi.set_nomemory(at, at + 1)
            act.do(world)
        except BaseException as error:  # noqa: BLE001 - whatever it makes of it
            failed = type(error).__name__
        finally:
            testcapi.remove_mem_hooks()
        problem = verdict(world, outcomes, unstarted=failed == "SubscriberError")
        return f"{failed}: {problem}" if problem else failed

    # Each in a process of its own: CPython itself crashes here and there when memory is short.
    said = {
        at: in_a_child(lambda at=at: child(at))
        for at in range(1, 200, {"brief": 29, "usual": 11, "long": 7}[EFFORT])
    }  # type: ignore[misc]
    assert {at: each for at, each in said.items() if each and ":" in each} == {}
    assert {"MemoryError", "SubscriberError"} & set(said.values())


def in_a_child(act: Callable[[], str]) -> str | None:
    """Return what ``act`` returns in a forked process; ``None`` if the interpreter crashes there."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os.write(writing, act().encode()[:1000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else said


# Each of these is found


_commit = Registry._commit


def _puts_at_once(self: Registry, event: Any) -> None:
    if type(event) not in PLANS:
        return _commit(self, event)
    store = self.stores[event.vector_store_id]
    put, arguments = PLANS[type(event)](store, event)
    put(*arguments)
    callbacks = tuple(self._subscribers.values())
    self._unfinished = (lambda: None, ()), store.number, event, callbacks, len(self._undelivered)
    return self._finish()


@contextmanager
def _held(self: Registry) -> Iterator[None]:
    self.lock.acquire()
    yield
    self.lock.release()


def _locks_simply(self: Registry, id: Any, decide: Any, result: Any, now: Any = None) -> Any:
    with _held(self):
        return self._execute(id, decide, result, now)


def _delivers_a_copy(self: Registry, *_: object) -> None:
    pairs = list(self._undelivered)
    for callback, event in pairs:
        callback(event)
    self._undelivered.clear()


def _queues_twice(self: Registry) -> None:
    unfinished = self._unfinished
    if unfinished is not None:
        (put, arguments), _, event, callbacks, _ = unfinished
        put(*arguments)
        self._undelivered.extend([(callback, event) for callback in callbacks])
        self._unfinished = None


PLANTED: dict[str, tuple[type, str, Any]] = {
    "an event that is put before it can be put again": (Registry, "_commit", _puts_at_once),
    "a lock that an exception leaves locked": (Registry, "execute", _locks_simply),
    "events that are taken from the queue after they were delivered": (Registry, "_deliver", _delivers_a_copy),
    "events that are queued again when the command is finished": (Registry, "_finish", _queues_twice),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_half_done_command_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, replacement = PLANTED[planted]
    monkeypatch.setattr(owner, name, replacement)
    monkeypatch.setattr(interruptions, "CORE", {*interruptions.CORE, __file__})
    assert any(interrupted(ACTS[act], 10_000, most=1) for act in ("attach", "delete a file"))


# Callbacks, and what the engine asks


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RecursionError, SystemExit, ValueError])
def test_what_a_subscriber_raises_leaves_the_event_and_reaches_the_other_subscribers(
    error: type[BaseException],
) -> None:
    world = World()

    def fail(_event: object) -> None:
        raise error

    heard: list[Any] = []
    world.engine.subscribe(fail)
    world.engine.subscribe(heard.append)
    with pytest.raises((error, SubscriberError)):
        world.engine.processing.complete("vs_1", "file-3")
    assert len(world.events) == len(heard) == 1
    world.engine.check()
    assert world.engine.vector_stores.files.retrieve("file-3", vector_store_id="vs_1").status == "completed"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RecursionError, ValueError])
@pytest.mark.parametrize("source", ["clock", "ids", "file_size"])
def test_what_the_clock_the_id_source_or_the_host_raises_changes_nothing(
    source: str, error: type[BaseException]
) -> None:
    fails = False

    def maybe() -> None:
        if fails:
            raise error

    class Clock:
        def time(self) -> float:
            if source == "clock":
                maybe()
            return 1.0

    sequential = SequentialIds()

    def ids(prefix: str) -> str:
        if source == "ids":
            maybe()
        return sequential(prefix)

    def size(_file_id: str) -> int:
        if source == "file_size":
            maybe()
        return 1

    engine = Engine(clock=Clock(), ids=ids, file_size=size)
    engine.vector_stores.create()
    before = engine.snapshot()
    fails = True
    with pytest.raises(error):
        engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a"])
    fails = False
    assert engine.snapshot() == before
    assert engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a"]).file_counts.total == 1
    engine.check()


def test_a_command_in_the_middle_of_another_one_is_refused_and_the_other_goes_on() -> None:
    refused: list[NestedCommand] = []

    class Clock:
        def time(self) -> float:
            if engine_of and not refused:
                try:
                    engine_of[0].vector_stores.create()
                except NestedCommand as error:
                    refused.append(error)
            return 1.0

    engine_of: list[Engine] = []
    engine = Engine(clock=Clock(), ids=SequentialIds())
    engine_of.append(engine)
    assert engine.vector_stores.create().id == "vs_1"
    assert len(refused) == 1
    assert [store.id for store in engine.vector_stores.list()] == ["vs_1"]
    engine.check()


def test_the_id_source_may_read_the_engine() -> None:
    seen: list[int] = []
    sequential = SequentialIds()

    def ids(prefix: str) -> str:
        seen.append(len(engine.vector_stores.list().data))
        return sequential(prefix)

    engine = Engine(ids=ids)
    engine.vector_stores.create()
    engine.vector_stores.create()
    assert seen == [0, 1]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this platform")
def test_a_command_of_a_signal_handler_in_the_middle_of_a_read_is_refused_and_the_read_is_of_one_moment() -> None:
    engine = Engine(ids=SequentialIds(), profile=Profile(limits=Limits(batch_files=20_000)))
    store = engine.vector_stores.create()
    engine.vector_stores.file_batches.create(store.id, file_ids=[f"file-{i}" for i in range(20_000)])
    refused: list[NestedCommand] = []

    def ring(_number: int, _frame: object) -> None:
        try:
            engine.vector_stores.files.delete("file-1", vector_store_id=store.id)
        except NestedCommand as error:
            refused.append(error)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        while not refused:
            with suppress(VsbatchError):  # the handler may find no call under way, and delete the file
                engine.vector_stores.files.create(store.id, file_id="file-1")
            expected = engine.snapshot()
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            engine.check()  # a long read, which fails if anything changes in the midst of it
            signal.setitimer(signal.ITIMER_REAL, 0)
            if refused:
                assert engine.snapshot() == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    engine.check()


def test_what_an_id_source_reads_delivers_nothing_in_the_middle_of_its_command() -> None:
    sequential = SequentialIds()

    def ids(prefix: str) -> str:
        engine.vector_stores.list()
        return sequential(prefix)

    engine = Engine(ids=ids)
    heard: list[str] = []

    def follow(event: Any) -> None:
        heard.append(event.kind)
        if event.kind == "vector_store.created" and event.name == "one":
            engine.vector_stores.update(event.vector_store_id, name="followed")

    engine.subscribe(follow)
    registry = engine._registry
    deliver = registry._deliver
    registry._deliver = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        engine.vector_stores.create(name="one")
    registry._deliver = deliver  # type: ignore[method-assign]
    engine.vector_stores.create(name="two")
    assert heard == ["vector_store.created", "vector_store.created", "vector_store.updated"]
    assert [store.name for store in engine.vector_stores.list()] == ["two", "followed"]


# Forks


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_at_any_moment_leaves_a_child_whose_engine_works() -> None:
    world = World()
    stop = Event()
    engine = world.engine

    def work() -> None:
        ids = [f"file-{i}" for i in range(300)]
        while not stop.is_set():
            store = engine.vector_stores.create(file_ids=ids[:9])
            batch = engine.vector_stores.file_batches.create(store.id, file_ids=ids)
            engine.processing.complete_many(store.id, ids[::2])
            engine.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
            engine.vector_stores.delete(store.id)

    worker = Thread(target=work)
    worker.start()
    codes = []
    try:
        for _ in range(5 if BRIEF else 30):
            time.sleep(0.002)
            child = os.fork()
            if not child:
                signal.alarm(20)
                code = 1
                try:
                    engine.check()
                    engine.vector_stores.files.create("vs_1", file_id="file-in-the-child")
                    engine.check()
                    code = 0
                finally:
                    os._exit(code)
            codes.append(os.waitpid(child, 0)[1])
    finally:
        stop.set()
        worker.join()
    assert set(codes) == {0}
    engine.check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_fork_in_a_subscriber_leaves_two_engines_that_work() -> None:
    world = World()
    children: list[int] = []
    world.engine.subscribe(lambda _event: children.append(os.fork()) if not children else None)
    try:
        world.engine.processing.complete("vs_1", "file-3")
        world.engine.processing.complete("vs_1", "file-4")
        world.engine.check()
    finally:
        if not children[0]:
            os._exit(0 if len(world.events) == 2 and not sys.exc_info()[0] else 1)
    assert os.waitpid(children[0], 0)[1] == 0
    assert len(world.events) == 2
