"""Conformal calibration: how far each quantile must lie from the median for its promise to hold.

Legend: N windows, T targets, H horizon steps, Q quantiles.
For each target, step of the horizon and quantile, the distance from the median is stretched by one factor, read off
held-out origins (split conformal prediction, Vovk et al. 2005, with normalised scores), on the scale on which the
network works, so that a logarithmic forecast stays positive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from forecaster.backtest import BacktestWindows
from forecaster.covariate_windows import PanelWindows
from forecaster.network import YOUNG_RUNGS, ForecastNetwork
from forecaster.panel import Panel
from forecaster.paths import knot_of_step
from forecaster.transforms import transform, transform_truth
from forecaster.windows import Context

_LEAST, _MOST = 1.0, 4.0  # a calm stretch at the end of the data is no reason to promise less uncertainty
_ENOUGH_WINDOWS = 200  # below, the factors are drawn to 1 and alike on both sides: few windows see the same days
_FEW_VALUES, _BELIEVED = 10_000, 0.75  # of which networks are surer than they may be: factors are believed so far
_DIGITS = 9  # of a probability that tell it from others
_PRIOR_TAIL = 20.0  # misses of one step's own that weigh as much as the pooled factor
_USUALLY_OBSERVED = 0.05  # share of the windows that may have fewer values than are taken for usual
_YOUNG_WINDOWS, _YOUNG_LIMITS, _MOST_YOUNG = 400, (0.1, 0.9), 100.0
_FARTHEST = 1e6  # ratio that counts as such: next to an infinite one no quantile is a number
_HIGHEST = 0.999  # correlation of neighbours
_JITTER = 1e-4
_CHUNK = 1024


def calibration_factors(network: ForecastNetwork, windows: BacktestWindows) -> Tensor:
    """[T, H, Q] factors of the distances from the median; `network` itself must not be calibrated yet.

    A target without a window of its own has those of all windows.
    """
    ratios = _ratios(network, windows)
    targets = network.settings.covariates.targets
    if len(targets) < 2:
        return torch.tensor(_factors(network, ratios, windows.panel)[None], dtype=torch.float32)
    assert windows.panel.targets is not None
    own = windows.panel.targets[windows.series]
    of_targets = [ratios[own == target] if (own == target).any() else ratios for target in targets]
    factors = [_factors(network, part, windows.panel) for part in of_targets]
    return torch.tensor(np.stack(factors), dtype=torch.float32)


def _factors(network: ForecastNetwork, ratios: np.ndarray, panel: Panel) -> np.ndarray:
    """[H, Q] from the [N, H, Q] ratios of some windows of a panel.

    On which side of the median the truth lay more often, few windows have in common: it would move the mean.
    """
    factors = np.ones(ratios.shape[1:])
    for column, probability in enumerate(network.settings.quantiles):
        if column != network.median:
            factors[:, column] = _factors_of_quantile(ratios[..., column], max(probability, 1 - probability))
    if len(ratios) >= _ENOUGH_WINDOWS:
        return factors
    alike = np.sqrt(factors * factors[:, _mirrored(network.settings.quantiles)])
    values = max(1, int(panel.observed_counts().sum()))
    share = max(len(ratios) / _ENOUGH_WINDOWS, _BELIEVED * min(1.0, _FEW_VALUES / values))
    believed: np.ndarray = alike**share
    return believed


def _mirrored(quantiles: Sequence[float]) -> list[int]:
    """[Q] column of each quantile's counterpart on the other side of the median; its own where there is none."""
    column = {round(probability, _DIGITS): number for number, probability in enumerate(quantiles)}
    return [column.get(round(1 - probability, _DIGITS), number) for number, probability in enumerate(quantiles)]


def measure_dependence(network: ForecastNetwork, windows: BacktestWindows) -> Tensor:
    """[K, K] Cholesky factor of the correlation between the knots of the horizon, from a calibrated network.

    The correlation of the truths' normal scores is drawn to that of a first-order autoregression with the measured
    correlation of neighbours, the more the fewer windows there are: it stays positive definite.
    """
    knots = len(network.dependence)
    scores = _knot_scores(network, windows, knots)  # [N, K], 0 where unobserved
    measured = _correlation(scores)
    steps = np.arange(knots)
    neighbour = float(np.clip(np.diag(measured, 1).mean(), 0, _HIGHEST)) if knots > 1 else 0.0
    prior = neighbour ** np.abs(steps[:, None] - steps)
    weight = len(scores) / (len(scores) + knots)
    mixed = weight * measured + (1 - weight) * prior
    return torch.tensor(np.linalg.cholesky(mixed + _JITTER * np.eye(knots)) / np.sqrt(1 + _JITTER), dtype=torch.float32)


def _correlation(scores: np.ndarray) -> np.ndarray:
    """Of columns about zero; one that never varies is correlated with nothing."""
    product = scores.T @ scores
    size = np.sqrt(np.diag(product))
    found = np.asarray(product / np.where(size > 0, size, 1) / np.where(size > 0, size, 1)[:, None])
    np.fill_diagonal(found, 1.0)
    return found


def _knot_scores(network: ForecastNetwork, windows: BacktestWindows, knots: int) -> np.ndarray:
    """[N, K] normal score of the truth within its own forecast at the first step of each knot."""
    first = np.searchsorted(knot_of_step(windows.horizon, knots).numpy(), np.arange(knots))
    parts = []
    for truth, quantiles in _each_chunk(network, windows, calibrated=True):
        grid = quantiles[:, first]
        parts.append(normal_scores(truth[:, first].numpy(), grid.numpy(), network.settings.quantiles))
    return np.concatenate(parts)


def normal_scores(truth: np.ndarray, grid: np.ndarray, probabilities: Sequence[float]) -> np.ndarray:
    """[N, K] truths as normal deviates within their [N, K, Q] quantiles, about zero; 0 where unobserved.

    Linear between two quantiles. A truth that some quantiles are equal to, as a count of 0 may be to most of them, has
    the middle of the probability that lies on it: by its lowest alone, steps that are 0 on their own would look alike.
    """
    deviates = ndtri(np.array(probabilities))
    below, up_to = (grid < truth[..., None]).sum(-1), (grid <= truth[..., None]).sum(-1)
    right = np.clip(below, 1, len(deviates) - 1)
    low = np.take_along_axis(grid, right[..., None] - 1, -1)[..., 0]
    high = np.take_along_axis(grid, right[..., None], -1)[..., 0]
    share = np.clip((truth - low) / np.maximum(high - low, 1e-30), 0, 1)
    between = deviates[right - 1] + share * (deviates[right] - deviates[right - 1])
    ends = np.concatenate([[0.0], probabilities, [1.0]])
    edges = (ends[1:] + ends[:-1]) / 2  # [Q + 1] how probable it is to lie below so many of the quantiles
    middle = ndtri((edges[below] + edges[up_to]) / 2)
    return np.nan_to_num(np.where(up_to > below, middle, between))


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
    for truth, quantiles in _each_chunk(network, windows):
        median = quantiles[:, :, network.median, None]
        distance = quantiles - median
        ratio = (truth[:, :, None] - median) / torch.where(distance == 0, torch.nan, distance)
        parts.append(ratio.clamp(-_FARTHEST, _FARTHEST).numpy())
    return np.concatenate(parts)


def young_stretches(network: ForecastNetwork, windows: BacktestWindows) -> tuple[Tensor, Tensor]:
    """[R] numbers of observed values and [R] how much wider than calibrated a forecast from so few must be.

    The windows are cut to so many last values each, as if their series were that young; the calibrated `network` is
    asked, and stretched until its 80 % interval holds what it promises. From as many values as nearly all windows
    have by themselves, nothing is stretched.
    """
    enough = max(2.0, float(np.quantile(windows.observed(network.settings.common_context), _USUALLY_OBSERVED)))
    steps = np.geomspace(1, enough, YOUNG_RUNGS)
    stretches = np.ones(YOUNG_RUNGS)
    few = windows.take(np.random.default_rng(0).permutation(len(windows.series))[:_YOUNG_WINDOWS])
    for rung, keep in enumerate(steps[:-1]):
        stretches[rung] = _stretch(network, few, round(keep))
    wider = np.maximum.accumulate(stretches[::-1])[::-1]
    return torch.tensor(steps, dtype=torch.float32), torch.tensor(wider.copy(), dtype=torch.float32)


def _stretch(network: ForecastNetwork, windows: BacktestWindows, keep: int) -> float:
    """Of windows of `keep` values: how many times as wide the 80 % interval (or what comes next to it) should be.

    That is its own quantile of how far the truth lies out, in halves of it.
    """
    levels = np.array(network.settings.quantiles)
    low, high = (int(np.abs(levels - level).argmin()) for level in _YOUNG_LIMITS)
    found = []
    for truth, grid in _each_chunk(network, windows, keep, calibrated=True):
        median = grid[:, :, network.median]
        width = torch.where(truth < median, median - grid[:, :, low], grid[:, :, high] - median)
        ratio = (truth - median).abs() / torch.where(width > 0, width, torch.nan)
        found.append(ratio.clamp(max=_FARTHEST).numpy().ravel())
    ratio = np.concatenate(found)
    ratio = ratio[~np.isnan(ratio)]
    held = levels[high] - levels[low]
    return float(np.clip(np.quantile(ratio, held), 1.0, _MOST_YOUNG)) if len(ratio) else 1.0


def _each_chunk(
    network: ForecastNetwork, windows: BacktestWindows, keep: int | None = None, *, calibrated: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Truths [B, H] (NaN = unobserved) and quantiles [B, H, Q], both as the network sees them.

    keep: last observed values of each window that are not forgotten, all if None; calibrated: by the network's own
    factors
    """
    how = network.settings.transform
    source = PanelWindows.of(windows.panel, network.settings, windows.horizon)
    with torch.inference_mode():
        for low in range(0, len(windows.series), _CHUNK):
            rows = slice(low, low + _CHUNK)
            series, origin = torch.as_tensor(windows.series[rows]), torch.as_tensor(windows.origin[rows])
            context = source.gather(series, origin)
            if keep is not None:
                context = _last_observed(context, keep)
            values, observed, covariates = context
            transformed, unit = transform(how, values, observed)
            quantiles = network.transformed_quantiles(transformed, observed, unit, covariates)
            if calibrated:
                quantiles = network.calibrate(quantiles, covariates)
            yield transform_truth(how, torch.as_tensor(windows.truth[rows]), unit), quantiles


def _last_observed(context: Context, keep: int) -> Context:
    """A window that has forgotten all but its last `keep` observed values."""
    observed = context.observed & (context.observed.flip(1).cumsum(1).flip(1) <= keep)
    return context._replace(values=torch.where(observed, context.values, 0.0), observed=observed)
