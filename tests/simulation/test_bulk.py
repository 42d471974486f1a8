"""A simulation in bulk comes to the same as one that steps, wherever it is stopped, disturbed or interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Thread
from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vsbatch_core import (
    Engine,
    Profile,
    SequentialIds,
    VectorStoreFile,
    VirtualClock,
    VsbatchError,
    events,
    processing,
    registry,
    rows,
    store,
)
from vsbatch_core.model import DAY
from vsbatch_core.processing import Processing, Unchecked
from vsbatch_core.simulation import (
    Completed,
    Constant,
    Duration,
    Empirical,
    Exponential,
    Failed,
    Lognormal,
    Never,
    PerMegabyte,
    Plan,
    Simulation,
    Uniform,
    bulk,
)
from vsbatch_core.view import View

from ..helpers.brief import EFFORT, examples
from ..helpers.cut_short import cut_short

DURATIONS = (
    Constant(0),
    Constant(1.5),
    Uniform(0, 2),
    Exponential(mean=1.5),
    Exponential(mean=DAY),
    Lognormal(median=1, sigma=1),
    PerMegabyte(1.0),
    PerMegabyte(DAY / 2, base=0.5),
    Empirical([0, 1, 1, 2.5]),
    Empirical([0, DAY / 3, DAY]),
)


IMMEDIATE, DRAIN = Profile(cancel="immediate"), Profile(cancel="drain")


class Stepping(Simulation):
    """A simulation that does nothing in bulk."""

    def _go_on(self, limit: float) -> None:
        while self._step(limit):
            pass


@contextmanager
def windows(
    size: int, *, least: int = 0, block: int = 2, each: int = 0, room: int = 2, many: int = 10
) -> Iterator[None]:
    """Have windows of this size, and as early as can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "WINDOW", size)
        patch.setattr(bulk, "LEAST", least)
        patch.setattr(bulk, "FIRST_BLOCK", block)
        patch.setattr(bulk, "BLOCK", 2 * block)
        patch.setattr(bulk, "ROOM", room)
        patch.setattr(bulk, "MANY", many)
        patch.setattr(bulk, "A_WORKER", each)
        yield


def without_versions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_versions(item) for key, item in value.items() if not key.endswith("version")}
    if isinstance(value, (list, tuple)):
        return [without_versions(item) for item in value]
    return value


def seen(simulation: Simulation) -> dict[str, Any]:
    """All that a simulation and its engine show, but for the numbers of events."""
    engine = simulation.engine
    stores = engine.vector_stores.list(limit=100)
    return {
        "now": simulation.now,
        "busy": simulation.busy,
        "idle": simulation.idle,
        "report": simulation.report,
        "stores": stores,
        "files": [engine.vector_stores.files.list(found.id, limit=100) for found in stores],
        "claims": [
            engine.view.claim(found.id, attachment) is not None
            for found in stores
            for attachment in range(engine.view.next_attachment(found.id))
        ],
        "snapshot": without_versions(engine.snapshot()),
    }


# Random plans and histories

file_ids = st.sampled_from([f"file-{i}.{suffix}" for i in range(40) for suffix in ("txt", "png")])
outcomes = st.one_of(
    st.builds(Completed, after=st.sampled_from((None, 0, 2)), usage_bytes=st.sampled_from((None, 0, 7))),
    st.builds(
        Failed,
        st.sampled_from(("server_error", "invalid_file")),
        after=st.sampled_from((None, 1)),
        message=st.sampled_from((None, "No.")),
    ),
)
rates = st.fixed_dictionaries({}, optional={"server_error": st.just(0.3), "invalid_file": st.just(0.2)})


def plans(extra: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Plan]:
    return st.builds(
        lambda more, **given: Plan(**given, **more),
        extra,
        workers=st.sampled_from((1, 2, 3, 5, 30, None)),
        service=st.sampled_from(DURATIONS),
        failures=rates,
        by_suffix=st.one_of(st.just({}), st.fixed_dictionaries({".png": rates})),
        by_id=st.one_of(st.just({}), st.dictionaries(file_ids, rates, max_size=5)),
        script=st.one_of(st.just({}), st.dictionaries(file_ids, outcomes, max_size=20)),
    )


foreseeable = plans(st.just({}))
others = plans(st.sampled_from(({"retries": 2}, {"size": lambda file: len(file.id) * 1_000_000}))) | st.builds(
    lambda holds: Plan(workers=3, script={f"file-{i}.txt": Never(holds_worker=holds) for i in (1, 5)}),
    st.booleans(),
)

Act = Callable[[Simulation], object]


def created(expires: bool) -> Act:
    after = {"anchor": "last_active_at", "days": 1} if expires else None
    return lambda simulation: simulation.engine.vector_stores.create(expires_after=after)


def attached(place: int, ids: list[str], size: int | None) -> Act:
    attributes = None if size is None else {"bytes": size}
    return lambda simulation: simulation.engine.vector_stores.file_batches.create(
        f"vs_{place}", file_ids=ids, attributes=attributes
    )


def one_attached(place: int, file_id: str) -> Act:
    return lambda simulation: simulation.engine.vector_stores.files.create(
        f"vs_{place}", file_id=file_id, attributes={"bytes": 500_000}
    )


def cancelled(place: int, batch: int) -> Act:
    return lambda simulation: simulation.engine.vector_stores.file_batches.cancel(
        f"vsfb_{batch}", vector_store_id=f"vs_{place}"
    )


def deleted(place: int, file_id: str | None) -> Act:
    stores = lambda simulation: simulation.engine.vector_stores  # noqa: E731 - of one use
    if file_id is None:
        return lambda simulation: stores(simulation).delete(f"vs_{place}")
    return lambda simulation: stores(simulation).files.delete(file_id, vector_store_id=f"vs_{place}")


def polled(place: int, file_id: str) -> Act:
    return lambda simulation: simulation.polled(
        simulation.engine.vector_stores.files.retrieve(file_id, vector_store_id=f"vs_{place}")
    )


def moved_by_others(seconds: float) -> Act:
    return lambda simulation: simulation.clock.advance(seconds)


def planned(plan: Plan) -> Act:
    def change(simulation: Simulation) -> None:
        simulation.plan = plan

    return change


def run_until_idle(simulation: Simulation) -> float:
    return simulation.run_until_idle()


seconds = st.sampled_from((0.0, 0.5, 1.0, 1.5, 3.0, 7.25, 100.0, DAY / 2, DAY * 1.5))
places = st.sampled_from((1, 1, 1, 2, 3))
acts: st.SearchStrategy[Act] = st.one_of(
    st.builds(created, st.booleans()),
    st.builds(
        attached,
        places,
        st.lists(file_ids, min_size=1, max_size=25, unique=True),
        st.sampled_from((0, 250_000, 2_000_000, 2_000_000, 2_000_000, None)),
    ),
    st.builds(one_attached, places, file_ids),
    st.builds(lambda by: lambda simulation: simulation.advance(by), seconds),
    st.builds(lambda by: lambda simulation: simulation.advance(by), seconds),
    st.just(run_until_idle),
    st.builds(lambda: lambda simulation: simulation.step()),
    st.builds(cancelled, places, st.integers(1, 4)),
    st.builds(deleted, places, st.one_of(file_ids, st.none())),
    st.builds(polled, places, file_ids),
    st.builds(moved_by_others, seconds),
    st.builds(planned, st.one_of(foreseeable, foreseeable, others)),
)


def new(of: type[Simulation], plan: Plan, seed: int, profile: Profile = IMMEDIATE) -> Simulation:
    engine = Engine(clock=VirtualClock(), ids=SequentialIds(), profile=profile)
    simulation = of(engine, plan=plan, seed=seed)
    for expires in (True, False, True):
        created(expires)(simulation)
    return simulation


def attempted(act: Act, simulation: Simulation) -> Any:
    try:
        act(simulation)
    except (VsbatchError, ValueError) as error:
        return type(error), str(error)
    return None


@given(
    foreseeable,
    st.integers(0, 5),
    st.lists(acts, min_size=1, max_size=12),
    st.integers(1, 40),
    st.integers(0, 2),
    st.integers(1, 9),
    st.integers(0, 2),
    st.integers(8, 40),
    st.sampled_from((IMMEDIATE, DRAIN)),
)
@settings(max_examples=examples(40))
def test_in_bulk_and_by_steps_all_is_the_same_after_each_command_but_for_the_numbers_of_events(
    plan: Plan,
    seed: int,
    history: list[Act],
    size: int,
    each: int,
    block: int,
    room: int,
    many: int,
    profile: Profile,
) -> None:
    one, other = new(Simulation, plan, seed, profile), new(Stepping, plan, seed, profile)
    with windows(size, block=block, each=each, room=room, many=many):
        for act in [attached(1, [f"file-{i}.txt" for i in range(30)], 1_000_000), *history, run_until_idle]:
            assert attempted(act, one) == attempted(act, other)
            assert seen(one) == seen(other)
    one.engine.check()


# What a random history seldom comes to


def both(plan: Plan, *history: Act, files: int = 40) -> Simulation:
    """The simulation in bulk after these commands, compared at each with one that steps."""
    one, other = new(Simulation, plan, 1), new(Stepping, plan, 1)
    with windows(25):
        for act in [attached(2, [f"file-{i}" for i in range(files)], None), *history]:
            assert attempted(act, one) == attempted(act, other)
            assert seen(one) == seen(other)
    return one


def advanced(by: float) -> Act:
    return lambda simulation: simulation.advance(by)


def test_a_worker_that_hangs_with_a_file_is_not_free_in_bulk() -> None:
    hangs = Plan(workers=3, script={f"file-{i}": Never(holds_worker=True) for i in (0, 4)})
    simulation = both(hangs, advanced(5), planned(Plan(workers=3, service=Exponential(1))), run_until_idle)
    assert (simulation.busy, simulation.report.ended) == (2, 38)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_that_a_new_plan_does_not_have_take_no_more_files_in_bulk(workers: int) -> None:
    many = Plan(workers=8, service=Exponential(2))
    both(many, advanced(1), planned(evolve(many, workers=workers)), advanced(1.5), run_until_idle)


def test_what_was_due_before_others_moved_the_clock_happens_late_in_bulk_too() -> None:
    both(Plan(workers=3, service=Exponential(1)), advanced(1), moved_by_others(20), run_until_idle)


def test_a_file_that_was_tried_before_is_not_new_when_a_plan_without_retries_comes() -> None:
    fails = Plan(workers=2, script={"file-1": [Failed("server_error"), Failed("invalid_file")]})
    simulation = both(evolve(fails, retries=3), advanced(2.5), planned(fails), run_until_idle)
    file = simulation.engine.vector_stores.files.retrieve("file-1", vector_store_id="vs_2")
    assert file.last_error is not None
    assert file.last_error.code == "invalid_file"


def test_a_file_whose_size_nobody_knows_raises_when_its_turn_comes() -> None:
    plan = Plan(workers=2, service=PerMegabyte(1))
    sized = attached(1, [f"file-{i}" for i in range(30)], 2_000_000)
    unknown = attached(3, ["file-x"], None)
    sized_too = attached(3, [f"file-{i}" for i in range(30)], 2_000_000)
    first = deleted(2, "file-0")
    simulation = both(plan, first, sized, unknown, sized_too, run_until_idle, run_until_idle, files=1)
    assert (simulation.report.ended, simulation.busy, simulation.now) == (30, 0, 30.0)


# That it is done in bulk, and that it is not where somebody looks


def events_of(plan: Plan, prepare: Act = lambda _: None, **more: Any) -> int:
    """How many events 200 files come to, beside that of their creation."""
    simulation = Simulation(Engine(clock=VirtualClock(), ids=SequentialIds()), plan=plan, **more)
    created(False)(simulation)
    attached(1, [f"file-{i}" for i in range(200)], 1_000_000)(simulation)
    prepare(simulation)
    simulation.run_until_idle()
    assert simulation.report.ended == 200
    return simulation.engine.version("vs_1") - 2


@pytest.mark.parametrize("service", DURATIONS, ids=repr)
@pytest.mark.parametrize("workers", [1, 8, 1000, None])
def test_files_end_together_whatever_the_duration_and_the_number_of_workers(service: Any, workers: int) -> None:
    assert events_of(Plan(workers=workers, service=service)) <= bulk.LEAST
    assert events_of(Plan(workers=workers, service=service, failures={"server_error": 0.5})) <= bulk.LEAST + 2


def test_files_end_together_where_a_cancel_drains_and_those_that_workers_hold_are_claimed() -> None:
    simulation = new(Simulation, Plan(workers=3, service=Exponential(1)), 0, DRAIN)
    attached(2, [f"file-{i}" for i in range(400)], None)(simulation)
    simulation.advance(100)
    assert simulation.engine.version("vs_2") < 200 < simulation.report.ended < 400
    cancelled(2, 1)(simulation)
    simulation.engine.check()
    assert simulation.busy == 3
    left = simulation.report.ended
    simulation.run_until_idle()
    assert simulation.report.ended == left + 3


def test_files_end_one_by_one_where_a_claim_may_lapse() -> None:
    assert events_of(Plan(), lambda simulation: simulation.engine.processing.claim(worker="w")) == 200


@pytest.mark.parametrize(
    ("plan", "prepare"),
    [
        (Plan(order="lifo"), None),
        (Plan(order="random"), None),
        (Plan(decide=lambda _: Completed(after=1)), None),
        (Plan(service=lambda _file, _random: 1.0), None),
        (Plan(size=lambda _: 1), None),
        (Plan(retries=1), None),
        (Plan(), lambda simulation: simulation.engine.subscribe(lambda _: None)),
        (Plan(), lambda simulation: simulation.at(1e6, lambda: None)),
        (Plan(), lambda simulation: simulation.every(1e6, lambda: None)),
    ],
)
def test_files_end_one_by_one_where_somebody_is_asked_or_listens_or_acts(plan: Plan, prepare: Any) -> None:
    assert events_of(plan, prepare or (lambda _: None)) == 200


def test_files_end_one_by_one_where_a_timeline_is_recorded_and_where_the_host_knows_sizes() -> None:
    assert events_of(Plan(), record=True) == 200
    engine = Engine(clock=VirtualClock(), ids=SequentialIds(), file_size=lambda _: 7)
    simulation = Simulation(engine)
    store = engine.vector_stores.create()
    engine.vector_stores.file_batches.create(store.id, file_ids=[f"file-{i}" for i in range(200)])
    simulation.run_until_idle()
    assert engine.vector_stores.retrieve(store.id).usage_bytes == 1400
    assert engine.version(store.id) == 202


# Interruptions

INTERRUPTED = Plan(
    workers=3,
    service=Exponential(mean=DAY / 4),
    failures={"invalid_file": 0.2},
    script={"file-3": Completed(usage_bytes=9)},
)


STRIDE = {"brief": 53, "usual": 11, "long": 1}[EFFORT]
"""Of so many lines that are run, one is interrupted."""


def before_the_end(of: type[Simulation], profile: Profile = IMMEDIATE) -> Simulation:
    """A simulation that does all in bulk; of its two stores that have files one expires."""
    simulation = new(of, INTERRUPTED, 3, profile)
    for place in (1, 2):
        attached(place, [f"file-{i}" for i in range(18)], None)(simulation)
    return simulation


def follow(simulation: Simulation) -> None:
    """Do to a simulation that was interrupted what shows whether it can go on."""
    attempted(cancelled(2, 2), simulation)
    attached(2, [f"file-{i}" for i in range(10, 25)], None)(simulation)
    simulation.run_until_idle()


@pytest.mark.slow
@pytest.mark.parametrize("profile", [IMMEDIATE, DRAIN])
@pytest.mark.parametrize("module", [bulk, processing, registry, rows, store])
def test_what_was_interrupted_anywhere_in_bulk_stands_where_steps_would_and_goes_on_as_they_do(
    module: Any, profile: Profile
) -> None:
    line, interrupted = 0, True
    run = lambda simulation: simulation.run_until_idle()  # noqa: E731 - one of two
    if profile is DRAIN:  # so that workers hold files at the end, which are claimed
        run = advanced(DAY * 1.2)
    while interrupted:
        line += STRIDE
        one, other = before_the_end(Simulation, profile), before_the_end(Stepping, profile)
        with windows(9):
            interrupted = cut_short(lambda one=one: run(one), module, line)  # type: ignore[misc]
            other.run(until=one.now)
            one.run(until=one.now)
            assert seen(one) == seen(other)
            follow(one)
            follow(other)
            assert seen(one) == seen(other)
        one.engine.check()
    assert line > 20


@given(st.integers(1, 1000), st.integers(1, 250))
def test_what_was_interrupted_twice_is_completed_by_whoever_uses_the_simulation_next(
    first: int, second: int
) -> None:
    one, other = before_the_end(Simulation), before_the_end(Stepping)
    with windows(9):
        if cut_short(one.run_until_idle, bulk, first):
            cut_short(lambda: one.busy, bulk, second)
        other.run(until=one.now)
        one.run(until=one.now)
        assert seen(one) == seen(other)
        follow(one)
        follow(other)
        assert seen(one) == seen(other)


@contextmanager
def interrupted(calls: list[int], *, after: bool) -> Iterator[None]:
    """Have these calls by which files end, counted from 0, raise: before they do anything, or after."""
    count = iter(range(10**6))

    def interrupting(real: Callable[..., None]) -> Callable[..., None]:
        def end(*args: Any, **kwargs: Any) -> None:
            raises = next(count) in calls
            if not raises or after:
                real(*args, **kwargs)
            if raises:
                raise KeyboardInterrupt

        return end

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (Unchecked, "complete_attachments"),
            (Processing, "complete_many"),
            (Processing, "fail_many"),
        ):
            patch.setattr(owner, name, interrupting(getattr(owner, name)))
        yield


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [0, 1, 5])
def test_a_simulation_that_is_interrupted_as_it_ends_files_in_the_engine_stands_where_steps_would(
    call: int, after: bool
) -> None:
    one, other = before_the_end(Simulation), before_the_end(Stepping)
    with windows(9):
        with interrupted([call], after=after), pytest.raises(KeyboardInterrupt):
            one.run_until_idle()
        other.run(until=one.now)
        one.run(until=one.now)
        assert seen(one) == seen(other)
        follow(one)
        follow(other)
        assert seen(one) == seen(other)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("then", [cancelled(2, 2), deleted(2, None), lambda simulation: simulation.step()])
@pytest.mark.parametrize("profile", [IMMEDIATE, DRAIN])
def test_what_was_interrupted_twice_is_completed_by_the_next_command_or_step(
    profile: Profile, then: Act, after: bool
) -> None:
    simulation = before_the_end(Simulation, profile)
    with windows(9):
        with interrupted([0, 1], after=after), pytest.raises(KeyboardInterrupt):
            simulation.run_until_idle()
        then(simulation)
        ended = simulation.report.ended
        assert ended > 0
        simulation.engine.check()
        simulation.run_until_idle()
    assert simulation.busy == 0
    for found in simulation.engine.vector_stores.list():
        assert found.file_counts.in_progress == 0


def test_a_simulation_whose_driver_holds_the_engine_goes_on_after_an_interruption() -> None:
    one, other = before_the_end(Simulation), before_the_end(Stepping)
    with windows(9):
        with interrupted([1], after=True), pytest.raises(KeyboardInterrupt):
            one.advance(DAY * 9)
        one.advance(DAY * 9)
        other.advance(one.now)
    assert seen(one) == seen(other)


# What is drawn for many files at once


@given(
    st.sampled_from((*DURATIONS, Lognormal(median=2, sigma=0), Empirical([3, 1]), Empirical([4]))),
    st.integers(0, 99),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_many_draws_at_once_are_those_that_come_one_by_one(
    service: Duration, seed: int, numbers: list[int]
) -> None:
    one, other = Random(seed), Random(seed)
    many, sample = service.many(one, lambda _: 1), service.sampler(other, lambda _: 1)
    for n in numbers:
        assert many(n) == [sample(None) for _ in range(n)]
    assert one.getstate() == other.getstate()


@given(st.floats(0, 99), st.floats(0, 99), st.lists(st.integers(0, 10**9), max_size=9))
def test_seconds_by_size_are_those_that_come_one_by_one(base: float, each: float, sizes: list[int]) -> None:
    service = PerMegabyte(each, base=base)
    sample = service.sampler(Random(), lambda size: size)
    assert service.of_sizes(sizes) == [sample(size) for size in sizes]


# When workers are free


@given(
    st.lists(st.sampled_from((0.0, 0.5, 1.0, 1.5, 2.0)) | st.floats(0, 9), min_size=8, max_size=40),
    st.lists(st.sampled_from((0.0, 0.25, 0.5, 1.0)) | st.floats(0, 9), max_size=100),
)
@example([float(i) for i in range(16)], [0.5, 0.25, 9.0, 0.5, 9.0, 9.0])
def test_many_workers_serve_as_few_do(free: list[float], seconds: list[float]) -> None:
    free.sort()
    heap, ordered = list(free), list(free)
    with windows(1, many=len(free) + 1):
        few = bulk._served(heap, 0.0, seconds)
    with windows(1, many=len(free)):
        assert bulk._served(ordered, 0.0, seconds) == few
    assert ordered == sorted(heap)


# What follows an interruption


def test_a_window_that_another_thread_has_put_meanwhile_is_not_put_again() -> None:
    one, other = before_the_end(Simulation), before_the_end(Stepping)
    real = View.vector_store_ids
    looks = iter(range(10**6))

    def overtaken(self: View) -> tuple[str, ...]:
        if next(looks) == 0:
            thread = Thread(target=lambda: one.busy)
            thread.start()
            thread.join()
        return real(self)

    with windows(9), pytest.MonkeyPatch.context() as patch:
        patch.setattr(View, "vector_store_ids", overtaken)
        with interrupted([0], after=True), pytest.raises(KeyboardInterrupt):
            one.run_until_idle()
        other.run(until=one.now)
        one.run(until=one.now)
        assert seen(one) == seen(other)


def test_while_those_who_will_be_left_hang_nothing_is_picked_up_in_bulk() -> None:
    hangs = Plan(workers=6, service=Uniform(5, 9), script={f"file-{i}": Never(holds_worker=True) for i in (0, 1)})
    simulation = both(hangs, advanced(1), planned(Plan(workers=2)), run_until_idle)
    assert (simulation.busy, simulation.report.ended) == (2, 4)


# What a line keeps of the next files


def test_a_simulation_can_step_within_a_subscriber_where_events_are_still_to_come() -> None:
    simulation = new(Simulation, Plan(workers=2), 0)
    attached(1, [f"file-{i}" for i in range(12)], None)(simulation)
    within: list[bool] = []

    def step(event: events.Event) -> None:
        if isinstance(event, events.FileCompleted):
            within.append(simulation.step())

    simulation.engine.subscribe(step)
    simulation.run_until_idle()
    assert simulation.report.ended == 12
    assert any(within)  # one of the steps within the subscriber found something to do


@pytest.mark.parametrize("order", ["fifo", "lifo", "random", "smallest"])
def test_a_file_that_ends_after_its_plan_raised_is_not_picked_up_again(order: Any) -> None:
    raises = [True]

    def decide(_file: VectorStoreFile) -> Completed:
        if raises:
            raises.pop()
            raise LookupError
        return Completed(after=1.0)

    simulation = new(Simulation, Plan(workers=1, decide=decide, order=order, size=lambda _: 1), 0)
    attached(1, ["file-a", "file-b"], None)(simulation)
    with pytest.raises(LookupError):
        simulation.step()
    cancelled(1, 1)(simulation)
    attached(2, ["file-c"], None)(simulation)
    assert simulation.run_until_idle() == 1.0
    assert simulation.report.ended == 1


def test_a_file_whose_attributes_change_while_it_waits_is_given_to_the_plan_as_it_stands_then() -> None:
    given: dict[str, Any] = {}

    def decide(file: VectorStoreFile) -> Completed:
        given[file.id] = file.attributes["bytes"]
        return Completed(after=1.0)

    simulation = new(Simulation, Plan(workers=1, decide=decide), 0)
    attached(1, [f"file-{i}" for i in range(20)], 1)(simulation)
    simulation.advance(6)
    files = simulation.engine.vector_stores.files
    for place in (0, 8, 19):
        files.update(f"file-{place}", vector_store_id="vs_1", attributes={"bytes": 2})
    simulation.run_until_idle()
    assert given == {f"file-{i}": 2 if i in (8, 19) else 1 for i in range(20)}


def test_files_of_a_store_that_an_earlier_subscriber_deletes_at_once_are_not_waited_for() -> None:
    engine = Engine(clock=VirtualClock(), ids=SequentialIds())

    def delete(event: events.Event) -> None:
        if isinstance(event, events.FileBatchCreated):
            engine.vector_stores.delete(event.vector_store_id)

    engine.subscribe(delete)
    simulation = Simulation(engine)
    engine.vector_stores.create()
    attached(1, ["file-a"], None)(simulation)
    assert simulation.run_until_idle() == 0.0
    assert simulation.report.wait.count == 0


def test_a_store_that_has_expired_when_its_first_file_ends_is_not_active_again() -> None:
    plan = Plan(workers=1, service=2.0 * DAY)
    one, other = new(Simulation, plan, 0), new(Stepping, plan, 0)
    with windows(100, block=10):
        for act in (attached(1, [f"file-{i}" for i in range(9)], None), run_until_idle):
            assert attempted(act, one) == attempted(act, other)
            assert seen(one) == seen(other)
    assert one.engine.vector_stores.retrieve("vs_1").status == "expired"


def test_a_batch_finishes_when_its_last_file_does_though_a_window_ends_files_of_many_batches() -> None:
    engine = Engine(clock=VirtualClock(), ids=SequentialIds())
    simulation = Simulation(engine, plan=Plan(workers=1, service=Constant(1.0)), seed=0)
    store = engine.vector_stores.create()
    start = engine.clock.time()
    for batch in range(3):
        engine.vector_stores.file_batches.create(store.id, file_ids=[f"file-{batch}-{i}" for i in range(300)])
    simulation.run_until_idle()
    batches = engine.snapshot()["vector_stores"][0]["file_batches"]
    assert [batch[-1] - start for batch in batches] == [300.0, 600.0, 900.0]
