"""MLflow's client, loaded without what it would load for nothing.

Where polars and scipy are installed MLflow loads them for data sets and examples of these kinds, of which there are
none here: some 45 MB in the API process, and a second of its start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from forecaster.store.settings import StoreSettings


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """As if these modules were not installed, unless they are loaded already."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: importing it raises ImportError
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


with _without("polars", "scipy"):
    import mlflow
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException

__all__ = ["MlflowClient", "MlflowException", "ModelVersion", "Run", "download_artifacts", "tracking_client"]


def tracking_client(settings: StoreSettings, *, retries: int, timeout: int) -> MlflowClient:
    """A client of the server or the embedded database, where MLflow's own functions now look too.

    retries, timeout: how often, and for how many seconds, a server that does not answer is asked, unless MLflow's own
    variables say otherwise
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout))
    if settings.tracking_uri.startswith("sqlite:///"):
        settings.home.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(settings.tracking_uri)
    return MlflowClient(settings.tracking_uri)
