"""What was measured, as frozen values and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import asdict, frozen

from benchmarks.measure import Ratio, Times, exponent

FORMAT = "vsbatch-core benchmarks 1"
"""Changes whenever a reader of the old form would misread the new one."""

OURS = "ours"


@frozen
class Result:
    """One contender at one work and size: its times, or why there are none."""

    work: str
    contender: str
    n: int
    times: Times | None = None
    """Seconds for one operation; bytes for each file, if the work measures memory."""
    wrong: str | None = None
    """The wrong answer that it gave, beside the right one."""
    left_out: str | None = None
    """Why it was not measured."""


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
    quick: bool
    complete: bool
    """Whether it came to its end, or was interrupted."""
    titles: dict[str, str]
    """By work, what it is."""
    contenders: dict[str, str]
    """By contender, what it is."""
    results: tuple[Result, ...]

    def works(self) -> list[str]:
        """The works in which anything came out, in order."""
        return list(dict.fromkeys(result.work for result in self.results))

    def of(self, work: str) -> list[Result]:
        """What came out of one work."""
        return [result for result in self.results if result.work == work]

    def find(self, work: str, contender: str, n: int) -> Times | None:
        """The times, if there are any."""
        for result in self.results:
            if (result.work, result.contender, result.n) == (work, contender, n):
                return result.times
        return None

    def ratio(self, work: str, other: str, n: int, one: str = OURS, at: int | None = None) -> Ratio | None:
        """What ``other`` costs over what ``one`` costs, at the size ``n`` (the latter at ``at``, if given)."""
        above, below = self.find(work, other, n), self.find(work, one, n if at is None else at)
        return ratio(above, below)

    def exponent(self, work: str, contender: str) -> float | None:
        """The exponent with which the cost grows, over all sizes."""
        return exponent((r.n, r.times.median) for r in self.of(work) if r.contender == contender and r.times)

    def to_json(self) -> str:
        """The run as JSON."""
        data = asdict(self)
        data["results"] = [_plain(result) for result in self.results]
        return json.dumps({"format": FORMAT, **data}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """The run that ``to_json`` wrote.  Raise ``ValueError``, which says what is wrong with the text."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not '{FORMAT}'")
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


def ratio(above: Times | None, below: Times | None) -> Ratio | None:
    """The ratio, if both are there and had turns together."""
    if above is None or below is None:
        return None
    try:
        return Ratio.of(above, below)
    except ValueError:
        return None


def _plain(result: Result) -> dict[str, Any]:
    plain = asdict(result, recurse=False)
    plain["rounds"] = None if result.times is None else list(result.times.rounds)
    del plain["times"]
    return {name: value for name, value in plain.items() if value is not None}


def _result(rounds: Sequence[float | None] | None = None, **rest: Any) -> Result:
    return Result(times=None if rounds is None else Times(tuple(rounds)), **rest)


def size(n: int) -> str:
    """A size, as it is printed: powers of ten as such."""
    power = len(str(n)) - 1
    return f"10^{power}" if n == 10**power and power >= 3 else f"{n:,}"


def sizes(results: Iterable[Result]) -> list[int]:
    """The sizes that there are, rising."""
    return sorted({result.n for result in results})
