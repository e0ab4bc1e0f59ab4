import numpy as np
import torch

from forecaster import metrics
from forecaster.backtest import backtest_windows, forecast_windows
from forecaster.panel import Panel
from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories
from tests.fixtures_models import make_panel, make_predictor
from training.calibration import calibration_factors

PLAN = {"horizon": 24, "windows": 1, "step": 1, "season": 24}


def noisy_panel(seed: int) -> Panel:
    generator = np.random.default_rng(seed)
    histories = 100 + generator.normal(scale=15, size=(400, 200))
    return panel_from_histories([str(i) for i in range(400)], [1] * 400, list(histories), "h")


def coverage(predictor: Predictor, seed: int, level: float) -> float:
    windows = backtest_windows(noisy_panel(seed), **PLAN)
    grid = forecast_windows(predictor, windows)
    known = predictor.info.quantiles
    low, high = known.index(round((1 - level) / 2, 3)), known.index(round((1 + level) / 2, 3))
    return metrics.mean(metrics.coverage(windows.truth, grid[..., low], grid[..., high]))


def test_intervals_hold_on_other_data_what_they_promise() -> None:
    predictor = make_predictor(trained=False)
    before = coverage(predictor, seed=2, level=0.95)
    factors = calibration_factors(predictor.network, backtest_windows(noisy_panel(1), **PLAN))
    predictor.network.calibration.copy_(factors)
    assert factors.shape == predictor.network.calibration.shape
    assert (factors[:, predictor.network.median] == 1).all()
    assert abs(before - 0.95) > 0.03  # there was something to mend
    assert abs(coverage(predictor, seed=2, level=0.95) - 0.95) < 0.015
    assert abs(coverage(predictor, seed=2, level=0.8) - 0.8) < 0.03


def test_few_windows_move_factors_little_and_never_out_of_bounds() -> None:
    predictor = make_predictor(trained=False)
    factors = calibration_factors(predictor.network, backtest_windows(make_panel(n=2), **PLAN))
    assert torch.isfinite(factors).all()
    assert factors.min() >= 1
    assert factors.max() <= 4
    assert np.ptp(factors.numpy(), axis=0).max() < 3
