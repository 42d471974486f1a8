"""The engine's goals beside what was measured: figures, never assertions."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from statistics import median

from attrs import evolve, frozen

from benchmarks.measure import Ratio
from benchmarks.results import OURS, Run, size, sizes

PAGES = "page.20.*"


@frozen
class Goal:
    """The bound of one cost over another, at most or at least."""

    text: str
    works: str
    """A glob of the works' names."""
    above: str
    below: str
    """The contenders whose costs are divided.  ``below`` is ``""`` where the cost itself is bounded."""
    bound: float
    at_least: bool = False
    growth: tuple[int, int] | None = None
    """The sizes that are compared, if ``above`` and ``below`` are the same contender."""
    at: int | None = None
    """The only size that counts."""
    scale: float = 1.0
    """By which a cost is multiplied before it is compared with the bound."""

    def found(self, run: Run) -> list[tuple[str, int, Ratio]]:
        """Return what was measured, by work and size."""
        return list(self._found(run))

    def _found(self, run: Run) -> Iterator[tuple[str, int, Ratio]]:
        for work in run.works():
            if not fnmatchcase(work, self.works):
                continue
            for n in sizes(run.of(work)):
                ratio: Ratio | None
                if self.at not in (None, n):
                    continue
                if self.growth is not None:
                    small, large = self.growth
                    ratio = run.ratio(work, self.above, n, self.below, at=small) if n == large else None
                elif self.below:
                    ratio = run.ratio(work, self.above, n, self.below)
                else:
                    result = run.find(work, self.above, n)
                    figures = None if result is None else result.figures(result.clocks[0])
                    cost = None if figures is None else figures.median * self.scale
                    ratio = None if cost is None else Ratio(cost, cost, cost)
                if ratio is not None:
                    yield work, n, ratio

    def line(self, run: Run) -> str:
        """Return the goal, what was measured, and whether the worst of it meets the goal."""
        found = self.found(run)
        if not found:
            return f"{self.text}: not measured at these sizes"
        worst = (min if self.at_least else max)(found, key=lambda item: item[2].median)
        work, n, ratio = worst
        met = ratio.median >= self.bound if self.at_least else ratio.median <= self.bound
        typical = f"median {median(item[2].median for item in found):.3g}, worst " if len(found) > 1 else ""
        return f"{self.text}: {typical}{ratio.median:.3g} ({work} at {size(n)}): {'met' if met else 'not met'}"


_ON_POSTGRES = (
    Goal("naive tables over ours, one store, at least 10", "postgres.complete.1", "naive", OURS, 10, True, at=64),
    Goal("the same, on a slower disk, at least 10", "postgres.complete.1.slow", "naive", OURS, 10, True, at=64),
    Goal(
        "naive tables over ours, both 50 a command, at least 8",
        "postgres.complete.50",
        "naive-many",
        OURS,
        8,
        True,
        at=64,
    ),
    Goal(
        "naive tables over ours, 64 stores, at least 1",
        "postgres.complete.1.stores",
        "naive",
        OURS,
        1,
        True,
        at=64,
    ),
    Goal("99 of 100 commands over the median, at most 20", "postgres.wait", OURS, "median", 20),
    Goal(
        "claim and finish one by one over 50 at once, at least 15",
        "postgres.claim*",
        "one-by-one",
        OURS,
        15,
        True,
    ),
    Goal("claim and finish over a queue without counts, at most 2", "postgres.claim*", OURS, "queue", 2),
    Goal("a fresh page over SELECT 1, at most 2", "postgres.page-20", OURS, "select-1", 2),
)

GOALS = (
    Goal("page of 20 over slicing a prepared list, at most 12", PAGES, OURS, "floor", 12),
    Goal(
        "json.dumps of fresh dicts over page to JSON bytes, at least 4",
        "json.encode",
        "json-dumps",
        OURS,
        4,
        True,
    ),
    Goal("bytes a file, at most 220", "memory", OURS, "", 220),
    Goal("bytes a file that completed with others, at most 220", "bytes.completed", OURS, "", 220),
    Goal("bytes a file in progress, at most 200", "bytes.attached", OURS, "", 200),
    Goal("bytes of 10^7 files in one store, at most 2 * 10^9", "bytes.huge", OURS, "", 2e9, at=10**7, scale=1e7),
    Goal("bytes an empty store, at most 1,500", "bytes.store*", OURS, "", 1500),
    Goal("bytes a cycle, at most 0", "soak.*", OURS, "", 0, at=100_000),
    Goal("resident bytes a cycle, at most 10", "soak.*", "resident", "", 10, at=100_000),
    Goal("page, every second deleted, over none, at most 1.5", "bounds.page-20.*", OURS, "undeleted", 1.5),
    Goal("restore over json.loads of format 2, at most 2", "bounds.restore", OURS, "json-loads", 2, at=10**6),
    Goal(
        "longest wait of a create for the collector, in creates, at most 10",
        "bounds.create",
        "collector",
        OURS,
        10,
        at=10**6,
    ),
    Goal("page of 20 at 10^6 over 10^3, at most 1.3", PAGES, OURS, OURS, 1.3, growth=(1_000, 1_000_000)),
    Goal("SQLite's page of 20 over ours, at least 5", PAGES, "sqlite", OURS, 5, True),
    Goal("SQLite's cold page of 20 over ours, at least 1", "cold.*", "sqlite", OURS, 1, True),
    Goal("SQLite's completion over ours, at least 6", "complete.1", "sqlite", OURS, 6, True),
    Goal("SQLite's 2,000 in order over ours, at least 6", "complete.2000.in-order", "sqlite", OURS, 6, True),
    Goal("SQLite's 2,000 scattered over ours, at least 7", "complete.2000", "sqlite", OURS, 7, True),
    Goal("the same, over all of the store, at least 7", "complete.2000.scattered", "sqlite", OURS, 7, True),
    Goal("completion at 10^6 over 10^3, at most 3", "complete.1", OURS, OURS, 3, growth=(1_000, 1_000_000)),
    Goal("SQLite's create of 2,000 over ours, at least 5", "create.2000", "sqlite", OURS, 5, True),
    Goal("SQLite's cancel of 2,000 over ours, at least 40", "cancel.2000", "sqlite", OURS, 40, True),
    Goal("retrieve, in us, at most 2", "retrieve.*", OURS, "", 2, scale=1e6),
    Goal("steps over bulk, 100,000 files, at least 5", "simulate.*", "steps", OURS, 5, True, at=100_000),
    Goal("a simulated file at 10^6, in us, at most 1.5", "simulate.*", OURS, "", 1.5, scale=1e6, at=1_000_000),
    Goal("SimPy over ours, 100,000 files, at least 2", "simulate.run", "simpy-file", OURS, 2, True, at=100_000),
    Goal(
        "simulated file at 10^6 over 10^4, at most 2", "simulate.run", OURS, OURS, 2, growth=(10_000, 1_000_000)
    ),
    Goal("bytes a simulated file, at most 450", "simulate.memory", OURS, "", 450),
    Goal("constant handler over ours, through uvicorn, at least 0.5", "uvicorn.*", "constant", OURS, 0.5, True),
    Goal("naive tables over ours, 64 callers, at least 20", "durable.complete.1", "naive", OURS, 20, True, at=64),
    Goal("the same, on a slower disk, at least 20", "durable.complete.1.slow", "naive", OURS, 20, True, at=64),
    Goal(
        "naive tables one by one over ours, 50 a command, at least 40",
        "durable.complete.50",
        "naive",
        OURS,
        40,
        True,
        at=64,
    ),
    Goal("the same, on a slower disk, at least 40", "durable.complete.50.slow", "naive", OURS, 40, True, at=64),
    Goal(
        "a page over SELECT of one row and the page in memory, at most 2",
        "durable.page-20",
        OURS,
        "floor",
        2,
    ),
    Goal(
        "recovery over json.loads of today's snapshot, at most 3",
        "durable.recover.snapshot",
        OURS,
        "json-columns",
        3,
        at=10**6,
    ),
    Goal(
        "recovery over json.loads of as many rows, at most 3",
        "durable.recover.snapshot",
        OURS,
        "json-loads",
        3,
        at=10**6,
    ),
    Goal("bytes on disk a completion, 50 a command, at most 30", "durable.bytes.complete.50", OURS, "", 30),
    Goal("the same, 2,000 a command, at most 30", "durable.bytes.complete.2000", OURS, "", 30),
    Goal("the same, one a command, at most 100", "durable.bytes.complete.1", OURS, "", 100),
    Goal("longest wait for a snapshot, in ms, at most 100", "durable.wait", OURS, "", 100, scale=1e3),
    *_ON_POSTGRES,
    Goal(
        "openai-responses' list over ours at 10^3, at least 10",
        PAGES,
        "openai-responses",
        OURS,
        10,
        True,
        at=1_000,
    ),
)


def beside(run: Run, work: str) -> list[str]:
    """Return a line for each goal of this one work, to stand below its figures."""
    alone = evolve(run, results=tuple(run.of(work)))
    return [
        f"    goal: {goal.line(alone)}" for goal in GOALS if fnmatchcase(work, goal.works) and goal.found(alone)
    ]


def lines(run: Run) -> list[str]:
    """Return a line for each goal one of whose works was measured."""
    return [goal.line(run) for goal in GOALS if any(fnmatchcase(work, goal.works) for work in run.works())]
