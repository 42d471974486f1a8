"""The tables, cell by cell, and against definitions in other words."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from vsbatch_core import FileCounts, Profile
from vsbatch_core.errors import AlreadyFinished
from vsbatch_core.model import FILE_STATUSES, BatchStatus, FileStatus
from vsbatch_core.transitions import (
    ATTACHMENT,
    BATCH,
    STORE,
    Trigger,
    after,
    batch_status,
    store_status,
    tables,
)

TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)
ENDS = {"complete": "completed", "fail": "failed", "cancel": "cancelled", "detach": "cancelled"}
BOTH = (False, True)
COUNTS = [
    FileCounts(in_progress=p, completed=c, failed=f, cancelled=x) for p, c, f, x in product(range(3), repeat=4)
]


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_trigger_ends_an_attachment_in_progress(trigger: Trigger) -> None:
    assert after("in_progress", trigger, "file-a", "vs_1") == ENDS[trigger]


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("status", FILE_STATUSES[1:])
def test_no_trigger_moves_an_attachment_that_has_ended(status: FileStatus, trigger: Trigger) -> None:
    with pytest.raises(AlreadyFinished) as caught:
        after(status, trigger, "file-a", "vs_1")
    error = caught.value
    assert (error.file_id, error.vector_store_id, error.state, error.tried) == ("file-a", "vs_1", status, trigger)
    assert all(f"'{word}'" in error.message for word in ("file-a", "vs_1", status))
    assert error.message.startswith(f"Cannot {trigger} ")
    assert error.__suppress_context__


def test_the_attachment_table_has_a_row_for_each_status_and_leads_only_to_ends() -> None:
    assert tuple(ATTACHMENT) == FILE_STATUSES
    assert set(ATTACHMENT["in_progress"]) == set(TRIGGERS)
    for moves in ATTACHMENT.values():
        assert all(not ATTACHMENT[end] for end in moves.values())


@pytest.mark.parametrize("case", list(product(BOTH, repeat=5)))
def test_exactly_one_row_of_the_batch_table_fits_each_case(case: tuple[bool, bool, bool, bool, bool]) -> None:
    assert len([rule for rule in BATCH if rule.fits(*case)]) == 1


@pytest.mark.parametrize("case", list(product(BOTH, repeat=2)))
def test_exactly_one_row_of_the_store_table_fits_each_case(case: tuple[bool, bool]) -> None:
    expired, running = case
    fitting = [r for r in STORE if r.expired in (None, expired) and r.running in (None, running)]
    assert len(fitting) == 1


def test_each_row_of_the_batch_table_says_why_in_its_own_words() -> None:
    assert len({rule.why for rule in BATCH}) == len(BATCH)
    assert {rule.status for rule in BATCH} == set(get_args(BatchStatus))


@pytest.mark.parametrize("profile", [Profile(), Profile(all_failed="completed")], ids=["failed", "completed"])
@pytest.mark.parametrize("cancel_asked", BOTH, ids=["not asked", "cancel asked"])
def test_a_batch_is_in_progress_exactly_when_a_file_is(profile: Profile, cancel_asked: bool) -> None:
    for counts in COUNTS:
        assert (batch_status(counts, cancel_asked, profile) == "in_progress") is (counts.in_progress > 0)


@pytest.mark.parametrize("all_failed", ["failed", "completed"])
def test_a_finished_batch_is_cancelled_if_asked_else_what_its_files_became(all_failed: str) -> None:
    profile = Profile(all_failed=all_failed)  # type: ignore[arg-type]
    for counts in COUNTS:
        if counts.in_progress:
            continue
        assert batch_status(counts, True, profile) == "cancelled"
        if counts.completed:
            expected = "completed"
        elif counts.failed:
            expected = all_failed
        elif counts.cancelled:
            expected = "cancelled"
        else:
            expected = "completed"  # it attached no file
        assert batch_status(counts, False, profile) == expected


def test_an_expired_store_is_expired_and_any_other_is_in_progress_exactly_when_a_file_is() -> None:
    for counts in COUNTS:
        assert store_status(counts, True) == "expired"
        assert store_status(counts, False) == ("in_progress" if counts.in_progress else "completed")


def test_total_is_the_sum_of_the_other_four() -> None:
    for counts in COUNTS:
        assert counts.total == counts.in_progress + counts.completed + counts.failed + counts.cancelled


def test_the_tables_for_the_documentation_are_the_tables() -> None:
    attachment, batch, store = tables()
    titles = [title for title, _, _ in (attachment, batch, store)]
    assert len(set(titles)) == 3
    for _, headings, rows in (attachment, batch, store):
        assert rows
        assert all(len(row) == len(headings) for row in rows)
    _, headings, rows = attachment
    for status, *cells in rows:
        moves = ATTACHMENT[status]  # type: ignore[index]
        assert cells == [moves.get(trigger, "-") for trigger in headings[1:]]  # type: ignore[call-overload]
    assert [row[-2:] for row in batch[2]] == [[rule.status, rule.why] for rule in BATCH]
    assert [row[-2:] for row in store[2]] == [[rule.status, rule.why] for rule in STORE]
    words = {None: "any", True: "yes", False: "no"}
    assert [row[:-2] for row in batch[2]] == [
        [words[cell] for cell in (r.running, r.cancel_asked, r.some_completed, r.some_failed, r.some_cancelled)]
        for r in BATCH
    ]
    assert [row[:-2] for row in store[2]] == [[words[r.expired], words[r.running]] for r in STORE]
