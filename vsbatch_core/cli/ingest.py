"""``vsbatch ingest``: a real directory, attached in batches to a store and processed on a virtual clock."""

from __future__ import annotations

import argparse
import os
import sys

from vsbatch_core.cli import report, values
from vsbatch_core.cli.directory import find
from vsbatch_core.cli.job import Job
from vsbatch_core.cli.play import play
from vsbatch_core.cli.progress import Show, progress
from vsbatch_core.cli.scenario import BATCH_FILES, Scenario, attachments, loads
from vsbatch_core.scenarios.files import BYTES_PER_SECOND, OVERHEAD, SUPPORTED, Found, Skipped, ingested
from vsbatch_core.scenarios.text import legible, well_formed
from vsbatch_core.simulation import Plan

FAILURES = 20

DESCRIPTION = f"""\
Attach every file below PATH to a new vector store, in batches, and process
them with a number of workers on a virtual clock. No file is opened or sent
anywhere: its suffix and its size decide how it ends.

  completed         {" ".join(sorted(SUPPORTED))}
  unsupported_file  any other suffix
  invalid_file      empty, or larger than 512 MB

A worker needs {OVERHEAD:g} s to refuse a file, and 1 s more for each
{BYTES_PER_SECOND:,} bytes to process one. These figures are ours: nobody has
published the real ones."""

EPILOG = """\
Example:

  vsbatch ingest docs --workers 4 --batch-size 500

Directories whose names begin with a dot, such as .git, are skipped unless
--hidden is given. Symbolic links to directories are not followed; links to
files count as files. What cannot be read is reported. Nothing else is left
out. The same directory gives the same output: ids and times are derived from
it, not from this machine.

Exit status: 0 if the job was done, even if files failed; 2 if PATH is not a
directory with files in it."""


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    made.add_argument("path", metavar="PATH", help="the directory")
    made.add_argument(
        "--workers", metavar="N", type=values.at_least_1, default=8, help="how many workers (default 8)"
    )
    made.add_argument(
        "--batch-size",
        metavar="N",
        type=_batch_size,
        default=BATCH_FILES,
        help=f"how many files a batch has at most (default {BATCH_FILES}, the API's limit)",
    )
    made.add_argument("--hidden", action="store_true", help="go into directories such as .git as well")
    made.add_argument(
        "--failures",
        metavar="N",
        type=_failures,
        default=FAILURES,
        help=f"how many failed files to print of each error, or 'all' (default {FAILURES}; --json has all)",
    )
    made.add_argument("--json", action="store_true", help="print one JSON document, with the API's own objects")


def _batch_size(value: str) -> int:
    n = values.at_least_1(value)
    if n > BATCH_FILES:
        raise argparse.ArgumentTypeError(f"{n} is more than {BATCH_FILES}, the most files that the API takes")
    return n


def _failures(value: str) -> int | None:
    if value == "all":
        return None
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is neither a whole number from 0 nor 'all'")
    return int(value)


def command(arguments: argparse.Namespace) -> None:
    """Do the job and print it.  Raise ``Refused`` if the path is no directory with files in it."""
    with progress(sys.stderr) as show:
        found, skipped = find(arguments.path, hidden=arguments.hidden, show=show)
        job = ingest(
            arguments.path,
            found,
            skipped,
            workers=arguments.workers,
            batch_size=arguments.batch_size,
            show=show,
        )
    if arguments.json:
        report.print_json(job, sys.stdout)
    else:
        report.print_text(job, sys.stdout, failures=arguments.failures)


def ingest(
    path: str, found: list[Found], skipped: list[Skipped], *, workers: int, batch_size: int, show: Show
) -> Job:
    """Attach the files to a new store, all at the same instant, and process them."""
    name = well_formed(os.path.basename(os.path.abspath(path)))
    played = play(
        Scenario(
            title=name,
            stores=[name],
            loads=loads(name, name, attachments(found), batch_size=batch_size),
            plan=Plan(workers=workers, decide=ingested),
        ),
        show,
    )
    return Job(
        path,
        workers,
        played.engine,
        played.engine.vector_stores.retrieve(played.stores[0]),
        played.runs,
        skipped,
    )
