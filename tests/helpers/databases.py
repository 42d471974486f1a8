"""Engines with a database, what holds their transactions up, and how often a thread is asked for."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Engine, SequentialIds, VirtualClock

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


def url_of(path: Path) -> str:
    return f"sqlite:///{path / 'state.db'}"


def opened(path: Path, **options: Any) -> Engine:
    """Return an engine whose database is in this folder, which is made if it is not there."""
    path.mkdir(exist_ok=True)
    return Engine.open(url_of(path), **{"clock": VirtualClock(), "ids": SequentialIds(), **options})


def frames(path: Path) -> int:
    """Return how many transactions there were."""
    connection = sqlite3.connect(path / "state.db")
    try:
        found: int = connection.execute("SELECT max(seq) FROM frames").fetchone()[0] or 0
    finally:
        connection.close()
    return found


@contextmanager
def held(path: Path) -> Iterator[Callable[[], object]]:
    """Hold up every transaction, until what is returned is called."""
    connection = sqlite3.connect(path / "state.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection.rollback
    finally:
        connection.close()


@contextmanager
def held_elsewhere(path: Path) -> Iterator[Callable[[], object]]:
    """As ``held``, by another process."""
    command = [sys.executable, "-c", _HOLD, str(path / "state.db")]
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
