"""Training windows drawn at random from a panel that lies on the training device.

Legend: N eligible series, B windows, L context steps, H horizon steps.
Series are drawn uniformly, then an origin within the series (uniformly, or late ones more often), so that long series
do not drown short ones. Whole batches are drawn and gathered by index; there is no loader process and no per-window
Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from forecaster.covariate_windows import CovariateWindows
from forecaster.errors import InputError
from forecaster.panel import Panel
from forecaster.windows import Context, Target, gather_context, gather_target, truncate_context

_FLAT, _COVARIATES = "flat.npy", "covariates"
_PLACES = 1 << 22  # of all series together, up to which all origins are drawn about alike by 32 bits


class Batch(NamedTuple):
    context: Context
    target: Target
    error_scale: Tensor  # [B] in-sample error of the seasonal naive method, the denominator of MASE
    weight: Tensor | None = None  # [B] of its losses; None where all count alike


@dataclass(frozen=True)
class TrainingWindows:
    """All windows that training may see: origins from `first` to `last` of each eligible series.

    flat: [T] values on the device, NaN = unobserved; series: [N] index into the panel; begin, end: [N] in the flat
    array, `end` excludes what is held out; error_scale: [N]; recency: [] power of an origin's place in its series with
    which its density grows; weight: [N] of its losses, None where all count alike; covariates: of the panel's series,
    None for a model without
    """

    flat: Tensor
    series: Tensor
    begin: Tensor
    end: Tensor
    first: Tensor
    last: Tensor
    error_scale: Tensor
    recency: Tensor
    weight: Tensor | None = None
    covariates: CovariateWindows | None = None

    @classmethod
    def of(
        cls,
        panel: Panel,
        error_scale: np.ndarray,
        *,
        horizon: int,
        held_out: int,
        season: int,
        device: torch.device,
        shortest_target: int = 1,
        recency: float = 0.0,
        weight: np.ndarray | None = None,
        covariates: CovariateWindows | None = None,
    ) -> TrainingWindows:
        """Windows of `panel` less the last `held_out` steps of each series.

        A series needs at least one known step and one to forecast. Origins go on until only `shortest_target`
        steps of the horizon are left; beyond the series' end nothing is observed and nothing is learnt.
        """
        begin, end = panel.offsets[:-1], panel.offsets[1:] - held_out
        span = end - begin
        usable = np.flatnonzero((span >= 2) & (error_scale > 0) & np.isfinite(error_scale))
        if not len(usable):
            raise InputError(
                f"no series has enough varying observed values before the last {held_out} steps to learn from",
                mend="give longer series or a shorter horizon",
            )
        begin, end, span = begin[usable], end[usable], span[usable]
        history = np.clip(np.minimum(2 * max(season, horizon), span - horizon), 1, None)
        first = begin + np.minimum(history, span - 1)
        last = np.maximum(end - min(shortest_target, horizon), first)

        def tensor(array: Any, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=device)

        return cls(
            torch.as_tensor(panel.values, device=device),
            tensor(usable),
            tensor(begin),
            tensor(end),
            tensor(first),
            tensor(last),
            tensor(error_scale[usable], torch.float32),
            tensor(np.float32(recency), torch.float32),
            None if weight is None else tensor(weight[usable], torch.float32),
            covariates,
        )

    def save(self, folder: Path) -> None:
        """Write all but what the panel itself has, its values and covariates, as .npy files."""
        for name, tensor in vars(self).items():
            if name not in ("flat", "covariates") and tensor is not None:
                np.save(folder / f"{name}.npy", tensor.numpy())

    @classmethod
    def load(cls, panel: Path, folder: Path) -> TrainingWindows:
        """What `save` and `save_panel` wrote; mapped into memory, where processes share it."""
        files = {"flat": panel / _FLAT, **{path.stem: path for path in folder.glob("*.npy")}}
        tensors = {name: torch.from_numpy(np.load(path, mmap_mode="c")) for name, path in files.items()}
        others = panel / _COVARIATES
        return cls(**tensors, covariates=CovariateWindows.load(others) if others.exists() else None)

    def save_panel(self, folder: Path) -> None:
        """Write the values and covariates, which all windows of a panel share, to a new folder."""
        folder.mkdir()
        np.save(folder / _FLAT, self.flat.numpy())
        if self.covariates is not None:
            (folder / _COVARIATES).mkdir()
            self.covariates.save(folder / _COVARIATES)

    def draw(
        self, batch: int, context: int, horizon: int, truncate: float, shortest: int, generator: torch.Generator
    ) -> Batch:
        """`batch` windows; a share `truncate` of them forgets all but a random number of last steps."""
        drawn = self.gather(*self.draw_origins(batch, generator), context, horizon)
        if not truncate:
            return drawn
        keep = shortest + (self._uniform(batch, generator) * max(0, context - shortest)).long()
        keep = torch.where(self._uniform(batch, generator) < truncate, keep, context)
        return drawn._replace(context=truncate_context(drawn.context, keep))

    def draw_origins(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[B] series and [B] origins."""
        series = (self._uniform(batch, generator) * len(self.begin)).long().clamp(max=len(self.begin) - 1)
        first, last = self.first[series], self.last[series]
        # The inverse of the distribution function. As 32 bits, a draw is one of 2**24 places.
        exact = torch.float64 if len(self.flat) > _PLACES else torch.float32
        place = self._uniform(batch, generator, exact) ** (1 / (1 + self.recency))
        origin = first + (place * (last - first + 1)).long()
        return series, origin.minimum(last)

    def spread_origins(self, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """[B] series, origins and weights: all windows once, or `most` of them (but one of each series), evenly spread.

        A window weighs as much as it is likely to be drawn.
        """
        there = self.last - self.first + 1
        count = there.clamp(max=_common_cap(there, most))
        series = torch.arange(len(count), device=count.device).repeat_interleave(count)
        number = torch.arange(len(series), device=count.device) - (count.cumsum(0) - count)[series]
        # One anywhere in each of `count` stretches, so that none is drawn twice, nor all at one hour of the day.
        low, high = (edge * there[series] // count[series] for edge in (number, number + 1))
        place = low + (self._uniform(len(series), generator, torch.float64) * (high - low)).long()
        late = (1 + self.recency) * ((place + 0.5) / there[series]) ** self.recency
        return series, self.first[series] + place, late * count.float().mean() / count[series]

    def gather(self, series: Tensor, origin: Tensor, context: int, horizon: int) -> Batch:
        """The windows of the given series and origins."""
        begin = self.begin[series]
        seen = gather_context(self.flat, begin, origin, context)
        if self.covariates is not None:
            known = self.covariates.gather(self.series[series], origin - begin, context, horizon)
            seen = seen._replace(covariates=known)
        return Batch(
            seen,
            gather_target(self.flat, self.end[series], origin, horizon),
            self.error_scale[series],
            None if self.weight is None else self.weight[series],
        )

    def _uniform(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(batch, generator=generator, device=self.flat.device, dtype=dtype)


def _common_cap(there: Tensor, most: int) -> int:
    """The largest number, at least one, that each series may have so that all together have `most`."""
    ascending = there.sort().values
    left = torch.arange(len(there), 0, -1, device=there.device)
    cap = (most - (ascending.cumsum(0) - ascending)) // left  # when all that have less take all they have
    beyond = cap[ascending > cap]
    return max(1, int(beyond[0])) if len(beyond) else int(ascending[-1])


@dataclass(frozen=True)
class BatchStream:
    """A stream of batches that Lightning iterates over like a loader, an epoch at a time.

    steps: of an epoch; left: how many a fit has left when an epoch begins
    """

    windows: TrainingWindows
    batch: int
    context: int
    horizon: int
    truncate: float
    shortest: int
    generator: torch.Generator
    steps: int
    left: Callable[[], int]

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(min(self.steps, self.left())):
            yield self.windows.draw(
                self.batch, self.context, self.horizon, self.truncate, self.shortest, self.generator
            )
