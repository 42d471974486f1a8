"""The list method of OGX 1.5, a server: what its HTTP handlers call, over its own key-value store in memory.

The files are put where its own methods would have put them; the method is called without an event loop, as it
waits for nothing, which favours it.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.contenders.base import Contender, Missing
from benchmarks.contenders.values import NOT_LISTS, STORE, Tallies
from benchmarks.model import Counts, Listing, Query, Record
from vsbatch_core.extras import pip_line

_LISTS = "it is measured with its lists alone: its changes need a server with a model"


class Ogx(Contender):
    """A vector store of OGX, without the vectors."""

    key, title = "ogx", "OGX"
    most = 10_000
    unable: ClassVar[Mapping[str, str]] = dict.fromkeys(NOT_LISTS, _LISTS)

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # what it uses of others is not ours to mend
                mixin: Any = import_module("ogx.providers.utils.memory.openai_vector_store_mixin")
                kvstore: Any = import_module("ogx.core.storage.kvstore.kvstore")
        except ImportError as error:
            raise Missing(f"{pip_line('bench-peers')} ({error})") from error
        logging.disable(logging.INFO)
        # All that it leaves to a vector database is abstract, and is not called here.
        base = mixin.OpenAIVectorStoreMixin
        whole = type("Whole", (base,), dict.fromkeys(base.__abstractmethods__, _not_called))
        self._kept: Any = whole(inference_api=object(), kvstore=kvstore.InmemoryKVStoreImpl())
        self._info: dict[str, Any] = {"id": STORE, "file_ids": []}
        self._kept.openai_vector_stores[STORE] = self._info
        self._files: dict[str, dict[str, Any]] = {}
        self._batch_of: dict[str, int] = {}
        self._tallies = Tallies()

    def _put(self, id: str) -> None:
        done(self._kept._save_openai_vector_store_file(STORE, id, self._files[id], []))

    def attach(self, batch: int, ids: list[str], created_at: int) -> None:
        """See ``Contender``."""
        for id in ids:
            self._files[id] = {
                "id": id,
                "object": "vector_store.file",
                "created_at": created_at,
                "status": "in_progress",
                "usage_bytes": 0,
                "vector_store_id": STORE,
                "chunking_strategy": {"type": "auto"},
                "attributes": {},
            }
            self._batch_of[id] = batch
            self._put(id)
        self._info["file_ids"] += ids
        self._tallies.begin(batch, len(ids))

    def complete(self, id: str, usage_bytes: int) -> None:
        """See ``Contender``."""
        self._files[id].update(status="completed", usage_bytes=usage_bytes)
        self._tallies.move(self._batch_of[id], "completed")
        self._put(id)

    def cancel(self, batch: int) -> None:
        """See ``Contender``."""
        ids = [id for id, of in self._batch_of.items() if of == batch and id in self._info["file_ids"]]
        moved = [id for id in ids if self._files[id]["status"] == "in_progress"]
        for id in moved:
            self._files[id]["status"] = "cancelled"
            self._put(id)
        self._tallies.move(batch, "cancelled", len(moved))

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        self._tallies.store[self._files[id]["status"]] -= 1
        return self._info["file_ids"].remove(id)

    def page(self, query: Query) -> Any:
        """See ``Contender``."""
        return done(
            self._kept.openai_list_files_in_vector_store(
                STORE, query.limit, query.order, query.after, query.before, query.filter
            )
        )

    def listing(self, page: Any) -> Listing:
        """See ``Contender``."""
        files = [Record(f.id, f.created_at, f.status, f.usage_bytes) for f in page.data]
        return Listing(tuple(files), page.has_more)

    def rows(self, page: Any) -> Any:
        """See ``Contender``."""
        return page.data

    def listing_more(self, page: Any) -> bool:
        """See ``Contender``."""
        return bool(page.has_more)

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        return self._tallies.counts(batch)


def done(coroutine: Any) -> Any:
    """Return the result of a coroutine that waits for nothing; raise ``RuntimeError`` if it does wait."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return returned.value
    coroutine.close()
    raise RuntimeError("it waits for something: it cannot be called without an event loop")


async def _not_called(*_args: object, **_named: object) -> None:
    await asyncio.sleep(0)
    raise NotImplementedError  # the vector database behind it: a list does not ask it
