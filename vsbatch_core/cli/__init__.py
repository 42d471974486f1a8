"""The command ``vsbatch``: arguments in, exit status out.

Exit statuses: 0, the job was done, whatever became of its files; 1, the output could not be written; 2, the
arguments are wrong, which one line on stderr explains; 130, interrupted (Ctrl-C); 141, the reader of the output
went away (``| head``), as for any program that SIGPIPE ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module

from vsbatch_core import __version__
from vsbatch_core.cli.help import Parser
from vsbatch_core.scenarios import text
from vsbatch_core.scenarios.text import Refused, legible, nearest

INTERRUPTED = 130
READER_GONE = 141

COMMANDS = {
    "ingest": "attach and process the files of a directory",
    "serve": "serve the API over HTTP, as a local stand-in",
    "worker": "process the files of a durable server's database",
    "database": "check, compact, dump, load or migrate such a database",
    "simulate": "run a scenario on a virtual clock",
    "check": "try the laws of the API on a live server",
    "bench": "send load to a server and check its counts",
}
"""The subcommands; each has a module of its name, with ``add_arguments`` and ``command``."""


def parser(wanted: Iterable[str] = COMMANDS) -> Parser:
    """Return the parser of the command, with the arguments of the subcommands that are wanted.

    Only the modules of these are imported: others are known by their names and their line of help.
    """
    made = Parser(
        prog="vsbatch",
        description="OpenAI's vector store file batches, imitated in this process: no network, no account.",
        epilog="Example:\n\n  vsbatch serve --port 8000\n\nEvery command has a --help of its own.",
    )
    made.add_argument("--version", action="version", version=f"vsbatch {__version__}")
    made.set_defaults(command=None)
    commands = made.add_subparsers(title="commands", metavar="COMMAND")
    for name, line in COMMANDS.items():
        subparser = commands.add_parser(name, help=line)
        if name in wanted:
            module = import_module(f"{__name__}.{name}")
            subparser.description, subparser.epilog = module.DESCRIPTION, module.EPILOG
            subparser.set_defaults(command=module.command)
            module.add_arguments(subparser)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say (default: the process's own), and return the exit status.

    ``--help`` and ``--version`` raise ``SystemExit(0)``, as argparse does it.
    """
    try:
        try:
            _run(sys.argv[1:] if argv is None else argv)
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


def _run(argv: Sequence[str]) -> None:
    """Run the subcommand.  Raise ``Refused`` if there is no such one, or its arguments are wrong."""
    # No option of the command itself takes a value: the first word that is no option is the subcommand.
    name = next((word for word in argv if not word.startswith("-")), None)
    commands = ", ".join(COMMANDS)
    if argv and argv[0] == name and name not in COMMANDS:
        raise Refused(f"there is no command '{legible(name)}': give one of {commands}{nearest(name, COMMANDS)}")
    arguments, unknown = parser([name] if name else []).parse_known_args(argv)
    if unknown:
        described = "vsbatch --help" if arguments.command is None else f"vsbatch {name} --help"
        given = ", ".join(f"'{legible(word)}'" for word in unknown)
        raise Refused(f"there is no argument {given}: '{described}' describes those that there are")
    if arguments.command is None:
        raise Refused(f"give a command, one of {commands}: 'vsbatch --help' describes them")
    arguments.command(arguments)


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
