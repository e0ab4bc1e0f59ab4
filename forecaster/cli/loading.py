"""From a model reference to a predictor, through the registry."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecaster.errors import Unavailable, first_line

if TYPE_CHECKING:
    from forecaster.store.mlflow_client import MlflowClient


@contextlib.contextmanager
def registry() -> Iterator[MlflowClient]:
    """A client of the registry; one that does not answer is told in one line."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with contextlib.redirect_stdout(sys.stderr):
        import logging

        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        from sqlalchemy.exc import SQLAlchemyError

        from forecaster.store.mlflow_client import MlflowException, tracking_client
        from forecaster.store.settings import StoreSettings

        settings = StoreSettings()
        try:
            yield tracking_client(settings, retries=1, timeout=5)
        except (MlflowException, SQLAlchemyError) as error:  # the latter where the address is that of a database
            where = settings.tracking_place
            raise Unavailable(f"the registry at {where} does not answer: {first_line(error)}") from error


@contextlib.contextmanager
def model_directory(reference: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The artifact that a reference names, and what is registered about it: name, version, run_id."""
    if os.sep in reference and Path(reference).is_dir():
        yield Path(reference), {"name": Path(reference).name, "version": None, "run_id": None}
        return
    from forecaster.store.registry import Reference, download, resolve

    parsed = Reference.parse(reference)
    with tempfile.TemporaryDirectory(prefix="forecaster-") as folder:
        with registry() as client:
            version = resolve(client, parsed)
            directory = download(version, Path(folder))
        yield directory, {"name": version.name, "version": int(version.version), "run_id": version.run_id}
