"""Shared by all tests: shapes are checked at run time, and one thread per process as in production."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Children's output is buffered, as it is on most machines.
os.environ.pop("PYTHONUNBUFFERED", None)

from jaxtyping import install_import_hook

# Before anything imports them: every annotated tensor shape in these modules is then a run-time check.
install_import_hook(
    [
        "forecaster.heads",
        "forecaster.network",
        "forecaster.normalisation",
        "forecaster.segment_network",
        "forecaster.transforms",
        "forecaster.windows",
    ],
    "beartype.beartype",
)

pytest_plugins = [
    "tests.fixtures_postgres",
    "tests.fixtures_models",
    "tests.fixtures_mlflow",
    "tests.fixtures_service",
    "tests.fixtures_training",
]
