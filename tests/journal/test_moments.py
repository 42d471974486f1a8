"""Moments that are rare: a fork, an interrupted release, a failing allocation, a signal handler in a commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any

import pytest

from vsbatch_core import Completed, Engine, Profile, events, registry
from vsbatch_core.errors import (
    DatabaseDamaged,
    DatabaseUnavailable,
    EngineClosed,
    EventsForgotten,
    NestedCommand,
)
from vsbatch_core.journal import replica
from vsbatch_core.journal.log import LogError

from ..helpers.databases import Where, filled, once_before, opened, store_id


@pytest.fixture
def engine(where: Where) -> Iterator[Engine]:
    with filled(where) as engine:
        yield engine


# Forks: both sides of one, in this process


def in_parent() -> None:
    replica._before_fork()
    replica._after_fork()


def in_child() -> None:
    replica._before_fork()
    registry._after_fork()
    replica._after_fork_in_child()


@pytest.mark.parametrize("side", [in_parent, in_child])
def test_no_connection_is_open_during_a_fork_and_both_sides_open_their_own(
    engine: Engine, where: Where, side: Callable[[], None], monkeypatch: pytest.MonkeyPatch, log_type: Any
) -> None:
    engine.compact()
    close, closed = log_type.close, []

    def noted(log: Any) -> None:
        closed.append(log)
        close(log)

    log = engine._registry.log  # type: ignore[attr-defined]
    monkeypatch.setattr(log_type, "close", noted)
    side()
    assert log in closed
    assert log._connection is None
    engine.vector_stores.create()
    engine.compact()
    with opened(where) as other:
        assert other.snapshot() == engine.snapshot()


def test_a_child_of_a_fork_that_could_not_wait_for_another_thread_loads_anew_and_leaves_its_connection_alone(
    engine: Engine, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_FORK_SECONDS", 0.01)
    held, done = Event(), Event()

    def hold() -> None:
        with engine.view.hold():
            held.set()
            done.wait(20)

    thread = Thread(target=hold)
    thread.start()
    held.wait(20)
    inherited = engine._registry.log  # type: ignore[attr-defined]
    try:
        in_child()
        assert engine._registry.log is not inherited  # type: ignore[attr-defined]
        assert inherited._connection is not None
        engine.vector_stores.create()
        with opened(where) as other:
            assert other.snapshot() == engine.snapshot()
    finally:
        done.set()
        thread.join()
        replica._inherited.remove(inherited)
        inherited.close()


# Interruptions


class Stubborn:
    """A lock whose first release is interrupted before it has begun."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.acquire, self._is_owned = self.lock.acquire, self.lock._is_owned  # type: ignore[attr-defined]
        self.interrupted = False

    def release(self) -> None:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        self.lock.release()


@pytest.mark.parametrize("name", ["lock", "_lead"])
@pytest.mark.parametrize("use", ["create", "list"])
def test_a_lock_whose_release_is_interrupted_is_released_all_the_same(
    engine: Engine, name: str, use: str
) -> None:
    lock, usual = Stubborn(), getattr(engine._registry, name)
    setattr(engine._registry, name, lock)
    try:
        getattr(engine.vector_stores, use)()
    except KeyboardInterrupt:
        assert lock.interrupted
    assert not lock._is_owned()
    setattr(engine._registry, name, usual)
    assert len(engine.vector_stores.list().data) == 1 + (use == "create")


def test_a_command_that_fails_in_the_midst_of_a_change_has_not_happened(
    engine: Engine, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = replica.Replica._write

    def failing(*_: Any) -> None:
        monkeypatch.setattr(replica.Replica, "_write", write)
        raise MemoryError

    before = engine.snapshot()
    monkeypatch.setattr(replica.Replica, "_write", failing)
    with pytest.raises(MemoryError):
        engine.vector_stores.create()
    assert engine.snapshot() == before
    engine.vector_stores.create()
    with opened(where) as other:
        assert other.snapshot() == engine.snapshot()


@pytest.mark.parametrize("name", ["begin", "append", "commit"])
@pytest.mark.parametrize("use", [Engine.snapshot, lambda engine: engine.vector_stores.create()])
def test_a_call_of_a_signal_handler_in_a_transaction_is_refused_and_the_transaction_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, use: Callable[[Engine], object]
) -> None:
    refused = []

    def handler() -> None:
        with pytest.raises(NestedCommand) as raised:
            use(engine)
        refused.append(raised)

    once_before(monkeypatch, name, handler)
    made = engine.vector_stores.create()
    assert engine.vector_stores.list().data[0] == made
    assert len(refused) == 1


@pytest.mark.parametrize("name", ["begin", "append", "commit"])
def test_a_signal_handler_that_closes_the_engine_lets_the_transaction_end(
    engine: Engine, where: Where, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    once_before(monkeypatch, name, engine.close)
    made = engine.vector_stores.create()
    with pytest.raises(EngineClosed):
        engine.vector_stores.list()
    assert engine._registry.log._connection is None  # type: ignore[attr-defined]
    with opened(where) as other:
        assert other.vector_stores.retrieve(made.id) == made


# The log


def test_a_file_that_another_process_makes_at_the_same_moment_is_used(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = []
    once_before(monkeypatch, "_create", lambda: other.append(filled(where)))
    with opened(where) as engine:
        assert engine.snapshot() == other[0].snapshot()
    other[0].close()


def test_a_file_that_cannot_be_opened_says_what_must_be_writable(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    with pytest.raises(DatabaseUnavailable, match="allowed to write the file, and its folder") as raised:
        opened(long)
    assert str(long) in str(raised.value)


def test_a_schema_that_is_not_even_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path).close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE stores", b"CREATE TABL\xff stores"))
    with pytest.raises(DatabaseDamaged, match="it cannot be opened"):
        opened(path)


def test_a_connection_that_fails_while_it_is_asked_for_changes_is_named(tmp_path: Path) -> None:
    engine = filled(tmp_path / "a.db")
    log = engine._registry.log  # type: ignore[attr-defined]
    log._connection.close()
    with pytest.raises(DatabaseUnavailable, match="closed database"):
        engine.snapshot()
    log.close()
    engine.check()
    engine.close()


def test_an_engine_that_is_left_behind_by_what_is_damaged_since_names_it(engine: Engine, where: Where) -> None:
    damage = "UPDATE vsbatch.snapshots SET checksum = 0"
    if isinstance(where, Path):
        damage = damage.replace("vsbatch.", "")
    with opened(where) as other:
        for _ in range(2):
            other.vector_stores.create()
            other.compact()
        other._registry.log._run(damage)  # type: ignore[attr-defined]
    for use in (engine.snapshot, engine.vector_stores.create):
        with pytest.raises(DatabaseDamaged, match="frame 1 is missing"):
            use()


def test_a_snapshot_that_cannot_be_taken_aside_is_logged_and_commands_go_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log_type: Any
) -> None:
    def full(*_: Any, **_named: Any) -> None:
        raise LogError("the disk is full")

    monkeypatch.setattr(log_type, "keep", full)
    monkeypatch.setattr(replica, "SNAPSHOT_BYTES", 1)
    with caplog.at_level(logging.WARNING, "vsbatch_core.journal"):
        engine.vector_stores.create()
        engine._registry._compacting.join()  # type: ignore[attr-defined]
    assert "no snapshot was taken" in caplog.text
    assert "the disk is full" in caplog.text
    engine.vector_stores.create()


def test_events_that_are_pruned_while_they_are_read_are_said_to_be_forgotten(engine: Engine) -> None:
    reading = engine.events(store_id(engine))
    next(reading)
    for _ in range(2):
        engine.vector_stores.create()
        engine.compact()
    with pytest.raises(EventsForgotten):
        list(reading)


def test_what_the_log_gave_a_follower_does_not_come_again_when_it_is_noticed(
    engine: Engine, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = store_id(engine)
    heard: list[events.Event] = []
    with opened(where) as other:
        once_before(
            monkeypatch, "parts", lambda: other.vector_stores.files.create(docs, file_id="file-of-another")
        )
        engine.follow(heard.append, docs, after=0)
        assert [event.version for event in heard] == list(range(1, other.version(docs) + 1))


def test_claims_on_files_of_a_batch_that_drains_outlast_a_snapshot(where: Where) -> None:
    with opened(where, profile=Profile(cancel="drain")) as engine:
        docs = engine.vector_stores.create().id
        batch = engine.vector_stores.file_batches.create(docs, file_ids=["file-a", "file-b"])
        (claim,) = engine.processing.claim(worker="w", vector_store_id=docs)
        engine.vector_stores.file_batches.cancel(batch.id, vector_store_id=docs)
        engine.compact()
    with opened(where) as engine:
        assert engine.view.claim(docs, claim.attachment) == claim
        (file,) = engine.processing.finish([Completed(claim, usage_bytes=1)])
        assert getattr(file, "status", file) == "completed"


def test_claims_that_are_written_in_pieces_are_read_back(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "_PIECE", 2)
    with opened(where) as engine:
        docs = engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(7)]).id
        claims = engine.processing.claim(7, worker="w", vector_store_id=docs)
        engine.compact()
    with opened(where) as engine:
        assert [engine.view.claim(docs, claim.attachment) for claim in claims] == claims


def test_a_read_that_cannot_make_happen_what_is_due_is_refused_and_changes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, log_type: Any
) -> None:
    def full(*_: Any, **_named: Any) -> None:
        raise LogError("the disk is full")

    brief = engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    engine.clock.advance(2 * 86_400.0)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(log_type, "append", full)
        with pytest.raises(DatabaseUnavailable, match="the disk is full"):
            engine.vector_stores.retrieve(brief.id)
    assert engine.vector_stores.retrieve(brief.id).status == "expired"


def test_a_fork_that_cannot_wait_for_a_snapshot_or_a_command_leaves_the_parent_as_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_FORK_SECONDS", 0.01)
    lock = engine._registry._snapshot_lock  # type: ignore[attr-defined]
    with lock:
        in_parent()
        assert lock.locked()
    engine.compact()
