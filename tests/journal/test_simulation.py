"""Replicas over one log, under a schedule and faults that a seed decides, are one engine to all who use them.

``tests/helpers/journal_simulation.py`` says what is judged.  A failure prints its seed and the shortest
history that was found; ``python -m tests.helpers.journal_simulation SEED`` prints it again.
"""

from __future__ import annotations

from collections import Counter

import pytest

from vsbatch_core.journal.replica import Replica
from vsbatch_core.testing.calls import call

from ..helpers.brief import EFFORT, searching
from ..helpers.fake_log import POINTS, Fault
from ..helpers.journal_simulation import Epoch, Step, World, report, search, shortened, violation_of

SEEDS = {"brief": 60, "usual": 400, "long": 10_000}[EFFORT]
PARTS = 2
"""The seeds are shared out, so that they can be gone through at the same time."""


@searching
@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_and_no_faults_tell_replicas_of_one_log_from_the_oracle(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        found = search(seed)
        if found is not None:
            pytest.fail(report(seed, *shortened(seed, *found)))


def test_the_simulation_goes_everywhere() -> None:
    fired: Counter[tuple[str, str]] = Counter()
    outcomes: Counter[str] = Counter()
    for seed in range(200):
        assert search(seed, fired=fired, outcomes=outcomes) is None
    everywhere = {(point, kind) for point, kinds in POINTS.items() for kind in kinds} | {("database", "set back")}
    assert everywhere - set(fired) == set()
    assert set(outcomes) >= {
        "done",
        "refused",
        "DatabaseUnavailable",
        "OutcomeUnknown",
        "KeyboardInterrupt",
        "Crash",
    }


def test_equal_seeds_lead_to_equal_runs() -> None:
    for seed in range(5):
        runs = []
        for _ in range(2):
            world = World(seed)
            assert search(seed, world=world) is None
            runs.append((world.ticks, world.disk.archive, world.disk.frames))
        assert runs[0] == runs[1]


def test_a_violation_is_shown_by_its_seed_and_the_shortest_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replica, "_current", lambda self, read, arguments: self._view(read, arguments))
    seed, found = next((seed, found) for seed in range(100) if (found := search(seed)) is not None)
    history, wrong = shortened(seed, *found)
    assert violation_of(seed, history) == wrong
    assert len(history) <= 3
    text = report(seed, history, wrong)
    assert text.startswith(f"seed {seed}:\nepoch ")
    assert text.endswith(wrong)


def test_the_judge_finds_an_order_that_the_log_does_not_have() -> None:
    """Two commands that do not overlap are in the order of time, two that do may be in either."""
    steps = Step(1, call("vector_stores.create", name="a")), Step(2, call("vector_stores.retrieve", "vs_1"))
    for seed in range(20):
        for threads in ([(0, steps)], [(0, steps[:1]), (1, steps[1:])]):
            assert violation_of(seed, [Epoch(1, 0.0, (), False, tuple(threads), ())]) is None


def test_the_faults_of_a_history_are_printed() -> None:
    fault = Fault(1, "commit", 2, "late")
    epoch = Epoch(3, 1.0, (2,), True, ((1, (Step(4, call("vector_stores.create")),)),), (fault,), 2)
    text = report(7, [epoch], "it is wrong")
    assert "process 1: late at passage 2 of 'commit'" in text
    assert "[4] engine.vector_stores.create()" in text
    assert "processes (2,) are restarted" in text
    assert "1.0 seconds pass" in text
    assert "the database is set back by 2 epochs" in text
