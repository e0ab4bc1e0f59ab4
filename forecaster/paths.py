"""Sample paths that keep the dependence between steps, and forecasts beyond the trained horizon made of them.

Legend: B windows, L context steps, H trained horizon, Q quantiles, P paths, K knots of the horizon.
A path is a draw from a Gaussian copula: normal deviates whose correlation between steps was measured on held-out
origins, each turned into a value by its own step's quantiles. Beyond the trained horizon each path goes on from its own
values, and the quantiles of a step are those of all paths' distributions together, so that uncertainty adds up the way
the model says.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from forecaster.network import ForecastNetwork
from forecaster.settings import ModelSettings
from forecaster.transforms import LARGEST_LOG
from forecaster.windows import Context

ROLLED_PATHS = 32  # that carry the uncertainty beyond the horizon: each brings a whole distribution, so few do
_SEED = 20_240_229
_EDGE = 1e-6  # a draw of exactly 0 or 1 has no deviate
_WIDEST = 4.0  # deviates: far beyond the outermost quantile nothing is known


def roll_quantiles(network: ForecastNetwork, context: Context, horizon: int) -> Tensor:
    """[B, horizon, Q] quantiles, carried on by paths beyond the trained horizon; the same input gives the same."""
    grid = _next(network, context)
    blocks, steps = [grid], grid.shape[1]
    conditional = grid[:, None].expand(-1, ROLLED_PATHS, -1, -1)  # [B, P, H, Q] given each path so far
    while steps < horizon:
        deviates = draw_deviates(network.dependence, grid.shape[1], ROLLED_PATHS, _SEED + steps)
        context = _go_on(context, follow(conditional, deviates, network.settings))
        conditional = _next(network, context).reshape(len(grid), ROLLED_PATHS, *grid.shape[1:])
        blocks.append(_pooled(conditional, network.settings.quantiles))
        steps += grid.shape[1]
    return torch.cat(blocks, 1)[:, :horizon]


def roll_paths(network: ForecastNetwork, context: Context, horizon: int, paths: int, seed: int) -> Tensor:
    """[B, paths, horizon] sample paths; the same seed gives the same deviates for every window."""
    grid = _next(network, context)
    conditional = grid[:, None].expand(-1, paths, -1, -1)
    blocks: list[Tensor] = []
    for steps in range(0, horizon, grid.shape[1]):
        if blocks:
            context = _go_on(context, blocks[-1])
            conditional = _next(network, context).reshape(len(grid), paths, *grid.shape[1:])
        deviates = draw_deviates(network.dependence, grid.shape[1], paths, seed + steps)
        blocks.append(follow(conditional, deviates, network.settings))
    return torch.cat(blocks, 2)[:, :, :horizon]


def draw_deviates(dependence: Tensor, horizon: int, paths: int, seed: int) -> Tensor:
    """[P, H] normal deviates, correlated over the horizon.

    dependence: [K, K] lower Cholesky factor of the correlation between knots; steps that share a knot share its
    deviate. Sobol points spread few paths more evenly than independent draws would.
    """
    knots = len(dependence)
    engine = torch.quasirandom.SobolEngine(knots, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points = engine.draw(paths).clamp(_EDGE, 1 - _EDGE)
    normal: Tensor = torch.special.ndtri(points.to(dependence)) @ dependence.T
    return normal[:, knot_of_step(horizon, knots)].clamp(-_WIDEST, _WIDEST)


def knot_of_step(horizon: int, knots: int) -> Tensor:
    """[H] the knot that each step of the horizon belongs to."""
    return torch.arange(horizon) * knots // horizon


def follow(conditional: Tensor, deviates: Tensor, settings: ModelSettings) -> Tensor:
    """[B, P, H] the values at `deviates` [P, H] of the distributions whose quantiles are `conditional` [B, P, H, Q].

    Linear in the deviate between quantiles; in the logarithm where the model works in logarithms and all are positive;
    never below the model's floor.
    """
    known = _deviates(settings.quantiles).to(conditional)
    right = torch.searchsorted(known, deviates.contiguous()).clamp(1, len(known) - 1)
    share = (deviates - known[right - 1]) / (known[right] - known[right - 1])
    index = right[None, :, :, None].expand(*conditional.shape[:3], 1)
    low, high = conditional.gather(3, index - 1)[..., 0], conditional.gather(3, index)[..., 0]
    plain = low + share * (high - low)
    if settings.floor is not None:
        plain = plain.clamp(min=settings.floor)
    if settings.transform != "log":
        return plain
    above = low > 0
    logs = torch.where(above, low, 1.0).log() * (1 - share) + torch.where(above, high, 1.0).log() * share
    return torch.where(above, logs.clamp(max=LARGEST_LOG).exp(), plain)


def _next(network: ForecastNetwork, context: Context) -> Tensor:
    """[B, H, Q] quantiles of the next trained horizon; covariates may reach further, or less far."""
    values, observed, covariates = context
    if covariates is None:
        return network(values, observed)  # type: ignore[no-any-return]
    steps = values.shape[1] + network.settings.horizon
    missing = max(0, steps - covariates.shape[1])
    covariates = torch.nn.functional.pad(covariates, (0, 0, 0, missing), value=torch.nan)[:, :steps]
    return network(values, observed, covariates)  # type: ignore[no-any-return]


def _go_on(context: Context, block: Tensor) -> Context:
    """The windows [B · P, L] that end with `block` [B, P, H], as if it had been observed."""
    batch, paths, _ = block.shape
    copies = batch * paths // len(context.values)
    length = context.values.shape[1]
    values, observed = (part.repeat_interleave(copies, 0) for part in (context.values, context.observed))
    covariates = context.covariates
    if covariates is not None:
        covariates = covariates[:, block.shape[2] :].repeat_interleave(copies, 0)
    later = block.reshape(batch * paths, -1)
    known = torch.ones_like(later, dtype=torch.bool)
    values, observed = torch.cat([values, later], 1)[:, -length:], torch.cat([observed, known], 1)[:, -length:]
    return Context(values, observed, covariates)


def _pooled(conditional: Tensor, probabilities: Sequence[float]) -> Tensor:
    """[B, H, Q] quantiles of the mixture of all paths' distributions [B, P, H, Q].

    Each quantile stands for the probability that lies nearer to it than to its neighbours.
    """
    batch, paths, horizon, count = conditional.shape
    p = torch.tensor(list(probabilities), dtype=conditional.dtype, device=conditional.device)
    edges = torch.cat([p.new_zeros(1), (p[1:] + p[:-1]) / 2, p.new_ones(1)])
    values, order = conditional.transpose(1, 2).reshape(batch, horizon, paths * count).sort(dim=2)
    weight = (edges.diff() / paths).repeat(paths)[order]
    middle = weight.cumsum(2) - weight / 2
    right = torch.searchsorted(middle, p.expand(batch, horizon, count).contiguous()).clamp(1, paths * count - 1)
    low, high = middle.gather(2, right - 1), middle.gather(2, right)
    share = ((p - low) / (high - low)).clamp(0, 1)
    return values.gather(2, right - 1) * (1 - share) + values.gather(2, right) * share


def _deviates(probabilities: Sequence[float]) -> Tensor:
    return torch.tensor([NormalDist().inv_cdf(p) for p in probabilities])
