"""Nothing that a client sends makes the API raise, or answer 500, and what it refuses changes nothing."""

import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from vsbatch_core.adapters.http import Api, Request, Response

from ..helpers.brief import examples
from ..helpers.strategies import (
    UPLOAD,
    any_text,
    attributes,
    chunkings,
    expiries,
    json_values,
    metadata,
    served,
    state,
)

REFUSALS = {400, 401, 404, 405, 413, 415}

# By method and path, the query and body parameters that are known, and the ``object`` of the answer.
_PAGE = ("limit", "order", "after", "before")
_FILTERED = (*_PAGE, "filter")
_FILE = ("file_id", "attributes", "chunking_strategy")
_BATCH = ("file_ids", "files", "attributes", "chunking_strategy")
_STORE = ("name", "description", "file_ids", "chunking_strategy", "expires_after", "metadata")
ENDPOINTS: list[tuple[str, str, tuple[str, ...], tuple[str, ...], str]] = [
    ("GET", "/vector_stores", _PAGE, (), "list"),
    ("POST", "/vector_stores", (), _STORE, "vector_store"),
    ("GET", "/vector_stores/{store}", (), (), "vector_store"),
    ("POST", "/vector_stores/{store}", (), ("name", "expires_after", "metadata"), "vector_store"),
    ("DELETE", "/vector_stores/{store}", (), (), "vector_store.deleted"),
    ("GET", "/vector_stores/{store}/files", _FILTERED, (), "list"),
    ("POST", "/vector_stores/{store}/files", (), _FILE, "vector_store.file"),
    ("GET", "/vector_stores/{store}/files/{file}", (), (), "vector_store.file"),
    ("POST", "/vector_stores/{store}/files/{file}", (), ("attributes",), "vector_store.file"),
    ("DELETE", "/vector_stores/{store}/files/{file}", (), (), "vector_store.file.deleted"),
    ("POST", "/vector_stores/{store}/file_batches", (), _BATCH, "vector_store.files_batch"),
    ("GET", "/vector_stores/{store}/file_batches/{batch}", (), (), "vector_store.files_batch"),
    ("POST", "/vector_stores/{store}/file_batches/{batch}/cancel", (), (), "vector_store.files_batch"),
    ("GET", "/vector_stores/{store}/file_batches/{batch}/files", _FILTERED, (), "list"),
    ("GET", "/files", ("limit", "order", "after", "purpose"), (), "list"),
    ("POST", "/files", (), (), "file"),
    ("GET", "/files/{upload}", (), (), "file"),
    ("DELETE", "/files/{upload}", (), (), "file"),
    ("GET", "/files/{upload}/content", (), (), ""),
]


def holds(api: Api, request: Request) -> Response:
    """Send the request, and see that the answer is one, and that a refused request changed nothing."""
    before = state(api)
    response = api.dispatch(request)
    assert response.status == 200 or response.status in REFUSALS
    assert all(name == name.lower() and value.isascii() for name, value in response.headers)
    if response.status != 200:
        body = json.loads(response.body)
        assert list(body) == ["error"]
        assert list(body["error"]) == ["message", "type", "param", "code"]
        assert isinstance(body["error"]["message"], str)
        assert body["error"]["type"] == "invalid_request_error"
        assert all(isinstance(body["error"][name], (str, type(None))) for name in ("param", "code"))
        assert state(api) == before
    elif request.method == "GET":
        assert state(api) == before
    api.engine.check()
    return response


texts = st.one_of(any_text, st.binary(max_size=12).map(lambda raw: raw.decode("latin-1")))
methods = st.sampled_from(("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS")) | texts
content_types = st.sampled_from(
    ("application/json", "multipart/form-data; boundary=limit", "multipart/form-data", "text/plain")
)
header_names = st.sampled_from(
    (
        "content-type",
        "Authorization",
        "X-Stainless-Poll-Helper",
        "X-Stainless-Custom-Poll-Interval",
        "content-length",
    )
)
headers = st.lists(st.tuples(header_names | texts, content_types | st.just("true") | texts), max_size=4).map(
    tuple
)


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """These bytes with a part cut out and another put in."""
    start = draw(st.integers(0, len(whole)))
    stop = draw(st.integers(start, min(len(whole), start + 20)))
    return whole[:start] + draw(st.binary(max_size=6)) + whole[stop:]


raw_requests = st.builds(
    Request,
    methods,
    texts
    | st.lists(st.sampled_from(("v1", "vector_stores", "vs_1", "files", "file_batches")) | texts).map("/".join),
    texts,
    headers,
    st.binary(),
)


@given(raw_requests)
@settings(max_examples=examples(200))
def test_of_any_bytes_the_api_makes_an_answer(request: Request) -> None:
    holds(served(api_keys=("sk-1",)), request)
    holds(served(body_limit=8), request)


# Nearly valid


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any] = any_text) -> st.SearchStrategy[Any]:
    return st.integers(0, 14).flatmap(lambda n: bad if n == 14 else good)


stores = mostly(st.sampled_from(("vs_1", "vs_1", "vs_1", "vs_2", "vs_3", "vs_9", "vsfb_1")))
batches = mostly(st.sampled_from(("vsfb_1", "vsfb_1", "vsfb_2", "vsfb_9", "vs_1")))
files = mostly(st.sampled_from(("file-a", "file-b", "file-c", "file-e", "file-d", "file-9")))
uploads = mostly(st.sampled_from(("file-1", "file-1", "file-1", "file-9")))
parameters: dict[str, st.SearchStrategy[Any]] = {
    "limit": mostly(st.integers(1, 100), st.integers() | any_text),
    "order": mostly(st.sampled_from(("asc", "desc"))),
    "after": files,
    "before": files,
    "filter": mostly(st.sampled_from(("in_progress", "completed", "failed", "cancelled"))),
    "purpose": mostly(st.sampled_from(("assistants", "batch_output"))),
    "name": any_text,
    "description": any_text,
    "file_id": files,
    "file_ids": st.lists(files, min_size=1, max_size=4),
    "files": st.lists(
        st.fixed_dictionaries({"file_id": files}, optional={"attributes": attributes}), min_size=1, max_size=3
    ),
    "attributes": attributes,
    "metadata": metadata,
    "chunking_strategy": chunkings,
    "expires_after": expiries,
}


def encoded(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def written_as_json(data: Any) -> bytes:
    try:
        return json.dumps(data).encode()
    except ValueError:
        assume(False)  # Python writes no integer of more than 4,300 digits
        raise


@st.composite
def near_requests(draw: st.DrawFn) -> tuple[str, Request]:
    """A request of an endpoint with mostly good parameters, and the ``object`` that answers it if all are."""
    method, template, in_query, in_body, answers = draw(st.sampled_from(ENDPOINTS))
    ids = {"store": stores, "batch": batches, "file": files, "upload": uploads}
    path = template.format(**{name: encoded(draw(of)) for name, of in ids.items() if f"{{{name}}}" in template})
    query: list[tuple[str, Any]] = [
        (name, draw(parameters[name]))
        for name in draw(st.lists(st.sampled_from(in_query or ("limit",)), max_size=3))
    ]
    if not in_query and draw(st.integers(0, 9)):
        query = []
    target = draw(st.sampled_from(("", "/v1"))) + path
    if template == "/files" and method == "POST":
        body = draw(st.just(UPLOAD.body) | broken(UPLOAD.body))
        return answers, Request(method, target, "", UPLOAD.headers, body)
    data: dict[str, Any] = {}
    if in_body:
        for name in draw(st.sets(st.sampled_from(in_body), min_size=len(in_body) == 1)):
            data[name] = draw(mostly(parameters[name], json_values))
        data |= draw(mostly(st.just({}), st.dictionaries(any_text, json_values, max_size=1)))
    body = draw(mostly(st.just(written_as_json(data) if data else b""), broken(written_as_json(data))))
    more = draw(mostly(st.just(()), headers))
    if method == "GET" and target.endswith(
        "/"
    ):  # an id that is empty at the end of a path: the slash means nothing
        answers = "list"
    return answers, Request(
        method,
        target,
        urlencode(query, errors="surrogatepass"),
        (*more, ("content-type", "application/json")),
        body,
    )


@given(near_requests())
@settings(max_examples=examples(400))
def test_a_nearly_valid_request_is_answered_or_refused(near: tuple[str, Request]) -> None:
    answers, request = near
    response = holds(served(), request)
    event(f"{response.status} {request.method}")
    if response.status == 200 and answers:
        assert json.loads(response.body)["object"] == answers


@given(st.lists(near_requests(), min_size=2, max_size=12))
@settings(max_examples=examples(50))
def test_so_is_every_request_of_a_session(session: list[tuple[str, Request]]) -> None:
    api = served()
    for answers, request in session:
        response = holds(api, request)
        if response.status == 200 and answers:
            assert json.loads(response.body)["object"] == answers


@given(broken(UPLOAD.body), st.sampled_from(("limit", "limi", "", "x" * 300, '"limit"')) | texts)
@settings(max_examples=examples(200))
def test_of_any_form_an_upload_is_made_or_nothing(body: bytes, boundary: str) -> None:
    content_type = f"multipart/form-data; boundary={boundary}"
    response = holds(served(), Request("POST", "/v1/files", "", (("content-type", content_type),), body))
    if response.status == 200:
        assert json.loads(response.body)["object"] == "file"


@given(json_values | st.dictionaries(st.sampled_from(tuple(parameters)), json_values, max_size=4))
@settings(max_examples=examples(100))
def test_of_any_json_each_endpoint_makes_an_answer(data: Any) -> None:
    body = written_as_json(data)
    api = served()
    ids = {"store": "vs_1", "batch": "vsfb_1", "file": "file-a"}
    for method, template, _, _, answers in ENDPOINTS:
        if method == "POST" and template != "/files":
            headers = (("content-type", "application/json"),)
            response = holds(api, Request(method, template.format(**ids), "", headers, body))
            if response.status == 200:
                assert json.loads(response.body)["object"] == answers
