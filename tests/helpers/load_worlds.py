"""Servers in this process under load, on the virtual time of an event loop."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

from vsbatch_core.adapters import http
from vsbatch_core.load.calls import Answer, Failure, Request, Send
from vsbatch_core.load.runner import Bounds, Runner
from vsbatch_core.load.session import Session
from vsbatch_core.load.workload import Workload

from .planted_servers import World


class Leaping(selectors.SelectSelector):
    """Waits for nothing: time leaps to when the next thing is due."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        assert found or timeout is not None, "nothing is due, and nothing ever will be"
        if not found:
            self.loop.now += timeout or 0.0
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can be done."""

    now = 0.0

    def __init__(self) -> None:
        selector = Leaping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def virtually(main: Callable[[], Any]) -> Any:
    """Run a coroutine on virtual time; answer its value."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class Served:
    """A world whose time is the event loop's, and on which each request takes ``latency`` seconds.

    ``lose`` is asked of each request whether its answer is lost, before it is served or after.
    """

    def __init__(
        self,
        world: World,
        *,
        latency: float = 0.01,
        lose: Callable[[Request], str | None] = lambda _request: None,
    ) -> None:
        self.world = world
        self.latency = latency
        self.lose = lose
        self.requests: list[Request] = []
        self.seen = 0.0

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        lost = self.lose(request)
        await asyncio.sleep(self.latency)
        if lost == "before":
            raise Failure("connection", "reset")
        answer = self.answer(request)
        if lost == "after":
            raise Failure("timeout", "no answer")
        return answer

    def answer(self, request: Request) -> Answer:
        now = asyncio.get_running_loop().time()
        self.world.simulation.advance(now - self.seen)
        self.seen = now
        path, _, query = request.path.partition("?")
        headers: tuple[tuple[str, str], ...] = (("content-type", request.content_type),)
        if request.polls:
            headers += (("x-stainless-poll-helper", "true"),)
        asked = http.Request(request.method, f"/v1{path}", query, headers, request.body or b"")
        response = self.world.api.dispatch(asked)
        given = dict(response.headers)
        return Answer(response.status, given["content-type"], response.body, given.get("openai-poll-after-ms"))


def session_on(
    send: Send,
    workload: Workload | None = None,
    *,
    requests: int = 60,
    seconds: float = 1000.0,
    concurrency: int = 3,
    rate: float | None = None,
    in_flight: int = 100,
    settle: float = 5.0,
    **more: Any,
) -> Session:
    """A whole run on virtual time."""
    session = Session("http://test/v1", send, seconds=settle, **more)
    session.known.token = "bench"  # noqa: S105 - what stores are called
    workload = workload or Workload(sizes=(range(1, 12),))
    bounds = Bounds(requests, seconds)

    async def load(runner: Runner) -> None:
        if rate is None:
            await runner.closed(workload, bounds, concurrency=concurrency)
        else:
            await runner.open(workload, bounds, rate=rate, in_flight=in_flight)

    virtually(lambda: session.run(load))
    return session
