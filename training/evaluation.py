"""The backtest of a training run: the fresh model, calibrated without peeking, against the baselines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from forecaster.backtest import (
    SCORED_LEVELS,
    BacktestWindows,
    Scores,
    backtest_windows,
    forecast_windows,
    score_forecasts,
    score_points,
    target_metrics,
)
from forecaster.baselines import seasonal_naive, theta
from forecaster.errors import ForecasterError
from forecaster.network import ForecastNetwork
from forecaster.panel import FloatArray, Panel
from forecaster.predictor import Predictor
from training.calibration import calibration_factors, measure_dependence, young_stretches
from training.settings import TrainingSettings

logger = logging.getLogger(__name__)

_MOST_NUMBERS = 20_000_000  # of quantiles that are held at once
_FEWEST_WINDOWS = 200
_YOUNG_SERIES = 0.05  # share of the series that may be younger than the held-out windows
_MOST_WINDOWS = 10_000  # enough for any mean; keeps the memory of the quantiles bounded


@dataclass(frozen=True)
class Evaluation:
    """windows, and the calibrated quantiles [N, H, Q] and scores of the model on them

    baselines: name -> measures; those of `theta` are of a sample of as many `windows`, and so is its `model_mase`, the
    model's MASE on the same
    calibration: [T, H, Q] factors from all windows, by target; dependence: [K, K] of the steps, for sample paths
    young: [R] numbers of observed values and [R] how much they widen a forecast
    """

    windows: BacktestWindows
    quantiles: FloatArray
    scores: Scores
    baselines: dict[str, dict[str, float]]
    calibration: torch.Tensor
    dependence: torch.Tensor
    young: tuple[torch.Tensor, torch.Tensor]

    def calibrate(self, network: ForecastNetwork) -> None:
        """Give a network what was learnt from the held-out windows."""
        network.calibration.copy_(self.calibration)
        network.dependence.copy_(self.dependence)
        network.young_steps.copy_(self.young[0])
        network.young_stretch.copy_(self.young[1])

    @property
    def targets(self) -> dict[str, dict[str, float]]:
        """By target, where there are several: the measures of its windows."""
        return target_metrics(self.windows, self.scores)

    @property
    def coverage(self) -> dict[str, float]:
        """By level in per cent, as a name: the share of the held-out values within its interval."""
        return {f"{level:g}": self.scores.metrics[f"coverage-{level:g}"] for level in SCORED_LEVELS}

    @property
    def metrics(self) -> dict[str, float]:
        naive = self.baselines["seasonal_naive"]["mase"]
        return {**self.scores.metrics, "skill": 1 - self.scores.metrics["mase"] / naive if naive else 0.0}


def training_backtest(panel: Panel, settings: TrainingSettings) -> BacktestWindows:
    """The windows on which this run, its baselines and the present champion are compared.

    Where series were younger at an origin than nearly all are now, errors say little of what will be served.
    """
    plan = settings.backtest
    held = _MOST_NUMBERS // (settings.model.horizon * len(settings.model.quantiles))
    windows = backtest_windows(
        panel,
        horizon=settings.model.horizon,
        windows=plan.windows,
        step=plan.step,
        season=settings.model.season,
        context=settings.model.common_context,
        most=min(_MOST_WINDOWS, max(_FEWEST_WINDOWS, held)),
        seed=settings.fit.seed,
    )
    return windows.take(_grown(windows, settings.model.common_context))


def _grown(windows: BacktestWindows, context: int) -> np.ndarray:
    """Rows of the windows in which as much is observed as at the end of nearly all of their series.

    If that is more than most of the last windows have, since nearly all series are as young, or if such windows are
    few: rows of those in which most is observed.
    """
    panel, series = windows.panel, np.unique(windows.series)
    known, ends = windows.observed(context), panel.offsets[series + 1]
    now = panel.observed_between(np.maximum(panel.offsets[series], ends - context), ends)
    last = windows.origin == panel.offsets[windows.series + 1] - windows.horizon
    enough = [np.quantile(now, _YOUNG_SERIES), np.sort(known)[-min(_FEWEST_WINDOWS, len(known))]]
    if last.any():
        enough.append(np.median(known[last]))
    return np.flatnonzero(known >= min(enough))


def evaluate_training(predictor: Predictor, windows: BacktestWindows, settings: TrainingSettings) -> Evaluation:
    """Score a predictor whose network is not calibrated yet, beside the baselines."""
    quantiles, scores = score_training(predictor, windows)
    baselines = score_baselines(windows, settings)
    if "theta" in baselines:
        rows = _baseline_rows(windows, settings)
        baselines["theta"]["model_mase"] = float(np.nanmean(scores.by_window["mase"][rows]))
    factors = calibration_factors(predictor.network, windows)
    with _calibrated(predictor.network, factors):
        dependence = measure_dependence(predictor.network, windows)
        young = young_stretches(predictor.network, windows)
    return Evaluation(windows, quantiles, scores, baselines, factors, dependence, young)


def score_training(predictor: Predictor, windows: BacktestWindows) -> tuple[FloatArray, Scores]:
    """Calibrated quantiles [N, H, Q] and scores of a predictor whose network is not calibrated yet."""
    quantiles = cross_calibrated(predictor, windows)
    return quantiles, score_forecasts(predictor, windows, quantiles)


def score_baselines(windows: BacktestWindows, settings: TrainingSettings) -> dict[str, dict[str, float]]:
    """Measures of `naive` and `seasonal_naive`, and of `theta` on a sample of `windows` windows, if it can be had."""
    values, begin, origin, horizon = windows.panel.values, windows.begin, windows.origin, windows.horizon
    season = settings.model.season
    found = {
        "naive": score_points(windows, seasonal_naive(values, begin, origin, horizon, 1)).metrics,
        "seasonal_naive": score_points(windows, seasonal_naive(values, begin, origin, horizon, season)).metrics,
    }
    rows = _baseline_rows(windows, settings)
    if len(rows):
        part = windows.take(rows)
        try:
            statistical = score_points(part, theta(values, part.begin, part.origin, horizon, season)).metrics
            found["theta"] = {**statistical, "windows": float(len(rows))}
        except ForecasterError as error:  # a comparison less is no reason to lose the fits
            logger.warning("%s; the backtest goes without it", error)
    return found


def cross_calibrated(predictor: Predictor, windows: BacktestWindows) -> FloatArray:
    """[N, H, Q] quantiles of each half of the series, calibrated on the other half: no window judges itself.

    Of a single series, whatever its targets, those of its earlier and of its later origins, but for windows that share
    steps with those that they would judge; where none is left, as of a single origin, it is judged uncalibrated. The
    predictor's network must not be calibrated.
    """
    network = predictor.network
    quantiles = np.empty((len(windows.series), windows.horizon, len(predictor.info.quantiles)), np.float32)
    for judged, others in _judgements(windows):
        part, calibrating = windows.take(np.flatnonzero(judged)), windows.take(np.flatnonzero(others))
        factors = calibration_factors(network, calibrating) if others.any() else network.calibration.clone()
        with _calibrated(network, factors):
            quantiles[judged] = forecast_windows(predictor, part)
    return quantiles


def _judgements(windows: BacktestWindows) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows that are judged, and those that may calibrate them; each row is judged once."""
    half = np.unique(windows.panel.owners[windows.series], return_inverse=True)[1] % 2 == 0
    if not half.all():
        return [(half, ~half), (~half, half)]
    place = windows.origin - windows.begin
    early = place < np.median(place)
    late = place >= (place[early].max() + windows.horizon if early.any() else np.inf)
    judged = [rows for rows in (early, late, ~(early | late)) if rows.any()]
    return [(rows, _apart(place, np.unique(place[rows]), windows.horizon)) for rows in judged]


def _apart(place: np.ndarray, others: np.ndarray, horizon: int) -> np.ndarray:
    """Which origins have no step of their horizon in common with any of the others."""
    return np.asarray(np.abs(place[:, None] - others).min(1) >= horizon)


@contextmanager
def _calibrated(network: ForecastNetwork, factors: torch.Tensor) -> Iterator[None]:
    before = network.calibration.clone()
    network.calibration.copy_(factors)
    try:
        yield
    finally:
        network.calibration.copy_(before)


def _baseline_rows(windows: BacktestWindows, settings: TrainingSettings) -> np.ndarray:
    count, most = len(windows.series), settings.backtest.baseline_series
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(settings.fit.seed).choice(count, most, replace=False))
