"""Official OpenAI clients whose transport is the engine itself: no socket, no thread.

openai 2.x is built on ``httpx``, 3.x on ``httpx2``; the transport is made for the one that the installed client
uses.  Nothing of the environment is read but what the client itself reads, and no request can leave the process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from vsbatch_core.adapters.faults import NoAnswer, TimedOut
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.engine import Engine
from vsbatch_core.extras import pip_line

try:
    import openai
except ImportError as error:
    raise ImportError(f"official clients need the SDK: {pip_line('openai')}") from error

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

BASE_URL = "http://vsbatch.invalid/v1"
"""A name that never resolves: whatever is sent there without the transport fails at once."""


class HostRaised(openai.OpenAIError):
    """What a part of the host raised while it answered (its driver, clock, or ids) is the ``__cause__``.

    A client takes other exceptions of a transport for a broken connection and tries again, which would do
    everything twice; this class it passes on at once.
    """


class Dispatches(Protocol):
    """What responds to requests as an ``Api`` does."""

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that are let in."""
        ...

    def dispatch(self, request: Request) -> Response:
        """Respond to a request."""
        ...

    async def dispatch_async(self, request: Request) -> Response:
        """Respond to a request, without blocking the event loop."""
        ...


def client(api: Dispatches | Engine, **options: Any) -> OpenAI:
    """An official ``OpenAI`` client of the engine; ``options`` are its own (``max_retries=0``, …).

    The key is one of the ``Api``'s unless another is given.  It may be shared by threads as the ``Api`` may; to
    close it is harmless, and not needed.  Raise ``HostRaised`` from a call if a part of the host raises.
    """
    sync, _ = _transports()
    http_client = _http().Client(transport=sync(_api(api)), trust_env=False)
    return openai.OpenAI(base_url=BASE_URL, http_client=http_client, **_with_key(api, options))


def async_client(api: Dispatches | Engine, **options: Any) -> AsyncOpenAI:
    """An official ``AsyncOpenAI`` client of the engine; else as ``client``.

    An engine in memory answers in the thread of the event loop that asks.  One with a database never blocks the
    loop, which then must be one of ``asyncio``: see ``Api.dispatch_async``.  The client may be used in one loop
    after another.
    """
    _, asynchronous = _transports()
    http_client = _http().AsyncClient(transport=asynchronous(_api(api)), trust_env=False)
    return openai.AsyncOpenAI(base_url=BASE_URL, http_client=http_client, **_with_key(api, options))


def _api(api: Dispatches | Engine) -> Dispatches:
    return Api(api) if isinstance(api, Engine) else api


def _with_key(api: Dispatches | Engine, options: dict[str, Any]) -> dict[str, Any]:
    keys = _api(api).api_keys
    # Always one of ours: without it the client would ask the environment, and send a real key.
    return {"api_key": keys[0] if keys else "none-needed", **options}


def _http() -> ModuleType:
    """The HTTP library that the installed client is built on: that of what its own default is derived from."""
    base: type = openai.DefaultHttpxClient.__mro__[1]
    return sys.modules[base.__module__.partition(".")[0]]


@cache
def _transports() -> tuple[Any, Any]:
    http = _http()

    def request(sent: Any) -> Request:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in sent.headers.raw)
        path, _, query = sent.url.raw_path.decode("ascii").partition("?")
        return Request(sent.method, path, query, headers, sent.content)

    def received(response: Response) -> Any:
        return http.Response(response.status, headers=list(response.headers), content=response.body)

    @contextmanager
    def answering(sent: Any) -> Iterator[None]:
        try:
            yield
        except NoAnswer as error:
            kind = http.ReadTimeout if isinstance(error, TimedOut) else http.ReadError
            raise kind(str(error), request=sent) from error
        except Exception as error:
            what = f"{sent.method} {sent.url.raw_path.decode('ascii').partition('?')[0]}"
            raise HostRaised(f"{type(error).__name__} in answer to {what}: {error}") from error

    class Sync(http.BaseTransport):  # type: ignore[name-defined, misc]  # the library is known at run time
        def __init__(self, api: Dispatches) -> None:
            self.api = api

        def handle_request(self, sent: Any) -> Any:
            sent.read()
            with answering(sent):
                return received(self.api.dispatch(request(sent)))

    class Async(http.AsyncBaseTransport):  # type: ignore[name-defined, misc]  # as above
        def __init__(self, api: Dispatches) -> None:
            self.api = api

        async def handle_async_request(self, sent: Any) -> Any:
            await sent.aread()
            with answering(sent):
                return received(await self.api.dispatch_async(request(sent)))

    return Sync, Async
