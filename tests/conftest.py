from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from .helpers.postgres import Cluster

pytest_plugins = ["pytester"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # ``nohup … &`` in a script ignores SIGINT, and child processes inherit that; they must be interruptible here.
    signal.signal(signal.SIGINT, signal.default_int_handler)

CAUGHT = "caught by"
"""The property that a test of a planted bug records."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose how long the tests search, before any of them is imported.

    ``default`` and ``ci`` are the profiles that Hypothesis itself loads, by ``CI`` in the environment, and that
    ``--hypothesis-profile`` names.  Both are given what this suite needs, so that none of them takes it away.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("VSBATCH_EFFORT", "brief")  # workers and child processes read it too
    from .helpers.brief import DEFAULT_TRACED, TRACED, examples

    for name in ("default", "ci"):
        profile = settings.get_profile(name)
        settings.register_profile(
            name,
            profile,
            max_examples=DEFAULT_TRACED if TRACED else examples(profile.max_examples),
            deadline=None,  # on a loaded machine any example may take any time, of which no law speaks
            suppress_health_check=(*profile.suppress_health_check, HealthCheck.too_slow),  # as the deadline
        )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Give Matplotlib a cache of fonts that is this checkout's, and fill it before workers start.

    The user's own may be of an environment that is gone, or be made only now: either is told on standard error,
    which tests of commands that draw compare.
    """
    config = session.config
    cache = getattr(config, "cache", None)
    if cache is None or hasattr(config, "workerinput") or config.option.markexpr == "not slow":
        return
    os.environ.setdefault("MPLCONFIGDIR", str(cache.mkdir("matplotlib")))
    # Where Matplotlib is not installed, the tests that need it say so.
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], capture_output=True, check=False)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for all tests of this worker; where there is none they are skipped."""
    from .helpers.postgres import cluster_or_skip

    with cluster_or_skip() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """The URL of a new database."""
    with cluster.lent() as url:
        yield url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI, print which planted bug was caught by what."""
    if "CI" not in os.environ:
        return
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == CAUGHT:
                terminalreporter.write_line(value)
