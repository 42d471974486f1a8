"""Requests over HTTP, with aiohttp (the extra ``bench``): a client that costs little beside a server."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp

from vsbatch_core.load.calls import Answer, Failure, Request


class Http:
    """A server, by its base URL; its connections stay open until the context ends.

    ``timeout`` is how many seconds one request may take, connecting included; ``connections`` how many there are
    at most.  Without ``proxies`` none that the environment names is used.  A redirect is an answer like any
    other: followed, it would lead the key elsewhere.
    """

    def __init__(
        self, base_url: str, key: str | None, *, timeout: float, connections: int, proxies: bool = False
    ) -> None:
        self._base = base_url.rstrip("/")
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._connections = connections
        self._proxies = proxies

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=self._timeout,
            trust_env=self._proxies,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(self, request: Request) -> Answer:
        """Send a request; answer when the last byte of the response has come.  Raise ``Failure``."""
        headers = {} if request.body is None else {"content-type": request.content_type}
        if request.polls:
            headers["x-stainless-poll-helper"] = "true"
        try:
            async with self._session.request(
                request.method,
                self._base + request.path,
                data=request.body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                given = response.headers
                return Answer(
                    response.status, given.get("content-type", ""), body, given.get("openai-poll-after-ms")
                )
        except TimeoutError:
            raise Failure("timeout", f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Failure("connection", str(error) or type(error).__name__) from None
