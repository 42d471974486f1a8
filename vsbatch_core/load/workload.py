"""The workload: which operations, of which sizes, and when they are due.  From a seed; plain data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from math import log
from random import Random

from attrs import field, frozen

from vsbatch_core.model import FrozenDict

OPERATIONS: dict[str, str] = {
    "store": "create a store",
    "create": "create a batch",
    "attach": "attach one file",
    "retrieve": "retrieve a batch",
    "file": "retrieve a file",
    "list": "list a batch's files, page by page",
    "list-store": "list a store's files, page by page",
    "cancel": "cancel the newest batch",
    "delete": "delete a file that was attached alone",
}

MIX: Mapping[str, float] = FrozenDict(
    {
        "store": 2,
        "create": 5,
        "attach": 4,
        "retrieve": 50,
        "file": 10,
        "list": 15,
        "list-store": 10,
        "cancel": 2,
        "delete": 2,
    }
)
SIZES = (range(1, 2), range(20, 21), range(500, 501), range(2000, 2001))
MOST_FILES = 2000
"""Files that a batch may have (documented)."""


@frozen
class Intent:
    """An operation to come, of which size, and draws from 0 to below 1 that choose what it is done to."""

    operation: str
    size: int
    target: float
    detail: float


@frozen(kw_only=True)
class Workload:
    """A sequence of intents without end, the same for the same values.

    * ``mix``: the weight of each operation.
    * ``sizes``: of these ranges one is drawn, and of it the number of files in a batch.

    Nothing but ``Random.random`` is drawn from, whose sequence Python keeps the same from version to version.
    """

    seed: int = 0
    mix: Mapping[str, float] = field(default=MIX)
    sizes: tuple[range, ...] = SIZES

    def intents(self) -> Iterator[Intent]:
        """The intents, in the order in which they are to be sent.  O(1) each."""
        draw = Random(f"intents {self.seed}").random
        names = [name for name in OPERATIONS if self.mix.get(name, 0) > 0]
        sums = list(accumulate(self.mix[name] for name in names))
        while True:
            operation = names[min(bisect_right(sums, draw() * sums[-1]), len(names) - 1)]
            sizes = self.sizes[int(draw() * len(self.sizes))]
            yield Intent(operation, sizes[int(draw() * len(sizes))], draw(), draw())

    def arrivals(self, rate: float) -> Iterator[float]:
        """When the intents of an open loop are due, in seconds: a Poisson process of ``rate`` a second."""
        draw = Random(f"arrivals {self.seed}").random
        due = 0.0
        while True:
            due -= log(1.0 - draw()) / rate
            yield due
