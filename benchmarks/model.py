"""The right results, by a model that is simple rather than fast.

The results of every contender are translated into the values of this module and compared with the model's before
the contender is timed.
"""

from __future__ import annotations

from collections import Counter

from attrs import define, frozen

STATUSES = ("in_progress", "completed", "failed", "cancelled")
Counts = tuple[int, int, int, int]
"""How many files are in progress, completed, failed, cancelled."""


@frozen
class Record:
    """What is compared of a file."""

    id: str
    created_at: int
    status: str
    usage_bytes: int


@frozen
class Listing:
    """A page: the files, and whether there are more; ``None`` if the contender does not say."""

    records: tuple[Record, ...]
    more: bool | None

    def agrees(self, right: Listing) -> bool:
        """Return whether this is the right page, as far as it says."""
        return self.records == right.records and self.more in (None, right.more)

    def __str__(self) -> str:
        ids = [record.id for record in self.records]
        shown = ", ".join(ids[:2]) + (f", … {ids[-1]}" if len(ids) > 2 else "")
        return f"{len(ids)} files ({shown}), has_more {self.more}"


@frozen
class Query:
    """The arguments of a page, as in the API."""

    limit: int = 20
    order: str = "asc"
    after: str | None = None
    before: str | None = None
    filter: str | None = None


@define
class _File:
    record: Record
    batch: int
    here: bool = True


class Model:
    """One store: a list of files in the order of attachment, looked through from the front each time."""

    def __init__(self) -> None:
        self.files: list[_File] = []
        self.places: dict[str, int] = {}
        self._pages: dict[Query, Listing] = {}
        """Those queried since the last change: every contender is compared with the same."""

    def attach(self, batch: int, ids: list[str], created_at: int) -> None:
        """Attach new files as a batch."""
        self._pages.clear()
        for id in ids:
            self.places[id] = len(self.files)
            self.files.append(_File(Record(id, created_at, "in_progress", 0), batch))

    def complete(self, id: str, usage_bytes: int) -> None:
        """Complete a file that is in progress."""
        self._pages.clear()
        file = self.files[self.places[id]]
        file.record = Record(id, file.record.created_at, "completed", usage_bytes)

    def cancel(self, batch: int) -> None:
        """Cancel the files of a batch that are in progress and here."""
        self._pages.clear()
        for file in self.files:
            if file.batch == batch and file.here and file.record.status == "in_progress":
                file.record = Record(file.record.id, file.record.created_at, "cancelled", 0)

    def delete(self, id: str) -> None:
        """Take a file out of the store; its id stays a place."""
        self._pages.clear()
        self.files[self.places[id]].here = False

    def page(self, query: Query) -> Listing:
        """Return the page, by its definition."""
        if query not in self._pages:
            self._pages[query] = self._page(query)
        return self._pages[query]

    def _page(self, query: Query) -> Listing:
        sign = 1 if query.order == "asc" else -1
        after = None if query.after is None else self.places[query.after]
        before = None if query.before is None else self.places[query.before]
        matching = [
            self.files[place].record
            for place in range(len(self.files))[::sign]
            if (after is None or (place - after) * sign > 0)
            and (before is None or (before - place) * sign > 0)
            and self.files[place].here
            and query.filter in (None, self.files[place].record.status)
        ]
        backward = query.before is not None and query.after is None
        found = matching[-query.limit :] if backward else matching[: query.limit]
        return Listing(tuple(found), len(matching) > query.limit)

    def file(self, id: str) -> Record:
        """Return one file."""
        return self.files[self.places[id]].record

    def counts(self, batch: int | None = None) -> Counts:
        """Return how many files of the store, or of a batch without deleted files, have each status."""
        found = Counter(file.record.status for file in self.files if file.here and batch in (None, file.batch))
        return found["in_progress"], found["completed"], found["failed"], found["cancelled"]
