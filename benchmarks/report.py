"""Results as text: a block for each work, the goals, and what changed between two runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from benchmarks.measure import Ratio, Times, exponent
from benchmarks.results import OURS, Result, Run, ratio, size, sizes

FIRST, CELL = 34, 22
"""Columns: the contender's, and each size's."""


def cost(value: float, unit: str = "s") -> str:
    """A cost in the unit that suits it."""
    if unit == "bytes":
        return f"{value:,.0f} bytes"
    for factor, name in ((1e-6, "ns"), (1e-3, "us"), (1, "ms")):
        if value < factor:
            return f"{value / factor * 1e3:.3g} {name}"
    return f"{value:.3g} s"


def ratio_text(found: Ratio) -> str:
    """A ratio with the middle half of its rounds, if it has several; a draw if that crosses 1."""
    if found.low == found.high:
        return f"{figure(found.median)}x"
    spread = f"{figure(found.low)}-{figure(found.high)}"
    return f"draw {spread}" if found.draw else f"{figure(found.median)}x {spread}"


def figure(value: float) -> str:
    """Three digits of what is more than 1, two of what is less, without an exponent."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def unit_of(work: str) -> str:
    """What the figures of a work are."""
    return "bytes" if work.rsplit(".", maxsplit=1)[-1] == "memory" else "s"


def block(work: str, title: str, results: Sequence[Result], contenders: dict[str, str]) -> list[str]:
    """A work: what ours costs, and how many times that the others do, by size; how each grows."""
    unit = unit_of(work)
    columns = sizes(results)
    by_key: dict[str, dict[int, Result]] = {}
    for result in results:
        by_key.setdefault(result.contender, {})[result.n] = result
    heads = "".join(f"{size(n):>{CELL}}" for n in columns)
    grows = "  grows as" * (len(columns) > 1)
    lines = [f"{title}  [{work}]", f"{'':{FIRST}}{heads}{grows}"]
    ours = {n: result.times for n, result in by_key.get(OURS, {}).items()}
    for contender, row in by_key.items():
        if all(result.times is None and result.wrong is None for result in row.values()):
            continue
        cells = "".join(f"{_cell(row.get(n), contender, ours.get(n), unit):>{CELL}}" for n in columns)
        name = contenders.get(contender, contender)
        lines.append(f"  {name:{FIRST - 2}}{cells}{_grows(row.values())}")
    return [line.rstrip() for line in [*lines, *_notes(by_key, contenders)]]


def _cell(result: Result | None, contender: str, ours: Times | None, unit: str) -> str:
    if result is None or (result.times is None and result.wrong is None):
        return "-"
    if result.times is None:
        return "wrong"
    beside = None if contender == OURS else ratio(result.times, ours)
    return cost(result.times.median, unit) if beside is None else ratio_text(beside)


def _grows(row: Iterable[Result]) -> str:
    grown = exponent((result.n, result.times.median) for result in row if result.times)
    return "" if grown is None else f"  n^{max(grown, 0.0) if abs(grown) < 0.005 else grown:.2f}"


def _notes(by_key: dict[str, dict[int, Result]], contenders: dict[str, str]) -> Iterator[str]:
    for contender, row in by_key.items():
        name = contenders.get(contender, contender)
        for field in ("wrong", "left_out"):
            told: dict[str, list[int]] = {}
            for n, result in row.items():
                if (text := getattr(result, field)) is not None:
                    told.setdefault(text, []).append(n)
            for text, at in told.items():
                where = "" if len(at) == len(row) > 1 else f" at {', '.join(map(size, at))}"
                yield f"    {name}{where}: {'wrong: ' * (field == 'wrong')}{text}"


def heading(run: Run) -> list[str]:
    """Where, when and with what."""
    here = ", ".join(f"{name} {version}" for name, version in run.machine.versions.items() if version)
    return [
        f"{run.date}, {run.machine}",
        here,
        f"load {run.load.before:g} before",
        "Ours as it is; the others as how many times that: the median of the rounds, then their middle half.",
    ]


def missing(what: dict[str, str], contenders: dict[str, str]) -> list[str]:
    """Who is not here, and how to get them."""
    return [f"not here: {contenders.get(key, key)} ({how})" for key, how in what.items()]


def bounded(most: dict[str, int], asked: Sequence[int], contenders: dict[str, str]) -> list[str]:
    """Who is not tried with the largest of the sizes that are asked for."""
    return [f"up to {size(n)} files: {contenders.get(key, key)}" for key, n in most.items() if n < max(asked)]


# Two runs


def comparison(old: Run, new: Run) -> list[str]:
    """What changed beyond noise: what ours takes at a work and a size, in units of what the others take.

    It changed if, beside more than half of the others, the middle halves of the ratios' rounds are apart and the
    medians differ by more than 5 per cent, all in the same direction.  One of the others that was disturbed, or
    has become another version, is no such majority.
    """
    lines: list[str] = []
    looked_at = 0
    for work in new.works():
        for n in sizes(new.of(work)):
            pairs = [
                (was, now)
                for contender in dict.fromkeys(result.contender for result in new.of(work))
                if (was := _figure(old, work, contender, n)) and (now := _figure(new, work, contender, n))
            ]
            if not pairs:
                continue
            looked_at += 1
            factors = [now.median / was.median for was, now in pairs]
            for word, moved in (
                ("better", [now.differs(was) and now.median < was.median for was, now in pairs]),
                ("worse", [now.differs(was) and now.median > was.median for was, now in pairs]),
            ):
                if 2 * sum(moved) > len(pairs):
                    beside = f" (beside {sum(moved)} of {len(pairs)})" if unit_of(work) == "s" else ""
                    lines.append(
                        f"{word:6} {work} at {size(n)}: ours takes {median(factors):.2f}x of what it did{beside}"
                    )
    counted = f"{len(lines)} of {looked_at} works and sizes that are in both changed beyond noise"
    return [*_differing(old, new), *lines, f"{counted} (since {old.date})"]


def _figure(run: Run, work: str, contender: str, n: int) -> Ratio | None:
    """What ours takes over what the contender does; of memory, the bytes that ours takes."""
    if unit_of(work) == "bytes":
        times = run.find(work, contender, n) if contender == OURS else None
        return None if times is None else Ratio.of(times, Times((1.0,) * len(times.rounds)))
    return None if contender == OURS else run.ratio(work, OURS, n, contender)


def _differing(old: Run, new: Run) -> Iterator[str]:
    for what, was, now in (
        ("processor", old.machine.cpu, new.machine.cpu),
        ("cores", old.machine.cores, new.machine.cores),
        ("Python", old.machine.python, new.machine.python),
        *(
            (name, old.machine.versions.get(name, ""), version)
            for name, version in new.machine.versions.items()
            if name != "vsbatch-core"
        ),
    ):
        if was != now:
            yield f"not the same: {what} was {was or 'not here'}, is {now or 'not here'}"
