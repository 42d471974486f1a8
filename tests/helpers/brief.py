"""How long the tests search: the one place that says so.

``EFFORT`` is one of three words, which the environment variable ``VSBATCH_EFFORT`` sets:

``brief``
    A third of the examples, the shortest exhaustive search, and no planted bugs.  It is the default of
    ``pytest -m "not slow"``, and under coverage: lines are covered by fewer examples than laws are tried with.
``usual``
    What the README's test command does.
``long``
    The exhaustive search goes one command deeper: for a change of the core, by hand.

A test that sets a number of examples of its own passes it through ``examples``.
"""

from __future__ import annotations

import os
import sys

import pytest

EFFORTS = ("brief", "usual", "long")

coverage = sys.modules.get("coverage")
TRACED = coverage is not None and coverage.Coverage.current() is not None

EFFORT = os.environ.get("VSBATCH_EFFORT", "brief" if TRACED else "usual")
if EFFORT not in EFFORTS:
    raise ValueError(f"VSBATCH_EFFORT: expected one of {', '.join(EFFORTS)}, but got {EFFORT!r}")

searching = pytest.mark.skipif(TRACED, reason="every line that it runs is run by other tests too")
"""A mark of tests that take long and search: where coverage is measured they add nothing."""

BRIEF = EFFORT == "brief"
"""Whether planted bugs are left out, and long searches cut short."""


DEFAULT_TRACED = 15
"""How many examples a law tries under coverage that names no number of its own: each takes longer there."""


def examples(usual: int) -> int:
    """Return how many examples to try where the usual effort tries this many."""
    return max(1, usual // 3) if BRIEF else usual
