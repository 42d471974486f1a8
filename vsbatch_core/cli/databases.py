"""What commands that are pointed at a database share: how it is named, and what it is refused for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vsbatch_core import VsbatchError
from vsbatch_core.journal import exists, place_of
from vsbatch_core.scenarios.text import Refused, legible

URLS = "sqlite:///relative.db, sqlite:////absolute.db, or postgresql://user@host/database"
"""The databases that there are, as help texts name them."""

PASSWORDS = """\
A password is better given by PGPASSWORD or ~/.pgpass than in a URL, which
others on this machine can read: PostgreSQL's own library looks for it there."""


@contextmanager
def telling() -> Iterator[None]:
    """Raise ``Refused`` in place of what a database is refused for."""
    try:
        yield
    except VsbatchError as error:
        raise Refused(legible(str(error))) from error


def named(url: str) -> str:
    """Return how messages name the database.  Raise ``Refused`` if what it needs is not installed."""
    try:
        return legible(place_of(url))
    except ImportError as error:
        raise Refused(str(error)) from error


def require(url: str, hint: str) -> str:
    """Return how messages name the database.  Raise ``Refused`` with ``hint`` if it is not there."""
    place = named(url)
    if not exists(url):
        raise Refused(f"there is no database '{place}': {hint}")
    return place
