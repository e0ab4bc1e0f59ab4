"""What an application holds while it runs, handed to its routes as `request.state.parts`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from forecaster.store.database import connect
from forecaster.store.datasets import DatasetStore
from forecaster.store.jobs import JobStore
from service.cache import ModelCache
from service.engines import ForecastThreads, ServedModels
from service.follower import Follower
from service.metrics import Metrics
from service.registry import Registry, RegistryThreads
from service.resolver import OtherVersions, Resolver
from service.settings import ServiceSettings

_BODIES_IN_MEMORY = 8  # waiting requests may hold this many of the largest bodies


@dataclass(frozen=True)
class Parts:
    settings: ServiceSettings
    metrics: Metrics
    served: ServedModels
    others: OtherVersions
    follower: Follower
    resolver: Resolver
    threads: ForecastThreads
    explainers: ForecastThreads
    cache: ModelCache
    registry: Registry
    registry_threads: RegistryThreads
    jobs: JobStore
    datasets: DatasetStore


@contextmanager
def running_parts(settings: ServiceSettings, metrics: Metrics) -> Iterator[Parts]:
    """Everything made, started, and ended again."""
    engine = connect(settings.database_url)
    registry, registry_threads = Registry(settings.tracking_uri), RegistryThreads()
    cache, served = ModelCache(settings.models_dir), ServedModels()
    follower = Follower(registry, cache, served, settings.poll_seconds)
    others = OtherVersions(registry, cache, settings.max_models)
    threads = ForecastThreads(settings.threads, settings.queue_limit, settings.max_body_bytes * _BODIES_IN_MEMORY)
    explainers = ForecastThreads(1, settings.queue_limit, settings.max_body_bytes * _BODIES_IN_MEMORY)
    metrics.watch(served, follower, threads)
    follower.start()
    try:
        yield Parts(
            settings=settings,
            metrics=metrics,
            served=served,
            others=others,
            follower=follower,
            resolver=Resolver(served, follower, others, settings.default_model),
            threads=threads,
            explainers=explainers,
            cache=cache,
            registry=registry,
            registry_threads=registry_threads,
            jobs=JobStore(engine),
            datasets=DatasetStore.of(settings),
        )
    finally:
        follower.stop()
        for executor in (threads, explainers, others, registry_threads):
            executor.close()
        engine.dispose()


async def parts_of(request: Request) -> Parts:
    return cast(Parts, request.state.parts)


Needs = Annotated[Parts, Depends(parts_of)]
