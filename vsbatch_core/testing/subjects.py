"""What the machine can drive: the engine, the engine after a replay or a restore, and any other implementation.

To compare an implementation of your own with the oracle, write a subclass of ``Subject``.  Its ``ask`` translates
a ``Call`` into whatever the implementation takes, and the result into a value of ``model`` or a ``Refusal``;
``check`` and ``state`` are about its inside; ``can_ask`` and ``trimmed`` leave out what it cannot do.  The file
``docs/examples/lockstep_storage.py`` is a complete example.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, ClassVar
from urllib.parse import quote
from weakref import finalize

from attrs import field, frozen

from vsbatch_core.claims import Retry
from vsbatch_core.clock import SequentialIds
from vsbatch_core.engine import Engine
from vsbatch_core.errors import Inconsistent, VsbatchError
from vsbatch_core.events import Event
from vsbatch_core.model import Page, Profile, names_of
from vsbatch_core.testing.calls import Call, Refusal, UnsteadyClock, answer


@frozen
class World:
    """What a subject is made under, the same for it and for the oracle; ``sizes`` is what the host knows."""

    profile: Profile = field(factory=Profile)
    sizes: dict[str, int] | None = None
    retry: Retry = field(factory=Retry)
    retention: float | None = None

    @property
    def file_size(self) -> Callable[[str], int | None] | None:
        """The host's word on files; ``None`` if any id is accepted."""
        return None if self.sizes is None else self.sizes.get

    def options(self) -> dict[str, Any]:
        """Fresh arguments for an engine."""
        return {
            "clock": UnsteadyClock(),
            "ids": SequentialIds(),
            "profile": self.profile,
            "file_size": self.file_size,
            "retry": self.retry,
            "retention": self.retention,
        }


class Subject:
    """The engine itself, and the base of every other subject.

    A subclass that is no engine does not call ``__init__`` of this class.  It sets ``world``, and overrides
    ``ask``, ``check`` and ``state``.
    """

    world: World
    engine: Engine

    follows: ClassVar[tuple[str, ...]] = names_of(Profile)
    """The keys of a profile that it follows.  No profile is drawn in which another has not its default."""
    purges: ClassVar[bool] = True
    """Whether batches are gone from it once they have been finished for the ``retention`` of its world."""
    renews: ClassVar[bool] = False
    """Whether ``renew`` does anything."""
    keeps_claims: ClassVar[bool] = False
    """Whether ``renew`` keeps claims and attempts, and goes on with what time makes due."""
    reads_one_in: ClassVar[int] = 1
    """After each call everything is read; or, where that takes too long, one thing in so many, in turns."""
    checks_arguments: ClassVar[bool] = True
    """Whether it refuses arguments of a wrong type or value.  If a layer in front of it does, set this to false,
    and no call is made whose only purpose is a wrong argument."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.options = world.options()
        self.engine = Engine(**self.options)
        self.told: list[Event] = []
        self.engine.subscribe(self.told.append)

    def trimmed(self, call: Call) -> Call:
        """Return the call without the keyword arguments that the subject does not support.

        The oracle gets what is left as well.  Where that is no valid call, have ``can_ask`` return false for it.
        """
        return call

    def can_ask(self, call: Call) -> bool:  # noqa: ARG002 - an engine can be asked anything
        """Return whether the call can be put to the subject at all; if not, the oracle does not get it either."""
        return True

    def ask(self, call: Call) -> Any:
        """Give the call; return a value of ``model``, a list of them, or a ``Refusal``."""
        return answer(self.engine, call)

    def read(self, call: Call) -> Any:
        """Give a call that only reads, after ``settle``; return what ``ask`` returns."""
        return self.ask(call)

    def walk(self, call: Call) -> list[Any]:
        """Return all items from this page to the end of the list.

        A page of an engine is iterated over, and goes on by itself.  Any other is followed as clients do it, by
        ``has_more`` and the last id; the walk ends where a cursor comes a second time.
        """
        page: Page[Any] = self.read(call)
        found = list(page)
        cursors: set[str | None] = {None}
        while page.has_more and not page.has_next_page() and page.last_id not in cursors:
            cursors.add(page.last_id)
            page = self.read(Call(call.path, call.args, {**call.kwargs, "after": page.last_id}))
            found += page.data
        return found

    def settle(self) -> None:
        """Do whatever has to be done after each call, before everything is read."""

    def renew(self) -> None:
        """Replace the subject by an equal one, where ``renews`` says that this can be done.

        Unless ``keeps_claims`` says otherwise it knows no claims and no attempts, and nothing becomes due in it
        before its first command.
        """

    def check(self) -> None:
        """Raise any exception if the inside of the subject contradicts itself."""
        self.engine.check()

    def state(self) -> Any:
        """Return all that the subject holds, to be compared with itself before and after a call."""
        return self.engine.snapshot(), len(self.told)

    def prologue(self) -> list[str]:
        """Return the lines of Python that make the subject, as ``engine``, and whatever they need.

        For a subject without an ``engine`` these are lines that import its class, by its module and its name.
        """
        if not hasattr(self, "engine"):
            cls = type(self)
            return [
                "from contextlib import suppress",
                "from math import inf",
                "",
                f"from {cls.__module__} import {cls.__qualname__}",
                "from vsbatch_core import *",
                "from vsbatch_core.testing.subjects import Spoken, World",
                "",
                f"engine = Spoken({cls.__qualname__}({self.world!r}))",
            ]
        known = "None" if self.world.sizes is None else f"{self.world.sizes!r}.get"
        return [
            "from contextlib import suppress",
            "from math import inf",
            "",
            "from vsbatch_core import *",
            "from vsbatch_core.testing.calls import UnsteadyClock",
            "",
            f"profile = {self.world.profile!r}",
            f"file_size = {known}",
            f"retry, retention = {self.world.retry!r}, {self.world.retention!r}",
            "host = {'clock': UnsteadyClock(), 'ids': SequentialIds()}",
            "outside = {**host, 'file_size': file_size, 'retry': retry, 'retention': retention}",
            "options = {**outside, 'profile': profile}",
            "engine = Engine(**options)",
        ]

    def renewal(self) -> list[str]:
        """Return the lines of Python that do what ``renew`` does."""
        return []

    def epilogue(self) -> list[str]:
        """Return the lines of Python that do what ``settle`` does."""
        return []


class Replayed(Subject):
    """An engine that another follows: all that is read is read from a replay of its events.

    Now and then the follower takes its place.
    """

    renews = True
    follower: Engine

    def settle(self) -> None:
        """See ``Subject``."""
        kept = self.engine.snapshot()
        self.follower = Engine(**self.options)
        self.follower.replay(self.told)
        if self.follower.snapshot() != kept:
            raise Inconsistent("the snapshot of the replayed engine", self.follower.snapshot(), kept)

    def read(self, call: Call) -> Any:
        """See ``Subject``."""
        return answer(self.follower, call)

    def check(self) -> None:
        """See ``Subject``."""
        super().check()
        self.follower.check()

    def renew(self) -> None:
        """See ``Subject``."""
        self.engine = Engine(**self.options)
        self.engine.replay(self.told)
        self.engine.subscribe(self.told.append)

    def prologue(self) -> list[str]:
        """See ``Subject``."""
        return [*super().prologue(), "events = []", "engine.subscribe(events.append)"]

    def renewal(self) -> list[str]:
        """See ``Subject``."""
        return [*self.epilogue(), "engine.subscribe(events.append)"]

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


class Durable(Subject):
    """An engine whose stores are kept in a database; now and then it is closed, and opened again.

    The database is a SQLite file, unless a subclass has another one.
    """

    renews = True
    keeps_claims = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.options = world.options()
        self.told: list[Event] = []
        self.url = self.database()
        self._open()

    def database(self) -> str:
        """Return the URL of an empty database."""
        folder = mkdtemp()
        finalize(self, rmtree, folder)
        return f"sqlite:///{quote(folder)}/state.db"

    def _open(self) -> None:
        self.engine = Engine.open(self.url, **self.options, durability="normal")
        self._close = finalize(self, Engine.close, self.engine)
        self.engine.subscribe(self.told.append)

    def renew(self) -> None:
        """See ``Subject``."""
        kept = self.engine.snapshot()
        self._close()
        self._open()
        if self.engine.snapshot() != kept:
            raise Inconsistent("the snapshot of the engine that was opened again", self.engine.snapshot(), kept)

    def prologue(self) -> list[str]:
        """See ``Subject``."""
        return [
            "from tempfile import mkdtemp",
            *super().prologue()[:-1],
            "url = f'sqlite:///{mkdtemp()}/state.db'",
            "engine = Engine.open(url, **options, durability='normal')",
        ]

    def renewal(self) -> list[str]:
        """See ``Subject``."""
        return ["engine.close()", "engine = Engine.open(url, **options, durability='normal')"]


class RefusedBySubject(VsbatchError):
    """A ``Refusal`` of a subject, as the exception that a program expects."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal.body))
        self.refusal = refusal
        self.status = refusal.status  # type: ignore[misc]  # of the class in errors, whose classes are known

    def to_wire(self) -> dict[str, dict[str, str | None]]:
        """Return the body of the refusal."""
        return self.refusal.body


class Spoken:
    """A subject under the names of the engine: what a printed program calls, where the subject is no engine.

    ``Spoken(subject).vector_stores.create(name="a")`` gives that call to the subject and returns what ``ask``
    returns, or raises a ``VsbatchError`` where that is a ``Refusal``.  Iterating over a page goes on through the
    following pages.
    """

    def __init__(self, subject: Subject, path: str = "") -> None:
        self._subject = subject
        self._path = path

    def __getattr__(self, name: str) -> Spoken:
        return Spoken(self._subject, f"{self._path}.{name}" if self._path else name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Give the call to the subject, or have it checked."""
        if self._path == "check":
            return self._subject.check()
        found = self._subject.ask(Call(self._path, args, kwargs))
        if isinstance(found, Refusal):
            raise RefusedBySubject(found)
        if isinstance(found, Page):
            return Page(found.data, found.has_more, (lambda after: self(*args, **{**kwargs, "after": after}),))
        return found
