"""Laws of lists: pages, cursors, orders, limits and filters, of a batch's files and of a store's."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vsbatch_core.model import FILE_STATUSES
from vsbatch_core.testing.conformance.laws import NOBODY, RECORDINGS, REFERENCE, Laws
from vsbatch_core.testing.conformance.probe import Scene, Trace
from vsbatch_core.testing.conformance.tracing import (
    NotReached,
    Traced,
    code_of,
    either,
    ids,
    joined,
    length,
    refused,
    same_items,
    traced,
    value_of,
)

LAWS = Laws()
law = LAWS.law

SIZES = st.integers(1, 6)
LIMITS = st.integers(1, 4)
PLACES = st.integers(0, 5)
ORDER = st.sampled_from(("asc", "desc"))
WHERE = st.sampled_from(("batch", "store"))
LIST: dict[str, Any] = {"n": SIZES, "limit": LIMITS, "order": ORDER, "where": WHERE}
"""What there is to choose of a page: of how many files, how long, which way round, of which list."""


def whole(see: Trace, scene: Scene, where: str, **query: Any) -> Traced:
    """The whole list as one page; raise ``NotReached`` if it is empty."""
    page = see.page(scene, where, limit=100, **query)
    if not value_of(page.data):
        raise NotReached("a list was empty")
    return page


@law(
    "every-file",
    "documented",
    REFERENCE,
    n=SIZES,
    cancelled=st.booleans(),
)
def every_file(see: Trace, n: int, cancelled: bool) -> None:
    """A batch's list holds every file of the request from the beginning, whatever its status, and no other."""
    if cancelled:
        scene = see.ended(n, cancelled=True)
    else:
        store = see.store()
        batch = see.create(store, file_ids=see.probe.files(n))
        scene = Scene(store, batch, see.probe.files(n), batch, see)
    page = see.page(scene, "batch", limit=100)
    see.require(same_items(ids(page), scene.files), "the list is to hold the files of the request")


@law(
    "walk-forward",
    "documented",
    REFERENCE,
    **LIST,
)
def walk_forward(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """A walk by after, each time with the last id, shows every file once, in the order of one long page."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    pages = [see.page(scene, where, limit=limit, order=order)]
    # Until a page is empty, not until has_more is false: that has a law of its own.
    while value_of(pages[-1].data):
        see.require(length(joined(pages)) <= length(long.data), "the walk is to end where the list does")
        after = pages[-1].data[-1].id
        pages.append(see.page(scene, where, limit=limit, order=order, after=after))
    see.require(joined(pages[:-1] or pages) == ids(long), "the walk is to show the same as one long page")


@law(
    "walk-backward",
    "documented",
    REFERENCE,
    **LIST,
)
def walk_backward(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """A walk by before, each time with the first id, shows every file before the last one once."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    pages = [see.page(scene, where, limit=limit, order=order, before=long.data[-1].id)]
    while value_of(pages[0].data):
        see.require(length(joined(pages)) <= length(long.data), "the walk is to end where the list begins")
        before = pages[0].data[0].id
        pages.insert(0, see.page(scene, where, limit=limit, order=order, before=before))
    expected = traced("[x.id for x in {}.data[:-1]]", lambda page: [x.id for x in page.data[:-1]], long)
    see.require(joined(pages) == expected, "the walk is to show all that precedes the last file")


def part(page: Traced, low: int, high: int) -> Traced:
    """The ids of a part of a page."""
    low, high = max(low, 0), max(high, 0)
    return traced(f"[x.id for x in {{}}.data[{low}:{high}]]", lambda p: [x.id for x in p.data[low:high]], page)


@law("after", "recorded", RECORDINGS, **LIST)
def after_page(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """What after gives is exclusive: the page begins right behind the cursor."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    for at in range(len(value_of(long.data))):
        page = see.page(scene, where, limit=limit, order=order, after=long.data[at].id)
        see.require(ids(page) == part(long, at + 1, at + 1 + limit), "the page is to be what follows the cursor")


@law(
    "before",
    "documented",
    REFERENCE,
    **LIST,
)
def before_page(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """The page of before is the one immediately preceding the cursor, in list order."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    for at in range(len(value_of(long.data))):
        page = see.page(scene, where, limit=limit, order=order, before=long.data[at].id)
        see.require(
            ids(page) == part(long, at - limit, at), "the page is to be what immediately precedes the cursor"
        )


@law(
    "both-cursors",
    "choice",
    NOBODY,
    at=PLACES,
    to=PLACES,
    **LIST,
)
def both_cursors(see: Trace, at: int, to: int, n: int, limit: int, order: str, where: str) -> None:
    """Both after and before are the open interval between them, read from after onwards."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    at, to = at % len(value_of(long.data)), to % len(value_of(long.data))
    page = see.page(scene, where, limit=limit, order=order, after=long.data[at].id, before=long.data[to].id)
    expected = part(long, at + 1, max(at + 1, min(at + 1 + limit, to)))
    see.require(ids(page) == expected, "the page is to be what lies between the cursors")


@law(
    "has-more",
    "documented",
    REFERENCE,
    **LIST,
)
def has_more(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """has_more is true exactly if more files lie beyond the page."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    page = see.page(scene, where, limit=limit, order=order)
    see.require(
        page.has_more == (length(long.data) > length(page.data)), "has_more is to say whether more files follow"
    )
    if n > 1:
        page = see.page(scene, where, limit=limit, order=order, after=long.data[0].id)
        left = length(long.data) > traced("1 + {}", lambda n: 1 + n, length(page.data))
        see.require(page.has_more == left, "has_more is to say whether more files follow")


@law(
    "has-more-before",
    "documented",
    REFERENCE,
    **LIST,
)
def has_more_before(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """has_more of a page of before is true exactly if more files precede it."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    for at in range(len(value_of(long.data))):
        page = see.page(scene, where, limit=limit, order=order, before=long.data[at].id)
        see.require(page.has_more == Traced(at > limit, str(at > limit)), "has_more is to look to the front")


@law(
    "limit",
    "documented",
    REFERENCE,
    **LIST,
)
def limits(see: Trace, n: int, limit: int, order: str, where: str) -> None:
    """A page has as many files as limit allows."""
    scene = see.ended(n)
    long = whole(see, scene, where, order=order)
    page = see.page(scene, where, limit=limit, order=order)
    expected = traced(f"min({limit}, {{}})", lambda n: min(limit, n), length(long.data))
    see.require(length(page.data) == expected, "the page is to be as long as limit says")


@law("default-limit", "documented", REFERENCE, where=WHERE)
def default_limit(see: Trace, where: str) -> None:
    """Without a limit a page has 20 files."""
    scene = see.ended(21)
    if len(value_of(whole(see, scene, where).data)) < 21:
        raise NotReached("the list has fewer than 21 files")
    see.require(length(see.page(scene, where).data) == 20, "the page is to have 20 files")


@law("default-order", "documented", REFERENCE, n=SIZES, where=WHERE)
def default_order(see: Trace, n: int, where: str) -> None:
    """Without an order a list is descending."""
    scene = see.ended(n)
    page, falling = see.page(scene, where), see.page(scene, where, order="desc")
    see.require(ids(page) == ids(falling), "the list is to be the descending one")


@law(
    "order",
    "documented",
    REFERENCE,
    n=st.integers(1, 3),
    order=ORDER,
    limit=st.integers(2, 8),
)
def orders(see: Trace, n: int, order: str, limit: int) -> None:
    """With asc files come by rising created_at, with desc by falling."""
    scene = _two_times(see, n)
    page = see.page(scene, "store", order=order, limit=100)
    times = traced("[x.created_at for x in {}.data]", lambda page: [x.created_at for x in page.data], page)
    if len(set(value_of(times))) < 2:
        raise NotReached("all files were created within one second")
    wanted = traced(
        f"sorted({{}}, reverse={order == 'desc'})", lambda times: sorted(times, reverse=order == "desc"), times
    )
    see.require(times == wanted, f"{order} is to be by {'falling' if order == 'desc' else 'rising'} created_at")
    first = see.page(scene, "store", order=order, limit=limit)
    see.require(ids(first) == part(page, 0, limit), "a shorter page is to begin in the same order")


def _two_times(see: Trace, n: int) -> Scene:
    """A store with two batches that were created more than a second apart."""
    key = ("two times", n, False)
    if key not in see.probe.scenes:
        own, files = see.probe.trace(), see.probe.files(2 * n)
        store = own.store()
        # The lower half of the files last: an order by id is then no order by time.
        first = own.create(store, file_ids=sorted(files, key=value_of)[n:])
        own.sleep(1.1)
        own.create(store, file_ids=sorted(files, key=value_of)[:n])
        see.probe.scenes[key] = Scene(store, first, files, first, own)
    return see.probe.scenes[key]


@law(
    "ties",
    "recorded",
    f"{RECORDINGS}: request order with desc its reverse, and one order both ways; other servers order by id",
    n=SIZES,
    where=WHERE,
)
def ties(see: Trace, n: int, where: str) -> None:
    """Files of one second come in the order of the request or by rising id; desc is the reverse, or the same."""
    scene = see.ended(n)
    rising, falling = (see.page(scene, where, order=order, limit=100) for order in ("asc", "desc"))
    times = {item.created_at for item in value_of(rising.data)}
    if len(times) > 1:
        raise NotReached("the files were not all created within one second")
    found, ways = _both(rising, falling), []
    for files in (_all(scene.files), traced("sorted({})", sorted, _all(scene.files))):
        backwards = traced("{}[::-1]", lambda items: items[::-1], files)
        ways += [traced("{} == ({}, {})", _pair, found, files, desc) for desc in (backwards, files)]
    see.require(either(*ways), "ties are to come in one of the orders that are known")


def _all(files: list[Any]) -> Traced:
    return Traced(value_of(files), code_of(files))


def _both(rising: Traced, falling: Traced) -> Traced:
    return traced("({}, {})", lambda a, b: (a, b), ids(rising), ids(falling))


def _pair(found: tuple[list[str], list[str]], rising: list[str], falling: list[str]) -> bool:
    return found == (rising, falling)


@law(
    "filter",
    "documented",
    REFERENCE,
    n=SIZES,
    kind=st.sampled_from(("good", "mixed")),
    cancelled=st.booleans(),
    status=st.sampled_from(FILE_STATUSES),
    order=ORDER,
    where=WHERE,
)
def filters(see: Trace, n: int, kind: str, cancelled: bool, status: str, order: str, where: str) -> None:
    """A filter leaves the files of that status, in the order of the whole list."""
    scene = see.ended(n, kind, cancelled=cancelled)
    long = see.page(scene, where, limit=100, order=order)
    page = see.page(scene, where, limit=100, order=order, filter=status)
    expected = traced(
        f"[x.id for x in {{}}.data if x.status == {status!r}]",
        lambda page: [x.id for x in page.data if x.status == status],
        long,
    )
    see.require(ids(page) == expected, f"the page is to hold the files that are {status}")


@law(
    "counts-and-list",
    "documented",
    REFERENCE,
    n=SIZES,
    kind=st.sampled_from(("good", "mixed")),
    cancelled=st.booleans(),
    where=WHERE,
)
def counts_and_list(see: Trace, n: int, kind: str, cancelled: bool, where: str) -> None:
    """Each count is the number of files that a filter by its status lists, and total that of the whole list."""
    scene = see.ended(n, kind, cancelled=cancelled)
    if where == "batch":
        counts = see.retrieve(scene.store, scene.batch).file_counts
    else:
        counts = see.call("vector_stores.retrieve", scene.store.id).file_counts
    for status in FILE_STATUSES:
        page = see.page(scene, where, limit=100, filter=status)
        see.require(
            length(page.data) == getattr(counts, status),
            f"as many files are to be listed as are counted {status}",
        )
    page = see.page(scene, where, limit=100)
    see.require(length(page.data) == counts.total, "as many files are to be listed as are counted")


@law(
    "unknown-cursor",
    "choice",
    NOBODY,
    cursor=st.sampled_from(("after", "before")),
    where=WHERE,
)
def unknown_cursor(see: Trace, cursor: str, where: str) -> None:
    """A cursor that was never in the list is refused with 400, and param names it; it is never page one."""
    answer = see.page(see.ended(2), where, refusable=True, **{cursor: "file-never-attached"})
    see.require(refused(answer), "an unknown cursor is to be refused")
    see.require(answer.status_code == 400, "an unknown cursor is to be refused with 400")
    see.require(answer.param == cursor, f"param is to name {cursor}")


@law(
    "deleted-cursor",
    "choice",
    NOBODY,
    at=st.integers(0, 3),
    order=ORDER,
    cursor=st.sampled_from(("after", "before")),
    where=WHERE,
)
def deleted_cursor(see: Trace, at: int, order: str, cursor: str, where: str) -> None:
    """The id of a file that was deleted stays a cursor, and keeps its place."""
    scene = see.fresh(4)
    long = whole(see, scene, where, order=order)
    at %= len(value_of(long.data))
    gone = long.data[at].id
    see.call("vector_stores.files.delete", gone, vector_store_id=scene.store.id, writes=True)
    query: dict[str, Any] = {cursor: gone}
    page = see.page(scene, where, limit=100, order=order, **query)
    expected = part(long, at + 1, 100) if cursor == "after" else part(long, 0, at)
    see.require(ids(page) == expected, "the page is to be what it was before the file was deleted")


@law(
    "deleted-file",
    "choice",
    NOBODY,
    n=st.integers(1, 3),
    at=st.integers(0, 2),
)
def deleted_file(see: Trace, n: int, at: int) -> None:
    """A file that is deleted leaves its store's list; its batch keeps its row and its counts."""
    scene = see.fresh(n)
    gone = scene.files[at % n]
    before = see.page(scene, "batch", limit=100)
    see.call("vector_stores.files.delete", gone, vector_store_id=scene.store.id, writes=True)
    left = [file for file in scene.files if file is not gone]
    see.require(
        same_items(ids(see.page(scene, "store", limit=100)), left), "the file is to leave the store's list"
    )
    see.require(ids(see.page(scene, "batch", limit=100)) == ids(before), "the batch is to keep its row")
    counts = see.retrieve(scene.store, scene.batch).file_counts
    see.require(counts.total == n, "the batch is to keep its counts")


@law(
    "attached-again",
    "choice",
    NOBODY,
    n=st.integers(1, 3),
)
def attached_again(see: Trace, n: int) -> None:
    """A file that is attached again is listed once in its store, and in both batches."""
    scene = see.fresh(n)
    again = see.create(scene.store, file_ids=scene.files[:1])
    see.settle(scene.store, again)
    second = Scene(scene.store, again, scene.files[:1], again, see)
    see.require(same_items(ids(see.page(scene, "store", limit=100)), scene.files), "the store is to list it once")
    see.require(same_items(ids(see.page(scene, "batch", limit=100)), scene.files), "the old batch is to keep it")
    see.require(
        same_items(ids(see.page(second, "batch", limit=100)), second.files), "the new batch is to list it"
    )
