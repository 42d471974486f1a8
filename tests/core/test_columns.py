"""Columns of bytes against a plain list of bytes: what they hold, what they find, and what a second call does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import groupby
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vsbatch_core import Engine, columns
from vsbatch_core.columns import MASK, SHIFT, SIZE, ByteColumn, spans
from vsbatch_core.errors import Inconsistent

from ..helpers.brief import examples
from ..helpers.cut_short import cut_short

BYTES = (1, 2, 3, 4)
"""What is written; four values, as there are statuses."""
MOST = 5 * SIZE

Change = Callable[[ByteColumn], None]


def state(column: ByteColumn) -> tuple[dict[int, bytes], dict[int, list[int]]]:
    """All that a column holds.  A list of no blocks says the same as none."""
    return (
        {key: bytes(block) for key, block in column.blocks.items()},
        {byte: list(keys) for byte, keys in column.holding.items() if keys},
    )


def column_of(pattern: bytes) -> ByteColumn:
    """The column that holds these bytes, made at once."""
    column = ByteColumn()
    column.blocks = {i >> SHIFT: bytearray(pattern[i : i + SIZE]) for i in range(0, len(pattern), SIZE)}
    column.holding = column.indexed()
    return column


def grown(pattern: bytes) -> ByteColumn:
    """The column that holds these bytes, made one interval after the other, as columns grow."""
    column = ByteColumn()
    first = 0
    for byte, run in groupby(pattern):
        stop = first + len(list(run))
        column.fill(first, stop, byte or 1)
        if not byte:
            for number in range(first, stop):
                column.erase(number)
        first = stop
    return column


# Numbers around the borders of blocks, and any others
borders = st.builds(lambda block, by: max(0, block * SIZE + by), st.integers(0, 5), st.integers(-3, 3))
numbers = borders | st.integers(0, MOST)
a_byte = st.sampled_from(BYTES)
counts = st.integers(0, 12) | st.integers(0, 3 * SIZE)


class ColumnAgainstBytes(RuleBasedStateMachine):
    """A column and a plain ``bytearray`` live through the same changes, each of which is cut short once."""

    def __init__(self) -> None:
        super().__init__()
        self.column = ByteColumn()
        self.model = bytearray()
        self.dropped: set[int] = set()

    def change(self, change: Change, line: int) -> None:
        """Make a change, which is cut short before this line, then made in full, then made again."""
        cut_short(lambda: change(self.column), columns, line)
        change(self.column)
        self.column.check("the column")
        once = state(self.column)
        change(self.column)
        assert state(self.column) == once

    def held(self, data: st.DataObject) -> int:
        """A number that was written and holds something."""
        n = data.draw(numbers) % len(self.model)
        for number in (*range(n, len(self.model)), *range(n)):
            if self.model[number]:
                return number
        return -1

    @initialize(first=st.sampled_from([0, 0, 1, MASK, SIZE, SIZE + 5]))
    def begin(self, first: int) -> None:
        """What came before ``first`` was forgotten before the column was made."""
        self.model += bytes(first)
        self.dropped |= set(range(first >> SHIFT))

    @precondition(lambda self: len(self.model) < MOST)
    @rule(stop=numbers, byte=a_byte, line=st.integers(1, 25))
    def fill(self, stop: int, byte: int, line: int) -> None:
        first = len(self.model)
        stop = max(stop, first + 1)
        self.change(lambda column: column.fill(first, stop, byte), line)
        self.model += bytes((byte,)) * (stop - first)

    @precondition(lambda self: any(self.model))
    @rule(data=st.data(), new=st.sampled_from((0, *BYTES)), line=st.integers(1, 14))
    def write(self, data: st.DataObject, new: int, line: int) -> None:
        number = self.held(data)
        old = self.model[number]
        if new != old:
            self.change(lambda column: column.write(number, old, new), line)
            self.model[number] = new

    @precondition(lambda self: any(self.model))
    @rule(data=st.data(), line=st.integers(1, 25))
    def erase(self, data: st.DataObject, line: int) -> None:
        number = self.held(data)
        self.change(lambda column: column.erase(number), line)
        self.model[number] = 0

    @rule(first=numbers, stop=numbers, old=a_byte, new=a_byte, line=st.integers(1, 60))
    def replace(self, first: int, stop: int, old: int, new: int, line: int) -> None:
        first, stop = sorted((min(first, len(self.model)), min(stop, len(self.model))))
        self.change(lambda column: column.replace(first, stop, old, new), line)
        self.model[first:stop] = self.model[first:stop].replace(bytes((old,)), bytes((new,)))

    @rule(key=st.integers(0, 4), every=st.sampled_from([1, 2, 7, 1000]))
    def thin_out(self, key: int, every: int) -> None:
        """Leave one in so many of a block."""
        for number in range(key * SIZE, min((key + 1) * SIZE, len(self.model))):
            if self.model[number] and number % every:
                self.column.erase(number)
                self.model[number] = 0

    @rule(key=st.integers(0, 4), line=st.integers(1, 3))
    def empty_and_drop(self, key: int, line: int) -> None:
        """Give a block back that is full and of which all is erased."""
        if (key + 1) * SIZE <= len(self.model):
            for number in range(key * SIZE, (key + 1) * SIZE):
                if self.model[number]:
                    assert not self.column.empty(key)
                    self.column.erase(number)
                    self.model[number] = 0
            assert self.column.empty(key)
            self.change(lambda column: column.drop(key), line)
            self.dropped.add(key)

    @rule(low=numbers, high=numbers, n=counts, byte=st.sampled_from((0, *BYTES)))
    def read(self, low: int, high: int, n: int, byte: int) -> None:
        within = [
            i for i in range(low, min(high, len(self.model))) if self.model[i] and byte in (0, self.model[i])
        ]
        assert list(self.column.ascending(byte, low, high, n)) == within[:n]
        assert list(self.column.descending(byte, low, high, n)) == within[::-1][:n]

    @rule(chosen=st.lists(numbers, max_size=8), run=st.booleans(), data=st.data(), byte=a_byte)
    def ask_whether_all_hold(self, chosen: list[int], run: bool, data: st.DataObject, byte: int) -> None:
        if run and chosen:
            first = data.draw(numbers)
            chosen = list(range(first, first + chosen[0]))
        there = [i for i in chosen if i < len(self.model) and i >> SHIFT in self.column.blocks]
        assert self.column.all_hold(there, byte) is all(self.model[i] == byte for i in there)

    @rule(number=numbers)
    def look(self, number: int) -> None:
        assert self.column[number] == (self.model[number] if number < len(self.model) else 0)

    @invariant()
    def equal(self) -> None:
        self.column.check("the column")
        for byte in BYTES:
            assert self.column.first(byte) == self.model.find(byte)
        for key in range(6):
            block = self.model[key * SIZE : (key + 1) * SIZE]
            assert self.column.empty(key) is not any(block)
            if key in self.column.blocks:
                assert self.column.blocks[key] == block
        assert not self.dropped & self.column.blocks.keys()


TestColumnAgainstBytes = ColumnAgainstBytes.TestCase
TestColumnAgainstBytes.settings = settings(max_examples=examples(60), stateful_step_count=25)


# What is found, in patterns


@st.composite
def patterns(draw: st.DrawFn) -> bytes:
    """Bytes that are repeated, interrupted, dense, sparse, or all of it, over one to three blocks."""
    parts = draw(
        st.lists(
            st.builds(
                lambda unit, times: bytes(unit) * times,
                st.lists(st.sampled_from((0, 1, 1, 2, 3)), min_size=1, max_size=9),
                st.integers(1, 40) | st.integers(300, 600),
            ),
            min_size=1,
            max_size=4,
        )
    )
    lone = draw(st.integers(0, 2 * SIZE))
    return b"".join(parts) + (bytes(lone) + b"\2" if draw(st.booleans()) else b"")


@given(patterns(), st.data())
def test_a_column_finds_in_order_what_a_plain_search_finds(pattern: bytes, data: st.DataObject) -> None:
    column = column_of(pattern)
    place = st.integers(0, len(pattern)) | borders
    for _ in range(6):
        low, high, n = data.draw(place), data.draw(place), data.draw(st.integers(0, 200) | counts)
        for byte in (0, 1, 2, 3):
            within = [i for i in range(low, min(high, len(pattern))) if pattern[i] and byte in (0, pattern[i])]
            assert list(column.ascending(byte, low, high, n)) == within[:n]
            assert list(column.descending(byte, low, high, n)) == within[::-1][:n]


@given(st.lists(st.integers(0, 3 * SIZE - 1), max_size=3), numbers, numbers, st.integers(1, 3))
def test_numbers_hold_a_byte_together_if_each_of_them_does(
    others: list[int], first: int, stop: int, step: int
) -> None:
    pattern = bytearray(b"\1" * 3 * SIZE)
    for number in others:
        pattern[number] = 2
    asked = range(*sorted((min(first, 3 * SIZE), min(stop, 3 * SIZE))), step)
    assert column_of(bytes(pattern)).all_hold(asked, 1) is not any(number in asked for number in others)


@given(patterns())
def test_a_column_that_has_grown_is_that_which_is_made_at_once(pattern: bytes) -> None:
    column = grown(pattern)
    column.check("the column")
    assert state(column) == state(column_of(pattern))
    for byte in (1, 2, 3):
        assert column.first(byte) == pattern.find(byte)


def test_blocks_are_listed_in_their_order_whichever_comes_to_hold_the_byte_first() -> None:
    column = ByteColumn()
    column.fill(0, 3 * SIZE, 1)
    for key in (2, 0, 1):
        column.write(key * SIZE, 1, 2)
    assert column.ascending(2, 0, 3 * SIZE, 9) == [0, SIZE, 2 * SIZE]
    column.check("the column")


def test_a_page_of_a_sparse_column_reads_the_blocks_that_hold_the_byte_and_no_others() -> None:
    column = ByteColumn()
    column.fill(0, 50 * SIZE, 1)
    for number in (0, 20 * SIZE + 7, 50 * SIZE - 1):
        column.write(number, 1, 2)

    class Watched(dict[int, bytearray]):
        looked_at: ClassVar[set[int]] = set()

        def __getitem__(self, key: int) -> bytearray:
            self.looked_at.add(key)
            return super().__getitem__(key)

        def get(self, key: int, *default: Any) -> Any:
            self.looked_at.add(key)
            return super().get(key, *default)

    column.blocks = watched = Watched(column.blocks)
    assert list(column.ascending(2, 0, 50 * SIZE, 10)) == [0, 20 * SIZE + 7, 50 * SIZE - 1]
    assert list(column.descending(2, 0, 50 * SIZE, 10)) == [50 * SIZE - 1, 20 * SIZE + 7, 0]
    assert watched.looked_at == {0, 20, 49}


def test_nothing_lies_between_two_places_in_the_wrong_order_however_many_blocks_they_are_apart() -> None:
    column = column_of(bytes((1, 2)) * (3 * SIZE // 2))
    for low, high in ((SIZE, SIZE - 1), (SIZE + 1, 1372), (2 * SIZE + 5, 5), (SIZE, 0), (9, 9)):
        for byte, n in ((0, 1), (0, 100), (1, 1), (2, 100)):
            assert list(column.ascending(byte, low, high, n)) == []
            assert list(column.descending(byte, low, high, n)) == []


@pytest.mark.parametrize("filter", [None, "in_progress"])
def test_the_page_between_a_file_and_one_long_before_it_is_empty(filter: Any) -> None:
    engine = Engine()
    store = engine.vector_stores.create().id
    ids = [f"file-{i}" for i in range(2 * SIZE)]
    for i in range(0, len(ids), 2000):
        engine.vector_stores.file_batches.create(store, file_ids=ids[i : i + 2000])
    for order, after, before in (("asc", SIZE, 1372), ("desc", 1372, SIZE)):
        page = engine.vector_stores.files.list(
            store, order=order, after=ids[after], before=ids[before], filter=filter, limit=3
        )
        assert ([file.id for file in page.data], page.has_more) == ([], False)


# A change that is made again


def filled() -> ByteColumn:
    """Four blocks: one of 1 alone, one that alternates, one with a single 2, and half a one."""
    column = ByteColumn()
    column.fill(0, 3 * SIZE + SIZE // 2, 1)
    for number in range(SIZE, 2 * SIZE, 2):
        column.write(number, 1, 2)
    column.write(2 * SIZE + 9, 1, 2)
    return column


def cleared() -> ByteColumn:
    column = filled()
    for number in range(SIZE):
        column.erase(number)
    return column


END = 3 * SIZE + SIZE // 2
CHANGES: list[tuple[str, Callable[[], ByteColumn], Change]] = [
    ("fill an empty column", ByteColumn, lambda c: c.fill(0, 10, 3)),
    ("fill where nothing is before", ByteColumn, lambda c: c.fill(SIZE + 5, 3 * SIZE, 3)),
    ("fill on", filled, lambda c: c.fill(END, END + 1, 1)),
    ("fill over borders", filled, lambda c: c.fill(END, 6 * SIZE + 1, 4)),
    ("write another byte", filled, lambda c: c.write(5, 1, 3)),
    ("write the last of its byte", filled, lambda c: c.write(2 * SIZE + 9, 2, 1)),
    ("write 0", filled, lambda c: c.write(2 * SIZE + 9, 2, 0)),
    ("erase the last of its byte", filled, lambda c: c.erase(2 * SIZE + 9)),
    ("erase one of many", filled, lambda c: c.erase(SIZE + 1)),
    ("replace in part", filled, lambda c: c.replace(7, 3 * SIZE, 1, 4)),
    ("replace all", filled, lambda c: c.replace(0, END, 1, 2)),
    ("replace what is in one block", filled, lambda c: c.replace(0, END, 2, 3)),
    ("replace what is nowhere", filled, lambda c: c.replace(0, END, 4, 3)),
    ("enter what is about to be held", cleared, lambda c: (c.enter(0, 1), c.fill(0, 3, 1))[1]),
    ("drop", cleared, lambda c: c.drop(0)),
    ("drop what was dropped", ByteColumn, lambda c: c.drop(0)),
    ("write where a block was dropped", ByteColumn, lambda c: c.write(0, 1, 2)),
    ("erase where a block was dropped", ByteColumn, lambda c: c.erase(0)),
    ("replace where blocks were dropped", ByteColumn, lambda c: c.replace(0, END, 1, 2)),
]


@pytest.mark.parametrize(("make", "change"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_change_that_is_cut_short_at_any_line_is_completed_by_making_it_again(
    make: Callable[[], ByteColumn], change: Change
) -> None:
    before, after = make(), make()
    change(after)
    after.check("the column")
    again = deepcopy(after)
    change(again)
    assert state(again) == state(after)
    line = 1
    while cut_short(lambda: change(again), columns, line):  # noqa: B023 - it is called at once
        again = deepcopy(before)
        assert cut_short(lambda: change(again), columns, line)  # noqa: B023
        change(again)
        assert state(again) == state(after), f"cut short before line {line}"
        again.check("the column")
        again = deepcopy(before)
        line += 1
    assert line > 1


# The small functions


@given(numbers, numbers)
def test_the_spans_of_an_interval_are_its_numbers_by_block(first: int, stop: int) -> None:
    first, stop = sorted((first, stop))
    found = [(key << SHIFT) + offset for key, start, end in spans(first, stop) for offset in range(start, end)]
    assert found == list(range(first, stop))
    assert all(0 <= start <= end <= SIZE for _, start, end in spans(first, stop))
    assert len({key for key, _, _ in spans(first, stop)}) == len(spans(first, stop))


# What check notices


def _missing(column: ByteColumn) -> None:
    del column.holding[2][0]


def _too_many(column: ByteColumn) -> None:
    column.holding[2].insert(0, 0)


def _twice(column: ByteColumn) -> None:
    column.holding[1].append(3)


def _out_of_order(column: ByteColumn) -> None:
    column.holding[1].reverse()


def _changed_below(column: ByteColumn) -> None:
    column.blocks[0][0] = 7


def _block_gone(column: ByteColumn) -> None:
    del column.blocks[3]


@pytest.mark.parametrize("damage", [_missing, _too_many, _twice, _out_of_order, _changed_below, _block_gone])
def test_check_notices_an_index_that_differs_from_the_blocks(damage: Change) -> None:
    column = filled()
    column.check("these")
    damage(column)
    with pytest.raises(Inconsistent, match=r"^the index of these differs: kept "):
        column.check("these")


def test_an_empty_column_holds_nothing_anywhere() -> None:
    column = ByteColumn()
    column.check("nothing")
    assert column[0] == column[SIZE] == 0
    assert column.first(1) == -1
    assert column.empty(0)
    found: list[Sequence[int]] = [column.ascending(0, 0, MOST, 5), column.descending(0, 0, MOST, 5)]
    assert [list(each) for each in found] == [[], []]
    assert column.all_hold((), 1)
