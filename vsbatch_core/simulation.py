"""The event queue and the processing plans: what becomes of files while a batch runs, on a virtual clock.

Theory
======

A simulation stands in for the machinery behind the API.  It hears of every attachment through the engine's host
face, puts it at the end of one line, and has a number of equal *workers* take files from the front.  The *plan*
says how long the worker needs for a file, and what becomes of it then.

All that is going to happen stands in one queue, ordered by ``(due, priority, sequence)``: by when it is due, at
the same instant what ends before what begins, and of equals the one that was scheduled first.  ``step`` does the
first of them and is the only thing that moves time; everything else is a loop over it.  So a run is a function
of the engine, the plan and the commands given between the steps.

A file that stops being in progress while it waits (its batch is cancelled, it is deleted, attached again, or
finished by somebody else) is passed over when its turn comes, in no time.  One that is being worked on frees its
worker **at once**, not when it would have been due (choice: a cancel is "as soon as possible").  A file attached
again goes to the end of the line.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count, repeat
from typing import Any

from attrs import field, frozen

from vsbatch_core import events as ev
from vsbatch_core.clock import VirtualClock
from vsbatch_core.engine import Engine
from vsbatch_core.errors import NotFound, shown
from vsbatch_core.model import ERROR_CODES, ErrorCode, VectorStoreFile


def _seconds(outcome: object, _attribute: object, value: Any) -> None:
    name = type(outcome).__name__
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name}(after=…) takes a number of seconds, not {shown(value)}.")
    if not 0 <= value <= sys.float_info.max:
        raise ValueError(
            f"{name}(after={shown(value)}): a file cannot be done before it is picked up. "
            "Give the seconds that a worker needs for it: finite, 0 or more."
        )


def _bytes(outcome: object, _attribute: object, value: Any) -> None:
    name = type(outcome).__name__
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}(usage_bytes=…) takes a whole number of bytes, not {shown(value)}.")
    if value < 0:
        raise ValueError(f"{name}(usage_bytes={shown(value)}): a file takes up 0 bytes or more.")


def _code(outcome: object, _attribute: object, value: Any) -> None:
    if value not in ERROR_CODES:
        codes = ", ".join(f"'{code}'" for code in ERROR_CODES)
        raise ValueError(f"{type(outcome).__name__}({shown(value)}): the API's error codes are {codes}.")


def _text(outcome: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{type(outcome).__name__}(message=…) takes a sentence or None, not {shown(value)}.")


@frozen
class Completed:
    """The file is processed: ``after`` seconds of a worker's time, and then takes up ``usage_bytes``.

    Without ``usage_bytes`` it is the size that the engine's ``known_file`` answers, or 0.
    """

    after: float = field(kw_only=True, validator=_seconds)
    usage_bytes: int | None = field(default=None, kw_only=True, validator=_bytes)


@frozen
class Failed:
    """The file cannot be processed, which takes a worker ``after`` seconds to find out.

    Without ``message`` it is what the API says with this ``code`` (recorded).
    """

    code: ErrorCode = field(validator=_code)
    after: float = field(kw_only=True, validator=_seconds)
    message: str | None = field(default=None, kw_only=True, validator=_text)


Outcome = Completed | Failed
Plan = Callable[[VectorStoreFile], Outcome]
"""Called once for each file, when a worker picks it up; answers what becomes of it, and how soon."""

_Key = tuple[str, str]
"""A vector store's id and a file's."""

_FINISH, _PICK_UP = 0, 1
"""Priorities.  What ends goes first, so that a worker that is free at an instant is free for all of it."""


class _Entry:
    """Something that is going to happen; ``act`` is ``None`` once it no longer is."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act


class _Job:
    """One file in a worker's hands; ``entry`` is its end, once the plan has said when that is."""

    __slots__ = ("entry",)

    def __init__(self) -> None:
        self.entry: _Entry | None = None


class _Line:
    """The attachments that wait, first come first served; every method but ``forget`` is O(1) for each file.

    A file can stand in it more than once, if it was attached again while it waited.  Only its last place counts:
    ``_stale`` says how many of its places, from the front, do not.
    """

    def __init__(self) -> None:
        # Two flat lines, not one of pairs: 16 bytes a file in place of 72.
        self._stores: deque[str] = deque()
        self._files: deque[str] = deque()
        self._members: dict[str, set[str]] = {}
        self._stale: Counter[_Key] = Counter()

    def put(self, vector_store_id: str, file_ids: Sequence[str]) -> None:
        """Have files wait, at the end."""
        members = self._members.setdefault(vector_store_id, set())
        if members:
            self._stale.update((vector_store_id, file_id) for file_id in file_ids if file_id in members)
        members.update(file_ids)
        self._stores.extend(repeat(vector_store_id, len(file_ids)))
        self._files.extend(file_ids)

    def put_back(self, key: _Key) -> None:
        """Have the file that was taken last wait again, at the front."""
        self._members[key[0]].add(key[1])
        self._stores.appendleft(key[0])
        self._files.appendleft(key[1])

    def take(self) -> _Key | None:
        """The file at the front, which then waits no more; ``None`` if no file waits."""
        while self._files:
            key = (self._stores.popleft(), self._files.popleft())
            members = self._members.get(key[0])
            if members is None:
                continue
            if key in self._stale:
                self._stale[key] -= 1
                if not self._stale[key]:
                    del self._stale[key]
                continue
            members.discard(key[1])
            return key
        return None

    def forget(self, vector_store_id: str) -> None:
        """Pass over every file of a store that is gone, for good: its id never comes again."""
        self._members.pop(vector_store_id, None)
        for key in [key for key in self._stale if key[0] == vector_store_id]:
            del self._stale[key]


class Simulation:
    """An engine whose files are processed by ``workers`` equal workers, as ``plan`` says, on a virtual clock.

    It takes on the files that are in progress when it is made, oldest first, and every file that is attached
    from then on.  It belongs to one thread.  The engine's clock may also be advanced by others; what was due
    meanwhile then happens late, at the clock's time.

    Raise ``TypeError`` or ``ValueError`` for an engine without a ``VirtualClock``, for fewer than 1 worker, and
    for a plan that cannot be called.

    >>> from vsbatch_core import Engine, SequentialIds, VirtualClock
    >>> engine = Engine(clock=VirtualClock(start=0), ids=SequentialIds())
    >>> simulation = Simulation(engine, plan=lambda file: Completed(after=3.0, usage_bytes=10), workers=2)
    >>> store = engine.vector_stores.create()
    >>> batch = engine.vector_stores.file_batches.create(store.id, file_ids=["file-a", "file-b", "file-c"])
    >>> simulation.run()
    >>> engine.clock.time()
    6.0
    >>> engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id).status
    'completed'
    """

    def __init__(self, engine: Engine, *, plan: Plan, workers: int = 8) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(f"Simulation takes an Engine, not {shown(engine)}.")
        clock = engine.clock
        if not isinstance(clock, VirtualClock):
            raise TypeError(
                f"A simulation moves time, and cannot move {shown(clock)}. "
                "Give it an engine on a clock that it can: Engine(clock=VirtualClock())."
            )
        if not callable(plan):
            raise TypeError(
                f"A plan is called with a file and answers what becomes of it; {shown(plan)} cannot be called. "
                "Write plan=lambda file: Completed(after=3.0)."
            )
        if not isinstance(workers, int) or isinstance(workers, bool):
            raise TypeError(f"workers is a whole number, not {shown(workers)}.")
        if workers < 1:
            raise ValueError(
                f"workers={shown(workers)}: without a worker no file would ever end. Give 1 or more."
            )
        self.engine = engine
        self.clock = clock
        self.plan = plan
        self.workers = workers
        self._queue: list[tuple[float, int, int, _Entry]] = []
        self._sequence = count()
        self._line = _Line()
        self._in_service: dict[_Key, _Job] = {}
        self._idle = workers
        """The workers that neither hold a file nor are about to pick one up."""
        for file in engine.ingest.pending(limit=sys.maxsize):
            self._arrive(file.vector_store_id, (file.id,))
        self._unsubscribe = engine.subscribe(self._hear)

    def __repr__(self) -> str:
        return f"<Simulation at {self.clock.time()!r}: {self.busy} of {self.workers} workers busy>"

    @property
    def busy(self) -> int:
        """How many workers hold a file.  O(1)."""
        return len(self._in_service)

    def close(self) -> None:
        """Take on no more files and hear of nothing more; what is in the workers' hands stays in progress."""
        self._unsubscribe()
        self._queue.clear()
        self._in_service.clear()

    def step(self) -> bool:
        """Do the next thing that is due, having moved the clock to it; answer whether there was one.

        It is either that a worker picks up a file, for which the plan is called, or that a file ends.
        O(log w + log n), w workers having files.

        If the plan raises, or answers no outcome (``TypeError``), the file is at the front of the line as
        before, and the next step asks for it anew.
        """
        queue = self._queue
        while queue:
            due, _, _, entry = heappop(queue)
            if entry.act is not None:
                if due > self.clock.time():
                    self.clock.advance_to(due)
                entry.act()
                return True
        return False

    def run(self) -> None:
        """Step until nothing is due any more: every file that is attached has ended."""
        while self.step():
            pass

    # What is going to happen

    def _schedule(self, due: float, priority: int, act: Callable[[], None]) -> _Entry:
        entry = _Entry(act)
        heappush(self._queue, (due, priority, next(self._sequence), entry))
        return entry

    def _pick_up_now(self) -> None:
        self._schedule(self.clock.time(), _PICK_UP, self._pick_up)

    def _pick_up(self) -> None:
        file = self._next()
        if file is None:
            self._idle += 1
            return
        key = (file.vector_store_id, file.id)
        # In a worker's hands before the plan is asked: a plan may give commands, and what they do to this very
        # file is then heard of like anything else.
        job = self._in_service[key] = _Job()
        try:
            outcome = self._asked(file)
        except BaseException:
            if self._in_service.get(key) is job:
                self._line.put_back(key)
                self._release(key)
            raise
        if self._in_service.get(key) is job:
            act = partial(self._finish, key, outcome)
            job.entry = self._schedule(self.clock.time() + outcome.after, _FINISH, act)

    def _asked(self, file: VectorStoreFile) -> Outcome:
        outcome: object = self.plan(file)
        if not isinstance(outcome, (Completed, Failed)):
            raise TypeError(
                f"The plan answered {shown(outcome)} for file {shown(file.id)}. "
                "Write Completed(after=3.0) or Failed('server_error', after=3.0)."
            )
        return outcome

    def _next(self) -> VectorStoreFile | None:
        """The next file in line that is still in progress."""
        while (key := self._line.take()) is not None:
            file = self._running(key)
            if file is not None:
                return file
        return None

    def _running(self, key: _Key) -> VectorStoreFile | None:
        try:
            file = self.engine.vector_stores.files.retrieve(key[1], vector_store_id=key[0])
        except NotFound:
            return None
        return file if file.status == "in_progress" else None

    def _finish(self, key: _Key, outcome: Outcome) -> None:
        del self._in_service[key]
        # Scheduled first: if a subscriber raises, the event stands and the worker is free all the same.
        self._pick_up_now()
        if isinstance(outcome, Completed):
            self.engine.ingest.complete(*key, usage_bytes=outcome.usage_bytes)
        else:
            self.engine.ingest.fail(*key, code=outcome.code, message=outcome.message)

    # What the engine tells

    def _hear(self, event: ev.Event) -> None:
        hear = _HEAR.get(type(event))
        if hear is not None:
            hear(self, event)

    def _arrive(self, vector_store_id: str, file_ids: Sequence[str]) -> None:
        if self._in_service:
            for file_id in file_ids:
                self._release((vector_store_id, file_id))
        self._line.put(vector_store_id, file_ids)
        woken = min(self._idle, len(file_ids))
        self._idle -= woken
        for _ in range(woken):
            self._pick_up_now()

    def _release(self, key: _Key) -> None:
        """Free the worker that holds the file, if one does."""
        job = self._in_service.pop(key, None)
        if job is not None:
            if job.entry is not None:
                job.entry.act = None
            self._pick_up_now()

    def _files_attached(self, event: ev.VectorStoreCreated | ev.FileBatchCreated) -> None:
        self._arrive(event.vector_store_id, [file.id for file in event.files])

    def _file_attached(self, event: ev.FileAttached) -> None:
        self._arrive(event.vector_store_id, (event.file.id,))

    def _file_ended(self, event: ev.FileCompleted | ev.FileFailed | ev.FileDeleted) -> None:
        self._release((event.vector_store_id, event.file_id))

    def _batch_cancelled(self, event: ev.FileBatchCancelled) -> None:
        for key in self._held(event.vector_store_id):
            if self._running(key) is None:
                self._release(key)

    def _store_deleted(self, event: ev.VectorStoreDeleted) -> None:
        self._line.forget(event.vector_store_id)
        for key in self._held(event.vector_store_id):
            self._release(key)

    def _held(self, vector_store_id: str) -> list[_Key]:
        return [key for key in self._in_service if key[0] == vector_store_id]


_HEAR: dict[type[ev.Event], Callable[[Simulation, Any], None]] = {
    ev.VectorStoreCreated: Simulation._files_attached,
    ev.FileBatchCreated: Simulation._files_attached,
    ev.FileAttached: Simulation._file_attached,
    ev.FileCompleted: Simulation._file_ended,
    ev.FileFailed: Simulation._file_ended,
    ev.FileDeleted: Simulation._file_ended,
    ev.FileBatchCancelled: Simulation._batch_cancelled,
    ev.VectorStoreDeleted: Simulation._store_deleted,
}
