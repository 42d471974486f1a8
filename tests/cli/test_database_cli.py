"""``vsbatch database``: a database is checked, compacted, dumped and loaded, and what cannot be is told."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Engine
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli import main
from vsbatch_core.journal import exists, opened
from vsbatch_core.journal.log import FORMAT

from ..helpers.processes import Outputs, entry, finished

Run = Callable[..., Outputs]
New = Callable[[str], str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> Outputs:
        try:
            status: Any = main(["database", *argv])
        except SystemExit as ended:
            status = ended.code
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def kinds(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, New]:
    """By kind of database, what returns the URL of one that is not there."""
    monkeypatch.chdir(tmp_path)
    return {
        "SQLite": lambda name: f"sqlite:///{name}.db",
        "PostgreSQL": lambda _name: request.getfixturevalue("cluster").database(),
    }


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def new(request: pytest.FixtureRequest, kinds: dict[str, New]) -> New:
    return kinds[request.param]


@pytest.fixture
def url(new: New) -> str:
    """A database with two stores, a batch of three files, an uploaded file, and a snapshot in between."""
    return filled(new("state"))


def filled(url: str) -> str:
    with Engine.open(url) as engine:
        store = engine.vector_stores.create(name="docs")
        engine.vector_stores.file_batches.create(store.id, file_ids=["file-a", "file-b", "file-c"])
        engine.compact()
        engine.vector_stores.create()
        engine.processing.complete(store.id, "file-a", usage_bytes=5)
    uploads = Uploads.open(url)
    uploads.create(file=("a.txt", b"hello"), purpose="assistants")
    uploads.close()
    return url


def place(url: str) -> str:
    """The database as messages name it."""
    return url.removeprefix("sqlite:///")


def snapshot(url: str) -> Any:
    with Engine.open(url) as engine:
        return engine.snapshot()


def execute(url: str, statement: str) -> None:
    """Run a statement, which names tables as SQLite has them."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(place(url), isolation_level=None)) as connection:
            connection.execute(statement)
    else:
        import psycopg

        with psycopg.connect(url) as connection:
            connection.execute(f"SET search_path = vsbatch; {statement}".encode())


def test_check_says_what_is_there(url: str, run: Run) -> None:
    status, out, err = run("check", url)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:6] == [
        place(url),
        "  vector stores   2",
        "  file batches    1",
        "  files           3",
        "  uploaded files  1, 5 bytes",
        f"  frames          4, {lines[5].split()[2]} bytes",
    ]
    assert lines[6:] == [
        "  snapshot        after frame 2 and equal to what the frames lead to",
        "whole: every checksum is right, and every count is what the files say",
    ]


def test_check_of_a_new_database(new: New, run: Run) -> None:
    url = new("new")
    Engine.open(url).close()
    status, out, _ = run("check", url)
    assert (status, out.splitlines()[4:6]) == (0, ["  uploaded files  0", "  frames          0"])


@pytest.mark.parametrize(
    ("statement", "said", "end"),
    [
        (
            "UPDATE frames SET data = (SELECT data FROM frames WHERE seq = 3) WHERE seq = 2",
            "frame 2 does not have the checksum",
            "It can be opened",
        ),
        ("UPDATE snapshots SET checksum = 0", "the snapshot after frame 2 cannot be read", "It can be opened"),
        (
            "UPDATE frames SET checksum = 0 WHERE seq = 3",
            "frame 3 does not have the checksum",
            "It cannot be opened",
        ),
    ],
)
def test_check_names_what_is_damaged(url: str, run: Run, statement: str, said: str, end: str) -> None:
    execute(url, statement)
    status, out, err = run("check", url)
    assert (status, err) == (1, "")
    damage, last = out.splitlines()[-2:]
    assert damage.startswith(f"damaged: {said}")
    assert last.startswith(end)
    if end == "It can be opened":
        snapshot(url)


@pytest.mark.parametrize("other", ["SQLite", "PostgreSQL"])
def test_a_dump_loads_into_either_database_and_is_what_the_engine_held(
    url: str, kinds: dict[str, New], other: str, run: Run
) -> None:
    before, into = snapshot(url), kinds[other]("other")
    counted = "2 vector stores, 1 file batch, 3 files"
    left_out = f"vsbatch: the dump leaves out 1 uploaded file of {place(url)}\n"
    assert run("dump", url, "dump.json") == (0, f"dump.json: {counted} of {place(url)}\n", left_out)
    status, out, err = run("dump", url)
    assert (status, out, err) == (0, Path("dump.json").read_text(), left_out)
    assert json.loads(out) == before
    assert run("load", into, "dump.json") == (0, f"{place(into)}: {counted}\n", "")
    assert snapshot(into) == before
    status, _, err = run("load", into, "dump.json")
    assert (status, err.count(f"{place(into)}': it is not empty")) == (2, 1)
    assert run("check", into)[0] == 0


def test_a_dump_is_loaded_from_the_standard_input(
    url: str, new: New, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = run("dump", url)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
    other = new("other")
    assert run("load", other)[0] == 0
    assert snapshot(other) == snapshot(url)


def test_compact_changes_nothing_but_the_size(new: New, run: Run) -> None:
    url = new("state")
    with Engine.open(url, durability="normal") as engine:
        store = engine.vector_stores.create()
        for n in range(20):
            ids = [f"file-{n}-{i:040}" for i in range(500)]
            engine.vector_stores.file_batches.create(store.id, file_ids=ids)
        engine.vector_stores.delete(store.id)
        engine.compact()
        engine.vector_stores.create()
    uploads = Uploads.open(url)
    kept = uploads.create(file=("a.txt", b"hello"), purpose="assistants")
    uploads.delete(uploads.create(file=("b.txt", os.urandom(1 << 20)), purpose="assistants").id)
    uploads.close()
    before, size = snapshot(url), size_of(url)
    status, out, err = run("compact", url)
    assert (status, out, err) == (0, f"{place(url)}: {size:,} bytes before, {size_of(url):,} now\n", "")
    assert size_of(url) < size - (1 << 20)
    assert snapshot(url) == before
    assert uploads.content(kept.id) == b"hello"
    uploads.close()
    assert run("check", url)[0] == 0


def size_of(url: str) -> int:
    with opened(url) as (log, _):
        return log.bytes_on_disk()


def test_looking_makes_nothing_due(new: New, run: Run) -> None:
    url = new("state")
    with Engine.open(url) as engine:
        store = engine.vector_stores.create(file_ids=["file-a"])
        engine.processing.claim(worker="worker", lease_seconds=1e-6)
        version = engine.version(store.id)
    for action in ("check", "dump", "compact", "migrate"):
        assert run(action, url)[0] == 0
    with Engine.open(url) as engine:
        assert engine.version(store.id) == version


def test_migrate_says_that_nothing_is_to_be_done(url: str, run: Run) -> None:
    before = snapshot(url)
    said = f"{place(url)}: its format is {FORMAT}, that of this version: nothing is to be done\n"
    assert run("migrate", url) == (0, said, "")
    assert snapshot(url) == before


def test_a_database_of_an_older_version_is_refused_until_it_is_migrated(
    kinds: dict[str, New], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = filled(kinds["PostgreSQL"]("state"))
    before = snapshot(url)
    older = FORMAT - 1
    execute(url, "ALTER TABLE stores RENAME deleted TO gone")
    be_of_format(url, older)
    for action in ("check", "compact", "dump"):
        status, _, err = run(action, url)
        assert (status, err.count(f"vsbatch database migrate '{url}'")) == (2, 1)
    status, _, err = run("migrate", url)
    assert (status, err.count(f"its format is {older}, and no way leads from there to format {FORMAT}")) == (2, 1)
    from vsbatch_core.journal import postgres

    monkeypatch.setitem(postgres.MIGRATIONS, older, ("ALTER TABLE vsbatch.stores RENAME gone TO deleted",))
    said = f"{url}: its format is {FORMAT}, that of this version: it was brought there from format {older}\n"
    assert run("migrate", url) == (0, said, "")
    assert snapshot(url) == before
    be_of_format(url, FORMAT + 1)
    for action in ("check", "migrate"):
        status, _, err = run(action, url)
        assert (status, err.count(f"its format is {FORMAT + 1}")) == (2, 1)


def be_of_format(url: str, number: int) -> None:
    execute(url, f"UPDATE settings SET value = '{number}' WHERE name = 'format'")  # noqa: S608 - a number


@pytest.mark.parametrize("action", ["check", "compact", "dump", "migrate"])
def test_what_is_not_there_is_not_made_by_looking_for_it(new: New, run: Run, action: str) -> None:
    url = new("none")
    status, out, err = run(action, url)
    assert (status, out) == (2, "")
    assert err == f"vsbatch: there is no database '{place(url)}': give the URL of one that is there\n"
    assert not exists(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@127.0.0.1:1/state?sslpassword=secret",
        "postgres://me:secret@127.0.0.1:1/state?password=secret",
        "postgresql://me@127.0.0.1:1/state?passfile=/nowhere&password=secret",
        "postgresql+psycopg://me:secret@127.0.0.1:1/state",
        "postgresql://me:secret@127.0.0.1:one/state",
        "postgresql://me:secret%zz@127.0.0.1/state",
        "postgresql://me:secret@127.0.0.1/state?nothing=such",
        "postgresql://me:secret@[127.0.0.1/state",
        "postgresql://me:secret@[::127.0.0.1]state",
        "postgresql://me:sec/secret@127.0.0.1/state",
        "postgresql://me:sec?secret@127.0.0.1:1/state",
        "postgresql://me:s@secret@127.0.0.1:1/state",
        "mysql://me:secret@127.0.0.1/state",
        "me:secret@127.0.0.1/state",
    ],
)
@pytest.mark.parametrize("action", ["check", "load", "migrate"])
def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    url: str, action: str, run: Run, tmp_path: Path
) -> None:
    if url.startswith("postgres"):
        pytest.importorskip("psycopg")
    (tmp_path / "dump.json").write_text(json.dumps(Engine().snapshot()))
    status, out, err = run(action, url, *([str(tmp_path / "dump.json")] if action == "load" else []))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "secret" not in err
    assert "127.0.0.1" in err


def test_without_psycopg_it_says_how_to_have_it(tmp_path: Path) -> None:
    for argv in (
        ("database", "check", "postgresql:///state"),
        ("worker", "--database", "postgresql:///state"),
        ("serve", "--port", "0", "--database", "postgresql:///state"),
    ):
        status, out, err = finished(entry(*argv, hide="psycopg", cwd=tmp_path))
        assert (status, out) == (2, "")
        assert err.startswith("vsbatch: A PostgreSQL database needs psycopg: ")
        assert "pip install" in err


@pytest.fixture
def sqlite(kinds: dict[str, New]) -> str:
    return filled(kinds["SQLite"]("state"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["check", "sqlite:///none.db"], "there is no database 'none.db': give the URL of one that is there"),
        (["compact", "sqlite:///none.db"], "there is no database 'none.db'"),
        (["dump", "sqlite:///none.db"], "there is no database 'none.db'"),
        (["check", "state.db"], "its URL is not known. Give sqlite:///relative.db"),
        (["check", "sqlite:///state.db", "more"], "check takes no FILE, and 'more' is given: leave it out"),
        (["dump", "sqlite:///state.db", "nowhere/dump.json"], "cannot write 'nowhere/dump.json'"),
        (["load", "sqlite:///new.db", "nowhere.json"], "cannot load 'nowhere.json': No such file or directory"),
        (["load", "sqlite:///new.db", "state.db"], "cannot load 'state.db': it is not JSON"),
        (["load", "sqlite:///new.db", "list.json"], "Cannot read the snapshot: its 'format' must be"),
        (["check", "sqlite:///list.json"], "list.json"),
        (["mend", "sqlite:///state.db"], "invalid choice: 'mend'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_told_in_one_line_and_nothing_is_made(
    sqlite: str, run: Run, argv: list[str], said: str
) -> None:
    assert sqlite == "sqlite:///state.db"
    Path("list.json").write_text("[1, 2, 3]" + " " * 2000)
    status, out, err = run(*argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not Path("new.db").exists()
    assert not Path("none.db").exists()
