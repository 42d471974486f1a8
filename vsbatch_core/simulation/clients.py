"""A simulation as a client meets it: the API with its faults, official clients, sleep on the virtual clock."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from vsbatch_core.adapters.faults import Faults
from vsbatch_core.adapters.faulty import FaultyApi
from vsbatch_core.adapters.http import Request
from vsbatch_core.errors import shown
from vsbatch_core.simulation.bulk import Bulk
from vsbatch_core.simulation.sleeping import patched

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from openai import AsyncOpenAI, OpenAI


@frozen(kw_only=True)
class SimulatedApi(FaultyApi):
    """The API of a simulation.  Where clients sleep on its clock, a polling helper's wait is theirs to sleep."""

    simulation: Any = field(eq=False, repr=False)

    def _poll(self, request: Request) -> int:
        return self.poll_after_ms if self.simulation._sleeping else super()._poll(request)


def as_faults(given: Any) -> Faults:
    """Faults, from some or from ``None``.  Raise ``TypeError``."""
    if given is None:
        return Faults()
    if not isinstance(given, Faults):
        raise TypeError(
            f"faults is a Faults, not {shown(given)}. Write faults=Faults(rate_limit=True, slow=0.01)."
        )
    return given


class ClientSide(Bulk):
    """What a simulation has for clients."""

    faults: Faults
    seed: int
    _sleeping = 0
    """How many times sleep is patched just now."""

    @cached_property
    def api(self) -> SimulatedApi:
        """The engine as the API, with the simulation's faults; without I/O, for ``adapters`` to serve.

        Each retrieval of a batch or file counts as a poll, and each request of a client's polling helper moves
        the clock on by the interval that it is about to wait.
        """
        return SimulatedApi(
            engine=self.engine,
            driver=self,
            polled=self.polled,
            faults=self.faults,
            seed=self.seed,
            waits=self.waits,
            told=self._told,
            start=self.start,
            simulation=self,
        )

    @cached_property
    def client(self) -> OpenAI:
        """An official client of the engine: ``openai.OpenAI``.

        Its polling helpers move the clock on instead of waiting; between retries it waits, unless sleep is
        patched.  Raise ``ImportError``, with what to install, without the SDK.
        """
        made: OpenAI = _clients().client(self.api)
        return made

    @cached_property
    def async_client(self) -> AsyncOpenAI:
        """An official client of the engine: ``openai.AsyncOpenAI``; else as ``client``."""
        made: AsyncOpenAI = _clients().async_client(self.api)
        return made

    def patch_sleep(self) -> AbstractContextManager[None]:
        """While the context lasts, who sleeps in this process sleeps on the simulation's clock, and waits not.

        That is ``time.sleep``, ``asyncio.sleep`` and ``anyio.sleep``, called by these names; so also the official
        clients between retries and polls.  Tasks that sleep at the same time wake in the order in which they are
        due, and others have their turns before time moves on; but what waits for a thread, a socket or a
        time-out takes no virtual time.  It may be nested; ``trio`` has a clock of its own for this, and is left
        alone.

        >>> from vsbatch_core.simulation import Simulation
        >>> import time
        >>> simulation = Simulation()
        >>> with simulation.patch_sleep():
        ...     time.sleep(3600)
        >>> simulation.now
        3600.0
        """
        return patched(self)  # type: ignore[arg-type]  # every ClientSide is a Simulation

    def waits(self, vector_store_id: str, file_id: str) -> bool:
        """Whether a file in progress waits for its first worker."""
        self._complete_window()
        attachment = self._view.attachments(vector_store_id, file_id)[-1]
        work = self._work(vector_store_id, attachment)
        picked_up = work is not None and work.picked_up
        return not picked_up and self._view.claim(vector_store_id, attachment) is None

    @abstractmethod
    def advance(self, seconds: float) -> Any:
        """See ``Simulation``."""
        ...

    @abstractmethod
    def polled(self, looked_at: Any) -> Any:
        """See ``Simulation``."""
        ...

    def _told(self, name: str, request: Request) -> None:
        if self._timeline is not None:
            ids = request.path.split("/")
            batch = next((id for id in ids if id.startswith("vsfb_")), None)
            self._timeline.mark("fault", batch, name, at=self.clock.time())


def _clients() -> ModuleType:
    from vsbatch_core.adapters import openai  # noqa: PLC0415 - an optional extra

    return openai
