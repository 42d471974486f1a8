"""Values that know the code which gave them, so that what a law did can be printed as a program.

A law is written as plain Python over ``Traced`` values.  Each operation on one is done at once, and noted: the
result holds the value and the expression.  So a requirement that fails is at hand as an ``assert``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from types import NoneType
from typing import Any

import openai

VARIABLE = re.compile(r"\b([a-z]+)__([0-9]+)\b")
"""How variables are named while it is not yet known which of them a program needs."""


class Broken(Exception):
    """A law does not hold; ``code`` is the last lines of a program that shows it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class NotReached(Exception):
    """A law could not be tried: the state that it speaks of did not come about."""


class Unreachable(Exception):
    """The server does not answer any more, or never did."""


class Traced:
    """A value and its expression; attributes, items, comparisons and sums of it are traced too.

    An attribute or item that is not there breaks the law: the server's answer lacks what the law reads.
    """

    __slots__ = ("_code", "_value")
    __hash__ = None  # type: ignore[assignment]  # its equality is an expression

    def __init__(self, value: Any, code: str) -> None:
        self._value = value
        self._code = code

    def __getattr__(self, name: str) -> Traced:
        if name.startswith("_"):
            raise AttributeError(name)
        return traced(f"{{}}.{name}", operator.attrgetter(name), self)

    def __getitem__(self, key: Any) -> Traced:
        return traced(f"{{}}[{key!r}]", operator.itemgetter(key), self)

    def __eq__(self, other: object) -> Traced:  # type: ignore[override]
        return traced("{} == {}", operator.eq, self, other)

    def __le__(self, other: object) -> Traced:
        return traced("{} <= {}", operator.le, self, other)

    def __gt__(self, other: object) -> Traced:
        return traced("{} > {}", operator.gt, self, other)

    def __add__(self, other: object) -> Traced:
        return traced("{} + {}", operator.add, self, other)

    def __bool__(self) -> bool:
        return bool(self._value)


def value_of(value: Any) -> Any:
    """The value with every traced part as it is."""
    if isinstance(value, Traced):
        return value._value
    if isinstance(value, list):
        return [value_of(item) for item in value]
    if isinstance(value, dict):
        return {key: value_of(item) for key, item in value.items()}
    return value


def code_of(value: Any) -> str:
    """The expression of the value: what was traced by its code, the rest by its repr."""
    if isinstance(value, Traced):
        return value._code
    if isinstance(value, list):
        return f"[{', '.join(map(code_of, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {code_of(item)}" for key, item in value.items()) + "}"
    return repr(value)


_COMPARISON = re.compile(r" (==|<=|>|in|is) ")


def traced(template: str, function: Callable[..., Any], *args: Any) -> Traced:
    """The function's value, with the template as its code: one ``{}`` for each argument."""
    codes = [code_of(arg) for arg in args]
    if _COMPARISON.search(template):
        codes = [f"({code})" if _COMPARISON.search(code) else code for code in codes]
    code = template.format(*codes)
    try:
        return Traced(function(*map(value_of, args)), code)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Broken(f"the answer cannot be read: {error}", f"print({code})") from error


# What laws say of values


def ids(page: Traced) -> Traced:
    """The ids on a page."""
    return traced("[x.id for x in {}.data]", lambda page: [item.id for item in page.data], page)


def joined(pages: list[Traced]) -> Traced:
    """The ids of pages, one after the other."""
    found = ids(pages[0])
    for page in pages[1:]:
        found = found + ids(page)
    return found


def length(items: Any) -> Traced:
    """How many items there are."""
    return traced("len({})", len, items)


def is_a(value: Traced, *types: type) -> Traced:
    """Whether the value is of one of the types; a boolean is no integer."""
    names = ", ".join("type(None)" if type_ is NoneType else type_.__name__ for type_ in types)
    return traced(f"type({{}}) in ({names},)", lambda value: type(value) in types, value)


def refused(answer: Traced) -> Traced:
    """Whether a call was refused; its answer is then the client's error."""
    template = "isinstance({}, openai.APIStatusError)"
    return traced(template, lambda answer: isinstance(answer, openai.APIStatusError), answer)


def one_of(value: Traced, *words: Any) -> Traced:
    """Whether the value is one of these."""
    return traced("{} in {}", lambda value, words: value in words, value, Traced(words, repr(words)))


def either(*conditions: Traced) -> Traced:
    """Whether any of the conditions holds."""
    return traced(" or ".join(["{}"] * len(conditions)), lambda *values: any(values), *conditions)


def same_items(left: Traced, right: Any) -> Traced:
    """Whether both have the same items, as often, in whatever order."""
    return traced("sorted({}) == sorted({})", lambda left, right: sorted(left) == sorted(right), left, right)
