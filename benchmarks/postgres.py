"""The engine on a PostgreSQL server beside naive designs on the same server; the server is the benchmarks' own.

Four processes use it.  Where the columns of a work are callers, so many threads in all of them give commands at
once, each the next when its last is done.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import clock_gettime, perf_counter
from typing import Any, ClassVar, Protocol, Self

from attrs import evolve, frozen

from benchmarks.clocks import Clocks, cpu_clock
from benchmarks.contenders import Ours
from benchmarks.durable import (
    LEAST_EACH,
    SLOWER,
    Pool,
    Side,
    Stored,
    Turn,
    command,
    grow,
    in_rounds,
    new_ids,
    percentile,
    result_of,
    together,
)
from benchmarks.fixtures import BATCH, Fixtures, WrongResult
from benchmarks.measure import Figures, Task, timed, undisturbed
from benchmarks.results import Result
from benchmarks.work import Pace, Ready, Work
from vsbatch_core import Claim, Completed, Engine

SERVER = "the server"
PROCESSES = 4
CALLERS = (4, 64)
STORES = 64
"""So many are many stores."""
FILES = 50
"""So many files are claimed, and finished, at once."""
PAGES = 200
"""Of so many pages the median is taken."""
SPREAD = 50
"""So many files are attached at once to each of many stores."""


def absent() -> str:
    """Return what has to be installed for PostgreSQL, or ``""``."""
    try:
        from tests.helpers.postgres import INSTALL, programs  # noqa: PLC0415 - psycopg, which not all have
        from vsbatch_core.journal import postgres  # noqa: F401, PLC0415
    except ImportError as error:
        return str(error)
    return "" if programs() else INSTALL


# What a process does


class Worker(Protocol):
    """What files are claimed from."""

    def claim(self, limit: int, worker: str) -> Any:
        """Claim files; return the claims."""

    def finish(self, claimed: Any, worker: str) -> object:
        """Finish claims."""


class Shared(Stored):
    """A store of an engine on a server."""

    def claim(self, limit: int, worker: str) -> list[Claim]:
        """See ``Worker``."""
        return self.engine.processing.claim(limit, worker=worker, vector_store_id=self.id)

    def finish(self, claimed: list[Claim], worker: str) -> None:  # noqa: ARG002 - see Worker
        """See ``Worker``."""
        self.engine.processing.finish([Completed(claim, 1000) for claim in claimed])


@frozen
class Database:
    """A database: whose it is, its URL, and the ids of its stores."""

    contender: str
    url: str
    ids: tuple[str, ...]

    def sides(self) -> list[Any]:
        """Return its stores, opened."""
        if self.contender == Ours.key:
            engine = Engine.open(self.url)
            return [Shared(engine, id) for id in self.ids]
        from benchmarks.naive_postgres import Naive, Queue, connections  # noqa: PLC0415 - psycopg

        shared = connections(self.url)
        if self.contender == "queue":
            return [Queue(shared)]
        return [Naive(shared, id, once=self.contender == "naive-once") for id in self.ids]


class Job(Protocol):
    """What a process is to do with the stores of a database."""

    @property
    def database(self) -> Database:
        """Whose stores it needs."""

    def ready(self, sides: list[Any]) -> Callable[[], Turn]:
        """Return what does it, when all that it needs is there."""


@frozen
class Complete:
    """Completions by callers at once; of each command the place of its store, and its files."""

    database: Database
    callers: int
    commands: list[tuple[int, list[str]]]

    def ready(self, sides: list[Side]) -> Callable[[], Turn]:
        """See ``Job``."""
        sides[0].counts()  # reads what was attached
        commands = [command(sides[place], ids) for place, ids in self.commands]
        return partial(together, sides[0], self.callers, commands)


@frozen
class Drain:
    """Files are claimed and finished, at most ``files`` at once, until there is none."""

    database: Database
    worker: str
    files: int

    def ready(self, sides: list[Any]) -> Callable[[], Turn]:
        """See ``Job``."""
        sides[0].counts()
        return partial(drained, sides[0], self.worker, self.files)


def drained(side: Worker, worker: str, files: int) -> Turn:
    """Claim and finish until there is nothing to claim; return what each claim and its end took."""
    each = []
    start = perf_counter()
    while claimed := side.claim(files, worker):
        side.finish(claimed, worker)
        each.append(perf_counter() - start)
        start = perf_counter()
    return Turn(0.0, 0.0, each)


def _serve(link: Any) -> None:
    """Do what comes over the link, until it is closed: say when a job can begin, and what it took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the one at the other end as well
    opened: dict[Database, list[Any]] = {}
    try:
        while True:
            job = link.recv()
            if job.database not in opened:
                opened[job.database] = job.database.sides()
            go = job.ready(opened[job.database])
            link.send(None)
            link.recv()
            clocks = Clocks().start()
            turn = go()
            link.send(evolve(turn, cpu=clocks().cpu))
    except EOFError:
        for sides in opened.values():
            sides[0].close()


# Who says what they do


class Server:
    """A server, and processes that use it: a context manager.  The databases are in ``folder``."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._kept = ExitStack()
        self._links: list[Any] = []

    def __enter__(self) -> Self:
        from tests.helpers.postgres import Cluster  # noqa: PLC0415 - psycopg, which not all have

        with ExitStack() as kept:
            settings = {"fsync": "on", "max_connections": "500"}
            self.cluster = kept.enter_context(Cluster(data=self._folder, **settings))
            self._kept = kept.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:  # the other end of which then ends
            link.close()
        self._kept.close()

    def _spent(self) -> dict[int, float]:
        """Return the CPU seconds of each process of the server; none of one that is just ending."""
        first = (self.cluster.data / "postmaster.pid").read_text(encoding="utf-8").split()[0]
        children = Path(f"/proc/{first}/task/{first}/children")
        found = {}
        for pid in [first, *children.read_text().split()] if children.exists() else []:
            clock = cpu_clock(int(pid))
            if clock is not None:
                with suppress(OSError):
                    found[int(pid)] = clock_gettime(clock)
        return found

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        link, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._kept.callback(process.join)
        self._links.append(link)

    def database(self, contender: str, stores: int = 1, slower: float = 0.0) -> Database:
        """Make a database with empty stores; each flush takes so many seconds longer than the disk."""
        import psycopg  # noqa: PLC0415 - which not all have

        url = self.cluster.database()
        if slower:
            # The one who flushes waits before, and those who commit meanwhile join it, as on a slow disk.
            with psycopg.connect(url, autocommit=True) as connection:
                for setting in (f"commit_delay = {round(slower * 1e6)}", "commit_siblings = 0"):
                    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}".encode())
        if contender == Ours.key:
            with Engine.open(url) as engine:
                create = engine.vector_stores.create
                return Database(contender, url, tuple(create(name="bench").id for _ in range(stores)))
        from benchmarks.naive_postgres import Naive, Queue, connections  # noqa: PLC0415 - psycopg

        made = Database(contender, url, tuple(f"vs_{number:024x}" for number in range(stores)))
        if contender == "queue":
            Queue.make(connections(url))
        else:
            Naive.make(connections(url), made.ids)
        return made

    def turn(self, jobs: Sequence[Job]) -> Turn:
        """Have a process do each job, all at once; return what it took until the last was done.

        The CPU time is that of these processes, and of the server where the system says which its processes are.
        """
        while len(self._links) < len(jobs):
            self._start()
        links = self._links[: len(jobs)]
        for link, job in zip(links, jobs, strict=True):
            link.send(job)
        for link in links:
            link.recv()
        before, start = self._spent(), perf_counter()
        for link in links:
            link.send(None)
        turns = [link.recv() for link in links]
        wall, after = perf_counter() - start, self._spent()
        cpu = sum(turn.cpu for turn in turns) + sum(spent - before.get(pid, 0.0) for pid, spent in after.items())
        return Turn(wall, cpu, sorted(each for turn in turns for each in turn.each))


class Pools:
    """The stores of a database, and their files that nobody has completed yet."""

    def __init__(self, server: Server, contender: str, stores: int, slower: float) -> None:
        self.database = server.database(contender, stores, slower)
        batch = BATCH if stores == 1 else SPREAD
        self.pools = [Pool(lambda side=side: side, batch) for side in self.database.sides()]  # type: ignore[misc]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pools[0].side.close()

    def jobs(
        self, contender: str, callers: int, commands: int, files: int, processes: int = PROCESSES
    ) -> list[Complete]:
        """Return so many commands for all processes; many stores take turns, each always in the same process."""
        database = evolve(self.database, contender=contender)
        stores = len(self.pools)
        each = [iter(pool.take(-(-commands // stores), files)) for pool in self.pools]
        shares: list[list[tuple[int, list[str]]]] = [[] for _ in range(processes)]
        for number in range(-(-commands // stores) * stores):
            place = number % stores
            shares[number % processes].append((place, next(each[place])))
        return [Complete(database, callers // processes, share) for share in shares]

    def verify(self) -> None:
        """Raise ``WrongResult`` unless the counts of all stores are the sum of all that was done."""
        for pool in self.pools:
            pool.verify()


def server(fixtures: Fixtures) -> Server:
    """Return the server, which is started when it is first needed."""
    started: Server = fixtures.keep_once("postgres", partial(Server, fixtures.folder))
    return started


def pools(fixtures: Fixtures, contender: str, stores: int = 1, slower: float = 0.0) -> Pools:
    """Return the stores of a contender; see ``Server.database``."""
    name = f"postgres {contender} {stores} {slower}"
    made: Pools = fixtures.keep_once(name, partial(Pools, server(fixtures), contender, stores, slower))
    return made


@frozen
class OnServer(Work):
    """A work on a PostgreSQL server; where there is none, it says what has to be installed."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return how many workers."""
        return [PROCESSES]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        if why := absent():
            yield self.left_out(Ours.key, n, why)
        else:
            yield from self.measured(fixtures, n, pace)

    def measured(self, fixtures: Fixtures, n: int, pace: Pace) -> Iterator[Ready]:
        """Yield each contender, as ``ready`` does."""
        raise NotImplementedError  # each work has its own


@frozen
class Commands(OnServer):
    """Completions, of ``files`` each, in so many stores, by many callers at once; see ``Server.database``."""

    files: int = 1
    stores: int = 1
    slower: float = 0.0

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return how many callers."""
        return list(CALLERS)

    def measured(self, fixtures: Fixtures, n: int, pace: Pace) -> Iterator[Ready]:
        """See ``OnServer``."""
        files = {Ours.key: self.files, "naive": 1, "naive-once": self.files}
        if self.files > 1:
            files["naive-many"] = self.files
        each = {
            contender: pools(fixtures, contender.partition("-")[0], self.stores, self.slower)
            for contender in files
        }

        def turn(contender: str, wanted: int) -> Turn:
            return server(fixtures).turn(each[contender].jobs(contender, n, wanted, files[contender]))

        turns = in_rounds(list(files), pace, LEAST_EACH * n, turn)
        for contender, many in files.items():
            try:
                each[contender].verify()
            except WrongResult as error:
                yield self.wrong(contender, n, str(error))
            else:
                yield result_of(self, contender, n, turns[contender], many, SERVER)


@frozen
class Waited(OnServer):
    """The time that 99 of 100 commands of one store, one file each, take at most; beside the median."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return how many callers."""
        return [max(CALLERS)]

    def measured(self, fixtures: Fixtures, n: int, pace: Pace) -> Iterator[Ready]:
        """See ``OnServer``."""
        store = pools(fixtures, Ours.key)
        turns = in_rounds(
            [Ours.key],
            pace,
            LEAST_EACH * n,
            lambda _, wanted: server(fixtures).turn(store.jobs(Ours.key, n, wanted, 1)),
        )[Ours.key]
        yield Result(self.name, Ours.key, n, wall=percentile(turns, 99))
        yield Result(self.name, "median", n, wall=percentile(turns, 50))


@frozen
class Claimed(OnServer):
    """Files that are claimed and finished, by one worker in each process; see ``Server.database``."""

    slower: float = 0.0
    files: ClassVar[dict[str, int]] = {Ours.key: FILES, "one-by-one": 1, "queue": FILES}
    """How many at once, by contender."""

    def measured(self, fixtures: Fixtures, n: int, pace: Pace) -> Iterator[Ready]:
        """See ``OnServer``."""
        here = server(fixtures)
        databases = {contender: here.database(contender, 1, self.slower) for contender in (Ours.key, "queue")}
        databases["one-by-one"] = databases[Ours.key]
        sides = {contender: database.sides()[0] for contender, database in databases.items()}
        numbers = count(1)
        done = dict.fromkeys(databases.values(), 0)

        def turn(contender: str, wanted: int) -> Turn:
            files, database = self.files[contender], databases[contender]
            ids = new_ids(wanted * files)
            for first in range(0, len(ids), BATCH):
                sides[contender].attach(ids[first : first + BATCH])
            done[database] += len(ids)
            worker = f"worker-{next(numbers)}"
            return here.turn([Drain(database, f"{worker}-{process}", files) for process in range(PROCESSES)])

        turns = in_rounds(list(self.files), pace, LEAST_EACH * n, turn)
        for contender, files in self.files.items():
            found, right = sides[contender].counts(), (0, done[databases[contender]])
            if found != right:
                yield self.wrong(contender, n, f"counts {found}; right: {right}")
            else:
                yield result_of(self, contender, n, turns[contender], files, SERVER)
        for side in sides.values():
            side.close()


@frozen
class Paged(OnServer):
    """The first page of 20, when nobody has changed anything since, in one process: the median of many.

    Contenders take turns page by page, as what is so short is not to be compared by means on a busy machine.
    """

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:
        """Return the largest, but none that takes long to fill."""
        return [min(max(wanted), pace.longest, 10_000)]

    def measured(self, fixtures: Fixtures, n: int, pace: Pace) -> Iterator[Ready]:
        """See ``OnServer``."""
        import psycopg  # noqa: PLC0415 - which not all have

        here = server(fixtures)
        (ours,), (naive,) = (here.database(contender).sides() for contender in (Ours.key, "naive"))
        grow(ours, n, n // 2)
        grow(naive, n, n // 2)
        memory = Engine.restore(ours.engine.snapshot())
        list_files = memory.vector_stores.files.list
        connection = psycopg.connect(here.cluster.url("postgres"), autocommit=True)
        for each in (ours, naive, connection):
            fixtures.call_at_end(each.close)
        tasks: dict[str, Task] = {
            Ours.key: lambda: ours.page(20),
            "select-1": lambda: connection.execute("SELECT 1").fetchone(),
            "memory": lambda: list_files(ours.id, limit=20, order="asc"),
            "naive": lambda: naive.page(20),
        }
        if tasks[Ours.key]() != tasks["memory"]():
            yield self.wrong(Ours.key, n, "another page than that of the engine in memory")
            return
        rounds = [medians(tasks) for _ in range(pace.rounds)]
        for contender in tasks:
            yield Result(self.name, contender, n, wall=Figures(tuple(each[contender] for each in rounds)))


def medians(tasks: dict[str, Task]) -> dict[str, float]:
    """Return how long each of these takes, done by turns: the medians."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    with undisturbed():
        for _ in range(PAGES):
            for name, task in tasks.items():
                taken[name].append(timed([task]))
    return {name: median(each) for name, each in taken.items()}


_SLOW = f"where a flush takes {1e3 * SLOWER:g} ms longer"
_BY = "by so many callers in four processes"

WORKS: list[Work] = [
    Commands("postgres.complete.1", f"complete one file a command in one store, {_BY}"),
    Commands("postgres.complete.50", f"complete a file in one store, 50 a command, {_BY}", files=50),
    Commands(
        "postgres.complete.1.stores", f"complete one file a command in {STORES} stores, {_BY}", stores=STORES
    ),
    Commands("postgres.complete.1.slow", f"complete one file a command in one store, {_SLOW}", slower=SLOWER),
    Waited("postgres.wait", "what 99 of 100 commands in one store take at most, one file each"),
    Claimed("postgres.claim", f"claim and finish a file, {FILES} at once, by a worker in each of four processes"),
    Claimed("postgres.claim.slow", f"claim and finish a file, {FILES} at once, {_SLOW}", slower=SLOWER),
    Paged("postgres.page-20", "the first page of 20"),
]
