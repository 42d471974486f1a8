import copy
import json
import pickle
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from math import nan
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import (
    Claim,
    Completed,
    Engine,
    HostError,
    LastError,
    Profile,
    RequestError,
    SequentialIds,
    VsbatchError,
    errors,
    events,
    validation,
    wire,
)
from vsbatch_core.journal.log import LogError

from ..helpers.strategies import json_values, numbered, populated


def _hook_answers_a_string() -> Engine:
    engine = Engine(ids=SequentialIds(), file_size=lambda _: "12")
    engine.vector_stores.create()
    return engine


@frozen
class Case:
    """A call on a populated engine, and all that the refusal says."""

    error: type[VsbatchError]
    status: int
    type: str
    code: str | None
    param: str | None
    message: str
    names: tuple[str, ...]
    """The value, the limit and the ids that the message must name."""
    call: Callable[[Engine], object]
    engine: Callable[[], Engine] = populated
    recorded: bool = False


def _request(
    error: type[VsbatchError],
    code: str | None,
    param: str | None,
    message: str,
    names: tuple[str, ...],
    call: Callable[[Engine], object],
    **more: Any,
) -> Case:
    status = 404 if issubclass(error, errors.NotFound) else 400
    return Case(error, status, "invalid_request_error", code, param, message, names, call, **more)


def _broken(engine: Engine) -> None:
    engine._registry.stores["vs_1"].usage_bytes += 1
    engine.check()


def _with_a_database(call: Callable[[Engine], object]) -> None:
    """Call with an engine whose database is the file ``state.db`` of the folder."""
    with TemporaryDirectory() as folder, chdir(folder), Engine.open("sqlite:///state.db") as engine:
        engine.vector_stores.create()
        call(engine)


def _damaged(engine: Engine) -> None:
    engine.vector_stores.create()
    with closing(sqlite3.connect("state.db")) as connection:
        connection.execute("UPDATE frames SET checksum = 0 WHERE seq = 2")
        connection.commit()
    Engine.open("sqlite:///state.db")


def _failing(*names: str, engine: Engine) -> None:
    def fail(*_: object, **_named: object) -> None:
        raise LogError("disk I/O error")

    for name in names:
        setattr(engine._registry.log, name, fail)
    engine.vector_stores.create()


def _closed(engine: Engine) -> None:
    engine.close()
    engine.vector_stores.list()


def _unheard(engine: Engine) -> None:
    def deaf(_event: events.Event) -> None:
        raise LookupError("deaf")

    engine.subscribe(deaf)
    engine.vector_stores.delete("vs_2")


def _strict() -> Engine:
    return populated(Profile(duplicates="refuse", reattach="refuse", deleted_cursor="refuse"))


def _fixed_id(prefix: str) -> Callable[[], Engine]:
    def engine() -> Engine:
        made = populated()
        made._registry.ids = lambda _prefix: f"{prefix}1"
        return made

    return engine


class _Broken:
    """A clock that has lost the time."""

    def time(self) -> float:
        return nan


class _Hasty:
    """A clock that makes a store whenever it is asked for the time, once it has an engine."""

    engine: Engine | None = None

    def time(self) -> float:
        if self.engine is not None:
            self.engine.vector_stores.create()
        return 1.8e9


def _hasty() -> Engine:
    clock = _Hasty()
    engine = Engine(clock=clock, ids=SequentialIds())
    engine.vector_stores.create()
    clock.engine = engine
    return engine


def _attached_again() -> Engine:
    made = populated()
    made.vector_stores.files.create("vs_1", file_id="file-a")
    return made


def _lapsed() -> Engine:
    made = populated()
    _lost.append(*made.processing.claim(worker="worker-1", lease_seconds=60, vector_store_id="vs_1"))
    made.clock.advance(60)  # type: ignore[attr-defined]
    made.processing.claim(worker="worker-2", vector_store_id="vs_1")
    return made


_lost: deque[Claim] = deque(maxlen=1)
"""The claim that was lost in the engine that was made last."""


def _refused(results: list[Any]) -> None:
    """Raise the error that stands for the one claim."""
    (error,) = results
    raise error


def _refusing() -> Engine:
    return populated(Profile(cancel_finished="refuse"))


def _keyed() -> Engine:
    engine = Engine(ids=SequentialIds())
    for key in (None, "key-1"):
        engine.vector_stores.create(idempotency_key=key)
    return engine


def _knowing() -> Engine:
    """An engine whose host knows no file any more."""
    gone: list[str] = []
    engine = populated(file_size=lambda file_id: None if gone else len(file_id))
    gone.append("all")
    return engine


CASES = [
    _request(
        errors.MissingParameter,
        "missing_required_parameter",
        "file_id",
        "Missing required parameter: 'file_id'.",
        ("file_id",),
        lambda e: e.vector_stores.files.create("vs_1"),
    ),
    _request(
        errors.MutuallyExclusive,
        "mutually_exclusive_parameters",
        "files",
        "Mutually exclusive parameters: 'files' and 'file_ids'. Give exactly one of them.",
        ("files", "file_ids", "one"),
        lambda e: e.vector_stores.file_batches.create("vs_1", file_ids=["file-a"], files=[{"file_id": "file-a"}]),
    ),
    _request(
        errors.UnknownParameter,
        "unknown_parameter",
        "expires_after.hours",
        "Unknown parameter: 'expires_after.hours'. Known here are: 'anchor', 'days'.",
        ("hours", "anchor", "days"),
        lambda e: e.vector_stores.create(expires_after={"hours": 1}),
    ),
    _request(
        errors.InvalidType,
        "invalid_type",
        "limit",
        "Invalid type for 'limit': expected an integer, but got a string instead.",
        ("an integer", "a string"),
        lambda e: e.vector_stores.list(limit="abc"),
    ),
    _request(
        errors.InvalidValue,
        "invalid_value",
        "order",
        "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
        ("'up'", "'asc'", "'desc'"),
        lambda e: e.vector_stores.list(order="up"),
    ),
    _request(
        errors.InvalidNumber,
        "invalid_value",
        "attributes.a",
        "Invalid 'attributes.a': nan is no number that JSON carries. Expected a finite double.",
        ("nan", "finite"),
        lambda e: e.vector_stores.files.update("file-a", vector_store_id="vs_1", attributes={"a": float("nan")}),
    ),
    _request(
        errors.Contradiction,
        "invalid_value",
        "status",
        "Invalid 'status': a file that is 'failed' has 'usage_bytes' 7.",
        ("'failed'", "7"),
        lambda _e: validation.outcome("status", "failed", 7, LastError("server_error", "")),
    ),
    _request(
        errors.IntegerTooSmall,
        "integer_below_min_value",
        "limit",
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ("1", "0"),
        lambda e: e.vector_stores.files.list("vs_1", limit=0),
    ),
    _request(
        errors.IntegerTooLarge,
        "integer_above_max_value",
        "limit",
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        ("100", "101"),
        lambda e: e.vector_stores.files.list("vs_1", limit=101),
        recorded=True,
    ),
    _request(
        errors.ArrayTooShort,
        "empty_array",
        "file_ids",
        "Invalid 'file_ids': empty array. "
        "Expected an array with minimum length 1, but got an empty array instead.",
        ("1", "empty"),
        lambda e: e.vector_stores.file_batches.create("vs_1", file_ids=[]),
    ),
    _request(
        errors.ArrayTooLong,
        "array_above_max_length",
        "file_ids",
        "Invalid 'file_ids': array too long. "
        "Expected an array with maximum length 2000, but got an array with length 2001 instead.",
        ("2000", "2001"),
        lambda e: e.vector_stores.file_batches.create("vs_1", file_ids=[f"file-{i}" for i in range(2001)]),
        recorded=True,
    ),
    _request(
        errors.StringTooShort,
        "empty_string",
        "file_id",
        "Invalid 'file_id': empty string. "
        "Expected a string with minimum length 1, but got an empty string instead.",
        ("1", "empty"),
        lambda e: e.vector_stores.files.create("vs_1", file_id=""),
    ),
    _request(
        errors.StringTooLong,
        "string_above_max_length",
        "metadata.k",
        "Invalid 'metadata.k': string too long. "
        "Expected a string with maximum length 512, but got a string with length 513 instead.",
        ("512", "513"),
        lambda e: e.vector_stores.create(metadata={"k": "x" * 513}),
    ),
    _request(
        errors.TooManyProperties,
        "object_above_max_properties",
        "metadata",
        "Invalid 'metadata': too many properties. "
        "Expected an object with at most 16 properties, but got 17 instead.",
        ("16", "17"),
        lambda e: e.vector_stores.create(metadata={str(i): "" for i in range(17)}),
    ),
    _request(
        errors.PropertyNameTooLong,
        "property_name_above_max_length",
        "metadata",
        f"Invalid property name in 'metadata': '{'k' * 65}' is too long. "
        "Expected a property name with maximum length 64, but got one with length 65.",
        ("k" * 65, "64", "65"),
        lambda e: e.vector_stores.create(metadata={"k" * 65: ""}),
    ),
    _request(
        errors.InvalidId,
        "invalid_value",
        "batch_id",
        "Invalid 'batch_id': 'vs_1'. Expected an ID that begins with 'vsfb_'.",
        ("'vs_1'", "'vsfb_'"),
        lambda e: e.vector_stores.file_batches.retrieve("vs_1", vector_store_id="vs_1"),
        recorded=True,
    ),
    _request(
        errors.UnknownCursor,
        "invalid_cursor",
        "after",
        "Invalid 'after': 'file-z' is not in the list of files of vector store 'vs_1', or left it too long ago. "
        "Expected the id of an item from an earlier page of the same list; start over without a cursor.",
        ("'file-z'", "'vs_1'"),
        lambda e: e.vector_stores.files.list("vs_1", after="file-z"),
    ),
    _request(
        errors.DeletedCursor,
        "deleted_cursor",
        "before",
        "Invalid 'before': 'file-d' was deleted from the list of files of vector store 'vs_1'. "
        "Expected the id of an item that is in the list; start over without a cursor.",
        ("'file-d'", "'vs_1'"),
        lambda e: e.vector_stores.files.list("vs_1", before="file-d"),
        engine=_strict,
    ),
    _request(
        errors.DuplicateFile,
        "duplicate_file",
        "file_ids[2]",
        "Invalid 'file_ids[2]': file 'file-y' is in 'file_ids' before. Give each file once.",
        ("[2]", "'file-y'"),
        lambda e: e.vector_stores.file_batches.create("vs_1", file_ids=["file-y", "file-z", "file-y"]),
        engine=_strict,
    ),
    _request(
        errors.AlreadyAttached,
        "file_already_attached",
        "file_ids",
        "Invalid 'file_ids': file 'file-b' is attached to vector store 'vs_1' already. "
        "Give files that are not, or delete it from the store first.",
        ("'file-b'", "'vs_1'"),
        lambda e: e.vector_stores.file_batches.create("vs_1", file_ids=["file-z", "file-b"]),
        engine=_strict,
    ),
    _request(
        errors.IdempotencyKeyReused,
        "idempotency_key_reused",
        "idempotency_key",
        "Invalid 'idempotency_key': 'key-1' came with another request before, which created 'vs_2'. "
        "Repeat that request under this key, or give a new request a new key.",
        ("'key-1'", "'vs_2'", "new key"),
        lambda e: e.vector_stores.create(name="other", idempotency_key="key-1"),
        engine=_keyed,
    ),
    _request(
        errors.VectorStoreExpired,
        "vector_store_expired",
        "vector_store_id",
        "Vector store 'vs_3' expired at 1700086400 and takes no more files. "
        "Create another one, or update its 'expires_after'.",
        ("'vs_3'", "1700086400"),
        lambda e: e.vector_stores.files.create("vs_3", file_id="file-a"),
    ),
    _request(
        errors.BatchAlreadyFinished,
        "batch_already_finished",
        "batch_id",
        "Cannot cancel file batch 'vsfb_2': it is already 'cancelled'. "
        "Only a batch that is 'in_progress' can be cancelled.",
        ("'vsfb_2'", "'cancelled'", "'in_progress'"),
        lambda e: e.vector_stores.file_batches.cancel("vsfb_2", vector_store_id="vs_1"),
        engine=_refusing,
    ),
    _request(
        errors.VectorStoreNotFound,
        None,
        None,
        "No vector store found with id 'vs_9'.",
        ("'vs_9'",),
        lambda e: e.vector_stores.retrieve("vs_9"),
        recorded=True,
    ),
    _request(
        errors.FileNotFound,
        None,
        None,
        "No file found with id 'file-z' in vector store 'vs_1'.",
        ("'file-z'", "'vs_1'"),
        lambda e: e.vector_stores.files.retrieve("file-z", vector_store_id="vs_1"),
        recorded=True,
    ),
    _request(
        errors.FileBatchNotFound,
        None,
        None,
        "No file batch found with id 'vsfb_3' in vector store 'vs_1'.",
        ("'vsfb_3'", "'vs_1'"),
        lambda e: e.vector_stores.file_batches.retrieve("vsfb_3", vector_store_id="vs_1"),
    ),
    _request(
        errors.UnknownFile,
        None,
        "file_ids",
        "No such File object: 'file-z'. Upload it first.",
        ("'file-z'",),
        lambda e: e.vector_stores.file_batches.create("vs_1", file_ids=["file-z"]),
        engine=_knowing,
    ),
    Case(
        errors.AlreadyFinished,
        409,
        "conflict_error",
        "already_finished",
        "file_id",
        "Cannot complete file 'file-c' in vector store 'vs_1': it is already 'failed'. "
        "Only a file that is 'in_progress' can be finished; drop this result.",
        ("complete", "'file-c'", "'vs_1'", "'failed'", "'in_progress'"),
        lambda e: e.processing.complete("vs_1", "file-c"),
    ),
    Case(
        errors.ClaimLost,
        409,
        "conflict_error",
        "claim_lost",
        "claim",
        "Cannot complete claim 1 on file 'file-a' in vector store 'vs_1': it is over; its deadline was "
        "1700172860.25, and worker 'worker-2' holds the file now. Drop this result and claim again; a worker "
        "that needs longer sends heartbeats before the deadline.",
        ("complete", "1", "'file-a'", "'vs_1'", "'worker-2'", "1700172860.25"),
        lambda e: _refused(e.processing.finish([Completed(*_lost)])),
        engine=_lapsed,
    ),
    Case(
        errors.NotAttached,
        404,
        "not_found_error",
        "not_attached",
        "file_id",
        "Cannot fail file 'file-z' in vector store 'vs_1': it is not attached. "
        "Drop this result, or attach the file first.",
        ("fail", "'file-z'", "'vs_1'"),
        lambda e: e.processing.fail("vs_1", "file-z"),
    ),
    Case(
        errors.StaleAttachment,
        409,
        "conflict_error",
        "stale_attachment",
        "attachment",
        "Cannot complete attachment 0 of file 'file-a' in vector store 'vs_1': the file is attachment 6 now. "
        "Drop this result; it is of another attachment.",
        ("0", "'file-a'", "'vs_1'", "6"),
        lambda e: e.processing.complete("vs_1", "file-a", attachment=0),
        engine=_attached_again,
    ),
    Case(
        errors.FilesRefused,
        409,
        "conflict_error",
        "files_refused",
        "file_ids",
        "Cannot complete 3 files in vector store 'vs_1': 2 of them cannot be: 'file-b' is 'completed' already; "
        "'file-z' is not attached. Nothing changed; drop these and give the others again.",
        ("'vs_1'", "'file-b'", "'file-z'", "3", "2"),
        lambda e: e.processing.complete_many("vs_1", ["file-a", "file-b", "file-z"]),
    ),
    Case(
        errors.IdTaken,
        500,
        "server_error",
        "id_taken",
        None,
        "The id source answered 'vs_1', which is already taken or does not begin with 'vs_'. "
        "Give the engine an id source whose ids are new each time.",
        ("'vs_1'", "'vs_'"),
        lambda e: e.vector_stores.create(),
        engine=_fixed_id("vs_"),
    ),
    Case(
        errors.InvalidSize,
        500,
        "server_error",
        "invalid_size",
        None,
        "file_size answered '12' for file 'file-new'. "
        "Answer its size in bytes, an integer of 0 or more, or None if there is no such file.",
        ("'12'", "'file-new'", "0"),
        lambda e: e.vector_stores.files.create("vs_1", file_id="file-new"),
        engine=_hook_answers_a_string,
    ),
    Case(
        errors.InvalidTime,
        500,
        "server_error",
        "invalid_time",
        "clock.time()",
        "Invalid 'clock.time()': nan is not a time. Expected seconds since the Unix epoch, a number that a "
        "finite double holds.",
        ("nan", "finite double"),
        lambda e: e.vector_stores.create(),
        engine=lambda: Engine(clock=_Broken()),
    ),
    Case(
        errors.WireError,
        500,
        "server_error",
        "wire_error",
        "kind",
        "Cannot read this as a value or event: Invalid value: 'file.renamed'. Supported values are: "
        + " and ".join(f"'{kind}'" for kind in sorted(events.EVENTS))
        + ".",
        ("'file.renamed'",),
        lambda _e: wire.from_wire({"kind": "file.renamed"}),
    ),
    Case(
        errors.ReplayError,
        500,
        "server_error",
        "replay_error",
        None,
        "FileDeleted of vector store 'vs_1' cannot follow this state: No file found with id 'file-z' in vector "
        "store 'vs_1'. Replay events as they were delivered, each once and in order.",
        ("FileDeleted", "'file-z'", "'vs_1'"),
        lambda e: e.replay([numbered(e, events.FileDeleted, 1.8e9, "vs_1", "file-z")]),
    ),
    Case(
        errors.SnapshotError,
        500,
        "server_error",
        "snapshot_error",
        "format",
        "Cannot read the snapshot: its 'format' must be 'vsbatch-core snapshot 5', and 'another' is given. "
        "Give what Engine.snapshot() returned, or restore it with the version of vsbatch-core that wrote it.",
        ("'format'", "'vsbatch-core snapshot 5'", "'another'"),
        lambda e: e.restore({**e.snapshot(), "format": "another"}),
    ),
    Case(
        errors.Inconsistent,
        500,
        "server_error",
        "inconsistent",
        None,
        "usage_bytes of vector store 'vs_1' differs: kept 8, recomputed 7. "
        "This is a fault of vsbatch-core, or its inside was changed; please report it.",
        ("'vs_1'", "8", "7"),
        _broken,
    ),
    Case(
        errors.NestedCommand,
        500,
        "server_error",
        "nested_command",
        None,
        "A command was given in the middle of another call, in the same thread: by a signal handler, or by "
        "the clock or the id source. Give it from a subscriber, from another thread, or after the call.",
        ("a signal handler", "the clock", "the id source"),
        lambda e: e.vector_stores.delete("vs_1"),
        engine=_hasty,
    ),
    Case(
        errors.SubscriberError,
        500,
        "server_error",
        "subscriber_failed",
        None,
        "1 call(s) of subscribers raised; see the cause. The change of their event stands: "
        "do not repeat the request, mend the subscriber.",
        ("1",),
        _unheard,
    ),
    Case(
        errors.DatabaseRefused,
        500,
        "server_error",
        "database_refused",
        None,
        "Cannot open the database 'mysql:///state.db': its URL is not known. Give sqlite:///relative.db or "
        "sqlite:////absolute.db, percent-encoded, or postgresql://user@host/database.",
        ("mysql", "sqlite:///relative.db"),
        lambda _: Engine.open("mysql:///state.db"),
    ),
    Case(
        errors.DatabaseDamaged,
        500,
        "server_error",
        "database_damaged",
        None,
        "The database 'state.db' is damaged: frame 2 does not have the checksum that was written with it. "
        "Nothing was changed: restore it from a copy.",
        ("'state.db'", "frame 2"),
        lambda _: _with_a_database(_damaged),
    ),
    Case(
        errors.DatabaseUnavailable,
        503,
        "server_error",
        "database_unavailable",
        None,
        "The database 'state.db' cannot be used: disk I/O error. Nothing has happened: mend what the message "
        "names, and repeat the request.",
        ("'state.db'", "disk I/O error"),
        lambda _: _with_a_database(lambda engine: _failing("append", engine=engine)),
    ),
    Case(
        errors.OutcomeUnknown,
        503,
        "server_error",
        "outcome_unknown",
        None,
        "The database 'state.db' failed while the change was committed: disk I/O error. Nobody can tell whether "
        "it happened: look before you repeat the request, or repeat a create with its idempotency key.",
        ("'state.db'", "disk I/O error"),
        lambda _: _with_a_database(lambda engine: _failing("commit", "token", engine=engine)),
    ),
    Case(
        errors.EngineClosed,
        500,
        "server_error",
        "engine_closed",
        None,
        "The engine of the database 'state.db' was closed: open another one.",
        ("'state.db'",),
        lambda _: _with_a_database(_closed),
    ),
    Case(
        errors.EventsForgotten,
        500,
        "server_error",
        "events_forgotten",
        None,
        "The events of vector store 'vs_1' after version 3 are not all there: the first one is 8. Begin with "
        "a snapshot, and follow from its version on.",
        ("'vs_1'", "3", "8"),
        lambda e: e.events("vs_1", after=3),
    ),
]
# These two say what has happened already; every other error is a refusal.
TELL_OF_A_CHANGE = {errors.Inconsistent, errors.SubscriberError}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.error.__name__)


def _classes(root: type[VsbatchError]) -> Iterator[type[VsbatchError]]:
    yield root
    for cls in root.__subclasses__():
        if cls.__module__ == errors.__name__:
            yield from _classes(cls)


def _leaves() -> list[type[VsbatchError]]:
    return [cls for cls in _classes(VsbatchError) if not list(_classes(cls))[1:]]


def _raised(case: Case) -> VsbatchError:
    with pytest.raises(VsbatchError) as caught:
        case.call(case.engine())
    return caught.value


def test_every_leaf_error_is_in_the_table_once() -> None:
    assert [case.error for case in CASES] == _leaves()


def test_every_recorded_text_is_pinned() -> None:
    assert {case.error for case in CASES if case.recorded} == {
        errors.IntegerTooLarge,
        errors.ArrayTooLong,
        errors.InvalidId,
        errors.VectorStoreNotFound,
        errors.FileNotFound,
    }


@each_case
def test_a_refused_call_raises_its_own_class_with_the_exact_body_and_status(case: Case) -> None:
    error = _raised(case)
    assert type(error) is case.error
    assert error.status == case.status
    assert error.to_wire() == {
        "error": {"message": case.message, "type": case.type, "param": case.param, "code": case.code}
    }
    assert list(error.to_wire()["error"]) == ["message", "type", "param", "code"]


@each_case
def test_the_attributes_of_an_error_say_what_its_body_says(case: Case) -> None:
    error = _raised(case)
    assert (error.message, error.type, error.param, error.code) == (
        case.message,
        case.type,
        case.param,
        case.code,
    )
    assert str(error) == case.message


@each_case
def test_a_message_names_the_value_the_limit_and_the_id(case: Case) -> None:
    message = _raised(case).message
    assert [name for name in case.names if name not in message] == []


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.error not in TELL_OF_A_CHANGE], ids=lambda case: case.error.__name__
)
def test_a_refusal_changes_nothing_and_is_told_to_nobody(case: Case) -> None:
    engine = case.engine()
    before = engine.snapshot()
    told: list[events.Event] = []
    engine.subscribe(told.append)
    with pytest.raises(case.error):
        case.call(engine)
    assert engine.snapshot() == before
    assert told == []
    engine.check()


def test_the_change_that_a_subscriber_failed_to_hear_of_stands() -> None:
    engine = populated()
    with pytest.raises(errors.SubscriberError) as caught:
        _unheard(engine)
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [str(error) for error in cause.exceptions] == ["deaf"]
    assert [store.id for store in engine.vector_stores.list(order="asc")] == ["vs_1", "vs_3"]


@each_case
def test_an_error_survives_pickling_and_copying(case: Case) -> None:
    error = _raised(case)
    # An error that can not be unpickled breaks the process pool that it is raised in.
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.to_wire() == error.to_wire()
        assert vars(twin) == vars(error)


@pytest.mark.parametrize("error", _leaves())
def test_every_error_is_the_fault_of_the_caller_or_of_the_host(error: type[VsbatchError]) -> None:
    assert issubclass(error, RequestError) is not issubclass(error, HostError)


@pytest.mark.parametrize("error", [cls for cls in _leaves() if issubclass(cls, RequestError)])
def test_a_caller_is_answered_400_or_404_and_never_a_status_that_clients_retry(error: type[VsbatchError]) -> None:
    assert error.status == (404 if issubclass(error, errors.NotFound) else 400)
    assert error.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("tried", "file_id", "store_id", "state"),
    [
        ("complete", "file-z", "vs_1", "not attached"),
        ("fail", "file-z", "vs_1", "not attached"),
        ("complete", "file-d", "vs_1", "no longer attached"),
        ("fail", "file-a", "vs_4", "not there: there is no such store"),
        ("complete", "file-a", "vs_9", "not there: there is no such store"),
    ],
)
def test_a_result_for_a_file_that_is_not_attached_says_what_became_of_it(
    tried: str, file_id: str, store_id: str, state: str
) -> None:
    engine = populated()
    with pytest.raises(errors.NotAttached) as caught:
        getattr(engine.processing, tried)(store_id, file_id)
    error = caught.value
    assert (error.file_id, error.vector_store_id, error.state, error.tried) == (file_id, store_id, state, tried)
    assert f"it is {state}." in error.message


@pytest.mark.parametrize("tried", ["complete", "fail"])
@pytest.mark.parametrize(
    ("file_id", "state"), [("file-b", "completed"), ("file-c", "failed"), ("file-f", "cancelled")]
)
def test_a_result_for_a_finished_file_says_in_which_status_it_is(tried: str, file_id: str, state: str) -> None:
    engine = populated()
    with pytest.raises(errors.AlreadyFinished) as caught:
        getattr(engine.processing, tried)("vs_1", file_id)
    error = caught.value
    assert (error.file_id, error.vector_store_id, error.state, error.tried) == (file_id, "vs_1", state, tried)
    assert f"'{state}'" in error.message


class _Spiteful:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


@given(json_values | st.tuples(json_values) | st.sets(st.integers()) | st.builds(_Spiteful) | st.binary())
def test_whatever_the_value_a_message_can_name_it_in_a_few_characters(value: Any) -> None:
    assert 0 < len(errors.type_name(value)) < 80
    assert 0 < len(errors.shown(value)) <= 82
    json.dumps(errors.shown(value))


@pytest.mark.parametrize(
    ("value", "shown", "type_name"),
    [
        ("a", "'a'", "a string"),
        ("", "''", "a string"),
        ("x" * 80, f"'{'x' * 80}'", "a string"),
        ("x" * 81, f"'{'x' * 79}…'", "a string"),
        (2**256 - 1, str(2**256 - 1), "an integer"),
        (2**256, "an integer of 257 bits", "an integer"),
        pytest.param(-(10**5000), "an integer of 16610 bits", "an integer", id="too many digits for str()"),
        (True, "True", "a boolean"),
        (None, "None", "null"),
        (1.5, "1.5", "a number"),
        ([1, 2], "an array of 2", "an array"),
        ((1,), "an array of 1", "an array"),
        ({}, "an object of 0", "an object"),
        (b"", "a Python bytes", "a Python bytes"),
        (_Spiteful(), "a Python _Spiteful", "a Python _Spiteful"),
    ],
)
def test_a_value_is_named_by_what_it_is(value: Any, shown: str, type_name: str) -> None:
    assert errors.shown(value) == shown
    assert errors.type_name(value) == type_name
