"""What Prometheus scrapes. Each application has a registry of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from service.engines import ForecastThreads, ServedModels
    from service.follower import Follower

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # resident memory, CPU seconds, open files
        self.requests = Counter(
            "forecaster_http_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "forecaster_http_request_seconds",
            "Seconds from a request's arrival to the end of its answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.forecasts = Counter(
            "forecaster_forecasts", "Series that were forecast", ["model", "version"], registry=self.registry
        )

    def watch(self, served: ServedModels, follower: Follower, threads: ForecastThreads) -> None:
        self.registry.register(_State(served, follower, threads))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class MeasureRequests:
    """Counts and times every request by the template of its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path_format", "none")  # never the path: anyone can make those up
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.latency.labels(method, route).observe(time.perf_counter() - began)


class _State(Collector):
    """What is so at the moment of the scrape."""

    def __init__(self, served: ServedModels, follower: Follower, threads: ForecastThreads) -> None:
        self._served, self._follower, self._threads = served, follower, threads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        view = self._follower.view
        yield GaugeMetricFamily(
            "forecaster_queue_length", "Forecasts that wait or are computed", value=self._threads.waiting
        )
        yield GaugeMetricFamily(
            "forecaster_registry_reachable", "1 if the last look at the registry succeeded", value=bool(view.reachable)
        )
        served = GaugeMetricFamily(
            "forecaster_served_model_info", "Versions that are served", labels=["model", "version", "run_id"]
        )
        for model in self._served.by_name.values():
            version = model.version
            served.add_metric([version.name, str(version.version), version.run_id or ""], 1)
        yield served
        refused = GaugeMetricFamily(
            "forecaster_refused_model_info", "Champions that could not be loaded", labels=["model", "version"]
        )
        for name, refusal in view.refusals.items():
            refused.add_metric([name, str(refusal.version)], 1)
        yield refused
