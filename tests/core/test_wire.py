import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import BaseModel
from openai.pagination import SyncCursorPage
from openai.types import VectorStore as SdkVectorStore
from openai.types import VectorStoreDeleted as SdkVectorStoreDeleted
from openai.types.vector_stores import VectorStoreFile as SdkFile
from openai.types.vector_stores import VectorStoreFileBatch as SdkFileBatch
from openai.types.vector_stores import VectorStoreFileDeleted as SdkFileDeleted

import vsbatch_core
from vsbatch_core import (
    Engine,
    FileCounts,
    FrozenDict,
    Page,
    Profile,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
    errors,
    events,
    omit,
)
from vsbatch_core.model import ERROR_CODES, FILE_STATUSES, BatchObject, BatchStatus, StoreStatus
from vsbatch_core.wire import from_wire, to_wire

from ..helpers.strategies import (
    OTHER_VALUES,
    any_text,
    filled,
    histories,
    in_json,
    json_values,
    numbered,
    populated,
)

SDK: dict[type, type[BaseModel]] = {
    VectorStore: SdkVectorStore,
    VectorStoreDeleted: SdkVectorStoreDeleted,
    VectorStoreFile: SdkFile,
    VectorStoreFileBatch: SdkFileBatch,
    VectorStoreFileDeleted: SdkFileDeleted,
}
SDK_DOES_NOT_NAME: dict[type[BaseModel], set[str]] = {
    SdkVectorStore: {"description"},
    SyncCursorPage: {"object", "first_id", "last_id"},
}
"""Fields of the API reference that the SDK's classes leave to ``model_extra``."""

word = st.sampled_from(("s", "long" * 100)) | st.text(max_size=5)
tricky_files = st.fixed_dictionaries(
    {"file_id": any_text.filter(bool)},
    optional={
        "attributes": st.dictionaries(
            any_text,
            st.one_of(any_text, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
            max_size=4,
        ),
        "chunking_strategy": st.integers(100, 4096).flatmap(
            lambda size: st.fixed_dictionaries(
                {
                    "type": st.just("static"),
                    "static": st.fixed_dictionaries(
                        {
                            "max_chunk_size_tokens": st.just(size),
                            "chunk_overlap_tokens": st.integers(0, size // 2),
                        }
                    ),
                }
            )
        ),
    },
)
profiles = st.builds(
    Profile,
    batch_object=st.sampled_from(get_args(BatchObject)),
    all_failed=st.sampled_from(("failed", "completed")),
)

PUBLIC = {name: getattr(vsbatch_core, name) for name in vsbatch_core.__all__}
"""What ``from vsbatch_core import *`` brings."""


def _values(engine: Engine) -> Iterator[Any]:
    """Every value that an engine can answer as it stands; the deletions last, which leave it empty."""
    made = engine.vector_stores
    pages: list[Page[Any]] = [made.list(limit=n) for n in (1, 100)]
    for store in list(made.list(limit=100)):
        yield made.retrieve(store.id)
        for filter in (None, *FILE_STATUSES):
            pages += [made.files.list(store.id, limit=n, filter=filter) for n in (1, 100)]
        for id in engine._registry.stores[store.id].batches:
            yield made.file_batches.retrieve(id, vector_store_id=store.id)
            pages += [made.file_batches.list_files(id, vector_store_id=store.id, limit=n) for n in (1, 100)]
    for page in pages:
        yield page
        yield from page.data
    for store in list(made.list(limit=100)):
        for file in list(made.files.list(store.id, limit=100)):
            yield made.files.delete(file.id, vector_store_id=store.id)
        yield made.delete(store.id)


@st.composite
def _engines(draw: st.DrawFn) -> tuple[Engine, list[Any]]:
    """An engine after any history, and then with files of any id, attributes and chunking; and its events."""
    engine, told, _ = filled(draw(histories), draw(profiles))
    made = engine.vector_stores
    store = made.create(
        name=draw(any_text),
        description=draw(st.none() | any_text),
        metadata=draw(st.dictionaries(any_text, any_text, max_size=3)),
        expires_after=draw(
            st.none() | st.fixed_dictionaries({"anchor": st.just("last_active_at"), "days": st.integers(1, 365)})
        ),
    )
    files = draw(st.lists(tricky_files, min_size=1, max_size=3))
    made.file_batches.create(store.id, files=files)
    made.files.update(files[0]["file_id"], vector_store_id=store.id, attributes={})
    made.files.create(store.id, **draw(tricky_files))
    if draw(st.booleans()):
        message = draw(st.none() | any_text)
        code = draw(st.sampled_from(ERROR_CODES))
        engine.processing.fail(store.id, files[0]["file_id"], code=code, message=message)
    return engine, told


def _sdk_class(value: Any) -> Any:
    return (
        SyncCursorPage[SDK[type(value.data[0])] if value.data else SdkFile]
        if type(value) is Page
        else SDK[type(value)]
    )


def _extras(model: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The fields that the SDK's classes have not named, in the model and in all that it holds."""
    if isinstance(model, BaseModel | SyncCursorPage):
        cls = SyncCursorPage if isinstance(model, SyncCursorPage) else type(model)
        yield from ((cls, name) for name in model.model_extra or ())
        for name in type(model).model_fields:
            yield from _extras(getattr(model, name))
    elif isinstance(model, list | tuple):
        for item in model:
            yield from _extras(item)
    elif isinstance(model, dict):
        yield from _extras(list(model.values()))


def _as_doubles(data: Any) -> Any:
    """The data as the SDK reads it: an integer among attributes becomes a double."""
    if isinstance(data, list):
        return [_as_doubles(item) for item in data]
    if isinstance(data, dict):
        return {
            key: {k: float(v) if type(v) is int else v for k, v in item.items()}
            if key == "attributes"
            else _as_doubles(item)
            for key, item in data.items()
        }
    return data


def _assert_the_sdk_reads(value: Any) -> None:
    data = to_wire(value)
    sent = json.dumps(data)
    assert json.loads(sent) == data
    cls = _sdk_class(value)
    for model in (cls.model_validate(data, strict=True), cls.model_validate_json(sent, strict=True)):
        assert repr(_as_doubles(data)) == repr(_sorted_like(model.model_dump(), data))
        for owner, name in _extras(model):
            assert name in SDK_DOES_NOT_NAME.get(owner, set()), f"{owner.__name__}.{name}"


def _sorted_like(data: Any, pattern: Any) -> Any:
    """The same data with the keys of its dicts in the order of the pattern's, so that reprs can be compared."""
    if isinstance(pattern, dict):
        assert set(data) == set(pattern)
        return {key: _sorted_like(data[key], pattern[key]) for key in pattern}
    if isinstance(pattern, list):
        return [_sorted_like(item, like) for item, like in zip(data, pattern, strict=True)]
    return data


def _carried_as_utf8(value: Any) -> bool:
    """Whether there is no lone surrogate in it: a pydantic string is UTF-8."""
    try:
        repr(to_wire(value)).encode()
        json.dumps(to_wire(value), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _examples(profile: Profile | None = None) -> tuple[list[Any], list[Any]]:
    """All values and events of one populated engine."""
    engine = populated(profile)
    told: list[Any] = []
    engine.subscribe(told.append)
    engine.vector_stores.update("vs_1", name="again")
    new = engine.vector_stores.create(name="new", file_ids=["file-a"]).id
    engine.vector_stores.files.create("vs_1", file_id="file-n", attributes={"n": 1})
    engine.vector_stores.files.update("file-n", vector_store_id="vs_1", attributes={"n": 2.5})
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-o", "file-p"])
    engine.processing.claim(worker="worker-1", vector_store_id="vs_1")
    engine.processing.complete("vs_1", "file-o", usage_bytes=1)
    engine.processing.fail("vs_1", "file-n", code="invalid_file")
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-r", "file-s", "file-t"])
    engine.processing.complete_many("vs_1", ["file-r", "file-s"], usage_bytes=[1, 2])
    engine.processing.fail_many("vs_1", ["file-t"], code="invalid_file")
    engine.vector_stores.file_batches.cancel("vsfb_5", vector_store_id="vs_1")
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-u", "file-v"])
    last = engine.view.attachments("vs_1", "file-v")
    at = engine.clock.time()
    engine.replay([numbered(engine, events.FileBatchCancelled, at, "vs_1", "vsfb_7", left_running=last)])
    batch = engine.vector_stores.file_batches.create(new, file_ids=["file-b"], idempotency_key="key-1")
    engine.vector_stores.file_batches.cancel(batch.id, vector_store_id=new)
    engine.processing.purge(new, older_than=0)
    engine.vector_stores.update("vs_3", expires_after={"anchor": "last_active_at", "days": 1})  # the drain ends
    engine.clock.advance(86_400)  # type: ignore[attr-defined]
    # Pages and lists answer many values more than once.
    return list({repr(value): value for value in _values(engine)}.values()), told


VALUES, EVENTS = _examples()
each_value = pytest.mark.parametrize("value", VALUES + EVENTS, ids=lambda value: type(value).__name__)


def test_the_examples_show_every_class_status_and_error() -> None:
    def shown(cls: type, name: str) -> set[Any]:
        return {getattr(value, name) for value in VALUES if type(value) is cls}

    assert {type(value) for value in VALUES} == {*SDK, Page}
    assert {type(event) for event in EVENTS} == set(get_args(events.Event))
    assert shown(VectorStoreFile, "status") == set(FILE_STATUSES)
    assert shown(VectorStoreFileBatch, "status") == set(get_args(BatchStatus))
    assert shown(VectorStore, "status") == set(get_args(StoreStatus))
    assert {error and error.code for error in shown(VectorStoreFile, "last_error")} == {None, *ERROR_CODES}
    assert len(shown(VectorStoreFile, "chunking_strategy")) > 1
    assert len(shown(VectorStoreFile, "attributes")) > 1
    assert {bool(policy) for policy in shown(VectorStore, "expires_after")} == {True, False}
    assert shown(VectorStore, "description") == {"all", None}
    assert {(bool(page.data), page.has_more) for page in VALUES if type(page) is Page} == {
        (True, True),
        (True, False),
        (False, False),
    }


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_sdk_s_own_classes_take_every_value_strictly_and_lose_nothing(value: Any) -> None:
    _assert_the_sdk_reads(value)


@given(_engines())
def test_the_sdk_s_own_classes_take_every_value_of_any_history(made: tuple[Engine, list[Any]]) -> None:
    engine, _ = made
    for value in list(_values(engine)):
        data = to_wire(value)
        # Only the word of the OpenAPI enum is in the SDK's class.
        if data["object"] != "vector_store.file_batch" and _carried_as_utf8(value):
            _assert_the_sdk_reads(value)


@given(_engines())
def test_every_value_and_event_reads_back_as_it_was(made: tuple[Engine, list[Any]]) -> None:
    engine, told = made
    for value in [*_values(engine), *told]:
        data = to_wire(value)
        sent = json.dumps(data)
        assert json.loads(sent) == data
        back = from_wire(json.loads(sent))
        assert back == value
        # 1, 1.0 and True are equal: their reprs tell them apart.
        assert repr(back) == repr(value)
        assert hash(back) == hash(value)


def test_the_word_of_the_recordings_reads_back_too() -> None:
    values, _ = _examples(Profile(batch_object="vector_store.file_batch"))
    batches = [value for value in values if type(value) is VectorStoreFileBatch]
    assert batches
    for batch in batches:
        data = to_wire(batch)
        assert data["object"] == "vector_store.file_batch"
        assert from_wire(data) == batch
        other = from_wire({**data, "object": "vector_store.files_batch"})
        assert other == attrs.evolve(batch, object="vector_store.files_batch")


@each_value
def test_the_keys_come_in_the_reference_s_order_with_the_kind_first(value: Any) -> None:
    keys = list(to_wire(value))
    if type(value) is Page:
        assert keys == ["object", "data", "first_id", "last_id", "has_more"]
    elif isinstance(value, get_args(events.Event)):
        assert keys[:3] == ["kind", "at", "vector_store_id"]
    else:
        assert keys[:2] == ["id", "object"]


def test_a_page_names_its_first_and_last_item_or_null() -> None:
    for page in (value for value in VALUES if type(value) is Page):
        data = to_wire(page)
        ids = [item["id"] for item in data["data"]] or [None]
        assert (data["first_id"], data["last_id"]) == (ids[0], ids[-1])


def test_what_was_not_given_stays_that_when_it_is_copied() -> None:
    assert copy.copy(omit) is copy.deepcopy(omit) is pickle.loads(pickle.dumps(omit)) is omit
    assert repr(omit) == "omit"


def test_a_page_that_was_read_back_ends_where_it_ends() -> None:
    page = populated().vector_stores.files.list("vs_1", limit=2)
    assert page.has_next_page()
    back = from_wire(to_wire(page))
    assert isinstance(back, Page)
    assert back.has_more
    with pytest.raises(RuntimeError, match="no next page"):
        back.get_next_page()
    assert not back.has_next_page()
    assert tuple(back) == back.data == page.data


def test_an_error_is_written_as_its_body() -> None:
    error = errors.MissingParameter("file_id")
    assert to_wire(error) == error.to_wire()
    assert list(to_wire(error)) == ["error"]


def _places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every named field, at any depth; not of the pairs that callers choose the names of."""
    if isinstance(data, dict):
        for key, item in data.items():
            yield (*path, key)
            if key not in ("attributes", "metadata"):
                yield from _places(item, (*path, key))
    elif isinstance(data, list):
        for i, item in enumerate(data):
            yield from _places(item, (*path, i))


def _without(data: Any, path: tuple[Any, ...]) -> Any:
    data = copy.deepcopy(data)
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return data


def _refusal(data: Any) -> errors.WireError:
    with pytest.raises(errors.WireError) as caught:
        from_wire(data)
    return caught.value


def _dotted(path: tuple[Any, ...]) -> str:
    """A path as errors name it: ``data[2].file_counts.total``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


@each_value
def test_data_that_lacks_any_field_is_refused_with_its_place(value: Any) -> None:
    data = to_wire(value)
    for path in _places(data):
        if isinstance(path[-1], str):
            # Without its kind an event is taken for a value.
            expected = "object" if path == ("kind",) else _dotted(path)
            assert _refusal(_without(data, path)).param == expected


@each_value
def test_data_with_one_field_more_is_refused_with_its_place(value: Any) -> None:
    data = to_wire(value)
    for path in [(), *_places(data)]:
        more = copy.deepcopy(data)
        holder = more
        for key in path:
            holder = holder[key]
        if isinstance(holder, dict) and path[-1:] not in (("attributes",), ("metadata",)):
            holder["colour"] = "red"
            assert _refusal(more).param == _dotted((*path, "colour"))


@pytest.mark.slow
@each_value
def test_data_with_any_one_value_replaced_is_refused_or_written_back_as_it_is(value: Any) -> None:
    """Nothing is coerced: what is read and written again is the same JSON, types included."""
    data = to_wire(value)
    refusals = []
    for path in _places(data):
        for other in OTHER_VALUES:
            changed = copy.deepcopy(data)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = other
            try:
                back = from_wire(changed)
            except errors.WireError as error:
                refusals.append(error.param)
                continue
            assert in_json(to_wire(back)) == in_json(changed)
    assert len(refusals) > 10
    assert None not in refusals


@pytest.mark.parametrize("name", ["object", "kind"])
@given(data=json_values)
def test_an_unknown_object_or_kind_is_refused(name: str, data: Any) -> None:
    with pytest.raises(errors.WireError) as caught:
        from_wire({name: data})
    assert caught.value.param == name


def test_the_refusal_of_an_unknown_object_lists_the_known_ones() -> None:
    with pytest.raises(errors.WireError) as caught:
        from_wire({"object": "vector_store.file_batches"})
    for known in ("vector_store.files_batch", "vector_store.file_batch", "vector_store.file", "list"):
        assert f"'{known}'" in caught.value.message
    with pytest.raises(errors.WireError) as caught:
        from_wire({"kind": "vector_store.renamed"})
    for kind in events.EVENTS:
        assert f"'{kind}'" in caught.value.message


def test_a_store_that_cannot_expire_is_not_read_as_expired() -> None:
    store = next(v for v in VALUES if type(v) is VectorStore and v.expires_after is None)
    assert _refusal({**to_wire(store), "status": "expired"}).param == "status"


def test_a_page_of_stores_and_files_is_refused() -> None:
    items = [to_wire(next(v for v in VALUES if type(v) is cls)) for cls in (VectorStore, VectorStoreFile)]
    page = {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"],
        "last_id": items[1]["id"],
        "has_more": False,
    }
    assert _refusal(page).param == "data"


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize(
    "value", [v for v in VALUES if hasattr(v, "file_counts")], ids=lambda v: type(v).__name__
)
def test_a_total_that_is_not_the_sum_is_refused(value: Any, off: int) -> None:
    data = to_wire(value)
    right = data["file_counts"]["total"]
    data["file_counts"]["total"] += off
    with pytest.raises(errors.WireError) as caught:
        from_wire(data)
    assert caught.value.param == "file_counts.total"
    assert f"{right + off}" in caught.value.message


@pytest.mark.parametrize(
    "other",
    [
        None,
        1,
        "file",
        {},
        [],
        FileCounts(),
        FrozenDict(),
        VALUES[0].file_counts,
        VALUES,
        VectorStore,
        ValueError("x"),
    ],
    ids=lambda other: type(other).__name__,
)
def test_what_is_no_value_event_or_error_is_not_written(other: Any) -> None:
    with pytest.raises(TypeError, match="to_wire takes a value, an event or an error"):
        to_wire(other)


@each_value
def test_a_value_can_not_be_changed(value: Any) -> None:
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(value, field.name)
    with pytest.raises(AttributeError):
        value.another = 1
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize(
    "change",
    [
        lambda pairs: pairs.__setitem__("k", 1),
        lambda pairs: pairs.__delitem__("s"),
        lambda pairs: pairs.__ior__({"k": 1}),
        lambda pairs: pairs.update(k=1),
        lambda pairs: pairs.setdefault("k", 1),
        lambda pairs: pairs.pop("s"),
        lambda pairs: pairs.popitem(),
        lambda pairs: pairs.clear(),
    ],
)
def test_the_attributes_of_a_value_can_not_be_changed(change: Any) -> None:
    stores = populated().vector_stores
    pairs = stores.files.retrieve("file-b", vector_store_id="vs_1").attributes
    before = dict(pairs)
    with pytest.raises(TypeError, match="make a dict of it"):
        change(pairs)
    assert pairs == before
    assert stores.files.retrieve("file-b", vector_store_id="vs_1").attributes == before
    assert {**pairs, "k": 1} == {**before, "k": 1}


def test_every_way_in_which_a_dict_changes_is_refused() -> None:
    # Whatever dict can do that a read-only view of one can not, changes it; but for copying and making.
    view = set(dir(type(dict.__dict__)))
    changes = set(dir(dict)) - view - {"fromkeys"}
    assert {"clear", "__setitem__", "__delitem__", "update"} <= changes
    assert {name for name in changes if getattr(FrozenDict, name) is getattr(dict, name)} == set()


@each_value
def test_a_value_is_equal_to_its_copies_and_hashes_like_them(value: Any) -> None:
    for twin in (copy.copy(value), copy.deepcopy(value)):
        assert type(twin) is type(value)
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)


@each_value
def test_a_value_survives_pickling_with_every_protocol(value: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(value, protocol))
        assert type(twin) is type(value)
        assert twin == value
        assert hash(twin) == hash(value)
        assert to_wire(twin) == to_wire(value)


@each_value
def test_the_repr_of_a_value_pastes_back_as_code(value: Any) -> None:
    names = dict(PUBLIC)
    if isinstance(value, get_args(events.Event)):
        names.update(vars(events))
    assert eval(repr(value), names) == value  # noqa: S307 - our own


@given(_engines())
def test_the_repr_of_any_file_pastes_back_as_code(made: tuple[Engine, list[Any]]) -> None:
    engine, _ = made
    for value in _values(engine):
        if isinstance(value, VectorStoreFile | VectorStoreDeleted | VectorStoreFileDeleted):
            assert eval(repr(value), dict(PUBLIC)) == value  # noqa: S307 - our own


def test_values_that_differ_in_one_field_are_not_equal() -> None:
    for value in VALUES:
        if type(value) in (VectorStoreFile, VectorStore, VectorStoreFileBatch):
            for field in [field for field in attrs.fields(type(value)) if field.eq]:
                assert attrs.evolve(value, **{field.name: "another"}) != value


@each_value
def test_a_value_is_never_equal_to_its_json(value: Any) -> None:
    assert value != to_wire(value)
