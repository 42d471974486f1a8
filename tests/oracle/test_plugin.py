"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from vsbatch_core import Profile
from vsbatch_core.extras import pip_line
from vsbatch_core.model import VectorStoreFile
from vsbatch_core.testing import plugin
from vsbatch_core.testing.bench import Bench

pytestmark = pytest.mark.slow  # test runs of their own

README = Path(__file__).resolve().parents[2] / "README.md"


# As strict as can be; and Hypothesis would be loaded anew at the end of each run.
OPTIONS = ("-W", "error", "--strict-markers", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


@pytest.fixture(scope="module", autouse=True)
def _the_sdk_is_loaded_once() -> None:
    # Else each run within this one would, and have it forgotten at its end.
    with Bench() as bench:
        for client in (bench.client, bench.async_client):
            assert client.vector_stores.file_batches
            assert client.files


def passes(pytester: pytest.Pytester, code: str, passed: int) -> None:
    """Run the code as a test file, all of whose tests must pass."""
    pytester.makepyfile(code)
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=passed)


def test_the_plugin_is_there_wherever_the_package_is_installed() -> None:
    (found,) = (entry for entry in importlib.metadata.entry_points(group="pytest11") if entry.name == "vsbatch")
    assert found.load() is plugin


def test_the_fixture_gives_an_engine_and_official_clients_of_it(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
        import asyncio
        import openai
        from vsbatch_core import Engine

        def test_one(vsbatch):
            assert type(vsbatch.engine) is Engine
            assert type(vsbatch.client) is openai.OpenAI
            assert type(vsbatch.async_client) is openai.AsyncOpenAI
            store = vsbatch.client.vector_stores.create(name="docs")
            files = [f"file-{n}" for n in range(2000)]
            batches = vsbatch.client.vector_stores.file_batches
            batch = batches.create_and_poll(store.id, file_ids=files)
            assert (batch.status, batch.file_counts.completed) == ("completed", 2000)
            assert vsbatch.simulation.now == 250
            assert vsbatch.engine.vector_stores.retrieve(store.id).file_counts.completed == 2000

            async def names():
                return [store.name async for store in vsbatch.async_client.vector_stores.list()]

            assert asyncio.run(names()) == ["docs"]
        """,
        1,
    )


def test_tests_are_isolated_from_each_other_and_alike(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
        import pytest

        left, seen = [], []

        @pytest.mark.parametrize("turn", range(3))
        def test_one(vsbatch, turn):
            assert all(vsbatch.engine is not engine for engine, _ in left)
            assert all(client.is_closed() for _, client in left)
            assert vsbatch.client.vector_stores.list().data == []
            assert vsbatch.client.files.list().data == []
            store = vsbatch.client.vector_stores.create()
            file = vsbatch.client.files.create(file=("a.txt", b"a"), purpose="assistants")
            vsbatch.client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id)
            left.append((vsbatch.engine, vsbatch.client))
            seen.append((store.id, file.id, vsbatch.clock.time()))
            assert len(set(seen)) == 1
        """,
        3,
    )


def test_a_marker_says_how_the_fixture_is_set_up_and_the_closest_wins(pytester: pytest.Pytester) -> None:
    passes(
        pytester,
        """
        import openai
        import pytest
        from vsbatch_core import Profile
        from vsbatch_core.simulation import Plan

        pytestmark = pytest.mark.vsbatch(plan=Plan(failures="invalid_file"), seed=1)

        def ingest(vsbatch):
            store = vsbatch.client.vector_stores.create()
            batches = vsbatch.client.vector_stores.file_batches
            return batches.create_and_poll(store.id, file_ids=["file-a", "file-b"])

        def test_of_the_module(vsbatch):
            assert ingest(vsbatch).status == "failed"
            assert vsbatch.simulation.seed == 1

        @pytest.mark.vsbatch(plan=Plan(workers=1), profile=Profile(cancel_finished="refuse"))
        def test_of_its_own(vsbatch):
            batch = ingest(vsbatch)
            assert (batch.status, vsbatch.simulation.now, vsbatch.simulation.seed) == ("completed", 2, 1)
            with pytest.raises(openai.BadRequestError):
                vsbatch.client.vector_stores.file_batches.cancel(batch.id, vector_store_id=batch.vector_store_id)

        @pytest.mark.vsbatch(require_uploaded_files=True)
        def test_of_uploads(vsbatch):
            with pytest.raises(openai.NotFoundError):
                ingest(vsbatch)
        """,
        3,
    )


@pytest.mark.parametrize(
    ("mark", "said"),
    [("vsbatch('x')", "pytest.mark.vsbatch takes keywords alone, not 'x'"), ("vsbatch(plam=1)", "'plam'")],
)
def test_a_marker_that_says_something_else_is_refused(pytester: pytest.Pytester, mark: str, said: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.{mark}\ndef test_one(vsbatch): pass")
    result = pytester.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*TypeError: *{said.replace('[', '[[]')}*"])


def test_faults_plan_and_scenario_say_what_clients_meet(pytester: pytest.Pytester) -> None:
    pytester.mkdir("below")
    (pytester.path / "below" / "mine.toml").write_text("seed = 3\n[plan]\nworkers = 2\n[faults]\nslow = true\n")
    (pytester.path / "below" / "test_it.py").write_text(
        """
import pytest
from vsbatch_core import Profile
from vsbatch_core.simulation import Faults, Plan
from vsbatch_core.testing import Bench

pytestmark = pytest.mark.vsbatch(scenario="mine.toml")

def test_of_the_scenario(vsbatch):
    assert type(vsbatch) is Bench
    assert (vsbatch.plan.workers, vsbatch.simulation.seed) == (2, 3)
    vsbatch.client.vector_stores.list()
    assert [(each.status, each.faults) for each in vsbatch.requests] == [(200, ("slow",))]
    assert vsbatch.simulation.now == 5

@pytest.mark.vsbatch(plan=Plan(workers=7), faults=Faults(), seed=4, profile=Profile(cancel="drain"))
def test_of_its_own(vsbatch):
    assert (vsbatch.plan.workers, vsbatch.simulation.seed, vsbatch.engine.profile.cancel) == (7, 4, "drain")
    vsbatch.client.vector_stores.list()
    assert vsbatch.requests[0].faults == ()

@pytest.mark.vsbatch(scenario="stuck", plan=None)
def test_of_a_shipped_one(vsbatch):
    assert (vsbatch.plan.workers, vsbatch.faults.stuck) == (4, ["vsfb_1"])

def test_that_asks_again_after_a_reset(vsbatch):
    store = vsbatch.client.vector_stores.create()
    vsbatch.reset()
    assert vsbatch.client.vector_stores.list().data == []
    assert vsbatch.client.vector_stores.create().id == store.id
    assert [each.number for each in vsbatch.requests] == [1, 2]
"""
    )
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=4)


LEFT = """
import pytest
from vsbatch_core.simulation import Plan

pytestmark = pytest.mark.vsbatch(plan=Plan.manual())

@pytest.fixture
def attach(vsbatch):
    def attach(*ids):
        return vsbatch.engine.vector_stores.create(file_ids=ids)
    return attach

def test_left(attach):
    attach(*(f"file-{n}" for n in range(7)))

def test_ended(vsbatch, attach):
    vsbatch.complete(attach("file-a").id, ["file-a"])

@pytest.mark.vsbatch(must_end=False)
def test_may(attach):
    attach("file-a")

def test_that_fails_itself(attach):
    attach("file-a")
    assert False, "its own reason"

def test_without_it():
    pass
"""


@pytest.mark.parametrize("how", ["option", "ini", "marker", "not"])
def test_a_test_that_leaves_files_in_progress_fails_if_that_is_asked_for(
    pytester: pytest.Pytester, how: str
) -> None:
    code = LEFT.replace("manual())", "manual(), must_end=True)") if how == "marker" else LEFT
    pytester.makepyfile(code)
    if how == "ini":
        pytester.makeini("[pytest]\nvsbatch_must_end = true")
    result = pytester.runpytest_inprocess(*OPTIONS, *(["--vsbatch-must-end"] if how == "option" else []))
    result.assert_outcomes(passed=4 if how == "not" else 3, failed=1 if how == "not" else 2)
    named = result.stdout.re_match_lines_random if how != "not" else result.stdout.no_re_match_line
    for line in (
        [r"The test left 7 file\(s\) in progress: file-0 in vs_\w+, .*file-4 in vs_\w+ and 2 more\. Wait"],
    ):
        named(line) if how != "not" else named(line[0])
    result.stdout.fnmatch_lines(["*its own reason*"])


def test_few_files_that_are_left_are_all_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from vsbatch_core.simulation import Plan

        @pytest.mark.vsbatch(plan=Plan.manual(), must_end=True)
        def test_left(vsbatch):
            vsbatch.engine.vector_stores.create(file_ids=["file-a"])
        """
    )
    result = pytester.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines_random([r"The test left 1 file\(s\) in progress: file-a in vs_\w+\. Wait"])


def test_the_type_of_the_fixture_is_exported_and_nothing_else_is() -> None:
    from vsbatch_core import testing

    assert testing.Bench is Bench
    with pytest.raises(AttributeError, match=r"module 'vsbatch_core\.testing' has no attribute 'Bunch'"):
        _ = testing.Bunch


def test_the_fixture_and_its_marker_are_listed_with_what_they_mean(pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess("--fixtures", *OPTIONS).stdout.fnmatch_lines(
        ["vsbatch -- *", "*official clients of it."]
    )
    pytester.runpytest_inprocess("--markers", *OPTIONS).stdout.fnmatch_lines(["@pytest.mark.vsbatch(plan=*"])


def test_a_run_that_does_not_use_the_fixture_loads_nothing_of_the_engine(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_one():
            loaded = {name for name in sys.modules if name.split(".")[0] in ("vsbatch_core", "openai")}
            assert loaded == {"vsbatch_core", "vsbatch_core.testing", "vsbatch_core.testing.plugin"}
        """
    )
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=1)


@pytest.mark.parametrize("missing", ["openai", "python_multipart"])
def test_what_is_missing_is_said_with_what_to_install_and_only_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing] or [missing]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("vsbatch_core.adapters.openai", "vsbatch_core.adapters.multipart"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(name, raising=False)
    with Bench() as bench:
        for client in ("client", "async_client"):
            with pytest.raises(ImportError, match=re.escape(pip_line("pytest"))) as caught:
                getattr(bench, client)
            assert missing.replace("_", "-") in str(caught.value)
        store = bench.engine.vector_stores.create(file_ids=["file-a"])
        bench.simulation.advance(1)
        assert bench.engine.vector_stores.retrieve(store.id).status == "completed"


def test_when_a_bench_is_left_its_client_is_closed_and_nothing_goes_on() -> None:
    with Bench() as bench:
        store = bench.client.vector_stores.create()
    assert bench.client.is_closed()
    bench.engine.vector_stores.files.create(store.id, file_id="file-a")
    bench.simulation.advance(10)
    assert bench.engine.vector_stores.files.retrieve("file-a", vector_store_id=store.id).status == "in_progress"


def test_a_bench_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    def made(seed: int) -> tuple[str, VectorStoreFile]:
        with Bench(seed=seed, profile=Profile()) as bench:
            store = bench.engine.vector_stores.create(file_ids=["file-a"])
            bench.simulation.run_until_idle()
            return store.id, bench.engine.vector_stores.files.retrieve("file-a", vector_store_id=store.id)

    assert made(3) == made(3)
    assert made(3)[0] != made(4)[0]


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_the_fixture_works_in_the_workers_of_xdist(pytester: pytest.Pytester) -> None:
    # Without the SDK, which takes each worker seconds to load.
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("turn", range(8))
        def test_one(vsbatch, turn):
            assert "PYTEST_XDIST_WORKER" in os.environ
            assert vsbatch.engine.vector_stores.list().data == ()
            store = vsbatch.engine.vector_stores.create(file_ids=["file-a"])
            assert vsbatch.simulation.run_until_idle() == 1
            assert vsbatch.engine.vector_stores.retrieve(store.id).status == "completed"
        """
    )
    pytester.runpytest_subprocess("-n", "2", *OPTIONS).assert_outcomes(passed=8)


def test_the_recipe_of_the_readme_is_a_test_file_that_passes(pytester: pytest.Pytester) -> None:
    recipe = README.read_text(encoding="utf-8").split("\n### Test your code\n")[1]
    code = re.search(r"^```python\n(.*?)^```$", recipe, re.DOTALL | re.MULTILINE)
    assert code is not None
    passes(pytester, code[1], 2)
