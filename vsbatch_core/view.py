"""A read-only view of an engine, for those who need more than the API returns: simulations, dashboards."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar, cast

from attrs import evolve

from vsbatch_core.claims import Claim
from vsbatch_core.model import Attributes, FileCounts, FileStatus, VectorStoreFile
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

    @property
    def asks_for_sizes(self) -> bool:
        """Whether the engine was given a ``file_size``."""
        return self._registry.file_size is not None

    @property
    def claims_lapse(self) -> bool:
        """Whether a worker has ever claimed a file until a deadline.  O(1)."""
        return self._registry.due.claims_lapse

    def latest(self) -> float:
        """Return the time of the latest event that anything here has seen; 0.0 if there was none.  O(s)."""
        registry = self._registry
        return registry.view(lambda: max([registry.at, *(store.at for store in registry.stores.values())]))

    @property
    def stores(self) -> int:
        """How many stores there are, as far as this process knows: neither lock nor database is asked.  O(1)."""
        return len(self._registry.stores)

    @property
    def subscribers(self) -> int:
        """How many callbacks are subscribed.  O(1)."""
        return self._registry.subscribers

    @property
    def settled(self) -> bool:
        """Whether all that has happened was delivered to all subscribers, and nothing is under way.  O(1).

        Does not wait for other threads: what they do at this very moment is found under way, or comes later.
        """
        registry = self._registry
        return registry._unfinished is None and not registry._undelivered and not registry._delivering

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

    def in_progress(
        self, vector_store_id: str, first: int, stop: int, limit: int, *, last: bool = False
    ) -> Sequence[int]:
        """Return the first attachments in progress in ``first <= attachment < stop``, rising.  O(log n + limit).

        With ``last``, the last of them, in falling order.
        """

        def read(store: Store) -> Sequence[int]:
            present = store.rows.present
            return (present.descending if last else present.ascending)(IN_PROGRESS, first, stop, limit)

        return self._read(vector_store_id, (), read)

    def files(self, vector_store_id: str, attachments: Sequence[int]) -> list[VectorStoreFile]:
        """Return attachments that are not forgotten as they stand, in this order.  O(attachments)."""
        return self._read(vector_store_id, [], lambda store: list(map(store.rows.read, attachments)))

    def each_in_progress(self, attachments: Sequence[tuple[str, int]]) -> list[str | None]:
        """Return the ids of the files of attachments, given by store and number; ``None`` for one that has ended.

        O(attachments).
        """
        stores = self._registry.stores

        def read() -> list[str | None]:
            found: list[str | None] = []
            for vector_store_id, attachment in attachments:
                store = stores.get(vector_store_id)
                rows = None if store is None else store.rows
                here = rows is not None and rows.present[attachment] == IN_PROGRESS
                found.append(rows.id(attachment) if rows is not None and here else None)
            return found

        return self._registry.view(read)

    def file_ids(self, vector_store_id: str, attachments: Sequence[int]) -> list[str]:
        """Return the ids of the files of attachments that are not forgotten, in this order.  O(attachments)."""
        return self._read(vector_store_id, [], lambda store: store.rows.file_ids(attachments))

    def attributes(self, vector_store_id: str, attachments: Sequence[int]) -> list[Attributes]:
        """Return the attributes of attachments that are not forgotten, given in rising order.  O(attachments)."""
        return self._read(vector_store_id, [], lambda store: store.rows.attributes(attachments))

    def attachments(self, vector_store_id: str, file_id: str) -> tuple[int, ...]:
        """Return the attachments of a file that a list holds: those of batches, and the latest.  O(those)."""

        def read(store: Store) -> tuple[int, ...]:
            latest = store.numbers.get(file_id)
            return (*store.listed.get(file_id, ()), *(() if latest is None else (latest,)))

        none: tuple[int, ...] = ()
        return self._read(vector_store_id, none, read)

    def claim(self, vector_store_id: str, attachment: int) -> Claim | None:
        """Return the claim on an attachment that a worker holds.  O(1)."""

        def read(store: Store) -> Claim | None:
            claim = store.held(attachment)
            return None if claim is None else evolve(claim, file=store.rows.read(attachment))

        return self._read(vector_store_id, None, read)

    def batch_of(self, vector_store_id: str, attachment: int) -> str | None:
        """Return the id of the batch that lists an attachment.  O(log b)."""
        batch = self._read(vector_store_id, None, lambda store: store.batch_of(attachment))
        return None if batch is None else batch.id

    def batch_ids(self, vector_store_id: str, limit: int) -> list[str]:
        """Return the ids of the newest batches of a store, the newest first.  O(limit)."""
        return self._read(
            vector_store_id, [], lambda store: [batch.id for batch in reversed(store.ordered[-limit:])]
        )

    def batch_attachments(self, vector_store_id: str, batch_id: str) -> range:
        """Return the attachments that a batch lists.  O(1)."""
        batch = self._read(vector_store_id, None, lambda store: store.batches.get(batch_id))
        return range(0) if batch is None else range(batch.first, batch.stop)

    def batch_bounds(self, vector_store_id: str, first: int, stop: int) -> list[int]:
        """Return where batches begin or end in ``first < attachment < stop``, rising.  O(log b + those)."""

        def read(store: Store) -> list[int]:
            firsts = store.firsts
            batches = store.ordered[max(0, bisect_right(firsts, first) - 1) : bisect_left(firsts, stop)]
            bounds = {bound for batch in batches for bound in (batch.first, batch.stop)}
            return sorted(bound for bound in bounds if first < bound < stop)

        return self._read(vector_store_id, [], read)

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
