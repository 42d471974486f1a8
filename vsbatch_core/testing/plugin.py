"""The pytest plugin: the fixture ``vsbatch``.  Loaded in every run, it imports nothing until it is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vsbatch_core.testing.bench import Bench

SHOWN = 5
"""So many of the files that a test left in progress are named."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that fails a test which leaves files in progress."""
    said = "fail a test that leaves files of the fixture vsbatch in progress"
    parser.getgroup("vsbatch").addoption("--vsbatch-must-end", action="store_true", help=said)
    parser.addini("vsbatch_must_end", said, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "vsbatch(plan=…, faults=…, scenario=…, seed=…, profile=…, require_uploaded_files=…, must_end=…): how the "
        "fixture vsbatch is set up.",
    )


_LEFT = pytest.StashKey["tuple[Bench, bool]"]()
"""Of a test, its bench and whether it must leave no file in progress."""


@pytest.fixture
def vsbatch(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """An engine of the test's own, on a virtual clock, with official clients of it.

    vsbatch.client and vsbatch.async_client are the clients, vsbatch.engine is the engine, vsbatch.simulation
    processes the files, vsbatch.uploads holds what was uploaded, vsbatch.requests what was asked and answered.
    Polling moves the clock, so that create_and_poll ends at once; vsbatch.freeze, run, advance and step move it
    by hand.  Files take one of 8 workers a second each and complete, unless the marker says otherwise:
    @pytest.mark.vsbatch(plan=Plan(failures="invalid_file"), faults=Faults(dropped=[2])), both being of
    vsbatch_core.simulation; or scenario="quirks-2025-11", a shipped one or a file beside the test's.  With
    must_end=True, or the option --vsbatch-must-end, a test fails that leaves files in progress.  Its type is
    vsbatch_core.testing.Bench.
    """
    from vsbatch_core.testing.bench import Bench  # noqa: PLC0415 - costs nothing where it is not used

    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("vsbatch"):  # the closest first
        if mark.args:
            raise TypeError(f"pytest.mark.vsbatch takes keywords alone, not {mark.args[0]!r}: write plan=…")
        options = {**mark.kwargs, **options}
    config = request.config
    must_end = options.pop("must_end", config.getoption("vsbatch_must_end") or config.getini("vsbatch_must_end"))
    if "scenario" in options:
        beside = request.path.parent / options["scenario"]
        options["scenario"] = beside if beside.is_file() else options["scenario"]
    with Bench(**options) as bench:
        request.node.stash[_LEFT] = (bench, must_end)
        yield bench


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that has passed, but left files in progress that must end."""
    yield
    bench, must_end = item.stash.get(_LEFT, (None, False))
    if bench is not None and must_end:
        left = bench.in_progress
        if left:
            names = ", ".join(f"{file.id} in {file.vector_store_id}" for file in left[:SHOWN])
            more = f" and {len(left) - SHOWN:,} more" if len(left) > SHOWN else ""
            pytest.fail(
                f"The test left {len(left):,} file(s) in progress: {names}{more}. Wait for them, cancel their "
                "batch, or mark the test with vsbatch(must_end=False).",
                pytrace=False,
            )
