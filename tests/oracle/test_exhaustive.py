"""Every history of up to four or five commands in a small world, compared in full with the oracle.

The world: two stores, three file ids, two batches.  The alphabet, of up to 57 commands in a state: make or delete
a store; attach a batch of any one, two or three of the files in any order; attach, delete, complete or fail a
file; cancel a batch, through its own store or the other; let a second pass.  Where a cancel drains, workers claim
one or two files, for one second or without end, and extend, release, finish or retry the oldest or the latest
claim that was ever made, once or twice.  A command that must be refused is in it as well as one that must not.

Not every sequence is run, but every sequence is covered:

* Two histories that lead to the same state, in the engine and in the oracle, go on in the same way; so each state
  is expanded once, and each command is given once in each state.  "The same state" is the whole snapshot of the
  engine and the whole record of the oracle, and ``check`` has shown that all else in the engine follows from it.
* A file id is only ever compared with another, so the first file that is named may as well be the first of the
  three, the next the second: of the ids that were never attached, a command names the first alone.  The ids are
  not in the order of their names, so that an engine that sorts by name is found out.
* Stores and batches are numbered as they are made.

What is read: after each command its answer; in each new state every store, batch and file by its id, what is
pending, and every list at full length, both ways; and every page of a list (each filter, order, cursor with each
limit of 1 to 3, and pair of cursors) for each new arrangement of it: which files are in the store, in which
status and order, there or gone, and, for the list of a batch, which of them are its own.  A page consists of
places in that arrangement, whatever else stands there.

A command that is refused leaves the state as it was, which is compared, so that the next command is given to the
same engine; after one that is not, the history is played again.

At depth 4 these are 1,992 states and 2,674 commands where a cancel is immediate, and 1,969 states and 2,588
commands where it drains; at depth 5, some fifteen times as many.
Where a cancel drains one store is made, since another adds nothing to a cancel, and pages are left to the first.
``tests/helpers/brief.py`` says when which depth is gone to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, permutations
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attrs import define, field

from vsbatch_core import Completed, Engine, Failed, Profile, Retry
from vsbatch_core.model import FILE_STATUSES, ORDERS
from vsbatch_core.testing.calls import Call, Refusal, answer, call, pages, same
from vsbatch_core.testing.oracle import Oracle
from vsbatch_core.testing.oracle_state import Attachment, Store
from vsbatch_core.testing.subjects import World

from ..helpers.brief import EFFORT, searching

FILES = ("file-b", "file-c", "file-a")
BATCHES = "vector_stores.file_batches"


def commands(oracle: Oracle, most_stores: int, claims: bool) -> Iterator[Call]:
    """The alphabet in this state."""
    stores = oracle.stores
    made = [batch for store in stores for batch in store.batches]
    used = {file.file_id for store in stores for file in store.files}
    # A refused command leaves no trace, so that what it named counts as not named yet.
    nameable = [*(id for id in FILES if id in used), *[id for id in FILES if id not in used][:1]]
    if len(stores) < most_stores:
        yield call("vector_stores.create")
    for store in stores:
        yield call("vector_stores.delete", store.id)
        if store.here and len(made) < 2:
            for ids in batches_of(used):
                yield call(f"{BATCHES}.create", store.id, file_ids=ids)
        if not store.here:
            nameable = nameable[:1]  # all are refused in the same way
        for id in nameable:
            yield call("vector_stores.files.create", store.id, file_id=id)
            yield call("vector_stores.files.delete", id, vector_store_id=store.id)
            yield call("processing.complete", store.id, id, usage_bytes=1)
            yield call("processing.fail", store.id, id)
        for batch in made:
            yield call(f"{BATCHES}.cancel", batch.id, vector_store_id=store.id)
    if stores and claims:
        yield call("processing.claim", worker="worker-1", lease_seconds=1.0)
        yield call("processing.claim", 2, worker="worker-2", lease_seconds=inf)
        for claim in {claim.number: claim for claim in oracle.claims[:1] + oracle.claims[-1:]}.values():
            yield call("processing.heartbeat", [claim], lease_seconds=2.0)
            yield call("processing.release", [claim, claim])
            yield call("processing.finish", [Completed(claim, 1), Failed(claim)])
            yield call("processing.finish", [Failed(claim, retry=True)])
    if stores:
        yield call("clock.move", 1.0)


def batches_of(used: set[str]) -> list[list[str]]:
    """Every order of every choice of files in which those never named before come in their own order."""
    new = [id for id in FILES if id not in used]
    chosen = (list(ids) for size in (1, 2, 3) for ids in permutations(FILES, size))
    return [ids for ids in chosen if (fresh := [id for id in ids if id in new]) == new[: len(fresh)]]


@define
class Explorer:
    """Goes through all states, nearest first, and compares."""

    world: World
    stores: int
    claims: bool
    pages: bool
    start: tuple[Call, ...] = ()
    """What every history begins with."""
    states: set[Any] = field(factory=set)
    arrangements: set[Any] = field(factory=set)
    looks: bool = True
    """Whether what is read is compared, or only the states are gone through."""
    commands: int = 0

    def explore(self, depth: int, part: int = 0, parts: int = 1) -> None:
        """Go through all histories of up to ``depth`` more commands; of the longest, one of equal ``parts``.

        The shorter ones are compared in the first part alone.
        """
        layer: list[tuple[Call, ...]] = [self.start]
        for length in range(1, depth + 1):
            self.looks = part == 0 or length == depth
            if length == depth:
                layer = layer[part::parts]
            layer = [longer for history in layer for longer in self.expand(history)]

    def expand(self, history: tuple[Call, ...]) -> Iterator[tuple[Call, ...]]:
        """Give each command in the state that the history leads to; yield what leads to a new state."""
        engine, oracle = self.after(history)
        before, noted = engine.snapshot(), oracle.noted
        for command in list(commands(oracle, self.stores, self.claims)):
            longer = (*history, command)
            self.commands += 1
            expected = self.compare(longer, engine, oracle, command)
            after = engine.snapshot()
            if isinstance(expected, Refusal) and oracle.noted == noted:
                assert after == before, f"{longer!r} changes the engine, though the last is refused"
                continue
            if self.is_new(longer, engine, oracle, after):
                yield longer
            engine, oracle = self.after(history)

    def after(self, history: tuple[Call, ...]) -> tuple[Engine, Oracle]:
        engine, oracle = Engine(**self.world.options()), Oracle(**self.world.options())
        for command in history:
            answer(engine, command)
            answer(oracle, command)
        return engine, oracle

    def is_new(self, history: tuple[Call, ...], engine: Engine, oracle: Oracle, saved: dict[str, Any]) -> bool:
        """Return whether the state was never seen before; if so, compare all that can be read in it."""
        if self.looks:
            engine.check()
        state = repr((saved, engine.clock.time(), oracle.stores, oracle.at, oracle.claims, oracle.leads))
        if state in self.states:
            return False
        self.states.add(state)
        self.look(history, engine, oracle, lookups(oracle))
        self.look(history, engine, oracle, full_lists(oracle))
        if self.pages:
            for store, kept in zip(oracle.stores, saved["vector_stores"], strict=True):
                for arrangement, pages in lists_of(store, kept):
                    if arrangement not in self.arrangements:
                        self.arrangements.add(arrangement)
                        self.look(history, engine, oracle, pages)
        assert engine.snapshot() == saved, f"{history!r}: reading changes the engine"
        return True

    def look(self, history: tuple[Call, ...], engine: Engine, oracle: Oracle, reads: Iterator[Call]) -> None:
        if self.looks:
            for read in reads:
                self.compare(history, engine, oracle, read)

    def compare(self, history: tuple[Call, ...], engine: Engine, oracle: Oracle, call: Call) -> Any:
        expected = answer(oracle, call)
        found = answer(engine, call)
        assert same(found, expected), f"after {history!r}, {call!r} answers {found!r}, not {expected!r}"
        return expected


@define
class DurableExplorer(Explorer):
    """Goes through the states of an engine on a database, which is closed and opened again after each command."""

    database: Callable[[], str] = field(kw_only=True)
    """Returns the URL of an empty database."""
    engine: Engine | None = None
    """The engine that is open."""

    def after(self, history: tuple[Call, ...]) -> tuple[Engine, Oracle]:
        options, oracle = self.world.options(), Oracle(**self.world.options())
        self.close()
        url = self.database()
        engine = self.open(url, options)
        for command in history:
            answer(engine, command)
            answer(oracle, command)
            engine = self.open(url, options)
        return engine, oracle

    def open(self, url: str, options: dict[str, Any]) -> Engine:
        self.close()
        self.engine = Engine.open(url, **options, durability="normal")
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()


def lookups(oracle: Oracle) -> Iterator[Call]:
    """Every store, batch and file by its id, and what is pending."""
    yield call("processing.pending")
    for store in oracle.stores:
        yield call("vector_stores.retrieve", store.id)
        if store.here:
            yield call("processing.pending", store.id, limit=1)
            for batch in store.batches:
                yield call(f"{BATCHES}.retrieve", batch.id, vector_store_id=store.id)
            for id in FILES:
                yield call("vector_stores.files.retrieve", id, vector_store_id=store.id)


def full_lists(oracle: Oracle) -> Iterator[Call]:
    yield from pages("vector_stores.list", (), tuple(store.id for store in oracle.stores), (None,), 1)
    for order in ORDERS:
        for store in oracle.stores:
            if store.here:
                yield call("vector_stores.files.list", store.id, order=order)
                for batch in store.batches:
                    yield call(f"{BATCHES}.list_files", batch.id, vector_store_id=store.id, order=order)


def lists_of(store: Store, saved: dict[str, Any]) -> Iterator[tuple[str, Iterator[Call]]]:
    """Yield each list of the store: all that its pages can depend on, in oracle and engine, and these pages."""
    if not store.here:
        yield "deleted", iter([call("vector_stores.files.list", store.id)])
        return
    names = list(dict.fromkeys(file.file_id for file in store.files))
    arrangement = (
        sorted(range(len(names)), key=names.__getitem__),
        [(names.index(file.file_id), file.status, file.here) for file in store.files],
        [*map(names.index, saved["file_ids"])],
        [saved[key] for key in ("statuses", "attachments", "left", "departed")],
    )
    yield repr(arrangement), pages_of("vector_stores.files.list", (store.id,), store.files)
    places = {id(file): place for place, file in enumerate(store.files)}
    for batch, (_, _, first, stop, *_) in zip(store.batches, saved["file_batches"], strict=True):
        own = (first, stop, [places[id(file)] for file in batch.files])
        yield repr((arrangement, own)), pages_of(f"{BATCHES}.list_files", (batch.id, store.id), batch.files)


def pages_of(path: str, owner: tuple[str, ...], files: list[Attachment]) -> Iterator[Call]:
    """Every page of this list, and of the filters that nothing passes the first page alone."""
    ids = tuple(dict.fromkeys(file.file_id for file in files))
    statuses = {file.status for file in files}
    for limit in range(1, min(len(files), 3) + 1):
        asked = pages(path, owner, ids, (None, *(s for s in FILE_STATUSES if s in statuses)), limit)
        for page in asked:
            if limit == 1 or not ("after" in page.kwargs and "before" in page.kwargs):
                yield page
    yield from pages(path, owner, (), tuple(s for s in FILE_STATUSES if s not in statuses), 1)


DEPTH = {"brief": 3, "usual": 4, "long": 5}[EFFORT]


PARTS = 2
"""The longest histories are shared out, so that they can be gone through at the same time."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_of_a_few_commands_tells_the_engine_from_the_oracle(part: int) -> None:
    explorer = Explorer(World(Profile()), 2, claims=False, pages=True)
    explorer.explore(DEPTH, part, PARTS)
    assert len(explorer.states) > {3: 40, 4: 900, 5: 12_000}[DEPTH]  # The search did go somewhere.


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_of_a_few_commands_tells_the_engine_from_the_oracle_where_a_cancel_drains(part: int) -> None:
    profile = Profile(cancel="drain", cancel_finished="refuse")
    explorer = Explorer(World(profile, retry=Retry(attempts=2, backoff=1.0)), 1, claims=True, pages=False)
    explorer.explore(DEPTH, part, PARTS)
    assert len(explorer.states) > {3: 40, 4: 900, 5: 12_000}[DEPTH]


def test_no_history_of_a_few_commands_after_a_batch_tells_the_engine_from_the_oracle_where_workers_claim() -> (
    None
):
    profile = Profile(cancel="drain", cancel_finished="refuse")
    begun = call("vector_stores.create"), call(f"{BATCHES}.create", "vs_1", file_ids=["file-b", "file-c"])
    world = World(profile, retry=Retry(attempts=2, backoff=1.0))
    explorer = Explorer(world, 1, claims=True, pages=False, start=begun)
    explorer.explore(DEPTH - 2)
    assert len(explorer.states) > {3: 20, 4: 500, 5: 8_000}[DEPTH]


@searching
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_history_of_a_few_commands_tells_an_engine_that_is_opened_anew_after_each_from_the_oracle(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        numbers = count()
        depth, states = {3: (1, 10), 4: (2, 200), 5: (3, 2_000)}[DEPTH]

        def database() -> str:
            return f"sqlite:///{quote(str(tmp_path))}/{next(numbers)}.db"
    else:
        database = request.getfixturevalue("cluster").emptied
        depth, states = {3: (1, 10), 4: (1, 10), 5: (2, 200)}[DEPTH]
    profile = Profile(cancel="drain", cancel_finished="refuse")
    begun = call("vector_stores.create"), call(f"{BATCHES}.create", "vs_1", file_ids=["file-b", "file-c"])
    world = World(profile, retry=Retry(attempts=2, backoff=1.0))
    explorer = DurableExplorer(world, 2, claims=True, pages=False, start=begun, database=database)
    try:
        explorer.explore(depth)
    finally:
        explorer.close()
    assert len(explorer.states) > states


def test_the_exploration_finds_an_engine_that_differs_in_one_answer() -> None:
    class Forgetful(Explorer):
        """The engine never hears of a cancel."""

        def compare(self, history: tuple[Call, ...], engine: Engine, oracle: Oracle, call: Call) -> Any:
            if call.path.endswith(".cancel"):
                return answer(oracle, call)
            return super().compare(history, engine, oracle, call)

    with pytest.raises(AssertionError, match=r"cancel\('vsfb_1'"):
        Forgetful(World(), 1, claims=False, pages=False).explore(3)
