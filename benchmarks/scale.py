"""How the engine on PostgreSQL scales with processes, stores, files a command: the tables of ``docs/scale.md``.

    python -m benchmarks.scale                     about three minutes
    python -m benchmarks.scale --folder .          on the disk of this folder

A figure is files, or pages, a second: the median of the rounds.  In a round each row has a turn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from statistics import median
from typing import Any

from attrs import evolve, frozen

from benchmarks import machine
from benchmarks.contenders import Ours
from benchmarks.durable import LEAST_EACH, Turn, in_rounds, together
from benchmarks.fixtures import Fixtures
from benchmarks.postgres import STORES, Database, Pools, Server, Shared, absent, pools, server
from benchmarks.work import Pace
from vsbatch_core import Engine

EACH = 16
"""So many callers are in each process."""
PROCESSES = (1, 2, 4)
MOST = 16
"""So many pages are read by a caller in a turn, at least."""


@frozen
class Local(Database):
    """A database whose reads look only now and then what others have done."""

    def sides(self) -> list[Any]:
        """See ``Database``."""
        engine = Engine.open(self.url, reads="local")
        return [Shared(engine, id) for id in self.ids]


@frozen
class Pages:
    """So many pages of 20, read by one caller."""

    database: Database
    pages: int

    def ready(self, sides: list[Any]) -> Callable[[], Turn]:
        """See ``Job``."""
        return partial(together, sides[0], 1, [partial(sides[0].page, 20)] * self.pages)


def commands(fixtures: Fixtures, pace: Pace) -> Iterator[list[str]]:
    """Yield a row for each number of stores, and of files a command: files a second by so many processes."""
    here = server(fixtures)
    for stores, files in product((1, STORES), (1, 50)):
        naive = "naive" if files == 1 else "naive-many"
        each = {
            contender: pools(fixtures, contender.partition("-")[0], stores) for contender in (Ours.key, naive)
        }
        turn = partial(_commands, here, each, files)
        names = [f"{contender} {processes}" for contender, processes in product(each, PROCESSES)]
        turns = in_rounds(names, pace, LEAST_EACH * EACH * max(PROCESSES), turn)
        for contender, pool in each.items():
            pool.verify()
            rates = (_rate(turns[f"{contender} {processes}"]) * files for processes in PROCESSES)
            title = "the engine" if contender == Ours.key else "naive tables"
            yield [f"{stores}", f"{files}", title, *(f"{rate:,.0f}" for rate in rates)]


def _commands(here: Server, each: dict[str, Pools], files: int, name: str, wanted: int) -> Turn:
    contender, _, processes = name.partition(" ")
    number = int(processes)
    return here.turn(each[contender].jobs(contender, EACH * number, wanted, files, number))


def pages(fixtures: Fixtures, pace: Pace) -> Iterator[list[str]]:
    """Yield a row for each way to read: pages a second by so many processes, one caller in each."""
    here = server(fixtures)
    database = pools(fixtures, Ours.key).database
    local = Local(database.contender, database.url, database.ids)
    naive = pools(fixtures, "naive").database
    ways: dict[str, Database] = {'`reads="fresh"`': database, '`reads="local"`': local, "naive tables": naive}

    def turn(name: str, wanted: int) -> Turn:
        way, _, processes = name.rpartition(" ")
        share = -(-wanted // int(processes))
        return here.turn([Pages(ways[way], share)] * int(processes))

    names = [f"{way} {processes}" for way, processes in product(ways, PROCESSES)]
    turns = in_rounds(names, pace, MOST * max(PROCESSES), turn)
    for way in ways:
        yield [way, *(f"{_rate(turns[f'{way} {processes}']):,.0f}" for processes in PROCESSES)]


def _rate(turns: Sequence[Turn]) -> float:
    return median(len(turn.each) / turn.wall for turn in turns)


def table(heads: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def main(arguments: Sequence[str] | None = None, pace: Pace = Pace(rounds=5)) -> int:  # noqa: B008 - it is frozen
    """Do what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", help="put the databases here (default: where temporary files are)")
    given = parser.parse_args(arguments)
    if why := absent():
        print(f"python -m benchmarks.scale: {why}", file=sys.stderr)
        return 2
    by = [f"{processes} process{'es' * (processes > 1)}" for processes in PROCESSES]
    before = machine.load()
    with Fixtures([], folder=given.folder) as fixtures:
        for line in table(["stores", "files a command", "", *by], commands(fixtures, pace)):
            print(line, flush=True)
        print()
        for line in table(["pages of 20", *by], pages(fixtures, evolve(pace, seconds=pace.seconds / 5))):
            print(line, flush=True)
    here = machine.machine()
    print(f"\n{here}, PostgreSQL {here.versions['PostgreSQL']}; load {before:g} before, {machine.load():g} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
