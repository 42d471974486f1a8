"""Values and events as plain JSON-able dicts, exactly as the API writes them, and back.

``to_wire`` of a value gives the body of the API's response; of an event, an object with its ``kind`` first;
``from_wire`` reads either back, equal to what it was.  A page that was read back belongs to no engine, so it ends
where it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import maxsize
from typing import Any, TypeVar, cast, get_args

from vsbatch_core import model, validation
from vsbatch_core.errors import (
    Contradiction,
    InvalidValue,
    MissingParameter,
    UnknownParameter,
    VsbatchError,
    WireError,
    shown,
)
from vsbatch_core.events import EVENTS, Event
from vsbatch_core.validation import UNLIMITED

T = TypeVar("T")

Value = (
    model.VectorStore
    | model.VectorStoreFile
    | model.VectorStoreFileBatch
    | model.VectorStoreDeleted
    | model.VectorStoreFileDeleted
    | model.Page[Any]
    | model.AsyncPage[Any]
)


def to_wire(value: Value | Event | VsbatchError) -> dict[str, Any]:
    """The exact JSON-able dict.  O(size).  Raise ``TypeError`` for anything else than a value, event or error."""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if isinstance(value, VsbatchError):
        return cast("dict[str, Any]", value.to_wire())
    raise TypeError(f"to_wire takes a value, an event or an error of vsbatch_core, not {shown(value)}")


def _chunking(strategy: model.StaticFileChunkingStrategyObject) -> dict[str, Any]:
    return {
        "type": strategy.type,
        "static": {
            "max_chunk_size_tokens": strategy.static.max_chunk_size_tokens,
            "chunk_overlap_tokens": strategy.static.chunk_overlap_tokens,
        },
    }


def _counts(counts: model.FileCounts) -> dict[str, int]:
    return {
        "in_progress": counts.in_progress,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "total": counts.total,
    }


def _error(error: model.LastError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": error.message}


def _expiry(policy: model.ExpiresAfter | None) -> dict[str, Any] | None:
    return None if policy is None else {"anchor": policy.anchor, "days": policy.days}


def _idempotency(idempotency: model.Idempotency) -> dict[str, str]:
    return {"key": idempotency.key, "fingerprint": idempotency.fingerprint}


def _file(file: model.VectorStoreFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": file.object,
        "created_at": file.created_at,
        "usage_bytes": file.usage_bytes,
        "vector_store_id": file.vector_store_id,
        "status": file.status,
        "last_error": _error(file.last_error),
        "chunking_strategy": _chunking(file.chunking_strategy),
        "attributes": dict(file.attributes),
    }


def _batch(batch: model.VectorStoreFileBatch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "object": batch.object,
        "created_at": batch.created_at,
        "vector_store_id": batch.vector_store_id,
        "status": batch.status,
        "file_counts": _counts(batch.file_counts),
    }


def _store(store: model.VectorStore) -> dict[str, Any]:
    return {
        "id": store.id,
        "object": store.object,
        "created_at": store.created_at,
        "name": store.name,
        "description": store.description,
        "usage_bytes": store.usage_bytes,
        "file_counts": _counts(store.file_counts),
        "status": store.status,
        "expires_after": _expiry(store.expires_after),
        "expires_at": store.expires_at,
        "last_active_at": store.last_active_at,
        "metadata": dict(store.metadata),
    }


def _deleted(value: model.VectorStoreDeleted | model.VectorStoreFileDeleted) -> dict[str, Any]:
    return {"id": value.id, "object": value.object, "deleted": value.deleted}


def _page(page: model.Page[Any] | model.AsyncPage[Any]) -> dict[str, Any]:
    return {
        "object": page.object,
        "data": [to_wire(item) for item in page.data],
        "first_id": page.first_id,
        "last_id": page.last_id,
        "has_more": page.has_more,
    }


def _event(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": event.kind}
    for name, value in model.data_of(event).items():
        data[name] = field_to_wire(name, value)
    return data


_FIELD_WRITERS: dict[str, Callable[[Any], Any]] = {
    "expires_after": _expiry,
    "last_error": _error,
    "metadata": dict,
    "attributes": dict,
    "attributes_each": lambda each: [dict(attributes) for attributes in each],
    "chunking_strategy": _chunking,
    "chunking_strategies": lambda strategies: [_chunking(strategy) for strategy in strategies],
    "file_ids": list,
    "idempotency": _idempotency,
    "attachments": list,
    "batch_ids": list,
    "left_running": list,
    "usage_bytes_each": list,
}
"""How the fields of events are written, where they are no plain JSON."""


def field_to_wire(name: str, value: Any) -> Any:
    """Return the value of a field of an event, by its name, as ``to_wire`` writes it."""
    write = _FIELD_WRITERS.get(name)
    return value if value is None or write is None else write(value)


_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    model.VectorStoreFile: _file,
    model.VectorStoreFileBatch: _batch,
    model.VectorStore: _store,
    model.VectorStoreDeleted: _deleted,
    model.VectorStoreFileDeleted: _deleted,
    model.Page: _page,
    model.AsyncPage: _page,
    **dict.fromkeys(EVENTS.values(), _event),
}


# Reading.  Each reader takes the place of its data, for messages, and the data; it refuses what no writer writes.

Reader = Callable[[str, Any], Any]


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _record(place: str, data: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read an object that has exactly these keys."""
    for name in readers:
        if name not in validation.mapping(place, data):
            raise MissingParameter(_below(place, name))
    for name in data:
        if name not in readers:
            raise UnknownParameter(_below(place, name), tuple(readers))
    return {name: read(_below(place, name), data[name]) for name, read in readers.items()}


def _one(expected: str | bool) -> Reader:
    def read(place: str, data: Any) -> Any:
        validation.exactly(place, data, expected)
        return expected

    return read


def _word(literal: Any) -> Reader:
    words = get_args(literal)
    return lambda place, data: validation.one_of(place, data, words)


def _or_null(read: Reader) -> Reader:
    return lambda place, data: None if data is None else read(place, data)


def _items(read: Reader) -> Reader:
    def read_all(place: str, data: Any) -> tuple[Any, ...]:
        items = validation.array(place, data, 0, maxsize)
        return tuple([read(f"{place}[{i}]", item) for i, item in enumerate(items)])

    return read_all


def _own_id(prefix: str) -> Reader:
    return lambda place, data: validation.own_id(place, data, prefix)


def _id(place: str, data: Any) -> str:
    return validation.string(place, data, minimum=1)


def _count(place: str, data: Any) -> int:
    return validation.integer(place, data, 0)


def _bytes(place: str, data: Any) -> int:
    return validation.integer(place, data, 0, validation.MAX_BYTES)


def _read_chunking(place: str, data: Any) -> model.StaticFileChunkingStrategyObject:
    static = _record(place, data, {"type": _one("static"), "static": validation.mapping})["static"]
    name = _below(place, "static")
    sizes = _record(name, static, {"max_chunk_size_tokens": _any, "chunk_overlap_tokens": _any})
    size, overlap = sizes.values()
    return validation.kept_static(name, size, overlap, UNLIMITED)


def _any(_place: str, data: Any) -> Any:
    return data


def _read_counts(place: str, data: Any) -> model.FileCounts:
    counts = _record(place, data, {**dict.fromkeys(model.FILE_STATUSES, _count), "total": _count})
    total = counts.pop("total")
    if sum(counts.values()) != total:
        raise InvalidValue(_below(place, "total"), total, (str(sum(counts.values())),))
    return model.FileCounts(**counts)


def _read_error(place: str, data: Any) -> model.LastError:
    error = _record(place, data, {"code": _any, "message": _any})
    return validation.last_error(place, error["code"], error["message"])


def _read_expiry(place: str, data: Any) -> model.ExpiresAfter | None:
    return validation.expires_after(validation.mapping(place, data), UNLIMITED, place)


def _read_idempotency(place: str, data: Any) -> model.Idempotency:
    pairs = _record(place, data, {"key": _any, "fingerprint": _any})
    return validation.idempotency(place, pairs["key"], pairs["fingerprint"])


def _read_attributes(place: str, data: Any) -> model.Attributes:
    return validation.attributes(validation.mapping(place, data), UNLIMITED, place)


def _read_metadata(place: str, data: Any) -> model.Metadata:
    return validation.metadata(validation.mapping(place, data), UNLIMITED, place)


def _read_file(place: str, data: Any) -> model.VectorStoreFile:
    fields = _record(place, data, _FILE)
    validation.outcome(_below(place, "status"), fields["status"], fields["usage_bytes"], fields["last_error"])
    return _made(model.VectorStoreFile, fields)


def _read_batch(place: str, data: Any) -> model.VectorStoreFileBatch:
    fields = _record(place, data, _BATCH)
    if (fields["status"] == "in_progress") is not (fields["file_counts"].in_progress > 0):
        raise Contradiction(
            _below(place, "status"),
            f"a batch with {fields['file_counts'].in_progress} files in progress is '{fields['status']}'",
        )
    return model.VectorStoreFileBatch(**fields)


def _read_store(place: str, data: Any) -> model.VectorStore:
    fields = _record(place, data, _STORE)
    policy, expires_at, status = fields["expires_after"], fields["expires_at"], fields["status"]
    if expires_at != (None if policy is None else fields["last_active_at"] + policy.days * model.DAY):
        raise Contradiction(
            _below(place, "expires_at"), f"{expires_at} does not follow from 'last_active_at' and 'expires_after'"
        )
    if status == "expired" and policy is None:
        raise Contradiction(_below(place, "status"), "a store without 'expires_after' is 'expired'")
    if status != "expired" and (status == "in_progress") is not (fields["file_counts"].in_progress > 0):
        raise Contradiction(
            _below(place, "status"),
            f"a store with {fields['file_counts'].in_progress} files in progress is '{status}'",
        )
    return _made(model.VectorStore, fields)


def _read_page(place: str, data: Any) -> model.Page[Any]:
    fields = _record(place, data, _PAGE)
    items = fields["data"]
    if len({type(item) for item in items}) > 1:
        raise Contradiction(_below(place, "data"), "it holds both stores and files")
    for name, expected in (("first_id", items[:1]), ("last_id", items[-1:])):
        validation.exactly(_below(place, name), fields[name], expected[0].id if expected else None)
    return model.Page(items, fields["has_more"])


def _read_item(place: str, data: Any) -> model.VectorStore | model.VectorStoreFile:
    """Read an item of a page: a page holds no pages, so no nesting is followed."""
    word = validation.member(place, validation.mapping(place, data), "object")
    items: dict[str, Reader] = {model.VectorStoreFile.object: _read_file, model.VectorStore.object: _read_store}
    validation.one_of(_below(place, "object"), word, tuple(items))
    return items[word](place, data)  # type: ignore[no-any-return]  # one of these two


def _read_as(cls: type[T]) -> Reader:
    """A reader of a class whose every field is written under its own name."""
    readers = {name: _FIELDS[name] for name in model.names_of(cls)}
    fixed: dict[str, Reader] = {
        name: _one(getattr(cls, name)) for name in ("object", "deleted", "kind") if hasattr(cls, name)
    }
    if cls is model.VectorStoreDeleted:
        readers["id"] = _own_id("vs_")
    return lambda place, data: _made(cls, _record(place, data, {**fixed, **readers}))


def _made(cls: type[T], fields: dict[str, Any]) -> T:
    return cls(**{name: fields[name] for name in model.names_of(cls)})


_FIELDS: dict[str, Reader] = {
    "at": validation.time,
    "attachment": _count,
    "attachments": _items(_count),
    "attributes": _read_attributes,
    "attributes_each": _items(_read_attributes),
    "batch_id": _own_id("vsfb_"),
    "batch_ids": _items(_own_id("vsfb_")),
    "chunking_strategies": _items(_read_chunking),
    "chunking_strategy": _read_chunking,
    "created_at": validation.whole_seconds,
    "description": _or_null(validation.string),
    "left_running": _items(_count),
    "expires_after": _or_null(_read_expiry),
    "expires_at": _or_null(validation.whole_seconds),
    "file_counts": _read_counts,
    "file_id": _id,
    "file_ids": _items(_id),
    "first_attachment": _count,
    "id": _id,
    "idempotency": _or_null(_read_idempotency),
    "last_active_at": validation.whole_seconds,
    "last_error": _read_error,
    "metadata": _read_metadata,
    "name": _or_null(validation.string),
    "status": _word(model.FileStatus),
    "stores_version": _count,
    "usage_bytes": _bytes,
    "usage_bytes_each": _items(_bytes),
    "vector_store_id": _own_id("vs_"),
    "version": _count,
}
"""How each field is read; a name means the same wherever it stands, but for the exceptions below."""


def field_from_wire(name: str, data: Any) -> Any:
    """Return the value of a field of an event, by its name; raise the error for what no writer writes."""
    return _FIELDS[name](name, data)


_FILE = {"object": _one(model.VectorStoreFile.object)} | {
    name: _FIELDS[name] for name in model.names_of(model.VectorStoreFile)
}
_FILE["last_error"] = _or_null(_read_error)
_BATCH = {name: _FIELDS[name] for name in model.names_of(model.VectorStoreFileBatch) if name != "object"} | {
    "id": _own_id("vsfb_"),
    "object": _word(model.BatchObject),
    "status": _word(model.BatchStatus),
}
_STORE = {name: _FIELDS[name] for name in model.names_of(model.VectorStore)} | {
    "id": _own_id("vs_"),
    "object": _one(model.VectorStore.object),
    "status": _word(model.StoreStatus),
}
_PAGE: dict[str, Reader] = {
    "object": _one(model.Page.object),
    "data": _items(_read_item),
    "first_id": _any,
    "last_id": _any,
    "has_more": validation.boolean,
}

_READERS: dict[str, Reader] = {
    model.VectorStoreFile.object: _read_file,
    model.VectorStore.object: _read_store,
    model.VectorStoreDeleted.object: _read_as(model.VectorStoreDeleted),
    model.VectorStoreFileDeleted.object: _read_as(model.VectorStoreFileDeleted),
    model.Page.object: _read_page,
    **dict.fromkeys(get_args(model.BatchObject), _read_batch),
}
_EVENT_READERS: dict[str, Reader] = {kind: _read_as(cls) for kind, cls in EVENTS.items()}


def from_wire(data: Mapping[str, Any]) -> Value | Event:
    """Return the value or event that ``to_wire`` wrote.  O(size).

    Raise ``WireError``, whose ``param`` is the place, if the data is not what ``to_wire`` writes: another
    ``object`` or ``kind``, a field too few or too many, a value of another type or out of bounds, or fields that
    contradict each other.  Nothing is coerced.
    """
    try:
        pairs = validation.mapping("data", data)
        name, readers = ("kind", _EVENT_READERS) if "kind" in pairs else ("object", _READERS)
        if name not in pairs:
            raise MissingParameter(name)
        word = pairs[name]
        if not isinstance(word, str) or word not in readers:
            raise InvalidValue(name, word, sorted(readers))
        return cast("Value | Event", readers[word]("", pairs))
    except VsbatchError as error:
        raise WireError(f"Cannot read this as a value or event: {error}", param=error.param) from error
