"""The figure and the table of the documents, made from one run: ``python -m benchmarks --docs``.

``docs/make.py`` leaves them alone: they differ from run to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from benchmarks import plot
from benchmarks.measure import Ratio
from benchmarks.presets import FULL, MAIN
from benchmarks.report import cost, figure
from benchmarks.results import OURS, Clock, Result, Run, size, sizes

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(?<=<!-- generated: figures -->\n).*?(?=<!-- end -->)", re.DOTALL)
PICTURE = "docs/figures.svg"
DRAWN = (
    "page.20.middle.asc",
    "page.20.middle.asc.completed",
    "complete.1",
    "create.2000",
    "cancel.2000",
    "walk.100",
)
"""The works of the figure."""

ROWS = MAIN
"""The works of the table."""

OURS_BESIDE = (
    *("undeleted", "longest", "collector", "json-loads", "json-columns", "resident", "memory", "reader"),
    *("median", "one-by-one"),
)
"""What ours is compared with in works that are no rows of the table."""

DURABLE_BESIDE = ("naive", "naive-many", "naive-once", "fsync", "select", "queue", "select-1")
"""What the durable engine is compared with, in works that are no rows of the table either."""

BESIDE = {
    "floor": ("floor", "constant"),
    "SQLite": ("sqlite",),
    "bare SQLite": ("sqlite-bare",),
    "islice": ("islice",),
    "sorted": ("sorted",),
    "others": (
        "redis",
        "openai-responses",
        "ogx",
        "json-dumps",
        "steps",
        "simpy-file",
        "simpy-worker",
        *OURS_BESIDE,
        *DURABLE_BESIDE,
    ),
}
"""The table's columns beside ours, and the contenders in each."""

NAMES = {
    "redis": "Redis",
    "ogx": "OGX",
    "json-dumps": "`json.dumps`",
    "steps": "ours, step by step",
    "simpy-file": "SimPy, a process a file",
    "simpy-worker": "SimPy, a process a worker",
}
"""How the contenders that share a column are called."""


def cell(found: Ratio | None) -> str:
    """Return a ratio as it is written in the table."""
    if found is None:
        return ""
    return "draw" if found.draw else f"{figure(found.median)}x"


def rows(run: Run) -> Iterator[list[str]]:
    """Return the table without its headings."""
    for work in ROWS:
        at = [n for n in sizes(run.of(work)) if run.find(work, OURS, n)]
        if not at:
            continue
        n = at[-1]
        ours = run.find(work, OURS, n)
        assert ours is not None
        cells = []
        for who in BESIDE.values():
            texts = []
            for key in who:
                found, where = run.ratio(work, key, n), n
                if found is None:  # at the largest size that it did as well
                    for where in reversed(at):
                        if (found := run.ratio(work, key, where)) is not None:
                            break
                if found is not None:
                    name = "" if len(who) < 3 else f" {NAMES.get(key, key)}"
                    apart = "" if where == n else f" ({size(where)})"
                    texts.append(f"{cell(found)}{name}{apart}")
            cells.append("; ".join(texts))
        exponent = run.exponent(work, OURS)
        yield [
            run.titles.get(work, work),
            size(n),
            written_cost(ours, ours.clocks[0]),
            written_cost(ours, "wall"),
            "" if exponent is None else f"{exponent:.2f}".replace("-0.00", "0.00"),
            *cells,
        ]


def written_cost(result: Result, clock: Clock) -> str:
    """Return a cost as it is written in the table, or ``""`` if it was not measured."""
    figures = result.figures(clock)
    return "" if figures is None else cost(figures.median, clock).replace("us", "µs")


def unfit(run: Run) -> str:
    """Return why the README's figures cannot be written from a run, or ``""`` if they can."""
    if run.preset != FULL.name:
        return f"it is a run of the preset '{run.preset}', and only '{FULL.name}' has all sizes"
    missing = [work for work in ROWS if not any(run.find(work, OURS, n) for n in sizes(run.of(work)))]
    if missing or not run.complete:
        return f"it is not complete: it lacks {', '.join(missing) or 'works that the run did not reach'}"
    return ""


def refuse_unfit(run: Run, path: str) -> None:
    """Raise ``ValueError`` if the README's figures cannot be written from the run that this file holds."""
    if why := unfit(run):
        raise ValueError(f"{path} cannot be written into README.md: {why}; measure with --docs")


def part(run: Run) -> str:
    """Return what stands between the marks."""
    head = ["", "n", "ours", "ours, wall", "grows as n^", *BESIDE]
    lines = [head, ["---"] * len(head), *rows(run)]
    table = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
    versions = run.machine.versions
    beside = ", ".join(f"{name} {versions[name]}" for name in ("SQLite", "redis-server") if versions.get(name))
    lacking = dict.fromkeys(result.contender for result in run.results if result.cpu_lacks)
    by_wall = "".join(f", {run.contenders.get(key, key)} in wall time" for key in lacking)
    text = (
        f"{run.date}, {run.machine}, {beside}; load average {run.load.before:g} before, {run.load.highest:g} at "
        f"most. *Ours* is a cost in CPU time; the others are multiples of it{by_wall}, *draw* where the middle "
        "half of the rounds crosses 1."
    )
    picture = f"![Cost of an operation against the number of files]({PICTURE})"
    return f"\n{picture}\n\n{fill(text, 118)}\n\n{table}\n"


def written(text: str, run: Run) -> str:
    """Return the document with its generated part made anew; raise ``ValueError`` if it has none."""
    if not PART.search(text):
        raise ValueError("README.md has no '<!-- generated: figures -->'")
    made = part(run)
    return PART.sub(lambda _: made, text)


def write(run: Run, root: Path = ROOT) -> Iterator[Path]:
    """Write the table into README.md, and the figure; yield what was written."""
    readme = root / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8"), run), encoding="utf-8")
    yield readme
    for drawn in plot.costs(run, DRAWN):
        yield plot.save(drawn, root / PICTURE)
