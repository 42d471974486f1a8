"""Peak resident set for each file, in a process of its own: ``python -m benchmarks.memory CONTENDER N [HOW]``.

``python -m benchmarks.memory stores N`` is that for each of N empty stores of ours, and ``store N`` what Python
allocates for each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from benchmarks.contenders import CONTENDERS, Ours
from benchmarks.fixtures import BATCH, START, Fixtures, file_ids
from benchmarks.measure import Figures
from benchmarks.results import OURS, Result
from benchmarks.work import Pace, Ready, Work


def peak(pid: int | None = None) -> int:
    """Return the peak resident set of this process, or on Linux of another, in bytes."""
    status = Path(f"/proc/{'self' if pid is None else pid}/status")
    if status.exists():
        # Not ru_maxrss, which on Linux goes on from the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if pid is not None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def ids_of(n: int) -> Iterator[list[str]]:
    """Yield the ids of ``n`` files, batch by batch."""
    for first in range(0, n, BATCH):
        yield file_ids(min(BATCH, n - first), f"file-{first:07x}-"[:13])


def kept(contender: str, n: int, how: str = "one-by-one") -> float:
    """Attach ``n`` files and complete them; return the bytes for each, its id and all indexes included.

    ``how`` is ``one-by-one``, ``at-once``, which is batch by batch, or ``attached``, which completes none.
    """
    (kind,) = (kind for kind in CONTENDERS if kind.key == contender)
    with kind() as store:
        processes = (None, *store.pids())
        before = sum(map(peak, processes))
        for number, ids in enumerate(ids_of(n)):
            store.attach(number, ids, START)
            if how == "at-once":
                store.complete_many(ids, 1000)
            elif how == "one-by-one":
                for i, id in enumerate(ids):
                    # Sizes differ, as those of files do, so that none is kept by all.
                    store.complete(id, 1000 + number * BATCH + i)
        return (sum(map(peak, processes)) - before) / n


def stores(n: int, *, traced: bool) -> float:
    """Make ``n`` empty stores; return the bytes for each."""
    engine = Ours().engine
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else peak()
    for number in range(n):
        engine.vector_stores.create(name=f"store {number}")
    return ((tracemalloc.get_traced_memory()[0] if traced else peak()) - before) / n


@frozen
class Memory(Work):
    """Bytes for each file."""

    measured: Callable[[str, int], list[str]]
    """The command that prints them."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return the largest, and another for those that are not tried with that."""
        most = min(max(wanted), pace.longest)
        return sorted({most, min(most, 100_000)})

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``; each is measured at once."""
        for kind in fixtures.present():
            if self.word in kind.unable:
                yield self.left_out(kind.key, n, kind.unable[self.word])
            elif n <= kind.most:
                yield Result(self.name, kind.key, n, bytes=Figures((printed(self.measured(kind.key, n)),)))


def printed(arguments: list[str]) -> float:
    """Return the number that a module of ours prints."""
    command = [sys.executable, "-m", *arguments]
    returned = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own module
    return float(returned.stdout)


@frozen
class Some(Memory):
    """The same, for those that have columns, indexes, or nothing."""

    who: ClassVar[tuple[str, ...]] = (OURS, "floor", "sqlite")

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return the largest."""
        return [min(max(wanted), pace.longest)]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``; each is measured at once."""
        for key in self.who:
            if key in {kind.key for kind in fixtures.present()}:
                yield Result(self.name, key, n, bytes=Figures((printed(self.measured(key, n)),)))


@frozen
class Huge(Some):
    """One very large store of ours, where all that is large is measured."""

    who: ClassVar[tuple[str, ...]] = (OURS,)

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return its size, or none."""
        return [10 * pace.longest] if min(max(wanted), pace.longest) >= 1_000_000 else []


@frozen
class Stores(Some):
    """Bytes for each of many empty stores of ours."""

    who: ClassVar[tuple[str, ...]] = (OURS,)
    most: int = 100_000

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return how many stores."""
        return [min(self.most, max(wanted), pace.longest)]


def how(word: str) -> Callable[[str, int], list[str]]:
    """Return the command that measures files which were attached and completed in this way."""
    return lambda kind, n: ["benchmarks.memory", kind, str(n), word]


WORKS: list[Work] = [
    Memory("memory", "peak resident set for each file", lambda kind, n: ["benchmarks.memory", kind, str(n)]),
    Some("bytes.attached", "peak resident set for each file in progress", how("attached")),
    Some("bytes.completed", "peak resident set for each file that completed with others", how("at-once")),
    Huge("bytes.huge", "peak resident set for each file in progress, ten times as many", how("attached")),
    Stores(
        "bytes.stores",
        "peak resident set for each empty store",
        lambda _, n: ["benchmarks.memory", "stores", str(n)],
    ),
    Stores(
        "bytes.store",
        "allocated for each empty store",
        lambda _, n: ["benchmarks.memory", "store", str(n)],
        most=1000,
    ),
]


def main(kind: str, n: int, *how: str) -> float:
    """Return what the command line asks for."""
    return stores(n, traced=kind == "store") if kind in ("store", "stores") else kept(kind, n, *how)


if __name__ == "__main__":
    print(import_module("benchmarks.memory").main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
