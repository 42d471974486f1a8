"""Peak resident set for each file: ``python -m benchmarks.memory CONTENDER N``, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from attrs import frozen

from benchmarks.contenders import CONTENDERS
from benchmarks.fixtures import BATCH, START, Fixtures, file_ids
from benchmarks.measure import Figures
from benchmarks.results import Result
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


def kept(contender: str, n: int) -> float:
    """Attach ``n`` files and complete each; return the bytes for each, its id and all indexes included."""
    (kind,) = (kind for kind in CONTENDERS if kind.key == contender)
    with kind() as store:
        processes = (None, *store.pids())
        before = sum(map(peak, processes))
        for number, ids in enumerate(ids_of(n)):
            store.attach(number, ids, START)
            for i, id in enumerate(ids):
                # Sizes differ, as those of files do, so that none is kept by all.
                store.complete(id, 1000 + number * BATCH + i)
        return (sum(map(peak, processes)) - before) / n


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


WORKS: list[Work] = [
    Memory("memory", "peak resident set for each file", lambda kind, n: ["benchmarks.memory", kind, str(n)])
]

if __name__ == "__main__":
    print(import_module("benchmarks.memory").kept(sys.argv[1], int(sys.argv[2])))
