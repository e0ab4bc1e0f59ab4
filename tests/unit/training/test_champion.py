"""A champion is judged as the new model is: by what its network tells, calibrated on the other half of the series."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from forecaster.artifact import load_artifact, save_artifact
from forecaster.backtest import backtest_windows, evaluate
from forecaster.errors import ArtifactError
from forecaster.predictor import Predictor
from tests.fixtures_models import make_panel, make_predictor
from training import champion
from training.champion import score_artifact


def test_what_a_champion_was_calibrated_to_does_not_count(tmp_path: Path) -> None:
    windows = backtest_windows(make_panel(n=6), horizon=24, windows=1, step=1, season=24)
    scores = []
    for factor in (1.0, 3.0):
        predictor = make_predictor(trained=False)
        predictor.network.calibration.fill_(factor)
        before = predictor.info.model_copy(update={"data": {"last_ordinal": -1}})
        folder = tmp_path / str(factor)
        save_artifact(folder, Predictor(predictor.network, before))
        assert load_artifact(folder).graph is not None  # few windows are forecast by it, in which the factors are fixed
        scores.append(score_artifact(folder, windows, predictor.info.quantiles)[0])
    assert scores[0] == scores[1]


def test_models_of_other_levels_are_compared_at_the_same(tmp_path: Path) -> None:
    windows = backtest_windows(make_panel(n=6), horizon=24, windows=1, step=1, season=24)
    wanted = make_predictor().info.quantiles
    scores = []
    for number, levels in enumerate([(0.005, 0.5, 0.995), (0.005, 0.1, 0.5, 0.9, 0.995)]):
        predictor = make_predictor(trained=False, quantiles=levels, network={"head": "normal"})
        info = predictor.info.model_copy(update={"data": {"last_ordinal": -1}})
        save_artifact(tmp_path / str(number), Predictor(predictor.network, info))
        found, _ = score_artifact(tmp_path / str(number), windows, wanted)
        scores.append(found["sql"])
        assert evaluate(predictor, windows).metrics["sql"] != pytest.approx(scores[0], rel=0.02)
    assert scores[0] == pytest.approx(scores[1], rel=0.02)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("code", "told"), [("RESOURCE_DOES_NOT_EXIST", ArtifactError), (None, MlflowException)])
def test_files_that_the_server_has_no_more_are_not_waited_for(
    code: str | None, told: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error without a code is the server's own, and may pass."""

    def fail(*_: object) -> Path:
        number = databricks_pb2.ErrorCode.Value(code or "INTERNAL_ERROR")
        raise MlflowException("Logged model with ID m-1 is not found.", number)

    monkeypatch.setattr(champion, "download", fail)
    with pytest.raises(told, match="Logged model"):
        champion._fetched(ModelVersion("m", "1", 0), tmp_path)
