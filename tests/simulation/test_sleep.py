"""Sleep on the virtual clock: nobody waits, everybody wakes in order, and all is as before in the end."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Coroutine
from math import inf
from types import SimpleNamespace
from typing import Any

import anyio
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core.extras import pip_line
from vsbatch_core.simulation import Faults, Plan, Simulation


def asyncly(simulation: Simulation, *tasks: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run tasks together, asleep on the virtual clock."""

    async def main() -> list[Any]:
        with simulation.patch_sleep():
            return list(await asyncio.gather(*tasks))

    return asyncio.run(main())


def test_time_sleep_lets_what_is_due_happen_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(seconds: float) -> None:
        pytest.fail(f"the machine's own sleep was called for {seconds} s")

    monkeypatch.setattr(time, "sleep", wait)
    simulation = Simulation(plan=Plan(workers=1, service=600.0))
    stores = simulation.engine.vector_stores
    store = stores.create(file_ids=["file-a", "file-b"])
    with simulation.patch_sleep():
        time.sleep(900)
        assert stores.retrieve(store.id).file_counts.completed == 1
        time.sleep(0)
        time.sleep(300)
    assert stores.retrieve(store.id).file_counts.completed == 2
    assert simulation.now == 1200


@pytest.mark.parametrize("seconds", [-1, float("nan"), inf])
def test_time_does_not_go_back_asleep_either(seconds: float) -> None:
    simulation = Simulation()
    with simulation.patch_sleep(), pytest.raises(ValueError, match="finite, 0 or more"):
        time.sleep(seconds)


def sleeps() -> tuple[Any, ...]:
    return time.sleep, asyncio.sleep, anyio.sleep


def test_all_is_as_before_even_after_an_error_and_nested() -> None:
    before = sleeps()
    outer, inner = Simulation(), Simulation()
    with pytest.raises(RuntimeError, match="inside"), outer.patch_sleep():  # noqa: PT012 - what is between matters
        first = sleeps()
        assert not set(first) & set(before)
        with inner.patch_sleep():
            time.sleep(5)
        assert sleeps() == first
        time.sleep(7)
        with outer.patch_sleep():
            time.sleep(1)
        assert sleeps() == first
        raise RuntimeError("inside")
    assert sleeps() == before
    assert (outer.now, inner.now) == (8, 5)


def test_without_anyio_the_others_are_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "anyio")
    simulation, before = Simulation(), anyio.sleep
    with simulation.patch_sleep():
        time.sleep(1)
        assert anyio.sleep is before
    assert simulation.now == 1


@given(st.lists(st.lists(st.sampled_from((0, 0.5, 1, 2.25, 60)), max_size=4), min_size=1, max_size=5))
def test_tasks_wake_when_they_are_due_whatever_the_others_do(plans: list[list[float]]) -> None:
    simulation = Simulation()
    woken: list[tuple[float, float]] = []

    async def sleeper(naps: list[float]) -> None:
        due = 0.0
        for nap in naps:
            due += nap
            assert await asyncio.sleep(nap, "slept") == "slept"
            woken.append((simulation.now, due))

    asyncly(simulation, *map(sleeper, plans))
    assert all(at == due for at, due in woken)
    assert [at for at, _ in woken] == sorted(at for at, _ in woken)
    assert simulation.now == max(map(sum, plans))


def test_tasks_that_do_not_sleep_get_their_turns_before_time_moves() -> None:
    simulation = Simulation()
    seen: list[float] = []

    async def busy() -> None:
        for _ in range(10):
            seen.append(simulation.now)
            await asyncio.sleep(0)

    asyncly(simulation, asyncio_sleep_later(5), busy())
    assert seen == [0.0] * 10


def test_a_task_that_never_rests_does_not_keep_time_from_moving() -> None:
    simulation = Simulation()

    async def spin() -> None:
        while simulation.now < 5:
            await asyncio.sleep(0)

    asyncly(simulation, asyncio_sleep_later(5), spin())
    assert simulation.now == 5


def test_a_sleeper_that_is_cancelled_does_not_move_time() -> None:
    simulation = Simulation()

    async def main() -> None:
        with simulation.patch_sleep():
            tasks = [asyncio.create_task(asyncio.sleep(seconds)) for seconds in (50, inf, 2, 2)]
            await asyncio.sleep(1)
            for i in (0, 1, 3):
                tasks[i].cancel()
            await asyncio.wait(tasks)
            assert simulation.now == 2

    asyncio.run(main())


def test_of_sleepers_due_at_once_a_cancelled_one_is_passed_over() -> None:
    simulation = Simulation()

    async def main() -> None:
        with simulation.patch_sleep():
            tasks = [asyncio.create_task(asyncio.sleep(2)) for _ in range(3)]
            simulation.at(1.5, tasks[1].cancel)
            await asyncio.wait(tasks)
            assert [task.cancelled() for task in tasks] == [False, True, False]

    asyncio.run(main())


def test_what_an_act_raises_is_raised_where_somebody_sleeps() -> None:
    simulation = Simulation()

    def act() -> None:
        raise RuntimeError("in an act")

    for _ in range(2):
        simulation.at(1, act)
    with simulation.patch_sleep(), pytest.raises(RuntimeError, match="in an act"):
        time.sleep(5)
    with pytest.raises(RuntimeError, match="in an act"):
        asyncly(simulation, asyncio_sleep_later(5))


async def asyncio_sleep_later(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_anyio_sleeps_on_the_same_clock_where_asyncio_runs_and_as_ever_elsewhere() -> None:
    simulation = Simulation()

    async def both() -> None:
        await anyio.sleep(3)
        await anyio.sleep(0)

    asyncly(simulation, both())
    assert simulation.now == 3
    with simulation.patch_sleep(), pytest.raises(Exception, match="async"):
        # Under trio no loop of asyncio runs; here none of any kind does, which anyio's own sleep says.
        anyio.sleep(3).send(None)
    assert simulation.now == 3


def test_a_thread_that_sleeps_moves_the_same_clock() -> None:
    simulation = Simulation()
    with simulation.patch_sleep():
        threads = [threading.Thread(target=lambda: time.sleep(5)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert simulation.now == 20


def test_a_poll_interval_of_ones_own_passes_once() -> None:
    simulation = Simulation(plan=Plan(workers=1, service=10.0))
    client = simulation.client
    with simulation.patch_sleep():
        store = client.vector_stores.create()
        batch = client.vector_stores.file_batches.create_and_poll(
            store.id, file_ids=["file-a"], poll_interval_ms=2500
        )
    assert (batch.status, simulation.now) == ("completed", 10.0)


def test_retries_of_the_asynchronous_client_back_off_on_the_virtual_clock() -> None:
    faults = Faults(rate_limit=True, writes_per_minute=1, first_list=True)
    simulation = Simulation(plan=Plan(service=5.0), faults=faults)

    async def main() -> openai.types.vector_stores.VectorStoreFileBatch:
        client = simulation.async_client.with_options(max_retries=5)
        with simulation.patch_sleep():
            store = await client.vector_stores.create()
            await client.vector_stores.files.create(store.id, file_id="file-a")
            batch = await client.vector_stores.file_batches.create_and_poll(store.id, file_ids=["file-b"])
            page = await client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id)
            assert [file.id for file in page.data] == ["file-b"]
            return batch

    assert asyncio.run(main()).status == "completed"
    assert simulation.now == 65.0


def test_without_the_sdk_a_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "vsbatch_core.adapters.openai", raising=False)
    monkeypatch.delattr("vsbatch_core.adapters.openai", raising=False)
    simulation = Simulation()
    for name in ("client", "async_client"):
        with pytest.raises(ImportError, match=re.escape(pip_line("openai"))):
            getattr(simulation, name)


def test_fake_anyio_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anyio", SimpleNamespace())
    with Simulation().patch_sleep():
        assert not hasattr(sys.modules["anyio"], "sleep")
