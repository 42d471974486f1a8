"""The simulator, in bulk and step by step, beside SimPy: files queue and are served.

Ours keeps an engine with its counts and indexes; SimPy runs the bare workload: no engine, no counts, no indexes.
All draw the same times from the same random source.  Ours steps where somebody listens to its events.
``python -m benchmarks.simulation N`` prints the bytes for each of N files, in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from heapq import heapreplace
from importlib.util import find_spec
from random import Random
from time import perf_counter
from typing import Any, ClassVar

from attrs import frozen

from benchmarks.contenders import Ours
from benchmarks.fixtures import Fixtures, WrongResult
from benchmarks.measure import Entry, Figures, Task
from benchmarks.memory import ids_of, peak, printed
from benchmarks.results import Result
from benchmarks.work import Pace, Ready, Work
from vsbatch_core import Engine, SequentialIds, VirtualClock
from vsbatch_core.simulation import Constant, Duration, Exponential, Plan, Simulation

WORKERS = 8
SECONDS = 1.5
"""How long a file takes, in simulated seconds, on average."""
CONSTANT = Constant(SECONDS)

MOST = 100_000
"""The largest run of the peers: a larger one takes minutes, and says no more."""

Draw = Callable[[], float]
"""Returns how long the next file takes."""


def draws(service: Duration) -> Draw:
    """Return what a simulation with the seed 0 draws of this duration."""
    return partial(service.sampler(Random("0 plan"), len), None)


def served(n: int, service: Duration = CONSTANT, *, listened: bool = False) -> Simulation:
    """Return a simulation that has served ``n`` files, with somebody who listens or nobody."""
    engine = Engine(clock=VirtualClock(), ids=SequentialIds())
    simulation = Simulation(engine, plan=Plan(workers=WORKERS, service=service))
    if listened:
        engine.subscribe(lambda _event: None)
    store_id = engine.vector_stores.create(name="bench").id
    for ids in ids_of(n):
        engine.vector_stores.file_batches.create(store_id, file_ids=ids)
    simulation.run_until_idle()
    return simulation


def in_bulk(n: int, service: Duration) -> tuple[int, float]:
    """Return how many files were served, and the makespan in simulated seconds."""
    simulation = served(n, service)
    return simulation.report.ended, simulation.now


def by_steps(n: int, service: Duration) -> tuple[int, float]:
    """Serve them one step after the other."""
    simulation = served(n, service, listened=True)
    return simulation.report.ended, simulation.now


def process_per_worker(n: int, service: Duration) -> tuple[int, float]:
    """Serve files that wait in a ``Store``; each worker is a process that takes one after the other.

    The least that SimPy can do for this.
    """
    import simpy  # noqa: PLC0415 - a peer, that is installed for tests alone

    env = simpy.Environment()
    waiting: Any = simpy.Store(env)
    waiting.items.extend(range(n))
    draw = draws(service)
    done = 0

    def worker() -> Generator[Any, Any, None]:
        nonlocal done
        while waiting.items:
            yield waiting.get()
            yield env.timeout(draw())
            done += 1

    for _ in range(WORKERS):
        env.process(worker())
    env.run()
    return done, float(env.now)


def process_per_file(n: int, service: Duration) -> tuple[int, float]:
    """Serve files as SimPy's own documentation does: a process for each file, a ``Resource`` of workers."""
    import simpy  # noqa: PLC0415 - a peer, that is installed for tests alone

    env = simpy.Environment()
    resource = simpy.Resource(env, capacity=WORKERS)
    draw = draws(service)
    done = 0

    def file() -> Generator[Any, Any, None]:
        nonlocal done
        with resource.request() as turn:
            yield turn
            yield env.timeout(draw())
        done += 1

    for _ in range(n):
        env.process(file())
    env.run()
    return done, float(env.now)


CONTENDERS: dict[str, Callable[[int, Duration], tuple[int, float]]] = {
    Ours.key: in_bulk,
    "steps": by_steps,
    "simpy-file": process_per_file,
    "simpy-worker": process_per_worker,
}


def right(n: int, service: Duration) -> tuple[int, float]:
    """Return the right result: all files, each taken by the worker that is free first."""
    draw = draws(service)
    free = [0.0] * WORKERS
    last = 0.0
    for _ in range(n):
        end = free[0] + draw()
        heapreplace(free, end)
        last = max(last, end)
    return n, last


@frozen
class Simulated(Work):
    """Cost a file of a whole run, the creation of its batches included."""

    service: Duration = CONSTANT

    patience: ClassVar[float] = 60.0

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return the sizes, up to the longest."""
        return sorted({min(n, pace.longest) for n in wanted})

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        if find_spec("simpy") is None:
            fixtures.missing["simpy"] = "pip install simpy"
        expected = right(n, self.service)
        for contender, run in CONTENDERS.items():
            peer = contender.startswith("simpy")
            if peer and "simpy" in fixtures.missing:
                continue
            if peer and n > MOST:
                yield self.left_out(contender, n, f"not tried beyond {MOST:,}")
                continue
            start = perf_counter()
            found = run(n, self.service)
            one = perf_counter() - start
            if found[0] != n or abs(found[1] - expected[1]) > 1e-3:
                yield self.wrong(contender, n, f"{found}; right: {expected}")
            else:
                task = partial(run, n, self.service)
                yield Entry(contender, n, prepare=partial(runs, task), operations=n, most=1_000, one=one)


def runs(task: Task, number: int) -> list[Task]:
    """Return so many runs."""
    return [task] * number


@frozen
class SimulatedMemory(Work):
    """Bytes a file at the end of a run."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return the largest."""
        return [min(max(wanted), pace.longest)]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        yield Result(self.name, Ours.key, n, bytes=Figures((printed(["benchmarks.simulation", str(n)]),)))


WORKS: list[Work] = [
    Simulated("simulate.run", f"simulate, {WORKERS} workers: a file"),
    Simulated(
        "simulate.exponential",
        f"simulate, {WORKERS} workers, times are drawn: a file",
        service=Exponential(mean=SECONDS),
    ),
    SimulatedMemory("simulate.memory", "peak resident set for each simulated file"),
]


def main(n: int) -> float:
    """Serve ``n`` files; return the bytes for each: ids, counts, indexes and what the report needs."""
    served(1000)
    before = peak()
    simulation = served(n)
    if simulation.report.ended != n:
        raise WrongResult(f"{simulation.report.ended} files; right: {n}")
    return (peak() - before) / n


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
