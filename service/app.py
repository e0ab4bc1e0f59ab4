"""The application: `create_app(settings)`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.errors import install_error_handlers
from service.limits import BodyLimit, body_limit
from service.metrics import MeasureRequests, Metrics
from service.openapi import describe
from service.routes import datasets, evaluation, explain, forecast, health, jobs, metrics_page, models
from service.security import require_key
from service.settings import ServiceSettings
from service.state import Parts, running_parts


def create_app(settings: ServiceSettings) -> FastAPI:
    """An application that holds nothing until its lifespan begins."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Parts]]:
        with running_parts(settings, metrics) as parts:
            yield {"parts": parts}

    app = FastAPIOffline(  # its pages come from here, not from a server on the internet
        title="Forecaster",
        summary="Probabilistic forecasts of time series",
        version=_version(),
        lifespan=lifespan,
        middleware=[
            Middleware(MeasureRequests, metrics=metrics),
            Middleware(BodyLimit, limit=body_limit(settings)),
            *_cross_origin(settings),
        ],
    )
    install_error_handlers(app)
    guards = [Depends(require_key(settings.api_keys))] if settings.api_keys else []
    for guarded in (forecast, explain, evaluation, models, datasets, jobs, metrics_page):
        app.include_router(guarded.router, dependencies=guards)
    app.include_router(health.router)
    describe(app)
    return app


def _cross_origin(settings: ServiceSettings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Location", "Retry-After", "X-Forecaster-Model", "X-Forecaster-Warnings"],
        )
    ]


def _version() -> str:
    try:
        return version("forecaster")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
