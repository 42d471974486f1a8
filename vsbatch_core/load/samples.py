"""What was measured: each request in 27 bytes, and the figures of an operation."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from math import ceil

from attrs import frozen

from vsbatch_core.load.workload import OPERATIONS

NAMES = tuple(OPERATIONS)
OVERLOADED, TIMEOUT = "overloaded", "timeout"


def nearest_rank(ordered: Sequence[float], percent: float) -> float:
    """The least of the values that at least so many percent of them do not exceed; 0 if there are none."""
    return ordered[max(1, ceil(len(ordered) * percent / 100)) - 1] if ordered else 0.0


@frozen(kw_only=True)
class Figures:
    """An operation in figures; latencies in seconds, of the requests that were answered as asked or timed out.

    A timed-out request counts with the time after which it was given up: it would have taken longer.  Other
    errors say nothing of how long an answer takes, and are counted alone.
    """

    count: int
    errors: int
    a_second: float
    """Answered as asked."""
    p50: float
    p95: float
    p99: float
    most: float


class Samples:
    """The requests in the order in which they ended; times in seconds of the runner's clock.

    * ``due``: when the request was due; in a closed loop when it was sent.
    * ``sent``, ``done``: when it was sent, and when the last byte of the answer had come.  A request that was
      given up unsent has ``sent == done == due``.
    * ``operations`` and ``kinds`` index ``NAMES`` and ``errors``.
    """

    def __init__(self) -> None:
        self.due: array[float] = array("d")
        self.sent: array[float] = array("d")
        self.done: array[float] = array("d")
        self.operations: array[int] = array("B")
        self.kinds: array[int] = array("H")
        self.errors: list[str] = [""]
        """The kinds of errors that there were; the first is none."""
        self.messages: dict[str, str] = {}
        """What was said of the first error of a kind."""
        self.ended = 0
        """How many cancels were refused because their batch had ended: no errors."""
        self.started = 0.0

    def __len__(self) -> int:
        return len(self.due)

    def add(
        self, operation: str, due: float, sent: float, done: float, error: str | None = None, message: str = ""
    ) -> None:
        """Note a request that has ended."""
        kind = 0
        if error is not None:
            if error not in self.errors:
                self.errors.append(error)
                self.messages[error] = message
            kind = self.errors.index(error)
        self.due.append(due)
        self.sent.append(sent)
        self.done.append(done)
        self.operations.append(NAMES.index(operation))
        self.kinds.append(kind)

    @property
    def elapsed(self) -> float:
        """From the begin to the last answer."""
        return max(self.done, default=self.started) - self.started

    def figures(self, operation: str | None = None) -> Figures:
        """The figures of an operation, or of all together.  O(n log n)."""
        wanted = [i for i in range(len(self)) if operation in (None, NAMES[self.operations[i]])]
        errors = sum(self.kinds[i] > 0 for i in wanted)
        timed = (0, self.errors.index(TIMEOUT) if TIMEOUT in self.errors else 0)
        latencies = sorted(self.done[i] - self.due[i] for i in wanted if self.kinds[i] in timed)
        return Figures(
            count=len(wanted),
            errors=errors,
            a_second=(len(wanted) - errors) / self.elapsed if self.elapsed else 0.0,
            p50=nearest_rank(latencies, 50),
            p95=nearest_rank(latencies, 95),
            p99=nearest_rank(latencies, 99),
            most=nearest_rank(latencies, 100),
        )

    def used(self) -> list[str]:
        """The operations of which there are requests."""
        found = set(self.operations)
        return [name for i, name in enumerate(NAMES) if i in found]

    def tally(self) -> list[tuple[str, str, int]]:
        """The errors: kind, operation, how many; in the order of the kinds' first appearance."""
        counts = Counter(zip(self.kinds, self.operations, strict=True))
        return [(self.errors[kind], NAMES[i], n) for (kind, i), n in sorted(counts.items()) if kind]

    def lags(self) -> list[float]:
        """By how many seconds requests were sent later than they were due, ascending; those that were sent."""
        given_up = self.errors.index(OVERLOADED) if OVERLOADED in self.errors else -1
        pairs = zip(self.sent, self.due, self.kinds, strict=True)
        return sorted(sent - due for sent, due, kind in pairs if kind != given_up)
