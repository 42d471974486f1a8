"""Official OpenAI clients whose transport is the engine itself: no socket, no thread.

openai 2.x is built on ``httpx``, 3.x on ``httpx2``; the transport is made for whichever the installed one uses.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.engine import Engine

try:
    import openai
except ImportError as error:
    raise ImportError("official clients need the SDK: pip install 'vsbatch-core[openai]'") from error

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

BASE_URL = "http://vsbatch.invalid/v1"
"""A name that never resolves: nothing that is sent here can leave the process."""


def client(api: Api | Engine, **options: Any) -> OpenAI:
    """An official ``OpenAI`` client of the engine; ``options`` are its own (``max_retries=0``, …)."""
    sync, _ = _transports()
    options.setdefault("api_key", _key(api))
    return openai.OpenAI(base_url=BASE_URL, http_client=_http().Client(transport=sync(_api(api))), **options)


def async_client(api: Api | Engine, **options: Any) -> AsyncOpenAI:
    """An official ``AsyncOpenAI`` client of the engine; ``options`` are its own."""
    _, asynchronous = _transports()
    options.setdefault("api_key", _key(api))
    http_client = _http().AsyncClient(transport=asynchronous(_api(api)))
    return openai.AsyncOpenAI(base_url=BASE_URL, http_client=http_client, **options)


def _api(api: Api | Engine) -> Api:
    return api if isinstance(api, Api) else Api(api)


def _key(api: Api | Engine) -> str:
    keys = api.api_keys if isinstance(api, Api) else ()
    return keys[0] if keys else "none-needed"


def _http() -> ModuleType:
    """The HTTP library that the installed SDK is built on."""
    base = openai.DefaultHttpxClient.__mro__[1]
    return sys.modules[base.__module__.partition(".")[0]]


@cache
def _transports() -> tuple[Any, Any]:
    http = _http()

    def request(sent: Any, body: bytes) -> Request:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in sent.headers.raw)
        path, _, query = sent.url.raw_path.decode("ascii").partition("?")
        return Request(sent.method, path, query, headers, body)

    def response(sent: Any, answer: Response) -> Any:
        return http.Response(answer.status, headers=list(answer.headers), content=answer.body, request=sent)

    class Sync(http.BaseTransport):  # type: ignore[name-defined, misc]  # the library is known at run time
        def __init__(self, api: Api) -> None:
            self.api = api

        def handle_request(self, sent: Any) -> Any:
            return response(sent, self.api.dispatch(request(sent, sent.read())))

    class Async(http.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # as above
        def __init__(self, api: Api) -> None:
            self.api = api

        async def handle_async_request(self, sent: Any) -> Any:
            return response(sent, self.api.dispatch(request(sent, await sent.aread())))

    return Sync, Async
