"""The indexes against plain sets and sorted lists: exhaustive small worlds, then long random histories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vsbatch_core.index import EVERYTHING, Gaps, Index, Merged, Ranking, Sparse, Tally

from vsbatch_core import paging
from vsbatch_core.errors import Inconsistent
from vsbatch_core.model import FILE_STATUSES, FileCounts, Order

from ..helpers.brief import examples

SIZE = 7
DEFAULT_SHIFT = Sparse().shift


def subsets(n: int) -> Iterable[tuple[int, ...]]:
    return chain.from_iterable(combinations(range(n), k) for k in range(n + 1))


def intervals_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def gaps_of(left_out: Iterable[int]) -> Gaps:
    gaps = Gaps()
    for number in left_out:
        gaps.add(number, number + 1)
    return gaps


class Rows(Sequence[str]):
    """Rows that remember which of them were touched."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.touched: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: Any) -> Any:
        numbers = list(range(self.n)[key]) if isinstance(key, slice) else [range(self.n)[key]]
        self.touched += numbers
        found = [f"row {number}" for number in numbers]
        return found if isinstance(key, slice) else found[0]


def assert_answers_as(index: Index, members: Sequence[int], size: int) -> None:
    """Every question that can be asked of an index of numbers below ``size``."""
    for low, high in product(range(size + 1), repeat=2):
        within = [number for number in members if low <= number < high]
        for n in range(1, len(within) + 3):
            assert list(index.ascending(low, high, n)) == within[:n]
            assert list(index.descending(low, high, n)) == within[::-1][:n]


def assert_reads_only_what_it_returns(index: Index, members: Sequence[int], size: int) -> None:
    for low, high, falling in product(range(size + 1), range(size + 1), (False, True)):
        within = [number for number in members if low <= number < high][:: -1 if falling else 1]
        for limit in range(1, len(within) + 2):
            rows = Rows(size)
            order: Order = "desc" if falling else "asc"
            data, more = paging.page(index, rows, low, high, order, limit, None, None)
            assert list(data) == [f"row {number}" for number in within[:limit]]
            assert more is (len(within) > limit)
            assert sorted(rows.touched) == sorted(within[:limit])


# Exhaustive small worlds


@pytest.mark.parametrize("shift", [0, 1, 2, DEFAULT_SHIFT])
def test_a_sparse_index_answers_as_the_sorted_list_of_its_numbers(shift: int) -> None:
    for members in subsets(SIZE):
        assert_answers_as(Sparse(members, shift=shift), members, SIZE)


def test_gaps_answer_as_the_sorted_list_of_what_is_not_left_out() -> None:
    for left_out in subsets(SIZE):
        members = [number for number in range(SIZE) if number not in left_out]
        assert_answers_as(gaps_of(left_out), members, SIZE)


@pytest.mark.parametrize("shift", [0, 1, DEFAULT_SHIFT])
def test_a_merged_index_answers_as_the_union_of_its_two(shift: int) -> None:
    for places in product((None, 0, 1), repeat=5):
        one, other = (
            Sparse([number for number, place in enumerate(places) if place == side], shift=shift)
            for side in (0, 1)
        )
        members = [number for number, place in enumerate(places) if place is not None]
        assert_answers_as(Merged(one, other), members, len(places))


def test_everything_answers_as_the_range() -> None:
    assert_answers_as(EVERYTHING, range(SIZE), SIZE)


def test_a_read_touches_no_row_that_it_does_not_return() -> None:
    assert_reads_only_what_it_returns(EVERYTHING, range(SIZE), SIZE)
    for members in subsets(SIZE):
        rest = [number for number in range(SIZE) if number not in members]
        assert_reads_only_what_it_returns(Sparse(members, shift=1), members, SIZE)
        assert_reads_only_what_it_returns(gaps_of(rest), members, SIZE)
        assert_reads_only_what_it_returns(
            Merged(Sparse(members[::2], shift=1), Sparse(members[1::2])), members, SIZE
        )


def test_gaps_keep_the_fewest_intervals_whatever_the_order_of_leaving() -> None:
    for left_out in subsets(SIZE):
        for order in (left_out, left_out[::-1], left_out[::2] + left_out[1::2]):
            gaps = gaps_of(order)
            gaps.check("these", 1 << 20)
            assert list(gaps) == intervals_of(left_out)
            assert bool(gaps) is bool(left_out)
            assert [number in gaps for number in range(SIZE)] == [number in left_out for number in range(SIZE)]


# Long histories


class SparseAgainstSet(RuleBasedStateMachine):
    """A sparse index and a set live through the same changes."""

    @initialize(shape=st.sampled_from([(0, 1), (1, 1), (2, 1), (3, 1), (DEFAULT_SHIFT, 97)]))
    def begin(self, shape: tuple[int, int]) -> None:
        self.shift, self.stride = shape  # the stride spreads the numbers over several blocks
        self.sparse = Sparse(shift=self.shift)
        self.model: set[int] = set()

    @rule(n=st.integers(0, 40))
    def add(self, n: int) -> None:
        if n * self.stride not in self.model:
            self.sparse.add(n * self.stride)
            self.model.add(n * self.stride)

    @rule(numbers=st.sets(st.integers(0, 40)))
    def update(self, numbers: set[int]) -> None:
        new = sorted({n * self.stride for n in numbers} - self.model)
        self.sparse.update(new)
        self.model.update(new)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        self.sparse.remove(number)
        self.model.remove(number)

    @rule(low=st.integers(0, 41), length=st.integers(1, 20))
    def cut(self, low: int, length: int) -> None:
        low, high = low * self.stride, (low + length) * self.stride
        taken = sorted(number for number in self.model if low <= number < high)
        assert self.sparse.cut(low, high) == taken
        self.model.difference_update(taken)

    @rule(low=st.integers(0, 41), high=st.integers(0, 41), n=st.integers(1, 30))
    def read(self, low: int, high: int, n: int) -> None:
        low, high = low * self.stride, high * self.stride
        within = sorted(number for number in self.model if low <= number < high)
        assert self.sparse.ascending(low, high, n) == within[:n]
        assert self.sparse.descending(low, high, n) == within[::-1][:n]

    @invariant()
    def equal(self) -> None:
        members = sorted(self.model)
        assert list(self.sparse) == members
        assert len(self.sparse) == len(members)
        assert bool(self.sparse) is bool(members)
        assert self.sparse.first() == (members[0] if members else None)
        self.sparse.check("these", Sparse(members, shift=self.shift))


class GapsAgainstSet(RuleBasedStateMachine):
    """What left, in runs of any length, and a set of it."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps = Gaps()
        self.model: set[int] = set()

    @rule(start=st.integers(0, 40), length=st.integers(1, 6))
    def leave(self, start: int, length: int) -> None:
        leaving = set(range(start, start + length))
        if not leaving & self.model:
            self.gaps.add(start, start + length)
            self.model |= leaving

    @rule(low=st.integers(0, 50), high=st.integers(0, 50), n=st.integers(1, 30))
    def read(self, low: int, high: int, n: int) -> None:
        within = [number for number in range(low, high) if number not in self.model]
        assert list(self.gaps.ascending(low, high, n)) == within[:n]
        assert list(self.gaps.descending(low, high, n)) == within[::-1][:n]

    @invariant()
    def equal(self) -> None:
        assert list(self.gaps) == intervals_of(self.model)
        self.gaps.check("these", 1 << 20)


class RankingAgainstDict(RuleBasedStateMachine):
    """Names whose keys come, change and go, and a dict of them."""

    def __init__(self) -> None:
        super().__init__()
        self.ranking = Ranking()
        self.model: dict[int, int] = {}

    @rule(name=st.integers(0, 5), key=st.one_of(st.none(), st.integers(0, 4)))
    def put(self, name: int, key: int | None) -> None:
        self.ranking.put(name, key)
        if key is None:
            self.model.pop(name, None)
        else:
            self.model[name] = key

    @invariant()
    def equal(self) -> None:
        assert list(self.ranking) == sorted((key, name) for name, key in self.model.items())
        self.ranking.check("these", dict(self.model))


TestSparseAgainstSet = SparseAgainstSet.TestCase
TestGapsAgainstSet = GapsAgainstSet.TestCase
TestRankingAgainstDict = RankingAgainstDict.TestCase
TestSparseAgainstSet.settings = TestGapsAgainstSet.settings = TestRankingAgainstDict.settings = settings(
    max_examples=examples(60), stateful_step_count=30
)

statuses = st.sampled_from(FILE_STATUSES)


@given(st.lists(st.tuples(statuses, st.one_of(st.none(), statuses), st.integers(-3, 3), st.booleans())))
def test_a_tally_is_the_sum_of_what_it_was_told(
    changes: list[tuple[Any, Any, int, bool]],
) -> None:
    tally, model = Tally(), dict.fromkeys(FILE_STATUSES, 0)
    for old, new, n, look in changes:
        if new is None:
            tally.add(old, n)
        else:
            tally.move(old, new, n)
            model[new] += n
            n = -n
        model[old] += n
        if look:  # a look keeps a value, which the next change must throw away
            assert tally.value() is tally.value()
            assert tally.value() == FileCounts(**model)
        assert {status: tally[status] for status in FILE_STATUSES} == model
    tally.check("these", FileCounts(**model))
    assert tally.value().total == sum(model.values())


# What check notices


def _sparse(damage: Callable[[Sparse], object]) -> None:
    sparse = Sparse([0, 1, 2, 5, 9], shift=1)
    damage(sparse)
    sparse.check("the numbers", Sparse([0, 1, 2, 5, 9], shift=1))


def _gaps(damage: Callable[[Gaps], object]) -> None:
    gaps = gaps_of([1, 2, 3, 6, 9])
    damage(gaps)
    gaps.check("the gaps", 1 << 20)


def _tally(damage: Callable[[Tally], object]) -> None:
    tally = Tally()
    tally.add("in_progress", 3)
    tally.value()
    damage(tally)
    tally.check("the counts", FileCounts(in_progress=3))


def _ranking(damage: Callable[[Ranking], object]) -> None:
    ranking = Ranking()
    ranking.put(1, 10)
    ranking.put(2, 5)
    damage(ranking)
    ranking.check("the ranks", {1: 10, 2: 5})


def _both_ends(gaps: Gaps, start: int, end: int) -> None:
    gaps._ends[start], gaps._starts[end] = end, start


def _stale(tally: Tally) -> None:
    tally._value = FileCounts(in_progress=2)


DAMAGES: list[tuple[str, Callable[..., None], Callable[[Any], object], str]] = [
    ("a number too many", _sparse, lambda s: s.add(4), "the index of the numbers"),
    ("a number too few", _sparse, lambda s: s.remove(2), "the index of the numbers"),
    ("a number twice", _sparse, lambda s: s._blocks[0].append(1), "the index of the numbers"),
    ("numbers out of order", _sparse, lambda s: s._blocks[0].reverse(), "the index of the numbers"),
    ("an empty block", _sparse, lambda s: s._blocks.update({7: []}), "the index of the numbers"),
    ("a block that is not ordered", _sparse, lambda s: s._order.remove(1), "the index of the numbers"),
    ("an order without its block", _sparse, lambda s: s._order.add(7), "the index of the numbers"),
    ("a block ordered twice", _sparse, lambda s: s._order.add(1), "the index of the numbers"),
    ("a gap known by its start alone", _gaps, lambda g: g._starts.popitem(), "the ends of the gaps"),
    ("a gap known by its end alone", _gaps, lambda g: g._ends.popitem(), "the ends of the gaps"),
    ("another end", _gaps, lambda g: g._ends.update({6: 8}), "the ends of the gaps"),
    ("an empty gap", _gaps, lambda g: _both_ends(g, 12, 12), "an interval of the gaps"),
    ("a gap that runs backwards", _gaps, lambda g: _both_ends(g, 14, 12), "an interval of the gaps"),
    ("gaps that touch", _gaps, lambda g: _both_ends(g, 4, 5), "an interval of the gaps"),
    ("gaps that overlap", _gaps, lambda g: _both_ends(g, 2, 5), "an interval of the gaps"),
    ("a gap before zero", _gaps, lambda g: _both_ends(g, -1, 0), "an interval of the gaps"),
    ("another count", _tally, lambda t: t._counts.update(failed=1), "the counts"),
    ("a value that was kept too long", _tally, _stale, "the counts"),
    ("another key", _ranking, lambda r: r._keys.update({1: 11}), "the ranks"),
    ("a key too few", _ranking, lambda r: r._keys.popitem(), "the ranks"),
    ("a rank too few", _ranking, lambda r: r._order.pop(), "the ranks"),
    ("a rank too many", _ranking, lambda r: r._order.add((6, 3)), "the ranks"),
    ("both wrong in the same way", _ranking, lambda r: r.put(3, 7), "the ranks"),
]


@pytest.mark.parametrize(("build", "damage", "named"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_check_notices(build: Callable[..., None], damage: Callable[[Any], object], named: str) -> None:
    with pytest.raises(Inconsistent) as caught:
        build(damage)
    assert caught.value.message.startswith(named)
    assert " differs: kept " in caught.value.message


@pytest.mark.parametrize("build", [_sparse, _gaps, _tally, _ranking])
def test_check_finds_nothing_where_nothing_is_wrong(build: Callable[..., None]) -> None:
    build(lambda _: None)
