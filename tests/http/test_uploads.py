"""The Files API: real bytes of a real size, by the official client's own encoding and by hand."""

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any

import openai
import pytest
from attrs import evolve
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine, SequentialIds, VirtualClock, adapters, errors
from vsbatch_core.adapters import http, uploads
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.adapters.refusals import TooManyUploads, UploadNotFound, UploadTooLarge
from vsbatch_core.adapters.uploads import PURPOSES, FileObject, Uploads
from vsbatch_core.extras import pip_line

from ..helpers.brief import examples
from ..helpers.strategies import START, UPLOAD, CountingIds, WanderingClock, form, said, sent, state


@pytest.fixture(scope="module", autouse=True, params=["in memory", "in a database"])
def keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have ``fresh`` keep files in memory or in a database."""
    if request.param == "in memory":
        yield
        return
    folder = tmp_path_factory.mktemp("databases")
    opened: list[Uploads] = []

    def stored(**options: Any) -> Uploads:
        while opened:
            opened.pop().close()
        url = f"sqlite:///{folder / str(next(names))}.db"
        Engine.open(url, durability="normal").close()
        opened.append(uploads.Uploads.open(url, durability="normal", **options))
        return opened[0]

    names = count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "Uploads", stored)
        yield


def fresh(**options: Any) -> Uploads:
    return Uploads(**{"clock": VirtualClock(START), "ids": CountingIds(), **options})


def served(kept: Uploads | None = None) -> Api:
    kept = kept or fresh()
    return Api(Engine(ids=SequentialIds(), file_size=kept.file_size), uploads=kept)


def posted(body: bytes, content_type: str = "multipart/form-data; boundary=limit") -> Request:
    return Request("POST", "/v1/files", "", (("content-type", content_type),), body)


PURPOSE = ('name="purpose"', b"assistants")
FILE = ('name="file"; filename="a.txt"', b"hello")


# The official client


@pytest.fixture
def api() -> Api:
    return served()


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    library = sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]

    def answer(request: Any) -> Any:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
        found = api.dispatch(Request(request.method, path, query, headers, request.read()))
        return library.Response(found.status, headers=list(found.headers), content=found.body)

    transport = library.MockTransport(answer)
    with openai.OpenAI(
        api_key="sk-1",
        base_url="http://x.invalid/v1",
        http_client=library.Client(transport=transport),
        max_retries=0,
    ) as made:
        yield made


NAMES = ["a.txt", "with space.pdf", "кот.md", "猫.txt", 'quo"te.txt', "semi;colon.txt", "back\\slash", "a" * 255]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"hello", b"\r\n--", bytes(range(256)) * 5000], ids=len)
def test_what_the_client_uploads_comes_back_byte_for_byte(
    client: openai.OpenAI, name: str, content: bytes
) -> None:
    made = client.files.create(file=(name, content), purpose="assistants")
    # Clients write a quotation mark as %22, as browsers do, and a form's reader leaves it so.
    assert made.filename in (name, name.replace('"', "%22"))
    assert (made.id, made.object, made.bytes, made.purpose) == ("file-1", "file", len(content), "assistants")
    assert (made.created_at, made.status, made.expires_at, made.status_details) == (
        START,
        "processed",
        None,
        None,
    )
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content


def test_the_client_uploads_any_kind_of_file_it_takes(client: openai.OpenAI, tmp_path: Any) -> None:
    path = tmp_path / "notes.md"
    path.write_bytes(b"on disk")
    stream = io.BytesIO(b"stream")
    with path.open("rb") as opened:
        for file, content in ((path, b"on disk"), (opened, b"on disk"), (stream, b"stream"), (b"raw", b"raw")):
            made = client.files.create(file=file, purpose="user_data")
            assert client.files.content(made.id).read() == content
    assert [file.filename for file in client.files.list(order="asc")][:2] == ["notes.md", "notes.md"]


def test_the_client_lists_and_deletes(client: openai.OpenAI) -> None:
    ids = [client.files.create(file=("f", bytes(n)), purpose="batch").id for n in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == ids[::-1]
    deleted = client.files.delete(ids[2])
    assert (deleted.id, deleted.object, deleted.deleted) == (ids[2], "file", True)
    assert [file.id for file in client.files.list(limit=2, order="asc")] == [*ids[:2], *ids[3:]]
    assert [file.id for file in client.files.list(after=ids[2])] == [ids[1], ids[0]]
    assert list(client.files.list(purpose="batch_output")) == []
    for look in (client.files.retrieve, client.files.delete, client.files.content):
        with pytest.raises(openai.NotFoundError) as caught:
            look(ids[2])
        assert caught.value.body == {
            "message": f"No such File object: {ids[2]}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }


# Forms by hand


@pytest.mark.parametrize(
    ("request_", "filename", "content"),
    [
        (form(PURPOSE, FILE), "a.txt", b"hello"),
        (form(FILE, PURPOSE), "a.txt", b"hello"),
        (form(PURPOSE, ('name="file"; filename=""', b"hello")), "", b"hello"),
        (form(PURPOSE, ("name=file; filename=a.txt", b"hello")), "a.txt", b"hello"),
        (form(PURPOSE, ('name="file"; filename="a;b.txt"', b"x")), "a;b.txt", b"x"),
        (form(PURPOSE, ('filename="кот.md"; name="file"', b"x")), "кот.md", b"x"),
        (form(PURPOSE, ('name="file"; filename="a"\r\nContent-Type: x/y', b"\xff")), "a", b"\xff"),
        (form(PURPOSE, FILE, end=b"--limit--"), "a.txt", b"hello"),
        (form(PURPOSE, FILE, end=b"--limit--\r\nand an epilogue"), "a.txt", b"hello"),
        (form(PURPOSE, ('name="file"; filename="a"', b"--limi\r\n--limi\r\n-")), "a", b"--limi\r\n--limi\r\n-"),
    ],
    ids=range(10),
)
def test_a_form_is_read_as_it_is_written(request_: Request, filename: str, content: bytes) -> None:
    kept = fresh()
    assert said(served(kept).dispatch(request_))["filename"] == filename
    file = kept.retrieve("file-1")
    assert (file.filename, kept.content(file.id), file.purpose) == (filename, content, "assistants")


@pytest.mark.parametrize(
    ("encoding", "raw", "content"),
    [
        ("quoted-printable", b"caf=C3=A9 =3D=\r\n 1", b"caf\xc3\xa9 = 1"),
        ("base64", b"aGVsbG8=", b"hello"),
        ("binary", b"=C3", b"=C3"),
        ("8bit", b"\xff", b"\xff"),
        ("7bit", b"a", b"a"),
    ],
)
def test_a_part_is_decoded_by_its_transfer_encoding(encoding: str, raw: bytes, content: bytes) -> None:
    kept = fresh()
    says = f'name="file"; filename="a"\r\nContent-Transfer-Encoding: {encoding}'
    assert served(kept).dispatch(form(PURPOSE, (says, raw))).status == 200
    assert kept.content("file-1") == content


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"\\')))
def test_any_content_under_any_name_is_kept_as_it_is(content: bytes, name: str) -> None:
    assume(b"\r\n--limit" not in content)
    kept = fresh()
    response = served(kept).dispatch(form((f'name="file"; filename="{name}"', content), PURPOSE))
    assert (said(response)["filename"], said(response)["bytes"]) == (name, len(content))
    assert kept.content("file-1") == content


LIMIT = "multipart/form-data; boundary=limit"
BAD_FORMS = [
    (form(PURPOSE, FILE, end=b""), "its last boundary is missing"),
    (form(PURPOSE, FILE, end=b"--limit"), "its last boundary is missing"),
    (form(PURPOSE, FILE, end=b"--limit-"), "its last boundary is missing"),
    (posted(b""), "its last boundary is missing"),
    (posted(UPLOAD.body, "multipart/form-data; boundary=other"), ""),
    (posted(UPLOAD.body, "multipart/form-data"), "No boundary given"),
    (posted(UPLOAD.body, f"multipart/form-data; boundary={'x' * 257}"), ""),
    (posted(UPLOAD.body, "multipart/form-data; boundary=…"), ""),
    (posted(b"--limit\r\n\r\nx\r\n--limit--"), ""),
    (posted(b"--limit\r\nContent-Disposition: form-data\r\n\r\nx\r\n--limit--"), ""),
    (posted(b"--limit\r\nContent-Disposition: form-data; filename=a\r\n\r\nx\r\n--limit--"), ""),
    (posted(b"--limit\r\nbad header: x\r\n\r\nx\r\n--limit--"), ""),
    (posted(b"--limit\r\n: x\r\n\r\nx\r\n--limit--"), ""),
    (posted(b"--limitX\r\n"), ""),
    (posted(b"no boundary at all"), ""),
    (form(('name="\xff"', b"")), ""),
    (posted(b'--limit\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--limit--'), ""),
    (
        posted(b'--limit\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\nx\r\n--limit--'),
        "",
    ),
    (form(('name="purpose"', b"\xff"), FILE), ""),
    (form(PURPOSE, ('name="file"; filename="a"\r\nContent-Transfer-Encoding: base64', b"a")), ""),
    (form(PURPOSE, ('name="file"; filename="a"\r\nContent-Transfer-Encoding: gzip', b"a")), "gzip"),
]


@pytest.mark.parametrize(("request_", "why"), BAD_FORMS, ids=range(len(BAD_FORMS)))
def test_what_is_no_form_is_400_and_nothing_is_kept(request_: Request, why: str) -> None:
    api = served()
    before = state(api)
    response = api.dispatch(request_)
    error = said(response)["error"]
    if error["code"] != "unknown_parameter":
        assert error["code"] == "invalid_body"
        assert error["message"].startswith(
            "We could not parse the body of your request: it is no multipart form: "
        )
        assert why in error["message"]
    assert (response.status, error["type"]) == (400, "invalid_request_error")
    assert state(api) == before


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (form(PURPOSE), "file", "missing_required_parameter"),
        (form(FILE), "purpose", "missing_required_parameter"),
        (form(PURPOSE, ('name="file"', b"hello")), "file", "invalid_type"),
        (form(FILE, ('name="purpose"; filename="a"', b"assistants")), "purpose", "invalid_type"),
        (form(FILE, ('name="purpose"', b"fun")), "purpose", "invalid_value"),
        (form(FILE, ('name="purpose"', b"")), "purpose", "invalid_value"),
        (form(FILE, ('name="purpose"', b"batch_output")), "purpose", "invalid_value"),
        (form(PURPOSE, FILE, FILE), "file", "duplicate_parameter"),
        (form(PURPOSE, FILE, PURPOSE), "purpose", "duplicate_parameter"),
        (form(PURPOSE, FILE, ('name="more"', b"")), "more", "unknown_parameter"),
        (form(PURPOSE, FILE, ('name="more"; filename="b"', b"")), "more", "unknown_parameter"),
        (form(PURPOSE, FILE, ('name=""', b"")), "", "unknown_parameter"),
    ],
    ids=range(12),
)
def test_a_form_with_other_fields_than_an_upload_has_is_400(request_: Request, param: str, code: str) -> None:
    api = served()
    before = state(api)
    response = api.dispatch(request_)
    error = said(response)["error"]
    assert (response.status, error["param"], error["code"]) == (400, param, code)
    assert state(api) == before


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/mixed; boundary=limit", "", "multipart/form-data2"]
)
def test_an_upload_that_is_no_form_is_415(content_type: str) -> None:
    response = served().dispatch(posted(UPLOAD.body, content_type))
    assert response.status == 415
    assert said(response)["error"]["message"] == (
        f"Unsupported content type '{content_type}'. Send 'multipart/form-data'."
    )


def test_an_upload_without_a_content_type_is_415() -> None:
    assert served().dispatch(Request("POST", "/v1/files", body=UPLOAD.body)).status == 415


def test_the_content_type_of_a_form_may_be_in_any_case() -> None:
    assert served().dispatch(posted(UPLOAD.body, "Multipart/Form-Data;boundary=limit")).status == 200


# What is kept


def put(kept: Uploads, content: bytes = b"", purpose: str = "assistants") -> FileObject:
    return kept.create(file=("f", content), purpose=purpose)


def test_files_are_kept_up_to_the_limit_and_deleting_makes_room() -> None:
    kept = fresh(limit_bytes=8)  # each name takes one
    first = put(kept, b"abc")
    put(kept, b"de")
    put(kept, b"")
    with pytest.raises(UploadTooLarge, match="Cannot keep a file of 1 bytes with its name: 8 of at most 8 bytes"):
        put(kept, b"")
    assert kept.kept_bytes == 8
    kept.delete(first.id)
    assert kept.kept_bytes == 4
    put(kept, b"fgh")
    assert kept.kept_bytes == 8


def test_no_more_files_are_kept_than_the_limit_says() -> None:
    kept = fresh(limit_files=2)
    first = put(kept)
    put(kept)
    with pytest.raises(TooManyUploads, match="Cannot keep more than 2 uploaded files"):
        put(kept)
    kept.delete(first.id)
    put(kept)
    assert len(kept.list().data) == 2


def test_an_id_is_never_given_twice_not_even_after_a_refusal() -> None:
    kept = fresh(limit_bytes=2)
    with pytest.raises(UploadTooLarge):
        put(kept, b"too long")
    first = put(kept, b"a").id
    kept.delete(first)
    assert (first, put(kept).id) == ("file-1", "file-2")


@pytest.mark.parametrize("answer", ["file-1", "vs_1", "", None, 7])
def test_an_id_source_that_answers_no_new_id_is_the_hosts_fault_and_nothing_is_kept(answer: Any) -> None:
    answers = iter(["file-1", answer])
    kept = fresh(ids=lambda _prefix: next(answers))
    put(kept, b"abc")
    with pytest.raises(errors.IdTaken):
        put(kept, b"de")
    assert kept.kept_bytes == 4
    assert [kept.content(file.id) for file in kept.list()] == [b"abc"]


def test_the_id_of_a_deleted_file_is_taken_too() -> None:
    kept = fresh(ids=lambda _prefix: "file-1")
    kept.delete(put(kept).id)
    with pytest.raises(errors.IdTaken):
        put(kept)


def test_without_a_clock_and_ids_it_takes_the_systems() -> None:
    made = put(Uploads())
    assert made.id.startswith("file-")
    assert made.created_at > START


def test_the_time_of_uploads_never_goes_back() -> None:
    clock = WanderingClock()
    kept = fresh(clock=clock)
    times = []
    for seconds in (0, 10, -100, 5):
        clock.wait(seconds)
        times.append(put(kept).created_at - START)
    assert times == [0, 10, 10, 10]


def test_an_id_that_was_never_uploaded_is_accepted_unless_told_otherwise() -> None:
    kept = fresh()
    engine = Engine(file_size=kept.file_size)
    store = engine.vector_stores.create(file_ids=["file-elsewhere", put(kept, b"hello").id])
    done = [engine.processing.complete(store.id, id).usage_bytes for id in ("file-elsewhere", "file-1")]
    assert done == [0, 5]


def test_an_id_that_was_never_uploaded_or_was_deleted_is_refused_if_that_is_wanted() -> None:
    kept = fresh(require_uploaded_files=True)
    api = served(kept)
    put(kept, b"hello")
    made = said(api.dispatch(sent("POST", "/v1/vector_stores", {"file_ids": ["file-1"]})))
    before = state(api)
    refused = api.dispatch(sent("POST", "/v1/vector_stores", {"file_ids": ["file-1", "file-2"]}))
    assert refused.status == 404
    assert said(refused) == {
        "error": {
            "message": "No such File object: 'file-2'. Upload it first.",
            "type": "invalid_request_error",
            "param": "file_ids",
            "code": None,
        }
    }
    assert state(api) == before
    kept.delete("file-1")
    assert api.dispatch(sent("POST", "/v1/vector_stores", {"file_ids": ["file-1"]})).status == 404
    # Where it is attached it stays so.
    assert api.engine.vector_stores.files.retrieve("file-1", vector_store_id=made["id"]).status == "in_progress"
    assert api.engine.processing.complete(made["id"], "file-1").usage_bytes == 0


# Lists


@given(
    st.lists(st.sampled_from(PURPOSES[:2]), max_size=9),
    st.sets(st.integers(0, 8)),
    st.integers(1, 4),
    st.sampled_from(("asc", "desc", None)),
    st.sampled_from((None, *PURPOSES[:2], "batch_output")),
    st.sampled_from((None, *range(9))),
)
def test_a_walk_finds_each_file_after_the_cursor_once_in_order(
    purposes: list[str], gone: set[int], limit: int, order: str | None, purpose: str | None, after: int | None
) -> None:
    kept = fresh()
    made = [put(kept, purpose=word) for word in purposes]
    for n in gone & set(range(len(made))):
        kept.delete(made[n].id)
    wanted = [(n, file) for n, file in enumerate(made) if n not in gone and purpose in (None, file.purpose)]
    if order != "asc":
        wanted.reverse()
    cursor = None
    if after is not None and after < len(made):
        cursor = made[after].id
        wanted = [(n, file) for n, file in wanted if (n > after if order == "asc" else n < after)]
    page = kept.list(limit=limit, order=order, purpose=purpose, after=cursor)
    assert list(page.data) == [file for _, file in wanted[:limit]]
    assert page.has_more is (len(wanted) > limit)
    assert list(page) == [file for _, file in wanted]


def listed(api: Api, query: str) -> Response:
    return api.dispatch(sent("GET", f"/v1/files?{query}"))


def test_a_page_of_files_has_the_form_of_every_list() -> None:
    kept = fresh()
    api = served(kept)
    assert said(listed(api, "")) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    for _ in range(3):
        put(kept, b"hello")
    page = said(listed(api, "limit=2"))
    assert [file["id"] for file in page.pop("data")] == ["file-3", "file-2"]
    assert page == {"object": "list", "first_id": "file-3", "last_id": "file-2", "has_more": True}
    assert said(listed(api, "limit=1&order=asc"))["data"] == [
        {
            "id": "file-1",
            "object": "file",
            "bytes": 5,
            "created_at": int(START),
            "expires_at": None,
            "filename": "f",
            "purpose": "assistants",
            "status": "processed",
            "status_details": None,
        }
    ]


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=10001", "limit", "integer_above_max_value"),
        ("order=up", "order", "invalid_value"),
        ("after=", "after", "empty_string"),
        ("after=file-2", "after", "invalid_cursor"),
        ("purpose=fun", "purpose", "invalid_value"),
        ("before=file-1", "before", "unknown_parameter"),
    ],
)
def test_a_bad_request_for_a_page_of_files_is_400(query: str, param: str, code: str) -> None:
    kept = fresh()
    put(kept)
    response = listed(served(kept), query)
    error = said(response)["error"]
    assert (response.status, error["param"], error["code"]) == (400, param, code)


def test_a_page_has_up_to_10_000_files_and_as_many_if_not_told_otherwise() -> None:
    kept = fresh()
    for _ in range(10_001):
        put(kept)
    for page in (kept.list(), kept.list(limit=10_000)):
        assert (len(page.data), page.has_more) == (10_000, True)


def test_what_is_not_there_cannot_be_looked_at_or_deleted() -> None:
    kept = fresh()
    for look in (kept.retrieve, kept.delete):
        with pytest.raises(UploadNotFound):
            look("file-1")


def test_a_file_does_not_show_its_content_and_equals_its_twin() -> None:
    one, other = (put(fresh(), b"secret") for _ in range(2))
    assert one == other
    assert "secret" not in repr(one)


def test_to_wire_knows_both_answers() -> None:
    assert uploads.to_wire(uploads.FileDeleted("file-1")) == {"id": "file-1", "object": "file", "deleted": True}


# Threads


def test_uploads_from_many_threads_lose_nothing_and_never_pass_the_limit() -> None:
    kept = fresh(limit_bytes=800)
    tried = 1000

    def work(n: int) -> str | None:
        try:
            made = put(kept, bytes([n % 256]))
        except UploadTooLarge:
            return None
        if n % 3 == 0:
            kept.delete(made.id)
            return None
        assert kept.content(made.id) == bytes([n % 256])
        return made.id

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = [id for id in pool.map(work, range(tried)) if id is not None]
    finally:
        sys.setswitchinterval(before)
    # Who was refused may have met a file that was deleted a moment later: there can be room left.
    assert 0 < len(set(ids)) == len(ids) == kept.kept_bytes / 2 <= 400
    assert sorted(file.id for file in kept.list()) == sorted(ids)
    for _ in range(400 - len(ids)):
        put(kept, b"x")
    with pytest.raises(UploadTooLarge):
        put(kept, b"x")
    assert kept.kept_bytes == 800


# Files that expire

HOUR, MONTH = 3_600, 2_592_000
EXPIRY = [
    ({}, "expires_after.anchor", "missing_required_parameter"),
    ({"anchor": "created_at"}, "expires_after.seconds", "missing_required_parameter"),
    ({"seconds": HOUR}, "expires_after.anchor", "missing_required_parameter"),
    ({"anchor": "last_active_at", "seconds": HOUR}, "expires_after.anchor", "invalid_value"),
    ({"anchor": "created_at", "seconds": HOUR - 1}, "expires_after.seconds", "integer_below_min_value"),
    ({"anchor": "created_at", "seconds": MONTH + 1}, "expires_after.seconds", "integer_above_max_value"),
    ({"anchor": "created_at", "seconds": "3600.0"}, "expires_after.seconds", "invalid_type"),
    ({"anchor": "created_at", "seconds": True}, "expires_after.seconds", "invalid_type"),
    ({"anchor": "created_at", "seconds": HOUR, "days": 1}, "expires_after.days", "unknown_parameter"),
    ("never", "expires_after", "invalid_type"),
]


@pytest.mark.parametrize(("expiry", "param", "code"), EXPIRY)
def test_an_expiry_that_is_none_is_refused_and_nothing_is_kept(expiry: Any, param: str, code: str) -> None:
    kept = fresh()
    with pytest.raises(errors.RequestError) as refused:
        kept.create(file=("f", b""), purpose="assistants", expires_after=expiry)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert kept.list().data == ()


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"anchor": b"created_at", "seconds": b"3600"}, 200, None),
        ({"anchor": b"created_at", "seconds": b"2592000"}, 200, None),
        ({"anchor": b"created_at", "seconds": b"-3600"}, 400, "expires_after.seconds"),
        ({"anchor": b"created_at", "seconds": b"3600 "}, 400, "expires_after.seconds"),
        ({"anchor": b"created_at", "seconds": b"9" * 5_000}, 400, "expires_after.seconds"),
        ({"seconds": b"3600"}, 400, "expires_after.anchor"),
        ({"anchor": b"created_at"}, 400, "expires_after.seconds"),
    ],
)
def test_a_form_says_when_a_file_expires(fields: dict[str, bytes], status: int, param: str | None) -> None:
    api = served()
    before = state(api)
    parts = [(f'name="expires_after[{key}]"', value) for key, value in fields.items()]
    response = api.dispatch(form(('name="purpose"', b"assistants"), *parts, ('name="file"; filename="a"', b"x")))
    assert response.status == status
    if status == 200:
        assert said(response)["expires_at"] == said(response)["created_at"] + int(fields["seconds"])
    else:
        assert said(response)["error"]["param"] == param
        assert state(api) == before


def test_the_client_says_when_a_file_expires(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("a.txt", b"x"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": HOUR}
    )
    assert made.expires_at == made.created_at + HOUR


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from([None, HOUR, 2 * HOUR, MONTH])),
            st.tuples(st.just("wait"), st.sampled_from([1, HOUR - 1, HOUR, MONTH])),
            st.tuples(st.just("delete"), st.integers(0, 9)),
        ),
        max_size=12,
    )
)
@settings(max_examples=examples(40))
def test_a_file_that_has_expired_is_as_one_that_was_deleted_at_that_moment(steps: list[tuple[str, Any]]) -> None:
    clocks = VirtualClock(START), VirtualClock(START)
    kept = fresh(clock=clocks[0], require_uploaded_files=True)
    twin = uploads.Uploads(clock=clocks[1], ids=CountingIds(), require_uploaded_files=True)
    due: dict[str, float] = {}
    made: list[str] = []
    for what, value in steps:
        if what == "put":
            expiry = value and {"anchor": "created_at", "seconds": value}
            file = kept.create(file=("name", b"content"), purpose="assistants", expires_after=expiry)
            assert file.expires_at == (value and file.created_at + value)
            plain = twin.create(file=("name", b"content"), purpose="assistants")
            assert plain == evolve(file, expires_at=None)
            made.append(file.id)
            if value:
                due[file.id] = clocks[0].time() + value
        elif what == "wait":
            for clock in clocks:
                clock.advance(value)
            for id in [id for id, at in due.items() if at <= clocks[1].time()]:
                del due[id]
                with suppress(UploadNotFound):
                    twin.delete(id)
        elif value < len(made):
            outcomes = []
            for each in (kept, twin):
                try:
                    outcomes.append(each.delete(made[value]))
                except UploadNotFound as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
        both = [
            (
                [file.id for file in each.list(order="asc")],
                [file.id for file in each.list(purpose="assistants")],
                each.kept_bytes,
                [each.file_size(id) for id in made],
                [[file.id for file in each.list(after=id, order="asc")] for id in made],
            )
            for each in (kept, twin)
        ]
        assert both[0] == both[1]
        for id in made:
            there = twin.file_size(id) is not None
            for look in (kept.retrieve, kept.content):
                if there:
                    look(id)
                else:
                    with pytest.raises(UploadNotFound):
                        look(id)


def test_what_expires_makes_room() -> None:
    clock = VirtualClock(START)
    kept = fresh(clock=clock, limit_bytes=8, limit_files=1)
    expiry = {"anchor": "created_at", "seconds": HOUR}
    kept.create(file=("f", b"content"), purpose="assistants", expires_after=expiry)
    with pytest.raises(UploadTooLarge):
        kept.create(file=("f", b""), purpose="assistants")
    clock.advance(HOUR)
    kept.create(file=("f", b"content"), purpose="assistants", expires_after=expiry)
    assert kept.kept_bytes == 8


def test_an_attached_file_stays_attached_when_its_upload_expires() -> None:
    clock = VirtualClock(START)
    kept = fresh(clock=clock, require_uploaded_files=True)
    engine = Engine(clock=clock, file_size=kept.file_size)
    file = kept.create(
        file=("f", b"content"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": HOUR}
    )
    store = engine.vector_stores.create(file_ids=[file.id])
    clock.advance(HOUR)
    assert engine.vector_stores.files.retrieve(file.id, vector_store_id=store.id).status == "in_progress"
    with pytest.raises(errors.UnknownFile):
        engine.vector_stores.create(file_ids=[file.id])


def test_files_that_are_deleted_before_they_expire_leave_nothing_behind() -> None:
    kept = fresh()
    for _ in range(50):
        made = kept.create(
            file=("f", b""), purpose="assistants", expires_after={"anchor": "created_at", "seconds": HOUR}
        )
        kept.delete(made.id)
    assert len(kept._expiring) <= 2


# The extra


def test_without_python_multipart_uploads_are_refused_at_once_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "python_multipart"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    monkeypatch.delitem(sys.modules, "vsbatch_core.adapters.multipart", raising=False)
    monkeypatch.delattr(adapters, "multipart", raising=False)
    with pytest.raises(ImportError) as caught:
        served()
    assert str(caught.value) == f"uploads need python-multipart: {pip_line('http')}"
    # All else goes without.
    assert http.dispatch(Engine(), sent("GET", "/v1/vector_stores")).status == 200
