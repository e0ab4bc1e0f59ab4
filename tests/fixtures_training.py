"""Real trainings on the bundled data, in a store of each test module's own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import mlflow
import pytest
from mlflow import MlflowClient

from forecaster.artifact import load_artifact
from forecaster.data import bundled
from forecaster.predictor import Predictor
from forecaster.store.registry import Reference, download, resolve
from forecaster.store.settings import StoreSettings
from tests.fixtures_service import is_ready, keep_copy, running, service_settings
from tests.waiting import wait_until
from training.request import TrainRequest, TrainResult


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSettings]:
    """MLflow and the job table in SQLite files of the module's own."""
    before = mlflow.get_tracking_uri()
    home = tmp_path_factory.mktemp("home")
    yield StoreSettings(
        home=home, tracking_uri=f"sqlite:///{home / 'mlflow.db'}", database_url=f"sqlite:///{home / 'j.db'}"
    )
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def tracking(settings: StoreSettings) -> MlflowClient:
    return MlflowClient(settings.tracking_uri)


@pytest.fixture(scope="module")
def trained(first: TrainResult, tracking: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The champion of the model that the module's own fixture `first` has trained."""
    champion = resolve(tracking, Reference.parse(first.model))
    return load_artifact(download(champion, tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def serving(trained: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that serves it from a local copy."""
    home = tmp_path_factory.mktemp("service")
    keep_copy(home, trained)
    with running(service_settings(home)) as client:
        wait_until(lambda: is_ready(client))
        yield client


def weather_request(quick: dict[str, object], name: str = "weather", **changes: object) -> TrainRequest:
    """A training on the bundled weather with the settings `quick`, and what else is asked for."""
    plain = {"data": str(bundled()), "name": name, "freq": "h", "horizon": 24, "preset": "fast", "changes": quick}
    return TrainRequest.model_validate({**plain, **changes})
