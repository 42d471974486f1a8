"""The loop of a worker: claim, process, send heartbeats, finish, wait for more; with threads or with coroutines.

``Processing.work`` and ``AsyncProcessing.work`` document it.  Both run the same session, which knows nothing of
threads or coroutines; the two loops differ in what runs a handler and in how they wait.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from math import inf
from typing import Any, Protocol, TypeVar, cast

from vsbatch_core import validation
from vsbatch_core.claims import Claim, Completed, Failed
from vsbatch_core.errors import SubscriberError, VsbatchError, shown

Result = Completed | Failed | int | None
"""What a handler returns: an outcome of its claim, or the bytes that its completed file takes up, or nothing."""
Handler = Callable[[Claim], Result]
AsyncHandler = Callable[[Claim], Awaitable[Result]]
Call = Callable[..., Coroutine[Any, Any, Any]]
T = TypeVar("T")

_log = logging.getLogger("vsbatch_core.work")

_HEARTBEATS = 3
"""How many heartbeats a worker sends in the time of a lease."""
_FIRST_POLL = 1 / 32
"""The first pause of a worker that found nothing to claim, as a part of the longest one."""


class Queue(Protocol):
    """What a worker asks for; ``Processing`` says what the methods do."""

    def pending(self, vector_store_id: str | None, *, limit: int) -> Sequence[object]:
        """Return the oldest files in progress."""
        ...

    def claim(self, limit: int, *, worker: str, lease_seconds: float, vector_store_id: str | None) -> list[Claim]:
        """Claim the oldest files."""
        ...

    def heartbeat(self, claims: list[Claim], *, lease_seconds: float) -> Sequence[object]:
        """Move deadlines."""
        ...

    def release(self, claims: list[Claim]) -> Sequence[object]:
        """Give claims back."""
        ...

    def finish(self, outcomes: list[Completed | Failed]) -> Sequence[object]:
        """Finish claims."""
        ...


class Session:
    """What a worker holds, and when it does what next."""

    def __init__(
        self,
        queue: Queue,
        *,
        worker: str,
        limit: int,
        lease_seconds: float,
        vector_store_id: str | None,
        poll_seconds: float,
    ) -> None:
        self._queue = queue
        self.worker = validation.string("worker", worker, minimum=1)
        self.limit = validation.integer("limit", limit, 1)
        self._lease_seconds = validation.seconds("lease_seconds", lease_seconds)
        self._poll_seconds = validation.seconds("poll_seconds", poll_seconds)
        self._vector_store_id = vector_store_id
        self.held: dict[int, Claim] = {}
        """The claims that are being worked on, by number."""
        self._pause = self._poll_seconds * _FIRST_POLL
        self._idle = False
        """Whether there was nothing to claim when it was last asked for."""
        self._next_heartbeat = inf

    def claim(self) -> list[Claim]:
        """Claim as many files as there are handlers free; return the claims."""
        free = self.limit - len(self.held)
        if free == 0:
            return []
        claims: list[Claim] = []
        # A look keeps nobody waiting; a command of which nothing comes does, where the engine is on a database.
        if not self._idle or self._given(self._queue.pending, self._vector_store_id, limit=1):
            claims = self._given(
                self._queue.claim,
                free,
                worker=self.worker,
                lease_seconds=self._lease_seconds,
                vector_store_id=self._vector_store_id,
            )
        self._idle = not claims
        if not self.held:
            self._next_heartbeat = time.monotonic() + self._lease_seconds / _HEARTBEATS
        self.held.update((claim.number, claim) for claim in claims)
        if claims:
            self._pause = self._poll_seconds * _FIRST_POLL
            _log.debug("worker %s claimed %d files", self.worker, len(claims))
        else:
            self._pause = min(2 * self._pause, self._poll_seconds)
        return claims

    def pause(self, *, stopping: bool) -> float | None:
        """Return how many seconds to wait at most before the next step; ``None`` if there is no bound."""
        seconds = self._next_heartbeat - time.monotonic() if self.held else inf
        if len(self.held) < self.limit and not stopping:
            seconds = min(seconds, self._pause)
        return None if seconds == inf else min(max(0.0, seconds), threading.TIMEOUT_MAX)

    def heartbeat(self) -> None:
        """Send heartbeats for what is held, if it is time to."""
        if not self.held or time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + self._lease_seconds / _HEARTBEATS
        claims = list(self.held.values())
        # The handler of a claim that is lost goes on; what comes of it will be refused.
        self._warn(self._given(self._queue.heartbeat, claims, lease_seconds=self._lease_seconds))

    def outcome(self, claim: Claim, result: object, error: BaseException | None) -> Completed | Failed:
        """Return what became of a claim whose handler returned or raised."""
        of = result.claim if error is None and isinstance(result, (Completed, Failed)) else None
        if isinstance(of, Claim) and of.number == claim.number:  # though it may be a changed copy of the claim
            if isinstance(result, Failed):
                return Failed(claim, result.code, result.message, result.retry)
            return Completed(claim, cast("Completed", result).usage_bytes)
        if error is None and result is None:
            return Completed(claim)
        if error is None and type(result) is int and 0 <= result <= validation.MAX_BYTES:
            return Completed(claim, result)
        if error is None:
            error = TypeError(
                f"the handler returned {shown(result)}: return None, the bytes that the file takes up, or a "
                "Completed or Failed of the claim that it was given"
            )
        _log.error(
            "worker %s: file %s, attempt %d, failed",
            self.worker,
            claim.file.id,
            claim.attempt,
            exc_info=(type(error), error, error.__traceback__),
        )
        return Failed(claim, retry=True)

    def finish(self, outcomes: list[Completed | Failed]) -> None:
        """Finish claims; log those that are refused."""
        if not outcomes:
            return
        try:
            results = self._given(self._queue.finish, outcomes)
        except Exception as error:  # noqa: BLE001 - of an outcome, or of the host asked for a size: find it one by one
            if len(outcomes) > 1:
                for outcome in outcomes:
                    self.finish([outcome])
                return
            results = self._given(self._queue.finish, [self.outcome(outcomes[0].claim, None, error)])
        for outcome in outcomes:
            self.held.pop(outcome.claim.number, None)
        self._warn(results)

    def _given(self, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the queue returns; log what subscribers raised meanwhile."""
        try:
            return ask(*args, **kwargs)
        except SubscriberError as error:
            _log.exception("worker %s: subscribers raised", self.worker)
            if error.refusal is not None:
                raise error.refusal from None
            return error.result

    def _warn(self, results: Iterable[object]) -> None:
        for result in results:
            if isinstance(result, VsbatchError):
                _log.warning("worker %s: %s", self.worker, result)

    def release(self, claims: Iterable[Claim]) -> None:
        """Give claims back."""
        claims = list(claims)
        if claims:
            self._given(self._queue.release, claims)
        for claim in claims:
            self.held.pop(claim.number, None)

    def release_all(self) -> None:
        """Give back what is held still: claims whose handlers were not called, or were cancelled."""
        self.release(self.held.values())


def run(session: Session, handler: Handler, stop: threading.Event | None) -> None:
    """Work with a thread for each claim, until ``stop`` is set and what was claimed has been finished."""
    stop = threading.Event() if stop is None else stop
    running: dict[Future[Any], Claim] = {}

    def step(*, stopping: bool) -> None:
        if running:
            done, _ = wait(running, session.pause(stopping=stopping), FIRST_COMPLETED)
            session.finish(
                [
                    session.outcome(claim, None if future.exception() else future.result(), future.exception())
                    for future, claim in [(future, running.pop(future)) for future in done]
                ]
            )
            session.heartbeat()
        else:
            stop.wait(session.pause(stopping=stopping))

    with ThreadPoolExecutor(session.limit, thread_name_prefix=f"vsbatch-{session.worker}") as pool:
        try:
            while not stop.is_set():
                for claim in session.claim():
                    running[pool.submit(handler, claim)] = claim
                step(stopping=False)
        finally:  # also after Ctrl-C: what the handlers do is not lost
            try:
                while running:
                    step(stopping=True)
            finally:
                session.release_all()


async def run_async(session: Session, handler: AsyncHandler, stop: asyncio.Event | None, call: Call) -> None:
    """Work with a task for each claim, until ``stop`` is set and what was claimed has been finished.

    ``call(function, …)`` returns what the function does, which may ask the engine.  If the coroutine itself is
    cancelled, the handlers are cancelled and their claims are given back.
    """
    stop = asyncio.Event() if stop is None else stop
    running: dict[asyncio.Task[Any], Claim] = {}
    stopping = asyncio.ensure_future(stop.wait())

    async def handle(claim: Claim) -> Result:
        return await handler(claim)

    async def ask(function: Callable[..., T], *arguments: Any) -> T:
        """Have the session ask the engine; where that is cancelled, end when it is known what was claimed."""
        asking = asyncio.ensure_future(call(function, *arguments))
        try:
            return await asyncio.shield(asking)
        finally:
            while not asking.done():
                with suppress(asyncio.CancelledError):  # the first one is raised in the end
                    await asyncio.wait([asking])

    def settle(ended: list[tuple[asyncio.Task[Any], Claim]]) -> None:
        session.release([claim for task, claim in ended if task.cancelled()])
        session.finish(
            [
                session.outcome(claim, None if task.exception() else task.result(), task.exception())
                for task, claim in ended
                if not task.cancelled()
            ]
        )
        session.heartbeat()

    async def step() -> None:
        waiting: set[asyncio.Future[Any]] = {*running} if stop.is_set() else {*running, stopping}
        pause = session.pause(stopping=stop.is_set())
        done, _ = await asyncio.wait(waiting, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        await ask(settle, [(task, running.pop(task)) for task in list(running) if task in done])

    try:
        while not stop.is_set():
            for claim in await ask(session.claim):
                running[asyncio.create_task(handle(claim))] = claim
            if running or not stop.is_set():  # it may have been set while the claim was awaited
                await step()
        while running:
            await step()
    finally:
        stopping.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(stopping, *running, return_exceptions=True)
        await ask(session.release_all)
