"""The work of a process on a database: what ``vsbatch serve --database`` and ``vsbatch worker`` do alike."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from random import Random
from threading import Thread
from typing import Literal, cast
from uuid import uuid4

from vsbatch_core import Claim, Clock, Completed, Engine, Failed, Profile, Retry, VsbatchError
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli.plans import LEASE
from vsbatch_core.journal import path_of
from vsbatch_core.scenarios.text import Refused, legible, say
from vsbatch_core.simulation import Constant, Plan, outcomes

POLL = 0.1
"""Seconds after which a process that has nothing to do looks for files at the latest."""

PAUSE = 1.0
"""Seconds that a process waits after the database has failed."""

ALL = 10_000
"""So many files a process works on at a time if the plan sets no bound."""

ALWAYS = Retry(attempts=1_000_000)
"""What a process that was killed had taken up does not fail for that."""


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


@contextmanager
def working(engine: Engine, plan: Plan, workers: int) -> Iterator[None]:
    """Process files in a thread while the context lasts; what is claimed at its end is given back."""
    loop, task = worker_task(engine, plan, workers)
    thread = Thread(target=run_until_cancelled, args=(loop, task), name="vsbatch worker")
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # the loop is closed: the thread has failed, and its traceback is printed
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def be_quiet() -> None:
    """Have the loop of a worker log errors alone: that a file was cancelled while it was processed is no news."""
    logging.getLogger("vsbatch_core.work").setLevel(logging.ERROR)


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
