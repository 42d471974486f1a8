"""The tables of a TOML file, read with care: a mistake is told with the file, the key, and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from math import isfinite
from typing import Any, NoReturn

import attrs

from vsbatch_core.scenarios.text import Refused, legible, nearest

MISSING: Any = object()


class Table:
    """A table of the file: what is taken from it is checked, and what is left in the end is unknown."""

    def __init__(self, file: str, path: str, data: Any) -> None:
        self.file = file
        self.path = path
        if not isinstance(data, dict):
            self.wrong("", "a table", data)
        self._left: dict[str, Any] = dict(data)
        self._known: list[str] = []

    def wrong(self, key: str, expected: str, got: Any = MISSING) -> NoReturn:
        """Raise ``Refused``: what stands there, or that nothing does, is not what was expected."""
        found = "" if got is MISSING else f", but got {legible(_toml(got))}"
        raise Refused(f"{self._at(key)}: expected {expected}{found}")

    def _at(self, key: str) -> str:
        where = ".".join(part for part in (self.path, key) if part)
        return f"{legible(self.file)}: {legible(where)}"

    def take(self, key: str, default: Any = MISSING) -> Any:
        """What stands there, as it is."""
        self._known.append(key)
        return self._left.pop(key, default)

    def text(self, key: str, default: Any = MISSING) -> Any:
        """A string that is not empty."""
        return self._checked(key, default, "a string", lambda value: isinstance(value, str) and value)

    def word(self, key: str, words: Collection[str], default: Any = MISSING) -> Any:
        """One of these words."""
        return self._checked(key, default, f"one of {', '.join(sorted(words))}", lambda value: value in words)

    def flag(self, key: str) -> bool:
        """True or false, which is the default."""
        return bool(self._checked(key, False, "true or false", lambda value: isinstance(value, bool)))

    def whole(self, key: str, default: Any = MISSING, *, least: int = 1) -> Any:
        """A whole number."""
        expected = f"a whole number from {least}"
        return self._checked(key, default, expected, lambda value: type(value) is int and value >= least)

    def seconds(self, key: str, default: Any = MISSING, *, zero: bool = False) -> Any:
        """A number of seconds."""
        return self._checked(
            key,
            default,
            "a number of seconds, 0 or more" if zero else "a number of seconds above 0",
            lambda value: (
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and isfinite(value)
                and (value > 0 or (zero and value == 0))
            ),
        )

    def strings(self, key: str) -> list[str] | None:
        """A list of strings, or nothing."""
        found: list[str] | None = self._checked(
            key,
            None,
            "a list of strings, none of them empty",
            lambda value: isinstance(value, list) and value and all(isinstance(i, str) and i for i in value),
        )
        return found

    def _checked(self, key: str, default: Any, expected: str, holds: Callable[[Any], Any]) -> Any:
        value = self.take(key, MISSING)
        if value is MISSING:
            if default is MISSING:
                self.wrong(key, f"{expected}, which is missing")
            return default
        if isinstance(value, (list, dict)) and expected.startswith("one of"):
            self.wrong(key, expected, value)
        if not holds(value):
            self.wrong(key, expected, value)
        return value

    def tables(self, key: str) -> Iterator[Table]:
        """The tables of an array of them, each to the end."""
        found = self.take(key, [])
        if not isinstance(found, list):
            self.wrong(key, f"an array of tables, each under [[{key}]]", found)
        for i, data in enumerate(found):
            table = Table(self.file, f"{key}[{i}]", data)
            yield table
            table.end()

    def table(self, key: str) -> Table:
        """The table there, or an empty one."""
        return Table(self.file, ".".join(part for part in (self.path, key) if part), self.take(key, {}))

    def made(self, key: str, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What ``make`` makes of this; what it refuses is wrong here, and its own words say what is expected."""
        try:
            return make(*args, **kwargs)
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise Refused(f"{self._at(key)}: {legible(said)}") from None

    def rest_for(self, cls: Any) -> dict[str, Any]:
        """All that is left, as arguments of an attrs class: none unknown, none missing."""
        known = attrs.fields_dict(cls)
        given = self.rest()
        self._require(given, known)
        for name, attribute in known.items():
            if attribute.default is attrs.NOTHING and name not in given:
                self.wrong(name, f"{cls.__name__}({name}=…), which is missing")
        return given

    def rest(self) -> dict[str, Any]:
        """All that is left."""
        left, self._left = self._left, {}
        return left

    def end(self) -> None:
        """Refuse what nobody has taken."""
        self.require_known(self._known)

    def require_known(self, known: Collection[str]) -> None:
        """Raise ``Refused`` if a key that is left is none of these."""
        self._require(self._left, known)

    def _require(self, given: Iterable[str], known: Collection[str]) -> None:
        for key in given:
            if key not in known:
                names = f"{', '.join(sorted(known))}{nearest(key, known)}"
                raise Refused(f"{self._at(key)}: there is no such key: give one of {names}")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)
