"""Where time and ids enter the engine; nothing else in the core asks the outside for anything.

The engine asks the clock once for each command, and writes the time into the event.  Within one vector
store time never goes back: if the clock does, the engine goes on with the latest time that the store has seen.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from itertools import count
from math import inf, isfinite
from typing import Protocol

__all__ = [
    "Clock",
    "IdSource",
    "SeededIds",
    "SequentialIds",
    "SystemClock",
    "VirtualClock",
    "random_ids",
]


class Clock(Protocol):
    """Anything that tells the time."""

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        """Seconds since the Unix epoch, as the machine has them."""
        return time.time()


class VirtualClock:
    """A clock that stands still until it is moved, and refuses to go back.

    >>> clock = VirtualClock(start=1000.0)
    >>> clock.advance(2.5)
    1002.5
    >>> clock.time()
    1002.5
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        if not isfinite(start):
            raise ValueError(f"a clock cannot start at {start!r}: give a finite time, in seconds")
        self._now = float(start)

    def __repr__(self) -> str:
        return f"VirtualClock(start={self._now!r})"

    def time(self) -> float:
        """Seconds since the Unix epoch, on this clock."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move on by ``seconds``; return the new time.  Raise ``ValueError`` if ``seconds`` is negative."""
        return self.advance_to(self._now + seconds)

    def advance_to(self, when: float) -> float:
        """Move on to ``when``; return it.  Raise ``ValueError`` if it lies in the past or is not a number."""
        if not self._now <= when < inf:
            raise ValueError(
                f"a clock cannot go from {self._now!r} to {when!r}: give a finite time that is not in the past"
            )
        self._now = float(when)
        return self._now


IdSource = Callable[[str], str]
"""Called with a prefix (``"vs_"``, ``"vsfb_"``), returns a new id that begins with it."""


def random_ids(prefix: str) -> str:
    """A random id: the prefix and 32 hexadecimal digits, from the system's random source."""
    return prefix + os.urandom(16).hex()


class SeededIds:
    """Ids that look random and are the same for the same seed.

    >>> SeededIds(7)("vs_") == SeededIds(7)("vs_")
    True
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, prefix: str) -> str:
        """The next id with this prefix."""
        return f"{prefix}{self._random.getrandbits(128):032x}"


class SequentialIds:
    """Ids that count up, for tests and examples that are read by people.

    >>> ids = SequentialIds()
    >>> ids("vs_"), ids("vsfb_"), ids("vs_")
    ('vs_1', 'vsfb_1', 'vs_2')
    """

    def __init__(self) -> None:
        self._counts: dict[str, count[int]] = {}

    def __call__(self, prefix: str) -> str:
        """The next id with this prefix."""
        return f"{prefix}{next(self._counts.setdefault(prefix, count(1)))}"
