"""``vsbatch database``: what can be done to a database while nobody, or somebody, serves it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from vsbatch_core import Engine, VirtualClock
from vsbatch_core.adapters.uploads import FileObject, Uploads
from vsbatch_core.cli.databases import PASSWORDS, URLS, named, require, telling
from vsbatch_core.cli.outputs import opened, require_writable
from vsbatch_core.cli.progress import progress
from vsbatch_core.journal import migrate, proved
from vsbatch_core.journal import opened as opened_log
from vsbatch_core.journal.proof import Found
from vsbatch_core.scenarios.text import Refused, legible, plural, say

DESCRIPTION = """\
Check, compact, dump, load or migrate the database of 'vsbatch serve
--database', or of any durable engine.

  check    read all that is there, compare checksums, build the stores anew
           from the log, and compare them with the snapshots
  compact  take a snapshot, drop what it makes superfluous, and give the space
           back to the file system
  dump     write the stores, their batches and files as one JSON document, to
           FILE or to the standard output
  load     begin a new database with such a document, from FILE or from the
           standard input; a dump of SQLite loads into PostgreSQL, and the
           other way round
  migrate  bring a database that an older version has made to the format of
           this one"""

EPILOG = f"""\
Example:

  vsbatch database check sqlite:///state.db

A dump is what Engine.snapshot() returns. It has neither uploaded files nor
claims: who works on a file when it is dumped does not hold it where it is
loaded. A database may be checked, compacted and dumped while it is served;
who serves it waits while compact gives back the space.

{PASSWORDS}

Exit status: 0 if it was done; 1 if the database is damaged, or the output
could not be written; 2 if the arguments are wrong or the database cannot be
used."""

_CHUNK = 1 << 20
"""So many characters are read and written at a time."""


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    made.add_argument("action", choices=ACTIONS, help="what to do; see above")
    made.add_argument("url", metavar="URL", help=URLS)
    made.add_argument("file", metavar="FILE", nargs="?", help="where to dump to, or load from")


def command(arguments: argparse.Namespace) -> None:
    """Do the action.  Raise ``Refused`` if it cannot be done, or ``SystemExit(1)`` if the database is damaged."""
    if arguments.file is not None and arguments.action not in ("dump", "load"):
        raise Refused(f"{arguments.action} takes no FILE, and '{legible(arguments.file)}' is given: leave it out")
    with telling():
        if arguments.action == "load":
            place = named(arguments.url)
        else:
            place = require(arguments.url, "give the URL of one that is there")
        ACTIONS[arguments.action](arguments.url, place, arguments.file)


def _check(url: str, place: str, _file: str | None) -> None:
    with progress(sys.stderr) as show:
        found = proved(url, lambda done, total: show("reading frames", done, total))
    say(sys.stdout, place, *_lines(found, _uploads(url)))
    if found.damage:
        raise SystemExit(1)


def _lines(found: Found, uploads: Sequence[FileObject]) -> Iterator[str]:
    """What a proof has found, in lines."""
    if found.whole:
        yield f"  vector stores   {found.stores:,}"
        yield f"  file batches    {found.batches:,}"
        yield f"  files           {found.files:,}"
    yield f"  uploaded files  {_sized(len(uploads), sum(file.bytes for file in uploads))}"
    yield f"  frames          {_sized(found.frames, found.frame_bytes)}"
    for seq in found.snapshots:
        same = " and equal to what the frames lead to" if seq in found.compared else ""
        yield f"  snapshot        after frame {seq:,}{same}"
    for each in found.damage:
        yield f"damaged: {each}"
    if not found.damage:
        yield "whole: every checksum is right, and every count is what the files say"
    elif found.whole:
        yield "It can be opened all the same, with all that was committed: later snapshots replace the damage."
    else:
        yield "It cannot be opened: restore it from a copy."


def _sized(n: int, size: int) -> str:
    return f"{n:,}, {size:,} bytes" if n else "0"


def _uploads(url: str) -> Sequence[FileObject]:
    uploads = Uploads.open(url)
    try:
        return list(uploads.list())
    finally:
        uploads.close()


def _compact(url: str, place: str, _file: str | None) -> None:
    with progress(sys.stderr) as show:
        show("compacting", 0, 2)
        before = _bytes(url)
        with _engine(url) as engine:
            engine.compact()
        show("compacting", 1, 2)
        with opened_log(url) as (log, _):
            log.vacuum()
        show("compacting", 2, 2)
    say(sys.stdout, f"{place}: {before:,} bytes before, {_bytes(url):,} now")


def _bytes(url: str) -> int:
    with opened_log(url) as (log, _):
        return log.bytes_on_disk()


def _dump(url: str, place: str, file: str | None) -> None:
    if file is not None:
        require_writable(file)
    with _engine(url) as engine:
        snapshot = engine.snapshot()
    text = f"{json.dumps(snapshot, separators=(',', ':'))}\n"
    with progress(sys.stderr) as show, nullcontext(sys.stdout) if file is None else opened(file) as stream:
        for first in range(0, len(text), _CHUNK):
            stream.write(text[first : first + _CHUNK])
            show("writing bytes", min(first + _CHUNK, len(text)), len(text))
    uploads = _uploads(url)
    if uploads:
        say(sys.stderr, f"vsbatch: the dump leaves out {plural(len(uploads), 'uploaded file')} of {place}")
    if file is not None:
        say(sys.stdout, f"{legible(file)}: {_counted(snapshot)} of {place}")


def _load(url: str, place: str, file: str | None) -> None:
    name = "the standard input" if file is None else f"'{legible(file)}'"
    try:
        with (
            progress(sys.stderr) as show,
            nullcontext(sys.stdin.buffer) if file is None else open(file, "rb") as source,
        ):
            data = bytearray()
            while piece := source.read(_CHUNK):
                data += piece
                show("reading bytes", len(data), None)
        snapshot = json.loads(data)
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else f"it is not JSON: {error}"
        raise Refused(f"cannot load {name}: {what}. Give what 'vsbatch database dump' wrote") from None
    with Engine.open(url, clock=VirtualClock(0.0), snapshot=snapshot):
        say(sys.stdout, f"{place}: {_counted(snapshot)}")


def _migrate(url: str, place: str, _file: str | None) -> None:
    before, now = migrate(url)
    done = "nothing is to be done" if before == now else f"it was brought there from format {before}"
    say(sys.stdout, f"{place}: its format is {now}, that of this version: {done}")


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    """Open an engine on a clock that stands at 0, at which nothing is due: looking changes nothing."""
    with Engine.open(url, clock=VirtualClock(0.0)) as engine:
        yield engine


def _counted(snapshot: dict[str, Any]) -> str:
    stores = [store for store in snapshot["vector_stores"] if "deleted" not in store]
    batches = sum(len(store["file_batches"]) for store in stores)
    files = sum(len(store["file_ids"]) for store in stores)
    return ", ".join(
        (
            plural(len(stores), "vector store"),
            plural(batches, "file batch", "file batches"),
            plural(files, "file"),
        )
    )


ACTIONS: dict[str, Callable[[str, str, str | None], None]] = {
    "check": _check,
    "compact": _compact,
    "dump": _dump,
    "load": _load,
    "migrate": _migrate,
}
"""By name, what is called with the URL, the database as messages name it, and FILE."""
