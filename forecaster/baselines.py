"""Forecasts that any model has to beat: naive and seasonal naive here, Theta from statsforecast.

Legend: N windows, H horizon steps. A window is a series (`begin`) and an origin in the flat array, as in `windows`.
"""

from __future__ import annotations

import numpy as np
import torch

from forecaster.frequency import IntArray
from forecaster.normalisation import fill
from forecaster.panel import FloatArray
from forecaster.theta import theta_forecasts
from forecaster.windows import gather_context

_CHUNK = 4096  # windows at once
_SEASONS = 3  # seasons that are searched for an observed step of the same phase
_LONGEST_THETA = 500  # steps that Theta is fitted on
_LONGEST_THETA_SEASON = 168


def seasonal_naive(values: FloatArray, begin: IntArray, origin: IntArray, horizon: int, season: int) -> FloatArray:
    """[N, H] the last observed value of the same phase within three seasons; where there is none, of any phase.

    With a season of 1 this is the naive method.
    """
    if len(begin) > _CHUNK:
        parts = [slice(low, low + _CHUNK) for low in range(0, len(begin), _CHUNK)]
        return np.concatenate([seasonal_naive(values, begin[part], origin[part], horizon, season) for part in parts])
    length = max(_SEASONS * season, 32)
    context = gather_context(torch.as_tensor(values), torch.as_tensor(begin), torch.as_tensor(origin), length)
    observed = context.observed
    last = fill(context.values, observed, 1)[:, -1:]
    seasonal = fill(context.values, observed, season)[:, -season:]
    known = fill(observed.float(), observed, season)[:, -season:] > 0
    pattern = torch.where(known, seasonal, last)
    return pattern.repeat(1, -(-horizon // season))[:, :horizon].numpy()


def theta(values: FloatArray, begin: IntArray, origin: IntArray, horizon: int, season: int) -> FloatArray:
    """[N, H] the optimised Theta method, a model per window; gaps are interpolated before.

    A history that is constant, or too short to have a season, is forecast by the seasonal naive method.
    """
    period = season if season <= _LONGEST_THETA_SEASON else 1
    longest = max(_LONGEST_THETA, 4 * period)
    histories = [_interpolated(values[max(b, o - longest) : o]) for b, o in zip(begin, origin, strict=True)]
    fit = np.array([len(history) >= 2 * period + 3 and np.ptp(history) > 0 for history in histories])
    forecasts = np.empty((len(begin), horizon), np.float32)
    if fit.any():
        forecasts[fit] = theta_forecasts([histories[row] for row in np.flatnonzero(fit)], horizon, period)
    forecasts[~fit] = seasonal_naive(values, begin[~fit], origin[~fit], horizon, season)
    return forecasts


def _interpolated(history: FloatArray) -> FloatArray:
    known = np.flatnonzero(~np.isnan(history))
    if len(known) == len(history) or not len(known):
        return np.asarray(history[: len(known)], np.float32)
    steps = np.arange(known[0], len(history))
    return np.interp(steps, known, history[known]).astype(np.float32)
