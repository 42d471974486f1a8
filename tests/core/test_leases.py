"""Leases, and what a cancel does with them: at once, or after the leased files have finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine, FileCounts, Profile, VirtualClock, errors, events, wire
from vsbatch_core.testing.oracle import Oracle

from ..helpers.strategies import START, CountingIds, filled, histories, new_engine

DRAIN = Profile(cancel="drain")
FILES = ("file-a", "file-b", "file-c")


def engine_of(profile: Profile = DRAIN) -> Engine:
    """An engine with batch ``vsfb_1`` of three files in store ``vs_1``."""
    engine = new_engine(profile)
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=list(FILES))
    return engine


def batch_of(engine: Engine) -> Any:
    return engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")


def cancel(engine: Engine) -> Any:
    return engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")


def statuses(engine: Engine) -> dict[str, str]:
    page = engine.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", order="asc")
    return {file.id: file.status for file in page}


def telling(engine: Engine) -> list[Any]:
    told: list[Any] = []
    engine.subscribe(told.append)
    return told


def test_a_lease_answers_the_file_still_in_progress_and_is_told() -> None:
    engine = engine_of()
    told = telling(engine)
    file = engine.processing.lease("vs_1", "file-b")
    assert file == engine.vector_stores.files.retrieve("file-b", vector_store_id="vs_1")
    assert file.status == "in_progress"
    assert told == [events.FileLeased(START, "vs_1", "file-b", version=3, attachment=1)]
    assert told[0].kind == "vector_store.file.leased"
    assert wire.from_wire(wire.to_wire(told[0])) == told[0]


def test_a_lease_counts_as_activity_of_the_store() -> None:
    engine = engine_of()
    engine.clock.advance(5)  # type: ignore[attr-defined]
    engine.processing.lease("vs_1", "file-a")
    assert engine.vector_stores.retrieve("vs_1").last_active_at == START + 5


def test_a_lease_is_not_needed_to_finish_a_file_and_pending_answers_leased_ones_too() -> None:
    engine = engine_of()
    engine.processing.lease("vs_1", "file-a")
    assert [file.id for file in engine.processing.pending("vs_1")] == list(FILES)
    engine.processing.complete("vs_1", "file-a")
    engine.processing.complete("vs_1", "file-b")
    assert statuses(engine) == {"file-a": "completed", "file-b": "completed", "file-c": "in_progress"}


def test_a_cancel_that_drains_ends_at_once_what_nobody_leased_and_waits_for_the_rest() -> None:
    engine = engine_of()
    told = telling(engine)
    engine.processing.lease("vs_1", "file-a")
    engine.processing.lease("vs_1", "file-c")
    answer = cancel(engine)
    assert (answer.status, answer.file_counts) == ("in_progress", FileCounts(in_progress=2, cancelled=1))
    assert statuses(engine) == {"file-a": "in_progress", "file-b": "cancelled", "file-c": "in_progress"}
    engine.processing.complete("vs_1", "file-a")
    assert batch_of(engine).status == "in_progress"
    engine.processing.fail("vs_1", "file-c")
    answer = batch_of(engine)
    assert (answer.status, answer.file_counts) == ("cancelled", FileCounts(completed=1, failed=1, cancelled=1))
    assert [event.kind for event in told if isinstance(event, events.FileBatchCancelled)] == [told[2].kind]
    engine.check()


def test_cancelling_again_while_a_batch_drains_changes_nothing_and_is_no_event() -> None:
    for cancel_finished in ("ignore", "refuse"):
        engine = engine_of(Profile(cancel="drain", cancel_finished=cancel_finished))
        engine.processing.lease("vs_1", "file-a")
        first = cancel(engine)
        before, told = engine.snapshot(), telling(engine)
        engine.clock.advance(9)  # type: ignore[attr-defined]
        assert cancel(engine) == first
        assert (engine.snapshot(), told) == (before, [])


def test_a_drain_of_a_batch_of_which_nothing_is_leased_ends_it_at_once() -> None:
    engine = engine_of()
    assert cancel(engine).status == "cancelled"
    assert set(statuses(engine).values()) == {"cancelled"}


def test_an_immediate_cancel_ends_leased_files_too() -> None:
    engine = engine_of(Profile())
    engine.processing.lease("vs_1", "file-a")
    assert cancel(engine).file_counts == FileCounts(cancelled=3)
    assert engine.snapshot()["vector_stores"][0]["leased"] == []


def test_a_draining_batch_restored_under_another_profile_can_be_cancelled_at_once() -> None:
    engine = engine_of()
    engine.processing.lease("vs_1", "file-a")
    cancel(engine)
    twin = Engine.restore(engine.snapshot(), clock=VirtualClock(START), profile=Profile())
    assert cancel(twin).status == "cancelled"
    twin.check()


def test_another_batchs_leases_are_none_of_its_business() -> None:
    engine = engine_of()
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-x"])
    engine.processing.lease("vs_1", "file-x")
    assert cancel(engine).status == "cancelled"
    assert engine.snapshot()["vector_stores"][0]["leased"] == [3]


ENDS: dict[str, Callable[[Engine], Any]] = {
    "complete": lambda e: e.processing.complete("vs_1", "file-a"),
    "fail": lambda e: e.processing.fail("vs_1", "file-a"),
    "delete": lambda e: e.vector_stores.files.delete("file-a", vector_store_id="vs_1"),
    "attach again": lambda e: e.vector_stores.files.create("vs_1", file_id="file-a"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("draining", [False, True])
def test_a_lease_ends_when_its_file_does_however_it_does(end: str, draining: bool) -> None:
    engine = engine_of()
    engine.processing.lease("vs_1", "file-a")
    if draining:
        cancel(engine)
    ENDS[end](engine)
    engine.check()
    assert engine.snapshot()["vector_stores"][0]["leased"] == []
    if draining:
        assert batch_of(engine).status == "cancelled"
    if end == "attach again":
        engine.processing.lease("vs_1", "file-a")  # it is a new attachment
        assert engine.snapshot()["vector_stores"][0]["leased"] == [3]


REFUSALS: dict[str, tuple[type[errors.VsbatchError], str, Callable[[Engine], Any]]] = {
    "leased": (errors.AlreadyLeased, "already leased", lambda e: e.processing.lease("vs_1", "file-a")),
    "completed": (errors.AlreadyFinished, "already 'completed'", ENDS["complete"]),
    "failed": (errors.AlreadyFinished, "already 'failed'", ENDS["fail"]),
    "cancelled": (errors.AlreadyFinished, "already 'cancelled'", cancel),
    "deleted": (errors.NotAttached, "no longer attached", ENDS["delete"]),
    "in a deleted store": (errors.NotAttached, "no such store", lambda e: e.vector_stores.delete("vs_1")),
}


@pytest.mark.parametrize("state", REFUSALS)
def test_what_cannot_be_leased_is_refused_and_nothing_changes(state: str) -> None:
    engine = engine_of()
    error, said, bring_about = REFUSALS[state]
    bring_about(engine)
    before, told = engine.snapshot(), telling(engine)
    with pytest.raises(error, match=said) as caught:
        engine.processing.lease("vs_1", "file-a")
    assert "Cannot lease file 'file-a'" in caught.value.message
    assert "drop this result" not in caught.value.message.lower()
    assert (engine.snapshot(), told) == (before, [])
    engine.check()


def test_a_file_that_was_never_there_is_not_leased() -> None:
    with pytest.raises(errors.NotAttached, match=r"is not attached\. Take another, or attach the file first"):
        engine_of().processing.lease("vs_1", "file-z")


@pytest.mark.parametrize("file_id", [None, 5, "", ["file-a"]])
def test_what_is_no_file_id_is_refused_as_everywhere(file_id: Any) -> None:
    with pytest.raises(errors.RequestError) as caught:
        engine_of().processing.lease("vs_1", file_id)
    assert caught.value.param == "file_id"


def test_every_small_history_of_leases_and_ends_drains_as_it_must() -> None:
    """Each of three files is leased or not before the cancel, and ended or not before it."""
    for leased, done in product(product((False, True), repeat=3), repeat=2):
        engine = engine_of()
        for id, is_leased, is_done in zip(FILES, leased, done, strict=True):
            if is_leased:
                engine.processing.lease("vs_1", id)
            if is_done:
                engine.processing.complete("vs_1", id)
        cancel(engine)
        for id, is_leased, is_done in zip(FILES, leased, done, strict=True):
            expected = "completed" if is_done else "in_progress" if is_leased else "cancelled"
            assert statuses(engine)[id] == expected
        running = sum(a and not b for a, b in zip(leased, done, strict=True))
        expected = "in_progress" if running else "completed" if all(done) else "cancelled"
        assert (batch_of(engine).status, batch_of(engine).file_counts.in_progress) == (expected, running)
        engine.check()


@given(histories, st.sampled_from((Profile(), DRAIN)), st.sampled_from((Profile(), DRAIN)))
def test_events_and_snapshots_carry_the_leases_whatever_the_profile_of_who_reads_them(
    history: list[Any], profile: Profile, other: Profile
) -> None:
    engine, told, _ = filled(history, profile)
    twin = new_engine(other)
    twin.replay(wire.from_wire(json.loads(json.dumps(wire.to_wire(event)))) for event in told)  # type: ignore[misc]
    assert twin.snapshot()["vector_stores"] == engine.snapshot()["vector_stores"]
    twin.check()
    copy = Engine.restore(engine.snapshot(), clock=VirtualClock(START), ids=CountingIds())
    assert copy.snapshot() == engine.snapshot()
    # No batch is stuck: once every leased file has ended, no batch that was cancelled is in progress.
    for file in copy.processing.pending(limit=10**6):
        copy.processing.complete(file.vector_store_id, file.id)
    assert all(store["leased"] == [] for store in copy.snapshot()["vector_stores"] if "leased" in store)
    copy.check()


def test_random_histories_lease_and_drain() -> None:
    def drains(history: list[Any]) -> bool:
        _, told, _ = filled(history, DRAIN)
        leased = [event.vector_store_id for event in told if isinstance(event, events.FileLeased)]
        return any(isinstance(e, events.FileBatchCancelled) and e.vector_store_id in leased for e in told)

    look = settings(max_examples=5_000, database=None, phases=[Phase.generate])  # the first will do
    assert find(histories, drains, settings=look, random=Random(0))


def test_a_cancel_that_drains_leaves_the_oracle_its_leased_files_alone() -> None:
    oracle = Oracle(clock=VirtualClock(START), ids=CountingIds(), profile=Profile(cancel="drain"))
    stores = oracle.vector_stores
    stores.create()
    stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    oracle.processing.lease("vs_1", "file-a")
    counts = stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1").file_counts
    assert (counts.in_progress, counts.cancelled) == (1, 1)
