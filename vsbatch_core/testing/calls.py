"""Calls as data: to give the same ones to several implementations, to compare the answers, and to print them.

A ``Call`` is one call of a public method.  Its repr is that call, so a list of them is a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from operator import attrgetter
from typing import Any

from attrs import field, frozen

from vsbatch_core.errors import VsbatchError
from vsbatch_core.model import FILE_STATUSES, ORDERS
from vsbatch_core.testing.oracle import Oracle


@frozen(eq=False)
class Call:
    """One call of a public method, by the path to it from an engine."""

    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(factory=dict)

    def __repr__(self) -> str:
        words = [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"engine.{self.path}({', '.join(words)})"

    def on(self, engine: Any) -> Any:
        """Give the call to an engine, or to anything that has its methods."""
        return attrgetter(self.path)(engine)(*self.args, **self.kwargs)


def call(path: str, *args: Any, **kwargs: Any) -> Call:
    """A call, written as it is made."""
    return Call(path, args, kwargs)


@frozen
class Refusal:
    """A refusal, as an answer that can be compared; ``name`` is the error's class, where that is known."""

    status: int
    body: dict[str, Any]
    name: str | None = None

    @classmethod
    def of(cls, error: VsbatchError) -> Refusal:
        """What the error says."""
        return cls(error.status, error.to_wire(), type(error).__name__)

    def is_like(self, other: object) -> bool:
        """Whether the two say the same, by what is known of both."""
        return (
            isinstance(other, Refusal)
            and (self.status, self.body) == (other.status, other.body)
            and (self.name == other.name or None in (self.name, other.name))
        )


def answer(engine: Any, call: Call) -> Any:
    """What the engine answers to the call: the value, or the ``Refusal``; in a list, each error is one."""
    try:
        return comparable(call.on(engine))
    except VsbatchError as error:
        return Refusal.of(error)


def comparable(value: Any) -> Any:
    """Return the value, and a list with a ``Refusal`` for each error in it."""
    if not isinstance(value, list):
        return value
    return [Refusal.of(item) if isinstance(item, VsbatchError) else item for item in value]


def same(answer: object, expected: object) -> bool:
    """Whether two answers are the same."""
    if isinstance(answer, list) and isinstance(expected, list):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    return answer.is_like(expected) if isinstance(answer, Refusal) else bool(answer == expected)


class UnsteadyClock:
    """A clock that stands still until it is moved, and that, as a machine's clock, may be set back."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        return self._now

    def move(self, seconds: float) -> float:
        """Move on, or back if ``seconds`` is negative; answer the new time."""
        self._now += seconds
        return self._now


# Everything that can be read

NOWHERE = "file-nowhere"
"""A file id that is never attached."""

FILTERS = (None, *FILE_STATUSES)


@cache
def pages(
    path: str,
    owner: tuple[str, ...],
    cursors: tuple[str, ...],
    filters: tuple[str | None, ...],
    limit: int | None,
) -> tuple[Call, ...]:
    """Every request for a page of one list: each order, filter, cursor and pair of cursors.

    ``owner`` is what the list belongs to: nothing, a store, or a batch and its store.  A cursor that names
    nothing is among them.
    """
    fixed: dict[str, Any] = {} if limit is None else {"limit": limit}
    if len(owner) == 2:
        fixed["vector_store_id"] = owner[1]
    ends = (None, *cursors)
    nowhere = cursors[0][:3] + "nowhere" if cursors else NOWHERE
    asked = [*product(ORDERS, filters, ends, ends), ("asc", None, nowhere, None), ("desc", None, None, nowhere)]
    calls = []
    for order, filter, after, before in asked:
        given = {"order": order, "filter": filter, "after": after, "before": before}
        kwargs = {key: value for key, value in given.items() if value is not None}
        calls.append(Call(path, owner[:1], {**fixed, **kwargs}))
    return tuple(calls)


def all_reads(oracle: Oracle, file_ids: Sequence[str], limits: Iterable[int | None]) -> Iterator[Call]:
    """Every read that can tell something of what the oracle knows, with pages of these sizes.

    All stores that ever were, their batches and their lists; all files; what is pending; and, of what is not
    there, one read of each kind.
    """
    sizes = tuple(limits)
    yield call("processing.pending")
    for limit in sizes:
        yield call("processing.pending", limit=limit or 1)
        yield from pages("vector_stores.list", (), tuple(store.id for store in oracle.stores), (None,), limit)
    for store in oracle.stores:
        yield call("vector_stores.retrieve", store.id)
        yield call("processing.pending", store.id)
        for file_id in (*file_ids, NOWHERE):
            yield call("vector_stores.files.retrieve", file_id, vector_store_id=store.id)
        for other in oracle.stores:
            for batch in other.batches:
                yield call("vector_stores.file_batches.retrieve", batch.id, vector_store_id=store.id)
        if not store.here:
            yield call("vector_stores.files.list", store.id)
            continue
        ids = tuple(dict.fromkeys(file.file_id for file in store.files))
        for limit in sizes:
            yield from pages("vector_stores.files.list", (store.id,), ids, FILTERS, limit)
            yield call("processing.pending", store.id, limit=limit or 1)
        for batch in store.batches:
            if not batch.here:
                yield call("vector_stores.file_batches.list_files", batch.id, vector_store_id=store.id)
                continue
            ids = tuple(file.file_id for file in batch.files)
            for limit in sizes:
                path = "vector_stores.file_batches.list_files"
                yield from pages(path, (batch.id, store.id), ids, FILTERS, limit)


def walks(oracle: Oracle) -> Iterator[Call]:
    """Every list in both orders, under every filter, to be walked page by page, one item a page."""
    for order in ORDERS:
        yield call("vector_stores.list", order=order, limit=1)
        for store in oracle.stores:
            if store.here:
                for filter in FILTERS:
                    given: dict[str, Any] = {"order": order, "limit": 1, "filter": filter}
                    yield call("vector_stores.files.list", store.id, **given)
                    for batch in [batch for batch in store.batches if batch.here]:
                        path = "vector_stores.file_batches.list_files"
                        yield call(path, batch.id, vector_store_id=store.id, **given)


def walked(oracle: Oracle, call: Call) -> list[Any]:
    """All that is found by walking a list of the oracle's from this page on."""
    found: list[Any] = []
    page = call.on(oracle)
    while page.data:
        found += page.data
        page = Call(call.path, call.args, {**call.kwargs, "after": page.last_id}).on(oracle)
    return found
