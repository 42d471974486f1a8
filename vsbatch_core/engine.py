"""The engine: both APIs over one registry of stores, and the ways to save, follow and prove it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from vsbatch_core import snapshots, validation
from vsbatch_core.aio import AsyncEngine
from vsbatch_core.claims import Retry
from vsbatch_core.client import VectorStores
from vsbatch_core.clock import Clock, IdSource, SystemClock, random_ids
from vsbatch_core.events import Event, version_in
from vsbatch_core.model import Profile
from vsbatch_core.processing import Processing
from vsbatch_core.registry import FileSize, Registry
from vsbatch_core.view import View

if TYPE_CHECKING:
    from vsbatch_core.journal.log import Durability, Reads

__all__ = ["Engine"]


class Engine:
    """Vector stores, their files and their file batches, in this process.

    ``clock`` returns the time (default: the system's), ``ids`` makes ids (default: random), ``profile`` says
    which published variant of the API is imitated (default: the reference).  ``file_size(file_id)`` returns
    the size in bytes of a file that exists and ``None`` for one that does not; without it any id is
    accepted.  It is called without the lock.  ``retry`` says how often a file is tried whose claim lapses or
    whose worker asks for it.  ``retention`` says for how many seconds batches are kept once they have finished
    (default: as long as their store); then they are purged, as by ``processing.purge``.

    Every method may be called from any thread.  A call that is refused raises an ``errors.VsbatchError`` and
    leaves the engine equal to what it was.  Reading changes nothing but what time has made due: a claim that has
    lapsed, a batch that has drained or is to be purged, a store that has expired are noted by whatever call
    comes next, before it looks, with events like any other.  An engine that was restored, or that follows another
    by ``replay``, leaves that to the other until it is given its first command.  A call that anything else
    interrupts (``KeyboardInterrupt``, ``MemoryError``, …) has happened wholly or not at all.  After a
    ``fork`` at any moment the engine works in the child process.

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
        file_size: FileSize | None = None,
        retry: Retry | None = None,
        retention: float | None = None,
    ) -> None:
        self._serve(Registry(clock or SystemClock(), ids, profile or Profile(), file_size, retry, retention))

    def _serve(self, registry: Registry) -> None:
        """Have both APIs work on this registry."""
        self._registry = registry
        self.vector_stores = VectorStores(registry)
        self.processing = Processing(registry)
        self.view = View(registry)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        profile: Profile | None = None,
        file_size: FileSize | None = None,
        retry: Retry | None = None,
        retention: float | None = None,
        durability: Durability = "full",
        reads: Reads = "fresh",
        snapshot: dict[str, Any] | None = None,
    ) -> Engine:
        """Return an engine whose stores are kept in a database, which is made if it is not there.

        ``url`` is ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, percent-encoded, or
        ``postgresql://user@host/database``, which needs the extra ``postgres`` and is kept in the schema
        ``vsbatch``.  Several engines may be open on one database, in any processes of one machine, or with
        PostgreSQL of many: each returns what all of them have done.  Their clocks must be the same, and so the
        default clocks are: the machine's, or with PostgreSQL that of the database.  The profile is that which the
        database was made under; a new one gets ``profile`` or the reference.

        With ``reads="local"`` a read does not ask PostgreSQL each time what others have done, but at least once a
        second.  What the engine itself has done is always there.

        What a call has returned outlasts the end of the process, and with ``durability="full"`` a power failure;
        with ``"normal"`` the last calls before one may be lost.  A crash of a PostgreSQL server may end claims
        that have a deadline.  A call that raises ``DatabaseUnavailable`` has changed nothing; after
        ``OutcomeUnknown`` nobody can tell.  Commands of many threads share a transaction.
        Subscribers are called after it is committed, in this process also with the events of others, as soon as a
        call notices them.

        With ``snapshot``, which another engine's ``snapshot`` returned, a new database begins with what that
        engine held, and under its profile unless another is given.

        Raise ``DatabaseRefused``, also for a snapshot and a database that is not empty, ``DatabaseDamaged``,
        ``DatabaseUnavailable``, or ``SnapshotError`` as ``restore`` does.
        """
        from vsbatch_core.journal import connect  # noqa: PLC0415 - sqlite3, which not all programs need
        from vsbatch_core.journal.replica import Replica  # noqa: PLC0415

        restored = None if snapshot is None else cls.restore(snapshot, clock=clock, profile=profile)
        place = connect(url, profile if restored is None else restored.profile, durability, reads)
        clock = clock or place.clock or SystemClock()
        replica = Replica(place.connect, clock, ids, place.profile, file_size, retry, retention)
        try:
            if restored is not None:
                replica.begin_with(restored._registry)
            replica.load()
        except BaseException:
            replica.close()
            raise
        engine = cls.__new__(cls)
        engine._serve(replica)
        return engine

    def __repr__(self) -> str:
        # What can be said without the lock and without a database: a debugger asks at any moment.
        clock, stores = type(self.clock).__name__, self.view.stores
        return f"<Engine with {stores:,} vector store{'' if stores == 1 else 's'}, on a {clock}>"

    def compact(self) -> None:
        """Take a snapshot of the stores in the database, and drop what the last but one made superfluous.  O(n).

        An engine does so by itself as its log grows.  In memory there is nothing to do.
        """
        self._registry.compact()

    def close(self) -> None:
        """Close the database, if there is one: every later call raises ``EngineClosed``, but for this one."""
        self._registry.close()
        self.aio.forget_threads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def aio(self) -> AsyncEngine:
        """Both APIs for coroutines, with the same names and arguments: see ``AsyncEngine``."""
        return AsyncEngine(self._registry, self.vector_stores, self.processing)

    @property
    def clock(self) -> Clock:
        """The clock that the engine was given."""
        return self._registry.clock

    @property
    def profile(self) -> Profile:
        """The profile that the engine was given."""
        return self._registry.profile

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Have ``callback`` called with each event after it is applied, in order; return a function that ends it.

        It is called in the thread whose command caused the event, before that command returns, with the
        engine locked: other threads wait, and a callback must not wait for them.  It may give commands itself;
        their events are delivered, to all, after the one at hand.  It is called once for each event, whatever
        is raised: events that a command was interrupted before delivering are delivered by the next call.

        If it raises, the event stands, the other subscribers are still called, and the command raises a
        ``SubscriberError`` whose cause is what was raised, and which has the result of the command.
        """
        return self._registry.subscribe(callback)

    def events(self, vector_store_id: str | None = None, *, after: int = 0) -> Iterator[Event]:
        """Return the events of a store, or of the list of stores, that follow a version, as the log has them.

        Together with ``version`` and ``subscribe`` a follower can fill any gap.  Raise ``EventsForgotten`` if
        they are not all there: an engine in memory keeps none, and one in a database those since its last but
        one snapshot at least.
        """
        validation.integer("after", after, 0)
        return self._registry.events(vector_store_id, after)

    def follow(
        self, callback: Callable[[Event], object], vector_store_id: str | None = None, *, after: int
    ) -> Callable[[], None]:
        """Have ``callback`` called with each event of a store, or of the list of stores, that follows a version.

        Those that have happened come first, from the log, then those to come, as with ``subscribe``: none is
        missing in between, and none comes twice.  Return a function that ends it.  With ``snapshot`` a follower
        may begin anywhere: the snapshot has the version from which to follow.  Raise ``EventsForgotten`` if the
        log does not reach so far back, and what ``callback`` raises for what has happened.
        """
        latest, waiting, ready = after, deque[Event](), False

        def hear(event: Event) -> None:
            version = version_in(vector_store_id, event)
            if version is not None and version > latest:
                if ready:
                    callback(event)
                else:
                    waiting.append(event)

        with self.view.hold():
            unsubscribe = self.subscribe(hear)
            try:
                for event in self.events(vector_store_id, after=after):
                    callback(event)
                    latest = version_in(vector_store_id, event) or latest
                while waiting:  # what was noticed meanwhile, some of which the log gave
                    event = waiting.popleft()
                    if (version_in(vector_store_id, event) or 0) > latest:
                        callback(event)
                ready = True
            except BaseException:
                unsubscribe()
                raise
        return unsubscribe

    def version(self, vector_store_id: str | None = None) -> int:
        """Return the number of the latest event of a store, or of the list of stores.  O(1).

        A follower that has applied the events up to this number is up to date.
        """
        registry = self._registry
        return registry.view(
            lambda: registry.version if vector_store_id is None else registry.store(vector_store_id).version
        )

    def snapshot(self, vector_store_id: str | None = None) -> dict[str, Any]:
        """Return the whole engine, or one store with all that is in it, as plain JSON-able data.  O(n).

        Equal engines have equal snapshots.
        """
        registry = self._registry
        return registry.view(
            lambda: snapshots.copied(
                registry, None if vector_store_id is None else registry.store(vector_store_id)
            )
        )()

    @classmethod
    def restore(
        cls,
        snapshot: dict[str, Any],
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        profile: Profile | None = None,
        file_size: FileSize | None = None,
        retry: Retry | None = None,
        retention: float | None = None,
    ) -> Engine:
        """Return an engine that is equal, in every view, to the one that made the snapshot.  O(n).

        The profile is the snapshot's unless another is given.  Raise ``SnapshotError`` if the snapshot has
        another format, or contradicts itself.
        """
        profile = profile or snapshots.profile_of(snapshot)
        engine = cls(clock=clock, ids=ids, profile=profile, file_size=file_size, retry=retry, retention=retention)
        snapshots.load(engine._registry, snapshot)
        return engine

    def replay(self, events: Iterable[Event]) -> None:
        """Apply events that another engine delivered to its subscribers, on top of what is here.

        Raise ``ReplayError`` at the first event that cannot follow; those before it stand.
        """
        for event in events:
            self._registry.replay(event)

    def check(self) -> None:
        """Recompute every count and index from the attachments.  O(n).

        Raise ``Inconsistent``, which names what differs.
        """
        self._registry.view(self._registry.check)
