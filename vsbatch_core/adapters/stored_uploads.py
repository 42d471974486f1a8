"""Uploaded files in the database of an engine, in tables of their own.

The rules are here, in statements that SQLite and PostgreSQL both take; ``Tables`` is what differs between them.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, Protocol, TypeVar

from vsbatch_core.adapters.uploads import LIMITS, FileObject, Uploads
from vsbatch_core.clock import Clock
from vsbatch_core.errors import DatabaseUnavailable, OutcomeUnknown
from vsbatch_core.journal import is_postgres, path_of
from vsbatch_core.journal.log import Durability
from vsbatch_core.model import Order, Page

T = TypeVar("T")


class Tables(Protocol):
    """A connection to the two tables, which opens when it is needed.

    ``uploads`` has a row for each file, and ``uploads_kept`` one row with the sizes of all of them together.  A
    file that was deleted is a row without content until others have been deleted after it: its id is a cursor.
    ``departed`` is its place among those.

    Every method raises one of ``errors`` if the database fails, and ``DatabaseRefused`` where no engine has made
    the database.  Only one thread uses it at a time.
    """

    place: str
    """Where the tables are, as messages name it."""
    errors: type[Exception]

    def made(self) -> bool:
        """Return whether the tables are there."""

    def begin(self, *, make: bool) -> None:
        """Begin a transaction: until it ends, nobody else changes anything.  Make the tables, if told to."""

    def commit(self) -> None:
        """End the transaction, durably."""

    def rollback(self) -> None:
        """End the transaction, if one has begun, as if it had not."""

    def open_anew(self) -> None:
        """Open another connection, which sees what became of the transaction that was under way."""

    def key(self, file_id: str) -> Any:
        """Return what the column ``id`` has for an id."""

    def run(self, statement: str, *arguments: Any) -> None:
        """Run a statement, in which question marks stand for the arguments."""

    def rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""

    def close(self) -> None:
        """Close the connection, if it is open; it opens again when it is needed."""


def tables_of(url: str, durability: Durability) -> tuple[Callable[[], Tables], Clock | None]:
    """Return what makes connections to the tables of a database, and the clock that it has, if any."""
    if is_postgres(url):
        from vsbatch_core.adapters.postgres_uploads import PostgresTables  # noqa: PLC0415 - psycopg
        from vsbatch_core.journal.postgres import DatabaseClock  # noqa: PLC0415 - psycopg

        clock = DatabaseClock()
        return partial(PostgresTables, url, durability, clock), clock
    from vsbatch_core.adapters.sqlite_uploads import SqliteTables  # noqa: PLC0415 - sqlite3

    return partial(SqliteTables, path_of(url), durability), None


_inherited: list[Tables] = []
"""Connections that a child process must neither use nor close."""


class StoredUploads(Uploads):
    """What ``Uploads.open`` returns.  ``tables`` makes a connection to them, which is not yet open."""

    def __init__(self, tables: Callable[[], Tables], **options: Any) -> None:
        super().__init__(**options)
        self._make_tables = tables
        self._tables = tables()
        self._process = os.getpid()
        self._made = False
        """Whether the tables are known to be there."""

    @contextmanager
    def _connected(self) -> Iterator[Tables]:
        """Return the tables, which no other thread uses meanwhile."""
        if self._process != os.getpid():
            _inherited.append(self._tables)
            self._tables, self._lock, self._process = self._make_tables(), Lock(), os.getpid()
        with self._lock:
            try:
                yield self._tables
            finally:
                self._tables.rollback()

    def close(self) -> None:
        """Close the database; it opens again when it is needed."""
        with self._lock:
            self._tables.close()

    # Reading and writing

    def _read(self, read: Callable[[Tables], T], empty: Callable[[], T]) -> T:
        """Return what is read, and what ``empty`` returns if there are no tables yet."""
        try:
            with self._connected() as tables:
                self._made = self._made or tables.made()
                if self._made:
                    return read(tables)
        except self._tables.errors as error:
            raise DatabaseUnavailable(self._tables.place, str(error)) from error
        return empty()

    def _write(self, change: Callable[[Tables], T], landed: Callable[[Tables, T], bool]) -> T:
        """Return what ``change`` returned, once what it did lasts.

        ``landed`` tells from a new connection whether it does, where the database does not say so.
        """
        place, errors = self._tables.place, self._tables.errors
        try:
            with self._connected() as tables:
                tables.begin(make=not self._made)
                changed = change(tables)
                try:
                    tables.commit()
                except errors as error:
                    try:
                        tables.open_anew()
                        known = landed(tables, changed)
                    except errors:
                        raise OutcomeUnknown(place, str(error)) from error
                    if not known:
                        raise
        except errors as error:
            raise DatabaseUnavailable(place, str(error)) from error
        self._made = True
        return changed

    # Uploads

    @property
    def kept_bytes(self) -> int:
        """The sizes of all files that are kept, together.  O(1)."""
        return self._read(_kept_bytes, lambda: 0)

    def _keep(self, filename: str, content: builtins.bytes, purpose: str) -> FileObject:
        def keep(tables: Tables) -> FileObject:
            latest = _one(tables, "SELECT created_at FROM uploads ORDER BY number DESC LIMIT 1") or 0
            new = self._new(
                filename,
                content,
                purpose,
                kept_bytes=_kept_bytes(tables),
                latest=latest,
                taken=lambda file_id: _place(tables, file_id) is not None,
            )
            name = filename.encode("utf-8", "surrogatepass")
            tables.run(
                "INSERT INTO uploads (id, bytes, created_at, filename, purpose, content) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                tables.key(new.id),
                new.bytes,
                new.created_at,
                name,
                purpose,
                content,
            )
            tables.run("UPDATE uploads_kept SET bytes = bytes + ?", new.bytes)
            return new

        return self._write(keep, lambda tables, new: _place(tables, new.id) is not None)

    def _get(self, file_id: str) -> FileObject | None:
        def get(tables: Tables) -> FileObject | None:
            found = tables.rows(
                "SELECT id, bytes, created_at, filename, purpose FROM uploads WHERE id = ? AND departed IS NULL",
                tables.key(file_id),
            )
            return _file(*found[0]) if found else None

        return self._read(get, lambda: None)

    def _content(self, file_id: str) -> builtins.bytes | None:
        def read(tables: Tables) -> builtins.bytes | None:
            content: builtins.bytes | None = _one(
                tables, "SELECT content FROM uploads WHERE id = ?", tables.key(file_id)
            )
            return content

        return self._read(read, lambda: None)

    def _page(self, limit: int, order: Order, purpose: str | None, after: str | None) -> Page[FileObject]:
        page = super()._page
        statement, first = (_ASCENDING, 0) if order == "asc" else (_DESCENDING, _MOST)

        def read(tables: Tables) -> Page[FileObject]:
            place = self._place_after(after, lambda file_id: _place(tables, file_id))
            rows = tables.rows(statement, purpose, purpose, first if place is None else place, limit + 1)
            found = [_file(*row) for row in rows]
            return Page(tuple(found[:limit]), len(found) > limit, (self._page, limit, order, purpose))

        return self._read(read, lambda: page(limit, order, purpose, after))

    def _drop(self, file_id: str) -> bool:
        def drop(tables: Tables) -> bool:
            if not _is_here(tables, file_id):
                return False
            key = tables.key(file_id)
            size = _one(tables, "SELECT bytes FROM uploads WHERE id = ?", key)
            last = _one(tables, "SELECT max(departed) FROM uploads WHERE departed IS NOT NULL") or 0
            tables.run("UPDATE uploads SET departed = ?, content = NULL WHERE id = ?", last + 1, key)
            tables.run("DELETE FROM uploads WHERE departed <= ?", last + 1 - LIMITS.departed)
            tables.run("UPDATE uploads_kept SET bytes = bytes - ?", size)
            return True

        return self._write(drop, lambda tables, _: not _is_here(tables, file_id))


_MOST = (1 << 63) - 1
_ASCENDING = """
SELECT id, bytes, created_at, filename, purpose FROM uploads
WHERE departed IS NULL AND (CAST(? AS TEXT) IS NULL OR purpose = ?) AND number > ? ORDER BY number LIMIT ?
"""
_DESCENDING = """
SELECT id, bytes, created_at, filename, purpose FROM uploads
WHERE departed IS NULL AND (CAST(? AS TEXT) IS NULL OR purpose = ?) AND number < ? ORDER BY number DESC LIMIT ?
"""


def _one(tables: Tables, statement: str, *arguments: Any) -> Any:
    """Return the first column of the first row, or ``None``."""
    rows = tables.rows(statement, *arguments)
    return rows[0][0] if rows else None


def _kept_bytes(tables: Tables) -> int:
    return int(_one(tables, "SELECT bytes FROM uploads_kept"))


def _place(tables: Tables, file_id: str) -> int | None:
    place: int | None = _one(tables, "SELECT number FROM uploads WHERE id = ?", tables.key(file_id))
    return place


def _is_here(tables: Tables, file_id: str) -> bool:
    return bool(tables.rows("SELECT 1 FROM uploads WHERE id = ? AND departed IS NULL", tables.key(file_id)))


def _file(id: Any, size: int, created_at: int, filename: builtins.bytes, purpose: str) -> FileObject:
    id = id if isinstance(id, str) else _text(id)
    return FileObject(id, size, created_at, _text(filename), purpose)


def _text(data: builtins.bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
