"""The server on a database: official clients of one process and of several, before and after everything dies."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from vsbatch_core import Engine, Profile, VirtualClock
from vsbatch_core.cli import main, working
from vsbatch_core.errors import DatabaseUnavailable
from vsbatch_core.simulation import Failed, Never, Plan

from ..helpers.brief import searching
from ..helpers.processes import RunningServer, posix, started

pytestmark = pytest.mark.slow  # servers and processes of their own

SHORT_LEASE = "import vsbatch_core.cli.plans as p; p.LEASE = 0.5; import vsbatch_core.__main__"


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there; one of SQLite unless a test asks for another."""
    if getattr(request, "param", "SQLite") == "SQLite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("database"))


@contextmanager
def client_of(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none-needed", base_url=server.url) as client:
        yield client


def children(server: RunningServer) -> list[int]:
    """The process ids of the server's own processes."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


def kill_all(server: RunningServer) -> None:
    """End the server and its processes as a power failure does, each without a moment to say anything."""
    for process in (*children(server), server.process.pid):
        os.kill(process, signal.SIGKILL)
    server.process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def everything(client: openai.OpenAI) -> Any:
    """All that a client can see, with the contents of the uploaded files."""
    stores = list(client.vector_stores.list())
    return (
        stores,
        [[*client.vector_stores.files.list(store.id, order="asc", limit=100)] for store in stores],
        [(file, client.files.content(file.id).read()) for file in client.files.list()],
    )


def counts(batch: Any) -> dict[str, int]:
    return {name: n for name, n in batch.file_counts.model_dump().items() if n and name != "total"}


def served(*places: tuple[str, int]) -> pytest.MarkDecorator:
    """Run a test for servers on these kinds of database, with so many processes."""
    several = [
        pytest.param(kind, ("--processes", str(n)), id=f"{kind}-{n}", marks=[posix] if n > 1 else [])
        for kind, n in places
    ]
    return pytest.mark.parametrize(("url", "processes"), several, indirect=["url"])


@served(("SQLite", 1), ("SQLite", 2), ("PostgreSQL", 2))
def test_what_was_acknowledged_is_there_after_everything_was_killed(
    url: str, processes: tuple[str, ...], tmp_path: Path
) -> None:
    paths = []
    for name, content in {"a.txt": b"hello", "b.md": bytes(range(256)) * 40, "c.xyz": b"?", "d.md": b""}.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    argv = ("--database", url, "--require-uploaded-files", *processes)
    with started(*argv) as server, client_of(server) as client:
        batches = client.vector_stores.file_batches
        store = client.vector_stores.create(name="docs")
        batch = batches.upload_and_poll(store.id, files=paths)
        assert (batch.status, counts(batch)) == ("completed", {"completed": 2, "failed": 2})
        gone = client.files.create(file=("gone.txt", b"gone"), purpose="assistants")
        client.files.delete(gone.id)
        large = client.files.create(file=("large.txt", bytes(500_000_000 // 1000)), purpose="assistants")
        cancelled = batches.create(store.id, file_ids=[large.id])
        cancelled = batches.cancel(cancelled.id, vector_store_id=store.id)
        before = everything(client)
        kill_all(server)
    for _ in range(2):
        with started(*argv) as server, client_of(server) as client:
            batches = client.vector_stores.file_batches
            assert everything(client) == before
            for each in (batch, cancelled):
                assert batches.retrieve(each.id, vector_store_id=store.id).file_counts == each.file_counts
            with pytest.raises(openai.NotFoundError):
                batches.create(store.id, file_ids=[gone.id])
            assert server.end() == (0, "", "")


@served(("SQLite", 1), ("SQLite", 2), ("PostgreSQL", 1))
def test_files_that_were_in_progress_when_everything_was_killed_are_processed_after(
    url: str, processes: tuple[str, ...]
) -> None:
    argv = ("--database", url, *processes)
    slow = ("--plan", "after-seconds:1e9")
    with started(*argv, *slow, start=SHORT_LEASE) as server, client_of(server) as client:
        store = client.vector_stores.create()
        batch = client.vector_stores.file_batches.create(store.id, file_ids=[f"file-{n}" for n in range(300)])
        if "2" in processes or url.startswith("postgresql"):
            wait_until(lambda: some_are_held(url))
        kill_all(server)
    with (
        started(*argv, "--plan", "after-seconds:0.2", "--fail", "server_error=0.5") as server,
        client_of(server) as client,
    ):
        batch = client.vector_stores.file_batches.poll(batch.id, vector_store_id=store.id)
        assert set(counts(batch)) == {"completed", "failed"}
        assert server.end() == (0, "", "")


def some_are_held(url: str) -> bool:
    """Whether a worker holds a file, as the database has it."""
    with Engine.open(url, clock=VirtualClock(0.0)) as engine:
        return any(
            engine.view.claim(file.vector_store_id, file.attachment) is not None
            for file in engine.processing.pending()
            if file.attachment is not None
        )


# Several processes


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with two processes, which process files at once."""
    if request.param == "SQLite":
        url = f"sqlite:///{tmp_path_factory.mktemp('two') / 'state.db'}"
    else:
        url = request.getfixturevalue("cluster").database()
    with started("--database", url, "--processes", "2", "--plan", "immediate") as server:
        yield server
        assert server.end() == (0, "", "")


@posix
def test_it_says_where_it_serves_once_as_one_process_does(two: RunningServer) -> None:
    assert two.said == (
        f"vsbatch: serving on {two.url}\nexport OPENAI_BASE_URL={two.url} OPENAI_API_KEY=none-needed\n"
    )
    assert len(children(two)) == 2


@posix
def test_two_thousand_files_complete_each_once_whoever_processes_them(two: RunningServer) -> None:
    with client_of(two) as client:
        store = client.vector_stores.create()
        ids = [f"file-{n}" for n in range(2000)]
        batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
        assert (batch.status, counts(batch)) == ("completed", {"completed": 2000})
        assert [file.id for file in client.vector_stores.files.list(store.id, order="asc", limit=100)] == ids


@posix
def test_clients_on_many_connections_see_what_each_of_them_did_at_once(two: RunningServer) -> None:
    def work(n: int) -> None:
        with client_of(two) as writer, client_of(two) as reader:
            file = writer.files.create(file=(f"{n}.txt", bytes([n])), purpose="assistants")
            assert reader.files.content(file.id).read() == bytes([n])
            store = reader.vector_stores.create(name=str(n))
            batch = writer.vector_stores.file_batches.create_and_poll(
                store.id, file_ids=[file.id, "file-elsewhere"], poll_interval_ms=20
            )
            assert counts(batch) == {"completed": 2}
            assert reader.vector_stores.retrieve(store.id).usage_bytes == 1
            cancelled = reader.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
            assert cancelled.status == "completed"
            reader.files.delete(file.id)
            with pytest.raises(openai.NotFoundError):
                writer.files.retrieve(file.id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))


@posix
def test_a_process_that_is_killed_is_replaced_and_what_it_had_taken_up_is_taken_up_again(url: str) -> None:
    argv = ("--database", url, "--processes", "2", "--plan", "after-seconds:0.7")
    with started(*argv, start=SHORT_LEASE) as server, client_of(server) as client:
        store = client.vector_stores.create()
        before = children(server)
        for n in range(3):
            batch = client.vector_stores.file_batches.create(
                store.id, file_ids=[f"file-{n}-{i}" for i in range(50)]
            )
            time.sleep(0.2)
            killed = children(server)[n % 2]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: len(children(server)) == 2 and killed not in children(server))  # noqa: B023
            batch = client.vector_stores.file_batches.poll(
                batch.id, vector_store_id=store.id, poll_interval_ms=50
            )
            assert (batch.status, counts(batch)) == ("completed", {"completed": 50})
        assert children(server) != before
        status, out, err = server.end()
    assert (status, out) == (0, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.endswith(" ended by signal 9, and another is started") for line in lines)


@posix
def test_the_processes_end_when_their_parent_is_killed(url: str) -> None:
    with started("--database", url, "--processes", "2") as server:
        orphans = children(server)
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(map(is_alive, orphans)))
        with started("--database", url, "--processes", "2") as after:
            assert after.end() == (0, "", "")


@posix
@pytest.mark.parametrize(
    ("url", "number"), [("SQLite", signal.SIGTERM), ("PostgreSQL", signal.SIGINT)], indirect=["url"]
)
def test_a_signal_ends_all_processes_quietly_and_gives_back_what_they_had_taken_up(url: str, number: int) -> None:
    argv = ("--database", url, "--processes", "3", "--plan", "after-seconds:1e9")
    with started(*argv) as server, client_of(server) as client:
        store = client.vector_stores.create(file_ids=["file-a", "file-b"])
        wait_until(lambda: some_are_held(url))
        processes = children(server)
        assert server.end(number) == (0, "", "")
        assert not any(map(is_alive, processes))
    with Engine.open(url, clock=VirtualClock(0.0)) as engine:
        assert len(engine.processing.claim(2, worker="other", vector_store_id=store.id)) == 2


@posix
def test_with_fewer_workers_than_processes_files_are_processed_one_by_one_and_by_hand_none_is(url: str) -> None:
    argv = ("--database", url, "--processes", "2")
    with started(*argv, "--plan", "manual") as server, client_of(server) as client:
        store = client.vector_stores.create(file_ids=[f"file-{n}" for n in range(4)])
        time.sleep(0.5)
        assert client.vector_stores.retrieve(store.id).status == "in_progress"
        assert server.end() == (0, "", "")
    with (
        started(*argv, "--plan", "after-seconds:0.05", "--workers", "1") as server,
        client_of(server) as client,
    ):
        wait_until(lambda: client.vector_stores.retrieve(store.id).status == "completed")
        assert server.end() == (0, "", "")


@posix
@pytest.mark.parametrize(
    ("broken", "status", "said"),
    [
        ("d.standing_in = None", 1, "TypeError: 'NoneType' object is not callable"),
        ("d.be_quiet = lambda: (_ for _ in ()).throw(d.Refused('not so'))", 2, "vsbatch: not so"),
    ],
)
def test_a_process_that_cannot_begin_says_why_and_ends_the_server(
    url: str, broken: str, status: int, said: str
) -> None:
    start = f"import vsbatch_core.cli.durable as d; {broken}; import vsbatch_core.__main__"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", start, "serve", "--port", "0", "--database", url, "--processes", "2"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert said in ended.stderr


# One process, whose time is its own


@searching
def test_time_goes_on_from_where_it_was_when_clients_had_moved_it(url: str) -> None:
    with started("--database", url, "--plan", "after-seconds:5000") as server, client_of(server) as client:
        store = client.vector_stores.create()
        batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=["file-a"])
        assert counts(batch) == {"completed": 1}
        later = client.vector_stores.create()
        assert later.created_at - store.created_at >= 5000
        assert server.end() == (0, "", "")
    for processes in ("1", "2") if os.name == "posix" else ("1",):
        with started("--database", url, "--processes", processes) as server, client_of(server) as client:
            assert 0 <= client.vector_stores.create().created_at - later.created_at < 1000
            assert server.end() == (0, "", "")


@posix
def test_what_a_simulation_held_when_it_was_killed_is_processed_by_several_processes(url: str) -> None:
    argv = ("--database", url, "--policy", "cancel=drain")
    slow = ("--plan", "after-seconds:1e9", "--workers", "2")
    with started(*argv, *slow) as server, client_of(server) as client:
        store = client.vector_stores.create(file_ids=["file-a", "file-b", "file-c"])
        client.vector_stores.retrieve(store.id)  # any request has the workers take up files
        client.vector_stores.retrieve(store.id)
        kill_all(server)
    assert some_are_held(url)
    with started(*argv, "--processes", "2") as server, client_of(server) as client:
        wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 3)
        assert server.end() == (0, "", "")


# What is refused


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run ``vsbatch serve`` in this process, where it must not come to serving; return its line on stderr."""

    def call(*argv: str) -> str:
        status = main(["serve", "--port", "0", *argv])
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        return err

    return call


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["--database", "postgresql:///state", "--plan", "after-polls:2"],
            "--plan after-polls counts in one process, and PostgreSQL is for several: give another plan",
        ),
        (["--database", "postgresql://127.0.0.1:1/state"], "postgresql://127.0.0.1:1/state"),
        (["--processes", "2"], "--processes needs --database: that is what several processes share"),
        (["--processes", "0"], "'0' is not a whole number from 1"),
        (
            ["--database", "sqlite:///state.db", "--processes", "2", "--plan", "after-polls:2"],
            "--plan after-polls counts in one process: leave out --processes, or give another plan",
        ),
        (
            ["--database", "sqlite:///state.db", "--seed", "7"],
            "--seed draws the same ids in every run, and --database has those of the last: leave out one",
        ),
        (["--database", "state.db"], "its URL is not known. Give sqlite:///relative.db"),
        (["--database", "sqlite:////nowhere/state.db"], "/nowhere/state.db"),
        (
            ["--database", "sqlite:///state.db", "--plan", "manual", "--workers", "2"],
            "--workers says nothing of --plan manual",
        ),
    ],
)
def test_options_that_contradict_each_other_are_told_with_what_to_give(
    refused: Any, argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(*argv)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_profile_is_refused_and_one_without_a_profile_opens_as_it_is(
    url: str, refused: Any
) -> None:
    Engine.open(url, profile=Profile(cancel="drain")).close()
    said = refused("--database", url, "--policy", "cancel=immediate")
    assert "it was made under another profile: cancel is 'drain' there and 'immediate' here" in said
    with started("--database", url) as server:
        assert server.end() == (0, "", "")


def test_a_database_that_is_served_is_not_served_twice(url: str, refused: Any) -> None:
    with started("--database", url) as server:
        said = refused("--database", url)
        assert "is served already (database is locked): stop that server, or give another --database" in said
        assert server.end() == (0, "", "")
    with started("--database", url) as server:
        kill_all(server)
    with started("--database", url) as server:
        assert server.end() == (0, "", "")


def test_where_no_process_can_be_forked_several_are_refused(
    url: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    said = refused("--database", url, "--processes", "2")
    assert said == "vsbatch: --processes needs a system that can fork a process: leave it out\n"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "text.db").write_text("no database " * 1000)
    assert "it is not a SQLite file" in refused("--database", f"sqlite:///{tmp_path / 'text.db'}")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    assert "of another program" in refused("--database", f"sqlite:///{tmp_path / 'other.db'}")


# The work of one process


def test_a_process_works_as_the_plan_says_and_ends_at_once_with_what_it_has() -> None:
    engine = Engine()
    outcomes = {"file-a": Failed("invalid_file", after=0.0, message="no"), "file-never": Never()}
    store = engine.vector_stores.create(file_ids=["file-a", "file-b"])
    with working.working(engine, Plan(script=outcomes, service=0.0), 8):
        wait_until(lambda: engine.vector_stores.retrieve(store.id).status == "completed")
    ended = [(file.status, file.last_error and file.last_error.message) for file in _files(engine, store.id)]
    assert ended == [("failed", "no"), ("completed", None)]


def _files(engine: Engine, vector_store_id: str) -> Any:
    return engine.vector_stores.files.list(vector_store_id, order="asc")


def test_a_database_that_fails_for_a_while_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine()
    work = engine.aio.processing.work
    failures = [DatabaseUnavailable("state.db", "disk I/O error")]

    async def fails(*arguments: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        await work(*arguments, **options)

    monkeypatch.setattr(engine.aio.processing, "work", fails)
    monkeypatch.setattr(working, "PAUSE", 0.01)
    store = engine.vector_stores.create(file_ids=["file-a"])
    with working.working(engine, Plan.immediate(), 8):
        wait_until(lambda: engine.vector_stores.retrieve(store.id).status == "completed")
    assert "vsbatch: warning: The database 'state.db' cannot be used: disk I/O error" in capsys.readouterr().err


def test_it_ends_though_what_it_has_taken_up_cannot_be_given_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine()
    engine.vector_stores.create(file_ids=["file-a"])
    claimed = threading.Event()
    engine.subscribe(lambda _: None)

    def fails(*_arguments: Any, **_options: Any) -> None:
        raise DatabaseUnavailable("state.db", "disk I/O error")

    claim = engine.processing.claim

    def claims(*arguments: Any, **options: Any) -> Any:
        claimed.set()
        return claim(*arguments, **options)

    monkeypatch.setattr(engine.processing, "release", fails)
    monkeypatch.setattr(engine.processing, "claim", claims)
    with working.working(engine, Plan.after_seconds(1e9), 8):
        claimed.wait()
    assert "vsbatch: warning: The database 'state.db' cannot be used: disk I/O error" in capsys.readouterr().err


def test_a_thread_that_fails_says_so_and_the_server_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: raised.append(arguments.exc_value))
    engine = Engine()

    def fails(*_arguments: Any, **_options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine.aio.processing, "work", fails)
    with working.working(engine, Plan.immediate(), 8):
        wait_until(lambda: bool(raised))
    assert [type(each) for each in raised] == [ZeroDivisionError]
