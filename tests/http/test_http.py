"""The API over HTTP without I/O: endpoints, refusals with their exact bodies, keys, and polling."""

import copy
import inspect
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, VirtualClock, VsbatchError, errors, wire
from vsbatch_core.adapters import refusals
from vsbatch_core.adapters.http import ENDPOINTS, HOST_FAULT, Api, Request, Response, dispatch
from vsbatch_core.adapters.uploads import Uploads

from ..helpers.strategies import (
    FILES,
    OVER_HTTP,
    START,
    UPLOAD,
    Command,
    CountingIds,
    all_reads,
    any_text,
    as_request,
    call,
    filled,
    form,
    histories,
    populated,
    run,
    said,
    sent,
    served,
    state,
)

# What the API serves, written down a second time: by path and method, a body that will do and the ``object`` that
# answers it.  Ids are those of the populated engine.
Served = dict[str, tuple[Any, str]]
SERVED: dict[str, Served] = {
    "/vector_stores": {"GET": (None, "list"), "POST": (None, "vector_store")},
    "/vector_stores/vs_1": {
        "GET": (None, "vector_store"),
        "POST": ({"name": "new"}, "vector_store"),
        "DELETE": (None, "vector_store.deleted"),
    },
    "/vector_stores/vs_1/files": {
        "GET": (None, "list"),
        "POST": ({"file_id": "file-z"}, "vector_store.file"),
    },
    "/vector_stores/vs_1/files/file-a": {
        "GET": (None, "vector_store.file"),
        "POST": ({"attributes": None}, "vector_store.file"),
        "DELETE": (None, "vector_store.file.deleted"),
    },
    "/vector_stores/vs_1/files/file-1/content": {"GET": (None, "vector_store.file_content.page")},
    "/vector_stores/vs_1/file_batches": {"POST": ({"file_ids": ["file-z"]}, "vector_store.files_batch")},
    "/vector_stores/vs_1/file_batches/vsfb_1": {"GET": (None, "vector_store.files_batch")},
    "/vector_stores/vs_1/file_batches/vsfb_1/cancel": {"POST": (None, "vector_store.files_batch")},
    "/vector_stores/vs_1/file_batches/vsfb_1/files": {"GET": (None, "list")},
    "/files": {"GET": (None, "list"), "POST": (UPLOAD, "file")},
    "/files/file-1": {"GET": (None, "file"), "DELETE": (None, "file")},
    "/files/file-1/content": {"GET": (None, "")},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "")
PAIRS = [(path, method) for path, methods in SERVED.items() for method in methods]


def asked(path: str, method: str) -> Request:
    """The request of the table."""
    data = SERVED[path][method][0]
    return data if isinstance(data, Request) else sent(method, path, data)


def refused(response: Response) -> dict[str, Any]:
    """The error that a response says."""
    assert response.status >= 400
    body = said(response)
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    error: dict[str, Any] = body["error"]
    return error


# Endpoints


PREFIXES = ["", "/v1", "/openai", "/openai/v1"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("query", ["", "api-version=preview"])
@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(("path", "method"), PAIRS)
def test_every_endpoint_answers_200_with_its_object(
    prefix: str, query: str, end: str, path: str, method: str
) -> None:
    api = served()
    api.engine.vector_stores.files.create("vs_1", file_id="file-1")
    request = asked(path, method)
    response = api.dispatch(Request(method, prefix + path + end, query, request.headers, request.body))
    assert response.status == 200
    if path == "/files/file-1/content":
        assert response == Response(200, (("content-type", "application/octet-stream"),), b"hello")
    else:
        assert said(response)["object"] == SERVED[path][method][1]
    api.engine.check()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", SERVED)
def test_every_other_method_is_405_and_allow_names_those_there_are(prefix: str, path: str) -> None:
    api = served()
    before = state(api)
    allowed = ", ".join(sorted(SERVED[path]))
    others = [method for method in METHODS if method not in SERVED[path]]
    for method in others:
        response = api.dispatch(Request(method, prefix + path))
        assert response.status == 405
        assert dict(response.headers)["allow"] == allowed
        assert refused(response) == {
            "message": f"Not allowed to {method} on {prefix}{path}. Allowed are: {allowed}.",
            "type": "invalid_request_error",
            "param": None,
            "code": "method_not_allowed",
        }
    assert state(api) == before


def test_no_endpoint_is_missing_from_the_table() -> None:
    assert sorted(map(sorted, ENDPOINTS.values())) == sorted(sorted(methods) for methods in SERVED.values())


UNKNOWN_PATHS = [
    "",
    "/",
    "*",
    "/v1",
    "/v1/",
    "/v1/v1/files",
    "/v1x/files",
    "/v1beta/vector_stores",
    "/v2/vector_stores",
    "v1/vector_stores",
    "vector_stores",
    "anything/vector_stores",
    "//vector_stores",
    "/Vector_Stores",
    "/v1/openai/vector_stores",
    "/openai/openai/vector_stores",
    "/openai/v2/vector_stores",
    "/openai",
    "/openai/",
    "/vector_stores/vs_1/file_batches/vsfb_1/cancel//",
    "/vector_stores/vs_1/file_batches/vsfb_1/cancel/x",
    "/vector_stores/vs_1/files/file-a/contents",
    "/files/file-1/content//",
    "/files/file-1/contents",
    "/vector_stores%2Fvs_1",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404_and_named(method: str, path: str) -> None:
    response = served().dispatch(Request(method, path))
    assert response.status == 404
    assert refused(response) == {
        "message": f"Invalid URL ({method} {path}). See the README for what is served here.",
        "type": "invalid_request_error",
        "param": None,
        "code": "unknown_url",
    }


@pytest.mark.parametrize("path", ["/vector_stores/vs_1/search", "/openai/vector_stores/vs_9/search/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_search_is_refused_as_what_this_server_has_not(method: str, path: str) -> None:
    response = served().dispatch(sent(method, path, {"query": "q"}))
    assert response.status == 404
    assert refused(response) == {
        "message": f"Search is not served here ({method} {path}): this server keeps the records of vector "
        "stores, and embeds and searches nothing. Have your test return the results that it needs.",
        "type": "invalid_request_error",
        "param": None,
        "code": "unknown_url",
    }


@pytest.mark.parametrize(("path", "method"), [pair for pair in PAIRS if pair[0].startswith("/files")])
def test_without_uploads_the_files_api_is_not_there(path: str, method: str) -> None:
    response = dispatch(populated(), asked(path, method))
    assert (response.status, refused(response)["code"]) == (404, "unknown_url")


# The law: HTTP says what the engine says


def agrees(response: Response, answer: Any) -> None:
    """Whether the response is what ``run`` answered to the same call."""
    if isinstance(answer, tuple):
        error, _, body = answer
        assert (response.status, said(response)) == (error.status, body)
    else:
        assert (response.status, said(response)) == (200, wire.to_wire(answer))


def test_each_method_of_the_client_face_has_one_endpoint() -> None:
    ours = {(method, template.count("/")) for method, template in OVER_HTTP.values()}
    of_uploads = ("files", "content")
    found = [
        (method, n)
        for (n, names), methods in ENDPOINTS.items()
        if names[0] != "files" and names[1:] != of_uploads
        for method in methods
    ]
    assert ours == set(found)
    assert len(OVER_HTTP) == len(found)


@given(histories)
def test_after_any_history_http_has_answered_and_done_what_the_engine_does(history: list[Command]) -> None:
    over_http, _, _ = filled([])
    direct, _, _ = filled([])
    api = Api(over_http)
    for command in history:
        if command.path in OVER_HTTP:
            agrees(api.dispatch(as_request(command)), run(direct, command))
        else:
            run(over_http, command)
            run(direct, command)
    assert over_http.snapshot() == direct.snapshot()


READS = [command for command in all_reads(("vs_1", "vs_9")) if command.path in OVER_HTTP]


def test_every_page_and_every_look_is_what_the_engine_answers_and_changes_nothing() -> None:
    engine = populated()
    api = Api(engine)
    before = engine.snapshot()
    for command in READS:
        agrees(api.dispatch(as_request(command)), run(engine, command))
    assert engine.snapshot() == before


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_an_id_goes_percent_encoded_through_a_path(file_id: str) -> None:
    engine = populated()
    made = engine.vector_stores.files.create("vs_2", file_id=file_id)
    look = as_request(call("vector_stores.files.retrieve", file_id, vector_store_id="vs_2"))
    assert said(dispatch(engine, look)) == wire.to_wire(made)
    unquoted = Request("GET", f"/v1/vector_stores/vs_2/files/{file_id}")
    if not set("%/") & set(file_id):
        assert said(dispatch(engine, unquoted)) == wire.to_wire(made)


def test_a_fixed_segment_may_be_percent_encoded_too() -> None:
    assert dispatch(populated(), sent("GET", "/v1/vector%5Fstores")).status == 200


@pytest.mark.parametrize("path", ["/vector_stores//", "/vector_stores//files"])
def test_an_empty_id_is_refused_as_such(path: str) -> None:
    response = dispatch(populated(), sent("GET", path))
    assert response.status == 400
    assert refused(response)["code"] == "empty_string"


@pytest.mark.parametrize("path", [path for path in SERVED if path.count("/") > 1])
@pytest.mark.parametrize("bad", ["%ff", "%c3", "a%80b"])
def test_a_path_that_is_no_utf_8_is_400(path: str, bad: str) -> None:
    response = served().dispatch(Request("GET", f"{path}{bad}"))
    assert response.status == 400
    assert refused(response)["message"] == "We could not parse the URL of your request: its path is not UTF-8."


# Idempotency keys

KEYED = {
    "/vector_stores": {"name": "n"},
    "/vector_stores/vs_1/files": {"file_id": "file-z"},
    "/vector_stores/vs_1/file_batches": {"file_ids": ["file-z"]},
}


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key"])
def test_a_create_that_is_sent_again_with_its_key_makes_nothing(path: str, name: str) -> None:
    api = served()
    headers = ((name, "key-1"), (name, "key-2"))  # the first counts
    first = api.dispatch(sent("POST", path, KEYED[path], headers=headers))
    before = state(api)
    again = api.dispatch(sent("POST", path, KEYED[path], headers=headers[:1]))
    assert (again.status, said(again)) == (200, said(first))
    other = api.dispatch(sent("POST", path, {**KEYED[path], **OTHER[path]}, headers=headers[:1]))
    assert (other.status, refused(other)["code"]) == (400, "idempotency_key_reused")
    for value, code in (("", "empty_string"), ("k" * 256, "string_above_max_length")):
        response = api.dispatch(sent("POST", path, KEYED[path], headers=((name, value),)))
        assert (response.status, refused(response)["code"]) == (400, code)
    inside = api.dispatch(sent("POST", path, {**KEYED[path], "idempotency_key": "key-1"}))
    assert refused(inside)["code"] == "unknown_parameter"
    assert state(api) == before
    assert said(api.dispatch(sent("POST", path, KEYED[path], headers=((name, "key-2"),)))) is not None
    assert state(api) != before


OTHER: dict[str, dict[str, Any]] = {
    "/vector_stores": {"name": "m"},
    "/vector_stores/vs_1/files": {"file_id": "file-y"},
    "/vector_stores/vs_1/file_batches": {"file_ids": ["file-y"]},
}


@pytest.mark.parametrize(("path", "method"), [pair for pair in PAIRS if pair not in [(p, "POST") for p in KEYED]])
def test_where_nothing_is_created_in_a_store_a_key_says_nothing(path: str, method: str) -> None:
    with_key, without = served(), served()
    request = asked(path, method)
    headers = (*request.headers, ("idempotency-key", ""))
    response = with_key.dispatch(Request(method, path, "", headers, request.body))
    assert response == without.dispatch(request)
    assert state(with_key) == state(without)


# Refusals


@frozen
class Case:
    """A request that only HTTP can get wrong, and all that the refusal says."""

    error: type[VsbatchError]
    status: int
    code: str | None
    param: str | None
    message: str
    request: Request
    options: dict[str, Any] = field(factory=dict)
    headers: dict[str, str] = field(factory=dict)


def posted(body: bytes, target: str = "/v1/vector_stores", content_type: str = "application/json") -> Request:
    return Request("POST", target, "", (("content-type", content_type),), body)


def _with_bytes() -> Uploads:
    kept = Uploads(ids=lambda prefix: f"{prefix}a")
    kept.create(file=("a.bin", b"ab\xff"), purpose="assistants")
    return kept


CASES = [
    Case(
        refusals.InvalidApiKey,
        401,
        "invalid_api_key",
        None,
        "Incorrect API key provided. Send 'Authorization: Bearer' and a key of this server.",
        sent("GET", "/v1/vector_stores"),
        {"api_keys": ("sk-1",)},
        {"www-authenticate": "Bearer"},
    ),
    Case(
        refusals.UnknownUrl,
        404,
        "unknown_url",
        None,
        "Invalid URL (GET /v1/nothing). See the README for what is served here.",
        sent("GET", "/v1/nothing"),
    ),
    Case(
        refusals.NotServed,
        404,
        "unknown_url",
        None,
        "Search is not served here (POST /v1/vector_stores/vs_1/search): this server keeps the records of vector "
        "stores, and embeds and searches nothing. Have your test return the results that it needs.",
        sent("POST", "/v1/vector_stores/vs_1/search", {"query": "q"}),
    ),
    Case(
        refusals.MethodNotAllowed,
        405,
        "method_not_allowed",
        None,
        "Not allowed to PUT on /v1/vector_stores. Allowed are: GET, POST.",
        sent("PUT", "/v1/vector_stores"),
        headers={"allow": "GET, POST"},
    ),
    Case(
        refusals.BodyTooLarge,
        413,
        "body_too_large",
        None,
        "Request body too large: 5 bytes or more. Send at most 4 bytes.",
        posted(b"12345"),
        {"body_limit": 4},
    ),
    Case(
        refusals.TooManyValues,
        413,
        "body_too_large",
        None,
        "Request body too large: it holds more than 200000 JSON values. Send fewer.",
        posted(b"[" + b"[]," * 200_000 + b"1]"),
    ),
    Case(
        refusals.AmbiguousLength,
        400,
        "invalid_request",
        None,
        "The request has both a Content-Length and a Transfer-Encoding header. Send one of the two.",
        sent(
            "POST",
            "/v1/vector_stores",
            {},
            (("Content-Length", "2"), ("Transfer-Encoding", "chunked")),
        ),
        headers={"connection": "close"},
    ),
    Case(
        refusals.UnsupportedMediaType,
        415,
        "unsupported_media_type",
        None,
        "Unsupported content type 'text/plain'. Send 'application/json'.",
        posted(b"{}", content_type="text/plain"),
    ),
    Case(
        refusals.InvalidBody,
        400,
        "invalid_body",
        None,
        "We could not parse the body of your request: expected a JSON object, but got an array instead.",
        posted(b"[]"),
    ),
    Case(
        refusals.InvalidUrl,
        400,
        "invalid_url",
        None,
        "We could not parse the URL of your request: "
        "its query is not of the form name=value&…: bad query field: 'limit'.",
        sent("GET", "/v1/vector_stores?limit"),
    ),
    Case(
        refusals.DuplicateParameter,
        400,
        "duplicate_parameter",
        "limit",
        "Duplicate parameter: 'limit'. Give it once.",
        sent("GET", "/v1/vector_stores?limit=1&limit=1"),
    ),
    Case(
        refusals.InvalidFormField,
        400,
        "invalid_type",
        "file",
        "Invalid form field: 'file'. Expected it with a filename, as a file.",
        form(('name="file"', b"hello"), ('name="purpose"', b"assistants")),
    ),
    Case(
        refusals.UploadNotFound,
        404,
        None,
        "id",
        "No such File object: file-9",
        sent("GET", "/v1/files/file-9"),
    ),
    Case(
        refusals.FileNotKept,
        404,
        None,
        None,
        "No content of file 'file-a' is kept: it was attached without an upload to this server, or the upload "
        "was deleted or has expired. Upload the file first.",
        sent("GET", "/v1/vector_stores/vs_1/files/file-a/content"),
    ),
    Case(
        refusals.NotText,
        400,
        "unsupported_file",
        None,
        "The content of file 'file-a' is no text: byte 2 is not UTF-8. Read it as bytes by GET "
        "/v1/files/file-a/content.",
        sent("GET", "/v1/vector_stores/vs_1/files/file-a/content"),
        {"uploads": _with_bytes},
    ),
    Case(
        refusals.UploadTooLarge,
        413,
        "uploads_full",
        "file",
        "Cannot keep a file of 10 bytes with its name: 0 of at most 9 bytes are taken. Delete files first.",
        UPLOAD,
        {"uploads": lambda: Uploads(limit_bytes=9)},
    ),
    Case(
        refusals.TooManyUploads,
        413,
        "uploads_full",
        "file",
        "Cannot keep more than 0 uploaded files. Delete files first.",
        UPLOAD,
        {"uploads": lambda: Uploads(limit_files=0)},
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.error.__name__)


def api_of(case: Case) -> Api:
    options = dict(case.options)
    uploads = options.pop("uploads", None)
    return Api(populated(), uploads=uploads(), **options) if uploads else served(**options)


def _leaves() -> Iterator[type]:
    for cls in vars(refusals).values():
        if not inspect.isclass(cls) or cls.__module__ != refusals.__name__:
            continue
        if issubclass(cls, errors.RequestError):
            yield cls


def test_every_leaf_refusal_is_in_the_table_once_in_order() -> None:
    assert [case.error for case in CASES] == list(_leaves())


@each_case
def test_a_refusal_has_its_exact_status_headers_and_body_and_changes_nothing(case: Case) -> None:
    api = api_of(case)
    before = state(api)
    response = api.dispatch(case.request)
    assert response.status == case.status
    assert dict(response.headers) == {"content-type": "application/json", **case.headers}
    assert refused(response) == {
        "message": case.message,
        "type": "invalid_request_error",
        "param": case.param,
        "code": case.code,
    }
    assert state(api) == before


@each_case
def test_a_refusal_is_of_a_status_that_no_client_retries(case: Case) -> None:
    assert case.error.status not in (408, 409, 429)
    assert 400 <= case.error.status < 500


@each_case
def test_a_refusal_survives_pickling_and_copying(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Any] = []
    refuse = Api.refuse
    monkeypatch.setattr(Api, "refuse", lambda api, error: (caught.append(error), refuse(api, error))[1])
    api_of(case).dispatch(case.request)
    (error,) = caught
    assert type(error) is case.error
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


LONG = "x" * 10_000


@pytest.mark.parametrize(
    "request_",
    [
        Request(LONG, "/v1/vector_stores"),
        Request("GET", f"/v1/{LONG}"),
        sent("GET", f"/v1/vector_stores?{LONG}=1"),
        sent("GET", f"/v1/vector_stores?{LONG}"),
        sent("GET", f"/v1/vector_stores?after={LONG}"),
        sent("GET", f"/v1/vector_stores?limit={'9' * 10_000}"),
        sent("GET", f"/v1/vector_stores/{LONG}"),
        sent("GET", f"/v1/files/{LONG}"),
        posted(b"{}", content_type=LONG),
        posted(f'{{"{LONG}": 1}}'.encode()),
        posted(f'{{"{LONG}": 1, "{LONG}": 2}}'.encode()),
        posted(f'{{"name": {LONG}}}'.encode()),
        form((f'name="{LONG[:4000]}"', b"")),
        form(('name="purpose"', LONG.encode()), ('name="file"; filename="a"', b"")),
    ],
    ids=range(14),
)
def test_a_message_never_repeats_a_long_input(request_: Request) -> None:
    response = served().dispatch(request_)
    assert response.status >= 400
    assert len(response.body) < 1000


# Queries


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=-5", "limit", "integer_below_min_value"),
        ("limit=101", "limit", "integer_above_max_value"),
        ("limit=" + "9" * 640, "limit", "integer_above_max_value"),
        ("limit=" + "9" * 641, "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("limit=ten", "limit", "invalid_type"),
        ("limit=5.0", "limit", "invalid_type"),
        ("limit=+5", "limit", "invalid_type"),
        ("limit=1_0", "limit", "invalid_type"),
        ("limit=%D9%A3", "limit", "invalid_type"),
        ("order=up", "order", "invalid_value"),
        ("after=", "after", "empty_string"),
        ("after=file-z", "after", "invalid_cursor"),
        ("before=file-z", "before", "invalid_cursor"),
        ("filter=done", "filter", "invalid_value"),
        ("filter=completed&filter=failed", "filter", "duplicate_parameter"),
        ("purpose=assistants", "purpose", "unknown_parameter"),
        ("Limit=1", "Limit", "unknown_parameter"),
        ("=1", "", "unknown_parameter"),
        ("limit", None, "invalid_url"),
        ("limit=1&", None, "invalid_url"),
        ("&", None, "invalid_url"),
        ("after=%ff", None, "invalid_url"),
        ("&".join("a=1" for _ in range(101)), None, "invalid_url"),
    ],
)
def test_a_bad_query_is_400_and_its_parameter_named(query: str, param: str | None, code: str) -> None:
    response = dispatch(populated(), sent("GET", f"/v1/vector_stores/vs_1/files?{query}"))
    assert response.status == 400
    error = refused(response)
    assert (error["param"], error["code"]) == (param, code)


def test_names_and_values_of_a_query_may_be_percent_encoded() -> None:
    response = dispatch(
        populated(), sent("GET", "/vector_stores/vs_1/files?%6cimit=%32&after=file%2Da&order=asc")
    )
    assert [file["id"] for file in said(response)["data"]] == ["file-b", "file-c"]


@pytest.mark.parametrize(("path", "method"), [pair for pair in PAIRS if pair[1] != "GET"])
def test_what_is_not_a_list_takes_no_query(path: str, method: str) -> None:
    api = served()
    before = state(api)
    request = asked(path, method)
    response = api.dispatch(Request(method, path, "limit=1", request.headers, request.body))
    error = refused(response)
    assert (response.status, error["param"], error["code"]) == (400, "limit", "unknown_parameter")
    assert state(api) == before


def test_where_nothing_is_known_the_message_says_that_nothing_is_taken() -> None:
    response = dispatch(populated(), sent("GET", "/v1/vector_stores/vs_1?limit=1"))
    assert "Known here are: ." not in refused(response)["message"]


# Bodies

BODIES = [path for path, methods in SERVED.items() if "POST" in methods and path != "/files"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "it is not JSON: "),
        (b"{}{}", "it is not JSON: "),
        (b" ", "it is not JSON: "),
        (b"\xef\xbb\xbf{}", "it is not JSON: "),
        (b'{"name": NaN}', "it is not JSON: NaN is no JSON value"),
        (b'{"name": -Infinity}', "it is not JSON: -Infinity is no JSON value"),
        (b'{"name": Infinity}', "it is not JSON: Infinity is no JSON value"),
        (b'{"name": "\xff"}', "it is not UTF-8"),
        (b'{"name": "\xed\xa0\x80"}', "it is not UTF-8"),
        ("{}".encode("utf-16"), "it is not UTF-8"),
        (b"[" * 200_000, "it is nested too deeply"),
        (b'{"a":' * 200_000, "it is nested too deeply"),
        (b'{"name": ' + b"9" * 641 + b"}", "it holds an integer of 641 digits, and no double is as large"),
        (
            b'{"name": ' + b"9" * 5_000_000 + b"}",
            "it holds an integer of 5000000 digits, and no double is as large",
        ),
        (b"null", "expected a JSON object, but got null instead"),
        (b'"name"', "expected a JSON object, but got a string instead"),
        (b"1", "expected a JSON object, but got an integer instead"),
        (b"[{}]", "expected a JSON object, but got an array instead"),
    ],
    ids=range(18),
)
def test_a_body_that_is_no_json_object_is_400_and_says_why(path: str, body: bytes, why: str) -> None:
    api = served()
    before = state(api)
    response = api.dispatch(posted(body, path))
    assert response.status == 400
    error = refused(response)
    assert error["message"].startswith(f"We could not parse the body of your request: {why}")
    assert (error["param"], error["code"]) == (None, "invalid_body")
    assert state(api) == before


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["limit", "Name", "", "vector_store_id", "\ud800"])
def test_an_unknown_key_of_a_body_is_400_and_named(path: str, name: str) -> None:
    response = served().dispatch(sent("POST", path, {name: None}))
    error = refused(response)
    assert (response.status, error["param"], error["code"]) == (400, name, "unknown_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"name": "a", "name": "a"}', "name"),
        (b'{"name": "a", "\\u006eame": "b"}', "name"),
        (b'{"metadata": {"a": "", "b": "", "k": "", "k": ""}}', "k"),
        (b'{"a": ' * 20 + b'{"": 1, "": 2}' + b"}" * 20, ""),
    ],
)
def test_a_key_that_an_object_holds_twice_is_refused_at_any_depth(body: bytes, param: str) -> None:
    error = refused(dispatch(populated(), posted(body)))
    assert (error["param"], error["code"]) == (param, "duplicate_parameter")


@pytest.mark.parametrize(("digits", "code"), [(308, None), (310, "invalid_value"), (640, "invalid_value")])
def test_an_integer_is_kept_whole_or_refused_as_no_double(digits: int, code: str | None) -> None:
    number = int("1" * digits)
    request = sent("POST", "/v1/vector_stores/vs_1/files/file-a", {"attributes": {"n": number}})
    response = dispatch(populated(), request)
    if code is None:
        assert said(response)["attributes"] == {"n": number}
    else:
        error = refused(response)
        assert (response.status, error["param"], error["code"]) == (400, "attributes.n", code)


@pytest.mark.parametrize("number", [b"1e400", b"-1e999999999"])
def test_a_number_beyond_all_doubles_is_refused(number: bytes) -> None:
    body = b'{"attributes": {"n": ' + number + b"}}"
    error = refused(dispatch(populated(), posted(body, "/v1/vector_stores/vs_1/files/file-a")))
    assert (error["param"], error["code"]) == ("attributes.n", "invalid_value")


@given(any_text, any_text)
def test_any_text_comes_back_as_it_was_sent(name: str, value: str) -> None:
    response = dispatch(populated(), sent("POST", "/v1/vector_stores", {"name": name, "metadata": {"k": value}}))
    made = said(response)
    assert (made["name"], made["metadata"]) == (name, {"k": value})


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "APPLICATION/JSON", " application/json ; charset=utf-8", "application/json;"],
)
def test_json_may_be_announced_in_any_case_and_with_parameters(content_type: str) -> None:
    assert dispatch(populated(), posted(b"{}", content_type=content_type)).status == 200


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "content_type", ["", "text/json", "application/jsonl", "application/x-www-form-urlencoded", "json"]
)
def test_a_body_of_another_content_type_is_415(path: str, content_type: str) -> None:
    response = served().dispatch(posted(b"{}", path, content_type))
    assert response.status == 415
    assert refused(response)["message"] == f"Unsupported content type '{content_type}'. Send 'application/json'."


def test_a_body_without_a_content_type_is_415() -> None:
    assert dispatch(populated(), Request("POST", "/v1/vector_stores", body=b"{}")).status == 415


def test_no_body_is_an_empty_object_whatever_its_content_type() -> None:
    assert dispatch(populated(), posted(b"", content_type="text/plain")).status == 200
    response = dispatch(populated(), sent("POST", "/v1/vector_stores/vs_1/files"))
    assert refused(response)["code"] == "missing_required_parameter"


@pytest.mark.parametrize("data", [None, {}])
def test_attributes_must_be_given_to_be_updated_and_null_takes_them_away(data: Any) -> None:
    engine = populated()
    path = "/v1/vector_stores/vs_1/files/file-b"
    error = refused(dispatch(engine, sent("POST", path, data)))
    assert error["message"] == "Missing required parameter: 'attributes'."
    assert said(dispatch(engine, sent("GET", path)))["attributes"] == {"s": "x", "i": 1, "f": 0.5, "t": True}
    assert said(dispatch(engine, sent("POST", path, {"attributes": None})))["attributes"] == {}


def test_null_in_an_update_is_null_and_what_is_not_given_stays() -> None:
    engine = populated()
    updated = said(dispatch(engine, sent("POST", "/v1/vector_stores/vs_1", {"expires_after": None})))
    assert (updated["expires_after"], updated["metadata"], updated["name"]) == (None, {"k": "v"}, "docs")


@pytest.mark.parametrize(("path", "method"), [pair for pair in PAIRS if pair[1] in ("GET", "DELETE")])
def test_the_body_of_a_request_that_takes_none_is_not_looked_at(path: str, method: str) -> None:
    api = served()
    api.engine.vector_stores.files.create("vs_1", file_id="file-1")
    assert api.dispatch(Request(method, path, body=b"\xff{")).status == 200


@pytest.mark.parametrize(("path", "method"), PAIRS)
def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413_everywhere(path: str, method: str) -> None:
    request = asked(path, method)
    body = request.body or b" "
    whole = Request(method, path, "", request.headers, body)
    assert served(body_limit=len(body)).dispatch(whole).status != 413
    assert served(body_limit=len(body) - 1).dispatch(whole).status == 413


# Keys


@pytest.mark.parametrize("authorization", ["Bearer sk-1", "bearer sk-2", "BEARER   sk-1 "])
def test_any_of_the_keys_lets_a_client_in(authorization: str) -> None:
    api = served(api_keys=("sk-1", "sk-2"))
    assert api.dispatch(sent("GET", "/v1/files", headers=(("Authorization", authorization),))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", "sk-1"),),
        (("authorization", "Basic sk-1"),),
        (("authorization", "Bearer sk-"),),
        (("authorization", "Bearer sk-11"),),
        (("authorization", "Bearer SK-1"),),
        (("authorization", "Bearer sk-1, Bearer sk-1"),),
        (("authorization", "Bearer \ud800é"),),
        (("authorization", "Bearer bad"), ("authorization", "Bearer sk-1")),
        (("x-api-key", "sk-1"),),
    ],
)
@pytest.mark.parametrize(("path", "method"), [*PAIRS, ("/nothing", "GET"), ("/files", "PUT")])
def test_without_a_key_there_is_nothing_to_be_learned(
    headers: tuple[tuple[str, str], ...], path: str, method: str
) -> None:
    api = served(api_keys=("sk-1",))
    before = state(api)
    response = api.dispatch(Request(method, path, "", headers))
    assert (response.status, refused(response)["code"]) == (401, "invalid_api_key")
    assert state(api) == before


def test_where_no_key_is_set_everybody_is_let_in() -> None:
    assert served().dispatch(sent("GET", "/v1/files", headers=(("authorization", "Bearer x"),))).status == 200


@pytest.mark.parametrize("keys", ["sk-1", ["sk-1"], ("sk-1", ""), ("sk 1",), ("clé",), (b"sk-1",), (None,), None])
def test_keys_that_no_client_could_send_are_refused_without_being_told(keys: Any) -> None:
    with pytest.raises(ValueError, match="give a tuple of keys, each of visible ASCII characters") as caught:
        Api(populated(), api_keys=keys)
    assert "sk" not in str(caught.value)


def test_an_api_does_not_show_its_keys() -> None:
    assert "sk-secret" not in repr(Api(populated(), api_keys=("sk-secret",)))


@pytest.mark.parametrize("name", ["body_limit", "json_limit", "flight_limit", "poll_after_ms"])
@pytest.mark.parametrize("value", [-1, 0.5, True, None, "1"])
def test_a_limit_that_is_no_whole_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Api\({name}=.*\): give a whole number of 0 or more"):
        Api(populated(), **{name: value})


# What can be refused before the body is read


@each_case
def test_what_is_refused_unread_is_refused_in_the_same_words(case: Case) -> None:
    api = api_of(case)
    head = Request(case.request.method, case.request.path, case.request.query, case.request.headers)
    early = api.refuse_unread(head)
    by_head = (
        refusals.AmbiguousLength,
        refusals.InvalidApiKey,
        refusals.UnknownUrl,
        refusals.NotServed,
        refusals.MethodNotAllowed,
    )
    assert early == (api.dispatch(case.request) if case.error in by_head else None)


@pytest.mark.parametrize(
    ("length", "status"),
    [("4", None), ("5", 413), ("9" * 300, 413), ("9" * 10_000, None), ("", None), ("-1", None), ("²", None)],
)
def test_a_length_that_is_announced_is_refused_if_it_is_a_number_over_the_limit(
    length: str, status: int | None
) -> None:
    early = served(body_limit=4).refuse_unread(sent("POST", "/v1/files", headers=(("Content-Length", length),)))
    assert (early and early.status) == status


# Polling


class Waits:
    """A driver that writes down for how long it is driven."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def advance(self, seconds: float) -> None:
        self.seconds.append(seconds)


POLLED = [
    "/v1/vector_stores/vs_1/file_batches/vsfb_1",
    "/v1/vector_stores/vs_1/files/file-a",
    "/v1/vector_stores/vs_1/files/file-e",
]
ENDED = [
    "/v1/vector_stores/vs_1/file_batches/vsfb_2",
    "/v1/vector_stores/vs_2/file_batches/vsfb_3",
    "/v1/vector_stores/vs_2/file_batches/vsfb_4",
    "/v1/vector_stores/vs_1/files/file-b",
    "/v1/vector_stores/vs_1/files/file-c",
    "/v1/vector_stores/vs_1/files/file-f",
]
HELPER = (("X-Stainless-Poll-Helper", "true"),)
poll_after = "openai-poll-after-ms"


@pytest.mark.parametrize("path", POLLED)
def test_a_file_or_batch_in_progress_says_after_how_long_to_ask_again(path: str) -> None:
    assert dict(served().dispatch(sent("GET", path)).headers)[poll_after] == "1000"
    assert dict(served(poll_after_ms=0).dispatch(sent("GET", path, headers=HELPER)).headers)[poll_after] == "0"


@pytest.mark.parametrize("path", ENDED)
def test_what_has_ended_is_not_to_be_polled_and_moves_no_clock(path: str) -> None:
    driver = Waits()
    response = served(driver=driver).dispatch(sent("GET", path, headers=HELPER))
    assert response.status == 200
    assert poll_after not in dict(response.headers)
    assert driver.seconds == []


@pytest.mark.parametrize(("path", "method"), PAIRS)
def test_nothing_but_the_look_at_a_file_or_batch_is_polled(path: str, method: str) -> None:
    driver = Waits()
    request = asked(path, method)
    look = Request(method, path, "", (*HELPER, *request.headers), request.body)
    response = served(driver=driver).dispatch(look)
    polled = method == "GET" and f"/v1{path}" in POLLED
    assert (poll_after in dict(response.headers)) is polled
    assert driver.seconds == ([1.0] if polled else [])


@pytest.mark.parametrize("path", POLLED)
@pytest.mark.parametrize(
    ("custom", "seconds"),
    [
        (None, 1.5),
        ("1", 0.001),
        ("250", 0.25),
        ("0", 0.001),
        ("999999999", 999_999.999),
        ("1000000000", 1.5),
        ("0.5", 1.5),
        ("-1", 1.5),
        ("", 1.5),
        ("٣", 1.5),
        ("1e3", 1.5),
        ("inf", 1.5),
        ("9" * 10_000, 1.5),
        (" 1", 1.5),
    ],
)
def test_a_driver_lets_the_time_pass_that_the_client_is_about_to_wait(
    path: str, custom: str | None, seconds: float
) -> None:
    driver = Waits()
    headers = HELPER if custom is None else (*HELPER, ("x-stainless-custom-poll-interval", custom))
    response = served(driver=driver, poll_after_ms=1500).dispatch(sent("GET", path, headers=headers))
    assert dict(response.headers)[poll_after] == "0"
    assert driver.seconds == [seconds]


@pytest.mark.parametrize("headers", [(), (("x-stainless-poll-helper", "false"),)])
def test_a_look_that_is_no_poll_moves_no_clock(headers: tuple[tuple[str, str], ...]) -> None:
    driver = Waits()
    response = served(driver=driver).dispatch(sent("GET", POLLED[0], headers=headers))
    assert dict(response.headers)[poll_after] == "1000"
    assert driver.seconds == []


@pytest.mark.parametrize("poll_after_ms", [0, 1000])
def test_a_client_that_does_not_wait_sees_the_time_pass_all_the_same(poll_after_ms: int) -> None:
    clock = VirtualClock(START)
    api = Api(populated(), driver=clock, poll_after_ms=poll_after_ms)
    headers = (*HELPER, ("X-Stainless-Custom-Poll-Interval", "0"))
    for _ in range(5):
        api.dispatch(sent("GET", POLLED[0], headers=headers))
    assert clock.time() == pytest.approx(START + 0.005)


def test_a_poll_answers_what_was_before_the_time_passed() -> None:
    engine = populated()

    class Ends:
        def advance(self, _seconds: float) -> None:
            engine.processing.complete("vs_1", "file-e")

    api = Api(engine, driver=Ends())
    first, second = (said(api.dispatch(sent("GET", POLLED[0], headers=HELPER))) for _ in range(2))
    assert (first["status"], second["status"]) == ("in_progress", "completed")


@pytest.mark.parametrize("status", ["in_progress", "completed"])
def test_a_file_or_batch_is_shown_as_the_hook_answers_it_and_only_where_it_is_polled(status: str) -> None:
    shown: list[Any] = []

    def polled(value: Any) -> Any:
        shown.append(value)
        return evolve(value, status=status)

    api = served(polled=polled)
    engine = populated()
    direct = [
        engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1"),
        engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1"),
        engine.vector_stores.files.retrieve("file-e", vector_store_id="vs_1"),
    ]
    before = state(api)
    for path, value in zip(POLLED, direct, strict=True):
        response = api.dispatch(sent("GET", path))
        assert said(response) == {**wire.to_wire(value), "status": status}
        assert (poll_after in dict(response.headers)) is (status == "in_progress")
    assert shown == direct
    assert state(api) == before
    for pair in PAIRS:
        if f"/v1{pair[0]}" not in POLLED:
            api.dispatch(asked(*pair))
    assert shown == direct


# The host's own faults


def _deaf(_event: object) -> None:
    raise LookupError("deaf")


def test_what_the_hosts_own_parts_raise_is_raised_and_not_blamed_on_the_client() -> None:
    engine = populated()
    engine.subscribe(_deaf)
    with pytest.raises(errors.SubscriberError) as caught:
        dispatch(engine, sent("DELETE", "/v1/vector_stores/vs_2"))
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert dispatch(engine, sent("GET", "/v1/vector_stores/vs_2")).status == 404


def _taken(_prefix: str) -> str:
    return "vs_1"


@pytest.mark.parametrize(
    ("options", "request_", "error"),
    [
        ({"ids": _taken}, sent("POST", "/v1/vector_stores"), errors.IdTaken),
        (
            {"file_size": lambda _: -1},
            sent("POST", "/v1/vector_stores", {"file_ids": [FILES[0]]}),
            errors.InvalidSize,
        ),
    ],
)
def test_a_host_that_answers_nonsense_is_told_so(
    options: dict[str, Callable[[str], Any]], request_: Request, error: type[VsbatchError]
) -> None:
    engine = Engine(**{"ids": CountingIds(), **options})
    if "ids" in options:
        engine.vector_stores.create()
    before = engine.snapshot()
    with pytest.raises(error):
        dispatch(engine, request_)
    assert engine.snapshot() == before


def test_a_host_fault_is_told_to_clients_without_its_cause() -> None:
    response = served().refuse(HOST_FAULT)
    assert response.status == 500
    assert refused(response) == {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }


def test_the_answers_of_two_equal_apis_are_equal_bytes() -> None:
    one, other = ([api.dispatch(asked(*pair)) for pair in PAIRS] for api in (served(), served()))
    assert one == other
    assert all(json.dumps(said(r), separators=(",", ":")).encode() == r.body for r in one if r.body != b"hello")
