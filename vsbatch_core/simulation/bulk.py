"""A simulation in bulk: many files at once, with the same result as step by step.

Theory
======

While nobody is asked, nobody listens and nothing else is due, what becomes of all files that wait follows from
the random source.  It is drawn in the order in which files are picked up, which for a line that is first come,
first served is their own.  The next file is picked up by the worker that is free first, so the times at which
workers are free, in a heap or in order, give when.  In which order files end need not be worked out, but for what
is said of a store at the end.

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

One window follows another from what workers hold then, in columns.  Only after the last of them is what they
hold put into the queue, and claimed if a cancel is to leave it running.  Until then ``self._window`` is set, and
whoever looks at the simulation has that done first.

The engine is locked meanwhile, so that other threads give commands between windows alone.

The events of a window have the time of the last file that they name.  So the latest time that a store has seen is
what it is by steps, and so is when it was last active: where files end before and after its expiry they are named
by different events.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import heapreplace
from itertools import compress, pairwise, repeat
from math import inf
from operator import attrgetter, itemgetter
from random import Random
from typing import Any, NamedTuple, cast

from attrs import frozen

from vsbatch_core import events as ev
from vsbatch_core.clock import VirtualClock
from vsbatch_core.errors import NestedCommand
from vsbatch_core.model import DAY, Attributes
from vsbatch_core.simulation.durations import Duration, Many, OfSizes, PerMegabyte, Sizer, sampler
from vsbatch_core.simulation.machine import FINISH, Machine, Work
from vsbatch_core.simulation.outcomes import Failed, Outcome
from vsbatch_core.simulation.plans import COMPLETED, Plan
from vsbatch_core.simulation.queue import Fifo, Part
from vsbatch_core.view import View

LEAST = 64
"""So many single steps come before a window, which for few files does not pay."""
FIRST_BLOCK = 256
"""How many files are drawn first where there is a horizon; then twice as many each time."""
BLOCK = 1 << 13
"""How many files are drawn together at most: what is known of so many stays in the processor's caches."""
WINDOW = 1 << 16
"""How many files a window has, unless there are many workers."""
ROOM = 32
"""How many files are worked out for each that may be held, before those that have ended are put by."""
A_WORKER = 16
"""How many files a window has at least for each worker that may be busy at its end."""
MANY = 256
"""From so many workers on, when they are free is kept in a sorted list in place of a heap."""


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


class _Files:
    """Files that are picked up, in columns and in the order in which they are."""

    def __init__(
        self, stores: list[str], rows: list[int], outcomes: list[Any], begins: list[float], ends: list[float]
    ) -> None:
        self.stores = stores
        self.rows = rows
        self.outcomes = outcomes
        self.begins = begins
        self.ends = ends

    @classmethod
    def held(cls, queue: list[tuple[float, int, int, Any]]) -> _Files:
        """Return those that workers hold."""
        entries = sorted((entry for entry in queue if not entry[3].dead), key=itemgetter(2))
        works: list[Work] = [entry[3] for entry in entries]
        return cls(
            [work.vector_store_id for work in works],
            [work.attachment for work in works],
            [work.outcome for work in works],
            [work.began for work in works],
            [entry[0] for entry in entries],
        )

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> tuple[list[Any], ...]:
        """Return the columns."""
        return self.stores, self.rows, self.outcomes, self.begins, self.ends

    def copy(self) -> _Files:
        """Return the same files in columns of their own."""
        return _Files(*map(list, self.columns()))

    def add(
        self, store: str, rows: Sequence[int], outcomes: list[Outcome], begins: list[float], ends: list[float]
    ) -> None:
        """Add files of one store at the end."""
        self.stores += [store] * len(rows)
        self.rows += rows
        self.outcomes += outcomes
        self.begins += begins
        self.ends += ends

    def split(self, until: float) -> _Files:
        """Keep those that end until then, and return those that end later."""
        here = [end <= until for end in self.ends]
        rest = _Files([], [], [], [], [])
        if False in here:
            first = here.index(False)  # most of those that end later were picked up last
            here = here[first:]
            later = [not ends for ends in here]
            for column, others in zip(self.columns(), rest.columns(), strict=True):
                some = column[first:]
                others.extend(compress(some, later))
                column[first:] = compress(some, here)
        return rest

    def apart(self, bounds: Sequence[int]) -> list[_Files]:
        """Return files of one store, apart by the attachments at which something begins."""
        rows = self.rows
        if not bounds:
            return [self]
        rising = self if rows == sorted(rows) else self.at(sorted(range(len(rows)), key=rows.__getitem__))
        cuts = [0, *[bisect_left(rising.rows, bound) for bound in bounds], len(rows)]
        columns = rising.columns()
        return [
            _Files(*[column[start:stop] for column in columns]) for start, stop in pairwise(cuts) if start < stop
        ]

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
        if outcomes.count(COMPLETED) == len(outcomes):
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


@frozen(kw_only=True)
class Window:
    """All that a window changes."""

    groups: list[Group]
    """The files that end, in the order of the last of each; none once all of this has been put."""
    random_state: Any
    place: tuple[Part, int] | None
    """The first place in the line that waits still; ``None`` if nothing was picked up."""
    held: _Files
    """Those that workers hold at the end."""
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
        self._of_sizes: OfSizes | None = None
        if plan.certain and isinstance(plan.service, PerMegabyte):
            self._of_sizes = plan.service.of_sizes
        elif plan.certain and isinstance(plan.service, Duration):
            self._many = plan.service.many(self._random, size)
        self._names_files = plan.names_files
        self.taken: list[tuple[Part, Sequence[int]]] = []
        """What was drawn for: attachments of parts of the line."""
        self.may_fail = isinstance(plan.service, PerMegabyte)
        """Whether ``failed`` may come to be true."""
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
        if self._of_sizes is not None:
            sizes: list[Any] = [pairs.get("bytes") for pairs in self._view.attributes(store, rows)]
            if set(map(type, sizes)) == {int} and min(sizes) >= 0:
                return [COMPLETED] * len(rows), self._of_sizes(sizes)
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
                while (window := self._next_window(limit)) is not None:
                    self._window = window
                    self._put(window, again=False)
                self._complete_window()
        except BaseException:
            # Where the caller holds the lock, the engine cannot tell a command that was interrupted from one that
            # is under way, and refuses another: then whoever uses the simulation next completes the window.
            with suppress(NestedCommand):
                self._complete_window()
            raise

    def _next_window(self, limit: float) -> Window | None:
        """Return the next window, up to ``limit``; ``None`` if nothing can happen in it."""
        if not self._foreseeable():
            return None
        last: Window | None = self._window
        if last is not None:
            return self._planned(limit, last.held)
        queue = self._queue
        if queue and queue[0][0] < self.clock.time():
            return None  # others have moved the clock: it happens late
        return self._planned(limit, _Files.held(queue))

    def _foreseeable(self) -> bool:
        """Return whether nothing can happen but that files are picked up and end as the random source says."""
        view = self._view
        return (
            self._plan.foreseeable
            and not (self._acts or self._recurring or self._again)
            and self._timeline is None
            and type(self.clock) is VirtualClock
            and not view.asks_for_sizes
            and not view.claims_lapse
            and view.subscribers == 1
            and view.settled
        )

    def _complete_window(self) -> None:
        """Put the window that was interrupted, if one was, and have the workers hold what is left."""
        if self._window is not None:
            self._view.vector_store_ids()  # locks by itself: so the engine completes what was interrupted in it
            with self._view.hold():
                if self._window is not None:  # another thread may have put it
                    self._put(self._window, again=True)
                    self._hand_over(self._window.held)

    # Planning

    def _planned(self, limit: float, held: _Files) -> Window | None:
        """Return the next window, up to ``limit``, which begins with what workers hold; ``None`` for none."""
        draws = _Draws(self._plan, self._view, self._random, self._size)
        now, figures, waiting = self.clock.time(), self._figures, self._waiting()
        size = int(max(WINDOW, A_WORKER * min(self._most, waiting)))
        free = self._free(held, now, waiting)
        # What ends until then ends in this window, wherever that stops.
        sure = limit if free is None and size >= waiting and not draws.may_fail else now
        files, waits, services = held.copy(), array("d"), array("d")
        groups: list[Group] = []
        begun, more, latest = 0, False, now
        room = BLOCK + ROOM * len(free or ())
        for part, rows in [] if free == [] else self._blocks(size, BLOCK if limit == inf else FIRST_BLOCK):
            outcomes, seconds = draws.draw(part, rows)
            begins, ends = _served(free, now, seconds)
            latest = begins[-1] if begins else latest
            if latest > limit:
                more = True
                n = bisect_right(begins, limit)
                outcomes, begins, ends = outcomes[:n], begins[:n], ends[:n]
            rows = rows[: len(begins)]
            files.add(part.store, rows, outcomes, begins, ends)
            at = part.at
            waits.fromlist([begin - at for begin in begins])
            begun += len(begins)
            more = more or draws.failed or begun >= size
            if more:
                break
            if len(files) >= room:
                if not any(map(self._expires, set(files.stores))):
                    files = self._ended(files, sure if free is None else latest, groups, services)
                room = max(room, ROOM * len(files))
        if more and not begun:
            return None  # a step raises what is the matter, or it is too early
        until = min(limit, latest) if more else limit
        files = self._ended(files, until, groups, services)
        if not begun and not groups:
            return None
        return Window(
            groups=sorted(groups, key=attrgetter("time")),
            random_state=draws.after(begun),
            place=draws.place(begun),
            held=files,
            known=(figures.ended, len(figures.waits), len(figures.services)),
            waits=waits,
            services=services,
        )

    def _waiting(self) -> int:
        """Return how many files wait, or a number that is more than the workers are."""
        n = 0
        for part in cast("Fifo", self._line):
            n += part.stop - part.start
            if n > self._most:
                break
        return n

    def _blocks(self, size: int, block: int) -> Iterator[tuple[Part, Sequence[int]]]:
        """Return the files that wait in order, ``size`` of them at most: first ``block`` together, then more."""
        for part in cast("Fifo", self._line):
            start = part.start
            while size and (rows := self._view.in_progress(part.store, start, part.stop, min(block, size))):
                yield part, rows
                size -= len(rows)
                start = rows[-1] + 1
                block = min(2 * block, BLOCK)

    def _free(self, held: _Files, now: float, waiting: int) -> list[float] | None:
        """Return when each worker is free, in order; ``None`` if there are as many as files that wait."""
        idle = self._most - len(held) - self._stuck
        if idle >= waiting:
            return None
        ends = sorted(held.ends)
        if idle < 0:  # a plan with fewer workers has come: the first of them take no other file
            return ends[int(-idle) :]
        return [now] * int(idle) + ends

    def _expires(self, vector_store_id: str) -> bool:
        """Return whether a store expires: what ends in it in a window is then looked at together."""
        return self.engine.vector_stores.retrieve(vector_store_id).expires_after is not None

    def _ended(self, files: _Files, until: float, groups: list[Group], services: array[float]) -> _Files:
        """Add what ends until then to the groups, and its services; return what ends later."""
        rest = files.split(until)
        if files.rows:
            groups += self._groups(files)
            for start in range(0, len(files), BLOCK):
                some = slice(start, start + BLOCK)
                pairs = zip(files.begins[some], files.ends[some], strict=True)
                services.fromlist([end - begin for begin, end in pairs])
        return rest

    def _groups(self, files: _Files) -> list[Group]:
        """Return files that end in the groups that the engine is called for, in the order of the last of each."""
        parts = [files]
        if len(set(files.stores)) != 1:
            places: dict[str, list[int]] = {}
            for i, store in enumerate(files.stores):
                places.setdefault(store, []).append(i)
            parts = [files.at(of) for of in places.values()]
        segments = [segment for part in parts for segment in self._segments(part)]
        groups = [group for segment in segments for files in self._by_batch(segment) for group in files.groups()]
        return sorted(groups, key=attrgetter("time"))

    def _by_batch(self, files: _Files) -> list[_Files]:
        """Return files of one store apart by batch, which finishes with the last of its own."""
        rows = files.rows
        return files.apart(self._view.batch_bounds(files.stores[0], min(rows), max(rows) + 1))

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
        """End files, and have those that were picked up wait no more; ``again`` if some have ended."""
        clock, figures = self.clock, self._figures
        for group in window.groups:
            if group.time > clock.time():
                clock.advance_to(group.time)
            self._end_group(group, again=again)
        self._random.setstate(window.random_state)
        if window.place is not None:
            self._line.look_again()
            cast("Fifo", self._line).skip_to(*window.place)
        ended, waits, services = window.known
        figures.ended = ended + len(window.services)
        if window.groups:
            figures.last = window.groups[-1].time
        figures.waits[waits:] = window.waits
        figures.services[services:] = window.services
        window.groups.clear()

    def _hand_over(self, held: _Files) -> None:
        """Have the workers hold these files and no others, and the queue their ends; there is no window then."""
        queue, known = self._queue, self._known
        before = {(work.vector_store_id, work.attachment): work for *_, work in queue if not work.dead}
        names = list(zip(held.stores, held.rows, strict=True))
        file_ids = self._view.each_in_progress(names)
        if self._drains:
            self._claim_each(compress(names, file_ids))
        works: list[Work] = []
        for (store, row), file_id, outcome, began in zip(
            names, file_ids, held.outcomes, held.begins, strict=True
        ):
            # It has no id any more if it has ended otherwise just now, which the simulation hears of next.
            work = before.get((store, row)) or Work(store, file_id or "", row)
            work.picked_up = work.held = True
            work.outcome, work.began = outcome, began
            works.append(work)
        for store, row in before:
            known[store].works.pop(row, None)
        for work in works:
            known[work.vector_store_id].works[work.attachment] = work
        numbers = range(self._sequence + 1, self._sequence + 1 + len(works))
        queue[:] = sorted(zip(held.ends, repeat(FINISH), numbers, works, strict=False))
        self._sequence += len(works)
        self._busy = len(works) + self._stuck
        self._window = None

    def _claim_each(self, names: Iterable[tuple[str, int]]) -> None:
        """Claim attachments, given by store and number, unless they are claimed."""
        attachments: dict[str, list[int]] = {}
        for store, attachment in names:
            attachments.setdefault(store, []).append(attachment)
        for store, those in attachments.items():
            self._claim(store, those)

    def _end_group(self, group: Group, *, again: bool) -> None:
        """End the files of a group in the engine; ``again`` if some of them may have ended already."""
        store, attachments, sizes = group.vector_store_id, group.attachments, group.sizes
        if again:
            ids = self._view.each_in_progress([(store, attachment) for attachment in attachments])
            here = [file_id is not None for file_id in ids]
            attachments = list(compress(attachments, here))
            sizes = sizes and list(compress(sizes, here))
        if not attachments:
            return
        if group.failed is None and sizes is None:
            self._processing.unchecked.complete_attachments(store, attachments)
            return
        file_ids = self._view.file_ids(store, attachments)
        if group.failed is not None:
            code, message = group.failed.code, group.failed.message
            self._processing.fail_many(store, file_ids, attachments=attachments, code=code, message=message)
        else:
            self._processing.complete_many(store, file_ids, attachments=attachments, usage_bytes=sizes or 0)


def _served(free: list[float] | None, now: float, seconds: list[float]) -> tuple[list[float], list[float]]:
    """Return when files begin and end that take so long, each by the worker that is free first.

    ``free`` says when the workers are free, in order or as a heap, and is changed; ``None`` is any number.
    """
    if free is None:
        return [now] * len(seconds), [now + taken for taken in seconds]
    if len(free) >= MANY:
        return _served_by_many(free, seconds)
    begins = [heapreplace(free, free[0] + taken) for taken in seconds]
    return begins, [begin + taken for begin, taken in zip(begins, seconds, strict=True)]


def _served_by_many(free: list[float], seconds: list[float]) -> tuple[list[float], list[float]]:
    """Do the same for many workers, with ``free`` in order before and after: an eighth of them at a time.

    These are the first that are free, unless one that takes a file now is free again before the last of them.
    """
    begins: list[float] = []
    ends: list[float] = []
    step = len(free) >> 3
    for place in range(0, len(seconds), step):
        some = seconds[place : place + step]
        run = free[: len(some)]
        longest = run[-1] - run[0]
        for i in [i for i, taken in enumerate(some) if taken <= longest]:
            again = run[i] + some[i]  # those before it are as they will be
            if again < run[-1]:
                insort(run, again)
                run.pop()
        done = [begin + taken for begin, taken in zip(run, some, strict=True)]
        begins += run
        ends += done
        free += done
        free.sort()
        del free[: len(run)]  # of all times, these are the first
    return begins, ends
