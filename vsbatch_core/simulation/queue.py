"""The files that wait for a worker, and in which order they are taken.

A line holds *rows*, an interval of a store's numbers for all that was attached together.  A row never comes
again, so a file that was cancelled, deleted, finished or attached anew while it waited needs no searching for: it
is seen to have ended when its turn comes, and is passed over in no time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random
from typing import Any

from vsbatch_core.model import VectorStoreFile
from vsbatch_core.store import Store

Ticket = tuple[Store, int, float]
"""A file that was taken: its store, its row there, and when it began to wait."""

Stores = dict[str, Store]
"""The stores that are there."""

KeyFunction = Callable[[VectorStoreFile], Any]
"""Answers what a file is ordered by; the least is taken first, of equals the one that came first."""


class Fifo:
    """First come, first served.  16 bytes a batch and nothing a file; every method is O(1) for each file."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._parts: deque[list[Any]] = deque()
        """For each arrival: its store, the next row, the row after the last, and when it came."""

    def put(self, store: Store, start: int, stop: int, at: float) -> None:
        """Have ``start <= row < stop`` wait: one row or more."""
        self._parts.append([store, start, stop, at])

    def put_back(self, ticket: Ticket) -> None:
        """Have what was taken last be the next again."""
        store, row, at = ticket
        self._parts.appendleft([store, row, row + 1, at])

    def take(self) -> Ticket | None:
        """The next file that is still in progress, which then waits no more; ``None`` if none is."""
        parts = self._parts
        while parts:
            part = parts[0]
            store: Store = part[0]
            _, row, stop, at = part
            if self._stores.get(store.id) is store:
                rows = store.rows
                while row < stop:
                    if rows[row].status == "in_progress":
                        if row + 1 < stop:
                            part[1] = row + 1
                        else:
                            del parts[0]
                        return store, row, at
                    row += 1
            del parts[0]
        return None

    def clear(self) -> None:
        """Have nothing wait any more."""
        self._parts.clear()


class Lifo(Fifo):
    """Last come, first served; of files attached together, the last.  Costs as ``Fifo``."""

    def put_back(self, ticket: Ticket) -> None:
        """See ``Fifo``."""
        store, row, at = ticket
        self._parts.append([store, row, row + 1, at])

    def take(self) -> Ticket | None:
        """See ``Fifo``."""
        parts = self._parts
        while parts:
            part = parts[-1]
            store: Store = part[0]
            _, start, stop, at = part
            if self._stores.get(store.id) is store:
                while start < stop:
                    stop -= 1
                    if store.rows[stop].status == "in_progress":
                        if start < stop:
                            part[2] = stop
                        else:
                            del parts[-1]
                        return store, stop, at
            del parts[-1]
        return None


class AtRandom(Fifo):
    """Any of those that wait, all equally likely.  O(1) for each file, some 100 bytes each."""

    def __init__(self, stores: Stores, random: Random) -> None:
        super().__init__(stores)
        self._random = random
        self._tickets: list[Ticket] = []
        self._next: Ticket | None = None

    def put(self, store: Store, start: int, stop: int, at: float) -> None:
        """See ``Fifo``."""
        self._tickets += [(store, row, at) for row in range(start, stop)]

    def put_back(self, ticket: Ticket) -> None:
        """See ``Fifo``."""
        self._next = ticket

    def take(self) -> Ticket | None:
        """See ``Fifo``."""
        tickets = self._tickets
        while tickets or self._next is not None:
            if self._next is not None:
                ticket, self._next = self._next, None
            else:
                i = self._random.randrange(len(tickets))
                tickets[i], tickets[-1] = tickets[-1], tickets[i]
                ticket = tickets.pop()
            store, row, _ = ticket
            if self._stores.get(store.id) is store and store.rows[row].status == "in_progress":
                return ticket
        return None

    def clear(self) -> None:
        """See ``Fifo``."""
        self._tickets.clear()
        self._next = None


class Keyed(Fifo):
    """The least key first.  O(log n) for each file, n waiting, some 200 bytes each.

    The key of a file is asked for once, when a worker is next looking for a file: not in the command that
    attached it, which must not fail because of it.
    """

    def __init__(self, stores: Stores, key: KeyFunction) -> None:
        super().__init__(stores)
        self._key = key
        self._heap: list[tuple[Any, int, Ticket]] = []
        self._sequence = count()
        self._taken: Any = None
        """The entry that was taken last."""

    def put_back(self, ticket: Ticket) -> None:  # noqa: ARG002 - its key is still known
        """See ``Fifo``."""
        heappush(self._heap, self._taken)

    def take(self) -> Ticket | None:
        """See ``Fifo``."""
        while (ticket := super().take()) is not None:
            sequence = next(self._sequence)
            try:
                heappush(self._heap, (self._key(ticket[0].rows[ticket[1]]), sequence, ticket))
            except BaseException:  # the function raised, or answered what cannot be compared
                self._heap = [entry for entry in self._heap if entry[1] != sequence]
                heapify(self._heap)
                super().put_back(ticket)
                raise
        while self._heap:
            entry = self._taken = heappop(self._heap)
            taken: Ticket = entry[2]
            store, row, _ = taken
            if self._stores.get(store.id) is store and store.rows[row].status == "in_progress":
                return taken
        return None

    def clear(self) -> None:
        """See ``Fifo``."""
        super().clear()
        self._heap.clear()
