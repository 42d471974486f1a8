"""The simulator beside SimPy: a queue-and-serve run, its memory, and how its cost grows.

Ours keeps an engine with its counts and indexes; SimPy runs the bare workload, see ``simpy_peer``.
``python -m benchmarks.simulation N`` prints the bytes for each of N files, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

from benchmarks.measure import Ratio, Times, undisturbed
from benchmarks.memory import peak
from benchmarks.worlds import BATCH, file_ids
from vsbatch_core import Engine, SequentialIds, VirtualClock
from vsbatch_core.simulation import Plan, Simulation

WORKERS = 8
MOST_BYTES, LEAST_RATIO, MOST_GROWTH = 450, 2.0, 2.0
"""The goals: bytes a file, how many times SimPy's cost ours is to be beaten by, cost a file at 10^6 over 10^4."""


SERVICE = 1.5
"""How long each file takes, in simulated seconds: neither contender draws anything."""


def attach(engine: Engine, n: int) -> None:
    """Create batches of up to 2,000 files in a new store."""
    store_id = engine.vector_stores.create(name="bench").id
    for first in range(0, n, BATCH):
        ids = file_ids(min(BATCH, n - first), f"file-{first:07x}-"[:13])
        engine.vector_stores.file_batches.create(store_id, file_ids=ids)


def served(n: int) -> Simulation:
    """A simulation that has served ``n`` files."""
    engine = Engine(clock=VirtualClock(), ids=SequentialIds())
    simulation = Simulation(engine, plan=Plan(workers=WORKERS, service=SERVICE))
    attach(engine, n)
    simulation.run_until_idle()
    return simulation


def timed(n: int) -> tuple[float, float]:
    """The seconds that one run took, the creation of its batches included, and its makespan, simulated."""
    with undisturbed():
        start = perf_counter()
        simulation = served(n)
        spent = perf_counter() - start
    simulation.engine.check()
    if simulation.report.ended != n:
        raise RuntimeError(f"{simulation.report.ended} of {n} files were served")
    return spent, simulation.now


def beside_simpy(n: int, rounds: int) -> None:
    """Print the cost a file of all, in turns, and the ratios within the rounds."""
    from benchmarks import simpy_peer  # noqa: PLC0415 - a peer, that is installed for tests alone

    peers = {
        "SimPy, a process for each file": simpy_peer.run_resource,
        "SimPy, a process for each worker": simpy_peer.run,
    }
    found: dict[str, list[float]] = {"ours": [], **{name: [] for name in peers}}
    for _ in range(rounds):
        spent, ours = timed(n)
        found["ours"].append(spent / n)
        for name, run in peers.items():
            durations = [SERVICE] * n
            with undisturbed():
                start = perf_counter()
                theirs = run(durations, WORKERS)
                found[name].append((perf_counter() - start) / n)
            if abs(ours - theirs) > 1e-3:
                raise RuntimeError(f"the contenders disagree on the makespan: {ours}, {theirs}")
    times = {name: Times(tuple(values)) for name, values in found.items()}
    print(f"queue and serve {n:,} files on {WORKERS} workers: {times['ours'].median * 1e6:.2f} us a file")
    for name in peers:
        ratio = Ratio.of(times[name], times["ours"])
        print(f"  {name:34} {times[name].median * 1e6:6.2f} us  {ratio}  (goal {LEAST_RATIO:g})", flush=True)


def growth(small: int, large: int, rounds: int) -> None:
    """Print the cost a file at one size over that at another, in turns."""
    costs: dict[int, list[float]] = {small: [], large: []}
    for _ in range(rounds):
        for n in (small, large):
            # A small run alone is over too soon to be measured.
            times = max(1, min(10, large // n // 10))
            costs[n].append(sum(timed(n)[0] for _ in range(times)) / times / n)
    ratio = Ratio.of(Times(tuple(costs[large])), Times(tuple(costs[small])))
    print(f"cost a file at {large:,} over {small:,}: {ratio}  (goal at most {MOST_GROWTH:g})", flush=True)


def memory(n: int) -> None:
    """Print the bytes a file, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.simulation", str(n)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own module
    print(
        f"memory at the end of a run: {float(answer.stdout):.0f} bytes of peak resident set for each of {n:,} "
        f"files (goal {MOST_BYTES})",
        flush=True,
    )


def figures(*, quick: bool) -> None:
    """Print all of it."""
    print("\nThe simulator, with engine, counts and indexes kept; SimPy without")
    beside_simpy(4_000 if quick else 100_000, 3 if quick else 7)
    growth(1_000 if quick else 10_000, 4_000 if quick else 1_000_000, 2 if quick else 3)
    memory(20_000 if quick else 1_000_000)


def main(n: int) -> float:
    """Serve ``n`` files; bytes for each: ids, counts, indexes and what the report needs."""
    served(1000)
    before = peak()
    simulation = served(n)
    return (peak() - before) / simulation.report.ended


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
