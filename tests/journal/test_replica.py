"""What a replica owes to its callers, to its subscribers and to other processes when its log fails it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from vsbatch_core import Engine, Failed, Retry, VirtualClock
from vsbatch_core.errors import DatabaseDamaged, DatabaseUnavailable, OutcomeUnknown
from vsbatch_core.journal.log import Frame
from vsbatch_core.journal.replica import Command

from ..helpers.databases import Where, log_class, opened, url_of
from ..helpers.fake_log import ALWAYS, Fault
from ..helpers.journal_simulation import Process, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World(0)
    with world.patched():
        yield world


def expose(process: Process, *faults: tuple[str, int, str]) -> None:
    process.power.expose_to(Fault(0, *fault) for fault in faults)


def create(process: Process, world: World) -> str:
    """Make a store; return its id."""
    world.ids.deciding += 1
    id: str = process.engine.vector_stores.create(name=f"name {world.ids.deciding}").id
    return id


def ids(process: Process) -> list[str]:
    return [store.id for store in process.engine.vector_stores.list(order="asc")]


@pytest.fixture
def numbered(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose ids count up, whoever makes them."""

    def command(vector_store_id: Any, decide: Any, result: Any, replaying: bool) -> Command:
        return Command(vector_store_id, decide, result, replaying)

    monkeypatch.setattr("vsbatch_core.journal.replica.Command", command)
    return world


# Following


def test_a_claim_on_what_has_waited_for_it_is_followed(where: Where) -> None:
    clock = VirtualClock()
    url = url_of(where)
    options: dict[str, Any] = {"clock": clock, "retry": Retry(attempts=3, backoff=5.0), "durability": "normal"}
    with Engine.open(url, **options) as leader, Engine.open(url, **options) as follower:
        leader.vector_stores.create(file_ids=["file-a"])
        leader.processing.finish([Failed(claim, retry=True) for claim in leader.processing.claim(worker="w")])
        follower.check()
        clock.advance(6.0)
        assert len(leader.processing.claim(worker="w")) == 1
        follower.check()
        assert follower.processing.claim(worker="w") == []


def test_a_claim_has_its_file_as_it_stands_whoever_returns_it(where: Where) -> None:
    url = url_of(where)
    with Engine.open(url, durability="normal") as first:
        store = first.vector_stores.create(file_ids=["file-a"])
        (claim,) = first.processing.claim(worker="w")
        first.vector_stores.files.update("file-a", vector_store_id=store.id, attributes={"k": "v"})
        first.compact()
        with Engine.open(url, durability="normal") as second:
            for engine in (first, second):
                (longer,) = engine.processing.heartbeat([claim])
                seen = engine.view.claim(store.id, claim.attachment)
                assert longer.file.attributes == seen.file.attributes == {"k": "v"}
                assert engine.view.claim(store.id, claim.attachment + 1) is None


@pytest.mark.parametrize("kind", ["error", "interrupt"])
@pytest.mark.parametrize("point", ["frames", "frame"])
def test_what_could_not_be_read_is_read_the_next_time(point: str, kind: str, numbered: World) -> None:
    writer, reader = Process(numbered), Process(numbered)
    made = [create(writer, numbered) for _ in range(3)]
    expose(reader, (point, 1, kind))
    with pytest.raises((DatabaseUnavailable, KeyboardInterrupt)):
        ids(reader)
    assert ids(reader) == made
    assert len(reader.heard) == 3


def test_reading_some_frames_does_not_make_the_others_known(where: Where) -> None:
    with opened(where) as engine:
        log = log_class(where)(where)
        for _ in range(3):
            engine.vector_stores.create()
        assert len([*log.frames(0)]) == 3
        assert not log.changed()
        engine.vector_stores.create()
        assert len([*log.frames(0, 2)]) == 2
        assert log.changed()
        next(log.frames(0))
        assert log.changed()
        assert [frame.seq for frame in log.frames(3)] == [4]
        assert not log.changed()
        log.close()


def test_what_others_commit_while_a_replica_is_loaded_is_no_damage(
    numbered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = Process(numbered), Process(numbered)
    create(writer, numbered)
    frames = reader.replica.log.frames

    def slowly(after: int, last: int | None = None) -> Iterator[Frame]:
        yield from frames(after, last)
        create(writer, numbered)

    monkeypatch.setattr(reader.replica.log, "frames", slowly)
    reader.replica._seq = None
    assert len(ids(reader)) >= 1
    monkeypatch.undo()
    assert ids(reader) == ids(writer)


def test_what_is_pruned_while_a_replica_is_loaded_is_no_damage(
    numbered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = Process(numbered), Process(numbered)
    for _ in range(2):
        create(writer, numbered)
        writer.engine.compact()
    create(writer, numbered)
    snapshot = reader.replica.log.snapshot
    slow = [2]

    def slowly(seq: int) -> Any:
        found = snapshot(seq)
        while slow:
            slow.pop()
            for _ in range(2):
                create(writer, numbered)
                create(writer, numbered)
                writer.engine.compact()
        return found

    monkeypatch.setattr(reader.replica.log, "snapshot", slowly)
    reader.replica._seq = None
    assert ids(reader) == ids(writer)


def test_a_frame_that_is_missing_is_named(numbered: World) -> None:
    writer = Process(numbered)
    for _ in range(3):
        create(writer, numbered)
    del numbered.disk.frames[2]
    with pytest.raises(DatabaseDamaged, match="frame 2 is missing"):
        Process(numbered)


# Doubt


def test_a_command_whose_leader_was_interrupted_is_not_carried_out_again_once_it_is_found(
    numbered: World,
) -> None:
    process = Process(numbered)
    id = create(process, numbered)
    made = Command(id, lambda store, now: update(store, now, "first"), lambda store, _event: store.name, False)
    follows = Command(id, lambda store, now: update(store, now, "next"), lambda store, _event: store.name, False)
    expose(process, ("committed", 1, "interrupt"), ("token", 1, "error"))
    with pytest.raises(KeyboardInterrupt):
        process.replica._transact([made, follows])
    assert not follows.done
    process.replica._transact([follows])
    assert (follows.done, follows.value) == (True, "next")
    assert process.engine.version(id) == 3


def test_a_command_that_is_interrupted_as_it_is_queued_is_not_carried_out_later(numbered: World) -> None:
    class Interrupted(deque[Command]):
        def append(self, command: Command) -> None:
            super().append(command)
            raise KeyboardInterrupt

    process = Process(numbered)
    process.replica._queue = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        create(process, numbered)
    process.replica._queue = deque(process.replica._queue)
    made = create(process, numbered)
    assert ids(process) == [made]


def update(store: Any, now: float, name: str) -> Any:
    from vsbatch_core import decisions
    from vsbatch_core.model import omit

    return decisions.update_store(store, now, name, omit, omit)


@pytest.mark.parametrize(
    "faults",
    [
        [("commit", 1, "error"), ("rollback", 1, "interrupt")],
        [("commit", 1, "error"), ("rollback", 1, "error"), ("token", 1, "interrupt")],
        [("append", 1, "interrupt"), ("rollback", 1, "interrupt")],
        [("append", 1, "interrupt"), ("rollback", 1, "error")],
        [("commit", 1, "interrupt"), ("token", 1, "interrupt")],
        [("committed", 1, "error"), ("rollback", 1, "interrupt"), ("rollback", 2, "interrupt")],
    ],
)
def test_a_transaction_that_is_interrupted_while_it_is_given_up_keeps_nobody_from_writing(
    faults: list[tuple[str, int, str]], numbered: World
) -> None:
    process, other = Process(numbered), Process(numbered)
    expose(process, *faults)
    with pytest.raises(KeyboardInterrupt):
        create(process, numbered)
    create(other, numbered)
    assert ids(process) == ids(other)
    create(process, numbered)
    assert ids(process) == ids(other)


@pytest.mark.parametrize("kind", ["error", "interrupt"])
def test_a_read_that_cannot_find_out_what_happened_keeps_nobody_from_writing(kind: str, numbered: World) -> None:
    process, other = Process(numbered), Process(numbered)
    expose(process, ("committed", 1, "interrupt"), ("token", 1, "error"), ("rollback", 1, kind))
    with pytest.raises(KeyboardInterrupt):
        create(process, numbered)
    with pytest.raises((DatabaseUnavailable, KeyboardInterrupt)):
        ids(process)  # asks for the token, and is interrupted with the log locked
    create(other, numbered)
    assert ids(process) == ids(other)


@pytest.mark.parametrize("point", ["commit", "committed"])
def test_a_commit_of_which_nothing_is_known_is_said_to_be_unknown(point: str, numbered: World) -> None:
    process = Process(numbered)
    expose(process, (point, 1, "error"), ("token", ALWAYS, "error"))
    with pytest.raises(OutcomeUnknown):
        create(process, numbered)
    expose(process)
    assert len(ids(process)) == (point == "committed")
    assert len(process.heard) == (point == "committed")


# Subscribers


def test_what_was_heard_is_not_heard_again_once_a_replica_is_loaded_anew(numbered: World) -> None:
    process, other = Process(numbered), Process(numbered)
    for _ in range(3):
        create(other, numbered)
    expose(process, ("commit", 1, "error"), ("token", ALWAYS, "error"))
    with pytest.raises(OutcomeUnknown):
        create(process, numbered)
    expose(process, ("frame", 3, "error"))
    with pytest.raises(DatabaseUnavailable):
        ids(process)
    ids(process)
    assert [event.vector_store_id for event in process.heard] == ids(other)


def test_events_that_a_snapshot_makes_superfluous_for_a_replica_are_heard_all_the_same(numbered: World) -> None:
    process, other = Process(numbered), Process(numbered)
    create(other, numbered)
    other.engine.compact()
    ids(process)
    create(other, numbered)
    gone = create(other, numbered)
    other.engine.vector_stores.delete(gone)
    other.engine.compact()
    create(other, numbered)
    process.replica._seq = None  # as after an interruption
    ids(process)
    assert [type(event).__name__ for event in process.heard].count("VectorStoreCreated") == 4
    assert process.heard == [event for _, event in numbered.disk.archive]


# Snapshots


def test_a_snapshot_that_is_not_whole_is_not_counted_among_those_that_are_kept(numbered: World) -> None:
    process = Process(numbered)
    made = []
    for torn in (False, True, False):
        made.append(create(process, numbered))
        expose(process, *[("keep", n, "torn") for n in (1, 2, 3) if torn])  # it is tried three times
        if torn:
            with pytest.raises(DatabaseDamaged, match="cannot be read back as it was written"):
                process.engine.compact()
        else:
            process.engine.compact()
    numbered.disk.damage(max(numbered.disk.snapshots))
    assert ids(Process(numbered)) == made
