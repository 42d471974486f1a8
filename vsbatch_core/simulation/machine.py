"""The workers and the queue of what is going to happen: what a simulation is made of, below its loops.

See the theory in the package's own docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any, cast

from vsbatch_core import events as ev
from vsbatch_core.clock import VirtualClock
from vsbatch_core.engine import Engine
from vsbatch_core.errors import shown
from vsbatch_core.model import VectorStoreFile
from vsbatch_core.simulation.durations import sampler
from vsbatch_core.simulation.outcomes import Completed, Failed, Never, Outcome
from vsbatch_core.simulation.plans import Decider, Plan
from vsbatch_core.simulation.queue import AtRandom, Fifo, Keyed, Lifo
from vsbatch_core.simulation.report import Figures
from vsbatch_core.simulation.timeline import Timeline

Act = Callable[[], object]
_Key = tuple[str, str]
"""A vector store's id and a file's."""

_FINISH, _ACT = 0, 1
"""Priorities.  What ends goes first, so that a worker that is free at an instant is free for all of it."""


class Entry:
    """An act of the user's, or a file's return to the line: it ``waits`` in the queue unless it is ``dead``."""

    __slots__ = ("act", "dead", "recurring", "waits")

    def __init__(self, act: Act, *, recurring: bool = False) -> None:
        self.act = act
        self.dead = False
        self.waits = False
        self.recurring = recurring


class Retried:
    """A file that has failed ``times`` times and is tried again; ``entry`` is its return to the line."""

    __slots__ = ("attachment", "entry", "times")

    def __init__(self, attachment: int, times: int, entry: Entry) -> None:
        self.attachment = attachment
        self.times = times
        self.entry = entry


class Job:
    """One file in a worker's hands; it stands in the queue itself once the plan has said when it ends."""

    __slots__ = ("attachment", "began", "dead", "key", "outcome", "stuck")

    def __init__(self, attachment: int, key: _Key, began: float) -> None:
        self.attachment = attachment
        self.key = key
        self.began = began
        self.outcome: Outcome | None = None
        self.dead = False
        self.stuck = False


class Machine:
    """The workers of a simulation."""

    def __init__(self, engine: Engine, clock: VirtualClock, plan: Plan, seed: int, *, record: bool) -> None:
        self.engine = engine
        self.clock = clock
        self.start = clock.time()
        self._view = engine.view
        self._drains = engine.profile.cancel == "drain"
        self._queue: list[tuple[float, int, int, Any]] = []
        self._sequence = count()
        self._in_service: dict[_Key, Job] = {}
        self._acts = 0
        """The entries of the queue that do not recur and are no jobs."""
        self._recurring = 0
        """Those that do."""
        self._stuck = 0
        """The jobs that will never end of themselves."""
        self._retried: dict[_Key, Retried] = {}
        self._let_go: dict[str, set[int]] = {}
        """By store, the attachments of files that workers took and let go without an end."""
        self._seen_ended: dict[str, set[str | int]] = {}
        """By store, what was polled and seen to have ended: a batch by id, a file by attachment."""
        self._figures = Figures()
        self._timeline = Timeline(self._view, self.start, lambda: len(self._in_service)) if record else None
        # One random source for each purpose: another order does not change what becomes of the files.
        self._random = Random(f"{seed} plan")
        self._use(plan)
        self._line = self._new_line(Random(f"{seed} order"))
        self._take_on()
        self._unsubscribe = engine.subscribe(self._hear)

    def _use(self, plan: Plan) -> None:
        self._plan = plan
        self._most = inf if plan.workers is None else plan.workers
        decide = plan.decider(self._random)
        self._asked = decide if plan.size is None else partial(self._sized, decide)
        self._service = sampler(plan.service, self._random, self._size)

    def _new_line(self, random: Random) -> Fifo:
        view, order = self._view, self._plan.order
        if callable(order):
            return Keyed(view, order)
        if order == "smallest":
            return Keyed(view, self._size)
        if order == "random":
            return AtRandom(view, random)
        return Lifo(view) if order == "lifo" else Fifo(view)

    def _take_on(self) -> None:
        """Have the files wait that are there already, oldest first."""
        view = self._view
        self._attached = {id: view.next_attachment(id) for id in view.vector_store_ids()}
        """By store, the number of its next attachment among those that events have named."""
        waiting: list[tuple[str, int, int]] = []
        for file in self.engine.processing.pending(limit=2**62):
            store, row = file.vector_store_id, cast("int", file.attachment)
            if waiting and waiting[-1][0] == store and waiting[-1][2] == row:
                waiting[-1] = (store, waiting[-1][1], row + 1)
            else:
                waiting.append((store, row, row + 1))
        for store, first, stop in waiting:
            self._arrive(store, first, stop, self.start)

    def _size(self, file: VectorStoreFile) -> int:
        size: Any = self._view.size(file.id) if self._plan.size is None else self._plan.size(file)
        if size is None:
            size = file.attributes.get("bytes")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ValueError(
                f"The size of file {shown(file.id)} is {shown(size)}, and the plan needs it in bytes. "
                "Write Plan(size=lambda file: 1_000_000), Engine(file_size=…), or an attribute 'bytes'."
            )
        return size

    # What is going to happen

    def _schedule(self, due: float, entry: Entry) -> None:
        if entry.recurring:
            self._recurring += 1
        else:
            self._acts += 1
        entry.waits = True
        heappush(self._queue, (due, _ACT, next(self._sequence), entry))

    def _cancel(self, entry: Entry) -> None:
        if entry.waits:
            self._forget(entry)
        entry.dead = True

    def _forget(self, entry: Entry) -> None:
        """An entry is no longer going to happen."""
        entry.waits = False
        if entry.recurring:
            self._recurring -= 1
        else:
            self._acts -= 1

    def _step(self, limit: float) -> bool:
        """Do the next thing that is due, at ``limit`` at the latest; answer whether there was one."""
        queue, clock = self._queue, self.clock
        while queue and queue[0][3].dead:
            heappop(queue)
        now = clock.time()
        due = queue[0][0] if queue else inf
        if due > now or due > limit:
            if len(self._in_service) < self._most and self._pick_up(now):
                return True
            if not queue or due > limit:
                return False
            if self._timeline is not None:
                self._timeline.settle()
            now = clock.advance_to(due)
        _, priority, _, entry = heappop(queue)
        if priority == _FINISH:
            self._finish(entry, now)
        else:
            self._forget(entry)
            entry.act()
        return True

    def _pick_up(self, now: float) -> bool:
        """Have a worker take a file; answer whether one waited."""
        ticket = self._line.take()
        if ticket is None:
            return False
        store, attachment, at = ticket
        file = cast("VectorStoreFile", self._view.file(store, attachment))
        key = (store, file.id)
        tried = self._retried[key].times if self._retried and key in self._retried else 0
        # In a worker's hands before the plan is asked: a plan may give commands, and what they do to this very
        # file is then heard of like anything else.
        job = self._in_service[key] = Job(attachment, key, now)
        try:
            if self._drains and not tried:
                self._lease(key)
            outcome = self._asked(file, tried)
            after = outcome.after
            if after is None and not isinstance(outcome, Never):
                after = self._service(file)
        except BaseException:
            if self._in_service.get(key) is job:
                del self._in_service[key]
                self._line.put_back(ticket)
            raise
        if not tried:
            self._figures.waits.append(now - at)
        if self._timeline is not None:
            self._timeline.touched(store, attachment, now)
        if self._in_service.get(key) is not job:
            return True
        if after is not None:
            job.outcome = outcome
            heappush(self._queue, (now + after, _FINISH, next(self._sequence), job))
        elif isinstance(outcome, Never) and outcome.holds_worker:
            job.stuck = True
            self._stuck += 1
        else:
            del self._in_service[key]
            self._let_go.setdefault(store, set()).add(attachment)
        return True

    def _sized(self, decide: Decider, file: VectorStoreFile, tried: int) -> Outcome:
        outcome = decide(file, tried)
        if not isinstance(outcome, Completed) or outcome.usage_bytes is not None:
            return outcome
        return Completed(after=outcome.after, usage_bytes=self._size(file))

    def _lease(self, key: _Key) -> None:
        # If a worker of another host or simulation holds it, this one takes the file over.
        store, file_id = key
        attachments = self._view.attachments(store, file_id)[-1:]
        self.engine.processing.claim(
            worker="simulation", lease_seconds=inf, vector_store_id=store, attachments=attachments
        )

    def _finish(self, job: Job, now: float) -> None:
        """A worker is done with a file, and free whatever comes of telling so."""
        key = job.key
        del self._in_service[key]
        figures, service = self._figures, now - job.began
        figures.services.append(service)
        figures.busy_seconds += service
        figures.last = now
        outcome = job.outcome
        if self._plan.retries is not None and isinstance(outcome, Failed) and outcome.code == "server_error":
            before = self._retried.get(key)
            times = 1 if before is None else before.times + 1
            if times <= self._plan.retries.times:
                entry = Entry(partial(self._arrive, key[0], job.attachment, job.attachment + 1, now))
                self._retried[key] = Retried(job.attachment, times, entry)
                self._schedule(now + self._plan.retries.wait(times), entry)
                figures.retried += 1
                if self._timeline is not None:
                    self._timeline.touched(key[0], job.attachment, now)
                return
        figures.ended += 1
        self._end(key[0], key[1], outcome)

    def _end(self, vector_store_id: str, file_id: str, outcome: Outcome | None) -> None:
        if isinstance(outcome, Completed):
            self.engine.processing.complete(vector_store_id, file_id, usage_bytes=outcome.usage_bytes)
        elif isinstance(outcome, Failed):
            self.engine.processing.fail(vector_store_id, file_id, code=outcome.code, message=outcome.message)

    # What the engine tells

    def _hear(self, event: ev.Event) -> None:
        if self._timeline is not None:
            self._timeline.hear(event)
        hear = _HEAR.get(type(event))
        if hear is not None:
            hear(self, event)

    def _arrive(self, store: str, first: int, stop: int, at: float) -> None:
        if self._figures.first is None:
            self._figures.first = at
        if self._plan.automatic:
            self._line.put(store, first, stop, at)

    def _over(self, vector_store_id: str, of: Job | Retried) -> bool:
        """Return whether the file has ended, in whatever way."""
        return self._view.status(vector_store_id, of.attachment) != "in_progress"

    def _release(self, key: _Key) -> None:
        """Free the worker that holds the file, if one does, or have it not be tried again, if it has ended."""
        job = self._in_service.get(key)
        if job is not None and self._over(key[0], job):
            del self._in_service[key]
            job.dead = True
            self._stuck -= job.stuck
            self._figures.busy_seconds += self.clock.time() - job.began
        if self._retried:
            retried = self._retried.get(key)
            if retried is not None and self._over(key[0], retried):
                del self._retried[key]
                self._cancel(retried.entry)

    def _release_all(self, vector_store_id: str) -> None:
        """The same for all files of a store; O(w), w files being in workers' hands or to be tried again."""
        for key in [key for of in (self._in_service, self._retried) for key in of if key[0] == vector_store_id]:
            self._release(key)

    def _files_attached(self, event: ev.VectorStoreCreated | ev.FileBatchCreated | ev.FileAttached) -> None:
        store = event.vector_store_id
        attached = ev.attached(event)
        if not attached or not self._view.next_attachment(store):
            return  # nothing was attached; or the store was deleted since, by another subscriber
        first = self._attached.get(store, 0)
        stop = self._attached[store] = first + len(attached)
        if (first and self._in_service) or self._retried:
            self._release_all(store)
        self._arrive(store, first, stop, event.at)

    def _file_ended(self, event: ev.FileCompleted | ev.FileFailed | ev.FileDeleted) -> None:
        self._figures.last = event.at
        key = (event.vector_store_id, event.file_id)
        if key in self._in_service or key in self._retried:
            self._release(key)

    def _files_ended(self, event: ev.FilesCompleted | ev.FilesFailed) -> None:
        self._figures.last = event.at
        for file_id in event.file_ids:
            self._release((event.vector_store_id, file_id))

    def _batch_cancelled(self, event: ev.FileBatchCancelled) -> None:
        self._figures.last = event.at
        self._release_all(event.vector_store_id)

    def _store_deleted(self, event: ev.VectorStoreDeleted) -> None:
        for remembered in (self._attached, self._let_go, self._figures.polls, self._seen_ended):
            remembered.pop(event.vector_store_id, None)
        self._figures.last = event.at
        self._release_all(event.vector_store_id)


_HEAR: dict[type[ev.Event], Callable[[Machine, Any], None]] = {
    ev.VectorStoreCreated: Machine._files_attached,
    ev.FileBatchCreated: Machine._files_attached,
    ev.FileAttached: Machine._files_attached,
    ev.FileCompleted: Machine._file_ended,
    ev.FileFailed: Machine._file_ended,
    ev.FileDeleted: Machine._file_ended,
    ev.FilesCompleted: Machine._files_ended,
    ev.FilesFailed: Machine._files_ended,
    ev.FileBatchCancelled: Machine._batch_cancelled,
    ev.VectorStoreDeleted: Machine._store_deleted,
}
