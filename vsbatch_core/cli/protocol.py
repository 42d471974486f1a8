"""The HTTP protocols of uvicorn, with bounds on what a connection may cost.

uvicorn itself waits for ever for the rest of a request.  Here a head must be complete soon and may not be long, a
body must go on coming, and a response must be read.  Who keeps to none of this is told so with 408 or 413, in the
API's error body, and the connection is closed; the application never hears of the request, or is told that the
client has gone.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from attrs import frozen

from vsbatch_core.adapters.asgi import Receive, Scope, Send
from vsbatch_core.encoding import to_json
from vsbatch_core.errors import RequestError, VsbatchError

ABORT = "vsbatch.abort"
"""The extension of a scope that is a function: it ends the connection at once, without a response."""

HEAD_BYTES = 1 << 16
"""A head may be so long, and once it is longer no more than one more read of the connection is kept of it."""

READ = 1 << 18
"""An event loop reads so many bytes of a connection at once."""

AT_ONCE = 1 << 14
"""So many bytes are parsed at a time: there may be a request in every twenty of them."""

CONNECTIONS = 4096
"""At most so many connections are served at the same time, and a few more are told that there is no room."""

RESERVE = 100
"""So many file descriptors are left for those few, and for whatever else has files open."""

LINGER = 2.0
"""Seconds in which what still comes is thrown away once a connection was refused.

To close it with bytes unread would have the client's system throw away the response.
"""


@frozen
class Patience:
    """For how many seconds a client is waited for."""

    head: float = 10.0
    """Until its request has a complete head, from when the connection was made or the head began."""
    body: float = 20.0
    """Until the body is complete, and a second more for each ``rate`` bytes of it."""
    rate: int = 10_000
    reader: float = 60.0
    """Until it has read some more of a response."""


class TooSlow(RequestError):
    """A request was not complete in time."""

    status = 408
    code = "request_timeout"

    def __init__(self, what: str, seconds: float, received: int) -> None:
        super().__init__(
            f"The {what} of your request was not complete after {seconds:.3g} s: {received} bytes of it came. "
            "Send it again, without pauses."
        )


class HeadTooLarge(RequestError):
    """A request has too long a head."""

    status = 413
    code = "head_too_large"

    def __init__(self, received: int) -> None:
        super().__init__(
            f"The head of your request is too large: {received} bytes or more. Send at most {HEAD_BYTES} bytes."
        )


class TooManyConnections(VsbatchError):
    """There is no room for another connection."""

    status = 503
    code = "server_overloaded"

    def __init__(self, most: int) -> None:
        super().__init__(f"The server has {most} connections, which is as many as it serves. Try again later.")


class NoRequest(RequestError):
    """What came is no request of HTTP/1.1."""

    code = "invalid_request"

    def __init__(self) -> None:
        super().__init__("We could not parse your request: it is not HTTP/1.1.")


class Stopping(VsbatchError):
    """The server stops, and a request was not done in time."""

    status = 503
    code = "server_stopping"

    def __init__(self) -> None:
        super().__init__("The server is stopping, and your request was not done in time. Try again later.")


class Bounded(asyncio.Protocol):
    """What is put before a protocol of uvicorn, which has all the attributes that are used here."""

    patience = Patience()
    most = CONNECTIONS
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    app: Any
    cycle: Any
    flow: Any
    connections: set[Any]
    timeout_keep_alive_task: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._application = self.app
        self.app = self._serve
        self._watched: tuple[str, Any] | None = None
        """What is waited for, and the latest request whose head was complete then."""
        self._since = 0.0
        self._received = 0
        """Since when that is waited for, and how many bytes of it have come."""
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None
        self._refused = False
        self._pending: VsbatchError | None = None
        """What is refused once the responses before it have been sent."""

    def awaited(self) -> str:
        """``head`` or ``body`` of a request that has begun to come and is not complete, or nothing."""
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        """Have what has come parsed."""
        super().data_received(data)
        self._watch(len(data))

    def busy(self) -> bool:
        """Whether there is a response to come before that to the request that is awaited."""
        cycle = self.cycle
        return cycle is not None and not (cycle.response_complete or cycle.more_body)

    # The connection

    def connection_made(self, transport: Any) -> None:
        """Wait for the first head, if there is room for another connection."""
        super().connection_made(transport)
        if len(self.connections) <= self.most:
            self._watch(0)
        elif len(self.connections) <= self.most + RESERVE // 2:
            self._end(TooManyConnections(self.most))
        else:
            self._refused = True
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand on what has come."""
        if not self._refused:
            self.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        _cancel(self._timer)
        _cancel(self._reader)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have begun to come."""
        super().on_response_complete()  # type: ignore[misc]
        self._watch(0)
        if self._pending is not None:
            self._end(self._pending)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has not been used for long, also if the client does not read the last of it."""
        super().timeout_keep_alive_handler()  # type: ignore[misc]
        self._reader = self.loop.call_later(self.patience.reader, self.transport.abort)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._reader = self.loop.call_later(self.patience.reader, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        _cancel(self._reader)
        super().resume_writing()

    # What is waited for

    def _watch(self, received: int) -> None:
        """Note that so many bytes have come, and what is waited for now."""
        if self._refused:
            return
        if self.transport.is_closing():
            _cancel(self._timer)
            return
        awaited = self.awaited()
        idle = self.cycle is None or self.cycle.response_complete
        if not awaited and idle and self.timeout_keep_alive_task is None:
            awaited = "request"  # a new connection, or one where something came that begins no request
        watched = (awaited, self.cycle)
        if watched == self._watched:
            self._received += received
            if awaited == "head" and self._received > HEAD_BYTES:
                self._end(HeadTooLarge(self._received))
            return
        # Some of a body may have come with its head; what came before a head is none of it.
        self._watched, self._since = watched, self.loop.time()
        self._received = received if awaited == "body" else 0
        _cancel(self._timer)
        if awaited:
            self._timer = self.loop.call_later(self._allowed(), self._late)

    def _allowed(self) -> float:
        """For how many seconds what is waited for may take."""
        if self._watched is None or self._watched[0] != "body":
            return self.patience.head
        # Once there is a response, what still comes is thrown away.
        more = 0.0 if self.cycle.response_complete else self._received / self.patience.rate
        return self.patience.body + more

    def _late(self) -> None:
        awaited, cycle = self._watched or ("", None)
        if self.flow.read_paused or self.busy():
            self._since = self.loop.time()  # it is the server that is late
        rest = self._since + self._allowed() - self.loop.time()
        if rest > 0:
            self._timer = self.loop.call_later(rest, self._late)
        elif awaited == "request" or (cycle is not None and awaited == "body" and cycle.response_started):
            self.transport.close()
        else:
            self._end(TooSlow(awaited, self._allowed(), self._received))

    def _end(self, error: VsbatchError) -> None:
        """Refuse what has come of a request, and close the connection."""
        self._refused = True
        self.flow.resume_reading()  # what still comes is thrown away
        self._pending = error if self.busy() else None
        if self._pending is not None or self.transport.is_closing():
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # so that the application is told that the client has gone
            self.cycle.message_event.set()
        body = to_json(error)
        head = [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            *(f"{name.decode()}: {value.decode()}" for name, value in _headers(body)),
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.write_eof()
        _cancel(self._timer)
        self._timer = self.loop.call_later(LINGER, self.transport.abort)

    def send_400_response(self, _message: str) -> None:
        """Refuse what is no request."""
        self._end(NoRequest())

    # The application

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, with a way to end the connection, and without a traceback if time has run out."""
        cut: list[bool] = []

        def abort() -> None:
            cut.append(True)
            self.transport.abort()

        scope.setdefault("extensions", {})[ABORT] = abort
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            # uvicorn cancels what is under way once the time to stop has run out.
            cycle: Any = receive.__self__  # type: ignore[attr-defined]
            if cycle.response_started:
                abort()
            else:
                await _respond(send, Stopping())
        if cut:
            while (await receive())["type"] != "http.disconnect":
                continue  # until uvicorn knows that no response can be sent


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


async def _respond(send: Send, error: VsbatchError) -> None:
    body = to_json(error)
    await send({"type": "http.response.start", "status": error.status, "headers": _headers(body)})
    await send({"type": "http.response.body", "body": body})


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]


def of_httptools() -> type[Bounded]:
    """Return the protocol over httptools; raise ``ImportError`` where that is not installed."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415 - an optional extra

    class BoundedHttpTools(Bounded, HttpToolsProtocol):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._awaited = ""
            self._rest = bytearray()
            """What has come and is not parsed yet: many requests may come before the first has its response."""

        def awaited(self) -> str:
            return self._awaited

        def busy(self) -> bool:
            return bool(self.pipeline) or super().busy()

        def feed(self, data: bytes) -> None:
            self._rest += data
            while self._rest and not (self.pipeline or self._refused or self.transport.is_closing()):
                piece = bytes(self._rest[:AT_ONCE])
                del self._rest[:AT_ONCE]
                super().feed(piece)
            if self._rest and not self._refused:
                self.flow.pause_reading()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._rest:
                self.feed(b"")

        def on_message_begin(self) -> None:
            self._awaited = "head"
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._awaited == "head":  # and not after the body, where nobody reads them
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._awaited = "body"
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._awaited = ""
            super().on_message_complete()

    return BoundedHttpTools


def of_h11() -> type[Bounded]:
    """Return the protocol over h11."""
    import h11  # noqa: PLC0415 - an optional extra
    from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - as h11

    class BoundedH11(Bounded, H11Protocol):
        def awaited(self) -> str:
            if self.conn.their_state is h11.SEND_BODY:
                return "body"
            return "head" if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] else ""

    return BoundedH11


def protocol() -> type[Bounded]:
    """Return the protocol over httptools where that is installed, and else over h11.

    It serves as many connections as the system lets this process have.
    """
    try:
        kind = of_httptools()
    except ImportError:
        kind = of_h11()
    kind.most = min(CONNECTIONS, descriptors() - RESERVE)
    return kind


def descriptors() -> int:
    """Return how many files this process may have open, after letting it have as many as connections may need."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return CONNECTIONS + RESERVE
    wanted = CONNECTIONS + RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
