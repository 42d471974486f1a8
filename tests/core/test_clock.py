"""Time that refuses to go back, and where ids come from."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, SeededIds, SequentialIds, SystemClock, VirtualClock, random_ids

seconds = st.floats(0, 1e9)
ODD = [float("nan"), float("inf"), float("-inf")]


@given(seconds, st.lists(seconds))
def test_a_virtual_clock_moves_by_what_it_is_told_and_only_then(start: float, steps: list[float]) -> None:
    clock, now = VirtualClock(start), start
    for step in steps:
        assert clock.advance(step) == now + step
        now += step
        assert clock.time() == clock.time() == now


@given(seconds, seconds)
def test_a_virtual_clock_goes_to_a_time_that_is_not_in_the_past(start: float, when: float) -> None:
    clock = VirtualClock(start)
    if when >= start:
        assert clock.advance_to(when) == when == clock.time()
    else:
        with pytest.raises(ValueError, match="not in the past"):
            clock.advance_to(when)
        assert clock.time() == start


@pytest.mark.parametrize("bad", [*ODD, -1.0, -1e-3])
def test_a_virtual_clock_refuses_what_is_no_step_forward_and_stands(bad: float) -> None:
    clock = VirtualClock(5.0)
    with pytest.raises(ValueError, match=re.escape("cannot go from 5.0 to")):
        clock.advance(bad)
    with pytest.raises(ValueError, match=re.escape(f"cannot go from 5.0 to {bad!r}")):
        clock.advance_to(bad)
    assert clock.time() == 5.0


@pytest.mark.parametrize("bad", ODD)
def test_a_virtual_clock_refuses_to_start_where_there_is_no_time(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        VirtualClock(bad)


@given(seconds)
def test_the_repr_of_a_virtual_clock_makes_one_that_stands_there(start: float) -> None:
    clock = VirtualClock()
    clock.advance_to(clock.time() + start)
    assert eval(repr(clock)).time() == clock.time()  # noqa: S307 - its own repr


def test_the_system_clock_answers_the_machines_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 123.5)
    assert SystemClock().time() == 123.5


def test_an_engine_without_a_clock_has_the_systems() -> None:
    assert isinstance(Engine().clock, SystemClock)


class Swinging:
    """A clock as machines have them: it may step back."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 2000), min_size=1))
def test_the_time_of_a_store_never_goes_back_though_the_clock_does(times: list[float]) -> None:
    clock = Swinging()
    engine = Engine(clock=clock, ids=SequentialIds())
    store = engine.vector_stores.create()
    latest = clock.now
    for i, now in enumerate(times):
        clock.now = now
        latest = max(latest, now)
        assert engine.vector_stores.files.create(store.id, file_id=f"file-{i}").created_at == int(latest)
        assert engine.vector_stores.retrieve(store.id).last_active_at == int(latest)
    engine.check()


@given(st.integers())
def test_seeded_ids_are_the_same_for_the_same_seed_and_new_each_time(seed: int) -> None:
    one, other = SeededIds(seed), SeededIds(seed)
    made = [one("vs_") for _ in range(50)]
    assert made == [other("vs_") for _ in range(50)]
    assert len(set(made)) == 50


def test_seeded_ids_differ_between_seeds() -> None:
    assert len({SeededIds(seed)("vs_") for seed in range(100)}) == 100


@pytest.mark.parametrize("source", [random_ids, SeededIds(1)], ids=["random", "seeded"])
@pytest.mark.parametrize("prefix", ["vs_", "vsfb_"])
def test_ids_are_the_prefix_and_32_hexadecimal_digits(source: SeededIds, prefix: str) -> None:
    made = [source(prefix) for _ in range(50)]
    assert all(re.fullmatch(prefix + "[0-9a-f]{32}", id) for id in made)
    assert len(set(made)) == 50


@given(st.lists(st.sampled_from(["vs_", "vsfb_"])))
def test_sequential_ids_count_each_prefix_for_itself(prefixes: list[str]) -> None:
    ids = SequentialIds()
    made = [ids(prefix) for prefix in prefixes]
    assert made == [f"{prefix}{prefixes[: i + 1].count(prefix)}" for i, prefix in enumerate(prefixes)]
