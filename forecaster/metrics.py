"""Measures of point and probabilistic forecasts.

Legend: N forecasts (a series at an origin), H horizon steps, Q quantiles. Unobserved truths (NaN) count nowhere;
a forecast without any observed truth has NaN for its score and drops out of means.
Point measures and MSIS as in the M4 competition (Makridakis et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.frequency import IntArray
from forecaster.mapped import groups
from forecaster.panel import FloatArray, Panel

Array = npt.NDArray[Any]
_GROUP = 1 << 18  # values of neighbouring series that are looked at at once


def seasonal_errors(panel: Panel, season: int, held_out: int = 0) -> FloatArray:
    """[N] mean absolute error of the seasonal naive method within each series: the denominator of MASE.

    The last `held_out` steps do not count. A series too short for the season is scaled by its one-step changes;
    one without two observed values at that distance has NaN, a constant one has 0.
    """
    begin, end = panel.offsets[:-1], np.maximum(panel.offsets[1:] - held_out, panel.offsets[:-1])
    seasonal = _mean_change(panel.values, begin, end, season)
    if season == 1:
        return seasonal
    return np.where(np.isnan(seasonal), _mean_change(panel.values, begin, end, 1), seasonal)


def _mean_change(values: FloatArray, begin: IntArray, end: IntArray, lag: int) -> FloatArray:
    """[N] mean of |y[t] - y[t - lag]| over the pairs observed within each series."""
    if len(values) <= lag:
        return np.full(len(begin), np.nan, np.float32)
    total = np.empty(len(begin))
    count = np.empty(len(begin))
    for chunk in groups(np.append(begin, end[-1:]), _GROUP):  # bounded temporaries, whatever the panel's size
        low, high = begin[chunk.start], max(end[chunk.start : chunk.stop].max(), begin[chunk.start])
        part = values[low:high].astype(np.float64)  # in which no difference overflows
        change = np.abs(part[lag:] - part[:-lag])
        known = ~np.isnan(change)
        first = np.minimum(begin[chunk] - low, len(change))
        last = np.clip(end[chunk] - low - lag, first, len(change))
        total[chunk] = _sums_between(np.where(known, change, 0.0), first, last)
        count[chunk] = _sums_between(known.astype(np.float64), first, last)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.minimum(total / count, np.finfo(np.float32).max)
        return np.where(count > 0, mean, np.nan).astype(np.float32)


def _sums_between(x: Array, first: IntArray, last: IntArray) -> Array:
    """[N] of x[first:last]; ranges in ascending order that do not overlap, none of which takes in another's numbers."""
    bounds = np.column_stack([first, last]).ravel()
    return np.where(last > first, np.add.reduceat(np.append(x, 0.0), bounds)[::2], 0.0)


def smape(truth: Array, forecast: Array) -> Array:
    """[N] symmetric mean absolute percentage error, 200·|y−f|/(|y|+|f|); 0/0 counts as 0."""
    size = np.abs(truth) + np.abs(forecast)
    error = 200 * np.abs(truth - forecast)
    return _row_mean(np.divide(error, size, out=np.where(np.isnan(size), np.nan, 0.0), where=size > 0))


def mase(truth: Array, forecast: Array, scale: Array) -> Array:
    """[N] mean absolute error over `scale` [N], the in-sample error of the seasonal naive method."""
    return _scaled(_row_mean(np.abs(truth - forecast)), scale)


def pinball(truth: Array, quantile: Array, level: float) -> Array:
    """[N, H] pinball loss of one quantile."""
    error = truth - quantile
    return np.maximum(level * error, (level - 1) * error)


def scaled_quantile_loss(truth: Array, quantiles: Array, levels: Sequence[float], scale: Array) -> Array:
    """[N] twice the pinball loss, mean over `levels` (last axis of `quantiles` [N, H, Q]), over `scale`."""
    total = np.zeros(truth.shape)
    for column, level in enumerate(levels):
        total += pinball(truth, quantiles[:, :, column], level)
    return _scaled(_row_mean(2 * total / len(levels)), scale)


def msis(truth: Array, lower: Array, upper: Array, scale: Array, level: float = 95) -> Array:
    """[N] mean scaled interval score of the central `level` % interval."""
    penalty = 2 / (1 - level / 100)
    below, above = np.maximum(lower - truth, 0), np.maximum(truth - upper, 0)
    return _scaled(_row_mean((upper - lower) + penalty * (below + above)), scale)


def coverage(truth: Array, lower: Array, upper: Array) -> Array:
    """[N] share of observed truths within the interval."""
    inside = ((truth >= lower) & (truth <= upper)).astype(float)
    return _row_mean(np.where(np.isnan(truth), np.nan, inside))


def owa(smape_model: float, mase_model: float, smape_naive2: float, mase_naive2: float) -> float:
    """M4's overall weighted average: the mean of sMAPE and MASE relative to those of Naive2."""
    return 0.5 * (smape_model / smape_naive2 + mase_model / mase_naive2)


def mean(scores: Array) -> float:
    """Mean over the forecasts that have a score; NaN when none has."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else float("nan")


def _row_mean(table: Array) -> Array:
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan))


def _scaled(errors: Array, scale: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, errors / scale, np.nan)
