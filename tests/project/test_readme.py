import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vsbatch_core
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


def test_the_readme_counts_the_laws_and_the_scenarios_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"tries {len(LAWS)} laws" in readme
    scenarios = list(Path(vsbatch_core.__file__).parent.joinpath("scenarios").glob("*.toml"))
    assert len(scenarios) == 6
    assert "names six scenarios" in readme


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_do_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.slow
def test_the_generated_parts_of_the_documents_are_as_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make.py"), "--check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
