"""The API for clients: the names and keyword arguments of the official SDK, over one registry of stores.

Ids of stores and batches that begin with another prefix are refused with 400 (recorded), unknown ones with 404.
Arguments are checked before it is looked whether what they name exists (choice).  ``None`` is an argument that
was not given, but for ``update``, where it means ``null`` and ``omit`` means not given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from vsbatch_core import decisions, idempotency, paging, validation
from vsbatch_core import events as ev
from vsbatch_core.errors import MissingParameter, UnknownCursor
from vsbatch_core.model import (
    NO_ATTRIBUTES,
    ORDERS,
    FileStatus,
    Omit,
    Order,
    Page,
    Profile,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
    new_page,
    omit,
)
from vsbatch_core.registry import ALL, Registry
from vsbatch_core.rows import CODES
from vsbatch_core.store import Store

AttributesArg = Mapping[str, str | int | float | bool]
ObjectArg = Mapping[str, Any]

_FILTERS: dict[Any, int] = {None: 0, **CODES}
"""By filter, the byte to look for; 0 stands for any status."""


class FileBatches:
    """``engine.vector_stores.file_batches``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._limits = registry.profile.limits
        self._read = self._list if _usual(registry.profile) else self._list_by_policy

    def create(
        self,
        vector_store_id: str,
        *,
        file_ids: Sequence[str] | None = None,
        files: Sequence[ObjectArg] | None = None,
        attributes: AttributesArg | None = None,
        chunking_strategy: ObjectArg | None = None,
        idempotency_key: str | None = None,
    ) -> VectorStoreFileBatch:
        """Attach 1 to 2,000 files as one batch; return it, ``in_progress`` (documented).  O(files · log n).

        Give ``file_ids``, to which ``attributes`` and ``chunking_strategy`` apply, or ``files``, objects
        ``{file_id, attributes?, chunking_strategy?}``.  A file that is attached already is attached anew: the
        old attachment leaves the store, and is cancelled if it was in progress (choice).  The profile may say
        that it stays, and then the batch does not list it; or refuse it, as it may a file that is named twice.

        ``idempotency_key`` is as in ``VectorStores.create``.  A store keeps the keys of its files and batches
        together.
        """
        registry = self._registry
        new = validation.batch_files(file_ids, files, attributes, chunking_strategy, registry.profile)
        param = "files" if file_ids is None else "file_ids"
        key = idempotency.of_request(idempotency_key, "vector_stores.file_batches.create", new)
        unknown = registry.require_known(param, new[0], key)

        def decide(store: Store, now: float) -> ev.FileBatchCreated | None:
            def new_id() -> str:
                return registry.new_id("vsfb_", store.batches)

            return decisions.create_batch(store, now, param, new, key, unknown, new_id)

        def created(store: Store, event: ev.FileBatchCreated | None) -> VectorStoreFileBatch:
            id = idempotency.created(store.keys, key) if event is None else event.batch_id
            return _batch(store, str(id))

        return registry.execute(vector_store_id, decide, created)

    def retrieve(self, batch_id: str, *, vector_store_id: str) -> VectorStoreFileBatch:
        """The batch as it stands.  O(1)."""
        return self._registry.view(self._retrieve, batch_id, vector_store_id)

    def _retrieve(self, batch_id: str, vector_store_id: str) -> VectorStoreFileBatch:
        store = self._registry.store(vector_store_id)
        return decisions.batch(store, batch_id).value(store.id, store.profile)

    def cancel(self, batch_id: str, *, vector_store_id: str) -> VectorStoreFileBatch:
        """Cancel the files of the batch that are still in progress (documented in prose).  O(those · log n).

        A finished batch stays as it is (recorded), or is refused if the profile says so.  If the profile says
        ``cancel="drain"``, files that workers hold go on, and the batch is ``in_progress`` until the last of them
        has ended; another cancel meanwhile changes nothing (choice).  Return the batch as it is then, or, if
        the profile says ``cancel_answer="in_progress"``, as it stood before.
        """
        before: VectorStoreFileBatch | None = None

        def decide(store: Store, now: float) -> ev.FileBatchCancelled | None:
            nonlocal before
            event = decisions.cancel_batch(store, now, batch_id)
            if store.profile.cancel_answer == "in_progress":
                before = _batch(store, batch_id)
            return event

        return self._registry.execute(vector_store_id, decide, lambda store, _: before or _batch(store, batch_id))

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
        if order is None:
            order = "desc"
        limits = self._limits
        if type(limit) is not int or not 0 < limit <= limits.page or order not in ORDERS:
            limit, order, filter, before, after = validation.page(limit, order, filter, before, after, limits)
        request = (self._following, batch_id, vector_store_id, limit, order, before, filter)
        return self._registry.view(self._read, request, after)

    def _list(self, request: tuple[Any, ...], after: str | None) -> Page[VectorStoreFile]:
        """Return a page under the usual policies; leave what cannot be found to ``_list_by_policy``."""
        _, batch_id, vector_store_id, limit, order, before, filter = request
        try:
            store = self._registry.stores[vector_store_id]
            batch = store.batches[batch_id]
            byte = _FILTERS[filter]
            above = None if after is None else store.batch_place(batch, "after", after)
            below = None if before is None else store.batch_place(batch, "before", before)
        except (KeyError, TypeError, UnknownCursor):  # TypeError: an argument that cannot be hashed
            found = False
        else:
            found = True
        if not found:  # outside of the handler, so that what is raised has no context
            return self._list_by_policy(request, after)
        rows = store.rows
        data, more = rows.page(rows.status, byte, batch.first, batch.stop, order, limit, above, below)
        return new_page(data, more, request)

    def _list_by_policy(self, request: tuple[Any, ...], after: str | None) -> Page[VectorStoreFile]:
        """Return a page under any policies; raise what the request is refused with."""
        _, batch_id, vector_store_id, limit, order, before, filter = request
        validation.page(limit, order, filter, before, after, self._limits)
        store = self._registry.store(vector_store_id)
        batch = decisions.batch(store, batch_id)
        places = paging.places(store.profile, after, before, partial(store.batch_place, batch))
        rows, ties = store.rows, store.profile.ties
        data, more = rows.page_by(
            ties, rows.status, _FILTERS[filter], batch.first, batch.stop, order, limit, *places
        )
        return new_page(data, more, request)

    def _following(self, *request: Any) -> Page[VectorStoreFile]:
        """Return the page of a request whose last item is ``after``."""
        return self._registry.view(self._read, (self._following, *request[:-1]), request[-1])


def _usual(profile: Profile) -> bool:
    """Return whether a place that is in a list, and the order of numbers, is all that a page needs."""
    policies = profile.deleted_cursor, profile.both_cursors, profile.ties
    return policies == ("keeps_its_place", "between", "request_order")


def _batch(store: Store, batch_id: str) -> VectorStoreFileBatch:
    return store.batches[batch_id].value(store.id, store.profile)


class Files:
    """``engine.vector_stores.files``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._limits = registry.profile.limits
        self._read = self._list if _usual(registry.profile) else self._list_by_policy

    def create(
        self,
        vector_store_id: str,
        *,
        file_id: str | None = None,
        attributes: AttributesArg | None = None,
        chunking_strategy: ObjectArg | None = None,
        idempotency_key: str | None = None,
    ) -> VectorStoreFile:
        """Attach one file, outside any batch; return it, ``in_progress`` (documented).  O(log n).

        A file that is attached already is attached anew (choice).  The profile may say that it stays, and then
        it is returned as it is and nothing happens, so that no key is kept either; or refuse it.

        ``idempotency_key`` is as in ``file_batches.create``.  A repetition returns the file with this id that is
        attached then, be it by the first request or by a later one (choice).
        """
        limits = self._limits
        if file_id is None:
            raise MissingParameter("file_id")
        new = (
            (validation.string("file_id", file_id, minimum=1),),
            (validation.chunking_strategy(chunking_strategy, limits),),
            (validation.attributes(attributes, limits),),
        )
        key = idempotency.of_request(idempotency_key, "vector_stores.files.create", new)
        unknown = self._registry.require_known("file_id", new[0], key)

        def attached(store: Store, _event: object) -> VectorStoreFile:
            return store.rows.read(store.numbers[file_id])

        return self._registry.execute(
            vector_store_id, lambda store, now: decisions.attach_file(store, now, new, key, unknown), attached
        )

    def retrieve(self, file_id: str, *, vector_store_id: str) -> VectorStoreFile:
        """Return the file as it stands.  O(1)."""
        return self._registry.view(self._retrieve, file_id, vector_store_id)

    def _retrieve(self, file_id: str, vector_store_id: str) -> VectorStoreFile:
        store = self._registry.store(vector_store_id)
        return store.rows.value(decisions.attachment(store, file_id))

    def update(self, file_id: str, *, vector_store_id: str, attributes: AttributesArg | None) -> VectorStoreFile:
        """Replace the file's attributes, ``None`` takes all away (documented); return the file.  O(1)."""
        new = validation.attributes(attributes, self._limits)
        return self._registry.execute(
            vector_store_id, lambda store, now: decisions.update_file(store, now, file_id, new), _file
        )

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
        if order is None:
            order = "desc"
        limits = self._limits
        if type(limit) is not int or not 0 < limit <= limits.page or order not in ORDERS:
            limit, order, filter, before, after = validation.page(limit, order, filter, before, after, limits)
        request = (self._following, vector_store_id, limit, order, before, filter)
        return self._registry.view(self._read, request, after)

    def _list(self, request: tuple[Any, ...], after: str | None) -> Page[VectorStoreFile]:
        """Return a page under the usual policies; leave what cannot be found to ``_list_by_policy``."""
        _, vector_store_id, limit, order, before, filter = request
        try:
            store = self._registry.stores[vector_store_id]
            byte = _FILTERS[filter]
            above = None if after is None else store.numbers[after]
            below = None if before is None else store.numbers[before]
        except (KeyError, TypeError):  # TypeError: an argument that cannot be hashed
            found = False
        else:
            found = True
        if not found:  # outside of the handler, so that what is raised has no context
            return self._list_by_policy(request, after)
        rows = store.rows
        data, more = rows.page(rows.present, byte, 0, rows.next, order, limit, above, below)
        return new_page(data, more, request)

    def _list_by_policy(self, request: tuple[Any, ...], after: str | None) -> Page[VectorStoreFile]:
        """Return a page under any policies; raise what the request is refused with."""
        _, vector_store_id, limit, order, before, filter = request
        validation.page(limit, order, filter, before, after, self._limits)
        store = self._registry.store(vector_store_id)
        places = paging.places(store.profile, after, before, store.place)
        rows, ties = store.rows, store.profile.ties
        data, more = rows.page_by(ties, rows.present, _FILTERS[filter], 0, rows.next, order, limit, *places)
        return new_page(data, more, request)

    def _following(self, *request: Any) -> Page[VectorStoreFile]:
        """Return the page of a request whose last item is ``after``."""
        return self._registry.view(self._read, (self._following, *request[:-1]), request[-1])

    def delete(self, file_id: str, *, vector_store_id: str) -> VectorStoreFileDeleted:
        """Take the file out of the store (documented).  O(log n).

        Its batch keeps its row and its counts; if it was in progress it becomes cancelled there (choice).
        """
        return self._registry.execute(
            vector_store_id,
            lambda store, now: decisions.delete_file(store, now, file_id),
            lambda _store, _event: VectorStoreFileDeleted(file_id),
        )


def _file(store: Store, event: ev.FileUpdated) -> VectorStoreFile:
    return store.rows.read(event.attachment)


def _store_value(store: Store, event: ev.VectorStoreUpdated) -> VectorStore:
    return store.value(event.at)


class VectorStores:
    """``engine.vector_stores``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._limits = registry.profile.limits
        self.files = Files(registry)
        self.file_batches = FileBatches(registry)

    def create(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        file_ids: Sequence[str] | None = None,
        chunking_strategy: ObjectArg | None = None,
        expires_after: ObjectArg | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> VectorStore:
        """Make a store, with up to 500 files attached to it or none (documented).  O(files).

        ``chunking_strategy`` applies to those files.  A store without a name is called ``""``, or
        what the profile says.

        If the same request came under the same ``idempotency_key``, of 1 to 255 characters, nothing happens:
        return what that one created, as it stands now, or raise that it is not found if it was deleted since
        (choice).  Raise ``IdempotencyKeyReused`` if another request came under it.  A request that is refused
        leaves no key, and the list of stores keeps the latest 1,000 keys (choice).
        """
        registry, limits = self._registry, self._limits
        chunking = validation.chunking_strategy(chunking_strategy, limits)
        new: validation.NewFiles = ((), (), ())
        if file_ids is not None:
            new = validation.file_ids(
                file_ids, NO_ATTRIBUTES, chunking, minimum=0, maximum=limits.store_files, profile=registry.profile
            )
        checked = (
            validation.name(name, registry.profile.unnamed_store),
            None if description is None else validation.string("description", description),
            validation.expires_after(expires_after, limits),
            validation.metadata(metadata, limits),
        )
        days = None if checked[2] is None else checked[2].days
        key = idempotency.of_request(idempotency_key, "vector_stores.create", new, *checked[:2], days, checked[3])
        unknown = registry.require_known("file_ids", new[0], key)

        def decide(_registry: Registry, now: float) -> ev.VectorStoreCreated | None:
            repeated = idempotency.created(registry.keys, key)
            if repeated is not None:
                registry.store(repeated)
                return None
            if unknown is not None:
                raise unknown
            id = registry.new_id("vs_", registry.listing.numbers)
            stores_version = registry.version + 1
            return ev.VectorStoreCreated(
                now, id, *checked, *new, version=1, stores_version=stores_version, idempotency=key
            )

        def created(_registry: Registry, event: ev.VectorStoreCreated | None) -> VectorStore:
            if event is not None:
                return registry.store(event.vector_store_id).value(event.at)
            store = registry.store(idempotency.created(registry.keys, key))
            return store.value(registry.now(store))

        return registry.execute(ALL, decide, created)

    def retrieve(self, vector_store_id: str) -> VectorStore:
        """The store as it stands; ``expired`` by the engine's clock.  O(1)."""
        return self._registry.view(self._retrieve, vector_store_id)

    def _retrieve(self, vector_store_id: str) -> VectorStore:
        store = self._registry.store(vector_store_id)
        return store.value(self._registry.now(store))

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
        limits, unnamed = self._limits, self._registry.profile.unnamed_store
        new = (
            name if isinstance(name, Omit) else validation.name(name, unnamed),
            omit if isinstance(expires_after, Omit) else validation.expires_after(expires_after, limits),
            omit if isinstance(metadata, Omit) else validation.metadata(metadata, limits),
        )
        return self._registry.execute(
            vector_store_id, lambda store, now: decisions.update_store(store, now, *new), _store_value
        )

    def list(
        self,
        *,
        limit: int | None = None,
        order: Order | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[VectorStore]:
        """A page of the stores.  O(log s + limit), s stores.  See ``paging``."""
        limit, order, _, before, after = validation.page(limit, order, None, before, after, self._limits)
        return self._registry.view(self._list, limit, order, before, after)

    def _list(self, limit: int, order: Order, before: str | None, after: str | None) -> Page[VectorStore]:
        registry = self._registry
        places = paging.places(registry.profile, after, before, registry.place)
        ids, more = registry.listing.page(order, limit, *places)
        stores = [registry.stores[id] for id in ids]
        data = tuple([store.value(registry.now(store)) for store in stores])
        return new_page(data, more, (self._following, limit, order, before))

    def _following(self, limit: int, order: Order, before: str | None, after: str) -> Page[VectorStore]:
        return self._registry.view(self._list, limit, order, before, after)

    def delete(self, vector_store_id: str) -> VectorStoreDeleted:
        """Delete the store, with its files and batches (documented).  O(log s)."""
        registry = self._registry

        def decide(store: Store, now: float) -> ev.VectorStoreDeleted:
            at = max(now, registry.at)
            return ev.VectorStoreDeleted(
                at, store.id, version=store.version + 1, stores_version=registry.version + 1
            )

        return registry.execute(vector_store_id, decide, lambda store, _: VectorStoreDeleted(store.id))
