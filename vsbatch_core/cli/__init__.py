"""The command ``vsbatch``: arguments in, exit status out.

Exit statuses: 0, the job was done, whatever became of its files; 1, the output could not be written; 2, the
arguments are wrong, which one line on stderr explains; 130, interrupted (Ctrl-C); 141, the reader of the output
went away (``| head``), as for any program that SIGPIPE ends.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from vsbatch_core import __version__
from vsbatch_core.cli import bench, check, ingest, serve, simulate, text
from vsbatch_core.cli.text import Refused

INTERRUPTED = 130
READER_GONE = 141


def parser() -> argparse.ArgumentParser:
    """The arguments of the command and of its subcommands."""
    made = argparse.ArgumentParser(
        prog="vsbatch",
        description="OpenAI's vector store file batches, imitated in this process: no network, no account.",
    )
    made.add_argument("--version", action="version", version=f"vsbatch {__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    ingest.add_to(commands)
    serve.add_to(commands)
    simulate.add_to(commands)
    check.add_to(commands)
    bench.add_to(commands)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say (default: the process's own); answer the exit status.

    Wrong arguments raise ``SystemExit(2)``, and ``--help`` and ``--version`` raise ``SystemExit(0)``, as argparse
    does it.
    """
    try:
        try:
            arguments = parser().parse_args(argv)
            arguments.command(arguments)
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except Refused as refused:
        return _end(2, str(refused))
    except KeyboardInterrupt:
        _abandon_stdout()
        return _end(INTERRUPTED, "interrupted")
    except BrokenPipeError:
        _abandon_stdout()
        return READER_GONE
    except OSError as error:
        _abandon_stdout()
        return _end(1, f"cannot write the output: {error.strerror}")
    return 0


def _end(status: int, line: str) -> int:
    text.say(sys.stderr, f"vsbatch: {line}")
    return status


def _abandon_stdout() -> None:
    """Lead the file behind stdout to nowhere: the interpreter's last flush then neither blocks nor complains."""
    with suppress(OSError):  # a stdout that has no file behind it needs no such thing
        descriptor = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
