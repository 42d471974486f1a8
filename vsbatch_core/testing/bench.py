"""A place to test code that calls the API: engine, clients, uploads and a simulation, set up together."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

from vsbatch_core.adapters.http import Api
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.clock import SeededIds, VirtualClock
from vsbatch_core.engine import Engine
from vsbatch_core.model import Profile, VectorStoreFile
from vsbatch_core.simulation import Completed, Plan, Simulation

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


def a_second_each(_file: VectorStoreFile) -> Completed:
    """The plan unless another is given: every file completes after a second of a worker's time."""
    return Completed(after=1.0)


class Bench:
    """An engine on a virtual clock of its own, with what is needed to test against it.

    ``plan`` and ``workers`` say how files are processed, ``seed`` what the ids are, ``profile`` which variant of
    the API it is.  The same calls give the same ids, times and answers in every run.

    >>> with Bench() as bench:
    ...     store = bench.client.vector_stores.create(name="docs")
    ...     batch = bench.client.vector_stores.file_batches.create_and_poll(store.id, file_ids=["file-a"])
    >>> batch.status
    'completed'
    """

    def __init__(
        self,
        *,
        plan: Plan = a_second_each,
        workers: int = 8,
        seed: int = 0,
        profile: Profile | None = None,
        require_uploaded_files: bool = False,
    ) -> None:
        self.clock = VirtualClock()
        ids = SeededIds(seed)
        self.uploads = Uploads(clock=self.clock, ids=ids, require_uploaded_files=require_uploaded_files)
        self.engine = Engine(clock=self.clock, ids=ids, profile=profile, known_file=self.uploads.known_file)
        self.simulation = Simulation(self.engine, plan=plan, workers=workers)
        self.api = Api(self.engine, uploads=self.uploads, driver=self.simulation)

    @cached_property
    def client(self) -> OpenAI:
        """An official client of the engine: ``openai.OpenAI``."""
        from vsbatch_core.adapters.openai import client  # noqa: PLC0415 - an optional extra

        return client(self.api)

    @cached_property
    def async_client(self) -> AsyncOpenAI:
        """An official client of the engine: ``openai.AsyncOpenAI``."""
        from vsbatch_core.adapters.openai import async_client  # noqa: PLC0415 - an optional extra

        return async_client(self.api)

    def __enter__(self) -> Bench:
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
