"""Filling of unobserved steps and reversible window normalisation; all on tensors, all exportable.

Legend: B windows, L context steps. Unobserved values enter no statistic: they are replaced before any arithmetic.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from forecaster.settings import Location, Scale

# A scale below this share of the window's size is taken for no variation at all (float32 resolves 1e-7).
_RELATIVE_FLOOR = 1e-6
_SMALLEST = 1e-30
_NORMAL_DEVIATION = 1.4826  # standard deviations in a median absolute deviation of normal data
_STRANGE, _FAR = 0.02, 10.0  # share of a window's values that may be outliers; how far others reach, in usual ranges
_FEWEST_STEPS = 20  # observed, from which a usual range is told
_FEWEST = 3  # observed values that say anything of a series' variation


def fill(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"], period: int
) -> Float[Tensor, "batch context"]:
    """Replace unobserved steps by the nearest earlier observed step of the same phase, else the nearest later one.

    Doubling the reach at each round takes log2(L / period) rounds of slices, so the graph can be exported.
    What no step of its phase can fill stays 0 (the window's location, after normalisation).
    """
    filled, known = _carry(torch.where(observed, values, 0.0), observed, period)
    if period == 1:  # what is left lies before the first observed step
        return torch.where(known, filled, _first_observed(filled, observed))
    return _carry(filled, known, -period)[0]


def _carry(values: Tensor, known: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Known values to the unknown steps after them at whole periods (before them, if negative), the nearest first."""
    reach = period
    while abs(reach) < values.shape[1]:
        near, near_known = _shift(values, reach), _shift(known, reach)
        values = torch.where(known, values, near)
        known = known | near_known
        reach *= 2
    return values, known


def _shift(x: Tensor, steps: int) -> Tensor:
    """Move a window's content `steps` later (or earlier, if negative); what comes in is 0."""
    blank = torch.zeros_like(x[:, : abs(steps)])
    return torch.cat([blank, x[:, :-steps]], 1) if steps > 0 else torch.cat([x[:, -steps:], blank], 1)


def tame(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"]
) -> Float[Tensor, "batch context"]:
    """Values far outside their window's usual range, moved to its bound, so that none of them sets its scale.

    All but the most distant 2 % are usual; the bound lies ten times as far from their mean as the farthest of them.
    A window stays as it is when its usual values are all alike, or when too little of it is observed to tell.
    """
    length = values.shape[1]
    if length < _FEWEST_STEPS:
        return values
    rank = math.ceil(length * _STRANGE) + 1
    distance = _distance(values, observed, mean_observed(values, observed))
    usual = observed & (distance <= distance.topk(rank).values[:, -1:])
    centre = mean_observed(values, usual)
    bound = _FAR * _distance(values, observed, centre).topk(rank).values[:, -1:]
    telling = (bound > 0) & (observed.sum(1, keepdim=True) >= max(_FEWEST_STEPS, length // 2))
    return torch.where(observed & telling, values.clamp(centre - bound, centre + bound), values)


def _distance(values: Tensor, observed: Tensor, centre: Tensor) -> Tensor:
    """-1 where nothing is observed"""
    return torch.where(observed, (values - centre).abs(), -1.0)


def locate(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"], how: Location
) -> Float[Tensor, "batch 1"]:
    """The mean, the last observed value, or zero for each window."""
    if how == "mean":
        return mean_observed(values, observed)
    if how == "last":
        return _last_observed(values, observed)
    return torch.zeros_like(values[:, :1])


def _last_observed(values: Tensor, observed: Tensor) -> Float[Tensor, "batch 1"]:
    """The last observed value of each window; the first value, which is 0, where nothing is observed."""
    steps = torch.arange(values.shape[1], device=values.device)
    return values.gather(1, (steps * observed).amax(1, keepdim=True))


def _first_observed(values: Tensor, observed: Tensor) -> Float[Tensor, "batch 1"]:
    """The first observed value of each window; the last value where nothing is observed."""
    from_end = torch.arange(values.shape[1] - 1, -1, -1, device=values.device)
    return values.gather(1, values.shape[1] - 1 - (from_end * observed).amax(1, keepdim=True))


def spread(
    values: Float[Tensor, "batch context"],
    observed: Bool[Tensor, "batch context"],
    how: Scale,
    typical: Float[Tensor, ""],
    relative: bool | Bool[Tensor, "batch 1"],
    season: int = 1,
) -> Float[Tensor, "batch 1"]:
    """The scale of each window, as `NetworkSettings.scale` names it.

    A window with fewer observed values than a season has, or too few at all, has the panel's `typical` scale instead:
    three hours of a night say nothing of the day. `relative` says where scales
    count in units of the window's mean size (False where the transform has taken the unit away).
    """
    size = unit_size(values, observed, relative)
    few = observed.sum(1, keepdim=True) < max(_FEWEST, season)
    measured = mean_observed(values.abs(), observed) if how == "size" else _variation(values, observed, how)
    return torch.where(few, typical * size, measured).clamp_min(_SMALLEST) + _RELATIVE_FLOOR * size


def unit_size(
    values: Float[Tensor, "batch context"],
    observed: Bool[Tensor, "batch context"],
    relative: bool | Bool[Tensor, "batch 1"],
) -> Float[Tensor, "batch 1"]:
    """What scales are measured in: the mean size of a window, or 1 where the transform has taken the unit away."""
    mean_size = mean_observed(values.abs(), observed)
    return torch.where(torch.as_tensor(relative, device=values.device), mean_size, 1.0).clamp_min(_SMALLEST)


def _variation(values: Tensor, observed: Tensor, how: Scale) -> Tensor:
    if how == "change":
        both = observed[:, 1:] & observed[:, :-1]
        change = mean_observed((values[:, 1:] - values[:, :-1]).abs(), both)
        # Changes too small to have led from one observed value to the others: few neighbours are observed, or none.
        deviation = _deviation(values, observed)
        return torch.where(change * values.shape[1] < deviation, deviation, change)
    if how == "std":
        return _deviation(values, observed)
    distance = (values - median_observed(values, observed)).abs()
    return _NORMAL_DEVIATION * median_observed(distance, observed)


def _deviation(values: Tensor, observed: Tensor) -> Float[Tensor, "batch 1"]:
    """Standard deviation of what is observed."""
    centred = torch.where(observed, values - mean_observed(values, observed), 0.0)
    largest = centred.abs().amax(1, keepdim=True).clamp_min(_SMALLEST)  # whose square may be beyond float32
    return largest * mean_observed((centred / largest).square(), observed).sqrt()


def mean_observed(x: Tensor, observed: Tensor) -> Float[Tensor, "batch 1"]:
    """Mean of what is observed, 0 where nothing is."""
    return torch.where(observed, x, 0.0).sum(1, keepdim=True) / observed.sum(1, keepdim=True).clamp_min(1)


def median_observed(x: Tensor, observed: Tensor) -> Float[Tensor, "batch 1"]:
    """Lower median of what is observed, 0 where nothing is."""
    ordered = torch.where(observed, x, torch.inf).sort(dim=1).values
    middle = (observed.sum(1, keepdim=True) - 1).clamp_min(0) // 2
    found = ordered.gather(1, middle)
    return torch.where(found.isinf(), 0.0, found)
