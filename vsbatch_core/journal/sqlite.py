"""A log in a SQLite file.

The file has write-ahead logging, so that readers do not wait for writers.  ``BEGIN IMMEDIATE`` is the lock that
keeps other writers out, in this process and in others.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from vsbatch_core.errors import DatabaseDamaged, DatabaseRefused
from vsbatch_core.journal.log import (
    BUSY_SECONDS,
    FORMAT,
    Durability,
    Frame,
    LogError,
    Part,
    Snapshot,
    parts_of,
    require_profile,
    text_checksum,
)

logger = logging.getLogger("vsbatch_core.journal")

APPLICATION_ID = 0x76736263
"""What the header of a SQLite file says if it is one of ours: "vsbc"."""

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE frames (
    seq INTEGER PRIMARY KEY, token INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE TABLE parts (
    stream INTEGER, version INTEGER, seq INTEGER NOT NULL, PRIMARY KEY (stream, version)
) WITHOUT ROWID;
CREATE TABLE stores (number INTEGER PRIMARY KEY, id TEXT NOT NULL, deleted INTEGER);
CREATE TABLE snapshots (
    seq INTEGER, part INTEGER, checksum INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (seq, part)
);
"""
_STATEMENTS = [statement.strip() for statement in _SCHEMA.split(";") if statement.strip()]

_PRUNED_AT_ONCE = 500
"""So many frames, or the parts of so many streams, are deleted in one transaction."""

_LOOK_SECONDS = 0.0005
"""A transaction that waits for others looks so often whether it may begin."""


def connected(path: Path, durability: Durability, busy_seconds: float) -> sqlite3.Connection:
    """Return a connection to a file; any thread may use it, and transactions begin by ``BEGIN`` alone."""
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA synchronous = {durability.upper()}")
    except BaseException:
        connection.close()
        raise
    return connection


class SqliteLog:
    """A connection to the log in a file, which is made if it is not there.

    ``profile`` is the profile of the engine as JSON, or ``None`` for that which the file has or else ``usual``;
    a file that was made under another is refused.  ``durability`` is ``"full"`` if what is committed outlasts a
    power failure, ``"normal"`` if the last of it may be lost then, but not when the process is killed.
    ``busy_seconds`` is how long a transaction waits for others.
    """

    def __init__(
        self, path: Path, *, durability: Durability = "full", busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.path = path
        self.durability = durability
        self.busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._seen = -1
        """The ``data_version`` of SQLite when all frames after one were read."""

    @property
    def place(self) -> str:
        """Return the path, as messages name it."""
        return str(self.path)

    # Opening

    def open(self, profile: str | None, usual: str) -> str:
        """Make the file if it is not there; return the profile that it was made under.

        ``profile`` is that which it must have, ``usual`` that which a new file gets if none is demanded.  Raise
        ``DatabaseRefused`` for a file that is not ours, of a later version, or of another profile, and
        ``DatabaseDamaged`` if its tables or its profile are not those that were made.
        """
        with self._reading("it cannot be opened"):
            try:
                found = self._one("PRAGMA application_id")
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorname != "SQLITE_NOTADB":
                    raise
                why = "it is not a SQLite file. Give the path of a file that is not there"
                raise DatabaseRefused(self.place, why) from error
            if found != APPLICATION_ID:
                self._create(profile or usual)
            version = self._one("PRAGMA user_version")
            if version != FORMAT:
                raise DatabaseRefused(
                    self.place,
                    f"its format is {version} and this version of vsbatch-core reads format {FORMAT}. "
                    "Open it with the version that wrote it",
                )
            rows = self._connected().execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
            if not {sql for (sql,) in rows}.issuperset(_STATEMENTS):  # there may be others: see ``Uploads.open``
                raise DatabaseDamaged(self.place, "its tables are not those that were made")
            kept = str(self._one("SELECT value FROM settings WHERE name = 'profile'"))
            kept_checksum = self._one("SELECT value FROM settings WHERE name = 'checksum'")
        require_profile(self.place, kept, kept_checksum, profile)
        return kept

    def exists(self) -> bool:
        """Return whether the file is there, whoever made it."""
        return self.path.exists()

    def _create(self, profile: str) -> None:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._one("PRAGMA application_id") == APPLICATION_ID:  # another process was first
                return
            if self._one("SELECT count(*) FROM sqlite_master") or self._one("PRAGMA application_id"):
                raise DatabaseRefused(
                    self.place,
                    "it is a SQLite file of another program. Give the path of a file that is not there",
                )
            for statement in _STATEMENTS:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO settings VALUES ('profile', ?), ('checksum', ?)", (profile, text_checksum(profile))
            )
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connected(self.path, self.durability, self.busy_seconds)
            self._seen = -1
        return self._connection

    def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._reading("it cannot be closed"):
                connection.close()

    # Running statements

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(error, f"{what}: ") from error
        except UnicodeDecodeError as error:  # what SQLite itself says of a schema that is damaged
            raise LogError(f"{what}: {error}", damaged=True) from error

    def _error(self, error: sqlite3.Error, what: str = "") -> LogError:
        """Return the error that says why, and what to mend where SQLite does not; ``what`` was tried."""
        code = getattr(error, "sqlite_errorname", "")
        why = str(error)
        if code.startswith("SQLITE_CANTOPEN") and os.path.isdir(self.path):  # unlike Path.is_dir it never raises
            why = "it is a folder, not a file"
        elif code.startswith("SQLITE_CANTOPEN") and not os.path.isdir(self.path.parent):
            why = f"there is no folder {str(self.path.parent)!r}"
        elif code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            why = f"{error}; SQLite must be allowed to write the file, and its folder for two files beside it"
        elif code.startswith("SQLITE_BUSY"):
            why = f"{error}: another connection has not ended its transaction for {self.busy_seconds:g} s"
        return LogError(f"{what}{why}", damaged=code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")))

    def _one(self, statement: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or ``None``."""
        row = self._connected().execute(statement, arguments).fetchone()
        return None if row is None else row[0]

    def _run(self, statement: str, *arguments: Any) -> None:
        try:
            self._connected().execute(statement, arguments)
        except sqlite3.Error as error:
            raise self._error(error) from error

    # Appending

    def begin(self) -> None:
        """Begin to write, once no other connection does.

        SQLite's own way to wait looks again after up to 0.1 s, and finds that a busy process has begun anew.
        """
        until = time.monotonic() + self.busy_seconds
        self._run("PRAGMA busy_timeout = 0")
        try:
            while not self._begun(until):
                time.sleep(_LOOK_SECONDS)
        finally:
            self._run(f"PRAGMA busy_timeout = {int(self.busy_seconds * 1000)}")

    def _begun(self, until: float) -> bool:
        """Begin to write; return ``False`` if another connection does, which may go on until a time."""
        try:
            self._connected().execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY") and time.monotonic() < until:
                return False
            raise self._error(error) from error
        return True

    def append(
        self,
        frame: Frame,
        parts: Iterable[Part],
        *,
        lasting: bool = True,  # noqa: ARG002 - a transaction of SQLite cannot say it for itself
    ) -> None:
        """Insert a frame and its parts."""
        self._run("INSERT INTO frames VALUES (?, ?, ?, ?)", *frame)
        for stream, version, made, deleted in parts:
            self._run("INSERT INTO parts VALUES (?, ?, ?)", stream, version, frame.seq)
            if made is not None:
                self._run("INSERT INTO stores (number, id) VALUES (?, ?)", stream, made)
            if deleted:
                self._run("UPDATE stores SET deleted = ? WHERE number = ?", frame.seq, stream)

    def commit(self) -> None:
        """Commit: with durability "full", to the disk."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Roll back, if a transaction has begun."""
        if self._connection is not None and self._connection.in_transaction:
            self._run("ROLLBACK")

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Run a transaction for which nobody waits: after it others have the file for as long as it took."""
        began = perf_counter()
        self.begin()
        try:
            yield
            self.commit()
        finally:
            self.rollback()
        sleep(perf_counter() - began)

    # Reading

    remote = False

    def changed(self) -> bool:
        """Return whether another connection has committed since all frames after one were read."""
        try:
            connection = self._connection
            if connection is None:
                return True
            row: tuple[int] = connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise self._error(error) from error
        return row[0] != self._seen

    def frames(self, after: int, last: int | None = None) -> Iterator[Frame]:
        """Return the frames that follow a number, or those between two numbers."""
        with self._reading("the frames cannot be read"):
            version = self._one("PRAGMA data_version")
            rows = self._connected().execute(
                "SELECT seq, token, checksum, data FROM frames WHERE seq > ? AND seq <= ? ORDER BY seq",
                (after, (1 << 63) - 1 if last is None else last),
            )
            for row in rows:
                yield Frame(*row)
            if last is None:  # and only once all of them were taken: until then what is new is not known
                self._seen = version

    def begin_reading(self) -> None:
        """Begin a transaction in which all reads return the same state; others may write meanwhile."""
        self._run("BEGIN")

    def size(self) -> tuple[int, int]:
        """Return how many frames there are, and how many bytes of data they have."""
        with self._reading("Cannot read the frames"):
            row = self._connected().execute("SELECT count(*), sum(length(data)) FROM frames").fetchone()
        return row[0], row[1] or 0

    def bytes_on_disk(self) -> int:
        """Return how long the file is."""
        return os.path.getsize(self.path)

    def vacuum(self) -> None:
        """Give the space that nothing takes up any more back to the file system.  O(bytes)."""
        self._run("VACUUM")
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    def last(self) -> int:
        """Return the latest frame that any table names."""
        with self._reading("the frames cannot be read"):
            tables = ("frames", "snapshots WHERE part = 0", "parts")
            return max(self._one(f"SELECT max(seq) FROM {table}") or 0 for table in tables)  # noqa: S608 - our own

    def token(self, seq: int) -> int | None:
        """Return the token of a frame, read by a new connection while nobody else writes."""
        self.close()  # whatever state the connection is in, a new one knows nothing of it
        self.begin()
        try:
            with self._reading("the frames cannot be read"):
                token: int | None = self._one("SELECT token FROM frames WHERE seq = ?", seq)
        finally:
            self.rollback()
        return token

    def ids(self) -> Iterator[tuple[int, str]]:
        """Return the number and the id of each store."""
        with self._reading("the stores cannot be read"):
            yield from self._connected().execute("SELECT number, id FROM stores")

    def parts(self, stream: int, after: int) -> list[tuple[int, int]]:
        """Return version and frame of the parts of a stream from that on which holds the next version."""
        with self._reading("the parts of the frames cannot be read"):
            first = self._one(
                "SELECT max(version) FROM parts WHERE stream = ? AND version <= ?", stream, after + 1
            )
            rows = self._connected().execute(
                "SELECT version, seq FROM parts WHERE stream = ? AND version >= ? ORDER BY version",
                (stream, after + 1 if first is None else first),
            )
            found: list[tuple[int, int]] = rows.fetchall()
        if any(type(number) is not int for part in found for number in part):
            raise LogError(f"the parts of stream {stream} are not numbers", damaged=True)
        return found

    # Snapshots

    def snapshots(self) -> list[int]:
        """Return the frames of which there are snapshots, the latest first."""
        with self._reading("the snapshots cannot be read"):
            rows = self._connected().execute("SELECT seq FROM snapshots WHERE part = 0 ORDER BY seq DESC")
            return [seq for (seq,) in rows]

    def snapshot(self, seq: int) -> Snapshot | None:
        """Return a snapshot, put together from its parts; ``None`` also if one of them is not even bytes."""
        with self._reading("the snapshots cannot be read"):
            rows = self._connected().execute(
                "SELECT checksum, data FROM snapshots WHERE seq = ? ORDER BY part", (seq,)
            )
            parts = rows.fetchall()
        if not parts or any(type(data) is not bytes for _, data in parts):
            return None
        return Snapshot(seq, parts[0][0], b"".join(data for _, data in parts))

    def keep(self, snapshot: Snapshot) -> None:
        """Insert a snapshot, in parts: it is there when the first part is, which comes last."""
        rows = list(parts_of(snapshot))
        self._run("DELETE FROM snapshots WHERE seq = ? AND part >= ?", snapshot.seq, len(rows))
        for row in reversed(rows):
            with self._aside():
                self._run("REPLACE INTO snapshots VALUES (?, ?, ?, ?)", *row)

    def put(self, snapshot: Snapshot, made: Iterable[tuple[int, str]]) -> None:
        """Insert a snapshot, in parts, and stores."""
        for row in parts_of(snapshot):
            self._run("INSERT INTO snapshots VALUES (?, ?, ?, ?)", *row)
        for number, id in made:
            self._run("INSERT INTO stores (number, id) VALUES (?, ?)", number, id)

    def prune(self, oldest: int) -> None:
        """Delete what the snapshot after frame ``oldest`` makes superfluous, in short transactions."""
        self._run("DELETE FROM snapshots WHERE seq < ?", oldest)
        with self._reading("the frames cannot be read"):
            first = self._one("SELECT min(seq) FROM frames")
        if first is not None and first <= oldest:
            logger.info("%s: frames %d to %d are pruned: a snapshot has them", self.place, first, oldest)
        while first is not None and first <= oldest:
            first = min(first + _PRUNED_AT_ONCE, oldest + 1)
            with self._aside():
                self._run("DELETE FROM frames WHERE seq < ?", first)
        with self._reading("the parts of the frames cannot be read"):
            streams = self._connected().execute("SELECT DISTINCT stream FROM parts").fetchall()
        for start in range(0, len(streams), _PRUNED_AT_ONCE):
            with self._aside():
                for (stream,) in streams[start : start + _PRUNED_AT_ONCE]:
                    self._run("DELETE FROM parts WHERE stream = ? AND seq <= ?", stream, oldest)
        self._run("DELETE FROM stores WHERE deleted <= ?", oldest)
