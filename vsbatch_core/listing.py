"""Lists of ids that come and go, and the order of those that wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from sortedcontainers import SortedList

from vsbatch_core import paging
from vsbatch_core.columns import MASK, SHIFT, ByteColumn
from vsbatch_core.errors import Inconsistent
from vsbatch_core.model import Order

HERE, LEFT = 1, 2


class Listing:
    """Ids in the order in which they came, of things that may leave.

    The id of what left stays a valid cursor until ``departed`` others have left after it; then it is
    forgotten, and so is its number.  ``join`` and ``leave`` can be called again with the same arguments, like
    those of a column.
    """

    __slots__ = ("_departed", "_ids", "_limit", "_places", "next", "numbers")

    def __init__(self, departed: int) -> None:
        self._limit = departed
        self.next = 0
        """The number of what comes next."""
        self.numbers: dict[str, int] = {}
        """By id, the number of all that is here, and of what left and is a valid cursor still."""
        self._departed: OrderedDict[str, int] = OrderedDict()
        """What left and is a valid cursor still, the first to leave first."""
        self._ids: dict[int, list[str]] = {}
        """The ids by number, in blocks; "" for one that is forgotten."""
        self._places = ByteColumn()

    def __iter__(self) -> Iterator[tuple[str, bool]]:
        """Return each id that is not forgotten, in order, and whether it is here."""
        for key in sorted(self._ids):
            for offset, id in enumerate(self._ids[key]):
                if id:
                    yield id, self._places[(key << SHIFT) + offset] == HERE

    @property
    def departed(self) -> list[str]:
        """The ids of what left and is not forgotten, the first to leave first."""
        return list(self._departed)

    def id(self, number: int) -> str:
        """Return the id with a number; "" if it is forgotten.  O(1)."""
        ids = self._ids.get(number >> SHIFT)
        return "" if ids is None else ids[number & MASK]

    def join(self, id: str, number: int) -> None:
        """Put an id at the end, whose number is ``next``.  O(1)."""
        key, offset = number >> SHIFT, number & MASK
        ids = self._ids.get(key)
        if ids is None:
            ids = self._ids.setdefault(key, [""] * offset)
        ids[offset : offset + 1] = [id]
        self._places.fill(number, number + 1, HERE)
        self.numbers[id] = number
        self.next = number + 1
        if not offset:
            self._drop_if_empty(key - 1)

    def oldest(self) -> tuple[str, int] | None:
        """Return the id and number that the next departure makes be forgotten, or ``None``."""
        return None if len(self._departed) < self._limit else next(iter(self._departed.items()))

    def leave(self, id: str, number: int, oldest: tuple[str, int] | None) -> None:
        """Take out an id that is here; ``oldest`` is what ``oldest`` returned before.  O(log b)."""
        self._places.write(number, HERE, LEFT)
        self._departed[id] = number
        if oldest is not None:
            forgotten, place = oldest
            key = place >> SHIFT
            self._departed.pop(forgotten, None)
            self.numbers.pop(forgotten, None)
            if key in self._ids:
                self._ids[key][place & MASK] = ""
                if key in self._places.blocks:
                    self._places.write(place, LEFT, 0)
                self._drop_if_empty(key)

    def page(self, order: Order, limit: int, after: int | None, before: int | None) -> tuple[list[str], bool]:
        """Return the ids on a page of what is here, and ``has_more``; see ``paging``.  O(log b + limit)."""
        low, high, falling, backward = paging.bounds(0, self.next, order, after, before)
        numbers, more = paging.page(self._places, HERE, low, high, limit, falling, backward)
        return [self._ids[number >> SHIFT][number & MASK] for number in numbers], more

    def _drop_if_empty(self, key: int) -> None:
        """Give the memory of a block back if all of it is forgotten and nothing can come into it any more."""
        if key in self._ids and key < self.next >> SHIFT and self._places.empty(key):
            self._places.drop(key)
            self._ids.pop(key, None)

    def check(self, what: str) -> None:
        """Recompute the numbers and the index; raise ``Inconsistent`` if what is kept differs.  O(n)."""
        self._places.check(what)
        numbers = {}
        departed = {}
        for key in sorted(self._ids):
            for offset, id in enumerate(self._ids[key]):
                number = (key << SHIFT) + offset
                place = self._places[number]
                if bool(id) is not bool(place):
                    raise Inconsistent(f"number {number} of {what}", id, "no id where nothing is")
                if id:
                    numbers[id] = number
                if place == LEFT:
                    departed[id] = number
        if self.numbers != numbers:
            raise Inconsistent(f"the numbers of {what}", self.numbers, numbers)
        if dict(self._departed) != departed or len(departed) > self._limit:
            raise Inconsistent(f"what left {what}", dict(self._departed), departed)


class Waiting:
    """Things ordered by a key, which is looked up when the order is read.

    ``touch`` notes that a key may have changed: O(1).  Reading the order first looks up the keys that may have:
    O(t log n) for t of them.
    """

    __slots__ = ("_key", "_keys", "_order", "_sound", "_touched")

    def __init__(self, key: Callable[[int], int | None]) -> None:
        self._key = key
        """Returns the key of a thing now, ``None`` for one that has no place in the order."""
        self._order: SortedList[tuple[int, int]] = SortedList()
        self._keys: dict[int, int] = {}
        self._touched: dict[int, None] = {}
        self._sound = True
        """Whether the last reading was not interrupted in the middle of a change."""

    def touch(self, name: int) -> None:
        """Note that the key of ``name`` may have changed."""
        self._touched[name] = None

    def remove(self, name: int) -> None:
        """Note that ``name`` is gone for good."""
        if name in self._keys:
            self._touched[name] = None
        else:
            self._touched.pop(name, None)

    def __len__(self) -> int:
        """Return a bound on how many ``names`` returns.  O(1)."""
        return len(self._keys) + len(self._touched)

    def names(self) -> set[int]:
        """Return what has a place in the order, or may have one once it is read."""
        return {*self._keys, *self._touched}

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Return the pairs of key and name, the smallest first."""
        if not self._sound:
            self._touched.update(dict.fromkeys(self._keys))
            self._keys = {}
            self._order = SortedList()
            self._sound = True
        if self._touched:
            self._sound = False  # until all of it is done
            for name in self._touched:
                self._put(name, self._key(name))
            self._touched = {}
            self._sound = True
        return iter(self._order)

    def _put(self, name: int, key: int | None) -> None:
        old = self._keys.get(name)
        if old == key:
            return
        if old is not None:
            self._order.remove((old, name))
            del self._keys[name]
        if key is not None:
            self._order.add((key, name))
            self._keys[name] = key

    def check(self, what: str, recomputed: dict[int, int]) -> None:
        """Raise ``Inconsistent`` unless these are the keys."""
        if list(self) != sorted((key, name) for name, key in recomputed.items()):
            raise Inconsistent(what, list(self), recomputed)
