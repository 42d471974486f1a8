import inspect
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import (
    Engine,
    ExpiresAfter,
    Limits,
    Profile,
    RequestError,
    StaticFileChunkingStrategy,
    StaticFileChunkingStrategyObject,
    VsbatchError,
    errors,
    wire,
)
from vsbatch_core.events import Event, FileCompleted
from vsbatch_core.model import FILE_STATUSES

from ..helpers.brief import examples
from ..helpers.strategies import any_text, huge_integers, json_values, new_engine, numbered, populated

STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
VALID: dict[Any, Any] = {
    "after": "file-b",
    "attachment": 0,
    "attachments": [0, 4],
    "attributes": {"s": "x", "n": 1.5, "t": True},
    "batch_id": "vsfb_1",
    "before": "file-e",
    "chunking_strategy": STATIC,
    "claims": [],
    "code": "invalid_file",
    "description": "words",
    "expires_after": {"anchor": "last_active_at", "days": 7},
    "file_id": "file-a",
    "file_ids": ["file-a", "file-x"],
    "files": [
        {"file_id": "file-a", "attributes": {"s": "x"}, "chunking_strategy": STATIC},
        {"file_id": "file-x"},
    ],
    "filter": "completed",
    "idempotency_key": "key-1",
    "lease_seconds": 30.0,
    "limit": 2,
    "message": "It is torn.",
    "older_than": 0,
    "metadata": {"k": "v"},
    "name": "new",
    "order": "asc",
    "outcomes": [],
    "usage_bytes": 7,
    "vector_store_id": "vs_1",
    "worker": "worker-1",
    ("processing.complete_many", "file_ids"): ["file-a", "file-e"],
    ("processing.complete_many", "usage_bytes"): [7, 8],
    ("processing.fail_many", "file_ids"): ["file-a", "file-e"],
    ("vector_stores.list", "after"): "vs_1",
    ("vector_stores.list", "before"): "vs_3",
}
"""For each parameter, by name or by method and name, an argument that ``populated()`` takes."""

NEEDED = {
    "processing.claim": ["vector_store_id"],  # with attachments
    "vector_stores.files.create": ["file_id"],
    "vector_stores.file_batches.create": ["file_ids"],
}
"""What must be given although the signature has a default for it."""

KNOWN_KEYS = ["type", "static", "file_id", "attributes", "chunking_strategy", "anchor", "days", "auto"]


LOOPS = ("work",)
"""Methods that run until they are stopped: see ``test_work``."""


def _methods(path: str, face: object) -> Iterator[str]:
    for name, member in inspect.getmembers(face):
        if name.startswith("_") or name in LOOPS:
            continue
        if inspect.ismethod(member):
            yield f"{path}.{name}"
        elif type(member).__module__.startswith("vsbatch_core."):
            yield from _methods(f"{path}.{name}", member)


_ENGINE = populated()
NOT_VALIDATED = ("processing.work", "processing.unchecked")
"""A loop that ends when ``stop`` is set, and what takes arguments as they are."""
METHODS = [
    *_methods("vector_stores", _ENGINE.vector_stores),
    *(path for path in _methods("processing", _ENGINE.processing) if not path.startswith(NOT_VALIDATED)),
]
"""The methods that return; the loops of a worker have tests of their own."""
PARAMETERS = {path: inspect.signature(attrgetter(path)(_ENGINE)).parameters for path in METHODS}
each_method = pytest.mark.parametrize("path", METHODS)
each_parameter = pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in PARAMETERS.items() for name in names]
)


def _valid(path: str, name: str) -> Any:
    return deepcopy(VALID.get((path, name), VALID.get(name)))


def _required(path: str) -> list[str]:
    required = [name for name, p in PARAMETERS[path].items() if p.default is inspect.Parameter.empty]
    return required + NEEDED.get(path, [])


def _arguments(path: str, *names: str) -> dict[str, Any]:
    """The least valid call of a method, with these parameters too."""
    needed = _required(path)
    if "files" in names:
        needed.remove("file_ids")
    return {name: _valid(path, name) for name in (*needed, *names)}


def _refusal(engine: Engine, path: str, arguments: dict[str, Any]) -> VsbatchError | None:
    """Make the call; answer how it was refused, if it was, having seen that nothing changed."""
    before = engine.snapshot()
    told: list[Event] = []
    unsubscribe = engine.subscribe(told.append)
    try:
        attrgetter(path)(engine)(**arguments)
    except VsbatchError as error:
        assert engine.snapshot() == before
        assert told == []
        return error
    finally:
        unsubscribe()
        engine.check()
    return None


def _is_well_formed(path: str, error: VsbatchError) -> bool:
    """Whether the error is one of those that the face may raise, short, and says which parameter is meant."""
    assert 0 < len(error.message) < (2000 if isinstance(error, errors.FilesRefused) else 500)
    assert error.to_wire()["error"]["message"] == str(error)
    if not isinstance(error, RequestError):
        host = (
            *(errors.NotAttached, errors.AlreadyFinished, errors.ClaimLost),
            *(errors.StaleAttachment, errors.FilesRefused),
        )
        return path.startswith("processing.") and isinstance(error, host)
    if isinstance(error, errors.NotFound) and not isinstance(error, errors.UnknownFile):
        return (error.status, error.param) == (404, None)  # recorded
    root = re.match(r"\w+", error.param or "")
    return error.status == 400 and root is not None and root.group() in PARAMETERS[path]


@st.composite
def _arbitrary(draw: st.DrawFn, path: str) -> dict[str, Any]:
    """A call with any JSON for at least one parameter."""
    names = list(PARAMETERS[path])
    wild = draw(st.sets(st.sampled_from(names), min_size=1, max_size=2))
    given = {*_required(path), *wild}
    return {name: draw(json_values) if name in wild else _valid(path, name) for name in names if name in given}


def _nodes(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree of dicts and lists, as (what holds it, key or index)."""
    for key, node in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        yield holder, key
        if isinstance(node, dict | list):
            yield from _nodes(node)


@st.composite
def _nearly_valid(draw: st.DrawFn, path: str) -> dict[str, Any]:
    """A valid call in which one place, at any depth, was replaced, renamed, taken away, repeated or added to."""
    optional = [name for name in PARAMETERS[path] if name not in _required(path)]
    least = 0 if _required(path) else 1
    more = draw(st.lists(st.sampled_from(optional), unique=True, min_size=least)) if optional else []
    arguments = _arguments(path, *more)
    holder, key = draw(st.sampled_from(list(_nodes(arguments))))
    keys = st.one_of(st.sampled_from(KNOWN_KEYS), any_text, st.text("k", min_size=64, max_size=66))
    others = st.one_of(
        json_values,
        huge_integers,
        st.sampled_from([0, 1, 16, 99, 100, 101, 365, 366, 4096, 4097]),
        st.sampled_from(["vs_1", "vs_3", "vs_4", "vsfb_1", "vsfb_2", "file-a", "file-d", "asc", *FILE_STATUSES]),
        st.text("x", min_size=511, max_size=514),
    )
    node = holder[key]
    deeds = ["replace"]
    if isinstance(node, dict | list):
        deeds.append("add")
    if isinstance(node, list):
        deeds.append("repeat")
    if holder is not arguments:
        deeds.append("take away")
        if isinstance(holder, dict):
            deeds.append("rename")
    match draw(st.sampled_from(deeds)):
        case "replace":
            holder[key] = draw(others)
        case "rename":
            holder[draw(keys)] = holder.pop(key)
        case "take away":
            del holder[key]
        case "repeat":
            node *= draw(st.sampled_from([0, 2]))
        case "add" if isinstance(node, dict):
            node[draw(keys)] = draw(others)
        case "add":
            node.insert(draw(st.integers(0, len(node))), draw(others))
    return arguments


def test_the_methods_of_both_faces_are_found() -> None:
    assert {"vector_stores.create", "vector_stores.files.list", "processing.pending"} <= set(METHODS)
    assert {"vector_stores.file_batches.list_files", "vector_stores.file_batches.cancel"} <= set(METHODS)


@each_parameter
def test_a_valid_argument_is_accepted_for_every_parameter(path: str, name: str) -> None:
    extra = () if name in _required(path) else (name,)
    arguments = _arguments(path, *extra)
    assert arguments[name] is not None, "give VALID an argument for the new parameter"
    assert _refusal(populated(), path, arguments) is None


@each_method
@settings(max_examples=examples(40))
@given(data=st.data())
def test_any_json_is_accepted_or_refused_whole(path: str, data: st.DataObject) -> None:
    error = _refusal(populated(), path, data.draw(_arbitrary(path)))
    assert error is None or _is_well_formed(path, error)


@each_method
@settings(max_examples=examples(60))
@given(data=st.data())
def test_a_nearly_valid_call_is_accepted_or_refused_whole(path: str, data: st.DataObject) -> None:
    error = _refusal(populated(), path, data.draw(_nearly_valid(path)))
    assert error is None or _is_well_formed(path, error)


@each_parameter
@pytest.mark.parametrize("value", [[], {}, [[]], {"a": []}, ([],), {1: 2}, {1}], ids=repr)
def test_what_can_not_be_hashed_is_refused_as_any_other_value(path: str, name: str, value: Any) -> None:
    error = _refusal(populated(), path, {**_arguments(path), name: value})
    assert error is None or _is_well_formed(path, error)


BATCH = "vector_stores.file_batches.create"
UPDATE = "vector_stores.files.update"
LISTS = [path for path, names in PARAMETERS.items() if "order" in names]


def _expect(error: type[VsbatchError] | None, param: str | None, path: str, **arguments: Any) -> None:
    names = [name for name in arguments if name == "files" and "file_ids" not in arguments]
    raised = _refusal(populated(), path, {**_arguments(path, *names), **arguments})
    assert (type(raised), getattr(raised, "param", None)) == (error or type(None), param)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (None, None),
        (1, None),
        (100, None),
        (0, errors.IntegerTooSmall),
        (-1, errors.IntegerTooSmall),
        (101, errors.IntegerTooLarge),
        ("abc", errors.InvalidType),
        ("20", errors.InvalidType),
        (True, errors.InvalidType),
        (1.5, errors.InvalidType),
        (20.0, errors.InvalidType),
        ([], errors.InvalidType),
    ],
)
def test_a_limit_is_an_integer_from_1_to_100(path: str, limit: Any, error: type[VsbatchError] | None) -> None:
    _expect(error, error and "limit", path, limit=limit)


@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_order_is_refused(path: str) -> None:
    for order in ("ASC", "", "random"):
        _expect(errors.InvalidValue, "order", path, order=order)
    _expect(errors.InvalidType, "order", path, order=1)


@pytest.mark.parametrize("path", [path for path in LISTS if "filter" in PARAMETERS[path]])
def test_an_unknown_filter_is_refused(path: str) -> None:
    for filter in ("done", "", "expired"):
        _expect(errors.InvalidValue, "filter", path, filter=filter)
    _expect(errors.InvalidType, "filter", path, filter=["completed"])
    for filter in FILE_STATUSES:
        _expect(None, None, path, filter=filter)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("name", ["after", "before"])
def test_an_unknown_cursor_is_refused_and_never_means_page_one(path: str, name: str) -> None:
    _expect(errors.UnknownCursor, name, path, **{name: "file-z"})
    _expect(errors.StringTooShort, name, path, **{name: ""})
    _expect(errors.InvalidType, name, path, **{name: 1})


def test_a_cursor_of_another_batch_is_refused() -> None:
    _expect(errors.UnknownCursor, "after", "vector_stores.file_batches.list_files", after="file-f")
    _expect(errors.UnknownCursor, "before", "vector_stores.file_batches.list_files", before="file-a")


def test_a_batch_takes_exactly_one_of_file_ids_and_files() -> None:
    _expect(errors.MutuallyExclusive, "files", BATCH, file_ids=["file-x"], files=[{"file_id": "file-x"}])
    _expect(errors.MutuallyExclusive, "files", BATCH, file_ids=[], files=[])
    _expect(errors.MissingParameter, "file_ids", BATCH, file_ids=None)
    _expect(errors.MissingParameter, "file_ids", BATCH, file_ids=None, files=None)


@pytest.mark.parametrize("name", ["file_ids", "files"])
def test_a_batch_takes_1_to_2000_files(name: str) -> None:
    def some(n: int) -> list[Any]:
        ids = [f"file-{i}" for i in range(n)]
        return ids if name == "file_ids" else [{"file_id": id} for id in ids]

    _expect(errors.ArrayTooShort, name, BATCH, **{name: some(0)})
    _expect(None, None, BATCH, **{name: some(1)})
    _expect(None, None, BATCH, **{name: some(2000)})
    _expect(errors.ArrayTooLong, name, BATCH, **{name: some(2001)})
    _expect(errors.InvalidType, name, BATCH, **{name: "file-a"})
    _expect(errors.InvalidType, name, BATCH, **{name: {"file-a": 1}})


def test_a_store_is_made_with_0_to_500_files() -> None:
    path = "vector_stores.create"
    _expect(None, None, path, file_ids=[])
    _expect(None, None, path, file_ids=[f"file-{i}" for i in range(500)])
    _expect(errors.ArrayTooLong, "file_ids", path, file_ids=[f"file-{i}" for i in range(501)])


def test_the_item_that_is_wrong_is_named_by_its_place() -> None:
    _expect(errors.InvalidType, "file_ids[1]", BATCH, file_ids=["file-x", 7])
    _expect(errors.InvalidType, "file_ids[0]", BATCH, file_ids=[["file-x"], 7])
    _expect(errors.StringTooShort, "file_ids[2]", BATCH, file_ids=["file-x", "file-y", ""])
    _expect(errors.InvalidType, "files[1]", BATCH, files=[{"file_id": "file-x"}, "file-y"])
    _expect(errors.MissingParameter, "files[0].file_id", BATCH, files=[{}])
    _expect(errors.StringTooShort, "files[0].file_id", BATCH, files=[{"file_id": ""}])
    wrong = {"file_id": "file-x", "attributes": {"k": None}}
    _expect(errors.InvalidType, "files[0].attributes.k", BATCH, files=[wrong])
    wrong = {"file_id": "file-x", "chunking_strategy": {"type": "static"}}
    _expect(errors.MissingParameter, "files[0].chunking_strategy.static", BATCH, files=[wrong])


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path, names in PARAMETERS.items() for name in ("attributes", "metadata") if name in names],
)
def test_attributes_and_metadata_keep_to_16_pairs_64_characters_and_512(path: str, name: str) -> None:
    def refused(error: type[VsbatchError] | None, param: str | None, pairs: Any) -> None:
        _expect(error, param, path, **{name: pairs})

    refused(None, None, None)
    refused(None, None, {str(i): "" for i in range(16)})
    refused(errors.TooManyProperties, name, {str(i): "" for i in range(17)})
    refused(None, None, {"k" * 64: ""})
    refused(errors.PropertyNameTooLong, name, {"k" * 65: ""})
    refused(None, None, {"k": "x" * 512})
    refused(errors.StringTooLong, f"{name}.k", {"k": "x" * 513})
    refused(errors.InvalidType, f"{name}.k", {"k": None})
    refused(errors.InvalidType, f"{name}.k", {"k": ["x"]})
    refused(errors.InvalidType, name, "k")
    refused(errors.InvalidType, name, [["k", "v"]])
    refused(errors.InvalidType, f"{name} (a key of it)", {1: "v"})


@pytest.mark.parametrize("value", [1, 0.5, True], ids=repr)
def test_attributes_take_numbers_and_booleans_and_metadata_takes_strings_only(value: Any) -> None:
    _expect(None, None, UPDATE, attributes={"k": value})
    _expect(errors.InvalidType, "metadata.k", "vector_stores.create", metadata={"k": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=repr)
def test_a_number_that_json_can_not_carry_is_refused(value: float) -> None:
    _expect(errors.InvalidNumber, "attributes.k", UPDATE, attributes={"k": value})


@pytest.mark.parametrize("bits", [53, 63, 64, 1023, 1100, 20_000])
def test_an_integer_among_attributes_is_refused_unless_json_carries_it_to_a_client(bits: int) -> None:
    engine = populated()
    arguments = {**_arguments(UPDATE), "attributes": {"k": 2**bits}}
    error = _refusal(engine, UPDATE, arguments)
    if error is not None:
        assert bits > 1023, "a double holds it"
        assert (type(error), error.param) == (errors.InvalidNumber, "attributes.k")
    file = engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1")
    sent = json.dumps([wire.to_wire(file), engine.snapshot()])
    # Official clients read numbers as doubles.
    assert "inf" not in repr(json.loads(sent, parse_int=float))


@pytest.mark.parametrize("bits", [63, 64, 20_000])
def test_a_size_is_refused_unless_json_can_carry_it(bits: int) -> None:
    engine = populated()
    _refusal(engine, "processing.complete", {**_arguments("processing.complete"), "usage_bytes": 2**bits})
    file = engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1")
    assert json.loads(json.dumps(wire.to_wire(file))) == wire.to_wire(file)
    assert json.loads(json.dumps(engine.snapshot())) == engine.snapshot()


@pytest.mark.parametrize("path", [path for path, names in PARAMETERS.items() if "chunking_strategy" in names])
@pytest.mark.parametrize(
    ("size", "overlap", "error", "field"),
    [
        (100, 0, None, None),
        (100, 50, None, None),
        (4096, 2048, None, None),
        (101, 50, None, None),
        (99, 0, errors.IntegerTooSmall, "max_chunk_size_tokens"),
        (4097, 0, errors.IntegerTooLarge, "max_chunk_size_tokens"),
        (100, 51, errors.IntegerTooLarge, "chunk_overlap_tokens"),
        (101, 51, errors.IntegerTooLarge, "chunk_overlap_tokens"),
        (4096, 2049, errors.IntegerTooLarge, "chunk_overlap_tokens"),
        (100, -1, errors.IntegerTooSmall, "chunk_overlap_tokens"),
        (100.0, 50, errors.InvalidType, "max_chunk_size_tokens"),
        (100, "50", errors.InvalidType, "chunk_overlap_tokens"),
        (True, 0, errors.InvalidType, "max_chunk_size_tokens"),
        (None, 0, errors.InvalidType, "max_chunk_size_tokens"),
    ],
)
def test_chunks_have_100_to_4096_tokens_and_overlap_by_half_at_most(
    path: str, size: Any, overlap: Any, error: type[VsbatchError] | None, field: str | None
) -> None:
    sizes = {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}
    param = None if field is None else f"chunking_strategy.static.{field}"
    _expect(error, param, path, chunking_strategy={"type": "static", "static": sizes})


def test_chunking_is_auto_or_static_and_complete() -> None:
    def refused(error: type[VsbatchError] | None, param: str | None, value: Any) -> None:
        _expect(error, param, BATCH, chunking_strategy=value)

    refused(None, None, {"type": "auto"})
    refused(errors.UnknownParameter, "chunking_strategy.static", {**STATIC, "type": "auto"})
    refused(errors.MissingParameter, "chunking_strategy.type", {})
    refused(errors.InvalidValue, "chunking_strategy.type", {"type": "other"})
    refused(errors.InvalidType, "chunking_strategy", "auto")
    refused(errors.MissingParameter, "chunking_strategy.static", {"type": "static"})
    refused(errors.InvalidType, "chunking_strategy.static", {"type": "static", "static": None})
    static: dict[str, int] = {}
    param = "chunking_strategy.static.max_chunk_size_tokens"
    refused(errors.MissingParameter, param, {"type": "static", "static": static})
    static["max_chunk_size_tokens"] = 100
    param = "chunking_strategy.static.chunk_overlap_tokens"
    refused(errors.MissingParameter, param, {"type": "static", "static": static})


def test_an_unknown_key_is_refused_wherever_an_object_has_known_ones() -> None:
    policy = {"anchor": "last_active_at", "days": 1, "hours": 1}
    _expect(errors.UnknownParameter, "expires_after.hours", "vector_stores.create", expires_after=policy)
    file = {"file_id": "file-x", "size": 1}
    _expect(errors.UnknownParameter, "files[1].size", BATCH, files=[{"file_id": "file-y"}, file])
    strategy: dict[str, Any] = {**STATIC, "extra": 1}
    _expect(errors.UnknownParameter, "chunking_strategy.extra", BATCH, chunking_strategy=strategy)
    strategy = {**STATIC, "static": {**STATIC["static"], "unit": "tokens"}}  # type: ignore[dict-item]
    _expect(errors.UnknownParameter, "chunking_strategy.static.unit", BATCH, chunking_strategy=strategy)


@pytest.mark.parametrize("path", ["vector_stores.create", "vector_stores.update"])
def test_a_store_expires_after_1_to_365_days_of_inactivity(path: str) -> None:
    def refused(error: type[VsbatchError] | None, param: str | None, value: Any) -> None:
        _expect(error, param, path, expires_after=value)

    for days in (1, 365):
        refused(None, None, {"anchor": "last_active_at", "days": days})
    refused(errors.IntegerTooSmall, "expires_after.days", {"anchor": "last_active_at", "days": 0})
    refused(errors.IntegerTooLarge, "expires_after.days", {"anchor": "last_active_at", "days": 366})
    refused(errors.InvalidType, "expires_after.days", {"anchor": "last_active_at", "days": 1.0})
    refused(errors.InvalidType, "expires_after.days", {"anchor": "last_active_at", "days": True})
    refused(errors.MissingParameter, "expires_after.days", {"anchor": "last_active_at"})
    refused(errors.MissingParameter, "expires_after.anchor", {"days": 1})
    refused(errors.InvalidValue, "expires_after.anchor", {"anchor": "created_at", "days": 1})
    refused(errors.InvalidType, "expires_after", 7)


def test_what_the_engine_answered_can_be_given_back_to_it() -> None:
    stores = populated().vector_stores
    file = stores.files.retrieve("file-c", vector_store_id="vs_1")
    again = stores.files.create(
        "vs_2", file_id=file.id, attributes=file.attributes, chunking_strategy=file.chunking_strategy
    )
    assert (again.attributes, again.chunking_strategy) == (file.attributes, file.chunking_strategy)
    store = stores.retrieve("vs_1")
    twin = stores.create(name=store.name, metadata=store.metadata, expires_after=store.expires_after)
    assert (twin.name, twin.metadata, twin.expires_after) == (store.name, store.metadata, store.expires_after)


def test_values_of_the_model_are_checked_as_dicts_are() -> None:
    sizes = StaticFileChunkingStrategy(max_chunk_size_tokens=99)
    param = "chunking_strategy.static.max_chunk_size_tokens"
    strategy = StaticFileChunkingStrategyObject(sizes)
    _expect(errors.IntegerTooSmall, param, BATCH, chunking_strategy=strategy)
    policy = ExpiresAfter(days=366)
    _expect(errors.IntegerTooLarge, "expires_after.days", "vector_stores.create", expires_after=policy)


def test_an_id_with_the_prefix_of_another_kind_is_refused_and_an_unknown_one_is_not_found() -> None:
    for path, names in PARAMETERS.items():
        if path.startswith("processing.") and "file_id" in names:
            _expect(errors.NotAttached, "file_id", path, vector_store_id="vs_9")
        elif "vector_store_id" in names:
            _expect(errors.VectorStoreNotFound, None, path, vector_store_id="vs_9")
            _expect(errors.VectorStoreNotFound, None, path, vector_store_id="vs_4")
        if "vector_store_id" in names:
            _expect(errors.InvalidId, "vector_store_id", path, vector_store_id="vsfb_1")
            _expect(errors.StringTooShort, "vector_store_id", path, vector_store_id="")
            _expect(errors.InvalidType, "vector_store_id", path, vector_store_id=1)
        if "batch_id" in names:
            _expect(errors.InvalidId, "batch_id", path, batch_id="vs_1")
            _expect(errors.FileBatchNotFound, None, path, batch_id="vsfb_9")
            _expect(errors.FileBatchNotFound, None, path, batch_id="vsfb_3")  # one of another store


def test_arguments_are_checked_before_the_store_is_looked_up() -> None:
    _expect(errors.ArrayTooShort, "file_ids", BATCH, vector_store_id="vs_9", file_ids=[])
    for path in LISTS:
        if "vector_store_id" in PARAMETERS[path]:
            _expect(errors.IntegerTooSmall, "limit", path, vector_store_id="vs_9", limit=0)


def test_of_duplicates_the_first_wins() -> None:
    stores = populated().vector_stores
    batch = stores.file_batches.create("vs_2", file_ids=["file-y", "file-x", "file-y", "file-x"])
    assert batch.file_counts.total == 2
    page = stores.file_batches.list_files(batch.id, vector_store_id="vs_2", order="asc")
    assert [file.id for file in page] == ["file-y", "file-x"]
    files = [
        {"file_id": "file-y", "attributes": {"n": 1}},
        {"file_id": "file-x"},
        {"file_id": "file-y", "attributes": {"n": 2}, "chunking_strategy": STATIC},
    ]
    batch = stores.file_batches.create("vs_2", files=files)
    page = stores.file_batches.list_files(batch.id, vector_store_id="vs_2", order="asc")
    assert [(file.id, dict(file.attributes)) for file in page] == [("file-y", {"n": 1}), ("file-x", {})]
    assert page.data[0].chunking_strategy == page.data[1].chunking_strategy
    store = stores.create(file_ids=["file-y", "file-x", "file-y"])
    assert store.file_counts.total == 2


def test_a_later_duplicate_is_checked_although_it_loses() -> None:
    files = [{"file_id": "file-x"}, {"file_id": "file-x", "attributes": {"k": None}}]
    _expect(errors.InvalidType, "files[1].attributes.k", BATCH, files=files)


def test_with_files_the_attributes_of_the_request_are_checked_and_ignored() -> None:
    stores = populated().vector_stores
    batch = stores.file_batches.create(
        "vs_2", files=[{"file_id": "file-x"}], attributes={"k": 1}, chunking_strategy=STATIC
    )
    (file,) = stores.file_batches.list_files(batch.id, vector_store_id="vs_2")
    assert file.attributes == {}
    assert file.chunking_strategy.static.max_chunk_size_tokens == 800
    _expect(errors.InvalidType, "attributes.k", BATCH, files=[{"file_id": "file-x"}], attributes={"k": None})


def test_what_was_given_can_be_changed_afterwards_without_changing_the_engine() -> None:
    engine = populated()
    given: list[dict[str, Any]] = [{"file_id": "file-x", "attributes": {"k": 1}}]
    metadata = {"k": "v"}
    engine.vector_stores.update("vs_2", metadata=metadata)
    engine.vector_stores.file_batches.create("vs_2", files=given)
    before = deepcopy(engine.snapshot())
    given[0]["attributes"]["k"] = 2
    metadata["k"] = "w"
    given.clear()
    assert engine.snapshot() == before


def test_an_update_tells_null_from_not_given() -> None:
    stores = populated().vector_stores
    before = stores.retrieve("vs_1")
    same = stores.update("vs_1")
    assert (same.name, same.metadata, same.expires_after) == (before.name, before.metadata, before.expires_after)
    bare = stores.update("vs_1", name=None, metadata=None, expires_after=None)
    assert (bare.name, bare.metadata, bare.expires_after, bare.expires_at) == ("", {}, None, None)


@pytest.mark.parametrize(
    ("path", "arguments", "error"),
    [
        (BATCH, {"file_ids": ["file-x"] * 3}, errors.ArrayTooLong),
        (BATCH, {"files": [{"file_id": "file-x"}] * 3}, errors.ArrayTooLong),
        ("vector_stores.create", {"file_ids": ["file-x"] * 2}, errors.ArrayTooLong),
        ("vector_stores.list", {"limit": 4}, errors.IntegerTooLarge),
        (UPDATE, {"attributes": {"k": 1, "l": 1, "m": 1}}, errors.TooManyProperties),
        (UPDATE, {"attributes": {"kkk": 1}}, errors.PropertyNameTooLong),
        (UPDATE, {"attributes": {"k": "xxx"}}, errors.StringTooLong),
        (
            "vector_stores.create",
            {"expires_after": {"anchor": "last_active_at", "days": 8}},
            errors.IntegerTooLarge,
        ),
        (BATCH, {"file_ids": ["file-x"], "chunking_strategy": STATIC}, errors.IntegerTooLarge),
    ],
)
def test_limits_are_the_profile_s(path: str, arguments: dict[str, Any], error: type[VsbatchError]) -> None:
    limits = Limits(
        batch_files=2,
        store_files=1,
        page=3,
        pairs=2,
        key_characters=2,
        value_characters=2,
        expiry_days=7,
        chunk_tokens_maximum=199,
    )
    required = {name: _valid(path, name) for name in _required(path) if name != "file_ids"}
    for profile, refused in ((Profile(limits=limits), error), (Profile(), type(None))):
        engine = new_engine(profile)
        engine.vector_stores.create(file_ids=["file-a"])
        assert type(_refusal(engine, path, {**required, **arguments})) is refused


def test_a_page_has_20_items_unless_the_profile_or_the_call_says_otherwise() -> None:
    ids = [f"file-{i}" for i in range(50)]
    for profile, items in ((Profile(), 20), (Profile(limits=Limits(page_default=7)), 7)):
        stores = Engine(profile=profile).vector_stores
        store = stores.create(file_ids=ids)
        assert len(stores.files.list(store.id).data) == items
        assert len(stores.files.list(store.id, limit=9).data) == 9


class Size:
    """A ``file_size`` hook that notes what it is asked, and can be told to forget or to break."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str], Any] = lambda file_id: 10 * len(file_id)

    def __call__(self, file_id: str) -> Any:
        self.asked.append(file_id)
        return self.answer(file_id)


def _unknown(
    engine: Engine, size: Size, path: str, missing: str, arguments: dict[str, Any]
) -> errors.UnknownFile:
    size.answer = lambda asked: None if asked == missing else 1
    error = _refusal(engine, path, {**_arguments(path, *arguments), **arguments})
    assert isinstance(error, errors.UnknownFile)
    assert f"'{missing}'" in error.message
    return error


def test_a_file_that_the_host_does_not_know_is_refused_with_all_that_came_with_it() -> None:
    size = Size()
    engine = populated(file_size=size)
    for path, param, arguments in (
        (BATCH, "file_ids", {"file_ids": ["file-x", "file-z", "file-y"]}),
        (BATCH, "files", {"files": [{"file_id": "file-x"}, {"file_id": "file-z"}]}),
        ("vector_stores.files.create", "file_id", {"file_id": "file-z"}),
        ("vector_stores.create", "file_ids", {"file_ids": ["file-x", "file-z"]}),
    ):
        error = _unknown(engine, size, path, "file-z", arguments)
        assert (error.status, error.param) == (404, param)
    size.answer = lambda _: None
    assert engine.vector_stores.create(file_ids=[]).file_counts.total == 0


def test_the_host_is_asked_once_for_each_file_and_only_if_the_arguments_are_valid() -> None:
    size = Size()
    engine = populated(file_size=size)
    size.asked.clear()
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-y", "file-x", "file-y"])
    assert size.asked == ["file-y", "file-x"]
    size.asked.clear()
    assert _refusal(engine, BATCH, {"vector_store_id": "vs_1", "file_ids": ["file-y", 1]}) is not None
    assert size.asked == []


def test_a_file_of_no_bytes_is_known() -> None:
    engine = populated(file_size=lambda _: 0)
    engine.vector_stores.files.create("vs_1", file_id="file-x")
    assert engine.processing.complete("vs_1", "file-x").usage_bytes == 0


def test_a_completed_file_has_the_size_that_the_host_knows_unless_it_is_told() -> None:
    engine = populated(file_size=Size())
    assert engine.processing.complete("vs_1", "file-a").usage_bytes == 60
    assert engine.processing.complete("vs_1", "file-e", usage_bytes=0).usage_bytes == 0
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 60 + 7
    plain = populated()
    assert plain.processing.complete("vs_1", "file-a").usage_bytes == 0


def test_a_file_that_the_host_has_forgotten_completes_with_no_bytes() -> None:
    size = Size()
    engine = populated(file_size=size)
    size.answer = lambda _: None
    assert engine.processing.complete("vs_1", "file-a").usage_bytes == 0


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (BATCH, ()),
        (BATCH, ("files",)),
        ("vector_stores.files.create", ()),
        ("vector_stores.create", ("file_ids",)),
        ("processing.complete", ()),
    ],
)
def test_what_the_host_s_hook_raises_comes_through_and_changes_nothing(path: str, names: tuple[str, ...]) -> None:
    size = Size()
    engine = populated(file_size=size)
    before = engine.snapshot()

    def broken(file_id: str) -> int:
        if file_id == "file-x" or path == "processing.complete" or "files.create" in path:
            raise OSError("the disk is gone")
        return 1

    size.answer = broken
    with pytest.raises(OSError, match="the disk is gone"):
        attrgetter(path)(engine)(**_arguments(path, *names))
    assert engine.snapshot() == before
    engine.check()


@pytest.mark.parametrize("answer", ["12", -1, 1.5, True, [12]], ids=repr)
def test_a_hook_that_answers_no_size_is_refused_and_nothing_changes(answer: Any) -> None:
    size = Size()
    engine = populated(file_size=size)
    size.answer = lambda _: answer
    assert _refusal(engine, "processing.complete", {"vector_store_id": "vs_1", "file_id": "file-a"}) is not None


@pytest.mark.parametrize("code", ["", "unknown", "INVALID_FILE"])
def test_a_failure_has_one_of_the_documented_codes(code: str) -> None:
    _expect(errors.InvalidValue, "code", "processing.fail", code=code)


def test_usage_is_a_number_of_bytes() -> None:
    for value, error in ((-1, errors.IntegerTooSmall), (1.0, errors.InvalidType), (True, errors.InvalidType)):
        _expect(error, "usage_bytes", "processing.complete", usage_bytes=value)


def test_pending_takes_any_limit_from_1() -> None:
    for limit in (1, 101, 10**30):
        _expect(None, None, "processing.pending", limit=limit)
    _expect(errors.IntegerTooSmall, "limit", "processing.pending", limit=0)
    _expect(errors.InvalidType, "limit", "processing.pending", limit=None)


def test_a_size_in_a_replayed_event_is_checked_as_a_reported_one_is() -> None:
    engine = populated()
    before = engine.snapshot()
    with pytest.raises(errors.ReplayError) as caught:
        engine.replay([numbered(engine, FileCompleted, 2e9, "vs_1", "file-a", -5)])
    assert caught.value.param == "usage_bytes"
    assert engine.snapshot() == before
