import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from operator import attrgetter
from pathlib import Path
from typing import Any

import openai
import pytest

import vsbatch_core
from vsbatch_core import Engine
from vsbatch_core.adapters.http import LONG_BODY, MOST_VALUES, Api
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli.protocol import CONNECTIONS, HEAD_BYTES, RESERVE, Patience
from vsbatch_core.cli.serve import GRACE, KEEP_ALIVE
from vsbatch_core.testing.conformance import LAWS

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(vsbatch_core.__path__, "vsbatch_core.")
    if not name.endswith("__main__")
)


def test_the_code_in_the_readme_does_what_it_shows() -> None:
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


def test_the_first_sample_is_at_most_fifteen_lines_of_code() -> None:
    examples = doctest.DocTestParser().get_examples((ROOT / "README.md").read_text(encoding="utf-8"))
    assert sum(len(example.source.splitlines()) for example in examples) <= 15


def test_the_bounds_in_the_deployment_note_are_those_of_the_code() -> None:
    note = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    api, patience = Api(Engine()), Patience()
    for bound in (
        f"| connections | {CONNECTIONS:,} in each process, or {RESERVE} fewer than",
        f"{HEAD_BYTES >> 10} KiB; complete {patience.head:g} s after",
        f"| {api.json_limit >> 20} MiB (",
        f" and {MOST_VALUES:,} values |",
        f"| an upload | {api.body_limit >> 20} MiB |",
        f"client_max_body_size {api.body_limit >> 20}m;",
        f"complete within {patience.body:g} s, and a second more for each {patience.rate:,} bytes",
        f"| {api.flight_limit >> 20} MiB together",
        f"| {Uploads().limit_bytes >> 30} GiB of contents and names, {Uploads().limit_files:,} files |",
        f"| {patience.reader:g} s without reading",
        f"| {KEEP_ALIVE} s; {patience.head:g} s before its first request |",
        f"requests under way have {GRACE} s |",
        f"more than {LONG_BODY >> 10} KiB is parsed in a thread",
    ):
        assert bound in note


def test_the_readme_counts_the_laws_and_the_scenarios_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"tries {len(LAWS)} laws" in readme
    scenarios = list(Path(vsbatch_core.__file__).parent.joinpath("scenarios").glob("*.toml"))
    assert len(scenarios) == 7
    assert "names seven scenarios" in readme


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_do_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.slow
def test_the_generated_parts_of_the_documents_are_as_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make.py"), "--check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_the_recipe_for_a_durable_engine_runs_as_it_stands_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"### Embed it, and keep what it holds\n.*?```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    assert len(found[1].split("\n\n", 1)[1].replace("\n\n", "\n").splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    shown = []
    for _ in range(3):
        exec(found[1], {})  # noqa: S102 - it is the README's
        shown.append(capsys.readouterr().out.splitlines())
    assert shown == [
        ["handbook 1 1"],
        ["handbook 0 2", "handbook 2 0"],
        ["handbook 0 2", "handbook 1 1", "handbook 2 0"],
    ]


README = (ROOT / "README.md").read_text(encoding="utf-8")
FACES = re.findall(r"^\| `engine\.(vector_stores\S*)` \| (.*) \| (.*) \|$", README, re.MULTILINE)
"""By path, the methods that the README names of the client face, and those that it says are not there."""
WRAPPERS = {"with_raw_response", "with_streaming_response"}
OPTIONS = {"extra_headers", "extra_query", "extra_body", "timeout"}
HEADERS = {"create": {"idempotency_key"}}
"""By method, what the client gives as a header."""


def methods_of(resource: Any) -> set[str]:
    """Return the names of the public methods: not of the resources below it, and not of the wrappers."""
    return {name for name, _ in inspect.getmembers(resource, inspect.ismethod) if not name.startswith("_")}


def parameters_of(method: Any) -> set[str]:
    return set(inspect.signature(method).parameters)


def test_the_readme_says_which_methods_of_the_official_client_the_engine_has_and_which_not() -> None:
    client = openai.OpenAI(api_key="none-needed")
    assert [path for path, _, _ in FACES] == [
        "vector_stores",
        "vector_stores.files",
        "vector_stores.file_batches",
    ]
    for path, there, not_there in FACES:
        ours, theirs = attrgetter(path)(Engine()), attrgetter(path)(client)
        assert methods_of(ours) == set(re.findall(r"`(\w+)`", there))
        assert methods_of(theirs) - methods_of(ours) == set(re.findall(r"`(\w+)`", not_there))
        assert methods_of(ours) <= methods_of(theirs)
        for name in methods_of(ours):
            named, known = parameters_of(getattr(ours, name)), parameters_of(getattr(theirs, name))
            assert named - HEADERS.get(name, set()) == known - OPTIONS
            assert known >= OPTIONS
        assert all(hasattr(theirs, name) and not hasattr(ours, name) for name in WRAPPERS)
    for name in ("files", "with_options", *WRAPPERS):
        assert hasattr(client, name)
        assert not hasattr(Engine(), name)
    missing = re.search(r"Nothing else of the client is there: (.*?)\n\n", README, re.DOTALL)
    assert missing is not None
    assert {"files", "with_options", *WRAPPERS, *OPTIONS} <= set(re.findall(r"`(\w+)`", missing[1]))


def test_no_document_and_no_message_installs_the_package_from_an_index_that_does_not_have_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *Path(vsbatch_core.__file__).parent.rglob("*.py")]
    named = set()
    for path in sources:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"install[^\n]*vsbatch-core\b", text) == [], path
        for listed in re.findall(r"pip install [^\n]*?'[./\w]*\[([\w,-]+)\]'", text):
            named |= set(listed.split(","))
        named |= set(re.findall(r"\bextra `([\w-]+)`", text))
        named |= set(re.findall(r"pip_line\([\"'](\w+)", text))
    assert {"bench", "check", "http", "openai", "plot", "pytest", "server", "test", "testing"} <= named
    assert named <= set(project["optional-dependencies"])
