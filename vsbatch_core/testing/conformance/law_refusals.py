"""Laws of refusals: what is refused, with which status, and the body that says so."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType

from hypothesis import strategies as st

from vsbatch_core.testing.conformance.laws import NOBODY, RECORDINGS, REFERENCE, SIBLING, Laws
from vsbatch_core.testing.conformance.probe import Trace
from vsbatch_core.testing.conformance.tracing import (
    NotReached,
    Traced,
    is_a,
    one_of,
    refused,
    traced,
    value_of,
)

LAWS = Laws()
law = LAWS.law

NO_STORE = "vs_00000000000000000000000000000000"
NO_BATCH = "vsfb_00000000000000000000000000000000"
NO_FILE = "file-never-attached"
MOST = 2000
BATCHES = "vector_stores.file_batches"
ON_A_BATCH = st.sampled_from(("retrieve", "list_files", "cancel"))


def unknown_store(see: Trace) -> Traced:
    """Ask for a store that there is not."""
    return see.call("vector_stores.retrieve", NO_STORE, refusable=True)


def unfile_size(see: Trace) -> Traced:
    """Ask for a file that its store does not have."""
    store = see.ended(1).store
    return see.call("vector_stores.files.retrieve", NO_FILE, vector_store_id=store.id, refusable=True)


def unknown_batch(see: Trace, method: str = "retrieve") -> Traced:
    """Ask for a batch that there is not."""
    store = see.ended(1).store
    return see.call(f"{BATCHES}.{method}", NO_BATCH, vector_store_id=store.id, refusable=True)


def wrong_prefix(see: Trace) -> Traced:
    """Ask for a batch by the id of a store."""
    store = see.ended(1).store
    return see.call(f"{BATCHES}.retrieve", store.id, vector_store_id=store.id, refusable=True)


def bad_limit(see: Trace, limit: int = 101, where: str = "batch") -> Traced:
    """Ask for a page longer or shorter than a page can be."""
    return see.page(see.ended(1), where, limit=limit, refusable=True)


def empty_batch(see: Trace) -> Traced:
    """Make a batch of no files."""
    store = see.ended(1).store
    return see.call(f"{BATCHES}.create", store.id, file_ids=[], writes=True, refusable=True)


REFUSALS: dict[str, Callable[[Trace], Traced]] = {
    call.__name__: call
    for call in (unknown_store, unfile_size, unknown_batch, wrong_prefix, bad_limit, empty_batch)
}


def answered(see: Trace, answer: Traced, *statuses: int) -> None:
    """Require a refusal, with one of these statuses."""
    see.require(refused(answer), "the request is to be refused")
    said = " or ".join(map(str, statuses))
    see.require(one_of(answer.status_code, *statuses), f"the request is to be refused with {said}")


@law(
    "error-body",
    "documented",
    REFERENCE,
    what=st.sampled_from(tuple(REFUSALS)),
)
def error_body(see: Trace, what: str) -> None:
    """A refusal's body is {error: {message, type, param, code}}: all four, param and code may be null."""
    answer = REFUSALS[what](see)
    if not value_of(refused(answer)):
        raise NotReached("a request was not refused")
    body = traced("{}.response.json()", lambda answer: answer.response.json(), answer)
    fields = traced("sorted({}['error'])", lambda body: sorted(body["error"]), body)
    see.require(fields == ["code", "message", "param", "type"], "the error is to have exactly four fields")
    for name in ("message", "type"):
        see.require(is_a(body["error"][name], str), f"error.{name} is to be a string")
    for name in ("param", "code"):
        see.require(is_a(body["error"][name], str, NoneType), f"error.{name} is to be a string or null")


@law("unknown-store", "recorded", RECORDINGS)
def unknown_store_404(see: Trace) -> None:
    """A store that is not there is answered with 404."""
    answered(see, unknown_store(see), 404)


@law("unknown-file", "recorded", RECORDINGS)
def unfile_size_404(see: Trace) -> None:
    """A file that its store does not have is answered with 404."""
    answered(see, unfile_size(see), 404)


@law("unknown-batch", "choice", NOBODY, method=ON_A_BATCH)
def unknown_batch_404(see: Trace, method: str) -> None:
    """A batch that is not there is answered with 404."""
    answered(see, unknown_batch(see, method), 404)


@law(
    "another-store",
    "choice",
    NOBODY,
    method=ON_A_BATCH,
)
def another_store(see: Trace, method: str) -> None:
    """A batch is not answered under another store: that is the same as an unknown batch."""
    scene, other = see.ended(1), see.store()
    answer = see.call(
        f"{BATCHES}.{method}", scene.batch.id, vector_store_id=other.id, writes=True, refusable=True
    )
    see.require(refused(answer), "another store's batch is not to be answered")
    see.require(
        answer.status_code == unknown_batch(see, method).status_code, "it is to be as if there were no such batch"
    )


@law(
    "error-texts",
    "recorded",
    RECORDINGS,
)
def error_texts(see: Trace) -> None:
    """The sentences for an unknown store and an unknown file are those that were recorded."""
    store = see.ended(1).store
    for answer, expected in (
        (
            unknown_store(see),
            Traced(
                f"No vector store found with id '{NO_STORE}'.",
                repr(f"No vector store found with id '{NO_STORE}'."),
            ),
        ),
        (
            unfile_size(see),
            traced(
                f"\"No file found with id '{NO_FILE}' in vector store '\" + {{}} + \"'.\"",
                lambda store: f"No file found with id '{NO_FILE}' in vector store '{store}'.",
                store.id,
            ),
        ),
    ):
        if not value_of(refused(answer)):
            raise NotReached("a request was not refused")
        message = traced(
            "{}.response.json()['error']['message']",
            lambda answer: answer.response.json()["error"]["message"],
            answer,
        )
        see.require(message == expected, "the sentence is to be the recorded one")


@law(
    "wrong-prefix",
    "recorded",
    RECORDINGS,
)
def wrong_prefix_400(see: Trace) -> None:
    """The id of a store where that of a batch is wanted is answered with 400."""
    answered(see, wrong_prefix(see), 400)


@law(
    "limit-range",
    "recorded",
    f"{SIBLING}; the range is documented",
    limit=st.sampled_from((0, 101, -1, 1000)),
    where=st.sampled_from(("batch", "store")),
)
def limit_range(see: Trace, limit: int, where: str) -> None:
    """A limit outside of 1 to 100 is answered with 400."""
    answered(see, bad_limit(see, limit, where), 400)


@law(
    "unknown-word",
    "choice",
    f"{NOBODY}; the words are documented",
    name=st.sampled_from(("order", "filter")),
    where=st.sampled_from(("batch", "store")),
)
def unknown_word(see: Trace, name: str, where: str) -> None:
    """An order or filter that is none of the documented words is answered with 400."""
    answered(see, see.page(see.ended(1), where, refusable=True, **{name: "bogus"}), 400)


@law(
    "exactly-one",
    "documented",
    REFERENCE,
    both=st.booleans(),
)
def exactly_one(see: Trace, both: bool) -> None:
    """A batch is made of exactly one of file_ids and files: both, or neither, is refused."""
    file, store = see.probe.files(1)[0], see.ended(1).store
    given = {"file_ids": [file], "files": [{"file_id": file}]} if both else {}
    answer = see.call(f"{BATCHES}.create", store.id, writes=True, refusable=True, **given)
    see.require(refused(answer), "the request is to be refused")
    is_theirs = traced("400 <= {} < 500", lambda status: 400 <= status < 500, answer.status_code)
    see.require(is_theirs, "the refusal is to say that the request is wrong")


@law(
    "empty",
    "choice",
    f"{NOBODY}; that there is at least one file is documented",
)
def empty(see: Trace) -> None:
    """A batch of no files is answered with 400."""
    answered(see, empty_batch(see), 400)


@law(
    "too-many",
    "recorded",
    f"{SIBLING}; the number is documented",
    what=st.sampled_from(("file_ids", "files")),
)
def too_many(see: Trace, what: str) -> None:
    """A batch of 2,001 files is answered with 400."""
    store = see.store()
    ids = [f"file-{i}" for i in range(MOST + 1)]
    if what == "file_ids":
        given = Traced(ids, f'[f"file-{{i}}" for i in range({MOST + 1})]')
    else:
        items = [{"file_id": id} for id in ids]
        given = Traced(items, f'[{{"file_id": f"file-{{i}}"}} for i in range({MOST + 1})]')
    answered(see, see.call(f"{BATCHES}.create", store.id, writes=True, refusable=True, **{what: given}), 400)
