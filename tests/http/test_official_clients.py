"""The official clients, sync and async, with the engine itself as their transport."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import anyio
import openai
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine, Profile, VsbatchError, events
from vsbatch_core.adapters import openai as adapter
from vsbatch_core.adapters.faults import NoAnswer, TimedOut
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.errors import SubscriberError
from vsbatch_core.extras import pip_line
from vsbatch_core.model import ORDERS, VectorStoreFile
from vsbatch_core.simulation import Completed, Failed, Never, Plan
from vsbatch_core.testing.bench import Bench
from vsbatch_core.wire import to_wire

from ..helpers.brief import examples
from ..helpers.strategies import Command, all_reads, call, file_id, histories, new_engine, populated, run

Dispatch = Callable[[Request], Response]


class Sync:
    """The sync client."""

    make = staticmethod(adapter.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def settle(self, value: Any) -> Any:
        return value

    def items(self, page: Any) -> list[Any]:
        return list(page)


class Async:
    """The async client, whose answers are waited for."""

    make = staticmethod(adapter.async_client)

    def __enter__(self) -> Self:
        self.runner = asyncio.Runner()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.runner.close()

    def settle(self, value: Any) -> Any:
        async def wait() -> Any:
            return await value

        return self.runner.run(wait()) if inspect.isawaitable(value) else value

    def items(self, page: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [item async for item in page]

        return self.runner.run(collect())


Mode = Sync | Async


class Face:
    """A client or a part of it, which is called as the sync one whichever it is."""

    def __init__(self, part: Any, mode: Mode) -> None:
        self.part = part
        self.mode = mode

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.part, name)
        if not callable(found):
            return Face(found, self.mode)
        return lambda *args, **kwargs: self.mode.settle(found(*args, **kwargs))


# For the whole module, so that a test with many examples can use it: it keeps nothing but an event loop.
@pytest.fixture(scope="module", params=[Sync, Async])
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    with request.param() as mode:
        yield mode


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What clients wait for, in seconds; they no longer do."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(anyio, "sleep", sleep)
    return waited


def client_of(mode: Mode, api: Api | Engine, **options: Any) -> Any:
    """A client that tries once and checks every answer against the type that the SDK gives it."""
    return Face(mode.make(api, **{"max_retries": 0, "_strict_response_validation": True, **options}), mode)


def tapped(api: Api, tap: Callable[[Dispatch, Request], Response]) -> Api:
    """The same, but ``tap`` answers each request, and may have it dispatched."""

    class Tapped(Api):
        def dispatch(self, request: Request) -> Response:
            return tap(super().dispatch, request)

    return Tapped(api.engine, uploads=api.uploads, driver=api.driver, polled=api.polled)


def answered(face: Any, command: Command) -> Any:
    """What the client gives, as data."""
    try:
        return attrgetter(command.path)(face)(*command.args, **command.kwargs).to_dict()
    except openai.APIStatusError as error:
        return error.status_code, {"error": error.body}


def written(engine: Engine, command: Command) -> Any:
    """What the engine answers, as data on the wire."""
    try:
        return as_typed(to_wire(attrgetter(command.path)(engine)(*command.args, **command.kwargs)))
    except VsbatchError as error:
        return error.status, error.to_wire()


def as_typed(data: dict[str, Any]) -> dict[str, Any]:
    """Numbers in attributes as the SDK reads them: its type has floats alone."""
    if data["object"] == "list":
        return {**data, "data": [as_typed(item) for item in data["data"]]}
    if "attributes" not in data:
        return data
    numbers = {key: float(value) for key, value in data["attributes"].items() if type(value) is int}
    return {**data, "attributes": {**data["attributes"], **numbers}}


def new_store(bench: Bench) -> str:
    return bench.engine.vector_stores.create(name="docs").id


def new_batch(bench: Bench, files: int) -> tuple[str, str, list[str]]:
    """A batch of so many files: the ids of its store, of it, and of them in request order."""
    store, ids = new_store(bench), [file_id(n) for n in range(files)]
    return store, bench.engine.vector_stores.file_batches.create(store, file_ids=ids).id, ids


# Values


READS = [read for read in all_reads() if read.path.startswith("vector_stores")]


@settings(max_examples=examples(40))
@given(history=histories, reads=st.lists(st.sampled_from(READS), max_size=10))
def test_a_client_gives_what_the_engine_answers_to_the_same_calls(
    mode: Mode, history: list[Command], reads: list[Command]
) -> None:
    asked, beside = new_engine(), new_engine()
    face = client_of(mode, asked)
    for command in [*history, *reads]:
        if command.path.startswith("vector_stores"):
            assert answered(face, command) == written(beside, command)
        else:  # what happens behind the API, to both
            assert run(asked, command) == run(beside, command)
    assert asked.snapshot() == beside.snapshot()


CHUNKING = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
EXPIRY = {"anchor": "last_active_at", "days": 7}
ATTRIBUTES = {"text": "x", "number": 0.5, "flag": True}
BETWEEN = {"limit": 1, "order": "asc", "after": "file-b", "before": "file-e", "filter": "failed"}
CALLS = [
    call(
        "vector_stores.create",
        name="n",
        description="d",
        file_ids=["file-x"],
        chunking_strategy=CHUNKING,
        expires_after=EXPIRY,
        metadata={"k": "v"},
    ),
    call("vector_stores.retrieve", "vs_1"),
    call("vector_stores.update", "vs_1", name="m", expires_after=EXPIRY, metadata={"k": "w"}),
    call("vector_stores.list", limit=1, order="asc", after="vs_1", before="vs_3"),
    call("vector_stores.delete", "vs_2"),
    call("vector_stores.files.create", "vs_1", file_id="x", attributes=ATTRIBUTES, chunking_strategy=CHUNKING),
    call("vector_stores.files.retrieve", "file-c", vector_store_id="vs_1"),
    call("vector_stores.files.update", "file-a", vector_store_id="vs_1", attributes=ATTRIBUTES),
    call("vector_stores.files.list", "vs_1", **BETWEEN),
    call("vector_stores.files.delete", "file-b", vector_store_id="vs_1"),
    call(
        "vector_stores.file_batches.create",
        "vs_1",
        file_ids=["x", "y"],
        attributes=ATTRIBUTES,
        chunking_strategy=CHUNKING,
    ),
    call(
        "vector_stores.file_batches.create",
        "vs_1",
        files=[{"file_id": "x", "attributes": ATTRIBUTES, "chunking_strategy": CHUNKING}],
    ),
    call("vector_stores.file_batches.retrieve", "vsfb_1", vector_store_id="vs_1"),
    call("vector_stores.file_batches.cancel", "vsfb_1", vector_store_id="vs_1"),
    call("vector_stores.file_batches.list_files", "vsfb_1", vector_store_id="vs_1", **BETWEEN),
]
HELPERS: dict[str, Callable[[str, str, Path], dict[str, Any]]] = {
    "files.create_and_poll": lambda store, _batch, _path: {"vector_store_id": store, "file_id": "file-new"},
    "files.poll": lambda store, _batch, _path: {"vector_store_id": store, "file_id": file_id(0)},
    "files.upload": lambda store, _batch, path: {"vector_store_id": store, "file": path},
    "files.upload_and_poll": lambda store, _batch, path: {"vector_store_id": store, "file": path},
    "file_batches.create_and_poll": lambda store, _batch, _path: {
        "vector_store_id": store,
        "file_ids": ["file-new"],
    },
    "file_batches.poll": lambda store, batch, _path: {"vector_store_id": store, "batch_id": batch},
    "file_batches.upload_and_poll": lambda store, _batch, path: {"vector_store_id": store, "files": [path]},
}
"""The methods that are made of others, each with arguments for a store, a batch in it, and a file to upload."""

NOT_SERVED = {"search", "content"}
THE_CLIENTS_OWN = {"extra_headers", "extra_query", "extra_body", "timeout"}


def methods(face: Any, path: str) -> set[str]:
    found = inspect.getmembers(type(attrgetter(path)(face.part)), inspect.isfunction)
    return {f"{path}.{name}" for name, _ in found if not name.startswith("_")} - {
        f"{path}.{n}" for n in NOT_SERVED
    }


@pytest.mark.parametrize("command", CALLS, ids=repr)
def test_every_argument_of_a_method_arrives(mode: Mode, command: Command) -> None:
    asked, beside = populated(), populated()
    assert answered(client_of(mode, asked), command) == written(beside, command)
    assert asked.snapshot() == beside.snapshot()


def test_no_method_of_the_clients_and_no_argument_is_left_out(mode: Mode) -> None:
    face = client_of(mode, Engine())
    parts = ("vector_stores", "vector_stores.files", "vector_stores.file_batches")
    helpers = {f"vector_stores.{name}" for name in HELPERS}
    assert set().union(*(methods(face, part) for part in parts)) == {c.path for c in CALLS} | helpers
    given: dict[str, set[str]] = {}
    for command in CALLS:
        method = inspect.signature(attrgetter(command.path)(face.part))
        given.setdefault(command.path, set()).update(method.bind(*command.args, **command.kwargs).arguments)
        assert given[command.path] <= set(method.parameters)
    for path, names in given.items():
        parameters = set(inspect.signature(attrgetter(path)(face.part)).parameters)
        assert names == parameters - THE_CLIENTS_OWN, path


class Deaf(Api):
    """An API of which every other response is lost on its way."""

    def dispatch(self, request: Request) -> Response:
        response = super().dispatch(request)
        lost = request.header("x-stainless-retry-count") == "0"
        if lost:
            raise NoAnswer("the connection was cut")
        return response


@pytest.mark.usefixtures("sleeps")
def test_a_create_with_a_key_may_be_repeated_by_hand_or_by_the_client_itself(mode: Mode) -> None:
    """The client repeats what it got no answer to; it gives each request a key if it is told in which header."""
    engine = new_engine()
    face = client_of(mode, Deaf(engine), max_retries=1)
    headers = {"Idempotency-Key": "key-1"}
    assert [face.vector_stores.create(name="n", extra_headers=headers).id for _ in range(2)] == ["vs_1"] * 2
    with pytest.raises(openai.BadRequestError, match="'key-1' came with another request"):
        face.vector_stores.create(name="m", extra_headers=headers)
    face.part._idempotency_header = "Idempotency-Key"
    made = face.vector_stores.file_batches.create("vs_1", file_ids=["file-a"])
    assert made.id == "vsfb_1"
    assert face.vector_stores.file_batches.create("vs_1", file_ids=["file-a"]).id == "vsfb_2"
    assert len(engine.snapshot()["vector_stores"][0]["idempotency_keys"]) == 2
    face.part._idempotency_header = None
    assert face.vector_stores.create(name="n").id == "vs_3"  # and vs_2 is there too


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_gives_what_the_engine_then_holds(mode: Mode, bench: Bench, name: str, tmp_path: Path) -> None:
    store, batch, _ = new_batch(bench, 3)
    path = tmp_path / "page.md"
    path.write_bytes(b"# Page")
    face = client_of(mode, bench.api)
    given = attrgetter(f"vector_stores.{name}")(face)(**HELPERS[name](store, batch, path))
    kind = (
        bench.engine.vector_stores.files if name.startswith("files") else bench.engine.vector_stores.file_batches
    )
    assert given.to_dict() == to_wire(kind.retrieve(given.id, vector_store_id=store))
    assert given.status == ("in_progress" if name == "files.upload" else "completed")


@given(id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_any_file_id_that_a_client_can_send_arrives_as_it_is(mode: Mode, id: str) -> None:
    assume(
        not re.fullmatch(r"(?:\.|%2[eE]){1,2}", id)
    )  # the SDK refuses what a server may take for a path's dots
    engine = new_engine()
    face = client_of(mode, engine)
    store = face.vector_stores.create().id
    assert face.vector_stores.files.create(store, file_id=id).id == id
    assert face.vector_stores.files.retrieve(id, vector_store_id=store).id == id
    assert [file.id for file in face.vector_stores.files.list(store, before=id).data] == []
    assert face.vector_stores.files.delete(id, vector_store_id=store).deleted
    assert engine.vector_stores.files.list(store).data == ()


@pytest.mark.parametrize("word", ["vector_store.files_batch", "vector_store.file_batch"])
def test_either_word_for_a_batch_reaches_the_client(mode: Mode, word: Any) -> None:
    # Not strict: for openai 2.x the second is none of the words that a batch may have.
    face = client_of(mode, populated(Profile(batch_object=word)), _strict_response_validation=False)
    assert face.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1").object == word


def test_a_store_without_a_name_reaches_the_client_as_null(mode: Mode) -> None:
    # Not strict: the document says string, and the recordings have null.
    face = client_of(mode, new_engine(Profile(unnamed_store="null")), _strict_response_validation=False)
    assert face.vector_stores.create().name is None
    assert [store.name for store in face.vector_stores.list().data] == [None]


@pytest.mark.parametrize("answer", ["final", "in_progress"])
def test_a_cancel_is_answered_as_the_profile_says_and_then_the_batch_has_ended(mode: Mode, answer: Any) -> None:
    face = client_of(mode, populated(Profile(cancel_answer=answer)))
    ended = {"final": "cancelled", "in_progress": "in_progress"}
    assert face.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1").status == ended[answer]
    assert face.vector_stores.file_batches.poll("vsfb_1", vector_store_id="vs_1").status == "cancelled"


@pytest.mark.parametrize(
    ("profile", "call", "param"),
    [
        (
            Profile(duplicates="refuse"),
            lambda face: face.file_batches.create("vs_1", files=[{"file_id": "file-n"}, {"file_id": "file-n"}]),
            "files[1]",
        ),
        (
            Profile(reattach="refuse"),
            lambda face: face.files.create("vs_1", file_id="file-a"),
            "file_id",
        ),
        (Profile(deleted_cursor="refuse"), lambda face: face.files.list("vs_1", after="file-d").data, "after"),
        (
            Profile(both_cursors="refuse"),
            lambda face: face.files.list("vs_1", after="file-a", before="file-b").data,
            "before",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_policy_refuses_is_a_bad_request_that_names_the_parameter(
    mode: Mode, profile: Profile, call: Any, param: str
) -> None:
    face = client_of(mode, populated(profile))
    with pytest.raises(openai.BadRequestError) as caught:
        call(face.vector_stores)
    assert caught.value.param == param


# Polling


def test_polling_a_batch_that_attached_no_file_ends_at_the_first_look(mode: Mode) -> None:
    face = client_of(mode, populated(Profile(reattach="reuse")))
    batch = face.vector_stores.file_batches.create_and_poll("vs_1", file_ids=["file-a", "file-b"])
    assert (batch.status, batch.file_counts.total) == ("completed", 0)
    assert face.vector_stores.file_batches.list_files(batch.id, vector_store_id="vs_1").data == []


def patient(bench: Bench, tap: Callable[[], object] = lambda: None) -> Api:
    """The bench's API, which calls ``tap`` after each poll, and breaks off a poll that finds no end."""
    polls = 0

    def count(dispatch: Dispatch, request: Request) -> Response:
        nonlocal polls
        response = dispatch(request)
        if request.header("x-stainless-poll-helper"):
            polls += 1
            assert polls < 500, "the poll finds no end"
            tap()
        return response

    return tapped(bench.api, count)


def two_thousand(mode: Mode) -> tuple[list[events.Event], float, dict[str, Any]]:
    with Bench(plan=Plan(failures={"server_error": 0.1, "invalid_file": 0.1}), seed=7) as bench:
        told: list[events.Event] = []
        bench.engine.subscribe(told.append)
        face = client_of(mode, bench.api)
        store = face.vector_stores.create(name="docs").id
        ids = [f"file-{n}" for n in range(2000)]
        batch = face.vector_stores.file_batches.create_and_poll(store, file_ids=ids)
        bench.engine.check()
        return told, bench.simulation.now, batch.to_dict()


@pytest.mark.slow
def test_a_poll_of_two_thousand_files_waits_for_nothing_and_has_the_same_history_every_run(
    mode: Mode, sleeps: list[float]
) -> None:
    told, now, batch = two_thousand(mode)
    assert (told, now, batch) == two_thousand(mode)
    assert now == 2000 / 8  # a second each, 8 workers, a poll a second
    assert sleeps == [0.0] * 2 * 250
    counts = batch["file_counts"]
    assert counts["total"] == 2000
    assert counts["completed"] == sum(isinstance(event, events.FileCompleted) for event in told)
    assert counts["failed"] == sum(isinstance(event, events.FileFailed) for event in told) > 0


def test_without_a_driver_a_poll_waits_as_long_as_the_header_says(mode: Mode, sleeps: list[float]) -> None:
    engine = new_engine()
    store = engine.vector_stores.create().id
    engine.vector_stores.files.create(store, file_id="file-a")

    def finish(dispatch: Dispatch, request: Request) -> Response:
        if len(sleeps) == 3 and request.method == "GET":
            engine.processing.complete(store, "file-a", usage_bytes=1)
        return dispatch(request)

    face = client_of(mode, tapped(Api(engine), finish))
    assert face.vector_stores.files.poll("file-a", vector_store_id=store).status == "completed"
    assert sleeps == [1.0] * 3


def test_an_interval_of_the_callers_own_is_what_the_clock_moves_by(
    mode: Mode, bench: Bench, sleeps: list[float]
) -> None:
    store = new_store(bench)
    face = client_of(mode, bench.api)
    ids = [file_id(n) for n in range(16)]
    face.vector_stores.file_batches.create_and_poll(store, file_ids=ids, poll_interval_ms=1500)
    assert bench.simulation.now == 3.0
    assert sleeps == [1.5] * 2


def test_what_becomes_of_files_is_seen_by_the_client(mode: Mode) -> None:
    script = {"file-b": Failed("unsupported_file"), "file-c": Failed("invalid_file", message="Encrypted.")}
    with Bench(plan=Plan(script=script)) as bench:
        face = client_of(mode, bench.api)
        store = face.vector_stores.create(name="docs").id
        files = ["file-a", "file-b", "file-c"]
        batch = face.vector_stores.file_batches.create_and_poll(store, file_ids=files)
        assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == ("completed", 1, 2)
        page = face.vector_stores.file_batches.list_files(
            batch.id, vector_store_id=store, filter="failed", order="asc"
        )
        assert [(file.id, file.last_error.code, file.last_error.message) for file in page.data] == [
            ("file-b", "unsupported_file", "The file type is not supported."),
            ("file-c", "invalid_file", "Encrypted."),
        ]


def test_a_plan_may_count_the_polls(mode: Mode, sleeps: list[float]) -> None:
    with Bench(plan=Plan.after_polls(3)) as bench:
        store, batch, _ = new_batch(bench, 20)
        face = client_of(mode, patient(bench))
        assert face.vector_stores.file_batches.poll(batch, vector_store_id=store).status == "completed"
        assert len(sleeps) == 2


# Uploads


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Real files, of sizes that tell them apart."""
    made = [tmp_path / f"{n}.md" for n in range(12)]
    for n, path in enumerate(made):
        path.write_bytes(b"\x00\r\n--x" * n * 100 + b"\xff")
    return made


def test_a_batch_of_uploads_has_the_names_contents_and_sizes_of_the_files(
    mode: Mode, bench: Bench, paths: list[Path]
) -> None:
    store = new_store(bench)
    face = client_of(mode, bench.api)
    before = face.files.create(file=paths[0], purpose="assistants")
    batch = face.vector_stores.file_batches.upload_and_poll(
        store, files=paths[1:], file_ids=[before.id], max_concurrency=4, chunking_strategy=CHUNKING
    )
    assert (batch.file_counts.completed, batch.file_counts.total) == (12, 12)
    sizes = {file.id: file.usage_bytes for file in mode.items(face.vector_stores.files.list(store, limit=5))}
    uploaded = face.files.list(order="asc").data
    assert Counter(file.filename for file in uploaded) == Counter(path.name for path in paths)
    for file in uploaded:
        content = (paths[0].parent / file.filename).read_bytes()
        assert face.files.content(file.id).content == content
        assert len(content) == file.bytes == sizes[file.id]
    assert face.vector_stores.retrieve(store).usage_bytes == sum(path.stat().st_size for path in paths)
    bench.engine.check()


def test_a_file_may_be_a_path_bytes_or_an_open_file(mode: Mode, bench: Bench, paths: list[Path]) -> None:
    face = client_of(mode, bench.api)
    with paths[3].open("rb") as opened:
        for file in (
            paths[3],
            opened,
            ("3.md", paths[3].read_bytes()),
            ("3.md", paths[3].read_bytes(), "text/plain"),
        ):
            made = face.files.create(file=file, purpose="assistants")
            assert (made.filename, made.bytes) == ("3.md", paths[3].stat().st_size)


def test_an_uploaded_file_can_be_read_listed_and_deleted(mode: Mode, bench: Bench, paths: list[Path]) -> None:
    face = client_of(mode, bench.api)
    made = [face.files.create(file=path, purpose="assistants") for path in paths[:5]]
    assert face.files.retrieve(made[0].id) == made[0]
    assert mode.items(face.files.list(order="asc", limit=2, purpose="assistants")) == made
    assert mode.items(face.files.list(limit=2, after=made[4].id)) == made[3::-1]
    assert face.files.wait_for_processing(made[0].id).status == "processed"
    assert face.files.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        face.files.retrieve(made[0].id)


def test_an_upload_that_is_refused_is_raised_and_nothing_is_attached(
    mode: Mode, bench: Bench, paths: list[Path]
) -> None:
    store = new_store(bench)
    bench.uploads.limit_bytes = 3000
    with pytest.raises(openai.APIStatusError) as caught:
        client_of(mode, bench.api).vector_stores.file_batches.upload_and_poll(store, files=paths)
    assert (caught.value.status_code, caught.value.code) == (413, "uploads_full")
    assert bench.engine.vector_stores.retrieve(store).file_counts.total == 0


def test_an_id_that_was_never_uploaded_can_be_refused(mode: Mode) -> None:
    with Bench(require_uploaded_files=True) as bench:
        face = client_of(mode, bench.api)
        store = face.vector_stores.create().id
        with pytest.raises(openai.NotFoundError, match="file-x"):
            face.vector_stores.file_batches.create(store, file_ids=["file-x"])
        made = face.files.create(file=("a.txt", b"hello"), purpose="assistants")
        assert face.vector_stores.files.create_and_poll(made.id, vector_store_id=store).usage_bytes == 5


# Pages


LISTS = {
    "batch": lambda face, store, batch, **more: face.vector_stores.file_batches.list_files(
        batch, vector_store_id=store, **more
    ),
    "files": lambda face, store, _batch, **more: face.vector_stores.files.list(store, **more),
    "stores": lambda face, _store, _batch, **more: face.vector_stores.list(**more),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_walked_in_both_directions(mode: Mode, bench: Bench, name: str) -> None:
    store, batch, ids = new_batch(bench, 5)
    if name == "stores":
        ids = [store, *(new_store(bench) for _ in ids[1:])]
    face = client_of(mode, bench.api)

    def ask(**more: Any) -> Any:
        return LISTS[name](face, store, batch, **more)

    for order, limit in product(ORDERS, (1, 2, 3, 5, 7)):
        there = ids if order == "asc" else ids[::-1]
        assert [item.id for item in mode.items(ask(order=order, limit=limit))] == there
        for place, id in enumerate(there):
            after = mode.items(ask(order=order, limit=limit, after=id))
            assert [item.id for item in after] == there[place + 1 :]
            # A page before an item ends there: the client goes on with both cursors, and between them is nothing.
            before = ask(order=order, limit=limit, before=id)
            assert before.has_more is (place > limit)
            assert [item.id for item in mode.items(before)] == there[max(place - limit, 0) : place]
        walked: list[str] = []
        page = ask(order=order, limit=limit, after=there[-2])
        while page.data:
            walked[:0] = [item.id for item in page.data]
            page = ask(order=order, limit=limit, before=page.data[0].id)
        assert walked == there


@pytest.mark.parametrize("order", ORDERS)
def test_a_walk_while_the_batch_runs_sees_every_file_once(mode: Mode, bench: Bench, order: str) -> None:
    store, batch, ids = new_batch(bench, 40)
    face = client_of(mode, bench.api)
    page = face.vector_stores.file_batches.list_files(batch, vector_store_id=store, order=order, limit=5)
    seen = list(page.data)
    while page.has_next_page():
        bench.simulation.advance(1)
        page = mode.settle(page.get_next_page())
        seen += page.data
    assert [file.id for file in seen] == (ids if order == "asc" else ids[::-1])
    assert {file.status for file in seen} == {"in_progress", "completed"}


def test_a_walk_of_what_is_in_progress_passes_over_what_has_ended_meanwhile(mode: Mode, bench: Bench) -> None:
    store, batch, ids = new_batch(bench, 40)
    face = client_of(mode, bench.api)
    page = face.vector_stores.file_batches.list_files(
        batch, vector_store_id=store, order="asc", limit=5, filter="in_progress"
    )
    seen = [file.id for file in page.data]
    while page.has_next_page():
        bench.simulation.advance(1)  # 8 files more have ended
        page = mode.settle(page.get_next_page())
        seen += [file.id for file in page.data]
    assert seen == [*ids[:5], *ids[8:13], *ids[16:21], *ids[24:29], *ids[32:37]]


# Cancelling


def test_a_cancel_from_another_thread_ends_a_poll(mode: Mode) -> None:
    with Bench(plan=Plan(decide=lambda _file: Never())) as bench, ThreadPoolExecutor(1) as pool:
        store, batch, _ = new_batch(bench, 20)
        polled = threading.Event()

        def cancel() -> Any:
            polled.wait()
            return bench.client.vector_stores.file_batches.cancel(batch, vector_store_id=store)

        cancelled = pool.submit(cancel)

        def tap() -> None:
            polled.set()
            cancelled.exception()  # what was asked for meanwhile is answered before the next poll

        face = client_of(mode, patient(bench, tap))
        found = face.vector_stores.file_batches.poll(batch, vector_store_id=store)
        assert (found.status, found.file_counts.cancelled) == ("cancelled", 20)
        assert cancelled.result() == found


def test_a_cancel_that_the_simulation_has_scheduled_ends_a_poll(mode: Mode, bench: Bench) -> None:
    store, batch, _ = new_batch(bench, 40)
    cancel = bench.client.vector_stores.file_batches.cancel
    bench.simulation.at(2.5, lambda: cancel(batch, vector_store_id=store))
    face = client_of(mode, patient(bench))
    found = face.vector_stores.file_batches.poll(batch, vector_store_id=store)
    assert (found.status, found.file_counts.completed, found.file_counts.cancelled) == ("cancelled", 16, 24)
    assert bench.simulation.now == 3.0
    again = face.vector_stores.file_batches.cancel(batch, vector_store_id=store)
    assert again == found


def test_a_cancel_from_another_task_ends_a_poll() -> None:
    async def poll_and_cancel() -> tuple[Any, Any]:
        client = adapter.async_client(patient(bench))
        batches = client.vector_stores.file_batches
        async with client:
            poll = asyncio.create_task(batches.poll(batch, vector_store_id=store))
            while bench.simulation.now < 2 and not poll.done():
                await asyncio.sleep(0)
            return await batches.cancel(batch, vector_store_id=store), await poll

    with Bench(plan=Plan(decide=lambda _file: Never())) as bench:
        store, batch, _ = new_batch(bench, 20)
        cancelled, found = asyncio.run(poll_and_cancel())
        assert cancelled == found
        assert found.status == "cancelled"


def test_many_threads_may_poll_with_one_client_and_move_time_on_one_after_the_other() -> None:
    at_work: list[str] = []

    def decide(file: VectorStoreFile) -> Completed:
        at_work.append(file.id)
        time.sleep(0.0002)  # now another thread would have its turn
        assert at_work == [file.id]
        at_work.clear()
        return Completed()

    def ingest(n: int) -> Any:
        ids = [f"file-{n}-{m}" for m in range(40)]
        return bench.client.vector_stores.file_batches.create_and_poll(store, file_ids=ids)

    with Bench(plan=Plan(decide=decide)) as bench, ThreadPoolExecutor(4) as pool:
        store = new_store(bench)
        assert [batch.file_counts.completed for batch in pool.map(ingest, range(8))] == [40] * 8
        bench.engine.check()


def test_many_tasks_may_poll_with_one_client() -> None:
    async def ingest(n: int) -> Any:
        ids = [f"file-{n}-{m}" for m in range(40)]
        return await bench.async_client.vector_stores.file_batches.create_and_poll(store, file_ids=ids)

    async def ingest_all() -> list[Any]:
        return await asyncio.gather(*map(ingest, range(8)))

    with Bench() as bench:
        store = new_store(bench)
        assert [batch.file_counts.completed for batch in asyncio.run(ingest_all())] == [40] * 8
        assert bench.simulation.now >= 40  # 320 files, 8 workers


# Errors


ERRORS = [
    (call("vector_stores.retrieve", "vs_none"), openai.NotFoundError),
    (call("vector_stores.files.retrieve", "file-none", vector_store_id="vs_1"), openai.NotFoundError),
    (call("vector_stores.file_batches.retrieve", "vsfb_none", vector_store_id="vs_1"), openai.NotFoundError),
    (call("vector_stores.file_batches.cancel", "vsfb_3", vector_store_id="vs_1"), openai.NotFoundError),
    (call("vector_stores.file_batches.retrieve", "vs_1", vector_store_id="vs_1"), openai.BadRequestError),
    (call("vector_stores.files.list", "vs_1", limit=101), openai.BadRequestError),
    (call("vector_stores.files.list", "vs_1", limit=0), openai.BadRequestError),
    (call("vector_stores.files.list", "vs_1", after="file-none"), openai.BadRequestError),
    (call("vector_stores.files.list", "vs_1", filter="done"), openai.BadRequestError),
    (call("vector_stores.files.list", "vs_1", order="up"), openai.BadRequestError),
    (call("vector_stores.files.create", "vs_3", file_id="file-x"), openai.BadRequestError),
    (call("vector_stores.file_batches.create", "vs_1", file_ids=["x"] * 2001), openai.BadRequestError),
    (call("vector_stores.file_batches.create", "vs_1", file_ids=[]), openai.BadRequestError),
    (call("vector_stores.file_batches.create", "vs_1"), openai.BadRequestError),
    (
        call("vector_stores.file_batches.create", "vs_1", file_ids=["x"], files=[{"file_id": "x"}]),
        openai.BadRequestError,
    ),
]


@pytest.mark.parametrize(("command", "kind"), ERRORS)
def test_a_refusal_is_the_sdks_error_with_all_that_the_engine_says(
    mode: Mode, command: Command, kind: type[openai.APIStatusError]
) -> None:
    engine = populated()
    with pytest.raises(VsbatchError) as refusal:
        attrgetter(command.path)(engine)(*command.args, **command.kwargs)
    with pytest.raises(kind) as caught:
        attrgetter(command.path)(client_of(mode, engine))(*command.args, **command.kwargs)
    error, said = caught.value, refusal.value
    assert error.body == said.to_wire()["error"]
    assert (error.status_code, error.code, error.param, error.type) == (
        said.status,
        said.code,
        said.param,
        said.type,
    )
    assert said.message in error.message


def test_a_client_has_a_key_of_the_apis_unless_it_is_given_one(
    mode: Mode, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody")
    api = Api(bench.engine, api_keys=("one", "two"))
    assert client_of(mode, api).vector_stores.list().data == []
    assert client_of(mode, api, api_key="two").vector_stores.list().data == []
    with pytest.raises(openai.AuthenticationError):
        client_of(mode, api, api_key="three").vector_stores.list()


def test_the_files_api_is_not_there_without_uploads(mode: Mode) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client_of(mode, Engine()).files.create(file=("a.txt", b"a"), purpose="assistants")
    assert caught.value.code == "unknown_url"


LIMITED = Response(
    429,
    (("content-type", "application/json"), ("retry-after", "7"), ("retry-after-ms", "250")),
    b'{"error":{"message":"Slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
)


def test_status_and_headers_of_a_refusal_reach_the_client(mode: Mode, bench: Bench) -> None:
    face = client_of(mode, tapped(bench.api, lambda _dispatch, _request: LIMITED))
    with pytest.raises(openai.RateLimitError, match=r"Slow down\.") as caught:
        face.vector_stores.list()
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_client_tries_again_after_the_time_that_it_is_told(
    mode: Mode, bench: Bench, sleeps: list[float]
) -> None:
    asked: list[str | None] = []

    def limit(dispatch: Dispatch, request: Request) -> Response:
        asked.append(request.header("x-stainless-retry-count"))
        return LIMITED if len(asked) < 3 else dispatch(request)

    face = client_of(mode, tapped(bench.api, limit), max_retries=2)
    face.vector_stores.create(name="docs")
    assert asked == ["0", "1", "2"]
    assert sleeps == [0.25, 0.25]
    assert len(bench.engine.vector_stores.list().data) == 1


@pytest.mark.parametrize(
    ("lost", "kind"), [(NoAnswer("lost"), openai.APIConnectionError), (TimedOut("late"), openai.APITimeoutError)]
)
def test_an_answer_that_is_lost_is_to_the_client_a_broken_connection(
    mode: Mode, bench: Bench, sleeps: list[float], lost: NoAnswer, kind: type[openai.APIConnectionError]
) -> None:
    asked: list[str] = []

    def lose(_dispatch: Dispatch, request: Request) -> Response:
        asked.append(request.method)
        raise lost

    with pytest.raises(kind) as caught:
        client_of(mode, tapped(bench.api, lose), max_retries=1).vector_stores.list()
    assert type(caught.value) is kind
    assert asked == ["GET"] * 2
    assert len(sleeps) == 1


def test_what_a_plan_raises_reaches_the_test_at_once_and_is_not_tried_again(mode: Mode) -> None:
    asked: list[str] = []

    def broken(file: Any) -> Never:
        asked.append(file.id)
        raise LookupError("no such page")

    with Bench(plan=Plan(decide=broken)) as bench:
        face = client_of(mode, bench.api, max_retries=2)
        store = face.vector_stores.create().id
        with pytest.raises(
            adapter.HostRaised, match=r"LookupError in answer to GET /v1/.*: no such page"
        ) as caught:
            face.vector_stores.files.create_and_poll("file-a", vector_store_id=store)
    assert isinstance(caught.value.__cause__, LookupError)
    assert isinstance(caught.value, openai.OpenAIError)
    assert asked == ["file-a"]


def test_what_a_subscriber_raises_reaches_the_test_and_the_request_is_not_repeated(
    mode: Mode, bench: Bench
) -> None:
    def broken(_event: events.Event) -> None:
        raise LookupError

    bench.engine.subscribe(broken)
    with pytest.raises(adapter.HostRaised) as caught:
        client_of(mode, bench.api, max_retries=2).vector_stores.create()
    assert isinstance(caught.value.__cause__, SubscriberError)
    assert len(bench.engine.vector_stores.list().data) == 1


# The transport


def test_a_raw_response_has_the_headers(mode: Mode, bench: Bench) -> None:
    store, batch, _ = new_batch(bench, 1)
    retrieve = client_of(mode, bench.api).vector_stores.file_batches.with_raw_response.retrieve
    raw = retrieve(batch, vector_store_id=store)
    assert (raw.status_code, raw.headers["openai-poll-after-ms"]) == (200, "1000")
    assert raw.parse().status == "in_progress"
    assert bench.simulation.now == 0
    polled = retrieve(batch, vector_store_id=store, extra_headers={"X-Stainless-Poll-Helper": "true"})
    assert polled.headers["openai-poll-after-ms"] == "0"
    assert polled.parse() == raw.parse()
    assert bench.simulation.now == 1
    assert "openai-poll-after-ms" not in retrieve(batch, vector_store_id=store).headers


def test_a_response_can_be_streamed(bench: Bench) -> None:
    store, batch, _ = new_batch(bench, 1)
    found = to_wire(bench.engine.vector_stores.file_batches.retrieve(batch, vector_store_id=store))
    retrieve = bench.client.vector_stores.file_batches.with_streaming_response.retrieve
    with retrieve(batch, vector_store_id=store) as response:
        assert response.parse().to_dict() == found
    made = bench.client.files.create(file=("a.txt", b"hello"), purpose="assistants")
    with bench.client.files.with_streaming_response.content(made.id) as response:
        assert b"".join(response.iter_bytes(2)) == b"hello"

    async def stream() -> tuple[Any, bytes]:
        client = bench.async_client
        retrieve = client.vector_stores.file_batches.with_streaming_response.retrieve
        async with retrieve(batch, vector_store_id=store) as response:
            parsed = await response.parse()
        async with client.files.with_streaming_response.content(made.id) as response:
            return parsed.to_dict(), b"".join([part async for part in response.iter_bytes(2)])

    assert anyio.run(stream) == (found, b"hello")


def test_no_request_leaves_the_process_whatever_the_environment_says(
    mode: Mode, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody")
    sent: list[str] = []

    def look(dispatch: Dispatch, request: Request) -> Response:
        sent.append(request.path)
        assert "sk-of-somebody" not in repr(request)
        return dispatch(request)

    face = client_of(mode, tapped(bench.api, look))
    assert face.vector_stores.files.upload_and_poll(
        vector_store_id=new_store(bench), file=("a", b"a")
    ).status == ("completed")
    assert len(sent) == 4


def test_an_async_client_may_be_used_in_one_event_loop_after_another(bench: Bench) -> None:
    async def create() -> str:
        return (await bench.async_client.vector_stores.create()).id

    made = [asyncio.run(create()), asyncio.run(create()), anyio.run(create)]
    assert [store.id for store in bench.client.vector_stores.list(order="asc")] == made


def test_a_closed_client_is_closed_and_the_engine_is_not(mode: Mode, bench: Bench) -> None:
    face = client_of(mode, bench.api)
    face.vector_stores.create(name="docs")
    face.close()
    assert face.is_closed()
    with pytest.raises((RuntimeError, openai.APIConnectionError)):  # whichever the SDK's version lets out
        face.vector_stores.list()
    assert [store.name for store in client_of(mode, bench.api).vector_stores.list().data] == ["docs"]


def test_a_missing_sdk_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, adapter.__name__)
    with pytest.raises(ImportError, match=re.escape(pip_line("openai"))):
        importlib.import_module(adapter.__name__)
