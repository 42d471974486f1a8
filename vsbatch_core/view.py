"""A read-only view of an engine, for those who need more than the API returns: simulations, dashboards."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

from vsbatch_core import events as ev
from vsbatch_core.model import FileCounts, FileStatus, VectorStoreFile
from vsbatch_core.registry import Registry
from vsbatch_core.rows import IN_PROGRESS, STATUSES
from vsbatch_core.store import Store

__all__ = ["View"]


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

    def undelivered(self) -> tuple[ev.Event, ...]:
        """Return the events that have happened and that not all subscribers have been called with, in order."""
        return self._registry.view(self._registry.undelivered)

    def size(self, file_id: str) -> int | None:
        """Return what ``file_size`` says of the file; raise ``InvalidSize``."""
        return self._registry.size(file_id)

    def vector_store_ids(self) -> tuple[str, ...]:
        """Return the ids of the stores that are there, oldest first.  O(s)."""
        return self._registry.view(lambda: tuple(self._registry.stores))

    def next_attachment(self, vector_store_id: str) -> int:
        """Return the number that the next attachment of the store gets; 0 if there is no such store.  O(1)."""
        store = self._store(vector_store_id)
        return 0 if store is None else store.rows.next

    def file(self, vector_store_id: str, attachment: int) -> VectorStoreFile | None:
        """Return an attachment as it stands, whether or not its file is still attached.  O(1)."""
        return self._registry.view(self._file, vector_store_id, attachment)

    def _file(self, vector_store_id: str, attachment: int) -> VectorStoreFile | None:
        store = self._store(vector_store_id)
        return store.rows.value(attachment) if store is not None and store.rows.status[attachment] else None

    def status(self, vector_store_id: str, attachment: int) -> FileStatus | None:
        """Return the status of an attachment.  O(1)."""
        store = self._store(vector_store_id)
        code = 0 if store is None else store.rows.status[attachment]
        return STATUSES[code] if code else None

    def in_progress(self, vector_store_id: str, first: int, stop: int, limit: int) -> tuple[int, ...]:
        """Return the first attachments in progress in ``first <= attachment < stop``.  O(log n + limit)."""
        return self._registry.view(self._in_progress, vector_store_id, first, stop, limit, False)

    def last_in_progress(self, vector_store_id: str, first: int, stop: int) -> int | None:
        """Return the last attachment in progress in ``first <= attachment < stop``.  O(log n)."""
        found = self._registry.view(self._in_progress, vector_store_id, first, stop, 1, True)
        return found[0] if found else None

    def _in_progress(
        self, vector_store_id: str, first: int, stop: int, limit: int, falling: bool
    ) -> tuple[int, ...]:
        store = self._store(vector_store_id)
        if store is None:
            return ()
        column = store.rows.present
        return tuple((column.descending if falling else column.ascending)(IN_PROGRESS, first, stop, limit))

    def attachments(self, vector_store_id: str, file_id: str) -> tuple[int, ...]:
        """Return the attachments of a file that a list holds: those of batches, and the latest.  O(those)."""
        return self._registry.view(self._attachments, vector_store_id, file_id)

    def _attachments(self, vector_store_id: str, file_id: str) -> tuple[int, ...]:
        store = self._store(vector_store_id)
        if store is None:
            return ()
        latest = store.numbers.get(file_id)
        return (*store.listed.get(file_id, ()), *(() if latest is None else (latest,)))

    def leased(self, vector_store_id: str, attachment: int) -> bool:
        """Return whether a worker has picked the attachment up.  O(1)."""
        store = self._store(vector_store_id)
        return store is not None and attachment in store.leased

    def batch_of(self, vector_store_id: str, attachment: int) -> str | None:
        """Return the id of the batch that lists an attachment.  O(log b)."""
        return self._registry.view(self._batch_of, vector_store_id, attachment)

    def _batch_of(self, vector_store_id: str, attachment: int) -> str | None:
        store = self._store(vector_store_id)
        batch = None if store is None else store.batch_of(attachment)
        return None if batch is None else batch.id

    def batch_attachments(self, vector_store_id: str, batch_id: str) -> range:
        """Return the attachments that a batch lists.  O(1)."""
        store = self._store(vector_store_id)
        batch = None if store is None else store.batches.get(batch_id)
        return range(0) if batch is None else range(batch.first, batch.stop)

    def file_counts(self, vector_store_id: str, batch_id: str) -> FileCounts | None:
        """Return the counts of a batch.  O(1)."""
        return self._registry.view(self._file_counts, vector_store_id, batch_id)

    def _file_counts(self, vector_store_id: str, batch_id: str) -> FileCounts | None:
        store = self._store(vector_store_id)
        batch = None if store is None else store.batches.get(batch_id)
        return None if batch is None else batch.file_counts()

    def _store(self, vector_store_id: str) -> Store | None:
        return self._registry.stores.get(vector_store_id)
