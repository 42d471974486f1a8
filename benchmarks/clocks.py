"""Wall time beside CPU time: of this process, and of others that work for it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from time import clock_gettime, perf_counter, process_time

from attrs import field, frozen

OWN_ONLY = "own process only"
"""What is said of a CPU time that lacks the CPU time of a process that worked as well."""


@frozen
class Spent:
    """Seconds that something took."""

    wall: float
    cpu: float


def cpu_clock(pid: int) -> int | None:
    """Return the id of another process's CPU clock, for ``time.clock_gettime``.

    ``None`` if there is no such process, or if the system has no such clocks (macOS).
    """
    try:
        find = ctypes.CDLL(None).clock_getcpuclockid
    except (AttributeError, OSError, TypeError):  # how a system without the function, or without libc, says so
        return None
    found = ctypes.c_int()
    return found.value if find(pid, ctypes.byref(found)) == 0 else None


@frozen
class Clocks:
    """The processes whose CPU time is the cost of a contender's work."""

    processes: Callable[[], Sequence[int]] = field(default=tuple)
    """Return the process ids of the others that work, at the time of asking: a server may be started again."""
    own: bool = True
    """Whether this process's CPU time is part of the cost; not if this process only generates the load."""

    waits: str = ""
    """What the contender waits for, such as ``the disk``: that is part of the cost, and not of the CPU time."""

    def lacks(self) -> str:
        """Return what the CPU time does not include, or ``""``."""
        if self.waits:
            return f"without the wait for {self.waits}"
        return "" if all(cpu_clock(pid) is not None for pid in self.processes()) else OWN_ONLY

    def start(self) -> Callable[[], Spent]:
        """Start to measure; return a function that returns what was spent since."""
        ids = [cpu_clock(pid) for pid in self.processes()]
        others: list[Callable[[], float]] = [partial(clock_gettime, id) for id in ids if id is not None]
        if len(others) < len(ids):
            others = []
        clocks = [process_time, *others] if self.own or not others else others
        began = [clock() for clock in clocks]
        start = perf_counter()

        def stop() -> Spent:
            wall = perf_counter() - start
            return Spent(wall, sum(clock() - at for clock, at in zip(clocks, began, strict=True)))

        return stop
