"""Engines on databases, and what others do to one between two statements of an engine, or meanwhile.

A ``Where`` is the path of a SQLite file, or the URL of a PostgreSQL database.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from vsbatch_core import Engine, SequentialIds, VirtualClock
from vsbatch_core.journal.sqlite import SqliteLog

Where = Path | str
LOGS: list[Any] = [SqliteLog]
if find_spec("psycopg") is not None:
    from vsbatch_core.journal.postgres import PostgresLog

    LOGS.append(PostgresLog)
START = 1_700_000_000.0

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


def url_of(where: Where) -> str:
    """Return the URL of a database."""
    return where if isinstance(where, str) else f"sqlite:///{quote(os.fsencode(where))}"


def log_class(where: Where) -> Any:
    """Return the class of the connections to a database."""
    return LOGS[isinstance(where, str)]


def opened(where: Where, **options: Any) -> Engine:
    """Return an engine on a database, that does not wait for the disk and whose time stands still."""
    return Engine.open(url_of(where), **{"clock": VirtualClock(START), "durability": "normal", **options})


def filled(where: Where, batches: int = 3) -> Engine:
    """Return an engine on a new database, with one store, batches of it, and files that ended in each way."""
    engine = opened(where, ids=SequentialIds())
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
    """Have ``act`` called before the next call of a method of a log, and not before later ones."""
    methods = [(cls, getattr(cls, name)) for cls in LOGS]

    def hooked(method: Any) -> Any:
        def first(log: Any, *arguments: Any, **named: Any) -> Any:
            for cls, each in methods:
                monkeypatch.setattr(cls, name, each)
            act()
            return method(log, *arguments, **named)

        return first

    for cls, method in methods:
        monkeypatch.setattr(cls, name, hooked(method))


def frames(path: Path) -> int:
    """Return how many transactions there were."""
    connection = sqlite3.connect(path)
    try:
        found: int = connection.execute("SELECT max(seq) FROM frames").fetchone()[0] or 0
    finally:
        connection.close()
    return found


@contextmanager
def held(path: Path) -> Iterator[Callable[[], object]]:
    """Hold up every transaction, until what is returned is called."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection.rollback
    finally:
        connection.close()


@contextmanager
def held_elsewhere(path: Path) -> Iterator[Callable[[], object]]:
    """As ``held``, by another process."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.stdin.close


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was given to threads, so far."""
    given: list[object] = []
    submit = ThreadPoolExecutor.submit

    def counted(self: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        given.append(function)
        return submit(self, function, *args, **kwargs)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)
    return given
