"""Conformal calibration: how far each quantile must lie from the median for its promise to hold.

Legend: N windows, H horizon steps, Q quantiles.
For each step of the horizon and each quantile, the distance from the median is stretched by one factor, read off
held-out origins (split conformal prediction, Vovk et al. 2005, with normalised scores), on the scale on which the
network works, so that a logarithmic forecast stays positive.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from forecaster.backtest import BacktestWindows
from forecaster.network import ForecastNetwork
from forecaster.windows import gather_context

_LEAST, _MOST = 0.25, 4.0
_PRIOR_TAIL = 20.0  # misses of one step's own that weigh as much as the pooled factor
_CHUNK = 1024


def calibration_factors(network: ForecastNetwork, windows: BacktestWindows) -> Tensor:
    """[H, Q] factors of the distances from the median; `network` itself must not be calibrated yet."""
    ratios = _ratios(network, windows)  # per quantile [N, H]
    factors = np.ones((windows.horizon, len(network.settings.quantiles)))
    for column, probability in enumerate(network.settings.quantiles):
        if column != network.median:
            factors[:, column] = _factors_of_quantile(ratios[..., column], max(probability, 1 - probability))
    return torch.tensor(factors, dtype=torch.float32)


def _factors_of_quantile(ratio: np.ndarray, level: float) -> np.ndarray:
    """[H] the `level` quantile of |truth − median| / |quantile − median| (signed), each step's own and the pooled one.

    A step with few misses says little of itself: its factor is drawn to the pooled one.
    """
    pooled = _clipped_quantile(ratio[~np.isnan(ratio)], level)
    factors = np.full(ratio.shape[1], pooled)
    for step in range(ratio.shape[1]):
        own = ratio[:, step][~np.isnan(ratio[:, step])]
        misses = len(own) * (1 - level)
        weight = misses / (misses + _PRIOR_TAIL)
        factors[step] = np.exp(weight * np.log(_clipped_quantile(own, level)) + (1 - weight) * np.log(pooled))
    return factors


def _clipped_quantile(ratio: np.ndarray, level: float) -> float:
    if not len(ratio):
        return 1.0
    exact = min(1.0, level * (1 + 1 / len(ratio)))  # the finite-sample correction of split conformal prediction
    return float(np.clip(np.quantile(ratio, exact), _LEAST, _MOST))


def _ratios(network: ForecastNetwork, windows: BacktestWindows) -> np.ndarray:
    """[N, H, Q] distance of the truth from the median over that of the quantile; NaN where unobserved."""
    parts = []
    flat = torch.as_tensor(windows.panel.values)
    with torch.inference_mode():
        for low in range(0, len(windows.series), _CHUNK):
            rows = slice(low, low + _CHUNK)
            context = gather_context(
                flat,
                torch.as_tensor(windows.begin[rows]),
                torch.as_tensor(windows.origin[rows]),
                network.settings.context,
            )
            transformed, logged = network.transform(*context)
            quantiles = network.transformed_quantiles(transformed, context.observed, logged)
            truth = torch.as_tensor(windows.truth[rows])
            # A truth of zero or less lies below every quantile of a logarithmic forecast.
            truth = torch.where(logged, torch.where(truth > 0, truth, 1e-30).log(), truth) + 0 * truth
            median = quantiles[:, :, network.median, None]
            distance = quantiles - median
            parts.append(((truth[:, :, None] - median) / torch.where(distance == 0, torch.nan, distance)).numpy())
    return np.concatenate(parts)
