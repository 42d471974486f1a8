"""Write ``durable-1.db`` and ``durable-1.json`` beside this file: ``python tests/journal/golden/make.py``.

The file is of format 1, which every later version must open and find equal to the JSON.  It is written once for
each format, by the version that begins it, and then never again.  It has a snapshot, frames before it that were
not pruned and frames after it, and every event and change of claims that there is.
"""

from __future__ import annotations

import json
from pathlib import Path

from vsbatch_core import Completed, Engine, Failed, Profile, SequentialIds, VirtualClock, events
from vsbatch_core.journal.log import FORMAT

HERE = Path(__file__).parent
START = 1_700_000_000.0


def everything(engine: Engine, clock: VirtualClock) -> None:
    """Make every kind of event happen, once in plain and once with all that it can hold."""
    stores, work = engine.vector_stores, engine.processing
    docs = stores.create(name="docs ☃", description="all", metadata={"a": "1"}, file_ids=["file-0"])
    brief = stores.create(name="brief", expires_after={"anchor": "last_active_at", "days": 1})
    gone = stores.create()
    stores.update(docs.id, name="documents", metadata={"b": "2"})
    stores.files.create(docs.id, file_id="file-1", attributes={"page": 1.5, "new": True, "of": "x"})
    stores.files.create(docs.id, file_id="file-2", chunking_strategy={"type": "auto"})
    stores.files.update("file-1", vector_store_id=docs.id, attributes={"page": 2.0})
    work.complete(docs.id, "file-1", usage_bytes=1_000)
    work.fail(docs.id, "file-2", code="invalid_file", message="no text")
    stores.files.delete("file-2", vector_store_id=docs.id)
    batch = stores.file_batches.create(docs.id, file_ids=[f"file-{i}" for i in range(3, 12)])
    work.complete_many(docs.id, ["file-3", "file-4"], usage_bytes=[1, 70_000])
    work.fail_many(docs.id, ["file-5"])
    claims = work.claim(5, worker="w", vector_store_id=docs.id)
    work.finish([Completed(claims[0], usage_bytes=5), Failed(claims[1], retry=True), Failed(claims[2])])
    work.release(claims[3:4])
    clock.advance(10.5)
    stores.file_batches.cancel(batch.id, vector_store_id=docs.id)
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 100}}
    stores.file_batches.create(
        docs.id,
        files=[
            {"file_id": "file-20", "attributes": {"a": "b"}},
            {"file_id": "file-21", "chunking_strategy": strategy},
        ],
    )
    work.claim(1, worker="w", lease_seconds=3600.0, vector_store_id=docs.id)
    for key in ("key-1", "key-1", "key-2"):
        stores.create(name="keyed", idempotency_key=f"{docs.id} {key}")
        stores.files.create(docs.id, file_id="file-30", idempotency_key=key)
        stores.file_batches.create(docs.id, file_ids=["file-31"], idempotency_key=f"{key} of a batch")
    work.complete(docs.id, "file-31")
    work.purge(docs.id, older_than=0)
    stores.delete(gone.id)
    clock.advance(2 * 86_400.0)
    stores.retrieve(brief.id)  # it has expired


def make(path: Path) -> Engine:
    """Return an engine on a new file, in which everything has happened."""
    clock = VirtualClock(START)
    profile = Profile(cancel="drain")
    engine = Engine.open(f"sqlite:///{path}", clock=clock, ids=SequentialIds(), profile=profile)
    everything(engine, clock)
    engine.compact()
    everything(engine, clock)
    return engine


def main() -> None:
    """Write both files, unless they are there."""
    path = HERE / f"durable-{FORMAT}.db"
    if path.exists():
        raise SystemExit(f"{path} is there: it is kept for ever")
    kinds = []
    with make(path) as engine:
        expected = {"snapshot": engine.snapshot(), "versions": {}}
        for store in (None, *engine.view.vector_store_ids()):
            kinds += [type(event) for event in engine.events(store)]
            expected["versions"][store or ""] = engine.version(store)
        ids = engine.view.vector_store_ids()
        claims = [claim for store in ids for n in range(30) if (claim := engine.view.claim(store, n)) is not None]
        expected["claims"] = [[each.vector_store_id, each.file.id, each.attempt, each.worker] for each in claims]
    missing = set(events.EVENT_TYPES) - set(kinds)
    if missing:
        raise SystemExit(f"nothing leads to {missing}")
    path.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
