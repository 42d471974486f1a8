"""How much is measured: which works at which sizes, and for how long each."""

from __future__ import annotations

from attrs import frozen

from benchmarks.work import Pace

MAIN = (
    "page.20.middle.asc",
    "page.20.middle.asc.completed",
    "page.100.middle.asc",
    "walk.100",
    "retrieve.file",
    "complete.1",
    "complete.2000",
    "create.2000",
    "cancel.2000",
    "delete-walk",
    "json.page",
    "json.encode",
    "dispatch.page-20",
    "uvicorn.page-20",
    "simulate.run",
    "memory",
)
"""The works that matter most: the rows of the README's table."""


@frozen
class Preset:
    """What is measured unless the command line says otherwise."""

    name: str
    works: tuple[str, ...]
    """Names of works; none means all."""
    sizes: tuple[int, ...]
    pace: Pace
    takes: str
    """How long it takes on two idle cores, beside the peers of the extra ``test``."""

    def __str__(self) -> str:
        works = f"{len(self.works)} works" if self.works else "all works"
        sizes = ", ".join(f"{n:,}" for n in self.sizes)
        return f"{works} at {sizes} files, {self.pace.rounds} rounds: {self.takes}"


QUICK = Preset(
    "quick",
    works=(),
    sizes=(1_000, 4_000),
    pace=Pace(rounds=3, seconds=0.001, budget=0.2, longest=20_000),
    takes="about a minute, a smoke test whose figures mean little",
)
DEFAULT = Preset(
    "default",
    works=MAIN,
    sizes=(1_000, 100_000),
    pace=Pace(rounds=11, budget=0.5, longest=100_000),
    takes="about 2 minutes",
)
FULL = Preset(
    "full",
    works=(),
    sizes=(1_000, 10_000, 100_000, 1_000_000),
    pace=Pace(),
    takes="about 20 minutes",
)
PRESETS = {preset.name: preset for preset in (QUICK, DEFAULT, FULL)}
