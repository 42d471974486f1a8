"""Uploads in the database of an engine: they last, all processes see them, and failures are told as they are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Engine, VirtualClock
from vsbatch_core.adapters import stored_uploads
from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.refusals import UploadNotFound
from vsbatch_core.adapters.uploads import FileObject, Uploads
from vsbatch_core.errors import DatabaseRefused, DatabaseUnavailable, OutcomeUnknown, UnknownCursor
from vsbatch_core.model import Limits

from ..helpers.processes import posix
from ..helpers.strategies import START, CountingIds


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path / 'state.db'}"
    Engine.open(made).close()
    return made


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
        assert seen(each) == ([(second, b"bytes"), (first, b"hello")], 10)
        assert each.file_size(first.id) == 5
    other.delete(first.id)
    for each in (one, other, opened()):
        assert seen(each) == ([(second, b"bytes")], 5)
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


def test_a_url_of_another_database_is_refused_at_once() -> None:
    with pytest.raises(DatabaseRefused, match="its URL is not known"):
        Uploads.open("postgresql:///state")


# What fails


class Failing:
    """A connection: ``fails`` says of a statement what is raised before it, or after it if ``late``."""

    def __init__(self, connection: sqlite3.Connection, fails: Callable[[str], bool], *, late: bool) -> None:
        self._connection, self._fails, self._late = connection, fails, late

    def execute(self, statement: str, *arguments: Any) -> Any:
        if self._late:
            found = self._connection.execute(statement, *arguments)
        if self._fails(statement):
            raise sqlite3.OperationalError("disk I/O error")
        return found if self._late else self._connection.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the connections that are opened from now on fail at these statements, one for each connection."""

    def plant(*statements: str, late: bool = False) -> None:
        left = list(statements)
        connected = stored_uploads.connected

        def connect(*arguments: Any) -> Any:
            connection = connected(*arguments)
            if not left:
                return connection
            bad = left.pop(0)
            return Failing(connection, lambda statement: statement.strip().startswith(bad), late=late)

        monkeypatch.setattr(stored_uploads, "connected", connect)

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
        assert seen(opened()) == ([(there, b"hello")], 5)
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
    failing("COMMIT", "SELECT")
    with pytest.raises(OutcomeUnknown, match=r"state\.db.*disk I/O error"):
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
    failing("SELECT")
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
    url: str, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened())
    monkeypatch.setattr(stored_uploads, "BUSY_SECONDS", 0.01)
    kept = opened()
    with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked"):
            put(kept)
        assert len(kept.list().data) == 1
        other.execute("ROLLBACK")
    other.close()
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
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[sqlite3.Connection] = []
    connected = stored_uploads.connected

    def connect(*arguments: Any) -> sqlite3.Connection:
        made.append(connected(*arguments))
        return made[-1]

    monkeypatch.setattr(stored_uploads, "connected", connect)
    kept = Uploads.open(url)
    first = put(kept)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child process
    assert kept.list().data == (first,)
    kept.close()
    inherited, _ = made
    assert inherited.execute("SELECT 1").fetchone() == (1,)
    inherited.close()
