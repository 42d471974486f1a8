"""The attachments of one vector store, in columns: what was ever attached, by number, until it is forgotten.

Memory is what a store costs, so an attachment is no object: its fields stand in columns, in blocks of 4,096,
and a ``VectorStoreFile`` is made when somebody reads it, and kept until the attachment changes.  Columns that
most stores need not have (chunking strategies, attributes, errors) are made when the first value other than
the default comes.

Every method that changes something only assigns, as those of ``columns`` do: called again with the same
arguments, it completes what an exception interrupted.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import compress, islice
from typing import Any, TypeVar

from vsbatch_core import paging, transitions
from vsbatch_core.columns import IS, MASK, SHIFT, ByteColumn, rising, spans
from vsbatch_core.errors import Inconsistent
from vsbatch_core.model import (
    AUTO,
    FILE_STATUSES,
    NO_ATTRIBUTES,
    Attributes,
    FileStatus,
    LastError,
    Order,
    StaticFileChunkingStrategyObject,
    Ties,
    VectorStoreFile,
    new_file,
)

CODES: dict[FileStatus, int] = {status: code for code, status in enumerate(FILE_STATUSES, 1)}
"""The byte for each status; 0 stands for an attachment that is forgotten, or has left."""
STATUSES: tuple[FileStatus, ...] = ("in_progress", *FILE_STATUSES)
"""The status for each byte but 0."""
IN_PROGRESS = CODES["in_progress"]
ENDED: dict[transitions.Trigger, int] = {
    trigger: CODES[status] for trigger, status in transitions.ATTACHMENT["in_progress"].items()
}
"""The byte of the status that each trigger brings an attachment in progress to."""
DETACHED = ENDED["detach"]


KEPT_ORDERS = 16
"""Of how many intervals of equal times the order by id is kept."""

T = TypeVar("T")

_RUN = re.compile(rb"[^\0]+")


class _Block:
    """The fields of up to 4,096 attachments, but their statuses."""

    __slots__ = ("attributes", "chunking", "created_at", "errors", "ids", "usage", "values")

    def __init__(self, offset: int, created_at: float) -> None:
        """Make a block of which the first ``offset`` numbers are forgotten, and the next one has this time."""
        self.ids: list[str] = [""] * offset
        self.created_at = array("d", (created_at,)) * offset
        """When each was made; it never falls, and forgotten numbers have a time that their neighbours allow."""
        self.usage = array("q", bytes(8 * offset))
        self.values: list[VectorStoreFile | None] | None = None
        """The values that were made, where they are still right."""
        self.chunking: list[StaticFileChunkingStrategyObject] | None = None
        self.attributes: list[Attributes] | None = None
        self.errors: dict[int, LastError] | None = None


class Columns:
    """The fields of the attachments that are not forgotten, in order; with their numbers where few have them."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.created_at: list[float] = []
        self.usage: list[int] = []
        self.status = bytearray()
        self.errors: list[tuple[int, LastError]] = []
        self.chunking: list[tuple[int, StaticFileChunkingStrategyObject]] = []
        self.attributes: list[tuple[int, Attributes]] = []


class Rows:
    """All attachments of a store.  ``row`` means the number of one."""

    __slots__ = ("_blocks", "_orders", "next", "present", "status", "vector_store_id")

    def __init__(self, vector_store_id: str) -> None:
        self.vector_store_id = vector_store_id
        self.next = 0
        """The number of the next attachment."""
        self.status = ByteColumn()
        """The status of every attachment, as its batch lists it; 0 if it is forgotten."""
        self.present = ByteColumn()
        """The status of those whose file is attached now; 0 for the others."""
        self._blocks: dict[int, _Block] = {}
        """The blocks, in the order of their keys."""
        self._orders: dict[tuple[int, bool], tuple[int, list[tuple[str, int]]]] = {}
        """What ``_by_id`` has sorted: by the first number of an interval, and whether it is one of ``present``,
        where the interval ended, and its ids and numbers."""

    # Reading

    def id(self, row: int) -> str:
        """Return the id of the file."""
        return self._blocks[row >> SHIFT].ids[row & MASK]

    def usage_bytes(self, row: int) -> int:
        """Return what the file takes up."""
        return self._blocks[row >> SHIFT].usage[row & MASK]

    def file_ids(self, rows: Sequence[int]) -> list[str]:
        """Return the ids of the files.  O(rows), and O(1) each in C if they are a rising run."""
        blocks = self._blocks
        if rows and rows[-1] - rows[0] + 1 == len(rows) and rising(rows):
            found: list[str] = []
            for key, start, end in spans(rows[0], rows[-1] + 1):
                found += blocks[key].ids[start:end]
            return found
        return [blocks[row >> SHIFT].ids[row & MASK] for row in rows]

    def attributes(self, rows: Sequence[int]) -> list[Attributes]:
        """Return the attributes of the files.  O(rows)."""
        blocks = self._blocks
        return [
            NO_ATTRIBUTES if (attributes := blocks[row >> SHIFT].attributes) is None else attributes[row & MASK]
            for row in rows
        ]

    def created_at(self, row: int) -> int:
        """Return when the file was attached."""
        return int(self._blocks[row >> SHIFT].created_at[row & MASK])

    def value(self, row: int) -> VectorStoreFile:
        """Return the attachment as it stands; the same object until it changes, if its file is here.  O(1)."""
        return self.values((row,))[0]

    def _make(self, block: _Block, row: int) -> VectorStoreFile:
        offset = row & MASK
        return new_file(
            block.ids[offset],
            int(block.created_at[offset]),
            self.vector_store_id,
            STATUSES[self.status.blocks[row >> SHIFT][offset]],
            block.usage[offset],
            None if block.errors is None else block.errors.get(offset),
            AUTO if block.chunking is None else block.chunking[offset],
            NO_ATTRIBUTES if block.attributes is None else block.attributes[offset],
            row,
        )

    def read(self, row: int) -> VectorStoreFile:
        """Return the attachment as it stands, as ``value`` does, and do not keep the value.  O(1)."""
        block = self._blocks[row >> SHIFT]
        return (block.values and block.values[row & MASK]) or self._make(block, row)

    def values(self, rows: Sequence[int]) -> list[VectorStoreFile]:
        """Return attachments as they stand, in this order; keep the values of files that are here.  O(rows)."""
        found = []
        for row in rows:
            block, offset = self._blocks[row >> SHIFT], row & MASK
            if block.values is None:
                block.values = [None] * len(block.ids)
            value = block.values[offset]
            if value is None:
                value = self._make(block, row)
                if self.present.blocks[row >> SHIFT][offset]:
                    block.values[offset] = value
            found.append(value)
        return found

    def page(
        self,
        column: ByteColumn,
        byte: int,
        low: int,
        high: int,
        order: Order,
        limit: int,
        after: int | None,
        before: int | None,
    ) -> tuple[tuple[VectorStoreFile, ...], bool]:
        """Return one page of the attachments for which ``column`` holds ``byte``, and ``has_more``.

        The column is ``status`` or ``present``; else as ``paging.page``.
        """
        if after is None and before is None:
            falling, backward = order == "desc", False
        else:
            low, high, falling, backward = paging.bounds(low, high, order, after, before)
        # Most pages lie in one block, whose values have been made: these are read without their numbers.
        key = (high - 1 if falling else low) >> SHIFT
        block = self._blocks.get(key)
        if block is not None and (values := block.values) is not None and low < high:
            base, size = key << SHIFT, limit + 1
            codes = column.blocks[key]
            found: list[VectorStoreFile | None] | None = None
            more = True
            start = high - base - size if falling else low - base
            stop = start + size
            if (
                start >= 0
                and high - low > limit
                and stop <= len(values)
                # Values are kept of files that are here alone: if all have been made, all are here.
                and (codes.count(byte, start, stop) == size if byte else codes[start if falling else stop - 1])
                and all(kept := values[start + 1 : stop] if falling else values[start : stop - 1])
            ):
                found = kept
            else:
                found, more = self._sparse(values, codes, byte, low - base, high - base, limit, falling)
            if found is not None:
                if falling is not backward:
                    found.reverse()
                return tuple(found), more  # type: ignore[arg-type]  # none of them is None
        numbers, more = paging.page(column, byte, low, high, limit, falling, backward)
        return tuple(self.values(numbers)), more

    def page_by(
        self,
        ties: Ties,
        column: ByteColumn,
        byte: int,
        low: int,
        high: int,
        order: Order,
        limit: int,
        after: int | None,
        before: int | None,
    ) -> tuple[tuple[VectorStoreFile, ...], bool]:
        """Return one page in the order that ``ties`` says of equal times; else as ``page``.

        Times never fall with the number, so equal times are an interval of numbers.  By number within it:
        O(log n + limit) for each of the intervals that the page touches, and O(b) in C for one that reaches
        over the edge of a block.  By id: the same, plus one step for each file in the interval that the page
        passes over because it holds another byte; and the first page after g files have come into an interval
        costs O(g log g), as its ids are sorted when they are read.
        """
        if ties == "request_order" or (ties == "same_both_ways" and order == "asc"):
            return self.page(column, byte, low, high, order, limit, after, before)
        within: Order = order if ties == "by_id" else "asc"
        backward = before is not None and after is None
        falling, falling_within = (order == "desc") is not backward, (within == "desc") is not backward
        first, stop = low, high  # what the page has not reached yet
        found: list[int] = []

        def read(row: int) -> None:
            """Read what the page takes from the interval of equal times around a number."""
            nonlocal first, stop
            start, end = self._same_time(row)
            start, end = max(start, low), min(end, high)
            left = after if after is not None and start <= after < end else None
            right = before if before is not None and start <= before < end else None
            size = limit + 1 - len(found)
            if ties == "by_id":
                ids = self._by_id(start, end, column is self.present)
                above = None if left is None else bisect_left(ids, (self.id(left), left))
                below = None if right is None else bisect_left(ids, (self.id(right), right))
                begin, until, *_ = paging.bounds(0, len(ids), within, above, below)
                places = range(until - 1, begin - 1, -1) if falling_within else range(begin, until)
                rows = (ids[place][1] for place in places)
                found.extend(islice((row for row in rows if self._holds(column, row, byte)), size))
            else:
                begin, until, *_ = paging.bounds(start, end, within, left, right)
                found.extend(
                    (column.descending if falling_within else column.ascending)(byte, begin, until, size)
                )
            if falling:
                stop = start
            else:
                first = end

        begins = before if backward else after
        if begins is not None and before is not None and not backward:  # the page ends at a cursor
            start, end = self._same_time(before)
            first, stop = (max(first, start), stop) if falling else (first, min(stop, end))
        if begins is not None:
            if first <= begins < stop:
                read(begins)
            else:
                first = stop  # the cursor where it begins lies behind the one where it ends
        while len(found) <= limit:
            following = (column.descending if falling else column.ascending)(byte, first, stop, 1)
            if not following:
                break
            read(following[0])
        more = len(found) > limit
        found = found[:limit]
        return tuple(self.values(found[::-1] if backward else found)), more

    @staticmethod
    def _holds(column: ByteColumn, row: int, byte: int) -> bool:
        return column[row] == byte if byte else column[row] != 0

    def _same_time(self, row: int) -> tuple[int, int]:
        """Return the interval of numbers around a number that have its time.

        O(log n), and O(b) in C if it reaches over the edge of the block.
        """
        key = row >> SHIFT
        times = self._blocks[key].created_at
        time = times[row & MASK]
        first, stop = bisect_left(times, time), bisect_right(times, time)
        first_key = last_key = key
        if not first or stop == len(times):
            keys = list(self._blocks)
            place = bisect_left(keys, key)
            i = bisect_left(keys, time, 0, place, key=lambda each: self._blocks[each].created_at[-1])
            j = bisect_right(keys, time, place + 1, key=lambda each: self._blocks[each].created_at[0]) - 1
            if i < place:
                first_key, first = keys[i], bisect_left(self._blocks[keys[i]].created_at, time)
            if j > place:
                last_key, stop = keys[j], bisect_right(self._blocks[keys[j]].created_at, time)
        return (first_key << SHIFT) + first, (last_key << SHIFT) + stop

    def _by_id(self, first: int, stop: int, present: bool) -> list[tuple[str, int]]:
        """Return the ids and numbers in an interval of equal times, sorted.

        ``present`` says whether it is an interval of that column: a batch and the files of its second may begin
        with the same number.  What was sorted for the intervals that were read last is kept, and what has come
        since is sorted into a copy: O(g log g) for the g that are new, and O(interval) in C.  A file that was
        forgotten meanwhile stays in what is kept, about 100 bytes each, and holds no byte that a page asks for.
        """
        known, pairs = self._orders.pop((first, present), (first, []))
        if known != stop:
            new = [
                pair
                for key, start, end in spans(known, stop)
                if key in self._blocks
                for pair in zip(self._blocks[key].ids[start:end], range((key << SHIFT) + start, stop))  # noqa: B905 - the ids are as many or fewer
                if pair[0]
            ]
            pairs = sorted(pairs + new)
        self._orders[first, present] = stop, pairs
        if len(self._orders) > KEPT_ORDERS:
            del self._orders[next(iter(self._orders))]
        return pairs

    def _sparse(
        self,
        values: list[VectorStoreFile | None],
        codes: bytearray,
        byte: int,
        low: int,
        high: int,
        limit: int,
        falling: bool,
    ) -> tuple[list[VectorStoreFile | None] | None, bool]:
        """Return the values of a page whose files do not stand side by side, and whether there are more.

        ``None`` stands for values that were not made, or lie too far apart or in several blocks.
        """
        reach = 2 * limit + 4
        for _ in range(2):
            if falling:
                start, stop = max(low, high - reach, 0), min(high, len(values))
                last = start == low
            else:
                start, stop = max(low, 0), min(low + reach, high, len(values))
                last = stop == high
            window = codes[start:stop]
            found = list(compress(values[start:stop], window.translate(IS[byte]) if byte else window))
            more = len(found) > limit
            if more:
                found = found[-limit:] if falling else found[:limit]
            if more or last:
                return (found, more) if all(found) else (None, False)
            reach = reach * (limit + 9) // (len(found) + 1)  # as many as they seem to need
        return None, False

    def each_in_progress(self, first: int) -> Iterator[int]:
        """Return the attachments in progress from this number on, in order.  O(log b) for some dozens."""
        n = 32
        while found := self.present.ascending(IN_PROGRESS, first, self.next, n):
            yield from found
            first, n = found[-1] + 1, min(2 * n, 4096)

    def ids(self) -> Iterator[tuple[int, str, bool]]:
        """Return each attachment that is not forgotten: its number, its file, and whether that is here.  O(n)."""
        for key in sorted(self._blocks):
            base = key << SHIFT
            parts = zip(self._blocks[key].ids, self.status.blocks[key], self.present.blocks[key], strict=True)
            for row, (id, status, present) in enumerate(parts, base):
                if status:
                    yield row, id, present != 0

    def times(self) -> Iterator[int]:
        """Return when each attachment that is not forgotten was made, in order."""
        return (int(block.created_at[offset]) for _, block, offset in self._each_kept())

    def _each_kept(self) -> Iterator[tuple[int, _Block, int]]:
        for key in sorted(self._blocks):
            for offset, status in enumerate(self.status.blocks[key]):
                if status:
                    yield (key << SHIFT) + offset, self._blocks[key], offset

    def counts(self) -> tuple[list[int], int]:
        """Return how many files are attached now, by status, and what they take up together.  O(n)."""
        counts = [sum(block.count(code) for block in self.present.blocks.values()) for code in CODES.values()]
        usage_bytes = 0
        for key, block in self._blocks.items():
            present = self.present.blocks[key]
            usage_bytes += sum(block.usage if 0 not in present else compress(block.usage, present))
        return counts, usage_bytes

    def counts_between(self, first: int, stop: int) -> list[int]:
        """Return how many attachments of an interval stand in each status.  O(stop - first), in C."""
        parts = [self.status.blocks[key][start:end] for key, start, end in spans(first, stop)]
        return [sum(part.count(code) for part in parts) for code in CODES.values()]

    # Saving and restoring

    def kept(self) -> list[tuple[int, int]]:
        """Return the intervals of the attachments that are not forgotten.  O(n), in C."""
        return _intervals({key: bytes(block) for key, block in self.status.blocks.items()})

    def left(self) -> list[tuple[int, int]]:
        """Return the intervals of those among them whose files have left.  O(n), in C."""
        found = {}
        for key, block in self.status.blocks.items():
            # The two columns hold the same byte where the file is here, and 0 otherwise.
            both = int.from_bytes(block) ^ int.from_bytes(self.present.blocks[key])
            found[key] = both.to_bytes(len(block))
        return _intervals(found)

    def columns(self) -> Columns:
        """Return the fields of the attachments that are not forgotten.  O(n)."""
        columns = Columns()
        for key in sorted(self._blocks):
            block, status = self._blocks[key], self.status.blocks[key]
            base = key << SHIFT
            whole = 0 not in status
            columns.ids += block.ids if whole else compress(block.ids, status)
            columns.created_at += block.created_at if whole else compress(block.created_at, status)
            columns.usage += block.usage if whole else compress(block.usage, status)
            columns.status += status if whole else bytes(compress(status, status))
            if block.errors is not None:
                columns.errors += [(base + offset, error) for offset, error in sorted(block.errors.items())]
            columns.chunking += _exceptions(base, block.chunking, AUTO)
            columns.attributes += _exceptions(base, block.attributes, NO_ATTRIBUTES)
        return columns

    def restore(
        self,
        next: int,
        kept: Sequence[tuple[int, int]],
        *,
        ids: list[str],
        created_at: list[int],
        status: bytes,
        left: bytearray,
        usage: list[int],
        errors: Sequence[tuple[int, LastError]],
        chunking: Sequence[tuple[int, StaticFileChunkingStrategyObject]],
        attributes: Sequence[tuple[int, Attributes]],
    ) -> None:
        """Fill empty rows with the fields of the attachments that ``kept`` names, in order.  O(n)."""
        self.next = next
        present = (
            status
            if not any(left)
            else bytes([0 if gone else code for code, gone in zip(status, left, strict=True)])
        )
        done = 0
        for first, stop in kept:
            for key, start, end in spans(first, stop):
                block = self._blocks.setdefault(key, _Block(0, 0.0))
                statuses = self.status.blocks.setdefault(key, bytearray())
                presents = self.present.blocks.setdefault(key, bytearray())
                gap, upto = start - len(statuses), done + end - start
                block.ids += [""] * gap + ids[done:upto]
                block.created_at.extend(created_at[done : done + 1] * gap + created_at[done:upto])
                block.usage.extend([0] * gap + usage[done:upto])
                statuses += bytes(gap) + status[done:upto]
                presents += bytes(gap) + present[done:upto]
                done = upto
        tail = self._blocks.get(next >> SHIFT)
        if tail is not None:
            gap = (next & MASK) - len(tail.ids)
            tail.ids += [""] * gap
            tail.created_at.extend(tail.created_at[-1:] * gap)
            tail.usage.extend([0] * gap)
            self.status.blocks[next >> SHIFT] += bytes(gap)
            self.present.blocks[next >> SHIFT] += bytes(gap)
        self.status.holding, self.present.holding = self.status.indexed(), self.present.indexed()
        for row, error in errors:
            block = self._blocks[row >> SHIFT]
            if block.errors is None:
                block.errors = {}
            block.errors[row & MASK] = error
        for row, strategy in chunking:
            block = self._blocks[row >> SHIFT]
            if block.chunking is None:
                block.chunking = [AUTO] * len(block.ids)
            block.chunking[row & MASK] = strategy
        for row, pairs in attributes:
            self.set_attributes(row, pairs)

    # Changing

    def append(
        self,
        first: int,
        ids: Sequence[str],
        created_at: int,
        chunking: Sequence[StaticFileChunkingStrategyObject],
        attributes: Sequence[Attributes],
    ) -> None:
        """Put attachments in progress at the end, whose first number is ``next``.

        ``chunking`` and ``attributes`` hold one value for all of them, or one for each.  O(ids).
        """
        stop = first + len(ids)
        for key, start, end in spans(first, stop):
            n, done = end - start, (key << SHIFT) + start - first
            block = self._blocks.get(key)
            if block is None:
                block = self._blocks.setdefault(key, _Block(start, created_at))
            block.ids[start:end] = ids[done : done + n]
            block.created_at[start:end] = array("d", (created_at,)) * n
            block.usage[start:end] = array("q", bytes(8 * n))
            if block.values is not None:
                block.values[start:end] = [None] * n
            some = _each(chunking, done, n)
            if block.chunking is None and some.count(AUTO) < n:
                block.chunking = [AUTO] * start
            if block.chunking is not None:
                block.chunking[start:end] = some
            pairs = _each(attributes, done, n)
            if block.attributes is None and pairs.count(NO_ATTRIBUTES) < n:
                block.attributes = [NO_ATTRIBUTES] * start
            if block.attributes is not None:
                block.attributes[start:end] = pairs
        self.status.fill(first, stop, IN_PROGRESS)
        self.present.fill(first, stop, IN_PROGRESS)
        self.next = stop
        for key, start, _ in spans(first, stop):
            if not start:
                self._drop_if_empty(key - 1)

    def end(self, row: int, code: int, usage_bytes: int, error: LastError | None) -> None:
        """End an attachment in progress whose file is here.  O(log b)."""
        key, offset = row >> SHIFT, row & MASK
        block = self._blocks[key]
        if usage_bytes:
            block.usage[offset] = usage_bytes
        if error is not None:
            if block.errors is None:
                block.errors = {}
            block.errors[offset] = error
        if block.values is not None:
            block.values[offset] = None
        for column in (self.status, self.present):
            codes = column.blocks[key]
            if code not in codes:
                column.enter(key, code)
            codes[offset] = code
            if IN_PROGRESS not in codes:
                column.leave(key, IN_PROGRESS)

    def end_many(
        self, rows: Sequence[int], code: int, usage_bytes: Sequence[int], error: LastError | None
    ) -> None:
        """End attachments in progress whose files are here.  O(rows), and O(1) each in C if they are a run."""
        first, stop = min(rows), max(rows) + 1
        if stop - first == len(rows):  # a run of numbers, in whatever order
            if usage_bytes.count(usage_bytes[0]) < len(rows):
                usage_bytes = [size for _, size in sorted(zip(rows, usage_bytes, strict=True))]
            self._end_run(first, stop, code, usage_bytes, error)
            return
        keys = {row >> SHIFT for row in rows}
        status, present = self.status, self.present
        for key in keys:
            status.enter(key, code)
            present.enter(key, code)
        blocks, statuses, presents = self._blocks, status.blocks, present.blocks
        for row, size in zip(rows, usage_bytes, strict=True):
            key, offset = row >> SHIFT, row & MASK
            statuses[key][offset] = presents[key][offset] = code
            block = blocks[key]
            block.usage[offset] = size
            if block.values is not None:
                block.values[offset] = None
        if error is not None:
            for row in rows:
                block = blocks[row >> SHIFT]
                if block.errors is None:
                    block.errors = {}
                block.errors[row & MASK] = error
        for key in keys:
            for column in (status, present):
                if IN_PROGRESS not in column.blocks[key]:
                    column.leave(key, IN_PROGRESS)

    def _end_run(
        self, first: int, stop: int, code: int, usage_bytes: Sequence[int], error: LastError | None
    ) -> None:
        for key, start, end in spans(first, stop):
            block, n, done = self._blocks[key], end - start, (key << SHIFT) + start - first
            block.usage[start:end] = array("q", usage_bytes[done : done + n])
            if error is not None:
                if block.errors is None:
                    block.errors = {}
                block.errors.update(dict.fromkeys(range(start, end), error))
            if block.values is not None:
                block.values[start:end] = [None] * n
        self.status.replace(first, stop, IN_PROGRESS, code)
        self.present.replace(first, stop, IN_PROGRESS, code)

    def cancel(self, first: int, stop: int) -> None:
        """End all that is in progress in an interval as cancelled.  O(stop - first), in C."""
        for key, start, end in spans(first, stop):
            block = self._blocks.get(key)
            if block is not None and block.values is not None:
                block.values[start:end] = [None] * (end - start)
        self.status.replace(first, stop, IN_PROGRESS, ENDED["cancel"])
        self.present.replace(first, stop, IN_PROGRESS, ENDED["cancel"])

    def set_attributes(self, row: int, attributes: Attributes) -> None:
        """Replace the attributes.  O(1)."""
        block, offset = self._blocks[row >> SHIFT], row & MASK
        if block.attributes is None:
            if attributes == NO_ATTRIBUTES:
                return
            block.attributes = [NO_ATTRIBUTES] * len(block.ids)
        block.attributes[offset] = attributes
        if block.values is not None:
            block.values[offset] = None

    def detach(self, row: int, code: int) -> None:
        """Note that a file with the status ``code`` left; in progress it becomes cancelled.  O(log b)."""
        self.present.write(row, code, 0)
        if code == IN_PROGRESS:
            self.status.write(row, code, DETACHED)
        block = self._blocks.get(row >> SHIFT)
        if block is not None and block.values is not None:
            block.values[row & MASK] = None

    def forget(self, row: int) -> None:
        """Give the memory of an attachment back that no list holds any more, and whose file left.  O(log b)."""
        key, offset = row >> SHIFT, row & MASK
        block = self._blocks.get(key)
        if block is None:
            return  # given back with its block
        block.ids[offset] = ""
        block.usage[offset] = 0
        if block.values is not None:
            block.values[offset] = None
        if block.chunking is not None:
            block.chunking[offset] = AUTO
        if block.attributes is not None:
            block.attributes[offset] = NO_ATTRIBUTES
        if block.errors is not None:
            block.errors.pop(offset, None)
        self.status.erase(row)
        self._drop_if_empty(key)

    def _drop_if_empty(self, key: int) -> None:
        """Give the memory of a block back if all of it is forgotten and nothing can come into it any more."""
        if key in self._blocks and key < self.next >> SHIFT and self.status.empty(key):
            self.status.drop(key)
            self.present.drop(key)
            self._blocks.pop(key, None)

    # Proving

    def check(self, where: str) -> None:
        """Raise ``Inconsistent`` if the columns or the values that are kept contradict each other.  O(n)."""
        self.status.check(f"the statuses of {where}")
        self.present.check(f"the files that are attached to {where}")
        for key, block in self._blocks.items():
            status, present = self.status.blocks.get(key, b""), self.present.blocks.get(key, b"")
            columns: list[Any] = [block.ids, block.created_at, block.usage, status, present]
            columns += [each for each in (block.values, block.chunking, block.attributes) if each is not None]
            lengths = [len(column) for column in columns]
            if len(set(lengths)) > 1:
                raise Inconsistent(f"the lengths of the columns of {where}", lengths, lengths[:1])
            for offset, (id, code, here) in enumerate(zip(block.ids, status, present, strict=True)):
                row = (key << SHIFT) + offset
                if here not in (0, code) or (code == IN_PROGRESS and not here) or bool(id) is not bool(code):
                    raise Inconsistent(f"attachment {row} of {where}", (id, code, here), "the same status")
                error = None if block.errors is None else block.errors.get(offset)
                size = block.usage[offset]
                if (error is not None) is not (code == CODES["failed"]) or (size and code != CODES["completed"]):
                    raise Inconsistent(f"the outcome of attachment {row} of {where}", (error, size), code)
                value = None if block.values is None else block.values[offset]
                if value is not None and (value != self._make(block, row) or value.attachment != row or not here):
                    raise Inconsistent(f"the kept value of {where}", value, self._make(block, row))
            if key > self.next >> SHIFT or (key << SHIFT) + len(block.ids) > self.next:
                raise Inconsistent(f"the last attachment of {where}", (key << SHIFT) + len(block.ids), self.next)
        if not self.status.blocks.keys() == self.present.blocks.keys() == self._blocks.keys():
            raise Inconsistent(f"the blocks of {where}", list(self.status.blocks), list(self._blocks))


def _exceptions(base: int, values: Sequence[T] | None, default: T) -> list[tuple[int, T]]:
    """Return the values that are not the default, with their numbers."""
    return [(base + i, value) for i, value in enumerate(values or ()) if value != default]


def _intervals(blocks: dict[int, bytes]) -> list[tuple[int, int]]:
    """Return the intervals of the numbers whose byte is not 0."""
    found: list[tuple[int, int]] = []
    for key in sorted(blocks):
        for run in _RUN.finditer(blocks[key]):
            first, stop = (key << SHIFT) + run.start(), (key << SHIFT) + run.end()
            if found and found[-1][1] == first:
                first, _ = found.pop()
            found.append((first, stop))
    return found


def _each(values: Sequence, done: int, n: int) -> list:  # type: ignore[type-arg]
    """Return the values of ``n`` attachments, where one value may stand for all."""
    return list(values) * n if len(values) == 1 else list(values[done : done + n])
