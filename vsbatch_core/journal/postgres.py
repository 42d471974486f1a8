"""A log in a PostgreSQL database, which processes on many machines share.

All tables are in the schema ``vsbatch``.  The one row of ``head`` names the latest frame.  Whoever appends
locks it first, and then reads what others have appended *in a statement of its own*: a statement reads the state
of the moment at which it began, and the one that waited for the lock began before the lock was free.  The number
of a frame is unique, so a writer that believes it is still the latest cannot append, whatever became of its lock.

A transaction takes two round trips: one begins it, locks the head and reads the frames since; the other appends
and commits.  A read takes one, which compares the head with the frames that have been read.

A database may lose what was committed, if it crashes and did not wait for its disk, or if a copy that was behind
takes its place.  It does not wait for what need not last, and loses the latest of that when it crashes.  All
connections end then.  So the first to use a new one looks whether the latest frame that was
read before is still there: see ``Rewound``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from vsbatch_core.errors import DatabaseDamaged, DatabaseRefused
from vsbatch_core.extras import pip_line
from vsbatch_core.journal.log import (
    BUSY_SECONDS,
    FORMAT,
    Durability,
    Frame,
    LogError,
    Part,
    Reads,
    Rewound,
    Snapshot,
    is_ambiguous,
    parts_of,
    require_profile,
    text_checksum,
    without_password,
)

try:
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.pq import TransactionStatus
except ImportError as error:
    raise ImportError(f"A PostgreSQL database needs psycopg: {pip_line('postgres')}") from error

T = TypeVar("T")

logger = logging.getLogger("vsbatch_core.journal")

_TABLES = {
    "settings": ("name text PRIMARY KEY", "value text NOT NULL"),
    "head": ("one boolean PRIMARY KEY DEFAULT true CHECK (one)", "seq bigint NOT NULL"),
    "frames": (
        *("seq bigint PRIMARY KEY", "token bigint NOT NULL", "checksum bigint NOT NULL", "data bytea NOT NULL"),
    ),
    "parts": ("stream bigint", "version bigint", "seq bigint NOT NULL", "PRIMARY KEY (stream, version)"),
    "stores": ("number bigint PRIMARY KEY", "id bytea NOT NULL", "deleted bigint"),
    "snapshots": (
        *(
            "seq bigint",
            "part integer",
            "checksum bigint NOT NULL",
            "data bytea NOT NULL",
            "PRIMARY KEY (seq, part)",
        ),
    ),
}
_COLUMNS = {
    (table, column.partition(" ")[0])
    for table, columns in _TABLES.items()
    for column in columns
    if not column.startswith("PRIMARY")
}
"""The names of all tables and their columns."""

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""By format, the statements that lead from it to the next one."""

_LOCK = 0x76736263
"""The advisory lock that is held while the tables are made or changed: "vsbc"."""

NOW = "extract(epoch FROM clock_timestamp())::float8"
_CHUNK = 1000
"""At most so many frames are read by one statement."""
_PRUNED_AT_ONCE = 500

LOCAL_SECONDS = 1.0
"""With local reads the database is asked at least so often what others have done, if anything is read."""
_IDLE_SECONDS = 10.0
"""A transaction whose process stops for so long is ended by the database: others wait for it."""
_PATIENCE_SECONDS = 10.0
"""How long a database that was there is waited for when it is gone: it may be starting anew."""
_RETRY_SECONDS = 0.05

_CONNECTION = {
    "connect_timeout": 5,
    # Of several hosts the one that can be written to.
    "target_session_attrs": "read-write",
    "application_name": "vsbatch-core",
    # Notice within half a minute that the other end is gone without a word.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""What a connection has where the URL says nothing else."""


class DatabaseClock:
    """The time of the database, without asking it for each look: it is right to within a round trip.

    Processes on machines whose clocks differ then agree about what is due.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None

    def time(self) -> float:
        """Seconds since the Unix epoch, as the database has them."""
        return time.monotonic() + (self._ahead or 0.0)

    def note(self, asked: float, database: float) -> None:
        """Note that the database said this time, after it was asked at a time of ``monotonic`` and until now."""
        least, most = database - time.monotonic(), database - asked
        self._ahead = least if self._ahead is None else min(max(self._ahead, least), most)


class PostgresLog:
    """A connection to the log in a database: see ``Log``.

    ``durability`` is ``"full"`` if what is committed outlasts a crash of the database, ``"normal"`` if the last
    of it may be lost then.  ``reads`` is ``"fresh"`` if ``changed`` asks the database each time, ``"local"`` if
    it does so once in ``LOCAL_SECONDS``.  ``busy_seconds`` is how long a transaction waits for others.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "full",
        reads: Reads = "fresh",
        busy_seconds: float = BUSY_SECONDS,
        clock: DatabaseClock | None = None,
    ) -> None:
        self.place = without_password(url)
        given: dict[str, Any] = {}
        try:
            if not is_ambiguous(url):
                given = conninfo_to_dict(plain_url(url))
        except psycopg.ProgrammingError as error:
            if self.place == url:  # else what was said may name a piece of the password
                raise DatabaseRefused(self.place, f"its URL cannot be read: {said(error)}") from error
        if not given:
            why = "its URL cannot be read. Write what is neither letter nor digit in a password or value as '%40'"
            raise DatabaseRefused(self.place, why)
        self._conninfo = make_conninfo(**{**_CONNECTION, **given, "client_encoding": "utf8"})
        self.durability = durability
        self.reads = reads
        self.busy_seconds = busy_seconds
        self.clock = clock or DatabaseClock()
        self._connection: psycopg.Connection[Any] | None = None
        self._been_connected = False
        """Whether the database has been there, and is waited for if it is gone."""
        self._read = -1
        """The frame up to which all were read."""
        self._token: int | None = None
        """The token of that frame, if it is known."""
        self._proven = False
        """Whether this connection has seen that the frame ``_read`` is still the one that was read."""
        self._head = -1
        """The latest frame, as the transaction that is under way found it; -1 if none is."""
        self._tail: list[Frame] | None = None
        """The frames after ``_read`` that the transaction found."""
        self._looked = -LOCAL_SECONDS
        """When the database was last asked for its head."""
        self._timed = -LOCAL_SECONDS
        """When it was last asked for its time with that."""
        self._statements: list[str] = []
        """What the transaction is to append."""
        self._appended: Frame | None = None

    # Opening

    def open(self, profile: str | None, usual: str) -> str:
        """Make the tables if they are not there; return the profile that they were made under.

        ``profile`` is that which they must have, ``usual`` that which new ones get if none is demanded.  Raise
        ``DatabaseRefused`` for a schema that is not ours, of another version, or of another profile, and
        ``DatabaseDamaged`` if its tables or its profile are not those that were made.
        """
        columns = self._columns()
        if not columns:
            self._create(profile or usual)
            columns = self._columns()
        settings = self._settings(columns)
        found = settings["format"]
        if found < FORMAT:
            raise DatabaseRefused(
                self.place,
                f"its format is {found} and this version of vsbatch-core writes format {FORMAT}. "
                f"Bring it to that: vsbatch database migrate '{self.place}'",
            )
        if found > FORMAT:
            raise DatabaseRefused(
                self.place,
                f"its format is {found} and this version of vsbatch-core reads format {FORMAT}. "
                "Open it with the version that wrote it",
            )
        if not columns >= _COLUMNS:  # there may be others: see ``Uploads.open``
            raise DatabaseDamaged(self.place, "its tables are not those that were made")
        kept: str = settings.get("profile", "")
        require_profile(self.place, kept, settings.get("checksum"), profile)
        return kept

    def exists(self) -> bool:
        """Return whether the schema is there and has tables, whoever made them."""
        return bool(self._columns())

    def migrate(self) -> tuple[int, int]:
        """Bring tables of an older version to the format of this one; return the format before, and now.

        It is one transaction.  Raise ``DatabaseRefused`` if there are none, or if they are of a later version.
        """
        with self._transaction():
            self._run(f"SELECT pg_advisory_xact_lock({_LOCK})")
            columns = self._columns()
            if not columns:
                raise DatabaseRefused(self.place, "there is nothing in it that could be migrated")
            before = now = self._settings(columns)["format"]
            while now != FORMAT:
                if now not in MIGRATIONS:
                    raise DatabaseRefused(
                        self.place, f"its format is {before}, and no way leads from there to format {FORMAT}"
                    )
                for statement in MIGRATIONS[now]:
                    self._run(statement)
                now += 1
            self._run(f"UPDATE vsbatch.settings SET value = '{now}' WHERE name = 'format'")
        return before, now

    def _columns(self) -> set[tuple[str, str]]:
        """Return the tables of the schema and their columns."""
        rows = self._rows(
            "SELECT relname::text, attname::text FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid "
            "WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'vsbatch') "
            "AND relkind = 'r' AND attnum > 0 AND NOT attisdropped"
        )
        return set(rows)

    def _settings(self, columns: set[tuple[str, str]]) -> dict[str, Any]:
        """Return the settings, ``"format"`` as a number; raise ``DatabaseRefused`` if there is none."""
        found: dict[str, Any] = {}
        if columns >= {("settings", "name"), ("settings", "value")}:
            found = dict(self._rows("SELECT name::text, value::text FROM vsbatch.settings"))
        try:
            return {**found, "format": int(found["format"])}
        except (LookupError, ValueError):
            why = "its schema 'vsbatch' is that of another program. Give the URL of another database"
            raise DatabaseRefused(self.place, why) from None

    def _create(self, profile: str) -> None:
        tables = "; ".join(
            f"CREATE TABLE vsbatch.{name} ({', '.join(columns)})" for name, columns in _TABLES.items()
        )
        settings = {"format": str(FORMAT), "profile": profile, "checksum": text_checksum(profile)}
        values = ", ".join(f"('{name}', {_quoted(value)})" for name, value in settings.items())
        with self._transaction():
            self._run(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if self._columns():  # another process was first
                return
            if not self._rows("SELECT FROM pg_namespace WHERE nspname = 'vsbatch'"):
                self._run("CREATE SCHEMA vsbatch")  # which not all roles may do that may use it
            self._run(
                f"{tables}; INSERT INTO vsbatch.head (seq) VALUES (0); "
                # What is deflated already would be deflated in vain.
                "ALTER TABLE vsbatch.frames ALTER data SET STORAGE EXTERNAL; "
                f"INSERT INTO vsbatch.settings VALUES {values}"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            yield
            self._run("COMMIT")
        finally:
            self.rollback()

    def connection(self) -> psycopg.Connection[Any]:
        """Return the connection, also for tables beside the log; wait for a database that is gone, once.

        Raise ``LogError``.
        """
        if self._connection is None:
            until = time.monotonic() + (_PATIENCE_SECONDS if self._been_connected else 0.0)
            self._been_connected = False  # so that not every caller waits for a database that stays away
            while (connection := self._try_to_connect(until)) is None:
                time.sleep(_RETRY_SECONDS)
            self._connection = connection
            self._been_connected = True
        return self._connection

    def _try_to_connect(self, until: float) -> psycopg.Connection[Any] | None:
        self._head, self._proven = -1, False
        try:
            asked = time.monotonic()
            connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
            try:
                database = connection.execute(self._session().encode()).fetchall()[0][0]
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and time.monotonic() < until:
                return None
            raise self._error(error) from error
        self.clock.note(asked, database)
        return connection

    def _session(self) -> str:
        """Return the statement that makes the settings of a connection, and returns the time."""
        commit = "'off'"
        if self.durability == "full":  # which leaves a server alone that waits for more than its own disk
            commit = "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' END"
            commit = f"coalesce({commit}, current_setting('synchronous_commit'))"
        settings = {
            "synchronous_commit": commit,
            "standard_conforming_strings": "'on'",
            "lock_timeout": f"'{int(self.busy_seconds * 1000)}'",
            "idle_in_transaction_session_timeout": f"'{int(_IDLE_SECONDS * 1000)}'",
        }
        made = ", ".join(f"set_config('{name}', {value}, false)" for name, value in settings.items())
        return f"SELECT {NOW}, {made}"

    def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        self._head, self._tail = -1, None
        if connection is not None:
            connection.close()

    # Running statements

    def _executed(self, statements: str) -> psycopg.Cursor[Any]:
        """Run statements in one round trip; return the first result."""
        connection = self.connection()
        try:
            return connection.execute(statements.encode())
        except psycopg.Error as error:
            raise self._error(error) from error

    def _results(self, statements: str) -> list[list[Any]]:
        """Run statements in one round trip; return the rows of each that returns any."""
        cursor, found = self._executed(statements), []
        more: bool | None = True
        while more:
            if cursor.description is not None:
                found.append(cursor.fetchall())
            more = cursor.nextset()
        return found

    def _retried(self, run: Callable[[str], T], statements: str) -> T:
        """Run the first statements of a transaction, or a read; if the connection is gone, by a new one.

        Nothing has happened where it fails, so that it may be run again.
        """
        fresh = self._connection is None
        try:
            return run(statements)
        except LogError:
            if fresh or not self._is_gone():
                raise
            logger.info("%s: the connection is gone, and is made anew", self.place)
            self.close()
            return run(statements)

    def _error(self, error: psycopg.Error) -> LogError:
        """Return the error that says why."""
        damage = psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, psycopg.errors.UndefinedTable
        why = said(error)
        if isinstance(error, psycopg.errors.LockNotAvailable):
            why += f": another connection has not ended its transaction for {self.busy_seconds:g} s"
        return LogError(why, damaged=isinstance(error, damage))

    def _run(self, statements: str) -> None:
        self._executed(statements)

    def _rows(self, statement: str) -> list[Any]:
        return self._executed(statement).fetchall()

    def _one(self, statement: str) -> Any:
        """Return the first column of the first row, or ``None``."""
        rows = self._rows(statement)
        return rows[0][0] if rows else None

    # Appending

    def begin(self) -> None:
        """Begin a transaction, lock the head, and read the frames since those that were read: one round trip."""
        self._statements, self._appended, self._tail = [], None, None
        connection, asked = self._connection, time.monotonic()
        lock = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT seq FROM vsbatch.head FOR UPDATE; SELECT {NOW}"
        tail = f"SELECT seq, token, checksum, data FROM vsbatch.frames WHERE seq > {self._read} ORDER BY seq"
        found = self._retried(self._results, f"{lock}; {tail}" if self._proven else lock)
        self.clock.note(asked, found[1][0][0])
        if connection is self._connection and self._proven:
            self._tail = [Frame(*row) for row in found[2]]
        self._head = _first(found[0])[0]

    def append(self, frame: Frame, parts: Iterable[Part], *, lasting: bool = True) -> None:
        """Have ``commit`` insert a frame, which must follow the head, and its parts."""
        statements, seq = self._statements, frame.seq
        if seq != self._head + 1:
            raise LogError(f"its head is frame {self._head}, and frame {seq} cannot follow it", damaged=True)
        statements.append(
            f"INSERT INTO vsbatch.frames VALUES ({seq}, {frame.token}, {frame.checksum}, '\\x{frame.data.hex()}')"
        )
        rows = []
        for stream, version, made, deleted in parts:
            rows.append(f"({stream}, {version}, {seq})")
            if made is not None:
                statements.append(_insert_store(stream, made))
            if deleted:
                statements.append(f"UPDATE vsbatch.stores SET deleted = {seq} WHERE number = {stream}")
        if rows:
            statements.append(f"INSERT INTO vsbatch.parts VALUES {', '.join(rows)}")
        statements.append(f"UPDATE vsbatch.head SET seq = {seq}")
        if not lasting:
            statements.append("SET LOCAL synchronous_commit = off")
        self._appended = frame

    def commit(self) -> None:
        """Append and commit, in one round trip."""
        frame = self._appended
        if self._head < 0:  # another connection must not do what is left of a transaction
            raise LogError("the connection was closed before the transaction was committed")
        self._run("; ".join([*self._statements, "COMMIT"]))
        if frame is not None:
            self._read, self._token, self._proven = frame.seq, frame.token, True
        self._head, self._tail = -1, None

    def rollback(self) -> None:
        """Roll back, if a transaction has begun."""
        self._head, self._tail = -1, None
        connection = self._connection
        if connection is None:
            return
        if connection.closed:
            self.close()
        elif connection.info.transaction_status != TransactionStatus.IDLE:
            self._run("ROLLBACK")

    # Reading

    @property
    def remote(self) -> bool:
        """Whether ``changed`` is going to ask the database, and to wait for it."""
        return self.reads == "fresh" or time.monotonic() - self._looked >= LOCAL_SECONDS

    def changed(self) -> bool:
        """Return whether the head is another frame than the one up to which all were read."""
        if self._head >= 0:
            return self._head != self._read or not self._proven
        if not self.remote:
            return self._read < 0
        asked = time.monotonic()
        # The time is asked for now and then: the server takes as long to work out its expression as for all else.
        columns = f"seq, {NOW}" if asked - self._timed >= LOCAL_SECONDS else "seq"
        head, *now = _first(self._retried(self._rows, f"SELECT {columns} FROM vsbatch.head"))
        if now:
            self.clock.note(asked, *now)
            self._timed = asked
        self._looked = asked
        return head != self._read or not self._proven

    def _is_gone(self) -> bool:
        """Return whether the database, or what is in between, has ended the connection."""
        return self._connection is None or self._connection.closed

    def frames(self, after: int, last: int | None = None) -> Iterator[Frame]:
        """Return the frames that follow a number, or those between two numbers.

        Raise ``Rewound`` if the database has lost the frame ``after``, up to which all were read before.
        """
        if last is not None:
            yield from self._chunks(after, last)
            return
        begun, self._tail = self._tail, None
        seq, token = after, self._token
        if after != self._read or not self._proven:
            token = self._proof(after)
            begun = None
        for frame in self._chunks(after) if begun is None else begun:
            seq, token = frame.seq, frame.token
            yield frame
        # Only now that all of them were taken.
        self._read, self._token, self._proven = seq, token, self._connection is not None

    def _proof(self, seq: int) -> int | None:
        """Return the token of a frame, if it is there; raise ``Rewound`` if it was read and is not there now."""
        head, first, token = self._rows(
            "SELECT (SELECT seq FROM vsbatch.head), (SELECT min(seq) FROM vsbatch.frames), "
            f"(SELECT token FROM vsbatch.frames WHERE seq = {seq})"
        )[0]
        if seq == self._read and (head < seq or token != self._token):
            pruned = head >= seq and token is None and (first is None or first > seq)
            raise Rewound(seq, pruned=pruned)
        return token  # type: ignore[no-any-return]

    def _chunks(self, after: int, last: int | None = None) -> Iterator[Frame]:
        until = "" if last is None else f"AND seq <= {last} "
        rows: list[Any] = [()] * _CHUNK
        while len(rows) == _CHUNK:
            rows = self._rows(
                "SELECT seq, token, checksum, data FROM vsbatch.frames "
                f"WHERE seq > {after} {until}ORDER BY seq LIMIT {_CHUNK}"
            )
            for row in rows:
                yield Frame(*row)
            if rows:
                after = rows[-1][0]

    def begin_reading(self) -> None:
        """Begin a transaction in which all reads return the same state; others may write meanwhile."""
        self._retried(
            self._results,
            # Nobody waits for it, however long there is nothing to read.
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0",
        )

    def size(self) -> tuple[int, int]:
        """Return how many frames there are, and how many bytes of data they have."""
        row = self._rows("SELECT count(*), coalesce(sum(length(data)), 0)::bigint FROM vsbatch.frames")[0]
        return row[0], row[1]

    def bytes_on_disk(self) -> int:
        """Return how many bytes the tables and their indexes take up."""
        found: int = self._one(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relnamespace = 'vsbatch'::regnamespace AND relkind = 'r'"
        )
        return found

    def vacuum(self) -> None:
        """Give the space that nothing takes up any more back to the file system; others wait.  O(bytes)."""
        # Those of uploaded files are among them.
        for (table,) in self._rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'vsbatch'::regnamespace AND relkind = 'r'"
        ):
            self._run(f"VACUUM FULL vsbatch.{table}")

    def last(self) -> int:
        """Return the latest frame that any table names; what was read before does not count any more."""
        self._read, self._token = -1, None
        tables = ("snapshots WHERE part = 0", "parts", "frames")
        each = ", ".join(f"(SELECT max(seq) FROM vsbatch.{table})" for table in tables)
        found: int = _first(self._rows(f"SELECT greatest(seq, {each}) FROM vsbatch.head"))[0]
        return found

    def token(self, seq: int) -> int | None:
        """Return the token of a frame, read by a new connection once the transaction that appends it is over."""
        self.close()  # whatever state the connection is in, a new one knows nothing of it
        with self._transaction():
            # That connection's transaction has the head until the database has ended it, one way or the other.
            self._run("SELECT seq FROM vsbatch.head FOR UPDATE")
            token: int | None = self._one(f"SELECT token FROM vsbatch.frames WHERE seq = {seq}")
        if token is not None:  # if it is that of another, all is loaded anew
            self._read, self._token, self._proven = seq, token, True
        return token

    def ids(self) -> Iterator[tuple[int, str]]:
        """Return the number and the id of each store."""
        for number, id in self._rows("SELECT number, id FROM vsbatch.stores"):
            yield number, bytes(id).decode()

    def parts(self, stream: int, after: int) -> list[tuple[int, int]]:
        """Return version and frame of the parts of a stream from that on which holds the next version."""
        of_stream = f"FROM vsbatch.parts WHERE stream = {stream} AND version"
        return self._rows(
            f"SELECT version, seq {of_stream} >= "
            f"coalesce((SELECT max(version) {of_stream} <= {after + 1}), {after + 1}) ORDER BY version"
        )

    # Snapshots

    def snapshots(self) -> list[int]:
        """Return the frames of which there are snapshots, the latest first."""
        return [
            seq for (seq,) in self._rows("SELECT seq FROM vsbatch.snapshots WHERE part = 0 ORDER BY seq DESC")
        ]

    def snapshot(self, seq: int) -> Snapshot | None:
        """Return a snapshot, put together from its parts."""
        parts = self._rows(f"SELECT checksum, data FROM vsbatch.snapshots WHERE seq = {seq} ORDER BY part")
        return Snapshot(seq, parts[0][0], b"".join(data for _, data in parts)) if parts else None

    def keep(self, snapshot: Snapshot) -> None:
        """Insert a snapshot, in parts: it is there when the first part is, which comes last."""
        rows = list(parts_of(snapshot))
        self._run(f"DELETE FROM vsbatch.snapshots WHERE seq = {snapshot.seq} AND part >= {len(rows)}")
        for row in reversed(rows):
            self._insert_part(row, "ON CONFLICT (seq, part) DO UPDATE SET checksum = %s, data = %s")

    def _insert_part(self, row: tuple[int, int, int, bytes], on_conflict: str = "") -> None:
        try:
            arguments = [*row, *(row[2:] if on_conflict else ())]
            statement = f"INSERT INTO vsbatch.snapshots VALUES (%s, %s, %s, %s) {on_conflict}"
            self.connection().execute(statement.encode(), arguments)
        except psycopg.Error as error:
            raise self._error(error) from error

    def put(self, snapshot: Snapshot, made: Iterable[tuple[int, str]]) -> None:
        """Insert a snapshot, in parts, and stores."""
        for row in parts_of(snapshot):
            self._insert_part(row)
        stores = [_insert_store(number, id) for number, id in made]
        for start in range(0, len(stores), _CHUNK):
            self._run("; ".join(stores[start : start + _CHUNK]))
        self._run(f"UPDATE vsbatch.head SET seq = {snapshot.seq}")

    def prune(self, oldest: int) -> None:
        """Delete what the snapshot after frame ``oldest`` makes superfluous, in short transactions."""
        self._delete("snapshots", f"seq < {oldest}")
        first = self._one("SELECT min(seq) FROM vsbatch.frames")
        if first is not None and first <= oldest:
            logger.info("%s: frames %d to %d are pruned: a snapshot has them", self.place, first, oldest)
        while first is not None and first <= oldest:
            first = min(first + _PRUNED_AT_ONCE, oldest + 1)
            self._delete("frames", f"seq < {first}")
        streams = self._rows(f"SELECT DISTINCT stream FROM vsbatch.parts WHERE seq <= {oldest}")
        for start in range(0, len(streams), _PRUNED_AT_ONCE):
            some = ", ".join(str(stream) for (stream,) in streams[start : start + _PRUNED_AT_ONCE])
            self._delete("parts", f"stream IN ({some}) AND seq <= {oldest}")
        self._delete("stores", f"deleted <= {oldest}")

    def _delete(self, table: str, which: str) -> None:
        """Delete rows while nobody appends: whoever holds the head reads a log of which nothing is missing."""
        with self._transaction():
            self._run(
                "SELECT seq FROM vsbatch.head FOR UPDATE; SET LOCAL synchronous_commit = off; "
                f"DELETE FROM vsbatch.{table} WHERE {which}"
            )


def plain_url(url: str) -> str:
    """Return a URL as PostgreSQL's library reads it: without the driver that SQLAlchemy has in it."""
    scheme, colon, rest = url.partition(":")
    return f"{scheme.partition('+')[0]}{colon}{rest}"


def _quoted(text: str) -> str:
    return sql.Literal(text).as_string()


def _insert_store(number: int, id: str) -> str:
    # As bytes: text cannot hold the character NUL, and an id can.
    return f"INSERT INTO vsbatch.stores (number, id) VALUES ({number}, '\\x{id.encode().hex()}')"


def _first(rows: list[Any]) -> Any:
    """Return the row of the head."""
    if not rows:
        raise LogError("its head is gone", damaged=True)
    return rows[0]


def said(error: psycopg.Error) -> str:
    """Return what the database said, on one line."""
    return " ".join(str(error).split())
