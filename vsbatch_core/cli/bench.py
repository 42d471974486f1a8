"""``vsbatch bench``: load on a server, how fast it answered, and whether its counts hold in the end."""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from attrs import asdict

from vsbatch_core.cli import server, values
from vsbatch_core.cli.figures import few, lines, loop_of
from vsbatch_core.cli.outputs import require_picture, unwritable
from vsbatch_core.cli.progress import progress
from vsbatch_core.cli.server import KEY_VARIABLE, TIMEOUT
from vsbatch_core.extras import pip_line
from vsbatch_core.load.report import document, failed
from vsbatch_core.load.runner import Bounds, Runner, Show
from vsbatch_core.load.session import NoServer, Session, Unusable
from vsbatch_core.load.workload import MIX, MOST_FILES, OPERATIONS, Workload
from vsbatch_core.scenarios.text import Refused, legible, say

REQUESTS, MOST_REQUESTS = 2000, 1_000_000
DURATION, MOST_DURATION = 30.0, 3600.0
CONCURRENCY, IN_FLIGHT, MOST_CONNECTIONS = 8, 256, 500
MOST_RATE = 100_000.0
SETTLE, MOST_WAIT = 30.0, 600.0
SPARE_UPLOADS = 100

DESCRIPTION = """\
Send a seeded workload to a server of this API, measure its latencies, and
check in the end that its counts hold. Stores are made on it and deleted again,
also when the bench is interrupted."""

EPILOG = f"""\
Example, with 'vsbatch serve' running in another terminal:

  vsbatch bench --base-url http://127.0.0.1:8000/v1 --duration 10

operations, and the weight of each in the default --mix:

{chr(10).join(f"  {name:<10}  {MIX[name]:>3g}  {what}" for name, what in OPERATIONS.items())}

The closed loop (--concurrency) has a number of workers, each of which sends
its next request when the last one was answered. The open loop (--rate) sends
requests when they are due, a Poisson process, however long earlier ones take;
latencies count from when a request was due, so that queueing shows. A request
that is due while --in-flight others are under way is given up, which is an
error: overloaded.

A run ends after --requests requests or --duration seconds, whichever is given;
if both are, at whichever comes first. Without either it ends after
{REQUESTS:,} requests, or {DURATION:g} seconds if that comes first.

Percentiles are of the requests that were answered as expected, and of those
that timed out. A server that limits writes (OpenAI's takes 300 a minute for
each store) returns 429, which is an error too. A cancel that is refused with
400 or 409 because the batch had ended is not.

The same seed and the same responses, in the same order, give the same
requests, but for the names of stores: with --concurrency 1 always; else the
order of the responses is the server's. In the open loop the same requests are
due at the same instants.

In the end, when nothing is in flight, batches are waited for (--settle), their
lists walked with every filter, stores counted. No file is attached to a store
twice and no file of a batch is deleted, so that a correct server cannot be
accused; what cannot be known, as after a request that timed out, is reported
as unknown and is not a failure.

The key may also be given in {KEY_VARIABLE}; OPENAI_API_KEY is not read, so
that it goes nowhere by mistake. Servers that are not on this machine are
refused unless --yes-remote is given: stores there may cost money.

Exit status: 0 if every request was answered as expected and the counts hold;
1 if not; 2 if the arguments are wrong, or the server cannot be reached or does
not serve this API; 130 if it was interrupted, after what was measured so far
has been printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    server.add_to(parser)
    loop = parser.add_mutually_exclusive_group()
    loop.add_argument(
        "--concurrency",
        metavar="N",
        type=_whole(MOST_CONNECTIONS),
        default=CONCURRENCY,
        help=f"closed loop: workers (default {CONCURRENCY}, at most {MOST_CONNECTIONS})",
    )
    loop.add_argument(
        "--rate",
        metavar="R",
        type=_number(MOST_RATE),
        help=f"open loop: requests a second (at most {MOST_RATE:,.0f})",
    )
    parser.add_argument(
        "--in-flight",
        metavar="N",
        type=_whole(MOST_CONNECTIONS),
        help=f"open loop: requests under way (default {IN_FLIGHT}, at most {MOST_CONNECTIONS})",
    )
    parser.add_argument(
        "--requests",
        metavar="N",
        type=_whole(MOST_REQUESTS),
        help=f"stop after N requests (default {REQUESTS:,} without --duration, at most {MOST_REQUESTS:,})",
    )
    parser.add_argument(
        "--duration",
        metavar="S",
        type=_number(MOST_DURATION),
        help=f"stop after S seconds (default {DURATION:g} without --requests, at most {MOST_DURATION:,.0f})",
    )
    parser.add_argument(
        "--mix", metavar="OP=W,…", type=_mix, default=MIX, help="operations and their weights; see below"
    )
    parser.add_argument(
        "--batch-sizes",
        metavar="N,LOW-HIGH,…",
        type=_sizes,
        default="1,20,500,2000",
        help=f"files in a batch; each of these as often (default 1,20,500,2000; at most {MOST_FILES:,})",
    )
    parser.add_argument("--seed", metavar="N", type=values.whole, default=0, help="another workload (default 0)")
    parser.add_argument(
        "--uploads", action="store_true", help="upload files first, instead of making their ids up"
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=_number(MOST_WAIT),
        default=TIMEOUT,
        help=f"seconds that one request may take (default {TIMEOUT:g}, at most {MOST_WAIT:g})",
    )
    parser.add_argument(
        "--settle",
        metavar="S",
        type=_number(MOST_WAIT),
        default=SETTLE,
        help=f"seconds to wait for batches to end, to count stores, to walk lists (default {SETTLE:g}, at most "
        f"{MOST_WAIT:g})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw latency over time, .png, .pdf or .svg (extra 'plot')"
    )
    parser.add_argument("--yes-remote", action="store_true", help="load a server that is not on this machine")


def _whole(most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        number = values.at_least_1(value)
        if number > most:
            raise argparse.ArgumentTypeError(f"{number:,} is more than {most:,}")
        return number

    return read


def _number(most: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        number = values.number(value)
        if not 0 < number <= most:
            raise argparse.ArgumentTypeError(f"'{legible(value)}' is not a number above 0 and up to {most:,.0f}")
        return number

    return read


def _mix(value: str) -> dict[str, float]:
    mix: dict[str, float] = {}
    for part in value.split(","):
        name, _, weight = part.partition("=")
        if name not in OPERATIONS or name in mix or not 0 <= values.number(weight) < 1e9:
            raise argparse.ArgumentTypeError(
                f"'{legible(part)}': give each operation once, as retrieve=50, of {', '.join(OPERATIONS)}"
            )
        mix[name] = float(weight)
    if not any(mix.values()):
        raise argparse.ArgumentTypeError("every weight is 0: nothing would be sent")
    return mix


def _sizes(value: str) -> tuple[range, ...]:
    return tuple(_size(part) for part in value.split(","))


def _size(part: str) -> range:
    low, dash, high = part.partition("-")
    numbers = [int(n) if n.isdecimal() else 0 for n in (low, high if dash else low)]
    if not 1 <= numbers[0] <= numbers[1] <= MOST_FILES:
        raise argparse.ArgumentTypeError(f"'{legible(part)}': give sizes from 1 to {MOST_FILES}, as 20 or 1-500")
    return range(numbers[0], numbers[1] + 1)


def command(arguments: argparse.Namespace) -> None:
    """Run the load and print what came of it.  Raise ``Refused``, or ``SystemExit(1)`` if something is wrong."""
    try:
        from vsbatch_core.load.transport import Http  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise Refused(f"vsbatch bench needs aiohttp: {pip_line('bench')}") from None
    loopback = server.require_ours(arguments)
    if arguments.in_flight is not None and arguments.rate is None:
        raise Refused("--in-flight bounds the open loop: give --rate too")
    url = arguments.base_url
    if "@" in urlsplit(url).netloc:
        raise Refused("give no user in --base-url: what is sent is the key")
    key = server.key(arguments)
    if arguments.plot is not None:
        require_picture(arguments.plot)
    connections = arguments.concurrency if arguments.rate is None else arguments.in_flight or IN_FLIGHT
    http = Http(url, key, timeout=arguments.timeout, connections=connections, proxies=not loopback)
    uploads = max(sizes[-1] for sizes in arguments.batch_sizes) + SPARE_UPLOADS if arguments.uploads else None

    async def run(show: Show) -> None:
        session.show = session.runner.show = show
        async with http:
            await session.run(lambda runner: _load(runner, arguments))

    session = Session(url, http.send, uploads=uploads, seconds=arguments.settle)
    try:
        with progress(sys.stderr) as show, asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(run(show))
    except NoServer as error:
        raise Refused(f"{legible(str(error))}. {server.HINT}") from None
    except Unusable as error:
        raise Refused(legible(str(error))) from None
    except KeyboardInterrupt:
        if len(session.runner.samples):
            _tell(session, arguments)
        raise
    finally:
        for line in few(session.left):
            say(sys.stderr, f"vsbatch: could not delete {line}")
    _tell(session, arguments)
    if failed(session):
        raise SystemExit(1)


def _loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes up to the microsecond; epoll, which is the default, to the millisecond above."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _load(runner: Runner, arguments: argparse.Namespace) -> None:
    workload = Workload(seed=arguments.seed, mix=arguments.mix, sizes=arguments.batch_sizes)
    bounds = _bounds(arguments)
    if arguments.rate is None:
        await runner.closed(workload, bounds, concurrency=arguments.concurrency)
    else:
        await runner.open(workload, bounds, rate=arguments.rate, in_flight=arguments.in_flight or IN_FLIGHT)


def _bounds(arguments: argparse.Namespace) -> Bounds:
    if arguments.requests is None and arguments.duration is None:
        return Bounds(REQUESTS, DURATION)
    return Bounds(arguments.requests, arguments.duration)


# What came of it


def _tell(session: Session, arguments: argparse.Namespace) -> None:
    """Print it all, and draw it."""
    if arguments.json:
        say(sys.stdout, json.dumps(document(session, settings(arguments)), indent=2))
    else:
        say(sys.stdout, *lines(session, arguments))
    sys.stdout.flush()
    if arguments.plot is not None and len(session.runner.samples):
        from vsbatch_core.load.picture import draw  # noqa: PLC0415 - needs matplotlib

        title = f"{legible(arguments.base_url)}: {loop_of(arguments)}"
        try:
            draw(session.runner.samples, arguments.plot, title=title, open_loop=arguments.rate is not None)
        except OSError as error:
            raise unwritable(arguments.plot, error) from None


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, as JSON-able data."""
    closed = {"kind": "closed", "concurrency": arguments.concurrency}
    opened = {"kind": "open", "rate": arguments.rate, "in_flight": arguments.in_flight or IN_FLIGHT}
    return {
        "base_url": arguments.base_url,
        "seed": arguments.seed,
        "loop": closed if arguments.rate is None else opened,
        "mix": dict(arguments.mix),
        "batch_sizes": [[sizes[0], sizes[-1]] for sizes in arguments.batch_sizes],
        "bounds": asdict(_bounds(arguments)),
        "uploads": arguments.uploads,
    }
