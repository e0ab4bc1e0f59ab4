"""Linear maps from the last steps of a window to its horizon, in the form in which few windows are enough to fit them.

Legend: B windows, K steps that a map sees, H horizon steps; S steps of a season, D whole seasons among the K steps,
O seasons that the horizon touches.
A map of K times H free numbers learns a small panel by heart. Of hours nearly all that it can say is alike at each
hour of the day (SparseTSF, Lin et al. 2024), but for what the last season tells of the next steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_RIDGE, _SMALLEST = 0.01, 1e-12  # of the inputs' mean square, which may be none


class SeasonalMap(nn.Module):
    """forecast[h] = Σ_d A[o, d] · z[d, p] + Σ_s N[n, s] · z[D, s] + l[o] · mean(z), h being step p of season o.

    z: [D, S] the last D whole seasons of a window; of K < S steps, the one "season" of as many
    n: [2S] step p of the next season, or of all later ones, which have these weights in common
    """

    def __init__(self, start: Tensor, inputs: Sequence[Tensor], season: int) -> None:
        """start: [K, H] to begin with, which has the form (the seasonal naive method)

        inputs: [B, K] of each chunk, to set the scales by
        """
        super().__init__()
        self.steps, self.horizon = start.shape
        self.season = min(season, self.steps)
        self.seasons, ahead = self.steps // self.season, -(-self.horizon // self.season)
        first = torch.arange(ahead, device=start.device) * self.season  # step of each season ahead, all of phase 0
        self.naive = start[-self.seasons * self.season :: self.season, first].T
        self.alike = nn.Parameter(start.new_zeros(self.naive.shape))
        step = torch.arange(self.horizon, device=start.device)
        self.near_row = torch.where(step < self.season, step, self.season + step % self.season)
        self.near = nn.Parameter(start.new_zeros(2 * self.season, self.season))
        self.level = nn.Parameter(start.new_zeros(ahead))
        phases = (self._by_season(part).transpose(1, 2).reshape(-1, self.seasons) for part in inputs)
        self.whiten_alike = _whitening(phases)
        self.whiten_near = _whitening(part[:, -self.season :] for part in inputs)
        size = torch.stack([self._by_season(part).mean((1, 2)).square().mean() for part in inputs]).mean()
        self.level_unit = size.clamp_min(_SMALLEST).rsqrt()

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, K] to [B, H]"""
        alike, near, level = self._numbers()
        z = self._by_season(inputs)
        far = torch.einsum("od,bds->bos", alike, z) + (z.mean((1, 2))[:, None] * level)[:, :, None]
        return far.flatten(1)[:, : self.horizon] + (inputs[:, -self.season :] @ near.T)[:, self.near_row]

    @torch.no_grad()
    def weights(self) -> Tensor:
        """[K, H] of the same map without its form."""
        each: Tensor = self(torch.eye(self.steps, device=self.near.device))
        return each

    def _by_season(self, inputs: Tensor) -> Tensor:
        """[B, D, S]"""
        return inputs[:, -self.seasons * self.season :].unflatten(1, (self.seasons, self.season))

    def _numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, N and l, of parameters that change the forecast by as much each."""
        return (
            self.naive + self.alike @ self.whiten_alike.T,
            self.near @ self.whiten_near.T,
            self.level * self.level_unit,
        )


class FreeMap(nn.Module):
    """A weight of each step for each step ahead."""

    def __init__(self, start: Tensor, inputs: Sequence[Tensor]) -> None:
        """start: [K, H] to begin with; inputs: [B, K] of each chunk, to set the scales by"""
        super().__init__()
        self.start = start
        self.whiten = _whitening(inputs)
        self.change = nn.Parameter(start.new_zeros(start.shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, K] to [B, H]"""
        return inputs @ self._weights()

    @torch.no_grad()
    def weights(self) -> Tensor:
        """[K, H]"""
        return self._weights()

    def _weights(self) -> Tensor:
        return self.start + self.whiten @ self.change


def _whitening(inputs: Iterable[Tensor]) -> Tensor:
    """[K, K] map that makes [B, K] inputs uncorrelated and of unit size, so that few iterations are enough."""
    count, square = 0, torch.zeros(())
    for part in inputs:
        count, square = count + len(part), part.double().T @ part.double() + square.to(part.device)
    ridge = _RIDGE * (square / count).diagonal().mean().clamp_min(_SMALLEST)
    ridged = square / count + ridge * torch.eye(len(square), dtype=square.dtype, device=square.device)
    return torch.linalg.inv(torch.linalg.cholesky(ridged)).T.float()
