"""Rolling-origin evaluation: the past as the model would have seen it, against what came.

Legend: N windows (a series at an origin), H horizon steps, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from forecaster import metrics
from forecaster.errors import ArtifactError, InputError
from forecaster.forecast import interpolate
from forecaster.frequency import IntArray
from forecaster.panel import FloatArray, Panel
from forecaster.predictor import ModelInfo, Predictor
from forecaster.windows import gather_target

_SHORTEST_HISTORY = 2
_RECENT = 32  # steps of which one at least is observed
SCORED_LEVELS = (80.0, 95.0)


@dataclass(frozen=True)
class BacktestWindows:
    """Windows of a panel, with what came after each origin.

    series: [N] index into the panel; begin, origin: [N] in its flat array; truth: [N, H], NaN = unobserved
    error_scale: [N] in-sample error of the seasonal naive method before the first origin (the unit of MASE)
    """

    panel: Panel
    series: IntArray
    begin: IntArray
    origin: IntArray
    truth: FloatArray
    error_scale: FloatArray

    @property
    def horizon(self) -> int:
        return int(self.truth.shape[1])

    def observed(self, context: int) -> IntArray:
        """[N] how many of the last `context` values before each origin are observed."""
        return self.panel.observed_between(np.maximum(self.begin, self.origin - context), self.origin)

    def take(self, rows: np.ndarray) -> BacktestWindows:
        return BacktestWindows(
            self.panel,
            self.series[rows],
            self.begin[rows],
            self.origin[rows],
            self.truth[rows],
            self.error_scale[rows],
        )


def held_out_steps(windows: int, step: int, horizon: int) -> int:
    """Steps at the end of each series that a model must not have seen before this backtest."""
    return horizon + (windows - 1) * step


def backtest_windows(
    panel: Panel,
    *,
    horizon: int,
    windows: int,
    step: int,
    season: int,
    context: int = _RECENT,
    most: int | None = None,
    seed: int = 0,
) -> BacktestWindows:
    """The windows of `windows` origins, `step` apart, the last one `horizon` steps before the end.

    Series too short, constant or without an observed truth are left out, and so are windows of which nothing recent is
    observed, or nothing that a model of such a `context` sees; of more than `most`, as many are drawn at random.
    Raises InputError when none is left.
    """
    scale = metrics.seasonal_errors(panel, season, held_out_steps(windows, step, horizon))
    ends = panel.offsets[1:]
    series = np.tile(np.arange(panel.n_series), windows)
    origin = np.concatenate([ends - horizon - i * step for i in reversed(range(windows))])
    begin = panel.offsets[:-1][series]
    usable = (origin - begin >= _SHORTEST_HISTORY) & (scale[series] > 0)
    rows = np.flatnonzero(usable)
    if most is not None and len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    series, begin, origin = series[rows], begin[rows], origin[rows]
    values = torch.as_tensor(panel.values)
    target = gather_target(values, torch.as_tensor(ends[series]), torch.as_tensor(origin), horizon)
    truth = np.where(target.observed.numpy(), target.values.numpy(), np.nan).astype(np.float32)
    found = BacktestWindows(panel, series, begin, origin, truth, scale[series])
    seen = found.observed(min(_RECENT, context)) > 0
    found = found.take(np.flatnonzero(seen & ~np.isnan(truth).all(1)))
    if not len(found.series):
        raise _no_window(panel, held_out_steps(windows, step, horizon) + _SHORTEST_HISTORY, windows)
    return found


def _no_window(panel: Panel, needed: int, windows: int) -> InputError:
    """Why there is none. needed: steps of a series that has one"""
    longest = int(panel.lengths.max()) if panel.n_series else 0
    if longest >= needed:
        name = panel.label(int(panel.lengths.argmax()))
        problem = f"before its end each series is constant, repeats itself exactly, or is not observed ({name!r} too)"
        return InputError(problem, field="y", mend="give series that vary")
    origins = f" of {windows} windows" if windows > 1 else ""
    fewer = " or fewer windows" if windows > 1 else ""
    return InputError(
        f"no series is long enough for a backtest{origins} (the longest has {longest} steps)",
        field="y",
        mend=f"give series of at least {needed} varying observed steps, or ask for a shorter horizon{fewer}",
    )


@dataclass(frozen=True)
class Scores:
    """Measures of a set of windows; `by_step` [H] is the mean scaled absolute error of each step."""

    metrics: dict[str, float]
    by_step: FloatArray
    by_window: dict[str, np.ndarray]


def score_quantiles(
    windows: BacktestWindows, grid: FloatArray, probabilities: Sequence[float], *, positive: bool
) -> Scores:
    """Measures of quantile forecasts [N, H, Q]: `mase, smape, sql, msis-95, coverage-80, coverage-95`."""
    if not np.isfinite(grid).all():
        raise ArtifactError("some of its forecasts are no finite numbers")
    truth, scale = windows.truth, windows.error_scale
    median = grid[:, :, list(probabilities).index(0.5)]
    scores = _point_scores(windows, median)
    scores["sql"] = metrics.scaled_quantile_loss(truth, grid, probabilities, scale)
    for level in SCORED_LEVELS:
        tails = ((100 - level) / 200, (100 + level) / 200)
        limits = interpolate(grid, probabilities, tails, positive=positive)
        scores[f"coverage-{level:g}"] = metrics.coverage(truth, limits[..., 0], limits[..., 1])
    scores["msis-95"] = metrics.msis(truth, limits[..., 0], limits[..., 1], scale)
    return _scores(windows, median, scores)


def score_points(windows: BacktestWindows, forecast: FloatArray) -> Scores:
    """Measures of point forecasts [N, H]: `mase, smape`."""
    return _scores(windows, forecast, _point_scores(windows, forecast))


def target_metrics(windows: BacktestWindows, scores: Scores) -> dict[str, dict[str, float]]:
    """By target, where there are several: the measures of its windows."""
    if windows.panel.targets is None:
        return {}
    own = windows.panel.targets[windows.series]
    return {
        str(target): {name: metrics.mean(values[own == target]) for name, values in scores.by_window.items()}
        for target in dict.fromkeys(own.tolist())
    }


def _point_scores(windows: BacktestWindows, forecast: FloatArray) -> dict[str, np.ndarray]:
    return {
        "mase": metrics.mase(windows.truth, forecast, windows.error_scale),
        "smape": metrics.smape(windows.truth, forecast),
    }


def _scores(windows: BacktestWindows, forecast: FloatArray, by_window: dict[str, np.ndarray]) -> Scores:
    error = np.abs(windows.truth - forecast) / windows.error_scale[:, None]
    known = ~np.isnan(error)
    with np.errstate(invalid="ignore"):
        by_step = np.where(known, error, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
    return Scores({name: metrics.mean(scores) for name, scores in by_window.items()}, by_step, by_window)


def forecast_windows(predictor: Predictor, windows: BacktestWindows) -> FloatArray:
    """[N, H, Q] what the predictor would have forecast at each origin."""
    return predictor.quantiles_at(windows.panel, windows.series, windows.origin, windows.horizon)


def evaluate(predictor: Predictor, windows: BacktestWindows, levels: Sequence[float] | None = None) -> Scores:
    """Scores of a predictor on the windows. levels: probabilities whose quantiles are scored; its own if None"""
    return score_forecasts(predictor, windows, forecast_windows(predictor, windows), levels)


def score_forecasts(
    predictor: Predictor, windows: BacktestWindows, grid: FloatArray, levels: Sequence[float] | None = None
) -> Scores:
    """Scores of [N, H, Q] quantiles at the predictor's own levels, at others where they are to be compared."""
    own, positive = predictor.info.quantiles, predictor.info.settings.transform == "log"
    if levels is None or tuple(levels) == own:
        return score_quantiles(windows, grid, own, positive=positive)
    grid = interpolate(grid, own, levels, positive=positive)
    return score_quantiles(windows, grid, levels, positive=positive)


def has_seen(info: ModelInfo, windows: BacktestWindows, held_out: int = 0) -> bool:
    """Whether a model was trained on steps that these windows forecast; the `held_out` last ones of each series do not
    count. What is not known of its data is taken for the worst."""
    panel, last_seen = windows.panel, info.data.get("last_ordinal")
    if last_seen is None or _counted_otherwise(info, panel):
        return True
    first = panel.start[windows.series] + windows.origin - windows.begin
    # A series that had ended before others reached no farther then than now, unless this is an older cut of the data.
    ended = panel.ends[windows.series] if panel.ends.max() >= last_seen else last_seen
    return bool((first + held_out <= np.minimum(last_seen, ended)).any())


def has_seen_some(info: ModelInfo, panel: Panel, last: int) -> bool:
    """Whether a model was trained on some of the `last` points of each series."""
    last_seen = info.data.get("last_ordinal")
    return last_seen is None or _counted_otherwise(info, panel) or int((panel.ends - last + 1).min()) <= last_seen


def _counted_otherwise(info: ModelInfo, panel: Panel) -> bool:
    """Whole steps and timestamps have no clock in common, by which one could be told to be later."""
    return bool(info.data.get("integer", panel.integer) != panel.integer)
