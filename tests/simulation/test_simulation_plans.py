"""Plans: what they say becomes of files, and what is refused where it is written."""

from __future__ import annotations

from collections import Counter
from math import exp, sqrt
from random import Random
from statistics import fmean, median
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, VectorStoreFile, VirtualClock, events
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
    Retries,
    Simulation,
    Uniform,
)


def simulation_of(plan: Any, *file_ids: str, attributes: Any = None, **more: Any) -> Simulation:
    """A simulation with these files in its one store."""
    simulation = Simulation(plan=plan, **more)
    batches = simulation.engine.vector_stores.file_batches
    batches.create(simulation.engine.vector_stores.create().id, file_ids=list(file_ids), attributes=attributes)
    return simulation


def ends(simulation: Simulation) -> list[tuple[float, str, str]]:
    """Run it to its end: when, which, and completed or why it failed."""
    told: list[tuple[float, str, str]] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.FileCompleted):
            told.append((round(simulation.now, 6), event.file_id, "completed"))
        elif isinstance(event, events.FileFailed):
            told.append((round(simulation.now, 6), event.file_id, event.last_error.code))

    simulation.engine.subscribe(hear)
    simulation.run()
    return told


def order(simulation: Simulation) -> str:
    return "".join(id for _, id, _ in ends(simulation))


# Durations


def drawn(duration: Duration, n: int = 20_000) -> list[float]:
    file = VectorStoreFile("file-a", 0, "vs_1")
    sample = duration.sampler(Random(3), lambda _: 5_000_000)
    return [sample(file) for _ in range(n)]


@pytest.mark.parametrize(
    ("duration", "mean", "variance"),
    [
        (Constant(2.5), 2.5, 0),
        (Uniform(1, 4), 2.5, 9 / 12),
        (Exponential(mean=3), 3, 9),
        (Lognormal(median=2, sigma=0.5), 2 * exp(0.125), 4 * exp(0.25) * (exp(0.25) - 1)),
        (Lognormal(median=2, sigma=0), 2, 0),
        (PerMegabyte(0.5, base=1), 3.5, 0),
        (Empirical([1, 1, 4]), 2, 2),
    ],
    ids=repr,
)
def test_a_duration_has_the_mean_that_its_name_says(duration: Duration, mean: float, variance: float) -> None:
    values = drawn(duration)
    # Five standard errors at a fixed seed.
    assert fmean(values) == pytest.approx(mean, abs=5 * sqrt(variance / len(values)) + 1e-9)
    assert min(values) >= 0
    assert eval(repr(duration)) == duration  # noqa: S307 - the repr of our own value


def test_durations_keep_to_their_bounds() -> None:
    assert {type(value) for value in drawn(Empirical([1, 4]))} == {float}
    assert set(drawn(Empirical([1, 4]))) == {1.0, 4.0}
    assert 1 <= min(drawn(Uniform(1, 4))) < max(drawn(Uniform(1, 4))) <= 4
    assert median(drawn(Lognormal(median=2, sigma=1))) == pytest.approx(2, rel=0.05)


def test_a_file_takes_what_a_function_of_the_file_and_the_random_source_says() -> None:
    plan = Plan(service=lambda file, random: int(file.id) + random.random() * 0)
    assert ends(simulation_of(plan, "1", "2")) == [(1, "1", "completed"), (2, "2", "completed")]


def test_megabytes_come_from_the_plan_or_the_host_or_the_attributes_in_this_order() -> None:
    per = PerMegabyte(1)
    size = Plan(service=per, size=lambda _: 3_000_000)
    host = Engine(clock=VirtualClock(), file_size=lambda _: 2_000_000)
    given = {"bytes": 1_000_000}
    assert simulation_of(size, "a", attributes=given, engine=host).run() == 3
    host = Engine(clock=VirtualClock(), file_size=lambda _: 2_000_000)
    assert simulation_of(Plan(service=per), "a", attributes=given, engine=host).run() == 2
    assert simulation_of(Plan(service=per), "a", attributes=given).run() == 1


def test_an_outcome_of_a_class_of_ones_own_is_what_its_base_is() -> None:
    class Indexed(Completed):
        """Made from a script of the user's."""

    class Broken(Failed):
        """As above."""

    class Lost(Never):
        """As above."""

    said = {"file-a": Indexed(after=1.0), "file-b": Broken("server_error", after=2.0), "file-c": Lost()}
    simulation = simulation_of(Plan(decide=lambda file: said[file.id], retries=1), *said)
    assert ends(simulation) == [(1.0, "file-a", "completed"), (5.0, "file-b", "server_error")]
    assert (simulation.report.ended, simulation.report.retried) == (2, 1)
    sized = simulation_of(Plan(decide=lambda _file: Indexed(), size=lambda _file: 7), "file-a")
    sized.run()
    (store,) = sized.engine.vector_stores.list()
    assert store.usage_bytes == 7


def test_a_completed_file_takes_up_the_plans_size_unless_its_outcome_says_otherwise() -> None:
    plan = Plan(size=len, script={"bb": Completed(usage_bytes=7), "ccc": Failed("invalid_file")})
    simulation = simulation_of(evolve(plan, size=lambda file: len(file.id)), "a", "bb", "ccc", "dddd")
    simulation.run()
    assert simulation.engine.vector_stores.list().data[0].usage_bytes == 1 + 7 + 4


@pytest.mark.parametrize("size", [None, -1, 1.5, True, "5"])
def test_a_size_that_nobody_knows_is_asked_for_at_the_step_that_needs_it(size: Any) -> None:
    simulation = simulation_of(Plan(service=PerMegabyte(1), size=lambda _: size), "a")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Write Plan\(size=lambda"):
            simulation.step()
    simulation.plan = evolve(simulation.plan, size=lambda _: 4_000_000)
    assert simulation.run() == 4


@pytest.mark.parametrize(("answer", "error"), [(-1, ValueError), (float("nan"), ValueError), ("3", TypeError)])
def test_a_function_that_answers_no_duration_is_told_so(answer: Any, error: type[Exception]) -> None:
    simulation = simulation_of(Plan(service=lambda _file, _random: answer), "a")
    with pytest.raises(error, match="service of file 'a'"):
        simulation.run()
    assert simulation.busy == 0


# What becomes of files


def test_the_script_goes_before_the_id_the_id_before_the_suffix_and_the_suffix_before_the_rest() -> None:
    plan = Plan(
        script={"a.png": Completed()},
        by_id={"b.png": "server_error", "e.txt": {}},
        by_suffix={".png": "unsupported_file"},
        failures={"invalid_file": 1},
    )
    told = ends(simulation_of(plan, "a.png", "b.png", "c.PNG", "d.txt", "e.txt"))
    assert [end for *_, end in told] == [
        "completed",
        "server_error",
        "unsupported_file",
        "invalid_file",
        "completed",
    ]


@pytest.mark.parametrize(
    ("attributes", "end"),
    [
        ({"path": "x/y.png", "filename": "y.txt"}, "unsupported_file"),
        ({"filename": "y.txt", "name": "y.png"}, "completed"),
        ({"path": 5, "name": "y.PNG"}, "unsupported_file"),
        ({"other": "y.png"}, "completed"),
        (None, "completed"),
    ],
)
def test_the_suffix_is_that_of_the_path_or_the_name_or_the_id(attributes: Any, end: str) -> None:
    plan = Plan(by_suffix={".png": "unsupported_file"})
    assert ends(simulation_of(plan, "a", attributes=attributes)) == [(1, "a", end)]


def test_probabilities_are_what_they_say() -> None:
    plan = Plan(workers=None, failures={"server_error": 0.2, "invalid_file": 0.3})
    told = Counter(end for *_, end in ends(simulation_of(plan, *map(str, range(2000)))))
    for end, chance in (("server_error", 0.2), ("invalid_file", 0.3), ("completed", 0.5)):
        assert told[end] == pytest.approx(2000 * chance, abs=4 * sqrt(2000 * chance * (1 - chance)))
    certain = Plan(failures={"server_error": 0.0, "invalid_file": 1.0})
    assert {end for *_, end in ends(simulation_of(certain, *map(str, range(50))))} == {"invalid_file"}


def test_a_script_says_when_as_well_and_what_comes_of_each_try() -> None:
    plan = Plan(
        script={
            "a": Completed(after=3.0),
            "b": Failed("invalid_file", after=1.0, message="No."),
            "c": [Failed("server_error", after=2), Completed(after=5)],
            "d": Never(),
            "e": [Failed("server_error", after=1)],
        },
        retries=Retries(2, first=4, factor=3, most=10),
    )
    simulation = simulation_of(plan, "a", "b", "c", "d", "e")
    assert ends(simulation) == [
        (1, "b", "invalid_file"),
        (3, "a", "completed"),
        (11, "c", "completed"),
        (1 + 4 + 1 + 10 + 1, "e", "server_error"),
    ]
    file = simulation.engine.vector_stores.files.list(simulation.engine.vector_stores.list().data[0].id)
    assert {item.id: item.last_error and item.last_error.message for item in file}["b"] == "No."


def test_only_server_errors_are_tried_again() -> None:
    for code in ("unsupported_file", "invalid_file"):
        assert ends(simulation_of(Plan(by_id={"a": code}, retries=5), "a")) == [(1, "a", code)]


def test_a_file_that_is_tried_again_goes_to_the_end_of_the_line() -> None:
    plan = Plan(workers=1, script={"a": [Failed("server_error"), Completed()]}, retries=Retries(1, first=0))
    assert order(simulation_of(plan, "a", "b", "c")) == "bca"


@given(st.integers(1, 8), st.floats(0, 5), st.floats(1, 3), st.floats(0, 20))
def test_waits_grow_by_the_factor_and_never_beyond_the_most(
    times: int, first: float, factor: float, most: float
) -> None:
    retries = Retries(times, first=first, factor=factor, most=most)
    for tried in range(1, times + 1):
        assert retries.wait(tried) == pytest.approx(min(first * factor ** (tried - 1), most))


# The order of the line


def test_the_line_is_served_in_the_order_that_the_plan_says() -> None:
    files = ("bb", "a", "dddd", "ccc")
    size = {"size": lambda file: len(file.id)}
    assert order(simulation_of(Plan(workers=1), *files)) == "bbaddddccc"
    assert order(simulation_of(Plan(workers=1, order="lifo"), *files)) == "cccddddabb"
    assert order(simulation_of(Plan(workers=1, order="smallest", **size), *files)) == "abbcccdddd"
    assert order(simulation_of(Plan(workers=1, order=lambda file: -len(file.id)), *files)) == "ddddcccbba"
    assert sorted(order(simulation_of(Plan(workers=1, order="random"), *files))) == sorted("".join(files))


def test_of_equal_keys_the_one_that_came_first_is_served_first() -> None:
    assert order(simulation_of(Plan(workers=1, order=lambda _: 0), *"cab")) == "cab"


@pytest.mark.slow
def test_at_random_every_order_comes_up_about_as_often() -> None:
    seen = Counter(
        order(simulation_of(Plan(workers=1, order="random"), *"abc", seed=seed)) for seed in range(600)
    )
    assert len(seen) == 6
    assert all(count == pytest.approx(100, abs=5 * sqrt(100 * 5 / 6)) for count in seen.values())


ORDERS: tuple[Any, ...] = ("fifo", "lifo", "random", lambda file: file.id)


@pytest.mark.parametrize("by", ORDERS)
def test_whatever_the_order_what_has_ended_or_gone_is_passed_over(by: Any) -> None:
    simulation = simulation_of(Plan(workers=1, order=by), *"abcdef")
    stores = simulation.engine.vector_stores
    store = stores.list().data[0].id
    other = stores.create(file_ids=list("xyz"))
    for id in "af":
        stores.files.delete(id, vector_store_id=store)
    simulation.engine.processing.complete(store, "c")
    stores.files.create(store, file_id="d")
    simulation.at(0.5, lambda: stores.delete(other.id))
    served = [id for _, id, _ in ends(simulation) if id not in "xyz"]
    assert sorted(served) == ["b", "d", "e"]
    gone = simulation_of(Plan(workers=1, order=by), "a")
    gone.engine.vector_stores.delete(gone.engine.vector_stores.list().data[0].id)
    assert gone.run() == 0


@pytest.mark.parametrize("by", ORDERS)
def test_whatever_the_order_a_file_whose_plan_raised_is_the_next(by: Any) -> None:
    asked: list[str] = []

    def decide(file: VectorStoreFile) -> Completed:
        asked.append(file.id)
        if len(asked) < 3:
            raise LookupError(file.id)
        return Completed()

    simulation = simulation_of(Plan(workers=1, order=by, decide=decide), *"abcd")
    for _ in range(2):
        with pytest.raises(LookupError):
            simulation.step()
    simulation.run()
    assert asked[0] == asked[1] == asked[2]
    assert len(asked) == 6


@pytest.mark.parametrize("by", ORDERS)
def test_whatever_the_order_nothing_waits_in_a_simulation_that_was_closed(by: Any) -> None:
    with simulation_of(Plan(workers=1, order=by), *"abcd") as simulation:
        simulation.step()
    assert not simulation.step()


def test_a_key_that_cannot_be_compared_fails_the_step_and_loses_no_file() -> None:
    keys: dict[str, Any] = {"a": 1, "b": "two", "c": 3}
    simulation = simulation_of(Plan(workers=1, order=lambda file: keys[file.id]), *"abc")
    for _ in range(2):
        with pytest.raises(TypeError, match="not supported between"):
            simulation.step()
    keys["b"] = 2
    assert order(simulation) == "abc"


def test_files_of_an_engine_that_was_there_before_are_taken_oldest_first() -> None:
    engine = Engine(clock=VirtualClock())
    stores = engine.vector_stores
    one = stores.create(file_ids=["a", "b"])
    engine.clock.advance(1)  # type: ignore[attr-defined]
    stores.create(file_ids=["c"])
    engine.clock.advance(1)  # type: ignore[attr-defined]
    stores.files.create(one.id, file_id="d")
    engine.processing.complete(one.id, "a")
    assert order(Simulation(engine, plan=Plan(workers=1))) == "bcd"


# Misuse

WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: Plan(workers=0), ValueError, "Give 1 or more"),
    (lambda: Plan(workers=2.5), TypeError, "whole number"),
    (lambda: Plan(service="3"), TypeError, r"service=Exponential\(mean=1.5\)"),
    (lambda: Plan(service=True), TypeError, "service=1.5"),
    (lambda: Plan(service=Exponential), TypeError, "service=1.5"),
    (lambda: Plan(service=-1), ValueError, "finite, 0 or more"),
    (lambda: Plan(failures=0.1), TypeError, "'invalid_file': 0.1"),
    (lambda: Plan(failures=((0.1, "invalid_file"),)), TypeError, "'invalid_file': 0.1"),
    (lambda: Plan(failures={"bad_luck": 0.1}), ValueError, "error codes are"),
    (lambda: Plan(failures={"server_error": 10}), ValueError, "0.1 is 10 %"),
    (lambda: Plan(failures={"server_error": True}), TypeError, "is a number"),
    (lambda: Plan(failures={"server_error": 0.6, "invalid_file": 0.6}), ValueError, "at most 1"),
    (lambda: Plan(by_suffix=["png"]), TypeError, "takes a dict"),
    (lambda: Plan(by_suffix={"PNG": "invalid_file"}), ValueError, r"Write it '\.png'"),
    (lambda: Plan(by_suffix={".PNG": "invalid_file"}), ValueError, r"Write it '\.png'"),
    (lambda: Plan(by_id={5: "invalid_file"}), TypeError, "keys are strings"),
    (lambda: Plan(by_id={"a": Completed()}), TypeError, "by_id=…\\) of 'a'"),
    (lambda: Plan(script={"a": "invalid_file"}), TypeError, r"of file 'a': 'invalid_file'. Write Completed"),
    (lambda: Plan(script={"a": []}), ValueError, "leave it out"),
    (lambda: Plan(script={"a": [Completed(), None]}), TypeError, "Never"),
    (lambda: Plan(script=[Completed()]), TypeError, "takes a dict"),
    (lambda: Plan(decide=Completed(after=3)), TypeError, "decide=lambda file"),
    (lambda: Plan(decide=lambda _: Completed(), failures={"invalid_file": 1}), ValueError, "leave out script"),
    (lambda: Plan(order="shortest"), ValueError, "'smallest', or a function"),
    (lambda: Plan(retries=1.5), TypeError, r"Retries\(3, first=1.0"),
    (lambda: Plan(retries=True), TypeError, r"Retries\(3, first=1.0"),
    (lambda: Plan(retries=-1), ValueError, "leave retries out"),
    (lambda: Retries(2, first=-1), ValueError, "before it failed"),
    (lambda: Retries(2, factor=0.5), ValueError, "give 1 for the same wait"),
    (lambda: Plan(cancel="later"), ValueError, "'immediate' or 'drain'"),
    (lambda: Plan(size=5), TypeError, "size=lambda file"),
    (lambda: Plan.after_polls(0), ValueError, "before it is asked for"),
    (lambda: Plan.after_polls(2, by_hand=True), ValueError, "by hand or by polls"),
    (lambda: Plan.after_seconds(-3), ValueError, "finite, 0 or more"),
    (lambda: Uniform(3, 1), ValueError, r"Uniform\(1, 3\)"),
    (lambda: Exponential(0), ValueError, r"Constant\(0\)"),
    (lambda: Lognormal(1, 60), ValueError, "as 0.5"),
    (lambda: Empirical([]), ValueError, "nothing to draw from"),
    (lambda: Empirical("1, 2"), TypeError, r"Empirical\(\[0.8, 1.3\]\)"),
    (lambda: Empirical([1, -2]), ValueError, "Empirical"),
    (lambda: Never(holds_worker="yes"), TypeError, "True or False"),
    (lambda: Simulation(seed="7"), TypeError, "seed=7"),
    (lambda: Simulation(seed=True), TypeError, "seed=7"),
    (lambda: Simulation(plan={}), TypeError, r"plan=Plan\(service=3.0\)"),
]


@pytest.mark.parametrize(("make", "error", "said"), WRONG)
def test_what_cannot_be_meant_is_refused_where_it_is_written_with_what_to_write(
    make: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make()


def test_a_plan_can_be_made_from_another_and_shared() -> None:
    plan = Plan(
        failures={"invalid_file": 0.5}, by_suffix={".a": "server_error"}, script={"x": Never()}, retries=2
    )
    assert evolve(plan) == plan
    assert evolve(plan, workers=3).workers == 3
    assert Plan(retries=0).retries is None
    told = [ends(simulation_of(plan, *map(str, range(30)), seed=1)) for _ in range(2)]
    assert told[0] == told[1]


def test_a_running_simulation_takes_another_plan_but_not_another_order() -> None:
    simulation = simulation_of(Plan(workers=1, order="lifo"), *"abc")
    simulation.step()
    simulation.plan = lambda _file: Failed("invalid_file", after=2)
    assert simulation.workers == 1
    assert ends(simulation) == [(1, "c", "completed"), (3, "b", "invalid_file"), (5, "a", "invalid_file")]
    for other in (Plan(), Plan(order="lifo", cancel="drain"), Plan.manual(order="lifo")):
        with pytest.raises(ValueError, match="make another simulation"):
            simulation.plan = other
