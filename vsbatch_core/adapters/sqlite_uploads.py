"""The tables of uploaded files in the SQLite file of an engine."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from vsbatch_core.adapters.stored_uploads import INDEX, UPGRADE
from vsbatch_core.errors import DatabaseRefused
from vsbatch_core.journal.log import BUSY_SECONDS, Durability
from vsbatch_core.journal.sqlite import APPLICATION_ID, connected

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS uploads (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL, filename BLOB NOT NULL, purpose TEXT NOT NULL, departed INTEGER, content BLOB,
    expires_at INTEGER
);
CREATE INDEX IF NOT EXISTS uploads_departed ON uploads (departed) WHERE departed IS NOT NULL;
CREATE TABLE IF NOT EXISTS uploads_kept (bytes INTEGER NOT NULL, files INTEGER NOT NULL);
INSERT INTO uploads_kept SELECT 0, 0 WHERE NOT EXISTS (SELECT * FROM uploads_kept);
{INDEX}
"""


class SqliteTables:
    """A connection to the tables: see ``Tables``."""

    errors: type[Exception] = sqlite3.Error

    def __init__(self, path: Path, durability: Durability) -> None:
        self.place = str(path)
        self._path = path
        self._durability = durability
        self._connection: sqlite3.Connection | None = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            raise self._refused("it is not there")
        connection = connected(self._path, self._durability, BUSY_SECONDS)
        ours = False
        try:
            ours = connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        finally:
            if not ours:
                connection.close()
        if not ours:
            raise self._refused("no engine has made it")
        return connection

    def _refused(self, why: str) -> DatabaseRefused:
        return DatabaseRefused(self.place, f"{why}. Open an engine on it before its uploads are used")

    def made(self) -> bool:
        """Return whether the tables are there; those of an older version are brought to the form of this one."""
        if not self._columns():
            return False
        if "expires_at" not in self._columns():
            self.begin(make=True)
            self.commit()
        return True

    def begin(self, *, make: bool) -> None:
        """Begin a transaction that writes; make the tables, if told to."""
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        if make:
            columns = self._columns()
            for statement in (UPGRADE if columns and "expires_at" not in columns else _SCHEMA).split(";"):
                connection.execute(statement)

    def _columns(self) -> list[str]:
        return [name for (name,) in self.rows("SELECT name FROM pragma_table_info('uploads')")]

    def commit(self) -> None:
        """End the transaction, durably."""
        self._connected().execute("COMMIT")

    def rollback(self) -> None:
        """End the transaction, if one has begun, as if it had not."""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def open_anew(self) -> None:
        """Open another connection: by closing this one its transaction has ended."""
        self.close()
        self._connected()

    def key(self, file_id: str) -> str:
        """Return the id itself."""
        return file_id

    def run(self, statement: str, *arguments: Any) -> None:
        """Run a statement."""
        self._connected().execute(statement, arguments)

    def rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        return self._connected().execute(statement, arguments).fetchall()

    def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # nothing is under way
                connection.close()
