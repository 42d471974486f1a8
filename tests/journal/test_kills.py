"""Processes that share a database are killed in the midst of their work: nothing is lost, nothing doubled."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from attrs import evolve

from benchmarks import kills
from benchmarks.kills import POINTS, RANDOM, SERVER, History, begun
from vsbatch_core import Engine

from ..helpers.brief import BRIEF, searching
from ..helpers.databases import url_of
from ..helpers.postgres import require_server
from ..helpers.processes import posix

ROOT = str(Path(kills.__file__).parent.parent)
FILES = ["file-a", "file-b"]


@posix
@pytest.mark.slow
@searching
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_that_was_acknowledged_is_lost_or_doubled_when_processes_are_killed(
    database: str, tmp_path: Path
) -> None:
    """They are forked, so they come from a process of their own, which has no other threads."""
    if database == "postgresql":
        require_server()
    command = [sys.executable, "-m", "benchmarks.kills", "3" if BRIEF else "20", "--folder", str(tmp_path)]
    command += ["--database", database]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    figures = {line[9:]: int(line[:8].replace(",", "")) for line in run.stdout.splitlines()[1:]}
    assert figures.pop("lost") == figures.pop("doubled") == 0
    assert figures.pop("acknowledged") > 0
    points = [RANDOM, *POINTS, *([SERVER] if database == "postgresql" else [])]
    assert sum(figures.values()) >= (3 if BRIEF else 20)
    assert set(figures) == {f"killed {point}" for point in points}


# The one who judges


@pytest.fixture
def url(tmp_path: Path) -> str:
    return url_of(tmp_path / "a.db")


def acknowledge(history: History, kind: str, where: str, files: list[str], **what: object) -> None:
    number = history.acknowledged
    history.will("w", number, kind, where, files)
    history.did("w", number, what)


def played(url: str) -> tuple[History, str]:
    """Give one command of each kind on a new database; return what is known of it and the store that was used."""
    history = begun(url)
    docs = min(history.stores - {history.shared})
    with Engine.open(url) as engine:
        batches = engine.vector_stores.file_batches
        made = batches.create(docs, file_ids=FILES)
        acknowledge(history, "create", docs, FILES, batch=made.id)
        engine.processing.complete(docs, "file-a", usage_bytes=1)
        acknowledge(history, "completed", docs, ["file-a"])
        made = batches.create(history.shared, file_ids=FILES)
        acknowledge(history, "create", history.shared, FILES, batch=made.id)
        claims = engine.processing.claim(worker="w", vector_store_id=history.shared)
        acknowledge(history, "claim", history.shared, [], claims=[claim.attachment for claim in claims])
        made_store = engine.vector_stores.create()
        acknowledge(history, "make", "", [], store=made_store.id)
    return history, docs


def judged(url: str, history: History) -> tuple[list[str], list[str]]:
    with Engine.open(url) as engine:
        return history.judged(engine)


def test_where_all_was_carried_out_once_nothing_is_lost_or_doubled(url: str) -> None:
    history, _ = played(url)
    assert history.acknowledged == 5
    assert judged(url, history) == ([], [])


@pytest.mark.parametrize(
    ("kind", "files", "what"),
    [
        ("create", ["file-x"], {"batch": "vsfb_x"}),
        ("completed", ["file-b"], {}),
        ("failed", ["file-a"], {}),
        ("cancelled", FILES, {}),
        ("claim", [], {"claims": [1]}),
        ("make", [], {"store": "vs_x"}),
    ],
)
def test_what_was_acknowledged_and_is_not_there_is_lost(
    url: str, kind: str, files: list[str], what: dict[str, object]
) -> None:
    history, docs = played(url)
    acknowledge(history, kind, {"make": "", "claim": history.shared}.get(kind, docs), files, **what)
    lost, doubled = judged(url, history)
    assert lost
    assert not doubled


def test_what_is_there_twice_is_doubled(url: str) -> None:
    history, docs = played(url)
    with Engine.open(url) as engine:
        engine.vector_stores.file_batches.create(docs, file_ids=FILES)
    _, doubled = judged(url, history)
    assert {f"file-a of {docs}", f"file-b of {docs}"} < set(doubled)


def test_more_events_than_commands_are_doubled_unless_a_command_is_in_doubt(url: str) -> None:
    history, docs = played(url)
    with Engine.open(url) as engine:
        engine.processing.fail(docs, "file-b")
        engine.vector_stores.create()
    in_doubt = evolve(history, pending={("v", 1): ("failed", docs, ["file-b"]), ("v", 2): ("make", "", [])})
    assert judged(url, in_doubt) == ([], [])
    lost, doubled = judged(url, history)
    assert len(lost) == 1  # what was in progress is not
    assert len(doubled) == 2


def test_an_attachment_that_was_claimed_twice_is_doubled(url: str) -> None:
    history, _ = played(url)
    history = evolve(history, claimed=Counter(dict.fromkeys(history.claimed, 2)))
    assert judged(url, history)[1] == ["the claim of attachment 0"]
