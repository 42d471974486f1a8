"""A stand-in as an ASGI application: the API, the control API and its stream of events."""

from __future__ import annotations

import asyncio
from hmac import compare_digest
from ipaddress import ip_address
from time import perf_counter
from typing import Any

from attrs import evolve

from vsbatch_core.adapters.asgi import App, Receive, Scope, Send, path_of
from vsbatch_core.adapters.http import HOST_FAULT, Request, Response
from vsbatch_core.adapters.refusals import BodyTooLarge, InvalidApiKey, MethodNotAllowed
from vsbatch_core.errors import RequestError, VsbatchError
from vsbatch_core.standin import around, control
from vsbatch_core.standin.world import RECORDED, StandIn

TICK = 0.25
"""Seconds after which a stream looks at the latest whether time has made something happen."""

QUIET = 15.0
"""Seconds after which a stream that has nothing to say sends a comment, so that nobody takes it for dead."""

MOST_READERS = 100
"""So many streams of events there are at a time."""


class WrongPlace(RequestError):
    """A page of another place, or a name that is not this server's, asks for what only people here may have."""

    status = 403
    code = "forbidden"


class TooManyReaders(VsbatchError):
    """There are as many streams of events as there may be."""

    status = 503
    code = "server_overloaded"
    headers = (("retry-after", "1"),)

    def __init__(self) -> None:
        super().__init__(f"There are {MOST_READERS} streams of events already. Close one, or try again later.")


class StandInApp:
    """An ASGI 3 application over a stand-in: the API, and with ``control`` the control API.

    Without ``control_key`` the control API is for this machine alone: a request must name a loopback host.  With
    it, it must carry ``Authorization: Bearer`` and the key.  In neither case may a page of another origin use it.
    """

    def __init__(self, standin: StandIn, *, control: bool = False, control_key: str | None = None) -> None:
        self.standin = standin
        self.control = control or control_key is not None
        self._key = control_key
        self._app = App(standin.api)
        self._around = around.Around(standin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; see ``App``."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                receive = self._closing(receive)
            await self._app(scope, receive, send)
            return
        await self._tick()
        path = path_of(scope)
        if path in around.PATHS:
            await self._beside(_request(scope, path), send)
        elif self.control and control.below(path) is not None:
            await self._control(_request(scope, path), receive, send)
        elif self.control and _names_page(scope) and self._is_of_the_page(_request(scope, path)):
            await App(self.standin.plain_api())(scope, receive, send)
        else:
            await self._serve(path, scope, receive, send)

    async def _tick(self) -> None:
        if self.standin.ticks:
            await self.standin.engine.aio.call(self.standin.tick)

    def close(self) -> None:
        """Have the streams of events end.  Any thread may call it."""
        self.standin.feed.close()

    def _closing(self, receive: Receive) -> Receive:
        async def received() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.close()
            return message

        return received

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the API; what is refused before the API itself has it is recorded here."""
        api = self._app.api = self.standin.api
        began, at, status, body = perf_counter(), self.standin.now, 0, b""

        async def sent(message: Any) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"") if status >= 400 else b""
            await send(message)

        recorded: list[int] = []
        token = RECORDED.set(recorded)
        try:
            await self._app(scope, receive, sent)
        finally:
            RECORDED.reset(token)
            if status and not recorded:
                api.record(_request(scope, path), None, at, status, body, perf_counter() - began)

    async def _beside(self, request: Request, send: Send) -> None:
        """Serve the page, whether all is well, or metrics."""
        try:
            response = await self.standin.engine.aio.call(self._around.response, request)
        except VsbatchError as error:
            response = control.refusal(error)
        await _respond(send, response)

    def _is_of_the_page(self, request: Request) -> bool:
        """Return whether the page of this server asks, which looks on and is no client."""
        try:
            self._require_own_page(request)
        except WrongPlace:
            return False
        return True

    # The control API

    async def _control(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            self._require_entitled(request)
            if control.below(request.path) == "events":
                await self._stream(request, receive, send)
                return
            found = control.route(self.standin, request)
            body = await _read(receive, found.longest)
            if body is None:
                return
            request = evolve(request, body=body)
            if len(body) > control.LONGEST:
                response = await asyncio.to_thread(control.dispatch, self.standin, request)
            else:
                response = await self.standin.engine.aio.call(control.dispatch, self.standin, request)
        except VsbatchError as error:
            response = control.refusal(error)
        except Exception:
            await _respond(send, control.refusal(HOST_FAULT))
            raise
        await _respond(send, response)

    def _require_own_page(self, request: Request) -> None:
        """Raise the refusal of what comes from a page of another place."""
        host = request.header("host")
        origin = request.header("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise WrongPlace(f"A page of {origin[:256]} may not control this server. Use the server's own page.")
        if request.header("sec-fetch-site") in ("cross-site", "same-site"):
            raise WrongPlace("A page of another site may not control this server. Use the server's own page.")
        if self._key is None and host is not None and not is_loopback(host):
            raise WrongPlace(
                f"This server is controlled from its own machine alone, and {host[:256]!r} is no name of it. "
                "Use 'localhost' or '127.0.0.1', or start the server with --control-key."
            )

    def _require_entitled(self, request: Request) -> None:
        """Raise the refusal of who may not use the control API."""
        self._require_own_page(request)
        if self._key is None:
            return
        scheme, _, key = (request.header("authorization") or "").partition(" ")
        given = key.strip().encode("latin-1", "replace")
        if not compare_digest(given, self._key.encode()) or scheme.lower() != "bearer":
            raise InvalidApiKey

    async def _stream(self, request: Request, receive: Receive, send: Send) -> None:
        """Send what happens, from where the reader was, until it or the server goes."""
        if request.method != "GET":
            raise MethodNotAllowed(request.method, request.path, ("GET",))
        feed = self.standin.watch()
        if feed.readers >= MOST_READERS:
            raise TooManyReaders
        query = control.query(request.query, ("after",))
        last = request.header("last-event-id") or query.get("after") or feed.last_id
        reader = feed.join()
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: reader.wake())
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b": \n\n", "more_body": True})
            quiet = 0.0
            while not (feed.closed or gone.done()):
                items = feed.after(last, 1)
                if items:
                    last, quiet = items[0].id, 0.0
                    await send({"type": "http.response.body", "body": items[0].encoded(), "more_body": True})
                    continue
                quiet = await _keep_alive(send, quiet) + TICK
                await reader.wait(TICK)
                await self._tick()
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            feed.leave(reader)


async def _keep_alive(send: Send, quiet: float) -> float:
    """Send a comment if nothing was sent for long; return for how many seconds nothing was sent."""
    if quiet < QUIET:
        return quiet
    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
    return 0.0


def _request(scope: Scope, path: str) -> Request:
    """Return the head of a request."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return Request(scope["method"], path, scope.get("query_string", b"").decode("latin-1"), headers)


def _names_page(scope: Scope) -> bool:
    """Return whether a request says that it is of the page of this server."""
    return any(name == b"x-vsbatch-page" for name, _ in scope["headers"])


def is_loopback(host: str) -> bool:
    """Return whether a ``Host`` header names this machine and no other, whatever a name server says.

    >>> [is_loopback(host) for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "example.com")]
    [True, True, True, False]
    """
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost" or name.lower().endswith(".localhost")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive, longest: int) -> bytes | None:
    """Return the body of a request, or ``None`` if the client went away; raise ``BodyTooLarge``."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > longest:
            raise BodyTooLarge(len(body), longest)
        if not message.get("more_body", False):
            return bytes(body)


async def _respond(send: Send, response: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
