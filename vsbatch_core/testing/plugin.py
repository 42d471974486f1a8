"""The pytest plugin: the fixture ``vsbatch``.  Loaded in every run, it imports nothing until it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vsbatch_core.testing.bench import Bench


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "vsbatch(plan=…, seed=…, profile=…, require_uploaded_files=…): how the fixture vsbatch is set up.",
    )


@pytest.fixture
def vsbatch(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """An engine of the test's own, on a virtual clock, with official clients of it.

    vsbatch.client and vsbatch.async_client are the clients, vsbatch.engine is the engine, vsbatch.simulation
    processes the files, vsbatch.uploads holds what was uploaded.  Polling moves the clock, so that
    create_and_poll ends at once.  Files take one of 8 workers a second each and complete, unless the marker says
    otherwise: @pytest.mark.vsbatch(plan=Plan(failures="invalid_file")), Plan being of vsbatch_core.simulation.
    """
    from vsbatch_core.testing.bench import Bench  # noqa: PLC0415 - costs nothing where it is not used

    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("vsbatch"):  # the closest first
        if mark.args:
            raise TypeError(f"pytest.mark.vsbatch takes keywords alone, not {mark.args[0]!r}: write plan=…")
        options = {**mark.kwargs, **options}
    with Bench(**options) as bench:
        yield bench
