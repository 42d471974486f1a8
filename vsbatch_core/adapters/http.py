"""The API over HTTP, without any I/O: a request in, a response out.

``dispatch`` is what a server written in any framework calls, and what the in-process clients call.  It reads the
path, the query and the body in one place, calls the client face, and writes what that answers; every refusal is
the API's exact error body.  Nothing that a client sends makes it raise, or answer 500.

Strictness (choice): query and body parameters that the endpoint does not know are refused, as is any that is
given twice.  The body is not looked at where the endpoint takes none.  The prefix ``/v1`` may be left out.

The header ``Idempotency-Key`` is the ``idempotency_key`` of the three creates in vector stores; no other endpoint
looks at it (choice).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote

from attrs import Attribute, field, frozen

from vsbatch_core import encoding
from vsbatch_core.adapters import uploads
from vsbatch_core.adapters.refusals import (
    BodyTooLarge,
    DuplicateParameter,
    Headers,
    InvalidApiKey,
    InvalidBody,
    InvalidUrl,
    MethodNotAllowed,
    UnknownUrl,
    UnsupportedMediaType,
)
from vsbatch_core.adapters.uploads import FileDeleted, FileObject, Uploads
from vsbatch_core.engine import Engine
from vsbatch_core.errors import MissingParameter, RequestError, UnknownParameter, VsbatchError, type_name
from vsbatch_core.model import Page
from vsbatch_core.wire import to_wire

_MOST_DIGITS = 640
"""Python makes an integer of as many digits under any setting; no number that JSON carries has more than 309."""

_INTEGER = re.compile(rf"-?[0-9]{{1,{_MOST_DIGITS}}}")

_MILLISECONDS = re.compile("[0-9]{1,9}")

_KEY = re.compile("[!-~]+")
"""What a client can send as a key: visible ASCII."""


@frozen
class Request:
    """A request: ``path`` percent-encoded as it came, ``query`` what stood behind the ``?``.

    Headers are pairs, their names in any case, their values decoded as Latin-1, as HTTP has it.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The header of this name, which is given in lower case; the first if there are several."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@frozen
class Response:
    """A response; the headers' names are in lower case."""

    status: int
    headers: Headers
    body: bytes


class Driver(Protocol):
    """What moves a virtual clock on, and with it the processing of files: a simulation."""

    def advance(self, seconds: float) -> object:
        """Let this much time pass."""
        ...


@frozen
class Endpoint:
    """One method of one path: what it calls, and the parameters that it knows."""

    call: Callable[..., Any]
    query: tuple[str, ...] = ()
    body: tuple[str, ...] | None = None
    required: tuple[str, ...] = ()
    form: bool = False
    """Whether the body is a multipart form."""
    keyed: bool = False
    """Whether it takes an idempotency key."""
    polled: bool = False
    """Whether clients poll it: the answer says after how long to ask again while a file is in progress."""


_PAGE = ("limit", "order", "after", "before")
_FILTERED = (*_PAGE, "filter")
_NEW_FILE = ("attributes", "chunking_strategy")
_NEW_STORE = ("name", "description", "file_ids", "chunking_strategy", "expires_after", "metadata")


def _stores(api: Api) -> Any:
    return api.engine.vector_stores


ENDPOINTS: dict[tuple[int, tuple[str, ...]], dict[str, Endpoint]] = {
    # By the number of segments of the path, and by those that are no ids, every second one.
    (1, ("vector_stores",)): {
        "GET": Endpoint(lambda api, **args: _stores(api).list(**args), query=_PAGE),
        "POST": Endpoint(lambda api, **args: _stores(api).create(**args), body=_NEW_STORE, keyed=True),
    },
    (2, ("vector_stores",)): {
        "GET": Endpoint(lambda api, store: _stores(api).retrieve(store)),
        "POST": Endpoint(
            lambda api, store, **args: _stores(api).update(store, **args),
            body=("name", "expires_after", "metadata"),
        ),
        "DELETE": Endpoint(lambda api, store: _stores(api).delete(store)),
    },
    (3, ("vector_stores", "files")): {
        "GET": Endpoint(lambda api, store, **args: _stores(api).files.list(store, **args), query=_FILTERED),
        "POST": Endpoint(
            lambda api, store, **args: _stores(api).files.create(store, **args),
            body=("file_id", *_NEW_FILE),
            keyed=True,
        ),
    },
    (4, ("vector_stores", "files")): {
        "GET": Endpoint(
            lambda api, store, file: _stores(api).files.retrieve(file, vector_store_id=store), polled=True
        ),
        "POST": Endpoint(
            lambda api, store, file, **args: _stores(api).files.update(file, vector_store_id=store, **args),
            body=("attributes",),
            required=("attributes",),
        ),
        "DELETE": Endpoint(lambda api, store, file: _stores(api).files.delete(file, vector_store_id=store)),
    },
    (3, ("vector_stores", "file_batches")): {
        "POST": Endpoint(
            lambda api, store, **args: _stores(api).file_batches.create(store, **args),
            body=("file_ids", "files", *_NEW_FILE),
            keyed=True,
        ),
    },
    (4, ("vector_stores", "file_batches")): {
        "GET": Endpoint(
            lambda api, store, batch: _stores(api).file_batches.retrieve(batch, vector_store_id=store),
            polled=True,
        ),
    },
    (5, ("vector_stores", "file_batches", "cancel")): {
        "POST": Endpoint(
            lambda api, store, batch: _stores(api).file_batches.cancel(batch, vector_store_id=store),
            body=(),
        ),
    },
    (5, ("vector_stores", "file_batches", "files")): {
        "GET": Endpoint(
            lambda api, store, batch, **args: _stores(api).file_batches.list_files(
                batch, vector_store_id=store, **args
            ),
            query=_FILTERED,
        ),
    },
    (1, ("files",)): {
        "GET": Endpoint(
            lambda api, **args: api.uploads.list(**args), query=("limit", "order", "after", "purpose")
        ),
        "POST": Endpoint(lambda api, **args: api.uploads.create(**args), form=True),
    },
    (2, ("files",)): {
        "GET": Endpoint(lambda api, file: api.uploads.retrieve(file)),
        "DELETE": Endpoint(lambda api, file: api.uploads.delete(file)),
    },
    (3, ("files", "content")): {
        "GET": Endpoint(lambda api, file: api.uploads.content(file)),
    },
}


HOST_FAULT = VsbatchError("The server had an error while processing your request.")
"""What a client is told, with status 500, where the host's own parts failed: the cause is the host's to know."""


def dispatch(engine: Engine, request: Request) -> Response:
    """Answer one request from the engine; see ``Api`` for keys, uploads, limits and polling."""
    return Api(engine).dispatch(request)


def _keys(_api: Api, _attribute: object, keys: Any) -> None:
    # A message that names the value, as others do, would tell a key.
    if not isinstance(keys, tuple) or not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        raise ValueError("Api(api_keys=…): give a tuple of keys, each of visible ASCII characters")


def _whole(_api: Api, attribute: Attribute[int], value: Any) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"Api({attribute.name}={value!r}): give a whole number of 0 or more")


@frozen
class Api:
    """An engine as the API, with what HTTP adds to it.

    * ``uploads``: where files that are uploaded are kept; without it the Files API is not served.
    * ``api_keys``: the keys that are let in; none means everybody is.
    * ``body_limit``: the longest body that is read, in bytes.
    * ``poll_after_ms``: what ``openai-poll-after-ms`` says while a file or batch is in progress.
    * ``driver``: what moves the engine's virtual clock.  A request of a client's polling helper then moves it on
      by the interval that the client is about to wait, after it was answered, and asks the client to wait 0 ms.
      It moves on by 1 ms at least: a client that does not wait at all would else never see a batch end.
    * ``polled``: called with each file or batch that is retrieved, answers it as it is to be shown: a
      simulation's ``polled``.

    Every method may be called from any thread if the driver's may.  Raise ``ValueError`` for a limit, an interval
    or keys that are none.
    """

    engine: Engine
    uploads: Uploads | None = field(default=None, kw_only=True)
    api_keys: tuple[str, ...] = field(default=(), kw_only=True, repr=False, validator=_keys)
    body_limit: int = field(default=64 << 20, kw_only=True, validator=_whole)
    poll_after_ms: int = field(default=1000, kw_only=True, validator=_whole)
    driver: Driver | None = field(default=None, kw_only=True)
    polled: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.uploads is not None:
            # An optional extra: if it is missing, that is said now, and not when somebody uploads.
            from vsbatch_core.adapters import multipart  # noqa: F401, PLC0415

    def dispatch(self, request: Request) -> Response:
        """Answer one request.

        What the host's own parts raise is the host's to see, and raised: ``HostError`` of a subscriber, an id
        source or ``file_size``, and any error of a clock or driver.  A server then says ``refuse(HOST_FAULT)``.
        """
        try:
            return self._answer(request)
        except RequestError as error:
            return self.refuse(error)

    async def dispatch_async(self, request: Request) -> Response:
        """Answer one request as ``dispatch`` does, without blocking the event loop on the engine's database.

        See ``aio``: what only reads vector stores is answered in place if nothing has to be waited for; the rest,
        and whatever the host's own parts do, in a thread if the engine has a database.
        """
        aio = self.engine.aio
        return await (aio.read if self.only_reads(request) else aio.call)(self.dispatch, request)

    def only_reads(self, request: Request) -> bool:
        """Whether nothing but vector stores is read for this request, so that it can be dispatched twice."""
        path = request.path.removeprefix("/v1")
        shown = self.driver is None and self.polled is None
        return shown and request.method == "GET" and path.startswith("/vector_stores")

    def refuse_unread(self, request: Request) -> Response | None:
        """The refusal that needs no body, or ``None``: ask before you read a body that comes in parts.

        It is of the key, the path, the method, or the length that the headers announce.
        """
        try:
            self._authorise(request)
            self._route(request)
            length = request.header("content-length") or ""
            if _INTEGER.fullmatch(length):
                self._require_short(int(length))
        except RequestError as error:
            return self.refuse(error)
        return None

    def refuse(self, error: VsbatchError) -> Response:
        """The response that says an error: its status, its exact body, and the headers that go with it."""
        headers = error.headers if isinstance(error, (InvalidApiKey, MethodNotAllowed)) else ()
        return _json(error.status, encoding.to_json(error), headers)

    def _answer(self, request: Request) -> Response:
        self._authorise(request)
        endpoint, ids = self._route(request)
        self._require_short(len(request.body))
        arguments = _query(request.query, endpoint.query)
        if endpoint.form:
            arguments |= self._form(request)
        elif endpoint.body is not None:
            arguments |= _body(request, endpoint)
        if endpoint.keyed:
            arguments["idempotency_key"] = request.header("idempotency-key")
        value = endpoint.call(self, *ids, **arguments)
        if isinstance(value, bytes):
            return Response(200, (("content-type", "application/octet-stream"),), value)
        headers: Headers = ()
        if endpoint.polled and self.polled is not None:
            value = self.polled(value)
        if endpoint.polled and value.status == "in_progress":
            headers = (("openai-poll-after-ms", str(self._poll(request))),)
        return _json(200, _encoded(value), headers)

    def _require_short(self, length: int) -> None:
        if length > self.body_limit:
            raise BodyTooLarge(length, self.body_limit)

    def _authorise(self, request: Request) -> None:
        if not self.api_keys:
            return
        scheme, _, key = (request.header("authorization") or "").partition(" ")
        # Every key is compared, in constant time and by its digest: how long that takes tells nothing of any of
        # them, not even its length.
        given = _digest(key.strip())
        matches = [compare_digest(given, _digest(known)) for known in self.api_keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise InvalidApiKey

    def _route(self, request: Request) -> tuple[Endpoint, list[str]]:
        root, *parts = request.path.split("/")
        if parts[:1] == ["v1"]:
            del parts[0]
        try:
            segments = [unquote(part, errors="strict") for part in parts]
        except UnicodeDecodeError:
            raise InvalidUrl("its path is not UTF-8") from None
        methods = None if root else ENDPOINTS.get((len(segments), tuple(segments[::2])))
        if methods is None or (segments[0] == "files" and self.uploads is None):
            raise UnknownUrl(request.method, request.path)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise MethodNotAllowed(request.method, request.path, methods)
        return endpoint, segments[1::2]

    def _form(self, request: Request) -> dict[str, Any]:
        content_type = request.header("content-type") or ""
        if _media_type(content_type) != "multipart/form-data":
            raise UnsupportedMediaType(content_type, "multipart/form-data")
        from vsbatch_core.adapters import multipart  # noqa: PLC0415 - an optional extra

        return multipart.read_upload(content_type, request.body)

    def _poll(self, request: Request) -> int:
        if self.driver is None or request.header("x-stainless-poll-helper") != "true":
            return self.poll_after_ms
        custom = request.header("x-stainless-custom-poll-interval") or ""
        interval = int(custom) if _MILLISECONDS.fullmatch(custom) else self.poll_after_ms
        self.driver.advance(max(interval, 1) / 1000)
        return 0


def _encoded(value: Any) -> bytes:
    if isinstance(value, (FileObject, FileDeleted)):
        return encoding.compact(uploads.to_wire(value)).encode()
    if isinstance(value, Page) and value.data and isinstance(value.data[0], FileObject):
        data = [uploads.to_wire(file) for file in value.data]
        whole = {
            **to_wire(Page((), value.has_more)),
            "data": data,
            "first_id": value.first_id,
            "last_id": value.last_id,
        }
        return encoding.compact(whole).encode()
    return encoding.to_json(value)


def _json(status: int, body: bytes, headers: Headers = ()) -> Response:
    return Response(status, (("content-type", "application/json"), *headers), body)


def _query(query: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise InvalidUrl(f"its query is not of the form name=value&…: {str(error)[:200]}") from None
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in known:
            raise UnknownParameter(name[:256], known)
        if name in found:
            raise DuplicateParameter(name)
        found[name] = int(value) if name == "limit" and _INTEGER.fullmatch(value) else value
    return found


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _body(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    known = endpoint.body or ()
    data: Any = {}
    if request.body:
        content_type = request.header("content-type") or ""
        if _media_type(content_type) != "application/json":
            raise UnsupportedMediaType(content_type, "application/json")
        data = _parsed(request.body)
    for name in data:
        if name not in known:
            raise UnknownParameter(name[:256], known)
    for name in endpoint.required:
        if name not in data:
            raise MissingParameter(name)
    return dict(data)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        data = _READER.decode(body.decode())
    except UnicodeDecodeError:
        raise InvalidBody("it is not UTF-8") from None
    except RecursionError:
        raise InvalidBody("it is nested too deeply") from None
    except ValueError as error:
        raise InvalidBody(f"it is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise InvalidBody(f"expected a JSON object, but got {type_name(data)} instead")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise DuplicateParameter(name)
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise InvalidBody(f"it holds an integer of {len(digits)} digits, and no double is as large")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_READER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_no_constant)


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()
