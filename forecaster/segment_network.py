"""The segment recurrent network: one member of a model.

Legend: B windows, L context steps, H horizon steps, g steps of a segment, S context segments, O output segments,
D units of the state, F features of an output segment, P parameters of a step's distribution, Q quantiles.

A window is cut into segments of g steps, each embedded by one linear map and fed to a recurrent cell (SegRNN,
Lin et al. 2023). A decoder makes the output segments from the last state, the position of the segment and the steps
of the same phase one or more seasons earlier; a head makes distributions of them. A linear map of the last steps,
which begins as a seasonal naive forecast, runs beside it, so that the untrained network is seasonal naive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from forecaster.cells import State, build_cell
from forecaster.decoders import build_decoder
from forecaster.gaps import bridge
from forecaster.heads import CountHead, Head, Parameters, build_head
from forecaster.normalisation import locate, spread, tame, unit_size
from forecaster.precision import full_precision
from forecaster.settings import CovariateSettings, NetworkSettings
from forecaster.step_encoder import StepEncoder, Steps
from forecaster.transforms import transform, transform_truth, untransform

_POSITION_WIDTH = 16
_VARIABILITY, _USUAL_VARIABILITY = (1e-4, 10.0), -3.0  # scale relative to size: its bounds, and the logarithm of 5 %


class Normalised(NamedTuple):
    """A window's values z and flags [B, L], and what the values were normalised by [B, 1].

    steps: what else is known of context and horizon, None if nothing is
    variability: [B, 1] the scale relative to the window's size, about from -3 to 3; None where it is not told
    logged: [B, 1] 1 where z is of logarithms, though the model's are not; None for a network that takes none
    """

    z: Tensor
    observed: Tensor
    location: Tensor
    scale: Tensor
    steps: Steps | None
    variability: Tensor | None
    logged: Tensor | None


class Encoded(NamedTuple):
    """A normalised window, and the encoder's work.

    segments: [B, S, 2g…] values, flags, and summaries of what else is known; states: [B, S, D] of every segment;
    last: the state after the last one
    """

    window: Normalised
    segments: Tensor
    states: Tensor
    last: State


class SegmentNetwork(nn.Module):
    """One member: from a window of (transformed) values to its quantiles, normalisation inside."""

    lag_index: Tensor
    typical_scale: Tensor
    begun: Tensor | None

    def __init__(
        self, settings: NetworkSettings, quantiles: Sequence[float], covariates: CovariateSettings | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        g, width = settings.segment, settings.width
        self.steps = StepEncoder(covariates) if covariates is not None and covariates.size else None
        seen, foreseen = (self.steps.context_width, self.steps.horizon_width) if self.steps is not None else (0, 0)
        self.embed = nn.Linear((2 + seen) * g, width)
        self.cell = build_cell(settings)
        self.position = nn.Parameter(0.02 * torch.randn(settings.output_segments, _POSITION_WIDTH))
        known = _POSITION_WIDTH + (len(settings.lags) + foreseen) * g + settings.variability
        if settings.attention:
            self.query = nn.Linear(width + known, width)
            self.attend = nn.MultiheadAttention(width, settings.attention, batch_first=True)
        self.decoder = build_decoder(settings, known + (width if settings.attention else 0))
        self.head: Head = build_head(settings, quantiles)
        self.highway = nn.Linear(settings.highway, settings.horizon)
        nn.init.zeros_(self.highway.bias)
        self.highway.weight.data = _seasonal_naive_map(settings)
        self.register_buffer("lag_index", _lag_index(settings), persistent=False)
        self.register_buffer("typical_scale", torch.tensor(1.0))
        self.register_buffer("begun", None, persistent=False)

    def forward(
        self,
        values: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        relative: Bool[Tensor, "batch 1"],
        covariates: Float[Tensor, "batch steps numbers"] | None = None,
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """Values (0 where unobserved), flags, and where scales count relative to size; gives quantiles.

        covariates: [B, L + H, C] of the context and the horizon, NaN = missing
        """
        return self.quantiles(self.decode(self.encode(values, observed, relative, covariates)))

    def begin(self) -> None:
        """A fit begins: remember the linear shortcut as it is now, [H, highway + 1] with its bias at last."""
        self.begun = torch.cat([self.highway.weight, self.highway.bias[:, None]], 1).detach().clone()

    @torch.no_grad()
    def restrain(self, share: float) -> None:
        """Keep this share of what a fit has added to the linear forecast that it began from.

        What it has learnt of the linear effects of covariates stays: they are taken off the window as well.
        """
        assert self.begun is not None, "only what was fitted can be restrained"
        self.head.restrain(share)
        self.highway.weight.copy_(self.begun[:, :-1].lerp(self.highway.weight, share))
        self.highway.bias.copy_(self.begun[:, -1].lerp(self.highway.bias, share))

    def count_mean(
        self, values: Tensor, observed: Tensor, relative: Tensor, covariates: Tensor | None = None
    ) -> Float[Tensor, "batch horizon"]:
        """Means of a network whose head is of counts; arguments as of `forward`."""
        assert isinstance(self.head, CountHead)
        return self.head.mean(self.decode(self.encode(values, observed, relative, covariates)))

    def quantiles(self, found: Parameters) -> Float[Tensor, "batch horizon quantiles"]:
        """Quantiles in the units of the values."""
        normalised = self.head.quantiles(found)
        restored: Tensor = normalised * found.scale[:, :, None] + found.location[:, :, None]
        if isinstance(self.head, CountHead):
            return restored.round()  # (c / s) · s may lie just beside c, and a truth of c then outside
        return restored if found.logged is None else untransform("log", restored, found.logged)

    def log_likelihood(self, found: Parameters, truth: Tensor) -> Tensor:
        """[B, H] of a (transformed) truth, as a density over the window's normalised units."""
        if found.logged is not None:
            truth = transform_truth("log", truth, found.logged)
        return self.head.log_likelihood(found, (truth - found.location) / found.scale)

    def encode(self, values: Tensor, observed: Tensor, relative: Tensor, covariates: Tensor | None = None) -> Encoded:
        """Normalise a window and read it; a last partial segment is completed in front with unobserved zeros."""
        s = self.settings
        window = self.normalise(values, observed, relative, covariates)
        padding = s.input_segments * s.segment - s.context
        shape = (-1, s.input_segments, s.segment)
        values_and_flags = (window.z, window.observed.to(window.z.dtype))
        parts = [nn.functional.pad(part, (padding, 0)).reshape(shape) for part in values_and_flags]
        if window.steps is not None:
            summaries = nn.functional.pad(window.steps.context, (0, 0, padding, 0))
            parts.append(summaries.reshape(-1, s.input_segments, s.segment * window.steps.context.shape[2]))
        segments = torch.cat(parts, dim=2)
        states, last = self.cell.read(self.embed, segments)
        return Encoded(window, segments, states, last)

    def normalise(
        self, values: Tensor, observed: Tensor, relative: Tensor, covariates: Tensor | None = None
    ) -> Normalised:
        """A window in its own units, gaps bridged.

        values, observed: [B, L], the last `context` of which are seen; relative: [B, 1]; covariates: [B, L + H, C]
        """
        s = self.settings
        steps = None
        if self.steps is not None and covariates is not None:
            steps = self.steps(covariates[:, values.shape[1] - s.context :], s.context)
        values, observed, relative, logged = self.seen(values, observed, relative)
        values = tame(values, observed)
        location = locate(values, observed, s.location)
        scale = spread(values, observed, s.scale, self.typical_scale, relative, s.season)
        z = torch.where(observed, (values - location) / scale, 0.0).clamp(-s.reach, s.reach)
        if steps is not None:
            z = torch.where(observed, z - steps.effect[:, : s.context], 0.0)
        z = bridge(z, observed, s.season)
        variability = _variability(scale / unit_size(values, observed, relative)) if s.variability else None
        return Normalised(z, observed, location, scale, steps, variability, logged)

    def seen(self, values: Tensor, observed: Tensor, relative: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What this network sees of a window: its own context's values, flags, where scales count relative to size, and
        where values became logarithms (None if they never do)."""
        s = self.settings
        values, observed = values[:, -s.context :], observed[:, -s.context :]
        if not s.logarithm:
            return values, observed, relative, None
        values, logged = transform("log", values, observed)
        return values, observed, relative & (logged == 0), logged

    def decode(self, encoded: Encoded) -> Parameters:
        """The head's parameters of each step of the horizon."""
        s, window = self.settings, encoded.window
        with full_precision(window.z.device.type):  # in bf16 a smooth season would lose its fine steps
            centre = self.highway(window.z[:, -s.highway :])
        features = self._features(encoded)
        if s.decoder == "autoregressive":
            before = encoded.segments[:, -1, : s.segment]
            padded = nn.functional.pad(centre, (0, s.output_segments * s.segment - s.horizon))
            centres = padded.reshape(-1, s.output_segments, s.segment)

            def medians(decoded: Tensor, number: int) -> Tensor:
                return self.head.median(self.head(decoded), centres[:, number])

            decoded = self.decoder(self.cell, encoded.last, features, before, medians)
        else:
            decoded = self.decoder(self.cell, encoded.last, features)
        if window.steps is not None:
            centre = centre + window.steps.effect[:, s.context :]
        raw = self.head(decoded)[:, : s.horizon]
        return Parameters(raw, centre, window.location, window.scale, window.logged)

    def _features(self, encoded: Encoded) -> Tensor:
        """[B, O, F] position, same-phase values, variability, what is known beforehand, and what attention finds."""
        s, window = self.settings, encoded.window
        batch, segments = window.z.shape[0], s.output_segments
        parts = [self.position[None].expand(batch, -1, -1)]
        if s.lags:
            same_phase = window.z[:, self.lag_index.reshape(-1)]  # [B, O · lags · g]
            parts.append(same_phase.reshape(batch, segments, len(s.lags) * s.segment))
        if window.variability is not None:
            parts.append(window.variability[:, None].expand(-1, segments, -1))
        if window.steps is not None and window.steps.horizon.shape[2]:
            ahead = nn.functional.pad(window.steps.horizon, (0, 0, 0, segments * s.segment - s.horizon))
            parts.append(ahead.reshape(batch, segments, s.segment * ahead.shape[2]))
        if s.attention:
            state = encoded.last[0][-1][:, None, :].expand(-1, segments, -1)
            query = self.query(torch.cat([state, *parts], dim=2))
            found, _ = self.attend(query, encoded.states, encoded.states, need_weights=False)
            parts.append(found)
        return torch.cat(parts, dim=2)


def _variability(share: Tensor) -> Tensor:
    """What the decoder is told of a scale as a share of the window's size: its logarithm, centred and of about unit
    spread over usual series."""
    return (share.clamp(*_VARIABILITY).log() - _USUAL_VARIABILITY) / 2


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
