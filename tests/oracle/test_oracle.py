"""The oracle, the machine that drives it in lockstep with others, and that what it says can be believed."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
import sys
import types
from itertools import chain, product
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import evolve
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from vsbatch_core import (
    Completed,
    Engine,
    Failed,
    Limits,
    Page,
    Profile,
    Retry,
    SequentialIds,
    VectorStoreFile,
    VirtualClock,
    VsbatchError,
)
from vsbatch_core.errors import FileBatchNotFound
from vsbatch_core.extras import pip_line
from vsbatch_core.testing import oracle as oracle_module
from vsbatch_core.testing import strategies as us
from vsbatch_core.testing.calls import Call, Refusal, UnsteadyClock, answer, call, same
from vsbatch_core.testing.machine import Comparison, Divergence, Lockstep
from vsbatch_core.testing.oracle import Oracle
from vsbatch_core.testing.remote import Dispatched, Official, Remote
from vsbatch_core.testing.subjects import Durable, Replayed, Restored, Spoken, Subject, World

from ..helpers.brief import examples, searching
from ..helpers.postgres import Cluster

LIMITS = (1, 2, 3, None)
BUDGET = settings(max_examples=examples(15), stateful_step_count=20)


def machine(factory: type[Subject]) -> type[Lockstep]:
    class Machine(Lockstep):
        subject_factory = factory

    return Machine


@pytest.mark.parametrize(
    "factory",
    [
        Subject,
        Restored,
        Durable,
        *(pytest.param(factory, marks=[pytest.mark.slow, searching]) for factory in (Replayed, Dispatched)),
    ],
)
def test_no_random_history_tells_it_from_the_oracle(factory: type[Subject]) -> None:
    run_state_machine_as_test(machine(factory), settings=BUDGET)


def test_no_random_history_tells_an_engine_on_postgresql_from_the_oracle(cluster: Cluster) -> None:
    class OnPostgres(Durable):
        reads_one_in = 4  # each read asks the database

        def database(self) -> str:
            return cluster.emptied()

    run_state_machine_as_test(machine(OnPostgres), settings=settings(BUDGET, max_examples=examples(10)))


@pytest.mark.slow
def test_no_random_history_tells_the_engine_behind_an_official_client_from_the_oracle() -> None:
    # Each call goes through the whole client, which takes most of a millisecond.
    run_state_machine_as_test(machine(Official), settings=settings(BUDGET, max_examples=examples(8)))


@given(st.permutations(range(4)), st.integers(1, 3))
@settings(max_examples=examples(20))
def test_batches_may_be_cancelled_in_any_order(order: list[int], size: int) -> None:
    comparison = Comparison(Subject)
    comparison.step(call("vector_stores.create"), LIMITS)
    for batch in range(4):
        ids = [f"file-{batch}-{i}" for i in range(size)]
        comparison.step(call("vector_stores.file_batches.create", "vs_1", file_ids=ids), ())
    for batch in order:
        cancel = call("vector_stores.file_batches.cancel", f"vsfb_{batch + 1}", vector_store_id="vs_1")
        comparison.step(cancel, (2,))


def story_of_claims(api: Any, clock: VirtualClock) -> list[Any]:
    """Return what an engine or an oracle returns to workers, of which some lose their claims."""
    stores, work = api.vector_stores, api.processing
    stores.create(file_ids=["file-a", "file-b", "file-c"], expires_after={"anchor": "last_active_at", "days": 1})
    stores.file_batches.create("vs_1", file_ids=["file-d", "file-e", "file-f", "file-g"])
    stores.create()
    a, b, c = work.claim(3, worker="worker-1", vector_store_id="vs_1")
    found: list[Any] = [a, b, c, *work.finish([Failed(a, retry=True), Completed(b, 7), Completed(b, 8)])]
    (d,) = work.claim(1, worker="worker-4", vector_store_id="vs_1")
    found += [d, *work.release([d]), *work.claim(1, worker="worker-4", vector_store_id="vs_1")]
    stores.files.create("vs_1", file_id="file-d")
    found += work.finish([Completed(found[-1])])
    stores.files.delete("file-d", vector_store_id="vs_1")
    found += work.finish([Completed(d)])
    clock.advance(4)
    found += work.claim(1, worker="worker-2", lease_seconds=5.0, attachments=[0], vector_store_id="vs_1")
    found += [*work.heartbeat([c], lease_seconds=2.0), *work.release([b]), *work.pending()]
    clock.advance(30)  # both lapse, one for the last time
    found += [*work.finish([Completed(c)]), *work.claim(9, worker="worker-3")]
    e = found[-3]
    stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    found += [*work.release([e]), *work.finish([Failed(found[-2], "invalid_file", "torn", retry=True)])]
    found += [stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1"), *work.heartbeat([e])]
    clock.advance(86_400)
    found += [stores.retrieve("vs_1"), stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")]
    stores.delete("vs_2")
    found += work.finish([Completed(evolve(a, vector_store_id="vs_2")), Completed(e), Completed(c)])
    return [(type(each), str(each)) if isinstance(each, VsbatchError) else each for each in found]


@pytest.mark.parametrize("attempts", [2, 3])
def test_the_oracle_knows_claims_that_lapse_attempts_that_wait_and_batches_that_drain(attempts: int) -> None:
    found: list[Any] = []
    for api in (Engine, Oracle):
        clock = VirtualClock()
        retry = Retry(attempts=attempts, backoff=3.0)
        one: Any = api(clock=clock, ids=SequentialIds(), profile=Profile(cancel="drain"), retry=retry)
        found.append(story_of_claims(one, clock))
    assert found[0] == found[1]
    assert {each[0].__name__ for each in found[0] if isinstance(each, tuple)} >= {
        "AlreadyFinished",
        "NotAttached",
        "StaleAttachment",
    }


def test_what_drains_and_nobody_holds_ends_with_the_first_command_of_a_restored_engine_and_oracle() -> None:
    clock = VirtualClock()
    oracle = Oracle(clock=clock, ids=SequentialIds(), profile=Profile(cancel="drain"))
    engine = Engine(clock=clock, ids=SequentialIds(), profile=Profile(cancel="drain"))
    for api in (engine, oracle):
        api.vector_stores.create()
        api.vector_stores.file_batches.create("vs_1", file_ids=["file-a", "file-b"])
        api.processing.claim(1, worker="worker-1")
        api.vector_stores.file_batches.cancel("vsfb_1", vector_store_id="vs_1")
    oracle.restart()
    restored = Engine.restore(engine.snapshot(), clock=clock, ids=SequentialIds())
    for api in (restored, oracle):
        batch = api.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")
        assert batch.status == "in_progress"
        api.vector_stores.update("vs_1", name="again")
        batch = api.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1")
        assert (batch.status, batch.file_counts.cancelled) == ("cancelled", 2)


def test_a_strategy_that_chooses_its_sizes_is_taken_alone_and_refused_with_sizes_as_by_the_oracle() -> None:
    comparison, auto = Comparison(Subject), {"type": "auto"}
    static = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
    comparison.step(call("vector_stores.create", file_ids=["file-a"], chunking_strategy=auto), ())
    file = comparison.step(call("vector_stores.files.retrieve", "file-a", vector_store_id="vs_1"), ())
    sizes = file.chunking_strategy.static
    assert (sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens) == (800, 400)
    refusal = comparison.step(call("vector_stores.create", chunking_strategy={**auto, "static": static}), ())
    assert isinstance(refusal, Refusal)
    assert refusal.body["error"]["param"] == "chunking_strategy.static"


@pytest.mark.slow
def test_no_history_of_three_commands_about_expiry_tells_the_engine_from_the_oracle() -> None:
    born = call(
        "vector_stores.create", file_ids=["file-a"], expires_after={"anchor": "last_active_at", "days": 1}
    )
    alphabet = (
        call("clock.move", 86_399.0),
        call("clock.move", 1.0),
        call("clock.move", 90_000.0),
        call("clock.move", -1.0),
        call("vector_stores.update", "vs_1", name="again"),
        call("vector_stores.update", "vs_1", expires_after=None),
        call("vector_stores.files.create", "vs_1", file_id="file-b"),
        call("vector_stores.file_batches.create", "vs_1", file_ids=["file-b"]),
        call("vector_stores.files.delete", "file-a", vector_store_id="vs_1"),
        call("processing.complete", "vs_1", "file-a", usage_bytes=1),
    )
    world = World()
    expired = 0
    for history in chain.from_iterable(product(alphabet, repeat=length) for length in (1, 2, 3)):
        comparison = Comparison(Subject, world)
        *earlier, last = (born, *history)
        for each in earlier:  # This was compared as a shorter history.
            comparison.subject.ask(each)
            answer(comparison.oracle, each)
            comparison.history.append(each)
        comparison.step(last, ())
        (store,) = comparison.oracle.stores
        expired += store.expired(comparison.oracle.now(store))
    assert expired > len(alphabet) ** 2  # Time did run out.


# Arguments


def inhabited(factory: type[Subject], world: World) -> Comparison:
    """A comparison in a world where a good call of every method succeeds."""
    comparison = Comparison(factory, world)
    for history in (
        call("vector_stores.create", file_ids=["file-a"]),
        call("vector_stores.file_batches.create", "vs_1", file_ids=["file-b"]),
    ):
        comparison.step(history, ())
    return comparison


@pytest.mark.parametrize(
    ("factory", "limits", "sizes"),
    [
        (Subject, Limits(), None),
        pytest.param(Subject, Limits(), us.SIZES, marks=pytest.mark.slow),
        pytest.param(Subject, us.SMALL, None, marks=pytest.mark.slow),
        (Subject, us.SMALL, us.SIZES),
        pytest.param(Dispatched, us.SMALL, us.SIZES, marks=pytest.mark.slow),
    ],
)
def test_every_misuse_of_every_argument_is_refused_as_the_oracle_refuses_it(
    factory: type[Subject], limits: Limits, sizes: dict[str, int] | None
) -> None:
    world = World(Profile(limits=limits), sizes)
    comparison = inhabited(factory, world)
    refused = set()
    for misuse in us.ALL_MISUSES:
        # A refusal changes nothing, so all misuses may follow each other; what is no misuse here begins anew.
        if isinstance(comparison.step(misuse, ()), Refusal):
            refused.add(misuse.path)
        else:
            comparison = inhabited(factory, world)
    assert refused == {misuse.path for misuse in us.ALL_MISUSES}


def test_most_misuses_are_refused_under_any_limits() -> None:
    comparison = inhabited(Subject, World())
    refusals = [misuse for misuse in us.ALL_MISUSES if isinstance(answer(comparison.oracle, misuse), Refusal)]
    assert len(refusals) > 0.9 * len(us.ALL_MISUSES)


# The oracle by itself


def test_the_oracle_knows_nothing_of_the_engine_but_values_and_errors() -> None:
    folder = Path(oracle_module.__file__).parent
    allowed = {"claims", "errors", "model", "testing.oracle_arguments", "testing.oracle_state"}
    files = sorted(folder.glob("oracle*.py"))
    assert len(files) == 3
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vsbatch_core"):
                module = str(node.module).removeprefix("vsbatch_core").removeprefix(".")
                names = {module} if module else {alias.name for alias in node.names}
                assert names <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.Import):
                assert all(alias.name in sys.stdlib_module_names for alias in node.names)


def test_the_oracle_tells_the_story_of_the_readme() -> None:
    oracle = Oracle(**World().options())
    batches = oracle.vector_stores.file_batches
    store = oracle.vector_stores.create(name="handbook")
    batch = batches.create(store.id, file_ids=[f"file-{i}" for i in range(250)])
    seen = [
        file.id for file in batches.list_files(batch.id, vector_store_id=store.id, limit=100, order="asc").data
    ]
    for file in oracle.processing.pending(store.id, limit=150):
        oracle.processing.complete(store.id, file.id, usage_bytes=1_000)
    oracle.processing.fail(store.id, "file-200", code="unsupported_file")
    batch = batches.cancel(batch.id, vector_store_id=store.id)
    counts = batch.file_counts
    assert batch.status == "cancelled"
    assert (counts.in_progress, counts.completed, counts.failed, counts.cancelled) == (0, 150, 1, 99)
    for _ in range(2):
        page = batches.list_files(batch.id, vector_store_id=store.id, limit=100, order="asc", after=seen[-1])
        seen += [file.id for file in page.data]
    assert seen == [f"file-{i}" for i in range(250)]
    assert not page.has_more


# What the machine says is true, and can be run


class Wrong(Subject):
    """An engine under another profile than the one that it was asked for; quick to read, having no lists."""

    def can_ask(self, call: Call) -> bool:
        return not call.path.endswith(("list", "list_files"))

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.engine = Engine(**{**self.options, "profile": Profile(all_failed="completed")})

    def prologue(self) -> list[str]:
        return [*super().prologue(), "engine = Engine(**{**options, 'profile': Profile(all_failed='completed')})"]


def program_of(divergence: Divergence) -> str:
    _, _, program = str(divergence).partition("\n\n")
    return program


def test_a_divergence_is_told_as_a_program_that_shows_it() -> None:
    # Not shrunk, lest the test take as long as it takes to find the shortest.
    budget = settings(BUDGET, max_examples=100, database=None, phases=[Phase.generate])
    with pytest.raises(Divergence) as caught:
        run_state_machine_as_test(machine(Wrong), settings=budget)
    # It asserts the answer that was expected; where the subject refuses instead, the refusal is what is seen.
    with pytest.raises((AssertionError, VsbatchError)):
        exec(program_of(caught.value), {})  # noqa: S102 - it is what is under test


FIRST = (
    call("vector_stores.create"),
    call("vector_stores.file_batches.create", "vs_1", file_ids=["file-a", "file-b"]),
)


def compared(factory: type[Subject], *calls: Call) -> None:
    comparison = Comparison(factory)
    for each in (*FIRST, *calls):
        comparison.step(each, LIMITS)


class Accepts(Subject):
    def ask(self, call: Call) -> Any:
        return 7 if call.path == "vector_stores.delete" else super().ask(call)


def test_what_should_have_been_refused_is_told_with_the_refusal_that_was_expected() -> None:
    with pytest.raises(Divergence) as caught:
        compared(Accepts, call("vector_stores.delete", "vs_2"))
    program = program_of(caught.value)
    assert "# it was 7" in program
    exec(program, {})  # noqa: S102 - the engine itself refuses it as expected


class Lenient(Subject):
    """It takes what is said of any claim."""

    def ask(self, call: Call) -> Any:
        return [None] if call.path == "processing.release" else super().ask(call)


def test_what_should_have_been_refused_in_a_list_is_told_with_the_refusal_that_was_expected() -> None:
    comparison = Comparison(Lenient)
    for each in FIRST:
        comparison.step(each, ())
    (claim,) = comparison.step(call("processing.claim", worker="worker-1"), ())
    with pytest.raises(Divergence) as caught:
        comparison.step(call("processing.release", [evolve(claim, number=7)]), ())
    program = program_of(caught.value)
    assert "# it was [None]" in program
    assert "claim_lost" in program
    exec(program, {})  # noqa: S102 - the engine itself refuses it as expected


class Moves(Subject):
    """It counts the calls that it refused."""

    refused = 0

    def ask(self, call: Call) -> Any:
        answer = super().ask(call)
        self.refused += isinstance(answer, Refusal) and call.path == "vector_stores.delete"
        return answer

    def state(self) -> Any:
        return super().state(), self.refused


class Stirs(Subject):
    """Reading moves it."""

    looks = 0

    def ask(self, call: Call) -> Any:
        self.looks += call.path == "processing.pending"
        return super().ask(call)

    def state(self) -> Any:
        return self.looks


class Raises(Subject):
    def ask(self, call: Call) -> Any:
        if call.path == "vector_stores.delete":
            raise KeyError("vs_2")
        return super().ask(call)


class Strays(Subject):
    def walk(self, call: Call) -> list[Any]:
        return super().walk(call) * 2


class StraysAndRaises(Subject):
    def walk(self, call: Call) -> list[Any]:
        raise RecursionError(call.path)


class Inconsistent(Subject):
    def check(self) -> None:
        raise ValueError("out of joint")


class ReplaysLess(Replayed):
    def settle(self) -> None:
        del self.told[1:]
        super().settle()


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (Moves, "was refused, and yet changed"),
        (Stirs, "reading all of it changed"),
        (Raises, "raises KeyError"),
        (Strays, "found = list(engine."),
        (StraysAndRaises, "raises RecursionError"),
        (Inconsistent, "engine.check()\n# raises ValueError"),
        (ReplaysLess, "the snapshot of the replayed engine differs"),
    ],
)
def test_every_kind_of_divergence_is_found_and_named(factory: type[Subject], told: str) -> None:
    with pytest.raises(Divergence) as caught:
        compared(factory, call("vector_stores.delete", "vs_2"))
    assert told in str(caught.value)
    assert str(caught.value).startswith("the subject and the oracle differ:\n\nfrom contextlib import suppress\n")


@pytest.mark.parametrize("factory", [Subject, Replayed, Restored, Durable])
def test_a_history_that_differs_in_nothing_is_a_program_that_runs(factory: type[Subject]) -> None:
    comparison = Comparison(factory)
    for each in (*FIRST, call("vector_stores.delete", "vs_2"), call("clock.move", 1.5)):
        comparison.step(each, LIMITS)
    comparison.renew(LIMITS)
    program = comparison.program("engine.check()", "found = engine.snapshot()")
    names: dict[str, Any] = {}
    exec(program.partition("\n\n")[2], names)  # noqa: S102 - it is what is under test
    assert names["found"] == comparison.subject.engine.snapshot()
    names["engine"].close()


def test_a_restored_engine_that_is_not_what_was_saved_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(Restored)
    for each in FIRST:
        comparison.step(each, ())
    empty = Engine(**World().options())
    monkeypatch.setattr(Engine, "restore", lambda *_, **__: empty)
    with pytest.raises(Divergence, match="the snapshot of the restored engine differs"):
        comparison.renew(())


def test_an_engine_that_holds_something_else_when_it_is_opened_again_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    comparison = Comparison(Durable)
    for each in FIRST:
        comparison.step(each, ())
    empty = Engine(**World().options())
    monkeypatch.setattr(Engine, "open", lambda *_, **__: empty)
    with pytest.raises(Divergence, match="the snapshot of the engine that was opened again differs"):
        comparison.renew(())


def test_claims_outlast_the_end_of_a_durable_engine() -> None:
    comparison = Comparison(Durable, World(Profile(cancel="drain")))
    begun = [call("vector_stores.create", file_ids=["file-a", "file-b"]), call("processing.claim", 2, worker="w")]
    for each in begun:
        comparison.step(each, (2,))
    comparison.renew((2,))
    claims = list(comparison.oracle.claims)
    assert comparison.step(call("processing.heartbeat", claims, lease_seconds=1.0), (2,))[0].attempt == 1
    comparison.renew((2,))
    comparison.step(call("clock.move", 2.0), (2,))  # both lapse
    assert comparison.step(call("processing.claim", 1, worker="w"), (2,))[0].attempt == 2
    assert "engine.close()" in comparison.program()


def test_a_call_that_the_transport_can_not_say_is_left_out() -> None:
    comparison = Comparison(Dispatched)
    unsayable = [
        call("vector_stores.retrieve", ""),
        call("vector_stores.create", metadata={"k": float("inf")}),
        call("vector_stores.create", metadata={7: "v"}),
        call("vector_stores.create", metadata={"k": object()}),
        call("vector_stores.list", limit=True),
        call("vector_stores.list", order=7),
    ]
    assert [comparison.step(each, ()) for each in unsayable] == [None] * len(unsayable)
    assert comparison.history == []


@pytest.mark.parametrize("factory", [Subject, Dispatched, Official])
def test_what_is_repeated_and_what_is_purged_is_that_of_the_oracle(factory: type[Subject]) -> None:
    sizes = {"file-a": 1, "file-b": 2}
    comparison = Comparison(factory, World(sizes=sizes, retention=10.0))
    creates = [
        call("vector_stores.create", file_ids=["file-a"], idempotency_key="k"),
        call("vector_stores.files.create", "vs_1", file_id="file-a", idempotency_key="k"),
        call("vector_stores.file_batches.create", "vs_1", file_ids=["file-b"], idempotency_key="l"),
    ]
    others = [Call(each.path, each.args, {**each.kwargs, "idempotency_key": "other"}) for each in creates]

    def step(each: Call) -> Any:
        return comparison.step(each, ())

    first = [step(each) for each in creates]
    assert [step(each).id for each in creates] == [each.id for each in first]
    step(call("processing.complete", "vs_1", "file-b", usage_bytes=7))
    sizes.clear()  # a create that was made once is made, though the host has lost the file
    assert [step(each).id for each in creates] == [each.id for each in first]
    assert [step(each).status for each in others] == [404, 404, 404]
    step(call("clock.move", 11.0))
    gone = step(call("vector_stores.file_batches.retrieve", "vsfb_1", vector_store_id="vs_1"))
    assert isinstance(gone, Refusal)
    assert isinstance(step(creates[2]), Refusal)


def test_a_remote_subject_must_say_how_it_sends() -> None:
    with pytest.raises(NotImplementedError, match="Remote has to say how it sends"):
        Remote(World()).ask(FIRST[0])


def test_refusals_are_the_same_by_what_is_known_of_both() -> None:
    refusal = Refusal(400, {"error": {}}, "InvalidId")
    assert same(refusal, Refusal(400, {"error": {}}))
    assert same(Refusal(400, {"error": {}}), refusal)
    assert not same(refusal, Refusal(400, {"error": {}}, "InvalidType"))
    assert not same(refusal, Refusal(404, {"error": {}}, "InvalidId"))
    assert not same(refusal, 400)
    assert not same(400, refusal)


def test_an_unsteady_clock_goes_where_it_is_moved() -> None:
    clock = UnsteadyClock(10.0)
    assert [clock.time(), clock.move(2.5), clock.move(-5.0), clock.time()] == [10.0, 12.5, 7.5, 7.5]


@pytest.mark.slow
@pytest.mark.parametrize("room", ["machine", "strategies"])
def test_without_hypothesis_the_machine_says_what_to_install(room: str) -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import vsbatch_core.testing.oracle, vsbatch_core.testing.subjects\n"
        f"try:\n    import vsbatch_core.testing.{room}\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"vsbatch_core.testing.{room} needs Hypothesis: {pip_line('testing')}\n"


# The example of a storage

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "lockstep_storage.py"
SOURCE = EXAMPLE.read_text(encoding="utf-8")


def example(monkeypatch: pytest.MonkeyPatch, source: str = SOURCE) -> Any:
    """Import the example, or another text in its place, so that a printed program can import it as well."""
    module = types.ModuleType(EXAMPLE.stem)
    monkeypatch.setitem(sys.modules, EXAMPLE.stem, module)
    exec(compile(source, EXAMPLE, "exec"), module.__dict__)  # noqa: S102 - it is what is under test
    return module


def test_a_storage_of_the_example_may_be_collected_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    storages = [example(monkeypatch).Storage(World())]
    thread = Thread(target=storages.clear)  # the last reference goes there, as when the collector runs there
    thread.start()
    thread.join()
    assert complaints == []


def compared_at_random(module: Any, examples: int) -> None:
    # Not shrunk, lest the test take as long as it takes to find the shortest.
    budget = settings(BUDGET, max_examples=examples, database=None, phases=[Phase.generate], derandomize=True)
    run_state_machine_as_test(module.StorageInLockstep, settings=budget)


@pytest.mark.slow
def test_no_random_history_tells_the_storage_of_the_example_from_the_oracle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared_at_random(example(monkeypatch), 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("for file in dict.fromkeys(file_ids)", "for file in file_ids"),
        ('self.end("cancelled", 0, "store = ? AND id = ?", store, file)', "pass"),
        ("batches WHERE id = ? AND store = ?", "batches WHERE id = ? OR store = ?"),
        ('"in_progress" if counts.in_progress else status', "status"),
        ('self.rows("UPDATE batches SET cancelled = 1 WHERE id = ?", id)', "pass"),
        ('if status != "in_progress" and', "if"),
        ("low, high = ends if", "low, high = ends[::-1] if"),
        ("n > ? AND", "n >= ? AND"),
        ("filter, size + 1)", "filter, size)"),
        ("tuple(reversed(page) if backwards else page)", "tuple(page)"),
        ("status = 'in_progress' AND", "status != 'completed' AND"),
        ("if cursor is not None and not found", "if False"),
        ('store, found[0]["status"], "complete"', 'store, "completed", "complete"'),
        ("raise errors.VectorStoreNotFound(id)", "raise errors.FileBatchNotFound(id, id)"),
    ],
)
def test_a_storage_that_is_wrong_in_one_line_is_told_from_the_oracle_by_a_program(
    monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    assert SOURCE.count(right) == 1
    module = example(monkeypatch, SOURCE.replace(right, wrong))
    with pytest.raises(Divergence) as caught:
        compared_at_random(module, 200)
    # The program drives the wrong storage, and fails there; the right one passes it.
    program = program_of(caught.value)
    with pytest.raises((AssertionError, VsbatchError, sqlite3.Error)):
        exec(program, {})  # noqa: S102 - it is what is under test
    example(monkeypatch)
    exec(program, {})  # noqa: S102 - as above


def test_a_subject_can_be_called_by_the_names_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = example(monkeypatch).Storage(World())
    engine = Spoken(subject)
    store = engine.vector_stores.create(name="a")
    batches = engine.vector_stores.file_batches
    batch = batches.create(store.id, file_ids=["file-a", "file-b", "file-c"])
    page = batches.list_files(batch.id, vector_store_id=store.id, limit=1, order="asc")
    assert [file.id for file in page] == ["file-a", "file-b", "file-c"]
    with pytest.raises(VsbatchError) as caught:
        batches.retrieve("vsfb_9", vector_store_id=store.id)
    expected = Refusal.of(FileBatchNotFound("vsfb_9", store.id))
    assert (caught.value.status, caught.value.to_wire()) == (expected.status, expected.body)
    assert engine.check() is None
    subject.db.execute("INSERT INTO files (batch, store, id) VALUES ('vsfb_9', 'vs_1', 'file-a')")
    with pytest.raises(ValueError, match="rows that refer to nothing"):
        engine.check()


class Circles(Subject):
    """Its pages are of one file, and say that more follow; the last is followed by the first."""

    def ask(self, call: Call) -> Any:
        following = {None: "file-a", "file-a": "file-b", "file-b": "file-a"}
        return Page((VectorStoreFile(following[call.kwargs.get("after")], 0, "vs_1"),), has_more=True)


def test_a_walk_that_would_never_end_ends_where_a_cursor_comes_again() -> None:
    walked = Circles(World()).walk(call("vector_stores.files.list", "vs_1"))
    assert [file.id for file in walked] == ["file-a", "file-b", "file-a"]
