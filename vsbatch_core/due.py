"""What time makes due: lapses of claims, further attempts, ends of drains, expiries of stores, purges of batches.

A heap of timers says when to look at what, and the next command or read does so before anything else.  What has
become due is then made to happen, in the order of time and by events like any other, whose time is that at which
it became due: who looks when makes no difference.  An engine does so from its first command on.  Until then, and
after ``replay``, it follows another engine, whose events say what was due there.

A timer is void if its store does not name it any more.  A command that is completed after an interruption may set
a timer again: two equal timers do what one does.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf

from vsbatch_core import decisions
from vsbatch_core import events as ev
from vsbatch_core.batch import Batch
from vsbatch_core.claims import Claims, ClaimsChange, Over, Retry
from vsbatch_core.errors import Inconsistent, shown
from vsbatch_core.listing import Listing
from vsbatch_core.model import MESSAGES
from vsbatch_core.rows import IN_PROGRESS
from vsbatch_core.store import Store

Timer = tuple[float, int, int]
"""When to look, the number of a store, and one of its attachments, ``_EXPIRY`` or ``_PURGE``."""

_EXPIRY, _PURGE = -1, -2

_TIMERS = 1024
"""Up to so many timers, those that are void are not worth taking out."""


class Due:
    """What time makes due in the stores of one engine.

    ``commit`` makes an event or a change of claims happen; ``touch_claimable`` is called with the number of a
    store whose attachments that can be claimed have changed.  ``retention`` is how many seconds batches are kept
    once they have finished.
    """

    def __init__(
        self,
        stores: dict[str, Store],
        listing: Listing,
        retry: Retry,
        retention: float,
        commit: Callable[[ev.Event | ClaimsChange], None],
        touch_claimable: Callable[[int], None],
    ) -> None:
        self._stores = stores
        self._listing = listing
        self._retry = retry
        self.retention = retention
        self._commit = commit
        self._touch_claimable = touch_claimable
        self.claims_made = 0
        """The number of the latest claim."""
        self._timers: list[Timer] = []
        """When to look for what is due, as a heap.  One that its store does not name any more is void."""
        self._full = _TIMERS
        """How many timers there may be before the void ones are taken out."""
        self.claims_lapse = False
        """Whether there has ever been a timer of a claim, or of a file that waits for another attempt."""
        self.look_at = inf
        """When the next command or read looks for what is due; never later than the first timer."""
        self.lapsed: dict[tuple[int, int], Over] = {}
        """The attachments, by store number, whose claims have lapsed and which have not been dealt with."""
        self.over: dict[tuple[int, int], Over] = {}
        """The same of claims that a worker has ended, and of drains that nobody holds here."""

    # Putting: each of these can be called again with the same arguments

    def put_claims(self, change: ClaimsChange) -> None:
        """Put a change of claims."""
        for number, held in change.held.items():
            store = self._numbered(number)
            claims = self._claims_of(store)
            claims.hold(held, change.frontiers.get(number, claims.frontier))
            for row, claim in held.items():
                if claim.deadline < claims.timers.get(row, inf):
                    self._set((claim.deadline, number, row))
                    claims.timers[row] = claim.deadline
            self._touch_claimable(number)
        for number, back in change.back.items():
            claims = self._claims_of(self._numbered(number))
            for row, (attempts, ready_at) in back.items():
                claims.give_back(row, attempts, ready_at)
                if ready_at is not None:
                    self._set((ready_at, number, row))
            self._touch_claimable(number)
        if change.over:
            self.look_at = -inf
            self.over.update(change.over)
        if change.made is not None:
            self.claims_made = change.made

    def _claims_of(self, store: Store) -> Claims:
        if store.claims is None:
            store.claims = Claims(store.rows)
        return store.claims

    def note_expiry(self, store: Store) -> None:
        """Note when to look whether a store has expired."""
        expires_at = store.expires_at()
        if expires_at is not None and not store.expiry_noted and expires_at < store.expiry_timer:
            self._set((expires_at, store.number, _EXPIRY))
            store.expiry_timer = expires_at

    def note_finished(self, store: Store) -> None:
        """Note when to look whether the first of the batches that have finished is to be purged.  O(1)."""
        purge_at = self._purge_at(store)
        if purge_at < store.purge_timer:
            self._set((purge_at, store.number, _PURGE))
            store.purge_timer = purge_at

    def _purge_at(self, store: Store) -> float:
        """Return when the first of the batches that have finished is to be purged."""
        finished_at = store.finished[0].finished_at if store.finished else None
        return inf if finished_at is None else finished_at + self.retention

    def note_draining(self, store: Store, batch: Batch) -> None:
        """Note the attachments that a cancel left running and that nobody holds here."""
        if batch.cancel_asked and batch.counts[IN_PROGRESS - 1]:
            held = {} if store.claims is None else store.claims.held
            n = batch.stop - batch.first
            for row in store.rows.present.ascending(IN_PROGRESS, batch.first, batch.stop, n):
                if row not in held:
                    self.look_at = -inf
                    self.over[store.number, row] = (inf, False, "")

    def _set(self, timer: Timer) -> None:
        if timer[2] >= 0:
            self.claims_lapse = True
        if len(self._timers) >= self._full:
            timers = [each for each in self._timers if self._valid(each)]
            heapify(timers)
            self._full = max(_TIMERS, 2 * len(timers))
            self._timers = timers
        self.look_at = min(self.look_at, timer[0])
        heappush(self._timers, timer)

    # Proving

    def check(self) -> None:
        """Raise ``Inconsistent`` unless whatever becomes due will be looked at in time.  O(timers + claims)."""
        timers = set(filter(self._valid, self._timers))
        first = min(timers, default=(inf, 0, 0))[0]
        if self.look_at > first or ((self.over or self.lapsed) and self.look_at > -inf):
            raise Inconsistent("when to look for what is due", self.look_at, first)
        for id, store in self._stores.items():
            needed: list[tuple[float, int, float]] = []
            """When there must be a timer, for what, and until when it may be."""
            claims, expires_at = store.claims, store.expires_at()
            if claims is not None:
                held = ((row, claim.deadline) for row, claim in claims.held.items() if claim.deadline < inf)
                needed += [(claims.timers.get(row, inf), row, deadline) for row, deadline in held]
                needed += [(ready_at, row, ready_at) for row, ready_at in claims.delayed.items()]
            if expires_at is not None and not store.expiry_noted:
                needed.append((store.expiry_timer, _EXPIRY, expires_at))
            if self._purge_at(store) < inf:
                needed.append((store.purge_timer, _PURGE, self._purge_at(store)))
            missing = [
                each for each in needed if each[0] > each[2] or (each[0], store.number, each[1]) not in timers
            ]
            if missing:
                raise Inconsistent(f"the timers of vector store '{id}'", missing, [])

    # Looking

    def _numbered(self, number: int) -> Store:
        return self._stores[self._listing.id(number)]

    def _valid(self, timer: Timer) -> bool:
        """Return whether the timer is still the one that its store names."""
        when, number, row = timer
        store = self._stores.get(self._listing.id(number))
        if store is None:
            return False
        if row < 0:
            return when == (store.expiry_timer if row == _EXPIRY else store.purge_timer)
        claims = store.claims
        return claims is not None and when in (claims.timers.get(row), claims.delayed.get(row))

    def settle(self, now: float) -> None:
        """Make what is due by now happen, in the order of time.

        Called again after an exception, it goes on where it was.
        """
        latest = max((when for when, _, _ in self.lapsed.values()), default=-inf)
        while True:
            timers = self._timers
            due = bool(timers) and timers[0][0] <= now
            if self.lapsed and not (due and timers[0][0] <= latest):
                self._end_claims(self.lapsed, now)  # before anything later happens
                self.lapsed = {}
                continue
            if not due:
                break
            timer = timers[0]
            latest = timer[0]
            if self._valid(timer):
                self._act(timer)
            if self._timers is timers and timers[0] is timer:
                heappop(timers)
        if self.over:
            self._end_claims(self.over, now)
            self.over = {}
        self.look_at = self._timers[0][0] if self._timers else inf

    def _act(self, timer: Timer) -> None:
        """Do what a timer is for, or set it anew if it is too early."""
        when, number, row = timer
        store = self._numbered(number)
        if row == _PURGE:
            purged = decisions.purge_batches(store, max(store.at, when), self.retention, when)
            if purged is not None:
                self._commit(purged)
            following = self._purge_at(store)
            if following < inf:
                self._set((following, number, row))
            store.purge_timer = following
            return
        if row == _EXPIRY:
            expires_at = store.expires_at()
            if expires_at is not None and expires_at > when:
                self._set((expires_at, number, row))
                store.expiry_timer = expires_at
                return
            event = decisions.expire_store(store, max(store.at, when))
            if event is not None:
                self._commit(event)
            store.expiry_timer = inf
            return
        claims = self._claims_of(store)
        claim = claims.held.get(row)
        if claim is None:
            self._touch_claimable(number)
            claims.ready(row)
        elif claim.deadline > when:
            self._set((claim.deadline, number, row))
            claims.timers[row] = claim.deadline
        else:
            self.look_at = -inf  # until it is dealt with, though the clock be set back meanwhile
            self.lapsed[number, row] = (when, True, f"the claim of worker {shown(claim.worker)} lapsed")

    def _end_claims(self, ended: dict[tuple[int, int], Over], now: float) -> None:
        """Cancel, give back or fail the attachments whose claims have ended, or have none here."""
        groups: dict[tuple[float, int], list[tuple[int, Over]]] = {}
        for (number, row), over in sorted(ended.items()):
            groups.setdefault((min(over[0], now), number), []).append((row, over))
        for (when, number), rows in sorted(groups.items()):
            store = self._stores.get(self._listing.id(number))
            if store is not None:
                self._end_claims_of(store, max(store.at, when), rows)

    def _end_claims_of(self, store: Store, at: float, rows: list[tuple[int, Over]]) -> None:
        cancelled: list[int] = []
        failed: dict[str, list[int]] = {}
        back: dict[int, tuple[int, float | None]] = {}
        for row, (_, counts, why) in rows:
            claim = store.held(row)
            if store.rows.present[row] != IN_PROGRESS:
                continue
            if store.draining(row):
                cancelled.append(row)
            elif claim is not None and not counts:
                back[row] = (claim.attempt - 1, None)
            elif claim is not None and claim.attempt < self._retry.attempts:
                delay = self._retry.delay(claim.attempt)
                back[row] = (claim.attempt, at + delay if delay else None)
            elif claim is not None:
                times = "once" if claim.attempt == 1 else f"{claim.attempt} times"
                message = f"{MESSAGES['server_error']} The file was tried {times}; at last {why}."
                failed.setdefault(message, []).append(row)
        if cancelled:
            self._commit(decisions.cancel_files(store, at, cancelled))
        for message, those in failed.items():
            self._commit(decisions.give_up(store, at, those, message))
        if back:
            self._commit(ClaimsChange(back={store.number: back}))
