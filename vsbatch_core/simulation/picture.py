"""A timeline as a picture: the counts as stacked areas, the busy workers below, cancels and faults as marks.

It needs the extra ``plot``, and no display.  Nothing of matplotlib's global state is used or left behind.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from vsbatch_core.errors import shown
from vsbatch_core.extras import pip_line
from vsbatch_core.simulation.timeline import Mark, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"completed": "#009E73", "failed": "#D55E00", "cancelled": "#B8B8B8", "in_progress": "#8CCBF0"}
"""By status, from the bottom up; of Okabe and Ito's palette, which colour-blind people tell apart."""

WORKERS, CANCEL, FAULT, INK = "#0072B2", "#7A3B69", "#E69F00", "#222222"
MARKS = {"cancel": ("cancel", "--"), "drain": ("cancel (drain)", ":")}
MOST_STEPS = 1200
"""More steps than this would be narrower than a pixel."""

UNITS = ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "h"), (600, 60, "min"))
"""From how many seconds on which unit is used, and how many seconds it has."""

RC: dict[str, Any] = {
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 13,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.dpi": 150,
    "font.size": 10,
    "legend.frameon": False,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}

TITLE, TITLE_LINE, TITLE_LINES = 13, 68, 3
"""The size of a title in points, and how many characters and lines of it are drawn."""

Step = tuple[float, dict[str, int], float]
"""From when on, how many files stand in each status, and how many workers are busy."""


def draw(
    rows: Sequence[Row],
    marks: Sequence[Mark],
    *,
    end: float,
    path: str | os.PathLike[str] | None = None,
    batch_id: str | None = None,
    workers: int | None = None,
    title: str | None = None,
) -> Figure:
    """See ``Timeline.plot``."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: {pip_line('plot')}") from error
    found = steps(rows, batch_id)
    if not found:
        what = "of any batch" if batch_id is None else f"of file batch {shown(batch_id)}"
        raise ValueError(f"There is nothing to draw: nothing was recorded {what}.")
    told = [mark for mark in marks if batch_id is None or mark.batch_id in (None, batch_id)]
    found.append((max(end, found[-1][0], *(mark.time for mark in told)), *found[-1][1:]))
    found = thinned(found)
    # What the user has set for their own pictures is not ours to follow, nor to change.
    with mpl.rc_context():
        mpl.rcdefaults()
        params: Any = mpl.rcParams
        params.update(RC)
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        _drawn(figure, found, told, workers)
        put_title(figure, title or _title(rows, batch_id))
        if path is not None:
            # Without a date in it, so that the same run gives the same file.
            figure.savefig(path, metadata={"Software": None} if str(path).endswith(".png") else None)
        figure.canvas.draw()
    return figure


def steps(rows: Sequence[Row], batch_id: str | None) -> list[Step]:
    """The counts of one batch, or of all together, at each instant at which something changed for any."""
    latest: dict[str, Row] = {}
    sums = dict.fromkeys(COLOURS, 0)
    found: list[Step] = []
    for row in rows:
        if batch_id in (None, row.batch_id):
            before = latest.get(row.batch_id)
            latest[row.batch_id] = row
            for status in COLOURS:
                sums[status] += getattr(row, status) - (getattr(before, status) if before else 0)
        if latest:
            if found and found[-1][0] == row.time:
                found.pop()
            found.append((row.time, dict(sums), row.busy))
    return found


def thinned(found: list[Step]) -> list[Step]:
    """The same in at most 1,200 equal spans: the counts where each begins, the workers' mean over it."""
    if len(found) <= MOST_STEPS:
        return found
    start, last = found[0][0], found[-1]
    width = (last[0] - start) / MOST_STEPS
    thin: list[Step] = []
    i = 0
    for span in range(MOST_STEPS):
        low, high = start + span * width, start + (span + 1) * width
        while i + 1 < len(found) and found[i + 1][0] <= low:
            i += 1
        counts, at, area = found[i][1], low, 0.0
        while i + 1 < len(found) and found[i + 1][0] < high:
            area += found[i][2] * (found[i + 1][0] - at)
            i, at = i + 1, found[i + 1][0]
        thin.append((low, counts, (area + found[i][2] * (high - at)) / width))
    return [*thin, last]


def put_title(figure: Figure, title: str) -> None:
    """Put a title at the top left, in lines that fit into the picture."""
    lines = wrap(title, TITLE_LINE) or [""]
    if len(lines) > TITLE_LINES:
        lines[TITLE_LINES - 1 :] = [f"{lines[TITLE_LINES - 1][: TITLE_LINE - 1]}…"]
    # A title is text: a dollar sign in it begins no formula.
    text = figure.suptitle(
        "\n".join(lines), x=0.012, ha="left", fontsize=TITLE, fontweight="bold", color=INK, parse_math=False
    )
    width, room = text.get_window_extent().width, figure.bbox.width * 0.976
    if width > room:  # of wide letters
        text.set_fontsize(TITLE * room / width)


def name_axes(axes: Axes, name: str) -> None:
    """Put the name of a vertical axis above it, where it can be as long as it is and reaches no other axes."""
    axes.set_ylabel(name, rotation="horizontal", ha="left", va="bottom")
    axes.yaxis.set_label_coords(0.0, 1.02)


def _title(rows: Sequence[Row], batch_id: str | None) -> str:
    if batch_id is not None:
        return f"File batch {batch_id}"
    ids = dict.fromkeys(row.batch_id for row in rows)
    return f"File batch {next(iter(ids))}" if len(ids) == 1 else f"{len(ids):,} file batches"


def _unit(seconds: float) -> tuple[float, str]:
    return next(((length, name) for least, length, name in UNITS if seconds >= least), (1, "s"))


def _drawn(figure: Figure, found: list[Step], marks: list[Mark], workers: int | None) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: PLC0415 - as above

    faults = Counter(mark.note for mark in marks if mark.kind == "fault")
    names = sorted(faults)
    length, unit = _unit(found[-1][0])
    times = [time / length for time, _, _ in found]
    heights = [3.4, *([0.22 + 0.2 * len(names)] if names else []), 1.0]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    counts, use = axes[0], axes[-1]

    layers = [[step[1][status] for step in found] for status in COLOURS]
    areas = counts.stackplot(
        times,
        layers,
        colors=list(COLOURS.values()),
        labels=[status.replace("_", " ") for status in COLOURS],
        step="post",
        linewidth=0,
    )
    totals = [sum(step[1].values()) for step in found]
    counts.step(times, totals, where="post", color=INK, linewidth=1.4, label="total", zorder=3)
    name_axes(counts, "files")
    counts.set(ylim=(0, max(totals) * 1.06), xlim=(times[0], max(times[-1], times[0] + 1e-9)))
    counts.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    counts.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    counts.grid(axis="y", color="white", linewidth=0.7, alpha=0.7)
    for line in counts.get_ygridlines():
        line.set_zorder(2)  # above the areas, below the total

    labelled = set()
    for mark in marks:
        if mark.kind in MARKS:
            label, style = MARKS[mark.kind]
            for axis in (counts, use):
                axis.axvline(
                    mark.time / length,
                    color=CANCEL,
                    linestyle=style,
                    linewidth=1.5,
                    label=label if axis is counts and label not in labelled else None,
                )
            labelled.add(label)
    if names:
        strip = axes[1]
        for i, name in enumerate(names):
            at = [mark.time / length for mark in marks if mark.kind == "fault" and mark.note == name]
            strip.plot(at, [i] * len(at), "|", color=FAULT, markersize=9, markeredgewidth=1.6, clip_on=False)
        labels = [f"{faults[name]:,} {name.replace('_', ' ')}" for name in names]
        strip.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
        strip.set_yticklabels(labels, fontsize=8)
        strip.tick_params(length=0, axis="y")
        name_axes(strip, "faults")

    most = workers or ceil(max(step[2] for step in found)) or 1
    use.fill_between(times, [step[2] for step in found], step="post", color=WORKERS, alpha=0.85, linewidth=0)
    name_axes(use, "busy workers")
    use.set(xlabel=f"simulated time ({unit})", ylim=(0, most * 1.08))
    use.set_yticks(sorted({0, most // 2, most}))
    use.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.legend(loc="outside lower center", ncols=len(areas) + 1 + len(labelled), handlelength=1.6)
