"""Windows of a panel with what else is known of them, gathered by index on the device where the panel lies.

Legend: N series, B windows, L context steps, H horizon steps, C numbers known of a step, D columns that change with
time, S static columns, K calendar features, M steps of the calendar, T values and U steps of all series together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from forecaster.calendar import calendar_table
from forecaster.covariates import covariates_for, target_codes
from forecaster.errors import InputError
from forecaster.panel import Panel
from forecaster.settings import CovariateSettings, ModelSettings
from forecaster.windows import Context, gather_context


@dataclass(frozen=True)
class CovariateWindows:
    """Covariates of a panel on a device, gathered by index as values are.

    dynamic: [D, U]; first, length: [N] of each series in it; past: how many of the columns end with the context
    static: [N, S]; calendar: [K, M] and day: [N] where in it each series begins
    target: [N] which of several targets each series is; empty where there is but one
    """

    dynamic: Tensor
    first: Tensor
    length: Tensor
    static: Tensor
    calendar: Tensor
    day: Tensor
    target: Tensor
    past: Tensor

    @classmethod
    def of(
        cls, panel: Panel, settings: CovariateSettings, horizon: int, device: torch.device | None = None
    ) -> CovariateWindows | None:
        """None for a model without covariates. horizon: the farthest step of the calendar. Raises InputError."""
        if not settings.size:
            target_codes(panel, settings)  # raises where it is another column
            return None
        own = covariates_for(panel, settings)
        if settings.calendar and panel.integer:
            raise InputError("the model needs a calendar", field="ds", mend="give timestamps, not whole steps")
        calendar, day = (
            calendar_table(panel, settings, horizon)
            if settings.calendar
            else (np.empty((0, 1), np.float32), np.zeros(panel.n_series, np.int64))
        )
        target = target_codes(panel, settings) if len(settings.targets) > 1 else np.empty(0, np.float32)
        series = (own.offsets[:-1], np.diff(own.offsets), own.static)
        parts = (own.dynamic, *series, calendar, day, target, len(settings.past))
        return cls(*(torch.as_tensor(part, device=device) for part in parts))

    def gather(
        self, series: Int[Tensor, " batch"], place: Int[Tensor, " batch"], context: int, horizon: int
    ) -> Float[Tensor, "batch steps numbers"]:
        """[B, L + H, C] of the `context` steps before each place and the `horizon` steps from it on.

        place: [B] steps from the first of each series; what is known up to the present only is missing after it
        """
        steps = torch.arange(-context, horizon, device=series.device)
        at = place[:, None] + steps
        parts = []
        if len(self.dynamic):
            inside = (at >= 0) & (at < self.length[series][:, None])
            flat = self.first[series][:, None] + torch.where(inside, at, 0)
            found = torch.where(inside, self.dynamic[:, flat], torch.nan).permute(1, 2, 0)
            known = (torch.arange(len(self.dynamic), device=series.device) < len(self.dynamic) - self.past) | (
                steps[:, None] < 0
            )
            parts.append(torch.where(known, found, torch.nan))
        if self.static.shape[1]:
            parts.append(self.static[series][:, None].expand(-1, len(steps), -1))
        if len(self.calendar):
            row = (self.day[series][:, None] + at).clamp(0, self.calendar.shape[1] - 1)
            # Before its series began a step has no date: which dates the table has there is up to the other series.
            dated = torch.where(at >= 0, self.calendar[:, row], torch.nan)
            parts.append(dated.permute(1, 2, 0))
        if len(self.target):
            parts.append(self.target[series][:, None, None].expand(-1, len(steps), 1))
        return torch.cat(parts, 2)

    def save(self, folder: Path) -> None:
        """Write all of it as .npy files."""
        for name, tensor in vars(self).items():
            np.save(folder / f"{name}.npy", tensor.numpy())

    @classmethod
    def load(cls, folder: Path) -> CovariateWindows:
        """What `save` wrote; mapped into memory, where processes share it."""
        names = cls.__dataclass_fields__
        return cls(**{name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in names})


@dataclass(frozen=True)
class PanelWindows:
    """Contexts of a panel's windows as a model sees them, covariates included.

    flat: [T] values; begin: [N] of each series; context: L; horizon: steps of covariates beyond the origin
    """

    flat: Tensor
    begin: Tensor
    covariates: CovariateWindows | None
    context: int
    horizon: int

    @classmethod
    def of(cls, panel: Panel, settings: ModelSettings, horizon: int) -> PanelWindows:
        """Raises InputError where the panel lacks what the model needs."""
        return cls(
            torch.as_tensor(panel.values),
            torch.as_tensor(panel.offsets[:-1]),
            CovariateWindows.of(panel, settings.covariates, horizon),
            settings.context,
            horizon,
        )

    def gather(self, series: Int[Tensor, " batch"], origin: Int[Tensor, " batch"]) -> Context:
        """series: [B] index into the panel; origin: [B] just after the last known step, in the flat array"""
        begin = self.begin[series]
        context = gather_context(self.flat, begin, origin, self.context)
        if self.covariates is None:
            return context
        known = self.covariates.gather(series, origin - begin, self.context, self.horizon)
        return context._replace(covariates=known)
