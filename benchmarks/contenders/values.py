"""What contenders that keep or build the typed values share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contenders.base import Contender, recorded
from benchmarks.model import STATUSES, Counts, Listing, Record
from vsbatch_core import VectorStoreFile
from vsbatch_core.model import AUTO, NO_ATTRIBUTES, FileStatus, new_file

STORE = "vs_1"
NOT_LISTS = (
    "retrieve",
    "create",
    "complete",
    "cancel",
    "delete-walk",
    "json",
    "snapshot",
    "restore",
    "replay",
    "memory",
)
"""The first words of all works on a store that are more than reading its list."""

Found = tuple[Sequence[VectorStoreFile], bool]
"""A page: the files, and whether there are more."""


def made(id: str, created_at: int, status: FileStatus = "in_progress", usage_bytes: int = 0) -> VectorStoreFile:
    """Return a typed value, made in the fastest way."""
    return new_file(id, created_at, STORE, status, usage_bytes, None, AUTO, NO_ATTRIBUTES, None)


def ended(file: VectorStoreFile, status: FileStatus, usage_bytes: int = 0) -> VectorStoreFile:
    """Return the file as it ended, made in the fastest way."""
    return new_file(
        file.id,
        file.created_at,
        file.vector_store_id,
        status,
        usage_bytes,
        file.last_error,
        file.chunking_strategy,
        file.attributes,
        file.attachment,
    )


class Typed(Contender):
    """A contender whose files are the engine's own typed values."""

    def listing(self, page: Found) -> Listing:
        """See ``Contender``."""
        return Listing(tuple(map(recorded, page[0])), page[1])

    def record(self, file: VectorStoreFile) -> Record:
        """See ``Contender``."""
        return recorded(file)


class Tallies:
    """Counts of the store and of each batch, as plain dicts."""

    def __init__(self) -> None:
        self.store: dict[str, int] = dict.fromkeys(STATUSES, 0)
        self.batches: dict[int, dict[str, int]] = {}

    def begin(self, batch: int, n: int) -> None:
        """Count a new batch."""
        self.batches[batch] = {**dict.fromkeys(STATUSES, 0), "in_progress": n}
        self.store["in_progress"] += n

    def move(self, batch: int, status: str, n: int = 1) -> None:
        """Count files that have left ``in_progress`` for another status."""
        for tally in (self.store, self.batches[batch]):
            tally["in_progress"] -= n
            tally[status] += n

    def counts(self, batch: int | None) -> Counts:
        """See ``Contender.counts``."""
        tally: dict[str, Any] = self.store if batch is None else self.batches[batch]
        return tally["in_progress"], tally["completed"], tally["failed"], tally["cancelled"]
