"""Measure the engine beside what people would use instead."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from textwrap import wrap
from time import perf_counter

from attrs import evolve

from benchmarks import documents, goals, machine, report
from benchmarks.contenders import TITLES
from benchmarks.fixtures import Fixtures
from benchmarks.groups import group
from benchmarks.presets import DEFAULT, FULL, PRESETS, QUICK, Preset
from benchmarks.results import Load, Result, Run
from benchmarks.run import LEAST_SIZE, MOST_SIZE, WORKS, chosen, measured, parsed_sizes
from benchmarks.work import Work

INTERRUPTED = 130
READER_GONE = 141
WIDTH = 80


def presets_text() -> str:
    """Return what each preset measures and how long it takes, in lines of at most 80 characters."""
    lines = ["presets (times on two idle cores; --only and --sizes change them):"]
    for preset in PRESETS.values():
        lines += wrap(f"{preset}", WIDTH, initial_indent=f"  {preset.name:9}", subsequent_indent=" " * 11)
    return "\n".join(lines)


ABOUT = """\
The same work, checked, in one process, in turns.  Costs and ratios are printed
in CPU time and in wall time; docs/benchmarks.md says how to read them."""

EXAMPLES = """\
examples:
  python -m benchmarks                          the works that matter most
  python -m benchmarks --only changes           one group: see --list
  python -m benchmarks --only durable --folder .   on the disk of this folder
  python -m benchmarks --only page.20 '*.file'  by first words, or by a glob
  python -m benchmarks --only complete.1 --sizes 1e3,1e6 --json old.json
  python -m benchmarks --only complete.1 --sizes 1e3,1e6 --compare old.json
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n\n{ABOUT}",
        epilog=f"{presets_text()}\n\n{EXAMPLES}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=WIDTH),
    )
    what = made.add_argument_group("what is measured")
    one = what.add_mutually_exclusive_group()
    one.add_argument(
        "--preset", choices=PRESETS, help="works, sizes and rounds: see below (default: default; --docs: full)"
    )
    one.add_argument("--quick", dest="preset", action="store_const", const=QUICK.name, help="--preset quick")
    what.add_argument(
        "--only",
        action="extend",
        nargs="+",
        default=[],
        metavar="WORK",
        help="instead of the preset's works these, of all that there are: a group, a name, its first words, "
        "or a glob",
    )
    what.add_argument(
        "--sizes",
        metavar="N,N...",
        help="instead of the preset's sizes these, in files of the store: such as 1e3,10_000 "
        f"({LEAST_SIZE:,} to {MOST_SIZE:,})",
    )
    what.add_argument(
        "--folder",
        metavar="FOLDER",
        help="put databases here, on the disk that is to be measured (default: where temporary files are)",
    )
    what.add_argument("--from", dest="given", metavar="FILE", help="take these results instead of measuring")
    what.add_argument(
        "--list", action="store_true", help="name the works by group, and the contenders; measure nothing"
    )
    then = made.add_argument_group("what is done with the results")
    then.add_argument("--json", metavar="FILE", help="write them as JSON")
    then.add_argument("--plot", metavar="FOLDER", help="draw pictures into this folder (extra: plot)")
    then.add_argument("--compare", metavar="FILE", help="say what changed beyond noise since these results")
    then.add_argument(
        "--docs",
        action="store_true",
        help="write the figure and the table of README.md, from a run of all works at all sizes (extra: plot)",
    )
    return made


def refuse_contradictions(given: argparse.Namespace) -> None:
    """Raise ``ValueError``, which says what to leave out, for options that contradict each other."""
    narrowing = {
        "--only": bool(given.only),
        "--sizes": given.sizes is not None,
        f"--preset {given.preset}": given.preset is not None,
    }
    for option, there in narrowing.items():
        if there and given.given is not None:
            raise ValueError(f"--from {given.given} takes results as they are: leave out {option}")
        if there and given.docs and option != f"--preset {FULL.name}":
            raise ValueError(
                f"--docs measures all works at all sizes, as --preset {FULL.name} does: leave out {option}"
            )


def chosen_by(given: argparse.Namespace) -> tuple[Preset, list[Work], list[int]]:
    """Return the preset, the works and the sizes to measure.

    Raise ``ValueError`` for works and sizes that there are not, and for options that contradict each other.
    """
    refuse_contradictions(given)
    preset = PRESETS[given.preset or (FULL.name if given.docs else DEFAULT.name)]
    sizes = list(preset.sizes) if given.sizes is None else parsed_sizes(given.sizes)
    return preset, chosen(given.only or preset.works), sizes


def refuse_no_folder(folder: str | None) -> None:
    """Raise ``ValueError`` for a folder that is none."""
    if folder is not None and not Path(folder).is_dir():
        raise ValueError(f"--folder {folder} is no folder: give one that is there")


class _Progress:
    """What is being done, on one line of a terminal that is written over."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text[:100]}")
            sys.stderr.flush()


def read(path: str) -> Run:
    """Return the results in a file; raise ``ValueError``, which names the file."""
    try:
        return Run.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def measure(works: Sequence[Work], sizes: Sequence[int], preset: Preset, folder: str | None = None) -> Run:
    """Measure, and print the results; return them, on Ctrl-C those so far."""
    progress = _Progress()
    before = highest = machine.load()
    results: list[Result] = []
    complete = False
    with Fixtures(folder=folder) as fixtures:
        fixtures.try_all()
        run = Run(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=machine.machine(),
            load=Load(before, before, before),
            preset=preset.name,
            complete=False,
            titles={work.name: work.title for work in works},
            contenders=TITLES,
            results=(),
        )
        most = {kind.key: kind.most for kind in fixtures.present()}
        absent = [*report.missing(fixtures.missing, TITLES), *report.bounded(most, sizes, TITLES)]
        show([*report.heading(run), *absent, ""])
        start = perf_counter()
        try:
            for work, found in measured(works, sizes, fixtures, preset.pace, progress):
                progress("")
                results += found
                highest = max(highest, machine.load())
                below = goals.beside(evolve(run, results=tuple(found)), work.name)
                show([*report.block(work.name, work.title, found, TITLES), *below, ""])
            complete = True
        except KeyboardInterrupt:
            progress("")
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


def listing() -> list[str]:
    """Return the works by group, and the contenders."""
    lines = []
    for name in dict.fromkeys(group(work.name) for work in WORKS):
        lines.append(f"{name}:")
        lines += [f"  {work.name:36} {work.title}" for work in WORKS if group(work.name) == name]
        lines.append("")
    return [*lines, "contenders:", *(f"  {key:36} {title}" for key, title in TITLES.items())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit status."""
    given = parser().parse_args(arguments)
    try:
        preset, works, sizes = chosen_by(given)
        refuse_no_folder(given.folder)
        old = read(given.compare) if given.compare else None
        run = read(given.given) if given.given else None
        if given.plot or given.docs:
            from benchmarks import plot  # noqa: PLC0415 - needs an extra

            plot.require()
        if run is not None and given.docs:
            documents.refuse_unfit(run, given.given)
    except (ImportError, ValueError) as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2
    if given.list:
        show(listing())
        return 0
    if run is None:
        try:
            run = measure(works, sizes, preset, given.folder)
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
        if why := documents.unfit(run):
            print(f"python -m benchmarks: README.md is left as it is: {why}", file=sys.stderr)
            return 2 if run.complete else INTERRUPTED
        for path in documents.write(run):
            show([str(path)])
    return 0 if run.complete or given.given else INTERRUPTED


def program() -> int:
    """Run ``main``; end quietly if the reader of the output goes away."""
    try:
        ended = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's last flush
        return READER_GONE
    return ended


if __name__ == "__main__":
    sys.exit(program())
