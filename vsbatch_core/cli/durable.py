"""``vsbatch serve --database``: a stand-in that goes on where it stopped, in one process or in several."""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from attrs import evolve

from vsbatch_core import Clock, Engine, VirtualClock
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli.databases import named, telling
from vsbatch_core.cli.processes import Processes
from vsbatch_core.cli.serve import controlled, run, settings, standing_in
from vsbatch_core.cli.working import ALL, be_quiet, opened, reserved, warn_of_the_future, working
from vsbatch_core.journal import is_postgres
from vsbatch_core.scenarios.text import Refused
from vsbatch_core.standin import Settings
from vsbatch_core.standin.world import Power

ONE_OF_MANY = (
    "This is one of several processes, and the others would not know: start the server with one process."
)


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
                    standin = standing_in(settings(arguments), engine=engine, uploads=uploads)
                    run(controlled(arguments, standin), listening, ready)
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


def _serve_all(
    arguments: argparse.Namespace,
    clock: Clock | None,
    listening: socket.socket,
    ready: Callable[[], None],
) -> None:
    """Serve in real time, with as many processes as the arguments say."""
    begin = evolve(settings(arguments), real_time=True)  # by one draw of chance for all processes

    def work(number: int, ready: Callable[[], None], lifeline: int | None = None) -> None:
        with telling(), _opened(arguments, clock) as (engine, uploads):
            _serve_one(arguments, begin, number, engine, uploads, listening, ready, lifeline)

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
        profile=settings(arguments).profile,
        require_uploaded_files=arguments.require_uploaded_files,
    ) as both:
        yield both


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
    begin: Settings,
    number: int,
    engine: Engine,
    uploads: Uploads,
    listening: socket.socket,
    ready: Callable[[], None],
    lifeline: int | None,
) -> None:
    """Serve and process files in real time, as one process of several or alone."""
    be_quiet()
    made = begin.made_plan(uploads)
    n = arguments.processes
    workers = ALL if made.workers is None else made.workers // n + (number < made.workers % n)
    why_not: dict[Power, str] = {"faults": ONE_OF_MANY, "requests": ONE_OF_MANY} if n > 1 else {}
    app = controlled(arguments, standing_in(begin, engine=engine, uploads=uploads, why_not=why_not))
    if made.by_hand or not workers:
        run(app, listening, ready, lifeline)
    else:
        with working(engine, made, workers):
            run(app, listening, ready, lifeline)
