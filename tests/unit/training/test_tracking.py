"""What an error of the tracking server means for a run."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from forecaster.errors import TrainingError, Unavailable
from forecaster.store.settings import StoreSettings
from tests.fixtures_training import weather_request
from training.tracking import tracked_run

pytestmark = pytest.mark.filterwarnings("ignore")


def test_what_the_server_refuses_fails_the_run(settings: StoreSettings) -> None:
    with pytest.raises(TrainingError, match="refuses"), tracked_run(weather_request({}), settings) as run:
        run.tag("no\0name", "x" * 10**6)


def test_a_server_that_is_away_may_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    away = StoreSettings(home=tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="does not answer"), tracked_run(weather_request({}), away):
        pass
    mlflow.set_tracking_uri(before)
