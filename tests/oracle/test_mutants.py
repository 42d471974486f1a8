"""Planted bugs are caught: that the machine finds nothing in the engine says something only because of this."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from ..conftest import CAUGHT
from ..helpers.brief import BRIEF
from ..helpers.mutants import MUTANTS, PACKAGE, Mutant, tried

at_length = pytest.mark.skipif(BRIEF, reason="planted bugs are tried once, and not under coverage")


@at_length
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_planted_bug_is_caught(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    verdict = tried(mutant)
    assert verdict.caught, (
        f"{mutant.by} did not catch it (exit status {verdict.status}):\n{verdict.output[-2000:]}"
    )
    record_property(CAUGHT, f"planted bug: {mutant.name} ({mutant.file}): caught by {mutant.by}")


def test_each_planted_bug_has_a_name_of_its_own_and_is_one_line() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
    for mutant in MUTANTS:
        old, new = mutant.old.splitlines(), mutant.new.splitlines()
        assert len(old) == len(new)
        assert sum(a != b for a, b in zip(old, new, strict=True)) == 1


@at_length
@pytest.mark.parametrize("by", sorted({mutant.by for mutant in MUTANTS}))
def test_what_catches_planted_bugs_finds_nothing_where_none_is_planted(by: str) -> None:
    verdict = tried(evolve(MUTANTS[0], by=by), planted=False)
    assert verdict.status == 0, verdict.output[-2000:]


def test_a_planted_bug_whose_place_is_no_longer_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "paging.py").write_text("left = right = right\n", encoding="utf-8")
    gone = Mutant("gone", "paging.py", "middle", "centre")
    twice = Mutant("twice", "paging.py", "right", "wrong")
    for mutant, times in ((gone, 0), (twice, 2)):
        message = f"mutant '{mutant.name}': '{mutant.old}' occurs {times} times in paging.py, and must occur once"
        with pytest.raises(LookupError, match=re.escape(message)):
            mutant.plant(tmp_path)


def test_the_package_itself_is_left_as_it_is() -> None:
    mutant = MUTANTS[0]
    assert mutant.old in (PACKAGE / mutant.file).read_text(encoding="utf-8")
