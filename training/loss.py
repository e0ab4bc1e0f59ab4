"""The training loss: M4's point measures and the scaled pinball loss in data units, or the head's likelihood.

Legend: B windows, S context segments, g steps of a segment, H horizon steps, Q quantiles.
Unobserved targets count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecaster.network import ForecastNetwork
from forecaster.segment_network import Encoded
from forecaster.settings import NetworkSettings
from forecaster.transforms import relative, transform, transform_truth, untransform
from training.sampling import Batch

_TINY = 1e-30


@dataclass(frozen=True)
class QuantileLoss:
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
        counts = counted(batch)
        count = counts.sum().clamp_min(1)
        weight = counts / (batch.error_scale[:, None] * self.scaled_reference)
        error = torch.where(observed[:, :, None], truth[:, :, None] - forecast, 0.0)  # [B, H, Q]
        absolute = error[:, :, self.median].abs()
        loss = (1 - self.percentage_weight) * (absolute * weight).sum() / count
        if self.percentage_weight:
            size = truth.abs() + forecast[:, :, self.median].abs() + _TINY
            loss = (
                loss
                + self.percentage_weight * (absolute * counts / size).sum() * 200 / count / self.percentage_reference
            )
        if self.quantile_weight:
            pinball = torch.maximum(self.quantiles * error, (self.quantiles - 1) * error).mean(2) * 2
            loss = loss + self.quantile_weight * (pinball * weight).sum() / count
        return loss


class Objective(nn.Module):
    """What a fit of one member minimises: its quantile loss or likelihood, and the auxiliary task beside it.

    quantile_loss: None for the likelihood
    """

    def __init__(self, settings: NetworkSettings, quantile_loss: QuantileLoss | None, auxiliary_weight: float) -> None:
        super().__init__()
        self.quantile_loss, self.auxiliary_weight = quantile_loss, auxiliary_weight
        if auxiliary_weight:  # only training needs these weights; they are not part of the model
            self.reconstruct = nn.Linear(settings.width, settings.segment)

    def forward(self, network: ForecastNetwork, batch: Batch) -> Tensor:
        """Loss of the network's only member on a batch; a scalar."""
        how = network.settings.transform
        member = network.only_member
        values, observed, covariates = batch.context
        transformed, unit = transform(how, values, observed)
        encoded = member.encode(transformed, observed, relative(how, unit), covariates)
        found = member.decode(encoded)
        if self.quantile_loss:
            forecast = untransform(how, member.quantiles(found), unit)
            loss = self.quantile_loss(forecast.float(), batch)
        else:
            truth = transform_truth(how, batch.target.values, unit)
            likelihood = member.log_likelihood(found, truth).float()
            loss = -_mean(likelihood, counted(batch))
        if self.auxiliary_weight:
            loss = loss + self.auxiliary_weight * self._auxiliary(encoded, member.settings.segment)
        return loss

    def _auxiliary(self, encoded: Encoded, segment: int) -> Tensor:
        """Mean absolute error of the next segment, over its observed steps, in normalised units."""
        following = encoded.segments[:, 1:]  # [B, S - 1, 2g…]
        values, observed = following[..., :segment], following[..., segment : 2 * segment] > 0
        return _mean((self.reconstruct(encoded.states[:, :-1]) - values).abs(), observed)


def counted(batch: Batch) -> Tensor:
    """[B, H] how much each target counts: those that are unobserved, not at all."""
    observed = batch.target.observed
    return observed if batch.weight is None else observed * batch.weight[:, None]


def _mean(x: Tensor, counted: Tensor) -> Tensor:
    return (torch.where(counted > 0, x, 0.0) * counted).sum() / counted.sum().clamp_min(1)
