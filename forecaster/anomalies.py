"""Points that lie where hardly any should: outside an interval that was forecast before they came.

Legend: N series, W windows of a series, P points that are judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.errors import InputError
from forecaster.forecast import check_finite, check_levels, interpolate, level_probabilities
from forecaster.frequency import IntArray
from forecaster.panel import FloatArray, Panel
from forecaster.predictor import Predictor

_SHORTEST_HISTORY = 2  # steps before the first point


@dataclass(frozen=True)
class Judged:
    """The last points of one series. timestamps, median, low, high, anomaly: [P]

    An unobserved point is none, and neither is one before which the context holds no value: its forecast is NaN.
    """

    index: int
    timestamps: npt.NDArray[np.generic]
    median: FloatArray
    low: FloatArray
    high: FloatArray
    anomaly: npt.NDArray[np.bool_]


def windows_of(panel: Panel, last: int, step: int) -> int:
    """How many forecasts `judge` makes."""
    return int((-(-_points(panel, last) // step)).sum())


def _points(panel: Panel, last: int) -> IntArray:
    """[N]"""
    return np.minimum(last, np.maximum(panel.lengths - _SHORTEST_HISTORY, 0))


def judge(predictor: Predictor, panel: Panel, *, level: float, last: int, step: int) -> list[Judged]:
    """Whether each of the `last` steps of every series lies within its central interval of `level` percent.

    step: steps that one forecast judges, from what came before them; at most the trained horizon
    Series with fewer than two steps before them are judged from the third on. Raises InputError.
    """
    check_levels([level], [])
    if not 1 <= step <= predictor.info.horizon:
        mend = f"give 1 to {predictor.info.horizon}, the steps that the model was trained for"
        raise InputError(f"{step} is out of range", field="step", mend=mend)
    panel.require_observations()
    points = _points(panel, last)
    windows = -(-points // step)
    series = np.repeat(np.arange(panel.n_series), windows)
    within = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    origin = (panel.offsets[1:] - points)[series] + within * step
    grid = predictor.quantiles_at(panel, series, origin, step)
    settings = predictor.info.settings
    known = panel.observed_between(np.maximum(panel.offsets[series], origin - settings.common_context), origin) > 0
    limits = interpolate(grid, settings.quantiles, level_probabilities(level), positive=settings.transform == "log")
    if settings.floor is not None:
        limits = np.maximum(limits, settings.floor)
    found = np.concatenate([grid[:, :, settings.quantiles.index(0.5), None], limits], axis=2)
    check_finite(panel, found[known], series[known])
    found[~known] = np.nan
    last_of_series = np.cumsum(windows)[:-1]
    return [
        _of_series(panel, index, int(points[index]), part) for index, part in enumerate(np.split(found, last_of_series))
    ]


def _of_series(panel: Panel, index: int, points: int, found: FloatArray) -> Judged:
    """found: [W, S, 3] median, low and high"""
    median, low, high = found.reshape(-1, 3)[:points].T
    truth = panel.series(index)[len(panel.series(index)) - points :]
    with np.errstate(invalid="ignore"):
        outside = (truth < low) | (truth > high)
    return Judged(index, panel.timestamps(index)[int(panel.lengths[index]) - points :], median, low, high, outside)
