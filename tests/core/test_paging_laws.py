"""What holds for every page of every list, whatever happened to the files before and happens between pages.

Each law runs over all lists of a random world (its stores, each store's files, each batch's files), in both
orders and under every filter, and compares with the record that the world keeps, not with another walk.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, Page, RequestError, SequentialIds, VectorStoreFile, errors, wire
from vsbatch_core.model import FILE_STATUSES, ORDERS

from ..helpers.strategies import (
    Attach,
    AttachBatch,
    Cancel,
    Complete,
    CreateStore,
    Delete,
    DeleteStore,
    Fail,
    Listing,
    World,
    departures,
    endings,
    file_id,
    steps,
    worlds,
)

Ask = Callable[..., Page[Any]]

limits = st.integers(1, 6) | st.integers(1, 100)
orders = st.sampled_from(ORDERS)
filters = st.sampled_from((None, *FILE_STATUSES))


def ids(page: Page[Any]) -> list[str]:
    return [item.id for item in page.data]


def chunks(items: Sequence[str], limit: int) -> list[list[str]]:
    """The pages of a list: all full but the last, and one empty page if there is nothing."""
    return [list(items[i : i + limit]) for i in range(0, len(items), limit)] or [[]]


def walk(ask: Ask, limit: int, most: int, *, backwards_from: str | None = None) -> list[Page[Any]]:
    """The pages of a walk by ``after``, or by ``before`` from a cursor, as a client without our ``Page`` does it.

    It gives up, failing, past ``most`` pages: a walk that never ends must not hang the tests.
    """
    page = ask(limit=limit) if backwards_from is None else ask(limit=limit, before=backwards_from)
    pages = [page]
    while page.has_more:
        assert len(pages) < most, f"the walk goes on past {most} pages"
        if backwards_from is None:
            page = ask(limit=limit, after=page.last_id)
        else:
            page = ask(limit=limit, before=page.first_id)
        pages.append(page)
    return pages


def assert_walks_by_after(ask: Ask, expected: list[str], limit: int) -> None:
    right = chunks(expected, limit)
    pages = walk(ask, limit, len(right))
    assert [ids(page) for page in pages] == right
    assert [page.has_more for page in pages] == [True] * (len(right) - 1) + [False]


def assert_walks_by_before(ask: Ask, expected: list[str], limit: int) -> None:
    right = chunks(expected, limit)
    *preceding, last = right
    if last:
        pages = walk(ask, limit, len(right), backwards_from=last[0])
        assert [ids(page) for page in pages] == (preceding[::-1] or [[]])
        assert [page.has_more for page in pages] == [True] * (len(preceding) - 1) + [False]


def large_world() -> World:
    """Lists that are longer than the longest page: 250 files twice, in all statuses, many gone, all tied."""
    world = World([CreateStore(), AttachBatch(0, range(250)), AttachBatch(0, range(200, 450))])
    for n in range(450):
        match n % 7:
            case 0:
                world.play(Fail(0, n))
            case 1 | 2:
                world.play(Delete(0, n))
            case 3:
                world.play(Complete(0, n, 1))
            case 4 if n < 225:
                world.play(Attach(0, n))
    world.play(*[CreateStore()] * 110, *[DeleteStore(n) for n in range(3, 50, 5)], Cancel(0, 1))
    world.play(*[Attach(0, n) for n in range(300, 320)])
    return world


@pytest.mark.slow
def test_at_every_limit_walks_both_ways_visit_each_page_of_a_large_list_once() -> None:
    for listing in large_world().listings():
        for ask, expected in listing.views():
            for limit in range(1, 101):
                assert_walks_by_after(ask, expected, limit)
                assert_walks_by_before(ask, expected, limit)


@given(worlds(), limits)
def test_a_walk_by_after_visits_every_matching_item_exactly_once_in_order(world: World, limit: int) -> None:
    for listing in world.listings():
        for ask, expected in listing.views():
            assert_walks_by_after(ask, expected, limit)


@given(worlds(), limits)
def test_a_walk_by_before_visits_the_same_pages_backwards(world: World, limit: int) -> None:
    for listing in world.listings():
        for ask, expected in listing.views():
            assert_walks_by_before(ask, expected, limit)


@given(worlds(), limits)
def test_desc_is_the_exact_reverse_of_asc_ties_included(world: World, limit: int) -> None:
    for listing in world.listings():
        for filter in listing.filters:
            rising, falling = (
                [item for page in walk(listing.asker(order, filter), limit, 500) for item in page.data]
                for order in ORDERS
            )
            assert falling == rising[::-1]
            assert [item.created_at for item in rising] == sorted(item.created_at for item in rising)


@given(worlds())
def test_items_are_listed_in_the_order_in_which_they_were_asked_for(world: World) -> None:
    for listing in world.listings():
        walked = [(item.id, item.created_at) for item in listing.ask(order="asc", limit=100)]
        assert walked == [(item.id, item.created_at) for item in listing.items]


@given(worlds(), limits)
def test_the_filtered_walks_partition_the_unfiltered_one_and_match_file_counts(world: World, limit: int) -> None:
    for listing in world.listings():
        if listing.counts is None:
            continue
        counts = listing.counts()
        everything = list(listing.ask(limit=limit))
        parts = {status: list(listing.ask(limit=limit, filter=status)) for status in FILE_STATUSES}
        for status, part in parts.items():
            assert part == [file for file in everything if file.status == status]
            assert len(part) == getattr(counts, status)
        assert sum(map(len, parts.values())) == len(everything) == counts.total


@given(worlds(), st.data(), orders, filters, limits)
def test_a_cursor_keeps_its_place_when_its_file_ends_or_is_deleted(
    world: World, data: st.DataObject, order: Any, filter: Any, limit: int
) -> None:
    store = world.stores[0]
    for listing in [world.file_listing(store), world.batch_listing(store, 0)]:
        if not listing.items:
            continue
        where = data.draw(st.integers(0, len(listing.items) - 1), label=f"place of the cursor in {listing.name}")
        cursor = listing.items[where].id
        number = next(n for n in range(500) if file_id(n) == cursor)
        change = data.draw(st.sampled_from([Complete(0, number), Fail(0, number), Delete(0, number)]))
        world.play(change)

        # What left the store has left its list, but not its batch's.
        stays = [
            (place, item.id)
            for place, item in enumerate(listing.items)
            if filter in (None, item.status) and (item.here or listing.name != f"files of {store.id}")
        ]
        older = [id for place, id in stays if place < where]
        newer = [id for place, id in stays if place > where]
        following, preceding = (newer, older[::-1]) if order == "asc" else (older[::-1], newer)
        ask = listing.asker(order, filter)
        page = ask(after=cursor, limit=limit)
        assert ids(page) == following[:limit]
        assert page.has_more is (len(following) > limit)
        page = ask(before=cursor, limit=limit)
        assert ids(page) == preceding[:limit][::-1]
        assert page.has_more is (len(preceding) > limit)


@given(worlds(), st.data(), orders)
def test_the_id_of_a_deleted_store_keeps_its_place(world: World, data: st.DataObject, order: Any) -> None:
    world.play(CreateStore(), CreateStore())
    cut = data.draw(st.integers(1, len(world.stores) - 1))
    cursor = world.stores[cut].id
    if world.stores[cut].here:
        world.play(DeleteStore(cut))
    sides = [[store.id for store in side if store.here] for side in (world.stores[:cut], world.stores[cut:])]
    older, newer = sides if order == "asc" else (sides[1][::-1], sides[0][::-1])
    ask = world.engine.vector_stores.list
    assert [store.id for store in ask(after=cursor, order=order)] == newer
    assert ids(ask(before=cursor, order=order, limit=100)) == older


@given(worlds(), st.data())
def test_the_id_of_a_file_attached_again_means_its_new_place_in_the_store_and_its_old_one_in_the_old_batch(
    world: World, data: st.DataObject
) -> None:
    store = world.stores[0]
    batch = world.batch_listing(store, 0)
    where = data.draw(st.integers(0, len(batch.items) - 1))
    cursor = batch.items[where].id
    again = next(n for n in range(500) if file_id(n) == cursor)
    world.play(AttachBatch(0, (100, again, 101)) if data.draw(st.booleans()) else Attach(0, again))
    if data.draw(st.booleans()):
        world.play(Delete(0, again))

    assert ids(batch.ask(after=cursor, order="asc", limit=100)) == batch.ids("asc")[where + 1 :]
    assert ids(batch.ask(before=cursor, order="asc", limit=100)) == batch.ids("asc")[:where]
    place = store.place(cursor)
    files = world.file_listing(store)
    assert [f.id for f in files.ask(after=cursor, order="asc")] == [
        f.id for f in store.attached[place + 1 :] if f.here
    ]
    assert [f.id for f in files.ask(after=cursor, order="desc")] == [
        f.id for f in reversed(store.attached[:place]) if f.here
    ]
    for number in range(1, len(store.batches)):
        later = world.batch_listing(store, number)
        if cursor in later.ids("asc"):
            its = later.ids("asc").index(cursor)
            assert ids(later.ask(after=cursor, order="asc", limit=100)) == later.ids("asc")[its + 1 :]


def interrupted_walk(
    world: World, listing: Listing, between: list[list[Any]], limit: int, order: str, *, back: bool
) -> list[str]:
    """The ids that a walk sees while commands are played between its pages."""
    if back:
        last = listing.ask(order="desc" if order == "asc" else "asc", limit=1).last_id
        page = listing.ask(order=order, limit=limit, before=last)
        seen = [last, *reversed(ids(page))]
    else:
        page = listing.ask(order=order, limit=limit)
        seen = ids(page)
    bursts = iter(between)
    while page.has_more:
        world.play(*next(bursts, ()))
        cursor = {"before": page.first_id} if back else {"after": page.last_id}
        page = listing.ask(order=order, limit=limit, **cursor)
        seen += reversed(ids(page)) if back else ids(page)
    return seen


def bursts(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(st.lists(of, max_size=4), max_size=12)


@given(worlds(), bursts(endings), st.integers(1, 4), orders, st.booleans())
def test_while_statuses_change_between_pages_nothing_is_skipped_or_seen_twice(
    world: World, between: list[list[Any]], limit: int, order: Any, back: bool
) -> None:
    for listing in world.listings():
        if listing.items:
            expected = listing.ids(order)
            seen = interrupted_walk(world, listing, between, limit, order, back=back)
            assert seen == (expected[::-1] if back else expected)


@given(worlds(), bursts(steps), st.integers(1, 4), orders, st.booleans())
def test_whatever_happens_between_pages_a_batch_is_walked_exactly(
    world: World, between: list[list[Any]], limit: int, order: Any, back: bool
) -> None:
    listing = world.batch_listing(world.stores[0], 0)
    expected = listing.ids(order)
    seen = interrupted_walk(world, listing, between, limit, order, back=back)
    assert seen == (expected[::-1] if back else expected)


@given(worlds(), bursts(st.one_of(endings, departures, st.none())), st.integers(1, 4), orders, st.booleans())
def test_while_files_come_and_go_between_pages_what_stays_in_the_store_is_seen_once_and_in_order(
    world: World, between: list[list[Any]], limit: int, order: Any, back: bool
) -> None:
    # No file is attached again here: a cursor would move with it, by the choice that the law above states.
    store = world.stores[0]
    there = store.present()
    if not there:
        return
    fresh = (Attach(0, n) for n in count(500))
    between = [[step or next(fresh) for step in burst] for burst in between]
    seen = interrupted_walk(world, world.file_listing(store), between, limit, order, back=back)
    assert len(seen) == len(set(seen))
    stayed = [file.id for file in there if file.here]
    if (order == "desc") is not back:
        stayed.reverse()
    assert [id for id in seen if id in stayed] == stayed


@given(worlds(), bursts(endings), st.integers(1, 4), orders, filters)
def test_a_filtered_walk_while_statuses_change_sees_nothing_twice_and_misses_nothing_that_matches_throughout(
    world: World, between: list[list[Any]], limit: int, order: Any, filter: Any
) -> None:
    for listing in [world.file_listing(world.stores[0]), world.batch_listing(world.stores[0], 0)]:
        matching = [item for item in listing.items if filter in (None, item.status)]
        ask = listing.asker(order, filter)
        seen: list[str] = []
        for number, page in enumerate(ask(limit=limit).iter_pages()):
            seen += ids(page)
            world.play(*(between[number] if number < len(between) else ()))
        assert len(seen) == len(set(seen))
        assert {item.id for item in matching if filter in (None, item.status)} <= set(seen)


@given(worlds(), st.data(), limits)
def test_after_and_before_together_give_the_open_interval_read_from_after_onwards(
    world: World, data: st.DataObject, limit: int
) -> None:
    for listing in world.listings():
        if not listing.items:
            continue
        places = st.integers(0, len(listing.items) - 1)
        left, right = data.draw(places), data.draw(places)
        for order in ORDERS:
            everything = listing.ids(order)
            for filter in listing.filters:
                matching = set(listing.ids(order, filter))
                between = [id for id in everything[left + 1 : right] if id in matching]
                page = listing.asker(order, filter)(after=everything[left], before=everything[right], limit=limit)
                assert ids(page) == between[:limit]
                assert page.has_more is (len(between) > limit)
                assert [item.id for item in page] == between


@given(worlds(), st.data(), limits)
def test_going_through_a_page_before_a_cursor_ends_and_stays_in_front_of_it(
    world: World, data: st.DataObject, limit: int
) -> None:
    for listing in world.listings():
        for ask, expected in listing.views():
            if not expected:
                continue
            where = data.draw(st.integers(0, len(expected) - 1))
            page = ask(before=expected[where], limit=limit)
            preceding = expected[max(0, where - limit) : where]
            assert ids(page) == preceding
            assert page.has_more is (where > limit)
            walked = [ids(p) for p in page.iter_pages()]
            assert walked == ([preceding, []] if where > limit else [preceding])


@given(worlds(), st.integers(0, 10), orders, filters, limits)
def test_an_unknown_cursor_is_refused_and_named(
    world: World, which: int, order: Any, filter: Any, limit: int
) -> None:
    store = world.stores[0]
    world.play(CreateStore((900,)))
    elsewhere = [file_id(900), "file-unknown", "", store.id, store.batches[0].id, "x" * 1000]
    for listing in world.listings():
        known = set(listing.ids("asc"))
        if listing.counts is None:
            unknown = ["vs_none", file_id(0), "vsfb_1"]
        else:
            others = [file.id for other in world.stores for file in other.attached]
            ever = known
            if not listing.name.startswith("files of vsfb_"):
                ever = {f.id for s in world.stores if listing.name == f"files of {s.id}" for f in s.attached}
            unknown = [id for id in [*elsewhere, *others] if id not in ever]
        cursor = unknown[which % len(unknown)]
        ask = listing.asker(order, filter if listing.counts else None)
        for param, other in (("after", "before"), ("before", "after")):
            for also in ({}, *({other: id} for id in sorted(known)[:1])):
                with pytest.raises(RequestError) as refused:
                    ask(limit=limit, **{param: cursor}, **also)
                assert refused.value.status == 400
                assert refused.value.param == param
                assert isinstance(refused.value, errors.UnknownCursor) or cursor == ""


@given(worlds())
def test_a_page_without_arguments_holds_the_twenty_newest(world: World) -> None:
    for listing in world.listings():
        page = listing.ask()
        assert ids(page) == listing.ids("desc")[:20]
        assert page.has_more is (len(listing.items) > 20)


@given(worlds(), limits)
def test_the_ends_of_a_page_are_named_and_null_if_it_is_empty(world: World, limit: int) -> None:
    for listing in world.listings():
        for ask, expected in listing.views():
            page = ask(limit=limit)
            first, last = (expected[0], expected[:limit][-1]) if expected else (None, None)
            assert (page.first_id, page.last_id) == (first, last)
            body = wire.to_wire(page)
            assert (body["first_id"], body["last_id"], body["object"]) == (first, last, "list")


def test_an_empty_page_has_no_next_page() -> None:
    world = World([CreateStore()])
    page = world.file_listing(world.stores[0]).ask()
    assert not page.has_next_page()
    with pytest.raises(RuntimeError, match="has_next_page"):
        page.get_next_page()


def test_a_page_without_items_has_no_next_page_whatever_it_says_of_more() -> None:
    # As the official client has it: there is no id to go on from.
    page: Page[VectorStoreFile] = Page((), has_more=True)
    assert not page.has_next_page()
    assert list(page) == []


def test_a_page_that_belongs_to_no_engine_has_no_next_page_to_give() -> None:
    page = Page((VectorStoreFile("file-a", 0, "vs_1"),), has_more=True)
    with pytest.raises(RuntimeError, match="has_next_page"):
        page.get_next_page()


class Served:
    """The official client, over a transport in this process that answers from one list of a world."""

    def __init__(self) -> None:
        # From version 3 on the client is built on httpx2.
        httpx: Any = importlib.import_module("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")
        self.listing: Listing | None = None

        def answer(request: Any) -> Any:
            assert self.listing is not None
            query: dict[str, Any] = dict(request.url.params)
            query["limit"] = int(query["limit"])
            return httpx.Response(200, json=wire.to_wire(self.listing.ask(**query)))

        transport = httpx.MockTransport(answer)
        self.client = openai.OpenAI(
            api_key="none", base_url="http://engine.invalid/v1", http_client=httpx.Client(transport=transport)
        )

    def page(self, listing: Listing, **query: Any) -> Any:
        self.listing = listing
        api = self.client.vector_stores
        if listing.counts is None:
            return api.list(**query)
        if "vsfb_" in listing.name:
            return api.file_batches.list_files("vsfb_1", vector_store_id="vs_1", **query)
        return api.files.list("vs_1", **query)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.client.close()


@given(world=worlds(most=8), data=st.data(), order=orders, limit=st.integers(1, 20))
def test_a_page_goes_on_exactly_as_the_official_clients_does(
    served: Served, world: World, data: st.DataObject, order: Any, limit: int
) -> None:
    listing = data.draw(st.sampled_from(list(world.listings())), label="list")
    query: dict[str, Any] = {"order": order, "limit": limit}
    if listing.items:
        query |= data.draw(
            st.fixed_dictionaries(
                {}, optional=dict.fromkeys(("after", "before"), st.sampled_from(listing.ids("asc")))
            )
        )
    ours, theirs = listing.ask(**query), served.page(listing, **query)
    for _ in range(len(listing.items) + 1):
        assert ids(ours) == [item.id for item in theirs.data]
        assert ours.has_next_page() is theirs.has_next_page()
        if not ours.has_next_page():
            break
        ours, theirs = ours.get_next_page(), theirs.get_next_page()
    else:
        pytest.fail("the walk does not end")


def test_at_the_end_the_page_after_it_is_asked_for_as_the_official_client_does(served: Served) -> None:
    # The client looks at the items alone, so it can ask whether any came since.
    world = World([CreateStore(), AttachBatch(0, range(3))])
    listing = world.file_listing(world.stores[0])
    ours, theirs = listing.ask(order="asc"), served.page(listing, order="asc", limit=20)
    assert not ours.has_next_page()
    assert not theirs.has_next_page()
    world.play(Attach(0, 3))
    assert [item.id for item in theirs.get_next_page().data] == [file_id(3)]
    assert ids(ours.get_next_page()) == [file_id(3)]


def test_the_large_world_holds_all_that_the_laws_are_about() -> None:
    world = large_world()
    store = world.stores[0]
    assert len(world.present()) > 100
    assert {file.status for file in store.present()} == set(FILE_STATUSES)
    assert {file.status for file in store.of_batch(0)} == set(FILE_STATUSES)
    assert any(not file.here for file in store.attached)
    assert len({file.id for file in store.attached}) < len(store.attached)
    assert {file.created_at for file in store.attached} == {store.created_at}


@pytest.mark.parametrize("param", ["after", "before"])
def test_a_batch_names_the_cursor_that_it_does_not_know(param: str) -> None:
    engine = Engine(ids=SequentialIds())
    engine.vector_stores.create(file_ids=["file-z"])
    engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a"])
    known = {"after": "file-a", "before": "file-a"}
    for cursors in ({param: "file-z"}, {**known, param: "file-z"}):
        with pytest.raises(errors.UnknownCursor) as refused:
            engine.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", **cursors)
        assert refused.value.param == param
