"""The load: its workload, its loops on virtual time, its figures, and what it says of right and wrong servers."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vsbatch_core import Profile
from vsbatch_core.load import calls, picture
from vsbatch_core.load.calls import Answer, Failure, Request
from vsbatch_core.load.counts import LAWS, MOST_VIOLATIONS, Verdicts
from vsbatch_core.load.known import Known
from vsbatch_core.load.report import document, failed
from vsbatch_core.load.runner import Bounds, Runner
from vsbatch_core.load.samples import OVERLOADED, TIMEOUT, Samples, nearest_rank
from vsbatch_core.load.session import Session, Unusable
from vsbatch_core.load.workload import OPERATIONS, Intent, Workload
from vsbatch_core.simulation import Plan

from ..helpers import planted_servers as planted
from ..helpers.brief import examples
from ..helpers.load_worlds import Served, VirtualLoop, session_on, virtually
from ..helpers.pictures import require_legible
from ..helpers.planted_servers import World, on, parts, read, refusal, write
from ..helpers.processes import entry, finished

pytestmark = pytest.mark.slow  # whole runs of a load on a server

BUSY = {"create": 3, "retrieve": 5, "list": 3, "list-store": 3, "attach": 3, "delete": 2, "cancel": 2, "store": 1}
SMALL = (range(1, 8),)
RUNS = settings(max_examples=examples(15))
"""For tests whose examples are whole runs on a server."""

SLOW = Plan(workers=2, service=0.05, failures={"server_error": 0.2})


def workloads(operations: tuple[str, ...] = tuple(OPERATIONS)) -> st.SearchStrategy[Workload]:
    mixes = st.dictionaries(st.sampled_from(operations), st.integers(1, 9), min_size=1)
    sizes = st.sampled_from([(range(1, 2),), SMALL, (range(1, 3), range(30, 31), range(101, 103))])
    return st.builds(Workload, seed=st.integers(0, 999), mix=mixes, sizes=sizes)


# The workload


@given(workloads(), st.integers(0, 200))
def test_the_same_workload_is_the_same_sequence_whatever_is_taken_of_it(workload: Workload, n: int) -> None:
    first = list(islice(workload.intents(), 200))
    assert list(islice(evolve(workload).intents(), n)) == first[:n]
    assert {intent.operation for intent in first} <= set(workload.mix)
    assert all(any(intent.size in sizes for sizes in workload.sizes) for intent in first)
    assert all(0 <= intent.target < 1 and 0 <= intent.detail < 1 for intent in first)


def test_another_seed_is_another_workload() -> None:
    assert len({tuple(islice(Workload(seed=seed).intents(), 50)) for seed in range(20)}) == 20


def test_operations_and_sizes_are_drawn_as_often_as_their_weights_say() -> None:
    workload = Workload(mix={"retrieve": 3, "create": 1, "cancel": 0}, sizes=(range(1, 2), range(10, 12)))
    intents = list(islice(workload.intents(), 40_000))
    operations = Counter(intent.operation for intent in intents)
    sizes = Counter(intent.size for intent in intents)
    # Seven standard deviations: about 87 for the operations and for the sizes less than 100.
    assert operations["retrieve"] == pytest.approx(30_000, abs=7 * 87)
    assert set(operations) == {"retrieve", "create"}
    assert sizes[1] == pytest.approx(20_000, abs=700)
    assert sizes[10] == pytest.approx(10_000, abs=700)


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    dues = list(islice(Workload(seed=3).arrivals(50.0), 40_000))
    gaps = [b - a for a, b in zip([0.0, *dues], dues, strict=False)]
    assert min(gaps) >= 0
    assert sum(gaps) / len(gaps) == pytest.approx(1 / 50, rel=0.035)  # seven standard errors
    # The same part of the gaps is longer than any given time as in the exponential distribution.
    for seconds in (0.005, 0.02, 0.06):
        longer = sum(gap > seconds for gap in gaps) / len(gaps)
        assert longer == pytest.approx(math.exp(-50 * seconds), abs=0.0175)


DRIVE = """
import json
from itertools import islice, pairwise
from vsbatch_core.load.calls import Answer
from vsbatch_core.load.known import Known
from vsbatch_core.load.workload import Workload

known = Known("bench")
for i, intent in enumerate(islice(Workload(seed=3).intents(), 500)):
    call = known.call(intent)
    print(call.request)
    files = call.batch.files if call.batch else call.files
    counts = {"in_progress": 0, "completed": len(files), "failed": 0, "cancelled": 0, "total": len(files)}
    id = call.batch.id if call.operation in ("retrieve", "cancel") else call.file or f"made_{i}"
    data = {"id": id, "status": "completed", "file_counts": counts, "deleted": True, "has_more": True}
    page = {"data": [{"id": f"file-{n}"} for n in range(3)]}
    outcome = known.take(call, Answer(200, "", json.dumps({**data, **page}).encode()), i, i)
    assert outcome.kind is None, (call.operation, outcome)
"""
"""A workload with answers to match."""


def test_a_workload_and_its_requests_do_not_depend_on_the_hash_seed() -> None:
    processes = [entry(start=DRIVE, hash_seed=seed) for seed in ("1", "2")]
    one, other = (finished(process) for process in processes)
    assert (one[0], one[2]) == (0, "")
    assert one[1].count("\n") == 500
    assert one == other


@RUNS
@given(workloads(), st.sampled_from([None, 40.0]), st.integers(1, 4))
def test_the_same_seed_and_the_same_answers_give_the_same_requests(
    workload: Workload, rate: float | None, concurrency: int
) -> None:
    runs = []
    for _ in range(2):
        served = Served(World(plan=SLOW))
        session_on(served.send, workload, rate=rate, concurrency=concurrency, requests=40)
        runs.append(served.requests)
    assert runs[0] == runs[1]


# What intents become


def test_what_has_nothing_to_be_done_to_becomes_what_makes_it() -> None:
    known = Known("bench")
    assert {known.call(Intent(name, 1, 0.0, 0.0)).operation for name in OPERATIONS} == {"store"}
    known._tell(known.call(Intent("store", 1, 0.0, 0.0)), {"id": "vs_1"}, 0, 0)
    made = {name: known.call(Intent(name, 1, 0.0, 0.0)).operation for name in OPERATIONS}
    assert made == {
        **dict.fromkeys(OPERATIONS, "create"),
        "store": "store",
        "attach": "attach",
        "delete": "attach",
        "list-store": "list-store",
    }


def test_with_uploads_a_store_that_has_no_room_is_followed_by_another() -> None:
    known = Known("bench", [f"file-{i}" for i in range(5)])
    known._tell(known.call(Intent("store", 1, 0.0, 0.0)), {"id": "vs_1"}, 0, 0)
    operations = [known.call(Intent(name, 2, 0.0, 0.0)).operation for name in ("create", "create", "create")]
    assert operations == ["create", "create", "store"]
    assert [known.call(Intent("attach", 1, 0.0, 0.0)).operation for _ in range(2)] == ["attach", "store"]


@RUNS
@given(workloads())
def test_no_file_is_attached_to_a_store_twice_and_no_file_of_a_batch_is_deleted_or_doubted(
    workload: Workload,
) -> None:
    served = Served(World(plan=SLOW))
    session_on(served.send, workload)
    attached: set[tuple[str, str]] = set()
    alone: set[tuple[str, str]] = set()
    for request in served.requests:
        segments = request.path.strip("/").split("/")
        body = json.loads(request.body or b"{}")
        if request.method == "POST" and segments[-1] in ("files", "file_batches"):
            pairs = {(segments[1], id) for id in body.get("file_ids", [body.get("file_id")])}
            assert not pairs & attached
            attached |= pairs
            if segments[-1] == "files":
                alone |= pairs
        elif request.method == "DELETE" and len(segments) > 2:
            assert (segments[1], segments[3]) in alone


def test_walks_go_on_behind_the_last_file_shown_that_stays_and_no_filter_changes_on_the_way() -> None:
    served = Served(World())
    mix = {"create": 1, "list": 8, "list-store": 8, "attach": 3, "delete": 1}
    shown: set[str] = set()
    alone: set[str] = set()
    cursors = []

    async def send(request: Request) -> Answer:
        answer = await served.send(request)
        path, _, asked = request.path.partition("?")
        if request.method == "POST" and path.endswith("/files"):
            alone.add(json.loads(answer.body)["id"])
        if request.method == "GET" and path.endswith("/files"):
            query = dict(parse_qsl(asked))
            cursors.append(query.get("after"))
            assert cursors[-1] is None or cursors[-1] in shown - alone
            assert "filter" not in query or cursors[-1] is None
            shown.update(file["id"] for file in json.loads(answer.body)["data"])
        return answer

    runner = looped(send, 300, mix=mix, sizes=(range(250, 251),), concurrency=1)
    assert runner.samples.tally() == []
    assert len(set(cursors)) > 10


# Figures


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.001, 100))
def test_a_percentile_is_the_least_value_that_so_many_percent_do_not_exceed(
    values: list[float], percent: float
) -> None:
    ordered = sorted(values)
    enough = [v for v in ordered if sum(w <= v for w in ordered) * 100 >= percent * len(ordered)]
    assert nearest_rank(ordered, percent) == enough[0]
    assert nearest_rank(ordered, 100) == max(values)


def test_of_nothing_every_percentile_is_0() -> None:
    assert nearest_rank([], 50) == 0.0


kinds = st.sampled_from([None, "429", TIMEOUT, OVERLOADED, "connection"])
rows = st.tuples(st.sampled_from(list(OPERATIONS)), st.floats(0, 9), st.floats(0, 9), st.floats(0, 9), kinds)


@given(st.lists(rows))
def test_figures_are_those_of_a_plain_list_of_requests(drawn: list[Any]) -> None:
    samples = Samples()
    for operation, due, lag, took, kind in drawn:
        samples.add(operation, due, due + lag, due + lag + took, kind, "why")
    done = max((due + lag + took for _, due, lag, took, _ in drawn), default=0.0)
    assert samples.elapsed == done
    assert len(samples) == len(drawn)
    for name in (*OPERATIONS, None):
        mine = [row for row in drawn if name in (None, row[0])]
        figures = samples.figures(name)
        good = [row for row in mine if row[4] is None]
        timed = sorted(due + lag + took - due for _, due, lag, took, kind in mine if kind in (None, TIMEOUT))
        assert (figures.count, figures.errors) == (len(mine), len(mine) - len(good))
        assert figures.a_second == (len(good) / done if done else 0.0)
        assert (figures.p50, figures.most) == (nearest_rank(timed, 50), nearest_rank(timed, 100))
        assert figures.p50 <= figures.p95 <= figures.p99 <= figures.most
    assert {name for name, *_ in drawn} == set(samples.used())
    errors = Counter((kind, operation) for operation, *_, kind in drawn if kind is not None)
    assert {(kind, operation): n for kind, operation, n in samples.tally()} == errors
    sent = [due + lag - due for _, due, lag, _, kind in drawn if kind != OVERLOADED]
    assert samples.lags() == sorted(sent)


# The loops


class SingleFile:
    """A server that answers one request at a time, in the order in which they came, each after ``service`` s."""

    def __init__(self, service: float) -> None:
        self.service = service
        self.lock = asyncio.Lock()
        self.served = Served(World(), latency=0.0)
        self.at_once = self.most_at_once = 0

    async def send(self, request: Request) -> Answer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with self.lock:
                await asyncio.sleep(self.service)
                return self.served.answer(request)
        finally:
            self.at_once -= 1


QUICK = {"store": 1, "list-store": 3, "create": 1}


def looped(
    send: Any,
    requests: int,
    seconds: float = 1e9,
    *,
    seed: int = 0,
    mix: Any = QUICK,
    sizes: tuple[range, ...] = SMALL,
    **loop: Any,
) -> Runner:
    """A load without anything around it."""
    runner = Runner(send, Known("bench"))
    workload = Workload(seed=seed, mix=mix, sizes=sizes)

    async def main() -> None:
        kind = runner.open if "rate" in loop else runner.closed
        await kind(workload, Bounds(requests, seconds), **loop)

    virtually(main)
    return runner


@RUNS
@given(st.integers(0, 999), st.floats(0.1, 30), st.floats(0.01, 1))
def test_in_an_open_loop_a_latency_is_the_time_in_line_and_the_service(
    seed: int, rate: float, service: float
) -> None:
    samples = looped(SingleFile(service).send, 40, seed=seed, rate=rate, in_flight=100).samples
    dues = list(islice(Workload(seed=seed).arrivals(rate), 40))
    assert list(samples.due) == pytest.approx(dues)
    # Lindley's recursion: a request begins to be served when it is due and the one before it has been served.
    ends: list[float] = []
    for due in dues:
        ends.append(max([due, *ends[-1:]]) + service)
    assert list(samples.done) == pytest.approx(ends)


def test_in_an_open_loop_above_what_a_server_can_latencies_grow_and_in_a_closed_one_they_do_not() -> None:
    opened = looped(SingleFile(0.1).send, 100, rate=20.0, in_flight=100).samples
    closed = looped(SingleFile(0.1).send, 100, concurrency=1).samples
    assert list(map(lambda a, b: b - a, closed.due, closed.done)) == pytest.approx([0.1] * 100)
    assert closed.figures().most == pytest.approx(0.1)
    # 100 requests need 10 s and are due within 5: the last has waited for more than 4.
    assert opened.figures().p50 > 10 * closed.figures().p50
    assert opened.figures().most > 4.0


@pytest.mark.parametrize("loop", [{"concurrency": 2}, {"rate": 5.0, "in_flight": 100}], ids=["closed", "open"])
@pytest.mark.parametrize(
    ("requests", "seconds", "title", "total"),
    [
        (20, None, "sending requests", 20),
        (None, 3.5, "sending requests, seconds", 4),
        (20, 1000.0, "sending requests", 20),
        (1000, 2.0, "sending requests", 1000),
    ],
)
def test_progress_counts_towards_what_ends_the_run(
    requests: int | None, seconds: float | None, title: str, total: int, loop: dict[str, Any]
) -> None:
    shown: list[tuple[str, int, int | None]] = []
    runner = Runner(SingleFile(0.1).send, Known("bench"), lambda *what: shown.append(what))

    async def main() -> None:
        kind = runner.open if "rate" in loop else runner.closed
        await kind(Workload(mix=QUICK, sizes=SMALL), Bounds(requests, seconds), **loop)

    virtually(main)
    assert {(name, of) for name, _, of in shown} == {(title, total)}
    done = [done for _, done, _ in shown]
    assert done == sorted(done)
    assert done[-1] <= total
    if requests is None:
        assert done == sorted(set(done))  # once a second, not once a request
        assert runner.samples.elapsed >= 3.0


@pytest.mark.parametrize(
    ("after", "pauses"),
    [(None, [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]), ("0", [0.05] * 7), ("300", [0.3] * 7), ("9999999", [1.0] * 7)],
)
def test_batches_are_polled_when_the_server_wants_to_be_asked_again(
    after: str | None, pauses: list[float]
) -> None:
    world = World()
    served = Served(world, latency=0.0)
    polls: list[float] = []

    async def send(request: Request) -> Answer:
        answer = await served.send(request)
        if not request.polls:
            return answer
        polls.append(asyncio.get_running_loop().time())
        data = json.loads(answer.body)
        if len(polls) <= len(pauses):  # as long as it is to last
            n = data["file_counts"]["total"]
            data["status"] = "in_progress"
            data["file_counts"] = {**dict.fromkeys(data["file_counts"], 0), "in_progress": n, "total": n}
        return Answer(200, answer.content_type, json.dumps(data).encode(), after)

    session = session_on(send, requests=1, concurrency=1, settle=30.0)
    assert session.known.verdicts.unknown == []
    assert [b - a for a, b in pairwise(polls)][: len(pauses)] == pytest.approx(pauses)


@RUNS
@given(st.integers(1, 12), st.integers(1, 30))
def test_a_closed_loop_has_as_many_under_way_as_there_are_workers_and_sends_so_many(
    n: int, requests: int
) -> None:
    server = SingleFile(0.1)
    runner = looped(server.send, requests, concurrency=n)
    assert server.most_at_once == min(n, requests)
    assert len(runner.samples) == requests


@RUNS
@given(st.integers(1, 10), st.floats(1, 40))
def test_an_open_loop_gives_up_what_is_due_while_too_many_are_under_way(in_flight: int, rate: float) -> None:
    server = SingleFile(0.2)
    samples = looped(server.send, 60, rate=rate, in_flight=in_flight).samples
    assert server.most_at_once <= in_flight
    assert len(samples) == 60
    given_up = sum(n for kind, _, n in samples.tally() if kind == OVERLOADED)
    # What would have been under way without the bound says whether there was anything to give up.
    free = looped(SingleFile(0.2).send, 60, rate=rate, in_flight=60).samples
    _, numbers = picture.under_way(free)
    assert (given_up > 0) == (max(numbers) > in_flight)


@RUNS
@given(st.floats(0.01, 5), st.sampled_from([{"concurrency": 3}, {"rate": 30.0, "in_flight": 50}]))
def test_no_request_is_due_after_the_time_is_over_and_those_under_way_are_waited_for(
    seconds: float, loop: dict[str, Any]
) -> None:
    runner = looped(SingleFile(0.1).send, 10_000, seconds, **loop)
    assert all(due < seconds for due in runner.samples.due)
    assert runner.in_flight == 0
    if "concurrency" in loop:
        assert len(runner.samples) >= 1
        assert runner.samples.elapsed >= seconds
    else:
        assert len(runner.samples) == sum(1 for due in islice(Workload().arrivals(30.0), 1000) if due < seconds)


# Right servers


plans = st.sampled_from(
    [
        Plan.immediate(),
        Plan.immediate(failures="invalid_file"),
        SLOW,
        Plan(workers=1, service=0.2),
        Plan.manual(),
        Plan(workers=3, service=0.02),
    ]
)
profiles = st.builds(
    Profile,
    cancel=st.sampled_from(["immediate", "drain"]),
    cancel_finished=st.sampled_from(["ignore", "refuse"]),
    all_failed=st.sampled_from(["failed", "completed"]),
    batch_object=st.sampled_from(["vector_store.files_batch", "vector_store.file_batch"]),
)
losses = st.sampled_from([0.0, 0.0, 0.1, 0.4])


@settings(RUNS, max_examples=examples(25))
@given(workloads(), plans, profiles, losses, st.integers(1, 6), st.integers(0, 99))
@example(Workload(mix=BUSY, sizes=(range(120, 122),)), SLOW, Profile(), 0.3, 4, 1)
def test_a_right_server_is_never_accused_whatever_it_does_and_whatever_is_lost(
    workload: Workload, plan: Plan, profile: Profile, loss: float, concurrency: int, seed: int
) -> None:
    world = World(planted.unknown_batch_is_400(), plan=plan, profile=profile)
    random = Random(seed)

    served = Served(world)

    def lose(_request: Request) -> str | None:
        if len(served.requests) > 3 and random.random() < loss:
            return random.choice(["before", "after"])
        return None

    served.lose = lose
    session = session_on(served.send, workload, requests=40, concurrency=concurrency, settle=3.0)
    verdicts = session.known.verdicts
    assert verdicts.violations == []
    if not loss:
        assert session.runner.samples.tally() == []
        assert not failed(session)
        assert session.audit.errors == []
        assert world.client.vector_stores.list().data == []
        assert session.left == []


def test_everything_is_looked_at_on_a_server_that_ends_its_batches() -> None:
    session = session_on(Served(World(plan=SLOW)).send, Workload(mix=BUSY, sizes=SMALL), requests=200)
    assert all(session.known.verdicts.tried[law] > 0 for law in LAWS)
    assert session.known.verdicts.unknown == []
    assert not session.audit.late
    data = document(session, {"seed": 0})
    assert data["holds"]
    assert json.loads(json.dumps(data)) == data
    assert data["all"]["count"] == 200


def test_what_has_not_ended_in_time_is_not_known_and_not_held_against_the_server() -> None:
    session = session_on(Served(World(plan=Plan.manual())).send, Workload(mix={"create": 1}, sizes=SMALL))
    assert session.known.verdicts.unknown == ["how 61 batches end: still in progress after 5 s"]
    assert session.audit.late
    assert not failed(session)


@pytest.mark.parametrize(
    ("settle", "whats"),
    [
        (5.0, {"the lists of n batches", "the lists of n stores"}),
        (
            0.01,
            {"how n batches end", "the counts of n stores", "the lists of n batches", "the lists of n stores"},
        ),
    ],
)
def test_what_cannot_be_looked_at_in_time_is_not_known(settle: float, whats: set[str]) -> None:
    session = session_on(
        Served(World(plan=Plan.immediate()), latency=0.5).send,
        Workload(mix={"create": 9, "store": 9}, sizes=(range(150, 151),)),
        settle=settle,
    )
    unknown = session.known.verdicts.unknown
    assert {re.sub("[0-9]+", "n", line) for line in unknown} == {
        f"{what}: there was no time to look" for what in whats
    }
    assert not failed(session)


# Wrong servers


def changed(which: Any, change: Any) -> planted.Server:
    return on(which, change)


def stores_never_forget() -> planted.Server:
    """A store goes on counting what was deleted."""
    deleted: Counter[str] = Counter()

    def server(request: Any, ask: Any) -> Any:
        response = ask(request)
        segments = parts(request)
        if request.method == "DELETE" and len(segments) == 4 and response.status == 200:
            deleted[segments[1]] += 1
        if request.method == "GET" and len(segments) == 2 and response.status == 200:
            data = read(response)
            data["file_counts"]["total"] += deleted[segments[1]]
            data["file_counts"]["completed"] += deleted[segments[1]]
            return write(response, data)
        return response

    return server


def one_is_cancelled_by_itself() -> planted.Server:
    """A batch that completed says that it was cancelled."""

    def change(batch: Any) -> None:
        if batch["status"] == "completed":
            batch["status"] = "cancelled"

    return on(planted.is_batch, change)


def totals_are_one_short() -> planted.Server:
    """One file of each batch is not counted."""

    def change(batch: Any) -> None:
        counts = batch["file_counts"]
        name = next(name for name, n in counts.items() if n and name != "total")
        counts[name] -= 1
        counts["total"] -= 1

    return on(planted.is_batch, change)


def cancels_are_always_refused() -> planted.Server:
    """Also of batches that are in progress."""
    return lambda request, ask: refusal(400) if planted.is_cancel(request) else ask(request)


def lists_show_another_status() -> planted.Server:
    """A list with a filter shows files in progress."""

    def server(request: Any, ask: Any) -> Any:
        response = ask(request)
        if planted.is_list(request) and "filter" in request.query and response.status == 200:
            page = read(response)
            for file in page["data"]:
                file["status"] = "in_progress"
            return write(response, page)
        return response

    return server


def stores_sum_wrongly() -> planted.Server:
    """The four counts of a store are less than its total."""

    def change(store: Any) -> None:
        store["file_counts"]["completed"] -= 1

    return on(lambda request: request.method == "GET" and len(parts(request)) == 2, change)


def pages_begin_with_their_cursor() -> planted.Server:
    """The last file of a page is the first of the next."""

    def server(request: Any, ask: Any) -> Any:
        response = ask(request)
        after = planted.query(request).get("after")
        if planted.is_list(request) and after is not None and response.status == 200:
            page = read(response)
            page["data"].insert(0, {**page["data"][0], "id": after})
            return write(response, page)
        return response

    return server


FAULTS: dict[Any, set[str]] = {
    planted.cancel_leaves_counts: {"ends"},
    planted.cancel_leaves_status: {"ends"},
    planted.completed_is_never_said: {"ends"},
    planted.has_more_never: {"lists", "store"},
    planted.total_forgets_the_cancelled: {"total", "sum"},
    planted.statuses_change_their_minds: {"stays"},
    planted.filter_is_ignored: {"lists"},
    planted.lists_are_empty: {"lists", "store"},
    planted.lists_have_five_files: {"lists", "store"},
    pages_begin_with_their_cursor: {"lists", "store"},
    planted.created_is_completed: {"stays"},
    stores_never_forget: {"store"},
    one_is_cancelled_by_itself: {"cancel"},
    totals_are_one_short: {"total"},
    cancels_are_always_refused: {"cancel"},
    lists_show_another_status: {"lists"},
    stores_sum_wrongly: {"sum"},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_server_is_found_and_told_what_of_which_object_is_wrong(fault: Any) -> None:
    world = World(fault(), plan=Plan(workers=2, service=0.02))
    workload = Workload(mix={**BUSY, "retrieve": 20}, sizes=(*SMALL, *SMALL, range(120, 121)))
    session = session_on(Served(world).send, workload, requests=200, settle=20.0)
    verdicts = session.known.verdicts
    found = {violation.law for violation in verdicts.violations}
    assert FAULTS[fault] <= found
    assert failed(session)
    ids = {batch.id for batch in session.known.batches} | {store.id for store in session.known.stores}
    assert {violation.id for violation in verdicts.violations} <= ids
    assert sum(verdicts.broken.values()) == len(verdicts.violations)
    data = document(session, {})
    assert not data["holds"]
    assert {law["id"] for law in data["laws"] if law["broken"]} == found


def test_of_very_many_violations_the_first_are_kept_and_all_are_counted() -> None:
    verdicts = Verdicts()
    for number in range(MOST_VIOLATIONS + 5):
        for _ in range(2):
            assert not verdicts.judge("total", f"vsfb_{number}", False, 1, 2)
    assert verdicts.tried["total"] == 2 * verdicts.broken["total"] == 2 * (MOST_VIOLATIONS + 5)
    assert [violation.id for violation in verdicts.violations] == [f"vsfb_{n}" for n in range(MOST_VIOLATIONS)]


def test_what_lags_behind_for_less_than_the_grace_is_not_held_against_a_server() -> None:
    ended: dict[str, float] = {}
    world = World(plan=Plan.immediate())
    served = Served(world)

    def change(batch: Any) -> None:
        now = asyncio.get_running_loop().time()
        if now < ended.setdefault(batch["id"], now) + 1.0:
            batch["status"] = "in_progress"

    object.__setattr__(world.api, "server", on(planted.is_batch, change))
    session = session_on(served.send, Workload(mix={"create": 1}, sizes=SMALL), requests=5, settle=30.0)
    assert session.known.verdicts.violations == []
    assert session.known.verdicts.broken["ends"] == 0


def test_a_store_whose_counts_come_late_is_looked_at_again() -> None:
    looks: Counter[str] = Counter()

    def change(store: Any) -> None:
        looks[store["id"]] += 1
        if looks[store["id"]] < 4:
            store["file_counts"]["completed"] = store["file_counts"]["total"] = 0

    single = on(lambda request: request.method == "GET" and len(parts(request)) == 2, change)
    session = session_on(Served(World(single, plan=Plan.immediate())).send, settle=50.0)
    assert session.known.verdicts.violations == []
    assert min(looks.values()) == 4


# Errors


def every(n: int, answer: Any) -> planted.Server:
    """Every nth request of the load is answered otherwise."""
    count = Counter[str]()

    def server(request: Any, ask: Any) -> Any:
        count["requests"] += 1
        return answer(request, ask) if count["requests"] > 5 and count["requests"] % n == 0 else ask(request)

    return server


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (lambda _request, _ask: refusal(429), "429", "no"),
        (lambda _request, _ask: refusal(500), "500", "no"),
        (lambda request, ask: planted.garbled(ask(request)), "unreadable", "application/json, not JSON"),
        (lambda request, ask: write(ask(request), []), "unreadable", "JSON, but no object"),
        (lambda request, ask: write(ask(request), {}), "unreadable", None),
        (
            lambda request, ask: write(ask(request), {"id": 3, "data": [{}], "has_more": 1}),
            "unreadable",
            None,
        ),
        (lambda request, ask: write(ask(request), {"id": "", "data": [1]}), "unreadable", None),
    ],
)
def test_what_is_not_answered_as_asked_is_an_error_by_its_kind_and_accuses_nobody(
    answer: Any, kind: str, message: str | None
) -> None:
    world = World(every(4, answer), plan=SLOW)
    session = session_on(Served(world).send, Workload(mix=BUSY, sizes=SMALL), requests=200)
    tally = session.runner.samples.tally()
    assert {found for found, _, _ in tally} == {kind}
    assert sum(n for _, _, n in tally) == pytest.approx(50, abs=1)
    assert session.known.verdicts.violations == []
    assert failed(session)
    if message is not None:
        assert session.runner.samples.messages == {kind: message}
    assert session.audit.errors
    assert any(error.split(": ")[1] == kind for error in session.audit.errors)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (planted.is_batch, {"id": "vs_1"}, "the object 'vs_1' instead of 'vsfb_"),
        (planted.is_batch, {"status": "done"}, "a batch with the status 'done'"),
        (planted.is_batch, {"file_counts": {"total": 1}}, "an object without file_counts"),
        (planted.is_list, {"data": 3}, "a page without data"),
        (planted.is_list, {"has_more": None}, "a page without has_more"),
        (planted.is_list, {"data": [{"id": ""}]}, "an object without an id"),
        (lambda request: request.method == "DELETE", {"deleted": 1}, "an object that does not say deleted"),
    ],
)
def test_an_answer_that_is_no_such_object_is_unreadable(which: Any, change: Any, message: str) -> None:
    seen = Counter[str]()

    def after_the_first(data: Any) -> None:
        seen["answers"] += 1
        if seen["answers"] > 2 or "deleted" in change:
            data.update(change)

    world = World(on(which, after_the_first), plan=SLOW)
    session = session_on(Served(world).send, Workload(mix=BUSY, sizes=SMALL), requests=100)
    assert session.runner.samples.messages["unreadable"].startswith(message)
    assert session.known.verdicts.violations == []


def test_a_cancel_that_is_refused_because_its_batch_has_ended_is_no_error() -> None:
    world = World(plan=Plan.immediate(), profile=Profile(cancel_finished="refuse"))
    session = session_on(Served(world).send, Workload(mix={"create": 1, "cancel": 1}, sizes=SMALL))
    assert session.runner.samples.ended > 0
    assert not failed(session)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error": {"message": "two\\nlines"}}', "two lines"),
        (b'{"error": "plain"}', "plain"),
        (b"{}", "no message"),
        (b"<html>", "text/html, not JSON"),
    ],
)
def test_what_an_error_says_is_one_line(answer: bytes, said: str) -> None:
    assert calls.said(Answer(500, "text/html", answer)) == said


# Before and after


def refusing(which: Any, status: int = 400) -> planted.Server:
    return lambda request, ask: refusal(status) if which(request) else ask(request)


def is_upload(request: Any) -> bool:
    return bool(parts(request) == ["files"] and request.method == "POST")


@pytest.mark.parametrize(
    ("server", "uploads", "said"),
    [
        (refusing(lambda r: r.method == "GET", 401), None, "http://test/v1 refuses the API key: no"),
        (
            refusing(lambda r: r.method == "GET", 404),
            None,
            "http://test/v1 is no server of this API: GET /vector_stores: 404: no",
        ),
        (
            on(lambda r: r.method == "GET", lambda page: page.pop("data")),
            None,
            "http://test/v1 is no server of this API: GET /vector_stores: unreadable: a page without data",
        ),
        (refusing(lambda r: r.method == "POST"), None, "http://test/v1 makes no store: 400: no"),
        (
            refusing(planted.is_creation, 404),
            None,
            "http://test/v1 makes no batch: 404: no. Give --uploads",
        ),
        (refusing(planted.is_creation), 3, "http://test/v1 makes no batch: 400: no"),
        (refusing(is_upload, 413), 20, "http://test/v1 takes no uploads: 413: no"),
    ],
)
def test_a_server_that_cannot_be_measured_is_said_to_be_so_and_left_as_it_was(
    server: planted.Server, uploads: int | None, said: str
) -> None:
    world = World(server, uploads=True)
    with pytest.raises(Unusable) as error:
        session_on(Served(world).send, uploads=uploads)
    assert str(error.value) == said
    object.__setattr__(world.api, "server", lambda request, ask: ask(request))
    assert world.client.vector_stores.list().data == []
    assert world.client.files.list().data == []


def test_a_server_that_does_not_answer_is_unusable() -> None:
    async def send(_request: Request) -> Answer:
        raise Failure("connection", "refused")

    with pytest.raises(Unusable, match=r"^no answer from http://test/v1: refused$"):
        session_on(send)


def test_uploaded_files_are_attached_and_deleted_in_the_end() -> None:
    world = World(uploads=True, plan=SLOW)
    served = Served(world)
    session = session_on(served.send, Workload(mix=BUSY, sizes=SMALL), uploads=20)
    assert not failed(session)
    ids = set(session.known.uploaded or ())
    assert len(ids) == 20
    bodies = [json.loads(r.body or b"{}") for r in served.requests if r.content_type == "application/json"]
    assert {id for body in bodies for id in body.get("file_ids", [])} <= ids
    assert world.client.vector_stores.list().data == []
    assert world.client.files.list().data == []


def test_a_store_whose_answer_was_lost_is_found_by_its_name_and_deleted_and_no_other() -> None:
    world = World()
    other = world.client.vector_stores.create(name="somebody's")
    made = Counter[str]()

    def lose(request: Request) -> str | None:
        made["stores"] += request == calls.post("vector_stores", name="bench")
        return "after" if request.method == "POST" and made["stores"] > 4 else None

    served = Served(world, lose=lose)
    session = session_on(served.send, Workload(mix={"store": 1}), requests=20)
    assert session.known.doubtful_stores
    assert [store.id for store in world.client.vector_stores.list().data] == [other.id]


def test_an_interrupted_run_deletes_what_it_made_and_what_it_was_making() -> None:
    world = World(uploads=True)
    served = Served(world, latency=1.0)
    session = Session("http://test/v1", served.send)
    # Between two answers, so that a store is being made whose answer will not be seen, and that is made after.

    async def make_late(request: Request) -> Answer:
        if asyncio.get_running_loop().time() > 5.4:
            return served.answer(request)
        await asyncio.sleep(1.0)
        return served.answer(request)

    session.send = session.runner.send = make_late

    async def main() -> None:
        load = Workload(mix={"store": 1})
        task = asyncio.create_task(
            session.run(lambda runner: runner.closed(load, Bounds(100, 1e9), concurrency=2))
        )
        await asyncio.sleep(5.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtually(main)
    assert len(session.runner.samples) == 4
    assert session.known.doubtful_stores
    assert not session.audited
    assert document(session, {})["interrupted"]
    assert world.client.vector_stores.list().data == []


def test_what_cannot_be_deleted_is_said() -> None:
    world = World(refusing(lambda r: r.method == "DELETE" and len(parts(r)) == 2, 403))
    session = session_on(Served(world).send, Workload(mix={"retrieve": 1}))
    assert session.left == [f"{session.known.stores[0].id}: 403: no"]


def test_what_somebody_else_has_deleted_need_not_be() -> None:
    world = World()

    def server(request: Any, ask: Any) -> Any:
        answer = ask(request)
        return ask(request) if request.method == "DELETE" else answer

    object.__setattr__(world.api, "server", server)
    session = session_on(Served(world).send, Workload(mix={"store": 1}), requests=5)
    assert session.left == []
    assert not failed(session)


def test_deleting_takes_no_longer_than_it_may() -> None:
    served = Served(World())

    async def send(request: Request) -> Answer:
        if request.method == "DELETE":
            await asyncio.sleep(1e6)
        return await served.send(request)

    session = session_on(send, Workload(mix={"retrieve": 1}))
    assert session.left == [f"{session.known.stores[0].id}: there was no time"]


def test_who_does_not_wait_for_the_deleting_is_told_what_is_left() -> None:
    served = Served(World())
    deleting: list[Request] = []

    async def send(request: Request) -> Answer:
        if request.method == "DELETE":
            deleting.append(request)
            await asyncio.sleep(50.0)
        return await served.send(request)

    session = Session("http://test/v1", send)

    async def main() -> None:
        load = Workload(mix={"retrieve": 1})
        task = asyncio.create_task(session.run(lambda runner: runner.closed(load, Bounds(5, 9.0), concurrency=1)))
        while not deleting:
            await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtually(main)
    assert session.left == [f"{session.known.stores[0].id}: there was no time"]


@pytest.mark.parametrize("body", [b"{}", b'{"data": [3]}', b"<html>"])
def test_a_list_that_cannot_be_read_when_lost_stores_are_sought_is_said(body: bytes) -> None:
    served = Served(World())
    served.lose = lambda _request: "after" if 3 < len(served.requests) < 10 else None
    lists = Counter[str]()

    async def send(request: Request) -> Answer:
        if request.path.startswith("/vector_stores?"):
            lists["seen"] += 1
            if lists["seen"] > 1:
                return Answer(200, "text/html", body)
        return await served.send(request)

    session = session_on(send, Workload(mix={"store": 1}), requests=6)
    assert len(session.left) == 1
    assert session.left[0].startswith("what may have been made in /vector_stores: ")


# The picture


def drawn(samples: Samples, path: Path | None = None, *, open_loop: bool = False) -> Any:
    return picture.draw(samples, path, title="A title", open_loop=open_loop)


def test_each_request_is_a_dot_of_its_operation_and_each_error_a_mark() -> None:
    samples = Samples()
    samples.add("create", 1.0, 1.0, 3.0)
    samples.add("retrieve", 2.0, 2.0, 2.5)
    samples.add("retrieve", 2.0, 2.0, 2.25)
    samples.add("retrieve", 3.0, 3.0, 3.0)
    samples.add("cancel", 3.0, 3.0, 3.5, "500", "no")
    samples.add("list", 4.0, 4.0, 4.0, OVERLOADED, "too many")
    figure = drawn(samples, open_loop=True)
    latency, queue = figure.axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in latency.lines}
    assert lines["create"] == ([1.0], [2000.0])
    assert lines["retrieve"] == ([2.0, 2.0, 3.0], [500.0, 250.0, 0.01])
    assert lines["error"] == ([3.0], [500.0])
    assert lines["given up"][0] == [4.0]
    assert (latency.get_yscale(), latency.get_ylabel()) == ("log", "latency (ms), from when it was due")
    assert queue.get_ylabel() == "under way"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "create",
        "retrieve",
        "error",
        "given up",
    ]
    colours = {line.get_label(): line.get_color() for line in latency.lines}
    assert colours["retrieve"] == picture.COLOURS["retrieve"]
    assert set(picture.COLOURS) == set(OPERATIONS)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=30), st.integers(0, 40))
def test_under_way_is_what_is_due_and_not_answered(spans: list[tuple[int, int]], at: int) -> None:
    samples = Samples()
    for due, took in spans:
        samples.add("list", float(due), float(due), float(due + took))
    times, numbers = picture.under_way(samples)
    latest = [number for time, number in zip(times, numbers, strict=True) if time <= at][-1]
    assert latest == sum(due <= at < due + took for due, took in spans)
    assert times == sorted(times)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_written_to_a_path_with_a_space(suffix: str, tmp_path: Path) -> None:
    samples = looped(SingleFile(0.1).send, 30, concurrency=2).samples
    path = tmp_path / f"a picture{suffix}"
    drawn(samples, path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("latencies", [[0.0], [40.0], [0.001, 0.0011] * 9, [0.5, 0.001, *[0.0011] * 30, 40.0]])
def test_a_line_at_each_percentile_says_what_the_report_says(latencies: list[float]) -> None:
    samples = Samples()
    for i, seconds in enumerate(latencies):
        samples.add("list", float(i), float(i), i + seconds)
    samples.add("list", 0.0, 0.0, 90.0, "500", "no")  # an error has no latency
    figure, figures = drawn(samples), samples.figures()
    expected = [max(1000 * of, 1000 * picture.LEAST) for of in (figures.p50, figures.p95, figures.p99)]
    lines = [line.get_ydata()[0] for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert lines == pytest.approx(expected)
    texts = [text.get_text().split() for text in figure.axes[0].texts]
    assert texts == [[name, f"{of:,.3g}", "ms"] for name, of in zip(("p50", "p95", "p99"), expected, strict=True)]
    require_legible(figure)


def test_where_all_was_given_up_the_picture_says_that() -> None:
    samples = Samples()
    for due in (1.0, 2.0):
        samples.add("list", due, due, due, OVERLOADED, "too many")
    figure = drawn(samples)
    assert [list(line.get_xdata()) for line in figure.axes[0].lines] == [[1.0, 2.0]]
    assert figure.axes[1].get_ylim() == (0.0, 1.0)


def test_of_no_request_there_is_no_picture() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        drawn(Samples())


def test_the_virtual_loop_does_not_wait_for_what_never_comes() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop()
    try:
        with pytest.raises(AssertionError, match="nothing ever will be"):
            loop.run_until_complete(main())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
