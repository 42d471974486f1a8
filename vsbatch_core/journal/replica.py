"""An engine's stores beside a log: the log is the truth that lasts, and this is its image in one process.

Theory
======

The rules are those of ``Registry``, which knows nothing of a log.  A ``Replica`` puts a transaction around them:

1. Commands wait in a queue.  One of their threads *leads*: it takes all that wait as a *group*.
2. It begins a transaction, which keeps all other writers out, and applies the frames that others have appended.
3. It decides and applies the commands of the group here.  A refusal is a result too, and was worked out after all
   that came before it.
4. It appends one frame with all that happened, and commits.
5. Only then are subscribers called, and the other threads woken.

``_seq`` is the frame that the image here equals, and ``None`` while it may equal none: from the first change that
a transaction makes here until it is committed.  Whoever comes next and finds ``None`` loads the image anew.  So
nothing has to be undone here, whatever interrupts a transaction and wherever.

``_attempt`` is the frame that may or may not have landed: it is set before the commit.  Whoever comes next and
finds it looks in the log for its token.  Found: the image is right, and the results that were worked out stand.
Absent: nothing has happened.  Nothing is ever run again before that is known.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from math import inf
from random import SystemRandom
from threading import Lock, RLock, Thread
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from attrs import define, field

from vsbatch_core import events as ev
from vsbatch_core import snapshots
from vsbatch_core.claims import ClaimsChange, Retry
from vsbatch_core.clock import Clock, IdSource
from vsbatch_core.errors import (
    DatabaseDamaged,
    DatabaseRefused,
    DatabaseUnavailable,
    EngineClosed,
    EventsForgotten,
    NestedCommand,
    OutcomeUnknown,
    SubscriberError,
    VsbatchError,
)
from vsbatch_core.journal.codec import Entry, Reader, Writer, claims_data, claims_of
from vsbatch_core.journal.log import Frame, Log, LogError, Part, Rewound, Snapshot, checksum
from vsbatch_core.model import Profile
from vsbatch_core.registry import ALL, FileSize, Registry, WouldBlock, raise_from

P = ParamSpec("P")
T = TypeVar("T")

GROUP = 1024
"""At most so many commands share a transaction."""
KEPT = 2
"""So many whole snapshots are kept: if the latest is damaged, the one before it and the frames since are read."""
_LOOKS = 3
"""How often the log is asked for the token of an attempt, before its outcome is called unknown."""
_GATHER_SECONDS = 1e-4
"""A leader looks so often whether more commands have come."""
_WAKE_SECONDS = 1.0
"""A thread whose leader was interrupted at the very moment of waking it looks by itself after so long."""

SNAPSHOT_BYTES = 8 << 20
"""There are at least so many bytes of frames between two snapshots."""
_COPY_SECONDS = 0.002
"""Stores are copied for a snapshot for so long at a time, while others wait, and then as long not."""
_PIECE = 10_000
"""So many items of a snapshot are encoded at a time."""

_FORK_SECONDS = 10.0
"""So long a fork waits for a transaction that is under way."""

_at_once: ContextVar[bool] = ContextVar("_at_once", default=False)
"""Whether the call that is under way was made by ``Replica.at_once``."""

_random = SystemRandom()
logger = logging.getLogger("vsbatch_core.journal")


class SnapshotDamaged(Exception):
    """A snapshot is not what was written."""


UNREADABLE = (SnapshotDamaged, VsbatchError, ValueError, LookupError, TypeError)
"""What reading a snapshot raises if it is damaged."""


@define(eq=False)
class Command:
    """One command and what became of it.  ``error`` is what its caller is to be raised."""

    vector_store_id: Any
    decide: Callable[[Any, float], Any]
    result: Callable[[Any, Any], Any]
    replaying: bool
    value: Any = None
    error: BaseException | None = None
    done: bool = False
    """Whether the outcome is known and lasts."""
    delivered: bool = False
    """Whether its events were delivered since, so that its caller may return."""
    abandoned: bool = False
    """Whether its caller was interrupted while it waited."""
    events: int = 0
    """How many of the group's entries there were before those of this command."""
    gate: Any = field(factory=Lock)
    """Held until somebody wakes the thread of the command."""

    def wake(self) -> None:
        """Wake the thread of the command, if it waits."""
        try:
            self.gate.release()
        except RuntimeError:  # it is awake
            return


@define(eq=False)
class Attempt:
    """A frame that is to be committed, and the commands whose outcomes it holds."""

    seq: int
    token: int
    commands: list[Command]


class Replica(Registry):
    """The stores of a log, as they are in this process.

    ``connect`` returns a connection to the log.
    """

    blocking = True

    def __init__(
        self,
        connect: Callable[[], Log],
        clock: Clock,
        ids: IdSource,
        profile: Profile,
        file_size: FileSize | None = None,
        retry: Retry | None = None,
        retention: float | None = None,
    ) -> None:
        self.connect = connect
        self.log = connect()
        self._numbers: dict[str, int] = {}
        """By id, the number by which the log names a store: see ``codec``."""
        self._ids: dict[int, str] = {}
        self._writer: Writer | None = None
        """What the transaction that is under way has made happen so far."""
        self._parts: dict[int, Part] = {}
        self._entries: list[ev.Event | ClaimsChange] = []
        self._syncing = False
        """Whether the thread that holds the lock is in a transaction, or catches up with the log."""
        self._whole = True
        """Whether all that a transaction has put here is in ``_writer`` too."""
        self._lasting = False
        """Whether a crash of the database must not lose what is in ``_writer``."""
        self._seq: int | None = None
        """The frame that what is here equals; ``None`` while that is not certain."""
        self._attempt: Attempt | None = None
        self._heard = (-1, 0)
        """The latest frame whose events were queued for the subscribers, and how long the queue was then."""
        self._logged = 0
        """How many bytes of frames there are since the latest snapshot."""
        self._snapshot_bytes = 0
        """How long the latest snapshot is."""
        self._copying: snapshots.Copying | None = None
        """The snapshot for which the stores are being copied."""
        self._compacting: Thread | None = None
        """Takes a snapshot, or did."""
        self._snapshot_lock = Lock()
        self._queue: deque[Command] = deque()
        self._lead: Any = RLock()
        """Held by the thread that leads."""
        self._crowd = 0
        """How many commands there were at the end of the latest group, those that it carried out included."""
        self._commit_seconds = 0.0
        """How long the latest commit took."""
        self._closed = False
        self._held_for_fork = (False, False)
        super().__init__(clock, ids, profile, file_size, retry, retention)
        with _opening:
            _replicas.add(self)

    # The one way in, and the one way to look

    def execute(
        self,
        vector_store_id: Any,
        decide: Callable[[Any, float], Any],
        result: Callable[[Any, Any], T],
        *,
        replaying: bool = False,
    ) -> T:
        """Run one command, as ``Registry.execute`` does; return when its outcome lasts.

        Raise ``DatabaseUnavailable`` if it has not happened, ``OutcomeUnknown`` if nobody can tell.
        """
        if _at_once.get():
            raise WouldBlock
        command = Command(vector_store_id, decide, result, replaying)
        if self.lock._is_owned():  # within a callback, or in a context of ``View.hold``
            if self._busy or self._syncing:
                raise NestedCommand
            self._transact([command])
        else:
            self._wait(command)
        if command.error is not None:
            raise command.error
        return command.value  # type: ignore[no-any-return]  # what ``result`` returned

    def _wait(self, command: Command) -> None:
        """Have a command done, by whoever leads; return when it is."""
        command.gate.acquire()
        lead = self._lead
        try:
            self._queue.append(command)
            while not command.delivered:
                try:
                    leads = lead.acquire(blocking=False)
                    if leads:
                        self._lead_group()
                finally:
                    if lead._is_owned():
                        lead.release()
                if leads:
                    self._wake()
                else:
                    command.gate.acquire(timeout=_WAKE_SECONDS)
        except BaseException:
            command.abandoned = True
            if lead._is_owned():
                lead.release()
            self._wake()
            raise

    def _wake(self) -> None:
        """Wake the threads whose commands are delivered, and one that may lead."""
        queue = self._queue
        try:
            while True:
                command = queue[0]
                if not (command.delivered or command.abandoned):
                    command.wake()
                    return
                queue.remove(command)
                command.wake()
        except (IndexError, ValueError):  # none is left, or another thread wakes them
            return

    def _lead_group(self) -> None:
        """Carry out the commands that wait."""
        self._gather()
        lock = self.lock
        try:
            try:
                lock.acquire()
                self._delivering = self._busy = self._syncing = False  # if not, an exception ended their call
                waiting = list(self._queue)[:GROUP]
                group = [each for each in waiting if not (each.done or each.abandoned)]
                if group or self._undelivered:
                    self._transact(group)
                for command in waiting:  # also those of a leader that was interrupted before this
                    command.delivered = command.done
                self._crowd = len(self._queue)
            finally:
                if lock._is_owned():
                    lock.release()
        except BaseException:  # of any kind: another one may have arrived before the lock was released
            if lock._is_owned():
                lock.release()
            raise

    def _gather(self) -> None:
        """Wait while commands come, for at most half the time of a commit and no more of them than there were.

        Threads whose commands were carried out together come back together, and one transaction then does what
        would take two.
        """
        queue, waited = self._queue, 0
        until = time.perf_counter() + self._commit_seconds / 2 - _GATHER_SECONDS
        while waited < len(queue) < self._crowd and time.perf_counter() < until:
            waited = len(queue)
            time.sleep(_GATHER_SECONDS)

    def view(self, read: Callable[..., T], *arguments: Any) -> T:
        """Return ``read(*arguments)``, called when no command is under way and all that was committed is here.

        O(1) more than ``Registry.view``, if nobody else has committed since.
        """
        lock = self.lock
        if lock._is_owned():
            if self._unfinished is not None or (self._syncing and not self._busy):
                raise NestedCommand
            return read(*arguments) if self._busy else self._current(read, arguments)
        try:
            try:
                if not lock.acquire(blocking=not _at_once.get()):
                    raise WouldBlock
                self._delivering = self._busy = self._syncing = False  # if not, an exception ended their call
                return self._current(read, arguments)
            finally:
                if lock._is_owned():
                    self._busy = False
                    lock.release()
        except BaseException:
            if lock._is_owned():
                lock.release()
            raise

    def at_once(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return ``read(…)``; raise ``WouldBlock`` if a call that it makes has to wait, or is a command.

        It waits for another thread, for frames that others have committed, or for what is due to be committed.
        """
        context = copy_context()  # it ends with the call, whatever interrupts that
        context.run(_at_once.set, True)
        return context.run(read, *arguments, **named)

    def _current(self, read: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        """Return what is read when all that was committed is here."""
        try:
            if _at_once.get() and self.log.remote:
                raise WouldBlock
            behind = self._seq is None or self._attempt is not None or self.log.changed()
            if (behind or self._undelivered) and _at_once.get():
                raise WouldBlock
            if behind:
                self._syncing = True
                self._catch_up()
                self._end_sync()
            return self._view(read, arguments)
        except LogError as error:
            raise error.refusal(self.log.place) from error
        finally:
            self._end_sync()

    def _end_sync(self) -> None:
        """Note that no transaction is under way; close the connection if a signal handler asked for it."""
        self._syncing = False
        if self._closed:
            self.log.close()

    def _settle(self) -> None:
        """Make what is due happen, in a transaction of its own; it is delivered later."""
        if self._time() >= self.due.look_at:
            if _at_once.get():
                raise WouldBlock
            settling = Command(ALL, lambda _registry, _now: None, lambda _registry, _event: None, False)
            self._carry_out([settling])
            if settling.error is not None:
                raise settling.error

    # A transaction

    def _transact(self, commands: list[Command]) -> None:
        """Carry out commands, note what became of each of them, and call the subscribers.

        Raise what interrupts it; the commands that are not done then may be given again.
        """
        entries = self._carry_out(commands)
        raised = self._call_subscribers()
        if self._logged > max(SNAPSHOT_BYTES, self._snapshot_bytes):
            self._compact_aside()
        if raised:
            _attribute(commands, entries, raised)

    def _carry_out(self, commands: list[Command]) -> list[Entry]:
        """Carry out commands; note what became of each of them.  Return what happened."""
        delivering, busy = self._delivering, self._busy
        try:
            self._delivering = self._syncing = True  # subscribers wait for the commit
            try:
                while not all(each.done for each in commands):
                    self._try([each for each in commands if not each.done])
            except LogError as error:
                self._fail(commands, error)
        except BaseException:
            self._give_up()
            raise
        finally:
            self._delivering, self._busy = delivering, busy
            self._end_sync()
        return self._entries

    def _try(self, commands: list[Command]) -> None:
        """Carry out commands in one transaction; or only end one that fails in the midst of a change."""
        log = self.log
        seq = self._catch_up(to_write=True)
        commands = [each for each in commands if not each.done]  # one that was in doubt may have been found there
        self._heard = (seq, len(self._undelivered))
        self._entries, self._parts, self._whole, self._lasting = [], {}, True, False
        self._writer = writer = Writer(self._numbers.__getitem__)
        self._seq = None
        for command in commands:
            command.events = len(self._entries)
            command.value = command.error = None
            try:
                command.value = self._execute(
                    command.vector_store_id, command.decide, command.result, command.replaying
                )
            except Exception as error:  # noqa: BLE001 - its caller gets it
                command.error = error
                if not self._whole or self._unfinished is not None:
                    log.rollback()
                    self._forget()
                    command.done = True
                    return
        if self._entries:
            frame = Frame.of(seq + 1, _random.getrandbits(32), bytes(writer.data))
            log.append(frame, self._parts.values(), lasting=self._lasting)
            self._attempt = attempt = Attempt(frame.seq, frame.token, commands)
            began = time.perf_counter()
            log.commit()
            self._commit_seconds = time.perf_counter() - began
            self._landed(attempt)
            self._logged += len(frame.data)
        else:
            log.rollback()
            self._seq = seq
            for command in commands:
                command.done = True
        self._writer = None

    def _commit(self, event: Entry) -> None:
        """Make an event or a change of claims happen here; write it down if it has not happened elsewhere."""
        copying = self._copying
        if copying is not None and not isinstance(event, ClaimsChange):
            copying.before(event.vector_store_id)
        if self._writer is None:
            super()._commit(event)
            return
        self._whole = False
        self._write(self._writer, event)
        super()._commit(event)
        self._entries.append(event)
        self._whole = True

    def _write(self, writer: Writer, event: Entry) -> None:
        parts = self._parts
        self._lasting = self._lasting or self._must_last(event)
        if isinstance(event, ClaimsChange):
            writer.entry(event, self.listing.id)
            return
        made = event.vector_store_id if isinstance(event, ev.VectorStoreCreated) else None
        if isinstance(event, ev.VectorStoreCreated):
            self._name(event)
        number = self._numbers[event.vector_store_id]
        writer.entry(event, self.listing.id)
        if number not in parts:
            parts[number] = Part(number, event.version, made, deleted=False)
        if isinstance(event, (ev.VectorStoreCreated, ev.VectorStoreDeleted)):
            parts.setdefault(0, Part(0, event.stores_version, None, deleted=False))
            if made is None:
                parts[number] = parts[number]._replace(deleted=True)

    def _must_last(self, event: Entry) -> bool:
        """Return whether what happens must outlast a crash of the database.

        Claims that are made or extended need not, if they have a deadline: a worker reckons with losing one, and
        the file is claimed again.  What ends a claim must: no deadline would end it a second time.
        """
        if not isinstance(event, ClaimsChange) or event.over or event.back:
            return True
        for number, rows in event.held.items():
            store = self.stores[self.listing.id(number)]
            for row, claim in rows.items():
                before = store.held(row)
                if inf in (claim.deadline, claim.deadline if before is None else before.deadline):
                    return True
        return False

    def _name(self, event: ev.VectorStoreCreated) -> None:
        """Note the number of a store that is made."""
        self._numbers[event.vector_store_id] = event.stores_version
        self._ids[event.stores_version] = event.vector_store_id

    def _landed(self, attempt: Attempt) -> None:
        """Note that an attempt is in the log.  Called again, it completes what it began."""
        for command in attempt.commands:
            command.done = True
        self._heard = (attempt.seq, len(self._undelivered))
        self._seq = attempt.seq
        self._attempt = None

    def _forget(self) -> None:
        """Forget what a transaction did here that has not happened, or may not have happened.

        Called again, it completes what it began.
        """
        _, queued = self._heard
        while len(self._undelivered) > queued:
            self._undelivered.pop()
        self._unfinished = None
        self._seq = self._attempt = None

    def _resolve(self) -> None:
        """Find out whether the attempt is in the log; raise ``LogError`` if that cannot be known."""
        attempt = self._attempt
        if attempt is None:
            return
        try:
            token = self.log.token(attempt.seq)
        except BaseException:
            self.log.close()  # it must not keep others from writing
            raise
        if token == attempt.token:
            self._landed(attempt)
        else:
            self._forget()

    def _give_up(self) -> None:
        """End a transaction that was interrupted, so that nobody waits for it."""
        try:
            self.log.rollback()
            self._resolve()
        except BaseException as error:
            self.log.close()  # which ends it, whatever the database says
            if not isinstance(error, LogError):
                raise
            logger.warning("%s: cannot end a transaction that was interrupted: %s", self.log.place, error)
        else:
            if self._seq is None:
                self._forget()

    def _fail(self, commands: list[Command], error: LogError) -> None:
        """Note what became of commands whose transaction the database did not carry out."""
        for look in range(_LOOKS):
            try:
                self.log.rollback()
                self._resolve()
                break
            except LogError:
                self.log.close()
                time.sleep(0.05 * look)
        attempt = self._attempt
        place = self.log.place
        if self._seq is None or attempt is not None:
            if attempt is not None:
                logger.error("%s: nobody can tell whether frame %d was committed: %s", place, attempt.seq, error)
                for command in attempt.commands:
                    _end(command, OutcomeUnknown(place, str(error)), error)
            self._forget()
        if not all(command.done for command in commands):
            logger.warning("%s: a transaction failed, and nothing has happened: %s", place, error)
        for command in commands:
            _end(command, error.refusal(place), error)

    # Following the log

    def _catch_up(self, *, to_write: bool = False) -> int:
        """Make what is here equal to the log, and return its latest frame.  Raise ``LogError``.

        ``to_write`` says to begin a transaction before.
        """
        if self._closed:
            raise EngineClosed(self.log.place)
        self._writer = None
        self._resolve()
        if to_write:
            self.log.begin()
        seq = self._seq
        if seq is not None:
            seq = self._follow(seq) if self.log.changed() else seq
        return self._load(alone=to_write) if seq is None else seq

    def _follow(self, seq: int) -> int | None:
        """Apply the frames that others have appended after this one; return the latest.

        Return ``None`` if that was so long ago that the frames in between are pruned, or if the database has
        lost, or may have lost, what is here.
        """
        self._heard = (seq, len(self._undelivered))
        try:
            for frame in self.log.frames(seq):
                if frame.seq != seq + 1:
                    return None
                self._seq = None
                self._apply(frame)
                seq = frame.seq
        except Rewound as error:
            self._seq = None
            if not error.pruned:
                logger.warning(
                    "%s: frame %d was there, and the database has lost it. It was a claim, if the database waits "
                    "for its disk and no copy took its place; if not, subscribers have heard of what is lost",
                    *(self.log.place, error.seq),
                )
            return None
        self._heard = (seq, len(self._undelivered))
        self._seq = seq
        return seq

    def _apply(self, frame: Frame) -> None:
        """Make happen here what happened elsewhere."""
        reader = Reader(frame.entries(self.log.place), self._id)
        while reader.more:
            entry: Entry = reader.entry(self._claims_of)
            if type(entry) is ev.VectorStoreCreated:
                self._name(entry)
            try:
                self._commit(entry)
            except LookupError as error:
                what = f"frame {frame.seq} cannot follow what is before it: {error!r}"
                raise DatabaseDamaged(self.log.place, what) from error
            if isinstance(entry, ClaimsChange):
                names = [(place, row) for place, rows in entry.held.items() for row in rows]
                names += [(place, row) for place, rows in entry.back.items() for row in rows]
                for name in names:  # what claims that ended led to was decided where they did
                    self.due.over.pop(name, None)
                    self.due.lapsed.pop(name, None)
        self._logged += len(frame.data)

    def _claims_of(self, data: Any) -> ClaimsChange:
        return claims_of(data, lambda number: self.stores[self._id(number)])

    def _id(self, number: int) -> str:
        """Return the id of a store; raise ``DatabaseDamaged``."""
        id = self._ids.get(number)
        if id is None:
            raise DatabaseDamaged(self.log.place, f"its list of stores does not have number {number}")
        return id

    def load(self) -> None:
        """Make what is here equal to the log; raise ``DatabaseDamaged`` or ``DatabaseUnavailable``."""
        self.view(lambda: None)

    def _load(self, *, alone: bool) -> int:
        """Read the latest snapshot that is whole, and the frames since; return the latest.

        ``alone`` says whether nobody else can write meanwhile.  If others can, what seems to be missing may have
        been pruned between two statements: look again while they cannot.
        """
        try:
            return self._load_once()
        except DatabaseDamaged:
            if alone:
                raise
        self.log.begin()
        try:
            return self._load_once()
        finally:
            self.log.rollback()

    def _load_once(self) -> int:
        log = self.log
        began = time.monotonic()
        self._forget()
        heard, queued = self._heard[0], len(self._undelivered)  # some may have been delivered since it was noted
        self._heard = (heard, queued)
        damaged = []
        last = log.last()
        for seq in log.snapshots():
            try:
                self._restore(seq)
                break
            except UNREADABLE as error:
                damaged.append(f"the snapshot after frame {seq}: {error}")
        else:
            seq = 0
            self._begin_empty()
        if heard >= 0:
            self._queue_events(heard, seq)
        snapshot = seq
        for frame in log.frames(seq):
            if frame.seq != seq + 1:
                last = max(last, seq + 1)
                break
            self._apply(frame)
            seq = frame.seq
            if seq <= heard:
                while len(self._undelivered) > queued:
                    self._undelivered.pop()
        if last > seq:
            what = f"frame {seq + 1} is missing"
            raise DatabaseDamaged(log.place, "; ".join([*damaged, what]))
        for what in damaged:
            logger.warning("%s: a damaged snapshot is passed over: %s", log.place, what)
        self._heard = (seq, len(self._undelivered))
        self._seq = seq
        self._leads = True
        logger.info(
            "%s: opened: the snapshot after frame %d and %d frames since, in %.3f s",
            log.place,
            snapshot,
            seq - snapshot,
            time.monotonic() - began,
        )
        return seq

    def _queue_events(self, after: int, last: int) -> None:
        """Queue the events of frames that a snapshot made superfluous here, but not for the subscribers."""
        for frame in self.log.frames(after, last):
            reader = Reader(frame.entries(self.log.place), self._any_id)
            while reader.more:
                event = reader.entry(lambda _data: None)
                if event is not None:
                    self._undelivered.extend([(callback, event) for callback in self._subscribers.values()])

    def _begin_empty(self) -> None:
        self._clear()
        self._read_ids()
        self._logged = 0

    def _read_ids(self) -> None:
        self._ids = dict(self.log.ids())
        self._numbers = {id: number for number, id in self._ids.items()}

    def _restore(self, seq: int) -> None:
        """Fill the stores from a snapshot; raise an error if it is damaged."""
        data, size = self.read_snapshot(seq)
        self._begin_empty()
        snapshots.load(self, data["engine"], trusted=True)
        self._commit(self._claims_of(data["claims"]))
        for place, row in list(self.due.over):
            if self.stores[self.listing.id(place)].held(row) is not None:
                self.due.over.pop((place, row))
        self._snapshot_bytes = size

    def read_snapshot(self, seq: int) -> tuple[dict[str, Any], int]:
        """Return the data of a snapshot, and how long it is; raise ``SnapshotDamaged``."""
        snapshot = self.log.snapshot(seq)
        if snapshot is None or not _is_whole(snapshot):
            raise SnapshotDamaged("it does not have the checksum that was written with it")
        return json.loads(snapshot.data), len(snapshot.data)

    # Snapshots

    def _compact_aside(self) -> None:
        """Take a snapshot in a thread of its own, unless one is being taken."""
        self._logged = 0  # if it fails, the next one is taken after as much again
        if self._compacting is None or not self._compacting.is_alive():
            self._compacting = Thread(target=self._try_to_compact, name="vsbatch snapshot", daemon=True)
            self._compacting.start()

    def _try_to_compact(self) -> None:
        try:
            self.compact()
        except VsbatchError as error:
            if not self._closed:
                logger.warning("%s: no snapshot was taken: %s", self.log.place, error)

    def compact(self) -> int:
        """Take a snapshot, and forget what it makes superfluous; return the frame that it follows.

        It has a connection of its own; commands wait only while the columns are copied.  Within a callback it is
        taken in a thread of its own, which waits for the callback, and follows this frame or a later one.  O(n).
        """
        if self.lock._is_owned():  # a thread that takes one waits for this thread
            self._compact_aside()
            return self._heard[0]
        with self._snapshot_lock:
            log = self.connect()
            try:
                return self._compact(log)
            except LogError as error:
                raise error.refusal(log.place) from error
            finally:
                log.close()

    def _compact(self, log: Log) -> int:
        began = time.monotonic()
        log.last()  # a database that loses what is written from now on ends this connection before
        self.execute(ALL, lambda _registry, _now: None, lambda _registry, _event: None)  # also with local reads
        try:
            seq, copying, claims = self.view(self._begin_to_copy)
            while self.view(copying.some, _COPY_SECONDS):
                time.sleep(_COPY_SECONDS)  # others have waited for the lock
        finally:
            self._copying = None
        snapshot = _snapshot(seq, copying.data(), claims)
        for _ in range(_LOOKS):  # another process may keep one after the same frame, or prune this one
            if not _is_whole(log.snapshot(seq)):
                log.keep(snapshot)
            whole = [each for each in log.snapshots() if _is_whole(log.snapshot(each))]
            if whole and whole[0] >= seq:
                break
        else:
            raise DatabaseDamaged(
                log.place, f"the snapshot after frame {seq} cannot be read back as it was written"
            )
        size = len(snapshot.data)
        logger.info(
            "%s: a snapshot after frame %d was taken: %d bytes, in %.3f s",
            log.place,
            seq,
            size,
            time.monotonic() - began,
        )
        if len(whole) >= KEPT:
            log.prune(whole[KEPT - 1])
        self._logged, self._snapshot_bytes = 0, size
        self.view(self._read_ids)
        return seq

    def data(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a snapshot has: the stores, and their claims."""
        return snapshots.copied(self, None)(), claims_data(self._held(), self._number_at)

    def begin_with(self, registry: Registry) -> None:
        """Make the stores of a registry the beginning of the log.

        Raise ``DatabaseRefused`` if the log is not empty.
        """
        log = self.log
        no_claims = claims_data(ClaimsChange(made=0), lambda number: number)
        snapshot = _snapshot(1, snapshots.copied(registry, None)(), no_claims)
        committing = False
        try:
            log.begin()
            try:
                if log.last():
                    raise DatabaseRefused(
                        log.place, "it is not empty, and a snapshot can only be its beginning. Give another path"
                    )
                log.put(snapshot, enumerate(registry.stores, start=1))
                committing = True
                log.commit()
            finally:
                log.rollback()
        except LogError as error:
            kind = OutcomeUnknown if committing else DatabaseUnavailable
            raise kind(log.place, str(error)) from error

    def _begin_to_copy(self) -> tuple[int, snapshots.Copying, dict[str, Any]]:
        """Return the frame that is copied, the copy that is to be taken, and the claims."""
        seq, _ = self._heard
        claims = claims_data(self._held(), self._number_at)
        self._copying = copying = snapshots.Copying(self)
        return seq, copying, claims

    def _number_at(self, place: int) -> int:
        return self._numbers[self.listing.id(place)]

    def _held(self) -> ClaimsChange:
        """Return the change of claims that leads from none to those that there are."""
        changes = {store.number: store.claims for store in self.stores.values() if store.claims is not None}
        return ClaimsChange(
            held={place: dict(sorted(claims.held.items())) for place, claims in changes.items()},
            frontiers={place: claims.frontier for place, claims in changes.items()},
            back={place: claims.given_back() for place, claims in changes.items()},
            made=self.due.claims_made,
        )

    # Reading the log back

    def events(self, vector_store_id: str | None, after: int) -> Iterator[ev.Event]:
        """See ``Engine.events``."""
        latest, parts = self.view(self._parts_of, vector_store_id, after)
        if latest > after and (not parts or parts[0][0] > after + 1):
            raise EventsForgotten(vector_store_id, after, parts[0][0] if parts else latest + 1)
        for _, seq in parts:
            frame = self.view(self._frame, seq)
            if frame is None:
                raise EventsForgotten(vector_store_id, after, latest + 1)
            reader = Reader(frame.entries(self.log.place), self._any_id)
            while reader.more:
                event = reader.entry(lambda _data: None)
                version = None if event is None else ev.version_in(vector_store_id, event)
                if event is not None and version is not None and version > after:
                    if version != after + 1:
                        break
                    yield event
                    after = version
        if after < latest:
            of = "the list of vector stores" if vector_store_id is None else f"vector store '{vector_store_id}'"
            raise DatabaseDamaged(self.log.place, f"it does not name the frame of event {after + 1} of {of}")

    def _frame(self, seq: int) -> Frame | None:
        return next(self.log.frames(seq - 1, seq), None)

    def _any_id(self, number: int) -> str:
        """Return the id of a store; of one that is long gone, none."""
        return self._ids.get(number, "")

    def _parts_of(self, vector_store_id: str | None, after: int) -> tuple[int, list[tuple[int, int]]]:
        """Return the latest version of a stream, and the version and the frame of each of its parts."""
        if vector_store_id is None:
            number, latest = 0, self.version
        else:
            number = self._numbers.get(vector_store_id, -1)
            store = self.stores.get(vector_store_id)
            if number < 0:
                self.store(vector_store_id)  # raises
            latest = after if store is None else store.version
        return latest, self.log.parts(number, after)

    def close(self) -> None:
        """Close the connection; every later call raises ``EngineClosed``."""
        within = self.lock._is_owned()
        with self.lock:
            self._closed = True
            if not self._syncing:
                self.log.close()
        if self._compacting is not None and not within:  # within a callback it may wait for this thread, or be it
            self._compacting.join()

    # Forking: a connection must not be open in both processes

    def _before_fork(self) -> None:
        """Wait until nothing is under way, and close the connection: it opens again when it is needed."""
        self._held_for_fork = (
            self._snapshot_lock.acquire(timeout=_FORK_SECONDS),
            self.lock.acquire(timeout=_FORK_SECONDS),
        )
        if self._held_for_fork[1] and self._writer is None:
            self.log.close()

    def _after_fork(self) -> None:
        """Go on, in the parent or in the child."""
        snapshots_wait, others_wait = self._held_for_fork
        if snapshots_wait:
            self._snapshot_lock.release()
        if others_wait:
            self.lock.release()

    def _after_fork_in_child(self) -> None:
        """Go on in the child, where no other thread is."""
        if self._writer is not None or not all(self._held_for_fork):  # something was under way all the same
            _inherited.append(self.log)
            self.log = self.connect()
            self._seq = None
        self._after_fork()
        self._snapshot_lock, self._lead = Lock(), RLock()
        self._queue.clear()


def _is_whole(snapshot: Snapshot | None) -> bool:
    """Return whether a snapshot is there and as it was written."""
    return snapshot is not None and snapshot.checksum == checksum(snapshot.seq, 0, snapshot.data)


def _end(command: Command, error: VsbatchError, cause: LogError) -> None:
    """Note that a command ended with an error, unless its outcome is known."""
    if not command.done:
        error.__cause__ = cause
        command.value, command.error = None, error
        command.done = True


def _attribute(
    commands: list[Command], entries: list[Entry], raised: list[tuple[ev.Event, BaseException]]
) -> None:
    """Give what subscribers raised to the commands whose events they were called with.

    The first one gets what they raised at events that others made happen.  Raise Ctrl-C, and what no command
    can be given.
    """
    places = {id(entry): place for place, entry in enumerate(entries)}
    of: dict[int, list[BaseException]] = {}
    for event, error in raised:
        place = places.get(id(event), -1)
        owners = [i for i, each in enumerate(commands) if each.events <= place and each.done]
        first = 0 if commands else -1
        owner = -1 if not isinstance(error, Exception) else owners[-1] if owners else first
        of.setdefault(owner, []).append(error)
    rest = of.pop(-1, [])
    for owner, errors in of.items():
        command = commands[owner]
        try:
            raise_from(errors, command.value, command.error)
        except SubscriberError as error:
            command.error = error
    raise_from(rest)


def _snapshot(seq: int, engine: dict[str, Any], claims: dict[str, Any]) -> Snapshot:
    data = b"".join(map(str.encode, _encoded({"engine": engine, "claims": claims})))
    return Snapshot(seq, checksum(seq, 0, data), data)


def _encoded(value: Any) -> Iterator[str]:
    """Return the JSON of a value in pieces, none of which takes so long that other threads wait for it."""
    if isinstance(value, dict):
        yield "{"
        for i, (name, each) in enumerate(value.items()):
            yield f"{',' if i else ''}{json.dumps(name)}:"
            yield from _encoded(each)
        yield "}"
    elif isinstance(value, list) and len(value) > _PIECE:
        for first in range(0, len(value), _PIECE):
            text = json.dumps(value[first : first + _PIECE], separators=(",", ":"))
            yield f"{',' if first else '['}{text[1:-1]}"
        yield "]"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield "["
        for i, each in enumerate(value):
            yield "," if i else ""
            yield from _encoded(each)
        yield "]"
    else:
        yield json.dumps(value, separators=(",", ":"))


_replicas: WeakSet[Replica] = WeakSet()
_inherited: list[Log] = []
"""Connections that a child process must neither use nor close."""


_opening = Lock()
"""Held while ``_replicas`` is changed or read."""
_forking: list[Replica] = []
"""The replicas that there were when the fork that is under way began."""


def _before_fork() -> None:
    with _opening:
        _forking[:] = _replicas
    for replica in _forking:
        replica._before_fork()


def _after_fork() -> None:
    for replica in _forking:
        replica._after_fork()
    _forking.clear()


def _after_fork_in_child() -> None:
    global _opening  # noqa: PLW0603 - another thread, which is not in the child, may have held it
    _opening = Lock()
    for replica in _forking:
        replica._after_fork_in_child()
    _forking.clear()


getattr(os, "register_at_fork", dict)(  # not on every platform
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)
