"""The picture of a timeline: what is drawn, looked up in the figure itself."""

from __future__ import annotations

import re
import subprocess
import sys
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core.adapters.faults import SOURCES
from vsbatch_core.adapters.http import Request
from vsbatch_core.extras import pip_line
from vsbatch_core.simulation import Faults, Plan, Simulation, picture

from ..helpers.brief import examples
from ..helpers.pictures import require_legible

pytestmark = pytest.mark.slow  # draws pictures

STATUSES = ("completed", "failed", "cancelled", "in_progress")


def run_of(cancel: Any = None, files: int = 12, **more: Any) -> Simulation:
    """Two batches on two workers, the second one cancelled, with some faults."""
    plan = Plan(workers=2, service=5.0, by_id={"0-1": "invalid_file"}, cancel=cancel)
    simulation = Simulation(plan=plan, record=True, faults=Faults(file_batch=True, first_list=True), **more)
    stores = simulation.engine.vector_stores
    store = stores.create()
    ids = [stores.file_batches.create(store.id, file_ids=[f"{n}-{i}" for i in range(files)]).id for n in range(2)]
    simulation.at(7, lambda: stores.file_batches.cancel(ids[1], vector_store_id=store.id))
    for at in (1, 8):
        path = f"/v1/vector_stores/{store.id}/file_batches/{ids[0]}"
        simulation.at(at, lambda path=path: simulation.api.dispatch(Request("GET", path)))
    simulation.run_until_idle()
    return simulation


def labels(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def tops(figure: Any, at: float) -> list[float]:
    """The upper edges of the areas at a time, from the bottom up."""
    found = []
    for area in figure.axes[0].collections[:4]:
        points = area.get_paths()[0].vertices
        found.append(
            max(y for x, y in points if x <= at < x + 1e9 and x == max(p[0] for p in points if p[0] <= at))
        )
    return found


@pytest.mark.parametrize("batch", [None, 0, 1])
def test_the_areas_are_the_counts_and_the_outline_is_the_total(batch: int | None) -> None:
    simulation = run_of()
    rows = simulation.timeline.rows
    ids = list(dict.fromkeys(row.batch_id for row in rows))
    id = None if batch is None else ids[batch]
    figure = simulation.timeline.plot(batch_id=id)
    last = {row.batch_id: row for row in rows if id in (None, row.batch_id)}
    sums = [sum(getattr(row, status) for row in last.values()) for status in STATUSES]
    end = figure.axes[0].get_xlim()[1]
    assert tops(figure, end) == [sum(sums[: i + 1]) for i in range(4)]
    (total,) = (line for line in figure.axes[0].lines if line.get_label() == "total")
    assert total.get_ydata()[-1] == sum(sums)


@pytest.mark.parametrize(("cancel", "label"), [(None, "cancel"), ("drain", "cancel (drain)")])
def test_cancels_and_faults_are_marked_and_named(cancel: Any, label: str) -> None:
    figure = run_of(cancel, files=2).timeline.plot(workers=2, title="A title")
    assert labels(figure) == ["completed", "failed", "cancelled", "in progress", "total", label]
    counts, faults, use = figure.axes
    (line,) = (line for line in counts.lines if line.get_label() == label)
    assert set(line.get_xdata()) == {7.0}
    assert [text.get_text() for text in faults.get_yticklabels()] == ["2 file batch"]
    assert list(faults.lines[0].get_xdata()) == [1.0, 8.0]
    assert (counts.get_ylabel(), use.get_ylabel(), use.get_xlabel()) == (
        "files",
        "busy workers",
        "simulated time (s)",
    )
    assert figure.get_suptitle() == "A title"
    assert list(use.get_yticks()) == [0, 1, 2]


def test_a_batch_without_marks_of_its_own_has_none() -> None:
    simulation = run_of()
    first, second = dict.fromkeys(row.batch_id for row in simulation.timeline.rows)
    one, other = (simulation.timeline.plot(batch_id=id) for id in (first, second))
    assert "cancel" not in labels(one)
    assert "cancel" in labels(other)
    assert len(one.axes) == 3
    assert len(other.axes) == 2
    assert other.get_suptitle() == f"File batch {second}"


def test_every_mark_lies_within_the_picture_though_it_came_after_all_files() -> None:
    simulation = run_of()
    simulation.timeline.mark("fault", None, "slow", at=simulation.start + 100)
    figure = simulation.timeline.plot()
    assert figure.axes[0].get_xlim() == (0.0, 100.0)


def boxes(figure: Any) -> tuple[Any, list[Any]]:
    renderer = figure.canvas.get_renderer()
    return figure.legends[0].get_window_extent(renderer), [a.get_window_extent(renderer) for a in figure.axes]


def test_the_legend_covers_nothing() -> None:
    legend, axes = boxes(run_of().timeline.plot())
    assert not any(legend.overlaps(box) for box in axes)
    assert legend.y0 >= 0


@pytest.mark.parametrize(
    ("names", "times", "title", "files"),
    [
        ([], 1, "W" * 60, 700),
        (["slow"], 12_345, None, 1),
        (sorted(SOURCES)[:2], 1, "from $5 to $6 " * 40, 12),
        (sorted(SOURCES), 999, "x" * 300, 700),
    ],
)
def test_every_text_lies_within_the_picture_and_covers_no_other(
    names: list[str], times: int, title: str | None, files: int
) -> None:
    simulation = run_of(files=files)
    for name in names:
        for i in range(times if name == "slow" else 1):
            simulation.timeline.mark("fault", None, name, at=simulation.start + i % 30)
    simulation.timeline.mark("drain", None, at=simulation.start + 9)
    require_legible(simulation.timeline.plot(title=title))


@pytest.mark.parametrize(
    ("seconds", "unit"), [(599, "s"), (600, "min"), (7_199, "min"), (7_200, "h"), (172_800, "days")]
)
def test_the_unit_suits_the_time(seconds: float, unit: str) -> None:
    simulation = Simulation(plan=Plan(service=float(seconds)), record=True)
    stores = simulation.engine.vector_stores
    stores.file_batches.create(stores.create().id, file_ids=["file-a"])
    simulation.run_until_idle()
    assert simulation.timeline.plot().axes[-1].get_xlabel() == f"simulated time ({unit})"


def test_a_picture_of_one_instant_can_be_drawn() -> None:
    simulation = Simulation(plan=Plan.manual(), record=True)
    stores = simulation.engine.vector_stores
    batch = stores.file_batches.create(stores.create().id, file_ids=["file-a"])
    assert simulation.timeline.plot().get_suptitle() == f"File batch {batch.id}"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_it_is_saved_in_the_format_of_the_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{suffix}"
    run_of().timeline.plot(path)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")


def test_the_same_run_gives_the_same_picture(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        run_of().timeline.plot(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_what_is_not_there_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing was recorded of any batch"):
        Simulation(record=True).timeline.plot()
    with pytest.raises(ValueError, match="nothing was recorded of file batch 'vsfb_9'"):
        run_of().timeline.plot(batch_id="vsfb_9")


def test_no_global_state_is_used_or_left_behind() -> None:
    code = (
        "import sys; from vsbatch_core.simulation import Simulation\n"
        "s = Simulation(record=True); v = s.engine.vector_stores\n"
        "v.file_batches.create(v.create().id, file_ids=['a']); s.run_until_idle()\n"
        # Read past RcParams: to look at the entry of the backend would choose one.
        "from matplotlib import rcParams; before = dict(dict.items(rcParams)); s.timeline.plot()\n"
        "assert dict(dict.items(rcParams)) == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_users_own_style_is_not_followed() -> None:
    simulation = run_of()
    plain = simulation.timeline.plot().axes[0].get_facecolor()
    with mpl.rc_context({"axes.facecolor": "black"}):
        assert simulation.timeline.plot().axes[0].get_facecolor() == plain


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=re.escape(pip_line("plot"))):
        run_of().timeline.plot()


@given(seed=st.integers(0, 10**6), n=st.integers(picture.MOST_STEPS + 1, 3000))
@settings(max_examples=examples(20))  # each is of thousands of steps
def test_thinning_keeps_the_counts_where_spans_begin_and_the_work_that_was_done(seed: int, n: int) -> None:
    random = Random(seed)
    found: list[picture.Step] = []
    at = 0.0
    for i in range(n):
        found.append((at, {"completed": i}, random.randrange(9)))
        at += random.choice((0.01, 1.0, 10 * random.random() + 0.01))
    thin = picture.thinned(found)
    assert len(thin) == picture.MOST_STEPS + 1
    assert (thin[0][:2], thin[-1]) == (found[0][:2], found[-1])

    def work(steps: list[picture.Step]) -> float:
        return sum(one[2] * (two[0] - one[0]) for one, two in pairwise(steps))

    assert work(thin) == pytest.approx(work(found))
    times = [time for time, _, _ in found]
    for time, counts, _ in thin:
        assert counts == found[bisect_right(times, time) - 1][1]


def test_where_a_step_falls_on_the_edge_of_a_span_the_span_begins_with_it() -> None:
    found: list[picture.Step] = [(float(i), {"completed": i}, i % 2) for i in range(2 * picture.MOST_STEPS + 1)]
    thin = picture.thinned(found)
    assert thin[:-1] == [(2.0 * i, {"completed": 2 * i}, 0.5) for i in range(picture.MOST_STEPS)]


def test_of_few_steps_none_is_left_out() -> None:
    steps: list[picture.Step] = [(float(i), {}, 0) for i in range(picture.MOST_STEPS)]
    assert picture.thinned(steps) is steps
