"""The graph that makes a whole forecast: transform, members, calibration, and back.

Legend: B windows, L context steps, H horizon steps, Q quantiles, T targets, R rungs of few observed values, K knots.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from forecaster.segment_network import SegmentNetwork
from forecaster.settings import ModelSettings
from forecaster.transforms import relative, transform, untransform

_MOST_KNOTS = 256  # of a long horizon; the correlation between them grows with their square
YOUNG_RUNGS = 12


class ForecastNetwork(nn.Module):
    """The whole forecast as one graph: transform, members, their mean, calibration, inverse transform.

    `calibration` [T, H, Q] stretches each quantile's distance from the median, for each of T targets (one, unless the
    model has several); it is 1 until calibrated.
    `young_steps` [R] and `young_stretch` [R] widen the forecast of a window with few observed values: at how many of
    them, and by how much; linear in the logarithm of their number between; 1 until measured.
    `dependence` [K, K] is the Cholesky factor of the correlation between steps (knots) that sample paths keep; the
    identity until measured.
    """

    calibration: Tensor
    dependence: Tensor
    young_steps: Tensor
    young_stretch: Tensor

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.median = settings.quantiles.index(0.5)
        self.members = nn.ModuleList(
            [SegmentNetwork(member, settings.quantiles, settings.covariates) for member in settings.members]
        )
        targets = max(1, len(settings.covariates.targets))
        self.register_buffer("calibration", torch.ones(targets, settings.horizon, len(settings.quantiles)))
        self.register_buffer("dependence", torch.eye(min(settings.horizon, _MOST_KNOTS)))
        self.register_buffer("young_steps", torch.logspace(0, 1, YOUNG_RUNGS))
        self.register_buffer("young_stretch", torch.ones(YOUNG_RUNGS))

    def forward(
        self,
        values: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        covariates: Float[Tensor, "batch steps numbers"] | None = None,
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Raw values (0 where unobserved) and flags of the last `context` steps to quantiles in data units.

        covariates: [B, L + H, C] of the context and the horizon, NaN = missing; for a model that has some
        """
        transformed, unit = transform(self.settings.transform, values, observed)
        quantiles = self.transformed_quantiles(transformed, observed, unit, covariates)
        quantiles = self.widen(self.calibrate(quantiles, covariates), observed)
        restored = untransform(self.settings.transform, quantiles, unit)
        return restored if self.settings.floor is None else restored.clamp(min=self.settings.floor)

    def transformed_quantiles(
        self,
        transformed: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        unit: Float[Tensor, "batch 1"],
        covariates: Float[Tensor, "batch steps numbers"] | None = None,
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """The members' mean, before calibration and the inverse transform."""
        sized = relative(self.settings.transform, unit)
        return torch.stack([member(transformed, observed, sized, covariates) for member in self.members]).mean(0)

    @property
    def only_member(self) -> SegmentNetwork:
        """Of a network that is fitted by itself."""
        (member,) = self.members
        assert isinstance(member, SegmentNetwork)
        return member

    def restrain(self, share: float) -> None:
        """Keep this share of what their fits have added to the linear forecasts that the members began from."""
        for member in self.members:
            assert isinstance(member, SegmentNetwork)
            member.restrain(share)

    def count_means(
        self,
        values: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        covariates: Float[Tensor, "batch steps numbers"] | None = None,
    ) -> Float[Tensor, "batch horizon"]:
        """Means of a model of counts, which has no transform."""
        relative, found = torch.ones_like(observed[:, :1]), []
        for member in self.members:
            assert isinstance(member, SegmentNetwork)
            found.append(member.count_mean(values, observed, relative, covariates))
        return torch.stack(found).mean(0)

    def calibrate(
        self,
        quantiles: Float[Tensor, "batch horizon quantiles"],
        covariates: Float[Tensor, "batch steps numbers"] | None = None,
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Stretch distances from the median; sorting keeps the quantiles in order (Chernozhukov et al. 2010)."""
        median = quantiles[:, :, self.median, None]
        return (median + (quantiles - median) * self._factors(covariates)).sort(dim=-1).values

    def _factors(self, covariates: Tensor | None) -> Tensor:
        """[B, H, Q] or [H, Q] of the windows' targets: of several, the last number of each step says which (from 1)."""
        if len(self.calibration) == 1:
            return self.calibration[0]
        assert covariates is not None, "a model of several targets is told which it forecasts"
        return self.calibration[covariates[:, 0, -1].long() - 1]

    def widen(
        self, quantiles: Float[Tensor, "batch horizon quantiles"], observed: Bool[Tensor, "batch context"]
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Stretch distances from the median by what so few observed values ask for."""
        median = quantiles[:, :, self.median, None]
        return median + (quantiles - median) * self.stretch_of(observed.sum(1))[:, None, None]

    def stretch_of(self, known: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """How much wider a forecast from so many observed values is than the calibrated one."""
        low, high = self.young_steps[:-1].log(), self.young_steps[1:].log()
        missing = ((high - known.float().clamp_min(1).log()[:, None]) / (high - low)).clamp(0, 1)  # of each rung
        return self.young_stretch[-1] + (missing * (self.young_stretch[:-1] - self.young_stretch[1:])).sum(1)
