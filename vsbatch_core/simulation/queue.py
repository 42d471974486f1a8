"""The files that wait for a worker, and in which order they are taken.

A line holds attachment numbers, an interval for all that was attached together.  A number never comes again,
so a file that was cancelled, deleted, finished or attached anew while it waited needs no searching for: it is
seen to have ended when its turn comes, and is passed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random
from typing import Any, cast

from vsbatch_core.model import VectorStoreFile
from vsbatch_core.view import View

Ticket = tuple[str, int, float]
"""A file that was taken: its store's id, its attachment, and when it began to wait."""

KeyFunction = Callable[[VectorStoreFile], Any]
"""Returns what a file is ordered by; the smallest is taken first, of equals the one that came first."""


class Fifo:
    """First come, first served.  16 bytes a batch and nothing a file; every method is O(1) for each file."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._parts: deque[list[Any]] = deque()
        """For each arrival: its store, the next attachment, the one after the last, and when it came."""

    def put(self, store: str, start: int, stop: int, at: float) -> None:
        """Have ``start <= attachment < stop`` wait: one or more."""
        self._parts.append([store, start, stop, at])

    def put_back(self, ticket: Ticket) -> None:
        """Have what was taken last be the next again."""
        store, attachment, at = ticket
        self._parts.appendleft([store, attachment, attachment + 1, at])

    def take(self) -> Ticket | None:
        """The next file that is still in progress, which then waits no more; ``None`` if none is."""
        parts = self._parts
        while parts:
            part = parts[0]
            store, start, stop, at = part
            found = self._view.in_progress(store, start, stop, 1)
            if found and found[0] + 1 < stop:
                part[1] = found[0] + 1
            else:
                del parts[0]
            if found:
                return store, found[0], at
        return None

    def clear(self) -> None:
        """Have nothing wait any more."""
        self._parts.clear()


class Lifo(Fifo):
    """Last come, first served; of files attached together, the last.  Costs as ``Fifo``."""

    def put_back(self, ticket: Ticket) -> None:
        """See ``Fifo``."""
        store, attachment, at = ticket
        self._parts.append([store, attachment, attachment + 1, at])

    def take(self) -> Ticket | None:
        """See ``Fifo``."""
        parts = self._parts
        while parts:
            part = parts[-1]
            store, start, stop, at = part
            found = self._view.last_in_progress(store, start, stop)
            if found is not None and start < found:
                part[2] = found
            else:
                del parts[-1]
            if found is not None:
                return store, found, at
        return None


class AtRandom(Fifo):
    """Any of those that wait, all equally likely.  O(1) for each file, some 100 bytes each."""

    def __init__(self, view: View, random: Random) -> None:
        super().__init__(view)
        self._random = random
        self._tickets: list[Ticket] = []
        self._next: Ticket | None = None

    def put(self, store: str, start: int, stop: int, at: float) -> None:
        """See ``Fifo``."""
        self._tickets += [(store, attachment, at) for attachment in range(start, stop)]

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
            if self._view.status(*ticket[:2]) == "in_progress":
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

    def __init__(self, view: View, key: KeyFunction) -> None:
        super().__init__(view)
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
                file = cast("VectorStoreFile", self._view.file(*ticket[:2]))
                heappush(self._heap, (self._key(file), sequence, ticket))
            except BaseException:  # the function raised, or answered what cannot be compared
                self._heap = [entry for entry in self._heap if entry[1] != sequence]
                heapify(self._heap)
                super().put_back(ticket)
                raise
        while self._heap:
            entry = self._taken = heappop(self._heap)
            taken: Ticket = entry[2]
            if self._view.status(*taken[:2]) == "in_progress":
                return taken
        return None

    def clear(self) -> None:
        """See ``Fifo``."""
        super().clear()
        self._heap.clear()
