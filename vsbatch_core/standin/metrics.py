"""Metrics of a stand-in in Prometheus' format; they need the extra ``metrics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Counter as Counted
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vsbatch_core.adapters.http import ENDPOINTS, Response
from vsbatch_core.engine import Engine
from vsbatch_core.standin.requests import Exchange

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
IDS = {"vector_stores": "{vector_store_id}", "files": "{file_id}", "file_batches": "{batch_id}"}
OTHER = "other"
"""What stands for a method or a path that is none of the API's, so that no client can add series without end."""


class Metrics:
    """Counts and latencies of the requests to one server process, and what its engine holds when it is asked."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        # A registry of its own: several stand-ins may run in one process.
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counted(
            "vsbatch_requests",
            "Requests, by the status of the response, 'none' where it was lost.",
            (*labels, "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "vsbatch_request_seconds", "Real time until the response was there.", labels, registry=self._registry
        )
        self._faults = Counted(
            "vsbatch_faults", "How often a fault acted on a request.", ("fault",), registry=self._registry
        )
        self._registry.register(_Held(engine))

    def observe(self, exchange: Exchange) -> None:
        """Count a request.  Any thread may call it."""
        method = exchange.method if exchange.method in METHODS else OTHER
        where = (method, route(exchange.path))
        self._requests.labels(*where, "none" if exchange.status is None else str(exchange.status)).inc()
        self._seconds.labels(*where).observe(exchange.milliseconds / 1000)
        for fault in exchange.faults:
            self._faults.labels(fault).inc()

    def response(self, accept: str = "") -> Response:
        """Return all of it, in the format that a scraper's ``Accept`` header asks for.  O(stores)."""
        encoder, content_type = choose_encoder(accept)
        return Response(200, (("content-type", content_type),), encoder(self._registry))


class _Held(Collector):
    """What an engine holds, looked at when it is asked for."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def describe(self) -> Iterator[Metric]:
        """Return nothing: what is registered is not collected until somebody asks."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the gauges."""
        engine = self._engine()
        stores: Counter[str] = Counter({"in_progress": 0, "completed": 0, "expired": 0})
        files: Counter[str] = Counter({"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0})
        with engine.view.hold():
            for vector_store_id in engine.view.vector_store_ids():
                store = engine.vector_stores.retrieve(vector_store_id)
                stores[store.status] += 1
                for status in files:
                    files[status] += getattr(store.file_counts, status)
            now = engine.clock.time()
        for name, what, counts in (
            ("vsbatch_vector_stores", "Vector stores, by status.", stores),
            ("vsbatch_vector_store_files", "Files that are attached to vector stores, by status.", files),
        ):
            gauge = GaugeMetricFamily(name, what, labels=("status",))
            for status, n in counts.items():
                gauge.add_metric((status,), n)
            yield gauge
        yield GaugeMetricFamily(
            "vsbatch_clock_seconds", "The time on the engine's clock, in seconds since the epoch.", now
        )


def route(path: str) -> str:
    """Return the path of the endpoint, with names for ids: ``/v1/vector_stores/{vector_store_id}/files``."""
    segments = path.strip("/").split("/")
    for prefix in ("openai", "v1"):
        if segments[0] == prefix and len(segments) > 1:
            del segments[0]
    names = tuple(segments[::2])
    if (len(segments), names) not in ENDPOINTS:
        return OTHER
    parts = [part for name in names for part in (name, IDS.get(name, ""))][: len(segments)]
    return "/v1/" + "/".join(parts)
