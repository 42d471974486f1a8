"""The journal: what makes an engine durable, and lets several processes share it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from vsbatch_core import snapshots
from vsbatch_core.errors import DatabaseRefused
from vsbatch_core.journal.log import LogError
from vsbatch_core.journal.sqlite import Durability, SqliteLog
from vsbatch_core.model import Profile

if TYPE_CHECKING:
    from vsbatch_core.journal.log import Log
    from vsbatch_core.journal.proof import Found, Show

__all__ = ["connect", "path_of", "proved", "vacuum"]


def connect(url: str, profile: Profile | None, durability: Durability) -> tuple[Profile, Callable[[], Log]]:
    """Return the profile of the database, which is made if it is not there, and what returns connections to it.

    The URL is ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, percent-encoded.  Raise
    ``DatabaseRefused``, ``DatabaseDamaged`` or ``DatabaseUnavailable``.
    """
    if durability not in ("full", "normal"):
        raise ValueError(f"durability must be 'full' or 'normal', not {durability!r}")
    path = path_of(url)
    wanted = None if profile is None else json.dumps(snapshots.profile_data(profile))
    log = SqliteLog(path, durability=durability)
    try:
        found = log.open(wanted, json.dumps(snapshots.profile_data(Profile())))
    except LogError as error:
        raise error.refusal(log.place) from error
    finally:
        log.close()
    return snapshots.profile_from(json.loads(found)), lambda: SqliteLog(path, durability=durability)


def proved(url: str, show: Show) -> Found:
    """Return what ``proof.prove`` finds in a database.

    Raise ``DatabaseRefused``, ``DatabaseDamaged`` or ``DatabaseUnavailable``.
    """
    from vsbatch_core.journal.proof import prove  # noqa: PLC0415 - seldom needed

    with _log(url) as (log, profile):
        return prove(log, profile, show)


def vacuum(url: str) -> None:
    """Give the space of a database that nothing takes up any more back to the file system.

    Raise ``DatabaseRefused``, ``DatabaseDamaged`` or ``DatabaseUnavailable``.  O(bytes).
    """
    with _log(url) as (log, _):
        log.vacuum()


@contextmanager
def _log(url: str) -> Iterator[tuple[SqliteLog, Profile]]:
    """Return a connection to a database, and its profile."""
    profile, _ = connect(url, None, "full")
    log = SqliteLog(path_of(url))
    try:
        yield log, profile
    except LogError as error:
        raise error.refusal(log.place) from error
    finally:
        log.close()


def path_of(url: Any) -> Path:
    """Return the path that a URL names; raise ``DatabaseRefused``."""
    path = url.removeprefix("sqlite:///") if isinstance(url, str) else url
    if not path or path == url:
        raise DatabaseRefused(
            url, "its URL is not known. Give sqlite:///relative.db or sqlite:////absolute.db, percent-encoded"
        )
    if "?" in path:
        raise DatabaseRefused(url, "its URL has a query, of which none is known. In a path '?' is written '%3F'")
    if path == ":memory:":
        raise DatabaseRefused(url, "nothing lasts in memory. Give the path of a file, or use Engine()")
    if "%00" in path or "\0" in path:
        raise DatabaseRefused(url, "a path cannot hold the character NUL. Leave it out")
    return Path(os.fsdecode(unquote_to_bytes(path)))
