"""What a stand-in serves beside the API: its page, whether it is well, and its metrics."""

from __future__ import annotations

from vsbatch_core import encoding
from vsbatch_core.adapters.http import Request, Response
from vsbatch_core.adapters.refusals import MethodNotAllowed
from vsbatch_core.errors import DatabaseUnavailable
from vsbatch_core.extras import pip_line
from vsbatch_core.standin.page import page
from vsbatch_core.standin.world import StandIn

PATHS = frozenset({"/", "/healthz", "/metrics"})


class Around:
    """``/``, ``/healthz`` and ``/metrics`` of a stand-in: nobody needs a key for them.

    They are neither recorded nor counted.  Metrics need the extra ``metrics``; without it ``/metrics`` says so.
    """

    def __init__(self, standin: StandIn) -> None:
        self._standin = standin
        try:
            from vsbatch_core.standin.metrics import Metrics  # noqa: PLC0415 - an optional extra
        except ImportError:
            self._metrics = None
        else:
            self._metrics = Metrics(lambda: standin.engine)
            standin.observers.append(self._metrics.observe)

    def response(self, request: Request) -> Response:
        """Return the response to a request whose path is in ``PATHS``; raise ``MethodNotAllowed``."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(request.method, request.path, ("GET", "HEAD"))
        if request.path == "/":
            return page()
        if request.path == "/healthz":
            return self._health()
        if self._metrics is None:
            return _text(501, f"Metrics need prometheus-client: {pip_line('metrics')}\n")
        return self._metrics.response(request.header("accept") or "")

    def _health(self) -> Response:
        """Return 200, or 503 where a database does not answer: what it says is for the server's own log."""
        try:
            self._standin.engine.vector_stores.list(limit=1)
        except DatabaseUnavailable:
            return _json(503, {"status": "unavailable", "message": "The database does not answer."})
        return _json(200, {"status": "ok"})


def _json(status: int, data: dict[str, str]) -> Response:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return Response(status, headers, encoding.compact(data).encode())


def _text(status: int, text: str) -> Response:
    return Response(status, (("content-type", "text/plain; charset=utf-8"),), text.encode())
