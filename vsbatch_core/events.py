"""Facts that happened, in the order in which they happened; the engine's state is what they add up to.

An event says what was asked and when, with every default filled in and every id chosen, and no more: what follows
from it (which files a cancel ends, what the counts become) is worked out where it is applied, always in the same
way.  ``at`` is in seconds since the Unix epoch.

Where an event attaches many files, ``file_ids`` names them in order, each once; ``chunking_strategies`` and
``attributes_each`` hold one value for all of them, or one for each.

Events are numbered, so that a follower notices one that is missing, doubled or out of order.  ``version`` counts
the events of one store from 1; ``stores_version`` counts the events of the list of stores, which are creations
and deletions.  ``attachment`` is the number of the attachment within its store: it is never used again, while a
file id may be attached many times.

``idempotency`` is the key that a create came with, or ``None``.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from attrs import field, frozen

from vsbatch_core.model import (
    Attributes,
    ExpiresAfter,
    Idempotency,
    LastError,
    Metadata,
    StaticFileChunkingStrategyObject,
    constructor,
)


@frozen(slots=True, weakref_slot=False)
class VectorStoreCreated:
    """A store was made, with files attached to it or none."""

    kind: ClassVar[Literal["vector_store.created"]] = "vector_store.created"
    at: float
    vector_store_id: str
    name: str | None
    description: str | None
    expires_after: ExpiresAfter | None
    metadata: Metadata
    file_ids: tuple[str, ...] = ()
    chunking_strategies: tuple[StaticFileChunkingStrategyObject, ...] = ()
    attributes_each: tuple[Attributes, ...] = ()
    version: int = field(kw_only=True)
    stores_version: int = field(kw_only=True)
    idempotency: Idempotency | None = field(default=None, kw_only=True)


@frozen(slots=True, weakref_slot=False)
class VectorStoreUpdated:
    """A store's name, expiry and metadata became these."""

    kind: ClassVar[Literal["vector_store.updated"]] = "vector_store.updated"
    at: float
    vector_store_id: str
    name: str | None
    expires_after: ExpiresAfter | None
    metadata: Metadata
    version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class VectorStoreExpired:
    """A store's time has run out; an update of the store brings it back to life."""

    kind: ClassVar[Literal["vector_store.expired"]] = "vector_store.expired"
    at: float
    vector_store_id: str
    version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class VectorStoreDeleted:
    """A store is gone, with its files and batches."""

    kind: ClassVar[Literal["vector_store.deleted"]] = "vector_store.deleted"
    at: float
    vector_store_id: str
    version: int = field(kw_only=True)
    stores_version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileAttached:
    """One file was attached outside any batch."""

    kind: ClassVar[Literal["vector_store.file.attached"]] = "vector_store.file.attached"
    at: float
    vector_store_id: str
    file_id: str
    chunking_strategy: StaticFileChunkingStrategyObject
    attributes: Attributes
    version: int = field(kw_only=True)
    attachment: int = field(kw_only=True)
    idempotency: Idempotency | None = field(default=None, kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileUpdated:
    """A file's attributes became these."""

    kind: ClassVar[Literal["vector_store.file.updated"]] = "vector_store.file.updated"
    at: float
    vector_store_id: str
    file_id: str
    attributes: Attributes
    version: int = field(kw_only=True)
    attachment: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileDeleted:
    """A file left the store; one in progress becomes cancelled in its batch."""

    kind: ClassVar[Literal["vector_store.file.deleted"]] = "vector_store.file.deleted"
    at: float
    vector_store_id: str
    file_id: str
    version: int = field(kw_only=True)
    attachment: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileCompleted:
    """A file was processed; it takes up this many bytes."""

    kind: ClassVar[Literal["vector_store.file.completed"]] = "vector_store.file.completed"
    at: float
    vector_store_id: str
    file_id: str
    usage_bytes: int
    version: int = field(kw_only=True)
    attachment: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileFailed:
    """A file could not be processed."""

    kind: ClassVar[Literal["vector_store.file.failed"]] = "vector_store.file.failed"
    at: float
    vector_store_id: str
    file_id: str
    last_error: LastError
    version: int = field(kw_only=True)
    attachment: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FilesCompleted:
    """Files were processed, all in one step; the three tuples are parallel."""

    kind: ClassVar[Literal["vector_store.files.completed"]] = "vector_store.files.completed"
    at: float
    vector_store_id: str
    file_ids: tuple[str, ...]
    attachments: tuple[int, ...]
    usage_bytes_each: tuple[int, ...]
    version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FilesFailed:
    """Files could not be processed, all in one step and for the same reason; the two tuples are parallel."""

    kind: ClassVar[Literal["vector_store.files.failed"]] = "vector_store.files.failed"
    at: float
    vector_store_id: str
    file_ids: tuple[str, ...]
    attachments: tuple[int, ...]
    last_error: LastError
    version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FilesCancelled:
    """Files of batches that drain became cancelled: nobody holds them any more.  The tuples are parallel."""

    kind: ClassVar[Literal["vector_store.files.cancelled"]] = "vector_store.files.cancelled"
    at: float
    vector_store_id: str
    file_ids: tuple[str, ...]
    attachments: tuple[int, ...]
    version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileBatchCreated:
    """Files were attached together, as one batch.

    A file that the request named and that was attached already is not among them if the profile says
    ``reattach="reuse"``; they may then be none.
    """

    kind: ClassVar[Literal["vector_store.file_batch.created"]] = "vector_store.file_batch.created"
    at: float
    vector_store_id: str
    batch_id: str
    file_ids: tuple[str, ...]
    chunking_strategies: tuple[StaticFileChunkingStrategyObject, ...]
    attributes_each: tuple[Attributes, ...]
    first_attachment: int = field(kw_only=True)
    version: int = field(kw_only=True)
    idempotency: Idempotency | None = field(default=None, kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileBatchCancelled:
    """A batch was cancelled: its files in progress become cancelled, but for those left running.

    ``left_running`` names the attachments, in rising order, that workers held when a batch was to drain.
    """

    kind: ClassVar[Literal["vector_store.file_batch.cancelled"]] = "vector_store.file_batch.cancelled"
    at: float
    vector_store_id: str
    batch_id: str
    left_running: tuple[int, ...] = ()
    version: int = field(kw_only=True)


@frozen(slots=True, weakref_slot=False)
class FileBatchesPurged:
    """Finished batches are gone, the first to finish first, ties by id; their files stay in the store."""

    kind: ClassVar[Literal["vector_store.file_batches.purged"]] = "vector_store.file_batches.purged"
    at: float
    vector_store_id: str
    batch_ids: tuple[str, ...]
    version: int = field(kw_only=True)


Event = (
    VectorStoreCreated
    | VectorStoreUpdated
    | VectorStoreExpired
    | VectorStoreDeleted
    | FileAttached
    | FileUpdated
    | FileDeleted
    | FileCompleted
    | FileFailed
    | FilesCompleted
    | FilesFailed
    | FilesCancelled
    | FileBatchCreated
    | FileBatchCancelled
    | FileBatchesPurged
)

file_completed = constructor(FileCompleted)


def attached(event: Event) -> tuple[str, ...]:
    """Return the ids of the files that the event attached, in order."""
    if isinstance(event, FileAttached):
        return (event.file_id,)
    return event.file_ids if isinstance(event, (VectorStoreCreated, FileBatchCreated)) else ()


def ended(event: Event) -> tuple[str, ...]:
    """Return the ids of the files that the event names as ended: completed, failed, cancelled or deleted."""
    if isinstance(event, (FilesCompleted, FilesFailed, FilesCancelled)):
        return event.file_ids
    return (event.file_id,) if isinstance(event, (FileCompleted, FileFailed, FileDeleted)) else ()


def ended_attachments(event: Event) -> tuple[int, ...]:
    """Return the attachments that the event names as ended, parallel to ``ended``."""
    if isinstance(event, (FilesCompleted, FilesFailed, FilesCancelled)):
        return event.attachments
    return (event.attachment,) if isinstance(event, (FileCompleted, FileFailed, FileDeleted)) else ()


def version_in(vector_store_id: str | None, event: Event) -> int | None:
    """Return the version that the event gave a store, or the list of stores; ``None`` if it is not one of its."""
    if vector_store_id is not None:
        return event.version if event.vector_store_id == vector_store_id else None
    return event.stores_version if isinstance(event, (VectorStoreCreated, VectorStoreDeleted)) else None


EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
EVENTS: dict[str, type[Event]] = {event.kind: event for event in EVENT_TYPES}
