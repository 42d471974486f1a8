from __future__ import annotations

import os

import pytest
from hypothesis import settings

from .brief import TRACED

if TRACED:
    # Lines are covered by fewer examples than laws are tried with.
    settings.register_profile("traced", max_examples=30)
    settings.load_profile("traced")

pytest_plugins = ["pytester"]

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
