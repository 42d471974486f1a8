"""The examples of docs/stand-in.md, run as they stand there."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vsbatch_core.adapters.faults import During
from vsbatch_core.cli import parser
from vsbatch_core.cli.serve import settings
from vsbatch_core.scenarios.circumstances import load
from vsbatch_core.simulation import Faults

from ..helpers.processes import RunningServer, finished, posix, started

pytestmark = pytest.mark.slow  # a server and test runs of their own

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "stand-in.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line)[1:]
    for language, block in BLOCKS
    for line in block.splitlines()
    if language == "sh" and line.startswith("vsbatch ")
]
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str, holding: str = "") -> list[str]:
    return [block for each, block in BLOCKS if each == language and holding in block]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """The server of the examples over HTTP; it ends quietly, though a reader follows its events."""
    with started(*COMMANDS[-1][1:]) as server:
        yield server
        reader = http.client.HTTPConnection(*server.address, timeout=60)
        reader.request("GET", "/_vsbatch/events")
        response = reader.getresponse()
        assert (response.status, response.readline()) == (200, b": \n")
        server.process.terminate()
        assert response.read() == b"\n"
        reader.close()
        assert finished(server.process) == (0, "", "")


def there(block: str, server: RunningServer) -> str:
    assert ADDRESS in block
    return block.replace(ADDRESS, server.url.removesuffix("/v1"))


def test_the_commands_say_what_the_text_says_of_them() -> None:
    made = [settings(parser().parse_args(command)) for command in COMMANDS]
    assert [each.faults for each in made] == [
        Faults(answers_store=True),
        Faults(stuck=0.1, dropped=During(0.05, 60, 120)),
        Faults(),
    ]
    assert (made[0].plan.by_hand, made[0].seed, made[2].seed) == (True, load("log-2026-02-05").seed, 1)


def test_the_window_of_a_fault_in_a_scenario_is_read(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    path = tmp_path / "mine.toml"
    path.write_text(block, encoding="utf-8")
    assert load(str(path)).faults == Faults(dropped=During(0.05, 60, 120))


@pytest.mark.parametrize(
    ("holding", "passed"),
    [("must_end=True", 4), ("unittest", 2), ("asyncio.run", 1)],
    ids=["marker", "unittest", "async"],
)
def test_the_recipes_pass(pytester: pytest.Pytester, holding: str, passed: int) -> None:
    (block,) = blocks("python", holding)
    pytester.makepyfile(block)
    strict = ("-W", "error", "--strict-markers", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    pytester.runpytest_inprocess(*strict).assert_outcomes(passed=passed)


@posix
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_with_curl_do_what_they_say(server: RunningServer, tmp_path: Path) -> None:
    (block,) = blocks("sh", "curl")
    done = subprocess.run(
        ["bash", "-euc", there(block, server)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: list[Any] = []
    rest = done.stdout
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found.append(value)
        rest = rest[end:]
    completed, failed, plan, faults, faults_again, freeze, advance, step, run, reset, put, requests = found
    assert not [each for each in found if "error" in each]
    assert [file["status"] for file in completed["data"]] == ["completed"]
    assert [(file["id"], file["last_error"]["code"]) for file in failed["data"]] == [("file-b", "invalid_file")]
    assert plan == {"workers": 1, "service": {"kind": "uniform", "low": 1.0, "high": 3.0}}
    assert faults == faults_again == {"rate_limit": True, "writes_per_minute": 1}
    assert (freeze["frozen"], advance["now"] - freeze["now"]) == (True, pytest.approx(60))
    assert (step["frozen"], step["stepped"], run["frozen"]) == (True, False, False)
    assert reset["plan"] == put["plan"] == {"workers": 8, "service": 1.0, "by_hand": True}
    assert requests["data"] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_example_with_node_does_what_it_says(server: RunningServer, tmp_path: Path) -> None:
    (block,) = blocks("js")
    script = tmp_path / "example.mjs"
    script.write_text(there(block, server), encoding="utf-8")
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    completed, refused = done.stdout.splitlines()
    assert completed == "1 completed"
    assert "vector store 'the store': it is already 'completed'" in refused
