"""The API as an ASGI application: alone, below a prefix, mounted in other frameworks, and piece by piece."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from attrs import define, field
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount

from vsbatch_core import Engine, errors
from vsbatch_core.adapters.asgi import App
from vsbatch_core.adapters.http import Api, Response

from ..helpers.brief import examples
from ..helpers.strategies import UPLOAD, as_request, call, populated, said, sent, served, state

Message = dict[str, Any]


@define
class Wire:
    """The two ends of a connection: what the application is told, and what it said."""

    messages: Iterator[Message]
    said: list[Message] = field(factory=list)
    heard: int = 0

    async def receive(self) -> Message:
        self.heard += 1
        return next(self.messages)

    async def send(self, message: Message) -> None:
        self.said.append(message)

    def response(self) -> Response:
        start, body = self.said
        assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
        assert all(type(name) is bytes and type(value) is bytes for name, value in start["headers"])
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        assert ("content-length", str(len(body["body"]))) in headers
        return Response(start["status"], headers, body["body"])


def scope(method: str, path: str, *, query: bytes = b"", headers: Any = (), **more: Any) -> Message:
    raw = path.encode("latin-1")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw,
        "query_string": query,
        "root_path": "",
        "headers": list(headers),
        **more,
    }


def body(*chunks: bytes) -> Iterator[Message]:
    """The messages that bring a body in chunks, and then nothing but the end of the connection."""
    for n, chunk in enumerate(chunks, start=1):
        yield {"type": "http.request", "body": chunk, "more_body": n < len(chunks)}
    yield {"type": "http.disconnect"}


def spoken(app: Any, of: Message, messages: Iterator[Message]) -> Wire:
    wire = Wire(messages)
    asyncio.run(app(of, wire.receive, wire.send))
    return wire


def answered(app: Any, of: Message, *chunks: bytes) -> Response:
    return spoken(app, of, body(*(chunks or (b"",)))).response()


JSON = [(b"content-type", b"application/json")]


# One request, one response


def test_a_request_is_answered_as_dispatch_answers_it() -> None:
    for request in (
        sent("GET", "/v1/vector_stores?limit=1&order=asc"),
        sent("POST", "/v1/vector_stores", {"name": "n"}),
        sent("GET", "/v1/files/file-1/content"),
        sent("PUT", "/v1/files"),
        UPLOAD,
    ):
        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers]
        of = scope(request.method, request.path, query=request.query.encode(), headers=headers)
        wanted = served().dispatch(request)
        length = ("content-length", str(len(wanted.body)))
        assert answered(App(served()), of, request.body) == Response(
            wanted.status, (*wanted.headers, length), wanted.body
        )


def test_an_engine_alone_is_served_too() -> None:
    assert said(answered(App(Engine()), scope("GET", "/v1/vector_stores")))["data"] == []


@given(st.lists(st.integers(0, 40), max_size=5))
def test_a_body_may_come_in_any_chunks(cuts: list[int]) -> None:
    whole = json.dumps({"name": "a longer name of a store"}).encode()
    ends = sorted(cuts)
    chunks = [whole[a:b] for a, b in zip([0, *ends], [*ends, len(whole)], strict=True)]
    assert said(answered(App(Engine()), scope("POST", "/v1/vector_stores", headers=JSON), *chunks))["name"] == (
        "a longer name of a store"
    )


def test_optional_parts_of_a_scope_and_of_a_message_may_be_missing() -> None:
    of = scope("GET", "/v1/vector_stores/vs_1")
    for name in ("raw_path", "query_string", "root_path"):
        del of[name]
    wire = spoken(App(populated()), of, iter([{"type": "http.request"}]))
    assert said(wire.response())["id"] == "vs_1"
    chunked = iter([{"type": "http.request", "more_body": True}, {"type": "http.request"}])
    assert said(spoken(App(populated()), of, chunked).response())["id"] == "vs_1"


def test_the_headers_of_a_refusal_go_out_as_bytes() -> None:
    response = answered(App(served()), scope("PUT", "/v1/files"))
    assert dict(response.headers)["allow"] == "GET, POST"


# Long bodies


def test_no_more_is_read_of_a_body_once_it_is_too_long() -> None:
    app = App(served(body_limit=10))

    def endless() -> Iterator[Message]:
        while True:
            yield {"type": "http.request", "body": b"123456", "more_body": True}

    wire = spoken(app, scope("POST", "/v1/vector_stores", headers=JSON), endless())
    assert (wire.response().status, wire.heard) == (413, 2)
    assert said(wire.response())["error"]["message"] == (
        "Request body too large: 12 bytes or more. Send at most 10 bytes."
    )


@pytest.mark.parametrize("chunks", [(b"{}" + b" " * 8,), (b"{}", b" " * 8), (b"{}", b" " * 8, b"")])
def test_a_body_of_exactly_the_limit_is_read(chunks: tuple[bytes, ...]) -> None:
    of = scope("POST", "/v1/vector_stores", headers=JSON)
    assert answered(App(served(body_limit=10)), of, *chunks).status == 200
    response = answered(App(served(body_limit=9)), of, *chunks)
    assert (response.status, said(response)["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("of", "status"),
    [
        (scope("POST", "/v1/files"), 401),
        (scope("POST", "/v1/nothing", headers=[(b"authorization", b"Bearer sk-1")]), 404),
        (scope("PUT", "/v1/files", headers=[(b"authorization", b"Bearer sk-1")]), 405),
        (
            scope("POST", "/v1/files", headers=[(b"authorization", b"Bearer sk-1"), (b"content-length", b"11")]),
            413,
        ),
    ],
)
def test_who_is_refused_by_the_head_alone_has_no_body_read(of: Message, status: int) -> None:
    api = served(api_keys=("sk-1",), body_limit=10)
    before = state(api)
    wire = spoken(App(api), of, body(b"1", b"2", b"3"))
    assert (wire.response().status, wire.heard) == (status, 1)
    assert state(api) == before


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_client_that_goes_away_is_not_answered_and_changes_nothing(chunks: int) -> None:
    api = served()
    before = state(api)
    messages = [{"type": "http.request", "body": b"{}", "more_body": True}] * chunks
    of = scope("POST", "/v1/vector_stores", headers=JSON)
    wire = spoken(App(api), of, iter([*messages, {"type": "http.disconnect"}]))
    assert wire.said == []
    assert state(api) == before


# Paths


@pytest.mark.parametrize("id", ["a/b", "a%2Fb", "a b", "кот", "%", "?", "#", "a+b"])
def test_an_id_is_read_from_the_path_as_it_came(id: str) -> None:
    engine = populated()
    engine.vector_stores.files.create("vs_2", file_id=id)
    request = as_request(call("vector_stores.files.retrieve", id, vector_store_id="vs_2"))
    of = scope("GET", request.path)
    assert said(answered(App(engine), of))["id"] == id
    # Servers that do not know the raw path give the decoded one, in which %2F cannot be told from a slash.
    if "/" not in id:
        del of["raw_path"]
        of["path"] = f"/v1/vector_stores/vs_2/files/{id}"
        assert said(answered(App(engine), of))["id"] == id


def test_bytes_of_a_path_or_query_that_should_have_been_encoded_are_read_as_utf_8() -> None:
    engine = populated()
    engine.vector_stores.files.create("vs_2", file_id="кот")
    of = scope("GET", "", raw_path="/v1/vector_stores/vs_2/files/кот".encode())
    assert said(answered(App(engine), of))["id"] == "кот"
    of = scope("GET", "/v1/vector_stores/vs_2/files", query="before=кот&order=asc&limit=1".encode())
    assert [file["id"] for file in said(answered(App(engine), of))["data"]] == ["file-d"]


@pytest.mark.parametrize("raw", [b"/v1/vector_stores/\xff", b"/v1/vector_stores/%ff"])
def test_a_path_that_is_no_utf_8_is_400(raw: bytes) -> None:
    response = answered(App(populated()), scope("GET", "", raw_path=raw))
    assert (response.status, said(response)["error"]["code"]) == (400, "invalid_url")


@pytest.mark.parametrize(
    ("root", "path", "status"),
    [
        ("", "/v1/vector_stores", 200),
        ("", "/vector_stores", 200),
        ("/api", "/api/v1/vector_stores", 200),
        ("/api", "/api/vector_stores", 200),
        ("/api/", "/api/vector_stores", 200),
        ("/a/b", "/a/b/v1/vector_stores", 200),
        ("/v1", "/v1/vector_stores", 200),
        ("/with space", "/with%20space/vector_stores", 200),
        ("/api", "/%61pi/vector_stores", 200),
        ("/кот", f"/{quote('кот')}/vector_stores", 200),
        ("/api", "/v1/vector_stores", 200),  # a server that has taken the prefix off
        ("/api", "/apivector_stores", 404),
        ("/api", "/api", 404),
        ("/api", "/api/", 404),
        ("/api", "/other/vector_stores", 404),
        ("", "/api/vector_stores", 404),
    ],
)
def test_the_prefix_that_it_is_mounted_at_is_no_part_of_the_path(root: str, path: str, status: int) -> None:
    assert answered(App(populated()), scope("GET", path, root_path=root)).status == status


texts = st.binary(max_size=20)


@given(
    st.sampled_from(("GET", "POST", "DELETE")),
    texts | texts.map(lambda raw: b"/v1/vector_stores/" + raw),
    texts,
    st.lists(
        st.tuples(st.sampled_from((b"content-type", b"content-length", b"authorization")), texts), max_size=3
    ),
    st.lists(texts, min_size=1, max_size=3),
    st.sampled_from(("", "/", "/v1", "/api")),
)
@settings(max_examples=examples(150))
def test_of_any_bytes_it_makes_an_answer_and_what_is_refused_changes_nothing(
    method: str, raw: bytes, query: bytes, headers: Any, chunks: list[bytes], root: str
) -> None:
    api = served(body_limit=30)
    before = state(api)
    of = scope(method, "", query=query, headers=headers, raw_path=raw, root_path=root)
    response = answered(App(api), of, *chunks)
    assert response.status in (200, 400, 404, 405, 413, 415)
    if response.status != 200:
        assert list(said(response)["error"]) == ["message", "type", "param", "code"]
        assert state(api) == before


# Other connections


def test_a_lifespan_is_started_and_ended() -> None:
    phases = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    wire = spoken(App(Engine()), {"type": "lifespan"}, phases)
    assert wire.said == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


def test_a_websocket_is_turned_away() -> None:
    of = scope("GET", "/v1/vector_stores", type="websocket")
    wire = spoken(App(Engine()), of, iter([{"type": "websocket.connect"}]))
    assert wire.said == [{"type": "websocket.close"}]


def test_a_connection_of_another_type_is_refused_as_asgi_wants_it() -> None:
    with pytest.raises(ValueError, match="The API speaks http, not 'webtransport'"):
        spoken(App(Engine()), {"type": "webtransport"}, iter(()))


def test_a_fault_of_the_host_is_500_for_the_client_and_raised_for_the_server() -> None:
    def deaf(_event: object) -> None:
        raise LookupError("secret")

    engine = populated()
    engine.subscribe(deaf)
    wire = Wire(body(b""))
    with pytest.raises(errors.SubscriberError):
        asyncio.run(App(engine)(scope("DELETE", "/v1/vector_stores/vs_2"), wire.receive, wire.send))
    response = wire.response()
    assert response.status == 500
    assert said(response) == {
        "error": {
            "message": "The server had an error while processing your request.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
    }


# Mounted


def starlette(api: Api) -> Any:
    return Starlette(routes=[Mount("/api/openai", app=App(api))])


def fastapi(api: Api) -> Any:
    app = FastAPI()
    app.mount("/api/openai", App(api))
    return app


def nested(api: Api) -> Any:
    return Starlette(routes=[Mount("/api", app=Starlette(routes=[Mount("/{name}", app=App(api))]))])


@contextmanager
def running(app: Any) -> Iterator[Any]:
    from starlette.testclient import TestClient

    with TestClient(app) as client:
        yield client


# Where the SDK is built on httpx, Starlette's client is too, and warns that it would rather have httpx2.
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
@pytest.mark.parametrize("mounted", [starlette, fastapi, nested])
@pytest.mark.parametrize("prefix", ["/api/openai", "/api/openai/v1"])
def test_mounted_in_another_application_it_answers_below_the_prefix(mounted: Any, prefix: str) -> None:
    api = served()
    with running(mounted(api)) as client:
        made = client.post(f"{prefix}/vector_stores", json={"name": "кот"}).json()
        assert made == client.get(f"{prefix}/vector_stores/{made['id']}").json()
        assert api.engine.vector_stores.retrieve(made["id"]).name == "кот"
        client.post(f"{prefix}/vector_stores/{made['id']}/files", json={"file_id": "a/b"})
        assert client.get(f"{prefix}/vector_stores/{made['id']}/files/a%2Fb").json()["id"] == "a/b"
        upload = {"file": ("a.txt", b"hello")}
        file = client.post(f"{prefix}/files", files=upload, data={"purpose": "assistants"}).json()
        assert client.get(f"{prefix}/files/{file['id']}/content").content == b"hello"
        refused = client.put(f"{prefix}/files")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
        assert client.get(f"{prefix}/nothing").json()["error"]["code"] == "unknown_url"


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_alone_it_lives_through_its_lifespan_and_turns_websockets_away() -> None:
    from starlette.websockets import WebSocketDisconnect

    with running(App(served())) as client:
        assert client.get("/v1/vector_stores", params={"limit": 1}).json()["has_more"] is True
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/vector_stores"):
            pass
