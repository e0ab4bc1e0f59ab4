"""The training loss: M4's point measures and the scaled pinball loss, in data units.

Legend: B windows, H horizon steps, Q quantiles. Unobserved targets count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.sampling import Batch

_TINY = 1e-30


@dataclass(frozen=True)
class ForecastLoss:
    """percentage_weight · sMAPE/ref + (1 − percentage_weight) · MASE/ref + quantile_weight · pinball/ref.

    quantiles: [Q] levels; references: the seasonal naive method's own sMAPE and MASE on the training part, which
    make the terms comparable whatever the data.
    """

    quantiles: Tensor
    median: int
    percentage_reference: float
    scaled_reference: float
    percentage_weight: float
    quantile_weight: float

    def __call__(self, forecast: Tensor, batch: Batch) -> Tensor:
        """forecast: [B, H, Q] in data units; gives a scalar."""
        truth, observed = batch.target
        count = observed.sum().clamp_min(1)
        weight = observed / (batch.error_scale[:, None] * self.scaled_reference)
        error = torch.where(observed[:, :, None], truth[:, :, None] - forecast, 0.0)  # [B, H, Q]
        absolute = error[:, :, self.median].abs()
        loss = (1 - self.percentage_weight) * (absolute * weight).sum() / count
        if self.percentage_weight:
            size = truth.abs() + forecast[:, :, self.median].abs() + _TINY
            loss = loss + self.percentage_weight * (absolute / size).sum() * 200 / count / self.percentage_reference
        if self.quantile_weight:
            pinball = torch.maximum(self.quantiles * error, (self.quantiles - 1) * error).mean(2) * 2
            loss = loss + self.quantile_weight * (pinball * weight).sum() / count
        return loss
