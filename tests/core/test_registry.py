"""The one way in and the one way to look, where exceptions are rare: the lock, the queue, a fork, a repair."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import starmap
from operator import call
from threading import Event, RLock, Thread
from typing import Any

import pytest

from vsbatch_core import Engine, SequentialIds, events
from vsbatch_core.columns import SIZE
from vsbatch_core.errors import SubscriberError
from vsbatch_core.listing import Listing
from vsbatch_core.registry import _after_fork


class Stubborn:
    """A lock whose first release is interrupted before it has begun."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.acquire, self._is_owned = self.lock.acquire, self.lock._is_owned  # type: ignore[attr-defined]
        self.interrupted = False

    def release(self) -> None:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        self.lock.release()


@pytest.mark.parametrize("used", ["create", "list"])
def test_a_lock_whose_release_is_interrupted_is_released_all_the_same(used: str) -> None:
    engine = Engine(ids=SequentialIds())
    engine._registry.lock = lock = Stubborn()
    with pytest.raises(KeyboardInterrupt):
        getattr(engine.vector_stores, used)()
    assert not lock._is_owned()
    assert len(engine.vector_stores.list().data) == (used == "create")


def test_a_call_that_could_not_be_taken_from_the_queue_is_made_by_the_next_use() -> None:
    engine = Engine(ids=SequentialIds())
    registry = engine._registry
    heard: list[object] = []
    engine.subscribe(heard.append)

    class Failing:
        """Fails once before it takes anything, as C functions do near the recursion limit."""

        def __init__(self) -> None:
            self.failed = False

        def __next__(self) -> Any:
            if not self.failed:
                self.failed = True
                raise RecursionError
            return registry._undelivered.popleft()

        def __iter__(self) -> Iterator[Any]:
            return self

    registry._calls = starmap(call, Failing())
    with pytest.raises(SubscriberError):
        engine.vector_stores.create()
    assert heard == []
    assert [store.id for store in engine.vector_stores.list()] == ["vs_1"]
    assert len(heard) == 1


def test_after_a_fork_a_lock_that_another_thread_held_is_replaced_and_one_s_own_is_kept() -> None:
    engine, other = Engine(), Engine()
    held, done = Event(), Event()

    def hold() -> None:
        with engine.view.hold():
            held.set()
            done.wait(20)

    thread = Thread(target=hold)
    thread.start()
    held.wait(20)
    try:
        with other.view.hold():
            own = other._registry.lock
            _after_fork()
            assert other._registry.lock is own
        assert engine.vector_stores.create().file_counts.total == 0  # it would wait for ever
    finally:
        done.set()
        thread.join()


def test_a_departure_that_is_carried_out_again_after_its_block_was_dropped_changes_nothing() -> None:
    listing = Listing(departed=1)
    for number in range(SIZE + 1):
        listing.join(f"id-{number}", number)
    last: tuple[Any, ...] = ()
    for number in range(SIZE):
        last = (f"id-{number}", number, listing.oldest())
        listing.leave(*last)
    last = (f"id-{SIZE}", SIZE, listing.oldest())
    listing.leave(*last)
    listing.check("the list")
    before = list(listing), listing.departed
    listing.leave(*last)
    listing.check("the list")
    assert (list(listing), listing.departed) == before == ([(f"id-{SIZE}", False)], [f"id-{SIZE}"])


def test_an_event_names_the_files_that_ended_and_their_attachments_in_the_same_order() -> None:
    engine = Engine(ids=SequentialIds())
    heard: list[events.Event] = []
    engine.subscribe(heard.append)
    engine.vector_stores.create(file_ids=["file-a", "file-b", "file-c", "file-d"])
    engine.processing.complete_many("vs_1", ["file-c", "file-a"])
    engine.processing.fail("vs_1", "file-b")
    engine.vector_stores.update("vs_1", name="other")
    assert [events.attached(event) for event in heard][1:] == [(), (), ()]
    assert [events.ended(event) for event in heard] == [(), ("file-c", "file-a"), ("file-b",), ()]
    assert [events.ended_attachments(event) for event in heard] == [(), (2, 0), (1,), ()]


def test_sizes_may_be_integers_of_any_kind_but_booleans() -> None:
    class Size(IntEnum):
        SMALL = 5

    engine = Engine(ids=SequentialIds())
    engine.vector_stores.create(file_ids=["file-a", "file-b"])
    engine.processing.complete_many("vs_1", ["file-a", "file-b"], usage_bytes=[Size.SMALL, 1])
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 6
