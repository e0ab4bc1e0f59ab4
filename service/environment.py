"""The environment that libraries read: set before they are first used, and only in the process that serves."""

from __future__ import annotations

import os

_VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default waits four minutes for a server that is gone
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "OMP_NUM_THREADS": "1",  # one core for each thread of ours, none for the libraries' own
}


def prepare_environment() -> None:
    """Variables that are set already are left as they are."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
