"""A registry as plain JSON-able data, and back.

The form follows the columns that attachments are kept in, so that both ways cost little: what all files of a
store have is one array, or runs of it, and what few have is an array of pairs.  ``FORMAT`` changes whenever a
reader of the old form would misread the new one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, compress, groupby
from math import inf
from time import perf_counter
from typing import Any

from vsbatch_core import events as ev
from vsbatch_core import idempotency, validation
from vsbatch_core.batch import Batch
from vsbatch_core.errors import Contradiction, InvalidId, InvalidType, SnapshotError, VsbatchError, shown
from vsbatch_core.model import (
    AUTO,
    DAY,
    FILE_STATUSES,
    Attributes,
    ExpiresAfter,
    LastError,
    Limits,
    Profile,
    StaticFileChunkingStrategyObject,
    data_of,
    names_of,
)
from vsbatch_core.registry import Registry
from vsbatch_core.rows import CODES, Rows
from vsbatch_core.store import Store

FORMAT = "vsbatch-core snapshot 5"

LETTERS = "pcfx"
"""The letters that stand for the statuses in_progress, completed, failed and cancelled."""
_TO_LETTERS = bytes.maketrans(bytes(CODES[status] for status in FILE_STATUSES), LETTERS.encode())
_FROM_LETTERS = bytes.maketrans(LETTERS.encode(), bytes(CODES[status] for status in FILE_STATUSES))
_NOT_COMPLETED = bytes(code != CODES["completed"] for code in range(256))


def profile_data(profile: Profile) -> dict[str, Any]:
    """Return a profile as data."""
    return {**data_of(profile), "limits": data_of(profile.limits)}


class Copying:
    """A copy of a registry as it was when this was made, taken store by store while the registry changes.

    ``before`` is to be called before a store changes.  Every method can be called again after an interruption.
    """

    def __init__(self, registry: Registry) -> None:
        """Note which stores there are.  O(stores)."""
        self._head = _head(
            registry.at, registry.version, registry.profile, registry.listing.departed, registry.keys
        )
        self._order = list(registry.listing)
        self._left = dict(registry.stores)
        self._taken: dict[str, Callable[[], dict[str, Any]]] = {}

    def before(self, id: str) -> None:
        """Copy a store that is about to change, unless it has been copied.  O(n) for it, in C."""
        store = self._left.get(id)
        if store is not None:
            self._taken[id] = _copied_store(store)
            self._left.pop(id, None)

    def some(self, seconds: float) -> bool:
        """Copy stores for so long, but one at least; return whether any are left."""
        until = perf_counter() + seconds
        while self._left:
            self.before(next(iter(self._left)))
            if perf_counter() > until:
                break
        return bool(self._left)

    def data(self) -> dict[str, Any]:
        """Return the copy as data, when no store is left.  O(n); it needs no lock."""
        taken = self._taken
        stores = [taken[id]() if here else {"id": id, "deleted": True} for id, here in self._order]
        return {**self._head, "vector_stores": stores}


def copied(registry: Registry, only: Store | None) -> Callable[[], dict[str, Any]]:
    """Return a function that returns the registry, or one store of it, as it is now, as data.

    To copy what it needs takes O(n), in C; to call the function takes many times as long, and needs no lock.
    """
    if only is not None:
        head, store = _head(only.created_at, 1, registry.profile, [], idempotency.NO_KEYS), _copied_store(only)
        return lambda: {**head, "vector_stores": [store()]}
    copying = Copying(registry)
    copying.some(inf)
    return copying.data


def _head(
    at: float, version: int, profile: Profile, departed: list[str], keys: idempotency.Keys
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "at": at,
        "version": version,
        "profile": profile_data(profile),
        "departed": departed,
        "idempotency_keys": _dump_keys(keys),
    }


def _dump_keys(keys: idempotency.Keys) -> list[list[str]]:
    return [[key, fingerprint, id] for key, (fingerprint, id) in keys.items()]


def _copied_store(store: Store) -> Callable[[], dict[str, Any]]:
    head = {
        "id": store.id,
        "created_at": store.created_at,
        "name": store.name,
        "description": store.description,
        "expires_after": None if store.expires_after is None else store.expires_after.days,
        "metadata": dict(store.metadata),
        "last_active_at": store.last_active_at,
        "at": store.at,
        "version": store.version,
        "departed": [store.numbers[id] for id in store.departed],
        "expired": store.expiry_noted,
        "file_batches": [
            [batch.id, batch.created_at, batch.first, batch.stop, batch.cancel_asked, batch.finished_at]
            for batch in store.batches.values()
        ],
        "idempotency_keys": _dump_keys(store.keys),
    }
    rows = store.rows.copy()
    return lambda: {**head, **_dump_rows(rows)}


def _dump_rows(rows: Rows) -> dict[str, Any]:
    columns = rows.columns()
    strategies: dict[Any, int] = {}
    return {
        "next_attachment": rows.next,
        "attachments": [list(interval) for interval in rows.kept()],
        "file_ids": columns.ids,
        "created": [[int(time), len(list(group))] for time, group in groupby(columns.created_at)],
        "statuses": columns.status.translate(_TO_LETTERS).decode(),
        "usage_bytes": columns.usage.tolist(),
        "last_errors": [[row, error.code, error.message] for row, error in columns.errors],
        "chunking_strategies": [
            [row, strategies.setdefault(chunking, len(strategies))] for row, chunking in columns.chunking
        ],
        "strategies": [[s.static.max_chunk_size_tokens, s.static.chunk_overlap_tokens] for s in strategies],
        "attributes": [[row, dict(attributes)] for row, attributes in columns.attributes],
        "left": [list(interval) for interval in rows.left()],
    }


def profile_of(snapshot: Any) -> Profile:
    """Return the profile that the snapshot was made under; raise ``SnapshotError``.

    A key that is missing, because a later version added it, has its default.
    """
    if not isinstance(snapshot, dict) or snapshot.get("format") != FORMAT:
        found = shown(snapshot["format"] if isinstance(snapshot, dict) and "format" in snapshot else snapshot)
        raise SnapshotError(
            f"Cannot read the snapshot: its 'format' must be '{FORMAT}', and {found} is given. "
            "Give what Engine.snapshot() returned, or restore it with the version of vsbatch-core that wrote it.",
            param="format",
        )
    with _reading():
        return profile_from(_record("", snapshot, _SNAPSHOT)["profile"])


def profile_from(data: Any) -> Profile:
    """Return the profile that ``profile_data`` returned; a key that is missing has its default.

    Raise the error that names the key that is not known or the value that cannot be.
    """
    profile = dict(_known("profile", data, names_of(Profile)))
    limits = _known("profile.limits", profile.pop("limits", {}), names_of(Limits))
    try:
        return Profile(**profile, limits=Limits(**limits))
    except ValueError as error:
        raise Contradiction("profile", str(error)) from error


def load(registry: Registry, snapshot: dict[str, Any], *, trusted: bool = False) -> None:
    """Fill an empty registry; raise ``SnapshotError`` naming the place and the value.  O(n).

    ``trusted`` says that it comes from ``Copying``, as a checksum shows: the checks that look at each attachment
    are then left out.
    """
    saved_under = profile_of(snapshot)
    with _reading():
        at = validation.time("at", snapshot["at"])
        version = validation.integer("version", snapshot["version"], 0)
        latest = -validation.MAX_SECONDS
        stores: dict[str, Store | None] = {}
        for i, data in enumerate(_array("vector_stores", snapshot["vector_stores"])):
            place = f"vector_stores[{i}]"
            store = None
            if isinstance(data, dict) and "deleted" in data:
                pairs = _record(place, data, ("id", "deleted"))
                validation.exactly(f"{place}.deleted", pairs["deleted"], True)
            else:
                pairs = _record(place, data, _STORE)
                store = _Loader(place, pairs, registry.profile, saved_under, trusted=trusted).store()
                _ordered(f"{place}.created_at", latest, store.created_at, int(at))
                latest = store.created_at
            id = validation.own_id(f"{place}.id", pairs["id"], "vs_")
            if id in stores:
                raise Contradiction(f"{place}.id", f"vector store {shown(id)} is there already")
            stores[id] = store
        deleted = {id for id, store in stores.items() if store is None}
        departed = _array("departed", snapshot["departed"])
        for i, id in enumerate(departed):
            validation.own_id(f"departed[{i}]", id, "vs_")
            if id not in deleted:
                raise Contradiction(
                    f"departed[{i}]", f"vector store {shown(id)} was not deleted, or is in it twice"
                )
            deleted.remove(id)
        if deleted or len(departed) > saved_under.limits.departed:
            raise Contradiction("departed", f"it does not name the {len(departed) + len(deleted)} deleted stores")
        here, gone = len(stores) - len(departed), version - len(stores) - len(departed)
        if gone < 0 or gone % 2:  # each store that is forgotten was made and deleted
            raise Contradiction(
                "version", f"{version} events do not lead to {here} stores, {len(departed)} deleted"
            )
        keys = _keys("idempotency_keys", snapshot["idempotency_keys"], saved_under, registry.profile, "vs_")
        registry.restore(at, version, stores.items(), departed, keys)


_SNAPSHOT = ("format", "at", "version", "profile", "vector_stores", "departed", "idempotency_keys")
_STORE = (
    *("id", "created_at", "name", "description", "expires_after", "metadata", "last_active_at", "at", "version"),
    *("next_attachment", "attachments", "file_ids", "created", "statuses", "usage_bytes", "last_errors"),
    *("chunking_strategies", "strategies", "attributes", "left", "departed", "expired", "file_batches"),
    "idempotency_keys",
)
_KEY = ("key", "fingerprint", "id")
_BATCH = ("id", "created_at", "first", "stop", "cancel_asked", "finished_at")

Intervals = list[tuple[int, int]]


def _keys(place: str, value: Any, saved_under: Profile, profile: Profile, prefix: str) -> idempotency.Keys:
    """Return the idempotency keys of a place, whose ids begin with ``prefix``."""
    kept: dict[str, tuple[str, str, str]] = {}
    limit = saved_under.limits.idempotency_keys
    for i, row in enumerate(_array(place, value)):
        where = f"{place}[{i}]"
        key, fingerprint, id = _row(where, row, _KEY)
        validation.idempotency(where, key, fingerprint)
        if not validation.string(f"{where}.id", id, minimum=1).startswith(prefix):
            raise InvalidId(f"{where}.id", id, prefix)
        if key in kept:
            raise Contradiction(f"{where}.key", f"idempotency key {shown(key)} is there already")
        kept[key] = key, fingerprint, id
    if len(kept) > limit:
        raise Contradiction(place, f"it has more than {limit}, the limit of the profile")
    return idempotency.restored(kept.values(), profile.limits.idempotency_keys)


class _Loader:
    """Reads one store: ``place`` is where it stands, ``data`` an object with exactly its keys."""

    def __init__(
        self, place: str, data: dict[str, Any], profile: Profile, saved_under: Profile, *, trusted: bool
    ) -> None:
        self.place = place
        self.data = data
        self.profile = profile
        self.limits = profile.limits
        self.saved_under = saved_under
        self.trusted = trusted

    def at(self, name: str) -> str:
        """Return the place of a key."""
        return f"{self.place}.{name}"

    def array(self, name: str) -> list[Any]:
        """Return the array under a key."""
        return _array(self.at(name), self.data[name])

    def refuse(self, name: str, why: str) -> Contradiction:
        """Return the error for what stands under a key."""
        return Contradiction(self.at(name), why)

    def store(self) -> Store:
        """Return the store."""
        data, limits = self.data, self.limits
        id = validation.own_id(self.at("id"), data["id"], "vs_")
        created_at = validation.whole_seconds(self.at("created_at"), data["created_at"])
        at = validation.time(self.at("at"), data["at"])
        version = validation.integer(self.at("version"), data["version"], 1)
        last_active_at = validation.whole_seconds(self.at("last_active_at"), data["last_active_at"])
        _ordered(self.at("last_active_at"), created_at, last_active_at, int(at))
        days, description = data["expires_after"], data["description"]
        if days is not None:
            validation.integer(self.at("expires_after"), days, 1, limits.expiry_days)
        expired = validation.boolean(self.at("expired"), data["expired"])
        if expired and (days is None or at < last_active_at + days * DAY):
            raise self.refuse("expired", "the store has not expired at its latest time")
        event = ev.VectorStoreCreated(
            created_at,
            id,
            self.name_of_store(),
            None if description is None else validation.string(self.at("description"), description),
            None if days is None else ExpiresAfter(days=days),
            validation.metadata(_object(self.at("metadata"), data["metadata"]), limits, self.at("metadata")),
            version=1,
            stores_version=0,  # not read: the list of stores has a version of its own
        )
        self.next = validation.integer(self.at("next_attachment"), data["next_attachment"], 0)
        self.kept = self.intervals("attachments", 0, self.next)
        self.starts = [first for first, _ in self.kept]
        self.offsets = [0, *accumulate(stop - first for first, stop in self.kept)]
        self.n = self.offsets[-1]
        rows = self.rows(id, created_at, int(at))
        batches = self.batches(created_at, at)
        departed = self.departed()
        if not self.trusted:
            self.require_reachable(set(departed), batches)
        store = Store(event, self.profile, 0)
        store.restore(
            at=at,
            version=version,
            last_active_at=last_active_at,
            rows=rows,
            departed=departed,
            expiry_noted=expired,
            batches=batches,
            keys=_keys(self.at("idempotency_keys"), data["idempotency_keys"], self.saved_under, self.profile, ""),
        )
        return store

    def name_of_store(self) -> str | None:
        """Return the name of the store; one without is called as the profile says from now on."""
        name = self.data["name"]
        if name is None and self.saved_under.unnamed_store == "null":
            return validation.name(name, self.profile.unnamed_store)
        return validation.string(self.at("name"), name)

    def intervals(self, name: str, minimum: int, maximum: int) -> Intervals:
        """Return disjoint intervals in rising order that do not touch each other."""
        found = []
        for i, interval in enumerate(self.array(name)):
            where = f"{self.at(name)}[{i}]"
            first, stop = _row(where, interval, ("first", "stop"))
            validation.integer(f"{where}.first", first, minimum, maximum - 1)
            validation.integer(f"{where}.stop", stop, first + 1, maximum)
            found.append((first, stop))
            minimum = stop + 1  # intervals that touch are one
        return found

    def pairs(self, name: str, names: tuple[str, ...]) -> Iterator[tuple[str, int, int, list[Any]]]:
        """Return rows about few attachments, in rising order.

        Of each: its place, the attachment, where that stands in the columns, and the other items.
        """
        last = -1
        for i, row in enumerate(self.array(name)):
            where = f"{self.at(name)}[{i}]"
            number, *items = _row(where, row, ("attachment", *names))
            validation.integer(f"{where}.attachment", number, last + 1, self.next - 1)
            place = self.where(number)
            if place is None:
                raise Contradiction(f"{where}.attachment", f"attachment {number} is not among 'attachments'")
            last = number
            yield where, number, place, items

    def rows(self, id: str, earliest: int, latest: int) -> Rows:
        """Return the columns of the attachments."""
        n = self.n
        self.ids = self.full("file_ids")
        if not self.trusted:
            validation.string_ids(self.at("file_ids"), self.ids)
        self.created = array("d")
        for i, run in enumerate(self.array("created")):
            where = f"{self.at('created')}[{i}]"
            time, count = _row(where, run, ("created_at", "attachments"))
            validation.whole_seconds(f"{where}.created_at", time)
            _ordered(f"{where}.created_at", earliest, time, latest)
            earliest = time + 1  # runs of the same time are one
            validation.integer(f"{where}.attachments", count, 1, n - len(self.created))
            self.created += array("d", (time,)) * count
        if len(self.created) < n:
            raise self.refuse("created", f"it has {len(self.created)} attachments in place of {n}")
        letters = validation.string(self.at("statuses"), self.data["statuses"])
        if len(letters) != n:
            raise self.refuse("statuses", f"it has {len(letters)} letters in place of {n}")
        if letters.strip(LETTERS):
            i = next(i for i, letter in enumerate(letters) if letter not in LETTERS)
            validation.one_of(f"{self.at('statuses')}[{i}]", letters[i], tuple(LETTERS))
        self.status = letters.encode().translate(_FROM_LETTERS)
        usage = self.full("usage_bytes")
        if not self.trusted:
            self.require_usage(usage)
        errors = self.errors()
        chunking = self.chunking()
        attributes = self.attributes()
        self.left = bytearray(n)
        for first, stop in self.intervals("left", 0, self.next):
            start, end = self.span(self.at("left"), first, stop)
            self.left[start:end] = b"\1" * (end - start)
        rows = Rows(id)
        rows.restore(
            self.next,
            self.kept,
            ids=self.ids,
            created_at=self.created,
            status=self.status,
            left=self.left,
            usage=array("q", usage),
            errors=errors,
            chunking=chunking,
            attributes=attributes,
        )
        return rows

    def require_usage(self, usage: list[Any]) -> None:
        """Refuse sizes that are none, and those of attachments that have not completed."""
        if set(map(type, usage)) - {int} or (usage and (min(usage) < 0 or max(usage) > validation.MAX_BYTES)):
            for i, size in enumerate(usage):
                validation.integer(f"{self.at('usage_bytes')}[{i}]", size, 0, validation.MAX_BYTES)
        sizes_of_others = compress(usage, self.status.translate(_NOT_COMPLETED))
        if any(sizes_of_others):
            i = next(i for i in range(self.n) if usage[i] and self.status[i] != CODES["completed"])
            validation.outcome(f"{self.at('usage_bytes')}[{i}]", self.name(i), usage[i], self.any_error(i))

    def span(self, place: str, first: int, stop: int) -> tuple[int, int]:
        """Return where the attachments of an interval stand in the columns; refuse one that has a gap."""
        start, last = self.where(first), self.where(stop - 1)
        if start is None or last is None or last - start != stop - 1 - first:
            raise Contradiction(place, f"attachments {first} to {stop - 1} are not all among 'attachments'")
        return start, last + 1

    def where(self, row: int) -> int | None:
        """Return where an attachment stands in the columns, or ``None``.  O(log intervals)."""
        i = bisect_right(self.starts, row) - 1
        return None if i < 0 or row >= self.kept[i][1] else self.offsets[i] + row - self.starts[i]

    def name(self, i: int) -> Any:
        """Return the status of the attachment in this place."""
        return FILE_STATUSES[self.status[i] - 1]

    def any_error(self, i: int) -> LastError | None:
        """Return an error if the attachment in this place has to have one."""
        return LastError("server_error", "") if self.name(i) == "failed" else None

    def full(self, name: str) -> list[Any]:
        """Return an array that has an item for each attachment."""
        items = self.array(name)
        if len(items) != self.n:
            raise self.refuse(name, f"it has {len(items)} items in place of {self.n}")
        return items

    def errors(self) -> list[tuple[int, LastError]]:
        """Return the errors of the attachments that have one: exactly those that failed."""
        found = []
        for where, row, place, (code, message) in self.pairs("last_errors", ("code", "message")):
            error = validation.last_error(where, code, message)
            validation.outcome(where, self.name(place), 0, error)
            found.append((row, error))
        failed = self.status.count(CODES["failed"])
        if len(found) != failed:
            raise self.refuse("last_errors", f"it has {len(found)} errors, and {failed} attachments failed")
        return found

    def chunking(self) -> list[tuple[int, StaticFileChunkingStrategyObject]]:
        """Return the chunking strategies of the attachments that have not the default."""
        table: list[StaticFileChunkingStrategyObject] = []
        seen = {AUTO}
        for i, sizes in enumerate(self.array("strategies")):
            where = f"{self.at('strategies')}[{i}]"
            size, overlap = _row(where, sizes, ("max_chunk_size_tokens", "chunk_overlap_tokens"))
            table.append(validation.kept_static(where, size, overlap, self.limits))
            if table[i] in seen:
                raise Contradiction(where, f"{size} and {overlap} are in the table twice, or the default")
            seen.add(table[i])
        found = []
        used = 0  # strategies are numbered in the order in which attachments first use them
        for where, row, _, (strategy,) in self.pairs("chunking_strategies", ("strategy",)):
            validation.integer(f"{where}.strategy", strategy, 0, min(used, len(table) - 1))
            used = max(used, strategy + 1)
            found.append((row, table[strategy]))
        if used < len(table):
            raise self.refuse(f"strategies[{used}]", "no attachment uses it")
        return found

    def attributes(self) -> list[tuple[int, Attributes]]:
        """Return the attributes of the attachments that have any."""
        found = []
        for where, row, _, (pairs,) in self.pairs("attributes", ("attributes",)):
            attributes = validation.attributes(_object(where, pairs), self.limits, where)
            if not attributes:
                raise Contradiction(where, f"attachment {row} has no attributes, and is in it")
            found.append((row, attributes))
        return found

    def departed(self) -> list[int]:
        """Return the attachments that left and are valid cursors still, in the order in which they left."""
        departed = self.array("departed")
        for i, row in enumerate(departed):
            validation.integer(f"{self.at('departed')}[{i}]", row, 0, self.next - 1)
            place = self.where(row)
            if place is None or not self.left[place]:
                raise self.refuse(f"departed[{i}]", f"attachment {row} has not left")
        if len(set(departed)) < len(departed):
            raise self.refuse("departed", "an attachment is in it twice")
        limit = self.saved_under.limits.departed
        if len(departed) > limit:
            raise self.refuse("departed", f"it has more than {limit}, the limit of the profile")
        return departed

    def batches(self, earliest: int, latest: float) -> list[Batch]:
        """Return the batches; one that attached no file is an empty interval."""
        batches: dict[str, Batch] = {}
        minimum = 0
        for i, row in enumerate(self.array("file_batches")):
            where = f"{self.at('file_batches')}[{i}]"
            id, created_at, first, stop, cancel_asked, finished_at = _row(where, row, _BATCH)
            validation.own_id(f"{where}.id", id, "vsfb_")
            if id in batches:
                raise Contradiction(f"{where}.id", f"file batch {shown(id)} is there already")
            validation.integer(f"{where}.first", first, minimum, self.next)
            validation.integer(f"{where}.stop", stop, first, min(self.next, first + self.limits.batch_files))
            validation.whole_seconds(f"{where}.created_at", created_at)
            running = 0
            if first < stop:
                start, end = self.span(where, first, stop)
                running = self.status.count(CODES["in_progress"], start, end)
                if not self.trusted and len(set(self.ids[start:end])) < end - start:
                    raise Contradiction(where, "a file is in it twice")
                if {self.created[start], self.created[end - 1]} != {created_at}:
                    raise Contradiction(
                        f"{where}.created_at", f"{created_at} is not when its files were attached"
                    )
            _ordered(f"{where}.created_at", earliest, created_at, int(latest))
            earliest = created_at
            batch = Batch(id, created_at, first, stop)
            batch.cancel_asked = validation.boolean(f"{where}.cancel_asked", cancel_asked)
            if cancel_asked and first == stop:
                raise Contradiction(f"{where}.cancel_asked", "a batch without files cannot be cancelled")
            if finished_at is not None:
                _ordered(
                    f"{where}.finished_at",
                    created_at,
                    validation.time(f"{where}.finished_at", finished_at),
                    latest,
                )
            if (finished_at is None) is not (running > 0):
                raise Contradiction(
                    f"{where}.finished_at", f"{shown(finished_at)} with {running} files in progress"
                )
            batch.finished_at = finished_at
            batches[id] = batch
            minimum = stop
        return list(batches.values())

    def require_reachable(self, departed: set[int], batches: Sequence[Batch]) -> None:
        """Refuse attachments whose status or presence nothing could have brought about."""
        listed, cancelled = bytearray(self.n), bytearray(self.n)
        for batch in batches:
            if batch.first == batch.stop:
                continue
            start, end = self.span(self.at("file_batches"), batch.first, batch.stop)
            listed[start:end] = b"\1" * (end - start)
            if batch.cancel_asked:
                cancelled[start:end] = b"\1" * (end - start)
        if 1 not in self.left and not self.status.count(CODES["cancelled"]) and not departed:
            i = validation.repeated(self.ids)
            if i is not None:
                raise self.refuse(
                    f"file_ids[{i}]", f"file {shown(self.ids[i])} was attached before, and has not left"
                )
            return
        later: set[str] = set()
        numbers = list(chain.from_iterable(range(*interval) for interval in self.kept))
        for i in range(self.n - 1, -1, -1):
            row, id, status = numbers[i], self.ids[i], self.name(i)
            if self.left[i]:
                if status == "in_progress":
                    raise self.refuse(f"statuses[{i}]", "an attachment whose file has left is 'in_progress'")
                if row in departed and id in later:
                    raise self.refuse("departed", f"file {shown(id)} was attached again after attachment {row}")
                if row not in departed and not listed[i]:
                    raise self.refuse("departed", f"attachment {row} is in no list and is not forgotten")
            else:
                if id in later:
                    raise self.refuse(
                        f"file_ids[{i}]", f"file {shown(id)} was attached again: attachment {row} must have left"
                    )
                if status == "cancelled" and listed[i] and not cancelled[i]:  # if none lists it, it was purged
                    raise self.refuse(
                        f"statuses[{i}]", "an attachment is 'cancelled' that has not left, and its batch was not"
                    )
            later.add(id)


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


def _known(place: str, value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return an object whose keys are among these."""
    pairs = _object(place, value)
    validation.mapping(place, pairs, names)
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


def _ordered(place: str, earliest: float, time: float, latest: float) -> None:
    if not earliest <= time <= latest:
        raise Contradiction(place, f"{time} does not lie between {earliest} and {latest}, its neighbours in time")
