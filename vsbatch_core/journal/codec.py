"""Events and changes of claims as bytes, and back.

An entry is one byte that says what it is, and its fields in the order in which the class declares them.  How a
field is written follows from its name: the same name means the same everywhere.  Integers are written in groups
of seven bits, the lowest first, so that small ones take one byte; columns of integers as arrays of the narrowest
width; what is rare or nested as the JSON of ``wire``.  Stores are named by their *number*, the version that the
list of stores had when they were made: it never changes and is never used again.

Reading trusts the bytes, which a checksum covers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from struct import Struct, pack, unpack_from
from typing import Any, TypeVar

from vsbatch_core import events as ev
from vsbatch_core import wire
from vsbatch_core.claims import Claim, ClaimsChange, new_claim
from vsbatch_core.model import AUTO, NO_ATTRIBUTES, NO_METADATA, names_of
from vsbatch_core.store import Store

Entry = ev.Event | ClaimsChange
T = TypeVar("T")

_DOUBLE = Struct("<d")
_WIDTHS = ((1 << 8, "B"), (1 << 16, "H"), (1 << 32, "I"), (1 << 64, "Q"))
_CLAIMS = 0
"""The code of a change of claims; those of events are their places in this tuple, from 1, and never change."""
_EVENTS: tuple[type[ev.Event], ...] = (
    ev.VectorStoreCreated,
    ev.VectorStoreUpdated,
    ev.VectorStoreExpired,
    ev.VectorStoreDeleted,
    ev.FileAttached,
    ev.FileUpdated,
    ev.FileDeleted,
    ev.FileCompleted,
    ev.FileFailed,
    ev.FilesCompleted,
    ev.FilesFailed,
    ev.FilesCancelled,
    ev.FileBatchCreated,
    ev.FileBatchCancelled,
    ev.FileBatchesPurged,
)


class Writer:
    """Writes entries one after another; ``data`` is what was written.

    ``number`` returns the number of a store by its id.
    """

    def __init__(self, number: Callable[[str], int]) -> None:
        self.data = bytearray()
        self._number = number

    def entry(self, entry: Entry, store_id: Callable[[int], str]) -> None:
        """Write an entry; ``store_id`` returns the id of a store by its place in the engine's list of stores."""
        if isinstance(entry, ClaimsChange):
            self.data.append(_CLAIMS)
            self.json(claims_data(entry, lambda number: self._number(store_id(number))))
            return
        code, fields = _WRITE[type(entry)]
        self.data.append(code)
        for name, write in fields:
            write(self, getattr(entry, name))

    def double(self, value: float) -> None:
        """Write a number in eight bytes."""
        self.data += _DOUBLE.pack(value)

    def integer(self, value: int) -> None:
        """Write an integer from 0."""
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def string(self, value: str) -> None:
        """Write a string, of any characters."""
        encoded = value.encode("utf-8", "surrogatepass")
        self.integer(len(encoded))
        self.data += encoded

    def optional_string(self, value: str | None) -> None:
        """Write a string or ``None``."""
        self.data.append(value is not None)
        if value is not None:
            self.string(value)

    def strings(self, value: Sequence[str]) -> None:
        """Write a column of strings: how long each of them is, and all of them as one."""
        self.integers([*map(len, value)])
        self.string("".join(value))

    def integers(self, value: Sequence[int]) -> None:
        """Write a column of integers from 0, each as wide as the largest needs."""
        self.integer(len(value))
        if value:
            largest = max(value)
            width = next(width for width, (limit, _) in enumerate(_WIDTHS) if largest < limit)
            self.data.append(width)
            self.data += pack(f"<{len(value)}{_WIDTHS[width][1]}", *value)

    def rising(self, value: Sequence[int]) -> None:
        """Write a column of integers of which neighbours differ by little, as a rule."""
        self.integer(len(value))
        if value:
            self.integer(value[0])
            steps = [later - earlier for earlier, later in pairwise(value)]
            self.integers([step << 1 if step >= 0 else ~(step << 1) for step in steps])

    def store(self, value: str) -> None:
        """Write which store has this id."""
        self.integer(self._number(value))

    def json(self, value: Any) -> None:
        """Write JSON-able data; ``None`` takes one byte."""
        self.string("" if value is None else json.dumps(value, separators=(",", ":")))


class Reader:
    """Reads what a ``Writer`` wrote; ``store_id`` returns the id of a store by its number."""

    def __init__(self, data: bytes, store_id: Callable[[int], str]) -> None:
        self._data = data
        self._at = 0
        self._store_id = store_id

    @property
    def more(self) -> bool:
        """Whether anything follows."""
        return self._at < len(self._data)

    def entry(self, claims: Callable[[Any], T]) -> ev.Event | T:
        """Return the next entry; of a change of claims return ``claims`` of what ``claims_data`` returned."""
        code = self._data[self._at]
        self._at += 1
        if code == _CLAIMS:
            return claims(self.json())
        cls, fields = _READ[code]
        return cls(**{name: read(self) for name, read in fields})

    def double(self) -> float:
        """Return the next number."""
        self._at += 8
        return _DOUBLE.unpack_from(self._data, self._at - 8)[0]  # type: ignore[no-any-return]

    def integer(self) -> int:
        """Return the next integer."""
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def string(self) -> str:
        """Return the next string."""
        size = self.integer()
        self._at += size
        return self._data[self._at - size : self._at].decode("utf-8", "surrogatepass")

    def optional_string(self) -> str | None:
        """Return the next string, or ``None``."""
        self._at += 1
        return self.string() if self._data[self._at - 1] else None

    def strings(self) -> tuple[str, ...]:
        """Return the next column of strings."""
        ends = [*accumulate(self.integers())]
        text = self.string()
        return tuple([text[start:end] for start, end in zip([0, *ends], ends, strict=False)])

    def integers(self) -> tuple[int, ...]:
        """Return the next column of integers."""
        n = self.integer()
        if not n:
            return ()
        width = self._data[self._at]
        value = unpack_from(f"<{n}{_WIDTHS[width][1]}", self._data, self._at + 1)
        self._at += 1 + (n << width)
        return value

    def rising(self) -> tuple[int, ...]:
        """Return the next column of integers that were written as rising."""
        n = self.integer()
        if not n:
            return ()
        first = self.integer()
        steps = [~step >> 1 if step & 1 else step >> 1 for step in self.integers()]
        return tuple(accumulate(steps, initial=first))

    def store(self) -> str:
        """Return the id of the next store."""
        return self._store_id(self.integer())

    def json(self) -> Any:
        """Return the next JSON-able data."""
        text = self.string()
        return json.loads(text) if text else None


# How each field of an event is written and read

Write = Callable[[Writer, Any], None]
Read = Callable[[Reader], Any]


def _as_json(name: str, usual: Any) -> tuple[Write, Read]:
    """Return the ways of a field whose value is nested; the usual value takes one byte."""

    def write(writer: Writer, value: Any) -> None:
        writer.json(None if value == usual else wire.field_to_wire(name, value))

    def read(reader: Reader) -> Any:
        data = reader.json()
        return usual if data is None else wire.field_from_wire(name, data)

    return write, read


_INTEGER: tuple[Write, Read] = (Writer.integer, Reader.integer)
_FIELDS: dict[str, tuple[Write, Read]] = {
    "at": (Writer.double, Reader.double),
    "attachment": _INTEGER,
    "attachments": (Writer.rising, Reader.rising),
    "attributes": _as_json("attributes", NO_ATTRIBUTES),
    "attributes_each": _as_json("attributes_each", (NO_ATTRIBUTES,)),
    "batch_id": (Writer.string, Reader.string),
    "batch_ids": (Writer.strings, Reader.strings),
    "chunking_strategies": _as_json("chunking_strategies", (AUTO,)),
    "chunking_strategy": _as_json("chunking_strategy", AUTO),
    "description": (Writer.optional_string, Reader.optional_string),
    "expires_after": _as_json("expires_after", None),
    "file_id": (Writer.string, Reader.string),
    "file_ids": (Writer.strings, Reader.strings),
    "first_attachment": _INTEGER,
    "idempotency": _as_json("idempotency", None),
    "last_error": _as_json("last_error", None),
    "left_running": (Writer.rising, Reader.rising),
    "metadata": _as_json("metadata", NO_METADATA),
    "name": (Writer.optional_string, Reader.optional_string),
    "stores_version": _INTEGER,
    "usage_bytes": _INTEGER,
    "usage_bytes_each": (Writer.integers, Reader.integers),
    "vector_store_id": (Writer.store, Reader.store),
    "version": _INTEGER,
}
_NEW_ID: tuple[Write, Read] = (Writer.string, Reader.string)


def _ways(cls: type[ev.Event]) -> list[tuple[str, tuple[Write, Read]]]:
    """Return the fields of an event and their ways; a store that is made has its id written."""
    ways = [(name, _FIELDS[name]) for name in names_of(cls)]
    if cls is ev.VectorStoreCreated:
        return [(name, _NEW_ID if name == "vector_store_id" else way) for name, way in ways]
    return ways


_WRITE = {
    cls: (code, [(name, write) for name, (write, _) in _ways(cls)]) for code, cls in enumerate(_EVENTS, start=1)
}
_READ = {
    code: (cls, [(name, read) for name, (_, read) in _ways(cls)]) for code, cls in enumerate(_EVENTS, start=1)
}


# Changes of claims


def claims_data(change: ClaimsChange, number: Callable[[int], int]) -> dict[str, Any]:
    """Return a change of claims as JSON-able data; ``number`` maps a place in the list of stores to its number.

    What ended without the end of its attachment is left out: what becomes of it is an entry of the same frame.
    """
    return {
        "held": [
            [number(place), [[row, c.attempt, c.deadline, c.worker, c.number] for row, c in claims.items()]]
            for place, claims in change.held.items()
        ],
        "frontiers": [[number(place), frontier] for place, frontier in change.frontiers.items()],
        "back": [
            [number(place), [[row, *times] for row, times in rows.items()]] for place, rows in change.back.items()
        ],
        "made": change.made,
    }


def claims_of(data: Any, store: Callable[[int], Store]) -> ClaimsChange:
    """Return the change of claims that ``claims_data`` returned; ``store`` returns a store by its number."""
    held: dict[int, dict[int, Claim]] = {}
    for number, claims in data["held"]:
        one = store(number)
        held[one.number] = {
            row: new_claim(one.id, one.rows.read(row), row, attempt, deadline, worker, made)
            for row, attempt, deadline, worker, made in claims
        }
    return ClaimsChange(
        held=held,
        frontiers={store(number).number: frontier for number, frontier in data["frontiers"]},
        back={store(number).number: {row: (n, at) for row, n, at in rows} for number, rows in data["back"]},
        made=data["made"],
    )
