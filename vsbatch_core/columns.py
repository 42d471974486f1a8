"""Sorted indexes: columns of bytes, in blocks, that find the numbers which hold a byte.

Theory
======

Everything that a list holds has a *number*: 0, 1, 2, … in the order in which it came.  A number never changes
and is never used again, so it is the key of every index, and what came together is an interval.

A ``ByteColumn`` holds one byte for each number, in blocks of 4,096.  For each byte value a sorted list says
which blocks hold it; inside a block ``bytearray.find`` is faster than any tree.  A page therefore costs O(log
b + n) for b blocks and n numbers returned, whatever has been removed in between, and one block is at most 4
KiB to search.

Every method that changes a column only assigns: called again with the same arguments, after an exception has
interrupted it anywhere, it completes what it began.  That is why the lists of blocks are plain lists, which
``insert`` and ``del`` change in one step of C: a list is at most 8 bytes for every 4,096 numbers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import compress, islice
from operator import lt

from vsbatch_core.errors import Inconsistent

SHIFT = 12
SIZE = 1 << SHIFT
"""The numbers in a block."""
MASK = SIZE - 1

IS = [bytes(byte == value for value in range(256)) for byte in range(8)]
"""By byte, the table that translates it to 1 and every other byte to 0."""
_NOT_ZERO = bytes(value != 0 for value in range(256))


def spans(first: int, stop: int) -> list[tuple[int, int, int]]:
    """Return the blocks of an interval, each as its key and the first and last offset, the last exclusive."""
    return [
        (key, max(first - (key << SHIFT), 0), min(stop - (key << SHIFT), SIZE))
        for key in range(first >> SHIFT, (stop + MASK) >> SHIFT)
    ]


def parts(rising: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the blocks of rising numbers, each as its key and the first and last place, the last exclusive."""
    found: list[tuple[int, int, int]] = []
    start = 0
    while start < len(rising):
        key = rising[start] >> SHIFT
        stop = bisect_left(rising, key + 1 << SHIFT, start)
        found.append((key, start, stop))
        start = stop
    return found


def rising(numbers: Sequence[int]) -> bool:
    """Return whether each number is greater than the one before.  O(numbers), in C."""
    return all(map(lt, numbers, islice(numbers, 1, None)))


class ByteColumn:
    """A byte for each number, 0 where nothing was written, with an index of the blocks by the bytes they hold."""

    __slots__ = ("blocks", "holding")

    def __init__(self) -> None:
        self.blocks: dict[int, bytearray] = {}
        """The blocks, each as long as what was written in it."""
        self.holding: dict[int, list[int]] = {}
        """By byte, the keys of the blocks that hold it, in rising order."""

    def __getitem__(self, number: int) -> int:
        block = self.blocks.get(number >> SHIFT)
        offset = number & MASK
        return block[offset] if block is not None and offset < len(block) else 0

    # Changing: every method can be called again with the same arguments

    def fill(self, first: int, stop: int, byte: int) -> None:
        """Write a byte other than 0 for an interval that begins where the column ends."""
        for key, start, end in spans(first, stop):
            block = self.blocks.get(key)
            if block is None:
                block = self.blocks.setdefault(key, bytearray(start))
            if byte not in block:
                self.enter(key, byte)
            block[start:end] = bytes((byte,)) * (end - start)

    def write(self, number: int, old: int, new: int) -> None:
        """Replace ``old``, which is there, by another byte.  O(log b)."""
        key = number >> SHIFT
        block = self.blocks.get(key)
        if block is None:
            return  # dropped by the call that was interrupted
        if new and new not in block:
            self.enter(key, new)
        block[number & MASK] = new
        if old not in block:
            self.leave(key, old)

    def erase(self, number: int) -> None:
        """Write 0.  O(log b)."""
        key = number >> SHIFT
        block = self.blocks.get(key)
        if block is not None:
            block[number & MASK] = 0
            for byte in self.holding:
                if byte not in block:
                    self.leave(key, byte)

    def replace(self, first: int, stop: int, old: int, new: int) -> None:
        """Replace ``old`` by ``new`` wherever it is in the interval.  O(stop - first), in C."""
        table = bytearray(range(256))
        table[old] = new
        for key, start, end in spans(first, stop):
            block = self.blocks.get(key)
            if block is not None and block.find(old, start, end) >= 0:
                self.enter(key, new)
                block[start:end] = block[start:end].translate(table)
                if old not in block:
                    self.leave(key, old)
            elif block is not None and old not in block:
                self.leave(key, old)

    def enter(self, key: int, byte: int) -> None:
        """Note that a block is about to hold a byte."""
        keys = self.holding.setdefault(byte, [])
        place = bisect_left(keys, key)
        if place == len(keys) or keys[place] != key:
            keys.insert(place, key)

    def leave(self, key: int, byte: int) -> None:
        """Note that a block no longer holds a byte."""
        keys = self.holding.get(byte, [])
        place = bisect_left(keys, key)
        if place < len(keys) and keys[place] == key:
            del keys[place]

    def drop(self, key: int) -> None:
        """Give the memory of a block back that holds nothing but 0."""
        self.blocks.pop(key, None)

    # Reading

    def empty(self, key: int) -> bool:
        """Return whether a block holds nothing but 0."""
        block = self.blocks.get(key, b"")
        return not any(byte in block for byte in self.holding)

    def all_hold(self, numbers: Sequence[int], byte: int) -> bool:
        """Return whether each of these distinct numbers, which were written, holds the byte.

        O(numbers · log numbers), and in C for those that are a run in a block.
        """
        ordered = sorted(numbers)
        for key, start, stop in parts(ordered):
            block, n = self.blocks[key], stop - start
            low, last = ordered[start] & MASK, ordered[stop - 1] & MASK
            if last - low + 1 == n:
                held = block.count(byte, low, last + 1)
            else:
                held = bytes([block[number & MASK] for number in ordered[start:stop]]).count(byte)
            if held < n:
                return False
        return True

    def first(self, byte: int) -> int:
        """Return the smallest number that holds the byte, or -1.  O(1)."""
        keys = self.holding.get(byte)
        return (keys[0] << SHIFT) + self.blocks[keys[0]].find(byte) if keys else -1

    def ascending(self, byte: int, low: int, high: int, n: int) -> Sequence[int]:
        """Return the first ``n`` numbers in ``low <= number < high`` that hold the byte, in rising order.

        Byte 0 means any byte but 0.  O(log b + n).
        """
        if high <= low:
            return ()
        key = low >> SHIFT
        found = self._rising(key, byte, low, high, n)
        while len(found) < n:
            following = self._following(byte, key)
            if following is None or following << SHIFT >= high:
                break
            key = following
            found = [*found, *self._rising(key, byte, key << SHIFT, high, n - len(found))]
        return found

    def descending(self, byte: int, low: int, high: int, n: int) -> Sequence[int]:
        """Return the last ``n`` numbers in ``low <= number < high`` that hold the byte, in falling order.

        Byte 0 means any byte but 0.  O(log b + n).
        """
        key = (high - 1) >> SHIFT
        found = self._falling(key, byte, low, high, n)
        while len(found) < n:
            preceding = self._preceding(byte, key)
            if preceding is None or preceding + 1 << SHIFT <= low:
                break
            key = preceding
            found = [*found, *self._falling(key, byte, low, key + 1 << SHIFT, n - len(found))]
        return found

    def _following(self, byte: int, key: int) -> int | None:
        """Return the key of the next block that holds the byte."""
        best = None
        for keys in (self.holding.get(byte, []),) if byte else self.holding.values():
            place = bisect_right(keys, key)
            if place < len(keys) and (best is None or keys[place] < best):
                best = keys[place]
        return best

    def _preceding(self, byte: int, key: int) -> int | None:
        """Return the key of the last block before this one that holds the byte."""
        best = None
        for keys in (self.holding.get(byte, []),) if byte else self.holding.values():
            place = bisect_left(keys, key)
            if place and (best is None or keys[place - 1] > best):
                best = keys[place - 1]
        return best

    def _rising(self, key: int, byte: int, low: int, high: int, n: int) -> Sequence[int]:
        """Return the first numbers of one block, as ``ascending`` does."""
        block = self.blocks.get(key)
        if block is None:
            return ()
        base = key << SHIFT
        start, stop = low - base, min(high - base, len(block))
        if not byte:
            window = block[start : min(start + n, stop)]
            if 0 not in window and (len(window) == n or start + len(window) >= stop):
                return range(low, low + len(window))
            # Flags for as much as n numbers are likely to need; for all of the block if they need more.
            flags = block[start : min(start + 4 * n, stop)].translate(_NOT_ZERO)
            if flags.count(1) < n:
                flags = block[start:stop].translate(_NOT_ZERO)
            return _first(flags, 1, low, 0, len(flags), n)
        return _first(block, byte, base, start, stop, n)

    def _falling(self, key: int, byte: int, low: int, high: int, n: int) -> Sequence[int]:
        """Return the last numbers of one block, as ``descending`` does."""
        block = self.blocks.get(key)
        if block is None:
            return ()
        base = key << SHIFT
        start, stop = max(low - base, 0), min(high - base, len(block))
        if not byte:
            window = block[max(stop - n, start) : stop]
            if 0 not in window and (len(window) == n or stop - len(window) <= start):
                return range(base + stop - 1, base + stop - 1 - len(window), -1)
            begin = max(stop - 4 * n, start)
            flags = block[begin:stop].translate(_NOT_ZERO)
            if flags.count(1) < n:
                begin = start
                flags = block[begin:stop].translate(_NOT_ZERO)
            return _last(flags, 1, base + begin, 0, len(flags), n)
        return _last(block, byte, base, start, stop, n)

    # Proving

    def indexed(self) -> dict[int, list[int]]:
        """Return what ``holding`` is, worked out from the blocks.  O(n)."""
        holding: dict[int, list[int]] = {}
        for key in sorted(self.blocks):
            for byte in sorted(set(self.blocks[key]) - {0}):
                holding.setdefault(byte, []).append(key)
        return holding

    def check(self, what: str) -> None:
        """Raise ``Inconsistent`` if the index of the blocks differs from what they hold.  O(n)."""
        holding = self.indexed()
        kept = {byte: keys for byte, keys in self.holding.items() if keys}
        if kept != holding:
            raise Inconsistent(f"the index of {what}", kept, holding)


def _first(block: bytearray, byte: int, base: int, start: int, stop: int, n: int) -> Sequence[int]:
    """Return ``base`` plus the first ``n`` offsets in ``start <= offset < stop`` that hold the byte, rising."""
    found: Sequence[int] = ()
    run: Iterable[int]
    while (missing := n - len(found)) > 0:
        start = block.find(byte, start, stop)
        if start < 0:
            break
        end = min(start + missing, stop)
        window = block[start:end]
        held = window.count(byte)
        if held == len(window):
            run = range(base + start, base + end)
            if not found:
                found = run
                start = end
                continue
        elif held * 8 < missing:  # few and far between: each by a search of its own
            run = range(base + start, base + start + 1)
            end = start + 1
        else:
            end = min(start + 2 * missing, stop)
            run = compress(range(base + start, base + end), block[start:end].translate(IS[byte]))
        found = [*found, *run]
        start = end
    return found if len(found) <= n else found[:n]


def _last(block: bytearray, byte: int, base: int, start: int, stop: int, n: int) -> Sequence[int]:
    """Return ``base`` plus the last ``n`` offsets in ``start <= offset < stop`` that hold the byte, falling."""
    found: Sequence[int] = ()
    run: Iterable[int]
    while (missing := n - len(found)) > 0:
        last = block.rfind(byte, start, stop)
        if last < 0:
            break
        stop = last + 1
        begin = max(stop - missing, start)
        window = block[begin:stop]
        held = window.count(byte)
        if held == len(window):
            run = range(base + last, base + begin - 1, -1)
            if not found:
                found = run
                stop = begin
                continue
        elif held * 8 < missing:
            run = range(base + last, base + last - 1, -1)
            begin = last
        else:
            begin = max(stop - 2 * missing, start)
            window = block[begin:stop].translate(IS[byte])
            window.reverse()
            run = compress(range(base + last, base + begin - 1, -1), window)
        found = [*found, *run]
        stop = begin
    return found if len(found) <= n else found[:n]
