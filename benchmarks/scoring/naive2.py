"""Naive2, the unit of M4's OWA (Makridakis et al. 2020): naive on the seasonally adjusted series.

Follows the competition's published code: a 90 % autocorrelation test decides on seasonality, and a classical
multiplicative decomposition adjusts for it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_LIMIT = 1.645  # normal deviate of the 90 % test


def naive2(history: Array, horizon: int, season: int) -> Array:
    """[horizon] forecast of one series without gaps."""
    if not is_seasonal(history, season):
        return np.full(horizon, history[-1])
    index = seasonal_indices(history, season)
    steps = len(history) + np.arange(horizon)
    forecast: Array = history[-1] / index[(len(history) - 1) % season] * index[steps % season]
    return forecast


def is_seasonal(history: Array, season: int) -> bool:
    """Whether the autocorrelation at the season exceeds its limit, given those at shorter lags (Bartlett)."""
    if season <= 1 or len(history) < 3 * season:
        return False
    deviation = history - history.mean()
    power = deviation @ deviation
    if power == 0:
        return False
    correlation = np.array([deviation[lag:] @ deviation[:-lag] for lag in range(1, season + 1)]) / power
    limit = _LIMIT * np.sqrt((1 + 2 * (correlation[:-1] ** 2).sum()) / len(history))
    return bool(abs(correlation[-1]) > limit)


def seasonal_indices(history: Array, season: int) -> Array:
    """[season] mean ratios to the centred moving average, scaled to a mean of 1; the first is that of step 0."""
    weights = np.ones(season) if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5]
    half = len(weights) // 2
    trend = np.full(len(history), np.nan)
    trend[half : len(history) - half] = np.convolve(history, weights / season, mode="valid")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = history / trend
    index = np.array([np.nanmean(ratio[phase::season]) for phase in range(season)])
    scaled: Array = index / index.mean()
    return scaled
