"""The journal: what makes an engine durable, and lets several processes share it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from vsbatch_core import snapshots
from vsbatch_core.errors import DatabaseRefused
from vsbatch_core.journal.log import FORMAT, Durability, LogError, without_password
from vsbatch_core.model import Profile

if TYPE_CHECKING:
    from vsbatch_core.clock import Clock
    from vsbatch_core.journal.log import Database
    from vsbatch_core.journal.postgres import PostgresLog
    from vsbatch_core.journal.proof import Found, Show

    Connected = TypeVar("Connected", Database, PostgresLog)

__all__ = ["Place", "connect", "exists", "is_postgres", "migrate", "opened", "path_of", "place_of", "proved"]

_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
"""The schemes of URLs of PostgreSQL."""


class Place(NamedTuple):
    """A database that is there: its profile, what returns connections to it, and its clock, if it has one."""

    profile: Profile
    connect: Callable[[], Database]
    clock: Clock | None


def connect(url: str, profile: Profile | None, durability: Durability, reads: str = "fresh") -> Place:
    """Return the database that a URL names, which is made if it is not there.

    The URL is ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, percent-encoded, or
    ``postgresql://user@host/database`` as PostgreSQL's own programs read it.  Raise ``DatabaseRefused``,
    ``DatabaseDamaged`` or ``DatabaseUnavailable``; ``ImportError`` for PostgreSQL without its extra.
    """
    if durability not in ("full", "normal"):
        raise ValueError(f"durability must be 'full' or 'normal', not {durability!r}")
    if reads not in ("fresh", "local"):
        raise ValueError(f"reads must be 'fresh' or 'local', not {reads!r}")
    connection, clock = _connection(url, durability, reads)
    wanted = None if profile is None else json.dumps(snapshots.profile_data(profile))
    with _closed_at_the_end(connection()) as log:
        found = log.open(wanted, json.dumps(snapshots.profile_data(Profile())))
    return Place(snapshots.profile_from(json.loads(found)), connection, clock)


def _connection(
    url: str, durability: Durability = "full", reads: str = "fresh"
) -> tuple[Callable[[], Database], Clock | None]:
    """Return what makes connections to a database, and the clock that it has."""
    if is_postgres(url):
        from vsbatch_core.journal import postgres  # noqa: PLC0415 - psycopg, which not all programs need

        clock = postgres.DatabaseClock()
        options: Any = {"durability": durability, "reads": reads, "clock": clock}
        return lambda: postgres.PostgresLog(url, **options), clock
    from vsbatch_core.journal.sqlite import SqliteLog  # noqa: PLC0415 - sqlite3, which not all programs need

    path = path_of(url)
    return lambda: SqliteLog(path, durability=durability), None


def proved(url: str, show: Show) -> Found:
    """Return what ``proof.prove`` finds in a database.

    Raise ``DatabaseRefused``, ``DatabaseDamaged`` or ``DatabaseUnavailable``.
    """
    from vsbatch_core.journal.proof import prove  # noqa: PLC0415 - seldom needed

    with opened(url) as (log, profile):
        return prove(log, profile, show)


def migrate(url: str) -> tuple[int, int]:
    """Bring a database to the format of this version; return the format before, and now.

    There is one format of SQLite files so far, so that nothing has to be done to one that can be opened.  Raise
    ``DatabaseRefused``, ``DatabaseDamaged`` or ``DatabaseUnavailable``.
    """
    if not is_postgres(url):
        connect(url, None, "full")
        return FORMAT, FORMAT
    from vsbatch_core.journal.postgres import PostgresLog  # noqa: PLC0415 - psycopg, which not all programs need

    with _closed_at_the_end(PostgresLog(url)) as log:
        return log.migrate()


@contextmanager
def opened(url: str) -> Iterator[tuple[Database, Profile]]:
    """Return a connection to a database, and its profile; it is closed at the end.

    Raise ``DatabaseRefused``, ``DatabaseDamaged`` or ``DatabaseUnavailable``, also for what fails within.
    """
    profile, connection, _ = connect(url, None, "full")
    with _closed_at_the_end(connection()) as log:
        yield log, profile


@contextmanager
def _closed_at_the_end(log: Connected) -> Iterator[Connected]:
    """Return a connection, and close it at the end; raise what a caller is to be raised where it fails."""
    try:
        yield log
    except LogError as error:
        raise error.refusal(log.place) from error
    finally:
        log.close()


def is_postgres(url: Any) -> bool:
    """Return whether a URL names a PostgreSQL database."""
    return isinstance(url, str) and url.partition("://")[0] in _POSTGRES


def place_of(url: str) -> str:
    """Return the database that a URL names as messages name it, without a password.

    Raise ``DatabaseRefused``; ``ImportError`` for PostgreSQL without its extra.
    """
    connection, _ = _connection(url)
    return connection().place


def exists(url: str) -> bool:
    """Return whether anything is there that an engine could have made; nothing is made.

    Raise ``DatabaseRefused`` or ``DatabaseUnavailable``.
    """
    connection, _ = _connection(url)
    with _closed_at_the_end(connection()) as log:
        return log.exists()


def path_of(url: Any) -> Path:
    """Return the path that a URL names; raise ``DatabaseRefused``."""
    path = url.removeprefix("sqlite:///") if isinstance(url, str) else url
    if not path or path == url:
        raise DatabaseRefused(
            without_password(url) if isinstance(url, str) else url,
            "its URL is not known. Give sqlite:///relative.db or sqlite:////absolute.db, percent-encoded, "
            "or postgresql://user@host/database",
        )
    if "?" in path:
        raise DatabaseRefused(url, "its URL has a query, of which none is known. In a path '?' is written '%3F'")
    if path == ":memory:":
        raise DatabaseRefused(url, "nothing lasts in memory. Give the path of a file, or use Engine()")
    if "%00" in path or "\0" in path:
        raise DatabaseRefused(url, "a path cannot hold the character NUL. Leave it out")
    return Path(os.fsdecode(unquote_to_bytes(path)))
