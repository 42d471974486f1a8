"""Commands of many threads in one transaction: each caller gets what is its own, whatever befalls another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import sleep
from typing import Any

import pytest

from vsbatch_core import Engine, SequentialIds, events
from vsbatch_core.errors import DatabaseUnavailable, EngineClosed, NestedCommand, SubscriberError
from vsbatch_core.journal import replica
from vsbatch_core.journal.log import LogError

from ..helpers.databases import Where, opened, store_id

THREADS = 8


@pytest.fixture
def engine(where: Where) -> Iterator[Engine]:
    with opened(where) as engine:
        engine.vector_stores.create()
        yield engine


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have threads that wait for their leader look again and again."""
    monkeypatch.setattr(replica, "_WAKE_SECONDS", 0.001)


class Call(Thread):
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        super().__init__(daemon=True)
        self.call, self.arguments, self.named = call, arguments, named
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.call(*self.arguments, **self.named)
        except BaseException as error:  # noqa: BLE001 - it is looked at
            self.error = error


@contextmanager
def group(engine: Engine, calls: list[Call]) -> Iterator[None]:
    """Have these calls share a transaction, which begins when the context ends; wait for all of them."""
    with engine.view.hold():
        for call in calls:
            call.start()
        while len(engine._registry._queue) < len(calls):  # type: ignore[attr-defined]
            sleep(0.001)
        yield
    for call in calls:
        call.join(60)
        assert not call.is_alive()


def creates(engine: Engine, n: int = THREADS) -> list[Call]:
    """Return calls that create a store each, of a name of its own."""
    return [Call(engine.vector_stores.create, name=f"{i}") for i in range(n)]


def names(engine: Engine) -> Counter[str]:
    return Counter(store.name for store in engine.vector_stores.list(limit=100).data if store.name)


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("doubts", [0, 1, 2])
def test_a_leader_that_is_interrupted_at_the_commit_leaves_the_others_done_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, landed: bool, doubts: int, log_type: Any
) -> None:
    commit, token = log_type.commit, log_type.token
    left = doubts

    def interrupted(log: Any) -> None:
        monkeypatch.setattr(log_type, "commit", commit)
        if landed:
            commit(log)
        raise KeyboardInterrupt

    def doubtful(log: Any, seq: int) -> int | None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise LogError("it does not answer")
        return token(log, seq)

    monkeypatch.setattr(log_type, "token", doubtful)
    calls = creates(engine)
    with group(engine, calls):
        monkeypatch.setattr(log_type, "commit", interrupted)
    raised = [call.error for call in calls if call.error is not None]
    assert [type(error) for error in raised if not isinstance(error, DatabaseUnavailable)] == [KeyboardInterrupt]
    expected = Counter(call.value.name for call in calls if call.value)
    if landed:
        expected.update(call.named["name"] for call in calls if isinstance(call.error, KeyboardInterrupt))
    assert names(engine) == expected


@pytest.mark.usefixtures("impatient")
def test_a_leader_that_is_interrupted_before_it_has_the_lock_leaves_nothing_locked(engine: Engine) -> None:
    class Interrupting:
        """A lock whose first acquisition is interrupted."""

        def __init__(self, lock: Any) -> None:
            self._lock = lock
            self.release, self._is_owned = lock.release, lock._is_owned

        def acquire(self) -> None:
            registry.lock = self._lock
            raise KeyboardInterrupt

    registry: Any = engine._registry
    registry.lock = Interrupting(registry.lock)
    with pytest.raises(KeyboardInterrupt):
        engine.vector_stores.create(name="interrupted")
    worker = Thread(target=engine.vector_stores.create, kwargs={"name": "other"})
    worker.start()
    worker.join()
    assert [store.name for store in engine.vector_stores.list().data] == ["other", ""]


def test_a_leader_whose_lock_is_free_already_returns_all_the_same(engine: Engine) -> None:
    class Free:
        """A lock that somebody else has released whenever it is looked at."""

        def acquire(self, *, blocking: bool = True) -> bool:
            return blocking

        def _is_owned(self) -> bool:
            return False

    registry: Any = engine._registry
    lock, registry.lock = registry.lock, Free()
    try:
        engine.vector_stores.create(name="free")
    finally:
        registry.lock = lock
    assert engine.vector_stores.list().data[0].name == "free"


def test_no_call_returns_before_the_subscribers_were_called_with_its_events(engine: Engine) -> None:
    heard = []

    def hear(event: events.Event) -> None:
        sleep(0.01)
        heard.append(event.vector_store_id)

    def create(name: str) -> bool:
        return engine.vector_stores.create(name=name).id in heard

    engine.subscribe(hear)
    calls = [Call(create, name=f"{i}") for i in range(THREADS)]
    with group(engine, calls):
        pass
    assert all(call.value for call in calls)


@pytest.mark.usefixtures("impatient")
def test_what_a_subscriber_raises_is_raised_to_the_caller_of_its_event_and_to_no_other(engine: Engine) -> None:
    def refuse_odd(event: events.Event) -> None:
        sleep(0.01)
        if isinstance(event, events.VectorStoreCreated) and int(event.name or "0") % 2:
            raise ValueError(event.name)

    engine.subscribe(refuse_odd)
    calls = creates(engine)
    with group(engine, calls):
        pass
    for call in calls:
        name = call.named["name"]
        if int(name) % 2:
            assert isinstance(call.error, SubscriberError)
            assert isinstance(call.error.__cause__, ExceptionGroup)
            assert [str(error) for error in call.error.__cause__.exceptions] == [name]
        else:
            assert call.value.name == name
    assert names(engine) == Counter(f"{i}" for i in range(THREADS))


def test_ctrl_c_in_a_subscriber_ends_the_leader_alone_and_all_is_delivered(engine: Engine) -> None:
    heard = []

    def interrupt_once(event: events.Event) -> None:
        heard.append(event)
        if len(heard) == 1:
            raise KeyboardInterrupt

    engine.subscribe(interrupt_once)
    calls = creates(engine)
    with group(engine, calls):
        pass
    assert [type(call.error) for call in calls if call.error] == [KeyboardInterrupt]
    assert names(engine) == Counter(f"{i}" for i in range(THREADS))
    assert [event.version for event in heard if isinstance(event, events.VectorStoreCreated)] == [1] * THREADS


@pytest.mark.parametrize("depth", [1, 5])
def test_commands_that_subscribers_give_are_carried_out_and_nothing_waits_for_ever(
    engine: Engine, depth: int
) -> None:
    docs = store_id(engine)

    def answer(event: events.Event) -> None:
        if isinstance(event, events.FileAttached) and event.file_id.count("+") < depth:
            for way in ("a", "b"):
                file = f"{event.file_id}+{way}"
                engine.vector_stores.files.create(docs, file_id=file)
                assert engine.vector_stores.files.retrieve(file, vector_store_id=docs).id == file

    engine.subscribe(answer)
    calls = [Call(engine.vector_stores.files.create, docs, file_id=f"file-{i}") for i in range(THREADS)]
    with group(engine, calls):
        pass
    assert [call.error for call in calls] == [None] * THREADS
    assert engine.vector_stores.retrieve(docs).file_counts.total == THREADS * (2 ** (depth + 1) - 1)


def test_what_a_command_of_a_subscriber_is_refused_with_is_raised_in_the_subscriber(engine: Engine) -> None:
    def complete(event: events.Event) -> None:
        if isinstance(event, events.FileAttached):
            engine.processing.complete(event.vector_store_id, "file-other", usage_bytes=1)

    engine.subscribe(complete)
    with pytest.raises(SubscriberError) as raised:
        engine.vector_stores.files.create(store_id(engine), file_id="file-a")
    assert isinstance(raised.value.__cause__, ExceptionGroup)
    assert "file-other" in str(raised.value.__cause__.exceptions[0])


@pytest.mark.parametrize("source", ["clock", "ids"])
@pytest.mark.parametrize("use", [Engine.snapshot, Engine.compact, lambda engine: engine.vector_stores.create()])
def test_a_call_in_the_midst_of_a_transaction_is_refused_or_reads_and_the_transaction_goes_on(
    where: Where, source: str, use: Callable[[Engine], object]
) -> None:
    refused: list[BaseException] = []
    usual = SequentialIds()
    within = False

    def look() -> None:
        nonlocal within
        if engines and not within:
            within = True
            try:
                use(engines[0])
            except NestedCommand as error:
                refused.append(error)
            finally:
                within = False

    class Looking:
        def time(self) -> float:
            if source == "clock":
                look()
            return 1_700_000_000.0

    def ids(prefix: str) -> str:
        if source == "ids":
            look()
        return usual(prefix)

    engines: list[Engine] = []
    with opened(where, clock=Looking(), ids=ids) as engine:
        engines.append(engine)
        engine.vector_stores.create(name="docs")
        assert names(engine) == Counter(["docs"])
        assert bool(refused) == (use not in (Engine.snapshot, Engine.compact))


def test_an_engine_can_be_compacted_and_closed_by_a_subscriber_while_it_takes_a_snapshot(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "SNAPSHOT_BYTES", 1)
    engine = opened(where)

    def close(event: events.Event) -> None:
        if isinstance(event, events.VectorStoreDeleted):
            engine.compact()
            engine.close()

    def use() -> None:
        docs = engine.vector_stores.create().id
        for i in range(20):  # the snapshot of each of them waits for the next
            engine.vector_stores.files.create(docs, file_id=f"file-{i}")
        engine.vector_stores.delete(docs)

    engine.subscribe(close)
    call = Call(use)
    call.start()
    call.join(60)
    assert not call.is_alive()
    assert call.error is None
    with pytest.raises(EngineClosed):
        engine.vector_stores.list()
