"""A simulation: the machine with time, an engine of its own if need be, and the user's acts."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, inf, isfinite, nextafter
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from attrs import evolve

from vsbatch_core.adapters.faults import Faults
from vsbatch_core.clock import SeededIds, VirtualClock
from vsbatch_core.engine import Engine
from vsbatch_core.errors import AlreadyFinished, NotAttached, shown
from vsbatch_core.model import Profile, VectorStoreFile, VectorStoreFileBatch
from vsbatch_core.simulation.clients import ClientSide, as_faults
from vsbatch_core.simulation.machine import Act, Entry, Known, Work
from vsbatch_core.simulation.outcomes import number
from vsbatch_core.simulation.plans import Decide, Plan
from vsbatch_core.simulation.plans import workers as whole_workers
from vsbatch_core.simulation.report import Report
from vsbatch_core.simulation.timeline import Timeline

Polled = TypeVar("Polled", VectorStoreFile, VectorStoreFileBatch)


def as_plan(given: Any) -> Plan:
    """A plan, from one or from a function of a file; the default plan from ``None``.  Raise ``TypeError``."""
    if given is None:
        return Plan()
    if isinstance(given, Plan):
        return given
    if not callable(given) or isinstance(given, type):
        raise TypeError(
            f"plan is a Plan or a function of a file that answers what becomes of it, not {shown(given)}. "
            "Write plan=Plan(service=3.0) or plan=lambda file: Completed(after=3.0)."
        )
    return Plan(decide=given)


def _delay(what: str, value: Any) -> float:
    """Seconds from now; raise ``TypeError`` or ``ValueError``."""
    if not (number(f"{what}(…)", value) >= 0 and isfinite(value)):
        raise ValueError(
            f"{what}({shown(value)}): time does not go back, nor to its end. Give seconds: finite, 0 or more."
        )
    return float(value)


def _act(action: Any) -> Act:
    if not callable(action):
        raise TypeError(f"An act is a function of nothing, not {shown(action)}. Write lambda: engine.….")
    return action  # type: ignore[no-any-return]  # it can be called, and what it returns is dropped


class Simulation(ClientSide):
    """An engine whose files are processed as ``plan`` says, on a virtual clock that it moves.

    Without ``engine`` it makes one, on a new ``VirtualClock``, with ids from the seed and the plan's ``cancel``.
    Of one that is given it takes on the files that are in progress, oldest first, and like those of its own every
    file that is attached from then on.  Instead of a ``Plan`` it takes the function of one that is ``decide``
    alone; ``workers`` overrides the plan's.  ``seed`` is what all chance comes from: the same seed and the same
    commands tell the same events, byte for byte.  ``faults`` are what clients meet at its ``api``, and so through
    ``client`` and ``async_client``; the engine stays exact.  With ``record`` it keeps a ``timeline``.

    It belongs to one thread, but for ``advance``, ``polled`` and the clients, which any may call.  The engine's
    clock may also be advanced by others; what was due meanwhile then happens late, at the clock's time.

    Raise ``TypeError`` or ``ValueError`` for an engine without a ``VirtualClock``, for one whose profile
    contradicts the plan's ``cancel``, and for arguments that cannot be meant.

    >>> simulation = Simulation(seed=7, plan=Plan(workers=2, service=3.0))
    >>> stores = simulation.engine.vector_stores
    >>> store = stores.create()
    >>> batch = stores.file_batches.create(store.id, file_ids=["file-a", "file-b", "file-c"])
    >>> simulation.advance(3.0)
    3.0
    >>> stores.file_batches.retrieve(batch.id, vector_store_id=store.id).file_counts
    FileCounts(in_progress=1, completed=2, failed=0, cancelled=0)
    >>> simulation.run_until_idle()
    6.0
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        seed: int = 0,
        plan: Plan | Decide | None = None,
        workers: int | None = None,
        faults: Faults | None = None,
        record: bool = False,
    ) -> None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise TypeError(f"seed is a whole number, not {shown(seed)}. Write seed=7.")
        plan = as_plan(plan)
        if workers is not None:
            plan = evolve(plan, workers=whole_workers(workers))
        if engine is None:
            profile = Profile(cancel=plan.cancel or "immediate")
            engine = Engine(clock=VirtualClock(), ids=SeededIds(seed), profile=profile)
        elif not isinstance(engine, Engine):
            raise TypeError(f"Simulation takes an Engine, not {shown(engine)}.")
        clock = engine.clock
        if not isinstance(clock, VirtualClock):
            raise TypeError(
                f"A simulation moves time, and cannot move {shown(clock)}. "
                "Give it an engine on a clock that it can: Engine(clock=VirtualClock())."
            )
        if plan.cancel not in (None, engine.profile.cancel):
            raise ValueError(
                f"Plan(cancel='{plan.cancel}'): the engine's profile says '{engine.profile.cancel}'. "
                f"Write Engine(…, profile=Profile(cancel='{plan.cancel}'))."
            )
        super().__init__(engine, clock, plan, seed, record=record)
        self.seed = seed
        self.faults = as_faults(faults)

    def __repr__(self) -> str:
        workers = "any number" if self.workers is None else self.workers
        return f"<Simulation at {self.clock.time()!r}: {self.busy} of {workers} workers busy>"

    def __enter__(self) -> Simulation:  # noqa: PYI034 - typing.Self would be one name for one method
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take on no more files and hear of nothing more; what is in the workers' hands stays in progress.

        What was recorded can still be read, and the clock still moves.
        """
        self._complete_window()
        if self._timeline is not None:
            self._timeline.settle()
        self._unsubscribe()
        self._queue.clear()
        self._line.clear()
        for known in self._known.values():
            known.works.clear()
        self._busy = self._acts = self._recurring = self._stuck = self._again = 0

    # Looking

    @property
    def plan(self) -> Plan:
        """The plan.  A new one holds from the next pick-up on; it must have the old one's order and cancel."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan | Decide) -> None:
        """Take another plan; raise ``ValueError`` for one that would have to begin at the beginning."""
        new = as_plan(plan)
        if not isinstance(plan, Plan):
            new = evolve(new, workers=self.workers, order=self._plan.order, cancel=self._plan.cancel)
        if (new.order, new.cancel, new.automatic) != (self._plan.order, self._plan.cancel, self._plan.automatic):
            raise ValueError(
                "A simulation keeps its plan's order, its cancel and whether files end of themselves. "
                "Write evolve(simulation.plan, service=2.0), or make another simulation."
            )
        self._use(new)
        self._line.want(whole=new.names_files)

    @property
    def workers(self) -> int | None:
        """How many workers there are; ``None`` if as many as there are files."""
        return self._plan.workers

    @property
    def busy(self) -> int:
        """How many workers hold a file.  O(1)."""
        self._complete_window()
        return self._busy

    @property
    def now(self) -> float:
        """The seconds for which the simulation has run, on its clock."""
        self._complete_window()
        return self.clock.time() - self.start

    @property
    def idle(self) -> bool:
        """Whether nothing is going to happen but recurring acts, and what may be due at this very instant."""
        return self._acts + self.busy == self._stuck

    @property
    def timeline(self) -> Timeline:
        """What was recorded.  Raise ``ValueError`` if nothing is."""
        if self._timeline is None:
            raise ValueError("This simulation records no timeline. Write Simulation(…, record=True).")
        return self._timeline

    @property
    def report(self) -> Report:
        """The figures up to now.  O(n log n), n being the files that ended or are held."""
        self._complete_window()
        held = [work.began for work in self._held()]
        polls = {id: n for known in self._known.values() for id, n in known.polls.items()}
        return self._figures.report(self.workers, self.clock.time(), held, polls)

    # Going on

    def step(self) -> bool:
        """Do the next thing that is due, having moved the clock to it; return whether there was one.

        It is either that a worker picks up a file, for which the plan is asked, or that a file ends, or an act of
        the user's.  O(log w + log n), w workers having files.

        If the plan raises, the file is the next in line, and the next step asks for it anew.
        """
        return self._step(inf)

    def advance(self, seconds: float) -> float:
        """Do all that is due in the next ``seconds``, and stop exactly there; return ``now``.

        Any thread may call it.  Raise ``ValueError`` if ``seconds`` is negative or not finite: time does not go
        back.
        """
        # With the engine locked it meets no command half-way, and two threads that let time pass do so one after
        # the other.
        with self._view.hold():
            return self._advance_to(self.clock.time() + _delay("advance", seconds))

    def run(self, until: float | Callable[[], bool] | None = None) -> float:
        """Go on until ``now`` is ``until``, or until that function returns true; return ``now``.

        Without ``until``, and at the latest for a function when nothing at all is due any more, it stops when
        there is nothing to do: see ``run_until_idle``.  Raise ``ValueError`` for a time in the past.
        """
        if until is None:
            return self.run_until_idle()
        if callable(until):
            while not until() and self._step(inf):
                pass
            return self.now
        when = self.start + number("run(until=…)", until)
        if not (isfinite(when) and when >= self.clock.time()):
            raise ValueError(
                f"run(until={shown(until)}): it is {self.now:g} already, and time does not go back. "
                "Give a later time, in seconds since the simulation began."
            )
        return self._advance_to(when)

    def run_until_idle(self) -> float:
        """Go on until nothing is due any more but recurring acts; return ``now``.

        Every file has then ended, but those that never end, or not of themselves, and what waits behind them.
        What only the plan decides is done in bulk, as by ``advance`` and ``run(until=seconds)``: one event for
        many files, O(log w) for each, w workers having files.  After an interruption it can be called again.
        """
        if self._recurring:
            while self._step(self.clock.time() if self._recurring and self.idle else inf):
                pass
        else:
            self._go_on(inf)
        return self.now

    def at(self, seconds: float, action: Act) -> Callable[[], None]:
        """Have ``action`` called ``seconds`` from now; return a function that cancels it.

        At its instant it comes after the files that end and before those that are picked up.  Raise
        ``ValueError`` if ``seconds`` is negative or not finite.
        """
        entry = Entry(_act(action))
        self._schedule(self.clock.time() + _delay("at", seconds), entry)
        return lambda: self._cancel(entry)

    def every(self, seconds: float, action: Act) -> Callable[[], None]:
        """Have ``action`` called every ``seconds``, first ``seconds`` from now; return what cancels it.

        It goes on if it raises; turns that were missed while others let time pass are left out.
        ``run_until_idle`` does not wait for it.  Raise ``ValueError`` if ``seconds`` is not finite, not above 0,
        or too short for the clock to tell.
        """
        start, action = self.clock.time(), _act(action)
        if start + _delay("every", seconds) == start:
            raise ValueError(f"every({seconds!r}): time would stand still. Give more than 0 seconds, as 1.0.")

        def beat() -> None:
            try:
                action()
            finally:
                # Scheduled when it is done: an act that lets time pass must not come to itself again.
                if not entry.dead:
                    now = self.clock.time()
                    turn = floor((now - start) / seconds)
                    # One of the next two, but for what division and addition lose at the end of floats.
                    turns = (start + (turn + more) * seconds for more in range(3))
                    self._schedule(next((due for due in turns if due > now), nextafter(now, inf)), entry)

        entry = Entry(beat, recurring=True)
        self._schedule(start + seconds, entry)
        return lambda: self._cancel(entry)

    def release(self, file_id: str, *, vector_store_id: str) -> None:
        """Have the worker that holds a file give it back: it goes to the end of the line, to be decided anew.

        A file that waits for its first worker goes on waiting.  Raise ``NotAttached`` or ``AlreadyFinished`` if
        it is not in progress.
        """
        with self._view.hold():
            self._complete_window()
            attachments = self._view.attachments(vector_store_id, file_id)
            status = self._view.status(vector_store_id, attachments[-1]) if attachments else None
            if status is None:
                raise NotAttached(file_id, vector_store_id, "not attached", "release")
            if status != "in_progress":
                raise AlreadyFinished(file_id, vector_store_id, status, "release")
            self._give_back(vector_store_id, attachments[-1])

    def polled(self, looked_at: Polled) -> Polled:
        """Somebody looks at this batch or file; return it as it is to be shown to them.

        Does what is due at this instant.  It is what an HTTP face calls for each retrieval, and how a plan that
        ends files after a number of polls hears of them.  Any thread may call it.  Raise ``NotFound`` if it is
        gone.
        """
        with self._view.hold():
            return self._polled(looked_at)

    def _polled(self, looked_at: Polled) -> Polled:
        self._advance_to(self.clock.time())
        fresh = self._fresh(looked_at)
        view, store = self._view, fresh.vector_store_id
        polls = self._counted(fresh)
        if self._plan.polls is not None and polls >= self._plan.polls:
            attachments = (
                range(cast("int", fresh.attachment), cast("int", fresh.attachment) + 1)
                if isinstance(fresh, VectorStoreFile)
                else view.batch_attachments(store, fresh.id)
            )
            numbers = view.in_progress(store, attachments.start, attachments.stop, len(attachments))
            for file in view.files(store, numbers):
                outcome = self._asked(file, 0)
                if view.status(store, cast("int", file.attachment)) == "in_progress":
                    self._end(store, file.id, outcome)
            fresh = self._fresh(looked_at)
        if fresh.status != "in_progress" and not isinstance(fresh, VectorStoreFile):
            self._known[store].seen_ended.add(fresh.id)
        return fresh

    def _counted(self, fresh: VectorStoreFile | VectorStoreFileBatch) -> int:
        """Count a poll, unless an earlier one saw the batch or file ended; return how many there were."""
        known = self._known.setdefault(fresh.vector_store_id, Known())
        if not isinstance(fresh, VectorStoreFile):
            known.polls[fresh.id] = known.polls.get(fresh.id, 0) + (fresh.id not in known.seen_ended)
            return known.polls[fresh.id]
        if fresh.status != "in_progress":
            return 0
        attachment = cast("int", fresh.attachment)
        work = known.works.setdefault(attachment, Work(fresh.vector_store_id, fresh.id, attachment))
        work.polls += 1
        return work.polls

    @overload
    def _fresh(self, looked_at: VectorStoreFile) -> VectorStoreFile: ...
    @overload
    def _fresh(self, looked_at: VectorStoreFileBatch) -> VectorStoreFileBatch: ...
    def _fresh(self, looked_at: VectorStoreFile | VectorStoreFileBatch) -> VectorStoreFile | VectorStoreFileBatch:
        stores, id = self.engine.vector_stores, looked_at.vector_store_id
        if isinstance(looked_at, VectorStoreFile):
            return stores.files.retrieve(looked_at.id, vector_store_id=id)
        return stores.file_batches.retrieve(looked_at.id, vector_store_id=id)

    def _advance_to(self, when: float) -> float:
        self._go_on(when)
        if when > self.clock.time():
            if self._timeline is not None:
                self._timeline.settle()
            self.clock.advance_to(when)
        return self.now
