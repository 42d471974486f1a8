"""A command of a durable engine happens wholly or not at all, whatever is raised and wherever.

The acts and the verdict are those of ``tests/core/test_interruptions.py``.  The engine is one on a
database; the code of the journal is interrupted as that of the core is; and what the engine then holds must be
what the database holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, ClassVar
from weakref import finalize

import pytest
from attrs import evolve

from vsbatch_core import Claim, Engine, Profile, Retry, SequentialIds, VirtualClock
from vsbatch_core.journal.replica import Replica

from ..core.test_interruptions import ACTS, World, interrupted
from ..helpers import interruptions
from ..helpers.brief import EFFORT, searching
from ..helpers.databases import url_of
from ..helpers.postgres import Cluster

# An exception in a generator that is being closed is raised to nobody.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PLACES = {"brief": 6, "usual": 20, "long": 300}[EFFORT]
"""How many places of each act are tried, spread over all of it."""
JOURNAL = {str(path) for path in Path(interruptions.PACKAGE, "journal").glob("*.py")}


class DurableWorld(World):
    """A world whose engine is in a database.

    Its past is made once; each world begins with a copy of the database.
    """

    pasts: ClassVar[dict[str, tuple[Any, float, list[Claim], Profile, Retry]]]
    """By policies, what was saved, the time and the claims after the past; the engine's profile and retry."""
    url: str

    def __init__(self, policies: Mapping[str, Any] = {}) -> None:
        if repr(policies) not in self.pasts:
            self.copy(None)
            super().__init__(policies)
            self.engine.close()
            found = self.saved(), self.clock.time(), self.claims
            self.pasts[repr(policies)] = *found, self.engine.profile, self.engine._registry.retry
        saved, now, claims, profile, retry = self.pasts[repr(policies)]
        self.copy(saved)
        self.clock, self.ids = VirtualClock(now), SequentialIds()
        for prefix in ("vs_",) * 4 + ("vsfb_",) * 2:  # which the past has made
            self.ids(prefix)
        self.claims = list(claims)
        self.events, self.others = [], []
        self.engine = self.opened(profile, retry, policies.get("retention"))
        self.engine.view.file("vs_1", 0)
        self.engine.vector_stores.files.list("vs_1")
        self.engine.vector_stores.list()
        self.engine.subscribe(self.events.append)
        self.engine.subscribe(self.others.append)

    def opened(self, profile: Profile, retry: Retry, retention: float | None) -> Engine:
        options: dict[str, Any] = {"clock": self.clock, "ids": self.ids, "profile": profile, "retry": retry}
        options["retention"] = retention
        engine = Engine.open(self.url, **options, durability="normal")
        finalize(self, Engine.close, engine)
        return engine

    def copy(self, saved: Any) -> None:
        """Make a database that holds what was saved, or nothing, and note its URL."""
        raise NotImplementedError  # each kind of database has its own

    def saved(self) -> Any:
        """Return what the database holds."""
        raise NotImplementedError  # each kind of database has its own

    def problem(self) -> str | None:
        """Compare what the engine holds with what the file holds."""
        registry = self.engine._registry
        with self.opened(self.engine.profile, registry.retry, None) as other:
            if other.snapshot() != self.engine.snapshot():
                return "the database holds something else"
        return None


class FileWorld(DurableWorld):
    """On SQLite."""

    pasts: ClassVar[dict[str, Any]] = {}

    def copy(self, saved: Any) -> None:
        folder = mkdtemp()
        finalize(self, rmtree, folder)
        self.file = Path(folder, "state.db")
        if saved is not None:
            self.file.write_bytes(saved)
        self.url = url_of(self.file)

    def saved(self) -> Any:
        return self.file.read_bytes()


def server_world(cluster: Cluster) -> type[DurableWorld]:
    """Return worlds on PostgreSQL."""

    class ServerWorld(DurableWorld):
        pasts: ClassVar[dict[str, Any]] = {}

        def copy(self, saved: Any) -> None:
            self.url = cluster.database(saved or "template1")
            if saved is not None:
                finalize(self, cluster.drop, self.url)

        def saved(self) -> Any:
            return self.url

    return ServerWorld


@pytest.fixture(autouse=True)
def _journal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruptions, "CORE", interruptions.CORE | JOURNAL)


@searching
@pytest.mark.parametrize("name", ACTS)
def test_an_exception_at_any_place_leaves_a_durable_engine_with_it_done_wholly_or_not_at_all(name: str) -> None:
    assert interrupted(evolve(ACTS[name], kind=FileWorld), PLACES) == {}


@searching
@pytest.mark.parametrize("name", ["attach", "refused", "list", "claim"])
def test_an_exception_at_any_place_leaves_an_engine_on_postgresql_with_it_done_wholly_or_not_at_all(
    name: str, cluster: Cluster
) -> None:
    assert interrupted(evolve(ACTS[name], kind=server_world(cluster)), PLACES) == {}


def _forgets_nothing(self: Replica) -> None:
    self._unfinished = None
    self._seq = self._attempt = None


def _gives_nothing_up(self: Replica) -> None:
    pass


_current = Replica._current


def _trusts_what_is_here(self: Replica, read: Any, arguments: Any) -> Any:
    return self._view(read, arguments) if self.stores else _current(self, read, arguments)


@pytest.mark.parametrize(
    ("name", "replacement"),
    [("_forget", _forgets_nothing), ("_give_up", _gives_nothing_up), ("_current", _trusts_what_is_here)],
)
def test_a_planted_half_done_command_of_a_durable_engine_is_found(
    name: str, replacement: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Replica, name, replacement)
    assert interrupted(evolve(ACTS["attach"], kind=FileWorld), 60, most=1)
