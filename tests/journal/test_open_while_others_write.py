"""Whatever others append, snapshot and prune while a process opens a database, it then equals the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vsbatch_core import Engine

from ..helpers.databases import Where, url_of

METHODS = ("last", "snapshots", "snapshot", "ids", "frames")
"""What a process that opens a database asks of its log."""


@pytest.fixture
def others(where: Where, log_type: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the database while another engine acts at the n-th call of a method."""
    url = url_of(where)
    with Engine.open(url) as other:
        for _ in range(3):
            other.vector_stores.create()
            other.compact()

        def opened(method: str, n: int, act: Callable[[Engine], object]) -> tuple[Any, Any]:
            left = n
            with monkeypatch.context() as patch:
                found = getattr(log_type, method)

                def asked(log: Any, *arguments: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left == -1:
                        act(other)
                    return found(log, *arguments)

                patch.setattr(log_type, method, asked)
                with Engine.open(url) as engine:
                    seen = engine.snapshot()
                    engine.check()
            return seen, other.snapshot()

        yield opened


def append(engine: Engine) -> None:
    engine.vector_stores.create()


def append_and_prune(engine: Engine) -> None:
    for _ in range(3):
        engine.vector_stores.create()
        engine.compact()


@pytest.mark.parametrize("act", [append, append_and_prune])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", range(3))
def test_a_database_opens_as_it_is_whatever_others_do_to_it_meanwhile(
    others: Any, method: str, n: int, act: Any
) -> None:
    seen, held = others(method, n, act)
    assert seen == held
