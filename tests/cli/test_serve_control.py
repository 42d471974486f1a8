"""What ``vsbatch serve`` makes of its options for faults, scenarios and control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vsbatch_core import Profile
from vsbatch_core.adapters.faults import SOURCES, During
from vsbatch_core.cli import main, parser, serve
from vsbatch_core.cli.serve import CONTROL_VARIABLE
from vsbatch_core.cli.server import KEY_VARIABLE
from vsbatch_core.simulation import Faults, Plan

from ..helpers.control import Asked

MINE = """
seed = 9

[plan]
workers = 3
cancel = "drain"

[profile]
cancel = "drain"

[faults]
slow = 0.5
stuck = true
"""


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(CONTROL_VARIABLE, raising=False)


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return str(path)


def asked(*argv: str) -> Asked:
    """The application of a server with these arguments."""
    made = Asked()
    made.app = serve.application(parser().parse_args(["serve", *argv]))
    made.standin = made.app.standin
    return made


def settings(*argv: str) -> Any:
    return serve.settings(parser().parse_args(["serve", *argv]))


@pytest.mark.parametrize("name", SOURCES)
def test_every_fault_can_be_switched_on_with_a_probability_and_for_a_time(name: str) -> None:
    written = {
        "": True,
        "=0.5": 0.5,
        "=1": 1.0,
        "@30": During(True, 30),
        "@30..": During(True, 30),
        "@30..90": During(True, 30, 90),
        "=0.25@0.5..1e3": During(0.25, 0.5, 1000),
    }
    for rest, when in written.items():
        assert settings("--fault", name + rest).faults == Faults(**{name: when})
    other = next(each for each in SOURCES if each != name)
    assert settings("--fault", name, "--fault", f"{other}=0.1").faults == Faults(**{name: True, other: 0.1})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("droped", "'droped' is no fault: those are rate_limit, first_list,"),
        ("", "'' is no fault"),
        ("slow=0.1=2", "'slow=0.1=2': give a probability from 0 to 1, and times of which the first is earlier"),
        ("slow=2", "as slow=0.1@60..120"),
        ("slow=", "'slow=': give a probability"),
        ("slow@", "'slow@': give a probability"),
        ("slow@9..3", "'slow@9..3': give a probability"),
        ("slow@-1..3", "'slow@-1..3': give a probability"),
        ("slow@1..2@3", "'slow@1..2@3' is no fault"),
        ("slow\n", "'slow\\n' is no fault"),
    ],
)
def test_a_fault_that_is_none_is_refused(given: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--fault", given]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_scenario_says_plan_profile_faults_and_seed_and_options_are_in_place_of_these(mine: str) -> None:
    made = settings("--scenario", mine)
    assert (made.plan, made.profile) == (Plan(workers=3, cancel="drain"), Profile(cancel="drain"))
    assert (made.faults, made.seed, made.chance) == (Faults(slow=0.5, stuck=True), 9, 9)
    made = settings("--scenario", mine, "--seed", "4", "--fault", "slow@5", "--policy", "ties=by_id")
    assert (made.faults, made.seed) == (Faults(slow=During(True, 5), stuck=True), 4)
    assert made.profile == Profile(cancel="drain", ties="by_id")
    assert settings("--scenario", mine, "--database", "sqlite:///x.db").seed is None
    assert settings("--scenario", "clean").plan.workers == 8


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--plan", "manual"], "--plan and --scenario say the same: leave out one"),
        (["--fail", "server_error=0.1"], "--fail and --scenario say the same"),
        (["--workers", "2"], "--workers and --scenario say the same"),
        (["--profile", "default"], "--profile and --scenario say the same"),
        (["--database", "sqlite:///x.db", "--processes", "2"], "--scenario needs time and a plan of its own"),
        (["--database", "postgresql://u@h/d"], "--scenario needs time and a plan of its own"),
        (
            ["--policy", "cancel=immediate"],
            "the plan cannot be followed: Plan(cancel='drain'): the engine's profile",
        ),
    ],
)
def test_what_a_scenario_leaves_no_room_for_is_refused(
    argv: list[str], said: str, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--scenario", mine, *argv]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[plan]\nworkers = 0", "[faults]\nslaw = 1", "x = 1", "["])
def test_a_mistake_in_a_scenario_is_told_with_its_place(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    assert main(["serve", "--scenario", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"vsbatch: {path}: ")
    assert main(["serve", "--scenario", "stucc"]) == 2
    assert "did you mean 'stuck'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "environment", "without", "with_key"),
    [
        ([], {}, 200, 200),
        (["--host", "localhost"], {}, 200, 200),
        (["--host", "0.0.0.0"], {}, 404, 404),  # noqa: S104 - nothing listens
        (["--api-key", "k"], {}, 404, 404),
        ([], {KEY_VARIABLE: "k"}, 404, 404),
        (["--control-key", "c"], {}, 401, 200),
        (["--control-key", "c", "--api-key", "k", "--host", "0.0.0.0"], {}, 401, 200),  # noqa: S104 - as above
        ([], {CONTROL_VARIABLE: "c"}, 401, 200),
    ],
)
def test_the_control_api_is_there_on_this_machine_without_keys_and_else_with_its_own(
    argv: list[str], environment: dict[str, str], without: int, with_key: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ask = asked(*argv)
    api = [("authorization", "Bearer k")]
    assert ask("GET", "/_vsbatch/", headers=api).status == without
    assert ask("GET", "/_vsbatch/", headers=[("authorization", "Bearer c")]).status in (with_key, 401)
    if with_key == 200:
        key = [("authorization", "Bearer c")]
        assert ask.ok("POST", "/_vsbatch/clock/freeze", headers=key)["frozen"] is True


def test_a_control_key_that_cannot_be_sent_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CONTROL_VARIABLE, "two words")
    assert main(["serve", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith(f"vsbatch: {CONTROL_VARIABLE}: a key has one or more printable")


def test_the_log_of_2026_02_05_is_what_a_server_serves() -> None:
    ask = asked("--scenario", "log-2026-02-05")
    store = ask.ok("POST", "/v1/vector_stores", {})["id"]
    files = {"file_ids": [f"file-{n}" for n in range(105)]}
    batches = f"/v1/vector_stores/{store}/file_batches"
    batch = ask.ok("POST", batches, files)["id"]
    ask.ok("POST", "/_vsbatch/clock/advance", {"seconds": 900})
    for _ in range(3):
        seen = ask.ok("GET", f"{batches}/{batch}")
        assert (seen["id"], seen["status"], seen["file_counts"]["in_progress"]) == (store, "in_progress", 105)
    refused = ask("POST", f"{batches}/{seen['id']}/cancel")
    assert refused.status == 400
    assert refused.message == f"Invalid 'batch_id': '{store}'. Expected an ID that begins with 'vsfb_'."
