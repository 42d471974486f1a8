"""Both APIs for coroutines: ``await`` never blocks the event loop on a disk.

Every method is derived from one of the other APIs, and takes and returns the same; what is a ``Page`` there is an
``AsyncPage`` here.

An engine in memory is called in place: no call takes longer than a switch between threads and back, but for
those with thousands of files.  With a database a command runs in a thread, of which there are up to ``THREADS``,
so that commands that are awaited at the same time share a transaction.  A read is first tried in place, which
succeeds if no transaction is under way in this process and nobody else has committed since the last call; only
if it would have to wait it runs in a thread.

A task that is cancelled while it awaits a command leaves the command to happen wholly or not at all.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from vsbatch_core import validation
from vsbatch_core.client import FileBatches, Files, VectorStores
from vsbatch_core.events import Event
from vsbatch_core.model import AsyncPage, Identified, Page, new_async_page
from vsbatch_core.processing import Processing
from vsbatch_core.registry import Registry, WouldBlock

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from vsbatch_core.work import AsyncHandler

__all__ = ["AsyncEngine", "AsyncPages"]

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item", bound=Identified)

THREADS = 64
"""At most so many calls of one engine run in threads at the same time; the others wait for their turn."""

_EVENTS_AT_ONCE = 1000
"""So many events are read back in one call."""


class AsyncPages(Generic[Item]):
    """A list that is to be read: ``await`` it for the first page, or iterate over it for the items of all pages.

    Nothing is asked before.  It can be awaited again, and then asks again.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, AsyncPage[Item]]]) -> None:
        self._ask = ask

    def __await__(self) -> Generator[Any, Any, AsyncPage[Item]]:
        return self._ask().__await__()

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for item in await self:
            yield item


class Caller:
    """How the methods of one engine are called, and the threads for those that may wait for a disk."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._threads: tuple[int, ThreadPoolExecutor] | None = None
        """The process whose threads they are: a child process that was forked has none of them."""

    async def call(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """See ``AsyncEngine.call``."""
        if not self._registry.blocking:
            return function(*arguments, **named)
        from asyncio import get_running_loop  # noqa: PLC0415 - which a program without coroutines does not need

        run = partial(copy_context().run, function, *arguments, **named)
        return await get_running_loop().run_in_executor(self._executor(), run)

    async def read(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """See ``AsyncEngine.read``."""
        with suppress(WouldBlock):
            return self._registry.at_once(function, *arguments, **named)
        return await self.call(function, *arguments, **named)

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None or self._threads[0] != os.getpid():
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as asyncio

            self._threads = os.getpid(), ThreadPoolExecutor(THREADS, "vsbatch aio")
        return self._threads[1]

    def forget_threads(self) -> None:
        """Have the threads end as soon as they have nothing to do."""
        self._threads = None

    # Deriving methods

    def command(self, method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return the method as a coroutine function that uses ``call``."""

        @wraps(method)
        async def command(*arguments: P.args, **named: P.kwargs) -> T:
            return await self.call(method, *arguments, **named)

        return command

    def look(self, method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return the method, which changes nothing, as a coroutine function that uses ``read``."""

        @wraps(method)
        async def look(*arguments: P.args, **named: P.kwargs) -> T:
            return await self.read(method, *arguments, **named)

        return look

    def pages(self, method: Callable[P, Page[Item]]) -> Callable[P, AsyncPages[Item]]:
        """Return the method, which returns a page, as a function that returns an ``AsyncPages``."""

        @wraps(method)
        def pages(*arguments: P.args, **named: P.kwargs) -> AsyncPages[Item]:
            return AsyncPages(partial(self._page, partial(method, *arguments, **named)))

        return pages

    async def _page(self, ask: Callable[[], Page[Item]]) -> AsyncPage[Item]:
        page = await self.read(ask)
        return new_async_page(page.data, page.has_more, partial(self._page, page.get_next_page))


class AsyncFileBatches:
    """``engine.aio.vector_stores.file_batches``: as ``FileBatches``."""

    def __init__(self, batches: FileBatches, caller: Caller) -> None:
        self.create = caller.command(batches.create)
        self.retrieve = caller.look(batches.retrieve)
        self.cancel = caller.command(batches.cancel)
        self.list_files = caller.pages(batches.list_files)


class AsyncFiles:
    """``engine.aio.vector_stores.files``: as ``Files``."""

    def __init__(self, files: Files, caller: Caller) -> None:
        self.create = caller.command(files.create)
        self.retrieve = caller.look(files.retrieve)
        self.update = caller.command(files.update)
        self.list = caller.pages(files.list)
        self.delete = caller.command(files.delete)


class AsyncVectorStores:
    """``engine.aio.vector_stores``: as ``VectorStores``."""

    def __init__(self, stores: VectorStores, caller: Caller) -> None:
        self.files = AsyncFiles(stores.files, caller)
        self.file_batches = AsyncFileBatches(stores.file_batches, caller)
        self.create = caller.command(stores.create)
        self.retrieve = caller.look(stores.retrieve)
        self.update = caller.command(stores.update)
        self.list = caller.pages(stores.list)
        self.delete = caller.command(stores.delete)


class AsyncProcessing:
    """``engine.aio.processing``: as ``Processing``."""

    def __init__(self, processing: Processing, caller: Caller) -> None:
        self._processing = processing
        self._caller = caller
        self.pending = caller.look(processing.pending)
        self.claim = caller.command(processing.claim)
        self.heartbeat = caller.command(processing.heartbeat)
        self.release = caller.command(processing.release)
        self.finish = caller.command(processing.finish)
        self.complete = caller.command(processing.complete)
        self.fail = caller.command(processing.fail)
        self.complete_many = caller.command(processing.complete_many)
        self.fail_many = caller.command(processing.fail_many)
        self.purge = caller.command(processing.purge)

    async def work(
        self,
        handler: AsyncHandler,
        *,
        worker: str,
        limit: int = 8,
        lease_seconds: float = 60.0,
        vector_store_id: str | None = None,
        poll_seconds: float = 1.0,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Process files as ``Processing.work`` does, with a task for each claim in place of a thread.

        ``handler(claim)`` returns an awaitable of what a handler there returns.  If this coroutine is cancelled,
        it cancels the handlers and releases their claims.
        """
        from vsbatch_core import work  # noqa: PLC0415 - asyncio

        session = work.Session(
            self._processing,
            worker=worker,
            limit=limit,
            lease_seconds=lease_seconds,
            vector_store_id=vector_store_id,
            poll_seconds=poll_seconds,
        )
        await work.run_async(session, handler, stop, self._caller.call)


class AsyncEngine:
    """``engine.aio``: both APIs for coroutines of an ``asyncio`` event loop; see the module ``aio``.

    ``async with engine.aio`` closes the engine at the end.

    >>> import asyncio
    >>> from vsbatch_core import Engine, SequentialIds
    >>> async def main(engine):
    ...     store = await engine.aio.vector_stores.create(file_ids=["file-a", "file-b"])
    ...     await engine.aio.processing.complete(store.id, "file-a")
    ...     return [file.status async for file in engine.aio.vector_stores.files.list(store.id, order="asc")]
    >>> asyncio.run(main(Engine(ids=SequentialIds())))
    ['completed', 'in_progress']
    """

    def __init__(self, registry: Registry, stores: VectorStores, processing: Processing) -> None:
        self._registry = registry
        self._caller = Caller(registry)
        self.vector_stores = AsyncVectorStores(stores, self._caller)
        self.processing = AsyncProcessing(processing, self._caller)

    async def call(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Return ``function(…)``, whatever it does with the engine: ``await engine.aio.call(engine.compact)``.

        With a database it is called in a thread of the engine's own; in memory, in place.
        """
        return await self._caller.call(function, *arguments, **named)

    async def read(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Return ``function(…)``, which only reads: ``await engine.aio.read(engine.version)``.

        It is called in place, and if a call that it makes of the engine would have to wait, or is a command, it
        ends there and is called again in a thread.
        """
        return await self._caller.read(function, *arguments, **named)

    async def events(self, vector_store_id: str | None = None, *, after: int = 0) -> AsyncIterator[Event]:
        """Return the events of a store, or of the list of stores, that follow a version, as ``Engine.events``."""
        validation.integer("after", after, 0)
        events: Iterator[Event] = await self.call(self._registry.events, vector_store_id, after)
        while some := await self.call(lambda: list(islice(events, _EVENTS_AT_ONCE))):
            for event in some:
                yield event

    async def close(self) -> None:
        """Close the engine once the transaction that is under way has ended; see ``Engine.close``."""
        try:
            await self.call(self._registry.close)
        finally:
            self.forget_threads()

    def forget_threads(self) -> None:
        """Have the threads end as soon as they have nothing to do; a call that needs one starts another."""
        self._caller.forget_threads()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
