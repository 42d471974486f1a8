"""Which numbers make a page: after, before, order and limit over one index.

A list has an order, ``asc`` (oldest first) or ``desc`` (newest first).  ``after`` and ``before`` are places in
it, exclusive; a place is a sequence number, and it exists whether or not anything that matches stands there now.

=================  ==============================================================================
given              the page
=================  ==============================================================================
neither            the first ``limit`` items of the list (documented)
``after``          the ``limit`` items that follow it (recorded: exclusive)
``before``         the ``limit`` items immediately preceding it, in list order (documented)
both               the open interval between them, read from ``after`` onwards (choice)
=================  ==============================================================================

``has_more`` says whether more items lie beyond the page in the direction walked: towards the front of the list
for ``before`` alone, else towards its end.  O(log n + limit), and no item is touched that is not returned.
"""

from __future__ import annotations

from typing import TypeVar

from vsbatch_core.index import EVERYTHING, Index
from vsbatch_core.model import Order

T = TypeVar("T")


def page(
    index: Index,
    rows: list[T],
    low: int,
    high: int,
    order: Order,
    limit: int,
    after: int | None,
    before: int | None,
) -> tuple[tuple[T, ...], bool]:
    """One page of the list that is ``index`` within ``low <= number < high``, and ``has_more``."""
    if order == "asc":
        left, right = after, before
    else:
        left, right = before, after
    if left is not None and left >= low:
        low = left + 1
    if right is not None and right < high:
        high = right
    backward = before is not None and after is None
    falling = (order == "desc") is not backward
    if index is EVERYTHING:
        more = high - low > limit
        if more and falling:
            low = high - limit
        elif more:
            high = low + limit
        data = rows[low:high]
        if order == "desc":
            data.reverse()
        return tuple(data), more
    numbers = (index.descending if falling else index.ascending)(low, high, limit + 1)
    more = len(numbers) > limit
    data = [rows[number] for number in numbers[:limit]]
    if backward:
        data.reverse()
    return tuple(data), more
