"""The simulation: one queue, one step, and what interferes with the files in the workers' hands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from heapq import heapify, heapreplace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, VectorStoreFile, VirtualClock, errors, events
from vsbatch_core.simulation import Completed, Failed, Outcome, Plan, Simulation

from ..helpers.strategies import histories, new_engine, run


def busy_engine(files: int = 3) -> Engine:
    """An engine with store ``vs_1``, in which batch ``vsfb_1`` has just begun with files ``0``, ``1``, …"""
    engine = new_engine()
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=[str(i) for i in range(files)])
    return engine


def three_seconds(_file: VectorStoreFile) -> Outcome:
    return Completed(after=3)


def statuses(engine: Engine) -> dict[str, str]:
    page = engine.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", order="asc")
    return {file.id: file.status for file in page}


def elapsed(engine: Engine, start: float = new_engine().clock.time()) -> float:
    return engine.clock.time() - start


def endings(engine: Engine) -> list[tuple[float, str]]:
    """Filled, as files end, with when and which."""
    start, told = engine.clock.time(), []

    def hear(event: events.Event) -> None:
        if isinstance(event, (events.FileCompleted, events.FileFailed)):
            told.append((event.at - start, event.file_id))

    engine.subscribe(hear)
    return told


def in_progress(engine: Engine) -> int:
    return sum(store.file_counts.in_progress for store in engine.vector_stores.list())


# What a simulation takes


def test_an_engine_on_another_clock_is_refused_with_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"Engine\(clock=VirtualClock\(\)\)"):
        Simulation(Engine(), plan=three_seconds)


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(TypeError, match="takes an Engine, not 'engine'"):
        Simulation("engine", plan=three_seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, -1, -(2**300)])
def test_fewer_than_one_worker_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match="Give 1 or more"):
        Simulation(new_engine(), plan=three_seconds, workers=workers)


@pytest.mark.parametrize("workers", [True, 2.0, "2"])
def test_workers_that_are_no_whole_number_are_refused(workers: Any) -> None:
    with pytest.raises(TypeError, match="whole number"):
        Simulation(new_engine(), plan=three_seconds, workers=workers)


def test_a_plan_that_cannot_be_called_is_refused_with_what_to_write() -> None:
    for plan in (Completed(after=3), Completed, 3.0):
        with pytest.raises(TypeError, match=r"plan=Plan\(service=3.0\) or plan=lambda file"):
            Simulation(new_engine(), plan=plan)  # type: ignore[arg-type]


def completed(**given: Any) -> Outcome:
    return Completed(**{"after": 1, **given})


def failed(**given: Any) -> Outcome:
    return Failed(**{"code": "server_error", "after": 1, **given})


@pytest.mark.parametrize("make", [completed, failed])
@pytest.mark.parametrize("after", [-1, -0.001, float("inf"), float("-inf"), float("nan"), 10**400])
def test_a_duration_that_cannot_be_is_refused_where_it_is_written(
    make: Callable[..., Outcome], after: float
) -> None:
    with pytest.raises(ValueError, match="before it is picked up"):
        make(after=after)


@pytest.mark.parametrize("make", [completed, failed])
@pytest.mark.parametrize("after", ["3", [3], True])
def test_a_duration_that_is_no_number_is_refused_where_it_is_written(
    make: Callable[..., Outcome], after: Any
) -> None:
    with pytest.raises(TypeError, match=r"\(after=…\) takes a number of seconds"):
        make(after=after)


@pytest.mark.parametrize(
    ("make", "given", "error"),
    [
        (completed, {"usage_bytes": -1}, ValueError),
        (completed, {"usage_bytes": 1.5}, TypeError),
        (completed, {"usage_bytes": True}, TypeError),
        (failed, {"code": "bad_luck"}, ValueError),
        (failed, {"code": None}, ValueError),
        (failed, {"code": ["server_error"]}, ValueError),
        (failed, {"message": 3}, TypeError),
    ],
)
def test_an_outcome_that_the_api_does_not_know_is_refused_where_it_is_written(
    make: Callable[..., Outcome], given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(**given)


@pytest.mark.parametrize("outcome", [Completed(after=1.5, usage_bytes=7), Failed("invalid_file", after=1)])
def test_an_outcome_is_frozen_and_its_repr_pastes_back(outcome: Outcome) -> None:
    with pytest.raises(AttributeError):
        outcome.after = 2  # type: ignore[misc]
    assert eval(repr(outcome)) == outcome  # noqa: S307 - the repr of our own value


# What it does


def test_a_completed_file_takes_up_what_the_plan_says() -> None:
    engine = busy_engine(1)
    Simulation(engine, plan=lambda _: Completed(after=1, usage_bytes=7)).run()
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 7


def test_a_completed_file_takes_up_its_known_size_if_the_plan_says_nothing() -> None:
    engine = Engine(clock=VirtualClock(), file_size=lambda _: 70)
    store = engine.vector_stores.create(file_ids=["a"])
    Simulation(engine, plan=three_seconds).run()
    assert engine.vector_stores.retrieve(store.id).usage_bytes == 70


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Failed("unsupported_file", after=0), "The file type is not supported."),
        (Failed("unsupported_file", after=0, message="No."), "No."),
    ],
)
def test_a_failed_file_says_why(outcome: Failed, message: str) -> None:
    engine = busy_engine(1)
    Simulation(engine, plan=lambda _: outcome).run()
    error = engine.vector_stores.files.retrieve("0", vector_store_id="vs_1").last_error
    assert (error.code, error.message) == ("unsupported_file", message)


def test_files_are_heard_of_however_they_come() -> None:
    engine = busy_engine(2)
    simulation = Simulation(engine, plan=three_seconds, workers=1)
    ended = endings(engine)
    engine.vector_stores.create(file_ids=["of a new store"])
    engine.vector_stores.files.create("vs_1", file_id="alone")
    engine.vector_stores.file_batches.create("vs_2", file_ids=["of a batch"])
    simulation.run()
    assert ended == [(3, "0"), (6, "1"), (9, "of a new store"), (12, "alone"), (15, "of a batch")]


def test_a_step_does_one_thing_and_says_whether_there_was_one() -> None:
    engine = busy_engine(2)
    simulation = Simulation(engine, plan=three_seconds, workers=1)
    seen = []
    while simulation.step():
        seen.append((elapsed(engine), simulation.busy, in_progress(engine)))
    # Picked up, ended, picked up, ended.
    assert seen == [(0, 1, 2), (3, 0, 1), (3, 1, 1), (6, 0, 0)]
    assert not simulation.step()


def test_files_attached_by_a_subscriber_or_a_plan_are_processed_in_the_same_run() -> None:
    engine = busy_engine(1)
    engine.subscribe(lambda event: event.kind.endswith("completed") and attach("heard"))
    asked: list[str] = []

    def attach(file_id: str) -> None:
        if file_id not in asked:
            engine.vector_stores.files.create("vs_1", file_id=file_id)

    def plan(file: VectorStoreFile) -> Outcome:
        asked.append(file.id)
        attach("planned")
        return Completed(after=1)

    Simulation(engine, plan=plan, workers=1).run()
    assert asked == ["0", "planned", "heard"]
    assert in_progress(engine) == 0


def test_what_was_due_while_others_advanced_the_clock_happens_late() -> None:
    engine = busy_engine(1)
    simulation = Simulation(engine, plan=three_seconds)
    ended = endings(engine)
    simulation.step()
    engine.clock.advance(100)
    simulation.run()
    assert ended == [(100, "0")]


def test_a_closed_simulation_leaves_the_engine_alone() -> None:
    engine = busy_engine(2)
    simulation = Simulation(engine, plan=three_seconds, workers=1)
    simulation.step()
    simulation.close()
    engine.vector_stores.files.create("vs_1", file_id="late")
    assert not simulation.step()
    assert (simulation.busy, in_progress(engine)) == (0, 3)
    Simulation(engine, plan=three_seconds, workers=1).run()
    assert in_progress(engine) == 0


def test_a_simulation_says_when_it_is_and_how_busy() -> None:
    simulation = Simulation(Engine(clock=VirtualClock(5)), plan=three_seconds)
    assert repr(simulation) == "<Simulation at 5.0: 0 of 8 workers busy>"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 5))
def test_undisturbed_files_end_when_a_worker_that_is_free_first_has_done_them(
    durations: list[int], workers: int
) -> None:
    engine = busy_engine(len(durations))
    simulation = Simulation(engine, plan=lambda file: Completed(after=durations[int(file.id)]), workers=workers)
    ended = endings(engine)
    simulation.run()
    free = [0] * workers
    expected = []
    for duration in durations:
        heapify(free)
        expected.append(free[0] + duration)
        heapreplace(free, free[0] + duration)
    assert {file_id: at for at, file_id in ended} == {str(i): at for i, at in enumerate(expected)}
    assert [at for at, _ in ended] == sorted(at for at, _ in ended)


@given(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=20), st.integers(1, 25))
def test_files_that_end_at_the_same_instant_end_in_the_order_in_which_they_were_picked_up(
    durations: list[int], workers: int
) -> None:
    engine = busy_engine(len(durations))
    picked: list[str] = []

    def plan(file: VectorStoreFile) -> Outcome:
        picked.append(file.id)
        return Completed(after=durations[int(file.id)])

    simulation = Simulation(engine, plan=plan, workers=workers)
    ended = endings(engine)
    simulation.run()
    assert picked == [str(i) for i in range(len(durations))]
    assert ended == sorted(ended, key=lambda end: (end[0], picked.index(end[1])))


def test_at_one_instant_what_ends_goes_before_what_begins() -> None:
    engine = busy_engine(4)
    happened: list[str] = []
    engine.subscribe(lambda event: happened.append(f"{event.file_id} ends"))

    def plan(file: VectorStoreFile) -> Outcome:
        happened.append(f"{file.id} begins")
        return Completed(after=3 if file.id < "2" else 0)

    Simulation(engine, plan=plan, workers=2).run()
    assert happened[:4] == ["0 begins", "1 begins", "0 ends", "1 ends"]
    assert happened[4:] == ["2 begins", "2 ends", "3 begins", "3 ends"]


# What interferes


class Watched:
    """A simulation whose every step is checked against what the engine itself says."""

    def __init__(self, engine: Engine, durations: Callable[[], int], workers: int) -> None:
        self.engine = engine
        self.durations = durations
        self.simulation = Simulation(engine, plan=self.plan, workers=workers)

    def plan(self, file: VectorStoreFile) -> Outcome:
        assert file.status == "in_progress"
        assert file == self.engine.vector_stores.files.retrieve(file.id, vector_store_id=file.vector_store_id)
        duration = self.durations()
        return Completed(after=duration) if duration % 2 else Failed("invalid_file", after=duration)

    def step(self) -> bool:
        before, busy, waiting = self.engine.clock.time(), self.simulation.busy, in_progress(self.engine)
        went_on = self.simulation.step()
        if self.engine.clock.time() > before or not went_on:
            # Time moves only when every worker that could have a file has one.
            assert busy == min(self.simulation.workers, waiting)
        return went_on

    def run(self) -> None:
        while self.step():
            pass
        assert in_progress(self.engine) == 0
        self.engine.check()


@given(histories, st.integers(1, 4), st.data())
def test_no_worker_is_lost_and_no_file_forgotten_whatever_happens_between_the_steps(
    history: list[Any], workers: int, data: st.DataObject
) -> None:
    engine = new_engine()
    told: list[events.Event] = []
    engine.subscribe(told.append)
    durations = st.integers(0, 4)
    watched = Watched(engine, lambda: data.draw(durations), workers)
    for command in history:
        run(engine, command)
        for _ in range(data.draw(st.integers(0, 3))):
            watched.step()
    watched.run()
    copy = new_engine()
    copy.replay(told)
    assert copy.snapshot() == engine.snapshot()
    # All workers are there still: as many files as there are workers are taken at once.
    watched.durations = lambda: 1
    engine.vector_stores.create(file_ids=[str(i) for i in range(workers + 1)])
    for _ in range(workers):
        assert watched.step()
    assert watched.simulation.busy == workers
    watched.run()


ACTS: dict[str, Callable[[Engine], Any]] = {
    "cancel": lambda engine: engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1"),
    "delete": lambda engine: engine.vector_stores.files.delete("1", vector_store_id="vs_1"),
    "attach again": lambda engine: engine.vector_stores.files.create("vs_1", file_id="1"),
    "complete": lambda engine: engine.processing.complete("vs_1", "1"),
    "delete store": lambda engine: engine.vector_stores.delete("vs_1"),
    "nothing": lambda _: None,
}


def attempt(act: Callable[[Engine], Any], engine: Engine) -> None:
    try:
        act(engine)
    except errors.VsbatchError as refused:
        assert refused.status in {404, 409}  # noqa: PT017 - an act that comes too late


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("first", range(8))
def test_any_two_acts_at_any_two_steps_leave_all_workers_at_work(first: int, workers: int) -> None:
    for second, one, other in product(range(first, 9), ACTS, ACTS):
        engine = busy_engine()
        watched = Watched(engine, iter([3, 2, 1, 4] * 3).__next__, workers)
        for step in range(10):
            if step == first:
                attempt(ACTS[one], engine)
            if step == second:
                attempt(ACTS[other], engine)
            watched.step()
        watched.run()


@pytest.fixture
def halfway() -> Iterator[tuple[Engine, Simulation, list[tuple[float, str]]]]:
    """Three files and one worker, which has had the first in its hands for a second of three."""
    engine = busy_engine()
    simulation = Simulation(engine, plan=three_seconds, workers=1)
    ended = endings(engine)
    simulation.step()
    engine.clock.advance(1)
    yield engine, simulation, ended
    engine.check()
    assert in_progress(engine) == 0


Halfway = tuple[Engine, Simulation, list[tuple[float, str]]]


def test_a_deleted_file_frees_its_worker_at_once(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    engine.vector_stores.files.delete("0", vector_store_id="vs_1")
    assert simulation.busy == 0
    simulation.run()
    assert ended == [(4, "1"), (7, "2")]


def test_a_file_finished_by_somebody_else_frees_its_worker_at_once(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    engine.processing.fail("vs_1", "0")
    simulation.run()
    assert ended == [(1, "0"), (4, "1"), (7, "2")]


def test_a_file_attached_again_frees_its_worker_and_goes_to_the_end_of_the_line(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    engine.vector_stores.files.create("vs_1", file_id="0")
    simulation.run()
    assert ended == [(4, "1"), (7, "2"), (10, "0")]
    assert statuses(engine) == {"0": "cancelled", "1": "completed", "2": "completed"}


def test_a_waiting_file_attached_again_loses_its_place_however_often(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    for file_id in ("1", "1", "2", "1"):
        engine.vector_stores.files.create("vs_1", file_id=file_id)
    simulation.run()
    assert ended == [(3, "0"), (6, "2"), (9, "1")]


def test_a_cancelled_batch_frees_its_workers_for_the_files_of_others(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    engine.vector_stores.create(file_ids=["other"])
    engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    assert set(statuses(engine).values()) == {"cancelled"}
    simulation.run()
    assert ended == [(4, "other")]


def test_a_cancelled_batch_leaves_other_files_in_the_workers_hands() -> None:
    engine = busy_engine(1)
    engine.vector_stores.files.create("vs_1", file_id="alone")
    engine.vector_stores.create(file_ids=["elsewhere"])
    simulation = Simulation(engine, plan=three_seconds)
    ended = endings(engine)
    for _ in range(3):
        simulation.step()
    engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    assert simulation.busy == 2
    simulation.run()
    assert ended == [(3, "alone"), (3, "elsewhere")]


def test_a_deleted_store_takes_its_files_out_of_the_line_and_out_of_the_workers_hands(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    for _ in range(2):
        engine.vector_stores.create(file_ids=["1", "2"])
        engine.vector_stores.files.create(engine.vector_stores.list(limit=1).data[0].id, file_id="2")
    engine.vector_stores.files.create("vs_1", file_id="2")
    engine.vector_stores.delete("vs_1")
    engine.vector_stores.delete("vs_2")
    simulation.run()
    assert ended == [(4, "1"), (7, "2")]


# What raises


def test_a_plan_that_raises_is_asked_again_for_the_same_file(halfway: Halfway) -> None:
    engine, simulation, ended = halfway
    simulation.plan = lambda file: {"2": Completed(after=1)}[file.id]
    simulation.step()
    for _ in range(3):
        with pytest.raises(KeyError, match="1"):
            simulation.step()
        assert (simulation.busy, elapsed(engine)) == (0, 3)
    simulation.plan = three_seconds
    simulation.run()
    assert ended == [(3, "0"), (6, "1"), (9, "2")]


@pytest.mark.parametrize("answer", [None, 3.0, "completed", Completed])
def test_a_plan_that_answers_no_outcome_is_told_what_to_write(answer: Any) -> None:
    engine = busy_engine(1)
    simulation = Simulation(engine, plan=lambda _: answer)
    with pytest.raises(TypeError, match=r"for file '0', .*Write Completed\(after=3.0\)"):
        simulation.run()
    assert in_progress(engine) == 1


def refusing(plan: Plan) -> Plan:
    """The same plan, that raises once it has done what it does."""

    def raising(file: VectorStoreFile) -> Outcome:
        plan(file)
        raise LookupError(file.id)

    return raising


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("raises", [False, True])
def test_what_a_plan_does_to_the_very_file_that_it_is_asked_about_counts(act: str, raises: bool) -> None:
    engine = busy_engine()
    asked: list[str] = []

    def plan(file: VectorStoreFile) -> Outcome:
        asked.append(file.id)
        if asked.count("1") == 1:
            attempt(ACTS[act], engine)
        return Completed(after=3)

    simulation = Simulation(engine, plan=plan, workers=2)
    simulation.step()
    if raises:
        simulation.plan = refusing(plan)
        with pytest.raises(LookupError, match="1"):
            simulation.step()
        simulation.plan = plan
    simulation.run()
    expected = {
        "cancel": "01",
        "delete": "012",
        "attach again": "0121",
        "complete": "012",
        "delete store": "01",
        "nothing": "0112" if raises else "012",
    }
    assert "".join(asked) == expected[act]
    assert in_progress(engine) == simulation.busy == 0


def test_a_subscriber_that_raises_costs_neither_the_file_its_end_nor_the_worker_its_next_one() -> None:
    engine = busy_engine(2)
    simulation = Simulation(engine, plan=three_seconds, workers=1)
    simulation.step()
    unsubscribe = engine.subscribe(lambda _: 1 / 0)
    with pytest.raises(errors.SubscriberError):
        simulation.step()
    unsubscribe()
    assert statuses(engine) == {"0": "completed", "1": "in_progress"}
    simulation.run()
    assert (statuses(engine), elapsed(engine)) == ({"0": "completed", "1": "completed"}, 6)


def test_a_duration_at_the_end_of_floats_is_a_duration() -> None:
    engine = busy_engine(1)
    Simulation(engine, plan=lambda _: Completed(after=sys.float_info.max)).run()
    assert statuses(engine) == {"0": "completed"}
