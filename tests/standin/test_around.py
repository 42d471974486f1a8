"""The page's headers, whether the server is well, its metrics, and who counts as the page."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from vsbatch_core import Engine, errors
from vsbatch_core.adapters.faults import Faults
from vsbatch_core.adapters.http import ENDPOINTS, Response
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.extras import pip_line
from vsbatch_core.simulation import Plan
from vsbatch_core.standin import Settings, StandIn
from vsbatch_core.standin.app import StandInApp
from vsbatch_core.standin.metrics import OTHER, route

from ..helpers.brief import examples

JSON = {"content-type": "application/json"}
OWN = {"host": "127.0.0.1:8000"}


def asked(app: StandInApp, method: str, path: str, body: Any = None, **headers: str) -> Response:
    """What the application answers."""
    said: list[dict[str, Any]] = []
    given = {name.replace("_", "-"): value for name, value in {**OWN, **JSON, **headers}.items()}
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(app(scope, receive, send))
    start, *parts = said
    found = tuple((name.decode(), value.decode("latin-1")) for name, value in start["headers"])
    return Response(start["status"], found, b"".join(part["body"] for part in parts))


def app_of(**settings: Any) -> StandInApp:
    return StandInApp(StandIn(Settings(plan=Plan.manual(), **settings)), control=True)


def metrics(app: StandInApp) -> dict[tuple[str, ...], float]:
    """The samples of ``/metrics``, by name and the values of the labels in the order of their names."""
    response = asked(app, "GET", "/metrics")
    assert response.status == 200
    families = text_string_to_metric_families(response.body.decode())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


class Elements(HTMLParser):
    """The elements and what stands in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))
        self.open = tag

    def handle_endtag(self, _tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        self.inside[self.open] = self.inside.get(self.open, "") + data


def test_the_page_may_speak_to_its_own_server_alone_and_holds_all_that_it_needs() -> None:
    response = asked(app_of(), "GET", "/")
    headers = dict(response.headers)
    assert (response.status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    elements = Elements(response.body.decode())
    for tag in ("script", "style"):
        digest = b64encode(sha256(elements.inside[tag].encode()).digest()).decode()
        assert policy.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert policy.pop("connect-src") == "'self'"
    assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}
    for tag, attributes in elements.found:
        assert not {"src", "srcset", "style"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    script = elements.inside["script"]
    assert not re.search(
        r"innerHTML\s*=|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script
    )
    assert re.findall(r"https?://", response.body.decode()) == []


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics"])
def test_these_are_for_reading_and_no_requests_to_the_api(path: str) -> None:
    app = app_of(api={"api_keys": ("sk-1",)})
    assert asked(app, "GET", path).status == 200
    assert asked(app, "HEAD", path).status == 200
    refused = asked(app, "POST", path)
    assert (refused.status, dict(refused.headers)["allow"]) == (405, "GET, HEAD")
    assert len(app.standin.requests) == 0
    assert not [key for key in metrics(app) if key[0] == "vsbatch_requests_total"]


def test_a_server_whose_database_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of()
    well = asked(app, "GET", "/healthz")
    assert (well.status, json.loads(well.body)) == (200, {"status": "ok"})

    def broken(**_: Any) -> None:
        raise errors.DatabaseUnavailable("postgresql://somebody@somewhere", "it is gone")

    monkeypatch.setattr(app.standin.engine.vector_stores, "list", broken)
    ill = asked(app, "GET", "/healthz")
    assert (ill.status, json.loads(ill.body)["status"]) == (503, "unavailable")
    assert b"somewhere" not in ill.body


def test_an_engine_with_a_closed_database_is_told_by_metrics_as_by_the_api(tmp_path: Any) -> None:
    with Engine.open(f"sqlite:///{tmp_path}/x.db") as engine:
        standin = StandIn(Settings(), engine=engine, uploads=Uploads(clock=engine.clock))
        app = StandInApp(standin, control=True)
        assert asked(app, "GET", "/healthz").status == 200
        assert metrics(app)["vsbatch_vector_stores", "completed"] == 0
    assert asked(app, "GET", "/metrics").status == 500


@given(
    st.lists(
        st.sampled_from(
            [
                ("GET", "/v1/vector_stores", "/v1/vector_stores"),
                ("GET", "/vector_stores/vs_9", "/v1/vector_stores/{vector_store_id}"),
                (
                    "GET",
                    "/v1/vector_stores/vs_9/files/file-1",
                    "/v1/vector_stores/{vector_store_id}/files/{file_id}",
                ),
                ("POST", "/v1/vector_stores/x", "/v1/vector_stores/{vector_store_id}"),
                ("BREW", "/v1/vector_stores", "/v1/vector_stores"),
                ("GET", "/v1/no/such/url", OTHER),
                ("GET", "/favicon.ico", OTHER),
            ]
        ),
        max_size=8,
    )
)
@settings(max_examples=examples(30))  # each serves several requests
def test_each_request_is_counted_once_under_the_path_of_its_endpoint(
    requests: list[tuple[str, str, str]],
) -> None:
    app = app_of()
    expected: dict[tuple[str, ...], float] = {}
    for method, path, where in requests:
        status = str(asked(app, method, path).status)
        named = "other" if method == "BREW" else method
        key = ("vsbatch_requests_total", named, where, status)
        expected[key] = expected.get(key, 0) + 1
    found = metrics(app)
    assert {key: value for key, value in found.items() if key[0] == "vsbatch_requests_total"} == expected
    counted = sum(value for key, value in found.items() if key[0] == "vsbatch_request_seconds_count")
    assert counted == len(requests)
    assert json.loads(asked(app, "GET", "/_vsbatch/").body)["requests"] == len(requests)


def test_metrics_say_what_the_engine_holds_and_which_faults_acted() -> None:
    app = app_of(faults=Faults(file_batch=True))
    store = json.loads(asked(app, "POST", "/v1/vector_stores", {"name": "x"}).body)["id"]
    batch = json.loads(
        asked(app, "POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": ["a", "b", "c"]}).body
    )["id"]
    asked(app, "GET", f"/v1/vector_stores/{store}/file_batches/{batch}")
    asked(app, "POST", "/_vsbatch/files/fail", {"vector_store_id": store, "file_id": "b"})
    found = metrics(app)
    held = {key[1]: value for key, value in found.items() if key[0] == "vsbatch_vector_store_files"}
    assert held == {"in_progress": 2, "completed": 0, "failed": 1, "cancelled": 0}
    stores = {key[1]: value for key, value in found.items() if key[0] == "vsbatch_vector_stores"}
    assert stores == {"in_progress": 1, "completed": 0, "expired": 0}
    assert found["vsbatch_faults_total", "file_batch"] >= 1
    assert found["vsbatch_clock_seconds",] == app.standin.now
    # After a reset it is the new engine's.
    asked(app, "POST", "/_vsbatch/reset")
    assert metrics(app)["vsbatch_vector_stores", "in_progress"] == 0


def test_a_lost_response_is_counted_as_none() -> None:
    app = app_of(faults=Faults(dropped=True))
    with pytest.raises(Exception, match="answer"):
        asked(app, "GET", "/v1/vector_stores")
    assert metrics(app)["vsbatch_requests_total", "GET", "/v1/vector_stores", "none"] == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_every_endpoint_has_a_route_of_its_own(endpoint: tuple[int, tuple[str, ...]]) -> None:
    n, names = endpoint
    parts = [part for name in names for part in (name, "some-id")][:n]
    found = {route("/".join(["", *prefix, *parts])) for prefix in ((), ("v1",), ("openai",), ("openai", "v1"))}
    assert len(found) == 1
    (shown,) = found
    assert shown != OTHER
    assert "some-id" not in shown
    assert len(shown.split("/")) == n + 2


def test_without_the_extra_metrics_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "vsbatch_core.standin.metrics", raising=False)
    response = asked(app_of(), "GET", "/metrics")
    assert response.status == 501
    assert pip_line("metrics") in response.body.decode()


def test_open_metrics_are_served_to_who_asks_for_them() -> None:
    response = asked(app_of(), "GET", "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert dict(response.headers)["content-type"].startswith("application/openmetrics-text")
    assert response.body.endswith(b"# EOF\n")


PAGE = {"x_vsbatch_page": "1"}


def test_the_page_meets_no_faults_counts_as_no_poll_and_is_in_no_log() -> None:
    app = app_of(faults=Faults(dropped=True, first_list=True))
    store = app.standin.engine.vector_stores.create(file_ids=["file-a"]).id
    for path in ("/v1/vector_stores", f"/v1/vector_stores/{store}/files", "/v1/files"):
        assert asked(app, "GET", path, **PAGE).status == 200
    assert len(app.standin.requests) == 0
    assert app.standin.api.state.requests == 0


@pytest.mark.parametrize(
    "headers",
    [{}, {**PAGE, "origin": "http://elsewhere.example"}, {**PAGE, "host": "elsewhere.example"}],
    ids=["no page", "a page of another place", "another name of this server"],
)
def test_who_is_not_the_page_is_a_client(headers: dict[str, str]) -> None:
    app = app_of()
    assert asked(app, "GET", "/v1/vector_stores", **headers).status == 200
    assert len(app.standin.requests) == 1


def test_the_page_needs_the_keys_of_the_api_as_any_client() -> None:
    app = app_of(api={"api_keys": ("sk-1",)})
    assert asked(app, "GET", "/v1/vector_stores", **PAGE).status == 401
    assert asked(app, "GET", "/v1/vector_stores", **PAGE, authorization="Bearer sk-1").status == 200


def test_where_nothing_is_controlled_nobody_is_the_page() -> None:
    app = StandInApp(StandIn(Settings()))
    assert asked(app, "GET", "/v1/vector_stores", **PAGE).status == 200
    assert len(app.standin.requests) == 1
    assert asked(app, "GET", "/").status == 200


@given(n=st.integers(0, 5), asked_of=st.integers(0, 1))
def test_the_batches_of_a_store_are_listed_newest_first_without_a_poll(n: int, asked_of: int) -> None:
    app = StandInApp(StandIn(Settings(plan=Plan.after_polls(1))), control=True)
    stores = app.standin.engine.vector_stores
    ids = [stores.create().id, stores.create().id]
    batches = [stores.file_batches.create(ids[0], file_ids=[f"file-{i}"]).id for i in range(n)]
    for _ in range(2):
        response = asked(app, "GET", f"/_vsbatch/batches?vector_store_id={ids[asked_of]}")
        data = json.loads(response.body)["data"]
        assert [batch["id"] for batch in data] == (batches[::-1] if not asked_of else [])
        assert {batch["status"] for batch in data} <= {"in_progress"}


def test_of_a_store_that_is_not_there_no_batches_are_listed() -> None:
    assert asked(app_of(), "GET", "/_vsbatch/batches?vector_store_id=vs_9").status == 404
    assert asked(app_of(), "GET", "/_vsbatch/batches").status == 400
