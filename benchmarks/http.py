"""Requests a second: the API beside a handler that answers a constant body, on each way that a request can come.

``python -m benchmarks.http`` is that handler behind uvicorn, as ``vsbatch serve`` runs it: it reads the bodies to
answer with from its standard input, as JSON by path and query.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import openai
from attrs import field, frozen

from benchmarks.measure import Ratio, Task, Times, compare
from benchmarks.worlds import file_ids
from vsbatch_core import Engine, SequentialIds, VirtualClock
from vsbatch_core.adapters.asgi import Receive, Scope, Send
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.adapters.openai import client
from vsbatch_core.cli.serve import listener, run

HOST = "127.0.0.1"
FILES = 1_000
CONNECTIONS = 8
BURST = 25
"""Requests that each connection sends, one after the other, each time."""

LATEST = 60
"""Seconds after which a burst that has not come back is given up."""

HEADERS = (("accept", "application/json"), ("authorization", "Bearer none-needed"), ("user-agent", "benchmark"))


@frozen
class Constant(Api):
    """An API that answers every request with the response that it was given."""

    response: Response = field(kw_only=True)

    def dispatch(self, request: Request) -> Response:  # noqa: ARG002 - that is the point
        """The response."""
        return self.response


def filled() -> tuple[Engine, str, str]:
    """An engine with a batch of ``FILES`` files, half of them completed; the ids of the store and the batch."""
    engine = Engine(clock=VirtualClock(), ids=SequentialIds())
    store = engine.vector_stores.create(name="bench")
    ids = file_ids(FILES)
    batch = engine.vector_stores.file_batches.create(store.id, file_ids=ids)
    for id in ids[::2]:
        engine.ingest.complete(store.id, id, usage_bytes=1000)
    return engine, store.id, batch.id


def targets(store_id: str, batch_id: str, after: str) -> dict[str, str]:
    """What is asked for: a batch, and a page of 20 from the middle."""
    store = f"/v1/vector_stores/{store_id}"
    return {
        "retrieve a batch": f"{store}/file_batches/{batch_id}",
        "a page of 20": f"{store}/files?limit=20&order=asc&after={after}",
    }


def asked(target: str) -> Request:
    """The request for a target."""
    path, _, query = target.partition("?")
    return Request("GET", path, query, HEADERS)


def heading(title: str) -> None:
    """Print the heading of a table."""
    print(f"\n{title}\n{'':38} {'ours':>11} {'constant':>11}  ours/constant (middle half)")


def row(title: str, ours: Times, constant: Times) -> None:
    """Print requests a second of both, and how many of the constant handler's ours are."""
    rates = f"{1 / ours.median:9,.0f}/s {1 / constant.median:9,.0f}/s"
    print(f"{title:38} {rates}  {Ratio.of(constant, ours)}", flush=True)


def in_process(rounds: int, seconds: float) -> None:
    """Through ``dispatch``, and through the official client over it."""
    engine, store_id, batch_id = filled()
    api = Api(engine)
    after = file_ids(FILES)[FILES // 2]
    wanted = {title: asked(target) for title, target in targets(store_id, batch_id, after).items()}
    constants = {title: Constant(engine, response=answered(api, request)) for title, request in wanted.items()}
    heading(f"HTTP through dispatch, {FILES:,} files; the constant handler is a function that returns")
    for title, request in wanted.items():
        times = compare(
            {"ours": partial(api.dispatch, request), "constant": partial(constants[title].dispatch, request)},
            rounds=rounds,
            seconds=seconds,
        )
        row(title, times["ours"], times["constant"])
    heading("HTTP through the official client in process")
    for title in wanted:
        with client(api) as ours, client(constants[title]) as constant:
            times = compare(
                {
                    name: sdk_call(sdk, title, store_id, batch_id, after)
                    for name, sdk in (("ours", ours), ("constant", constant))
                },
                rounds=rounds,
                seconds=seconds * 2,
            )
        row(title, times["ours"], times["constant"])


def answered(api: Api, request: Request) -> Response:
    """The API's response; raise ``RuntimeError`` unless it is a success."""
    response = api.dispatch(request)
    if response.status != 200:
        raise RuntimeError(f"{request.path}: {response}")
    return response


def sdk_call(sdk: openai.OpenAI, title: str, store_id: str, batch_id: str, after: str) -> Task:
    """The client's call for what is asked for."""
    stores = sdk.vector_stores
    if title == "retrieve a batch":
        return partial(stores.file_batches.retrieve, batch_id, vector_store_id=store_id)
    return partial(stores.files.list, store_id, limit=20, order="asc", after=after)


# Over a socket


class Connection(asyncio.Protocol):
    """A kept-alive connection that sends one request after the other, each when the last was answered."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._body = b""
        self._received = bytearray()
        self._length = 0
        self._left = 0
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to send."""
        self._transport: Any = transport

    def burst(self, requests: int) -> asyncio.Future[bytes]:
        """Send so many requests; the future is the last body."""
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
            self.connection_lost(RuntimeError(f"an answer that was not asked for: {bytes(received[:200])!r}"))
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
        """Have whoever waits fail."""
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
        """Have every connection send a burst; raise ``RuntimeError`` unless all answer the body that is known."""
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
def server(*command: str, given: bytes = b"") -> Iterator[int]:
    """The port of a server in a process of its own, which its first line ends with."""
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
            yield int(line.split(":")[-1].split("/")[0])
        finally:
            process.terminate()


def over_uvicorn(rounds: int, seconds: float) -> None:
    """Through uvicorn on loopback: ``vsbatch serve`` beside the constant handler, with the same settings."""
    with ExitStack() as stack:
        served = stack.enter_context(server("vsbatch_core", "serve", "--port", "0"))
        with openai.OpenAI(base_url=f"http://{HOST}:{served}/v1", api_key="none-needed", max_retries=0) as sdk:
            store = sdk.vector_stores.create(name="bench")
            ids = file_ids(FILES)
            batch = sdk.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
            wanted = targets(store.id, batch.id, ids[FILES // 2])
            bodies = {target: sdk.get(target.removeprefix("/v1"), cast_to=str) for target in wanted.values()}
        constant = stack.enter_context(server("benchmarks.http", given=json.dumps(bodies).encode()))
        loop = stack.enter_context(asyncio.Runner()).get_loop()
        heading(
            f"HTTP through uvicorn on loopback, {CONNECTIONS} connections; each server in a process of its own"
        )
        for title, target in wanted.items():
            body = bodies[target].encode()
            loads = {
                name: Load(loop, port, target, body) for name, port in (("ours", served), ("constant", constant))
            }
            times = compare(dict(loads), rounds=rounds, seconds=seconds)
            each = {
                name: Times(tuple(spent / (CONNECTIONS * BURST) for spent in of.rounds))
                for name, of in times.items()
            }
            row(title, each["ours"], each["constant"])
            for load in loads.values():
                load.close()


def mock(rounds: int, seconds: float) -> None:
    """``list_files`` of 1,000 files in process, beside openai-responses, where that is installed."""
    if find_spec("openai_responses") is None:
        print("\nopenai-responses is not installed: not measured beside it", flush=True)
        return
    engine, store_id, batch_id = filled()
    api = Api(engine)
    body = answered(api, asked(f"/v1/vector_stores/{store_id}/file_batches/{batch_id}/files"))
    with (
        client(api) as ours,
        client(Constant(engine, response=body)) as constant,
        mocked(FILES) as (theirs, state, their_store, their_batch),
    ):
        listed = ours.vector_stores.file_batches.list_files
        tasks: dict[str, Task] = {
            "ours": partial(listed, batch_id, vector_store_id=store_id),
            "theirs": partial(
                theirs.vector_stores.file_batches.list_files, their_batch, vector_store_id=their_store
            ),
            "constant": partial(
                constant.vector_stores.file_batches.list_files, batch_id, vector_store_id=store_id
            ),
            "our list": partial(engine.vector_stores.file_batches.list_files, batch_id, vector_store_id=store_id),
            "their list": partial(state.vector_stores.list_files_for_batch, their_store, their_batch),
        }
        times = compare(tasks, rounds=rounds, seconds=seconds)
    print(f"\nlist_files of a batch of {FILES:,}, a page of 20, beside openai-responses")
    for title, one, other in (
        ("the list alone, without any HTTP", "our list", "their list"),
        ("through the official client", "ours", "theirs"),
    ):
        mine, yours = times[one], times[other]
        print(
            f"{title:38} {mine.median * 1e6:8.1f} us {yours.median * 1e6:8.1f} us  {Ratio.of(yours, mine)}",
            flush=True,
        )
    print(f"{'of that, the client itself':38} {times['constant'].median * 1e6:8.1f} us", flush=True)


@contextmanager
def mocked(n: int) -> Iterator[tuple[openai.OpenAI, Any, str, str]]:
    """A client of openai-responses and what that keeps, with a store and a batch of ``n`` files; their ids."""
    mock: Any = import_module("openai_responses").OpenAIMock()  # it wants openai 2, so it is nobody's extra
    with mock.router, openai.OpenAI(api_key="none-needed", max_retries=0) as sdk:
        upload = partial(sdk.files.create, file=("a.txt", b"a"), purpose="assistants")
        ids = [upload().id for _ in range(n)]
        store = sdk.vector_stores.create(name="bench")
        yield sdk, mock.state, store.id, sdk.vector_stores.file_batches.create(store.id, file_ids=ids).id


def main(*, quick: bool) -> None:
    """Measure all of it."""
    rounds, seconds = (3, 0.001) if quick else (21, 0.02)
    in_process(rounds, seconds)
    over_uvicorn(rounds, seconds * 10)
    mock(rounds, seconds * 2)


# The constant handler as a server


def constant_server(bodies: dict[str, str]) -> None:
    """Answer with these bodies, by path and query, until a signal says to stop."""
    known = {target.replace("?", "").encode(): body.encode() for target, body in bodies.items()}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            body = known[scope["raw_path"] + scope["query_string"]]
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    listening = listener(HOST, 0)
    run(app, listening, lambda: print(f"{HOST}:{listening.getsockname()[1]}", flush=True))


if __name__ == "__main__":
    constant_server(json.load(sys.stdin))
