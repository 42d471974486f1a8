"""What clients of the live API meet, as faults that can be switched on at the HTTP face.

The engine underneath stays exact.  A fault that acts *before* a request refuses it, and the engine never hears of
it; one that acts *after* it changes, delays or loses the answer to a request that the engine has served, be it a
write or not.  Nothing else can happen, so a fault never alters what the engine holds.

What is drawn comes from the seed and from what it is drawn for, never from how often something was drawn before:
the same batch is stuck in every run, whatever else is asked meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import inf
from typing import Any

from attrs import field, frozen

from vsbatch_core.adapters.http import Request
from vsbatch_core.adapters.refusals import Headers
from vsbatch_core.errors import RequestError, shown


@frozen
class During:
    """A fault that acts only from ``since`` on and before ``until``, and ``when`` it says."""

    when: Any = True
    since: float = 0.0
    until: float = inf


When = bool | float | Collection[int | str] | Callable[[Request], bool] | During
"""When a fault acts, where it can: always or never; with a probability; on the requests with these numbers (from
1, as this face gets them) or that name one of these ids; or where a function of the request says so.  As
``During(when, since, until)``, or as a mapping with the keys ``when``, ``from`` and ``until``, it does so only
between two times, in seconds of the engine's clock since the API began."""

DOCUMENTED = "documented"
CHOICE = "choice"
PYTHON_2724 = "recorded, 2025-11: openai-python issue 2724, openai-node issue 1700"
RECORDINGS = "recorded, 2025: openai-dotnet `VectorStoresTests`"
AGENTS_1669 = "recorded: agent-framework issue 1669"

SOURCES: dict[str, tuple[str, str]] = {
    "rate_limit": (
        "a write to a store that had 300 in the last minute answers 429, with `retry-after`",
        f"{DOCUMENTED}; the window and the text: {CHOICE}",
    ),
    "first_list": ("a list right after create answers 500 `server_error`, and 200 two seconds later", RECORDINGS),
    "read_after_write": ("a file that was just attached answers 404", f"{AGENTS_1669}; for one second: {CHOICE}"),
    "answers_store": ("the retrieval of a batch answers its whole vector store", PYTHON_2724),
    "created_at_zero": ("a file that no worker has picked up shows `created_at` 0", RECORDINGS),
    "stuck": (
        "a batch shows all its files in progress for ever",
        f"recorded: public reports; until it is cancelled: {CHOICE}",
    ),
    "slow": ("the answer takes five seconds, of virtual time", CHOICE),
    "dropped": ("the request is served, and its answer is lost", CHOICE),
    "file_batch": ("a batch's `object` is `vector_store.file_batch`", f"{RECORDINGS}, ruby-openai 2024"),
}
"""By name, what each fault is, and where it is known from."""


_WINDOW = ("when", "from", "until")


def _checked(where: str, value: Any) -> Any:
    """When a fault acts; raise ``TypeError`` or ``ValueError``."""
    if isinstance(value, During):
        value = {"when": value.when, "from": value.since, "until": value.until}
    if not isinstance(value, Mapping):
        return _when(where, value)
    for key in value:
        if key not in _WINDOW:
            raise ValueError(f"{where}: {shown(key)} is no key of a window of time. Give when, from and until.")
    since, until = (
        _time(where, key, value.get(key, default)) for key, default in (("from", 0.0), ("until", inf))
    )
    if not since < until:
        raise ValueError(f"{where}: it ends at {until:g} s and begins at {since:g} s. Give a later 'until'.")
    return During(_when(where, value.get("when", True)), since, until)


def _time(where: str, key: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{where}: '{key}' is a number of seconds since the start, not {shown(value)}.")
    if not (0 <= value < 1e18 or value == inf):  # a greater integer is no float
        raise ValueError(f"{where}: '{key}' is {shown(value)}. Give seconds since the start: 0 or more.")
    return float(value)


def _when(where: str, value: Any) -> Any:
    if isinstance(value, bool) or callable(value):
        return value
    if isinstance(value, (int, float)):
        if not 0 <= value <= 1:
            raise ValueError(
                f"{where}: {shown(value)} is no probability. Give 0 to 1, or [{value!r}] for a request."
            )
        return value
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Collection):
        raise TypeError(
            f"{where} is True, a probability, a list of request numbers and ids, or a function of the request, "
            f"not {shown(value)}. Write {where[7:-2]}0.1 or {where[7:-2]}[3, 'vsfb_1']."
        )
    for item in value:
        if not isinstance(item, (int, str)) or isinstance(item, bool) or (isinstance(item, int) and item < 1):
            raise ValueError(f"{where}: a list holds request numbers, from 1, and ids, not {shown(item)}.")
    return value


def _seconds(_faults: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"Faults({attribute.name}=…) takes a number of seconds, not {shown(value)}.")
    if not 0 < value < float("inf"):
        raise ValueError(f"Faults({attribute.name}={shown(value)}): give seconds: finite, more than 0.")


def _writes(_faults: object, _attribute: object, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"Faults(writes_per_minute={shown(value)}): give a whole number of 1 or more.")


@frozen(kw_only=True)
class Faults:
    """Which faults there are, each off unless it says when it acts: see ``When``.

    Before the request, which is then refused:

    * ``rate_limit``: 429 for a write (create file, create batch) to a store that had ``writes_per_minute`` in
      the last 60 s, with the whole seconds until there is room in ``retry-after`` (documented: 300 writes a
      minute for each store; that the minute slides, and that only writes count which were served: choice).
    * ``first_list``: 500 for a list of a batch's or of a store's files that comes less than
      ``first_list_seconds`` after something was attached there (recorded: 500, then 200 two seconds later).
    * ``read_after_write``: 404 for a file that was attached less than ``read_after_write_seconds`` ago (recorded:
      agent-framework issue 1669; for how long: choice).

    After the request, which the engine has served:

    * ``answers_store``: the retrieval of a batch answers its whole vector store (recorded, 2025-11: openai-python
      issue 2724, openai-node issue 1700).
    * ``created_at_zero``: a file that waits for a worker shows ``created_at`` 0 (recorded).
    * ``stuck``: a batch shows all its files in progress, whatever became of them (recorded), until it is
      cancelled through this face (choice).
    * ``slow``: the answer comes ``slow_seconds`` of virtual time later, or if the client said that it waits less,
      never (choice).
    * ``dropped``: the answer is lost, of a write that was made, too (choice).
    * ``file_batch``: the ``object`` of a batch is ``vector_store.file_batch`` (recorded; the OpenAPI enum has the
      other word).

    What a batch or a file is, is drawn once for it; ``rate_limit``, ``answers_store``, ``slow``, ``dropped`` and
    ``file_batch`` are drawn for each request.

    Raise ``TypeError`` or ``ValueError`` for what cannot be meant.

    >>> Faults(rate_limit=True, dropped=[3]).slow
    False
    """

    rate_limit: When = False
    first_list: When = False
    read_after_write: When = False
    answers_store: When = False
    created_at_zero: When = False
    stuck: When = False
    slow: When = False
    dropped: When = False
    file_batch: When = False
    writes_per_minute: int = field(default=300, validator=_writes)
    first_list_seconds: float = field(default=2.0, validator=_seconds)
    read_after_write_seconds: float = field(default=1.0, validator=_seconds)
    slow_seconds: float = field(default=5.0, validator=_seconds)

    def __attrs_post_init__(self) -> None:
        for name in SOURCES:
            object.__setattr__(self, name, _checked(f"Faults({name}=…)", getattr(self, name)))


NO_FAULTS = Faults()


class NoAnswer(Exception):
    """The connection was lost before the answer came; the request may have been served."""


class TimedOut(NoAnswer):
    """The client did not wait as long as the answer took; the request was served."""


class RateLimited(RequestError):
    """The store had all the writes of its minute (documented; the text is a choice)."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, vector_store_id: str, most: int, seconds: int) -> None:
        super().__init__(
            f"Rate limit reached for vector store {shown(vector_store_id)}: {most} write requests a minute. "
            f"Please try again in {seconds}s."
        )
        self.headers: Headers = (("retry-after", str(seconds)),)
