"""Measure works with contenders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from benchmarks import bounds, durable, http, memory, postgres, simulation, soak
from benchmarks.contenders import TITLES
from benchmarks.fixtures import Fixtures, WrongResult
from benchmarks.groups import group
from benchmarks.measure import Entry, Times, in_turns
from benchmarks.results import Result
from benchmarks.work import CHANGES, COLD, PAGES, READS, Encode, Pace, Work

WORKS: tuple[Work, ...] = (
    *PAGES,
    *READS,
    Encode("json.encode", "page of 20 to JSON bytes"),
    *http.WORKS,
    *bounds.WORKS,
    *COLD,
    *CHANGES,
    *memory.WORKS,
    *simulation.WORKS,
    *soak.WORKS,
    *durable.WORKS,
    *postgres.WORKS,
)
"""All, in the order in which they are done: those that change what the contenders hold after those that read."""


def chosen(patterns: Sequence[str], works: Sequence[Work] = WORKS) -> list[Work]:
    """Return the works that any of the patterns names.

    A pattern is a work's name, the words that names begin with, a group, or a glob; without any, all works are
    chosen.  Raise ``ValueError`` for one that names none.
    """
    if not patterns:
        return list(works)
    found: set[str] = set()
    for pattern in patterns:
        exact = {work.name for work in works if work.name == pattern}
        named = exact or {
            work.name
            for work in works
            if group(work.name) == pattern
            or fnmatchcase(work.name, pattern)
            or work.name.startswith((f"{pattern}.", f"{pattern}-"))
        }
        if not named:
            groups = ", ".join(dict.fromkeys(group(work.name) for work in works))
            raise ValueError(
                f"no work or group is called '{pattern}': the groups are {groups}; "
                "python -m benchmarks --list names their works"
            )
        found |= named
    return [work for work in works if work.name in found]


def parsed_sizes(text: str) -> list[int]:
    """Return the sizes in text such as ``1e3,10_000,10^6``.  Raise ``ValueError``, which names what is none."""
    found = set()
    for part in text.split(","):
        word = part.strip().replace("_", "")
        if match := re.fullmatch(r"(\d+)(?:\.0*)?e\+?(\d+)", word, re.IGNORECASE):
            n = int(match[1]) * 10 ** int(match[2])
        elif match := re.fullmatch(r"(\d+)\^(\d+)", word):
            n = int(match[1]) ** int(match[2])
        elif re.fullmatch(r"\d+", word):
            n = int(word)
        else:
            raise ValueError(f"'{part}' is no size: give whole numbers such as 1000, 1e4, 10^6")
        if not LEAST_SIZE <= n <= MOST_SIZE:
            raise ValueError(
                f"a store of {n:,} files cannot be measured: give {LEAST_SIZE:,} to {MOST_SIZE:,} files"
            )
        found.add(n)
    return sorted(found)


LEAST_SIZE, MOST_SIZE = 200, 10_000_000
"""Fewer files have no middle page of 100."""


def results_of(
    work: Work, sizes: Sequence[int], fixtures: Fixtures, pace: Pace, progress: Callable[[str], object] = str
) -> list[Result]:
    """Check every contender at every size, then time in turns all that were right; by contender and size."""
    entries: list[Entry] = []
    found: list[Result] = []
    slow: dict[str, list[tuple[int, float]]] = {}
    for n in work.sizes(sizes, pace):
        progress(f"{work.name}: checks at {n:,}")
        for ready in work.ready(fixtures, n, pace, slow):
            if isinstance(ready, Entry):
                entries.append(ready)
                slow.setdefault(ready.contender, []).append((n, ready.one))
            else:
                found.append(ready)
                if ready.left_out and (seen := slow.get(ready.contender)):
                    slow[ready.contender] = [*seen, (n, seen[-1][1] * n / seen[-1][0])]
    progress(f"{work.name}: {len(entries)} contenders and sizes in turns")
    times = in_turns(
        entries,
        rounds=pace.rounds,
        seconds=pace.seconds * work.longer,
        budget=pace.budget,
        patience=work.patience,
    )
    found += [_result(work, entry, times) for entry in entries]
    order = {key: place for place, key in enumerate(TITLES)}
    return sorted(found, key=lambda result: (order.get(result.contender, len(order)), result.n))


def _result(work: Work, entry: Entry, times: dict[tuple[str, int], Times]) -> Result:
    failed = entry.failed
    if failed is None:
        try:
            entry.verify()
        except WrongResult as error:
            failed = error
    if failed is not None:
        return work.wrong(entry.contender, entry.n, f"{type(failed).__name__}: {str(failed)[:200]}")
    taken = times.get((entry.contender, entry.n))
    if taken is None:
        return work.left_out(entry.contender, entry.n, f"not measured: one takes {entry.one:.2g} s")
    lacks = entry.clocks.lacks()
    return Result(work.name, entry.contender, entry.n, wall=taken.wall, cpu=taken.cpu, cpu_lacks=lacks)


def measured(
    works: Iterable[Work],
    sizes: Sequence[int],
    fixtures: Fixtures,
    pace: Pace,
    progress: Callable[[str], object] = str,
) -> Iterator[tuple[Work, list[Result]]]:
    """Yield one work after the other, with its results."""
    for work in works:
        yield work, results_of(work, sizes, fixtures, pace, progress)
