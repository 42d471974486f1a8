"""The engine's own costs under pytest-benchmark, to compare two states of the code: see ``CONTRIBUTING.md``.

``python -m pytest benchmarks -n 0 --benchmark-autosave`` keeps a run, and ``--benchmark-compare`` sets the next
beside it.  The comparison with peers is ``python -m benchmarks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from benchmarks.worlds import BATCH, World, file_ids


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A store of 10,000 files."""
    with closing(World(10_000)) as world:
        yield world


@pytest.mark.parametrize("filter", [None, "completed"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_of_20_from_the_middle(benchmark: Any, world: World, order: str, filter: str | None) -> None:
    """Of a store's files, by cursor."""
    page = benchmark(world.page, order, world.after("middle", order, filter), filter)
    assert len(page.data) == 20


def test_one_completion(benchmark: Any, world: World) -> None:
    """Scattered over the store."""
    todo = world.completions()["ours"]
    benchmark.pedantic(lambda task: task(), setup=lambda: ((next(todo),), {}), rounds=1_000)


def test_a_batch_of_2000(benchmark: Any, world: World) -> None:
    """Each time in a store of its own."""
    stores, ids = world.engine.vector_stores, file_ids(BATCH)

    def create() -> None:
        stores.file_batches.create(stores.create().id, file_ids=ids)

    benchmark.pedantic(create, rounds=20)
