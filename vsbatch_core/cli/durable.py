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
from uuid import uuid4

from vsbatch_core import Claim, Clock, Completed, Engine, Failed, Retry, VirtualClock, VsbatchError
from vsbatch_core.adapters.asgi import App
from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli.processes import Processes
from vsbatch_core.cli.serve import LEASE, keys, plan, profile, run, simulated
from vsbatch_core.cli.text import Refused, legible, say
from vsbatch_core.journal import path_of
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
    with _telling():
        with _opened(arguments, VirtualClock(0.0)) as (engine, _):  # at time 0 nothing is due
            latest = engine.view.latest()
        with _reserved(arguments.database):
            if arguments.processes == 1:
                clock = VirtualClock(max(time.time(), latest))
                with _opened(arguments, clock) as (engine, uploads):
                    run(simulated(arguments, engine, uploads), listening, ready)
                return
            if not hasattr(os, "fork"):
                raise Refused("--processes needs a system that can fork a process: leave it out")
            _release(arguments)
            ahead = Ahead(max(0.0, latest - time.time()))

            def work(number: int, ready: Callable[[], None], lifeline: int) -> None:
                with _telling(), _opened(arguments, ahead) as (engine, uploads):
                    _serve_one(arguments, number, engine, uploads, listening, ready, lifeline)

            Processes(arguments.processes, work).run(ready)


@contextmanager
def _telling() -> Iterator[None]:
    """Raise ``Refused`` in place of what the database is refused for."""
    try:
        yield
    except VsbatchError as error:
        raise Refused(legible(str(error))) from error


@contextmanager
def _opened(arguments: argparse.Namespace, clock: Clock) -> Iterator[tuple[Engine, Uploads]]:
    """Open the engine and the uploads of the database."""
    uploads = Uploads.open(
        arguments.database, clock=clock, require_uploaded_files=arguments.require_uploaded_files
    )
    with (
        closing(uploads),
        Engine.open(
            arguments.database,
            clock=clock,
            profile=profile(arguments),
            file_size=uploads.file_size,
            retry=ALWAYS,
        ) as engine,
    ):
        yield engine, uploads


@contextmanager
def _reserved(url: str) -> Iterator[None]:
    """Keep other servers from the database: two would both move its time and end its files.

    The lock is one of SQLite's on a file of its own, which the system lifts when this process ends.
    """
    path = path_of(url)
    with closing(sqlite3.connect(f"{path}-server", timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise Refused(
                f"the database '{legible(str(path))}' is served already ({error}): stop that server, or give "
                "another --database. One server may have several --processes"
            ) from None
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
    lifeline: int,
) -> None:
    """Serve and process files, as one process of several."""
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
    loop = asyncio.new_event_loop()
    task = loop.create_task(_process(engine, plan, workers))

    def work() -> None:
        with closing(loop), suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = Thread(target=work, name="vsbatch worker")
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # the loop is closed: the thread has failed, and said so
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


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

    worker = f"{os.getpid()}-{uuid4().hex[:8]}"  # ids of processes are used again
    while True:
        try:
            await engine.aio.processing.work(
                handle, worker=worker, limit=workers, lease_seconds=LEASE, poll_seconds=POLL
            )
        except VsbatchError as error:
            say(sys.stderr, f"vsbatch: warning: {legible(str(error))}")
            await asyncio.sleep(PAUSE)
