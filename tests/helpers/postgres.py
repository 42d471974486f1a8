"""A PostgreSQL server of the tests' own: in a temporary folder, over a Unix socket, and nowhere else.

The fixture ``cluster`` is one for all tests of a worker, and ``database`` the URL of a new database there.  A
test that stops the server, or changes its settings, starts one of its own: ``cluster_or_skip``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest

INSTALL = "PostgreSQL is not here: apt-get install postgresql"
PIP = "psycopg is not here: pip install 'psycopg[binary]'"
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
        self._idle: list[str] = []
        self._kept: str | None = None

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
        try:
            self._run("initdb", "-D", str(self.data), "-U", "vsbatch", "-A", "trust", "-N", "-E", "UTF8")
            with (self.data / "postgresql.conf").open("a") as file:
                file.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())
                file.write(f"unix_socket_directories = '{self.folder}'\n")
            self.start()
        except BaseException:  # also Ctrl-C: no ``__exit__`` follows that would remove the folders
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

    def database(self, template: str = "template1") -> str:
        """Make a new database, or a copy of another; return its URL."""
        name = f"db{os.getpid()}_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template.rpartition('/')[2]}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever uses it."""
        self.run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def emptied(self) -> str:
        """Empty a database that is kept for this, which takes less time than a new one; return its URL."""
        if self._kept is None:
            self._kept = self.database()
        run(self._kept, "DROP SCHEMA IF EXISTS vsbatch CASCADE")
        return self._kept

    @contextlib.contextmanager
    def lent(self) -> Iterator[str]:
        """Return the URL of an empty database, for as long as the context lasts.

        One that was lent before is emptied, which takes a tenth of the time of a new one.
        """
        url = self._idle.pop() if self._idle else self.database()
        yield url
        run(
            url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        run(url, "DROP SCHEMA IF EXISTS vsbatch CASCADE")
        self._idle.append(url)

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement, as somebody who knows nothing of what it means; return its rows, if it has any."""
        return run(self.url(database), statement)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://vsbatch@{quote(str(self.folder), safe='')}/{database}"


def run(url: str, statement: str, *arguments: Any) -> list[Any]:
    """Run a statement on a database; return its rows, if it has any."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), arguments or None)
        return [] if cursor.description is None else cursor.fetchall()


@contextlib.contextmanager
def cluster_or_skip(**settings: str) -> Iterator[Cluster]:
    """Start a server; skip the test, and say how to install one, where there is none."""
    require_server()
    with Cluster(**settings) as cluster:
        yield cluster


def require_server() -> None:
    """Skip the test, and say how to install a server, where there is none; fail it where one is required."""
    missing = INSTALL if programs() is None else PIP if find_spec("psycopg") is None else None
    if missing is not None:
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
