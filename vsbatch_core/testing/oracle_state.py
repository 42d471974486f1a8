"""What the oracle knows: lists of all that ever was, from which every answer is counted out anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, Protocol, TypeVar

from vsbatch_core import errors
from vsbatch_core.claims import Claim
from vsbatch_core.model import (
    FILE_STATUSES,
    ExpiresAfter,
    FileCounts,
    FileStatus,
    FrozenDict,
    LastError,
    Profile,
    StaticFileChunkingStrategyObject,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

T = TypeVar("T")

DAY = 86_400

NewFile = tuple[str, StaticFileChunkingStrategyObject, FrozenDict[str, Any]]
"""A file that is to be attached: its id, chunking strategy and attributes."""


class Clock(Protocol):
    """Anything that tells the time."""

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        ...


@dataclass
class Attachment:
    """One file, attached once; ``here`` until it leaves the store."""

    file_id: str
    created_at: int
    chunking: StaticFileChunkingStrategyObject
    attributes: FrozenDict[str, Any]
    status: FileStatus = "in_progress"
    usage_bytes: int = 0
    last_error: LastError | None = None
    here: bool = True
    claim: Claim | None = None
    """The claim that a worker has on it, while it is in progress."""
    attempts: int = 0
    """How many attempts have ended."""
    ready_at: float = -inf
    """When it has waited long enough for another attempt."""

    def value(self, store: Store) -> VectorStoreFile:
        """The file as it is answered."""
        return VectorStoreFile(
            self.file_id,
            self.created_at,
            store.id,
            self.status,
            self.usage_bytes,
            self.last_error,
            self.chunking,
            self.attributes,
        )

    def leave(self) -> None:
        """Leave the store: one in progress becomes cancelled (choice)."""
        self.here = False
        if self.status == "in_progress":
            self.status = "cancelled"


def counts_of(files: Sequence[Attachment]) -> FileCounts:
    """How many of the files stand in each status."""
    statuses = [file.status for file in files]
    return FileCounts(**{status: statuses.count(status) for status in FILE_STATUSES})


@dataclass
class Keyed:
    """A create that came with an idempotency key, and the id of what it created."""

    key: str
    request: str
    id: str


@dataclass
class Batch:
    """The files that were attached together, in the order of the request."""

    id: str
    created_at: int
    files: list[Attachment]
    cancel_asked: bool = False
    finished_at: float | None = None
    """When the last of the files ended."""
    here: bool = True
    """Whether it was not purged."""

    def value(self, store: Store, profile: Profile) -> VectorStoreFileBatch:
        """The batch as it is answered; its status follows from its files."""
        counts = counts_of(self.files)
        status: FileStatus
        if counts.in_progress:
            status = "in_progress"
        elif self.cancel_asked:
            status = "cancelled"
        elif counts.completed:
            status = "completed"
        elif counts.failed:
            status = profile.all_failed
        elif counts.cancelled:
            status = "cancelled"
        else:
            status = "completed"  # it attached no file (choice)
        return VectorStoreFileBatch(
            id=self.id,
            created_at=self.created_at,
            vector_store_id=store.id,
            status=status,
            file_counts=counts,
            object=profile.batch_object,
        )


@dataclass
class Store:
    """A store, with all that was ever attached to it, oldest first."""

    id: str
    name: str | None
    description: str | None
    expires_after: ExpiresAfter | None
    metadata: FrozenDict[str, str]
    at: float
    """The latest time that it has seen: its own time never goes back."""
    created_at: int
    last_active_at: int
    files: list[Attachment] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    keys: list[Keyed] = field(default_factory=list)
    """The creates of files and batches in it that had keys, oldest first."""
    here: bool = True
    expiry_noted: bool = False
    """Whether it was noted that it has expired, and it was not updated since."""

    def attached(self) -> list[Attachment]:
        """The files that are attached now."""
        return [file for file in self.files if file.here]

    def running(self) -> list[Attachment]:
        """The files that are in progress."""
        return [file for file in self.attached() if self.here and file.status == "in_progress"]

    def number(self, file: Attachment) -> int:
        """The number of an attachment: how many there were before it."""
        return next(i for i, other in enumerate(self.files) if other is file)

    def draining(self, file: Attachment) -> bool:
        """Whether a batch lists the attachment that was cancelled and left files running."""
        return any(batch.cancel_asked and any(other is file for other in batch.files) for batch in self.batches)

    def find(self, file_id: str) -> Attachment | None:
        """The file, if it is attached now."""
        return next((file for file in self.attached() if file.file_id == file_id), None)

    def expires_at(self) -> int | None:
        """When it expires if nothing more happens in it."""
        return None if self.expires_after is None else self.last_active_at + self.expires_after.days * DAY

    def expired(self, now: float) -> bool:
        """Whether its time has run out."""
        expires_at = self.expires_at()
        return expires_at is not None and now >= expires_at

    def require_open(self, now: float) -> None:
        """Refuse more files if it has expired (choice)."""
        expires_at = self.expires_at()
        if expires_at is not None and now >= expires_at:
            raise errors.VectorStoreExpired(self.id, expires_at)

    def touch(self, now: float) -> None:
        """Something happened in it: it was active, unless it had expired (choice)."""
        if not self.expired(now):
            self.last_active_at = int(now)
        self.at = now
        for batch in self.batches:
            if batch.finished_at is None and all(file.status != "in_progress" for file in batch.files):
                batch.finished_at = now

    def purge(self, age: float, time: float) -> list[str]:
        """The batches go that have been finished for so long at this time; the first to finish first (choice)."""
        gone = [
            (batch.finished_at, batch.id, batch)
            for batch in self.batches
            if batch.here and batch.finished_at is not None and batch.finished_at + age <= time
        ]
        for _, _, batch in gone:
            batch.here = False
        return [id for _, id, _ in sorted(gone)]

    def to_attach(self, new: Sequence[NewFile], param: str, profile: Profile) -> list[NewFile]:
        """The files that are to be attached, if those that are there stay, or none may be there (choice)."""
        if profile.reattach == "replace":
            return list(new)
        for file_id, _, _ in new:
            if profile.reattach == "refuse" and self.find(file_id) is not None:
                raise errors.AlreadyAttached(param, file_id, self.id)
        return [file for file in new if self.find(file[0]) is None]

    def attach(self, new: Sequence[NewFile], now: float) -> list[Attachment]:
        """Attach files; each replaces the attachment of the same file that is there (choice)."""
        files = []
        for file_id, chunking, attributes in new:
            old = self.find(file_id)
            if old is not None:
                old.leave()
            files.append(Attachment(file_id, int(now), chunking, attributes))
            self.files.append(files[-1])
        return files

    def value(self, now: float) -> VectorStore:
        """The store as it is answered."""
        counts = counts_of(self.attached())
        status: Literal["in_progress", "completed", "expired"]
        if self.expired(now):
            status = "expired"
        elif counts.in_progress:
            status = "in_progress"
        else:
            status = "completed"
        return VectorStore(
            id=self.id,
            created_at=self.created_at,
            name=self.name,
            description=self.description,
            usage_bytes=sum(file.usage_bytes for file in self.attached()),
            file_counts=counts,
            status=status,
            expires_after=self.expires_after,
            expires_at=self.expires_at(),
            last_active_at=self.last_active_at,
            metadata=self.metadata,
        )


def repeated(keys: Sequence[Keyed], key: str | None, request: str, profile: Profile) -> str | None:
    """The id of what a request created when it came under its key before; the latest keys count (choice)."""
    for kept in keys[-profile.limits.idempotency_keys :]:
        if kept.key == key:
            if kept.request != request:
                raise errors.IdempotencyKeyReused(key, kept.id)
            return kept.id
    return None


def request_of(operation: str, new: Sequence[NewFile], *others: object) -> str:
    """All that a create asks for, as a text that tells 1 from 1.0 and from True, and no order of keys."""
    files = [(id, chunking, sorted(attributes.items())) for id, chunking, attributes in new]
    return repr((operation, files, others))


def in_order(files: Sequence[Attachment], order: str, ties: str) -> list[Attachment]:
    """Files, which are given oldest first, in the order of a list.  sorted() leaves ties as they were."""
    if ties == "by_id":
        files = sorted(files, key=lambda file: (file.created_at, file.file_id))
    if order == "asc":
        return list(files)
    if ties == "same_both_ways":
        return sorted(files, key=lambda file: -file.created_at)
    return list(reversed(files))


def page_of(
    line: Sequence[T], shown: Callable[[T], bool], limit: int, after: T | None, before: T | None
) -> tuple[list[T], bool]:
    """One page of things in the order of their list, and ``has_more``; the cursors are two of them."""
    places = [id(thing) for thing in line]
    start = 0 if after is None else places.index(id(after)) + 1
    stop = len(line) if before is None else places.index(id(before))
    found = [thing for thing in line[start:stop] if shown(thing)]
    more = len(found) > limit
    if before is not None and after is None:
        return found[-limit:], more
    return found[:limit], more


def places_of(
    profile: Profile, after: str | None, before: str | None, things: Sequence[tuple[str, T, bool]], where: str
) -> tuple[T | None, T | None]:
    """What two cursors name among things, each given with its id and whether it is here.

    Where an id is there again, the cursor names the latest (choice).  ``None`` stands for a cursor that was not
    given, or that the profile has not count.
    """
    if after is not None and before is not None:
        if profile.both_cursors == "refuse":
            raise errors.MutuallyExclusive("before", "after")
        if profile.both_cursors == "after":
            before = None
    named: list[T | None] = []
    for param, cursor in (("after", after), ("before", before)):
        meant = [(thing, here) for id, thing, here in things if id == cursor]
        if meant:
            thing, here = meant[-1]
            if profile.deleted_cursor == "refuse" and not here:
                raise errors.DeletedCursor(param, str(cursor), where)
            named.append(thing)
        elif cursor is None or profile.unknown_cursor == "first_page":
            named.append(None)
        else:
            raise errors.UnknownCursor(param, cursor, where)
    return named[0], named[1]


def first_of_each(new: Sequence[NewFile], param: str, profile: Profile) -> list[NewFile]:
    """Of files with the same id, the first; or a refusal (choice)."""
    for i, (file_id, _, _) in enumerate(new):
        if profile.duplicates == "refuse" and any(file_id == earlier[0] for earlier in new[:i]):
            raise errors.DuplicateFile(param, i, file_id)
    return [file for i, file in enumerate(new) if all(file[0] != earlier[0] for earlier in new[:i])]
