"""Files that cannot be opened, or do not hold what was written: each is named, and nothing is silently wrong."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from vsbatch_core import Engine, Limits, Profile, VirtualClock, VsbatchError
from vsbatch_core.errors import (
    DatabaseDamaged,
    DatabaseRefused,
    DatabaseUnavailable,
    EngineClosed,
    EventsForgotten,
)
from vsbatch_core.events import version_in
from vsbatch_core.journal import connect, migrate, path_of
from vsbatch_core.journal.log import FORMAT, Frame, LogError
from vsbatch_core.journal.sqlite import SqliteLog

from ..helpers.brief import BRIEF
from ..helpers.databases import START, filled, opened, store_id, url_of
from ..helpers.processes import SEARCH, posix

GOLDEN = Path(__file__).parent / "golden"


def changed(path: Path, statement: str, *arguments: Any) -> None:
    """Run a statement on a file, as somebody who knows nothing of what it means."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, arguments)


def column(path: Path, statement: str, *arguments: Any) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(statement, arguments)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with an engine that was closed."""
    filled(tmp_path / "a.db").close()
    return tmp_path / "a.db"


def refused(error: type[VsbatchError], call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """Return what a call is refused with."""
    with pytest.raises(error) as raised:
        call(*arguments, **named)
    return str(raised.value)


# URLs and arguments


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////absolute.db", "/absolute.db"),
        ("sqlite:///a%20b.db", "a b.db"),
        ("sqlite:///a b.db", "a b.db"),
        ("sqlite:///a%23b%3Fc%25.db", "a#b?c%.db"),
        ("sqlite:///a#b.db", "a#b.db"),
        ("sqlite:///%C3%A4%E2%98%83.db", "ä☃.db"),
        ("sqlite:///ä☃.db", "ä☃.db"),
        ("sqlite:///a%zz.db", "a%zz.db"),
        ("sqlite:///a+b.db", "a+b.db"),
    ],
)
def test_a_url_names_the_path_that_its_percent_encoding_says(url: str, path: str) -> None:
    assert path_of(url) == Path(path)


@posix
@pytest.mark.parametrize("name", ["a b#c?d%e.db", "ä☃.db", os.fsdecode(b"\xff\xfe.db"), "%41.db", " .db"])
def test_a_file_of_any_name_is_opened_by_its_url(tmp_path: Path, name: str) -> None:
    with filled(tmp_path / name) as engine:
        expected = engine.snapshot()
    assert os.listdir(tmp_path) == [name]
    with opened(tmp_path / name) as engine:
        assert engine.snapshot() == expected


def test_a_relative_url_is_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Engine.open("sqlite:///a.db"):
        assert (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("url", "what_to_do"),
    [
        ("", "Give sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///", "Give sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite://a.db", "Give sqlite:///relative.db or sqlite:////absolute.db"),
        ("/var/lib/a.db", "Give sqlite:///relative.db or sqlite:////absolute.db"),
        ("mysql://localhost/a", "or postgresql://user@host/database"),
        ("sqlite+aiosqlite:///a.db", "Give sqlite:///relative.db or sqlite:////absolute.db"),
        (None, "Give sqlite:///relative.db or sqlite:////absolute.db"),
        (Path("a.db"), "Give sqlite:///relative.db or sqlite:////absolute.db"),
        (b"sqlite:///a.db", "Give sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///a.db?mode=ro", "In a path '?' is written '%3F'"),
        ("sqlite:///:memory:", "use Engine()"),
        ("sqlite:///a%00.db", "NUL. Leave it out"),
    ],
)
def test_what_names_no_file_is_refused_with_what_to_give(url: Any, what_to_do: str) -> None:
    message = refused(DatabaseRefused, Engine.open, url)
    assert what_to_do in message
    if isinstance(url, str):
        assert f"'{url}'" in message


def test_there_is_one_format_of_files_to_which_nothing_has_to_be_migrated(tmp_path: Path) -> None:
    assert migrate(url_of(tmp_path / "a.db")) == (FORMAT, FORMAT)
    with opened(tmp_path / "a.db") as engine:
        assert engine.snapshot()["vector_stores"] == []


def test_a_durability_that_is_not_known_is_refused_and_no_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="durability must be 'full' or 'normal', not 'fast'"):
        opened(tmp_path / "a.db", durability="fast")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_durability_is_what_sqlite_waits_for(tmp_path: Path, durability: Any, synchronous: int) -> None:
    _, connection, clock = connect(url_of(tmp_path / "a.db"), None, durability)
    log = connection()
    assert clock is None
    assert isinstance(log, SqliteLog)
    assert log._one("PRAGMA synchronous") == synchronous
    assert log._one("PRAGMA journal_mode") == "wal"
    log.close()


# What is there is not ours, or may not be used


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    message = refused(DatabaseUnavailable, opened, tmp_path)
    assert f"'{tmp_path}'" in message
    assert "it is a folder, not a file" in message


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = refused(DatabaseUnavailable, opened, tmp_path / "none" / "a.db")
    assert f"there is no folder '{tmp_path / 'none'}'" in message


@pytest.mark.parametrize("text", ["hi", "This file is a text.\n" * 500])
def test_a_file_that_is_not_sqlite_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    message = refused(DatabaseRefused, opened, path)
    assert f"'{path}'" in message
    assert "it is not a SQLite file. Give the path of a file that is not there" in message
    assert path.read_text() == text


@pytest.mark.parametrize("statement", ["CREATE TABLE frames (seq)", "PRAGMA application_id = 77"])
def test_a_file_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "a.db"
    changed(path, "PRAGMA journal_mode = WAL")
    changed(path, statement)
    before = path.read_bytes()
    message = refused(DatabaseRefused, opened, path)
    assert f"'{path}'" in message
    assert "a SQLite file of another program. Give the path of a file that is not there" in message
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    with filled(path) as engine:
        expected = engine.snapshot()
    with opened(path) as engine:
        assert engine.snapshot() == expected


@pytest.mark.parametrize("version", [0, FORMAT + 1, 77])
def test_a_file_of_another_format_is_refused_with_both_formats(path: Path, version: int) -> None:
    changed(path, f"PRAGMA user_version = {version}")
    message = refused(DatabaseRefused, opened, path)
    assert f"'{path}'" in message
    assert f"its format is {version} and this version of vsbatch-core reads format {FORMAT}" in message
    assert "Open it with the version that wrote it" in message


def test_a_profile_that_differs_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    path, limits = tmp_path / "a.db", Limits(batch_files=7)
    opened(path, profile=Profile(limits=limits)).close()
    for profile, difference in (
        (Profile(), "limits.batch_files is 7 there and 2000 here"),
        (Profile(limits=limits, cancel="drain"), "cancel is 'immediate' there and 'drain' here"),
    ):
        message = refused(DatabaseRefused, opened, path, profile=profile)
        assert f"'{path}'" in message
        assert difference in message
        assert "Open it without a profile, or with the one that it was made under" in message
    for profile in (None, Profile(limits=limits)):
        with opened(path, profile=profile) as engine:
            assert engine.profile == Profile(limits=limits)


UNPRIVILEGED = """
import os, sys
from vsbatch_core import Engine, VsbatchError
import vsbatch_core.journal.replica, vsbatch_core.journal.sqlite
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everything
url = sys.argv[1]
try:
    with Engine.open(url) as engine:
        print(len(engine.vector_stores.list().data))
        engine.vector_stores.create()
except VsbatchError as error:
    print(type(error).__name__, error)
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("what", ["file", "folder", "new"])
def test_a_read_only_file_or_folder_is_named_with_what_must_be_writable(what: str) -> None:
    with TemporaryDirectory() as temporary:  # of which all that is above can be entered by everybody
        folder = Path(temporary)
        path = folder / "a.db"
        if what != "new":
            filled(path).close()
            path.chmod(0o444 if what == "file" else 0o666)
        folder.chmod(0o777 if what == "file" else 0o555)
        command = [sys.executable, "-c", UNPRIVILEGED, url_of(path)]
        environment = {**os.environ, "PYTHONPATH": SEARCH}
        out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        folder.chmod(0o700)
    assert f"DatabaseUnavailable The database '{path}' cannot be used" in out
    assert "SQLite must be allowed to write the file, and its folder for two files beside it" in out
    assert out.startswith("1\n") == (what == "file")  # it can be read all the same


def test_a_transaction_that_another_program_does_not_end_is_named(
    path: Path,
) -> None:
    with opened(path) as engine, closing(sqlite3.connect(path, isolation_level=None)) as other:
        log = engine._registry.log  # type: ignore[attr-defined]
        log.busy_seconds = 0.01
        log.close()
        other.execute("BEGIN IMMEDIATE")
        before = engine.snapshot()
        message = refused(DatabaseUnavailable, engine.vector_stores.create)
        assert "database is locked: another connection has not ended its transaction for 0.01 s" in message
        other.execute("COMMIT")
        assert engine.snapshot() == before
        engine.vector_stores.create()


# A disk that is full


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@posix
def test_what_a_full_disk_does_not_take_has_not_happened_and_the_engine_goes_on_when_it_has_room(
    path: Path,
) -> None:
    with opened(path) as engine:
        docs, files, heard = store_id(engine), engine.vector_stores.files, []
        engine.subscribe(heard.append)
        before = engine.vector_stores.retrieve(docs).file_counts.total
        wal = path.with_name("a.db-wal")
        with files_of_at_most(wal.stat().st_size + 40_000):
            for n in range(1_000):
                try:
                    files.create(docs, file_id=f"file-x{n}", attributes={"of": "x" * 500})
                except DatabaseUnavailable as error:
                    message = str(error)
                    break
            assert engine.vector_stores.retrieve(docs).file_counts.total == before + n == before + len(heard)
        assert f"'{path}' cannot be used" in message
        assert "Nothing has happened: mend what the message names" in message
        with opened(path) as other:
            assert other.snapshot() == engine.snapshot()
        files.create(docs, file_id=f"file-x{n}")
        engine.check()


def test_a_database_that_may_not_grow_says_that_it_is_full_and_changes_nothing(path: Path) -> None:
    with opened(path) as engine:
        log = engine._registry.log  # type: ignore[attr-defined]
        log._one(f"PRAGMA max_page_count = {log._one('PRAGMA page_count')}")
        before = engine.snapshot()
        docs = store_id(engine)
        raised = None
        for i in range(1_000):
            try:
                engine.vector_stores.files.create(docs, file_id=f"file-{i}")
            except DatabaseUnavailable as error:
                raised = error
                break
            before = engine.snapshot()
        assert "database or disk is full" in str(raised)
        assert engine.snapshot() == before
        log.close()
        engine.vector_stores.create()


def test_a_snapshot_that_finds_no_room_leaves_all_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SqliteLog._run

    def full(log: SqliteLog, statement: str, *arguments: Any) -> None:
        if "INTO snapshots" in statement:
            raise LogError("database or disk is full")
        run(log, statement, *arguments)

    with opened(path) as engine:
        engine.compact()
        engine.vector_stores.create()
        monkeypatch.setattr(SqliteLog, "_run", full)
        assert "database or disk is full" in refused(DatabaseUnavailable, engine.compact)
        monkeypatch.undo()
        assert len(column(path, "SELECT DISTINCT seq FROM snapshots")) == 1
        with opened(path) as other:
            assert other.snapshot() == engine.snapshot()


# Damage


def outcome(path: Path) -> tuple[str, Any]:
    """Open a file; return ``"equal"`` and the snapshot, or what it is refused with and the message."""
    try:
        with opened(path) as engine:
            engine.check()
            return "equal", engine.snapshot()
    except (DatabaseDamaged, DatabaseRefused, DatabaseUnavailable) as error:
        return type(error).__name__, str(error)


def with_a_bit_changed(frame: Frame, place: int, bit: int) -> Frame:
    """Return a frame of which one byte of its token, its checksum or its data differs."""
    if place < 4:
        return frame._replace(token=frame.token ^ bit << 8 * place)
    if place < 8:
        return frame._replace(checksum=frame.checksum ^ bit << 8 * (place - 4))
    data = bytearray(frame.data)
    data[place - 8] ^= bit
    return frame._replace(data=bytes(data))


@pytest.mark.parametrize("compacted", [0, 1, 2])
def test_a_frame_of_which_any_byte_differs_is_named_unless_a_snapshot_makes_it_superfluous(
    path: Path, compacted: int
) -> None:
    after = 0
    with opened(path) as engine:
        for _ in range(compacted):
            after = engine._registry.compact()
            engine.vector_stores.create()
        expected = engine.snapshot()
    random = Random(0)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        def replace(frame: Frame) -> None:
            connection.execute("REPLACE INTO frames VALUES (?, ?, ?, ?)", frame)

        frames = [Frame(*row) for row in connection.execute("SELECT seq, token, checksum, data FROM frames")]
        for frame in frames:
            places = range(8 + len(frame.data))
            for place in random.sample(places, 5) if BRIEF else places:
                replace(with_a_bit_changed(frame, place, 1 << random.randrange(8)))
                found = outcome(path)
                if frame.seq <= after:
                    assert found == ("equal", expected)
                else:
                    assert found[0] == "DatabaseDamaged"
                    assert f"'{path}' is damaged: frame {frame.seq} does not have the checksum" in found[1]
                    assert "restore it from a copy" in found[1]
            replace(frame)
    assert outcome(path) == ("equal", expected)


def test_a_frame_that_is_missing_is_named_wherever_it_is(path: Path) -> None:
    whole = path.read_bytes()
    for seq in column(path, "SELECT seq FROM frames"):
        changed(path, "DELETE FROM frames WHERE seq = ?", seq)
        assert f"frame {seq} is missing" in refused(DatabaseDamaged, opened, path)
        path.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [0, 2])
def test_a_bit_that_differs_anywhere_in_a_file_is_named_or_changes_nothing(path: Path, compacted: int) -> None:
    with opened(path) as engine:
        for _ in range(compacted):
            engine.vector_stores.create()
            engine.compact()
        engine.vector_stores.delete(engine.vector_stores.create().id)
        expected = engine.snapshot()
    whole = path.read_bytes()
    random = Random(0)
    places = [place for place, byte in enumerate(whole) if byte]
    for place in random.sample(places, min(len(places), 150 if BRIEF else 1_500)):
        wrong = bytearray(whole)
        wrong[place] ^= 1 << random.randrange(8)
        for beside in path.parent.iterdir():
            beside.unlink()
        path.write_bytes(wrong)
        kind, what = outcome(path)
        assert kind != "equal" or what == expected, f"byte {place}"


def damage_snapshot(path: Path, seq: int) -> None:
    changed(
        path, "UPDATE snapshots SET data = substr(data, 1, 40) || x'00' || substr(data, 42) WHERE seq = ?", seq
    )


def test_a_damaged_snapshot_is_passed_over_and_both_are_refused_when_frames_are_pruned(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path) as engine:
        for _ in range(3):
            engine.vector_stores.create()
            engine.compact()
        engine.vector_stores.create()
        expected = engine.snapshot()
    latest, earlier = column(path, "SELECT DISTINCT seq FROM snapshots ORDER BY seq DESC")
    assert min(column(path, "SELECT seq FROM frames")) == earlier + 1

    damage_snapshot(path, latest)
    with caplog.at_level(logging.WARNING, "vsbatch_core.journal"), opened(path) as engine:
        assert engine.snapshot() == expected
        assert f"{path}: a damaged snapshot is passed over: the snapshot after frame {latest}" in caplog.text
        assert column(path, "SELECT count(*) FROM frames") == [2]

    damage_snapshot(path, earlier)
    message = refused(DatabaseDamaged, opened, path)
    assert f"'{path}' is damaged" in message
    for what in (
        f"the snapshot after frame {latest}",
        f"the snapshot after frame {earlier}",
        "frame 1 is missing",
    ):
        assert what in message


def test_a_damaged_snapshot_costs_nothing_while_all_frames_are_there(path: Path) -> None:
    with opened(path) as engine:
        engine.compact()
        expected = engine.snapshot()
    damage_snapshot(path, column(path, "SELECT seq FROM snapshots")[0])
    with opened(path) as engine:
        assert engine.snapshot() == expected
        engine.vector_stores.create()
        engine.compact()  # and now there is a whole one
    with opened(path) as engine:
        assert len(engine.vector_stores.list().data) == len(expected["vector_stores"]) + 1


def test_a_snapshot_that_cannot_be_read_back_prunes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = SqliteLog.keep

    def kept_wrong(log: SqliteLog, snapshot: Any) -> None:
        keep(log, snapshot._replace(data=snapshot.data[:-1] + b" "))

    with opened(path) as engine:
        engine.compact()
        engine.vector_stores.create()
        frames = column(path, "SELECT seq FROM frames")
        monkeypatch.setattr(SqliteLog, "keep", kept_wrong)
        message = refused(DatabaseDamaged, engine.compact)
        assert f"the snapshot after frame {frames[-1]} cannot be read back as it was written" in message
        assert column(path, "SELECT seq FROM frames") == frames
        with opened(path) as other:
            assert other.snapshot() == engine.snapshot()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE frames SET token = 'x' WHERE seq = 3", "frame 3 does not have the checksum"),
        ("UPDATE frames SET token = 0.5 WHERE seq = 3", "frame 3 does not have the checksum"),
        ("UPDATE frames SET data = 'text' WHERE seq = 3", "frame 3 does not have the checksum"),
        ("UPDATE settings SET value = replace(value, '2000', '2001')", "its profile does not have the checksum"),
        ("DELETE FROM settings", "its profile does not have the checksum"),
        ("DROP TABLE parts", "its tables are not those that were made"),
        ("UPDATE frames SET seq = seq + 1000 WHERE seq = 3", "frame 3 is missing"),
        ("DELETE FROM frames", "frame 1 is missing"),
    ],
)
def test_tables_that_contradict_each_other_are_named(path: Path, statement: str, what: str) -> None:
    changed(path, statement)
    message = refused(DatabaseDamaged, opened, path)
    assert f"'{path}' is damaged: {what}" in message


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM stores WHERE number = 1", "its list of stores does not have number 1"),
        ("UPDATE stores SET id = 'vs_other'", "cannot follow what is before it: KeyError('vs_other')"),
    ],
)
def test_a_list_of_stores_that_does_not_have_those_of_the_frames_is_named(
    path: Path, statement: str, what: str
) -> None:
    with opened(path) as engine:
        engine.compact()
        engine.vector_stores.files.create(store_id(engine), file_id="file-new")
    changed(path, statement)
    assert what in refused(DatabaseDamaged, opened, path)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM parts WHERE version = 4", "it does not name the frame of event 4 of vector store 'vs_1'"),
        ("DELETE FROM parts WHERE stream = 1 AND version > 8", "it does not name the frame of event 9"),
        ("UPDATE parts SET seq = 'x' WHERE version = 4", "the parts of stream 1 are not numbers"),
    ],
)
def test_events_that_are_missing_are_named_and_not_left_out(path: Path, statement: str, what: str) -> None:
    with opened(path) as engine:
        docs = store_id(engine)
        changed(path, statement)
        assert what in refused(DatabaseDamaged, lambda: list(engine.events(docs)))


def test_a_page_that_sqlite_finds_damaged_is_named(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:4120] = bytes(24)
    path.write_bytes(content)
    assert "malformed" in refused(DatabaseDamaged, opened, path)


@pytest.mark.parametrize("part", [0.25, 0.5])
def test_a_file_that_is_cut_off_is_named(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert "malformed" in refused(DatabaseDamaged, opened, path)


def test_of_a_write_ahead_log_that_is_cut_off_sqlite_keeps_a_whole_prefix(tmp_path: Path) -> None:
    """What was committed last is lost without a word: nothing in the file says that there was more."""
    path = tmp_path / "a.db"
    wal = path.with_name("a.db-wal")
    prefixes = []
    with opened(path) as engine:
        engine.subscribe(lambda _event: prefixes.append(None))
        docs = engine.vector_stores.create().id
        prefixes = [engine.snapshot()]
        for i in range(8):
            engine.vector_stores.files.create(docs, file_id=f"file-{i}")
            prefixes.append(engine.snapshot())
        prefixes = [each for each in prefixes if each is not None]
        main, log = path.read_bytes(), wal.read_bytes()
    found = []
    for size in range(len(log), len(log) - 20_000, -997):
        for beside in tmp_path.iterdir():
            beside.unlink()
        path.write_bytes(main)
        wal.write_bytes(log[:size])
        with opened(path) as engine:
            engine.check()
            found.append(prefixes.index(engine.snapshot()))
            engine.vector_stores.files.create(docs, file_id="file-new")
    assert found == sorted(found, reverse=True)
    assert found[0] == len(prefixes) - 1 > found[-1]


# Closing, and formats of old


@pytest.mark.parametrize(
    "use",
    [
        lambda engine: engine.vector_stores.create(),
        lambda engine: engine.vector_stores.list(),
        lambda engine: engine.snapshot(),
        lambda engine: engine.subscribe(print),
        lambda engine: list(engine.events()),
        lambda engine: engine.version(),
        lambda engine: engine.check(),
        lambda engine: engine.compact(),
        lambda engine: engine.processing.claim(1, worker="w"),
        lambda engine: engine.processing.pending(),
        lambda engine: engine.view.vector_store_ids(),
    ],
)
def test_every_call_of_a_closed_engine_but_close_is_refused(path: Path, use: Callable[[Engine], object]) -> None:
    with opened(path) as engine:
        pass
    message = refused(EngineClosed, use, engine)
    assert f"'{path}' was closed: open another one" in message
    engine.close()
    with opened(path) as other:
        use(other)


def test_a_closed_engine_leaves_one_file(path: Path) -> None:
    assert os.listdir(path.parent) == ["a.db"]


def test_events_that_were_pruned_are_said_to_be_forgotten(path: Path) -> None:
    with opened(path) as engine:
        docs = store_id(engine)
        latest = engine.version(docs)
        for _ in range(3):
            engine.vector_stores.create()
            engine.compact()
        assert f"'{docs}' after version 0" in refused(EventsForgotten, lambda: list(engine.events(docs)))
        assert "Begin with a snapshot" in refused(EventsForgotten, lambda: list(engine.events()))
        assert list(engine.events(docs, after=latest)) == []


@pytest.mark.parametrize("path_", sorted(GOLDEN.glob("durable-*.db")), ids=lambda path: path.stem)
def test_a_file_of_every_format_that_there_was_is_opened_and_equal(tmp_path: Path, path_: Path) -> None:
    path = Path(shutil.copy(path_, tmp_path / "a.db"))
    expected = json.loads(path_.with_suffix(".json").read_text())
    for snapshot in ("kept", "gone"):
        if snapshot == "gone":
            changed(path, "DELETE FROM snapshots")
        with opened(path, clock=VirtualClock(START)) as engine:
            engine.check()
            assert engine.snapshot() == Engine.restore(expected["snapshot"]).snapshot()
            for store, version in expected["versions"].items():
                assert engine.version(store or None) == version
                versions = [version_in(store or None, event) for event in engine.events(store or None)]
                assert versions == list(range(1, version + 1))
            ids = engine.view.vector_store_ids()
            claims = [claim for id in ids for n in range(30) if (claim := engine.view.claim(id, n)) is not None]
            assert [[c.vector_store_id, c.file.id, c.attempt, c.worker] for c in claims] == expected["claims"]
