"""``vsbatch bench``: over a socket, on our own server, on wrong ones and on none; its outputs and how it ends."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from vsbatch_core.cli import figures, main, server
from vsbatch_core.extras import pip_line
from vsbatch_core.load.counts import LAWS
from vsbatch_core.load.workload import OPERATIONS

from ..helpers import planted_servers as planted
from ..helpers.processes import Outputs, entry, finished, free_port, listening, posix, serving

pytestmark = pytest.mark.slow  # servers and processes of their own

SMALL = ("--batch-sizes", "1,5-30", "--requests", "150")


@pytest.fixture
def benched(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outputs]:
    """Run ``vsbatch bench`` in this process; answer the exit status, stdout and stderr."""

    def call(*argv: str | Path) -> Outputs:
        try:
            status = main(["bench", *map(str, argv)])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return (status, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def immediate() -> Iterator[str]:
    """Our own server, on which every file completes at once; its base URL."""
    with serving("--plan", "immediate") as url:
        yield url


@contextmanager
def answering(status: int, content_type: str, body: bytes) -> Iterator[str]:
    """A server that answers every request so; its base URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/v1"
        finally:
            running.shutdown()
            thread.join()


# On our own server


@pytest.mark.parametrize(
    ("plan", "loop"),
    [
        (("--plan", "immediate"), ("--rate", "400", "--in-flight", "150")),
        (
            ("--plan", "after-seconds:0.05", "--workers", "4", "--fail", "server_error=0.3"),
            ("--concurrency", "4"),
        ),
        (
            ("--plan", "after-seconds:0.05", "--workers", "4", "--policy", "cancel=drain"),
            ("--rate", "400", "--in-flight", "150"),
        ),
    ],
    ids=["immediate", "slow with failures", "drain on cancel"],
)
def test_our_own_server_answers_everything_and_its_counts_hold(
    plan: tuple[str, ...], loop: tuple[str, ...], benched: Any
) -> None:
    with serving(*plan) as url:
        status, out, err = benched("--base-url", url, "--json", *SMALL, *loop)
        with openai.OpenAI(base_url=url, api_key="x") as client:
            assert client.vector_stores.list().data == []
    data = json.loads(out)
    assert (status, err, data["errors"], data["violations"]) == (0, "", [], [])
    assert data["holds"]
    assert data["all"]["count"] == 150 == sum(row["count"] for row in data["operations"].values())
    assert set(data["operations"]) <= set(OPERATIONS)
    for row in data["operations"].values():
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert all(law["tried"] for law in data["laws"])
    assert {law["id"] for law in data["laws"]} == set(LAWS)
    assert data["loop"]["kind"] == ("closed" if loop[0] == "--concurrency" else "open")


def test_people_are_told_the_same_in_lines_of_which_none_is_too_long(immediate: str, benched: Any) -> None:
    url = immediate
    status, out, err = benched("--base-url", url, *SMALL, "--concurrency", "1", "--seed", "5")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    heading = "operation requests errors a second p50 ms p95 ms p99 ms max ms"
    assert lines[0] == f"{url}, seed 5, closed loop, 1 worker"
    assert re.fullmatch(r"150 requests in [\d.]+ s; [\d,.]+ a second answered as asked", lines[1])
    assert lines[3].split() == heading.split()
    rows = [line.split() for line in lines[4 : lines.index("", 4)] if not line.startswith("sent")]
    assert [row[0] for row in rows if row[0] in OPERATIONS] + ["all"] == [row[0] for row in rows]
    assert rows[-1][1:3] == ["150", "0"]
    assert re.search(r"^\d+ stores?, \d+ batches, [\d,]+ files$", out, re.MULTILINE)
    assert re.search(rf"^  total +ok +{LAWS['total']} +\d+$", out, re.MULTILINE)
    assert max(map(len, lines)) <= 110


def test_a_seed_gives_the_same_operations_and_another_seed_others(immediate: str, benched: Any) -> None:
    url = immediate
    runs = [
        json.loads(benched("--base-url", url, "--json", *SMALL, "--concurrency", "1", "--seed", seed)[1])
        for seed in ("1", "1", "2")
    ]
    made = [(run["made"], {name: row["count"] for name, row in run["operations"].items()}) for run in runs]
    assert made[0] == made[1] != made[2]


def test_the_duration_ends_a_run_whose_requests_do_not(immediate: str, benched: Any) -> None:
    url = immediate
    status, out, _ = benched(
        "--base-url", url, "--json", "--requests", "1000000", "--duration", "0.3", "--batch-sizes", "3"
    )
    data = json.loads(out)
    assert status == 0
    assert 1 <= data["all"]["count"] < 1_000_000
    assert data["seconds"] >= 0.3


def test_what_is_due_while_too_many_are_under_way_is_an_error_and_is_drawn(
    immediate: str, benched: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a picture.png"
    url = immediate
    status, out, err = benched("--base-url", url, "--rate", "100000", "--in-flight", "1", *SMALL, "--plot", path)
    assert (status, err) == (1, "")
    assert re.search(r"^  \d+ times overloaded; first: 1 requests were in flight", out, re.MULTILINE)
    assert "open loop, 100,000 requests a second due" in out
    assert re.search(r"^sent later than due, by this process: p99 [\d.]+ ms, max [\d.]+ ms$", out, re.MULTILINE)
    assert path.stat().st_size > 10_000


def test_a_mix_of_one_operation_sends_that_alone(immediate: str, benched: Any) -> None:
    argv = ("--json", "--mix", "create=1", "--requests", "9", "--batch-sizes", "2-3")
    status, out, _ = benched("--base-url", immediate, *argv)
    data = json.loads(out)
    assert status == 0
    assert list(data["operations"]) == ["create"]
    assert (data["made"]["stores"], data["made"]["batches"]) == (1, 10)
    assert 19 <= data["made"]["files"] <= 28


def test_files_are_uploaded_if_the_server_wants_that_and_deleted_in_the_end(benched: Any) -> None:
    with serving("--require-uploaded-files", "--workers", "64") as url:
        status, out, err = benched("--base-url", url, "--batch-sizes", "1-9", "--requests", "40")
        assert (status, out) == (2, "")
        assert "makes no batch: 404: No such File object: 'file-bench00000000'" in err
        assert err.endswith("Give --uploads\n")
        status, _, err = benched("--base-url", url, "--batch-sizes", "1-9", "--requests", "40", "--uploads")
        assert (status, err) == (0, "")
        with openai.OpenAI(base_url=url, api_key="x") as client:
            assert client.files.list().data == []
            assert client.vector_stores.list().data == []


def test_a_key_is_sent_and_not_printed_and_a_wrong_one_is_said_to_be_wrong(
    benched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "right-key")
    with serving("--api-key", "right-key") as url:
        status, out, err = benched("--base-url", url)
        assert (status, out) == (2, "")
        assert err.startswith(f"vsbatch: {url} refuses the API key: ")
        assert err.count("\n") == 1
        monkeypatch.setenv(server.KEY_VARIABLE, "right-key")
        status, out, err = benched("--base-url", url, "--requests", "5")
        assert (status, err) == (0, "")
        assert "right-key" not in out
        assert benched("--base-url", url, "--requests", "5", "--api-key", "wrong-key")[0] == 2


# On wrong servers


def test_a_wrong_server_is_told_by_id_what_was_expected_and_what_was_answered(benched: Any) -> None:
    with listening(planted.filter_is_ignored()) as url:
        status, out, err = benched(
            "--base-url", url, "--requests", "30", "--batch-sizes", "1-30", "--settle", "9"
        )
    assert (status, err) == (1, "")
    assert re.search(rf"^  lists +BROKEN: \d+ +{LAWS['lists']}", out, re.MULTILINE)
    assert re.search(
        r"^vsfb_\w+: lists: expected 0 cancelled files; answered \d+ listed, \d+ of them different, \d+ its own$",
        out,
        re.MULTILINE,
    ) or re.search(r"^vsfb_\w+: lists: expected \d+ in_progress files; answered", out, re.MULTILINE)


def test_errors_are_told_by_kind_and_by_operation(benched: Any) -> None:
    def refuse(request: Any, ask: Any) -> Any:
        if planted.is_list(request) and "file_batches" in request.path:
            return planted.refusal(503)
        return ask(request)

    with listening(refuse) as url:
        status, out, err = benched("--base-url", url, *SMALL, "--mix", "list=1", "--settle", "3")
    assert (status, err) == (1, "")
    assert "  150 times 503; first: no\n    list 150\n" in out
    assert re.search(r"^not answered: vsfb_\w+: 503: no$", out, re.MULTILINE)


def test_of_many_lines_the_first_are_printed_and_the_rest_is_counted(benched: Any) -> None:
    def refuse(request: Any, ask: Any) -> Any:
        return planted.refusal(403) if request.method == "DELETE" else ask(request)

    with listening(refuse) as url:
        status, out, err = benched("--base-url", url, "--mix", "store=1", "--requests", "29", "--json")
    assert status == 0
    assert len(json.loads(out)["not_deleted"]) == 30
    assert err.count("\n") == figures.SHOWN + 1
    assert err.splitlines()[0].startswith("vsbatch: could not delete vs_")
    assert err.splitlines()[-1] == "vsbatch: could not delete … 10 more"


def test_a_cancel_that_is_refused_because_the_batch_had_ended_is_told_and_is_no_error(benched: Any) -> None:
    def refuse(request: Any, ask: Any) -> Any:
        if planted.is_cancel(request):
            return planted.refusal(400)
        return ask(request)

    with listening(refuse) as url:
        argv = ("--base-url", url, "--batch-sizes", "1", "--mix", "retrieve=9,cancel=1", "--requests", "30")
        status, out, _ = benched(*argv, "--concurrency", "1", "--settle", "5", "--seed", "1")
    assert re.search(r"^\d+ cancels? refused because the batch had ended, which is no error$", out, re.MULTILINE)
    assert status == 0


# Interrupted


@posix
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_run_prints_what_was_measured_and_deletes_what_it_made(
    as_json: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a b.svg"
    with serving("--plan", "manual") as url, openai.OpenAI(base_url=url, api_key="x") as client:
        how = ("--json",) if as_json else ("--plot", str(path))
        argv = (*how, "--base-url", url, "--rate", "50", "--mix", "store=1,retrieve=1")
        process = entry("bench", *argv)
        while len(client.vector_stores.list(limit=5).data) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        status, out, err = finished(process)
        assert (status, err) == (130, "vsbatch: interrupted\n")
        assert client.vector_stores.list().data == []
    if as_json:
        data = json.loads(out)
        assert data["interrupted"]
        assert not data["holds"]
        assert data["all"]["count"] >= 1
    else:
        assert path.stat().st_size > 1000
        assert "interrupted: whether the counts hold was not looked at to the end\n" in out


@posix
def test_batches_that_do_not_end_in_time_are_told_with_the_option_that_gives_them_more(benched: Any) -> None:
    with serving("--plan", "manual") as url:
        status, out, err = benched(
            "--base-url", url, "--requests", "5", "--batch-sizes", "1", "--mix", "create=1", "--settle", "0.2"
        )
    assert (status, err) == (0, "")
    # A slow machine has not even looked at all of them when the time is over.
    assert re.search(r"^not known: how \d batches end: ", out, re.MULTILINE)
    assert out.endswith("\nto know it, give more seconds than --settle 0.2\n")


def test_interrupted_before_anything_was_measured_it_prints_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = entry("bench", "--base-url", f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            assert finished(process) == (130, "", "vsbatch: interrupted\n")


# What is refused


def test_a_server_that_is_not_there_is_one_clear_line(benched: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    status, out, err = benched("--base-url", url)
    assert (status, out) == (2, "")
    assert err.startswith(f"vsbatch: no answer from {url}: ")
    assert err.endswith(f". {server.HINT}\n")
    assert err.count("\n") == 1


def test_a_server_that_does_not_answer_in_time_is_one_clear_line(benched: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        outputs = benched("--base-url", url, "--timeout", "0.05")
    assert outputs == (2, "", f"vsbatch: no answer from {url}: no answer within 0.05 s. {server.HINT}\n")


@pytest.mark.parametrize(
    ("status", "content_type", "body", "said"),
    [
        (200, "text/html", b"<html>", "unreadable: text/html, not JSON"),
        (200, "application/json", b'{"hello": 1}', "unreadable: a page without data"),
        (404, "text/plain", b"no\n", "404: text/plain, not JSON"),
        # A redirect is not followed: the key would go along.
        (307, "application/json", b"{}", "307: no message"),
    ],
)
def test_what_is_no_server_of_this_api_is_one_clear_line(
    status: int, content_type: str, body: bytes, said: str, benched: Any
) -> None:
    with answering(status, content_type, body) as url:
        line = f"vsbatch: {url} is no server of this API: GET /vector_stores: {said}. {server.HINT}\n"
        assert benched("--base-url", url) == (2, "", line)


def test_a_server_elsewhere_is_left_alone_unless_one_says_yes(benched: Any) -> None:
    status, out, err = benched("--base-url", "https://api.example.invalid/v1")
    assert (status, out) == (2, "")
    assert "Give --yes-remote" in err
    status, out, err = benched("--base-url", "http://api.example.invalid/v1", "--yes-remote")
    assert (status, out) == (2, "")
    assert "no answer from" in err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--base-url", "127.0.0.1:8000"), "is not a URL: give one as http://127.0.0.1:8000/v1"),
        (("--concurrency", "0"), "'0' is not a whole number from 1"),
        (("--concurrency", "501"), "501 is more than 500"),
        (("--in-flight", "some"), "'some' is not a whole number from 1"),
        (("--in-flight", "501"), "501 is more than 500"),
        (("--rate", "0"), "'0' is not a number above 0 and up to 100,000"),
        (("--rate", "nan"), "'nan' is not a number above 0"),
        (("--rate", "inf"), "'inf' is not a number above 0"),
        (("--rate", "fast"), "'fast' is not a number above 0"),
        (("--requests", "0"), "'0' is not a whole number from 1"),
        (("--requests", "1000001"), "1,000,001 is more than 1,000,000"),
        (("--duration", "0"), "'0' is not a number above 0 and up to 3,600"),
        (("--duration", "3601"), "'3601' is not a number above 0 and up to 3,600"),
        (("--timeout", "601"), "'601' is not a number above 0 and up to 600"),
        (("--settle", "-1"), "'-1' is not a number above 0 and up to 600"),
        (("--seed", "x"), "'x' is not a whole number"),
        (("--mix", "retrieve"), "'retrieve': give each operation once, as retrieve=50, of store, create, "),
        (("--mix", "walk=1"), "'walk=1': give each operation once"),
        (("--mix", "list=1,list=2"), "'list=2': give each operation once"),
        (("--mix", "list=-1"), "'list=-1': give each operation once"),
        (("--mix", "list=inf"), "'list=inf': give each operation once"),
        (("--mix", "list=0,create=0"), "every weight is 0: nothing would be sent"),
        (("--mix", "\x1b[2J"), "'\\x1b[2J': give each operation once"),
        (("--batch-sizes", ""), "'': give sizes from 1 to 2000, as 20 or 1-500"),
        (("--batch-sizes", "0"), "'0': give sizes"),
        (("--batch-sizes", "1,2001"), "'2001': give sizes"),
        (("--batch-sizes", "5-1"), "'5-1': give sizes"),
        (("--batch-sizes", "1-"), "'1-': give sizes"),
    ],
)
def test_wrong_arguments_are_refused(wrong: tuple[str, str], said: str, benched: Any) -> None:
    status, out, err = benched("--base-url", "http://127.0.0.1:1/v1", "=".join(wrong))
    assert (status, out) == (2, "")
    assert f"argument {wrong[0]}: " in err
    assert said in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--rate", "5", "--concurrency", "3"), "not allowed with argument"),
        (("--in-flight", "5"), "--in-flight bounds the open loop: give --rate too"),
        (("--plot", "picture.gif"), "--plot: 'picture.gif' does not end in .png or .pdf or .svg"),
        (("--plot", "no where/x.png"), "cannot write 'no where/x.png': No such file or directory"),
        (("--plot", "null\0.png"), "cannot write 'null\\x00.png': embedded null byte"),
        (("--api-key", "two\nlines"), "a key has one or more printable ASCII characters and no space"),
        (("--base-url", "http://me:secret@127.0.0.1:1/v1"), "give no user in --base-url"),
    ],
)
def test_what_does_not_fit_together_or_cannot_be_is_one_clear_line(
    wrong: tuple[str, ...], said: str, benched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = benched("--base-url", "http://127.0.0.1:1/v1", *wrong)
    assert (status, out) == (2, "")
    assert said in err
    assert "secret" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_there_stays_if_nothing_is_measured(benched: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    assert benched("--base-url", f"http://127.0.0.1:{free_port()}/v1", "--plot", path)[0] == 2
    assert path.read_bytes() == b"old"


def test_a_picture_that_can_no_longer_be_written_is_said_after_what_was_measured(
    benched: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove(request: Any, ask: Any) -> Any:
        if folder.exists():
            folder.rmdir()
        return ask(request)

    with listening(remove) as url:
        status, out, err = benched(
            "--base-url", url, "--requests", "9", "--batch-sizes", "1", "--plot", folder / "x.png"
        )
    assert status == 2
    assert "9 requests in" in out
    reason = "No such file or directory. Give a path that can be written"
    assert err == f"vsbatch: cannot write '{folder / 'x.png'}': {reason}\n"


@pytest.mark.parametrize(
    ("hidden", "line"),
    [
        ("aiohttp", f"vsbatch bench needs aiohttp: {pip_line('bench')}"),
        ("matplotlib", f"--plot needs matplotlib: {pip_line('plot')}"),
    ],
)
def test_a_missing_extra_is_one_line_that_can_be_pasted(hidden: str, line: str) -> None:
    process = entry("bench", "--base-url", "http://127.0.0.1:1/v1", "--plot", "x.png", hide=hidden)
    assert finished(process) == (2, "", f"vsbatch: {line}\n")


def test_help_needs_no_extra_and_names_every_operation() -> None:
    code = (
        "import sys\n"
        "from vsbatch_core.cli import main\n"
        "try:\n    main(['bench', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'aiohttp', 'matplotlib', 'uvicorn', 'openai'} & set(sys.modules)))\n"
    )
    status, out, err = finished(entry(start=code))
    assert (status, err) == (0, "")
    assert out.endswith("\n[]\n")
    for name, what in OPERATIONS.items():
        assert re.search(rf"^  {name} +\d+  {re.escape(what)}$", out, re.MULTILINE)
