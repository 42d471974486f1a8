"""The control API, asked in this process: what it does, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vsbatch_core import Engine, Profile, VirtualClock
from vsbatch_core.adapters.faults import SOURCES, During, Faults, NoAnswer
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.scenarios.circumstances import PLAN, made, plan_of
from vsbatch_core.scenarios.files import ingested
from vsbatch_core.scenarios.tables import Table
from vsbatch_core.simulation import (
    Completed,
    Constant,
    Empirical,
    Exponential,
    Failed,
    Lognormal,
    Never,
    PerMegabyte,
    Plan,
    Retries,
    Uniform,
)
from vsbatch_core.standin import Settings, StandIn, control
from vsbatch_core.standin.app import MOST_READERS, QUIET, TICK, StandInApp, is_loopback
from vsbatch_core.standin.data import faults_data, plan_data
from vsbatch_core.standin.world import KEPT, NOT_OURS, POWERS

from ..helpers.control import Answer, Asked, scope

MANUAL = Settings(plan=Plan.manual())
ALONE = ("host", "localhost:8000")


def store_with(ask: Asked, *file_ids: str) -> str:
    id: str = ask.ok("POST", "/v1/vector_stores", {"file_ids": list(file_ids)})["id"]
    return id


def statuses(ask: Asked, store: str) -> dict[str, str]:
    files = ask.standin.engine.vector_stores.files.list(store, limit=100)
    return {file.id: file.status for file in files}


# Plans and faults as data

seconds = st.floats(0, 1e6, allow_nan=False)
positive = st.floats(0.001, 1e6)
failures = st.dictionaries(
    st.sampled_from(["server_error", "invalid_file", "unsupported_file"]), st.floats(0.01, 0.3), max_size=3
)
outcomes = st.one_of(
    st.builds(Completed, after=st.none() | seconds, usage_bytes=st.none() | st.integers(0, 9)),
    st.builds(
        Failed, st.just("server_error"), after=st.none() | seconds, message=st.none() | st.text(min_size=1)
    ),
    st.builds(Never, holds_worker=st.booleans()),
)
plans = st.builds(
    Plan,
    workers=st.none() | st.integers(1, 9),
    service=st.one_of(
        seconds,
        st.builds(Uniform, st.just(1.0), st.floats(1, 9)),
        st.builds(Exponential, positive),
        st.builds(Lognormal, positive, st.floats(0, 50)),
        st.builds(PerMegabyte, seconds, base=seconds),
        st.builds(Empirical, st.lists(seconds, min_size=1, max_size=3)),
    ),
    failures=failures,
    by_suffix=st.dictionaries(st.sampled_from([".md", ".pdf"]), failures, max_size=2),
    by_id=st.dictionaries(st.sampled_from(["a", "b"]), failures, max_size=2),
    script=st.dictionaries(st.sampled_from(["a", "b"]), st.lists(outcomes, min_size=1, max_size=2), max_size=2),
    order=st.sampled_from(["fifo", "lifo", "random", "smallest"]),
    retries=st.none() | st.builds(Retries, st.integers(1, 4), first=positive),
    cancel=st.sampled_from([None, "immediate"]),
) | st.one_of(
    st.just(Plan.manual()), st.builds(Plan.after_polls, st.integers(1, 9)), st.just(Plan(decide=ingested))
)


@example(
    Plan(
        service=Uniform(1, 2),
        failures={"server_error": 0.1},
        by_suffix={".md": "invalid_file"},
        by_id={"a": {"server_error": 0.2}},
        script={"b": [Failed("server_error", after=1.0), Completed(usage_bytes=3)]},
        order="lifo",
        retries=Retries(2, first=3.0),
        cancel="immediate",
    )
)
@example(Plan(decide=ingested))
@given(plans)
def test_a_plan_is_written_so_that_it_can_be_read_again(plan: Plan) -> None:
    data = plan_data(plan)
    assert json.loads(json.dumps(data)) == data
    again = plan_of(Table("plan", "", data), Profile())
    assert plan_data(again) == data
    # Probabilities are sums of floats inside; all else is the same.
    assert repr(again) == repr(plan)
    assert (again.script, again.decide) == (plan.script, plan.decide)


def test_what_no_data_can_say_of_a_plan_or_of_faults_is_shown() -> None:
    plan = Plan(service=lambda _file, _random: 1.0, order=len, size=len, decide=lambda _file: Never())
    shown = plan_data(plan)
    assert shown.keys() == {"workers", "repr"}
    assert all(f"{name}=" in shown["repr"] for name in ("service", "order", "size", "decide"))
    assert faults_data(Faults(slow=bool, dropped=0.5))["repr"] == "Faults(slow=<class 'bool'>)"


whens = st.booleans() | st.floats(0, 1) | st.lists(st.integers(1, 9) | st.text(min_size=1), max_size=3)
windows = st.builds(
    lambda when, since, length: {"when": when, "from": since, **({"until": since + length} if length else {})},
    whens,
    st.integers(0, 99),
    st.integers(0, 99),
)


@example(
    {"slow": {"when": [3, "vsfb_1"], "from": 1, "until": 2}, "stuck": 0.5, "dropped": False},
    {"slow_seconds": 2.0},
)
@example({"slow": {"when": 0.5}}, {})
@given(
    st.dictionaries(st.sampled_from(list(SOURCES)), whens | windows), st.sampled_from([{}, {"slow_seconds": 2.0}])
)
def test_so_are_faults(given: dict[str, Any], more: dict[str, Any]) -> None:
    faults = Faults(**given, **more)
    data = faults_data(faults)
    assert json.loads(json.dumps(data)) == data
    again = made(Table("faults", "", data), Faults)
    assert faults_data(again) == data
    assert again == faults


# Files


@pytest.mark.parametrize(
    ("what", "more", "end"),
    [
        ("complete", {"usage_bytes": 7}, ("completed", 7, None)),
        ("complete", {}, ("completed", 5, None)),
        ("fail", {}, ("failed", 0, "server_error")),
        ("fail", {"code": "invalid_file", "message": "It is empty."}, ("failed", 0, "invalid_file")),
        ("release", {}, ("in_progress", 0, None)),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_files_are_ended_by_hand_and_returned(what: str, more: Any, end: Any, several: bool) -> None:
    ask = Asked(MANUAL)
    uploaded = ask.standin.uploads.create(file=("a.txt", b"hello"), purpose="assistants").id
    store = store_with(ask, uploaded, "file-b", "file-c")
    named = {"file_ids": [uploaded, "file-c"]} if several else {"file_id": uploaded}
    found = ask.ok("POST", f"/_vsbatch/files/{what}", {"vector_store_id": store, **named, **more})
    file, *others = found["data"]
    assert [(other["id"], other["status"]) for other in others] == [("file-c", end[0])][: int(several)]
    error = file["last_error"] and file["last_error"]["code"]
    assert (file["status"], file["usage_bytes"], error) == end
    assert file == ask.ok("GET", f"/v1/vector_stores/{store}/files/{uploaded}")
    assert "message" not in more or file["last_error"]["message"] == more["message"]
    assert statuses(ask, store)["file-b"] == "in_progress"


FILES = {
    "all or none": (
        {"file_ids": ["file-a", "file-gone"]},
        (409, 409, 404),
    ),
    "no store": ({"vector_store_id": "vs_gone", "file_id": "file-a"}, (404, 404, 404)),
    "no file": ({}, (400, 400, 400)),
    "no files": ({"file_ids": []}, (400, 400, 400)),
    "both": ({"file_id": "file-a", "file_ids": ["file-a"]}, (400, 400, 400)),
    "a number": ({"file_ids": ["file-a", 7]}, (400, 400, 400)),
    "ended": ({"file_ids": ["file-a", "file-ended"]}, (409, 409, 409)),
    "an unknown key": ({"file_id": "file-a", "files": 1}, (400, 400, 400)),
    "no id": ({"file_id": ""}, (400, 400, 400)),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_ended_are_refused_and_none_is(name: str) -> None:
    ask = Asked(MANUAL)
    store = store_with(ask, "file-a", "file-ended")
    ask.standin.complete(store, ["file-ended"])
    before = ask.standin.snapshot()
    body, expected = FILES[name]
    got = tuple(
        ask("POST", f"/_vsbatch/files/{what}", {"vector_store_id": store, **body})
        for what in ("complete", "fail", "release")
    )
    assert tuple(answer.status for answer in got) == expected
    assert all(answer.message for answer in got)
    assert ask.standin.snapshot() == before


@pytest.mark.parametrize("cancel", ["immediate", "drain"])
def test_a_file_that_a_worker_gives_back_is_decided_anew(cancel: Any) -> None:
    first = {"file-a": [Never(holds_worker=True)], "file-b": [Never(holds_worker=False)]}
    standin = StandIn(Settings(profile=Profile(cancel=cancel), plan=Plan(workers=1, script=first)))
    store = standin.engine.vector_stores.create(file_ids=["file-a", "file-b", "file-c"])
    standin.advance(5)
    assert standin.simulation.busy == 1
    assert standin.release(store.id, ["file-c"])[0].status == "in_progress"  # it waits, and goes on waiting
    standin.release(store.id, ["file-a"])
    standin.advance(5)  # file-b never ends, and file-c takes its second
    files = {file.id: file.status for file in standin.engine.vector_stores.files.list(store.id)}
    assert files == {"file-a": "in_progress", "file-b": "in_progress", "file-c": "completed"}
    standin.engine.check()
    assert standin.simulation.busy == 1  # file-a again
    standin.simulation.plan = Plan(workers=1)
    standin.release(store.id, ["file-a", "file-b"])
    assert standin.simulation.run_until_idle() > 0
    assert {file.status for file in standin.engine.vector_stores.files.list(store.id)} == {"completed"}


def test_a_file_that_waits_to_be_tried_again_is_not_tried_twice() -> None:
    plan = Plan(workers=1, retries=Retries(1, first=100.0), failures="server_error")
    standin = StandIn(Settings(plan=plan))
    store = standin.engine.vector_stores.create(file_ids=["file-a"])
    standin.advance(1.5)
    standin.simulation.plan = Plan(workers=1)
    standin.release(store.id, ["file-a"])
    assert standin.simulation.run_until_idle() == 2.5
    assert standin.simulation.report.ended == 1


def test_a_simulation_says_which_file_it_cannot_release() -> None:
    standin = StandIn(MANUAL)
    store = standin.engine.vector_stores.create(file_ids=["file-a"])
    standin.complete(store.id, ["file-a"])
    with pytest.raises(Exception, match="already 'completed'"):
        standin.simulation.release("file-a", vector_store_id=store.id)
    with pytest.raises(Exception, match="it is not attached"):
        standin.simulation.release("file-b", vector_store_id=store.id)


# Time


def test_time_is_moved_stopped_and_let_go() -> None:
    ask = Asked(Settings(plan=Plan(workers=1)))
    start = ask.ok("GET", "/_vsbatch/")["clock"]["now"]
    assert ask.ok("POST", "/_vsbatch/clock/advance", {"seconds": 2.5}) == {
        "now": start + 2.5,
        "frozen": False,
        "real_time": False,
    }
    assert ask.ok("POST", "/_vsbatch/clock/freeze")["frozen"] is True
    store = store_with(ask, "file-a", "file-b")
    steps = []
    while (step := ask.ok("POST", "/_vsbatch/clock/step"))["stepped"]:
        steps.append((step["now"] - start, *statuses(ask, store).values()))
    pending, done = "in_progress", "completed"
    assert steps == [
        (2.5, pending, pending),  # file-a is picked up
        (3.5, pending, done),
        (3.5, pending, done),
        (4.5, done, done),
    ]
    assert ask.ok("POST", "/_vsbatch/clock/run")["frozen"] is False


@pytest.mark.parametrize(
    "seconds", [-1, "1", None, True, 1e400, [1], 253_402_300_799, pytest.param(10**400, id="huge")]
)
def test_time_that_is_none_is_refused(seconds: Any) -> None:
    ask = Asked()
    before = ask.standin.now
    assert ask("POST", "/_vsbatch/clock/advance", {"seconds": seconds}).status == 400
    assert ask("POST", "/_vsbatch/clock/advance", {}).message == "Missing required parameter: 'seconds'."
    assert ask.standin.now == before


def polled(ask: Asked, store: str, batch: str) -> Answer:
    return ask(
        "GET", f"/v1/vector_stores/{store}/file_batches/{batch}", headers=[("x-stainless-poll-helper", "true")]
    )


@pytest.mark.parametrize("plan", [Plan(), Plan.immediate()])
def test_while_time_is_frozen_nothing_is_processed_and_who_polls_waits(plan: Plan) -> None:
    ask = Asked(Settings(plan=plan, live=True))
    ask.standin.freeze()
    store = store_with(ask)
    batch = ask.ok("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": ["file-a"]})["id"]
    now = ask.standin.now
    for _ in range(3):
        answer = polled(ask, store, batch)
        assert (answer.body["status"], answer.headers["openai-poll-after-ms"]) == ("in_progress", "1000")
    assert ask.standin.now == now
    ask.standin.run()
    while polled(ask, store, batch).body["status"] == "in_progress":
        assert ask.standin.now < now + 10
    assert ask.standin.now > now


def test_a_plan_of_polls_counts_them_while_time_is_frozen() -> None:
    ask = Asked(Settings(plan=Plan.after_polls(2)))
    ask.standin.freeze()
    store = store_with(ask)
    batch = ask.ok("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": ["file-a"]})["id"]
    assert [polled(ask, store, batch).body["status"] for _ in range(2)] == ["in_progress", "completed"]


def test_live_time_passes_as_on_the_wall_clock_unless_it_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vsbatch_core.standin import world

    class Wall:
        now = 0.0

        def time(self) -> float:
            return 1_000.0

        def monotonic(self) -> float:
            return self.now

    wall = Wall()
    monkeypatch.setattr(world, "time", wall)
    ask = Asked(Settings(live=True))
    assert ask.standin.now == 1_000.0
    for now, frozen, expected in [
        (0.5, None, 0.5),
        (3.0, "freeze", 3.0),
        (7.0, None, 3.0),
        (9.0, "run", 3.0),
        (10, "", 4),
    ]:
        wall.now = now
        ask.ok("GET", "/v1/vector_stores")
        if frozen:
            ask.ok("POST", f"/_vsbatch/clock/{frozen}")
        assert ask.standin.now == 1_000.0 + expected
    ask.ok("POST", "/_vsbatch/reset")
    assert ask.standin.now == 1_000.0


# Plan and faults


def test_another_plan_decides_what_is_in_progress_at_once() -> None:
    ask = Asked(Settings(plan=Plan(service=1000.0)))
    store = store_with(ask, "file-a")
    ask.standin.advance(1)
    new = {"workers": 2, "service": {"kind": "uniform", "low": 1.0, "high": 1.0}}
    assert ask.ok("PUT", "/_vsbatch/plan", new) == new == ask.ok("GET", "/_vsbatch/plan")
    ask.standin.advance(1)
    assert statuses(ask, store) == {"file-a": "completed"}
    assert ask.standin.plan == Plan(workers=2, service=Uniform(1, 1))


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("plan", {"workers": 0}, "plan: workers: workers=0: without a worker no file would ever end."),
        ("plan", {"worker": 1}, "did you mean 'workers'?"),
        ("plan", {"service": {"kind": "uniform"}}, "Uniform(low=…), which is missing"),
        ("plan", {"cancel": "drain"}, "expected 'immediate', as profile.cancel says, but got 'drain'"),
        ("plan", {"repr": "Plan()"}, "there is no such key"),
        ("faults", {"droped": True}, "did you mean 'dropped'?"),
        ("faults", {"dropped": 2}, "2 is no probability"),
        ("faults", {"dropped": {"when": True, "till": 3}}, "'till' is no key of a window of time"),
        ("faults", {"dropped": {"from": 3, "until": 3}}, "it ends at 3 s and begins at 3 s"),
        ("faults", {"dropped": {"from": "1"}}, "'from' is a number of seconds since the start, not '1'"),
        ("faults", {"dropped": {"from": -1}}, "'from' is -1"),
        ("faults", {"dropped": {"until": 10**400}}, "'until' is an integer of 1329 bits"),
        ("faults", {"dropped": {"when": {"when": True}}}, "Faults(dropped=…) is True, a probability, a list"),
        ("faults", {"writes_per_minute": 0}, "give a whole number of 1 or more"),
    ],
)
def test_a_plan_or_faults_that_cannot_be_meant_are_refused_with_what_to_write(
    path: str, body: Any, said: str
) -> None:
    ask = Asked(Settings(faults=Faults(slow=[3])))
    before = ask.ok("GET", f"/_vsbatch/{path}")
    answer = ask("PUT", f"/_vsbatch/{path}", body)
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_value")
    assert said in answer.message
    assert ask.ok("GET", f"/_vsbatch/{path}") == before


def test_faults_act_from_the_next_request_on_and_what_was_remembered_stays() -> None:
    ask = Asked()
    ask.ok("PUT", "/_vsbatch/faults", {"rate_limit": True, "writes_per_minute": 1})
    store = store_with(ask)
    ask.ok("POST", f"/v1/vector_stores/{store}/files", {"file_id": "file-a"})
    assert ask("POST", f"/v1/vector_stores/{store}/files", {"file_id": "file-b"}).status == 429
    ask.ok("PUT", "/_vsbatch/faults", {"rate_limit": True, "writes_per_minute": 1, "first_list": True})
    assert ask("POST", f"/v1/vector_stores/{store}/files", {"file_id": "file-b"}).status == 429
    assert ask.ok("GET", "/_vsbatch/requests")["data"][-1]["faults"] == ["rate_limit"]
    ask.ok("PUT", "/_vsbatch/faults", {})
    ask.ok("POST", f"/v1/vector_stores/{store}/files", {"file_id": "file-b"})


@given(st.lists(st.integers(0, 6), max_size=4), st.integers(0, 4), st.integers(1, 4))
def test_a_fault_in_a_window_acts_in_it_and_nowhere_else(waits: list[int], since: int, length: int) -> None:
    window = {"when": True, "from": since, "until": since + length}
    standin = StandIn(Settings(faults=Faults(file_batch=window)))
    assert standin.faults.file_batch == During(True, since, since + length)
    assert Faults(file_batch=standin.faults.file_batch) == standin.faults
    ask = Asked(standin=standin)
    store = store_with(ask)
    at = 0
    for wait in [0, *waits]:
        standin.advance(wait)
        at += wait
        batch = ask.ok("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": ["file-a"]})
        acted = batch["object"] == "vector_store.file_batch"
        assert acted == (since <= at < since + length)


def test_a_file_that_waits_for_a_worker_shows_that_it_was_never_created() -> None:
    ask = Asked(Settings(plan=Plan(workers=1), faults=Faults(created_at_zero=True)))
    store = store_with(ask, "file-a", "file-b")
    ask.standin.step()
    files = ask.ok("GET", f"/v1/vector_stores/{store}/files?order=asc")["data"]
    assert {file["id"]: file["created_at"] == 0 for file in files} == {"file-a": False, "file-b": True}


def test_a_lost_response_is_recorded_and_ends_the_connection_where_the_server_can() -> None:
    ask = Asked(Settings(faults=Faults(dropped=[2])))
    aborted: list[bool] = []
    more = {"extensions": {"vsbatch.abort": lambda: aborted.append(True)}}
    ask.ok("GET", "/v1/files", **more)
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(ask.app(scope("GET", "/v1/files", **more), receive, send))
    assert (said, aborted) == ([], [True])
    ask.standin.set_faults(Faults(dropped=True))
    with pytest.raises(NoAnswer):
        asyncio.run(ask.app(scope("GET", "/v1/files"), receive, send))
    with pytest.raises(NoAnswer):
        ask.standin.dispatch(_request("GET", "/v1/files"))
    assert [(each.status, each.faults) for each in ask.standin.requests] == [
        (200, ()),
        *[(None, ("dropped",))] * 3,
    ]


def _request(method: str, path: str) -> Any:
    from vsbatch_core.adapters.http import Request

    return Request(method, path)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_slow_response_takes_virtual_time_unless_that_stands_still(frozen: bool) -> None:
    ask = Asked(Settings(faults=Faults(slow=True, slow_seconds=3)))
    if frozen:
        ask.standin.freeze()
    before = ask.standin.now
    ask.ok("GET", "/v1/files")
    assert ask.standin.now - before == (0 if frozen else 3)


def test_in_real_time_a_slow_response_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Asked(Settings(faults=Faults(slow=True, slow_seconds=3), real_time=True))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    before = ask.standin.now
    ask.ok("GET", "/v1/files")
    assert (slept, ask.standin.now) == ([3], before)
    # Who calls it without a loop has nothing to wait with.
    assert ask.standin.dispatch(_request("GET", "/v1/files")).status == 200


# Requests


def test_every_request_is_recorded_but_those_of_the_control_api() -> None:
    ask = Asked(Settings(api={"api_keys": ("right",), "body_limit": 100, "json_limit": 50}))
    key = [("authorization", "Bearer right")]
    ask.ok("GET", "/v1/vector_stores?limit=2", headers=key)
    assert ask("GET", "/v1/vector_stores", headers=[("authorization", "Bearer wrong")]).status == 401
    assert ask("POST", "/v1/vector_stores", headers=key, parts=[b"x" * 40, b"x" * 40, b""]).status == 413
    ask("POST", "/v1/vector_stores", {"name": 7}, headers=key)
    ask.ok("GET", "/_vsbatch/")
    found = ask.ok("GET", "/_vsbatch/requests")["data"]
    assert [each["number"] for each in found] == [1, 2, 3, 4]
    assert [each["status"] for each in found] == [200, 401, 413, 400]
    assert [each["path"] for each in found] == ["/v1/vector_stores"] * 4
    assert (found[0]["query"], found[0]["message"]) == ("limit=2", None)
    assert found[0]["response"]["object"] == "list"
    assert "Request body too large" in found[2]["message"]
    assert found[3]["body"] == {"name": 7}
    assert found[3]["message"] == found[3]["response"]["error"]["message"]
    page = ask.ok("GET", "/_vsbatch/requests?after=1&limit=2")
    assert ([each["number"] for each in page["data"]], page["has_more"]) == ([2, 3], True)
    assert ask.ok("GET", "/_vsbatch/requests?after=2")["has_more"] is False
    assert ask.ok("GET", "/_vsbatch/")["requests"] == 4
    assert ask.ok("DELETE", "/_vsbatch/requests")["data"] == []
    assert ask.ok("GET", "/_vsbatch/")["requests"] == 0


@pytest.mark.parametrize(
    "query", ["after=x", "limit=0", "limit=10001", "limit=-1", "last=1", "after", "after=" + "9" * 30]
)
def test_a_query_that_cannot_be_meant_is_refused(query: str) -> None:
    assert Asked()("GET", f"/_vsbatch/requests?{query}").status == 400


def test_what_the_hosts_own_part_raises_is_recorded_as_the_error_that_the_client_saw() -> None:
    ask = Asked(Settings(plan=lambda _file: 1 / 0, live=False))  # type: ignore[arg-type, return-value]
    store = store_with(ask, "file-a")
    with pytest.raises(ZeroDivisionError):
        ask("GET", f"/v1/vector_stores/{store}/files/file-a")
    assert [each.status for each in ask.standin.requests] == [200, 500]
    with pytest.raises(ZeroDivisionError):
        ask("POST", "/_vsbatch/clock/advance", {"seconds": 1})


# Beginning again


def program(ask: Asked) -> list[Any]:
    """What is responded to a few requests, polls included."""
    store = store_with(ask)
    upload = ask.standin.uploads.create(file=("a.txt", b"hello"), purpose="assistants")
    batch = ask.ok("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": [upload.id, "file-b"]})
    return [store, upload, batch, [polled(ask, store, batch["id"]).body for _ in range(3)]]


def test_after_a_reset_all_is_as_at_the_beginning() -> None:
    ask = Asked(Settings(plan=Plan(failures={"server_error": 0.5}), faults=Faults(file_batch=[2]), seed=3))
    begin = ask.ok("GET", "/_vsbatch/")
    first = program(ask)
    exchanges = [(each.number, each.at, each.response) for each in ask.standin.requests]
    ask.standin.freeze()
    ask.standin.set_plan(Plan.manual())
    ask.standin.set_faults(Faults(dropped=True))
    again = ask.ok("POST", "/_vsbatch/reset")
    assert {**again, "last_event_id": ""} == {**begin, "last_event_id": ""}
    assert program(ask) == first
    assert [(each.number, each.at, each.response) for each in ask.standin.requests] == exchanges


def test_a_snapshot_restores_stores_uploads_and_time_and_what_follows_is_the_same_each_time() -> None:
    ask = Asked(Settings(seed=3))
    program(ask)
    ask.standin.uploads.create(
        file=("b.txt", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    whole = ask.ok("GET", "/_vsbatch/snapshot")
    assert json.loads(json.dumps(whole)) == whole
    follows = []
    for data in (whole, {key: whole[key] for key in ("engine", "uploads")}):
        for _ in range(2):
            state = ask.ok("PUT", "/_vsbatch/snapshot", data)
            assert state["clock"]["frozen"] is False
            now = ask.ok("GET", "/_vsbatch/snapshot")
            assert now["engine"] == whole["engine"]
            assert now["uploads"] == whole["uploads"]
            assert now["now"] == whole["now"] if "now" in data else now["now"] <= whole["now"]
            follows.append(program(ask))
    assert follows[0] == follows[1] != follows[2] == follows[3]
    other = Asked(Settings(seed=None))
    other.ok("PUT", "/_vsbatch/snapshot", whole)
    assert other.standin.snapshot()["engine"] == whole["engine"]
    program(other)


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


UPLOAD = {
    "id": "file-1",
    "filename": "a",
    "purpose": "assistants",
    "created_at": 1,
    "expires_at": None,
    "content": "",
}


def _with_upload(**changes: Any) -> Callable[[Any], Any]:
    return lambda whole: {**whole, "uploads": [{**UPLOAD, **changes}]}


BROKEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no engine": (lambda whole: _without(whole, "engine"), "snapshot.engine"),
    "no uploads": (lambda whole: _without(whole, "uploads"), "snapshot.uploads"),
    "more": (lambda whole: {**whole, "more": 1}, "snapshot.more"),
    "another format": (lambda whole: {**whole, "engine": {"format": "x"}}, "Cannot read the snapshot"),
    "an engine that is none": (lambda whole: {**whole, "engine": 7}, "Cannot read the snapshot"),
    "a time that is none": (lambda whole: {**whole, "now": "noon"}, "now"),
    "uploads that are none": (lambda whole: {**whole, "uploads": 7}, "uploads"),
    "an upload that is none": (lambda whole: {**whole, "uploads": [7]}, "uploads[0]"),
    "half an upload": (lambda whole: {**whole, "uploads": [_without(UPLOAD, "content")]}, "uploads[0].content"),
    "content": (_with_upload(content="?"), "uploads[0].content"),
    "content beyond ASCII": (
        lambda whole: {**whole, "uploads": [{**UPLOAD, "content": "é"}]},
        "uploads[0].content",
    ),
    "a purpose": (_with_upload(purpose="fun"), "'fun'"),
    "an id": (_with_upload(id="x"), "uploads[0].id"),
    "an id twice": (lambda whole: {**whole, "uploads": [UPLOAD, UPLOAD]}, "file-1"),
    "an expiry": (
        lambda whole: {**whole, "uploads": [{**UPLOAD, "expires_at": "soon"}]},
        "uploads[0].expires_at",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_snapshot_that_is_none_is_refused_with_its_place_and_changes_nothing(name: str) -> None:
    ask = Asked(Settings(seed=3))
    program(ask)
    before = ask.ok("GET", "/_vsbatch/snapshot")
    change, said = BROKEN[name]
    answer = ask("PUT", "/_vsbatch/snapshot", change(before))
    assert 400 <= answer.status < 500
    assert said in json.dumps(answer.body)
    assert ask.ok("GET", "/_vsbatch/snapshot") == before


def test_uploads_that_have_no_room_are_refused() -> None:
    uploads = Uploads(limit_bytes=10)
    from vsbatch_core.adapters.uploads import FileObject

    with pytest.raises(Exception, match="at most 10 bytes"):
        uploads.put(FileObject("file-1", 9, 1, "ab", "assistants"), bytes(9))
    assert uploads.kept_bytes == 0


def test_resets_while_requests_run_in_threads_leave_no_trace_of_the_old_in_the_new() -> None:
    standin = StandIn(Settings(faults=Faults(file_batch=0.5)))
    standin.watch()
    ask = Asked(standin=standin)
    failed: list[Any] = []
    stop: list[bool] = []

    def work() -> None:
        while not stop:
            answer = standin.dispatch(_request("POST", "/v1/vector_stores"))
            failed.extend([answer] if answer.status != 200 else [])
            standin.advance(0.1)

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        ask.ok("POST", "/_vsbatch/reset")
        numbers = [each.number for each in standin.requests.after(0)]
        assert sorted(set(numbers)) == numbers
    stop.append(True)
    for thread in threads:
        thread.join()
    assert failed == []
    ask.ok("POST", "/_vsbatch/reset")
    ask.ok("POST", "/v1/vector_stores", {})
    assert [each.number for each in standin.requests] == [1]
    kinds = [item.kind for item in standin.feed.after(None)]
    assert kinds[-3:] == [
        "reset",
        "event",
        "request",
    ]


# What cannot be steered


def test_where_something_cannot_be_steered_that_is_said_with_409() -> None:
    from vsbatch_core.cli.durable import ONE_OF_MANY

    engine, uploads = Engine(), Uploads()
    why = {"faults": ONE_OF_MANY, "requests": ONE_OF_MANY}
    standin = StandIn(Settings(live=True), engine=engine, uploads=uploads, why_not=why)  # type: ignore[arg-type]
    ask = Asked(standin=standin)
    assert ask.ok("GET", "/_vsbatch/")["can"] == dict.fromkeys(POWERS, False)
    refused = [
        ("POST", "clock/advance", NOT_OURS),
        ("POST", "clock/freeze", NOT_OURS),
        ("POST", "clock/run", NOT_OURS),
        ("POST", "clock/step", NOT_OURS),
        ("PUT", "plan", NOT_OURS),
        ("PUT", "faults", ONE_OF_MANY),
        ("POST", "reset", KEPT),
        ("PUT", "snapshot", KEPT),
        ("GET", "requests", ONE_OF_MANY),
        ("DELETE", "requests", ONE_OF_MANY),
    ]
    before = ask.standin.snapshot()["engine"]
    for method, path, reason in refused:
        answer = ask(method, f"/_vsbatch/{path}", {"seconds": 1, "engine": 1})
        assert (answer.status, answer.body["error"]["type"], answer.message) == (409, "conflict_error", reason)
    with pytest.raises(Exception, match="Several processes"):
        _ = standin.clock
    with pytest.raises(Exception, match="Several processes"):
        _ = standin.simulation
    assert ask.standin.snapshot()["engine"] == before
    assert ask.ok("GET", "/_vsbatch/faults") == {}
    # What can be done: files are ended and given back by whoever holds them.
    store = store_with(ask, "file-a", "file-b", "file-c")
    (claim,) = engine.processing.claim(worker="w", limit=1)
    ask.ok("POST", "/_vsbatch/files/release", {"vector_store_id": store, "file_ids": [claim.file.id, "file-b"]})
    assert engine.view.claim(store, claim.attachment) is None
    ask.ok("POST", "/_vsbatch/files/complete", {"vector_store_id": store, "file_id": "file-a"})
    batch = ask.ok("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": ["file-d"]})
    assert polled(ask, store, batch["id"]).headers["openai-poll-after-ms"] == "1000"
    standin.close()


def test_a_database_with_one_process_keeps_its_stores_and_can_be_steered_else(
    tmp_path: Any,
) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    clock = VirtualClock(2e9)
    with Engine.open(url, clock=clock) as engine, closing(Uploads.open(url, clock=clock)) as uploads:
        ask = Asked(
            standin=StandIn(
                Settings(),
                engine=engine,
                uploads=uploads,
            )
        )
        store = store_with(ask, "file-a")
        uploads.create(file=("a.txt", b"hello"), purpose="assistants")
        uploads.create(file=("b.txt", b"hello"), purpose="assistants")
        ask.ok("PUT", "/_vsbatch/plan", {"service": 2.0})
        ask.ok("POST", "/_vsbatch/clock/advance", {"seconds": 2})
        assert statuses(ask, store) == {"file-a": "completed"}
        assert ask("POST", "/_vsbatch/reset").message == KEPT
        whole = ask.ok("GET", "/_vsbatch/snapshot")
    other = Asked()
    other.ok("PUT", "/_vsbatch/snapshot", whole)
    assert other.ok("GET", "/_vsbatch/snapshot") == whole


# Who may ask, and how much


def test_without_being_asked_for_there_is_no_control_api() -> None:
    ask = Asked(control=False)
    assert ask("GET", "/_vsbatch/").status == 404
    assert ask("POST", "/_vsbatch/reset").status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([ALONE], 200),
        ([("host", "[::1]:8000")], 200),
        ([("host", "evil.example")], 403),
        ([("host", "127.0.0.1.evil.example:8000")], 403),
        ([ALONE, ("origin", "http://localhost:8000")], 200),
        ([ALONE, ("origin", "http://localhost:3000")], 403),
        ([ALONE, ("origin", "http://evil.example")], 403),
        ([ALONE, ("origin", "null")], 403),
        ([("origin", "http://localhost:8000")], 403),
        ([ALONE, ("sec-fetch-site", "same-origin")], 200),
        ([ALONE, ("sec-fetch-site", "none")], 200),
        ([ALONE, ("sec-fetch-site", "cross-site")], 403),
        ([ALONE, ("sec-fetch-site", "same-site")], 403),
    ],
)
def test_pages_of_other_origins_and_other_names_of_this_machine_are_kept_out(headers: Any, status: int) -> None:
    ask = Asked()
    store = store_with(ask)
    for method, path in [("GET", ""), ("GET", "snapshot"), ("POST", "reset")]:
        answer = ask(method, f"/_vsbatch/{path}", headers=headers)
        assert (answer.status, "access-control-allow-origin" in answer.headers) == (status, False)
    assert (store in ask.standin.engine.view.vector_store_ids()) == (status == 403)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer k3y", 200),
        ("bearer  k3y ", 200),
        ("Bearer wrong", 401),
        ("Basic k3y", 401),
        ("k3y", 401),
        ("Bearer é", 401),
    ],
)
def test_with_a_key_anybody_who_has_it_may_ask_from_anywhere(header: str, status: int) -> None:
    ask = Asked(control=False, control_key="k3y")
    answer = ask("GET", "/_vsbatch/", headers=[("host", "example.com"), ("authorization", header)])
    assert answer.status == status
    assert ask("GET", "/_vsbatch/events").status == 401
    assert ask("GET", "/_vsbatch/").headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_vsbatch", 200),
        ("GET", "/_vsbatch/nothing", 404),
        ("GET", "/_vsbatch/clock/", 404),
        ("DELETE", "/_vsbatch/", 405),
        ("POST", "/_vsbatch/events", 405),
        ("GET", "/_vsbatch/reset", 405),
        ("GET", "/_vsbatchx", 404),
    ],
)
def test_a_route_that_is_not_there_is_said_so(method: str, path: str, status: int) -> None:
    answer = Asked()(method, path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert status == 200 or answer.message
    assert (status == 405) == ("allow" in answer.headers)


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b'{"seconds": 1', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert Asked()("POST", "/_vsbatch/clock/advance", body).status == 400


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "low", "end", "when", "from", "until", "times", "x"]), inner)
    ),
    max_leaves=6,
)
KEYS = {
    "PUT plan": (*PLAN, "service", "retries", "script", "like"),
    "PUT faults": (*SOURCES, "writes_per_minute", "slow_seconds"),
    "POST files/complete": ("vector_store_id", "file_id", "file_ids", "usage_bytes"),
    "POST files/fail": ("vector_store_id", "file_id", "file_ids", "code", "message"),
    "POST files/release": ("vector_store_id", "file_id", "file_ids"),
    "POST clock/advance": ("seconds",),
    "PUT snapshot": ("engine", "uploads", "now"),
}


@given(st.data(), st.sampled_from(list(KEYS)))
def test_whatever_a_body_holds_is_done_or_refused_and_a_refusal_changes_nothing(data: Any, route: str) -> None:
    ask = Asked(MANUAL)
    store = store_with(ask, "file-a")
    ids = anything | st.sampled_from(
        [store, "file-a", ["file-a"], "server_error", [], {"a": 0.1}, [{"end": "never"}]]
    )
    body = data.draw(st.dictionaries(st.sampled_from(KEYS[route]), ids, max_size=4))
    before = ask.ok("GET", "/_vsbatch/"), ask.ok("GET", "/_vsbatch/snapshot")
    method, path = route.split()
    answer = ask(method, f"/_vsbatch/{path}", body)
    assert answer.status in (200, 400, 404, 409, 413), answer
    if answer.status != 200:
        assert answer.message
        after = ask.ok("GET", "/_vsbatch/"), ask.ok("GET", "/_vsbatch/snapshot")
        assert json.dumps(after) == json.dumps(before)


def test_a_body_that_is_too_long_is_refused_as_soon_as_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Asked()
    long = [("content-length", str(control.LONGEST + 1))]
    assert ask("POST", "/_vsbatch/reset", headers=long).status == 413
    assert ask("POST", "/_vsbatch/reset", headers=[("content-length", "9" * 5000)]).status == 413
    part = b" " * (control.LONGEST // 2 + 1)
    assert ask("POST", "/_vsbatch/reset", parts=[part, part, b""]).status == 413
    # One of a snapshot may be longer, and is then read in a thread.
    whole = json.dumps(ask.ok("GET", "/_vsbatch/snapshot")).encode()
    padded = whole + b" " * control.LONGEST
    ask.ok("PUT", "/_vsbatch/snapshot", padded)
    monkeypatch.setitem(
        control.ROUTES["snapshot"], "PUT", control.Route(control.ROUTES["snapshot"]["PUT"].call, None, longest=10)
    )
    assert ask("PUT", "/_vsbatch/snapshot", whole).status == 413


def test_a_client_that_goes_away_before_its_body_is_there_changes_nothing() -> None:
    ask = Asked()
    store = store_with(ask)
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(ask.app(scope("POST", "/_vsbatch/reset"), receive, send))
    assert said == []
    assert ask.standin.engine.view.vector_store_ids() == (store,)


def test_names_of_this_machine_are_known() -> None:
    assert all(
        map(is_loopback, ("localhost", "LOCALHOST:1", "a.localhost:8000", "127.1.2.3:80", "[::1]", "[::1]:80"))
    )
    assert not any(
        map(is_loopback, ("", "example.com", "10.0.0.1", "[2001:db8::1]:80", "localhost.example", "[x]:1"))
    )


# The stream of events


class Stream:
    """A reader of ``GET /_vsbatch/events``, in the loop of its test."""

    def __init__(self, app: StandInApp, path: str = "/_vsbatch/events", headers: Any = ()) -> None:
        self.said: asyncio.Queue[Any] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.task = asyncio.ensure_future(app(scope("GET", path, headers), self.receive, self.said.put))
        self.first = True

    async def receive(self) -> Any:
        if self.first:
            self.first = False
            return {"type": "http.request", "body": b""}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def start(self) -> Any:
        start, comment = await self.said.get(), await self.said.get()
        assert (comment["body"], comment["more_body"]) == (b": \n\n", True)
        return start

    async def item(self) -> tuple[str, str, Any]:
        while (body := (await self.said.get())["body"]).startswith(b":"):
            pass
        id, kind, data = (line.partition(": ")[2] for line in body.decode().strip().split("\n"))
        return id, kind, json.loads(data)


def test_the_stream_tells_what_happens_and_goes_on_where_the_reader_was() -> None:
    ask = Asked(MANUAL)

    async def read() -> None:
        stream = Stream(ask.app)
        start = await stream.start()
        assert (start["status"], dict(start["headers"])[b"content-type"]) == (200, b"text/event-stream")
        store = ask.standin.engine.vector_stores.create(file_ids=["file-a"])
        _, kind, data = await stream.item()
        assert (kind, data["kind"], data["vector_store_id"]) == ("event", "vector_store.created", store.id)
        ask.standin.dispatch(_request("GET", "/v1/files"))
        assert (await stream.item())[1:] == ("request", ask.standin.requests[0].data(bodies=False))
        ask.standin.freeze()
        assert (await stream.item())[1:] == ("clock", ask.standin.clock_data())
        ask.standin.set_plan(Plan(workers=3))
        assert (await stream.item())[1:] == ("plan", {"workers": 3, "service": 1.0})
        ask.standin.set_faults(Faults(slow=0.5))
        assert (await stream.item())[1:] == ("faults", {"slow": 0.5})
        ask.standin.reset()
        last, kind, data = await stream.item()
        assert (kind, data) == ("reset", {})
        stream.gone.set()
        await stream.task
        assert ask.standin.feed.readers == 0
        ask.standin.engine.vector_stores.create()
        resumed = (
            Stream(ask.app, headers=[("last-event-id", last)]),
            Stream(ask.app, f"/_vsbatch/events?after={last}"),
        )
        for again in resumed:
            await again.start()
            assert (await again.item())[1] == "event"
            again.gone.set()
            await again.task
        stale = Stream(ask.app, headers=[("last-event-id", "of-another-run-7")])
        await stale.start()
        assert [(await stale.item())[1] for _ in range(3)] == ["gap", "event", "request"]
        assert not stale.task.done()
        ask.app.close()
        await stale.task
        assert (await stale.said.get())["body"] is not None

    asyncio.run(read())


def test_streams_end_with_the_application_and_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from vsbatch_core.standin import app as module

    monkeypatch.setattr(module, "MOST_READERS", 2)
    ask = Asked()

    async def read() -> None:
        streams = [Stream(ask.app) for _ in range(2)]
        for stream in streams:
            await stream.start()
        third = Stream(ask.app)
        await third.task
        assert (await third.said.get())["status"] == 503
        messages = iter(["lifespan.startup", "lifespan.shutdown"])
        said: list[Any] = []

        async def receive() -> Any:
            return {"type": next(messages)}

        async def send(message: Any) -> None:
            said.append(message["type"])

        await ask.app({"type": "lifespan"}, receive, send)
        await asyncio.gather(*(stream.task for stream in streams))
        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(read())
    assert MOST_READERS == 100


def test_a_stream_that_has_nothing_to_say_says_so_and_lets_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from vsbatch_core.standin import app as module

    monkeypatch.setattr(module, "TICK", 0.001)
    monkeypatch.setattr(module, "QUIET", 0.01)
    ask = Asked(Settings(live=True))

    async def read() -> None:
        before = ask.standin.now
        stream = Stream(ask.app)
        await stream.start()
        assert (await stream.said.get())["body"] == b":\n\n"
        assert ask.standin.now > before
        stream.gone.set()
        await stream.task

    asyncio.run(read())
    assert TICK < QUIET


def test_a_slow_reader_holds_nothing_but_its_place() -> None:
    """It waits while it is sent an item; what is dropped meanwhile is a gap to it, and no more is kept for it."""
    ask = Asked(MANUAL)
    feed = ask.standin.feed
    release = asyncio.Event()

    async def read() -> None:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)
            if len(said) == 3:
                await release.wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(ask.app(scope("GET", "/_vsbatch/events"), receive, send))
        while not feed.readers:
            await asyncio.sleep(0)
        for _ in range(5000):
            ask.standin.run()
        while len(said) < 3:
            await asyncio.sleep(0)
        assert len(feed.after(None, 10_000)) == 1000
        assert len(said) == 3
        for _ in range(2000):
            ask.standin.run()
        release.set()
        while len(said) < 1004:
            await asyncio.sleep(0)
        kinds = [message["body"].split(b"event: ")[1].split(b"\n")[0] for message in said[2:1004]]
        assert kinds.count(b"gap") == 2  # once for each burst
        feed.close()
        await task

    asyncio.run(read())


def test_a_websocket_is_turned_away() -> None:
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(Asked().app({"type": "websocket"}, receive, send))
    assert said == [{"type": "websocket.close"}]


def test_observers_see_every_exchange() -> None:
    ask = Asked()
    seen: list[int] = []
    ask.standin.observers.append(lambda exchange: seen.append(exchange.number))
    for _ in range(3):
        ask.ok("GET", "/v1/files")
    assert seen == [1, 2, 3]


def test_an_order_that_the_files_have_no_size_for_leaves_the_old_plan() -> None:
    standin = StandIn(Settings(plan=Plan(service=Constant(5.0))))
    store = standin.engine.vector_stores.create(file_ids=["file-a"])
    with pytest.raises(TypeError, match="plan is a Plan or a function"):
        standin.set_plan(7)
    standin.advance(5)
    assert standin.engine.vector_stores.retrieve(store.id).file_counts.completed == 1
