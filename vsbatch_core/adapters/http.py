"""The API over HTTP, without any I/O: a request in, a response out.

``dispatch`` is what a server written in any framework calls, and what the in-process clients call.  It reads the
path, the query and the body in one place, calls the client face, and writes what that answers; every refusal is
the API's exact error body.  Nothing that a client sends makes it raise, or answer 500.

Strictness (choice): query and body parameters that the endpoint does not know are refused, as is any that is
given twice; a lenient ``Api`` ignores what it does not know.  The body is not looked at where the endpoint takes
none.  The prefix ``/v1`` may be left out, or be Azure's, ``/openai`` or ``/openai/v1``; Azure's ``api-version``
may be any, and one slash at the end of a path means nothing.

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

from attrs import Attribute, Factory, evolve, field, fields, frozen

from vsbatch_core import encoding
from vsbatch_core.adapters import uploads
from vsbatch_core.adapters.refusals import (
    AmbiguousLength,
    BodyTooLarge,
    DuplicateParameter,
    FileNotKept,
    Headers,
    InvalidApiKey,
    InvalidBody,
    InvalidUrl,
    MethodNotAllowed,
    NotServed,
    NotText,
    TooManyValues,
    UnknownUrl,
    UnsupportedMediaType,
    UploadNotFound,
)
from vsbatch_core.adapters.uploads import FileDeleted, FileObject, Uploads
from vsbatch_core.engine import Engine
from vsbatch_core.errors import MissingParameter, RequestError, UnknownParameter, VsbatchError, shown, type_name
from vsbatch_core.model import Page
from vsbatch_core.wire import to_wire

_MOST_DIGITS = 640
"""Python makes an integer of as many digits under any setting; no number that JSON carries has more than 309."""

_INTEGER = re.compile(rf"-?[0-9]{{1,{_MOST_DIGITS}}}")

_MILLISECONDS = re.compile("[0-9]{1,9}")

_KEY = re.compile("[!-~]+")
"""What a client can send as a key: visible ASCII."""

ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#@,]+")
"""What a browser sends as its origin, or ``*`` for any."""

MOST_VALUES = 200_000
"""The values that a JSON body may hold: 2,000 files with all attributes are less than 100,000.

A value of two characters takes up a hundred bytes once it is read: the length of a body does not bound its cost.
"""

LONG_BODY = 1 << 16
"""A body of more bytes is read in a thread, where there is an event loop."""


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
    parsed: Any = field(default=None, eq=False, repr=False, kw_only=True)
    """What the body was read as before: parameters, or the error that refuses it.  See ``Api.dispatch_async``."""

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
    beside: bool = False
    """Whether it reads something else than vector stores."""
    polled: bool = False
    """Whether clients poll it: the answer says after how long to ask again while a file is in progress."""


_PAGE = ("limit", "order", "after", "before")
_FILTERED = (*_PAGE, "filter")
_NEW_FILE = ("attributes", "chunking_strategy")
_NEW_STORE = ("name", "description", "file_ids", "chunking_strategy", "expires_after", "metadata")


@frozen
class FileContent:
    """The text of a file in a vector store."""

    text: str


def _stores(api: Api) -> Any:
    return api.engine.vector_stores


def _content(api: Api, store: str, file: str) -> FileContent:
    _stores(api).files.retrieve(file, vector_store_id=store)
    try:
        content = None if api.uploads is None else api.uploads.content(file)
    except UploadNotFound:
        content = None
    if content is None:
        raise FileNotKept(file)
    try:
        return FileContent(content.decode())
    except UnicodeDecodeError as error:
        raise NotText(file, error.start) from None


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
    (5, ("vector_stores", "files", "content")): {
        "GET": Endpoint(_content, beside=True),
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
            lambda api, **args: api.uploads.list(**args),
            query=("limit", "order", "after", "purpose"),
            beside=True,
        ),
        "POST": Endpoint(lambda api, **args: api.uploads.create(**args), form=True),
    },
    (2, ("files",)): {
        "GET": Endpoint(lambda api, file: api.uploads.retrieve(file), beside=True),
        "DELETE": Endpoint(lambda api, file: api.uploads.delete(file)),
    },
    (3, ("files", "content")): {
        "GET": Endpoint(lambda api, file: api.uploads.content(file), beside=True),
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


def _flight(api: Api) -> int:
    _whole(api, fields(Api).body_limit, api.body_limit)
    return 4 * api.body_limit


def _whole(_api: Api, attribute: Attribute[int], value: Any) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"Api({attribute.name}={value!r}): give a whole number of 0 or more")


def _origins(_api: Api, _attribute: object, origins: Any) -> None:
    if not isinstance(origins, tuple) or not all(isinstance(o, str) and ORIGIN.fullmatch(o) for o in origins):
        raise ValueError(
            f"Api(cors={shown(origins)}): give a tuple of origins, as 'https://example.com', or of '*' for any"
        )


@frozen
class Api:
    """An engine as the API, with what HTTP adds to it.

    * ``uploads``: where files that are uploaded are kept; without it the Files API is not served.
    * ``api_keys``: the keys that are let in; none means everybody is.
    * ``body_limit``: the longest body that is read, in bytes: an upload.
    * ``json_limit``: the longest body of JSON, in bytes; 2,000 files with all their attributes fit, and not much
      more.  It may hold ``MOST_VALUES`` values.
    * ``flight_limit``: the bytes of all bodies, of requests and responses, that an ``App`` keeps at the same
      time; by default four times ``body_limit``.
    * ``lenient``: ignore parameters that are not known, as extensions of other servers send them.
    * ``cors``: the origins whose pages a browser lets use the API; ``*`` is any.
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
    json_limit: int = field(default=20 << 20, kw_only=True, validator=_whole)
    flight_limit: int = field(default=Factory(_flight, takes_self=True), kw_only=True, validator=_whole)
    lenient: bool = field(default=False, kw_only=True)
    cors: tuple[str, ...] = field(default=("*",), kw_only=True, validator=_origins)
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
        and whatever the host's own parts do, in a thread if the engine has a database.  A long body is read in a
        thread in any case.
        """
        aio = self.engine.aio
        if len(request.body) > LONG_BODY:
            request = await _in_a_thread(self._read_before, request)
        return await (aio.read if self.only_reads(request) else aio.call)(self.dispatch, request)

    def only_reads(self, request: Request) -> bool:
        """Whether nothing but vector stores is read for this request, so that it can be dispatched twice."""
        if request.method != "GET" or self.driver is not None or self.polled is not None:
            return False
        endpoint = _methods(segments(request.path, errors="replace")).get("GET")
        return endpoint is not None and not endpoint.beside

    def refuse_unread(self, request: Request) -> Response | None:
        """The refusal that needs no body, or ``None``: ask before you read a body that comes in parts.

        It is of the key, the path, the method, or the length that the headers announce.
        """
        try:
            endpoint, _ = self._let_in(request)
            length = request.header("content-length") or ""
            if _INTEGER.fullmatch(length):
                self._require_short(int(length), endpoint)
        except RequestError as error:
            return self.refuse(error)
        return None

    def longest(self, request: Request) -> int:
        """The length of the longest body that is read for such a request, which ``refuse_unread`` let in."""
        return self._longest(self._route(request)[0])

    def refuse(self, error: VsbatchError) -> Response:
        """The response that says an error: its status, its exact body, and the headers that go with it."""
        headers: Headers = getattr(error, "headers", ())
        return _json(error.status, encoding.to_json(error), headers)

    def _answer(self, request: Request) -> Response:
        endpoint, ids = self._let_in(request)
        self._require_short(len(request.body), endpoint)
        arguments = self._query(request.query, endpoint.query)
        if isinstance(request.parsed, RequestError):
            raise request.parsed
        arguments |= self._read(request, endpoint) if request.parsed is None else request.parsed
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

    def _longest(self, endpoint: Endpoint) -> int:
        return self.body_limit if endpoint.form else min(self.json_limit, self.body_limit)

    def _require_short(self, length: int, endpoint: Endpoint) -> None:
        longest = self._longest(endpoint)
        if length > longest:
            raise BodyTooLarge(length, longest)

    def _let_in(self, request: Request) -> tuple[Endpoint, list[str]]:
        """Return the endpoint and the ids in the path, or raise the refusal that the head alone is for."""
        if request.header("content-length") is not None and request.header("transfer-encoding") is not None:
            raise AmbiguousLength
        self._authorise(request)
        return self._route(request)

    def _authorise(self, request: Request) -> None:
        if not self.api_keys:
            return
        scheme, _, key = (request.header("authorization") or "").partition(" ")
        keys = [key] if scheme.lower() == "bearer" else []
        keys.append(request.header("api-key") or "")  # as clients of Azure send it
        # Every key is compared, in constant time and by its digest: how long that takes tells nothing of any of
        # them, not even its length.
        given = [_digest(key.strip()) for key in keys]
        matches = [compare_digest(each, _digest(known)) for each in given for known in self.api_keys]
        if not any(matches):
            raise InvalidApiKey

    def _route(self, request: Request) -> tuple[Endpoint, list[str]]:
        try:
            found = segments(request.path)
        except UnicodeDecodeError:
            raise InvalidUrl("its path is not UTF-8") from None
        if len(found) == 3 and found[::2] == ["vector_stores", "search"]:
            raise NotServed(request.method, request.path)
        methods = _methods(found)
        if not methods or (found[0] == "files" and self.uploads is None):
            raise UnknownUrl(request.method, request.path)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise MethodNotAllowed(request.method, request.path, methods)
        return endpoint, found[1::2]

    def _query(self, query: str, known: tuple[str, ...]) -> dict[str, Any]:
        if not query:
            return {}
        try:
            pairs = parse_qsl(
                query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=100
            )
        except ValueError as error:
            raise InvalidUrl(f"its query is not of the form name=value&…: {str(error)[:200]}") from None
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name == "api-version":  # of Azure, where every request has one
                continue
            if name not in known:
                if self.lenient:
                    continue
                raise UnknownParameter(name[:256], known)
            if name in found:
                raise DuplicateParameter(name)
            found[name] = int(value) if name == "limit" and _INTEGER.fullmatch(value) else value
        return found

    def _read_before(self, request: Request) -> Request:
        """Return the request with its body read, if it is one that is let in."""
        try:
            endpoint, _ = self._let_in(request)
            self._require_short(len(request.body), endpoint)
            return evolve(request, parsed=self._read(request, endpoint))
        except RequestError as error:
            return evolve(request, parsed=error)

    def _read(self, request: Request, endpoint: Endpoint) -> dict[str, Any]:
        """Return the parameters in the body."""
        if endpoint.form:
            return self._form(request)
        if endpoint.body is None:
            return {}
        data = _json_object(request)
        if self.lenient:
            data = {name: _known(name, value) for name, value in data.items() if name in endpoint.body}
        for name in data:
            if name not in endpoint.body:
                raise UnknownParameter(name[:256], endpoint.body)
        for name in endpoint.required:
            if name not in data:
                raise MissingParameter(name)
        return data

    def _form(self, request: Request) -> dict[str, Any]:
        content_type = request.header("content-type") or ""
        if _media_type(content_type) != "multipart/form-data":
            raise UnsupportedMediaType(content_type, "multipart/form-data")
        from vsbatch_core.adapters import multipart  # noqa: PLC0415 - an optional extra

        return multipart.read_upload(content_type, request.body, lenient=self.lenient)

    def _poll(self, request: Request) -> int:
        if self.driver is None or request.header("x-stainless-poll-helper") != "true":
            return self.poll_after_ms
        custom = request.header("x-stainless-custom-poll-interval") or ""
        interval = int(custom) if _MILLISECONDS.fullmatch(custom) else self.poll_after_ms
        self.driver.advance(max(interval, 1) / 1000)
        return 0


async def _in_a_thread(function: Callable[[Request], Request], request: Request) -> Request:
    from asyncio import get_running_loop  # noqa: PLC0415 - which a program without coroutines does not need

    try:
        loop = get_running_loop()
    except RuntimeError:  # the coroutine is run by another library, which an engine in memory does not mind
        return function(request)
    return await loop.run_in_executor(None, function, request)


def segments(path: str, errors: str = "strict") -> list[str]:
    """The decoded segments of a path, without what may stand before and after those of an endpoint.

    Raise ``UnicodeDecodeError`` if it is not UTF-8, unless ``errors`` says otherwise.
    """
    root, *parts = path.split("/")
    if root:
        return []
    if len(parts) > 1 and not parts[-1]:
        del parts[-1]
    for prefix in ("openai", "v1"):
        if parts[:1] == [prefix]:
            del parts[0]
    return [unquote(part, errors=errors) for part in parts]


def _methods(found: list[str]) -> dict[str, Endpoint]:
    return ENDPOINTS.get((len(found), tuple(found[::2])), {})


def _encoded(value: Any) -> bytes:
    if isinstance(value, FileContent):
        page = {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": value.text}],
            "has_more": False,
            "next_page": None,
        }
        return encoding.compact(page).encode()
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


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


_INSIDE: dict[str, tuple[str, ...]] = {
    "chunking_strategy": ("type", "static"),
    "static": ("max_chunk_size_tokens", "chunk_overlap_tokens"),
    "expires_after": ("anchor", "days"),
    "files": ("file_id", *_NEW_FILE),
}
"""By the name of a parameter, those that are known inside of it, or of each of its items."""


def _known(name: str, value: Any) -> Any:
    """The value of a parameter without what is not known inside of it."""
    known = _INSIDE.get(name)
    if known is None:
        return value
    if isinstance(value, list):
        return [_known(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _known(key, item) for key, item in value.items() if key in known}
    return value


def _json_object(request: Request) -> dict[str, Any]:
    if not request.body:
        return {}
    content_type = request.header("content-type") or ""
    if _media_type(content_type) != "application/json":
        raise UnsupportedMediaType(content_type, "application/json")
    try:
        text = request.body.decode()
        _require_few(text)
        data = _READER.decode(text)
    except UnicodeDecodeError:
        raise InvalidBody("it is not UTF-8") from None
    except RecursionError:
        raise InvalidBody("it is nested too deeply") from None
    except ValueError as error:
        raise InvalidBody(f"it is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise InvalidBody(f"expected a JSON object, but got {type_name(data)} instead")
    return data


def _require_few(text: str) -> None:
    """Raise ``TooManyValues`` for JSON that holds too many, which costs little to tell before it is read."""
    # Each value is followed by a comma or by the bracket that ends the array or object it is in.
    if _ends(text) <= MOST_VALUES:
        return
    # What stands in strings does not count; the number of these is bounded first, since so many pieces are made.
    plain = text.replace(r"\\", "").replace(r"\"", "")
    if plain.count('"') <= 4 * MOST_VALUES and _ends("".join(plain.split('"')[::2])) <= MOST_VALUES:
        return
    raise TooManyValues(MOST_VALUES)


def _ends(text: str) -> int:
    return text.count(",") + text.count("]") + text.count("}")


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
