"""Hypothesis strategies for calls of both faces, good ones and bad ones, that meet on a few stores and files."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any

from attrs import evolve, frozen

from vsbatch_core.claims import Claim, Completed, Failed, Retry
from vsbatch_core.extras import pip_line
from vsbatch_core.model import (
    ERROR_CODES,
    NO_ATTRIBUTES,
    ORDERS,
    ExpiresAfter,
    Limits,
    Profile,
    StaticFileChunkingStrategyObject,
    VectorStoreFile,
)
from vsbatch_core.testing.calls import Call, call
from vsbatch_core.testing.oracle import Oracle

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(f"vsbatch_core.testing.strategies needs Hypothesis: {pip_line('testing')}") from error

FILES = ("file-c", "file-a", "file-d", "file-b")
"""Not in the order of their names, lest that pass for the order of attachment."""
STORES = ("vs_1", "vs_2", "vs_3")
BATCHES = ("vsfb_1", "vsfb_2", "vsfb_3", "vsfb_4")
UNKNOWN = "file-x"
"""The file that the host does not know, where it is asked."""
SIZES = {file_id: 10 + i for i, file_id in enumerate(FILES)}
"""What the host knows."""

SMALL = Limits(
    batch_files=4,
    store_files=3,
    page=3,
    page_default=2,
    pairs=2,
    key_characters=4,
    value_characters=6,
    expiry_days=2,
    chunk_tokens_minimum=10,
    chunk_tokens_maximum=1000,
    idempotency_keys=2,
)
"""Limits that are reached by small arguments."""

profiles = st.builds(
    Profile,
    batch_object=st.sampled_from(("vector_store.files_batch", "vector_store.file_batch")),
    all_failed=st.sampled_from(("failed", "completed")),
    cancel_finished=st.sampled_from(("ignore", "refuse")),
    cancel=st.sampled_from(("immediate", "drain")),
    cancel_answer=st.sampled_from(("final", "in_progress")),
    duplicates=st.sampled_from(("first", "first", "refuse")),
    reattach=st.sampled_from(("replace", "replace", "reuse", "refuse")),
    unknown_cursor=st.sampled_from(("refuse", "first_page")),
    deleted_cursor=st.sampled_from(("keeps_its_place", "refuse")),
    both_cursors=st.sampled_from(("between", "between", "after", "refuse")),
    ties=st.sampled_from(("request_order", "same_both_ways", "by_id")),
    unnamed_store=st.sampled_from(("empty", "null")),
    limits=st.sampled_from((SMALL, Limits())),
)

# The first names come up most, so that calls meet on the same few objects.
stores = st.sampled_from((*STORES[:1] * 5, *STORES))
batches = st.sampled_from((*BATCHES[:2] * 2, *BATCHES))
file_ids = st.sampled_from(FILES)
some_file_ids = st.lists(file_ids, min_size=1, max_size=4)

attributes = st.sampled_from((None, {}, {"k": "v"}, {"k": 1, "l": 0.5}, {"ключ": True}, {"k": "", "l": -(2**70)}))
metadata = st.sampled_from((None, {}, {"k": "v"}, {"k": "", "ключ": "знач"}))
chunkings = st.sampled_from(
    (
        None,
        {"type": "auto"},
        {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}},
        {"type": "static", "static": {"max_chunk_size_tokens": 50, "chunk_overlap_tokens": 25}},
        {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}},
        StaticFileChunkingStrategyObject(),
    )
)
expiries = st.sampled_from((None, {"anchor": "last_active_at", "days": 1}, ExpiresAfter(days=2)))


keys = st.sampled_from((None, "key-1", "key-1", "key-2", "key-3"))


def calls(path: str, *args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """Calls of one method; each keyword argument may be left out."""
    return st.builds(Call, st.just(path), st.tuples(*args), st.fixed_dictionaries({}, optional=kwargs))


def named(path: str, *args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """Calls of one method whose keyword arguments must be given."""
    return st.builds(Call, st.just(path), st.tuples(*args), st.fixed_dictionaries(kwargs))


store_creations = calls(
    "vector_stores.create",
    name=st.sampled_from((None, "", "name")),
    description=st.sampled_from((None, "words")),
    file_ids=st.lists(file_ids, max_size=3),
    chunking_strategy=chunkings,
    expires_after=expiries,
    metadata=metadata,
    idempotency_key=keys,
)
store_updates = calls(
    "vector_stores.update",
    stores,
    name=st.sampled_from((None, "renamed")),
    expires_after=expiries,
    metadata=metadata,
)
store_deletions = named("vector_stores.delete", st.sampled_from(STORES))
batch_creations = st.one_of(
    st.builds(
        lambda batch, ids: Call(batch.path, batch.args, {"file_ids": ids, **batch.kwargs}),
        calls(
            "vector_stores.file_batches.create",
            stores,
            attributes=attributes,
            chunking_strategy=chunkings,
            idempotency_key=keys,
        ),
        some_file_ids,
    ),
    named(
        "vector_stores.file_batches.create",
        stores,
        files=st.lists(
            st.fixed_dictionaries(
                {"file_id": file_ids}, optional={"attributes": attributes, "chunking_strategy": chunkings}
            ),
            min_size=1,
            max_size=3,
        ),
        idempotency_key=keys,
    ),
)
cancellations = named("vector_stores.file_batches.cancel", batches, vector_store_id=stores)
attachments = st.builds(
    lambda file, file_id: Call(file.path, file.args, {"file_id": file_id, **file.kwargs}),
    calls(
        "vector_stores.files.create",
        stores,
        attributes=attributes,
        chunking_strategy=chunkings,
        idempotency_key=keys,
    ),
    file_ids,
)
file_updates = named("vector_stores.files.update", file_ids, vector_store_id=stores, attributes=attributes)
file_deletions = named("vector_stores.files.delete", file_ids, vector_store_id=stores)
workers = st.sampled_from(("worker-1", "worker-2", "worker-3"))
lease_seconds = st.sampled_from((0.5, 1.0, 60.0, 90_000.0, 10**400, inf))
claims = st.builds(
    lambda claim, worker: Call(claim.path, claim.args, {"worker": worker, **claim.kwargs}),
    st.one_of(
        calls("processing.claim", st.integers(1, 5), lease_seconds=lease_seconds, vector_store_id=stores),
        named(
            "processing.claim",
            st.integers(1, 2),
            vector_store_id=stores,
            attachments=st.lists(st.integers(0, 9), max_size=4),
        ),
    ),
    workers,
)
retries = st.builds(
    Retry,
    attempts=st.integers(1, 3),
    backoff=st.sampled_from((0.0, 0.0, 0.5, 1.0, 1e300)),
    factor=st.sampled_from((1.0, 2.0, 1e300)),
    maximum=st.sampled_from((1.0, 3600.0)),
)
retentions = st.sampled_from((None, None, 0.5, 1.0, 60.0, 90_000.0, 10**400))
purges = st.builds(
    lambda purge, older_than: Call(purge.path, purge.args, {"older_than": older_than}),
    st.one_of(calls("processing.purge", stores), calls("processing.purge")),
    st.sampled_from((0, 0.0, 0.25, 1.0, 60.0, 10**400, inf)),
)
completions = calls("processing.complete", stores, file_ids, usage_bytes=st.integers(0, 9))
failures = calls(
    "processing.fail",
    stores,
    file_ids,
    code=st.sampled_from(ERROR_CODES),
    message=st.sampled_from((None, "", "too large")),
)
moves = named("clock.move", st.sampled_from((0.25, 0.5, 1.0, 1.0, 86_399.0, 86_400.0, 90_000.0, -1.0, -90_000.0)))

aims = st.integers(0, 11)
"""Which of the things that are there a call is aimed at; the last few leave it as it was drawn."""


def aimed(call: Call, oracle: Oracle, aim: int) -> Call:
    """The call, aimed at something that is there: a store, a running batch, an attached file, one that runs."""
    if call.path in ("clock.move", "vector_stores.create", "processing.claim"):
        return call
    there = [store for store in oracle.stores if store.here]
    targets: list[tuple[str, ...]]
    if call.path == "processing.purge":
        targets = [(store.id,) for store in there if call.args]
    elif call.path.endswith(".create"):
        targets = [(store.id,) for store in there]
    elif call.path.endswith(".cancel"):
        running = [file for store in there for file in store.attached() if file.status == "in_progress"]
        targets = [
            (batch.id, store.id)
            for store in there
            for batch in store.batches
            if aim > 6 or any(file in running for file in batch.files)
        ]
    elif call.path.startswith("processing."):
        attached = ((store.id, file) for store in there for file in store.attached())
        targets = [(id, file.file_id) for id, file in attached if file.status == "in_progress"]
    else:
        targets = [(file.file_id, store.id) for store in there for file in store.attached()]
    if not targets or aim > 8:
        return call
    target = targets[aim % len(targets)]
    if "vector_store_id" in call.kwargs:
        return Call(call.path, target[:1], {**call.kwargs, "vector_store_id": target[1]})
    return Call(call.path, target, call.kwargs)


@frozen
class Use:
    """What a worker does with claims, once it is known which there were.

    ``picks`` says which claims, by how many came after each, and what is wrong with it, if anything.
    """

    method: str
    picks: list[tuple[int, dict[str, Any]]]
    outcomes: list[tuple[type[Completed | Failed], dict[str, Any]]]
    seconds: float

    def of(self, oracle: Oracle) -> Call:
        """Return the call, about claims that the oracle has made."""
        made = oracle.claims
        picked = [evolve(made[-1 - pick % len(made)], **wrong) for pick, wrong in self.picks if made]
        if self.method == "finish":
            pairs = zip(picked, self.outcomes, strict=False)
            return call("processing.finish", [kind(claim, **given) for claim, (kind, given) in pairs])
        given = {"lease_seconds": self.seconds} if self.method == "heartbeat" else {}
        return call(f"processing.{self.method}", picked, **given)


_sound: dict[str, Any] = {}
_outcomes = st.one_of(
    st.tuples(st.just(Completed), st.fixed_dictionaries({}, optional={"usage_bytes": st.integers(0, 9)})),
    st.tuples(
        st.just(Failed),
        st.fixed_dictionaries(
            {},
            optional={
                "code": st.sampled_from(ERROR_CODES),
                "message": st.sampled_from((None, "", "too large.")),
                "retry": st.booleans(),
            },
        ),
    ),
)
uses = st.builds(
    Use,
    st.sampled_from(("finish", "finish", "heartbeat", "release")),
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from(
                (
                    *(_sound,) * 9,
                    {"number": 10**6},
                    {"worker": "worker-4"},
                    {"vector_store_id": "vs_3"},
                    {"vector_store_id": "vs_9"},
                    {"attachment": 1},
                    {"attachment": 10**30},
                    {"attempt": -9},
                )
            ),
        ),
        max_size=4,
    ),
    st.lists(_outcomes, min_size=4, max_size=4),
    lease_seconds,
)

endings = st.one_of(completions, failures)
_opening = st.one_of(
    store_creations,
    batch_creations,
    attachments,
    endings,
    endings,
    endings,
    claims,
    claims,
    cancellations,
    file_deletions,
    purges,
    moves,
)
openings = st.lists(st.tuples(_opening, aims), max_size=3) | st.lists(
    st.tuples(_opening, aims), min_size=14, max_size=18
)
"""Left alone, Hypothesis draws mostly short histories, in which little meets; and these shrink to short ones."""


Bad = dict[Any, tuple[Any, ...]]
"""By argument, its place or its name, values that are wrong for it."""

# What is refused: each value is wrong for its parameter under any limits, or under small ones.
NO_STRINGS: tuple[Any, ...] = (None, 7, True, ["file-a"], {"k": "v"})
NO_IDS: tuple[Any, ...] = (*NO_STRINGS, "")
NO_WHOLES: tuple[Any, ...] = (True, 1.0, "1", [])
NO_OBJECTS: tuple[Any, ...] = (7, "k", ["k"], {7: "v"})
BAD_PAIRS: tuple[Any, ...] = (
    *NO_OBJECTS,
    {f"k{i}": "v" for i in range(17)},
    {"k" * 65: "v"},
    {"k": "v" * 513},
    {"k": None},
)
BAD_ATTRIBUTES: tuple[Any, ...] = (*BAD_PAIRS, {"k": []}, {"k": float("inf")}, {"k": 2**1024})
BAD_METADATA: tuple[Any, ...] = (*BAD_PAIRS, {"k": 1}, {"k": True})
_SIZES = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}
BAD_CHUNKINGS: tuple[Any, ...] = (
    *NO_OBJECTS,
    {},
    {"type": 7},
    {"type": "other"},
    {"type": "auto", "static": _SIZES},
    {"type": "static"},
    {"type": "static", "static": []},
    {"type": "static", "static": {}},
    {"type": "static", "static": {**_SIZES, "more": 1}},
    {"type": "static", "static": {"max_chunk_size_tokens": 100}},
    {"type": "static", "static": {**_SIZES, "max_chunk_size_tokens": 9}},
    {"type": "static", "static": {**_SIZES, "max_chunk_size_tokens": 4097}},
    {"type": "static", "static": {"max_chunk_size_tokens": 50, "chunk_overlap_tokens": 26}},
    {"type": "static", "static": {"max_chunk_size_tokens": 50, "chunk_overlap_tokens": -1}},
    {"type": "static", "static": {"max_chunk_size_tokens": 50, "chunk_overlap_tokens": "1"}},
)
BAD_EXPIRIES: tuple[Any, ...] = (
    *NO_OBJECTS,
    {"days": 1},
    {"anchor": "last_active_at"},
    {"anchor": "created_at", "days": 1},
    {"anchor": "last_active_at", "days": 0},
    {"anchor": "last_active_at", "days": 366},
    {"anchor": "last_active_at", "days": 1.5},
    {"anchor": "last_active_at", "days": 1, "hours": 1},
)
BAD_STORES: tuple[Any, ...] = (*NO_IDS, "vs_9", "vsfb_1", "file-a")
BAD_BATCHES: tuple[Any, ...] = (*NO_IDS, "vsfb_9", "vs_1")
BAD_FILES: tuple[Any, ...] = (*NO_IDS, "file-nowhere")
BAD_ARRAYS: tuple[Any, ...] = (
    7,
    "file-a",
    {"file_id": "file-a"},
    ["file-a", ""],
    ["file-a", 7],
    ["file-a"] * 2001,
    ["file-x"],
)
BAD_NEW_FILES: tuple[Any, ...] = (
    [],
    7,
    ["file-a"],
    [{}],
    [{"file_id": ""}],
    [{"file_id": 7}],
    [{"file_id": UNKNOWN}],
    [{"file_id": "file-a", "more": 1}],
    [{"file_id": "file-a", "attributes": {"k": []}}],
    [{"file_id": "file-a"}, {"file_id": "file-a", "chunking_strategy": {"type": "other"}}],
    [{"file_id": f"file-{i}"} for i in range(2001)],
)
BAD_KEYS: tuple[Any, ...] = (7, True, ["key-1"], "", "k" * 256)
BAD_PAGES: Bad = {
    "limit": (*NO_WHOLES, 0, -1, 101),
    "order": (7, "", "ASC"),
    "after": (7, "", "file-nowhere", "vs_9"),
    "before": (7, "", "file-nowhere", "vs_9"),
}
BAD_FILTERS: tuple[Any, ...] = (7, "", "done")

_CLAIM = Claim(
    vector_store_id="vs_1",
    file=VectorStoreFile(
        "file-a", 0, "vs_1", "in_progress", 0, None, StaticFileChunkingStrategyObject(), NO_ATTRIBUTES
    ),
    attachment=0,
    attempt=1,
    deadline=0.0,
    worker="worker-1",
    number=1,
)
_outcome: Any = Completed
_completed: Any = partial(Completed, _CLAIM)
_failed: Any = partial(Failed, _CLAIM)
BAD_CLAIMS: tuple[Any, ...] = (None, 7, "claims", _CLAIM, {0: _CLAIM}, [None], [_CLAIM, 7])
BAD_SECONDS: tuple[Any, ...] = (None, True, "1", [], 0, -1.0, float("nan"), -inf)

_BATCHES = "vector_stores.file_batches"
_OF_STORE: dict[str, Any] = {"vector_store_id": "vs_1"}
_MISUSES: tuple[tuple[Call, Bad], ...] = (
    (
        call("vector_stores.create", file_ids=["file-a"]),
        {
            "name": (7, []),
            "description": (7, []),
            "file_ids": BAD_ARRAYS,
            "chunking_strategy": BAD_CHUNKINGS,
            "expires_after": BAD_EXPIRIES,
            "metadata": BAD_METADATA,
            "idempotency_key": BAD_KEYS,
        },
    ),
    (call("vector_stores.retrieve", "vs_1"), {0: BAD_STORES}),
    (
        call("vector_stores.update", "vs_1"),
        {0: BAD_STORES, "name": (7, []), "expires_after": BAD_EXPIRIES, "metadata": BAD_METADATA},
    ),
    (call("vector_stores.delete", "vs_1"), {0: BAD_STORES}),
    (call("vector_stores.list"), BAD_PAGES),
    (
        call("vector_stores.files.create", "vs_1", file_id="file-a"),
        {
            0: BAD_STORES,
            "file_id": (*NO_IDS, UNKNOWN),
            "attributes": BAD_ATTRIBUTES,
            "chunking_strategy": BAD_CHUNKINGS,
            "idempotency_key": BAD_KEYS,
        },
    ),
    (call("vector_stores.files.retrieve", "file-a", **_OF_STORE), {0: BAD_FILES, "vector_store_id": BAD_STORES}),
    (
        call("vector_stores.files.update", "file-a", **_OF_STORE, attributes={"k": "v"}),
        {0: BAD_FILES, "vector_store_id": BAD_STORES, "attributes": BAD_ATTRIBUTES},
    ),
    (call("vector_stores.files.delete", "file-a", **_OF_STORE), {0: BAD_FILES, "vector_store_id": BAD_STORES}),
    (call("vector_stores.files.list", "vs_1"), {0: BAD_STORES, "filter": BAD_FILTERS, **BAD_PAGES}),
    (
        call(f"{_BATCHES}.create", "vs_1", file_ids=["file-a", "file-b"]),
        {
            0: BAD_STORES,
            "file_ids": (None, [], *BAD_ARRAYS),
            "files": ([{"file_id": "file-a"}], []),  # beside file_ids
            "attributes": BAD_ATTRIBUTES,
            "chunking_strategy": BAD_CHUNKINGS,
            "idempotency_key": BAD_KEYS,
        },
    ),
    (
        call(f"{_BATCHES}.create", "vs_1", files=[{"file_id": "file-a"}]),
        {0: BAD_STORES, "files": BAD_NEW_FILES, "attributes": BAD_ATTRIBUTES, "chunking_strategy": BAD_CHUNKINGS},
    ),
    (call(f"{_BATCHES}.retrieve", "vsfb_1", **_OF_STORE), {0: BAD_BATCHES, "vector_store_id": BAD_STORES}),
    (call(f"{_BATCHES}.cancel", "vsfb_1", **_OF_STORE), {0: BAD_BATCHES, "vector_store_id": BAD_STORES}),
    (
        call(f"{_BATCHES}.list_files", "vsfb_1", **_OF_STORE),
        {0: BAD_BATCHES, "vector_store_id": BAD_STORES, "filter": BAD_FILTERS, **BAD_PAGES},
    ),
    (call("processing.pending", "vs_1"), {0: BAD_STORES[1:], "limit": (*NO_WHOLES, None, 0, -1)}),
    (
        call("processing.claim", 1, worker="worker-1"),
        {
            0: (*NO_WHOLES, None, 0, -1),
            "worker": NO_IDS,
            "lease_seconds": BAD_SECONDS,
            "vector_store_id": BAD_STORES[1:],
            "attachments": ([],),  # of no store
        },
    ),
    (
        call("processing.claim", worker="worker-1", vector_store_id="vs_1", attachments=[0]),
        {"vector_store_id": BAD_STORES, "attachments": (7, "0", {0: 0}, [-1], [0, None], [0.0], [True])},
    ),
    (call("processing.heartbeat", [_CLAIM]), {0: BAD_CLAIMS, "lease_seconds": BAD_SECONDS}),
    (call("processing.release", [_CLAIM]), {0: BAD_CLAIMS}),
    (
        call("processing.finish", [Completed(_CLAIM, usage_bytes=1)]),
        {
            0: (
                *BAD_CLAIMS,
                [_CLAIM],
                *([_outcome(value)] for value in (None, 7, "claim")),
                *([_completed(usage_bytes=value)] for value in (*NO_WHOLES, -1, 2**63)),
                *([_failed(code=value)] for value in (None, 7, "other")),
                [_failed(message=7)],
                [_failed(message=[])],
                *([_completed(usage_bytes=1), _failed(retry=value)] for value in (None, 1, "")),
            )
        },
    ),
    (
        call("processing.purge", "vs_1", older_than=0),
        {0: BAD_STORES[1:], "older_than": (None, True, "1", [], -1, -0.5, float("nan"), -inf)},
    ),
    (
        call("processing.complete", "vs_1", "file-a"),
        {0: BAD_STORES, 1: BAD_FILES, "usage_bytes": (*NO_WHOLES, -1, 2**63)},
    ),
    (
        call("processing.fail", "vs_1", "file-a"),
        {0: BAD_STORES, 1: BAD_FILES, "code": (None, 7, "other"), "message": (7, [])},
    ),
)


def _misused(base: Call, where: int | str, value: Any) -> Call:
    """The call with one argument replaced."""
    if isinstance(where, str):
        return Call(base.path, base.args, {**base.kwargs, where: value})
    return Call(base.path, (*base.args[:where], value, *base.args[where + 1 :]), base.kwargs)


ALL_MISUSES: tuple[Call, ...] = tuple(
    _misused(base, where, value) for base, bad in _MISUSES for where, values in bad.items() for value in values
)
"""Every method, with each of its arguments wrong in each way, one at a time."""

misuses = st.sampled_from(ALL_MISUSES)
listings = st.one_of(
    calls(
        "vector_stores.files.list",
        stores,
        limit=st.integers(0, 4),
        order=st.sampled_from(ORDERS),
        after=file_ids,
        before=file_ids,
    ),
    calls("vector_stores.list", limit=st.integers(0, 4), after=stores, before=stores),
)
"""Pages as any client might ask for them, of stores that may not be there."""
