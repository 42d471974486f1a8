"""The contenders with filled stores, and the model of what is in them; made when they are first needed."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from benchmarks.contenders import CONTENDERS, Contender, Missing
from benchmarks.contenders.ours import Ours
from benchmarks.model import Counts, Model

T = TypeVar("T")
BATCH = 2000
START = 1_700_000_000
"""When the first batch was made, in seconds since the Unix epoch."""
USAGE = 1000
"""The size of each file that is completed, in bytes."""


APART = 60
"""How far apart places are that pages of 20 can be read from, filtered ones too, without touching each other."""


class WrongResult(Exception):
    """A contender returned something else than the model; the message gives both."""


def file_ids(n: int, prefix: str = "file-", first: int = 0) -> list[str]:
    """Return ``n`` ids, as long as the API's."""
    return [f"{prefix}{i:024x}" for i in range(first, first + n)]


def fill(into: Contender | Model, n: int) -> None:
    """Attach ``n`` files in batches of up to 2,000, a second apart; complete every second one."""
    ids = file_ids(n)
    for number, first in enumerate(range(0, n, BATCH)):
        into.attach(number, ids[first : first + BATCH], START + number)
    if isinstance(into, Model):
        for id in ids[::2]:
            into.complete(id, USAGE)
    else:
        into.complete_many(ids[::2], USAGE)


class Filled:
    """A contender with a store of ``n`` files, and what the next changes are."""

    def __init__(self, kind: type[Contender], n: int) -> None:
        self.kind, self.n = kind, n
        self._begin()

    def _begin(self) -> None:
        self.contender = self.kind()
        try:
            fill(self.contender, self.n)
        except BaseException:  # Ctrl-C too: it may have a server of its own
            self.contender.close()
            raise
        self.expected = self.contender.counts()
        self.extra = 0
        self._batches = count(-(-self.n // BATCH))
        self._unfinished = file_ids(self.n)[1::2]
        random.Random(self.n).shuffle(self._unfinished)
        self.read_again()

    def pids(self) -> tuple[int, ...]:
        """Return the ids of the other processes that work for the contender, which change when it is renewed."""
        return self.contender.pids()

    def renew(self) -> None:
        """Make the contender again with ``n`` files; raise ``WrongResult`` if the last one's counts are wrong."""
        self.verify()
        self.contender.close()
        self._begin()

    def fresh_batch(self, n: int) -> tuple[int, list[str], int]:
        """Return the number, the ids and the time of a batch to attach."""
        number = next(self._batches)
        self.extra += n
        return number, file_ids(n, f"file-{number:x}-"), START + number

    def unfinished(self, n: int) -> list[str]:
        """Return the next ``n`` files in progress, scattered over the store; fewer if there are no more."""
        taken = self._unfinished[-n:]
        del self._unfinished[-n:]
        return taken

    @property
    def left(self) -> int:
        """Return how many of the first ``n`` files are still in progress."""
        return len(self._unfinished)

    def read_again(self) -> None:
        """Let ``unread`` begin anew, for a contender that keeps nothing of what was read."""
        self._unread = list(range(0, self.n - APART, APART))
        random.Random(self.n).shuffle(self._unread)

    @property
    def unread(self) -> list[int]:
        """The places, scattered over the store, after which no page was read: take them from the end."""
        return self._unread

    def scattered(self, ids: list[str]) -> list[str]:
        """Return the ids in another order, always the same."""
        return random.Random(len(ids)).sample(ids, len(ids))

    def expect(self, change: Counts) -> None:
        """Note how the counts of the store change."""
        a, b, c, d = (old + more for old, more in zip(self.expected, change, strict=True))
        self.expected = a, b, c, d

    def verify(self) -> None:
        """Raise ``WrongResult`` unless the store's counts are the sum of all changes."""
        found = self.contender.counts()
        if found != self.expected:
            raise WrongResult(f"counts {found}; right: {self.expected}")


class Fixtures:
    """The contenders and models that were filled so far.  Must be closed, as databases and servers must."""

    def __init__(self, contenders: Sequence[type[Contender]] = CONTENDERS, folder: str | None = None) -> None:
        self.contenders = list(contenders)
        self.folder = folder
        """Where databases are put; where temporary files are, if it is not given."""
        self.missing: dict[str, str] = {}
        """By contender that cannot run here, what to install."""
        self._filled: dict[tuple[str, int], Filled] = {}
        self._models: dict[int, Model] = {}
        self._kept = ExitStack()
        self._once: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every contender, and what else was kept."""
        try:
            self._kept.close()
        finally:
            while self._filled:
                _, filled = self._filled.popitem()
                filled.contender.close()
            gc.unfreeze()

    def keep(self, opened: AbstractContextManager[T]) -> T:
        """Enter a context that is left when the fixtures are closed; return what it gives."""
        return self._kept.enter_context(opened)

    def keep_once(self, name: str, opening: Callable[[], AbstractContextManager[Any]]) -> Any:
        """Do the same once for each name; return what was entered."""
        if name not in self._once:
            self._once[name] = self.keep(opening())
        return self._once[name]

    def call_at_end(self, callback: Callable[[], object]) -> None:
        """Call this when the fixtures are closed."""
        self._kept.callback(callback)

    def disk(self) -> Path:
        """Return a folder on the disk that is measured; it is removed when the fixtures are closed."""
        return Path(self.keep_once("disk", partial(TemporaryDirectory, prefix="vsbatch-", dir=self.folder)))

    def present(self) -> Iterator[type[Contender]]:
        """Return the contenders that can run here, as far as is known."""
        return (kind for kind in self.contenders if kind.key not in self.missing)

    def try_all(self) -> None:
        """Try which contenders can run here."""
        for kind in self.contenders:
            with suppress(Missing):
                self.made(kind, 0)

    def made(self, kind: type[Contender], n: int) -> Filled:
        """Return the contender with a store of ``n`` files; raise ``Missing``, and note it, if it cannot run."""
        if (kind.key, n) not in self._filled:
            try:
                self._filled[kind.key, n] = Filled(kind, n)
            except Missing as error:
                self.missing[kind.key] = str(error)
                raise
            # What is there now stays: the collector need not look through it again and again.
            gc.collect()
            gc.freeze()
        return self._filled[kind.key, n]

    def ours(self, n: int) -> Ours:
        """Return the engine with ``n`` files."""
        contender = self.made(Ours, n).contender
        assert isinstance(contender, Ours)
        return contender

    def model(self, n: int) -> Model:
        """Return the model of ``n`` files, unchanged since it was filled."""
        if n not in self._models:
            self._models[n] = Model()
            fill(self._models[n], n)
            gc.freeze()
        return self._models[n]
