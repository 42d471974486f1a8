"""Timing that holds on a noisy machine: contenders take turns, and only ratios within a round are trusted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter

from attrs import frozen

Task = Callable[[], object]


@frozen
class Times:
    """Seconds for one operation, a figure for each round; the rounds of two contenders belong together."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds, in seconds."""
        return median(self.rounds)


@frozen
class Ratio:
    """How many times the one's cost the other's is: the median over the rounds, and the middle half of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, other: Times, one: Times) -> Ratio:
        """``other`` over ``one``, round by round."""
        ratios = sorted(b / a for a, b in zip(one.rounds, other.rounds, strict=True))
        quarter = len(ratios) // 4
        return cls(median(ratios), ratios[quarter], ratios[-1 - quarter])

    def __str__(self) -> str:
        return f"{self.median:6.2f}x ({self.low:.2f}-{self.high:.2f})"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector from running inside a measurement; run it before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def compare(tasks: dict[str, Task], *, rounds: int, seconds: float) -> dict[str, Times]:
    """Time tasks that can be repeated at will: in every round each has its turn of about ``seconds``."""
    numbers = {name: _calibrate(task, seconds) for name, task in tasks.items()}
    found: dict[str, list[float]] = {name: [] for name in tasks}
    with undisturbed():
        for turn in range(rounds):
            # The order changes from round to round, so that nobody always comes after the same other.
            names = list(tasks)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                found[name].append(_time(tasks[name], numbers[name]))
    return {name: Times(tuple(times)) for name, times in found.items()}


def consume(tasks: dict[str, Iterator[Task]], *, rounds: int, number: int) -> dict[str, Times]:
    """Time tasks that can be done only once: each iterator gives one thing to do after the other.

    In every round each contender does ``number`` of them; what the iterator itself does is not timed.
    """
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, source in tasks.items():
            todo = [next(source) for _ in range(number)]
            with undisturbed():
                start = perf_counter()
                for task in todo:
                    task()
                found[name].append((perf_counter() - start) / number)
    return {name: Times(tuple(times)) for name, times in found.items()}


def _time(task: Task, number: int) -> float:
    repeat = range(number)
    start = perf_counter()
    for _ in repeat:
        task()
    return (perf_counter() - start) / number


def _calibrate(task: Task, seconds: float) -> int:
    number = 1
    while (spent := _time(task, number) * number) < seconds / 4:
        number *= 4
    return max(1, round(number * seconds / spent))
