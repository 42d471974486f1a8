"""One vector store with its files and batches: the aggregate that events are applied to.

No state crosses stores, so one of them can be saved, replayed and moved alone.  The rows are the truth: every
attachment that was ever made here, in order, each a frozen ``VectorStoreFile`` that is replaced when the
attachment changes.  A row stays when its file leaves the store, because its batch still lists it and because its
id stays a valid cursor.  Indexes and counts are kept beside the rows, and ``check`` recomputes them.

Methods that begin with ``require`` or ``find`` refuse or answer, and change nothing; ``apply`` takes an event
that they let through and never fails.  It reads no clock, no random source and nothing outside, so the same
events give the same store.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import chain, pairwise, repeat
from math import inf
from typing import Any

from attrs import evolve

from vsbatch_core import events as ev
from vsbatch_core import transitions, validation
from vsbatch_core.batch import Batch
from vsbatch_core.errors import (
    AlreadyFinished,
    AlreadyLeased,
    BatchAlreadyFinished,
    Contradiction,
    FileBatchNotFound,
    FileNotFound,
    FilesRefused,
    IdTaken,
    Inconsistent,
    NotAttached,
    StaleAttachment,
    UnknownCursor,
    VectorStoreExpired,
    shown,
)
from vsbatch_core.index import EVERYTHING, Gaps, Index, Merged, Sparse, Tally
from vsbatch_core.model import (
    DAY,
    FILE_STATUSES,
    ExpiresAfter,
    FileStatus,
    LastError,
    Limits,
    Metadata,
    Profile,
    VectorStore,
    VectorStoreFile,
    ended,
)


def require_settings(event: ev.VectorStoreCreated | ev.VectorStoreUpdated, limits: Limits) -> None:
    """Refuse an event that gives a store a name, an expiry or metadata that a command would refuse."""
    validation.string("name", event.name)
    validation.require_expires_after(event.expires_after, limits)
    validation.require_metadata(event.metadata, limits)


def require_version(param: str, version: Any, seen: int) -> None:
    """Refuse an event that is not the next one after those that were seen."""
    validation.integer(param, version, 1)
    if version <= seen:
        raise Contradiction(param, f"event {version} was applied already: the next one is {seen + 1}")
    if version > seen + 1:
        raise Contradiction(
            param, f"event {version} does not follow event {seen}: {version - seen - 1} in between are missing"
        )


class Store:
    """One vector store.  Complexities are in n, the attachments ever made here."""

    def __init__(self, event: ev.VectorStoreCreated, profile: Profile) -> None:
        self.profile = profile
        self.id = event.vector_store_id
        self.created_at = int(event.at)
        self.name = event.name
        self.description = event.description
        self.expires_after: ExpiresAfter | None = event.expires_after
        self.metadata: Metadata = event.metadata
        self.version = event.version
        """The number of the latest event of this store."""
        self.at = event.at
        """The latest time that this store has seen; its time never goes back."""
        self.last_active_at = int(event.at)
        self.usage_bytes = 0
        self.rows: list[VectorStoreFile] = []
        self.gone = Gaps()
        """The rows whose files have left the store."""
        self.leased: set[int] = set()
        """The rows in progress that workers have picked up."""
        self.batches: dict[str, Batch] = {}
        """The batches by id, in the order in which they were made, which is that of their rows."""
        self._value: VectorStore | None = None
        self._derive()
        self._attach(event.files)

    def _derive(self) -> None:
        """Work out all that follows from the rows, what has gone, and the batches' intervals.  O(n)."""
        self.latest: dict[str, int] = {}
        """By file id, the row of its latest attachment, be it still here or gone."""
        self.earlier: dict[str, list[int]] = {}
        """By file id, the rows of its attachments before the latest: only where there are any."""
        self.ordered = list(self.batches.values())
        self.firsts = [batch.first for batch in self.ordered]
        self.tally = Tally()
        self.usage_bytes = 0
        numbers: dict[tuple[bool, FileStatus], list[int]] = defaultdict(list)
        for number, file in enumerate(self.rows):
            if file.id in self.latest:
                self.earlier.setdefault(file.id, []).append(self.latest[file.id])
            self.latest[file.id] = number
            gone = number in self.gone
            numbers[gone, file.status].append(number)
            if not gone:
                self.tally.add(file.status)
                self.usage_bytes += file.usage_bytes
        self.here = {status: Sparse(numbers[False, status]) for status in FILE_STATUSES}
        self.departed = {status: Sparse(numbers[True, status]) for status in FILE_STATUSES}
        self.files_index: dict[FileStatus | None, Index] = {None: self.gone.index()}
        self.files_index.update(self.here.items())
        """By filter, the index of the files that are attached now."""
        self.batch_index: dict[FileStatus | None, Index] = {
            status: Merged(self.here[status], self.departed[status]) for status in FILE_STATUSES
        }
        self.batch_index[None] = EVERYTHING
        """By filter, the index of the files that batches list, whether or not they are still attached."""
        for batch in self.ordered:
            batch.tally = Tally()
            for file in self.rows[batch.first : batch.stop]:
                batch.tally.add(file.status)

    # Reading

    def expires_at(self) -> int | None:
        """When the store expires if nothing more happens in it."""
        if self.expires_after is None:
            return None
        return self.last_active_at + self.expires_after.days * DAY

    def expired(self, now: float) -> bool:
        """Whether the store's time has run out."""
        expires_at = self.expires_at()
        return expires_at is not None and now >= expires_at

    def value(self, now: float) -> VectorStore:
        """The store as a frozen value; the same object until something changes.  O(1)."""
        counts = self.tally.value()
        status = transitions.store_status(counts, self.expired(now))
        if self._value is not None and self._value.status == status:
            return self._value
        self._value = VectorStore(
            id=self.id,
            created_at=self.created_at,
            name=self.name,
            description=self.description,
            usage_bytes=self.usage_bytes,
            file_counts=counts,
            status=status,
            expires_after=self.expires_after,
            expires_at=self.expires_at(),
            last_active_at=self.last_active_at,
            metadata=self.metadata,
        )
        return self._value

    def find(self, file_id: str) -> int | None:
        """The row of the file that is attached now, or ``None``.  O(1); O(log g) once files have left."""
        row = self.latest.get(file_id)
        return None if row is None or (self.gone and row in self.gone) else row

    def require_file(self, file_id: str) -> int:
        """The row of the file that is attached now; raise ``FileNotFound``."""
        row = self.find(file_id)
        if row is None:
            raise FileNotFound(file_id, self.id)
        return row

    def _require_present(
        self, event: ev.FileCompleted | ev.FileFailed | ev.FileUpdated | ev.FileDeleted | ev.FileLeased
    ) -> None:
        """Refuse an event that does not name a file which is attached now, with its number."""
        row = self.require_file(validation.string("file_id", event.file_id, least=1))
        validation.exactly("attachment", event.attachment, row)

    def _require_many(self, event: ev.FilesCompleted | ev.FilesFailed, tried: transitions.Trigger) -> None:
        """Refuse an event that does not name files in progress, each once and with its number.  O(files)."""
        numbers = validation.array("attachments", event.attachments, 1, len(self.rows))
        file_ids = validation.array("file_ids", event.file_ids, len(numbers), len(numbers))
        for i, (file_id, number) in enumerate(zip(file_ids, numbers, strict=True)):
            validation.string(f"file_ids[{i}]", file_id, least=1)
            validation.exactly(f"attachments[{i}]", number, self.require_in_progress(file_id, tried))
        if len(set(file_ids)) < len(file_ids):
            raise Contradiction("file_ids", "a file is in it twice")

    def require_attachment(self, file_id: str, attachment: int, tried: str) -> None:
        """Raise ``StaleAttachment`` unless this number is that of the file's present attachment.  O(1)."""
        row = self.find(file_id)
        if row != attachment or type(attachment) is not int:
            now = "not attached now" if row is None else f"attachment {row} now"
            raise StaleAttachment(file_id, self.id, attachment, now, tried)

    def require_all_in_progress(
        self, file_ids: Sequence[str], attachments: Sequence[int] | None, tried: transitions.Trigger
    ) -> list[int]:
        """Return the rows of files that ``tried`` can finish, together; raise ``FilesRefused``.  O(files)."""
        found = list(map(self.latest.get, file_ids))
        numbers = found if attachments is None else attachments
        rows: list[int] = []
        refused: dict[str, str] = {}
        for file_id, row, number in zip(file_ids, found, numbers, strict=True):
            if row is None or row in self.gone:
                refused[file_id] = "not attached"
            elif row != number:
                refused[file_id] = f"attachment {row} now, not {shown(number)}"
            elif tried not in transitions.ATTACHMENT[self.rows[row].status]:
                refused[file_id] = f"'{self.rows[row].status}' already"
            else:
                rows.append(row)
        if len(set(file_ids)) < len(file_ids):
            refused |= {file_id: "named twice" for file_id, n in Counter(file_ids).items() if n > 1}
        if refused:
            raise FilesRefused(self.id, tried, len(file_ids), refused)
        return rows

    def require_in_progress(self, file_id: str, tried: transitions.Trigger) -> int:
        """The row of a file that ``tried`` can finish; raise ``NotAttached`` or ``AlreadyFinished``."""
        row = self.latest.get(file_id)
        if row is None or tried not in transitions.ATTACHMENT[self.rows[row].status]:  # so ended, or left
            row = self._attached(file_id, tried)
            transitions.after(self.rows[row].status, tried, file_id, self.id)
        return row

    def require_leasable(self, file_id: str) -> int:
        """The row of a file in progress that is not leased; raise what ``Processing.lease`` says."""
        row = self._attached(file_id, "lease")
        if self.rows[row].status != "in_progress":
            raise AlreadyFinished(file_id, self.id, self.rows[row].status, "lease")
        if row in self.leased:
            raise AlreadyLeased(file_id, self.id)
        return row

    def _attached(self, file_id: str, tried: str) -> int:
        row = self.find(file_id)
        if row is None:
            state = "not attached" if file_id not in self.latest else "no longer attached"
            raise NotAttached(file_id, self.id, state, tried)
        return row

    def require_batch(self, batch_id: str) -> Batch:
        """The batch; raise ``FileBatchNotFound``."""
        batch = self.batches.get(batch_id)
        if batch is None:
            raise FileBatchNotFound(batch_id, self.id)
        return batch

    def require_open(self, now: float) -> None:
        """Raise ``VectorStoreExpired`` if the store takes no more files."""
        expires_at = self.expires_at()
        if expires_at is not None and now >= expires_at:
            raise VectorStoreExpired(self.id, expires_at)

    def require(self, event: ev.Event) -> None:
        """Raise the error that the command behind this event would have met here, if it would have."""
        limits = self.profile.limits
        match event:
            case ev.VectorStoreUpdated():
                require_settings(event, limits)
            case ev.FileCompleted():
                self._require_present(event)
                self.require_in_progress(event.file_id, "complete")
                validation.integer("usage_bytes", event.usage_bytes, 0, validation.MOST_BYTES)
            case ev.FileFailed():
                self._require_present(event)
                self.require_in_progress(event.file_id, "fail")
                validation.require_last_error(event.last_error)
            case ev.FilesCompleted():
                self._require_many(event, "complete")
                sizes = validation.array("usage_bytes_each", event.usage_bytes_each, 1, len(event.file_ids))
                if len(sizes) < len(event.file_ids):
                    raise Contradiction("usage_bytes_each", f"{len(sizes)} sizes for {len(event.file_ids)} files")
                for i, size in enumerate(sizes):
                    validation.integer(f"usage_bytes_each[{i}]", size, 0, validation.MOST_BYTES)
            case ev.FilesFailed():
                self._require_many(event, "fail")
                validation.require_last_error(event.last_error)
            case ev.FileUpdated():
                self._require_present(event)
                validation.require_attributes("attributes", event.attributes, limits)
            case ev.FileDeleted():
                self._require_present(event)
            case ev.FileLeased():
                self._require_present(event)
                self.require_leasable(event.file_id)
            case ev.FileBatchCancelled():
                batch = self.require_batch(validation.own_id("batch_id", event.batch_id, "vsfb_"))
                drain = validation.boolean("drain", event.drain)
                if not batch.tally["in_progress"] or (batch.cancel_asked and drain):
                    raise BatchAlreadyFinished(event.batch_id, "finished or draining")
            case ev.FileBatchCreated():
                validation.own_id("batch_id", event.batch_id, "vsfb_")
                if event.batch_id in self.batches:
                    raise IdTaken(event.batch_id, "vsfb_")
                self.require_open(event.at)
                validation.require_new_files(
                    "files", event.files, self.id, event.at, limits, least=1, most=limits.batch_files
                )
                validation.exactly("first_attachment", event.first_attachment, len(self.rows))
            case ev.FileAttached():
                self.require_open(event.at)
                validation.exactly("attachment", event.attachment, len(self.rows))
                validation.require_new_file("file", event.file, self.id, event.at, limits)

    def batch_of(self, row: int) -> Batch | None:
        """The batch that the row belongs to, if it belongs to one.  O(log b)."""
        i = bisect_right(self.firsts, row) - 1
        return self.ordered[i] if i >= 0 and row < self.ordered[i].stop else None

    def unknown_cursor(self, after: str | None, before: str | None) -> UnknownCursor:
        """The error for two cursors of which one is no file that was ever attached here."""
        param, cursor = ("before", before) if after is None or after in self.latest else ("after", after)
        return UnknownCursor(param, str(cursor), f"files of vector store '{self.id}'")

    def batch_place(self, batch: Batch, param: str, file_id: str) -> int:
        """The place of a cursor in a batch's list, however often the file was attached since."""
        place = self.latest.get(file_id, -1)
        if not batch.first <= place < batch.stop:
            places = self.earlier.get(file_id, ())
            i = bisect_left(places, batch.first)
            place = places[i] if i < len(places) else -1
        if batch.first <= place < batch.stop:
            return place
        raise UnknownCursor(param, file_id, f"files of file batch '{batch.id}'")

    def oldest_in_progress(self) -> int | None:
        """When the oldest attachment in progress was made, or ``None``.  O(1)."""
        row = self.here["in_progress"].first()
        return None if row is None else self.rows[row].created_at

    # Changing

    def apply(self, event: ev.Event) -> None:
        """Take in an event of this store, one that its ``require`` methods let through."""
        self._value = None
        _APPLY[type(event)](self, event)
        self.version = event.version

    def _touch(self, at: float) -> None:
        self.at = at
        if self.expires_after is None or not self.expired(at):
            self.last_active_at = int(at)

    def _attach(self, files: Sequence[VectorStoreFile]) -> None:
        first = len(self.rows)
        if files and files[0].attachment is None:  # read back from the wire, which shows no numbers
            files = [evolve(file, attachment=number) for number, file in enumerate(files, first)]
        numbers = list(range(first, first + len(files)))
        ids = [file.id for file in files]
        if not self.latest.keys().isdisjoint(ids):
            for id in ids:
                old = self.latest.get(id)
                if old is not None:
                    self.earlier.setdefault(id, []).append(old)
                    if old not in self.gone:
                        self._depart(old)
        self.rows += files
        self.latest.update(zip(ids, numbers, strict=True))
        self.here["in_progress"].update(numbers)
        self.tally.add("in_progress", len(files))

    def _depart(self, row: int) -> None:
        file = self.rows[row]
        self.here[file.status].remove(row)
        self.tally.add(file.status, -1)
        self.usage_bytes -= file.usage_bytes
        self.gone.add(row, row + 1)
        self.files_index[None] = self.gone
        if file.status == "in_progress":
            self.leased.discard(row)
            batch = self.batch_of(row)
            if batch is not None:
                batch.tally.move("in_progress", "cancelled")
            file = self.rows[row] = ended(file, transitions.ATTACHMENT["in_progress"]["detach"])
        self.departed[file.status].add(row)

    def _complete(self, event: ev.FileCompleted) -> None:
        self._end(event.attachment, "complete", event.usage_bytes, None)
        self.usage_bytes += event.usage_bytes
        self._touch(event.at)

    def _fail(self, event: ev.FileFailed) -> None:
        self._end(event.attachment, "fail", 0, event.last_error)
        self._touch(event.at)

    def _complete_many(self, event: ev.FilesCompleted) -> None:
        self._end_many(event.attachments, "complete", event.usage_bytes_each, None)
        self.usage_bytes += sum(event.usage_bytes_each)
        self._touch(event.at)

    def _fail_many(self, event: ev.FilesFailed) -> None:
        self._end_many(event.attachments, "fail", repeat(0), event.last_error)
        self._touch(event.at)

    def _end_many(
        self,
        attachments: Sequence[int],
        trigger: transitions.Trigger,
        usage_bytes: Iterable[int],
        error: LastError | None,
    ) -> None:
        """End attachments in progress, in any order.  O(files · log n), and O(files) for a run of numbers."""
        rows = self.rows
        status = transitions.ATTACHMENT["in_progress"][trigger]
        for row, size in zip(attachments, usage_bytes, strict=False):
            rows[row] = ended(rows[row], status, size, error)
        self.leased.difference_update(attachments)
        numbers = sorted(attachments)
        self.here["in_progress"].discard(numbers)
        self.here[status].update(numbers)
        self.tally.move("in_progress", status, len(numbers))
        for batch, n in Counter(map(self.batch_of, numbers)).items():
            if batch is not None:
                batch.tally.move("in_progress", status, n)

    def _end(self, row: int, trigger: transitions.Trigger, usage_bytes: int, error: LastError | None) -> None:
        old = self.rows[row]
        status = transitions.ATTACHMENT[old.status][trigger]
        self.rows[row] = ended(old, status, usage_bytes, error)
        if self.leased:
            self.leased.discard(row)
        self.here["in_progress"].remove(row)
        self.here[status].add(row)
        self.tally.move("in_progress", status)
        batch = self.batch_of(row)
        if batch is not None:
            batch.tally.move("in_progress", status)

    def _update(self, event: ev.VectorStoreUpdated) -> None:
        self.name, self.expires_after, self.metadata = event.name, event.expires_after, event.metadata
        self.last_active_at = int(event.at)
        self.at = event.at

    def _attach_one(self, event: ev.FileAttached) -> None:
        self._attach((event.file,))
        self._touch(event.at)

    def _create_batch(self, event: ev.FileBatchCreated) -> None:
        first = len(self.rows)
        batch = Batch(event.batch_id, int(event.at), first, first + len(event.files))
        self._attach(event.files)
        batch.tally.add("in_progress", len(event.files))
        self.batches[batch.id] = batch
        self.ordered.append(batch)
        self.firsts.append(batch.first)
        self._touch(event.at)

    def _cancel_batch(self, event: ev.FileBatchCancelled) -> None:
        batch = self.batches[event.batch_id]
        status = transitions.ATTACHMENT["in_progress"]["cancel"]
        numbers = self.here["in_progress"].cut(batch.first, batch.stop)
        if self.leased:
            kept = [number for number in numbers if number in self.leased]
            if event.drain:
                numbers = [number for number in numbers if number not in self.leased]
                self.here["in_progress"].update(kept)
            else:
                self.leased.difference_update(kept)
        rows = self.rows
        for number in numbers:
            rows[number] = ended(rows[number], status)
        self.here[status].update(numbers)
        self.tally.move("in_progress", status, len(numbers))
        batch.cancel_asked = True
        batch.tally.move("in_progress", status, len(numbers))
        self._touch(event.at)

    def _lease(self, event: ev.FileLeased) -> None:
        self.leased.add(event.attachment)
        self._touch(event.at)

    def _update_file(self, event: ev.FileUpdated) -> None:
        row = event.attachment
        self.rows[row] = evolve(self.rows[row], attributes=event.attributes)
        self._touch(event.at)

    def _delete_file(self, event: ev.FileDeleted) -> None:
        self._depart(event.attachment)
        self._touch(event.at)

    # Saving, and proving

    @classmethod
    def rebuilt(
        cls,
        event: ev.VectorStoreCreated,
        profile: Profile,
        *,
        at: float,
        version: int,
        last_active_at: int,
        rows: list[VectorStoreFile],
        gone: Iterable[tuple[int, int]],
        leased: Iterable[int],
        batches: Iterable[Batch],
    ) -> Store:
        """A store from its parts: the truth as given, all else worked out.  O(n)."""
        store = cls(event, profile)
        store.at, store.version, store.last_active_at = at, version, last_active_at
        store.rows = rows
        for start, stop in gone:
            store.gone.add(start, stop)
        store.leased.update(leased)
        store.batches = {batch.id: batch for batch in batches}
        store._derive()
        return store

    def check(self) -> None:
        """Recompute every count and index; raise ``Inconsistent`` naming the first that differs.  O(n)."""
        fresh = copy(self)
        fresh.batches = {id: copy(batch) for id, batch in self.batches.items()}
        fresh._derive()
        where = f"vector store '{self.id}'"
        self.gone.check(f"what left {where}", len(self.rows))
        if self._value is not None:
            fresh._value = None
            now = inf if self._value.status == "expired" else -inf
            if self._value != fresh.value(now):
                raise Inconsistent(f"the kept value of {where}", self._value, fresh.value(now))
        times = [self.created_at, *(file.created_at for file in self.rows), int(self.at)]
        for earlier, later in pairwise(times):
            if earlier > later:
                raise Inconsistent(f"the order of times in {where}", (earlier, later), (later, earlier))
        for what, kept, recomputed in (
            ("the rows by file id", self.latest, fresh.latest),
            ("the earlier rows by file id", self.earlier, fresh.earlier),
            ("the order of the batches", [b.id for b in self.ordered], list(self.batches)),
            ("the first rows of the batches", self.firsts, fresh.firsts),
            ("usage_bytes", self.usage_bytes, fresh.usage_bytes),
            ("the leases", self.leased, self.leased.intersection(fresh.here["in_progress"])),
        ):
            if kept != recomputed:
                raise Inconsistent(f"{what} of {where}", kept, recomputed)
        self.tally.check(f"file_counts of {where}", fresh.tally.value())
        for status in FILE_STATUSES:
            self.here[status].check(f"the {status} files of {where}", fresh.here[status])
            self.departed[status].check(f"the {status} files that left {where}", fresh.departed[status])
        for row in chain.from_iterable(self.earlier.values()):
            if row not in self.gone:
                raise Inconsistent(f"row {row} of {where}, which was attached again,", "here", "gone")
        if self.departed["in_progress"]:
            raise Inconsistent(f"files in progress that left {where}", list(self.departed["in_progress"]), [])
        stop = 0
        for id, batch in self.batches.items():
            batch.tally.check(f"file_counts of file batch '{id}'", fresh.batches[id].tally.value())
            if not stop <= batch.first < batch.stop <= len(self.rows):
                raise Inconsistent(f"the rows of file batch '{id}'", (batch.first, batch.stop), f"from {stop}")
            stop = batch.stop


_APPLY: dict[type[ev.Event], Callable[[Store, Any], None]] = {
    ev.VectorStoreUpdated: Store._update,
    ev.FileAttached: Store._attach_one,
    ev.FileUpdated: Store._update_file,
    ev.FileDeleted: Store._delete_file,
    ev.FileLeased: Store._lease,
    ev.FileCompleted: Store._complete,
    ev.FileFailed: Store._fail,
    ev.FilesCompleted: Store._complete_many,
    ev.FilesFailed: Store._fail_many,
    ev.FileBatchCreated: Store._create_batch,
    ev.FileBatchCancelled: Store._cancel_batch,
}
