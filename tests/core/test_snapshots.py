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
    FrozenDict,
    LastError,
    Limits,
    Profile,
    StaticFileChunkingStrategyObject,
    VectorStoreFile,
    VirtualClock,
    events,
    wire,
)
from vsbatch_core.errors import ReplayError, SnapshotError, VectorStoreNotFound, WireError

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
profiles = st.builds(
    Profile,
    batch_object=st.sampled_from(("vector_store.files_batch", "vector_store.file_batch")),
    all_failed=st.sampled_from(("failed", "completed")),
    cancel_finished=st.sampled_from(("ignore", "refuse")),
    cancel=st.sampled_from(("immediate", "drain")),
)


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
    engine, _, ids = filled(history)
    twin = restored(engine, ids)
    told: tuple[list[events.Event], list[events.Event]] = ([], [])
    engine.subscribe(told[0].append)
    twin.subscribe(told[1].append)
    for command in rest:
        assert run(twin, command) == run(engine, command)
    assert told[0] == told[1]
    assert twin.snapshot() == engine.snapshot()
    twin.check()


DELETE = "vector_stores.delete"


def words_of(command: Command) -> tuple[Any, ...]:
    """Where the name of the store stands, if the command is of one store."""
    return (*command.args[:1], command.kwargs.get("vector_store_id"))


@given(histories, st.lists(commands, max_size=10))
@settings(max_examples=examples(40))
def test_the_snapshot_of_one_store_holds_that_store_alone_and_all_of_it(
    history: list[Command], rest: list[Command]
) -> None:
    engine, _, ids = filled(history)
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
    journal = [wire.from_wire(through_json(wire.to_wire(event))) for event in told]
    assert journal == told
    from_nothing = new_engine()
    from_nothing.replay(journal)  # type: ignore[arg-type]
    on_top = Engine.restore(snapshot, clock=VirtualClock())
    on_top.replay(journal[seen:])  # type: ignore[arg-type]
    for twin in (from_nothing, on_top):
        twin.check()
        assert twin.snapshot() == engine.snapshot()
        assert json.dumps(twin.snapshot()) == json.dumps(engine.snapshot())


@given(histories)
@settings(max_examples=examples(30))
def test_a_replay_tells_subscribers_what_it_replays(history: list[Command]) -> None:
    _, told, _ = filled(history)
    twin = new_engine()
    again: list[events.Event] = []
    twin.subscribe(again.append)
    twin.replay(iter(told))
    assert again == told


def base() -> Engine:
    """A store with files finished, in progress, leased and gone, and batches finished, running and draining."""
    engine = new_engine()
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    engine.processing.complete("vs_1", "file-a", usage_bytes=1)
    engine.processing.fail("vs_1", "file-b")
    engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-c"])
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-l"])
    engine.processing.lease("vs_1", "file-l")
    engine.replay([numbered(engine, events.FileBatchCancelled, START, "vs_1", "vsfb_3", drain=True)])
    engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    engine.vector_stores.create()
    engine.vector_stores.delete("vs_3")
    return engine


NO = FrozenDict[str, Any]()
ERROR = LastError("server_error", "")
DAY = 86_400


def new(file_id: str = "file-n", store: str = "vs_1", **changes: Any) -> VectorStoreFile:
    return evolve(VectorStoreFile(file_id, int(START), store), **changes)


class Made:
    """An event without its numbers: these are those that would be next in an engine."""

    def __init__(self, cls: Any, *args: Any, **fields: Any) -> None:
        self.cls, self.args, self.fields = cls, args, fields

    def __call__(self, engine: Engine) -> Any:
        return numbered(engine, self.cls, *self.args, **self.fields)


IMPOSSIBLE: dict[str, Any] = {
    "a store made twice": Made(events.VectorStoreCreated, START, "vs_1", "", None, None, NO),
    "a store made again after its deletion": Made(events.VectorStoreCreated, START, "vs_3", "", None, None, NO),
    "a store with an id of another kind": Made(events.VectorStoreCreated, START, "vsfb_7", "", None, None, NO),
    "a store with a file twice": Made(
        events.VectorStoreCreated,
        START,
        "vs_4",
        "",
        None,
        None,
        NO,
        (new("file-n", "vs_4"), new("file-n", "vs_4")),
    ),
    "a store with another store's file": Made(
        events.VectorStoreCreated, START, "vs_4", "", None, None, NO, (new(),)
    ),
    "a store made before the last": Made(events.VectorStoreCreated, START - 1, "vs_4", "", None, None, NO),
    "a store made at no time": Made(events.VectorStoreCreated, float("nan"), "vs_4", "", None, None, NO),
    "a change of no store": Made(events.VectorStoreUpdated, START, "vs_9", "", None, NO),
    "a change in the past": Made(events.VectorStoreUpdated, START - 1, "vs_1", "", None, NO),
    "a change at no time": Made(events.VectorStoreUpdated, float("nan"), "vs_1", "", None, NO),
    "a change at the end of time": Made(events.VectorStoreUpdated, float("inf"), "vs_1", "", None, NO),
    "a deletion of no store": Made(events.VectorStoreDeleted, START, "vs_9"),
    "a deletion of a deleted store": Made(events.VectorStoreDeleted, START, "vs_3"),
    "a deletion in the past": Made(events.VectorStoreDeleted, START - 1, "vs_1"),
    "a file in no store": Made(events.FileAttached, START, "vs_9", new("file-n", "vs_9")),
    "a file in an expired store": Made(
        events.FileAttached, START + DAY, "vs_2", new("file-n", "vs_2", created_at=int(START) + DAY)
    ),
    "a file of another store": Made(events.FileAttached, START, "vs_1", new("file-n", "vs_2")),
    "a file in the past": Made(events.FileAttached, START - 1, "vs_1", new(created_at=int(START) - 1)),
    "a file that has ended": Made(events.FileAttached, START, "vs_1", new(status="completed")),
    "a file that takes up bytes": Made(events.FileAttached, START, "vs_1", new(usage_bytes=1)),
    "a file with an error": Made(events.FileAttached, START, "vs_1", new(last_error=ERROR)),
    "a file made at another time": Made(events.FileAttached, START, "vs_1", new(created_at=5)),
    "attributes of no file": Made(events.FileUpdated, START, "vs_1", "file-z", NO),
    "attributes of a file that left": Made(events.FileUpdated, START, "vs_1", "file-b", NO),
    "attributes in the past": Made(events.FileUpdated, START - 1, "vs_1", "file-a", NO),
    "a deletion of no file": Made(events.FileDeleted, START, "vs_1", "file-z"),
    "a deletion of a file that left": Made(events.FileDeleted, START, "vs_1", "file-b"),
    "a lease of no file": Made(events.FileLeased, START, "vs_1", "file-z"),
    "a lease of a file that left": Made(events.FileLeased, START, "vs_1", "file-b"),
    "a lease of a file that has ended": Made(events.FileLeased, START, "vs_1", "file-a"),
    "a second lease": Made(events.FileLeased, START, "vs_1", "file-l"),
    "a lease in the past": Made(events.FileLeased, START - 1, "vs_1", "file-c"),
    "a second cancel while a batch drains": Made(events.FileBatchCancelled, START, "vs_1", "vsfb_3", drain=True),
    "a completion of no file": Made(events.FileCompleted, START, "vs_1", "file-z", 1),
    "a completion of a file that left": Made(events.FileCompleted, START, "vs_1", "file-b", 1),
    "a second completion": Made(events.FileCompleted, START, "vs_1", "file-a", 1),
    "a completion in the past": Made(events.FileCompleted, START - 1, "vs_1", "file-c", 1),
    "a completion at no time": Made(events.FileCompleted, float("nan"), "vs_1", "file-c", 1),
    "a completion with less than no bytes": Made(events.FileCompleted, START, "vs_1", "file-c", -1),
    "a failure of no file": Made(events.FileFailed, START, "vs_1", "file-z", ERROR),
    "a failure after a completion": Made(events.FileFailed, START, "vs_1", "file-a", ERROR),
    "a batch made twice": Made(events.FileBatchCreated, START, "vs_1", "vsfb_1", (new(),)),
    "a batch of no file": Made(events.FileBatchCreated, START, "vs_1", "vsfb_9", ()),
    "a batch with a file twice": Made(events.FileBatchCreated, START, "vs_1", "vsfb_9", (new(), new())),
    "a batch with another store's file": Made(
        events.FileBatchCreated, START, "vs_1", "vsfb_9", (new(), new("file-m", "vs_2"))
    ),
    "a batch with a file that has ended": Made(
        events.FileBatchCreated, START, "vs_1", "vsfb_9", (new(), new("file-m", status="failed"))
    ),
    "a batch with an id of another kind": Made(events.FileBatchCreated, START, "vs_1", "vs_9", (new(),)),
    "a batch in no store": Made(events.FileBatchCreated, START, "vs_9", "vsfb_9", (new("file-n", "vs_9"),)),
    "a batch in an expired store": Made(
        events.FileBatchCreated,
        START + DAY,
        "vs_2",
        "vsfb_9",
        (new("file-n", "vs_2", created_at=int(START) + DAY),),
    ),
    "a batch in the past": Made(events.FileBatchCreated, START - 1, "vs_1", "vsfb_9", (new(),)),
    "a cancel of no batch": Made(events.FileBatchCancelled, START, "vs_1", "vsfb_9"),
    "a cancel of another store's batch": Made(events.FileBatchCancelled, START, "vs_2", "vsfb_2"),
    "a cancel of a finished batch": Made(events.FileBatchCancelled, START, "vs_1", "vsfb_1"),
    "a cancel in the past": Made(events.FileBatchCancelled, START - 1, "vs_1", "vsfb_2"),
    "a file that is its JSON": Made(events.FileAttached, START, "vs_1", wire.to_wire(new())),
    "a chunking strategy that is its JSON": Made(
        events.FileAttached, START, "vs_1", new(chunking_strategy={"type": "auto"})
    ),
    "chunk sizes that are a pair": Made(
        events.FileAttached, START, "vs_1", new(chunking_strategy=StaticFileChunkingStrategyObject((800, 400)))
    ),
    "attributes that can change": Made(events.FileUpdated, START, "vs_1", "file-a", {}),
    "an expiry that is its JSON": Made(events.VectorStoreUpdated, START, "vs_1", "", {"days": 1}, NO),
    "a last_error that is its JSON": Made(events.FileFailed, START, "vs_1", "file-c", {"code": "server_error"}),
    "a file that is completed twice in one step": Made(
        events.FilesCompleted, START, "vs_1", ("file-c", "file-c"), (2, 2), (1, 1)
    ),
    "fewer sizes than files": Made(events.FilesCompleted, START, "vs_1", ("file-c",), (2,), ()),
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
        Made(events.VectorStoreCreated, START, "vs_4", "", None, None, NO, (new("file-n", "vs_4"),)),
        Made(events.VectorStoreUpdated, START, "vs_1", "", None, NO),
        Made(events.VectorStoreDeleted, START, "vs_1"),
        Made(events.FileAttached, START, "vs_1", new()),
        Made(events.FileUpdated, START, "vs_1", "file-a", NO),
        Made(events.FileDeleted, START, "vs_1", "file-c"),
        Made(events.FileLeased, START, "vs_1", "file-c"),
        Made(events.FileCompleted, START, "vs_1", "file-c", 1),
        Made(events.FileFailed, START, "vs_1", "file-c", ERROR),
        Made(events.FileBatchCreated, START, "vs_1", "vsfb_9", (new(),)),
        Made(events.FileBatchCancelled, START, "vs_1", "vsfb_2"),
        Made(events.FileBatchCancelled, START, "vs_1", "vsfb_2", drain=True),
        Made(events.FileBatchCancelled, START, "vs_1", "vsfb_3"),
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


def snapshot_with_everything() -> dict[str, Any]:
    engine = base()
    engine.vector_stores.update("vs_1", metadata={"k": "v"})
    engine.vector_stores.files.create(
        "vs_1",
        file_id="file-b",
        attributes={"k": 1.5},
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 9}},
    )
    engine.vector_stores.file_batches.cancel("vsfb_2", vector_store_id="vs_1")
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-b", "file-d"])
    return through_json(engine.snapshot())  # type: ignore[no-any-return]


WHOLE = snapshot_with_everything()


def journal_of_everything() -> list[dict[str, Any]]:
    """The events of a history in which each kind occurs, as JSON."""
    delivered: list[events.Event] = []
    engine = new_engine()
    engine.subscribe(delivered.append)
    stores = engine.vector_stores
    stores.create(name="one", metadata={"k": "v"}, expires_after={"anchor": "last_active_at", "days": 3})
    stores.create(file_ids=["file-a"])
    stores.update("vs_1", name="two")
    stores.files.create("vs_1", file_id="file-s", attributes={"k": 1.5})
    stores.files.update("file-s", vector_store_id="vs_1", attributes={"k": True})
    stores.file_batches.create("vs_1", file_ids=["file-a", "file-b", "file-c", "file-d"])
    engine.processing.lease("vs_1", "file-a")
    engine.processing.complete("vs_1", "file-a", usage_bytes=7)
    engine.processing.fail("vs_1", "file-b")
    stores.files.delete("file-c", vector_store_id="vs_1")
    stores.file_batches.create("vs_1", file_ids=["file-w", "file-x", "file-y", "file-z"])
    engine.processing.complete_many("vs_1", ["file-w", "file-x"], usage_bytes=[1, 2])
    engine.processing.fail_many("vs_1", ["file-y", "file-z"])
    stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    stores.delete("vs_2")
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


def assert_refused_or_sound(data: Any) -> None:
    """A snapshot is refused by its place, or it makes an engine that is it, holds together, and goes on."""
    try:
        engine = Engine.restore(data, clock=VirtualClock(START), ids=CountingIds())
    except SnapshotError as error:
        if data.get("format") == WHOLE["format"] and error.param is None:
            raise AssertionError("the refusal names no place") from error
        return
    engine.check()
    assert in_json(engine.snapshot()) == in_json(data)
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


REFUSED: dict[str, Callable[[Any], object]] = {
    "another format": lambda s: s.update(format="vsbatch-core snapshot 0"),
    "no format": lambda s: s.pop("format"),
    "no profile": lambda s: s.pop("profile"),
    "a profile of the future": lambda s: s["profile"].update(colour="red"),
    "a limit of the future": lambda s: s["profile"]["limits"].update(colour=1),
    "no stores": lambda s: s.pop("vector_stores"),
    "a store twice": lambda s: s["vector_stores"].append(s["vector_stores"][0]),
    "a deleted store twice": lambda s: s["vector_stores"].append({"id": "vs_3", "deleted": True}),
    "a store with an id of another kind": lambda s: s["vector_stores"][0].update(id="file-a"),
    "a file that is here twice": lambda s: s["vector_stores"][0]["gone"].clear(),
    "a file that left and is in progress": lambda s: s["vector_stores"][0]["files"][1].__setitem__(
        2, "in_progress"
    ),
    "a file of an unknown status": lambda s: s["vector_stores"][0]["files"][0].__setitem__(2, "done"),
    "a file of no status": lambda s: s["vector_stores"][0]["files"][0].__setitem__(2, None),
    "a chunking strategy that is not in the table": lambda s: s["vector_stores"][0][
        "chunking_strategies"
    ].clear(),
    "a batch past the last file": lambda s: s["vector_stores"][0]["file_batches"][-1].__setitem__(3, 99),
    "batches that overlap": lambda s: s["vector_stores"][0]["file_batches"][1].__setitem__(2, 1),
    "batches out of order": lambda s: s["vector_stores"][0]["file_batches"].reverse(),
    "a batch twice": lambda s: s["vector_stores"][0]["file_batches"].append(["vsfb_1", int(START), 4, 5, False]),
    "a lease of a file that has ended": lambda s: s["vector_stores"][0]["leased"].append(0),
    "a lease past the last file": lambda s: s["vector_stores"][0]["leased"].append(99),
    "a lease before the first file": lambda s: s["vector_stores"][0]["leased"].append(-1),
    "a gap past the last file": lambda s: s["vector_stores"][0]["gone"].append([100, 101]),
    "a gap of no file": lambda s: s["vector_stores"][0]["gone"].append([6, 6]),
    "gaps that overlap": lambda s: s["vector_stores"][0].update(gone=[[1, 3], [2, 5]]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_snapshot_is_refused_that_has(kind: str) -> None:
    data = deepcopy(WHOLE)
    REFUSED[kind](data)
    with pytest.raises(SnapshotError, match="Cannot read the snapshot"):
        Engine.restore(data)


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
    first = engine.snapshot()
    kept = through_json(first)
    engine.processing.complete("vs_1", "file-c", usage_bytes=5)
    engine.vector_stores.update("vs_1", metadata={"k": "v"})
    assert first == kept
    first["vector_stores"][0]["files"].clear()
    first["vector_stores"][0]["metadata"]["x"] = "y"
    engine.check()
    assert engine.vector_stores.retrieve("vs_1").metadata == {"k": "v"}


@pytest.mark.parametrize("most", [100, 500, 799, 800, 4096])
def test_a_snapshot_can_be_restored_under_limits_that_the_default_chunking_exceeds(most: int) -> None:
    engine = Engine(profile=Profile(limits=Limits(chunk_tokens_most=most)), clock=VirtualClock(START))
    engine.vector_stores.create(file_ids=["file-a"])
    assert Engine.restore(engine.snapshot()).snapshot() == engine.snapshot()
