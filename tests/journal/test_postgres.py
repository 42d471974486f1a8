"""What is PostgreSQL's alone: opening, other clocks, connections that end, and databases that lose something."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from threading import Barrier, Event, Thread, Timer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Claim, Completed, Engine, Profile, SequentialIds, VectorStoreFile, VsbatchError, events
from vsbatch_core.errors import ClaimLost, DatabaseDamaged, DatabaseRefused, DatabaseUnavailable, OutcomeUnknown
from vsbatch_core.journal import connect, migrate, proved
from vsbatch_core.journal.log import FORMAT, Frame, LogError, Snapshot, checksum, without_password

from ..helpers.brief import BRIEF
from ..helpers.databases import LOGS, filled, hops, once_before, opened, store_id
from ..helpers.postgres import Cluster, cluster_or_skip, run
from ..helpers.processes import SEARCH, entry, finished
from ..helpers.proxy import FAULTS, Proxy

__all__ = ["hops"]  # a fixture

if len(LOGS) == 1:
    pytest.skip("psycopg is not here", allow_module_level=True)

from vsbatch_core.journal import postgres
from vsbatch_core.journal.postgres import DatabaseClock, PostgresLog


def refused(error: type[VsbatchError], url: str, **options: Any) -> str:
    """Return what opening a database is refused with."""
    with pytest.raises(error) as raised:
        Engine.open(url, **options)
    return str(raised.value)


def threads(n: int, act: Callable[[int], object]) -> None:
    """Call ``act`` in so many threads, all of which must return."""
    failed: list[BaseException] = []

    def one(i: int) -> None:
        try:
            act(i)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    running = [Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
        assert not thread.is_alive()
    assert not failed, failed


def names(engine: Engine) -> list[str]:
    return sorted(store.name for store in engine.vector_stores.list(limit=100) if store.name)


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process, and talk to it through pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SEARCH},
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# Opening


def test_many_that_open_a_new_database_at_once_make_it_once(database: str) -> None:
    together = Barrier(8)

    def one(_: int) -> None:
        together.wait()
        with opened(database) as engine:
            engine.vector_stores.create()

    threads(8, one)
    assert run(database, "SELECT seq FROM vsbatch.head") == [(8,)]
    with opened(database) as engine:
        assert len(engine.vector_stores.list().data) == 8


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE TABLE vsbatch.others (n int)",
        "CREATE TABLE vsbatch.settings (key text)",
        "CREATE TABLE vsbatch.settings (name text, value text)",
        "CREATE TABLE vsbatch.settings (name, value) AS VALUES ('format', 'html')",
    ],
)
def test_a_schema_of_another_program_is_left_alone(database: str, tables: str) -> None:
    run(database, "CREATE SCHEMA vsbatch")
    run(database, tables)
    assert "is that of another program. Give the URL of another database" in refused(DatabaseRefused, database)
    with pytest.raises(DatabaseRefused, match="is that of another program"):
        migrate(database)
    assert len(run(database, "SELECT FROM pg_tables WHERE schemaname = 'vsbatch'")) == 1


def test_a_role_that_may_use_an_empty_schema_of_its_own_needs_no_right_to_make_one(database: str) -> None:
    run(database, "CREATE ROLE modest LOGIN")
    run(database, "CREATE SCHEMA vsbatch AUTHORIZATION modest")
    with opened(database.replace("vsbatch@", "modest@")) as engine:
        assert engine.vector_stores.create()


def test_a_role_that_may_not_read_the_tables_is_told(database: str) -> None:
    opened(database).close()
    run(database, "CREATE ROLE stranger LOGIN")
    message = refused(DatabaseUnavailable, database.replace("vsbatch@", "stranger@"))
    assert "permission denied for schema vsbatch" in message


def test_a_newer_format_is_refused_and_an_older_one_with_the_line_that_migrates_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(database) as engine:
        before = engine.snapshot()
    assert migrate(database) == (FORMAT, FORMAT)
    run(database, "UPDATE vsbatch.settings SET value = '2' WHERE name = 'format'")
    assert "Open it with the version that wrote it" in refused(DatabaseRefused, database)
    with pytest.raises(DatabaseRefused, match="its format is 2, and no way leads from there to format 1"):
        migrate(database)

    run(database, "ALTER TABLE vsbatch.frames RENAME data TO bytes")
    run(database, "UPDATE vsbatch.settings SET value = '0' WHERE name = 'format'")
    message = refused(DatabaseRefused, database)
    assert f"Bring it to that: vsbatch database migrate '{database}'" in message
    with pytest.raises(DatabaseRefused, match="no way leads"):
        migrate(database)
    monkeypatch.setitem(postgres.MIGRATIONS, 0, ("ALTER TABLE vsbatch.frames RENAME bytes TO data", "SELECT 1/0"))
    with pytest.raises(DatabaseUnavailable, match="division by zero"):
        migrate(database)
    monkeypatch.setitem(postgres.MIGRATIONS, 0, ("ALTER TABLE vsbatch.frames RENAME bytes TO data",))
    assert migrate(database) == (0, FORMAT)
    with opened(database) as engine:
        assert engine.snapshot() == before


def test_where_nothing_is_nothing_is_migrated(database: str) -> None:
    with pytest.raises(DatabaseRefused, match="there is nothing in it that could be migrated"):
        migrate(database)
    assert run(database, "SELECT FROM pg_namespace WHERE nspname = 'vsbatch'") == []


def test_another_profile_is_refused(database: str) -> None:
    opened(database, profile=Profile(cancel="drain")).close()
    assert "cancel is 'drain' there and 'immediate' here" in refused(DatabaseRefused, database, profile=Profile())
    with opened(database) as engine:
        assert engine.profile == Profile(cancel="drain")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("ALTER TABLE vsbatch.parts DROP COLUMN version", "its tables are not those that were made"),
        (
            "UPDATE vsbatch.settings SET value = '{}' WHERE name = 'profile'",
            "its profile does not have the checksum",
        ),
        ("DELETE FROM vsbatch.head", "its head is gone"),
        ("DELETE FROM vsbatch.frames WHERE seq = 4", "frame 4 is missing"),
        ("UPDATE vsbatch.frames SET data = data || 'x' WHERE seq = 4", "frame 4 does not have the checksum"),
        ("DELETE FROM vsbatch.frames WHERE seq > 9", "frame 10 is missing"),
    ],
)
def test_a_damaged_database_is_named_with_what_is_damaged(database: str, damage: str, what: str) -> None:
    filled(database).close()
    run(database, damage)
    assert what in refused(DatabaseDamaged, database)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM vsbatch.head", "its head is gone"),
        ("DROP SCHEMA vsbatch CASCADE", "does not exist"),
        ("UPDATE vsbatch.head SET seq = 5", "its head is frame 5, and frame 12 cannot follow it"),
        (
            "DELETE FROM vsbatch.frames WHERE seq > 3; UPDATE vsbatch.head SET seq = 20",
            "frame 20, and frame 12 cannot follow it|frame 4 is missing",
        ),
    ],
)
def test_what_is_damaged_while_an_engine_is_open_is_named_by_the_next_command(
    database: str, damage: str, what: str
) -> None:
    with filled(database) as engine:
        assert run(database, "SELECT seq FROM vsbatch.head") == [(11,)]
        run(database, damage)
        for _ in range(2):
            with pytest.raises(DatabaseDamaged, match=what):
                engine.vector_stores.create()


def test_what_is_read_of_a_database_without_a_head_is_refused(database: str) -> None:
    with filled(database) as engine:
        run(database, "DELETE FROM vsbatch.head")
        with pytest.raises(DatabaseDamaged, match="its head is gone"):
            engine.vector_stores.list()


# URLs


SECRETS = ("qxzj", "qx/zj", "qx@zj", "qx:zj", "qx%zj", "qx#zj", "qx?zj", "qx zj", "qx[zj", "qx@zj:1/")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        "postgresql://user:{}@/none?host=/no/such/folder",
        "postgresql://user:{}@[::1",
        "postgres://user:{}@127.0.0.1:1/none",
        "postgresql+psycopg://user@/none?host=/no/such/folder&password={}",
        "postgresql://user@/none?host=/no/such/folder&sslpassw%6Frd={}&nonsense",
        "mysql://user:{}@localhost/none",
    ],
)
def test_a_password_is_in_no_message_whatever_characters_it_has(form: str, secret: str) -> None:
    url = form.format(secret)
    with pytest.raises((DatabaseRefused, DatabaseUnavailable)) as raised:
        Engine.open(url)
    shown = "".join(traceback.format_exception(raised.value))
    assert "qx" not in shown
    assert "zj" not in shown
    assert "://user@" in str(raised.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://user:secret@host:5432/db", "postgresql://user@host:5432/db"),
        ("postgresql://user@host:5432/db?sslmode=require", "postgresql://user@host:5432/db?sslmode=require"),
        ("postgresql://host1:1,host2:2/db", "postgresql://host1:1,host2:2/db"),
        ("postgresql:///db?host=%2Ftmp%2Fa%20b&password=x", "postgresql:///db?host=%2Ftmp%2Fa%20b"),
        ("postgresql:///db?password=x", "postgresql:///db"),
        ("postgresql://u@%2Ftmp/db?options=-c%20a%3Db", "postgresql://u@%2Ftmp/db?options=-c%20a%3Db"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("user:secret@host/db", "user@host/db"),
    ],
)
def test_a_url_without_its_password_is_what_it_was(url: str, place: str) -> None:
    assert without_password(url) == place


def test_a_url_that_cannot_be_read_is_named_with_why() -> None:
    message = refused(DatabaseRefused, "postgresql://host/db?nonsense=1")
    assert "'postgresql://host/db?nonsense=1'" in message
    assert 'invalid URI query parameter: "nonsense"' in message
    assert "Write what is neither letter nor digit" in refused(DatabaseRefused, "postgresql://u:a%b@host/db")


def test_a_server_or_a_database_that_is_not_there_is_named(cluster: Cluster) -> None:
    assert "No such file or directory" in refused(DatabaseUnavailable, "postgresql://%2Fno%2Fsuch%2Ffolder/db")
    assert 'database "none" does not exist' in refused(DatabaseUnavailable, cluster.url("none"))


def test_without_psycopg_the_line_that_installs_it_is_named() -> None:
    start = "import sys; sys.modules['psycopg'] = None; from vsbatch_core import Engine; Engine.open(sys.argv[1])"
    status, _, error = finished(entry("postgresql:///db", start=start))
    assert status == 1
    assert "ImportError: A PostgreSQL database needs psycopg: " in error
    assert "[postgres]" in error


def test_arguments_that_are_not_known_are_refused() -> None:
    with pytest.raises(ValueError, match="reads must be 'fresh' or 'local', not 'dirty'"):
        Engine.open("postgresql:///db", reads="dirty")  # type: ignore[arg-type]


# Settings of a connection


@pytest.mark.parametrize(
    ("durability", "server", "found"),
    [("full", "on", "on"), ("full", "off", "on"), ("full", "local", "local"), ("normal", "on", "off")],
)
def test_durability_is_what_the_server_waits_for(database: str, durability: Any, server: str, found: str) -> None:
    log = connect(f"{database}?options=-c%20synchronous_commit%3D{server}", None, durability).connect()
    assert log._one("SHOW synchronous_commit") == found  # type: ignore[attr-defined]
    log.close()


def test_a_connection_whose_settings_cannot_be_made_is_closed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "NOW", "1/0")
    assert "division by zero" in refused(DatabaseUnavailable, database)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    while run(database, f"SELECT FROM pg_stat_activity WHERE {others}"):
        Event().wait(0.01)


def test_names_of_any_characters_are_written_whatever_the_server_takes_for_an_escape(database: str) -> None:
    url = f"{database}?options=-c%20standard_conforming_strings%3Doff"
    odd = iter(["a\0b", "it's", "back\\slash", "\\x41", "ä☃"])
    with opened(url, ids=lambda prefix: prefix + next(odd)) as engine:
        for _ in range(5):
            engine.vector_stores.create()
        engine.compact()
        before = engine.snapshot()
    with opened(database) as engine:
        assert engine.snapshot() == before
        assert [id.partition("_")[2] for id in engine.view.vector_store_ids()] == [
            *("a\0b", "it's", "back\\slash", "\\x41", "ä☃")
        ]


# Reads


def test_a_read_may_be_late_where_reads_are_local_and_nothing_else_may(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCAL_SECONDS", 1000.0)
    with opened(database) as fresh, opened(database, reads="local") as local:
        made = fresh.vector_stores.create(name="a")
        assert names(local) == []
        local.vector_stores.update(made.id, name="b")  # a command decides by all that was committed
        assert names(local) == names(fresh) == ["b"]
        fresh.vector_stores.update(made.id, name="c")
        assert names(local) == ["b"]
        monkeypatch.setattr(postgres, "LOCAL_SECONDS", 0.0)
        assert names(local) == ["c"]


def test_a_fresh_read_of_a_coroutine_takes_a_thread_and_a_local_one_does_not(
    database: str, hops: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr(postgres, "LOCAL_SECONDS", 1000.0)

    async def read(engine: Engine) -> int:
        hops.clear()
        await engine.aio.vector_stores.retrieve(store_id(engine))
        return len(hops)

    with filled(database) as fresh, opened(database, reads="local") as local:
        assert asyncio.run(read(fresh)) == 1
        assert asyncio.run(read(local)) == 0


def test_many_frames_are_read_in_pieces(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_CHUNK", 3)
    with opened(database) as engine:
        for _ in range(7):
            engine.vector_stores.create()
        with opened(database) as other:
            assert other.snapshot() == engine.snapshot()
        with Engine.open(database) as empty:
            snapshot = empty.snapshot()
    with cluster.lent() as url, Engine.open(url, snapshot=snapshot) as copy:
        assert copy.snapshot() == snapshot


def test_a_transaction_that_only_reads_is_not_ended_and_sees_one_state(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_IDLE_SECONDS", 0.05)
    with filled(database) as engine:
        log = PostgresLog(database)
        log.begin_reading()
        before = log.last()
        engine.vector_stores.create()
        while run(
            database,
            "SELECT FROM pg_stat_activity WHERE state LIKE 'idle in%' AND "
            "clock_timestamp() - state_change < interval '0.2 s' AND datname = current_database()",
        ):
            Event().wait(0.05)
        assert log.last() == before
        log.rollback()
        assert log.last() == before + 1
        log.close()


def test_what_a_log_takes_up_is_counted_and_given_back(database: str) -> None:
    with opened(database) as engine:
        store = engine.vector_stores.create()
        log = engine._registry.log  # type: ignore[attr-defined]
        assert log.size() == (1, len(next(log.frames(0, 1)).data))
        ids = [f"file-{n:032}" for n in range(2000)]
        for _ in range(20):
            engine.vector_stores.file_batches.create(store.id, file_ids=ids)
        engine.vector_stores.delete(store.id)
        for _ in range(2):
            engine.vector_stores.create()
            engine.compact()
        assert proved(database, lambda _done, _total: None).whole
        before = log.bytes_on_disk()
        log.vacuum()
        assert log.bytes_on_disk() < before
        held = engine.snapshot()
    with opened(database) as engine:
        assert engine.snapshot() == held


def test_a_head_that_is_held_for_too_long_is_named_and_nothing_has_happened(database: str) -> None:
    with filled(database) as engine:
        other = PostgresLog(database)
        other.begin()
        log = engine._registry.log  # type: ignore[attr-defined]
        log.close()
        log.busy_seconds = 0.05
        with pytest.raises(DatabaseUnavailable, match=r"has not ended its transaction for 0\.05 s"):
            engine.vector_stores.create(name="late")
        other.rollback()
        other.close()
        assert "late" not in names(engine)
        engine.vector_stores.create(name="again")
        assert "again" in names(engine)


def test_what_is_left_of_a_transaction_is_not_done_by_another_connection(database: str) -> None:
    filled(database).close()
    log = PostgresLog(database)
    log.begin()
    log.append(Frame.of(log.last() + 1, 1, b""), [])
    log.close()
    with pytest.raises(LogError, match="closed before the transaction was committed"):
        log.commit()
    assert log.last() == 11
    log.close()


def test_a_frame_under_a_number_that_is_taken_does_not_land(database: str) -> None:
    filled(database).close()
    log = PostgresLog(database)
    log.begin()
    log._head = 10  # as if another had appended without the lock
    log.append(Frame.of(11, 1, b""), [])
    with pytest.raises(LogError, match="frames_pkey"):
        log.commit()
    log.rollback()
    log.close()
    with opened(database) as engine:
        engine.check()


def test_a_snapshot_of_another_size_takes_the_place_of_one_after_the_same_frame(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsbatch_core.journal.log._PART_BYTES", 10)
    opened(database).close()
    log = PostgresLog(database)
    for data in (b"x" * 25, b"", b"y" * 9):
        log.keep(Snapshot(7, checksum(7, 0, data), data))
        assert log.snapshot(7) == Snapshot(7, checksum(7, 0, data), data)
    assert log.snapshots() == [7]
    assert log.snapshot(8) is None
    run(database, "ALTER TABLE vsbatch.snapshots ADD CHECK (length(data) > 0) NOT VALID")
    with pytest.raises(LogError, match="violates check constraint"):
        log.keep(Snapshot(7, 0, b""))
    log.close()


def test_frames_parts_and_stores_are_pruned_a_few_at_a_time(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_PRUNED_AT_ONCE", 2)
    with opened(database) as engine:
        stores = [engine.vector_stores.create().id for _ in range(7)]
        for id in stores[:3]:
            engine.vector_stores.delete(id)
        for _ in range(2):
            engine.compact()
            engine.vector_stores.create()
        engine.compact()
        assert run(database, "SELECT min(seq) FROM vsbatch.frames") == [(12,)]
        assert run(database, "SELECT min(seq) FROM vsbatch.parts") == [(12,)]
        assert len(run(database, "SELECT FROM vsbatch.stores")) == 6
        held = engine.snapshot()
    with opened(database) as engine:
        assert engine.snapshot() == held


# Time


@given(st.lists(st.tuples(*[st.floats(0.0, 3.0)] * 3, st.floats(-10_000.0, 10_000.0)), min_size=1))
def test_the_clock_is_right_to_within_the_round_trip_that_brought_the_time(
    trips: list[tuple[float, float, float, float]],
) -> None:
    """Each trip: how long before it, to the database, back, and by how much the database's clock jumps before."""
    now, ahead = 1_000.0, 5e8
    clock = DatabaseClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres.time, "monotonic", lambda: now)
        for pause, there, back, jump in trips:
            ahead += jump
            asked = now = now + pause
            now += there
            database = now + ahead
            now += back
            clock.note(asked, database)
            assert database - 1e-3 <= clock.time() <= database + there + back + 1e-3
            assert abs(clock.time() - (now + ahead)) <= there + back + 1e-3


ELSEWHERE = """
import sys, time
shift = float(sys.argv[2])
for name in ("time", "monotonic"):
    setattr(time, name, lambda real=getattr(time, name): real() + shift)
from vsbatch_core import Engine
with Engine.open(sys.argv[1]) as engine:
    store = engine.vector_stores.create(file_ids=["file-a"])
    (claim,) = engine.processing.claim(worker="w", lease_seconds=3600.0, vector_store_id=store.id)
    print(store.id, store.created_at, claim.deadline, flush=True)
"""


def test_processes_whose_clocks_are_hours_apart_agree_about_what_is_due(database: str) -> None:
    def now() -> float:
        found: float = run(database, "SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]
        return found

    with Engine.open(database) as engine:
        for shift in (-20_000.0, 20_000.0):
            before = now()
            process = child(ELSEWHERE, database, str(shift))
            id, created, lapses = said(process).split()
            process.communicate()
            after = now()
            slack = after - before
            assert before - 1 - slack <= float(created) <= after + slack
            assert before - slack <= float(lapses) - 3600.0 <= after + slack
            assert engine.processing.claim(worker="v", vector_store_id=id) == []
            assert engine.view.claim(id, 0).deadline == float(lapses)  # type: ignore[union-attr]


# Connections that end


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait for a database that is gone, or for a process that has stopped."""
    monkeypatch.setattr(postgres, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "_IDLE_SECONDS", 0.3)


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    with Proxy(database) as proxy:
        yield proxy


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("doubt", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_befalls_a_commit_what_is_acknowledged_is_there_once_and_what_is_refused_is_not(
    database: str, proxy: Proxy, fault: str, doubt: bool
) -> None:
    """``doubt``: the database cannot be asked any more what became of it."""
    with filled(database) as direct, opened(proxy.url) as engine:
        heard: list[events.Event] = []
        engine.subscribe(heard.append)
        proxy.fault, proxy.shut = fault, doubt
        timer = Timer(0.0 if doubt else 0.1, proxy.go.set)  # meanwhile the engine waits for the head
        if fault != "silent":
            timer.start()
        outcome = "acknowledged"
        try:
            engine.vector_stores.create(name="x")
        except (DatabaseUnavailable, OutcomeUnknown) as error:
            outcome = type(error).__name__
        assert proxy.befallen == 1
        lands = fault not in ("before", "silent")
        assert outcome == ("OutcomeUnknown" if doubt else "acknowledged" if lands else "DatabaseUnavailable")
        proxy.go.set()
        proxy.shut = False
        engine.vector_stores.create(name="y")
        assert names(direct) == ["docs", *(["x"] if lands else []), "y"]
        assert engine.snapshot() == direct.snapshot()
        assert [each.name for each in heard if isinstance(each, events.VectorStoreCreated)] == names(direct)[1:]
        engine.check()


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_was_cut_while_nobody_used_it_is_made_anew_and_nobody_notices(
    database: str, proxy: Proxy
) -> None:
    with filled(database) as direct, opened(proxy.url) as engine:
        for use in (engine.snapshot, engine.vector_stores.create, engine.compact, lambda: list(engine.events())):
            direct.vector_stores.create()
            proxy.cut()
            use()
            assert engine.snapshot() == direct.snapshot()
        proxy.shut = True
        proxy.cut()
        for use in (engine.snapshot, engine.vector_stores.create, engine.compact):
            with pytest.raises(DatabaseUnavailable):
                use()
        proxy.shut = False
        assert engine.snapshot() == direct.snapshot()


def test_a_connection_that_ends_within_a_transaction_ends_that(database: str, proxy: Proxy) -> None:
    numbers = iter(range(100))

    def cut(prefix: str) -> str:
        proxy.cut()
        return f"{prefix}{next(numbers)}"

    with filled(database) as direct, opened(proxy.url, ids=cut) as engine:
        with pytest.raises(DatabaseUnavailable):
            engine.vector_stores.create(name="x")
        assert names(direct) == names(engine) == ["docs"]


def test_a_writer_that_waited_for_the_head_decides_by_what_was_committed_meanwhile(database: str) -> None:
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ids, late = SequentialIds(), list[Thread]()

    def make(prefix: str) -> str:
        if late:  # the head is held until the other waits for it
            late[0].start()
            while late[0].is_alive() and not run(database, waiting):
                Event().wait(0.01)
        return ids(prefix)

    with opened(database, ids=make) as one, opened(database) as two:
        two.vector_stores.create(name="begun")
        assert names(one) == ["begun"]
        found: list[list[str]] = []
        two.subscribe(lambda event: found.append([event.vector_store_id]))
        late.append(Thread(target=lambda: found.append([two.vector_stores.create(name="late").name])))
        one.vector_stores.create(name="held")
        late.pop().join()
        assert found[-1] == ["late"]
        assert [each[0] for each in found[:-1]] == [*one.view.vector_store_ids()][1:]
        assert names(one) == names(two) == ["begun", "held", "late"]


def test_writers_in_opposite_order_wait_for_each_other_and_neither_for_ever(database: str) -> None:
    with opened(database) as one, opened(database) as two:
        stores = [one.vector_stores.create().id for _ in range(2)]

        def write(i: int) -> None:
            engine = (one, two)[i % 2]
            for n in range(15):
                for id in stores if i % 2 else reversed(stores):
                    engine.vector_stores.files.create(id, file_id=f"file-{i}-{n}")

        threads(4, write)
        for engine in (one, two):
            assert [engine.vector_stores.retrieve(id).file_counts.total for id in stores] == [60, 60]
        assert one.snapshot() == two.snapshot()


STOPPED = """
import os, signal, sys
from vsbatch_core import Engine, errors
from vsbatch_core.journal import postgres
postgres._IDLE_SECONDS = 0.3
stops = [True]
def ids(prefix):
    if stops:
        stops.clear()
        print("holds the head", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return f"{prefix}{os.getpid()}"
with Engine.open(sys.argv[1], ids=ids) as engine:
    try:
        engine.vector_stores.create(name="stopped")
    except errors.DatabaseUnavailable as error:
        print(type(error).__name__, flush=True)
    engine.vector_stores.create(name="went on")
    print(len(engine.vector_stores.list().data), flush=True)
"""


def test_a_process_that_stops_while_it_holds_the_head_keeps_nobody_from_writing_for_long(database: str) -> None:
    with opened(database) as engine:
        process = child(STOPPED, database)
        assert said(process) == "holds the head"
        engine.vector_stores.create(name="others")
        process.send_signal(signal.SIGCONT)
        assert said(process) == "DatabaseUnavailable"
        assert said(process) == "2"
        process.communicate()
        assert names(engine) == ["others", "went on"]


WORKER = """
import sys, time
from vsbatch_core import Engine
engine = Engine.open(sys.argv[1])
claims = engine.processing.claim(50, worker="killed", lease_seconds=float(sys.argv[2]))
print(len(claims), flush=True)
time.sleep(600)
"""


ENDED = (events.FileCompleted.kind, events.FilesCompleted.kind, events.FileFailed.kind, events.FilesFailed.kind)


def files_of(event: Any) -> list[str]:
    return list(getattr(event, "file_ids", None) or [event.file_id])


def test_what_a_killed_worker_held_is_claimed_again_and_ends_exactly_once(database: str) -> None:
    with Engine.open(database) as engine:
        store = engine.vector_stores.create(file_ids=[f"file-{i}" for i in range(50)])
        process = child(WORKER, database, "0.5")
        assert said(process) == "50"
        process.kill()
        process.communicate()
        claimed: list[int] = []
        while len(claimed) < 50:
            claims = engine.processing.claim(50, worker="w", vector_store_id=store.id)
            assert all(claim.attempt == 2 for claim in claims)
            claimed += [claim.attachment for claim in claims]
            done = engine.processing.finish([Completed(claim, usage_bytes=1) for claim in claims])
            assert all(file.status == "completed" for file in done)  # type: ignore[union-attr]
        assert len(set(claimed)) == 50
        ended = [file for each in engine.events(store.id) if each.kind in ENDED for file in files_of(each)]
        assert len(ended) == len(set(ended)) == 50


# A database that loses what was committed


class Backup:
    """A copy of a database, which can take its place."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        self._cluster, self._url = cluster, url
        end_connections(url)
        self._copy = cluster.database(url)

    def restore(self) -> None:
        """Put the copy in the place of the database."""
        name, copy = (url.rpartition("/")[2] for url in (self._url, self._copy))
        self._cluster.drop(self._url)
        self._cluster.run(f"ALTER DATABASE {copy} RENAME TO {name}")


def end_connections(url: str) -> None:
    """End all connections to a database but this one."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    run(url, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")  # noqa: S608 - our own


@contextmanager
def lost(caplog: pytest.LogCaptureFixture, times: int) -> Iterator[None]:
    """Require that so many engines say that the database has lost a frame."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "vsbatch_core.journal"):
        yield
    assert [record.getMessage().count("the database has lost it") for record in caplog.records] == [1] * times


@pytest.mark.parametrize("others", [3] if BRIEF else [0, 1, 3, 6])
@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("known", ["written", "read", "loaded"])
def test_an_engine_notices_that_its_database_was_restored_to_an_older_state(
    cluster: Cluster,
    database: str,
    caplog: pytest.LogCaptureFixture,
    known: str,
    compacted: bool,
    others: int,
) -> None:
    """Whatever others have written since, and however it has come to know what is lost."""
    with filled(database) as writer:
        backup = Backup(cluster, database)
        reader = opened(database)
        for i in range(3):
            writer.vector_stores.create(name=f"lost {i}")
        if compacted:
            writer.compact()
        if known == "loaded":
            reader.close()
            reader = opened(database)
        engine = writer if known == "written" else reader
        assert len(names(engine)) == 4
        backup.restore()
        with opened(database) as other:
            for i in range(others):
                other.vector_stores.create(name=f"new {i}")
            with lost(caplog, 1):
                engine.vector_stores.create(name="last")
            assert names(engine) == names(other) == ["docs", "last", *(f"new {i}" for i in range(others))]
            assert engine.snapshot() == other.snapshot()
            heard: list[events.Event] = []
            engine.subscribe(heard.append)
            other.vector_stores.create(name="heard")
            engine.vector_stores.list()
            assert [each.name for each in heard if isinstance(each, events.VectorStoreCreated)] == ["heard"]
            engine.check()
        reader.close()
    with opened(database) as engine:
        assert "heard" in names(engine)
        engine.check()


def test_a_commit_that_was_in_doubt_and_is_lost_then_is_not_followed_by_what_others_have_written(
    cluster: Cluster, database: str, proxy: Proxy
) -> None:
    filled(database).close()
    with opened(proxy.url) as engine:
        backup = Backup(cluster, database)
        proxy.fault = "after"
        engine.vector_stores.create(name="lost")
        backup.restore()
        with opened(database) as other:
            assert names(engine) == ["docs"]
            proxy.fault = "after"
            engine.vector_stores.create(name="doubted")
            other.vector_stores.create(name="new")
            assert names(engine) == names(other) == ["docs", "doubted", "new"]


def test_what_is_lost_is_not_followed_by_what_others_have_written_and_pruned_up_to_it(
    cluster: Cluster, database: str
) -> None:
    with filled(database) as engine:
        backup = Backup(cluster, database)
        engine.vector_stores.create(name="lost")
        backup.restore()
        with opened(database) as other:
            for name in "ab":
                other.vector_stores.create(name=name)
                other.compact()
            assert run(database, "SELECT min(seq) FROM vsbatch.frames") == [(13,)]
            assert names(engine) == names(other) == ["a", "b", "docs"]


def test_a_snapshot_of_what_is_lost_is_not_kept(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCAL_SECONDS", 1000.0)
    with filled(database) as writer, opened(database, reads="local") as engine:
        backup = Backup(cluster, database)
        writer.vector_stores.create(name="lost")
        engine.vector_stores.create(name="lost too")
        backup.restore()
        assert "lost too" in names(engine)  # a local read does not ask
        engine.compact()
        assert names(engine) == ["docs"]
        with opened(database) as other:
            assert names(other) == ["docs"]
            other.check()


def test_a_snapshot_that_is_being_taken_while_the_database_loses_it_is_not_kept(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(database) as engine:
        backup = Backup(cluster, database)
        engine.vector_stores.create(name="lost")
        once_before(monkeypatch, "snapshot", backup.restore)
        with pytest.raises(DatabaseUnavailable):
            engine.compact()
        assert run(database, "SELECT FROM vsbatch.snapshots") == []
        assert names(engine) == ["docs"]


def test_an_engine_whose_frames_were_only_pruned_does_not_take_them_for_lost(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(database) as other, opened(database) as engine:
        for _ in range(3):
            other.vector_stores.create()
            other.compact()
        end_connections(database)
        with lost(caplog, 0):
            assert engine.snapshot() == other.snapshot()
        end_connections(database)
        with lost(caplog, 0):
            assert engine.snapshot() == other.snapshot()
        with opened(database) as loaded:  # from a snapshot, and no frames since
            end_connections(database)
            other.vector_stores.create()
            with lost(caplog, 0):
                assert loaded.snapshot() == other.snapshot()


# A server that is started anew


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_server_that_is_killed_and_started_anew_under_load_loses_and_doubles_nothing(durability: Any) -> None:
    """With normal durability it may lose the last of it; all engines are then equal all the same."""
    stop = Event()
    acknowledged: list[set[str]] = [set() for _ in range(6)]
    unknown: list[set[str]] = [set() for _ in range(6)]
    with cluster_or_skip() as cluster:
        url = cluster.database()
        with Engine.open(url, durability=durability) as one, Engine.open(url, durability=durability) as two:
            docs = one.vector_stores.create().id

            def write(i: int) -> None:
                engine, n = (one, two)[i % 2], 0
                while not stop.is_set():
                    n += 1
                    file = f"file-{i}-{n}"
                    try:
                        engine.vector_stores.files.create(docs, file_id=file)
                        acknowledged[i].add(file)
                    except DatabaseUnavailable:
                        continue
                    except OutcomeUnknown:
                        unknown[i].add(file)

            def restart() -> None:
                try:
                    for _ in range(2 if BRIEF else 5):
                        Event().wait(0.3)
                        cluster.stop("immediate")
                        cluster.start()
                    Event().wait(0.2)
                finally:
                    stop.set()

            threads(7, lambda i: restart() if i == 6 else write(i))
            attached = [each.file_id for each in one.events(docs) if isinstance(each, events.FileAttached)]
            assert len(attached) == len(set(attached)), "doubled"
            assert len(attached) > 50
            for i in range(6):
                mine = {file for file in attached if file.startswith(f"file-{i}-")}
                assert durability == "normal" or acknowledged[i] <= mine, "lost"
                assert mine <= acknowledged[i] | unknown[i], "refused, and there all the same"
            assert one.snapshot() == two.snapshot()
            one.check()
        with Engine.open(url) as engine:
            assert len(list(engine.vector_stores.files.list(docs, limit=100))) == len(attached)
            engine.check()


def act_endless(engine: Engine, _held: list[Claim]) -> None:
    assert engine.processing.claim(5, worker="w", lease_seconds=inf)


def act_release(engine: Engine, held: list[Claim]) -> None:
    engine.processing.release(held)


def act_heartbeat(engine: Engine, held: list[Claim]) -> None:
    engine.processing.heartbeat(held, lease_seconds=60.0)


def act_finish(engine: Engine, held: list[Claim]) -> None:
    engine.processing.claim(5, worker="w")  # which lasts because of what follows it
    engine.processing.finish([Completed(claim, usage_bytes=1) for claim in held])


def test_a_claim_with_a_deadline_is_all_that_a_server_loses_when_it_is_killed() -> None:
    with cluster_or_skip(wal_writer_delay="10s") as cluster:
        url = cluster.database()
        with Engine.open(url) as one, Engine.open(url) as two:

            def claims() -> dict[int, Claim | None]:
                return {i: two.view.claim(store.id, i) for i in range(two.view.next_attachment(store.id))}

            for act in (act_endless, act_release, act_heartbeat, act_finish):
                store = one.vector_stores.create(file_ids=[f"file-{i}" for i in range(20)])
                held = one.processing.claim(5, worker="w", lease_seconds=inf, vector_store_id=store.id)
                act(one, held)
                lasting = claims()
                lost = one.processing.claim(5, worker="w", vector_store_id=store.id)
                assert claims() == lasting | {claim.attachment: claim for claim in lost}
                cluster.stop("immediate")
                cluster.start()
                assert claims() == lasting, act.__name__
                one.vector_stores.delete(store.id)
            assert one.snapshot() == two.snapshot()


@pytest.mark.parametrize("other", ["w", "another"])
def test_a_file_whose_claim_was_lost_with_a_server_is_claimed_again_and_ends_once(other: str) -> None:
    """Also if another worker of the same name has the claim then: either may finish it, and one does."""
    with cluster_or_skip(wal_writer_delay="10s") as cluster:
        url = cluster.database()
        with Engine.open(url) as one, Engine.open(url) as two:
            store = one.vector_stores.create(file_ids=[f"file-{i}" for i in range(20)])
            lost = one.processing.claim(10, worker="w")
            cluster.stop("immediate")
            cluster.start()
            again = two.processing.claim(20, worker=other)
            assert [claim.attachment for claim in again] == list(range(20))
            done = one.processing.finish([Completed(claim, usage_bytes=1) for claim in lost])
            assert {type(each) for each in done} == {VectorStoreFile if other == "w" else ClaimLost}
            done = two.processing.finish([Completed(claim, usage_bytes=1) for claim in again])
            ended = [each for each in done if isinstance(each, VectorStoreFile)]
            assert len(ended) == (10 if other == "w" else 20)
            files = [file for each in two.events(store.id) if each.kind in ENDED for file in files_of(each)]
            assert len(files) == len(set(files)) == 20
