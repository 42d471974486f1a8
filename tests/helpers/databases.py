"""Engines on SQLite files, and what others do to a file between two statements of one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from vsbatch_core import Engine, SequentialIds, VirtualClock
from vsbatch_core.journal.sqlite import SqliteLog

START = 1_700_000_000.0


def url_of(path: Path) -> str:
    """Return the URL of a file."""
    return f"sqlite:///{quote(os.fsencode(path))}"


def opened(path: Path, **options: Any) -> Engine:
    """Return an engine on a file, that does not wait for the disk and whose time stands still."""
    return Engine.open(url_of(path), **{"clock": VirtualClock(START), "durability": "normal", **options})


def filled(path: Path, batches: int = 3) -> Engine:
    """Return an engine on a new file, with one store, some batches of it, and files that ended in each way."""
    engine = opened(path, ids=SequentialIds())
    store = engine.vector_stores.create(name="docs")
    for i in range(batches):
        files = [f"file-{i}-{j}" for j in range(4)]
        batch = engine.vector_stores.file_batches.create(store.id, file_ids=files)
        engine.processing.complete(store.id, files[0], usage_bytes=10)
        engine.processing.fail(store.id, files[1])
        if i % 2:
            engine.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    return engine


def store_id(engine: Engine) -> str:
    """Return the id of the oldest store."""
    return engine.view.vector_store_ids()[0]


def once_before(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Have ``act`` called before the next call of a method of ``SqliteLog``, and not before later ones."""
    method = getattr(SqliteLog, name)

    def hooked(log: SqliteLog, *arguments: Any) -> Any:
        monkeypatch.setattr(SqliteLog, name, method)
        act()
        return method(log, *arguments)

    monkeypatch.setattr(SqliteLog, name, hooked)
