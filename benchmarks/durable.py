"""The durable engine beside the naive design, on a disk: ``--folder`` says on which.

Where the columns of a work are callers, so many threads give commands at once, each the next when its last is
done.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from threading import Barrier, Thread
from time import perf_counter, process_time, sleep
from typing import Any, ClassVar, Protocol, Self
from unittest.mock import patch

from attrs import frozen

from benchmarks.clocks import Clocks
from benchmarks.contenders import Ours
from benchmarks.fixtures import BATCH, Fixtures, WrongResult
from benchmarks.measure import Entry, Figures, Task, undisturbed
from benchmarks.naive import Naive
from benchmarks.results import Result
from benchmarks.work import Pace, Ready, Work
from vsbatch_core import Engine
from vsbatch_core.journal import replica

DISK = "the disk"
CALLERS = (1, 8, 64)
TURN = 30
"""A turn with a disk takes so many times as long as one without."""
LEAST_EACH = 2
"""So many commands, at least, each caller gives in a turn."""
TAIL = 20
"""One file for each so many comes after the snapshot."""
SLOWER = 0.002
"""How many seconds a slow disk takes longer for a commit."""
WAITS = 3
"""How many snapshots are taken while others wait."""

_random = Random(0)


def new_ids(n: int) -> list[str]:
    """Return ids as random as the API's, which compress as badly."""
    return [f"file-{_random.getrandbits(96):024x}" for _ in range(n)]


def sizes_of(ids: Sequence[str]) -> list[int]:
    """Return sizes that differ, as those of files do."""
    return [_random.randrange(1, 10**7) for _ in ids]


class Side(Protocol):
    """One store on a disk."""

    path: Path

    def connect(self) -> object:
        """Do what a thread does once."""

    def attach(self, ids: Sequence[str]) -> object:
        """Attach files as one batch."""

    def complete(self, id: str, usage_bytes: int) -> object:
        """Complete one file."""

    def complete_many(self, ids: Sequence[str], usage_bytes: Sequence[int]) -> object:
        """Complete files of one batch."""

    def counts(self) -> tuple[int, int]:
        """Return how many files are in progress and completed."""

    def close(self) -> object:
        """Close what is open."""


class Durable:
    """A store of an engine on a disk; ``slower`` is how many seconds each commit takes longer than the disk."""

    def __init__(self, path: Path, slower: float = 0.0) -> None:
        self.path = path
        self.engine = opened(path)
        stores = self.engine.vector_stores
        self.id = stores.create(name="bench").id if not stores.list().data else stores.list().data[0].id
        if slower:
            log: Any = self.log
            log.commit = partial(_later, slower, log.commit)

    @property
    def log(self) -> Any:
        """The connection to its log."""
        registry: Any = self.engine._registry
        return registry.log

    def connect(self) -> None:
        """There is nothing to do."""

    def attach(self, ids: Sequence[str]) -> object:
        """See ``Side``."""
        return self.engine.vector_stores.file_batches.create(self.id, file_ids=ids)

    def complete(self, id: str, usage_bytes: int) -> object:
        """See ``Side``."""
        return self.engine.processing.complete(self.id, id, usage_bytes=usage_bytes)

    def complete_many(self, ids: Sequence[str], usage_bytes: Sequence[int]) -> None:
        """See ``Side``."""
        self.engine.processing.complete_many(self.id, ids, usage_bytes=usage_bytes)

    def page(self, limit: int) -> object:
        """Return the first files."""
        return self.engine.vector_stores.files.list(self.id, limit=limit, order="asc")

    def counts(self) -> tuple[int, int]:
        """See ``Side``."""
        counts = self.engine.vector_stores.retrieve(self.id).file_counts
        return counts.in_progress, counts.completed

    def close(self) -> None:
        """See ``Side``."""
        self.engine.close()


def opened(path: Path) -> Engine:
    """Return the engine of a file."""
    return Engine.open(f"sqlite:///{path}")


def _later(seconds: float, commit: Callable[[], None]) -> None:
    sleep(seconds)
    commit()


SIDES: dict[str, Callable[[Path, float], Side]] = {Ours.key: Durable, "naive": Naive, "naive-many": Naive}


class Pool:
    """A store on a disk and the files of it that nobody has completed yet, by their batches."""

    def __init__(self, contender: str, folder: Path, slower: float = 0.0) -> None:
        self.side = SIDES[contender](folder / f"{contender}-{slower}.db", slower)
        self.left: list[str] = []
        self.attached = self.completed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.side.close()

    def take(self, commands: int, files: int) -> list[list[str]]:
        """Return the files of so many commands, each in one batch."""
        while len(self.left) < commands * files:
            ids = new_ids(BATCH)
            self.side.attach(ids)
            self.left += ids
            self.attached += BATCH
        self.completed += commands * files
        taken, self.left = self.left[: commands * files], self.left[commands * files :]
        return [taken[first : first + files] for first in range(0, len(taken), files)]

    def verify(self) -> None:
        """Raise ``WrongResult`` unless the counts are the sum of all that was done."""
        right = self.attached - self.completed, self.completed
        if self.side.counts() != right:
            raise WrongResult(f"counts {self.side.counts()}; right: {right}")


@frozen
class Turn:
    """What many callers took: seconds, CPU seconds, and the seconds of each command, sorted."""

    wall: float
    cpu: float
    each: list[float]


def together(side: Side, callers: int, commands: Sequence[Task]) -> Turn:
    """Have so many threads carry out commands; raise what one of them raises."""
    each: list[float] = []
    raised: list[Exception] = []
    shared = iter(commands)
    barrier = Barrier(callers + 1)

    def call() -> None:
        side.connect()
        barrier.wait()
        try:
            for command in shared:
                start = perf_counter()
                command()
                each.append(perf_counter() - start)
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    threads = [Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    wall, cpu = perf_counter(), process_time()
    for thread in threads:
        thread.join()
    wall, cpu = perf_counter() - wall, process_time() - cpu
    if raised:
        raise raised[0]
    return Turn(wall, cpu, sorted(each))


@frozen
class Commands(Work):
    """Completions, of ``files`` each, by many callers at once; ``slower`` as in ``Durable``."""

    files: int = 1
    slower: float = 0.0

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return how many callers."""
        return list(CALLERS)

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``: rounds in which each contender has its turn."""
        contenders = [contender for contender in SIDES if self.files > 1 or contender != "naive-many"]
        pools = {contender: self._pool(fixtures, contender) for contender in contenders}
        rates: dict[str, int] = dict.fromkeys(contenders, 0)
        turns: dict[str, list[Turn]] = {contender: [] for contender in contenders}
        with undisturbed():
            for number in range(-1, pace.rounds):  # the first round says how much is a turn
                start = number % len(contenders)
                for contender in contenders[start:] + contenders[:start]:
                    pool, many = pools[contender], self._many(contender)
                    wanted = max(round(rates[contender] * pace.seconds * TURN), LEAST_EACH * n)
                    work = [_command(pool.side, ids) for ids in pool.take(wanted, many)]
                    turn = together(pool.side, n, work)
                    rates[contender] = round(len(work) / turn.wall)
                    if number >= 0:
                        turns[contender].append(turn)
        for contender in contenders:
            try:
                pools[contender].verify()
            except WrongResult as error:
                yield self.wrong(contender, n, str(error))
            else:
                yield self._result(contender, n, turns[contender])

    def _pool(self, fixtures: Fixtures, contender: str) -> Pool:
        make = partial(Pool, contender, fixtures.disk(), self.slower)
        pool: Pool = fixtures.keep_once(f"durable {contender} {self.slower}", make)
        return pool

    def _many(self, contender: str) -> int:
        return 1 if contender == "naive" else self.files

    def _result(self, contender: str, n: int, turns: list[Turn]) -> Result:
        many = self._many(contender)
        wall = [turn.wall / len(turn.each) / many for turn in turns]
        cpu = [turn.cpu / len(turn.each) / many for turn in turns]
        p50, p99 = (1e3 * median(turn.each[len(turn.each) * part // 100] for turn in turns) for part in (50, 99))
        return Result(
            self.name,
            contender,
            n,
            wall=Figures(tuple(wall)),
            cpu=Figures(tuple(cpu)),
            cpu_lacks=Clocks(waits=DISK).lacks(),
            note=f"{1 / median(wall):,.0f} files a second; a command p50 {p50:.2f} ms, p99 {p99:.2f} ms",
        )


def _command(side: Side, ids: list[str]) -> Task:
    if len(ids) == 1:
        return partial(side.complete, ids[0], 1000)
    return partial(side.complete_many, ids, sizes_of(ids))


@frozen
class Synced(Work):
    """The least that a commit costs: a page that is appended and brought to the disk."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return one."""
        return [1]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        file = (fixtures.disk() / "synced").open("wb", buffering=0)
        fixtures.call_at_end(file.close)

        def task() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        yield Entry("fsync", n, task, clocks=Clocks(waits=DISK))


# Recovery


@contextmanager
def no_snapshots() -> Iterator[None]:
    """Keep engines from taking snapshots by themselves."""
    with patch.object(replica, "SNAPSHOT_BYTES", 1 << 60):
        yield


def grow(side: Side, n: int, completed: int, many: int = 50) -> None:
    """Attach ``n`` files in batches of up to 2,000; complete so many of them, ``many`` in one command."""
    for first in range(0, n, BATCH):
        ids = new_ids(min(BATCH, n - first))
        side.attach(ids)
        done = ids[: max(0, completed - first)]
        for start in range(0, len(done), many):
            some = done[start : start + many]
            side.complete_many(some, sizes_of(some))


class Grown:
    """Files of databases with ``n`` files, half of them completed: from the log alone, with a snapshot, naive."""

    def __init__(self, n: int, folder: Path) -> None:
        self.n = n
        self.log, self.snapshot, self.naive = (folder / f"{kind}-{n}.db" for kind in ("log", "snapshot", "naive"))

    def __enter__(self) -> Self:
        n = self.n
        with no_snapshots():
            ours = Durable(self.log)
            ours.log._run("PRAGMA synchronous = NORMAL")  # it is made again if the power fails
            grow(ours, n, n // 2)
            ours.close()
            shutil.copyfile(self.log, self.snapshot)
            ours = Durable(self.snapshot)
            ours.engine.compact()
            grow(ours, n // TAIL, n // TAIL)
            self.text = json.dumps(ours.engine.snapshot(), separators=(",", ":"))
            ours.close()
        naive = Naive(self.naive)
        naive.connect().execute("PRAGMA synchronous = NORMAL")
        grow(naive, n, n // 2, BATCH)
        naive.close()
        gc.collect()
        return self

    def __exit__(self, *_: object) -> None:
        """The folder is removed with all that is in it."""

    def rows(self) -> str:
        """Return the JSON of the same files as snapshot format 2 had them: by row."""
        rows: list[list[Any]] = [[id, 1_700_000_000, "completed", 1000, None, 0, {}] for id in new_ids(self.n)]
        return json.dumps({"vector_stores": [{"files": rows}]}, separators=(",", ":"))


def large(wanted: Sequence[int], pace: Pace) -> list[int]:
    """Return the sizes of works about databases so large that opening them takes time."""
    return [100_000, 1_000_000] if max(wanted) >= pace.longest else [max(wanted)]


def grown(fixtures: Fixtures, n: int) -> Grown:
    """Return the databases with ``n`` files, which are made when they are first needed."""
    made: Grown = fixtures.keep_once(f"grown {n}", partial(Grown, n, fixtures.disk()))
    return made


@frozen
class Recovered(Work):
    """To open a database, beside parsing as many files from JSON, and opening and reading the naive one."""

    kind: str = "log"

    patience: ClassVar[float] = 60.0

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """See ``large``."""
        return large(wanted, pace)

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        here = grown(fixtures, n)
        path: Path = getattr(here, self.kind)
        tasks: dict[str, Task] = {
            Ours.key: lambda: opened(path).close(),
            "json-columns": partial(json.loads, here.text),
            "json-loads": partial(json.loads, here.rows()),
            "naive": partial(_first_page, here.naive),
        }
        ours = Durable(path)
        ours.engine.check()
        there = sum(ours.counts())
        ours.close()
        right = n + n // TAIL * (self.kind == "snapshot")
        if there != right:
            yield self.wrong(Ours.key, n, f"{there} files; right: {right}")
            return
        for contender, task in tasks.items():
            start = perf_counter()
            task()
            one = perf_counter() - start
            yield Entry(contender, n, prepare=partial(_collected, task), most=20, one=one)


def _first_page(path: Path) -> None:
    naive = Naive(path)
    naive.page(20)
    naive.close()


def _collected(task: Task, number: int) -> list[Task]:
    gc.collect()  # what the last turn left
    return [task] * number


# Bytes, pages, and waits


@frozen
class Bytes(Work):
    """Bytes by which the file grows for each file that is attached, or completed ``many`` in one command."""

    many: int = 0

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return how many files."""
        return [min(10_000, pace.longest)]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``; each is measured at once."""
        for contender in (Ours.key, "naive"):
            side = SIDES[contender](fixtures.disk() / f"bytes-{contender}-{self.many}.db", 0.0)
            batches = [new_ids(BATCH) for _ in range(0, n, BATCH)]
            before = size_of(side)
            for ids in batches:
                side.attach(ids)
            if self.many:
                before = size_of(side)
            for ids in batches if self.many else []:
                for first in range(0, BATCH, self.many):
                    _command(side, ids[first : first + self.many])()
            yield Result(
                self.name, contender, n, bytes=Figures(((size_of(side) - before) / len(batches) / BATCH,))
            )
            side.close()


def size_of(side: Side) -> int:
    """Return the bytes of a database when all that was committed is in its one file."""
    connection = sqlite3.connect(side.path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return side.path.stat().st_size


@frozen
class Paged(Work):
    """The first page of 20, when nobody has changed anything since."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return the largest, but none that takes long to fill."""
        return [min(max(wanted), pace.longest, 100_000)]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        here = grown(fixtures, n)
        ours, naive = Durable(here.log), Naive(here.naive)
        fixtures.call_at_end(ours.close)
        fixtures.call_at_end(naive.close)
        memory = Engine.restore(ours.engine.snapshot())
        list_files = memory.vector_stores.files.list
        connection: sqlite3.Connection = ours.log._connection

        def select() -> Any:
            return connection.execute("SELECT value FROM settings WHERE name = 'profile'").fetchone()

        def in_memory() -> object:
            return list_files(ours.id, limit=20, order="asc")

        def both() -> object:
            select()
            return in_memory()

        if ours.page(20) != in_memory():
            yield self.wrong(Ours.key, n, "another page than that of the engine in memory")
            return
        yield Entry(Ours.key, n, lambda: ours.page(20))
        yield Entry("floor", n, both)
        yield Entry("memory", n, in_memory)
        yield Entry("select", n, select)
        yield Entry("naive", n, lambda: naive.page(20))


@frozen
class Waited(Work):
    """The longest that a command, and a page, take while a snapshot is taken."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """See ``large``."""
        return large(wanted, pace)

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``; each is measured at once."""
        path = fixtures.disk() / f"waited-{n}.db"
        shutil.copyfile(grown(fixtures, n).log, path)
        ours = Durable(path)
        usual, longest, taken = [], [], []
        for _ in range(WAITS):
            usual.append(max(*waits(ours, lambda: sleep(0.5))))
            start = perf_counter()
            longest.append(waits(ours, ours.engine.compact))
            taken.append(perf_counter() - start)
        ours.close()
        note = f"a snapshot takes {median(taken):.2g} s; without one, the longest is {1e3 * median(usual):.2g} ms"
        for place, contender in enumerate((Ours.key, "reader")):
            wall = Figures(tuple(each[place] for each in longest))
            yield Result(self.name, contender, n, wall=wall, note=note * (contender == Ours.key))


def waits(ours: Durable, meanwhile: Callable[[], object]) -> tuple[float, float]:
    """Return the longest that a command and a page take while something else goes on, in seconds."""
    longest = [0.0, 0.0]
    over = False

    def call(place: int, task: Task) -> None:
        while not over:
            start = perf_counter()
            task()
            longest[place] = max(longest[place], perf_counter() - start)
            sleep(0.0005)

    command = partial(ours.engine.vector_stores.update, ours.id, name="bench")
    threads = [Thread(target=call, args=each) for each in enumerate((command, partial(ours.page, 20)))]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        over = True
        for thread in threads:
            thread.join()
    return longest[0], longest[1]


_SLOW = f"on a disk that is {1e3 * SLOWER:g} ms slower"

WORKS: list[Work] = [
    Synced("durable.fsync", "bring a page of 4 KiB to the disk"),
    Commands("durable.complete.1", "complete one file a command, by so many callers"),
    Commands("durable.complete.50", "complete a file, 50 a command, by so many callers", files=50),
    Commands("durable.complete.1.slow", f"complete one file a command, {_SLOW}", slower=SLOWER),
    Commands("durable.complete.50.slow", f"complete a file, 50 a command, {_SLOW}", files=50, slower=SLOWER),
    Recovered("durable.recover.snapshot", "open a database: a snapshot and 5 % since", kind="snapshot"),
    Recovered("durable.recover.log", "open a database: the log alone", kind="log"),
    Bytes("durable.bytes.attached", "bytes on disk for each file that is attached"),
    Bytes("durable.bytes.complete.1", "bytes on disk for each completion, one a command", many=1),
    Bytes("durable.bytes.complete.50", "bytes on disk for each completion, 50 a command", many=50),
    Bytes("durable.bytes.complete.2000", "bytes on disk for each completion, 2,000 a command", many=BATCH),
    Paged("durable.page-20", "the first page of 20"),
    Waited("durable.wait", "the longest wait of a command, and of a page, for a snapshot"),
]
