"""What a bench came to, for people: latencies by operation, errors, and whether the counts hold."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from vsbatch_core.load.counts import LAWS
from vsbatch_core.load.report import made
from vsbatch_core.load.samples import Samples, nearest_rank
from vsbatch_core.load.session import Session
from vsbatch_core.scenarios.text import legible, plural, table

SHOWN = 20
"""Of more lines than these of a kind, the rest is counted."""


def loop_of(arguments: argparse.Namespace) -> str:
    """The kind of loop, in words."""
    if arguments.rate is None:
        return f"closed loop, {plural(arguments.concurrency, 'worker')}"
    return f"open loop, {arguments.rate:,g} requests a second due"


def lines(session: Session, arguments: argparse.Namespace) -> Iterator[str]:
    """What came of it, for people."""
    samples = session.runner.samples
    yield f"{legible(arguments.base_url)}, seed {arguments.seed}, {loop_of(arguments)}"
    rates = _rates(samples, open_loop=arguments.rate is not None)
    yield f"{plural(len(samples), 'request')} in {samples.elapsed:,.1f} s; {rates}"
    yield ""
    yield from _operations(samples)
    yield from _errors(samples)
    yield ""
    if not session.audited:
        yield "interrupted: whether the counts hold was not looked at to the end"
    yield from _counts(session)
    if session.audit.late:
        yield f"to know it, give more seconds than --settle {arguments.settle:g}"


def _rates(samples: Samples, *, open_loop: bool) -> str:
    answered = f"{samples.figures().a_second:,.1f} a second answered as asked"
    due = max(samples.due, default=samples.started) - samples.started
    return f"{len(samples) / due:,.1f} a second due, {answered}" if open_loop and due else answered


def _operations(samples: Samples) -> Iterator[str]:
    rows = []
    for name in (*samples.used(), None):
        figures = samples.figures(name)
        latencies = (figures.p50, figures.p95, figures.p99, figures.most)
        rows.append(
            (
                name or "all",
                f"{figures.count:,}",
                f"{figures.errors:,}",
                f"{figures.a_second:,.1f}",
                *(f"{seconds * 1000:,.2f}" if seconds else "-" for seconds in latencies),
            )
        )
    headings = ("operation", "requests", "errors", "a second", "p50 ms", "p95 ms", "p99 ms", "max ms")
    yield from table(headings, rows, left=1)


def _errors(samples: Samples) -> Iterator[str]:
    tally = samples.tally()
    if tally:
        yield ""
    for kind in dict.fromkeys(kind for kind, _, _ in tally):
        counts = {operation: n for found, operation, n in tally if found == kind}
        yield f"  {plural(sum(counts.values()), 'time')} {kind}; first: {legible(samples.messages[kind])}"
        yield f"    {', '.join(f'{operation} {n:,}' for operation, n in counts.items())}"
    if samples.ended:
        yield f"{plural(samples.ended, 'cancel')} refused because the batch had ended, which is no error"
    lags = samples.lags()
    if lags and lags[-1] > 0:
        p99, most = nearest_rank(lags, 99) * 1000, lags[-1] * 1000
        yield f"sent later than due, by this process: p99 {p99:,.2f} ms, max {most:,.2f} ms"


def _counts(session: Session) -> Iterator[str]:
    verdicts, number = session.known.verdicts, made(session)
    yield (
        f"{plural(number['stores'], 'store')}, {plural(number['batches'], 'batch', 'batches')}, "
        f"{plural(number['files'], 'file')}"
    )
    rows = [(f"  {law}", _verdict(verdicts.broken[law]), LAWS[law], n) for law, n in verdicts.tried.items() if n]
    heading = ("  law", "", "", "tried")
    yield from table(heading, ((*cells, f"{n:,}") for *cells, n in rows), left=3)
    found = [
        f"{legible(v.id)}: {v.law}: expected {v.expected}; answered {legible(v.answered)}"
        for v in verdicts.violations
    ]
    yield from few(found)
    yield from few([f"not known: {legible(line)}" for line in verdicts.unknown])
    yield from few([f"not answered: {legible(line)}" for line in session.audit.errors])


def _verdict(broken: int) -> str:
    return f"BROKEN: {broken:,}" if broken else "ok"


def few(found: list[str]) -> Iterator[str]:
    """The first of the lines, legible, and how many more there are."""
    yield from map(legible, found[:SHOWN])
    if len(found) > SHOWN:
        yield f"… {len(found) - SHOWN:,} more"
