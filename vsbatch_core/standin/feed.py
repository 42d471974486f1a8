"""What happens in a stand-in, as a stream that any number of readers follow and can resume."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from itertools import islice
from threading import Lock
from typing import Any

from attrs import frozen

from vsbatch_core.encoding import compact

MOST = 1000
"""So many items are kept."""

MOST_WEIGHT = 20_000
"""So much all items weigh together that are kept: one weighs 1, and 1 more for each file that it names."""


@frozen
class Item:
    """Something that happened: its place in the stream, what kind of thing it is, and how to get its data."""

    id: str
    kind: str
    read: Callable[[], Any]

    def data(self) -> Any:
        """Return the data, which can be written as JSON."""
        return self.read()

    def encoded(self) -> bytes:
        """Return it as an event of ``text/event-stream``."""
        return f"id: {self.id}\nevent: {self.kind}\ndata: {compact(self.data())}\n\n".encode()


class Reader:
    """One that waits for items, in an event loop."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._woken = False

    def wake(self) -> None:
        """Have the reader look again.  Any thread may call it."""
        if self._woken:
            return  # it has not looked since, and is going to see what was added meanwhile
        self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop is closed
            self._feed.leave(self)

    async def wait(self, seconds: float) -> None:
        """Wait until something was added since the last wait, or the feed was closed, for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
        self._woken = False


class Feed:
    """The latest items, each with an id that tells a reader where to go on.

    It costs no more than it keeps, however slow its readers are: one that was too slow finds a ``gap``.  Any
    thread may add to it; it never calls anything of its caller's while it is locked.
    """

    def __init__(self, most: int = MOST, most_weight: int = MOST_WEIGHT) -> None:
        self._run = secrets.token_hex(4)
        self._most, self._most_weight = most, most_weight
        self._lock = Lock()
        self._items: deque[tuple[Item, int]] = deque()
        self._weight = 0
        self._last = 0
        self._readers: set[Reader] = set()
        self.closed = False

    @property
    def last_id(self) -> str:
        """The id of the latest item, or that before the first."""
        return f"{self._run}-{self._last}"

    def add(self, kind: str, read: Callable[[], Any], weight: int = 1) -> None:
        """Add an item; ``read`` returns its data when it is needed."""
        with self._lock:
            self._last += 1
            self._items.append((Item(self.last_id, kind, read), weight))
            self._weight += weight
            while len(self._items) > self._most or (self._weight > self._most_weight and len(self._items) > 1):
                self._weight -= self._items.popleft()[1]
            readers = tuple(self._readers)
        for reader in readers:
            reader.wake()

    def after(self, last_id: str | None, limit: int = MOST) -> list[Item]:
        """Return what follows an item, or for ``None`` all that is kept; ``limit`` items at most.

        If it is not known any more what follows, the first item is a ``gap``: the reader is to read all anew.
        """
        with self._lock:
            first = self._last - len(self._items)
            """The number before the first item that is kept."""
            if last_id is None:
                return [item for item, _ in islice(self._items, limit)]
            run, _, number = last_id.rpartition("-")
            known = run == self._run and len(number) < 20 and number.isascii() and number.isdecimal()
            place = int(number) if known else -1
            if not first <= place <= self._last:
                gap = Item(f"{self._run}-{first}", "gap", dict)
                return [gap, *(item for item, _ in islice(self._items, limit - 1))]
            return [item for item, _ in islice(self._items, place - first, place - first + limit)]

    def join(self) -> Reader:
        """Return a new reader, which is woken by whatever is added from now on."""
        reader = Reader(self)
        with self._lock:
            self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Wake a reader no more."""
        with self._lock:
            self._readers.discard(reader)

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def close(self) -> None:
        """Have all readers end.  Any thread may call it."""
        self.closed = True
        with self._lock:
            readers = tuple(self._readers)
        for reader in readers:
            reader.wake()
