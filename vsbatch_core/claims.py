"""Claims: which worker holds which attachment, until when, and how often the attachment was tried.

A *claim* is a worker's right to process one attachment for a while.  It ends when the attachment ends, when the
worker gives it back, or when its deadline passes: it has then *lapsed*.  Claims are not events, and a snapshot
does not contain them: a restored engine, like one that follows another by ``replay``, knows of none.  What
becomes of a file because of its claim is an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any

from attrs import Attribute, field, frozen

from vsbatch_core.errors import Inconsistent, shown
from vsbatch_core.listing import Waiting
from vsbatch_core.model import ErrorCode, VectorStoreFile, constructor
from vsbatch_core.rows import IN_PROGRESS, Rows

__all__ = ["Claim", "Completed", "Failed", "Retry"]


def _of(expected: str, *types: type) -> Any:
    """Return a validator of values of these types, and of a file whose id is a string."""

    def check(_claim: Claim, attribute: Attribute[Any], value: Any) -> None:
        right = isinstance(value, types) and not isinstance(value, bool)
        if not right or (isinstance(value, VectorStoreFile) and not isinstance(value.id, str)):
            raise TypeError(f"Claim({attribute.name}={shown(value)}): give {expected}, as the engine does")

    return check


@frozen(kw_only=True, slots=True, weakref_slot=False)
class Claim:
    """The right of a worker to process one attachment until ``deadline``, in seconds since the Unix epoch.

    ``attempt`` counts the times that the attachment was tried, from 1: claims that were released do not count.
    ``number`` is that of the claim within its engine; no other claim has it, unless a crash of a PostgreSQL
    server lost this one.  ``heartbeat`` returns a claim with the same number and a later deadline.  Raise
    ``TypeError`` for a field of another type.
    """

    vector_store_id: str = field(validator=_of("a string", str))
    file: VectorStoreFile = field(validator=_of("a file with a string for its id", VectorStoreFile))
    attachment: int = field(validator=_of("an integer", int))
    attempt: int = field(validator=_of("an integer", int))
    deadline: float = field(validator=_of("a number", float, int))
    worker: str = field(validator=_of("a string", str))
    number: int = field(validator=_of("an integer", int))


new_claim = constructor(Claim)


def extended(claim: Claim, file: VectorStoreFile, deadline: float) -> Claim:
    """Return the claim with another deadline, and the file as it stands by now."""
    return new_claim(
        claim.vector_store_id,
        file,
        claim.attachment,
        claim.attempt,
        deadline,
        claim.worker,
        claim.number,
    )


@frozen(slots=True, weakref_slot=False)
class Completed:
    """The outcome of a claim whose file was processed and takes up ``usage_bytes``.

    Without ``usage_bytes`` it is the size that the engine's ``file_size`` returns, or 0.
    """

    claim: Claim
    usage_bytes: int | None = None


@frozen(slots=True, weakref_slot=False)
class Failed:
    """The outcome of a claim whose file could not be processed.

    Without ``message`` it is what the API says with the code (recorded).  ``retry`` asks for another attempt,
    which the engine's ``Retry`` allows or not.
    """

    claim: Claim
    code: ErrorCode = "server_error"
    message: str | None = None
    retry: bool = False


def _at_least(minimum: float) -> Any:
    def check(instance: object, attribute: Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value < inf:
            raise ValueError(
                f"{type(instance).__name__}.{attribute.name} must be a finite number of at least {minimum}, "
                f"not {value!r}"
            )

    return check


def _count(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(
            f"{type(instance).__name__}.{attribute.name} must be an integer of at least 1, not {value!r}"
        )


@frozen(slots=True, weakref_slot=False)
class Retry:
    """How often an attachment is tried, and how long it waits in between.  Raise ``ValueError``.

    ``attempts`` counts the first one.  After attempt n the next claim waits ``backoff * factor ** (n - 1)``
    seconds, at most ``maximum``.  After the last attempt the file fails (choice).

    >>> Retry(attempts=4, backoff=2.0).delay(3)
    8.0
    """

    attempts: int = field(default=3, validator=_count)
    backoff: float = field(default=0.0, validator=_at_least(0.0))
    factor: float = field(default=2.0, validator=_at_least(1.0))
    maximum: float = field(default=3600.0, validator=_at_least(0.0))

    def delay(self, attempt: int) -> float:
        """Return how many seconds to wait after this attempt."""
        try:
            return min(float(self.maximum), self.backoff * float(self.factor) ** (attempt - 1))
        except OverflowError:
            return float(self.maximum) if self.backoff else 0.0


class Claims:
    """The claims of one store, and the order in which its other attachments in progress can be claimed.

    Attachments are claimed in their order, so those that were never held begin at ``frontier``; those below it
    that can be claimed again are few and have an index.  Every method that changes something only assigns: called
    again with the same arguments, after an exception has interrupted it anywhere, it completes what it began.
    """

    __slots__ = ("_returned", "_rows", "attempts", "delayed", "frontier", "held", "timers")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.held: dict[int, Claim] = {}
        """By attachment, the claim on it."""
        self.timers: dict[int, float] = {}
        """By attachment, when to look whether its claim has lapsed; never later than the deadline."""
        self.attempts: dict[int, int] = {}
        """By attachment, how many attempts have ended, where any has."""
        self.delayed: dict[int, float] = {}
        """By attachment, until when it waits for its next attempt."""
        self.frontier = 0
        """No attachment from here on was claimed in its turn."""
        self._returned = Waiting(self._place)

    # Reading

    def claimable(self, row: int) -> bool:
        """Return whether the attachment can be claimed now.  O(1)."""
        return self._rows.present[row] == IN_PROGRESS and row not in self.held and row not in self.delayed

    def _place(self, row: int) -> int | None:
        return row if row < self.frontier and self.claimable(row) else None

    def each_claimable(self) -> Iterator[int]:
        """Return the attachments that can be claimed, the oldest first.  O(log n), and O(1) for each passed."""
        for row, _ in self._returned:
            yield row
        for row in self._rows.each_in_progress(self.frontier):
            if row not in self.held and row not in self.delayed:
                yield row

    def held_between(self, first: int, stop: int) -> tuple[int, ...]:
        """Return the attachments in ``first <= attachment < stop`` that workers hold, in order.

        O(those in between), or O(h log h) for h claims if these are fewer.
        """
        if stop - first <= len(self.held):
            return tuple([row for row in range(first, stop) if row in self.held])
        return tuple(sorted(row for row in self.held if first <= row < stop))

    def given_back(self) -> dict[int, tuple[int, float | None]]:
        """Return the attachments that were held and are not: how often they were tried, until when they wait."""
        rows = {*self.attempts, *self.delayed, *self._returned.names()} - self.held.keys()
        return {row: (self.attempts.get(row, 0), self.delayed.get(row)) for row in sorted(rows)}

    # Changing: every method can be called again with the same arguments

    def hold(self, claims: dict[int, Claim], frontier: int) -> None:
        """Note claims, by attachment, and the first attachment that was not yet claimed in its turn."""
        self.held.update(claims)
        self.frontier = frontier
        for row in claims:
            self.delayed.pop(row, None)  # whoever follows by a log is not told that it has waited long enough
            if row < frontier:  # no other has a place in the order of those that came back
                self._returned.touch(row)

    def give_back(self, row: int, attempts: int, ready_at: float | None) -> None:
        """End a claim without ending its attachment, which was tried so often and waits until ``ready_at``."""
        self.held.pop(row, None)
        self.timers.pop(row, None)
        if attempts:
            self.attempts[row] = attempts
        if ready_at is not None:
            self.delayed[row] = ready_at
        self._returned.touch(row)

    def ready(self, row: int) -> None:
        """Note that the attachment has waited long enough."""
        self._returned.touch(row)  # first: once it waits no more, its timer is void, and this is not repeated
        self.delayed.pop(row, None)

    def forget(self, row: int) -> None:
        """Forget an attachment that has ended.  O(1)."""
        self.held.pop(row, None)
        self.timers.pop(row, None)
        self.attempts.pop(row, None)
        self.delayed.pop(row, None)
        self._returned.remove(row)

    def forget_all(self, rows: Sequence[int]) -> None:
        """Forget attachments that have ended.  O(those), in C for those that are not known."""
        for row in self._known().intersection(rows):
            self.forget(row)

    def _known(self) -> set[int]:
        """Return the attachments of which anything is known.  O(those)."""
        return {*self.held, *self.attempts, *self.delayed, *self._returned.names()}

    def forget_between(self, first: int, stop: int) -> None:
        """Forget attachments that have ended.  O(those, or those that are known)."""
        known: Iterable[int] = range(first, stop)
        if stop - first > len(self.held) + len(self.attempts) + len(self.delayed) + len(self._returned):
            known = self._known()
        for row in known:
            if first <= row < stop:
                self.forget(row)

    # Proving

    def check(self, where: str) -> None:
        """Raise ``Inconsistent`` unless what is kept is of attachments in progress, and the order is right."""
        present = self._rows.present
        for what, rows in (
            ("the claims", self.held),
            ("the attempts", self.attempts),
            ("the attachments that wait for another attempt", self.delayed),
        ):
            found = [row for row in rows if present[row] == IN_PROGRESS]
            if found != list(rows):
                raise Inconsistent(f"{what} of {where}", list(rows), found)
        late = [
            row for row, when in self.timers.items() if row not in self.held or when > self.held[row].deadline
        ]
        if late or self.held.keys() & self.delayed.keys():
            raise Inconsistent(f"the deadlines of {where}", late, [])
        claimable = [row for row in self._rows.each_in_progress(0) if self.claimable(row)]
        if list(self.each_claimable()) != claimable:
            raise Inconsistent(f"what can be claimed of {where}", list(self.each_claimable()), claimable)


NOTHING: Mapping[Any, Any] = MappingProxyType({})

Over = tuple[float, bool, str]
"""When a claim ended, ``inf`` for now; whether it counts as an attempt; and a sentence that says why it ended."""


class ClaimsChange:
    """What a command does to claims; it is decided and put as an event is, and is none.

    ``held`` gives the claims that are made or extended, by store number and attachment, and ``frontiers`` what
    is claimed next, by store number.  ``over`` names claims, by store number and attachment, that end without
    their attachment's end.  ``back`` gives the attachments that can be claimed again: how often they were tried,
    and until when they wait.  ``made`` is how many claims the engine has made.
    """

    __slots__ = ("back", "frontiers", "held", "made", "over")

    def __init__(
        self,
        *,
        held: Mapping[int, dict[int, Claim]] = NOTHING,
        frontiers: Mapping[int, int] = NOTHING,
        over: Mapping[tuple[int, int], Over] = NOTHING,
        back: Mapping[int, dict[int, tuple[int, float | None]]] = NOTHING,
        made: int | None = None,
    ) -> None:
        self.held = held
        self.frontiers = frontiers
        self.over = over
        self.back = back
        self.made = made
