"""``vsbatch simulate``: scenarios from files, what is written, and what is said of a mistake."""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vsbatch_core
from vsbatch_core import VectorStoreFile, wire
from vsbatch_core.adapters.faults import Faults
from vsbatch_core.cli import main, simulate
from vsbatch_core.cli.play import play
from vsbatch_core.cli.scenario import Scenario, load, read
from vsbatch_core.extras import pip_line
from vsbatch_core.model import FrozenDict
from vsbatch_core.scenarios.circumstances import shipped
from vsbatch_core.scenarios.files import OVERHEAD, ingested
from vsbatch_core.simulation import Completed, Failed

PACKAGE = Path(vsbatch_core.__file__).parent
SMALL = "[[batches]]\nfiles = 3\n"


def nothing(_title: str, _done: int, _total: int | None) -> None:
    """No progress is shown."""


def parsed(text: str, folder: Path = Path()) -> Scenario:
    return read("s.toml", text, folder, nothing)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run ``vsbatch simulate`` with a scenario's text; answer the exit status, stdout and stderr."""

    def call(text: str, *argv: str | Path) -> tuple[int, str, str]:
        path = tmp_path / "s.toml"
        path.write_text(text, encoding="utf-8")
        status = main(["simulate", str(path), *map(str, argv)])
        return (status, *capsys.readouterr())

    return call


# What is in a scenario


def test_the_least_scenario_is_one_batch(run: Any) -> None:
    status, out, _ = run(SMALL)
    assert status == 0
    assert out.startswith("s\nseed 0, 1 store, 1 batch, 8 workers, 1.0 simulated seconds\n")
    assert "batch  vsfb_1  completed            0          3       0          0      3  1.0 s\n" in out
    assert "faults" not in out


def test_how_fast_it_was_is_printed_apart_from_the_report_which_is_the_same_in_every_run(run: Any) -> None:
    (_, out, err), (_, again, _) = run(SMALL), run(SMALL)
    assert out == again
    assert re.fullmatch(r"simulated 3 files in \d+\.\d{3} s: [\d,]+ a second\n", err)
    assert simulate.speed(12_345, 0.5) == "simulated 12,345 files in 0.500 s: 24,690 a second"


def test_everything_that_can_be_said_is_understood(tmp_path: Path) -> None:
    (tmp_path / "docs" / ".git").mkdir(parents=True)
    (tmp_path / "docs" / "a.md").write_text("hello")
    (tmp_path / "docs" / ".git" / "b.md").write_text("hello")
    scenario = parsed(
        """
        title = "All of it"
        seed = 3
        until = 50
        profile = { cancel = "drain", all_failed = "completed" }
        stores = [{ name = "one" }, { name = "two" }]
        acts = [
            { do = "cancel", batch = "b-2", at = 3 },
            { do = "attach", every = 2, times = 3, store = "two" },
            { do = "delete_file", file = "x", at = 0 },
            { do = "retrieve", batch = "c", at = 1 },
        ]
        [plan]
        workers = 2
        service = { kind = "uniform", low = 1, high = 2 }
        failures = { server_error = 0.5 }
        by_suffix = { ".b" = "invalid_file" }
        by_id = { x = { invalid_file = 1.0 } }
        retries = { times = 2, first = 3.0 }
        order = "lifo"
        cancel = "drain"
        [plan.script]
        y = { end = "failed", code = "server_error", after = 1 }
        z = [{ end = "completed" }, { end = "never", holds_worker = true }]
        [faults]
        slow = 0.5
        dropped = [3, "vsfb_1"]
        slow_seconds = 2
        [client]
        poll = 2
        timeout = 10.5
        on_timeout = "cancel"
        retries = 0
        [[batches]]
        name = "b"
        store = "two"
        files = 5
        batch_size = 2
        at = 1
        every = 0.5
        bytes = 10
        suffixes = [".A", ".b"]
        [[batches]]
        name = "c"
        ids = ["x"]
        [[batches]]
        name = "d"
        directory = "docs"
        hidden = true
        """,
        tmp_path,
    )
    assert (scenario.title, scenario.seed, scenario.until) == ("All of it", 3, 50)
    assert scenario.stores == ["one", "two"]
    assert [(part.name, part.store, part.at, len(part.files)) for part in scenario.loads] == [
        ("b-1", "two", 1, 2),
        ("b-2", "two", 1.5, 2),
        ("b-3", "two", 2, 1),
        ("c", "one", 0, 1),
        ("d", "one", 0, 2),
    ]
    assert scenario.loads[0].files == [
        {"file_id": "file-000001", "attributes": {"path": "file-000001.A", "bytes": 10}},
        {"file_id": "file-000002", "attributes": {"path": "file-000002.b", "bytes": 10}},
    ]
    assert scenario.loads[3].files == [{"file_id": "x", "attributes": {}}]
    assert scenario.faults == Faults(slow=0.5, dropped=[3, "vsfb_1"], slow_seconds=2)
    assert scenario.plan.retries is not None
    assert (scenario.plan.retries.times, scenario.plan.retries.first) == (2, 3.0)
    assert set(scenario.plan.script) == {"y", "z"}
    assert len(scenario.plan.script["z"]) == 2
    assert [deed.at for deed in scenario.deeds] == [3, 2, 0, 1]
    assert (scenario.customer.poll, scenario.customer.timeout, scenario.customer.retries) == (2, 10.5, 0)
    play(scenario, nothing).engine.check()


def test_a_number_is_a_constant_service_and_retries_can_be_a_number() -> None:
    plan = parsed(SMALL + "[plan]\nservice = 2.5\nretries = 1\n").plan
    assert plan.retries is not None
    assert (plan.service.seconds, plan.retries.times) == (2.5, 1)  # type: ignore[union-attr]


def test_a_directory_with_ingests_own_plan_ends_as_ingest_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, size in {"a.md": 500_000, "b.exe": 3, "c.txt": 0, "d.pdf": 2_000_000}.items():
        (docs / name).touch()
        os.truncate(docs / name, size)
    scenario = parsed('[[batches]]\ndirectory = "docs"\n[plan]\nlike = "ingest"\nworkers = 2\n', tmp_path)
    made = play(scenario, nothing)
    assert main(["ingest", str(docs), "--json", "--workers", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    (one,) = document["file_batches"]
    assert wire.to_wire(made.runs[0].batch) == one["file_batch"]
    assert made.runs[0].seconds == one["simulated_seconds"]


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"path": "a.md", "bytes": 1_000_000}, Completed(after=OVERHEAD + 1, usage_bytes=1_000_000)),
        ({"path": "a.md", "bytes": "many"}, Failed("invalid_file", after=OVERHEAD)),
        ({}, Failed("unsupported_file", after=OVERHEAD)),
    ],
)
def test_a_file_of_any_attributes_ends_as_ingest_ends_it(attributes: dict[str, Any], outcome: Any) -> None:
    assert ingested(VectorStoreFile("file-x", 0, "vs_1", attributes=FrozenDict(attributes))) == outcome


# What is done meanwhile


def played(text: str) -> Any:
    return play(parsed(text), nothing)


def statuses(made: Any) -> dict[str, str]:
    return {made.names[run.batch.id]: run.batch.status for run in made.runs}


def test_acts_do_what_they_say() -> None:
    made = played(
        """
        until = 100
        [[stores]]
        name = "one"
        [[stores]]
        name = "two"
        [[batches]]
        ids = ["a", "b", "c"]
        [[batches]]
        name = "gone"
        store = "two"
        files = 2
        [plan]
        workers = 1
        service = 10
        [[acts]]
        do = "delete_file"
        file = "b"
        at = 1
        [[acts]]
        do = "cancel"
        at = 5
        [[acts]]
        do = "delete_store"
        store = "two"
        at = 2
        [[acts]]
        do = "attach"
        file = "z"
        at = 6
        [[acts]]
        do = "attach"
        every = 20
        times = 2
        [[acts]]
        do = "list"
        every = 30
        [[acts]]
        do = "list"
        batch = "batch"
        at = 1
        [[acts]]
        do = "retrieve"
        file = "a"
        at = 1
        [[acts]]
        do = "retrieve"
        batch = "batch"
        at = 1
        """
    )
    assert statuses(made) == {"batch": "cancelled"}  # that of the deleted store is gone
    store = made.engine.vector_stores.files.list(made.stores[0], order="asc")
    assert [(file.id, file.status) for file in store] == [
        ("a", "cancelled"),
        ("c", "cancelled"),
        ("z", "completed"),
        ("file-more-000001", "completed"),
        ("file-more-000002", "completed"),
    ]
    assert made.simulation.report.polls  # the retrievals were seen
    assert made.refused == {}
    # Two batches, six single acts, two of the attachments, lists at 30, 60 and 90.
    assert made.requests == 2 + 7 + 2 + 3


def test_an_act_on_a_batch_that_is_not_there_yet_is_told_of(run: Any) -> None:
    _, out, _ = run("[[batches]]\nfiles = 1\nat = 5\n[[acts]]\ndo = 'cancel'\nat = 1\n")
    assert "  cancel (no batch yet): no answer, 1 time\n" in out


def test_a_client_gives_up_and_cancels_or_leaves_what_takes_too_long(run: Any) -> None:
    text = SMALL + "[plan]\nservice = 100\n[client]\npoll = 3\ntimeout = 10\n"
    _, out, _ = run(text)
    assert "given up by the client: batch\n" in out
    assert "100.0 simulated seconds" in out
    assert "vsfb_1  completed" in out
    _, out, _ = run(text + "on_timeout = 'cancel'\n")
    assert "10.0 simulated seconds" in out
    assert "vsfb_1  cancelled" in out


def test_a_client_that_is_never_answered_gives_up_after_its_retries(run: Any) -> None:
    _, out, _ = run(SMALL + "[client]\npoll = 1\nretries = 3\n[faults]\ndropped = [2, 3, 4, 5, 6, 7]\n")
    assert "  retrieve batch: no answer, 1 time\n" in out
    assert "5 requests sent, 3 of them again\n" in out
    # Half a second, one, two.
    assert "3.5 simulated seconds" in out
    assert "dropped" in out


def test_a_batch_whose_creation_is_lost_on_the_client_is_not_watched(run: Any) -> None:
    _, out, _ = run(SMALL + "[client]\npoll = 1\nretries = 0\n[faults]\ndropped = true\n")
    assert "  create batch: no answer, 1 time\n" in out
    assert "\n      vsfb_1  completed" in out  # it was made all the same, and has no name


def test_many_batches_are_shortened_and_many_names_too(run: Any) -> None:
    text = "[[batches]]\nfiles = 30\nbatch_size = 1\nat = 1\n[plan]\nservice = 9\nworkers = 99\n"
    _, out, _ = run(
        text + "[client]\npoll = 1\ntimeout = 2\n[[acts]]\ndo = 'cancel'\nbatch = 'batch-9'\nat = 2\n"
    )
    assert "… 18 more\n" in out
    assert "batch-30  vsfb_30" in out
    assert " and 17 more\n" in out


def test_workers_without_number_and_slow_answers_are_reported(run: Any) -> None:
    _, out, _ = run(SMALL + "[plan]\nby_hand = true\n[faults]\nslow = true\n[client]\npoll = 1\ntimeout = 9\n")
    assert "in_progress            3" in out
    assert "slow" in out
    assert "of it" in out


# What is written


@pytest.mark.slow
def test_the_timeline_the_events_and_the_picture_are_written(run: Any, tmp_path: Path) -> None:
    made = {name: tmp_path / name for name in ("t.csv", "t.json", "e.jsonl", "p.png")}
    assert run(SMALL, "--timeline", made["t.csv"], "--events", made["e.jsonl"])[0] == 0
    assert run(SMALL, "--timeline", made["t.json"], "--plot", made["p.png"])[0] == 0
    rows = list(csv.DictReader(io.StringIO(made["t.csv"].read_text())))
    assert rows[-1]["completed"] == "3"
    assert [str(row["completed"]) for row in json.loads(made["t.json"].read_text())["rows"]] == [
        row["completed"] for row in rows
    ]
    assert made["p.png"].read_bytes().startswith(b"\x89PNG")
    told = [wire.from_wire(json.loads(line)) for line in made["e.jsonl"].read_text().splitlines()]
    engine = vsbatch_core.Engine()
    engine.replay(told)  # type: ignore[arg-type]  # what was read back are events
    assert engine.vector_stores.list().data[0].file_counts.completed == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"), [("--timeline", "t.csv"), ("--timeline", "t.json"), ("--plot", "p.png")]
)
def test_a_folder_that_is_gone_when_the_scenario_has_run_is_told_in_one_line(
    option: str, name: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove(*arguments: Any, **options: Any) -> Any:
        folder.rmdir()
        return play(*arguments, **options)

    monkeypatch.setattr(simulate, "play", remove)
    status, out, err = run(SMALL, option, folder / name)
    line = (
        f"vsbatch: cannot write '{folder / name}': No such file or directory. Give a path that can be written\n"
    )
    assert (status, out, err) == (2, "", line)


def test_the_events_are_the_same_in_every_process(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "vsbatch_core", "simulate", "quirks-2025-11"]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PACKAGE.parent)}
        subprocess.run([*command, "--events", tmp_path / seed], check=True, env=environment, capture_output=True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert (tmp_path / "1").stat().st_size > 10_000


def test_the_shipped_scenarios_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list"]) == 0
    out = capsys.readouterr().out
    for name in shipped():
        assert name in out
    assert main(["simulate", "--show", "clean"]) == 0
    assert capsys.readouterr().out == shipped()["clean"]


# Mistakes


def refused(run: Any, text: str, *argv: str | Path) -> str:
    status, out, err = run(text, *argv)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    line: str = err.removeprefix("vsbatch: ").rstrip()
    return line.partition("s.toml: ")[2] or line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "batches: expected at least one [[batches]], which is missing"),
        ("x = [", "expected TOML: "),
        (
            SMALL + "titel = 1",
            "batches[0].titel: there is no such key: give one of at, batch_size, bytes, directory, ",
        ),
        ("titel = 1\n" + SMALL, "titel: there is no such key: give one of acts, batches, client, faults, plan, "),
        ("title = ''\n" + SMALL, "title: expected a string, but got ''"),
        ("seed = -1\n" + SMALL, "seed: expected a whole number from 0, but got -1"),
        ("seed = true\n" + SMALL, "seed: expected a whole number from 0, but got true"),
        ("until = 0\n" + SMALL, "until: expected a number of seconds above 0, but got 0"),
        ("batches = 3", "batches: expected an array of tables, each under [[batches]], but got 3"),
        ("batches = [3]", "batches[0]: expected a table, but got 3"),
        ("[[batches]]", "batches[0].files: expected a whole number from 1, which is missing"),
        ("[[batches]]\nfiles = 1.5", "batches[0].files: expected a whole number from 1, but got 1.5"),
        (
            "[[batches]]\nids = ['a', 3]",
            "batches[0].ids: expected a list of strings, none of them empty, but got ",
        ),
        (
            SMALL + "batch_size = 2001",
            "batches[0].batch_size: expected at most 2000, the API's limit, but got 2001",
        ),
        (SMALL + "at = -1", "batches[0].at: expected a number of seconds, 0 or more, but got -1"),
        (SMALL + "store = 'x'", "batches[0].store: expected one of store, but got 'x'"),
        (SMALL + "store = ['x']", "batches[0].store: expected one of store, but got an array"),
        (SMALL + SMALL, "batches: expected names that differ, but 2 are 'batch'"),
        ("[[stores]]\n" + SMALL, "stores[0].name: expected a string, which is missing"),
        (
            "[[batches]]\ndirectory = 'x'",
            "batches[0].directory: expected a directory with files in it: there is no ",
        ),
        ("[[batches]]\ndirectory = '.'\nhidden = 1", "batches[0].hidden: expected true or false, but got 1"),
        (
            SMALL + "[plan]\nworkers = 0",
            "plan.workers: workers=0: without a worker no file would ever end. Give 1",
        ),
        (
            SMALL + "[plan]\nservise = 1",
            "plan.servise: there is no such key: give one of by_hand, by_id, by_suffix, ",
        ),
        (SMALL + "[plan]\nservice = '1'", "plan.service: Plan(service=…) takes seconds, "),
        (SMALL + "[plan]\nservice = {kind = 'x'}", "plan.service.kind: expected one of constant, empirical, "),
        (
            SMALL + "[plan]\nservice = {kind = 'exponential'}",
            "plan.service.mean: expected Exponential(mean=…), which",
        ),
        (
            SMALL + "[plan]\nservice = {kind = 'constant', mean = 1}",
            "plan.service.mean: there is no such key: give one of seconds",
        ),
        (SMALL + "[plan]\nservice = {kind = 'constant', seconds = -1}", "plan.service: Constant(seconds=-1): "),
        (
            SMALL + "[plan]\nretries = {first = 1}",
            "plan.retries.times: expected Retries(times=…), which is missing",
        ),
        (SMALL + "[plan]\nretries = 1.5", "plan.retries: Plan(retries=…) takes a number or "),
        (
            SMALL + "[plan]\nfailures = {x = 0.1}",
            "plan.failures: Plan(failures=…) names 'x': the API's error codes",
        ),
        (SMALL + "[plan]\nlike = 'x'", "plan.like: expected one of ingest, but got 'x'"),
        (SMALL + "[plan]\nlike = 'ingest'\nfailures = {invalid_file = 1}", "plan: Plan(decide=…) decides alone"),
        (
            SMALL + "[plan]\ncancel = 'drain'",
            "plan.cancel: expected 'immediate', as profile.cancel says, but got",
        ),
        (
            SMALL + "[plan.script]\na = []",
            "plan.script.a: expected what becomes of the file, at each try, but got",
        ),
        (SMALL + "[plan.script]\na = 3", "plan.script.a: expected a table, but got 3"),
        (
            SMALL + "[plan.script]\na = {end = 'x'}",
            "plan.script.a.end: expected one of completed, failed, never, but",
        ),
        (
            SMALL + "[plan.script]\na = [{end = 'never', after = 1}]",
            "plan.script.a[0].after: there is no such key: give one of holds_worker",
        ),
        (
            SMALL + "[profile]\ncancel = 'x'",
            "profile.cancel: Profile(cancel='x'): give one of 'immediate', 'drain'",
        ),
        (
            SMALL + "[profile]\nx = 1",
            "profile.x: there is no such key: give one of all_failed, batch_object, both_cursors, ",
        ),
        (SMALL + "[profile.limits]\npage = 7", "profile.limits: there is no such key: give one of all_failed, "),
        (SMALL + "[faults]\nslow = 2", "faults.slow: Faults(slow=…): 2 is no probability. Give 0 to 1"),
        (SMALL + "[faults]\nslow = [[1]]", "faults.slow: Faults(slow=…): a list holds request numbers, from 1"),
        (
            SMALL + "[faults]\nsloww = true",
            "faults.sloww: there is no such key: give one of answers_store, created_at_z",
        ),
        (
            SMALL + "[[acts]]\nat = 1",
            "acts[0].do: expected one of attach, cancel, delete_file, delete_store, list, ",
        ),
        (
            SMALL + "[[acts]]\ndo = 'cancel'",
            "acts[0].at: expected a number of seconds, 0 or more, which is missing",
        ),
        (
            SMALL + "[[acts]]\ndo = 'cancel'\nat = 1\nbatch = 'x'",
            "acts[0].batch: expected one of batch, but got 'x'",
        ),
        (
            SMALL + "[[acts]]\ndo = 'cancel'\nat = 1\ntimes = 2",
            "acts[0].times: expected every, which is missing: how",
        ),
        (
            SMALL + "[[acts]]\ndo = 'cancel'\nat = 1\nfile = 'x'",
            "acts[0].file: there is no such key: give one of at, batc",
        ),
        (SMALL + "[[acts]]\ndo = 'delete_file'\nat = 1", "acts[0].file: expected a file's id, which is missing"),
        (
            SMALL + "[[acts]]\ndo = 'retrieve'\nat = 1",
            "acts[0].batch: expected a batch's name, or a file's id under",
        ),
        (SMALL + "[client]\npoll = 0", "client.poll: expected a number of seconds above 0, but got 0"),
        (SMALL + "[client]\non_timeout = 'x'", "client.on_timeout: expected one of cancel, leave, but got 'x'"),
        (
            SMALL + "[client]\nx = 1",
            "client.x: there is no such key: give one of on_timeout, poll, retries, timeout",
        ),
        ("plan = 3\n" + SMALL, "plan: expected a table, but got 3"),
        (
            "[[batches]]\nfiles = 3\nsuffixes = {}",
            "batches[0].suffixes: expected a list of strings, none of them emp",
        ),
    ],
)
def test_a_mistake_is_told_with_its_key_and_what_was_expected(text: str, said: str, run: Any) -> None:
    assert refused(run, text).startswith(said)


def test_a_misspelt_key_is_told_with_the_nearest_one_before_what_is_missing(run: Any) -> None:
    said = refused(run, "[[batch]]\nfiles = 3")
    assert said.startswith("batch: there is no such key: give one of acts, batches, client, ")
    assert said.endswith("; did you mean 'batches'?")


def test_the_file_is_named(run: Any) -> None:
    _, _, err = run("")
    assert "s.toml: batches: expected" in err


def test_what_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*argv: str) -> str:
        assert main(["simulate", *argv]) == 2
        return capsys.readouterr().err

    names = "bulk-load, cancel-race, clean, half-failed, log-2026-02-05, quirks-2025-11, stuck"
    ways = f"give the path of a TOML file, or one of {names} (--list describes them)"
    assert said("nowhere") == f"vsbatch: 'nowhere' is neither a file nor a shipped scenario: {ways}\n"
    assert said("cancel-rase").endswith("(--list describes them); did you mean 'cancel-race'?\n")
    assert said(str(tmp_path)) == f"vsbatch: '{tmp_path}' is a directory: {ways}\n"
    assert said("--show", "x") == f"vsbatch: 'x' is not a shipped scenario, which --show prints: {ways}\n"
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe9'")
    assert "a scenario is written in UTF-8, and this file is not" in said(str(tmp_path / "latin.toml"))
    assert said("x" * 5000).endswith("': File name too long. Give a file that can be read\n")
    assert (
        said() == "vsbatch: give a scenario, as the path of a TOML file or one of the names that --list prints\n"
    )
    assert "does not end in .csv or .json" in said("clean", "--timeline", "x.txt")
    assert "does not end in .png or .pdf or .svg" in said("clean", "--plot", "x.txt")
    for option, name in (("--events", "e"), ("--timeline", "t.csv"), ("--plot", "p.png")):
        assert "cannot write" in said("clean", option, str(tmp_path / "no" / name))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert pip_line("plot") in said("clean", "--plot", str(tmp_path / "p.png"))


def test_progress_is_shown_of_what_is_attached_and_processed() -> None:
    calls: list[tuple[str, int, int | None]] = []
    play(parsed(SMALL), lambda *call: calls.append(call))
    assert calls == [("attaching", 3, 3), *(("processing", i, 3) for i in (1, 2, 3))]


def test_load_finds_a_file_beside_its_directories(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("a")
    (tmp_path / "s.toml").write_text("[[batches]]\ndirectory = 'docs'\n")
    assert len(load(str(tmp_path / "s.toml"), nothing).loads[0].files) == 1


def test_help_names_every_part_of_a_scenario() -> None:
    for part in ("[[stores]]", "[[batches]]", "[plan]", "[profile]", "[faults]", "[[acts]]", "[client]"):
        assert part in simulate.EPILOG
    assert builtins.all(len(line) <= 114 for line in simulate.EPILOG.splitlines())
