"""The engine: both faces over one ledger, and the ways to save, follow and prove it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vsbatch_core import snapshots
from vsbatch_core.client import VectorStores
from vsbatch_core.clock import Clock, IdSource, SystemClock, random_ids
from vsbatch_core.events import Event
from vsbatch_core.ledger import KnownFile, Ledger
from vsbatch_core.model import Profile
from vsbatch_core.processing import Processing

__all__ = ["Engine"]


class Engine:
    """Vector stores, their files and their file batches, in this process.

    ``clock`` tells the time (default: the system's), ``ids`` makes ids (default: random), ``profile`` says which
    published variant of the API is imitated (default: the reference).  ``known_file(file_id)`` answers the size
    in bytes of a file that exists and ``None`` for one that does not; without it any id is accepted.  It is
    called without the lock.

    Every method may be called from any thread.  A call that is refused raises an ``errors.VsbatchError`` and
    leaves the engine equal to what it was.  Reading never changes anything.

    >>> from vsbatch_core import Engine, SequentialIds
    >>> engine = Engine(ids=SequentialIds())
    >>> store = engine.vector_stores.create(name="docs")
    >>> batch = engine.vector_stores.file_batches.create(store.id, file_ids=["file-a", "file-b"])
    >>> engine.processing.complete(store.id, "file-a", usage_bytes=10).status
    'completed'
    >>> batch = engine.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    >>> batch.status, batch.file_counts
    ('cancelled', FileCounts(in_progress=0, completed=1, failed=0, cancelled=1))
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        profile: Profile | None = None,
        known_file: KnownFile | None = None,
    ) -> None:
        self._ledger = Ledger(clock or SystemClock(), ids, profile or Profile(), known_file)
        self.vector_stores = VectorStores(self._ledger)
        self.processing = Processing(self._ledger)

    @property
    def clock(self) -> Clock:
        """The clock that the engine was given."""
        return self._ledger.clock

    @property
    def profile(self) -> Profile:
        """The profile that the engine was given."""
        return self._ledger.profile

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Have ``callback`` called with each event after it is applied, in order; answer a way to unsubscribe.

        It is called in the thread whose command caused the event, before that command returns, with the
        engine locked: other threads wait, and a callback must not wait for them.  It may give commands itself;
        their events are told, to all, after the one at hand.

        If it raises, the event stands, the other subscribers are still called, and the command raises a
        ``SubscriberError`` whose cause is what was raised.
        """
        return self._ledger.subscribe(callback)

    def version(self, vector_store_id: str | None = None) -> int:
        """Return the number of the latest event of a store, or of the list of stores.  O(1).

        A follower that has applied the events up to this number is up to date.
        """
        with self._ledger.lock:
            return (
                self._ledger.version if vector_store_id is None else self._ledger.store(vector_store_id).version
            )

    def snapshot(self, vector_store_id: str | None = None) -> dict[str, Any]:
        """The whole engine, or one store with all that is in it, as plain JSON-able data.  O(n).

        Equal engines have equal snapshots.
        """
        with self._ledger.lock:
            store = None if vector_store_id is None else self._ledger.store(vector_store_id)
            return snapshots.dump(self._ledger, store)

    @classmethod
    def restore(
        cls,
        snapshot: dict[str, Any],
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        profile: Profile | None = None,
        known_file: KnownFile | None = None,
    ) -> Engine:
        """An engine that is equal, in every view, to the one that made the snapshot.  O(n).

        The profile is the snapshot's unless another is given.  Raise ``SnapshotError`` if the snapshot has
        another format, or contradicts itself.
        """
        engine = cls(
            clock=clock, ids=ids, profile=profile or snapshots.profile_of(snapshot), known_file=known_file
        )
        snapshots.load(engine._ledger, snapshot)
        return engine

    def replay(self, events: Iterable[Event]) -> None:
        """Apply events that another engine told its subscribers, on top of what is here.

        Raise ``ReplayError`` at the first event that can not follow; those before it stand.
        """
        for event in events:
            with self._ledger.lock:
                self._ledger.replay(event)

    def check(self) -> None:
        """Recompute every count and index from the attachments.  O(n).

        Raise ``Inconsistent``, which names what differs.
        """
        with self._ledger.lock:
            self._ledger.check()
