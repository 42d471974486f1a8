"""The engine as a whole: subscribers, what reading leaves alone, its check, profiles and ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings

from vsbatch_core import (
    Engine,
    Failed,
    FileCounts,
    FrozenDict,
    Limits,
    Profile,
    Retry,
    SequentialIds,
    VirtualClock,
    events,
)
from vsbatch_core.errors import (
    BatchAlreadyFinished,
    EventsForgotten,
    IdTaken,
    Inconsistent,
    NestedCommand,
    NotAttached,
    SubscriberError,
    VectorStoreNotFound,
)
from vsbatch_core.rows import CODES, IN_PROGRESS
from vsbatch_core.store import Store

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
COMPLETED, CANCELLED = CODES["completed"], CODES["cancelled"]


# Subscribers


@given(histories)
@settings(max_examples=examples(40))
def test_an_event_is_told_once_it_is_applied_and_in_order(history: list[Any]) -> None:
    engine, twin = new_engine(), new_engine()
    told: list[events.Event] = []

    def follow(event: events.Event) -> None:
        told.append(event)
        twin.replay([event])
        with suppress(VectorStoreNotFound):  # what is due later may be applied
            assert engine.version(event.vector_store_id) >= event.version

    engine.subscribe(follow)
    for command in history:
        run(engine, command)
        assert engine.snapshot() == twin.snapshot()  # in this order: the first may make events due
    latest: dict[str, float] = defaultdict(float)
    for event in told:
        assert event.at >= latest[event.vector_store_id]
        latest[event.vector_store_id] = event.at


def test_commands_from_a_callback_are_delivered_to_all_after_the_event_at_hand() -> None:
    engine = new_engine()
    engine.vector_stores.create()
    first: list[str] = []
    last: list[str] = []

    def work(event: events.Event) -> None:
        first.append(event.kind)
        if isinstance(event, events.FileBatchCreated):
            for file_id in event.file_ids:
                done = engine.processing.complete(event.vector_store_id, file_id)
                assert done.status == "completed"  # it is applied at once, though delivered later
            assert first[-1] == event.kind
        if isinstance(event, events.FileCompleted) and event.file_id == "file-b":
            engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")

    engine.subscribe(work)
    engine.subscribe(lambda event: last.append(event.kind))
    batch = engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    # The command answers what it did, and not what was set off by it.
    assert batch.status == "in_progress"
    assert engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1").status == "completed"
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


def rich_engine(profile: Profile | None = None) -> Engine:
    """Two stores, one deleted between them, with everything that can be in a store."""
    engine = engine_with("file-a", "file-b", "file-c", "file-d", profile=profile, retry=Retry(backoff=60))
    stores, processing = engine.vector_stores, engine.processing
    stores.create()
    stores.delete("vs_2")
    engine.clock.advance(1)  # type: ignore[attr-defined]
    stores.create(file_ids=["file-a"])
    processing.complete("vs_1", "file-a", usage_bytes=7)
    processing.fail("vs_1", "file-b")
    stores.files.delete("file-b", vector_store_id="vs_1")
    stores.file_batches.create("vs_1", file_ids=["file-c", "file-e", "file-f"])
    processing.complete("vs_1", "file-e")
    stores.files.create("vs_1", file_id="file-g")
    stores.files.delete("file-g", vector_store_id="vs_1")
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}
    stores.files.create("vs_1", file_id="file-h", attributes={"k": 1}, chunking_strategy=chunking)
    _, again, waits = processing.claim(3, worker="worker-1")
    processing.release([again])
    processing.finish([Failed(waits, retry=True)])
    # What is read is kept as it was made.
    stores.retrieve("vs_1")
    list(stores.files.list("vs_1"))
    for batch in ("vsfb_1", "vsfb_2"):
        stores.file_batches.retrieve(batch, vector_store_id="vs_1")
    processing.pending()
    engine.check()
    return engine


Damage = Callable[[Any], Any]


def _rows(damage: Damage) -> Damage:
    """Damage the rows of vs_1."""
    return lambda registry: damage(registry.stores["vs_1"].rows)


def _block(damage: Damage) -> Damage:
    """Damage the block of them."""
    return _rows(lambda rows: damage(rows._blocks[0]))


def _claims(damage: Damage) -> Damage:
    """Damage the claims of vs_1."""
    return lambda registry: damage(registry.stores["vs_1"].claims)


def _store(damage: Damage) -> Damage:
    """Damage vs_1, of which no value is kept."""

    def whole(registry: Any) -> None:
        store = registry.stores["vs_1"]
        store._value = None
        damage(store)

    return whole


def _value(**changes: Any) -> Damage:
    """Change the value that is kept of vs_1."""
    return lambda registry: setattr(
        registry.stores["vs_1"], "_value", evolve(registry.stores["vs_1"]._value, **changes)
    )


def _batch(damage: Damage, id: str = "vsfb_1") -> Damage:
    return lambda registry: damage(registry.stores["vs_1"].batches[id])


def _byte(column: str, row: int, byte: int) -> Damage:
    """Write a byte into a column of vs_1, and keep the index of the blocks as it has to be."""

    def damage(registry: Any) -> None:
        written = getattr(registry.stores["vs_1"].rows, column)
        written.blocks[0][row] = byte
        written.holding = written.indexed()

    return damage


def _swap(mapping: dict[Any, Any]) -> None:
    pairs = list(mapping.items())
    mapping.clear()
    mapping.update(reversed(pairs))


def _all(*damages: Damage) -> Damage:
    return lambda registry: [damage(registry) for damage in damages]


def _far(registry: Any) -> None:
    """Move the block of vs_1 past its last attachment, as if it had always been there."""
    rows = registry.stores["vs_1"].rows
    for blocks in (rows._blocks, rows.status.blocks, rows.present.blocks):
        blocks[1] = blocks.pop(0)
    rows._blocks[1].values = None
    for column in (rows.status, rows.present):
        column.holding = column.indexed()


def _deaf(registry: Any) -> None:
    """Let the file that left last be no cursor any more, and all that follows from it follow, but its memory."""
    store = registry.stores["vs_1"]
    del store.departed["file-g"]
    store._derive()


def _reaching(batch: Any, registry: Any, stop: int) -> None:
    """Let a batch end elsewhere, and what follows from that follow."""
    batch.stop = stop
    batch.counts = registry.stores["vs_1"].rows.counts_between(batch.first, stop)
    batch.forget_value()


# The attachments of vs_1: in vsfb_1 0 a completed, 1 b failed and gone, 2 c cancelled and gone, 3 d held; in
# vsfb_2 4 c, which was released, 5 e completed, 6 f, which waits for its second attempt; alone 7 g cancelled and
# gone, 8 h with attributes and a chunking strategy.
SABOTAGE: dict[str, tuple[Damage, str]] = {
    # The columns of bytes
    "an index of the statuses that lost a block": (
        _rows(lambda rows: rows.status.holding[IN_PROGRESS].clear()),
        "the index of the statuses of vector store 'vs_1'",
    ),
    "an index of the statuses with a block too many": (
        _rows(lambda rows: rows.status.holding[IN_PROGRESS].append(1)),
        "the index of the statuses of vector store 'vs_1'",
    ),
    "an index of what is attached that lost a byte": (
        _rows(lambda rows: rows.present.holding.pop(COMPLETED)),
        "the index of the files that are attached to vector store 'vs_1'",
    ),
    "a status that the index does not know": (
        _rows(lambda rows: rows.status.blocks[0].__setitem__(0, 7)),
        "the index of the statuses of vector store 'vs_1'",
    ),
    "a block of statuses that is lost": (
        _rows(lambda rows: (rows.status.blocks.clear(), rows.status.holding.clear())),
        "the lengths of the columns of vector store 'vs_1'",
    ),
    "a block of what is attached that is lost": (
        _rows(lambda rows: (rows.present.blocks.clear(), rows.present.holding.clear())),
        "the lengths of the columns of vector store 'vs_1'",
    ),
    "a block of statuses of no attachment": (
        _rows(lambda rows: rows.status.blocks.update({1: bytearray()})),
        "the blocks of vector store 'vs_1'",
    ),
    "a block of nothing but statuses": (
        _rows(lambda rows: [column.blocks.update({1: bytearray()}) for column in (rows.status, rows.present)]),
        "the blocks of vector store 'vs_1'",
    ),
    # The other columns
    **{
        f"a column of {name} that is shorter": (
            _block(lambda block, name=name: getattr(block, name).pop()),
            "the lengths of the columns of vector store 'vs_1'",
        )
        for name in ("ids", "created_at", "usage", "values", "chunking", "attributes")
    },
    "an id that is lost": (
        _block(lambda block: block.ids.__setitem__(3, "")),
        "attachment 3 of vector store 'vs_1'",
    ),
    "an id of an attachment that is forgotten": (
        _all(_byte("status", 8, 0), _byte("present", 8, 0)),
        "attachment 8 of vector store 'vs_1'",
    ),
    "another id": (
        _block(lambda block: (block.ids.__setitem__(3, "file-x"), setattr(block, "values", None))),
        "the attachments by file id of vector store 'vs_1'",
    ),
    "an attached file of another status": (
        _byte("present", 0, IN_PROGRESS),
        "attachment 0 of vector store 'vs_1'",
    ),
    "a file in progress that left": (_byte("status", 2, IN_PROGRESS), "attachment 2 of vector store 'vs_1'"),
    "a file that came back": (
        _all(_byte("present", 7, CANCELLED), _store(lambda _: None)),
        "file_counts of vector store 'vs_1'",
    ),
    "a failed file without an error": (
        _block(lambda block: block.errors.clear()),
        "the outcome of attachment 1 of vector store 'vs_1'",
    ),
    "no errors though a file failed": (
        _block(lambda block: setattr(block, "errors", None)),
        "the outcome of attachment 1 of vector store 'vs_1'",
    ),
    "an error of a file that completed": (
        _block(lambda block: block.errors.update({0: block.errors[1]})),
        "the outcome of attachment 0 of vector store 'vs_1'",
    ),
    "bytes of a file in progress": (
        _block(lambda block: block.usage.__setitem__(3, 1)),
        "the outcome of attachment 3 of vector store 'vs_1'",
    ),
    "other bytes": (
        _all(_block(lambda block: (block.usage.__setitem__(0, 8), setattr(block, "values", None))), _store(id)),
        "usage_bytes of vector store 'vs_1'",
    ),
    "a kept value of a file that has changed": (
        _block(lambda block: block.attributes.__setitem__(8, FrozenDict())),
        "the kept value of vector store 'vs_1'",
    ),
    "a kept value of another attachment": (
        _block(lambda block: block.values.__setitem__(0, evolve(block.values[0], attachment=4))),
        "the kept value of vector store 'vs_1'",
    ),
    "more attachments than there ever were": (
        _rows(lambda rows: setattr(rows, "next", 8)),
        "the last attachment of vector store 'vs_1'",
    ),
    "a block past the last attachment": (_far, "the last attachment of vector store 'vs_1'"),
    "a time later than the next": (
        _block(lambda block: (block.created_at.__setitem__(0, 2.0**40), setattr(block, "values", None))),
        "the order of times in vector store 'vs_1'",
    ),
    "a store that was made after its files": (
        _store(lambda store: setattr(store, "created_at", 2**40)),
        "the order of times in vector store 'vs_1'",
    ),
    "a store whose latest event came before its files": (
        _store(lambda store: setattr(store, "at", START - 1)),
        "the order of times in vector store 'vs_1'",
    ),
    # What follows from them
    "counts in the kept value of a store": (
        _value(file_counts=FileCounts()),
        "the kept value of vector store 'vs_1'",
    ),
    "bytes in the kept value of a store": (_value(usage_bytes=8), "the kept value of vector store 'vs_1'"),
    "a name in the kept value of a store": (_value(name="x"), "the kept value of vector store 'vs_1'"),
    "a kept value that is expired and cannot be": (
        _value(status="expired"),
        "the kept value of vector store 'vs_1'",
    ),
    "a file's latest attachment": (
        _store(lambda store: store.numbers.update({"file-c": 2})),
        "the attachments by file id of vector store 'vs_1'",
    ),
    "a file without its attachment": (
        _store(lambda store: store.numbers.pop("file-d")),
        "the attachments by file id of vector store 'vs_1'",
    ),
    "a cursor without its attachment": (
        _store(lambda store: store.numbers.pop("file-g")),
        "the attachments by file id of vector store 'vs_1'",
    ),
    "what a batch alone lists": (
        _store(lambda store: store.listed.clear()),
        "the attachments that batches alone list of vector store 'vs_1'",
    ),
    "a batch that is in no order": (
        _store(lambda store: store.ordered.pop()),
        "the order of the batches of vector store 'vs_1'",
    ),
    "a batch in another place": (
        _store(lambda store: _swap(store.batches)),
        "the rows of file batch 'vsfb_1'",
    ),
    "batches ordered otherwise": (
        _store(lambda store: store.ordered.reverse()),
        "the order of the batches of vector store 'vs_1'",
    ),
    "the first attachment of a batch": (
        _store(lambda store: store.firsts.__setitem__(1, 5)),
        "the first attachments of the batches of vector store 'vs_1'",
    ),
    "the bytes of a store": (
        _store(lambda store: setattr(store, "usage_bytes", 8)),
        "usage_bytes of vector store 'vs_1'",
    ),
    "the counts of a store": (
        _store(lambda store: store.counts.__setitem__(0, 9)),
        "file_counts of vector store 'vs_1'",
    ),
    "a claim on a file that has ended": (
        _claims(lambda claims: claims.held.update({0: claims.held[3]})),
        "the claims of vector store 'vs_1'",
    ),
    "a claim on no attachment": (
        _claims(lambda claims: claims.held.update({99: claims.held[3]})),
        "the claims of vector store 'vs_1'",
    ),
    "attempts at a file that has ended": (
        _claims(lambda claims: claims.attempts.update({0: 1})),
        "the attempts of vector store 'vs_1'",
    ),
    "a file that has ended and waits for another attempt": (
        _claims(lambda claims: claims.delayed.update({5: START})),
        "the attachments that wait for another attempt of vector store 'vs_1'",
    ),
    "a file that is held and waits for another attempt": (
        _claims(lambda claims: claims.delayed.update({3: START})),
        "the deadlines of vector store 'vs_1'",
    ),
    "a timer later than the deadline": (
        _claims(lambda claims: claims.timers.update({3: inf})),
        "the deadlines of vector store 'vs_1'",
    ),
    "a timer of what nobody holds": (
        _claims(lambda claims: claims.timers.update({6: START})),
        "the deadlines of vector store 'vs_1'",
    ),
    "a frontier past what can be claimed": (
        _claims(lambda claims: setattr(claims, "frontier", 9)),
        "what can be claimed of vector store 'vs_1'",
    ),
    "an index of what came back that has not heard of it": (
        _claims(lambda claims: claims.delayed.clear()),
        "what can be claimed of vector store 'vs_1'",
    ),
    "a store of which it is not known that it can be claimed from": (
        lambda registry: registry._claimable._order.clear(),
        "the stores with files to claim",
    ),
    "a claim without a timer": (
        lambda registry: registry.due._timers.clear(),
        "the timers of vector store 'vs_1'",
    ),
    "a claim that nobody will look at in time": (
        lambda registry: setattr(registry.due, "look_at", inf),
        "when to look for what is due",
    ),
    "a cursor whose file is here": (
        _store(lambda store: store.departed.update({"file-a": None})),
        "what left and is a cursor of vector store 'vs_1'",
    ),
    "a cursor of no file": (
        _store(lambda store: store.departed.update({"file-z": None})),
        "what left and is a cursor of vector store 'vs_1'",
    ),
    "a cursor that is lost": (
        _store(lambda store: store.departed.pop("file-b")),
        "the attachments by file id of vector store 'vs_1'",
    ),
    "an attachment that should be forgotten": (_deaf, "what no list holds any more of vector store 'vs_1'"),
    "more cursors than the limit": (
        _store(lambda store: setattr(store, "profile", Profile(limits=Limits(departed=1)))),
        "how many left vector store 'vs_1' and are cursors",
    ),
    # The batches
    "the counts of a batch": (
        _batch(lambda batch: batch.counts.__setitem__(0, 9)),
        "file_counts of file batch 'vsfb_1'",
    ),
    "the kept value of a batch": (
        _batch(lambda batch: setattr(batch, "_value", evolve(batch._value, file_counts=FileCounts()))),
        "the kept value of file batch 'vsfb_1'",
    ),
    "a batch that begins later": (
        _batch(lambda batch: setattr(batch, "first", 1)),
        "the first attachments of the batches of vector store 'vs_1'",
    ),
    "a batch that ends earlier": (
        _batch(lambda batch: setattr(batch, "stop", 3)),
        "file_counts of file batch 'vsfb_1'",
    ),
    "a batch that reaches into the next": (
        lambda registry: _reaching(registry.stores["vs_1"].batches["vsfb_1"], registry, 5),
        "the rows of file batch 'vsfb_2'",
    ),
    "a batch past the last attachment": (
        lambda registry: _reaching(registry.stores["vs_1"].batches["vsfb_2"], registry, 10),
        "the rows of file batch 'vsfb_2'",
    ),
    "a batch past the last block": (
        _batch(lambda batch: setattr(batch, "stop", 5000), "vsfb_2"),
        "the rows of file batch 'vsfb_2'",
    ),
    "a batch that ends before it begins": (
        _batch(lambda batch: setattr(batch, "stop", -1)),
        "the rows of file batch 'vsfb_1'",
    ),
    # The list of stores
    "the index of the stores": (
        lambda registry: registry.listing._places.holding.clear(),
        "the index of the vector stores",
    ),
    "a store whose id is lost": (
        lambda registry: registry.listing._ids[0].__setitem__(0, ""),
        "number 0 of the vector stores",
    ),
    "a block of ids that is lost": (
        lambda registry: registry.listing._ids.clear(),
        "the numbers of the vector stores",
    ),
    "the number of a store in the list": (
        lambda registry: registry.listing.numbers.update(vs_3=0),
        "the numbers of the vector stores",
    ),
    "a deleted store that is no cursor": (
        lambda registry: registry.listing._departed.clear(),
        "what left the vector stores",
    ),
    "more deleted stores than the limit": (
        lambda registry: setattr(registry.listing, "_limit", 0),
        "what left the vector stores",
    ),
    "a store that is lost": (lambda registry: registry.stores.pop("vs_3"), "the order of the vector stores"),
    "a deleted store that is there": (
        lambda registry: registry.stores.update(vs_2=registry.stores["vs_1"]),
        "the order of the vector stores",
    ),
    "stores out of order": (lambda registry: _swap(registry.stores), "the order of the vector stores"),
    "the number that a store has of itself": (
        lambda registry: setattr(registry.stores["vs_3"], "number", 7),
        "the number of vector store 'vs_3'",
    ),
    # The stores that wait
    "a store that nobody waits for": (
        lambda registry: registry._waiting._order.pop(0),
        "the stores with files in progress",
    ),
    "a store that waits since another time": (
        lambda registry: registry._waiting._put(0, 5),
        "the stores with files in progress",
    ),
    "a deleted store that waits": (
        lambda registry: registry._waiting._put(1, int(START)),
        "the stores with files in progress",
    ),
}


@pytest.mark.parametrize("kind", SABOTAGE)
def test_check_finds_and_names(kind: str) -> None:
    engine = rich_engine()
    damage, named = SABOTAGE[kind]
    damage(engine._registry)
    with pytest.raises(Inconsistent) as caught:
        engine.check()
    assert caught.value.message.startswith(f"{named} differs: kept ")


def test_check_changes_nothing_whatever_it_finds() -> None:
    engine = rich_engine()
    store = engine._registry.stores["vs_1"]
    value = store._value
    engine.check()
    store.counts[0] += 1
    with pytest.raises(Inconsistent):
        engine.check()
    store.counts[0] -= 1
    engine.check()
    assert store._value is value


# Commands that something comes into


class Cut:
    """In place of a step of a command: the first time it is done, something else happens before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
        whole = Store._seen
        acts = [act]

        def step(store: Store, event: Any) -> None:
            if acts:
                acts.pop()()
            whole(store, event)

        monkeypatch.setattr(Store, "_seen", step)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "following",
    [
        lambda engine: engine.vector_stores.files.retrieve("file-b", vector_store_id="vs_1"),
        lambda engine: engine.processing.fail("vs_1", "file-b"),
        lambda engine: engine.processing.pending(),
        Engine.snapshot,
    ],
)
def test_a_command_that_was_interrupted_once_it_was_decided_is_finished_by_whoever_comes_next(
    following: Callable[[Engine], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with()
    told: list[events.Event] = []
    engine.subscribe(told.append)
    Cut(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.processing.complete("vs_1", "file-a", usage_bytes=3)
    assert told == []
    following(engine)
    assert told[0] == events.FileCompleted(START, "vs_1", "file-a", 3, version=3, attachment=0)
    assert engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1").status == "completed"
    assert len(told) == engine.version("vs_1") - 2
    engine.check()


EVENTFUL: dict[str, Callable[[Engine], object]] = {
    "a store is updated": lambda e: e.vector_stores.update("vs_1", name="x"),
    "a file comes": lambda e: e.vector_stores.files.create("vs_1", file_id="file-x", attributes={"k": 2}),
    "a file of a batch comes again": lambda e: e.vector_stores.files.create("vs_1", file_id="file-d"),
    "a file of no batch comes again": lambda e: e.vector_stores.files.create("vs_1", file_id="file-h"),
    "a file that left comes again": lambda e: e.vector_stores.files.create("vs_1", file_id="file-b"),
    "a batch comes": lambda e: e.vector_stores.file_batches.create(
        "vs_1", file_ids=["file-x", "file-f", "file-h"]
    ),
    "a batch is cancelled": lambda e: e.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1"),
    "a file is deleted": lambda e: e.vector_stores.files.delete("file-f", vector_store_id="vs_1"),
    "a file has other attributes": lambda e: e.vector_stores.files.update(
        "file-h", vector_store_id="vs_1", attributes={"k": 3}
    ),
    "a file completes": lambda e: e.processing.complete("vs_1", "file-d", usage_bytes=5),
    "a file fails": lambda e: e.processing.fail("vs_1", "file-h"),
    "files complete": lambda e: e.processing.complete_many("vs_1", ["file-h", "file-d"], usage_bytes=[1, 2]),
    "files fail": lambda e: e.processing.fail_many("vs_1", ["file-d", "file-f"]),
}


@pytest.mark.parametrize("kind", EVENTFUL)
@pytest.mark.parametrize("departed", [2, 10_000])
def test_what_an_interrupted_command_leaves_is_what_it_does_once_however_far_it_had_come(
    kind: str, departed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(limits=Limits(departed=departed))
    engine, twin = rich_engine(profile), rich_engine(profile)
    told: tuple[list[events.Event], list[events.Event]] = ([], [])
    engine.subscribe(told[0].append)
    twin.subscribe(told[1].append)
    EVENTFUL[kind](twin)
    Cut(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        EVENTFUL[kind](engine)
    engine.check()
    assert engine.snapshot() == twin.snapshot()
    assert told[0] == told[1]
    assert len(told[0]) == 1


@pytest.mark.parametrize(
    ("gone", "last"),
    [
        (4096, lambda engine: engine.vector_stores.files.delete("file-4096", vector_store_id="vs_1")),
        (4095, lambda engine: engine.vector_stores.files.create("vs_1", file_id="file-4095")),
    ],
    ids=["deleted", "attached again"],
)
def test_an_interrupted_command_that_gave_the_memory_of_a_block_back_has_given_it_back_once(
    gone: int, last: Callable[[Engine], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = []
    for _ in range(2):
        engine = new_engine(Profile(limits=Limits(store_files=5000, departed=1)))
        engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(5000)])
        for i in range(gone):
            engine.vector_stores.files.delete(f"file-{i}", vector_store_id="vs_1")
        if gone < 4096:  # what left last is no cursor any more
            engine.vector_stores.files.delete("file-4999", vector_store_id="vs_1")
        engines.append(engine)
    engine, twin = engines
    assert list(engine._registry.stores["vs_1"].rows.status.blocks) == [0, 1]
    last(twin)
    Cut(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        last(engine)
    assert engine.snapshot() == twin.snapshot()
    assert list(engine._registry.stores["vs_1"].rows.status.blocks) == [1]
    engine.check()


def test_the_event_of_a_command_that_was_interrupted_is_delivered_once_by_whoever_reads_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = engine_with()
    delivered: list[events.Event] = []
    engine.subscribe(delivered.append)
    Cut(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.processing.complete("vs_1", "file-b")
    assert delivered == []
    assert engine.view.status("vs_1", 1) == "completed"
    assert [one.file_id for one in delivered if isinstance(one, events.FileCompleted)] == ["file-b"]
    engine.view.status("vs_1", 1)
    assert len(delivered) == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda engine: engine.vector_stores.retrieve("vs_1"),
        lambda engine: engine.processing.complete("vs_1", "file-b"),
        lambda engine: engine.vector_stores.create(),
        Engine.check,
    ],
)
def test_a_signal_handler_that_comes_into_a_command_can_neither_see_nor_change_half_of_it(
    act: Callable[[Engine], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with()
    twin = engine_with()
    told: list[events.Event] = []
    engine.subscribe(told.append)
    Cut(monkeypatch, lambda: act(engine))
    with pytest.raises(NestedCommand):
        engine.processing.complete("vs_1", "file-a")
    twin.processing.complete("vs_1", "file-a")
    assert (
        engine.snapshot() == twin.snapshot()
    )  # what the handler was refused has ended the call, not the command
    assert len(told) == 1
    engine.check()


def test_an_id_source_gives_no_commands_but_it_may_read() -> None:
    seen: list[Any] = []
    acts: list[Callable[[], Any]] = []
    ids = SequentialIds()

    def source(prefix: str) -> str:
        if acts:
            acts.pop(0)()
        return ids(prefix)

    engine = Engine(clock=VirtualClock(START), ids=source)
    acts += [lambda: seen.append(engine.vector_stores.list().data), engine.vector_stores.create]
    assert engine.vector_stores.create().id == "vs_1"
    assert seen == [()]
    refused(engine, NestedCommand, engine.vector_stores.create)
    assert engine.vector_stores.create().id == "vs_2"


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


# Files that the host knows


def test_a_size_is_what_the_host_says_and_none_without_a_host() -> None:
    sizes = {"file-a": 5, "file-b": 0}
    assert Engine().view.size("file-a") is None
    view = Engine(file_size=sizes.get).view
    assert [view.size(file_id) for file_id in ("file-a", "file-b", "file-c")] == [5, 0, None]


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


def test_an_engine_in_memory_keeps_no_events_but_says_that_there_are_none_since_the_latest() -> None:
    engine = new_engine()
    engine.vector_stores.create()
    assert list(engine.events("vs_1", after=1)) == list(engine.events(after=1)) == []
    for name in ("vs_1", None):
        with pytest.raises(EventsForgotten):
            engine.events(name, after=0)


def test_a_follower_in_memory_hears_what_happens_to_its_store_from_now_on() -> None:
    engine, heard = new_engine(), list[Any]()
    engine.vector_stores.create()
    end = engine.follow(heard.append, "vs_1", after=engine.version("vs_1"))
    engine.vector_stores.create()
    engine.vector_stores.update("vs_1", name="new")
    end()
    engine.vector_stores.update("vs_1", name="newer")
    assert [(event.kind, event.version) for event in heard] == [("vector_store.updated", 2)]
