"""``vsbatch serve --database``: a stand-in that goes on where it stopped, in one process or in several."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from math import inf
from random import Random
from threading import Thread
from typing import Literal, cast
from uuid import uuid4

from vsbatch_core import Claim, Clock, Completed, Engine, Failed, Profile, Retry, VirtualClock, VsbatchError
from vsbatch_core.adapters.asgi import App
from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli.databases import named, telling
from vsbatch_core.cli.processes import Processes
from vsbatch_core.cli.serve import LEASE, keys, plan, profile, run, simulated
from vsbatch_core.cli.text import Refused, legible, say
from vsbatch_core.journal import is_postgres, path_of
from vsbatch_core.simulation import Constant, Plan, outcomes

POLL = 0.1
"""Seconds after which a process that has nothing to do looks for files at the latest."""

PAUSE = 1.0
"""Seconds that a process waits after the database has failed."""

ALL = 10_000
"""So many files a process works on at a time if the plan sets no bound."""

ALWAYS = Retry(attempts=1_000_000)
"""What a process that was killed had taken up does not fail for that."""


class Ahead:
    """The system's clock, and ``seconds`` more.

    A server whose clients polled may have left a time that is to come.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        """Seconds since the Unix epoch, and those more."""
        return time.time() + self.seconds


def serve(arguments: argparse.Namespace, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve from a database until a signal says to stop.  Raise ``Refused`` if that cannot be."""
    url, n = arguments.database, arguments.processes
    if n > 1 and not hasattr(os, "fork"):
        raise Refused("--processes needs a system that can fork a process: leave it out")
    with telling():
        place = named(url)
        if is_postgres(url):
            _serve_with_others(arguments, place, listening, ready)
            return
        with _opened(arguments, VirtualClock(0.0)) as (engine, _):  # at time 0 nothing is due
            latest = engine.view.latest()
        with reserved(
            url,
            "EXCLUSIVE" if n == 1 else "IMMEDIATE",
            "stop that server, or give another --database. One server may have several --processes, and workers",
        ):
            if n == 1:
                clock = VirtualClock(max(time.time(), latest))
                with _opened(arguments, clock) as (engine, uploads):
                    run(simulated(arguments, engine, uploads), listening, ready)
                return
            _release(arguments)
            _serve_all(arguments, Ahead(max(0.0, latest - time.time())), listening, ready)


def _serve_with_others(
    arguments: argparse.Namespace, place: str, listening: socket.socket, ready: Callable[[], None]
) -> None:
    """Serve from a database that other servers may serve too: the time is its own, and all share the files."""
    with _opened(arguments, None) as (engine, _):  # it is made or refused before there are several processes
        warn_of_the_future(engine, place)
    _serve_all(arguments, None, listening, ready)


def ahead(engine: Engine) -> float:
    """Return by how many seconds the latest event is ahead of the engine's clock."""
    return engine.view.latest() - engine.clock.time()


def warn_of_the_future(engine: Engine, place: str) -> None:
    """Warn if time stands still for stores that come from where it had been moved."""
    if ahead(engine) > 1:
        say(
            sys.stderr,
            f"vsbatch: warning: the latest event in {place} is {ahead(engine):,.0f} s ahead of its clock: "
            "clients of another server had moved the time, and until then no claim lapses there",
        )


def _serve_all(
    arguments: argparse.Namespace,
    clock: Clock | None,
    listening: socket.socket,
    ready: Callable[[], None],
) -> None:
    """Serve in real time, with as many processes as the arguments say."""

    def work(number: int, ready: Callable[[], None], lifeline: int | None = None) -> None:
        with telling(), _opened(arguments, clock) as (engine, uploads):
            _serve_one(arguments, number, engine, uploads, listening, ready, lifeline)

    if arguments.processes == 1:
        work(0, ready)
    else:
        Processes(arguments.processes, work).run(ready)


@contextmanager
def _opened(arguments: argparse.Namespace, clock: Clock | None) -> Iterator[tuple[Engine, Uploads]]:
    """Open the engine and the uploads of the database that is served."""
    with opened(
        arguments.database,
        clock,
        profile=profile(arguments),
        require_uploaded_files=arguments.require_uploaded_files,
    ) as both:
        yield both


@contextmanager
def opened(
    url: str, clock: Clock | None, *, profile: Profile | None = None, require_uploaded_files: bool = False
) -> Iterator[tuple[Engine, Uploads]]:
    """Open the engine and the uploads of a database."""
    uploads = Uploads.open(url, clock=clock, require_uploaded_files=require_uploaded_files)
    with (
        closing(uploads),
        Engine.open(url, clock=clock, profile=profile, file_size=uploads.file_size, retry=ALWAYS) as engine,
    ):
        yield engine, uploads


Kind = Literal["EXCLUSIVE", "IMMEDIATE", "DEFERRED"]
"""What a process does to a database of SQLite, as the transaction that its lock is.

A server with one process moves the time and ends files by itself: nobody else may do either meanwhile.  One with
several keeps other servers out, and processes files along with workers, which are as many as there are.
"""


@contextmanager
def reserved(url: str, kind: Kind, hint: str) -> Iterator[None]:
    """Keep those from a database of SQLite who would contradict this process.

    Raise ``Refused`` with ``hint`` if one of them is there already.  The lock is one of SQLite's on a file of its
    own, which the system lifts when this process ends.
    """
    path = path_of(url)
    with closing(sqlite3.connect(f"{path}-server", timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute(f"BEGIN {kind}")
            connection.execute("SELECT * FROM sqlite_master")  # a deferred transaction begins here
        except sqlite3.OperationalError as error:
            raise Refused(f"the database '{legible(str(path))}' is served already ({error}): {hint}") from None
        yield


def _release(arguments: argparse.Namespace) -> None:
    """Give back the claims that have no end: those of a simulation in a server that is gone."""
    with _opened(arguments, VirtualClock(0.0)) as (engine, _):
        found = (
            engine.view.claim(file.vector_store_id, file.attachment)
            for file in engine.processing.pending(limit=2**62)
            if file.attachment is not None
        )
        endless = [claim for claim in found if claim is not None and claim.deadline == inf]
        if endless:
            engine.processing.release(endless)


def _serve_one(
    arguments: argparse.Namespace,
    number: int,
    engine: Engine,
    uploads: Uploads,
    listening: socket.socket,
    ready: Callable[[], None],
    lifeline: int | None,
) -> None:
    """Serve and process files in real time, as one process of several or alone."""
    # That a file was cancelled while it was being processed is no news here.
    logging.getLogger("vsbatch_core.work").setLevel(logging.ERROR)
    made = plan(arguments, uploads)
    n = arguments.processes
    workers = ALL if made.workers is None else made.workers // n + (number < made.workers % n)
    app = App(Api(engine, uploads=uploads, api_keys=keys(arguments)))
    if made.by_hand or not workers:
        run(app, listening, ready, lifeline)
    else:
        with working(engine, made, workers):
            run(app, listening, ready, lifeline)


@contextmanager
def working(engine: Engine, plan: Plan, workers: int) -> Iterator[None]:
    """Process files in a thread while the context lasts; what is claimed at its end is given back."""
    loop, task = worker_task(engine, plan, workers)
    thread = Thread(target=run_until_cancelled, args=(loop, task), name="vsbatch worker")
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # the loop is closed: the thread has failed, and said so
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def worker_task(engine: Engine, plan: Plan, workers: int) -> tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]:
    """Return a task that processes files until it is cancelled, and the loop that it is to run in."""
    loop = asyncio.new_event_loop()
    return loop, loop.create_task(_process(engine, plan, workers))


def run_until_cancelled(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """Run a task until it is cancelled."""
    with closing(loop), suppress(asyncio.CancelledError):
        loop.run_until_complete(task)


async def _process(engine: Engine, plan: Plan, workers: int) -> None:
    """Process files as the plan says, in real time, until it is cancelled."""
    decide = plan.decider(Random())
    service = plan.service.seconds if isinstance(plan.service, Constant) else 0.0

    async def handle(claim: Claim) -> Completed | Failed:
        outcome = decide(claim.file, claim.attempt - 1)
        await asyncio.sleep(service if outcome.after is None else outcome.after)
        if isinstance(outcome, outcomes.Failed):
            return Failed(claim, outcome.code, outcome.message)
        return Completed(claim, outcome.usage_bytes if isinstance(outcome, outcomes.Completed) else None)

    worker = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"  # ids of processes are used again
    myself = cast("asyncio.Task[None]", asyncio.current_task())
    while not myself.cancelling():
        try:
            await engine.aio.processing.work(
                handle, worker=worker, limit=workers, lease_seconds=LEASE, poll_seconds=POLL
            )
        except VsbatchError as error:  # also where claims could not be given back: they lapse
            say(sys.stderr, f"vsbatch: warning: {legible(str(error))}")
            await asyncio.sleep(0 if myself.cancelling() else PAUSE)
