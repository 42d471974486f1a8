"""What was asked of a stand-in, and what came back."""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Sequence
from operator import attrgetter
from threading import Lock
from typing import Any, overload

from attrs import field, frozen

MOST = 1000
"""So many exchanges are kept."""

MOST_BYTES = 32 << 20
"""So many bytes of bodies are kept of all exchanges together, and of one an eighth of that at most."""

_number = attrgetter("number")


@frozen(kw_only=True)
class Exchange:
    """A request and its response.

    * ``number``: from 1, in the order in which requests came; a list of numbers in ``Faults`` means these.
    * ``at``: when it came, in seconds since the epoch on the engine's clock.
    * ``method``, ``path``, ``query``: as the client sent them.
    * ``status``: of the response; ``None`` if the response was lost.
    * ``milliseconds``: of real time, until the response was there.
    * ``faults``: the names of the faults that acted.
    * ``message``: what the error in the response says, if it is one.
    * ``body``, ``response``: the bytes; ``None`` if there were too many to keep.
    """

    number: int
    at: float
    method: str
    path: str
    query: str = ""
    status: int | None = None
    milliseconds: float = 0.0
    faults: tuple[str, ...] = ()
    message: str | None = None
    body: bytes | None = field(default=b"", repr=False)
    response: bytes | None = field(default=b"", repr=False)

    @property
    def json(self) -> Any:
        """The body of the request, which is JSON.  Raise ``ValueError`` if it is not, or was not kept."""
        return _parsed("request", self.body)

    @property
    def response_json(self) -> Any:
        """The body of the response, which is JSON.  Raise ``ValueError`` if it is not, or was not kept."""
        return _parsed("response", self.response)

    def data(self, *, bodies: bool) -> dict[str, Any]:
        """Return it as JSON-able data; bodies as JSON where they are, else as text."""
        found = {
            "number": self.number,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
            "milliseconds": round(self.milliseconds, 3),
            "faults": list(self.faults),
            "message": self.message,
        }
        return {**found, "body": _shown(self.body), "response": _shown(self.response)} if bodies else found


def message_of(status: int, response: bytes) -> str | None:
    """Return what the error body of a response says, if it is one."""
    if status < 400:
        return None
    try:
        message = json.loads(response)["error"]["message"]
    except (ValueError, TypeError, KeyError):
        return None
    return message if isinstance(message, str) else None


def _parsed(which: str, body: bytes | None) -> Any:
    if body is None:
        raise ValueError(f"The body of this {which} was not kept: it had more than {MOST_BYTES // 8} bytes.")
    return json.loads(body)


def _shown(body: bytes | None) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


class RequestLog(Sequence[Exchange]):
    """The latest exchanges, ``most`` of them at most, by their numbers.  Any thread may use it.

    >>> log = RequestLog()
    >>> log.add(Exchange(number=1, at=0.0, method="GET", path="/v1/files", status=200))
    >>> [exchange.path for exchange in log]
    ['/v1/files']
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: list[Exchange] = []
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<RequestLog of {len(self)} exchanges>"

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, place: int) -> Exchange: ...
    @overload
    def __getitem__(self, place: slice) -> list[Exchange]: ...
    def __getitem__(self, place: int | slice) -> Exchange | list[Exchange]:
        return self._kept[place]

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange, and forget the oldest if there are too many."""
        with self._lock:
            insort(self._kept, exchange, key=_number)
            self._bytes += _size(exchange)
            forgotten = max(0, len(self._kept) - self._most)
            self._bytes -= sum(map(_size, self._kept[:forgotten]))
            while self._bytes > MOST_BYTES:
                self._bytes -= _size(self._kept[forgotten])
                forgotten += 1
            del self._kept[:forgotten]

    def after(self, number: int, limit: int | None = None) -> list[Exchange]:
        """Return the exchanges with greater numbers, the first ``limit`` of them."""
        with self._lock:
            first = bisect_right(self._kept, number, key=_number)
            return self._kept[first : None if limit is None else first + limit]

    def clear(self) -> None:
        """Forget all exchanges."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def kept(body: bytes) -> bytes | None:
    """Return a body as it is kept."""
    return body if len(body) <= MOST_BYTES // 8 else None


def _size(exchange: Exchange) -> int:
    return len(exchange.body or b"") + len(exchange.response or b"")
