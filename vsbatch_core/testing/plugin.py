"""The pytest plugin: the fixture ``vsbatch``.  It is loaded in every run, so it imports nothing until it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vsbatch_core.testing.bench import Bench


@pytest.fixture
def vsbatch() -> Iterator[Bench]:
    """An engine of the test's own, on a virtual clock, with files that take a second each and then complete.

    ``vsbatch.client`` and ``vsbatch.async_client`` are official clients of it, ``vsbatch.engine`` is the engine,
    ``vsbatch.simulation`` processes the files, ``vsbatch.uploads`` holds what was uploaded.  Polling moves the
    clock, so that ``create_and_poll`` ends at once.
    """
    from vsbatch_core.testing.bench import Bench  # noqa: PLC0415 - costs nothing where it is not used

    with Bench() as bench:
        yield bench
