"""``vsbatch worker``: process the files of a database, beside its servers or without any."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from vsbatch_core.cli import working
from vsbatch_core.cli.databases import PASSWORDS, URLS, require, telling
from vsbatch_core.cli.plans import LEASE, PLANS, add_plan_to, plan
from vsbatch_core.journal import is_postgres
from vsbatch_core.scenarios.text import Refused, say

DESCRIPTION = """\
Process files of a database that 'vsbatch serve --database', or any durable
engine, keeps. Several workers share the files, and with PostgreSQL they may
be on many hosts. Processing is simulated: nothing is parsed or embedded. A
program's own function is given to engine.processing.work instead."""

EPILOG = f"""\
Example:

  vsbatch worker --database sqlite:///state.db --plan after-seconds:5

plans, which decide how files end:

{PLANS}

A server started with '--plan manual' leaves all files to workers. On SQLite it
needs --processes 2 or more: one that has a single process moves the time as
its clients poll, which no worker could follow.

SIGTERM and Ctrl-C have the worker give back what it has taken up. What one
that is killed had taken up is taken up again {LEASE:g} s later.

{PASSWORDS}

Exit status: 0 if it was stopped; 2 if the arguments are wrong, or the
database cannot be used."""


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    made.add_argument("--database", metavar="URL", required=True, help=URLS)
    add_plan_to(made)


def command(arguments: argparse.Namespace) -> None:
    """Process files until a signal says to stop.  Raise ``Refused`` if that cannot be."""
    name, _ = arguments.plan
    if name in ("after-polls", "manual"):
        raise Refused(f"--plan {name} leaves nothing to workers: give another one")
    url = arguments.database
    with telling():
        place = require(url, "start 'vsbatch serve --database' first, or open an engine on it")
        with ExitStack() as stack:
            if not is_postgres(url):
                hint = "stop that server, or start it with --processes 2 or more, which workers may help"
                stack.enter_context(working.reserved(url, "DEFERRED", hint))
            engine, uploads = stack.enter_context(working.opened(url, None))
            if is_postgres(url):
                working.warn_of_the_future(engine, place)
            elif working.ahead(engine) > 1:
                raise Refused(
                    f"the latest event in '{place}' is {working.ahead(engine):,.0f} s ahead of this machine's "
                    "clock: clients of a server had moved the time. Start one with --processes 2 or more, which "
                    "processes the files itself"
                )
            working.be_quiet()
            made = plan(arguments, uploads)
            loop, task = working.worker_task(engine, made, made.workers or working.ALL)
            with _stopping(loop, task):
                say(sys.stdout, f"vsbatch: working on {place}")
                sys.stdout.flush()
                working.run_until_cancelled(loop, task)


@contextmanager
def _stopping(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> Iterator[None]:
    """Have the first SIGINT or SIGTERM cancel the task; a second one does what it did before."""
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def stop(_number: int, _frame: object) -> None:
        restore()
        loop.call_soon_threadsafe(task.cancel)

    before.update((number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        restore()
