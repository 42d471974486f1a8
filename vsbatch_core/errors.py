"""Every refusal: what was said, what the limit is, and what to do instead.

One root class, two branches, after whose fault it is:

* ``RequestError``: the caller of the API asked for something that the API refuses.  ``to_wire``
  gives the body that the HTTP API responds with, and ``status`` the HTTP status.
* ``HostError``: the program that embeds the engine misused the API for hosts, or the engine found itself
  inconsistent.

Raising an error never changes the engine: a refused call leaves it equal to what it was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

__all__ = ["HostError", "RequestError", "VsbatchError"]
"""What the package exports; every other class is used as ``errors.Name``."""

_SHOWN_CHARACTERS = 80
_SHOWN_BITS = 256
_NAMED = 10
"""How many offenders a message names."""


def shown(value: object) -> str:
    """The value as a message names it: a string in single quotes, anything else by its repr, cut at 80.

    Never fails, whatever the value: a message must not raise in place of the error that it belongs to.
    """
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 1] + "…"
        return f"'{cut}'"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        # str() of such an integer is quadratic, and refused by Python itself past 4,300 digits.
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"{type_name(value)} of {len(value)}"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return type_name(value)


def type_name(value: object) -> str:
    """The JSON name of the value's type, with its article: ``an integer``, ``a string``, ``null``."""
    if value is None:
        return "null"
    for type_, name in _TYPE_NAMES:
        if isinstance(value, type_):
            return name
    return f"a Python {type(value).__qualname__}"


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),  # before int, which it is a subclass of
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (tuple, "an array"),
    (dict, "an object"),
)


class VsbatchError(Exception):
    """The root of every error that this package raises on purpose.

    ``status`` is the HTTP status, ``type``, ``code`` and ``param`` are the fields of the error body (``code``
    and ``param`` may be ``None``), ``message`` is the sentence.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def __reduce__(self) -> tuple[object, ...]:
        # Not through __init__, whose arguments are not the message.
        return _remade, (type(self), self.args, self.__dict__)

    def to_wire(self) -> dict[str, dict[str, str | None]]:
        """The exact error body: ``{"error": {"message", "type", "param", "code"}}`` (documented)."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def _remade(cls: type[VsbatchError], args: tuple[object, ...], state: dict[str, object]) -> VsbatchError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class RequestError(VsbatchError):
    """The caller of the API asked for something that the API refuses."""

    status = 400
    type = "invalid_request_error"


class MissingParameter(RequestError):
    """A parameter that the call needs was not given."""

    code = "missing_required_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class MutuallyExclusive(RequestError):
    """Two parameters were given of which the call takes one."""

    code = "mutually_exclusive_parameters"

    def __init__(self, param: str, other: str) -> None:
        super().__init__(
            f"Mutually exclusive parameters: '{param}' and '{other}'. Give exactly one of them.", param=param
        )


class UnknownParameter(RequestError):
    """An object carries a key that the API does not know."""

    code = "unknown_parameter"

    def __init__(self, param: str, known: Sequence[str]) -> None:
        names = ", ".join(f"'{name}'" for name in known)
        known_here = f"Known here are: {names}." if known else "None is taken here."
        super().__init__(f"Unknown parameter: '{param}'. {known_here}", param=param)


class InvalidType(RequestError):
    """A value is of a type that the parameter does not take."""

    code = "invalid_type"

    def __init__(self, param: str, expected: str, value: object) -> None:
        super().__init__(
            f"Invalid type for '{param}': expected {expected}, but got {type_name(value)} instead.",
            param=param,
        )


class InvalidValue(RequestError):
    """A value is not one of those that the parameter takes."""

    code = "invalid_value"

    def __init__(self, param: str, value: object, supported: Sequence[str]) -> None:
        names = " and ".join(f"'{name}'" for name in supported)
        super().__init__(f"Invalid value: {shown(value)}. Supported values are: {names}.", param=param)


class InvalidNumber(RequestError):
    """A number that no double holds: NaN, an infinity, or an integer beyond them all."""

    code = "invalid_value"

    def __init__(self, param: str, value: float) -> None:
        super().__init__(
            f"Invalid '{param}': {shown(value)} is no number that JSON carries. Expected a finite double.",
            param=param,
        )


class Contradiction(RequestError):
    """Two values, each of which may be, cannot both be."""

    code = "invalid_value"

    def __init__(self, param: str, what: str) -> None:
        super().__init__(f"Invalid '{param}': {what}.", param=param)


class IntegerTooSmall(RequestError):
    """An integer lies below the least value."""

    code = "integer_below_min_value"

    def __init__(self, param: str, value: int, minimum: int) -> None:
        super().__init__(
            f"Invalid '{param}': integer below minimum value. "
            f"Expected a value >= {minimum}, but got {shown(value)} instead.",
            param=param,
        )


class IntegerTooLarge(RequestError):
    """An integer lies above the greatest value (form recorded on a sibling endpoint)."""

    code = "integer_above_max_value"

    def __init__(self, param: str, value: int, maximum: int) -> None:
        super().__init__(
            f"Invalid '{param}': integer above maximum value. "
            f"Expected a value <= {maximum}, but got {shown(value)} instead.",
            param=param,
        )


class ArrayTooShort(RequestError):
    """An array is empty where at least one item is wanted."""

    code = "empty_array"

    def __init__(self, param: str, minimum: int) -> None:
        super().__init__(
            f"Invalid '{param}': empty array. "
            f"Expected an array with minimum length {minimum}, but got an empty array instead.",
            param=param,
        )


class ArrayTooLong(RequestError):
    """An array holds more items than the call takes (form recorded on a sibling endpoint)."""

    code = "array_above_max_length"

    def __init__(self, param: str, length: int, maximum: int) -> None:
        super().__init__(
            f"Invalid '{param}': array too long. "
            f"Expected an array with maximum length {maximum}, but got an array with length {length} instead.",
            param=param,
        )


class StringTooShort(RequestError):
    """A string is empty where an id is wanted."""

    code = "empty_string"

    def __init__(self, param: str) -> None:
        super().__init__(
            f"Invalid '{param}': empty string. "
            "Expected a string with minimum length 1, but got an empty string instead.",
            param=param,
        )


class StringTooLong(RequestError):
    """A string is longer than the parameter takes."""

    code = "string_above_max_length"

    def __init__(self, param: str, length: int, maximum: int) -> None:
        super().__init__(
            f"Invalid '{param}': string too long. "
            f"Expected a string with maximum length {maximum}, but got a string with length {length} instead.",
            param=param,
        )


class TooManyProperties(RequestError):
    """An object of attributes or metadata has more pairs than are kept."""

    code = "object_above_max_properties"

    def __init__(self, param: str, count: int, maximum: int) -> None:
        super().__init__(
            f"Invalid '{param}': too many properties. "
            f"Expected an object with at most {maximum} properties, but got {count} instead.",
            param=param,
        )


class PropertyNameTooLong(RequestError):
    """A key of attributes or metadata is longer than a key may be."""

    code = "property_name_above_max_length"

    def __init__(self, param: str, name: str, maximum: int) -> None:
        super().__init__(
            f"Invalid property name in '{param}': {shown(name)} is too long. "
            f"Expected a property name with maximum length {maximum}, but got one with length {len(name)}.",
            param=param,
        )


class InvalidId(RequestError):
    """An id begins with the prefix of another kind of object (recorded)."""

    code = "invalid_value"

    def __init__(self, param: str, value: str, prefix: str) -> None:
        super().__init__(
            f"Invalid '{param}': {shown(value)}. Expected an ID that begins with '{prefix}'.", param=param
        )


class UnknownCursor(RequestError):
    """A cursor names nothing in the list, or what left it long ago (choice: refused, never page one)."""

    code = "invalid_cursor"

    def __init__(self, param: str, value: str, where: str) -> None:
        super().__init__(
            f"Invalid '{param}': {shown(value)} is not in the list of {where}, or left it too long ago. "
            "Expected the id of an item from an earlier page of the same list; start over without a cursor.",
            param=param,
        )


class DeletedCursor(RequestError):
    """A cursor names what was deleted from the list, under a profile that refuses this (choice)."""

    code = "deleted_cursor"

    def __init__(self, param: str, value: str, where: str) -> None:
        super().__init__(
            f"Invalid '{param}': {shown(value)} was deleted from the list of {where}. "
            "Expected the id of an item that is in the list; start over without a cursor.",
            param=param,
        )


class DuplicateFile(RequestError):
    """A request names a file twice, under a profile that refuses this (choice)."""

    code = "duplicate_file"

    def __init__(self, param: str, index: int, file_id: str) -> None:
        super().__init__(
            f"Invalid '{param}[{index}]': file {shown(file_id)} is in '{param}' before. Give each file once.",
            param=f"{param}[{index}]",
        )


class AlreadyAttached(RequestError):
    """A file that is attached was to be attached again, under a profile that refuses this (choice)."""

    code = "file_already_attached"

    def __init__(self, param: str, file_id: str, vector_store_id: str) -> None:
        super().__init__(
            f"Invalid '{param}': file {shown(file_id)} is attached to vector store '{vector_store_id}' already. "
            "Give files that are not, or delete it from the store first.",
            param=param,
        )


class IdempotencyKeyReused(RequestError):
    """An idempotency key came with another request before (choice: 400, which clients do not repeat)."""

    code = "idempotency_key_reused"

    def __init__(self, key: str, created: str) -> None:
        super().__init__(
            f"Invalid 'idempotency_key': {shown(key)} came with another request before, which created "
            f"{shown(created)}. Repeat that request under this key, or give a new request a new key.",
            param="idempotency_key",
        )


class VectorStoreExpired(RequestError):
    """The store has expired and takes no more files (choice)."""

    code = "vector_store_expired"

    def __init__(self, vector_store_id: str, expires_at: int) -> None:
        super().__init__(
            f"Vector store '{vector_store_id}' expired at {expires_at} and takes no more files. "
            "Create another one, or update its 'expires_after'.",
            param="vector_store_id",
        )


class BatchAlreadyFinished(RequestError):
    """A finished batch was to be cancelled, under a profile that refuses this (choice)."""

    code = "batch_already_finished"

    def __init__(self, batch_id: str, state: str) -> None:
        super().__init__(
            f"Cannot cancel file batch '{batch_id}': it is already '{state}'. "
            "Only a batch that is 'in_progress' can be cancelled.",
            param="batch_id",
        )


class NotFound(RequestError):
    """The request names something that is not there."""

    status = 404


class VectorStoreNotFound(NotFound):
    """No vector store has this id (recorded)."""

    def __init__(self, vector_store_id: str) -> None:
        super().__init__(f"No vector store found with id {shown(vector_store_id)}.")


class FileNotFound(NotFound):
    """No file with this id is attached to the vector store (recorded)."""

    def __init__(self, file_id: str, vector_store_id: str) -> None:
        super().__init__(f"No file found with id {shown(file_id)} in vector store '{vector_store_id}'.")


class FileBatchNotFound(NotFound):
    """No batch has this id in this vector store; the same error for another store's batch (choice)."""

    def __init__(self, batch_id: str, vector_store_id: str) -> None:
        super().__init__(f"No file batch found with id {shown(batch_id)} in vector store '{vector_store_id}'.")


class UnknownFile(NotFound):
    """The host's ``file_size`` does not know a file that was to be attached (choice)."""

    def __init__(self, param: str, file_id: str) -> None:
        super().__init__(f"No such File object: {shown(file_id)}. Upload it first.", param=param)


class HostError(VsbatchError):
    """The embedding program misused the API for hosts, or the engine found itself inconsistent."""


class AlreadyFinished(HostError):
    """A file that has already ended was to be finished again; its state stays what it was."""

    status = 409
    type = "conflict_error"
    code = "already_finished"

    def __init__(self, file_id: str, vector_store_id: str, state: str, tried: str) -> None:
        super().__init__(
            f"Cannot {tried} file {shown(file_id)} in vector store '{vector_store_id}': it is already "
            f"'{state}'. Only a file that is 'in_progress' can be finished; drop this result.",
            param="file_id",
        )
        self.file_id, self.vector_store_id, self.state, self.tried = file_id, vector_store_id, state, tried


class ClaimLost(HostError):
    """A claim is no longer held: it lapsed or was released; the file and later claims stay what they are."""

    status = 409
    type = "conflict_error"
    code = "claim_lost"

    def __init__(
        self, file_id: str, vector_store_id: str, number: int, deadline: float, holder: str | None, tried: str
    ) -> None:
        now = "nobody holds the file now" if holder is None else f"worker {shown(holder)} holds the file now"
        super().__init__(
            f"Cannot {tried} claim {number} on file {shown(file_id)} in vector store '{vector_store_id}': it is "
            f"over; its deadline was {shown(deadline)}, and {now}. Drop this result and claim again; a worker "
            "that needs longer sends heartbeats before the deadline.",
            param="claim",
        )
        self.file_id, self.vector_store_id, self.number, self.tried = file_id, vector_store_id, number, tried


class NotAttached(HostError):
    """A file that is not attached to the store was to be finished."""

    status = 404
    type = "not_found_error"
    code = "not_attached"

    def __init__(self, file_id: str, vector_store_id: str, state: str, tried: str) -> None:
        super().__init__(
            f"Cannot {tried} file {shown(file_id)} in vector store {shown(vector_store_id)}: "
            f"it is {state}. Drop this result, or attach the file first.",
            param="file_id",
        )
        self.file_id, self.vector_store_id, self.state, self.tried = file_id, vector_store_id, state, tried


class StaleAttachment(HostError):
    """A result names an attachment of the file that is not the present one; the file stays what it is."""

    status = 409
    type = "conflict_error"
    code = "stale_attachment"

    def __init__(self, file_id: str, vector_store_id: str, attachment: object, now: str, tried: str) -> None:
        super().__init__(
            f"Cannot {tried} attachment {shown(attachment)} of file {shown(file_id)} in vector store "
            f"'{vector_store_id}': the file is {now}. Drop this result; it is of another attachment.",
            param="attachment",
        )
        self.file_id, self.vector_store_id, self.attachment, self.tried = (
            file_id,
            vector_store_id,
            attachment,
            tried,
        )


class FilesRefused(HostError):
    """Some of many files cannot be finished, so none was; ``refused`` maps each of these to its reason."""

    status = 409
    type = "conflict_error"
    code = "files_refused"

    def __init__(self, vector_store_id: str, tried: str, total: int, refused: Mapping[str, str]) -> None:
        named = "; ".join(f"{shown(file_id)} is {why}" for file_id, why in list(refused.items())[:_NAMED])
        more = f"; and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        super().__init__(
            f"Cannot {tried} {total} files in vector store {shown(vector_store_id)}: {len(refused)} of them "
            f"cannot be: {named}{more}. Nothing changed; drop these and give the others again.",
            param="file_ids",
        )
        self.vector_store_id, self.tried, self.refused = vector_store_id, tried, dict(refused)


class IdTaken(HostError):
    """The id source gave an id that is not new, or not of the kind that was asked for."""

    code = "id_taken"

    def __init__(self, value: object, prefix: str) -> None:
        super().__init__(
            f"The id source answered {shown(value)}, which is already taken or does not begin with "
            f"'{prefix}'. Give the engine an id source whose ids are new each time."
        )


class InvalidSize(HostError):
    """The host's ``file_size`` answered something that is no size; nothing changed."""

    code = "invalid_size"

    def __init__(self, file_id: str, value: object) -> None:
        super().__init__(
            f"file_size answered {shown(value)} for file {shown(file_id)}. "
            "Answer its size in bytes, an integer of 0 or more, or None if there is no such file."
        )


class InvalidTime(HostError):
    """A clock, an event or a snapshot gives a time that is none."""

    code = "invalid_time"

    def __init__(self, param: str, value: object, form: str = "a number") -> None:
        super().__init__(
            f"Invalid '{param}': {shown(value)} is not a time. Expected seconds since the Unix epoch, {form} "
            "that a finite double holds.",
            param=param,
        )


class WireError(HostError):
    """Data cannot be read as the wire form of a value or event; ``param`` is the place in it."""

    code = "wire_error"


class ReplayError(HostError):
    """An event cannot follow the state that it was applied to; the state stays what it was."""

    code = "replay_error"


class SnapshotError(HostError):
    """A snapshot cannot be read: another format, or data that contradicts itself."""

    code = "snapshot_error"


class Inconsistent(HostError):
    """``check`` found a count or an index that differs from what the attachments say."""

    code = "inconsistent"

    def __init__(self, what: str, kept: object, recomputed: object) -> None:
        super().__init__(
            f"{what} differs: kept {kept!r}, recomputed {recomputed!r}. "
            "This is a fault of vsbatch-core, or its inside was changed; please report it."
        )


class NestedCommand(HostError):
    """A command was given in the middle of another call, by the same thread; nothing changed."""

    code = "nested_command"

    def __init__(self) -> None:
        super().__init__(
            "A command was given in the middle of another call, in the same thread: by a signal handler, or by "
            "the clock or the id source. Give it from a subscriber, from another thread, or after the call."
        )


class SubscriberError(HostError):
    """Subscribers raised; the events stand, and every other subscriber got them.

    ``__cause__`` is the ``ExceptionGroup`` of what they raised.  ``result`` is what the call would have returned,
    of ``snapshot`` a function that returns it.  If the call itself was refused, and the events are of what time
    had made due, ``refusal`` is its error.
    """

    code = "subscriber_failed"

    def __init__(self, failed: int, result: object = None, refusal: BaseException | None = None) -> None:
        then = (
            "do not repeat the request, mend the subscriber."
            if refusal is None
            else f"mend the subscriber. The request itself was refused, and changed nothing: {refusal}"
        )
        super().__init__(
            f"{failed} call(s) of subscribers raised; see the cause. The change of their event stands: {then}"
        )
        self.result = result
        self.refusal = refusal


def _whole(place: object) -> str:
    """Return a path or a URL as messages show it: never cut short."""
    return repr(place) if isinstance(place, str) else shown(place)


class DatabaseRefused(HostError):
    """A database cannot be opened: it is not ours, of another version, or of another profile."""

    code = "database_refused"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"Cannot open the database {_whole(place)}: {why}.")


class DatabaseDamaged(HostError):
    """A database does not hold what was written to it."""

    code = "database_damaged"

    def __init__(self, place: str, what: str) -> None:
        super().__init__(
            f"The database {_whole(place)} is damaged: {what}. Nothing was changed: restore it from a copy."
        )


class DatabaseUnavailable(HostError):
    """The database could not be read or written; nothing has happened."""

    status = 503
    code = "database_unavailable"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(
            f"The database {_whole(place)} cannot be used: {why}. Nothing has happened: mend what the message "
            "names, and repeat the request."
        )


class OutcomeUnknown(HostError):
    """The database failed in the middle of a commit, and does not say whether it happened."""

    status = 503
    code = "outcome_unknown"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(
            f"The database {_whole(place)} failed while the change was committed: {why}. Nobody can tell whether "
            "it happened: look before you repeat the request, or repeat a create with its idempotency key."
        )


class EngineClosed(HostError):
    """The engine was closed."""

    code = "engine_closed"

    def __init__(self, place: str) -> None:
        super().__init__(f"The engine of the database {_whole(place)} was closed: open another one.")


class EventsForgotten(HostError):
    """The log does not hold the events that were asked for any more, or never did."""

    code = "events_forgotten"

    def __init__(self, vector_store_id: str | None, after: int, first: int) -> None:
        of = "the list of vector stores" if vector_store_id is None else f"vector store {shown(vector_store_id)}"
        super().__init__(
            f"The events of {of} after version {after} are not all there: the first one is {first}. "
            "Begin with a snapshot, and follow from its version on."
        )
