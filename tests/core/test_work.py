"""The loop of a worker, with threads and with coroutines: both keep the same promises."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from vsbatch_core import (
    Claim,
    Completed,
    Engine,
    Failed,
    FileCounts,
    Retry,
    SequentialIds,
    SystemClock,
    VirtualClock,
)
from vsbatch_core.errors import RequestError, SubscriberError
from vsbatch_core.processing import Processing
from vsbatch_core.work import Session, run_async

Handler = Callable[[Claim], Any]
Work = Callable[..., None]
"""``work(engine, handler, stop_when, **options)``: runs the loop until ``stop_when(engine)`` holds."""

SOON = 0.02
"""Seconds: a pause that a test can wait for."""


def work_in_threads(engine: Engine, handler: Handler, stop_when: Callable[[], bool], **options: Any) -> None:
    stop = threading.Event()
    options = {"worker": "w", "poll_seconds": SOON, **options}
    thread = threading.Thread(target=engine.processing.work, args=(handler,), kwargs={**options, "stop": stop})
    thread.start()
    while not stop_when():
        time.sleep(SOON / 10)
    stop.set()
    thread.join()


def work_in_tasks(engine: Engine, handler: Handler, stop_when: Callable[[], bool], **options: Any) -> None:
    async def call(claim: Claim) -> Any:
        return await asyncio.to_thread(handler, claim)

    async def main() -> None:
        stop = asyncio.Event()
        options_ = {"worker": "w", "poll_seconds": SOON, **options}
        task = asyncio.create_task(engine.aio.processing.work(call, stop=stop, **options_))
        while not stop_when():
            await asyncio.sleep(SOON / 10)
        stop.set()
        await task

    asyncio.run(main())


both = pytest.mark.parametrize("work", [work_in_threads, work_in_tasks])


def engine_of(n: int, **options: Any) -> Engine:
    """An engine whose store ``vs_1`` has the batch ``vsfb_1`` of ``n`` files."""
    engine = Engine(**{"clock": VirtualClock(), "ids": SequentialIds(), **options})
    engine.vector_stores.create()
    if n:
        engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i:03}" for i in range(n)])
    return engine


def batch_of(engine: Engine) -> Any:
    return engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")


def ended(engine: Engine) -> Callable[[], bool]:
    return lambda: batch_of(engine).status != "in_progress"


def status_of(engine: Engine, file_id: str) -> Any:
    return engine.vector_stores.files.retrieve(file_id, vector_store_id="vs_1")


@both
def test_every_file_is_processed_once_and_completes_with_the_bytes_that_its_handler_returns(work: Work) -> None:
    engine, seen = engine_of(50), list[str]()

    def handler(claim: Claim) -> int:
        seen.append(claim.file.id)
        return 7

    work(engine, handler, ended(engine), limit=4)
    assert sorted(seen) == [f"file-{i:03}" for i in range(50)]
    assert batch_of(engine).file_counts.completed == 50
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 350
    engine.check()


@both
def test_two_workers_share_the_files_of_a_store(work: Work) -> None:
    engine, seen = engine_of(40), list[str]()
    other = threading.Thread(target=work, args=(engine, lambda claim: seen.append(claim.file.id), ended(engine)))
    other.start()
    work(engine, lambda claim: seen.append(claim.file.id), ended(engine), worker="other")
    other.join()
    assert sorted(seen) == [f"file-{i:03}" for i in range(40)]


@both
def test_no_more_handlers_run_at_a_time_than_the_limit_says(work: Work) -> None:
    engine, running, most = engine_of(12), list[int](), list[int]()

    def handler(claim: Claim) -> None:
        running.append(claim.number)
        most.append(len(running))
        time.sleep(SOON / 4)
        running.remove(claim.number)

    work(engine, handler, ended(engine), limit=3)
    assert max(most) <= 3
    assert len(most) == 12


@both
def test_an_outcome_is_what_the_handler_says_it_is(work: Work) -> None:
    engine = engine_of(2, file_size=lambda _: 5)

    def handler(claim: Claim) -> Any:
        if claim.file.id == "file-000":
            return Completed(claim)
        return Failed(claim, "unsupported_file", "no such format")

    work(engine, handler, ended(engine))
    assert status_of(engine, "file-000").usage_bytes == 5
    assert status_of(engine, "file-001").last_error.message == "no such format"


@both
def test_a_handler_that_raises_is_logged_and_the_file_is_tried_again(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    engine, attempts = engine_of(1, retry=Retry(attempts=3)), list[int]()

    def handler(claim: Claim) -> None:
        attempts.append(claim.attempt)
        if claim.attempt < 3:
            raise RuntimeError("the disk is full")

    with caplog.at_level(logging.ERROR, "vsbatch_core.work"):
        work(engine, handler, ended(engine))
    assert attempts == [1, 2, 3]
    assert batch_of(engine).file_counts.completed == 1
    assert [record.message for record in caplog.records] == [
        "worker w: file file-000, attempt 1, failed",
        "worker w: file file-000, attempt 2, failed",
    ]
    assert "the disk is full" in caplog.text


@both
@pytest.mark.parametrize("wrong", ["text", True, -1, 10**30, 1.5, Completed(None), Failed("file-000")])  # type: ignore[arg-type]
def test_a_handler_that_returns_what_is_no_outcome_has_failed(
    work: Work, wrong: object, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(1, retry=Retry(attempts=1))
    work(engine, lambda _: wrong, ended(engine))
    assert status_of(engine, "file-000").last_error.code == "server_error"
    assert "the handler returned" in caplog.text


@both
def test_an_outcome_that_is_refused_as_a_whole_does_not_hold_up_the_others(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(3, retry=Retry(attempts=1))
    together = threading.Barrier(3)

    def handler(claim: Claim) -> Any:
        together.wait()
        if claim.file.id == "file-001":
            return Failed(claim, "no_such_code")  # type: ignore[arg-type]
        return 1

    work(engine, handler, ended(engine), limit=3)
    assert batch_of(engine).file_counts.completed == 2
    assert status_of(engine, "file-001").last_error.code == "server_error"
    assert "no_such_code" in caplog.text


@both
def test_an_outcome_of_another_claim_is_refused(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    engine, claims = engine_of(2, retry=Retry(attempts=1)), list[Claim]()

    def handler(claim: Claim) -> Any:
        claims.append(claim)
        return Completed(claims[0], 3)

    work(engine, handler, ended(engine), limit=1)
    assert batch_of(engine).file_counts.completed == 1
    assert status_of(engine, "file-001").status == "failed"
    assert "the handler returned" in caplog.text


@both
def test_an_outcome_of_a_copy_of_the_claim_is_that_of_the_claim_whatever_was_changed_in_it(work: Work) -> None:
    engine = engine_of(1)
    work(engine, lambda claim: Completed(evolve(claim, worker="other", attachment=7), 3), ended(engine))
    assert batch_of(engine).file_counts.completed == 1


@both
def test_heartbeats_keep_a_claim_as_long_as_its_handler_runs(work: Work) -> None:
    engine, attempts, clock = engine_of(1), list[int](), VirtualClock()
    clock = engine.clock  # type: ignore[assignment]

    def handler(claim: Claim) -> None:
        attempts.append(claim.attempt)
        for _ in range(5):  # several times as long as the lease, by the engine's clock
            held = engine.view.claim("vs_1", claim.attachment)
            assert held is not None
            clock.advance(2 * SOON)
            while (
                now := engine.view.claim("vs_1", claim.attachment)
            ) is not None and now.deadline == held.deadline:
                time.sleep(SOON / 10)

    work(engine, handler, ended(engine), lease_seconds=3 * SOON, limit=1)
    assert attempts == [1]
    assert batch_of(engine).file_counts.completed == 1


@both
def test_a_claim_that_was_lost_meanwhile_is_logged_and_changes_nothing(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(2)

    def handler(claim: Claim) -> int:
        engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
        while "Cannot extend file" not in caplog.text and claim.file.id == "file-000":
            time.sleep(SOON / 10)
        done.append(claim.file.id)
        return 9

    done: list[str] = []
    work(engine, handler, lambda: len(done) == 2, limit=2, lease_seconds=SOON)
    assert batch_of(engine).file_counts.cancelled == 2
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 0
    assert "Cannot complete file 'file-000'" in caplog.text


@both
def test_a_worker_that_finds_nothing_waits_and_takes_what_comes_later(work: Work) -> None:
    engine, seen = engine_of(0), list[str]()

    def later() -> None:
        time.sleep(3 * SOON)
        engine.vector_stores.file_batches.create("vs_1", file_ids=["file-x"])

    host = threading.Thread(target=later)
    host.start()
    work(engine, lambda claim: seen.append(claim.file.id), lambda: seen == ["file-x"])
    host.join()
    assert status_of(engine, "file-x").status == "completed"


@both
def test_stop_lets_the_handlers_that_run_finish_and_claims_nothing_more(work: Work) -> None:
    engine, begun, go_on = engine_of(9), list[str](), threading.Event()

    def handler(claim: Claim) -> int:
        begun.append(claim.file.id)
        go_on.wait()
        return 1

    host = threading.Timer(3 * SOON, go_on.set)
    host.start()
    work(engine, handler, lambda: len(begun) == 2, limit=2)
    host.join()
    assert len(begun) == 2
    assert batch_of(engine).file_counts.completed == 2
    assert len(engine.processing.claim(9, worker="next")) == 7


@both
def test_a_worker_keeps_to_its_store(work: Work) -> None:
    engine = engine_of(1)
    engine.vector_stores.create()
    engine.vector_stores.files.create("vs_2", file_id="file-z")
    work(engine, lambda _: None, ended(engine), vector_store_id="vs_1")
    assert engine.vector_stores.files.retrieve("file-z", vector_store_id="vs_2").status == "in_progress"


class Noisy:
    """A queue whose every call does what it does, while subscribers raise."""

    def __init__(self, engine: Engine) -> None:
        self._queue = engine.processing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def noisy(*args: Any, **kwargs: Any) -> Any:
            try:
                result = getattr(self._queue, name)(*args, **kwargs)
            except RequestError as error:
                raise SubscriberError(1, refusal=error) from ValueError("no")
            raise SubscriberError(1, result) from ValueError("no")

        return noisy


class Broken:
    """A queue one of whose methods raises from its second call on, as one whose database is gone."""

    def __init__(self, engine: Engine, broken: str) -> None:
        self._queue, self._broken, self._calls = engine.processing, broken, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self._calls += name == self._broken
        if name == self._broken and self._calls > 1:
            raise OSError("no connection")
        return getattr(self._queue, name)


def work_through(
    queue: Any,
    work: Work,
    handler: Handler,
    stop_when: Callable[[], bool],
    *,
    raised: list[Exception] | None = None,
    **options: Any,
) -> None:
    """Run the loops of both APIs on another queue; note in ``raised`` what they raise."""
    expected: Any = () if raised is None else OSError

    def in_threads(*args: Any, **options: Any) -> None:
        try:
            Processing.work(queue, *args, **options)
        except expected as error:
            raised.append(error)  # type: ignore[union-attr]  # it is expected

    async def in_tasks(handler: Any, *, stop: asyncio.Event, **options: Any) -> None:
        session = Session(queue, vector_store_id=None, **{"limit": 8, "lease_seconds": 60.0, **options})
        try:
            await run_async(session, handler, stop, asyncio.to_thread)
        except expected as error:
            raised.append(error)  # type: ignore[union-attr]  # it is expected

    standing_in: Any = SimpleNamespace(
        processing=SimpleNamespace(work=in_threads),
        aio=SimpleNamespace(processing=SimpleNamespace(work=in_tasks)),
    )
    work(standing_in, handler, stop_when, **options)


@both
def test_a_worker_does_what_it_does_though_subscribers_raise_at_every_call(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(4, retry=Retry(attempts=1))
    clock: Any = engine.clock

    def handler(claim: Claim) -> Any:
        if claim.attachment == 1:
            return Failed(claim, "no_such_code")  # type: ignore[arg-type]  # refused
        if claim.attachment == 2:
            held = engine.view.claim("vs_1", 2)
            clock.advance(SOON)
            while engine.view.claim("vs_1", 2) == held:  # until a heartbeat comes
                time.sleep(SOON / 10)
        return 1

    work_through(Noisy(engine), work, handler, ended(engine), lease_seconds=3 * SOON)
    assert batch_of(engine).file_counts == FileCounts(completed=3, failed=1)
    assert "subscribers raised" in caplog.text
    engine.check()


@both
@pytest.mark.parametrize("broken", ["claim", "heartbeat", "finish"])
def test_a_worker_whose_queue_breaks_raises_that_and_holds_nothing_afterwards(work: Work, broken: str) -> None:
    engine, raised = engine_of(9, clock=SystemClock()), list[Exception]()

    def handler(_: Claim) -> None:
        time.sleep(SOON)

    queue = Broken(engine, broken)
    work_through(queue, work, handler, lambda: bool(raised), raised=raised, limit=2, lease_seconds=SOON)
    assert [str(error) for error in raised] == ["no connection"]
    assert [engine.view.claim("vs_1", number) for number in range(9)] == [None] * 9
    engine.check()


@both
def test_a_worker_that_found_nothing_only_looks_until_there_is_something(work: Work) -> None:
    engine, asked = engine_of(0), list[str]()

    class Noted:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(engine.processing, name)

    claims = list[int]()

    def stop_when() -> bool:
        if len(asked) < 6:
            return False
        if not claims:
            claims.append(asked.count("claim"))
            engine.vector_stores.files.create("vs_1", file_id="file-a")
        return bool(status_of(engine, "file-a").status == "completed")

    work_through(Noted(), work, lambda _: 1, stop_when)
    assert claims == [1]


@both
def test_a_worker_waits_as_long_as_it_is_told_to_however_long(work: Work) -> None:
    engine = engine_of(1)
    work(engine, lambda _: time.sleep(SOON), ended(engine), limit=1, lease_seconds=1e12, poll_seconds=1e12)
    assert batch_of(engine).file_counts.completed == 1


@both
def test_a_file_whose_size_the_host_cannot_say_is_tried_again_and_holds_up_no_other(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    broken = set[str]()

    def size(file_id: str) -> int:
        if file_id in broken:
            raise OSError("no such disk")
        return 5

    def handler(claim: Claim) -> None:
        if claim.file.id == "file-001":
            (broken.add if claim.attempt == 1 else broken.discard)(claim.file.id)

    engine = engine_of(3, file_size=size)
    work(engine, handler, ended(engine), limit=3)
    assert batch_of(engine).file_counts.completed == 3
    assert "no such disk" in caplog.text


@both
def test_a_subscriber_that_raises_does_not_end_the_loop(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(2)

    def raising(_event: object) -> None:
        raise ValueError("no")

    engine.subscribe(raising)
    work(engine, lambda _: 1, ended(engine), limit=1)
    assert batch_of(engine).file_counts.completed == 2
    assert "subscribers raised" in caplog.text


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"worker": ""}, "worker"),
        ({"worker": "w", "limit": 0}, "limit"),
        ({"worker": "w", "lease_seconds": 0}, "lease_seconds"),
        ({"worker": "w", "poll_seconds": -1.0}, "poll_seconds"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_claimed(options: Any, named: str) -> None:
    engine = engine_of(1)
    with pytest.raises(Exception, match=named):
        engine.processing.work(lambda _: None, **options)
    with pytest.raises(Exception, match=named):
        asyncio.run(engine.aio.processing.work(lambda _: asyncio.sleep(0), **options))
    assert len(engine.processing.claim(9, worker="w")) == 1


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread here")
def test_ctrl_c_waits_for_the_handlers_that_run_and_is_raised() -> None:
    engine, main = engine_of(5), threading.main_thread().ident
    assert main is not None

    def handler(claim: Claim) -> int:
        if claim.file.id == "file-001":
            time.sleep(SOON)  # until the loop waits for the handlers
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(3 * SOON)
        return 1

    with pytest.raises(KeyboardInterrupt):
        engine.processing.work(handler, worker="w", limit=2, poll_seconds=SOON)
    completed = batch_of(engine).file_counts.completed
    assert status_of(engine, "file-001").status == "completed"
    assert len(engine.processing.claim(9, worker="next")) == 5 - completed


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread here")
def test_a_second_ctrl_c_gives_back_the_claims_of_the_handlers_that_run() -> None:
    engine, main = engine_of(5), threading.main_thread().ident
    assert main is not None

    def handler(claim: Claim) -> int:
        if claim.file.id == "file-001":
            for _ in range(2):
                time.sleep(2 * SOON)  # until the loop waits for the handlers
                signal.pthread_kill(main, signal.SIGINT)
        time.sleep(8 * SOON)
        return 1

    with pytest.raises(KeyboardInterrupt):
        engine.processing.work(handler, worker="w", limit=2, lease_seconds=inf)
    assert [engine.view.claim("vs_1", number) for number in range(5)] == [None] * 5


def test_cancelling_the_coroutine_cancels_the_handlers_and_gives_their_claims_back() -> None:
    engine, cancelled = engine_of(5), list[str]()

    async def handler(claim: Claim) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(claim.file.id)
            raise

    async def main() -> None:
        task = asyncio.create_task(engine.aio.processing.work(handler, worker="w", limit=3))
        await asyncio.sleep(SOON)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(cancelled) == 3
    assert [claim.attempt for claim in engine.processing.claim(9, worker="next")] == [1] * 5


def test_a_handler_that_is_cancelled_gives_its_claim_back() -> None:
    engine, begun = engine_of(1), list[int]()

    async def handler(claim: Claim) -> None:
        begun.append(claim.attempt)
        if len(begun) == 1:
            raise asyncio.CancelledError

    async def main() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(engine.aio.processing.work(handler, worker="w", poll_seconds=SOON, stop=stop))
        while not ended(engine)():
            await asyncio.sleep(SOON / 10)
        stop.set()
        await task

    asyncio.run(main())
    assert begun == [1, 1]
