"""Several engines on one database: each sees what the others did, whenever they did it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vsbatch_core import Engine, Profile, SequentialIds

from ..helpers.databases import Where, filled, once_before, opened, url_of


def write(engine: Engine) -> None:
    engine.vector_stores.create()


def compact(engine: Engine) -> None:
    write(engine)
    engine.compact()


def compact_twice(engine: Engine) -> None:
    """Forget frames that an engine which began to read before this still needs."""
    compact(engine)
    compact(engine)


@pytest.mark.parametrize("act", [write, compact, compact_twice])
@pytest.mark.parametrize("moment", ["snapshots", "snapshot", "ids", "frames", "last"])
@pytest.mark.parametrize("compacted", [0, 1, 2])
def test_an_engine_that_is_opened_is_whole_whatever_others_do_between_its_statements(
    where: Where,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    act: Callable[[Engine], None],
    compacted: int,
) -> None:
    with filled(where) as other:
        for _ in range(compacted):
            compact(other)
        once_before(monkeypatch, moment, lambda: act(other))
        with opened(where) as engine:
            assert engine.snapshot() == other.snapshot()


@pytest.mark.parametrize("act", [write, compact, compact_twice])
@pytest.mark.parametrize("moment", ["snapshots", "snapshot", "ids", "frames", "last"])
def test_an_engine_that_was_left_behind_is_whole_whatever_others_do_between_its_statements(
    where: Where, monkeypatch: pytest.MonkeyPatch, moment: str, act: Callable[[Engine], None]
) -> None:
    with filled(where) as other, opened(where) as engine:
        compact(other)
        compact_twice(other)  # the frames that the engine needs are gone
        once_before(monkeypatch, moment, lambda: act(other))
        assert engine.snapshot() == other.snapshot()
        assert engine.vector_stores.create() in other.vector_stores.list().data


def test_reading_the_log_back_hides_nothing_that_others_write_meanwhile(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(where) as other, opened(where) as engine:
        events = engine.events(after=0)
        once_before(monkeypatch, "frames", lambda: write(other))
        next(events)
        assert engine.snapshot() == other.snapshot()


@pytest.mark.parametrize("act", [Engine.compact, compact, compact_twice])
@pytest.mark.parametrize("moment", ["begin", "keep", "snapshot", "snapshots", "prune"])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_engines_that_take_snapshots_at_once_do_not_take_each_other_s_for_damage(
    where: Where, monkeypatch: pytest.MonkeyPatch, moment: str, act: Callable[[Engine], None], passes: int
) -> None:
    def pass_or_act() -> None:
        nonlocal passes
        passes -= 1
        if passes:
            once_before(monkeypatch, moment, pass_or_act)
        else:
            act(other)

    with filled(where) as other, opened(where) as engine:
        once_before(monkeypatch, moment, pass_or_act)
        engine.compact()
        with opened(where) as third:
            assert third.snapshot() == engine.snapshot() == other.snapshot()


def test_a_drain_that_was_replayed_is_ended_by_whoever_opens_the_database(where: Where) -> None:
    drains = Profile(cancel="drain")
    source, heard = Engine(profile=drains, ids=SequentialIds()), list[Any]()
    source.subscribe(heard.append)
    store = source.vector_stores.create()
    batch = source.vector_stores.file_batches.create(store.id, file_ids=["file-a"])
    source.processing.claim(worker="w")
    source.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)

    def status(engine: Engine) -> str:
        return engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id).status

    url = url_of(where)
    with Engine.open(url, profile=drains) as engine:
        engine.replay(heard)
        assert (
            engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id).status == "in_progress"
        )
        engine.compact()
    with Engine.open(url) as engine:  # it leads, and nobody else has it open
        assert (
            engine.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id).status == "cancelled"
        )
        engine.check()


def test_a_lock_that_cannot_be_taken_is_not_released(where: Where) -> None:
    class Refusing:
        def acquire(self, *_: object, **__: object) -> bool:
            raise KeyboardInterrupt

        def _is_owned(self) -> bool:
            return False

    with opened(where) as engine:
        usual, engine._registry.lock = engine._registry.lock, Refusing()
        for use in (engine.vector_stores.create, engine.vector_stores.list):
            with pytest.raises(KeyboardInterrupt):
                use()
        engine._registry.lock = usual
        assert len(engine.vector_stores.list().data) == 0
