"""Planted bugs, and what must catch each: ``python -m tests.helpers.mutants`` prints it.

A mutant is a copy of the package in which one text, that occurs once in one file, is replaced.  It is tried by
the lockstep machine, on the subject that is named; or, where the machine cannot reach, by the law that is named.

The text is looked for in the file as ``ast.unparse`` writes it: without comments and redundant parentheses, each
statement on one line, strings in single quotes.  So a mutant stays where it is when the file is formatted anew.
``python -m tests.helpers.mutants --show paging.py`` prints a file in this form.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from attrs import frozen

import vsbatch_core

from .trials import DIVERGED, TEST_FAILED, Outcome, Trials

PACKAGE = Path(vsbatch_core.__file__).parent


def canonical(text: str) -> str:
    """Return a program in the form that depends on its syntax alone."""
    return ast.unparse(ast.parse(text))


@frozen
class Mutant:
    name: str
    file: str
    old: str
    new: str
    by: str = "Subject"
    """The subject of the machine that must catch it, or the law: a file of tests and the name of a test."""

    def planted(self, text: str) -> str:
        """Return the text of the file with the bug in it."""
        text = canonical(text)
        found = text.count(self.old)
        if found != 1:
            raise LookupError(
                f"mutant '{self.name}': {self.old!r} occurs {found} times in {self.file}, and must occur once: "
                f"write it anew for the code that 'python -m tests.helpers.mutants --show {self.file}' prints"
            )
        return text.replace(self.old, self.new)


@frozen
class Verdict:
    mutant: Mutant
    outcome: Outcome

    @property
    def caught(self) -> bool:
        return self.outcome.status == (TEST_FAILED if "::" in self.mutant.by else DIVERGED)


INDEX_LAW = "core/test_index.py::test_a_sparse_index_answers_as_the_sorted_list_of_its_numbers"
ORDER_LAW = "oracle/test_oracle.py::test_batches_may_be_cancelled_in_any_order"
DRAIN_LAW = "core/test_leases.py::test_cancelling_again_while_a_batch_drains_changes_nothing_and_is_no_event"
EXPIRED_LAW = (
    "core/test_counts.py::"
    "test_in_an_expired_store_work_may_end_and_files_may_leave_and_none_of_it_extends_its_life"
)
EXPIRY_LAW = "core/test_counts.py::test_a_store_expires_to_the_second_the_days_after_it_was_last_active"
REPLAYED = "Replayed"
RESTORED = "Restored"

MUTANTS: tuple[Mutant, ...] = (
    # Paging and cursors
    Mutant("after is inclusive", "paging.py", "low = left + 1", "low = left"),
    Mutant("before is inclusive", "paging.py", "high = right", "high = right + 1"),
    Mutant(
        "a before page is the first page", "paging.py", "(order == 'desc') is not backward", "order == 'desc'"
    ),
    Mutant("a before page is in reverse", "paging.py", "if backward:", "if backward and not data:"),
    Mutant(
        "both cursors are read from before",
        "paging.py",
        "backward = before is not None and after is None",
        "backward = before is not None",
    ),
    Mutant(
        "desc takes after for before",
        "paging.py",
        "left, right = (before, after)",
        "left, right = (after, before)",
    ),
    Mutant("the last page has more", "paging.py", "len(numbers) > limit", "len(numbers) >= limit"),
    Mutant("a full page has more", "paging.py", "more = high - low > limit", "more = high - low >= limit"),
    Mutant(
        "a page ignores what left before it",
        "index.py",
        "low = max(low, self._ends[start])",
        "low = max(low, start)",
    ),
    Mutant(
        "a filtered page of a batch is not in order",
        "index.py",
        "sorted(found + self._other.ascending(low, high, n))[:n]",
        "(found + self._other.ascending(low, high, n))[:n]",
    ),
    Mutant(
        "a filtered page of a batch forgets what left",
        "index.py",
        "sorted(found + self._other.descending(low, high, n), reverse=True)[:n]",
        "found",
    ),
    Mutant(
        "a gap swallows its neighbour", "index.py", "end = self._ends.pop(end)", "end = self._ends.pop(end) + 1"
    ),
    Mutant(
        "a block is skipped",
        "index.py",
        "(key, high - 1 >> self.shift, (False, True))",
        "(key, high - 1 >> self.shift, (False, False))",
        INDEX_LAW,
    ),
    Mutant(
        "a block is left out of order",
        "index.py",
        "between = block[-1] > numbers[done]",
        "between = block[0] > numbers[done]",
        ORDER_LAW,
    ),
    Mutant(
        "a batch lists only what is still attached",
        "client.py",
        "store.batch_index[filter]",
        "store.files_index[filter]",
    ),
    Mutant(
        "a batch reads before where after was given",
        "client.py",
        "None if after is None else store.batch_place(batch, 'after', after)",
        "None if after is None else store.batch_place(batch, 'before', after)",
    ),
    Mutant(
        "the list of stores shows the deleted",
        "client.py",
        "ledger.gone.index(),",
        "type(ledger.gone)().index(),",
    ),
    Mutant(
        "the cursor of a deleted file is unknown",
        "client.py",
        "above = None if after is None else store.latest[after]",
        "above = None if after is None else store.require_file(after)",
    ),
    Mutant(
        "a file attached again keeps its first place in every batch",
        "store.py",
        "place = places[i] if i < len(places) else -1",
        "place = places[0] if places else -1",
    ),
    Mutant(
        "an unknown cursor is page one",
        "ledger.py",
        "raise UnknownCursor(param, vector_store_id, 'vector stores')",
        "return -1",
    ),
    # Transitions
    Mutant(
        "a cancelled batch is completed",
        "transitions.py",
        "BatchRule('cancelled', False, True,",
        "BatchRule('completed', False, True,",
    ),
    Mutant(
        "a batch whose files all failed is completed",
        "transitions.py",
        "BatchRule('failed', False, False, False, True",
        "BatchRule('completed', False, False, False, True",
    ),
    Mutant(
        "a batch that its files left is completed",
        "transitions.py",
        "BatchRule('cancelled', False, False, False, False",
        "BatchRule('completed', False, False, False, False",
    ),
    Mutant(
        "one failure fails the batch",
        "transitions.py",
        "BatchRule('completed', False, False, True, None",
        "BatchRule('failed', False, False, True, None",
    ),
    Mutant("a file that leaves has failed", "transitions.py", "'detach': 'cancelled'", "'detach': 'failed'"),
    Mutant(
        "a store is never in progress",
        "transitions.py",
        "StoreRule('in_progress', False, True",
        "StoreRule('completed', False, True",
    ),
    Mutant(
        "the profile's word for failure is not heard",
        "transitions.py",
        "return profile.all_failed if status == 'failed' else status",
        "return status",
    ),
    Mutant(
        "a finished file can be completed again",
        "transitions.py",
        "'completed': {}, 'failed'",
        "'completed': {'complete': 'completed'}, 'failed'",
    ),
    # Counts
    Mutant(
        "a deletion leaves the count of the batch",
        "store.py",
        "batch.tally.move('in_progress', 'cancelled')",
        "batch.tally['in_progress']",
    ),
    Mutant(
        "a deletion leaves the count of the store",
        "store.py",
        "self.tally.add(file.status, -1)",
        "self.tally.add(file.status, 0)",
    ),
    Mutant(
        "a deletion leaves its bytes", "store.py", "self.usage_bytes -= file.usage_bytes", "self.usage_bytes -= 0"
    ),
    Mutant(
        "a count moves by one however many move", "index.py", "self._counts[new] += n", "self._counts[new] += 1"
    ),
    Mutant(
        "counts are kept when they have changed",
        "index.py",
        "self._counts[status] += n\n        self._value = None",
        "self._counts[status] += n\n        self._value = self._value",
    ),
    Mutant(
        "the first file of the next batch is of this one",
        "store.py",
        "row < self.ordered[i].stop",
        "row <= self.ordered[i].stop",
    ),
    Mutant(
        "duplicates are counted", "validation.py", "for file_id in dict.fromkeys(ids)]", "for file_id in ids]"
    ),
    Mutant(
        "the last of duplicates wins", "validation.py", "new.setdefault(file_id, file)", "new[file_id] = file"
    ),
    Mutant(
        "bytes are not kept",
        "processing.py",
        "file_id, usage_bytes or 0, store.version",
        "file_id, 0, store.version",
    ),
    # Cancel
    Mutant(
        "a cancel leaves the last file",
        "store.py",
        ".cut(batch.first, batch.stop)",
        ".cut(batch.first, batch.stop - 1)",
    ),
    Mutant(
        "a cancel takes the files before it", "store.py", ".cut(batch.first, batch.stop)", ".cut(0, batch.stop)"
    ),
    Mutant("a cancel is forgotten", "store.py", "batch.cancel_asked = True", "batch.cancel_asked = False"),
    Mutant(
        "a cancel of a finished batch is always refused",
        "client.py",
        "elif ledger.profile.cancel_finished == 'refuse':",
        "else:",
    ),
    Mutant(
        "a cancel never drains",
        "client.py",
        "store.id, batch.id, drain, version",
        "store.id, batch.id, False, version",
    ),
    Mutant(
        "a cancel that drains is told twice",
        "client.py",
        "if not (drain and batch.cancel_asked):",
        "if not (drain and batch is None):",
        DRAIN_LAW,
    ),
    Mutant(
        "a lease outlives its file",
        "store.py",
        "if self.leased:\n            self.leased.discard(row)",
        "if self.leased:\n            self.leased.add(row)",
    ),
    # Time
    Mutant(
        "a store expires a moment late",
        "store.py",
        "return expires_at is not None and now >= expires_at",
        "return expires_at is not None and now > expires_at",
        EXPIRY_LAW,
    ),
    Mutant(
        "an expired store revives by itself",
        "store.py",
        "if self.expires_after is None or not self.expired(at):",
        "if at:",
        EXPIRED_LAW,
    ),
    Mutant(
        "an expired store takes files",
        "store.py",
        "if expires_at is not None and now >= expires_at:",
        "if expires_at is None:",
    ),
    Mutant(
        "time goes back",
        "ledger.py",
        "return max(validation.time('clock.time()', self.clock.time()), self.at if store is None else store.at)",
        "return validation.time('clock.time()', self.clock.time())",
    ),
    # Order of what is pending
    Mutant(
        "pending goes through one store after the other",
        "ledger.py",
        "(not reading or head < reading[0][:2])",
        "not reading",
    ),
    Mutant(
        "pending forgets the store when its oldest ends",
        "ledger.py",
        "self._waiting.put(self.numbers[store.id], store.oldest_in_progress())",
        "self._waiting.put(self.numbers[store.id], None)",
    ),
    # Snapshots
    Mutant(
        "a snapshot forgets the cancel",
        "snapshots.py",
        "batch.cancel_asked = validation.boolean(f'{where}.cancel_asked', cancel_asked)",
        "batch.cancel_asked = False",
        RESTORED,
    ),
    Mutant("a snapshot forgets the leases", "snapshots.py", "leased=leased", "leased=()", RESTORED),
    Mutant(
        "a snapshot forgets when the store was active",
        "snapshots.py",
        "last_active_at=last_active_at",
        "last_active_at=created_at",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets the attributes",
        "snapshots.py",
        "_object(f'{where}.attributes', attributes), limits",
        "{}, limits",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets the deleted stores",
        "snapshots.py",
        "for id in ledger.ids_made",
        "for id in ledger.stores",
        RESTORED,
    ),
    Mutant(
        "a snapshot mixes up the chunking",
        "snapshots.py",
        "strategies.setdefault(file.chunking_strategy, len(strategies))",
        "strategies.setdefault(file.chunking_strategy, 0)",
        RESTORED,
    ),
    # Replay
    Mutant(
        "a replay refuses events of the same moment",
        "ledger.py",
        "if at < latest:",
        "if at <= latest:",
        REPLAYED,
    ),
    Mutant(
        "a replay refuses to delete what is done",
        "store.py",
        "case ev.FileDeleted():\n                self._require_present(event)",
        "case ev.FileDeleted():\n                self.require_leasable(event.file_id)",
        REPLAYED,
    ),
    Mutant(
        "a replay does not tell",
        "ledger.py",
        "        self.commit(event)\n\n    def _apply",
        "        self._apply(event)\n\n    def _apply",
        REPLAYED,
    ),
    Mutant(
        "a replay takes the time of the store for its own",
        "ledger.py",
        "latest = self.at\n",
        "latest = self.at + 1\n",
        REPLAYED,
    ),
)


def tried(mutant: Mutant, trials: Trials) -> Verdict:
    """Try one mutant."""
    text = (PACKAGE / mutant.file).read_text(encoding="utf-8")
    return Verdict(mutant, trials.run(mutant.by, {mutant.file: mutant.planted(text)}))


def verdicts(mutants: Iterable[Mutant]) -> Iterator[Verdict]:
    """Try the mutants, two at a time; return the verdicts in their order."""
    with Trials() as first, Trials() as second, ThreadPoolExecutor(2) as pool:
        idle: SimpleQueue[Trials] = SimpleQueue()

        def one(mutant: Mutant) -> Verdict:
            trials = idle.get()
            try:
                return tried(mutant, trials)
            finally:
                idle.put(trials)

        idle.put(first)
        idle.put(second)
        yield from pool.map(one, mutants)


def report(words: list[str]) -> int:
    """Print which caught what, of the mutants that have one of the words in their names; how many none caught."""
    mutants = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    missed, seconds = 0, 0.0
    for verdict in verdicts(mutants):
        seconds += verdict.outcome.seconds
        missed += not verdict.caught
        by = verdict.mutant.by if verdict.caught else "NOTHING"
        print(
            f"{verdict.mutant.name:60} {verdict.mutant.file:15} {verdict.outcome.seconds:5.1f} s  {by}",
            flush=True,
        )
        if not verdict.caught:
            print(verdict.outcome.output[-2000:])
    print(f"{len(mutants) - missed} of {len(mutants)} caught, in {seconds:.0f} s of CPU time")
    return missed


def show(files: list[str]) -> None:
    """Print the files in the form that mutants are written for."""
    for file in files:
        print(canonical((PACKAGE / file).read_text(encoding="utf-8")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--show"]:
        show(sys.argv[2:])
    else:
        sys.exit(report(sys.argv[1:]))
