"""What several test files share: histories of commands as data, and all that can be read from an engine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from operator import attrgetter
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import pytest
from attrs import define, field, fields, frozen
from hypothesis import strategies as st

from vsbatch_core import (
    Engine,
    FileCounts,
    Page,
    Profile,
    Retry,
    SequentialIds,
    VirtualClock,
    VsbatchError,
    errors,
    events,
)
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.model import ERROR_CODES, FILE_STATUSES, ORDERS, Order

START = 1_700_000_000.0
FILES = ("file-a", "file-b", "file-c", "file-d", "file-e")
STORES = ("vs_1", "vs_2", "vs_3")
BATCHES = ("vsfb_1", "vsfb_2", "vsfb_3", "vsfb_4")


class CountingIds:
    """An id source as ``SequentialIds``, that can be copied where it stands."""

    def __init__(self, used: Counter[str] | None = None) -> None:
        self._used = Counter(used)

    def __call__(self, prefix: str) -> str:
        self._used[prefix] += 1
        return f"{prefix}{self._used[prefix]}"

    def copy(self) -> CountingIds:
        return CountingIds(self._used)


@frozen
class Command:
    """One call of a public method, as data: the same command can be given to several engines."""

    path: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(factory=dict)

    def __repr__(self) -> str:
        words = [*map(repr, self.args), *(f"{key}={value!r}" for key, value in self.kwargs.items())]
        return f"engine.{self.path}({', '.join(words)})"


def call(path: str, *args: Any, **kwargs: Any) -> Command:
    """A command."""
    return Command(path, args, kwargs)


def run(engine: Engine, command: Command) -> Any:
    """What the command answers: its value, or the error as (class, message, body)."""
    try:
        return attrgetter(command.path)(engine)(*command.args, **command.kwargs)
    except VsbatchError as error:
        return type(error), error.message, error.to_wire()


def new_engine(
    profile: Profile | None = None, ids: CountingIds | None = None, retry: Retry | None = None
) -> Engine:
    """An engine whose clock stands still and whose ids count up."""
    return Engine(clock=VirtualClock(START), ids=ids or CountingIds(), profile=profile, retry=retry)


def filled(history: list[Command], profile: Profile | None = None) -> tuple[Engine, list[Any], CountingIds]:
    """An engine after a history, the events that it told of it, and its id source."""
    ids = CountingIds()
    engine = new_engine(profile, ids)
    told: list[Any] = []
    engine.subscribe(told.append)
    for command in history:
        run(engine, command)
    return engine, told, ids


attributes = st.dictionaries(
    st.sampled_from(("k", "ключ")), st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.just(0.5))
)
metadata = st.dictionaries(st.sampled_from(("k", "l")), st.text(max_size=3))
chunkings = st.sampled_from(
    (
        None,
        {"type": "auto"},
        {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}},
        {"type": "static", "static": {"max_chunk_size_tokens": 4096, "chunk_overlap_tokens": 0}},
    )
)
expiries = st.sampled_from((None, {"anchor": "last_active_at", "days": 1}))
# The first names come up most, so that commands meet on the same few objects.
stores = st.sampled_from((*STORES[:1] * 4, *STORES))
batches = st.sampled_from((*BATCHES[:2] * 2, *BATCHES))
file_ids = st.sampled_from(FILES)
some_file_ids = st.lists(file_ids, min_size=1, max_size=5)


def _calls(path: str, *args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]) -> Any:
    return st.builds(Command, st.just(path), st.tuples(*args), st.fixed_dictionaries(kwargs))


creations = _calls(
    "vector_stores.create",
    name=st.sampled_from((None, "n")),
    description=st.sampled_from((None, "d")),
    file_ids=st.one_of(st.none(), st.lists(file_ids, max_size=3)),
    chunking_strategy=chunkings,
    expires_after=expiries,
    metadata=metadata,
)
batch_creations = st.one_of(
    _calls(
        "vector_stores.file_batches.create",
        stores,
        file_ids=some_file_ids,
        attributes=attributes,
        chunking_strategy=chunkings,
    ),
    _calls(
        "vector_stores.file_batches.create",
        stores,
        files=st.lists(
            st.fixed_dictionaries(
                {"file_id": file_ids}, optional={"attributes": attributes, "chunking_strategy": chunkings}
            ),
            min_size=1,
            max_size=3,
        ),
    ),
)
completions = _calls("processing.complete", stores, file_ids, usage_bytes=st.integers(0, 9))
failures = _calls("processing.fail", stores, file_ids, code=st.sampled_from(ERROR_CODES))
claims = _calls(
    "processing.claim",
    st.integers(1, 3),
    worker=st.just("worker-1"),
    lease_seconds=st.sampled_from((0.5, 60.0)),
    vector_store_id=st.none() | stores,
)
cancels = _calls("vector_stores.file_batches.cancel", batches, vector_store_id=stores)
commands = st.one_of(
    creations,
    claims,
    _calls("vector_stores.update", stores, name=st.just("m"), metadata=metadata, expires_after=expiries),
    _calls("vector_stores.delete", stores),
    batch_creations,
    batch_creations,
    cancels,
    _calls("vector_stores.files.create", stores, file_id=file_ids, attributes=attributes),
    _calls("vector_stores.files.update", file_ids, vector_store_id=stores, attributes=attributes),
    _calls("vector_stores.files.delete", file_ids, vector_store_id=stores),
    completions,
    completions,
    failures,
    _calls("clock.advance", st.sampled_from((0.25, 1.0, 90_000.0))),
    st.builds(
        lambda purge: Command(purge.path, purge.args, {"older_than": 0.25}), _calls("processing.purge", stores)
    ),
)
histories = st.builds(
    lambda first, begun, rest: [first, *begun, *rest],
    creations,
    st.just(()) | st.tuples(batch_creations, claims, cancels),
    st.lists(commands, max_size=25),
)
"""Any commands, valid or not, after a first store was made; often a batch is cancelled first that is held."""


def every_page(path: str, *args: str, cursors: tuple[str, ...], filters: tuple[Any, ...], **kwargs: str) -> Any:
    """Every request for a page of two of one list: each order, filter, cursor and pair of cursors."""
    ends = (None, *cursors)
    for order, filter, after, before in product(ORDERS, filters, ends, ends):
        given = {"limit": 2, "order": order, "filter": filter, "after": after, "before": before}
        yield call(path, *args, **kwargs, **{key: value for key, value in given.items() if value is not None})


def all_reads(vector_store_ids: tuple[str, ...] = STORES, batch_ids: tuple[str, ...] = BATCHES) -> list[Command]:
    """Every read of these stores and batches, of all files, and of whatever is there at large."""
    filters = (None, *FILE_STATUSES)
    reads = [call("processing.pending"), call("processing.pending", limit=2)]
    reads += every_page("vector_stores.list", cursors=vector_store_ids, filters=(None,))
    for store in vector_store_ids:
        reads += [call("vector_stores.retrieve", store), call("processing.pending", store, limit=3)]
        reads += [call("vector_stores.files.retrieve", file, vector_store_id=store) for file in FILES]
        reads += every_page("vector_stores.files.list", store, cursors=FILES, filters=filters)
        for batch in batch_ids:
            reads.append(call("vector_stores.file_batches.retrieve", batch, vector_store_id=store))
            path = "vector_stores.file_batches.list_files"
            reads += every_page(path, batch, cursors=FILES, filters=filters, vector_store_id=store)
    return reads


def views(engine: Engine, reads: list[Command]) -> list[Any]:
    """All that the engine answers to these reads."""
    return [run(engine, read) for read in reads]


# Unlike the default of st.text(), these hold lone surrogates, which the \u escapes of JSON can carry.
any_text = st.one_of(st.text(st.characters(), max_size=8), st.sampled_from(("", "\ud800", "a\udfff")))
# Past what a double holds exactly, what 64 bits hold, what a double holds at all, and what str() takes.
huge_integers = st.builds(
    lambda bits, sign: sign * (2**bits + 1), st.sampled_from((53, 63, 64, 1100, 20_000)), st.sampled_from((1, -1))
)
json_leaves = st.one_of(st.none(), st.booleans(), st.integers(), huge_integers, st.floats(), any_text)
json_values = st.recursive(
    json_leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(any_text, inner, max_size=3)),
    max_leaves=6,
)


def populated(profile: Profile | None = None, **options: Any) -> Engine:
    """An engine with a store, a batch and a file of every kind, under ids that tests can name.

    * ``vs_1``: ``file-a`` in progress; batch ``vsfb_1`` of ``file-b`` (completed, 7 bytes), ``file-c`` (failed),
      ``file-d`` (deleted from the store) and ``file-e`` (in progress); batch ``vsfb_2`` of ``file-f``, cancelled.
    * ``vs_2``: batch ``vsfb_3`` of ``file-a``, ``file-b`` and ``file-c``, failed with one code each; and batch
      ``vsfb_4`` of ``file-d``, completed.
    * ``vs_3``: expired.
    * ``vs_4``: deleted.
    """
    clock = VirtualClock(START)
    engine = Engine(clock=clock, ids=CountingIds(), profile=profile, **options)
    made = engine.vector_stores
    policy = {"anchor": "last_active_at", "days": 365}
    made.create(name="docs", description="all", file_ids=["file-a"], expires_after=policy, metadata={"k": "v"})
    made.create()
    made.create(name="old", expires_after={**policy, "days": 1})
    made.create(name="gone")
    made.delete("vs_4")
    clock.advance(2 * 86_400)
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    files: list[dict[str, Any]] = [
        {"file_id": "file-b", "attributes": {"s": "x", "i": 1, "f": 0.5, "t": True}},
        {"file_id": "file-c", "chunking_strategy": chunking},
        {"file_id": "file-d"},
        {"file_id": "file-e"},
    ]
    made.file_batches.create("vs_1", files=files)
    clock.advance(0.25)
    engine.processing.complete("vs_1", "file-b", usage_bytes=7)
    engine.processing.fail("vs_1", "file-c", code="unsupported_file")
    made.files.delete("file-d", vector_store_id="vs_1")
    made.file_batches.create("vs_1", file_ids=["file-f"])
    made.file_batches.cancel("vsfb_2", vector_store_id="vs_1")
    made.file_batches.create("vs_2", file_ids=["file-a", "file-b", "file-c"])
    for file_id, code in zip(("file-a", "file-b", "file-c"), ERROR_CODES, strict=True):
        engine.processing.fail("vs_2", file_id, code=code)
    made.file_batches.create("vs_2", file_ids=["file-d"])
    engine.processing.complete("vs_2", "file-d", usage_bytes=3)
    return engine


def engine_with(*file_ids: str, **options: Any) -> Engine:
    """An engine with the store vs_1 and these files in its batch vsfb_1."""
    engine = new_engine(**options)
    engine.vector_stores.create()
    engine.vector_stores.file_batches.create("vs_1", file_ids=list(file_ids or ("file-a", "file-b", "file-c")))
    return engine


def refused(engine: Engine, error: type[Exception], act: Callable[[], Any]) -> Any:
    """Return the error with which the act is refused; it changes nothing and tells no event."""
    before = engine.snapshot()
    told: list[events.Event] = []
    unsubscribe = engine.subscribe(told.append)
    with pytest.raises(error) as caught:
        act()
    unsubscribe()
    assert engine.snapshot() == before
    assert told == []
    engine.check()
    return caught.value


# Worlds: an engine beside the plain record that it is compared with.  ``World`` plays steps on an engine and
# writes down, in lists and with no index, what must follow.  It looks nothing up in the engine, so what a test
# expects was worked out twice.

DAY = 86_400


def file_id(n: int) -> str:
    """The id of file ``n`` (0 to 1008); scrambled, so that request order is not the order of ids."""
    return f"file-{n * 389 % 1009:04}"


class WanderingClock(VirtualClock):
    """A virtual clock that may also be set back, as the clock of a machine may."""

    def __init__(self, start: float = START) -> None:
        super().__init__(start)
        self._back = 0.0

    def time(self) -> float:
        return super().time() - self._back

    def wait(self, seconds: float) -> None:
        """Move on, or back if ``seconds`` is negative."""
        if seconds < 0:
            self._back -= seconds
        else:
            self.advance(seconds)


@define
class Attached:
    """The record of one attachment; ``batch`` is the number of its batch in the store, if it has one."""

    id: str
    created_at: int
    batch: int | None
    status: str = "in_progress"
    usage_bytes: int = 0
    here: bool = True

    def leave(self) -> None:
        self.here = False
        if self.status == "in_progress":
            self.status = "cancelled"


@define
class Batched:
    """The record of one batch."""

    id: str
    created_at: int
    cancel_asked: bool = False


@define
class Stored:
    """The record of one store: all that was ever attached, in order."""

    id: str
    created_at: int
    at: float
    last_active_at: int
    days: int | None
    attached: list[Attached] = field(factory=list)
    batches: list[Batched] = field(factory=list)
    here: bool = True

    def present(self) -> list[Attached]:
        return [file for file in self.attached if file.here]

    def of_batch(self, batch: int) -> list[Attached]:
        return [file for file in self.attached if file.batch == batch]

    def find(self, id: str) -> Attached | None:
        return next((file for file in self.attached if file.id == id and file.here), None)

    def place(self, id: str) -> int:
        """The place of the latest attachment of this file."""
        return max(place for place, file in enumerate(self.attached) if file.id == id)

    def attach(self, files: Iterable[int], batch: int | None = None) -> None:
        for id in dict.fromkeys(map(file_id, files)):
            old = self.find(id)
            if old is not None:
                old.leave()
            self.attached.append(Attached(id, int(self.at), batch))

    def expires_at(self) -> int | None:
        return None if self.days is None else self.last_active_at + self.days * DAY

    def expired(self, now: float) -> bool:
        expires_at = self.expires_at()
        return expires_at is not None and now >= expires_at

    def touch(self) -> None:
        if not self.expired(self.at):
            self.last_active_at = int(self.at)


def counts_of(files: Iterable[Attached]) -> FileCounts:
    statuses = [file.status for file in files]
    return FileCounts(**{status: statuses.count(status) for status in FILE_STATUSES})


@frozen
class Listing:
    """A list of the API: how to ask for a page of it, and what it must hold, oldest first."""

    name: str
    ask: Callable[..., Page[Any]]
    items: list[Any]
    counts: Callable[[], FileCounts] | None = None
    """How to ask for the ``file_counts`` of what is listed; ``None`` for the stores, which have none."""

    @property
    def filters(self) -> tuple[str | None, ...]:
        return (None,) if self.counts is None else (None, *FILE_STATUSES)

    def ids(self, order: Order, filter: str | None = None) -> list[str]:
        """The ids that a walk must find."""
        ids = [item.id for item in self.items if filter is None or item.status == filter]
        return ids if order == "asc" else ids[::-1]

    def views(self) -> Iterator[tuple[Callable[..., Page[Any]], list[str]]]:
        """For every order and filter: how to ask for a page, and the ids that a walk must find."""
        for order in ORDERS:
            for filter in self.filters:
                yield self.asker(order, filter), self.ids(order, filter)

    def asker(self, order: Order, filter: str | None = None) -> Callable[..., Page[Any]]:
        """How to ask for a page in this order, under this filter."""
        fixed: dict[str, Any] = {"order": order} if filter is None else {"order": order, "filter": filter}
        return lambda **more: self.ask(**fixed, **more)


class World:
    """An engine on a virtual clock, with the record of what was done to it."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self.clock = WanderingClock()
        self.engine = Engine(clock=self.clock, ids=SequentialIds())
        self.api = self.engine.vector_stores
        self.stores: list[Stored] = []
        self.at = 0.0
        self.played: list[Step] = []
        self.play(*steps)

    def __repr__(self) -> str:
        return f"World({self.played!r})"

    def play(self, *steps: Step) -> None:
        """Give the steps to the engine; one that the record says must be refused must be."""
        for step in steps:
            self.played.append(step)
            if not isinstance(step, Wait):
                self.look()
            refusal = step.refusal(self)
            if refusal is None:
                step.do(self)
            else:
                with pytest.raises(refusal):
                    step.do(self)

    def look(self) -> None:
        """Note which stores have expired: whoever uses the engine next makes that happen."""
        for store in self.present():
            if store.expired(self.clock.time()):
                store.at = max(store.at, store.expires_at() or 0)

    @contextmanager
    def active(self, number: int) -> Iterator[Stored]:
        """The store, at the time of an event in it; once that is written down, the store was active."""
        store = self.stores[number]
        store.at = self.now(store)
        yield store
        store.touch()

    def now(self, store: Stored | None = None) -> float:
        return max(self.clock.time(), self.at if store is None else store.at)

    def store(self, number: int) -> Stored | None:
        """The store with this number, if it is there."""
        return self.stores[number] if number < len(self.stores) and self.stores[number].here else None

    def store_id(self, number: int) -> str:
        return self.stores[number].id if number < len(self.stores) else "vs_none"

    def present(self) -> list[Stored]:
        return [store for store in self.stores if store.here]

    def listings(self) -> Iterator[Listing]:
        """Every list that the API has to show now."""
        yield self.store_listing()
        for store in self.present():
            yield self.file_listing(store)
            for batch in range(len(store.batches)):
                yield self.batch_listing(store, batch)

    def store_listing(self) -> Listing:
        return Listing("stores", self.api.list, self.present())

    def file_listing(self, store: Stored) -> Listing:
        api = self.api
        return Listing(
            f"files of {store.id}",
            lambda **more: api.files.list(store.id, **more),
            store.present(),
            lambda: api.retrieve(store.id).file_counts,
        )

    def batch_listing(self, store: Stored, batch: int) -> Listing:
        api = self.api.file_batches
        id = store.batches[batch].id
        return Listing(
            f"files of {id} in {store.id}",
            lambda **more: api.list_files(id, vector_store_id=store.id, **more),
            store.of_batch(batch),
            lambda: api.retrieve(id, vector_store_id=store.id).file_counts,
        )


Refusal = type[VsbatchError] | None


class Step:
    """One step of a history.  Stores and batches are numbered as they are made, files as in ``file_id``."""

    def refusal(self, world: World) -> Refusal:
        """How the engine must refuse it now, if it must."""

    def do(self, world: World) -> None:
        """Ask the engine for it, and unless that raises, write down what follows."""
        raise NotImplementedError  # every step has its own


@frozen
class Wait(Step):
    """Let the clock move; back, if ``seconds`` is negative."""

    seconds: float

    def do(self, world: World) -> None:
        world.clock.wait(self.seconds)


@frozen
class CreateStore(Step):
    files: Sequence[int] = ()
    days: int | None = None

    def do(self, world: World) -> None:
        days = self.days
        made = world.api.create(
            file_ids=[file_id(n) for n in self.files],
            expires_after=None if days is None else {"anchor": "last_active_at", "days": days},
        )
        at = world.at = world.now()
        store = Stored(made.id, int(at), at, int(at), days)
        store.attach(self.files)
        world.stores.append(store)


@frozen
class InStore(Step):
    """A step in one store."""

    attaches: ClassVar[bool] = False
    store: int

    def refusal(self, world: World) -> Refusal:
        store = world.store(self.store)
        if store is None:
            return errors.VectorStoreNotFound
        if self.attaches and store.expired(world.now(store)):
            return errors.VectorStoreExpired
        return self.refusal_in(store)

    def refusal_in(self, store: Stored) -> Refusal:
        """How the engine must refuse it, the store being there."""


@frozen
class UpdateStore(InStore):
    def do(self, world: World) -> None:
        world.api.update(world.store_id(self.store), name="updated")
        with world.active(self.store) as store:
            store.last_active_at = int(store.at)


@frozen
class DeleteStore(InStore):
    def do(self, world: World) -> None:
        world.api.delete(world.store_id(self.store))
        store = world.stores[self.store]
        store.here = False
        world.at = max(world.now(), store.at)


@frozen
class Attach(InStore):
    attaches = True
    file: int

    def do(self, world: World) -> None:
        world.api.files.create(world.store_id(self.store), file_id=file_id(self.file))
        with world.active(self.store) as store:
            store.attach([self.file])


@frozen
class AttachBatch(InStore):
    attaches = True
    files: Sequence[int]

    def do(self, world: World) -> None:
        ids = [file_id(n) for n in self.files]
        made = world.api.file_batches.create(world.store_id(self.store), file_ids=ids)
        with world.active(self.store) as store:
            store.attach(self.files, len(store.batches))
            store.batches.append(Batched(made.id, int(store.at)))


@frozen
class Cancel(InStore):
    batch: int

    def refusal_in(self, store: Stored) -> Refusal:
        return None if self.batch < len(store.batches) else errors.FileBatchNotFound

    def do(self, world: World) -> None:
        store = world.store(self.store)
        known = store is not None and self.batch < len(store.batches)
        batch_id = store.batches[self.batch].id if known else "vsfb_none"
        world.api.file_batches.cancel(batch_id, vector_store_id=world.store_id(self.store))
        running = [file for file in store.of_batch(self.batch) if file.status == "in_progress"]
        if running:
            with world.active(self.store):
                store.batches[self.batch].cancel_asked = True
                for file in running:
                    file.status = "cancelled"


@frozen
class OfFile(InStore):
    """A step with one file that is attached."""

    file: int

    def refusal_in(self, store: Stored) -> Refusal:
        return None if store.find(file_id(self.file)) else errors.FileNotFound


@frozen
class UpdateFile(OfFile):
    def do(self, world: World) -> None:
        store_id = world.store_id(self.store)
        world.api.files.update(file_id(self.file), vector_store_id=store_id, attributes={"updated": True})
        with world.active(self.store):
            pass


@frozen
class Delete(OfFile):
    def do(self, world: World) -> None:
        world.api.files.delete(file_id(self.file), vector_store_id=world.store_id(self.store))
        with world.active(self.store) as store:
            store.find(file_id(self.file)).leave()


@frozen
class Finish(OfFile):
    """A step that ends the processing of a file."""

    def refusal(self, world: World) -> Refusal:
        store = world.store(self.store)
        file = store and store.find(file_id(self.file))
        if file is None:
            return errors.NotAttached
        return None if file.status == "in_progress" else errors.AlreadyFinished


@frozen
class Complete(Finish):
    usage_bytes: int = 0

    def do(self, world: World) -> None:
        id = file_id(self.file)
        world.engine.processing.complete(world.store_id(self.store), id, usage_bytes=self.usage_bytes)
        with world.active(self.store) as store:
            file = store.find(id)
            file.status, file.usage_bytes = "completed", self.usage_bytes


@frozen
class Fail(Finish):
    def do(self, world: World) -> None:
        world.engine.processing.fail(world.store_id(self.store), file_id(self.file))
        with world.active(self.store) as store:
            store.find(file_id(self.file)).status = "failed"


# Most steps meet on one store and its first files and batches; the others show that they are left alone.
_stores = st.sampled_from((0, 0, 0, 0, 1, 2))
_files = st.integers(0, 11)
_batches = st.sampled_from((0, 1, 1, 2, 3))
_many = st.lists(_files, min_size=1, max_size=8).map(tuple) | st.builds(
    lambda start, n: range(start, start + n), st.integers(0, 8), st.integers(1, 40)
)
waits = st.builds(Wait, st.sampled_from([0.25, 1.0, 60.0]))
endings = st.one_of(
    st.builds(Complete, _stores, _files, st.integers(0, 1000)),
    st.builds(Fail, _stores, _files),
    st.builds(Cancel, _stores, _batches),
)
"""What changes statuses, and leaves all lists as they are."""
departures = st.builds(Delete, _stores, _files) | st.builds(DeleteStore, st.integers(1, 2))
arrivals = st.one_of(
    st.builds(CreateStore, st.lists(_files, max_size=4).map(tuple)),
    st.builds(Attach, _stores, _files),
    st.builds(AttachBatch, _stores, _many),
)
steps: st.SearchStrategy[Step] = st.one_of(waits, endings, endings, departures, arrivals)
"""The clock stands still between steps unless a ``Wait`` moves it, so ties in ``created_at`` are common."""


def worlds(of: st.SearchStrategy[Step] = steps, *, most: int = 40) -> st.SearchStrategy[World]:
    """A world with a store that holds a batch, after up to ``most`` random steps more.

    Store 0 is never deleted, so there is always a list of files to walk.
    """
    first = st.builds(lambda files: [CreateStore(), AttachBatch(0, files)], _many)
    # Left alone, Hypothesis draws mostly lists of fewer than five.
    rest = st.lists(of, max_size=most) | st.lists(of, min_size=most // 2, max_size=most)
    return st.builds(lambda start, rest: World([*start, *rest]), first, rest)


# Over HTTP

OVER_HTTP = {
    "vector_stores.create": ("POST", "/vector_stores"),
    "vector_stores.list": ("GET", "/vector_stores"),
    "vector_stores.retrieve": ("GET", "/vector_stores/{0}"),
    "vector_stores.update": ("POST", "/vector_stores/{0}"),
    "vector_stores.delete": ("DELETE", "/vector_stores/{0}"),
    "vector_stores.files.create": ("POST", "/vector_stores/{0}/files"),
    "vector_stores.files.list": ("GET", "/vector_stores/{0}/files"),
    "vector_stores.files.retrieve": ("GET", "/vector_stores/{store}/files/{0}"),
    "vector_stores.files.update": ("POST", "/vector_stores/{store}/files/{0}"),
    "vector_stores.files.delete": ("DELETE", "/vector_stores/{store}/files/{0}"),
    "vector_stores.file_batches.create": ("POST", "/vector_stores/{0}/file_batches"),
    "vector_stores.file_batches.retrieve": ("GET", "/vector_stores/{store}/file_batches/{0}"),
    "vector_stores.file_batches.cancel": ("POST", "/vector_stores/{store}/file_batches/{0}/cancel"),
    "vector_stores.file_batches.list_files": ("GET", "/vector_stores/{store}/file_batches/{0}/files"),
}
"""By method of the client face, the HTTP method and path (documented)."""


def sent(method: str, target: str, data: Any = None, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """A request as a client sends it: ``target`` is path and query, ``data`` what the JSON body says, if any."""
    path, _, query = target.partition("?")
    if data is None:
        return Request(method, path, query, headers)
    body = json.dumps(data).encode()
    return Request(method, path, query, (*headers, ("Content-Type", "application/json")), body)


def as_request(command: Command) -> Request:
    """The same call of the client face over HTTP."""
    method, template = OVER_HTTP[command.path]
    given = dict(command.kwargs)
    store = quote(given.pop("vector_store_id", ""), safe="")
    target = "/v1" + template.format(*[quote(arg, safe="") for arg in command.args], store=store)
    if method == "POST":
        return sent(method, target, given or None)
    return sent(method, f"{target}?{urlencode(given)}")


def form(*parts: tuple[str, bytes], end: bytes = b"--limit--\r\n") -> Request:
    """An upload: a multipart form whose parts are given by what ``Content-Disposition`` says, and content."""
    body = b"".join(
        b"--limit\r\nContent-Disposition: form-data; " + says.encode() + b"\r\n\r\n" + content + b"\r\n"
        for says, content in parts
    )
    headers = (("content-type", "multipart/form-data; boundary=limit"),)
    return Request("POST", "/v1/files", "", headers, body + end)


UPLOAD = form(('name="purpose"', b"assistants"), ('name="file"; filename="a.txt"', b"hello"))


def served(**options: Any) -> Api:
    """The populated engine as an API, with an uploaded file ``file-1``."""
    uploads = Uploads(clock=VirtualClock(START), ids=CountingIds())
    uploads.create(file=("a.txt", b"hello"), purpose="assistants")
    return Api(populated(), uploads=uploads, **options)


def state(api: Api) -> Any:
    """All that a request could have changed."""
    kept = [] if api.uploads is None else [(file, api.uploads.content(file.id)) for file in api.uploads.list()]
    return api.engine.snapshot(), kept, api.uploads and api.uploads.kept_bytes


def said(response: Response) -> Any:
    """What a JSON body says."""
    assert ("content-type", "application/json") in response.headers
    return json.loads(response.body)


def nested(depth: int) -> Any:
    """Lists in lists, deeper than any recursion over them gets."""
    data: Any = []
    for _ in range(depth):
        data = [data]
    return data


def in_json(data: Any) -> str:
    """The data as JSON text, in which 1, 1.0 and true differ, and the order of keys says nothing."""
    return json.dumps(data, sort_keys=True)


OTHER_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 10**12, 2**70, 10**400, 0.5, float("nan"), float("inf"), float("-inf")),
    *("", "false", "completed", "failed", "file-a", "vs_1", "vsfb_1", "\ud800"),
    *([], [[]], [1, 2], {}, {"id": "vs_1"}, {"a": 1}, nested(500)),
)
"""What a damaged document may hold in place of any of its values."""


def numbered(engine: Engine, cls: Any, *args: Any, **more: Any) -> Any:
    """Return the event that would be the next one of its store, about the present attachment of its file."""
    store_id = args[1]
    stores = {store["id"]: store for store in engine.snapshot()["vector_stores"]}
    store = stores.get(store_id, {})
    kept = [number for interval in store.get("attachments", ()) for number in range(*interval)]
    attachments = dict(zip(store.get("file_ids", ()), kept, strict=True))
    following = store.get("next_attachment", 0)
    if cls in (events.FileAttached, events.FileBatchCreated):
        attachments = {}
    known: dict[str, Any] = {
        "version": store.get("version", 0) + 1,
        "stores_version": engine.version() + 1,
        "attachment": attachments.get(str(args[2] if len(args) > 2 else ""), following),
        "first_attachment": following,
    }
    names = {field.name for field in fields(cls)}
    return cls(*args, **{name: value for name, value in known.items() if name in names} | more)
