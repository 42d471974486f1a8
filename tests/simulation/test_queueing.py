"""The simulation against queueing theory: closed forms within confidence bounds, and laws that are exact."""

from __future__ import annotations

from math import factorial, sqrt
from random import Random
from statistics import fmean, stdev
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import VectorStoreFile, events
from vsbatch_core.simulation import Exponential, Failed, Plan, Retries, Simulation

from ..helpers.brief import searching

T_999 = 3.883
"""Student's t, two-sided 99.9 %, 19 degrees of freedom: of twenty batch means."""


@frozen
class Run:
    """What a run of Poisson arrivals came to, seen from outside the simulation's own figures."""

    simulation: Simulation
    waits: list[float]
    sojourns: list[float]


def poisson_arrivals(rate: float, mean: float, workers: int, files: int, *, seed: int) -> Run:
    """Files attached one by one at exponential intervals, each with an exponential service."""
    arrivals = Random(f"arrivals {seed}")
    came: dict[str, float] = {}
    waits: list[float] = []
    sojourns: list[float] = []

    def service(file: VectorStoreFile, random: Random) -> float:
        waits.append(simulation.now - came[file.id])
        return random.expovariate(1 / mean)

    simulation = Simulation(seed=seed, plan=Plan(workers=workers, service=service))
    stores = simulation.engine.vector_stores
    store_id = stores.create().id

    def arrive() -> None:
        file_id = f"file-{len(came)}"
        came[file_id] = simulation.now
        stores.files.create(store_id, file_id=file_id)
        if len(came) < files:
            simulation.at(arrivals.expovariate(rate), arrive)

    def hear(event: events.Event) -> None:
        if isinstance(event, events.FileCompleted):
            sojourns.append(simulation.now - came[event.file_id])

    simulation.engine.subscribe(hear)
    simulation.at(arrivals.expovariate(rate), arrive)
    simulation.run_until_idle()
    assert len(waits) == len(sojourns) == files
    return Run(simulation, waits, sojourns)


def erlang_c(offered: float, workers: int) -> float:
    """The probability that a file has to wait."""
    top = offered**workers / factorial(workers) * workers / (workers - offered)
    return top / (sum(offered**k / factorial(k) for k in range(workers)) + top)


def bounds(values: list[float]) -> tuple[float, float]:
    """The 99.9 % confidence interval of the mean, by twenty batch means, without the first tenth."""
    steady = values[len(values) // 10 :]
    size = len(steady) // 20
    means = [fmean(steady[i * size : (i + 1) * size]) for i in range(20)]
    half = T_999 * stdev(means) / sqrt(20)
    return fmean(means) - half, fmean(means) + half


@pytest.mark.slow
@searching
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("load", [0.5, 0.7])
def test_an_m_m_c_queue_waits_and_works_as_erlang_says(workers: int, load: float) -> None:
    mean, rate = 2.0, load * workers / 2.0
    run = poisson_arrivals(rate, mean, workers, 20_000, seed=workers)
    expected = erlang_c(load * workers, workers) / (workers / mean - rate)
    low, high = bounds(run.waits)
    assert low <= expected <= high
    assert high - low < expected  # or the bounds would say nothing
    low, high = bounds(run.sojourns)
    assert low <= expected + mean <= high
    report = run.simulation.report
    assert report.utilisation == pytest.approx(load, rel=0.04)
    assert report.throughput == pytest.approx(rate, rel=0.04)
    assert report.wait.mean == pytest.approx(fmean(run.waits))
    assert report.service.mean == pytest.approx(mean, rel=0.04)
    assert (report.ended, report.wait.count, report.service.count) == (20_000,) * 3


def test_for_one_worker_erlang_says_what_the_m_m_1_formula_does() -> None:
    for load in (0.1, 0.5, 0.9):
        assert erlang_c(load, 1) / (1 - load) == pytest.approx(load / (1 - load))


# Little's law needs no steady state over a time that begins and ends with nothing there: it is then an identity.

arrivals = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=8)
"""Batches: how long after the one before, and of how many files."""
plans = st.builds(
    Plan,
    workers=st.sampled_from((1, 2, 3, None)),
    service=st.one_of(st.sampled_from((0, 1, 2.5)), st.builds(Exponential, st.sampled_from((0.5, 3)))),
    failures=st.sampled_from(({}, {"server_error": 0.4}, {"invalid_file": 0.5, "server_error": 0.5})),
    order=st.sampled_from(("fifo", "lifo", "random", lambda file: file.id)),
    retries=st.sampled_from((None, Retries(1), Retries(3, first=0.5))),
    cancel=st.sampled_from(("immediate", "drain")),
)


class Watched:
    """A recorded simulation with batches to come, and perhaps a cancel of one, checked at every step."""

    def __init__(
        self, plan: Plan, gaps: list[tuple[int, int]], seed: int, cancels: list[tuple[int, int]]
    ) -> None:
        self.simulation = Simulation(seed=seed, plan=plan, record=True)
        self.stores = self.simulation.engine.vector_stores
        self.store_id = self.stores.create().id
        self.attached = 0
        self.batches: list[str] = []
        self.told: list[Any] = []
        self.simulation.engine.subscribe(self.told.append)
        due = 0
        for gap, files in gaps:
            due += gap
            self.simulation.at(due, lambda files=files: self.attach(files))
        for at, number in cancels:
            self.simulation.at(at, lambda number=number: self.cancel(number))

    def attach(self, files: int) -> None:
        ids = [f"file-{self.attached + i}" for i in range(files)]
        self.attached += files
        self.batches.append(self.stores.file_batches.create(self.store_id, file_ids=ids).id)

    def cancel(self, number: int) -> None:
        if number < len(self.batches):
            self.stores.file_batches.cancel(self.batches[number], vector_store_id=self.store_id)

    def run(self) -> None:
        simulation = self.simulation
        while simulation.step():
            counts = self.stores.retrieve(self.store_id).file_counts
            assert counts.total == self.attached
            assert simulation.busy <= counts.in_progress
            assert simulation.workers is None or simulation.busy <= simulation.workers
            simulation.engine.check()


@given(plans, arrivals, st.integers(0, 3), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 7)), max_size=3))
def test_at_every_step_no_file_is_lost_or_made_and_in_the_end_all_have_ended(
    plan: Plan, gaps: list[tuple[int, int]], seed: int, cancels: list[tuple[int, int]]
) -> None:
    watched = Watched(plan, gaps, seed, cancels)
    watched.run()
    counts = watched.stores.retrieve(watched.store_id).file_counts
    assert (counts.in_progress, counts.total) == (0, sum(files for _, files in gaps))
    assert watched.simulation.busy == 0
    report = watched.simulation.report
    ends = sum(isinstance(event, (events.FileCompleted, events.FileFailed)) for event in watched.told)
    assert report.ended == ends == counts.completed + counts.failed
    assert report.wait.count >= report.ended
    if plan.workers:
        assert 0 <= report.utilisation <= 1 + 1e-9


@given(plans, arrivals, st.integers(0, 3))
def test_littles_law_the_files_in_the_system_over_time_are_the_sum_of_their_stays(
    plan: Plan, gaps: list[tuple[int, int]], seed: int
) -> None:
    watched = Watched(plan, gaps, seed, [])
    watched.run()
    came: dict[str, float] = {}
    stays = 0.0
    for event in watched.told:
        if isinstance(event, events.FileBatchCreated):
            came.update((file_id, event.at) for file_id in event.file_ids)
        elif isinstance(event, (events.FileCompleted, events.FileFailed)):
            stays += event.at - came[event.file_id]
    area = 0.0
    here: dict[str, int] = {}
    before = 0.0
    for row in watched.simulation.timeline.rows:
        area += sum(here.values()) * (row.time - before)
        here[row.batch_id], before = row.in_progress, row.time
    assert not sum(here.values())
    assert area == pytest.approx(stays, abs=1e-4)


@given(plans, arrivals, st.integers(0, 3))
def test_work_is_conserved_the_busy_workers_over_time_are_the_sum_of_the_services(
    plan: Plan, gaps: list[tuple[int, int]], seed: int
) -> None:
    watched = Watched(plan, gaps, seed, [])
    watched.run()
    area, busy, before = 0.0, 0, 0.0
    for row in watched.simulation.timeline.rows:
        area += busy * (row.time - before)
        busy, before = row.busy, row.time
    service = watched.simulation.report.service
    assert area == pytest.approx(service.mean * service.count, abs=1e-4)


def test_a_plan_that_always_fails_tries_as_often_as_it_says() -> None:
    simulation = Simulation(plan=Plan(decide=lambda _: Failed("server_error", after=1), retries=2))
    simulation.engine.vector_stores.create(file_ids=["file-a"])
    assert simulation.run() == 1 + 1 + 1 + 2 + 1
    assert (simulation.report.retried, simulation.report.ended, simulation.report.service.count) == (2, 1, 3)
