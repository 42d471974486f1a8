"""Write the generated parts of the documents: ``python docs/make.py``; ``--check`` only says what would change.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.  Those of ``MEASURED`` differ
from run to run: ``python -m benchmarks --docs`` alone writes them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from vsbatch_core import transitions
from vsbatch_core.adapters.faults import SOURCES
from vsbatch_core.adapters.http import ENDPOINTS
from vsbatch_core.testing.conformance import LAWS

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(?<=<!-- generated: )(?P<name>[\w-]+)( -->\n)(?P<text>.*?)(?=<!-- end -->)", re.DOTALL)


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def state_machines() -> str:
    """The tables of ``transitions``."""
    parts = (f"**{title}**\n\n{table(headings, rows)}" for title, headings, rows in transitions.tables())
    return "\n" + "\n".join(parts) + "\n"


def laws() -> str:
    """Every law of ``vsbatch check``."""
    rows = [[f"`{law.id}`", law.mark, law.sentence, law.source] for law in LAWS]
    return "\n" + table(["law", "mark", "what holds", "source"], rows) + "\n"


def faults() -> str:
    """What clients can meet in a simulation."""
    rows = [[f"`{name}`", what, source] for name, (what, source) in SOURCES.items()]
    return "\n" + table(["fault", "what clients meet", "source"], rows) + "\n"


IDS = {"vector_stores": "vector_store_id", "files": "file_id", "file_batches": "batch_id"}


def routes() -> str:
    """What is served over HTTP."""
    rows = []
    for (length, names), methods in ENDPOINTS.items():
        segments = [part for name in names for part in (name, f"{{{IDS.get(name)}}}")][:length]
        rows.append([f"`/v1/{'/'.join(segments)}`", " ".join(f"`{method}`" for method in methods)])
    return "\n" + table(["path", "methods"], rows) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "faults": faults,
    "laws": laws,
    "routes": routes,
    "state-machines": state_machines,
}
MEASURED = {"figures"}


def made(text: str) -> str:
    """The document with every generated part as it should be."""

    def part(match: re.Match[str]) -> str:
        if match["name"] in MEASURED:
            return match[0]
        return match["name"] + " -->\n" + PARTS[match["name"]]()

    return PART.sub(part, text)


def main(check: bool) -> int:
    """Write the documents, or with ``check`` name those that differ; the exit status."""
    status = 0
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        old = path.read_text(encoding="utf-8")
        new = made(old)
        if new != old:
            print(f"{path.relative_to(ROOT)} {'differs: run python docs/make.py' if check else 'written'}")
            status = int(check)
            if not check:
                path.write_text(new, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
