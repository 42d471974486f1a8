"""Latency over time as a picture: a dot for each request, and below how many were under way.

It needs the extra ``plot``, and no display.  Nothing of matplotlib's global state is used or left behind.
"""

from __future__ import annotations

import os
from itertools import accumulate
from math import log
from typing import TYPE_CHECKING, Any

from vsbatch_core.load.samples import NAMES, OVERLOADED, Samples
from vsbatch_core.simulation.picture import INK, RC, name_axes, put_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "store": "#000000",
    "create": "#E69F00",
    "attach": "#F0E442",
    "retrieve": "#0072B2",
    "file": "#56B4E9",
    "list": "#009E73",
    "list-store": "#7FC97F",
    "cancel": "#CC79A7",
    "delete": "#8A8A8A",
}
"""By operation; of Okabe and Ito's palette, with a lighter green and a grey."""

ERROR = "#D00000"
LEAST = 1e-5
"""Seconds; latencies below this, which only a clock that stands still measures, are drawn at it."""


def draw(samples: Samples, path: str | os.PathLike[str] | None, *, title: str, open_loop: bool) -> Figure:
    """Draw a run, to a file if a path is given: ``.png``, ``.pdf`` or ``.svg``.  O(n log n).

    Raise ``ValueError`` if there was no request, and ``OSError`` if the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    if not len(samples):
        raise ValueError("There is nothing to draw: no request was answered.")
    # What the user has set for their own pictures is not ours to follow, nor to change.
    with mpl.rc_context():
        mpl.rcdefaults()
        params: Any = mpl.rcParams
        params.update(RC)
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        _drawn(figure, samples, open_loop)
        put_title(figure, title)
        if path is not None:
            figure.savefig(path)
    return figure


def under_way(samples: Samples) -> tuple[list[float], list[int]]:
    """When the number of requests that are due and not answered changed, and to what.  O(n log n)."""
    # At the same instant what ends is before what begins; what was given up at once never was under way.
    spans = [(due, done) for due, done in zip(samples.due, samples.done, strict=True) if done > due]
    changes = sorted([(due, 1) for due, _ in spans] + [(done, -1) for _, done in spans])
    times = [time - samples.started for time, _ in changes]
    return [0.0, *times], [0, *accumulate(change for _, change in changes)]


def _percentiles(latency: Axes, samples: Samples) -> None:
    """Draw a line at each percentile of the report, with its name and value to the right of the axes."""
    figures = samples.figures()
    if figures.most <= 0 and figures.count == figures.errors:
        return  # of nothing that has a latency
    low, high = latency.get_ylim()
    least = 0.0
    for name in ("p50", "p95", "p99"):
        seconds = max(getattr(figures, name), LEAST)
        latency.axhline(seconds * 1000, color=INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=2.5)
        # Where lines are close together their names still stand one above the other.
        place = max(log(seconds * 1000 / low) / log(high / low), least)
        least = place + 0.05
        text = f"{name}  {seconds * 1000:,.3g} ms"
        latency.text(1.008, place, text, transform=latency.transAxes, va="center", fontsize=8.5)


def _drawn(figure: Figure, samples: Samples, open_loop: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - as above

    latency, queue = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1.0])
    given_up = samples.errors.index(OVERLOADED) if OVERLOADED in samples.errors else -1
    points: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    rows = zip(samples.due, samples.done, samples.operations, samples.kinds, strict=True)
    for due, done, operation, kind in rows:
        name = NAMES[operation] if not kind else ""
        marker = "." if not kind else "|" if kind == given_up else "x"
        times, heights = points.setdefault((name, marker), ([], []))
        times.append(due - samples.started)
        heights.append(max(done - due, LEAST) * 1000)
    for (name, marker), (times, heights) in sorted(points.items(), key=_rank):
        if marker == "|":
            # No latency: they stand on the upper edge, in the axes' own units.
            where = latency.get_xaxis_transform()
            heights = [0.985] * len(times)
            latency.plot(times, heights, "|", color=ERROR, transform=where, label="given up", markersize=6)
        else:
            latency.plot(
                times,
                heights,
                marker,
                color=COLOURS.get(name, ERROR),
                label=name or "error",
                markersize=5,
                markeredgewidth=0 if marker == "." else 1.3,
                alpha=0.75 if marker == "." else 1.0,
                rasterized=True,  # else a vector picture of many requests takes minutes to open
                zorder=2 if marker == "." else 3,
            )
    latency.set_yscale("log")
    name_axes(latency, "latency (ms)" + (", from when it was due" if open_loop else ""))
    latency.yaxis.set_major_formatter(FuncFormatter(lambda ms, _position: f"{ms:,g}"))
    latency.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    latency.set_axisbelow(True)
    _percentiles(latency, samples)

    times, numbers = under_way(samples)
    queue.fill_between(times, numbers, step="post", color=COLOURS["retrieve"], alpha=0.85, linewidth=0)
    name_axes(queue, "under way")
    queue.set(xlabel="time (s)", ylim=(0, max(numbers) * 1.08 or 1))
    queue.set_xlim(0, max(samples.elapsed, 1e-9))
    queue.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    figure.legend(loc="outside lower center", ncols=6, handlelength=1.0, markerscale=1.8)


def _rank(item: tuple[tuple[str, str], Any]) -> tuple[bool, int]:
    (name, _), _points = item
    return (not name, NAMES.index(name) if name else 0)
