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
from benchmarks.report import cost, figure, unit_of
from benchmarks.results import OURS, Run, size, sizes

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

ROWS = (
    "page.20.middle.asc",
    "page.20.middle.asc.completed",
    "page.100.middle.asc",
    "walk.100",
    "retrieve.file",
    "complete.1",
    "complete.2000",
    "create.2000",
    "cancel.2000",
    "delete-walk",
    "json.page",
    "json.encode",
    "dispatch.page-20",
    "uvicorn.page-20",
    "simulate.run",
    "memory",
)
BESIDE = {
    "floor": ("floor", "constant"),
    "SQLite": ("sqlite",),
    "bare SQLite": ("sqlite-bare",),
    "islice": ("islice",),
    "sorted": ("sorted",),
    "others": ("redis", "openai-responses", "ogx", "json-dumps", "simpy-file", "simpy-worker"),
}
"""The table's columns beside ours, and who stands in them."""


NAMES = {
    "redis": "Redis",
    "ogx": "OGX",
    "json-dumps": "`json.dumps`",
    "simpy-file": "SimPy, a process a file",
    "simpy-worker": "SimPy, a process a worker",
}
"""Of those who share a column."""


def cell(found: Ratio | None) -> str:
    """A ratio in the table."""
    if found is None:
        return ""
    return "draw" if found.draw else f"{figure(found.median)}x"


def rows(run: Run) -> Iterator[list[str]]:
    """The table, without its headings."""
    for work in ROWS:
        at = [n for n in sizes(run.of(work)) if run.find(work, OURS, n)]
        if not at:
            continue
        n = at[-1]
        ours = run.find(work, OURS, n)
        assert ours is not None
        cells = []
        for who in BESIDE.values():
            told = []
            for key in who:
                found, where = run.ratio(work, key, n), n
                if found is None:  # at the largest size that it did as well
                    for where in reversed(at):
                        if (found := run.ratio(work, key, where)) is not None:
                            break
                if found is not None:
                    name = "" if len(who) < 3 else f" {NAMES.get(key, key)}"
                    apart = "" if where == n else f" ({size(where)})"
                    told.append(f"{cell(found)}{name}{apart}")
            cells.append("; ".join(told))
        exponent = run.exponent(work, OURS)
        yield [
            run.titles.get(work, work),
            size(n),
            cost(ours.median, unit_of(work)).replace("us", "µs"),
            "" if exponent is None else f"{exponent:.2f}".replace("-0.00", "0.00"),
            *cells,
        ]


def part(run: Run) -> str:
    """What stands between the marks."""
    head = ["", "n", "ours", "grows as n^", *BESIDE]
    lines = [head, ["---"] * len(head), *rows(run)]
    table = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
    versions = run.machine.versions
    beside = ", ".join(f"{name} {versions[name]}" for name in ("SQLite", "redis-server") if versions.get(name))
    told = (
        f"{run.date}, {run.machine}, {beside}; load average {run.load.before:g} before, {run.load.highest:g} at "
        "most. *Ours* is a cost; the others are how many times that they take, *draw* where the middle half of "
        "the rounds crosses 1."
    )
    picture = f"![Cost of an operation against the number of files]({PICTURE})"
    return f"\n{picture}\n\n{fill(told, 118)}\n\n{table}\n"


def written(text: str, run: Run) -> str:
    """The document with its generated part made anew; raise ``ValueError`` if it has none."""
    if not PART.search(text):
        raise ValueError("README.md has no '<!-- generated: figures -->'")
    made = part(run)
    return PART.sub(lambda _: made, text)


def write(run: Run, root: Path = ROOT) -> Iterator[Path]:
    """Write the table into README.md, and the figure; what was written."""
    readme = root / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8"), run), encoding="utf-8")
    yield readme
    for drawn in plot.costs(run, DRAWN):
        yield plot.save(drawn, root / PICTURE)
