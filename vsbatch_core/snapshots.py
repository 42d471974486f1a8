"""A ledger as plain JSON-able data, and back.

The form is compact where there is much: a file is a short array, and chunking strategies, of which there are
few, are in a table.  ``FORMAT`` changes whenever a reader of the old form would misread the new one.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, cast

from vsbatch_core import arguments
from vsbatch_core import events as ev
from vsbatch_core.batch import Batch
from vsbatch_core.errors import SnapshotError, VsbatchError
from vsbatch_core.ledger import Ledger
from vsbatch_core.model import (
    AUTO,
    FILE_STATUSES,
    FileStatus,
    LastError,
    Limits,
    Profile,
    VectorStoreFile,
    data_of,
)
from vsbatch_core.store import Store

FORMAT = "vsbatch-core snapshot 1"


def dump(ledger: Ledger, only: Store | None) -> dict[str, Any]:
    """The ledger, or one store of it."""
    profile = data_of(ledger.profile)
    profile["limits"] = data_of(ledger.profile.limits)
    stores = (
        [
            _dump_store(ledger.stores[id]) if id in ledger.stores else {"id": id, "deleted": True}
            for id in ledger.ids_made
        ]
        if only is None
        else [_dump_store(only)]
    )
    return {
        "format": FORMAT,
        "at": ledger.at if only is None else only.created_at,
        "profile": profile,
        "vector_stores": stores,
    }


def _dump_store(store: Store) -> dict[str, Any]:
    strategies: dict[Any, int] = {}
    return {
        "id": store.id,
        "created_at": store.created_at,
        "name": store.name,
        "description": store.description,
        "expires_after": None if store.expires_after is None else store.expires_after.days,
        "metadata": dict(store.metadata),
        "last_active_at": store.last_active_at,
        "at": store.at,
        "files": [
            [
                file.id,
                file.created_at,
                file.status,
                file.usage_bytes,
                file.last_error and [file.last_error.code, file.last_error.message],
                strategies.setdefault(file.chunking_strategy, len(strategies)),
                dict(file.attributes),
            ]
            for file in store.rows
        ],
        "chunking_strategies": [
            [s.static.max_chunk_size_tokens, s.static.chunk_overlap_tokens] for s in strategies
        ],
        "gone": [list(interval) for interval in store.gone],
        "leased": sorted(store.leased),
        "file_batches": [
            [batch.id, batch.created_at, batch.first, batch.stop, batch.cancel_asked]
            for batch in store.batches.values()
        ],
    }


def profile_of(snapshot: Any) -> Profile:
    """The profile that the snapshot was made under; raise ``SnapshotError``."""
    _require(isinstance(snapshot, dict) and snapshot.get("format") == FORMAT, "format", f"'{FORMAT}'")
    data = snapshot.get("profile")
    _require(isinstance(data, dict) and isinstance(data.get("limits"), dict), "profile", "an object with limits")
    try:
        return Profile(**{**data, "limits": Limits(**data["limits"])})
    except (TypeError, ValueError) as error:
        raise SnapshotError(f"Cannot read the snapshot: its 'profile' is not one of ours: {error}.") from error


def load(ledger: Ledger, snapshot: dict[str, Any]) -> None:
    """Fill an empty ledger; raise ``SnapshotError``."""
    profile_of(snapshot)
    try:
        ledger.at = _time(snapshot["at"])
        for data in snapshot["vector_stores"]:
            id = arguments.own_id("id", data["id"], "vs_")
            _require(id not in ledger.numbers, f"vector store '{id}'", "there once")
            ledger.add(id, None if data.get("deleted") else _load_store(id, data, ledger.profile))
        ledger.check()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, VsbatchError) as error:
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"Cannot read the snapshot: {type(error).__name__}: {error}") from error


def _load_store(id: str, data: dict[str, Any], profile: Profile) -> Store:
    limits = profile.limits
    days, description = data["expires_after"], data["description"]
    created = ev.VectorStoreCreated(
        int(data["created_at"]),
        id,
        arguments.string("name", data["name"]),
        None if description is None else arguments.string("description", description),
        None if days is None else arguments.expires_after({"anchor": "last_active_at", "days": days}, limits),
        arguments.metadata(data["metadata"], limits),
    )
    strategies = [
        # The default was never an argument, so limits on arguments do not hold for it.
        AUTO
        if [size, overlap] == [AUTO.static.max_chunk_size_tokens, AUTO.static.chunk_overlap_tokens]
        else arguments.chunking_strategy(
            {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}},
            limits,
        )
        for size, overlap in data["chunking_strategies"]
    ]
    rows = [
        VectorStoreFile(
            arguments.string("file_id", file_id, least=1),
            int(created_at),
            id,
            _status(status),
            arguments.integer("usage_bytes", usage_bytes, 0, arguments.MOST_BYTES),
            None if error is None else LastError(arguments.error_code(error[0]), str(error[1])),
            strategies[chunking],
            arguments.attributes(attributes, limits),
        )
        for file_id, created_at, status, usage_bytes, error, chunking, attributes in data["files"]
    ]
    batches = []
    for batch_id, created_at, first, stop, cancel_asked in data["file_batches"]:
        batch = Batch(arguments.own_id("batch_id", batch_id, "vsfb_"), int(created_at), int(first), int(stop))
        batch.cancel_asked = bool(cancel_asked)
        batches.append(batch)
    return Store.rebuilt(
        created,
        profile,
        at=_time(data["at"]),
        last_active_at=int(data["last_active_at"]),
        rows=rows,
        gone=[(int(start), int(stop)) for start, stop in data["gone"]],
        leased=map(int, data["leased"]),
        batches=batches,
    )


def _time(value: Any) -> float:
    time = float(value)
    _require(isfinite(time), "time", "finite")
    return time


def _status(value: Any) -> FileStatus:
    status = arguments.status_filter(value)
    _require(status is not None, "status", f"one of {FILE_STATUSES}")
    return cast("FileStatus", status)


def _require(met: bool, what: str, expected: str) -> None:
    if not met:
        raise SnapshotError(f"Cannot read the snapshot: its {what} must be {expected}.")
