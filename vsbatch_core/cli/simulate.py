"""``vsbatch simulate``: a scenario on a virtual clock, and what came of it: a report, a table, a picture."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import TextIO

from vsbatch_core import events, wire
from vsbatch_core.adapters.faults import SOURCES
from vsbatch_core.cli.outputs import opened, require_picture, require_suffix, require_writable, unwritable
from vsbatch_core.cli.play import Played, play
from vsbatch_core.cli.progress import progress
from vsbatch_core.cli.report import COUNTS
from vsbatch_core.cli.scenario import load
from vsbatch_core.model import policies
from vsbatch_core.scenarios.circumstances import shipped, unknown
from vsbatch_core.scenarios.text import Refused, legible, plural, say, table
from vsbatch_core.simulation import Spread

BATCHES = 12
"""Of more batches than these, the first and the last are printed."""

DESCRIPTION = """\
Run a scenario: batches that are created, processed, cancelled and polled, with
what goes wrong meanwhile, on a virtual clock. The same scenario gives the same
output, byte for byte, in every run; how many files a second were simulated is
printed on stderr. Nothing is sent anywhere."""

POLICIES = textwrap.fill(", ".join(policies()), width=56).replace("\n", "\n" + " " * 22)

EPILOG = f"""\
Examples:

  vsbatch simulate cancel-race
  vsbatch simulate --show cancel-race > mine.toml
  vsbatch simulate mine.toml --plot mine.png

A scenario is a TOML file. --list prints the names of the shipped ones, --show
prints one to begin with.

  title, seed, until  what it is about; where chance comes from; when to stop
                      (default: when all is done)
  [[stores]]          name
  [[batches]]         files = 2000, or ids = ["file-a"], or directory = "docs";
                      name, store, at, every, batch_size, bytes, suffixes,
                      hidden
  [plan]              workers, service, failures, by_suffix, by_id, script,
                      order, retries, cancel, polls, by_hand; or
                      like = "ingest": by suffix and size, as 'vsbatch ingest'
  [profile]           {POLICIES}
  [faults]            rate_limit, first_list, …: true, a probability, or a list
                      of request numbers and ids
  [[acts]]            at or every (and times), do = attach, cancel, delete_file,
                      delete_store, list or retrieve; store, batch, file
  [client]            poll, timeout, on_timeout, retries

Exit status: 0 if it was run, however its files ended; 2 if there is a mistake
in it."""


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand to its parser."""
    made.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a TOML file, or the name of a shipped one")
    made.add_argument("--list", action="store_true", help="print the shipped scenarios")
    made.add_argument("--show", action="store_true", help="print the scenario instead of running it")
    made.add_argument("--timeline", metavar="FILE", help="write the counts over time, as .csv or .json")
    made.add_argument("--plot", metavar="FILE", help="write them as a picture, .png, .pdf or .svg (extra 'plot')")
    made.add_argument("--events", metavar="FILE", help="write every event of the engine, as a line of JSON")


def command(arguments: argparse.Namespace) -> None:
    """Run the scenario and print the report.  Raise ``Refused`` if there is a mistake in it or the arguments."""
    if arguments.list:
        names = shipped()
        titles = [(name, tomllib.loads(text)["title"]) for name, text in names.items()]
        say(sys.stdout, *(line.rstrip() for line in table(("scenario", "title"), titles, left=2)))
        return
    if arguments.scenario is None:
        raise Refused("give a scenario, as the path of a TOML file or one of the names that --list prints")
    if arguments.show:
        _show(arguments.scenario)
        return
    if arguments.timeline is not None:
        require_suffix("--timeline", arguments.timeline, (".csv", ".json"))
        require_writable(arguments.timeline)
    if arguments.plot is not None:
        require_picture(arguments.plot)
    with ExitStack() as stack:
        hear = None
        if arguments.events is not None:
            hear = _writer(stack.enter_context(opened(arguments.events)))
        with progress(sys.stderr) as show:
            scenario = load(arguments.scenario, show)
            record = arguments.timeline is not None or arguments.plot is not None
            start = perf_counter()
            played = play(scenario, show, record=record, hear=hear)
            seconds = perf_counter() - start
    timeline = played.simulation.timeline if record else None
    if timeline is not None and arguments.timeline is not None:
        with opened(arguments.timeline) as stream:
            stream.write(timeline.to_csv() if arguments.timeline.endswith(".csv") else timeline.to_json() + "\n")
    if timeline is not None and arguments.plot is not None:
        try:
            timeline.plot(arguments.plot, workers=scenario.plan.workers, title=scenario.title)
        except OSError as error:
            raise unwritable(arguments.plot, error) from None
    say(sys.stdout, *lines(played))
    # Apart from the report, which is the same in every run.
    say(sys.stderr, speed(played.simulation.report.ended, seconds))


def speed(files: int, seconds: float) -> str:
    """Return how fast so many files were simulated, in ``seconds`` of real time, for people."""
    return f"simulated {plural(files, 'file')} in {seconds:,.3f} s: {files / seconds:,.0f} a second"


def _show(name: str) -> None:
    known = shipped()
    if name not in known:
        raise unknown(name, "not a shipped scenario, which --show prints")
    sys.stdout.write(known[name])


def _writer(stream: TextIO) -> Callable[[events.Event], None]:
    written = json.JSONEncoder(separators=(",", ":")).encode

    def write(event: events.Event) -> None:
        stream.write(written(wire.to_wire(event)) + "\n")

    return write


# The report


def lines(played: Played) -> Iterator[str]:
    """What came of it, for people."""
    scenario, report = played.scenario, played.simulation.report
    workers = scenario.plan.workers
    yield legible(scenario.title)
    yield (
        f"seed {scenario.seed}, {plural(len(played.stores), 'store')}, "
        f"{plural(len(played.runs), 'batch', 'batches')}, "
        f"{'any number of workers' if workers is None else plural(workers, 'worker')}, "
        f"{played.seconds:,.1f} simulated seconds"
    )
    yield from ("", *_batches(played))
    if played.alone:
        yield f"and {plural(played.alone, 'file')} attached alone, in none of these batches"
    yield ""
    use = "" if report.utilisation is None else f", workers busy {report.utilisation:.1%} of it"
    retried = f", {report.retried:,} tried again" if report.retried else ""
    yield (
        f"{plural(report.ended, 'file')} ended{retried}; makespan {report.makespan:,.1f} s, "
        f"{report.throughput:,.2f} files a second{use}"
    )
    spreads = [("wait", report.wait), ("service", report.service)]
    yield from (
        line.rstrip()
        for line in table(
            ("seconds", "n", "mean", "p50", "p90", "p99", "most"), [_spread(*pair) for pair in spreads], left=1
        )
    )
    yield ""
    yield f"{plural(played.requests, 'request')} sent, {played.retried:,} of them again"
    if report.polls:
        polls = sorted(report.polls.values())
        yield f"polls a batch or file needed: {polls[0]:,} to {polls[-1]:,}, {sum(polls):,} together"
    if played.given_up:
        names = ", ".join(map(legible, played.given_up[:BATCHES]))
        yield f"given up by the client: {names}{_more(len(played.given_up) - BATCHES)}"
    for (what, status), times in sorted(played.refused.items(), key=str):
        yield f"  {what}: {'no answer' if status is None else status}, {plural(times, 'time')}"
    if played.faults:
        yield from ("", "faults met")
        rows = [(name, f"{times:,}", SOURCES[name][0]) for name, times in sorted(played.faults.items())]
        width = max(len(row[1]) for row in rows)
        for name, shown, what in rows:
            yield f"  {name:16}  {shown:>{width}}  {what}"


def _more(n: int) -> str:
    return f" and {n:,} more" if n > 0 else ""


def _spread(name: str, spread: Spread) -> tuple[str, ...]:
    figures = (spread.mean, spread.p50, spread.p90, spread.p99, spread.most)
    return (name, f"{spread.count:,}", *(f"{figure:,.2f}" for figure in figures))


def _batches(played: Played) -> Iterator[str]:
    rows = [
        (
            legible(played.names.get(run.batch.id, "")),
            run.batch.id,
            run.batch.status,
            *(f"{getattr(run.batch.file_counts, name):,}" for name in COUNTS),
            f"{run.seconds:,.1f} s",
        )
        for run in played.runs
    ]
    left_out = len(rows) - BATCHES
    if left_out > 1:
        rows = [*rows[: BATCHES // 2], *rows[-BATCHES // 2 :]]
    printed = [line.rstrip() for line in table(("name", "batch", "status", *COUNTS, "took"), rows, left=3)]
    if left_out > 1:
        printed.insert(1 + BATCHES // 2, f"… {left_out:,} more")
    yield from printed
