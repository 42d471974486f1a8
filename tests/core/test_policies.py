"""The policies of a profile: what each word changes, and that nothing else changes with it.

That the engine does what the oracle does under every drawn profile is said in ``tests/oracle``; here stand the
laws that the oracle could break as well, and what is too large for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import (
    Engine,
    Limits,
    Page,
    Profile,
    RequestError,
    SequentialIds,
    VectorStoreFile,
    VirtualClock,
    errors,
    profiles,
)
from vsbatch_core.columns import SIZE
from vsbatch_core.errors import ReplayError, SnapshotError
from vsbatch_core.model import FILE_STATUSES, ORDERS, policies
from vsbatch_core.rows import KEPT_ORDERS
from vsbatch_core.testing.calls import call

from ..helpers.brief import examples
from ..helpers.strategies import (
    START,
    engine_with,
    filled,
    histories,
    new_engine,
    populated,
    run,
)

FILE_IDS = ("file-c", "file-a", "file-d", "file-b")
WORDS = policies()


def refused(engine: Engine, error: type[RequestError], path: str, *args: Any, **kwargs: Any) -> RequestError:
    """The error of a call that is refused with 400 and changes nothing."""
    before, told = engine.snapshot(), []
    unsubscribe = engine.subscribe(told.append)
    with pytest.raises(error) as caught:
        call(path, *args, **kwargs).on(engine)
    unsubscribe()
    assert caught.value.status == 400
    assert engine.snapshot() == before
    assert not told
    engine.check()
    return caught.value


# The words


@pytest.mark.parametrize(("key", "word"), [(key, word) for key, words in WORDS.items() for word in words])
def test_a_profile_keeps_each_word_of_each_key_and_a_snapshot_brings_it_back(key: str, word: str) -> None:
    profile = Profile(**{key: word})
    assert getattr(profile, key) == word
    assert Engine.restore(new_engine(profile).snapshot()).profile == profile


@pytest.mark.parametrize("key", WORDS)
@pytest.mark.parametrize("word", ["", "other", None, 7])
def test_a_word_that_a_key_has_not_is_refused_and_the_message_names_those_that_it_has(
    key: str, word: Any
) -> None:
    with pytest.raises(ValueError, match=f"Profile\\({key}={word!r}\\): give one of ") as caught:
        Profile(**{key: word})
    assert all(repr(each) in str(caught.value) for each in WORDS[key])
    snapshot = new_engine().snapshot()
    snapshot["profile"][key] = word
    with pytest.raises(SnapshotError, match=key):
        Engine.restore(snapshot)


@pytest.mark.parametrize("limits", [None, {}, 7, {"page": 7}, Profile()], ids=repr)
def test_limits_that_are_none_are_refused(limits: Any) -> None:
    with pytest.raises(TypeError, match=r"^Profile\(limits=.*\): give Limits"):
        Profile(limits=limits)


def test_a_snapshot_of_before_a_policy_was_is_read_with_its_default() -> None:
    snapshot = populated(Profile(all_failed="completed")).snapshot()
    for key in WORDS.keys() - {"batch_object", "all_failed", "cancel_finished", "cancel"}:
        del snapshot["profile"][key]
    assert Engine.restore(snapshot).profile == Profile(all_failed="completed")


def test_a_snapshot_with_a_policy_that_is_unknown_is_refused_by_its_name() -> None:
    snapshot = new_engine().snapshot()
    snapshot["profile"]["tees"] = "by_id"
    with pytest.raises(SnapshotError, match=r"profile\.tees") as caught:
        Engine.restore(snapshot)
    assert caught.value.param == "profile.tees"


def test_the_named_profiles_differ_and_each_is_under_its_name() -> None:
    assert profiles.BY_NAME["default"] == Profile()
    assert len(set(profiles.BY_NAME.values())) == len(profiles.BY_NAME)
    constants = [value for name, value in vars(profiles).items() if isinstance(value, Profile)]
    assert set(constants) == set(profiles.BY_NAME.values()) - {Profile()}


# Duplicates


@given(st.lists(st.sampled_from(FILE_IDS), min_size=1, max_size=6))
def test_a_request_is_refused_at_the_first_index_that_names_a_file_again_and_else_does_what_the_default_does(
    file_ids: list[str],
) -> None:
    requests: list[tuple[str, str, tuple[str, ...], dict[str, Any]]] = [
        ("vector_stores.create", "file_ids", (), {"file_ids": file_ids}),
        ("vector_stores.file_batches.create", "file_ids", ("vs_1",), {"file_ids": file_ids}),
        (
            "vector_stores.file_batches.create",
            "files",
            ("vs_1",),
            {"files": [{"file_id": file_id, "attributes": {"i": i}} for i, file_id in enumerate(file_ids)]},
        ),
    ]
    again = next((i for i, file_id in enumerate(file_ids) if file_id in file_ids[:i]), None)
    for path, param, args, kwargs in requests:
        engine, usual = new_engine(Profile(duplicates="refuse")), new_engine()
        for each in (engine, usual):
            each.vector_stores.create()
        if again is None:
            assert call(path, *args, **kwargs).on(engine) == call(path, *args, **kwargs).on(usual)
        else:
            error = refused(engine, errors.DuplicateFile, path, *args, **kwargs)
            assert error.param == f"{param}[{again}]"
            assert repr(file_ids[again]) in error.message


# A file that is attached already


@given(histories, st.sampled_from(("reuse", "refuse")))
@settings(max_examples=examples(40))
def test_where_no_attachment_is_replaced_one_is_cancelled_by_a_cancel_or_a_deletion_alone(
    history: list[Any], reattach: Any
) -> None:
    engine = new_engine(Profile(reattach=reattach))
    held: dict[tuple[str, str], VectorStoreFile] = {}
    for command in history:
        run(engine, command)
        now = {
            (s.id, f.id): f for s in engine.vector_stores.list() for f in engine.vector_stores.files.list(s.id)
        }
        for key, file in held.items():
            if key in now and not command.path.endswith(("cancel", "delete")):
                assert now[key].attachment == file.attachment
                assert now[key].status == file.status or command.path.startswith("processing.")
        held = now
    engine.check()


def test_attaching_a_file_that_stays_returns_it_unchanged_and_nothing_happens() -> None:
    for status in FILE_STATUSES[:3]:
        engine = engine_with("file-a", profile=Profile(reattach="reuse"))
        if status == "completed":
            engine.processing.complete("vs_1", "file-a", usage_bytes=3)
        elif status == "failed":
            engine.processing.fail("vs_1", "file-a")
        engine.clock.advance(5)  # type: ignore[attr-defined]  # a VirtualClock
        before = engine.snapshot()
        file = engine.vector_stores.files.create("vs_1", file_id="file-a", attributes={"k": "v"})
        assert file == engine.vector_stores.files.retrieve("file-a", vector_store_id="vs_1")
        assert (file.status, file.attributes, file.created_at) == (status, {}, int(START))
        assert engine.snapshot() == before


@pytest.mark.parametrize("shared", [True, False], ids=["shared attributes", "attributes each"])
def test_a_batch_lists_and_counts_those_files_alone_that_it_attached_each_with_its_own_attributes(
    shared: bool,
) -> None:
    engine = engine_with("file-b", "file-d", profile=Profile(reattach="reuse"))
    asked = ["file-a", "file-b", "file-c", "file-d", "file-e"]
    if shared:
        kwargs: dict[str, Any] = {"file_ids": asked, "attributes": {"k": "v"}}
    else:
        kwargs = {"files": [{"file_id": file_id, "attributes": {"k": file_id}} for file_id in asked]}
    batch = engine.vector_stores.file_batches.create("vs_1", **kwargs)
    page = engine.vector_stores.file_batches.list_files(batch.id, vector_store_id="vs_1", order="asc")
    assert [(file.id, file.attributes["k"]) for file in page] == [
        (file_id, "v" if shared else file_id) for file_id in ("file-a", "file-c", "file-e")
    ]
    assert batch.file_counts.total == batch.file_counts.in_progress == 3
    assert engine.vector_stores.retrieve("vs_1").file_counts.total == 5
    first = engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")
    assert first.file_counts.in_progress == 2


def test_a_batch_that_attached_no_file_is_completed_stays_so_and_moves_no_other_batch() -> None:
    told: list[Any] = []
    engine = new_engine(profile=Profile(reattach="reuse"))
    engine.subscribe(told.append)
    batches = engine.vector_stores.file_batches
    engine.vector_stores.create(file_ids=["file-a"])
    before = batches.create("vs_1", file_ids=["file-b"])
    empty = batches.create("vs_1", file_ids=["file-a", "file-b"])
    another = batches.create("vs_1", files=[{"file_id": "file-a"}])
    after = batches.create("vs_1", file_ids=["file-c", "file-a"])
    for batch in (empty, another):
        assert (batch.status, batch.file_counts.total) == ("completed", 0)
        assert batches.cancel(batch.id, vector_store_id="vs_1") == batch
        for order in ORDERS:
            page = batches.list_files(batch.id, vector_store_id="vs_1", order=order)
            assert (page.data, page.has_more) == ((), False)
    engine.processing.complete("vs_1", "file-b", usage_bytes=1)
    engine.processing.fail("vs_1", "file-c")
    follower = new_engine(engine.profile)
    follower.replay(told)
    for each in (engine, follower, Engine.restore(engine.snapshot())):
        each.check()
        assert each.snapshot() == engine.snapshot()
        found = [each.vector_stores.file_batches.retrieve(b.id, vector_store_id="vs_1") for b in (before, after)]
        assert [(b.status, b.file_counts.total) for b in found] == [("completed", 1), ("failed", 1)]


def test_an_empty_batch_outlives_a_profile_under_which_none_is_made() -> None:
    engine = engine_with("file-a", profile=Profile(reattach="reuse"))
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a"])
    replacing = Engine.restore(
        engine.snapshot(), profile=Profile(), clock=VirtualClock(START), ids=SequentialIds()
    )
    again = Engine.restore(replacing.snapshot())
    again.check()
    assert again.vector_stores.file_batches.retrieve("vsfb_2", vector_store_id="vs_1").status == "completed"


def test_a_file_that_left_is_no_longer_attached_and_is_attached_anew_under_any_policy() -> None:
    for reattach in WORDS["reattach"]:
        engine = engine_with("file-a", profile=Profile(reattach=reattach))
        engine.vector_stores.files.delete("file-a", vector_store_id="vs_1")
        file = engine.vector_stores.files.create("vs_1", file_id="file-a")
        assert (file.status, file.attachment) == ("in_progress", 1)


@pytest.mark.parametrize(
    ("path", "param", "kwargs"),
    [
        ("vector_stores.files.create", "file_id", {"file_id": "file-a"}),
        ("vector_stores.file_batches.create", "file_ids", {"file_ids": ["file-n", "file-a"]}),
        ("vector_stores.file_batches.create", "files", {"files": [{"file_id": "file-n"}, {"file_id": "file-a"}]}),
    ],
)
def test_a_file_that_is_attached_is_refused_with_its_id_and_a_new_one_is_not(
    path: str, param: str, kwargs: dict[str, Any]
) -> None:
    engine = engine_with("file-a", profile=Profile(reattach="refuse"))
    error = refused(engine, errors.AlreadyAttached, path, "vs_1", **kwargs)
    assert error.param == param
    assert "'file-a'" in error.message
    assert engine.vector_stores.files.create("vs_1", file_id="file-n").status == "in_progress"


@pytest.mark.parametrize("reattach", ["reuse", "refuse"])
@pytest.mark.parametrize(
    "again",
    [
        call("vector_stores.files.create", "vs_1", file_id="file-a"),
        call("vector_stores.file_batches.create", "vs_1", file_ids=["file-a"]),
    ],
    ids=["one", "a batch"],
)
def test_an_event_that_replaces_an_attachment_is_not_replayed_where_no_command_does_so(
    again: Any, reattach: Any
) -> None:
    told: list[Any] = []
    engine = new_engine()
    engine.subscribe(told.append)
    follower = new_engine(Profile(reattach=reattach))
    engine.vector_stores.create(file_ids=["file-a"])
    again.on(engine)
    follower.replay(told[0:1])
    before = follower.snapshot()
    with pytest.raises(ReplayError, match="'file-a' is attached to vector store 'vs_1' already"):
        follower.replay(told[1:2])
    assert follower.snapshot() == before


# Cursors


LISTS: dict[str, tuple[str, tuple[str, ...], dict[str, str], str, str]] = {
    "stores": ("vector_stores.list", (), {}, "vs_2", "vs_4"),
    "files": ("vector_stores.files.list", ("vs_1",), {}, "file-b", "file-d"),
    "a batch's files": (
        "vector_stores.file_batches.list_files",
        ("vsfb_1",),
        {"vector_store_id": "vs_1"},
        "file-b",
        "file-d",
    ),
}
"""By list, how it is asked for in ``populated()``, an id that is in it, and one that was deleted."""
each_list = pytest.mark.parametrize("where", LISTS)


def page(engine: Engine, where: str, **query: Any) -> Page[Any]:
    path, args, kwargs, *_ = LISTS[where]
    found: Page[Any] = call(path, *args, **kwargs, **query).on(engine)
    return found


@each_list
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cursor", ["after", "before"])
def test_an_unknown_cursor_is_as_if_it_was_not_given(where: str, order: str, cursor: str) -> None:
    engine = populated(Profile(unknown_cursor="first_page"))
    known = LISTS[where][3]
    other = {"after": "before", "before": "after"}[cursor]
    nowhere = known[:3] + "nowhere"
    for query in ({}, {"limit": 1}, {other: known}, {other: nowhere}):
        expected = page(engine, where, order=order, **{k: v for k, v in query.items() if v != nowhere})
        assert page(engine, where, order=order, **query, **{cursor: nowhere}) == expected


@pytest.mark.parametrize("where", ["stores", "files"])
@pytest.mark.parametrize("cursor", ["after", "before"])
@pytest.mark.parametrize("unknown", WORDS["unknown_cursor"])
def test_a_deleted_cursor_is_refused_by_its_name_whatever_becomes_of_unknown_ones(
    where: str, cursor: str, unknown: Any
) -> None:
    path, args, kwargs, _, gone = LISTS[where]
    engine = populated(Profile(deleted_cursor="refuse", unknown_cursor=unknown))
    error = refused(engine, errors.DeletedCursor, path, *args, **kwargs, **{cursor: gone})
    assert error.param == cursor
    assert repr(gone) in error.message


def test_the_id_of_a_deleted_file_stays_a_cursor_of_its_batch_which_lists_it_still() -> None:
    engine, usual = populated(Profile(deleted_cursor="refuse")), populated()
    for order, cursor in product(ORDERS, ("after", "before")):
        query: dict[str, Any] = {"order": order, cursor: "file-d"}
        assert page(engine, "a batch's files", **query) == page(usual, "a batch's files", **query)


@each_list
@pytest.mark.parametrize("order", ORDERS)
def test_of_both_cursors_after_alone_counts_even_if_before_is_unknown(where: str, order: str) -> None:
    engine = populated(Profile(both_cursors="after"))
    known = LISTS[where][3]
    for before in (known, known[:3] + "nowhere"):
        assert page(engine, where, order=order, after=known, before=before) == page(
            engine, where, order=order, after=known
        )
    assert page(engine, where, order=order, before=known) == page(populated(), where, order=order, before=known)


@each_list
def test_both_cursors_are_refused_together_and_each_alone_is_not(where: str) -> None:
    path, args, kwargs, known, _ = LISTS[where]
    engine = populated(Profile(both_cursors="refuse"))
    error = refused(engine, errors.MutuallyExclusive, path, *args, **kwargs, after=known, before=known)
    assert "'after'" in error.message
    assert "'before'" in error.message
    for cursor in ("after", "before"):
        assert page(engine, where, **{cursor: known}) == page(populated(), where, **{cursor: known})


# Ties


def large(ties: Any, sizes: list[tuple[int, int]], deleted: range) -> Engine:
    """An engine with a store of some files, and of batches: of how many files each, how many seconds later.

    The files with the numbers ``deleted`` left; of those that no batch lists three are remembered.
    """
    profile = Profile(ties=ties, limits=Limits(batch_files=10 * SIZE, store_files=10 * SIZE, departed=3))
    clock = VirtualClock(START)
    engine = Engine(clock=clock, ids=SequentialIds(), profile=profile)
    ids: list[str] = []
    for size, seconds in sizes:
        clock.advance(seconds)
        # 7919 has no divisor in common with 100,003: the ids come in no order at all, and none comes twice.
        new = [f"file-{i * 7919 % 100_003:06}" for i in range(len(ids), len(ids) + size)]
        if not ids:
            engine.vector_stores.create(file_ids=new)
        else:
            engine.vector_stores.file_batches.create("vs_1", file_ids=new)
        ids += new
    for number in deleted:
        engine.vector_stores.files.delete(ids[number], vector_store_id="vs_1")
    left = [file_id for i, file_id in enumerate(ids) if i not in deleted]
    engine.processing.complete_many("vs_1", [file_id for i, file_id in enumerate(left) if i % 3])
    return engine


def files_of(engine: Engine) -> list[VectorStoreFile]:
    """The files that are attached, oldest first."""
    numbers = range(engine.view.next_attachment("vs_1"))
    files = [engine.view.file("vs_1", number) for number in numbers]
    here = {file.id: file for file in files if file is not None and file.status != "cancelled"}
    return list(here.values())


def in_order(files: list[VectorStoreFile], order: str, ties: str) -> list[VectorStoreFile]:
    """Files, oldest first, in the order of a list."""
    if ties == "by_id":
        files = sorted(files, key=lambda file: (file.created_at, file.id))
    if order == "desc" and ties == "same_both_ways":
        return sorted(files, key=lambda file: -file.created_at)
    return files[::-1] if order == "desc" else files


def queries(ids: list[str]) -> Iterator[dict[str, str]]:
    """No cursor, some cursors, and pairs of them."""
    some = [*ids[:: max(len(ids) // 9, 1)], *ids[-1:]]
    yield {}
    for at, cursor in enumerate(some):
        yield {"after": cursor}
        yield {"before": cursor}
        yield {"after": cursor, "before": some[at * 7 % len(some)]}


def expected_page(line: list[VectorStoreFile], limit: int, query: dict[str, str]) -> tuple[list[str], bool]:
    """The ids on a page of files in the order of their list, and ``has_more``."""
    ids = [file.id for file in line]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    stop = ids.index(query["before"]) if "before" in query else len(ids)
    part = ids[start:stop]
    return (part[-limit:] if list(query) == ["before"] else part[:limit]), len(part) > limit


@pytest.mark.slow
@pytest.mark.parametrize("ties", WORDS["ties"])
@pytest.mark.parametrize(
    ("sizes", "deleted"),
    [
        ([(SIZE + 50, 1), (SIZE - 10, 0), (3, 0), (2 * SIZE, 0), (40, 1)], range(20, SIZE + 20)),
        ([(SIZE, 1), (SIZE, 1), (SIZE, 1)], range(SIZE)),
        ([(3 * SIZE, 1), (30, 1), (30, 1)], range(10, 3 * SIZE)),
        ([(30, 1), (3 * SIZE, 1), (30, 1)], range(30)),
        ([(100, i % 3 > 1) for i in range(KEPT_ORDERS * 6)], range(50, 60)),
        ([(SIZE + 9, 1)], range(5, SIZE + 9)),
    ],
    ids=[
        "a second of blocks",
        "a second a block",
        "a gap",
        "within and over",
        "many seconds",
        "nothing at the end",
    ],
)
def test_pages_over_several_blocks_are_parts_of_the_list_in_the_order_of_its_ties(
    ties: str, sizes: list[tuple[int, int]], deleted: range
) -> None:
    engine = large(ties, sizes, deleted)
    for each in (engine, Engine.restore(engine.snapshot(), clock=engine.clock)):
        # What comes after a restore goes on behind what was forgotten, in the same second or a later one.
        for _ in range(2):
            files = files_of(each)
            for order, status in product(ORDERS, (None, "in_progress", "completed")):
                line = [file for file in in_order(files, order, ties) if status in (None, file.status)]
                for query in queries([file.id for file in line]):
                    asked: dict[str, Any] = {"limit": 7, "order": order, "filter": status, **query}
                    found = each.vector_stores.files.list("vs_1", **asked)
                    assert ([file.id for file in found.data], found.has_more) == expected_page(line, 7, query)
            each.vector_stores.file_batches.create("vs_1", file_ids=["file-z", "file-0", "file-y"])
            each.check()


@pytest.mark.parametrize("ties", WORDS["ties"])
def test_the_page_of_a_file_that_came_last_is_right_after_more_have_come_and_after_some_have_left(
    ties: str,
) -> None:
    engine = new_engine(Profile(ties=ties))  # type: ignore[arg-type]  # one of its words
    files = engine.vector_stores.files
    engine.vector_stores.create()
    made: list[VectorStoreFile] = []
    for i in range(60):
        made.append(files.create("vs_1", file_id=f"file-{i * 37 % 61:02}"))
        if i % 5 == 4:
            gone = made.pop(i // 3 % len(made))
            files.delete(gone.id, vector_store_id="vs_1")
        if i % 11 == 10 or i > 35:  # then in more seconds than are kept in order
            engine.clock.advance(1)  # type: ignore[attr-defined]  # a VirtualClock
        for order in ORDERS:
            assert list(files.list("vs_1", limit=7, order=order)) == in_order(made, order, ties)
    assert len({file.created_at for file in made}) > KEPT_ORDERS


def test_the_list_of_stores_is_in_the_order_in_which_they_were_made_whatever_the_ties() -> None:
    for ties in WORDS["ties"]:
        engine = Engine(clock=VirtualClock(START), profile=Profile(ties=ties))  # their ids come in no order
        made = [engine.vector_stores.create().id for _ in range(12)]
        assert [store.id for store in engine.vector_stores.list(limit=5, order="asc")] == made
        assert [store.id for store in engine.vector_stores.list(limit=5)] == made[::-1]


# Names


@pytest.mark.parametrize(("unnamed", "expected"), [("empty", ""), ("null", None)])
def test_a_store_without_a_name_is_called_as_the_profile_says_and_another_as_it_was_named(
    unnamed: Any, expected: str | None
) -> None:
    told: list[Any] = []
    engine = new_engine(Profile(unnamed_store=unnamed))
    engine.subscribe(told.append)
    stores = engine.vector_stores
    assert stores.create().name == expected
    assert stores.create(name="").name == ""
    assert stores.update(stores.create(name="docs").id, metadata={"k": "v"}).name == "docs"
    assert stores.update("vs_3", name=None).name == expected
    follower = new_engine(engine.profile)
    follower.replay(told)
    assert follower.snapshot() == engine.snapshot() == Engine.restore(engine.snapshot()).snapshot()
    other = Profile(unnamed_store="empty")
    names = [
        store.name for store in Engine.restore(engine.snapshot(), profile=other).vector_stores.list(order="asc")
    ]
    assert names == ["", "", ""]


def test_an_event_without_a_name_is_not_replayed_where_a_store_has_one_always() -> None:
    told: list[Any] = []
    engine = new_engine(Profile(unnamed_store="null"))
    engine.subscribe(told.append)
    engine.vector_stores.create()
    with pytest.raises(ReplayError, match="name"):
        new_engine().replay(told[0:1])


# Cancels


@pytest.mark.parametrize("cancel", WORDS["cancel"])
@given(history=histories)
@settings(max_examples=examples(30))
def test_a_cancel_returns_the_batch_as_it_stood_and_does_what_it_does_under_the_default(
    cancel: Any, history: list[Any]
) -> None:
    final = Profile(cancel=cancel)
    engine, _, _ = filled(history, evolve(final, cancel_answer="in_progress"))
    usual, _, _ = filled(history, final)
    for store, batch in [
        (s.id, f"vsfb_{number}") for s in engine.vector_stores.list() for number in (1, 2, 3)
    ] * 2:
        batches, usual_batches = (each.vector_stores.file_batches for each in (engine, usual))
        with suppress(errors.FileBatchNotFound):
            before = batches.retrieve(batch, vector_store_id=store)
            assert batches.cancel(batch, vector_store_id=store) == before
            after = usual_batches.cancel(batch, vector_store_id=store)
            assert batches.retrieve(batch, vector_store_id=store) == after
    assert {**engine.snapshot(), "profile": None} == {**usual.snapshot(), "profile": None}
