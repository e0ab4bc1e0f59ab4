"""Libraries that talk too much."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def quiet_libraries() -> None:
    """Keep the chatter of libraries out of a person's terminal; warnings of ours are logged."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    for name in ("pytorch_lightning", "lightning.pytorch", "mlflow", "alembic", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Only errors of one logger, for as long as the block lasts."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
