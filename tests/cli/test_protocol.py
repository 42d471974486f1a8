"""What a connection may cost: raw bytes against both protocols of uvicorn, by a server in this process."""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread
from typing import Any

import pytest
import uvicorn

from vsbatch_core import Engine
from vsbatch_core.adapters.asgi import App
from vsbatch_core.cli import protocol
from vsbatch_core.cli.protocol import ABORT, CONNECTIONS, HEAD_BYTES, READ, RESERVE, Bounded, Patience

from ..helpers.processes import posix

pytestmark = pytest.mark.slow

POST = b"POST /v1/vector_stores HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LIST = b"GET /v1/vector_stores HTTP/1.1\r\nHost: x\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
PIECE = b"x" * 1_000_000
LONG_RESPONSE = 100
"""So many pieces are more than the buffers of any system hold."""
SHORT = Patience(head=0.1, body=0.2, rate=10_000, reader=0.2)
LONG = Patience(head=60.0, body=60.0, reader=60.0)


class Server:
    """A server of this process; ``release`` has the responses to ``/held`` sent."""

    def __init__(self, kind: type[Bounded], patience: Patience, *, keep_alive: float, grace: float) -> None:
        self.engine = Engine()
        self.app = App(self.engine)
        self.release, self.held, self.done = Event(), Event(), Event()
        bounded = type("Bounded", (kind,), {"patience": patience})
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(
                self.serve,
                http=bounded,
                interface="asgi3",
                access_log=False,
                log_level="warning",
                ws="none",
                timeout_keep_alive=keep_alive,  # type: ignore[arg-type]
                timeout_graceful_shutdown=grace,  # type: ignore[arg-type]
                h11_max_incomplete_event_size=2 * HEAD_BYTES + READ,
            )
        )
        self.thread = Thread(target=self.uvicorn.run, kwargs={"sockets": [self.listening]})
        self.thread.start()

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path == "/held":
            await receive()
            self.held.set()
            await asyncio.to_thread(self.release.wait)
        elif path == "/abort":
            await receive()
            scope["extensions"][ABORT]()
            return
        if path in ("/held", "/begun", "/long"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if path == "/begun":
                self.held.set()
                await asyncio.sleep(3600)
            for _ in range(LONG_RESPONSE if path == "/long" else 0):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await send({"type": "http.response.body", "body": b"held"})
            self.done.set()
        else:
            await self.app(scope, receive, send)

    def stop(self) -> None:
        self.release.set()
        self.uvicorn.should_exit = True
        self.thread.join()

    def connect(self, sent: bytes = b"") -> socket.socket:
        made = socket.create_connection(self.listening.getsockname())
        made.settimeout(60)
        made.sendall(sent)
        return made

    def exchanged(self, sent: bytes) -> bytes:
        """All that is said until the server closes the connection."""
        with self.connect(sent) as connection:
            return heard(connection)

    def stores(self) -> int:
        return len(self.engine.vector_stores.list().data)


def heard(connection: socket.socket) -> bytes:
    found = bytearray()
    while part := connection.recv(1 << 16):
        found += part
    return bytes(found)


def error(response: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the error body of a single response, which says that the connection is closed."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower().split(b"\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower().split(b"\r\n")
    said = json.loads(body)
    assert list(said) == ["error"]
    assert list(said["error"]) == ["message", "type", "param", "code"]
    return int(head.split()[1]), said["error"]


KINDS = {"httptools": protocol.of_httptools, "h11": protocol.of_h11}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Bounded]:
    if request.param == "httptools":
        pytest.importorskip("httptools")
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def server(kind: type[Bounded]) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "LINGER", 0.2)
        made = Server(kind, SHORT, keep_alive=0.3, grace=10)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def patient(kind: type[Bounded]) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "LINGER", 0.2)
        made = Server(kind, LONG, keep_alive=60, grace=10)
        yield made
        made.stop()


@pytest.fixture
def stopping(kind: type[Bounded]) -> Iterator[Callable[[], Server]]:
    made: list[Server] = []

    def start() -> Server:
        made.append(Server(kind, LONG, keep_alive=60, grace=0.1))
        return made[-1]

    yield start
    for each in made:
        each.stop()


# Time


@pytest.mark.parametrize("sent", [b"G", b"GET /v1/vec", POST, POST + b"X: " + b"a" * 1000])
def test_a_head_that_is_not_complete_in_time_is_408(server: Server, sent: bytes) -> None:
    status, said = error(server.exchanged(sent))
    assert (status, said["code"], said["type"]) == (408, "request_timeout", "invalid_request_error")
    assert said["message"].startswith("The head of your request was not complete after 0.1 s: ")


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 10\r\n\r\n",
        POST + b"Content-Length: 10\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"GET /v1/vector_stores HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
    ],
)
def test_a_body_that_is_not_complete_in_time_is_408_and_changes_nothing(server: Server, sent: bytes) -> None:
    before = server.stores()
    status, said = error(server.exchanged(sent))
    assert (status, said["code"]) == (408, "request_timeout")
    assert said["message"].startswith("The body of your request was not complete after 0.2")
    assert server.stores() == before


def dripped(connection: socket.socket, what: bytes) -> bytes:
    """What the server says to one who goes on sending, piece by piece, for ever."""
    said = b""
    try:
        while not said:
            connection.settimeout(60)
            connection.sendall(what)
            connection.settimeout(0.01)
            try:
                said = connection.recv(1 << 16)
            except TimeoutError:
                continue
        connection.settimeout(60)
        return said + heard(connection)
    except OSError:  # it sent on when the server had closed
        return said


@pytest.mark.parametrize(
    ("begun", "what"), [(b"GET /v1/vec", b"t"), (POST + b"Content-Length: 9999\r\n\r\n{", b" ")]
)
def test_who_sends_byte_by_byte_wins_no_time(server: Server, begun: bytes, what: bytes) -> None:
    with server.connect(begun) as connection:
        assert dripped(connection, what).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_goes_on_coming_may_take_longer(server: Server) -> None:
    # 20,000 bytes are two seconds more: they are sent within the first, and their end comes a while after.
    body = b"{}" + b" " * 20_000
    with server.connect(
        POST + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % (len(body) + 1)
    ) as connection:
        connection.sendall(body)
        connection.settimeout(0.4)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(60)
        connection.sendall(b" ")
        assert heard(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", LIST])
def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word(server: Server, sent: bytes) -> None:
    said = server.exchanged(sent)
    assert said.count(b"HTTP/1.1 ") == (1 if sent else 0)


def test_empty_lines_keep_no_connection_open(server: Server) -> None:
    with server.connect(LIST) as connection:
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")
        assert not re.search(rb"HTTP/1.1 [235]", heard(connection))


def test_what_comes_after_a_refusal_is_thrown_away_for_a_while(server: Server) -> None:
    said = server.exchanged(POST + b"Content-Length: 99999999999\r\n\r\n{")
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_client_that_does_not_read_is_cut_off(server: Server) -> None:
    server.done.clear()
    with server.connect(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert server.done.wait(60)
        found = 0
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                found += len(part)
    assert 0 < found < LONG_RESPONSE * len(PIECE)


def test_a_client_that_reads_now_and_then_has_it_all(patient: Server) -> None:
    found = 0
    with patient.connect(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as connection:
        while part := connection.recv(1 << 22):
            found += part.count(b"x")
    assert found >= LONG_RESPONSE * len(PIECE)


# Size and form


@pytest.mark.parametrize("length", [HEAD_BYTES + 1, HEAD_BYTES + 2 * READ, 4_000_000])
def test_a_head_that_is_too_long_is_413(patient: Server, length: int) -> None:
    with patient.connect(b"GET / HTTP/1.1\r\nX: ") as connection:
        assert dripped(connection, b"a" * length).startswith(b"HTTP/1.1 413 ")


def test_a_head_of_some_length_is_read(patient: Server) -> None:
    said = patient.exchanged(LIST[:-2] + b"X: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        POST + b"Content-Length: many\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\n" + LIST,
    ],
)
def test_what_is_no_request_or_of_two_lengths_is_400_and_changes_nothing(patient: Server, sent: bytes) -> None:
    before = patient.stores()
    status, said = error(patient.exchanged(sent))
    assert (status, said["code"]) == (400, "invalid_request")
    assert patient.stores() == before


@pytest.mark.parametrize(
    "sent",
    [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * (HEAD_BYTES + READ), HELD + b"\x00\r\n\r\n"],
)
def test_a_connection_that_was_refused_is_closed_though_the_client_keeps_it_open(
    patient: Server, sent: bytes
) -> None:
    patient.release.set()
    with patient.connect(sent) as connection:
        assert b"connection: close" in heard(connection)
        for _ in range(6_000):
            if not patient.uvicorn.server_state.connections:
                break
            Event().wait(0.01)
        assert not patient.uvicorn.server_state.connections


def test_trailers_are_no_headers(patient: Server) -> None:
    said = patient.exchanged(
        POST
        + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\nIdempotency-Key: k\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 200 ")


def test_an_upload_that_is_broken_off_changes_nothing(patient: Server) -> None:
    before = patient.stores()
    for part in (
        POST,
        POST + b"Content-Length: 100\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
    ):
        patient.connect(part).close()
    assert patient.exchanged(LIST[:-2] + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert patient.stores() == before


# Many at once


def test_requests_that_come_together_are_answered_in_order(patient: Server) -> None:
    n = 3_000
    one = POST + b"Content-Length: 2\r\n\r\n{}"
    before = patient.stores()
    with patient.connect() as connection:
        sender = Thread(
            target=connection.sendall, args=((one + LIST) * n + LIST[:-2] + b"Connection: close\r\n\r\n",)
        )
        sender.start()
        said = heard(connection)
        sender.join()
    assert said.count(b"HTTP/1.1 200 ") == 2 * n + 1
    objects = re.findall(rb'"object":"(vector_store|list)",', said)
    assert objects[:4] == [b"vector_store", b"list", b"vector_store", b"vector_store"]
    assert patient.engine.view.latest() >= before


@pytest.mark.parametrize("more", [b"GET /v1/ve", POST + b"Content-Length: 10\r\n\r\n{"])
def test_a_response_is_waited_for_before_what_follows_it_is_late(server: Server, more: bytes) -> None:
    server.release.clear()
    server.held.clear()
    with server.connect(HELD + more) as connection:
        assert server.held.wait(60)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(60)
        server.release.set()
        said = heard(connection)
    assert re.findall(rb"HTTP/1.1 ([0-9]+) ", said) == [b"200", b"408"]


@pytest.mark.parametrize("more", [b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * (4 * READ)])
def test_a_response_is_sent_before_what_follows_it_is_refused(patient: Server, more: bytes) -> None:
    patient.release.clear()
    patient.held.clear()
    with patient.connect(HELD) as connection:
        assert patient.held.wait(60)
        connection.sendall(more)
        patient.release.set()
        said = heard(connection)
    assert re.findall(rb"HTTP/1.1 ([0-9]+) ", said) == [b"200", b"413" if len(more) > READ else b"400"]


def test_more_connections_than_there_is_room_for_are_told_so_or_closed(kind: type[Bounded]) -> None:
    few = type("Few", (kind,), {"most": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "LINGER", 60.0)
        patch.setattr(protocol, "RESERVE", 4)
        server = Server(few, LONG, keep_alive=60, grace=10)
        with ExitStack() as stack:
            served = [stack.enter_context(server.connect(b"GET /v1/")) for _ in range(3)]
            told = [stack.enter_context(server.connect(LIST)) for _ in range(2)]
            for each in told:
                status, said = error(heard(each))
                assert (status, said["code"], said["type"]) == (503, "server_overloaded", "server_error")
            with suppress(ConnectionResetError):
                assert server.exchanged(b"") == b""
            for each in served:
                each.sendall(
                    LIST.replace(b"GET /v1/", b"").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                )
                assert heard(each).startswith(b"HTTP/1.1 200 ")
        server.stop()


@posix
@pytest.mark.parametrize(
    ("limits", "made", "most"),
    [
        ((256, 512), (512, 512), 412),
        ((256, -1), (CONNECTIONS + RESERVE, -1), CONNECTIONS),
        ((256, 9_999), (CONNECTIONS + RESERVE, 9_999), CONNECTIONS),
        ((9_999, 9_999), None, CONNECTIONS),
        ((-1, -1), None, CONNECTIONS),
    ],
)
def test_it_has_as_many_connections_as_the_system_allows(
    limits: tuple[int, int], made: tuple[int, int] | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    found: list[Any] = []
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: found.append(new))
    assert protocol.protocol().most == most
    assert found == ([] if made is None else [made])


def test_where_the_system_says_nothing_of_files_all_connections_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert protocol.protocol().most == CONNECTIONS


# The end


def test_the_application_may_end_a_connection_without_a_response(patient: Server) -> None:
    with suppress(ConnectionResetError):
        assert patient.exchanged(b"GET /abort HTTP/1.1\r\nHost: x\r\n\r\n") == b""


@pytest.mark.parametrize("sent", [HELD, POST + b"Content-Length: 10\r\n\r\n{"])
def test_who_is_not_done_when_the_server_stops_is_told_so(
    stopping: Callable[[], Server], caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    server = stopping()
    with server.connect(sent) as connection:
        while not server.uvicorn.server_state.tasks:
            server.held.wait(0.001)
        server.uvicorn.should_exit = True
        status, said = error(heard(connection))
    server.stop()
    assert (status, said["code"], said["type"]) == (503, "server_stopping", "server_error")
    assert [record for record in caplog.records if record.exc_info] == []
    assert server.stores() == 0


def test_a_response_that_has_begun_when_the_server_stops_is_cut_off(
    stopping: Callable[[], Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = stopping()
    with server.connect(b"GET /begun HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert server.held.wait(60)
        server.uvicorn.should_exit = True
        with suppress(ConnectionResetError):
            assert heard(connection).count(b"HTTP/1.1 ") == 1
    server.stop()
    assert [record for record in caplog.records if record.exc_info] == []


def test_without_httptools_it_is_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httptools")
    assert protocol.protocol().__name__ == "BoundedHttpTools"
    monkeypatch.delitem(sys.modules, "uvicorn.protocols.http.httptools_impl", raising=False)
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert protocol.protocol().__name__ == "BoundedH11"
