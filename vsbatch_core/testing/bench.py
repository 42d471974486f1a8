"""A place to test code that calls the API: engine, clients, uploads and a simulation, set up together."""

from __future__ import annotations

from functools import cached_property
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.clock import SeededIds, VirtualClock
from vsbatch_core.engine import Engine
from vsbatch_core.extras import pip_line
from vsbatch_core.model import Profile
from vsbatch_core.simulation import Plan, Simulation

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


class Bench:
    """An engine on a virtual clock of its own, with what is needed to test against it.

    ``plan`` says what becomes of files (without one each takes one of 8 workers a second, and completes),
    ``profile`` which variant of the API it is, ``seed`` what ids and chance are.  With
    ``require_uploaded_files`` an id that was never uploaded is refused.  The same requests in the same order
    give the same ids, times and answers in every run.

    A client's polling helper (``create_and_poll``, ``upload_and_poll``, ``poll``) moves the clock on by the
    interval between two polls and does not wait; one that was given a ``poll_interval_ms`` waits as well.

    ``client``, ``async_client`` and ``engine`` may be used from any thread; ``simulation`` from one, and not
    while another polls.  When a client is first asked for and the extra ``pytest`` is missing, ``ImportError``
    says what to install; the rest needs no extra.

    >>> with Bench() as bench:
    ...     store = bench.client.vector_stores.create(name="docs")
    ...     batch = bench.client.vector_stores.file_batches.create_and_poll(store.id, file_ids=["file-a"])
    >>> batch.status, bench.simulation.now
    ('completed', 1.0)
    """

    def __init__(
        self,
        *,
        plan: Plan | None = None,
        seed: int = 0,
        profile: Profile | None = None,
        require_uploaded_files: bool = False,
    ) -> None:
        self.clock = VirtualClock()
        ids = SeededIds(seed)
        self.uploads = Uploads(clock=self.clock, ids=ids, require_uploaded_files=require_uploaded_files)
        self.engine = Engine(clock=self.clock, ids=ids, profile=profile, file_size=self.uploads.file_size)
        self.simulation = Simulation(self.engine, plan=plan, seed=seed)

    @cached_property
    def api(self) -> Api:
        """The engine over HTTP, for a client of one's own; a poll moves the simulation on."""
        simulation = self.simulation
        return Api(self.engine, uploads=self.uploads, driver=simulation, polled=simulation.polled)

    @cached_property
    def client(self) -> OpenAI:
        """An official client of the engine: ``openai.OpenAI``."""
        made: OpenAI = _clients().client(self.api)
        return made

    @cached_property
    def async_client(self) -> AsyncOpenAI:
        """An official client of the engine: ``openai.AsyncOpenAI``.  It holds nothing that must be closed."""
        made: AsyncOpenAI = _clients().async_client(self.api)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.simulation.close()
        if "client" in vars(self):
            self.client.close()


def _clients() -> ModuleType:
    try:
        from vsbatch_core.adapters import multipart, openai  # noqa: F401, PLC0415 - optional extras
    except ImportError as error:
        raise ImportError(f"official clients need openai and python-multipart: {pip_line('pytest')}") from error
    return openai
