"""The API as an ASGI application: for any ASGI server, or mounted under a prefix in another application."""

from __future__ import annotations

import string
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

from vsbatch_core.adapters.http import HOST_FAULT, Api, Request, Response
from vsbatch_core.adapters.refusals import BodyTooLarge
from vsbatch_core.engine import Engine

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class App:
    """An ASGI 3 application over an engine, or over an ``Api`` with keys, uploads and a driver.

    An engine in memory answers in the event loop's own thread: a request takes microseconds, less than a switch
    between threads, and a few milliseconds for a batch of 2,000 files.  One with a database never blocks the
    loop: see ``Api.dispatch_async``.
    """

    def __init__(self, api: Api | Engine) -> None:
        self.api = api if isinstance(api, Api) else Api(api)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: ``http`` or ``lifespan``; a ``websocket`` is turned away.

        Where the host's own parts raise, the client is told so with 500, and the error goes on to the server,
        which logs it.  Raise ``ValueError`` for a connection of another type, as ASGI wants it.
        """
        if scope["type"] == "http":
            try:
                response = await self._respond(scope, receive)
            except Exception:  # the host's: told to the client, then raised again for the server to log
                await _answer(send, self.api.refuse(HOST_FAULT))
                raise
            if response is not None:
                await _answer(send, response)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            raise ValueError(f"The API speaks http, not {scope['type']!r}")

    async def _respond(self, scope: Scope, receive: Receive) -> Response | None:
        head = (
            scope["method"],
            _path(scope),
            _ascii(scope.get("query_string", b"")),
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        )
        message = await receive()
        body = message.get("body", b"")
        if message.get("more_body", False):
            # Who may not come in, or announces too much, is told so before a long body is read and kept.
            refused = self.api.refuse_unread(Request(*head))
            if refused is not None:
                return refused
            parts = bytearray(body)
            while message.get("more_body", False):
                if len(parts) > self.api.body_limit:
                    return self.api.refuse(BodyTooLarge(len(parts), self.api.body_limit))
                message = await receive()
                parts += message.get("body", b"")
            body = bytes(parts)
        if message["type"] == "http.disconnect":
            return None
        return await self.api.dispatch_async(Request(*head, body))

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            phase = (await receive())["type"]
            await send({"type": f"{phase}.complete"})
            if phase == "lifespan.shutdown":
                return


async def _answer(send: Send, response: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _path(scope: Scope) -> str:
    """The path below the prefix that the application is mounted at, percent-encoded."""
    raw = scope.get("raw_path")  # optional; the path itself is decoded, so it cannot tell %2F from a slash
    path = quote(scope["path"]) if raw is None else _ascii(raw)
    root = scope.get("root_path", "").rstrip("/")
    # By segments, because a client may have encoded those of the prefix in any way.
    segments = path.split("/")
    below = root.count("/") + 1
    if len(segments) > below and unquote("/".join(segments[:below])) == root:
        return "/" + "/".join(segments[below:])
    return path


def _ascii(raw: bytes) -> str:
    """A part of a URL, with whatever is no ASCII percent-encoded, as it should have come."""
    return quote(raw, safe=string.printable)
