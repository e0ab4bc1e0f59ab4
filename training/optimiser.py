"""What moves the weights of a fit: the optimiser, and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from training.settings import FitSettings

_OPTIMISERS: dict[str, Any] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
_FUSED = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
_RISE = 0.2  # of a one-cycle schedule


def optimiser_of(weights: Sequence[nn.Parameter], settings: FitSettings) -> torch.optim.Optimizer:
    """The one that the settings name.

    On a processor one fused kernel updates a weight where torch has one; on a GPU Lightning would not clip with it.
    """
    made = _OPTIMISERS[settings.optimiser]
    fused = {"fused": True} if made in _FUSED and weights[0].device.type == "cpu" else {}
    return made(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, **fused)  # type: ignore[no-any-return]


def schedule_of(optimiser: torch.optim.Optimizer, settings: FitSettings, steps: int) -> Any:
    if settings.schedule == "one_cycle":
        # Momentum is cycled against the rate; plain SGD and RMSprop have none to cycle.
        momentum = settings.optimiser in ("adamw", "adam")
        rise = max(_RISE, 1.5 / steps)  # torch divides by `rise · steps − 1`, and by what is left of the steps
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=steps, pct_start=rise, cycle_momentum=momentum
        )
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
