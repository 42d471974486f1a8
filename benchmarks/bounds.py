"""Costs of ours whose bound is another cost: ``python -m benchmarks.bounds longest N`` prints two of them."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from statistics import median
from time import perf_counter, process_time
from typing import Any, ClassVar

from attrs import frozen

from benchmarks.contenders import Ours
from benchmarks.fixtures import BATCH, START, Fixtures, WrongResult, file_ids, fill
from benchmarks.measure import Entry, Figures, Task
from benchmarks.model import Model, Query
from benchmarks.results import Result
from benchmarks.work import Pace, Ready, Work, same_page
from vsbatch_core import Engine


@frozen
class Deleted(Work):
    """A page of a store that every second file was deleted from, beside one that none was."""

    order: str

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        ids = file_ids(n)
        query = Query(order=self.order, after=ids[n // 4 * 2 + 1])
        for contender, deleted in ((Ours.key, ids[::2]), ("undeleted", [])):
            name = f"{contender}, every second of {n}"
            ours, model = fixtures.keep_once(name, partial(_Deleted, n, deleted))
            try:
                same_page(ours.listing(ours.page(query)), model.page(query))
            except WrongResult as error:
                yield self.wrong(contender, n, str(error))
            else:
                yield Entry(contender, n, ours.querying(query))


class _Deleted:
    """A store of ours, and the model of it, from which files were deleted."""

    def __init__(self, n: int, deleted: Sequence[str]) -> None:
        self.n, self.deleted = n, deleted

    def __enter__(self) -> tuple[Ours, Model]:
        ours, model = Ours(), Model()
        for each in (ours, model):
            fill(each, self.n)
            for id in self.deleted:
                each.delete(id)
        return ours, model

    def __exit__(self, *_args: object) -> None:
        """There is nothing to close."""


@frozen
class Restored(Work):
    """A snapshot of ours, beside what it takes to parse the same files as snapshot format 2 had them: by row."""

    patience: ClassVar[float] = 20.0

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        ours, model = fixtures.ours(n), fixtures.model(n)
        snapshot = ours.engine.snapshot()
        records = [file.record for file in model.files]
        rows: list[list[Any]] = [[r.id, r.created_at, r.status, r.usage_bytes, None, 0, {}] for r in records]
        text = json.dumps({"vector_stores": [{"files": rows}]}, separators=(",", ":"))
        tasks: dict[str, Task] = {
            Ours.key: partial(Engine.restore, snapshot),
            "json-loads": partial(json.loads, text),
        }
        restored: Any = Engine.restore(snapshot)
        if restored.snapshot() != snapshot:
            yield self.wrong(Ours.key, n, "another engine than the one that was saved")
            return
        for contender, task in tasks.items():
            start = perf_counter()
            task()
            yield Entry(contender, n, task, one=perf_counter() - start)


LONGEST_ROUNDS = 3


@frozen
class Longest(Work):
    """The longest single call, and the longest wait of one for the garbage collector, beside the median call.

    The collector is on, and each run has a process of its own.
    """

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``; each is measured at once."""
        command = [sys.executable, "-m", "benchmarks.bounds", "longest", str(n)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - ours
            for _ in range(LONGEST_ROUNDS)
        ]
        for place, contender in enumerate((Ours.key, "longest", "collector")):
            cpu, wall = (Figures(tuple(run[clock][place] for run in runs)) for clock in ("cpu", "wall"))
            yield Result(self.name, contender, n, cpu=cpu, wall=wall)


def longest(n: int) -> dict[str, list[float]]:
    """Create batches until there are ``n`` files; return seconds by clock.

    They are those of the median call, of the longest, and of the longest that a call waited for the collector.
    """
    ours = Ours()
    spent: dict[str, list[float]] = {"cpu": [], "wall": []}
    waited: dict[str, list[float]] = {"cpu": [0.0], "wall": [0.0]}
    clocks: dict[str, Callable[[], float]] = {"cpu": process_time, "wall": perf_counter}
    started: dict[str, float] = {}

    def collecting(phase: str, _info: object) -> None:
        for name, clock in clocks.items():
            if phase == "start":
                started[name] = clock()
            else:
                waited[name][-1] += clock() - started[name]

    gc.callbacks.append(collecting)
    for number in range(max(n, 100 * BATCH) // BATCH):
        ids = file_ids(BATCH, f"file-{number:x}-")
        for times in waited.values():
            times.append(0.0)
        began = {name: clock() for name, clock in clocks.items()}
        ours.attach(number, ids, START + number)
        for name, clock in clocks.items():
            spent[name].append(clock() - began[name])
    gc.callbacks.remove(collecting)
    return {name: [median(times), max(times), max(waited[name])] for name, times in spent.items()}


WORKS: list[Work] = [
    Deleted("bounds.page-20.deleted.asc", "page of 20, every second file deleted, asc", "asc"),
    Deleted("bounds.page-20.deleted.desc", "page of 20, every second file deleted, desc", "desc"),
    Restored("bounds.restore", "restore a snapshot that was parsed"),
    Longest("bounds.create", "create a batch of 2,000, up to so many files"),
]

if __name__ == "__main__":
    print(json.dumps(import_module("benchmarks.bounds").longest(int(sys.argv[2]))))
