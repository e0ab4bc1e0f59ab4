"""A linear first forecast: the linear shortcut of a fresh network is fitted alone, before the rest learns beside it.

Legend: B windows of a chunk, K steps that the shortcut sees, H horizon steps.
The short fit of a small panel leaves the shortcut near the seasonal naive forecast that it begins as; the recurrent
part then learns, from few windows, what a linear map could have said. So the map is first fitted to least absolute
errors on all windows there are, in the units of the loss (docs/model.md). It has no bias: a change that all windows
have in common is where the months that are learnt from happened to go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.heads import CountHead
from forecaster.network import ForecastNetwork
from forecaster.segment_network import SegmentNetwork
from forecaster.settings import Transform
from forecaster.transforms import relative, transform, untransform
from training.loss import QuantileLoss, counted
from training.sampling import Batch, TrainingWindows
from training.seasonal_map import FreeMap, SeasonalMap

_CHUNK = 2048
_MOST_NUMBERS = 48_000_000  # of inputs, truths and weights: some 200 MB
_ITERATIONS = 20
_FREE_ITERATIONS, _FREE = 5, 0.5  # at most, and how much of their way: a free map learns its windows by heart
_ROUNDED = 0.05  # of the mean error: within it the absolute error is rounded off, so that it has a slope everywhere


def fit_shortcut(network: ForecastNetwork, windows: TrainingWindows, loss: QuantileLoss | None, seed: int) -> None:
    """Fit the shortcut of a fresh network's only member, in place, on all whole windows that it will learn from.

    loss: the fit's, whose weights absolute errors have; None for a likelihood: errors then count relative to the
    series' in-sample error. A head of counts has no shortcut in the units of the data, and is left as it is; so is one
    for which no finite map is found, with a warning.
    """
    member = network.only_member
    if isinstance(member.head, CountHead):
        return
    generator = torch.Generator(windows.flat.device).manual_seed(seed)
    most = _MOST_NUMBERS // (member.settings.highway + 2 * member.settings.horizon)
    series, origin, weight = windows.spread_origins(most, generator)
    parts = zip(series.split(_CHUNK), origin.split(_CHUNK), weight.split(_CHUNK), strict=True)
    chunks = [_chunk(network, member, windows, loss, *part) for part in parts]
    fitted = _fitted(chunks, member, network.settings.transform)
    if not fitted.isfinite().all():
        logging.getLogger(__name__).warning(
            "no linear start was found: the shortcut begins as the seasonal naive method"
        )
        return
    with torch.no_grad():
        member.highway.weight.copy_(fitted.T)


def _fitted(chunks: Sequence[_Chunk], member: SegmentNetwork, how: Transform) -> Tensor:
    """[K, H] weights: those of the seasonal form, and from there some of the way to those that are free."""
    inputs = [chunk.inputs for chunk in chunks]
    seasonal = SeasonalMap(member.highway.weight.detach().T, inputs, member.settings.season)
    _fit_map(seasonal, chunks, how, _ITERATIONS)
    free = FreeMap(seasonal.weights(), inputs)
    _fit_map(free, chunks, how, _FREE_ITERATIONS)
    return free.start.lerp(free.weights(), _FREE)


@dataclass(frozen=True)
class _Chunk:
    """Windows as the shortcut sees them.

    inputs: [B, K], normalised; location, scale: [B, 1]
    logged: [B, 1] where the member took logarithms by itself, None if it never does; unit: [B, 1] of the transform
    truth: [B, H] in data units; weight: [B, H] of its absolute errors, 0 where it is unobserved
    """

    inputs: Tensor
    location: Tensor
    scale: Tensor
    logged: Tensor | None
    unit: Tensor
    truth: Tensor
    weight: Tensor

    def errors(self, normalised: Tensor, how: Transform) -> Tensor:
        """[B, H] of a forecast [B, H] in the window's units, weighted."""
        forecast = _restore(normalised, self.location, self.scale, self.logged, self.unit, how)
        return (forecast - self.truth) * self.weight


@torch.no_grad()
def _chunk(
    network: ForecastNetwork,
    member: SegmentNetwork,
    windows: TrainingWindows,
    loss: QuantileLoss | None,
    series: Tensor,
    origin: Tensor,
    drawn: Tensor,
) -> _Chunk:
    """The windows of the given series and origins [B], as the shortcut sees them. drawn: [B] how much each counts"""
    model = network.settings
    batch = windows.gather(series, origin, model.context, model.horizon)
    values, observed, covariates = batch.context
    transformed, unit = transform(model.transform, values, observed)
    window = member.normalise(transformed, observed, relative(model.transform, unit), covariates)
    seen = window.z[:, -member.settings.highway :]
    units = (window.location, window.scale, window.logged, unit)
    first = _restore(member.highway(seen), *units, model.transform)
    truth = torch.where(batch.target.observed > 0, batch.target.values, 0.0)
    weight = _weights(batch, truth, first, loss) * drawn[:, None]
    return _Chunk(seen, *units, truth, weight)


def _restore(
    normalised: Tensor, location: Tensor, scale: Tensor, logged: Tensor | None, unit: Tensor, how: Transform
) -> Tensor:
    """[B, H] in data units."""
    restored = (normalised * scale + location)[:, :, None]
    if logged is not None:
        restored = untransform("log", restored, logged)
    return untransform(how, restored, unit)[:, :, 0]


def _weights(batch: Batch, truth: Tensor, first: Tensor, loss: QuantileLoss | None) -> Tensor:
    """[B, H] of absolute errors, as in the loss; the size that sMAPE divides by is that of the `first` forecast."""
    if loss is None:
        weight = (1 / batch.error_scale)[:, None].expand_as(truth)
    else:
        scaled = (1 - loss.percentage_weight) / (batch.error_scale * loss.scaled_reference)
        relative_to_size = 200 * loss.percentage_weight / loss.percentage_reference
        size = (truth.abs() + first.abs()).maximum(batch.error_scale[:, None])  # of two zeros it is none
        weight = scaled[:, None] + relative_to_size / size
    counts = counted(batch)
    return torch.where(counts > 0, weight * counts, 0.0)


def _fit_map(linear: SeasonalMap | FreeMap, chunks: Sequence[_Chunk], how: Transform, iterations: int) -> None:
    """Least absolute errors, by L-BFGS; a chunk at a time, so that memory holds little more than the windows."""
    count = sum(chunk.truth.numel() for chunk in chunks)
    with torch.no_grad():
        before = sum(chunk.errors(linear(chunk.inputs), how).abs().sum() for chunk in chunks) / count
    if before == 0:
        return
    rounded = _ROUNDED * before
    optimiser = torch.optim.LBFGS(
        linear.parameters(), max_iter=iterations, history_size=10, line_search_fn="strong_wolfe"
    )

    def mean_error() -> Tensor:
        optimiser.zero_grad()
        total = torch.zeros_like(before)
        for chunk in chunks:
            errors = chunk.errors(linear(chunk.inputs), how)
            part = (errors.square() + rounded.square()).sqrt().sum() / (count * before)
            part.backward()
            total += part.detach()
        return total

    optimiser.step(mean_error)
