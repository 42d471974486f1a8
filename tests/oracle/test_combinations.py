"""Every combination of policies: one story, which meets them all, is told to the engine and to the oracle.

The machine draws a profile for each history, and which policies meet in it is luck.  Here there is one story and
every profile: 13,824 of them, limits aside.  They take a minute on one core; in brief it is one in 29 of them.
The story tells any two profiles apart that differ in one policy, whatever the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, combinations, islice, product
from math import prod
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings

from vsbatch_core import Completed, Failed, Profile
from vsbatch_core.model import ORDERS, data_of, policies
from vsbatch_core.testing import strategies as us
from vsbatch_core.testing.calls import Call, answer, call, same
from vsbatch_core.testing.oracle import Oracle
from vsbatch_core.testing.remote import Dispatched
from vsbatch_core.testing.subjects import Replayed, Restored, Subject, World

from ..helpers.brief import BRIEF, examples

WORDS = policies()
DEFAULT = Profile()
PARTS = list(product(WORDS["reattach"], WORDS["ties"]))
"""The words by which the profiles are dealt out to tests, so that these can run side by side."""
STRIDE = 29
"""In brief, and through other subjects than the engine, one profile in so many is tried.  It has no divisor in
common with the numbers of words, which are 2 and 3, so that every word comes with every other."""

Give = Callable[..., Any]
"""Gives a call to whom the story is told; returns the value, or the ``Refusal``."""


def combined(stride: int, **fixed: str) -> Iterator[Profile]:
    """Every profile that has these words, or one in ``stride`` of them."""
    choices = [(fixed[key],) if key in fixed else words for key, words in WORDS.items()]
    for words in islice(product(*choices), 0, None, stride):
        yield Profile(**dict(zip(WORDS, words, strict=True)))  # type: ignore[arg-type]  # words of its keys


def happen(give: Give) -> tuple[str, str, str]:
    """Tell what happens: every command that a policy decides about.  Return the ids that ``read`` takes.

    Where a policy may refuse a call, nothing that comes later needs what it would have made, so that every later
    decision is come to under every profile.
    """
    stores, batches, files = "vector_stores", "vector_stores.file_batches", "vector_stores.files"
    # A store without a name; one that is deleted, and stays a cursor; one that is made only if no file may be
    # named twice in a request.
    vs = give(f"{stores}.create").id
    gone = give(f"{stores}.create", name="gone").id
    give(f"{stores}.create", file_ids=["file-b", "file-a", "file-b"], name="")
    give(f"{stores}.update", vs, name=None)
    give(f"{stores}.delete", gone)
    inside = {"vector_store_id": vs}

    # Of five files of one second, in no order, one is completed and two are held when the batch is cancelled.
    first = give(f"{batches}.create", vs, file_ids=["file-d", "file-b", "file-e", "file-a", "file-c"]).id
    give("processing.complete", vs, "file-a", usage_bytes=1)
    held, late = give("processing.claim", 2, worker="worker", **inside)
    give(f"{batches}.cancel", first, **inside)
    # One of the two files that are held is attached again, alone, while its batch may be draining.
    give(f"{files}.create", vs, file_id=held.file.id, attributes={"again": True})
    give("processing.finish", [Completed(held, 2), Failed(late, retry=True)])
    give(f"{batches}.cancel", first, **inside)  # it is finished by now

    # A second later: batches that name a file twice, one that is attached, both, or nothing else.
    give("clock.move", 1.0)
    give(f"{batches}.create", vs, file_ids=["file-g", "file-f", "file-g"])
    give(f"{batches}.create", vs, files=[{"file_id": "file-h"}, {"file_id": "file-a"}])
    give(f"{batches}.create", vs, file_ids=["file-a", "file-i", "file-a"], attributes={"shared": 1})
    give(f"{batches}.create", vs, file_ids=["file-a", "file-b"])

    # All files of a batch fail, so that a cancel finds it finished.
    bad = give(f"{batches}.create", vs, file_ids=["file-y", "file-x"]).id
    for file_id in ("file-x", "file-y"):
        give("processing.fail", vs, file_id, code="invalid_file")
    give(f"{batches}.cancel", bad, **inside)
    give(f"{batches}.retrieve", bad, **inside)

    give(f"{files}.delete", "file-e", **inside)
    return vs, gone, first


def read(give: Give, vs: str, gone: str, first: str) -> None:
    """Read what came of it, with pages from every kind of cursor to every kind of cursor."""
    lists: tuple[tuple[Call, tuple[str, ...]], ...] = (
        (call("vector_stores.list"), (gone, "vs_nowhere")),
        (call("vector_stores.files.list", vs), ("file-b", "file-e", "file-nowhere")),
        (
            call("vector_stores.file_batches.list_files", first, vector_store_id=vs),
            ("file-b", "file-e", "file-nowhere"),
        ),
    )
    for number, (whole, cursors) in enumerate(lists):
        for order in ORDERS:
            give(whole.path, *whole.args, **whole.kwargs, order=order)
        # A pair of cursors that is read in one order here is read in the other one in the next list.
        for (i, after), (j, before) in product(enumerate((None, *cursors)), repeat=2):
            page = {"limit": 2, "order": ORDERS[(number + i + j) % 2], "after": after, "before": before}
            give(whole.path, *whole.args, **whole.kwargs, **page)
    give("vector_stores.retrieve", vs)


def compared(factory: type[Subject], profile: Profile) -> None:
    """Tell the story to a new subject and to the oracle under a profile, and compare all that they return.

    A subject that can be renewed is, between what happens and what is read.
    """
    world = World(profile)
    subject, oracle = factory(world), Oracle(**world.options())

    def give(path: str, *args: Any, **kwargs: Any) -> Any:
        asked = call(path, *args, **kwargs)
        expected, found = answer(oracle, asked), subject.ask(asked)
        assert same(found, expected), f"{profile}\n{asked}\nreturned {found}\nand not {expected}"
        return expected

    ids = happen(give)
    if subject.renews:
        subject.renew()
        oracle.restart()
    read(give, *ids)
    subject.settle()
    subject.check()


def outcome(profile: Profile) -> str:
    """All that the oracle returns in the story."""
    oracle, returned = Oracle(**World(profile).options()), []

    def give(path: str, *args: Any, **kwargs: Any) -> Any:
        returned.append(answer(oracle, call(path, *args, **kwargs)))
        return returned[-1]

    read(give, *happen(give))
    return repr(returned)


def neighbours(profile: Profile) -> list[Profile]:
    """The profiles that differ from one in a single policy."""
    return [
        Profile(**{**data_of(profile), key: word})
        for key, words in WORDS.items()
        for word in words
        if word != getattr(profile, key)
    ]


@given(us.profiles.map(lambda profile: evolve(profile, limits=DEFAULT.limits)))
@settings(max_examples=examples(50))
def test_the_story_meets_every_policy_whatever_the_others_are(profile: Profile) -> None:
    others = neighbours(profile)
    assert len({outcome(each) for each in (profile, *others)}) == 1 + len(others)


def test_with_one_policy_changed_the_story_is_that_of_the_oracle() -> None:
    for profile in (DEFAULT, *neighbours(DEFAULT)):
        compared(Subject, profile)


def words_of(profile: Profile) -> list[tuple[str, str]]:
    return [(key, getattr(profile, key)) for key in WORDS]


def test_the_parts_are_all_profiles_and_one_in_some_has_every_word_beside_every_other() -> None:
    every = set(combined(1))
    assert len(every) == prod(map(len, WORDS.values())) == 13_824
    assert set(chain.from_iterable(combined(1, reattach=r, ties=t) for r, t in PARTS)) == every

    def pairs(profiles: Iterable[Profile]) -> set[Any]:
        return set(chain.from_iterable(combinations(words_of(profile), 2) for profile in profiles))

    assert pairs(combined(STRIDE)) == pairs(every)
    assert pairs(chain.from_iterable(combined(STRIDE, reattach=r, ties=t) for r, t in PARTS)) == pairs(every)


@pytest.mark.slow
@pytest.mark.parametrize(("reattach", "ties"), PARTS)
def test_under_every_combination_of_policies_the_story_is_that_of_the_oracle(reattach: str, ties: str) -> None:
    for profile in combined(STRIDE if BRIEF else 1, reattach=reattach, ties=ties):
        compared(Subject, profile)


@pytest.mark.slow
@pytest.mark.parametrize("factory", [Dispatched, Replayed, Restored])
def test_over_http_and_after_a_replay_or_a_restore_the_story_is_that_of_the_oracle(
    factory: type[Subject],
) -> None:
    for profile in combined(STRIDE * STRIDE if BRIEF else STRIDE):
        compared(factory, profile)
