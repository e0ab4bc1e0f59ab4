"""Windows of a panel, gathered by index from its flat array on the device where the array lies.

Legend: B windows, L context steps, H horizon steps, T values of all series together.
A window is named by where its series begins and ends in the flat array and by its `origin`, the position just
after the last known step. No value is touched one by one, and nothing is copied but the windows asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Context(NamedTuple):
    """What a network sees: values with 0 where unobserved, and flags of what was observed.

    covariates: what else is known of the context and the horizon, NaN = missing; None for a model without
    """

    values: Float[Tensor, "batch context"]
    observed: Bool[Tensor, "batch context"]
    covariates: Float[Tensor, "batch steps numbers"] | None = None

    def to(self, device: torch.device) -> Context:
        """The same on a device."""
        known = None if self.covariates is None else self.covariates.to(device)
        return Context(self.values.to(device), self.observed.to(device), known)


class Target(NamedTuple):
    """What it should have forecast: values with 0 where unobserved, and flags of what was observed."""

    values: Float[Tensor, "batch horizon"]
    observed: Bool[Tensor, "batch horizon"]


def gather_context(
    flat: Float[Tensor, " time"], begin: Int[Tensor, " batch"], origin: Int[Tensor, " batch"], context: int
) -> Context:
    """The `context` steps before each origin; steps before `begin` are unobserved."""
    steps = torch.arange(-context, 0, device=flat.device)
    place = origin[:, None] + steps
    return Context(*_gather(flat, place, place >= begin[:, None]))


def gather_target(
    flat: Float[Tensor, " time"], end: Int[Tensor, " batch"], origin: Int[Tensor, " batch"], horizon: int
) -> Target:
    """The `horizon` steps from each origin on; steps from `end` on are unobserved."""
    steps = torch.arange(horizon, device=flat.device)
    place = origin[:, None] + steps
    return Target(*_gather(flat, place, place < end[:, None]))


def truncate_context(context: Context, keep: Int[Tensor, " batch"]) -> Context:
    """Forget all but the last `keep` values of each window, as if the series were that young."""
    length = context.values.shape[1]
    recent = torch.arange(length, 0, -1, device=keep.device) <= keep[:, None]
    return context._replace(values=context.values * recent, observed=context.observed & recent)


def _gather(flat: Tensor, place: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    if not len(flat):
        return torch.zeros(place.shape, device=flat.device), torch.zeros_like(inside)
    raw = flat[place.clamp(0, len(flat) - 1)]
    observed = inside & ~raw.isnan()
    return torch.where(observed, raw, 0.0), observed
