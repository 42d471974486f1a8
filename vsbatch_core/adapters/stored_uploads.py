"""Uploaded files in the SQLite file of an engine, in tables of their own."""

from __future__ import annotations

import builtins
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, TypeVar

from vsbatch_core.adapters.uploads import LIMITS, FileObject, Uploads
from vsbatch_core.errors import DatabaseRefused, DatabaseUnavailable, OutcomeUnknown
from vsbatch_core.journal import path_of
from vsbatch_core.journal.log import Durability
from vsbatch_core.journal.sqlite import APPLICATION_ID, BUSY_SECONDS, connected
from vsbatch_core.model import Order, Page

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL, filename BLOB NOT NULL, purpose TEXT NOT NULL, departed INTEGER, content BLOB
);
CREATE INDEX IF NOT EXISTS uploads_departed ON uploads (departed) WHERE departed IS NOT NULL;
CREATE TABLE IF NOT EXISTS uploads_kept (bytes INTEGER NOT NULL);
INSERT INTO uploads_kept SELECT 0 WHERE NOT EXISTS (SELECT * FROM uploads_kept)
"""
"""A file that was deleted is a row without content until others have been deleted after it: its id is a cursor.

``departed`` is its place among those.
"""

_inherited: list[sqlite3.Connection | None] = []
"""Connections that a child process must neither use nor close."""


class StoredUploads(Uploads):
    """What ``Uploads.open`` returns."""

    def __init__(self, url: str, durability: Durability, **options: Any) -> None:
        super().__init__(**options)
        self._path = path_of(url)
        self._durability = durability
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._made = False
        """Whether the tables are known to be there."""

    # The connection

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Return a connection, which no other thread uses meanwhile."""
        if self._process != os.getpid():
            _inherited.append(self._connection)
            self._connection, self._lock, self._process = None, Lock(), os.getpid()
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            try:
                yield self._connection
            finally:
                connection: sqlite3.Connection | None = self._connection
                if connection is not None and connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            raise self._refused("it is not there")
        connection = connected(self._path, self._durability, BUSY_SECONDS)
        ours = False
        try:
            ours = _one(connection, "PRAGMA application_id") == APPLICATION_ID
        finally:
            if not ours:
                connection.close()
        if not ours:
            raise self._refused("no engine has made it")
        return connection

    def _refused(self, why: str) -> DatabaseRefused:
        return DatabaseRefused(str(self._path), f"{why}. Open an engine on it before its uploads are used")

    def close(self) -> None:
        """Close the database; it opens again when it is needed."""
        with self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # nothing is under way
                connection.close()

    # Reading and writing

    def _read(self, read: Callable[[sqlite3.Connection], T], empty: Callable[[], T]) -> T:
        """Return what is read, and what ``empty`` returns if there are no tables yet."""
        try:
            with self._connected() as connection:
                if not self._made:
                    self._made = _one(connection, "SELECT 1 FROM sqlite_master WHERE name = 'uploads'") == 1
                if self._made:
                    return read(connection)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(str(self._path), str(error)) from error
        return empty()

    def _write(
        self, change: Callable[[sqlite3.Connection], T], landed: Callable[[sqlite3.Connection, T], bool]
    ) -> T:
        """Return what ``change`` returned, once what it did lasts.

        ``landed`` tells from a new connection whether it does, where the database does not say so.
        """
        place = str(self._path)
        try:
            with self._connected() as connection:
                connection.execute("BEGIN IMMEDIATE")
                if not self._made:
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                changed = change(connection)
                try:
                    connection.execute("COMMIT")
                except sqlite3.Error as error:
                    self._disconnect()
                    try:
                        self._connection = self._connect()
                        known = landed(self._connection, changed)
                    except sqlite3.Error:
                        raise OutcomeUnknown(place, str(error)) from error
                    if not known:
                        raise
        except sqlite3.Error as error:
            raise DatabaseUnavailable(place, str(error)) from error
        self._made = True
        return changed

    # Uploads

    @property
    def kept_bytes(self) -> int:
        """The sizes of all files that are kept, together.  O(1)."""
        return self._read(_kept_bytes, lambda: 0)

    def _keep(self, filename: str, content: builtins.bytes, purpose: str) -> FileObject:
        def keep(connection: sqlite3.Connection) -> FileObject:
            latest = _one(connection, "SELECT created_at FROM uploads ORDER BY number DESC LIMIT 1") or 0
            new = self._new(
                filename,
                content,
                purpose,
                kept_bytes=_kept_bytes(connection),
                latest=latest,
                taken=lambda file_id: _place(connection, file_id) is not None,
            )
            name = filename.encode("utf-8", "surrogatepass")
            connection.execute(
                "INSERT INTO uploads (id, bytes, created_at, filename, purpose, content) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (new.id, new.bytes, new.created_at, name, purpose, content),
            )
            connection.execute("UPDATE uploads_kept SET bytes = bytes + ?", (new.bytes,))
            return new

        return self._write(keep, lambda connection, new: _place(connection, new.id) is not None)

    def _get(self, file_id: str) -> FileObject | None:
        def get(connection: sqlite3.Connection) -> FileObject | None:
            row = connection.execute(
                "SELECT id, bytes, created_at, filename, purpose FROM uploads WHERE id = ? AND departed IS NULL",
                (file_id,),
            ).fetchone()
            return None if row is None else _file(row)

        return self._read(get, lambda: None)

    def _content(self, file_id: str) -> builtins.bytes | None:
        def read(connection: sqlite3.Connection) -> builtins.bytes | None:
            content: builtins.bytes | None = _one(connection, "SELECT content FROM uploads WHERE id = ?", file_id)
            return content

        return self._read(read, lambda: None)

    def _page(self, limit: int, order: Order, purpose: str | None, after: str | None) -> Page[FileObject]:
        page = super()._page
        statement, first = (_ASCENDING, 0) if order == "asc" else (_DESCENDING, _MOST)

        def read(connection: sqlite3.Connection) -> Page[FileObject]:
            place = self._place_after(after, lambda file_id: _place(connection, file_id))
            rows = connection.execute(
                statement,
                {"purpose": purpose, "place": first if place is None else place, "limit": limit + 1},
            )
            found = list(map(_file, rows))
            return Page(tuple(found[:limit]), len(found) > limit, (self._page, limit, order, purpose))

        return self._read(read, lambda: page(limit, order, purpose, after))

    def _drop(self, file_id: str) -> bool:
        def drop(connection: sqlite3.Connection) -> bool:
            if not _is_here(connection, file_id):
                return False
            size = _one(connection, "SELECT bytes FROM uploads WHERE id = ?", file_id)
            last = _one(connection, "SELECT max(departed) FROM uploads WHERE departed IS NOT NULL") or 0
            connection.execute(
                "UPDATE uploads SET departed = ?, content = NULL WHERE id = ?", (last + 1, file_id)
            )
            connection.execute("DELETE FROM uploads WHERE departed <= ?", (last + 1 - LIMITS.departed,))
            connection.execute("UPDATE uploads_kept SET bytes = bytes - ?", (size,))
            return True

        return self._write(drop, lambda connection, _: not _is_here(connection, file_id))


_MOST = (1 << 63) - 1
_ASCENDING = """
SELECT id, bytes, created_at, filename, purpose FROM uploads
WHERE departed IS NULL AND (:purpose IS NULL OR purpose = :purpose) AND number > :place
ORDER BY number LIMIT :limit
"""
_DESCENDING = """
SELECT id, bytes, created_at, filename, purpose FROM uploads
WHERE departed IS NULL AND (:purpose IS NULL OR purpose = :purpose) AND number < :place
ORDER BY number DESC LIMIT :limit
"""


def _one(connection: sqlite3.Connection, statement: str, *arguments: Any) -> Any:
    """Return the first column of the first row, or ``None``."""
    row = connection.execute(statement, arguments).fetchone()
    return None if row is None else row[0]


def _kept_bytes(connection: sqlite3.Connection) -> int:
    return int(_one(connection, "SELECT bytes FROM uploads_kept"))


def _place(connection: sqlite3.Connection, file_id: str) -> int | None:
    place: int | None = _one(connection, "SELECT number FROM uploads WHERE id = ?", file_id)
    return place


def _is_here(connection: sqlite3.Connection, file_id: str) -> bool:
    return _one(connection, "SELECT 1 FROM uploads WHERE id = ? AND departed IS NULL", file_id) is not None


def _file(row: tuple[str, int, int, builtins.bytes, str]) -> FileObject:
    id, size, created_at, filename, purpose = row
    return FileObject(id, size, created_at, filename.decode("utf-8", "surrogatepass"), purpose)
