"""Subjects that speak through HTTP: the engine behind ``dispatch``, and behind an official client.

The host face has no HTTP: its calls go to the engine itself.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from vsbatch_core import wire
from vsbatch_core.adapters.http import Api, Request
from vsbatch_core.testing.calls import Call, Refusal
from vsbatch_core.testing.subjects import Subject, World

_STORE = "/v1/vector_stores/{0}"
_IN_STORE = "/v1/vector_stores/{vector_store_id}"
ROUTES: dict[str, tuple[str, str]] = {
    "vector_stores.create": ("POST", "/v1/vector_stores"),
    "vector_stores.list": ("GET", "/v1/vector_stores"),
    "vector_stores.retrieve": ("GET", _STORE),
    "vector_stores.update": ("POST", _STORE),
    "vector_stores.delete": ("DELETE", _STORE),
    "vector_stores.files.create": ("POST", f"{_STORE}/files"),
    "vector_stores.files.list": ("GET", f"{_STORE}/files"),
    "vector_stores.files.retrieve": ("GET", f"{_IN_STORE}/files/{{0}}"),
    "vector_stores.files.update": ("POST", f"{_IN_STORE}/files/{{0}}"),
    "vector_stores.files.delete": ("DELETE", f"{_IN_STORE}/files/{{0}}"),
    "vector_stores.file_batches.create": ("POST", f"{_STORE}/file_batches"),
    "vector_stores.file_batches.retrieve": ("GET", f"{_IN_STORE}/file_batches/{{0}}"),
    "vector_stores.file_batches.cancel": ("POST", f"{_IN_STORE}/file_batches/{{0}}/cancel"),
    "vector_stores.file_batches.list_files": ("GET", f"{_IN_STORE}/file_batches/{{0}}/files"),
}
"""By call, the method and the path (documented)."""
KEY = "Idempotency-Key"
"""The header that carries an idempotency key."""


def parts(call: Call) -> tuple[list[Any], dict[str, Any]]:
    """The ids that stand in the path, and the arguments that do not."""
    rest = dict(call.kwargs)
    ids = [*call.args, *([rest.pop("vector_store_id")] if "vector_store_id" in rest else [])]
    return ids, rest


def _is_json(value: Any) -> bool:
    try:
        # Not equal where JSON has no such thing: a key that is no string, a tuple.
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


class Remote(Subject):
    """What is the same for all that speak through HTTP."""

    def can_ask(self, call: Call) -> bool:
        """See ``Subject``: ids that can stand in a path, a body that is JSON, a query whose limit is a number."""
        if call.path not in ROUTES:
            return True
        ids, rest = parts(call)
        if not all(isinstance(id, str) and id for id in ids):
            return False
        if ROUTES[call.path][0] == "POST":
            key = rest.pop("idempotency_key", None)
            return _is_json(rest) and isinstance(key, (str, type(None)))
        limit = rest.pop("limit", None)
        return type(limit) in (int, type(None)) and all(isinstance(v, (str, type(None))) for v in rest.values())

    def ask(self, call: Call) -> Any:
        """See ``Subject``."""
        if call.path not in ROUTES:
            return super().ask(call)
        if ROUTES[call.path][0] == "POST":
            return self.send(call)
        given = {key: value for key, value in call.kwargs.items() if value is not None}
        return self.send(Call(call.path, call.args, given))

    def send(self, call: Call) -> Any:
        """The answer to a call that goes through HTTP."""
        raise NotImplementedError(f"{type(self).__name__} has to say how it sends: override send()")


class Dispatched(Remote):
    """The engine behind ``dispatch``: every call is a request, written and read as JSON."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.api = Api(self.engine)

    def send(self, call: Call) -> Any:
        """See ``Remote``."""
        method, path = ROUTES[call.path]
        _, rest = parts(call)
        segments = [quote(str(id), safe="") for id in call.args]
        path = path.format(*segments, vector_store_id=quote(call.kwargs.get("vector_store_id", ""), safe=""))
        if method == "POST":
            headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
            key = rest.pop("idempotency_key", None)
            if key is not None:
                headers = (*headers, (KEY, key))
            request = Request(method, path, "", headers, json.dumps(rest).encode())
        else:
            request = Request(method, path, urlencode(rest))
        response = self.api.dispatch(request)
        body = json.loads(response.body)
        return wire.from_wire(body) if response.status == 200 else Refusal(response.status, body)


class Official(Remote):
    """The engine behind an official client, which takes a hundred times as long: it reads one thing in forty."""

    reads_one_in = 40

    def __init__(self, world: World) -> None:
        from vsbatch_core.adapters import openai  # noqa: PLC0415 - an extra, that only this needs

        super().__init__(world)
        self.client = openai.client(self.engine, max_retries=0)

    def send(self, call: Call) -> Any:
        """See ``Remote``."""
        from openai import APIStatusError  # noqa: PLC0415 - as above

        rest = dict(call.kwargs)
        key = rest.pop("idempotency_key", None)
        if key is not None:
            rest["extra_headers"] = {KEY: key}
        try:
            value = Call(call.path, call.args, rest).on(self.client)
        except APIStatusError as error:
            return Refusal(error.status_code, {"error": error.body})
        return wire.from_wire(value.to_dict())
