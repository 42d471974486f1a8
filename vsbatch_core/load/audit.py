"""Whether the counts hold in the end: batches are waited for, lists are walked, stores are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from vsbatch_core.load.calls import PAGE, Failure, Request, get, listed, success
from vsbatch_core.load.counts import Batch, Store, counts_of
from vsbatch_core.load.known import listing
from vsbatch_core.load.runner import Runner, each
from vsbatch_core.model import FILE_STATUSES

T = TypeVar("T")
LEAST_PAUSE, MOST_PAUSE = 0.05, 1.0
"""Seconds between two looks at the same batch or store."""

MOST_AFTER_END = 5.0
"""Seconds for which counts may lag behind a status, a status behind counts, a store behind what was answered."""


class _Late(Exception):
    """There is no time left to go on."""


class _Unanswered(Exception):
    """The server did not answer, or with an error."""


class Audit:
    """One look at all that a runner's load has left behind, when nothing is in flight any more.

    ``seconds`` is how long batches are waited for, then stores counted, then lists walked.  The verdicts'
    ``unknown`` has what could not be known because that was too short, ``errors`` what the server did not answer.
    """

    def __init__(self, runner: Runner, *, seconds: float) -> None:
        self.runner = runner
        self.known = runner.known
        self.verdicts = runner.known.verdicts
        self.seconds = seconds
        self.after_end = min(MOST_AFTER_END, seconds / 10)
        self.errors: list[str] = []
        """What could not be looked at, and why."""
        self.late = False
        """Whether something could not be known because ``seconds`` was too short."""
        self._deadline = 0.0

    async def run(self) -> None:
        """Look at everything.  Takes little more than three times ``seconds``, and what one request may take."""
        await self._settle()
        self._deadline = _now() + self.seconds
        late = {"the counts of {} stores": await self._each("looking at stores", self.known.stores, self._store)}
        self._deadline = _now() + self.seconds
        ended = [batch for batch in self.known.batches if batch.ended]
        late["the lists of {} batches"] = await self._each("walking through batches", ended, self._batch)
        late["the lists of {} stores"] = await self._each("walking through stores", self.known.stores, self._list)
        self._too_late(*(f"{what.format(f'{n:,}')}: there was no time to look" for what, n in late.items() if n))
        if self.known.doubtful_batches:
            self._unknown(f"{self.known.doubtful_batches:,} batches: whether they were made was not answered")

    def _require_time(self) -> None:
        if _now() >= self._deadline:
            raise _Late

    def _unknown(self, *lines: str) -> None:
        self.verdicts.unknown.extend(lines)

    def _too_late(self, *lines: str) -> None:
        self.late = self.late or bool(lines)
        self._unknown(*lines)

    async def _each(self, title: str, items: Sequence[Any], look: Callable[[Any], Awaitable[None]]) -> int:
        """Look at each, a few at a time; answer for how many there was no time."""
        done = late = 0

        async def one(item: Any) -> None:
            nonlocal done, late
            try:
                await look(item)
            except _Late:
                late += 1
            except _Unanswered as error:
                self.errors.append(f"{item.id}: {error}")
            done += 1
            self.runner.show(title, done, len(items))

        await each(items, one)
        return late

    async def _settle(self) -> None:
        """Poll the batches until each has ended, or the time is over.

        The requests are marked as a polling helper's, so that a stand-in whose clock moves with polls moves it,
        and a server that says when to ask again is asked then.
        """
        deadline, pause = _now() + self.seconds, LEAST_PAUSE
        waiting = list(self.known.batches)
        left: list[Batch] = []
        half: dict[str, float] = {}
        """When a batch was first seen to have ended by its counts alone, or by its status alone."""

        async def look(batch: Batch) -> None:
            if batch.id not in half:  # else one more look decides, and there is time for that
                self._require_time()
            _, _, outcome = await self.runner.ask(self.known.retrieve(batch, polls=True))
            if outcome.kind is not None or batch.latest is None:
                raise _Unanswered(f"{outcome.kind}: {outcome.message}")
            seen = batch.latest
            if seen.by_counts is seen.by_status:
                half.pop(batch.id, None)
                self.verdicts.judge("ends", batch.id, True, "", "")
                if not seen.by_counts:
                    left.append(batch)
            elif _now() < half.setdefault(batch.id, _now()) + self.after_end:
                left.append(batch)
            else:
                self.verdicts.judge("ends", batch.id, False, "ended by its counts and its status alike", seen)

        self._deadline = deadline + self.after_end
        while waiting:
            left.clear()
            late = await self._each("waiting for batches to end", waiting, look)
            waiting = [batch for batch in left if batch.id in half or _now() < deadline]
            if late:
                self._too_late(f"how {late:,} batches end: there was no time to look")
            n = len(left) - len(waiting)
            if n:
                self._too_late(f"how {n:,} batches end: still in progress after {self.seconds:g} s")
            if waiting:
                asked = [batch.poll_after for batch in waiting if batch.poll_after is not None]
                wait = max(LEAST_PAUSE, *asked) if asked else pause
                await asyncio.sleep(min(wait, MOST_PAUSE))
                pause = min(pause * 2, MOST_PAUSE)

    async def _batch(self, batch: Batch) -> None:
        """Walk through the files of a batch that has ended: all of them, and by each status."""
        own = {self.known.file(number) for number in batch.files}
        assert batch.ended is not None  # noqa: S101 - for the type checker: only such batches come here
        for status in (None, *FILE_STATUSES):
            n = len(own) if status is None else batch.ended.counts[status]
            files = await self._walked(batch.store, batch, n, status)
            ids = {id for id, _ in files}
            name = "files" if status is None else f"{status} files"
            shown = f"{len(files):,} listed, {len(ids):,} of them different, {len(ids & own):,} its own"
            whole = len(files) == len(ids) == n and ids <= own
            self.verdicts.judge("lists", batch.id, whole, f"{n:,} {name}", shown)
            odd = [f"{id} is {found}" for id, found in files if status not in (None, found)]
            self.verdicts.judge("lists", batch.id, not odd, f"{name} alone, as filtered", "".join(odd[:1]))

    async def _store(self, store: Store) -> None:
        """Look at a store until its counts are as they should be, or were wrong for long."""
        self._require_time()
        until, pause = _now() + self.after_end, LEAST_PAUSE
        while True:
            counts = await self._asked(get("vector_stores", store.id), counts_of)
            total = counts["total"]
            holds = store.least <= total <= store.most
            if holds or _now() >= until:
                break
            await asyncio.sleep(pause)
            pause *= 2
        self.verdicts.judge("store", store.id, holds, store.expected, f"total {total:,}")
        summed = sum(counts[name] for name in FILE_STATUSES)
        self.verdicts.judge("sum", store.id, summed == total, "four counts that sum to total", counts)

    async def _list(self, store: Store) -> None:
        """Walk through all files of a store."""
        files = await self._walked(store, None, store.most, None)
        ids = {id for id, _ in files}
        numbers = (number for batch in self.known.batches if batch.store is store for number in batch.files)
        certain = {*map(self.known.file, numbers), *store.alone}
        whole = len(files) == len(ids) and certain <= ids <= certain | store.doubtful
        shown = f"{len(files):,} listed, {len(ids):,} of them different, {len(certain - ids):,} missing"
        self.verdicts.judge("store", store.id, whole, f"{store.expected}, listed once each", shown)

    async def _walked(
        self, store: Store, batch: Batch | None, n: int, status: str | None
    ) -> list[tuple[str, Any]]:
        """The files on all pages, up to a page that makes them more than ``n``."""
        files: list[tuple[str, Any]] = []
        after, more = None, True
        while more and len(files) <= n:
            self._require_time()
            call = listing(store, batch, limit=PAGE, after=after, filter=status)
            page, more = await self._asked(call.request, listed)
            files += page
            if not page:
                break
            after = page[-1][0]
        return files

    async def _asked(self, request: Request, read_as: Callable[[dict[str, Any]], T]) -> T:
        try:
            return read_as(success(await self.runner.send(request)))
        except Failure as failure:
            raise _Unanswered(f"{failure.kind}: {failure}") from None


def _now() -> float:
    return asyncio.get_running_loop().time()
