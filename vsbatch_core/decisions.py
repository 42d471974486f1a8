"""What each command decides: pure functions from a store, the time and the arguments to an event, or a refusal.

Each takes a store as it stands, the time of the command and arguments that were validated, and returns the
event that is to happen, or ``None`` where there is nothing to do.  It raises the error of a command that is
refused, and changes nothing.  ``Registry.execute`` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, islice
from math import inf

from vsbatch_core import events as ev
from vsbatch_core import idempotency, validation
from vsbatch_core.batch import Batch
from vsbatch_core.claims import Claim, ClaimsChange, new_claim
from vsbatch_core.errors import (
    AlreadyAttached,
    BatchAlreadyFinished,
    ClaimLost,
    FileNotFound,
    NotAttached,
    UnknownFile,
)
from vsbatch_core.model import Attributes, ExpiresAfter, Idempotency, LastError, Metadata, Omit
from vsbatch_core.rows import IN_PROGRESS
from vsbatch_core.store import Store


def batch(store: Store, batch_id: object) -> Batch:
    """Return the batch; raise ``InvalidType``, ``InvalidId`` or ``FileBatchNotFound``."""
    try:
        return store.batches[batch_id]  # type: ignore[index]  # what is no id is not found, or cannot be hashed
    except (KeyError, TypeError):
        return store.require_batch(validation.own_id("batch_id", batch_id, "vsfb_"))


def attachment(store: Store, file_id: str) -> int:
    """Return the attachment of a file that is attached now; raise ``InvalidType`` or ``FileNotFound``."""
    try:
        return store.require_file(file_id)
    except (FileNotFound, TypeError):  # TypeError: an argument that cannot be hashed
        validation.string("file_id", file_id, minimum=1)
        raise


def create_batch(
    store: Store,
    now: float,
    param: str,
    files: validation.NewFiles,
    key: Idempotency | None,
    unknown: UnknownFile | None,
    new_id: Callable[[], str],
) -> ev.FileBatchCreated | None:
    """Attach files, which ``param`` named, as one batch: all, or those that are not there.

    There is nothing to do if the same request came under the same key.  ``unknown`` is the refusal of a file
    that the host does not know, if one is.
    """
    repeated = idempotency.created(store.keys, key)
    if repeated is not None:
        store.require_batch(repeated)
        return None
    if unknown is not None:
        raise unknown
    store.require_open(now)
    files = _to_attach(store, param, files)
    return ev.FileBatchCreated(
        now,
        store.id,
        new_id(),
        *files,
        first_attachment=store.rows.next,
        version=store.version + 1,
        idempotency=key,
    )


def cancel_batch(store: Store, now: float, batch_id: str) -> ev.FileBatchCancelled | None:
    """Cancel what is in progress in a batch, if anything is."""
    cancelled = batch(store, batch_id)
    drain = store.profile.cancel == "drain"
    if cancelled.counts[0]:
        if drain and cancelled.cancel_asked:
            return None
        left: tuple[int, ...] = ()
        if drain and store.claims is not None:
            left = store.claims.held_between(cancelled.first, cancelled.stop)
        return ev.FileBatchCancelled(now, store.id, cancelled.id, left, version=store.version + 1)
    if store.profile.cancel_finished == "refuse":
        raise BatchAlreadyFinished(cancelled.id, cancelled.value(store.id, store.profile).status)
    return None


def _to_attach(store: Store, param: str, files: validation.NewFiles) -> validation.NewFiles:
    """Return the files that are to be attached, as the profile's ``reattach`` says.  O(files)."""
    reattach = store.profile.reattach
    if reattach == "replace":
        return files
    here = store.attached(files[0])
    if not here:
        return files
    if reattach == "refuse":
        raise AlreadyAttached(param, here[0], store.id)
    file_ids, chunkings, attributes = files
    stay = set(here)
    new = [file_id not in stay for file_id in file_ids]
    if len(chunkings) == len(new):  # one for each file, and not one for all
        chunkings = tuple(compress(chunkings, new))
    if len(attributes) == len(new):
        attributes = tuple(compress(attributes, new))
    file_ids = tuple(compress(file_ids, new))
    return (file_ids, chunkings, attributes) if file_ids else ((), (), ())


def attach_file(
    store: Store, now: float, files: validation.NewFiles, key: Idempotency | None, unknown: UnknownFile | None
) -> ev.FileAttached | None:
    """Attach one file outside any batch, unless it is attached and stays so; else as ``create_batch``."""
    repeated = idempotency.created(store.keys, key)
    if repeated is not None:
        store.require_file(repeated)
        return None
    if unknown is not None:
        raise unknown
    store.require_open(now)
    files = _to_attach(store, "file_id", files)
    if not files[0]:
        return None
    (file_id,), (chunking,), (attributes,) = files
    return ev.FileAttached(
        now,
        store.id,
        file_id,
        chunking,
        attributes,
        version=store.version + 1,
        attachment=store.rows.next,
        idempotency=key,
    )


def update_file(store: Store, now: float, file_id: str, attributes: Attributes) -> ev.FileUpdated:
    """Replace a file's attributes."""
    row = attachment(store, file_id)
    return ev.FileUpdated(now, store.id, file_id, attributes, version=store.version + 1, attachment=row)


def delete_file(store: Store, now: float, file_id: str) -> ev.FileDeleted:
    """Take a file out of the store."""
    row = attachment(store, file_id)
    return ev.FileDeleted(now, store.id, file_id, version=store.version + 1, attachment=row)


def update_store(
    store: Store,
    now: float,
    name: str | Omit | None,
    expires_after: ExpiresAfter | Omit | None,
    metadata: Metadata | Omit,
) -> ev.VectorStoreUpdated:
    """Change what is given of a store, and keep the rest."""
    return ev.VectorStoreUpdated(
        now,
        store.id,
        store.name if isinstance(name, Omit) else name,
        store.expires_after if isinstance(expires_after, Omit) else expires_after,
        store.metadata if isinstance(metadata, Omit) else metadata,
        version=store.version + 1,
    )


def complete_file(
    store: Store, now: float, file_id: str, number: int | None, usage_bytes: int
) -> ev.FileCompleted:
    """Complete a file in progress."""
    row = _in_progress(store, file_id, number, "complete")
    return ev.file_completed(now, store.id, file_id, usage_bytes, store.version + 1, row)


def fail_file(store: Store, now: float, file_id: str, number: int | None, error: LastError) -> ev.FileFailed:
    """Fail a file in progress."""
    row = _in_progress(store, file_id, number, "fail")
    return ev.FileFailed(now, store.id, file_id, error, version=store.version + 1, attachment=row)


def complete_files(
    store: Store, now: float, file_ids: tuple[str, ...], numbers: Sequence[int] | None, sizes: tuple[int, ...]
) -> ev.FilesCompleted | None:
    """Complete files in progress, all of them or none."""
    rows = store.require_all_in_progress(file_ids, numbers, "complete")
    return ev.FilesCompleted(now, store.id, file_ids, rows, sizes, version=store.version + 1) if rows else None


def fail_files(
    store: Store, now: float, file_ids: tuple[str, ...], numbers: Sequence[int] | None, error: LastError
) -> ev.FilesFailed | None:
    """Fail files in progress, all of them or none."""
    rows = store.require_all_in_progress(file_ids, numbers, "fail")
    return ev.FilesFailed(now, store.id, file_ids, rows, error, version=store.version + 1) if rows else None


def complete_attachments(store: Store, now: float, rows: tuple[int, ...]) -> ev.FilesCompleted:
    """Complete the files of attachments in progress, which rise and take up nothing: all of them or none."""
    file_ids = tuple(store.rows.file_ids_rising(rows))
    if not store.rows.present.all_hold(rows, IN_PROGRESS):
        store.require_all_in_progress(file_ids, rows, "complete")
    return ev.FilesCompleted(now, store.id, file_ids, rows, (0,) * len(rows), version=store.version + 1)


def claim_files(
    candidates: Iterable[tuple[Store, int]],
    now: float,
    limit: int,
    *,
    worker: str,
    lease_seconds: float,
    made: int,
    in_turn: bool,
) -> ClaimsChange | None:
    """Give the first of these attachments to a worker; ``in_turn`` says that none was left out."""
    held: dict[int, dict[int, Claim]] = {}
    frontiers: dict[int, int] = {}
    deadline = now + lease_seconds
    for store, row in islice(candidates, limit):
        made += 1
        claims = store.claims
        tried = 0 if claims is None else claims.attempts.get(row, 0)
        claim = new_claim(store.id, store.rows.read(row), row, tried + 1, deadline, worker, made)
        held.setdefault(store.number, {})[row] = claim
        if in_turn:
            frontiers[store.number] = max(row + 1, 0 if claims is None else claims.frontier)
    return ClaimsChange(held=held, frontiers=frontiers, made=made) if held else None


def require_held(store: Store | None, claim: Claim, tried: str) -> Store:
    """Return the store of a claim that is held.

    Raise ``NotAttached`` if there is no such store, ``StaleAttachment`` if the file has left or was attached
    again, ``AlreadyFinished`` if it has ended, or ``ClaimLost``.
    """
    file_id, row = claim.file.id, claim.attachment
    if store is None:
        raise NotAttached(file_id, claim.vector_store_id, "not there: there is no such store", tried)
    held = store.held(row)
    if held is not None and (held.number, held.worker, held.file.id) == (claim.number, claim.worker, file_id):
        return store
    store.require_attachment(file_id, row, tried)
    store.require_in_progress(file_id, tried)
    holder = None if held is None else held.worker
    raise ClaimLost(file_id, store.id, claim.number, claim.deadline, holder, tried)


def finish_claims(
    store: Store, now: float, claims: list[Claim], sizes: list[int], error: LastError | None, retry: bool
) -> ev.FilesCompleted | ev.FilesFailed | ClaimsChange | None:
    """Complete or fail the files of claims that are held, or ask for another attempt."""
    rows = tuple([claim.attachment for claim in claims])
    file_ids = tuple([claim.file.id for claim in claims])
    if not rows:
        return None
    if error is None:
        return ev.FilesCompleted(now, store.id, file_ids, rows, tuple(sizes), version=store.version + 1)
    if retry:
        why = f"it failed: {error.message.removesuffix('.')}"
        return ClaimsChange(over={(store.number, row): (inf, True, why) for row in rows})
    return ev.FilesFailed(now, store.id, file_ids, rows, error, version=store.version + 1)


def cancel_files(store: Store, now: float, rows: list[int]) -> ev.FilesCancelled:
    """Cancel files of draining batches that nobody holds any more."""
    file_ids = tuple(map(store.rows.id, rows))
    return ev.FilesCancelled(now, store.id, file_ids, tuple(rows), version=store.version + 1)


def give_up(store: Store, now: float, rows: list[int], message: str) -> ev.FilesFailed:
    """Fail files that were tried as often as they may be."""
    error = LastError("server_error", message)
    file_ids = tuple(map(store.rows.id, rows))
    return ev.FilesFailed(now, store.id, file_ids, tuple(rows), error, version=store.version + 1)


def purge_batches(store: Store, now: float, age: float, time: float) -> ev.FileBatchesPurged | None:
    """Purge the batches that have been finished for ``age`` seconds at a time, if any have."""
    ids = store.finished_by(age, time)
    return ev.FileBatchesPurged(now, store.id, ids, version=store.version + 1) if ids else None


def expire_store(store: Store, now: float) -> ev.VectorStoreExpired | None:
    """Say that a store has expired, once."""
    if store.expiry_noted or not store.expired(now):
        return None
    return ev.VectorStoreExpired(now, store.id, version=store.version + 1)


def _in_progress(store: Store, file_id: str, number: int | None, tried: str) -> int:
    try:
        if number is not None:
            store.require_attachment(file_id, number, tried)
        return store.require_in_progress(file_id, tried)
    except (NotAttached, TypeError):  # TypeError: an argument that cannot be hashed
        validation.string("file_id", file_id, minimum=1)
        raise
