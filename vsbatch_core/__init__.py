"""The pure-Python, in-process engine for OpenAI's vector store file batches."""

from vsbatch_core import errors, events, wire
from vsbatch_core.clock import (
    Clock,
    IdSource,
    SeededIds,
    SequentialIds,
    SystemClock,
    VirtualClock,
    random_ids,
)
from vsbatch_core.engine import Engine
from vsbatch_core.errors import HostError, RequestError, VsbatchError
from vsbatch_core.ledger import KnownFile
from vsbatch_core.model import (
    ExpiresAfter,
    FileCounts,
    FrozenDict,
    LastError,
    Limits,
    Page,
    Profile,
    StaticFileChunkingStrategy,
    StaticFileChunkingStrategyObject,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
    omit,
)

__version__ = "0.1.0"

__all__ = [
    "Clock",
    "Engine",
    "ExpiresAfter",
    "FileCounts",
    "FrozenDict",
    "HostError",
    "IdSource",
    "KnownFile",
    "LastError",
    "Limits",
    "Page",
    "Profile",
    "RequestError",
    "SeededIds",
    "SequentialIds",
    "StaticFileChunkingStrategy",
    "StaticFileChunkingStrategyObject",
    "SystemClock",
    "VectorStore",
    "VectorStoreDeleted",
    "VectorStoreFile",
    "VectorStoreFileBatch",
    "VectorStoreFileDeleted",
    "VirtualClock",
    "VsbatchError",
    "errors",
    "events",
    "omit",
    "random_ids",
    "wire",
]
