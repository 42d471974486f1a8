"""What was seen while a simulation ran: the counts of each batch over time, and what happened to it.

It is recorded only where it is asked for.  Of each instant at which something changed for a batch there is one
row, with what the instant came to.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING

from attrs import astuple, fields, frozen

from vsbatch_core import events as ev
from vsbatch_core.model import data_of
from vsbatch_core.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGITS = 6
"""Of a second: what is left of a float's digits once the time since 1970 has been subtracted."""


@frozen(slots=True, weakref_slot=False)
class Row:
    """One batch at the end of one instant: seconds since the simulation began, its counts, all busy workers."""

    time: float
    batch_id: str
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int
    busy: int


@frozen(slots=True, weakref_slot=False)
class Mark:
    """Something to be noted on the timeline: what kind of thing, when, and with which batch, if with one."""

    time: float
    kind: str
    batch_id: str | None = None
    note: str = ""


class Timeline:
    """The rows and marks of one simulation, in order of time."""

    def __init__(self, view: View, start: float, busy: Callable[[], int]) -> None:
        self._view = view
        self._start = start
        self._busy = busy
        self._rows: list[Row] = []
        self._last: dict[str, int] = {}
        """By batch, the place of its latest row."""
        self._at = start
        """The instant that is not yet over."""
        self._changed: dict[tuple[str, str], None] = {}
        """The batches, by store and id, that changed at this instant, in order."""
        self.marks: list[Mark] = []

    @property
    def rows(self) -> list[Row]:
        """All rows up to now."""
        self.settle()
        return list(self._rows)

    def mark(self, kind: str, batch_id: str | None = None, note: str = "", *, at: float | None = None) -> None:
        """Note something, at this time of the clock; without one, at the instant that is not yet over."""
        time = self._at if at is None else at
        self.marks.append(Mark(round(time - self._start, _DIGITS), kind, batch_id, note))

    def to_csv(self) -> str:
        """The rows as CSV, under a line of headings."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows(astuple(row) for row in self.rows)
        return file.getvalue()

    def to_json(self) -> str:
        """``{"rows": […], "marks": […]}``, each an object with the names of its fields."""
        rows, marks = ([data_of(item) for item in items] for items in (self.rows, self.marks))
        return json.dumps({"rows": rows, "marks": marks}, separators=(",", ":"))

    def plot(
        self,
        path: str | PathLike[str] | None = None,
        *,
        batch_id: str | None = None,
        workers: int | None = None,
        title: str | None = None,
    ) -> Figure:
        """A picture: the files by status as stacked areas under their total, busy workers, cancels and faults.

        Of one batch, or of all together; ``workers`` is how many there are, where the lower axis ends.  With a
        ``path`` it is saved there, in the format of its suffix.  O(rows).  Raise ``ImportError``, with what to
        install, without the extra ``plot``; ``ValueError`` if nothing was recorded.
        """
        # Imported here, because it is of this module's rows that it draws.
        from vsbatch_core.simulation.picture import draw  # noqa: PLC0415

        rows = self.rows
        return draw(
            rows,
            self.marks,
            end=round(self._at - self._start, _DIGITS),
            path=path,
            batch_id=batch_id,
            workers=workers,
            title=title,
        )

    # What the simulation tells

    def changed(self, vector_store_id: str, batch_id: str, at: float) -> None:
        """Something changed for a batch at this time."""
        if at != self._at:
            self.settle()
            self._at = at
        self._changed[vector_store_id, batch_id] = None

    def settle(self) -> None:
        """The instant is over, or is to be looked at as it stands: write its rows."""
        time, busy = round(self._at - self._start, _DIGITS), self._busy()
        for vector_store_id, batch_id in self._changed:
            counts = self._view.file_counts(vector_store_id, batch_id)
            if counts is None:
                continue  # deleted since: nobody can ask for it any more
            row = Row(
                time,
                batch_id,
                counts.in_progress,
                counts.completed,
                counts.failed,
                counts.cancelled,
                counts.total,
                busy,
            )
            last = self._last.get(batch_id)
            if last is not None and self._rows[last].time == time:
                self._rows[last] = row
            else:
                self._last[batch_id] = len(self._rows)
                self._rows.append(row)
        self._changed.clear()

    def hear(self, event: ev.Event) -> None:
        """Take in what the engine told."""
        store, view = event.vector_store_id, self._view
        if isinstance(event, (ev.FileBatchCreated, ev.FileBatchCancelled)):
            self.changed(store, event.batch_id, event.at)
        if isinstance(event, ev.FileBatchCancelled):
            self.mark("drain" if event.left_running else "cancel", event.batch_id, at=event.at)
        for attachment in ev.ended_attachments(event):
            self.touched(store, attachment, event.at)
        for file_id in ev.attached(event):
            # The attachment that this one has replaced, or one before that, of which nothing has changed.
            for attachment in view.attachments(store, file_id)[-2:-1]:
                batch_id = view.batch_of(store, attachment)
                if batch_id is not None and self._counted_otherwise(store, batch_id):
                    self.changed(store, batch_id, event.at)

    def _counted_otherwise(self, vector_store_id: str, batch_id: str) -> bool:
        """Return whether the counts of a batch are not those of its latest row."""
        last, counts = self._last.get(batch_id), self._view.file_counts(vector_store_id, batch_id)
        then = None if last is None else astuple(self._rows[last])[2:6]
        return counts is None or then != (counts.in_progress, counts.completed, counts.failed, counts.cancelled)

    def touched(self, vector_store_id: str, attachment: int, at: float) -> None:
        """Note that something changed for the batch that lists this attachment, if one does."""
        batch_id = self._view.batch_of(vector_store_id, attachment)
        if batch_id is not None:
            self.changed(vector_store_id, batch_id, at)
