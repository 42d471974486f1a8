"""The work that is measured: what each contender has to do, and how its result is checked.

Every contender does each work once before it is timed, and its result is compared with that of the model.  A
wrong result is reported, and the contender is not timed at that work and size.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any, ClassVar

from attrs import field, frozen

from benchmarks.clocks import Clocks
from benchmarks.contenders import Contender, Missing
from benchmarks.contenders.base import as_dict, dumped
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.ours import Ours
from benchmarks.fixtures import APART, BATCH, USAGE, Filled, Fixtures, WrongResult, file_ids, fill
from benchmarks.measure import LEAST_TURNS, Entry, Task, timed
from benchmarks.model import Counts, Listing, Model, Query
from benchmarks.results import Result

Ready = Entry | Result
"""A contender that is ready to be timed, or why it is not."""

Slow = dict[str, list[tuple[int, float]]]
"""By contender, sizes and how many seconds one took there."""


@frozen
class Pace:
    """How long is measured."""

    rounds: int = 15
    seconds: float = 0.01
    """About how long one turn takes."""
    budget: float = 1.0
    """Seconds that a contender may take for its turns at one work and size; more, and it has fewer of them."""
    longest: int = 1_000_000
    """The largest size of works that take long at any size."""


@frozen
class Work(ABC):
    """One thing to do."""

    name: str
    title: str
    changes: ClassVar[bool] = False
    """Whether it changes what the contenders hold: such works come last."""
    patience: ClassVar[float] = 5.0
    """How many times the budget the least number of turns may take."""
    longer: ClassVar[float] = 1.0
    """How many times as long as usual a turn takes."""

    @property
    def word(self) -> str:
        """Return the first word of its name: by it contenders say what they are unable to do."""
        return self.name.partition(".")[0]

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - for those that differ
        """Return at which of the wanted sizes it is measured."""
        return list(wanted)

    @abstractmethod
    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: Slow) -> Iterator[Ready]:
        """Yield each contender, checked.  ``slow`` says what one took at smaller sizes."""

    def left_out(self, contender: str, n: int, why: str) -> Result:
        """Return the result of a contender that is not measured."""
        return Result(self.name, contender, n, left_out=why)

    def wrong(self, contender: str, n: int, returned: str) -> Result:
        """Return the result of a contender that is wrong."""
        return Result(self.name, contender, n, wrong=returned)


def foreseen(n: int, seen: list[tuple[int, float]]) -> float:
    """Return about how many seconds one will take at size ``n``, by smaller ones; 0 if that is not known.

    Costs that have not grown in step with the size so far are not taken to do so from here on.
    """
    if len(seen) < 2:
        return 0.0
    (n1, one1), (n2, one2) = seen[-2:]
    return one2 * n / n2 if one2 / one1 > (n2 / n1) ** 0.7 else one2


@frozen
class StoreWork(Work):
    """Work that is done on a contender's store."""

    who: ClassVar[frozenset[str]] = frozenset()
    """The contenders that take part; none means all."""

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: Slow) -> Iterator[Ready]:
        """See ``Work``."""
        for kind in list(fixtures.present()):
            if self.who and kind.key not in self.who:
                continue
            budget = pace.budget * self.patience
            if self.word in kind.unable:
                yield self.left_out(kind.key, n, kind.unable[self.word])
                continue
            if n > kind.most:
                continue  # which is reported once, for all works
            expected = foreseen(n, slow.get(kind.key, []))
            if expected * min(pace.rounds, LEAST_TURNS) > budget:
                yield self.left_out(kind.key, n, f"not measured: one would take about {expected:.2g} s")
                continue
            try:
                yield self.entry(fixtures, fixtures.made(kind, n), budget / min(pace.rounds, LEAST_TURNS))
            except Missing:
                continue  # the fixtures have noted it, and it is reported once, for all works
            except WrongResult as error:
                yield self.wrong(kind.key, n, str(error))
            except Exception as error:  # noqa: BLE001 - whatever a contender raises is its result
                yield self.wrong(kind.key, n, f"{type(error).__name__}: {str(error)[:200]}")

    @abstractmethod
    def entry(self, fixtures: Fixtures, filled: Filled, most: float) -> Entry:
        """Return the contender, ready to be timed; raise ``WrongResult`` if its result is not right.

        One that took more than ``most`` seconds is tried again: the machine may have been busy.
        """


# Reads


@frozen
class Read(StoreWork):
    """Something that can be repeated: ``task`` prepares it, ``check`` compares its result with the model's."""

    task: Callable[[Contender, Model], Task]
    check: Callable[[Contender, Any, Model], None]
    """Raise ``WrongResult`` if the contender's result is not the model's."""

    def entry(self, fixtures: Fixtures, filled: Filled, most: float) -> Entry:
        """See ``StoreWork``."""
        contender, model = filled.contender, fixtures.model(filled.n)
        task = self.task(contender, model)
        start = perf_counter()
        returned = task()
        one = perf_counter() - start
        self.check(contender, returned, model)
        if one > most:
            one = min(one, timed([task]))
        return Entry(contender.key, filled.n, task, one=one, clocks=Clocks(filled.pids))


def equal(found: object, right: object) -> None:
    """Raise ``WrongResult`` unless they are equal."""
    if found != right:
        raise WrongResult(f"{found}; right: {right}")


def middle(model: Model) -> str:
    """Return the id of the file in the middle."""
    return model.files[len(model.files) // 2].record.id


def page_work(limit: int, place: str, order: str, filter: str | None = None, cursor: str = "after") -> Read:
    """Return the work of a page of a store's files: the first, one in the middle, or the last full one."""
    words = [f"page-{limit}", place, order, *([filter] if filter else []), *(["before"] * (cursor == "before"))]

    def query(model: Model) -> Query:
        plain = Query(limit, order, filter=filter)
        if place == "first":
            return plain
        if place == "middle":
            return Query(limit, order, **{cursor: middle(model)}, filter=filter)
        span = limit if filter is None else 2 * limit  # every second file matches
        files = model.files
        last = files[-1 - span] if order == "asc" else files[span]
        return Query(limit, order, after=last.record.id, filter=filter)

    def check(contender: Contender, returned: Any, model: Model) -> None:
        same_page(contender.listing(returned), model.page(query(model)))

    said = f"page of {limit}: {place}, {order}" + f", {filter}" * bool(filter) + ", before" * (cursor == "before")
    return Read(f"page.{'.'.join(words)[5:]}", said, lambda c, m: c.querying(query(m)), check)


def same_page(found: Listing, right: Listing) -> None:
    """Raise ``WrongResult`` unless the page is right as far as it says."""
    if not found.agrees(right):
        raise WrongResult(f"{found}; right: {right}")


PAGES = [
    *(page_work(20, place, order) for place, order in product(("first", "middle", "last"), ("asc", "desc"))),
    *(page_work(20, place, "asc", "completed") for place in ("first", "middle", "last")),
    page_work(20, "middle", "desc", "completed"),
    page_work(20, "middle", "asc", cursor="before"),
    page_work(20, "middle", "desc", cursor="before"),
    page_work(20, "middle", "asc", "completed", cursor="before"),
    *(page_work(100, place, "asc") for place in ("first", "middle", "last")),
    page_work(100, "middle", "desc"),
    page_work(100, "middle", "asc", "completed"),
]


def _walked(contender: Contender, pages: Any, model: Model) -> None:
    found = [record for page in pages for record in contender.listing(page).records]
    right = [file.record for file in model.files]
    if found != right:
        ids = [record.id for record in found]
        raise WrongResult(f"{len(found):,} files, {len(set(ids)):,} of them different; right: {len(right):,}")


def _file(contender: Contender, returned: Any, model: Model) -> None:
    equal(contender.record(returned), model.file(middle(model)))


def _counts(batch: int | None) -> Callable[[Contender, Any, Model], None]:
    def check(contender: Contender, _returned: Any, model: Model) -> None:
        equal(contender.counts(batch), model.counts(batch))

    return check


def _body(_contender: Contender, returned: Any, model: Model) -> None:
    right = model.page(Query(after=middle(model)))
    page = json.loads(returned)
    records = tuple(
        (file["id"], file["created_at"], file["status"], file["usage_bytes"]) for file in page["data"]
    )
    equal(
        (records, page["has_more"], page["first_id"], page["last_id"], page["object"]),
        (
            tuple((r.id, r.created_at, r.status, r.usage_bytes) for r in right.records),
            right.more,
            right.records[0].id,
            right.records[-1].id,
            "list",
        ),
    )


def _saved(contender: Contender, returned: Any, model: Model) -> None:
    _loaded(contender, type(contender).load(returned), model)


def _loaded(_contender: Contender, returned: Any, model: Model) -> None:
    with returned as loaded:
        equal(loaded.counts(), model.counts())
        query = Query(order="desc", filter="completed", after=middle(model))
        same_page(loaded.listing(loaded.page(query)), model.page(query))


def _loading(contender: Contender, _model: Model) -> Task:
    return partial(type(contender).load, contender.save())


def _replaying(contender: Contender, model: Model) -> Task:
    return contender.replaying(partial(fill, n=len(model.files)))


READS = [
    Read("walk.100", "walk over all files, pages of 100", lambda c, _: partial(c.walk, 100), _walked),
    Read("retrieve.file", "retrieve a file", lambda c, m: c.reading(middle(m)), _file),
    Read("retrieve.batch", "retrieve a batch with its counts", lambda c, _: c.reading_counts(0), _counts(0)),
    Read(
        "retrieve.store",
        "retrieve a store with its counts",
        lambda c, _: c.reading_counts(None),
        _counts(None),
    ),
    Read(
        "json.page",
        "page of 20 as JSON bytes, queried and encoded",
        lambda c, m: c.querying_json(Query(after=middle(m))),
        _body,
    ),
    Read("snapshot", "snapshot to bytes", lambda c, _: c.save, _saved),
    Read("restore", "restore from bytes", _loading, _loaded),
    Read("replay", "replay of all events", _replaying, _loaded),
]


@frozen
class Encode(Work):
    """A page to JSON bytes: ours, ``json.dumps`` of freshly built dicts, and joined texts."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return one size: it does not depend on it."""
        return [min(wanted)]

    def ready(self, fixtures: Fixtures, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        query = Query(after=middle(fixtures.model(n)))
        page = fixtures.ours(n).page(query)
        tasks: dict[str, Task] = {
            Ours.key: fixtures.ours(n).encoding(query),
            "json-dumps": lambda: dumped([as_dict(file) for file in page.data], page.has_more),
        }
        if Floor in fixtures.contenders:
            floor = fixtures.made(Floor, n).contender
            assert isinstance(floor, Floor)
            tasks[Floor.key] = floor.encoding(query)
        for contender, task in tasks.items():
            try:
                _body(fixtures.ours(n), task(), fixtures.model(n))
            except WrongResult as error:
                yield self.wrong(contender, n, str(error))
            else:
                yield Entry(contender, n, task)


# Changes


@frozen
class Change(StoreWork):
    """Something that can be done only once: ``prepare`` prepares one."""

    prepare: Callable[[Filled], Task]
    change: Counts
    """How the counts of the store change, whatever is prepared included."""
    check: Callable[[Contender, Any], None] = field(default=lambda _contender, _returned: None)
    """Raise ``WrongResult`` if the first one's result is not right."""
    attached: int = 1
    """How many files one of them needs, or attaches: a turn is not to make the store an eighth larger."""
    ends: int = 1
    """How many of the store's first files one of them ends."""
    operations: int = 1
    most: int = 20
    changes: ClassVar[bool] = True

    def entry(self, fixtures: Fixtures, filled: Filled, most: float) -> Entry:  # noqa: ARG002 - see StoreWork
        """See ``StoreWork``."""
        (task,) = self.prepared(filled, 1)
        start = perf_counter()
        returned = task()
        one = perf_counter() - start
        self.check(filled.contender, returned)
        filled.verify()
        if one > most:
            one = min(one, timed(self.prepared(filled, 1)))
        return Entry(
            filled.contender.key,
            filled.n,
            prepare=partial(self.prepared, filled),
            verify=filled.verify,
            operations=self.operations,
            most=min(self.most, max(1, filled.n // 8 // self.attached)),
            one=one,
            clocks=Clocks(filled.pids),
        )

    def prepared(self, filled: Filled, number: int) -> list[Task]:
        """Return so many to be done; from a store of ``n`` files, and up to half as many again."""
        if filled.extra > filled.n // 2 or filled.left < number * self.ends:
            filled.renew()
        for _ in range(number):
            filled.expect(self.change)
        return [self.prepare(filled) for _ in range(number)]


@frozen
class Scattered(Change):
    """A change of many of the store's files."""

    def sizes(self, wanted: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """Return those that have so many files in progress."""
        return [n for n in wanted if n >= 2 * self.ends]


@frozen
class Cold(Change):
    """A page that nobody has read before, beside contenders for whom that makes no difference."""

    who: ClassVar[frozenset[str]] = frozenset({"ours", "sqlite", "sqlite-bare", "redis"})
    filter: str | None = None

    def entry(self, fixtures: Fixtures, filled: Filled, most: float) -> Entry:
        """See ``StoreWork``; the first page is compared with the model's."""
        self._forget(filled)
        query = self.query(filled)
        same_page(filled.contender.listing(filled.contender.page(query)), fixtures.model(filled.n).page(query))
        return super().entry(fixtures, filled, most)

    def query(self, filled: Filled) -> Query:
        """Return the next that was not asked yet."""
        return Query(after=file_ids(1, first=filled.unread.pop())[0], filter=self.filter)

    def prepared(self, filled: Filled, number: int) -> list[Task]:
        """See ``Change``."""
        if len(filled.unread) < number:
            self._forget(filled)
        return [filled.contender.querying(self.query(filled)) for _ in range(number)]

    def _forget(self, filled: Filled) -> None:
        if filled.kind is Ours:
            filled.renew()
        else:
            filled.read_again()


def _unprepared(filled: Filled) -> Task:
    raise NotImplementedError  # ``Cold`` prepares its own


def _creating(filled: Filled) -> Task:
    return partial(filled.contender.attach, *filled.fresh_batch(BATCH))


def _completing(filled: Filled) -> Task:
    (id,) = filled.unfinished(1)
    return partial(filled.contender.complete, id, USAGE)


def _completing_many(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(BATCH)
    filled.contender.attach(number, ids, at)
    return partial(filled.contender.complete_many, filled.scattered(ids), USAGE)


def _completing_in_order(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(BATCH)
    filled.contender.attach(number, ids, at)
    return partial(filled.contender.complete_many, ids, USAGE)


def _completing_scattered(filled: Filled) -> Task:
    return partial(filled.contender.complete_many, filled.unfinished(BATCH), USAGE)


def _cancelling(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(BATCH)
    filled.contender.attach(number, ids, at)
    return partial(filled.contender.cancel, number)


WALKED = 200
"""How many files a walk that deletes goes over."""


def _delete_walking(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(WALKED)
    filled.contender.attach(number, ids, at)
    last = filled.contender.page(Query(1, "desc", after=ids[0]))
    return partial(delete_walk, filled.contender, filled.contender.last(last), WALKED // 20)


def delete_walk(contender: Contender, after: str, pages: int) -> list[Any]:
    """Read so many pages of 20; after each, delete its last file, which is the cursor for the next."""
    found = []
    for _ in range(pages):
        page = contender.page(Query(after=after))
        after = contender.last(page)
        contender.delete(after)
        found.append(page)
    return found


def _seen_once(contender: Contender, pages: Any) -> None:
    ids = [record.id for page in pages for record in contender.listing(page).records]
    if len(ids) != WALKED or len(set(ids)) != WALKED:
        raise WrongResult(f"{len(ids)} files, {len(set(ids))} of them different; right: {WALKED}")


def _cold(name: str, filter: str | None) -> Cold:
    said = "page of 20 that was not read before" + f", {filter}" * bool(filter)
    return Cold(name, said, _unprepared, (0, 0, 0, 0), attached=APART, ends=0, most=200, filter=filter)


COLD = [_cold("cold.page-20", None), _cold("cold.page-20.completed", "completed")]

CHANGES = [
    Change("complete.1", "complete one file, scattered", _completing, (-1, 1, 0, 0), most=200),
    Change("complete.2000", "complete 2,000 files at once", _completing_many, (0, BATCH, 0, 0), attached=BATCH),
    Change(
        "complete.2000.in-order",
        "complete 2,000 files at once, in order",
        _completing_in_order,
        (0, BATCH, 0, 0),
        attached=BATCH,
    ),
    Scattered(
        "complete.2000.scattered",
        "complete 2,000 files at once, scattered over the store",
        _completing_scattered,
        (-BATCH, BATCH, 0, 0),
        attached=BATCH,
        ends=BATCH,
    ),
    Change("create.2000", "create a batch of 2,000", _creating, (BATCH, 0, 0, 0), attached=BATCH),
    Change("cancel.2000", "cancel 2,000 in progress", _cancelling, (0, 0, 0, BATCH), attached=BATCH),
    Change(
        "delete-walk",
        "walk with deletions: a page and a delete",
        _delete_walking,
        (WALKED - WALKED // 20, 0, 0, 0),
        _seen_once,
        attached=WALKED,
        operations=WALKED // 20,
    ),
]
