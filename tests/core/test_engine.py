"""The engine as a whole: subscribers, what reading leaves alone, its check, profiles and ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from vsbatch_core.index import Ranking

from vsbatch_core import Engine, FileCounts, Profile, SequentialIds, VirtualClock, events
from vsbatch_core.errors import (
    BatchAlreadyFinished,
    IdTaken,
    Inconsistent,
    NotAttached,
    SubscriberError,
)

from ..helpers.brief import examples
from ..helpers.strategies import (
    FILES,
    START,
    STORES,
    all_reads,
    engine_with,
    filled,
    histories,
    new_engine,
    refused,
    run,
    views,
)

READS = all_reads(STORES[:2], ("vsfb_1", "vsfb_2"))


# Subscribers


@given(histories)
@settings(max_examples=examples(40))
def test_an_event_is_told_once_it_is_applied_and_in_order(history: list[Any]) -> None:
    engine, twin = new_engine(), new_engine()
    told: list[events.Event] = []

    def follow(event: events.Event) -> None:
        told.append(event)
        twin.replay([event])
        assert twin.snapshot() == engine.snapshot()

    engine.subscribe(follow)
    for command in history:
        run(engine, command)
    latest: dict[str, float] = defaultdict(float)
    for event in told:
        assert event.at >= latest[event.vector_store_id]
        latest[event.vector_store_id] = event.at
    assert twin.snapshot() == engine.snapshot()


def test_commands_from_a_callback_are_told_to_all_after_the_event_at_hand() -> None:
    engine = new_engine()
    engine.vector_stores.create()
    first: list[str] = []
    last: list[str] = []

    def work(event: events.Event) -> None:
        first.append(event.kind)
        if isinstance(event, events.FileBatchCreated):
            for file in event.files:
                done = engine.processing.complete(event.vector_store_id, file.id)
                assert done.status == "completed"  # it is applied at once, though told later
            assert first[-1] == event.kind
        if isinstance(event, events.FileCompleted) and event.file_id == "file-b":
            engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")

    engine.subscribe(work)
    engine.subscribe(lambda event: last.append(event.kind))
    batch = engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    # The command answers what is there when it returns, which is after all that it set off.
    assert batch.status == "completed"
    kinds = [
        "vector_store.file_batch.created",
        "vector_store.file.completed",
        "vector_store.file.completed",
        "vector_store.file.deleted",
    ]
    assert first == last == kinds
    engine.check()


def test_unsubscribing_ends_one_subscription_and_no_other_and_may_be_repeated() -> None:
    engine = new_engine()
    told: list[str] = []
    same = told.append
    ends = [engine.subscribe(lambda event: same(event.kind)) for _ in range(2)]
    callback = lambda event: same(event.kind)  # noqa: E731 - the same object, subscribed twice
    twice = [engine.subscribe(callback) for _ in range(2)]
    for remaining, end in ((4, ends[0]), (3, twice[0]), (2, twice[0]), (2, ends[1]), (1, twice[1]), (0, None)):
        told.clear()
        engine.vector_stores.create()
        assert len(told) == remaining
        if end is not None:
            end()


def test_a_callback_may_unsubscribe_itself() -> None:
    engine = new_engine()
    told: list[events.Event] = []
    ends: list[Callable[[], None]] = []

    def once(event: events.Event) -> None:
        told.append(event)
        ends[0]()

    ends.append(engine.subscribe(once))
    engine.vector_stores.create()
    engine.vector_stores.create()
    assert [event.vector_store_id for event in told] == ["vs_1"]


class Oops(Exception):
    """What a subscriber of these tests raises."""


def raiser(error: BaseException) -> Callable[[Any], None]:
    def callback(_: Any) -> None:
        raise error

    return callback


def test_what_a_callback_raises_is_raised_and_kept_from_nobody_and_nothing() -> None:
    engine = engine_with()
    one, other = Oops("one"), ValueError("other")
    before: list[events.Event] = []
    after: list[events.Event] = []
    engine.subscribe(before.append)
    end = engine.subscribe(raiser(one))
    engine.subscribe(raiser(other))
    engine.subscribe(after.append)
    with pytest.raises(SubscriberError, match=r"^2 call\(s\) of subscribers raised") as caught:
        engine.processing.complete("vs_1", "file-a", usage_bytes=3)
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert cause.exceptions == (one, other)
    assert before == after == [events.FileCompleted(START, "vs_1", "file-a", 3, version=3, attachment=0)]
    assert engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1").status == "completed"
    engine.check()
    end()
    with pytest.raises(SubscriberError, match=r"^1 call\(s\)"):
        engine.processing.complete("vs_1", "file-b")
    assert len(before) == len(after) == 2


def test_what_a_callback_raises_does_not_keep_later_events_from_the_others() -> None:
    engine = engine_with()
    told: list[str] = []

    def work(event: events.Event) -> None:
        if isinstance(event, events.FileCompleted):
            engine.processing.fail("vs_1", "file-b")
            raise Oops

    engine.subscribe(work)
    engine.subscribe(lambda event: told.append(event.kind))
    with pytest.raises(SubscriberError):
        engine.processing.complete("vs_1", "file-a")
    assert told == ["vector_store.file.completed", "vector_store.file.failed"]
    engine.vector_stores.create()
    assert told[2:] == ["vector_store.created"]
    engine.check()


def test_a_refused_command_of_a_callback_is_a_subscribers_error() -> None:
    engine = engine_with()
    engine.subscribe(lambda _: engine.processing.complete("vs_1", "file-z"))
    with pytest.raises(SubscriberError) as caught:
        engine.processing.complete("vs_1", "file-a")
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [type(error) for error in caught.value.__cause__.exceptions] == [NotAttached]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_in_a_callback_comes_through_as_itself_and_corrupts_nothing(
    interrupt: BaseException,
) -> None:
    engine = engine_with()
    told: list[events.Event] = []
    ends = [engine.subscribe(raiser(Oops())), engine.subscribe(raiser(interrupt))]
    engine.subscribe(told.append)
    with pytest.raises(type(interrupt)) as caught:
        engine.processing.complete("vs_1", "file-a")
    assert caught.value is interrupt
    assert len(told) == 1
    engine.check()
    for end in ends:
        end()
    engine.processing.complete("vs_1", "file-b")
    assert len(told) == 2


# Reading


@given(histories)
@settings(max_examples=examples(25))
def test_reading_changes_and_tells_nothing(history: list[Any]) -> None:
    engine, told, _ = filled(history)
    before, count = engine.snapshot(), len(told)
    views(engine, READS)
    engine.check()
    assert engine.snapshot() == before
    assert len(told) == count


# Proof


def rich_engine() -> Engine:
    """Two stores, one deleted between them, with everything that can be in a store."""
    engine = engine_with("file-a", "file-b", "file-c", "file-d")
    engine.vector_stores.create()
    engine.vector_stores.delete("vs_2")
    engine.vector_stores.create(file_ids=["file-a"])
    engine.processing.complete("vs_1", "file-a", usage_bytes=7)
    engine.processing.fail("vs_1", "file-b")
    engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-c", "file-e", "file-f"])
    engine.vector_stores.retrieve("vs_1")
    engine.check()
    return engine


def _row(ledger: Any, row: int, **changes: Any) -> None:
    rows = ledger.stores["vs_1"].rows
    rows[row] = evolve(rows[row], **changes)


def _batch(ledger: Any, id: str = "vsfb_1") -> Any:
    return ledger.stores["vs_1"].batches[id]


def _swap(mapping: dict[Any, Any]) -> None:
    pairs = list(mapping.items())
    mapping.clear()
    mapping.update(reversed(pairs))


def _followed(store: Any, left: tuple[int, int]) -> None:
    """Let these rows alone have left, and all that follows from the rows follow from that."""
    store.gone = type(store.gone)()
    store.gone.add(*left)
    store._derive()
    store._value = None


# The rows of vs_1: 0 a completed, 1 b failed and gone, 2 c cancelled and gone, 3 d; in vsfb_2: 4 c, 5 e, 6 f.
SABOTAGE: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a count of the store": (lambda _, s: s.tally.add("failed"), "file_counts of vector store 'vs_1'"),
    "a kept value of the store's counts": (
        lambda _, s: setattr(s.tally, "_value", FileCounts()),
        "file_counts of vector store 'vs_1'",
    ),
    "a lease of a row that has ended": (lambda _, s: s.leased.add(0), "the leases of vector store 'vs_1'"),
    "a lease of no row": (lambda _, s: s.leased.add(99), "the leases of vector store 'vs_1'"),
    "the bytes": (lambda _, s: setattr(s, "usage_bytes", 8), "usage_bytes of vector store 'vs_1'"),
    "a count of a batch": (
        lambda ledger, _: _batch(ledger).tally.move("completed", "failed"),
        "file_counts of file batch 'vsfb_1'",
    ),
    "an index that lost a row": (
        lambda _, s: s.here["in_progress"].remove(3),
        "the index of the in_progress files of vector store 'vs_1'",
    ),
    "an index with a row too many": (
        lambda _, s: s.here["failed"].add(3),
        "the index of the failed files of vector store 'vs_1'",
    ),
    "a row in the index of another status": (
        lambda _, s: (s.here["in_progress"].remove(3), s.here["completed"].add(3)),
        "files of vector store 'vs_1'",
    ),
    "an index of what left that lost a row": (
        lambda _, s: s.departed["cancelled"].remove(2),
        "the index of the cancelled files that left vector store 'vs_1'",
    ),
    "a gap too few": (lambda _, s: s.gone._ends.clear() or s.gone._starts.clear(), "vector store 'vs_1'"),
    "a gap known by one end": (lambda _, s: s.gone._starts.clear(), "the ends of what left vector store 'vs_1'"),
    "a gap too many": (lambda _, s: s.gone.add(3, 4), "vector store 'vs_1'"),
    "a gap past the last row": (lambda _, s: s.gone.add(100, 101), "what left vector store 'vs_1'"),
    "another status in a row": (lambda ledger, _: _row(ledger, 3, status="completed"), "vector store 'vs_1'"),
    "another id in a row": (lambda ledger, _: _row(ledger, 3, id="file-x"), "rows by file id"),
    "other bytes in a row": (lambda ledger, _: _row(ledger, 0, usage_bytes=1), "usage_bytes"),
    "a row in progress that left": (lambda ledger, _: _row(ledger, 2, status="in_progress"), "vs_1"),
    "a file's latest row": (lambda _, s: s.latest.update({"file-c": 2}), "the rows by file id"),
    "a file without its row": (lambda _, s: s.latest.pop("file-d"), "the rows by file id"),
    "a file's earlier rows": (lambda _, s: s.earlier.clear(), "the earlier rows by file id"),
    "an earlier attachment that has not left": (
        lambda _, s: _followed(s, (1, 2)),
        "row 2 of vector store 'vs_1'",
    ),
    "a file in progress that left": (lambda _, s: _followed(s, (1, 4)), "files in progress that left"),
    "a row of a later time": (lambda ledger, _: _row(ledger, 0, created_at=2**40), "the order of times"),
    "a row that is lost": (lambda _, s: s.rows.pop(), "vector store 'vs_1'"),
    "a batch in no order": (lambda _, s: s.ordered.pop(), "the order of the batches"),
    "a batch in another place": (lambda _, s: _swap(s.batches), "the order of the batches"),
    "a batch's first row in the search": (lambda _, s: s.firsts.__setitem__(1, 5), "the first rows"),
    "a batch that begins later": (lambda ledger, _: setattr(_batch(ledger), "first", 1), "batch"),
    "a batch that reaches into the next": (lambda ledger, _: setattr(_batch(ledger), "stop", 5), "'vsfb_"),
    "a batch past the last row": (lambda ledger, _: setattr(_batch(ledger, "vsfb_2"), "stop", 9), "'vsfb_2'"),
    "an empty batch": (lambda ledger, _: setattr(_batch(ledger), "stop", 0), "'vsfb_1'"),
    "a store that is lost": (lambda ledger, _: ledger.stores.pop("vs_3"), "vector store 'vs_3' in the list"),
    "a deleted store that is there": (
        lambda ledger, s: ledger.stores.update(vs_2=s),
        "vector store 'vs_2' in the list",
    ),
    "a number of a store": (lambda ledger, _: ledger.numbers.update(vs_3=0), "the numbers of the stores"),
    "stores out of order": (lambda ledger, _: _swap(ledger.stores), "the order of the stores"),
    "the gaps of deleted stores": (lambda ledger, _: ledger.gone._starts.clear(), "the deleted stores"),
    "a gap past the last store": (lambda ledger, _: ledger.gone.add(7, 8), "the deleted stores"),
    "a store that nobody waits for": (
        lambda ledger, _: setattr(ledger, "_waiting", Ranking()),
        "the stores with files in progress",
    ),
    "a store that waits since another time": (
        lambda ledger, _: ledger._waiting.put(0, 5),
        "the stores with files in progress",
    ),
    "a deleted store that waits": (
        lambda ledger, _: ledger._waiting.put(1, int(START)),
        "the stores with files in progress",
    ),
}


@pytest.mark.parametrize("kind", SABOTAGE)
def test_check_finds_and_names(kind: str) -> None:
    engine = rich_engine()
    damage, named = SABOTAGE[kind]
    damage(engine._ledger, engine._ledger.stores["vs_1"])
    with pytest.raises(Inconsistent) as caught:
        engine.check()
    assert named in caught.value.message
    assert " differs: kept " in caught.value.message


# Profiles


@pytest.mark.parametrize("word", ["vector_store.files_batch", "vector_store.file_batch"])
def test_a_batch_is_called_by_the_word_of_the_profile(word: Any) -> None:
    engine = engine_with(profile=Profile(batch_object=word))
    assert engine.profile.batch_object == word
    assert engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1").object == word
    assert engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1").object == word


@pytest.mark.parametrize("word", ["failed", "completed"])
def test_a_batch_whose_files_all_failed_is_what_the_profile_says(word: Any) -> None:
    engine = engine_with("file-a", "file-b", profile=Profile(all_failed=word))
    batches = engine.vector_stores.file_batches
    engine.processing.fail("vs_1", "file-a")
    assert batches.retrieve("vsfb_1", vector_store_id="vs_1").status == "in_progress"
    engine.processing.fail("vs_1", "file-b")
    assert batches.retrieve("vsfb_1", vector_store_id="vs_1").status == word
    batches.create("vs_1", file_ids=["file-a", "file-b"])
    engine.processing.fail("vs_1", "file-a")
    engine.processing.complete("vs_1", "file-b")
    assert batches.retrieve("vsfb_2", vector_store_id="vs_1").status == "completed"


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("policy", ["ignore", "refuse"])
def test_a_cancel_of_a_finished_batch_changes_nothing_and_is_answered_as_the_profile_says(
    policy: Any, state: str
) -> None:
    engine = engine_with("file-a", profile=Profile(cancel_finished=policy))
    batches = engine.vector_stores.file_batches
    if state == "completed":
        engine.processing.complete("vs_1", "file-a")
    elif state == "failed":
        engine.processing.fail("vs_1", "file-a")
    else:
        batches.cancel("vsfb_1", vector_store_id="vs_1")
    before = engine.snapshot()
    told: list[events.Event] = []
    engine.subscribe(told.append)
    if policy == "ignore":
        assert batches.cancel("vsfb_1", vector_store_id="vs_1").status == state
    else:
        with pytest.raises(BatchAlreadyFinished, match=f"'vsfb_1': it is already '{state}'"):
            batches.cancel("vsfb_1", vector_store_id="vs_1")
    assert engine.snapshot() == before
    assert told == []


# Ids


class Tape:
    """An id source that answers what it is given."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __call__(self, _prefix: str) -> str:
        return self.answers.pop(0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("bad", ["vs_1", "vs_2", "vsfb_5", "file-1", "", None, 5, b"vs_4", ["vs_4"]])
def test_a_store_takes_no_id_that_is_taken_or_of_another_kind(bad: Any) -> None:
    engine = Engine(clock=VirtualClock(), ids=Tape("vs_1", "vs_2", bad, "vs_3"))
    engine.vector_stores.create()
    engine.vector_stores.create()
    engine.vector_stores.delete("vs_2")  # the id of a deleted store stays a cursor, so it stays taken
    error = refused(engine, IdTaken, engine.vector_stores.create)
    assert "'vs_'" in error.message
    assert engine.vector_stores.create().id == "vs_3"


@pytest.mark.parametrize("bad", ["vsfb_1", "vs_1", "vsf", "", None, 5])
def test_a_batch_takes_no_id_that_is_taken_or_of_another_kind(bad: Any) -> None:
    engine = Engine(clock=VirtualClock(), ids=Tape("vs_1", "vsfb_1", bad, "vsfb_2"))
    engine.vector_stores.create()
    create = engine.vector_stores.file_batches.create
    create("vs_1", file_ids=["file-a"])
    error = refused(engine, IdTaken, lambda: create("vs_1", file_ids=["file-b"]))
    assert "'vsfb_'" in error.message
    assert create("vs_1", file_ids=list(FILES)).id == "vsfb_2"


def test_what_an_id_source_raises_comes_through_and_changes_nothing() -> None:
    engine = Engine(clock=VirtualClock(), ids=Tape())
    refused(engine, IndexError, engine.vector_stores.create)


def test_after_an_interrupt_between_two_tellings_the_others_are_told_in_their_order() -> None:
    engine = Engine(ids=SequentialIds())
    told: list[str] = []

    class Interrupted(tuple[Any, ...]):
        """The subscribers, where Ctrl-C comes just before the first of them is called."""

        __slots__ = ()

        def __iter__(self) -> Any:
            ledger._callbacks = tuple(super().__iter__())
            raise KeyboardInterrupt

    def hear(event: events.Event) -> None:
        told.append(event.vector_store_id)
        if len(told) == 1:
            for _ in range(2):
                engine.vector_stores.create()
            ledger._callbacks = Interrupted(ledger._callbacks)

    ledger = engine._ledger
    engine.subscribe(hear)
    with pytest.raises(KeyboardInterrupt):
        engine.vector_stores.create()
    engine.vector_stores.create()
    assert told == ["vs_1", "vs_3", "vs_4"]  # vs_2 is the one that the interrupt came into
