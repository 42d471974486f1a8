"""What a caller may say: each argument checked, with nothing changed, before anything happens.

Every function takes the raw argument, of any type, and answers it in the form that the model keeps, or raises
the ``RequestError`` that names the parameter, the value and the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal, cast

from vsbatch_core.errors import (
    ArrayTooLong,
    ArrayTooShort,
    IntegerTooLarge,
    IntegerTooSmall,
    InvalidId,
    InvalidNumber,
    InvalidType,
    InvalidValue,
    MissingParameter,
    MutuallyExclusive,
    PropertyNameTooLong,
    ReplayError,
    StringTooLong,
    StringTooShort,
    TooManyProperties,
    UnknownParameter,
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
    Limits,
    Metadata,
    Order,
    StaticFileChunkingStrategy,
    StaticFileChunkingStrategyObject,
    VectorStoreFile,
    new_file,
)

MOST_BYTES = 2**63 - 1
"""The largest size that is taken: what fits in 64 bits, as every other reader of the JSON keeps it (choice)."""

NewFile = tuple[str, StaticFileChunkingStrategyObject, Attributes]
"""One file of a request to attach files, checked and complete."""


def string(param: str, value: Any, *, least: Literal[0, 1] = 0) -> str:
    """A string, of at least one character if ``least`` is 1."""
    if not isinstance(value, str):
        raise InvalidType(param, "a string", value)
    if least and not value:
        raise StringTooShort(param)
    return value


def own_id(param: str, value: Any, prefix: str) -> str:
    """An id that the engine made: its prefix tells of what kind (recorded)."""
    if not string(param, value, least=1).startswith(prefix):
        raise InvalidId(param, value, prefix)
    return cast("str", value)


def cursor(param: str, value: Any) -> str | None:
    """An id, or ``None``."""
    return None if value is None else string(param, value, least=1)


def integer(param: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer in ``least <= value <= most``; a boolean is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidType(param, "an integer", value)
    if value < least:
        raise IntegerTooSmall(param, value, least)
    if most is not None and value > most:
        raise IntegerTooLarge(param, value, most)
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


def error_code(value: Any) -> ErrorCode:
    """One of the codes of ``last_error`` (documented)."""
    return cast("ErrorCode", one_of("code", value, ERROR_CODES))


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


def metadata(value: Any, limits: Limits) -> Metadata:
    """At most 16 pairs of strings, the values of at most 512 characters (documented)."""
    pairs = _pairs("metadata", value, limits)
    for key, item in pairs.items():
        _short(f"metadata.{key}", string(f"metadata.{key}", item), limits)
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
    param += ".static"
    names = ("max_chunk_size_tokens", "chunk_overlap_tokens")
    static = mapping(param, member(param.removesuffix(".static"), value, "static"), names)
    size, overlap = names
    tokens = integer(
        f"{param}.{size}", member(param, static, size), limits.chunk_tokens_least, limits.chunk_tokens_most
    )
    over = integer(f"{param}.{overlap}", member(param, static, overlap), 0, tokens // 2)
    strategy = StaticFileChunkingStrategyObject(
        StaticFileChunkingStrategy(max_chunk_size_tokens=tokens, chunk_overlap_tokens=over)
    )
    return AUTO if strategy == AUTO else strategy


def expires_after(value: Any, limits: Limits) -> ExpiresAfter | None:
    """``{"anchor": "last_active_at", "days": 1..365}`` (documented)."""
    if value is None:
        return None
    if isinstance(value, ExpiresAfter):
        value = {"anchor": value.anchor, "days": value.days}
    pairs = mapping("expires_after", value, ("anchor", "days"))
    one_of("expires_after.anchor", member("expires_after", pairs, "anchor"), ("last_active_at",))
    days = integer("expires_after.days", member("expires_after", pairs, "days"), 1, limits.expiry_days)
    return ExpiresAfter(days=days)


def array(param: str, value: Any, least: int, most: int) -> list[Any]:
    """A list or tuple of ``least`` to ``most`` items."""
    if not isinstance(value, (list, tuple)):
        raise InvalidType(param, "an array", value)
    if len(value) < least:
        raise ArrayTooShort(param, least)
    if len(value) > most:
        raise ArrayTooLong(param, len(value), most)
    return list(value)


def file_ids(
    value: Any,
    shared: Attributes,
    chunking: StaticFileChunkingStrategyObject,
    *,
    least: int,
    most: int,
) -> list[NewFile]:
    """Files by id, all with the same attributes and chunking; of duplicates the first wins (choice)."""
    ids = array("file_ids", value, least, most)
    for i, file_id in enumerate(ids):
        # The common case first: a batch has up to 2,000 of them.
        if type(file_id) is not str or not file_id:
            string(f"file_ids[{i}]", file_id, least=1)
    return [(file_id, chunking, shared) for file_id in dict.fromkeys(ids)]


def files(value: Any, limits: Limits) -> list[NewFile]:
    """Files as objects ``{file_id, attributes?, chunking_strategy?}``; of duplicates the first wins (choice)."""
    new: dict[str, NewFile] = {}
    for i, item in enumerate(array("files", value, 1, limits.batch_files)):
        param = f"files[{i}]"
        pairs = mapping(param, item, ("file_id", "attributes", "chunking_strategy"))
        file_id = string(f"{param}.file_id", member(param, pairs, "file_id"), least=1)
        file = (
            file_id,
            chunking_strategy(pairs.get("chunking_strategy"), limits, f"{param}.chunking_strategy"),
            attributes(pairs.get("attributes"), limits, f"{param}.attributes"),
        )
        new.setdefault(file_id, file)
    return list(new.values())


def batch_files(
    file_ids_value: Any, files_value: Any, attributes_value: Any, chunking_value: Any, limits: Limits
) -> list[NewFile]:
    """The files of a new batch: exactly one of ``file_ids`` and ``files`` (documented).

    With ``files`` the request's own attributes and chunking are checked, and ignored (documented).
    """
    shared = attributes(attributes_value, limits)
    chunking = chunking_strategy(chunking_value, limits)
    if files_value is not None:
        if file_ids_value is not None:
            raise MutuallyExclusive("files", "file_ids")
        return files(files_value, limits)
    if file_ids_value is None:
        raise MissingParameter("file_ids")
    return file_ids(file_ids_value, shared, chunking, least=1, most=limits.batch_files)


def require_new(files: Sequence[VectorStoreFile], vector_store_id: str, at: float) -> None:
    """Raise ``ReplayError`` unless these files can be attached to this store, together, at that time."""
    if len({file.id for file in files}) < len(files):
        raise ReplayError("a file is in it twice")
    for file in files:
        new = new_file(
            file.id, int(at), vector_store_id, "in_progress", 0, None, file.chunking_strategy, file.attributes
        )
        if file != new:
            raise ReplayError(f"a file in it is not at its beginning: {file!r}, not {new!r}")
