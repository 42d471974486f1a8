"""Sorted lists, one for all files and one for each status, read by position: ``index``, then ``islice``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sortedcontainers import SortedList

from benchmarks.contenders.values import Found, Tallies, Typed, ended, made
from benchmarks.model import STATUSES, Counts, Query
from vsbatch_core import VectorStoreFile
from vsbatch_core.model import FileStatus


class Positional(Typed):
    """The numbers of files in ``SortedList``s; a page is what lies between two positions."""

    key, title = "islice", "sorted lists, islice"
    unable: ClassVar[Mapping[str, str]] = {
        "retrieve": "it would be the look-up in a dict that the floor is",
        "snapshot": "as the list that is sorted on every page",
        "restore": "as the list that is sorted on every page",
        "replay": "it keeps no events",
    }

    def __init__(self) -> None:
        self.files: list[VectorStoreFile] = []
        self.places: dict[str, int] = {}
        self.batch_of: list[int] = []
        self.batches: dict[int, range] = {}
        self.here: SortedList[int] = SortedList()
        self.by_status: dict[str, SortedList[int]] = {status: SortedList() for status in STATUSES}
        self.tallies = Tallies()

    def attach(self, batch: int, ids: list[str], created_at: int) -> None:
        """See ``Contender``."""
        numbers = range(len(self.files), len(self.files) + len(ids))
        self.files += [made(id, created_at) for id in ids]
        self.places.update(zip(ids, numbers, strict=True))
        self.batch_of += [batch] * len(ids)
        self.batches[batch] = numbers
        self.here.update(numbers)
        self.by_status["in_progress"].update(numbers)
        self.tallies.begin(batch, len(ids))

    def _end(self, number: int, status: FileStatus, usage_bytes: int) -> VectorStoreFile:
        file = self.files[number] = ended(self.files[number], status, usage_bytes)
        self.by_status["in_progress"].remove(number)
        self.by_status[status].add(number)
        return file

    def complete(self, id: str, usage_bytes: int) -> VectorStoreFile:
        """See ``Contender``."""
        number = self.places[id]
        self.tallies.move(self.batch_of[number], "completed")
        return self._end(number, "completed", usage_bytes)

    def cancel(self, batch: int) -> None:
        """See ``Contender``."""
        numbers = self.batches[batch]
        moved = list(self.by_status["in_progress"].irange(numbers.start, numbers.stop - 1))
        for number in moved:
            self._end(number, "cancelled", 0)
        self.tallies.move(batch, "cancelled", len(moved))

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        number = self.places[id]
        file = self.files[number]
        self.here.remove(number)
        self.by_status[file.status].remove(number)
        self.tallies.store[file.status] -= 1
        return file

    def page(self, query: Query) -> Found:
        """See ``Contender``."""
        numbers = self.here if query.filter is None else self.by_status[query.filter]
        after, before = query.after, query.before
        if query.order == "desc":
            after, before = before, after
        low = 0 if after is None else numbers.bisect_right(self.places[after])
        high = len(numbers) if before is None else numbers.bisect_left(self.places[before])
        more = high - low > query.limit
        from_behind = (query.order == "desc") is not (query.before is not None and query.after is None)
        if from_behind:
            low = max(low, high - query.limit)
        else:
            high = min(high, low + query.limit)
        files = self.files
        return [files[number] for number in numbers.islice(low, high, reverse=query.order == "desc")], more

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        return self.tallies.counts(batch)
