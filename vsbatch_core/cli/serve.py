"""``vsbatch serve``: the API on a socket of this machine, as a local stand-in for OpenAI's."""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import random
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from ipaddress import ip_address
from threading import Thread
from typing import Any

from attrs import evolve

from vsbatch_core import Profile, profiles
from vsbatch_core.adapters.asgi import Receive, Scope, Send
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli import clients, values
from vsbatch_core.cli import faults as trouble
from vsbatch_core.cli.console import console_of
from vsbatch_core.cli.databases import PASSWORDS, URLS
from vsbatch_core.cli.plans import LEASE, PLANS, add_plan_to, plan
from vsbatch_core.cli.server import KEY_VARIABLE, key_of_environment
from vsbatch_core.extras import pip_line
from vsbatch_core.journal import is_postgres
from vsbatch_core.model import policies
from vsbatch_core.scenarios.text import Refused, legible, say
from vsbatch_core.standin import Settings, StandIn
from vsbatch_core.standin.app import StandInApp

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

GRACE = 10
"""Seconds that requests in flight have to end once the server was told to."""

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients keep one, so that none closes as they send."""

BACKLOG = 2048

CONTROL_VARIABLE = "VSBATCH_CONTROL_KEY"

DESCRIPTION = """\
Serve vector stores, their files and file batches, and uploads, to any client
of OpenAI's API. All of it is kept in memory and lost when the server stops,
unless --database names a database. Processing is simulated: nothing is parsed
or embedded."""

POLICIES = "\n".join(f"  {key:<16} {', '.join(words)}" for key, words in policies().items())

EPILOG = f"""\
Example:

  vsbatch serve --port 8000 --plan after-seconds:30 --fail server_error=0.1

plans, which decide how attached files end:

{PLANS}
  after-polls:N    the files of a batch complete when it is retrieved for the
                   Nth time, a single file when it is
  manual           every file stays in progress until it is cancelled or
                   deleted

faults, which clients meet; --fault dropped=0.1@60..120 loses a tenth of the
responses in the second minute:

{trouble.FAULTS}

policies, by key, the first word being the default; 'cancel=drain' has a
cancel wait for files that a worker has taken up:

{POLICIES}

Time passes as on the wall clock. When the polling helper of an official
client retrieves a batch, the interval that it would wait passes at once, and
the response says not to wait; with --real-time it waits.

With --database the server goes on where it stopped, whatever stopped it:
what a response has acknowledged is there, and files that were being processed
are processed. --processes N serves with N processes, which share the files to
process. Time then passes for clients that poll as well, as with --real-time,
and the plan after-polls is not there. A process that is killed is replaced;
what it had taken up is taken up again {LEASE:g} s later. 'vsbatch database'
checks, compacts, dumps and loads the database, and 'vsbatch worker' processes
files of it beside the server.

A database of PostgreSQL may be served by as many servers as you like, on any
hosts: they share the files to process, the time is the database's, and all
is as with several processes. They may be stopped and started one by one. The
server needs the extra postgres.

{PASSWORDS}

In a browser the server's root is a page that shows all of this as it happens.
A line is printed for each request, unless with --quiet. /healthz is for probes,
and /metrics, with the extra metrics, for Prometheus; it is of one process.

Point a client at the server with the line that it prints. SIGTERM and Ctrl-C
let requests in flight end, for up to {GRACE} s.

Exit status: 0 if it was stopped; 2 if the arguments are wrong, the port is
taken, or the database cannot be used."""


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    made.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    made.add_argument(
        "--port", metavar="N", type=_port, default=8000, help="the port (default 8000; 0: a free one)"
    )
    made.add_argument(
        "--api-key",
        metavar="KEY",
        type=values.api_key,
        action="append",
        default=[],
        help="let in only who sends this key; may be given more than once. Others on this machine can read a "
        f"command line: better set {KEY_VARIABLE}",
    )
    made.add_argument(
        "--require-uploaded-files",
        action="store_true",
        help="refuse file ids that were not uploaded here (default: any id can be attached)",
    )
    made.add_argument(
        "--control-key",
        metavar="KEY",
        type=values.api_key,
        help="let in who sends this key to the control API, from anywhere (default: without --api-key on "
        f"a loopback address anybody, else nobody); better set {CONTROL_VARIABLE}",
    )
    add_plan_to(made)
    made.set_defaults(plan=None)
    trouble.add_faults_to(made)
    made.add_argument(
        "--profile",
        metavar="NAME",
        choices=profiles.BY_NAME,
        help=f"which variant of the API, or which other server, to imitate: {', '.join(profiles.BY_NAME)} "
        "(default: that of the database, or default)",
    )
    made.add_argument(
        "--policy",
        metavar="KEY=WORD",
        type=_policy,
        action="append",
        default=[],
        help="a policy that is not the profile's, as cancel=drain; may be given for each; see below",
    )
    made.add_argument(
        "--seed",
        metavar="N",
        type=values.whole,
        help="draw the same ids and failures in every run (default: others)",
    )
    clients.add_to(made)
    made.add_argument("--quiet", action="store_true", help="print no line for each request")
    made.add_argument("--real-time", action="store_true", help="have clients wait when they poll")
    made.add_argument(
        "--database",
        metavar="URL",
        help=f"keep all of it there: {URLS}; made if it is not there",
    )
    made.add_argument(
        "--processes",
        metavar="N",
        type=values.at_least_1,
        default=1,
        help="serve with so many processes, which share a database (default 1)",
    )


def _port(value: str) -> int:
    n = values.whole(value)
    if not 0 <= n <= 65535:
        raise argparse.ArgumentTypeError(f"{n} is not a port: give 1 to 65535, or 0 for one that is free")
    return n


def _policy(value: str) -> tuple[str, str]:
    key, _, word = value.partition("=")
    words = policies()
    if key not in words:
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is no policy: those are {', '.join(words)}")
    if word not in words[key]:
        known = " or ".join(f"{key}={each}" for each in words[key])
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is no policy: give {known}")
    return key, word


def command(arguments: argparse.Namespace) -> None:
    """Serve until a signal says to stop.  Raise ``Refused`` if that cannot be."""
    try:
        import uvicorn  # noqa: F401, PLC0415 - an optional extra

        from vsbatch_core.adapters import multipart  # noqa: F401, PLC0415 - an optional extra
    except ImportError:
        raise Refused(f"vsbatch serve needs uvicorn and python-multipart: {pip_line('server')}") from None
    _require_sense(arguments)
    with closing(listener(arguments.host, arguments.port)) as listening:
        address, port = listening.getsockname()[:2]
        host = legible(arguments.host)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
        api_keys = keys(arguments)
        if not api_keys and not ip_address(address.partition("%")[0]).is_loopback:
            say(
                sys.stderr,
                f"vsbatch: warning: whoever can reach {host} can use this server: give --api-key or no --host",
            )

        def ready() -> None:
            say(
                sys.stdout,
                f"vsbatch: serving on {url}",
                f"export OPENAI_BASE_URL={url}{'' if api_keys else ' OPENAI_API_KEY=none-needed'}",
            )
            sys.stdout.flush()

        if arguments.database is None:
            run(application(arguments), listening, ready)
        else:
            from vsbatch_core.cli import durable  # noqa: PLC0415 - sqlite3

            durable.serve(arguments, listening, ready)


def _require_sense(arguments: argparse.Namespace) -> None:
    """Raise ``Refused`` for options that contradict each other."""
    _require_room_for_scenario(arguments)
    several = arguments.processes > 1
    polls = arguments.plan is not None and arguments.plan[0] == "after-polls"
    if several and arguments.database is None:
        raise Refused("--processes needs --database: that is what several processes share")
    if several and polls:
        raise Refused("--plan after-polls counts in one process: leave out --processes, or give another plan")
    if is_postgres(arguments.database) and polls:
        raise Refused(
            "--plan after-polls counts in one process, and PostgreSQL is for several: give another plan, or a "
            "--database of SQLite"
        )
    if arguments.database is not None and arguments.seed is not None:
        raise Refused(
            "--seed draws the same ids in every run, and --database has those of the last: leave out one"
        )
    settings(arguments).made_plan(Uploads())


def _require_room_for_scenario(arguments: argparse.Namespace) -> None:
    """Raise ``Refused`` for options that say again what the scenario says."""
    if arguments.scenario is None:
        return
    given = {"plan": arguments.plan, "fail": arguments.fail, "workers": arguments.workers}
    for option, value in {**given, "profile": arguments.profile}.items():
        if value:
            raise Refused(f"--{option} and --scenario say the same: leave out one, or change the scenario's file")
    if arguments.processes > 1 or is_postgres(arguments.database):
        raise Refused(
            "--scenario needs time and a plan of its own: leave out --processes, and give no --database or "
            "one of SQLite"
        )


def keys(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the keys of the command line and of the environment."""
    key = key_of_environment()
    return (*arguments.api_key, *([] if key is None else [key]))


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens there.  Raise ``Refused`` if there is no such place, or it is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        made = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (socket.gaierror, UnicodeError):
        raise Refused(f"there is no host '{legible(host)}': give --host an address of this machine") from None
    except OSError as error:
        where = f"port {port} of {legible(host)}"
        if error.errno == errno.EADDRINUSE:
            raise Refused(f"{where} is taken: stop what listens there, or give another --port (0: any)") from None
        raise Refused(f"cannot listen on {where}: {os.strerror(error.errno or 0)}") from None
    # The connections inherit it.  A response is sent in two pieces; the second would else wait some 40 ms for the
    # client's system to confirm the first.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def application(arguments: argparse.Namespace) -> StandInApp:
    """The ASGI application that the arguments describe: a stand-in whose time is that of the wall clock."""
    return controlled(arguments, standing_in(settings(arguments)))


def standing_in(settings: Settings, **more: Any) -> StandIn:
    """A stand-in.  Raise ``Refused`` if what it is to do contradicts the profile."""
    try:
        return StandIn(settings, **more)
    except ValueError as error:
        raise Refused(f"the plan cannot be followed: {error}") from None


def settings(arguments: argparse.Namespace) -> Settings:
    """How the stand-in begins that the arguments describe.  Raise ``Refused``."""
    scenario = trouble.scenario(arguments)
    seed = arguments.seed
    if seed is None and scenario is not None and arguments.database is None:
        seed = scenario.seed
    return Settings(
        plan=None if scenario is None else scenario.plan,
        plan_of=partial(plan, arguments) if scenario is None else None,
        faults=trouble.faults(arguments, scenario),
        profile=profile(arguments, None if scenario is None else scenario.profile),
        seed=seed,
        chance=random.getrandbits(32) if scenario is None else scenario.seed,
        require_uploaded_files=arguments.require_uploaded_files,
        live=True,
        real_time=arguments.real_time,
        api={"api_keys": keys(arguments), **clients.options(arguments)},
    )


def controlled(arguments: argparse.Namespace, standin: StandIn) -> StandInApp:
    """The ASGI application of a stand-in, with the control API if the arguments say so."""
    console = None if arguments.quiet else console_of(sys.stdout)
    if console is not None:
        standin.observers.append(console.observe)
        atexit.register(console.close)
    key = arguments.control_key or key_of_environment(CONTROL_VARIABLE)
    return StandInApp(standin, control=not keys(arguments) and is_local(arguments.host), control_key=key)


def is_local(host: str) -> bool:
    """Whether who listens there is reached from this machine alone."""
    return all(
        ip_address(str(address[0]).partition("%")[0]).is_loopback
        for *_, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    )


def profile(arguments: argparse.Namespace, given: Profile | None) -> Profile | None:
    """The profile that the arguments describe, if they describe one; it may begin with one that is given."""
    if given is None and arguments.profile is None and not arguments.policy:
        return None
    return evolve(given or profiles.BY_NAME[arguments.profile or "default"], **dict(arguments.policy))


def run(
    app: Application, listening: socket.socket, ready: Callable[[], None], lifeline: int | None = None
) -> None:
    """Serve with uvicorn until SIGINT or SIGTERM, or the end of a pipe; call ``ready`` once it takes requests.

    uvicorn uses uvloop and httptools where they are installed, and else asyncio and h11.

    It belongs in the main thread, whose signal handlers are as before when it returns.
    """
    import uvicorn  # noqa: PLC0415 - an optional extra

    from vsbatch_core.cli.protocol import HEAD_BYTES, READ, protocol  # noqa: PLC0415 - imports asyncio

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if isinstance(app, StandInApp):
                app.close()  # its streams, which would else have to be cut off
            await super().shutdown(sockets=sockets)

    server = Server(
        uvicorn.Config(
            app,
            access_log=False,
            http=protocol(),
            h11_max_incomplete_event_size=2 * HEAD_BYTES + READ,  # the protocol has a bound of its own
            backlog=BACKLOG,
            log_level="warning",
            proxy_headers=False,  # nothing asks for the client's address
            timeout_graceful_shutdown=GRACE,
            timeout_keep_alive=KEEP_ALIVE,
            ws="none",
        )
    )

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    def watch(descriptor: int) -> None:
        os.read(descriptor, 1)
        server.should_exit = True

    if lifeline is not None:
        Thread(target=watch, args=(lifeline,), daemon=True).start()
    # uvicorn has handlers of its own while it runs, and sends itself the signal again when these are back.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
