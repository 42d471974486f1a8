"""The tables of uploaded files in the PostgreSQL database of an engine, in its schema."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from vsbatch_core.adapters.stored_uploads import INDEX, UPGRADE
from vsbatch_core.errors import DatabaseRefused
from vsbatch_core.journal.log import BUSY_SECONDS, Durability, LogError
from vsbatch_core.journal.postgres import NOW, DatabaseClock, PostgresLog, said

_LOCK = 0x76736275
"""The advisory lock of who changes anything: "vsbu"."""

_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({_LOCK}), {NOW}"
# The id is bytes: text cannot hold the character NUL, and an id can.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS uploads (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, id bytea NOT NULL UNIQUE, bytes bigint NOT NULL,
    created_at bigint NOT NULL, filename bytea NOT NULL, purpose text NOT NULL, departed bigint, content bytea,
    expires_at bigint
);
CREATE INDEX IF NOT EXISTS uploads_departed ON uploads (departed) WHERE departed IS NOT NULL;
CREATE TABLE IF NOT EXISTS uploads_kept (bytes bigint NOT NULL, files bigint NOT NULL);
INSERT INTO uploads_kept SELECT 0, 0 WHERE NOT EXISTS (SELECT * FROM uploads_kept);
{INDEX}
"""


class PostgresTables:
    """A connection to the tables: see ``Tables``.  It is made as that of the log is, and waits for the same."""

    errors: type[Exception] = LogError

    def __init__(self, url: str, durability: Durability, clock: DatabaseClock) -> None:
        self._log = PostgresLog(url, durability=durability, busy_seconds=BUSY_SECONDS, clock=clock)
        self.place = self._log.place
        self._known: psycopg.Connection[Any] | None = None
        """The connection that was found to lead to a database of an engine."""

    def _connected(self) -> psycopg.Connection[Any]:
        connection = self._log.connection()
        if connection is not self._known:
            # Names are then those of the schema alone, if it is there.
            found = connection.execute("SET search_path = vsbatch; SELECT to_regclass('head')")
            found.nextset()
            if found.fetchone() == (None,):
                self.close()
                raise DatabaseRefused(
                    self.place, "no engine has made it. Open an engine on it before its uploads are used"
                )
            self._known = connection
        return connection

    def _ask(
        self, statement: str, arguments: Sequence[Any] | None = None, *, again: bool = True
    ) -> psycopg.Cursor[Any]:
        """Run a statement; if the connection is gone, and no transaction with it, by a new one."""
        begun = self._has_begun()
        try:
            connection = self._connected()
            return connection.execute(
                statement.replace("?", "%s").encode(), arguments, binary=arguments is not None
            )
        except psycopg.Error as error:
            gone = self._known is None or self._known.closed
            if begun or not (gone and again):
                raise LogError(said(error)) from error
        self.close()
        return self._ask(statement, arguments, again=False)

    def made(self) -> bool:
        """Return whether the tables are there; those of an older version are brought to the form of this one."""
        if not self._columns():
            return False
        if "expires_at" not in self._columns():
            self.begin(make=True)
            self.commit()
        return True

    def _columns(self) -> list[str]:
        found = self.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('uploads') AND NOT attisdropped"
        )
        return [name if isinstance(name, str) else name.decode() for (name,) in found]

    def begin(self, *, make: bool) -> None:
        """Begin a transaction once all others have ended; make the tables, if told to."""
        asked = time.monotonic()
        found = self._ask(_BEGIN)
        found.nextset()
        self._log.clock.note(asked, found.fetchall()[0][1])
        if make:
            columns = self._columns()
            self._ask(UPGRADE if columns and "expires_at" not in columns else _SCHEMA)

    def commit(self) -> None:
        """End the transaction, durably."""
        self._ask("COMMIT")

    def rollback(self) -> None:
        """End the transaction, if one has begun, as if it had not."""
        if self._has_begun():
            try:
                self._connected().execute("ROLLBACK")
            except psycopg.Error:
                self.close()  # which ends it as well

    def _has_begun(self) -> bool:
        """Return whether a transaction is under way, or was when the connection went."""
        return self._known is not None and self._known.info.transaction_status != TransactionStatus.IDLE

    def open_anew(self) -> None:
        """Open another connection, and wait until the transaction of this one has ended, one way or the other."""
        self.close()
        self.begin(make=False)

    def key(self, file_id: str) -> bytes:
        """Return the id as bytes."""
        return file_id.encode("utf-8", "surrogatepass")

    def run(self, statement: str, *arguments: Any) -> None:
        """Run a statement."""
        self._ask(statement, arguments)

    def rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        return self._ask(statement, arguments).fetchall()

    def close(self) -> None:
        """Close the connection, if it is open."""
        self._known = None
        self._log.close()
