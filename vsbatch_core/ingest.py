"""The host face: what the server or test that embeds the engine tells it about the processing of files."""

from __future__ import annotations

from typing import Literal

from vsbatch_core import events as ev
from vsbatch_core import validation
from vsbatch_core.errors import NotAttached, VectorStoreNotFound
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


class Ingest:
    """``engine.ingest``: what waits to be processed, and what became of it."""

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
            ledger.commit(ev.file_leased(ledger.now(store), store.id, file_id))
            return store.rows[row]

    def complete(self, vector_store_id: str, file_id: str, *, usage_bytes: int | None = None) -> VectorStoreFile:
        """The file was processed and takes up ``usage_bytes``; answer it, ``completed``.  O(log n).

        Without ``usage_bytes`` it is the size that ``known_file`` answers, or 0.  Raise ``AlreadyFinished`` or
        ``NotAttached``, and change nothing, if the file can not be completed.
        """
        ledger = self._ledger
        if usage_bytes is not None:
            validation.integer("usage_bytes", usage_bytes, 0, validation.MOST_BYTES)
        elif ledger.known_file is not None:
            usage_bytes = ledger.size(validation.string("file_id", file_id, least=1))
        with ledger.lock:
            store, row = self._find(vector_store_id, file_id, "complete")
            ledger.commit(ev.file_completed(ledger.now(store), store.id, file_id, usage_bytes or 0))
            return store.rows[row]

    def fail(
        self,
        vector_store_id: str,
        file_id: str,
        *,
        code: ErrorCode = "server_error",
        message: str | None = None,
    ) -> VectorStoreFile:
        """The file could not be processed; answer it, ``failed``, with its ``last_error``.  O(log n).

        Raise ``AlreadyFinished`` or ``NotAttached``, and change nothing, if the file can not be failed.
        """
        ledger = self._ledger
        code = validation.error_code(code)
        text = MESSAGES[code] if message is None else validation.string("message", message)
        with ledger.lock:
            store, row = self._find(vector_store_id, file_id, "fail")
            ledger.commit(ev.FileFailed(ledger.now(store), store.id, file_id, LastError(code, text)))
            return store.rows[row]

    def _find(self, vector_store_id: str, file_id: str, tried: Tried) -> tuple[Store, int]:
        """The store, and the row of a file there that what is ``tried`` can be done with; else raise."""
        try:
            store = self._ledger.store(vector_store_id)
            if tried == "lease":
                return store, store.require_leasable(file_id)
            return store, store.require_in_progress(file_id, tried)
        except VectorStoreNotFound:
            validation.string("file_id", file_id, least=1)
            raise NotAttached(file_id, vector_store_id, "not there: there is no such store", tried) from None
        except (NotAttached, TypeError):  # TypeError: an argument that can not be hashed
            validation.string("file_id", file_id, least=1)
            raise
