"""A naive engine, to compare others with: what the API does, written so that it is right at a glance.

It was written from what is known of the API (the README's table of behaviour), not from the engine, and shares
with it only the values and the errors.  A store is a list of all that was ever attached to it, a batch is a list
of some of these; every answer is counted out anew from the lists.  Every call is O(n), n being all there ever
was; it is meant for histories of some hundred commands.  It knows no threads, no events and no snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

from vsbatch_core import errors
from vsbatch_core.claims import Claim, Completed, Failed, Retry
from vsbatch_core.model import (
    ERROR_CODES,
    NO_ATTRIBUTES,
    FileStatus,
    LastError,
    Page,
    Profile,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
    omit,
)
from vsbatch_core.testing.oracle_arguments import (
    MAX_BYTES,
    MESSAGES,
    age,
    array,
    boolean,
    chunking_of,
    duration,
    each_of,
    expiry_of,
    key_of,
    mapping,
    member,
    name_of,
    one_of,
    own_id,
    page_arguments,
    pairs,
    text,
    whole,
)
from vsbatch_core.testing.oracle_state import (
    Attachment,
    Batch,
    Clock,
    Keyed,
    NewFile,
    Store,
    first_of_each,
    in_order,
    page_of,
    places_of,
    repeated,
    request_of,
)


class Oracle:
    """The naive engine: both faces of ``Engine``, under the same names and arguments.

    ``clock``, ``ids``, ``profile``, ``file_size``, ``retry`` and ``retention`` are those of ``Engine``; a clock
    and an id source must be given, since the answers of the two can be equal only if they come from equal ones.

    ``stores`` are all stores that ever were, and ``claims`` all claims that were ever returned, both oldest
    first; they may be read, to know what to ask for.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ids: Callable[[str], str],
        profile: Profile | None = None,
        file_size: Callable[[str], int | None] | None = None,
        retry: Retry | None = None,
        retention: float | None = None,
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.profile = profile or Profile()
        self.file_size = file_size
        self.retry = retry or Retry()
        self.retention = inf if retention is None else age("retention", retention)
        self.stores: list[Store] = []
        self.keys: list[Keyed] = []
        """The creates of stores that had idempotency keys, oldest first."""
        self.claims: list[Claim] = []
        self.claims_made = 0
        self.leads = False
        """Whether a command was given since it was made, or restarted: only then does time make anything due."""
        self.noted = 0
        """How often time has made something happen."""
        self.at = 0.0
        """The latest time at which a store was made or deleted."""
        self.vector_stores = VectorStores(self)
        self.processing = Processing(self)

    def now(self, store: Store | None = None) -> float:
        """The clock's time; where that has stepped back, the latest that was seen (choice)."""
        return max(self.clock.time(), self.at if store is None else store.at)

    def store(self, vector_store_id: Any) -> Store:
        """The store, which must be there."""
        id = own_id("vector_store_id", vector_store_id, "vs_")
        for store in self.stores:
            if store.id == id and store.here:
                return store
        raise errors.VectorStoreNotFound(id)

    def command(self, vector_store_id: Any) -> Store:
        """The store of a command, once what is due has happened."""
        self.lead()
        return self.store(vector_store_id)

    def view(self, vector_store_id: Any) -> Store:
        """The store that is looked at, once what is due has happened."""
        self.look()
        return self.store(vector_store_id)

    def lead(self) -> None:
        """A command is given: from now on what time makes due happens."""
        self.leads = True
        self.look()

    def look(self) -> None:
        """Have what is due happen: stores expire, claims lapse, what waited can be claimed, drains end."""
        if not self.leads:
            return
        now = self.clock.time()
        for store in self.stores:
            for file in store.running():
                if file.claim is None and store.draining(file):
                    file.status = "cancelled"
                    self._happens(store, max(store.at, now))
        while (time := min(self._moments(), default=inf)) <= now:
            for store in self.stores:
                if store.here and store.purge(self.retention, time):
                    self.noted += 1
                    store.at = max(store.at, time)
                if store.expires_at() == time and store.here and not store.expiry_noted:
                    store.expiry_noted = True
                    self._happens(store, max(store.at, time))
                for file in store.running():
                    if file.ready_at == time:
                        file.ready_at = -inf
                    claim = file.claim
                    if claim is not None and claim.deadline == time:
                        why = f"the claim of worker {errors.shown(claim.worker)} lapsed"
                        self.end(store, file, claim, time, why)

    def _moments(self) -> Iterator[float]:
        """When something becomes due: past times too, of what has not happened yet."""
        for store in self.stores:
            expires_at = store.expires_at()
            if store.here and not store.expiry_noted and expires_at is not None:
                yield expires_at
            for file in store.running():
                if file.ready_at > -inf:
                    yield file.ready_at
                if file.claim is not None:
                    yield file.claim.deadline
            for batch in store.batches:
                if store.here and batch.here and batch.finished_at is not None:
                    yield batch.finished_at + self.retention

    def end(self, store: Store, file: Attachment, claim: Claim, now: float, why: str | None) -> None:
        """End the claim on a file in progress, as an attempt that ended because of ``why``, or as none."""
        file.claim = None
        at = max(store.at, now)
        if store.draining(file):
            file.status = "cancelled"
            self._happens(store, at)
        elif why is None:
            file.attempts = claim.attempt - 1
        elif claim.attempt < self.retry.attempts:
            file.attempts = claim.attempt
            delay = self.retry.backoff
            for _ in range(claim.attempt - 1):
                delay *= self.retry.factor
            delay = min(delay, self.retry.maximum)
            file.ready_at = at + delay if delay else -inf
        else:
            times = "once" if claim.attempt == 1 else f"{claim.attempt} times"
            message = f"{MESSAGES['server_error']} The file was tried {times}; at last {why}."
            file.status, file.last_error = "failed", LastError("server_error", message)
            self._happens(store, at)

    def _happens(self, store: Store, at: float) -> None:
        self.noted += 1
        store.touch(at)

    def restart(self) -> None:
        """Forget all claims and attempts, as an engine that is restored does."""
        self.leads, self.claims_made = False, 0
        for store in self.stores:
            for file in store.files:
                file.claim, file.attempts, file.ready_at = None, 0, -inf

    def file(self, store: Store, file_id: Any) -> Attachment:
        """The file, which must be attached now."""
        file = store.find(text("file_id", file_id, 1))
        if file is None:
            raise errors.FileNotFound(file_id, store.id)
        return file

    def batch(self, store: Store, batch_id: Any) -> Batch:
        """The batch, which must be in this store."""
        id = own_id("batch_id", batch_id, "vsfb_")
        for batch in store.batches:
            if batch.id == id and batch.here:
                return batch
        raise errors.FileBatchNotFound(id, store.id)

    def require_known(self, param: str, new: Sequence[NewFile], key: str | None) -> errors.UnknownFile | None:
        """Refuse a file that the host does not know; at once, unless a key may make it a repetition."""
        for file_id, _, _ in new:
            if self.file_size is not None and self.file_size(file_id) is None:
                unknown = errors.UnknownFile(param, file_id)
                if key is None:
                    raise unknown
                return unknown
        return None


class FileBatches:
    """``oracle.vector_stores.file_batches``."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def create(
        self,
        vector_store_id: Any,
        *,
        file_ids: Any = None,
        files: Any = None,
        attributes: Any = None,
        chunking_strategy: Any = None,
        idempotency_key: Any = None,
    ) -> VectorStoreFileBatch:
        """Attach files as one batch."""
        oracle, limits = self.oracle, self.oracle.profile.limits
        shared = pairs("attributes", attributes, limits, strings_only=False)
        chunking = chunking_of(chunking_strategy, limits)
        if files is not None and file_ids is not None:
            raise errors.MutuallyExclusive("files", "file_ids")
        if files is None and file_ids is None:
            raise errors.MissingParameter("file_ids")
        new: list[NewFile] = []
        if files is None:
            for i, id in enumerate(array("file_ids", file_ids, 1, limits.batch_files)):
                new.append((text(f"file_ids[{i}]", id, 1), chunking, shared))
        else:
            for i, item in enumerate(array("files", files, 1, limits.batch_files)):
                param = f"files[{i}]"
                given = mapping(param, item, ("file_id", "attributes", "chunking_strategy"))
                new.append(
                    (
                        text(f"{param}.file_id", member(param, given, "file_id"), 1),
                        chunking_of(given.get("chunking_strategy"), limits, f"{param}.chunking_strategy"),
                        pairs(f"{param}.attributes", given.get("attributes"), limits, strings_only=False),
                    )
                )
        param = "file_ids" if files is None else "files"
        new = first_of_each(new, param, oracle.profile)
        key, request = key_of(idempotency_key), request_of("file_batches.create", new)
        unknown = oracle.require_known(param, new, key)
        store = oracle.command(vector_store_id)
        before = repeated(store.keys, key, request, oracle.profile)
        if before is not None:
            return oracle.batch(store, before).value(store, oracle.profile)
        if unknown is not None:
            raise unknown
        now = oracle.now(store)
        store.require_open(now)
        new = store.to_attach(new, param, oracle.profile)
        batch = Batch(oracle.ids("vsfb_"), int(now), store.attach(new, now))
        store.batches.append(batch)
        if key is not None:
            store.keys.append(Keyed(key, request, batch.id))
        store.touch(now)
        return batch.value(store, oracle.profile)

    def retrieve(self, batch_id: Any, *, vector_store_id: Any) -> VectorStoreFileBatch:
        """The batch as it stands."""
        store = self.oracle.view(vector_store_id)
        return self.oracle.batch(store, batch_id).value(store, self.oracle.profile)

    def cancel(self, batch_id: Any, *, vector_store_id: Any) -> VectorStoreFileBatch:
        """Cancel the files of the batch that are in progress; if it is to drain, those that nobody holds."""
        oracle = self.oracle
        store = oracle.command(vector_store_id)
        batch = oracle.batch(store, batch_id)
        before = batch.value(store, oracle.profile)
        running = [file for file in batch.files if file.status == "in_progress"]
        drain = oracle.profile.cancel == "drain"
        if running and not (drain and batch.cancel_asked):
            for file in running:
                if not (drain and file.claim is not None):
                    file.status = "cancelled"
            batch.cancel_asked = True
            store.touch(oracle.now(store))
        elif not running and oracle.profile.cancel_finished == "refuse":
            raise errors.BatchAlreadyFinished(batch.id, before.status)
        return before if oracle.profile.cancel_answer == "in_progress" else batch.value(store, oracle.profile)

    def list_files(
        self,
        batch_id: Any,
        *,
        vector_store_id: Any,
        limit: Any = None,
        order: Any = None,
        after: Any = None,
        before: Any = None,
        filter: Any = None,
    ) -> Page[VectorStoreFile]:
        """A page of the files that the batch attached, be they still attached or not."""
        oracle = self.oracle
        size, way, status = page_arguments(oracle.profile.limits, limit, order, filter, before, after)
        store = oracle.view(vector_store_id)
        batch = oracle.batch(store, batch_id)
        where = f"files of file batch '{batch.id}'"
        places = places_of(
            oracle.profile, after, before, [(file.file_id, file, True) for file in batch.files], where
        )
        files, more = page_of(
            in_order(batch.files, way, oracle.profile.ties),
            lambda file: status in (None, file.status),
            size,
            *places,
        )
        return Page(tuple(file.value(store) for file in files), more)


class Files:
    """``oracle.vector_stores.files``."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def create(
        self,
        vector_store_id: Any,
        *,
        file_id: Any = None,
        attributes: Any = None,
        chunking_strategy: Any = None,
        idempotency_key: Any = None,
    ) -> VectorStoreFile:
        """Attach one file, outside any batch."""
        oracle, limits = self.oracle, self.oracle.profile.limits
        if file_id is None:
            raise errors.MissingParameter("file_id")
        new = (
            text("file_id", file_id, 1),
            chunking_of(chunking_strategy, limits),
            pairs("attributes", attributes, limits, strings_only=False),
        )
        key, request = key_of(idempotency_key), request_of("files.create", [new])
        unknown = oracle.require_known("file_id", [new], key)
        store = oracle.command(vector_store_id)
        if repeated(store.keys, key, request, oracle.profile) is not None:
            return oracle.file(store, file_id).value(store)
        if unknown is not None:
            raise unknown
        now = oracle.now(store)
        store.require_open(now)
        if store.to_attach([new], "file_id", oracle.profile):
            store.attach([new], now)
            store.touch(now)
            if key is not None:
                store.keys.append(Keyed(key, request, file_id))
        return oracle.file(store, file_id).value(store)

    def retrieve(self, file_id: Any, *, vector_store_id: Any) -> VectorStoreFile:
        """The file as it stands."""
        store = self.oracle.view(vector_store_id)
        return self.oracle.file(store, file_id).value(store)

    def update(self, file_id: Any, *, vector_store_id: Any, attributes: Any) -> VectorStoreFile:
        """Replace the file's attributes."""
        new = pairs("attributes", attributes, self.oracle.profile.limits, strings_only=False)
        store = self.oracle.command(vector_store_id)
        file = self.oracle.file(store, file_id)
        file.attributes = new
        store.touch(self.oracle.now(store))
        return file.value(store)

    def list(
        self,
        vector_store_id: Any,
        *,
        limit: Any = None,
        order: Any = None,
        after: Any = None,
        before: Any = None,
        filter: Any = None,
    ) -> Page[VectorStoreFile]:
        """A page of the files that are attached now; any that ever was is a cursor."""
        oracle = self.oracle
        size, way, status = page_arguments(oracle.profile.limits, limit, order, filter, before, after)
        store = oracle.view(vector_store_id)
        where = f"files of vector store '{store.id}'"
        places = places_of(
            oracle.profile, after, before, [(file.file_id, file, file.here) for file in store.files], where
        )
        files, more = page_of(
            in_order(store.files, way, oracle.profile.ties),
            lambda file: file.here and status in (None, file.status),
            size,
            *places,
        )
        return Page(tuple(file.value(store) for file in files), more)

    def delete(self, file_id: Any, *, vector_store_id: Any) -> VectorStoreFileDeleted:
        """Take the file out of the store; its batch keeps its row."""
        store = self.oracle.command(vector_store_id)
        self.oracle.file(store, file_id).leave()
        store.touch(self.oracle.now(store))
        return VectorStoreFileDeleted(file_id)


class VectorStores:
    """``oracle.vector_stores``."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.files = Files(oracle)
        self.file_batches = FileBatches(oracle)

    def create(
        self,
        *,
        name: Any = None,
        description: Any = None,
        file_ids: Any = None,
        chunking_strategy: Any = None,
        expires_after: Any = None,
        metadata: Any = None,
        idempotency_key: Any = None,
    ) -> VectorStore:
        """Make a store."""
        oracle, limits = self.oracle, self.oracle.profile.limits
        chunking = chunking_of(chunking_strategy, limits)
        new: list[NewFile] = []
        if file_ids is not None:
            for i, id in enumerate(array("file_ids", file_ids, 0, limits.store_files)):
                new.append((text(f"file_ids[{i}]", id, 1), chunking, NO_ATTRIBUTES))
        new = first_of_each(new, "file_ids", oracle.profile)
        name = name_of(name, oracle.profile)
        description = None if description is None else text("description", description)
        expiry = expiry_of(expires_after, limits)
        notes = pairs("metadata", metadata, limits, strings_only=True)
        key = key_of(idempotency_key)
        request = request_of("create", new, name, description, expiry, sorted(notes.items()))
        unknown = oracle.require_known("file_ids", new, key)
        oracle.lead()
        before = repeated(oracle.keys, key, request, oracle.profile)
        if before is not None:
            store = oracle.store(before)
            return store.value(oracle.now(store))
        if unknown is not None:
            raise unknown
        at = oracle.at = oracle.now()
        id = oracle.ids("vs_")
        store = Store(id, name, description, expiry, notes, at, created_at=int(at), last_active_at=int(at))
        store.attach(new, at)
        oracle.stores.append(store)
        if key is not None:
            oracle.keys.append(Keyed(key, request, id))
        return store.value(at)

    def retrieve(self, vector_store_id: Any) -> VectorStore:
        """The store as it stands."""
        store = self.oracle.view(vector_store_id)
        return store.value(self.oracle.now(store))

    def update(
        self, vector_store_id: Any, *, name: Any = omit, expires_after: Any = omit, metadata: Any = omit
    ) -> VectorStore:
        """Change what is given, and keep the rest; this revives an expired store (choice)."""
        limits = self.oracle.profile.limits
        if name is not omit:
            name = name_of(name, self.oracle.profile)
        if expires_after is not omit:
            expires_after = expiry_of(expires_after, limits)
        if metadata is not omit:
            metadata = pairs("metadata", metadata, limits, strings_only=True)
        store = self.oracle.command(vector_store_id)
        if name is not omit:
            store.name = name
        if expires_after is not omit:
            store.expires_after = expires_after
        if metadata is not omit:
            store.metadata = metadata
        store.expiry_noted = False
        store.at = self.oracle.now(store)
        store.last_active_at = int(store.at)
        return store.value(store.at)

    def list(
        self, *, limit: Any = None, order: Any = None, after: Any = None, before: Any = None
    ) -> Page[VectorStore]:
        """A page of the stores; any that ever was is a cursor."""
        oracle = self.oracle
        size, way, _ = page_arguments(oracle.profile.limits, limit, order, None, before, after)
        oracle.look()
        stores, more = page_of(
            oracle.stores if way == "asc" else oracle.stores[::-1],
            lambda store: store.here,
            size,
            *places_of(
                oracle.profile,
                after,
                before,
                [(store.id, store, store.here) for store in oracle.stores],
                "vector stores",
            ),
        )
        return Page(tuple(store.value(oracle.now(store)) for store in stores), more)

    def delete(self, vector_store_id: Any) -> VectorStoreDeleted:
        """Delete the store, with its files and batches."""
        store = self.oracle.command(vector_store_id)
        store.here = False
        self.oracle.at = max(self.oracle.now(), store.at)
        return VectorStoreDeleted(store.id)


class Processing:
    """``oracle.processing``."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def pending(self, vector_store_id: Any = None, *, limit: Any = 100) -> list[VectorStoreFile]:
        """The oldest files in progress: by ``created_at``, then by the age of the store (choice)."""
        limit = whole("limit", limit, 1)
        if vector_store_id is None:
            self.oracle.look()
            stores = self.oracle.stores
        else:
            stores = [self.oracle.view(vector_store_id)]
        files = [file.value(store) for store in stores for file in store.running()]
        return sorted(files, key=lambda file: file.created_at)[:limit]  # sorted() leaves ties as they were

    def claim(
        self,
        limit: Any = 1,
        *,
        worker: Any,
        lease_seconds: Any = 60.0,
        vector_store_id: Any = None,
        attachments: Any = None,
    ) -> list[Claim]:
        """The worker takes the oldest files that nobody holds and that wait for nothing."""
        oracle = self.oracle
        limit = whole("limit", limit, 1)
        text("worker", worker, 1)
        seconds = duration("lease_seconds", lease_seconds)
        if attachments is not None:
            if vector_store_id is None:
                raise errors.MissingParameter("vector_store_id")
            for i, number in enumerate(array("attachments", attachments, 0, None)):
                whole(f"attachments[{i}]", number, 0)
        if vector_store_id is None:
            oracle.lead()
            stores, now = oracle.stores, oracle.now()
        else:
            stores = [oracle.command(vector_store_id)]
            now = oracle.now(stores[0])
        free = [
            (store, file)
            for store in stores
            for file in store.running()
            if file.claim is None and file.ready_at == -inf
        ]
        if attachments is not None:
            named = {number: i for i, number in reversed(list(enumerate(attachments)))}
            places = {id(file): named.get(stores[0].number(file)) for _, file in free}
            free = sorted(
                (one for one in free if places[id(one[1])] is not None), key=lambda one: places[id(one[1])] or 0
            )
        else:
            free.sort(key=lambda one: one[1].created_at)  # which leaves ties as they were
        made = []
        for store, file in free[:limit]:
            oracle.claims_made += 1
            file.claim = Claim(
                vector_store_id=store.id,
                file=file.value(store),
                attachment=store.number(file),
                attempt=file.attempts + 1,
                deadline=now + seconds,
                worker=worker,
                number=oracle.claims_made,
            )
            made.append(file.claim)
        oracle.claims += made
        return made

    def heartbeat(self, claims: Any, *, lease_seconds: Any = 60.0) -> list[Claim | errors.VsbatchError]:
        """Claims that are held last until so many seconds from now."""
        oracle = self.oracle
        seconds = duration("lease_seconds", lease_seconds)
        each_of("claims", claims, Claim, "a claim")
        oracle.lead()
        found = [self._held(claim, "extend") for claim in claims]
        results: list[Claim | errors.VsbatchError] = []
        for held in found:
            if isinstance(held, errors.VsbatchError):
                results.append(held)
                continue
            store, file, claim = held
            file.claim = Claim(
                vector_store_id=claim.vector_store_id,
                file=file.value(store),
                attachment=claim.attachment,
                attempt=claim.attempt,
                deadline=oracle.now() + seconds,
                worker=claim.worker,
                number=claim.number,
            )
            oracle.claims.append(file.claim)
            results.append(file.claim)
        return results

    def release(self, claims: Any) -> list[VectorStoreFile | errors.VsbatchError]:
        """Claims end without counting as attempts."""
        each_of("claims", claims, Claim, "a claim")
        self.oracle.lead()
        found = [self._held(claim, "release") for claim in claims]
        for held in found:
            if not isinstance(held, errors.VsbatchError) and held[1].claim is not None:
                self.oracle.end(*held, self.oracle.clock.time(), None)
        return [held if isinstance(held, errors.VsbatchError) else held[1].value(held[0]) for held in found]

    def finish(self, outcomes: Any) -> list[VectorStoreFile | errors.VsbatchError]:
        """Claims end with their files, or with a wish for another attempt.

        All that end in the same way are judged, and then end, together; a claim's second outcome comes later.
        """
        each_of("outcomes", outcomes, (Completed, Failed), "a Completed or a Failed")
        ends: list[tuple[Claim, int, LastError | None, bool]] = []
        for i, outcome in enumerate(outcomes):
            place, claim = f"outcomes[{i}].", outcome.claim
            if not isinstance(claim, Claim):
                raise errors.InvalidType(f"{place}claim", "a claim", claim)
            if isinstance(outcome, Failed):
                code = one_of(f"{place}code", outcome.code, ERROR_CODES)
                message = outcome.message
                message = MESSAGES[code] if message is None else text(f"{place}message", message)
                retry = boolean(f"{place}retry", outcome.retry)
                ends.append((claim, 0, LastError(code, message), retry))
            else:
                size = outcome.usage_bytes
                if size is None:
                    size = self._size(claim.file.id)
                ends.append((claim, whole(f"{place}usage_bytes", size, 0, MAX_BYTES), None, False))
        numbers = [claim.number for claim, *_ in ends]
        turns = [numbers[:i].count(number) for i, number in enumerate(numbers)]
        ways = [
            (turn, claim.vector_store_id, error, retry)
            for turn, (claim, _, error, retry) in zip(turns, ends, strict=True)
        ]
        results: dict[int, VectorStoreFile | errors.VsbatchError] = {}
        for way in sorted(dict.fromkeys(ways), key=lambda way: way[0]):
            _, _, error, retry = way
            self.oracle.lead()
            tried = "complete" if error is None else "fail"
            found = {i: self._held(ends[i][0], tried) for i in range(len(ends)) if ways[i] == way}
            for i, held in found.items():
                if isinstance(held, errors.VsbatchError):
                    results[i] = held
                    continue
                store, file, claim = held
                if error is not None and retry:
                    why = f"it failed: {error.message.removesuffix('.')}"
                    self.oracle.end(store, file, claim, self.oracle.clock.time(), why)
                else:
                    status: FileStatus = "completed" if error is None else "failed"
                    file.status, file.usage_bytes, file.last_error = status, ends[i][1], error
                    store.touch(self.oracle.now(store))
                results[i] = file.value(store)
        return [results[i] for i in range(len(ends))]

    def _held(self, claim: Claim, tried: str) -> tuple[Store, Attachment, Claim] | errors.VsbatchError:
        """The store, the file and the claim as it stands, if it is held; else why it is not."""
        id, file_id = claim.vector_store_id, claim.file.id
        store = next((store for store in self.oracle.stores if store.id == id and store.here), None)
        if store is None:
            return errors.NotAttached(file_id, id, "not there: there is no such store", tried)
        file = store.find(file_id)
        number = None if file is None else store.number(file)
        if file is None or number != claim.attachment:
            state = "not attached now" if file is None else f"attachment {number} now"
            return errors.StaleAttachment(file_id, id, claim.attachment, state, tried)
        if file.status != "in_progress":
            return errors.AlreadyFinished(file_id, id, file.status, tried)
        held = file.claim
        if held is not None and (held.number, held.worker) == (claim.number, claim.worker):
            return store, file, held
        holder = None if held is None else held.worker
        return errors.ClaimLost(file_id, id, claim.number, claim.deadline, holder, tried)

    def purge(self, vector_store_id: Any = None, *, older_than: Any) -> list[str]:
        """Batches go that finished so long ago."""
        oracle, seconds = self.oracle, age("older_than", older_than)
        if vector_store_id is not None:
            return self._purge(vector_store_id, seconds)
        oracle.look()
        stores = [store for store in oracle.stores if store.here]
        finished = [
            store.id for store in stores if any(b.here and b.finished_at is not None for b in store.batches)
        ]
        return [id for store_id in finished for id in self._purge(store_id, seconds)]

    def _purge(self, vector_store_id: Any, seconds: float) -> list[str]:
        store = self.oracle.command(vector_store_id)
        now = self.oracle.now(store)
        purged = store.purge(seconds, now)
        if purged:
            store.at = now
        return purged

    def complete(self, vector_store_id: Any, file_id: Any, *, usage_bytes: Any = None) -> VectorStoreFile:
        """The file was processed."""
        if usage_bytes is not None:
            size = whole("usage_bytes", usage_bytes, 0, MAX_BYTES)
        elif self.oracle.file_size is None:
            size = 0
        else:
            size = self._size(text("file_id", file_id, 1))
        return self._finish(vector_store_id, file_id, "complete", "completed", size, None)

    def fail(
        self, vector_store_id: Any, file_id: Any, *, code: Any = "server_error", message: Any = None
    ) -> VectorStoreFile:
        """The file could not be processed."""
        code = one_of("code", code, ERROR_CODES)
        message = MESSAGES[code] if message is None else text("message", message)
        return self._finish(vector_store_id, file_id, "fail", "failed", 0, LastError(code, message))

    def _size(self, file_id: str) -> int:
        known = self.oracle.file_size
        return 0 if known is None else known(file_id) or 0

    def _finish(
        self, store_id: Any, file_id: Any, tried: str, status: FileStatus, size: int, error: LastError | None
    ) -> VectorStoreFile:
        store, file = self._in_progress(store_id, file_id, tried)
        file.status, file.usage_bytes, file.last_error = status, size, error
        store.touch(self.oracle.now(store))
        return file.value(store)

    def _in_progress(self, vector_store_id: Any, file_id: Any, tried: str) -> tuple[Store, Attachment]:
        try:
            store = self.oracle.command(vector_store_id)
        except errors.VectorStoreNotFound:
            state = "not there: there is no such store"
            raise errors.NotAttached(text("file_id", file_id, 1), vector_store_id, state, tried) from None
        file = store.find(text("file_id", file_id, 1))
        if file is None:
            left = any(old.file_id == file_id for old in store.files)
            state = "no longer attached" if left else "not attached"
            raise errors.NotAttached(file_id, store.id, state, tried)
        if file.status != "in_progress":
            raise errors.AlreadyFinished(file_id, store.id, file.status, tried)
        return store, file
