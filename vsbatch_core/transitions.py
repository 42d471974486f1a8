"""The state machines, as data.

Theory
======

There is one machine that events drive, and two whose state merely follows.

An *attachment* is one file in one vector store.  It is the only thing here with a life of its own: it begins
``in_progress`` and ends, once, in one of three statuses that it never leaves.  Four things end it: the host
reports that it was processed (``complete``) or could not be (``fail``); its batch is cancelled (``cancel``); or
it leaves the store, because it is deleted or because the same file is attached again (``detach``).  That is the
**event-triggered** table, ``ATTACHMENT``.  A trigger that has no entry in a status is refused, or, for
``cancel`` and ``detach``, which act on whatever is still running, leaves the attachment as it is.

A *batch* is a fixed list of attachments.  It has no transitions: its status is a function of what its
attachments are and of whether a cancel was asked for.  That is the **state-triggered** table, ``BATCH``: the
first row that fits decides.  So a batch cannot be stuck, nor end twice, nor disagree with its counts; and its
status is other than ``in_progress`` exactly when ``file_counts.in_progress`` is 0, which is what both official
clients need in order to stop polling: one reads only the counts, the other only the status.

A *store* follows in the same way: ``STORE``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from vsbatch_core.errors import AlreadyFinished
from vsbatch_core.model import BatchStatus, FileCounts, FileStatus, Profile, StoreStatus

Trigger = Literal["complete", "fail", "cancel", "detach"]

ATTACHMENT: dict[FileStatus, dict[Trigger, FileStatus]] = {
    "in_progress": {
        "complete": "completed",
        "fail": "failed",
        "cancel": "cancelled",
        "detach": "cancelled",
    },
    "completed": {},
    "failed": {},
    "cancelled": {},
}


@frozen
class BatchRule:
    """One row of the batch table; ``None`` fits either way."""

    status: BatchStatus
    running: bool | None
    cancel_asked: bool | None
    some_completed: bool | None
    some_failed: bool | None
    some_cancelled: bool | None
    why: str

    def fits(
        self, running: bool, cancel_asked: bool, some_completed: bool, some_failed: bool, some_cancelled: bool
    ) -> bool:
        """Whether this row speaks of such a batch."""
        return (
            self.running in (None, running)
            and self.cancel_asked in (None, cancel_asked)
            and self.some_completed in (None, some_completed)
            and self.some_failed in (None, some_failed)
            and self.some_cancelled in (None, some_cancelled)
        )


BATCH: tuple[BatchRule, ...] = (
    BatchRule("in_progress", True, None, None, None, None, "a file is still in progress"),
    BatchRule("cancelled", False, True, None, None, None, "a cancel was asked for while it ran"),
    BatchRule("completed", False, False, True, None, None, "at least one file completed"),
    BatchRule("failed", False, False, False, True, None, "no file completed, at least one failed"),
    BatchRule("cancelled", False, False, False, False, True, "every file left the store before it was processed"),
    BatchRule("completed", False, False, False, False, False, "every file of the request was attached already"),
)


@frozen
class StoreRule:
    """One row of the store table; ``None`` fits either way."""

    status: StoreStatus
    expired: bool | None
    running: bool | None
    why: str


STORE: tuple[StoreRule, ...] = (
    StoreRule("expired", True, None, "its time since it was last active has run out"),
    StoreRule("in_progress", False, True, "a file is still in progress"),
    StoreRule("completed", False, False, "it is ready for use"),
)

_BOTH = (False, True)
_STORE: dict[tuple[bool, bool], StoreStatus] = {
    (expired, running): next(
        rule.status for rule in STORE if rule.expired in (None, expired) and rule.running in (None, running)
    )
    for expired in _BOTH
    for running in _BOTH
}
_BATCH: dict[tuple[bool, bool, bool, bool, bool], BatchStatus] = {
    case: next(rule.status for rule in BATCH if rule.fits(*case))
    for case in ((r, a, c, f, x) for r in _BOTH for a in _BOTH for c in _BOTH for f in _BOTH for x in _BOTH)
}


def after(status: FileStatus, trigger: Trigger, file_id: str, vector_store_id: str) -> FileStatus:
    """The status that ``trigger`` leads to; raise ``AlreadyFinished`` if none does."""
    try:
        return ATTACHMENT[status][trigger]
    except KeyError:
        raise AlreadyFinished(file_id, vector_store_id, status, trigger) from None


def batch_status(counts: FileCounts, cancel_asked: bool, profile: Profile) -> BatchStatus:
    """The status that follows from a batch's counts, under the profile's word for a batch that all failed."""
    status = _BATCH[
        counts.in_progress > 0, cancel_asked, counts.completed > 0, counts.failed > 0, counts.cancelled > 0
    ]
    return profile.all_failed if status == "failed" else status


def store_status(counts: FileCounts, expired: bool) -> StoreStatus:
    """The status that follows from a store's counts and its expiry."""
    return _STORE[expired, counts.in_progress > 0]


def tables() -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The tables as (title, headings, rows), for the documentation that is made from them."""

    def word(value: bool | None) -> str:
        return {None: "any", True: "yes", False: "no"}[value]

    triggers: list[Trigger] = list(ATTACHMENT["in_progress"])
    yield (
        "An attachment (event-triggered)",
        ["status", *triggers],
        [[status, *(moves.get(trigger, "-") for trigger in triggers)] for status, moves in ATTACHMENT.items()],
    )
    yield (
        "A batch (state-triggered; the first row that fits)",
        [
            "files in progress",
            "cancel asked",
            "some completed",
            "some failed",
            "some cancelled",
            "status",
            "because",
        ],
        [
            [
                *map(
                    word,
                    (
                        rule.running,
                        rule.cancel_asked,
                        rule.some_completed,
                        rule.some_failed,
                        rule.some_cancelled,
                    ),
                ),
                rule.status,
                rule.why,
            ]
            for rule in BATCH
        ],
    )
    yield (
        "A store (state-triggered; the first row that fits)",
        ["expired", "files in progress", "status", "because"],
        [[word(rule.expired), word(rule.running), rule.status, rule.why] for rule in STORE],
    )
