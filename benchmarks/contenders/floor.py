"""The physical floor: what each work costs if all that could be prepared was, and nothing else is kept.

A page is a slice of a list that lies ready, at a place that is known; a look is a look-up in a dict; a change is
a change of one dict.  Nobody can be faster in Python, and nobody could use it: after a change the lists are old,
and making new ones, which is not timed, takes time that grows with the store.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Mapping
from functools import partial
from operator import getitem
from typing import Any, ClassVar

from benchmarks.answers import Asked, Counts, Listing
from benchmarks.contenders.base import Contender, as_dict, dumped
from benchmarks.contenders.values import Found, Typed, made
from benchmarks.measure import Task
from vsbatch_core import VectorStoreFile
from vsbatch_core.model import FileStatus

State = int | str
"""The size of a file that completed, else its status."""


class Floor(Typed):
    """One dict, and prepared lists."""

    key, title = "floor", "floor"
    unable: ClassVar[Mapping[str, str]] = {"delete-walk": "its lists would be old after each deletion"}

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        """In the order of attachment, deleted files as well."""
        self.batches: dict[int, tuple[list[str], int]] = {}
        self.deleted: set[str] = set()
        self._old = True

    def attach(self, batch: int, ids: list[str], created_at: int) -> object:
        """See ``Contender``."""
        self.batches[batch] = ids, created_at
        self._old = True
        return self.states.update(dict.fromkeys(ids, "in_progress"))

    def complete(self, id: str, usage_bytes: int) -> object:
        """See ``Contender``."""
        self._old = True
        self.states[id] = usage_bytes
        return id

    def cancel(self, batch: int) -> object:
        """See ``Contender``."""
        states = self.states
        self._old = True
        return states.update([(id, "cancelled") for id in self.batches[batch][0] if states[id] == "in_progress"])

    def delete(self, id: str) -> None:
        """See ``Contender``."""
        self._old = True
        self.deleted.add(id)

    def _prepare(self) -> None:
        if not self._old:
            return
        files: list[VectorStoreFile] = []
        for ids, created_at in self.batches.values():
            for id in ids:
                state = self.states[id]
                status: Any = "completed" if isinstance(state, int) else state
                files.append(made(id, created_at, status, state if isinstance(state, int) else 0))
        self._files = {file.id: file for file in files}
        self._places = {file.id: place for place, file in enumerate(files)}
        self._attached = files
        self._lists: dict[FileStatus | None, list[VectorStoreFile]] = {}
        self._sizes: Counts | None = None
        self._old = False

    def _list(self, filter: str | None) -> list[VectorStoreFile]:
        self._prepare()
        key: Any = filter
        if key not in self._lists:
            self._lists[key] = [
                file for file in self._attached if filter in (None, file.status) and file.id not in self.deleted
            ]
        return self._lists[key]

    def _slice(self, asked: Asked) -> tuple[list[VectorStoreFile], slice, bool]:
        files = self._list(asked.filter)
        after, before = asked.after, asked.before
        if asked.order == "desc":
            after, before = before, after
        low, high = 0, len(files)
        if after is not None:
            place = self._places[after]
            low = next((i for i, file in enumerate(files) if self._places[file.id] > place), high)
        if before is not None:
            place = self._places[before]
            high = next((i for i, file in enumerate(files) if self._places[file.id] >= place), high)
        more = high - low > asked.limit
        from_behind = (asked.order == "desc") is not (asked.before is not None and asked.after is None)
        if from_behind:
            low = max(low, high - asked.limit)
        else:
            high = max(low, min(high, low + asked.limit))
        if asked.order == "desc":
            files = files[::-1]
            low, high = len(files) - high, len(files) - low
        return files, slice(low, high), more

    def page(self, asked: Asked) -> Found:
        """See ``Contender``.  What is timed is ``asking``."""
        files, wanted, more = self._slice(asked)
        return files[wanted], more

    def asking(self, asked: Asked) -> Task:
        """The slice alone."""
        files, wanted, _ = self._slice(asked)
        return partial(getitem, files, wanted)

    def listing(self, page: Any) -> Listing:
        """See ``Contender``.  A bare slice does not say whether there are more."""
        if isinstance(page, list):
            return Listing(super().listing((page, False)).records, None)
        return super().listing(page)

    def walk(self, limit: int) -> list[Any]:
        """See ``Contender``."""
        files = self._list(None)
        return [files[first : first + limit] for first in range(0, len(files), limit)]

    def looking_at(self, id: str) -> Task:
        """See ``Contender``."""
        self._prepare()
        return partial(getitem, self._files, id)

    def looking_at_counts(self, batch: int | None) -> Task:
        """See ``Contender``."""
        return partial(getitem, {batch: self.counts(batch)}, batch)

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        ids = self.states if batch is None else self.batches[batch][0]
        found = [0, 0, 0, 0]
        names = "in_progress", "completed", "failed", "cancelled"
        for id in ids:
            if batch is not None or id not in self.deleted:
                state = self.states[id]
                found[1 if isinstance(state, int) else names.index(state)] += 1
        return found[0], found[1], found[2], found[3]

    def asking_json(self, asked: Asked) -> Task:
        """See ``encoding``: the page is the texts."""
        return self.encoding(asked)

    def encoding(self, asked: Asked) -> Task:
        """The joining of texts that lie ready."""
        files, more = self.page(asked)
        whole = dumped([], more)
        head, tail = whole[: whole.index(b"[") + 1], whole[whole.index(b"]") :]
        tail = tail.replace(b"null", json.dumps(files[0].id).encode(), 1) if files else tail
        tail = tail.replace(b"null", json.dumps(files[-1].id).encode(), 1) if files else tail
        texts = [json.dumps(as_dict(file), separators=(",", ":")).encode() for file in files]
        return partial(joined, head, texts, tail)

    def save(self) -> bytes:
        """See ``Contender``."""
        return marshal.dumps((self.states, self.batches, self.deleted))

    def replaying(self, filling: Callable[[Contender], object]) -> Task:
        """The states, one after the other, into a dict."""
        first = Floor()
        filling(first)
        done: list[tuple[str, State]] = [(id, "in_progress") for id in first.states]
        done += [(id, state) for id, state in first.states.items() if state != "in_progress"]

        def replay() -> Floor:
            other = Floor()
            other.batches = first.batches
            states: dict[str, State] = other.states
            for id, state in done:  # one event after the other, as the engine takes them
                states[id] = state  # noqa: PERF403
            return other

        return replay

    @classmethod
    def load(cls, saved: bytes) -> Floor:
        """See ``Contender``."""
        loaded = cls()
        loaded.states, loaded.batches, loaded.deleted = marshal.loads(saved)  # noqa: S302 - saved just before
        return loaded


def joined(head: bytes, texts: list[bytes], tail: bytes) -> bytes:
    """The body of a page."""
    return head + b",".join(texts) + tail
