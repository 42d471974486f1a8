"""Whether the tests run under coverage.  The same tests run without it, in full, from the README's command."""

from __future__ import annotations

import sys

coverage = sys.modules.get("coverage")
TRACED = coverage is not None and coverage.Coverage.current() is not None
