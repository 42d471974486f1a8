"""The log: frames in one sequence, each of them what one transaction made happen; and the snapshots beside it.

A ``Log`` is one connection to the place where the frames are kept.  It knows nothing of what they mean.  Several
connections, of several processes, may append to one log: the sequence number of a frame is unique, so of two that
are appended after the same frame only one can land.  The random token of a frame says whose it is: after a
``commit`` whose outcome is not known, the token under its number says whether it landed.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import unquote

from vsbatch_core.errors import DatabaseDamaged, DatabaseRefused, DatabaseUnavailable, VsbatchError

FORMAT = 1
"""The format of the frames that are written.  It changes whenever a reader of the old one would misread them."""

Durability = Literal["full", "normal"]
"""Whether what is committed outlasts a power failure, or the last of it may be lost then."""

BUSY_SECONDS = 60.0
"""How long a transaction waits for others, if not given otherwise."""

Reads = Literal["fresh", "local"]
"""Whether each read asks a database that is elsewhere what others have done, or only now and then."""

_PART_BYTES = 1 << 20
"""A snapshot is kept in parts of at most so many bytes, so that nobody waits long for one of them."""

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


class Rewound(Exception):
    """Frame ``seq``, which was read from the database or committed to it before, is not there any more.

    ``pruned`` says whether that may be because a snapshot has it, as is usual.  Then nobody can tell.
    """

    def __init__(self, seq: int, *, pruned: bool) -> None:
        super().__init__(seq)
        self.seq = seq
        self.pruned = pruned


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

    def append(self, frame: Frame, parts: Iterable[Part], *, lasting: bool = True) -> None:
        """Append a frame, which has these parts, within the transaction.

        Unless it must be ``lasting``, a crash of the machine or of the database soon after the commit may lose
        it, as long as nothing that was committed after it is kept then.
        """

    def commit(self) -> None:
        """End the transaction, durably if what it appends is lasting."""

    def rollback(self) -> None:
        """End the transaction, if one has begun, as if it had not."""

    @property
    def remote(self) -> bool:
        """Whether ``changed`` is going to wait for an answer over a network."""

    def changed(self) -> bool:
        """Return whether others may have appended since ``frames`` without ``last`` was last read to its end."""

    def frames(self, after: int, last: int | None = None) -> Iterator[Frame]:
        """Return the frames that follow a number, up to the last, in order.  Raise ``Rewound``."""

    def last(self) -> int:
        """Return the latest frame of which anything is there: itself, a snapshot, a part; 0 if there is none.

        Who loads the log anew begins with this: no frame was read before, that the log could have lost.
        """

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


class Database(Log, Protocol):
    """A log, and what is done with it as a whole."""

    def open(self, profile: str | None, usual: str) -> str:
        """Make the log if it is not there; return the profile that it was made under.

        ``profile`` is that which it must have, ``usual`` that which a new one gets if none is demanded, as JSON.
        Raise ``DatabaseRefused`` or ``DatabaseDamaged``.
        """

    def exists(self) -> bool:
        """Return whether anything is there that an engine could have made; nothing is made."""

    def begin_reading(self) -> None:
        """Begin a transaction in which all reads return the same state; others may write meanwhile."""

    def size(self) -> tuple[int, int]:
        """Return how many frames there are, and how many bytes of data they have."""

    def bytes_on_disk(self) -> int:
        """Return how many bytes the log takes up."""

    def vacuum(self) -> None:
        """Give the space that nothing takes up any more back to the file system.  O(bytes)."""


def parts_of(snapshot: Snapshot) -> Iterator[tuple[int, int, int, bytes]]:
    """Return the rows of a snapshot: its frame, the number of a part, the checksum of the whole, and bytes."""
    seq, whole, data = snapshot
    for part, first in enumerate(range(0, len(data) or 1, _PART_BYTES)):
        yield seq, part, whole, data[first : first + _PART_BYTES]


def text_checksum(text: str) -> str:
    """Return the checksum of a setting."""
    return str(zlib.crc32(text.encode()))


def require_profile(place: str, kept: str, kept_checksum: object, wanted: str | None) -> None:
    """Compare the profile that a database was made under with its checksum, and with the one that is wanted.

    Both are JSON; ``wanted`` is ``None`` if any will do.  Raise ``DatabaseDamaged`` or ``DatabaseRefused``.
    """
    if kept_checksum != text_checksum(kept):
        raise DatabaseDamaged(place, "its profile does not have the checksum that was written with it")
    there = json.loads(kept)
    here = there if wanted is None else json.loads(wanted)
    if there != here:
        raise DatabaseRefused(
            place,
            f"it was made under another profile: {_difference(there, here)}. "
            "Open it without a profile, or with the one that it was made under",
        )


def _difference(kept: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return the first key of which two profiles have different values, and both values."""
    name = next(name for name in [*wanted, *kept] if kept.get(name) != wanted.get(name))
    there, here = kept.get(name), wanted.get(name)
    if isinstance(there, dict) and isinstance(here, dict):
        return f"{name}.{_difference(there, here)}"
    return f"{name} is {there!r} there and {here!r} here"


_USER = re.compile(r"(?s)\A((?:[^:/?#]+://)?[^:/?#@]*):(?!/)(.*)@")
"""What a URL begins with if it has a password, or what may be one: the scheme may have been forgotten."""


def without_password(url: str) -> str:
    """Return a URL as messages name it, though its password may have characters that should be encoded."""
    base, mark, query = _USER.sub(r"\1@", url, count=1).partition("?")
    kept = [pair for pair in query.split("&") if "password" not in unquote(pair.partition("=")[0]).lower()]
    return base + mark * bool(kept) + "&".join(kept)


def is_ambiguous(url: str) -> bool:
    """Return whether a URL may have a password with characters that others take for the end of the password."""
    user = _USER.match(url)
    return user is not None and re.search("[/?#@]", user[2]) is not None
