"""What holds for counts, statuses, times and expiry at every moment of every history.

Expectations come from the record that a ``World`` keeps: plain lists, counted anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, Profile, SequentialIds, VectorStoreFileBatch, VirtualClock, errors, wire
from vsbatch_core.model import BatchStatus, FileCounts

from ..helpers.strategies import (
    DAY,
    START,
    Attach,
    AttachBatch,
    Attached,
    Cancel,
    Complete,
    CreateStore,
    Delete,
    Fail,
    Step,
    UpdateFile,
    UpdateStore,
    Wait,
    World,
    counts_of,
    endings,
    file_id,
    steps,
    worlds,
)

touches = st.one_of(
    st.builds(UpdateStore, st.integers(0, 2)),
    st.builds(UpdateFile, st.integers(0, 2), st.integers(0, 11)),
)
clock_moves = st.builds(
    Wait, st.sampled_from([0.25, 1.0, DAY / 2, DAY - 0.25, DAY, -0.25, -1.0, -DAY / 2, -3.0 * DAY])
)
expiring = st.builds(CreateStore, st.just((0, 1, 2, 3)), st.sampled_from([None, 1, 1, 2]))
_any_step = st.one_of(steps, touches, clock_moves, expiring)
lives = st.lists(_any_step, max_size=40) | st.lists(_any_step, min_size=20, max_size=40)
"""Histories in which stores expire, come back to life, and see the clock set back."""


def batch_of(world: World, store: int, batch: int) -> VectorStoreFileBatch:
    record = world.stores[store]
    return world.api.file_batches.retrieve(record.batches[batch].id, vector_store_id=record.id)


def batch_status(files: Sequence[Attached], cancel_asked: bool) -> BatchStatus:
    """The status as the facts tell it, in words."""
    statuses = {file.status for file in files}
    if "in_progress" in statuses:
        return "in_progress"
    if cancel_asked:
        return "cancelled"
    if "completed" in statuses:
        return "completed"
    return "failed" if "failed" in statuses else "cancelled"


def assert_as_recorded(world: World) -> None:
    """Every store and batch is returned as the record says."""
    world.look()
    for record in world.present():
        store = world.api.retrieve(record.id)
        files = record.present()
        expired = record.expired(world.now(record))
        assert store.file_counts == counts_of(files)
        assert store.usage_bytes == sum(file.usage_bytes for file in files)
        assert (store.created_at, store.last_active_at) == (record.created_at, record.last_active_at)
        assert store.expires_at == record.expires_at()
        assert store.status == (
            "expired" if expired else "in_progress" if store.file_counts.in_progress else "completed"
        )
        for number, batched in enumerate(record.batches):
            batch = world.api.file_batches.retrieve(batched.id, vector_store_id=record.id)
            files = record.of_batch(number)
            assert batch.file_counts == counts_of(files)
            assert batch.status == batch_status(files, batched.cancel_asked)
            assert batch.created_at == batched.created_at


@given(lives)
def test_after_every_step_of_any_life_all_is_as_the_plain_record_says(life: list[Step]) -> None:
    world = World([CreateStore((), 1), AttachBatch(0, range(6))])
    for step in life:
        world.play(step)
        assert_as_recorded(world)
        world.engine.check()


@given(lives)
def test_total_is_the_sum_of_the_four_at_every_moment(life: list[Step]) -> None:
    world = World([CreateStore(), AttachBatch(0, range(6))])
    for step in life:
        world.play(step)
        bodies = [wire.to_wire(store)["file_counts"] for store in world.api.list(limit=100)]
        for record in world.present():
            for batched in record.batches:
                batch = world.api.file_batches.retrieve(batched.id, vector_store_id=record.id)
                bodies.append(wire.to_wire(batch)["file_counts"])
        for counts in bodies:
            total = counts.pop("total")
            assert set(counts) == {"in_progress", "completed", "failed", "cancelled"}
            assert total == sum(counts.values())
            assert min(counts.values()) >= 0


@given(lives)
def test_a_batch_has_ended_exactly_when_none_of_its_files_is_in_progress(life: list[Step]) -> None:
    world = World([CreateStore(), AttachBatch(0, range(6))])
    for step in life:
        world.play(step)
        world.look()
        for number, record in enumerate(world.stores):
            if record.here:
                for batch in (batch_of(world, number, b) for b in range(len(record.batches))):
                    assert (batch.status != "in_progress") is (batch.file_counts.in_progress == 0)
                    assert batch.status in get_args(BatchStatus)


@given(lives)
def test_a_batch_only_moves_towards_its_end_and_stays_there(life: list[Step]) -> None:
    world = World([CreateStore(), AttachBatch(0, range(6))])
    old = batch_of(world, 0, 0)
    for step in life:
        world.play(step)
        new = batch_of(world, 0, 0)
        assert new.file_counts.total == old.file_counts.total == 6
        assert new.file_counts.in_progress <= old.file_counts.in_progress
        for status in ("completed", "failed", "cancelled"):
            assert getattr(new.file_counts, status) >= getattr(old.file_counts, status)
        if old.status != "in_progress":
            assert new == old
        old = new


@given(worlds())
def test_what_the_commands_answer_is_what_is_read_next(world: World) -> None:
    record = world.stores[0]
    batch = world.api.file_batches.create(record.id, file_ids=[file_id(n) for n in (0, 1, 0)])
    assert batch == world.api.file_batches.retrieve(batch.id, vector_store_id=record.id)
    assert (batch.status, batch.file_counts) == ("in_progress", FileCounts(in_progress=2))
    file = world.engine.processing.complete(record.id, file_id(0), usage_bytes=5)
    assert file == world.api.files.retrieve(file_id(0), vector_store_id=record.id)
    cancelled = world.api.file_batches.cancel(batch.id, vector_store_id=record.id)
    assert cancelled == world.api.file_batches.retrieve(batch.id, vector_store_id=record.id)
    assert (cancelled.status, cancelled.file_counts) == ("cancelled", FileCounts(completed=1, cancelled=1))


@given(worlds())
def test_to_cancel_a_batch_that_has_ended_changes_nothing(world: World) -> None:
    world.play(Cancel(0, 0))
    before = world.engine.snapshot()
    world.play(Wait(60.0), Cancel(0, 0))
    assert world.engine.snapshot() == before


@given(worlds(), st.lists(endings, max_size=30))
def test_deleting_all_files_leaves_an_empty_store_and_every_batch_ended_with_its_rows(
    world: World, more: list[Step]
) -> None:
    world.play(*more)
    record = world.stores[0]
    totals = [len(record.of_batch(number)) for number in range(len(record.batches))]
    for file in world.api.files.list(record.id, limit=100):
        world.api.files.delete(file.id, vector_store_id=record.id)
    store = world.api.retrieve(record.id)
    assert (store.file_counts, store.usage_bytes, store.status) == (FileCounts(), 0, "completed")
    batches = [batch_of(world, 0, number) for number in range(len(totals))]
    assert [batch.file_counts.total for batch in batches] == totals
    assert all(batch.status != "in_progress" for batch in batches)
    world.engine.check()


@pytest.mark.parametrize("all_failed", ["failed", "completed"])
def test_the_profile_says_the_word_for_a_batch_of_which_all_files_failed(all_failed: Any) -> None:
    engine = Engine(ids=SequentialIds(), profile=Profile(all_failed=all_failed))
    store = engine.vector_stores.create()
    batches = engine.vector_stores.file_batches
    batch = batches.create(store.id, file_ids=["file-a", "file-b"])
    engine.processing.fail(store.id, "file-a")
    assert batches.retrieve(batch.id, vector_store_id=store.id).status == "in_progress"
    engine.processing.fail(store.id, "file-b")
    assert batches.retrieve(batch.id, vector_store_id=store.id).status == all_failed


# Time


@given(lives)
def test_times_and_order_never_go_back_though_the_clock_does(life: list[Step]) -> None:
    world = World([CreateStore(), AttachBatch(0, range(6))])
    active: dict[str, int] = {}
    for step in life:
        world.play(step)
        stores = list(world.api.list(order="asc"))
        created = [store.created_at for store in stores]
        assert created == sorted(created)
        for store in stores:
            files = list(world.api.files.list(store.id, order="asc"))
            created = [store.created_at, *(file.created_at for file in files)]
            assert created == sorted(created)
            assert active.get(store.id, store.created_at) <= store.last_active_at
            active[store.id] = store.last_active_at


@pytest.mark.parametrize(
    "step",
    [
        Complete(0, 0),
        Fail(0, 0),
        Cancel(0, 0),
        Delete(0, 0),
        Attach(0, 0),
        AttachBatch(0, (0, 9)),
        UpdateFile(0, 0),
        UpdateStore(0),
    ],
    ids=repr,
)
def test_every_command_in_a_store_moves_its_last_activity(step: Step) -> None:
    world = World([CreateStore((), 7), AttachBatch(0, range(2)), Wait(100.5), step, Wait(50.0)])
    store = world.api.retrieve(world.stores[0].id)
    assert store.last_active_at == START + 100
    assert store.expires_at == START + 100 + 7 * DAY


@given(worlds())
def test_reading_is_no_activity(world: World) -> None:
    before = world.engine.snapshot()
    world.play(Wait(1000.0))
    for listing in world.listings():
        for ask, _ in listing.views():
            assert len(ask(limit=2).data) <= 2
    assert_as_recorded(world)
    assert world.engine.snapshot() == before


# Expiry


def aged(days: int, seconds: float, *, start: float = START) -> World:
    """A store of this expiry with a batch of three, ``seconds`` after it was last active."""
    world = World([Wait(start - START), CreateStore((), days), AttachBatch(0, range(3)), Wait(seconds)])
    assert world.stores[0].last_active_at == int(start)
    return world


@given(st.integers(1, 365), st.integers(START, START + 10 * DAY))
def test_a_store_expires_to_the_second_the_days_after_it_was_last_active(days: int, start: int) -> None:
    world = aged(days, days * DAY - 0.5, start=start)
    id = world.stores[0].id
    store = world.api.retrieve(id)
    assert store.expires_after is not None
    assert (store.expires_after.days, store.expires_at) == (days, start + days * DAY)
    assert store.status == "in_progress"
    world.play(Wait(0.5))
    assert world.api.retrieve(id).status == "expired"
    assert [listed.status for listed in world.api.list()] == ["expired"]
    assert world.api.retrieve(id).expires_at == start + days * DAY


def test_a_store_without_expiry_never_expires() -> None:
    world = World([CreateStore((0,)), Complete(0, 0), Wait(1000.0 * 365 * DAY)])
    store = world.api.retrieve(world.stores[0].id)
    assert (store.status, store.expires_after, store.expires_at) == ("completed", None, None)


@given(st.integers(1, 365), st.floats(0, 1000 * DAY))
def test_an_expired_store_takes_no_files_until_an_update_brings_it_back(days: int, late: float) -> None:
    world = aged(days, days * DAY + late)
    id = world.stores[0].id
    before = world.engine.snapshot()
    for attach in (
        lambda: world.api.files.create(id, file_id=file_id(5)),
        lambda: world.api.file_batches.create(id, file_ids=[file_id(5)]),
        lambda: world.api.file_batches.create(id, files=[{"file_id": file_id(5)}]),
    ):
        with pytest.raises(errors.VectorStoreExpired) as refused:
            attach()
        assert (refused.value.status, refused.value.param) == (400, "vector_store_id")
    assert world.engine.snapshot() == before
    world.play(UpdateStore(0))
    store = world.api.retrieve(id)
    assert (store.status, store.last_active_at) == ("in_progress", int(world.clock.time()))
    assert store.expires_at == store.last_active_at + days * DAY
    world.play(Attach(0, 5), AttachBatch(0, (6,)))
    assert_as_recorded(world)


@given(
    st.lists(
        st.sampled_from([Complete(0, 0, 3), Fail(0, 1), Cancel(0, 0), Delete(0, 2), UpdateFile(0, 0), Wait(5.0)]),
        unique=True,
    )
)
def test_in_an_expired_store_work_may_end_and_files_may_leave_and_none_of_it_extends_its_life(
    life: list[Step],
) -> None:
    world = aged(1, 2.0 * DAY)
    for step in life:
        world.play(step)
        assert_as_recorded(world)
        store = world.api.retrieve(world.stores[0].id)
        assert (store.status, store.last_active_at, store.expires_at) == ("expired", START, START + DAY)


def test_an_update_that_takes_the_expiry_away_brings_a_store_back_for_good() -> None:
    world = aged(1, 2.0 * DAY)
    store = world.api.update(world.stores[0].id, expires_after=None)
    assert (store.status, store.expires_at) == ("in_progress", None)
    world.clock.advance(1000.0 * DAY)
    assert world.api.retrieve(store.id).status == "in_progress"


def test_an_update_may_give_an_expiry_that_counts_from_then() -> None:
    clock = VirtualClock(START)
    api = Engine(clock=clock, ids=SequentialIds()).vector_stores
    id = api.create().id
    clock.advance(100.0)
    store = api.update(id, expires_after={"anchor": "last_active_at", "days": 2})
    assert store.expires_at == START + 100 + 2 * DAY
    clock.advance(2.0 * DAY)
    assert api.retrieve(id).status == "expired"


# A small world, whole

ALPHABET: tuple[Step, ...] = (
    *(step(0, file) for step in (Complete, Fail, Delete, Attach) for file in (0, 1)),
    *(Cancel(0, batch) for batch in (0, 1)),
    AttachBatch(0, (1, 0)),
)


@pytest.mark.slow
def test_every_sequence_of_up_to_four_commands_over_two_files_and_two_batches_is_exact() -> None:
    """Two sequences that lead to the same state, in the engine and in the record, go on in the same way."""
    start = [CreateStore(), AttachBatch(0, (0, 1))]
    sequences: list[tuple[Step, ...]] = [()]
    states: set[str] = set()
    seen: set[tuple[Any, ...]] = set()
    for _ in range(5):
        new = []
        for sequence in sequences:
            world = World([*start, *sequence])
            world.engine.check()
            state = repr((world.engine.snapshot(), world.stores))
            if state in states:
                continue
            states.add(state)
            new.append(sequence)
            assert_as_recorded(world)
            record = world.stores[0]
            first = batch_of(world, 0, 0)
            assert first.file_counts.total == 2
            seen.add((first.status, *(file.status for file in record.of_batch(0))))
        sequences = [(*sequence, step) for sequence in new for step in ALPHABET]
    # Nothing above held for want of a case: every pair of statuses was met.
    ends = ("in_progress", "completed", "failed", "cancelled")
    assert {(one, other) for _, one, other in seen} == {(one, other) for one in ends for other in ends}
    assert ("cancelled", "completed", "cancelled") in seen
    assert ("completed", "completed", "cancelled") in seen
