"""What keeps commands from waiting: groups that gather, and snapshots that are written piece by piece."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine
from vsbatch_core.journal import log as log_parts
from vsbatch_core.journal import replica as module
from vsbatch_core.journal import sqlite as log_module
from vsbatch_core.journal.codec import Reader, Writer
from vsbatch_core.journal.log import LogError, Snapshot
from vsbatch_core.journal.replica import Command, Replica
from vsbatch_core.journal.sqlite import SqliteLog

numbers = st.integers(0, (1 << 63) - 1)


def no_store(_: Any) -> Any:
    raise LookupError("no store is named here")


@given(st.lists(st.tuples(st.sampled_from(("strings", "rising", "integers")), st.data())))
def test_columns_are_read_as_they_were_written(columns: list[tuple[str, Any]]) -> None:
    kinds = {
        "strings": st.lists(st.text(st.characters())),
        "rising": st.lists(numbers),
        "integers": st.lists(numbers),
    }
    written = [(kind, tuple(data.draw(kinds[kind]))) for kind, data in columns]
    writer = Writer(no_store)
    for kind, values in written:
        getattr(writer, kind)(values)
    reader = Reader(bytes(writer.data), no_store)
    assert [(kind, getattr(reader, kind)()) for kind, _ in written] == written
    assert not reader.more


# Groups


class Threads:
    """Stands for ``time`` where a leader waits: commands come while it sleeps, and the clock counts sleeps."""

    def __init__(self, replica: Replica, coming: list[int]) -> None:
        self.replica, self.coming, self.slept = replica, coming, 0.0

    def perf_counter(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        for _ in range(self.coming.pop(0) if self.coming else 0):
            self.replica._queue.append(Command(None, no_store, no_store, False))


@pytest.mark.parametrize(
    ("crowd", "milliseconds", "coming", "sleeps"),
    [
        pytest.param(1, 4.0, [1], 0, id="one caller"),
        pytest.param(4, 4.0, [1, 1, 1, 1], 3, id="until all have come"),
        pytest.param(4, 4.0, [1, 0, 1], 2, id="until none comes any more"),
        pytest.param(4, 4.0, [], 1, id="once, if nobody comes"),
        pytest.param(64, 1.0, [1] * 64, 4, id="for half the time of a commit"),
        pytest.param(64, 0.1, [1] * 64, 0, id="not at all, where commits are fast"),
    ],
)
def test_a_leader_waits_for_as_many_as_there_were(
    crowd: int,
    milliseconds: float,
    coming: list[int],
    sleeps: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Engine.open(f"sqlite:///{tmp_path}/gather.db") as engine:
        replica: Any = engine._registry
        replica._crowd, replica._commit_seconds = crowd, milliseconds / 1000
        replica._queue.append(Command(None, no_store, no_store, False))
        threads = Threads(replica, list(coming))
        monkeypatch.setattr(module, "time", threads)
        replica._gather()
        monkeypatch.undo()
        assert round(threads.slept / module._GATHER_SECONDS) == sleeps
        replica._queue.clear()


def test_the_crowd_is_all_that_waited_at_the_end_of_a_group(tmp_path: Path) -> None:
    with Engine.open(f"sqlite:///{tmp_path}/crowd.db") as engine:
        replica: Any = engine._registry
        engine.subscribe(lambda _: replica._queue.append(Command(None, no_store, no_store, False, done=True)))
        engine.vector_stores.create()
        assert replica._crowd == 2
        assert replica._commit_seconds > 0


# Snapshots


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """A log with parts of snapshots so small that most need several."""
    found = SqliteLog(tmp_path / "pieces.db")
    found.open(None, "{}")
    yield found
    found.close()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 100])
def test_a_snapshot_is_read_as_it_was_written_whatever_its_size(
    size: int, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_parts, "_PART_BYTES", 8)
    kept = Snapshot(3, 12, bytes(range(size)))
    log.keep(kept)
    assert log.snapshots() == [3]
    assert log.snapshot(3) == kept
    assert log.last() == 3


@pytest.mark.parametrize("written", range(5))
def test_a_snapshot_is_not_there_until_all_of_it_is(
    written: int, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_parts, "_PART_BYTES", 8)
    kept, run = Snapshot(3, 12, bytes(40)), log._run
    left = [*range(written)]

    def interrupted(statement: str, *arguments: Any) -> None:
        if statement.startswith("REPLACE"):
            if not left:
                raise LogError("the disk is full")
            left.pop()
        run(statement, *arguments)

    monkeypatch.setattr(log, "_run", interrupted)
    with pytest.raises(LogError, match="full"):
        log.keep(kept)
    assert (log.snapshots(), log.last()) == ([], 0)
    monkeypatch.setattr(log, "_run", run)
    log.keep(kept._replace(data=bytes(16)))  # of fewer parts
    assert (log.snapshots(), log.snapshot(3)) == ([3], kept._replace(data=bytes(16)))


def test_a_snapshot_takes_the_place_of_one_after_the_same_frame(log: SqliteLog) -> None:
    kept = Snapshot(3, 12, b"first")
    log.keep(kept)
    log.keep(kept._replace(data=b"second"))
    assert (log.snapshots(), log.snapshot(3)) == ([3], kept._replace(data=b"second"))


def test_others_write_between_the_parts_of_a_snapshot(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_parts, "_PART_BYTES", 8)
    other = sqlite3.connect(log.path, timeout=0, isolation_level=None)
    written = []

    def write(seconds: float) -> None:
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")
        written.append(seconds)

    monkeypatch.setattr(log_module, "sleep", write)
    log.keep(Snapshot(3, 12, bytes(40)))
    assert len(written) == 5
    assert min(written) > 0
    other.close()


def test_a_snapshot_is_of_one_frame_whatever_happens_between_the_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two stores others update, delete and make some, here and over a connection of their own."""
    url = f"sqlite:///{tmp_path}/between.db"
    with Engine.open(url) as engine, Engine.open(url) as other:
        ids = [engine.vector_stores.create(file_ids=["file-a", "file-b"]).id for _ in range(6)]
        before = engine.snapshot()
        replica: Any = engine._registry
        data: dict[str, Any] = {}

        def meanwhile(_seconds: float) -> None:
            if ids:
                engine.processing.complete(ids[-1], "file-a", usage_bytes=1)
                other.vector_stores.delete(ids.pop())
                other.vector_stores.update(ids[0], name=f"store {len(ids)}")
                other.vector_stores.create(file_ids=["file-c"])

        def encoded(value: Any) -> Any:
            if not data:  # it calls itself
                data.update(value["engine"])
            return real(value)

        real = module._encoded
        monkeypatch.setattr(module, "_COPY_SECONDS", -1.0)
        monkeypatch.setattr(module.time, "sleep", meanwhile)
        monkeypatch.setattr(module, "_encoded", encoded)
        engine.compact()
        monkeypatch.undo()
        assert data == before
        assert len(ids) < 6
        assert replica._copying is None
        with Engine.open(url) as again:
            assert again.snapshot() == engine.snapshot() == other.snapshot() != before
            again.check()


def test_to_wake_a_command_that_is_awake_changes_nothing() -> None:
    command = Command(None, no_store, no_store, False)
    command.gate.acquire()
    command.wake()
    command.wake()
    assert not command.gate.locked()
