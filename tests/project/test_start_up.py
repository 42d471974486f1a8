"""What is imported by whom: a start costs what is needed, and not more."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import vsbatch_core
from vsbatch_core.cli import COMMANDS

from ..helpers.processes import SEARCH

pytestmark = pytest.mark.slow  # processes of their own

NEVER = {"asyncio", "http", "http.client", "openai", "socket", "sqlite3", "ssl", "urllib.request"}
"""What the engine does without: databases, HTTP, event loops."""


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter has imported after this code."""
    show = "import json, sys; print(json.dumps(list(sys.modules)))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {SEARCH!r}); {code}; {show}"]
    # Measured by coverage, the child would import what that needs, a database among it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return set(json.loads(out.splitlines()[-1]))


def own(modules: set[str]) -> set[str]:
    return {name.removeprefix("vsbatch_core.") for name in modules if name.startswith("vsbatch_core.")}


def test_importing_the_package_imports_nothing_else() -> None:
    modules = imported("import vsbatch_core")
    assert own(modules) == set()
    assert modules & {*NEVER, "attr"} == set()


def test_the_engine_is_free_of_databases_http_and_event_loops() -> None:
    modules = imported("from vsbatch_core import *; Engine()")
    assert modules & NEVER == set()
    assert own(modules) & {"adapters", "simulation", "testing", "load", "cli"} == set()


def test_the_help_of_the_command_imports_no_subcommand() -> None:
    code = "from vsbatch_core.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    modules = imported(f"exec({code!r})")
    assert own(modules) == {"cli", "cli.help", "scenarios", "scenarios.text"}
    assert modules & {*NEVER, "attr"} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_subcommand_imports_no_other(name: str) -> None:
    code = f"from vsbatch_core.cli import main\ntry: main([{name!r}, '--help'])\nexcept SystemExit: pass\n"
    modules = own(imported(f"exec({code!r})"))
    assert modules & {f"cli.{command}" for command in COMMANDS} == {f"cli.{name}"}


def test_each_public_name_is_listed_once_and_dir_shows_these_alone() -> None:
    names = vsbatch_core.__all__
    assert len(names) == len(set(names))
    assert dir(vsbatch_core) == sorted({*names, "__version__"})
    for name in names:
        assert getattr(vsbatch_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        vsbatch_core.Enigne  # noqa: B018 - a name that is not there
    with pytest.raises(AttributeError, match="no attribute '_private'"):
        vsbatch_core._private  # noqa: B018
