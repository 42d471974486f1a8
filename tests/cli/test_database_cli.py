"""``vsbatch database``: a database is checked, compacted, dumped and loaded, and what cannot be is told."""

from __future__ import annotations

import io
import json
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

from ..helpers.processes import Outputs

Run = Callable[..., Outputs]


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
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with two stores, a batch of three files, an uploaded file, and a snapshot in between."""
    monkeypatch.chdir(tmp_path)
    with Engine.open("sqlite:///state.db") as engine:
        store = engine.vector_stores.create(name="docs")
        engine.vector_stores.file_batches.create(store.id, file_ids=["file-a", "file-b", "file-c"])
        engine.compact()
        engine.vector_stores.create()
        engine.processing.complete(store.id, "file-a", usage_bytes=5)
    uploads = Uploads.open("sqlite:///state.db")
    uploads.create(file=("a.txt", b"hello"), purpose="assistants")
    uploads.close()
    return "sqlite:///state.db"


def snapshot(url: str) -> Any:
    with Engine.open(url) as engine:
        return engine.snapshot()


def test_check_says_what_is_there(url: str, run: Run) -> None:
    status, out, err = run("check", url)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:6] == [
        "state.db",
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


def test_check_of_a_new_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    Engine.open("sqlite:///new.db").close()
    status, out, _ = run("check", "sqlite:///new.db")
    assert (status, out.splitlines()[4:6]) == (0, ["  uploaded files  0", "  frames          0"])


@pytest.mark.parametrize(
    ("statement", "said", "end"),
    [
        (
            "UPDATE frames SET data = x'00' WHERE seq = 2",
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
    with closing(sqlite3.connect("state.db", isolation_level=None)) as connection:
        connection.execute(statement)
    status, out, err = run("check", url)
    assert (status, err) == (1, "")
    damage, last = out.splitlines()[-2:]
    assert damage.startswith(f"damaged: {said}")
    assert last.startswith(end)
    if end == "It can be opened":
        snapshot(url)


def test_a_dump_loads_and_is_what_the_engine_held(url: str, run: Run) -> None:
    before = snapshot(url)
    counted = "2 vector stores, 1 file batch, 3 files"
    left_out = "vsbatch: the dump leaves out 1 uploaded file of state.db\n"
    assert run("dump", url, "dump.json") == (0, f"dump.json: {counted} of state.db\n", left_out)
    status, out, err = run("dump", url)
    assert (status, out, err) == (0, Path("dump.json").read_text(), left_out)
    assert json.loads(out) == before
    assert run("load", "sqlite:///other.db", "dump.json") == (0, f"other.db: {counted}\n", "")
    assert snapshot("sqlite:///other.db") == before
    status, _, err = run("load", "sqlite:///other.db", "dump.json")
    assert (status, err.count("other.db': it is not empty")) == (2, 1)
    assert run("check", "sqlite:///other.db")[0] == 0


def test_a_dump_is_loaded_from_the_standard_input(url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = run("dump", url)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
    assert run("load", "sqlite:///other.db")[0] == 0
    assert snapshot("sqlite:///other.db") == snapshot(url)


def test_compact_changes_nothing_but_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    with Engine.open("sqlite:///state.db", durability="normal") as engine:
        store = engine.vector_stores.create()
        for n in range(20):
            ids = [f"file-{n}-{i:040}" for i in range(500)]
            engine.vector_stores.file_batches.create(store.id, file_ids=ids)
        engine.vector_stores.delete(store.id)
        engine.compact()
        engine.vector_stores.create()
    before, size = snapshot("sqlite:///state.db"), Path("state.db").stat().st_size
    status, out, err = run("compact", "sqlite:///state.db")
    now = Path("state.db").stat().st_size
    assert (status, out, err) == (0, f"state.db: {size:,} bytes before, {now:,} now\n", "")
    assert now < size
    assert snapshot("sqlite:///state.db") == before
    assert run("check", "sqlite:///state.db")[0] == 0


def test_looking_makes_nothing_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    with Engine.open("sqlite:///state.db") as engine:
        store = engine.vector_stores.create(file_ids=["file-a"])
        engine.processing.claim(worker="worker", lease_seconds=1e-6)
        version = engine.version(store.id)
    for action in ("check", "dump", "compact"):
        assert run(action, "sqlite:///state.db")[0] == 0
    with Engine.open("sqlite:///state.db") as engine:
        assert engine.version(store.id) == version


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
    url: str, run: Run, argv: list[str], said: str
) -> None:
    assert url == "sqlite:///state.db"
    Path("list.json").write_text("[1, 2, 3]" + " " * 2000)
    status, out, err = run(*argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not Path("new.db").exists()
    assert not Path("none.db").exists()
