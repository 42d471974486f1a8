"""Run ``vsbatch`` in processes of its own, and servers for it to talk to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn

import vsbatch_core
from vsbatch_core.adapters.asgi import App

try:
    import fcntl

    SET_PIPE_SIZE: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux has it
except ImportError:
    SET_PIPE_SIZE = None

from .planted_servers import Server, World

SEARCH = str(Path(vsbatch_core.__file__).parent.parent)
"""Where the package is: a child process must import the same one, installed or not."""

PIPE_BYTES = 1 << 20
"""How much a server may print before anybody reads it: one whose database is killed says so for each request."""

Outputs = tuple[int, str, str]
"""The exit status, standard output and standard error of a process that has ended."""

posix = pytest.mark.skipif(os.name != "posix", reason="signals, pseudo-terminals and odd bytes are POSIX's")


def entry(
    *argv: str | Path, hide: str | None = None, start: str | None = None, hash_seed: str = "0", **options: Any
) -> subprocess.Popen[bytes]:
    """Start the real console entry; ``hide`` makes a package impossible to import, ``start`` is other code."""
    if hide is not None:
        start = f"import sys; sys.modules[{hide!r}] = None; import vsbatch_core.__main__"
    command = ["-m", "vsbatch_core"] if start is None else ["-c", start]
    environment = {**os.environ, "PYTHONPATH": SEARCH, "PYTHONHASHSEED": hash_seed, "TERM": "xterm"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, **options}
    process = subprocess.Popen([sys.executable, *command, *map(os.fspath, argv)], **pipes)
    if process.stderr is not None and SET_PIPE_SIZE is not None:
        with suppress(PermissionError):  # a user who is not root may have only so many pages of pipes
            fcntl.fcntl(process.stderr, SET_PIPE_SIZE, PIPE_BYTES)
    return process


def finished(process: subprocess.Popen[bytes]) -> Outputs:
    """Wait for the process to end; return its exit status and what it printed."""
    with process:
        out, err = process.communicate(timeout=120)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


class RunningServer(NamedTuple):
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    said: str
    """What it printed when it was ready."""

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        return host.strip("[]"), int(port)

    def end(self, number: int = signal.SIGTERM) -> Outputs:
        """Send the signal; answer the exit status and what was printed since it was ready."""
        self.process.send_signal(number)
        return finished(self.process)


@contextmanager
def started(*argv: str, quiet: bool = True, **options: Any) -> Iterator[RunningServer]:
    """A server on a free port that is ready; with ``quiet`` it prints no line for each request."""
    process = entry("serve", "--port", "0", *(["--quiet"] if quiet else []), *argv, **options)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().decode() + process.stdout.readline().decode()
        found = re.match(r"vsbatch: serving on (http://\S+:[1-9]\d*/v1)\n", said)
        if found is None:
            pytest.fail(f"the server did not start: {said!r}, {finished(process)}")
        yield RunningServer(process, found[1], said)
    finally:
        with process:
            process.kill()


def free_port() -> int:
    """Return a port of the loopback interface on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@contextmanager
def serving(*argv: str) -> Iterator[str]:
    """Run ``vsbatch serve`` in a process of its own; yield its base URL."""
    process = entry("serve", "--port", "0", "--quiet", *argv)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def listening(server: Server | None = None) -> Iterator[str]:
    """Serve from this process, each request taking 0.3 s of virtual time; yield the base URL."""
    world = World(server, tick=0.3, bad_file=None)
    bound = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(App(world.api), log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    finally:
        running.should_exit = True
        thread.join()
        bound.close()
