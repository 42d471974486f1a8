"""One file batch: an interval of its store's attachments, with its counts; its status follows from them."""

from __future__ import annotations

from copy import copy

from vsbatch_core import transitions
from vsbatch_core.errors import Inconsistent
from vsbatch_core.model import FILE_STATUSES, FileCounts, Profile, VectorStoreFileBatch, new_counts


class Batch:
    """The attachments ``first <= row < stop`` of a store, which were made together."""

    __slots__ = ("_value", "cancel_asked", "counts", "created_at", "finished_at", "first", "id", "stop")

    def __init__(self, id: str, created_at: int, first: int, stop: int) -> None:
        self.id = id
        self.created_at = created_at
        self.first = first
        self.stop = stop
        self.cancel_asked = False
        self.finished_at: float | None = None
        """The time of the event that ended the last of the files."""
        self.counts = [0] * len(FILE_STATUSES)
        """How many of the files stand in each status."""
        self._value: VectorStoreFileBatch | None = None

    def file_counts(self) -> FileCounts:
        """Return how many of the files stand in each status, as a frozen value."""
        return new_counts(*self.counts)

    def value(self, vector_store_id: str, profile: Profile) -> VectorStoreFileBatch:
        """Return the batch as a frozen value; the same object until something changes."""
        if self._value is None:
            counts = self.file_counts()
            self._value = VectorStoreFileBatch(
                id=self.id,
                created_at=self.created_at,
                vector_store_id=vector_store_id,
                status=transitions.batch_status(counts, self.cancel_asked, profile),
                file_counts=counts,
                object=profile.batch_object,
            )
        return self._value

    def forget_value(self) -> None:
        """Note that the batch has changed."""
        self._value = None

    def check(self, vector_store_id: str, profile: Profile) -> None:
        """Raise ``Inconsistent`` if the value or the time that is kept is not what the batch is."""
        if (self.finished_at is None) is not (self.counts[0] > 0):
            raise Inconsistent(f"when file batch '{self.id}' finished", self.finished_at, self.counts)
        fresh = copy(self)
        fresh.forget_value()
        if self._value not in (None, fresh.value(vector_store_id, profile)):
            raise Inconsistent(f"the kept value of file batch '{self.id}'", self._value, fresh._value)
