"""The processing of files: what the server or test that embeds the engine calls as files are worked on."""

from __future__ import annotations

from collections.abc import Sequence
from sys import maxsize
from typing import Any

from vsbatch_core import decisions, validation
from vsbatch_core import events as ev
from vsbatch_core.errors import ArrayTooShort, NotAttached, VectorStoreNotFound
from vsbatch_core.model import ErrorCode, LastError, VectorStoreFile
from vsbatch_core.registry import Registry
from vsbatch_core.store import Store

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
    return tuple(validation.string_ids("file_ids", validation.array("file_ids", value, 0, maxsize)))


def _value(store: Store, event: ev.FileCompleted | ev.FileFailed | ev.FileLeased) -> VectorStoreFile:
    return store.rows.read(event.attachment)


def _no_store(tried: str, vector_store_id: str, file_id: Any) -> NotAttached:
    """Return the error for a file of a store that is not there; raise the one for what is no file id."""
    validation.string("file_id", file_id, minimum=1)
    return NotAttached(file_id, vector_store_id, "not there: there is no such store", tried)


def _nothing(_store: Store, _event: ev.Event | None) -> None:
    return None


class Processing:
    """``engine.processing``: what waits to be processed, and what became of it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def pending(self, vector_store_id: str | None = None, *, limit: int = 100) -> list[VectorStoreFile]:
        """Return the oldest attachments in progress, of one store or of all.  O(log n + limit).

        Nothing is leased by it: the same files are returned, leased or not, until they are finished.  Across
        stores they come by ``created_at``, ties by the age of the store (choice).
        """
        limit = validation.integer("limit", limit, 1)
        return self._registry.view(self._pending, vector_store_id, limit)

    def _pending(self, vector_store_id: str | None, limit: int) -> list[VectorStoreFile]:
        registry = self._registry
        return registry.pending(None if vector_store_id is None else registry.store(vector_store_id), limit)

    def lease(self, vector_store_id: str, file_id: str) -> VectorStoreFile:
        """Note that a worker has picked the file up; return it, still ``in_progress``.  O(1).

        It matters to a cancel alone, and only if the profile says ``cancel="drain"``: a leased file then
        finishes (choice).  The lease lasts until the file ends, however it does; it is not needed to finish
        one.  Raise ``AlreadyLeased``, ``AlreadyFinished`` or ``NotAttached``, and change nothing, if the file
        cannot be leased.
        """
        try:
            return self._registry.execute(
                vector_store_id, lambda store, now: decisions.lease_file(store, now, file_id), _value
            )
        except VectorStoreNotFound:
            raise _no_store("lease", vector_store_id, file_id) from None

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
        ``usage_bytes`` it is the size that ``file_size`` returns, or 0.  Raise ``AlreadyFinished`` or
        ``NotAttached`` if the file cannot be completed.
        """
        registry = self._registry
        if usage_bytes is not None:
            if type(usage_bytes) is not int or not 0 <= usage_bytes <= validation.MAX_BYTES:
                validation.integer("usage_bytes", usage_bytes, 0, validation.MAX_BYTES)
        elif registry.file_size is not None:
            usage_bytes = registry.size(validation.string("file_id", file_id, minimum=1))
        try:
            return registry.execute(
                vector_store_id,
                lambda store, now: decisions.complete_file(store, now, file_id, attachment, usage_bytes or 0),
                _value,
            )
        except VectorStoreNotFound:
            raise _no_store("complete", vector_store_id, file_id) from None

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
        if the file cannot be failed.
        """
        error = _error(code, message)
        try:
            return self._registry.execute(
                vector_store_id,
                lambda store, now: decisions.fail_file(store, now, file_id, attachment, error),
                _value,
            )
        except VectorStoreNotFound:
            raise _no_store("fail", vector_store_id, file_id) from None

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
        No files are no step.  Raise ``FilesRefused``, which names each file that cannot be completed and why.
        O(files · log n), and a fraction of that many calls of ``complete``.
        """
        ids = _file_ids(file_ids)
        if isinstance(usage_bytes, (list, tuple)):
            sizes = _one_each("usage_bytes", usage_bytes, len(ids), validation.MAX_BYTES)
        else:
            sizes = (validation.integer("usage_bytes", usage_bytes, 0, validation.MAX_BYTES),) * len(ids)
        numbers = None if attachments is None else _one_each("attachments", attachments, len(ids), None)
        self._registry.execute(
            vector_store_id,
            lambda store, now: decisions.complete_files(store, now, ids, numbers, sizes),
            _nothing,
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
        numbers = None if attachments is None else _one_each("attachments", attachments, len(ids), None)
        self._registry.execute(
            vector_store_id, lambda store, now: decisions.fail_files(store, now, ids, numbers, error), _nothing
        )


def _one_each(param: str, value: Sequence[int], n: int, maximum: int | None) -> tuple[int, ...]:
    """Return ``n`` integers of 0 to ``maximum``."""
    items = validation.array(param, value, 0, n)
    if len(items) < n:
        raise ArrayTooShort(param, n)
    if set(map(type, items)) - {int} or (
        items and (min(items) < 0 or (maximum is not None and max(items) > maximum))
    ):
        for i, item in enumerate(items):
            validation.integer(f"{param}[{i}]", item, 0, maximum)
    return tuple(items)
