"""The workers and the queue of what is going to happen: what a simulation is made of, below its loops.

See the theory in the package's own docstring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
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
from vsbatch_core.simulation.plans import Decider, Plan, Retries
from vsbatch_core.simulation.queue import AtRandom, Fifo, Keyed, Lifo, Line
from vsbatch_core.simulation.report import Figures
from vsbatch_core.simulation.timeline import Timeline

Act = Callable[[], object]
FINISH, ACT = 0, 1
"""Priorities.  What ends goes first, so that a worker that is free at an instant is free for all of it."""


class Entry:
    """An act of the user's, or a file's return to the line: it ``waits`` in the queue unless it is ``dead``."""

    __slots__ = ("act", "dead", "recurring", "waits")

    def __init__(self, act: Act, *, recurring: bool = False) -> None:
        self.act = act
        self.dead = False
        self.waits = False
        self.recurring = recurring


class Work:
    """What a simulation remembers of one file in progress: that workers have or had it, or that it was polled.

    It is forgotten when the file ends.  It stands in the queue itself while a worker holds the file and the plan
    has said when that ends; ``dead`` if the file has ended otherwise meanwhile.
    """

    # Most works are made when a worker picks them up, and need no more than a few of these.
    picked_up = False
    """Whether a worker has it or had it."""
    held = False
    """Whether a worker has it now."""
    began = 0.0
    """When that worker picked it up."""
    outcome: Outcome | None = None
    """What becomes of it then."""
    stuck = False
    """Whether that never ends of itself."""
    tried = 0
    """How many times it has failed and is tried again."""
    entry: Entry | None = None
    """Its return to the line."""
    polls = 0
    dead = False

    def __init__(self, vector_store_id: str, file_id: str, attachment: int) -> None:
        self.vector_store_id = vector_store_id
        self.file_id = file_id
        self.attachment = attachment


class Known:
    """What a simulation remembers of one vector store."""

    __slots__ = ("attached", "polls", "seen_ended", "works")

    def __init__(self, attached: int = 0) -> None:
        self.attached = attached
        """The number of the next attachment among those that events have named."""
        self.works: dict[int, Work] = {}
        """By attachment."""
        self.polls: dict[str, int] = {}
        """By batch, how often it was polled, up to and with the poll that saw it ended."""
        self.seen_ended: set[str] = set()
        """The batches that were seen to have ended."""


class Machine(ABC):
    """The workers of a simulation."""

    def __init__(self, engine: Engine, clock: VirtualClock, plan: Plan, seed: int, *, record: bool) -> None:
        self.engine = engine
        self.clock = clock
        self.start = clock.time()
        self._view = engine.view
        self._processing = engine.processing
        self._drains = engine.profile.cancel == "drain"
        self._queue: list[tuple[float, int, int, Any]] = []
        self._sequence = 0
        """How many entries the queue has had."""
        self._known: dict[str, Known] = {}
        """By store."""
        self._busy = 0
        """How many workers hold a file."""
        self._acts = 0
        """The entries of the queue that do not recur and are no works."""
        self._recurring = 0
        """Those that do."""
        self._stuck = 0
        """The works that will never end of themselves."""
        self._again = 0
        """The works that were tried before."""
        self._ending: tuple[str, int] | None = None
        """The attachment that a worker is just ending."""
        self._window: Any = None
        """What is to be put of a part of the simulation in bulk, if anything is; see ``bulk``."""
        self._figures = Figures()
        self._timeline = Timeline(self._view, self.start, lambda: self._busy) if record else None
        # One random source for each purpose: another order does not change what becomes of the files.
        self._random = Random(f"{seed} plan")
        self._use(plan)
        self._line = self._new_line(Random(f"{seed} order"))
        self._line.want(whole=plan.names_files)
        self._take_on()
        self._unsubscribe = engine.subscribe(self._hear)

    def _use(self, plan: Plan) -> None:
        self._plan = plan
        self._most = inf if plan.workers is None else plan.workers
        self._retries = plan.retries
        decide = plan.decider(self._random)
        self._asked = decide if plan.size is None else partial(self._sized, decide)
        self._service = sampler(plan.service, self._random, self._size)

    def _new_line(self, random: Random) -> Line:
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
        self._known = {id: Known(view.next_attachment(id)) for id in view.vector_store_ids()}
        waiting: list[tuple[str, int, int]] = []
        for file in self._processing.pending(limit=2**62):
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

    @abstractmethod
    def _complete_window(self) -> None:
        """See ``bulk``."""

    # What is going to happen

    def _schedule(self, due: float, entry: Entry) -> None:
        if entry.recurring:
            self._recurring += 1
        else:
            self._acts += 1
        entry.waits = True
        self._enter(due, ACT, entry)

    def _enter(self, due: float, priority: int, what: Entry | Work) -> None:
        self._sequence += 1
        heappush(self._queue, (due, priority, self._sequence, what))

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
        """Do the next thing that is due, at ``limit`` at the latest; return whether there was one."""
        if self._window is not None:
            self._complete_window()
        queue, clock = self._queue, self.clock
        while queue and queue[0][3].dead:
            heappop(queue)
        now = clock.time()
        due = queue[0][0] if queue else inf
        if due > now or due > limit:
            if self._busy < self._most and self._pick_up(now):
                return True
            if not queue or due > limit:
                return False
            if self._timeline is not None:
                self._timeline.settle()
            now = clock.advance_to(due)
        _, priority, _, entry = heappop(queue)
        if priority == FINISH:
            self._finish(entry, now)
        else:
            self._forget(entry)
            entry.act()
        return True

    def _pick_up(self, now: float) -> bool:
        """Have a worker take a file; return whether one waited."""
        taken = self._line.take()
        if taken is None:
            return False
        store, attachment, at, file_id, file = taken
        works = self._known[store].works
        work = works.get(attachment)
        if work is None:
            work = works[attachment] = Work(store, file_id, attachment)
        tried, before = work.tried, work.picked_up
        # In a worker's hands before the plan is asked: a plan may give commands, and what they do to this very
        # file is then heard of like anything else.
        work.picked_up = work.held = True
        work.began = now
        self._busy += 1
        try:
            if self._drains and not tried:
                self._claim(store, (attachment,))
            outcome = self._asked(file, tried)
            after = outcome.after
            if after is None and not isinstance(outcome, Never):
                after = self._service(file)
        except BaseException:
            if work.held:
                work.held, work.picked_up = False, before
                self._busy -= 1
                self._line.put_back(taken[:3])
            raise
        if not tried:
            self._figures.waits.append(now - at)
        if self._timeline is not None:
            self._timeline.touched(store, attachment, now)
        if not work.held:
            return True
        if after is not None:
            work.outcome = outcome
            self._sequence += 1
            heappush(self._queue, (now + after, FINISH, self._sequence, work))
        elif isinstance(outcome, Never) and outcome.holds_worker:
            work.stuck = True
            self._stuck += 1
        else:
            work.held = False
            self._busy -= 1
        return True

    def _sized(self, decide: Decider, file: Any, tried: int) -> Outcome:
        outcome = decide(file, tried)
        if not isinstance(outcome, Completed) or outcome.usage_bytes is not None:
            return outcome
        return Completed(after=outcome.after, usage_bytes=self._size(file))

    def _claim(self, vector_store_id: str, attachments: Sequence[int]) -> None:
        # If a worker of another host or simulation holds a file, this one takes it over.
        self._processing.unchecked.claim_attachments(vector_store_id, attachments, "simulation")

    def _finish(self, work: Work, now: float) -> None:
        """A worker is done with a file, and free whatever comes of telling so."""
        self._busy -= 1
        work.held = False
        figures = self._figures
        figures.services.append(now - work.began)
        figures.last = now
        outcome = work.outcome
        if self._retries is not None and isinstance(outcome, Failed) and self._tried_again(work, outcome, now):
            return
        figures.ended += 1
        store = work.vector_store_id
        self._ending = store, work.attachment
        self._forget_work(self._known[store], work)
        try:
            self._end(store, work.file_id, outcome)
        finally:
            self._ending = None

    def _tried_again(self, work: Work, failed: Failed, now: float) -> bool:
        """Return whether the plan tries a file again, having scheduled its return to the line."""
        retries = cast("Retries", self._retries)
        if failed.code != "server_error" or work.tried >= retries.times:
            return False
        self._again += not work.tried
        work.tried += 1
        store, attachment = work.vector_store_id, work.attachment
        work.entry = Entry(partial(self._arrive, store, attachment, attachment + 1, now))
        self._schedule(now + retries.wait(work.tried), work.entry)
        self._figures.retried += 1
        if self._timeline is not None:
            self._timeline.touched(store, attachment, now)
        return True

    def _end(self, vector_store_id: str, file_id: str, outcome: Outcome | None) -> None:
        if isinstance(outcome, Completed):
            if outcome.usage_bytes is None and not self._view.asks_for_sizes:  # the most common case
                self._processing.unchecked.complete_attachment(vector_store_id, file_id, 0)
                return
            self._processing.complete(vector_store_id, file_id, usage_bytes=outcome.usage_bytes)
        elif isinstance(outcome, Failed):
            self._processing.fail(vector_store_id, file_id, code=outcome.code, message=outcome.message)

    # What is remembered

    def _work(self, vector_store_id: str, attachment: int) -> Work | None:
        """Return what is remembered of a file, if anything is."""
        known = self._known.get(vector_store_id)
        return None if known is None else known.works.get(attachment)

    def _held(self) -> Iterator[Work]:
        """Return the works that workers hold."""
        return (work for known in self._known.values() for work in known.works.values() if work.held)

    def _forget_work(self, known: Known, work: Work) -> None:
        del known.works[work.attachment]
        self._again -= work.tried > 0

    # What the engine tells

    def _hear(self, event: ev.Event) -> None:
        if self._window is not None:
            if self._window.owns(event):
                return
            self._complete_window()
        if self._timeline is not None:
            self._timeline.hear(event)
        if self._ending is not None and self._ending == _ended_one(event):
            return
        hear = _HEAR.get(type(event))
        if hear is not None:
            hear(self, event)

    def _arrive(self, store: str, first: int, stop: int, at: float) -> None:
        if self._figures.first is None:
            self._figures.first = at
        if self._plan.automatic:
            self._line.put(store, first, stop, at)

    def _release(self, known: Known, work: Work) -> None:
        """Forget a file that has ended otherwise, and free the worker that holds it, if one does."""
        self._forget_work(known, work)
        work.dead = True
        if work.held:
            work.held = False
            self._busy -= 1
            self._stuck -= work.stuck
            self._figures.broken_off += self.clock.time() - work.began
        elif work.entry is not None:
            self._cancel(work.entry)

    def _give_back(self, vector_store_id: str, attachment: int) -> None:
        """Have the worker that holds a file give it back to the line; so too a file that never ends."""
        work = self._work(vector_store_id, attachment)
        if work is None or not work.picked_up:
            return  # it waits for its first worker
        self._release(self._known[vector_store_id], work)
        claim = self._view.claim(vector_store_id, attachment)
        if claim is not None:
            self._processing.release([claim])
        self._arrive(vector_store_id, attachment, attachment + 1, self.clock.time())

    def _release_ended(self, vector_store_id: str) -> None:
        """Do so for all files of a store that have ended.  O(n), n being those that something is known of."""
        known = self._known.get(vector_store_id)
        if known is not None and known.works:
            works = list(known.works.values())
            now = self._view.each_in_progress([(vector_store_id, work.attachment) for work in works])
            for work, file_id in zip(works, now, strict=True):
                if file_id is None:
                    self._release(known, work)

    def _files_attached(self, event: ev.VectorStoreCreated | ev.FileBatchCreated | ev.FileAttached) -> None:
        self._line.look_again()
        store = event.vector_store_id
        attached = ev.attached(event)
        if not attached or not self._view.next_attachment(store):
            return  # nothing was attached; or the store was deleted since, by another subscriber
        known = self._known.setdefault(store, Known())
        first = known.attached
        stop = known.attached = first + len(attached)
        self._release_ended(store)
        self._arrive(store, first, stop, event.at)

    def _file_updated(self, _event: ev.FileUpdated) -> None:
        self._line.look_again()

    def _files_ended(
        self,
        event: ev.FileCompleted
        | ev.FileFailed
        | ev.FileDeleted
        | ev.FilesCompleted
        | ev.FilesFailed
        | ev.FilesCancelled,
    ) -> None:
        self._figures.last = event.at
        self._line.look_again()
        known = self._known.get(event.vector_store_id)
        for attachment in ev.ended_attachments(event):
            work = None if known is None else known.works.get(attachment)
            if known is not None and work is not None:
                self._release(known, work)

    def _batch_cancelled(self, event: ev.FileBatchCancelled) -> None:
        self._figures.last = event.at
        self._line.look_again()
        self._release_ended(event.vector_store_id)

    def _store_deleted(self, event: ev.VectorStoreDeleted) -> None:
        self._figures.last = event.at
        self._line.look_again()
        self._release_ended(event.vector_store_id)
        self._known.pop(event.vector_store_id, None)


def _ended_one(event: ev.Event) -> tuple[str, int] | None:
    """Return the attachment that the event ends, if it is of one file that was completed or failed."""
    if isinstance(event, (ev.FileCompleted, ev.FileFailed)):
        return event.vector_store_id, event.attachment
    return None


_HEAR: dict[type[ev.Event], Callable[[Machine, Any], None]] = {
    ev.VectorStoreCreated: Machine._files_attached,
    ev.FileBatchCreated: Machine._files_attached,
    ev.FileAttached: Machine._files_attached,
    ev.FileUpdated: Machine._file_updated,
    ev.FileCompleted: Machine._files_ended,
    ev.FileFailed: Machine._files_ended,
    ev.FileDeleted: Machine._files_ended,
    ev.FilesCompleted: Machine._files_ended,
    ev.FilesFailed: Machine._files_ended,
    ev.FilesCancelled: Machine._files_ended,
    ev.FileBatchCancelled: Machine._batch_cancelled,
    ev.VectorStoreDeleted: Machine._store_deleted,
}
