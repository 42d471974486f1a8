"""Planted bugs are caught: that the machine finds nothing in the engine says something only because of this."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from ..conftest import CAUGHT
from ..helpers.brief import BRIEF
from ..helpers.mutants import (
    COMBINED_LAW,
    DRAIN_LAW,
    MUTANTS,
    ON_POSTGRES,
    ONE_POLICY_LAW,
    PACKAGE,
    Mutant,
    canonical,
    tried,
)
from ..helpers.postgres import require_server
from ..helpers.trials import CRASHED, Trials

at_length = pytest.mark.skipif(BRIEF, reason="planted bugs are tried once, and not under coverage")


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    with Trials() as trials:
        yield trials


@pytest.mark.slow
@at_length
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_planted_bug_is_caught(
    mutant: Mutant, trials: Trials, record_property: Callable[[str, object], None]
) -> None:
    if mutant.by.startswith(ON_POSTGRES) or mutant.by.endswith("[postgresql]"):
        require_server()
    verdict = tried(mutant, trials)
    assert verdict.caught, (
        f"{mutant.by} did not catch it (exit status {verdict.outcome.status}):\n{verdict.outcome.output[-2000:]}"
    )
    record_property(CAUGHT, f"planted bug: {mutant.name} ({mutant.file}): caught by {mutant.by}")


@pytest.mark.slow
@at_length
@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if mutant.by == COMBINED_LAW], ids=lambda mutant: mutant.name
)
def test_a_bug_in_which_policies_meet_is_not_caught_by_changing_one_policy_at_a_time(
    mutant: Mutant, trials: Trials
) -> None:
    outcome = tried(evolve(mutant, by=ONE_POLICY_LAW), trials).outcome
    assert outcome.status == 0, outcome.output[-2000:]


def test_each_planted_bug_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 60


# That the laws find nothing where no bug is planted, other tests show; these show that planting harms nothing.


@pytest.mark.slow
@at_length
@pytest.mark.parametrize("by", ["Subject", DRAIN_LAW])
def test_a_trial_of_unharmed_files_in_the_form_of_planted_ones_finds_nothing(by: str, trials: Trials) -> None:
    files = {
        file: canonical((PACKAGE / file).read_text(encoding="utf-8"))
        for file in {mutant.file for mutant in MUTANTS}
    }
    outcome = trials.run(by, files, examples=5)
    assert outcome.status == 0, outcome.output[-2000:]


@pytest.mark.slow
@at_length
def test_a_package_that_cannot_be_imported_is_not_taken_for_a_bug_that_was_caught(trials: Trials) -> None:
    broken = {"paging.py": "raise ImportError\n"}
    assert trials.run("Subject", broken).status == CRASHED
    assert trials.run(DRAIN_LAW, broken).status == CRASHED


@pytest.mark.slow
@at_length
def test_a_trial_leaves_nothing_behind_for_the_next(trials: Trials) -> None:
    assert tried(MUTANTS[0], trials).caught
    assert trials.run("Subject", {}, examples=1).status == 0


# Where a bug is planted


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 200])
def test_each_planted_bug_finds_its_place_though_the_package_is_formatted_anew(
    width: int, tmp_path: Path
) -> None:
    files = {mutant.file for mutant in MUTANTS}
    before = {file: (PACKAGE / file).read_text(encoding="utf-8") for file in files}
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(before[file], encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", str(width), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    after = {file: (tmp_path / file).read_text(encoding="utf-8") for file in files}
    assert any(before[file] != after[file] for file in files)
    for mutant in MUTANTS:
        planted = mutant.planted(after[mutant.file])
        assert planted == mutant.planted(before[mutant.file])
        assert planted != canonical(after[mutant.file]), mutant.name
        compile(planted, mutant.file, "exec")


def test_a_bug_is_planted_whatever_the_comments_commas_parentheses_and_quotes() -> None:
    mutant = Mutant("swapped", "paging.py", "page('asc', low or high)", "page('asc', high or low)")
    plain = "found = page('asc', low or high)\n"
    wrapped = 'found = (\n    page(  # a comment\n        "asc",\n        (low or high),\n    )\n)\n'
    assert mutant.planted(plain) == mutant.planted(wrapped) == "found = page('asc', high or low)"


def test_a_planted_bug_whose_place_is_no_longer_there_says_so() -> None:
    gone = Mutant("gone", "paging.py", "middle", "centre")
    twice = Mutant("twice", "paging.py", "right", "wrong")
    for mutant, times in ((gone, 0), (twice, 2)):
        message = f"mutant '{mutant.name}': '{mutant.old}' occurs {times} times in paging.py, and must occur once"
        with pytest.raises(LookupError, match=re.escape(message)):
            mutant.planted("left = right = right\n")
