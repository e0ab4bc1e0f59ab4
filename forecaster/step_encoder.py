"""What is known of each step besides the series' values, as the segment network sees it.

Legend: B windows, L context steps, H horizon steps, T = L + H, C numbers known of a step, W numbers of its summary.
The numbers of a step (standardised, with flags of what is missing; categories and parts of the calendar embedded) pass
one hidden layer, the same for every step, which gives two things: the step's *effect*, in units of the normalised
series, which is taken off the context and put back on the horizon, as in a regression with recurrent errors; and a
summary that encoder and decoder read beside the values, for what the effect alone cannot say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecaster.calendar import category_count
from forecaster.settings import CovariateSettings

_HIDDEN = 32
_WIDEST_EMBEDDING = 8
_FARTHEST = 10.0  # standard deviations: what lies beyond tells no more


class Steps(NamedTuple):
    """effect: [B, T]; context: [B, L, W'] summaries of what was known then; horizon: [B, H, W] of what is known now."""

    effect: Tensor
    context: Tensor
    horizon: Tensor


class StepEncoder(nn.Module):
    """From the numbers known of each step to its effect and summary."""

    def __init__(self, settings: CovariateSettings) -> None:
        super().__init__()
        self.width = settings.width
        ahead, past = len(settings.future), len(settings.past)
        before = [_Number(settings, number) for number in range(ahead, ahead + past)]
        known = [_Number(settings, number) for number in range(settings.size) if not ahead <= number < ahead + past]
        self.known, self.before = nn.ModuleList(known), nn.ModuleList(before)
        self.ahead = _hidden_layer(known) if known else None
        self.behind = nn.Sequential(_hidden_layer(before), nn.Linear(_HIDDEN, self.width)) if before else None
        self.summary, self.effect = nn.Linear(_HIDDEN, self.width), nn.Linear(_HIDDEN, 1)
        nn.init.zeros_(self.effect.weight)  # untrained, nothing has an effect
        nn.init.zeros_(self.effect.bias)

    @property
    def context_width(self) -> int:
        """W', numbers that the encoder sees of a step."""
        return self.width * ((self.ahead is not None) + (self.behind is not None))

    @property
    def horizon_width(self) -> int:
        """W, numbers that the decoder sees of a step."""
        return self.width if self.ahead is not None else 0

    def forward(self, numbers: Float[Tensor, "batch steps numbers"], context: int) -> Steps:
        """numbers: NaN = missing; context: L"""
        batch, steps, _ = numbers.shape
        effect, parts, horizon = numbers.new_zeros(batch, steps), [], numbers.new_zeros(batch, steps - context, 0)
        if self.ahead is not None:
            hidden = self.ahead(torch.cat([one(numbers, context) for one in self.known], 2))
            effect, summary = self.effect(hidden)[..., 0], self.summary(hidden)
            parts.append(summary[:, :context])
            horizon = summary[:, context:]
        if self.behind is not None:
            seen = numbers[:, :context]
            parts.append(self.behind(torch.cat([one(seen, context) for one in self.before], 2)))
        return Steps(effect, torch.cat(parts, 2), horizon)


def _hidden_layer(columns: Sequence[_Number]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(sum(column.width for column in columns), _HIDDEN), nn.SiLU())


def _categories(settings: CovariateSettings, number: int) -> int | None:
    """How many values one of the numbers has: data columns, then the calendar, then the target. None: any."""
    columns, calendar = settings.columns, settings.calendar
    if number < len(columns):
        return len(settings.categories[columns[number]]) if columns[number] in settings.categories else None
    if number < len(columns) + len(calendar):
        return category_count(calendar[number - len(columns)], settings)
    return len(settings.targets)


class _Number(nn.Module):
    """One of the numbers as inputs of the hidden layer.

    A category is embedded; zero stands for one that is unknown, and for those that training never meets. A numeric
    column is standardised over all training data, beside its distance from its mean over the window.
    """

    def __init__(self, settings: CovariateSettings, number: int) -> None:
        super().__init__()
        self.number = number
        names = settings.columns
        count = _categories(settings, number)
        self.embedding = None
        if count is None:
            self.mean, self.deviation = settings.scales[names[number]]
            self.changes = number < len(settings.future) + len(settings.past)
            self.width = 2 + self.changes
        else:
            self.width = min(_WIDEST_EMBEDDING, (count + 1) // 2 + 1)
            self.embedding = nn.Embedding(count + 1, self.width, padding_idx=0)
            nn.init.zeros_(self.embedding.weight)

    def forward(self, numbers: Tensor, context: int) -> Tensor:
        """[B, T, width]"""
        own = numbers[..., self.number]
        missing = own.isnan()
        if self.embedding is not None:
            embedded: Tensor = self.embedding(torch.where(missing, 0.0, own).long())
            return embedded
        value = torch.where(missing, 0.0, (own - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)
        inputs = [value, missing.to(value.dtype)]
        if self.changes:
            there = (~missing[:, :context]).to(value.dtype)
            usual = (value[:, :context] * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
            inputs.append(torch.where(missing, 0.0, value - usual))
        return torch.stack(inputs, -1)
