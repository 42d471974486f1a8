"""What ``vsbatch ingest`` prints: a table and lists for people, or the same as JSON."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import vsbatch_core
from vsbatch_core.cli.job import Job
from vsbatch_core.scenarios.files import HIDDEN_DIRECTORY, LINKED_DIRECTORY, SPECIAL_FILE, Skipped
from vsbatch_core.scenarios.text import legible, plural, say, table, well_formed

to_wire = vsbatch_core.wire.to_wire
PLURALS = {
    "unreadable": "unreadable",
    HIDDEN_DIRECTORY: "hidden directories",
    LINKED_DIRECTORY: "symbolic links to directories",
    SPECIAL_FILE: "special files",
}
COUNTS = ("in_progress", "completed", "failed", "cancelled", "total")


def print_text(job: Job, stream: TextIO, *, failures: int | None) -> None:
    """The store, a line for each batch, then at most ``failures`` failed files of each error (``None``: all)."""
    store = job.store
    seconds = max(run.seconds for run in job.runs)
    say(
        stream,
        f"{legible(store.name or '')}: vector store {store.id}, {store.status}, "
        f"{plural(store.file_counts.total, 'file')}, {plural(store.usage_bytes, 'byte')} in use",
        f"{seconds:,.1f} simulated seconds on {plural(job.workers, 'worker')}",
        "",
        *table(
            ("batch", "status", *COUNTS, "simulated"),
            [
                (
                    run.batch.id,
                    run.batch.status,
                    *(f"{getattr(run.batch.file_counts, name):,}" for name in COUNTS),
                    f"{run.seconds:,.1f} s",
                )
                for run in job.runs
            ],
            left=2,
        ),
    )
    say(stream, *_failed(job, failures), *_skipped(job.skipped, failures))


def _failed(job: Job, most: int | None) -> Iterator[str]:
    errors: Counter[str] = Counter()
    lines: dict[str, list[str]] = defaultdict(list)
    for run in job.runs:
        for file in job.failed(run):
            error = "" if file.last_error is None else f"{file.last_error.code}: {file.last_error.message}"
            errors[error] += 1
            if most is None or errors[error] <= most:
                path = legible(str(file.attributes["path"]))
                lines[error].append(f"  {run.batch.id}  {file.id}  {path}")
    for error, n in errors.most_common():
        yield from ("", f"{plural(n, 'file')} failed, {error}", *lines[error])
        yield from _more(n - len(lines[error]))


def _more(n: int) -> Iterator[str]:
    if n:
        yield f"  ... and {n:,} more, which --failures all prints"


def _skipped(skipped: list[Skipped], most: int | None) -> Iterator[str]:
    if skipped:
        yield from ("", f"Not ingested{left_out(skipped)}")
    unreadable = [item for item in skipped if item.unreadable]
    for item in unreadable[:most]:
        yield f"  {legible(item.path)}: {item.reason}"
    yield from _more(len(unreadable[most:]) if most is not None else 0)


def left_out(skipped: Iterable[Skipped]) -> str:
    """A clause that says what was not ingested and why, or nothing."""
    reasons = Counter("unreadable" if item.unreadable else item.reason for item in skipped)
    clauses = [f"{n:,} {reason if n == 1 else PLURALS[reason]}" for reason, n in sorted(reasons.items())]
    hint = " (--hidden goes into hidden directories)" if HIDDEN_DIRECTORY in reasons else ""
    return f": {', '.join(clauses)}{hint}" if clauses else ""


def document(job: Job) -> dict[str, Any]:
    """All of it as JSON-able data; the values are the API's objects, as ``wire.to_wire`` writes them."""
    return {
        "path": well_formed(job.path),
        "workers": job.workers,
        "vector_store": to_wire(job.store),
        "file_batches": [
            {
                "file_batch": to_wire(run.batch),
                "simulated_seconds": round(run.seconds, 6),
                "failed_files": [to_wire(file) for file in job.failed(run)],
            }
            for run in job.runs
        ],
        "skipped": [{"path": well_formed(item.path), "reason": item.reason} for item in job.skipped],
    }


def print_json(job: Job, stream: TextIO) -> None:
    """One JSON document, in ASCII, whatever the stream's encoding."""
    stream.writelines(json.JSONEncoder(indent=2).iterencode(document(job)))
    stream.write("\n")
