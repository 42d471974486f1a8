"""Which numbers make a page: after, before, order and limit over one index.

A list has an order, ``asc`` (oldest first) or ``desc`` (newest first).  ``after`` and ``before`` are places in
it, exclusive; a place is a sequence number, and it exists whether or not anything that matches stands there now.

=================  ==============================================================================
given              the page
=================  ==============================================================================
neither            the first ``limit`` items of the list (documented)
``after``          the ``limit`` items that follow it (recorded: exclusive)
``before``         the ``limit`` items immediately preceding it, in list order (documented)
both               the open interval between them, read from ``after`` onwards (choice; the profile may say
                   that ``after`` alone counts, or refuse them)
=================  ==============================================================================

``has_more`` says whether more items lie beyond the page in the direction walked: towards the front of the list
for ``before`` alone, else towards its end.  O(log n + limit), and no item is touched that is not returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vsbatch_core.columns import ByteColumn
from vsbatch_core.errors import MutuallyExclusive, UnknownCursor
from vsbatch_core.model import Order, Profile


def places(
    profile: Profile, after: str | None, before: str | None, place: Callable[[str, str], int]
) -> tuple[int | None, int | None]:
    """Return the places of two cursors, ``None`` for one that does not count, under the profile's policies.

    ``place(param, cursor)`` returns the place of a cursor or raises ``UnknownCursor``.  Raise that, what else
    it raises, or ``MutuallyExclusive``.
    """
    if after is not None and before is not None and profile.both_cursors != "between":
        if profile.both_cursors == "refuse":
            raise MutuallyExclusive("before", "after")
        before = None
    found: list[int | None] = []
    for param, cursor in (("after", after), ("before", before)):
        try:
            found.append(None if cursor is None else place(param, cursor))
        except UnknownCursor:
            if profile.unknown_cursor == "refuse":
                raise
            found.append(None)
    return found[0], found[1]


def bounds(
    low: int, high: int, order: Order, after: int | None, before: int | None
) -> tuple[int, int, bool, bool]:
    """Return the interval ``low <= number < high`` that a page is read from, and how.

    The third item says whether it is read from its end, the fourth whether that is against the order of the list.
    """
    if order == "asc":
        left, right = after, before
    else:
        left, right = before, after
    if left is not None and left >= low:
        low = left + 1
    if right is not None and right < high:
        high = right
    backward = before is not None and after is None
    return low, high, (order == "desc") is not backward, backward


def page(
    column: ByteColumn, byte: int, low: int, high: int, limit: int, falling: bool, backward: bool
) -> tuple[Sequence[int], bool]:
    """Return the numbers of one page of the list of those that hold ``byte``, and ``has_more``.

    ``low`` to ``backward`` are what ``bounds`` returned; byte 0 means any byte but 0.
    """
    numbers = (column.descending if falling else column.ascending)(byte, low, high, limit + 1)
    more = len(numbers) > limit
    if more:
        numbers = numbers[:limit]
    return numbers[::-1] if backward else numbers, more
