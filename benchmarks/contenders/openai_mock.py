"""The list method of openai-responses 0.13, a mock for tests: what its HTTP handlers call, without the HTTP.

Its own handler creates every file completed and knows no processing; here its values are set by hand, so that its
lists can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.contenders.base import Contender, Missing
from benchmarks.contenders.values import NOT_LISTS, STORE, Tallies
from benchmarks.model import Counts, Listing, Query, Record
from vsbatch_core.extras import pip_line

_LISTS = "it is measured with its lists alone: a mock, it has no processing"


class OpenAIResponses(Contender):
    """The store of a mock's state."""

    key, title = "openai-responses", "openai-responses"
    most = 10_000
    unable: ClassVar[Mapping[str, str]] = dict.fromkeys(NOT_LISTS, _LISTS)

    def __init__(self) -> None:
        try:
            module = import_module("openai_responses")
        except ImportError as error:
            raise Missing(f"{pip_line('bench-peers')}, which brings openai 2") from error
        types: Any = import_module("openai.types.vector_stores")
        self._make = types.VectorStoreFile
        self.files = module.OpenAIMock().state.vector_stores.files
        self._batches: dict[int, list[str]] = {}
        self._batch_of: dict[str, int] = {}
        self._tallies = Tallies()

    def attach(self, batch: int, ids: list[str], created_at: int) -> None:
        """See ``Contender``."""
        for id in ids:
            self.files.put(
                self._make(
                    id=id,
                    object="vector_store.file",
                    created_at=created_at,
                    status="in_progress",
                    usage_bytes=0,
                    vector_store_id=STORE,
                )
            )
        self._batches[batch] = ids
        self._batch_of.update(dict.fromkeys(ids, batch))
        self._tallies.begin(batch, len(ids))

    def complete(self, id: str, usage_bytes: int) -> object:
        """See ``Contender``."""
        file = self.files.get(id)
        file.status, file.usage_bytes = "completed", usage_bytes
        self._tallies.move(self._batch_of[id], "completed")
        return file

    def cancel(self, batch: int) -> None:
        """See ``Contender``."""
        n = 0
        for id in self._batches[batch]:
            file = self.files.get(id)
            if file is not None and file.status == "in_progress":
                file.status = "cancelled"
                n += 1
        self._tallies.move(batch, "cancelled", n)

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        self._tallies.store[self.files.get(id).status] -= 1
        return self.files.delete(id)

    def page(self, query: Query) -> list[Any]:
        """See ``Contender``."""
        found: list[Any] = self.files.list(
            STORE, str(query.limit), query.order, query.after, query.before, query.filter
        )
        return found

    def listing(self, page: list[Any]) -> Listing:
        """See ``Contender``.  Whether there are more its handler works out, wrongly; the list does not say."""
        return Listing(tuple(Record(f.id, f.created_at, f.status, f.usage_bytes) for f in page), None)

    def walk(self, limit: int) -> list[Any]:
        """See ``Contender``.  It goes on to an empty page, as pages do not say that there are no more."""
        pages = [self.page(Query(limit))]
        while pages[-1]:
            pages.append(self.page(Query(limit, after=pages[-1][-1].id)))
        return pages

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        return self._tallies.counts(batch)
