"""Finished batches are purged, by call or once they have been kept long enough; the files in the store stay."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine, Limits, Profile, SequentialIds, VirtualClock, errors, events
from vsbatch_core.errors import Inconsistent

from ..helpers.brief import examples
from ..helpers.strategies import START


def made(**options: Any) -> tuple[Engine, list[events.Event]]:
    """An engine with a store, and the events since."""
    engine = Engine(clock=VirtualClock(START), ids=SequentialIds(), **options)
    engine.vector_stores.create()
    heard: list[events.Event] = []
    engine.subscribe(heard.append)
    return engine, heard


def batch(engine: Engine, *file_ids: str, store: str = "vs_1", ends: bool = True) -> str:
    """Make a batch whose files complete, or go on."""
    made = engine.vector_stores.file_batches.create(store, file_ids=file_ids)
    if ends:
        engine.processing.complete_many(store, file_ids, usage_bytes=1)
    return made.id


def wait(engine: Engine, seconds: float) -> None:
    engine.clock.advance(seconds)  # type: ignore[attr-defined]


def batches_of(engine: Engine, store: str = "vs_1") -> list[str]:
    return [row[0] for row in engine.snapshot(store)["vector_stores"][0]["file_batches"]]


def rows_of(engine: Engine) -> list[int]:
    """The attachments that are not forgotten."""
    kept = engine.snapshot("vs_1")["vector_stores"][0]["attachments"]
    return [row for interval in kept for row in range(*interval)]


def through_json(engine: Engine, **options: Any) -> Engine:
    saved = json.loads(json.dumps(engine.snapshot()))
    twin = Engine.restore(saved, clock=VirtualClock(engine.clock.time()), ids=SequentialIds(), **options)
    assert twin.snapshot() == saved
    twin.check()
    return twin


def test_a_purged_batch_is_as_one_that_never_was_and_its_files_stay() -> None:
    engine, heard = made()
    gone, kept = batch(engine, "file-a", "file-b"), batch(engine, "file-c", ends=False)
    files = engine.vector_stores.files.list("vs_1").data
    store = engine.vector_stores.retrieve("vs_1")
    wait(engine, 10.0)
    heard.clear()
    version = engine.version("vs_1")
    assert engine.processing.purge("vs_1", older_than=10.0) == [gone]
    assert heard == [events.FileBatchesPurged(START + 10.0, "vs_1", (gone,), version=version + 1)]
    batches = engine.vector_stores.file_batches
    for call in (batches.retrieve, batches.cancel, batches.list_files):
        with pytest.raises(errors.FileBatchNotFound) as caught:
            call(gone, vector_store_id="vs_1")
        with pytest.raises(errors.FileBatchNotFound) as unknown:
            call("vsfb_9", vector_store_id="vs_1")
        assert caught.value.message == unknown.value.message.replace("vsfb_9", gone)
    assert engine.vector_stores.files.list("vs_1").data == files
    assert engine.vector_stores.retrieve("vs_1") == store
    assert batches.retrieve(kept, vector_store_id="vs_1").status == "in_progress"
    assert engine.view.batch_of("vs_1", 0) is None
    engine.processing.complete("vs_1", "file-c")
    engine.check()
    through_json(engine)


def test_a_batch_is_purged_once_it_has_been_finished_for_so_long() -> None:
    engine, heard = made()
    first = batch(engine, "file-a", "file-b", ends=False)
    second = batch(engine, "file-c")
    engine.processing.complete("vs_1", "file-a")
    wait(engine, 1.0)
    engine.processing.fail("vs_1", "file-b")
    for age, expected in ((1.5, []), (1.0, [second]), (inf, []), (0.5, []), (0, [first]), (0, [])):
        before = len(heard)
        assert engine.processing.purge("vs_1", older_than=age) == expected
        assert len(heard) - before == len(expected)
        engine.check()


@pytest.mark.parametrize("end", ["cancel", "delete", "attach again", "drain", "nothing to attach"])
def test_a_batch_finishes_with_its_last_file_however_that_ends(end: str) -> None:
    profile = Profile(
        cancel="drain" if end == "drain" else "immediate",
        reattach="reuse" if end == "nothing to attach" else "replace",
    )
    engine, _ = made(profile=profile)
    stores = engine.vector_stores
    made_batch = batch(engine, "file-a", "file-b", ends=False)
    engine.processing.complete("vs_1", "file-b")
    if end == "drain":
        claims = engine.processing.claim(worker="worker-1", lease_seconds=5.0)
        stores.file_batches.cancel(made_batch, vector_store_id="vs_1")
        wait(engine, 1.0)
        assert engine.processing.purge(older_than=0) == []
        engine.processing.release(claims)
    else:
        wait(engine, 1.0)
        if end == "cancel":
            stores.file_batches.cancel(made_batch, vector_store_id="vs_1")
        elif end == "delete":
            stores.files.delete("file-a", vector_store_id="vs_1")
        elif end == "attach again":
            stores.files.create("vs_1", file_id="file-a")
        else:
            made_batch = batch(engine, "file-a", ends=False)
    wait(engine, 2.0)
    assert engine.processing.purge(older_than=2.5) == []
    twin = through_json(engine)
    for each in (engine, twin):
        assert each.processing.purge(older_than=2.0) == [made_batch]
        each.check()
        through_json(each)


def test_attachments_that_were_kept_for_the_list_of_the_batch_alone_are_forgotten() -> None:
    engine, _ = made(profile=Profile(limits=Limits(departed=1)))
    stores = engine.vector_stores
    batch(engine, "file-a", "file-b", "file-c", "file-d", "file-e")
    batch(engine, "file-a", "file-f")  # file-a is attached again
    for file_id in ("file-b", "file-c"):  # of which the first is no cursor any more
        stores.files.delete(file_id, vector_store_id="vs_1")
    batch(engine, "file-a", ends=False)
    assert rows_of(engine) == [0, 1, 2, 3, 4, 5, 6, 7]
    asked = {"vector_store_id": "vs_1", "order": "asc"}
    before = stores.files.list("vs_1", after="file-c", order="asc").data
    assert engine.processing.purge("vs_1", older_than=0) == ["vsfb_1", "vsfb_2"]
    assert rows_of(engine) == [2, 3, 4, 6, 7]
    assert stores.files.list("vs_1", after="file-c", order="asc").data == before
    assert [file.id for file in stores.file_batches.list_files("vsfb_3", **asked)] == ["file-a"]
    through_json(engine)
    stores.files.delete("file-d", vector_store_id="vs_1")  # file-c is no cursor any more
    assert rows_of(engine) == [3, 4, 6, 7]
    engine.check()


def test_memory_is_given_back_where_a_whole_block_is_forgotten() -> None:
    engine, _ = made(profile=Profile(limits=Limits(batch_files=5_000)))
    files = [f"file-{i}" for i in range(5_000)]
    for _ in range(4):
        batch(engine, *files)
    rows = engine._registry.stores["vs_1"].rows
    assert len(rows._blocks) == 5
    assert len(engine.processing.purge(older_than=0)) == 4
    assert list(rows._blocks) == [3, 4]  # those of the files that are attached, from 15,000 on
    assert rows_of(engine) == list(range(15_000, 20_000))
    store = engine._registry.stores["vs_1"]
    assert not any((store.batches, store.ordered, store.firsts, store.finished, store.listed))
    engine.check()
    through_json(engine)


def test_cancelled_files_of_a_purged_batch_stay_what_they_are_in_a_snapshot() -> None:
    engine, _ = made()
    batch(engine, "file-a", "file-b", ends=False)
    engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    engine.processing.purge(older_than=0)
    twin = through_json(engine)
    assert [file.status for file in twin.vector_stores.files.list("vs_1")] == ["cancelled"] * 2
    twin.vector_stores.files.delete("file-a", vector_store_id="vs_1")
    twin.check()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.permutations(range(12)), st.data())
@settings(max_examples=examples(60))
def test_whatever_batches_are_purged_the_others_stay_what_they_are(
    sizes: list[int], order: list[int], data: st.DataObject
) -> None:
    """Batches of some files or none finish in any order, a second apart or at once, and go in parts."""
    engine, _ = made(profile=Profile(reattach="reuse"))
    stores = engine.vector_stores
    stores.files.create("vs_1", file_id="file-x")
    files: list[list[str]] = [[f"file-{i}-{n}" for n in range(size)] for i, size in enumerate(sizes)]
    ids = [stores.file_batches.create("vs_1", file_ids=[*each, "file-x"]).id for each in files]
    finished = {id: START for id, each in zip(ids, files, strict=True) if not each}
    for i in [i for i in order if i < len(ids) and files[i]]:
        wait(engine, float(data.draw(st.integers(0, 1))))
        engine.processing.complete_many("vs_1", files[i])
        finished[ids[i]] = engine.clock.time()
    here = list(ids)
    for age in sorted(data.draw(st.lists(st.integers(0, 12), max_size=3)), reverse=True):
        gone = [id for id in here if finished[id] + age <= engine.clock.time()]
        before = {id: stores.file_batches.retrieve(id, vector_store_id="vs_1") for id in here if id not in gone}
        assert engine.processing.purge(older_than=age) == sorted(gone, key=lambda one: (finished[one], one))
        here = list(before)
        engine.check()
        assert batches_of(engine) == here
        for id, value in before.items():
            assert stores.file_batches.retrieve(id, vector_store_id="vs_1") == value
            listed = stores.file_batches.list_files(id, vector_store_id="vs_1", order="asc")
            assert [file.id for file in listed] == files[ids.index(id)]
    through_json(engine)


def test_all_stores_are_purged_one_after_the_other_and_one_that_is_gone_meanwhile_is_left_out() -> None:
    engine, heard = made()
    for _ in range(4):
        engine.vector_stores.create()
    for store in ("vs_1", "vs_2", "vs_4", "vs_5"):
        batch(engine, "file-a", store=store)
    wait(engine, 1.0)
    batch(engine, "file-b", store="vs_4")

    def delete(event: events.Event) -> None:
        if isinstance(event, events.FileBatchesPurged) and event.vector_store_id == "vs_1":
            engine.vector_stores.delete("vs_2")

    engine.subscribe(delete)
    assert engine.processing.purge(older_than=1.0) == ["vsfb_1", "vsfb_3", "vsfb_4"]
    purged = [event for event in heard if isinstance(event, events.FileBatchesPurged)]
    assert [event.vector_store_id for event in purged] == ["vs_1", "vs_4", "vs_5"]
    with pytest.raises(errors.VectorStoreNotFound):
        engine.processing.purge("vs_2", older_than=0)


@pytest.mark.parametrize("looks", [(0.25,) * 40, (10.0,), (2.0, 8.0), (3.75, 0.5, 5.75)])
def test_batches_are_purged_once_they_have_been_kept_long_enough_whoever_looks_when(
    looks: tuple[float, ...],
) -> None:
    engine, heard = made(retention=2.0)
    engine.vector_stores.create()
    first = batch(engine, "file-a", ends=False)
    second = batch(engine, "file-b")
    third = batch(engine, "file-c")
    batch(engine, "file-d", ends=False)
    fifth = batch(engine, "file-a", store="vs_2")
    wait(engine, 1.5)
    engine.processing.complete("vs_1", "file-a")
    heard.clear()
    for seconds in looks:
        wait(engine, seconds)
        engine.vector_stores.list()
        engine.check()
    purged = [(event.at, event.vector_store_id, event.batch_ids) for event in heard]  # type: ignore[union-attr]
    assert purged == [
        (START + 2.0, "vs_1", (second, third)),
        (START + 2.0, "vs_2", (fifth,)),
        (START + 3.5, "vs_1", (first,)),
    ]
    assert engine.vector_stores.retrieve("vs_1").last_active_at == int(START + 1.5)


def test_a_purge_by_call_and_the_end_of_a_store_leave_the_rest_to_the_policy() -> None:
    engine, heard = made(retention=2.0)
    engine.vector_stores.create()
    batch(engine, "file-x", store="vs_2")
    batch(engine, "file-a")
    wait(engine, 1.0)
    second = batch(engine, "file-b")
    engine.vector_stores.delete("vs_2")
    assert engine.processing.purge(older_than=1.0) == ["vsfb_2"]
    engine.check()
    heard.clear()
    wait(engine, 1.0)  # the time at which the first of them would have gone
    engine.check()
    assert heard == []
    wait(engine, 1.0)
    third = batch(engine, "file-c")
    assert [event.batch_ids for event in heard if isinstance(event, events.FileBatchesPurged)] == [(second,)]
    assert batches_of(engine) == [third]
    assert engine.processing.purge(older_than=0) == [third]
    wait(engine, 10.0)
    engine.check()
    assert engine._registry.stores["vs_1"].purge_timer == inf


def test_an_engine_that_was_restored_purges_from_its_first_command_on_and_a_follower_never() -> None:
    engine, heard = made()
    batch(engine, "file-a")
    wait(engine, 5.0)
    twin = through_json(engine, retention=2.0)
    follower = Engine(clock=VirtualClock(START + 5.0), retention=2.0)
    whole = Engine(clock=VirtualClock(START), ids=SequentialIds())
    whole.subscribe(heard.append)
    heard.clear()
    whole.vector_stores.create()
    batch(whole, "file-a")
    follower.replay(heard)
    for each in (twin, follower):
        assert batches_of(each) == ["vsfb_1"]
        each.check()
    assert twin.processing.purge(older_than=inf) == []  # a command, which comes after what is due
    assert batches_of(twin) == []
    whole.clock.advance(1.0)  # type: ignore[attr-defined]
    whole.processing.purge(older_than=0.5)
    follower.replay(heard[-1:])
    assert batches_of(follower) == []
    follower.check()


@pytest.mark.parametrize("retention", [0, -1.0, nan, -inf, True, "1", []])
def test_a_retention_that_is_no_duration_is_refused(retention: Any) -> None:
    with pytest.raises(ValueError, match="retention="):
        Engine(retention=retention)


@pytest.mark.parametrize("retention", [None, inf, 10**400])
def test_batches_may_be_kept_for_ever(retention: Any) -> None:
    engine, heard = made(retention=retention)
    batch(engine, "file-a")
    wait(engine, 1e12)
    engine.check()
    assert len(heard) == 2


def test_a_repetition_of_a_create_whose_batch_was_purged_is_not_found() -> None:
    engine, _ = made()
    for _ in range(2):
        engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a"], idempotency_key="key-1")
    engine.processing.complete("vs_1", "file-a")
    engine.processing.purge(older_than=0)
    with pytest.raises(errors.FileBatchNotFound):
        engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a"], idempotency_key="key-1")


def test_check_names_a_batch_that_finished_at_no_time_or_in_another_order() -> None:
    def spoil(change: Any) -> None:
        engine, _ = made(retention=50.0)
        batch(engine, "file-a")
        wait(engine, 1.0)
        batch(engine, "file-b")
        engine.check()
        store = engine._registry.stores["vs_1"]
        change(store, store.batches["vsfb_1"], store.batches["vsfb_2"])
        with pytest.raises(Inconsistent, match=r"vsfb_1|finished|timers"):
            engine.check()

    spoil(lambda _, first, __: setattr(first, "finished_at", None))
    spoil(lambda _, first, __: first.counts.__setitem__(0, 1))
    spoil(lambda _, first, __: setattr(first, "finished_at", START + 2.0))
    spoil(lambda store, *_: store.finished.reverse())
    spoil(lambda store, first, _: store.finished.remove(first))
    spoil(lambda store, *_: setattr(store, "purge_timer", START + 51.0))


def test_a_batch_finds_that_it_finished_at_no_time_or_before_its_last_file() -> None:
    engine, _ = made()
    finished, running = batch(engine, "file-a"), batch(engine, "file-b", ends=False)
    batches = engine._registry.stores["vs_1"].batches
    for each in batches.values():
        each.check("vs_1", engine.profile)
    batches[finished].finished_at = None
    batches[running].finished_at = START
    for id in (finished, running):
        with pytest.raises(Inconsistent, match=f"when file batch '{id}' finished"):
            batches[id].check("vs_1", engine.profile)


def test_replay_takes_the_batches_that_finished_first_in_order_and_no_others() -> None:
    engine, _ = made()
    for file_id in ("file-a", "file-b", "file-c"):  # the first two finish at once
        if file_id == "file-c":
            wait(engine, 1.0)
        batch(engine, file_id)
    batch(engine, "file-d", ends=False)
    at, version, before = engine.clock.time(), engine.version("vs_1") + 1, engine.snapshot()

    def purged(*ids: str) -> events.FileBatchesPurged:
        return events.FileBatchesPurged(at, "vs_1", ids, version=version)

    one, two, three = "vsfb_1", "vsfb_2", "vsfb_3"
    for wrong in ((one,), (two, one), (one, three), (three, two, one), (three,), (one, two, two), (one,) * 5):
        with pytest.raises(errors.ReplayError):
            engine.replay([purged(*wrong)])
        assert engine.snapshot() == before
    for right in ((one, two), (one, two, three)):
        twin = Engine.restore(before)
        twin.replay([purged(*right)])
        twin.check()
        assert batches_of(twin) == [id for id in (one, two, three, "vsfb_4") if id not in right]
