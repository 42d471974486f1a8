from __future__ import annotations

import os

import pytest

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
