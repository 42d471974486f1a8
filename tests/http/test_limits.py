"""What a request may cost: its length, its values, and all that is under way at the same time."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from threading import current_thread, main_thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine
from vsbatch_core.adapters import http
from vsbatch_core.adapters.asgi import PIECE, App
from vsbatch_core.adapters.http import LONG_BODY, Api, Request, Response
from vsbatch_core.adapters.uploads import Uploads

from ..helpers.brief import examples
from ..helpers.strategies import form, said, sent, served, state

JSON = (("content-type", "application/json"),)


def posted(body: bytes, path: str = "/v1/vector_stores") -> Request:
    return Request("POST", path, "", JSON, body)


def refusal(response: Response) -> tuple[int, str]:
    return response.status, said(response)["error"]["code"]


# JSON


def full(n: int, **options: Any) -> bytes:
    """A request with so many files, whose attributes are as long as they may be."""
    attributes = {f"k{i:02}" + "x" * 61: "v" * 512 for i in range(16)}
    static = {"type": "static", "static": {"max_chunk_size_tokens": 4096, "chunk_overlap_tokens": 2048}}
    files = [
        {"file_id": f"file-{i:024}", "attributes": attributes, "chunking_strategy": static} for i in range(n)
    ]
    return json.dumps({"files": files}, **options).encode()


def test_two_thousand_files_with_full_attributes_fit_and_little_more() -> None:
    api = Api(Engine())
    store = api.engine.vector_stores.create()
    body = full(2_000, indent=2)
    made = api.dispatch(posted(body, f"/v1/vector_stores/{store.id}/file_batches"))
    assert said(made)["file_counts"]["total"] == 2_000
    assert len(full(2_000)) < api.json_limit < 1.2 * len(full(2_000))


@pytest.mark.parametrize("path", ["/v1/vector_stores", "/v1/vector_stores/vs_1/file_batches"])
def test_json_has_a_limit_of_its_own_and_an_upload_has_not(path: str) -> None:
    api = served(json_limit=100, body_limit=1_000)
    before = state(api)
    assert api.dispatch(posted(b"{}" + b" " * 98)).status == 200
    after = state(api)
    long = posted(b"{}" + b" " * 99, path)
    assert refusal(api.dispatch(long)) == (413, "body_too_large")
    head = Request("POST", path, "", (("content-length", "101"),))
    unread = api.refuse_unread(head)
    assert unread is not None
    assert refusal(unread) == (413, "body_too_large")
    assert state(api) == after != before
    upload = form(('name="purpose"', b"assistants"), ('name="file"; filename="a"', b"x" * 500))
    assert api.dispatch(upload).status == 200


values = st.recursive(
    st.none() | st.integers(0, 99) | st.text('",[]{}\\é ', max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('",\\]', max_size=2), inner, max_size=4),
    max_leaves=30,
)


def counted(value: Any) -> int:
    """The values in a value: each is followed by a comma or by the end of what it is in."""
    if isinstance(value, dict):
        return max(len(value), 1) + sum(map(counted, value.values()))
    if isinstance(value, list):
        return max(len(value), 1) + sum(map(counted, value))
    return 0


@given(values, st.booleans(), st.integers(1, 40))
@settings(max_examples=examples(300))
def test_a_body_is_refused_exactly_if_it_holds_too_many_values(value: Any, ascii: bool, most: int) -> None:
    body = json.dumps({"name": value}, ensure_ascii=ascii).encode() + b" " * 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "MOST_VALUES", most)
        response = Api(Engine()).dispatch(posted(body))
    assert (response.status == 413) is (counted({"name": value}) > most)
    if response.status == 413:
        assert said(response)["error"]["message"] == (
            f"Request body too large: it holds more than {most} JSON values. Send fewer."
        )


@pytest.mark.parametrize("unit", [b"[],", b'{"a":1},', b'"",', b'"a,b",', b"1,"])
def test_what_would_cost_much_to_read_is_refused_before(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_READER", None)  # whoever reads fails
    body = b'{"name":[' + unit * (2_000_000 // len(unit)) + b"1]}"
    assert refusal(Api(Engine()).dispatch(posted(body))) == (413, "body_too_large")


def test_the_other_fields_of_a_form_that_are_passed_over_are_bounded() -> None:
    api = served(lenient=True)
    wanted = [('name="purpose"', b"assistants"), ('name="file"; filename="a"', b"x")]
    assert api.dispatch(form(*[('name="other"', b"")] * 100, *wanted)).status == 200
    before = state(api)
    assert refusal(api.dispatch(form(*[('name="other"', b"")] * 101, *wanted))) == (400, "unknown_parameter")
    assert state(api) == before


# In a thread


@pytest.mark.parametrize("length", [LONG_BODY, LONG_BODY + 1])
@pytest.mark.parametrize("what", [b'{"name":"n"}', b'{"nome":1}', b"[]", b"{"])
def test_a_long_body_is_read_in_a_thread_and_answered_as_any_other(
    length: int, what: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    decode = http._READER.decode

    class Reader:
        def decode(self, text: str) -> Any:
            threads.append(current_thread())
            return decode(text)

    monkeypatch.setattr(http, "_READER", Reader())
    request = posted(what + b" " * (length - len(what)))
    api, twin = served(), served()
    response = asyncio.run(api.dispatch_async(request))
    assert [thread is main_thread() for thread in threads] == [length <= LONG_BODY]
    wanted = twin.dispatch(request)
    assert (response.status, response.body) == (wanted.status, wanted.body)
    assert state(api) == state(twin)


@pytest.mark.parametrize(
    "request_",
    [
        posted(b"{}", "/v1/nothing"),
        Request("POST", "/v1/vector_stores", "limit=1", JSON, b"{}"),
        Request("GET", "/v1/vector_stores", "", JSON, b"{}"),
        Request("POST", "/v1/vector_stores", "", (("content-type", "text/plain"),), b"{}"),
        form(('name="purpose"', b"assistants"), ('name="file"; filename="a"', b"x" * LONG_BODY)),
    ],
    ids=lambda request: f"{request.method} {request.path}?{request.query}",
)
def test_whatever_is_said_of_a_long_body_is_what_dispatch_says(request_: Request) -> None:
    long = Request(
        request_.method,
        request_.path,
        request_.query,
        request_.headers,
        request_.body if len(request_.body) > LONG_BODY else request_.body + b" " * LONG_BODY,
    )
    api, twin = served(api_keys=()), served()
    assert asyncio.run(api.dispatch_async(long)) == twin.dispatch(long)
    assert state(api) == state(twin)


def test_without_a_loop_of_asyncio_a_long_body_is_read_in_place() -> None:
    answering = Api(Engine()).dispatch_async(posted(b'{"name":"n"}' + b" " * LONG_BODY))
    with suppress(StopIteration):
        answering.send(None)
        raise AssertionError("it waited for something")


# Under way


class Connection:
    """One request whose body comes in parts, as told."""

    def __init__(self, app: App, length: int, path: str = "/v1/vector_stores") -> None:
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.left = length
        self.read = asyncio.Event()
        self.said: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"content-type", b"application/json")],
        }
        self.task = asyncio.ensure_future(app(scope, self.receive, self.send))

    async def receive(self) -> Any:
        part = await self.parts.get()
        self.left -= len(part)
        return {"type": "http.request", "body": part, "more_body": self.left > 0}

    async def send(self, message: Any) -> None:
        self.said.append(message)

    async def come(self, n: int) -> None:
        """Have so many more bytes come, and read."""
        part = b"{}" + b" " * (n - 2) if self.left == n else b" " * n
        self.parts.put_nowait(part)
        while not self.parts.empty():
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)

    def status(self) -> int | None:
        return self.said[0]["status"] if self.said else None


@given(st.lists(st.integers(4, 60), min_size=1, max_size=6), st.data())
@settings(max_examples=examples(100))
def test_all_bodies_under_way_have_room_together_and_who_finds_none_is_503(
    lengths: list[int], data: st.DataObject
) -> None:
    async def main() -> None:
        app = App(Api(Engine(), body_limit=60, flight_limit=100))
        connections = [Connection(app, length) for length in lengths]
        under_way = [0] * len(lengths)
        made = 0
        for n in data.draw(st.permutations(list(range(len(lengths))) * 2)):
            connection, length = connections[n], lengths[n]
            if connection.status() is not None:
                continue
            part = length // 2 if connection.left == length else connection.left
            fits = sum(under_way) + part <= 100
            under_way[n] += part
            await connection.come(part)
            if not fits:
                assert connection.status() == 503
                refused = json.loads(connection.said[1]["body"])["error"]
                assert (refused["type"], refused["code"]) == ("server_error", "server_overloaded")
                assert (b"retry-after", b"1") in connection.said[0]["headers"]
            elif connection.left:
                assert connection.status() is None
                continue
            else:
                assert connection.status() == 200
                made += 1
            under_way[n] = 0
        for connection in connections:
            connection.task.cancel()
        await asyncio.gather(*[connection.task for connection in connections], return_exceptions=True)
        assert len(app.api.engine.vector_stores.list(limit=100).data) == made
        # Whatever became of them, all the room is there again.
        last = Connection(app, 60)
        await last.come(60)
        assert last.status() == 200

    asyncio.run(main())


def asked(app: App, path: str, **more: Any) -> list[Any]:
    said_: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said_.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], **more}
    asyncio.run(app(scope, receive, send))
    return said_


@pytest.mark.parametrize("length", [0, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_a_long_response_comes_in_pieces_and_takes_part_in_the_limit(length: int) -> None:
    uploads = Uploads()
    content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    file = uploads.create(file=("a", content), purpose="assistants")
    path = f"/v1/files/{file.id}/content"
    start, *pieces = asked(App(Api(Engine(), uploads=uploads)), path)
    assert start["status"] == 200
    assert b"".join(piece["body"] for piece in pieces) == content
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(len(piece["body"]) <= PIECE for piece in pieces)
    crowded = App(Api(Engine(), uploads=uploads, flight_limit=PIECE))
    assert asked(crowded, path)[0]["status"] == (503 if length > PIECE else 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"content-length", b"99999999999")], 413),
        ([(b"authorization", b"Bearer wrong")], 401),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"2")], 400),
    ],
)
def test_who_asks_whether_to_send_a_body_is_refused_before_it_is_read(headers: Any, status: int) -> None:
    app = App(served(api_keys=("sk-1",)))

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    known = [] if status == 401 else [(b"api-key", b"sk-1")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/vector_stores",
        "headers": [(b"expect", b"100-continue"), *known, *headers],
    }
    found: list[Any] = []

    async def send(message: Any) -> None:
        found.append(message)

    asyncio.run(app(scope, receive, send))
    assert found[0]["status"] == status


def test_who_may_send_a_body_is_asked_for_it() -> None:
    body = sent("POST", "/v1/vector_stores", {"name": "n"}).body
    expects = [(b"expect", b"100-continue"), (b"content-type", b"application/json")]
    start, _ = asked_with(App(Engine()), body, expects)
    assert start["status"] == 200


def asked_with(app: App, body: bytes, headers: Any) -> list[Any]:
    parts: Iterator[bytes] = iter([body])
    found: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": next(parts)}

    async def send(message: Any) -> None:
        found.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/vector_stores", "headers": headers}
    asyncio.run(app(scope, receive, send))
    return found
