"""A simulation in bulk: many files at once, with the same result as step by step.

Theory
======

While nobody is asked, nobody listens and nothing else is due, what becomes of all files that wait follows from
the random source.  It is drawn in the order in which files are picked up, which for a line that is first come,
first served is their own.  The next file is picked up by the worker that is free first, so a heap of the times at
which workers are free gives when; and files end in the order of ``(end, pick-up)``, which is that of the queue.

This is done in *windows*: of so many files, or up to a time.  A window stops at a time T at which each end until
T has happened, and each pick-up until T but for some at T itself: where single steps pass too.  It has three
parts:

*plan*
    Work everything out, drawing from a copy of the random source.  Nothing has happened.
*the commit point*
    One assignment, ``self._window = …``.
*put*
    End the files in the engine, by few calls for all of a store that end in the same way, and assign the state
    of the simulation.  All of it can be done again, and completes what was interrupted anywhere.

The engine is locked meanwhile, so that other threads give commands between windows alone.

The events of a window have the time of the last file that they name.  So the latest time that a store has seen is
what it is by steps, and so is when it was last active: where files end before and after its expiry they are named
by different events.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from heapq import heapreplace
from itertools import compress, repeat
from math import inf
from operator import add, attrgetter, is_, not_, sub
from random import Random
from typing import Any, NamedTuple, cast

from attrs import frozen

from vsbatch_core import events as ev
from vsbatch_core.clock import VirtualClock
from vsbatch_core.errors import NestedCommand
from vsbatch_core.model import DAY, Attributes
from vsbatch_core.simulation.durations import Duration, Many, Sizer, sampler
from vsbatch_core.simulation.machine import FINISH, Machine, Work
from vsbatch_core.simulation.outcomes import Failed, Outcome
from vsbatch_core.simulation.plans import COMPLETED, Plan
from vsbatch_core.simulation.queue import Fifo, Part
from vsbatch_core.view import View

LONG = 512
"""Fewer files than this end by one call, whether their numbers are a run or not."""
LEAST = 64
"""So many single steps come before a window, which for few files does not pay."""
FIRST_BLOCK = 256
"""How many files are drawn first where there is a horizon; then twice as many each time."""
WINDOW = 1 << 16
"""How many files a window has, unless there are many workers."""
A_WORKER = 16
"""How many files a window has at least for each worker that may be busy at its end: each costs as a step does."""


class Subject(NamedTuple):
    """What a plan that asks nobody looks at of a file."""

    id: str
    attributes: Attributes


class Group:
    """Files of one store that end in the same way, by rising attachment, and the time of the last.

    ``failed`` says in which way, if they fail; ``sizes`` what each takes up, unless all take up nothing.
    """

    __slots__ = ("attachments", "failed", "sizes", "time", "vector_store_id")

    def __init__(self, vector_store_id: str, failed: Failed | None) -> None:
        self.vector_store_id = vector_store_id
        self.failed = failed
        self.attachments: list[int] = []
        self.sizes: list[int] | None = None
        self.time = 0.0

    def names(self, attachment: int) -> bool:
        """Return whether an attachment is among these.  O(log n)."""
        place = bisect_left(self.attachments, attachment)
        return place < len(self.attachments) and self.attachments[place] == attachment


@frozen(kw_only=True)
class Window:
    """All that a window changes."""

    groups: list[Group]
    random_state: Any
    place: tuple[Part, int] | None
    """The first place in the line that waits still; ``None`` if nothing was picked up."""
    ended: list[Work]
    """Works that were held before, and end."""
    works: list[Work]
    """Works that are picked up, and are still held at the end."""
    queue: list[tuple[float, int, int, Any]]
    sequence: int
    busy: int
    known: tuple[int, int, int]
    """How many files had ended before, how many waits were known, and how many services."""
    waits: array[float]
    services: array[float]

    def owns(self, event: ev.Event) -> bool:
        """Return whether the event is one that putting this window causes.

        A store that expires meanwhile is one: nothing of the simulation follows from that.
        """
        if isinstance(event, ev.VectorStoreExpired):
            return True
        if not isinstance(event, (ev.FilesCompleted, ev.FilesFailed)):
            return False
        store, first = event.vector_store_id, event.attachments[0]
        return any(group.vector_store_id == store and group.names(first) for group in self.groups)


class _Files:
    """Files of a window, in columns."""

    def __init__(
        self, stores: list[str], rows: list[int], outcomes: list[Any], begins: list[float], ends: list[float]
    ) -> None:
        self.stores = stores
        self.rows = rows
        self.outcomes = outcomes
        self.begins = begins
        self.ends = ends

    @classmethod
    def held(cls, entries: list[tuple[float, int, int, Any]]) -> _Files:
        """Return those that workers hold, in the order of these entries of the queue."""
        works: list[Work] = [entry[3] for entry in entries]
        return cls(
            [work.vector_store_id for work in works],
            [work.attachment for work in works],
            [work.outcome for work in works],
            [work.began for work in works],
            [entry[0] for entry in entries],
        )

    def cut(self, n: int) -> None:
        """Keep the first ``n``."""
        for column in (self.stores, self.rows, self.outcomes, self.begins, self.ends):
            del column[n:]

    def chosen(self, here: list[bool]) -> _Files:
        """Return those for which ``here`` says so."""
        if all(here):
            return self
        return _Files(
            list(compress(self.stores, here)),
            list(compress(self.rows, here)),
            list(compress(self.outcomes, here)),
            list(compress(self.begins, here)),
            list(compress(self.ends, here)),
        )

    def at(self, places: Sequence[int]) -> _Files:
        """Return those at these places, in this order."""
        return _Files(
            [self.stores[i] for i in places],
            [self.rows[i] for i in places],
            [self.outcomes[i] for i in places],
            [self.begins[i] for i in places],
            [self.ends[i] for i in places],
        )

    def groups(self) -> list[Group]:
        """Return these files, which are of one store, in groups that end in the same way."""
        store, outcomes, rows = self.stores[0], self.outcomes, self.rows
        completed = Group(store, None)
        if all(map(is_, outcomes, repeat(COMPLETED))):
            completed.attachments = sorted(rows)
            completed.time = max(self.ends)
            return [completed]
        groups: dict[Failed | None, Group] = {None: completed}
        by_outcome: dict[int, Group] = {}
        sizes: dict[int, int] = {}
        for outcome, row, end in zip(outcomes, rows, self.ends, strict=True):
            group = by_outcome.get(id(outcome))
            if group is None:
                failed = Failed(outcome.code, message=outcome.message) if isinstance(outcome, Failed) else None
                group = by_outcome[id(outcome)] = groups.setdefault(failed, Group(store, failed))
            if group is completed and outcome.usage_bytes:
                sizes[row] = outcome.usage_bytes
            group.attachments.append(row)
            if end > group.time:
                group.time = end
        for group in groups.values():
            group.attachments.sort()
        if sizes:
            completed.sizes = [sizes.get(row, 0) for row in completed.attachments]
        return [group for group in groups.values() if group.attachments]


class _Draws:
    """What becomes of files, and how long they take: from a copy of the random source, in order of pick-up."""

    def __init__(self, plan: Plan, view: View, random: Random, size: Sizer) -> None:
        self._view = view
        self._start = random.getstate()
        self._random = Random()
        self._random.setstate(self._start)
        self._decide = plan.decider(self._random)
        self._service = sampler(plan.service, self._random, size)
        self._many: Many | None = None
        if plan.certain and not plan.names_files and isinstance(plan.service, Duration):
            self._many = plan.service.many(self._random, size)
        self._names_files = plan.names_files
        self.taken: list[tuple[Part, Sequence[int]]] = []
        """What was drawn for: attachments of parts of the line."""
        self.failed = False
        """Whether nothing can be drawn for the next file, because nobody knows its size."""

    def draw(self, part: Part, rows: Sequence[int]) -> tuple[list[Outcome], list[float]]:
        """Return the outcomes and the seconds of files: fewer if ``failed``."""
        outcomes, seconds = self._drawn(part.store, rows)
        self.taken.append((part, rows[: len(seconds)]))
        return outcomes, seconds

    def _drawn(self, store: str, rows: Sequence[int]) -> tuple[list[Outcome], list[float]]:
        if self._many is not None:
            return [COMPLETED] * len(rows), self._many(len(rows))
        decide, service = self._decide, self._service
        subjects: Iterable[Any] = repeat(None, len(rows))
        if self._names_files:
            ids, attributes = self._view.file_ids(store, rows), self._view.attributes(store, rows)
            subjects = map(Subject, ids, attributes)
        outcomes: list[Outcome] = []
        seconds: list[float] = []
        try:
            for subject in subjects:
                outcome = decide(subject, 0)
                after = outcome.after
                seconds.append(service(subject) if after is None else after)
                outcomes.append(outcome)
        except ValueError:  # of the sizer; the step that picks the file up raises it
            self.failed = True
        return outcomes, seconds

    def after(self, n: int) -> Any:
        """Return the state of the random source after the first ``n`` files."""
        if self.failed or n < sum(len(rows) for _, rows in self.taken):
            self._random.setstate(self._start)
            for part, rows in self.taken:
                self._drawn(part.store, rows[:n])
                n -= min(n, len(rows))
        return self._random.getstate()

    def place(self, n: int) -> tuple[Part, int] | None:
        """Return the place in the line after the first ``n`` files; ``None`` if ``n`` is 0."""
        for part, rows in self.taken:
            if 0 < n <= len(rows):
                return part, rows[n - 1] + 1
            n -= len(rows)
        return None


class Bulk(Machine):
    """A machine that does in bulk what can be foreseen."""

    def _go_on(self, limit: float) -> None:
        """Do all that is due until ``limit``."""
        steps, more = 0, True
        while more:
            # A window looks at all that is held: so many steps pay for that, whatever it comes to.
            if steps >= LEAST and 4 * steps >= self._busy:
                steps = 0
                self._windows(limit)
            more = self._step(limit)
            steps += 1

    def _windows(self, limit: float) -> None:
        """Do in bulk what can be foreseen until ``limit``."""
        try:
            with self._view.hold():
                while self._foreseeable() and (window := self._planned(limit)) is not None:
                    self._window = window
                    self._put(window, again=False)
        except BaseException:
            # Where the caller holds the lock, the engine cannot tell a command that was interrupted from one that
            # is under way, and refuses another: then whoever uses the simulation next completes the window.
            with suppress(NestedCommand):
                self._complete_window()
            raise

    def _foreseeable(self) -> bool:
        """Return whether nothing can happen but that files are picked up and end as the random source says."""
        view, queue = self._view, self._queue
        return (
            self._plan.foreseeable
            and not (self._acts or self._recurring or self._again or self._drains)
            and self._timeline is None
            and type(self.clock) is VirtualClock
            and not view.asks_for_sizes
            and not view.claimed
            and view.subscribers == 1
            and view.settled
            and (not queue or queue[0][0] >= self.clock.time())
        )

    def _complete_window(self) -> None:
        """Put the window that an exception has interrupted, if one has."""
        if self._window is not None:
            self._view.vector_store_ids()  # locks by itself: so the engine completes what was interrupted in it
            with self._view.hold():
                if self._window is not None:  # another thread may have put it
                    self._put(self._window, again=True)

    # Planning

    def _planned(self, limit: float) -> Window | None:
        """Return the next window, up to ``limit``; ``None`` if nothing can happen in it."""
        held = sorted(entry for entry in self._queue if not entry[3].dead)
        before = len(held)
        files = _Files.held(held)
        draws = _Draws(self._plan, self._view, self._random, self._size)
        waits, more = self._picked_up(files, draws, limit)
        begins, ends = files.begins, files.ends
        if more and len(begins) == before:
            return None  # a step raises what is the matter
        until = min(limit, begins[-1]) if more else limit
        stop = bisect_right(begins, until, before)
        begun = stop - before
        files.cut(stop)
        here = list(map(until.__ge__, ends))
        rest = sorted(compress(range(stop), map(not_, here)), key=ends.__getitem__)
        if begun == 0 and len(rest) == stop:
            return None
        begun_now = [i for i in rest if i >= before]
        works = dict(zip(begun_now, self._new_works(files, begun_now), strict=True))
        first = self._sequence + 1 - before
        entries = [held[i] if i < before else (ends[i], FINISH, first + i, works[i]) for i in rest]
        figures = self._figures
        return Window(
            groups=self._groups(files.chosen(here)),
            random_state=draws.after(begun),
            place=draws.place(begun),
            ended=[entry[3] for entry, ends_now in zip(held, here, strict=False) if ends_now],
            works=list(works.values()),
            queue=entries,
            sequence=self._sequence + begun,
            busy=self._busy + begun - here.count(True),
            known=(figures.ended, len(figures.waits), len(figures.services)),
            waits=array("d", waits[:begun]),
            services=array("d", map(sub, compress(ends, here), compress(begins, here))),
        )

    def _picked_up(self, files: _Files, draws: _Draws, limit: float) -> tuple[list[float], bool]:
        """Add the files that wait; return how long each waited, and whether more wait that may be picked up."""
        line = cast("Fifo", self._line)
        now, waiting = self.clock.time(), sum(part.stop - part.start for part in line)
        size = int(max(WINDOW, A_WORKER * min(self._most, waiting)))
        free = self._free(files.ends, now, waiting)
        waits: list[float] = []
        if free == []:
            return waits, False
        block = size if limit == inf else FIRST_BLOCK
        for part in line:
            start = part.start
            while found := self._view.in_progress(part.store, start, part.stop, min(block, size - len(waits))):
                outcomes, seconds = draws.draw(part, found)
                n, at = len(seconds), part.at
                begins = [now] * n if free is None else [heapreplace(free, free[0] + by) for by in seconds]
                files.stores += [part.store] * n
                files.rows += found[:n]
                files.outcomes += outcomes
                files.begins += begins
                files.ends += map(add, begins, seconds)
                waits += [begin - at for begin in begins]
                if draws.failed or len(waits) >= size or begins[-1] > limit:
                    return waits, True
                start = found[-1] + 1
                block = min(2 * block, size)
        return waits, False

    def _free(self, ends: list[float], now: float, waiting: int) -> list[float] | None:
        """Return when each worker is free, as a heap; ``None`` if there are as many as files that wait.

        ``ends`` says when those are done that hold a file that ends, in rising order.
        """
        idle = self._most - self._busy
        if idle >= waiting:
            return None
        if idle < 0:  # a plan with fewer workers has come: the first of them take no other file
            return ends[int(-idle) :]
        return [now] * int(idle) + ends

    def _new_works(self, files: _Files, places: list[int]) -> list[Work]:
        """Return what is known of files that are picked up and do not end, in the same order."""
        by_store: dict[str, list[int]] = {}
        for i in places:
            by_store.setdefault(files.stores[i], []).append(i)
        found: dict[int, Work] = {}
        for store, those in by_store.items():
            file_ids = self._view.file_ids(store, [files.rows[i] for i in those])
            for i, file_id in zip(those, file_ids, strict=True):
                work = found[i] = Work(store, file_id, files.rows[i])
                work.picked_up = work.held = True
                work.began = files.begins[i]
                work.outcome = files.outcomes[i]
        return [found[i] for i in places]

    def _groups(self, files: _Files) -> list[Group]:
        """Return files that end in the groups that the engine is called for, in the order of the last of each."""
        parts = [files]
        if len(set(files.stores)) != 1:
            places: dict[str, list[int]] = {}
            for i, store in enumerate(files.stores):
                places.setdefault(store, []).append(i)
            parts = [files.at(of) for of in places.values()]
        groups = [group for part in parts for segment in self._segments(part) for group in segment.groups()]
        return sorted(groups, key=attrgetter("time"))

    def _segments(self, files: _Files) -> list[_Files]:
        """Return files of one store in the parts that events must name for it to be active last as by steps."""
        store = self.engine.vector_stores.retrieve(files.stores[0])
        if store.expires_after is None:
            return [files]
        order = sorted(range(len(files.ends)), key=files.ends.__getitem__)
        times = [files.ends[i] for i in order]
        found: list[_Files] = []
        active, start = store.last_active_at, 0
        while start < len(times):
            stop = bisect_left(times, active + store.expires_after.days * DAY, start)
            if stop == start:  # it has expired, and is not active again
                stop = len(times)
            found.append(files.at(order[start:stop]))
            active, start = max(active, int(times[stop - 1])), stop
        return found

    # Putting: all of this can be done again

    def _put(self, window: Window, *, again: bool) -> None:
        clock, known = self.clock, self._known
        for group in window.groups:
            if group.time > clock.time():
                clock.advance_to(group.time)
            self._end_group(group, again=again)
        self._random.setstate(window.random_state)
        if window.place is not None:
            self._line.look_again()
            cast("Fifo", self._line).skip_to(*window.place)
        for work in window.ended:
            known[work.vector_store_id].works.pop(work.attachment, None)
        for work in window.works:
            known[work.vector_store_id].works[work.attachment] = work
        self._queue[:] = window.queue
        self._sequence, self._busy = window.sequence, window.busy
        figures = self._figures
        ended, waits, services = window.known
        figures.ended = ended + len(window.services)
        if window.groups:
            figures.last = window.groups[-1].time
        figures.waits[waits:] = window.waits
        figures.services[services:] = window.services
        self._window = None

    def _end_group(self, group: Group, *, again: bool) -> None:
        """End the files of a group in the engine; ``again`` if some of them may have ended already."""
        store, attachments, sizes = group.vector_store_id, group.attachments, group.sizes
        if again:
            ids = self._view.each_in_progress([(store, attachment) for attachment in attachments])
            here = [file_id is not None for file_id in ids]
            attachments = list(compress(attachments, here))
            sizes = sizes and list(compress(sizes, here))
        for chosen in _runs(attachments):
            numbers = attachments[chosen]
            file_ids = self._view.file_ids(store, numbers)
            if group.failed is not None:
                code, message = group.failed.code, group.failed.message
                self._processing.fail_many(store, file_ids, attachments=numbers, code=code, message=message)
            else:
                usage_bytes = sizes[chosen] if sizes else 0
                self._processing.complete_many(store, file_ids, attachments=numbers, usage_bytes=usage_bytes)


def _runs(numbers: list[int]) -> list[slice]:
    """Return rising numbers in parts: the run in the middle, which the engine ends in C, and what is around it.

    What few workers end in a window is such a run, but for a few numbers at both ends.
    """
    n = len(numbers)
    if n < LONG or numbers[-1] - numbers[0] < n:
        return [slice(n)] if n else []
    # How many are missing before each never falls, and is the same within a run.
    missing = numbers[n // 2] - n // 2
    places = range(n)
    start = bisect_left(places, missing, key=lambda i: numbers[i] - i)
    stop = bisect_right(places, missing, key=lambda i: numbers[i] - i)
    if stop - start < n // 2:
        return [slice(n)]
    return [part for part in (slice(0, start), slice(start, stop), slice(stop, n)) if part.start != part.stop]
