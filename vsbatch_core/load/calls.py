"""Requests of the API and its answers, as they are sent and read: plain data, no I/O."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import quote, urlencode

from attrs import frozen

BOUNDARY = "vsbatch-bench-boundary"
PAGE = 100
"""Files on a page, at most (documented)."""


@frozen
class Request:
    """A request: ``path`` below the base URL, its query with it; a body if there is one."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str = "application/json"
    polls: bool = False
    """Whether it is marked as of a polling helper, as the official clients mark theirs."""


@frozen
class Answer:
    """A response: its status, its content type, its whole body; how long it says to wait before asking again."""

    status: int
    content_type: str
    body: bytes
    poll_after_ms: str | None = None


class Failure(Exception):
    """There is no answer of use; ``kind`` is ``timeout``, ``connection``, ``unreadable`` or a status."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Unreadable(Failure):
    """The answer is a success by its status, and not what it should be; the message says how."""

    def __init__(self, message: str) -> None:
        super().__init__("unreadable", message)


Send = Callable[[Request], Awaitable[Answer]]
"""Sends a request; raises ``Failure`` if there is no answer."""


def get(*segments: str, **query: Any) -> Request:
    """A ``GET``; what is ``None`` in the query is left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return Request("GET", _path(segments) + (f"?{urlencode(given)}" if given else ""))


def post(*segments: str, **body: Any) -> Request:
    """A ``POST`` with a body of JSON."""
    return Request("POST", _path(segments), json.dumps(body, separators=(",", ":")).encode())


def delete(*segments: str) -> Request:
    """A ``DELETE``."""
    return Request("DELETE", _path(segments))


def upload(name: str, content: bytes) -> Request:
    """The upload of a file, as a multipart form."""
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--{BOUNDARY}\r\n'
    file = f'content-disposition: form-data; name="file"; filename="{name}"\r\ncontent-type: text/plain\r\n\r\n'
    body = head.encode() + file.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request("POST", "/files", body, f"multipart/form-data; boundary={BOUNDARY}")


def _path(segments: Iterable[str]) -> str:
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


# What is read


def success(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer that is a success.  Raise ``Failure``."""
    if answer.status != 200:
        raise Failure(str(answer.status), said(answer))
    return read(answer)


def read(answer: Answer) -> dict[str, Any]:
    """The answer's JSON object.  Raise ``Unreadable`` if it is none."""
    try:
        data = json.loads(answer.body)
    except ValueError:  # also of bytes that are not UTF-8
        raise Unreadable(f"{answer.content_type or 'no content type'}, not JSON") from None
    if not isinstance(data, dict):
        raise Unreadable("JSON, but no object")
    return data


def identified(data: dict[str, Any], expected: str | None = None) -> str:
    """The object's id.  Raise ``Unreadable`` if it has none, or not the one that was expected."""
    id = data.get("id")
    if not isinstance(id, str) or not id:
        raise Unreadable("an object without an id")
    if expected is not None and id != expected:
        raise Unreadable(f"the object {id!r} instead of {expected!r}")
    return id


def listed(data: dict[str, Any]) -> tuple[list[tuple[str, Any]], bool]:
    """A page: the id and the status of each file on it, and whether there are more.  Raise ``Unreadable``."""
    items, more = data.get("data"), data.get("has_more")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Unreadable("a page without data")
    if not isinstance(more, bool):
        raise Unreadable("a page without has_more")
    return [(identified(item), item.get("status")) for item in items], more


def said(answer: Answer) -> str:
    """What an error's body says, in one short line."""
    try:
        error = read(answer).get("error")
    except Unreadable as unreadable:
        return str(unreadable)
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(message).split())[:200] if message else "no message"
