"""A linear first forecast: the linear shortcut of a fresh network is fitted alone, before the rest learns beside it.

Legend: B windows of a chunk, N of all, K steps that the shortcut sees, H horizon steps.
The short fit of a small panel leaves the shortcut near the seasonal naive forecast that it begins as; the recurrent
part then learns, from few windows, what a linear map could have said. So the map first goes most of the way to that of
least absolute errors, in the units of the loss (docs/model.md).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from forecaster.heads import CountHead
from forecaster.network import ForecastNetwork, SegmentNetwork
from forecaster.settings import Transform
from forecaster.transforms import relative, transform, untransform
from training.loss import QuantileLoss
from training.sampling import Batch, TrainingWindows

_CHUNK, _WINDOWS_PER_WEIGHT = 1024, 48
_ITERATIONS = 20
_WAY = 0.75  # that the map goes towards the fitted one, which knows the windows that it was fitted to by heart
_ROUNDED = 0.05  # of the mean error: within it the absolute error is rounded off, so that it has a slope everywhere
_RIDGE = 0.01  # of the inputs' mean square


def fit_shortcut(network: ForecastNetwork, windows: TrainingWindows, loss: QuantileLoss | None, seed: int) -> None:
    """Fit the shortcut of the network's only member, in place, on windows drawn like those that it will learn from.

    loss: the fit's, whose weights absolute errors have; None for a likelihood: errors then count relative to the
    series' in-sample error. A head of counts has no shortcut in the units of the data, and is left as it is; so is one
    for which no finite map is found, with a warning.
    """
    (member,) = network.members
    assert isinstance(member, SegmentNetwork)
    if isinstance(member.head, CountHead):
        return
    generator = torch.Generator(windows.flat.device).manual_seed(seed)
    chunks = -(-_WINDOWS_PER_WEIGHT * member.settings.highway // _CHUNK)
    sample = _Sample.joined([_draw(network, member, windows, loss, generator) for _ in range(chunks)])
    change = _WAY * _least_absolute(sample, network.settings.transform)
    if not change.isfinite().all():
        logging.getLogger(__name__).warning(
            "no linear start was found: the shortcut begins as the seasonal naive method"
        )
        return
    with torch.no_grad():
        member.highway.weight += change[:-1].T
        member.highway.bias += change[-1]


@dataclass(frozen=True)
class _Sample:
    """Windows as the shortcut sees them.

    inputs: [N, K + 1], the last one 1; start: [N, H] its forecast so far, normalised; location, scale: [N, 1]
    unit: [N, 1] of the model's transform; logged: [N, 1] where the member took logarithms by itself
    truth: [N, H] in data units; weight: [N, H] of its absolute errors, 0 where it is unobserved
    """

    inputs: Tensor
    start: Tensor
    location: Tensor
    scale: Tensor
    unit: Tensor
    logged: Tensor
    truth: Tensor
    weight: Tensor

    @classmethod
    def joined(cls, parts: list[_Sample]) -> _Sample:
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def errors(self, normalised: Tensor, how: Transform) -> Tensor:
        """[N, H] of a normalised forecast, weighted."""
        return (_restore(normalised, self.location, self.scale, self.logged, self.unit, how) - self.truth) * self.weight


@torch.no_grad()
def _draw(
    network: ForecastNetwork,
    member: SegmentNetwork,
    windows: TrainingWindows,
    loss: QuantileLoss | None,
    generator: torch.Generator,
) -> _Sample:
    model = network.settings
    batch = windows.gather(*windows.draw_origins(_CHUNK, generator), model.context, model.horizon)
    values, observed, covariates = batch.context
    transformed, unit = transform(model.transform, values, observed)
    encoded = member.encode(transformed, observed, relative(model.transform, unit), covariates)
    logged = torch.zeros_like(unit) if encoded.logged is None else encoded.logged
    seen = encoded.z[:, -member.settings.highway :]
    start = member.highway(seen)
    first = _restore(start, encoded.location, encoded.scale, logged, unit, model.transform)
    truth = torch.where(batch.target.observed > 0, batch.target.values, 0.0)
    inputs = torch.cat([seen, torch.ones_like(unit)], 1)
    weight = _weights(batch, truth, first, loss)
    return _Sample(inputs, start, encoded.location, encoded.scale, unit, logged, truth, weight)


def _restore(
    normalised: Tensor, location: Tensor, scale: Tensor, logged: Tensor, unit: Tensor, how: Transform
) -> Tensor:
    """[B, H] in data units."""
    restored = (normalised * scale + location)[:, :, None]
    return untransform(how, untransform("log", restored, logged), unit)[:, :, 0]


def _weights(batch: Batch, truth: Tensor, first: Tensor, loss: QuantileLoss | None) -> Tensor:
    """[B, H] of absolute errors, as in the loss; the size that sMAPE divides by is that of the `first` forecast."""
    if loss is None:
        weight = (1 / batch.error_scale)[:, None].expand_as(truth)
    else:
        scaled = (1 - loss.percentage_weight) / (batch.error_scale * loss.scaled_reference)
        relative_to_size = 200 * loss.percentage_weight / loss.percentage_reference
        size = (truth.abs() + first.abs()).maximum(batch.error_scale[:, None])  # of two zeros it is none
        weight = scaled[:, None] + relative_to_size / size
    counted = batch.target.observed if batch.weight is None else batch.target.observed * batch.weight[:, None]
    return torch.where(counted > 0, weight * counted, 0.0)


def _least_absolute(sample: _Sample, how: Transform) -> Tensor:
    """[K + 1, H] what the map's weights (and at last its bias) change by; by L-BFGS on whitened inputs."""
    whiten = _whitening(sample.inputs)
    white = sample.inputs @ whiten
    change = torch.zeros(white.shape[1], sample.start.shape[1], device=white.device, requires_grad=True)
    before = sample.errors(sample.start, how).abs().mean()
    rounded = _ROUNDED * before
    optimiser = torch.optim.LBFGS([change], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe")

    def mean_error() -> Tensor:
        optimiser.zero_grad()
        errors = sample.errors(sample.start + white @ change, how)
        mean = (errors.square() + rounded.square()).sqrt().mean() / before
        mean.backward()
        return mean

    optimiser.step(mean_error)
    return whiten @ change.detach()


def _whitening(inputs: Tensor) -> Tensor:
    """[K + 1, K + 1] map that makes the inputs uncorrelated and of unit size, so that few iterations are enough."""
    exact = inputs.double()
    square = exact.T @ exact / len(exact)
    ridge = _RIDGE * square.diagonal()[:-1].mean() * torch.eye(len(square), dtype=exact.dtype, device=exact.device)
    return torch.linalg.inv(torch.linalg.cholesky(square + ridge)).T.to(inputs.dtype)
