"""Kill processes that share a durable engine, in the midst of their work, and count what that lost or doubled.

    python -m benchmarks.kills               200 kills, about three minutes
    python -m benchmarks.kills 20 --seed 7
    python -m benchmarks.kills --database postgresql    on a PostgreSQL server of its own, which is killed too

Two to four processes open one database, each with several threads that create, complete, fail and cancel, claim
and finish.  They write down what they are about to do and what was acknowledged, in a pipe: what is in one
outlasts its writer.  One of them, or all, are killed by SIGKILL: at a random moment, or by themselves at a named
point between two statements.  The others must go on, and in the end be equal to each other and to an engine that
is opened then.  After every kill the database is opened, and every acknowledgement that was ever given is looked
for.

*lost* is what was acknowledged and is not there.  *doubled* is what is there more often than it was asked for: a
file attached twice, an attachment claimed twice, a store with more events than commands were given.  A command
that is refused because the database was not there is given again: if it had happened, it would be doubled.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import logging
import os
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

from attrs import Factory, define, field

from vsbatch_core import Completed, Engine, errors
from vsbatch_core.claims import Claim
from vsbatch_core.journal import is_postgres, log, replica, sqlite

THREADS = 4
"""In each process."""
ROUNDS = 5
"""So many kills, or a few more, are borne by one file; then another is begun."""
LEAST, MOST = 2, 4
"""So many processes share a file."""
RANDOM = "at a random moment"
SERVER = "with the server, at random moments"
"""No process is killed: the server is, and started anew, while they go on."""
SECONDS = 90.0
"""A process that has not answered after so long hangs."""


class Wrong(Exception):
    """Something that must not happen did, other than a loss or a doubling."""


def url_of(path: Path) -> str:
    """Return the URL of a file."""
    return f"sqlite:///{quote(os.fsencode(path))}"


# Where a process dies


@define
class Death:
    """Kills the process when it passes a point, unless it must pass it some more times before."""

    passes: int

    def __call__(self) -> None:
        """Pass the point."""
        self.passes -= 1
        if self.passes <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _in(cls: Any, name: str, death: Death, *, before: bool = False, of: str = "") -> None:
    """Die before or after a method of a log, if ``of`` is in its first argument."""
    method = getattr(cls, name)

    def dying(log: Any, *arguments: Any, **named: Any) -> Any:
        passes = not of or of in arguments[0]
        if before and passes:
            death()
        value = method(log, *arguments, **named)
        if passes and not before:
            death()
        return value

    setattr(cls, name, dying)


POINTS: dict[str, Callable[[Any, Death], None]] = {
    "before the append": lambda cls, death: _in(cls, "append", death, before=True),
    "between append and commit": lambda cls, death: _in(cls, "append", death),
    "after the commit, before the results": lambda cls, death: _in(cls, "commit", death),
    "in the midst of a snapshot": lambda cls, death: (
        _in(cls, "_run", death, of="REPLACE INTO snapshots")
        if cls is sqlite.SqliteLog
        else _in(cls, "_insert_part", death)
    ),
    "between a snapshot and its pruning": lambda cls, death: _in(cls, "prune", death, before=True),
    "in the midst of a prune": lambda cls, death: _in(cls, "_run", death, of="DELETE FROM "),
}
SNAPSHOTS = {name for name in POINTS if "snapshot" in name or "prune" in name}
"""Points that a process passes only while it takes a snapshot."""


def small_steps(url: str) -> Any:
    """Have snapshots be taken often and in several parts, and frames be pruned a few at a time.

    Return the class of the connections to the database.
    """
    replica.SNAPSHOT_BYTES, log._PART_BYTES = 20_000, 4_000
    if not is_postgres(url):
        sqlite._PRUNED_AT_ONCE = 50
        return sqlite.SqliteLog
    from vsbatch_core.journal import postgres  # noqa: PLC0415 - psycopg, which not all have

    postgres._PRUNED_AT_ONCE = 50
    return postgres.PostgresLog


# What a process does

Say = Callable[..., None]


class Worker:
    """One thread: it gives commands, each of which it announces, and says when it was acknowledged.

    Nobody else finishes its files or cancels its batches, so it knows what each of its commands must return.
    """

    def __init__(self, engine: Engine, say: Say, stores: Sequence[str], name: str, random: Random) -> None:
        self.engine, self.say, self.name, self.random = engine, say, name, random
        *self.stores, self.shared = stores
        self.commands = self.files = 0
        self.open: dict[tuple[str, str], list[str]] = {}
        """By store and batch, the files that are in progress."""
        self.held: list[Claim] = []

    def run(self, stop: Event) -> None:
        """Give commands until told to stop; what goes wrong is said too."""
        try:
            while not stop.is_set():
                self.step()
        except errors.OutcomeUnknown:  # as if it was killed: what it was about to do may have happened
            return
        except errors.VsbatchError as error:
            self.say("wrong", self.name, f"{type(error).__name__}: {error}")
        except BaseException as error:
            self.say("wrong", self.name, repr(error))
            raise

    def step(self) -> None:
        """Give one command."""
        acts: list[Callable[[], None]] = [self.create, self.feed, self.claim]
        acts += [self.complete, self.fail, self.look] * 2 + [self.cancel] if self.open else []
        acts += [self.finish] * 2 if self.held else []
        acts += [self.make] if self.random.random() < 0.02 else []
        self.random.choice(acts)()

    def _give(self, kind: str, store: str, files: Sequence[str], command: Callable[[], Any]) -> Any:
        """Announce a command and give it; the caller says that it was done."""
        self.commands += 1
        self.say("will", self.name, self.commands, kind, store, files)
        return served(command)

    def _did(self, **what: Any) -> None:
        self.say("did", self.name, self.commands, what)

    def _new_files(self, n: int) -> list[str]:
        self.files += n
        return [f"file-{self.name}-{self.files - i}" for i in range(n)]

    def create(self) -> None:
        """Create a batch."""
        store, files = self.random.choice(self.stores), self._new_files(self.random.choice((1, 2, 3, 30)))
        made = self._give(
            "create",
            store,
            files,
            lambda: self.engine.vector_stores.file_batches.create(store, file_ids=files),
        )
        self._did(batch=made.id)
        self.open[store, made.id] = files

    def feed(self) -> None:
        """Create a batch for anybody to claim."""
        files = self._new_files(4)
        made = self._give(
            "create",
            self.shared,
            files,
            lambda: self.engine.vector_stores.file_batches.create(self.shared, file_ids=files),
        )
        self._did(batch=made.id)

    def _one(self) -> tuple[str, str]:
        """Take a file in progress; return its store and it."""
        batch = self.random.choice(list(self.open))
        files = self.open[batch]
        file = files.pop(self.random.randrange(len(files)))
        if not files:
            del self.open[batch]
        return batch[0], file

    def complete(self) -> None:
        """Complete a file."""
        store, file = self._one()
        self._give(
            "completed", store, [file], lambda: self.engine.processing.complete(store, file, usage_bytes=7)
        )
        self._did()

    def fail(self) -> None:
        """Fail a file."""
        store, file = self._one()
        self._give("failed", store, [file], lambda: self.engine.processing.fail(store, file))
        self._did()

    def cancel(self) -> None:
        """Cancel a batch."""
        store, batch = self.random.choice(list(self.open))
        files = self.open.pop((store, batch))
        self._give(
            "cancelled",
            store,
            files,
            lambda: self.engine.vector_stores.file_batches.cancel(batch, vector_store_id=store),
        )
        self._did()

    def make(self) -> None:
        """Create a store."""
        made = self._give("make", "", [], lambda: self.engine.vector_stores.create(name=self.name))
        self._did(store=made.id)
        self.stores.append(made.id)

    def claim(self) -> None:
        """Claim files of the shared store, for ever: an attachment may be claimed once in its life."""
        claims = self._give(
            "claim",
            self.shared,
            [],
            lambda: self.engine.processing.claim(
                3, worker=self.name, lease_seconds=float("inf"), vector_store_id=self.shared
            ),
        )
        self._did(claims=[claim.attachment for claim in claims])
        self.held += claims

    def finish(self) -> None:
        """Finish some of the claims that are held."""
        claims, self.held = self.held[:2], self.held[2:]
        files = [claim.file.id for claim in claims]
        results = self._give(
            "completed",
            self.shared,
            files,
            lambda: self.engine.processing.finish([Completed(claim, usage_bytes=7) for claim in claims]),
        )
        for result in results:
            if isinstance(result, errors.VsbatchError):
                raise result
        self._did()

    def look(self) -> None:
        """See what this thread has done: all of it was acknowledged."""
        (store, batch), files = self.random.choice(list(self.open.items()))
        page = served(
            lambda: self.engine.vector_stores.file_batches.list_files(
                batch, vector_store_id=store, filter="in_progress", limit=100
            )
        )
        if sorted(file.id for file in page.data) != sorted(files):
            raise Wrong(f"{batch} has {page.data} in progress, and {files} are")


def served(act: Callable[[], Any]) -> Any:
    """Return what ``act`` returns; where the database is not there, which has changed nothing, call it again."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            return act()
        except errors.DatabaseUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def digest(engine: Engine) -> str:
    """Return what equal engines have in common."""
    return hashlib.sha256(json.dumps(engine.snapshot(), sort_keys=True).encode()).hexdigest()


def work(
    url: str, stores: Sequence[str], name: str, seed: int, say: Say, control: int, death: tuple[str, int] | None
) -> None:
    """Work on a database, until ``control`` says to stop; then say what the engine is like."""
    faulthandler.register(signal.SIGUSR1)
    logging.getLogger("vsbatch_core.journal").setLevel(logging.ERROR)  # that a transaction failed is a warning
    cls = small_steps(url)
    if death is not None:
        POINTS[death[0]](cls, Death(death[1]))
    with served(lambda: Engine.open(url)) as engine:
        stop = Event()
        workers = [Worker(engine, say, stores, f"{name}-{i}", Random(f"{seed}{name}{i}")) for i in range(THREADS)]
        threads = [Thread(target=worker.run, args=(stop,)) for worker in workers]
        if death is not None and death[0] in SNAPSHOTS:
            threads.append(Thread(target=compact, args=(engine, say, name, stop)))
        for thread in threads:
            thread.start()
        os.read(control, 1)
        stop.set()
        for thread in threads:
            thread.join()
        say("quiet", name, "")
        os.read(control, 1)
        engine.check()
        say("equals", name, digest(engine))


def compact(engine: Engine, say: Say, name: str, stop: Event) -> None:
    """Take snapshots."""
    try:
        while not stop.wait(0.01):
            served(engine.compact)
    except errors.VsbatchError as error:
        say("wrong", name, f"{type(error).__name__}: {error}")


# What the one who kills knows


@define
class History:
    """What was announced and acknowledged, and what must therefore be there."""

    acknowledged: int = 0
    pending: dict[tuple[str, int], tuple[str, str, list[str]]] = Factory(dict)
    """By worker and number, the commands of which the outcome is not known: kind, store, files."""
    batches: dict[tuple[str, str], list[str]] = Factory(dict)
    statuses: dict[tuple[str, str], str] = Factory(dict)
    """By store and file, what was acknowledged last."""
    events: Counter[str] = Factory(Counter)
    """By store, how many events were acknowledged; "" is the list of stores."""
    claimed: Counter[int] = Factory(Counter)
    """By attachment, how often its claim was acknowledged."""
    stores: set[str] = Factory(set)
    shared: str = ""
    """The store of which files are claimed."""

    def will(self, worker: str, number: int, kind: str, store: str, files: list[str]) -> None:
        """Note that a command is about to be given."""
        self.pending[worker, number] = (kind, store, files)

    def did(self, worker: str, number: int, what: dict[str, Any]) -> None:
        """Note that a command was acknowledged."""
        kind, store, files = self.pending.pop((worker, number))
        self.acknowledged += 1
        if kind == "claim":
            self.claimed.update(what["claims"])
            return
        self.events[store] += 1
        if kind == "make":
            self.stores.add(what["store"])
        elif kind == "create":
            self.batches[store, what["batch"]] = files
            for file in files:  # another may have said before that it has finished one
                self.statuses.setdefault((store, file), "in_progress")
        else:
            self.statuses.update({(store, file): kind for file in files})

    def judged(self, engine: Engine) -> tuple[list[str], list[str]]:
        """Return what is lost in an engine, and what is doubled."""
        lost, doubled = [], []
        uncertain = {(store, file) for _, store, files in self.pending.values() for file in files}
        view = engine.view
        there = set(view.vector_store_ids())
        lost += [f"vector store {store}" for store in self.stores - there]
        for (store, batch), files in self.batches.items():
            if sorted(view.file_ids(store, view.batch_attachments(store, batch))) != sorted(files):
                lost.append(f"batch {batch} of {store}")
        for (store, file), status in self.statuses.items():
            attachments = set(view.attachments(store, file))
            if len(attachments) > 1:
                doubled.append(f"{file} of {store}")
            found = {view.status(store, attachment) for attachment in attachments}
            if (store, file) not in uncertain and found != {status}:
                lost.append(f"{file} of {store} was {status}, and is {found or 'not there'}")
        doubled += [f"the claim of attachment {number}" for number, n in self.claimed.items() if n > 1]
        for number in self.claimed:
            if view.status(self.shared, number) == "in_progress" and view.claim(self.shared, number) is None:
                lost.append(f"the claim of attachment {number}")
        asked = Counter(store for kind, store, _ in self.pending.values() if kind != "claim")
        for store in ("", *(self.stores & there)):
            version, n = engine.version(store or None), self.events[store] + (store in self.stores)
            what = f"events of {store or 'the list of vector stores'}: {version}, and {n} were acknowledged"
            lost += [what] * (n - version)
            doubled += [f"{what}, {asked[store]} may be"] * (version - n - asked[store])
        return lost, doubled


@define
class Child:
    """A process that works on the database, as its parent sees it."""

    pid: int
    control: int
    """Where it is told to stop."""
    name: str
    death: str
    """Where it dies, if it is to die."""
    alive: bool = True

    def kill(self) -> None:
        """Kill it, if it has not done so by itself."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.control)
        self.alive = False


@define
class Outcome:
    """What came of all kills."""

    kills: Counter[str] = Factory(Counter)
    acknowledged: int = 0
    lost: list[str] = Factory(list)
    doubled: list[str] = Factory(list)

    @property
    def total(self) -> int:
        """How many processes were killed, and servers."""
        return sum(self.kills.values())


@define
class Round:
    """Processes on one database, of which some are killed."""

    url: str
    history: History
    random: Random
    name: str
    restart: Callable[[], object] | None = None
    """Kills the server and starts it anew, if there is one."""
    children: list[Child] = field(factory=list, init=False)
    said: dict[str, dict[str, str]] = field(factory=dict, init=False)
    """By kind, what each process has said of itself."""
    wrong: list[str] = field(factory=list, init=False)
    _reader: int = field(default=-1, init=False)
    _rest: bytes = field(default=b"", init=False)

    def play(self, outcome: Outcome) -> None:
        """Start the processes, kill some, and see that the others are equal to what the database has."""
        try:
            self._start()
            dying = [child for child in self.children if child.death]
            if not dying:
                assert self.restart is not None
                for _ in range(self.random.randint(1, 2)):
                    self._listen(self.random.uniform(0.0, 0.3), lambda: False)
                    self.restart()
                    outcome.kills[SERVER] += 1
            elif dying[0].death == RANDOM:
                self._listen(self.random.uniform(0.0, 0.3), lambda: False)
            else:  # it dies by itself
                self._await(f"come to the point '{dying[0].death}'", lambda: all(map(dead, dying)))
            for child in dying:
                child.kill()
                outcome.kills[child.death] += 1
            self._listen(self.random.uniform(0.0, 0.1), lambda: False)
            for kind in ("quiet", "equals"):
                self._tell_to(kind)
        finally:
            for child in self._living():
                child.kill()
            self._listen(SECONDS, lambda: False)  # what the killed have said: until nobody holds the pipe
            os.close(self._reader)
        found = self.said["equals"]
        with Engine.open(self.url) as engine:
            engine.check()
            found["an engine that was opened after them"] = digest(engine)
            if len(set(found.values())) > 1:
                raise Wrong(f"they are not equal to each other: {found}")
            lost, doubled = self.history.judged(engine)
        outcome.lost += lost
        outcome.doubled += doubled

    def _living(self) -> list[Child]:
        return [child for child in self.children if child.alive]

    def _start(self) -> None:
        self._reader, writer = os.pipe()
        processes = self.random.randint(LEAST, MOST)
        where = self.random.choice((RANDOM, *POINTS, *([] if self.restart is None else [SERVER] * 3)))
        dying = processes if where == RANDOM and self.random.random() < 0.25 else where != SERVER
        for i in range(processes):
            passes = self.random.randint(1, 3 if where in SNAPSHOTS else 25)
            self._fork(writer, f"{self.name}-{i}", where if i < dying else "", passes)
        os.close(writer)

    def _fork(self, writer: int, name: str, death: str, passes: int) -> None:
        reads, writes = os.pipe()
        stores = [*sorted(self.history.stores - {self.history.shared})[:3], self.history.shared]
        seed = self.random.getrandbits(32)
        pid = os.fork()
        if pid:
            os.close(reads)
            self.children.append(Child(pid, writes, name, death))
            return
        status = 1
        try:
            for other in self.children:
                os.close(other.control)
            os.close(writes)
            os.close(self._reader)

            def say(*line: Any) -> None:
                os.write(writer, json.dumps(line).encode() + b"\n")  # shorter than PIPE_BUF: never in two pieces

            try:
                point = None if death in ("", RANDOM) else (death, passes)
                work(self.url, stores, name, seed, say, reads, point)
                status = 0
            except BaseException as error:
                say("wrong", name, f"{type(error).__name__}: {error}")
                raise
        finally:
            os._exit(status)

    def _tell_to(self, kind: str) -> None:
        """Tell those who live to go on to the end, and wait until they have."""
        living = self._living()
        for child in living:
            os.write(child.control, b".")
        self.said.setdefault(kind, {})
        self._await(f"say '{kind}'", lambda: all(child.name in self.said[kind] for child in living))

    def _await(self, what: str, done: Callable[[], bool]) -> None:
        self._listen(SECONDS, lambda: done() or bool(self.wrong))
        if self.wrong:
            raise Wrong("; ".join(self.wrong))
        if not done():
            for child in self._living():
                os.kill(child.pid, signal.SIGUSR1)  # it prints where its threads are
            self._listen(1.0, lambda: False)
            raise Wrong(f"a process did not {what} in {SECONDS:.0f} s")

    def _listen(self, seconds: float, done: Callable[[], bool]) -> None:
        """Note what the processes say: for so long, until something is done, or until none of them is left."""
        until = time.monotonic() + seconds
        while not done() and (left := until - time.monotonic()) > 0:
            if select.select([self._reader], [], [], min(left, 0.02))[0]:
                read = os.read(self._reader, 1 << 16)
                if not read:
                    return
                *lines, self._rest = (self._rest + read).split(b"\n")
                for line in lines:
                    self._note(*json.loads(line))

    def _note(self, kind: str, *line: Any) -> None:
        if kind == "will":
            self.history.will(*line)
        elif kind == "did":
            self.history.did(*line)
        elif kind == "wrong":
            self.wrong.append(f"{line[0]}: {line[1]}")
        else:
            self.said.setdefault(kind, {})[line[0]] = line[1]


def dead(child: Child) -> bool:
    """Return whether a process has ended; ``Child.kill`` still finds it."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def begun(url: str) -> History:
    """Make a database with a few stores; return what must be there."""
    with Engine.open(url) as engine:
        stores = [engine.vector_stores.create().id for _ in range(4)]
    history = History(stores=set(stores), shared=stores[-1])
    history.events[""] = len(stores)
    return history


class Files:
    """SQLite files in a folder."""

    restart = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def made(self, number: int) -> str:
        """Return the URL of a new database."""
        return url_of(self.folder / f"{number}.db")

    def drop(self, number: int) -> None:
        """Remove a database that nobody uses."""
        for file in self.folder.glob(f"{number}.db*"):
            file.unlink()


class Server:
    """Databases of a PostgreSQL server of its own."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster

    def made(self, _number: int) -> str:
        """Return the URL of a new database."""
        url: str = self.cluster.database()
        return url

    def drop(self, _number: int) -> None:
        """Leave a database that nobody uses to the end of the server."""

    def restart(self) -> None:
        """Kill the server, and start it anew."""
        self.cluster.stop("immediate")
        self.cluster.start()


def kills(where: Files | Server, wanted: int, seed: int, each: Callable[[Outcome], None]) -> Outcome:
    """Kill so many processes or servers, or a few more; ``each`` is called after every round.

    Raise ``Wrong`` if a process that was not killed fails, hangs, or is not equal to the others.
    """
    outcome, random, number = Outcome(), Random(seed), 0
    while outcome.total < wanted:
        first = number
        url = where.made(first)
        history, before = begun(url), outcome.total
        while outcome.total < min(wanted, before + ROUNDS):
            number += 1
            Round(url, history, random, str(number), where.restart).play(outcome)
            each(outcome)
        outcome.acknowledged += history.acknowledged
        where.drop(first)
    return outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Kill, print what came of it, and return the exit status: 0 if nothing was lost or doubled."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "kills", type=int, nargs="?", default=200, help="how many processes to kill (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the choices; the moments are the machine's")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the files are (default: a temporary one)"
    )
    parser.add_argument(
        "--database", choices=["sqlite", "postgresql"], default="sqlite", help="(default: sqlite)"
    )
    args = parser.parse_args(argv)
    if not hasattr(os, "fork"):
        parser.error("processes are forked and killed as POSIX systems do it: run it on Linux or macOS")
    seed = args.seed if args.seed is not None else Random().getrandbits(32)
    print(f"seed {seed}, {LEAST} to {MOST} processes on a database, {THREADS} threads in each", flush=True)

    def progress(outcome: Outcome) -> None:
        if sys.stderr.isatty():
            print(f"\r{outcome.total} of {args.kills} kills", end="", file=sys.stderr, flush=True)

    with ExitStack() as kept:
        if args.database == "sqlite":
            where: Files | Server = Files(Path(kept.enter_context(tempfile.TemporaryDirectory(dir=args.folder))))
        else:
            from tests.helpers.postgres import INSTALL, Cluster, programs  # noqa: PLC0415 - psycopg

            if programs() is None:
                parser.error(INSTALL)
            where = Server(kept.enter_context(Cluster()))
        try:
            outcome = kills(where, args.kills, seed, progress)
        except Wrong as error:
            print(f"wrong: {error}")
            return 1
    print("\r", end="", file=sys.stderr, flush=True)
    for point in (RANDOM, *POINTS, *([] if where.restart is None else [SERVER])):
        print(f"{outcome.kills[point]:8,} killed {point}")
    for name in ("lost", "doubled"):
        for what in getattr(outcome, name)[:20]:
            print(f"{name}: {what}")
    print(f"{outcome.acknowledged:8,} acknowledged")
    print(f"{len(outcome.lost):8,} lost")
    print(f"{len(outcome.doubled):8,} doubled")
    return 1 if outcome.lost or outcome.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
