"""What was measured, as frozen values and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from attrs import asdict, frozen

from benchmarks.measure import Figures, Ratio, exponent

FORMAT = "vsbatch-core benchmarks 2"
"""Changes whenever a reader of the old format would misread the new one.  Format 1 held wall time alone."""

Clock = Literal["cpu", "wall", "bytes"]
"""What is measured: seconds of CPU time, seconds of wall time, or bytes for each file."""

OURS = "ours"


@frozen
class Result:
    """One contender at one work and size: what it took, or why that is not known."""

    work: str
    contender: str
    n: int
    wall: Figures | None = None
    """Seconds of wall time for one operation."""
    cpu: Figures | None = None
    """Seconds of CPU time for one operation, in the same rounds."""
    cpu_lacks: str = ""
    """What the CPU time does not include though it is part of the cost; ``""`` if it includes all."""
    bytes: Figures | None = None
    """Bytes for each file, of works that measure memory."""
    wrong: str | None = None
    """The wrong result that it returned, beside the right one."""
    left_out: str | None = None
    """Why it was not measured."""
    note: str = ""
    """What else is to be said of it."""

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Return what was measured; first the clock by which the contender is compared with others.

        That is CPU time, unless it does not include all of the cost.
        """
        clocks: tuple[Clock, ...] = ("wall", "cpu", "bytes") if self.cpu_lacks else ("cpu", "wall", "bytes")
        return tuple(clock for clock in clocks if self.figures(clock) is not None)

    def figures(self, clock: Clock) -> Figures | None:
        """Return what was measured by this clock."""
        figures: Figures | None = getattr(self, clock)
        return figures


@frozen
class Machine:
    """Where and with what it was measured; nothing that names the machine."""

    cpu: str
    cores: int
    system: str
    python: str
    versions: dict[str, str]
    """By program or package; ``""`` for one that is not here."""

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} core{'s' * (self.cores != 1)}, {self.system}, {self.python}"


@frozen
class Load:
    """Load averages over the last minute: before, the highest met, and after."""

    before: float
    highest: float
    after: float


@frozen
class Run:
    """One run of the whole or a part."""

    date: str
    machine: Machine
    load: Load
    preset: str
    """By which preset's sizes and rounds: see ``benchmarks/presets.py``."""
    complete: bool
    """Whether it came to its end, or was interrupted."""
    titles: dict[str, str]
    """By work, what it is."""
    contenders: dict[str, str]
    """By contender, what it is."""
    results: tuple[Result, ...]

    def works(self) -> list[str]:
        """Return the works that have results, in order."""
        return list(dict.fromkeys(result.work for result in self.results))

    def of(self, work: str) -> list[Result]:
        """Return the results of one work."""
        return [result for result in self.results if result.work == work]

    def find(self, work: str, contender: str, n: int) -> Result | None:
        """Return the result, if something was measured."""
        for result in self.results:
            if (result.work, result.contender, result.n) == (work, contender, n):
                return result if result.clocks else None
        return None

    def ratio(self, work: str, other: str, n: int, one: str = OURS, at: int | None = None) -> Ratio | None:
        """Return what ``other`` costs over what ``one`` costs, by the clock that suits both.

        See ``common_clock``.  At the size ``n``; of ``one`` at the size ``at``, if that is given.
        """
        above, below = self.find(work, other, n), self.find(work, one, n if at is None else at)
        return ratio(above, below, common_clock(above, below))

    def exponent(self, work: str, contender: str) -> float | None:
        """Return the exponent with which the cost grows, over all sizes."""
        return grown(result for result in self.of(work) if result.contender == contender)

    def to_json(self) -> str:
        """Return the run as JSON."""
        data = asdict(self)
        data["results"] = [_plain(result) for result in self.results]
        return json.dumps({"format": FORMAT, **data}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Return the run that ``to_json`` wrote.  Raise ``ValueError``, which says what is wrong with it."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        found = data.pop("format", None) if isinstance(data, dict) else None
        if found != FORMAT:
            raise ValueError(
                f"its format is {'not given' if found is None else repr(found)}, and only '{FORMAT}' can be "
                "read, which holds CPU time beside wall time: measure again with --json"
            )
        try:
            return cls(
                **{
                    **data,
                    "machine": Machine(**data["machine"]),
                    "load": Load(**data["load"]),
                    "results": tuple(_result(**result) for result in data["results"]),
                }
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"it is not a run: {type(error).__name__}: {error}") from None


def common_clock(*results: Result | None) -> Clock | None:
    """Return the clock by which results are compared.

    CPU time if that is the whole cost of all of them, else wall time if it was measured for all; ``None`` if
    nothing was measured for all.
    """
    if None in results:
        return None
    each = [result.clocks for result in results if result is not None]
    if len({clocks[:1] for clocks in each}) == 1:
        return each[0][0] if each[0] else None
    return "wall" if all("wall" in clocks for clocks in each) else None


def ratio(above: Result | None, below: Result | None, clock: Clock | None) -> Ratio | None:
    """Return the ratio by a clock, if both were measured by it and had turns together."""
    if above is None or below is None or clock is None:
        return None
    a, b = above.figures(clock), below.figures(clock)
    if a is None or b is None:
        return None
    try:
        return Ratio.of(a, b)
    except ValueError:
        return None


def grown(results: Iterable[Result]) -> float | None:
    """Return the exponent with which a contender's cost grows over the sizes; ``None`` if it has one size."""
    measured = [result for result in results if result.clocks]
    clock = common_clock(*measured) if measured else None
    if clock is None:
        return None
    figures = ((result.n, result.figures(clock)) for result in measured)
    return exponent((n, found.median) for n, found in figures if found is not None)


FIGURES = ("wall", "cpu", "bytes")


def _plain(result: Result) -> dict[str, Any]:
    plain = asdict(result, recurse=False, filter=lambda attribute, value: value != attribute.default)
    return {name: list(value.rounds) if name in FIGURES else value for name, value in plain.items()}


def _result(**fields: Any) -> Result:
    figures: dict[str, Any] = {name: Figures(tuple(fields.pop(name))) for name in FIGURES if name in fields}
    return Result(**fields, **figures)


def size(n: int) -> str:
    """Return a size as it is printed: powers of ten as such."""
    power = len(str(n)) - 1
    return f"10^{power}" if n == 10**power and power >= 3 else f"{n:,}"


def sizes(results: Iterable[Result]) -> list[int]:
    """Return the sizes that there are, rising."""
    return sorted({result.n for result in results})
