"""The engine of this project."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.contenders.base import Contender, recorded
from benchmarks.contenders.values import STORE
from benchmarks.measure import Task
from benchmarks.model import Counts, Listing, Query, Record
from vsbatch_core import Engine, Page, SequentialIds, VectorStoreFile, VirtualClock
from vsbatch_core.encoding import to_json
from vsbatch_core.events import Event


class Ours(Contender):
    """An engine on a virtual clock, through its client API and its host API."""

    key, title = "ours", "ours"

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(clock=VirtualClock(), ids=SequentialIds())
        self.stores = self.engine.vector_stores
        self.id = STORE if engine else self.stores.create(name="bench").id
        self.batches: dict[int, str] = {}

    def attach(self, batch: int, ids: list[str], created_at: int) -> object:
        """See ``Contender``."""
        clock: Any = self.engine.clock
        if created_at > clock.time():
            clock.advance_to(created_at)
        made = self.stores.file_batches.create(self.id, file_ids=ids)
        self.batches[batch] = made.id
        return made

    def complete(self, id: str, usage_bytes: int) -> VectorStoreFile:
        """See ``Contender``."""
        return self.engine.processing.complete(self.id, id, usage_bytes=usage_bytes)

    def complete_many(self, ids: Sequence[str], usage_bytes: int) -> None:
        """See ``Contender``."""
        self.engine.processing.complete_many(self.id, ids, usage_bytes=usage_bytes)

    def cancel(self, batch: int) -> object:
        """See ``Contender``."""
        return self.stores.file_batches.cancel(self.batches[batch], vector_store_id=self.id)

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        return self.stores.files.delete(id, vector_store_id=self.id)

    def page(self, query: Query) -> Page[VectorStoreFile]:
        """See ``Contender``."""
        return self._querying(query)()

    def querying(self, query: Query) -> Task:
        """Return the call as a user writes it: only the arguments that are needed are passed."""
        return self._querying(query)

    def _querying(self, query: Query) -> Callable[[], Page[VectorStoreFile]]:
        ask, id, limit = self.stores.files.list, self.id, query.limit
        order: Any = query.order
        filter: Any = query.filter
        after, before = query.after, query.before
        # Written out, and no partial: to merge keywords into a call costs more than to slice a list.
        calls: dict[tuple[bool, bool, bool], Callable[[], Page[VectorStoreFile]]] = {
            (False, False, False): lambda: ask(id, limit=limit, order=order),
            (True, False, False): lambda: ask(id, limit=limit, order=order, after=after),
            (False, True, False): lambda: ask(id, limit=limit, order=order, before=before),
            (False, False, True): lambda: ask(id, limit=limit, order=order, filter=filter),
            (True, False, True): lambda: ask(id, limit=limit, order=order, after=after, filter=filter),
        }
        return calls.get(
            (after is not None, before is not None, filter is not None),
            lambda: ask(id, limit=limit, order=order, after=after, before=before, filter=filter),
        )

    def listing(self, page: Page[VectorStoreFile]) -> Listing:
        """See ``Contender``."""
        return Listing(tuple(map(recorded, page.data)), page.has_more)

    def walk(self, limit: int) -> list[Page[VectorStoreFile]]:
        """See ``Contender``."""
        return list(self.stores.files.list(self.id, limit=limit, order="asc").iter_pages())

    def reading(self, id: str) -> Task:
        """See ``Contender``."""
        return partial(self.stores.files.retrieve, id, vector_store_id=self.id)

    def file(self, id: str) -> VectorStoreFile:
        """See ``Contender``."""
        return self.stores.files.retrieve(id, vector_store_id=self.id)

    def record(self, file: VectorStoreFile) -> Record:
        """See ``Contender``."""
        return recorded(file)

    def reading_counts(self, batch: int | None) -> Task:
        """See ``Contender``."""
        if batch is None:
            return partial(self.stores.retrieve, self.id)
        return partial(self.stores.file_batches.retrieve, self.batches[batch], vector_store_id=self.id)

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        value: Any = self.reading_counts(batch)()
        counts = value.file_counts
        return counts.in_progress, counts.completed, counts.failed, counts.cancelled

    def encode(self, page: Page[VectorStoreFile]) -> bytes:
        """See ``Contender``."""
        return to_json(page)

    def rows(self, page: Page[VectorStoreFile]) -> tuple[VectorStoreFile, ...]:
        """See ``Contender``."""
        return page.data

    def listing_more(self, page: Page[VectorStoreFile]) -> bool:
        """See ``Contender``."""
        return page.has_more

    def save(self) -> bytes:
        """See ``Contender``."""
        return json.dumps(self.engine.snapshot(), separators=(",", ":")).encode()

    def replaying(self, filling: Callable[[Contender], object]) -> Task:
        """See ``Contender``."""
        events: list[Event] = []
        first = Engine(clock=VirtualClock(), ids=SequentialIds())
        first.subscribe(events.append)
        first.vector_stores.create(name="bench")
        filling(Ours(first))

        def replay() -> Ours:
            engine = Engine()
            engine.replay(events)
            return Ours(engine)

        return replay

    @classmethod
    def load(cls, saved: bytes) -> Ours:
        """See ``Contender``."""
        return cls(Engine.restore(json.loads(saved)))
