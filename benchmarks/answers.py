"""What the right answers are: a model so simple that it can be read, and that nobody would call fast.

Every contender's answers are turned into the values of this room and compared with the model's before anything
of it is timed.
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
        """Whether this is the right page, as far as it says."""
        return self.records == right.records and self.more in (None, right.more)

    def __str__(self) -> str:
        ids = [record.id for record in self.records]
        shown = ", ".join(ids[:2]) + (f", … {ids[-1]}" if len(ids) > 2 else "")
        return f"{len(ids)} files ({shown}), has_more {self.more}"


@frozen
class Asked:
    """What a page is asked for with, as in the API."""

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
        self._pages: dict[Asked, Listing] = {}
        """Those asked for since the last change: every contender is compared with the same."""

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

    def page(self, asked: Asked) -> Listing:
        """The page, by its definition."""
        if asked not in self._pages:
            self._pages[asked] = self._page(asked)
        return self._pages[asked]

    def _page(self, asked: Asked) -> Listing:
        sign = 1 if asked.order == "asc" else -1
        after = None if asked.after is None else self.places[asked.after]
        before = None if asked.before is None else self.places[asked.before]
        matching = [
            self.files[place].record
            for place in range(len(self.files))[::sign]
            if (after is None or (place - after) * sign > 0)
            and (before is None or (before - place) * sign > 0)
            and self.files[place].here
            and asked.filter in (None, self.files[place].record.status)
        ]
        backward = asked.before is not None and asked.after is None
        found = matching[-asked.limit :] if backward else matching[: asked.limit]
        return Listing(tuple(found), len(matching) > asked.limit)

    def file(self, id: str) -> Record:
        """One file."""
        return self.files[self.places[id]].record

    def counts(self, batch: int | None = None) -> Counts:
        """How many files of the store, or of a batch none of whose files was deleted, stand in each status."""
        found = Counter(file.record.status for file in self.files if file.here and batch in (None, file.batch))
        return found["in_progress"], found["completed"], found["failed"], found["cancelled"]
