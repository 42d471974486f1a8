"""A log in memory that several simulated processes share, and whose every call may fail, be interrupted or
crash.

It behaves as ``SqliteLog`` does: one transaction at a time, a connection that notices what others have
committed, a snapshot that is kept or pruned in steps.  As a PostgreSQL database it may be set back to an earlier
state, which ends all connections.  Beyond that it knows the truth: ``Disk.archive`` has every event that was ever
committed, though its frame be pruned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any

from attrs import define, field, frozen

from vsbatch_core.events import Event
from vsbatch_core.journal.codec import Reader
from vsbatch_core.journal.log import Frame, LogError, Part, Rewound, Snapshot

from .schedule import Crash, Schedule

ALWAYS = 0
"""Stands for each time that a point is passed."""

POINTS: dict[str, tuple[str, ...]] = {
    "begin": ("error", "interrupt", "crash"),
    "append": ("error", "interrupt", "crash"),
    "appended": ("error", "interrupt", "crash"),
    "commit": ("error", "late", "interrupt", "crash"),
    "committed": ("error", "interrupt", "crash"),
    "rollback": ("error", "interrupt", "crash"),
    "token": ("error", "interrupt", "crash"),
    "changed": ("error", "interrupt", "crash"),
    "frames": ("error", "interrupt", "crash"),
    "frame": ("error", "interrupt", "crash"),
    "last": ("error", "interrupt", "crash"),
    "ids": ("error", "interrupt", "crash"),
    "snapshots": ("error", "interrupt", "crash"),
    "snapshot": ("error", "interrupt", "crash"),
    "keep": ("error", "torn", "torn", "crash"),
    "kept": ("error", "interrupt", "crash"),
    "prune": ("error", "interrupt", "crash"),
    "wait": ("interrupt",),
}
"""Where something may go wrong, and what.  ``late``: the answer of a commit is lost, and it lands later.
``torn``: a snapshot is not kept as it was given.  ``wait``: the thread waits for the one that leads."""


@frozen
class Fault:
    """What goes wrong in a process when it passes a point for the ``nth`` time, from 1, or ``ALWAYS``."""

    process: int
    point: str
    nth: int
    kind: str


@define(eq=False)
class Power:
    """What keeps a simulated process running, and has things go wrong there."""

    schedule: Schedule
    faults: dict[tuple[str, int], str] = field(factory=dict)
    fired: list[tuple[str, str]] = field(factory=list)
    """The points and kinds of what went wrong."""
    passed: Counter[str] = field(factory=Counter)
    dead: bool = False
    decided: list[int] = field(factory=list)
    """The numbers of the steps that were decided in the transaction that is under way."""
    logs: list[FakeLog] = field(factory=list)

    def expose_to(self, faults: Iterable[Fault]) -> None:
        """Have these go wrong from now on."""
        self.faults = {(each.point, each.nth): each.kind for each in faults}
        self.passed.clear()
        self.fired.clear()

    def at(self, point: str) -> str | None:
        """Pass a point; return what goes wrong there, unless it is raised."""
        self.schedule.pause()
        if self.dead:
            raise Crash
        self.passed[point] += 1
        kind = self.faults.get((point, self.passed[point])) or self.faults.get((point, ALWAYS))
        if kind is not None:
            self.fired.append((point, kind))
        if kind == "error":
            raise LogError(f"the database fails at {point!r}")
        if kind == "interrupt":
            raise KeyboardInterrupt
        if kind == "crash":
            self.cut()
            raise Crash
        return kind

    def cut(self) -> None:
        """End the process: its transaction is rolled back."""
        self.dead = True
        for log in self.logs:
            log.abort()


@define(eq=False)
class Transaction:
    """What is to be committed."""

    frames: list[tuple[Frame, list[Part]]] = field(factory=list)
    decided: list[int] = field(factory=list)


STATE = ("frames", "parts", "stores", "snapshots", "archive", "pruned", "_names")
"""What of a disk lasts."""


class Disk:
    """What the connections share: what lasts."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.frames: dict[int, Frame] = {}
        self.parts: dict[tuple[int, int], int] = {}
        self.stores: dict[int, tuple[str, int | None]] = {}
        """By number, the id of a store and the frame in which it was deleted."""
        self.snapshots: dict[int, Snapshot] = {}
        self.writer: FakeLog | None = None
        """The connection whose transaction is under way."""
        self.late: Transaction | None = None
        """A commit that is on its way, though nobody waits for it any more."""
        self.commits = 0
        self.archive: list[tuple[int, Event]] = []
        """The number of the frame and the event, of all that was ever committed."""
        self.pruned = 0
        """The latest frame that was pruned."""
        self.order: list[int] = []
        """The numbers of steps in the order in which transactions with them ended, or in which they were read."""
        self.landed: set[int] = set()
        """The numbers of the steps of transactions that were committed."""
        self._names: dict[int, str] = {}
        self.lost: list[Event] = []
        """Events that were committed, and are no more."""

    def saved(self) -> dict[str, Any]:
        """Return the state, to be set back to."""
        return {name: copy(getattr(self, name)) for name in STATE}

    def set_back(self, saved: dict[str, Any]) -> None:
        """Lose what was committed since a state; the connections must be ended too."""
        self.lost += [event for _, event in self.archive[len(saved["archive"]) :]]
        for name, value in saved.items():
            setattr(self, name, copy(value))
        self.late = None
        self.commits += 1

    def lock(self, log: FakeLog) -> None:
        """Wait until no transaction is under way, and begin one."""
        self.arrive()
        while self.writer is not None:
            self.schedule.pause(lambda: self.writer is None)
            self.arrive()
        self.writer = log

    def arrive(self) -> None:
        """Have the commit land that is on its way."""
        late, self.late = self.late, None
        if late is not None:
            self.land(late)

    def land(self, transaction: Transaction) -> None:
        """Commit."""
        self.commits += 1
        for frame, parts in transaction.frames:
            assert frame.seq == self.last() + 1, "a frame is out of order"
            self.frames[frame.seq] = frame
            for stream, version, made, deleted in parts:
                self.parts[stream, version] = frame.seq
                if made is not None:
                    self.stores[stream] = made, None
                    self._names[stream] = made
                if deleted:
                    self.stores[stream] = self.stores[stream][0], frame.seq
            reader = Reader(frame.entries("the fake log"), self._names.__getitem__)
            while reader.more:
                entry = reader.entry(lambda _claims: None)
                if entry is not None:
                    self.archive.append((frame.seq, entry))
        self.order += transaction.decided
        self.landed.update(transaction.decided)

    def last(self) -> int:
        return max(max(self.frames, default=0), max(self.snapshots, default=0))

    def is_whole(self, seq: int) -> bool:
        """Return whether a snapshot is as it was written."""
        return not self.snapshots[seq].data.endswith(b"?")

    def damage(self, seq: int) -> None:
        """Damage a snapshot."""
        self.snapshots[seq] = torn(self.snapshots[seq])


def torn(snapshot: Snapshot) -> Snapshot:
    return snapshot._replace(data=snapshot.data[:-1] + b"?")


class FakeLog:
    """A connection of a simulated process to the disk: a ``Log``."""

    place = "the fake log"
    remote = False

    def __init__(self, disk: Disk, power: Power) -> None:
        self._disk = disk
        self._power = power
        self._transaction: Transaction | None = None
        self._connected = False
        self._own = 0
        """How often this connection has committed."""
        self._seen = -1
        self._read = -1
        """The frame up to which all were read."""
        self._token: int | None = None
        """Its token, if it was there."""
        self._proven = False
        """Whether this connection has seen that it is still there."""
        power.logs.append(self)

    def _connect(self) -> None:
        if not self._connected:
            self._connected, self._own, self._seen, self._proven = True, 0, -1, False

    def _version(self) -> int:
        """Return a number that changes when others commit."""
        return self._disk.commits - self._own

    def abort(self) -> None:
        """End the transaction, if one has begun, as if it had not; nothing goes wrong."""
        self._transaction = None
        if self._disk.writer is self:
            self._disk.writer = None

    def begin(self) -> None:
        self._power.at("begin")
        self._connect()
        if self._transaction is not None:
            raise LogError("cannot start a transaction within a transaction")
        self._disk.lock(self)
        self._transaction = Transaction()
        self._power.decided.clear()

    def append(self, frame: Frame, parts: Iterable[Part], *, lasting: bool = True) -> None:  # noqa: ARG002
        self._power.at("append")
        if self._transaction is None:
            raise LogError("there is no transaction to append in")
        if frame.seq <= self._disk.last():
            raise LogError(f"UNIQUE constraint failed: frame {frame.seq}")
        self._transaction.frames.append((frame, list(parts)))
        self._power.at("appended")

    def commit(self) -> None:
        kind = self._power.at("commit")
        transaction = self._transaction
        if transaction is None:
            raise LogError("cannot commit - no transaction is active")
        transaction.decided = list(self._power.decided)
        self.abort()
        if kind == "late":
            self._disk.late = transaction
            self._connected = False
            raise LogError("the connection was lost")
        self._disk.land(transaction)
        self._own += 1
        for frame, _ in transaction.frames:
            self._read, self._token, self._proven = frame.seq, frame.token, True
        self._power.at("committed")

    def rollback(self) -> None:
        if self._transaction is not None:
            self._power.at("rollback")
            self._disk.order += self._power.decided
            self.abort()

    def changed(self) -> bool:
        self._power.at("changed")
        return not self._connected or self._version() != self._seen

    def frames(self, after: int, last: int | None = None) -> Iterator[Frame]:
        self._power.at("frames")
        self._connect()
        version = self._version()
        seq, token = after, self._token
        if last is None and (after != self._read or not self._proven):
            token = self._proof(after)
        found = sorted(
            frame for seq, frame in self._disk.frames.items() if after < seq and (last is None or seq <= last)
        )
        for frame in found:
            self._power.at("frame")
            yield frame
            seq, token = frame.seq, frame.token
        if last is None:
            self._seen = version
            self._read, self._token, self._proven = seq, token, self._connected

    def _proof(self, seq: int) -> int | None:
        """Return the token of a frame; raise ``Rewound`` if it was read before and is not there now."""
        frames = self._disk.frames
        token = frames[seq].token if seq in frames else None
        if seq == self._read and (self._disk.last() < seq or token != self._token):
            raise Rewound(seq, pruned=token is None and min(frames, default=seq + 1) > seq)
        return token

    def last(self) -> int:
        self._power.at("last")
        self._read, self._token = -1, None
        return self._disk.last()

    def token(self, seq: int) -> int | None:
        self.close()
        self._power.at("token")
        self.begin()
        frame = self._disk.frames.get(seq)
        self.rollback()
        if frame is None:
            return None
        self._read, self._token, self._proven = seq, frame.token, True
        return frame.token

    def ids(self) -> Iterator[tuple[int, str]]:
        self._power.at("ids")
        yield from [(number, id) for number, (id, _) in self._disk.stores.items()]

    def parts(self, stream: int, after: int) -> list[tuple[int, int]]:
        self._power.at("parts")
        versions = sorted((version, seq) for (each, version), seq in self._disk.parts.items() if each == stream)
        first = max((version for version, _ in versions if version <= after + 1), default=after + 1)
        return [each for each in versions if each[0] >= first]

    def snapshots(self) -> list[int]:
        self._power.at("snapshots")
        return sorted(self._disk.snapshots, reverse=True)

    def snapshot(self, seq: int) -> Snapshot | None:
        self._power.at("snapshot")
        return self._disk.snapshots.get(seq)

    def keep(self, snapshot: Snapshot) -> None:
        kind = self._power.at("keep")
        self._in_one_step(
            lambda: self._disk.snapshots.update({snapshot.seq: torn(snapshot) if kind == "torn" else snapshot})
        )
        self._power.at("kept")

    def prune(self, oldest: int) -> None:
        disk = self._disk

        def forget_snapshots() -> None:
            disk.snapshots = {seq: each for seq, each in disk.snapshots.items() if seq >= oldest}

        def forget_frames() -> None:
            disk.frames = {seq: each for seq, each in disk.frames.items() if seq > oldest}
            disk.pruned = max(disk.pruned, oldest)

        def forget_parts() -> None:
            disk.parts = {part: seq for part, seq in disk.parts.items() if seq > oldest}

        def forget_stores() -> None:
            disk.stores = {n: each for n, each in disk.stores.items() if each[1] is None or each[1] > oldest}

        for step in (forget_snapshots, forget_frames, forget_parts, forget_stores):
            self._power.at("prune")
            self._in_one_step(step)

    def _in_one_step(self, step: Callable[[], None]) -> None:
        """Do something in a transaction of its own."""
        self._disk.lock(self)
        step()
        self.abort()
        self._disk.commits += 1
        self._own += 1

    def close(self) -> None:
        self.abort()
        self._connected = False
