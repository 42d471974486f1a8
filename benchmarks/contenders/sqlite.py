"""SQLite ``:memory:``, as an expert would keep the same data.

One table with a rowid that is the sequence number, keyset indexes for every list, counts kept in the same
transaction, prepared statements (sqlite3 caches them by their text), no journal.  A database holds one store and
batches are integers, which favours it: the engine finds both by their string ids.  What was deleted moves to a
table of its own, so that the indexes hold nothing but what is listed, and its id stays a place.

``Sqlite`` returns the typed values that the engine returns, ``SqliteBare`` the tuples as they come.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.contenders.base import Contender, dumped
from benchmarks.contenders.values import STORE
from benchmarks.model import Counts, Listing, Query, Record
from vsbatch_core import (
    FileCounts,
    FrozenDict,
    LastError,
    Page,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)
from vsbatch_core.model import AUTO, NO_ATTRIBUTES, NO_METADATA, Profile, new_file
from vsbatch_core.transitions import batch_status

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
CREATE TABLE departed (id TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID;
CREATE TABLE counts (
    batch INTEGER PRIMARY KEY, in_progress INTEGER, completed INTEGER, failed INTEGER, cancelled INTEGER,
    usage_bytes INTEGER, created_at INTEGER, cancel_asked INTEGER);
"""
_STORE_ROW = -1
"""The row of ``counts`` that is the store's; statements have it as a literal."""

_COLUMNS = "id, created_at, status, usage_bytes, last_error, chunking, attributes"
_PLACE = "coalesce((SELECT seq FROM files WHERE id = ?), (SELECT seq FROM departed WHERE id = ?))"

_PAGES = {
    (order, after, before, filtered): (
        f"SELECT {_COLUMNS} FROM files WHERE "
        + ("status = ? AND " if filtered else "")
        + (f"seq {beyond} {_PLACE} AND " if after else "")
        + (f"seq {ahead} {_PLACE} AND " if before else "")
        # Immediately before a cursor is what comes first when the list is read from there towards its front.
        + f"TRUE ORDER BY seq {('asc', 'desc')[(order == 'asc') is (before and not after)]} LIMIT ?"
    )
    for order, beyond, ahead in (("asc", ">", "<"), ("desc", "<", ">"))
    for after in (False, True)
    for before in (False, True)
    for filtered in (False, True)
}
"""The statements by order, which cursors there are, and whether there is a filter: made once."""

_COMPLETE = "UPDATE files SET status = 'completed', usage_bytes = ? WHERE id = ? AND status = 'in_progress'"
_BATCHES_OF = "SELECT batch, count(*) FROM json_each(?) AS ids JOIN files ON files.id = ids.value GROUP BY batch"
_COMPLETE_ONE = f"{_COMPLETE} RETURNING batch, {_COLUMNS}"
_COUNT = (
    "UPDATE counts SET in_progress = in_progress - ?, {0} = {0} + ?, usage_bytes = usage_bytes + ? "
    "WHERE batch IN ({1})"
)
_COUNT_ONE, _COUNT_MANY = _COUNT.format("completed", "?, -1"), _COUNT.format("completed", "?")
_COUNT_CANCELLED = _COUNT.format("cancelled", "?, -1")
_PROFILE = Profile()

Row = tuple[str, int, Any, int, str | None, str, str]


class SqliteBare(Contender):
    """One store with its batches; it returns bare tuples."""

    key, title = "sqlite-bare", "SQLite, bare tuples"
    unable: ClassVar[Mapping[str, str]] = {"replay": "it keeps no events"}

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        self.execute = self.connection.execute
        self.connection.executescript(_SCHEMA)
        self.execute("INSERT INTO counts VALUES (?, 0, 0, 0, 0, 0, 0, 0)", (_STORE_ROW,))
        self.next = 0

    def close(self) -> None:
        """See ``Contender``."""
        self.connection.close()

    def attach(self, batch: int, ids: list[str], created_at: int) -> object:
        """See ``Contender``."""
        first = self.next
        self.next += len(ids)
        self.execute("BEGIN")
        self.connection.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, 'in_progress', 0, NULL, 'static', '{}')",
            [(first + i, batch, id, created_at) for i, id in enumerate(ids)],
        )
        self.execute("INSERT INTO counts VALUES (?, ?, 0, 0, 0, 0, ?, 0)", (batch, len(ids), created_at))
        self.execute("UPDATE counts SET in_progress = in_progress + ? WHERE batch = -1", (len(ids),))
        return self.execute("COMMIT")

    def complete(self, id: str, usage_bytes: int) -> object:
        """See ``Contender``.  The indexed row, and the two rows of counts."""
        self.execute("BEGIN")
        ((batch, *row),) = self.execute(_COMPLETE_ONE, (usage_bytes, id)).fetchall()
        self.execute(_COUNT_ONE, (1, 1, usage_bytes, batch))
        self.execute("COMMIT")
        return row

    def complete_many(self, ids: Sequence[str], usage_bytes: int) -> object:
        """See ``Contender``.  One transaction, one ``executemany``, and each row of counts once."""
        execute, many = self.execute, self.connection.executemany
        execute("BEGIN")
        done = many(_COMPLETE, [(usage_bytes, id) for id in ids]).rowcount
        batches: list[tuple[int, int]] = execute(_BATCHES_OF, (json.dumps(ids),)).fetchall()
        many(_COUNT_MANY, [(n, n, n * usage_bytes, batch) for batch, n in [*batches, (_STORE_ROW, done)]])
        return execute("COMMIT")

    def cancel(self, batch: int) -> object:
        """See ``Contender``."""
        self.execute("BEGIN")
        n = self.execute(
            "UPDATE files SET status = 'cancelled' WHERE batch = ? AND status = 'in_progress'", (batch,)
        ).rowcount
        self.execute(_COUNT_CANCELLED, (n, n, 0, batch))
        self.execute("UPDATE counts SET cancel_asked = 1 WHERE batch = ?", (batch,))
        self.execute("COMMIT")
        return self.tally(batch)

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        self.execute("BEGIN")
        ((seq, batch, status, usage_bytes),) = self.execute(
            "DELETE FROM files WHERE id = ? RETURNING seq, batch, status, usage_bytes", (id,)
        ).fetchall()
        self.execute("INSERT INTO departed VALUES (?, ?)", (id, seq))
        if status == "in_progress":
            self.execute(
                "UPDATE counts SET in_progress = in_progress - 1, cancelled = cancelled + 1 WHERE batch = ?",
                (batch,),
            )
        self.execute(
            f"UPDATE counts SET {status} = {status} - 1, usage_bytes = usage_bytes - ? WHERE batch = -1",
            (usage_bytes,),
        )
        self.execute("COMMIT")
        return id

    def page(self, query: Query) -> Any:
        """See ``Contender``."""
        return self._rows(query)

    def _rows(self, query: Query) -> tuple[list[Row], bool]:
        after, before, filter = query.after, query.before, query.filter
        values: list[str | int] = [] if filter is None else [filter]
        if after is not None:
            values += after, after
        if before is not None:
            values += before, before
        values.append(query.limit + 1)
        statement = _PAGES[query.order, after is not None, before is not None, filter is not None]
        rows: list[Row] = self.execute(statement, values).fetchall()
        more = len(rows) > query.limit
        if more:
            rows.pop()
        if before is not None and after is None:
            rows.reverse()
        return rows, more

    def listing(self, page: Any) -> Listing:
        """See ``Contender``."""
        rows, more = page
        return Listing(tuple(map(self.record, rows)), more)

    def last(self, page: Any) -> str:
        """See ``Contender``."""
        return page[0][-1][0]  # type: ignore[no-any-return]  # the id is the first column

    def file(self, id: str) -> Any:
        """See ``Contender``."""
        return self._row(id)

    def _row(self, id: str) -> Row:
        row: Row = self.execute(f"SELECT {_COLUMNS} FROM files WHERE id = ?", (id,)).fetchone()
        return row

    def record(self, file: Any) -> Record:
        """See ``Contender``."""
        return Record(*file[:4])

    def tally(self, batch: int | None) -> Any:
        """See ``Contender``."""
        return self._counts(batch)

    def _counts(self, batch: int | None) -> tuple[int, ...]:
        row: tuple[int, ...] = self.execute(
            "SELECT in_progress, completed, failed, cancelled, usage_bytes, created_at, cancel_asked "
            "FROM counts WHERE batch = ?",
            (_STORE_ROW if batch is None else batch,),
        ).fetchone()
        return row

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        in_progress, completed, failed, cancelled, *_ = self._counts(batch)
        return in_progress, completed, failed, cancelled

    def encode(self, page: Any) -> bytes:
        """See ``Contender``.  The tuples go into dicts without a value in between."""
        rows, more = page
        data = [
            {
                "id": id,
                "object": "vector_store.file",
                "created_at": created_at,
                "usage_bytes": usage_bytes,
                "vector_store_id": STORE,
                "status": status,
                "last_error": error and json.loads(error),
                "chunking_strategy": _CHUNKING[chunking],
                "attributes": {} if attributes == "{}" else json.loads(attributes),
            }
            for id, created_at, status, usage_bytes, error, chunking, attributes in rows
        ]
        return dumped(data, more)

    def save(self) -> bytes:
        """See ``Contender``.  A copy of the database's pages."""
        return self.connection.serialize()

    @classmethod
    def load(cls, saved: bytes) -> SqliteBare:
        """See ``Contender``."""
        loaded = cls()
        loaded.connection.deserialize(saved)
        return loaded


class Sqlite(SqliteBare):
    """The same, returning the same typed values as the engine."""

    key, title = "sqlite", "SQLite, typed values"
    unable: ClassVar[Mapping[str, str]] = {
        **SqliteBare.unable,
        "snapshot": "it would be the same copy as of SQLite with bare tuples",
        "restore": "it would be the same copy as of SQLite with bare tuples",
    }

    def complete(self, id: str, usage_bytes: int) -> VectorStoreFile:
        """See ``Contender``."""
        row: Any = super().complete(id, usage_bytes)
        return _typed(*row)

    def page(self, query: Query) -> Page[VectorStoreFile]:
        """See ``Contender``."""
        rows, more = self._rows(query)
        return Page(tuple([_typed(*row) for row in rows]), more)

    def listing(self, page: Page[VectorStoreFile]) -> Listing:
        """See ``Contender``."""
        return Listing(tuple(map(self.record, page.data)), page.has_more)

    def last(self, page: Page[VectorStoreFile]) -> str:
        """See ``Contender``."""
        return page.data[-1].id

    def file(self, id: str) -> VectorStoreFile:
        """See ``Contender``."""
        return _typed(*self._row(id))

    def record(self, file: VectorStoreFile) -> Record:
        """See ``Contender``."""
        return Record(file.id, file.created_at, file.status, file.usage_bytes)

    def tally(self, batch: int | None) -> VectorStore | VectorStoreFileBatch:
        """See ``Contender``."""
        in_progress, completed, failed, cancelled, usage_bytes, created_at, cancel_asked = self._counts(batch)
        counts = FileCounts(in_progress=in_progress, completed=completed, failed=failed, cancelled=cancelled)
        if batch is not None:
            return VectorStoreFileBatch(
                id=f"vsfb_{batch}",
                created_at=created_at,
                vector_store_id=STORE,
                status=batch_status(counts, bool(cancel_asked), _PROFILE),
                file_counts=counts,
            )
        return VectorStore(
            id=STORE,
            created_at=created_at,
            name="bench",
            description=None,
            usage_bytes=usage_bytes,
            file_counts=counts,
            status="in_progress" if in_progress else "completed",
            expires_after=None,
            expires_at=None,
            last_active_at=created_at,
            metadata=NO_METADATA,
        )

    def encode(self, page: Page[VectorStoreFile]) -> bytes:
        """See ``Contender``."""
        return Contender.encode(self, page)

    def rows(self, page: Page[VectorStoreFile]) -> tuple[VectorStoreFile, ...]:
        """See ``Contender``."""
        return page.data

    def listing_more(self, page: Page[VectorStoreFile]) -> bool:
        """See ``Contender``."""
        return page.has_more


def _typed(
    id: str, created_at: int, status: Any, usage_bytes: int, error: str | None, chunking: str, attributes: str
) -> VectorStoreFile:
    return new_file(
        id,
        created_at,
        STORE,
        status,
        usage_bytes,
        None if error is None else LastError(**json.loads(error)),
        _STRATEGIES[chunking],
        NO_ATTRIBUTES if attributes == "{}" else FrozenDict(json.loads(attributes)),
        None,
    )


_STRATEGIES = {"static": AUTO}
"""By what the column says; few differ, so they are kept."""
_CHUNKING = {"static": {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}}
