"""The API as an ASGI application: for any ASGI server, or mounted under a prefix in another application."""

from __future__ import annotations

import string
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

from attrs import evolve

from vsbatch_core.adapters.faults import NoAnswer
from vsbatch_core.adapters.http import HOST_FAULT, Api, Request, Response
from vsbatch_core.adapters.refusals import BodyTooLarge, Headers, Overloaded
from vsbatch_core.engine import Engine

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

EXPOSED = "openai-poll-after-ms, retry-after"
"""The headers of a response, beside those that every page sees, that pages of a browser may see."""

PIECE = 1 << 18
"""A longer body of a response is sent in pieces of so many bytes: the server then waits for a slow reader."""


class App:
    """An ASGI 3 application over an engine, or over an ``Api`` with keys, uploads and a driver.

    An engine in memory answers in the event loop's own thread: a request takes microseconds, less than a switch
    between threads, and a few milliseconds for a batch of 2,000 files.  One with a database never blocks the
    loop: see ``Api.dispatch_async``.

    The bodies of all requests and responses that are under way have at most ``flight_limit`` bytes of the ``Api``
    together.  A request for whose body there is no room is refused with 503.
    """

    def __init__(self, api: Api | Engine) -> None:
        self.api = api if isinstance(api, Api) else Api(api)
        self._flying = 0
        """The bytes of the bodies that are under way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: ``http`` or ``lifespan``; a ``websocket`` is turned away.

        Where the host's own parts raise, the client is told so with 500, and the error goes on to the server,
        which logs it.  Raise ``ValueError`` for a connection of another type, as ASGI wants it.
        """
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            raise ValueError(f"The API speaks http, not {scope['type']!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Request(
            scope["method"],
            path_of(scope),
            _ascii(scope.get("query_string", b"")),
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        )
        flight = _Flight(self)
        try:
            try:
                response = _preflight(head) if self.api.cors else None
                response = response or await self._respond(head, receive, flight)
            except Overloaded as error:
                response = self.api.refuse(error)
            except NoAnswer:
                _lose(scope)
                return
            except Exception:  # the host's: told to the client, then raised again for the server to log
                await self._send(self.api.refuse(HOST_FAULT), head, send)
                raise
            if response is not None:
                await self._send(response, head, send)
        finally:
            flight.end()

    async def _respond(self, head: Request, receive: Receive, flight: _Flight) -> Response | None:
        # Who may not come in, or announces too much, is told so before a long body is asked for, read and kept.
        if head.header("expect") is not None and (refused := self.api.refuse_unread(head)) is not None:
            return refused
        message = await receive()
        body = message.get("body", b"")
        flight.take(len(body))
        if message.get("more_body", False):
            refused = self.api.refuse_unread(head)
            if refused is not None:
                return refused
            longest = self.api.longest(head)
            parts = bytearray(body)
            while message.get("more_body", False):
                if len(parts) > longest:
                    return self.api.refuse(BodyTooLarge(len(parts), longest))
                message = await receive()
                part = message.get("body", b"")
                flight.take(len(part))
                parts += part
            body = bytes(parts)
            del parts
        if message["type"] == "http.disconnect":
            return None
        response = await self.api.dispatch_async(evolve(head, body=body))
        if len(response.body) > PIECE:
            flight.take(len(response.body))
        return response

    async def _send(self, response: Response, head: Request, send: Send) -> None:
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (*response.headers, *_for_browsers(head, self.api.cors))
        ]
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        rest = memoryview(response.body)
        while len(rest) > PIECE:
            await send({"type": "http.response.body", "body": bytes(rest[:PIECE]), "more_body": True})
            rest = rest[PIECE:]
        await send({"type": "http.response.body", "body": bytes(rest)})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            phase = (await receive())["type"]
            await send({"type": f"{phase}.complete"})
            if phase == "lifespan.shutdown":
                return


class _Flight:
    """The bytes that one request and its response have under way."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._taken = 0

    def take(self, length: int) -> None:
        """Have so many bytes more under way; raise ``Overloaded`` if there is no room."""
        most = self._app.api.flight_limit
        if self._app._flying + length > most:
            raise Overloaded(most)
        self._app._flying += length
        self._taken += length

    def end(self) -> None:
        """Have none any more."""
        self._app._flying -= self._taken


def _lose(scope: Scope) -> None:
    """End a connection without a response, where the server can; else raise what is handled, for it to see."""
    abort = scope.get("extensions", {}).get("vsbatch.abort")
    if abort is None:
        raise  # noqa: PLE0704 - called where an error is handled
    abort()


def _preflight(request: Request) -> Response | None:
    """The response to a browser that asks whether a page may send a request, if it is one."""
    if request.method != "OPTIONS" or request.header("access-control-request-method") is None:
        return None
    asked = request.header("access-control-request-headers")
    headers: Headers = (("access-control-allow-methods", "GET, POST, DELETE"), ("access-control-max-age", "600"))
    if asked is not None:
        headers += (("access-control-allow-headers", asked),)
    return Response(200, headers, b"")


def _for_browsers(request: Request, origins: tuple[str, ...]) -> Headers:
    """The headers that say to a browser whether the page that sent a request may have the response."""
    origin = request.header("origin")
    if origin is None or not origins:
        return ()
    exposed = ("access-control-expose-headers", EXPOSED)
    if "*" in origins:
        return (("access-control-allow-origin", "*"), exposed)
    varies = ("vary", "origin")
    return (("access-control-allow-origin", origin), exposed, varies) if origin in origins else (varies,)


def path_of(scope: Scope) -> str:
    """The path below the prefix that the application is mounted at, percent-encoded."""
    raw = scope.get("raw_path")  # optional; the path itself is decoded, so it cannot tell %2F from a slash
    path = quote(scope["path"]) if raw is None else _ascii(raw)
    root = scope.get("root_path", "").rstrip("/")
    if not root:
        return path
    # By segments, because a client may have encoded those of the prefix in any way.
    segments = path.split("/")
    below = root.count("/") + 1
    if len(segments) > below and unquote("/".join(segments[:below])) == root:
        return "/" + "/".join(segments[below:])
    return path


def _ascii(raw: bytes) -> str:
    """A part of a URL, with whatever is no ASCII percent-encoded, as it should have come."""
    if raw.isascii() and (path := raw.decode("ascii")).isprintable():  # the most common case
        return path
    return quote(raw, safe=string.printable)
