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

INDEX = """
CREATE INDEX IF NOT EXISTS uploads_expire ON uploads (expires_at)
    WHERE expires_at IS NOT NULL AND departed IS NULL
"""
UPGRADE = f"""
ALTER TABLE uploads ADD COLUMN expires_at bigint;
ALTER TABLE uploads_kept ADD COLUMN files bigint NOT NULL DEFAULT 0;
UPDATE uploads_kept SET files = (SELECT count(*) FROM uploads WHERE departed IS NULL), bytes = bytes
    + (SELECT coalesce(sum(length(filename)), 0) FROM uploads WHERE departed IS NULL);
{INDEX}
"""
"""What brings the tables of the first version to the form of this one.  Those did not count the files, nor their
names, and no file expired."""


class Tables(Protocol):
    """A connection to the two tables, which opens when it is needed.

    ``uploads`` has a row for each file, and ``uploads_kept`` one row with the sizes of all of them together.  A
    file that was deleted is a row without content until others have been deleted after it: its id is a cursor.
    ``departed`` is its place among those.  A file that has expired may be there as if it had not, until somebody
    writes.

    Every method raises one of ``errors`` if the database fails, and ``DatabaseRefused`` where no engine has made
    the database.  Only one thread uses it at a time.
    """

    place: str
    """Where the tables are, as messages name it."""
    errors: type[Exception]

    def made(self) -> bool:
        """Return whether the tables are there; those of an older version are brought to the form of this one."""

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
        """The sizes of all files that are kept and of their names, together.  O(1) if none has just expired."""

        def read(tables: Tables) -> int:
            expired = f"SELECT coalesce(sum({_COST}), 0) FROM uploads WHERE {_EXPIRED}"
            return _kept(tables)[1] - int(_one(tables, expired, self._now()))

        return self._read(read, lambda: 0)

    def _now(self) -> int:
        return int(self._clock.time())

    def _keep(self, filename: str, content: builtins.bytes, purpose: str, lifetime: int | None) -> FileObject:
        def keep(tables: Tables) -> FileObject:
            self._drop_expired(tables)
            latest = _one(tables, "SELECT created_at FROM uploads ORDER BY number DESC LIMIT 1") or 0
            new = self._new(
                filename,
                content,
                purpose,
                lifetime,
                kept=_kept(tables),
                latest=latest,
                taken=lambda file_id: _place(tables, file_id) is not None,
            )
            name = filename.encode("utf-8", "surrogatepass")
            tables.run(
                "INSERT INTO uploads (id, bytes, created_at, filename, purpose, content, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                tables.key(new.id),
                new.bytes,
                new.created_at,
                name,
                purpose,
                content,
                new.expires_at,
            )
            tables.run("UPDATE uploads_kept SET bytes = bytes + ?, files = files + 1", new.cost)
            return new

        return self._write(keep, lambda tables, new: _place(tables, new.id) is not None)

    def _get(self, file_id: str) -> FileObject | None:
        def get(tables: Tables) -> FileObject | None:
            found = tables.rows(
                f"SELECT {_COLUMNS} FROM uploads WHERE id = ? AND {_HERE}", tables.key(file_id), self._now()
            )
            return _file(*found[0]) if found else None

        return self._read(get, lambda: None)

    def _content(self, file_id: str) -> builtins.bytes | None:
        def read(tables: Tables) -> builtins.bytes | None:
            content: builtins.bytes | None = _one(
                tables,
                f"SELECT content FROM uploads WHERE id = ? AND {_HERE}",
                tables.key(file_id),
                self._now(),
            )
            return content

        return self._read(read, lambda: None)

    def _page(self, limit: int, order: Order, purpose: str | None, after: str | None) -> Page[FileObject]:
        page = super()._page
        statement, first = (_ASCENDING, 0) if order == "asc" else (_DESCENDING, _MOST)

        def read(tables: Tables) -> Page[FileObject]:
            place = self._place_after(after, lambda file_id: _place(tables, file_id))
            rows = tables.rows(
                statement, self._now(), purpose, purpose, first if place is None else place, limit + 1
            )
            found = [_file(*row) for row in rows]
            return Page(tuple(found[:limit]), len(found) > limit, (self._page, limit, order, purpose))

        return self._read(read, lambda: page(limit, order, purpose, after))

    def _drop(self, file_id: str) -> bool:
        def drop(tables: Tables) -> bool:
            self._drop_expired(tables)
            return self._drop_row(tables, tables.key(file_id))

        return self._write(drop, lambda tables, _: not _is_here(tables, tables.key(file_id)))

    def _drop_expired(self, tables: Tables) -> None:
        for (key,) in tables.rows(f"SELECT id FROM uploads WHERE {_EXPIRED} ORDER BY expires_at", self._now()):
            self._drop_row(tables, key)

    def _drop_row(self, tables: Tables, key: Any) -> bool:
        if not _is_here(tables, key):
            return False
        cost = _one(tables, f"SELECT {_COST} FROM uploads WHERE id = ?", key)
        last = _one(tables, "SELECT max(departed) FROM uploads WHERE departed IS NOT NULL") or 0
        tables.run("UPDATE uploads SET departed = ?, content = NULL WHERE id = ?", last + 1, key)
        tables.run("DELETE FROM uploads WHERE departed <= ?", last + 1 - LIMITS.departed)
        tables.run("UPDATE uploads_kept SET bytes = bytes - ?, files = files - 1", cost)
        return True


_MOST = (1 << 63) - 1
_COLUMNS = "id, bytes, created_at, filename, purpose, expires_at"
_COST = "bytes + length(filename)"
_HERE = "departed IS NULL AND (expires_at IS NULL OR expires_at > ?)"
_EXPIRED = "departed IS NULL AND expires_at <= ?"
_PAGE = f"SELECT {_COLUMNS} FROM uploads WHERE {_HERE} AND (CAST(? AS TEXT) IS NULL OR purpose = ?)"
_ASCENDING = f"{_PAGE} AND number > ? ORDER BY number LIMIT ?"
_DESCENDING = f"{_PAGE} AND number < ? ORDER BY number DESC LIMIT ?"


def _one(tables: Tables, statement: str, *arguments: Any) -> Any:
    """Return the first column of the first row, or ``None``."""
    rows = tables.rows(statement, *arguments)
    return rows[0][0] if rows else None


def _kept(tables: Tables) -> tuple[int, int]:
    """Return how many files are kept, and what they take up."""
    ((files, kept_bytes),) = tables.rows("SELECT files, bytes FROM uploads_kept")
    return int(files), int(kept_bytes)


def _place(tables: Tables, file_id: str) -> int | None:
    place: int | None = _one(tables, "SELECT number FROM uploads WHERE id = ?", tables.key(file_id))
    return place


def _is_here(tables: Tables, key: Any) -> bool:
    return bool(tables.rows("SELECT 1 FROM uploads WHERE id = ? AND departed IS NULL", key))


def _file(
    id: Any, size: int, created_at: int, filename: builtins.bytes, purpose: str, expires_at: int | None
) -> FileObject:
    id = id if isinstance(id, str) else _text(id)
    return FileObject(id, size, created_at, _text(filename), purpose, expires_at)


def _text(data: builtins.bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
