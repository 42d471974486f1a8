"""The pure-Python, in-process engine for OpenAI's vector store file batches.

Names are imported when they are first used, so that importing the package, as the pytest plugin does in every
test run of every project that has it installed, costs nothing.
"""

from collections import ChainMap as _ChainMap
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
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

_ROOMS = ("clock", "errors", "model", "ledger", "engine")
"""Where the names are that are no rooms themselves."""


def __getattr__(name: str) -> _Any:
    if name in ("errors", "events", "wire"):
        return _import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    rooms = [vars(_import_module(f"{__name__}.{room}")) for room in _ROOMS]
    return globals().setdefault(name, _ChainMap(*rooms)[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
