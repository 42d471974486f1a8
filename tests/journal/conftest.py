"""What is true of an engine on SQLite is true of one on PostgreSQL: the tests that say so have both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..helpers.databases import Where, log_class


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """A database that is to be made, of either kind."""
    if request.param == "sqlite":
        return tmp_path / "a.db"
    url: str = request.getfixturevalue("database")
    return url


@pytest.fixture
def log_type(where: Where) -> Any:
    """The class of the connections to that database."""
    return log_class(where)
