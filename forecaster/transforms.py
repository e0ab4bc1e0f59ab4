"""Transforms of values before normalisation, and back; on tensors, exportable.

Legend: B windows, L context steps, H horizon steps, Q quantiles.
Each is chosen once for a model and has a `unit` [B, 1] per window: for `log` 1 where the logarithm was taken and 0
where the window has a value of zero or less; for `asinh` the window's mean size; for `identity` 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from forecaster.normalisation import mean_observed
from forecaster.settings import Transform

LARGEST_LOG = 80.0  # exp(80) = 5e34 is still a float32
_LARGEST_ASINH = 50.0
_SMALLEST = 1e-30


def transform(
    how: Transform, values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"]
) -> tuple[Float[Tensor, "batch context"], Float[Tensor, "batch 1"]]:
    """Transformed values (0 stays 0 where unobserved) and the unit of each window."""
    if how == "log":
        positive = ((values > 0) | ~observed).all(dim=1, keepdim=True)
        usable = observed & positive
        return torch.where(usable, torch.where(usable, values, 1.0).log(), values), positive.to(values.dtype)
    if how == "asinh":
        unit = mean_observed(values.abs(), observed).clamp_min(_SMALLEST)
        return (values / unit).asinh(), unit
    return values, torch.zeros_like(values[:, :1])


def transform_truth(how: Transform, truth: Float[Tensor, "batch horizon"], unit: Float[Tensor, "batch 1"]) -> Tensor:
    """What came, as the network sees it; NaN stays NaN. A truth of zero or less lies below every logarithm."""
    if how == "log":
        logged = torch.where(truth > 0, truth, _SMALLEST).log() + 0 * truth
        return torch.where(unit > 0, logged, truth)
    return (truth / unit).asinh() if how == "asinh" else truth


def untransform(
    how: Transform, quantiles: Float[Tensor, "batch horizon quantiles"], unit: Float[Tensor, "batch 1"]
) -> Float[Tensor, "batch horizon quantiles"]:
    """Back to the units of the data."""
    if how == "log":
        return torch.where(unit[:, :, None] > 0, quantiles.clamp(max=LARGEST_LOG).exp(), quantiles)
    if how == "asinh":
        return quantiles.clamp(-_LARGEST_ASINH, _LARGEST_ASINH).sinh() * unit[:, :, None]
    return quantiles


def relative(how: Transform, unit: Float[Tensor, "batch 1"]) -> Bool[Tensor, "batch 1"]:
    """Where the scale of a window counts in units of its mean size: where no transform has taken the unit away."""
    return (unit == 0) if how != "asinh" else torch.zeros_like(unit, dtype=torch.bool)
