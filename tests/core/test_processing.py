"""What the host asks and says through ``ingest``: which files are pending, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine, FileCounts, LastError, SequentialIds
from vsbatch_core.errors import (
    AlreadyFinished,
    IntegerTooSmall,
    InvalidId,
    InvalidType,
    InvalidValue,
    NotAttached,
    StringTooShort,
    VectorStoreNotFound,
)

from ..helpers.brief import examples
from ..helpers.strategies import (
    engine_with,
    filled,
    histories,
    new_engine,
    refused,
)

# Pending


@given(histories, st.integers(1, 12))
@settings(max_examples=examples(60))
def test_pending_is_the_oldest_files_in_progress_of_one_store_or_of_all(history: list[Any], limit: int) -> None:
    engine, _, _ = filled(history)
    everything = []
    for age, store in enumerate(engine.vector_stores.list(order="asc", limit=100)):
        files = list(engine.vector_stores.files.list(store.id, order="asc", filter="in_progress", limit=100))
        assert engine.processing.pending(store.id, limit=limit) == files[:limit]
        everything += [(file.created_at, age, place, file) for place, file in enumerate(files)]
    everything.sort(key=lambda entry: entry[:3])
    assert engine.processing.pending(limit=limit) == [entry[3] for entry in everything[:limit]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40), st.integers(1, 45))
def test_pending_goes_to_and_fro_between_stores_by_age_and_ties_go_to_the_older_store(
    arrivals: list[tuple[int, int]], limit: int
) -> None:
    engine = new_engine()
    stores = [engine.vector_stores.create().id for _ in range(4)]
    waiting = []
    for i, (store, pause) in enumerate(arrivals):
        engine.clock.advance(pause)  # type: ignore[attr-defined]
        file = engine.vector_stores.files.create(stores[store], file_id=f"file-{i}")
        waiting.append((file.created_at, store, i, file))
    waiting.sort(key=lambda entry: entry[:3])
    assert engine.processing.pending(limit=limit) == [entry[3] for entry in waiting[:limit]]


def test_pending_claims_nothing_and_answers_a_hundred_if_not_told() -> None:
    engine = engine_with(*(f"file-{i}" for i in range(150)))
    assert [file.id for file in engine.processing.pending()] == [f"file-{i}" for i in range(100)]
    assert engine.processing.pending() == engine.processing.pending("vs_1")


def test_pending_of_a_store_that_is_gone_holds_none_of_its_files() -> None:
    engine = engine_with()
    engine.vector_stores.delete("vs_1")
    assert engine.processing.pending() == []
    with pytest.raises(VectorStoreNotFound):
        engine.processing.pending("vs_1")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit": 0}, IntegerTooSmall),
        ({"limit": -1}, IntegerTooSmall),
        ({"limit": True}, InvalidType),
        ({"limit": 1.0}, InvalidType),
        ({"limit": None}, InvalidType),
        ({"vector_store_id": "vsfb_1"}, InvalidId),
        ({"vector_store_id": ["vs_1"]}, InvalidType),
    ],
)
def test_pending_refuses_what_it_can_not_answer(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        engine_with().processing.pending(**arguments)


# Complete and fail


def test_a_completed_file_takes_up_its_bytes_in_its_store() -> None:
    engine = engine_with()
    done = engine.processing.complete("vs_1", "file-b", usage_bytes=70)
    assert (done.status, done.usage_bytes, done.last_error) == ("completed", 70, None)
    assert engine.vector_stores.files.retrieve("file-b", vector_store_id="vs_1") == done
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 70
    batch = engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")
    assert batch.file_counts == FileCounts(in_progress=2, completed=1)


def test_the_bytes_of_a_completed_file_are_those_that_the_host_knows_or_none() -> None:
    sizes = {"file-a": 11, "file-b": 22, "file-c": 33}
    engine = Engine(ids=SequentialIds(), file_size=sizes.get)
    engine.vector_stores.create(file_ids=list(sizes))
    assert engine.processing.complete("vs_1", "file-a").usage_bytes == 11
    assert engine.processing.complete("vs_1", "file-b", usage_bytes=0).usage_bytes == 0
    del sizes["file-c"]  # it was deleted where it had been uploaded, after it was attached here
    assert engine.processing.complete("vs_1", "file-c").usage_bytes == 0
    assert engine_with().processing.complete("vs_1", "file-a").usage_bytes == 0


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("server_error", "An internal error occurred."),
        ("unsupported_file", "The file type is not supported."),
        ("invalid_file", "The file could not be parsed."),
    ],
)
def test_a_failed_file_says_why_in_the_words_of_the_api(code: Any, message: str) -> None:
    engine = engine_with()
    failed = engine.processing.fail("vs_1", "file-a", code=code)
    assert (failed.status, failed.usage_bytes, failed.last_error) == ("failed", 0, LastError(code, message))
    own = engine.processing.fail("vs_1", "file-b", code=code, message="It is too large.")
    assert own.last_error == LastError(code, "It is too large.")
    assert engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1").file_counts == FileCounts(
        in_progress=1, failed=2
    )


def test_a_file_fails_as_a_server_error_if_no_code_is_given() -> None:
    assert engine_with().processing.fail("vs_1", "file-a").last_error == LastError(
        "server_error", "An internal error occurred."
    )


Finish = Callable[[Engine, Any, Any], Any]
FINISHES: dict[str, Finish] = {
    "complete": lambda engine, store, file: engine.processing.complete(store, file),
    "fail": lambda engine, store, file: engine.processing.fail(store, file),
}


@pytest.mark.parametrize("tried", FINISHES)
@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_a_file_that_has_ended_is_not_finished_again(state: str, tried: str) -> None:
    engine = engine_with()
    if state == "completed":
        engine.processing.complete("vs_1", "file-a", usage_bytes=5)
    elif state == "failed":
        engine.processing.fail("vs_1", "file-a")
    else:
        engine.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    error = refused(engine, AlreadyFinished, lambda: FINISHES[tried](engine, "vs_1", "file-a"))
    assert (error.file_id, error.vector_store_id, error.state, error.tried) == ("file-a", "vs_1", state, tried)
    assert error.message == (
        f"Cannot {tried} file 'file-a' in vector store 'vs_1': it is already '{state}'. "
        "Only a file that is 'in_progress' can be finished; drop this result."
    )
    assert error.status == 409


@pytest.mark.parametrize("tried", FINISHES)
@pytest.mark.parametrize(
    ("store", "file", "state"),
    [
        ("vs_1", "file-z", "not attached"),
        ("vs_1", "file-b", "no longer attached"),
        ("vs_9", "file-a", "not there: there is no such store"),
        ("vs_2", "file-a", "not there: there is no such store"),
    ],
)
def test_a_file_that_is_not_attached_is_not_finished(store: str, file: str, state: str, tried: str) -> None:
    engine = engine_with()
    engine.vector_stores.files.delete("file-b", vector_store_id="vs_1")
    engine.vector_stores.create(file_ids=["file-a"])
    engine.vector_stores.delete("vs_2")
    error = refused(engine, NotAttached, lambda: FINISHES[tried](engine, store, file))
    assert (error.file_id, error.vector_store_id, error.state, error.tried) == (file, store, state, tried)
    assert error.message == (
        f"Cannot {tried} file '{file}' in vector store '{store}': it is {state}. "
        "Drop this result, or attach the file first."
    )
    assert error.status == 404
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("tried", FINISHES)
@pytest.mark.parametrize(
    ("store", "file", "error"),
    [
        ("vsfb_1", "file-a", InvalidId),
        (None, "file-a", InvalidType),
        ({}, "file-a", InvalidType),
        ("vs_1", "", StringTooShort),
        ("vs_1", None, InvalidType),
        ("vs_1", ["file-a"], InvalidType),
        ("vs_9", 7, InvalidType),
    ],
)
def test_a_result_for_no_id_at_all_is_refused(store: Any, file: Any, error: type[Exception], tried: str) -> None:
    engine = engine_with()
    refused(engine, error, lambda: FINISHES[tried](engine, store, file))


@pytest.mark.parametrize(
    ("error", "deed"),
    [
        (IntegerTooSmall, lambda i: i.complete("vs_1", "file-a", usage_bytes=-1)),
        (InvalidType, lambda i: i.complete("vs_1", "file-a", usage_bytes=True)),
        (InvalidType, lambda i: i.complete("vs_1", "file-a", usage_bytes=1.5)),
        (InvalidValue, lambda i: i.fail("vs_1", "file-a", code="broken")),
        (InvalidType, lambda i: i.fail("vs_1", "file-a", code=None)),
        (InvalidType, lambda i: i.fail("vs_1", "file-a", message=5)),
    ],
)
def test_a_result_that_the_api_could_not_show_is_refused(
    error: type[Exception], deed: Callable[..., Any]
) -> None:
    engine = engine_with()
    refused(engine, error, lambda: deed(engine.processing))
