"""The API over HTTP beside a handler that returns a constant body, by each way that a request can come.

``python -m benchmarks.http`` is that handler behind uvicorn, as ``vsbatch serve`` runs it: it reads the
bodies from its standard input, as JSON by path and query.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any, ClassVar

from attrs import define, field, frozen

from benchmarks.clocks import Clocks
from benchmarks.contenders import OpenAIResponses, Ours
from benchmarks.fixtures import Fixtures, WrongResult, file_ids
from benchmarks.measure import Entry, Task
from benchmarks.model import Listing, Query, Record
from benchmarks.work import Pace, Ready, Work, equal, middle, same_page
from vsbatch_core.adapters.asgi import Receive, Scope, Send
from vsbatch_core.adapters.http import Api, Request, Response

HOST = "127.0.0.1"
FILES = 1_000
CONNECTIONS = 8
BURST = 25
"""Requests that each connection sends, one after the other, each time."""

LATEST = 60
"""Seconds after which a burst without a response is given up."""

HEADERS = (("accept", "application/json"), ("authorization", "Bearer none-needed"), ("user-agent", "benchmark"))
CONSTANT = "constant"
"""The contender that returns a prepared body: the floor of any server."""


@frozen
class Constant(Api):
    """An API that returns the same response to every request."""

    response: Response = field(kw_only=True)

    def dispatch(self, request: Request) -> Response:  # noqa: ARG002 - any request
        """Return the response."""
        return self.response


def target(what: str, store_id: str, batch_id: str, after: str) -> str:
    """Return the path and query of a batch, or of a page from the middle."""
    store = f"/v1/vector_stores/{store_id}"
    if what == "batch":
        return f"{store}/file_batches/{batch_id}"
    return f"{store}/files?limit={what.removeprefix('page-')}&order=asc&after={after}"


def request_for(target: str) -> Request:
    """Return the request for a target."""
    path, _, query = target.partition("?")
    return Request("GET", path, query, HEADERS)


def successful(api: Api, request: Request) -> Response:
    """Return the API's response; raise ``WrongResult`` unless it is a success."""
    response = api.dispatch(request)
    if response.status != 200:
        raise WrongResult(f"{request.path}: {response}")
    return response


TITLES = {"batch": "retrieve a batch", "page-20": "page of 20", "page-100": "page of 100"}


@frozen
class Dispatched(Work):
    """Through ``dispatch``, which takes a request and returns a response, without any server."""

    what: str

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        ours = fixtures.ours(n)
        api = Api(ours.engine)
        query = request_for(target(self.what, ours.id, ours.batches[0], middle(fixtures.model(n))))
        response = successful(api, query)
        check_body(self.what, json.loads(response.body), fixtures, n)
        yield Entry(Ours.key, n, partial(api.dispatch, query))
        yield Entry(CONSTANT, n, partial(Constant(ours.engine, response=response).dispatch, query))


def check_body(what: str, body: Any, fixtures: Fixtures, n: int) -> None:
    """Raise ``WrongResult`` unless the body says what the model does."""
    if what == "batch":
        counts = body["file_counts"]
        found = counts["in_progress"], counts["completed"], counts["failed"], counts["cancelled"]
        equal(found, fixtures.model(n).counts(0))
    else:
        files = [Record(f["id"], f["created_at"], f["status"], f["usage_bytes"]) for f in body["data"]]
        same_page(Listing(tuple(files), body["has_more"]), right_page(what, fixtures, n))


def right_page(what: str, fixtures: Fixtures, n: int) -> Listing:
    """Return the right page from the middle."""
    model = fixtures.model(n)
    return model.page(Query(int(what.removeprefix("page-")), after=middle(model)))


@frozen
class Client(Work):
    """Through the official client, whose transport is the API itself; a mock has its own."""

    what: str

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        from vsbatch_core.adapters.openai import client  # noqa: PLC0415 - an optional extra

        ours = fixtures.ours(n)
        api = Api(ours.engine)
        after = middle(fixtures.model(n))
        query = request_for(target(self.what, ours.id, ours.batches[0], after))
        constant = Constant(ours.engine, response=successful(api, query))
        for key, served in ((Ours.key, api), (CONSTANT, constant)):
            sdk = fixtures.keep(client(served))
            task = self.call(sdk, ours.id, ours.batches[0], after)
            yield self.checked(key, n, task, fixtures)
        # A mock's router catches the requests of all clients, so there can be only one.
        mocks = (
            n == FILES and self.what != "batch" and any(kind is OpenAIResponses for kind in fixtures.present())
        )
        if mocks and find_spec("openai_responses"):
            sdk = fixtures.keep_once("mock", partial(mocked, fixtures, n))
            yield self.checked(OpenAIResponses.key, n, self.call(sdk, ours.id, "", after), fixtures)

    def call(self, sdk: Any, store_id: str, batch_id: str, after: str) -> Task:
        """Return the client's call for the target."""
        stores = sdk.vector_stores
        if self.what == "batch":
            return partial(stores.file_batches.retrieve, batch_id, vector_store_id=store_id)
        limit = int(self.what.removeprefix("page-"))
        return partial(stores.files.list, store_id, limit=limit, order="asc", after=after)

    def checked(self, contender: str, n: int, task: Task, fixtures: Fixtures) -> Ready:
        """Return the contender, ready to be timed if its result is right."""
        start = perf_counter()
        returned: Any = task()
        one = perf_counter() - start
        try:
            check_body(self.what, returned.model_dump(), fixtures, n)
        except WrongResult as error:
            return self.wrong(contender, n, str(error))
        return Entry(contender, n, task, one=one)


@contextmanager
def mocked(fixtures: Fixtures, n: int) -> Iterator[Any]:
    """Yield a client of openai-responses, over a store with the same files."""
    import openai  # noqa: PLC0415 - an optional extra

    mock: Any = import_module("openai_responses").OpenAIMock()
    mock.router.route(host=HOST).pass_through()  # to the servers of other works, while it is open
    with mock.router, openai.OpenAI(api_key="none-needed", max_retries=0) as sdk:
        store = sdk.vector_stores.create(name="bench")
        store.id = fixtures.ours(n).id
        mock.state.vector_stores.put(store)
        contender: Any = fixtures.made(OpenAIResponses, n).contender
        mock.state.vector_stores.files = contender.files
        yield sdk


# Over a socket


class Connection(asyncio.Protocol):
    """A kept-alive connection that sends one request after the other, each after the response to the last."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._body = b""
        self._received = bytearray()
        self._length = 0
        self._left = 0
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: Any = transport

    def burst(self, requests: int) -> asyncio.Future[bytes]:
        """Send this many requests; return the future of the last body."""
        self._left = requests
        self.done = asyncio.get_running_loop().create_future()
        self._transport.write(self._sent)
        return self.done

    def data_received(self, data: bytes) -> None:
        """Send the next request once a response is complete."""
        received = self._received
        received += data
        if not self._length:
            head, end, _ = received.partition(b"\r\n\r\n")
            if not end:
                return
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self._length = len(head) + 4 + int(lengths[0].partition(b":")[2])
        if len(received) < self._length:
            return
        if len(received) > self._length or not received.startswith(b"HTTP/1.1 200 "):
            self.connection_lost(RuntimeError(f"a response to no request: {bytes(received[:200])!r}"))
            return
        self._body = bytes(received.partition(b"\r\n\r\n")[2]) if self._left == 1 else b""
        received.clear()
        self._length = 0
        self._left -= 1
        if self._left:
            self._transport.write(self._sent)
        else:
            self.done.set_result(self._body)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the future that is waited for."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        """Close it."""
        self.done.cancel()
        self._transport.close()


class Load:
    """Several connections to one server, for one target."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, target: str, body: bytes) -> None:
        self._loop = loop
        self._body = body
        lines = [
            f"GET {target} HTTP/1.1",
            f"host: {HOST}:{port}",
            *(f"{key}: {value}" for key, value in HEADERS),
        ]
        sent = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
        self._connections: list[Connection] = [
            loop.run_until_complete(loop.create_connection(partial(Connection, sent), HOST, port))[1]
            for _ in range(CONNECTIONS)
        ]

    def __call__(self) -> None:
        """Send a burst on every connection; raise ``RuntimeError`` unless all responses have the known body."""
        bodies = self._loop.run_until_complete(asyncio.wait_for(self._burst(), LATEST))
        if set(bodies) != {self._body}:
            raise RuntimeError(f"other bodies than {self._body!r}: {set(bodies)!r}")

    async def _burst(self) -> list[bytes]:
        return await asyncio.gather(*(connection.burst(BURST) for connection in self._connections))

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


@contextmanager
def server(*command: str, given: bytes = b"") -> Iterator[tuple[int, int]]:
    """Run a server in a process of its own; yield its port, which its first line ends with, and its pid."""
    with subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(given)
            process.stdin.close()
            line = process.stdout.readline().decode()
            if not line:
                raise RuntimeError(f"the server {command} did not start")
            yield int(line.split(":")[-1].split("/")[0]), process.pid
        finally:
            process.terminate()


@define
class Servers:
    """``vsbatch serve``, and the constant handler with the same settings, each in a process of its own."""

    ports: dict[str, int]
    pids: dict[str, int]
    targets: dict[str, str]
    bodies: dict[str, str]
    loop: asyncio.AbstractEventLoop


@contextmanager
def servers() -> Iterator[Servers]:
    """Yield both, with the same store of ``FILES`` files."""
    import openai  # noqa: PLC0415 - an optional extra

    with ExitStack() as stack:
        served, served_pid = stack.enter_context(server("vsbatch_core", "serve", "--port", "0"))
        with openai.OpenAI(base_url=f"http://{HOST}:{served}/v1", api_key="none-needed", max_retries=0) as sdk:
            store = sdk.vector_stores.create(name="bench")
            ids = file_ids(FILES)
            batch = sdk.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
            targets = {what: target(what, store.id, batch.id, ids[FILES // 2]) for what in ("batch", "page-20")}
            bodies = {path: sdk.get(path.removeprefix("/v1"), cast_to=str) for path in targets.values()}
        page = json.loads(bodies[targets["page-20"]])
        equal([file["id"] for file in page["data"]], ids[FILES // 2 + 1 :][:20])
        equal(json.loads(bodies[targets["batch"]])["file_counts"]["completed"], FILES)
        constant, constant_pid = stack.enter_context(server("benchmarks.http", given=json.dumps(bodies).encode()))
        loop = stack.enter_context(asyncio.Runner()).get_loop()
        ports, pids = {Ours.key: served, CONSTANT: constant}, {Ours.key: served_pid, CONSTANT: constant_pid}
        yield Servers(ports, pids, targets, bodies, loop)


@frozen
class OverUvicorn(Work):
    """Through uvicorn on loopback, several connections at once; each response is compared with the right one.

    The CPU time is the server's: what this process takes to send the requests is no part of the cost.
    """

    patience: ClassVar[float] = 10.0
    longer: ClassVar[float] = 10.0
    what: str

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return one size: what is served does not depend on it."""
        return [FILES]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        both = fixtures.keep_once("servers", servers)
        path = both.targets[self.what]
        for contender, port in both.ports.items():
            load = Load(both.loop, port, path, both.bodies[path].encode())
            fixtures.call_at_end(load.close)
            clocks = Clocks(partial(tuple, [both.pids[contender]]), own=False)
            yield Entry(contender, n, load, operations=CONNECTIONS * BURST, clocks=clocks)


WORKS: list[Work] = [
    *(Dispatched(f"dispatch.{what}", f"{TITLES[what]}, through dispatch", what) for what in ("batch", "page-20")),
    *(Client(f"client.{what}", f"{TITLES[what]}, through the in-process client", what) for what in TITLES),
    *(OverUvicorn(f"uvicorn.{what}", f"{TITLES[what]}, through uvicorn", what) for what in ("batch", "page-20")),
]


# The constant handler as a server


def constant_server(bodies: dict[str, str]) -> None:
    """Serve these bodies, by path and query, until a signal says to stop."""
    known = {target.replace("?", "").encode(): body.encode() for target, body in bodies.items()}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            body = known[scope["raw_path"] + scope["query_string"]]
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    from vsbatch_core.cli.serve import listener, run  # noqa: PLC0415 - an optional extra

    listening = listener(HOST, 0)
    run(app, listening, lambda: print(f"{HOST}:{listening.getsockname()[1]}", flush=True))


if __name__ == "__main__":
    constant_server(json.load(sys.stdin))
