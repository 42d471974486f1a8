"""What most servers do today: the files in a dict, sorted and filtered anew for every page."""

from __future__ import annotations

import pickle
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from operator import attrgetter
from typing import ClassVar

from benchmarks.contenders.values import Found, Tallies, Typed, ended, made
from benchmarks.model import Counts, Query
from vsbatch_core import VectorStoreFile

_CREATED_AT = attrgetter("created_at")


class SortedOnEveryPage(Typed):
    """A dict of files by id; a page filters its values, sorts them by ``created_at``, and cuts."""

    key, title = "sorted", "sorted on every page"
    unable: ClassVar[Mapping[str, str]] = {
        "retrieve": "it would be the look-up in a dict that the floor is",
        "replay": "it keeps no events",
    }

    def __init__(self) -> None:
        self.files: dict[str, VectorStoreFile] = {}
        self.places: dict[str, int] = {}
        self.batch_of: dict[str, int] = {}
        self.batches: dict[int, list[str]] = {}
        self.tallies = Tallies()

    def attach(self, batch: int, ids: list[str], created_at: int) -> None:
        """See ``Contender``."""
        first = len(self.places)
        self.files.update([(id, made(id, created_at)) for id in ids])
        self.places.update(zip(ids, range(first, first + len(ids)), strict=True))
        self.batch_of.update(dict.fromkeys(ids, batch))
        self.batches[batch] = ids
        self.tallies.begin(batch, len(ids))

    def complete(self, id: str, usage_bytes: int) -> VectorStoreFile:
        """See ``Contender``."""
        file = self.files[id] = ended(self.files[id], "completed", usage_bytes)
        self.tallies.move(self.batch_of[id], "completed")
        return file

    def cancel(self, batch: int) -> None:
        """See ``Contender``."""
        files = self.files
        moved = [id for id in self.batches[batch] if id in files and files[id].status == "in_progress"]
        for id in moved:
            files[id] = ended(files[id], "cancelled")
        self.tallies.move(batch, "cancelled", len(moved))

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        file = self.files.pop(id)
        self.tallies.store[file.status] -= 1
        return file

    def page(self, query: Query) -> Found:
        """See ``Contender``.  The sort is stable, so that ties stay in the order of attachment."""
        files = sorted(self.files.values(), key=_CREATED_AT)
        if query.filter is not None:
            files = [file for file in files if file.status == query.filter]
        after, before = query.after, query.before
        if query.order == "desc":
            after, before = before, after
        place = self._place
        low = 0 if after is None else bisect_right(files, self.places[after], key=place)
        high = len(files) if before is None else bisect_left(files, self.places[before], key=place)
        from_behind = (query.order == "desc") is not (query.before is not None and query.after is None)
        found = files[max(low, high - query.limit) : high] if from_behind else files[low:high][: query.limit]
        if query.order == "desc":
            found.reverse()
        return found, high - low > query.limit

    def _place(self, file: VectorStoreFile) -> int:
        return self.places[file.id]

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        return self.tallies.counts(batch)

    def save(self) -> bytes:
        """See ``Contender``."""
        return pickle.dumps(vars(self), pickle.HIGHEST_PROTOCOL)

    @classmethod
    def load(cls, saved: bytes) -> SortedOnEveryPage:
        """See ``Contender``."""
        loaded = cls()
        vars(loaded).update(pickle.loads(saved))  # noqa: S301 - what was saved just before
        return loaded
