"""The segment recurrent network, and the graph that makes a whole forecast of it.

Legend: B windows, L context steps, H horizon steps, g steps of a segment, S context segments, O output segments,
D units of the state, Q quantiles.

A window is cut into segments of g steps, each embedded by one linear map and fed to an LSTM or GRU (SegRNN,
Lin et al. 2023). The decoder makes all output segments at once from the last state, the position of the segment
and the steps of the same phase one or more seasons earlier. A linear map of the last steps, which begins as a
seasonal naive forecast, runs beside it, so that the untrained network is seasonal naive.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from forecaster.normalisation import fill, locate, spread, window_positive
from forecaster.settings import ModelSettings, NetworkSettings

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
_POSITION_WIDTH = 16
_FARTHEST = 50.0  # normalised values lie far inside; keeps one absurd value from overflowing
LARGEST_LOG = 80.0  # exp(80) = 5e34 is still a float32


class SegmentNetwork(nn.Module):
    """One member: from a window of (transformed) values to its quantiles, normalisation inside."""

    lag_index: Tensor
    typical_scale: Tensor

    def __init__(self, settings: NetworkSettings, quantiles: Sequence[float]) -> None:
        super().__init__()
        self.settings = settings
        g, width = settings.segment, settings.width
        self.embed = nn.Linear(2 * g, width)
        self.cell = _CELLS[settings.cell](
            width, width, settings.layers, batch_first=True, dropout=settings.dropout if settings.layers > 1 else 0.0
        )
        self.position = nn.Parameter(0.02 * torch.randn(settings.output_segments, _POSITION_WIDTH))
        self.decode = nn.Sequential(
            nn.Linear(width + _POSITION_WIDTH + len(settings.lags) * g, width),
            nn.SiLU(),
            nn.Dropout(settings.dropout),
        )
        self.head = QuantileHead(width, g, quantiles)
        self.highway = nn.Linear(settings.highway, settings.horizon)
        self.register_buffer("lag_index", _lag_index(settings), persistent=False)
        self.register_buffer("typical_scale", torch.tensor(1.0))
        self._initialise()

    def forward(
        self,
        values: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        relative: Bool[Tensor, "batch 1"],
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Values (0 where unobserved), flags, and where scales count relative to size; gives quantiles."""
        s = self.settings
        values, observed = values[:, -s.context :], observed[:, -s.context :]
        location = locate(values, observed, s.location)
        scale = spread(values, observed, s.scale, self.typical_scale, relative)
        z = torch.where(observed, (values - location) / scale, 0.0).clamp(-_FARTHEST, _FARTHEST)
        z = fill(z, observed, s.season)
        decoded = self._decode(self._encode(z, observed), z)  # [B, O, D]
        shortcut = self.highway(z[:, -s.highway :])  # [B, H]
        quantiles = self.head(decoded)[:, : s.horizon] + shortcut[:, :, None]  # [B, H, Q]
        restored: Tensor = quantiles * scale[:, :, None] + location[:, :, None]
        return restored

    def _encode(self, z: Tensor, observed: Tensor) -> Tensor:
        """[B, L] to the last state [B, D]; a last partial segment is completed in front with unobserved zeros."""
        s = self.settings
        padding = s.input_segments * s.segment - s.context
        flags = observed.to(z.dtype)
        if padding:
            z, flags = nn.functional.pad(z, (padding, 0)), nn.functional.pad(flags, (padding, 0))
        shape = (-1, s.input_segments, s.segment)
        segments = torch.cat([z.reshape(shape), flags.reshape(shape)], dim=2)  # [B, S, 2g]
        states, _ = self.cell(self.embed(segments))
        last: Tensor = states[:, -1]
        return last

    def _decode(self, state: Tensor, z: Tensor) -> Tensor:
        """[B, D] and the normalised window [B, L] to [B, O, D]."""
        s = self.settings
        batch, segments = state.shape[0], s.output_segments
        inputs = [
            state[:, None, :].expand(-1, segments, -1),
            self.position[None].expand(batch, -1, -1),
        ]
        if s.lags:
            same_phase = z[:, self.lag_index.reshape(-1)]  # [B, O · lags · g]
            inputs.append(same_phase.reshape(batch, segments, len(s.lags) * s.segment))
        decoded: Tensor = self.decode(torch.cat(inputs, dim=2))
        return decoded

    def _initialise(self) -> None:
        for name, parameter in self.cell.named_parameters():
            if "weight_hh" in name:
                for block in torch.split(parameter.data, self.settings.width):
                    nn.init.orthogonal_(block)  # keeps the state's norm over many segments
            elif "bias" in name:
                nn.init.zeros_(parameter)
                if self.settings.cell == "lstm" and "bias_ih" in name:
                    parameter.data[self.settings.width : 2 * self.settings.width] = 1.0  # remember at first
        nn.init.zeros_(self.highway.bias)
        self.highway.weight.data = _seasonal_naive_map(self.settings)


class QuantileHead(nn.Module):
    """Quantiles that cannot cross: a median and positive gaps, summed up away from it."""

    def __init__(self, width: int, segment: int, quantiles: Sequence[float]) -> None:
        super().__init__()
        self.segment, self.below = segment, list(quantiles).index(0.5)
        self.above = len(quantiles) - 1 - self.below
        self.linear = nn.Linear(width, segment * len(quantiles))
        self._initialise(quantiles)

    def forward(self, decoded: Float[Tensor, "batch segments width"]) -> Float[Tensor, "batch steps quantiles"]:
        """Gives `segments` times `segment` steps."""
        raw = self.linear(decoded).reshape(decoded.shape[0], -1, self.below + 1 + self.above)
        median, gaps = raw[..., :1], nn.functional.softplus(raw[..., 1:])
        lower, upper = gaps[..., : self.below].cumsum(-1), gaps[..., self.below :].cumsum(-1)
        return torch.cat([median - lower.flip(-1), median, median + upper], dim=-1)

    def _initialise(self, quantiles: Sequence[float]) -> None:
        """A median of zero and gaps of a normal distribution with a standard deviation of a half."""
        deviates = torch.tensor([NormalDist().inv_cdf(q) for q in quantiles])
        gaps = 0.5 * deviates.diff()
        gaps = torch.cat([gaps[: self.below].flip(0), gaps[self.below :]])
        bias = torch.cat([torch.zeros(1), gaps.expm1().log()])
        self.linear.bias.data = bias.repeat(self.segment)
        self.linear.weight.data.mul_(0.1)


class ForecastNetwork(nn.Module):
    """The whole forecast as one graph: transform, members, their mean, calibration, inverse transform.

    `calibration` [H, Q] stretches each quantile's distance from the median; it is 1 until calibrated.
    """

    calibration: Tensor

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.median = settings.quantiles.index(0.5)
        self.members = nn.ModuleList([SegmentNetwork(member, settings.quantiles) for member in settings.members])
        self.register_buffer("calibration", torch.ones(settings.horizon, len(settings.quantiles)))

    def forward(
        self, values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"]
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Raw values (0 where unobserved) and flags of the last `context` steps to quantiles in data units."""
        transformed, logged = self.transform(values, observed)
        quantiles = self.calibrate(self.transformed_quantiles(transformed, observed, logged))
        if self.settings.transform == "identity":
            return quantiles
        return torch.where(logged[:, :, None], quantiles.clamp(max=LARGEST_LOG).exp(), quantiles)

    def transform(
        self, values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"]
    ) -> tuple[Float[Tensor, "batch context"], Bool[Tensor, "batch 1"]]:
        """Transformed values, and which windows the logarithm was taken of."""
        if self.settings.transform == "identity":
            return values, torch.zeros_like(observed[:, :1])
        logged = window_positive(values, observed)
        usable = observed & logged
        return torch.where(usable, torch.where(usable, values, 1.0).log(), values), logged

    def transformed_quantiles(
        self,
        transformed: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        logged: Bool[Tensor, "batch 1"],
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """The members' mean, before calibration and the inverse transform."""
        return torch.stack([member(transformed, observed, ~logged) for member in self.members]).mean(0)

    def calibrate(
        self, quantiles: Float[Tensor, "batch horizon quantiles"]
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Stretch distances from the median; sorting keeps the quantiles in order (Chernozhukov et al. 2010)."""
        median = quantiles[:, :, self.median, None]
        return (median + (quantiles - median) * self.calibration).sort(dim=-1).values


def _lag_index(settings: NetworkSettings) -> Tensor:
    """[O, lags, g] where in the window the same-phase value of each forecast step lies, for each lag.

    A lag that points into the future is moved back by whole lags; one that points before the window is moved
    forward by whole lags again, and at last to the window's first step.
    """
    steps = torch.arange(settings.output_segments * settings.segment)
    rows = []
    for lag in settings.lags:
        back = lag * (steps // lag + 1)  # the smallest multiple of the lag that reaches the known part
        place = settings.context + steps - back
        rows.append(place.clamp(0, settings.context - 1))
    if not rows:
        return torch.zeros(0, dtype=torch.long)
    grid = torch.stack(rows).reshape(len(rows), settings.output_segments, settings.segment)
    return grid.permute(1, 0, 2).contiguous()


def _seasonal_naive_map(settings: NetworkSettings) -> Tensor:
    """[H, highway] 0.7 of the step one long season ago and 0.3 of one season ago, where the highway reaches."""
    weight = torch.zeros(settings.horizon, settings.highway)
    within = [lag for lag in settings.lags if lag <= settings.highway and lag % settings.season == 0] or [
        min(settings.season, settings.highway)
    ]
    shares = {within[0]: 1.0} if len(within) == 1 else {max(within): 0.7, min(within): 0.3}
    if settings.season == 1:  # without a season the naive method repeats the last value
        shares = {1: 1.0}
    steps = torch.arange(settings.horizon)
    for lag, share in shares.items():
        place = settings.highway + steps - lag * (steps // lag + 1)
        weight[steps, place.clamp(0)] += share
    return weight
