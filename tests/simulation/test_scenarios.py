"""The scenarios that are shipped: each runs to its golden report, in any process the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import events, wire
from vsbatch_core.cli import main
from vsbatch_core.cli.play import Played, play
from vsbatch_core.cli.scenario import load
from vsbatch_core.cli.simulate import lines
from vsbatch_core.scenarios.circumstances import shipped

from ..helpers.brief import searching

GOLDEN = Path(__file__).parent / "golden"
README = Path(__file__).resolve().parents[2] / "README.md"
NAMES = ("bulk-load", "cancel-race", "clean", "half-failed", "log-2026-02-05", "quirks-2025-11", "stuck")
each_scenario = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow, searching]) if name == "bulk-load" else name for name in NAMES],
)
played: dict[str, Played] = {}


def nothing(_title: str, _done: int, _total: int | None) -> None:
    """No progress is shown."""


def run_of(name: str) -> Played:
    """A run of a shipped scenario, made once."""
    if name not in played:
        played[name] = play(load(name, nothing), nothing)
    return played[name]


def counts(name: str) -> dict[str, tuple[int, ...]]:
    return {
        made.names[run.batch.id]: tuple(
            getattr(run.batch.file_counts, status)
            for status in ("in_progress", "completed", "failed", "cancelled")
        )
        for made in (run_of(name),)
        for run in made.runs
    }


def test_these_seven_are_shipped_and_have_golden_reports() -> None:
    assert tuple(shipped()) == NAMES
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == list(NAMES)


@each_scenario
def test_a_shipped_scenario_reports_what_it_did_before(name: str) -> None:
    # After an intended change: vsbatch simulate NAME > tests/simulation/golden/NAME.txt, then read the file.
    report = "".join(f"{line}\n" for line in lines(run_of(name)))
    assert report == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_the_command_prints_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "clean"]) == 0
    assert capsys.readouterr().out == (GOLDEN / "clean.txt").read_text(encoding="utf-8")


@each_scenario
def test_the_engine_is_consistent_and_no_file_is_left_behind_but_in_the_log(name: str) -> None:
    made = run_of(name)
    made.engine.check()
    if name == "log-2026-02-05":
        assert counts(name) == {"the-log": (105, 0, 0, 0)}
        assert made.refused == {("cancel batch", 400): 1}
        return
    assert made.engine.processing.pending() == []
    assert {run.batch.status for run in made.runs} <= {"completed", "cancelled"}


def test_a_clean_batch_is_clean() -> None:
    assert counts("clean") == {"handbook": (0, 200, 0, 0)}
    assert not run_of("clean").faults


def test_of_the_half_that_fails_no_server_error_is_left() -> None:
    # Every file of one suffix fails, whatever the probabilities say of the others.
    ((in_progress, completed, failed, cancelled),) = counts("half-failed").values()
    assert (in_progress, cancelled) == (0, 0)
    assert failed >= 500
    assert completed + failed == 1000


def test_a_cancel_ends_what_waits_and_what_was_taken_up_finishes() -> None:
    made = run_of("cancel-race")
    assert {run.batch.status for run in made.runs} == {"cancelled"}
    assert made.simulation.now == 50.0  # the longest file was taken up before its batch was cancelled


@pytest.mark.slow
@searching
def test_a_bulk_load_gets_in_in_the_end_and_never_past_the_limit() -> None:
    made = run_of("bulk-load")
    assert len(made.runs) == 50
    assert sum(run.batch.file_counts.completed for run in made.runs) == 100_000
    assert made.faults["rate_limit"] == made.retried > 0
    assert made.refused == {}


def test_a_stuck_batch_and_one_with_a_lost_file_are_given_up_and_the_other_is_not() -> None:
    assert sorted(run_of("stuck").given_up) == ["lost-file", "stuck"]
    assert counts("stuck") == {"stuck": (0, 100, 0, 0), "lost-file": (0, 99, 0, 1), "fine": (0, 100, 0, 0)}


def test_in_november_2025_every_quirk_is_met_and_the_batch_is_complete_all_the_same() -> None:
    made = run_of("quirks-2025-11")
    assert set(made.faults) == {
        "answers_store",
        "created_at_zero",
        "dropped",
        "file_batch",
        "first_list",
        "read_after_write",
        "slow",
    }
    assert made.runs[0].batch.status == "completed"


@pytest.mark.parametrize("name", ["cancel-race", "quirks-2025-11"])
def test_the_events_of_two_runs_are_the_same_byte_for_byte(name: str) -> None:
    def told() -> list[str]:
        found: list[Any] = []
        play(load(name, nothing), nothing, hear=found.append)
        assert any(isinstance(event, events.FileCompleted) for event in found)
        return [json.dumps(wire.to_wire(event)) for event in found]

    assert told() == told()


@pytest.mark.slow
def test_the_code_under_simulate_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.read_text(encoding="utf-8").split("\n## Simulate\n")[1]
    program = section.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - that it runs is what is tested
    assert "in_progress=0" in capsys.readouterr().out
    assert (tmp_path / "handbook.png").read_bytes().startswith(b"\x89PNG")
