"""Sleeping on the virtual clock: what code under test sleeps passes in the simulation, and not on the wall."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsbatch_core.simulation.run import Simulation

QUIET_PASSES = 32
"""So often an event loop goes round before time moves on: enough for all tasks that can to come to a sleep."""


class Sleepers:
    """The tasks of one event loop that sleep on the virtual clock.

    Time moves to when the first of them is due, and no further, once the others have had their turns: so that it
    does not matter in which order tasks go to sleep.
    """

    def __init__(self, simulation: Simulation, loop: asyncio.AbstractEventLoop) -> None:
        self._simulation = simulation
        self._loop = loop
        self._sequence = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._passing = False

    async def sleep(self, seconds: float) -> None:
        """Return when so much time has passed on the virtual clock; raise what an act raises meanwhile."""
        future = self._loop.create_future()
        due = self._simulation.clock.time() + seconds
        heappush(self._waiting, (due, next(self._sequence), future))
        if not self._passing:
            self._passing = True
            self._loop.call_soon(self._pass, QUIET_PASSES)
        await future

    def _pass(self, left: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][2].done():  # a task that was cancelled
            heappop(waiting)
        if not waiting:
            self._passing = False
            return
        if left:
            self._loop.call_soon(self._pass, left - 1)
            return
        due, _, first = waiting[0]
        try:
            self._simulation.advance(max(0.0, due - self._simulation.clock.time()))
        except BaseException as error:  # noqa: BLE001 - it is the sleeper's to raise, as after time.sleep
            first.set_exception(error)
        # Rounding may leave the clock just before `due`; the first is due all the same.
        now = max(due, self._simulation.clock.time())
        while waiting and waiting[0][0] <= now:
            _, _, future = heappop(waiting)
            if not future.done():
                future.set_result(None)
        self._loop.call_soon(self._pass, QUIET_PASSES)


@contextmanager
def patched(simulation: Simulation) -> Iterator[None]:
    """Have ``time.sleep``, ``asyncio.sleep`` and ``anyio.sleep`` sleep on the simulation's clock."""
    loops: dict[asyncio.AbstractEventLoop, Sleepers] = {}
    anyio: Any = sys.modules.get("anyio")
    real: Any = asyncio.sleep
    real_anyio: Any = getattr(anyio, "sleep", None)

    def sleep(seconds: float, /) -> None:
        simulation.advance(seconds)

    async def asyncio_sleep(delay: float, result: Any = None) -> Any:
        if not 0 < delay < inf:  # a turn for the others, or for ever
            return await real(delay, result)
        loop = asyncio.get_running_loop()
        if loop not in loops:
            loops[loop] = Sleepers(simulation, loop)
        await loops[loop].sleep(delay)
        return result

    async def anyio_sleep(delay: float) -> None:
        # Where no event loop runs it is trio's turn, which has a clock of its own to be moved.
        if 0 < delay < inf and asyncio._get_running_loop() is not None:
            await asyncio_sleep(delay)
        else:
            await real_anyio(delay)

    patches: list[tuple[Any, Any, Any]] = [(time, time.sleep, sleep), (asyncio, asyncio.sleep, asyncio_sleep)]
    if real_anyio is not None:
        patches.append((anyio, real_anyio, anyio_sleep))
    for module, _, new in patches:
        module.sleep = new
    simulation._sleeping += 1
    try:
        yield
    finally:
        simulation._sleeping -= 1
        for module, old, _ in patches:
            module.sleep = old
