"""What a stand-in keeps of what happened: the log of requests and the feed, both bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core.standin import Exchange, RequestLog
from vsbatch_core.standin import requests as kept
from vsbatch_core.standin.feed import Feed, Item


def exchange(number: int, body: bytes = b"", response: bytes = b"", **more: Any) -> Exchange:
    given = {"status": 200, **more}
    return Exchange(number=number, at=1.0, method="GET", path="/v1/files", body=body, response=response, **given)


@given(st.permutations(range(1, 12)), st.integers(1, 12), st.integers(0, 12), st.none() | st.integers(0, 12))
def test_a_log_holds_the_latest_by_number_however_they_come(
    numbers: list[int], most: int, after: int, limit: int | None
) -> None:
    log, model = RequestLog(most), list[int]()
    for number in numbers:
        log.add(exchange(number))
        model = sorted([*model, number])[-most:]
        assert [each.number for each in log] == model
    assert [each.number for each in log.after(after, limit)] == [n for n in model if n > after][:limit]
    assert log[-1].number == model[-1]
    assert [each.number for each in log[:2]] == model[:2]
    assert repr(log) == f"<RequestLog of {len(model)} exchanges>"
    log.clear()
    assert list(log) == log.after(0) == []


@given(st.lists(st.integers(0, 60), max_size=20))
def test_a_log_keeps_no_more_bytes_than_it_may_and_always_the_latest_that_fit(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "MOST_BYTES", 100)
        log = RequestLog()
        for number, size in enumerate(sizes, 1):
            log.add(exchange(number, bytes(size // 2), bytes(size - size // 2)))
            total, model = 0, list[int]()
            for n in range(number, 0, -1):
                total += sizes[n - 1]
                if total > 100:
                    break
                model.insert(0, n)
            assert [each.number for each in log] == model


def test_a_body_that_is_too_long_is_not_kept_and_that_is_said() -> None:
    assert kept.kept(bytes(kept.MOST_BYTES // 8)) is not None
    assert kept.kept(bytes(kept.MOST_BYTES // 8 + 1)) is None
    made = exchange(1, None, b'{"a": 1}')  # type: ignore[arg-type]  # what kept returns
    assert made.response_json == {"a": 1}
    with pytest.raises(ValueError, match="of this request was not kept: it had more than 4194304 bytes"):
        _ = made.json


@pytest.mark.parametrize(
    ("body", "shown"), [(b"", None), (None, None), (b'{"a": [1]}', {"a": [1]}), (b"\xffx", "\ufffdx")]
)
def test_a_body_is_shown_as_json_where_it_is_and_else_as_text(body: Any, shown: Any) -> None:
    data = exchange(7, body, b"[]", faults=("slow",), milliseconds=1.23456).data(bodies=True)
    assert json.loads(json.dumps(data)) == data
    assert (data["body"], data["response"], data["milliseconds"], data["faults"]) == (shown, [], 1.235, ["slow"])
    assert data.keys() - exchange(7).data(bodies=False).keys() == {"body", "response"}


@pytest.mark.parametrize(
    ("status", "response", "message"),
    [
        (200, b'{"error": {"message": "no"}}', None),
        (400, b'{"error": {"message": "no"}}', "no"),
        (400, b'{"error": {"message": 7}}', None),
        (400, b'{"error": "no"}', None),
        (404, b"[]", None),
        (502, b"Bad Gateway", None),
    ],
)
def test_the_message_is_that_of_an_error_body(status: int, response: bytes, message: str | None) -> None:
    assert kept.message_of(status, response) == message


# The feed


def numbers(items: list[Item]) -> list[Any]:
    return [item.kind if item.kind == "gap" else item.data() for item in items]


@given(
    st.lists(st.integers(1, 5), max_size=30),
    st.integers(1, 8),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sets(st.integers(0, 30)),
)
def test_a_reader_gets_all_in_order_or_is_told_that_some_is_missing(
    weights: list[int], most: int, most_weight: int, limit: int, reads: set[int]
) -> None:
    """It reads at any times, so much at a time; what it has not got before a gap is what was dropped."""
    feed = Feed(most, most_weight)
    last, got, missed = feed.last_id, list[int](), False
    for i, weight in enumerate([*weights, 0]):
        if i in reads or i == len(weights):
            while items := feed.after(last, limit):
                assert len(items) <= max(limit, 1)
                for item in items:
                    if item.kind == "gap":
                        missed = True
                    else:
                        following = got[-1] + 1 if got else 0
                        assert item.data() > following if missed else item.data() == following
                        got.append(item.data())
                        missed = False
                    last = item.id
        if i < len(weights):
            feed.add("event", lambda i=i: i, weight)  # type: ignore[misc]
    assert last == feed.last_id
    assert not got or got[-1] == len(weights) - 1
    kept_now = numbers(feed.after(None))
    assert len(kept_now) <= most
    assert kept_now == list(range(len(weights)))[-len(kept_now) :] if weights else kept_now == []
    assert sum(weights[n] for n in kept_now) <= most_weight or len(kept_now) == 1


@pytest.mark.parametrize("id", ["", "x", "-1", "feed-3", "{run}-99", "{run}--1", "{run}-" + "9" * 30, "{run}-²"])
def test_an_id_that_is_of_no_item_gives_a_gap_and_what_is_kept(id: str) -> None:
    feed = Feed()
    run = feed.last_id.partition("-")[0]
    feed.add("clock", lambda: 1)
    feed.add("clock", lambda: 2)
    found = feed.after(id.replace("{run}", run))
    assert numbers(found) == ["gap", 1, 2]
    assert numbers(feed.after(found[0].id)) == [1, 2]
    assert numbers(feed.after(f"{run}-1")) == [2]
    assert found[1].encoded() == f"id: {run}-1\nevent: clock\ndata: 1\n\n".encode()


def test_readers_are_woken_once_for_all_that_was_added_and_by_the_end() -> None:
    feed = Feed()

    async def read() -> list[bool]:
        reader, woken = feed.join(), []
        assert feed.readers == 1
        for _ in range(3):
            feed.add("event", dict)
        await reader.wait(60)
        woken.append(len(feed.after(None)) == 3)
        await reader.wait(0)  # nothing more has come
        await asyncio.to_thread(feed.add, "event", dict)
        await reader.wait(60)
        woken.append(len(feed.after(None)) == 4)
        feed.close()
        await reader.wait(60)
        woken.append(feed.closed)
        return woken

    assert asyncio.run(read()) == [True, True, True]
    assert feed.readers == 1  # it did not leave, and its loop is closed
    feed.add("event", dict)  # it was woken by the close, and has not looked since


def test_a_reader_whose_loop_is_closed_is_forgotten() -> None:
    feed = Feed()

    async def join() -> None:
        feed.join()

    asyncio.run(join())
    feed.add("event", dict)
    assert feed.readers == 0
