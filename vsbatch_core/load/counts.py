"""The counts that must hold, on any correct server; where what is known is a range, so is what must hold."""

from __future__ import annotations

from typing import Any

from attrs import Factory, define, frozen

from vsbatch_core.load.calls import Unreadable, identified
from vsbatch_core.model import FILE_STATUSES

LAWS: dict[str, str] = {
    "total": "a batch's total is the number of files that it was made of",
    "sum": "the four counts sum to total",
    "ends": "a batch has ended by its counts exactly when it has by its status",
    "stays": "a batch that has ended stays as it is",
    "cancel": "nothing is cancelled that nobody cancelled, and no cancel refused of what has not ended",
    "lists": "a list shows each file once, and with a filter as many as are counted",
    "store": "a store counts and lists the files that were attached and not deleted",
}
"""Each of them by its name."""

MOST_VIOLATIONS = 1000
"""More than these are counted, and not kept."""


@define(eq=False)
class Store:
    """A store that was made, and what is known of the files in it."""

    id: str
    used: int = 0
    """Files are numbered from 0, in each store; none is attached twice, not even where an answer was lost."""
    batched: int = 0
    """How many files were attached in batches."""
    alone: set[str] = Factory(set)
    """The files that were attached alone and not deleted."""
    doubtful: set[str] = Factory(set)
    """The files of which it is not known whether they are there: an answer was lost."""
    single: set[str] = Factory(set)
    """The files that were to be attached alone, deleted or not: no others are ever deleted."""
    cursor: str | None = None
    """Where the walk through its list stands."""

    @property
    def least(self) -> int:
        """How many files there are in it at least."""
        return self.batched + len(self.alone)

    @property
    def expected(self) -> str:
        """The same in words."""
        return f"{self.least:,}{f' to {self.most:,}' if self.doubtful else ''} files"

    @property
    def most(self) -> int:
        """How many files there may be in it."""
        return self.least + len(self.doubtful)


@define(eq=False)
class Batch:
    """A batch that was made, and what was last seen of it."""

    id: str
    store: Store
    files: range
    """The numbers of its files."""
    cancels: int = 0
    """How often a cancel was sent, whatever became of it."""
    refused_at: float | None = None
    """When a cancel was refused because the batch had ended."""
    latest: Look | None = None
    ended: Look | None = None
    ended_at: float = 0.0
    cursor: str | None = None
    poll_after: float | None = None
    """Seconds after which the server wants to be asked again, if it said so."""


@frozen
class Look:
    """A batch as an answer shows it."""

    status: str
    counts: dict[str, int]
    total: int

    @classmethod
    def of(cls, data: dict[str, Any], id: str) -> Look:
        """Read an answer.  Raise ``Unreadable`` if it is not that batch."""
        identified(data, id)
        status = data.get("status")
        if status not in FILE_STATUSES:  # a batch has the same ones
            raise Unreadable(f"a batch with the status {status!r}")
        counts = counts_of(data)
        return cls(str(status), {name: counts[name] for name in FILE_STATUSES}, counts["total"])

    @property
    def by_counts(self) -> bool:
        """Whether it has ended by its counts."""
        return self.counts["in_progress"] == 0

    @property
    def by_status(self) -> bool:
        """Whether it has ended by its status."""
        return self.status != "in_progress"

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {n}" for name, n in self.counts.items() if n)
        return f"{self.status}: {shown or 'no file'}, total {self.total}"


def counts_of(data: dict[str, Any]) -> dict[str, int]:
    """The file counts of a store or batch.  Raise ``Unreadable`` if there are none."""
    counts = data.get("file_counts")
    names = (*FILE_STATUSES, "total")
    if not isinstance(counts, dict) or not all(type(counts.get(name)) is int for name in names):
        raise Unreadable("an object without file_counts")
    return {name: counts[name] for name in names}


@frozen
class Violation:
    """What does not hold, of what: the id of a batch or store."""

    law: str
    id: str
    expected: str
    answered: str


@define
class Verdicts:
    """How often each law was tried, where it was broken, and what could not be known."""

    tried: dict[str, int] = Factory(lambda: dict.fromkeys(LAWS, 0))
    broken: dict[str, int] = Factory(lambda: dict.fromkeys(LAWS, 0))
    """In how many batches or stores."""
    violations: list[Violation] = Factory(list)
    unknown: list[str] = Factory(list)
    _accused: set[tuple[str, str]] = Factory(set)

    def judge(self, law: str, id: str, holds: bool, expected: object, answered: object) -> bool:
        """Note whether it holds of that object; answer it.  What is broken is noted once of each object."""
        self.tried[law] += 1
        if not holds and (law, id) not in self._accused:
            self._accused.add((law, id))
            self.broken[law] += 1
            if len(self.violations) < MOST_VIOLATIONS:
                self.violations.append(Violation(law, id, str(expected), str(answered)))
        return holds

    def look(self, batch: Batch, data: dict[str, Any], sent: float, received: float) -> Look:
        """Judge an answer that shows a batch, by itself and beside what was seen before the request was sent.

        Raise ``Unreadable`` if it shows none.
        """
        look = Look.of(data, batch.id)
        n = len(batch.files)
        self.judge("total", batch.id, look.total == n, f"total {n}", look)
        whole = sum(look.counts.values())
        fair = whole == look.total and min(look.counts.values()) >= 0
        self.judge("sum", batch.id, fair, "four counts of 0 or more that sum to total", look)
        uncancelled = look.status != "cancelled" and not look.counts["cancelled"]
        self.judge("cancel", batch.id, batch.cancels > 0 or uncancelled, "nothing cancelled: nobody did", look)
        if batch.refused_at is not None and sent >= batch.refused_at:
            self.judge("cancel", batch.id, look.by_status, "a batch that has ended: it refused a cancel", look)
        if batch.ended is not None and sent >= batch.ended_at:
            self.judge("stays", batch.id, look == batch.ended, batch.ended, look)
        elif batch.ended is None and look.by_counts and look.by_status:
            batch.ended, batch.ended_at = look, received
        batch.latest = look
        return look
