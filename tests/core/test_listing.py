"""Lists of ids that come and go, against a plain list that remembers all; and the order of those that wait."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vsbatch_core import Engine, Profile, SequentialIds, errors, listing
from vsbatch_core.columns import SHIFT, SIZE
from vsbatch_core.errors import Inconsistent
from vsbatch_core.listing import Listing, Waiting
from vsbatch_core.model import ORDERS, Limits

from ..helpers.brief import examples
from ..helpers.cut_short import cut_short

orders = st.sampled_from(ORDERS)


def state(these: Listing) -> Any:
    """All that a listing says of itself."""
    return (
        these.next,
        dict(these.numbers),
        these.departed,
        list(these),
        len(these._ids),
        len(these._places.blocks),
    )


def joined(*ids: str, departed: int = 2) -> Listing:
    these = Listing(departed)
    for id in ids:
        these.join(id, these.next)
    return these


def leave(these: Listing, id: str) -> None:
    these.leave(id, these.numbers[id], these.oldest())


class ListingAgainstList(RuleBasedStateMachine):
    """A listing, and a list of all ids ever with what became of each.  Every change is cut short once."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.here: dict[int, None] = {}
        self.left: list[int] = []
        """The numbers of those that left, in the order of leaving, forgotten or not."""

    @initialize(
        limit=st.integers(1, 3), n=st.sampled_from([0, 0, SIZE - 2, SIZE, 2 * SIZE - 3]), keeps=st.integers(0, 3)
    )
    def begin(self, limit: int, n: int, keeps: int) -> None:
        """Many have come already, and all but the last ones have left."""
        self.limit = limit
        self.listing = Listing(limit)
        for number in range(n):
            self.listing.join(f"id-{number}", number)
        for number in range(n - keeps):
            leave(self.listing, f"id-{number}")
        self.names += [f"id-{number}" for number in range(n)]
        self.left += range(max(0, n - keeps))
        self.here = dict.fromkeys(range(max(0, n - keeps), n))

    def change(self, change: Callable[[], None], line: int) -> None:
        """Make a change, which is cut short before this line, then made in full, then made again."""
        cut_short(change, listing, line)
        change()
        once = state(self.listing)
        change()
        assert state(self.listing) == once

    @rule(line=st.integers(1, 14))
    def join(self, line: int) -> None:
        number = len(self.names)
        self.names.append(f"id-{number}")
        self.change(lambda: self.listing.join(f"id-{number}", number), line)
        self.here[number] = None

    @precondition(lambda self: self.here)
    @rule(data=st.data(), line=st.integers(1, 14))
    def leave(self, data: st.DataObject, line: int) -> None:
        number = data.draw(st.sampled_from(list(self.here)))
        oldest = self.listing.oldest()
        self.change(lambda: self.listing.leave(self.names[number], number, oldest), line)
        del self.here[number]
        self.left.append(number)

    @rule(data=st.data(), order=orders, limit=st.integers(1, 6))
    def page(self, data: st.DataObject, order: Any, limit: int) -> None:
        cursors = st.none() | st.sampled_from([*self.here, *self.left[-self.limit :]] or [None])
        after, before = data.draw(cursors), data.draw(cursors)
        there = sorted(self.here, reverse=order == "desc")
        sign = -1 if order == "desc" else 1
        if after is not None:
            there = [number for number in there if sign * number > sign * after]
        if before is not None:
            there = [number for number in there if sign * number < sign * before]
        backward = before is not None and after is None
        expected = there[-limit:] if backward else there[:limit]
        ids, more = self.listing.page(order, limit, after, before)
        assert ids == [self.names[number] for number in expected]
        assert more is (len(there) > limit)

    @invariant()
    def equal(self) -> None:
        self.listing.check("these")
        remembered = self.left[-self.limit :]
        assert self.listing.next == len(self.names)
        assert self.listing.departed == [self.names[number] for number in remembered]
        known = sorted([*self.here, *remembered])
        assert self.listing.numbers == {self.names[number]: number for number in known}
        assert list(self.listing) == [(self.names[number], number in self.here) for number in known]
        oldest = remembered[0] if len(remembered) == self.limit else None
        assert self.listing.oldest() == (None if oldest is None else (self.names[oldest], oldest))

    @invariant()
    def blocks_of_which_nothing_is_known_any_more_take_no_memory(self) -> None:
        known = {number >> SHIFT for number in (*self.here, *self.left[-self.limit :])}
        coming = {len(self.names) >> SHIFT}
        assert known <= self.listing._ids.keys() <= known | coming
        assert self.listing._places.blocks.keys() == self.listing._ids.keys()


TestListingAgainstList = ListingAgainstList.TestCase
TestListingAgainstList.settings = settings(max_examples=examples(40), stateful_step_count=30)


# A change that is made again


def full() -> Listing:
    """A first block of which two are left, one of them a cursor; the second is about to begin."""
    these = joined(*(f"id-{number}" for number in range(SIZE)), departed=1)
    for number in range(SIZE - 1):
        leave(these, f"id-{number}")
    return these


def nearly_forgotten() -> Listing:
    """A first block of which nothing is left but one cursor, and a second that has begun."""
    these = full()
    these.join("new", SIZE)
    leave(these, f"id-{SIZE - 1}")
    return these


CHANGES: list[tuple[str, Callable[[], Listing], Callable[[Listing], None]]] = [
    ("the first joins", lambda: Listing(2), lambda these: these.join("a", 0)),
    ("another joins", lambda: joined("a"), lambda these: these.join("b", 1)),
    ("the first of a block joins", full, lambda these: these.join("new", SIZE)),
    ("one leaves", lambda: joined("a", "b"), lambda these: these.leave("a", 0, None)),
    ("one leaves and one is forgotten", full, lambda these: these.leave("id-4095", 4095, ("id-4094", 4094))),
    ("a block is given back", nearly_forgotten, lambda these: these.leave("new", SIZE, ("id-4095", 4095))),
]


@pytest.mark.parametrize(("make", "change"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_change_that_is_cut_short_at_any_line_is_completed_by_making_it_again(
    make: Callable[[], Listing], change: Callable[[Listing], None]
) -> None:
    before, after = make(), make()
    change(after)
    after.check("these")
    line = 1
    while cut_short(lambda: change(deepcopy(before)), listing, line):
        again = deepcopy(before)
        assert cut_short(lambda: change(again), listing, line)  # noqa: B023 - it is called at once
        change(again)
        again.check("these")
        assert state(again) == state(after), f"cut short before line {line}"
        line += 1
    assert line > 1


def test_a_block_is_given_back_when_the_last_of_it_is_forgotten_and_the_next_has_begun() -> None:
    these = nearly_forgotten()
    assert list(these._ids) == [0, 1]
    leave(these, "new")
    assert list(these._ids) == list(these._places.blocks) == [1]
    assert these.numbers == {"new": SIZE}


def test_a_block_of_which_all_was_forgotten_is_given_back_when_the_next_begins() -> None:
    these = Listing(1)
    for number in range(SIZE):
        these.join(f"id-{number}", number)
    for number in range(SIZE):
        leave(these, f"id-{number}")
    assert list(these._ids) == [0]
    these._departed.clear()  # as if another had left, of a block that never was
    these.numbers.clear()
    these._ids[0][SIZE - 1] = ""
    these._places.erase(SIZE - 1)
    these.join("new", SIZE)
    assert list(these._ids) == [1]
    these.check("these")


# The list of a store's files, which forgets in the same way


class FilesAgainstList(RuleBasedStateMachine):
    """Files of one store that come, leave and come again; few of those that left are cursors."""

    @initialize(limit=st.integers(1, 3))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.engine = Engine(ids=SequentialIds(), profile=Profile(limits=Limits(departed=limit)))
        self.store = self.engine.vector_stores.create().id
        self.next = 0
        self.here: dict[str, int] = {}
        self.left: dict[str, int] = {}
        """The attachments of files that left and are cursors, the first to leave first."""
        self.batches: list[tuple[str, dict[str, int]]] = []

    def attached(self, ids: list[str]) -> dict[str, int]:
        new = {}
        for id in ids:
            self.here.pop(id, None)
            self.left.pop(id, None)
            new[id] = self.here[id] = self.next
            self.next += 1
        return new

    @rule(id=st.sampled_from("abcde"))
    def attach(self, id: str) -> None:
        self.engine.vector_stores.files.create(self.store, file_id=id)
        self.attached([id])

    @rule(ids=st.lists(st.sampled_from("abcde"), unique=True, min_size=1, max_size=4))
    def attach_batch(self, ids: list[str]) -> None:
        batch = self.engine.vector_stores.file_batches.create(self.store, file_ids=ids)
        self.batches.append((batch.id, self.attached(ids)))

    @precondition(lambda self: self.here)
    @rule(data=st.data(), completed=st.booleans())
    def delete(self, data: st.DataObject, completed: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.here)))
        if (
            completed
            and self.engine.vector_stores.files.retrieve(id, vector_store_id=self.store).status == "in_progress"
        ):
            self.engine.processing.complete(self.store, id, usage_bytes=3)
        self.engine.vector_stores.files.delete(id, vector_store_id=self.store)
        self.left[id] = self.here.pop(id)
        if len(self.left) > self.limit:
            del self.left[next(iter(self.left))]

    @rule(ids=st.permutations("abcde"))
    def attach_and_delete_each(self, ids: list[str]) -> None:
        for id in ids:
            self.attach(id)
        for id in ids:
            self.engine.vector_stores.files.delete(id, vector_store_id=self.store)
            self.left[id] = self.here.pop(id)
        self.left = dict(list(self.left.items())[-self.limit :])

    @rule(id=st.sampled_from("abcde"), order=orders)
    def follow(self, id: str, order: Any) -> None:
        """A file that left is a cursor until so many others have left after it; then it is unknown."""
        files = self.engine.vector_stores.files
        place = self.here.get(id, self.left.get(id))
        if place is None:
            with pytest.raises(errors.UnknownCursor):
                files.list(self.store, after=id, order=order)
            return
        sign = -1 if order == "desc" else 1
        expected = sorted((sign * n, id) for id, n in self.here.items() if sign * n > sign * place)
        assert [file.id for file in files.list(self.store, after=id, order=order).data] == [
            id for _, id in expected
        ]

    @rule(id=st.sampled_from("abcde"))
    def follow_in_batches(self, id: str) -> None:
        """A batch never forgets what it lists."""
        for batch_id, listed in self.batches:
            ask = self.engine.vector_stores.file_batches.list_files
            if id in listed:
                page = ask(batch_id, vector_store_id=self.store, after=id, order="asc")
                assert [file.attachment for file in page.data] == [n for n in listed.values() if n > listed[id]]
            else:
                with pytest.raises(errors.UnknownCursor):
                    ask(batch_id, vector_store_id=self.store, after=id)

    @invariant()
    def equal(self) -> None:
        self.engine.check()
        view = self.engine.view
        listed = {number for _, numbers in self.batches for number in numbers.values()}
        kept = listed | set(self.here.values()) | set(self.left.values())
        assert {n for n in range(self.next) if view.status(self.store, n) is not None} == kept
        assert {n for n in range(self.next) if view.file(self.store, n) is not None} == kept
        assert self.engine.version(self.store) > 0


TestFilesAgainstList = FilesAgainstList.TestCase
TestFilesAgainstList.settings = settings(max_examples=examples(40), stateful_step_count=25)


def test_blocks_of_files_of_which_nothing_is_known_any_more_take_no_memory() -> None:
    engine = Engine(ids=SequentialIds(), profile=Profile(limits=Limits(departed=1)))
    store = engine.vector_stores.create().id
    files = engine.vector_stores.files
    for number in range(SIZE + 2):
        files.create(store, file_id=f"file-{number}")
        files.delete(f"file-{number}", vector_store_id=store)
    rows = engine._registry.stores[store].rows
    assert list(rows._blocks) == list(rows.status.blocks) == list(rows.present.blocks) == [1]
    assert engine.view.file(store, SIZE + 1) is not None
    assert engine.view.file(store, SIZE) is None
    engine.check()
    engine = Engine.restore(engine.snapshot())
    files = engine.vector_stores.files
    files.create(store, file_id="after")
    assert files.retrieve("after", vector_store_id=store).attachment == SIZE + 2
    engine.check()


# The order of those that wait


class Keys(dict[int, int]):
    """What is looked up for each that waits; each look may be the one that fails."""

    fails_at = 0

    def look(self, name: int) -> int | None:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise InterruptedError
        return self.get(name)


class WaitingAgainstSorted(RuleBasedStateMachine):
    """Names whose keys come, change and go, and the plain sorted list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = Keys()
        self.waiting = Waiting(self.keys.look)

    @rule(name=st.integers(0, 5), key=st.none() | st.integers(0, 4))
    def change(self, name: int, key: int | None) -> None:
        if key is None:
            self.keys.pop(name, None)
        else:
            self.keys[name] = key
        self.waiting.touch(name)

    @rule(line=st.integers(1, 60))
    def read_and_be_cut_short(self, line: int) -> None:
        cut_short(lambda: list(self.waiting), listing, line)

    @rule(at=st.integers(1, 6))
    def read_and_fail_to_look_one_up(self, at: int) -> None:
        self.keys.fails_at = at
        try:
            assert list(self.waiting) == self.expected()
        except InterruptedError:
            pass
        finally:
            self.keys.fails_at = 0

    @rule()
    def read(self) -> None:
        assert list(self.waiting) == list(self.waiting) == self.expected()
        self.waiting.check("these", dict(self.keys))

    def expected(self) -> list[tuple[int, int]]:
        return sorted((key, name) for name, key in self.keys.items())

    def teardown(self) -> None:
        self.read()


TestWaitingAgainstSorted = WaitingAgainstSorted.TestCase
TestWaitingAgainstSorted.settings = settings(max_examples=examples(80), stateful_step_count=30)


keys = st.dictionaries(st.integers(0, 5), st.integers(0, 3))


@settings(max_examples=examples(30))
@given(keys, keys)
def test_a_reading_that_is_cut_short_at_any_line_leaves_an_order_that_the_next_one_completes(
    old: dict[int, int], new: dict[int, int]
) -> None:
    def changed() -> tuple[Waiting, Keys]:
        keys = Keys(old)
        waiting = Waiting(keys.look)
        for name in old:
            waiting.touch(name)
        list(waiting)
        keys.clear()
        keys.update(new)
        for name in {**old, **new}:
            waiting.touch(name)
        return waiting, keys

    line = 1
    while cut_short(lambda: list(changed()[0]), listing, line):
        waiting, keys = changed()
        cut_short(lambda: list(waiting), listing, line)  # noqa: B023 - it is called at once
        assert list(waiting) == sorted((key, name) for name, key in keys.items())
        line += 1


def test_what_was_not_touched_is_not_looked_up_again() -> None:
    looked: list[int] = []

    def look(name: int) -> int:
        looked.append(name)
        return 10 - name

    waiting = Waiting(look)
    for name in (1, 2, 3, 2):
        waiting.touch(name)
    assert list(waiting) == [(7, 3), (8, 2), (9, 1)]
    waiting.touch(2)
    list(waiting)
    list(waiting)
    assert looked == [1, 2, 3, 2]


# What check notices


def _listing(damage: Callable[[Any], object]) -> None:
    these = joined("a", "b", "c", "d")
    leave(these, "b")
    leave(these, "a")
    these.check("these")
    damage(these)
    these.check("these")


def _waiting(damage: Callable[[Any], object]) -> None:
    keys = {1: 10, 2: 5}
    waiting = Waiting(keys.get)
    waiting.touch(1)
    waiting.touch(2)
    waiting.check("these", keys)
    damage(waiting)
    waiting.check("these", keys)


def _set_place(byte: int, number: int) -> Callable[[Listing], None]:
    def damage(these: Listing) -> None:
        these._places.write(number, these._places[number], byte)

    return damage


DAMAGES: list[tuple[str, Callable[..., None], Callable[[Any], object]]] = [
    ("an index of places that differs", _listing, lambda these: these._places.holding[1].clear()),
    ("an id that is nowhere", _listing, _set_place(0, 2)),
    ("a place that is nobody's", _listing, lambda these: these._ids[0].__setitem__(2, "")),
    ("another number", _listing, lambda these: these.numbers.update(c=3)),
    ("a number too few", _listing, lambda these: these.numbers.pop("c")),
    ("one that left and is not remembered", _listing, lambda these: these._departed.pop("a")),
    ("one that is here and counts as departed", _listing, lambda these: these._departed.update(c=2)),
    ("a place that says its id has left", _listing, _set_place(2, 2)),
    ("another key", _waiting, lambda waiting: waiting._order.add((7, 3))),
    ("a key too few", _waiting, lambda waiting: waiting._order.pop()),
]


@pytest.mark.parametrize(("build", "damage"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_check_notices(build: Callable[..., None], damage: Callable[[Any], object]) -> None:
    with pytest.raises(Inconsistent, match="these"):
        build(damage)


def test_check_notices_that_more_left_than_are_to_be_remembered() -> None:
    these = joined("a", "b", "c", departed=1)
    these.leave("a", 0, None)
    these.check("these")
    these.leave("b", 1, None)
    with pytest.raises(Inconsistent, match="what left these"):
        these.check("these")


@pytest.mark.parametrize("build", [_listing, _waiting])
def test_check_finds_nothing_where_nothing_is_wrong(build: Callable[..., None]) -> None:
    build(lambda _: None)
