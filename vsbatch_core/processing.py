"""The host face: what the server or test that embeds the engine tells it about the processing of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import maxsize
from typing import Any, Literal

from vsbatch_core import events as ev
from vsbatch_core import validation
from vsbatch_core.errors import ArrayTooShort, NotAttached, VectorStoreNotFound
from vsbatch_core.ledger import Ledger
from vsbatch_core.model import ErrorCode, LastError, VectorStoreFile
from vsbatch_core.store import Store
from vsbatch_core.transitions import Trigger

Tried = Trigger | Literal["lease"]
"""What a host tries with a file: to finish it, or to take it up."""

MESSAGES: dict[ErrorCode, str] = {
    "server_error": "An internal error occurred.",
    "unsupported_file": "The file type is not supported.",
    "invalid_file": "The file could not be parsed.",
}
"""What the API says with each code (recorded); used where the host gives no message of its own."""


def _error(code: Any, message: Any) -> LastError:
    code = validation.error_code(code)
    return LastError(code, MESSAGES[code] if message is None else validation.string("message", message))


def _file_ids(value: Any) -> tuple[str, ...]:
    ids = tuple(validation.array("file_ids", value, 0, maxsize))
    for i, file_id in enumerate(ids):
        if type(file_id) is not str or not file_id:
            validation.string(f"file_ids[{i}]", file_id, least=1)
    return ids


class Processing:
    """``engine.processing``: what waits to be processed, and what became of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pending(self, vector_store_id: str | None = None, *, limit: int = 100) -> list[VectorStoreFile]:
        """The oldest attachments in progress, of one store or of all.  O(log n + limit).

        Nothing is leased by it: the same files are answered, leased or not, until they are finished.  Across
        stores they come by ``created_at``, ties by the age of the store (choice).
        """
        ledger = self._ledger
        limit = validation.integer("limit", limit, 1)
        with ledger.lock:
            return ledger.pending(None if vector_store_id is None else ledger.store(vector_store_id), limit)

    def lease(self, vector_store_id: str, file_id: str) -> VectorStoreFile:
        """A worker has picked the file up; answer it, still ``in_progress``.  O(1).

        It matters to a cancel alone, and only if the profile says ``cancel="drain"``: a leased file then
        finishes (choice).  The lease lasts until the file ends, however it does; it is not needed to finish
        one.  Raise ``AlreadyLeased``, ``AlreadyFinished`` or ``NotAttached``, and change nothing, if the file
        can not be leased.
        """
        ledger = self._ledger
        with ledger.lock:
            store, row = self._find(vector_store_id, file_id, "lease")
            at = ledger.now(store)
            ledger.commit(ev.FileLeased(at, store.id, file_id, version=store.version + 1, attachment=row))
            return store.rows[row]

    def complete(
        self,
        vector_store_id: str,
        file_id: str,
        *,
        attachment: int | None = None,
        usage_bytes: int | None = None,
    ) -> VectorStoreFile:
        """Complete a file that was processed and takes up ``usage_bytes``; return it.  O(log n).

        ``attachment`` is the number that ``pending`` gave: a result of an earlier attachment of the file is then
        refused with ``StaleAttachment``.  Without it the file id means the present attachment.  Without
        ``usage_bytes`` it is the size that ``known_file`` returns, or 0.  Raise ``AlreadyFinished`` or
        ``NotAttached`` if the file can not be completed.
        """
        ledger = self._ledger
        if usage_bytes is not None:
            validation.integer("usage_bytes", usage_bytes, 0, validation.MOST_BYTES)
        elif ledger.known_file is not None:
            usage_bytes = ledger.size(validation.string("file_id", file_id, least=1))
        with ledger.lock:
            store, row = self._find(vector_store_id, file_id, "complete", attachment)
            ledger.commit(
                ev.file_completed(ledger.now(store), store.id, file_id, usage_bytes or 0, store.version + 1, row)
            )
            return store.rows[row]

    def fail(
        self,
        vector_store_id: str,
        file_id: str,
        *,
        attachment: int | None = None,
        code: ErrorCode = "server_error",
        message: str | None = None,
    ) -> VectorStoreFile:
        """Fail a file that could not be processed; return it with its ``last_error``.  O(log n).

        ``attachment`` is as in ``complete``.  Raise ``StaleAttachment``, ``AlreadyFinished`` or ``NotAttached``
        if the file can not be failed.
        """
        ledger = self._ledger
        error = _error(code, message)
        with ledger.lock:
            store, row = self._find(vector_store_id, file_id, "fail", attachment)
            at = ledger.now(store)
            ledger.commit(ev.FileFailed(at, store.id, file_id, error, version=store.version + 1, attachment=row))
            return store.rows[row]

    def complete_many(
        self,
        vector_store_id: str,
        file_ids: Sequence[str],
        *,
        attachments: Sequence[int] | None = None,
        usage_bytes: int | Sequence[int] = 0,
    ) -> None:
        """Complete many files of one store in one step: all of them or none, and one event that names them all.

        ``usage_bytes`` is the same for all or one for each, and ``attachments`` one for each, as in ``complete``.
        No files are no step.  Raise ``FilesRefused``, which names each file that can not be completed and why.
        O(files · log n), and a fraction of that many calls of ``complete``.
        """
        ids = _file_ids(file_ids)
        if isinstance(usage_bytes, (list, tuple)):
            sizes = tuple(validation.array("usage_bytes", usage_bytes, 0, len(ids)))
            if len(sizes) < len(ids):
                raise ArrayTooShort("usage_bytes", len(ids))
            for i, size in enumerate(sizes):
                if type(size) is not int or not 0 <= size <= validation.MOST_BYTES:
                    validation.integer(f"usage_bytes[{i}]", size, 0, validation.MOST_BYTES)
        else:
            sizes = (validation.integer("usage_bytes", usage_bytes, 0, validation.MOST_BYTES),) * len(ids)
        self._finish_many(
            vector_store_id,
            ids,
            attachments,
            "complete",
            lambda at, store, rows: ev.FilesCompleted(at, store.id, ids, rows, sizes, version=store.version + 1),
        )

    def fail_many(
        self,
        vector_store_id: str,
        file_ids: Sequence[str],
        *,
        attachments: Sequence[int] | None = None,
        code: ErrorCode = "server_error",
        message: str | None = None,
    ) -> None:
        """Fail many files of one store in one step, all for the same reason; else as ``complete_many``."""
        ids = _file_ids(file_ids)
        error = _error(code, message)
        self._finish_many(
            vector_store_id,
            ids,
            attachments,
            "fail",
            lambda at, store, rows: ev.FilesFailed(at, store.id, ids, rows, error, version=store.version + 1),
        )

    def _finish_many(
        self,
        vector_store_id: str,
        file_ids: tuple[str, ...],
        attachments: Sequence[int] | None,
        tried: Trigger,
        event: Callable[[float, Store, tuple[int, ...]], ev.Event],
    ) -> None:
        if attachments is not None:
            attachments = validation.array("attachments", attachments, 0, len(file_ids))
            if len(attachments) < len(file_ids):
                raise ArrayTooShort("attachments", len(file_ids))
            for i, attachment in enumerate(attachments):
                validation.integer(f"attachments[{i}]", attachment, 0)
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            rows = store.require_all_in_progress(file_ids, attachments, tried)
            if rows:
                ledger.commit(event(ledger.now(store), store, tuple(rows)))

    def _find(
        self, vector_store_id: str, file_id: str, tried: Tried, attachment: int | None = None
    ) -> tuple[Store, int]:
        """Return the store and the row of a file there that what is ``tried`` can be done with; else raise."""
        try:
            store = self._ledger.store(vector_store_id)
            if attachment is not None:
                store.require_attachment(file_id, attachment, tried)
            if tried == "lease":
                return store, store.require_leasable(file_id)
            return store, store.require_in_progress(file_id, tried)
        except VectorStoreNotFound:
            validation.string("file_id", file_id, least=1)
            raise NotAttached(file_id, vector_store_id, "not there: there is no such store", tried) from None
        except (NotAttached, TypeError):  # TypeError: an argument that can not be hashed
            validation.string("file_id", file_id, least=1)
            raise
