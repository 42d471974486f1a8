"""A ledger as plain JSON-able data, and back.

The form is compact where there is much: a file is a short array, and chunking strategies, of which there are
few, are in a table.  ``FORMAT`` changes whenever a reader of the old form would misread the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vsbatch_core import events as ev
from vsbatch_core import validation
from vsbatch_core.batch import Batch
from vsbatch_core.errors import Contradiction, InvalidType, SnapshotError, VsbatchError, shown
from vsbatch_core.ledger import Ledger
from vsbatch_core.model import ExpiresAfter, Limits, Profile, VectorStoreFile, data_of, names_of, new_file
from vsbatch_core.store import Store

FORMAT = "vsbatch-core snapshot 2"


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
        "version": ledger.version if only is None else 1,
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
        "version": store.version,
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
    """Return the profile that the snapshot was made under; raise ``SnapshotError``."""
    if not isinstance(snapshot, dict) or snapshot.get("format") != FORMAT:
        found = shown(snapshot["format"] if isinstance(snapshot, dict) and "format" in snapshot else snapshot)
        raise SnapshotError(
            f"Cannot read the snapshot: its 'format' must be '{FORMAT}', and {found} is given. "
            "Give what Engine.snapshot() returned, or restore it with the version of vsbatch-core that wrote it.",
            param="format",
        )
    with _reading():
        profile = _record("profile", _record("", snapshot, _SNAPSHOT)["profile"], names_of(Profile))
        limits = _record("profile.limits", profile["limits"], names_of(Limits))
        try:
            return Profile(**{**profile, "limits": Limits(**limits)})
        except (TypeError, ValueError) as error:  # TypeError: a word that can not be hashed
            raise Contradiction("profile", str(error)) from error


def load(ledger: Ledger, snapshot: dict[str, Any]) -> None:
    """Fill an empty ledger; raise ``SnapshotError`` naming the place and the value.  O(n)."""
    profile_of(snapshot)
    with _reading():
        ledger.at = validation.time("at", snapshot["at"])
        ledger.version = validation.integer("version", snapshot["version"], 0)
        latest = -validation.MOST_SECONDS
        for i, data in enumerate(_array("vector_stores", snapshot["vector_stores"])):
            place = f"vector_stores[{i}]"
            if isinstance(data, dict) and "deleted" in data:
                pairs = _record(place, data, ("id", "deleted"))
                validation.exactly(f"{place}.deleted", pairs["deleted"], True)
                store = None
            else:
                pairs = _record(place, data, _STORE)
                store = _load_store(place, pairs, ledger.profile)
                _ordered(f"{place}.created_at", latest, store.created_at, int(ledger.at))
                latest = store.created_at
            id = validation.own_id(f"{place}.id", pairs["id"], "vs_")
            if id in ledger.numbers:
                raise Contradiction(f"{place}.id", f"vector store {shown(id)} is there already")
            ledger.add(id, store)
        made = len(ledger.ids_made) + len(ledger.ids_made) - len(ledger.stores)
        if ledger.version != made:
            raise Contradiction("version", f"{ledger.version} is not {made}, the creations and deletions in it")


_SNAPSHOT = ("format", "at", "version", "profile", "vector_stores")
_STORE = (
    *("id", "created_at", "name", "description", "expires_after", "metadata", "last_active_at", "at", "version"),
    *("files", "chunking_strategies", "gone", "leased", "file_batches"),
)
_FILE = ("id", "created_at", "status", "usage_bytes", "last_error", "chunking_strategy", "attributes")
_BATCH = ("id", "created_at", "first", "stop", "cancel_asked")


def _load_store(place: str, data: dict[str, Any], profile: Profile) -> Store:
    limits = profile.limits
    id = validation.own_id(f"{place}.id", data["id"], "vs_")
    created_at = validation.whole_seconds(f"{place}.created_at", data["created_at"])
    at = validation.time(f"{place}.at", data["at"])
    version = validation.integer(f"{place}.version", data["version"], 1)
    last_active_at = validation.whole_seconds(f"{place}.last_active_at", data["last_active_at"])
    _ordered(f"{place}.last_active_at", created_at, last_active_at, int(at))
    days, description = data["expires_after"], data["description"]
    if days is not None:
        validation.integer(f"{place}.expires_after", days, 1, limits.expiry_days)
    created = ev.VectorStoreCreated(
        created_at,
        id,
        validation.string(f"{place}.name", data["name"]),
        None if description is None else validation.string(f"{place}.description", description),
        None if days is None else ExpiresAfter(days=days),
        validation.metadata(_object(f"{place}.metadata", data["metadata"]), limits, f"{place}.metadata"),
        version=1,
        stores_version=0,  # not read: the list of stores has a version of its own
    )
    rows = _load_rows(place, id, data, created_at, int(at), limits)
    gone = _load_gone(f"{place}.gone", data["gone"], len(rows))
    leased = _load_leased(f"{place}.leased", data["leased"], rows)
    batches = _load_batches(f"{place}.file_batches", data["file_batches"], rows, set(leased), limits)
    _require_reachable(f"{place}.files", rows, gone, batches)
    return Store.rebuilt(
        created,
        profile,
        at=at,
        version=version,
        last_active_at=last_active_at,
        rows=rows,
        gone=gone,
        leased=leased,
        batches=batches,
    )


def _load_rows(
    place: str, id: str, data: dict[str, Any], earliest: int, latest: int, limits: Limits
) -> list[VectorStoreFile]:
    strategies = []
    for i, sizes in enumerate(_array(f"{place}.chunking_strategies", data["chunking_strategies"])):
        where = f"{place}.chunking_strategies[{i}]"
        size, overlap = _row(where, sizes, ("max_chunk_size_tokens", "chunk_overlap_tokens"))
        strategies.append(validation.kept_static(where, size, overlap, limits))
        if strategies[i] in strategies[:i]:
            raise Contradiction(where, f"{size} and {overlap} are in the table twice")
    rows = []
    used = 0  # strategies are numbered in the order in which files first use them
    for i, row in enumerate(_array(f"{place}.files", data["files"])):
        where = f"{place}.files[{i}]"
        file_id, created_at, status, usage_bytes, error, chunking, attributes = _row(where, row, _FILE)
        validation.string(f"{where}.id", file_id, least=1)
        validation.whole_seconds(f"{where}.created_at", created_at)
        _ordered(f"{where}.created_at", earliest, created_at, latest)
        earliest = created_at
        validation.status(f"{where}.status", status)
        validation.integer(f"{where}.usage_bytes", usage_bytes, 0, validation.MOST_BYTES)
        if error is not None:
            error = validation.last_error(
                f"{where}.last_error", *_row(f"{where}.last_error", error, ("code", "message"))
            )
        validation.outcome(f"{where}.status", status, usage_bytes, error)
        validation.integer(f"{where}.chunking_strategy", chunking, 0, max(0, min(used, len(strategies) - 1)))
        used = max(used, chunking + 1)
        if not strategies:
            raise Contradiction(f"{where}.chunking_strategy", "the table of chunking strategies is empty")
        pairs = validation.attributes(_object(f"{where}.attributes", attributes), limits, f"{where}.attributes")
        rows.append(new_file(file_id, created_at, id, status, usage_bytes, error, strategies[chunking], pairs, i))
    if used < len(strategies):
        raise Contradiction(f"{place}.chunking_strategies[{used}]", "no file uses it")
    return rows


def _load_gone(place: str, value: Any, stop: int) -> list[tuple[int, int]]:
    intervals = []
    least = 0
    for i, interval in enumerate(_array(place, value)):
        where = f"{place}[{i}]"
        start, end = _row(where, interval, ("first", "stop"))
        validation.integer(f"{where}.first", start, least, stop - 1)
        validation.integer(f"{where}.stop", end, start + 1, stop)
        intervals.append((start, end))
        least = end + 1  # intervals that touch are one
    return intervals


def _load_leased(place: str, value: Any, rows: list[VectorStoreFile]) -> list[int]:
    leased = _array(place, value)
    least = 0
    for i, row in enumerate(leased):
        validation.integer(f"{place}[{i}]", row, least, len(rows) - 1)
        if rows[row].status != "in_progress":
            raise Contradiction(f"{place}[{i}]", f"file {row} is leased and '{rows[row].status}'")
        least = row + 1
    return leased


def _load_batches(
    place: str, value: Any, rows: list[VectorStoreFile], leased: set[int], limits: Limits
) -> list[Batch]:
    batches: dict[str, Batch] = {}
    least = 0
    for i, row in enumerate(_array(place, value)):
        where = f"{place}[{i}]"
        id, created_at, first, stop, cancel_asked = _row(where, row, _BATCH)
        validation.own_id(f"{where}.id", id, "vsfb_")
        if id in batches:
            raise Contradiction(f"{where}.id", f"file batch {shown(id)} is there already")
        validation.integer(f"{where}.first", first, least, len(rows) - 1)
        validation.integer(f"{where}.stop", stop, first + 1, min(len(rows), first + limits.batch_files))
        validation.whole_seconds(f"{where}.created_at", created_at)
        files = rows[first:stop]
        if len({file.id for file in files}) < len(files):
            raise Contradiction(where, "a file is in it twice")
        if {file.created_at for file in files} != {created_at}:
            raise Contradiction(f"{where}.created_at", f"{created_at} is not when its files were attached")
        batch = Batch(id, created_at, first, stop)
        batch.cancel_asked = validation.boolean(f"{where}.cancel_asked", cancel_asked)
        if cancel_asked:
            for number in range(first, stop):
                if rows[number].status == "in_progress" and number not in leased:
                    raise Contradiction(
                        f"{where}.cancel_asked",
                        f"file {number} is in progress and not leased",
                    )
        batches[id] = batch
        least = stop
    return list(batches.values())


def _require_reachable(
    place: str, rows: list[VectorStoreFile], gone: list[tuple[int, int]], batches: list[Batch]
) -> None:
    """Refuse files whose status or presence nothing could have brought about."""
    left = bytearray(len(rows))
    cancelled = bytearray(len(rows))
    for first, stop in gone:
        left[first:stop] = b"\1" * (stop - first)
    for batch in batches:
        if batch.cancel_asked:
            cancelled[batch.first : batch.stop] = b"\1" * (batch.stop - batch.first)
    here: set[str] = set()
    for row in range(len(rows) - 1, -1, -1):
        file = rows[row]
        if left[row]:
            if file.status == "in_progress":
                raise Contradiction(f"{place}[{row}].status", "a file that has left is 'in_progress'")
        elif file.id in here:
            raise Contradiction(
                f"{place}[{row}].id", f"file {shown(file.id)} was attached again: it must have left"
            )
        elif file.status == "cancelled" and not cancelled[row]:
            raise Contradiction(
                f"{place}[{row}].status",
                "a file is 'cancelled' that has not left, and no batch of it was",
            )
        here.add(file.id)


@contextmanager
def _reading() -> Iterator[None]:
    """Put what a rule refuses into a ``SnapshotError``."""
    try:
        yield
    except VsbatchError as error:
        raise SnapshotError(
            f"Cannot read the snapshot: {error} Restore an unaltered snapshot.", param=error.param
        ) from error


def _record(place: str, value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return an object that has exactly these keys."""
    pairs = _object(place, value)
    for name in names:
        validation.member(place or "snapshot", pairs, name)
    validation.mapping(place or "snapshot", pairs, names)
    return pairs


def _object(place: str, value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise InvalidType(place, "an object", value)
    return value


def _array(place: str, value: Any) -> list[Any]:
    if type(value) is not list:
        raise InvalidType(place, "an array", value)
    return value


def _row(place: str, value: Any, names: tuple[str, ...]) -> list[Any]:
    """Return an array that has one item for each of these names."""
    if len(_array(place, value)) != len(names):
        raise Contradiction(place, f"it has {len(value)} items in place of {len(names)}: {', '.join(names)}")
    return value  # type: ignore[no-any-return]  # it is a list


def _ordered(place: str, earliest: int, time: int, latest: int) -> None:
    if not earliest <= time <= latest:
        raise Contradiction(place, f"{time} does not lie between {earliest} and {latest}, its neighbours in time")
