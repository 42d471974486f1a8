"""What a type checker knows of the API: right code passes by ``mypy --strict``, and each wrong line is named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..helpers.processes import SEARCH

pytestmark = pytest.mark.slow

ASYNC = """
from vsbatch_core import Engine

async def main(engine: Engine) -> None:
    reveal_type(await engine.aio.vector_stores.file_batches.create("vs_1", file_ids=["file-1"]))
    reveal_type([file async for file in engine.aio.vector_stores.files.list("vs_1", limit=3)])
    reveal_type((await engine.aio.vector_stores.list()).data)
    reveal_type(await engine.aio.read(engine.version, "vs_1"))
    await engine.aio.vector_stores.files.create("vs_1", file_ids=["file-1"])
    await engine.aio.processing.claim("three", worker="w")
"""

IMPORTS = """
from random import Random

from vsbatch_core import VectorStoreFile
from vsbatch_core.simulation import Completed, Exponential, Failed, Never, PerMegabyte, Plan, Retries


def slow(file: VectorStoreFile, random: Random) -> float:
    return random.random()


"""
RIGHT = """
Plan()
Plan(workers=None)
Plan(workers=3, service=1)
Plan(service=1.5)
Plan(service=Exponential(mean=2.0))
Plan(service=PerMegabyte(1.0))
Plan(service=slow)
Plan(service=lambda file, random: 1.0)
Plan(failures="server_error")
Plan(failures={"server_error": 0.1, "invalid_file": 1})
Plan(by_suffix={".md": "unsupported_file", ".txt": {"server_error": 0.5}})
Plan(by_id={"file-1": "invalid_file"})
Plan(script={"file-1": Completed(after=1.0), "file-2": [Failed("server_error"), Never()]})
Plan(retries=3)
Plan(retries=Retries(3, first=0.5))
Plan(retries=None)
Plan.immediate(failures="server_error")
Plan.after_seconds(3, retries=1)
Plan.after_polls(2, workers=1)
Plan.manual(workers=1)
"""
WRONG = """
Plan(workers="3")
Plan(workers=1.5)
Plan(service="fast")
Plan(service=lambda file: 1.0)
Plan(service=None)
Plan(failures="no_such_code")
Plan(failures={"no_such_code": 0.1})
Plan(failures={"server_error": "often"})
Plan(failures=0.1)
Plan(by_suffix={".md": "no_such_code"})
Plan(by_suffix="unsupported_file")
Plan(by_id={1: "invalid_file"})
Plan(by_id={"file-1": 0.5})
Plan(script={"file-1": "completed"})
Plan(script=[Completed()])
Plan(script={"file-1": ["server_error"]})
Plan(retries="3")
Plan(retries=0.5)
Plan(no_such_parameter=1)
Plan.immediate(failures="no_such_code")
Plan.after_seconds("3")
Plan.after_polls(2, retries="3")
Plan.manual(workers="1")
Retries("3")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of all programs, which it reads in one run: most of its time goes into the package."""
    folder = tmp_path_factory.mktemp("programs")
    programs = {"async.py": ASYNC, "right.py": IMPORTS + RIGHT, "wrong.py": IMPORTS + WRONG}
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), *programs]
    # Where the package is installed, mypy finds it, and refuses to be led there.
    installed = Path(SEARCH).name == "site-packages"
    environment = dict(os.environ) if installed else {**os.environ, "MYPYPATH": SEARCH}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=500, env=environment, cwd=folder
    )
    assert done.returncode == 1, done.stderr
    return done.stdout.splitlines()


def test_a_type_checker_knows_every_argument_and_every_result_of_the_api_for_coroutines(said: list[str]) -> None:
    found = [line.partition(": ")[2] for line in said if line.startswith("async.py:")]
    assert [line.replace("vsbatch_core.model.", "") for line in found[:4]] == [
        'note: Revealed type is "VectorStoreFileBatch"',
        'note: Revealed type is "list[VectorStoreFile]"',
        'note: Revealed type is "tuple[VectorStore, ...]"',
        'note: Revealed type is "int"',
    ]
    assert 'Unexpected keyword argument "file_ids"' in found[4]
    assert 'has incompatible type "str"; expected "int"' in "\n".join(found)


def test_a_type_checker_finds_nothing_wrong_with_a_plan_that_is_right(said: list[str]) -> None:
    assert [line for line in said if line.startswith("right.py:")] == []


def test_a_type_checker_finds_each_wrong_argument_of_a_plan(said: list[str]) -> None:
    first = IMPORTS.count("\n") + 2
    numbers = {int(n) for line in said for n in re.findall(r"^wrong\.py:([0-9]+): error:", line)}
    assert numbers == set(range(first, first + WRONG.count("\n") - 1))
