"""What stays behind when much comes and goes: ``python -m benchmarks.soak KIND CYCLES traced|resident``.

It prints the bytes by which memory grows for each cycle, once as many have left as are kept as cursors: the
slope of a line through 200 samples.  A cycle makes something and takes it away again, so it should be 0.
"""

from __future__ import annotations

import gc
import resource
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from statistics import linear_regression

from attrs import frozen

from benchmarks.contenders import Ours
from benchmarks.fixtures import Fixtures
from benchmarks.measure import Figures
from benchmarks.memory import printed
from benchmarks.results import Result
from benchmarks.work import Pace, Ready, Work
from vsbatch_core import Engine, Limits, Profile, SequentialIds, VirtualClock
from vsbatch_core.simulation import Plan, Simulation

Cycle = Callable[[int], object]

SAMPLES = 200
DEPARTED = Limits().departed
MOST = 100_000
"""More cycles take minutes, and say no more."""


def files(engine: Engine) -> Cycle:
    """Attach a file, attach it again, complete it, and delete it."""
    store_id = engine.vector_stores.create().id
    attached = engine.vector_stores.files

    def cycle(number: int) -> None:
        file_id = f"file-{number:024x}"
        attached.create(store_id, file_id=file_id)
        attached.create(store_id, file_id=file_id)
        engine.processing.complete(store_id, file_id, usage_bytes=number)
        attached.list(store_id, limit=20)
        attached.delete(file_id, vector_store_id=store_id)

    return cycle


def same_file(engine: Engine) -> Cycle:
    """Attach the same file again and again, while a hundred others stay."""
    store_id = engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(100)]).id
    attached = engine.vector_stores.files
    return lambda _number: attached.create(store_id, file_id="file-7")


def stores(engine: Engine) -> Cycle:
    """Create a store with a file, and delete it."""
    made = engine.vector_stores

    def cycle(number: int) -> None:
        store = made.create(name="soak", file_ids=[f"file-{number:024x}"])
        made.list(limit=20)
        made.delete(store.id)

    return cycle


def simulated(engine: Engine) -> Cycle:
    """Do what ``files`` does while a simulation's workers complete the files."""
    simulation = Simulation(engine, plan=Plan(workers=2, service=1.5))
    store_id = engine.vector_stores.create().id
    attached = engine.vector_stores.files

    def cycle(number: int) -> None:
        file_id = f"file-{number:024x}"
        attached.create(store_id, file_id=file_id)
        simulation.advance(1.0)
        attached.create(store_id, file_id=file_id)
        simulation.run_until_idle()
        attached.delete(file_id, vector_store_id=store_id)

    return cycle


def simulated_stores(engine: Engine) -> Cycle:
    """Do what ``stores`` does under a simulation, which completes some of the files."""
    simulation = Simulation(engine, plan=Plan(workers=2, service=1.5))
    made = engine.vector_stores

    def cycle(number: int) -> None:
        store = made.create(name="soak", file_ids=[f"file-{number:024x}"])
        simulation.advance(1.0 + number % 2)
        made.delete(store.id)

    return cycle


KINDS: dict[str, Callable[[Engine], Cycle]] = {
    "files": files,
    "same-file": same_file,
    "stores": stores,
    "simulated-files": simulated,
    "simulated-stores": simulated_stores,
}


def resident() -> int:
    """Return the resident set of this process, in bytes."""
    path = Path("/proc/self/statm")
    if path.exists():
        return int(path.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(kind: str, cycles: int, clock: str) -> float:
    """Return the bytes by which memory grows for each cycle, after a time in which it may."""
    departed = min(DEPARTED, cycles)
    engine = Engine(clock=VirtualClock(), ids=SequentialIds(), profile=Profile(limits=Limits(departed=departed)))
    cycle = KINDS[kind](engine)
    before = 2 * departed
    for number in range(before):
        cycle(number)
    if clock == "traced":
        tracemalloc.start()
    each = max(1, cycles // SAMPLES)
    taken: list[tuple[int, int]] = []
    # What tracing did not see come, it does not see leave: it counts from when all of that has left.
    untraced = before + (2 * departed if clock == "traced" else 0)
    for number in range(before, untraced + cycles):
        cycle(number)
        if number >= untraced and number % each == 0:
            gc.collect(0)
            taken.append((number, tracemalloc.get_traced_memory()[0] if clock == "traced" else resident()))
    return linear_regression(*zip(*taken, strict=True)).slope


@frozen
class Soak(Work):
    """Bytes by which memory grows for each cycle: what Python allocates, and the resident set."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return one size, the number of cycles."""
        return [min(max(wanted), pace.longest // 10, MOST)]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``; each is measured at once."""
        kind = self.name.partition(".")[2]
        for contender, clock in ((Ours.key, "traced"), ("resident", "resident")):
            bytes = max(0, round(printed(["benchmarks.soak", kind, str(n), clock])))
            yield Result(self.name, contender, n, bytes=Figures((bytes,)))


WORKS: list[Work] = [
    Soak("soak.files", "growth a cycle: attach, attach again, complete, delete"),
    Soak("soak.same-file", "growth a cycle: attach a file again"),
    Soak("soak.stores", "growth a cycle: create a store with a file, delete it"),
    Soak("soak.simulated-files", "growth a cycle: as soak.files, through a simulation"),
    Soak("soak.simulated-stores", "growth a cycle: as soak.stores, through a simulation"),
]

if __name__ == "__main__":
    print(import_module("benchmarks.soak").growth(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
