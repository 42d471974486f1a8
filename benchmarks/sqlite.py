"""The peer: the same data in SQLite ``:memory:``, as an expert would keep it.

One table with a rowid that is the sequence number, keyset indexes for every list, counts kept in the same
transaction, prepared statements (sqlite3 caches them by their text), no journal.  A database holds one store and
batches are integers, which favours it: the engine finds both by their string ids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = MEMORY;
CREATE TABLE files (
    seq INTEGER PRIMARY KEY, batch INTEGER, id TEXT, created_at INTEGER, status TEXT,
    usage_bytes INTEGER, last_error TEXT, chunking TEXT, attributes TEXT);
CREATE UNIQUE INDEX files_by_id ON files (id);
CREATE INDEX files_by_status ON files (status, seq);
CREATE INDEX files_by_batch ON files (batch, status, seq);
CREATE TABLE counts (
    owner TEXT PRIMARY KEY, in_progress INTEGER, completed INTEGER, failed INTEGER, cancelled INTEGER,
    usage_bytes INTEGER) WITHOUT ROWID;
"""
_COLUMNS = "id, created_at, batch, status, usage_bytes, last_error, chunking, attributes"

_PAGES = {
    (order, cursor, filtered): (
        f"SELECT {_COLUMNS} FROM files WHERE "
        + ("status = ? AND " if filtered else "")
        + (f"seq {sign} (SELECT seq FROM files WHERE id = ?)" if cursor else "TRUE")
        + f" ORDER BY seq {order} LIMIT ?"
    )
    for order, sign in (("asc", ">"), ("desc", "<"))
    for cursor in (False, True)
    for filtered in (False, True)
}
"""The statements by order, whether there is a cursor, and whether there is a filter: made once."""

Row = tuple[str, int, int, str, int, str | None, str, str]


class SqliteStore:
    """One store with its batches."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        self.execute = self.connection.execute
        self.connection.executescript(_SCHEMA)
        self.execute("INSERT INTO counts VALUES ('store', 0, 0, 0, 0, 0)")
        self.next = 0

    def close(self) -> None:
        """Let the database go."""
        self.connection.close()

    def create(self, batch: int, file_ids: list[str], created_at: int) -> None:
        """Attach a batch in one transaction."""
        first = self.next
        self.next += len(file_ids)
        self.execute("BEGIN")
        self.connection.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, 'in_progress', 0, NULL, 'static', '{}')",
            [(first + i, batch, file_id, created_at) for i, file_id in enumerate(file_ids)],
        )
        self.execute("INSERT INTO counts VALUES (?, ?, 0, 0, 0, 0)", (f"batch-{batch}", len(file_ids)))
        self.execute("UPDATE counts SET in_progress = in_progress + ? WHERE owner = 'store'", (len(file_ids),))
        self.execute("COMMIT")

    def complete(self, file_id: str, usage_bytes: int) -> None:
        """Complete a file in one transaction: the indexed row, and the two count rows."""
        self.execute("BEGIN")
        ((batch,),) = self.execute(
            "UPDATE files SET status = 'completed', usage_bytes = ? "
            "WHERE id = ? AND status = 'in_progress' RETURNING batch",
            (usage_bytes, file_id),
        ).fetchall()
        self.execute(
            "UPDATE counts SET in_progress = in_progress - 1, completed = completed + 1 WHERE owner = ?",
            (f"batch-{batch}",),
        )
        self.execute(
            "UPDATE counts SET in_progress = in_progress - 1, completed = completed + 1, "
            "usage_bytes = usage_bytes + ? WHERE owner = 'store'",
            (usage_bytes,),
        )
        self.execute("COMMIT")

    def cancel(self, batch: int) -> None:
        """Cancel a batch in one transaction."""
        self.execute("BEGIN")
        n = self.execute(
            "UPDATE files SET status = 'cancelled' WHERE batch = ? AND status = 'in_progress'", (batch,)
        ).rowcount
        for owner in (f"batch-{batch}", "store"):
            self.execute(
                "UPDATE counts SET in_progress = in_progress - ?, cancelled = cancelled + ? WHERE owner = ?",
                (n, n, owner),
            )
        self.execute("COMMIT")

    def page(
        self, limit: int, order: str, after: str | None = None, status: str | None = None
    ) -> tuple[list[Row], bool]:
        """A page of the store's files by keyset: bare tuples, and whether there are more."""
        values: tuple[str | int, ...] = (limit + 1,)
        if after is not None:
            values = (after, *values)
        if status is not None:
            values = (status, *values)
        statement = _PAGES[order, after is not None, status is not None]
        rows: list[Row] = self.execute(statement, values).fetchall()
        return rows[:limit], len(rows) > limit

    def counts(self, owner: str) -> tuple[int, int, int, int]:
        """In progress, completed, failed, cancelled."""
        row: tuple[int, int, int, int] = self.execute(
            "SELECT in_progress, completed, failed, cancelled FROM counts WHERE owner = ?", (owner,)
        ).fetchone()
        return row


def fill(store: SqliteStore, ids: Iterable[list[str]]) -> None:
    """Attach one batch for each list of ids."""
    for batch, file_ids in enumerate(ids):
        store.create(batch, file_ids, 1_700_000_000)
