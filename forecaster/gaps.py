"""Bridging of gaps: what the network is given at steps that nobody observed; on tensors, exportable.

Legend: B windows, L context steps, D seasons of a window (rows), P steps of a season (columns).
A gap is filled with what the other seasons have at its phase, each weighted by how well seasons so far apart foretell
one another in this window, plus what is left of the deviation of the steps around the gap. Where the week counts, so
does the same day of other weeks; where the level drifts, the seasons near by. Docs and measurements: docs/model.md.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from forecaster.normalisation import mean_observed
from forecaster.precision import full_precision

_MOST_ROWS = 64  # beyond, a row holds several seasons: what is compared grows with the square
_POWER = 2.0  # of the mean squared difference by which a distance between seasons counts less
_USUAL_PAIRS = 32.0  # pairs of steps that weigh as much as the mean difference of all distances
_LEAST_DIFFERENCE = 0.005  # of the variance: rounding must not tell distances apart
_PERSISTENCE, _PERSISTENCE_STEPS = 0.95, 16.0  # of a deviation from one step to the next, and how many steps say so
_LEAST_PERSISTENCE, _MOST_PERSISTENCE = 0.01, 0.98
_TINY = 1e-12


def bridge(
    values: Float[Tensor, "batch context"], observed: Bool[Tensor, "batch context"], period: int
) -> Float[Tensor, "batch context"]:
    """Normalised values with estimates at unobserved steps; whatever stands at those changes nothing.

    period: steps of the season; 1 for none, where a gap is bridged by a straight line, and the first and last observed
    values go on. A step whose phase was never observed stays 0, the window's location.
    """
    values = torch.where(observed, values, 0.0)
    if values.device.type != "cpu" or not torch.is_grad_enabled():
        return _bridged(values, observed, period)
    # Many of a fit's windows have no gap. How many, an exported graph must not depend on, nor a GPU wait for.
    rows = (~observed).any(1).nonzero()[:, 0]
    return values.index_copy(0, rows, _bridged(values[rows], observed[rows], period)) if len(rows) else values


def _bridged(values: Tensor, observed: Tensor, period: int) -> Tensor:
    """[B, L] as `bridge` has it, of values that are 0 where unobserved."""
    if period == 1:
        return torch.where(observed, values, _between(values, observed, None))
    usual, known = _usual(values, observed, period)
    comparable = observed & known
    apart = torch.where(comparable, values - usual, 0.0)
    expected = usual + _between(apart, comparable, _persistence(apart, comparable))
    return torch.where(observed, values, torch.where(known, expected, 0.0))


def _usual(values: Tensor, observed: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """[B, L] weighted mean of each step's phase in the other seasons, 0 where none has it; and where one has."""
    length = int(values.shape[1])  # a constant of an exported graph, as all that follows of it
    period *= -(-length // (period * _MOST_ROWS))
    padding = -length % period
    shape = (-1, (length + padding) // period, period)
    centre = mean_observed(values, observed)
    flags = torch.nn.functional.pad(observed.to(values.dtype), (padding, 0)).reshape(shape)
    centred = torch.where(observed, values - centre, 0.0)
    rows = torch.nn.functional.pad(centred, (padding, 0)).reshape(shape)
    with full_precision(values.device.type):
        weight = _weight_of_rows(rows, flags)  # [B, D, D]
        total = weight @ flags
        mean = ((weight @ rows) / total.clamp_min(_TINY)).flatten(1)[:, padding:]
    known = (total > 0).flatten(1)[:, padding:]
    return torch.where(known, mean + centre, 0.0), known


def _weight_of_rows(rows: Tensor, flags: Tensor) -> Tensor:
    """[B, D, D] how much each season tells of each other one: by its distance, and nothing of itself.

    rows, flags: [B, D, P] values (0 where unobserved) and where they are observed
    """
    count = int(rows.shape[1])
    if count == 1:
        return torch.zeros_like(rows[:, :, :1])  # by its shape: a number of windows would be fixed in the graph
    with torch.no_grad():
        row = torch.arange(count, device=rows.device)
        distance = (row[:, None] - row).abs()
        of_distance = (distance.reshape(-1, 1) == row[1:]).to(rows.dtype)  # [D · D, D - 1]
        squares = rows.square() @ flags.transpose(1, 2)
        squares = (squares + squares.transpose(1, 2) - 2 * rows @ rows.transpose(1, 2)).flatten(1) @ of_distance
        pairs = (flags @ flags.transpose(1, 2)).flatten(1) @ of_distance
        overall = squares.sum(1, keepdim=True) / pairs.sum(1, keepdim=True).clamp_min(1)
        difference = (squares.clamp_min(0) + 2 * _USUAL_PAIRS * overall) / (pairs + 2 * _USUAL_PAIRS)
        variance = rows.square().sum((1, 2)) / flags.sum((1, 2)).clamp_min(1)
        difference = difference + _LEAST_DIFFERENCE * variance[:, None] + _TINY
        weight = (difference.amin(1, keepdim=True) / difference) ** _POWER
        return (weight @ of_distance.T).reshape(-1, count, count)


def _persistence(apart: Tensor, known: Tensor) -> Tensor:
    """[B, 1] share of a deviation that is left one step later."""
    with torch.no_grad():
        both = (known[:, 1:] & known[:, :-1]).to(apart.dtype)
        products = (both * apart[:, 1:] * apart[:, :-1]).sum(1, keepdim=True)
        squares = (both * (apart[:, 1:].square() + apart[:, :-1].square()) / 2).sum(1, keepdim=True)
        usual = _PERSISTENCE_STEPS * mean_observed(apart.square(), known)
        share = (products + _PERSISTENCE * usual) / (squares + usual).clamp_min(_TINY)
        return share.clamp(_LEAST_PERSISTENCE, _MOST_PERSISTENCE)


def _between(values: Tensor, known: Tensor, persistence: Tensor | None) -> Tensor:
    """[B, L] what is expected of unknown steps from the nearest known ones before and after, 0 where there are none.

    persistence: [B, 1] of a first-order autoregression about zero, whose conditional mean it is; None: a straight line
    """
    length = int(values.shape[1])
    step = torch.arange(length, dtype=values.dtype, device=values.device)
    since, until = _since_known(known), _since_known(known.flip(1)).flip(1)
    begun, ended = since < length, until < length
    before = torch.where(begun, values.gather(1, (step - since).clamp_min(0).long()), 0.0)
    after = torch.where(ended, values.gather(1, (step + until).clamp_max(length - 1).long()), 0.0)
    if persistence is None:
        early = torch.where(ended, until, 1.0) * begun
        late = torch.where(begun, since, 1.0) * ended
        return (before * early + after * late) / (early + late).clamp_min(1)
    left, right = (torch.where(there, persistence**gap, 0.0) for there, gap in ((begun, since), (ended, until)))
    found = before * left * (1 - right.square()) + after * right * (1 - left.square())
    return found / (1 - (left * right).square()).clamp_min(_TINY)


def _since_known(known: Tensor) -> Tensor:
    """[B, L] steps since the last known one, 0 at a known step, at least L where there is none."""
    length = int(known.shape[1])
    step = torch.arange(1, length + 1, dtype=torch.float32, device=known.device)
    last = step * known  # 0 for none; doubling the reach at each round takes log2(L) rounds of slices
    reach = 1
    while reach < length:
        last = torch.maximum(last, torch.nn.functional.pad(last[:, :-reach], (reach, 0)))
        reach *= 2
    return torch.where(last > 0, step - last, float(length))
