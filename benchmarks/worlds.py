"""The data that is measured on: the same store in the engine and in each peer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import count

from benchmarks.measure import Task
from benchmarks.sqlite import SqliteStore
from vsbatch_core import Engine, Page, SequentialIds, VectorStoreFile, VirtualClock

BATCH = 2000


def file_ids(n: int, prefix: str = "file-") -> list[str]:
    """``n`` ids, of the length that the API's have."""
    return [f"{prefix}{i:024x}" for i in range(n)]


class World:
    """One store of ``n`` files in batches of up to 2,000, every second one completed."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.ids = file_ids(n)
        self.engine = Engine(clock=VirtualClock(), ids=SequentialIds())
        self.store_id = self.engine.vector_stores.create(name="bench").id
        self.sqlite = SqliteStore()
        self._batch_numbers = count(1)
        for first in range(0, n, BATCH):
            self._create(self.ids[first : first + BATCH])
        for file_id in self.ids[::2]:
            self.engine.ingest.complete(self.store_id, file_id, usage_bytes=1000)
            self.sqlite.complete(file_id, 1000)
        self._unfinished = self.ids[1::2]
        random.Random(n).shuffle(self._unfinished)

    def close(self) -> None:
        """Let the peer's database go."""
        self.sqlite.close()

    def _create(self, ids: list[str]) -> tuple[str, int]:
        number = next(self._batch_numbers)
        batch = self.engine.vector_stores.file_batches.create(self.store_id, file_ids=ids)
        self.sqlite.create(number, ids, batch.created_at)
        return batch.id, number

    def after(self, place: str, order: str, filter: str | None) -> str | None:
        """The cursor that leads to the ``first``, a ``middle`` or the ``last`` full page of 20."""
        if place == "first":
            return None
        if place == "middle":
            return self.ids[self.n // 2]
        span = 20 if filter is None else 40  # every second file matches
        return self.ids[-1 - span if order == "asc" else span]

    def page(self, order: str, after: str | None, filter: str | None) -> Page[VectorStoreFile]:
        """A page of 20 of the store's files from the engine."""
        return self.engine.vector_stores.files.list(
            self.store_id,
            limit=20,
            order=order,  # type: ignore[arg-type]  # the benchmark passes the two words
            after=after,
            filter=filter,  # type: ignore[arg-type]  # and one of the four
        )

    def check_page(self, order: str, after: str | None, filter: str | None) -> None:
        """Raise ``RuntimeError`` unless the engine and its peer answer the same page."""
        ours = self.page(order, after, filter)
        rows, more = self.sqlite.page(20, order, after, filter)
        if ([file.id for file in ours.data], ours.has_more) != ([row[0] for row in rows], more):
            raise RuntimeError(f"the contenders disagree on the page {(order, after, filter)} of {self.n}")

    def check_counts(self) -> None:
        """Raise ``RuntimeError`` unless the engine and its peer count the same."""
        counts = self.engine.vector_stores.retrieve(self.store_id).file_counts
        ours = (counts.in_progress, counts.completed, counts.failed, counts.cancelled)
        theirs = self.sqlite.counts("store")
        if ours != theirs:
            raise RuntimeError(f"the contenders disagree on the counts of {self.n}: {ours}, {theirs}")

    def completions(self) -> dict[str, Iterator[Task]]:
        """One completion after the other, scattered over the store, the same for each contender."""
        complete, todo = self.engine.ingest.complete, self._unfinished
        return {
            "ours": (partial(complete, self.store_id, file_id, usage_bytes=1000) for file_id in todo),
            "SQLite": (partial(self.sqlite.complete, file_id, 1000) for file_id in todo),
        }

    def creations(self) -> dict[str, Iterator[Task]]:
        """One batch of 2,000 after the other."""
        create, now = self.engine.vector_stores.file_batches.create, int(self.engine.clock.time())
        lists = [file_ids(BATCH, f"file-{i:x}-") for i in range(64)]
        return {
            "ours": (partial(create, self.store_id, file_ids=ids) for ids in lists),
            "SQLite": (partial(self.sqlite.create, next(self._batch_numbers), ids, now) for ids in lists),
        }

    def cancellations(self) -> dict[str, Iterator[Task]]:
        """The cancel of one batch after the other, each with 2,000 files in progress."""
        cancel, store_id = self.engine.vector_stores.file_batches.cancel, self.store_id
        batches = [self._create(file_ids(BATCH, f"file-cancel-{i:x}-")) for i in range(40)]
        return {
            "ours": (partial(cancel, batch_id, vector_store_id=store_id) for batch_id, _ in batches),
            "SQLite": (partial(self.sqlite.cancel, number) for _, number in batches),
        }

    def retrievals(self) -> dict[str, Task]:
        """A look at a store, a batch and a file."""
        stores = self.engine.vector_stores
        return {
            "store": lambda: stores.retrieve(self.store_id),
            "batch": lambda: stores.file_batches.retrieve("vsfb_1", vector_store_id=self.store_id),
            "file": lambda: stores.files.retrieve(self.ids[0], vector_store_id=self.store_id),
        }
