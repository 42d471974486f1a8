"""What the machine can drive: the engine, and the engine as it is after a replay, a restore, or behind HTTP.

A ``Subject`` answers calls.  To have another implementation compared with the oracle, write a subclass whose
``ask`` turns a ``Call`` into a request and the response into a value of ``model`` or a ``Refusal``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from attrs import field, frozen

from vsbatch_core.clock import SequentialIds
from vsbatch_core.engine import Engine
from vsbatch_core.errors import Inconsistent
from vsbatch_core.events import Event
from vsbatch_core.model import Profile
from vsbatch_core.testing.calls import Call, UnsteadyClock, answer


@frozen
class World:
    """What a subject is made under, the same for it and for the oracle; ``sizes`` is what the host knows."""

    profile: Profile = field(factory=Profile)
    sizes: dict[str, int] | None = None

    @property
    def known_file(self) -> Callable[[str], int | None] | None:
        """The host's word on files; ``None`` if any id is accepted."""
        return None if self.sizes is None else self.sizes.get

    def options(self) -> dict[str, Any]:
        """Fresh arguments for an engine."""
        return {
            "clock": UnsteadyClock(),
            "ids": SequentialIds(),
            "profile": self.profile,
            "known_file": self.known_file,
        }


class Subject:
    """The engine itself."""

    renews: ClassVar[bool] = False
    """Whether ``renew`` does anything."""
    reads_one_in: ClassVar[int] = 1
    """After each call everything is read; or, where that takes too long, one thing in so many, in turns."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.options = world.options()
        self.engine = Engine(**self.options)
        self.told: list[Event] = []
        self.engine.subscribe(self.told.append)

    def can_ask(self, call: Call) -> bool:  # noqa: ARG002 - for those that speak through a transport
        """Whether the call can be put to it at all: a transport may have no way to say it."""
        return True

    def ask(self, call: Call) -> Any:
        """The answer: a value of ``model``, a list of them, or a ``Refusal``."""
        return answer(self.engine, call)

    def walk(self, call: Call) -> list[Any]:
        """All that a client finds that goes on from this page to the next until the end."""
        return list(self.ask(call))

    def settle(self) -> None:
        """Called after each call, before everything is read."""

    def renew(self) -> None:
        """Called now and then: be replaced by an equal one."""

    def check(self) -> None:
        """Raise ``Inconsistent`` if its inside contradicts itself."""
        self.engine.check()

    def state(self) -> Any:
        """All that it is, to be compared with itself before and after."""
        return self.engine.snapshot(), len(self.told)

    def prologue(self) -> list[str]:
        """The lines of Python that make it: they define ``engine``, and whatever they need."""
        known = "None" if self.world.sizes is None else f"{self.world.sizes!r}.get"
        return [
            "from contextlib import suppress",
            "",
            "from vsbatch_core import *",
            "from vsbatch_core.testing.calls import UnsteadyClock",
            "",
            f"profile = {self.world.profile!r}",
            f"known_file = {known}",
            "outside = {'clock': UnsteadyClock(), 'ids': SequentialIds(), 'known_file': known_file}",
            "options = {**outside, 'profile': profile}",
            "engine = Engine(**options)",
        ]

    def renewal(self) -> list[str]:
        """The lines of Python that do what ``renew`` does."""
        return []

    def epilogue(self) -> list[str]:
        """The lines of Python that do what ``settle`` does."""
        return []


class Replayed(Subject):
    """An engine that is replayed from all its events before everything is read, and goes on from there."""

    def settle(self) -> None:
        """See ``Subject``."""
        kept = self.engine.snapshot()
        events, self.told = self.told, []
        self.engine = Engine(**self.options)
        self.engine.subscribe(self.told.append)
        self.engine.replay(events)
        if self.engine.snapshot() != kept:
            raise Inconsistent("the snapshot of the replayed engine", self.engine.snapshot(), kept)

    def prologue(self) -> list[str]:
        """See ``Subject``."""
        return [*super().prologue(), "events = []", "engine.subscribe(events.append)"]

    def epilogue(self) -> list[str]:
        """See ``Subject``."""
        return ["engine = Engine(**options)", "engine.replay(events)"]


class Restored(Subject):
    """An engine that is now and then saved as JSON, and goes on as what was restored from it."""

    renews = True

    def renew(self) -> None:
        """See ``Subject``."""
        saved = json.loads(json.dumps(self.engine.snapshot()))
        self.engine = Engine.restore(saved, **{**self.options, "profile": None})
        self.engine.subscribe(self.told.append)
        if self.engine.snapshot() != saved:
            raise Inconsistent("the snapshot of the restored engine", self.engine.snapshot(), saved)

    def renewal(self) -> list[str]:
        """See ``Subject``."""
        return ["engine = Engine.restore(engine.snapshot(), **outside)"]
