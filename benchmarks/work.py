"""The work that is measured: what is asked of each contender, and how its answer is checked.

Every contender does each work once before it is timed, and what it answers is compared with what the model of
``answers`` says.  A wrong answer is reported, and the contender is not timed at that work and size.
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

from benchmarks.answers import Asked, Counts, Listing, Model
from benchmarks.clocks import Clocks
from benchmarks.contenders import Contender, Missing
from benchmarks.contenders.base import as_dict, dumped
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.ours import Ours
from benchmarks.measure import LEAST_TURNS, Entry, Task, timed
from benchmarks.results import Result
from benchmarks.stage import BATCH, USAGE, Filled, Stage, WrongAnswer, fill

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
        """The first word of its name: by it contenders say what they are unable to do."""
        return self.name.partition(".")[0]

    def sizes(self, asked: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - for those that differ
        """At which of the sizes that are asked for it is measured."""
        return list(asked)

    @abstractmethod
    def ready(self, stage: Stage, n: int, pace: Pace, slow: Slow) -> Iterator[Ready]:
        """Each contender, checked.  ``slow`` says what one took at smaller sizes."""

    def left_out(self, contender: str, n: int, why: str) -> Result:
        """A contender that is not measured."""
        return Result(self.name, contender, n, left_out=why)

    def wrong(self, contender: str, n: int, answer: str) -> Result:
        """A contender that is wrong."""
        return Result(self.name, contender, n, wrong=answer)


def foreseen(n: int, seen: list[tuple[int, float]]) -> float:
    """About how many seconds one will take at size ``n``, by what it took at smaller ones; 0 if nobody knows.

    Costs that have not grown in step with the size so far are not taken to do so from here on.
    """
    if len(seen) < 2:
        return 0.0
    (n1, one1), (n2, one2) = seen[-2:]
    return one2 * n / n2 if one2 / one1 > (n2 / n1) ** 0.7 else one2


@frozen
class StoreWork(Work):
    """Work that is done on a contender's store."""

    def ready(self, stage: Stage, n: int, pace: Pace, slow: Slow) -> Iterator[Ready]:
        """See ``Work``."""
        for kind in list(stage.present()):
            budget = pace.budget * self.patience
            if self.word in kind.unable:
                yield self.left_out(kind.key, n, kind.unable[self.word])
                continue
            if n > kind.most:
                continue  # that is said once, for all works
            expected = foreseen(n, slow.get(kind.key, []))
            if expected * min(pace.rounds, LEAST_TURNS) > budget:
                yield self.left_out(kind.key, n, f"not measured: one would take about {expected:.2g} s")
                continue
            try:
                yield self.entry(stage, stage.made(kind, n), budget / min(pace.rounds, LEAST_TURNS))
            except Missing:
                continue  # the stage knows, and it is said once, for all works
            except WrongAnswer as error:
                yield self.wrong(kind.key, n, str(error))
            except Exception as error:  # noqa: BLE001 - whatever a contender raises is its answer
                yield self.wrong(kind.key, n, f"{type(error).__name__}: {str(error)[:200]}")

    @abstractmethod
    def entry(self, stage: Stage, filled: Filled, most: float) -> Entry:
        """The contender, ready to be timed; raise ``WrongAnswer`` if what it answers is not right.

        One that took more than ``most`` seconds is tried again: the machine may have been busy.
        """


# Looks


@frozen
class Look(StoreWork):
    """Something that can be asked at will: ``task`` makes it ready, ``right`` compares what it answers."""

    task: Callable[[Contender, Model], Task]
    check: Callable[[Contender, Any, Model], None]
    """Raise ``WrongAnswer`` if the contender's answer is not the model's."""

    def entry(self, stage: Stage, filled: Filled, most: float) -> Entry:
        """See ``StoreWork``."""
        contender, model = filled.contender, stage.model(filled.n)
        task = self.task(contender, model)
        start = perf_counter()
        answer = task()
        one = perf_counter() - start
        self.check(contender, answer, model)
        if one > most:
            one = min(one, timed([task]))
        return Entry(contender.key, filled.n, task, one=one, clocks=Clocks(filled.pids))


def equal(found: object, right: object) -> None:
    """Raise ``WrongAnswer`` unless they are."""
    if found != right:
        raise WrongAnswer(f"{found}; right: {right}")


def middle(model: Model) -> str:
    """The id of the file in the middle."""
    return model.files[len(model.files) // 2].record.id


def page_work(limit: int, place: str, order: str, filter: str | None = None, cursor: str = "after") -> Look:
    """A page of a store's files: the first, one in the middle, or the last full one."""
    words = [f"page-{limit}", place, order, *([filter] if filter else []), *(["before"] * (cursor == "before"))]

    def asked(model: Model) -> Asked:
        plain = Asked(limit, order, filter=filter)
        if place == "first":
            return plain
        if place == "middle":
            return Asked(limit, order, **{cursor: middle(model)}, filter=filter)
        span = limit if filter is None else 2 * limit  # every second file matches
        files = model.files
        last = files[-1 - span] if order == "asc" else files[span]
        return Asked(limit, order, after=last.record.id, filter=filter)

    def check(contender: Contender, answer: Any, model: Model) -> None:
        same_page(contender.listing(answer), model.page(asked(model)))

    said = f"page of {limit}: {place}, {order}" + f", {filter}" * bool(filter) + ", before" * (cursor == "before")
    return Look(f"page.{'.'.join(words)[5:]}", said, lambda c, m: c.asking(asked(m)), check)


def same_page(found: Listing, right: Listing) -> None:
    """Raise ``WrongAnswer`` unless the page is right as far as it says."""
    if not found.agrees(right):
        raise WrongAnswer(f"{found}; right: {right}")


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
        raise WrongAnswer(f"{len(found):,} files, {len(set(ids)):,} of them different; right: {len(right):,}")


def _file(contender: Contender, answer: Any, model: Model) -> None:
    equal(contender.record(answer), model.file(middle(model)))


def _counts(batch: int | None) -> Callable[[Contender, Any, Model], None]:
    def check(contender: Contender, _answer: Any, model: Model) -> None:
        equal(contender.counts(batch), model.counts(batch))

    return check


def _body(_contender: Contender, answer: Any, model: Model) -> None:
    right = model.page(Asked(after=middle(model)))
    page = json.loads(answer)
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


def _saved(contender: Contender, answer: Any, model: Model) -> None:
    _loaded(contender, type(contender).load(answer), model)


def _loaded(_contender: Contender, answer: Any, model: Model) -> None:
    with answer as loaded:
        equal(loaded.counts(), model.counts())
        asked = Asked(order="desc", filter="completed", after=middle(model))
        same_page(loaded.listing(loaded.page(asked)), model.page(asked))


def _loading(contender: Contender, _model: Model) -> Task:
    return partial(type(contender).load, contender.save())


def _replaying(contender: Contender, model: Model) -> Task:
    return contender.replaying(partial(fill, n=len(model.files)))


LOOKS = [
    Look("walk.100", "walk over all files, pages of 100", lambda c, _: partial(c.walk, 100), _walked),
    Look("retrieve.file", "retrieve a file", lambda c, m: c.looking_at(middle(m)), _file),
    Look("retrieve.batch", "retrieve a batch with its counts", lambda c, _: c.looking_at_counts(0), _counts(0)),
    Look(
        "retrieve.store",
        "retrieve a store with its counts",
        lambda c, _: c.looking_at_counts(None),
        _counts(None),
    ),
    Look(
        "json.page",
        "page of 20 as JSON bytes, asked for and encoded",
        lambda c, m: c.asking_json(Asked(after=middle(m))),
        _body,
    ),
    Look("snapshot", "snapshot to bytes", lambda c, _: c.save, _saved),
    Look("restore", "restore from bytes", _loading, _loaded),
    Look("replay", "replay of all events", _replaying, _loaded),
]


@frozen
class Encode(Work):
    """A page that is at hand, to JSON bytes: ours, ``json.dumps`` of freshly built dicts, and joined texts."""

    def sizes(self, asked: Sequence[int], pace: Pace) -> list[int]:  # noqa: ARG002 - see Work
        """It does not depend on the size."""
        return [min(asked)]

    def ready(self, stage: Stage, n: int, pace: Pace, slow: object) -> Iterator[Ready]:  # noqa: ARG002 - see Work
        """See ``Work``."""
        asked = Asked(after=middle(stage.model(n)))
        page = stage.ours(n).page(asked)
        tasks: dict[str, Task] = {
            Ours.key: stage.ours(n).encoding(asked),
            "json-dumps": lambda: dumped([as_dict(file) for file in page.data], page.has_more),
        }
        if Floor in stage.contenders:
            floor = stage.made(Floor, n).contender
            assert isinstance(floor, Floor)
            tasks[Floor.key] = floor.encoding(asked)
        for contender, task in tasks.items():
            try:
                _body(stage.ours(n), task(), stage.model(n))
            except WrongAnswer as error:
                yield self.wrong(contender, n, str(error))
            else:
                yield Entry(contender, n, task)


# Changes


@frozen
class Change(StoreWork):
    """Something that can be done only once: ``prepare`` makes one ready."""

    prepare: Callable[[Filled], Task]
    change: Counts
    """How the counts of the store change, whatever is prepared included."""
    check: Callable[[Contender, Any], None] = field(default=lambda _contender, _answer: None)
    """Raise ``WrongAnswer`` if what the first one answers is not right."""
    attached: int = 1
    """How many files one of them needs, or attaches: a turn is not to make the store an eighth larger."""
    operations: int = 1
    most: int = 20
    changes: ClassVar[bool] = True

    def entry(self, stage: Stage, filled: Filled, most: float) -> Entry:  # noqa: ARG002 - see StoreWork
        """See ``StoreWork``."""
        (task,) = self.prepared(filled, 1)
        start = perf_counter()
        answer = task()
        one = perf_counter() - start
        self.check(filled.contender, answer)
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
        """So many to be done; from a store of ``n`` files, and up to half as many again."""
        if filled.extra > filled.n // 2 or filled.left < number:
            filled.renew()
        for _ in range(number):
            filled.expect(self.change)
        return [self.prepare(filled) for _ in range(number)]


def _creating(filled: Filled) -> Task:
    return partial(filled.contender.attach, *filled.fresh_batch(BATCH))


def _completing(filled: Filled) -> Task:
    (id,) = filled.unfinished(1)
    return partial(filled.contender.complete, id, USAGE)


def _completing_many(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(BATCH)
    filled.contender.attach(number, ids, at)
    return partial(filled.contender.complete_many, filled.scattered(ids), USAGE)


def _cancelling(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(BATCH)
    filled.contender.attach(number, ids, at)
    return partial(filled.contender.cancel, number)


WALKED = 200
"""How many files a walk that deletes goes over."""


def _delete_walking(filled: Filled) -> Task:
    number, ids, at = filled.fresh_batch(WALKED)
    filled.contender.attach(number, ids, at)
    last = filled.contender.page(Asked(1, "desc", after=ids[0]))
    return partial(delete_walk, filled.contender, filled.contender.last(last), WALKED // 20)


def delete_walk(contender: Contender, after: str, pages: int) -> list[Any]:
    """Read so many pages of 20; after each, delete its last file, which is the cursor for the next."""
    found = []
    for _ in range(pages):
        page = contender.page(Asked(after=after))
        after = contender.last(page)
        contender.delete(after)
        found.append(page)
    return found


def _seen_once(contender: Contender, pages: Any) -> None:
    ids = [record.id for page in pages for record in contender.listing(page).records]
    if len(ids) != WALKED or len(set(ids)) != WALKED:
        raise WrongAnswer(f"{len(ids)} files, {len(set(ids))} of them different; right: {WALKED}")


CHANGES = [
    Change("complete.1", "complete one file, scattered", _completing, (-1, 1, 0, 0), most=200),
    Change("complete.2000", "complete 2,000 files at once", _completing_many, (0, BATCH, 0, 0), attached=BATCH),
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
