"""Whether the longest tests are cut short: under coverage, and where ``VSBATCH_BRIEF`` is set.

They try the engine's logic at length, which is the same under any Python, and covered by fewer commands.  CI does
all of it once, on the newest Python, by the README's command; who runs that command alone has it in full too.
"""

from __future__ import annotations

import os
import sys

coverage = sys.modules.get("coverage")
TRACED = coverage is not None and coverage.Coverage.current() is not None
BRIEF = TRACED or "VSBATCH_BRIEF" in os.environ
