"""Measure the engine beside what people would use instead: the same work, checked, in one process, in turns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from attrs import evolve

from benchmarks import goals, machine, report
from benchmarks.contenders import TITLES
from benchmarks.results import Load, Result, Run
from benchmarks.run import WORKS, chosen, measured, parsed_sizes
from benchmarks.stage import Stage
from benchmarks.work import Pace, Work

SIZES = [1_000, 10_000, 100_000, 1_000_000]
QUICK_SIZES = [1_000, 4_000]
PACE = Pace()
QUICK_PACE = Pace(rounds=3, seconds=0.001, budget=0.2, longest=20_000)
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument(
        "--only",
        action="extend",
        nargs="+",
        default=[],
        metavar="WORK",
        help="a work's name, its first words, a glob",
    )
    made.add_argument("--sizes", metavar="N,N,…", help="sizes of the store, such as 1e3,10_000 (10^3 to 10^6)")
    made.add_argument("--quick", action="store_true", help="small sizes, few rounds: a smoke test")
    made.add_argument(
        "--list", action="store_true", help="name the works and the contenders, and measure nothing"
    )
    made.add_argument("--from", dest="given", metavar="FILE", help="take these results instead of measuring")
    made.add_argument("--json", metavar="FILE", help="write the results as JSON")
    made.add_argument("--plot", metavar="FOLDER", help="draw pictures into this folder (extra: plot)")
    made.add_argument("--compare", metavar="FILE", help="say what changed beyond noise since these results")
    made.add_argument(
        "--docs", action="store_true", help="write the figure and the table of README.md (extra: plot)"
    )
    return made


class _Telling:
    """What is being done, on one line of a terminal that is written over."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text[:100]}")
            sys.stderr.flush()


def read(path: str) -> Run:
    """The results in a file; raise ``ValueError``, which names it."""
    try:
        return Run.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def measure(works: Sequence[Work], sizes: Sequence[int], *, quick: bool) -> Run:
    """Measure, and print what comes out; on Ctrl-C, what came out so far."""
    tell = _Telling()
    before = highest = machine.load()
    results: list[Result] = []
    complete = False
    with Stage() as stage:
        stage.look()
        run = Run(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=machine.machine(),
            load=Load(before, before, before),
            quick=quick,
            complete=False,
            titles={work.name: work.title for work in works},
            contenders=TITLES,
            results=(),
        )
        most = {kind.key: kind.most for kind in stage.present()}
        told = [*report.missing(stage.missing, TITLES), *report.bounded(most, sizes, TITLES)]
        show([*report.heading(run), *told, ""])
        start = perf_counter()
        try:
            for work, found in measured(works, sizes, stage, QUICK_PACE if quick else PACE, tell):
                tell("")
                results += found
                highest = max(highest, machine.load())
                show([*report.block(work.name, work.title, found, TITLES), ""])
            complete = True
        except KeyboardInterrupt:
            tell("")
    run = evolve(run, results=tuple(results), complete=complete, load=Load(before, highest, machine.load()))
    spent = perf_counter() - start
    show(
        [
            *goals.lines(run),
            "",
            f"load {before:g} before, {highest:g} at most, {run.load.after:g} after; {spent:.0f} s",
        ]
    )
    if not complete:
        show([f"interrupted: {len(run.works())} of {len(works)} works were measured"])
    return run


def show(lines: Sequence[str]) -> None:
    """Print them at once."""
    print("\n".join(lines), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    given = parser().parse_args(arguments)
    try:
        works = chosen(given.only)
        sizes = parsed_sizes(given.sizes) if given.sizes else QUICK_SIZES if given.quick else SIZES
        old = read(given.compare) if given.compare else None
        run = read(given.given) if given.given else None
        if given.plot or given.docs:
            from benchmarks import plot  # noqa: PLC0415 - needs an extra

            plot.require()
    except (ImportError, ValueError) as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2
    if given.list:
        show([f"{work.name:34} {work.title}" for work in WORKS])
        show(["", *(f"{key:34} {title}" for key, title in TITLES.items())])
        return 0
    if run is None:
        try:
            run = measure(works, sizes, quick=given.quick)
        except KeyboardInterrupt:  # before there was anything to measure, or once more while things are closed
            return INTERRUPTED
    if given.json:
        Path(given.json).write_text(run.to_json(), encoding="utf-8")
    if old is not None:
        show(["", *report.comparison(old, run)])
    if given.plot:
        for path in plot.pictures(run, Path(given.plot)):
            show([str(path)])
    if given.docs:
        from benchmarks import documents  # noqa: PLC0415 - needs an extra

        for path in documents.write(run):
            show([str(path)])
    return 0 if run.complete or given.given else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
