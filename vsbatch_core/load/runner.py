"""The loops: closed and open, on the time of the event loop that they run in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice, takewhile
from math import ceil, inf
from typing import TypeVar

from attrs import frozen

from vsbatch_core.load.calls import Failure, Send
from vsbatch_core.load.known import Call, Known, Outcome
from vsbatch_core.load.samples import OVERLOADED, Samples
from vsbatch_core.load.workload import Intent, Workload

Show = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and of how much."""

T = TypeVar("T")
WORKERS = 8
"""Requests at a time, apart from the load."""


async def each(items: Iterable[T], do: Callable[[T], Awaitable[None]], *, workers: int = WORKERS) -> None:
    """Do it with each item, in their order, several at a time."""
    queue = iter(items)

    async def work() -> None:
        for item in queue:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())


@frozen
class Bounds:
    """When to stop: after a number of requests, or of seconds, whichever comes first; ``None`` is no bound."""

    requests: int | None
    seconds: float | None


class Runner:
    """Sends a workload, and notes what is measured and what is learnt.

    Requests that are in flight when the time is over are waited for, each until ``send`` gives it up.
    """

    def __init__(self, send: Send, known: Known, show: Show = lambda _title, _done, _total: None) -> None:
        self.send = send
        self.known = known
        self.show = show
        self.samples = Samples()
        self.in_flight = 0
        self._seconds_shown = -1

    async def closed(self, workload: Workload, bounds: Bounds, *, concurrency: int) -> None:
        """Have so many workers each send the next request when their last was answered."""
        loop = asyncio.get_running_loop()
        self.samples.started = loop.time()
        end = inf if bounds.seconds is None else self.samples.started + bounds.seconds
        intents = islice(workload.intents(), bounds.requests)
        in_time = takewhile(lambda _intent: loop.time() < end, intents)
        await each(in_time, lambda intent: self._measured(intent, None, bounds), workers=concurrency)

    async def open(self, workload: Workload, bounds: Bounds, *, rate: float, in_flight: int) -> None:
        """Send requests when they are due, ``rate`` a second, as long as fewer than ``in_flight`` are."""
        loop = asyncio.get_running_loop()
        self.samples.started = start = loop.time()
        arrivals = workload.arrivals(rate)
        async with asyncio.TaskGroup() as group:
            for intent in islice(workload.intents(), bounds.requests):
                due = next(arrivals)
                if bounds.seconds is not None and due >= bounds.seconds:
                    break
                # Also where it is due already: what has been answered meanwhile has its turn.
                await asyncio.sleep(max(0.0, start + due - loop.time()))
                if self.in_flight >= in_flight:
                    message = f"{in_flight:,} requests were in flight when another was due"
                    self._note(
                        intent.operation, start + due, start + due, start + due, bounds, OVERLOADED, message
                    )
                else:
                    self.in_flight += 1
                    group.create_task(self._flown(intent, start + due, bounds))

    async def _flown(self, intent: Intent, due: float, bounds: Bounds) -> None:
        try:
            await self._measured(intent, due, bounds)
        finally:
            self.in_flight -= 1

    async def _measured(self, intent: Intent, due: float | None, bounds: Bounds) -> None:
        call = self.known.call(intent)
        sent, done, outcome = await self.ask(call)
        self.samples.ended += outcome.ended
        due = sent if due is None else due
        self._note(call.operation, due, sent, done, bounds, outcome.kind, outcome.message)

    def _note(
        self,
        operation: str,
        due: float,
        sent: float,
        done: float,
        bounds: Bounds,
        kind: str | None = None,
        message: str = "",
    ) -> None:
        self.samples.add(operation, due, sent, done, kind, message)
        if bounds.requests is not None or bounds.seconds is None:
            self.show("sending requests", len(self.samples), bounds.requests)
            return
        seconds = min(ceil(bounds.seconds), int(done - self.samples.started))
        if seconds > self._seconds_shown:
            self._seconds_shown = seconds
            self.show("sending requests, seconds", seconds, ceil(bounds.seconds))

    async def ask(self, call: Call) -> tuple[float, float, Outcome]:
        """Send a request and note what is learnt; when it was sent, when it was answered, what became of it."""
        time = asyncio.get_running_loop().time
        sent = time()
        try:
            answer = await self.send(call.request)
        except Failure as failure:
            self.known.lost(call)
            return sent, time(), Outcome(failure.kind, str(failure))
        except asyncio.CancelledError:
            self.known.lost(call)
            raise
        done = time()
        return sent, done, self.known.take(call, answer, sent, done)
