"""A place to test code that calls the API: engine, clients, uploads and a simulation, set up together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from vsbatch_core.adapters.faults import NO_FAULTS, Faults
from vsbatch_core.extras import pip_line
from vsbatch_core.model import Profile, VectorStoreFile
from vsbatch_core.simulation import Outcome, Plan
from vsbatch_core.standin import Settings, StandIn

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


class Bench(StandIn):
    """An engine on a virtual clock of its own, with what is needed to test against it.

    ``plan`` says what becomes of files (without one each takes one of 8 workers a second, and completes),
    ``faults`` what goes wrong on the way, ``profile`` which variant of the API it is, ``seed`` what ids and
    chance are.  All four may come from a ``scenario``: the path of a TOML file, or the name of a shipped one;
    what is given beside it is in place of its own.  With ``require_uploaded_files`` an id that was never uploaded
    is refused.  The same requests in the same order give the same ids, times and answers in every run.

    A client's polling helper (``create_and_poll``, ``upload_and_poll``, ``poll``) moves the clock on by the
    interval between two polls and does not wait; one that was given a ``poll_interval_ms`` waits as well, and so
    does one while the clock is frozen.

    ``requests`` holds what was asked and answered.  ``freeze``, ``run``, ``advance`` and ``step`` move time;
    ``complete``, ``fail`` and ``release`` end files, and ``set_plan``, ``set_faults`` and ``reset`` change the
    circumstances: see ``StandIn``.

    ``client``, ``async_client``, ``engine`` and all methods may be used from any thread; ``simulation`` from one,
    and not while another polls.  When a client is first asked for and the extra ``pytest`` is missing,
    ``ImportError`` says what to install; the rest needs no extra.

    >>> with Bench() as bench:
    ...     store = bench.client.vector_stores.create(name="docs")
    ...     batch = bench.client.vector_stores.file_batches.create_and_poll(store.id, file_ids=["file-a"])
    >>> batch.status, bench.simulation.now
    ('completed', 1.0)
    >>> [(request.method, request.status) for request in bench.requests]
    [('POST', 200), ('POST', 200), ('GET', 200), ('GET', 200)]
    """

    def __init__(
        self,
        *,
        plan: Plan | Callable[[VectorStoreFile], Outcome] | None = None,
        faults: Faults | None = None,
        scenario: str | Path | None = None,
        seed: int | None = None,
        profile: Profile | None = None,
        require_uploaded_files: bool = False,
    ) -> None:
        given: dict[str, Any] = {"plan": plan, "faults": faults, "seed": seed, "profile": profile}
        if scenario is not None:
            from vsbatch_core.scenarios import circumstances  # noqa: PLC0415 - tomllib

            found = circumstances.load(str(scenario))
            given = {name: getattr(found, name) if value is None else value for name, value in given.items()}
        if given["faults"] is None:
            given["faults"] = NO_FAULTS
        if given["seed"] is None:
            given["seed"] = 0
        super().__init__(Settings(**given, require_uploaded_files=require_uploaded_files))

    @cached_property
    def client(self) -> OpenAI:
        """An official client of the engine: ``openai.OpenAI``."""
        made: OpenAI = _clients().client(self)
        return made

    @cached_property
    def async_client(self) -> AsyncOpenAI:
        """An official client of the engine: ``openai.AsyncOpenAI``.  It holds nothing that must be closed."""
        made: AsyncOpenAI = _clients().async_client(self)
        return made

    @property
    def in_progress(self) -> list[VectorStoreFile]:
        """The files that are in progress, oldest first."""
        return self.engine.processing.pending(limit=2**62)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if "client" in vars(self):
            self.client.close()


def _clients() -> ModuleType:
    try:
        from vsbatch_core.adapters import multipart, openai  # noqa: F401, PLC0415 - optional extras
    except ImportError as error:
        raise ImportError(f"official clients need openai and python-multipart: {pip_line('pytest')}") from error
    return openai
