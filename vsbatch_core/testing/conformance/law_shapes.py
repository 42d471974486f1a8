"""Laws of single answers: their fields, their words, and what a request's parameters come to."""

from __future__ import annotations

from types import NoneType
from typing import Any, get_args

from hypothesis import strategies as st

from vsbatch_core.model import ERROR_CODES, FILE_STATUSES, BatchObject
from vsbatch_core.testing.conformance.laws import NOBODY, RECORDINGS, REFERENCE, SIBLING, Laws
from vsbatch_core.testing.conformance.probe import Scene, Trace
from vsbatch_core.testing.conformance.tracing import (
    NotReached,
    Traced,
    either,
    is_a,
    joined,
    length,
    one_of,
    refused,
    same_items,
    traced,
    value_of,
)

LAWS = Laws()
law = LAWS.law

SIZES = st.integers(1, 4)
KINDS = st.sampled_from(("good", "mixed"))
WHERE = st.sampled_from(("batch", "store"))
COUNTS = (*FILE_STATUSES, "total")
BATCH_OBJECTS = get_args(BatchObject)


def typed(see: Trace, value: Traced, what: str, **types: tuple[type, ...]) -> None:
    """Require each field to be there and of one of its types."""
    for name, wanted in types.items():
        names = " or ".join("null" if type_ is NoneType else type_.__name__ for type_ in wanted)
        see.require(is_a(getattr(value, name), *wanted), f"{what}'s {name} is to be: {names}")


def counted(see: Trace, value: Traced, what: str) -> None:
    """Require the five counts, none of them negative."""
    typed(see, value.file_counts, f"{what}'s file_counts", **dict.fromkeys(COUNTS, (int,)))
    for name in COUNTS:
        see.require(
            traced("{} >= 0", lambda n: n >= 0, getattr(value.file_counts, name)), f"{name} is to be 0 or more"
        )


@law(
    "batch-shape",
    "documented",
    REFERENCE,
    n=SIZES,
)
def batch_shape(see: Trace, n: int) -> None:
    """A batch has all documented fields, of the documented types and words."""
    scene = see.ended(n)
    for batch in (scene.batch, scene.latest):
        typed(
            see,
            batch,
            "a batch",
            id=(str,),
            object=(str,),
            created_at=(int,),
            vector_store_id=(str,),
            status=(str,),
        )
        see.require(one_of(batch.status, *FILE_STATUSES), "a batch's status is to be one of the four words")
        see.require(batch.vector_store_id == scene.store.id, "a batch is to name its store")
        see.require(batch.id == scene.batch.id, "a batch is to be answered under its id")
        counted(see, batch, "a batch")


@law(
    "batch-object",
    "documented",
    "the API reference and its OpenAPI document: its enum has vector_store.files_batch, its prose and its "
    "examples have vector_store.file_batch, as all recordings do",
)
def batch_object(see: Trace) -> None:
    """A batch's object is vector_store.files_batch or vector_store.file_batch, always the same of the two."""
    scenes = see.ended(1), see.ended(2)
    word = scenes[0].batch.object
    see.require(one_of(word, *BATCH_OBJECTS), "a batch's object is to be one of the two documented words")
    for scene in scenes:
        for batch in (scene.batch, scene.latest):
            see.require(batch.object == word, "a batch's object is to be the same word in every response")


@law(
    "file-shape",
    "documented",
    REFERENCE,
    n=SIZES,
    kind=KINDS,
    where=WHERE,
)
def file_shape(see: Trace, n: int, kind: str, where: str) -> None:
    """A file in a store has all documented fields, of the documented types and words."""
    scene = see.ended(n, kind)
    page = see.page(scene, where)
    for i in range(len(value_of(page.data))):
        file = page.data[i]
        typed(
            see,
            file,
            "a file",
            id=(str,),
            created_at=(int,),
            usage_bytes=(int,),
            vector_store_id=(str,),
        )
        see.require(file.object == "vector_store.file", "a file's object is to be vector_store.file")
        see.require(one_of(file.status, *FILE_STATUSES), "a file's status is to be one of the four words")
        see.require(file.vector_store_id == scene.store.id, "a file is to name its store")
        see.require(
            either(file.status == "failed", is_a(file.last_error, NoneType)),
            "a file that did not fail is to have no last_error",
        )


@law(
    "last-error",
    "documented",
    REFERENCE,
    kind=st.sampled_from(("bad", "mixed")),
    where=WHERE,
)
def last_error(see: Trace, kind: str, where: str) -> None:
    """A failed file has a last_error with a message and one of the three documented codes."""
    page = see.page(see.ended(1, kind), where)
    failed = [i for i, file in enumerate(value_of(page.data)) if file.status == "failed"]
    if not failed:
        raise NotReached("no file failed")
    for i in failed:
        error = page.data[i].last_error
        see.require(traced("{} is not None", lambda error: error is not None, error), "last_error is to be there")
        see.require(one_of(error.code, *ERROR_CODES), "last_error.code is to be one of the three words")
        see.require(is_a(error.message, str), "last_error.message is to be a sentence")


@law(
    "store-shape",
    "documented",
    REFERENCE,
)
def store_shape(see: Trace) -> None:
    """A store has all documented fields, of the documented types and words."""
    scene = see.ended(1)
    for store in (scene.store, see.call("vector_stores.retrieve", scene.store.id)):
        typed(see, store, "a store", id=(str,), created_at=(int,), usage_bytes=(int,), name=(str,))
        typed(see, store, "a store", last_active_at=(int, NoneType), metadata=(dict, NoneType))
        see.require(store.object == "vector_store", "a store's object is to be vector_store")
        see.require(
            one_of(store.status, "in_progress", "completed", "expired"),
            "a store's status is to be one of three words",
        )
        see.require(store.id == scene.store.id, "a store is to be answered under its id")
        counted(see, store, "a store")


@law(
    "list-shape",
    "documented",
    REFERENCE,
    n=SIZES,
    limit=st.integers(1, 5),
    where=WHERE,
)
def list_shape(see: Trace, n: int, limit: int, where: str) -> None:
    """A list has object list, data, has_more, and as first_id and last_id the ids of its first and last item."""
    page = see.page(see.ended(n), where, limit=limit)
    typed(see, page, "a list", data=(list,), has_more=(bool,))
    see.require(page.object == "list", "a list's object is to be list")
    see.require(page.first_id == page.data[0].id, "first_id is to be the first item's")
    see.require(page.last_id == page.data[-1].id, "last_id is to be the last item's")


@law(
    "empty-page",
    "recorded",
    SIBLING,
    where=WHERE,
)
def empty_page(see: Trace, where: str) -> None:
    """An empty page has null as first_id and last_id, and has_more is false."""
    scene = see.ended(1)
    if where == "store":
        store = see.store()
        scene = Scene(store, scene.batch, [], scene.batch, see)
        page = see.page(scene, where)
    else:
        page = see.page(scene, where, order="asc", after=see.page(scene, where, order="asc").data[-1].id)
    if value_of(page.data):
        raise NotReached("no empty page was found")
    for name in ("first_id", "last_id"):
        see.require(is_a(getattr(page, name), NoneType), f"{name} of an empty page is to be null")
    see.require(page.has_more == False, "has_more of an empty page is to be false")  # noqa: E712 - traced


@law(
    "deleted-shape",
    "documented",
    REFERENCE,
)
def deleted_shape(see: Trace) -> None:
    """A deletion answers the id, deleted true, and the object with .deleted behind it."""
    scene = see.fresh(1)
    store, file = scene.store, scene.files[0]
    for deleted, id, word in (
        (see.call("vector_stores.files.delete", file, vector_store_id=store.id, writes=True), file, ".file"),
        (see.call("vector_stores.delete", store.id, writes=True), store.id, ""),
    ):
        see.require(deleted.id == id, "a deletion is to answer the id")
        see.require(deleted.object == f"vector_store{word}.deleted", "a deletion is to say what was deleted")
        see.require(deleted.deleted == True, "a deletion is to answer deleted true")  # noqa: E712 - traced


@law("ids", "recorded", RECORDINGS)
def id_prefixes(see: Trace) -> None:
    """Ids of stores begin with vs_, those of batches with vsfb_."""
    scene = see.ended(1)
    for value, prefix in ((scene.store, "vs_"), (scene.batch, "vsfb_")):
        starts = traced("{}.startswith({})", str.startswith, value.id, prefix)
        see.require(starts, f"the id is to begin with {prefix}")


@law(
    "success-200",
    "recorded",
    RECORDINGS,
    what=st.sampled_from(("create", "retrieve", "list_files", "cancel")),
)
def success_200(see: Trace, what: str) -> None:
    """Every success is HTTP 200."""
    scene = see.ended(1)
    path = f"vector_stores.file_batches.with_raw_response.{what}"
    if what == "create":
        store = see.store()
        response = see.call(path, store.id, file_ids=scene.files, writes=True)
    else:
        response = see.call(path, scene.batch.id, vector_store_id=scene.store.id)
    see.require(response.status_code == 200, "the status is to be 200")


@law(
    "file-ids",
    "documented",
    REFERENCE,
    n=SIZES,
    number=st.integers(0, 9),
)
def file_ids(see: Trace, n: int, number: int) -> None:
    """With file_ids the request's attributes apply to every file."""
    files, store = see.probe.files(n), see.store()
    attributes = {"number": number, "word": "a", "yes": True}
    batch = see.create(store, file_ids=files, attributes=attributes)
    _attributes(see, Scene(store, batch, files, batch, see), [attributes] * n)


@law(
    "files",
    "documented",
    REFERENCE,
    n=SIZES,
    shared=st.booleans(),
)
def files_parameter(see: Trace, n: int, shared: bool) -> None:
    """With files each file has the attributes that were given for it, and the request's own are ignored."""
    files, store = see.probe.files(n), see.store()
    each = [{"number": i} for i in range(n)]
    more: dict[str, Any] = {"attributes": {"number": 99}} if shared else {}
    items = [{"file_id": file, "attributes": own} for file, own in zip(files, each, strict=True)]
    batch = see.create(store, files=items, **more)
    _attributes(see, Scene(store, batch, files, batch, see), each)


def _attributes(see: Trace, scene: Scene, wanted: list[dict[str, Any]]) -> None:
    see.require(scene.batch.file_counts.total == len(wanted), "the batch is to have the files that were given")
    see.settle(scene.store, scene.batch)
    page = see.page(scene, "batch", limit=100)
    found = traced(
        "sorted((x.id, x.attributes) for x in {}.data)",
        lambda page: sorted(((x.id, x.attributes) for x in page.data), key=lambda pair: str(pair[0])),
        page,
    )
    pairs = sorted(zip(map(value_of, scene.files), wanted, strict=True), key=lambda pair: str(pair[0]))
    see.require(
        traced(
            "{} == sorted(zip({}, {}))",
            lambda found, _files, _wanted: found == pairs,
            found,
            scene.files,
            wanted,
        ),
        "the files are to be those of the request, with their attributes",
    )


@law(
    "chunking",
    "documented",
    REFERENCE,
    sizes=st.sampled_from((None, (800, 400), (100, 0), (100, 50), (4096, 2048), (777, 388))),
)
def chunking(see: Trace, sizes: tuple[int, int] | None) -> None:
    """A file answers with its static chunking strategy; auto as static 800/400."""
    files, store = see.probe.files(1), see.store()
    size, overlap = sizes or (800, 400)
    static = {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}
    given = {"type": "auto"} if sizes is None else {"type": "static", "static": static}
    batch = see.create(store, file_ids=files, chunking_strategy=given)
    see.settle(store, batch)
    file = see.page(Scene(store, batch, files, batch, see), "batch").data[0]
    strategy = file.chunking_strategy
    see.require(strategy.type == "static", "a file's chunking strategy is to be static")
    see.require(strategy.static.max_chunk_size_tokens == size, f"max_chunk_size_tokens is to be {size}")
    see.require(strategy.static.chunk_overlap_tokens == overlap, f"chunk_overlap_tokens is to be {overlap}")


@law(
    "duplicates-walk",
    "documented",
    REFERENCE,
    n=st.integers(1, 3),
    limit=st.integers(1, 3),
)
def duplicates_walk(see: Trace, n: int, limit: int) -> None:
    """The list of a batch that was asked for with duplicates comes to an end, and shows no file twice."""
    files, store = see.probe.files(n), see.store()
    batch = see.create(store, refusable=True, file_ids=[*files, files[0]])
    if value_of(refused(batch)) and value_of(batch.status_code) == 400:
        raise NotReached("a request with duplicates was refused")
    see.require(refused(batch) == Traced(False, "False"), "duplicates are to be taken, or refused with 400")
    see.settle(store, batch)
    scene = Scene(store, batch, files, batch, see)
    pages = [see.page(scene, "batch", limit=limit)]
    while value_of(pages[-1].data):
        seen = joined(pages)
        see.require(length(traced("set({})", set, seen)) == length(seen), "the walk is to show no file twice")
        pages.append(see.page(scene, "batch", limit=limit, after=pages[-1].data[-1].id))
    see.require(same_items(joined(pages), files), "the walk is to show each file")


@law(
    "duplicates",
    "choice",
    NOBODY,
    n=st.integers(1, 3),
)
def duplicates(see: Trace, n: int) -> None:
    """Of duplicates in one request the first wins, and total counts distinct files."""
    files, store = see.probe.files(n), see.store()
    items = [{"file_id": file, "attributes": {"number": i}} for i, file in enumerate([*files, files[0]])]
    batch = see.create(store, files=items)
    see.require(batch.file_counts.total == n, "total is to count distinct files")
    see.settle(store, batch)
    page = see.page(Scene(store, batch, files, batch, see), "batch", order="asc", limit=100)
    first = traced(
        "[x.attributes for x in {}.data if x.id == {}]",
        lambda page, first: [x.attributes for x in page.data if x.id == first],
        page,
        files[0],
    )
    see.require(first == [{"number": 0}], "the first of the duplicates is to win, alone")
