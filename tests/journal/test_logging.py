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
from vsbatch_core.journal.log import LogError

from ..helpers.databases import Where, url_of


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "vsbatch_core.journal"):
        yield


def lines(caplog: pytest.LogCaptureFixture, where: Where) -> list[tuple[str, str]]:
    """Return level and message of what was logged since it was last asked, without path and figures of time."""
    found = []
    for record in caplog.records:
        assert record.name == "vsbatch_core.journal"
        place, _, message = record.getMessage().partition(": ")
        assert place == str(where)
        found.append((record.levelname, message.partition(", in ")[0]))
    caplog.clear()
    return found


def test_it_opens_takes_snapshots_and_prunes(where: Where, caplog: pytest.LogCaptureFixture) -> None:
    with Engine.open(url_of(where)) as engine:
        assert lines(caplog, where) == [("INFO", "opened: the snapshot after frame 0 and 0 frames since")]
        for _ in range(5):
            engine.vector_stores.create()
        engine.vector_stores.list()
        assert lines(caplog, where) == []
        engine.compact()
        engine.vector_stores.create()
        (level, message), *more = lines(caplog, where)
        assert (level, more) == ("INFO", [])
        assert message.startswith("a snapshot after frame 5 was taken: ")
        assert message.endswith(" bytes")
        engine.compact()
        assert lines(caplog, where)[1:] == [("INFO", "frames 1 to 5 are pruned: a snapshot has them")]
        engine.vector_stores.create()
    with Engine.open(url_of(where)):
        assert lines(caplog, where) == [("INFO", "opened: the snapshot after frame 6 and 1 frames since")]


def test_a_damaged_snapshot_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = tmp_path / "state.db"
    with Engine.open(url_of(where)) as engine:
        engine.vector_stores.create()
        engine.compact()
    with closing(sqlite3.connect(where, isolation_level=None)) as connection:
        connection.execute("UPDATE snapshots SET checksum = 0")
    lines(caplog, where)
    with Engine.open(url_of(where)) as engine:
        assert len(engine.vector_stores.list().data) == 1
    (level, message), opened = lines(caplog, where)
    assert level == "WARNING"
    assert message.startswith("a damaged snapshot is passed over: the snapshot after frame 1: ")
    assert opened == ("INFO", "opened: the snapshot after frame 0 and 1 frames since")


@pytest.mark.parametrize(
    ("method", "unknown"), [("begin", False), ("append", False), ("commit", False), ("commit", True)]
)
def test_a_transaction_that_fails_is_a_warning_and_an_unknown_outcome_an_error(
    where: Where,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    unknown: bool,
    log_type: Any,
) -> None:
    def fails(_self: object, *_: Any, **_named: Any) -> Any:
        raise LogError("disk I/O error")

    with Engine.open(url_of(where)) as engine:
        lines(caplog, where)
        with monkeypatch.context() as patch:
            patch.setattr(log_type, method, fails)
            if unknown:
                patch.setattr(log_type, "token", fails)
            with pytest.raises(OutcomeUnknown if unknown else DatabaseUnavailable):
                engine.vector_stores.create()
        expected = (
            ("ERROR", "nobody can tell whether frame 1 was committed: disk I/O error")
            if unknown
            else ("WARNING", "a transaction failed, and nothing has happened: disk I/O error")
        )
        assert lines(caplog, where) == [expected]
        engine.vector_stores.create()
