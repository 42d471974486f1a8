"""The peer of the simulator: SimPy, running the bare workload, with no engine, no counts and no indexes.

All files are there at the start, as after the creation of batches, and wait in a ``Store``.  Each worker is a
process that takes one after the other and is away for as long as it needs: the least that SimPy can be asked to
do for this, and faster than a ``Resource`` with a process for each file.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Any

import simpy


def run(durations: Sequence[float], workers: int) -> float:
    """Serve one file for each duration, first come first served; answer the makespan in simulated seconds."""
    env = simpy.Environment()
    waiting: Any = simpy.Store(env)
    waiting.items.extend(durations)
    done = 0

    def worker() -> Generator[Any, Any, None]:
        nonlocal done
        while waiting.items:
            seconds = yield waiting.get()
            yield env.timeout(seconds)
            done += 1

    for _ in range(workers):
        env.process(worker())
    env.run()
    if done != len(durations):
        raise RuntimeError(f"SimPy served {done} of {len(durations)} files")
    return float(env.now)


def run_resource(durations: Sequence[float], workers: int) -> float:
    """The same, as SimPy's own documentation writes it: a process for each file, a ``Resource`` of workers."""
    env = simpy.Environment()
    resource = simpy.Resource(env, capacity=workers)
    done = 0

    def file(seconds: float) -> Generator[Any, Any, None]:
        nonlocal done
        with resource.request() as turn:
            yield turn
            yield env.timeout(seconds)
        done += 1

    for seconds in durations:
        env.process(file(seconds))
    env.run()
    if done != len(durations):
        raise RuntimeError(f"SimPy served {done} of {len(durations)} files")
    return float(env.now)


def main(n: int) -> None:
    """Print the microseconds a file, both ways."""
    durations = [1.5] * n
    for serve in (run, run_resource):
        start = perf_counter()
        serve(durations, 8)
        print(f"{serve.__name__:14} n = {n:<10,} {(perf_counter() - start) / n * 1e6:6.2f} us a file")


if __name__ == "__main__":
    main(int(sys.argv[1]))
