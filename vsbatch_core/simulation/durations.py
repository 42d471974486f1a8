"""How long a worker needs for a file: a number of seconds, or where one is drawn from.

A duration is made once, checked where it is written, and asked for a ``sampler`` when a simulation begins: a
function of the file, bound to a random source.  Only that of ``PerMegabyte`` looks at the file; the samplers of
the others may be given ``None``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import exp, inf, log, sqrt
from random import Random
from typing import Any

from attrs import field, frozen

from vsbatch_core.errors import shown
from vsbatch_core.model import VectorStoreFile
from vsbatch_core.simulation.outcomes import seconds

Sampler = Callable[[Any], float]
"""Called with a file, returns seconds."""

Many = Callable[[int], list[float]]
"""Called with a number of files, returns the seconds of each."""

OfSizes = Callable[[list[int]], list[float]]
"""Called with the sizes of files in bytes, returns the seconds of each."""

Sizer = Callable[[Any], int]
"""Called with a file, returns its size in bytes."""

MEGABYTE = 1_000_000
_TIME = "no file takes less than no time."
_NORMAL = 4 * exp(-0.5) / sqrt(2.0)
"""The constant of the method of Kinderman and Monahan for normal draws, which ``random`` uses too."""
_WIDEST = 50.0
"""Past this sigma a lognormal draw may be larger than any float."""


def _seconds(duration: object, attribute: Any, value: Any) -> None:
    seconds(f"{type(duration).__name__}({attribute.name}=…)", value, _TIME)


def _positive(duration: object, attribute: Any, value: Any) -> None:
    _seconds(duration, attribute, value)
    if not value:
        name = type(duration).__name__
        raise ValueError(f"{name}({attribute.name}=0): write Constant(0) for files that take no time.")


class Duration(ABC):
    """What the durations of this module have in common."""

    __slots__ = ()

    @abstractmethod
    def sampler(self, random: Random, size: Sizer) -> Sampler:
        """The function that is asked for each file."""

    def many(self, random: Random, size: Sizer) -> Many:
        """Return a function that draws for many files what ``sampler`` draws for each, whichever they are."""
        sample = self.sampler(random, size)
        return lambda n: [sample(None) for _ in range(n)]


@frozen
class Constant(Duration):
    """The same for every file."""

    seconds: float = field(validator=_seconds)

    def sampler(self, random: Random, size: Sizer) -> Sampler:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        value = float(self.seconds)
        return lambda _file: value

    def many(self, random: Random, size: Sizer) -> Many:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        value = float(self.seconds)
        return lambda n: [value] * n


@frozen
class Uniform(Duration):
    """Anything from ``low`` to ``high``, all equally likely; refuses a ``high`` below ``low``."""

    low: float = field(validator=_seconds)
    high: float = field(validator=_seconds)

    def __attrs_post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"Uniform({self.low}, {self.high}): write Uniform({self.high}, {self.low}).")

    def sampler(self, random: Random, size: Sizer) -> Sampler:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        low, width, draw = self.low, self.high - self.low, random.random
        return lambda _file: low + width * draw()

    def many(self, random: Random, size: Sizer) -> Many:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        low, width, draw = self.low, self.high - self.low, random.random
        return lambda n: [low + width * draw() for _ in range(n)]


@frozen
class Exponential(Duration):
    """Memoryless, with this ``mean``: the service of an M/M/c queue."""

    mean: float = field(validator=_positive)

    def sampler(self, random: Random, size: Sizer) -> Sampler:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        # As ``random.expovariate``, without a call for each draw.
        rate, draw = 1 / self.mean, random.random
        return lambda _file: -log(1.0 - draw()) / rate

    def many(self, random: Random, size: Sizer) -> Many:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        rate, draw = 1 / self.mean, random.random
        return lambda n: [-log(1.0 - draw()) / rate for _ in range(n)]


@frozen
class Lognormal(Duration):
    """Half the files below ``median``, and a long tail: ``sigma``, 0 to 50, is the deviation of the logarithm."""

    median: float = field(validator=_positive)
    sigma: float = field(validator=_seconds)

    def __attrs_post_init__(self) -> None:
        if self.sigma > _WIDEST:
            raise ValueError(
                f"Lognormal(sigma={shown(self.sigma)}): sigma is of the logarithm; give 0 to {_WIDEST:g}, as 0.5."
            )

    def sampler(self, random: Random, size: Sizer) -> Sampler:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        # As ``random.lognormvariate``, without two calls for each draw.
        mu, sigma, draw = log(self.median), self.sigma, random.random

        def sample(_file: object) -> float:
            while True:
                u = draw()
                v = 1.0 - draw()
                z = _NORMAL * (u - 0.5) / v
                if z * z / 4.0 <= -log(v):
                    return exp(mu + z * sigma)

        return sample

    def many(self, random: Random, size: Sizer) -> Many:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        own = log(self.median), self.sigma, random.random, _NORMAL

        def sample(n: int) -> list[float]:
            found: list[float] = []
            mu, sigma, draw, normal = own  # faster than what stands outside of the function
            while len(found) < n:
                # As many pairs of numbers as are needed at least: none is drawn in vain.
                found += [
                    exp(mu + z * sigma)
                    for _ in range(n - len(found))
                    if (z := normal * (draw() - 0.5) / (v := 1.0 - draw())) * z <= -4.0 * log(v)
                ]
            return found

        return sample


@frozen
class PerMegabyte(Duration):
    """``base`` seconds, and ``seconds`` more for each 1,000,000 bytes of the file.

    ``Plan`` says where the size comes from; for a file whose size nobody says, the step that picks it up raises
    ``ValueError``.
    """

    seconds: float = field(validator=_seconds)
    base: float = field(default=0.0, validator=_seconds)

    def sampler(self, random: Random, size: Sizer) -> Sampler:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        base, each = self.base, self.seconds / MEGABYTE
        return lambda file: base + each * size(file)

    def of_sizes(self, sizes: list[int]) -> list[float]:
        """Return the seconds of files that have these sizes, as ``sampler`` gives them."""
        base, each = self.base, self.seconds / MEGABYTE
        return [base + each * size for size in sizes]


def _observed(value: Any) -> tuple[float, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"Empirical(…) takes a list of seconds, not {shown(value)}. Write Empirical([0.8, 1.3]).")
    if not value:
        raise ValueError("Empirical([]): there is nothing to draw from. Write Empirical([0.8, 1.3]).")
    return tuple(seconds(f"Empirical([{i}]=…)", item, _TIME) for i, item in enumerate(value))


@frozen
class Empirical(Duration):
    """One of the durations that were observed, all equally likely."""

    observed: tuple[float, ...] = field(converter=_observed)

    def sampler(self, random: Random, size: Sizer) -> Sampler:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        # As ``random.choice``, without two calls for each draw.
        observed, n, draw = self.observed, len(self.observed), random.getrandbits
        bits = n.bit_length()

        def sample(_file: object) -> float:
            i = draw(bits)
            while i >= n:
                i = draw(bits)
            return observed[i]

        return sample

    def many(self, random: Random, size: Sizer) -> Many:  # noqa: ARG002 - see Duration
        """See ``Duration``."""
        observed, most, draw = self.observed, len(self.observed), random.getrandbits
        bits = most.bit_length()

        def sample(n: int) -> list[float]:
            found: list[float] = []
            while len(found) < n:
                found += [observed[i] for _ in range(n - len(found)) if (i := draw(bits)) < most]
            return found

        return sample


DURATIONS = (Constant, Uniform, Exponential, Lognormal, PerMegabyte, Empirical)
"""The durations of this module, which ask nobody but the random source and the ``Sizer``."""

DurationFunction = Callable[[VectorStoreFile, Random], float]
"""A duration of one's own: called with the file and the simulation's random source, answers seconds."""


def duration(value: float | Duration | DurationFunction) -> Duration | DurationFunction:
    """A plan's ``service``; a bare number is constant.  Raise ``TypeError`` or ``ValueError``."""
    if isinstance(value, Duration) or (callable(value) and not isinstance(value, type)):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Constant(value)
    raise TypeError(
        f"Plan(service=…) takes seconds, a duration or a function of the file and the random source, not "
        f"{shown(value)}. Write service=1.5, service=Exponential(mean=1.5) or service=lambda file, random: 1.5."
    )


def sampler(of: Duration | DurationFunction, random: Random, size: Sizer) -> Sampler:
    """The sampler of any ``service``; what a function of one's own answers is checked each time."""
    if isinstance(of, Duration):
        return of.sampler(random, size)
    function = of

    def checked(file: VectorStoreFile) -> float:
        found = function(file, random)
        if type(found) is float and 0.0 <= found < inf:
            return found
        return seconds(f"The service of file {shown(file.id)} (…)", found, _TIME)

    return checked
