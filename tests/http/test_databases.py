"""The API over HTTP on an engine with a database: the event loop of a server is never blocked on a disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from vsbatch_core import Engine, SequentialIds
from vsbatch_core.adapters import openai as adapter
from vsbatch_core.adapters.asgi import App
from vsbatch_core.adapters.faults import Faults
from vsbatch_core.adapters.faulty import FaultyApi
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.simulation import Plan, Simulation

from ..helpers.databases import frames, held, held_elsewhere, hops, opened
from ..helpers.strategies import UPLOAD, populated, sent

__all__ = ["hops"]  # a fixture

Ask = Callable[[Request], Coroutine[Any, Any, Response]]


def asking(app: App) -> Ask:
    """Return what sends a request to an ASGI application."""

    async def ask(request: Request) -> Response:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body}

        async def send(message: Any) -> None:
            said.append(message)

        headers = [(name.encode(), value.encode()) for name, value in request.headers]
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "headers": headers,
        }
        await app(scope, receive, send)
        start, body = said
        return Response(start["status"], (), body["body"])

    return ask


STORE = "/v1/vector_stores/vs_1"
NEW = sent("POST", "/v1/vector_stores", {"name": "n"})
NEW_FILE = sent("POST", f"{STORE}/files", {"file_id": "file-new"})
FILES = sent("GET", f"{STORE}/files?limit=2")
READS = [
    sent("GET", "/v1/vector_stores?limit=3"),
    sent("GET", STORE),
    FILES,
    sent("GET", "/vector_stores/vs_1/files/file-0"),
    sent("GET", f"{STORE}/file_batches/vsfb_1"),
    sent("GET", f"{STORE}/file_batches/vsfb_1/files"),
    sent("GET", f"{STORE}/file_batches/vsfb_nowhere"),
    sent("GET", "/v1/vector_stores?limit=0"),
    sent("GET", "/v1/%76ector_stores"),
]
WRITES = [NEW, NEW_FILE, sent("POST", STORE, {"name": 7}), sent("DELETE", "/v1/vector_stores/vs_2")]
OTHERS = [
    UPLOAD,
    sent("GET", "/v1/files"),
    sent("GET", f"{STORE}/files/file-0/content"),
    sent("GET", "/v1/nothing"),
    sent("PUT", STORE),
]


def numbered(path: Path, **options: Any) -> Engine:
    """Return an engine on a file, whose ids are known."""
    return opened(path, **{"ids": SequentialIds(), **options})


def filled(engine: Engine) -> Engine:
    for name in "ab":
        engine.vector_stores.create(name=name)
    engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{n}" for n in range(5)])
    return engine


def test_every_request_is_answered_as_dispatch_answers_it(tmp_path: Path) -> None:
    async def answers() -> list[Response]:
        return [await ask(request) for request in [*READS, *WRITES, *OTHERS, *READS]]

    with filled(numbered(tmp_path / "a")) as engine, filled(numbered(tmp_path / "b")) as twin:
        ask = asking(App(Api(engine, uploads=uploads(engine))))
        plain = Api(twin, uploads=uploads(twin))
        found = asyncio.run(answers())
        wanted = [plain.dispatch(request) for request in [*READS, *WRITES, *OTHERS, *READS]]
        assert [(each.status, each.body) for each in found] == [(each.status, each.body) for each in wanted]
        assert engine.snapshot() == twin.snapshot()


def uploads(engine: Engine) -> Uploads:
    return Uploads(clock=engine.clock, ids=lambda prefix: f"{prefix}uploaded")


def test_what_only_reads_stores_takes_no_thread_and_all_else_takes_one(
    tmp_path: Path, hops: list[object]
) -> None:
    async def main() -> None:
        for request in READS:
            await ask(request)
            assert hops == []
        for request in [*WRITES, *OTHERS]:
            await ask(request)
            assert len(hops) == 1
            hops.clear()

    with filled(numbered(tmp_path / "db")) as engine:
        ask = asking(App(Api(engine, uploads=uploads(engine))))
        asyncio.run(main())


def test_an_engine_in_memory_answers_everything_without_a_thread(hops: list[object]) -> None:
    async def main() -> None:
        for request in [*READS, *WRITES, *OTHERS]:
            await ask(request)

    ask = asking(App(Api(populated(), uploads=Uploads())))
    asyncio.run(main())
    assert hops == []


@pytest.mark.slow
def test_the_loop_of_a_server_goes_on_while_another_process_holds_the_transaction(tmp_path: Path) -> None:
    async def main() -> None:
        with held_elsewhere(tmp_path / "db") as let_go:
            writing = asyncio.create_task(ask(NEW))
            for _ in range(100):  # if a request blocked the loop, the first beat would never come
                await asyncio.sleep(0.01)
                assert not writing.done()
            let_go()
            assert (await writing).status == 200

    with filled(numbered(tmp_path / "db")) as engine:
        ask = asking(App(engine))
        asyncio.run(main())


def test_requests_that_come_together_share_transactions(tmp_path: Path) -> None:
    new, begun = sent("POST", "/v1/vector_stores", {"file_ids": ["file-a"]}), list[str]()

    def file_size(file_id: str) -> int:
        begun.append(file_id)
        return 1

    async def main() -> list[Response]:
        begun.clear()
        with held(tmp_path / "db") as let_go:
            writing = [asyncio.create_task(ask(new)) for _ in range(40)]
            while len(begun) < len(writing):
                await asyncio.sleep(0.001)
            let_go()
            return await asyncio.gather(*writing)

    with filled(numbered(tmp_path / "db", file_size=file_size)) as engine:
        before, ask = frames(tmp_path / "db"), asking(App(engine))
        made = {json.loads(response.body)["id"] for response in asyncio.run(main())}
        assert len(made) == 40
        assert frames(tmp_path / "db") - before < 40


def test_the_client_for_coroutines_waits_for_no_disk_either(tmp_path: Path, hops: list[object]) -> None:
    async def main(client: AsyncOpenAI) -> None:
        with held(tmp_path / "db") as let_go:
            writing = asyncio.ensure_future(client.vector_stores.create(name="n"))
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not writing.done()
            let_go()
            assert (await writing).name == "n"
        hops.clear()
        assert [file.id async for file in client.vector_stores.files.list("vs_1", limit=2, order="asc")] == [
            f"file-{n}" for n in range(5)
        ]
        assert hops == []

    with filled(numbered(tmp_path / "db")) as engine:
        asyncio.run(main(adapter.async_client(engine)))


def test_what_the_host_raises_in_a_thread_reaches_the_caller_of_the_client(tmp_path: Path) -> None:
    def file_size(_: str) -> int:
        raise LookupError("no such disk")

    async def main() -> None:
        with pytest.raises(adapter.HostRaised, match=r"LookupError in answer to POST /v1/.*/files: no such disk"):
            await client.vector_stores.files.create("vs_1", file_id="file-a")

    with numbered(tmp_path / "db", file_size=file_size) as engine:
        engine.vector_stores.create()
        client = adapter.async_client(engine)
        asyncio.run(main())


def test_a_request_that_counts_is_dispatched_once(tmp_path: Path, hops: list[object]) -> None:
    """A face with faults counts requests, and a simulation counts polls and lets time pass."""
    batch = sent("GET", f"{STORE}/file_batches/vsfb_1")

    async def main(api: Api) -> list[Response]:
        return [await asking(App(api))(batch) for _ in range(3)]

    with filled(numbered(tmp_path / "faults")) as engine:
        faulty = FaultyApi(engine=engine, faults=Faults(file_batch=[2]))
        asyncio.run(main(faulty))
        assert (faulty.state.requests, len(hops)) == (3, 3)
    with numbered(tmp_path / "polls") as engine:
        simulation = Simulation(seed=1, plan=Plan.after_polls(2), engine=engine)
        filled(engine)
        found = asyncio.run(main(Api(engine, driver=simulation, polled=simulation.polled)))
        assert [json.loads(each.body)["status"] for each in found] == ["in_progress", "completed", "completed"]
