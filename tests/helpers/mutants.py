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
from functools import cache
from pathlib import Path
from queue import SimpleQueue

from attrs import frozen

import vsbatch_core

from .trials import DIVERGED, TEST_FAILED, Outcome, Trials

PACKAGE = Path(vsbatch_core.__file__).parent


@cache
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


COLUMN_LAW = "core/test_columns.py::TestColumnAgainstBytes"
BLOCKS_LAW = "core/test_columns.py::test_blocks_are_listed_in_their_order_whichever_comes_to_hold_the_byte_first"
HOLD_LAW = "core/test_columns.py::test_numbers_hold_a_byte_together_if_each_of_them_does"
PATTERN_LAW = "core/test_columns.py::test_a_column_finds_in_order_what_a_plain_search_finds"
WRONG_WAY_LAW = "core/test_columns.py::test_the_page_between_a_file_and_one_long_before_it_is_empty"
LISTING_LAW = "core/test_listing.py::TestListingAgainstList"
FORGETTING_LAW = "core/test_listing.py::TestFilesAgainstList"
WAITING_LAW = "core/test_listing.py::TestWaitingAgainstSorted"
MANY_LAW = "core/test_attachments.py::test_many_in_one_step_leave_what_one_by_one_leave"
STALE_LAW = "core/test_attachments.py::test_a_number_of_another_file_or_of_none_is_refused"
VERSION_LAW = "core/test_attachments.py::test_versions_count_the_events_of_each_store_and_of_the_list"
DELIVERED_LAW = "core/test_engine.py::test_commands_from_a_callback_are_delivered_to_all_after_the_event_at_hand"
DRAIN_LAW = "core/test_claims.py::test_cancelling_again_while_a_batch_drains_changes_nothing_and_is_no_event"
RELEASED_LAW = "core/test_claims.py::test_a_file_that_was_released_and_cancelled_is_claimed_no_more"
SHORTER_LAW = "core/test_claims.py::test_a_heartbeat_may_shorten_a_claim"

CURSOR_LAW = "core/test_paging_laws.py::test_a_batch_names_the_cursor_that_it_does_not_know"
OLDEST_LAW = "core/test_claims.py::test_across_stores_the_oldest_are_claimed_first_and_ties_go_to_the_older_store"
CLOCK_LAW = "core/test_claims.py::test_the_time_of_one_store_makes_no_claim_of_another_lapse"
RESTORED_LAW = (
    "core/test_claims.py::"
    "test_an_engine_that_was_restored_or_follows_makes_nothing_due_until_its_first_command[0]"
)
FOLLOWER_LAW = RESTORED_LAW.replace("[0]", "[1]")
WAITED_LAW = (
    "core/test_claims.py::test_a_file_that_has_waited_can_be_claimed_wherever_the_call_that_notes_it_is_cut_short"
)
BACKOFF_LAW = "core/test_claims.py::test_a_file_waits_for_its_next_attempt_to_the_second_and_the_others_do_not"
TIMERS_LAW = "core/test_claims.py::test_timers_that_are_void_are_taken_out_and_none_that_is_not"
EXPIRES_LAW = "core/test_claims.py::test_a_store_expires_by_one_event_and_an_update_lets_it_expire_again"
WORKERS_LAW = (
    "core/test_workers.py::test_workers_that_die_stall_and_say_things_twice_lose_no_file_and_end_none_twice"
)
EXPIRED_LAW = (
    "core/test_counts.py::"
    "test_in_an_expired_store_work_may_end_and_files_may_leave_and_none_of_it_extends_its_life"
)
EXPIRY_LAW = "core/test_counts.py::test_a_store_expires_to_the_second_the_days_after_it_was_last_active"
OWN_ATTRIBUTES_LAW = (
    "core/test_policies.py::"
    "test_a_batch_lists_and_counts_those_files_alone_that_it_attached_each_with_its_own_attributes"
)
FINISHED_LAW = "core/test_retention.py::test_a_batch_is_purged_once_it_has_been_finished_for_so_long"
KEPT_LAW = (
    "core/test_retention.py::test_batches_are_purged_once_they_have_been_kept_long_enough_whoever_looks_when"
)
REQUEST_LAW = "core/test_idempotency.py::test_another_request_under_the_same_key_is_refused"
KEYS_LAW = "core/test_idempotency.py::test_of_more_keys_than_the_limit_the_oldest_is_forgotten"
PROVED_LAW = "journal/test_replica.py::test_a_snapshot_that_is_not_whole_is_not_counted_among_those_that_are_kept"
ONE_POLICY_LAW = "oracle/test_combinations.py::test_with_one_policy_changed_the_story_is_that_of_the_oracle"
COMBINED_LAW = (
    "oracle/test_combinations.py::"
    "test_under_every_combination_of_policies_the_story_is_that_of_the_oracle[replace-request_order]"
)
"""Bugs in which two policies meet: ``ONE_POLICY_LAW`` must not catch them."""
AT_ONCE_LAW = "journal/test_async.py::test_what_only_reads_needs_no_thread_while_nobody_else_commits"
IN_A_THREAD_LAW = "journal/test_async.py::test_a_command_takes_one_thread_and_a_refusal_too"
CANCELLED_LAW = "journal/test_async.py::test_a_worker_that_is_cancelled_while_it_claims_gives_the_claims_back"
SIMULATION = (
    "journal/test_simulation.py::test_no_schedule_and_no_faults_tell_replicas_of_one_log_from_the_oracle[0]"
)
ON_POSTGRES = "journal/test_postgres.py::test_"
BEFALLEN_LAW = (
    f"{ON_POSTGRES}whatever_befalls_a_commit_what_is_acknowledged_is_there_once_and_what_is_refused_is_not"
)
WAITED_FOR_HEAD_LAW = f"{ON_POSTGRES}a_writer_that_waited_for_the_head_decides_by_what_was_committed_meanwhile"
SET_BACK_LAW = f"{ON_POSTGRES}an_engine_notices_that_its_database_was_restored_to_an_older_state"
REPLAYED = "Replayed"
RESTORED = "Restored"

MUTANTS: tuple[Mutant, ...] = (
    # Retention
    Mutant(
        "a batch is purged a moment too late",
        "store.py",
        "bisect_right(self.finished, time,",
        "bisect_left(self.finished, time,",
        FINISHED_LAW,
    ),
    Mutant(
        "a purge forgets cursors of the store's list",
        "store.py",
        "if self.numbers.get(id) != row:",
        "if self.numbers.get(id) != -1:",
    ),
    Mutant(
        "a purge leaves what its batches alone listed",
        "store.py",
        "for row in forgotten:\n            self.rows.forget(row)",
        "pass",
    ),
    Mutant(
        "a purge is an activity",
        "store.py",
        "self.at, self.version = (event.at, event.version)",
        "self._seen(event)",
        RESTORED,
    ),
    Mutant(
        "a purged batch still owns its attachments",
        "store.py",
        "del self.ordered[start:stop]",
        "pass",
    ),
    Mutant(
        "a batch without files never finishes",
        "store.py",
        "elif batch is not None:\n            self._finish(batch, event.at)",
        "elif batch is not None:\n            pass",
    ),
    Mutant(
        "a batch of which the last file left never finishes",
        "store.py",
        "if not of[IN_PROGRESS - 1]:",
        "if not of[IN_PROGRESS - 1] and (not of[DETACHED - 1]):",
    ),
    Mutant(
        "the policy stops after the first purge",
        "due.py",
        "store.purge_timer = following",
        "store.purge_timer = inf",
        KEPT_LAW,
    ),
    Mutant(
        "a restored engine keeps its batches",
        "registry.py",
        "self.due.note_finished(store)",
        "pass",
        RESTORED,
    ),
    Mutant(
        "batches are purged when somebody looks",
        "due.py",
        "decisions.purge_batches(store, max(store.at, when), self.retention, when)",
        "decisions.purge_batches(store, max(store.at, when), self.retention, inf)",
        KEPT_LAW,
    ),
    Mutant(
        "a replay purges any batches",
        "store.py",
        "if tuple(ids) != self.finished_by(0.0, latest):",
        "if not ids:",
        "core/test_retention.py::test_replay_takes_the_batches_that_finished_first_in_order_and_no_others",
    ),
    # Idempotency keys
    Mutant(
        "a key is taken for that of another request",
        "idempotency.py",
        "if fingerprint != idempotency.fingerprint:",
        "if fingerprint is None:",
    ),
    Mutant("a key is forgotten too early", "idempotency.py", "len(keys) < limit", "len(keys) < limit - 1"),
    Mutant("a key is forgotten too late", "idempotency.py", "len(keys) < limit", "len(keys) <= limit", KEYS_LAW),
    Mutant("the latest key is forgotten", "idempotency.py", "next(iter(keys))", "next(reversed(keys))", KEYS_LAW),
    Mutant(
        "attributes are no part of a request",
        "idempotency.py",
        "_alike(sizes), _alike(attributes_each), others",
        "_alike(sizes), others",
        REQUEST_LAW,
    ),
    Mutant(
        "a key of stores outlasts no restart",
        "snapshots.py",
        "'idempotency_keys': _dump_keys(keys)",
        "'idempotency_keys': []",
        RESTORED,
    ),
    Mutant(
        "a key of files and batches outlasts no restart",
        "snapshots.py",
        "_dump_keys(store.keys)",
        "[]",
        RESTORED,
    ),
    Mutant(
        "a file whose create is repeated is not looked for",
        "decisions.py",
        "store.require_file(repeated)",
        "pass",
        "core/test_idempotency.py::test_what_was_created_and_deleted_since_is_not_found",
    ),
    Mutant(
        "a file that the host has lost ends a repetition",
        "registry.py",
        "if key is None:\n                        raise unknown",
        "raise unknown",
        "core/test_idempotency.py::test_a_repetition_is_not_refused_for_a_file_that_the_host_has_lost_since",
    ),
    # Paging and cursors
    Mutant("after is inclusive", "paging.py", "low = left + 1", "low = left"),
    Mutant("before is inclusive", "paging.py", "high = right", "high = right + 1"),
    Mutant(
        "a before page is the first page", "paging.py", "(order == 'desc') is not backward", "order == 'desc'"
    ),
    Mutant("a before page is in reverse", "paging.py", "numbers[::-1] if backward else numbers", "list(numbers)"),
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
    Mutant("a page is one too long", "paging.py", "numbers = numbers[:limit]", "numbers = numbers[:limit + 1]"),
    Mutant(
        "a batch lists only what is still attached",
        "client.py",
        "rows.page(rows.status, byte, batch.first",
        "rows.page(rows.present, byte, batch.first",
    ),
    Mutant(
        "a batch lists the file that came after it",
        "client.py",
        "byte, batch.first, batch.stop, order",
        "byte, batch.first, batch.stop + 1, order",
    ),
    Mutant(
        "a store lists what has left",
        "client.py",
        "rows.page(rows.present, byte, 0",
        "rows.page(rows.status, byte, 0",
    ),
    Mutant(
        "an unknown cursor is called after whichever it is",
        "paging.py",
        "None if cursor is None else place(param, cursor)",
        "None if cursor is None else place('after', cursor)",
        CURSOR_LAW,
    ),
    Mutant(
        "the cursor of a deleted file is unknown",
        "client.py",
        "above = None if after is None else store.numbers[after]",
        "above = None if after is None else store.require_file(after)",
    ),
    Mutant(
        "a file attached again keeps its first place in every batch",
        "store.py",
        "row = rows[i] if i < len(rows) else -1",
        "row = rows[0] if rows else -1",
    ),
    Mutant(
        "a file attached again has its place in the batch after",
        "store.py",
        "i = bisect_left(rows, batch.first)",
        "i = bisect_left(rows, batch.stop)",
    ),
    Mutant(
        "an unknown cursor is page one",
        "registry.py",
        "raise UnknownCursor(param, vector_store_id, 'vector stores')",
        "return -1",
    ),
    # Columns
    Mutant(
        "a page ends with its block",
        "columns.py",
        "following is None or following << SHIFT >= high",
        "following is None or True",
        PATTERN_LAW,
    ),
    Mutant(
        "the block that a page ends in is skipped",
        "columns.py",
        "preceding + 1 << SHIFT <= low",
        "preceding << SHIFT <= low",
        PATTERN_LAW,
    ),
    Mutant(
        "an interval the wrong way round is read", "columns.py", "if high <= low:", "if high < 0:", WRONG_WAY_LAW
    ),
    Mutant(
        "a sparse page ends where it was thought to end",
        "columns.py",
        "if flags.count(1) < n:\n                begin = start",
        "if flags.count(1) < 0:\n                begin = start",
        PATTERN_LAW,
    ),
    Mutant("a window is read from the wrong end", "columns.py", "window.reverse()", "window.copy()", PATTERN_LAW),
    Mutant(
        "a block stays listed for a byte that is gone",
        "columns.py",
        "if old not in block:\n            self.leave(key, old)",
        "if old in block:\n            self.leave(key, old)",
        COLUMN_LAW,
    ),
    Mutant(
        "a block is not listed for a byte that is new",
        "columns.py",
        "if new and new not in block:",
        "if new and (not block):",
        COLUMN_LAW,
    ),
    Mutant(
        "a block that is erased stays listed",
        "columns.py",
        "for byte in self.holding:\n                if byte not in block:",
        "for byte in self.holding:\n                if byte in block:",
        COLUMN_LAW,
    ),
    Mutant(
        "blocks are listed as they come",
        "columns.py",
        "keys.insert(place, key)",
        "keys.append(key)",
        BLOCKS_LAW,
    ),
    Mutant(
        "a run holds a byte if any of it does",
        "columns.py",
        "if held < n:",
        "if not held:",
        HOLD_LAW,
    ),
    Mutant(
        "the first of a byte is sought in the last block",
        "columns.py",
        "(keys[0] << SHIFT) + self.blocks[keys[0]].find(byte)",
        "(keys[-1] << SHIFT) + self.blocks[keys[-1]].find(byte)",
        COLUMN_LAW,
    ),
    # Forgetting
    Mutant(
        "the list of stores shows the deleted",
        "listing.py",
        "paging.page(self._places, HERE, low",
        "paging.page(self._places, 0, low",
        LISTING_LAW,
    ),
    Mutant(
        "a store that is forgotten is still a cursor",
        "listing.py",
        "self.numbers.pop(forgotten, None)",
        "pass",
        LISTING_LAW,
    ),
    Mutant(
        "a deleted store is a cursor no more",
        "listing.py",
        "self._places.write(number, HERE, LEFT)",
        "self._places.write(number, HERE, 0)",
        LISTING_LAW,
    ),
    Mutant(
        "one store too many is a cursor",
        "listing.py",
        "len(self._departed) < self._limit",
        "len(self._departed) <= self._limit",
        LISTING_LAW,
    ),
    Mutant(
        "the store that left last is forgotten first",
        "listing.py",
        "next(iter(self._departed.items()))",
        "next(reversed(self._departed.items()))",
        LISTING_LAW,
    ),
    Mutant(
        "a block of the list of stores is never given back",
        "listing.py",
        "self._ids.pop(key, None)",
        "self._ids.get(key)",
        LISTING_LAW,
    ),
    Mutant(
        "an order that was cut short is taken for sound",
        "listing.py",
        "self._touched.update(dict.fromkeys(self._keys))",
        "self._touched.update({})",
        WAITING_LAW,
    ),
    Mutant(
        "what waits keeps its first place",
        "listing.py",
        "if old == key:",
        "if old is not None and key is not None:",
    ),
    Mutant(
        "a file that is forgotten is still a cursor",
        "store.py",
        "self.numbers.pop(oldest, None)",
        "pass",
        FORGETTING_LAW,
    ),
    Mutant(
        "one file too many is a cursor",
        "store.py",
        "len(self.departed) >= self.profile.limits.departed:",
        "len(self.departed) > self.profile.limits.departed:",
        FORGETTING_LAW,
    ),
    Mutant(
        "the file that left last is forgotten first",
        "store.py",
        "file_id = next(iter(self.departed))",
        "file_id = next(reversed(self.departed))",
        FORGETTING_LAW,
    ),
    Mutant(
        "a file that comes again counts as one that left",
        "store.py",
        "self.departed.pop(file_id, None)\n            self._release(",
        "self._release(",
        FORGETTING_LAW,
    ),
    Mutant(
        "a batch forgets with the store",
        "store.py",
        "if listed:\n            if self.listed is NONE_LISTED:",
        "if listed and row < 0:\n            if self.listed is NONE_LISTED:",
        FORGETTING_LAW,
    ),
    Mutant(
        "a file alone is never forgotten",
        "store.py",
        "else:\n            self.rows.forget(row)",
        "",
        FORGETTING_LAW,
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
        "store.py",
        "if code != IN_PROGRESS:\n            raise AlreadyFinished(",
        "if code == 0:\n            raise AlreadyFinished(",
    ),
    # Counts
    Mutant(
        "a deletion leaves the count of the batch",
        "store.py",
        "of = in_batches[batch] = list(batch.counts)",
        "of = list(batch.counts)",
    ),
    Mutant(
        "a deletion leaves the count of the store",
        "store.py",
        "counts = list(self.counts)\n        counts[code - 1] -= 1",
        "counts = list(self.counts)\n        counts[code - 1] -= 0",
    ),
    Mutant(
        "a deletion leaves its bytes",
        "store.py",
        "usage_bytes = self.usage_bytes - self.rows.usage_bytes(row)",
        "usage_bytes = self.usage_bytes",
    ),
    Mutant(
        "a file that comes again leaves its bytes",
        "store.py",
        "usage_bytes -= self.rows.usage_bytes(row)",
        "usage_bytes -= 0",
    ),
    Mutant(
        "a file that comes again leaves the count of its batch",
        "store.py",
        "of = in_batches.setdefault(batch, list(batch.counts))",
        "of = list(batch.counts)",
    ),
    Mutant(
        "a count moves by one however many move",
        "store.py",
        "counts[code - 1] += n\n",
        "counts[code - 1] += 1\n",
        MANY_LAW,
    ),
    Mutant(
        "a batch counts one however many move",
        "store.py",
        "counts[code - 1] += ended",
        "counts[code - 1] += 1",
        MANY_LAW,
    ),
    Mutant("a cancel counts one", "store.py", "each[cancelled - 1] += n", "each[cancelled - 1] += 1"),
    Mutant(
        "counts are kept when they have changed",
        "store.py",
        "batch.counts[:] = of\n            batch.forget_value()",
        "batch.counts[:] = of",
    ),
    Mutant(
        "a store is shown as it was",
        "store.py",
        "self._value = None\n        self.version = event.version",
        "self.version = event.version",
    ),
    Mutant(
        "the first file after a batch leaves it",
        "store.py",
        "return self.ordered[i] if i >= 0 and row < self.ordered[i].stop else None",
        "return self.ordered[i] if i >= 0 and row <= self.ordered[i].stop else None",
    ),
    Mutant(
        "duplicates are counted", "validation.py", "unique = tuple(dict.fromkeys(ids))", "unique = tuple(ids)"
    ),
    Mutant(
        "the last of duplicates wins", "validation.py", "new.setdefault(file_id, file)", "new[file_id] = file"
    ),
    Mutant("bytes are not kept", "processing.py", "attachment, usage_bytes or 0)", "attachment, 0)"),
    # Attachments
    Mutant(
        "an attachment is numbered from 1",
        "rows.py",
        "block.attributes[offset], row)",
        "block.attributes[offset], row + 1)",
    ),
    Mutant(
        "the result of an attachment that is no more is taken",
        "store.py",
        "if row != attachment or type(attachment) is not int:",
        "if row is None:",
        STALE_LAW,
    ),
    Mutant(
        "attributes are shown as they were",
        "rows.py",
        "block.attributes[offset] = attributes\n        if block.values is not None:",
        "block.attributes[offset] = attributes\n        if block.values is None:",
    ),
    Mutant(
        "a cancelled file is shown as it was",
        "rows.py",
        "block.values[start:end] = [None] * (end - start)",
        "block.values[start:start] = []",
    ),
    Mutant(
        "a new file has the bytes of the last",
        "rows.py",
        "if usage_bytes:\n            block.usage[offset] = usage_bytes",
        "block.usage[offset] += usage_bytes + (offset > 0)",
    ),
    # Cancel
    Mutant(
        "a cancel leaves the last file",
        "rows.py",
        "self.present.replace(first, stop, IN_PROGRESS, ENDED['cancel'])",
        "self.present.replace(first, stop - 1, IN_PROGRESS, ENDED['cancel'])",
    ),
    Mutant(
        "a cancelled file has failed in its batch",
        "rows.py",
        "self.status.replace(first, stop, IN_PROGRESS, ENDED['cancel'])",
        "self.status.replace(first, stop, IN_PROGRESS, ENDED['fail'])",
    ),
    Mutant(
        "a cancel takes the files before it",
        "store.py",
        "self.rows.cancel(batch.first, batch.stop)",
        "self.rows.cancel(0, batch.stop)",
    ),
    Mutant(
        "a cancel takes the files after it",
        "columns.py",
        "block[start:end] = block[start:end].translate(table)",
        "block[start:] = block[start:].translate(table)",
    ),
    # Policies
    Mutant(
        "a cancel that answers in_progress answers what it became",
        "client.py",
        "before or _batch(store, batch_id)",
        "_batch(store, batch_id)",
    ),
    Mutant(
        "duplicates are refused by the profile that takes them",
        "validation.py",
        "profile.duplicates == 'refuse'",
        "profile.duplicates == 'first'",
    ),
    Mutant(
        "a file that is used again takes the attributes of another",
        "decisions.py",
        "attributes = tuple(compress(attributes, new))",
        "attributes = attributes[:sum(new)]",
        OWN_ATTRIBUTES_LAW,
    ),
    Mutant(
        "a batch lists no file that was attached, and none that was not",
        "decisions.py",
        "file_id not in stay for",
        "file_id in stay for",
    ),
    Mutant(
        "a file that left is attached still",
        "store.py",
        "for file_id in file_ids if self.find(file_id) is not None",
        "for file_id in file_ids if file_id in self.numbers",
    ),
    Mutant(
        "an unknown cursor is always refused",
        "paging.py",
        "if profile.unknown_cursor == 'refuse':",
        "if profile.unknown_cursor:",
    ),
    Mutant(
        "a deleted file is no cursor",
        "store.py",
        "self.profile.deleted_cursor == 'refuse' and (not self.rows.present[row])",
        "not self.rows.present[row]",
    ),
    Mutant(
        "a deleted store is a cursor whatever the profile says",
        "registry.py",
        "self.profile.deleted_cursor == 'refuse' and vector_store_id not in self.stores",
        "self.profile.deleted_cursor == ''",
    ),
    Mutant(
        "of both cursors before alone counts",
        "paging.py",
        "        before = None\n    found",
        "        after = None\n    found",
    ),
    Mutant(
        "ties by id are by number",
        "rows.py",
        "if ties == 'request_order' or",
        "if ties != 'by_id' or",
    ),
    Mutant("ties that are the same both ways are not", "rows.py", "order if ties == 'by_id' else 'asc'", "order"),
    Mutant("ties by id are the same both ways", "rows.py", "order if ties == 'by_id' else 'asc'", "'asc'"),
    Mutant(
        "a page under ties reads past the cursor where it ends",
        "rows.py",
        "(max(first, start), stop) if falling else (first, min(stop, end))",
        "(first, stop)",
    ),
    Mutant(
        "a page between two cursors under ties begins where it should have ended",
        "rows.py",
        "if first <= begins < stop:",
        "if first <= stop:",
    ),
    Mutant(
        "a store without a name is always empty",
        "validation.py",
        "'' if unnamed == 'empty' else None",
        "''",
    ),
    Mutant(
        "a batch without files is cancelled",
        "transitions.py",
        "False, False, False, False, True, 'every",
        "False, False, False, False, None, 'every",
    ),
    Mutant("a cancel is forgotten", "store.py", "batch.cancel_asked = True", "batch.cancel_asked = False"),
    Mutant(
        "a cancel of a finished batch is always refused",
        "decisions.py",
        "if store.profile.cancel_finished == 'refuse':",
        "if store.profile.cancel_finished:",
    ),
    Mutant("a cancel never drains", "decisions.py", "drain = store.profile.cancel == 'drain'", "drain = False"),
    Mutant(
        "a cancel that drains is an event twice",
        "decisions.py",
        "if drain and cancelled.cancel_asked:",
        "if drain and cancelled is None:",
        DRAIN_LAW,
    ),
    Mutant("a drain takes what workers hold", "store.py", "kept = set(event.left_running)", "kept = set()"),
    Mutant(
        "a drain leaves what nobody holds",
        "store.py",
        "[row for row in there if row not in kept]",
        "[row for row in there if row in kept]",
    ),
    # Policies that meet
    Mutant(
        "a cancel of a finished batch is refused only where none drains",
        "decisions.py",
        "if store.profile.cancel_finished == 'refuse':",
        "if store.profile.cancel_finished == 'refuse' and (not drain):",
        COMBINED_LAW,
    ),
    Mutant(
        "before counts beside an unknown after, though after alone does",
        "paging.py",
        "        before = None\n    found",
        "        before = None if profile.unknown_cursor == 'refuse' else before\n    found",
        COMBINED_LAW,
    ),
    Mutant(
        "three policies together lose what a cancel returns",
        "client.py",
        "if store.profile.cancel_answer == 'in_progress':",
        "if store.profile.cancel_answer == 'in_progress' and "
        "(store.profile.cancel != 'drain' or store.profile.batch_object == 'vector_store.files_batch'):",
        COMBINED_LAW,
    ),
    # Claims, and what time makes due
    Mutant(
        "a claim outlives its file",
        "store.py",
        "if self.claims is not None:\n            self.claims.forget(row)\n        counts = self.counts",
        "counts = self.counts",
    ),
    Mutant(
        "the frontier is one too far",
        "decisions.py",
        "frontiers[store.number] = max(row + 1,",
        "frontiers[store.number] = max(row + 2,",
    ),
    Mutant(
        "a claim of another number is taken",
        "decisions.py",
        "(held.number, held.worker, held.file.id) == (claim.number, claim.worker, file_id)",
        "(held.worker, held.file.id) == (claim.worker, file_id)",
        WORKERS_LAW,
    ),
    Mutant(
        "claims come in no order across stores",
        "processing.py",
        "return sorted(made, key=attrgetter('number'))",
        "return made",
        OLDEST_LAW,
    ),
    Mutant(
        "a lapse is no attempt",
        "due.py",
        "= (when, True, f'the claim of",
        "= (when, False, f'the claim of",
        WORKERS_LAW,
    ),
    Mutant("a claim lapses a moment late", "due.py", "timers[0][0] <= now", "timers[0][0] < now", WORKERS_LAW),
    Mutant(
        "a heartbeat shortens nothing",
        "due.py",
        "if claim.deadline < claims.timers.get(row, inf):",
        "if row not in claims.timers:",
        SHORTER_LAW,
    ),
    Mutant("a claim that is over stays over", "due.py", "self.over = {}", "pass", WORKERS_LAW),
    Mutant(
        "a lapse does not end a drain",
        "due.py",
        "if store.draining(row):",
        "if store.draining(row) and claim is None:",
        WORKERS_LAW,
    ),
    Mutant(
        "what has waited is not heard of if the call is interrupted",
        "claims.py",
        "self._returned.touch(row)\n        self.delayed.pop(row, None)",
        "self.delayed.pop(row, None)\n        self._returned.touch(row)",
        WAITED_LAW,
    ),
    Mutant("attempts follow at once", "due.py", "at + delay if delay else None", "None", BACKOFF_LAW),
    Mutant(
        "a release is an attempt",
        "due.py",
        "back[row] = (claim.attempt - 1, None)",
        "back[row] = (claim.attempt, None)",
        WORKERS_LAW,
    ),
    Mutant(
        "a file is tried once too often",
        "due.py",
        "claim.attempt < self._retry.attempts",
        "claim.attempt <= self._retry.attempts",
        WORKERS_LAW,
    ),
    Mutant(
        "what was released is claimed though it was cancelled",
        "claims.py",
        "known = self._known()",
        "known = {*self.held, *self.attempts, *self.delayed}",
        RELEASED_LAW,
    ),
    Mutant(
        "what is due is judged by the time of a store",
        "registry.py",
        "if self.due.over and (not replaying):\n                    self.due.settle(time)",
        "if self.due.over and (not replaying):\n                    self.due.settle(now)",
        CLOCK_LAW,
    ),
    Mutant(
        "a follower makes things due",
        "registry.py",
        "if self._leads and self.due.look_at < inf and (not before):",
        "if self.due.look_at < inf and (not before):",
        FOLLOWER_LAW,
    ),
    Mutant(
        "an engine that was restored ends no drain",
        "registry.py",
        "self.due.note_draining(store, batch)\n        for id",
        "pass\n        for id",
        RESTORED_LAW,
    ),
    Mutant(
        "void timers stay",
        "due.py",
        "if len(self._timers) >= self._full:",
        "if len(self._timers) < 0:",
        TIMERS_LAW,
    ),
    Mutant(
        "timers are taken out that are not void",
        "due.py",
        "[each for each in self._timers if self._valid(each)]",
        "[each for each in self._timers if not self._valid(each)]",
        TIMERS_LAW,
    ),
    Mutant(
        "a store that was updated never expires again",
        "store.py",
        "self.expiry_noted = False\n        self._seen(event)",
        "self._seen(event)",
        EXPIRES_LAW,
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
    Mutant("time goes back", "registry.py", "now = max(subject.at, time)", "now = time"),
    # Order of what is pending
    Mutant(
        "pending goes through one store after the other",
        "registry.py",
        "(not reading or head < reading[0][:2])",
        "(not reading)",
        OLDEST_LAW,
    ),
    Mutant(
        "pending passes over every other file",
        "rows.py",
        "yield from found",
        "yield from found[::2]",
    ),
    Mutant(
        "pending does not hear that the oldest ends",
        "registry.py",
        "self._waiting.touch(number)\n            self._touch_claimable(number)",
        "self._touch_claimable(number)",
    ),
    # Snapshots
    Mutant(
        "a snapshot forgets the cancel",
        "snapshots.py",
        "batch.cancel_asked = validation.boolean(f'{where}.cancel_asked', cancel_asked)",
        "batch.cancel_asked = False",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets that the store has expired",
        "snapshots.py",
        "expiry_noted=expired",
        "expiry_noted=False",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets when the store was active",
        "snapshots.py",
        "last_active_at=last_active_at",
        "last_active_at=created_at",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets the attributes",
        "rows.py",
        "columns.attributes += _exceptions(base, block.attributes, NO_ATTRIBUTES)",
        "columns.attributes += []",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets the chunking",
        "rows.py",
        "columns.chunking += _exceptions(base, block.chunking, AUTO)",
        "columns.chunking += []",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets the bytes",
        "rows.py",
        "columns.usage.extend(block.usage if whole else",
        "columns.usage.extend([0] * len(status) if whole else",
        RESTORED,
    ),
    Mutant(
        "a snapshot forgets the deleted stores",
        "snapshots.py",
        "registry.restore(at, version, stores.items(), departed, keys)",
        "registry.restore(at, version, [(id, store) for id, store in stores.items() if store], [])",
        RESTORED,
    ),
    # Events and their order
    Mutant(
        "no event is delivered",
        "registry.py",
        "undelivered.extend(zip(callbacks, repeat(event)))",
        "undelivered.extend(zip((), repeat(event)))",
        REPLAYED,
    ),
    Mutant(
        "the last event is delivered first", "registry.py", "map(deque.popleft,", "map(deque.pop,", DELIVERED_LAW
    ),
    Mutant(
        "what a callback does is delivered within it",
        "registry.py",
        "if self._delivering:\n            return raised",
        "if self._delivering:\n            pass",
        DELIVERED_LAW,
    ),
    Mutant(
        "the version of a store stands still",
        "store.py",
        "self._value = None\n        self.version = event.version",
        "self._value = None",
        VERSION_LAW,
    ),
    Mutant(
        "a deletion skips a version",
        "decisions.py",
        "ev.FileDeleted(now, store.id, file_id, version=store.version + 1",
        "ev.FileDeleted(now, store.id, file_id, version=store.version + 2",
        REPLAYED,
    ),
    Mutant(
        "a replay refuses events of the same moment",
        "registry.py",
        "if at < latest:",
        "if at <= latest:",
        REPLAYED,
    ),
    Mutant(
        "a replay refuses to delete what is done",
        "store.py",
        "case ev.FileDeleted():\n                self._require_present(event)",
        "case ev.FileDeleted():\n                self.require_in_progress(event.file_id, 'delete')",
        REPLAYED,
    ),
    Mutant(
        "a replay takes the time of the store for its own",
        "registry.py",
        "latest = self.at\n",
        "latest = self.at + 1\n",
        REPLAYED,
    ),
    # The journal
    Mutant(
        "a group is carried out again when it is not known whether it was committed",
        "journal/replica.py",
        "            log.commit()\n            self._commit_seconds",
        "            try:\n"
        "                log.commit()\n"
        "            except LogError:\n"
        "                log.rollback()\n"
        "                self._forget()\n"
        "                return\n"
        "            self._commit_seconds",
        SIMULATION,
    ),
    Mutant(
        "a commit of which nothing can be known is taken for one that failed",
        "journal/replica.py",
        "            self.log.close()\n            raise\n        if token",
        "            token = None\n        if token",
        SIMULATION,
    ),
    Mutant(
        "a command is acknowledged before it is committed",
        "journal/replica.py",
        "            log.commit()\n            self._commit_seconds",
        "            self._landed(attempt)\n            log.commit()\n            self._commit_seconds",
        SIMULATION,
    ),
    Mutant(
        "a command that turns out to be in the log is carried out again",
        "journal/replica.py",
        "        commands = [each for each in commands if not each.done]\n",
        "",
        SIMULATION,
    ),
    Mutant(
        "subscribers are called before the commit",
        "journal/replica.py",
        "            log.append(frame, self._parts.values(), lasting=self._lasting)",
        "            self._delivering = False\n"
        "            self._call_subscribers()\n"
        "            self._delivering = True\n"
        "            log.append(frame, self._parts.values(), lasting=self._lasting)",
        SIMULATION,
    ),
    Mutant(
        "a command does not catch up",
        "journal/replica.py",
        "seq = self._follow(seq) if self.log.changed() else seq",
        "seq = self._follow(seq) if not to_write and self.log.changed() else seq",
        SIMULATION,
    ),
    Mutant(
        "a command catches up before it locks the log",
        "journal/replica.py",
        "        if to_write:\n"
        "            self.log.begin()\n"
        "        seq = self._seq\n"
        "        if seq is not None:\n"
        "            seq = self._follow(seq) if self.log.changed() else seq\n"
        "        return self._load(alone=to_write) if seq is None else seq",
        "        seq = self._seq\n"
        "        if seq is not None:\n"
        "            seq = self._follow(seq) if self.log.changed() else seq\n"
        "        seq = self._load() if seq is None else seq\n"
        "        if to_write:\n"
        "            self.log.begin()\n"
        "        return seq",
        SIMULATION,
    ),
    Mutant(
        "what is read may be of a transaction that was not committed",
        "journal/replica.py",
        "behind = self._seq is None or self._attempt is not None or self.log.changed()",
        "behind = self.log.changed()",
        SIMULATION,
    ),
    Mutant(
        "what is read at once catches up with the log",
        "journal/replica.py",
        "if (behind or self._undelivered) and _at_once.get():",
        "if self._undelivered and _at_once.get():",
        AT_ONCE_LAW,
    ),
    Mutant(
        "a coroutine carries out a command in place",
        "aio.py",
        "if not self._registry.blocking:",
        "if True:",
        IN_A_THREAD_LAW,
    ),
    Mutant(
        "a worker that is cancelled while it claims forgets the claims",
        "work.py",
        "            while not asking.done():\n"
        "                with suppress(asyncio.CancelledError):\n"
        "                    await asyncio.wait([asking])",
        "            pass",
        CANCELLED_LAW,
    ),
    Mutant(
        "events of a transaction that failed stay in the queue",
        "journal/replica.py",
        "        while len(self._undelivered) > queued:\n"
        "            self._undelivered.pop()\n"
        "        self._unfinished = None",
        "        self._unfinished = None",
        SIMULATION,
    ),
    Mutant(
        "events that were delivered are counted as queued",
        "journal/replica.py",
        "heard, queued = (self._heard[0], len(self._undelivered))",
        "heard, queued = self._heard",
        SIMULATION,
    ),
    Mutant(
        "events that a snapshot covers are not delivered",
        "journal/replica.py",
        "            self._queue_events(heard, seq)",
        "            pass",
        SIMULATION,
    ),
    Mutant(
        "the log is pruned behind a snapshot that was not proved",
        "journal/replica.py",
        "whole = [each for each in log.snapshots() if _is_whole(log.snapshot(each))]",
        "whole = log.snapshots()",
        PROVED_LAW,
    ),
    Mutant(
        "the one that led wakes nobody",
        "journal/replica.py",
        "                if leads:\n                    self._wake()",
        "                if leads:\n                    pass",
        SIMULATION,
    ),
    Mutant(
        "an interrupted transaction stays open",
        "journal/replica.py",
        "            self.log.rollback()\n"
        "            self._resolve()\n"
        "        except BaseException as error:\n"
        "            self.log.close()",
        "            self._resolve()\n        except BaseException as error:",
        SIMULATION,
    ),
    # The log in PostgreSQL
    Mutant(
        "the tail is read before the head is locked",
        "journal/postgres.py",
        "found = self._retried(self._results, f'{lock}; {tail}' if self._proven else lock)",
        "begun = self._proven\n"
        "        found = self._retried(self._results, f'BEGIN; {tail}; {lock}' if begun else lock)\n"
        "        found = [*found[1:], found[0]] if begun else found",
        WAITED_FOR_HEAD_LAW,
    ),
    Mutant(
        "a transaction does not lock the head",
        "journal/postgres.py",
        "COMMITTED; SELECT seq FROM vsbatch.head FOR UPDATE;",
        "COMMITTED; SELECT seq FROM vsbatch.head;",
        WAITED_FOR_HEAD_LAW,
    ),
    Mutant(
        "a connection that ends at the commit is taken for one that committed",
        "journal/postgres.py",
        "        self._run('; '.join([*self._statements, 'COMMIT']))",
        "        try:\n"
        "            self._run('; '.join([*self._statements, 'COMMIT']))\n"
        "        except LogError:\n"
        "            self.close()",
        f"{BEFALLEN_LAW}[before-False]",
    ),
    Mutant(
        "a commit that is in doubt is not waited for",
        "journal/postgres.py",
        "            self._run('SELECT seq FROM vsbatch.head FOR UPDATE')\n",
        "",
        f"{BEFALLEN_LAW}[late-False]",
    ),
    Mutant(
        "full durability waits for no disk",
        "journal/postgres.py",
        "if self.durability == 'full':",
        "if False:",
        f"{ON_POSTGRES}durability_is_what_the_server_waits_for[full-on-on]",
    ),
    Mutant(
        "a read takes what a transaction found for all that is new",
        "journal/postgres.py",
        "frame.token, True)\n        self._head, self._tail = (-1, None)",
        "frame.token, True)\n        self._head = -1",
        "journal/test_processes.py::test_each_engine_sees_what_the_other_did_at_once[postgresql]",
    ),
    Mutant(
        "a new connection does not look whether what was read is still there",
        "journal/postgres.py",
        "if after != self._read or not self._proven:",
        "if after != self._read:",
        f"{SET_BACK_LAW}[written-False-3]",
    ),
    Mutant(
        "the token of a frame that only a snapshot has is not read",
        "journal/postgres.py",
        "            token = self._proof(after)\n            begun = None",
        "            token = self._proof(after) if after == self._read else None\n            begun = None",
        f"{ON_POSTGRES}an_engine_whose_frames_were_only_pruned_does_not_take_them_for_lost",
    ),
    Mutant(
        "a frame that was found by its token does not count as read",
        "journal/postgres.py",
        "            self._read, self._token, self._proven = (seq, token, True)\n        return token",
        "            pass\n        return token",
        f"{ON_POSTGRES}a_commit_that_was_in_doubt_and_is_lost_then_is_not_followed_by_what_others_have_written",
    ),
    Mutant(
        "what extends a claim without an end need not last",
        "journal/replica.py",
        "if inf in (claim.deadline, claim.deadline if before is None else before.deadline):",
        "if claim.deadline == inf:",
        f"{ON_POSTGRES}a_claim_with_a_deadline_is_all_that_a_server_loses_when_it_is_killed",
    ),
    Mutant(
        "what ends a claim need not last",
        "journal/replica.py",
        "if not isinstance(event, ClaimsChange) or event.over or event.back:",
        "if not isinstance(event, ClaimsChange):",
        f"{ON_POSTGRES}a_claim_with_a_deadline_is_all_that_a_server_loses_when_it_is_killed",
    ),
    Mutant(
        "nothing need last",
        "journal/replica.py",
        "self._lasting = self._lasting or self._must_last(event)",
        "self._lasting = self._lasting or (self._must_last(event) and self._whole)",
        f"{ON_POSTGRES}a_claim_with_a_deadline_is_all_that_a_server_loses_when_it_is_killed",
    ),
    Mutant(
        "a frame that was pruned is followed",
        "journal/postgres.py",
        "            raise Rewound(seq, pruned=pruned)",
        "            if not pruned:\n                raise Rewound(seq, pruned=pruned)",
        f"{ON_POSTGRES}what_is_lost_is_not_followed_by_what_others_have_written_and_pruned_up_to_it",
    ),
    Mutant(
        "a snapshot may follow what a local read has not found to be lost",
        "journal/replica.py",
        "        self.execute(ALL, lambda _registry, _now: None, lambda _registry, _event: None)\n        try:",
        "        try:",
        f"{ON_POSTGRES}a_snapshot_of_what_is_lost_is_not_kept",
    ),
    Mutant(
        "a snapshot is kept by a connection that is newer than what it has",
        "journal/replica.py",
        "began = time.monotonic()\n        log.last()",
        "began = time.monotonic()",
        f"{ON_POSTGRES}a_snapshot_that_is_being_taken_while_the_database_loses_it_is_not_kept",
    ),
    Mutant(
        "a command decides by what a local read knows",
        "journal/postgres.py",
        "            return self._head != self._read or not self._proven",
        "            return self.remote and (self._head != self._read or not self._proven)",
        f"{ON_POSTGRES}a_read_may_be_late_where_reads_are_local_and_nothing_else_may",
    ),
    Mutant(
        "the clock goes with the database's time only forward",
        "journal/postgres.py",
        "min(max(self._ahead, least), most)",
        "max(self._ahead, least)",
        f"{ON_POSTGRES}the_clock_is_right_to_within_the_round_trip_that_brought_the_time",
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
