"""A whole run on a server: reach it, set up, load, look whether the counts hold, and delete all that was made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from secrets import token_hex

from vsbatch_core.load.audit import Audit
from vsbatch_core.load.calls import (
    PAGE,
    Failure,
    Send,
    delete,
    get,
    identified,
    listed,
    said,
    success,
    upload,
)
from vsbatch_core.load.known import Known
from vsbatch_core.load.runner import Runner, Show, each
from vsbatch_core.load.workload import Intent

UNSURE_SECONDS = 0.3
"""How long is waited for a request that was given up to have its effect, before it is looked for."""

CLEAN_UP_SECONDS = 60.0
"""How long deleting may take, at most."""

SET_UP = ((Intent("store", 1, 0.0, 0.0), "store"), (Intent("create", 1, 0.0, 0.0), "batch"))

Load = Callable[[Runner], Awaitable[None]]


class Unusable(Exception):
    """The server cannot be measured; the message is one line that says why."""


class NoServer(Unusable):
    """There is no server of this API at the URL, or it refuses the key."""


class Session:
    """A run on one server, at ``base_url``, through ``send``.

    ``uploads`` is how many files are uploaded to be attached; ``None`` has ids made up.  ``seconds`` is how long
    batches are waited for in the end, see ``Audit``.  ``runner`` holds what was measured so far at every moment,
    ``audited`` whether the counts were looked at to the end.
    """

    def __init__(
        self,
        base_url: str,
        send: Send,
        *,
        uploads: int | None = None,
        seconds: float = 30.0,
        show: Show = lambda _title, _done, _total: None,
    ) -> None:
        self.base_url = base_url
        self.send = send
        self.show = show
        self.uploads = uploads
        self.clean_up_seconds = CLEAN_UP_SECONDS
        self.known = Known(f"vsbatch-bench-{token_hex(4)}", None if uploads is None else [])
        self.runner = Runner(send, self.known, show)
        self.audit = Audit(self.runner, seconds=seconds)
        self.audited = False
        self.left: list[str] = []
        """What could not be deleted, and why."""
        self._doubtful_uploads = False

    async def run(self, load: Load) -> None:
        """Do all of it; what was made is deleted whatever happens.  Raise ``Unusable``."""
        try:
            await self._reach()
            await self._set_up()
            await load(self.runner)
            await self.audit.run()
            self.audited = True
        finally:
            await self._clean_up()

    # Before

    async def _reach(self) -> None:
        """See whether it is a server of this API, by a request that changes nothing."""
        try:
            answer = await self.send(get("vector_stores", limit=1))
        except Failure as failure:
            raise NoServer(f"no answer from {self.base_url}: {failure}") from None
        if answer.status in (401, 403):
            raise NoServer(f"{self.base_url} refuses the API key: {said(answer)}")
        try:
            listed(success(answer))
        except Failure as failure:
            reason = f"GET /vector_stores: {failure.kind}: {failure}"
            raise NoServer(f"{self.base_url} is no server of this API: {reason}") from None

    async def _set_up(self) -> None:
        """Make a store and a batch of one file, so that every operation has something to be done to."""
        if self.uploads is not None:
            await self._upload(self.uploads)
        for intent, what in SET_UP:
            _, _, outcome = await self.runner.ask(self.known.call(intent))
            if outcome.kind is not None:
                hint = ". Give --uploads" if self.uploads is None and intent.operation == "create" else ""
                reason = f"{outcome.kind}: {outcome.message}{hint}"
                raise Unusable(f"{self.base_url} makes no {what}: {reason}")

    async def _upload(self, n: int) -> None:
        ids = self.known.uploaded = [""] * n
        refused: list[str] = []
        done = count(1)

        async def one(i: int) -> None:
            if refused:
                return
            request = upload(f"{self.known.token}-{i}.txt", f"The text of file {i}.\n".encode())
            try:
                ids[i] = identified(success(await self.send(request)))
            except Failure as failure:
                refused.append(f"{failure.kind}: {failure}")
            self.show("uploading files", next(done), n)

        self._doubtful_uploads = True
        await each(range(n), one)
        if refused:
            raise Unusable(f"{self.base_url} takes no uploads: {refused[0]}")
        self._doubtful_uploads = False

    # After

    async def _clean_up(self) -> None:
        """Delete what was made, and what may have been, which is found by its name."""
        made = [("vector_stores", store.id) for store in self.known.stores]
        made += [("files", id) for id in self.known.uploaded or () if id]
        gone: set[tuple[str, str]] = set()

        async def one(item: tuple[str, str]) -> None:
            try:
                success(await self.send(delete(*item)))
            except Failure as failure:
                if failure.kind != "404":
                    self.left.append(f"{item[1]}: {failure.kind}: {failure}")
            gone.add(item)
            self.show("deleting what was made", len(gone), len(made))

        try:
            async with asyncio.timeout(self.clean_up_seconds):
                doubtful = {"vector_stores": self.known.doubtful_stores, "files": self._doubtful_uploads}
                if any(doubtful.values()):
                    await asyncio.sleep(UNSURE_SECONDS)
                for path in (path for path, may_be in doubtful.items() if may_be):
                    made += [item for item in await self._found(path) if item not in made]
                await each(made, one)
        except TimeoutError:
            pass  # what is left is said
        finally:
            # Also when somebody did not want to wait for it.
            self.left += [f"{id}: there was no time" for path, id in made if (path, id) not in gone]

    async def _found(self, path: str) -> list[tuple[str, str]]:
        """What is called as things of this run are, among the newest."""
        name = "name" if path == "vector_stores" else "filename"
        try:
            items = success(await self.send(get(path, limit=PAGE)))["data"]
            mine = [item for item in items if str(item[name]).startswith(self.known.token)]
            return [(path, str(item["id"])) for item in mine]
        except (Failure, LookupError, TypeError) as error:
            self.left.append(f"what may have been made in /{path}: {error}")
            return []
