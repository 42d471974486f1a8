"""Try a law on the package with some of its files replaced, in a process of its own.

To start Python and to import Hypothesis takes longer than most trials.  So one process imports what all trials
need, except for the package, and each trial is a fork of it.  Run as a script, this file is that process: it
reads a trial from each line of its standard input, and writes how it ended to its standard output, both as JSON.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, NoReturn, Self

from attrs import frozen

TESTS = Path(__file__).resolve().parents[1]
NAME = "vsbatch_core"
EXAMPLES = 400
STEPS = 20
READS_ONE_IN = 20
"""After each step one in so many things is read: more examples then take less time, and find more."""
SECONDS = 300
"""A trial that takes longer is ended, with the exit status of a process that was killed by SIGALRM."""
TEST_FAILED = 1
"""The exit status of a trial whose test failed, as pytest has it."""
DIVERGED = 3
"""The exit status of a trial whose machine found a divergence."""
CRASHED = 4
"""The exit status of a trial that raised anything else; pytest uses it for a test that does not exist."""


@frozen
class Outcome:
    status: int
    """The exit status."""
    seconds: float
    """How much CPU time it took."""
    output: str


class Trials:
    """A copy of the package, and the process that is forked for each trial; a context manager."""

    def __enter__(self) -> Self:
        spec = find_spec(NAME)
        assert spec is not None
        assert spec.origin is not None
        self.package = Path(spec.origin).parent
        self._folder = tempfile.TemporaryDirectory()
        self._copy = Path(self._folder.name, NAME)
        shutil.copytree(self.package, self._copy, ignore=shutil.ignore_patterns("__pycache__"))
        # By hash: a file that is replaced twice within a second must not be taken for what was compiled.
        compileall.compile_dir(self._copy, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        # Coverage is of the package, not of harmed copies of it.
        env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],  # -P: only the copy may be found under the package's name
            cwd=TESTS.parent,
            env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def run(self, by: str, files: Mapping[str, str], examples: int = EXAMPLES) -> Outcome:
        """Return the outcome of a trial of the package with these files replaced.

        ``by`` is a subject of the machine, which is given so many examples; or a file of tests, ``::`` and the
        name of a test.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        output = Path(self._folder.name, "output.txt")
        order = {"by": by, "examples": examples, "folder": self._folder.name, "output": str(output)}
        try:
            for file, text in files.items():
                (self._copy / file).write_text(text, encoding="utf-8")
            print(json.dumps(order), file=self._process.stdin, flush=True)
            status, seconds = json.loads(self._process.stdout.readline())
        finally:
            for file in files:
                shutil.copy2(self.package / file, self._copy / file)
        return Outcome(status, seconds, output.read_text(encoding="utf-8", errors="replace"))


def serve() -> None:
    """Fork for each line of the standard input; write how the fork ended."""
    import hypothesis.stateful  # noqa: F401 - imported for those that are forked
    import pytest  # noqa: F401
    import sortedcontainers  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            fork(json.loads(line))
        _, status, used = os.wait4(child, 0)
        print(json.dumps((os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)), flush=True)


def fork(order: dict[str, Any]) -> NoReturn:
    """Run the trial, and end the process with its exit status."""
    status = CRASHED
    try:
        signal.alarm(SECONDS)
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        sys.path.insert(0, order["folder"])
        status = trial(order["by"], order["examples"])
    except BaseException:  # noqa: BLE001 - the fork must end here, whatever happened
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def trial(by: str, examples: int) -> int:
    """Run the law or the machine on the package that is imported here; return the exit status."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "trial",
        derandomize=True,
        database=None,
        deadline=None,  # a harmed package may be slow, and there is an alarm
        phases=[Phase.explicit, Phase.generate],  # nobody reads the shortest example
    )
    settings.load_profile("trial")
    return law(by) if "::" in by else machine(by, examples)


def law(by: str) -> int:
    """Run a test by itself; return pytest's exit status."""
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    # Hypothesis was imported before pytest could rewrite its assertions, which it does not need.
    return int(pytest.main([str(TESTS / by), *options, "-W", "ignore::pytest.PytestAssertRewriteWarning"]))


def machine(by: str, examples: int) -> int:
    """Run the machine on this subject; return whether it found a divergence."""
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    from vsbatch_core.testing import machine, subjects

    class Glanced(getattr(subjects, by)):
        reads_one_in = READS_ONE_IN

    class Trial(machine.Lockstep):
        subject_factory = Glanced

    try:
        run_state_machine_as_test(Trial, settings=settings(max_examples=examples, stateful_step_count=STEPS))
    except machine.Divergence as error:
        print(str(error).rpartition("\n")[2][:300])
        return DIVERGED
    return 0


if __name__ == "__main__":
    serve()
