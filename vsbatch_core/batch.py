"""One file batch: an interval of its store's rows, with its counts; its status follows from them."""

from __future__ import annotations

from vsbatch_core import transitions
from vsbatch_core.index import Tally
from vsbatch_core.model import Profile, VectorStoreFileBatch


class Batch:
    """The rows ``first <= row < stop`` of a store, attached together as one batch."""

    __slots__ = ("_value", "cancel_asked", "created_at", "first", "id", "stop", "tally")

    def __init__(self, id: str, created_at: int, first: int, stop: int) -> None:
        self.id = id
        self.created_at = created_at
        self.first = first
        self.stop = stop
        self.cancel_asked = False
        self.tally = Tally()
        self._value: VectorStoreFileBatch | None = None

    def value(self, vector_store_id: str, profile: Profile) -> VectorStoreFileBatch:
        """The batch as a frozen value; the same object until its counts change."""
        counts = self.tally.value()
        if self._value is None or self._value.file_counts is not counts:
            self._value = VectorStoreFileBatch(
                id=self.id,
                created_at=self.created_at,
                vector_store_id=vector_store_id,
                status=transitions.batch_status(counts, self.cancel_asked, profile),
                file_counts=counts,
                object=profile.batch_object,
            )
        return self._value
