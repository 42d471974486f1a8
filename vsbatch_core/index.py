"""The sorted indexes and the incremental counts; the only room that knows sortedcontainers.

Theory
======

Every attachment of a store has a *sequence number*: 0, 1, 2, … in the order of attachment.  It never changes and
is never used again, so it is the key of every index, and a batch, whose files are attached together, is simply
an interval of it.  A store's rows are a plain list, and a page of them is a slice, wherever nothing has left.

Two kinds of index say which numbers belong to a list:

* ``Sparse``, for "the attachments in this status": a sorted set.  The numbers are dense integers, so they
  are kept in blocks of 1,024 consecutive numbers, each block a sorted list, and only the numbers of the blocks
  that hold anything are in a ``SortedList``.  To add or remove one is a bisection in one block.
* ``Gaps``, for "the attachments that have not left the store": what has left, as disjoint intervals in a
  ``SortedDict``.  It costs nothing for what is still there, and a page jumps a gap, however long, in one step.

Both answer the same two questions, ``ascending`` and ``descending``: the first, or last, ``n`` numbers of an
interval.  Neither ever looks up by position: sortedcontainers would rebuild its positional index after each
change.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import chain

from sortedcontainers import SortedDict, SortedList

from vsbatch_core.errors import Inconsistent
from vsbatch_core.model import FILE_STATUSES, FileCounts, FileStatus

_SHIFT = 10
"""A block holds 2**10 consecutive numbers: a bisection in C, and at most 8 KiB to move on a change."""


_NO_BLOCK: list[int] = []


class Index:
    """The numbers that belong to a list; what a page is read from.  As it stands here, all there are."""

    __slots__ = ()

    def ascending(self, low: int, high: int, n: int) -> Sequence[int]:
        """The first ``n`` numbers of ``low <= number < high``, in rising order."""
        return range(low, min(high, low + n))

    def descending(self, low: int, high: int, n: int) -> Sequence[int]:
        """The last ``n`` numbers of ``low <= number < high``, in falling order."""
        return range(high - 1, max(low, high - n) - 1, -1)


EVERYTHING = Index()
"""The index of a list that nothing leaves: every number.  A page of it is a slice of the rows."""


class Sparse(Index):
    """A sorted set of numbers, in blocks.

    ``add`` and ``remove`` are O(log b), b blocks being held; a read is O(log b + n).
    """

    __slots__ = ("_blocks", "_lowest", "_order", "shift")

    def __init__(self, numbers: Sequence[int] = (), *, shift: int = _SHIFT) -> None:
        self.shift = shift
        self._blocks: dict[int, list[int]] = {}
        self._order: SortedList[int] = SortedList()
        self._lowest: list[int] = _NO_BLOCK
        """The first block: who looks for the least number needs no search."""
        self.update(numbers)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._blocks[block] for block in self._order)

    def __len__(self) -> int:
        return sum(map(len, self._blocks.values()))

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def add(self, number: int) -> None:
        """Put in a number that is not there."""
        block = self._blocks.get(number >> self.shift)
        if block is None:
            self._blocks[number >> self.shift] = [number]
            self._order.add(number >> self.shift)
            self._find_lowest()
        else:
            insort(block, number)

    def update(self, numbers: Sequence[int]) -> None:
        """Put in rising numbers of which none is there.  O(n), and the sorting of the blocks they go between."""
        done = 0
        while done < len(numbers):
            key = numbers[done] >> self.shift
            stop = bisect_left(numbers, (key + 1) << self.shift, done)
            block = self._blocks.get(key)
            if block is None:
                self._blocks[key] = list(numbers[done:stop])
                self._order.add(key)
            else:
                between = block[-1] > numbers[done]
                block += numbers[done:stop]
                if between:
                    block.sort()
            done = stop
        self._find_lowest()

    def remove(self, number: int) -> None:
        """Take out a number that is there."""
        block = self._blocks[number >> self.shift]
        if len(block) > 1:
            del block[bisect_left(block, number)]
        else:
            del self._blocks[number >> self.shift]
            self._order.remove(number >> self.shift)
            self._find_lowest()

    def discard(self, numbers: Sequence[int]) -> None:
        """Take out rising numbers, all of which are there.  O(n) for a run; else O(n), each in its block."""
        done = 0
        while done < len(numbers):
            key = numbers[done] >> self.shift
            stop = bisect_left(numbers, (key + 1) << self.shift, done)
            block = self._blocks[key]
            if stop - done == len(block):
                del self._blocks[key]
                self._order.remove(key)
            else:
                start = bisect_left(block, numbers[done])
                if block[start : start + stop - done] == numbers[done:stop]:
                    del block[start : start + stop - done]
                else:
                    out = set(numbers[done:stop])
                    block[:] = [number for number in block if number not in out]
            done = stop
        self._find_lowest()

    def cut(self, low: int, high: int) -> list[int]:
        """Take out, and answer, all of ``low <= number < high``, in rising order.  O(log b + n)."""
        taken: list[int] = []
        for key in list(self._order.irange(low >> self.shift, (high - 1) >> self.shift)):
            block = self._blocks[key]
            start, stop = bisect_left(block, low), bisect_left(block, high)
            taken += block[start:stop]
            if stop - start < len(block):
                del block[start:stop]
            else:
                del self._blocks[key]
                self._order.remove(key)
        self._find_lowest()
        return taken

    def _find_lowest(self) -> None:
        self._lowest = self._blocks[self._order[0]] if self._blocks else _NO_BLOCK

    def first(self) -> int | None:
        """The least number, or ``None``.  O(1)."""
        return self._lowest[0] if self._lowest else None

    def ascending(self, low: int, high: int, n: int) -> list[int]:
        """See ``Index``."""
        key = low >> self.shift
        block = self._blocks.get(key, _NO_BLOCK)
        start = bisect_left(block, low)
        found = block[start : start + n]
        if len(found) < n:
            for following in self._order.irange(key, (high - 1) >> self.shift, (False, True)):
                found += self._blocks[following][: n - len(found)]
                if len(found) == n:
                    break
        if found and found[-1] >= high:
            del found[bisect_left(found, high) :]
        return found

    def descending(self, low: int, high: int, n: int) -> list[int]:
        """See ``Index``."""
        key = high >> self.shift
        block = self._blocks.get(key, _NO_BLOCK)
        stop = bisect_left(block, high)
        found = block[max(0, stop - n) : stop]
        if len(found) < n:
            for preceding in self._order.irange(low >> self.shift, key, (True, False), reverse=True):
                found[:0] = self._blocks[preceding][len(found) - n :]
                if len(found) == n:
                    break
        if found and found[0] < low:
            del found[: bisect_left(found, low)]
        found.reverse()
        return found

    def check(self, what: str, recomputed: Sparse) -> None:
        """Raise ``Inconsistent`` unless this holds the same numbers, in the same blocks."""
        for kept, right in (
            (list(self._order), list(recomputed._order)),
            (self._blocks, recomputed._blocks),
            (self._lowest, recomputed._lowest),
        ):
            if kept != right:
                raise Inconsistent(f"the index of {what}", kept, right)


class Gaps(Index):
    """All numbers but those of some disjoint intervals that do not touch each other.

    ``add`` is O(log g), g intervals being held; a read is O(log g + n).
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._ends: SortedDict[int, int] = SortedDict()
        """For each interval, by its first number, the number after its last."""
        self._starts: dict[int, int] = {}
        """The same the other way: so that neighbours are found without a search."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ends.items())

    def __bool__(self) -> bool:
        return bool(self._ends)

    def __contains__(self, number: int) -> bool:
        start = next(self._ends.irange(None, number, reverse=True), None)
        return start is not None and number < self._ends[start]

    def add(self, start: int, end: int) -> None:
        """Leave out ``start <= number < end`` too, of which none is left out yet."""
        if start in self._starts:
            start = self._starts.pop(start)
        if end in self._ends:
            end = self._ends.pop(end)
        self._ends[start] = end
        self._starts[end] = start

    def index(self) -> Index:
        """The index of a list that these have left: as long as nothing has, a page of it is a slice."""
        return self if self._ends else EVERYTHING

    def ascending(self, low: int, high: int, n: int) -> Sequence[int]:
        """See ``Index``."""
        start = next(self._ends.irange(None, low, reverse=True), None)
        if start is not None:
            low = max(low, self._ends[start])
        found: list[int] = []
        for start in self._ends.irange(low, high):
            found += range(low, min(start, low + n - len(found)))
            if len(found) >= n:
                return found
            low = self._ends[start]
        found += range(low, min(high, low + n - len(found)))
        return found

    def descending(self, low: int, high: int, n: int) -> Sequence[int]:
        """See ``Index``."""
        found: list[int] = []
        for start in self._ends.irange(None, high, (True, False), reverse=True):
            end = self._ends[start]
            found += range(high - 1, max(low, end, high - n + len(found)) - 1, -1)
            high = start
            if len(found) >= n or high <= low:
                return found
        found += range(high - 1, max(low, high - n + len(found)) - 1, -1)
        return found

    def check(self, what: str, stop: int) -> None:
        """Raise ``Inconsistent`` unless the intervals are apart, below ``stop``, and known by both ends."""
        if {start: end for end, start in self._starts.items()} != dict(self._ends):
            raise Inconsistent(f"the ends of {what}", self._starts, dict(self._ends))
        last = -1
        for start, end in self._ends.items():
            if not last < start < end <= stop:
                raise Inconsistent(f"an interval of {what}", (start, end), f"between {last} and {stop}")
            last = end


class Merged(Index):
    """The union of two sparse indexes that share no number.  A read is O(log b + n)."""

    __slots__ = ("_one", "_other")

    def __init__(self, one: Sparse, other: Sparse) -> None:
        self._one, self._other = one, other

    def ascending(self, low: int, high: int, n: int) -> list[int]:
        """See ``Index``."""
        found = self._one.ascending(low, high, n)
        if self._other:
            found = sorted(found + self._other.ascending(low, high, n))[:n]
        return found

    def descending(self, low: int, high: int, n: int) -> list[int]:
        """See ``Index``."""
        found = self._one.descending(low, high, n)
        if self._other:
            found = sorted(found + self._other.descending(low, high, n), reverse=True)[:n]
        return found


class Tally:
    """How many files stand in each status, kept as they move.  Every operation is O(1)."""

    __slots__ = ("_counts", "_value")

    def __init__(self) -> None:
        self._counts: dict[FileStatus, int] = dict.fromkeys(FILE_STATUSES, 0)
        self._value: FileCounts | None = None

    def __getitem__(self, status: FileStatus) -> int:
        return self._counts[status]

    def add(self, status: FileStatus, n: int = 1) -> None:
        """Count ``n`` more files in this status; fewer if ``n`` is negative."""
        self._counts[status] += n
        self._value = None

    def move(self, old: FileStatus, new: FileStatus, n: int = 1) -> None:
        """Count ``n`` files that went from one status to another."""
        self._counts[old] -= n
        self._counts[new] += n
        self._value = None

    def value(self) -> FileCounts:
        """The counts as a frozen value; the same object until they change."""
        if self._value is None:
            self._value = FileCounts(**self._counts)
        return self._value

    def check(self, what: str, recomputed: FileCounts) -> None:
        """Raise ``Inconsistent`` unless these are the counts."""
        for kept in (FileCounts(**self._counts), self.value()):
            if kept != recomputed:
                raise Inconsistent(what, kept, recomputed)


class Ranking:
    """Things ordered by a key that changes now and then.  ``put`` is O(log n), and O(1) if the key stays."""

    __slots__ = ("_keys", "_order")

    def __init__(self) -> None:
        self._order: SortedList[tuple[int, int]] = SortedList()
        self._keys: dict[int, int] = {}

    def put(self, name: int, key: int | None) -> None:
        """Give ``name`` this key; ``None`` takes it out."""
        old = self._keys.get(name)
        if old == key:
            return
        if old is not None:
            self._order.remove((old, name))
            del self._keys[name]
        if key is not None:
            self._order.add((key, name))
            self._keys[name] = key

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The pairs (key, name), the least first."""
        return iter(self._order)

    def check(self, what: str, recomputed: dict[int, int]) -> None:
        """Raise ``Inconsistent`` unless these are the keys."""
        if self._keys != recomputed or list(self._order) != sorted((k, n) for n, k in recomputed.items()):
            raise Inconsistent(what, list(self._order), recomputed)
