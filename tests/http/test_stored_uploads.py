"""Uploads in the database of an engine: they last, all processes see them, and failures are told as they are."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vsbatch_core import Engine, VirtualClock
from vsbatch_core.adapters import sqlite_uploads, stored_uploads
from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.refusals import TooManyUploads, UploadNotFound
from vsbatch_core.adapters.uploads import FileObject, Uploads
from vsbatch_core.errors import DatabaseRefused, DatabaseUnavailable, OutcomeUnknown, UnknownCursor
from vsbatch_core.model import Limits

from ..helpers.postgres import Cluster, cluster_or_skip
from ..helpers.processes import posix
from ..helpers.strategies import START, CountingIds


class Database(NamedTuple):
    """A database of an engine, and what its uploads have of it."""

    url: str
    module: Any
    """That whose ``BUSY_SECONDS`` are waited for others."""
    connects: tuple[Any, str]
    """The function that makes a connection: what has it, and its name."""
    error: type[Exception]


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "SQLite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
        made = Database(url, sqlite_uploads, (sqlite_uploads, "connected"), sqlite3.OperationalError)
    else:
        url = request.getfixturevalue("cluster").database()
        psycopg = pytest.importorskip("psycopg")
        from vsbatch_core.adapters import postgres_uploads

        made = Database(url, postgres_uploads, (psycopg, "connect"), psycopg.OperationalError)
    Engine.open(made.url).close()
    return made


@pytest.fixture
def url(database: Database) -> str:
    return database.url


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], Uploads]]:
    """Return uploads of the same database: each time others, as another process has them."""
    made: list[Uploads] = []
    clock, ids = VirtualClock(START), CountingIds()

    def get() -> Uploads:
        made.append(Uploads.open(url, clock=clock, ids=ids))
        return made[-1]

    yield get
    for each in made:
        each.close()


def put(kept: Uploads, content: bytes = b"hello") -> FileObject:
    return kept.create(file=("a.txt", content), purpose="assistants")


def seen(kept: Uploads) -> Any:
    return [(file, kept.content(file.id)) for file in kept.list()], kept.kept_bytes


def test_what_one_uploads_or_deletes_all_others_see_at_once_and_who_comes_later(opened: Any) -> None:
    one, other = opened(), opened()
    assert seen(other) == ([], 0)
    first, second = put(one), put(other, b"bytes")
    for each in (one, other, opened()):
        assert seen(each) == ([(second, b"bytes"), (first, b"hello")], 20)
        assert each.file_size(first.id) == 5
    other.delete(first.id)
    for each in (one, other, opened()):
        assert seen(each) == ([(second, b"bytes")], 10)
        assert each.list(after=first.id, order="asc").data == (second,)
        for look in (each.retrieve, each.content, each.delete):
            with pytest.raises(UploadNotFound):
                look(first.id)


def test_an_engine_on_that_database_knows_the_files_and_stays_whole(url: str, opened: Any) -> None:
    kept = opened()
    with Engine.open(url, file_size=kept.file_size) as engine:
        api = Api(engine, uploads=kept)
        file = put(kept, b"twelve bytes")
        store = api.engine.vector_stores.create(file_ids=[file.id])
        assert engine.processing.complete(store.id, file.id).usage_bytes == 12
    with Engine.open(url) as engine:
        engine.check()
        assert engine.vector_stores.retrieve(store.id).usage_bytes == 12


def test_a_name_may_hold_what_is_no_unicode(opened: Any) -> None:
    made = opened().create(file=("caf\udce9.txt", b""), purpose="vision")
    assert opened().retrieve(made.id) == made


def test_the_ids_of_the_latest_deleted_files_are_cursors_and_older_ones_are_forgotten(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_uploads, "LIMITS", Limits(departed=2))
    kept = opened()
    files = [put(kept) for _ in range(5)]
    for file in files[:4]:
        kept.delete(file.id)
    for file in files[:2]:
        with pytest.raises(UnknownCursor):
            kept.list(after=file.id)
    for file in files[2:4]:
        assert opened().list(after=file.id, order="asc").data == (files[4],)
    assert put(kept).id == "file-6"


# What cannot be opened


FIRST_VERSION = {
    "SQLite": """
CREATE TABLE uploads (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL, filename BLOB NOT NULL, purpose TEXT NOT NULL, departed INTEGER, content BLOB
);
CREATE INDEX uploads_departed ON uploads (departed) WHERE departed IS NOT NULL;
CREATE TABLE uploads_kept (bytes INTEGER NOT NULL);
INSERT INTO uploads (id, bytes, created_at, filename, purpose, content) VALUES
    ('file-a', 5, 1000, X'c3a9', 'assistants', X'68656c6c6f'), ('file-b', 0, 1001, X'62', 'vision', X'');
INSERT INTO uploads (id, bytes, created_at, filename, purpose, departed) VALUES
    ('file-c', 9, 1002, X'63', 'vision', 1);
INSERT INTO uploads_kept VALUES (5)
""",
    "PostgreSQL": """
CREATE TABLE uploads (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, id bytea NOT NULL UNIQUE, bytes bigint NOT NULL,
    created_at bigint NOT NULL, filename bytea NOT NULL, purpose text NOT NULL, departed bigint, content bytea
);
CREATE INDEX uploads_departed ON uploads (departed) WHERE departed IS NOT NULL;
CREATE TABLE uploads_kept (bytes bigint NOT NULL);
INSERT INTO uploads (id, bytes, created_at, filename, purpose, content) VALUES
    ('file-a', 5, 1000, '\\xc3a9', 'assistants', 'hello'), ('file-b', 0, 1001, 'b', 'vision', '');
INSERT INTO uploads (id, bytes, created_at, filename, purpose, departed) VALUES
    ('file-c', 9, 1002, 'c', 'vision', 1);
INSERT INTO uploads_kept VALUES (5)
""",
}
"""By database, what the first version made, with two files in it and one that was deleted."""


@pytest.mark.parametrize("first", ["read", "write"])
@pytest.mark.parametrize("name", FIRST_VERSION)
def test_tables_of_the_first_version_are_brought_to_the_form_of_this_one(
    name: str, first: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if name == "SQLite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
        Engine.open(url).close()
        with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
            for statement in FIRST_VERSION[name].split(";"):
                connection.execute(statement)
    else:
        url = request.getfixturevalue("cluster").database()
        Engine.open(url).close()
        with pytest.importorskip("psycopg").connect(url) as connection:
            connection.execute("SET search_path = vsbatch")
            for statement in FIRST_VERSION[name].split(";"):
                connection.execute(statement)
    clock = VirtualClock(START)
    kept, other = [Uploads.open(url, clock=clock, ids=CountingIds(), limit_files=3) for _ in range(2)]
    old = ["file-b", "file-a"]
    if first == "read":
        assert [file.id for file in kept.list()] == old
        assert kept.kept_bytes == 5 + 2 + 1
    made = kept.create(
        file=("n", b"new"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    for each in (kept, other):
        assert [file.id for file in each.list()] == [made.id, *old]
        assert [file.expires_at for file in each.list()] == [START + 3600, None, None]
        assert each.kept_bytes == 5 + 2 + 1 + 4
        assert each.content("file-a") == b"hello"
        assert each.list(after="file-c", order="asc").data == (made,)
        with pytest.raises(TooManyUploads):
            each.create(file=("m", b""), purpose="assistants")
    clock.advance(3600)
    assert other.kept_bytes == 8
    other.delete("file-a")
    assert (kept.kept_bytes, [file.id for file in kept.list()]) == (1, ["file-b"])
    for each in (kept, other):
        each.close()


def test_before_an_engine_has_made_the_database_uploads_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "not there.db"
    kept = Uploads.open(f"sqlite:///{path}")
    kept.close()
    for act in (kept.list, lambda: put(kept)):
        with pytest.raises(DatabaseRefused, match=r"not there.db'?: it is not there. Open an engine on it"):
            act()
    assert not path.exists()
    Engine.open(f"sqlite:///{path}").close()
    assert put(kept) == kept.list().data[0]
    kept.close()


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(DatabaseRefused, match="no engine has made it"):
        put(Uploads.open(f"sqlite:///{path}"))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql:///state", "its URL is not known"),
        ("postgresql://me:secret@host/%zz", "its URL cannot be read"),
    ],
)
def test_a_url_that_names_no_database_is_refused_at_once(url: str, said: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(DatabaseRefused, match=said) as refused:
        Uploads.open(url)
    assert "secret" not in str(refused.value)


# What fails


class Failing:
    """A connection: ``fails`` says of a statement what is raised before it, or after it if ``late``."""

    def __init__(
        self, connection: Any, fails: Callable[[str], bool], error: type[Exception], *, late: bool
    ) -> None:
        self._connection, self._fails, self._error, self._late = connection, fails, error, late

    def execute(self, statement: str | bytes, *arguments: Any, **options: Any) -> Any:
        if self._late:
            found = self._connection.execute(statement, *arguments, **options)
        if self._fails(statement.decode() if isinstance(statement, bytes) else statement):
            raise self._error("disk I/O error")
        return found if self._late else self._connection.execute(statement, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, database: Database) -> Callable[..., None]:
    """Have the connections that are opened from now on fail at these statements, one for each connection."""

    def plant(*statements: str, late: bool = False) -> None:
        left = list(statements)
        connected = getattr(*database.connects)

        def connect(*arguments: Any, **options: Any) -> Any:
            connection = connected(*arguments, **options)
            if not left:
                return connection
            bad = left.pop(0)
            fails = lambda statement: statement.strip().startswith(bad)  # noqa: E731
            return Failing(connection, fails, database.error, late=late)

        monkeypatch.setattr(*database.connects, connect)

    return plant


@pytest.mark.parametrize("late", [False, True])
def test_a_commit_that_fails_is_looked_for_and_told_as_it_is(opened: Any, failing: Any, late: bool) -> None:
    there = put(opened())
    failing("COMMIT", late=late)
    kept = opened()
    if late:
        made = put(kept)
        assert opened().retrieve(made.id) == made
    else:
        with pytest.raises(DatabaseUnavailable, match="disk I/O error"):
            put(kept)
        assert seen(opened()) == ([(there, b"hello")], 10)
    failing("COMMIT", late=late)
    kept = opened()
    if late:
        assert kept.delete(there.id).deleted
    else:
        with pytest.raises(DatabaseUnavailable):
            kept.delete(there.id)
    assert (there in opened().list().data) is not late


def test_a_commit_of_which_nobody_can_tell_is_called_unknown(opened: Any, failing: Any) -> None:
    put(opened())
    failing("COMMIT", "SELECT number")
    with pytest.raises(OutcomeUnknown, match="disk I/O error"):
        put(opened())


@pytest.mark.parametrize("statement", ["BEGIN", "CREATE TABLE", "INSERT", "UPDATE uploads_kept"])
def test_what_fails_before_the_commit_has_not_happened(opened: Any, failing: Any, statement: str) -> None:
    before = seen(opened())
    failing(statement)
    kept = opened()
    with pytest.raises(DatabaseUnavailable, match="disk I/O error"):
        put(kept)
    assert seen(opened()) == before
    failing()
    put(opened())


def test_a_look_that_fails_is_told(opened: Any, failing: Any) -> None:
    put(opened())
    failing("SELECT id")
    with pytest.raises(DatabaseUnavailable, match="mend what the message names"):
        opened().list()


def test_an_interruption_ends_the_transaction(url: str, opened: Any) -> None:
    def interrupt(_prefix: str) -> str:
        raise KeyboardInterrupt

    kept = Uploads.open(url, ids=interrupt)
    with pytest.raises(KeyboardInterrupt):
        put(kept)
    other = put(opened())  # nobody has to wait
    assert kept.list().data == (other,)
    kept.close()


def test_who_waits_too_long_for_another_transaction_is_told(
    database: Database, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened())
    monkeypatch.setattr(database.module, "BUSY_SECONDS", 0.01)
    kept = opened()
    other = opened()
    put(other)
    other._tables.begin(make=False)
    with pytest.raises(DatabaseUnavailable, match="lock"):
        put(kept)
    assert len(kept.list().data) == 2
    other._tables.rollback()
    put(kept)


@posix
def test_after_a_fork_each_process_has_a_connection_of_its_own(url: str) -> None:
    kept = Uploads.open(url)
    first = put(kept)
    child = os.fork()
    if child == 0:
        try:
            put(kept, b"of the child")
            os._exit(0 if first in kept.list().data else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    put(kept, b"of the parent")
    assert [kept.content(file.id) for file in kept.list(order="asc")] == [
        b"hello",
        b"of the child",
        b"of the parent",
    ]
    kept.close()


def test_a_process_leaves_alone_the_connection_that_it_has_inherited(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    connected = getattr(*database.connects)

    def connect(*arguments: Any, **options: Any) -> Any:
        made.append(connected(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(*database.connects, connect)
    kept = Uploads.open(database.url)
    first = put(kept)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child process
    assert kept.list().data == (first,)
    kept.close()
    inherited, _ = made
    assert inherited.execute("SELECT 1").fetchone() == (1,)
    inherited.close()


# PostgreSQL alone


@pytest.fixture
def postgres(cluster: Cluster) -> str:
    url = cluster.database()
    Engine.open(url).close()
    return url


def end_others(url: str) -> None:
    """End all connections to a database, as an administrator or a network does it."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_schema_that_is_not_an_engines_is_refused_until_one_is(cluster: Cluster) -> None:
    url = cluster.database()
    kept = Uploads.open(url)
    for act in (kept.list, lambda: put(kept)):
        with pytest.raises(DatabaseRefused, match=r"no engine has made it\. Open an engine on it"):
            act()
    Engine.open(url).close()
    assert put(kept) == kept.list().data[0]
    kept.close()


def test_any_id_may_be_asked_for(postgres: str) -> None:
    kept = Uploads.open(postgres)
    put(kept)
    for id in ("", "\0", "file-\ud800", "%s?", "\N{SNOWMAN}" * 10_000):
        assert kept.file_size(id) == 0
    kept.close()


def test_the_time_is_the_databases(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Uploads.open(postgres)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert abs(put(kept).created_at - now) < 1000
    kept.close()


def test_tables_that_many_make_at_once_are_made_once(postgres: str) -> None:
    kept = [Uploads.open(postgres) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(put, kept))
    assert {file.id for file in kept[0].list()} == {file.id for file in files}
    assert kept[1].kept_bytes == 8 * 10
    for each in kept:
        each.close()


def test_a_connection_that_is_gone_is_made_anew_where_nothing_had_begun(postgres: str) -> None:
    kept = Uploads.open(postgres)
    first = put(kept)
    end_others(postgres)
    assert kept.content(first.id) == b"hello"
    end_others(postgres)
    second = put(kept)
    assert seen(kept) == ([(second, b"hello"), (first, b"hello")], 20)
    kept.close()


def test_a_connection_that_goes_amid_a_change_has_changed_nothing(postgres: str) -> None:
    def end(_prefix: str) -> str:
        end_others(postgres)
        return "file-1"

    kept = Uploads.open(postgres, ids=end)
    with pytest.raises(DatabaseUnavailable, match="terminating connection"):
        put(kept)
    assert seen(kept) == ([], 0)
    kept.close()


def test_a_database_that_restarts_is_waited_for() -> None:
    with cluster_or_skip() as own:
        url = own.database()
        Engine.open(url).close()
        kept = Uploads.open(url)
        first = put(kept)
        own.stop("immediate")
        with ThreadPoolExecutor(1) as pool:
            content = pool.submit(kept.content, first.id)
            own.start()
            assert content.result() == b"hello"
        kept.close()


def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    pytest.importorskip("psycopg")
    kept = Uploads.open("postgresql://me:secret@127.0.0.1:1/state?sslpassword=secret")
    with pytest.raises(DatabaseUnavailable, match=r"me@127\.0\.0\.1:1/state") as raised:
        kept.list()
    assert "secret" not in str(raised.value)
