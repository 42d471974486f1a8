"""All stores of one engine, the one way in which they change, and the one way in which they are looked at.

A command goes through ``execute``: decide → plan → put → deliver.  A read goes through ``view``.  No other method
locks.

Theory
======

An exception can arrive between any two steps of Python: Ctrl-C, a time-out's signal, a failing allocation, the
recursion limit.  So a command must either not have happened, or be finishable:

*decide*
    A pure function returns the event, or raises what the command is refused with.  Nothing has happened yet.
*plan*
    Everything that the event changes is worked out: new values, what leaves, who is to be called.  Nothing has
    happened yet.
*the commit point*
    One assignment, ``self._unfinished = …``.  Before it nothing has happened, after it everything will.
*put*
    The planned values are assigned.  Every function that does so can be called again with the same arguments.
*deliver*
    The pairs of callback and event are queued, ``self._unfinished = None``, and the callbacks are called.

Whoever locks next, in whatever thread, first finishes what is unfinished: puts again what was planned, and
delivers what is undelivered.  That costs what the command touches.  A command that raised may therefore have
happened, but never by half.

Taking a pair from the queue and calling the callback is one step of C, so that each call is started once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from itertools import islice, repeat, starmap
from math import inf
from operator import call
from sys import maxsize
from threading import RLock
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from vsbatch_core import events as ev
from vsbatch_core import idempotency, validation
from vsbatch_core.claims import ClaimsChange, Retry
from vsbatch_core.clock import Clock, IdSource
from vsbatch_core.due import Due
from vsbatch_core.errors import (
    Contradiction,
    DeletedCursor,
    EventsForgotten,
    IdTaken,
    Inconsistent,
    InvalidSize,
    NestedCommand,
    ReplayError,
    SubscriberError,
    UnknownCursor,
    UnknownFile,
    VectorStoreNotFound,
    VsbatchError,
    shown,
)
from vsbatch_core.listing import Listing, Waiting
from vsbatch_core.model import Idempotency, Profile, VectorStoreFile
from vsbatch_core.rows import IN_PROGRESS
from vsbatch_core.store import PLANS, Put, Store, require_new_key, require_settings, require_version

__all__ = ["FileSize"]

FileSize = Callable[[str], int | None]
"""Called with a file id; returns the file's size in bytes, or ``None`` if there is no such file."""

ALL = object()
"""Stands for the list of stores where a store's id is expected."""

Callback = Callable[[ev.Event], object]
P = ParamSpec("P")
T = TypeVar("T")

_registries: WeakSet[Registry] = WeakSet()


class WouldBlock(BaseException):
    """What was to be read at once cannot be; nothing has happened.

    It is no ``Exception``: who handles the errors of a call is not meant.
    """


class Registry:
    """The stores, in the order in which they were made."""

    blocking = False
    """Whether a call may wait for a disk."""

    def __init__(
        self,
        clock: Clock,
        ids: IdSource,
        profile: Profile,
        file_size: FileSize | None = None,
        retry: Retry | None = None,
        retention: float | None = None,
    ) -> None:
        if retention is not None and not (type(retention) in (int, float) and retention > 0):
            raise ValueError(f"retention={retention!r}: give a number of seconds greater than 0, or None")
        self.lock: Any = RLock()
        self.clock = clock
        self.ids = ids
        self.profile = profile
        self.file_size = file_size
        self.retry = retry or Retry()
        self.retention = inf if retention is None else validation.age("retention", retention)
        self.stores: dict[str, Store] = {}
        """The stores that are there, by id, oldest first."""
        self._clear()
        self._leads = False
        """Whether what is due is made to happen here: whether the latest change was a command, not a replay."""
        self._subscribers: dict[object, Callback] = {}
        self._unfinished: tuple[Put, int, ev.Event | None, tuple[Callback, ...], int] | None = None
        """The command that has happened and may not have been put in full: what is to be put, its event, who
        is to be called with it, and how long the queue was before."""
        self._undelivered: deque[tuple[Callback, ev.Event]] = deque()
        self._calls = starmap(call, map(deque.popleft, repeat(self._undelivered)))
        self._delivering = False
        self._busy = False
        """Whether the thread that holds the lock is in the middle of a read, or between decide and put."""
        _registries.add(self)

    def _clear(self) -> None:
        """Hold no stores, as if nothing had happened yet."""
        self.at = 0.0
        """The latest time at which a store was made or deleted."""
        self.version = 0
        """How many events the list of stores has seen: creations and deletions."""
        self.stores.clear()
        self.listing = Listing(self.profile.limits.departed)
        """The list of stores."""
        self.keys = idempotency.NO_KEYS
        """The idempotency keys of the creates of stores."""
        self._waiting = Waiting(self._oldest_in_progress)
        """The stores with files in progress, by the time of the oldest of these."""
        self.due = Due(self.stores, self.listing, self.retry, self.retention, self._commit, self._touch_claimable)
        """What time makes due in the stores: claims that lapse, and stores that expire."""
        self._claimable: Waiting | None = None
        """The stores by the time of the oldest attachment that can be claimed; made when it is first needed."""

    # The one way in, and the one way to look

    def execute(
        self,
        vector_store_id: Any,
        decide: Callable[[Any, float], ev.Event | ClaimsChange | None],
        result: Callable[[Any, Any], T],
        *,
        replaying: bool = False,
    ) -> T:
        """Run one command; return ``result(subject, event)``, worked out before any callback is called.

        ``decide(subject, now)`` returns the event, or ``None`` if there is nothing to do, or raises; it is called
        again if what it decided could not be kept.  The subject is the store with this id, or the registry itself
        for ``ALL``.  What changes claims alone is decided and put as an event is, and is neither numbered nor
        delivered.  ``replaying`` says that the event comes from another engine: the clock is not asked, and
        nothing becomes due.  Raise
        ``VectorStoreNotFound``, ``NestedCommand``, or what ``decide`` raises, and change nothing; raise
        ``SubscriberError`` if callbacks raised.
        """
        lock = self.lock
        if lock._is_owned():  # within a callback, or in a context of ``View.hold``
            if self._busy:
                raise NestedCommand
            return self._execute(vector_store_id, decide, result, replaying)
        try:
            try:
                lock.acquire()
                self._delivering = False  # if it is not, an exception ended the call that delivered
                return self._execute(vector_store_id, decide, result, replaying)
            finally:
                if lock._is_owned():
                    lock.release()
        except BaseException:  # of any kind: another one may have arrived before the lock was released
            if lock._is_owned():
                lock.release()
            raise

    def _execute(
        self,
        vector_store_id: Any,
        decide: Callable[[Any, float], ev.Event | ClaimsChange | None],
        result: Callable[[Any, Any], T],
        replaying: bool,
    ) -> T:
        if self._unfinished is not None:
            self._finish()
        try:
            self._busy = True
            if replaying:
                self._leads, time = False, 0.0
            else:
                time = self._time()
                self._leads = True
                if time >= self.due.look_at:
                    self.due.settle(time)
            subject: Any = self if vector_store_id is ALL else self.store(vector_store_id)
            now = max(subject.at, time)
            event = decide(subject, now)
            if event is not None:
                self._commit(event)
                if self.due.over and not replaying:
                    self.due.settle(time)
            value = result(subject, event)
        except Exception as error:
            self._busy = False
            if self._undelivered:  # the command is refused, but what was due has happened
                self._deliver(refusal=error)
            raise
        finally:
            self._busy = False
        if self._undelivered:
            self._deliver(value)
        return value

    def view(self, read: Callable[..., T], *arguments: Any) -> T:
        """Return ``read(*arguments)``, called when no command is under way."""
        lock = self.lock
        if lock._is_owned():  # within a callback, or in a context of ``View.hold``
            if self._unfinished is not None and self._busy:
                raise NestedCommand
            return self._view(read, arguments)
        try:
            try:
                lock.acquire()
                if self._unfinished is None and not self._undelivered and self.due.look_at == inf:
                    self._busy = True
                    return read(*arguments)
                self._delivering = self._busy = False  # if one is not, an exception ended the call that set it
                return self._view(read, arguments)
            finally:
                if lock._is_owned():
                    self._busy = False
                    lock.release()
        except BaseException:  # of any kind: another one may have arrived before the lock was released
            if lock._is_owned():
                lock.release()
            raise

    def at_once(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return ``read(…)``; raise ``WouldBlock`` if a call that it makes has to wait, or is a command.

        Here nothing waits longer than a command takes, and all is called.
        """
        return read(*arguments, **named)

    def _view(self, read: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        self._finish()
        before = self._busy
        try:
            self._busy = True
            if self._leads and self.due.look_at < inf and not before:
                self._settle()
            value = read(*arguments)
        except Exception as error:
            self._busy = before
            if self._undelivered and not before:  # there is nothing to read, but what was due has happened
                self._deliver(refusal=error)
            raise
        finally:
            self._busy = before
        if self._undelivered and not before:
            self._deliver(value)
        return value

    def _settle(self) -> None:
        """Make what is due happen."""
        now = self._time()
        if now >= self.due.look_at:
            self.due.settle(now)

    def _commit(self, event: ev.Event | ClaimsChange) -> None:
        """Make an event that was validated, or a change of claims, happen."""
        if isinstance(event, ClaimsChange):
            self._unfinished = ((self.due.put_claims, (event,)), 0, None, (), 0)
            self._finish()
            return
        if type(event) is ev.VectorStoreCreated:
            store = Store(event, self.profile, self.listing.next)
            forgotten = idempotency.oldest(self.keys, self.profile.limits.idempotency_keys)
            put: Put = (self._put_created, (store, forgotten, event))
        elif type(event) is ev.VectorStoreDeleted:
            store = self.stores[event.vector_store_id]
            put = (self._put_deleted, (store, self.listing.oldest(), event))
        else:
            store = self.stores[event.vector_store_id]
            put = PLANS[type(event)](store, event)
        self._unfinished = (put, store.number, event, tuple(self._subscribers.values()), len(self._undelivered))
        self._finish()

    def _finish(self) -> None:
        """Put what has happened, if it was not put in full, and queue its event."""
        unfinished = self._unfinished
        if unfinished is None:
            return
        (put, arguments), number, event, callbacks, before = unfinished
        put(*arguments)
        if event is None:
            self._unfinished = None
            return
        if type(event) is ev.VectorStoreDeleted:
            self._waiting.remove(number)
            if self._claimable is not None:
                self._claimable.remove(number)
        elif type(event) is not ev.VectorStoreCreated or event.file_ids:
            self._waiting.touch(number)
            self._touch_claimable(number)
        if type(event) is ev.VectorStoreCreated or type(event) is ev.VectorStoreUpdated:
            self.due.note_expiry(self.stores[event.vector_store_id])
        elif type(event) is ev.FileBatchCancelled:
            store = self.stores[event.vector_store_id]
            self.due.note_draining(store, store.batches[event.batch_id])
        if self.retention < inf and type(event) is not ev.VectorStoreDeleted:
            self.due.note_finished(self.stores[event.vector_store_id])
        undelivered = self._undelivered
        if callbacks:
            while len(undelivered) > before:  # queued by the call that was interrupted
                undelivered.pop()
            undelivered.extend(zip(callbacks, repeat(event)))
        self._unfinished = None

    def _deliver(self, result: object = None, refusal: BaseException | None = None) -> None:
        """Call the callbacks that are queued, unless a call that is under way does so; raise what they raised.

        The error that is raised carries what became of the call that delivers.
        """
        raise_from([error for _, error in self._call_subscribers()], result, refusal)

    def _call_subscribers(self) -> list[tuple[ev.Event, BaseException]]:
        """Call the callbacks that are queued, unless a call that is under way does so.

        Return what they raised, with the events that they were called with.
        """
        raised: list[tuple[ev.Event, BaseException]] = []
        if self._delivering:
            return raised
        undelivered, calls = self._undelivered, self._calls
        try:
            self._delivering = True
            while True:
                self._finish()
                if not undelivered:
                    break
                first = undelivered[0]
                try:
                    next(calls)
                except BaseException as error:  # noqa: BLE001 - raised when all the others have been called
                    raised.append((first[1], error))
                    if undelivered and undelivered[0] is first:
                        break  # near the recursion limit it was not even taken: a later call has room for it
        finally:
            self._delivering = False
        return raised

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """See ``Engine.subscribe``."""
        token = object()

        def unsubscribe() -> None:
            self.view(self._subscribers.pop, token, None)

        def subscribed() -> Callable[[], None]:
            self._subscribers[token] = callback
            return unsubscribe

        return self.view(subscribed)

    @property
    def subscribers(self) -> int:
        """Return how many callbacks are subscribed."""
        return len(self._subscribers)

    # Reading

    def events(self, vector_store_id: str | None, after: int) -> Iterator[ev.Event]:
        """See ``Engine.events``: nothing is kept here."""
        latest = self.view(
            lambda: self.version if vector_store_id is None else self.store(vector_store_id).version
        )
        if after < latest:
            raise EventsForgotten(vector_store_id, after, latest + 1)
        return iter(())

    def compact(self) -> int:
        """See ``Engine.compact``: there is nothing to do."""
        return 0

    def close(self) -> None:
        """See ``Engine.close``: there is nothing to close."""

    def store(self, vector_store_id: Any) -> Store:
        """Return the store; raise ``InvalidType``, ``InvalidId`` or ``VectorStoreNotFound``.  O(1)."""
        try:
            return self.stores[vector_store_id]
        except (KeyError, TypeError):  # TypeError: an argument that cannot be hashed
            validation.own_id("vector_store_id", vector_store_id, "vs_")
            raise VectorStoreNotFound(vector_store_id) from None

    def place(self, param: str, vector_store_id: str) -> int:
        """Return the place of a cursor in the list of stores; raise ``UnknownCursor`` or ``DeletedCursor``."""
        number = self.listing.numbers.get(vector_store_id)
        if number is None:
            raise UnknownCursor(param, vector_store_id, "vector stores")
        if self.profile.deleted_cursor == "refuse" and vector_store_id not in self.stores:
            raise DeletedCursor(param, vector_store_id, "vector stores")
        return number

    def _time(self) -> float:
        """Return the clock's time; raise ``InvalidTime``."""
        time = self.clock.time()
        if type(time) is not float or not -inf < time < inf:
            validation.time("clock.time()", time)
        return time

    def now(self, subject: Store | Registry) -> float:
        """Return the time of the next event: the clock's, but never before what the subject has seen."""
        return max(subject.at, self._time())

    def pending(self, store: Store | None, limit: int) -> list[VectorStoreFile]:
        """Return the oldest attachments in progress, of one store or of all.

        Across stores they come by ``created_at``, ties by the age of the store (choice).  O(log b + limit)
        for one store; O(limit (log s + log b)) for all, s stores having files in progress.
        """
        if store is not None:
            return store.rows.values(store.rows.present.ascending(IN_PROGRESS, 0, store.rows.next, limit))
        oldest = self._oldest_first(self._waiting, lambda store: store.rows.each_in_progress(0))
        return [store.rows.value(row) for store, row in islice(oldest, min(limit, maxsize))]

    def claimable(self, store: Store | None) -> Iterator[tuple[Store, int]]:
        """Return the attachments that can be claimed, the oldest first, in the order of ``pending``."""
        if store is not None:
            return zip(repeat(store), store.each_claimable())
        if self._claimable is None:
            claimable = Waiting(self._oldest_claimable)
            for each in self.stores.values():
                claimable.touch(each.number)
            self._claimable = claimable
        return self._oldest_first(self._claimable, Store.each_claimable)

    def _touch_claimable(self, number: int) -> None:
        """Note that the attachments of a store that can be claimed have changed."""
        if self._claimable is not None:
            self._claimable.touch(number)

    def _oldest_first(
        self, order: Iterable[tuple[int, int]], rows_of: Callable[[Store], Iterator[int]]
    ) -> Iterator[tuple[Store, int]]:
        """Return attachments by ``created_at``, then by the age of their stores.

        ``order`` gives the stores, as the time of the first of their attachments and their number.
        """
        heads = iter(order)
        # One entry for each store that is being read, whose number tells it from all others.
        reading: list[tuple[int, int, int, Store, Iterator[int]]] = []
        head = next(heads, None)
        while reading or head is not None:
            if head is not None and (not reading or head < reading[0][:2]):
                store = self._numbered(head[1])
                rows = rows_of(store)
                heappush(reading, (*head, next(rows), store, rows))
                head = next(heads, None)
                continue
            _, number, row, store, rows = reading[0]
            yield store, row
            following = next(rows, None)
            if following is None:
                heappop(reading)
            else:
                heapreplace(reading, (store.rows.created_at(following), number, following, store, rows))

    def _numbered(self, number: int) -> Store:
        return self.stores[self.listing.id(number)]

    def _oldest_in_progress(self, number: int) -> int | None:
        store = self.stores.get(self.listing.id(number))
        return None if store is None else store.oldest_in_progress()

    def _oldest_claimable(self, number: int) -> int | None:
        store = self.stores.get(self.listing.id(number))
        row = None if store is None else next(store.each_claimable(), None)
        return None if store is None or row is None else store.rows.created_at(row)

    # What the host is asked, without the lock

    def require_known(self, param: str, file_ids: Iterable[str], key: Idempotency | None) -> UnknownFile | None:
        """Ask the host for each file, which ``param`` named; raise ``UnknownFile``.

        Return it if the request has a key: a repetition is not refused for a file that the host has lost since.
        """
        if self.file_size is not None:
            for file_id in file_ids:
                if self.size(file_id) is None:
                    unknown = UnknownFile(param, file_id)
                    if key is None:
                        raise unknown
                    return unknown
        return None

    def size(self, file_id: str) -> int | None:
        """Return what the host says of a file; ``None`` if it knows of none.  Raise ``InvalidSize``."""
        if self.file_size is None:
            return None
        size: Any = self.file_size(file_id)
        if size is not None and (type(size) is not int or not 0 <= size <= validation.MAX_BYTES):
            raise InvalidSize(file_id, size)
        return size

    def new_id(self, prefix: str, taken: Iterable[str]) -> str:
        """Return a new id from the source; raise ``IdTaken`` if it is not new or has another prefix."""
        new: Any = self.ids(prefix)
        if not isinstance(new, str) or not new.startswith(prefix) or new in taken:
            raise IdTaken(new, prefix)
        return new

    # Putting: each of these only assigns

    def _put_created(self, store: Store, forgotten: str | None, event: ev.VectorStoreCreated) -> None:
        self.keys = idempotency.keep(self.keys, event.idempotency, store.id, forgotten)
        self.listing.join(store.id, store.number)
        self.stores[store.id] = store
        self.at = event.at
        self.version = event.stores_version

    def _put_deleted(self, store: Store, oldest: tuple[str, int] | None, event: ev.VectorStoreDeleted) -> None:
        self.listing.leave(store.id, store.number, oldest)
        self.stores.pop(store.id, None)
        self.at = event.at
        self.version = event.stores_version

    # Replaying and restoring

    def replay(self, event: ev.Event) -> None:
        """Make an event from elsewhere happen here; raise ``ReplayError`` and change nothing."""
        if type(event) not in ev.EVENT_TYPES:
            raise ReplayError(
                f"{shown(event)} is not an event of vsbatch_core.events but a {type(event).__name__}: "
                "give what subscribers received, or what from_wire returned"
            )
        self.execute(
            ALL, lambda _registry, _now: self._required(event), lambda _registry, _event: None, replaying=True
        )

    def _required(self, event: ev.Event) -> ev.Event:
        """Return the event; raise ``ReplayError`` if no command could have led to it here."""
        try:
            at = validation.time("at", event.at)
            if isinstance(event, ev.VectorStoreCreated):
                limits = self.profile.limits
                validation.own_id("vector_store_id", event.vector_store_id, "vs_")
                if event.vector_store_id in self.listing.numbers:
                    raise IdTaken(event.vector_store_id, "vs_")
                validation.require_description(event.description)
                require_settings(event, self.profile)
                validation.require_new_files(event, limits, minimum=0, maximum=limits.store_files)
                require_version("version", event.version, 0)
                require_new_key(self.keys, event)
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
        return event

    def restore(
        self,
        at: float,
        version: int,
        stores: Iterable[tuple[str, Store | None]],
        departed: list[str],
        keys: idempotency.Keys,
    ) -> None:
        """Fill an empty registry; ``stores`` has ``None`` for one that was deleted, ``departed`` their order."""
        self.at, self.version, self.keys = at, version, keys
        for id, store in stores:
            number = self.listing.next
            self.listing.join(id, number)
            if store is not None:
                store.number = number
                self.stores[id] = store
                self._waiting.touch(number)
                self.due.note_expiry(store)
                self.due.note_finished(store)
                for batch in store.batches.values():
                    self.due.note_draining(store, batch)
        for id in departed:
            self.listing.leave(id, self.listing.numbers[id], self.listing.oldest())

    # Proving

    def check(self) -> None:
        """See ``Engine.check``."""
        self.listing.check("the vector stores")
        idempotency.check(self.keys, self.profile.limits.idempotency_keys, "the list of vector stores")
        waiting: dict[int, int] = {}
        here = [id for id, there in self.listing if there]
        if here != list(self.stores):
            raise Inconsistent("the order of the vector stores", list(self.stores), here)
        for id, store in self.stores.items():
            store.check()
            if store.number != self.listing.numbers[id]:
                raise Inconsistent(f"the number of vector store '{id}'", store.number, self.listing.numbers[id])
            oldest = store.oldest_in_progress()
            if oldest is not None:
                waiting[store.number] = oldest
        self.due.check()
        self._waiting.check("the stores with files in progress", waiting)
        if self._claimable is not None:
            times = {store.number: self._oldest_claimable(store.number) for store in self.stores.values()}
            claimable = {number: time for number, time in times.items() if time is not None}
            self._claimable.check("the stores with files to claim", claimable)


def raise_from(raised: list[BaseException], result: object = None, refusal: BaseException | None = None) -> None:
    """Raise what says that callbacks raised these, if they did: Ctrl-C inside one of them before all else.

    ``result`` and ``refusal`` are those of ``SubscriberError``.
    """
    if not raised:
        return
    interrupts = [error for error in raised if not isinstance(error, Exception)]
    errors = [error for error in raised if isinstance(error, Exception)]
    cause = ExceptionGroup("subscribers raised", errors) if errors else None
    if interrupts:
        raise interrupts[0] from cause
    raise SubscriberError(len(errors), result, refusal) from cause


def _after_fork() -> None:
    """Give each engine a lock in a child process: another thread, which is not in the child, may have held it."""
    for registry in _registries:
        if not registry.lock._is_owned():
            registry.lock = RLock()


getattr(os, "register_at_fork", dict)(after_in_child=_after_fork)  # not on every platform
