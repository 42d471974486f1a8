"""An official client of an ASGI application in this process, which runs in a thread of its own.

The application's event loop runs all the time, so what it does in the background goes on between requests.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import openai

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

BASE_URL = "http://asgi.invalid/v1"
"""A name that never resolves: nothing that is sent there can leave the process."""


def asgi_client(app: Application, *, api_key: str = "none-needed", base_url: str = BASE_URL) -> openai.OpenAI:
    """An official ``OpenAI`` client of the application; closing the client shuts the application down.

    The application sees its lifespan, if it takes part in that.  What it raises, the call raises, as the cause of
    an ``openai.APIConnectionError``.
    """
    base: type = openai.DefaultHttpxClient.__mro__[1]
    http = sys.modules[base.__module__.partition(".")[0]]  # the library that the installed client is built on

    class Transport(http.BaseTransport):  # type: ignore[name-defined, misc]  # the library is known at run time
        def __init__(self) -> None:
            self.running = _Running(app)

        def handle_request(self, sent: Any) -> Any:
            sent.read()
            status, headers, body = self.running.ask(_scope(sent), sent.content)
            return http.Response(status, headers=headers, content=body)

        def close(self) -> None:
            self.running.stop()

    http_client: Any = http.Client(transport=Transport(), trust_env=False)
    return openai.OpenAI(base_url=base_url, api_key=api_key, http_client=http_client)


def _scope(sent: Any) -> dict[str, Any]:
    raw_path, _, query = sent.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": sent.url.scheme,
        "path": sent.url.path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in sent.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": (sent.url.host, sent.url.port or 80),
    }


class _Running:
    """An application whose event loop runs in a thread, from its start-up to its shutdown."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="ASGI application")
        self.thread.start()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers: asyncio.Queue[str] = asyncio.Queue()
        self.over = False
        """Whether the application takes part in its lifespan no more."""
        self.life = asyncio.run_coroutine_threadsafe(self._live(), self.loop)
        try:
            self._tell("startup")
        except BaseException:
            self._end()
            raise

    def ask(self, scope: dict[str, Any], body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """The answer to one request: status, headers, body."""
        answer: tuple[int, list[tuple[bytes, bytes]], bytes] = self._wait(self._ask(scope, body))
        return answer

    def stop(self) -> None:
        """Shut the application down; raise ``RuntimeError`` if it says that it could not."""
        try:
            self._tell("shutdown")
        finally:
            self._end()

    def _end(self) -> None:
        self._wait(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def _ask(self, scope: dict[str, Any], body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        started: dict[str, Any] = {}
        content = bytearray()
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()  # the client is there until it has its answer
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            content.extend(message.get("body", b""))

        await self.app(scope, receive, send)
        return started["status"], list(started.get("headers", ())), bytes(content)

    async def _live(self) -> None:
        async def send(message: dict[str, Any]) -> None:
            await self.answers.put(message["type"].removeprefix("lifespan."))

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await self.app(scope, self.events.get, send)
        finally:
            # An application may take no part in it, which it says by raising or by returning.
            await self.answers.put("over")

    def _tell(self, phase: str) -> None:
        if not self.over:
            answer = self._wait(self._phase(phase))
            self.over = answer == "over"
            if answer.endswith(".failed"):
                raise RuntimeError(f"the application's {phase} failed")

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _phase(self, phase: str) -> str:
        await self.events.put({"type": f"lifespan.{phase}"})
        return await self.answers.get()
