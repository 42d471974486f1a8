"""CPU time of a start, beside that of what it cannot do without: ``python -m benchmarks.start_up``.

Each row is run in fresh interpreters, in turns with what it is compared with; the ratio is of medians of CPU
time, which hold on a busy machine.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from statistics import median

ROUNDS = 21
ATTRS, ARGPARSE = "import attrs", "import argparse, attrs"
HELP = "from vsbatch_core.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
ROWS = (
    ("import vsbatch_core", "import vsbatch_core", ATTRS),
    ("from vsbatch_core import Engine", "from vsbatch_core import Engine", ATTRS),
    ("vsbatch --help", HELP, ARGPARSE),
)


def cpu_seconds(code: str) -> float:
    """Return the CPU time of a fresh interpreter that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each start."""
    for title, code, beside in ROWS:
        times = [(cpu_seconds(code), cpu_seconds(beside)) for _ in range(ROUNDS)]
        ours, theirs = (median(column) for column in zip(*times, strict=True))
        print(f"{title:32} {ours * 1e3:6.1f} ms CPU, {ours / theirs:.2f} times '{beside}'")


if __name__ == "__main__":
    main()
