"""What other clients ask of the API: Azure's, browsers, those that read content or send what others know."""

import asyncio
import json
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine
from vsbatch_core.adapters import openai as adapter
from vsbatch_core.adapters.asgi import App
from vsbatch_core.adapters.http import Api, Request
from vsbatch_core.adapters.uploads import Uploads

from ..helpers.brief import examples
from ..helpers.strategies import UPLOAD, form, said, sent, served, state

# Azure


def azure(api: Api, **options: Any) -> openai.AzureOpenAI:
    http_client = adapter.client(api)._client  # the transport of any client
    return openai.AzureOpenAI(
        azure_endpoint="http://server", http_client=http_client, max_retries=0, **{"api_key": "sk-1", **options}
    )


def test_the_client_of_azure_creates_uploads_polls_and_reads() -> None:
    uploads = Uploads()
    api = Api(Engine(file_size=uploads.file_size), uploads=uploads, api_keys=("sk-1",))
    with azure(api, api_version="2025-04-01-preview") as client:
        file = client.files.create(file=("a.md", b"# A page"), purpose="assistants")
        store = client.vector_stores.create(name="handbook")
        batch = client.vector_stores.file_batches.create(store.id, file_ids=[file.id])
        api.engine.processing.complete(store.id, file.id)
        batch = client.vector_stores.file_batches.poll(batch.id, vector_store_id=store.id)
        assert (batch.status, batch.file_counts.completed) == ("completed", 1)
        (found,) = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id)
        assert found.id == file.id
        assert [part.text for part in client.vector_stores.files.content(file.id, vector_store_id=store.id)] == [
            "# A page"
        ]


def test_its_key_is_one_of_the_servers_and_so_is_a_token() -> None:
    api = Api(Engine(), api_keys=("sk-1", "sk-2"))
    with azure(api, api_version="1", api_key="sk-3") as client, pytest.raises(openai.AuthenticationError):
        client.vector_stores.list()
    with azure(api, api_version="1", api_key="sk-2") as client:
        assert client.vector_stores.list().data == []
    token = {"api_key": None, "azure_ad_token": "sk-1"}
    with azure(api, api_version="1", **token) as client:
        assert client.vector_stores.list().data == []


# The content of a file in a store


@pytest.fixture
def world() -> tuple[Api, openai.OpenAI]:
    uploads = Uploads()
    api = Api(Engine(file_size=uploads.file_size), uploads=uploads)
    return api, adapter.client(api, max_retries=0)


@pytest.mark.parametrize("status", ["in_progress", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("text", ["", "# A page\r\n\n", "кот \N{PILE OF POO}\x00\ufeff"])
def test_the_text_of_a_file_is_what_was_uploaded_whatever_its_status(
    world: tuple[Api, openai.OpenAI], status: str, text: str
) -> None:
    api, client = world
    file = client.files.create(file=("a.md", text.encode()), purpose="assistants")
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.create(store.id, file_ids=[file.id])
    if status == "completed":
        api.engine.processing.complete(store.id, file.id)
    elif status == "failed":
        api.engine.processing.fail(store.id, file.id)
    elif status == "cancelled":
        client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    assert client.vector_stores.files.retrieve(file.id, vector_store_id=store.id).status == status
    response = api.dispatch(sent("GET", f"/v1/vector_stores/{store.id}/files/{file.id}/content"))
    assert said(response) == {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}],
        "has_more": False,
        "next_page": None,
    }
    (part,) = client.vector_stores.files.content(file.id, vector_store_id=store.id)
    assert (part.type, part.text) == ("text", text)


def test_content_that_is_no_text_or_not_here_is_refused(world: tuple[Api, openai.OpenAI]) -> None:
    api, client = world
    binary = client.files.create(file=("a.bin", b"ok\xff"), purpose="assistants")
    gone = client.files.create(file=("b.md", b"text"), purpose="assistants")
    store = client.vector_stores.create(file_ids=[binary.id, gone.id, "file-never-uploaded"])
    client.files.delete(gone.id)
    content = client.vector_stores.files.content
    with pytest.raises(openai.BadRequestError, match="byte 2 is not UTF-8"):
        content(binary.id, vector_store_id=store.id)
    for file_id in (gone.id, "file-never-uploaded"):
        with pytest.raises(openai.NotFoundError, match=f"No content of file '{file_id}' is kept"):
            content(file_id, vector_store_id=store.id)
    with pytest.raises(openai.NotFoundError, match="No file found with id 'file-other'"):
        content("file-other", vector_store_id=store.id)
    with pytest.raises(openai.NotFoundError, match="No vector store found with id 'vs_other'"):
        content(gone.id, vector_store_id="vs_other")
    without = Api(api.engine)
    assert said(without.dispatch(sent("GET", f"/v1/vector_stores/{store.id}/files/{binary.id}/content")))[
        "error"
    ]["message"].startswith(f"No content of file '{binary.id}' is kept")


def test_search_is_refused_with_the_reason(world: tuple[Api, openai.OpenAI]) -> None:
    _, client = world
    with pytest.raises(openai.NotFoundError, match="Search is not served here"):
        client.vector_stores.search("vs_1", query="q")


# Browsers


def asked(app: App, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    found: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        found.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(app({"type": "http", "method": method, "path": path, "headers": pairs}, receive, send))
    start, body = found
    return (
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        body["body"],
    )


PAGE = "http://localhost:5173"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "DELETE",
    "access-control-request-headers": "authorization,x-stainless-lang",
}


@pytest.mark.parametrize("path", ["/v1/vector_stores", "/v1/vector_stores/vs_1/files/file-1", "/v1/files"])
def test_a_browser_is_let_send_what_a_page_wants_to_send(path: str) -> None:
    api = served(api_keys=("sk-1",))
    before = state(api)
    status, headers, body = asked(App(api), "OPTIONS", path, PREFLIGHT)
    assert (status, body) == (200, b"")
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert headers["access-control-allow-headers"] == "authorization,x-stainless-lang"
    plain = {name: value for name, value in PREFLIGHT.items() if not name.endswith("headers")}
    assert "access-control-allow-headers" not in asked(App(api), "OPTIONS", path, plain)[1]
    assert state(api) == before


@pytest.mark.parametrize("key", ["sk-1", "wrong"])
def test_a_page_may_have_every_response_and_read_after_how_long_to_poll(key: str) -> None:
    app = App(served(api_keys=("sk-1",)))
    status, headers, _ = asked(
        app, "GET", "/v1/vector_stores", {"origin": PAGE, "authorization": f"Bearer {key}"}
    )
    assert status == (200 if key == "sk-1" else 401)
    assert headers["access-control-allow-origin"] == "*"
    assert "openai-poll-after-ms" in headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("origin", "allowed"), [(PAGE, True), ("https://elsewhere.example", False), ("null", False)]
)
def test_only_the_pages_that_were_named_may_have_a_response(origin: str, allowed: bool) -> None:
    app = App(served(cors=(PAGE, "https://another.example")))
    for method in ("OPTIONS", "GET"):
        _, headers, _ = asked(app, method, "/v1/vector_stores", {**PREFLIGHT, "origin": origin})
        assert headers["vary"] == "origin"
        assert headers.get("access-control-allow-origin") == (origin if allowed else None)


def test_where_no_page_is_to_be_served_nothing_is_said_to_browsers() -> None:
    app = App(served(cors=()))
    assert asked(app, "OPTIONS", "/v1/vector_stores", PREFLIGHT)[0] == 405
    assert not [
        name for name in asked(app, "GET", "/v1/vector_stores", {"origin": PAGE})[1] if name.startswith("access")
    ]


def test_who_is_no_browser_is_told_nothing_of_it() -> None:
    _, headers, _ = asked(App(served()), "GET", "/v1/vector_stores", {})
    assert set(headers) == {"content-type", "content-length"}
    assert asked(App(served()), "OPTIONS", "/v1/vector_stores", {"origin": PAGE})[0] == 405


@pytest.mark.parametrize("cors", ["*", ["*"], (7,), ("",), ("example.com",), ("https://a.example/",), ("* ",)])
def test_what_is_no_origin_is_refused(cors: Any) -> None:
    with pytest.raises(ValueError, match=r"Api\(cors=.*\): give a tuple of origins, as 'https://example.com'"):
        Api(Engine(), cors=cors)


# Parameters of other servers

OTHERS = st.dictionaries(
    st.sampled_from(["provider_id", "embedding_model", "ranker", "кот", "nam", ""]),
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    min_size=1,
    max_size=3,
)
STATIC = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}
BODIES: list[tuple[str, dict[str, Any], list[list[str | int]]]] = [
    # The path, a body, and where in it others may stand.
    ("/v1/vector_stores", {"name": "n", "metadata": {"ranker": "1"}}, [[]]),
    ("/v1/vector_stores", {"expires_after": {"anchor": "last_active_at", "days": 1}}, [[], ["expires_after"]]),
    (
        "/v1/vector_stores/vs_1/files",
        {
            "file_id": "file-z",
            "attributes": {"ranker": 1},
            "chunking_strategy": {"type": "static", "static": STATIC},
        },
        [[], ["chunking_strategy"], ["chunking_strategy", "static"]],
    ),
    (
        "/v1/vector_stores/vs_1/file_batches",
        {"files": [{"file_id": "file-y"}, {"file_id": "file-z", "chunking_strategy": {"type": "auto"}}]},
        [[], ["files", 0], ["files", 1], ["files", 1, "chunking_strategy"]],
    ),
]


@given(st.sampled_from(BODIES), OTHERS, st.data())
@settings(max_examples=examples(100))
def test_lenient_ignores_what_it_does_not_know_and_else_it_is_refused(
    body: tuple[str, dict[str, Any], list[list[str | int]]], others: dict[str, Any], data: st.DataObject
) -> None:
    path, plain, places = body
    more = json.loads(json.dumps(plain))
    place = more
    for key in data.draw(st.sampled_from(places)):
        place = place[key]
    place |= others
    target = f"{path}?{data.draw(st.sampled_from(['provider=x', '', 'a=1&a=2']))}".rstrip("?")
    lenient, twin, strict = served(lenient=True), served(lenient=True), served()
    assert lenient.dispatch(sent("POST", target, more)) == twin.dispatch(sent("POST", path, plain))
    assert lenient.dispatch(sent("POST", path, plain)).status == 200
    before = state(strict)
    refused = strict.dispatch(sent("POST", target, more))
    assert (refused.status, said(refused)["error"]["code"]) == (400, "unknown_parameter")
    assert state(strict) == before


def test_lenient_still_refuses_what_is_known_and_wrong() -> None:
    api = served(lenient=True)
    before = state(api)
    wrong = [
        sent("GET", "/v1/vector_stores?limit=0"),
        sent("GET", "/v1/vector_stores?limit=1&limit=1"),
        sent("POST", "/v1/vector_stores", {"name": 7}),
        sent("POST", "/v1/vector_stores", {"file_ids": "file-1", "other": 1}),
        sent("POST", "/v1/vector_stores", {"chunking_strategy": "auto", "expires_after": []}),
        sent("POST", "/v1/vector_stores/vs_1/files/file-a", {"other": 1}),
        form(('name="other"', b"x"), ('name="purpose"', b"assistants")),
    ]
    for request in wrong:
        assert api.dispatch(request).status == 400
    assert state(api) == before


def test_a_form_may_have_other_fields_where_it_is_lenient() -> None:
    more = Request(
        "POST", UPLOAD.path, "", UPLOAD.headers, form(('name="other"', b"x"), end=b"").body + UPLOAD.body
    )
    api, twin = served(lenient=True), served()
    assert api.dispatch(more).body == twin.dispatch(UPLOAD).body
    assert twin.dispatch(more).status == 400
