"""The physical floor: what each work costs if all that could be prepared was, and nothing else is kept.

A page is a slice of a prepared list, at a known place; a read is a look-up in a dict; a change is a look-up and a
change of one list.  Nothing can be faster in Python, and it is of no use: after a change the lists are old, and
making new ones, which is not timed, takes time that grows with the store.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Mapping
from functools import partial
from operator import getitem
from typing import Any, ClassVar

from benchmarks.contenders.base import Contender, as_dict, dumped
from benchmarks.contenders.values import Found, Typed, made
from benchmarks.measure import Task
from benchmarks.model import STATUSES, Counts, Listing, Query
from vsbatch_core import VectorStoreFile
from vsbatch_core.model import FileStatus

State = int | str
"""The size of a file that completed, else its status."""


class Floor(Typed):
    """A dict of places, a list of states, and prepared lists."""

    key, title = "floor", "floor"
    unable: ClassVar[Mapping[str, str]] = {"delete-walk": "its lists would be old after each deletion"}

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.states: list[State] = []
        """In the order of attachment, deleted files as well."""
        self.batches: dict[int, tuple[int, list[str], int]] = {}
        """The place of the first file, the ids, and when they were attached."""
        self.deleted: set[str] = set()
        self._old = True

    def attach(self, batch: int, ids: list[str], created_at: int) -> None:
        """See ``Contender``."""
        first = len(self.states)
        self.places.update(zip(ids, range(first, first + len(ids)), strict=True))
        self.states += ["in_progress"] * len(ids)
        self.batches[batch] = first, ids, created_at
        self._old = True

    def complete(self, id: str, usage_bytes: int) -> object:
        """See ``Contender``."""
        self._old = True
        self.states[self.places[id]] = usage_bytes
        return id

    def cancel(self, batch: int) -> None:
        """See ``Contender``."""
        first, ids, _ = self.batches[batch]
        rows = slice(first, first + len(ids))
        self.states[rows] = ["cancelled" if state == "in_progress" else state for state in self.states[rows]]
        self._old = True

    def delete(self, id: str) -> None:
        """See ``Contender``."""
        self._old = True
        self.deleted.add(id)

    def _prepare(self) -> None:
        if not self._old:
            return
        files: list[VectorStoreFile] = []
        for first, ids, created_at in self.batches.values():
            for id, state in zip(ids, self.states[first:], strict=False):
                status: Any = "completed" if isinstance(state, int) else state
                files.append(made(id, created_at, status, state if isinstance(state, int) else 0))
        self._files = {file.id: file for file in files}
        self._attached = files
        self._lists: dict[FileStatus | None, list[VectorStoreFile]] = {}
        self._old = False

    def _list(self, filter: str | None) -> list[VectorStoreFile]:
        self._prepare()
        key: Any = filter
        if key not in self._lists:
            self._lists[key] = [
                file for file in self._attached if filter in (None, file.status) and file.id not in self.deleted
            ]
        return self._lists[key]

    def _slice(self, query: Query) -> tuple[list[VectorStoreFile], slice, bool]:
        files = self._list(query.filter)
        after, before = query.after, query.before
        if query.order == "desc":
            after, before = before, after
        low, high = 0, len(files)
        if after is not None:
            place = self.places[after]
            low = next((i for i, file in enumerate(files) if self.places[file.id] > place), high)
        if before is not None:
            place = self.places[before]
            high = next((i for i, file in enumerate(files) if self.places[file.id] >= place), high)
        more = high - low > query.limit
        from_behind = (query.order == "desc") is not (query.before is not None and query.after is None)
        if from_behind:
            low = max(low, high - query.limit)
        else:
            high = max(low, min(high, low + query.limit))
        if query.order == "desc":
            files = files[::-1]
            low, high = len(files) - high, len(files) - low
        return files, slice(low, high), more

    def page(self, query: Query) -> Found:
        """See ``Contender``.  What is timed is ``asking``."""
        files, wanted, more = self._slice(query)
        return files[wanted], more

    def querying(self, query: Query) -> Task:
        """Return a function that slices, and nothing else."""
        files, wanted, _ = self._slice(query)
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

    def reading(self, id: str) -> Task:
        """See ``Contender``."""
        self._prepare()
        return partial(getitem, self._files, id)

    def reading_counts(self, batch: int | None) -> Task:
        """See ``Contender``."""
        return partial(getitem, {batch: self.counts(batch)}, batch)

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        _, ids, _ = (0, list(self.places), 0) if batch is None else self.batches[batch]
        found = [0, 0, 0, 0]
        for id in ids:
            if batch is not None or id not in self.deleted:
                state = self.states[self.places[id]]
                found[1 if isinstance(state, int) else STATUSES.index(state)] += 1
        return found[0], found[1], found[2], found[3]

    def querying_json(self, query: Query) -> Task:
        """See ``encoding``: the page is the texts."""
        return self.encoding(query)

    def encoding(self, query: Query) -> Task:
        """Return a function that joins prepared texts."""
        files, more = self.page(query)
        whole = dumped([], more)
        head, tail = whole[: whole.index(b"[") + 1], whole[whole.index(b"]") :]
        tail = tail.replace(b"null", json.dumps(files[0].id).encode(), 1) if files else tail
        tail = tail.replace(b"null", json.dumps(files[-1].id).encode(), 1) if files else tail
        texts = [json.dumps(as_dict(file), separators=(",", ":")).encode() for file in files]
        return partial(joined, head, texts, tail)

    def save(self) -> bytes:
        """See ``Contender``."""
        return marshal.dumps((self.places, self.states, self.batches, self.deleted))

    def replaying(self, filling: Callable[[Contender], object]) -> Task:
        """Return a function that puts the states, one after the other, where they belong."""
        first = Floor()
        filling(first)
        ended = [(id, first.states[place]) for id, place in first.places.items()]
        done = [(id, state) for id, state in ended if state != "in_progress"]

        def replay() -> Floor:
            other = Floor()
            for batch, (_, ids, created_at) in first.batches.items():
                other.attach(batch, ids, created_at)
            places, states = other.places, other.states
            for id, state in done:
                states[places[id]] = state
            return other

        return replay

    @classmethod
    def load(cls, saved: bytes) -> Floor:
        """See ``Contender``."""
        loaded = cls()
        kept = marshal.loads(saved)  # noqa: S302 - what was saved just before
        loaded.places, loaded.states, loaded.batches, loaded.deleted = kept
        return loaded


def joined(head: bytes, texts: list[bytes], tail: bytes) -> bytes:
    """Return the body of a page."""
    return head + b",".join(texts) + tail
