"""Measure the engine beside its peer, in one process, in turns; print the figures that the README quotes."""

from __future__ import annotations

import argparse
import platform
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from itertools import product

import vsbatch_core
from benchmarks import http, simulation
from benchmarks.measure import Ratio, Task, Times, compare, consume
from benchmarks.worlds import World

HEADING = f"{'':38} {'ours':>11} {'SQLite':>11}  SQLite/ours (middle half)"


def shown(seconds: float) -> str:
    """A time in the unit that suits it."""
    return f"{seconds * 1e6:8.2f} us" if seconds < 1e-3 else f"{seconds * 1e3:8.2f} ms"


def row(title: str, times: dict[str, Times]) -> None:
    """Print one comparison."""
    ours, peer = times["ours"], times["SQLite"]
    print(f"{title:38} {shown(ours.median)} {shown(peer.median)}  {Ratio.of(peer, ours)}", flush=True)


def pages(worlds: list[World], rounds: int, seconds: float) -> None:
    """A page of 20 of a store's files, at every size in the same rounds."""
    print(f"\nA page of 20, as typed values; SQLite's as bare tuples\n{HEADING}   ours {sizes(worlds)}")
    for filter, order, place in product((None, "completed"), ("asc", "desc"), ("first", "middle", "last")):
        tasks: dict[str, Task] = {}
        for world in worlds:
            after = world.after(place, order, filter)
            world.check_page(order, after, filter)
            tasks[f"ours {world.n}"] = partial(world.page, order, after, filter)
            tasks[f"SQLite {world.n}"] = partial(world.sqlite.page, 20, order, after, filter)
        times = compare(tasks, rounds=rounds, seconds=seconds)
        growth = Ratio.of(times[f"ours {worlds[-1].n}"], times[f"ours {worlds[0].n}"])
        for world in worlds:
            ours, peer = times[f"ours {world.n}"], times[f"SQLite {world.n}"]
            print(
                f"{place:6} {order:4} {filter or 'all':9} n = {world.n:<12,} {shown(ours.median)} "
                f"{shown(peer.median)}  {Ratio.of(peer, ours)}"
                + (f"   {growth.median:.2f}x" if world is worlds[-1] else ""),
                flush=True,
            )


def sizes(worlds: list[World]) -> str:
    """The heading of a ratio between the sizes."""
    return f"{worlds[-1].n:,} / {worlds[0].n:,}"


def changes(worlds: list[World], rounds: int) -> None:
    """Completions, new batches, cancels."""
    print(f"\nChanges, with counts and indexes kept\n{HEADING}")
    completions: list[Times] = []
    for world in worlds:
        number = min(200, world.n // 2 // (rounds + 1))
        times = consume(world.completions(), rounds=rounds, number=number)
        world.check_counts()
        row(f"complete one file     n = {world.n:,}", times)
        completions.append(times["ours"])
    ratio = completions[-1].median / completions[0].median
    print(f"{'':24}ours {sizes(worlds)}: {ratio:.2f}x (medians)")
    for world in worlds:
        for title, tasks in (
            ("create a batch of 2,000", world.creations()),
            ("cancel 2,000", world.cancellations()),
        ):
            times = consume(tasks, rounds=min(rounds, 30), number=1)
            world.check_counts()
            row(f"{title:23} n = {world.n:,}", times)


def retrievals(worlds: list[World], rounds: int, seconds: float) -> None:
    """Looks at single objects."""
    print("\nRetrieve")
    for world in worlds:
        for what, times in compare(world.retrievals(), rounds=rounds, seconds=seconds).items():
            print(f"{what:23} n = {world.n:<10,} {shown(times.median)}", flush=True)


def memory(n: int) -> None:
    """Peak resident set, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", str(n)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own module
    print(f"\nMemory: {float(answer.stdout):.0f} bytes of peak resident set for each of {n:,} attachments")


def main() -> None:
    """Parse the arguments and run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: a smoke test")
    quick = parser.parse_args().quick
    print(
        f"vsbatch-core {vsbatch_core.__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )
    worlds = [World(n) for n in ((1_000, 4_000) if quick else (1_000, 1_000_000))]
    rounds, seconds = (3, 0.001) if quick else (21, 0.02)
    pages(worlds, rounds, seconds)
    retrievals(worlds, rounds, seconds)
    changes(worlds, rounds)
    for world in worlds:
        world.close()
    memory(20_000 if quick else 1_000_000)
    simulation.figures(quick=quick)
    http.main(quick=quick)


if __name__ == "__main__":
    main()
