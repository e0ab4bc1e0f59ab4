"""Settings of the API process."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from forecaster.store.settings import StoreSettings


def _cores() -> int:
    """Cores this process may use, at most 4: beyond that the one thread that speaks HTTP is what is short."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, usable))


def _comma_separated(given: Any) -> Any:
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


def _keys(given: Any) -> Any:
    found = _comma_separated(given)
    if given and not found:  # commas alone, of variables that are not set: to serve everyone would be a surprise
        raise ValueError("it holds no key; leave it empty to let everyone call")
    return found


class ServiceSettings(StoreSettings):
    """Each field is read from the environment variable FORECASTER_<NAME>, or from `.env`."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all (a container)."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on."""

    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    """Port of the MLflow server that `forecaster up` starts."""

    default_model: str | None = None
    """The model of requests that name none; otherwise the one that was loaded last."""

    poll_seconds: float = Field(default=1.0, gt=0)
    """How often the registry is asked which versions are the champions."""

    max_body_bytes: int = Field(default=32 << 20, ge=1)
    """Largest body of a request with series: a forecast, an explanation, a backtest, a look for anomalies."""

    threads: int = Field(default_factory=_cores, ge=1)
    """Forecasts that are computed at the same time, one core each."""

    queue_limit: int = Field(default=4096, ge=1)
    """Forecasts that may wait or run; beyond it requests are answered 503. About 10 s of work for one core."""

    max_forecast_points: int = Field(default=1_000_000, ge=1)
    """Series times horizon of one request, where each step beyond the trained horizon counts 32-fold, as it is computed
    for as many paths, and all count once more for each ten bounds of levels and quantiles; bounds its memory, at some
    100 bytes each, and its time."""

    max_models: int = Field(default=4, ge=1)
    """Versions besides the champions that are kept loaded once they were asked for."""

    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = ()
    """Web pages, by origin, that may call the API from a browser; separated by commas."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_keys)] = Field(default=(), repr=False)
    """Keys that callers must present, separated by commas; none: everyone may call."""

    stop_seconds: int = Field(default=5, ge=0)
    """How long requests in flight may take when the process is told to stop."""
