"""Try laws on a server: Hypothesis chooses and shrinks, a budget bounds how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, get_args

import hypothesis
from attrs import Factory, define, field, frozen
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from vsbatch_core.testing.conformance import law_lists, law_lives, law_refusals, law_shapes
from vsbatch_core.testing.conformance.laws import Law, Mark
from vsbatch_core.testing.conformance.probe import Probe
from vsbatch_core.testing.conformance.tracing import Broken, NotReached, Unreachable

LAWS: tuple[Law, ...] = tuple(
    law for room in (law_shapes, law_refusals, law_lists, law_lives) for law in room.LAWS.values()
)
"""Every law, in the order in which they are tried: those that wait for a server come last."""

Outcome = Literal["ok", "broken", "difference", "not reached"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
NOT_REACHED_ENOUGH = 3
"""After so many tries in which the state was not reached, and none in which it was, a law is given up."""
SHARE = 10
"""One law gets at most this part of what is left of the budget."""

Show = Callable[[str, int, int], None]


@frozen
class Verdict:
    """What became of a law.

    ``detail`` says what was seen, or why the law could not be tried; ``program`` shows a broken one; ``tried`` is
    how often the law was tried in full, ``seconds`` how long it took on the probe's clock.
    """

    law: Law
    outcome: Outcome
    detail: str = ""
    program: str | None = None
    tried: int = 0
    seconds: float = 0.0

    def counts(self, *, strict: bool) -> bool:
        """Whether it is a failure: a documented law that is broken, or if ``strict`` a recorded one."""
        marks: tuple[Mark, ...] = ("documented", "recorded") if strict else ("documented",)
        return self.outcome == "broken" and self.law.mark in marks


@define
class _Tried:
    """What has been seen of one law so far."""

    ok: int = 0
    reasons: list[str] = Factory(list)
    shortest: tuple[str, str] | None = field(default=None)

    def given_up(self) -> bool:
        return self.shortest is None and not self.ok and len(self.reasons) >= NOT_REACHED_ENOUGH

    def broken(self, message: str, program: str) -> None:
        if self.shortest is None or _size(program) <= _size(self.shortest[1]):
            self.shortest = (message, program)


def _size(program: str) -> tuple[int, int]:
    return program.count("\n"), len(program)


def run(law: Law, probe: Probe, *, examples: int, seed: int) -> Verdict:
    """Try one law until the examples or the probe's patience have run out."""
    tried = _Tried()
    begin = probe.now()
    unreachable: list[Unreachable] = []

    def attempt(chosen: dict[str, Any]) -> None:
        if tried.given_up() or probe.now() >= probe.patience.deadline or unreachable:
            return
        trace = probe.trace()
        try:
            law.holds(trace, **chosen)
        except NotReached as reason:
            tried.reasons.append(str(reason))
        except Unreachable as error:
            unreachable.append(error)
        except Broken as broken:
            tried.broken(broken.message, trace.program(f"{law.id} ({law.mark}): {law.sentence}", broken))
            raise
        else:
            tried.ok += 1

    driven = hypothesis.seed(seed)(
        settings(
            max_examples=examples,
            database=None,
            deadline=None,  # how long a server takes is its own affair
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=(HealthCheck.too_slow,),  # as the deadline
            verbosity=hypothesis.Verbosity.quiet,
        )(hypothesis.given(st.fixed_dictionaries(law.choices))(attempt))
    )
    # Flaky: a server that lives in real time need not do the same thing twice; what was seen was seen, and noted.
    with suppress(Broken, hypothesis.errors.Flaky):
        driven()
    if unreachable:
        raise unreachable[0]
    seconds = probe.now() - begin
    if tried.shortest is not None:
        outcome: Outcome = "difference" if law.mark == "choice" else "broken"
        return Verdict(law, outcome, *tried.shortest, tried.ok, seconds)
    if tried.ok:
        return Verdict(law, "ok", tried=tried.ok, seconds=seconds)
    reason = tried.reasons[-1] if tried.reasons else "the budget ran out"
    return Verdict(law, "not reached", reason, seconds=seconds)


def check(
    probe: Probe,
    *,
    laws: Iterable[Law] = LAWS,
    budget: float = 120.0,
    examples: int = 20,
    seed: int = 0,
    show: Show = lambda _title, _done, _total: None,
) -> list[Verdict]:
    """Try the laws on a server, one after the other, within ``budget`` seconds on the probe's clock.

    Raise ``Unreachable`` if the server does not answer, or stops to.  What was made is not deleted: see
    ``Probe.clean_up``.
    """
    probe.reach()
    laws = list(laws)
    end = probe.now() + budget
    probe.patience.after_end = min(5.0, budget / 10)
    verdicts = []
    for i, law in enumerate(laws):
        show("checking laws", i, len(laws))
        probe.patience.deadline = probe.now() + max(0.0, end - probe.now()) / SHARE
        verdicts.append(run(law, probe, examples=examples, seed=seed))
    show("checking laws", len(laws), len(laws))
    return verdicts
