"""A storage compared with the oracle: tables of SQLite that hold batches and their files.

Run it in the folder of the clone with ``python -m unittest docs/examples/lockstep_storage.py``.
"""

import sqlite3

from vsbatch_core import FileCounts, Page, VectorStore, VectorStoreFile, VectorStoreFileBatch, errors
from vsbatch_core.testing.calls import Call, Refusal
from vsbatch_core.testing.machine import Lockstep
from vsbatch_core.testing.subjects import Subject

TABLES = """
CREATE TABLE stores (id TEXT PRIMARY KEY);
CREATE TABLE batches (id TEXT PRIMARY KEY, store TEXT REFERENCES stores, made INT, cancelled INT DEFAULT 0);
CREATE TABLE files (n INTEGER PRIMARY KEY, batch TEXT REFERENCES batches, store TEXT, id TEXT, made INT,
                    status TEXT DEFAULT 'in_progress', bytes INT DEFAULT 0);
"""
TAKES = {  # the calls that it can be given, and the keyword arguments that it has a column or a clause for
    "vector_stores.create": ("name",),
    "vector_stores.file_batches.create": ("file_ids", "files"),
    "vector_stores.file_batches.retrieve": ("vector_store_id",),
    "vector_stores.file_batches.cancel": ("vector_store_id",),
    "vector_stores.file_batches.list_files": ("vector_store_id", "limit", "order", "after", "before", "filter"),
    "processing.complete": ("usage_bytes",),
}


class Storage(Subject):
    checks_arguments = False  # the server in front of it does
    follows = ("batch_object", "cancel_finished", "limits")  # of the profile; the rest stays as it is by default
    purges = False  # it keeps all batches
    reads_one_in = 4  # after each call a quarter of all pages is compared, in turns

    def __init__(self, world):  # the oracle is made under an equal clock, ids, profile and sizes of files
        options = world.options()
        self.world, self.clock, self.new_id = world, options["clock"], options["ids"]
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.row_factory = sqlite3.Row
        self.db.executescript(TABLES)

    def __del__(self):  # each history is given a storage of its own, which any thread may collect
        self.db.close()

    def trimmed(self, call):
        known = TAKES.get(call.path, ())
        return Call(call.path, call.args, {name: value for name, value in call.kwargs.items() if name in known})

    def can_ask(self, call):
        return call.path in TAKES and "files" not in call.kwargs

    def ask(self, call):  # "vector_stores.file_batches.create" is file_batches_create below
        method = getattr(self, "_".join(call.path.split(".")[-2:]))
        try:
            return method(*call.args, **call.kwargs)
        except errors.VsbatchError as error:  # or make Refusal(status, body) of an exception of your own
            return Refusal.of(error)

    def check(self):
        if rows := self.rows("PRAGMA foreign_key_check"):
            raise ValueError(f"rows that refer to nothing: {[tuple(row) for row in rows]}")

    def state(self):
        return list(self.db.iterdump())

    # The calls, as SQL and back

    def rows(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def vector_stores_create(self, name=None):
        id, now = self.new_id("vs_"), int(self.clock.time())
        self.rows("INSERT INTO stores VALUES (?)", id)
        empty = dict.fromkeys(("description", "expires_after", "expires_at")) | {"usage_bytes": 0, "metadata": {}}
        rest = {"created_at": now, "last_active_at": now, "status": "completed", "file_counts": FileCounts()}
        return VectorStore(id=id, name=name or "", **rest, **empty)

    def file_batches_create(self, store, file_ids):
        self.require_store(store)
        id, now = self.new_id("vsfb_"), int(self.clock.time())
        self.rows("INSERT INTO batches (id, store, made) VALUES (?, ?, ?)", id, store, now)
        for file in dict.fromkeys(file_ids):  # of duplicates the first wins
            self.end("cancelled", 0, "store = ? AND id = ?", store, file)  # a file attached again is replaced
            self.rows("INSERT INTO files (batch, store, id, made) VALUES (?, ?, ?, ?)", id, store, file, now)
        return self.file_batches_retrieve(id, store)

    def file_batches_retrieve(self, id, vector_store_id):
        self.require_store(vector_store_id)
        found = self.rows("SELECT * FROM batches WHERE id = ? AND store = ?", id, vector_store_id)
        if not found:
            raise errors.FileBatchNotFound(id, vector_store_id)
        counts = "SELECT status, count(*) FROM files WHERE batch = ? GROUP BY status"
        counts = FileCounts(**dict(self.rows(counts, id)))
        status = "cancelled" if found[0]["cancelled"] or not counts.completed else "completed"
        return VectorStoreFileBatch(
            id=id,
            created_at=found[0]["made"],
            vector_store_id=vector_store_id,
            status="in_progress" if counts.in_progress else status,
            file_counts=counts,
            object=self.world.profile.batch_object,
        )

    def file_batches_cancel(self, id, vector_store_id):
        status = self.file_batches_retrieve(id, vector_store_id).status
        if status != "in_progress" and self.world.profile.cancel_finished == "refuse":
            raise errors.BatchAlreadyFinished(id, status)
        if self.end("cancelled", 0, "batch = ?", id):
            self.rows("UPDATE batches SET cancelled = 1 WHERE id = ?", id)
        return self.file_batches_retrieve(id, vector_store_id)

    def file_batches_list_files(
        self, id, vector_store_id, limit=None, order="desc", after=None, before=None, filter=None
    ):
        self.file_batches_retrieve(id, vector_store_id)  # refused if there is no such batch
        size = limit or self.world.profile.limits.page_default
        ends = [self.place(id, "after", after), self.place(id, "before", before)]
        low, high = ends if order == "asc" else reversed(ends)
        backwards = before is not None and after is None  # the page ends at the cursor, and does not begin there
        query = "SELECT * FROM files WHERE batch = ? AND n > ? AND n < ? AND status = coalesce(?, status)"
        query += f" ORDER BY n {'ASC' if (order == 'asc') != backwards else 'DESC'} LIMIT ?"
        found = self.rows(query, id, low or 0, high or 2**62, filter, size + 1)  # one more, for has_more
        page = [self.value(row) for row in found[:size]]
        return Page(tuple(reversed(page) if backwards else page), len(found) > size)

    def processing_complete(self, store, file, usage_bytes=None):
        latest = "SELECT * FROM files WHERE store = ? AND id = ? ORDER BY n DESC LIMIT 1"
        found = self.rows(latest, store, file)
        if not found:
            there = self.rows("SELECT 1 FROM stores WHERE id = ?", store)
            state = "not attached" if there else "not there: there is no such store"
            raise errors.NotAttached(file, store, state, "complete")
        size = (self.world.sizes or {}).get(file, 0) if usage_bytes is None else usage_bytes
        if not self.end("completed", size, "n = ?", found[0]["n"]):
            raise errors.AlreadyFinished(file, store, found[0]["status"], "complete")
        return self.value(self.rows(latest, store, file)[0])

    # What they share

    def require_store(self, id):
        if not self.rows("SELECT 1 FROM stores WHERE id = ?", id):
            raise errors.VectorStoreNotFound(id)

    def end(self, status, size, where, *values):
        sql = f"UPDATE files SET status = ?, bytes = ? WHERE status = 'in_progress' AND {where} RETURNING n"
        return self.rows(sql, status, size, *values)

    def place(self, batch, param, cursor):
        found = self.rows("SELECT n FROM files WHERE batch = ? AND id = ?", batch, cursor)
        if cursor is not None and not found:
            raise errors.UnknownCursor(param, cursor, f"files of file batch '{batch}'")
        return found[0]["n"] if found else None

    def value(self, row):
        return VectorStoreFile(row["id"], row["made"], row["store"], row["status"], row["bytes"])


class StorageInLockstep(Lockstep):
    subject_factory = Storage


TestStorage = StorageInLockstep.TestCase
