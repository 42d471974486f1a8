"""Several workers on several stores, who die, stall past their leases and say things twice: no file is lost.

The record that the machine keeps is made of what the engine returned and delivered, and looks nothing up in it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from vsbatch_core import (
    Claim,
    Completed,
    Engine,
    Failed,
    Profile,
    Retry,
    SequentialIds,
    VsbatchError,
    errors,
    events,
)

from ..helpers.brief import examples
from ..helpers.strategies import START, WanderingClock

WORKERS = ("worker-1", "worker-2", "worker-3")
FILES = tuple(f"file-{i}" for i in range(6))
MOST_STORES = 3

picks = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
TURNS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "create_store": (1, {}),
    "create_batch": (
        2,
        {"store": st.integers(0, 2), "file_ids": st.lists(st.sampled_from(FILES), min_size=1, max_size=4)},
    ),
    "take_away": (1, {"which": st.integers(0, 20), "again": st.booleans()}),
    "cancel": (1, {"which": st.integers(0, 20)}),
    "delete_store": (1, {"which": st.integers(0, 2)}),
    "wait": (5, {"seconds": st.sampled_from((0.25, 1.0, 2.0, 3.0, 5.0, 10.0))}),
    "claim": (
        8,
        {
            "worker": st.sampled_from(WORKERS),
            "limit": st.integers(1, 5),
            "seconds": st.sampled_from((2.0, 5.0, 8.0)),
            "store": st.none() | st.integers(0, 2),
        },
    ),
    "heartbeat": (2, {"picks": picks, "seconds": st.sampled_from((1.0, 5.0, 20.0))}),
    "release": (2, {"picks": picks}),
    "finish": (
        4,
        {
            "picks": picks,
            "kinds": st.lists(st.sampled_from(("complete", "fail", "retry")), min_size=4, max_size=4),
        },
    ),
}
"""By name, how often each thing is done beside the others, and what it is given."""
turns = st.sampled_from([name for name, (often, _) in TURNS.items() for _ in range(often)]).flatmap(
    lambda name: st.tuples(st.just(name), st.fixed_dictionaries(TURNS[name][1]))
)

Key = tuple[str, int]
"""An attachment: its store and its number."""


@define
class Attachment:
    """The record of one attachment."""

    file_id: str
    created_at: int
    batch: str | None
    status: str = "in_progress"
    attempt: int = 1
    """Which attempt the next claim must be."""
    claim: Claim | None = None
    """The latest claim, until it is known to be over."""
    ends: int = 0


@define
class Record:
    """What the events say, each of which has to be the next one of its store."""

    attachments: dict[Key, Attachment] = field(factory=dict)
    versions: Counter[str] = field(factory=Counter)
    stores_version: int = 0
    heard: list[Any] = field(factory=list)
    stores: list[str] = field(factory=list)
    """The stores that are there, oldest first."""
    batches: dict[str, str] = field(factory=dict)
    """By batch, its store."""
    cancelled: set[str] = field(factory=set)
    left_running: list[tuple[str, tuple[int, ...]]] = field(factory=list)

    def of(self, store: str) -> dict[int, Attachment]:
        return {number: each for (id, number), each in self.attachments.items() if id == store}

    def running(self) -> list[Key]:
        """The attachments in progress, oldest first."""
        found = [
            (each.created_at, self.stores.index(key[0]), key)
            for key, each in self.attachments.items()
            if key[0] in self.stores and each.status == "in_progress"
        ]
        return [key for _, _, key in sorted(found)]

    def hear(self, event: Any) -> None:
        self.heard.append(event)
        store = event.vector_store_id
        self.versions[store] += 1
        assert event.version == self.versions[store]
        if hasattr(event, "stores_version"):
            self.stores_version += 1
            assert event.stores_version == self.stores_version
        match event:
            case events.VectorStoreCreated():
                self.stores.append(store)
            case events.VectorStoreDeleted():
                self.stores.remove(store)
            case events.FileBatchCreated():
                self.batches[event.batch_id] = store
                self._attach(store, event.file_ids, event.first_attachment, event.at, event.batch_id)
            case events.FileAttached():
                self._attach(store, (event.file_id,), event.attachment, event.at, None)
            case events.FileDeleted():
                self._leave(store, event.file_id)
            case events.FilesCompleted():
                self._end(store, event.attachments, "completed")
            case events.FilesFailed():
                self._end(store, event.attachments, "failed")
            case events.FilesCancelled():
                self._end(store, event.attachments, "cancelled")
            case events.FileBatchCancelled():
                self.cancelled.add(event.batch_id)
                self.left_running.append((event.batch_id, event.left_running))
                ended = [
                    number
                    for number, each in self.of(store).items()
                    if each.batch == event.batch_id
                    and each.status == "in_progress"
                    and number not in event.left_running
                ]
                self._end(store, ended, "cancelled")

    def _attach(self, store: str, file_ids: tuple[str, ...], first: int, at: float, batch: str | None) -> None:
        for number, file_id in enumerate(file_ids, first):
            self._leave(store, file_id)
            self.attachments[store, number] = Attachment(file_id, int(at), batch)

    def _leave(self, store: str, file_id: str) -> None:
        for number, each in self.of(store).items():
            if each.file_id == file_id and each.status == "in_progress":
                self._end(store, [number], "cancelled")

    def _end(self, store: str, numbers: Any, status: str) -> None:
        for number in numbers:
            each = self.attachments[store, number]
            assert each.status == "in_progress"
            each.status = status
            each.claim = None
            each.ends += 1


class Workers(RuleBasedStateMachine):
    """Workers that may do anything at any time."""

    @initialize(
        cancel=st.sampled_from(("immediate", "drain")),
        attempts=st.integers(1, 3),
        backoff=st.sampled_from((0.0, 0.0, 3.0)),
        opening=st.lists(turns, min_size=25, max_size=40),
    )
    def begin(
        self, cancel: Any, attempts: int, backoff: float, opening: list[tuple[str, dict[str, Any]]]
    ) -> None:
        """Begin with a batch, and so much to do that some of it meets: left alone, Hypothesis draws less."""
        self.retry = Retry(attempts=attempts, backoff=backoff)
        self.profile = Profile(cancel=cancel)
        self.clock = WanderingClock()
        self.engine = Engine(clock=self.clock, ids=SequentialIds(), profile=self.profile, retry=self.retry)
        self.record = Record()
        self.engine.subscribe(self.record.hear)
        self.said: list[Claim] = []
        """Every claim that was ever returned: what a worker may come with."""
        self.create_store()
        self.create_batch(0, list(FILES[:3]))
        for turn in opening:
            self.take(turn)
            self.all_counts_and_pages_are_those_of_the_record()

    @rule(turn=turns)
    def take(self, turn: tuple[str, dict[str, Any]]) -> None:
        """Somebody does something."""
        name, given = turn
        getattr(self, name)(**given)

    # What clients do

    def create_store(self) -> None:
        if len(self.record.stores) < MOST_STORES:
            self.engine.vector_stores.create()

    def create_batch(self, store: int, file_ids: list[str]) -> None:
        stores = self.record.stores
        self.engine.vector_stores.file_batches.create(stores[store % len(stores)], file_ids=file_ids)

    def take_away(self, which: int, again: bool) -> None:
        """Delete a file in progress, or attach it again."""
        running = self.record.running()
        if not running:
            return
        key = running[which % len(running)]
        file_id = self.record.attachments[key].file_id
        if again:
            self.engine.vector_stores.files.create(key[0], file_id=file_id)
        else:
            self.engine.vector_stores.files.delete(file_id, vector_store_id=key[0])

    def cancel(self, which: int) -> None:
        self.engine.version()  # what is due happens
        batches = [self.record.attachments[key].batch for key in self.record.running()]
        batch = batches[which % len(batches)] if batches else None
        if batch is None:
            return
        store = self.record.batches[batch]
        held = [
            number
            for number, each in self.record.of(store).items()
            if each.batch == batch and each.status == "in_progress" and self.held(each)
        ]
        n, drains = len(self.record.left_running), batch in self.record.cancelled
        self.engine.vector_stores.file_batches.cancel(batch, vector_store_id=store)
        left = tuple(held) if self.profile.cancel == "drain" else ()
        assert self.record.left_running[n:] == ([] if drains else [(batch, left)])

    def delete_store(self, which: int) -> None:
        if len(self.record.stores) > 1:
            self.engine.vector_stores.delete(self.record.stores[which % len(self.record.stores)])

    def wait(self, seconds: float) -> None:
        """Time passes: whoever does not send a heartbeat has stalled or died."""
        self.clock.wait(seconds)

    # What workers do

    def held(self, each: Attachment) -> bool:
        return each.claim is not None and self.clock.time() < each.claim.deadline

    def claim(self, worker: str, limit: int, seconds: float, store: int | None) -> None:
        stores = self.record.stores
        of = None if store is None else stores[store % len(stores)]
        claims = self.engine.processing.claim(limit, worker=worker, lease_seconds=seconds, vector_store_id=of)
        self.said += claims
        found = [(claim.vector_store_id, claim.attachment) for claim in claims]
        running = [key for key in self.record.running() if of in (None, key[0])]
        assert found == [key for key in running if key in found]  # the oldest first
        passed = running[: running.index(found[-1]) + 1] if len(found) == limit else running
        for key in passed:
            each = self.record.attachments[key]
            if key in found:
                claim = claims[found.index(key)]
                assert not self.held(each)
                if each.claim is not None:  # it has lapsed
                    each.attempt += 1
                assert (claim.attempt, claim.file.id) == (each.attempt, each.file_id)
                assert (claim.worker, claim.deadline) == (worker, self.clock.time() + seconds)
                assert claim.attempt <= self.retry.attempts
                each.claim = claim
            elif not self.held(each):
                assert self.retry.backoff  # it waits for another attempt
                assert each.attempt > 1 or each.claim is not None

    def _picked(self, picks: list[int]) -> list[Claim]:
        return [self.said[-1 - pick % len(self.said)] for pick in picks if self.said]

    def _is_held(self, claim: Claim) -> bool:
        each = self.record.attachments[claim.vector_store_id, claim.attachment]
        there = claim.vector_store_id in self.record.stores and each.status == "in_progress"
        return there and self.held(each) and each.claim is not None and each.claim.number == claim.number

    def heartbeat(self, picks: list[int], seconds: float) -> None:
        self.engine.version()
        claims = self._picked(picks)
        expected = [self._is_held(claim) for claim in claims]
        n = len(self.record.heard)
        results = self.engine.processing.heartbeat(claims, lease_seconds=seconds)
        assert len(self.record.heard) == n
        for claim, is_held, result in zip(claims, expected, results, strict=True):
            assert is_held is isinstance(result, Claim)
            if isinstance(result, Claim):
                assert result.deadline == self.clock.time() + seconds
                self.record.attachments[claim.vector_store_id, claim.attachment].claim = result
            else:
                assert isinstance(result, errors.HostError)

    def release(self, picks: list[int]) -> None:
        self.engine.version()
        claims = self._picked(picks)
        expected = [self._is_held(claim) for claim in claims]
        results = self.engine.processing.release(claims)
        for claim, is_held, result in zip(claims, expected, results, strict=True):
            assert is_held is not isinstance(result, errors.HostError)
            if is_held:
                self.record.attachments[claim.vector_store_id, claim.attachment].claim = None

    @rule(picks=picks, kinds=st.lists(st.sampled_from(("complete", "fail", "retry")), min_size=4, max_size=4))
    def finish(self, picks: list[int], kinds: list[str]) -> None:
        """Say what became of some claims, be they held, lost long ago, or finished before."""
        self.engine.version()
        claims = self._picked(picks)
        expected, seen = [], set()
        for claim in claims:
            expected.append(self._is_held(claim) and claim.number not in seen)
            seen.add(claim.number)
        outcomes = [
            Completed(claim) if kind == "complete" else Failed(claim, retry=kind == "retry")
            for claim, kind in zip(claims, kinds, strict=False)
        ]
        before = self.engine.snapshot()
        results = self.engine.processing.finish(outcomes)
        if not any(expected):
            assert self.engine.snapshot() == before
        for claim, kind, is_held, result in zip(claims, kinds, expected, results, strict=False):
            assert is_held is not isinstance(result, errors.HostError)
            if isinstance(result, VsbatchError):
                continue
            each = self.record.attachments[claim.vector_store_id, claim.attachment]
            assert result.status == each.status
            if kind != "retry":
                assert result.status == {"complete": "completed", "fail": "failed"}[kind]
            elif result.status == "in_progress":
                each.claim = None
                each.attempt += 1
            else:
                drains = each.batch in self.record.cancelled
                assert result.status == ("cancelled" if drains else "failed")
                assert drains or each.attempt == self.retry.attempts

    # What holds at any time

    @invariant()
    def all_counts_and_pages_are_those_of_the_record(self) -> None:
        if not hasattr(self, "engine"):
            return
        engine, record = self.engine, self.record
        engine.check()
        waits = [(file.vector_store_id, file.id) for file in engine.processing.pending(limit=1000)]
        assert waits == [(key[0], record.attachments[key].file_id) for key in record.running()]
        for batch, store in record.batches.items():
            if store not in record.stores:
                continue
            of = [each.status for each in record.of(store).values() if each.batch == batch]
            found = engine.vector_stores.file_batches.retrieve(batch, vector_store_id=store)
            counts = found.file_counts
            assert {name: getattr(counts, name) for name in set(of)} == Counter(of)
            assert counts.total == len(of)
            page = engine.vector_stores.file_batches.list_files(
                batch, vector_store_id=store, order="asc", limit=100
            )
            assert [file.status for file in page] == of
            assert (found.status == "in_progress") is ("in_progress" in of)
            for number, each in record.of(store).items():
                held = engine.view.claim(store, number)
                assert held == (each.claim if self.held(each) else None)
                if each.batch in record.cancelled and each.status == "in_progress":
                    assert held is not None  # else it would be cancelled

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        record = self.record
        for _ in range(5 * self.retry.attempts + 5):  # one worker that lives is enough
            self.clock.wait(30.0)
            while claims := self.engine.processing.claim(2, worker="worker-4"):
                self.engine.processing.finish([Completed(claim) for claim in claims])
        assert self.engine.processing.pending() == []
        assert record.running() == []
        assert all(each.ends == 1 for key, each in record.attachments.items() if key[0] in record.stores)
        for batch, store in record.batches.items():
            if store in record.stores:
                status = self.engine.vector_stores.file_batches.retrieve(batch, vector_store_id=store).status
                assert status != "in_progress"
        self.engine.check()
        follower = Engine(clock=self.clock, ids=SequentialIds(), profile=self.profile)
        follower.replay(record.heard)
        assert follower.snapshot() == self.engine.snapshot()
        follower.check()
        assert [self.engine.version(store) for store in record.stores] == [
            record.versions[store] for store in record.stores
        ]


def test_workers_that_die_stall_and_say_things_twice_lose_no_file_and_end_none_twice() -> None:
    run_state_machine_as_test(
        Workers, settings=settings(max_examples=examples(150), stateful_step_count=20, deadline=None)
    )


def test_the_machine_begins_with_files_that_can_be_claimed() -> None:
    machine = Workers()
    machine.begin("drain", 2, 0.0, [])
    machine.claim("worker-1", 2, 5.0, None)
    assert [claim.deadline for claim in machine.said] == [START + 5.0] * 2
    machine.wait(5.0)
    machine.claim("worker-2", 2, 5.0, None)
    machine.all_counts_and_pages_are_those_of_the_record()
    assert [claim.attempt for claim in machine.said] == [1, 1, 2, 2]
    machine.teardown()
