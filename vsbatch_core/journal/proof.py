"""The proof of a log: all of it is read, and the stores are built again from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import Factory, define

from vsbatch_core.clock import VirtualClock, random_ids
from vsbatch_core.errors import DatabaseDamaged, Inconsistent
from vsbatch_core.journal.log import Database, Frame
from vsbatch_core.journal.replica import UNREADABLE, Replica
from vsbatch_core.model import Profile
from vsbatch_core.rows import IN_PROGRESS

Show = Callable[[int, int], None]
"""Called with how many frames have been read, and how many there are."""


@define
class Found:
    """What a proof has found.  ``damage`` has a sentence for each thing that is not as it was written."""

    damage: list[str] = Factory(list)
    whole: bool = False
    """Whether the stores can be read as they were last, from a snapshot and the frames since if not from all."""
    frames: int = 0
    frame_bytes: int = 0
    snapshots: list[int] = Factory(list)
    """The frames after which they were taken, the first first."""
    compared: list[int] = Factory(list)
    """Those that equal what the frames before lead to."""
    stores: int = 0
    batches: int = 0
    files: int = 0


def prove(log: Database, profile: Profile, show: Show) -> Found:
    """Read every frame and snapshot of a log, and build the stores from them; return what was found.

    The stores are built from the first frame on if it is there, else from the oldest snapshot that can be read.
    Where the frames come to a snapshot, both are compared.  Where a frame is damaged or missing, the next
    snapshot is the new beginning.  Others may write meanwhile; what they append is left out.  Raise ``LogError``.
    O(n).
    """
    log.begin_reading()
    try:
        return _Proof(log, profile).run(show)
    finally:
        log.rollback()


class _Proof:
    def __init__(self, log: Database, profile: Profile) -> None:
        self.log = log
        # At time 0 nothing is due: looking changes nothing.
        self.replica = Replica(lambda: log, VirtualClock(0.0), random_ids, profile)
        self.found = Found()
        self.at: int | None = None
        """The frame that the replica equals; ``None`` if a frame before was not there."""

    def run(self, show: Show) -> Found:
        found, log = self.found, self.log
        found.frames, found.frame_bytes = log.size()
        found.snapshots = log.snapshots()[::-1]
        waiting = found.snapshots[:]
        previous = None
        self.replica._begin_empty()
        for done, frame in enumerate(log.frames(0), start=1):
            if frame.seq == 1 or (previous is None and not waiting):
                self.at = 0
            while waiting and waiting[0] < frame.seq:
                self._snapshot(waiting.pop(0))
            expected = frame.seq if previous is None else previous + 1
            if self.at is not None:
                expected = self.at + 1
            if frame.seq != expected:
                self._damaged(f"frame {expected} is missing")
            self._frame(frame)
            previous = frame.seq
            show(done, found.frames)
        for seq in waiting:
            self._snapshot(seq)
        last = log.last()
        if self.at is not None and self.at < last:
            self._damaged(f"frame {self.at + 1} is missing")
        found.whole = self.at == last or not last
        if found.whole:
            self._count()
        return found

    def _damaged(self, what: str) -> None:
        self.found.damage.append(what)
        self.at = None

    def _frame(self, frame: Frame) -> None:
        try:
            frame.entries(self.log.place)
        except DatabaseDamaged:
            self._damaged(f"frame {frame.seq} does not have the checksum that was written with it")
        else:
            if self.at is not None:
                try:
                    self.replica._apply(frame)
                    self.at = frame.seq
                except UNREADABLE as error:
                    self._damaged(f"frame {frame.seq} cannot follow the one before: {error}")

    def _snapshot(self, seq: int) -> None:
        """Compare a snapshot to the stores that were built, or begin with it if there are none."""
        replica = self.replica
        if self.at is not None and self.at < seq:
            self._damaged(f"frame {self.at + 1} is missing")
        try:
            if self.at is None:
                replica._forget()
                replica._restore(seq)
                self.at = seq
                return
            kept, _ = replica.read_snapshot(seq)
        except UNREADABLE as error:
            self.found.damage.append(f"the snapshot after frame {seq} cannot be read: {error}")
            return
        engine, claims = json.loads(json.dumps(replica.data()))
        if kept["engine"] == engine and self._same(kept["claims"], claims):
            self.found.compared.append(seq)
        else:
            self.found.damage.append(f"the snapshot after frame {seq} is not what the frames before it lead to")

    def _same(self, kept: dict[str, Any], built: dict[str, Any]) -> bool:
        """Return whether the data of claims are the same.

        Their order depends on what happened in memory.  So does whether an attachment that has ended is still
        among those that were given back, and whether one still waits for another attempt: the log says until
        when, and who looks later notes that it does not, which is not in the log.
        """
        back_kept, back_built = (self._in_progress(_by_name(each["back"])) for each in (kept, built))
        return (
            _by_name(kept["held"]) == _by_name(built["held"])
            and dict(kept["frontiers"]) == dict(built["frontiers"])
            and kept["made"] == built["made"]
            and back_kept.keys() == back_built.keys()
            and all(
                tried == back_built[name][0] and until in (None, back_built[name][1])
                for name, (tried, until) in back_kept.items()
            )
        )

    def _in_progress(self, said: dict[tuple[int, int], Any]) -> dict[tuple[int, int], Any]:
        """Return what is said of attachments in progress."""
        replica = self.replica
        stores = {replica._numbers[id]: store for id, store in replica.stores.items()}
        return {
            (number, row): rest
            for (number, row), rest in said.items()
            if number in stores and stores[number].rows.present[row] == IN_PROGRESS
        }

    def _count(self) -> None:
        found, replica = self.found, self.replica
        try:
            replica.check()
        except Inconsistent as error:
            self._damaged(str(error))
        for store in replica.stores.values():
            found.stores += 1
            found.batches += len(store.batches)
            found.files += len(store.numbers)


def _by_name(pairs: list[Any]) -> dict[tuple[int, int], list[Any]]:
    """Return what is said of attachments, by store and attachment."""
    return {(number, row): rest for number, rows in pairs for row, *rest in rows}
