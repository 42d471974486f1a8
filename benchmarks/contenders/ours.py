"""The engine of this project."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.answers import Asked, Counts, Listing, Record
from benchmarks.contenders.base import Contender, recorded
from benchmarks.contenders.values import STORE
from benchmarks.measure import Task
from vsbatch_core import Engine, Page, SequentialIds, VectorStoreFile, VirtualClock
from vsbatch_core.encoding import to_json
from vsbatch_core.events import Event


class Ours(Contender):
    """An engine on a virtual clock, through its client face and its host face."""

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
        return self.engine.ingest.complete(self.id, id, usage_bytes=usage_bytes)

    def cancel(self, batch: int) -> object:
        """See ``Contender``."""
        return self.stores.file_batches.cancel(self.batches[batch], vector_store_id=self.id)

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        return self.stores.files.delete(id, vector_store_id=self.id)

    def page(self, asked: Asked) -> Page[VectorStoreFile]:
        """See ``Contender``."""
        return self._asking(asked)()

    def asking(self, asked: Asked) -> Task:
        """The call as a user writes it: what is not asked for is not passed."""
        return self._asking(asked)

    def _asking(self, asked: Asked) -> Callable[[], Page[VectorStoreFile]]:
        ask, id, limit = self.stores.files.list, self.id, asked.limit
        order: Any = asked.order
        filter: Any = asked.filter
        after, before = asked.after, asked.before
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

    def looking_at(self, id: str) -> Task:
        """See ``Contender``."""
        return partial(self.stores.files.retrieve, id, vector_store_id=self.id)

    def file(self, id: str) -> VectorStoreFile:
        """See ``Contender``."""
        return self.stores.files.retrieve(id, vector_store_id=self.id)

    def record(self, file: VectorStoreFile) -> Record:
        """See ``Contender``."""
        return recorded(file)

    def looking_at_counts(self, batch: int | None) -> Task:
        """See ``Contender``."""
        if batch is None:
            return partial(self.stores.retrieve, self.id)
        return partial(self.stores.file_batches.retrieve, self.batches[batch], vector_store_id=self.id)

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        value: Any = self.looking_at_counts(batch)()
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
