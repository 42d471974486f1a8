"""The plan: how many workers, how long a file takes, what becomes of it, in which order, how often it is tried.

Everything is checked where it is written, and said with what to write instead.  A plan is data, and can be shared
by simulations; whatever it draws comes from the simulation's own random source.

What becomes of a file is looked up in this order, and the first that speaks of it decides: ``script`` by its id,
``by_id``, ``by_suffix``, ``failures``.  A file's suffix is that of its attribute ``path``, ``filename`` or
``name``, the first that is a string, else that of its id; in lower case (choice).  Its size is what ``size``
answers if the plan has one, else what the engine's ``file_size`` answers, else its attribute ``bytes`` (choice).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from posixpath import splitext
from random import Random
from typing import Any, Literal, TypedDict, Unpack, cast, get_args

from attrs import field, frozen

from vsbatch_core.errors import shown
from vsbatch_core.model import ERROR_CODES, Attributes, ErrorCode, FrozenDict, VectorStoreFile
from vsbatch_core.simulation.durations import (
    DURATIONS,
    Constant,
    Duration,
    DurationFunction,
    PerMegabyte,
    Sizer,
    duration,
)
from vsbatch_core.simulation.outcomes import Completed, Failed, Never, Outcome, number, seconds
from vsbatch_core.simulation.queue import KeyFunction

Order = Literal["fifo", "lifo", "random", "smallest"]
ORDERS: tuple[Order, ...] = get_args(Order)
Rates = tuple[tuple[float, Failed], ...]
"""Failures by the sum of their probability and of those before."""
Failures = ErrorCode | Mapping[ErrorCode, float] | Rates
"""Probabilities by error code, or a code that is certain; or what a plan has, for one that is made from it."""
Script = Mapping[str, Outcome | Sequence[Outcome]]
"""By file id what becomes of it, or of each try."""

Decide = Callable[[VectorStoreFile], Outcome]
"""Called with a file when a worker picks it up, answers what becomes of it."""

Decider = Callable[[Any, int], Outcome]
"""The same, with how often it was tried before.  Unless the plan has a function of the user's, it looks at ``id``
and ``attributes`` of the file alone, and at nothing if the plan does not name files."""

COMPLETED = Completed()
_NAMES = ("path", "filename", "name")


def rates(where: str, value: Any) -> Rates:
    """Probabilities by error code; a bare code is certain.  Raise ``TypeError`` or ``ValueError``."""
    if isinstance(value, tuple) and all(
        isinstance(item, tuple) and isinstance(item[-1], Failed) for item in value
    ):
        return value  # of a plan that is made from another by evolve
    if isinstance(value, str):
        value = {value: 1.0}
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{where} takes probabilities by error code, not {shown(value)}. Write {{'invalid_file': 0.1}}."
        )
    found: list[tuple[float, Failed]] = []
    total = 0.0
    for code, probability in value.items():
        if code not in ERROR_CODES:
            codes = ", ".join(f"'{known}'" for known in ERROR_CODES)
            raise ValueError(f"{where} names {shown(code)}: the API's error codes are {codes}.")
        if isinstance(probability, bool) or not isinstance(probability, (int, float)):
            raise TypeError(f"{where}: the probability of '{code}' is a number, not {shown(probability)}.")
        if not 0 <= probability <= 1:
            raise ValueError(f"{where}: '{code}' has probability {shown(probability)}. Give 0 to 1: 0.1 is 10 %.")
        total += probability
        found.append((total, Failed(cast("ErrorCode", code))))
    if total > 1 + 1e-9:  # what ten times 0.1 comes to
        raise ValueError(f"{where}: the probabilities sum to {total:g}. Give at most 1; the rest completes.")
    return tuple(found)


def _mapping(where: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} takes a dict, not {shown(value)}. Write {where.replace('…', '{…: …}')}.")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{where}: its keys are strings, not {shown(key)}.")
    return value


def _failures(value: Failures) -> Rates:
    return rates("Plan(failures=…)", value)


def _by_id(value: Mapping[str, Failures]) -> FrozenDict[str, Rates]:
    pairs = _mapping("Plan(by_id=…)", value)
    return FrozenDict({id: rates(f"Plan(by_id=…) of '{id}'", item) for id, item in pairs.items()})


def _by_suffix(value: Mapping[str, Failures]) -> FrozenDict[str, Rates]:
    pairs = _mapping("Plan(by_suffix=…)", value)
    for suffix in pairs:
        if not suffix.startswith(".") or suffix != suffix.lower():
            raise ValueError(f"Plan(by_suffix=…) names '{suffix}'. Write it '.{suffix.lstrip('.').lower()}'.")
    return FrozenDict({suffix: rates(f"Plan(by_suffix=…) of '{suffix}'", item) for suffix, item in pairs.items()})


def outcome(where: str, value: Any) -> Outcome:
    """An outcome; raise ``TypeError`` for anything else."""
    if not isinstance(value, Outcome):
        raise TypeError(
            f"{where} {shown(value)}. Write Completed(after=3.0), Failed('server_error', after=3.0) or Never()."
        )
    return value


def _script(value: Script) -> FrozenDict[str, tuple[Outcome, ...]]:
    found = {}
    for id, item in _mapping("Plan(script=…)", value).items():
        where = f"Plan(script=…) says of file {shown(id)}:"
        items = item if isinstance(item, Sequence) and not isinstance(item, str) else (item,)
        if not items:
            raise ValueError(f"{where} []. Give what becomes of it, or leave it out.")
        found[id] = tuple(outcome(where, one) for one in items)
    return FrozenDict(found)


def _whole(name: str, value: Any, advice: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {shown(value)}.")
    if value < 1:
        raise ValueError(f"{name}={shown(value)}: {advice} Give 1 or more.")
    return value


def workers(value: int | None) -> int | None:
    """A number of workers; ``None`` for as many as there are files.  Raise ``TypeError`` or ``ValueError``."""
    return None if value is None else _whole("workers", value, "without a worker no file would ever end.")


def _polls(value: int | None) -> int | None:
    return None if value is None else _whole("Plan(polls)", value, "a file cannot end before it is asked for.")


def _order(_plan: object, _attribute: object, value: Any) -> None:
    if not callable(value) and value not in ORDERS:
        words = ", ".join(f"'{word}'" for word in ORDERS)
        raise ValueError(
            f"Plan(order={shown(value)}): give one of {words}, or a function of a file; the least comes first."
        )


def _function(example: str) -> Callable[[object, Any, Any], None]:
    def validate(_plan: object, attribute: Any, value: Any) -> None:
        if value is not None and not callable(value):
            raise TypeError(
                f"Plan({attribute.name}=…) takes a function of a file, not {shown(value)}. Write {example}."
            )

    return validate


def _cancel(_plan: object, _attribute: object, value: Any) -> None:
    if value not in (None, "immediate", "drain"):
        raise ValueError(f"Plan(cancel={shown(value)}): give 'immediate' or 'drain', or nothing.")


def _times(value: int) -> int:
    return _whole("Retries(times)", value, "leave retries out for none.")


@frozen
class Retries:
    """A file that fails with ``server_error`` is tried again, ``times`` times at most, and fails after that.

    It leaves its worker and goes to the end of the line ``first`` seconds later, then ``factor`` times as many
    the next time, and so on, but never more than ``most``.
    """

    times: int = field(converter=_times)
    first: float = field(default=1.0, kw_only=True)
    factor: float = field(default=2.0, kw_only=True)
    most: float = field(default=3600.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("first", "most"):
            seconds(f"Retries({name}=…)", getattr(self, name), "nothing is tried again before it failed.")
        if not 1 <= number("Retries(factor=…)", self.factor) < float("inf"):
            raise ValueError(
                f"Retries(factor={shown(self.factor)}): give 1 for the same wait each time, or more."
            )

    def wait(self, tried: int) -> float:
        """The seconds until it is tried again, after it was tried ``tried`` times."""
        wait = self.first
        for _ in range(1, tried):
            if wait >= self.most:
                break
            wait *= self.factor
        return min(wait, self.most)


def _retries(value: int | Retries | None) -> Retries | None:
    if value is None or isinstance(value, Retries):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Retries(value) if value else None
    raise TypeError(f"Plan(retries=…) takes a number or Retries(3, first=1.0, factor=2.0), not {shown(value)}.")


class Unpolled(TypedDict, total=False):
    """What a plan takes that has no ``polls``: see ``Plan``."""

    workers: int | None
    service: float | Duration | DurationFunction
    failures: Failures
    by_suffix: Mapping[str, Failures]
    by_id: Mapping[str, Failures]
    script: Script
    decide: Decide | None
    order: Order | KeyFunction
    retries: int | Retries | None
    cancel: Literal["immediate", "drain"] | None
    size: Sizer | None
    by_hand: bool


class Options(Unpolled, total=False):
    """What a plan takes: see ``Plan``."""

    polls: int | None


@frozen(kw_only=True)
class Plan:
    """What becomes of files.

    * ``workers``: how many files are worked on at a time; ``None`` for all of them.
    * ``service``: how long a worker needs for a file: seconds, ``Constant``, ``Uniform``, ``Exponential``,
      ``Lognormal``, ``PerMegabyte``, ``Empirical``, or a function of the file and the random source.
    * ``failures``: probabilities by error code, as ``{"server_error": 0.01}``; all others complete.
      ``by_suffix`` and ``by_id``: such probabilities, or a certain code, by the file's suffix or id.
    * ``script``: by file id ``Completed(…)``, ``Failed(…)`` or ``Never()``; a list says what comes of it at the
      first try, the second, …, and the last of it ever after.
    * ``decide``: a function of the file that answers such an outcome, for all files, instead of all these.
    * ``order``: which of the files that wait is next: ``fifo``, ``lifo``, ``random``, ``smallest``, or the least
      by a function of the file.
    * ``retries``: ``Retries`` of a ``server_error``, or their number.
    * ``cancel``: ``drain`` has files that are picked up finish when their batch is cancelled; ``immediate`` does
      not.  It must be what the engine's profile says; if not given it is that.
    * ``size``: a function of the file that answers its bytes.
    * ``polls``: files end only by being asked for: at the ``polls``-th look at the file or at its batch.
    * ``by_hand``: nothing happens to files but what the host does.

    Raise ``TypeError`` or ``ValueError`` for what cannot be meant.

    >>> Plan(failures={"server_error": 0.1}, retries=2).retries
    Retries(times=2, first=1.0, factor=2.0, most=3600.0)
    """

    workers: int | None = field(default=8, converter=workers)
    service: Duration | DurationFunction = field(default=Constant(1.0), converter=duration)
    failures: Rates = field(default=(), converter=_failures, repr=False)
    by_suffix: FrozenDict[str, Rates] = field(default=FrozenDict(), converter=_by_suffix, repr=False)
    by_id: FrozenDict[str, Rates] = field(default=FrozenDict(), converter=_by_id, repr=False)
    script: FrozenDict[str, tuple[Outcome, ...]] = field(default=FrozenDict(), converter=_script, repr=False)
    decide: Decide | None = field(
        default=None, validator=_function("decide=lambda file: Completed(after=3.0)"), repr=False
    )
    order: Order | KeyFunction = field(default="fifo", validator=_order)
    retries: Retries | None = field(default=None, converter=_retries)
    cancel: Literal["immediate", "drain"] | None = field(default=None, validator=_cancel)
    size: Sizer | None = field(default=None, validator=_function("size=lambda file: 1_000_000"), repr=False)
    polls: int | None = field(default=None, converter=_polls)
    by_hand: bool = False

    def __attrs_post_init__(self) -> None:
        if self.decide and (self.script or self.by_id or self.by_suffix or self.failures):
            raise ValueError("Plan(decide=…) decides alone: leave out script, by_id, by_suffix and failures.")
        if self.by_hand and self.polls:
            raise ValueError("Plan: files end by hand or by polls. Leave out by_hand or polls.")

    @classmethod
    def immediate(cls, **more: Unpack[Options]) -> Plan:
        """Every file ends at the instant at which it was attached, as soon as the simulation is let go on."""
        options: Options = {"workers": None, "service": 0, **more}
        return cls(**options)

    @classmethod
    def after_seconds(cls, seconds: float, **more: Unpack[Options]) -> Plan:
        """Every file ends ``seconds`` after it was attached, however many there are."""
        options: Options = {"workers": None, "service": seconds, **more}
        return cls(**options)

    @classmethod
    def after_polls(cls, polls: int, **more: Unpack[Unpolled]) -> Plan:
        """A batch's files, or a file, end at the ``polls``-th look at it, whatever the time."""
        return cls(polls=polls, **more)

    @classmethod
    def manual(cls, **more: Unpack[Options]) -> Plan:
        """Files end when the host says so, through ``engine.processing``, and the simulation keeps time alone."""
        options: Options = {"by_hand": True, **more}
        return cls(**options)

    @property
    def automatic(self) -> bool:
        """Whether workers pick up files of themselves."""
        return self.polls is None and not self.by_hand

    @property
    def certain(self) -> bool:
        """Whether all files are completed, after what ``service`` says."""
        return not (self.decide or self.script or self.by_id or self.by_suffix or self.failures)

    @property
    def names_files(self) -> bool:
        """Whether what becomes of a file, and what it takes up, may depend on which it is."""
        return bool(
            self.decide
            or self.script
            or self.by_id
            or self.by_suffix
            or self.size
            or callable(self.order)
            or self.order == "smallest"
            or type(self.service) not in DURATIONS
            or isinstance(self.service, PerMegabyte)
        )

    @property
    def foreseeable(self) -> bool:
        """Whether all that becomes of files in the order in which they came is drawn, with nobody asked.

        It is not if the plan has a function of the user's, tries files again, never ends some, or has another
        order.
        """
        return (
            self.automatic
            and self.order == "fifo"
            and self.decide is None
            and self.retries is None
            and self.size is None
            and type(self.service) in DURATIONS
            and not any(isinstance(outcome, Never) for outcomes in self.script.values() for outcome in outcomes)
        )

    def decider(self, random: Random) -> Decider:
        """What becomes of a file, as a function bound to a random source."""
        decide, script, by_id, by_suffix, failures = (
            self.decide,
            self.script,
            self.by_id,
            self.by_suffix,
            self.failures,
        )
        if decide is not None:

            def decided(file: Any, _tried: int) -> Outcome:
                found: Any = decide(file)
                if isinstance(found, (Completed, Failed, Never)):
                    return found
                return outcome(f"The plan answered, for file {shown(file.id)},", found)

            return decided
        if self.certain:
            return lambda _file, _tried: COMPLETED
        draw = random.random

        if not (script or by_id or by_suffix):

            def by_luck(_file: object, _tried: int) -> Outcome:
                luck = draw()
                for below, failed in failures:
                    if luck < below:
                        return failed
                return COMPLETED

            return by_luck

        def drawn(file: Any, tried: int) -> Outcome:
            scripted = script.get(file.id)
            if scripted is not None:
                return scripted[min(tried, len(scripted) - 1)]
            chances = by_id.get(file.id)
            if chances is None:
                chances = by_suffix.get(suffix_of(file), failures) if by_suffix else failures
            if chances:
                luck = draw()
                for below, failed in chances:
                    if luck < below:
                        return failed
            return COMPLETED

        return drawn


def suffix_of(file: Any) -> str:
    """The file's suffix with its dot, in lower case, or nothing."""
    attributes: Attributes = file.attributes
    names: Iterator[object] = (attributes.get(name) for name in _NAMES) if attributes else iter(())
    name: str = next((name for name in names if isinstance(name, str)), file.id)
    return splitext(name)[1].lower()
