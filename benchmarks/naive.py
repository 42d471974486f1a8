"""The naive durable design: tables for stores, batches and files, and counts in their rows.

One transaction a command, one connection a thread, the same PRAGMAs as the engine's log.  It checks nothing, it
keeps no events, and its threads wait for a lock of Python's, as SQLite lets them sleep while the database is
free.  All of that favours it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock, local
from time import sleep
from typing import Any

_SCHEMA = """
CREATE TABLE stores (id TEXT PRIMARY KEY, in_progress INTEGER, completed INTEGER, usage_bytes INTEGER);
CREATE TABLE batches (id INTEGER PRIMARY KEY, store TEXT, in_progress INTEGER, completed INTEGER);
CREATE TABLE files (
    seq INTEGER PRIMARY KEY, store TEXT, batch INTEGER, id TEXT, status TEXT, usage_bytes INTEGER,
    created_at INTEGER);
CREATE UNIQUE INDEX files_by_id ON files (store, id);
CREATE INDEX files_by_store ON files (store, seq);
CREATE INDEX files_by_status ON files (store, status, seq);
CREATE INDEX files_by_batch ON files (batch, status, seq);
"""
_STORE = "vs_naive"
_ATTACH = (
    "INSERT INTO files (store, batch, id, status, usage_bytes, created_at) VALUES (?, ?, ?, 'in_progress', 0, 0)"
)
_COMPLETE = (
    "UPDATE files SET status = 'completed', usage_bytes = ? "
    "WHERE store = ? AND id = ? AND status = 'in_progress' RETURNING batch"
)
_COUNT_BATCH = "UPDATE batches SET in_progress = in_progress - ?, completed = completed + ? WHERE id = ?"
_COUNT_STORE = (
    "UPDATE stores SET in_progress = in_progress - ?, completed = completed + ?, usage_bytes = usage_bytes + ? "
    "WHERE id = ?"
)
_PAGE = "SELECT id, created_at, status, usage_bytes FROM files WHERE store = ? ORDER BY seq LIMIT ?"


class Naive:
    """One store in a SQLite file; ``slower`` is how many seconds each commit takes longer than the disk."""

    def __init__(self, path: Path, slower: float = 0.0) -> None:
        self.path = path
        self._slower = slower
        self._connections = local()
        self._open: list[sqlite3.Connection] = []
        self._lock = Lock()
        if not path.exists():
            self.connect().executescript(_SCHEMA)
            self.connect().execute("INSERT INTO stores VALUES (?, 0, 0, 0)", (_STORE,))

    def connect(self) -> sqlite3.Connection:
        """Return the connection of this thread."""
        found: sqlite3.Connection | None = getattr(self._connections, "connection", None)
        if found is None:
            # Used by its thread alone, and closed by the one that closes all.
            found = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self._open.append(found)
            found.execute("PRAGMA journal_mode = WAL").fetchone()
            found.execute("PRAGMA synchronous = FULL")
            self._connections.connection = found
        return found

    def close(self) -> None:
        """Close the connections of all threads; each thread that goes on opens another one."""
        self._connections = local()
        while self._open:
            self._open.pop().close()

    def attach(self, ids: Sequence[str]) -> None:
        """Attach files as one batch."""
        connection = self.connect()
        connection.execute("BEGIN IMMEDIATE")
        batch = connection.execute("INSERT INTO batches VALUES (NULL, ?, ?, 0)", (_STORE, len(ids))).lastrowid
        connection.executemany(_ATTACH, [(_STORE, batch, id) for id in ids])
        connection.execute(_COUNT_STORE, (-len(ids), 0, 0, _STORE))
        self._commit(connection)

    def complete(self, id: str, usage_bytes: int) -> None:
        """Complete one file."""
        self.complete_many((id,), (usage_bytes,))

    def complete_many(self, ids: Sequence[str], usage_bytes: Sequence[int]) -> None:
        """Complete files of one batch, in one transaction."""
        connection, n = self.connect(), len(ids)
        execute = connection.execute
        with self._lock:
            execute("BEGIN IMMEDIATE")
            for id, size in zip(ids, usage_bytes, strict=True):
                ((batch,),) = execute(_COMPLETE, (size, _STORE, id)).fetchall()
            execute(_COUNT_BATCH, (n, n, batch))
            execute(_COUNT_STORE, (n, n, sum(usage_bytes), _STORE))
            self._commit(connection)

    def _commit(self, connection: sqlite3.Connection) -> None:
        if self._slower:
            sleep(self._slower)
        connection.execute("COMMIT")

    def page(self, limit: int) -> list[Any]:
        """Return the first files."""
        return self.connect().execute(_PAGE, (_STORE, limit + 1)).fetchall()

    def counts(self) -> tuple[int, int]:
        """Return how many files are in progress and completed."""
        statement = "SELECT in_progress, completed FROM stores WHERE id = ?"
        found: tuple[int, int] = self.connect().execute(statement, (_STORE,)).fetchone()
        return found
