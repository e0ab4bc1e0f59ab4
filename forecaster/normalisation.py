"""Filling of unobserved steps, transform and reversible window normalisation; all on tensors, all exportable.

Legend: B windows, L context steps. Unobserved values enter no statistic: they are replaced before any arithmetic.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# A scale below this share of the window's size is taken for no variation at all (float32 resolves 1e-7).
_RELATIVE_FLOOR = 1e-6
_SMALLEST = 1e-30
_TOO_FEW = 2  # so few observed values say nothing of a series' variation


def window_positive(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"]
) -> Bool[Tensor, "batch 1"]:
    """Whether every observed value of a window is above zero."""
    return ((values > 0) | ~observed).all(dim=1, keepdim=True)


def fill(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"], period: int
) -> Float[Tensor, "batch context"]:
    """Replace unobserved steps by the nearest earlier observed step of the same phase, else the nearest later one.

    Doubling the reach at each round takes log2(L / period) rounds and only slices, so the graph can be exported.
    What no step of its phase can fill stays 0 (the window's location, after normalisation).
    """
    filled, known = torch.where(observed, values, 0.0), observed
    for direction in (1, -1):
        reach = period
        while reach < values.shape[1]:
            near, near_known = _shift(filled, reach * direction), _shift(known, reach * direction)
            filled = torch.where(known, filled, near)
            known = known | near_known
            reach *= 2
    return filled


def _shift(x: Tensor, steps: int) -> Tensor:
    """Move a window's content `steps` later (or earlier, if negative); what comes in is 0."""
    blank = torch.zeros_like(x[:, : abs(steps)])
    return torch.cat([blank, x[:, :-steps]], 1) if steps > 0 else torch.cat([x[:, -steps:], blank], 1)


def locate(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"], how: Literal["last", "mean"]
) -> Float[Tensor, "batch 1"]:
    """The mean, or the last observed value, of each window."""
    if how == "mean":
        return _mean(values, observed)
    return fill(values, observed, 1)[:, -1:]


def spread(
    values: Float[Tensor, "batch context"],
    observed: Bool[Tensor, "batch context"],
    how: Literal["std", "change"],
    typical: Float[Tensor, ""],
    relative: bool | Bool[Tensor, "batch 1"],
) -> Float[Tensor, "batch 1"]:
    """Standard deviation, or mean absolute change from one step to the next, of each window.

    A window with too few observed values has the panel's `typical` scale instead. `relative` says where scales
    count in units of the window's mean size (False where the transform is log and scales have no unit).
    """
    if how == "std":
        centred = torch.where(observed, values - _mean(values, observed), 0.0)
        measured = _mean(centred.square(), observed).sqrt()
    else:
        both = observed[:, 1:] & observed[:, :-1]
        measured = _mean((values[:, 1:] - values[:, :-1]).abs(), both)
    size = torch.where(torch.as_tensor(relative, device=values.device), _mean(values.abs(), observed), 1.0)
    few = observed.sum(1, keepdim=True) <= _TOO_FEW
    return torch.where(few, typical * size, measured).clamp_min(_SMALLEST) + _RELATIVE_FLOOR * size


def _mean(x: Tensor, observed: Tensor) -> Tensor:
    return torch.where(observed, x, 0.0).sum(1, keepdim=True) / observed.sum(1, keepdim=True).clamp_min(1)
