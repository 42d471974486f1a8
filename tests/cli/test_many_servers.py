"""Several servers and workers on one PostgreSQL database: some end, or are killed, while clients write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import openai
import pytest

from ..helpers.brief import BRIEF, searching
from ..helpers.node import node_scenario, require_node
from ..helpers.postgres import cluster_or_skip
from ..helpers.processes import RunningServer, entry, finished, posix, started

pytestmark = [pytest.mark.slow, posix, searching]  # servers and processes of their own

SHORT_LEASE = "import vsbatch_core.cli.plans as p; p.LEASE = 0.5; import vsbatch_core.__main__"


@contextmanager
def client_of(url: str, retries: int = 0) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none-needed", base_url=url, max_retries=retries) as client:
        yield client


def children(server: RunningServer) -> list[int]:
    """The process ids of the server's own processes."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


class Clients:
    """Official clients of servers, which are closed at the end of a stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._clients: dict[str, openai.OpenAI] = {}

    def of(self, url: str) -> openai.OpenAI:
        if url not in self._clients:
            self._clients[url] = self._stack.enter_context(client_of(url))
        return self._clients[url]


# What was acknowledged is there once


class Writers:
    """Clients that write through any of several servers, and note what was acknowledged.

    Each create is repeated under its key until a server has acknowledged it: it must then be there once.
    """

    def __init__(self, urls: list[str], n: int) -> None:
        self.urls = urls
        """Where there are servers, or were a moment ago."""
        self.stores: dict[str, str] = {}
        """By name, the id of a store that was acknowledged."""
        self.batches: dict[str, tuple[str, int]] = {}
        """By the id of a batch that was acknowledged, its store and how many files it has."""
        self.failures = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(i,)) for i in range(n)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        with ExitStack() as stack:
            self._write_by(number, Clients(stack))

    def _write_by(self, number: int, clients: Clients) -> None:
        n = 0
        while not self._stop.wait(0.1):  # not so many that to compare them takes long
            n += 1
            name = f"{number}-{n}"
            store = self._asked(clients, lambda of, key: of.vector_stores.create(name=name, extra_headers=key))  # noqa: B023
            self.stores[name] = store.id
            ids = [f"file-{name}-{i}" for i in range(5)]
            options = {"file_ids": ids}
            batch = self._asked(
                clients,
                lambda of, key: of.vector_stores.file_batches.create(store.id, **options, extra_headers=key),  # noqa: B023
            )
            self.batches[batch.id] = (store.id, len(ids))

    def _asked(self, clients: Clients, ask: Callable[[openai.OpenAI, dict[str, str]], Any]) -> Any:
        key = {"Idempotency-Key": uuid4().hex}
        while True:
            try:
                return ask(clients.of(random.choice(self.urls)), key)
            except (openai.APIConnectionError, openai.InternalServerError):
                self.failures += 1


def wait_for(writers: Writers, more: int) -> None:
    """Wait until so many batches more have been acknowledged."""
    seen = len(writers.batches)
    while len(writers.batches) < seen + more:
        time.sleep(0.01)


def require_all(url: str, writers: Writers) -> None:
    """Compare what is there to what was acknowledged; say how much is lost, and how much is there twice."""
    with client_of(url) as client:
        stores = list(client.vector_stores.list(limit=100))
        lost = len(set(writers.stores.values()) - {store.id for store in stores})
        doubled = len(stores) - len({store.name for store in stores})
        for batch_id, (store_id, n) in writers.batches.items():
            batch = client.vector_stores.file_batches.poll(
                batch_id, vector_store_id=store_id, poll_interval_ms=20
            )
            assert (batch.status, counts(batch)) == ("completed", {"completed": n})
            files = list(client.vector_stores.files.list(store_id, limit=100))
            lost += n - len({file.id for file in files})
            doubled += len(files) - n
    acknowledged = len(writers.stores) + len(writers.batches)
    print(
        f"acknowledged {acknowledged}, lost {lost}, doubled {doubled}; {writers.failures} requests were repeated"
    )
    assert (lost, doubled) == (0, 0)


def counts(batch: Any) -> dict[str, int]:
    return {name: n for name, n in batch.file_counts.model_dump().items() if n and name != "total"}


def test_a_rolling_restart_of_four_servers_loses_no_acknowledged_change(database: str) -> None:
    argv = ("--database", database, "--plan", "after-seconds:0.05")
    with ExitStack() as stack:
        servers = [stack.enter_context(started(*argv, start=SHORT_LEASE)) for _ in range(4)]
        with Writers([server.url for server in servers], 4) as writers:
            for n, server in enumerate(servers):
                wait_for(writers, 10)
                assert server.end() == (0, "", "")
                servers[n] = stack.enter_context(started(*argv, start=SHORT_LEASE))
                writers.urls[n] = servers[n].url
        require_all(servers[0].url, writers)
        for server in servers:
            assert server.end() == (0, "", "")


class Killer:
    """Kills processes of a server, and workers, one after the other, while the context lasts.

    ``pause`` is how many seconds there are between two of them.
    """

    def __init__(
        self, server: RunningServer, database: str, *plan: str, workers: int = 2, pause: float = 0.4
    ) -> None:
        self._server = server
        self._pause = pause
        self._argv = ("worker", "--database", database, *plan)
        self._workers = [self._worker() for _ in range(workers)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._kill)
        self.kills = 0

    def _worker(self) -> subprocess.Popen[bytes]:
        return entry(*self._argv, start=SHORT_LEASE)

    def _kill(self) -> None:
        while not self._stop.wait(self._pause):
            victim = random.choice([*children(self._server), None])
            if victim is None:
                number = random.randrange(len(self._workers))
                self._workers[number].kill()
                finished(self._workers[number])
                self._workers[number] = self._worker()
            else:
                with suppress(ProcessLookupError):  # it ended by itself: its database was away when it began
                    os.kill(victim, signal.SIGKILL)
            self.kills += 1

    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for worker in self._workers:
            worker.kill()
            finished(worker)


PLAN = ("--plan", "after-seconds:0.05")


def test_processes_workers_and_the_database_that_are_killed_lose_no_acknowledged_change() -> None:
    with cluster_or_skip() as own:
        url = own.database()
        with started("--database", url, "--processes", "4", *PLAN, start=SHORT_LEASE) as server:
            with Killer(server, url, *PLAN) as killer, Writers([server.url], 4) as writers:
                while killer.kills < (4 if BRIEF else 20):
                    assert killer.goes_on()
                    wait_for(writers, 10)
                    own.stop("immediate")
                    own.start()
            require_all(server.url, writers)
            status, _, _ = server.end()
            assert status == 0


# What the official clients do


@pytest.fixture
def attacked(request: pytest.FixtureRequest, database: str) -> Iterator[str]:
    """The URL of a server with four processes, some of which are killed now and then, as are its workers."""
    plan = ("--plan", getattr(request, "param", "after-seconds:0.5"))
    with started("--database", database, "--processes", "4", *plan, start=SHORT_LEASE) as server:
        with Killer(server, database, *plan, pause=1.0) as killer:  # clients wait for longer and longer
            yield server.url
        assert killer.kills
        status, out, err = server.end()
        assert (status, out) == (0, "")
        assert all(line.endswith("by signal 9, and another is started") for line in err.splitlines())


def test_the_official_client_polls_walks_cancels_and_uploads_meanwhile(attacked: str, tmp_path: Path) -> None:
    contents = {f"{n}.txt": os.urandom(100 * n) for n in range(3)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in contents]
    ids = [f"file-{n:03}" for n in range(40)]

    def work(_: int) -> None:
        with client_of(attacked, retries=20) as client:
            batches = client.vector_stores.file_batches
            store = client.vector_stores.create()
            batch = batches.upload_and_poll(store.id, files=paths, poll_interval_ms=50)
            assert (batch.status, counts(batch)) == ("completed", {"completed": 3})
            uploaded = [
                client.files.retrieve(file.id) for file in batches.list_files(batch.id, vector_store_id=store.id)
            ]
            assert {file.filename: client.files.content(file.id).read() for file in uploaded} == contents
            batch = batches.create_and_poll(store.id, file_ids=ids, poll_interval_ms=50)
            assert (batch.status, counts(batch)) == ("completed", {"completed": 40})
            for order, expected in (("asc", ids), ("desc", ids[::-1])):
                pages = batches.list_files(batch.id, vector_store_id=store.id, order=order, limit=7)  # type: ignore[arg-type]
                assert [file.id for file in pages] == expected
            store = client.vector_stores.create()
            batch = batches.create(store.id, file_ids=ids)
            cancelled = batches.cancel(batch.id, vector_store_id=store.id)
            polled = batches.poll(batch.id, vector_store_id=store.id, poll_interval_ms=50)
            assert polled.status in ("cancelled", "completed")
            assert sum(counts(polled).values()) == 40
            assert polled.file_counts.in_progress == 0
            assert cancelled.id == polled.id

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4 if BRIEF else 24)))


@pytest.fixture
def node() -> None:
    require_node()


def seen_by_node(url: str, name: str, *given: object) -> Any:
    return node_scenario(url, name, *given, MAX_RETRIES=20, POLL_INTERVAL_MS=50)


@pytest.mark.usefixtures("node")  # before a server is started
def test_the_official_node_client_polls_walks_and_uploads_too(attacked: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello")
    created = seen_by_node(attacked, "createAndPoll", 200)
    assert created["batch"]["file_counts"]["completed"] == 200
    ids = [f"file-{n:04}" for n in range(50)]
    walked = seen_by_node(attacked, "listing", 50)
    assert (walked["asc"]["all"], walked["desc"]["all"]) == (ids, ids[::-1])
    uploaded = seen_by_node(attacked, "uploadAndPoll", tmp_path / "a.txt")
    assert uploaded["batch"]["file_counts"]["completed"] == 1
    assert uploaded["files"]["a.txt"]["bytes"] == 5


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("attacked", ["after-seconds:1e9"], indirect=True)
def test_the_official_node_client_cancels_while_it_polls(attacked: str) -> None:
    for _ in range(3):
        assert seen_by_node(attacked, "cancelWhilePolling")["polled"]["status"] == "cancelled"
