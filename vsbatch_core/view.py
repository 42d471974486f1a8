"""A read-only view of an engine, for those who need more than the API returns: simulations, dashboards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar, cast

from vsbatch_core.claims import Claim
from vsbatch_core.model import FileCounts, FileStatus, VectorStoreFile
from vsbatch_core.registry import Registry
from vsbatch_core.rows import IN_PROGRESS, STATUSES
from vsbatch_core.store import Store

__all__ = ["View"]

T = TypeVar("T")


class View:
    """``engine.view``: what the engine holds, by attachment number.

    An attachment is one file in one store, and its number is unique there: see
    ``VectorStoreFile.attachment``.  A store, batch or attachment that is not there, or is forgotten, is
    returned as ``None`` or as empty, never raised.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def hold(self) -> AbstractContextManager[object]:
        """Return a context in which other threads wait, so that what several calls return belongs together."""
        return cast("AbstractContextManager[object]", self._registry.lock)

    def size(self, file_id: str) -> int | None:
        """Return what ``file_size`` says of the file; raise ``InvalidSize``."""
        return self._registry.size(file_id)

    def vector_store_ids(self) -> tuple[str, ...]:
        """Return the ids of the stores that are there, oldest first.  O(s)."""
        return self._registry.view(lambda: tuple(self._registry.stores))

    def next_attachment(self, vector_store_id: str) -> int:
        """Return the number that the next attachment of the store gets; 0 if there is no such store.  O(1)."""
        return self._read(vector_store_id, 0, lambda store: store.rows.next)

    def file(self, vector_store_id: str, attachment: int) -> VectorStoreFile | None:
        """Return an attachment as it stands, whether or not its file is still attached.  O(1)."""
        return self._read(
            vector_store_id,
            None,
            lambda store: store.rows.value(attachment) if store.rows.status[attachment] else None,
        )

    def status(self, vector_store_id: str, attachment: int) -> FileStatus | None:
        """Return the status of an attachment.  O(1)."""
        code = self._read(vector_store_id, 0, lambda store: store.rows.status[attachment])
        return STATUSES[code] if code else None

    def in_progress(self, vector_store_id: str, first: int, stop: int, limit: int) -> tuple[int, ...]:
        """Return the first attachments in progress in ``first <= attachment < stop``.  O(log n + limit)."""
        none: tuple[int, ...] = ()
        return self._read(
            vector_store_id,
            none,
            lambda store: tuple(store.rows.present.ascending(IN_PROGRESS, first, stop, limit)),
        )

    def last_in_progress(self, vector_store_id: str, first: int, stop: int) -> int | None:
        """Return the last attachment in progress in ``first <= attachment < stop``.  O(log n)."""
        found: Sequence[int] = self._read(
            vector_store_id, (), lambda store: store.rows.present.descending(IN_PROGRESS, first, stop, 1)
        )
        return found[0] if found else None

    def attachments(self, vector_store_id: str, file_id: str) -> tuple[int, ...]:
        """Return the attachments of a file that a list holds: those of batches, and the latest.  O(those)."""

        def read(store: Store) -> tuple[int, ...]:
            latest = store.numbers.get(file_id)
            return (*store.listed.get(file_id, ()), *(() if latest is None else (latest,)))

        none: tuple[int, ...] = ()
        return self._read(vector_store_id, none, read)

    def claim(self, vector_store_id: str, attachment: int) -> Claim | None:
        """Return the claim on an attachment that a worker holds.  O(1)."""
        return self._read(vector_store_id, None, lambda store: store.held(attachment))

    def batch_of(self, vector_store_id: str, attachment: int) -> str | None:
        """Return the id of the batch that lists an attachment.  O(log b)."""
        batch = self._read(vector_store_id, None, lambda store: store.batch_of(attachment))
        return None if batch is None else batch.id

    def batch_attachments(self, vector_store_id: str, batch_id: str) -> range:
        """Return the attachments that a batch lists.  O(1)."""
        batch = self._read(vector_store_id, None, lambda store: store.batches.get(batch_id))
        return range(0) if batch is None else range(batch.first, batch.stop)

    def file_counts(self, vector_store_id: str, batch_id: str) -> FileCounts | None:
        """Return the counts of a batch.  O(1)."""

        def read(store: Store) -> FileCounts | None:
            batch = store.batches.get(batch_id)
            return None if batch is None else batch.file_counts()

        return self._read(vector_store_id, None, read)

    def _read(self, vector_store_id: str, missing: T, read: Callable[[Store], T]) -> T:
        """Return what is read of a store; ``missing`` if there is no such store."""
        stores = self._registry.stores

        def look() -> T:
            store = stores.get(vector_store_id)
            return missing if store is None else read(store)

        return self._registry.view(look)
