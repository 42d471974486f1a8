"""A database that begins with the snapshot of another engine."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Engine, Profile, VirtualClock
from vsbatch_core.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    EventsForgotten,
    OutcomeUnknown,
    SnapshotError,
)
from vsbatch_core.journal.log import LogError

from ..helpers.databases import Where, url_of


@pytest.fixture
def url(where: Where) -> str:
    return url_of(where)


@pytest.fixture
def snapshot() -> dict[str, Any]:
    engine = Engine(clock=VirtualClock(), profile=Profile(cancel="drain"))
    stores = [engine.vector_stores.create(name=str(n)) for n in range(4)]
    engine.vector_stores.delete(stores[1].id)
    engine.vector_stores.file_batches.create(stores[2].id, file_ids=["file-a", "file-b"])
    engine.processing.complete(stores[2].id, "file-a", usage_bytes=5)
    made: dict[str, Any] = json.loads(json.dumps(engine.snapshot()))
    return made


def test_what_drains_and_nobody_holds_there_ends_when_somebody_looks(url: str) -> None:
    first = Engine(clock=VirtualClock(), profile=Profile(cancel="drain"))
    store = first.vector_stores.create()
    batch = first.vector_stores.file_batches.create(store.id, file_ids=["file-a", "file-b"])
    first.processing.claim(worker="worker-1")
    first.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    made: dict[str, Any] = json.loads(json.dumps(first.snapshot()))
    with Engine.open(url, snapshot=made, clock=VirtualClock()) as engine:
        ended = engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)
        assert (ended.status, ended.file_counts.cancelled) == ("cancelled", 2)
        engine.check()


def test_it_holds_what_that_engine_held_and_goes_on_from_there(url: str, snapshot: dict[str, Any]) -> None:
    with Engine.open(url, snapshot=snapshot, clock=VirtualClock()) as engine:
        assert engine.snapshot() == snapshot
        assert engine.profile == Profile(cancel="drain")
        (store,) = [each for each in engine.vector_stores.list() if each.name == "2"]
        heard: list[Any] = []
        engine.follow(heard.append, store.id, after=engine.version(store.id))
        engine.processing.complete(store.id, "file-b", usage_bytes=6)
        engine.vector_stores.create(name="new")
        engine.vector_stores.delete(store.id)
        assert [type(each).__name__ for each in heard] == ["FileCompleted", "VectorStoreDeleted"]
        after = engine.snapshot()
        engine.compact()
    for _ in range(2):
        with Engine.open(url) as engine:
            engine.check()
            assert engine.snapshot() == after
            engine.compact()


def test_events_before_the_snapshot_are_forgotten_and_those_since_are_there(url: str, snapshot: Any) -> None:
    with Engine.open(url, snapshot=snapshot, clock=VirtualClock()) as engine:
        (store,) = [each for each in engine.vector_stores.list() if each.name == "2"]
        version = engine.version(store.id)
        assert list(engine.events(store.id, after=version)) == []
        with pytest.raises(EventsForgotten):
            list(engine.events(store.id, after=version - 1))
        engine.vector_stores.update(store.id, name="again")
        assert [event.version for event in engine.events(store.id, after=version)] == [version + 1]
        with pytest.raises(EventsForgotten):
            list(engine.events(store.id, after=version - 1))


def test_a_database_that_is_not_empty_is_refused_and_left_as_it_is(url: str, snapshot: Any) -> None:
    with Engine.open(url, profile=Profile(cancel="drain")) as engine:
        engine.vector_stores.create()
        before = engine.snapshot()
    with pytest.raises(DatabaseRefused, match=r"': it is not empty.*Give another path"):
        Engine.open(url, snapshot=snapshot)
    with Engine.open(url) as engine:
        assert engine.snapshot() == before


def test_an_empty_database_of_another_profile_is_refused_unless_that_is_asked_for(
    url: str, snapshot: Any
) -> None:
    Engine.open(url, profile=Profile()).close()
    with pytest.raises(DatabaseRefused, match="cancel is 'immediate' there and 'drain' here"):
        Engine.open(url, snapshot=snapshot)
    with Engine.open(url, snapshot=snapshot, profile=Profile()) as engine:
        assert engine.snapshot()["vector_stores"] == snapshot["vector_stores"]


def test_what_is_no_snapshot_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError):
        Engine.open(url_of(tmp_path / "a.db"), snapshot={"format": "another"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("method", "error"), [("put", DatabaseUnavailable), ("commit", OutcomeUnknown)])
def test_a_failure_leaves_the_database_empty_or_says_that_nobody_can_tell(
    url: str, snapshot: Any, monkeypatch: pytest.MonkeyPatch, method: str, error: Any, log_type: Any
) -> None:
    def fails(_self: object, *_: object) -> None:
        raise LogError("disk I/O error")

    Engine.open(url, profile=Profile(cancel="drain")).close()
    with monkeypatch.context() as patch:
        patch.setattr(log_type, method, fails)
        with pytest.raises(error, match="disk I/O error"):
            Engine.open(url, snapshot=snapshot)
    with Engine.open(url, snapshot=snapshot) as engine:
        assert engine.snapshot() == snapshot


def test_after_a_refusal_nothing_is_open(tmp_path: Path, snapshot: Any) -> None:
    url = url_of(tmp_path / "a.db")
    with Engine.open(url, snapshot=snapshot):
        pass
    with pytest.raises(DatabaseRefused):
        Engine.open(url, snapshot=snapshot)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("DELETE FROM frames")
    connection.close()
