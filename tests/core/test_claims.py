"""Claims: which worker holds which attachment, what becomes of it, and what time makes due."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count, product
from math import inf
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from vsbatch_core import (
    Claim,
    Completed,
    Engine,
    Failed,
    FileCounts,
    Profile,
    Retry,
    SequentialIds,
    VectorStoreFile,
    VirtualClock,
    VsbatchError,
    claims,
    errors,
    events,
    wire,
)
from vsbatch_core.testing.oracle import Oracle

from ..helpers.brief import searching
from ..helpers.cut_short import cut_short
from ..helpers.strategies import START, CountingIds, WanderingClock, filled, histories, new_engine, refused

DRAIN = Profile(cancel="drain")
FILES = ("file-a", "file-b", "file-c")
DAY = 86_400


def engine_of(profile: Profile = DRAIN, retry: Retry | None = None, clock: Any = None) -> Engine:
    """Return an engine with batch ``vsfb_1`` of three files in store ``vs_1``."""
    engine = Engine(clock=clock or WanderingClock(), ids=CountingIds(), profile=profile, retry=retry)
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=list(FILES))
    return engine


def wait(engine: Engine, seconds: float) -> None:
    """Move the engine's clock on, or back."""
    engine.clock.wait(seconds)  # type: ignore[attr-defined]


def claimed(engine: Engine, limit: int = 1, worker: str = "worker-1", **more: Any) -> list[Claim]:
    return engine.processing.claim(limit, worker=worker, **more)


def ids(claims: list[Claim]) -> list[str]:
    return [claim.file.id for claim in claims]


def batch_of(engine: Engine) -> Any:
    return engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")


def cancel(engine: Engine) -> Any:
    return engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")


def statuses(engine: Engine) -> dict[str, str]:
    page = engine.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", order="asc")
    return {file.id: file.status for file in page}


def delivered(engine: Engine) -> list[Any]:
    found: list[Any] = []
    engine.subscribe(found.append)
    return found


def raise_oops(text: str) -> None:
    raise ValueError(text)


def only(results: list[Any]) -> Any:
    (result,) = results
    return result


# What a claim is


def test_a_claim_names_its_file_its_attempt_and_its_deadline_and_is_no_event() -> None:
    engine = engine_of()
    before, heard = engine.snapshot(), delivered(engine)
    claim = only(claimed(engine, worker="worker-1", lease_seconds=30))
    file = engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1")
    assert claim == Claim(
        vector_store_id="vs_1",
        file=file,
        attachment=0,
        attempt=1,
        deadline=START + 30,
        worker="worker-1",
        number=1,
    )
    assert engine.view.claim("vs_1", 0) == claim
    assert engine.view.claim("vs_1", 1) is engine.view.claim("vs_9", 0) is None
    later = only(engine.processing.heartbeat([claim], lease_seconds=90))
    assert later == evolve(claim, deadline=START + 90) == engine.view.claim("vs_1", 0)
    assert only(engine.processing.release([claim])) == file
    assert (engine.snapshot(), heard) == (before, [])


def test_a_claim_is_not_needed_to_finish_a_file_and_ends_with_it() -> None:
    engine = engine_of()
    claim = only(claimed(engine))
    assert [file.id for file in engine.processing.pending("vs_1")] == list(FILES)
    engine.processing.complete("vs_1", "file-a")
    engine.processing.complete("vs_1", "file-b")
    assert engine.view.claim("vs_1", 0) is None
    assert isinstance(only(engine.processing.finish([Failed(claim)])), errors.AlreadyFinished)
    assert ids(claimed(engine, 3)) == ["file-c"]
    assert statuses(engine) == {"file-a": "completed", "file-b": "completed", "file-c": "in_progress"}


def test_what_is_claimed_is_claimed_by_nobody_else_until_it_is_released() -> None:
    engine = engine_of()
    first = claimed(engine, 2, worker="worker-1")
    second = claimed(engine, 9, worker="worker-2")
    assert (ids(first), ids(second)) == (["file-a", "file-b"], ["file-c"])
    assert claimed(engine, 9, worker="worker-3") == []
    engine.processing.release([first[1]])
    again = only(claimed(engine, 9, worker="worker-3"))
    assert (again.file.id, again.attempt, again.number) == ("file-b", 1, 4)


arrivals = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from([0.0, 0.0, 1.0])), min_size=6, max_size=12
)


@given(
    arrivals,
    st.lists(
        st.tuples(st.integers(1, 7), st.sampled_from((None, None, 0, 1)), st.booleans()), min_size=2, max_size=9
    ),
)
def test_across_stores_the_oldest_are_claimed_first_and_ties_go_to_the_older_store(
    arrivals: list[tuple[int, int, float]], rounds: list[tuple[int, int | None, bool]]
) -> None:
    engine = new_engine()
    stores = [engine.vector_stores.create().id for _ in range(4)]
    names, free = count(), []
    for store, n, pause in arrivals:
        engine.clock.advance(pause)  # type: ignore[attr-defined]
        file_ids = [f"file-{next(names)}" for _ in range(n)]
        engine.vector_stores.file_batches.create(stores[store], file_ids=file_ids)
        free += [(int(engine.clock.time()), store, int(id.removeprefix("file-"))) for id in file_ids]
    for limit, of_store, released in rounds:
        asked = sorted(one for one in free if of_store in (None, one[1]))[:limit]
        claims = claimed(engine, limit, vector_store_id=None if of_store is None else stores[of_store])
        found = [
            (claim.file.created_at, stores.index(claim.vector_store_id), int(claim.file.id.removeprefix("file-")))
            for claim in claims
        ]
        assert found == asked
        assert [claim.number for claim in claims] == sorted(claim.number for claim in claims)
        if released:
            engine.processing.release(claims)
        else:
            free = [one for one in free if one not in asked]
        engine.check()


def test_attachments_that_are_named_are_claimed_in_that_order_and_the_others_keep_their_turn() -> None:
    engine = engine_of()
    named = claimed(engine, 9, vector_store_id="vs_1", attachments=[2, 7, 2, 10**30, 0])
    assert ids(named) == ["file-c", "file-a"]
    assert claimed(engine, 9, vector_store_id="vs_1", attachments=[2, 0]) == []
    assert claimed(engine, 9, vector_store_id="vs_1", attachments=[]) == []
    engine.processing.release([named[0]])
    assert ids(claimed(engine, 9)) == ["file-b", "file-c"]
    engine.check()


def test_an_attachment_that_was_named_waits_and_is_passed_over_comes_again_in_its_turn() -> None:
    engine = engine_of(retry=Retry(backoff=10))
    named = claimed(engine, vector_store_id="vs_1", attachments=[1])
    engine.processing.finish([Failed(named[0], retry=True)])
    assert ids(claimed(engine, 9)) == ["file-a", "file-c"]
    wait(engine, 10)
    assert [(claim.file.id, claim.attempt) for claim in claimed(engine, 9)] == [("file-b", 2)]
    engine.check()


# Claims that end


def test_a_claim_lapses_at_its_deadline_and_the_next_attempt_counts_one_more() -> None:
    engine = engine_of()
    claim = only(claimed(engine, lease_seconds=60))
    wait(engine, 59.5)
    assert engine.view.claim("vs_1", 0) == claim
    wait(engine, 0.5)
    assert engine.view.claim("vs_1", 0) is None
    again = only(claimed(engine, worker="worker-2"))
    assert (again.file.id, again.attempt) == ("file-a", 2)


def test_a_claim_without_end_never_lapses_and_a_heartbeat_may_give_it_one() -> None:
    engine = engine_of()
    claim = only(claimed(engine, lease_seconds=inf))
    wait(engine, 1e12)
    assert engine.view.claim("vs_1", 0) == claim
    assert only(engine.processing.heartbeat([claim], lease_seconds=5)).deadline == engine.clock.time() + 5
    assert only(engine.processing.heartbeat([claim], lease_seconds=inf)).deadline == inf
    wait(engine, 1e12)
    assert engine.view.claim("vs_1", 0) == evolve(claim, deadline=inf)
    engine.processing.heartbeat([claim], lease_seconds=5)
    wait(engine, 5)
    assert engine.view.claim("vs_1", 0) is None
    engine.check()


def test_a_heartbeat_may_shorten_a_claim() -> None:
    engine = engine_of()
    claims = claimed(engine, 2, lease_seconds=60)
    engine.processing.heartbeat(claims[:1], lease_seconds=5)
    wait(engine, 5)
    assert [engine.view.claim("vs_1", row) for row in (0, 1)] == [None, claims[1]]


def test_a_heartbeat_changes_the_deadline_and_nothing_else_whatever_the_claim_says() -> None:
    engine = engine_of()
    claim = only(claimed(engine))
    file = engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1")
    forged = evolve(claim, attempt=-9, deadline=inf, file=evolve(file, usage_bytes=9))
    assert only(engine.processing.heartbeat([forged], lease_seconds=7)) == evolve(claim, deadline=START + 7)


@pytest.mark.parametrize("attempts", [1, 2, 3])
@pytest.mark.parametrize("how", ["lapse", "retry"])
def test_a_file_that_was_tried_as_often_as_it_may_be_fails_and_says_so(attempts: int, how: str) -> None:
    engine = engine_of(retry=Retry(attempts=attempts))
    heard = delivered(engine)
    for attempt in range(1, attempts + 1):
        assert heard == []
        claim = only(claimed(engine, worker="w", vector_store_id="vs_1", attachments=[0]))
        assert claim.attempt == attempt
        if how == "lapse":
            wait(engine, 60)
        else:
            engine.processing.finish([Failed(claim, "invalid_file", "It is torn.", retry=True)])
    error = engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1").last_error
    times = "once" if attempts == 1 else f"{attempts} times"
    why = "the claim of worker 'w' lapsed" if how == "lapse" else "it failed: It is torn"
    assert error is not None
    assert error.code == "server_error"
    assert error.message == f"An internal error occurred. The file was tried {times}; at last {why}."
    assert heard == [events.FilesFailed(engine.clock.time(), "vs_1", ("file-a",), (0,), error, version=3)]
    assert isinstance(only(engine.processing.finish([Completed(claim)])), errors.AlreadyFinished)


def test_a_release_counts_as_no_attempt_however_often() -> None:
    engine = engine_of(retry=Retry(attempts=2))
    for _ in range(5):
        claim = only(claimed(engine))
        assert claim.attempt == 1
        assert only(engine.processing.release([claim])).status == "in_progress"
    wait(engine, 0)
    claimed(engine)
    wait(engine, 60)
    for _ in range(3):
        claim = only(claimed(engine))
        assert claim.attempt == 2
        engine.processing.release([claim])


@given(
    st.floats(0, 1e308),
    st.floats(1, 1e308),
    st.floats(0, 1e12),
    st.integers(1, 2_000),
)
def test_a_delay_grows_by_its_factor_up_to_the_maximum(
    backoff: float, factor: float, maximum: float, attempt: int
) -> None:
    retry = Retry(backoff=backoff, factor=factor, maximum=maximum)
    delays = [retry.delay(attempt), retry.delay(attempt + 1)]
    assert 0 <= delays[0] <= delays[1] <= maximum
    assert retry.delay(1) == min(backoff, maximum)
    if delays[1] < maximum:
        assert delays[1] == pytest.approx(delays[0] * factor)


def test_without_backoff_there_is_no_delay_however_great_the_factor() -> None:
    assert Retry(factor=1e300).delay(99) == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(["attempts"], [0, -1, True, 1.0, None]),
        *product(["backoff", "maximum"], [-1, inf, float("nan"), True, "1", None]),
        *product(["factor"], [0.5, inf, float("nan"), None]),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Retry\.{name} must be .*not {value!r}"):
        Retry(**{name: value})


def test_a_file_that_has_waited_can_be_claimed_wherever_the_call_that_notes_it_is_cut_short() -> None:
    line, cut = 0, True
    while cut:
        line += 1
        engine = engine_of(retry=Retry(attempts=4, backoff=2))
        engine.processing.finish([Failed(only(claimed(engine)), retry=True)])
        engine.check()  # which reads what can be claimed: the file cannot be
        wait(engine, 2)
        cut = cut_short(engine.processing.pending, claims, line)
        engine.check()
        assert ids(claimed(engine, 9)) == list(FILES)
    assert line > 2


def test_a_cancel_that_drains_names_what_is_held_in_its_batch_whether_few_or_many_are_held() -> None:
    for batches, held in ((1, 2), (9, 20)):
        engine = new_engine(DRAIN)
        engine.vector_stores.create()
        for n in range(batches):
            engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{n}-{i}" for i in range(4)])
        claimed(engine, held, vector_store_id="vs_1")
        heard = delivered(engine)
        cancel(engine)
        assert heard[0].left_running == tuple(range(min(held, 4)))
        assert batch_of(engine).file_counts.in_progress == min(held, 4)


def test_a_file_waits_for_its_next_attempt_to_the_second_and_the_others_do_not() -> None:
    engine = engine_of(retry=Retry(attempts=4, backoff=2))
    for attempt, delay in ((1, 2.0), (2, 4.0), (3, 8.0)):
        claim = only(claimed(engine, vector_store_id="vs_1", attachments=[0]))
        assert claim.attempt == attempt
        file = only(engine.processing.finish([Failed(claim, retry=True)]))
        assert (file.status, file.last_error) == ("in_progress", None)
        wait(engine, delay - 0.5)
        assert claimed(engine, vector_store_id="vs_1", attachments=[0]) == []
        wait(engine, 0.5)
    assert ids(claimed(engine, 9)) == list(FILES)
    engine.check()


def test_a_file_that_waits_for_its_next_attempt_can_be_finished_and_is_cancelled_by_a_cancel() -> None:
    engine = engine_of(retry=Retry(backoff=2))
    claims = claimed(engine, 3)
    engine.processing.finish([Failed(claim, retry=True) for claim in claims[:2]])
    engine.processing.complete("vs_1", "file-a")
    batch = cancel(engine)
    assert batch.file_counts == FileCounts(completed=1, cancelled=1, in_progress=1)
    wait(engine, 2)
    assert claimed(engine) == []
    engine.check()


# What is said late, or twice, or of what is not there


def completed_by_another(engine: Engine, _: Claim) -> None:
    wait(engine, 60)
    engine.processing.finish([Completed(only(claimed(engine, worker="worker-2")))])


def claimed_by_another(engine: Engine, _: Claim) -> None:
    wait(engine, 60)
    claimed(engine, worker="worker-2")


LOST: dict[str, tuple[type[VsbatchError], str, Callable[[Engine, Claim], Any]]] = {
    "lapsed": (errors.ClaimLost, "nobody holds the file now", lambda e, _: wait(e, 60)),
    "lapsed and claimed": (errors.ClaimLost, "worker 'worker-2' holds the file now", claimed_by_another),
    "lapsed and finished": (errors.AlreadyFinished, "already 'completed'", completed_by_another),
    "released": (errors.ClaimLost, "nobody holds", lambda e, c: e.processing.release([c])),
    "retried": (errors.ClaimLost, "nobody holds", lambda e, c: e.processing.finish([Failed(c, retry=True)])),
    "finished": (errors.AlreadyFinished, "'completed'", lambda e, c: e.processing.finish([Completed(c)])),
    "failed": (errors.AlreadyFinished, "'failed'", lambda e, _: e.processing.fail("vs_1", "file-a")),
    "deleted": (
        errors.StaleAttachment,
        "not attached now",
        lambda e, _: e.vector_stores.files.delete("file-a", vector_store_id="vs_1"),
    ),
    "attached again": (
        errors.StaleAttachment,
        "attachment 3 now",
        lambda e, _: e.vector_stores.files.create("vs_1", file_id="file-a"),
    ),
    "in a deleted store": (errors.NotAttached, "no such store", lambda e, _: e.vector_stores.delete("vs_1")),
}
TRIED: dict[str, Callable[[Engine, Claim], Any]] = {
    "extend": lambda e, claim: only(e.processing.heartbeat([claim])),
    "release": lambda e, claim: only(e.processing.release([claim])),
    "complete": lambda e, claim: only(e.processing.finish([Completed(claim)])),
    "fail": lambda e, claim: only(e.processing.finish([Failed(claim, retry=True)])),
}


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("state", LOST)
def test_what_is_said_of_a_claim_that_is_over_is_refused_and_changes_nothing(state: str, tried: str) -> None:
    engine = engine_of()
    claim = only(claimed(engine))
    kind, says, bring_about = LOST[state]
    bring_about(engine, claim)
    held = engine.view.claim("vs_1", 0)
    before, heard = engine.snapshot(), delivered(engine)
    error = TRIED[tried](engine, claim)
    assert type(error) is kind
    assert error.message.startswith(f"Cannot {tried} ")
    assert says in error.message
    assert "'file-a'" in error.message
    assert (engine.snapshot(), heard, engine.view.claim("vs_1", 0)) == (before, [], held)
    engine.check()


FORGED: dict[str, Callable[[Claim], Claim]] = {
    "of another worker": lambda claim: evolve(claim, worker="worker-9"),
    "of another number": lambda claim: evolve(claim, number=claim.number + 1),
    "of another attachment": lambda claim: evolve(claim, attachment=1),
    "of an attachment to come": lambda claim: evolve(claim, attachment=10**30),
    "of another file": lambda claim: evolve(claim, file=evolve(claim.file, id="file-b")),
    "of a store to come": lambda claim: evolve(claim, vector_store_id="vs_9"),
    "of what is no store": lambda claim: evolve(claim, vector_store_id="file-a"),
}


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("kind", FORGED)
def test_a_claim_that_the_engine_did_not_make_is_refused_and_does_not_hold_up_the_others(
    kind: str, tried: str
) -> None:
    engine = engine_of()
    claim = only(claimed(engine))
    before, heard = engine.snapshot(), delivered(engine)
    assert isinstance(TRIED[tried](engine, FORGED[kind](claim)), errors.HostError)
    assert (engine.snapshot(), heard, engine.view.claim("vs_1", 0)) == (before, [], claim)
    results = engine.processing.finish([Completed(FORGED[kind](claim), 1), Completed(claim, 2)])
    assert isinstance(results[0], errors.HostError)
    assert not isinstance(results[1], VsbatchError)
    assert results[1].usage_bytes == 2
    engine.check()


@pytest.mark.parametrize(
    "name", ["vector_store_id", "file", "attachment", "attempt", "deadline", "worker", "number"]
)
@pytest.mark.parametrize("value", [None, [], {}, True, b"file-a", VectorStoreFile([], 0, "vs_1")], ids=str)  # type: ignore[arg-type]
def test_a_claim_that_no_engine_can_have_made_cannot_be_made_by_anybody_else(name: str, value: Any) -> None:
    claim = only(claimed(engine_of()))
    with pytest.raises(TypeError, match=rf"^Claim\({name}=.*: give "):
        evolve(claim, **{name: value})


def test_of_two_outcomes_of_one_claim_the_first_counts_and_the_second_is_refused() -> None:
    engine = engine_of()
    a, b, _ = claimed(engine, 3)
    results = engine.processing.finish([Failed(b), Completed(a, 7), Completed(b, 9), Failed(a, retry=True)])
    assert [getattr(each, "status", None) for each in results[:2]] == ["failed", "completed"]
    assert [type(each) for each in results[2:]] == [errors.AlreadyFinished] * 2
    assert statuses(engine) == {"file-a": "completed", "file-b": "failed", "file-c": "in_progress"}


def test_one_event_names_all_files_that_ended_in_the_same_way_and_results_come_in_order() -> None:
    engine = engine_of()
    engine.vector_stores.create(file_ids=["file-x", "file-y"])
    heard = delivered(engine)
    a, b, c, x, y = claimed(engine, 9)
    results = engine.processing.finish(
        [Completed(c, 3), Failed(x, "invalid_file"), Completed(a, 1), Completed(y), Failed(b, retry=True)]
    )
    assert [file.id for file in results if not isinstance(file, VsbatchError)] == [
        *("file-c", "file-x", "file-a", "file-y", "file-b")
    ]
    assert [(event.kind, event.file_ids) for event in heard] == [
        ("vector_store.files.completed", ("file-c", "file-a")),
        ("vector_store.files.failed", ("file-x",)),
        ("vector_store.files.completed", ("file-y",)),
    ]
    assert [wire.from_wire(wire.to_wire(event)) for event in heard] == heard


def test_nothing_at_all_is_done_with_no_claims() -> None:
    engine = engine_of()
    assert engine.processing.finish([]) == engine.processing.heartbeat([]) == engine.processing.release([]) == []


@pytest.mark.parametrize("bad", [None, 5, "claims", [None], [Completed(None)]])  # type: ignore[arg-type]
def test_what_is_no_claim_is_refused_before_anything_happens(bad: Any) -> None:
    engine = engine_of()
    claim = only(claimed(engine))
    for use in (engine.processing.heartbeat, engine.processing.release, engine.processing.finish):
        refused(engine, errors.InvalidType, lambda use=use: use(bad))  # type: ignore[misc]
    for outcome in (Completed(claim, "1"), Failed(claim, message=5), Failed(claim, retry=1)):  # type: ignore[arg-type]
        refused(
            engine,
            errors.RequestError,
            lambda outcome=outcome: engine.processing.finish([Completed(claim), outcome]),  # type: ignore[misc]
        )
    assert engine.view.claim("vs_1", 0) == claim


# Cancels that drain


def test_a_cancel_that_drains_ends_at_once_what_nobody_holds_and_waits_for_the_rest() -> None:
    engine = engine_of()
    heard = delivered(engine)
    claims = claimed(engine, 9, vector_store_id="vs_1", attachments=[0, 2])
    batch = cancel(engine)
    assert (batch.status, batch.file_counts) == ("in_progress", FileCounts(in_progress=2, cancelled=1))
    assert statuses(engine) == {"file-a": "in_progress", "file-b": "cancelled", "file-c": "in_progress"}
    assert heard == [events.FileBatchCancelled(START, "vs_1", "vsfb_1", (0, 2), version=3)]
    assert wire.from_wire(wire.to_wire(heard[0])) == heard[0]
    engine.processing.finish([Completed(claims[0])])
    assert batch_of(engine).status == "in_progress"
    engine.processing.finish([Failed(claims[1])])
    batch = batch_of(engine)
    assert (batch.status, batch.file_counts) == ("cancelled", FileCounts(completed=1, failed=1, cancelled=1))
    engine.check()


ENDS_OF_DRAINS: dict[str, Callable[[Engine, list[Claim]], Any]] = {
    "lapse": lambda e, _: wait(e, 60),
    "release": lambda e, claims: e.processing.release(claims),
    "retry": lambda e, claims: e.processing.finish([Failed(claim, retry=True) for claim in claims]),
}


@pytest.mark.parametrize("how", ENDS_OF_DRAINS)
def test_a_batch_that_drains_ends_with_its_last_claim_whatever_became_of_the_worker(how: str) -> None:
    engine = engine_of(retry=Retry(attempts=1))
    claims = claimed(engine, 2)
    cancel(engine)
    heard = delivered(engine)
    ENDS_OF_DRAINS[how](engine, claims)
    assert batch_of(engine).status == "cancelled"
    at = engine.clock.time()
    assert heard == [events.FilesCancelled(at, "vs_1", ("file-a", "file-b"), (0, 1), version=4)]
    assert wire.from_wire(wire.to_wire(heard[0])) == heard[0]
    assert claimed(engine, 9) == []
    engine.check()


def test_cancelling_again_while_a_batch_drains_changes_nothing_and_is_no_event() -> None:
    for cancel_finished in ("ignore", "refuse"):
        engine = engine_of(Profile(cancel="drain", cancel_finished=cancel_finished))
        claimed(engine)
        first = cancel(engine)
        before, heard = engine.snapshot(), delivered(engine)
        wait(engine, 9)
        assert cancel(engine) == first
        assert (engine.snapshot(), heard) == (before, [])


def test_an_immediate_cancel_ends_files_that_are_held_and_their_claims() -> None:
    for others in (0, 40):  # fewer claims than files in the batch, and more
        engine = engine_of(Profile())
        engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(others)])
        engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i}" for i in range(others + 1)])
        claims = claimed(engine, 99)
        assert cancel(engine).file_counts == FileCounts(cancelled=3)
        results = engine.processing.heartbeat(claims)
        assert [
            claim.file.id for claim, each in zip(claims, results, strict=True) if isinstance(each, Claim)
        ] == [claim.file.id for claim in claims if claim.file.id not in FILES]
        engine.check()


def test_a_file_that_was_released_and_cancelled_is_claimed_no_more() -> None:
    engine = engine_of(Profile())
    engine.processing.release(claimed(engine))
    engine.check()  # which reads what can be claimed
    cancel(engine)
    engine.check()
    assert claimed(engine, 9) == []


def test_another_batchs_claims_are_none_of_its_business() -> None:
    engine = engine_of()
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-x"])
    claim = only(claimed(engine, vector_store_id="vs_1", attachments=[3]))
    assert cancel(engine).status == "cancelled"
    assert engine.view.claim("vs_1", 3) == claim


def test_every_small_history_of_claims_and_ends_drains_as_it_must() -> None:
    """Each of three files is claimed or not before the cancel, and ended or not before it."""
    for held, done in product(product((False, True), repeat=3), repeat=2):
        engine = engine_of()
        for row, (id, is_held, is_done) in enumerate(zip(FILES, held, done, strict=True)):
            if is_held:
                claimed(engine, vector_store_id="vs_1", attachments=[row])
            if is_done:
                engine.processing.complete("vs_1", id)
        cancel(engine)
        for id, is_held, is_done in zip(FILES, held, done, strict=True):
            expected = "completed" if is_done else "in_progress" if is_held else "cancelled"
            assert statuses(engine)[id] == expected
        running = sum(a and not b for a, b in zip(held, done, strict=True))
        expected = "in_progress" if running else "completed" if all(done) else "cancelled"
        assert (batch_of(engine).status, batch_of(engine).file_counts.in_progress) == (expected, running)
        engine.check()


@searching
def test_random_histories_claim_and_drain() -> None:
    def drains(history: list[Any]) -> bool:
        return any(isinstance(each, events.FilesCancelled) for each in filled(history, DRAIN)[1])

    look = settings(max_examples=20_000, database=None, phases=[Phase.generate])  # the first will do
    assert find(histories, drains, settings=look, random=Random(0))


# What time makes due


def due_engine(
    follow: Callable[[Engine, Any], object] = lambda _engine, _event: None,
) -> tuple[Engine, list[Any]]:
    """Return an engine in which, a day on, a drain ends, a file fails and a store expires; and its events."""
    engine = engine_of(retry=Retry(attempts=1))
    stores = engine.vector_stores
    stores.create(file_ids=["file-x"])
    stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    claimed(engine, 9)
    cancel(engine)
    heard = delivered(engine)
    engine.subscribe(lambda event: follow(engine, event))
    wait(engine, DAY)
    return engine, heard


DUE = ["vector_store.files.cancelled", "vector_store.files.failed", "vector_store.expired"]
CALLS: dict[str, Callable[[Engine], Any]] = {
    "retrieve": lambda e: e.vector_stores.retrieve("vs_1"),
    "list": lambda e: e.vector_stores.list(),
    "pending": lambda e: e.processing.pending(),
    "version": lambda e: e.version(),
    "snapshot": lambda e: e.snapshot(),
    "check": lambda e: e.check(),
    "a view": lambda e: e.view.file("vs_1", 0),
    "subscribe": lambda e: e.subscribe(lambda _: None)(),
    "a view that finds nothing": lambda e: e.vector_stores.files.retrieve("file-z", vector_store_id="vs_1"),
    "create": lambda e: e.vector_stores.create(),
    "complete, refused": lambda e: e.processing.complete("vs_1", "file-a"),
    "claim": claimed,
    "heartbeat": lambda e: e.processing.heartbeat([]),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_due_happens_by_events_before_whatever_call_comes_next(name: str) -> None:
    engine, heard = due_engine()
    try:
        CALLS[name](engine)
    except VsbatchError:
        assert "refused" in name or "nothing" in name
    assert [event.kind for event in heard[:3]] == DUE
    assert [event.at for event in heard[:3]] == [START + 60, START + 60, START + DAY]
    n = len(heard)
    engine.check()
    CALLS["pending"](engine)
    assert len(heard) == n
    assert batch_of(engine).status == "cancelled"


def test_what_is_due_is_said_to_be_so_in_the_result_of_the_same_call() -> None:
    engine, _ = due_engine()
    assert engine.processing.pending() == []
    engine, _ = due_engine()
    assert engine.vector_stores.retrieve("vs_3").status == "expired"
    engine, _ = due_engine()
    assert batch_of(engine).file_counts == FileCounts(cancelled=3)


def test_a_store_expires_by_one_event_and_an_update_lets_it_expire_again() -> None:
    engine = new_engine()
    heard = delivered(engine)
    engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 2})
    for _ in range(3):
        engine.clock.advance(DAY)  # type: ignore[attr-defined]
        engine.vector_stores.files.create("vs_1", file_id="file-a")  # it was active: the timer was too early
        engine.check()
    engine.clock.advance(3 * DAY)  # type: ignore[attr-defined]
    engine.check()
    engine.processing.complete("vs_1", "file-a")
    engine.check()
    assert [event.kind for event in heard].count("vector_store.expired") == 1
    engine.vector_stores.update("vs_1", expires_after={"anchor": "last_active_at", "days": 1})
    engine.clock.advance(DAY)  # type: ignore[attr-defined]
    assert engine.vector_stores.retrieve("vs_1").status == "expired"
    assert [event.kind for event in heard].count("vector_store.expired") == 2
    engine.vector_stores.update("vs_1", expires_after=None)
    engine.clock.advance(DAY)  # type: ignore[attr-defined]
    engine.check()
    assert [event.kind for event in heard].count("vector_store.expired") == 2
    twin = new_engine()
    twin.replay(heard)
    assert twin.snapshot() == engine.snapshot()


def test_a_store_that_will_not_expire_after_all_and_one_that_is_gone_have_no_event() -> None:
    engine = new_engine()
    policy = {"anchor": "last_active_at", "days": 1}
    engine.vector_stores.create(expires_after=policy)
    engine.vector_stores.create(expires_after=policy, file_ids=["file-a"])
    engine.vector_stores.update("vs_1", expires_after=None)
    claimed(engine)
    engine.vector_stores.delete("vs_2")
    heard = delivered(engine)
    engine.clock.advance(2 * DAY)  # type: ignore[attr-defined]
    engine.check()
    assert heard == []
    assert engine.processing.pending() == []


def test_a_claim_outlives_a_clock_that_is_set_back_until_its_deadline_comes() -> None:
    engine = engine_of()
    claim = only(claimed(engine, lease_seconds=60))
    wait(engine, -1000)
    assert engine.view.claim("vs_1", 0) == claim
    engine.processing.release(claimed(engine))  # at the time of the store, which does not go back
    wait(engine, 1059)
    assert engine.view.claim("vs_1", 0) == claim
    wait(engine, 1)
    assert engine.view.claim("vs_1", 0) is None
    engine.check()


def test_the_time_of_one_store_makes_no_claim_of_another_lapse() -> None:
    engine = engine_of()
    engine.vector_stores.create(file_ids=["file-x"])
    wait(engine, 2000)
    engine.vector_stores.create()
    wait(engine, -2000)
    claim = only(claimed(engine, vector_store_id="vs_2", lease_seconds=60))
    engine.processing.release(claimed(engine, vector_store_id="vs_1"))
    assert engine.view.claim("vs_2", 0) == claim
    engine.check()


class Ticking(VirtualClock):
    """A clock that moves on by a second whenever it is read."""

    def time(self) -> float:
        return self.advance(1.0)


def test_with_a_clock_that_ticks_at_each_reading_claims_lapse_as_ever_and_nothing_is_lost() -> None:
    engine = engine_of(clock=Ticking(START), retry=Retry(attempts=3, backoff=1))
    heard = delivered(engine)
    for _ in range(40):
        claims = claimed(engine, 2, lease_seconds=2)
        for result in engine.processing.finish([Failed(claim, retry=True) for claim in claims]):
            assert not isinstance(result, VsbatchError) or isinstance(result, errors.ClaimLost)
        engine.check()
    assert batch_of(engine).file_counts == FileCounts(failed=3)
    ended = [row for event in heard for row in events.ended_attachments(event)]
    assert sorted(ended) == [0, 1, 2]


def test_a_lease_too_short_for_the_clock_lapses_at_once_and_the_file_fails_in_the_end() -> None:
    engine = engine_of()
    for _ in range(3):
        assert len(claimed(engine, 9, lease_seconds=1e-300)) == 3
    assert claimed(engine, 9) == []
    assert batch_of(engine).file_counts == FileCounts(failed=3)


def test_subscribers_that_give_commands_as_time_makes_things_happen_are_served_after_the_call() -> None:
    given: list[str] = []

    def follow(engine: Engine, event: Any) -> None:
        if event.kind == "vector_store.files.failed":
            engine.vector_stores.files.create("vs_2", file_id="file-x")
            given.extend(ids(claimed(engine, 9, worker="worker-2")))
        elif event.kind == "vector_store.expired":
            engine.vector_stores.update("vs_3", name="again")

    engine, heard = due_engine(follow)
    assert engine.processing.pending() == []  # it was worked out before
    assert given == ["file-x"]
    assert [event.kind for event in heard] == [*DUE, "vector_store.file.attached", "vector_store.updated"]
    assert [event.version for event in heard if event.vector_store_id == "vs_2"] == [2, 3]
    engine.check()


@pytest.mark.parametrize("name", [name for name in CALLS if name != "subscribe"])
def test_a_subscriber_that_raises_at_what_was_due_leaves_it_done_and_the_error_has_what_the_call_came_to(
    name: str,
) -> None:
    expected: Any = None
    refusal: VsbatchError | None = None
    quiet, _ = due_engine()
    try:
        expected = CALLS[name](quiet)
    except VsbatchError as error:
        refusal = error
    engine, heard = due_engine(lambda _engine, _event: 1 / 0)
    with pytest.raises(errors.SubscriberError) as caught:
        CALLS[name](engine)
    assert [event.kind for event in heard[:3]] == DUE
    result: Any = caught.value.result
    assert (result() if name == "snapshot" else result) == expected
    assert (type(caught.value.refusal), str(caught.value.refusal)) == (type(refusal), str(refusal))
    assert ("was refused, and changed nothing" in str(caught.value)) is (refusal is not None)
    engine.check()
    assert engine.snapshot() == quiet.snapshot()


def test_who_subscribes_as_another_subscriber_raises_can_unsubscribe() -> None:
    engine, _ = due_engine(lambda _engine, _event: 1 / 0)
    heard = list[Any]()
    with pytest.raises(errors.SubscriberError) as caught:
        engine.subscribe(heard.append)
    caught.value.result()
    with pytest.raises(errors.SubscriberError):
        engine.vector_stores.create()
    assert heard == []


def test_all_outcomes_count_though_subscribers_raise_at_the_first_event_and_their_error_has_the_results() -> None:
    engine = engine_of(retry=Retry(attempts=1))
    a, b, c = claimed(engine, 3)
    engine.vector_stores.create(file_ids=["file-x"])
    x = only(claimed(engine, lease_seconds=30))
    elsewhere = evolve(a, vector_store_id="vs_9")
    engine.subscribe(lambda event: raise_oops(event.kind))
    wait(engine, 30)
    with pytest.raises(errors.SubscriberError) as caught:
        engine.processing.finish([Completed(elsewhere), Failed(a), Completed(b, 2), Completed(x), Failed(c)])
    results: Any = caught.value.result
    assert [type(results[0]), type(results[3])] == [errors.NotAttached, errors.AlreadyFinished]
    assert [results[i].status for i in (1, 2, 4)] == ["failed", "completed", "failed"]
    assert statuses(engine) == {"file-a": "failed", "file-b": "completed", "file-c": "failed"}
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert sorted(map(str, caught.value.__cause__.exceptions)) == [
        "vector_store.files.completed",
        *["vector_store.files.failed"] * 3,  # of file-x, whose claim lapsed, and of the others
    ]


def test_claims_that_were_made_as_a_subscriber_raised_can_be_finished() -> None:
    engine = engine_of(retry=Retry(attempts=1))
    claimed(engine, lease_seconds=30)
    stop = engine.subscribe(lambda _: 1 / 0)
    wait(engine, 30)
    with pytest.raises(errors.SubscriberError) as caught:
        claimed(engine, 9)
    stop()
    assert ids(caught.value.result) == ["file-b", "file-c"]
    engine.processing.finish([Completed(claim) for claim in caught.value.result])
    assert statuses(engine) == {"file-a": "failed", "file-b": "completed", "file-c": "completed"}


def test_a_read_within_a_command_makes_nothing_due() -> None:
    sequential = SequentialIds()
    seen: list[int] = []

    def reading(prefix: str) -> str:
        wait(engine, 60)
        seen.append(len(engine.processing.pending()))
        return sequential(prefix)

    engine = Engine(clock=WanderingClock(), ids=reading, retry=Retry(attempts=1))
    engine.vector_stores.create(file_ids=["file-a"])
    claimed(engine, lease_seconds=30)
    heard = delivered(engine)
    engine.vector_stores.create()
    assert seen == [0, 1]
    assert [event.kind for event in heard] == ["vector_store.created"]
    engine.check()
    assert [event.kind for event in heard] == ["vector_store.created", "vector_store.files.failed"]


def test_timers_that_are_void_are_taken_out_and_none_that_is_not() -> None:
    engine = new_engine(Profile())
    timers = engine._registry.due
    most = 0
    for turn in range(30):
        store = engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1}).id
        engine.vector_stores.file_batches.create(store, file_ids=[f"file-{i}" for i in range(300)])
        claims = claimed(engine, 300, lease_seconds=50 + turn, vector_store_id=store)
        engine.processing.heartbeat(claims[:150], lease_seconds=10)
        engine.processing.finish([Completed(claim) for claim in claims[:150:2]])
        engine.clock.advance(11.0)  # type: ignore[attr-defined]
        engine.check()
        assert engine.view.claim(store, 1) is None
        assert engine.view.claim(store, 299) is not None
        engine.vector_stores.delete(store)
        most = max(most, len(timers._timers))
    assert most <= 3 * 1024
    store = engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(300)]).id
    engine.vector_stores.file_batches.create(store, file_ids=[f"file-{i}" for i in range(300, 2200)])
    claims = claimed(engine, 2200, lease_seconds=60)
    for seconds in range(60, 20, -1):
        engine.processing.heartbeat(claims, lease_seconds=seconds)
    assert len(timers._timers) <= 3 * 2200
    engine.clock.advance(20.5)  # type: ignore[attr-defined]
    engine.processing.heartbeat(claims[:5])
    engine.clock.advance(0.5)  # type: ignore[attr-defined]
    assert [engine.view.claim(store, row) is not None for row in (0, 4, 5, 2199)] == [True, True, False, False]
    engine.check()


def test_timers_are_taken_out_while_one_of_them_is_acted_upon() -> None:
    engine = new_engine()
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i}" for i in range(1200)])
    claims = claimed(engine, 1024, lease_seconds=10)
    engine.processing.heartbeat(claims, lease_seconds=99)  # so that each timer is too early, and set anew
    engine.clock.advance(10)  # type: ignore[attr-defined]
    engine.check()
    assert all(engine.view.claim("vs_1", row) for row in range(1024))
    engine.clock.advance(89)  # type: ignore[attr-defined]
    assert ids(claimed(engine, 2000)) == [f"file-{i}" for i in range(1200)]
    engine.check()


# Engines that do not lead


def followers(engine: Engine, heard: list[Any]) -> Iterator[Engine]:
    """Yield an engine that was restored and one that follows, both on the same clock."""
    yield Engine.restore(engine.snapshot(), clock=engine.clock, ids=CountingIds(), profile=engine.profile)
    follower = Engine(clock=engine.clock, ids=CountingIds(), profile=engine.profile)
    follower.replay(heard)
    yield follower


@pytest.mark.parametrize("which", [0, 1])
def test_an_engine_that_was_restored_or_follows_makes_nothing_due_until_its_first_command(which: int) -> None:
    engine = Engine(clock=WanderingClock(), ids=CountingIds(), profile=DRAIN)
    heard = delivered(engine)
    engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    engine.vector_stores.file_batches.create("vs_1", file_ids=list(FILES))
    claims = claimed(engine, 2, lease_seconds=inf)
    cancel(engine)
    twin = list(followers(engine, heard))[which]
    wait(engine, DAY)
    own = delivered(twin)
    assert (twin.vector_stores.retrieve("vs_1").status, batch_of(twin).status) == ("expired", "in_progress")
    with pytest.raises(errors.VectorStoreNotFound):
        twin.processing.pending("vs_9")
    twin.check()
    assert own == []
    assert twin.view.claim("vs_1", 0) is None  # nobody holds it here
    assert [type(each) for each in twin.processing.heartbeat(claims)] == [errors.AlreadyFinished] * 2
    assert [event.kind for event in own] == ["vector_store.expired", "vector_store.files.cancelled"]
    assert batch_of(twin).file_counts == FileCounts(cancelled=3)
    twin.check()


def test_a_leader_that_follows_again_makes_nothing_due() -> None:
    engine = engine_of()
    heard = delivered(engine)
    claimed(engine)
    wait(engine, 60)
    other = Engine.restore(engine.snapshot(), clock=engine.clock, ids=CountingIds(), profile=DRAIN)
    own = delivered(other)
    other.vector_stores.update("vs_1", name="n")
    claim = only(claimed(engine, lease_seconds=5))
    engine.replay(own)
    wait(engine, 5)
    assert engine.view.claim("vs_1", 0) == claim  # it is for the other to say what becomes of the file
    assert len(heard) == 1
    engine.vector_stores.update("vs_1", name="m")
    assert engine.view.claim("vs_1", 0) is None


def test_a_follower_ends_what_drains_however_it_was_ended_elsewhere() -> None:
    engine = engine_of()
    first = engine.snapshot()
    heard = delivered(engine)
    claims = claimed(engine, 3)
    cancel(engine)
    engine.processing.finish([Completed(claims[0])])
    engine.processing.release([claims[1]])
    twin = Engine.restore(first, clock=engine.clock, ids=CountingIds(), profile=DRAIN)
    twin.replay(heard)
    assert twin.snapshot() == engine.snapshot()
    twin.vector_stores.update("vs_1", name="n")
    assert statuses(twin) == {"file-a": "completed", "file-b": "cancelled", "file-c": "cancelled"}
    twin = Engine.restore(first, clock=engine.clock, ids=CountingIds(), profile=DRAIN)
    twin.replay(heard)
    twin.vector_stores.delete("vs_1")
    twin.check()
    again = Engine.restore(engine.snapshot(), clock=engine.clock, ids=CountingIds(), profile=Profile())
    assert cancel(again).status == "cancelled"
    again.check()


@given(histories, st.sampled_from((Profile(), DRAIN)), st.sampled_from((Profile(), DRAIN)))
def test_events_and_snapshots_carry_drains_whatever_the_profile_of_who_reads_them(
    history: list[Any], profile: Profile, other: Profile
) -> None:
    engine, heard, _ = filled(history, profile)
    saved = engine.snapshot()
    twin = new_engine(other)
    twin.replay(wire.from_wire(json.loads(json.dumps(wire.to_wire(event)))) for event in heard)  # type: ignore[misc]
    assert twin.snapshot()["vector_stores"] == saved["vector_stores"]
    twin.check()
    copy = Engine.restore(saved, clock=VirtualClock(engine.clock.time()), ids=CountingIds())
    assert copy.snapshot() == saved
    # No batch is stuck: once every file that can be claimed has ended, no batch is in progress.
    while claims := copy.processing.claim(10**6, worker="worker-1"):
        copy.processing.finish([Completed(claim) for claim in claims])
    assert copy.processing.pending(limit=10**6) == []
    copy.check()


def test_a_cancel_that_drains_leaves_the_oracle_the_files_that_are_held() -> None:
    oracle = Oracle(clock=VirtualClock(START), ids=CountingIds(), profile=DRAIN)
    stores = oracle.vector_stores
    stores.create()
    stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    oracle.processing.claim(worker="worker-1")
    counts = stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1").file_counts
    assert (counts.in_progress, counts.cancelled) == (1, 1)


def test_what_drained_in_a_store_that_was_deleted_meanwhile_is_forgotten() -> None:
    engine = engine_of(DRAIN)
    heard = delivered(engine)
    claimed(engine)
    cancel(engine)
    twin = Engine.restore(engine.snapshot(), clock=engine.clock, ids=CountingIds())
    n = len(heard)
    engine.vector_stores.delete("vs_1")
    twin.replay(heard[n:])
    own = delivered(twin)
    assert claimed(twin) == []
    assert own == []
    twin.check()
