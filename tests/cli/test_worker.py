"""``vsbatch worker``: processes beside the servers of a database share its files, however some of them end."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Engine, VirtualClock
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli import main, working
from vsbatch_core.cli.worker import _stopping
from vsbatch_core.simulation import Plan

from ..helpers.postgres import cluster_or_skip
from ..helpers.processes import entry, finished, posix, started

pytestmark = [pytest.mark.slow, posix]  # processes of their own, which signals end

SHORT_LEASE = "import vsbatch_core.cli.plans as p; p.LEASE = 0.5; import vsbatch_core.__main__"

Worker = subprocess.Popen[bytes]


on = lambda *databases: pytest.mark.parametrize("url", databases, indirect=True)  # noqa: E731


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that an engine has made."""
    if request.param == "SQLite":
        made = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        made = request.getfixturevalue("database")
    Engine.open(made).close()
    return made


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Start a worker; return it when it works."""
    with ExitStack() as stack:

        def start(url: str, *argv: str, start: str | None = None) -> Worker:
            process = stack.enter_context(entry("worker", "--database", url, *argv, start=start))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline().decode() == f"vsbatch: working on {url.removeprefix('sqlite:///')}\n"
            return process

        yield start


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine on a clock at which nothing is due."""
    with Engine.open(url, clock=VirtualClock(0.0)) as engine:
        yield engine


def wait_until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.02)


def held(engine: Engine) -> int:
    """How many files are held by somebody."""
    return sum(
        engine.view.claim(file.vector_store_id, file.attachment) is not None
        for file in engine.processing.pending()
        if file.attachment is not None
    )


@on("SQLite", "PostgreSQL")
def test_workers_share_the_files_and_what_one_that_is_killed_had_is_taken_up_again(url: str, work: Any) -> None:
    with opened(url) as engine:
        workers = [
            work(url, "--plan", "after-seconds:0.3", "--workers", "30", start=SHORT_LEASE) for _ in range(3)
        ]
        store = engine.vector_stores.create(file_ids=[f"file-{n}" for n in range(50)])
        batch = engine.vector_stores.file_batches.create(store.id, file_ids=[f"file-{n}" for n in range(50, 200)])
        wait_until(lambda: held(engine) > 60)  # so that each of them has some
        workers[0].kill()
        assert workers[0].wait() == -signal.SIGKILL
        wait_until(lambda: engine.vector_stores.retrieve(store.id).status == "completed")
        counts = engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id).file_counts
        assert (counts.completed, counts.total) == (150, 150)
        engine.check()
    for worker in workers[1:]:
        worker.send_signal(signal.SIGTERM)
        assert finished(worker) == (0, "", "")


@pytest.mark.parametrize(
    ("url", "number"), [("SQLite", signal.SIGTERM), ("PostgreSQL", signal.SIGINT)], indirect=["url"]
)
def test_a_worker_that_is_stopped_gives_back_what_it_has(url: str, work: Any, number: int) -> None:
    with opened(url) as engine:
        store = engine.vector_stores.create(file_ids=["file-a", "file-b"])
        worker = work(url, "--plan", "after-seconds:1e9")
        wait_until(lambda: held(engine) == 2)
        worker.send_signal(number)
        assert finished(worker) == (0, "", "")
        assert held(engine) == 0
        assert len(engine.processing.claim(2, worker="other", vector_store_id=store.id)) == 2


@on("PostgreSQL")
def test_files_end_as_the_plan_says(url: str, work: Any) -> None:
    uploads = Uploads.open(url)
    good, bad = (uploads.create(file=(name, b"hello"), purpose="assistants") for name in ("a.txt", "a.xyz"))
    with opened(url) as engine:
        store = engine.vector_stores.create(file_ids=[good.id, bad.id])
        worker = work(url)
        wait_until(lambda: engine.vector_stores.retrieve(store.id).status == "completed")
        worker.send_signal(signal.SIGTERM)
        assert finished(worker) == (0, "", "")
        files = engine.vector_stores.files.list(store.id, order="asc")
        assert [(file.status, file.last_error and file.last_error.code) for file in files] == [
            ("completed", None),
            ("failed", "unsupported_file"),
        ]
        assert engine.vector_stores.retrieve(store.id).usage_bytes == 5
        worker = work(url, "--plan", "immediate", "--fail", "server_error=1")
        later = engine.vector_stores.create(file_ids=[good.id])
        wait_until(lambda: engine.vector_stores.retrieve(later.id).file_counts.failed == 1)
        worker.send_signal(signal.SIGTERM)
        assert finished(worker) == (0, "", "")
    uploads.close()


@on("SQLite")
def test_beside_servers_that_leave_the_files_to_workers(url: str, work: Any) -> None:
    with started("--database", url, "--processes", "2", "--plan", "manual") as server, opened(url) as engine:
        worker = work(url, "--plan", "immediate")
        store = engine.vector_stores.create(file_ids=["file-a"])
        wait_until(lambda: engine.vector_stores.retrieve(store.id).status == "completed")
        worker.send_signal(signal.SIGTERM)
        assert finished(worker) == (0, "", "")
        assert server.end() == (0, "", "")


def test_a_worker_ends_though_the_database_is_gone(work: Any) -> None:
    with cluster_or_skip() as own:
        url = own.database()
        with Engine.open(url) as engine:
            engine.vector_stores.create(file_ids=["file-a"])
            patience = "import vsbatch_core.journal.postgres as p; p._PATIENCE_SECONDS = 0.1;"
            worker = work(url, "--plan", "after-seconds:1e9", start=f"{patience} {SHORT_LEASE}")
            wait_until(lambda: held(engine) == 1)
        own.stop("immediate")
        worker.send_signal(signal.SIGTERM)
        status, out, err = finished(worker)
        own.start()
    assert (status, out) == (0, "")
    assert "vsbatch: warning: " in err
    assert f"The database '{url}' cannot be used" in err


# What is refused


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run ``vsbatch worker`` in this process, where it must not come to working; return its line on stderr."""

    def call(*argv: str) -> str:
        status = main(["worker", *argv])
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        return str(err)

    return call


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    Engine.open(url).close()
    return url


def test_on_sqlite_workers_and_a_server_that_moves_the_time_keep_each_other_out(
    sqlite: str, refused: Any, work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with started("--database", sqlite) as server:
        said = refused("--database", sqlite)
        assert "is served already (database is locked): stop that server, or start it with --processes 2" in said
        assert server.end() == (0, "", "")
    first, second = work(sqlite), work(sqlite)
    assert main(["serve", "--port", "0", "--database", sqlite]) == 2
    assert "is served already (database is locked): stop that server" in capsys.readouterr().err
    for worker in (first, second):
        worker.send_signal(signal.SIGTERM)
        assert finished(worker) == (0, "", "")


def test_a_database_that_is_not_there_is_not_made(refused: Any, tmp_path: Path) -> None:
    said = refused("--database", f"sqlite:///{tmp_path / 'none.db'}")
    assert said.startswith(f"vsbatch: there is no database '{tmp_path / 'none.db'}': start 'vsbatch serve")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--database"),
        (["--plan", "manual"], "--plan manual leaves nothing to workers: give another one"),
        (["--plan", "after-polls:2"], "--plan after-polls leaves nothing to workers: give another one"),
        (["--fail", "server_error=0.5"], "--fail says nothing of --plan files"),
        (["--workers", "0"], "'0' is not a whole number from 1"),
    ],
)
def test_options_that_say_nothing_are_told(refused: Any, sqlite: str, argv: list[str], said: str) -> None:
    assert said in refused(*(["--database", sqlite, *argv] if argv else argv))


def moved(url: str) -> None:
    """Have an event in the database that is a thousand seconds from now."""
    with Engine.open(url, clock=VirtualClock(time.time() + 1000)) as engine:
        engine.vector_stores.create(file_ids=["file-a"])


def test_a_database_of_sqlite_whose_time_was_moved_is_for_servers(sqlite: str, refused: Any) -> None:
    moved(sqlite)
    said = refused("--database", sqlite)
    assert "s ahead of this machine's clock: clients of a server had moved the time. Start one with" in said


def test_a_database_of_postgresql_into_which_such_a_one_was_loaded_is_processed_with_a_warning(
    database: str, work: Any
) -> None:
    moved(database)
    with opened(database) as engine:
        (store,) = engine.vector_stores.list().data
        worker = work(database, "--plan", "immediate")
        wait_until(lambda: engine.vector_stores.retrieve(store.id).status == "completed")
        worker.send_signal(signal.SIGTERM)
        status, out, err = finished(worker)
    assert (status, out, err.count("\n")) == (0, "", 1)
    assert "s ahead of its clock: clients of another server had moved the time" in err


# The signals


def test_the_second_signal_does_what_it_did_before() -> None:
    loop, task = working.worker_task(Engine(), Plan.immediate(), 1)
    before = signal.getsignal(signal.SIGINT)
    with _stopping(loop, task):
        assert signal.getsignal(signal.SIGINT) is not before
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
        working.run_until_cancelled(loop, task)
    assert task.cancelled()
    assert signal.getsignal(signal.SIGINT) is before
