"""``vsbatch check``: the laws of the API, tried on a live server."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsbatch_core.cli import server, values
from vsbatch_core.cli.outputs import require_writable, write
from vsbatch_core.cli.progress import progress
from vsbatch_core.cli.server import KEY_VARIABLE, TIMEOUT
from vsbatch_core.scenarios.text import Refused, legible, nearest, plural, say, table
from vsbatch_core.testing import conformance

if TYPE_CHECKING:
    from vsbatch_core.testing.conformance.laws import Law
    from vsbatch_core.testing.conformance.probe import Probe
    from vsbatch_core.testing.conformance.runner import Verdict

BUDGET, EXAMPLES = 120.0, 20
DESCRIPTION = """\
Try the laws of the API on a live server, through the official client alone.
Stores are made on it, with a few small files, and deleted again, also when the
check is interrupted."""

EPILOG = f"""\
Example, with 'vsbatch serve' running in another terminal:

  vsbatch check --base-url http://127.0.0.1:8000/v1

A law is documented (the API reference says so), recorded (seen in published
recordings), or a choice (nobody has published it). A law that is broken is
shown by the shortest program that was found: it runs against that server with
nothing but openai. A server that differs in a choice is not accused.

'not reached' says that a law could not be tried: batches of a server may end
before they can be cancelled, or no file may fail. --bad-file names one that
fails. Nothing is assumed about the server's speed but --budget.

Without --uploads or --no-uploads, files are uploaded if the server takes
uploads; otherwise ids are made up.

The key may also be given in {KEY_VARIABLE}; OPENAI_API_KEY is not read, so
that it goes nowhere by mistake; a printed program reads it. Servers that are
not on this machine are refused unless --yes-remote is given: stores there may
cost money.

Exit status: 0 if no documented law is broken (with --strict: nor a recorded
one); 1 if one is; 2 if the arguments are wrong or the server cannot be
reached; 130 if it was interrupted."""


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    server.add_to(made)
    made.add_argument(
        "--uploads",
        action=argparse.BooleanOptionalAction,
        help="whether to upload the files that are attached, or to make their ids up",
    )
    made.add_argument(
        "--bad-file",
        metavar="PATH",
        help="a file that the server cannot process; with --no-uploads, the id of one",
    )
    made.add_argument(
        "--law", metavar="ID", action="append", help="try this law alone; may be given more than once"
    )
    made.add_argument("--strict", action="store_true", help="count a recorded law that is broken as a failure")
    made.add_argument(
        "--budget",
        metavar="S",
        type=values.seconds,
        default=BUDGET,
        help=f"how long it may take, in seconds (default {BUDGET:g})",
    )
    made.add_argument(
        "--examples",
        metavar="N",
        type=values.at_least_1,
        default=EXAMPLES,
        help=f"how often a law is tried at most (default {EXAMPLES})",
    )
    made.add_argument(
        "--seed", metavar="N", type=values.whole, default=0, help="another seed tries other cases (default 0)"
    )
    made.add_argument("--json", action="store_true", help="print one JSON document")
    made.add_argument("--junit", metavar="FILE", help="also write JUnit's XML to this file")
    made.add_argument("--yes-remote", action="store_true", help="check a server that is not on this machine")


def command(arguments: argparse.Namespace) -> None:
    """Check the server and print what was found.  Raise ``Refused``, or ``SystemExit(1)`` if a law is broken."""
    try:
        import openai  # noqa: PLC0415 - an optional extra

        from vsbatch_core.testing.conformance import report  # noqa: PLC0415 - needs Hypothesis
        from vsbatch_core.testing.conformance.probe import Probe  # noqa: PLC0415
    except ImportError:
        raise Refused(conformance.missing()) from None
    url = arguments.base_url
    loopback = server.require_ours(arguments)
    bad_file = _bad_file(arguments)
    laws = _laws(arguments.law)
    if arguments.junit is not None:
        require_writable(arguments.junit)
    client = openai.OpenAI(
        base_url=url,
        api_key=server.key(arguments),
        timeout=TIMEOUT,
        # No proxy stands between this machine and itself.
        http_client=openai.DefaultHttpxClient(trust_env=not loopback),
    )
    with client:
        verdicts = _checked(Probe(client, uploads=arguments.uploads, bad_file=bad_file), laws, arguments)
    if arguments.junit is not None:
        write(arguments.junit, report.junit(verdicts, strict=arguments.strict))
    if arguments.json:
        data = report.document(url, verdicts, strict=arguments.strict, seed=arguments.seed)
        say(sys.stdout, json.dumps(data, indent=2))
    else:
        say(sys.stdout, *lines(verdicts, strict=arguments.strict))
    if report.failures(verdicts, strict=arguments.strict):
        raise SystemExit(1)


def _laws(ids: list[str] | None) -> Sequence[Law]:
    known = {law.id: law for law in conformance.LAWS}
    for id in ids or ():
        if id not in known:
            raise Refused(f"there is no law '{legible(id)}': give one of {', '.join(known)}{nearest(id, known)}")
    return [law for law in conformance.LAWS if ids is None or law.id in ids]


def _bad_file(arguments: argparse.Namespace) -> tuple[str, bytes] | str | None:
    given: str | None = arguments.bad_file
    if given is None or arguments.uploads is False:
        return given
    try:
        return os.path.basename(given), Path(given).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character, which no path has
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"cannot read '{legible(given)}': {reason}. Give a file that can be read") from None


def _checked(probe: Probe, laws: Sequence[Law], arguments: argparse.Namespace) -> list[Verdict]:
    from vsbatch_core.testing.conformance.tracing import Unreachable  # noqa: PLC0415

    try:
        with progress(sys.stderr) as show:
            return conformance.check(
                probe,
                laws=laws,
                budget=arguments.budget,
                examples=arguments.examples,
                seed=arguments.seed,
                show=show,
            )
    except Unreachable as error:
        raise Refused(f"{legible(str(error))}. {server.HINT}") from None
    finally:
        for line in probe.clean_up():
            say(sys.stderr, f"vsbatch: could not delete {legible(line)}")


def lines(verdicts: Sequence[Verdict], *, strict: bool) -> Iterator[str]:
    """The programs of what is broken or differs, then a table of all laws, then the sum."""
    for verdict in verdicts:
        if verdict.program is not None:
            yield from (f"== {verdict.law.id} ({verdict.law.mark}): {verdict.outcome}", "")
            yield from map(legible, verdict.program.split("\n"))
    rows = [
        (
            verdict.law.id,
            verdict.law.mark,
            verdict.outcome.upper() if verdict.counts(strict=strict) else verdict.outcome,
            legible(verdict.detail),
        )
        for verdict in verdicts
    ]
    yield from (line.rstrip() for line in table(("law", "mark", "outcome", ""), rows, left=4))
    from vsbatch_core.testing.conformance.report import counted  # noqa: PLC0415 - needs Hypothesis

    counts = [f"{n} {outcome}" for outcome, n in counted(verdicts).items() if n]
    yield from ("", f"{plural(len(verdicts), 'law')}: {', '.join(counts)}")
