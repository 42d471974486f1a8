"""What may be said to the oracle: each argument is refused with the API's error, or answered as it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from sys import float_info
from typing import Any

from vsbatch_core import errors
from vsbatch_core.model import (
    AUTO,
    FILE_STATUSES,
    NO_ATTRIBUTES,
    ORDERS,
    ErrorCode,
    ExpiresAfter,
    FrozenDict,
    Limits,
    Profile,
    StaticFileChunkingStrategy,
    StaticFileChunkingStrategyObject,
)

MAX_BYTES = 2**63 - 1
MESSAGES: dict[ErrorCode, str] = {
    "server_error": "An internal error occurred.",
    "unsupported_file": "The file type is not supported.",
    "invalid_file": "The file could not be parsed.",
}


def text(param: str, value: Any, least: int = 0) -> str:
    """A string."""
    if not isinstance(value, str):
        raise errors.InvalidType(param, "a string", value)
    if len(value) < least:
        raise errors.StringTooShort(param)
    return value


def key_of(value: Any) -> str | None:
    """An idempotency key, of up to 255 characters (choice), or none."""
    if value is None:
        return None
    if len(text("idempotency_key", value, 1)) > 255:
        raise errors.StringTooLong("idempotency_key", len(value), 255)
    return str(value)


def name_of(value: Any, profile: Profile) -> str | None:
    """A store's name; one that is given none is called as the profile says."""
    if value is None:
        return "" if profile.unnamed_store == "empty" else None
    return text("name", value)


def own_id(param: str, value: Any, prefix: str) -> str:
    """An id with the prefix of its kind (recorded)."""
    if not text(param, value, 1).startswith(prefix):
        raise errors.InvalidId(param, value, prefix)
    return str(value)


def whole(param: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer, which a boolean is not."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise errors.InvalidType(param, "an integer", value)
    if value < least:
        raise errors.IntegerTooSmall(param, value, least)
    if most is not None and value > most:
        raise errors.IntegerTooLarge(param, value, most)
    return value


def boolean(param: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise errors.InvalidType(param, "a boolean", value)
    return value


def duration(param: str, value: Any) -> float:
    """Seconds, more than none; infinitely many are some."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise errors.InvalidType(param, "a number", value)
    if not value > 0:
        raise errors.Contradiction(
            param, f"{errors.shown(value)} seconds are no duration: give a number greater than 0"
        )
    return inf if value == inf else float(min(value, int(float_info.max)))


def age(param: str, value: Any) -> float:
    """Seconds, or none; infinitely many are some."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise errors.InvalidType(param, "a number", value)
    if not value >= 0:
        raise errors.Contradiction(param, f"{errors.shown(value)} seconds are no age: give a number of 0 or more")
    return inf if value == inf else float(min(value, int(float_info.max)))


def each_of(param: str, value: Any, kind: Any, name: str) -> None:
    """A list of these."""
    for i, item in enumerate(array(param, value, 0, None)):
        if not isinstance(item, kind):
            raise errors.InvalidType(f"{param}[{i}]", name, item)


def one_of(param: str, value: Any, words: Sequence[str]) -> Any:
    """One of some words."""
    if text(param, value) not in words:
        raise errors.InvalidValue(param, value, words)
    return value


def mapping(param: str, value: Any, known: Sequence[str] | None = None) -> Mapping[str, Any]:
    """An object, whose keys are all among those that are known."""
    if not isinstance(value, Mapping):
        raise errors.InvalidType(param, "an object", value)
    for key in value:
        text(f"{param} (a key of it)", key)
        if known is not None and key not in known:
            raise errors.UnknownParameter(f"{param}.{key}"[:256], known)
    return value


def member(param: str, value: Mapping[str, Any], key: str) -> Any:
    """What an object must have."""
    if key not in value:
        raise errors.MissingParameter(f"{param}.{key}")
    return value[key]


def pairs(param: str, value: Any, limits: Limits, *, strings_only: bool) -> FrozenDict[str, Any]:
    """Attributes, or metadata, which are strings only (documented)."""
    if value is None:
        return NO_ATTRIBUTES
    if len(mapping(param, value)) > limits.pairs:
        raise errors.TooManyProperties(param, len(value), limits.pairs)
    for key in value:
        if len(key) > limits.key_characters:
            raise errors.PropertyNameTooLong(param, key, limits.key_characters)
    for key, item in value.items():
        name = f"{param}.{key}"
        if strings_only:
            text(name, item)
        if isinstance(item, str):
            if len(item) > limits.value_characters:
                raise errors.StringTooLong(name, len(item), limits.value_characters)
        elif not isinstance(item, (int, float)):
            raise errors.InvalidType(name, "a string, a number or a boolean", item)
        elif (isinstance(item, int) and abs(item) >= 2**1024) or not isfinite(item):
            raise errors.InvalidNumber(name, item)
    return FrozenDict(value)


def chunking_of(value: Any, limits: Limits, param: str = "chunking_strategy") -> StaticFileChunkingStrategyObject:
    """``auto``, which answers as static 800/400, or ``static`` (documented); or what a file answered."""
    if value is None:
        return AUTO
    if isinstance(value, StaticFileChunkingStrategyObject):
        sizes = value.static
        tokens, overlap = sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens
        value = {
            "type": "static",
            "static": {"max_chunk_size_tokens": tokens, "chunk_overlap_tokens": overlap},
        }
    given = mapping(param, value, ("type", "static"))
    if one_of(f"{param}.type", member(param, given, "type"), ("auto", "static")) == "auto":
        if "static" in given:
            raise errors.UnknownParameter(f"{param}.static", ("type",))
        return AUTO
    param, inner = f"{param}.static", member(param, given, "static")
    inner = mapping(param, inner, ("max_chunk_size_tokens", "chunk_overlap_tokens"))
    tokens = member(param, inner, "max_chunk_size_tokens")
    tokens = whole(
        f"{param}.max_chunk_size_tokens", tokens, limits.chunk_tokens_minimum, limits.chunk_tokens_maximum
    )
    overlap = member(param, inner, "chunk_overlap_tokens")
    overlap = whole(f"{param}.chunk_overlap_tokens", overlap, 0, tokens // 2)
    return StaticFileChunkingStrategyObject(
        StaticFileChunkingStrategy(max_chunk_size_tokens=tokens, chunk_overlap_tokens=overlap)
    )


def expiry_of(value: Any, limits: Limits) -> ExpiresAfter | None:
    """How long after it was last active a store expires (documented)."""
    if value is None:
        return None
    if isinstance(value, ExpiresAfter):
        value = {"anchor": value.anchor, "days": value.days}
    given = mapping("expires_after", value, ("anchor", "days"))
    one_of("expires_after.anchor", member("expires_after", given, "anchor"), ("last_active_at",))
    days = member("expires_after", given, "days")
    return ExpiresAfter(days=whole("expires_after.days", days, 1, limits.expiry_days))


def array(param: str, value: Any, least: int, most: int | None) -> Sequence[Any]:
    """A list of some length."""
    if not isinstance(value, (list, tuple)):
        raise errors.InvalidType(param, "an array", value)
    if len(value) < least:
        raise errors.ArrayTooShort(param, least)
    if most is not None and len(value) > most:
        raise errors.ArrayTooLong(param, len(value), most)
    return value


def page_arguments(
    limits: Limits, limit: Any, order: Any, filter: Any, before: Any, after: Any
) -> tuple[int, str, str | None]:
    """What every list takes (documented); the cursors are checked here, and looked up later."""
    limit = limits.page_default if limit is None else whole("limit", limit, 1, limits.page)
    order = "desc" if order is None else one_of("order", order, ORDERS)
    filter = None if filter is None else one_of("filter", filter, FILE_STATUSES)
    for param, cursor in (("before", before), ("after", after)):
        if cursor is not None:
            text(param, cursor, 1)
    return limit, order, filter
