"""The client face: the names and keyword arguments of the official SDK, over one ledger.

Ids of stores and batches that begin with another prefix are refused with 400 (recorded), unknown ones with 404.
Arguments are checked before it is looked whether what they name exists (choice).  ``None`` is an argument that
was not given, but for ``update``, where it means ``null`` and ``omit`` means not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vsbatch_core import events as ev
from vsbatch_core import paging, validation
from vsbatch_core.batch import Batch
from vsbatch_core.errors import (
    BatchAlreadyFinished,
    FileBatchNotFound,
    FileNotFound,
    MissingParameter,
    UnknownCursor,
)
from vsbatch_core.ledger import Ledger
from vsbatch_core.model import (
    NO_ATTRIBUTES,
    ORDERS,
    FileStatus,
    Omit,
    Order,
    Page,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
    new_file,
    new_page,
    omit,
)
from vsbatch_core.store import Store

AttributesArg = Mapping[str, str | int | float | bool]
ObjectArg = Mapping[str, Any]


def _begin(
    files: Iterable[validation.NewFile], at: float, vector_store_id: str, first: int
) -> tuple[VectorStoreFile, ...]:
    """Return the files as they begin, as attachments ``first`` and following."""
    created_at = int(at)
    return tuple(
        [
            new_file(file_id, created_at, vector_store_id, "in_progress", 0, None, chunking, attributes, number)
            for number, (file_id, chunking, attributes) in enumerate(files, first)
        ]
    )


class FileBatches:
    """``engine.vector_stores.file_batches``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._limits = ledger.profile.limits

    def create(
        self,
        vector_store_id: str,
        *,
        file_ids: Sequence[str] | None = None,
        files: Sequence[ObjectArg] | None = None,
        attributes: AttributesArg | None = None,
        chunking_strategy: ObjectArg | None = None,
    ) -> VectorStoreFileBatch:
        """Attach 1 to 2,000 files as one batch; answer it, ``in_progress`` (documented).  O(files · log n).

        Give ``file_ids``, to which ``attributes`` and ``chunking_strategy`` apply, or ``files``, objects
        ``{file_id, attributes?, chunking_strategy?}``.  A file that is attached already is attached anew: the
        old attachment leaves the store, and is cancelled if it was in progress (choice).
        """
        ledger = self._ledger
        limits = ledger.profile.limits
        new = validation.batch_files(file_ids, files, attributes, chunking_strategy, limits)
        ledger.require_known("files" if file_ids is None else "file_ids", new)
        with ledger.lock:
            store = ledger.store(vector_store_id)
            at = ledger.now(store)
            store.require_open(at)
            batch_id = ledger.new_id("vsfb_", store.batches)
            first = len(store.rows)
            files_begun = _begin(new, at, store.id, first)
            ledger.commit(
                ev.FileBatchCreated(
                    at, store.id, batch_id, files_begun, first_attachment=first, version=store.version + 1
                )
            )
            return store.batches[batch_id].value(store.id, ledger.profile)

    def retrieve(self, batch_id: str, *, vector_store_id: str) -> VectorStoreFileBatch:
        """The batch as it stands.  O(1)."""
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            return _batch(store, batch_id).value(store.id, ledger.profile)

    def cancel(self, batch_id: str, *, vector_store_id: str) -> VectorStoreFileBatch:
        """Cancel the files of the batch that are still in progress (documented in prose).  O(those · log n).

        A finished batch stays as it is (recorded), or is refused if the profile says so.  If the profile says
        ``cancel="drain"``, files that are leased go on, and the batch is ``in_progress`` until the last of them
        has ended; another cancel meanwhile changes nothing (choice).
        """
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            batch = _batch(store, batch_id)
            drain = ledger.profile.cancel == "drain"
            if batch.tally["in_progress"]:
                if not (drain and batch.cancel_asked):
                    at = ledger.now(store)
                    ledger.commit(ev.FileBatchCancelled(at, store.id, batch.id, drain, version=store.version + 1))
            elif ledger.profile.cancel_finished == "refuse":
                raise BatchAlreadyFinished(batch.id, batch.value(store.id, ledger.profile).status)
            return batch.value(store.id, ledger.profile)

    def list_files(
        self,
        batch_id: str,
        *,
        vector_store_id: str,
        limit: int | None = None,
        order: Order | None = None,
        after: str | None = None,
        before: str | None = None,
        filter: FileStatus | None = None,
    ) -> Page[VectorStoreFile]:
        """A page of the files that the batch attached, each as it stands.  O(log n + limit).

        The batch keeps its row for a file that has left the store since (choice).  See ``paging`` for what
        the arguments mean.
        """
        ledger, limits = self._ledger, self._limits
        if order is None:
            order = "desc"
        if type(limit) is not int or not 0 < limit <= limits.page or order not in ORDERS:
            limit, order, filter, before, after = validation.page(limit, order, filter, before, after, limits)
        with ledger.lock:
            try:
                store = ledger.stores[vector_store_id]
                batch = store.batches[batch_id]
                index = store.batch_index[filter]
                above = None if after is None else store.batch_place(batch, "after", after)
                below = None if before is None else store.batch_place(batch, "before", before)
            except (KeyError, TypeError, UnknownCursor):  # TypeError: an argument that can not be hashed
                validation.page(limit, order, filter, before, after, limits)
                _batch(ledger.store(vector_store_id), batch_id)
                raise
            data, more = paging.page(index, store.rows, batch.first, batch.stop, order, limit, above, below)
        return new_page(data, more, (self._following, batch_id, vector_store_id, limit, order, before, filter))

    def _following(
        self,
        batch_id: str,
        vector_store_id: str,
        limit: int,
        order: Order,
        before: str | None,
        filter: FileStatus | None,
        after: str,
    ) -> Page[VectorStoreFile]:
        return self.list_files(
            batch_id,
            vector_store_id=vector_store_id,
            limit=limit,
            order=order,
            after=after,
            before=before,
            filter=filter,
        )


def _batch(store: Store, batch_id: Any) -> Batch:
    try:
        return store.batches[batch_id]
    except (KeyError, TypeError):  # TypeError: an argument that can not be hashed
        validation.own_id("batch_id", batch_id, "vsfb_")
        raise FileBatchNotFound(batch_id, store.id) from None


class Files:
    """``engine.vector_stores.files``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._limits = ledger.profile.limits

    def create(
        self,
        vector_store_id: str,
        *,
        file_id: str | None = None,
        attributes: AttributesArg | None = None,
        chunking_strategy: ObjectArg | None = None,
    ) -> VectorStoreFile:
        """Attach one file, outside any batch; answer it, ``in_progress`` (documented).  O(log n).

        A file that is attached already is attached anew (choice).
        """
        ledger = self._ledger
        limits = ledger.profile.limits
        if file_id is None:
            raise MissingParameter("file_id")
        new = (
            validation.string("file_id", file_id, least=1),
            validation.chunking_strategy(chunking_strategy, limits),
            validation.attributes(attributes, limits),
        )
        ledger.require_known("file_id", (new,))
        with ledger.lock:
            store = ledger.store(vector_store_id)
            at = ledger.now(store)
            store.require_open(at)
            number = len(store.rows)
            (file,) = _begin((new,), at, store.id, number)
            ledger.commit(ev.FileAttached(at, store.id, file, version=store.version + 1, attachment=number))
            return store.rows[store.latest[file_id]]

    def retrieve(self, file_id: str, *, vector_store_id: str) -> VectorStoreFile:
        """The file as it stands.  O(1)."""
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            return store.rows[_row(store, file_id)]

    def update(self, file_id: str, *, vector_store_id: str, attributes: AttributesArg | None) -> VectorStoreFile:
        """Replace the file's attributes; ``None`` takes all away (documented).  O(1)."""
        ledger = self._ledger
        new = validation.attributes(attributes, ledger.profile.limits)
        with ledger.lock:
            store = ledger.store(vector_store_id)
            row = _row(store, file_id)
            at = ledger.now(store)
            ledger.commit(ev.FileUpdated(at, store.id, file_id, new, version=store.version + 1, attachment=row))
            return store.rows[row]

    def list(
        self,
        vector_store_id: str,
        *,
        limit: int | None = None,
        order: Order | None = None,
        after: str | None = None,
        before: str | None = None,
        filter: FileStatus | None = None,
    ) -> Page[VectorStoreFile]:
        """A page of the files that are attached now.  O(log n + limit).  See ``paging``."""
        ledger, limits = self._ledger, self._limits
        if order is None:
            order = "desc"
        if type(limit) is not int or not 0 < limit <= limits.page or order not in ORDERS:
            limit, order, filter, before, after = validation.page(limit, order, filter, before, after, limits)
        with ledger.lock:
            try:
                store = ledger.stores[vector_store_id]
                index = store.files_index[filter]
                above = None if after is None else store.latest[after]
                below = None if before is None else store.latest[before]
            except (KeyError, TypeError):  # TypeError: an argument that can not be hashed
                validation.page(limit, order, filter, before, after, limits)
                raise ledger.store(vector_store_id).unknown_cursor(after, before) from None
            data, more = paging.page(index, store.rows, 0, len(store.rows), order, limit, above, below)
        return new_page(data, more, (self._following, vector_store_id, limit, order, before, filter))

    def _following(
        self,
        vector_store_id: str,
        limit: int,
        order: Order,
        before: str | None,
        filter: FileStatus | None,
        after: str,
    ) -> Page[VectorStoreFile]:
        return self.list(vector_store_id, limit=limit, order=order, after=after, before=before, filter=filter)

    def delete(self, file_id: str, *, vector_store_id: str) -> VectorStoreFileDeleted:
        """Take the file out of the store (documented).  O(log n).

        Its batch keeps its row and its counts; if it was in progress it becomes cancelled there (choice).
        """
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            row = _row(store, file_id)
            at = ledger.now(store)
            ledger.commit(ev.FileDeleted(at, store.id, file_id, version=store.version + 1, attachment=row))
        return VectorStoreFileDeleted(file_id)


def _row(store: Store, file_id: Any) -> int:
    try:
        return store.require_file(file_id)
    except (FileNotFound, TypeError):  # TypeError: an argument that can not be hashed
        validation.string("file_id", file_id, least=1)
        raise


class VectorStores:
    """``engine.vector_stores``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.files = Files(ledger)
        self.file_batches = FileBatches(ledger)

    def create(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        file_ids: Sequence[str] | None = None,
        chunking_strategy: ObjectArg | None = None,
        expires_after: ObjectArg | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> VectorStore:
        """Make a store, with up to 500 files attached to it or none (documented).  O(files).

        ``chunking_strategy`` applies to those files.  A store without a name is called ``""`` (choice: typed
        clients want a string).
        """
        ledger = self._ledger
        limits = ledger.profile.limits
        chunking = validation.chunking_strategy(chunking_strategy, limits)
        new: list[validation.NewFile] = []
        if file_ids is not None:
            new = validation.file_ids(file_ids, NO_ATTRIBUTES, chunking, least=0, most=limits.store_files)
        checked = (
            "" if name is None else validation.string("name", name),
            None if description is None else validation.string("description", description),
            validation.expires_after(expires_after, limits),
            validation.metadata(metadata, limits),
        )
        ledger.require_known("file_ids", new)
        with ledger.lock:
            at = ledger.now()
            id = ledger.new_id("vs_", ledger.numbers)
            ledger.commit(
                ev.VectorStoreCreated(
                    at, id, *checked, _begin(new, at, id, 0), version=1, stores_version=ledger.version + 1
                )
            )
            return ledger.store(id).value(at)

    def retrieve(self, vector_store_id: str) -> VectorStore:
        """The store as it stands; ``expired`` by the engine's clock.  O(1)."""
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            return store.value(ledger.now(store))

    def update(
        self,
        vector_store_id: str,
        *,
        name: str | Omit | None = omit,
        expires_after: ObjectArg | Omit | None = omit,
        metadata: Mapping[str, str] | Omit | None = omit,
    ) -> VectorStore:
        """Change what is given, keep the rest (documented).  O(1).

        It counts as activity, so it brings an expired store back to life (choice).
        """
        ledger = self._ledger
        limits = ledger.profile.limits
        new_name = name if name is omit else "" if name is None else validation.string("name", name)
        new_expiry = omit if expires_after is omit else validation.expires_after(expires_after, limits)
        new_metadata = omit if metadata is omit else validation.metadata(metadata, limits)
        with ledger.lock:
            store = ledger.store(vector_store_id)
            at = ledger.now(store)
            ledger.commit(
                ev.VectorStoreUpdated(
                    at,
                    store.id,
                    store.name if isinstance(new_name, Omit) else new_name,
                    store.expires_after if isinstance(new_expiry, Omit) else new_expiry,
                    store.metadata if isinstance(new_metadata, Omit) else new_metadata,
                    version=store.version + 1,
                )
            )
            return store.value(at)

    def list(
        self,
        *,
        limit: int | None = None,
        order: Order | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[VectorStore]:
        """A page of the stores.  O(log s + limit), s stores.  See ``paging``."""
        ledger = self._ledger
        limit, order, _, before, after = validation.page(limit, order, None, before, after, ledger.profile.limits)
        with ledger.lock:
            ids, more = paging.page(
                ledger.gone.index(),
                ledger.ids_made,
                0,
                len(ledger.ids_made),
                order,
                limit,
                None if after is None else ledger.place("after", after),
                None if before is None else ledger.place("before", before),
            )
            stores = [ledger.stores[id] for id in ids]
            data = tuple([store.value(ledger.now(store)) for store in stores])
        return new_page(data, more, (self._following, limit, order, before))

    def _following(self, limit: int, order: Order, before: str | None, after: str) -> Page[VectorStore]:
        return self.list(limit=limit, order=order, after=after, before=before)

    def delete(self, vector_store_id: str) -> VectorStoreDeleted:
        """Delete the store, with its files and batches (documented).  O(log s)."""
        ledger = self._ledger
        with ledger.lock:
            store = ledger.store(vector_store_id)
            at = max(ledger.now(), store.at)
            ledger.commit(
                ev.VectorStoreDeleted(at, store.id, version=store.version + 1, stores_version=ledger.version + 1)
            )
        return VectorStoreDeleted(store.id)
