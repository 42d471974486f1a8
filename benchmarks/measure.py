"""Timing that holds on a noisy machine: contenders take turns, and only ratios within a round are trusted.

Each turn is measured twice: in CPU time, which other programs on the machine hardly change, and in wall time.

A round gives every contender one turn, which is as many operations as fill a given time.  The order changes from
round to round.  A contender that is too slow to have its turn in every round has it in some, evenly spread; one
for which even three turns would take longer than its budget is not timed at all, and that is said.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import log
from statistics import fmean, median
from time import perf_counter

from attrs import define, field, frozen

from benchmarks.clocks import Clocks, Spent

Task = Callable[[], object]

LEAST_TURNS = 3
"""With fewer there is no spread to speak of."""

LONG = 0.1
"""Seconds from which on what was done once is believed to take about as long again."""


@frozen
class Figures:
    """Cost of one operation, in seconds (or bytes), for each round; ``None`` where the contender had no turn.

    The rounds of contenders that were measured together belong together.
    """

    rounds: tuple[float | None, ...]

    @property
    def taken(self) -> list[float]:
        """Return the figures of the rounds in which the contender had its turn."""
        return [cost for cost in self.rounds if cost is not None]

    @property
    def median(self) -> float:
        """Return the median over the rounds."""
        return median(self.taken)


@frozen
class Times:
    """What one operation took in the same rounds: seconds of wall time, and of CPU time."""

    wall: Figures
    cpu: Figures


@frozen
class Ratio:
    """One cost as a multiple of another: the median over the rounds, and their middle half."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, other: Figures, one: Figures) -> Ratio:
        """Return ``other`` over ``one`` in the rounds in which both had a turn.

        Raise ``ValueError`` if there is no such round.
        """
        ratios = sorted(b / a for a, b in zip(one.rounds, other.rounds, strict=True) if a and b)
        if not ratios:
            raise ValueError(
                f"there is no round in which both had their turn: {len(one.rounds)} rounds were measured; "
                "measure with a larger budget"
            )
        quarter = len(ratios) // 4
        return cls(median(ratios), ratios[quarter], ratios[-1 - quarter])

    @property
    def draw(self) -> bool:
        """Return whether the spread crosses 1: it cannot be said who is faster."""
        return self.low <= 1 <= self.high

    def differs(self, other: Ratio, *, least: float = 0.05) -> bool:
        """Return whether the two differ beyond noise: middle halves apart, medians by more than 5 per cent.

        The middle halves are those within one run.  Two runs differ by more than that (where things came to lie
        in memory), which is what the 5 per cent are for.
        """
        apart = self.low > other.high or other.low > self.high
        return apart and abs(log(self.median / other.median)) > log(1 + least)


def exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """Return the exponent k of cost = c * n**k, fitted to pairs (n, cost) by least squares on logarithms.

    ``None`` if there are fewer than two sizes.  0 is a cost that does not grow, 1 one that grows with n.
    """
    logs = [(log(n), log(cost)) for n, cost in points if cost > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    x_mean, y_mean = fmean(x for x, _ in logs), fmean(y for _, y in logs)
    covariance = sum((x - x_mean) * (y - y_mean) for x, y in logs)
    return covariance / sum((x - x_mean) ** 2 for x, _ in logs)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector from running inside a measurement; run it before."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@define
class Entry:
    """One contender at one size, ready to be timed.

    ``task`` can be repeated at will; else ``prepare`` gives, untimed, so many things that can be done only once.
    ``operations`` is how many operations one of them is.  ``one`` is what a single one took when it was checked,
    in seconds.
    """

    contender: str
    n: int
    task: Task | None = None
    prepare: Callable[[int], Sequence[Task]] | None = None
    verify: Callable[[], None] = field(default=lambda: None)
    """Called at the end; raises if what was done has not left what it should have."""
    operations: int = 1
    most: int = 1_000_000
    """How many, at most, are prepared for one turn."""
    one: float = 0.0
    clocks: Clocks = field(factory=Clocks)
    """Whose CPU time is the cost."""
    number: int = field(default=1, init=False)
    failed: Exception | None = field(default=None, init=False)
    """What it raised in one of its turns; then it has no more."""

    def calibrate(self, seconds: float) -> None:
        """Set how many make a turn of about ``seconds``."""
        if self.task is None:
            self.number = max(1, min(self.most, round(seconds / max(self.one, 1e-7))))
            return
        self.number, spent = 1, self.one
        if spent < LONG:
            spent = self._twice()
        while spent < seconds / 4:
            self.number *= 4
            spent = self._twice()
        self.one = spent / self.number
        self.number = max(1, round(self.number * seconds / spent))

    def _twice(self) -> float:
        """Return the better of two: one that was interrupted, or cold, would leave turns that are too short."""
        assert self.task is not None
        return min(timed([self.task] * self.number), timed([self.task] * self.number))

    def turn(self) -> Spent:
        """Take one turn; return the seconds that one operation took."""
        if self.task is not None:
            task, repeat = self.task, range(self.number)
            stop = self.clocks.start()
            for _ in repeat:
                task()
            spent = stop()
        else:
            assert self.prepare is not None
            tasks = self.prepare(self.number)
            stop = self.clocks.start()  # only now: to prepare may have started another server
            for task in tasks:
                task()
            spent = stop()
        number = self.number * self.operations
        return Spent(spent.wall / number, spent.cpu / number)


def timed(tasks: Sequence[Task]) -> float:
    """Return the seconds of wall time that it takes to do all of these."""
    start = perf_counter()
    for task in tasks:
        task()
    return perf_counter() - start


def turns(one: float, rounds: int, budget: float, patience: float = 1.0) -> int:
    """Return how many turns of ``one`` seconds there is time for.

    As many as the budget allows, ``rounds`` at most.  If that is fewer than the least that says anything, it is
    that least, if ``patience`` times the budget allows it; else 0.
    """
    least = min(rounds, LEAST_TURNS)
    if least * one > budget * patience:
        return 0
    return max(least, min(rounds, int(budget / max(one, 1e-9))))


def rounds_of(turns: int, rounds: int) -> list[int]:
    """Return the rounds of so many turns, evenly spread."""
    return [turn * rounds // turns for turn in range(turns)]


def in_turns(
    entries: Sequence[Entry], *, rounds: int, seconds: float, budget: float, patience: float = 1.0
) -> dict[tuple[str, int], Times]:
    """Time all entries in the same rounds, each with turns of about ``seconds``; by contender and size.

    One whose turns would take longer than ``budget`` seconds has fewer; one whose least number of turns would
    take longer than ``patience`` times that is left out.
    """
    taking: dict[int, list[Entry]] = {turn: [] for turn in range(rounds)}
    found: dict[tuple[str, int], list[Spent | None]] = {}
    with undisturbed():
        for entry in entries:
            if not turns(entry.one, rounds, budget, patience):
                continue
            entry.calibrate(seconds)
            turn_takes = entry.one * entry.number
            affordable = turns(turn_takes, rounds, max(budget, 2 * seconds * rounds), patience)
            if not affordable:
                continue
            found[entry.contender, entry.n] = [None] * rounds
            for turn in rounds_of(affordable, rounds):
                taking[turn].append(entry)
        for turn, ready in taking.items():
            # The order changes from round to round, so that nobody always comes after the same other.
            start = turn % max(1, len(ready))
            for entry in ready[start:] + ready[:start]:
                if entry.failed is None:
                    try:
                        found[entry.contender, entry.n][turn] = entry.turn()
                    except Exception as error:  # noqa: BLE001 - whatever a contender raises is its result
                        entry.failed = error
    return {key: _times(spent) for key, spent in found.items() if any(spent)}


def _times(spent: Sequence[Spent | None]) -> Times:
    return Times(
        wall=Figures(tuple(None if one is None else one.wall for one in spent)),
        cpu=Figures(tuple(None if one is None else one.cpu for one in spent)),
    )
