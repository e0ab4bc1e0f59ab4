"""The predictor: history in, quantiles out. Validation, backtest, command line and service all go through it.

Legend: N series or windows, L context steps, H horizon steps, Q quantiles of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from forecaster.covariate_windows import PanelWindows
from forecaster.covariates import missing_notes, require_future
from forecaster.errors import InputError
from forecaster.forecast import (
    Forecast,
    check_finite,
    check_levels,
    interpolate,
    level_probabilities,
    mean_of_quantiles,
)
from forecaster.frequency import Frequency, IntArray
from forecaster.graph import Graph
from forecaster.network import ForecastNetwork
from forecaster.panel import FloatArray, Panel
from forecaster.paths import ROLLED_PATHS, roll_paths, roll_quantiles
from forecaster.promise import promise_broken
from forecaster.reading import read_panel
from forecaster.settings import ModelSettings
from forecaster.windows import Context

LONGEST_HORIZON = 10_000
MOST_PATHS = 1_000
_CHUNK = 1024  # windows in one pass: enough to fill the matrix products, small enough for any memory
_GRAPH_WINDOWS = 64  # beyond, matrix products are most of the work, and torch's are as fast
_FEW = 3
_MUCH_WIDER = 1.2
_LAST_DAY = np.datetime64("9999-12-31", "us")


class ModelInfo(BaseModel):
    """What a model is and where it comes from; saved with it and told to its users."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    settings: ModelSettings
    created_at: str = ""
    data: dict[str, Any] = {}
    """Profile, span and digest of the data that it was trained on, and the coverage of its backtest."""

    @property
    def freq(self) -> str:
        return self.settings.freq

    @property
    def horizon(self) -> int:
        return self.settings.horizon

    @property
    def season(self) -> int:
        return self.settings.season

    @property
    def context(self) -> int:
        return self.settings.context

    @property
    def quantiles(self) -> tuple[float, ...]:
        return self.settings.quantiles

    @property
    def coverage(self) -> dict[str, float]:
        """By level in per cent, the share of held-out values within its interval; empty where it is not known."""
        found: dict[str, float] = self.data.get("coverage", {})
        return found


class Predictor:
    """Forecasts with one model. Changes nothing of itself, so any number of threads may share it."""

    def __init__(self, network: ForecastNetwork, info: ModelInfo, graph: Graph | None = None) -> None:
        """graph: the same network, for few windows at once on the CPU"""
        self.network = network.eval()
        self.info = info
        self.graph = graph
        self.freq = Frequency.parse(info.freq, info.season)

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        levels: Sequence[float] = (),
        quantiles: Sequence[float] = (),
        paths: int = 0,
    ) -> Forecast:
        """Forecast the steps that follow each series of `panel`.

        horizon: steps; the trained horizon if None; beyond it sample paths carry it on, with a warning
        levels: central intervals in percent; quantiles: probabilities; paths: sample paths to draw
        Raises InputError naming the series, the field and the mend.
        """
        steps = self._check(panel, horizon, levels, quantiles)
        ds = self._future(panel, steps)
        grid = self.quantiles_at(panel, np.arange(panel.n_series), panel.offsets[1:], steps)
        check_finite(panel, grid)
        wanted = list(dict.fromkeys([p for level in levels for p in level_probabilities(level)] + list(quantiles)))
        known = self.info.quantiles
        found = interpolate(grid, known, wanted, positive=self.info.settings.transform == "log")
        if self.info.settings.floor is not None:
            found = np.maximum(found, self.info.settings.floor)
        check_finite(panel, found)
        return Forecast(
            ids=panel.ids,
            targets=panel.targets,
            ds=ds,
            zone=panel.zone,
            mean=self._mean(panel, grid),
            median=grid[:, :, known.index(0.5)],
            quantiles={probability: found[:, :, i] for i, probability in enumerate(wanted)},
            levels=tuple(levels),
            asked=tuple(quantiles),
            warnings=self._warnings(panel, steps),
            paths=self.sample_paths(panel, paths, horizon=steps)
            if paths
            else np.empty((len(grid), 0, steps), np.float32),
        )

    def read(self, source: Any) -> Panel:
        """Long-format data as the model was trained on it: its frequency, rules for rows, and covariates."""
        settings = self.info.settings
        return read_panel(source, self.freq, settings.rows, settings.covariates)

    def quantiles_at(self, panel: Panel, series: IntArray, origin: IntArray, horizon: int) -> FloatArray:
        """[N, horizon, Q] quantiles of the steps from each origin on.

        series, origin: [N] of windows, index into the panel and, in its flat array, just after the last known step
        """
        forecasts = np.empty((len(series), horizon, len(self.info.quantiles)), np.float32)
        rolled = horizon > self.info.horizon
        chunk = _CHUNK // ROLLED_PATHS if rolled else _CHUNK
        for rows, context in self._contexts(panel, series, origin, horizon, chunk):
            if self.graph is not None and not rolled and len(context.values) <= _GRAPH_WINDOWS:
                grid = self.graph(*context)[:, :horizon]
            else:
                grid = roll_quantiles(self.network, context, horizon)
            forecasts[rows] = grid[: len(forecasts[rows])].cpu().numpy()
        return forecasts

    def _mean(self, panel: Panel, grid: FloatArray) -> FloatArray:
        """[N, H] of the distributions whose quantiles are `grid` [N, H, Q]; of counts up to the trained horizon as the
        network knows it."""
        mean = mean_of_quantiles(grid, self.info.quantiles)
        if self.info.settings.counts:
            known = min(grid.shape[1], self.info.horizon)
            series = np.arange(panel.n_series)
            for rows, context in self._contexts(panel, series, panel.offsets[1:], known, _CHUNK):
                found = self.network.count_means(*context)[:, :known].cpu().numpy()
                mean[rows, :known] = found[: len(mean[rows])]
        return mean

    def sample_paths(self, panel: Panel, paths: int, *, horizon: int | None = None, seed: int = 0) -> FloatArray:
        """[N, paths, horizon] possible futures of each series, with the dependence between steps.

        paths: 1 to 1,000; the same seed gives the same paths. Raises InputError as `predict` does.
        """
        steps = self._check(panel, horizon, (), ())
        if not 1 <= paths <= MOST_PATHS:
            raise InputError(f"{paths} is out of range", field="paths", mend=f"give 1 to {MOST_PATHS}")
        found = np.empty((panel.n_series, paths, steps), np.float32)
        chunk = max(1, _CHUNK // paths)
        series = np.arange(panel.n_series)
        for rows, context in self._contexts(panel, series, panel.offsets[1:], steps, chunk):
            drawn = roll_paths(self.network, context, steps, paths, seed)
            found[rows] = drawn[: len(found[rows])].cpu().numpy()
        check_finite(panel, found)
        return found

    def contexts(self, panel: Panel) -> Iterator[Context]:
        """What the network sees of each series, one at a time."""
        for _, context in self._contexts(panel, np.arange(panel.n_series), panel.offsets[1:], self.info.horizon, 1):
            yield context

    def _contexts(
        self, panel: Panel, series: IntArray, origin: IntArray, horizon: int, chunk: int
    ) -> Iterator[tuple[slice, Context]]:
        """Rows and padded windows on the network's device, `chunk` rows at a time."""
        device, settings = self.network.calibration.device, self.info.settings
        # Whole trained horizons: what is known of the steps after the last one asked for is decoded with it.
        blocks = -(-horizon // settings.horizon)
        windows = PanelWindows.of(panel, settings, blocks * settings.horizon)
        with torch.inference_mode():
            for low in range(0, len(series), chunk):
                rows = slice(low, low + chunk)
                context = windows.gather(torch.as_tensor(series[rows]), torch.as_tensor(origin[rows]))
                yield rows, _padded(context).to(device)

    def _check(self, panel: Panel, horizon: int | None, levels: Sequence[float], quantiles: Sequence[float]) -> int:
        steps = self.info.horizon if horizon is None else horizon
        if not 1 <= steps <= LONGEST_HORIZON:
            raise InputError(f"{steps} is out of range", field="horizon", mend=f"give 1 to {LONGEST_HORIZON} steps")
        check_levels(levels, quantiles)
        if not panel.integer and not panel.freq.same_step(self.freq):
            raise InputError(
                f"the data's frequency {panel.freq} is not the model's {self.freq}",
                field="freq",
                mend=f"give data at {self.freq}, or train a model at {panel.freq}",
            )
        panel.require_observations()
        self._check_recent(panel)
        require_future(panel, self.info.settings.covariates, steps)
        return steps

    def _check_recent(self, panel: Panel) -> None:
        """A history whose last steps are all missing would be forecast from nothing."""
        steps = self.info.settings.common_context
        recent = panel.observed_counts(steps)
        if (recent == 0).any():
            index = int(np.flatnonzero(recent == 0)[0])
            raise InputError(
                f"no value is observed in the last {steps} steps",
                series=panel.ids[index],
                field=panel.column(index),
                mend="give more recent values",
            )

    def _below_floor(self, panel: Panel) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[N] whether a series has been where the model never forecasts."""
        floor = self.info.settings.floor
        if floor is None:
            return np.zeros(panel.n_series, bool)
        return np.asarray(np.fmin.reduceat(panel.values, panel.offsets[:-1]) < floor)

    @staticmethod
    def _future(panel: Panel, steps: int) -> np.ndarray[Any, Any]:
        ds = panel.future(steps)
        if not panel.integer and (ds > _LAST_DAY).any():
            late = int(np.flatnonzero((ds > _LAST_DAY).any(1))[0])
            mend = "give earlier timestamps or a shorter horizon"
            raise InputError("the forecast goes beyond the year 9999", series=panel.ids[late], field="ds", mend=mend)
        return ds

    def _warnings(self, panel: Panel, steps: int) -> list[list[str]]:
        general = list(panel.notes)
        if steps > self.info.horizon:
            general.append(
                f"horizon {steps} is longer than the {self.info.horizon} steps trained: "
                "later steps are carried on from sample paths of the model itself"
            )
        if (broken := promise_broken(self.info.coverage)) is not None:
            general.append(broken)
        warnings = [list(general) for _ in range(panel.n_series)]
        recent = panel.observed_counts(self.info.context)
        for index in np.flatnonzero(recent < _FEW):
            warnings[index].append(f"only {recent[index]} observed values: the forecast rests on what is typical")
        stretch = self.network.stretch_of(torch.as_tensor(recent)).cpu().numpy()
        for index in np.flatnonzero((recent >= _FEW) & (stretch > _MUCH_WIDER)):
            wide = f"{stretch[index]:.1f} times as wide"
            warnings[index].append(f"only {recent[index]} observed values: intervals are {wide} as for a long history")
        for index in np.flatnonzero((recent >= _FEW) & _constant(panel, self.info.context)):
            warnings[index].append("the history is constant, as far back as the model looks")
        for index in np.flatnonzero(self._below_floor(panel)):
            warnings[index].append(
                f"values below {self.info.settings.floor:g}, which this model never forecasts (its floor; 0 for counts)"
            )
        for index in np.flatnonzero(_coarse(panel)):
            warnings[index].append(
                "the values vary less than 32-bit numbers tell apart at this level, or are tiny: subtract or multiply "
                "by a constant"
            )
        sparse = recent * 2 < np.minimum(panel.lengths, self.info.context)
        for index in np.flatnonzero((recent >= _FEW) & sparse):
            warnings[index].append(f"more than half of the recent steps are missing: is the frequency {self.freq}?")
        for row, text in missing_notes(panel, self.info.settings.covariates, self.info.context):
            warnings[row].append(text)
        for index in np.flatnonzero(np.isnan(panel.values[panel.offsets[1:] - 1])):
            warnings[index].append("the last steps of the history are not observed")
        return warnings


def _padded(context: Context) -> Context:
    """Pad the batch to a power of two: the kernels keep memory for every shape that they have met."""
    rows = len(context.values)
    missing = (1 << (rows - 1).bit_length()) - rows
    if not missing:
        return context
    pad, covariates = torch.nn.functional.pad, context.covariates
    return Context(
        pad(context.values, (0, 0, 0, missing)),
        pad(context.observed, (0, 0, 0, missing)),
        covariates if covariates is None else pad(covariates, (0, 0, 0, 0, 0, missing)),
    )


def _coarse(panel: Panel) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[N] where rounding to float32 may have eaten a good part of what varies."""
    low = np.fmin.reduceat(panel.values, panel.offsets[:-1]).astype(np.float64)
    high = np.fmax.reduceat(panel.values, panel.offsets[:-1]).astype(np.float64)
    size = np.maximum(np.abs(low), np.abs(high))
    return np.asarray(((high - low < 1e-5 * size) & (size > 2**24)) | ((size < 1e-15) & (size > 0)))


def _constant(panel: Panel, steps: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[N] whether the last `steps` steps have one value alone."""
    end = panel.offsets[1:]
    bounds = np.column_stack([np.maximum(panel.offsets[:-1], end - steps), end]).ravel()[:-1]
    return np.asarray(np.fmin.reduceat(panel.values, bounds)[::2] == np.fmax.reduceat(panel.values, bounds)[::2])
