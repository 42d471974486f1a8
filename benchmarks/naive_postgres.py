"""The naive designs on PostgreSQL: tables with counts in their rows, and a queue that keeps no counts.

One transaction a command, one connection for each caller, prepared statements.  What many callers wait for comes
last in a transaction, and the files of a command are changed by one statement.  They check nothing and keep no
events.  All of that favours them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg

_SCHEMA = """
CREATE TABLE stores (id text PRIMARY KEY, in_progress bigint, completed bigint, usage_bytes bigint);
CREATE TABLE batches (id bigserial PRIMARY KEY, store text, in_progress bigint, completed bigint);
CREATE TABLE files (
    seq bigserial PRIMARY KEY, store text, batch bigint, id text, status text, usage_bytes bigint,
    created_at bigint);
CREATE UNIQUE INDEX files_by_id ON files (store, id);
CREATE INDEX files_by_store ON files (store, seq);
CREATE INDEX files_by_status ON files (store, status, seq);
CREATE INDEX files_by_batch ON files (batch, status, seq);
CREATE FUNCTION complete(of_store text, done text[], sizes bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n bigint := cardinality(done);
    of_batch bigint;
BEGIN
    UPDATE files SET status = 'completed', usage_bytes = size
        FROM unnest(done, sizes) AS given (file, size)
        WHERE store = of_store AND id = file AND status = 'in_progress';
    SELECT batch INTO of_batch FROM files WHERE store = of_store AND id = done[1];
    UPDATE batches SET in_progress = in_progress - n, completed = completed + n WHERE id = of_batch;
    UPDATE stores SET in_progress = in_progress - n, completed = completed + n,
        usage_bytes = usage_bytes + (SELECT sum(size) FROM unnest(sizes) AS given (size)) WHERE id = of_store;
END $$;
"""
_BATCH = "INSERT INTO batches (store, in_progress, completed) VALUES (%s, %s, 0) RETURNING id"
_ATTACH = (
    "INSERT INTO files (store, batch, id, status, usage_bytes, created_at) "
    "SELECT %s, %s, unnest(%s::text[]), 'in_progress', 0, 0"
)
_COMPLETE = (
    "UPDATE files SET status = 'completed', usage_bytes = %s "
    "WHERE store = %s AND id = %s AND status = 'in_progress' RETURNING batch"
)
_COMPLETE_MANY = (
    "UPDATE files SET status = 'completed', usage_bytes = size "
    "FROM unnest(%s::bigint[], %s::text[]) AS done (size, file) "
    "WHERE store = %s AND id = file AND status = 'in_progress' RETURNING batch"
)
_COUNT_BATCH = "UPDATE batches SET in_progress = in_progress - %s, completed = completed + %s WHERE id = %s"
_COUNT_STORE = (
    "UPDATE stores SET in_progress = in_progress - %s, completed = completed + %s, "
    "usage_bytes = usage_bytes + %s WHERE id = %s"
)
_COMPLETE_ONCE = "SELECT complete(%s, %s, %s)"
_PAGE = "SELECT id, created_at, status, usage_bytes FROM files WHERE store = %s ORDER BY seq LIMIT %s"
_COUNTS = "SELECT in_progress, completed FROM stores WHERE id = %s"


class Connections:
    """The connections of a process to a database: a caller has one for as long as its command takes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: deque[psycopg.Connection[Any]] = deque()

    @contextmanager
    def one(self) -> Iterator[psycopg.Connection[Any]]:
        """Return a connection that nobody uses; a new one if there is none."""
        try:
            found = self._free.pop()
        except IndexError:
            found = psycopg.connect(self._url, autocommit=True)
        yield found
        self._free.append(found)

    def close(self) -> None:
        """Close all that are not in use."""
        while self._free:
            self._free.pop().close()


@cache
def connections(url: str) -> Connections:
    """Return those of this process, which all that use the database share."""
    return Connections(url)


class Naive:
    """One store, which ``make`` has made.  With ``once``, the server has a function for what completes files."""

    def __init__(self, connections: Connections, id: str, *, once: bool = False) -> None:
        self._connections = connections
        self._id = id
        self._once = once

    @staticmethod
    def make(connections: Connections, ids: Sequence[str]) -> None:
        """Make the tables, and stores."""
        with connections.one() as connection, connection.transaction():
            connection.execute(_SCHEMA)
            connection.cursor().executemany("INSERT INTO stores VALUES (%s, 0, 0, 0)", [(id,) for id in ids])

    def connect(self) -> None:
        """There is nothing to do."""

    def attach(self, ids: Sequence[str]) -> None:
        """Attach files as one batch."""
        with self._connections.one() as connection, connection.transaction():
            ((batch,),) = connection.execute(_BATCH, (self._id, len(ids))).fetchall()
            connection.execute(_ATTACH, (self._id, batch, list(ids)))
            connection.execute(_COUNT_STORE, (-len(ids), 0, 0, self._id))

    def complete(self, id: str, usage_bytes: int) -> None:
        """Complete one file."""
        if self._once:
            self.complete_many([id], [usage_bytes])
            return
        with self._connections.one() as connection, connection.transaction():
            ((batch,),) = connection.execute(_COMPLETE, (usage_bytes, self._id, id)).fetchall()
            connection.execute(_COUNT_BATCH, (1, 1, batch))
            connection.execute(_COUNT_STORE, (1, 1, usage_bytes, self._id))

    def complete_many(self, ids: Sequence[str], usage_bytes: Sequence[int]) -> None:
        """Complete files of one batch, in one transaction."""
        n = len(ids)
        if self._once:
            with self._connections.one() as connection:
                connection.execute(_COMPLETE_ONCE, (self._id, list(ids), list(usage_bytes)))
            return
        with self._connections.one() as connection, connection.transaction():
            found = connection.execute(_COMPLETE_MANY, (list(usage_bytes), list(ids), self._id)).fetchall()
            connection.execute(_COUNT_BATCH, (n, n, found[0][0]))
            connection.execute(_COUNT_STORE, (n, n, sum(usage_bytes), self._id))

    def page(self, limit: int) -> list[Any]:
        """Return the first files."""
        with self._connections.one() as connection:
            return connection.execute(_PAGE, (self._id, limit + 1)).fetchall()

    def counts(self) -> tuple[int, int]:
        """Return how many files are in progress and completed."""
        with self._connections.one() as connection:
            ((in_progress, completed),) = connection.execute(_COUNTS, (self._id,)).fetchall()
        return in_progress, completed

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


_QUEUE = """
CREATE TABLE jobs (id bigserial PRIMARY KEY, file text, worker text, until timestamptz, usage_bytes bigint);
CREATE INDEX jobs_waiting ON jobs (id) WHERE usage_bytes IS NULL;
"""
_PUT = "INSERT INTO jobs (file) SELECT unnest(%s::text[])"
_CLAIM = """
UPDATE jobs SET worker = %s, until = now() + interval '60 s' WHERE id IN (
    SELECT id FROM jobs WHERE usage_bytes IS NULL AND (until IS NULL OR until < now())
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""
_FINISH = "UPDATE jobs SET usage_bytes = 1000 WHERE id = ANY(%s) AND worker = %s AND usage_bytes IS NULL"
_DONE = "SELECT count(*) FILTER (WHERE usage_bytes IS NULL), count(usage_bytes) FROM jobs"


class Queue:
    """A table of jobs that workers claim and finish, each time by one statement."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @staticmethod
    def make(connections: Connections) -> None:
        """Make the table."""
        with connections.one() as connection:
            connection.execute(_QUEUE)

    def attach(self, ids: Sequence[str]) -> None:
        """Add jobs; have the space of those that are finished be used again."""
        with self._connections.one() as connection:
            connection.execute(_PUT, (list(ids),))
            connection.execute("VACUUM ANALYZE jobs")

    def claim(self, limit: int, worker: str) -> list[int]:
        """Claim the oldest jobs that nobody holds."""
        with self._connections.one() as connection:
            return [id for (id,) in connection.execute(_CLAIM, (worker, limit)).fetchall()]

    def finish(self, claimed: list[int], worker: str) -> None:
        """Finish jobs."""
        with self._connections.one() as connection:
            connection.execute(_FINISH, (claimed, worker))

    def counts(self) -> tuple[int, int]:
        """Return how many jobs are in progress and finished."""
        with self._connections.one() as connection:
            ((in_progress, finished),) = connection.execute(_DONE).fetchall()
        return in_progress, finished

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()
