"""The server: official clients and curl over a real socket, and how it begins and ends."""

from __future__ import annotations

import argparse
import base64
import errno
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import openai
import pytest

from vsbatch_core.cli import clients as clients_module
from vsbatch_core.cli import main, parser, serve
from vsbatch_core.cli.server import KEY_VARIABLE
from vsbatch_core.extras import pip_line
from vsbatch_core.scenarios.files import OVERHEAD

from ..helpers.node import node_scenario, require_node
from ..helpers.processes import Outputs, RunningServer, entry, finished, posix, started

pytestmark = pytest.mark.slow  # servers and processes of their own

SLOW = ("--plan", "after-seconds:1e9")
"""A plan with which no file ends while a test lasts, however often its polling moves the time."""

RUN = "import vsbatch_core.__main__"
SLOWER = f"import sys; sys.modules.update(uvloop=None, httptools=None); {RUN}"
"""Code that starts the server where uvloop and httptools cannot be imported: it then uses asyncio and h11."""
BOTH = [pytest.param(None, id="as installed"), pytest.param(SLOWER, id="without uvloop and httptools")]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[..., RunningServer]]:
    """Servers by their arguments, each started when it is first asked for; all of them end quietly."""
    with ExitStack() as stack:
        running: dict[tuple[str, ...], RunningServer] = {}

        def get(*argv: str) -> RunningServer:
            if argv not in running:
                running[argv] = stack.enter_context(started(*argv))
            return running[argv]

        yield get
        for server in running.values():
            server.process.send_signal(signal.SIGTERM)
        ends = {argv: finished(server.process) for argv, server in running.items()}
        assert ends == dict.fromkeys(running, (0, "", ""))


@pytest.fixture
def clients(servers: Any) -> Iterator[Callable[..., openai.OpenAI]]:
    """An official client of the server with these arguments."""
    with ExitStack() as stack:

        def get(*argv: str, api_key: str = "none-needed", **options: Any) -> openai.OpenAI:
            options = {"base_url": servers(*argv).url, "max_retries": 0, **options}
            return stack.enter_context(openai.OpenAI(api_key=api_key, **options))

        yield get


def file_ids(n: int) -> list[str]:
    return [f"file-{i:04}" for i in range(n)]


def counts(batch: Any) -> dict[str, int]:
    """The counts that are not 0, of a client's batch or of one as JSON."""
    found = batch["file_counts"] if isinstance(batch, dict) else batch.file_counts.model_dump()
    return {name: n for name, n in found.items() if n and name != "total"}


@pytest.fixture
def documents(tmp_path: Path) -> dict[str, bytes]:
    """Real files by their paths: two that complete, one of a suffix that is not supported, one that is empty."""
    contents = {"a.txt": b"hello\n", "b.PDF": bytes(range(256)) * 40, "c.xyz": b"what is this?", "d.md": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {str(tmp_path / name): content for name, content in contents.items()}


ENDS = {"a.txt": None, "b.PDF": None, "c.xyz": "unsupported_file", "d.md": "invalid_file"}
"""By name, the error of those documents."""


# The official Python client


def test_create_and_poll_of_two_thousand_files_sees_them_all_complete(clients: Any) -> None:
    client = clients()
    store = client.vector_stores.create(name="docs")
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=file_ids(2000))
    assert batch.status == "completed"
    assert counts(batch) == {"completed": 2000}
    assert client.vector_stores.retrieve(store.id).status == "completed"


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_walk_sees_each_file_once_and_the_other_way_in_reverse(clients: Any, order: Any) -> None:
    client = clients()
    store = client.vector_stores.create()
    files = client.vector_stores.files
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=file_ids(250))
    walk = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, order=order, limit=7)
    expected = file_ids(250) if order == "asc" else file_ids(250)[::-1]
    assert [file.id for file in walk] == expected
    before = files.list(store.id, order=order, before=expected[100], limit=7)
    assert ([file.id for file in before.data], before.has_more) == (expected[93:100], True)
    assert [file.id for file in before] == expected[93:100]


def test_uploaded_files_end_as_their_suffix_and_size_say(clients: Any, documents: dict[str, bytes]) -> None:
    client = clients()
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.upload_and_poll(store.id, files=[Path(path) for path in documents])
    assert counts(batch) == {"completed": 2, "failed": 2}
    seen = {}
    for file in client.vector_stores.files.list(store.id):
        name = client.files.retrieve(file.id).filename
        seen[name] = file.last_error and file.last_error.code
        content = next(content for path, content in documents.items() if path.endswith(name))
        assert client.files.content(file.id).read() == content
        assert file.usage_bytes == (0 if file.last_error else len(content))
    assert seen == ENDS


def test_a_cancel_while_a_client_polls_ends_its_polling(clients: Any) -> None:
    client = clients(*SLOW)
    store = client.vector_stores.create()
    created = client.vector_stores.file_batches.create(store.id, file_ids=file_ids(5))
    polls = []

    def hear(_response: Any) -> None:
        polls.append(None)
        if len(polls) == 3:
            client.vector_stores.file_batches.cancel(created.id, vector_store_id=store.id)

    with openai.DefaultHttpxClient(event_hooks={"response": [hear]}) as http_client:
        poller = clients(*SLOW, http_client=http_client)
        batch = poller.vector_stores.file_batches.poll(created.id, vector_store_id=store.id)
    assert (batch.status, counts(batch)) == ("cancelled", {"cancelled": 5})
    assert len(polls) == 4


def test_every_refusal_is_the_error_class_that_the_client_has_for_it(clients: Any) -> None:
    client = clients()
    store = client.vector_stores.create()
    with pytest.raises(openai.NotFoundError, match=r"No vector store found with id 'vs_unknown'\.") as unknown:
        client.vector_stores.retrieve("vs_unknown")
    assert unknown.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.vector_stores.files.list(store.id, limit=101)
    assert (wrong.value.param, wrong.value.code) == ("limit", "integer_above_max_value")


# Plans


def test_with_the_plan_immediate_all_files_are_done_when_somebody_asks(clients: Any) -> None:
    client = clients("--plan", "immediate")
    store = client.vector_stores.create()
    created = client.vector_stores.file_batches.create(store.id, file_ids=file_ids(100))
    assert created.status == "in_progress"
    asked = client.vector_stores.file_batches.retrieve(created.id, vector_store_id=store.id)
    assert (asked.status, counts(asked)) == ("completed", {"completed": 100})


def test_with_a_slow_plan_that_fails_files_a_batch_ends_late_and_in_part(clients: Any) -> None:
    client = clients("--plan", "after-seconds:60", "--workers", "10", "--fail", "server_error=0.5", "--seed", "3")
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=file_ids(40))
    assert batch.status == "completed"
    assert set(counts(batch)) == {"completed", "failed"}
    failed = client.vector_stores.files.list(store.id, filter="failed")
    assert {file.last_error.code for file in failed} == {"server_error"}
    # Four rounds of ten files, a minute each, have passed; on the wall clock a second or two have.
    later = client.vector_stores.create()
    assert later.created_at - store.created_at >= 4 * 60


def test_with_drain_a_cancelled_batch_ends_when_those_files_have_that_were_taken_up(clients: Any) -> None:
    client = clients("--plan", "after-seconds:60", "--workers", "2", "--policy", "cancel=drain")
    batches = client.vector_stores.file_batches
    store = client.vector_stores.create()
    created = batches.create(store.id, file_ids=file_ids(5))
    batches.retrieve(created.id, vector_store_id=store.id)  # any request has the workers take up files
    cancelled = batches.cancel(created.id, vector_store_id=store.id)
    assert (cancelled.status, counts(cancelled)) == ("in_progress", {"in_progress": 2, "cancelled": 3})
    ended = batches.poll(created.id, vector_store_id=store.id)
    assert (ended.status, counts(ended)) == ("cancelled", {"completed": 2, "cancelled": 3})


def test_with_a_profile_and_a_policy_the_server_is_what_both_say(clients: Any) -> None:
    client = clients("--profile", "ogx", "--policy", "unnamed_store=null", "--policy", "duplicates=refuse")
    store = client.vector_stores.create(file_ids=file_ids(3))
    assert store.name is None
    files = client.vector_stores.files
    assert files.list(store.id, after="file-nowhere").data == files.list(store.id, order="asc").data
    with pytest.raises(openai.BadRequestError, match=r"file_ids\[1\]"):
        client.vector_stores.file_batches.create(store.id, file_ids=["file-n", "file-n"])


def test_with_the_plan_after_polls_a_batch_ends_at_that_look_at_it(clients: Any) -> None:
    client = clients("--plan", "after-polls:3")
    batches = client.vector_stores.file_batches
    store = client.vector_stores.create()
    created = batches.create(store.id, file_ids=file_ids(3))
    seen = [batches.retrieve(created.id, vector_store_id=store.id).status for _ in range(4)]
    assert seen == ["in_progress", "in_progress", "completed", "completed"]


def test_with_the_plan_manual_only_a_cancel_ends_a_batch(clients: Any) -> None:
    client = clients("--plan", "manual")
    batches = client.vector_stores.file_batches
    store = client.vector_stores.create()
    created = batches.create(store.id, file_ids=file_ids(3))
    asked = batches.with_raw_response.retrieve(
        created.id, vector_store_id=store.id, extra_headers={"X-Stainless-Poll-Helper": "true"}
    )
    assert counts(asked.parse()) == {"in_progress": 3}
    assert asked.headers["openai-poll-after-ms"] == "0"
    cancelled = batches.cancel(created.id, vector_store_id=store.id)
    assert (cancelled.status, counts(cancelled)) == ("cancelled", {"cancelled": 3})


def test_the_same_seed_gives_the_same_ids_and_failures() -> None:
    argv = ("--plan", "immediate", "--fail", "server_error=0.3", "--fail", "invalid_file=0.3", "--seed", "7")

    def history() -> Any:
        with (
            started(*argv) as server,
            openai.OpenAI(api_key="none-needed", base_url=server.url, max_retries=0) as client,
        ):
            store = client.vector_stores.create()
            batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=file_ids(50))
            files = client.vector_stores.files.list(store.id, order="asc", limit=100)
            return store.id, batch.id, [(file.status, file.last_error) for file in files]

    first = history()
    assert first == history()
    assert {error and error.code for _, error in first[2]} == {None, "server_error", "invalid_file"}


def test_in_real_time_a_poller_is_asked_to_wait_and_the_clock_is_the_walls(clients: Any) -> None:
    client = clients("--real-time", *SLOW)
    batches = client.vector_stores.file_batches
    store = client.vector_stores.create()
    created = batches.create(store.id, file_ids=file_ids(3))
    headers = {"X-Stainless-Poll-Helper": "true", "X-Stainless-Custom-Poll-Interval": "999000000"}
    polled = batches.with_raw_response.retrieve(created.id, vector_store_id=store.id, extra_headers=headers)
    assert polled.headers["openai-poll-after-ms"] == "1000"
    later = client.vector_stores.create()
    assert later.created_at - store.created_at < 999_000


# Keys and uploads


def test_on_any_address_only_the_keys_that_were_given_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ("--host", "0.0.0.0", "--api-key", "first", "--api-key", "second")  # noqa: S104 - whom they are for
    monkeypatch.setenv(KEY_VARIABLE, "third")
    with started(*argv) as server:
        for key in ("first", "second", "third"):
            with openai.OpenAI(api_key=key, base_url=server.url, max_retries=0) as client:
                assert client.vector_stores.list().data == []
        with openai.OpenAI(api_key="fourth", base_url=server.url, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                client.vector_stores.list()
            assert refused.value.code == "invalid_api_key"
        assert server.end() == (0, "", "")
        assert not re.search("first|second|third", server.said)


def test_where_uploads_are_required_an_id_that_was_never_uploaded_is_refused(clients: Any) -> None:
    client = clients("--require-uploaded-files")
    store = client.vector_stores.create()
    with pytest.raises(openai.NotFoundError, match="file-0000"):
        client.vector_stores.file_batches.create(store.id, file_ids=file_ids(1))
    uploaded = client.files.create(file=("a.txt", b"hello"), purpose="assistants")
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=[uploaded.id])
    assert (batch.status, client.vector_stores.retrieve(store.id).usage_bytes) == ("completed", 5)


# curl


def curl(*argv: str) -> tuple[int, dict[str, str], Any]:
    """The status, the headers and the JSON that curl is answered."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--include", "--max-time", "60", "--noproxy", "*", *argv]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    head, _, body = answer.rpartition("\n\n")
    status, *lines = head.split("\n\n")[-1].splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


def test_curl_creates_polls_uploads_and_is_refused(servers: Any, documents: dict[str, bytes]) -> None:
    url = servers().url
    post = ("--header", "content-type: application/json", "--data")
    status, headers, store = curl(f"{url}/vector_stores", *post, '{"name": "curl"}')
    assert (status, headers["content-type"], store["name"]) == (200, "application/json", "curl")
    (path, content), *_ = documents.items()
    status, _, file = curl(f"{url}/files", "--form", "purpose=assistants", "--form", f"file=@{path}")
    assert (status, file["filename"], file["bytes"]) == (200, Path(path).name, len(content))
    batches = f"{url}/vector_stores/{store['id']}/file_batches"
    status, _, batch = curl(batches, *post, json.dumps({"file_ids": [file["id"], "file-other"]}))
    assert (status, counts(batch)) == (200, {"in_progress": 2})
    one = f"{batches}/{batch['id']}"
    poll = ("--header", "X-Stainless-Poll-Helper: true")
    status, headers, batch = curl(one, *poll)
    assert (status, headers["openai-poll-after-ms"]) == (200, "0")
    # A second has passed: more than these files need.
    assert OVERHEAD + len(content) / 1_000_000 < 1
    status, headers, batch = curl(one)
    assert (status, batch["status"], counts(batch)) == (200, "completed", {"completed": 2})
    assert "openai-poll-after-ms" not in headers
    status, headers, error = curl(one, "--request", "DELETE")
    assert (status, headers["allow"], error["error"]["code"]) == (405, "GET", "method_not_allowed")
    status, _, error = curl(f"{url}/nothing")
    assert (status, error["error"]["code"]) == (404, "unknown_url")


# The official Node client


@pytest.fixture
def node(servers: Any) -> Callable[..., Any]:
    """Run a scenario with the official Node client against a server; return what the client saw."""
    require_node()

    def run(name: str, *given: object, serve_with: tuple[str, ...] = (), key: str = "none-needed") -> Any:
        return node_scenario(servers(*serve_with).url, name, *given, key=key)

    return run


def test_node_creates_and_retrieves_what_the_api_documents(node: Any) -> None:
    seen = node("create")
    assert (seen["store"]["object"], seen["store"]["name"]) == ("vector_store", "node")
    assert (seen["created"]["object"], seen["created"]["status"]) == ("vector_store.files_batch", "in_progress")
    assert seen["created"]["file_counts"]["total"] == 3
    assert seen["retrieved"]["id"] == seen["created"]["id"]


def test_node_create_and_poll_sees_two_thousand_files_complete(node: Any) -> None:
    seen = node("createAndPoll", 2000)
    assert (seen["batch"]["status"], counts(seen["batch"])) == ("completed", {"completed": 2000})
    assert (seen["file"]["status"], seen["store"]["status"]) == ("completed", "completed")


def test_node_cancels_while_it_polls(node: Any) -> None:
    seen = node("cancelWhilePolling", serve_with=SLOW)
    assert seen["polled"] == seen["cancelled"]
    assert (seen["polled"]["status"], counts(seen["polled"])) == ("cancelled", {"cancelled": 5})
    assert seen["polls"] == 4


def test_node_pages_through_all_files_both_ways(node: Any) -> None:
    seen, ids = node("listing", 50), file_ids(50)
    assert seen["asc"] == {"first": ids[:7], "hasMore": True, "all": ids}
    assert seen["desc"] == {"first": ids[:-8:-1], "hasMore": True, "all": ids[::-1]}
    assert seen["before"] == {"first": ids[18:25], "hasMore": True, "all": ids[18:25]}
    assert sorted(seen["completed"]["all"]) == ids
    assert seen["inStore"] == ids


def test_node_uploads_real_files(node: Any, documents: dict[str, bytes]) -> None:
    seen = node("uploadAndPoll", *documents)
    assert counts(seen["batch"]) == {"completed": 2, "failed": 2}
    assert {name: file["error"] for name, file in seen["files"].items()} == ENDS
    for path, content in documents.items():
        file = seen["files"][Path(path).name]
        assert base64.b64decode(file["content"]) == content
        assert file["bytes"] == len(content)
        assert file["usage"] == (0 if file["error"] else len(content))


def test_node_has_an_error_class_for_each_refusal(node: Any) -> None:
    seen = node("refusals", serve_with=("--api-key", "right"), key="right")
    assert {name: (error["class"], error["status"], error["code"]) for name, error in seen.items()} == {
        "unknown": ("NotFoundError", 404, None),
        "wrong": ("BadRequestError", 400, "empty_array"),
        "limit": ("BadRequestError", 400, "integer_above_max_value"),
        "key": ("AuthenticationError", 401, "invalid_api_key"),
    }
    assert seen["limit"]["error"]["param"] == "limit"


# The README's recipes

README = Path(__file__).resolve().parents[2] / "README.md"


def recipe(title: str) -> str:
    found = re.search(rf"^### {title}\n(.*?)^##", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


# Where the SDK is built on httpx, Starlette's client is too, and warns that it would rather have httpx2.
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_the_recipe_for_mounting_it_in_a_server_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", recipe("Mount it in your server"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)  # noqa: S102 - it is the README's
    headers = {"authorization": "Bearer secret"}
    with TestClient(names["server"], headers=headers) as client:
        form = {"files": {"file": ("a.txt", b"hello")}, "data": {"purpose": "assistants"}}
        file = client.post("/openai/v1/files", **form).json()
        store = client.post("/openai/v1/vector_stores", json={"file_ids": [file["id"]]}).json()
        stop = Event()
        worker = Thread(target=names["work"], args=(stop,))
        worker.start()
        while client.get(f"/openai/v1/vector_stores/{store['id']}").json()["status"] == "in_progress":
            time.sleep(0.01)
        stop.set()
        worker.join()
        done = client.get(f"/openai/v1/vector_stores/{store['id']}").json()
        assert (done["status"], done["usage_bytes"], counts(done)) == ("completed", 5, {"completed": 1})
        unknown = client.post(f"/openai/v1/vector_stores/{store['id']}/files", json={"file_id": "file-unknown"})
        assert unknown.status_code == 404
        assert client.get("/openai/v1/files", headers={"authorization": "Bearer other"}).status_code == 401
    names["engine"].close()
    names["uploads"].close()
    again: dict[str, Any] = {}
    exec(code[1], again)  # noqa: S102 - after a restart
    with TestClient(again["server"], headers=headers) as client:
        assert client.get(f"/openai/v1/vector_stores/{store['id']}").json() == done
        assert client.get(f"/openai/v1/files/{file['id']}/content").content == b"hello"
    again["engine"].close()
    again["uploads"].close()


def test_the_recipe_for_a_stand_in_names_options_that_there_are_and_the_line_that_is_printed(
    servers: Any,
) -> None:
    text = recipe("Run it as a local stand-in")
    for line in re.findall("`(--[^`]+)`", text):
        arguments = parser().parse_args(["serve", *line.split()])
        assert arguments.command is serve.command
    defaults = parser().parse_args(["serve"])
    assert f"http://{defaults.host}:{defaults.port}/v1" in text
    _, exported = servers().said.splitlines()
    assert re.sub(r":\d+/", ":8000/", exported) in text


# How it begins


def test_it_says_where_it_serves_and_how_to_point_a_client_there(servers: Any) -> None:
    server = servers()
    host, port = server.address
    assert (host, server.url) == ("127.0.0.1", f"http://127.0.0.1:{port}/v1")
    assert server.said == (
        f"vsbatch: serving on {server.url}\nexport OPENAI_BASE_URL={server.url} OPENAI_API_KEY=none-needed\n"
    )


def test_a_client_with_that_environment_needs_no_arguments(servers: Any) -> None:
    _, exported = servers().said.splitlines()
    variables = dict(word.split("=", 1) for word in exported.split()[1:])
    program = "import openai; print(openai.OpenAI().vector_stores.create(name='env').name)"
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **variables})
    assert answer.stdout == "env\n"


def test_whoever_serves_others_without_a_key_is_warned() -> None:
    with started("--host", "0.0.0.0") as server:  # noqa: S104 - that is the point
        assert server.url.startswith("http://0.0.0.0:")
        assert server.end() == (
            0,
            "",
            "vsbatch: warning: whoever can reach 0.0.0.0 can use this server: give --api-key or no --host\n",
        )


def test_it_serves_on_ipv6_as_well() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with (
        started("--host", "::1") as server,
        openai.OpenAI(api_key="none-needed", base_url=server.url, max_retries=0) as client,
    ):
        assert server.url.startswith("http://[::1]:")
        assert client.vector_stores.list().data == []
        assert server.end() == (0, "", "")


def test_connections_send_without_delay() -> None:
    with serve.listener("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


Serve = Callable[..., Outputs]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Serve:
    """Run ``vsbatch serve`` in this process, where it must not come to serving; answer what it says."""

    def call(*argv: str) -> Outputs:
        status: Any
        try:
            status = main(["serve", *argv])
        except SystemExit as ended:
            status = ended.code
        return (status, *capsys.readouterr())

    return call


def test_a_port_that_is_taken_is_told_in_one_line(refused: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = f"port {port} of 127.0.0.1 is taken: stop what listens there, or give another --port (0: any)"
        assert refused("--port", str(port)) == (2, "", f"vsbatch: {said}\n")


def test_a_server_takes_its_port(servers: Any, refused: Serve) -> None:
    _, port = servers().address
    status, _, err = refused("--port", str(port))
    assert status == 2
    assert f"port {port} of 127.0.0.1 is taken" in err


def test_a_port_that_may_not_be_used_is_told_in_one_line(refused: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_arguments: Any, **_options: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied (and more that nobody wants to read)")

    monkeypatch.setattr(socket, "create_server", denied)
    assert refused("--port", "80") == (
        2,
        "",
        "vsbatch: cannot listen on port 80 of 127.0.0.1: Permission denied\n",
    )


@pytest.mark.parametrize("host", ["", "x" * 70 + ".example"])
def test_a_host_that_is_none_is_told_in_one_line(refused: Serve, host: str) -> None:
    assert refused("--host", host) == (
        2,
        "",
        f"vsbatch: there is no host '{host}': give --host an address of this machine\n",
    )


@pytest.mark.parametrize("extra", ["uvicorn", "python_multipart"])
def test_a_missing_extra_is_told_with_the_line_that_installs_it(extra: str) -> None:
    assert finished(entry("serve", hide=extra)) == (
        2,
        "",
        f"vsbatch: vsbatch serve needs uvicorn and python-multipart: {pip_line('server')}\n",
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "x"], "'x' is not a whole number"),
        (["--port", "-1"], "-1 is not a port: give 1 to 65535, or 0 for one that is free"),
        (["--port", "65536"], "65536 is not a port: give 1 to 65535, or 0 for one that is free"),
        (["--workers", "0"], "'0' is not a whole number from 1"),
        (["--seed", "1.5"], "'1.5' is not a whole number"),
        (["--api-key", ""], "a key has one or more printable ASCII characters and no space"),
        (["--api-key", "two words"], "a key has one or more printable ASCII characters and no space"),
        (["--api-key", "schlüssel"], "a key has one or more printable ASCII characters and no space"),
        (
            ["--plan", "soon"],
            "'soon' is no plan: give files, immediate, manual, after-seconds:S or after-polls:N",
        ),
        (["--plan", "files:3"], "'files:3' is no plan"),
        (["--plan", "manual:"], "'manual:' is no plan"),
        (["--plan", "after-seconds"], "'after-seconds' is no plan"),
        (["--plan", "after-seconds:x"], "'after-seconds:x' is no plan"),
        (["--plan", "after-seconds:-1"], "'after-seconds:-1' is no plan"),
        (["--plan", "after-seconds:inf"], "'after-seconds:inf' is no plan"),
        (["--plan", "after-seconds:nan"], "'after-seconds:nan' is no plan"),
        (["--plan", "after-polls"], "'after-polls' is no plan"),
        (["--plan", "after-polls:0"], "'after-polls:0' is no plan"),
        (["--plan", "after-polls:1.5"], "'after-polls:1.5' is no plan"),
        (["--plan", "after-polls:inf"], "'after-polls:inf' is no plan"),
        (["--plan", "after-polls:2", "--workers", "2"], "--workers says nothing of --plan after-polls"),
        (["--fail", "late=0.1"], "'late' is no error code of the API: those are server_error, "),
        (["--fail", "server_error"], "'server_error': give a probability from 0 to 1, as server_error=0.1"),
        (["--fail", "server_error=2"], "'server_error=2': give a probability from 0 to 1, as server_error=0.1"),
        (["--fail", "server_error=nan"], "'server_error=nan': give a probability from 0 to 1"),
        (["--policy", "cancel=later"], "'cancel=later' is no policy: give cancel=immediate or cancel=drain"),
        (["--policy", "cancel"], "'cancel' is no policy: give cancel=immediate or cancel=drain"),
        (["--policy", "tees=by_id"], "'tees=by_id' is no policy: those are batch_object, all_failed, "),
        (["--cors", "example.com"], "'example.com' is no origin: give scheme, host and port"),
        (["--profile", "other"], "invalid choice: 'other'"),
        (["--fail", "server_error=0.1"], "--fail says nothing of --plan files: leave one of them out"),
        (
            ["--plan", "manual", "--workers", "2"],
            "--workers says nothing of --plan manual: leave one of them out",
        ),
        (
            ["--plan", "immediate", "--fail", "server_error=0.7", "--fail", "invalid_file=0.7"],
            "--fail: the probabilities sum to 1.4: give at most 1 together",
        ),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_told_with_what_to_give_instead(refused: Serve, argv: list[str], said: str) -> None:
    status, out, err = refused(*argv)
    assert (status, out) == (2, "")
    assert said in err


def test_a_wrong_key_in_the_environment_is_told_by_the_variables_name(
    refused: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "two words")
    status, out, err = refused()
    assert (status, out) == (2, "")
    assert err.startswith(f"vsbatch: {KEY_VARIABLE}: a key has one or more printable ASCII characters")
    assert "two words" not in err


def test_other_clients_are_served_as_the_arguments_say() -> None:
    def api(*argv: str) -> dict[str, Any]:
        parser = argparse.ArgumentParser()
        clients_module.add_to(parser)
        return clients_module.options(parser.parse_args(argv))

    assert api() == {"lenient": False}
    assert api("--lenient", "--cors", "none") == {"lenient": True, "cors": ()}
    assert api("--cors", "https://a.example", "--cors", "*")["cors"] == ("https://a.example", "*")


def test_a_lenient_server_takes_what_others_know(clients: Any) -> None:
    client = clients("--lenient")
    store = client.vector_stores.create(
        name="n", extra_body={"embedding_model": "m"}, extra_query={"provider": "p"}
    )
    assert store.name == "n"
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'embedding_model'"):
        clients().vector_stores.create(extra_body={"embedding_model": "m"})


# With uvloop and httptools, and without


@pytest.mark.parametrize("start", ["", "import sys; sys.modules.update(uvloop=None, httptools=None)"])
def test_it_uses_uvloop_and_httptools_where_they_are_installed_and_says_nothing(start: str) -> None:
    installed = "uvloop httptools" if find_spec("uvloop") and find_spec("httptools") else ""
    show = "import sys, atexit; atexit.register(lambda: print(*[n for n in used if sys.modules.get(n)]))"
    with started(start=f"used = 'uvloop', 'httptools'; {show}\n{start}\n{RUN}") as server:
        with openai.OpenAI(api_key="none-needed", base_url=server.url, max_retries=0) as client:
            assert client.vector_stores.list().data == []
        status, out, err = server.end()
    assert (status, out.strip(), err) == (0, "" if start else installed, "")


def exchanged(server: RunningServer, sent: bytes, *, ends: bool) -> bytes:
    """Send bytes over a connection of their own, ended there or kept open; return all that is received."""
    with socket.create_connection(server.address, timeout=60) as connection:
        connection.sendall(sent)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        while piece := connection.recv(65536):
            received += piece
        return bytes(received)


@pytest.mark.parametrize("start", BOTH)
def test_a_request_that_is_wrong_too_large_or_never_complete_leaves_the_server_as_it_was(
    start: str | None,
) -> None:
    post = (
        b"POST /v1/vector_stores HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    )
    with (
        started(start=start) as server,
        openai.OpenAI(api_key="none-needed", base_url=server.url, max_retries=0) as client,
    ):
        for wrong in (b"NONSENSE\r\n\r\n", post + b"content-length: many\r\n\r\n"):
            assert exchanged(server, wrong, ends=True).startswith(b"HTTP/1.1 400 ")
        announced = exchanged(server, post + b"content-length: 99999999999\r\n\r\n{", ends=False)
        head, _, body = announced.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert json.loads(body)["error"]["code"] == "body_too_large"
        for part in (b"POST /v1/vec", post, post + b"content-length: 100\r\n\r\n{"):
            assert exchanged(server, part, ends=True) == b""
        chunked = post + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        assert exchanged(server, chunked, ends=False).startswith(b"HTTP/1.1 200 ")
        assert len(client.vector_stores.list().data) == 1
        status, out, err = server.end()
    assert (status, out) == (0, "")
    assert set(err.splitlines()) == {"WARNING:  Invalid HTTP request received."}


# How it ends


@posix
@pytest.mark.parametrize("start", BOTH)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly_once_the_request_in_flight_is_answered(number: int, start: str | None) -> None:
    body = json.dumps({"file_ids": file_ids(2000)}).encode()
    with (
        started(start=start) as server,
        openai.OpenAI(api_key="none-needed", base_url=server.url, max_retries=0) as client,
    ):
        store = client.vector_stores.create()
        with socket.create_connection(server.address) as connection:
            head = (
                f"POST /v1/vector_stores/{store.id}/file_batches HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            # The application is now waiting for the body.
            connection.sendall(body[:100])
            server.process.send_signal(number)
            wait_until_refused(server.address)
            assert server.process.poll() is None
            connection.sendall(body[100:])
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            assert json.loads(response.read())["file_counts"]["total"] == 2000
        assert finished(server.process) == (0, "", "")


def wait_until_refused(address: tuple[str, int]) -> None:
    """Return when the server takes no more connections, however long a loaded machine takes for that."""
    while True:
        try:
            socket.create_connection(address).close()
        except ConnectionError:
            return
        time.sleep(0.01)


@posix
def test_signal_handlers_are_as_before_when_it_has_ended(capfd: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    with serve.listener("127.0.0.1", 0) as listening:
        serve.run(app, listening, lambda: signal.raise_signal(signal.SIGTERM))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert capfd.readouterr() == ("", "")


@posix
def test_a_reader_of_its_first_line_that_goes_away_ends_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = entry("serve", "--port", "0", stdout=writer)
    finally:
        os.close(writer)
    status, _, err = finished(process)
    assert (status, err) == (141, "")
