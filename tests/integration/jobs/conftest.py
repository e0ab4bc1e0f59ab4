"""The job store on real databases of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from forecaster.store.database import connect
from forecaster.store.jobs import JobStore
from forecaster.store.spec import JobSpec


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: sa.Engine) -> JobStore:
    return JobStore(engine, lease_seconds=60)


@pytest.fixture
def lost(engine: sa.Engine) -> JobStore:
    """The store of a worker that dies as soon as it has claimed a job: a lease of -1 s has already run out."""
    return JobStore(engine, lease_seconds=-1)


def spec(model: str = "m", **more: Any) -> JobSpec:
    return JobSpec.model_validate({"model": model, "dataset": "d", "freq": "h", "horizon": 24, **more})
