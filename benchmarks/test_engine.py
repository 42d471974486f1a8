"""The engine's own costs under pytest-benchmark, to compare two states of the code: see ``CONTRIBUTING.md``.

``python -m pytest benchmarks -n 0 --benchmark-autosave`` keeps a run, and ``--benchmark-compare`` sets the next
beside it.  The comparison with peers is ``python -m benchmarks``.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contenders.ours import Ours
from benchmarks.fixtures import BATCH, USAGE, Filled, file_ids
from benchmarks.model import Query


@pytest.fixture(scope="module")
def filled() -> Filled:
    """Return a store of 10,000 files."""
    return Filled(Ours, 10_000)


@pytest.mark.parametrize("filter", [None, "completed"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_of_20_from_the_middle(benchmark: Any, filled: Filled, order: str, filter: str | None) -> None:
    """Measure a page of a store's files, by cursor."""
    query = Query(20, order, after=file_ids(filled.n)[filled.n // 2], filter=filter)
    page = benchmark(filled.contender.querying(query))
    assert len(page.data) == 20


def test_one_completion(benchmark: Any, filled: Filled) -> None:
    """Measure the completion of one file, scattered over the store."""
    complete = filled.contender.complete
    benchmark.pedantic(complete, setup=lambda: ((*filled.unfinished(1), USAGE), {}), rounds=1_000)


def test_a_batch_of_2000(benchmark: Any) -> None:
    """Measure the creation of a batch, each time in a store of its own."""
    stores, ids = Ours().stores, file_ids(BATCH)

    def create() -> None:
        stores.file_batches.create(stores.create().id, file_ids=ids)

    benchmark.pedantic(create, rounds=20)
