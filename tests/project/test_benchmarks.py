"""The harness: that it finds out who is wrong, and says no more than was measured."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from benchmarks import __main__ as program
from benchmarks import (
    bounds,
    clocks,
    documents,
    durable,
    goals,
    http,
    machine,
    plot,
    postgres,
    presets,
    report,
    run,
    scale,
    soak,
)
from benchmarks.contenders import CONTENDERS, TITLES, Contender, Floor, Missing, Ours
from benchmarks.contenders.ogx_list import Ogx
from benchmarks.contenders.openai_mock import OpenAIResponses
from benchmarks.contenders.redis_server import Redis
from benchmarks.contenders.sorted_list import SortedOnEveryPage
from benchmarks.contenders.sqlite import Sqlite
from benchmarks.fixtures import Fixtures, fill
from benchmarks.groups import GROUPED, group
from benchmarks.measure import Entry, Figures, Ratio, exponent, in_turns, rounds_of, turns
from benchmarks.model import STATUSES, Listing, Model, Query
from benchmarks.naive import Naive
from benchmarks.results import Load, Machine, Result, Run
from benchmarks.work import CHANGES, COLD, PAGES, Pace, Work, foreseen
from vsbatch_core import journal

from ..helpers.brief import searching
from ..helpers.postgres import INSTALL, REQUIRED

pytestmark = pytest.mark.slow  # draws pictures, measures, and starts servers

FAST = Pace(rounds=3, seconds=0.0002, budget=0.5)
KNOWN_WRONG = {OpenAIResponses.key, Ogx.key}
"""Their lists lose cursors that left a filter or the store, and what precedes ``before``."""

# Contenders and the model


Step = Callable[[Contender | Model], object]


@st.composite
def programs(draw: st.DrawFn, most: int = 30) -> list[tuple[str, tuple[Any, ...]]]:
    """Changes of a store and questions to it, each as a method and its arguments; all are to be let through."""
    steps: list[tuple[str, tuple[Any, ...]]] = []
    status: dict[str, str] = {}
    ids: list[str] = []
    batches: dict[int, list[str]] = {}
    for _ in range(draw(st.integers(1, most))):
        running = [id for id in status if status[id] == "in_progress"]
        kind = draw(st.sampled_from(("attach", "complete", "cancel", "delete", "page", "page", "page")))
        if kind == "attach" or not ids:
            number = len(batches)
            new = [f"file-{len(ids) + i}" for i in range(draw(st.integers(1, 6)))]
            # Ties in time are common: a second passes with every other batch.
            steps.append(("attach", (number, new, 1_700_000_000 + number // 2)))
            ids += new
            batches[number] = new
            status.update(dict.fromkeys(new, "in_progress"))
        elif kind == "complete" and running:
            id = draw(st.sampled_from(running))
            status[id] = "completed"
            steps.append((kind, (id, draw(st.integers(0, 9)))))
        elif kind == "cancel":
            number = draw(st.sampled_from(list(batches)))
            status.update({id: "cancelled" for id in batches[number] if id in running})
            steps.append((kind, (number,)))
        elif kind == "delete" and status:
            id = draw(st.sampled_from(list(status)))
            del status[id]
            steps.append((kind, (id,)))
        elif kind == "page":
            cursors = st.none() | st.sampled_from(ids)
            filters = st.sampled_from((None, *STATUSES))
            orders = st.sampled_from(("asc", "desc"))
            query = st.builds(Query, st.integers(1, 7), orders, cursors, cursors, filters)
            steps.append((kind, (draw(query),)))
    return steps


@contextmanager
def opened(kind: type[Contender]) -> Iterator[Contender]:
    """The contender, if it can run here."""
    try:
        contender = kind()
    except Missing as error:
        pytest.skip(str(error))
    with contender:
        yield contender


def compared(contender: Contender, steps: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    """Take the contender and the model through the steps; all that they say must be the same."""
    model = Model()
    for method, arguments in steps:
        if method == "page":
            right = model.page(*arguments)
            assert contender.listing(contender.page(*arguments)) == right
            assert contender.listing(contender.querying(*arguments)()).agrees(right)
            if right.records:
                body = json.loads(contender.querying_json(*arguments)())
                assert [file["id"] for file in body["data"]] == [record.id for record in right.records]
                assert [body["first_id"], body["last_id"]] == [right.records[0].id, right.records[-1].id]
                assert body["has_more"] == right.more
        else:
            for one in (contender, model):
                getattr(one, method)(*arguments)
        assert contender.counts() == model.counts()


TESTED = [kind for kind in CONTENDERS if kind.key not in KNOWN_WRONG]


@pytest.mark.parametrize("kind", [kind for kind in TESTED if kind is not Redis], ids=lambda kind: kind.key)
@given(steps=programs())
@settings(max_examples=30, deadline=None)  # the first use of a database or an import takes longer than any later
def test_a_contender_says_what_the_model_says(kind: type[Contender], steps: Any) -> None:
    with kind() as contender:
        compared(contender, steps)


@given(steps=programs())
@settings(max_examples=8, deadline=None)  # each starts a server
def test_redis_says_what_the_model_says(steps: Any) -> None:
    with opened(Redis) as contender:
        compared(contender, steps)


@pytest.mark.parametrize("kind", [OpenAIResponses, Ogx], ids=lambda kind: kind.key)
def test_the_lists_of_mock_and_server_are_right_forwards_without_deletions(kind: type[Contender]) -> None:
    with opened(kind) as contender:
        model = Model()
        for one in (contender, model):
            fill(one, 300)
        after = model.files[100].record.id
        for limit in (1, 20, 100):
            for query in (Query(limit), Query(limit, after=after), Query(limit, filter="completed")):
                assert contender.listing(contender.page(query)).agrees(model.page(query))
        assert contender.counts() == model.counts()


@pytest.mark.parametrize("kind", TESTED, ids=lambda kind: kind.key)
def test_a_filled_store_is_the_models_in_every_view(kind: type[Contender]) -> None:
    with opened(kind) as contender:
        model = Model()
        for one in (contender, model):
            fill(one, 300)
        for batch in (None, 0):
            assert contender.counts(batch) == model.counts(batch)
        pages = [contender.listing(page) for page in contender.walk(100)]
        assert [r for page in pages for r in page.records] == [file.record for file in model.files]
        if "retrieve" not in kind.unable:
            id = model.files[7].record.id
            assert contender.record(contender.reading(id)()) == model.file(id)
            assert contender.reading_counts(0)() is not None
        if "restore" not in kind.unable:
            with type(contender).load(contender.save()) as again:
                assert again.counts() == model.counts()
        if "replay" not in kind.unable:
            with contender.replaying(lambda one: fill(one, 300))() as again:
                assert again.counts() == model.counts()


def test_the_server_of_redis_and_its_folder_end_with_the_contender() -> None:
    with opened(Redis) as contender:
        assert isinstance(contender, Redis)
        server = contender._server
        folder = Path(contender._client.connection_pool.connection_kwargs["path"]).parent
        assert folder.is_dir()
        assert server.poll() is None
        assert contender.pids() == (server.pid,)
    assert server.poll() is not None
    assert not folder.exists()


# Who is wrong


class Planted(SortedOnEveryPage):
    """Loses the last file of a page."""

    key, title = "planted", "planted"
    pages = 0

    def page(self, query: Query) -> Any:
        type(self).pages += 1
        files, more = super().page(query)
        return files[:-1], more


class Forgetful(SortedOnEveryPage):
    """Counts a completion in the batch alone from the third on."""

    key, title = "forgetful", "forgetful"

    def complete(self, id: str, usage_bytes: int) -> Any:
        self.done = getattr(self, "done", 0) + 1
        kept = dict(self.tallies.store)
        file = super().complete(id, usage_bytes)
        if self.done > 500 + 2:
            self.tallies.store.update(kept)
        return file


class Raising(SortedOnEveryPage):
    """Raises when it is asked for a page."""

    key, title = "raising", "raising"

    def page(self, query: Query) -> Any:
        raise LookupError(f"no page for {query.limit}")


@pytest.fixture
def fixtures() -> Iterator[Callable[..., Fixtures]]:
    """Fixtures for some contenders, closed at the end."""
    made: list[Fixtures] = []

    def make(*kinds: type[Contender]) -> Fixtures:
        made.append(Fixtures(kinds))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_wrong_contender_is_printed_as_wrong_with_its_result_and_not_timed(fixtures: Any) -> None:
    Planted.pages = 0
    found = run.results_of(PAGES[0], [1_000], fixtures(Ours, Planted), FAST)
    ours, planted = found
    assert ours.wall is not None
    assert (planted.wall, planted.left_out) == (None, None)
    assert Planted.pages == 1
    lines = report.block("page.20.first.asc", "a page", found, {**TITLES, "planted": "planted"})
    (row,) = (line for line in lines if line.startswith("  planted"))
    assert row.split() == ["planted", "wrong"]
    (note,) = (line for line in lines if line.startswith("    planted"))
    assert "wrong: 19 files (file-" in note
    assert "right: 20 files (file-" in note


def test_what_a_contender_raises_is_its_wrong_result(fixtures: Any) -> None:
    _, raising = run.results_of(PAGES[0], [1_000], fixtures(Ours, Raising), FAST)
    assert raising.wrong == "LookupError: no page for 20"


def test_changes_that_do_not_add_up_at_the_end_are_a_wrong_result(fixtures: Any) -> None:
    (work,) = run.chosen(["complete.1"])
    ours, forgetful = run.results_of(work, [1_000], fixtures(Ours, Forgetful), FAST)
    assert ours.wall is not None
    assert forgetful.wall is None
    assert forgetful.wrong is not None
    assert "counts (" in forgetful.wrong


@pytest.mark.parametrize("work", CHANGES, ids=lambda work: work.name)
def test_every_change_is_done_right_by_all_and_leaves_n_files_to_begin_with(work: Any, fixtures: Any) -> None:
    kinds = [kind for kind in TESTED if kind is not Redis and work.word not in kind.unable]
    here = fixtures(*kinds)
    n = max(400, 2 * work.ends)
    found = run.results_of(work, [n], here, evolve(FAST, rounds=4))
    assert {result.contender: result.wrong for result in found} == {kind.key: None for kind in kinds}
    for kind in kinds:
        assert here.made(kind, n).extra <= n // 2 + 2_000


@pytest.mark.parametrize("work", COLD, ids=lambda work: work.name)
def test_a_cold_page_is_right_and_is_never_one_that_was_read(
    work: Any, fixtures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fixtures(Ours, Sqlite, SortedOnEveryPage)
    asked: list[tuple[int, str | None]] = []
    querying = Ours.querying

    def noted(ours: Ours, query: Query) -> Any:
        asked.append((id(ours), query.after))
        return querying(ours, query)

    monkeypatch.setattr(Ours, "querying", noted)
    found = run.results_of(work, [1_000], here, evolve(FAST, rounds=9))
    assert {result.contender: result.wrong for result in found} == {"ours": None, "sqlite": None}
    assert len(set(asked)) == len(asked) > 9
    monkeypatch.setattr(Ours, "page", lambda self, _query: self.stores.files.list(self.id, limit=1))
    assert run.results_of(work, [1_000], here, FAST)[0].wrong is not None


def test_ours_beside_ours_is_checked_and_measured(fixtures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = fixtures(Ours)
    for work in bounds.WORKS:
        found = run.results_of(work, [1_000], here, FAST)
        assert len(found) == (3 if work.name == "bounds.create" else 2)
        assert all(result.cpu is not None and result.wrong is None for result in found)
    _, longest, collector = found
    assert (longest.contender, collector.contender) == ("longest", "collector")
    assert all(wait <= most for wait, most in zip(collector.cpu.taken, longest.cpu.taken, strict=True))
    assert all(most >= least for least, most in zip(found[0].cpu.taken, longest.cpu.taken, strict=True))
    monkeypatch.setattr(Ours, "page", lambda self, _query: self.stores.files.list(self.id, limit=1))
    wrong, _ = run.results_of(bounds.WORKS[0], [1_000], here, FAST)
    assert wrong.wrong is not None
    monkeypatch.setattr(bounds.Engine, "restore", lambda _snapshot: Ours().engine)
    (wrong,) = run.results_of(bounds.WORKS[2], [1_000], here, FAST)
    assert wrong.wrong is not None


@pytest.mark.parametrize("kind", soak.KINDS)
def test_a_soak_measures_what_stays_behind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert soak.growth(kind, 200, "resident") < 1_000_000

    def leaking(engine: Any) -> Callable[[int], object]:
        kept: list[bytes] = []
        cycle = soak.KINDS[kind](engine)
        return lambda number: (cycle(number), kept.append(bytes(5_000 + number)))

    monkeypatch.setitem(soak.KINDS, "leaking", leaking)
    assert 5_000 < soak.growth("leaking", 200, "traced") < 8_000


def test_very_large_stores_are_measured_only_where_all_that_is_large_is() -> None:
    (huge,) = (work for work in run.WORKS if work.name == "bytes.huge")
    for preset in presets.PRESETS.values():
        expected = [10_000_000] if preset is presets.FULL else []
        assert huge.sizes(preset.sizes, preset.pace) == expected


def test_a_contender_that_is_missing_is_named_once_with_what_to_install(fixtures: Any) -> None:
    class Absent(SortedOnEveryPage):
        key, title = "absent", "absent"

        def __init__(self) -> None:
            raise Missing("pip install absent")

    here = fixtures(Ours, Absent)
    here.try_all()
    assert here.missing == {"absent": "pip install absent"}
    assert [result.contender for result in run.results_of(PAGES[0], [400], here, FAST)] == ["ours"]


def test_a_contender_with_a_bound_is_not_tried_beyond_it_and_that_is_said_once(fixtures: Any) -> None:
    class Bounded(SortedOnEveryPage):
        key, title, most = "bounded", "bounded", 500

    found = run.results_of(PAGES[0], [400, 600], fixtures(Ours, Bounded), FAST)
    assert [(result.contender, result.n) for result in found] == [("ours", 400), ("ours", 600), ("bounded", 400)]
    most = {"ours": 10**6, "bounded": 500}
    assert report.bounded(most, [400, 600], {"bounded": "a title"}) == ["up to 500 files: a title"]
    assert report.bounded(most, [400], {}) == []


def test_the_collector_is_as_it_was_after_fixtures_are_closed() -> None:
    before = gc.get_freeze_count()
    with Fixtures([Floor]) as here:
        here.made(Floor, 400)
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0 <= before
    assert gc.isenabled()


# Figures

costs = st.floats(1e-9, 1e3)


@given(st.lists(st.tuples(costs, costs), min_size=1, max_size=40))
def test_a_ratio_lies_in_its_middle_half_and_turns_round_with_its_sides(pairs: list[tuple[float, float]]) -> None:
    one, other = (Figures(tuple(side)) for side in zip(*pairs, strict=True))
    ratio, back = Ratio.of(other, one), Ratio.of(one, other)
    each = sorted(b / a for a, b in pairs)
    assert each[0] <= ratio.low <= ratio.median <= ratio.high <= each[-1]
    assert ratio.median == median(each)
    inside = sum(ratio.low <= value <= ratio.high for value in each)
    assert inside >= len(each) / 2
    assert back.low == pytest.approx(1 / ratio.high)
    assert back.high == pytest.approx(1 / ratio.low)
    assert Ratio.of(one, one) == Ratio(1.0, 1.0, 1.0)


@given(st.lists(st.tuples(costs, costs), min_size=3, max_size=20), st.floats(0.01, 100.0))
def test_a_ratio_is_that_of_the_same_rounds_whatever_slows_a_round_down(pairs: Any, slower: float) -> None:
    one, other = (Figures(tuple(side)) for side in zip(*pairs, strict=True))
    slowed = [Figures((times.rounds[0] * slower, *times.rounds[1:])) for times in (one, other)]
    plain, noisy = Ratio.of(other, one), Ratio.of(slowed[1], slowed[0])
    assert noisy.median == pytest.approx(plain.median)
    assert (noisy.low, noisy.high) == pytest.approx((plain.low, plain.high))


def test_rounds_in_which_one_had_no_turn_do_not_count() -> None:
    assert Ratio.of(Figures((2.0, None, 9.0)), Figures((1.0, 5.0, None))) == Ratio(2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="no round in which both"):
        Ratio.of(Figures((None, 1.0)), Figures((1.0, None)))


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_draw_is_a_spread_that_crosses_one_and_is_printed_as_that(a: float, b: float, c: float) -> None:
    low, middle, high = sorted((a, b, c))
    ratio = Ratio(middle, low, high)
    assert ratio.draw is (low <= 1 <= high)
    assert report.ratio_text(ratio).startswith("draw ") is (ratio.draw and low < high)
    assert documents.cell(ratio) == "draw" if ratio.draw else "x" in documents.cell(ratio)


# Clocks


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs this code once it is sent a line, prints a line, and waits for its end."""
    waiting = f"import sys\nsys.stdin.readline()\n{code}\nprint('done', flush=True)\nsys.stdin.readline()"
    command = [sys.executable, "-c", waiting]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate("\n")


def let(process: subprocess.Popen[str]) -> None:
    """Have a child run its code."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


BUSY = "import time\nbegan = time.process_time()\nwhile time.process_time() < began + 0.3: pass"
needs_cpu_clocks = pytest.mark.skipif(
    clocks.cpu_clock(os.getpid()) is None, reason="this system has no CPU clocks of other processes"
)


def test_to_sleep_takes_wall_time_and_no_cpu_time() -> None:
    stop = clocks.Clocks().start()
    sleep(0.2)
    spent = stop()
    assert spent.cpu < 0.2 <= spent.wall


@needs_cpu_clocks
def test_the_cpu_time_of_a_server_is_part_of_the_cost_or_all_of_it() -> None:
    with child(BUSY) as process:
        both = clocks.Clocks(lambda: [process.pid])
        server = clocks.Clocks(lambda: [process.pid], own=False)
        assert (both.lacks(), server.lacks()) == ("", "")
        own = clocks.Clocks()
        stops = [one.start() for one in (both, server, own)]
        let(process)
        in_all, of_server, of_this = (stop().cpu for stop in stops)
    assert of_server >= 0.3
    assert in_all >= of_server
    assert of_this < of_server


@pytest.mark.parametrize("own", [True, False])
def test_a_cpu_time_without_that_of_a_server_says_so(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "cpu_clock", lambda _pid: None)
    partly = clocks.Clocks(lambda: [os.getpid()], own=own)
    assert partly.lacks() == "own process only"
    stop = partly.start()
    sum(range(100_000))
    assert stop().cpu > 0


def test_there_is_no_clock_of_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert clocks.cpu_clock(process.pid) is None


def test_a_ratio_is_of_cpu_time_unless_that_of_one_side_is_not_the_whole_cost() -> None:
    busy = [1e-6, 3e-6, 2e-6]
    figures: dict[tuple[str, str, int], Sequence[float]] = {("page.20", "ours", 1_000): [1e-6] * 3}
    whole = made(figures)
    ours = whole.results[0]
    sqlite = result("page.20", "sqlite", 1_000, [4e-6] * 3, wall=Figures(tuple(busy)))
    redis = result(
        "page.20", "redis", 1_000, [5e-6] * 3, wall=Figures((16e-6,) * 3), cpu_lacks="own process only"
    )
    whole = evolve(whole, results=(ours, sqlite, redis))
    assert whole.ratio("page.20", "sqlite", 1_000) == Ratio(4.0, 4.0, 4.0)
    assert whole.ratio("page.20", "redis", 1_000) == Ratio(8.0, 8.0, 8.0)
    assert whole.ratio("page.20", "ours", 1_000, "redis") == Ratio(0.125, 0.125, 0.125)
    lines = report.block("page.20", "a page", list(whole.results), TITLES)
    assert [line.split() for line in lines[2:8]] == [
        ["ours", "cpu", "1", "us"],
        ["wall", "2", "us"],
        [*TITLES["sqlite"].split(), "cpu", "4x"],
        ["wall", "draw", "0.5-1.5"],
        [*TITLES["redis"].split(), "wall", "8x"],
        ["cpu", "5x"],
    ]
    assert lines[8:] == [f"    {TITLES['redis']} at 10^3: CPU time: own process only"]
    assert "others are multiples of it, Redis, local socket in wall time," in documents.part(whole).replace(
        "\n", " "
    )
    for clock in (*plot.timed([ours, sqlite]), *plot.timed([ours, redis])):
        assert clock[1] in (ours.cpu, sqlite.cpu, ours.wall, redis.wall)
    assert [plot.shared_clock(each) for each in ([ours, sqlite], [ours, redis], [])] == ["cpu", "wall", "wall"]


def test_a_contender_whose_cpu_time_is_whole_in_one_run_alone_is_compared_by_wall_time() -> None:
    def at(ours: float, lacks: str) -> Run:
        whole = made({("page.20", "ours", 1_000): steady(ours)})
        redis = result("page.20", "redis", 1_000, steady(1e-5), cpu_lacks=lacks)
        return evolve(whole, results=(*whole.results, redis))

    line, _ = report.comparison(at(1e-6, "own process only"), at(2e-6, ""))
    assert line == "worse  page.20 at 10^3: ours takes 2.00x of the wall time that it did (beside 1 of 1)"


def test_every_work_is_measured_in_both_clocks_in_the_same_rounds(fixtures: Any) -> None:
    works = run.chosen(["page.20.first.asc", "retrieve.file", "json.encode", "dispatch.batch", "simulate.run"])
    for work in works:
        for found in run.results_of(work, [400], fixtures(Ours, Floor), FAST):
            assert found.wall is not None
            assert found.cpu is not None
            assert [one is None for one in found.wall.rounds] == [one is None for one in found.cpu.rounds]
            assert found.clocks == ("cpu", "wall")


def test_what_waits_for_a_disk_is_compared_by_wall_time(fixtures: Any) -> None:
    @frozen
    class Synced(Work):
        """One contender computes, the other waits."""

        def ready(self, _fixtures: Fixtures, n: int, *_: object) -> Iterator[Entry]:
            yield Entry("ours", n, lambda: sum(range(1_000)), one=1e-5)
            yield Entry("sqlite", n, lambda: sleep(0.001), one=1e-3, clocks=clocks.Clocks(waits="the disk"))

    found = run.results_of(Synced("durable.create", "a create"), [400], fixtures(Ours), FAST)
    assert [result.clocks for result in found] == [("cpu", "wall"), ("wall", "cpu")]
    whole = evolve(made({}), results=tuple(found))
    assert whole.ratio("durable.create", "sqlite", 400) == Ratio.of(found[1].wall, found[0].wall)
    notes = report.block("durable.create", "a create", found, TITLES)
    assert notes[-1].endswith("CPU time: without the wait for the disk")


def durable_works() -> list[Any]:
    """Return the works on a disk."""
    return run.chosen(["durable"])


@searching
@pytest.mark.parametrize("work", durable_works(), ids=lambda work: work.name)
def test_every_work_on_a_disk_is_right_and_leaves_nothing_there(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "CALLERS", (1, 3))
    with Fixtures([Ours], folder=str(tmp_path)) as here:
        results = run.results_of(work, [2_000], here, evolve(FAST, longest=2_001))
        assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["vsbatch"]
    assert list(tmp_path.iterdir()) == []
    assert results
    for found in results:
        assert (found.wrong, found.left_out) == (None, None)
        assert found.clocks
    if isinstance(work, durable.Commands):
        assert [found.clocks[0] for found in results] == ["wall"] * len(results)
        assert all(re.match(r"[\d,]+ files a second; a command p50 ", found.note) for found in results)
        assert "files a second" in "\n".join(report.block(work.name, work.title, results, TITLES))


def test_completions_that_do_not_add_up_on_a_disk_are_a_wrong_result(
    fixtures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "CALLERS", (2,))
    monkeypatch.setattr(Naive, "complete", lambda *_: None)
    work = next(work for work in durable_works() if work.name == "durable.complete.1")
    ours, naive = run.results_of(work, [1_000], fixtures(Ours), FAST)
    assert ours.wrong is None
    assert "right: " in naive.wrong


def test_what_a_command_raises_on_a_disk_is_raised(tmp_path: Path) -> None:
    with closing(Naive(tmp_path / "naive.db")) as side, pytest.raises(ValueError, match="unpack"):
        durable.together(side, 2, [partial(side.complete, "file-unknown", 1)])


POSTGRES = run.chosen(["postgres"])


@pytest.fixture
def server() -> None:
    """Skip the test where there is no PostgreSQL, unless there has to be."""
    if why := postgres.absent():
        if os.environ.get(REQUIRED):
            pytest.fail(why)
        pytest.skip(why)


@searching
@pytest.mark.usefixtures("server")
def test_every_work_on_postgres_is_right_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CALLERS", (4, 8))
    with tempfile.TemporaryDirectory() as folder, Fixtures([Ours], folder=folder) as here:
        Path(folder).chmod(0o755)  # the server may run as another user
        for work in POSTGRES:
            results = run.results_of(work, [2_000], here, FAST)
            if not isinstance(work, postgres.Waited | postgres.Paged):
                assert all(re.match(r"[\d,]+ files a second; a command p50 ", found.note) for found in results)
            for found in results:
                assert (found.wrong, found.left_out) == (None, None)
                assert found.clocks[0] == "wall"
                assert found.n in (4, 8, 2_000)
            assert any(fnmatchcase(work.name, goal.works) for goal in goals.GOALS)
        children = multiprocessing.active_children()
        assert len(children) >= postgres.PROCESSES
        assert [path.name.partition("-")[0] for path in Path(folder).iterdir()] == ["vsb"]
        here.close()
        assert list(Path(folder).iterdir()) == []
        assert not any(child.is_alive() for child in children)


@pytest.mark.usefixtures("server")
def test_completions_that_do_not_add_up_on_postgres_are_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    take = durable.Pool.take

    def counted(pool: durable.Pool, commands: int, files: int) -> list[list[str]]:
        pool.completed += 1  # as if one more was to be completed
        return take(pool, commands, files)

    monkeypatch.setattr(durable.Pool, "take", counted)
    monkeypatch.setattr(postgres, "CALLERS", (4,))
    with Fixtures([Ours]) as here:
        found = run.results_of(POSTGRES[0], [1_000], here, FAST)
    assert [each.contender for each in found] == ["ours", "naive", "naive-once"]
    assert all("right: " in str(each.wrong) for each in found)


@pytest.mark.usefixtures("server")
def test_the_tables_of_how_it_scales_have_a_figure_for_each_number_of_processes(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "EACH", 2)
    monkeypatch.setattr(scale, "STORES", 4)
    monkeypatch.setattr(scale, "PROCESSES", (1, 2))
    assert scale.main([], pace=FAST) == 0
    *lines, _, last = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if re.search(r"\d", line)]
    figures = [row[-2:] for row in rows if "process" not in row[-1]]
    assert len(figures) == 2 * 4 + 3
    assert all(int(figure.replace(",", "")) > 0 for row in figures for figure in row)
    assert re.search(r"PostgreSQL \d+.*; load .* before, .* after$", last)


def test_works_on_postgres_say_what_is_missing(
    fixtures: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.helpers.postgres.programs", lambda: None)
    assert machine.machine().versions["PostgreSQL"] == ""
    for work in POSTGRES:
        for found in run.results_of(work, [1_000], fixtures(Ours), FAST):
            assert (found.contender, found.left_out) == ("ours", INSTALL)
    assert scale.main([]) == 2
    assert capsys.readouterr().err == f"python -m benchmarks.scale: {INSTALL}\n"
    monkeypatch.delattr(journal, "postgres", raising=False)
    monkeypatch.setitem(sys.modules, "vsbatch_core.journal.postgres", None)
    assert "vsbatch_core.journal.postgres" in postgres.absent()


def test_a_folder_that_is_none_is_refused_in_one_line(tmp_path: Path, capsys: Any) -> None:
    assert program.main(["--only", "durable", "--folder", str(tmp_path / "none")]) == 2
    assert re.fullmatch(r"python -m benchmarks: --folder .* is no folder: .*\n", capsys.readouterr().err)


@needs_cpu_clocks
def test_what_is_served_over_a_socket_costs_what_its_server_takes(fixtures: Any) -> None:
    (work,) = run.chosen(["uvicorn.batch"])
    for found in run.results_of(work, [400], fixtures(Ours), FAST):
        assert found.clocks == ("cpu", "wall")
        assert found.cpu is not None
        assert all(one > 0 for one in found.cpu.taken)


# Growth


@given(st.floats(-2, 3), st.floats(1e-9, 1e3), st.sets(st.integers(1, 10**7), min_size=2, max_size=6))
def test_the_exponent_of_a_power_is_recovered(power: float, factor: float, at: set[int]) -> None:
    assume(max(at) > 1.5 * min(at))
    found = exponent((n, factor * n**power) for n in at)
    assert found == pytest.approx(power, abs=1e-5)


def test_one_size_has_no_exponent() -> None:
    assert exponent([(1_000, 1.0)]) is None
    assert exponent([(1_000, 1.0), (1_000, 2.0)]) is None
    assert exponent([]) is None


@given(st.integers(1, 50), st.integers(1, 50))
def test_turns_are_spread_evenly_over_the_rounds(rounds: int, taken: int) -> None:
    assume(taken <= rounds)
    at = rounds_of(taken, rounds)
    assert len(set(at)) == taken
    assert all(0 <= turn < rounds for turn in at)
    gaps = {later - earlier for earlier, later in pairwise(at)}
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.floats(1e-7, 10), st.integers(1, 30), st.floats(0.01, 10), st.floats(1, 10))
def test_nobody_takes_longer_than_the_budget_and_its_patience_or_has_turns_that_say_nothing(
    one: float, rounds: int, budget: float, patience: float
) -> None:
    taken = turns(one, rounds, budget, patience)
    least = min(3, rounds)
    assert taken == 0 or least <= taken <= rounds
    assert taken * one <= budget * (patience if taken == least else 1) * (1 + 1e-9)
    if taken == 0:
        assert least * one > budget * patience
    elif taken < rounds:
        assert (taken + 1) * one > budget * (1 - 1e-9)


def test_contenders_take_turns_and_nobody_always_begins() -> None:
    order: list[str] = []
    entries = [Entry(name, 1, lambda name=name: order.append(name)) for name in "abc"]  # type: ignore[misc]
    for entry in entries:
        entry.one = 1.0  # so long that it is not calibrated
    found = in_turns(entries, rounds=6, seconds=1.0, budget=1e6)
    assert {key: len(times.wall.rounds) for key, times in found.items()} == {(name, 1): 6 for name in "abc"}
    begun = [order[i : i + 3] for i in range(0, 18, 3)]
    assert all(set(turn) == set("abc") for turn in begun)
    assert {turn[0] for turn in begun} == set("abc")


def test_what_is_too_slow_is_left_out_and_it_is_said_how_long_it_takes(fixtures: Any) -> None:
    class Slow(SortedOnEveryPage):
        key, title = "slow", "slow"

        def page(self, query: Query) -> Any:
            sleep(0.05)
            return super().page(query)

    ours, slow = run.results_of(
        PAGES[0], [400], fixtures(Ours, Slow), Pace(rounds=3, seconds=0.0001, budget=0.02)
    )
    assert ours.wall is not None
    assert slow.wall is None
    assert slow.left_out is not None
    assert slow.left_out.startswith("not measured: one takes 0.")


def test_what_grew_with_the_size_is_foreseen_to_and_what_did_not_is_not() -> None:
    assert foreseen(10**6, [(10**4, 0.01), (10**5, 0.1)]) == pytest.approx(1.0)
    assert foreseen(10**6, [(10**4, 0.1), (10**5, 0.11)]) == pytest.approx(0.11)
    assert foreseen(10**6, [(10**5, 0.1)]) == 0.0


# Runs

HERE = Machine("a processor", 2, "Linux x86_64", "CPython 3.12.1", {"SQLite": "3.40.1", "redis": ""})


def result(work: str, contender: str, n: int, rounds: Sequence[float | None], **more: Any) -> Result:
    """A result with these figures as bytes, or as CPU time and with neighbours that double the wall time."""
    figures = Figures(tuple(rounds))
    if work == "memory":
        return Result(work, contender, n, bytes=figures)
    wall = Figures(tuple(None if one is None else 2 * one for one in rounds))
    return Result(work, contender, n, **{"wall": wall, "cpu": figures, **more})


def made(figures: dict[tuple[str, str, int], Sequence[float]], **more: Any) -> Run:
    """A run with these rounds, by work, contender and size."""
    results = tuple(result(*key, rounds) for key, rounds in figures.items())
    works = dict.fromkeys(work for work, _, _ in figures)
    titles = {work: f"title of {work}" for work in works}
    fields = {"preset": "full", "complete": True, "titles": titles, "contenders": TITLES, "results": results}
    return Run("2026-11-21", HERE, Load(0.1, 0.5, 0.2), **{**fields, **more})


names = st.sampled_from(list(TITLES))
rounds = st.lists(st.none() | costs, min_size=1, max_size=5).map(tuple)
results = st.builds(
    result, st.sampled_from(("page.a", "memory")), names, st.integers(1, 10**7), rounds, cpu_lacks=st.text()
)
others = st.builds(
    Result, st.just("page.b"), names, st.integers(1, 10**7), wrong=st.text() | st.none(), left_out=st.text()
)


@given(st.lists(results | others, max_size=4).map(tuple))
@settings(max_examples=40)
def test_a_run_comes_back_from_its_json(found: tuple[Result, ...]) -> None:
    whole = evolve(made({}), results=found)
    assert Run.from_json(whole.to_json()) == whole


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "format"),
        ('{"format": "another 1"}', "format"),
        ('{"format": "vsbatch-core benchmarks 1"}', r"'vsbatch-core benchmarks 1'.* CPU time.*measure again"),
        ('{"format": "vsbatch-core benchmarks 2"}', "not a run"),
        ('{"format": "vsbatch-core benchmarks 2", "machine": {}, "load": [], "results": 1}', "not a run"),
    ],
)
def test_what_is_no_run_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Run.from_json(text)


def steady(value: float) -> list[float]:
    """Rounds with one per cent of noise."""
    return [value * (1 + 0.01 * ((i * 7) % 5 - 2) / 2) for i in range(15)]


@given(st.floats(0.2, 5), st.floats(1e-7, 1e-3))
def test_compare_says_what_is_beyond_noise_and_not_what_is_within(factor: float, base: float) -> None:
    assume(factor < 0.93 or factor > 1.08 or 0.97 < factor < 1.03)
    figures = {
        ("page.20", "ours", 1_000): steady(base),
        ("page.20", "sqlite", 1_000): steady(base * 10),
        ("retrieve", "ours", 1_000): steady(base),
        ("retrieve", "sqlite", 1_000): steady(base * 3),
    }
    old = made(figures)
    new = made({**figures, ("page.20", "ours", 1_000): steady(base * factor)})
    *lines, last = report.comparison(old, new)
    if 0.97 < factor < 1.03:
        assert lines == []
        assert last.startswith("0 of 2 works and sizes")
    else:
        (line,) = lines
        word = "better" if factor < 1 else "worse"
        assert line == (
            f"{word:6} page.20 at 10^3: ours takes {factor:.2f}x of the CPU time that it did, "
            f"{factor:.2f}x of the wall time (beside 1 of 1)"
        )
        assert last.startswith("1 of 2 works and sizes")


def test_a_noisy_ratio_has_not_changed_and_another_machine_is_named() -> None:
    noisy = [1e-6 * (1 + (i % 5)) for i in range(15)]
    figures = {("page.20", "ours", 1_000): steady(1e-6), ("page.20", "sqlite", 1_000): noisy}
    old = made(figures)
    new = made({**figures, ("page.20", "ours", 1_000): steady(0.8e-6)})
    unchanged = ["0 of 1 works and sizes that are in both changed beyond noise (since 2026-11-21)"]
    assert report.comparison(old, new) == unchanged
    moved = evolve(new, machine=evolve(HERE, cpu="another", versions={"SQLite": "3.50.0", "redis": ""}))
    assert report.comparison(old, moved)[:2] == [
        "not the same: processor was a processor, is another",
        "not the same: SQLite was 3.40.1, is 3.50.0",
    ]


@pytest.mark.parametrize(("moved", "reported"), [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)])
def test_ours_has_changed_where_most_of_the_others_say_so(moved: int, reported: int) -> None:
    others = ("floor", "sqlite", "islice", "redis")
    figures = {("page.20", key, 1_000): steady(1e-6) for key in ("ours", *others)}
    new = {**figures, **{("page.20", key, 1_000): steady(2e-6) for key in others[:moved]}}
    *lines, _ = report.comparison(made(figures), made(new))
    assert len(lines) == reported
    assert all("better" in line and f"(beside {moved} of 4)" in line for line in lines)


def test_memory_is_compared_by_its_bytes() -> None:
    old, new = (
        made({("memory", "ours", 1_000): [bytes], ("memory", "floor", 1_000): [9.0]}) for bytes in (300.0, 200.0)
    )
    assert report.comparison(old, new)[0] == "better memory at 10^3: ours takes 0.67x of the bytes that it did"


def test_goals_are_figures_and_say_whether_they_are_met_at_their_worst() -> None:
    figures = {
        ("page.20.first.asc", "ours", 1_000): [2e-6] * 3,
        ("page.20.first.asc", "floor", 1_000): [1e-7] * 3,
        ("page.20.last.asc", "ours", 1_000): [1e-6] * 3,
        ("page.20.last.asc", "floor", 1_000): [1e-7] * 3,
        ("memory", "ours", 1_000): [400.0],
    }
    lines = goals.lines(made(figures))
    assert lines[0] == (
        "page of 20 over slicing a prepared list, at most 12: "
        "median 15, worst 20 (page.20.first.asc at 10^3): not met"
    )
    assert "bytes a file, at most 220: 400 (memory at 10^3): not met" in lines
    assert "page of 20 at 10^6 over 10^3, at most 1.3: not measured at these sizes" in lines
    assert not any("retrieve" in line for line in lines)
    assert goals.beside(made(figures), "memory") == [
        "    goal: bytes a file, at most 220: 400 (memory at 10^3): not met"
    ]
    assert goals.beside(made(figures), "retrieve.file") == []


def test_the_works_and_contenders_that_goals_and_documents_name_are_there() -> None:
    works = [work.name for work in run.WORKS]
    assert len(set(works)) == len(works)
    for goal in goals.GOALS:
        assert any(work.startswith(goal.works.rstrip("*")) for work in works)
        assert {goal.above, goal.below} - {""} <= TITLES.keys()
    assert set(documents.ROWS) | set(documents.DRAWN) <= set(works)
    beside = [key for who in documents.BESIDE.values() for key in who]
    assert sorted(beside) == sorted(TITLES.keys() - {"ours"})
    assert plot.STYLES.keys() == TITLES.keys()


# The command


def test_works_are_chosen_by_name_first_words_group_or_glob_in_their_own_order() -> None:
    assert run.chosen([]) == list(run.WORKS)
    names = [work.name for work in run.chosen(["complete.1", "page.20", "*.file"])]
    assert names[0] == "page.20.first.asc"
    assert all(name.startswith("page.20.") for name in names[:-2])
    assert names[-2:] == ["retrieve.file", "complete.1"]
    assert [work.name for work in run.chosen(["http"])] == [work.name for work in http.WORKS]
    assert run.chosen(["changes"]) == CHANGES
    assert run.chosen(["pages", "page.20.*"]) == PAGES
    changes = [
        work.changes
        for work in run.WORKS
        if work.word not in ("memory", "bytes", "simulate", "soak", "durable", "postgres")
    ]
    assert changes == sorted(changes)


def test_works_of_a_new_first_word_are_chosen_by_it_and_are_a_group_by_it() -> None:
    new = [evolve(PAGES[0], name=name) for name in ("cloud.create", "cloud.restart", "mongo.create")]
    assert run.chosen(["cloud"], [*run.WORKS, *new]) == new[:2]
    assert run.chosen(["mongo", "cloud.create"], [*run.WORKS, *new]) == [new[0], new[2]]
    assert {group(work.name) for work in new} == {"cloud", "mongo"}
    with pytest.raises(ValueError, match=r"'mongo'.*the groups are .*cloud"):
        run.chosen(["mongo"], [*run.WORKS, *new[:2]])


def test_a_group_is_named_by_no_word_that_begins_the_works_of_another() -> None:
    for work in run.WORKS:
        assert group(work.name) == work.word or work.word not in GROUPED
        assert {group(other.name) for other in run.chosen([group(work.name)])} == {group(work.name)}


def test_an_unknown_work_is_refused_with_the_groups(capsys: Any) -> None:
    assert program.main(["--only", "durability"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "no work or group is called 'durability'" in printed.err
    assert all(group(work.name) in printed.err for work in run.WORKS)
    assert "--list" in printed.err


@pytest.mark.parametrize(
    ("arguments", "preset", "works", "sizes"),
    [
        ([], "default", list(presets.MAIN), [1_000, 100_000]),
        (["--docs"], "full", None, [1_000, 10_000, 100_000, 1_000_000]),
        (["--docs", "--preset", "full"], "full", None, [1_000, 10_000, 100_000, 1_000_000]),
        (["--quick"], "quick", None, [1_000, 4_000]),
        (["--preset", "quick", "--only", "retrieve.file"], "quick", ["retrieve.file"], [1_000, 4_000]),
        (["--only", "retrieve.file"], "default", ["retrieve.file"], [1_000, 100_000]),
        (["--only", "walk", "json.page", "--sizes", "500"], "default", ["walk.100", "json.page"], [500]),
        (["--preset", "full", "--sizes", "1e4,1e3"], "full", None, [1_000, 10_000]),
    ],
    ids=repr,
)
def test_a_preset_gives_what_only_and_sizes_do_not(
    arguments: list[str], preset: str, works: list[str] | None, sizes: list[int]
) -> None:
    taken, asked_works, asked_sizes = program.chosen_by(program.parser().parse_args(arguments))
    assert taken is presets.PRESETS[preset]
    expected = {work.name for work in run.WORKS} if works is None else set(works)
    assert {work.name for work in asked_works} == expected
    assert asked_sizes == sizes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--docs", "--only", "page"], "leave out --only"),
        (["--docs", "--sizes", "1e3"], "leave out --sizes"),
        (["--docs", "--quick"], "leave out --preset quick"),
        (["--docs", "--preset", "default"], "leave out --preset default"),
        (["--from", "kept.json", "--only", "page"], "leave out --only"),
        (["--from", "kept.json", "--quick"], "leave out --preset quick"),
        (["--from", "kept.json", "--sizes", "1e3"], "leave out --sizes"),
    ],
    ids=repr,
)
def test_options_that_contradict_each_other_are_refused_in_one_line(
    arguments: list[str], named: str, capsys: Any
) -> None:
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert named in printed.err


def test_help_fits_80_columns_and_names_every_preset_with_its_time_and_an_example() -> None:
    text = program.parser().format_help()
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert all(f"{preset.name} {preset}" in words for preset in presets.PRESETS.values())
    assert re.search(r"^ +python -m benchmarks --only \w+", text, re.MULTILINE)


def test_the_examples_of_the_help_name_works_and_sizes_that_there_are() -> None:
    examples = re.findall(r"^ +python -m benchmarks(.*?)(?:   .*)?$", program.EXAMPLES, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        program.chosen_by(program.parser().parse_args(shlex.split(re.sub(r"  +.*", "", example))))


@given(st.sets(st.integers(3, 7), min_size=1), st.integers(0, 2))
def test_sizes_are_read_however_they_are_written(powers: set[int], way: int) -> None:
    forms: list[Callable[[int], str]] = [lambda p: f"1e{p}", lambda p: f"{10**p:_}", lambda p: f" 10^{p} "]
    text = ",".join(forms[(way + p) % 3](p) for p in powers)
    assert run.parsed_sizes(text) == sorted(10**p for p in powers)


@pytest.mark.parametrize("text", ["", "1e3,", "a", "1.5e3", "-5", "1e99", "0", "1e3;1e4", "199", "1e", "10^"])
def test_what_is_no_size_is_refused_in_one_line(text: str, capsys: Any) -> None:
    assert program.main(["--only", "page", f"--sizes={text or ','}"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--compare", "--from"])
def test_results_that_cannot_be_read_are_refused_in_one_line(option: str, tmp_path: Path, capsys: Any) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    for path in (broken, tmp_path / "none.json"):
        assert program.main([option, str(path)]) == 2
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1
        assert str(path) in printed.err


def test_a_run_prints_what_it_met_and_writes_what_it_printed(tmp_path: Path, capsys: Any) -> None:
    kept = tmp_path / "kept.json"
    query = ["--quick", "--only", "page.20.first.asc", "retrieve.file", "--sizes", "400"]
    assert program.main([*query, "--json", str(kept)]) == 0
    printed = capsys.readouterr().out
    whole = program.read(str(kept))
    assert whole.works() == ["page.20.first.asc", "retrieve.file"]
    assert whole.complete
    assert whole.preset == "quick"
    measured = [result for result in whole.results if result.left_out is None]
    assert measured
    for each in measured:
        assert each.wall is not None
        assert each.cpu is not None
        assert len(each.wall.taken) == len(each.cpu.taken) == 3
    for said in (whole.machine.cpu, whole.machine.python, "SQLite 3.", "load ", "[retrieve.file]", "at most 12"):
        assert said in printed
    assert program.main(["--from", str(kept), "--compare", str(kept)]) == 0
    assert "\n0 of " in capsys.readouterr().out


def test_an_interrupted_run_says_so_and_keeps_what_it_has(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run.results_of

    def interrupted(work: Any, *rest: Any) -> Any:
        if work.name == "retrieve.batch":
            raise KeyboardInterrupt
        return real(work, *rest)

    monkeypatch.setattr(run, "results_of", interrupted)
    kept = tmp_path / "kept.json"
    assert program.main(["--quick", "--only", "retrieve", "--sizes", "400", "--json", str(kept)]) == 130
    printed = capsys.readouterr().out
    assert "[retrieve.file]" in printed
    assert "[retrieve.store]" not in printed
    assert "interrupted: 1 of 3 works were measured" in printed
    whole = program.read(str(kept))
    assert (whole.complete, whole.works()) == (False, ["retrieve.file"])


@pytest.mark.skipif(sys.platform == "win32", reason="there, a signal is sent in another way")
def test_control_c_ends_a_run_and_its_servers_in_order() -> None:
    # Whoever runs the tests in the background may have them ignore the signal, and children inherit that.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from benchmarks.__main__ import main; sys.exit(main(['--quick', '--only', 'page']))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("page of 20") for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert re.search(r"^interrupted: \d+ of \d+ works were measured$", out, re.MULTILINE)
    with pytest.raises(ProcessLookupError):  # nothing is left in its session
        os.killpg(process.pid, 0)


def test_the_list_names_every_work_and_every_contender(capsys: Any) -> None:
    assert program.main(["--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    named = {line.split()[0] for line in printed if line.startswith("  ")}
    assert named == {work.name for work in run.WORKS} | TITLES.keys()
    assert [line.rstrip(":") for line in printed if line.endswith(":") and not line.startswith(" ")] == [
        *dict.fromkeys(group(work.name) for work in run.WORKS),
        "contenders",
    ]


def test_memory_and_simulator_are_measured_in_processes_of_their_own() -> None:
    # So many that what they take lies far above what importing had taken for a moment.
    for arguments in (
        ["benchmarks.memory", "floor", "100000"],
        ["benchmarks.memory", "ours", "100000", "at-once"],
        ["benchmarks.memory", "ours", "100000", "attached"],
        ["benchmarks.memory", "stores", "10000"],
        ["benchmarks.memory", "store", "500"],
        ["benchmarks.simulation", "2000"],
    ):
        command = [sys.executable, "-m", *arguments]
        returned = subprocess.run(command, check=True, capture_output=True, text=True)
        assert 10 < float(returned.stdout) < 10_000


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    here = machine.machine()
    printed = f"{here} {here.versions}"
    assert platform.node() not in printed.split()
    assert "/" not in printed
    assert here.cores >= 1
    assert here.versions["SQLite"].startswith("3.")


# Documents and pictures


def grown(
    sizes: Sequence[int] = (1_000, 10_000, 1_000_000),
    factor: float = 1.0,
    works: Sequence[str] = ("page.20.middle.asc", "complete.1"),
) -> Run:
    """A run in which everybody was measured at everything."""
    figures = {
        (work, contender, n): steady(
            (1 + i) * factor * 1e-6 * (n ** (2.2 * i / len(TITLES)) if contender != "ours" else 1)
        )
        for work in works
        for i, contender in enumerate(TITLES)
        for n in sizes
    }
    return made(figures)


def test_the_documents_get_a_table_and_a_figure_and_keep_the_rest(tmp_path: Path) -> None:
    before = (
        "# Title\n\n<!-- generated: figures -->\nold\n<!-- end -->\n\n<!-- generated: laws -->\nl\n<!-- end -->\n"
    )
    (tmp_path / "README.md").write_text(before, encoding="utf-8")
    whole = grown()
    assert [path.name for path in documents.write(whole, tmp_path)] == ["README.md", "figures.svg"]
    after = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "old" not in after
    assert after.startswith("# Title\n\n<!-- generated: figures -->\n")
    assert after.endswith("<!-- end -->\n\n<!-- generated: laws -->\nl\n<!-- end -->\n")
    assert "2026-11-21, a processor, 2 cores, Linux x86_64, CPython 3.12.1, SQLite 3.40.1" in after
    assert "*Ours* is a cost in CPU time; the others are multiples of it, *draw*" in after.replace("\n", " ")
    table = [line for line in after.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in table}) == 1
    assert any(line.startswith("| title of page.20.middle.asc | 10^6 | 1 µs | 2 µs | 0.00 |") for line in table)
    assert documents.written(after, whole) == after
    first = (tmp_path / "docs" / "figures.svg").read_bytes()
    (figure,) = plot.costs(whole, documents.DRAWN)
    assert plot.save(figure, tmp_path / "again.svg").read_bytes() == first


def test_only_a_full_and_complete_run_is_written_into_the_readme(tmp_path: Path, capsys: Any) -> None:
    whole = grown(works=documents.ROWS)
    assert documents.unfit(whole) == ""
    less = tuple(found for found in whole.results if found.work != "walk.100")
    path = tmp_path / "kept.json"
    for unfit, why in (
        (evolve(whole, preset="default"), "the preset 'default', and only 'full'"),
        (evolve(whole, complete=False), "not complete"),
        (evolve(whole, results=less), "it lacks walk.100"),
    ):
        path.write_text(unfit.to_json())
        assert program.main(["--from", str(path), "--docs"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert re.fullmatch(f"python -m benchmarks: .*kept.json .*README.md: .*{re.escape(why)}.*\n", printed.err)


def test_a_document_without_the_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="generated: figures"):
        documents.written("# Title\n", grown())


def test_the_readme_has_the_mark() -> None:
    readme = Path(documents.ROOT) / "README.md"
    assert documents.PART.search(readme.read_text(encoding="utf-8"))


def test_every_contender_is_a_line_in_its_own_colour_on_logarithmic_axes() -> None:
    whole = grown()
    (figure,) = plot.costs(whole, whole.works())
    panels = figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == [whole.titles[work] for work in whole.works()]
    for panel in panels:
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
        drawn = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in panel.lines}
        assert drawn == {(style.colour, style.marker, style.line) for style in plot.STYLES.values()}
        assert [text.get_text() for text in panel.get_xticklabels()] == ["10³", "10⁴", "10⁶"]
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(TITLES.values())


@pytest.mark.parametrize(
    ("sizes", "factor"),
    [((1_000, 1_001), 1e-4), ((200, 10_000_000), 1e6), (tuple(range(1_000, 9_000, 1_000)), 1.0)],
    ids=["close", "far", "many"],
)
def test_pictures_at_extremes_keep_their_words_apart(factor: float, sizes: Sequence[int]) -> None:
    whole = grown(sizes, factor)
    for figure in (*plot.costs(whole, whole.works()), *plot.ratios(whole, whole.works())):
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        whole_box = figure.bbox
        words = [legend.get_window_extent(renderer) for legend in figure.legends]
        for panel in figure.axes:
            titles = set(whole.titles.values())
            words += [t.get_window_extent(renderer) for t in panel.findobj(Text) if t.get_text() in titles]
            for axis, ends in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())):
                shown = [tick for tick in axis.get_major_ticks() if min(ends) <= tick.get_loc() <= max(ends)]
                words += [tick.label1.get_window_extent(renderer) for tick in shown if tick.label1.get_text()]
        for i, box in enumerate(words):
            assert whole_box.x0 <= box.x0 <= box.x1 <= whole_box.x1
            assert whole_box.y0 <= box.y0 <= box.y1 <= whole_box.y1
            assert not any(box.overlaps(other) for other in words[:i])


def test_a_single_size_has_ratios_and_no_curve_and_nothing_measured_has_no_picture(tmp_path: Path) -> None:
    one = grown((1_000,))
    one = evolve(one, results=(*one.results, result("memory", "ours", 1_000, [300.0])))
    assert [path.name for path in plot.pictures(one, tmp_path)] == ["ratios-pages.svg", "ratios-changes.svg"]
    assert list(plot.pictures(made({}), tmp_path)) == []


@given(st.floats(1e-12, 1e6))
def test_costs_are_labelled_with_three_digits_and_a_unit_that_suits(value: float) -> None:
    number, unit = plot.label(value).split()
    factor = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(value, rel=0.06)
    assert abs(log(float(number.replace(",", "")))) < log(1000) or unit in ("ns", "s")


def test_the_page_of_the_model_is_the_listing_that_says_so() -> None:
    model = Model()
    model.attach(0, ["a", "b", "c"], 5)
    model.complete("b", 7)
    assert str(model.page(Query(2))) == "2 files (a, b), has_more True"
    assert model.page(Query(1, before="c", order="asc")).records[0].id == "b"
    assert model.page(Query(5, order="desc", after="c", filter="in_progress")) == Listing(
        (model.file("a"),), more=False
    )


def test_a_reader_that_has_gone_away_hears_no_complaint() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "benchmarks", "--list"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
