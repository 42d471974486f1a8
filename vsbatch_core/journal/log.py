"""The log: frames in one sequence, each of them what one transaction made happen; and the snapshots beside it.

A ``Log`` is one connection to the place where the frames are kept.  It knows nothing of what they mean.  Several
connections, of several processes, may append to one log: the sequence number of a frame is unique, so of two that
are appended after the same frame only one can land.  The random token of a frame says whose it is: after a
``commit`` whose outcome is not known, the token under its number says whether it landed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from vsbatch_core.errors import DatabaseDamaged, DatabaseUnavailable, VsbatchError

FORMAT = 1
"""The format of the frames that are written.  It changes whenever a reader of the old one would misread them."""

_PLAIN, _DEFLATED = b"\0", b"\1"
_WORTH_DEFLATING = 200
"""From so many bytes on, deflating usually makes a frame smaller."""


class LogError(Exception):
    """A log could not be read or written; the message says why.

    ``damaged`` says whether the database itself found that it does not hold what was written.
    """

    def __init__(self, why: str, *, damaged: bool = False) -> None:
        super().__init__(why)
        self.damaged = damaged

    def refusal(self, place: str) -> VsbatchError:
        """Return what the caller is to be raised, if nothing has happened."""
        return DatabaseDamaged(place, str(self)) if self.damaged else DatabaseUnavailable(place, str(self))


class Frame(NamedTuple):
    """What one transaction made happen: ``data`` is one byte that says how it is packed, and entries."""

    seq: int
    token: int
    checksum: int
    data: bytes

    @classmethod
    def of(cls, seq: int, token: int, entries: bytes) -> Frame:
        """Return the frame of these entries."""
        data = _PLAIN + entries
        if len(entries) >= _WORTH_DEFLATING:
            data = min(data, _DEFLATED + zlib.compress(entries, 1), key=len)
        return cls(seq, token, checksum(seq, token, data), data)

    def entries(self, place: str) -> bytes:
        """Return the entries; raise ``DatabaseDamaged``, which names ``place``, if they are not those written."""
        try:
            whole = self.checksum == checksum(self.seq, self.token, self.data)
        except TypeError:  # they are not even integers and bytes
            whole = False
        if not whole:
            raise DatabaseDamaged(place, f"frame {self.seq} does not have the checksum that was written with it")
        return zlib.decompress(self.data[1:]) if self.data[:1] == _DEFLATED else self.data[1:]


def checksum(seq: int, token: int, data: bytes) -> int:
    """Return the checksum of a frame."""
    return zlib.crc32(data, zlib.crc32(b"%d %d" % (seq, token)))


class Part(NamedTuple):
    """What a frame has of one stream: the stream, and the version of its first event there.

    A stream is the events of one store, by its number; stream 0 is the events of the list of stores.  ``made`` is
    the id of a store that the frame made, and ``deleted`` says whether it deleted the store.
    """

    stream: int
    version: int
    made: str | None
    deleted: bool


class Snapshot(NamedTuple):
    """A whole engine as it was after a frame, as bytes."""

    seq: int
    checksum: int
    data: bytes


class Log(Protocol):
    """One connection to a log.  Every method raises ``LogError`` if the database fails.

    Only one thread uses it at a time.
    """

    @property
    def place(self) -> str:
        """Where the log is, as messages name it."""

    def begin(self) -> None:
        """Begin a transaction: until it ends, nobody else appends."""

    def append(self, frame: Frame, parts: Iterable[Part]) -> None:
        """Append a frame, which has these parts, within the transaction."""

    def commit(self) -> None:
        """End the transaction, durably."""

    def rollback(self) -> None:
        """End the transaction, if one has begun, as if it had not."""

    def changed(self) -> bool:
        """Return whether others may have appended since ``frames`` without ``last`` was last read to its end."""

    def frames(self, after: int, last: int | None = None) -> Iterator[Frame]:
        """Return the frames that follow a number, up to the last, in order."""

    def last(self) -> int:
        """Return the latest frame of which anything is there: itself, a snapshot, a part; 0 if there is none."""

    def token(self, seq: int) -> int | None:
        """Return the token of a frame, or ``None`` if it has not landed, and never will by this connection."""

    def ids(self) -> Iterator[tuple[int, str]]:
        """Return the number and the id of each store that is there, or of which there are frames."""

    def parts(self, stream: int, after: int) -> list[tuple[int, int]]:
        """Return version and frame of the parts of a stream that may hold events after a version."""

    def snapshots(self) -> list[int]:
        """Return the frames of which there are snapshots, the latest first."""

    def snapshot(self, seq: int) -> Snapshot | None:
        """Return a snapshot, if it is there."""

    def keep(self, snapshot: Snapshot) -> None:
        """Add a snapshot, durably, in as many transactions as suits: it is there as a whole or not at all."""

    def put(self, snapshot: Snapshot, made: Iterable[tuple[int, str]]) -> None:
        """Add a snapshot within the transaction, and number and id of stores in it that no frame has made."""

    def prune(self, oldest: int) -> None:
        """Forget the snapshots before that after frame ``oldest``, and the frames up to it."""

    def close(self) -> None:
        """Close the connection; it opens again when it is needed."""
