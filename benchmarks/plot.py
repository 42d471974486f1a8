"""Results as pictures: cost against size on logarithmic axes, and ratios as bars.

All contenders of a work are drawn by CPU time if that is the whole cost of each of them, else by wall time.

A contender has the same colour, line and marker in every picture.  It needs the extra ``plot``, and no display;
nothing of matplotlib's global state is used or left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from benchmarks.groups import group
from benchmarks.measure import Figures
from benchmarks.report import figure as number
from benchmarks.results import OURS, Clock, Result, Run, common_clock, size, sizes
from vsbatch_core.extras import pip_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID = "#222222", "#DDDDDD"


@frozen
class Style:
    """How a contender is drawn; colours of Okabe and Ito's palette, which colour-blind people tell apart."""

    colour: str
    marker: str
    line: str = "-"


STYLES = {
    OURS: Style("#0072B2", "o"),
    "floor": Style("#999999", "_", ":"),
    "sqlite": Style("#D55E00", "s"),
    "sqlite-bare": Style("#D55E00", "D", "--"),
    "islice": Style("#009E73", "^"),
    "sorted": Style("#CC79A7", "v"),
    "redis": Style("#B8860B", "P"),
    "openai-responses": Style("#56B4E9", "X"),
    "ogx": Style("#6A3D9A", "*"),
    "constant": Style("#999999", "_", ":"),
    "json-dumps": Style("#E69F00", "h"),
    "undeleted": Style("#E69F00", "<", "--"),
    "longest": Style("#E69F00", ">", "--"),
    "collector": Style("#E69F00", "<", "--"),
    "json-loads": Style("#E69F00", "H", "--"),
    "resident": Style("#E69F00", "8", "--"),
    "steps": Style("#0072B2", "v", "--"),
    "simpy-file": Style("#E69F00", "p"),
    "simpy-worker": Style("#E69F00", "d", "--"),
    "naive": Style("#D55E00", "s", ":"),
    "naive-many": Style("#D55E00", "D", ":"),
    "naive-once": Style("#D55E00", "^", ":"),
    "fsync": Style("#999999", "x", ":"),
    "json-columns": Style("#E69F00", "*", "--"),
    "memory": Style("#0072B2", "o", ":"),
    "select": Style("#D55E00", "+", ":"),
    "reader": Style("#0072B2", "x", "--"),
    "median": Style("#0072B2", "x", ":"),
    "one-by-one": Style("#0072B2", "v", ":"),
    "queue": Style("#D55E00", "P", ":"),
    "select-1": Style("#D55E00", "+", "--"),
}
"""By contender.  What never takes part in the same work may look alike."""

RC: dict[str, Any] = {
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.dpi": 110,
    "font.size": 9,
    "legend.frameon": False,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}

UNITS = ((1e-9, "1 ns"), (1e-6, "1 µs"), (1e-3, "1 ms"), (1.0, "1 s"))


def require() -> None:
    """Raise ``ImportError``, which says what to install, unless pictures can be drawn."""
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: {pip_line('plot')}") from error


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of this size in inches, whose style is set here and not by the user."""
    require()
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()
        params: Any = mpl.rcParams
        params.update(RC)
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn


def save(drawn: Figure, path: Path) -> Path:
    """Write it, without the date, so that the same results give the same file."""
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra

    path.parent.mkdir(parents=True, exist_ok=True)
    salted: Any = {"svg.hashsalt": "vsbatch-core"}
    with mpl.rc_context(salted):
        drawn.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def label(seconds: float) -> str:
    """Return a cost as it is written at an axis."""
    for factor, name in reversed(UNITS):
        if seconds >= factor * 0.999:
            return f"{number(seconds / factor)} {name.split()[1]}"
    return f"{number(seconds * 1e9)} ns"


def times(ratio: float) -> str:
    """Return a ratio as it is written at an axis, beside powers of ten."""
    return superscript(round(log10(ratio))) if ratio >= 1e4 else number(ratio)


def superscript(power: int) -> str:
    """Return a power of ten."""
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def legend(drawn: Figure, run: Run, shown: dict[str, Any]) -> None:
    """Draw a legend below, in as many columns as fit."""
    order = [key for key in STYLES if key in shown]
    names = [run.contenders.get(key, key) for key in order]
    drawn.legend(
        [shown[key] for key in order],
        names,
        loc="outside lower center",
        ncols=legend_columns(names, drawn.get_figwidth()),
    )


def legend_columns(names: Sequence[str], width: float) -> int:
    """Return how many names fit side by side on so many inches."""
    each = 0.75 + 0.075 * max(map(len, names), default=0)
    return max(1, min(len(names), int(width / each)))


# Cost against size


def timed(results: Sequence[Result]) -> list[tuple[Result, Figures]]:
    """Return the results that have times, with those of the clock that suits all of them."""
    clock = shared_clock(results)
    figures = ((result, result.figures(clock)) for result in results)
    return [(result, found) for result, found in figures if found is not None]


def shared_clock(results: Sequence[Result]) -> Clock:
    """Return the clock that suits all results of a work."""
    return common_clock(*(result for result in results if result.clocks)) or "wall"


def drawable(run: Run, works: Sequence[str]) -> list[str]:
    """Return the works with times at more than one size."""
    return [work for work in works if len({result.n for result, _ in timed(run.of(work))}) > 1]


def costs(run: Run, works: Sequence[str], *, columns: int = 3) -> Iterator[Figure]:
    """Yield a figure with a panel for each work of several sizes, and in it a line for each contender."""
    works = drawable(run, works)
    if not works:
        return
    columns = min(columns, len(works))
    rows = -(-len(works) // columns)
    width = max(3.3 * columns + 0.4, 5.0)
    keys = {result.contender for work in works for result, _ in timed(run.of(work))}
    names = [run.contenders.get(key, key) for key in keys]
    below = 0.35 + 0.2 * -(-len(names) // legend_columns(names, width))
    with drawing(width, 2.6 * rows + below) as drawn:
        panels = list(drawn.subplots(rows, columns, squeeze=False).flat)
        shown: dict[str, Any] = {}
        for panel, work in zip(panels, works, strict=False):
            _costs(panel, run, work, shown)
        for panel in panels[len(works) :]:
            panel.set_axis_off()
        legend(drawn, run, shown)
        drawn.supylabel("one operation, CPU time", color=INK, fontsize=9)
        yield drawn


def _costs(panel: Any, run: Run, work: str, shown: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - an optional extra

    results = timed(run.of(work))
    at = sizes([result for result, _ in results])
    for contender in dict.fromkeys(result.contender for result, _ in results):
        style = STYLES[contender]
        mine = sorted((result.n, times) for result, times in results if result.contender == contender)
        n = [size for size, _ in mine]
        (line,) = panel.plot(
            n,
            [times.median for _, times in mine],
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markersize=6 if contender == OURS else 5,
            linewidth=2.2 if contender == OURS else 1.3,
            zorder=3 if contender == OURS else 2,
        )
        spreads = [_middle_half(times) for _, times in mine]
        panel.fill_between(
            n, [low for low, _ in spreads], [high for _, high in spreads], color=style.colour, alpha=0.15, lw=0
        )
        shown.setdefault(contender, line)
    panel.set_xscale("log")
    panel.set_yscale("log")
    title = run.titles.get(work, work)
    panel.set_title(title if shared_clock(run.of(work)) == "cpu" else f"{title} (wall time)")
    low, high = at[0] / 1.4, at[-1] * 1.4
    labelled = apart(at, (high / low) ** 0.2)
    panel.set_xticks(labelled, [_power(n) for n in labelled])
    panel.set_xticks([n for n in at if n not in labelled], minor=True)
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlim(low, high)
    low, high = panel.get_ylim()
    if high / low < 10:  # at least a decade, so that noise is not drawn as growth
        middle = (low * high) ** 0.5
        panel.set_ylim(middle / 10**0.5, middle * 10**0.5)
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 30 else (1,), numticks=8))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(axis="y", color=GRID, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.set_xlabel("files in the store")


def apart(values: Sequence[int], factor: float) -> list[int]:
    """Return of rising values those that are larger by this factor than the last: so labels do not overlap."""
    taken = [values[0]]
    for value in values[1:]:
        if value > taken[-1] * factor:
            taken.append(value)
    return taken


def _power(n: int) -> str:
    text = size(n)
    return superscript(int(text[3:])) if text.startswith("10^") else text


def _middle_half(times: Figures) -> tuple[float, float]:
    taken = sorted(times.taken)
    quarter = len(taken) // 4
    return taken[quarter], taken[-1 - quarter]


# Ratios


def ratios(run: Run, works: Sequence[str]) -> Iterator[Figure]:
    """Yield a figure of bars: each contender over ours, at the largest size that others were measured at too."""
    groups = [(work, found) for work in works if (found := _ratios(run, work))]
    if not groups:
        return
    bars = sum(len(found) for _, found in groups) + 0.8 * len(groups)
    with drawing(9, 0.19 * bars + 1.6) as drawn:
        panel: Any = drawn.subplots()
        y = 0.0
        ticks: list[tuple[float, str]] = []
        shown: dict[str, Any] = {}
        for work, found in groups:
            first = y
            for contender, _, ratio in found:
                style = STYLES[contender]
                bar = panel.barh(
                    y,
                    ratio.median - 1,
                    left=1,
                    height=0.8,
                    color=style.colour,
                    alpha=0.55 if style.line == "--" else 0.9,
                    hatch="////" if style.line == "--" else None,
                    edgecolor="white",
                    linewidth=0.4,
                )
                panel.plot([ratio.low, ratio.high], [y, y], color=INK, linewidth=0.9)
                shown.setdefault(contender, bar)
                y += 1
            ticks.append(((first + y - 1) / 2, f"{run.titles.get(work, work)}\n{_power(found[0][1])}"))
            y += 0.8
        _ratio_axes(panel, ticks, y)
        legend(drawn, run, shown)
        yield drawn


def _ratio_axes(panel: Any, ticks: list[tuple[float, str]], end: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415 - an optional extra

    panel.set_xscale("log")
    panel.axvline(1, color=INK, linewidth=1.2)
    panel.set_ylim(end - 0.4, -1.0)
    panel.set_yticks([at for at, _ in ticks], [text for _, text in ticks], fontsize=7.5)
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{times(value)}x"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(axis="x", color=GRID, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.set_xlabel("what they take over what ours takes (line: middle half of the rounds)")


def _ratios(run: Run, work: str) -> list[tuple[str, int, Any]]:
    results = timed(run.of(work))
    found: list[tuple[str, int, Any]] = []
    for n in reversed(sizes([result for result, _ in results])):
        for contender in dict.fromkeys(result.contender for result, _ in results):
            ratio = None if contender == OURS else run.ratio(work, contender, n)
            if ratio is not None:
                found.append((contender, n, ratio))
        if found:
            return found
    return found


def pictures(run: Run, folder: Path) -> Iterator[Path]:
    """Draw a picture of each kind for each group of works; yield the files."""
    timed_works = [work for work in run.works() if timed(run.of(work)) and shared_clock(run.of(work)) != "bytes"]
    for name in dict.fromkeys(map(group, timed_works)):
        works = [work for work in timed_works if group(work) == name]
        for drawn in costs(run, works):
            yield save(drawn, folder / f"cost-{name}.svg")
        for drawn in ratios(run, works):
            yield save(drawn, folder / f"ratios-{name}.svg")
