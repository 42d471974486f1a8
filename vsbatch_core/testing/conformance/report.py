"""What became of the laws, for machines: a JSON document, and JUnit's XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import openai

from vsbatch_core.testing.conformance.runner import OUTCOMES, Verdict


def failures(verdicts: Sequence[Verdict], *, strict: bool) -> list[Verdict]:
    """The laws that are broken and count."""
    return [verdict for verdict in verdicts if verdict.counts(strict=strict)]


def counted(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many laws had each outcome."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def document(base_url: str, verdicts: Sequence[Verdict], *, strict: bool, seed: int) -> dict[str, Any]:
    """All of it as JSON-able data; ``conforms`` is whether no law is broken that counts."""
    return {
        "base_url": base_url,
        "openai": openai.__version__,
        "seed": seed,
        "strict": strict,
        "conforms": not failures(verdicts, strict=strict),
        "counts": counted(verdicts),
        "laws": [
            {
                "id": verdict.law.id,
                "sentence": verdict.law.sentence,
                "mark": verdict.law.mark,
                "source": verdict.law.source,
                "outcome": verdict.outcome,
                "fails": verdict.counts(strict=strict),
                "detail": verdict.detail,
                "program": verdict.program,
                "tried": verdict.tried,
                "seconds": round(verdict.seconds, 3),
            }
            for verdict in verdicts
        ],
    }


def junit(verdicts: Sequence[Verdict], *, strict: bool) -> bytes:
    """JUnit's XML: a broken law that counts is a failure; what was not reached, or does not count, is skipped."""
    failed = failures(verdicts, strict=strict)
    skipped = [verdict for verdict in verdicts if verdict.outcome != "ok" and verdict not in failed]
    suite = ET.Element(
        "testsuite",
        name="vsbatch check",
        tests=str(len(verdicts)),
        failures=str(len(failed)),
        errors="0",
        skipped=str(len(skipped)),
        time=f"{sum(verdict.seconds for verdict in verdicts):.3f}",
    )
    for verdict in verdicts:
        law = verdict.law
        case = ET.SubElement(suite, "testcase", name=law.id, classname=law.mark, time=f"{verdict.seconds:.3f}")
        if verdict.outcome == "ok":
            continue
        failing = verdict in failed
        found = ET.SubElement(case, "failure" if failing else "skipped")
        found.set("message", _legal(f"{'' if failing else verdict.outcome + ': '}{verdict.detail}"))
        found.text = _legal(f"{law.sentence}\n\n{verdict.program or ''}")
    ET.indent(suite)
    text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text


def _legal(text: str) -> str:
    """The text with what XML cannot hold written as escapes."""
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in text)
