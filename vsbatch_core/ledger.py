"""All stores of one engine, and the one way in which they change: an event is applied, then told.

A command of either face is **validate → event → apply**.  It asks the ledger for the store, checks everything
without changing anything, and commits one event.  The ledger's lock is held from the check to the end of the
telling, so commands from many threads come one after the other, and subscribers hear of them in that order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heapreplace
from threading import RLock
from typing import Any

from vsbatch_core import events as ev
from vsbatch_core import validation
from vsbatch_core.clock import Clock, IdSource
from vsbatch_core.errors import (
    Contradiction,
    IdTaken,
    Inconsistent,
    InvalidSize,
    ReplayError,
    SubscriberError,
    UnknownCursor,
    UnknownFile,
    VectorStoreNotFound,
    VsbatchError,
    shown,
)
from vsbatch_core.index import Gaps, Ranking
from vsbatch_core.model import Profile, VectorStoreFile
from vsbatch_core.store import Store, require_settings, require_version

__all__ = ["KnownFile"]

KnownFile = Callable[[str], int | None]
"""Called with a file id; answers the file's size in bytes, or ``None`` if there is no such file."""


class Ledger:
    """The stores, in the order in which they were made."""

    def __init__(
        self, clock: Clock, ids: IdSource, profile: Profile, known_file: KnownFile | None = None
    ) -> None:
        self.lock = RLock()
        self.clock = clock
        self.ids = ids
        self.profile = profile
        self.known_file = known_file
        self.at = 0.0
        """The latest time at which a store was made or deleted."""
        self.version = 0
        """How many events the list of stores has seen: creations and deletions."""
        self.stores: dict[str, Store] = {}
        """The stores that are there, by id, oldest first."""
        self.ids_made: list[str] = []
        """The ids of all stores ever made, by number."""
        self.numbers: dict[str, int] = {}
        self.gone = Gaps()
        """The numbers of the stores that were deleted."""
        self._waiting = Ranking()
        """The stores with files in progress, by the time of the oldest of these."""
        self._subscribers: dict[object, Callable[[ev.Event], object]] = {}
        self._callbacks: tuple[Callable[[ev.Event], object], ...] = ()
        """The subscribers' values: made anew when these change, not for each event."""
        self._untold: deque[ev.Event] = deque()
        self._telling = False

    # Reading

    def store(self, vector_store_id: Any) -> Store:
        """The store; raise ``InvalidType``, ``InvalidId`` or ``VectorStoreNotFound``.  O(1)."""
        try:
            return self.stores[vector_store_id]
        except (KeyError, TypeError):  # TypeError: an argument that can not be hashed
            validation.own_id("vector_store_id", vector_store_id, "vs_")
            raise VectorStoreNotFound(vector_store_id) from None

    def place(self, param: str, vector_store_id: str) -> int:
        """The place of a cursor in the list of stores, whether or not the store is still there."""
        number = self.numbers.get(vector_store_id)
        if number is None:
            raise UnknownCursor(param, vector_store_id, "vector stores")
        return number

    def pending(self, store: Store | None, limit: int) -> list[VectorStoreFile]:
        """The oldest attachments in progress, of one store or of all.

        Across stores they come by ``created_at``, ties by the age of the store (choice).  O(log n + limit) for
        one store; O(limit (log s + log n)) for all, s stores having files in progress.
        """
        if store is not None:
            numbers = store.here["in_progress"].ascending(0, len(store.rows), limit)
            return [store.rows[number] for number in numbers]
        found: list[VectorStoreFile] = []
        heads = iter(self._waiting)
        # One entry for each store that is being read: when its next file came, which store, which row.
        reading: list[tuple[int, int, int]] = []
        head = next(heads, None)
        while len(found) < limit and (reading or head is not None):
            if head is not None and (not reading or head < reading[0][:2]):
                reading.append((*head, self._in_progress(head[1], 0)))
                heapify(reading)
                head = next(heads, None)
                continue
            _, number, row = reading[0]
            rows = self._numbered(number).rows
            found.append(rows[row])
            row = self._in_progress(number, row + 1)
            if row < 0:
                heappop(reading)
            else:
                heapreplace(reading, (rows[row].created_at, number, row))
        return found

    def _numbered(self, number: int) -> Store:
        return self.stores[self.ids_made[number]]

    def _in_progress(self, number: int, low: int) -> int:
        store = self._numbered(number)
        following = store.here["in_progress"].ascending(low, len(store.rows), 1)
        return following[0] if following else -1

    def require_known(self, param: str, files: Iterable[validation.NewFile]) -> None:
        """Ask the host for each file, which ``param`` named; raise ``UnknownFile``."""
        if self.known_file is not None:
            for file_id, _, _ in files:
                if self.size(file_id) is None:
                    raise UnknownFile(param, file_id)

    def size(self, file_id: str) -> int | None:
        """What the host says of a file; ``None`` if it knows of none.  Raise ``InvalidSize``."""
        if self.known_file is None:
            return None
        size: Any = self.known_file(file_id)
        if size is not None and (type(size) is not int or not 0 <= size <= validation.MOST_BYTES):
            raise InvalidSize(file_id, size)
        return size

    def new_id(self, prefix: str, taken: Iterable[str]) -> str:
        """A new id from the source; raise ``IdTaken`` if it is not new or has another prefix."""
        new: Any = self.ids(prefix)
        if not isinstance(new, str) or not new.startswith(prefix) or new in taken:
            raise IdTaken(new, prefix)
        return new

    def now(self, store: Store | None = None) -> float:
        """The time of the next event: the clock's, but never before what the store has seen."""
        return max(validation.time("clock.time()", self.clock.time()), self.at if store is None else store.at)

    # Changing

    def commit(self, event: ev.Event) -> None:
        """Apply an event that was validated, then tell the subscribers."""
        self._apply(event)
        if self._callbacks:
            self._tell(event)

    def replay(self, event: ev.Event) -> None:
        """Validate an event from elsewhere, then commit it; raise ``ReplayError`` and change nothing."""
        if type(event) not in ev.EVENT_TYPES:
            raise ReplayError(
                f"{shown(event)} is not an event of vsbatch_core.events but a {type(event).__name__}: "
                "give what subscribers received, or what from_wire returned"
            )
        try:
            at = validation.time("at", event.at)
            if isinstance(event, ev.VectorStoreCreated):
                limits = self.profile.limits
                validation.own_id("vector_store_id", event.vector_store_id, "vs_")
                if event.vector_store_id in self.numbers:
                    raise IdTaken(event.vector_store_id, "vs_")
                validation.require_description(event.description)
                require_settings(event, limits)
                validation.require_new_files(
                    "files", event.files, event.vector_store_id, at, limits, least=0, most=limits.store_files
                )
                require_version("version", event.version, 0)
                require_version("stores_version", event.stores_version, self.version)
                latest = self.at
            else:
                store = self.store(event.vector_store_id)
                require_version("version", event.version, store.version)
                latest = store.at
                if isinstance(event, ev.VectorStoreDeleted):
                    require_version("stores_version", event.stores_version, self.version)
                    latest = max(latest, self.at)
                store.require(event)
            if at < latest:
                raise Contradiction("at", f"{shown(at)} lies before {shown(latest)}, the latest time seen here")
        except VsbatchError as error:
            raise ReplayError(
                f"{type(event).__name__} of vector store {shown(event.vector_store_id)} cannot follow this "
                f"state: {error} Replay events as they were delivered, each once and in order.",
                param=error.param,
            ) from error
        self.commit(event)

    def _apply(self, event: ev.Event) -> None:
        if type(event) is ev.VectorStoreCreated:
            self.add(event.vector_store_id, Store(event, self.profile))
            self.at = event.at
            self.version = event.stores_version
        elif type(event) is ev.VectorStoreDeleted:
            number = self.numbers[event.vector_store_id]
            self.gone.add(number, number + 1)
            self._waiting.put(number, None)
            del self.stores[event.vector_store_id]
            self.at = event.at
            self.version = event.stores_version
        else:
            store = self.stores[event.vector_store_id]
            store.apply(event)
            self._waiting.put(self.numbers[store.id], store.oldest_in_progress())

    def add(self, id: str, store: Store | None) -> None:
        """Put a store at the end of the list; ``None`` for one that was deleted."""
        number = self.numbers[id] = len(self.ids_made)
        self.ids_made.append(id)
        if store is None:
            self.gone.add(number, number + 1)
        else:
            self.stores[id] = store
            self._waiting.put(number, store.oldest_in_progress())

    def subscribe(self, callback: Callable[[ev.Event], object]) -> Callable[[], None]:
        """See ``Engine.subscribe``."""
        token = object()
        with self.lock:
            self._subscribers[token] = callback
            self._callbacks = tuple(self._subscribers.values())

        def unsubscribe() -> None:
            with self.lock:
                self._subscribers.pop(token, None)
                self._callbacks = tuple(self._subscribers.values())

        return unsubscribe

    def _tell(self, event: ev.Event) -> None:
        untold = self._untold
        untold.append(event)
        if self._telling:
            return  # A subscriber gave a command: the telling that called it goes on with this event.
        self._telling = True
        raised: list[BaseException] = []
        try:
            while untold:
                event = untold.popleft()
                for callback in self._callbacks:
                    try:
                        callback(event)
                    except BaseException as error:  # noqa: BLE001 - told to all the others, then raised
                        raised.append(error)
        finally:
            self._telling = False
        if not raised:
            return
        interrupts = [error for error in raised if not isinstance(error, Exception)]
        errors = [error for error in raised if isinstance(error, Exception)]
        cause = ExceptionGroup("subscribers raised", errors) if errors else None
        if interrupts:  # Ctrl-C inside a subscriber
            raise interrupts[0] from cause
        raise SubscriberError(len(errors)) from cause

    # Proving

    def check(self) -> None:
        """See ``Engine.check``."""
        waiting: dict[int, int] = {}
        for number, id in enumerate(self.ids_made):
            store = self.stores.get(id)
            if (number in self.gone) is not (store is None):
                raise Inconsistent(f"vector store '{id}' in the list", number not in self.gone, store is not None)
            if store is not None:
                store.check()
                oldest = store.oldest_in_progress()
                if oldest is not None:
                    waiting[number] = oldest
        self.gone.check("the deleted stores", len(self.ids_made))
        numbers = {id: number for number, id in enumerate(self.ids_made)}
        if self.numbers != numbers:
            raise Inconsistent("the numbers of the stores", self.numbers, numbers)
        if [numbers[id] for id in self.stores] != sorted(numbers[id] for id in self.stores):
            raise Inconsistent("the order of the stores", list(self.stores), "the order of their making")
        self._waiting.check("the stores with files in progress", waiting)
