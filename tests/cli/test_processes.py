"""Processes that are looked after: they are started, replaced and ended, whatever ends them and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ..helpers.processes import SEARCH, Outputs, posix

pytestmark = [pytest.mark.slow, posix]  # processes of their own

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from vsbatch_core.cli import processes

processes.PAUSE = 0.05
starts = Path(sys.argv[1])

def started():
    '''Return how many processes were started, this one among them.'''
    with starts.open("ab") as file:
        file.write(b".")
    return starts.stat().st_size

def until_signal(number, ready, lifeline):
    ended = []  # an Event could not be set by a handler that interrupts its wait
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: ended.append(True))
    ready()
    while not ended:
        time.sleep(0.01)

def main(serve, ready=lambda: os.kill(os.getpid(), signal.SIGTERM)):
    processes.Processes(2, serve).run(ready)
    print("ended, after", starts.stat().st_size)
"""


def run(program: str, folder: object) -> Outputs:
    environment = {**os.environ, "PYTHONPATH": SEARCH}
    command = [sys.executable, "-c", f"{PROGRAM}\n{program}", f"{folder}/starts"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    return found.returncode, found.stdout, found.stderr


def test_a_signal_is_sent_on_and_all_end(tmp_path: object) -> None:
    program = """
def serve(*arguments):
    started()
    until_signal(*arguments)
main(serve)
"""
    assert run(program, tmp_path) == (0, "ended, after 2\n", "")


def test_a_signal_that_comes_while_they_start_ends_them_too_and_nobody_is_told_that_they_are_ready(
    tmp_path: object,
) -> None:
    program = """
def serve(number, ready, lifeline):
    started()
    if number == 0:
        os.kill(os.getppid(), signal.SIGINT)
    until_signal(number, lambda: None, lifeline)
main(serve, lambda: print("ready"))
"""
    status, out, err = run(program, tmp_path)
    assert (status, err) == (0, "")
    assert out in ("ended, after 0\n", "ended, after 1\n", "ended, after 2\n")


def test_a_process_that_ends_early_is_replaced_even_if_the_next_one_cannot_start_at_once(
    tmp_path: object,
) -> None:
    program = """
def serve(number, ready, lifeline):
    n = started()
    if n == 3:
        return                      # ends without an error
    if n == 4:
        raise ZeroDivisionError     # cannot start
    if n == 5:
        os.kill(os.getppid(), signal.SIGTERM)
    until_signal(number, ready, lifeline)

def ready():
    child = int(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()[0])
    os.kill(child, signal.SIGKILL)
main(serve, ready)
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("the children of a process are found in /proc")
    status, out, err = run(program, tmp_path)
    assert (status, out) == (0, "ended, after 5\n")
    ends = [line.split(" ended ")[1] for line in err.splitlines() if " ended " in line]
    assert ends == [f"{how}, and another is started" for how in ("by signal 9", "with status 0", "with status 1")]
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [("processes.Refused('not so')", 2, "vsbatch: not so\n"), ("ZeroDivisionError", 1, "ZeroDivisionError\n")],
)
def test_one_that_cannot_start_at_first_says_why_and_all_end(
    tmp_path: object, error: str, status: int, said: str
) -> None:
    program = f"""
def serve(number, ready, lifeline):
    started()
    if number == 1:
        raise {error}
    until_signal(number, ready, lifeline)
main(serve, lambda: print("ready"))
"""
    code, out, err = run(program, tmp_path)
    assert (code, out) == (status, "")
    assert err.endswith(said)


def test_what_the_parent_raises_ends_them_all(tmp_path: object) -> None:
    program = """
def serve(*arguments):
    started()
    until_signal(*arguments)

def ready():
    raise BrokenPipeError

try:
    main(serve, ready)
except BrokenPipeError:
    print(starts.stat().st_size, "ended;", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    assert run(program, tmp_path) == (0, "2 ended; True\n", "")


def test_the_pipe_of_a_process_ends_with_its_parent(tmp_path: object) -> None:
    program = """
def serve(number, ready, lifeline):
    ready()
    os.read(lifeline, 1)
    started()
    os.write(1, b"alone\\n")  # in one piece
main(serve, lambda: os.kill(os.getpid(), signal.SIGKILL))
"""
    status, out, err = run(program, tmp_path)
    assert (status, out, err) == (-signal.SIGKILL, "alone\nalone\n", "")
