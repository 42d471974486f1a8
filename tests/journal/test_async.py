"""``engine.aio``: the same API for coroutines, which never blocks the event loop on a disk."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from vsbatch_core import AsyncPage, Engine, Page, SequentialIds, VirtualClock, errors, random_ids, wire
from vsbatch_core.aio import THREADS
from vsbatch_core.testing.calls import Call, Refusal, comparable
from vsbatch_core.testing.machine import Lockstep
from vsbatch_core.testing.subjects import Subject, World

from ..helpers.brief import examples, searching
from ..helpers.databases import frames, held, held_elsewhere, hops, opened, url_of
from ..helpers.processes import SEARCH

__all__ = ["hops"]  # a fixture

Made = Callable[..., Engine]
Scene = Callable[[Engine], Coroutine[Any, Any, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def numbered(path: Path, **options: Any) -> Engine:
    """Return an engine on a file, whose ids are known."""
    return opened(path, **{"ids": SequentialIds(), **options})


@pytest.fixture(params=["memory", "database"])
def make(request: pytest.FixtureRequest, path: Path) -> Iterator[Made]:
    """What makes the engine of a test: in memory, and with a database."""
    engines: list[Engine] = []

    def made(**options: Any) -> Engine:
        options = {"clock": VirtualClock(), "ids": SequentialIds(), **options}
        engine = Engine(**options) if request.param == "memory" else numbered(path, **options)
        engines.append(engine)
        return engine

    yield made
    for engine in engines:
        engine.close()


def populated(engine: Engine) -> Engine:
    """Two stores; the first has a batch of seven files, of which two have ended."""
    for name in "ab":
        engine.vector_stores.create(name=name)
    engine.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i}" for i in range(7)])
    engine.processing.complete("vs_1", "file-1", usage_bytes=10)
    engine.processing.fail("vs_1", "file-2")
    return engine


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def waiting(engine: Engine, commands: int) -> Callable[[], bool]:
    """Whether so many commands wait for their transaction."""
    registry: Any = engine._registry
    return lambda: len(registry._queue) == commands


# The same names, arguments and results


PATHS = ["vector_stores", "vector_stores.files", "vector_stores.file_batches", "processing"]


def methods(api: object) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(api)
        if not name.startswith("_") and inspect.isroutine(member)
    }


@pytest.mark.parametrize("path", PATHS)
def test_every_method_is_there_with_the_same_arguments_and_the_same_text(path: str) -> None:
    engine = Engine()
    ours, theirs = methods(attrgetter(path)(engine.aio)), methods(attrgetter(path)(engine))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"work"}:
        assert inspect.signature(ours[name]) == inspect.signature(theirs[name])
        assert ours[name].__doc__ == theirs[name].__doc__
        assert inspect.iscoroutinefunction(ours[name]) is (name not in ("list", "list_files"))
    if "work" in ours:
        assert [*inspect.signature(ours["work"]).parameters] == [*inspect.signature(theirs["work"]).parameters]


def test_the_engine_has_one_of_it() -> None:
    engine = Engine()
    assert engine.aio is engine.aio


_RUNNER = asyncio.Runner()


class Awaited(Subject):
    """The engine through coroutines; its lists are walked by ``async for``."""

    def ask(self, call: Call) -> Any:
        """See ``Subject``."""

        async def asked() -> Any:
            return await call.on(self.engine.aio)

        if call.path.partition(".")[0] not in ("vector_stores", "processing"):
            return super().ask(call)
        try:
            found = _RUNNER.run(asked())
        except errors.VsbatchError as error:
            return Refusal.of(error)
        return Page(found.data, found.has_more) if isinstance(found, AsyncPage) else comparable(found)

    def walk(self, call: Call) -> list[Any]:
        """See ``Subject``."""

        async def walked() -> list[Any]:
            return [item async for item in call.on(self.engine.aio)]

        return _RUNNER.run(walked())


class AwaitedDurable(Awaited):
    """The same with a database."""

    made: ClassVar[list[tuple[Engine, TemporaryDirectory[str]]]] = []

    def __init__(self, world: World) -> None:
        super().__init__(world)
        folder = TemporaryDirectory()
        self.engine = Engine.open(url_of(Path(folder.name, "db")), durability="normal", **self.options)
        self.engine.subscribe(self.told.append)
        self.made.append((self.engine, folder))


@pytest.mark.parametrize("factory", [Awaited, pytest.param(AwaitedDurable, marks=[pytest.mark.slow, searching])])
def test_no_random_history_tells_it_from_the_oracle(factory: type[Awaited]) -> None:
    class Machine(Lockstep):
        subject_factory = factory

        def teardown(self) -> None:
            super().teardown()
            while AwaitedDurable.made:
                engine, folder = AwaitedDurable.made.pop()
                engine.close()
                folder.cleanup()

    budget = settings(max_examples=examples(6), stateful_step_count=15, deadline=None)
    run_state_machine_as_test(Machine, settings=budget)


def test_pages_go_on_by_themselves_as_those_of_the_client_do(make: Made) -> None:
    engine = populated(make())

    async def walk() -> None:
        pages = engine.aio.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", limit=3)
        page = await pages
        wanted = engine.vector_stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", limit=3)
        assert [item async for item in pages] == [item async for item in page] == list(wanted)
        assert [each.data async for each in page.iter_pages()] == [each.data for each in wanted.iter_pages()]
        assert wire.to_wire(page) == wire.to_wire(wanted)
        assert (page.first_id, page.last_id) == (wanted.first_id, wanted.last_id)
        last = await (await page.get_next_page()).get_next_page()
        assert (last.has_next_page(), len(last.data)) == (False, 1)
        empty = await last.get_next_page()  # it asks all the same, as the SDK does
        for none in (empty, copy.copy(page)):
            assert not none.has_next_page()
            with pytest.raises(RuntimeError, match="no next page"):
                await none.get_next_page()

    asyncio.run(walk())


def test_events_are_read_back_as_the_engine_reads_them(path: Path) -> None:
    engine = populated(numbered(path))
    for n in range(3):
        engine.vector_stores.files.create("vs_1", file_id=f"late-{n}")

    async def read(vector_store_id: str | None, after: int) -> list[Any]:
        return [event async for event in engine.aio.events(vector_store_id, after=after)]

    with engine:
        for stream in ("vs_1", "vs_2", None):
            for after in range(engine.version(stream) + 1):
                wanted = list(engine.events(stream, after=after))
                assert asyncio.run(read(stream, after)) == wanted
                assert len(wanted) == engine.version(stream) - after
        with pytest.raises(errors.VectorStoreNotFound):
            asyncio.run(read("vs_nowhere", 0))
        with pytest.raises(errors.InvalidType, match="after"):
            asyncio.run(read("vs_1", "0"))  # type: ignore[arg-type]


def test_an_engine_in_memory_keeps_no_events() -> None:
    async def read(engine: Engine) -> list[Any]:
        return [event async for event in engine.aio.events(after=1)]

    with pytest.raises(errors.EventsForgotten):
        asyncio.run(read(populated(Engine(ids=SequentialIds()))))


# The event loop is never blocked


async def create(engine: Engine) -> Any:
    return await engine.aio.vector_stores.create(name="c")


async def finish(engine: Engine) -> Any:
    return await engine.aio.processing.complete("vs_1", "file-0")


async def look(engine: Engine) -> Any:
    return await engine.aio.vector_stores.retrieve("vs_1")


async def walk(engine: Engine) -> Any:
    return [file async for file in engine.aio.vector_stores.files.list("vs_1", limit=2)]


async def compact(engine: Engine) -> Any:
    return await engine.aio.call(engine.compact)


async def expire(engine: Engine) -> Any:
    """Read what a claim that lapses changes."""
    (claim,) = await engine.aio.processing.claim(worker="w", lease_seconds=1.0)
    engine.clock.advance(2.0)  # type: ignore[attr-defined]
    return await engine.aio.processing.pending(), claim


async def close(engine: Engine) -> Any:
    return await engine.aio.close()


async def process(engine: Engine) -> Any:
    """Work on all files that are there."""
    stop = asyncio.Event()

    async def handler(_: Any) -> int:
        return 7

    work = asyncio.create_task(engine.aio.processing.work(handler, worker="w", poll_seconds=0.01, stop=stop))
    await until(lambda: not engine.processing.pending())
    stop.set()
    await work


@pytest.mark.slow
@pytest.mark.parametrize("scene", [create, finish, expire])
def test_the_loop_goes_on_while_another_process_holds_the_transaction(scene: Scene, path: Path) -> None:
    engine = populated(numbered(path))

    async def main() -> None:
        with held_elsewhere(path) as let_go:
            command = asyncio.create_task(scene(engine))
            for _ in range(100):  # beats of a heart; if a call blocked the loop, the first would never come
                await asyncio.sleep(0.01)
                assert not command.done()
            let_go()
            await command

    with engine:
        asyncio.run(main())
        engine.check()


@pytest.mark.parametrize("scene", [look, walk])
def test_the_loop_goes_on_while_a_read_waits_for_a_transaction_that_is_under_way(
    scene: Scene, path: Path
) -> None:
    engine = populated(numbered(path))

    async def main() -> Any:
        with held(path) as let_go:
            command = asyncio.create_task(create(engine))
            await until(waiting(engine, 1))
            await until(lambda: not _free(engine))
            read = asyncio.create_task(scene(engine))
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert not read.done()
            let_go()
            return await read, await command

    with engine:
        found, _ = asyncio.run(main())
        assert found == asyncio.run(scene(engine))


def _free(engine: Engine) -> bool:
    """Whether no thread holds the engine's lock."""
    lock: Any = engine._registry.lock
    free: bool = lock.acquire(blocking=False)
    if free:
        lock.release()
    return free


def test_commands_that_are_awaited_together_share_a_transaction(path: Path) -> None:
    engine = numbered(path)

    async def main() -> list[Any]:
        with held(path) as let_go:
            commands = [asyncio.create_task(create(engine)) for _ in range(THREADS)]
            await until(waiting(engine, THREADS))
            let_go()
            return await asyncio.gather(*commands)

    with engine:
        made = asyncio.run(main())
        assert len({store.id for store in made}) == THREADS
        assert frames(path) <= 2  # those that the first one found waiting, and those that came while it waited
        assert len(list(engine.vector_stores.list())) == THREADS


# When a thread is asked


def reads(engine: Engine) -> list[Callable[[], Awaitable[Any]]]:
    """A read by every method that reads."""
    stores, processing = engine.aio.vector_stores, engine.aio.processing
    return [
        lambda: stores.retrieve("vs_1"),
        lambda: stores.list(limit=1),
        lambda: stores.files.retrieve("file-1", vector_store_id="vs_1"),
        lambda: stores.files.list("vs_1", limit=2),
        lambda: stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1"),
        lambda: stores.file_batches.list_files("vsfb_1", vector_store_id="vs_1", filter="completed"),
        lambda: processing.pending("vs_1"),
        lambda: engine.aio.read(engine.version, "vs_1"),
    ]


def test_what_only_reads_needs_no_thread_while_nobody_else_commits(path: Path, hops: list[object]) -> None:
    engine = populated(numbered(path))
    other = numbered(path, ids=random_ids)

    async def main() -> None:
        for read in reads(engine):
            await read()
            assert hops == []
            other.vector_stores.create()
            await read()
            assert len(hops) == 1
            await read()
            assert len(hops) == 1
            hops.clear()

    with engine, other:
        engine.vector_stores.list()
        asyncio.run(main())


def test_a_command_takes_one_thread_and_a_refusal_too(path: Path, hops: list[object]) -> None:
    async def main() -> None:
        await create(engine)
        with pytest.raises(errors.InvalidType):
            await engine.aio.vector_stores.create(name=7)  # type: ignore[arg-type]
        assert len(hops) == 2

    with numbered(path) as engine:
        asyncio.run(main())


def test_an_engine_in_memory_needs_no_thread(hops: list[object]) -> None:
    engine, before = populated(Engine(clock=VirtualClock(), ids=SequentialIds())), ours()

    async def main() -> None:
        for read in reads(engine):
            await read()
        await create(engine)
        await finish(engine)
        await process(engine)
        await compact(engine)
        await close(engine)

    asyncio.run(main())
    assert hops == []
    assert ours() <= before  # those of other engines may have ended meanwhile


# What a task that is cancelled leaves


def test_a_command_that_is_under_way_happens_though_its_task_is_cancelled(path: Path) -> None:
    async def main() -> None:
        with held(path) as let_go:
            command = asyncio.create_task(create(engine))
            await until(waiting(engine, 1))
            command.cancel()
            with pytest.raises(asyncio.CancelledError):
                await command
            let_go()
        await until(waiting(engine, 0))

    with numbered(path) as engine:
        asyncio.run(main())
        assert [store.name for store in engine.vector_stores.list()] == ["c"]


def test_a_command_that_has_not_begun_never_happens_once_its_task_is_cancelled(path: Path) -> None:
    async def main() -> None:
        with held(path) as let_go:
            others = [asyncio.create_task(create(engine)) for _ in range(THREADS)]
            await until(waiting(engine, THREADS))
            late = asyncio.create_task(engine.aio.vector_stores.create(name="late"))
            await asyncio.sleep(0)
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            let_go()
            await asyncio.gather(*others)
        await create(engine)

    with numbered(path) as engine:
        asyncio.run(main())
        assert {store.name for store in engine.vector_stores.list()} == {"c"}


@given(st.lists(st.none() | st.integers(0, 12), min_size=1, max_size=20))
@settings(max_examples=examples(15), deadline=None)
def test_whatever_is_cancelled_happens_once_or_not_at_all(passes: list[int | None]) -> None:
    async def command(n: int, after: int | None) -> bool:
        made = asyncio.create_task(
            engine.aio.vector_stores.create(name=str(n), file_ids=[f"file-{n}", f"other-{n}"])
        )
        if after is not None:
            for _ in range(after):
                await asyncio.sleep(0)
            made.cancel()
        await asyncio.wait([made])
        return not made.cancelled()

    async def main() -> list[bool]:
        return await asyncio.gather(*[command(n, after) for n, after in enumerate(passes)])

    with TemporaryDirectory() as folder:
        with Engine.open(url_of(Path(folder, "db")), durability="normal") as engine:
            done = asyncio.run(main())
            asyncio.run(engine.aio.call(lambda: None))
        with Engine.open(url_of(Path(folder, "db"))) as engine:
            stores = list(engine.vector_stores.list())
            engine.check()
        names = [store.name for store in stores]
        assert len(set(names)) == len(names)
        assert {str(n) for n, each in enumerate(done) if each} <= set(names)
        assert all(store.file_counts.total == 2 for store in stores)


def test_a_worker_that_is_cancelled_while_it_claims_gives_the_claims_back(path: Path) -> None:
    async def main() -> None:
        with held(path) as let_go:
            work = asyncio.create_task(engine.aio.processing.work(asyncio.sleep, worker="w"))  # type: ignore[arg-type]
            await until(waiting(engine, 1))
            for _ in range(3):
                work.cancel()
                await asyncio.sleep(0.001)
            assert not work.done()
            let_go()
            with pytest.raises(asyncio.CancelledError):
                await work

    with populated(numbered(path)) as engine:
        asyncio.run(main())
        held_still = [engine.view.claim("vs_1", attachment) for attachment in range(7)]
        assert held_still == [None] * 7
        (claim,) = engine.processing.claim(worker="other")
        assert (claim.file.id, claim.attempt) == ("file-0", 1)


def test_a_worker_with_a_database_finishes_what_it_claims(path: Path) -> None:
    with populated(numbered(path)) as engine:
        asyncio.run(process(engine))
        assert engine.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id="vs_1").status == "completed"


def test_a_worker_that_is_stopped_while_it_claims_ends(make: Made) -> None:
    async def main() -> None:
        engine, stop = make(), asyncio.Event()
        work = asyncio.create_task(
            engine.aio.processing.work(asyncio.sleep, worker="w", stop=stop)  # type: ignore[arg-type]
        )
        await asyncio.sleep(0)
        stop.set()
        await work

    asyncio.run(main())


# What is called


def test_a_read_that_turns_out_to_be_a_command_is_called_again_in_a_thread(
    make: Made, hops: list[object]
) -> None:
    engine = make()
    calls: list[str] = []

    def both() -> Any:
        calls.append(threading.current_thread().name)
        return engine.vector_stores.create(name="c")

    assert asyncio.run(engine.aio.read(both)).name == "c"
    assert len(list(engine.vector_stores.list())) == 1
    assert len(calls) == 1 + len(hops)
    assert len({*calls}) == len(calls)


def test_ctrl_c_in_the_midst_of_a_read_leaves_the_engine_as_it_was(make: Made) -> None:
    engine = make()

    def interrupted() -> None:
        engine.vector_stores.list()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(engine.aio.read(interrupted))
    with engine.view.hold():
        assert engine.vector_stores.create(name="c").name == "c"


def test_what_the_host_is_asked_has_the_context_of_the_caller(make: Made) -> None:
    asking: ContextVar[str] = ContextVar("asking", default="nobody")
    asked: list[str] = []

    def file_size(_: str) -> int:
        asked.append(asking.get())
        return 1

    async def main() -> None:
        asking.set("a request")
        await engine.aio.vector_stores.create(file_ids=["file-a"])

    engine = make(file_size=file_size)
    asyncio.run(main())
    assert asked == ["a request"]


def test_events_that_were_not_delivered_are_delivered_in_a_thread(path: Path, hops: list[object]) -> None:
    heard: list[Any] = []

    with populated(numbered(path)) as engine:
        engine.subscribe(heard.append)
        registry: Any = engine._registry
        registry._undelivered.append((heard.append, "left by a call that was interrupted"))
        assert asyncio.run(look(engine)).id == "vs_1"
        assert (len(hops), heard) == (1, ["left by a call that was interrupted"])


# The end


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("vsbatch aio")}


@pytest.mark.parametrize("ends", [Engine.close, lambda engine: asyncio.run(engine.aio.close())])
def test_the_threads_of_an_engine_that_was_closed_end(ends: Callable[[Engine], object], path: Path) -> None:
    before = ours()
    engine = numbered(path)
    asyncio.run(create(engine))
    made = ours() - before
    assert len(made) == 1
    ends(engine)
    for thread in made:
        thread.join(60)
        assert not thread.is_alive()
    for scene in (create, look, compact):
        with pytest.raises(errors.EngineClosed):
            asyncio.run(scene(engine))
    ends(engine)


def test_a_context_closes_the_engine_at_its_end(path: Path) -> None:
    async def main() -> None:
        async with engine.aio as aio:
            await aio.vector_stores.create()
        with pytest.raises(errors.EngineClosed):
            await aio.vector_stores.list()

    engine = numbered(path)
    asyncio.run(main())


def test_one_engine_may_be_used_in_several_event_loops(path: Path) -> None:
    with numbered(path) as engine:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: asyncio.run(create(engine)), range(12)))
        assert len(asyncio.run(walk_stores(engine))) == 12


async def walk_stores(engine: Engine) -> list[Any]:
    return [store async for store in engine.aio.vector_stores.list(limit=5)]


FORKS = """
import asyncio, os, sys
from vsbatch_core import Engine

engine = Engine.open(sys.argv[1])

async def create(name):
    await engine.aio.vector_stores.create(name=name)

asyncio.run(create("parent"))
child = os.fork()
asyncio.run(create("child" if child == 0 else "parent again"))
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(*sorted(store.name for store in engine.vector_stores.list()), sep=", ")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a fork")
def test_a_child_process_that_was_forked_has_threads_of_its_own(path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS, url_of(path)]
    environment = {**os.environ, "PYTHONPATH": SEARCH}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    assert done.stdout == "child, parent, parent again\n"
