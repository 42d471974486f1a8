"""Many threads over one engine: exact totals, one order of events, nothing torn."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from threading import Barrier, Thread
from time import sleep
from typing import Any

import pytest

from vsbatch_core import Engine, Page, VirtualClock, VsbatchError, events
from vsbatch_core.errors import AlreadyFinished
from vsbatch_core.model import ERROR_CODES, FILE_STATUSES, ORDERS

from ..helpers.strategies import BATCHES, FILES, START, STORES, Command, CountingIds, call, new_engine, run

THREADS = 8


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class YieldingClock(VirtualClock):
    """A clock that lets other threads run each time it is read: in the middle of every command."""

    def time(self) -> float:
        sleep(0)
        return super().time()


def shared_engine() -> Engine:
    return Engine(clock=YieldingClock(START), ids=CountingIds())


def together(work: Callable[[int, Barrier], None], threads: int = THREADS) -> None:
    """Do the work in many threads that begin at once; raise the first that any of them raised."""
    barrier, raised = Barrier(threads), []

    def body(number: int) -> None:
        try:
            barrier.wait()
            work(number, barrier)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that runs the test
            raised.append(error)
            barrier.abort()

    running = [Thread(target=body, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if raised:
        raise raised[0]


def test_of_many_that_finish_the_same_file_exactly_one_does_and_the_totals_are_exact() -> None:
    engine = shared_engine()
    engine.vector_stores.create()
    file_ids = [f"file-{i}" for i in range(150)]
    engine.vector_stores.file_batches.create("vs_1", file_ids=file_ids)
    won: list[list[tuple[str, str, int]]] = [[] for _ in range(THREADS)]
    lost = [0] * THREADS

    def work(number: int, _barrier: Barrier) -> None:
        for i, file_id in enumerate(file_ids):
            try:
                if (number + i) % 3:
                    file = engine.processing.complete("vs_1", file_id, usage_bytes=number + i)
                else:
                    file = engine.processing.fail("vs_1", file_id)
            except AlreadyFinished:
                lost[number] += 1
            else:
                won[number].append((file.id, file.status, file.usage_bytes))

    together(work)
    winners = [entry for entries in won for entry in entries]
    assert sorted(id for id, _, _ in winners) == sorted(file_ids)
    assert sum(lost) == (THREADS - 1) * len(file_ids)
    store = engine.vector_stores.retrieve("vs_1")
    assert store.usage_bytes == sum(size for _, _, size in winners)
    became = Counter(status for _, status, _ in winners)
    counts = engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1").file_counts
    assert counts == store.file_counts
    assert (counts.completed, counts.failed, counts.in_progress) == (became["completed"], became["failed"], 0)
    listed = {f.id: (f.status, f.usage_bytes) for f in engine.vector_stores.files.list("vs_1", limit=100)}
    assert listed == {id: (status, size) for id, status, size in winners}
    engine.check()


def test_creations_from_many_threads_are_all_there_with_ids_of_their_own() -> None:
    engine = shared_engine()
    engine.vector_stores.create()
    made: list[list[str]] = [[] for _ in range(THREADS)]

    def work(number: int, _barrier: Barrier) -> None:
        for i in range(20):
            store = engine.vector_stores.create().id
            ids = [f"file-{number}-{i}-{j}" for j in range(3)]
            engine.vector_stores.file_batches.create(store, file_ids=ids)
            batch = engine.vector_stores.file_batches.create("vs_1", file_ids=ids)
            page = engine.vector_stores.file_batches.list_files(batch.id, vector_store_id="vs_1", order="asc")
            assert [file.id for file in page] == ids
            made[number] += [store, batch.id]

    together(work)
    everything = [id for ids in made for id in ids]
    assert len(set(everything)) == len(everything) == THREADS * 40
    assert {store.id for store in engine.vector_stores.list(limit=100)} == {
        "vs_1",
        *(id for id in everything if id.startswith("vs_")),
    }
    assert engine.vector_stores.retrieve("vs_1").file_counts.in_progress == THREADS * 60
    assert len(engine.processing.pending(limit=10**6)) == THREADS * 120
    engine.check()


def any_command(random: Random) -> Command:
    """A call of any public method that a client or the host makes."""
    store, batch, file = random.choice(STORES), random.choice(BATCHES * 4), random.choice(FILES)
    page = {
        "limit": random.randint(1, 5),
        "order": random.choice(ORDERS),
        random.choice(("after", "before")): random.choice((None, file)),
    }
    some = random.sample(FILES, random.randint(1, len(FILES)))
    files, batches = "vector_stores.files", "vector_stores.file_batches"
    return random.choice(
        (
            call("vector_stores.create", file_ids=some),
            call("vector_stores.retrieve", store),
            call("vector_stores.update", store, name=random.choice("abc")),
            call("vector_stores.list", limit=page["limit"], order=page["order"]),
            *(call("vector_stores.delete", store) for _ in range(random.random() < 0.05)),
            call(f"{files}.create", store, file_id=file),
            call(f"{files}.retrieve", file, vector_store_id=store),
            call(f"{files}.update", file, vector_store_id=store, attributes={"n": random.random()}),
            call(f"{files}.list", store, filter=random.choice((None, *FILE_STATUSES)), **page),
            call(f"{files}.delete", file, vector_store_id=store),
            call(f"{batches}.create", store, file_ids=some),
            call(f"{batches}.retrieve", batch, vector_store_id=store),
            call(f"{batches}.cancel", batch, vector_store_id=store),
            call(f"{batches}.list_files", batch, vector_store_id=store, **page),
            call("processing.pending", limit=5),
            call("processing.pending", store),
            call("processing.complete", store, file, usage_bytes=random.randint(0, 99)),
            call("processing.fail", store, file, code=random.choice(ERROR_CODES)),
            call("snapshot"),
            call("snapshot", store),
            call("check"),
        )
    )


def walk(answer: Any) -> None:
    """Go on through a page's followers, as far as they are there."""
    if isinstance(answer, Page):
        try:
            ids = [item.id for item in answer]
        except VsbatchError:  # the list was deleted on the way, or its cursor with it
            return
        assert None not in ids


def is_slice(part: list[Any], whole: list[Any]) -> bool:
    """Whether ``part``, by identity, stands in ``whole`` without a gap."""
    if not part:
        return True
    numbers = {id(event): number for number, event in enumerate(whole)}
    first = numbers[id(part[0])]
    return [id(event) for event in part] == [id(event) for event in whole[first : first + len(part)]]


def test_any_calls_from_many_threads_come_one_after_the_other_and_replay_to_an_equal_engine() -> None:
    engine = shared_engine()
    told: tuple[list[events.Event], list[events.Event]] = ([], [])
    for events_ in told:
        engine.subscribe(events_.append)
    for _ in STORES:
        engine.vector_stores.create()
    partial: list[list[events.Event]] = []
    middle: list[dict[str, Any]] = []

    def work(number: int, barrier: Barrier) -> None:
        random = Random(number)
        for _ in range(3):
            barrier.wait()  # so that none is done before the last begins
            mine: list[events.Event] = []
            end = engine.subscribe(mine.append)
            for _ in range(60):
                walk(run(engine, any_command(random)))
            if number == 0:
                middle.append(engine.snapshot())
            end()
            partial.append(mine)

    together(work)
    engine.check()
    assert told[0] == told[1]
    assert all(one is other for one, other in zip(*told, strict=True))
    assert len(partial) == 3 * THREADS
    assert all(is_slice(part, told[0]) for part in partial)
    assert any(partial)
    twin = new_engine()
    seen = []
    for event in told[0]:
        twin.replay([event])
        snapshot = twin.snapshot()
        seen += [moment for moment in middle if moment == snapshot]
    assert twin.snapshot() == engine.snapshot()
    # What one thread saved while the others worked is the engine between two events, never within one.
    assert all(moment in seen for moment in middle)
    for moment in middle:
        Engine.restore(moment, clock=VirtualClock()).check()


def test_each_thread_finds_its_own_events_told_when_its_command_returns() -> None:
    engine = shared_engine()
    stores = [engine.vector_stores.create().id for _ in range(THREADS)]
    told: list[events.Event] = []
    engine.subscribe(told.append)

    def work(number: int, _barrier: Barrier) -> None:
        for i in range(40):
            batch = engine.vector_stores.file_batches.create(stores[number], file_ids=[f"file-{i}"])
            mine = [event for event in tuple(told) if event.vector_store_id == stores[number]]
            assert isinstance(mine[-1], events.FileBatchCreated)
            assert mine[-1].batch_id == batch.id
            assert len(mine) == i + 1

    together(work)
    assert len(told) == THREADS * 40


def test_a_page_is_of_one_moment() -> None:
    """Two files are always exchanged together, by one command; no page ever shows one of them alone."""
    engine = shared_engine()
    engine.vector_stores.create()
    pair = ["file-a", "file-b"]
    engine.vector_stores.file_batches.create("vs_1", file_ids=pair)

    def work(number: int, _barrier: Barrier) -> None:
        for _ in range(60):
            if number % 2:
                engine.vector_stores.file_batches.create("vs_1", file_ids=pair)
            else:
                page = engine.vector_stores.files.list("vs_1", order="asc", limit=5)
                assert [file.id for file in page.data] == pair
                counts = engine.vector_stores.retrieve("vs_1").file_counts
                assert (counts.in_progress, counts.total) == (2, 2)

    together(work)
    engine.check()
