"""Pages of a store's files over several blocks of columns, whose values were made before or were not."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from vsbatch_core import Engine, Limits, Profile, SequentialIds, VectorStoreFile, VirtualClock

SIZES = (1, 2, 20, 100)
FILTERS = (None, "in_progress", "completed", "failed", "cancelled")


def world(gone: str) -> tuple[Engine, list[VectorStoreFile], list[VectorStoreFile]]:
    """Return an engine with 10,000 files in one batch, those that its store lists, and those of the batch."""
    profile = Profile(limits=Limits(batch_files=10_000))
    engine = Engine(clock=VirtualClock(), ids=SequentialIds(), profile=profile)
    store = engine.vector_stores.create().id
    ids = [f"file-{i}" for i in range(10_000)]
    batch = engine.vector_stores.file_batches.create(store, file_ids=ids).id
    random = Random(gone)
    engine.processing.complete_many(store, random.sample(ids[:6_000], 3_000), usage_bytes=7)
    engine.processing.complete_many(store, ids[8_000:8_300])
    engine.processing.fail_many(store, ids[8_300:8_310])
    leaving = {
        "none": [],
        "every second": ids[::2],
        "most": random.sample(ids, 9_700),
        "the ends and a stretch": [*ids[:500], *ids[4_000:4_200], *ids[9_000:]],
    }[gone]
    for file_id in leaving:
        engine.vector_stores.files.delete(file_id, vector_store_id=store)
    listed = [engine.view.file(store, number) for number in engine.view.batch_attachments(store, batch)]
    left = set(leaving)
    return engine, [file for file in listed if file and file.id not in left], [file for file in listed if file]


def expected(
    files: list[VectorStoreFile],
    order: str,
    limit: int,
    after: str | None,
    before: str | None,
    places: dict[str, int],
) -> tuple[list[VectorStoreFile], bool]:
    """Return a page of a plain list, and whether there are more."""
    ordered = files if order == "asc" else files[::-1]
    sign = 1 if order == "asc" else -1
    inside = [
        file
        for file in ordered
        if (after is None or sign * places[file.id] > sign * places[after])
        and (before is None or sign * places[file.id] < sign * places[before])
    ]
    if before is not None and after is None:
        return inside[-limit:], len(inside) > limit
    return inside[:limit], len(inside) > limit


@pytest.mark.parametrize("gone", ["none", "every second", "most", "the ends and a stretch"])
def test_every_kind_of_page_is_that_of_a_plain_list_at_the_first_reading_and_at_the_second(gone: str) -> None:
    engine, here, listed = world(gone)
    places = {f"file-{i}": i for i in range(10_000)}
    files, batches = engine.vector_stores.files, engine.vector_stores.file_batches
    random = Random(f"pages {gone}")
    near = [0, 1, 19, 20, 21, 4_094, 4_095, 4_096, 4_097, 8_191, 8_192, 8_299, 8_310, 9_998, 9_999]
    for _ in range(150):
        some = [f"file-{random.choice((random.choice(near), random.randrange(10_000)))}" for _ in range(2)]
        asked: dict[str, Any] = {
            "order": random.choice(("asc", "desc")),
            "limit": random.choice(SIZES),
            "after": random.choice((None, some[0])),
            "before": random.choice((None, None, some[1])),
        }
        filter = random.choice(FILTERS)
        for kept, ask in (
            (here, lambda **k: files.list("vs_1", **k)),
            (listed, lambda **k: batches.list_files("vsfb_1", vector_store_id="vs_1", **k)),
        ):
            matching = [file for file in kept if filter in (None, file.status)]
            data, more = expected(matching, **asked, places=places)
            for _reading in range(2):
                page = ask(**asked, filter=filter)
                assert (list(page.data), page.has_more) == (data, more), (asked, filter)
    engine.check()
