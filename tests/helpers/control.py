"""A stand-in asked without a socket: its ASGI application, and what it responds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from attrs import frozen

from vsbatch_core.standin import Settings, StandIn
from vsbatch_core.standin.app import StandInApp

JSON = ("content-type", "application/json")


@frozen
class Answer:
    """A response, its body as JSON."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def message(self) -> str:
        """What the error says."""
        assert self.body["error"].keys() == {"message", "type", "param", "code"}
        message: str = self.body["error"]["message"]
        return message


def scope(method: str, path: str, headers: Any = (), **more: Any) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        **more,
    }


class Asked:
    """A stand-in's application: ``app`` is called in a loop of its own for each request."""

    def __init__(self, settings: Settings | None = None, *, standin: StandIn | None = None, **more: Any) -> None:
        self.standin = StandIn(settings or Settings()) if standin is None else standin
        self.app = StandInApp(self.standin, **{"control": True, **more})

    def __call__(
        self, method: str, path: str, body: Any = None, *, headers: Any = (), parts: Any = None, **more: Any
    ) -> Answer:
        """Send a request; ``parts`` is its body in parts."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [data] if parts is None else list(parts)
        messages = [
            {"type": "http.request", "body": part, "more_body": i < len(sent) - 1} for i, part in enumerate(sent)
        ]
        said: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)

        asyncio.run(self.app(scope(method, path, (JSON, *headers), **more), receive, send))
        start, *rest = said
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        content = b"".join(message.get("body", b"") for message in rest)
        return Answer(start["status"], headers, json.loads(content) if content else None)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Send a request that is not refused; return what is responded."""
        answer = self(method, path, body, **more)
        assert answer.status == 200, answer
        return answer.body
