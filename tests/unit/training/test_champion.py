"""A champion is judged as the new model is: by what its network tells, calibrated on the other half of the series."""

from __future__ import annotations

from pathlib import Path

from forecaster.artifact import load_artifact, save_artifact
from forecaster.backtest import backtest_windows
from forecaster.predictor import Predictor
from tests.fixtures_models import make_panel, make_predictor
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
        scores.append(score_artifact(folder, windows)[0])
    assert scores[0] == scores[1]
