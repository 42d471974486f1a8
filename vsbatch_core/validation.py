"""What a value may be: the one rule set for arguments, events, wire objects and snapshots.

Each function takes the name of a place and a raw value of any type.  It returns the value in the form that the
model keeps, or raises an error that names the place, the value and the limit.  Nothing is coerced and nothing is
changed.  ``replay``, ``from_wire`` and ``restore`` call the same functions as the commands do and put the error
into their own: ``ReplayError``, ``WireError``, ``SnapshotError``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from math import inf, isfinite
from sys import float_info, maxsize
from typing import Any, Literal, cast

from attrs import fields

from vsbatch_core.errors import (
    ArrayTooLong,
    ArrayTooShort,
    Contradiction,
    DuplicateFile,
    IntegerTooLarge,
    IntegerTooSmall,
    InvalidId,
    InvalidNumber,
    InvalidTime,
    InvalidType,
    InvalidValue,
    MissingParameter,
    MutuallyExclusive,
    PropertyNameTooLong,
    StringTooLong,
    StringTooShort,
    TooManyProperties,
    UnknownParameter,
    shown,
)
from vsbatch_core.model import (
    AUTO,
    ERROR_CODES,
    FILE_STATUSES,
    NO_ATTRIBUTES,
    NO_METADATA,
    ORDERS,
    Attributes,
    ErrorCode,
    ExpiresAfter,
    FileStatus,
    FrozenDict,
    Idempotency,
    LastError,
    Limits,
    Metadata,
    Order,
    Profile,
    StaticFileChunkingStrategy,
    StaticFileChunkingStrategyObject,
    Unnamed,
)

MAX_BYTES = 2**63 - 1
"""The largest size that is taken: what fits in 64 bits, as every other reader of the JSON keeps it (choice)."""

MAX_SECONDS = int(float_info.max)
"""The bound of every time: the largest number of seconds that a double holds."""

MAX_KEY = 255
"""How many characters an idempotency key has at most (choice)."""

FINGERPRINT_BYTES = 16
_FINGERPRINT = re.compile(f"[0-9a-f]{{{2 * FINGERPRINT_BYTES}}}")

UNLIMITED = Limits(
    **{limit.name: 1 if limit.name == "chunk_tokens_minimum" else maxsize for limit in fields(Limits)}
)
"""The limits of a value whose profile is not known: what remains is its form."""

NewFiles = tuple[tuple[str, ...], tuple[StaticFileChunkingStrategyObject, ...], tuple[Attributes, ...]]
"""The files of a request to attach files, checked and complete: ids, chunking strategies and attributes.

The latter two hold one value for all files or one for each, as in an event.
"""


def string(param: str, value: Any, *, minimum: Literal[0, 1] = 0) -> str:
    """A string, of at least one character if ``minimum`` is 1."""
    if not isinstance(value, str):
        raise InvalidType(param, "a string", value)
    if minimum and not value:
        raise StringTooShort(param)
    return value


def name(value: Any, unnamed: Unnamed) -> str | None:
    """Return the name of a store: a string; for ``None`` what a store without a name is called."""
    if value is None:
        return "" if unnamed == "empty" else None
    return string("name", value)


def own_id(param: str, value: Any, prefix: str) -> str:
    """An id that the engine made: its prefix tells of what kind (recorded)."""
    if not string(param, value, minimum=1).startswith(prefix):
        raise InvalidId(param, value, prefix)
    return cast("str", value)


def cursor(param: str, value: Any) -> str | None:
    """An id, or ``None``."""
    return None if value is None else string(param, value, minimum=1)


def integer(param: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """An integer in ``minimum <= value <= maximum``; a boolean is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidType(param, "an integer", value)
    if value < minimum:
        raise IntegerTooSmall(param, value, minimum)
    if maximum is not None and value > maximum:
        raise IntegerTooLarge(param, value, maximum)
    return value


def limit(value: Any, limits: Limits) -> int:
    """How many items a page has: 1 to 100, 20 if not given (documented)."""
    if value is None:
        return limits.page_default
    return integer("limit", value, 1, limits.page)


def one_of(param: str, value: Any, supported: tuple[str, ...]) -> str:
    """One of some words."""
    if string(param, value) not in supported:
        raise InvalidValue(param, value, supported)
    return cast("str", value)


def order(value: Any) -> Order:
    """``asc`` or ``desc``; ``desc`` if not given (documented)."""
    return "desc" if value is None else cast("Order", one_of("order", value, ORDERS))


def status_filter(value: Any) -> FileStatus | None:
    """One of the four statuses, or ``None`` (documented)."""
    return None if value is None else cast("FileStatus", one_of("filter", value, FILE_STATUSES))


def page(
    asked_limit: Any, asked_order: Any, filter: Any, before: Any, after: Any, limits: Limits
) -> tuple[int, Order, FileStatus | None, str | None, str | None]:
    """All that a page is asked for with, as it is meant."""
    return (
        limit(asked_limit, limits),
        order(asked_order),
        status_filter(filter),
        cursor("before", before),
        cursor("after", after),
    )


def boolean(param: str, value: Any) -> bool:
    """Return a boolean; refuse anything that is merely true or false."""
    if not isinstance(value, bool):
        raise InvalidType(param, "a boolean", value)
    return value


def time(param: str, value: Any) -> float:
    """Return a time, in seconds since the Unix epoch; raise ``InvalidTime``."""
    if type(value) not in (float, int) or not -MAX_SECONDS <= value <= MAX_SECONDS or float(value) != value:
        raise InvalidTime(param, value)
    return cast("float", value)


def seconds(param: str, value: Any) -> float:
    """Return a duration in seconds, greater than 0; ``math.inf`` is one."""
    if type(value) in (float, int) and not value > 0:
        raise Contradiction(param, f"{shown(value)} seconds are no duration: give a number greater than 0")
    return age(param, value)


def age(param: str, value: Any) -> float:
    """Return an age in seconds, of 0 or more; ``math.inf`` is one."""
    if type(value) not in (float, int):
        raise InvalidType(param, "a number", value)
    if not value >= 0:
        raise Contradiction(param, f"{shown(value)} seconds are no age: give a number of 0 or more")
    return inf if value == inf else float(min(value, MAX_SECONDS))


def whole_seconds(param: str, value: Any) -> int:
    """Return a time as the API gives it, in whole seconds since the Unix epoch."""
    if type(value) is not int or not -MAX_SECONDS <= value <= MAX_SECONDS or float(value) != value:
        raise InvalidTime(param, value, "an integer")
    return value


def exactly(param: str, value: Any, expected: Any) -> None:
    """Refuse any value but this one, which must be of the same type too."""
    if type(value) is not type(expected) or value != expected:
        raise InvalidValue(param, value, (str(expected),))


def error_code(value: Any, param: str = "code") -> ErrorCode:
    """Return one of the codes of ``last_error`` (documented)."""
    return cast("ErrorCode", one_of(param, value, ERROR_CODES))


def last_error(param: str, code: Any, message: Any) -> LastError:
    """Return why a file failed."""
    return LastError(error_code(code, f"{param}.code"), string(f"{param}.message", message))


def outcome(param: str, status: FileStatus, usage_bytes: int, error: LastError | None) -> None:
    """Refuse a file whose fields contradict its status.

    A file has a ``last_error`` exactly if it failed, and bytes only if it completed.
    """
    if (error is not None) is not (status == "failed"):
        has = "no 'last_error'" if error is None else "a 'last_error'"
        raise Contradiction(param, f"a file that is '{status}' has {has}")
    if usage_bytes and status != "completed":
        raise Contradiction(param, f"a file that is '{status}' has 'usage_bytes' {usage_bytes}")


def mapping(param: str, value: Any, known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """An object whose keys are strings, and among ``known`` if that is given."""
    if not isinstance(value, Mapping):
        raise InvalidType(param, "an object", value)
    for key in value:
        if not isinstance(key, str):
            raise InvalidType(f"{param} (a key of it)", "a string", key)
        if known is not None and key not in known:
            raise UnknownParameter(f"{param}.{key}"[:256], known)
    return cast("Mapping[str, Any]", value)


def member(param: str, value: Mapping[str, Any], key: str) -> Any:
    """What the object holds under a key that it must have."""
    if key not in value:
        raise MissingParameter(f"{param}.{key}")
    return value[key]


def attributes(value: Any, limits: Limits, param: str = "attributes") -> Attributes:
    """At most 16 pairs: strings of at most 512 characters, numbers or booleans (documented)."""
    pairs = _pairs(param, value, limits)
    for key, item in pairs.items():
        if isinstance(item, str):
            _short(f"{param}.{key}", item, limits)
        elif not isinstance(item, (bool, int, float)):
            raise InvalidType(f"{param}.{key}", "a string, a number or a boolean", item)
        elif not _double(item):
            raise InvalidNumber(f"{param}.{key}", item)
    return FrozenDict(pairs) if pairs else NO_ATTRIBUTES


def metadata(value: Any, limits: Limits, param: str = "metadata") -> Metadata:
    """At most 16 pairs of strings, the values of at most 512 characters (documented)."""
    pairs = _pairs(param, value, limits)
    for key, item in pairs.items():
        _short(f"{param}.{key}", string(f"{param}.{key}", item), limits)
    return FrozenDict(pairs) if pairs else NO_METADATA


def _pairs(param: str, value: Any, limits: Limits) -> Mapping[str, Any]:
    if value is None:
        return {}
    pairs = mapping(param, value)
    if len(pairs) > limits.pairs:
        raise TooManyProperties(param, len(pairs), limits.pairs)
    for key in pairs:
        if len(key) > limits.key_characters:
            raise PropertyNameTooLong(param, key, limits.key_characters)
    return pairs


def _double(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond all doubles
        return False


def _short(param: str, value: str, limits: Limits) -> None:
    if len(value) > limits.value_characters:
        raise StringTooLong(param, len(value), limits.value_characters)


def chunking_strategy(
    value: Any, limits: Limits, param: str = "chunking_strategy"
) -> StaticFileChunkingStrategyObject:
    """``{"type": "auto"}`` or ``{"type": "static", "static": {…}}``, or what a file answered (documented)."""
    if value is None:
        return AUTO
    if isinstance(value, StaticFileChunkingStrategyObject):
        sizes: Any = {
            "max_chunk_size_tokens": value.static.max_chunk_size_tokens,
            "chunk_overlap_tokens": value.static.chunk_overlap_tokens,
        }
        value = {"type": "static", "static": sizes}
    type_ = member(param, mapping(param, value, ("type", "static")), "type")
    if one_of(f"{param}.type", type_, ("auto", "static")) == "auto":
        if "static" in value:
            raise UnknownParameter(f"{param}.static", ("type",))
        return AUTO
    name, (size, overlap) = f"{param}.static", _STATIC
    pairs = mapping(name, member(param, value, "static"), _STATIC)
    return static(name, member(name, pairs, size), member(name, pairs, overlap), limits)


_STATIC = ("max_chunk_size_tokens", "chunk_overlap_tokens")
_AUTO = (AUTO.static.max_chunk_size_tokens, AUTO.static.chunk_overlap_tokens)


def static(
    param: str, max_chunk_size_tokens: Any, chunk_overlap_tokens: Any, limits: Limits
) -> StaticFileChunkingStrategyObject:
    """Return a static chunking strategy: its overlap is at most half a chunk (documented)."""
    minimum, maximum = limits.chunk_tokens_minimum, limits.chunk_tokens_maximum
    tokens = integer(f"{param}.max_chunk_size_tokens", max_chunk_size_tokens, minimum, maximum)
    overlap = integer(f"{param}.chunk_overlap_tokens", chunk_overlap_tokens, 0, tokens // 2)
    strategy = StaticFileChunkingStrategyObject(
        StaticFileChunkingStrategy(max_chunk_size_tokens=tokens, chunk_overlap_tokens=overlap)
    )
    return AUTO if strategy == AUTO else strategy


def kept_static(
    param: str, max_chunk_size_tokens: Any, chunk_overlap_tokens: Any, limits: Limits
) -> StaticFileChunkingStrategyObject:
    """Return the chunking strategy of a file; the default is what ``auto`` means and never exceeds a limit."""
    sizes = (max_chunk_size_tokens, chunk_overlap_tokens)
    if sizes == _AUTO and {type(size) for size in sizes} == {int}:
        return AUTO
    return static(param, max_chunk_size_tokens, chunk_overlap_tokens, limits)


def expires_after(value: Any, limits: Limits, param: str = "expires_after") -> ExpiresAfter | None:
    """``{"anchor": "last_active_at", "days": 1..365}`` (documented)."""
    if value is None:
        return None
    if isinstance(value, ExpiresAfter):
        value = {"anchor": value.anchor, "days": value.days}
    pairs = mapping(param, value, ("anchor", "days"))
    one_of(f"{param}.anchor", member(param, pairs, "anchor"), ("last_active_at",))
    days = integer(f"{param}.days", member(param, pairs, "days"), 1, limits.expiry_days)
    return ExpiresAfter(days=days)


def array(param: str, value: Any, minimum: int, maximum: int) -> list[Any]:
    """A list or tuple of ``minimum`` to ``maximum`` items."""
    if not isinstance(value, (list, tuple)):
        raise InvalidType(param, "an array", value)
    if len(value) < minimum:
        raise ArrayTooShort(param, minimum)
    if len(value) > maximum:
        raise ArrayTooLong(param, len(value), maximum)
    return list(value)


def file_ids(
    value: Any,
    shared: Attributes,
    chunking: StaticFileChunkingStrategyObject,
    *,
    minimum: int,
    maximum: int,
    profile: Profile,
) -> NewFiles:
    """Return files by id, all with the same attributes and chunking, each once.

    Raise ``DuplicateFile`` if the profile refuses duplicates; else the first counts.
    """
    ids = string_ids("file_ids", array("file_ids", value, minimum, maximum))
    unique = tuple(dict.fromkeys(ids))
    if len(unique) < len(ids):
        _allow_duplicates("file_ids", ids, profile)
    return (unique, (chunking,), (shared,)) if unique else ((), (), ())


def _allow_duplicates(param: str, ids: Sequence[str], profile: Profile) -> None:
    """Refuse ids of which some are doubled if the profile does."""
    if profile.duplicates == "refuse":
        index = cast("int", repeated(ids))
        raise DuplicateFile(param, index, ids[index])


def string_ids(param: str, ids: list[Any]) -> list[str]:
    """Return ids that are strings of at least one character."""
    # The common case first: a batch has up to 2,000 of them.
    if set(map(type, ids)) - {str} or not all(ids):
        for i, file_id in enumerate(ids):
            string(f"{param}[{i}]", file_id, minimum=1)
    return ids


def files(value: Any, profile: Profile) -> NewFiles:
    """Return files given as ``{file_id, attributes?, chunking_strategy?}``, each once.

    Raise ``DuplicateFile`` if the profile refuses duplicates; else the first counts.
    """
    limits = profile.limits
    ids: list[str] = []
    new: dict[str, tuple[StaticFileChunkingStrategyObject, Attributes]] = {}
    for i, item in enumerate(array("files", value, 1, limits.batch_files)):
        param = f"files[{i}]"
        pairs = mapping(param, item, ("file_id", "attributes", "chunking_strategy"))
        file_id = string(f"{param}.file_id", member(param, pairs, "file_id"), minimum=1)
        file = (
            chunking_strategy(pairs.get("chunking_strategy"), limits, f"{param}.chunking_strategy"),
            attributes(pairs.get("attributes"), limits, f"{param}.attributes"),
        )
        ids.append(file_id)
        new.setdefault(file_id, file)
    if len(new) < len(ids):
        _allow_duplicates("files", ids, profile)
    chunkings, pairs_each = zip(*new.values(), strict=True)
    return tuple(new), chunkings, pairs_each


def batch_files(
    file_ids_value: Any, files_value: Any, attributes_value: Any, chunking_value: Any, profile: Profile
) -> NewFiles:
    """Return the files of a new batch: exactly one of ``file_ids`` and ``files`` (documented).

    With ``files`` the request's own attributes and chunking are checked, and ignored (documented).
    """
    limits = profile.limits
    shared = attributes(attributes_value, limits)
    chunking = chunking_strategy(chunking_value, limits)
    if files_value is not None:
        if file_ids_value is not None:
            raise MutuallyExclusive("files", "file_ids")
        return files(files_value, profile)
    if file_ids_value is None:
        raise MissingParameter("file_ids")
    return file_ids(file_ids_value, shared, chunking, minimum=1, maximum=limits.batch_files, profile=profile)


def repeated(values: Sequence[Hashable]) -> int | None:
    """Return the index of the first value that stands in the sequence before.  O(values)."""
    if len(set(values)) == len(values):
        return None
    seen: set[Hashable] = set()
    return next(i for i, value in enumerate(values) if value in seen or seen.add(value))  # type: ignore[func-returns-value]  # it adds


def require_new_files(event: Any, limits: Limits, *, minimum: int, maximum: int) -> None:
    """Refuse the files of an event that attaches many, together, to a store.  O(files)."""
    ids = array("file_ids", event.file_ids, minimum, maximum)
    for i, file_id in enumerate(ids):
        string(f"file_ids[{i}]", file_id, minimum=1)
    twice = repeated(ids)
    if twice is not None:
        raise Contradiction(f"file_ids[{twice}]", f"file {shown(ids[twice])} is in it twice")
    for name, require in (("chunking_strategies", require_chunking), ("attributes_each", require_attributes)):
        values = array(name, getattr(event, name), min(1, len(ids)), len(ids))
        if len(values) not in (1, len(ids)):
            raise Contradiction(name, f"{len(values)} values for {len(ids)} files: give one, or one each")
        for i, value in enumerate(values):
            require(f"{name}[{i}]", value, limits)


def require_chunking(param: str, value: Any, limits: Limits) -> None:
    """Refuse what is not a chunking strategy in the model's form, or exceeds the limits."""
    if type(value) is not StaticFileChunkingStrategyObject:
        raise InvalidType(param, "a StaticFileChunkingStrategyObject", value)
    sizes = value.static
    if type(sizes) is not StaticFileChunkingStrategy:
        raise InvalidType(f"{param}.static", "a StaticFileChunkingStrategy", sizes)
    kept_static(f"{param}.static", sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens, limits)


def require_attributes(param: str, value: Any, limits: Limits) -> None:
    """Refuse attributes that are not in the model's form, or exceed the limits."""
    attributes(_frozen(param, value), limits, param)


def require_metadata(value: Any, limits: Limits) -> None:
    """Refuse metadata that are not in the model's form, or exceed the limits."""
    metadata(_frozen("metadata", value), limits)


def require_expires_after(value: Any, limits: Limits) -> None:
    """Refuse an expiry that is not in the model's form, or exceeds the limits; ``None`` is one."""
    if value is not None:
        if type(value) is not ExpiresAfter:
            raise InvalidType("expires_after", "an ExpiresAfter or null", value)
        integer("expires_after.days", value.days, 1, limits.expiry_days)


def require_last_error(value: Any) -> None:
    """Refuse a ``last_error`` that is not in the model's form."""
    if type(value) is not LastError:
        raise InvalidType("last_error", "a LastError", value)
    last_error("last_error", value.code, value.message)


def require_description(value: Any) -> None:
    """Refuse a description that is neither a string nor ``None``."""
    if value is not None:
        string("description", value)


def idempotency_key(param: str, value: Any) -> str:
    """Return an idempotency key: a string of 1 to 255 characters (choice)."""
    if len(string(param, value, minimum=1)) > MAX_KEY:
        raise StringTooLong(param, len(value), MAX_KEY)
    return cast("str", value)


def idempotency(param: str, key: Any, fingerprint: Any) -> Idempotency:
    """Return an idempotency key with the fingerprint of its request."""
    idempotency_key(f"{param}.key", key)
    if not _FINGERPRINT.fullmatch(string(f"{param}.fingerprint", fingerprint)):
        raise Contradiction(
            f"{param}.fingerprint", f"{shown(fingerprint)} is not {2 * FINGERPRINT_BYTES} hexadecimal digits"
        )
    return Idempotency(key, fingerprint)


def require_idempotency(value: Any) -> None:
    """Refuse an idempotency that is not in the model's form; ``None`` is one."""
    if value is not None:
        if type(value) is not Idempotency:
            raise InvalidType("idempotency", "an Idempotency or null", value)
        idempotency("idempotency", value.key, value.fingerprint)


def _frozen(param: str, value: Any) -> FrozenDict[str, Any]:
    if type(value) is not FrozenDict:
        raise InvalidType(param, "a FrozenDict", value)
    return value
