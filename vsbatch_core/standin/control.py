"""The control API of a stand-in: a request in, a response out, as in ``adapters.http``.

All of it is JSON, under ``/_vsbatch/``; a refusal is the API's error body.  ``ROUTES`` says what a body may hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from attrs import frozen

from vsbatch_core import __version__, validation
from vsbatch_core.adapters.faults import Faults
from vsbatch_core.adapters.http import Request, Response
from vsbatch_core.adapters.refusals import BodyTooLarge, InvalidBody, InvalidUrl, MethodNotAllowed, UnknownUrl
from vsbatch_core.encoding import compact
from vsbatch_core.errors import (
    HostError,
    InvalidType,
    MissingParameter,
    MutuallyExclusive,
    RequestError,
    UnknownParameter,
    VsbatchError,
    shown,
    type_name,
)
from vsbatch_core.model import data_of
from vsbatch_core.scenarios.circumstances import made, plan_of
from vsbatch_core.scenarios.tables import Table
from vsbatch_core.scenarios.text import Refused
from vsbatch_core.standin.data import faults_data, plan_data
from vsbatch_core.standin.world import POWERS, Power, StandIn
from vsbatch_core.wire import to_wire

PREFIX = "/_vsbatch/"

LONGEST = 1 << 20
"""The longest body in bytes, but for a snapshot's."""

LONGEST_SNAPSHOT = 256 << 20

MOST = 10_000
"""So many files may be named at once, and so many exchanges returned."""


LATEST = 253_402_300_799
"""The last second of the year 9999: clients cannot show a later date."""


class InvalidSetting(RequestError):
    """What was given is no plan, no faults, no time or no snapshot; the message says why."""

    code = "invalid_value"


@frozen
class Route:
    """One method of one path: what it calls, and what its body and its query may hold."""

    call: Callable[..., Any]
    body: tuple[str, ...] | None = ()
    """The keys of the body; ``None`` if it is handed on as it is, as ``body``."""
    query: tuple[str, ...] = ()
    power: Power | None = None
    """What the stand-in must be able to do."""
    longest: int = LONGEST


def _state(standin: StandIn) -> dict[str, Any]:
    last_event_id = standin.watch().last_id  # before what it is compared with
    profile = standin.engine.profile
    return {
        "object": "vsbatch",
        "version": __version__,
        "clock": standin.clock_data(),
        "plan": plan_data(standin.plan),
        "faults": faults_data(standin.faults),
        "profile": {**data_of(profile), "limits": data_of(profile.limits)},
        "can": {power: standin.can(power) for power in POWERS},
        "requests": standin.requests[-1].number if standin.requests else 0,
        "last_event_id": last_event_id,
    }


# Files


_FILES = ("vector_store_id", "file_id", "file_ids")


def _named(body: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the store and the files that a body names."""
    store = validation.string("vector_store_id", _required(body, "vector_store_id"), minimum=1)
    if "file_id" in body and "file_ids" in body:
        raise MutuallyExclusive("file_id", "file_ids")
    if "file_id" in body:
        return store, [validation.string("file_id", body["file_id"], minimum=1)]
    given = validation.array("file_ids", _required(body, "file_ids"), 1, MOST)
    return store, [validation.string(f"file_ids[{i}]", id, minimum=1) for i, id in enumerate(given)]


def _required(body: dict[str, Any], key: str) -> Any:
    if key not in body:
        raise MissingParameter(key)
    return body[key]


@contextmanager
def _saying() -> Iterator[None]:
    """Refuse the request with what is said to be wrong with a plan, faults, a time or a snapshot."""
    try:
        yield
    except HostError as error:  # to a host it is one of its own, and to a client one of theirs
        raise InvalidSetting(error.message, param=error.param) from error
    except (TypeError, ValueError, Refused) as error:
        raise InvalidSetting(" ".join(str(error).split())) from error


def _list(files: list[Any]) -> dict[str, Any]:
    return {"object": "list", "data": [to_wire(file) for file in files]}


def _complete(standin: StandIn, **body: Any) -> dict[str, Any]:
    usage_bytes = body.get("usage_bytes")
    return _list(standin.complete(*_named(body), usage_bytes))


def _fail(standin: StandIn, **body: Any) -> dict[str, Any]:
    how = {"code": body.get("code", "server_error"), "message": body.get("message")}
    return _list(standin.fail(*_named(body), **how))


def _release(standin: StandIn, **body: Any) -> dict[str, Any]:
    return _list(standin.release(*_named(body)))


# Time


def _advance(standin: StandIn, **body: Any) -> dict[str, Any]:
    seconds = _required(body, "seconds")
    with _saying():
        if isinstance(seconds, (int, float)) and seconds > LATEST - standin.now:
            raise ValueError(f"advance({shown(seconds)}) would go beyond the year 9999. Give fewer seconds.")
        standin.advance(seconds)
    return standin.clock_data()


def _freeze(standin: StandIn) -> dict[str, Any]:
    standin.freeze()
    return standin.clock_data()


def _run(standin: StandIn) -> dict[str, Any]:
    standin.run()
    return standin.clock_data()


def _step(standin: StandIn) -> dict[str, Any]:
    stepped = standin.step()
    return {**standin.clock_data(), "stepped": stepped}


# Plan, faults, all of it


def _plan(standin: StandIn) -> dict[str, Any]:
    return plan_data(standin.plan)


def _put_plan(standin: StandIn, body: Any) -> dict[str, Any]:
    with _saying():
        standin.set_plan(plan_of(Table("plan", "", body), standin.engine.profile))
    return plan_data(standin.plan)


def _faults(standin: StandIn) -> dict[str, Any]:
    return faults_data(standin.faults)


def _put_faults(standin: StandIn, body: Any) -> dict[str, Any]:
    table = Table("faults", "", body)
    with _saying():
        standin.set_faults(made(table, Faults))
    return faults_data(standin.faults)


def _reset(standin: StandIn) -> dict[str, Any]:
    standin.reset()
    return _state(standin)


def _put_snapshot(standin: StandIn, body: Any) -> dict[str, Any]:
    with _saying():
        standin.restore(body)
    return _state(standin)


# Batches


def _batches(standin: StandIn, *, vector_store_id: str = "") -> dict[str, Any]:
    """Return the newest 100 batches of a store, the newest first: the API itself has no list of them."""
    view, batches = standin.engine.view, standin.engine.vector_stores.file_batches
    with view.hold():
        standin.engine.vector_stores.retrieve(vector_store_id)
        ids = view.batch_ids(vector_store_id, 100)
        return _list([batches.retrieve(id, vector_store_id=vector_store_id) for id in ids])


# Requests


def _requests(standin: StandIn, *, after: str = "0", limit: str = "100") -> dict[str, Any]:
    first, most = _whole("after", after, 0), _whole("limit", limit, 1)
    found = standin.requests.after(first, most + 1)
    data = [exchange.data(bodies=True) for exchange in found[:most]]
    return {"object": "list", "data": data, "has_more": len(found) > most}


def _whole(name: str, value: str, least: int) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise InvalidType(name, "a whole number", value)
    return validation.integer(name, int(value), least, None if least == 0 else MOST)


def _forget(standin: StandIn) -> dict[str, Any]:
    standin.requests.clear()
    return {"object": "list", "data": [], "has_more": False}


ROUTES: dict[str, dict[str, Route]] = {
    "": {"GET": Route(_state)},
    "files/complete": {"POST": Route(_complete, (*_FILES, "usage_bytes"))},
    "files/fail": {"POST": Route(_fail, (*_FILES, "code", "message"))},
    "files/release": {"POST": Route(_release, _FILES)},
    "batches": {"GET": Route(_batches, query=("vector_store_id",))},
    "clock/advance": {"POST": Route(_advance, ("seconds",), power="time")},
    "clock/freeze": {"POST": Route(_freeze, power="time")},
    "clock/run": {"POST": Route(_run, power="time")},
    "clock/step": {"POST": Route(_step, power="time")},
    "plan": {"GET": Route(_plan), "PUT": Route(_put_plan, None, power="plan")},
    "faults": {"GET": Route(_faults), "PUT": Route(_put_faults, None, power="faults")},
    "reset": {"POST": Route(_reset, power="reset")},
    "snapshot": {
        "GET": Route(StandIn.snapshot),
        "PUT": Route(_put_snapshot, None, power="reset", longest=LONGEST_SNAPSHOT),
    },
    "requests": {
        "GET": Route(_requests, query=("after", "limit"), power="requests"),
        "DELETE": Route(_forget, power="requests"),
    },
}
"""By the path below ``/_vsbatch/`` and the method.  ``GET events`` is a stream, and served by ``app``."""


def below(path: str) -> str | None:
    """Return the path of a request below ``/_vsbatch/``, if it is there."""
    if path == PREFIX[:-1]:
        return ""
    return path.removeprefix(PREFIX) if path.startswith(PREFIX) else None


def route(standin: StandIn, request: Request) -> Route:
    """Return the route of a request; raise the refusal that needs no body."""
    methods = ROUTES.get(below(request.path) or "")
    if methods is None:
        raise UnknownUrl(request.method, request.path)
    found = methods.get(request.method)
    if found is None:
        raise MethodNotAllowed(request.method, request.path, methods)
    if found.power is not None:
        standin.require(found.power)
    require_short(request.header("content-length") or "", found.longest)
    return found


def require_short(length: str, longest: int) -> None:
    """Raise ``BodyTooLarge`` for a length in digits that is greater."""
    if length.isdecimal() and (len(length) > 18 or int(length) > longest):
        raise BodyTooLarge(int(length[:18]), longest)


def dispatch(standin: StandIn, request: Request) -> Response:
    """Answer a request of the control API."""
    try:
        return response(200, respond(standin, route(standin, request), request))
    except VsbatchError as error:
        return refusal(error)


def respond(standin: StandIn, found: Route, request: Request) -> Any:
    """Return what a route returns, as JSON-able data; raise ``VsbatchError`` for a refusal."""
    given = partial(found.call, standin, **query(request.query, found.query))
    data = _parsed(request.body)
    if found.body is None:
        given = partial(given, body=data)
    else:
        for key in data:
            if key not in found.body:
                raise UnknownParameter(key[:256], found.body)
        given = partial(given, **data)
    return given()


def response(status: int, data: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a response of JSON."""
    plain = (("content-type", "application/json"), ("cache-control", "no-store"))
    return Response(status, (*plain, *headers), compact(data).encode())


def refusal(error: VsbatchError) -> Response:
    """Return the response that says an error."""
    return response(error.status, error.to_wire(), getattr(error, "headers", ()))


def query(given: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of a query; raise the refusal of one that is not known or not of its form."""
    try:
        pairs = parse_qsl(given, keep_blank_values=True, strict_parsing=bool(given), max_num_fields=100)
    except ValueError as error:
        raise InvalidUrl(f"its query is not of the form name=value&…: {str(error)[:200]}") from None
    for name, _ in pairs:
        if name not in known:
            raise UnknownParameter(name[:256], known)
    return dict(pairs)


def _parsed(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"it is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise InvalidBody(f"expected a JSON object, but got {type_name(data)} instead")
    return data
