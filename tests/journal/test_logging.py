"""What the journal logs: a line when it opens, takes a snapshot, prunes or fails, and none for each command."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Engine
from vsbatch_core.errors import DatabaseUnavailable, OutcomeUnknown
from vsbatch_core.journal import sqlite
from vsbatch_core.journal.log import LogError


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "vsbatch_core.journal"):
        yield


def lines(caplog: pytest.LogCaptureFixture, path: Path) -> list[tuple[str, str]]:
    """Return level and message of what was logged since it was last asked, without path and figures of time."""
    found = []
    for record in caplog.records:
        assert record.name == "vsbatch_core.journal"
        place, _, message = record.getMessage().partition(": ")
        assert place == str(path)
        found.append((record.levelname, message.partition(", in ")[0]))
    caplog.clear()
    return found


def test_it_opens_takes_snapshots_and_prunes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    with Engine.open(f"sqlite:///{path}") as engine:
        assert lines(caplog, path) == [("INFO", "opened: the snapshot after frame 0 and 0 frames since")]
        for _ in range(5):
            engine.vector_stores.create()
        engine.vector_stores.list()
        assert lines(caplog, path) == []
        engine.compact()
        engine.vector_stores.create()
        (level, message), *more = lines(caplog, path)
        assert (level, more) == ("INFO", [])
        assert message.startswith("a snapshot after frame 5 was taken: ")
        assert message.endswith(" bytes")
        engine.compact()
        assert lines(caplog, path)[1:] == [("INFO", "frames 1 to 5 are pruned: a snapshot has them")]
        engine.vector_stores.create()
    with Engine.open(f"sqlite:///{path}"):
        assert lines(caplog, path) == [("INFO", "opened: the snapshot after frame 6 and 1 frames since")]


def test_a_damaged_snapshot_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    with Engine.open(f"sqlite:///{path}") as engine:
        engine.vector_stores.create()
        engine.compact()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE snapshots SET checksum = 0")
    lines(caplog, path)
    with Engine.open(f"sqlite:///{path}") as engine:
        assert len(engine.vector_stores.list().data) == 1
    (level, message), opened = lines(caplog, path)
    assert level == "WARNING"
    assert message.startswith("a damaged snapshot is passed over: the snapshot after frame 1: ")
    assert opened == ("INFO", "opened: the snapshot after frame 0 and 1 frames since")


@pytest.mark.parametrize(
    ("method", "unknown"), [("begin", False), ("append", False), ("commit", False), ("commit", True)]
)
def test_a_transaction_that_fails_is_a_warning_and_an_unknown_outcome_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, method: str, unknown: bool
) -> None:
    def fails(_self: object, *_: Any) -> Any:
        raise LogError("disk I/O error")

    path = tmp_path / "state.db"
    with Engine.open(f"sqlite:///{path}") as engine:
        lines(caplog, path)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite.SqliteLog, method, fails)
            if unknown:
                patch.setattr(sqlite.SqliteLog, "token", fails)
            with pytest.raises(OutcomeUnknown if unknown else DatabaseUnavailable):
                engine.vector_stores.create()
        expected = (
            ("ERROR", "nobody can tell whether frame 1 was committed: disk I/O error")
            if unknown
            else ("WARNING", "a transaction failed, and nothing has happened: disk I/O error")
        )
        assert lines(caplog, path) == [expected]
        engine.vector_stores.create()
