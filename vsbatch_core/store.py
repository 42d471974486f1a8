"""One vector store with its files and batches: the aggregate that events are applied to.

No state crosses stores, so one of them can be saved, replayed and moved alone.  An attachment is a number,
and its fields stand in ``rows``.  It is kept when its file leaves the store as long as its batch lists it, or
its id is a valid cursor: then it is forgotten.

Reading methods and those that begin with ``require`` or ``find`` return or raise, and change nothing.  An
event is applied in two steps:

*plan*
    A ``_plan`` method works out everything that the event changes, and changes nothing.  It reads no clock,
    no random source and nothing outside, so the same events give the same store.
*put*
    The function and the arguments that ``plan`` returns carry it out.  Such a function assigns
    what it was given, or looks first whether it has done so, so that calling it again, after an exception has
    interrupted it anywhere, completes it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import pairwise
from math import inf
from operator import attrgetter
from typing import Any

from vsbatch_core import events as ev
from vsbatch_core import idempotency, transitions, validation
from vsbatch_core.batch import Batch
from vsbatch_core.claims import Claim, Claims
from vsbatch_core.columns import MASK, SHIFT, rising
from vsbatch_core.errors import (
    AlreadyAttached,
    AlreadyFinished,
    BatchAlreadyFinished,
    Contradiction,
    DeletedCursor,
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
from vsbatch_core.model import (
    DAY,
    FILE_STATUSES,
    ExpiresAfter,
    FileCounts,
    Idempotency,
    LastError,
    Metadata,
    Profile,
    VectorStore,
    new_counts,
)
from vsbatch_core.rows import DETACHED, ENDED, IN_PROGRESS, STATUSES, Rows

Put = tuple[Callable[..., None], tuple[Any, ...]]
"""A function that only assigns, and its arguments."""

# Stores that hold nothing are many: they share these, which nothing is ever put into.
NONE_DEPARTED: OrderedDict[str, None] = OrderedDict()
NONE_LISTED: dict[str, list[int]] = {}
NO_BATCHES: list[Batch] = []
NO_BATCHES_BY_ID: dict[str, Batch] = {}
NO_FIRSTS: list[int] = []

NewKey = tuple[Idempotency | None, str, str | None]
"""The key of a create, if it has one; the id of what it created; and the key that is forgotten for it."""
_NO_KEY: NewKey = (None, "", None)

Departure = tuple[str, int, int, bool]
"""A file that leaves: its id, its attachment, the code of its status while it is attached, else 0, and whether a
batch lists it."""

_End = tuple[
    int, int, int, LastError | None, int, int, int, Batch | None, int, int, ev.FileCompleted | ev.FileFailed
]
"""The end of one attachment: what is put for it, and the counts of its store and its batch afterwards."""


def require_settings(event: ev.VectorStoreCreated | ev.VectorStoreUpdated, profile: Profile) -> None:
    """Refuse an event that gives a store a name, an expiry or metadata that no command would have given it."""
    limits = profile.limits
    if event.name is not None or profile.unnamed_store == "empty":
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


def require_new_key(
    keys: idempotency.Keys, event: ev.VectorStoreCreated | ev.FileAttached | ev.FileBatchCreated
) -> None:
    """Refuse an event whose idempotency key is kept: the create would have returned what is there."""
    validation.require_idempotency(event.idempotency)
    if event.idempotency is not None and event.idempotency.key in keys:
        raise Contradiction("idempotency.key", f"{shown(event.idempotency.key)} came with a request before")


class Store:
    """One vector store.

    Complexities are in n, the attachments that are not forgotten, and b, their blocks of 4,096.
    """

    __slots__ = (
        "_value",
        "at",
        "batches",
        "claims",
        "counts",
        "created_at",
        "departed",
        "description",
        "expires_after",
        "expiry_noted",
        "expiry_timer",
        "finished",
        "firsts",
        "id",
        "keys",
        "last_active_at",
        "listed",
        "metadata",
        "name",
        "number",
        "numbers",
        "ordered",
        "profile",
        "purge_timer",
        "rows",
        "usage_bytes",
        "version",
    )

    def __init__(self, event: ev.VectorStoreCreated, profile: Profile, number: int) -> None:
        self.profile = profile
        self.number = number
        """The number of the store in the list of stores."""
        self.id = event.vector_store_id
        self.created_at = int(event.at)
        self.name = event.name
        self.description = event.description
        self.expires_after: ExpiresAfter | None = event.expires_after
        self.expiry_noted = False
        """Whether an event has said that the store expired, and none since that it is back."""
        self.expiry_timer: float = inf
        """When to look whether the store has expired; never later than it does."""
        self.metadata: Metadata = event.metadata
        self.version = event.version
        """The number of the latest event of this store."""
        self.at = event.at
        """The latest time that this store has seen; its time never goes back."""
        self.last_active_at = int(event.at)
        self.usage_bytes = 0
        self.rows = Rows(self.id)
        self.counts = [0] * len(FILE_STATUSES)
        """How many files are attached now, by status."""
        self.numbers: dict[str, int] = {}
        """By file id, the latest attachment, if its file is attached or the id is a valid cursor still."""
        self.departed: OrderedDict[str, None] = NONE_DEPARTED
        """The ids of files that left and are valid cursors still, the first to leave first."""
        self.listed = NONE_LISTED
        """By file id, the attachments that batches list and ``numbers`` does not know."""
        self.claims: Claims | None = None
        """Which attachments workers hold; made with the first claim."""
        self.batches = NO_BATCHES_BY_ID
        self.ordered = NO_BATCHES
        """The batches that list any attachments, in the order of these."""
        self.firsts = NO_FIRSTS
        """The first attachment of each of them."""
        self.finished = NO_BATCHES
        """The batches that have finished, the first to finish first."""
        self.purge_timer: float = inf
        """When to look whether batches have been finished for long; never later than the first of them has."""
        self.keys = idempotency.NO_KEYS
        """The idempotency keys of the creates of files and batches."""
        self._value: VectorStore | None = None
        if event.file_ids:
            arguments = (*self._attachments(event.file_ids, event), None, _NO_KEY, event)
            self._attach(*arguments)

    # Reading

    def expires_at(self) -> int | None:
        """Return when the store expires if nothing more happens in it."""
        if self.expires_after is None:
            return None
        return self.last_active_at + self.expires_after.days * DAY

    def expired(self, now: float) -> bool:
        """Return whether the store's time has run out."""
        expires_at = self.expires_at()
        return expires_at is not None and now >= expires_at

    def file_counts(self) -> FileCounts:
        """Return how many files stand in each status."""
        return new_counts(*self.counts)

    def value(self, now: float) -> VectorStore:
        """Return the store as a frozen value; the same object until something changes.  O(1)."""
        value = self._value
        counts = self.file_counts() if value is None else value.file_counts
        status = transitions.store_status(counts, self.expired(now))
        if value is None or value.status != status:
            value = self._value = VectorStore(
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
        return value

    def find(self, file_id: str) -> int | None:
        """Return the attachment of the file that is attached now, or ``None``.  O(1)."""
        row = self.numbers.get(file_id)
        return row if row is not None and self.rows.present[row] else None

    def attached(self, file_ids: Sequence[str]) -> list[str]:
        """Return those of the files that are attached now, in order.  O(files)."""
        if self.numbers.keys().isdisjoint(file_ids):
            return []
        return [file_id for file_id in file_ids if self.find(file_id) is not None]

    def _require_not_attached(self, param: str, file_ids: Sequence[str]) -> None:
        """Refuse an event that attaches a file which is attached, if the profile has no such events."""
        if self.profile.reattach != "replace":
            for file_id in self.attached(file_ids):
                raise AlreadyAttached(param, file_id, self.id)

    def require_file(self, file_id: str) -> int:
        """Return the attachment of the file that is attached now; raise ``FileNotFound``."""
        row = self.find(file_id)
        if row is None:
            raise FileNotFound(file_id, self.id)
        return row

    def _require_present(self, event: ev.FileCompleted | ev.FileFailed | ev.FileUpdated | ev.FileDeleted) -> None:
        """Refuse an event that does not name a file which is attached now, with its number."""
        row = self.require_file(validation.string("file_id", event.file_id, minimum=1))
        validation.exactly("attachment", event.attachment, row)

    def _require_many(
        self, event: ev.FilesCompleted | ev.FilesFailed | ev.FilesCancelled, tried: transitions.Trigger
    ) -> None:
        """Refuse an event that does not name files in progress, each once and with its number.  O(files)."""
        numbers = validation.array("attachments", event.attachments, 1, self.rows.next)
        file_ids = validation.array("file_ids", event.file_ids, len(numbers), len(numbers))
        for i, (file_id, number) in enumerate(zip(file_ids, numbers, strict=True)):
            validation.string(f"file_ids[{i}]", file_id, minimum=1)
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
    ) -> tuple[int, ...]:
        """Return the attachments of files that ``tried`` can finish, together; raise ``FilesRefused``."""
        rows = self._all_in_progress(file_ids, attachments)
        if rows is not None:
            return rows
        found = list(map(self.find, file_ids))
        refused: dict[str, str] = {}
        for file_id, row, number in zip(
            file_ids, found, found if attachments is None else attachments, strict=True
        ):
            if row is None:
                refused[file_id] = "not attached"
            elif row != number:
                refused[file_id] = f"attachment {row} now, not {shown(number)}"
            elif self.rows.present[row] != IN_PROGRESS:
                refused[file_id] = f"'{STATUSES[self.rows.present[row]]}' already"
        refused |= {file_id: "named twice" for file_id, n in Counter(file_ids).items() if n > 1}
        raise FilesRefused(self.id, tried, len(file_ids), refused)

    def _all_in_progress(
        self, file_ids: Sequence[str], attachments: Sequence[int] | None
    ) -> tuple[int, ...] | None:
        """Return the attachments of files that are all in progress, each named once; ``None`` if one is not."""
        try:
            if attachments is not None and rising(attachments):  # nothing need be looked up by id
                rows, as_named = tuple(attachments), self.rows.file_ids(attachments) == list(file_ids)
            else:
                rows = tuple(map(self.numbers.__getitem__, file_ids))
                as_named = len(set(rows)) == len(rows) and (attachments is None or rows == tuple(attachments))
            return rows if as_named and self.rows.present.all_hold(rows, IN_PROGRESS) else None
        except LookupError:  # a file or an attachment that is not there
            return None

    def require_in_progress(self, file_id: str, tried: str) -> int:
        """Return the attachment of a file in progress; raise ``NotAttached`` or ``AlreadyFinished``."""
        row = self.numbers.get(file_id)
        code = 0 if row is None else self.rows.present.blocks[row >> SHIFT][row & MASK]
        if row is None or not code:
            state = "not attached" if row is None else "no longer attached"
            raise NotAttached(file_id, self.id, state, tried)
        if code != IN_PROGRESS:
            raise AlreadyFinished(file_id, self.id, STATUSES[code], tried)
        return row

    def require_batch(self, batch_id: str) -> Batch:
        """Return the batch; raise ``FileBatchNotFound``."""
        batch = self.batches.get(batch_id)
        if batch is None:
            raise FileBatchNotFound(batch_id, self.id)
        return batch

    def finished_by(self, age: float, time: float) -> tuple[str, ...]:
        """Return the ids of the batches that have been finished for ``age`` seconds at a time.

        The first to finish comes first, ties by id.  O(log n + those).
        """
        n = bisect_right(self.finished, time, key=lambda batch: batch.finished_at + age)  # type: ignore[operator]  # all of them have finished
        return tuple([batch.id for batch in sorted(self.finished[:n], key=attrgetter("finished_at", "id"))])

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
                require_settings(event, self.profile)
            case ev.FileCompleted():
                self._require_present(event)
                self.require_in_progress(event.file_id, "complete")
                validation.integer("usage_bytes", event.usage_bytes, 0, validation.MAX_BYTES)
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
                    validation.integer(f"usage_bytes_each[{i}]", size, 0, validation.MAX_BYTES)
            case ev.FilesFailed():
                self._require_many(event, "fail")
                validation.require_last_error(event.last_error)
            case ev.FileUpdated():
                self._require_present(event)
                validation.require_attributes("attributes", event.attributes, limits)
            case ev.FileDeleted():
                self._require_present(event)
            case ev.FilesCancelled():
                self._require_many(event, "cancel")
                for i, row in enumerate(event.attachments):
                    if not self.draining(row):
                        raise Contradiction(f"attachments[{i}]", f"no batch that drains lists attachment {row}")
            case ev.VectorStoreExpired():
                expires_at = self.expires_at()
                if self.expiry_noted or expires_at is None or event.at < expires_at:
                    why = "it has expired already" if self.expiry_noted else f"it expires at {expires_at}"
                    raise Contradiction("at", f"the vector store cannot expire at {shown(event.at)}: {why}")
            case ev.FileBatchCancelled():
                batch = self.require_batch(validation.own_id("batch_id", event.batch_id, "vsfb_"))
                left = validation.array("left_running", event.left_running, 0, batch.counts[0])
                if not batch.counts[0] or (batch.cancel_asked and left):
                    raise BatchAlreadyFinished(event.batch_id, "finished or draining")
                minimum = batch.first
                for i, row in enumerate(left):
                    minimum = validation.integer(f"left_running[{i}]", row, minimum, batch.stop - 1) + 1
                    if self.rows.present[row] != IN_PROGRESS:
                        raise Contradiction(f"left_running[{i}]", f"attachment {row} is not in progress")
            case ev.FileBatchesPurged():
                ids = validation.array("batch_ids", event.batch_ids, 1, max(1, len(self.batches)))
                latest = -inf
                for i, id in enumerate(ids):
                    batch = self.require_batch(validation.own_id(f"batch_ids[{i}]", id, "vsfb_"))
                    if batch.finished_at is None:
                        raise Contradiction(f"batch_ids[{i}]", f"file batch {shown(id)} is in progress")
                    latest = max(latest, batch.finished_at)
                if tuple(ids) != self.finished_by(0.0, latest):
                    raise Contradiction("batch_ids", "these are not the batches that finished first, in order")
            case ev.FileBatchCreated():
                validation.own_id("batch_id", event.batch_id, "vsfb_")
                if event.batch_id in self.batches:
                    raise IdTaken(event.batch_id, "vsfb_")
                self.require_open(event.at)
                minimum = 0 if self.profile.reattach == "reuse" else 1
                validation.require_new_files(event, limits, minimum=minimum, maximum=limits.batch_files)
                self._require_not_attached("file_ids", event.file_ids)
                require_new_key(self.keys, event)
                validation.exactly("first_attachment", event.first_attachment, self.rows.next)
            case ev.FileAttached():
                self.require_open(event.at)
                validation.exactly("attachment", event.attachment, self.rows.next)
                validation.string("file_id", event.file_id, minimum=1)
                self._require_not_attached("file_id", (event.file_id,))
                require_new_key(self.keys, event)
                validation.require_chunking("chunking_strategy", event.chunking_strategy, limits)
                validation.require_attributes("attributes", event.attributes, limits)

    def batch_of(self, row: int) -> Batch | None:
        """Return the batch that lists the attachment, if one does.  O(log b)."""
        i = bisect_right(self.firsts, row) - 1
        return self.ordered[i] if i >= 0 and row < self.ordered[i].stop else None

    def draining(self, row: int) -> bool:
        """Return whether a batch lists the attachment of which a cancel has left files running.  O(log b)."""
        batch = self.batch_of(row)
        return batch is not None and batch.cancel_asked

    def place(self, param: str, file_id: str) -> int:
        """Return the place of a cursor in the list of files; raise ``UnknownCursor`` or ``DeletedCursor``."""
        row = self.numbers.get(file_id)
        where = f"files of vector store '{self.id}'"
        if row is None:
            raise UnknownCursor(param, file_id, where)
        if self.profile.deleted_cursor == "refuse" and not self.rows.present[row]:
            raise DeletedCursor(param, file_id, where)
        return row

    def batch_place(self, batch: Batch, param: str, file_id: str) -> int:
        """Return the place of a cursor in a batch's list, however often the file was attached since."""
        row = self.numbers.get(file_id, -1)
        if not batch.first <= row < batch.stop:
            rows = self.listed.get(file_id, ())
            i = bisect_left(rows, batch.first)
            row = rows[i] if i < len(rows) else -1
        if batch.first <= row < batch.stop:
            return row
        raise UnknownCursor(param, file_id, f"files of file batch '{batch.id}'")

    def oldest_in_progress(self) -> int | None:
        """Return when the oldest attachment in progress was made, or ``None``.  O(1)."""
        row = self.rows.present.first(IN_PROGRESS)
        return None if row < 0 else self.rows.created_at(row)

    def claimable(self, row: int) -> bool:
        """Return whether the attachment can be claimed now.  O(1)."""
        if self.claims is None:
            return self.rows.present[row] == IN_PROGRESS
        return self.claims.claimable(row)

    def held(self, row: int) -> Claim | None:
        """Return the claim on an attachment that a worker holds.  O(1)."""
        return None if self.claims is None else self.claims.held.get(row)

    def each_claimable(self) -> Iterator[int]:
        """Return the attachments that can be claimed, the oldest first."""
        return self.rows.each_in_progress(0) if self.claims is None else self.claims.each_claimable()

    # Planning: what an event changes

    def _attachments(
        self, file_ids: Sequence[str], event: ev.VectorStoreCreated | ev.FileBatchCreated | ev.FileAttached
    ) -> tuple[Any, ...]:
        """Return what ``_attach`` takes first: the files, who leaves because of them, and the counts after it."""
        if isinstance(event, ev.FileAttached):
            chunking: Sequence[Any] = (event.chunking_strategy,)
            attributes: Sequence[Any] = (event.attributes,)
        else:
            chunking, attributes = event.chunking_strategies, event.attributes_each
        departures: list[Departure] = []
        counts, usage_bytes = list(self.counts), self.usage_bytes
        in_batches: dict[Batch, list[int]] = {}
        if not self.numbers.keys().isdisjoint(file_ids):
            for file_id in file_ids:
                row = self.numbers.get(file_id)
                if row is not None:
                    code = self.rows.present[row]
                    batch = self.batch_of(row)
                    departures.append((file_id, row, code, batch is not None))
                    if code:
                        counts[code - 1] -= 1
                        usage_bytes -= self.rows.usage_bytes(row)
                    if code == IN_PROGRESS and batch is not None:
                        of = in_batches.setdefault(batch, list(batch.counts))
                        of[IN_PROGRESS - 1] -= 1
                        of[DETACHED - 1] += 1
        counts[IN_PROGRESS - 1] += len(file_ids)
        in_progress = list(range(self.rows.next, self.rows.next + len(file_ids)))
        return in_progress, file_ids, chunking, attributes, departures, counts, usage_bytes, in_batches

    def _plan_attach(self, event: ev.FileAttached) -> Put:
        file_ids = (event.file_id,)
        return self._attach, (*self._attachments(file_ids, event), None, self._key(event, event.file_id), event)

    def _plan_batch(self, event: ev.FileBatchCreated) -> Put:
        first, n = event.first_attachment, len(event.file_ids)
        batch = Batch(event.batch_id, int(event.at), first, first + n)
        batch.counts[IN_PROGRESS - 1] = n
        key = self._key(event, event.batch_id)
        return self._attach, (*self._attachments(event.file_ids, event), batch, key, event)

    def _key(self, event: ev.FileAttached | ev.FileBatchCreated, id: str) -> NewKey:
        """Return what is put for the idempotency key of an event."""
        if event.idempotency is None:
            return _NO_KEY
        return event.idempotency, id, idempotency.oldest(self.keys, self.profile.limits.idempotency_keys)

    def _plan_end(self, event: ev.FileCompleted | ev.FileFailed) -> Put:
        if type(event) is ev.FileCompleted:
            code, usage_bytes, error = ENDED["complete"], event.usage_bytes, None
        else:
            code, usage_bytes, error = ENDED["fail"], 0, event.last_error  # type: ignore[union-attr]  # of a FileFailed
        row = event.attachment
        counts = self.counts
        running = ended = 0
        batch = self.batch_of(row)
        if batch is not None:
            running, ended = batch.counts[IN_PROGRESS - 1] - 1, batch.counts[code - 1] + 1
        total = self.usage_bytes + usage_bytes
        running_here, ended_here = counts[IN_PROGRESS - 1] - 1, counts[code - 1] + 1
        # One argument: a call with eleven takes twice as long.
        end = (row, code, usage_bytes, error, running_here, ended_here, total, batch, running, ended, event)
        return self._end, (end,)

    def _plan_complete_many(self, event: ev.FilesCompleted) -> Put:
        sizes = event.usage_bytes_each
        return self._plan_end_many(event, event.attachments, ENDED["complete"], sizes, None)

    def _plan_fail_many(self, event: ev.FilesFailed) -> Put:
        sizes = (0,) * len(event.attachments)
        return self._plan_end_many(event, event.attachments, ENDED["fail"], sizes, event.last_error)

    def _plan_cancel_many(self, event: ev.FilesCancelled) -> Put:
        sizes = (0,) * len(event.attachments)
        return self._plan_end_many(event, event.attachments, ENDED["cancel"], sizes, None)

    def _plan_end_many(
        self,
        event: ev.FilesCompleted | ev.FilesFailed | ev.FilesCancelled,
        rows: tuple[int, ...],
        code: int,
        usage_bytes: Sequence[int],
        error: LastError | None,
    ) -> Put:
        """Plan the end of attachments in progress, in any order.  O(files · log files)."""
        n = len(rows)
        in_batches: dict[Batch, list[int]] = {}
        for batch, ended in self._by_batch(rows):
            counts = in_batches[batch] = list(batch.counts)
            counts[IN_PROGRESS - 1] -= ended
            counts[code - 1] += ended
        counts = list(self.counts)
        counts[IN_PROGRESS - 1] -= n
        counts[code - 1] += n
        total = self.usage_bytes + sum(usage_bytes)
        return self._end_many, (rows, code, usage_bytes, error, counts, total, in_batches, event)

    def _by_batch(self, rows: Sequence[int]) -> list[tuple[Batch, int]]:
        """Return the batches that list any of these attachments, each with how many it lists.

        O(rows · log rows), and in C but for O(log rows) for each batch.
        """
        rows = sorted(rows)
        found: list[tuple[Batch, int]] = []
        following = [*self.firsts, self.rows.next]
        start = 0
        while start < len(rows):
            row = rows[start]
            batch = self.batch_of(row)
            end = batch.stop if batch is not None else following[bisect_right(self.firsts, row)]
            stop = bisect_left(rows, end, start)
            if batch is not None:
                found.append((batch, stop - start))
            start = stop
        return found

    def _plan_cancel(self, event: ev.FileBatchCancelled) -> Put:
        batch = self.batches[event.batch_id]
        kept = set(event.left_running)
        n = batch.counts[IN_PROGRESS - 1] - len(kept)
        cancelled = ENDED["cancel"]
        counts, of = list(self.counts), list(batch.counts)
        for each in (counts, of):
            each[IN_PROGRESS - 1] -= n
            each[cancelled - 1] += n
        rows: tuple[int, ...] | None = None  # all of them
        if kept:
            there = self.rows.present.ascending(IN_PROGRESS, batch.first, batch.stop, batch.stop - batch.first)
            rows = tuple([row for row in there if row not in kept])
        return self._cancel, (batch, rows, counts, of, event)

    def _plan_purge(self, event: ev.FileBatchesPurged) -> Put:
        batches = [self.batches[id] for id in event.batch_ids]
        forgotten: list[int] = []
        of_files: dict[str, list[int]] = {}
        for batch in batches:
            for row in self.rows.left_between(batch.first, batch.stop):
                id = self.rows.id(row)
                if self.numbers.get(id) != row:  # else it is a valid cursor of the store's list
                    forgotten.append(row)
                    of_files.setdefault(id, []).append(row)
        listed = {id: [row for row in self.listed[id] if row not in rows] for id, rows in of_files.items()}
        places = sorted(bisect_left(self.firsts, batch.first) for batch in batches if batch.first < batch.stop)
        runs: list[tuple[int, int, Batch]] = []
        for place in places:
            start = runs.pop()[0] if runs and runs[-1][1] == place else place
            runs.append((start, place + 1, self.ordered[start]))
        return self._purge, (batches, runs[::-1], forgotten, listed, event)

    def _plan_expire(self, event: ev.VectorStoreExpired) -> Put:
        return self._expire, (event,)

    def _plan_update(self, event: ev.VectorStoreUpdated) -> Put:
        return self._update, (event,)

    def _plan_update_file(self, event: ev.FileUpdated) -> Put:
        return self._update_file, (event.attachment, event)

    def _plan_delete_file(self, event: ev.FileDeleted) -> Put:
        row, code = event.attachment, self.rows.present[event.attachment]
        batch = self.batch_of(row)
        counts = list(self.counts)
        counts[code - 1] -= 1
        usage_bytes = self.usage_bytes - self.rows.usage_bytes(row)
        in_batches: dict[Batch, list[int]] = {}
        if code == IN_PROGRESS and batch is not None:
            of = in_batches[batch] = list(batch.counts)
            of[IN_PROGRESS - 1] -= 1
            of[DETACHED - 1] += 1
        forgotten: Departure | None = None
        if len(self.departed) >= self.profile.limits.departed:
            file_id = next(iter(self.departed))
            number = self.numbers[file_id]
            forgotten = (file_id, number, 0, self.batch_of(number) is not None)
        return self._delete_file, (event.file_id, row, code, forgotten, counts, usage_bytes, in_batches, event)

    # Putting: each of these only assigns

    def _seen(self, event: ev.Event) -> None:
        """Note that an event has happened."""
        at = event.at
        self.at = at
        if self.expires_after is None or not self.expired(at):
            self.last_active_at = int(at)
        self._value = None
        self.version = event.version

    def _count(self, counts: list[int], in_batches: dict[Batch, list[int]], at: float) -> None:
        self.counts[:] = counts
        for batch, of in in_batches.items():
            batch.counts[:] = of
            batch.forget_value()
            if not of[IN_PROGRESS - 1]:
                self._finish(batch, at)

    def _finish(self, batch: Batch, at: float) -> None:
        """Note when a batch has finished, once."""
        if batch.finished_at is None:
            if self.finished is NO_BATCHES:
                self.finished = []
            if not self.finished or self.finished[-1] is not batch:
                self.finished.append(batch)
            batch.finished_at = at

    def _attach(
        self,
        rows: list[int],
        file_ids: Sequence[str],
        chunking: Sequence[Any],
        attributes: Sequence[Any],
        departures: list[Departure],
        counts: list[int],
        usage_bytes: int,
        in_batches: dict[Batch, list[int]],
        batch: Batch | None,
        key: NewKey,
        event: ev.VectorStoreCreated | ev.FileBatchCreated | ev.FileAttached,
    ) -> None:
        for file_id, row, code, listed in departures:
            if self.claims is not None:
                self.claims.forget(row)
            if code:
                self.rows.detach(row, code)
            self.departed.pop(file_id, None)
            self._release(file_id, row, listed)
        if batch is not None:
            if self.batches is NO_BATCHES_BY_ID:
                self.batches = {}
            self.batches[batch.id] = batch
        if rows:
            self.rows.append(rows[0], file_ids, int(event.at), chunking, attributes)
            self.numbers.update(zip(file_ids, rows, strict=True))
        if batch is not None and rows:
            if self.ordered is NO_BATCHES:
                self.ordered = []
            if self.firsts is NO_FIRSTS:
                self.firsts = []
            place = bisect_left(self.firsts, batch.first)
            self.ordered[place:] = [batch]
            self.firsts[place:] = [batch.first]
        elif batch is not None:
            self._finish(batch, event.at)
        self.keys = idempotency.keep(self.keys, *key)
        self._count(counts, in_batches, event.at)
        self.usage_bytes = usage_bytes
        self._seen(event)

    def _release(self, file_id: str, row: int, listed: bool) -> None:
        """Keep an attachment for its batch alone, or forget it."""
        if listed:
            if self.listed is NONE_LISTED:
                self.listed = {}
            rows = self.listed.setdefault(file_id, [])
            if not rows or rows[-1] < row:
                rows.append(row)
        else:
            self.rows.forget(row)

    def _end(self, end: _End) -> None:
        row, code, usage_bytes, error, running, ended, total, batch, batch_running, batch_ended, event = end
        self.rows.end(row, code, usage_bytes, error)
        if self.claims is not None:
            self.claims.forget(row)
        counts = self.counts
        counts[IN_PROGRESS - 1] = running
        counts[code - 1] = ended
        if batch is not None:
            counts = batch.counts
            counts[IN_PROGRESS - 1] = batch_running
            counts[code - 1] = batch_ended
            batch.forget_value()
            if not batch_running:
                self._finish(batch, event.at)
        self.usage_bytes = total
        self._seen(event)

    def _end_many(
        self,
        rows: tuple[int, ...],
        code: int,
        usage_bytes: Sequence[int],
        error: LastError | None,
        counts: list[int],
        total: int,
        in_batches: dict[Batch, list[int]],
        event: ev.FilesCompleted | ev.FilesFailed | ev.FilesCancelled,
    ) -> None:
        self.rows.end_many(rows, code, usage_bytes, error)
        if self.claims is not None:
            self.claims.forget_all(rows)
        self._count(counts, in_batches, event.at)
        self.usage_bytes = total
        self._seen(event)

    def _cancel(
        self,
        batch: Batch,
        rows: tuple[int, ...] | None,
        counts: list[int],
        of: list[int],
        event: ev.FileBatchCancelled,
    ) -> None:
        if rows is None:
            self.rows.cancel(batch.first, batch.stop)
            if self.claims is not None:
                self.claims.forget_between(batch.first, batch.stop)
        elif rows:
            self.rows.end_many(rows, ENDED["cancel"], (0,) * len(rows), None)
            if self.claims is not None:
                self.claims.forget_all(rows)
        batch.cancel_asked = True
        self._count(counts, {batch: of}, event.at)
        self._seen(event)

    def _purge(
        self,
        batches: list[Batch],
        runs: list[tuple[int, int, Batch]],
        forgotten: list[int],
        listed: dict[str, list[int]],
        event: ev.FileBatchesPurged,
    ) -> None:
        for start, stop, batch in runs:  # the last first, so that the places of the others stay what they are
            if start < len(self.ordered) and self.ordered[start] is batch:
                del self.ordered[start:stop]
            if start < len(self.firsts) and self.firsts[start] == batch.first:
                del self.firsts[start:stop]
        gone = set(batches)
        n = 0
        while n < len(self.finished) and self.finished[n] in gone:
            n += 1
        del self.finished[:n]
        for batch in batches:
            self.batches.pop(batch.id, None)
        for file_id, rows in listed.items():
            if rows:
                self.listed[file_id] = rows
            else:
                self.listed.pop(file_id, None)
        for row in forgotten:
            self.rows.forget(row)
        self.at, self.version = event.at, event.version  # it is no activity

    def _expire(self, event: ev.VectorStoreExpired) -> None:
        self.expiry_noted = True
        self._seen(event)

    def _update(self, event: ev.VectorStoreUpdated) -> None:
        self.name, self.expires_after, self.metadata = event.name, event.expires_after, event.metadata
        self.last_active_at = int(event.at)
        self.expiry_noted = False
        self._seen(event)

    def _update_file(self, row: int, event: ev.FileUpdated) -> None:
        self.rows.set_attributes(row, event.attributes)
        self._seen(event)

    def _delete_file(
        self,
        file_id: str,
        row: int,
        code: int,
        forgotten: Departure | None,
        counts: list[int],
        usage_bytes: int,
        in_batches: dict[Batch, list[int]],
        event: ev.FileDeleted,
    ) -> None:
        self.rows.detach(row, code)
        if self.claims is not None:
            self.claims.forget(row)
        if self.departed is NONE_DEPARTED:
            self.departed = OrderedDict()
        self.departed[file_id] = None
        if forgotten is not None:
            oldest, number, _, listed = forgotten
            self.departed.pop(oldest, None)
            self.numbers.pop(oldest, None)
            self._release(oldest, number, listed)
        self._count(counts, in_batches, event.at)
        self.usage_bytes = usage_bytes
        self._seen(event)

    # Saving, and proving

    def restore(
        self,
        *,
        at: float,
        version: int,
        last_active_at: int,
        rows: Rows,
        departed: Sequence[int],
        expiry_noted: bool,
        batches: Iterable[Batch],
        keys: idempotency.Keys,
    ) -> None:
        """Fill an empty store with its parts: the truth as given, all else worked out.  O(n)."""
        self.at, self.version, self.last_active_at, self.rows = at, version, last_active_at, rows
        self.expiry_noted, self.keys = expiry_noted, keys
        if departed:
            self.departed = OrderedDict((rows.id(row), None) for row in departed)
        self.batches = {batch.id: batch for batch in batches} or NO_BATCHES_BY_ID
        self._derive()
        while len(self.departed) > self.profile.limits.departed:  # the profile is not the one it was saved with
            file_id, _ = self.departed.popitem(last=False)
            row = self.numbers.pop(file_id)
            self._release(file_id, row, self.batch_of(row) is not None)

    def _derive(self) -> None:
        """Work out all that follows from the rows, what left, and the batches' intervals.  O(n)."""
        self.ordered = [batch for batch in self.batches.values() if batch.first < batch.stop]
        finished = [batch for batch in self.batches.values() if batch.finished_at is not None]
        self.finished = sorted(finished, key=attrgetter("finished_at")) or NO_BATCHES
        self.firsts = [batch.first for batch in self.ordered]
        self.numbers, self.listed = self.rows.here(), {}
        for row, id in self.rows.gone():
            if id in self.departed:
                before = self.numbers.get(id)
                if before is not None:
                    self.listed.setdefault(id, []).append(before)
                self.numbers[id] = row
            else:
                self.listed.setdefault(id, []).append(row)
        self.counts, self.usage_bytes = self.rows.counts()
        for batch in self.batches.values():
            batch.counts = self.rows.counts_between(batch.first, batch.stop)
            batch.forget_value()
        self._value = None

    def check(self) -> None:
        """Recompute every count and index; raise ``Inconsistent`` naming the first that differs.  O(n)."""
        where = f"vector store '{self.id}'"
        self.rows.check(where)
        stop = 0
        for id, batch in self.batches.items():
            if not stop <= batch.first <= batch.stop <= self.rows.next:
                raise Inconsistent(f"the rows of file batch '{id}'", (batch.first, batch.stop), f"from {stop}")
            stop = batch.stop
        fresh = Store.__new__(Store)
        fresh.rows, fresh.departed = self.rows, self.departed
        fresh.batches = {id: copy(batch) for id, batch in self.batches.items()}
        fresh._derive()
        if self._value is not None:
            counts = self._value.file_counts
            fresh_counts = new_counts(*fresh.counts)
            if counts != fresh_counts or self._value.usage_bytes != fresh.usage_bytes:
                raise Inconsistent(f"the kept value of {where}", self._value, (fresh_counts, fresh.usage_bytes))
            value, self._value = self._value, None
            again = self.value(inf if value.status == "expired" else -inf)
            self._value = value
            if value != again:
                raise Inconsistent(f"the kept value of {where}", value, again)
        times = [self.created_at, *self.rows.times(), int(self.at)]
        for earlier, later in pairwise(times):
            if earlier > later:
                raise Inconsistent(f"the order of times in {where}", (earlier, later), (later, earlier))
        if self.claims is not None:
            self.claims.check(where)
        departed = [id for id in self.departed if self.numbers.get(id) is None or self.find(id) is not None]
        kept = [row for row, _ in self.rows.gone() if fresh.batch_of(row) is None]
        cursors = sorted(fresh.numbers[id] for id in self.departed if id in fresh.numbers)
        cursors = [row for row in cursors if fresh.batch_of(row) is None]
        for what, found, recomputed in (
            ("the attachments by file id", self.numbers, fresh.numbers),
            ("the attachments that batches alone list", self.listed, fresh.listed),
            ("the order of the batches", [b.id for b in self.ordered], [b.id for b in fresh.ordered]),
            (
                "the order in which batches finished",
                list(map(attrgetter("finished_at"), self.finished)),
                list(map(attrgetter("finished_at"), fresh.finished)),
            ),
            (
                "the batches that have finished",
                sorted(batch.id for batch in self.finished),
                sorted(batch.id for batch in fresh.finished),
            ),
            ("the first attachments of the batches", self.firsts, fresh.firsts),
            ("usage_bytes", self.usage_bytes, fresh.usage_bytes),
            ("file_counts", self.counts, fresh.counts),
            ("the files that are attached once", len(fresh.rows.here()), sum(fresh.counts)),
            ("what left and is a cursor", departed, []),
            ("what no list holds any more", kept, cursors),
        ):
            if found != recomputed:
                raise Inconsistent(f"{what} of {where}", found, recomputed)
        idempotency.check(self.keys, self.profile.limits.idempotency_keys, where)
        if len(self.departed) > self.profile.limits.departed:
            limit = self.profile.limits.departed
            raise Inconsistent(f"how many left {where} and are cursors", len(self.departed), limit)
        for id, batch in self.batches.items():
            if batch.counts != fresh.batches[id].counts:
                raise Inconsistent(f"file_counts of file batch '{id}'", batch.counts, fresh.batches[id].counts)
            batch.check(self.id, self.profile)


PLANS: dict[type[ev.Event], Callable[[Store, Any], Put]] = {
    ev.VectorStoreUpdated: Store._plan_update,
    ev.FileAttached: Store._plan_attach,
    ev.FileUpdated: Store._plan_update_file,
    ev.FileDeleted: Store._plan_delete_file,
    ev.FileCompleted: Store._plan_end,
    ev.FileFailed: Store._plan_end,
    ev.FilesCompleted: Store._plan_complete_many,
    ev.FilesFailed: Store._plan_fail_many,
    ev.FilesCancelled: Store._plan_cancel_many,
    ev.VectorStoreExpired: Store._plan_expire,
    ev.FileBatchCreated: Store._plan_batch,
    ev.FileBatchCancelled: Store._plan_cancel,
    ev.FileBatchesPurged: Store._plan_purge,
}
