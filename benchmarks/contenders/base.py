"""The interface of a contender: one vector store with its files and batches, kept in one way or another.

Batches are numbers, from 0 on.  File ids are new each time: nothing is attached twice.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self

from benchmarks.measure import Task
from benchmarks.model import Counts, Listing, Query, Record
from vsbatch_core import VectorStoreFile


class Missing(Exception):
    """A contender cannot run here; the message says what to install."""


class Contender(ABC):
    """One way to keep a store.  It returns values of its own, which ``listing`` and ``record`` translate."""

    key: ClassVar[str]
    """By which it is known in results, and drawn in the same colour everywhere."""

    title: ClassVar[str]
    """What it is, in a few words."""

    unable: ClassVar[Mapping[str, str]] = {}
    """By the first word of the name of a work: why it takes no part in that."""

    most: ClassVar[int] = 1_000_000
    """The largest store that it is tried with."""

    def __init__(self) -> None:  # noqa: B027 - most have something to begin with, all may be made with nothing
        """Make an empty store; raise ``Missing`` if it cannot run here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - few have anything to close
        """Release what it holds outside of Python's heap."""

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

    # Reads

    @abstractmethod
    def page(self, query: Query) -> Any:
        """Return a page of the store's files."""

    @abstractmethod
    def listing(self, page: Any) -> Listing:
        """Return the page as the model writes it."""

    def querying(self, query: Query) -> Task:
        """Return the function that is timed for a page."""
        return partial(self.page, query)

    def walk(self, limit: int) -> list[Any]:
        """Return all pages, the oldest file first."""
        pages = [self.page(Query(limit))]
        while (last := self.cursor(pages[-1])) is not None:
            pages.append(self.page(Query(limit, after=last)))
        return pages

    def cursor(self, page: Any) -> str | None:
        """Return the last id on a page that others follow, else ``None``."""
        return self.last(page) if self.listing_more(page) else None

    def last(self, page: Any) -> str:
        """Return the last id on a page."""
        return self.rows(page)[-1].id  # type: ignore[no-any-return]  # whatever its files are, they have ids

    def reading(self, id: str) -> Task:
        """Return the function that is timed for reading a file."""
        return partial(self.file, id)

    def file(self, id: str) -> Any:
        """Return one file."""
        raise NotImplementedError  # called only where ``unable`` does not name it

    def record(self, file: Any) -> Record:
        """Return the file as the model writes it."""
        raise NotImplementedError  # called only where ``unable`` does not name it

    def reading_counts(self, batch: int | None) -> Task:
        """Return the function that is timed for reading a batch, or the store, with its counts."""
        return partial(self.tally, batch)

    def tally(self, batch: int | None) -> Any:
        """Return a batch, or the store, with its counts."""
        raise NotImplementedError  # called only where ``unable`` does not name it

    @abstractmethod
    def counts(self, batch: int | None = None) -> Counts:
        """Return how many files of a batch, or of the store, have each status; never timed."""

    # JSON

    def querying_json(self, query: Query) -> Task:
        """Return the function that is timed for a page as a response body: queried and encoded."""
        return lambda: self.encode(self.page(query))

    def encode(self, page: Any) -> bytes:
        """Return a page as a response body; most build dicts for it."""
        return dumped([self.as_dict(file) for file in self.rows(page)], self.listing_more(page))

    def encoding(self, query: Query) -> Task:
        """Return the function that is timed for encoding a page as a response body."""
        return partial(self.encode, self.page(query))

    def rows(self, page: Any) -> Sequence[Any]:
        """Return the files of a page."""
        return page[0]  # type: ignore[no-any-return]  # most return a pair: the files, whether there are more

    def listing_more(self, page: Any) -> bool:
        """Return whether a page says that there are more."""
        return page[1]  # type: ignore[no-any-return]  # as above

    def as_dict(self, file: Any) -> dict[str, Any]:
        """Return a file as the API's object."""
        return as_dict(file)

    # Saving

    def save(self) -> bytes:
        """Return all of it, as bytes that could be written to a file."""
        raise NotImplementedError  # called only where ``unable`` does not name it

    def replaying(self, filling: Callable[[Contender], object]) -> Task:
        """Return the function that is timed for a replay of what ``filling`` does; it returns a new contender."""
        raise NotImplementedError  # called only where ``unable`` does not name it

    @classmethod
    def load(cls, saved: bytes) -> Contender:
        """Return a new contender with what ``save`` returned."""
        raise NotImplementedError  # called only where ``unable`` does not name it


def as_dict(file: VectorStoreFile) -> dict[str, Any]:
    """Return a typed value as the API's object."""
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
    """Return the body of a page, encoded by ``json.dumps``."""
    page = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }
    return json.dumps(page, separators=(",", ":")).encode()


def recorded(file: VectorStoreFile) -> Record:
    """Return the record of a typed value."""
    return Record(file.id, file.created_at, file.status, file.usage_bytes)
