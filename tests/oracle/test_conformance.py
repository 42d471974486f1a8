"""The conformance laws: right about us, right about others, and shown by programs that run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import openai
import pytest
from fastapi import FastAPI

from vsbatch_core import Engine, model
from vsbatch_core.adapters.asgi import App
from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.openai import client
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.extras import pip_line
from vsbatch_core.simulation import Plan
from vsbatch_core.testing import conformance
from vsbatch_core.testing.conformance import LAWS, Conformance, Law, Probe, asgi_client, check
from vsbatch_core.testing.conformance.laws import MARKS
from vsbatch_core.testing.conformance.probe import Scene, Trace
from vsbatch_core.testing.conformance.report import counted, document, failures, junit
from vsbatch_core.testing.conformance.runner import Verdict, run
from vsbatch_core.testing.conformance.tracing import (
    Broken,
    NotReached,
    Traced,
    Unreachable,
    code_of,
    traced,
    value_of,
)

from ..helpers import planted_servers as planted
from ..helpers.brief import searching
from ..helpers.planted_servers import BAD, SLOW, Server, World

HTTP: Any = sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]
"""The HTTP library that the installed client is built on."""

slow = pytest.mark.slow

BY_ID = {law.id: law for law in LAWS}
BUDGET, EXAMPLES, MORE_EXAMPLES = 400.0, 3, 40
"""Seconds of virtual time; how often every law is tried, and how often one that is to catch something."""


def checked(world: World, examples: int = EXAMPLES, budget: float = BUDGET) -> dict[str, Verdict]:
    verdicts = check(world.probe(), budget=budget, examples=examples)
    return {verdict.law.id: verdict for verdict in verdicts}


def found(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {id: v.outcome for id, v in verdicts.items() if v.outcome in ("broken", "difference")}


def unreached(verdicts: dict[str, Verdict]) -> set[str]:
    return {id for id, v in verdicts.items() if v.outcome == "not reached"}


# The laws themselves


def test_every_law_has_an_id_of_its_own_one_sentence_a_mark_and_a_source() -> None:
    assert len(BY_ID) == len(LAWS) > 50
    for law in LAWS:
        assert law.mark in MARKS
        assert law.sentence.endswith(".")
        assert law.source
        assert (law.mark == "choice") is any(word in law.source for word in ("nobody", "official clients have"))


# Right about us

RUNNING = {
    "usage-bytes",
    "final-running",
    "cancel-counts",
    "cancel-status",
    "cancel-again",
    "cancel-twice-running",
    "walk-running",
    "filtered-walk-running",
}
"""The laws of a batch that is still running when it is looked at."""

DRAIN = {"profile": model.Profile(cancel="drain")}
RECORDED_WORD = {"profile": model.Profile(batch_object="vector_store.file_batch")}


IMMEDIATE = Plan.immediate(by_id={BAD: "invalid_file"})
TWO_WORKERS = Plan(workers=2, service=3.0, by_id={BAD: "server_error"})


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        pytest.param({"plan": IMMEDIATE}, set(), id="immediate"),
        pytest.param(
            {"plan": IMMEDIATE, "tick": 0.001}, RUNNING, id="immediate on a clock that moves", marks=slow
        ),
        pytest.param({"plan": SLOW}, set(), id="slow with failures", marks=slow),
        pytest.param({"plan": TWO_WORKERS, **DRAIN}, set(), id="drain on cancel", marks=slow),
        pytest.param({"plan": SLOW, **RECORDED_WORD}, set(), id="the recordings' word for a batch", marks=slow),
    ],
)
def test_our_own_server_breaks_nothing_and_differs_in_nothing(options: Any, missing: set[str]) -> None:
    verdicts = checked(World(**options), budget=100 * BUDGET)
    assert found(verdicts) == {}
    assert unreached(verdicts) == missing


CHOSEN = {
    ("duplicates", "refuse"): {"duplicates"},
    ("reattach", "reuse"): {"attached-again"},
    ("reattach", "refuse"): {"attached-again"},
    ("unknown_cursor", "first_page"): {"unknown-cursor"},
    ("deleted_cursor", "refuse"): {"deleted-cursor"},
    ("both_cursors", "after"): {"both-cursors"},
    ("both_cursors", "refuse"): {"both-cursors"},
    ("ties", "same_both_ways"): set(),
    ("ties", "by_id"): set(),
    ("unnamed_store", "null"): set(),
    ("cancel_answer", "in_progress"): set(),
}
"""By policy, the choices in which a server that has it differs from ours."""


@slow
@pytest.mark.parametrize(("policy", "differs"), CHOSEN.items(), ids=map("=".join, CHOSEN))
@pytest.mark.parametrize("plan", [IMMEDIATE, SLOW], ids=["immediate", "slow"])
def test_a_server_is_accused_of_nothing_for_the_policy_that_it_chose(
    plan: Plan, policy: tuple[str, str], differs: set[str]
) -> None:
    key, word = policy
    profile = model.Profile(**{key: word})  # type: ignore[arg-type]  # one of its words
    verdicts = checked(World(plan=plan, profile=profile), budget=100 * BUDGET)
    assert found(verdicts) == dict.fromkeys(differs, "difference")
    assert unreached(verdicts) == ({"duplicates-walk"} if policy == ("duplicates", "refuse") else set())


def test_where_every_file_of_a_cancelled_batch_goes_on_nothing_is_said_of_the_status_of_cancelled_ones() -> None:
    world = World(plan=Plan(workers=1_000, service=0.5), tick=0.001, **DRAIN)  # each file has a worker of its own
    verdict = run(BY_ID["cancel-status"], world.probe(), examples=2, seed=0)
    assert (verdict.outcome, verdict.detail) == ("not reached", "no file was seen to be cancelled")


@slow
def test_where_no_file_fails_the_laws_of_failure_are_not_reached_and_not_ok() -> None:
    world = World(plan=Plan(workers=2, service=0.5), bad_file=None)
    verdicts = checked(world)
    assert found(verdicts) == {}
    assert unreached(verdicts) == {"last-error", "some-failed", "all-failed"}


@slow
def test_with_uploads_files_are_uploaded_and_deleted_again_with_the_stores() -> None:
    world = World(uploads=True, plan=SLOW)
    probe = world.probe()
    assert found({v.law.id: v for v in check(probe, budget=BUDGET, examples=2)}) == {}
    assert world.client.vector_stores.list().data
    assert world.client.files.list().data
    assert probe.clean_up() == []
    assert world.client.vector_stores.list().data == []
    assert world.client.files.list().data == []


# Right about others

FAULTS: dict[Callable[[], Server], tuple[str, str]] = {
    planted.cancel_leaves_counts: ("cancel-counts terminal", "counts-and-list"),
    planted.cancel_leaves_status: ("cancel-status terminal", ""),
    planted.before_is_page_one: ("before walk-backward", ""),
    planted.unknown_cursor_is_page_one: ("unknown-cursor", ""),
    planted.ties_are_backwards: ("ties", ""),
    planted.order_is_ignored: ("order", ""),
    planted.has_more_on_the_last_page: ("has-more has-more-before", ""),
    planted.has_more_never: ("has-more has-more-before", ""),
    planted.duplicates_never_end: ("duplicates-walk", ""),
    planted.duplicates_count_twice: ("duplicates", ""),
    planted.unfinished_files_are_not_listed: ("every-file", ""),
    planted.limits_are_not_checked: ("limit-range", ""),
    planted.words_are_not_checked: ("unknown-word", ""),
    planted.files_are_ignored: ("files", "duplicates"),
    planted.pages_follow_status: ("walk-running filtered-walk-running", "order"),
    planted.cursors_must_match_the_filter: ("filtered-walk-running", "deleted-cursor"),
    planted.another_stores_batch_is_answered: ("another-store", ""),
    planted.errors_without_param: ("error-body", ""),
    planted.total_forgets_the_cancelled: ("total", "counts-and-list"),
    planted.terminal_too_early: ("terminal", ""),
    planted.second_cancel_is_an_error: ("cancel-again cancel-twice-running", ""),
    planted.statuses_change_their_minds: ("final", ""),
    planted.filter_is_ignored: ("filter", "counts-and-list"),
    planted.after_is_inclusive: (
        "after walk-forward walk-running",
        "filtered-walk-running duplicates-walk has-more deleted-cursor",
    ),
    planted.created_is_completed: ("after-create", ""),
    planted.failures_have_no_reason: ("last-error", ""),
    planted.both_are_taken: ("exactly-one", ""),
    planted.all_failed_is_completed: ("all-failed", ""),
    planted.completed_is_never_said: ("terminal", "some-failed"),
    planted.batches_are_of_another_word: ("batch-object", ""),
    planted.batches_change_their_word: ("batch-object", ""),
}
"""By server, the laws that its fault is meant for, and those that it touches besides, in some cases or in all."""


@cache
def caught(server: Callable[[], Server], id: str) -> Verdict:
    return run(BY_ID[id], World(server()).probe(), examples=MORE_EXAMPLES, seed=0)


@slow
@pytest.mark.parametrize("server", FAULTS, ids=lambda server: server.__name__)
def test_a_fault_is_caught_by_the_laws_meant_for_it_and_by_no_unrelated_one(
    server: Callable[[], Server],
) -> None:
    meant, related = map(str.split, FAULTS[server])
    assert set(found(checked(World(server())))) <= {*meant, *related}
    for id in meant:
        verdict = caught(server, id)
        assert verdict.outcome == ("difference" if verdict.law.mark == "choice" else "broken")


@slow
@pytest.mark.parametrize(
    ("server", "differs"),
    [
        (planted.ties_by_id, set()),
        (planted.desc_is_asc_on_ties, set()),
        (planted.unknown_batch_is_400, {"unknown-batch"}),
    ],
)
def test_a_correct_server_that_differs_from_ours_is_accused_of_nothing(
    server: Callable[[], Server], differs: set[str]
) -> None:
    assert found(checked(World(server()))) == dict.fromkeys(differs, "difference")


@slow
@searching
@pytest.mark.parametrize("server", FAULTS, ids=lambda server: server.__name__)
def test_a_fault_is_shown_by_programs_that_fail_on_its_server_and_run_to_their_end_on_ours(
    server: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in FAULTS[server][0].split():
        program = caught(server, id).program
        assert program is not None
        with pytest.raises((AssertionError, openai.APIError)):
            executed(program, World(server()), monkeypatch)
        executed(program, World(), monkeypatch)


def executed(program: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a program in this process, on a world's server and time."""

    def made(*, base_url: str, api_key: str, max_retries: int) -> Any:
        assert base_url == str(world.client.base_url).rstrip("/")
        assert api_key
        return world.client.with_options(max_retries=max_retries)

    with monkeypatch.context() as patched:
        patched.setattr(openai, "OpenAI", made)
        patched.setattr(time, "sleep", world.simulation.advance)
        exec(compile(program, "program.py", "exec"), {})  # noqa: S102 - that it runs is what is tested


def test_a_program_is_short_and_says_what_is_broken() -> None:
    world = World(planted.unknown_cursor_is_page_one())
    verdict = run(BY_ID["unknown-cursor"], world.probe(), examples=20, seed=0)
    program = verdict.program
    assert program is not None
    assert program.startswith("# Law: unknown-cursor (choice): A cursor that was never in the list")
    code = [line for line in program.split("\n") if line.startswith(("store", "batch", "    page", "assert"))]
    assert len(code) == 5
    assert code[-1] == ('assert isinstance(page, openai.APIStatusError), "an unknown cursor is to be refused"')


@pytest.mark.parametrize(
    ("server", "law", "choice", "why"),
    [
        (planted.lists_are_empty, "limit", {"limit": 1, "order": "asc", "where": "batch"}, "a list was empty"),
        (planted.lists_are_empty, "usage-bytes", {}, "no file was seen in progress"),
        (planted.lists_never_end, "empty-page", {"where": "batch"}, "no empty page was found"),
        (planted.lists_have_five_files, "default-limit", {"where": "store"}, "the list has fewer than 21 files"),
        (planted.nothing_is_refused, "error-texts", {}, "a request was not refused"),
        (planted.nothing_is_refused, "error-body", {"what": "unknown_batch"}, "a request was not refused"),
        (planted.completed_is_never_said, "final", {"cancelled": False}, "a batch or file had not ended"),
        (planted.completed_is_never_said, "cancel-ended", {}, "a batch did not end"),
        (planted.cancel_leaves_status, "cancel-again", {}, "did not become cancelled"),
    ],
    ids=lambda of: getattr(of, "__name__", None),
)
def test_a_law_that_cannot_be_tried_is_not_reached_and_says_why(
    server: Callable[[], Server], law: str, choice: dict[str, Any], why: str
) -> None:
    sizes = {"n": 1} if "n" in BY_ID[law].choices else {}
    with pytest.raises(NotReached, match=why):
        BY_ID[law].holds(World(server()).probe().trace(), **sizes, **choice)


@pytest.mark.parametrize(
    ("law", "why"),
    [("ties", "not all created within one second"), ("order", "created within one second")],
)
def test_laws_of_times_need_a_clock_that_does_as_they_say(law: str, why: str) -> None:
    # Time that passes with every request and not while one sleeps.
    world = World(tick=0.6 if law == "ties" else 0.0, plan=Plan.manual())
    probe = world.probe()
    if law == "ties":
        probe.scenes[2, "good", False] = scene = _of_two_seconds(probe.trace())
        choice = {"n": len(scene.files), "where": "store"}
    else:
        probe.sleep = lambda _seconds: None
        choice = {"n": 1, "order": "asc", "limit": 2}
    with pytest.raises(NotReached, match=why):
        BY_ID[law].holds(probe.trace(), **choice)


def _of_two_seconds(see: Trace) -> Scene:
    files, store = see.probe.files(2), see.store()
    batch = see.create(store, file_ids=files[:1])
    see.sleep(2.0)
    see.create(store, file_ids=files[1:])
    return Scene(store, batch, files, see.retrieve(store, batch), see)


# Marks and exit


def test_only_what_is_documented_counts_unless_one_is_strict_and_a_choice_never_does() -> None:
    for mark in MARKS:
        law = Law("x", "X.", mark, "nobody", lambda _see: None)
        verdict = Verdict(law, "difference" if mark == "choice" else "broken", "why", "program")
        assert bool(failures([verdict], strict=False)) is (mark == "documented")
        assert bool(failures([verdict], strict=True)) is (mark != "choice")
        assert not failures([Verdict(law, "ok"), Verdict(law, "not reached")], strict=True)


def test_the_document_says_everything() -> None:
    law = Law("x", "X.", "recorded", "somewhere", lambda _see: None)
    verdicts = [Verdict(law, "broken", "why", "program", 3, 1.25), Verdict(law, "ok", tried=2)]
    data = document("http://h/v1", verdicts, strict=True, seed=4)
    assert (data["conforms"], data["counts"], data["seed"]) == (False, counted(verdicts), 4)
    assert data["laws"][0] == {
        "id": "x",
        "sentence": "X.",
        "mark": "recorded",
        "source": "somewhere",
        "outcome": "broken",
        "fails": True,
        "detail": "why",
        "program": "program",
        "tried": 3,
        "seconds": 1.25,
    }
    assert document("http://h/v1", verdicts, strict=False, seed=4)["conforms"]


def test_junit_fails_what_counts_and_skips_what_does_not() -> None:
    law = Law("x", "X.", "recorded", "somewhere", lambda _see: None)
    verdicts = [
        Verdict(law, "broken", "a\x00bell\x07 <&> \ud800", "program"),
        Verdict(law, "not reached", "why"),
        Verdict(law, "ok"),
    ]
    strict, lax = (ET.fromstring(junit(verdicts, strict=strict)) for strict in (True, False))  # noqa: S314 - our own
    assert [[child.tag for child in case] for case in strict] == [["failure"], ["skipped"], []]
    assert [[child.tag for child in case] for case in lax] == [["skipped"], ["skipped"], []]
    assert strict.attrib["failures"] == "1"
    assert lax.attrib["failures"] == "0"
    assert lax[0][0].attrib["message"] == "broken: a\\x00bell\\x07 <&> \\ud800"


# What is seen of a server


def law_of(holds: Callable[[Trace], None]) -> Law:
    return Law("x", "X.", "documented", "nobody", holds)


def tried(holds: Callable[[Trace], None], server: Server | None = None, **options: Any) -> Verdict:
    return run(law_of(holds), World(server, **options).probe(), examples=5, seed=0)


def test_a_request_that_is_refused_breaks_the_law_unless_it_may_be() -> None:
    verdict = tried(lambda see: see.call("vector_stores.retrieve", "vs_none").id)
    assert verdict.outcome == "broken"
    assert verdict.detail.startswith("a request was refused with 404: ")
    assert verdict.program is not None
    assert verdict.program.rstrip().endswith("client.vector_stores.retrieve('vs_none')")


def test_what_an_answer_lacks_breaks_the_law() -> None:
    verdict = tried(lambda see: see.store().no_such_field)
    assert verdict.outcome == "broken"
    assert verdict.program is not None
    assert verdict.program.rstrip().endswith("print(store.no_such_field)")


def answers(*responses: Any) -> Server:
    """A server that answers these, one after the other, to all but the first look; exceptions are raised."""
    left = list(responses)

    def server(request: Any, ask: Any) -> Any:
        if request.method == "GET" or not left:
            return ask(request)
        response = left.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    return server


@pytest.mark.parametrize(("header", "waited"), [("3", 3.0), ("tomorrow", 1.0), (None, 1.0)])
def test_a_429_is_waited_for(header: str | None, waited: float) -> None:
    response = planted.refusal(429, *([("retry-after", header)] if header else []))
    world = World(answers(response))
    begin = world.simulation.clock.time()
    assert run(law_of(Trace.store), world.probe(), examples=1, seed=0).outcome == "ok"
    assert world.simulation.clock.time() - begin == waited


def test_an_answer_that_is_no_json_breaks_the_law() -> None:
    def garbled(request: Any, ask: Any) -> Any:
        response = ask(request)
        return planted.garbled(response) if request.method == "POST" else response

    verdict = tried(lambda see: see.store(), garbled)
    assert verdict.outcome == "broken"
    assert "cannot be read" in verdict.detail


class Dead:
    """A transport that fails as told: by connection, or by time."""

    def __init__(self, world: World, error: type[Exception], *, for_ever: bool) -> None:
        self.world, self.error, self.for_ever, self.looks = world, error, for_ever, 0

    def __call__(self, request: Any) -> Any:
        if request.method == "GET" and not self.for_ever:
            return HTTP.Response(200, json={"object": "list", "data": [], "has_more": False})
        raise self.error("gone", request=request)

    def probe(self) -> Probe:
        http = HTTP.Client(transport=HTTP.MockTransport(self))
        return Probe(openai.OpenAI(base_url="http://dead.invalid/v1", api_key="x", http_client=http))


def test_a_connection_that_ends_breaks_the_law_where_the_server_still_answers_others() -> None:
    probe = Dead(World(), HTTP.ConnectError, for_ever=False).probe()
    verdict = run(law_of(lambda see: see.store()), probe, examples=5, seed=0)
    assert verdict.outcome == "broken"
    assert verdict.detail.startswith("the server ended the connection")


def test_a_server_that_does_not_answer_at_all_is_unreachable() -> None:
    probe = Dead(World(), HTTP.ConnectError, for_ever=True).probe()
    with pytest.raises(Unreachable, match=r"no answer from http://dead\.invalid/v1: gone"):
        check(probe)
    with pytest.raises(Unreachable):
        run(law_of(lambda see: see.store()), probe, examples=5, seed=0)


def test_a_server_that_is_too_slow_to_answer_is_not_accused() -> None:
    probe = Dead(World(), HTTP.ReadTimeout, for_ever=False).probe()
    verdict = run(law_of(lambda see: see.store()), probe, examples=5, seed=0)
    assert (verdict.outcome, verdict.detail) == ("not reached", "no answer to vector_stores.create in time")


def test_a_wrong_key_is_said_to_be_one() -> None:
    api = Api(Engine(), api_keys=("right",))
    with pytest.raises(Unreachable, match="refuses the API key"):
        check(Probe(client(api, api_key="wrong")))


def test_a_server_whose_first_look_is_an_error_is_reached_all_the_same() -> None:
    world = World(lambda request, ask: planted.refusal(500) if request.method == "GET" else ask(request))
    assert world.probe().reach() is None


@slow
def test_a_budget_that_ran_out_leaves_laws_unreached() -> None:
    verdicts = check(World().probe(), budget=0.0)
    assert {verdict.outcome for verdict in verdicts} == {"not reached"}
    assert {verdict.detail for verdict in verdicts} == {"the budget ran out"}


def test_a_budget_that_runs_out_between_two_calls_leaves_the_law_unreached() -> None:
    def slow(see: Trace) -> None:
        see.store()
        see.sleep(10.0)
        see.store()

    world = World()
    probe = world.probe()
    probe.patience.deadline = probe.now() + 5.0
    assert run(law_of(slow), probe, examples=1, seed=0).detail == "the budget ran out"


@slow
def test_a_batch_that_never_ends_is_not_reached() -> None:
    verdicts = checked(World(plan=Plan.manual()), examples=1)
    assert found(verdicts) == {}
    assert {"walk-forward", "final", "cancel-ended"} <= unreached(verdicts)
    assert verdicts["cancel-counts"].outcome == "ok"


def test_what_a_flaky_server_did_once_was_seen() -> None:
    seen: list[int] = []

    def once(_see: Trace) -> None:
        seen.append(1)
        if len(seen) == 1:
            raise Broken("it did", "")

    verdict = tried(once)
    assert (verdict.outcome, verdict.detail) == ("broken", "it did")


def test_an_error_of_a_law_itself_is_not_swallowed() -> None:
    def wrong(_see: Trace) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tried(wrong)


def test_polls_that_are_refused_break_the_law() -> None:
    def server(request: Any, ask: Any) -> Any:
        polls = request.method == "GET" and "vsfb_" in request.path
        return planted.refusal(500) if polls else ask(request)

    verdict = tried(lambda see: see.ended(1).batch, server)
    assert verdict.outcome == "broken"
    assert verdict.detail.startswith("a poll was refused with 500")


@pytest.mark.parametrize("uploads", [None, True])
def test_a_server_without_uploads_gets_made_up_ids_unless_uploads_are_wanted(uploads: bool | None) -> None:
    world = World(bad_file=None)
    probe = Probe(world.client, uploads=uploads, sleep=world.simulation.advance, now=world.simulation.clock.time)
    if uploads:
        with pytest.raises(NotReached, match="--no-uploads"):
            probe.files(1)
    else:
        assert probe.files(2) == ["file-0011", "file-0048"]
        assert probe.uploads is False


def test_a_bad_file_that_is_not_taken_leaves_its_laws_unreached() -> None:
    uploads = Uploads(limit_bytes=100)
    api = Api(Engine(file_size=uploads.file_size), uploads=uploads)
    probe = Probe(client(api), bad_file=("bad.pdf", b"x" * 101))
    with pytest.raises(NotReached, match="the bad file could not be uploaded"):
        probe.bad()


@pytest.mark.parametrize("uploads", [False, True])
def test_what_was_made_by_a_call_that_was_interrupted_is_found_and_deleted(uploads: bool) -> None:
    made: list[str] = []

    def server(request: Any, ask: Any) -> Any:
        response = ask(request)
        if request.method == "POST" and not made:
            made.append(planted.read(response)["id"])
            raise KeyboardInterrupt
        return response

    world = World(server, uploads=uploads)
    other = world.api.engine.vector_stores.create(name="not ours")
    probe = world.probe()
    with pytest.raises(KeyboardInterrupt):
        check(probe, laws=[BY_ID["batch-shape"]])
    kept = world.client.files if uploads else world.client.vector_stores
    assert made[0] in [item.id for item in kept.list().data]
    assert probe.clean_up() == []
    assert [item.id for item in kept.list().data] == ([] if uploads else [other.id])


def test_what_was_made_by_a_call_that_was_interrupted_may_not_be_found() -> None:
    def server(request: Any, _ask: Any) -> Any:
        if request.method == "POST":
            raise KeyboardInterrupt
        return planted.refusal(500)

    probe = World(server).probe()
    with pytest.raises(KeyboardInterrupt):
        check(probe, laws=[BY_ID["batch-shape"]])
    (line,) = probe.clean_up()
    assert line.startswith("what vector_stores.create was making when it was interrupted: ")


def test_pages_of_a_walk_that_are_refused_break_the_law() -> None:
    def server(request: Any, ask: Any) -> Any:
        return planted.refusal(500) if planted.is_list(request) else ask(request)

    verdict = run(BY_ID["walk-running"], World(server).probe(), examples=1, seed=0)
    assert verdict.outcome == "broken"
    assert verdict.detail.startswith("a page was refused with 500")


def test_what_cannot_be_deleted_is_named() -> None:
    world = World(lambda request, ask: planted.refusal(403) if request.method == "DELETE" else ask(request))
    probe = world.probe()
    store = value_of(probe.trace().store())
    (line,) = probe.clean_up()
    assert line.startswith(f"{store.id}: ")


# Traced values


def test_a_traced_value_prints_as_the_code_that_gave_it() -> None:
    page = Traced([3, 1, 2], "page")
    total = page[0] + page[1] == 4
    assert total
    assert code_of(total) == "page[0] + page[1] == 4"
    assert code_of({"a": [page, "b"]}) == "{'a': [page, 'b']}"
    assert value_of({"a": [page, "b"]}) == {"a": [[3, 1, 2], "b"]}
    assert code_of(total == True) == "(page[0] + page[1] == 4) == True"  # noqa: E712 - traced
    assert not page[1] > 1
    assert page[1] <= 1
    with pytest.raises(Broken, match="cannot be read"):
        traced("{}[9]", lambda items: items[9], page)
    assert not hasattr(page, "_private")


# The laws as tests of pytest


class TestOurApplication(Conformance):
    """What a user writes, for an application of FastAPI's that has another application mounted in it."""

    examples = 1
    budget = 20.0
    bad_file = BAD
    uploads = False

    @classmethod
    def client(cls) -> Any:
        return asgi_client(processing())


def processing() -> FastAPI:
    """An application that processes files in the background, and stops with its lifespan."""
    engine = Engine()

    async def work() -> None:
        while True:
            for file in engine.processing.pending(limit=2):
                if file.id == BAD:
                    engine.processing.fail(file.vector_store_id, file.id)
                else:
                    engine.processing.complete(file.vector_store_id, file.id)
            await asyncio.sleep(0.005)

    async def lifespan(_app: FastAPI) -> Any:
        task = asyncio.create_task(work())
        yield
        task.cancel()

    app = FastAPI(lifespan=asynccontextmanager(lifespan))
    app.mount("/", App(engine))
    return app


@pytest.mark.parametrize("strict", [False, True])
def test_a_test_fails_skips_or_is_expected_to_fail_as_the_law_counts(strict: bool) -> None:
    def verdict_of(server: Server | None, law: str, **options: Any) -> str:
        world = World(server, **options)

        class Tests(Conformance):
            examples = 6

            @classmethod
            def probe(cls) -> Probe:
                return world.probe()

        Tests.strict = strict
        Tests.setup_class()
        try:
            Tests().test_law(BY_ID[law])
        except (pytest.fail.Exception, pytest.skip.Exception, pytest.xfail.Exception) as outcome:
            return type(outcome).__name__
        finally:
            Tests.teardown_class()
        return "Passed"

    assert verdict_of(None, "has-more") == "Passed"
    assert verdict_of(planted.has_more_never(), "has-more") == "Failed"
    assert verdict_of(planted.limits_are_not_checked(), "limit-range") == ("Failed" if strict else "XFailed")
    assert verdict_of(planted.unknown_cursor_is_page_one(), "unknown-cursor") == "XFailed"
    assert verdict_of(None, "some-failed", bad_file=None) == "Skipped"


def test_a_class_that_does_not_say_what_its_client_is_is_told_to() -> None:
    with pytest.raises(NotImplementedError, match=r"override client\(\)"):
        Conformance.setup_class()


def test_an_application_that_takes_no_part_in_its_lifespan_is_served_as_well() -> None:
    app = App(Engine())

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")
        # What is left behind when the client closes is cancelled.
        asyncio.get_running_loop().background = asyncio.create_task(asyncio.sleep(3600))  # type: ignore[attr-defined]
        await app(scope, receive, send)
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        assert not waiting.done(), "the client does not go away before it has its answer"
        waiting.cancel()

    with asgi_client(bare) as made:
        store = made.vector_stores.create(name="x")
        assert made.vector_stores.retrieve(store.id).name == "x"
    made.close()  # a second time


def test_an_application_that_cannot_start_says_so() -> None:
    async def failing(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(RuntimeError, match="startup failed"):
        asgi_client(failing)


def test_the_room_exports_what_users_import() -> None:
    assert {name for name in conformance.__all__ if getattr(conformance, name) is None} == set()
    name = "nothing"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(conformance, name)


@slow
@pytest.mark.parametrize(
    ("hidden", "said"), [("hypothesis", pip_line("check")), ("pytest", "pip install pytest")]
)
def test_a_missing_extra_is_said_with_the_line_that_installs_it(hidden: str, said: str) -> None:
    code = f"import sys; sys.modules[{hidden!r}] = None\nfrom vsbatch_core.testing.conformance import Conformance"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr


# Others


@slow
def test_what_openai_responses_breaks() -> None:
    library = pytest.importorskip(
        "openai_responses", reason="openai-responses is not installed: it needs an official client before 3"
    )
    mock = library.OpenAIMock()
    with mock.router:
        probe = Probe(openai.OpenAI(api_key="x"))
        verdicts = {verdict.law.id: verdict for verdict in check(probe, budget=60.0, examples=3)}
        probe.clean_up()
    documented = {id for id, v in verdicts.items() if v.outcome == "broken" and v.law.mark == "documented"}
    assert documented >= {
        "before",  # the first items, not the preceding ones
        "duplicates-walk",
        "every-file",
        "files",  # files=[...] crashes it
        "has-more",
        "walk-backward",
    }
    assert verdicts["limit-range"].outcome == "broken"
    assert verdicts["unknown-cursor"].outcome == "difference"  # it answers page one
    assert verdicts["cancel-counts"].outcome == "not reached"  # unless told otherwise, its batches end at once
