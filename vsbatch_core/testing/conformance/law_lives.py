"""Laws of a batch's life: what it is at first, what its counts and statuses do, how it ends and is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from vsbatch_core.testing.conformance.laws import CLIENTS, NOBODY, RECORDINGS, REFERENCE, REPORT, Laws
from vsbatch_core.testing.conformance.probe import Scene, Trace
from vsbatch_core.testing.conformance.tracing import (
    NotReached,
    Traced,
    ids,
    length,
    same_items,
    traced,
    value_of,
)

LAWS = Laws()
law = LAWS.law

SIZES = st.integers(1, 6)
RUNNING = st.integers(3, 6)
ENDED = ("completed", "failed", "cancelled")
LOOKS, LOOK_SECONDS = 3, 0.3
"""How often, and after how long, a batch is looked at again that has ended."""


@law(
    "after-create",
    "recorded",
    RECORDINGS,
    n=SIZES,
)
def after_create(see: Trace, n: int) -> None:
    """A new batch is in_progress, with all of its files in progress and none in any other status."""
    batch = see.create(see.store(), file_ids=see.probe.files(n))
    see.require(batch.status == "in_progress", "a new batch is to be in progress")
    see.require(batch.file_counts.in_progress == n, "all files of a new batch are to be in progress")
    see.require(batch.file_counts.total == n, "total is to count all files of a new batch")
    for status in ENDED:
        see.require(getattr(batch.file_counts, status) == 0, f"no file of a new batch is to be {status}")


@law("usage-bytes", "recorded", RECORDINGS, n=SIZES)
def usage_bytes(see: Trace, n: int) -> None:
    """A file in progress has usage_bytes 0."""
    page = see.page(see.running(n), "batch", limit=100)
    running = [i for i, file in enumerate(value_of(page.data)) if file.status == "in_progress"]
    if not running:
        raise NotReached("no file was seen in progress")
    for i in running:
        see.require(page.data[i].usage_bytes == 0, "a file in progress is to have usage_bytes 0")


def followed(see: Trace, n: int, cancelled: bool, each: Any) -> None:
    """Look at a batch from its creation to its end; ``each`` is called with every answer."""
    store = see.store()
    batch = see.create(store, file_ids=see.probe.files(n))
    each(batch)
    if cancelled:
        each(see.cancel(store, batch))
    see.settle(store, batch, each)


@law(
    "total",
    "documented",
    REFERENCE,
    n=SIZES,
    cancelled=st.booleans(),
)
def total(see: Trace, n: int, cancelled: bool) -> None:
    """The total is the sum of the other four: after create, at every poll, after a cancel, and in the store."""

    def summed(value: Traced) -> None:
        counts = value.file_counts
        parts = counts.in_progress + counts.completed + counts.failed + counts.cancelled
        see.require(counts.total == parts, "total is to be the sum of the other four")

    followed(see, n, cancelled, summed)
    scene = see.ended(n, cancelled=cancelled)
    summed(see.call("vector_stores.retrieve", scene.store.id))


@law(
    "terminal",
    "choice",
    CLIENTS,
    n=SIZES,
    cancelled=st.booleans(),
)
def terminal(see: Trace, n: int, cancelled: bool) -> None:
    """A batch's status is other than in_progress exactly if none of its files is in progress.

    Else openai-python's poll, which reads the counts alone, or openai-node's, which reads the status alone,
    hangs.
    """

    def agreed(batch: Traced) -> None:
        running, counted = batch.status == "in_progress", batch.file_counts.in_progress > 0
        if running:
            what = "none is in progress, and the status says one is: openai-node's poll goes on"
        else:
            what = "the status says it ended, and a file is in progress: openai-python's poll goes on"
        see.require(running == counted, what)

    followed(see, n, cancelled, agreed)


@law(
    "final",
    "choice",
    CLIENTS,
    n=SIZES,
    cancelled=st.booleans(),
)
def final(see: Trace, n: int, cancelled: bool) -> None:
    """A batch or file that has ended keeps its status: the clients look at it no more."""
    scene = see.fresh(n, cancelled=cancelled)
    first = scene.latest
    files = _statuses(see.page(scene, "batch", limit=100))
    if value_of(first.status) == "in_progress" or "in_progress" in value_of(files).values():
        raise NotReached("a batch or file had not ended")
    for _ in range(LOOKS):
        see.sleep(LOOK_SECONDS)
        again = see.retrieve(scene.store, scene.batch, writes=True)
        see.require(again.status == first.status, "the batch is to stay as it ended")
        see.require(
            _statuses(see.page(scene, "batch", limit=100)) == files, "the files are to stay as they ended"
        )


def _statuses(page: Traced) -> Traced:
    return traced("{{x.id: x.status for x in {}.data}}", lambda page: {x.id: x.status for x in page.data}, page)


@law(
    "final-running",
    "choice",
    CLIENTS,
    n=st.integers(2, 7),
)
def final_running(see: Trace, n: int) -> None:
    """A file that has ended keeps its status while others are still in progress."""
    scene = see.running(n)
    before = _statuses(see.page(scene, "batch", limit=100))
    for _ in range(n):
        see.stir(scene)
        now = _statuses(see.page(scene, "batch", limit=100))
        kept = traced(
            "all({}.get(id) == status for id, status in {}.items() if status != 'in_progress')",
            lambda now, old: all(now.get(id) == status for id, status in old.items() if status != "in_progress"),
            now,
            before,
        )
        see.require(kept, "a file that has ended is to keep its status")
        before = now


@law("some-failed", "recorded", REPORT)
def some_failed(see: Trace) -> None:
    """A batch of which some files completed and some failed is completed."""
    batch = _ended_with(see, lambda counts: counts.failed and counts.completed, 2, "mixed")
    see.require(batch.status == "completed", "the batch is to be completed")


@law("all-failed", "recorded", f"{REPORT}, of Azure")
def all_failed(see: Trace) -> None:
    """A batch of which all files failed is failed."""
    batch = _ended_with(see, lambda counts: 0 < counts.failed == counts.total, 0, "bad")
    see.require(batch.status == "failed", "the batch is to be failed")


def _ended_with(see: Trace, fits: Callable[[Any], Any], n: int, kind: str) -> Traced:
    """A batch that ended uncancelled with such counts, among all that were seen and this one."""
    scenes = [scene for key, scene in see.probe.scenes.items() if key[0] != "two times" and not key[2]]
    for scene in (*scenes, None):
        batch = (scene or see.ended(n, kind)).latest
        counts = value_of(batch.file_counts)
        if fits(counts) and not counts.in_progress:
            return batch
    raise NotReached("no batch ended with such files")


# Cancel


@law(
    "cancel-counts",
    "documented",
    f"{REFERENCE}, in prose: as soon as possible",
    n=SIZES,
)
def cancel_counts(see: Trace, n: int) -> None:
    """After a cancel of a running batch no file stays in progress, and each is counted as what it became."""
    scene = see.running(n)
    see.cancel(scene.store, scene.batch)
    batch = see.settle(scene.store, scene.batch)
    see.require(batch.file_counts.in_progress == 0, "no file is to stay in progress")
    counts = batch.file_counts
    see.require(counts.completed + counts.failed + counts.cancelled == n, "each file is to be counted")


@law(
    "cancel-status",
    "documented",
    f"{REFERENCE}, in prose",
    n=SIZES,
)
def cancel_status(see: Trace, n: int) -> None:
    """A batch of which files were cancelled ends cancelled."""
    scene = see.running(n)
    answer = see.cancel(scene.store, scene.batch)
    see.require(answer.id == scene.batch.id, "a cancel is to answer the batch")
    batch = see.settle(scene.store, scene.batch)
    page = see.page(scene, "batch", limit=100)
    cancelled = value_of(batch.file_counts.cancelled) or any(
        file.status == "cancelled" for file in value_of(page.data)
    )
    if not cancelled:
        raise NotReached("no file was seen to be cancelled")
    see.require(batch.status == "cancelled", "the batch is to be cancelled")


def _unmoved(see: Trace, scene: Scene, before: Traced) -> None:
    answer = see.cancel(scene.store, scene.batch)
    for after in (answer, see.retrieve(scene.store, scene.batch)):
        see.require(after.status == before.status, "the cancel is to leave the status as it was")
        see.require(after.file_counts == before.file_counts, "the cancel is to leave the counts as they were")


@law(
    "cancel-again",
    "recorded",
    f"{RECORDINGS}; some servers answer 400",
    n=SIZES,
)
def cancel_again(see: Trace, n: int) -> None:
    """A second cancel of a batch that was cancelled is answered with 200, and changes nothing."""
    scene = see.running(n)
    see.cancel(scene.store, scene.batch)
    before = see.settle(scene.store, scene.batch)
    if value_of(before.status) != "cancelled":
        raise NotReached("a batch that was cancelled did not become cancelled")
    _unmoved(see, scene, before)


@law(
    "cancel-ended",
    "recorded",
    f"{RECORDINGS}; some servers answer 400",
    n=SIZES,
)
def cancel_ended(see: Trace, n: int) -> None:
    """A cancel of a batch that has ended is answered with 200, and changes nothing."""
    scene = see.fresh(n)
    if value_of(scene.latest.status) == "in_progress" or value_of(scene.latest.file_counts.in_progress):
        raise NotReached("a batch did not end")
    _unmoved(see, scene, scene.latest)


@law(
    "cancel-twice-running",
    "choice",
    NOBODY,
    n=SIZES,
)
def cancel_twice_running(see: Trace, n: int) -> None:
    """A second cancel at once, while the first may still be at work, is not an error of the server."""
    scene = see.running(n)
    see.cancel(scene.store, scene.batch)
    answer = see.cancel(scene.store, scene.batch, refusable=True)
    status = traced("getattr({}, 'status_code', 200)", lambda answer: getattr(answer, "status_code", 200), answer)
    see.require(traced("{} < 500", lambda status: status < 500, status), "the answer is not to be a server error")


# Lists of a batch that is running


@law(
    "walk-running",
    "documented",
    f"{REFERENCE}: after is a place in the list, by created_at",
    n=RUNNING,
    limit=st.integers(1, 2),
    where=st.sampled_from(("batch", "store")),
)
def walk_running(see: Trace, n: int, limit: int, where: str) -> None:
    """A walk through a batch that is running shows every file once, whatever becomes of the files meanwhile."""
    scene = see.running(n)
    for seen in see.walks(scene, where, limit, n):
        see.require(same_items(seen, scene.files), "the walk is to show every file once")


@law(
    "filtered-walk-running",
    "choice",
    NOBODY,
    n=RUNNING,
    limit=st.integers(1, 2),
)
def filtered_walk_running(see: Trace, n: int, limit: int) -> None:
    """A walk through the files in progress of a running batch misses none that still is.

    A cursor that has left the filter keeps its place.
    """
    scene = see.running(n)
    for seen in see.walks(scene, "batch", limit, n, filter="in_progress"):
        once = length(seen) == length(traced("set({})", set, seen))
        see.require(once, "the walk is to show no file twice")
        left = ids(see.page(scene, "batch", limit=100, filter="in_progress"))
        missed = traced("set({}) - set({})", lambda left, seen: set(left) - set(seen), left, seen)
        see.require(length(missed) == 0, "no file in progress is to be missed")
