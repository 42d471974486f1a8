"""The files that wait for a worker, and in which order they are taken.

A line holds attachment numbers, an interval for all that was attached together.  A number never comes again,
so a file that was cancelled, deleted, finished or attached anew while it waited needs no searching for: it is
seen to have ended when its turn comes, and is passed over.

Looking at the engine costs more than anything else here, so the next files are looked at together and kept until
the engine changes otherwise than by the end of a file that a worker has: the owner of a line then calls
``look_again``.  How many they are doubles with each look, and begins at 1 again after each change, so that a line
whose engine changes all the time looks at no more files than it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count, repeat
from random import Random
from typing import Any

from vsbatch_core.model import VectorStoreFile
from vsbatch_core.view import View

KeyFunction = Callable[[VectorStoreFile], Any]
"""Returns what a file is ordered by; the smallest is taken first, of equals the one that came first."""

_FARTHEST = 128
"""How many files are looked at together, at most."""


Ticket = tuple[str, int, float]
"""A file that waits: its store's id, its attachment, and when it began to wait."""

Taken = tuple[str, int, float, str, VectorStoreFile | None]
"""A file that was taken: the same, its id, and the file as it stands if whole files are wanted."""


class Line(ABC):
    """What the orders have in common."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ahead: list[Any] = []
        """The files that were looked at and are next, the first of them last."""
        self._reach = 1
        """How many files to look at next."""
        self._whole = True

    @abstractmethod
    def put(self, store: str, start: int, stop: int, at: float) -> None:
        """Have ``start <= attachment < stop`` wait: one or more."""

    @abstractmethod
    def put_back(self, ticket: Ticket) -> None:
        """Have what was taken last be the next again."""

    @abstractmethod
    def take(self) -> Taken | None:
        """Return the next file that is still in progress, which then waits no more; ``None`` if none is."""

    @abstractmethod
    def clear(self) -> None:
        """Have nothing wait any more."""

    def want(self, *, whole: bool) -> None:
        """Say whether whole files are wanted, or their ids alone, which cost less."""
        self._whole = whole
        self.look_again()

    def look_again(self) -> None:
        """Forget what was looked at: files that wait may have ended, or changed."""
        if self._ahead or self._reach > 1:
            self._ahead = []
            self._reach = 1

    def _looked(self) -> int:
        """Return how many files to look at now."""
        if not self._view.settled:
            self.look_again()
        reach = self._reach
        self._reach = min(2 * reach, _FARTHEST)
        return reach

    def _found(self, part: Part, *, last: bool) -> list[Any]:
        """Look at the first files of a part, or the last; return them as ``_ahead`` has them."""
        view, store = self._view, part.store
        numbers = view.in_progress(store, part.start, part.stop, self._looked(), last=last)[::-1]
        if not numbers:
            return []
        files: Iterable[Any] = view.files(store, numbers) if self._whole else repeat(None, len(numbers))
        return list(zip(numbers, view.file_ids(store, numbers), files, strict=True))


class Part:
    """Files of one store that wait since the same time: the next attachment, and the one after the last."""

    __slots__ = ("at", "start", "stop", "store")

    def __init__(self, store: str, start: int, stop: int, at: float) -> None:
        self.store = store
        self.start = start
        self.stop = stop
        self.at = at


class Fifo(Line):
    """First come, first served.  Some 100 bytes a batch and nothing a file; methods are O(1) for each file."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._parts: deque[Part] = deque()

    def __iter__(self) -> Iterator[Part]:
        """Return the parts in the order in which they are taken."""
        return iter(self._parts)

    def put(self, store: str, start: int, stop: int, at: float) -> None:
        """See ``Line``."""
        last = self._parts[-1] if self._parts else None
        if last is not None and (last.store, last.stop, last.at) == (store, start, at):
            last.stop = stop
        else:
            self._parts.append(Part(store, start, stop, at))

    def put_back(self, ticket: Ticket) -> None:
        """See ``Line``."""
        store, attachment, at = ticket
        self.look_again()
        self._parts.appendleft(Part(store, attachment, attachment + 1, at))

    def take(self) -> Taken | None:
        """See ``Line``."""
        if not (self._ahead and self._view.settled) and not self._look_ahead():
            return None
        attachment, file_id, file = self._ahead.pop()
        part = self._parts[0]
        part.start = attachment + 1
        return part.store, attachment, part.at, file_id, file

    def _look_ahead(self) -> bool:
        """Look at the next files of the first part that has one in progress; return whether there is one."""
        parts = self._parts
        while parts:
            found = self._found(parts[0], last=False)
            if found:
                self._ahead = found
                return True
            parts.popleft()
        return False

    def skip_to(self, part: Part, attachment: int) -> None:
        """Have nothing wait any more that comes before this attachment of the part.

        Calling it again changes nothing.
        """
        parts = self._parts
        while parts[0] is not part:
            parts.popleft()
        part.start = attachment

    def clear(self) -> None:
        """See ``Line``."""
        self.look_again()
        self._parts.clear()


class Lifo(Line):
    """Last come, first served; of files attached together, the last.  Costs as ``Fifo``."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._parts: list[Part] = []

    def put(self, store: str, start: int, stop: int, at: float) -> None:
        """See ``Line``."""
        self.look_again()
        self._parts.append(Part(store, start, stop, at))

    def put_back(self, ticket: Ticket) -> None:
        """See ``Line``."""
        store, attachment, at = ticket
        self.put(store, attachment, attachment + 1, at)

    def take(self) -> Taken | None:
        """See ``Line``."""
        if not (self._ahead and self._view.settled) and not self._look_ahead():
            return None
        attachment, file_id, file = self._ahead.pop()
        part = self._parts[-1]
        part.stop = attachment
        return part.store, attachment, part.at, file_id, file

    def _look_ahead(self) -> bool:
        """Look at the last files of the last part that has one in progress; return whether there is one."""
        parts = self._parts
        while parts:
            found = self._found(parts[-1], last=True)
            if found:
                self._ahead = found
                return True
            parts.pop()
        return False

    def clear(self) -> None:
        """See ``Line``."""
        self.look_again()
        self._parts.clear()


class AtRandom(Line):
    """Any of those that wait, all equally likely.  O(1) for each file, some 100 bytes each."""

    def __init__(self, view: View, random: Random) -> None:
        super().__init__(view)
        self._random = random
        self._tickets: list[Ticket] = []
        """Those that were looked at stand at the end, in the order in which they were drawn, the first last."""
        self._next: Ticket | None = None

    def put(self, store: str, start: int, stop: int, at: float) -> None:
        """See ``Line``."""
        self.look_again()
        self._tickets += [(store, attachment, at) for attachment in range(start, stop)]

    def put_back(self, ticket: Ticket) -> None:
        """See ``Line``."""
        self._next = ticket

    def take(self) -> Taken | None:
        """See ``Line``."""
        if self._next is not None:
            ticket, self._next = self._next, None
            (file_id,) = self._view.each_in_progress([ticket[:2]])
            if file_id is not None:
                return *ticket, file_id, self._file(ticket)
        tickets = self._tickets
        while tickets:
            if not (self._ahead and self._view.settled):
                drawn = self._draw(min(self._looked(), len(tickets)))
                self._ahead = self._view.each_in_progress([ticket[:2] for ticket in drawn])
            ticket, file_id = tickets.pop(), self._ahead.pop()
            if file_id is not None:
                return *ticket, file_id, self._file(ticket)
        return None

    def _file(self, ticket: Ticket) -> VectorStoreFile | None:
        """Return the file as it stands if whole files are wanted."""
        return self._view.files(ticket[0], (ticket[1],))[0] if self._whole else None

    def _draw(self, n: int) -> list[Ticket]:
        """Put ``n`` tickets that are drawn at random at the end, and return them, the first drawn last."""
        tickets, draw = self._tickets, self._random.random
        last = len(tickets) - 1
        for place in range(last, last - n, -1):
            i = int(draw() * (place + 1))
            tickets[i], tickets[place] = tickets[place], tickets[i]
        return tickets[len(tickets) - n :]

    def clear(self) -> None:
        """See ``Line``."""
        self.look_again()
        self._tickets.clear()
        self._next = None


class Keyed(Fifo):
    """The least key first.  O(log n) for each file, n waiting, some 400 bytes each.

    The key of a file is asked for once, when a worker is next looking for a file: not in the command that
    attached it, which must not fail because of it.
    """

    def __init__(self, view: View, key: KeyFunction) -> None:
        super().__init__(view)
        self._key: Callable[[Any], Any] = key
        self._heap: list[tuple[Any, int, int, Taken]] = []
        """For each file its key, when it was entered, after how many changes it was looked at, and itself."""
        self._sequence = count()
        self._changes = 0
        self._taken: Any = None
        """The entry that was taken last."""

    def look_again(self) -> None:
        """See ``Line``."""
        super().look_again()
        self._changes += 1

    def put_back(self, ticket: Ticket) -> None:  # noqa: ARG002 - its key is still known
        """See ``Line``."""
        heappush(self._heap, self._taken)

    def take(self) -> Taken | None:
        """See ``Line``."""
        while (taken := super().take()) is not None:
            sequence, changes = next(self._sequence), self._changes
            try:
                heappush(self._heap, (self._key(taken[4]), sequence, changes, taken))
            except BaseException:  # the function raised, or returned what cannot be compared
                self._heap = [entry for entry in self._heap if entry[1] != sequence]
                heapify(self._heap)
                super().put_back(taken[:3])
                raise
        while self._heap:
            entry = self._taken = heappop(self._heap)
            known: Taken = entry[3]
            if entry[2] == self._changes and self._view.settled:
                return known
            if self._view.each_in_progress([known[:2]]) != [None]:
                return *known[:4], self._view.files(known[0], (known[1],))[0]
        return None

    def clear(self) -> None:
        """See ``Line``."""
        super().clear()
        self._heap.clear()
