"""Results as text: a block for each work, and what changed between two runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from benchmarks.measure import Figures, Ratio
from benchmarks.results import OURS, Clock, Result, Run, common_clock, grown, ratio, size, sizes

FIRST, CLOCK, CELL = 35, 4, 24
"""The widths of the columns: the contender's, the clock's, and each size's."""


def cost(value: float, clock: Clock) -> str:
    """Return a cost in the unit that suits it."""
    if clock == "bytes":
        return f"{value:,.0f} bytes"
    for factor, name in ((1e-6, "ns"), (1e-3, "us"), (1, "ms")):
        if value < factor:
            return f"{value / factor * 1e3:.3g} {name}"
    return f"{value:.3g} s"


def ratio_text(found: Ratio) -> str:
    """Return a ratio with the middle half of its rounds, if it has several; a draw if that crosses 1."""
    if found.low == found.high:
        return f"{figure(found.median)}x"
    spread = f"{figure(found.low)}-{figure(found.high)}"
    return f"draw {spread}" if found.draw else f"{figure(found.median)}x {spread}"


def figure(value: float) -> str:
    """Return three digits of a value above 1, two of one below, without an exponent."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def block(work: str, title: str, results: Sequence[Result], contenders: dict[str, str]) -> list[str]:
    """Return the lines of a work: what ours costs, how many times that the others cost, and how each grows.

    Each contender has a line for CPU time and one for wall time; the first of them is the one that counts.
    """
    columns = sizes(results)
    by_key: dict[str, dict[int, Result]] = {}
    for result in results:
        by_key.setdefault(result.contender, {})[result.n] = result
    heads = "".join(f"{size(n):>{CELL}}" for n in columns)
    grows = "  grows as" * (len(columns) > 1)
    lines = [f"{title}  [{work}]", f"{'':{FIRST + CLOCK}}{heads}{grows}"]
    ours = by_key.get(OURS, {})
    for contender, row in by_key.items():
        name = contenders.get(contender, contender)
        clocks: list[Clock] = list(dict.fromkeys(clock for result in row.values() for clock in result.clocks))
        if not clocks and any(result.wrong is not None for result in row.values()):
            lines.append(f"  {name:{FIRST + CLOCK - 2}}{_cells(columns, row, contender, ours, None)}")
        for clock in clocks:
            cells = _cells(columns, row, contender, ours, clock)
            first = clock == clocks[0]
            grows = _grows(row.values()) if first else ""
            lines.append(f"  {name if first else '':{FIRST - 2}}{_word(clock):{CLOCK}}{cells}{grows}")
    return [line.rstrip() for line in [*lines, *_notes(by_key, contenders)]]


def _word(clock: Clock) -> str:
    return "" if clock == "bytes" else clock


def _cells(
    columns: Sequence[int], row: dict[int, Result], contender: str, ours: dict[int, Result], clock: Clock | None
) -> str:
    texts = (_cell(row.get(n), None if contender == OURS else ours.get(n), clock) for n in columns)
    return "".join(f"{text:>{CELL}}" for text in texts)


def _cell(result: Result | None, ours: Result | None, clock: Clock | None) -> str:
    if result is None:
        return "-"
    if result.wrong is not None:
        return "wrong"
    figures = None if clock is None else result.figures(clock)
    if clock is None or figures is None:
        return "-"
    beside = ratio(result, ours, clock)
    return cost(figures.median, clock) if beside is None else ratio_text(beside)


def _grows(row: Iterable[Result]) -> str:
    power = grown(row)
    return "" if power is None else f"  n^{max(power, 0.0) if abs(power) < 0.005 else power:.2f}"


def _notes(by_key: dict[str, dict[int, Result]], contenders: dict[str, str]) -> Iterator[str]:
    for contender, row in by_key.items():
        name = contenders.get(contender, contender)
        for field, before in (("wrong", "wrong: "), ("left_out", ""), ("cpu_lacks", "CPU time: "), ("note", "")):
            notes: dict[str, list[int]] = {}
            for n, result in row.items():
                if text := getattr(result, field):
                    notes.setdefault(text, []).append(n)
            for text, at in notes.items():
                where = "" if len(at) == len(row) > 1 else f" at {', '.join(map(size, at))}"
                yield f"    {name}{where}: {before}{text}"


def heading(run: Run) -> list[str]:
    """Return where, when and with what it was measured, and how to read the figures."""
    here = ", ".join(f"{name} {version}" for name, version in run.machine.versions.items() if version)
    return [
        f"{run.date}, {run.machine}",
        here,
        f"preset {run.preset}; load {run.load.before:g} before",
        "Ours as a cost; the others as a multiple of it: the median of the rounds, then their middle half.",
        "By CPU time and by wall time; the first of the two lines is the one that counts.",
    ]


def missing(what: dict[str, str], contenders: dict[str, str]) -> list[str]:
    """Return the contenders that cannot run here, and how to get them."""
    return [f"not here: {contenders.get(key, key)} ({how})" for key, how in what.items()]


def bounded(most: dict[str, int], wanted: Sequence[int], contenders: dict[str, str]) -> list[str]:
    """Return the contenders that are not tried with the largest of the sizes."""
    return [f"up to {size(n)} files: {contenders.get(key, key)}" for key, n in most.items() if n < max(wanted)]


# Two runs


def comparison(old: Run, new: Run) -> list[str]:
    """Return what changed beyond noise: what ours takes at a work and a size, in units of what the others take.

    It changed if, beside more than half of the others, the middle halves of the ratios' rounds are apart and the
    medians differ by more than 5 per cent, all in the same direction.  One of the others that was disturbed, or
    has become another version, is no such majority.  A ratio that both runs can form from CPU time is compared by
    that, another by wall time; the change in wall time is given as well.
    """
    lines: list[str] = []
    looked_at = 0
    for work in new.works():
        for n in sizes(new.of(work)):
            compared = [
                (clock, was, now)
                for contender in dict.fromkeys(result.contender for result in new.of(work))
                if (clock := _clock(old, new, work, contender, n))
                and (was := _figure(old, work, contender, n, clock))
                and (now := _figure(new, work, contender, n, clock))
            ]
            if not compared:
                continue
            looked_at += 1
            pairs = [(was, now) for _, was, now in compared]
            took = _took([clock for clock, _, _ in compared], pairs, _wall(old, new, work, n))
            for word, moved in (
                ("better", [now.differs(was) and now.median < was.median for was, now in pairs]),
                ("worse", [now.differs(was) and now.median > was.median for was, now in pairs]),
            ):
                if 2 * sum(moved) > len(pairs):
                    beside = "" if compared[0][0] == "bytes" else f" (beside {sum(moved)} of {len(pairs)})"
                    lines.append(f"{word:6} {work} at {size(n)}: ours takes {took}{beside}")
    counted = f"{len(lines)} of {looked_at} works and sizes that are in both changed beyond noise"
    return [*_differing(old, new), *lines, f"{counted} (since {old.date})"]


def _took(clocks: Sequence[Clock], pairs: Sequence[tuple[Ratio, Ratio]], wall: Sequence[float]) -> str:
    """Return how much of what it did ours takes: by the clocks that count, and in wall time."""
    factor = f"{median(now.median / was.median for was, now in pairs):.2f}x"
    if "bytes" in clocks:
        return f"{factor} of the bytes that it did"
    if "cpu" not in clocks:
        return f"{factor} of the wall time that it did"
    time = "CPU time" if set(clocks) == {"cpu"} else "time"
    return f"{factor} of the {time} that it did" + (f", {median(wall):.2f}x of the wall time" if wall else "")


def _wall(old: Run, new: Run, work: str, n: int) -> list[float]:
    """Return by which factors ours changed in wall time, beside each of the others."""
    return [
        now.median / was.median
        for contender in dict.fromkeys(result.contender for result in new.of(work))
        if (was := _figure(old, work, contender, n, "wall")) and (now := _figure(new, work, contender, n, "wall"))
    ]


def _clock(old: Run, new: Run, work: str, contender: str, n: int) -> Clock | None:
    """Return the clock by which both runs can compare ours with the contender."""
    return common_clock(*(run.find(work, key, n) for run in (old, new) for key in (OURS, contender)))


def _figure(run: Run, work: str, contender: str, n: int, clock: Clock) -> Ratio | None:
    """Return what ours takes over what the contender does; of memory, the bytes that ours takes."""
    if clock == "bytes":
        result = run.find(work, contender, n) if contender == OURS else None
        bytes = None if result is None else result.figures(clock)
        return None if bytes is None else Ratio.of(bytes, Figures((1.0,) * len(bytes.rounds)))
    if contender == OURS:
        return None
    return ratio(run.find(work, OURS, n), run.find(work, contender, n), clock)


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
