"""A PostgreSQL server of the tests' own: in a temporary folder, over a Unix socket, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest

from vsbatch_core import Engine

INSTALL = "PostgreSQL is not here: apt-get install postgresql"
REQUIRED = "VSBATCH_NEEDS_POSTGRES"
"""If this variable is set, as by ``.ci/run``, a missing server fails the tests that need one."""
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "fsync": "off",  # what is lost when the power fails is not what these tests are about
    "shared_buffers": "64MB",
    "logging_collector": "off",
}


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, the newest first."""
    found = [Path(path).parent for name in ("initdb",) if (path := shutil.which(name)) is not None]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each.resolve() for each in found if (each / "postgres").exists()), None)


class Cluster:
    """A server and its folder; a context manager.  Its data are in ``data``, if that is given, else there too."""

    def __init__(self, data: str | None = None, **settings: str) -> None:
        self._where = data
        self._settings = SETTINGS | settings
        self._numbers = count(1)

    def __enter__(self) -> Self:
        found = programs()
        assert found is not None, INSTALL
        self._programs = found
        # Short: the path of a socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="vsb-pg-", dir="/tmp"))
        self.data = Path(tempfile.mkdtemp(prefix="vsb-pg-", dir=self._where or self.folder))
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(self.folder, "postgres")
            shutil.chown(self.data, "postgres")
        self._run("initdb", "-D", str(self.data), "-U", "vsbatch", "-A", "trust", "-N", "-E", "UTF8")
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())
            file.write(f"unix_socket_directories = '{self.folder}'\n")
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        self._remove()

    def _remove(self) -> None:
        for folder in (self.folder, self.data):
            shutil.rmtree(folder, ignore_errors=folder == self.data)  # which may be in the other

    def _run(self, program: str, *arguments: str) -> None:
        options: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program != "pg_ctl" else subprocess.DEVNULL,
            cwd=self.folder,
            check=False,
            text=True,
            **options,
        )
        assert done.returncode == 0, f"{program}: {done.stdout or self.log()}"

    def log(self) -> str:
        """Return the end of what the server wrote."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text()[-3000:]
        return ""

    def start(self) -> None:
        """Start the server; return when it can be connected to."""
        self._run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; with mode "immediate" as if it was killed."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.data))

    def database(self) -> str:
        """Make a new database; return its URL."""
        name = f"db{os.getpid()}_{next(self._numbers)}"
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://vsbatch@{quote(str(self.folder), safe='')}/{database}"


@contextlib.contextmanager
def cluster_or_skip() -> Iterator[Cluster]:
    """Start a server; skip the test, and say how to install one, where there is none."""
    if programs() is None:
        if os.environ.get(REQUIRED):
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    with Cluster() as cluster:
        yield cluster


def opened(url: str, **options: Any) -> Engine:
    """Return an engine on a database."""
    return Engine.open(url, **options)
