"""An engine saved and restored, followed and replayed: the same in every view, and afterwards too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import (
    Engine,
    ExpiresAfter,
    FrozenDict,
    LastError,
    Limits,
    Profile,
    StaticFileChunkingStrategy,
    StaticFileChunkingStrategyObject,
    VirtualClock,
    events,
    snapshots,
    wire,
)
from vsbatch_core.errors import ReplayError, SnapshotError, UnknownCursor, VectorStoreNotFound, WireError
from vsbatch_core.testing import strategies as us

from ..helpers.brief import examples
from ..helpers.strategies import (
    BATCHES,
    FILES,
    OTHER_VALUES,
    START,
    STORES,
    Command,
    CountingIds,
    all_reads,
    call,
    commands,
    filled,
    histories,
    in_json,
    new_engine,
    numbered,
    run,
    views,
)

READS = all_reads()
SOME_READS = all_reads(STORES[:2], BATCHES[:2])
profiles = st.builds(evolve, us.profiles, limits=st.builds(Limits, departed=st.sampled_from((1, 2, 10_000))))


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


def restored(engine: Engine, ids: CountingIds, snapshot: dict[str, Any] | None = None) -> Engine:
    """The engine as it comes back from JSON, at the same time, with the same ids to come."""
    data = through_json(engine.snapshot() if snapshot is None else snapshot)
    return Engine.restore(data, clock=VirtualClock(engine.clock.time()), ids=ids.copy())


def assert_same_page_walks(one: Engine, other: Engine) -> None:
    """Pages go on over what was restored, from wherever they begin."""
    for store in STORES:
        for command in (
            call("vector_stores.files.list", store, limit=1),
            call(
                "vector_stores.file_batches.list_files", BATCHES[0], vector_store_id=store, limit=2, order="asc"
            ),
        ):
            walks = [run(engine, command) for engine in (one, other)]
            assert list(walks[0]) == list(walks[1])


@given(histories, profiles)
@settings(max_examples=examples(25))
def test_a_restored_engine_is_equal_in_every_view(history: list[Command], profile: Profile) -> None:
    engine, _, ids = filled(history, profile)
    twin = restored(engine, ids)
    twin.check()
    assert twin.profile == profile
    assert twin.snapshot() == engine.snapshot()
    assert views(twin, READS) == views(engine, READS)
    assert_same_page_walks(engine, twin)


@given(histories, st.lists(commands, max_size=15))
@settings(max_examples=examples(60))
def test_a_restored_engine_does_and_tells_the_same_ever_after(
    history: list[Command], rest: list[Command]
) -> None:
    """A snapshot does not contain claims, so that nothing was claimed before it."""
    engine, _, ids = filled([command for command in history if command.path != "processing.claim"])
    twin = restored(engine, ids)
    told: tuple[list[events.Event], list[events.Event]] = ([], [])
    engine.subscribe(told[0].append)
    twin.subscribe(told[1].append)
    for command in rest:
        assert run(twin, command) == run(engine, command)
    assert told[0] == told[1]
    assert twin.snapshot() == engine.snapshot()
    twin.check()


@given(histories, st.lists(commands | st.none(), max_size=15))
@settings(max_examples=examples(60))
def test_a_copy_that_is_taken_while_stores_change_is_of_the_moment_when_it_began(
    history: list[Command], rest: list[Command | None]
) -> None:
    """``None`` copies another store; stores that are about to change are copied before."""
    engine, _, _ = filled(history)
    before = through_json(engine.snapshot())
    registry = engine._registry
    copying = snapshots.Copying(registry)
    commit = registry._commit

    def copied_before(event: Any) -> None:
        if isinstance(event, events.Event):
            copying.before(event.vector_store_id)
        commit(event)

    registry._commit = copied_before  # type: ignore[method-assign]
    registry.due._commit = copied_before
    for command in rest:
        if command is None:
            copying.some(-1)
        else:
            run(engine, command)
    while copying.some(0):
        pass
    assert copying.data() == before
    assert not copying.some(0)


@given(histories, profiles)
@settings(max_examples=examples(60))
def test_a_snapshot_that_is_trusted_is_loaded_as_one_that_is_checked(
    history: list[Command], profile: Profile
) -> None:
    engine, _, _ = filled(history, profile)
    twin = new_engine(profile)
    snapshots.load(twin._registry, through_json(engine.snapshot()), trusted=True)
    twin.check()
    assert twin.snapshot() == engine.snapshot()


DELETE = "vector_stores.delete"


def words_of(command: Command) -> tuple[Any, ...]:
    """Where the name of the store stands, if the command is of one store."""
    return (*command.args[:1], command.kwargs.get("vector_store_id"))


@given(histories, st.lists(commands, max_size=10))
@settings(max_examples=examples(40))
def test_the_snapshot_of_one_store_holds_that_store_alone_and_all_of_it(
    history: list[Command], rest: list[Command]
) -> None:
    """A snapshot does not contain claims, so that nothing was claimed before it."""
    engine, _, ids = filled([command for command in history if command.path != "processing.claim"])
    for store in [store.id for store in engine.vector_stores.list(order="asc")]:
        before = engine.snapshot()
        twin = restored(engine, ids, engine.snapshot(store))
        twin.check()
        assert [s.id for s in twin.vector_stores.list()] == [store]
        assert twin.snapshot(store) == engine.snapshot(store)
        assert engine.snapshot() == before
        reads = [read for read in SOME_READS if store in words_of(read)]
        assert views(twin, reads) == views(engine, reads)
    # No state crosses stores: what is done in the last of them comes out the same without the others.
    if engine.vector_stores.list().data:
        store = engine.vector_stores.list(order="asc").data[0].id
        twin = restored(engine, ids, engine.snapshot(store))
        for command in rest:
            if command.path == "clock.advance" or (store in words_of(command) and command.path != DELETE):
                assert run(twin, command) == run(engine, command)


def test_a_store_that_is_not_there_has_no_snapshot() -> None:
    with pytest.raises(VectorStoreNotFound):
        new_engine().snapshot("vs_1")


# Replay


@given(histories, st.data())
@settings(max_examples=examples(80))
def test_replaying_what_was_told_gives_an_equal_engine_from_nothing_and_from_any_moment(
    history: list[Command], data: st.DataObject
) -> None:
    middle = data.draw(st.integers(0, len(history)))
    engine, told, _ = filled(history[:middle])
    snapshot, seen = through_json(engine.snapshot()), len(told)
    for command in history[middle:]:
        run(engine, command)
    whole = engine.snapshot()  # which makes happen what is due
    journal = [wire.from_wire(through_json(wire.to_wire(event))) for event in told]
    assert journal == told
    from_nothing = new_engine()
    from_nothing.replay(journal)  # type: ignore[arg-type]
    on_top = Engine.restore(snapshot, clock=VirtualClock())
    on_top.replay(journal[seen:])  # type: ignore[arg-type]
    for twin in (from_nothing, on_top):
        twin.check()
        assert twin.snapshot() == whole
        assert json.dumps(twin.snapshot()) == json.dumps(whole)


@given(histories)
@settings(max_examples=examples(30))
def test_a_replay_tells_subscribers_what_it_replays(history: list[Command]) -> None:
    _, told, _ = filled(history)
    twin = new_engine()
    again: list[events.Event] = []
    twin.subscribe(again.append)
    twin.replay(iter(told))
    assert again == told


# Cursors of what has left

MANY_STORES = tuple(f"vs_{i}" for i in range(1, 20))


def takes(ask: Callable[..., object], *args: str, **cursor: str) -> bool:
    """Whether a list takes a cursor."""
    try:
        ask(*args, **cursor)
    except UnknownCursor:
        return False
    return True


def cursors(engine: Engine) -> dict[str, list[str]]:
    """By list, what it takes as cursors."""
    stores = engine.vector_stores
    found = {"stores": [id for id in MANY_STORES if takes(stores.list, after=id)]}
    for store in stores.list(order="asc"):
        found[store.id] = [id for id in FILES if takes(stores.files.list, store.id, before=id)]
    return found


def _any(path: str, *args: Any, **kwargs: Any) -> Any:
    return st.builds(
        Command,
        st.just(path),
        st.tuples(*(st.sampled_from(arg) for arg in args)),
        st.fixed_dictionaries({name: st.sampled_from(values) for name, values in kwargs.items()}),
    )


comings_and_goings = st.lists(
    st.one_of(
        st.just(call("vector_stores.create", file_ids=["file-a", "file-b"])),
        _any("vector_stores.delete", STORES),
        _any("vector_stores.files.create", STORES[:2], file_id=FILES),
        _any("vector_stores.files.delete", FILES, vector_store_id=STORES[:2]),
        _any("vector_stores.files.delete", FILES, vector_store_id=STORES[:2]),
        _any("vector_stores.file_batches.create", STORES[:2], file_ids=(FILES[:3], FILES[2:])),
        _any("processing.complete", STORES[:2], FILES),
    ),
    max_size=40,
).map(lambda rest: [call("vector_stores.create", file_ids=list(FILES)), call("vector_stores.create"), *rest])
"""Histories in which much leaves and comes again."""


@given(comings_and_goings, st.sampled_from((1, 2, 3)), st.data())
@settings(max_examples=examples(60))
def test_snapshots_and_replay_keep_exactly_the_same_ids_as_cursors(
    history: list[Command], departed: int, data: st.DataObject
) -> None:
    profile = Profile(limits=Limits(departed=departed))
    middle = data.draw(st.integers(0, len(history)))
    engine, told, ids = filled(history[:middle], profile)
    snapshot, seen = through_json(engine.snapshot()), len(told)
    twin = Engine.restore(snapshot, clock=VirtualClock(START), ids=ids.copy())
    assert cursors(twin) == cursors(engine)
    for command in history[middle:]:
        assert run(twin, command) == run(engine, command)
    from_nothing = new_engine(profile)
    from_nothing.replay(told)
    on_top = Engine.restore(snapshot, clock=VirtualClock(START))
    on_top.replay(told[seen:])
    for other in (twin, from_nothing, on_top, restored(engine, ids)):
        assert cursors(other) == cursors(engine)
        assert in_json(other.snapshot()) == in_json(engine.snapshot())
        other.check()


@given(comings_and_goings)
@settings(max_examples=examples(60))
def test_a_list_takes_as_cursors_what_is_in_it_and_the_last_ids_that_left_it(history: list[Command]) -> None:
    engine = new_engine(Profile(limits=Limits(departed=2)))
    left: dict[str, list[str]] = {}

    def follow(event: events.Event) -> None:
        if isinstance(event, events.VectorStoreDeleted):
            left.setdefault("stores", []).append(event.vector_store_id)
        elif isinstance(event, events.FileDeleted):
            left.setdefault(event.vector_store_id, []).append(event.file_id)
        elif event.vector_store_id in left:  # what came again is no longer what left
            again = events.attached(event)
            left[event.vector_store_id] = [id for id in left[event.vector_store_id] if id not in again]

    engine.subscribe(follow)
    expected: dict[str, set[str]] = {}
    for command in history:
        known = expected
        run(engine, command)
        stores = [store.id for store in engine.vector_stores.list()]
        expected = {"stores": {*stores, *left.get("stores", [])[-2:]}}
        for store in stores:
            here = {file.id for file in engine.vector_stores.files.list(store)}
            # What was forgotten stays so, though something that left after it has come again.
            expected[store] = {*here, *(id for id in left.get(store, [])[-2:] if id in known.get(store, ()))}
        assert {name: set(found) for name, found in cursors(engine).items()} == expected
    engine.check()


def gone_engine(departed: int) -> Engine:
    """Files and stores of which three left, the first in the list last: two that a batch lists, and one alone."""
    engine = new_engine(Profile(limits=Limits(departed=departed)))
    stores = engine.vector_stores
    for _ in range(5):
        stores.create()
    stores.file_batches.create("vs_1", file_ids=["file-a", "file-b", "file-c"])
    stores.files.create("vs_1", file_id="file-d", attributes={"k": 1})
    for file_id in ("file-d", "file-b", "file-a"):
        stores.files.delete(file_id, vector_store_id="vs_1")
    for store in ("vs_4", "vs_3", "vs_2"):
        stores.delete(store)
    return engine


def test_a_file_that_a_batch_lists_and_that_came_again_and_left_is_a_cursor_of_both_lists() -> None:
    engine = new_engine()
    stores = engine.vector_stores
    stores.create()
    stores.file_batches.create("vs_1", file_ids=["file-a", "file-b", "file-c"])
    stores.files.create("vs_1", file_id="file-b")
    stores.files.create("vs_1", file_id="file-d")
    stores.files.delete("file-b", vector_store_id="vs_1")
    twin = Engine.restore(through_json(engine.snapshot()), clock=VirtualClock(START))
    twin.check()
    assert twin.snapshot() == engine.snapshot()
    for made in (engine, twin):
        stores = made.vector_stores
        listed = stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", after="file-b", order="asc")
        assert [file.id for file in listed.data] == ["file-c"]
        assert [file.id for file in stores.files.list("vs_1", after="file-b", order="asc").data] == ["file-d"]


def test_restoring_under_a_profile_with_fewer_departed_forgets_the_first_that_left() -> None:
    snapshot = through_json(gone_engine(3).snapshot())
    for departed, stores, files in (
        (3, ["vs_1", "vs_2", "vs_3", "vs_4", "vs_5"], ["file-a", "file-b", "file-c", "file-d"]),
        (2, ["vs_1", "vs_2", "vs_3", "vs_5"], ["file-a", "file-b", "file-c"]),
        (1, ["vs_1", "vs_2", "vs_5"], ["file-a", "file-c"]),
    ):
        profile = Profile(limits=Limits(departed=departed))
        twin = Engine.restore(snapshot, clock=VirtualClock(START), profile=profile)
        twin.check()
        assert cursors(twin) == {"stores": stores, "vs_1": files, "vs_5": []}
        # It is what an engine would be that had never known more; the batch keeps its rows.
        assert in_json(twin.snapshot()) == in_json(gone_engine(departed).snapshot())
        listed = twin.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", order="asc")
        assert [(file.id, file.status) for file in listed] == [
            ("file-a", "cancelled"),
            ("file-b", "cancelled"),
            ("file-c", "in_progress"),
        ]


def test_what_was_forgotten_stays_so_under_a_profile_with_more_departed() -> None:
    few = gone_engine(1)
    many = Engine.restore(few.snapshot(), clock=VirtualClock(START), profile=Profile())
    assert cursors(many) == cursors(few)
    many.check()
    again = Engine.restore(through_json(many.snapshot()), clock=VirtualClock(START))
    assert again.snapshot() == many.snapshot()
    for engine in (many, again):
        engine.vector_stores.files.delete("file-c", vector_store_id="vs_1")
        engine.vector_stores.delete("vs_5")
        assert cursors(engine) == {"stores": ["vs_1", "vs_2", "vs_5"], "vs_1": ["file-a", "file-c"]}
        engine.check()
        assert Engine.restore(engine.snapshot()).snapshot() == engine.snapshot()


def test_what_was_forgotten_stays_so_when_something_that_left_after_it_comes_again() -> None:
    engine = new_engine(Profile(limits=Limits(departed=1)))
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    engine.vector_stores.files.delete("file-a", vector_store_id="vs_1")
    engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")
    engine.vector_stores.files.create("vs_1", file_id="file-b")
    twin = Engine.restore(through_json(engine.snapshot()), clock=VirtualClock(START))
    assert cursors(twin) == cursors(engine) == {"stores": ["vs_1"], "vs_1": ["file-b"]}
    assert twin.snapshot() == engine.snapshot()
    twin.check()


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        (("cancel",), Profile(all_failed="completed", limits=Limits(page=7, departed=2))),
        (("limits", "departed"), Profile(all_failed="completed", cancel="drain", limits=Limits(page=7))),
        (("limits",), Profile(all_failed="completed", cancel="drain")),
        (("all_failed",), Profile(cancel="drain", limits=Limits(page=7, departed=2))),
    ],
    ids=str,
)
def test_a_snapshot_that_does_not_know_a_part_of_the_profile_is_read_with_its_default(
    dropped: tuple[str, ...], expected: Profile
) -> None:
    profile = Profile(all_failed="completed", cancel="drain", limits=Limits(page=7, departed=2))
    engine = new_engine(profile)
    engine.vector_stores.create(file_ids=["file-a"])
    snapshot = through_json(engine.snapshot())
    assert Engine.restore(snapshot).profile == profile
    inside = snapshot["profile"]
    for name in dropped[:-1]:
        inside = inside[name]
    del inside[dropped[-1]]
    twin = Engine.restore(snapshot)
    assert twin.profile == expected
    assert twin.vector_stores.files.list("vs_1").first_id == "file-a"
    snapshot["profile"] = {}
    assert Engine.restore(snapshot).profile == Profile()


# Impossible events


def base() -> Engine:
    """A store with files finished, in progress and gone, and batches finished, running and draining."""
    engine = new_engine()
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    engine.processing.complete("vs_1", "file-a", usage_bytes=1)
    engine.processing.fail("vs_1", "file-b")
    engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-c"])
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-l"])
    engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    engine.vector_stores.create()
    engine.vector_stores.delete("vs_3")
    engine.replay([numbered(engine, events.FileBatchCancelled, START, "vs_1", "vsfb_3", left_running=(3,))])
    return engine


NO = FrozenDict[str, Any]()
AUTO = StaticFileChunkingStrategyObject()
WIDE = StaticFileChunkingStrategyObject(StaticFileChunkingStrategy(max_chunk_size_tokens=4097))
PAIR: Any = StaticFileChunkingStrategyObject((800, 400))  # type: ignore[arg-type]  # on purpose
ERROR = LastError("server_error", "")
DAY = 86_400
ONE_FILE = (("file-n",), (AUTO,), (NO,))


class Made:
    """An event without its numbers: these are those that would be next in an engine."""

    def __init__(self, cls: Any, *args: Any, **fields: Any) -> None:
        self.cls, self.args, self.fields = cls, args, fields

    def __call__(self, engine: Engine) -> Any:
        return numbered(engine, self.cls, *self.args, **self.fields)


def created(store_id: str, *files: Any, at: float = START, **fields: Any) -> Made:
    """The creation of a store, with files or none."""
    given: dict[str, Any] = {"name": "", "description": None, "expires_after": None, "metadata": NO} | fields
    return Made(events.VectorStoreCreated, at, store_id, *files, **given)


def batched(
    *files: Any, store_id: str = "vs_1", batch_id: str = "vsfb_9", at: float = START, **fields: Any
) -> Made:
    """The creation of a batch."""
    return Made(events.FileBatchCreated, at, store_id, batch_id, *files, **fields)


def attached(
    file_id: Any = "file-n",
    chunking: Any = AUTO,
    attributes: Any = NO,
    store_id: str = "vs_1",
    at: float = START,
    **fields: Any,
) -> Made:
    """The attachment of one file."""
    return Made(events.FileAttached, at, store_id, file_id, chunking, attributes, **fields)


def in_store(cls: Any, *args: Any, at: float = START, store_id: str = "vs_1", **fields: Any) -> Made:
    """An event of a store that is there."""
    return Made(cls, at, store_id, *args, **fields)


IMPOSSIBLE: dict[str, Any] = {
    "a store made twice": created("vs_1"),
    "a store made again after its deletion": created("vs_3"),
    "a store with an id of another kind": created("vsfb_7"),
    "a store with a file twice": created(
        "vs_4", file_ids=("file-n", "file-n"), chunking_strategies=(AUTO,), attributes_each=(NO,)
    ),
    "a store with more files than it may be made with": created(
        "vs_4",
        file_ids=tuple(f"file-{i}" for i in range(501)),
        chunking_strategies=(AUTO,),
        attributes_each=(NO,),
    ),
    "a store of no file with a chunking strategy": created("vs_4", chunking_strategies=(AUTO,)),
    "a store of no file with attributes": created("vs_4", attributes_each=(NO,)),
    "a store made before the last": created("vs_4", at=START - 1),
    "a store made at no time": created("vs_4", at=float("nan")),
    "a store whose name is none": created("vs_4", name=None),
    "a store with a number for a description": created("vs_4", description=5),
    "a store with metadata that can change": created("vs_4", metadata={}),
    "a store with an expiry that is too long": created("vs_4", expires_after=ExpiresAfter(days=366)),
    "a change of no store": in_store(events.VectorStoreUpdated, "", None, NO, store_id="vs_9"),
    "a change in the past": in_store(events.VectorStoreUpdated, "", None, NO, at=START - 1),
    "a change at no time": in_store(events.VectorStoreUpdated, "", None, NO, at=float("nan")),
    "a change at the end of time": in_store(events.VectorStoreUpdated, "", None, NO, at=float("inf")),
    "an expiry that is its JSON": in_store(events.VectorStoreUpdated, "", {"days": 1}, NO),
    "a deletion of no store": in_store(events.VectorStoreDeleted, store_id="vs_9"),
    "a deletion of a deleted store": in_store(events.VectorStoreDeleted, store_id="vs_3"),
    "a deletion in the past": in_store(events.VectorStoreDeleted, at=START - 1),
    "a file in no store": attached(store_id="vs_9"),
    "a file in an expired store": attached(store_id="vs_2", at=START + DAY),
    "a file in the past": attached(at=START - 1),
    "a file under a number that is taken": attached(attachment=3),
    "a file under a number to come": attached(attachment=5),
    "a file of no id": attached(""),
    "a file whose id is a number": attached(5),
    "a chunking strategy that is its JSON": attached(chunking={"type": "auto"}),
    "chunk sizes that are a pair": attached(chunking=PAIR),
    "chunks above the limit": attached(chunking=WIDE),
    "a file with attributes that can change": attached(attributes={}),
    "a file with attributes that are too long": attached(attributes=FrozenDict({"k": "x" * 513})),
    "attributes of no file": in_store(events.FileUpdated, "file-z", NO),
    "attributes of a file that left": in_store(events.FileUpdated, "file-b", NO),
    "attributes of another attachment": in_store(events.FileUpdated, "file-a", NO, attachment=2),
    "attributes in the past": in_store(events.FileUpdated, "file-a", NO, at=START - 1),
    "attributes that can change": in_store(events.FileUpdated, "file-a", {}),
    "a deletion of no file": in_store(events.FileDeleted, "file-z"),
    "a deletion of a file that left": in_store(events.FileDeleted, "file-b"),
    "a deletion of another attachment": in_store(events.FileDeleted, "file-a", attachment=1),
    "a second cancel while a batch drains": in_store(events.FileBatchCancelled, "vsfb_3", (3,)),
    "files that are cancelled of a batch that was not": in_store(events.FilesCancelled, ("file-c",), (2,)),
    "files that are cancelled of which one has ended": in_store(
        events.FilesCancelled, ("file-l", "file-a"), (3, 0)
    ),
    "a file that is cancelled twice": in_store(events.FilesCancelled, ("file-l", "file-l"), (3, 3)),
    "no files that are cancelled": in_store(events.FilesCancelled, (), ()),
    "a file that is cancelled under another number": in_store(events.FilesCancelled, ("file-l",), (2,)),
    "files that are cancelled in the past": in_store(events.FilesCancelled, ("file-l",), (3,), at=START - 1),
    "the end of a store that never expires": in_store(events.VectorStoreExpired),
    "the end of a store before its time": in_store(
        events.VectorStoreExpired, store_id="vs_2", at=START + DAY - 0.5
    ),
    "the end of a store at no time": in_store(events.VectorStoreExpired, store_id="vs_2", at=float("nan")),
    "the end of no store": in_store(events.VectorStoreExpired, store_id="vs_9"),
    "a completion of no file": in_store(events.FileCompleted, "file-z", 1),
    "a completion of a file that left": in_store(events.FileCompleted, "file-b", 1),
    "a second completion": in_store(events.FileCompleted, "file-a", 1),
    "a completion of another attachment": in_store(events.FileCompleted, "file-c", 1, attachment=True),
    "a completion in the past": in_store(events.FileCompleted, "file-c", 1, at=START - 1),
    "a completion at no time": in_store(events.FileCompleted, "file-c", 1, at=float("nan")),
    "a completion with less than no bytes": in_store(events.FileCompleted, "file-c", -1),
    "a failure of no file": in_store(events.FileFailed, "file-z", ERROR),
    "a failure after a completion": in_store(events.FileFailed, "file-a", ERROR),
    "a last_error that is its JSON": in_store(events.FileFailed, "file-c", {"code": "server_error"}),
    "a file that is completed twice in one step": in_store(
        events.FilesCompleted, ("file-c", "file-c"), (2, 2), (1, 1)
    ),
    "files of which one has ended, completed in one step": in_store(
        events.FilesCompleted, ("file-c", "file-a"), (2, 0), (1, 1)
    ),
    "no files completed in one step": in_store(events.FilesCompleted, (), (), ()),
    "fewer files than attachments": in_store(events.FilesCompleted, ("file-c",), (2, 3), (1, 1)),
    "fewer sizes than files": in_store(events.FilesCompleted, ("file-c", "file-l"), (2, 3), (1,)),
    "no sizes": in_store(events.FilesCompleted, ("file-c",), (2,), ()),
    "a size below 0 among others": in_store(events.FilesCompleted, ("file-c", "file-l"), (2, 3), (1, -1)),
    "files that failed under each other's numbers": in_store(
        events.FilesFailed, ("file-c", "file-l"), (3, 2), ERROR
    ),
    "files that failed with no error": in_store(events.FilesFailed, ("file-c",), (2,), None),
    "a batch made twice": batched(*ONE_FILE, batch_id="vsfb_1"),
    "a batch of no file": batched((), (), ()),
    "a batch with a file twice": batched(("file-n", "file-m", "file-n"), (AUTO,), (NO,)),
    "a batch with a file of no id": batched(("file-n", ""), (AUTO,), (NO,)),
    "a batch with files that are a string": batched("file-n", (AUTO,), (NO,)),
    "a batch of three files with two chunking strategies": batched(
        ("file-n", "file-m", "file-o"), (AUTO, AUTO), (NO,)
    ),
    "a batch of one file with two attributes": batched(("file-n",), (AUTO,), (NO, NO)),
    "a batch without chunking strategy": batched(("file-n",), (), (NO,)),
    "a batch without attributes": batched(("file-n",), (AUTO,), ()),
    "a batch with attributes that can change": batched(("file-n", "file-m"), (AUTO,), (NO, {})),
    "a batch with a chunking strategy that is its JSON": batched(("file-n",), ({"type": "auto"},), (NO,)),
    "a batch with chunks above the limit": batched(("file-n", "file-m"), (AUTO, WIDE), (NO,)),
    "a batch with an id of another kind": batched(*ONE_FILE, batch_id="vs_9"),
    "a batch under a number that is taken": batched(*ONE_FILE, first_attachment=3),
    "a batch in no store": batched(*ONE_FILE, store_id="vs_9"),
    "a batch in an expired store": batched(*ONE_FILE, store_id="vs_2", at=START + DAY),
    "a batch in the past": batched(*ONE_FILE, at=START - 1),
    "a cancel of no batch": in_store(events.FileBatchCancelled, "vsfb_9"),
    "a cancel of another store's batch": in_store(events.FileBatchCancelled, "vsfb_2", store_id="vs_2"),
    "a cancel of a finished batch": in_store(events.FileBatchCancelled, "vsfb_1"),
    "a cancel in the past": in_store(events.FileBatchCancelled, "vsfb_2", at=START - 1),
    "a cancel that leaves a number": in_store(events.FileBatchCancelled, "vsfb_2", 2),
    "a cancel that leaves a file of another batch": in_store(events.FileBatchCancelled, "vsfb_2", (3,)),
    "a cancel that leaves a file of no batch": in_store(events.FileBatchCancelled, "vsfb_2", (4,)),
    "a cancel that leaves a file twice": in_store(events.FileBatchCancelled, "vsfb_2", (2, 2)),
    "a cancel that leaves a word": in_store(events.FileBatchCancelled, "vsfb_2", ("2",)),
    "a purge of no batch": in_store(events.FileBatchesPurged, ()),
    "a purge of a batch that is not there": in_store(events.FileBatchesPurged, ("vsfb_9",)),
    "a purge of another store's batch": in_store(events.FileBatchesPurged, ("vsfb_1",), store_id="vs_2"),
    "a purge of a batch in progress": in_store(events.FileBatchesPurged, ("vsfb_1", "vsfb_2")),
    "a purge of a batch that drains": in_store(events.FileBatchesPurged, ("vsfb_3",)),
    "a purge of a batch twice": in_store(events.FileBatchesPurged, ("vsfb_1", "vsfb_1")),
    "a purge of a word": in_store(events.FileBatchesPurged, "vsfb_1"),
    "a purge of what is no batch": in_store(events.FileBatchesPurged, ("vs_1",)),
    "a purge in the past": in_store(events.FileBatchesPurged, ("vsfb_1",), at=START - 1),
    "no event at all": "vector_store.deleted",
    "an event that was not read from its JSON": {"kind": "vector_store.deleted", "vector_store_id": "vs_1"},
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_replay_refuses_and_changes_nothing(kind: str) -> None:
    engine = base()
    before = engine.snapshot()
    told: list[events.Event] = []
    engine.subscribe(told.append)
    event = IMPOSSIBLE[kind](engine) if isinstance(IMPOSSIBLE[kind], Made) else IMPOSSIBLE[kind]
    with pytest.raises(ReplayError) as caught:
        engine.replay([event])
    assert type(event).__name__ in caught.value.message
    assert not (caught.value.param or "").endswith("version"), "it was refused for its number"
    assert engine.snapshot() == before
    assert told == []
    engine.check()


@pytest.mark.parametrize(
    "event",
    [
        created("vs_4", file_ids=("file-n",), chunking_strategies=(AUTO,), attributes_each=(NO,)),
        created("vs_4", expires_after=ExpiresAfter(days=365), description="all"),
        in_store(events.VectorStoreUpdated, "", ExpiresAfter(days=1), NO),
        in_store(events.VectorStoreDeleted),
        attached(),
        attached("file-a"),
        in_store(events.FileUpdated, "file-a", NO),
        in_store(events.FileDeleted, "file-c"),
        in_store(events.FilesCancelled, ("file-l",), (3,)),
        in_store(events.VectorStoreExpired, store_id="vs_2", at=START + DAY),
        in_store(events.FileCompleted, "file-c", 1),
        in_store(events.FileFailed, "file-c", ERROR),
        in_store(events.FilesCompleted, ("file-l", "file-c"), (3, 2), (1, 0)),
        in_store(events.FilesFailed, ("file-c", "file-l"), (2, 3), ERROR),
        batched(*ONE_FILE),
        batched(("file-a", "file-m", "file-o"), (AUTO,) * 3, (NO,)),
        batched(("file-n", "file-m"), (AUTO,), (NO, FrozenDict({"k": "x" * 512}))),
        in_store(events.FileBatchCancelled, "vsfb_2"),
        in_store(events.FileBatchCancelled, "vsfb_2", (2,)),
        in_store(events.FileBatchCancelled, "vsfb_3"),
        in_store(events.FileBatchesPurged, ("vsfb_1",)),
    ],
    ids=lambda made: made.cls.kind,
)
def test_replay_takes_what_differs_from_the_impossible_by_a_little(event: Made) -> None:
    engine = base()
    before = engine.snapshot()
    engine.replay([event(engine)])
    assert engine.snapshot() != before
    engine.check()


def test_the_events_before_an_impossible_one_stand() -> None:
    engine = base()
    possible = numbered(engine, events.FileCompleted, START, "vs_1", "file-c", 9)
    with pytest.raises(ReplayError, match=r"FileCompleted.* cannot follow"):
        engine.replay([possible, possible, numbered(engine, events.VectorStoreDeleted, START, "vs_1")])
    assert engine.vector_stores.files.retrieve("file-c", vector_store_id="vs_1").usage_bytes == 9
    engine.check()


# Damaged snapshots


def static(size: int, overlap: int) -> dict[str, Any]:
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


def snapshot_with_everything() -> dict[str, Any]:
    """A snapshot in whose first store no array is empty."""
    engine = base()
    stores = engine.vector_stores
    stores.create(idempotency_key="key-1")
    stores.delete("vs_4")
    stores.update("vs_1", metadata={"k": "v"}, expires_after={"anchor": "last_active_at", "days": 3})
    stores.files.create("vs_1", file_id="file-b", attributes={"k": 1.5}, chunking_strategy=static(200, 9))
    stores.file_batches.cancel("vsfb_2", vector_store_id="vs_1")
    engine.clock.advance(1.5)  # type: ignore[attr-defined]
    stores.file_batches.create("vs_1", file_ids=["file-b", "file-d"], chunking_strategy=static(300, 0))
    stores.files.create("vs_1", file_id="file-e", attributes={"k": True}, chunking_strategy=static(200, 9))
    stores.files.create("vs_1", file_id="file-f", chunking_strategy=static(300, 0))
    stores.files.create("vs_1", file_id="file-g", attributes={"l": "w"})
    engine.processing.fail("vs_1", "file-f", code="invalid_file", message="bad")
    for file_id in ("file-g", "file-d"):
        stores.files.delete(file_id, vector_store_id="vs_1")
    stores.file_batches.create("vs_1", file_ids=["file-c", "file-h"], idempotency_key="key-1")
    return through_json(engine.snapshot())  # type: ignore[no-any-return]


WHOLE = snapshot_with_everything()


def journal_of_everything() -> list[dict[str, Any]]:
    """The events of a history in which each kind occurs, as JSON."""
    delivered: list[events.Event] = []
    engine = new_engine()
    engine.subscribe(delivered.append)
    stores = engine.vector_stores
    stores.create(name="one", metadata={"k": "v"}, expires_after={"anchor": "last_active_at", "days": 3})
    stores.create(file_ids=["file-a"], idempotency_key="key-1")
    stores.update("vs_1", name="two")
    stores.files.create("vs_1", file_id="file-s", attributes={"k": 1.5})
    stores.files.update("file-s", vector_store_id="vs_1", attributes={"k": True})
    stores.file_batches.create("vs_1", file_ids=["file-a", "file-b", "file-c", "file-d"])
    engine.processing.complete("vs_1", "file-a", usage_bytes=7)
    engine.processing.fail("vs_1", "file-b")
    stores.files.delete("file-c", vector_store_id="vs_1")
    stores.file_batches.create("vs_1", file_ids=["file-w", "file-x", "file-y", "file-z"])
    engine.processing.complete_many("vs_1", ["file-w", "file-x"], usage_bytes=[1, 2])
    engine.processing.fail_many("vs_1", ["file-y", "file-z"])
    running = engine.view.attachments("vs_1", "file-d")
    engine.replay([numbered(engine, events.FileBatchCancelled, START, "vs_1", "vsfb_1", left_running=running)])
    stores.delete("vs_2")  # the drain ends, which nobody here waits for
    engine.processing.purge("vs_1", older_than=0)
    engine.clock.advance(3 * DAY)  # type: ignore[attr-defined]
    engine.check()
    assert {type(event) for event in delivered} == set(events.EVENT_TYPES)
    return [through_json(wire.to_wire(event)) for event in delivered]


JOURNAL = journal_of_everything()


def paths(data: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside, but for the whole."""
    keys = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield (*here, key)
        yield from paths(data[key], (*here, key))


PATHS = list(paths(WHOLE))


def damaged(path: tuple[Any, ...], damage: Callable[[Any, Any], object]) -> Any:
    """A copy of the snapshot in which ``damage`` was done to what holds the last key of the path."""
    data = deepcopy(WHOLE)
    inside = data
    for key in path[:-1]:
        inside = inside[key]
    damage(inside, path[-1])
    return data


def replace(value: Any) -> Callable[[Any, Any], object]:
    return lambda inside, key: inside.__setitem__(key, value)


def twice(inside: Any, key: Any) -> None:
    if isinstance(inside, list):
        inside.insert(key, deepcopy(inside[key]))
    else:
        inside[f"{key} "] = inside[key]


def shifted(by: int) -> Callable[[Any, Any], object]:
    def damage(inside: Any, key: Any) -> None:
        if isinstance(inside[key], (int, float)):
            inside[key] += by

    return damage


def backwards(inside: Any, key: Any) -> None:
    if isinstance(inside[key], list):
        inside[key].reverse()


DAMAGES: dict[str, Callable[[Any, Any], object]] = {
    "dropped": lambda inside, key: inside.pop(key),
    "twice": twice,
    "one more": shifted(1),
    "one less": shifted(-1),
    "backwards": backwards,
    **{f"replaced by {i}: {value!r}"[:40]: replace(value) for i, value in enumerate(OTHER_VALUES)},
}


def with_whole_profile(data: Any) -> Any:
    """The snapshot with the defaults of what its profile does not say."""
    whole = WHOLE["profile"]
    limits = {**whole["limits"], **data["profile"].get("limits", {})}
    return {**data, "profile": {**whole, **data["profile"], "limits": limits}}


def assert_refused_or_sound(data: Any) -> None:
    """A snapshot is refused by its place, or it makes an engine that is it, holds together, and goes on."""
    try:
        engine = Engine.restore(data, clock=VirtualClock(START), ids=CountingIds())
    except SnapshotError as error:
        if data.get("format") == WHOLE["format"] and error.param is None:
            raise AssertionError("the refusal names no place") from error
        return
    engine.check()
    assert in_json(engine.snapshot()) == in_json(with_whole_profile(data))
    again = Engine.restore(through_json(engine.snapshot()), clock=VirtualClock(START))
    assert again.snapshot() == engine.snapshot()
    for store in engine.vector_stores.list():
        assert store.description is None or isinstance(store.description, str)
        listed = [file.id for file in engine.vector_stores.files.list(store.id)]
        assert len(listed) == len(set(listed)) == store.file_counts.total
        if store.status != "expired":
            engine.vector_stores.files.create(store.id, file_id="file-new")
            engine.check()
            assert engine.vector_stores.files.list(store.id, limit=1).first_id == "file-new"


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_snapshot_with_any_one_value_damaged_is_refused_or_sound(kind: str) -> None:
    unsound = {}
    for path in PATHS:
        try:
            assert_refused_or_sound(damaged(path, DAMAGES[kind]))
        except Exception as error:  # noqa: BLE001 - all of them are shown together
            unsound["/".join(map(str, path))] = f"{type(error).__name__}: {error}"
    assert unsound == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_journal_with_any_one_value_damaged_is_refused_or_gives_an_engine_that_can_be_saved(kind: str) -> None:
    unsound = {}
    for path in paths(JOURNAL):
        journal = deepcopy(JOURNAL)
        inside: Any = journal
        for key in path[:-1]:
            inside = inside[key]
        DAMAGES[kind](inside, path[-1])
        engine = new_engine()
        try:
            with suppress(WireError, ReplayError):  # what stands before the damaged event was applied
                engine.replay([wire.from_wire(event) for event in journal])  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - all of them are shown together
            unsound["/".join(map(str, path))] = f"{type(error).__name__}: {error}"
            continue
        engine.check()
        saved = through_json(engine.snapshot())
        assert in_json(Engine.restore(saved).snapshot()) == in_json(saved)
    assert unsound == {}


@given(
    st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(sorted(DAMAGES))), min_size=2, max_size=5),
)
def test_a_snapshot_with_several_values_damaged_is_refused_or_sound(damages: list[tuple[Any, str]]) -> None:
    data = deepcopy(WHOLE)
    for path, kind in damages:
        inside: Any = data
        try:
            for key in path[:-1]:
                inside = inside[key]
            DAMAGES[kind](inside, path[-1])
        except (AttributeError, IndexError, KeyError, TypeError):
            continue  # the damage before it has taken this place away
    assert_refused_or_sound(data)


def test_the_whole_snapshot_is_sound_and_none_of_the_damages_was_in_vain() -> None:
    assert_refused_or_sound(WHOLE)
    assert Engine.restore(WHOLE).snapshot() == WHOLE
    for kind, damage in DAMAGES.items():
        changed = [path for path in PATHS if damaged(path, damage) != WHOLE]
        assert len(changed) > 10, kind


def first(name: str, damage: Callable[[Any], object]) -> Callable[[Any], object]:
    """Damage what stands under a key of the first store."""
    return lambda snapshot: damage(snapshot["vector_stores"][0][name])


def put(name: str, value: Any) -> Callable[[Any], object]:
    """Replace what stands under a key of the first store."""
    return lambda snapshot: snapshot["vector_stores"][0].update({name: value})


def item(name: str, i: int, value: Any) -> Callable[[Any], object]:
    """Replace one item of an array of the first store."""
    return first(name, lambda array: array.__setitem__(i, value))


def letter(i: int, status: str) -> Callable[[Any], object]:
    """Replace one letter of the statuses of the first store."""

    def damage(snapshot: Any) -> None:
        store = snapshot["vector_stores"][0]
        store["statuses"] = store["statuses"][:i] + status + store["statuses"][i + 1 :]

    return damage


def both(*damages: Callable[[Any], object]) -> Callable[[Any], object]:
    """Do one after the other."""
    return lambda snapshot: [damage(snapshot) for damage in damages]


# The first store of WHOLE: attachments 0 a completed, 1 b failed and gone, 2 c cancelled and gone, 3 l cancelled
# in a batch that drained; 4 is forgotten; 5 b and 6 d, which was deleted, in vsfb_4; 7 e; 8 f failed; 9 g, which
# was deleted; 10 c and 11 h in vsfb_5.  What stands in the i-th place of a column is attachment i, and from 4 on
# i + 1.
FIRST = "vector_stores[0]"
TIME = int(START)


def finished(batch: int, time: Any) -> Callable[[Any], object]:
    """Have a batch of the first store have finished at this time."""
    return first("file_batches", lambda batches: batches[batch].__setitem__(5, time))


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    # The whole
    "another format": (lambda s: s.update(format="vsbatch-core snapshot 2"), "format"),
    "no format": (lambda s: s.pop("format"), "format"),
    "no profile": (lambda s: s.pop("profile"), "snapshot.profile"),
    "a part that is unknown": (lambda s: s.update(colour=1), "snapshot.colour"),
    "a profile that is a word": (lambda s: s.update(profile="reference"), "profile"),
    "a profile of the future": (lambda s: s["profile"].update(colour="red"), "profile.colour"),
    "a profile with an unknown word": (lambda s: s["profile"].update(cancel="never"), "profile"),
    "a profile with an array for a word": (lambda s: s["profile"].update(cancel=[]), "profile"),
    "limits that are an array": (lambda s: s["profile"].update(limits=[]), "profile.limits"),
    "a limit of the future": (lambda s: s["profile"]["limits"].update(colour=1), "profile.limits.colour"),
    "a limit of 0": (lambda s: s["profile"]["limits"].update(departed=0), "profile"),
    "a time that is none": (lambda s: s.update(at=None), "at"),
    "a version below 0": (lambda s: s.update(version=-1), "version"),
    "fewer events than stores": (lambda s: s.update(version=4), "version"),
    "an odd event": (lambda s: s.update(version=7), "version"),
    "no stores": (lambda s: s.pop("vector_stores"), "snapshot.vector_stores"),
    "stores that are an object": (lambda s: s.update(vector_stores={}), "vector_stores"),
    # The list of stores
    "a store that is its id": (lambda s: s["vector_stores"].append("vs_9"), "vector_stores[4]"),
    "a store twice": (lambda s: s["vector_stores"].insert(1, s["vector_stores"][0]), "vector_stores[1].id"),
    "a deleted store twice": (
        lambda s: s["vector_stores"].append({"id": "vs_3", "deleted": True}),
        "vector_stores[4].id",
    ),
    "a deleted store that is said not to be": (
        lambda s: s["vector_stores"][2].update(deleted=False),
        "vector_stores[2].deleted",
    ),
    "a deleted store with a name": (lambda s: s["vector_stores"][2].update(name=""), "vector_stores[2].name"),
    "a deleted store of no id": (lambda s: s["vector_stores"][2].pop("id"), "vector_stores[2].id"),
    "a deleted store with an id of another kind": (
        lambda s: s["vector_stores"][2].update(id="file-a"),
        "vector_stores[2].id",
    ),
    "a store that was made before the one before it": (
        lambda s: s["vector_stores"][1].update(created_at=TIME - 1),
        "vector_stores[1].created_at",
    ),
    "a store that was made after the latest": (lambda s: s.update(at=START - 1), f"{FIRST}.created_at"),
    "departed stores that are an object": (lambda s: s.update(departed={}), "departed"),
    "a departed store with an id of another kind": (lambda s: s.update(departed=["file-a"]), "departed[0]"),
    "a departed store that is here": (lambda s: s["departed"].append("vs_1"), "departed[2]"),
    "a departed store twice": (lambda s: s.update(departed=["vs_3", "vs_3"]), "departed[1]"),
    "a deleted store that has not departed": (lambda s: s["departed"].pop(), "departed"),
    "more departed stores than the limit": (
        both(lambda s: s["profile"]["limits"].update(departed=1), put("departed", [9])),
        "departed",
    ),
    # One store
    "a store of no version": (put("version", 0), f"{FIRST}.version"),
    "a store that lacks a column": (lambda s: s["vector_stores"][0].pop("statuses"), f"{FIRST}.statuses"),
    "a store with an id of another kind": (put("id", "file-a"), f"{FIRST}.id"),
    "a store that was made at half a second": (put("created_at", START), f"{FIRST}.created_at"),
    "a store that was active before it was made": (put("last_active_at", TIME - 1), f"{FIRST}.last_active_at"),
    "a store that was active after its latest event": (
        put("last_active_at", TIME + 2),
        f"{FIRST}.last_active_at",
    ),
    "a store whose latest event is at no time": (put("at", "now"), f"{FIRST}.at"),
    "an expiry of no day": (put("expires_after", 0), f"{FIRST}.expires_after"),
    "an expiry of too many days": (put("expires_after", 366), f"{FIRST}.expires_after"),
    "a name that is none": (put("name", None), f"{FIRST}.name"),
    "a description that is a number": (put("description", 5), f"{FIRST}.description"),
    "metadata that are none": (put("metadata", None), f"{FIRST}.metadata"),
    "metadata that are numbers": (put("metadata", {"k": 1}), f"{FIRST}.metadata.k"),
    # Its attachments
    "a next attachment below 0": (put("next_attachment", -1), f"{FIRST}.next_attachment"),
    "a next attachment that is there": (put("next_attachment", 11), f"{FIRST}.attachments[1].stop"),
    "attachments that are a number": (put("attachments", 12), f"{FIRST}.attachments"),
    "an interval of three numbers": (item("attachments", 0, [0, 1, 4]), f"{FIRST}.attachments[0]"),
    "an interval that is a number": (item("attachments", 0, 4), f"{FIRST}.attachments[0]"),
    "an interval of nothing": (item("attachments", 0, [0, 0]), f"{FIRST}.attachments[0].stop"),
    "intervals that touch": (put("attachments", [[0, 4], [4, 11]]), f"{FIRST}.attachments[1].first"),
    "intervals out of order": (put("attachments", [[8, 12], [0, 7]]), f"{FIRST}.attachments[1].first"),
    "a file too few": (first("file_ids", lambda ids: ids.pop()), f"{FIRST}.file_ids"),
    "a file too many": (first("file_ids", lambda ids: ids.append("file-x")), f"{FIRST}.file_ids"),
    "a file of no id": (item("file_ids", 3, ""), f"{FIRST}.file_ids[3]"),
    "a file whose id is a number": (item("file_ids", 3, 5), f"{FIRST}.file_ids[3]"),
    "a time of no attachment": (item("created", 1, [TIME + 1, 0]), f"{FIRST}.created[1].attachments"),
    "a time of too many attachments": (item("created", 1, [TIME + 1, 8]), f"{FIRST}.created[1].attachments"),
    "times of too few attachments": (first("created", lambda runs: runs.pop()), f"{FIRST}.created"),
    "a time twice": (put("created", [[TIME, 4], [TIME, 7]]), f"{FIRST}.created[1].created_at"),
    "a time before that of the store": (item("created", 0, [TIME - 1, 4]), f"{FIRST}.created[0].created_at"),
    "a time after that of the store": (item("created", 1, [TIME + 2, 7]), f"{FIRST}.created[1].created_at"),
    "a time that is no whole second": (item("created", 1, [START + 1, 7]), f"{FIRST}.created[1].created_at"),
    "a time without attachments": (item("created", 1, [TIME + 1]), f"{FIRST}.created[1]"),
    "statuses that are an array": (put("statuses", list("cfxppxpfxpp")), f"{FIRST}.statuses"),
    "a status too few": (put("statuses", "cfxppxpfxp"), f"{FIRST}.statuses"),
    "a status too many": (put("statuses", "cfxppxpfxppp"), f"{FIRST}.statuses"),
    "a status that is none": (letter(4, "d"), f"{FIRST}.statuses[4]"),
    "a status that is two bytes": (letter(4, "é"), f"{FIRST}.statuses[4]"),
    "a size too few": (first("usage_bytes", lambda sizes: sizes.pop()), f"{FIRST}.usage_bytes"),
    "a size that is a boolean": (item("usage_bytes", 0, True), f"{FIRST}.usage_bytes[0]"),
    "a size below 0": (item("usage_bytes", 0, -1), f"{FIRST}.usage_bytes[0]"),
    "a size above 64 bits": (item("usage_bytes", 0, 2**63), f"{FIRST}.usage_bytes[0]"),
    "a size of a file in progress": (item("usage_bytes", 3, 1), f"{FIRST}.usage_bytes[3]"),
    "a size of a file that failed": (item("usage_bytes", 7, 1), f"{FIRST}.usage_bytes[7]"),
    "an error of no attachment": (
        first("last_errors", lambda errors: errors.append([12, "server_error", ""])),
        f"{FIRST}.last_errors[2].attachment",
    ),
    "an error of a forgotten attachment": (
        first("last_errors", lambda errors: errors.insert(1, [4, "server_error", ""])),
        f"{FIRST}.last_errors[1].attachment",
    ),
    "an error twice": (
        first("last_errors", lambda errors: errors.append([8, "server_error", ""])),
        f"{FIRST}.last_errors[2].attachment",
    ),
    "an error of a file that has not failed": (
        first("last_errors", lambda errors: errors.insert(0, [0, "server_error", ""])),
        f"{FIRST}.last_errors[0]",
    ),
    "a failed file without its error": (
        first("last_errors", lambda errors: errors.pop()),
        f"{FIRST}.last_errors",
    ),
    "an error of an unknown code": (item("last_errors", 0, [1, "bad", ""]), f"{FIRST}.last_errors[0].code"),
    "an error without a message": (item("last_errors", 0, [1, "server_error"]), f"{FIRST}.last_errors[0]"),
    "a chunking strategy above the limit": (
        item("strategies", 1, [4097, 0]),
        f"{FIRST}.strategies[1].max_chunk_size_tokens",
    ),
    "a chunking strategy of three sizes": (item("strategies", 1, [200, 9, 0]), f"{FIRST}.strategies[1]"),
    "a chunking strategy twice": (item("strategies", 1, [300, 0]), f"{FIRST}.strategies[1]"),
    "the default among the chunking strategies": (item("strategies", 1, [800, 400]), f"{FIRST}.strategies[1]"),
    "a chunking strategy that nobody uses": (
        first("strategies", lambda table: table.append([400, 0])),
        f"{FIRST}.strategies[2]",
    ),
    "a chunking strategy that is not in the table": (
        first("strategies", lambda table: table.pop()),
        f"{FIRST}.chunking_strategies[2].strategy",
    ),
    "no table of chunking strategies": (
        first("strategies", lambda table: table.clear()),
        f"{FIRST}.chunking_strategies[0].strategy",
    ),
    "chunking strategies numbered in another order": (
        put("chunking_strategies", [[5, 1], [6, 1], [7, 0], [8, 1]]),
        f"{FIRST}.chunking_strategies[0].strategy",
    ),
    "a chunking strategy of a forgotten attachment": (
        item("chunking_strategies", 0, [4, 0]),
        f"{FIRST}.chunking_strategies[0].attachment",
    ),
    "attributes of a forgotten attachment": (
        item("attributes", 0, [4, {"k": 1}]),
        f"{FIRST}.attributes[0].attachment",
    ),
    "attributes that are none": (item("attributes", 0, [7, {}]), f"{FIRST}.attributes[0]"),
    "attributes that are an array": (item("attributes", 0, [7, []]), f"{FIRST}.attributes[0]"),
    "attributes above the limit": (item("attributes", 0, [7, {"k": "x" * 513}]), f"{FIRST}.attributes[0].k"),
    # What left, and whether it has expired
    "what left past the last attachment": (
        first("left", lambda left: left.append([12, 13])),
        f"{FIRST}.left[3].first",
    ),
    "what left before the first attachment": (item("left", 0, [-1, 3]), f"{FIRST}.left[0].first"),
    "what left that ends in a forgotten attachment": (item("left", 0, [1, 5]), f"{FIRST}.left"),
    "what left that begins with a forgotten attachment": (item("left", 1, [4, 7]), f"{FIRST}.left"),
    "what left around a forgotten attachment": (put("left", [[1, 7], [9, 10]]), f"{FIRST}.left"),
    "what left that overlaps": (put("left", [[1, 3], [2, 4]]), f"{FIRST}.left[1].first"),
    "a file that left and is in progress": (letter(8, "p"), f"{FIRST}.statuses[8]"),
    "a file that is here twice": (put("left", [[2, 3], [6, 7], [9, 10]]), f"{FIRST}.file_ids[1]"),
    "a file that is here twice in a store that nothing left": (
        both(
            put("left", []),
            put("departed", []),
            put("statuses", "cfcppppfppp"),
            lambda s: s["vector_stores"][0]["file_batches"][1].__setitem__(4, False),
            finished(2, None),
        ),
        f"{FIRST}.file_ids[4]",
    ),
    "a cursor that has not left": (
        first("departed", lambda departed: departed.append(0)),
        f"{FIRST}.departed[2]",
    ),
    "a cursor that is forgotten": (
        first("departed", lambda departed: departed.append(4)),
        f"{FIRST}.departed[2]",
    ),
    "a cursor that never was": (first("departed", lambda departed: departed.append(12)), f"{FIRST}.departed[2]"),
    "a cursor that left twice": (first("departed", lambda departed: departed.append(9)), f"{FIRST}.departed"),
    "a cursor whose file was attached again": (
        first("departed", lambda departed: departed.append(1)),
        f"{FIRST}.departed",
    ),
    "more cursors than the limit": (
        both(
            lambda s: s["profile"]["limits"].update(departed=1),
            lambda s: s["departed"].pop(),
            lambda s: s["vector_stores"].pop(),
        ),
        f"{FIRST}.departed",
    ),
    "an attachment that no list holds": (
        first("departed", lambda departed: departed.remove(9)),
        f"{FIRST}.departed",
    ),
    "a store that has expired before its time": (put("expired", True), f"{FIRST}.expired"),
    "a store that has expired and never does": (
        both(put("expired", True), put("expires_after", None)),
        f"{FIRST}.expired",
    ),
    "a store that has expired by a number": (put("expired", 1), f"{FIRST}.expired"),
    "a store of which it is not said whether it has expired": (
        lambda s: s["vector_stores"][0].pop("expired"),
        f"{FIRST}.expired",
    ),
    # Its batches
    "a batch that lacks an item": (item("file_batches", 0, ["vsfb_1", TIME, 0, 2]), f"{FIRST}.file_batches[0]"),
    "a batch with an id of another kind": (
        item("file_batches", 0, ["vs_1", TIME, 0, 2, False, None]),
        f"{FIRST}.file_batches[0].id",
    ),
    "a batch twice": (
        item("file_batches", 4, ["vsfb_1", TIME + 1, 10, 12, False, None]),
        f"{FIRST}.file_batches[4].id",
    ),
    "a batch past the last file": (
        item("file_batches", 4, ["vsfb_5", TIME + 1, 10, 13, False, None]),
        f"{FIRST}.file_batches[4].stop",
    ),
    "a batch that begins past the last file": (
        item("file_batches", 4, ["vsfb_5", TIME + 1, 13, 13, False, None]),
        f"{FIRST}.file_batches[4].first",
    ),
    "a batch that ends before it begins": (
        item("file_batches", 4, ["vsfb_5", TIME + 1, 10, 9, False, None]),
        f"{FIRST}.file_batches[4].stop",
    ),
    "a batch of no file that was made before the batch before it": (
        item("file_batches", 4, ["vsfb_5", TIME - 1, 10, 10, False, None]),
        f"{FIRST}.file_batches[4].created_at",
    ),
    "a batch of no file that was made after all that happened": (
        item("file_batches", 4, ["vsfb_5", TIME + 10_000, 10, 10, False, None]),
        f"{FIRST}.file_batches[4].created_at",
    ),
    "a batch of no file that was cancelled": (
        item("file_batches", 4, ["vsfb_5", TIME + 1, 10, 10, True, None]),
        f"{FIRST}.file_batches[4].cancel_asked",
    ),
    "a batch above the limit": (
        lambda s: s["profile"]["limits"].update(batch_files=1),
        f"{FIRST}.file_batches[0].stop",
    ),
    "batches that overlap": (
        item("file_batches", 1, ["vsfb_2", TIME, 1, 3, True, None]),
        f"{FIRST}.file_batches[1].first",
    ),
    "batches out of order": (
        first("file_batches", lambda batches: batches.reverse()),
        f"{FIRST}.file_batches[1].first",
    ),
    "a batch that ends in a forgotten attachment": (
        item("file_batches", 2, ["vsfb_3", TIME, 3, 5, True, None]),
        f"{FIRST}.file_batches[2]",
    ),
    "a batch that begins with a forgotten attachment": (
        item("file_batches", 3, ["vsfb_4", TIME + 1, 4, 7, False, None]),
        f"{FIRST}.file_batches[3]",
    ),
    "a batch around a forgotten attachment": (
        item("file_batches", 2, ["vsfb_3", TIME, 3, 6, True, None]),
        f"{FIRST}.file_batches[2]",
    ),
    "a batch with a file twice": (
        item("file_ids", 1, "file-a"),
        f"{FIRST}.file_batches[0]",
    ),
    "a batch that was made at another time": (
        item("file_batches", 0, ["vsfb_1", TIME + 1, 0, 2, False, None]),
        f"{FIRST}.file_batches[0].created_at",
    ),
    "a batch that was made at half a second": (
        item("file_batches", 0, ["vsfb_1", START, 0, 2, False, None]),
        f"{FIRST}.file_batches[0].created_at",
    ),
    "a batch whose files were attached at two times": (
        put("created", [[TIME, 1], [TIME + 1, 10]]),
        f"{FIRST}.file_batches[0].created_at",
    ),
    "a batch that was cancelled by a number": (
        item("file_batches", 0, ["vsfb_1", TIME, 0, 2, 0, None]),
        f"{FIRST}.file_batches[0].cancel_asked",
    ),
    "a finished batch that has not finished": (finished(0, None), f"{FIRST}.file_batches[0].finished_at"),
    "a batch that has finished and is running": (finished(4, TIME + 1), f"{FIRST}.file_batches[4].finished_at"),
    "a batch that finished before it was made": (finished(3, TIME), f"{FIRST}.file_batches[3].finished_at"),
    "a batch that finished in the future": (finished(0, TIME + 2), f"{FIRST}.file_batches[0].finished_at"),
    "a batch that finished at no time": (finished(0, "0"), f"{FIRST}.file_batches[0].finished_at"),
    "a file that was cancelled, of a batch that was not": (letter(9, "x"), f"{FIRST}.statuses[9]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_snapshot_is_refused_with_its_place_that_has(kind: str) -> None:
    data = deepcopy(WHOLE)
    damage, place = REFUSED[kind]
    damage(data)
    with pytest.raises(SnapshotError, match="Cannot read the snapshot") as caught:
        Engine.restore(data)
    assert caught.value.param == place


def gapped(ids: str, kept: list[list[int]], **columns: Any) -> dict[str, Any]:
    """A snapshot of a store with files in progress, named by letters, of which some attachments are forgotten."""
    engine = new_engine()
    engine.vector_stores.create()
    data: dict[str, Any] = through_json(engine.snapshot())
    data["vector_stores"][0].update(
        next_attachment=kept[-1][1],
        attachments=kept,
        file_ids=[f"file-{letter}" for letter in ids],
        created=[[TIME, len(ids)]],
        statuses="p" * len(ids),
        usage_bytes=[0] * len(ids),
        **columns,
    )
    return data


def test_an_interval_around_a_gap_is_refused_however_its_ends_are_counted() -> None:
    assert_refused_or_sound(gapped("abc", [[0, 1], [2, 4]]))
    for batch in ([1, 4], [0, 4], [0, 3], [1, 3]):
        data = gapped("abc", [[0, 1], [2, 4]], file_batches=[["vsfb_1", TIME, *batch, False, None]])
        with pytest.raises(SnapshotError, match="are not all among 'attachments'"):
            Engine.restore(data)
    cancelled = {"statuses": "xxp", "departed": [0, 2]}
    for left in ([[0, 3]], [[0, 1], [2, 3]]):
        data = gapped("abc", [[0, 1], [2, 4]], left=left)
        data["vector_stores"][0].update(cancelled)
        assert_refused_or_sound(data)


class Word(str):
    """A string of a class of its own."""

    __slots__ = ()


class Number(int):
    """An integer of a class of its own."""


def test_strings_and_integers_of_other_classes_are_read_as_what_they_are() -> None:
    data = deepcopy(WHOLE)
    store = data["vector_stores"][0]
    store["file_ids"] = list(map(Word, store["file_ids"]))
    store["usage_bytes"] = list(map(Number, store["usage_bytes"]))
    engine = Engine.restore(data)
    engine.check()
    assert in_json(engine.snapshot()) == in_json(WHOLE)


LARGE = Profile(limits=Limits(store_files=20_000, departed=1))


@pytest.mark.parametrize(
    "gone",
    [
        range(0),
        range(4097),
        range(4090, 4100),
        range(4000, 8192),
        range(5000, 9000),
        range(8190, 9000),
        range(9000),
        range(1, 9000, 2),
    ],
    ids=lambda gone: f"{gone.start} to {gone.stop} by {gone.step}",
)
def test_a_store_of_several_blocks_comes_back_whatever_of_it_was_forgotten(gone: range) -> None:
    ids = CountingIds()
    engine = new_engine(LARGE, ids)
    files = engine.vector_stores.files
    engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(9000)])
    for i in gone:
        files.delete(f"file-{i}", vector_store_id="vs_1")
    twin = restored(engine, ids)
    for made in (engine, twin):
        made.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i}" for i in range(4000, 4200)])
        made.processing.complete_many("vs_1", [f"file-{i}" for i in range(4050, 4150)], usage_bytes=2)
        made.check()
    assert twin.snapshot() == engine.snapshot()
    again = restored(engine, ids)
    again.check()
    for order in ("asc", "desc"):
        walks = [
            list(made.vector_stores.files.list("vs_1", limit=100, order=order)) for made in (engine, twin, again)
        ]
        assert walks[0] == walks[1] == walks[2]
        attachments = [[file.attachment for file in walk] for walk in walks]
        assert attachments[0] == attachments[1] == attachments[2]


@pytest.mark.parametrize("data", [None, 5, "snapshot", [], {}, {"format": "x"}, json.dumps(WHOLE)], ids=repr)
def test_what_is_no_snapshot_at_all_is_refused(data: Any) -> None:
    with pytest.raises(SnapshotError, match="format"):
        Engine.restore(data)
    with pytest.raises(SnapshotError, match="format"):
        Engine.restore(data, profile=Profile())


def test_restoring_takes_the_profile_that_is_given_before_the_snapshots() -> None:
    engine, _, _ = filled([call("vector_stores.create", file_ids=list(FILES))])
    other = Profile(all_failed="completed")
    assert Engine.restore(engine.snapshot()).profile == Profile()
    assert Engine.restore(engine.snapshot(), profile=other).profile == other


def test_a_snapshot_shares_nothing_with_the_engine() -> None:
    engine = base()
    taken = engine.snapshot()
    kept = through_json(taken)
    engine.processing.complete("vs_1", "file-c", usage_bytes=5)
    engine.vector_stores.update("vs_1", metadata={"k": "v"})
    assert taken == kept
    taken["vector_stores"][0]["file_ids"].clear()
    taken["vector_stores"][0]["metadata"]["x"] = "y"
    engine.check()
    assert engine.vector_stores.retrieve("vs_1").metadata == {"k": "v"}


@pytest.mark.parametrize("most", [100, 500, 799, 800, 4096])
def test_a_snapshot_can_be_restored_under_limits_that_the_default_chunking_exceeds(most: int) -> None:
    engine = Engine(profile=Profile(limits=Limits(chunk_tokens_maximum=most)), clock=VirtualClock(START))
    engine.vector_stores.create(file_ids=["file-a"])
    assert Engine.restore(engine.snapshot()).snapshot() == engine.snapshot()
