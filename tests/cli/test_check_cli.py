"""``vsbatch check``: over a socket, on our own server and on a faulty one; its outputs and exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openai
import pytest

from vsbatch_core.cli import main, server
from vsbatch_core.extras import pip_line

from ..helpers import planted_servers as planted
from ..helpers.brief import searching
from ..helpers.processes import SEARCH, Outputs, entry, finished, free_port, listening, serving

pytestmark = pytest.mark.slow  # servers and processes of their own

QUICK = ("--examples", "2", "--budget", "60")

FAILURES = ("last-error", "some-failed", "all-failed")
"""The laws that need a file which cannot be processed."""


def only(*laws: str) -> list[str]:
    """The arguments that try these laws alone."""
    return [part for law in laws for part in ("--law", law)]


@pytest.fixture
def checked(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outputs]:
    """Run ``vsbatch check`` in this process; answer the exit status, stdout and stderr."""

    def call(*argv: str) -> Outputs:
        try:
            status = main(["check", *argv])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return (status, *capsys.readouterr())

    return call


# On our own server


@searching
@pytest.mark.parametrize(
    "plan",
    [
        ("--plan", "immediate"),
        ("--plan", "after-seconds:0.03", "--workers", "2", "--fail", "server_error=0.3", "--seed", "1"),
        ("--plan", "after-seconds:0.03", "--workers", "2", "--policy", "cancel=drain"),
    ],
    ids=["immediate", "slow with failures", "drain on cancel"],
)
def test_our_own_server_breaks_nothing_over_a_socket(plan: tuple[str, ...], checked: Any) -> None:
    with serving(*plan) as url:
        status, out, err = checked("--base-url", url, "--json", *QUICK)
        with openai.OpenAI(base_url=url, api_key="x") as client:
            assert client.vector_stores.list().data == []
            assert client.files.list().data == []
    data = json.loads(out)
    wrong = [law for law in data["laws"] if law["outcome"] in ("broken", "difference")]
    assert (status, err, wrong) == (0, "", [])
    assert data["conforms"]
    assert data["counts"]["ok"] > 35


def test_a_key_is_sent_and_not_printed_and_a_wrong_one_is_said_to_be_wrong(
    checked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving("--api-key", "right-key") as url:
        status, out, err = checked("--base-url", url, "--api-key", "right-key", "--budget", "0.01")
        assert (status, err) == (0, "")
        assert "right-key" not in out
        status, out, err = checked("--base-url", url)
        assert (status, out) == (2, "")
        assert err.startswith(f"vsbatch: {url} refuses the API key: ")
        assert err.count("\n") == 1
        monkeypatch.setenv(server.KEY_VARIABLE, "right-key")
        assert checked("--base-url", url, "--budget", "0.01")[0] == 0


def test_a_bad_file_is_uploaded_from_its_path(tmp_path: Path, checked: Any) -> None:
    bad = tmp_path / "unsupported.xyz"
    bad.write_bytes(b"x")
    with serving("--workers", "64") as url:
        status, out, _ = checked(
            "--base-url", url, "--bad-file", str(bad), "--uploads", "--json", *only(*FAILURES)
        )
    outcomes = {law["id"]: law["outcome"] for law in json.loads(out)["laws"]}
    assert status == 0
    assert outcomes == dict.fromkeys(FAILURES, "ok")


# On a faulty server


def test_a_broken_documented_law_fails_and_its_program_runs_with_nothing_but_openai(
    tmp_path: Path, checked: Any
) -> None:
    with listening(planted.has_more_never()) as url:
        status, out, err = checked("--base-url", url, *only("has-more", "limit"))
        assert (status, err) == (1, "")
        head, _, rest = out.partition("== has-more (documented): broken\n\n")
        assert not head
        assert rest.endswith(
            "law       mark        outcome\n"
            "has-more  documented  BROKEN   has_more is to say whether more files follow\n"
            "limit     documented  ok\n"
            "\n"
            "2 laws: 1 ok, 1 broken\n"
        )
        program = rest.partition("\nlaw  ")[0]
        path = tmp_path / "program.py"
        path.write_text(program, encoding="utf-8")
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "AssertionError: has_more is to say whether more files follow" in done.stderr
    with listening() as url:
        correct = program.replace(program.split('base_url="')[1].split('"')[0], url)
        path.write_text(correct, encoding="utf-8")
        assert subprocess.run([sys.executable, str(path)], capture_output=True, check=False).returncode == 0


def test_a_recorded_law_fails_the_check_only_if_it_is_strict(tmp_path: Path, checked: Any) -> None:
    report = tmp_path / "report.xml"
    with listening(planted.limits_are_not_checked()) as url:
        lax = checked("--base-url", url, "--junit", str(report), *only("limit-range"))
        assert lax[0] == 0
        assert "\nlimit-range  recorded  broken   the request is to be refused\n" in lax[1]
        assert ET.parse(report).getroot().attrib["failures"] == "0"  # noqa: S314 - our own
        assert checked("--base-url", url, "--strict", "--junit", str(report), *only("limit-range"))[0] == 1
        assert ET.parse(report).getroot().attrib["failures"] == "1"  # noqa: S314 - our own


def test_what_cannot_be_deleted_is_said(checked: Any) -> None:
    def server(request: Any, ask: Any) -> Any:
        return planted.refusal(403) if request.method == "DELETE" else ask(request)

    with listening(server) as url:
        _, _, err = checked("--base-url", url, *only("after-create"))
    assert err.startswith("vsbatch: could not delete vs_")


def test_an_interrupted_check_deletes_what_it_made() -> None:
    with serving("--plan", "manual") as url, openai.OpenAI(base_url=url, api_key="x") as client:
        process = entry("check", "--base-url", url, "--no-uploads", "--budget", "600")
        while not client.vector_stores.list(limit=1).data:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert finished(process) == (130, "", "vsbatch: interrupted\n")
        assert client.vector_stores.list().data == []


# What is refused


def test_a_server_that_is_not_there_is_one_clear_line(checked: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    status, out, err = checked("--base-url", url)
    assert (status, out) == (2, "")
    assert err.startswith(f"vsbatch: no answer from {url}: ")
    assert err.endswith(f". {server.HINT}\n")
    assert err.count("\n") == 1


def test_a_server_elsewhere_is_left_alone_unless_one_says_yes(checked: Any) -> None:
    status, out, err = checked("--base-url", "https://api.example.invalid/v1")
    assert (status, out) == (2, "")
    assert "Give --yes-remote" in err
    status, out, err = checked("--base-url", "http://api.example.invalid/v1", "--yes-remote")
    assert (status, out) == (2, "")
    assert "no answer from" in err


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.8.8/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost:1/v1", True),
        ("http://api.localhost/v1", True),
        ("http://0.0.0.0/v1", False),
        ("http://127.0.0.1.example.org/v1", False),
        ("http://notlocalhost/v1", False),
        ("http://user@api.openai.com/v1", False),
    ],
)
def test_this_machine_is_known_by_name_or_address_alone(url: str, loopback: bool) -> None:
    assert server.is_loopback(url) is loopback


@pytest.mark.parametrize(
    "wrong",
    [
        ("--base-url", "127.0.0.1:8000"),
        ("--base-url", "ftp://127.0.0.1/v1"),
        ("--base-url", "http://"),
        ("--base-url", "http://127.0.0.1:port/v1"),
        ("--base-url", "http://127.0.0.1/\x1b[2J"),
        ("--budget", "0"),
        ("--budget", "nan"),
        ("--budget", "soon"),
        ("--examples", "0"),
        ("--examples", "many"),
    ],
)
def test_wrong_arguments_are_refused(wrong: tuple[str, str], checked: Any) -> None:
    status, out, err = checked("--base-url", "http://127.0.0.1:1/v1", *wrong)
    assert (status, out) == (2, "")
    assert f"argument {wrong[0]}: '" in err
    assert "\x1b" not in err


def test_a_law_that_there_is_not_is_refused_with_those_that_there_are(checked: Any) -> None:
    status, out, err = checked("--base-url", "http://127.0.0.1:1/v1", *only("murphy"))
    assert (status, out) == (2, "")
    assert err.startswith("vsbatch: there is no law 'murphy': give one of batch-shape, ")


@pytest.mark.parametrize(
    ("option", "path", "said"),
    [
        (
            "--bad-file",
            "nowhere",
            "cannot read 'nowhere': No such file or directory. Give a file that can be read",
        ),
        ("--bad-file", "null\0", "cannot read 'null\\x00': embedded null byte. Give a file that can be read"),
        (
            "--junit",
            "nowhere/report.xml",
            "cannot write 'nowhere/report.xml': No such file or directory. Give a path that can be written",
        ),
        ("--junit", "null\0", "cannot write 'null\\x00': embedded null byte. Give a path that can be written"),
    ],
)
def test_files_that_cannot_be_read_or_written_are_one_clear_line(
    option: str, path: str, said: str, checked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with listening() as url:
        status, _, err = checked("--base-url", url, option, path, "--budget", "0.001")
    assert (status, err) == (2, f"vsbatch: {said}\n")


def test_a_report_whose_folder_is_gone_when_the_check_has_ended_is_told_in_one_line(
    checked: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove(request: Any, ask: Any) -> Any:
        if folder.exists():
            folder.rmdir()
        return ask(request)

    with listening(remove) as url:
        status, out, err = checked("--base-url", url, "--junit", str(folder / "x.xml"), *only("after-create"))
    reason = "No such file or directory. Give a path that can be written"
    assert (status, out, err) == (2, "", f"vsbatch: cannot write '{folder / 'x.xml'}': {reason}\n")


@pytest.mark.parametrize("hidden", ["openai", "hypothesis"])
def test_a_missing_extra_is_one_line_that_can_be_pasted(hidden: str) -> None:
    code = f"import sys; sys.modules[{hidden!r}] = None; import vsbatch_core.__main__"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "--base-url", "http://127.0.0.1:1/v1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": SEARCH},
    )
    line = f"vsbatch: the conformance laws need the official client and Hypothesis: {pip_line('check')}"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")
