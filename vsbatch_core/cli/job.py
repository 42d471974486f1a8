"""What was done by one run of ``vsbatch ingest``, for the report on it."""

from __future__ import annotations

from typing import NamedTuple

from vsbatch_core import Engine, Page, VectorStore, VectorStoreFile, VectorStoreFileBatch
from vsbatch_core.scenarios.files import Skipped

_PAGE = 100


class BatchRun(NamedTuple):
    """A batch when all was done, and the simulated seconds from its creation to the end of its last file."""

    batch: VectorStoreFileBatch
    seconds: float


class Job(NamedTuple):
    """What was done: the store, its batches in order, what was left out, and the engine to ask for more."""

    path: str
    workers: int
    engine: Engine
    store: VectorStore
    runs: list[BatchRun]
    skipped: list[Skipped]

    def failed(self, run: BatchRun) -> Page[VectorStoreFile]:
        """The first page of the batch's failed files, oldest first; iterating over it reads the others."""
        return self.engine.vector_stores.file_batches.list_files(
            run.batch.id, vector_store_id=self.store.id, filter="failed", order="asc", limit=_PAGE
        )
