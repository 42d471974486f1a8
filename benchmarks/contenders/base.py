"""What a contender is: one vector store with its files and batches, kept in one way or another.

Batches are numbers, from 0 on.  File ids are new each time: nothing is attached twice.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self

from benchmarks.answers import Asked, Counts, Listing, Record
from benchmarks.measure import Task
from vsbatch_core import VectorStoreFile


class Missing(Exception):
    """A contender cannot run here; the message says what to install."""


class Contender(ABC):
    """One way to keep a store.  What it answers with is its own; ``listing`` and ``record`` say what it means."""

    key: ClassVar[str]
    """By which it is known in results, and drawn in the same colour everywhere."""

    title: ClassVar[str]
    """What it is, in a few words."""

    unable: ClassVar[Mapping[str, str]] = {}
    """By the first word of the name of a work: why it takes no part in that."""

    most: ClassVar[int] = 1_000_000
    """The largest store that it is tried with."""

    def __init__(self) -> None:  # noqa: B027 - most have something to begin with, all may be made with nothing
        """Begin an empty store; raise ``Missing`` if it cannot run here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - few have anything to close
        """Let go of what it holds outside of Python's heap."""

    def pids(self) -> tuple[int, ...]:
        """Return the ids of other processes that work for it: their memory and CPU time are part of its cost."""
        return ()

    # Changes

    @abstractmethod
    def attach(self, batch: int, ids: list[str], created_at: int) -> object:
        """Attach a batch of files, in progress."""

    @abstractmethod
    def complete(self, id: str, usage_bytes: int) -> object:
        """Complete a file, with the counts of its batch and of the store."""

    def complete_many(self, ids: Sequence[str], usage_bytes: int) -> object:
        """Complete many files; in one transaction if it has any, else one after the other."""
        for id in ids:
            self.complete(id, usage_bytes)
        return None

    @abstractmethod
    def cancel(self, batch: int) -> object:
        """Cancel the files of a batch that are in progress."""

    @abstractmethod
    def delete(self, id: str) -> object:
        """Take a file out of the store's list; its id stays good as a cursor."""

    # Looks

    @abstractmethod
    def page(self, asked: Asked) -> Any:
        """A page of the store's files."""

    @abstractmethod
    def listing(self, page: Any) -> Listing:
        """What the page says."""

    def asking(self, asked: Asked) -> Task:
        """What is timed for a page."""
        return partial(self.page, asked)

    def walk(self, limit: int) -> list[Any]:
        """All pages, the oldest file first."""
        pages = [self.page(Asked(limit))]
        while (last := self.cursor(pages[-1])) is not None:
            pages.append(self.page(Asked(limit, after=last)))
        return pages

    def cursor(self, page: Any) -> str | None:
        """The last id on a page that others follow, else ``None``."""
        return self.last(page) if self.listing_more(page) else None

    def last(self, page: Any) -> str:
        """The last id on a page."""
        return self.rows(page)[-1].id  # type: ignore[no-any-return]  # whatever its files are, they have ids

    def looking_at(self, id: str) -> Task:
        """What is timed for a look at a file."""
        return partial(self.file, id)

    def file(self, id: str) -> Any:
        """One file."""
        raise NotImplementedError  # asked only of those whose ``unable`` does not name it

    def record(self, file: Any) -> Record:
        """What a file says."""
        raise NotImplementedError  # asked only of those whose ``unable`` does not name it

    def looking_at_counts(self, batch: int | None) -> Task:
        """What is timed for a look at a batch, or at the store, with its counts."""
        return partial(self.tally, batch)

    def tally(self, batch: int | None) -> Any:
        """A batch, or the store, with its counts."""
        raise NotImplementedError  # asked only of those whose ``unable`` does not name it

    @abstractmethod
    def counts(self, batch: int | None = None) -> Counts:
        """How many files of a batch, or of the store, stand in each status; never timed."""

    # JSON

    def asking_json(self, asked: Asked) -> Task:
        """What is timed for a page as the body of the API's answer, asked for and encoded."""
        return lambda: self.encode(self.page(asked))

    def encode(self, page: Any) -> bytes:
        """A page that is at hand as the body of the API's answer; usually by way of freshly built dicts."""
        return dumped([self.as_dict(file) for file in self.rows(page)], self.listing_more(page))

    def encoding(self, asked: Asked) -> Task:
        """What is timed for turning a page that is at hand into a body."""
        return partial(self.encode, self.page(asked))

    def rows(self, page: Any) -> Sequence[Any]:
        """The files of a page."""
        return page[0]  # type: ignore[no-any-return]  # most answer a pair: the files, whether there are more

    def listing_more(self, page: Any) -> bool:
        """Whether a page says that there are more."""
        return page[1]  # type: ignore[no-any-return]  # as above

    def as_dict(self, file: Any) -> dict[str, Any]:
        """A file as the API's object."""
        return as_dict(file)

    # Saving

    def save(self) -> bytes:
        """All of it, as bytes that could be written to a file."""
        raise NotImplementedError  # asked only of those whose ``unable`` does not name it

    def replaying(self, filling: Callable[[Contender], object]) -> Task:
        """What is timed for a replay of what ``filling`` does: it answers a contender that has taken it in."""
        raise NotImplementedError  # asked only of those whose ``unable`` does not name it

    @classmethod
    def load(cls, saved: bytes) -> Contender:
        """What ``save`` was asked of, again."""
        raise NotImplementedError  # asked only of those whose ``unable`` does not name it


def as_dict(file: VectorStoreFile) -> dict[str, Any]:
    """A typed value as the API's object, built the plain way."""
    error, static = file.last_error, file.chunking_strategy.static
    return {
        "id": file.id,
        "object": "vector_store.file",
        "created_at": file.created_at,
        "usage_bytes": file.usage_bytes,
        "vector_store_id": file.vector_store_id,
        "status": file.status,
        "last_error": None if error is None else {"code": error.code, "message": error.message},
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": static.max_chunk_size_tokens,
                "chunk_overlap_tokens": static.chunk_overlap_tokens,
            },
        },
        "attributes": dict(file.attributes),
    }


def dumped(data: list[dict[str, Any]], more: bool) -> bytes:
    """The body of a page, through ``json.dumps``."""
    page = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }
    return json.dumps(page, separators=(",", ":")).encode()


def recorded(file: VectorStoreFile) -> Record:
    """What a typed value says."""
    return Record(file.id, file.created_at, file.status, file.usage_bytes)
