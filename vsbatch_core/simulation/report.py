"""What a simulation came to, in figures: worked out when it is asked for, from 16 bytes a file."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import ceil, fsum

from attrs import frozen

from vsbatch_core.model import FrozenDict


@frozen(kw_only=True)
class Spread:
    """How a number of seconds is spread; all 0 if there were none.  Percentiles by nearest rank."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: array[float]) -> Spread:
        """The spread of these.  O(n log n)."""
        ordered = sorted(values)
        n = len(ordered)

        def percentile(p: int) -> float:
            return ordered[max(1, ceil(n * p / 100)) - 1] if n else 0.0

        return cls(
            count=n,
            mean=sum(ordered) / n if n else 0.0,
            p50=percentile(50),
            p90=percentile(90),
            p99=percentile(99),
            most=percentile(100),
        )


@frozen(kw_only=True)
class Report:
    """The figures; times in seconds.

    * ``ended``: the files that workers ended, and ``retried`` how often one was tried again.
    * ``makespan``: from the first arrival to the last end of a file, by a worker, a cancel or otherwise; while a
      worker is busy, to now.
    * ``throughput``: ended files a second of the makespan.
    * ``wait``: from when a file was attached until a worker first picked it up.
    * ``service``: in a worker's hands, for each time that a worker was done with a file.
    * ``utilisation``: the part of the makespan that a worker was busy, on average over the workers, 0 to 1;
      ``None`` if their number is not limited.
    * ``polls``: by id of a batch that was polled, how often, up to and with the poll that saw it ended; not of
      those whose store is deleted.
    """

    ended: int
    retried: int
    makespan: float
    throughput: float
    wait: Spread
    service: Spread
    utilisation: float | None
    polls: Mapping[str, int]


class Figures:
    """What is kept for the report while the simulation runs."""

    __slots__ = ("broken_off", "ended", "first", "last", "retried", "services", "waits")

    def __init__(self) -> None:
        self.waits: array[float] = array("d")
        self.services: array[float] = array("d")
        self.broken_off = 0.0
        """How long workers had the files that were taken from them."""
        self.ended = 0
        self.retried = 0
        self.first: float | None = None
        self.last = 0.0

    def report(self, workers: int | None, now: float, held: Sequence[float], polls: Mapping[str, int]) -> Report:
        """Return the figures up to now; what workers hold they have held since the times in ``held``."""
        end = now if held else self.last
        makespan = 0.0 if self.first is None else max(0.0, end - self.first)
        busy = fsum(self.services) + self.broken_off + sum(now - since for since in held)
        return Report(
            ended=self.ended,
            retried=self.retried,
            makespan=makespan,
            throughput=self.ended / makespan if makespan else 0.0,
            wait=Spread.of(self.waits),
            service=Spread.of(self.services),
            utilisation=None if workers is None else busy / (makespan * workers) if makespan else 0.0,
            polls=FrozenDict(polls),
        )
