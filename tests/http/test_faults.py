"""Faults at the HTTP face: what clients meet, and that the engine underneath stays exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, Profile, SystemClock, VirtualClock
from vsbatch_core.adapters.faults import SOURCES, Faults, NoAnswer, TimedOut
from vsbatch_core.adapters.faulty import FaultyApi, Recent
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.simulation import Never, Plan, Simulation

from ..helpers.strategies import new_engine

JSON = (("content-type", "application/json"),)
STORE = "/v1/vector_stores/vs_1"
BATCH = f"{STORE}/file_batches/vsfb_1"


def sent(method: str, path: str, body: Any = None, *more: tuple[str, str]) -> Request:
    return Request(method, path, headers=(*JSON, *more), body=b"" if body is None else json.dumps(body).encode())


def api_of(faults: Faults, engine: Engine | None = None, **more: Any) -> FaultyApi:
    """A face over a store ``vs_1`` with batch ``vsfb_1`` of two files, created through it."""
    api = FaultyApi(engine=engine or new_engine(), faults=faults, **more)
    api.dispatch(sent("POST", "/v1/vector_stores", {"name": "s"}))
    api.dispatch(sent("POST", f"{STORE}/file_batches", {"file_ids": ["file-a", "file-b"]}))
    return api


def got(response: Response) -> Any:
    return json.loads(response.body)


def passed(api: FaultyApi, seconds: float) -> None:
    clock: Any = api.engine.clock
    clock.advance(seconds)


# What each is


def test_every_fault_says_what_it_is_and_where_it_is_known_from() -> None:
    switches = [field.name for field in fields(Faults) if field.default is False]
    assert list(SOURCES) == switches
    assert all(what and source for what, source in SOURCES.values())


def test_without_faults_every_answer_is_the_plain_one() -> None:
    plain, faulty = Api(new_engine()), FaultyApi(engine=new_engine())
    for request in (
        sent("POST", "/v1/vector_stores", {"file_ids": ["file-a"]}),
        sent("POST", f"{STORE}/file_batches", {"files": [{"file_id": "file-b"}]}),
        sent("GET", BATCH),
        sent("GET", f"{BATCH}/files"),
        sent("GET", f"{STORE}/files/file-a"),
        sent("GET", "/nowhere"),
    ):
        assert faulty.dispatch(request) == plain.dispatch(request)


@pytest.mark.parametrize("write", ["files", "file_batches"])
def test_a_store_takes_so_many_writes_a_minute_and_says_when_to_come_back(write: str) -> None:
    api = api_of(Faults(rate_limit=True, writes_per_minute=3))
    body = {"file_id": "file-c"} if write == "files" else {"file_ids": ["file-c"]}
    request = sent("POST", f"{STORE}/{write}", body)
    passed(api, 10)
    assert [api.dispatch(request).status for _ in range(3)] == [200, 200, 429]
    passed(api, 0.5)
    response = api.dispatch(request)
    # The first of the minute was 10.5 seconds ago.
    assert dict(response.headers)["retry-after"] == "50"
    assert got(response)["error"]["code"] == "rate_limit_exceeded"
    passed(api, 49.4)
    assert api.dispatch(request).status == 429
    passed(api, 0.1)
    assert api.dispatch(request).status == 200


@given(st.lists(st.tuples(st.sampled_from((0, 0.3, 7, 29, 61)), st.sampled_from(("vs_1", "vs_2"))), max_size=40))
def test_no_store_ever_serves_more_writes_in_any_minute_and_reads_are_free(
    writes: list[tuple[float, str]],
) -> None:
    api = api_of(Faults(rate_limit=True, writes_per_minute=4))
    api.dispatch(sent("POST", "/v1/vector_stores", {}))
    served: dict[str, list[float]] = {"vs_1": [api.engine.clock.time()], "vs_2": []}
    for wait, store in writes:
        passed(api, wait)
        now = api.engine.clock.time()
        response = api.dispatch(sent("POST", f"/v1/vector_stores/{store}/files", {"file_id": "file-x"}))
        assert api.dispatch(sent("GET", f"/v1/vector_stores/{store}/files")).status == 200
        full = sum(now - at < 60 for at in served[store]) >= 4
        assert response.status == (429 if full else 200)
        if not full:
            served[store].append(now)


def test_a_write_that_the_api_refuses_does_not_count() -> None:
    api = api_of(Faults(rate_limit=True, writes_per_minute=2))
    for _ in range(5):
        assert api.dispatch(sent("POST", f"{STORE}/files", {"file_id": 7})).status == 400
    assert api.dispatch(sent("POST", f"{STORE}/files", {"file_id": "file-c"})).status == 200


@pytest.mark.parametrize("path", [f"{STORE}/files", f"{BATCH}/files"])
def test_a_list_right_after_create_answers_500_and_200_two_seconds_later(path: str) -> None:
    api = api_of(Faults(first_list=True))
    assert api.dispatch(sent("GET", path)).status == 500
    passed(api, 1.9)
    response = api.dispatch(sent("GET", path))
    assert (response.status, got(response)["error"]["type"]) == (500, "server_error")
    passed(api, 0.1)
    assert [file["id"] for file in got(api.dispatch(sent("GET", path)))["data"]] == ["file-b", "file-a"]


def test_a_file_that_was_just_attached_answers_404_however_it_was_attached() -> None:
    api = api_of(Faults(read_after_write=True))
    api.dispatch(sent("POST", f"{STORE}/files", {"file_id": "file-c"}))
    api.dispatch(sent("POST", f"{STORE}/file_batches", {"files": [{"file_id": "file-d"}]}))
    api.dispatch(sent("POST", "/v1/vector_stores", {"file_ids": ["file-e"]}))
    paths = [f"{STORE}/files/file-{letter}" for letter in "abcd"] + ["/v1/vector_stores/vs_2/files/file-e"]
    never = got(api.dispatch(sent("GET", f"{STORE}/files/file-never")))
    for path in paths:
        response = api.dispatch(sent("GET", path))
        assert response.status == 404
        assert set(got(response)["error"]) == set(never["error"])
        assert got(response)["error"]["message"].startswith(f"No file found with id '{path.rsplit('/', 1)[1]}'")
    passed(api, 1)
    assert [api.dispatch(sent("GET", path)).status for path in paths] == [200] * 5


def test_the_retrieval_of_a_batch_answers_its_store_and_still_says_when_to_poll_again() -> None:
    api = api_of(Faults(answers_store=True))
    response = api.dispatch(sent("GET", BATCH))
    assert got(response) == got(api.dispatch(sent("GET", STORE)))
    assert got(response)["object"] == "vector_store"
    assert dict(response.headers)["openai-poll-after-ms"] == "1000"


def test_a_file_shows_created_at_0_until_a_worker_has_picked_it_up() -> None:
    simulation = Simulation(plan=Plan(workers=1, service=5.0), faults=Faults(created_at_zero=True))
    stores = simulation.engine.vector_stores
    store = stores.create()
    batch = stores.file_batches.create(store.id, file_ids=["file-a", "file-b"])

    def shown() -> dict[str, bool]:
        path = f"/v1/vector_stores/{store.id}/file_batches/{batch.id}/files"
        files = got(simulation.api.dispatch(sent("GET", path)))["data"]
        one = got(simulation.api.dispatch(sent("GET", f"/v1/vector_stores/{store.id}/files/file-b")))
        assert one in files
        return {file["id"]: file["created_at"] == batch.created_at for file in files}

    assert shown() == {"file-a": False, "file-b": False}
    simulation.advance(1)
    assert shown() == {"file-a": True, "file-b": False}
    simulation.advance(5)
    assert shown() == {"file-a": True, "file-b": True}


def test_a_file_that_a_worker_took_and_forgot_was_picked_up() -> None:
    simulation = Simulation(plan=Plan(script={"file-a": Never()}), faults=Faults(created_at_zero=True))
    store = simulation.engine.vector_stores.create(file_ids=["file-a"])
    assert simulation.waits(store.id, "file-a")
    simulation.run_until_idle()
    assert not simulation.waits(store.id, "file-a")


def test_without_a_simulation_a_file_is_picked_up_when_a_worker_claims_it() -> None:
    api = api_of(Faults(created_at_zero=True))
    api.engine.processing.claim(worker="worker-1", vector_store_id="vs_1")
    files = got(api.dispatch(sent("GET", f"{STORE}/files")))["data"]
    assert {file["id"]: bool(file["created_at"]) for file in files} == {"file-a": True, "file-b": False}


def test_a_stuck_batch_shows_all_in_progress_until_it_is_cancelled() -> None:
    api = api_of(Faults(stuck=True))
    begun = api.dispatch(sent("GET", BATCH))
    for id in ("file-a", "file-b"):
        api.engine.processing.complete("vs_1", id)
    assert api.dispatch(sent("GET", BATCH)) == begun
    assert got(api.dispatch(sent("POST", f"{BATCH}/cancel")))["status"] == "completed"
    assert got(api.dispatch(sent("GET", BATCH)))["status"] == "completed"


def test_a_stuck_batch_that_runs_keeps_the_header_that_it_has() -> None:
    api = api_of(Faults(stuck=True))
    api.engine.processing.complete("vs_1", "file-a")
    response = api.dispatch(sent("GET", BATCH))
    assert got(response)["file_counts"]["in_progress"] == 2
    assert [name for name, _ in response.headers].count("openai-poll-after-ms") == 1


def test_a_slow_answer_takes_virtual_time_and_is_lost_on_a_client_that_does_not_wait() -> None:
    api = api_of(Faults(slow=[3, 4, 5, 6], slow_seconds=30))
    start = api.engine.clock.time()
    assert api.dispatch(sent("GET", STORE)).status == 200
    assert api.engine.clock.time() == start + 30
    with pytest.raises(TimedOut, match="was not answered within 10 s"):
        api.dispatch(sent("GET", STORE, None, ("X-Stainless-Read-Timeout", "10")))
    assert api.engine.clock.time() == start + 40
    for nonsense in ("soon", "-1"):
        assert api.dispatch(sent("GET", STORE, None, ("X-Stainless-Read-Timeout", nonsense))).status == 200


def test_a_dropped_answer_is_lost_but_the_write_was_made() -> None:
    api = api_of(Faults(dropped=[3]))
    with pytest.raises(NoAnswer, match=r"The connection was lost before POST .* was answered"):
        api.dispatch(sent("POST", f"{STORE}/files", {"file_id": "file-c"}))
    assert api.dispatch(sent("GET", f"{STORE}/files/file-c")).status == 200


def test_the_object_of_a_batch_can_be_the_recorded_word() -> None:
    api = api_of(Faults(file_batch=True))
    created = got(api.dispatch(sent("POST", f"{STORE}/file_batches", {"file_ids": ["file-c"]})))
    words = {
        created["object"],
        got(api.dispatch(sent("GET", BATCH)))["object"],
        got(api.dispatch(sent("POST", f"{BATCH}/cancel")))["object"],
    }
    assert words == {"vector_store.file_batch"}
    assert api.state.met["file_batch"] == 4


def test_a_fault_that_changes_nothing_was_not_met() -> None:
    profile = Profile(batch_object="vector_store.file_batch")
    api = api_of(Faults(file_batch=True, stuck=True), new_engine(profile))
    api.dispatch(sent("GET", BATCH))
    assert not api.state.met


# When it acts


def test_a_fault_acts_on_request_numbers_and_ids_and_where_a_function_says_so() -> None:
    for when, statuses in (
        ([4], [200, 404, 200]),
        (["file-b"], [200, 200, 404]),
        (["vs_1"], [404, 404, 404]),
        (["vs_2"], [200, 200, 200]),
        (lambda request: request.path.endswith("a"), [404, 404, 200]),
        (True, [404, 404, 404]),
        (False, [200, 200, 200]),
        (0, [200, 200, 200]),
        (1, [404, 404, 404]),
    ):
        api = api_of(Faults(read_after_write=when))
        assert [api.dispatch(sent("GET", f"{STORE}/files/file-{x}")).status for x in "aab"] == statuses


@given(st.integers(0, 20), st.floats(0.2, 0.8))
def test_what_is_drawn_for_a_thing_is_the_same_whatever_else_is_asked(seed: int, probability: float) -> None:
    def stuck(*others: str) -> list[bool]:
        api = FaultyApi(engine=new_engine(), faults=Faults(stuck=probability), seed=seed)
        api.dispatch(sent("POST", "/v1/vector_stores", {}))
        for i in range(8):
            api.dispatch(sent("POST", f"{STORE}/file_batches", {"file_ids": [f"file-{i}"]}))
            api.engine.processing.complete("vs_1", f"file-{i}")
        found = []
        for i in range(8):
            for path in others:
                api.dispatch(sent("GET", path))
            status = got(api.dispatch(sent("GET", f"{STORE}/file_batches/vsfb_{i + 1}")))["status"]
            found.append(status == "in_progress")
        return found

    assert stuck() == stuck(STORE, BATCH) == stuck(BATCH)


def test_a_probability_is_that_of_the_requests_it_meets() -> None:
    api = FaultyApi(engine=new_engine(), faults=Faults(dropped=0.25))
    lost = sum(api.answer(sent("GET", "/v1/vector_stores")).response is None for _ in range(4000))
    assert 900 < lost < 1100  # within four standard deviations; the draws are the same in every run


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"slow": 1.5}, ValueError, "1.5 is no probability. Give 0 to 1"),
        ({"slow": "vsfb_1"}, TypeError, "Write slow=0.1 or slow="),
        ({"slow": None}, TypeError, "Write slow=0.1 or slow="),
        ({"slow": [0]}, ValueError, "request numbers, from 1, and ids, not 0"),
        ({"slow": [True]}, ValueError, "request numbers, from 1, and ids, not True"),
        ({"slow": [1.5]}, ValueError, "request numbers, from 1, and ids, not 1.5"),
        ({"slow_seconds": 0}, ValueError, "finite, more than 0"),
        ({"slow_seconds": "5"}, TypeError, "a number of seconds, not '5'"),
        ({"first_list_seconds": float("inf")}, ValueError, "finite, more than 0"),
        ({"writes_per_minute": 0}, ValueError, "a whole number of 1 or more"),
        ({"writes_per_minute": 1.5}, ValueError, "a whole number of 1 or more"),
    ],
)
def test_misuse_is_refused_with_what_to_write(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("(", r"\(")):
        Faults(**given)


def test_slow_answers_need_time_that_can_be_moved() -> None:
    with pytest.raises(ValueError, match=r"Write Engine\(clock=VirtualClock\(\)\)"):
        FaultyApi(engine=Engine(clock=SystemClock()), faults=Faults(slow=0.5))


def test_faults_that_are_none_are_refused_by_the_simulation() -> None:
    with pytest.raises(TypeError, match=r"Write faults=Faults\("):
        Simulation(faults={"slow": 0.5})  # type: ignore[arg-type]


# The engine underneath

paths = st.sampled_from(
    [
        *[(m, p, None) for m in ("GET", "DELETE") for p in (f"{STORE}/files/file-a", f"{STORE}/files/file-c")],
        *[
            ("GET", p, None)
            for p in (STORE, BATCH, f"{BATCH}/files", f"{STORE}/files", "/v1/vector_stores", "/no")
        ],
        ("POST", f"{BATCH}/cancel", None),
        ("POST", f"{STORE}/files", {"file_id": "file-a"}),
        ("POST", f"{STORE}/files", {"file_id": "file-c", "attributes": {"k": 1}}),
        ("POST", f"{STORE}/files", {"file_id": 3}),
        ("POST", f"{STORE}/file_batches", {"file_ids": ["file-a", "file-d"]}),
        ("POST", f"{STORE}/file_batches", {"files": [{"file_id": "file-e"}]}),
        ("POST", "/v1/vector_stores", {"name": "more", "file_ids": ["file-f"]}),
        ("POST", f"{STORE}/files/file-a", {"attributes": {"k": "v"}}),
    ]
)
whens = st.one_of(st.booleans(), st.floats(0, 1), st.lists(st.integers(1, 20), max_size=5), st.just(["vs_1"]))
all_faults = st.builds(
    Faults,
    **dict.fromkeys(SOURCES, whens),
    writes_per_minute=st.integers(1, 5),
    slow_seconds=st.sampled_from((0.5, 5.0)),
)


@given(
    faults=all_faults,
    seed=st.integers(0, 3),
    asked=st.lists(st.tuples(paths, st.sampled_from((0, 0.4, 1.5)), st.booleans()), max_size=25),
)
def test_no_fault_alters_what_the_engine_holds(
    faults: Faults, seed: int, asked: list[tuple[tuple[str, str, Any], float, bool]]
) -> None:
    faulty = FaultyApi(engine=new_engine(), faults=faults, seed=seed)
    plain = Api(new_engine())
    for api in (faulty, plain):
        api.engine.vector_stores.create(name="s")
        api.engine.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
    for (method, path, body), wait, ends in asked:
        passed(faulty, wait)
        request = sent(method, path, body, ("x-stainless-read-timeout", "2.0"))
        before = faulty.engine.snapshot()
        clock: Any = plain.engine.clock
        clock.advance_to(faulty.engine.clock.time())
        answer = faulty.answer(request)
        if method == "GET" or not answer.served:
            assert faulty.engine.snapshot() == before
        if answer.served:
            exact = plain.dispatch(request)
            if not answer.faults:
                assert answer.response == exact
        assert (answer.response is None) is (answer.lost is not None)
        passed(faulty, answer.seconds)
        clock.advance_to(faulty.engine.clock.time())
        if ends:
            for engine in (faulty.engine, plain.engine):
                for file in engine.processing.pending(limit=1):
                    engine.processing.complete(file.vector_store_id, file.id, usage_bytes=5)
    assert faulty.engine.snapshot() == plain.engine.snapshot()
    faulty.engine.check()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((0, 1, 3))), max_size=30))
def test_what_is_recent_is_what_was_made_less_than_so_long_ago_and_no_more_is_kept(
    made: list[tuple[str, float]],
) -> None:
    recent, now, times = Recent(3), 0.0, dict[str, float]()
    for thing, wait in made:
        now += wait
        recent.add(thing, now)
        times[thing] = now
        for other in "abc":
            assert recent.holds(other, now) is (now - times.get(other, -9) < 3)
        assert len(recent) == sum(now - at < 3 for at in times.values())


# With the official clients


def client_of(faults: Faults, plan: Plan | None = None) -> tuple[Simulation, openai.OpenAI]:
    simulation = Simulation(faults=faults, plan=plan, seed=3, record=True)
    return simulation, simulation.client


def test_an_official_client_is_told_of_a_lost_answer_as_of_a_lost_connection() -> None:
    simulation, client = client_of(Faults(dropped=[1]))
    with pytest.raises(openai.APIConnectionError) as raised:
        client.with_options(max_retries=0).vector_stores.create()
    assert "connection was lost" in str(raised.value.__cause__)
    assert len(simulation.engine.vector_stores.list().data) == 1


def test_an_official_client_is_told_of_a_time_out() -> None:
    simulation, client = client_of(Faults(slow=True, slow_seconds=7))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(max_retries=0, timeout=2.0).vector_stores.create()
    assert simulation.now == 2.0
    assert client.vector_stores.list().data
    assert simulation.now == 9.0


def test_an_official_client_tries_again_when_it_was_told_to() -> None:
    simulation, client = client_of(Faults(rate_limit=True, writes_per_minute=1))
    store = client.vector_stores.create()
    with simulation.patch_sleep():
        for i in range(3):
            client.vector_stores.files.create(store.id, file_id=f"file-{i}")
    assert simulation.now == 120.0
    assert [mark.note for mark in simulation.timeline.marks] == ["rate_limit", "rate_limit"]


def test_a_polling_helper_sees_a_batch_end_through_faults_and_waits_for_a_stuck_one_in_vain() -> None:
    faults = Faults(answers_store=0.5, created_at_zero=True, file_batch=True)
    simulation, client = client_of(faults, Plan(workers=1, service=3.0))
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=["file-a", "file-b"])
    assert (batch.status, simulation.now) == ("completed", 6.0)
    assert {mark.batch_id for mark in simulation.timeline.marks} >= {None}


def test_a_plan_that_ends_files_when_they_are_looked_at_hears_of_each_look() -> None:
    _, client = client_of(Faults(), Plan.after_polls(3))
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.create(store.id, file_ids=["file-a"])
    looks = [client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id) for _ in range(4)]
    assert [look.status for look in looks] == ["in_progress", "in_progress", "completed", "completed"]


def test_the_same_seed_meets_the_same_faults() -> None:
    def met() -> list[Any]:
        simulation, client = client_of(Faults(dropped=0.2, slow=0.2, stuck=0.5))
        with simulation.patch_sleep():
            store = client.vector_stores.create()
            for i in range(10):
                simulation.client.with_options(max_retries=9).vector_stores.files.create(
                    store.id, file_id=f"file-{i}"
                )
        return [mark.note for mark in simulation.timeline.marks]

    assert met() == met()
    assert met()


def test_told_hears_of_each_fault_and_the_request() -> None:
    heard: list[tuple[str, str]] = []
    told: Callable[[str, Request], object] = lambda name, request: heard.append((name, request.path))  # noqa: E731
    api = FaultyApi(engine=Engine(clock=VirtualClock()), faults=Faults(dropped=True), told=told)
    with pytest.raises(NoAnswer):
        api.dispatch(sent("GET", "/v1/vector_stores"))
    assert heard == [("dropped", "/v1/vector_stores")]
