"""Values and events as plain JSON-able dicts, exactly as the API writes them, and back.

``to_wire`` of a value gives the body of the API's answer; of an event, an object with its ``kind`` first;
``from_wire`` reads either back, equal to what it was.  A page that was read back belongs to no engine, so it ends
where it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast, get_args

import attrs

from vsbatch_core import model
from vsbatch_core.errors import InvalidValue, MissingParameter, VsbatchError, shown
from vsbatch_core.events import EVENTS, Event

T = TypeVar("T")

Value = (
    model.VectorStore
    | model.VectorStoreFile
    | model.VectorStoreFileBatch
    | model.VectorStoreDeleted
    | model.VectorStoreFileDeleted
    | model.Page[Any]
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


def _page(page: model.Page[Any]) -> dict[str, Any]:
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
        write = _FIELD_WRITERS.get(name)
        data[name] = value if write is None else write(value)
    return data


_FIELD_WRITERS: dict[str, Callable[[Any], Any]] = {
    "expires_after": _expiry,
    "last_error": _error,
    "metadata": dict,
    "attributes": dict,
    "file": _file,
    "files": lambda files: [_file(file) for file in files],
}
"""How the fields of events are written, where they are no plain JSON."""

_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    model.VectorStoreFile: _file,
    model.VectorStoreFileBatch: _batch,
    model.VectorStore: _store,
    model.VectorStoreDeleted: _deleted,
    model.VectorStoreFileDeleted: _deleted,
    model.Page: _page,
    **dict.fromkeys(EVENTS.values(), _event),
}


def _read_chunking(data: Mapping[str, Any]) -> model.StaticFileChunkingStrategyObject:
    static = _read_fields(model.StaticFileChunkingStrategy, data["static"])
    strategy = model.StaticFileChunkingStrategyObject(static)
    return model.AUTO if strategy == model.AUTO else strategy


def _read_counts(data: Mapping[str, int]) -> model.FileCounts:
    counts = model.FileCounts(**{status: data[status] for status in model.FILE_STATUSES})
    if counts.total != data["total"]:
        raise InvalidValue("file_counts.total", data["total"], (str(counts.total),))
    return counts


def _read_error(data: Mapping[str, Any] | None) -> model.LastError | None:
    return None if data is None else model.LastError(data["code"], data["message"])


def _read_expiry(data: Mapping[str, Any] | None) -> model.ExpiresAfter | None:
    return None if data is None else model.ExpiresAfter(days=data["days"])


def _read_pairs(data: Mapping[str, Any] | None) -> model.FrozenDict[str, Any]:
    return model.FrozenDict(data) if data else model.NO_ATTRIBUTES


def _read_file(data: Mapping[str, Any]) -> model.VectorStoreFile:
    return _read_fields(model.VectorStoreFile, data)


_FIELD_READERS: dict[str, Callable[[Any], Any]] = {
    "attributes": _read_pairs,
    "chunking_strategy": _read_chunking,
    "expires_after": _read_expiry,
    "file": _read_file,
    "file_counts": _read_counts,
    "files": lambda files: tuple(_read_file(file) for file in files),
    "last_error": _read_error,
    "metadata": _read_pairs,
}
"""How fields are read, where they are no plain JSON; a name means the same wherever it stands."""


def _read_fields(cls: type[T], data: Mapping[str, Any]) -> T:
    fields = {}
    for attribute in attrs.fields(cast("type[attrs.AttrsInstance]", cls)):
        value = data[attribute.name]
        read = _FIELD_READERS.get(attribute.name)
        fields[attribute.name] = value if read is None else read(value)
    return cls(**fields)


_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    **{
        word: partial(_read_fields, cls)
        for cls in (
            model.VectorStoreFile,
            model.VectorStore,
            model.VectorStoreDeleted,
            model.VectorStoreFileDeleted,
        )
        for word in (cls.object,)
    },
    **dict.fromkeys(get_args(model.BatchObject), partial(_read_fields, model.VectorStoreFileBatch)),
    "list": lambda data: model.Page(tuple(from_wire(item) for item in data["data"]), data["has_more"]),
}
_EVENT_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    kind: partial(_read_fields, cls) for kind, cls in EVENTS.items()
}


def from_wire(data: Mapping[str, Any]) -> Value | Event:
    """The value or event that ``to_wire`` wrote.  O(size).

    Raise ``MissingParameter`` or ``InvalidValue`` if the data is not of a known ``object`` or ``kind``, lacks a
    field, or has a ``total`` that is not the sum of its counts.
    """
    name, readers = ("kind", _EVENT_READERS) if "kind" in data else ("object", _READERS)
    try:
        word = data[name]
        reader = readers.get(word) if isinstance(word, str) else None
        if reader is None:
            raise InvalidValue(name, word, sorted(readers))
        return cast("Value | Event", reader(data))
    except KeyError as error:
        raise MissingParameter(str(error.args[0])) from error
