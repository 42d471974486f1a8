"""How engines and pages are printed: short, and where it can be as code."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, SequentialIds, VirtualClock, model
from vsbatch_core.adapters.http import Request
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.standin import Settings, StandIn
from vsbatch_core.testing.bench import Bench


def engine_with(stores: int) -> Engine:
    engine = Engine(clock=VirtualClock(), ids=SequentialIds())
    for n in range(stores):
        engine.vector_stores.create(name=f"docs {n}", metadata={"n": str(n)})
    return engine


@given(n=st.integers(0, 30), limit=st.integers(1, 30), asynchronous=st.booleans())
def test_a_short_page_is_printed_as_code_and_a_long_one_in_one_line(
    n: int, limit: int, asynchronous: bool
) -> None:
    engine = engine_with(n)
    page: Any = engine.vector_stores.list(limit=limit, order="asc")
    if asynchronous:

        async def asked() -> Any:
            return await engine.aio.vector_stores.list(limit=limit, order="asc")

        page = asyncio.run(asked())
    printed, name = repr(page), type(page).__name__
    shown = min(n, limit)
    if shown <= 16:
        assert eval(printed, vars(model).copy()) == page  # noqa: S307 - it is what the test is about
    else:
        ids = f"'{page.first_id}' to '{page.last_id}'"
        assert printed == f"<{name} of {shown} VectorStore: {ids}, has_more={n > limit}>"


@given(n=st.integers(0, 3))
def test_an_engine_is_printed_with_how_many_stores_it_has_and_with_its_clock(n: int) -> None:
    assert repr(engine_with(n)) == f"<Engine with {n} vector store{'' if n == 1 else 's'}, on a VirtualClock>"


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_stand_in_is_printed_with_its_time_and_with_what_it_holds_and_was_asked(n: int) -> None:
    with Bench() as bench:
        for _ in range(n):
            bench.dispatch(Request("POST", "/v1/vector_stores"))
        plural = "" if n == 1 else "s"
        assert repr(bench) == f"<Bench at 1700000000.0: {n} vector store{plural}, {n} request{plural}>"
        bench.freeze()
        assert repr(bench).startswith("<Bench at 1700000000.0, frozen: ")
    engine = Engine()
    lasting = StandIn(Settings(), engine=engine, uploads=Uploads(clock=engine.clock))
    assert repr(lasting) == "<StandIn: 0 vector stores, 0 requests>"


def test_an_engine_is_printed_while_another_thread_holds_its_lock() -> None:
    engine = engine_with(1)
    with engine.view.hold(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(repr, engine).result(timeout=60) == repr(engine)
