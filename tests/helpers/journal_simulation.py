"""Several processes of several threads over one fake log, all from one seed; and the judge of what they
return.

A history is a list of epochs.  In an epoch threads of a few processes give commands and read, while things
go wrong; the clock stands still.  At its end all of them have returned, and the judge looks for an order of
what was done, one after the other, in which the oracle returns the same:

* What returned took place once, between its call and its return; a refusal too.
* What raised ``DatabaseUnavailable`` did not take place, and the log did fail.
* What raised ``OutcomeUnknown``, was interrupted or crashed took place once or not at all.

Before an epoch the database may be set back to what it was at the end of an earlier one, as a server is that
loses its last writes, or whose place a copy takes; the oracles are set back with it.

What a process that is loaded then returns must be what that oracle returns.  Several oracles may be left;
each is tried in the next epoch.  A subscriber in each process must hear each event of the log once, in
order, after it was committed; it may miss what was pruned.  At the end all processes must hold the same,
claims included.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import inf
from random import Random
from types import SimpleNamespace
from typing import Any

from attrs import define, evolve, field, frozen

from vsbatch_core import Completed, Engine, Failed, Profile, Retry
from vsbatch_core.errors import DatabaseDamaged, DatabaseUnavailable, OutcomeUnknown, VsbatchError
from vsbatch_core.events import Event
from vsbatch_core.journal import replica as replica_module
from vsbatch_core.journal.replica import KEPT, Command, Replica
from vsbatch_core.testing.calls import Call, Refusal, answer, call, same
from vsbatch_core.testing.oracle import Oracle

from .fake_log import ALWAYS, POINTS, Disk, FakeLog, Fault, Power
from .schedule import Deadlock, Schedule, SimulatedLock, Task

FILES = ("file-c", "file-a", "file-b")
BATCHES = "vector_stores.file_batches"
COMPACT = "compact"
READS = (".retrieve", ".list", ".list_files", ".pending")
PROCESSES = 3
EPOCHS = 12
"""So many epochs a history has."""


class Violation(AssertionError):
    """The history cannot be explained."""


@frozen
class Step:
    """A call, with a number of its own: ids that it makes have the number in them."""

    number: int
    call: Call


@frozen
class Epoch:
    """What is done while the clock stands still, and what goes wrong."""

    number: int
    """It seeds the schedule."""
    seconds: float
    """How long before it the clock moves."""
    restarted: tuple[int, ...]
    """The processes that end before it, and begin anew."""
    damage: bool
    """Whether the latest snapshot that was proved is damaged before it, if those before must do."""
    threads: tuple[tuple[int, tuple[Step, ...]], ...]
    """The process of each thread, and what it does."""
    faults: tuple[Fault, ...]
    set_back: int = 0
    """By how many epochs the database is set back before it."""

    def lines(self) -> Iterator[str]:
        """Return the lines that describe it."""
        yield f"epoch {self.number}:"
        if self.seconds:
            yield f"    {self.seconds} seconds pass"
        if self.set_back:
            yield f"    the database is set back by {self.set_back} epochs"
        if self.restarted:
            yield f"    processes {self.restarted} are restarted"
        if self.damage:
            yield "    the latest snapshot that was proved is damaged, if those before must do"
        for fault in self.faults:
            when = "always" if fault.nth == ALWAYS else f"at passage {fault.nth}"
            yield f"    process {fault.process}: {fault.kind} {when} of {fault.point!r}"
        for process, steps in self.threads:
            yield f"    a thread of process {process}: " + "; ".join(
                f"[{step.number}] {step.call!r}" for step in steps
            )


@define(eq=False)
class Done:
    """What became of a step."""

    step: Step
    called: int
    returned: float = inf
    found: Any = None
    certain: bool = False
    """Whether it took place and returned ``found``."""
    possible: bool = True
    """Whether it may have taken place."""
    outcome: str = "Crash"
    """What became of it: done, refused, or the name of what was raised."""

    @property
    def reads(self) -> bool:
        return self.step.call.path.endswith(READS)


class Clock:
    """The clock of all processes and of the oracles."""

    now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def __deepcopy__(self, _memo: object) -> Clock:
        return self


class Ids:
    """Makes ids from the number of the step that is decided."""

    deciding = 0

    def __call__(self, prefix: str) -> str:
        return f"{prefix}{self.deciding}"

    def __deepcopy__(self, _memo: object) -> Ids:
        return self


class Ear:
    """A subscriber, which knows what it must hear next."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.at = len(disk.archive)
        self.heard = 0
        """The frame up to which all was heard, some of which is lost."""

    def __call__(self, event: Event) -> None:
        archive = self.disk.archive
        at = next((i for i in range(self.at, len(archive)) if archive[i][1] == event), None)
        if at is None and event in self.disk.lost:  # it was to be heard before it was lost
            return
        if at is None:
            raise Deafened(f"a subscriber hears what is not committed, or a second time, or too late: {event!r}")
        self.require_pruned(at)
        self.at = at + 1

    def require_pruned(self, stop: int) -> None:
        """Raise ``Deafened`` unless what is passed over could not be heard any more."""
        known = max(self.disk.pruned, self.heard)
        missed = [each for each in self.disk.archive[self.at : stop] if each[0] > known]
        if missed:
            raise Deafened(f"a subscriber does not hear {missed[0][1]!r} of frame {missed[0][0]}")


class Deafened(BaseException):
    """What a subscriber heard is wrong."""


class Process:
    """A replica and its engine, a subscriber, and what keeps it running."""

    def __init__(self, world: World) -> None:
        self.power = Power(world.schedule)
        self.replica = Replica(
            lambda: FakeLog(world.disk, self.power), world.clock, world.ids, world.profile, None, world.retry
        )
        self.replica.lock = SimulatedLock(world.schedule, reentrant=True)
        self.replica._lead = SimulatedLock(world.schedule, reentrant=True)
        self.replica._snapshot_lock = SimulatedLock(world.schedule, reentrant=False)  # type: ignore[assignment]
        self.engine = Engine.__new__(Engine)
        self.engine._serve(self.replica)
        self.replica.load()
        self.ear = Ear(world.disk)
        self.heard: list[Event] = []
        self.wrong: list[Deafened] = []
        self.engine.subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        self.heard.append(event)
        try:
            self.ear(event)
        except Deafened as error:
            self.wrong.append(error)

    def claims(self) -> Any:
        """Return its claims, to be compared, and what can be claimed."""
        replica = self.replica

        def of(store: Any) -> Any:
            claims = store.claims
            ended = {row: n for row, n in claims.attempts.items() if row not in claims.held}
            held = {row: evolve(claim, file=store.rows.read(row)) for row, claim in claims.held.items()}
            return held, ended, claims.delayed, claims.frontier, [*claims.each_claimable()]

        def read() -> Any:
            stores = {store.id: of(store) for store in replica.stores.values() if store.claims is not None}
            return replica.due.claims_made, stores

        return replica.view(read)


class World:
    """The processes, their disk, and the oracles that may be right."""

    def __init__(self, seed: int) -> None:
        random = Random(f"world {seed}")
        self.seed = seed
        self.profile = Profile(
            cancel=random.choice(("immediate", "drain")),
            cancel_finished=random.choice(("ignore", "refuse")),
            reattach=random.choice(("replace", "reuse", "refuse")),
        )
        self.retry = Retry(attempts=2, backoff=random.choice((0.0, 1.0)))
        self.clock, self.ids = Clock(), Ids()
        self.schedule = Schedule(random)
        self.disk = Disk(self.schedule)
        options: dict[str, Any] = {"clock": self.clock, "ids": self.ids}
        self.oracles = [Oracle(**options, profile=self.profile, retry=self.retry)]
        self.processes: list[Process] = []
        self.ticks = 0
        self.fired: list[tuple[str, str]] = []
        """What went wrong in the latest epoch: points and kinds."""
        self.outcomes: list[str] = []
        """What became of the steps of the latest epoch."""
        self.compacted: set[int] = set()
        """The frames after which snapshots were taken and proved."""
        self.states = [(self.disk.saved(), deepcopy(self.oracles))]
        """The disk and the oracles at the beginning, and at the end of each epoch."""

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Have the module of the replica use the locks, the time and the randomness of the schedule."""
        kept = replica_module.Command, replica_module.time, replica_module._random
        replica_module.Command = self._command  # type: ignore[misc, assignment]
        replica_module.time = SimpleNamespace(
            sleep=lambda _seconds: self.schedule.pause(), perf_counter=lambda: 0.0, monotonic=lambda: 0.0
        )  # type: ignore[assignment]
        replica_module._random = Random(self.seed)  # type: ignore[assignment]
        try:
            yield
        finally:
            replica_module.Command, replica_module.time, replica_module._random = kept  # type: ignore[misc]

    def _command(self, vector_store_id: Any, decide: Any, result: Any, replaying: bool) -> Command:
        """Return a command that notes when it is decided, and whose thread waits as the schedule says."""
        task = self.schedule.current
        number = 0 if task is None or task.step is None else task.step
        power = self._power_of(task)

        def noted(subject: Any, now: float) -> Any:
            self.ids.deciding = number
            if power is not None:
                power.decided.append(number)
            return decide(subject, now)

        command = Command(vector_store_id, noted, result, replaying)
        wait = (lambda: None) if power is None else (lambda: (power.at("wait"), None)[1])
        command.gate = SimulatedLock(self.schedule, reentrant=False, before_wait=wait)
        return command

    def _power_of(self, task: Task | None) -> Power | None:
        return None if task is None else getattr(task, "power", None)

    # Running an epoch

    def run(self, epoch: Epoch) -> None:
        """Run an epoch, and judge it; raise ``Violation``."""
        self.clock.now += epoch.seconds
        if epoch.set_back:
            self._set_back(epoch.set_back)
        for i in range(PROCESSES):
            if i >= len(self.processes):
                self.processes.append(Process(self))
            elif self.processes[i].power.dead or i in epoch.restarted:
                self.processes[i].power.cut()
                self.processes[i] = Process(self)
        if epoch.damage:
            self._damage()
        for i, process in enumerate(self.processes):
            process.power.expose_to(fault for fault in epoch.faults if fault.process == i)
        self.schedule.random = Random(f"{self.seed} {epoch.number}")
        self.schedule.timeouts = 0
        self.disk.order.clear()
        done: list[Done] = []
        tasks = [self._task(self.processes[process], steps, done) for process, steps in epoch.threads]
        try:
            self.schedule.run(tasks)
        except Deadlock as error:
            raise Violation(f"deadlock: {error}") from error
        except Exception as error:
            raise Violation(f"a call raises {error!r}") from error
        self.disk.arrive()
        self.fired = [each for process in self.processes for each in process.power.fired]
        if epoch.set_back:
            self.fired.append(("database", "set back"))
        self.outcomes = [each.outcome for each in done]
        for process in self.processes:
            process.power.expose_to(())
        if self.schedule.timeouts and not {kind for _, kind in self.fired} & {"interrupt", "crash"}:
            raise Violation("a thread waits though nobody was interrupted: it was not woken")
        self._judge(done, self.schedule.random)
        self.states.append((self.disk.saved(), deepcopy(self.oracles)))

    def _set_back(self, epochs: int) -> None:
        del self.states[max(1, len(self.states) - epochs) :]
        saved, oracles = self.states[-1]
        self.disk.set_back(saved)
        self.oracles = deepcopy(oracles)
        self.compacted &= set(self.disk.snapshots)
        for process in self.processes:
            process.ear.heard = max(process.ear.heard, process.replica._heard[0])
            process.ear.at = min(process.ear.at, len(self.disk.archive))
            for log in process.power.logs:
                log.close()

    def _damage(self) -> None:
        disk = self.disk
        latest = sorted(self.compacted)[-KEPT:]
        whole = all(seq not in disk.snapshots or disk.is_whole(seq) for seq in latest)
        if latest and latest[-1] in disk.snapshots and (not disk.pruned or (whole and len(latest) == KEPT)):
            disk.damage(latest[-1])

    def _task(self, process: Process, steps: Sequence[Step], done: list[Done]) -> Task:
        def work() -> None:
            for step in steps:
                task.step = step.number
                self.ticks += 1
                each = Done(step, self.ticks)
                done.append(each)
                self._do(process, each)
                self.ticks += 1
                each.returned = self.ticks

        task = Task(work, lambda: process.power.dead)
        task.power = process.power  # type: ignore[attr-defined]
        return task

    def _do(self, process: Process, each: Done) -> None:
        """Give a call, and note what became of it."""
        step = each.step
        if step.call.path == COMPACT:
            each.possible, each.outcome = False, "compacted"
            try:
                self.compacted.add(process.replica.compact())
            except KeyboardInterrupt:
                return
            except DatabaseDamaged:
                if ("keep", "torn") not in process.power.fired:
                    raise
            except VsbatchError as error:
                if not isinstance(error, (DatabaseUnavailable, OutcomeUnknown)):  # of what was due
                    raise
            return
        try:
            each.found = answer(process.engine, step.call)
        except KeyboardInterrupt:
            each.outcome = "KeyboardInterrupt"
            return
        name = each.found.name if isinstance(each.found, Refusal) else None
        if name == "DatabaseUnavailable":
            if not {kind for _, kind in process.power.fired} & {"error", "late"}:
                raise Violation(f"[{step.number}] {step.call!r} raises {each.found!r}, though nothing failed")
            each.possible, each.outcome = False, name
        elif name in ("DatabaseDamaged", "NestedCommand", "SubscriberError"):
            raise Violation(f"[{step.number}] {step.call!r} raises {each.found!r}")
        else:
            each.certain = name != "OutcomeUnknown"
            each.outcome = "done" if name is None else "refused" if each.certain else "OutcomeUnknown"
            if each.certain and step.number not in self.disk.order:  # it reads, or is refused undecided
                self.disk.order.append(step.number)

    # Judging it

    def _judge(self, done: list[Done], random: Random) -> None:
        relevant = [each for each in done if each.possible and (each.certain or not each.reads)]
        observer = Process(self)
        left: list[Oracle] = []
        near = ""
        for oracle in self.oracles:
            found = self._as_hinted(oracle, relevant)
            if found is not None and (near := self._difference(found, observer)) == "":
                left.append(found)
        if not left:
            seen: set[str] = set()
            for oracle in self.oracles:
                for found in self._orders(oracle, relevant, set()):
                    state = _state(found)
                    if state not in seen:
                        seen.add(state)
                        near = self._difference(found, observer)
                        if near == "":
                            left.append(found)
        if not left:
            raise Violation(f"no order of what was done explains it. {near}\n" + "\n".join(map(_line, relevant)))
        self.oracles = left
        self._compare([p for p in self.processes if not p.power.dead and random.random() < 0.5], observer)

    def _compare(self, processes: list[Process], observer: Process) -> None:
        """Compare processes with one that was loaded from the log."""
        expected, claims = observer.engine.snapshot(), observer.claims()
        observer.engine.check()
        for process in [*processes]:
            i = self.processes.index(process)
            if process.engine.snapshot() != expected:
                raise Violation(f"process {i} holds other things than the log")
            if process.claims() != claims:
                raise Violation(f"process {i} holds other claims than the log: {process.claims()}, not {claims}")
            process.engine.check()
            try:
                process.ear.require_pruned(len(self.disk.archive))
            except Deafened as error:
                process.wrong.append(error)
        for i, process in enumerate(self.processes):
            for error in process.wrong:
                raise Violation(f"process {i}: {error}")

    def finish(self) -> None:
        """Compare all processes at the end."""
        self.disk.arrive()
        self._compare([each for each in self.processes if not each.power.dead], Process(self))

    def _as_hinted(self, oracle: Oracle, done: list[Done]) -> Oracle | None:
        """Return the oracle after the order in which the log had it, if it returns the same."""
        places = {number: place for place, number in enumerate(self.disk.order)}
        chosen = [each for each in done if each.certain or each.step.number in self.disk.landed]
        if any(each.step.number not in places for each in chosen):
            return None
        copy = deepcopy(oracle)
        ordered = sorted(chosen, key=lambda each: places[each.step.number])
        for i, each in enumerate(ordered):
            if any(later.returned < each.called for later in ordered[i + 1 :]):
                return None
            if not self._agrees(copy, each):
                return None
        return copy

    def _orders(self, oracle: Oracle, left: list[Done], seen: set[Any]) -> Iterator[Oracle]:
        """Return the oracle after each order of what is left that explains it."""
        key = frozenset(each.step.number for each in left), _state(oracle)
        if key in seen:
            return
        seen.add(key)
        if not any(each.certain for each in left):
            yield oracle
        horizon = min((each.returned for each in left if each.certain), default=inf)
        for each in left:
            if each.called < horizon:
                copy = deepcopy(oracle)
                if self._agrees(copy, each):
                    yield from self._orders(copy, [other for other in left if other is not each], seen)

    def _agrees(self, oracle: Oracle, each: Done) -> bool:
        """Do a step on the oracle; return whether what the process returned is the same."""
        self.ids.deciding = each.step.number
        expected = answer(oracle, each.step.call)
        return not each.certain or same(each.found, expected)

    def _difference(self, oracle: Oracle, observer: Process) -> str:
        """Return what the oracle and a process differ in."""
        for read in reads(oracle):
            expected, found = answer(oracle, read), answer(observer.engine, read)
            if not same(found, expected):
                return f"{read!r} returns {found!r}, not {expected!r}."
        return ""


def _state(oracle: Oracle) -> str:
    return repr((oracle.stores, oracle.claims, oracle.claims_made, oracle.at, oracle.leads))


def _line(each: Done) -> str:
    what = f"returns {each.found!r}" if each.certain else f"may have happened ({each.found!r})"
    return f"    [{each.step.number}] {each.called}-{each.returned} {each.step.call!r} {what}"


def reads(oracle: Oracle) -> Iterator[Call]:
    """Every store, batch and file, what is pending, and each list at full length."""
    yield call("vector_stores.list", order="asc", limit=100)
    yield call("processing.pending", limit=100)
    for store in oracle.stores:
        yield call("vector_stores.retrieve", store.id)
        if store.here:
            yield call("vector_stores.files.list", store.id, order="asc", limit=100)
            for batch in store.batches:
                yield call(f"{BATCHES}.retrieve", batch.id, vector_store_id=store.id)
                yield call(f"{BATCHES}.list_files", batch.id, vector_store_id=store.id, order="asc")


# Drawing histories


@define
class Draw:
    """Draws epochs from a seed, as the oracle stands."""

    seed: int
    random: Random = field(init=False)
    epochs: int = 0
    steps: int = 0

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)

    def epoch(self, oracle: Oracle) -> Epoch:
        random = self.random
        self.epochs += 1
        made = [store.id for store in oracle.stores if store.here]
        active = random.sample(range(PROCESSES), random.choice((1, 2, 2)))
        threads = []
        for process in active:
            for _ in range(random.choice((1, 1, 2, 3)) if len(active) == 1 else random.choice((1, 1, 2))):
                calls = [self._call(oracle, made) for _ in range(random.choice((1, 1, 2)))]
                steps = []
                for each in calls:
                    self.steps += 1
                    steps.append(Step(self.steps, each))
                    if each.path == "vector_stores.create":
                        made.append(f"vs_{self.steps}")
                threads.append((process, tuple(steps)))
        if random.random() < 0.25:
            self.steps += 1
            threads.append((random.randrange(PROCESSES), (Step(self.steps, Call(COMPACT)),)))
        faults: list[Fault] = []
        for process in sorted({process for process, _ in threads}):
            if random.random() < 0.5:
                compacts = any(
                    step.call.path == COMPACT for each, steps in threads for step in steps if each == process
                )
                faults += self._faults(process, compacts)
        return Epoch(
            self.epochs,
            random.choice((0.0, 0.0, 1.0, 1.0, 90_000.0)),
            tuple(process for process in range(PROCESSES) if random.random() < 0.05),
            random.random() < 0.1,
            tuple(threads),
            tuple(faults),
            Random(f"set back {self.seed} {self.epochs}").choice((*[0] * 30, 1, 2, 3)),
        )

    def _faults(self, process: int, compacts: bool) -> list[Fault]:
        """Return what goes wrong in a process, and in the snapshot that it takes, if it ``compacts``."""
        random = self.random
        faults: dict[tuple[str, int], Fault] = {}
        points = (*POINTS, "commit", "committed", "commit", "committed", "begin", "append")
        if compacts and random.random() < 0.5:
            points = "snapshots", "snapshot", "keep", "kept", "prune", "prune", "prune"
        for _ in range(random.choice((1, 1, 2, 3))):
            point = random.choice(points)
            nth = random.choice((1, 1, 1, 2, 3))
            kind = random.choice(POINTS[point])
            faults[point, nth] = Fault(process, point, nth, kind)
            if point in ("commit", "committed") and random.random() < 0.5:
                nth = random.choice((1, 1, 2, ALWAYS))
                faults["token", nth] = Fault(process, "token", nth, "error")
        return list(faults.values())

    def _call(self, oracle: Oracle, made: list[str]) -> Call:
        random = self.random
        there = {store.id: store for store in oracle.stores if store.here}
        id = random.choice(made) if made else "vs_0"
        if not made or (len(made) < 2 and random.random() < 0.3):
            files = random.sample(FILES, random.randrange(3))
            given: dict[str, Any] = {"file_ids": files} if files else {}
            if random.random() < 0.3:
                given["expires_after"] = {"anchor": "last_active_at", "days": 1}
            return call("vector_stores.create", **given)
        store = there.get(id)
        attached = [] if store is None else [file.file_id for file in store.attached()]
        running = [] if store is None else [file.file_id for file in store.running()]
        batches = [] if store is None else [batch.id for batch in store.batches]
        file = random.choice(attached or FILES)
        work = random.choice(running or attached or FILES)
        batch = random.choice(batches or ["vsfb_0"])
        claim = random.choice(oracle.claims[-3:]) if oracle.claims else None
        worker = f"worker-{random.randrange(1, 3)}"
        held = {"worker": worker, "lease_seconds": random.choice((1.0, 60.0))}
        some = random.sample(FILES, random.randrange(1, 4))
        calls: list[Callable[[], Call]] = [
            *[lambda: call(f"{BATCHES}.create", id, file_ids=some)] * 3,
            lambda: call("vector_stores.files.create", id, file_id=random.choice(FILES)),
            lambda: call("vector_stores.files.create", id, file_id=random.choice(FILES), attributes={"k": 1}),
            lambda: call("vector_stores.files.delete", file, vector_store_id=id),
            lambda: call("vector_stores.files.update", file, vector_store_id=id, attributes={"k": "v"}),
            lambda: call("vector_stores.update", id, name=f"name-{random.randrange(9)}"),
            lambda: call("vector_stores.delete", id),
            *[lambda: call(f"{BATCHES}.cancel", batch, vector_store_id=id)] * 2,
            *[lambda: call("processing.complete", id, work, usage_bytes=random.randrange(9))] * 3,
            *[lambda: call("processing.fail", id, work)] * 2,
            *[lambda: call("processing.claim", random.randrange(1, 3), **held)] * 3,
            lambda: call("vector_stores.retrieve", id),
            *[lambda: call("vector_stores.files.list", id, order="asc")] * 2,
            lambda: call("processing.pending", id),
        ]
        if claim is not None:
            calls += [
                lambda: call("processing.heartbeat", [claim], lease_seconds=2.0),
                lambda: call("processing.release", [claim]),
                lambda: call("processing.finish", [Completed(claim, random.randrange(9))]),
                lambda: call("processing.finish", [Failed(claim, retry=random.random() < 0.5)]),
            ]
        return random.choice(calls)()


def violation_of(seed: int, epochs: Sequence[Epoch]) -> str | None:
    """Run a history; return what is wrong with it."""
    world = World(seed)
    with world.patched():
        try:
            for epoch in epochs:
                world.run(epoch)
            world.finish()
        except (Violation, VsbatchError) as error:
            return f"{type(error).__name__}: {error}"
    return None


def search(
    seed: int,
    epochs: int = EPOCHS,
    *,
    world: World | None = None,
    fired: Counter[tuple[str, str]] | None = None,
    outcomes: Counter[str] | None = None,
) -> tuple[list[Epoch], str] | None:
    """Draw a history and run it; return it and what is wrong with it, if anything is.

    ``fired`` and ``outcomes`` count what went wrong and what became of the steps.
    """
    world, draw = world or World(seed), Draw(seed)
    history: list[Epoch] = []
    with world.patched():
        try:
            for _ in range(epochs):
                history.append(draw.epoch(world.oracles[0]))
                world.run(history[-1])
                for counted, found in ((fired, world.fired), (outcomes, world.outcomes)):
                    if counted is not None:
                        counted.update(found)
            world.finish()
        except (Violation, VsbatchError) as error:
            return history, f"{type(error).__name__}: {error}"
    return None


def shortened(seed: int, history: list[Epoch], wrong: str, tries: int = 200) -> tuple[list[Epoch], str]:
    """Return a shorter history in which something is wrong, and what."""
    found = True
    while found:
        found = False
        for shorter in _shorter(history):
            tries -= 1
            if tries < 0:
                return history, wrong
            said = violation_of(seed, shorter)
            if said is not None:
                history, wrong, found = shorter, said, True
                break
    return history, wrong


def _shorter(history: list[Epoch]) -> Iterator[list[Epoch]]:
    """Return the histories that lack one thing."""
    for i in range(len(history)):
        yield history[:i] + history[i + 1 :]
    for i, epoch in enumerate(history):
        for less in _less(epoch):
            yield [*history[:i], less, *history[i + 1 :]]


def _less(epoch: Epoch) -> Iterator[Epoch]:
    for i in range(len(epoch.threads)):
        yield evolve(epoch, threads=epoch.threads[:i] + epoch.threads[i + 1 :])
    for i, (process, steps) in enumerate(epoch.threads):
        for j in range(len(steps) if len(steps) > 1 else 0):
            fewer = process, steps[:j] + steps[j + 1 :]
            yield evolve(epoch, threads=(*epoch.threads[:i], fewer, *epoch.threads[i + 1 :]))
    for i in range(len(epoch.faults)):
        yield evolve(epoch, faults=epoch.faults[:i] + epoch.faults[i + 1 :])
    if epoch.set_back:
        yield evolve(epoch, set_back=0)
    if epoch.seconds:
        yield evolve(epoch, seconds=0.0)
    if epoch.restarted:
        yield evolve(epoch, restarted=())
    if epoch.damage:
        yield evolve(epoch, damage=False)


def report(seed: int, history: list[Epoch], wrong: str) -> str:
    """Return the text of a failure: the seed, the history and what is wrong."""
    lines = [line for epoch in history for line in epoch.lines()]
    return "\n".join([f"seed {seed}:", *lines, wrong])


if __name__ == "__main__":
    for word in sys.argv[1:]:
        failure = search(int(word))
        print(
            f"seed {word}: nothing is wrong"
            if failure is None
            else report(int(word), *shortened(int(word), *failure))
        )
