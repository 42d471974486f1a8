from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from .helpers.brief import TRACED

if TRACED:
    # Lines are covered by fewer examples than laws are tried with.
    settings.register_profile("traced", max_examples=30)
    settings.load_profile("traced")

pytest_plugins = ["pytester"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # ``nohup … &`` in a script ignores SIGINT, and child processes inherit that; they must be interruptible here.
    signal.signal(signal.SIGINT, signal.default_int_handler)

CAUGHT = "caught by"
"""The property that a test of a planted bug records."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI, print which planted bug was caught by what."""
    if "CI" not in os.environ:
        return
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == CAUGHT:
                terminalreporter.write_line(value)
