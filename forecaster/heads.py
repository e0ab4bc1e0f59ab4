"""Heads: from a decoded segment to the distribution of each of its steps.

Legend: B windows, O output segments, g steps of a segment, H horizon steps, P parameters of a step, Q quantiles.
A head works in the window's normalised units around a centre, the linear shortcut's forecast. Distributions may be
fitted by their likelihood, and all but counts by their quantiles as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecaster.settings import NetworkSettings

_NARROWEST = 1e-3  # spread of a distribution, in units of the window's
_START = 0.5  # spread of every head before training
_MOST_TIMES = 1000.0  # a count in units of the window's mean and one more
_SILENT = 1e-20  # mean of a window in which nothing was counted: it says nothing of what a count may be
_SUPPORT, _AT_ONCE = 512, 64  # counts that are summed up one by one
_ROUNDS = 40  # of bisection: beyond what float32 tells apart
_TABLE = 65  # rows of the Student-t table


class Parameters(NamedTuple):
    """What a network says of each step: raw parameters [B, H, P] of its head, around the shortcut's forecast [B, H].

    location, scale: [B, 1] by which the window was normalised; logged: [B, 1] 1 where that was its logarithm, 0 where
    not; None for a network that takes none
    """

    raw: Tensor
    centre: Tensor
    location: Tensor
    scale: Tensor
    logged: Tensor | None = None


class Head(nn.Module):
    """`parameters_per_step` raw numbers for each step, made by one linear map."""

    def __init__(self, settings: NetworkSettings, parameters_per_step: int) -> None:
        super().__init__()
        self.segment, self.parameters_per_step = settings.segment, parameters_per_step
        self.reach = settings.reach
        self.linear = nn.Linear(settings.width, settings.segment * parameters_per_step)
        self.linear.weight.data.mul_(0.1)  # begin near the shortcut's forecast
        self.linear.bias.data.zero_()

    def forward(self, decoded: Float[Tensor, "batch segments width"]) -> Float[Tensor, "batch steps parameters"]:
        """Raw parameters of `segments` times `segment` steps."""
        raw: Tensor = self.linear(decoded)
        return raw.reshape(decoded.shape[0], -1, self.parameters_per_step)

    @torch.no_grad()
    def restrain(self, share: float) -> None:
        """Keep this share of what is added to the centre; in the window's units the quantiles stay as far apart."""
        for learnt in (self.linear.weight, self.linear.bias):
            learnt.view(self.segment, self.parameters_per_step, -1)[:, 0] *= share

    def median(self, raw: Tensor, centre: Tensor) -> Tensor:
        """[B, H] what an autoregressive decoder goes on from."""
        return raw[..., 0] + centre

    def quantiles(self, found: Parameters) -> Tensor:
        """[B, H, Q]"""
        raise NotImplementedError

    def log_likelihood(self, found: Parameters, truth: Tensor) -> Tensor:
        """[B, H] of the normalised truth; one that is absurdly far counts as less far, lest it alone be learnt."""
        raise NotImplementedError

    def _begin(self, *values: float) -> None:
        """Biases at which softplus gives `values` for the last parameters."""
        biases = self.linear.bias.data.view(self.segment, self.parameters_per_step)
        biases[:, -len(values) :] = torch.tensor(values).expm1().log()


class QuantileHead(Head):
    """Quantiles that cannot cross: a median and positive gaps, summed up away from it."""

    def __init__(self, settings: NetworkSettings, quantiles: Sequence[float]) -> None:
        super().__init__(settings, len(quantiles))
        self.below = list(quantiles).index(0.5)
        gaps = _START * _deviates(quantiles).diff()
        self._begin(*gaps[: self.below].flip(0).tolist(), *gaps[self.below :].tolist())

    def quantiles(self, found: Parameters) -> Tensor:
        # Of all parameters, the median's too: the function is several times as slow on a part of a tensor.
        median, gaps = found.raw[..., :1], nn.functional.softplus(found.raw)[..., 1:]
        lower, upper = gaps[..., : self.below].cumsum(-1), gaps[..., self.below :].cumsum(-1)
        return torch.cat([median - lower.flip(-1), median, median + upper], dim=-1) + found.centre[..., None]


class NormalHead(Head):
    """Mean and standard deviation."""

    deviates: Tensor

    def __init__(self, settings: NetworkSettings, quantiles: Sequence[float]) -> None:
        super().__init__(settings, 2)
        self.register_buffer("deviates", _deviates(quantiles), persistent=False)
        self._begin(_START)

    def quantiles(self, found: Parameters) -> Tensor:
        return (found.raw[..., 0] + found.centre)[..., None] + _width(found.raw[..., 1])[..., None] * self.deviates

    def log_likelihood(self, found: Parameters, truth: Tensor) -> Tensor:
        width = _width(found.raw[..., 1])
        deviate = (truth.clamp(-self.reach, self.reach) - found.raw[..., 0] - found.centre) / width
        return -0.5 * deviate.square() - width.log() - 0.5 * math.log(2 * math.pi)


class StudentHead(Head):
    """Location, scale and degrees of freedom (above 2) of Student's t.

    Its quantiles are read off a table over the inverse degrees of freedom, in which they are almost straight.
    """

    table: Tensor

    def __init__(self, settings: NetworkSettings, quantiles: Sequence[float]) -> None:
        super().__init__(settings, 3)
        self.register_buffer("table", _student_table(quantiles), persistent=False)
        self._begin(_START, 8.0)

    def quantiles(self, found: Parameters) -> Tensor:
        place = (2 * (_TABLE - 1) / _freedom(found.raw[..., 2])).clamp(max=_TABLE - 1)
        row = place.detach().long().clamp(max=_TABLE - 2)
        share = (place - row)[..., None]
        deviates = (1 - share) * self.table[row] + share * self.table[row + 1]
        return (found.raw[..., 0] + found.centre)[..., None] + _width(found.raw[..., 1])[..., None] * deviates

    def log_likelihood(self, found: Parameters, truth: Tensor) -> Tensor:
        width, freedom = _width(found.raw[..., 1]), _freedom(found.raw[..., 2])
        deviate = (truth.clamp(-self.reach, self.reach) - found.raw[..., 0] - found.centre) / width
        bulge = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - 0.5 * (freedom * math.pi).log()
        return bulge - width.log() - (freedom + 1) / 2 * torch.log1p(deviate.square() / freedom)


class CountHead(Head):
    """Negative binomial: mean and over-dispersion of a count, variance = mean + dispersion · mean²."""

    probabilities: Tensor

    def __init__(self, settings: NetworkSettings, quantiles: Sequence[float]) -> None:
        super().__init__(settings, 2)
        self.register_buffer("probabilities", torch.tensor(list(quantiles)), persistent=False)
        self._begin(_START)

    def median(self, raw: Tensor, centre: Tensor) -> Tensor:
        """The mean stands for it: the median of a rare count is 0 whatever its mean."""
        return nn.functional.softplus(raw[..., 0] + centre)

    def quantiles(self, found: Parameters) -> Tensor:
        mean, dispersion = self._moments(found)
        counts, reached = _summed_quantiles(mean, dispersion, self.probabilities)
        beyond = self.probabilities > reached[..., None]
        if (some := beyond.any(-1)).any():
            large = _gamma_quantiles(mean[some], dispersion[some], self.probabilities).clamp_min(_SUPPORT)
            counts[some] = torch.where(beyond[some], large, counts[some])
        return counts / found.scale[..., None]

    def log_likelihood(self, found: Parameters, truth: Tensor) -> Tensor:
        mean, dispersion = self._moments(found)
        # Sales of a rare item are many times its mean: bounded like other truths, they would be taken for none.
        count = torch.where(found.scale > _SILENT, truth * found.scale, 0.0).round().clamp_min(0)
        return _log_mass(count.minimum(_MOST_TIMES * (found.scale + 1)), mean, 1 / dispersion)

    def mean(self, found: Parameters) -> Tensor:
        """[B, H] as a count, not normalised. Of a rare one its quantiles tell too little: most of them are 0."""
        return self._moments(found)[0]

    def _moments(self, found: Parameters) -> tuple[Tensor, Tensor]:
        mean = self.median(found.raw, found.centre) * found.scale
        return mean.clamp_min(1e-6), nn.functional.softplus(found.raw[..., 1]) + _NARROWEST


def build_head(settings: NetworkSettings, quantiles: Sequence[float]) -> Head:
    """The head that the settings name."""
    kinds = {"quantile": QuantileHead, "normal": NormalHead, "student_t": StudentHead, "negative_binomial": CountHead}
    return kinds[settings.head](settings, quantiles)


def _deviates(quantiles: Sequence[float]) -> Tensor:
    return torch.tensor([NormalDist().inv_cdf(q) for q in quantiles])


def _width(raw: Tensor) -> Tensor:
    return nn.functional.softplus(raw) + _NARROWEST


def _freedom(raw: Tensor) -> Tensor:
    return 2.0 + nn.functional.softplus(raw)


def _student_table(quantiles: Sequence[float]) -> Tensor:
    """[_TABLE, Q] quantiles of Student's t at 1/freedom from 0 (normal) to 1/2."""
    from scipy.special import stdtrit  # only models with this head pay for its import

    inverse = torch.linspace(0, 0.5, _TABLE, dtype=torch.float64)[1:, None].numpy()
    rows = torch.from_numpy(stdtrit(1 / inverse, torch.tensor(list(quantiles), dtype=torch.float64).numpy()[None]))
    return torch.cat([_deviates(quantiles)[None], rows.float()])


def _log_mass(count: Tensor, mean: Tensor, shape: Tensor) -> Tensor:
    """Log probability of a count under the negative binomial of this mean and shape (1 / dispersion)."""
    ways = torch.lgamma(count + shape) - torch.lgamma(shape) - torch.lgamma(count + 1)
    return ways - shape * torch.log1p(mean / shape) - count * torch.log1p(shape / mean)


def _summed_quantiles(mean: Tensor, dispersion: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """[…, Q] smallest counts whose cumulated probability reaches each of `probabilities`, and […] how much of it all
    counts below _SUPPORT have: quantiles beyond that are not found."""
    reached = torch.zeros_like(mean)
    found = torch.zeros(*mean.shape, len(probabilities), device=mean.device)
    for first in range(0, _SUPPORT, _AT_ONCE):
        counts = torch.arange(first, first + _AT_ONCE, device=mean.device)
        mass = _log_mass(counts, mean[..., None], 1 / dispersion[..., None]).exp()
        cumulated = reached[..., None] + mass.cumsum(-1)  # […, counts]
        found += torch.searchsorted(cumulated, probabilities.expand(*mean.shape, -1).contiguous())
        reached = cumulated[..., -1]
    return found, reached


def _gamma_quantiles(mean: Tensor, dispersion: Tensor, probabilities: Tensor) -> Tensor:
    """[N, Q] quantiles of the gamma distribution with the count's mean and variance, rounded up; for large counts."""
    variance = mean + dispersion * mean.square()
    shape, unit = (mean.square() / variance)[:, None], (variance / mean)[:, None]
    low = torch.zeros(len(mean), len(probabilities), device=mean.device)
    high = (shape + 40 * shape.sqrt() + 40).expand_as(low)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        below = torch.special.gammainc(shape.expand_as(middle), middle) < probabilities
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (high * unit).ceil()
