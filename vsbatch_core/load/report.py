"""What a run came to, for machines: one JSON document."""

from __future__ import annotations

from typing import Any

import attrs

from vsbatch_core.load.counts import LAWS
from vsbatch_core.load.samples import Figures, nearest_rank
from vsbatch_core.load.session import Session


def failed(session: Session) -> bool:
    """Whether a request was answered with an error, in the load or after it, or a law is broken."""
    return bool(session.runner.samples.tally() or session.audit.errors or session.known.verdicts.violations)


def document(session: Session, settings: dict[str, Any]) -> dict[str, Any]:
    """All of it as JSON-able data; latencies in milliseconds, ``settings`` as they are."""
    samples, verdicts = session.runner.samples, session.known.verdicts
    lags = samples.lags()
    return {
        **settings,
        "interrupted": not session.audited,
        "holds": not failed(session) and session.audited,
        "seconds": round(samples.elapsed, 3),
        "all": _figures(samples.figures()),
        "operations": {name: _figures(samples.figures(name)) for name in samples.used()},
        "errors": [
            {"kind": kind, "operation": operation, "count": n, "first": samples.messages[kind]}
            for kind, operation, n in samples.tally()
        ],
        "cancels_refused_because_ended": samples.ended,
        "sent_late_ms": {"p99": _ms(nearest_rank(lags, 99)), "max": _ms(nearest_rank(lags, 100))},
        "made": made(session),
        "laws": [
            {"id": law, "sentence": LAWS[law], "tried": n, "broken": verdicts.broken[law]}
            for law, n in verdicts.tried.items()
        ],
        "violations": [attrs.asdict(violation) for violation in verdicts.violations],
        "unknown": verdicts.unknown,
        "not_answered": session.audit.errors,
        "not_deleted": session.left,
    }


def made(session: Session) -> dict[str, int]:
    """How many stores and batches were made, and how many files attached in batches."""
    stores = session.known.stores
    return {
        "stores": len(stores),
        "batches": len(session.known.batches),
        "files": sum(store.batched for store in stores),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "count": figures.count,
        "errors": figures.errors,
        "a_second": round(figures.a_second, 3),
        "p50_ms": _latency(figures.p50),
        "p95_ms": _latency(figures.p95),
        "p99_ms": _latency(figures.p99),
        "max_ms": _latency(figures.most),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _latency(seconds: float) -> float | None:
    """A latency; ``None`` where no request has one."""
    return _ms(seconds) if seconds else None
