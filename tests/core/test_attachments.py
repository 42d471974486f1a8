"""Results of processing: of the attachment that they are about, and of many files in one step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import Engine, FileCounts, LastError, Profile, events
from vsbatch_core.errors import (
    ArrayTooShort,
    FilesRefused,
    IntegerTooLarge,
    IntegerTooSmall,
    InvalidType,
    NotAttached,
    ReplayError,
    StaleAttachment,
    StringTooShort,
    VectorStoreNotFound,
)

from ..helpers.brief import examples
from ..helpers.strategies import STORES, Command, filled, histories, in_json, new_engine


def delivered(engine: Engine) -> list[events.Event]:
    found: list[events.Event] = []
    engine.subscribe(found.append)
    return found


def of_store(n: int = 6) -> Engine:
    """A store with a batch of ``file-0`` and following."""
    engine = new_engine()
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i}" for i in range(n)])
    return engine


# Attachments


@given(histories)
@settings(max_examples=examples(60))
def test_every_file_in_progress_is_handed_out_with_the_number_that_finishes_it(history: list[Command]) -> None:
    engine, _, _ = filled(history)
    for file in engine.processing.pending(limit=1000):
        assert file.attachment is not None
        ended = engine.processing.complete(file.vector_store_id, file.id, attachment=file.attachment)
        assert (ended.status, ended.attachment) == ("completed", file.attachment)
    assert engine.processing.pending() == []
    engine.check()


@pytest.mark.parametrize("gone", [False, True], ids=["attached again", "deleted"])
@pytest.mark.parametrize("finish", ["complete", "fail"])
def test_a_result_of_a_past_attachment_is_refused_and_changes_nothing(finish: str, gone: bool) -> None:
    engine = of_store()
    (old,) = [file for file in engine.processing.pending() if file.id == "file-3"]
    engine.vector_stores.files.delete("file-3", vector_store_id="vs_1")
    if not gone:
        engine.vector_stores.files.create("vs_1", file_id="file-3")
    before, found = engine.snapshot(), delivered(engine)
    with pytest.raises(StaleAttachment):
        getattr(engine.processing, finish)("vs_1", "file-3", attachment=old.attachment)
    with pytest.raises(FilesRefused) as caught:
        getattr(engine.processing, f"{finish}_many")(
            "vs_1", ["file-2", "file-3"], attachments=[2, old.attachment]
        )
    assert list(caught.value.refused) == ["file-3"]
    assert engine.snapshot() == before
    assert found == []
    if not gone:  # without a number the id means the present attachment
        assert getattr(engine.processing, finish)("vs_1", "file-3").attachment == 6


@pytest.mark.parametrize("attachment", [-1, 5, 99, True, "3", 3.0])
def test_a_number_of_another_file_or_of_none_is_refused(attachment: Any) -> None:
    with pytest.raises(StaleAttachment):
        of_store().processing.complete("vs_1", "file-3", attachment=attachment)


def test_a_file_that_was_never_attached_has_no_attachment_to_be_stale() -> None:
    with pytest.raises(StaleAttachment, match="the file is not attached now"):
        of_store().processing.complete("vs_1", "file-z", attachment=0)
    with pytest.raises(NotAttached):
        of_store().processing.complete("vs_1", "file-z")


def test_a_number_is_never_used_again() -> None:
    engine = of_store(1)
    seen = [0]
    for _ in range(5):
        engine.vector_stores.files.delete("file-0", vector_store_id="vs_1")
        seen.append(engine.vector_stores.files.create("vs_1", file_id="file-0").attachment or 0)
    assert seen == [0, 1, 2, 3, 4, 5]


# Many at once


@given(histories, st.data())
@settings(max_examples=examples(100))
def test_many_in_one_step_leave_what_one_by_one_leave(history: list[Command], data: st.DataObject) -> None:
    profile = data.draw(st.sampled_from((Profile(), Profile(cancel="drain"), Profile(all_failed="completed"))))
    many, _, _ = filled(history, profile)
    single, _, _ = filled(history, profile)
    for store in STORES:
        ids = [file.id for file in many.processing.pending(limit=1000) if file.vector_store_id == store]
        chosen = data.draw(st.permutations(ids))[: data.draw(st.integers(0, len(ids)))]
        if not chosen:
            continue
        sizes = data.draw(st.lists(st.integers(0, 99), min_size=len(chosen), max_size=len(chosen)))
        if data.draw(st.booleans()):
            many.processing.complete_many(store, chosen, usage_bytes=sizes)
            for file_id, size in zip(chosen, sizes, strict=True):
                single.processing.complete(store, file_id, usage_bytes=size)
        else:
            many.processing.fail_many(store, chosen, code="invalid_file")
            for file_id in chosen:
                single.processing.fail(store, file_id, code="invalid_file")
        many.check()
    assert without_versions(many.snapshot()) == without_versions(single.snapshot())


def test_many_that_no_batch_of_several_and_no_batch_at_all_lists_are_counted_where_they_are() -> None:
    engine = new_engine()
    stores = engine.vector_stores
    stores.create(file_ids=["file-0"])  # before every batch
    stores.file_batches.create("vs_1", file_ids=["file-1", "file-2"])
    stores.files.create("vs_1", file_id="file-3")  # between two
    stores.file_batches.create("vs_1", file_ids=["file-4", "file-5"])
    stores.files.create("vs_1", file_id="file-6")  # after all
    engine.processing.complete_many("vs_1", ["file-6", "file-3", "file-1", "file-0", "file-4"], usage_bytes=2)
    engine.check()
    engine.processing.fail_many("vs_1", ["file-2"])
    engine.check()
    counts = [stores.file_batches.retrieve(id, vector_store_id="vs_1").file_counts for id in ("vsfb_1", "vsfb_2")]
    assert counts == [FileCounts(completed=1, failed=1), FileCounts(completed=1, in_progress=1)]
    assert stores.retrieve("vs_1").file_counts == FileCounts(completed=5, failed=1, in_progress=1)
    assert stores.retrieve("vs_1").usage_bytes == 10


def without_versions(snapshot: dict[str, Any]) -> dict[str, Any]:
    for store in snapshot["vector_stores"]:
        store.pop("version", None)
    return snapshot


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 0, 3], [2]], ids=str)
def test_one_event_names_them_all_in_the_order_given(order: list[int]) -> None:
    engine = of_store()
    found = delivered(engine)
    ids = [f"file-{i}" for i in order]
    assert engine.processing.complete_many("vs_1", ids, usage_bytes=4) is None
    (event,) = found
    assert isinstance(event, events.FilesCompleted)
    assert (event.file_ids, event.attachments) == (tuple(ids), tuple(order))
    assert event.usage_bytes_each == (4,) * len(order)
    assert engine.vector_stores.retrieve("vs_1").usage_bytes == 4 * len(order)


def test_files_that_fail_together_in_a_fresh_store_have_each_the_same_error() -> None:
    engine = of_store()
    engine.processing.fail_many("vs_1", [f"file-{i}" for i in range(1, 5)], code="invalid_file", message="bad")
    files = list(engine.vector_stores.files.list("vs_1", order="asc"))
    error = LastError("invalid_file", "bad")
    assert [file.last_error for file in files] == [None, error, error, error, error, None]
    assert [file.status for file in files] == ["in_progress", *["failed"] * 4, "in_progress"]
    engine.check()


@pytest.mark.parametrize("apart", [1, 7, 100, 600])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_few_results_are_found_among_many_files_however_far_they_lie_apart(apart: int, order: Any) -> None:
    engine = of_store(2000)
    files = engine.vector_stores.files
    assert len(list(files.list("vs_1", limit=100))) == 2000  # which keeps a value of each
    done = [f"file-{i}" for i in range(0, 2000, apart)]
    engine.processing.complete_many("vs_1", done)
    expected = done if order == "asc" else done[::-1]
    for limit in (1, 2, 3, 50):
        page = files.list("vs_1", limit=limit, order=order, filter="completed")
        assert [file.id for file in page.data] == expected[:limit]
        assert page.has_more is (len(done) > limit)
    assert [file.id for file in files.list("vs_1", limit=2, order=order, filter="completed")] == expected


def test_no_files_are_no_step() -> None:
    engine = of_store()
    before, found = engine.snapshot(), delivered(engine)
    engine.processing.complete_many("vs_1", [])
    engine.processing.fail_many("vs_1", (), attachments=[])
    assert (engine.snapshot(), found) == (before, [])


def test_all_offenders_are_named_with_their_reasons_and_nothing_changes() -> None:
    engine = of_store(30)
    engine.processing.complete("vs_1", "file-1")
    engine.vector_stores.files.delete("file-2", vector_store_id="vs_1")
    before, found = engine.snapshot(), delivered(engine)
    with pytest.raises(FilesRefused) as caught:
        engine.processing.fail_many("vs_1", ["file-0", "file-1", "file-2", "file-x", "file-3", "file-3"])
    assert caught.value.refused == {
        "file-1": "'completed' already",
        "file-2": "not attached",
        "file-x": "not attached",
        "file-3": "named twice",
    }
    with pytest.raises(FilesRefused, match="; and 10 more") as caught:
        engine.processing.complete_many("vs_1", [f"none-{i}" for i in range(20)])
    assert len(caught.value.refused) == 20
    assert (engine.snapshot(), found) == (before, [])


@pytest.mark.parametrize(
    ("error", "given"),
    [
        (InvalidType, {"file_ids": "file-0"}),
        (InvalidType, {"file_ids": ["file-0", 1]}),
        (StringTooShort, {"file_ids": [""]}),
        (ArrayTooShort, {"attachments": []}),
        (InvalidType, {"attachments": ["0"]}),
        (IntegerTooSmall, {"attachments": [-1]}),
        (ArrayTooShort, {"usage_bytes": []}),
        (IntegerTooSmall, {"usage_bytes": [-1]}),
        (IntegerTooLarge, {"usage_bytes": 2**63}),
        (InvalidType, {"usage_bytes": [True]}),
        (VectorStoreNotFound, {"vector_store_id": "vs_9"}),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused(error: type[Exception], given: dict[str, Any]) -> None:
    with pytest.raises(error):
        of_store().processing.complete_many(**{"vector_store_id": "vs_1", "file_ids": ["file-0"], **given})


# Numbers


@given(histories, st.data())
@settings(max_examples=examples(100))
def test_a_follower_notices_a_missing_doubled_or_moved_event(history: list[Command], data: st.DataObject) -> None:
    _, journal, _ = filled(history)
    if not journal:
        return
    i = data.draw(st.integers(0, len(journal) - 1))
    later = [event for event in journal[i + 1 :] if follows(journal[i], event)]
    doubled = [*journal[: i + 1], *journal[i:]]
    refused(doubled, None)
    if later:
        refused([*journal[:i], *journal[i + 1 :]], None)
        j = journal.index(later[0])
        refused([*journal[:i], *journal[i + 1 : j + 1], journal[i], *journal[j + 1 :]], None)


def follows(event: events.Event, other: events.Event) -> bool:
    """Whether the other event is numbered after this one: both of one store, or both of the list of stores."""
    both = all(isinstance(e, (events.VectorStoreCreated, events.VectorStoreDeleted)) for e in (event, other))
    return both or event.vector_store_id == other.vector_store_id


def refused(journal: list[events.Event], match: str | None) -> None:
    engine = new_engine()
    with pytest.raises(ReplayError, match=match):
        engine.replay(journal)
    engine.check()


@given(histories)
@settings(max_examples=examples(60))
def test_versions_count_the_events_of_each_store_and_of_the_list(history: list[Command]) -> None:
    engine, journal, _ = filled(history)
    of_list = [
        event for event in journal if isinstance(event, events.VectorStoreCreated | events.VectorStoreDeleted)
    ]
    assert [event.stores_version for event in of_list] == list(range(1, len(of_list) + 1))
    assert engine.version() == len(of_list)
    for store in STORES:
        versions = [event.version for event in journal if event.vector_store_id == store]
        assert versions == list(range(1, len(versions) + 1))
        if store in {each.id for each in engine.vector_stores.list(limit=100)}:
            assert engine.version(store) == len(versions)
    with pytest.raises(VectorStoreNotFound):
        engine.version("vs_none")


def test_an_event_says_how_many_are_missing_before_it() -> None:
    engine = of_store()
    found = delivered(engine)
    for i in range(4):
        engine.processing.complete("vs_1", f"file-{i}")
    follower = Engine.restore(of_store().snapshot())
    with pytest.raises(ReplayError, match="event 6 does not follow event 2: 3 in between are missing"):
        follower.replay([found[3]])
    follower.replay(found)
    assert in_json(follower.snapshot()) == in_json(engine.snapshot())


@given(st.permutations(range(6)), st.integers(0, 6))
def test_ids_of_attachments_are_theirs_in_whatever_order_they_are_named(numbers: list[int], n: int) -> None:
    assert of_store().view.file_ids("vs_1", numbers[:n]) == [f"file-{i}" for i in numbers[:n]]
