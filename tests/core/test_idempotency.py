"""A create that is repeated under its idempotency key makes nothing twice, whatever happened between the two."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vsbatch_core import Engine, Idempotency, Limits, Profile, VirtualClock, VsbatchError, errors, events, wire
from vsbatch_core.errors import IdempotencyKeyReused, Inconsistent, ReplayError, SnapshotError, WireError
from vsbatch_core.idempotency import NO_KEYS
from vsbatch_core.testing.calls import Call, call

from ..helpers.strategies import START, new_engine, numbered

BATCHES, FILES = "vector_stores.file_batches", "vector_stores.files"
STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
CREATES = (
    call("vector_stores.create", name="one", file_ids=["file-a"], metadata={"k": "v", "l": "w"}),
    call(f"{BATCHES}.create", "vs_1", file_ids=["file-a", "file-b"], attributes={"k": 1}),
    call(f"{FILES}.create", "vs_1", file_id="file-a", attributes={"k": 1}),
)
each_create = pytest.mark.parametrize("create", CREATES, ids=lambda create: create.path)


def keyed(create: Call, key: Any = "key-1", **others: Any) -> Call:
    return Call(create.path, create.args, {**create.kwargs, **others, "idempotency_key": key})


def made(profile: Profile | None = None) -> tuple[Engine, list[events.Event]]:
    """An engine with two stores, and the events since."""
    engine = new_engine(profile)
    engine.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    engine.vector_stores.create()
    heard: list[events.Event] = []
    engine.subscribe(heard.append)
    return engine, heard


def refused(engine: Engine, create: Call, error: type[VsbatchError]) -> VsbatchError:
    """The refusal of a call, which has changed nothing."""
    before = engine.snapshot()
    with pytest.raises(error) as caught:
        create.on(engine)
    assert engine.snapshot() == before
    engine.check()
    return caught.value


@each_create
def test_a_repetition_returns_what_was_created_and_no_event_happens(create: Call) -> None:
    engine, heard = made()
    first = keyed(create).on(engine)
    before = engine.snapshot()
    assert keyed(create).on(engine) == first
    assert engine.snapshot() == before
    assert len(heard) == 1
    engine.check()


@each_create
def test_without_a_key_or_with_another_one_it_is_a_new_request(create: Call) -> None:
    engine, heard = made()
    for key in (None, None, "key-1", "KEY-1", "key-1 ", "k" * 255):
        keyed(create, key).on(engine)
    assert len(heard) == 6


def test_a_repetition_returns_what_was_created_as_it_stands_now() -> None:
    engine, _ = made()
    store, batch, file = (keyed(create, create.path).on(engine) for create in CREATES)
    engine.processing.complete("vs_1", "file-b", usage_bytes=3)
    engine.processing.fail("vs_1", "file-a")
    engine.vector_stores.update(store.id, name="two")
    again = [keyed(create, create.path).on(engine) for create in CREATES]
    assert [each.id for each in again] == [store.id, batch.id, file.id]
    assert again[0].name == "two"
    assert again[1] == engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id="vs_1")
    assert again[1].file_counts.completed == 1
    assert again[2].status == "failed"


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (f"{BATCHES}.create", {"file_ids": ["file-a"]}, {"files": [{"file_id": "file-a"}]}),
        (f"{BATCHES}.create", {"file_ids": ["file-a"]}, {"file_ids": ("file-a", "file-a"), "attributes": {}}),
        (f"{BATCHES}.create", {"file_ids": ["file-a"]}, {"file_ids": ["file-a"], "chunking_strategy": STATIC}),
        (
            f"{BATCHES}.create",
            {"file_ids": ["file-a", "file-b"], "attributes": {"k": 1, "l": 2}},
            {"files": [{"file_id": id, "attributes": {"l": 2, "k": 1}} for id in ("file-a", "file-b")]},
        ),
        (f"{FILES}.create", {"file_id": "file-a"}, {"file_id": "file-a", "chunking_strategy": {"type": "auto"}}),
    ],
)
def test_requests_that_mean_the_same_are_the_same(path: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    for first, second in ((one, other), (other, one)):
        engine, heard = made()
        assert keyed(call(path, "vs_1", **first)).on(engine) == keyed(call(path, "vs_1", **second)).on(engine)
        assert len(heard) == 1


OTHERS: list[tuple[Call, dict[str, Any]]] = [
    (CREATES[0], {"name": "two"}),
    (CREATES[0], {"name": None}),
    (CREATES[0], {"description": "one", "name": None}),
    (CREATES[0], {"description": ""}),
    (CREATES[0], {"file_ids": None}),
    (CREATES[0], {"chunking_strategy": {**STATIC, "static": {**STATIC["static"], "chunk_overlap_tokens": 0}}}),  # type: ignore[dict-item]
    (CREATES[0], {"expires_after": {"anchor": "last_active_at", "days": 1}}),
    (CREATES[0], {"metadata": {"k": "w", "l": "v"}}),
    (CREATES[1], {"file_ids": ["file-b", "file-a"]}),
    (CREATES[1], {"file_ids": ["file-a"]}),
    (CREATES[1], {"attributes": {"k": 1.0}}),
    (CREATES[1], {"attributes": {"k": True}}),
    (CREATES[1], {"attributes": {"k": "1"}}),
    (CREATES[2], {"file_id": "file-b"}),
    (CREATES[2], {"attributes": None}),
]


@pytest.mark.parametrize(("create", "others"), OTHERS, ids=repr)
def test_another_request_under_the_same_key_is_refused(create: Call, others: dict[str, Any]) -> None:
    engine, _ = made()
    first = keyed(create).on(engine)
    error = refused(engine, keyed(create, **others), IdempotencyKeyReused)
    assert (error.status, error.code, error.param) == (400, "idempotency_key_reused", "idempotency_key")
    assert "'key-1'" in error.message
    assert f"'{first.id}'" in error.message
    assert keyed(create).on(engine) == first


def test_the_keys_of_a_store_are_those_of_its_files_and_batches_and_no_others() -> None:
    engine, heard = made()
    one, batch, file = CREATES
    keyed(one).on(engine)
    keyed(batch).on(engine)
    refused(engine, keyed(file), IdempotencyKeyReused)
    refused(engine, keyed(call(f"{FILES}.create", "vs_1", file_id="vsfb_1")), IdempotencyKeyReused)
    keyed(call(file.path, "vs_2", **file.kwargs)).on(engine)
    refused(engine, keyed(call(batch.path, "vs_2", **batch.kwargs)), IdempotencyKeyReused)
    assert len(heard) == 3


def test_what_was_created_and_deleted_since_is_not_found() -> None:
    engine, _ = made()
    for create in CREATES:
        keyed(create, create.path).on(engine)
    engine.vector_stores.files.delete("file-a", vector_store_id="vs_1")
    engine.vector_stores.delete("vs_3")
    store, batch, file = (keyed(create, create.path) for create in CREATES)
    refused(engine, store, errors.VectorStoreNotFound)
    refused(engine, file, errors.FileNotFound)
    assert batch.on(engine).file_counts.total == 2
    engine.vector_stores.files.create("vs_1", file_id="file-a")  # a later attachment of the same file
    assert file.on(engine) == engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1")
    engine.vector_stores.delete("vs_1")
    refused(engine, batch, errors.VectorStoreNotFound)


def test_a_refused_create_keeps_no_key() -> None:
    engine, _ = made(Profile(reattach="refuse"))
    engine.vector_stores.files.create("vs_1", file_id="file-a")
    for create in CREATES[1:]:
        refused(engine, keyed(create), errors.AlreadyAttached)
    engine.vector_stores.files.delete("file-a", vector_store_id="vs_1")
    assert keyed(CREATES[2]).on(engine).status == "in_progress"


def test_a_file_that_is_attached_and_stays_so_keeps_no_key() -> None:
    engine, heard = made(Profile(reattach="reuse"))
    engine.vector_stores.files.create("vs_1", file_id="file-a")
    assert keyed(CREATES[2]).on(engine).attributes == {}  # as it was attached before
    engine.vector_stores.files.delete("file-a", vector_store_id="vs_1")
    heard.clear()
    assert keyed(CREATES[2]).on(engine).attributes == {"k": 1}
    assert len(heard) == 1
    empty = keyed(call(f"{BATCHES}.create", "vs_1", file_ids=["file-a"]), "key-2")
    assert empty.on(engine) == empty.on(engine)  # a batch without files is one
    assert len(heard) == 2


def test_a_repetition_is_not_refused_because_the_store_has_expired() -> None:
    engine, _ = made()
    first = keyed(CREATES[1]).on(engine)
    engine.clock.advance(100_000.0)  # type: ignore[attr-defined]
    assert keyed(CREATES[1]).on(engine) == first
    refused(engine, keyed(CREATES[1], "key-2"), errors.VectorStoreExpired)
    refused(engine, keyed(CREATES[2]), IdempotencyKeyReused)


@each_create
def test_a_repetition_is_not_refused_for_a_file_that_the_host_has_lost_since(create: Call) -> None:
    sizes = {"file-a": 1, "file-b": 2}
    engine = Engine(clock=VirtualClock(START), file_size=sizes.get)
    store = engine.vector_stores.create()
    create = Call(create.path, (store.id,) if create.args else (), create.kwargs)
    first = keyed(create).on(engine)
    del sizes["file-a"]
    assert keyed(create).on(engine) == first
    refused(engine, create, errors.UnknownFile)
    refused(engine, keyed(create, "key-2"), errors.UnknownFile)
    sizes["file-a"] = 1
    assert keyed(create, "key-2").on(engine)


@each_create
def test_of_more_keys_than_the_limit_the_oldest_is_forgotten(create: Call) -> None:
    engine, heard = made(Profile(limits=Limits(idempotency_keys=2)))
    keyed(create, "key-1").on(engine)
    keyed(create, "key-2").on(engine)
    keyed(create, "key-1").on(engine)  # a repetition makes it no younger
    keyed(create, "key-3").on(engine)
    assert len(heard) == 3
    for key, n in (("key-2", 3), ("key-3", 3), ("key-1", 4), ("key-3", 4), ("key-2", 5)):
        keyed(create, key).on(engine)
        assert len(heard) == n
    engine.check()


def test_keys_outlast_a_restart_a_replay_and_a_move_of_one_store() -> None:
    engine = new_engine()
    heard: list[events.Event] = []
    engine.subscribe(heard.append)
    keyed(CREATES[0]).on(engine)
    for _ in range(2):
        first = [keyed(create, create.path).on(engine) for create in CREATES]
    saved = json.loads(json.dumps(engine.snapshot()))
    log = [wire.from_wire(json.loads(json.dumps(wire.to_wire(event)))) for event in heard]
    assert log == heard
    replayed = new_engine()
    replayed.replay(log)  # type: ignore[arg-type]
    for other in (Engine.restore(saved, clock=VirtualClock(START)), replayed):
        assert other.snapshot() == engine.snapshot()
        assert [keyed(create, create.path).on(other) for create in CREATES] == first
        refused(other, keyed(CREATES[0], name="two"), IdempotencyKeyReused)
    alone = Engine.restore(json.loads(json.dumps(engine.snapshot("vs_1"))), clock=VirtualClock(START))
    assert keyed(CREATES[1], CREATES[1].path).on(alone) == first[1]
    assert keyed(CREATES[0]).on(alone).id != "vs_1"  # the list of stores is another one


def test_the_fingerprint_of_a_request_stays_what_it_is_in_logs_that_are_kept() -> None:
    engine, heard = made()
    for create in CREATES:
        keyed(create, create.path).on(engine)
    assert [event.idempotency.fingerprint for event in heard] == FINGERPRINTS  # type: ignore[union-attr]


FINGERPRINTS = [
    "984b06b2658bd2c4e76a52f67bae5930",
    "36c9684da1f9b1816e91d49970e85f34",
    "d0a045145b0cd8ddd187712f4627404a",
]


def test_restoring_under_a_profile_with_fewer_keys_forgets_the_oldest() -> None:
    def kept(n: int) -> Engine:
        engine, _ = made(Profile(limits=Limits(idempotency_keys=n)))
        for key in ("key-1", "key-2", "key-3"):
            for create in CREATES[::2]:
                keyed(create, key).on(engine)
        return engine

    fewer = Engine.restore(kept(3).snapshot(), profile=Profile(limits=Limits(idempotency_keys=2)))
    fewer.check()
    assert fewer.snapshot() == kept(2).snapshot()


def test_stores_without_keys_share_what_they_keep_none_in() -> None:
    engine, _ = made()
    for create in CREATES:
        create.on(engine)
    engine = Engine.restore(engine.snapshot())
    registry = engine._registry
    assert all(place.keys is NO_KEYS for place in (registry, *registry.stores.values()))
    engine.check()
    NO_KEYS["key-1"] = ("", "")
    try:
        with pytest.raises(Inconsistent, match="idempotency keys"):
            engine.check()
    finally:
        NO_KEYS.clear()


FINGERPRINT = "0" * 32
ONE = Idempotency("key-1", FINGERPRINT)


def impossible(idempotency: Any) -> list[Any]:
    """Events with this idempotency, each of which would be the next one."""
    engine, heard = made()
    for create in CREATES:
        (create if create is CREATES[2] else keyed(create)).on(engine)
    store, batch, file = heard
    args: list[tuple[Any, tuple[Any, ...]]] = [
        (events.VectorStoreCreated, (START, "vs_9", "", None, None, store.metadata)),  # type: ignore[union-attr]
        (
            events.FileBatchCreated,
            (START, "vs_1", "vsfb_9", ("file-n",), batch.chunking_strategies, batch.attributes_each),  # type: ignore[union-attr]
        ),
        (events.FileAttached, (START, "vs_1", "file-n", file.chunking_strategy, file.attributes)),  # type: ignore[union-attr]
    ]
    return [engine, *(numbered(engine, cls, *given, idempotency=idempotency) for cls, given in args)]


@pytest.mark.parametrize(
    "idempotency",
    [
        ONE,
        {"key": "key-2", "fingerprint": FINGERPRINT},
        Idempotency("", FINGERPRINT),
        Idempotency("k" * 256, FINGERPRINT),
        Idempotency("key-2", "0" * 31),
        Idempotency("key-2", "A" * 32),
        Idempotency("key-2", 7),  # type: ignore[arg-type]
        Idempotency(7, FINGERPRINT),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_replay_refuses_a_key_that_is_kept_or_none(idempotency: Any) -> None:
    engine, *following = impossible(idempotency)
    before = engine.snapshot()
    for event in following:
        with pytest.raises(ReplayError, match="idempotency"):
            engine.replay([event])
    assert engine.snapshot() == before
    engine, *following = impossible(Idempotency("key-2", FINGERPRINT))
    for event in following:
        twin = Engine.restore(engine.snapshot())
        twin.replay([event])
        twin.check()


@pytest.mark.parametrize(
    "damage",
    [
        {"key": "key-1"},
        {"key": "", "fingerprint": FINGERPRINT},
        {"key": "key-1", "fingerprint": FINGERPRINT[1:]},
        {"key": "key-1", "fingerprint": None},
        {"key": "key-1", "fingerprint": FINGERPRINT, "id": "vsfb_1"},
        "key-1",
    ],
    ids=str,
)
def test_from_wire_refuses_an_idempotency_that_is_none(damage: Any) -> None:
    _, _, batch, _ = impossible(ONE)
    data = wire.to_wire(batch)
    assert wire.from_wire(data) == batch
    with pytest.raises(WireError, match="idempotency"):
        wire.from_wire({**data, "idempotency": damage})


@pytest.mark.parametrize(
    ("keys", "param"),
    [
        ([["key-1", FINGERPRINT]], "idempotency_keys[0]"),
        ([["", FINGERPRINT, "vs_1"]], "idempotency_keys[0].key"),
        ([["key-1", "0", "vs_1"]], "idempotency_keys[0].fingerprint"),
        ([["key-1", FINGERPRINT, ""]], "idempotency_keys[0].id"),
        ([["key-1", FINGERPRINT, "vs_1"]] * 2, "idempotency_keys[1].key"),
        (
            [["key-1", FINGERPRINT, "vs_1"], ["key-2", FINGERPRINT, "vs_1"], ["key-3", FINGERPRINT, "vs_1"]],
            "idempotency_keys",
        ),
        ({}, "idempotency_keys"),
    ],
)
def test_a_snapshot_is_refused_whose_keys_are_none(keys: Any, param: str) -> None:
    engine, _ = made(Profile(limits=Limits(idempotency_keys=2)))
    for inside in ((), ("vector_stores", 0)):
        snapshot = engine.snapshot()
        place: Any = snapshot
        for key in inside:
            place = place[key]
        place["idempotency_keys"] = keys
        with pytest.raises(SnapshotError) as caught:
            Engine.restore(snapshot)
        assert caught.value.param == ("vector_stores[0]." if inside else "") + param
    snapshot["vector_stores"][0]["idempotency_keys"] = []
    snapshot["idempotency_keys"] = [["key-1", FINGERPRINT, "vsfb_1"]]
    with pytest.raises(SnapshotError, match="'vs_'"):
        Engine.restore(snapshot)
