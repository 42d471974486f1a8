"""The proof of a database: what is whole is said to be, and whatever is damaged is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Completed, Engine, Failed, Profile, Retry, VirtualClock, errors
from vsbatch_core.journal import opened, proved
from vsbatch_core.journal.log import Frame, LogError
from vsbatch_core.journal.proof import Found
from vsbatch_core.journal.sqlite import SqliteLog


def shown(_done: int, _total: int) -> None:
    return


def prove(url: str) -> Found:
    return proved(url, shown)


def vacuum(url: str) -> None:
    with opened(url) as (log, _):
        log.vacuum()


def changed(url: str, statement: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount > 0


COMMANDS = (
    "create",
    "attach",
    "claim",
    "finish",
    "fail",
    "release",
    "beat",
    "cancel",
    "delete",
    "wait",
    "compact",
)


@given(st.lists(st.sampled_from(COMMANDS), max_size=40), st.sampled_from(("immediate", "drain")))
def test_whatever_an_engine_did_the_log_leads_to_its_snapshots(
    tmp_path_factory: pytest.TempPathFactory, commands: list[str], cancel: Any
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('proof') / 'state.db'}"
    clock = VirtualClock()
    options: dict[str, Any] = {"clock": clock, "retry": Retry(attempts=2, backoff=1.0)}
    with Engine.open(url, durability="normal", profile=Profile(cancel=cancel), **options) as engine:
        stores, batches = [engine.vector_stores.create()], []
        for n, command in enumerate(commands):
            store = stores[n % len(stores)]
            processing = engine.processing
            try:
                if command == "create":
                    stores.append(
                        engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
                    )
                elif command == "attach":
                    ids = [f"file-{n % 5}", f"file-{n}"]
                    batches.append(engine.vector_stores.file_batches.create(store.id, file_ids=ids))
                elif command == "claim":
                    processing.claim(2, worker="worker", lease_seconds=5.0)
                elif command in ("finish", "fail", "release", "beat"):
                    claims = held(engine)
                    if command == "finish":
                        processing.finish([Completed(claim, n) for claim in claims])
                    elif command == "fail":
                        processing.finish([Failed(claim, retry=n % 2 == 0) for claim in claims])
                    elif command == "release":
                        processing.release(claims[:1])
                    else:
                        processing.heartbeat(claims)
                elif command == "cancel" and batches:
                    batch = batches[n % len(batches)]
                    engine.vector_stores.file_batches.cancel(batch.id, vector_store_id=batch.vector_store_id)
                elif command == "delete" and len(stores) > 1:
                    engine.vector_stores.delete(stores.pop(n % len(stores)).id)
                elif command == "wait":
                    clock.advance(40_000.0)
                elif command == "compact":
                    engine.compact()
            except (errors.VectorStoreExpired, errors.NotFound):
                pass  # refused: nothing has happened, and the log has nothing of it
        engine.compact()
        found = prove(url)
        held_at_the_end = engine.snapshot()
    assert (found.damage, found.whole) == ([], True)
    assert found.compared == found.snapshots[-1:] or found.compared == found.snapshots
    here = [store for store in held_at_the_end["vector_stores"] if "deleted" not in store]
    assert found.stores == len(here)
    assert found.batches == sum(len(store["file_batches"]) for store in here)
    with Engine.open(url, **options) as engine:
        assert engine.snapshot() == held_at_the_end


def held(engine: Engine) -> list[Any]:
    found = [
        engine.view.claim(file.vector_store_id, file.attachment)
        for file in engine.processing.pending()
        if file.attachment is not None
    ]
    return [claim for claim in found if claim is not None]


# What is damaged


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with frames 1 to 12, a snapshot after 4 and one after 8, and all frames from 5 on."""
    made = f"sqlite:///{tmp_path / 'state.db'}"
    with Engine.open(made) as engine:
        for n in range(12):
            engine.vector_stores.create(name=str(n))
            if n in (3, 7):
                engine.compact()
    return made


def test_a_whole_database_is_compared_and_counted(url: str) -> None:
    seen = []
    found = proved(url, lambda done, total: seen.append((done, total)))
    assert seen == [(n, 8) for n in range(1, 9)]
    assert (found.damage, found.whole, found.frames) == ([], True, 8)
    assert (found.snapshots, found.compared, found.stores) == ([4, 8], [8], 12)
    assert found.frame_bytes > 8


def test_a_new_database_is_whole(tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path / 'state.db'}"
    Engine.open(made).close()
    assert prove(made) == Found(whole=True)


def test_without_snapshots_all_is_built_from_the_first_frame(url: str, tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path / 'other.db'}"
    with Engine.open(made) as engine:
        store = engine.vector_stores.create(file_ids=["file-a"])
        engine.processing.complete(store.id, "file-a")
        found = prove(made)
        assert (found.damage, found.whole, found.frames, found.files) == ([], True, 2, 1)
        engine.compact()
    assert prove(made).compared == [2]
    assert prove(url).compared == [8]


FRAME = "does not have the checksum that was written with it"
SNAPSHOT = "cannot be read: it does not have the checksum that was written with it"


@pytest.mark.parametrize(
    ("statement", "damage", "whole"),
    [
        ("UPDATE frames SET data = x'00' WHERE seq = 6", [f"frame 6 {FRAME}"], True),
        ("UPDATE frames SET token = token + 1 WHERE seq = 11", [f"frame 11 {FRAME}"], False),
        ("UPDATE frames SET checksum = 0 WHERE seq IN (6, 10)", [f"frame 6 {FRAME}", f"frame 10 {FRAME}"], False),
        ("DELETE FROM frames WHERE seq = 6", ["frame 6 is missing"], True),
        ("DELETE FROM frames WHERE seq = 5", ["frame 5 is missing"], True),
        ("DELETE FROM frames WHERE seq = 8", ["frame 8 is missing"], True),
        ("DELETE FROM frames WHERE seq = 9", ["frame 9 is missing"], False),
        ("DELETE FROM frames WHERE seq IN (6, 10)", ["frame 6 is missing", "frame 10 is missing"], False),
        ("DELETE FROM frames", ["frame 5 is missing", "frame 9 is missing"], False),
        ("DELETE FROM snapshots", ["frame 1 is missing"], False),
        (
            "UPDATE snapshots SET data = x'00' WHERE seq = 8",
            [f"the snapshot after frame 8 {SNAPSHOT}"],
            True,
        ),
        (
            "UPDATE snapshots SET data = x'00' WHERE seq = 4",
            [f"the snapshot after frame 4 {SNAPSHOT}"],
            True,
        ),
        (
            "UPDATE snapshots SET checksum = 0",
            [
                f"the snapshot after frame 4 {SNAPSHOT}",
                f"the snapshot after frame 8 {SNAPSHOT}",
            ],
            False,
        ),
    ],
)
def test_what_is_damaged_is_named_and_whether_the_rest_is_enough(
    url: str, statement: str, damage: list[str], whole: bool
) -> None:
    changed(url, statement)
    found = prove(url)
    assert (found.damage, found.whole) == (damage, whole)


def test_a_snapshot_with_a_right_checksum_and_wrong_contents_is_found_out(url: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with Engine.open(other) as engine:
        for n in range(8):
            engine.vector_stores.create(name=f"other {n}")
        engine.compact()
    changed(url, "DELETE FROM snapshots WHERE seq = 8")
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        connection.execute("INSERT INTO snapshots SELECT * FROM other.snapshots")
    found = prove(url)
    assert found.damage == ["the snapshot after frame 8 is not what the frames before it lead to"]


def test_a_frame_that_cannot_follow_is_named(url: str, tmp_path: Path) -> None:
    frame = Frame.of(5, 1, b"\xff")  # no entry begins so
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        connection.execute("REPLACE INTO frames VALUES (?, ?, ?, ?)", frame)
    found = prove(url)
    assert [each.partition(": ")[0] for each in found.damage] == ["frame 5 cannot follow the one before"]
    assert found.whole


def test_counts_that_contradict_the_files_are_damage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(_self: object, *_: object) -> None:
        raise errors.Inconsistent("the order of the vector stores", 1, 2)

    monkeypatch.setattr("vsbatch_core.journal.replica.Replica.check", check)
    found = prove(url)
    assert ["the order of the vector stores" in each for each in found.damage] == [True]


# What is around


def test_others_write_while_a_database_is_proved_and_what_they_append_is_left_out(url: str) -> None:
    with Engine.open(url) as other:
        found = proved(url, lambda _done, _total: other.vector_stores.create() and other.compact())
    assert (found.damage, found.frames, found.stores) == ([], 8, 12)
    assert prove(url).stores == 20


def test_a_database_that_cannot_be_read_is_told(url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("DROP TABLE frames")
    with pytest.raises(errors.VsbatchError, match=r"state\.db"):
        prove(url)


def test_a_database_that_fails_while_it_is_read_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_self: object) -> None:
        raise LogError("disk I/O error")

    for method, act in (("size", lambda: prove(url)), ("vacuum", lambda: vacuum(url))):
        with monkeypatch.context() as patch:
            patch.setattr(SqliteLog, method, fails)
            with pytest.raises(errors.DatabaseUnavailable, match=r"state\.db.*disk I/O error"):
                act()
    assert prove(url).whole


def test_vacuum_gives_back_the_space_of_what_was_pruned(tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path / 'state.db'}"
    with Engine.open(made, durability="normal") as engine:
        store = engine.vector_stores.create()
        ids = [f"file-{n:032}" for n in range(2000)]
        for _ in range(10):
            engine.vector_stores.file_batches.create(store.id, file_ids=ids)
        engine.vector_stores.delete(store.id)
        for _ in range(2):
            engine.vector_stores.create()
            engine.compact()
        held_before = engine.snapshot()
    before = (tmp_path / "state.db").stat().st_size
    with opened(made) as (log, _):
        assert log.bytes_on_disk() == before
        log.vacuum()
        assert log.bytes_on_disk() == (tmp_path / "state.db").stat().st_size < before / 2
    with Engine.open(made) as engine:
        assert engine.snapshot() == held_before
