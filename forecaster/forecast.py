"""A forecast of many series: what `Predictor` gives and everyone else reads.

Legend: N series, H horizon steps, Q quantiles of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.errors import InputError
from forecaster.frequency import IntArray
from forecaster.panel import FloatArray, Panel
from forecaster.transforms import LARGEST_LOG

if TYPE_CHECKING:
    from forecaster.explanation import Explanation

Array = npt.NDArray[Any]
_EDGE = 1e-4  # of the range: farther out no finite sample tells anything


@dataclass(frozen=True)
class Forecast:
    """Point forecasts, quantiles and central intervals.

    ids: [N]; targets: [N] the column that each is a forecast of, None for `y`
    ds: [N, H] datetime64[us] or int64; mean, median: [N, H]
    quantiles: probability -> [N, H]; holds what was asked for and both limits of every level
    levels, asked: the levels (percent) and the probabilities that were asked for
    paths: [N, P, H] possible futures; P is 0 when none were asked for
    warnings: one list of sentences per series
    """

    ids: Array
    targets: Array | None
    ds: Array
    zone: str | None
    mean: FloatArray
    median: FloatArray
    quantiles: dict[float, FloatArray]
    levels: tuple[float, ...]
    asked: tuple[float, ...]
    warnings: list[list[str]]
    paths: FloatArray

    def interval(self, level: float) -> tuple[FloatArray, FloatArray]:
        """Lower and upper limit [N, H] of the central interval of `level` percent."""
        low, high = level_probabilities(level)
        return self.quantiles[low], self.quantiles[high]

    def to_table(self) -> pa.Table:
        """Long format: `unique_id, target, ds, mean, median, lo-80, hi-80, …, q0.1, …, path-1, …`.

        The column `target` is there only where several are forecast.
        """
        horizon = self.median.shape[1]
        columns: dict[str, Any] = {
            **key_columns(self.ids, self.targets, horizon),
            "ds": time_column(self.ds, self.zone),
        }
        columns |= {"mean": self.mean.reshape(-1), "median": self.median.reshape(-1)}
        for level in self.levels:
            low, high = self.interval(level)
            columns |= {f"lo-{level:g}": low.reshape(-1), f"hi-{level:g}": high.reshape(-1)}
        for probability in self.asked:
            columns[f"q{probability:g}"] = self.quantiles[probability].reshape(-1)
        for number in range(self.paths.shape[1]):
            columns[f"path-{number + 1}"] = self.paths[:, number].reshape(-1)
        return pa.table(columns)


def warnings_by_series(found: Forecast | Explanation) -> dict[str, list[str]]:
    """What is to be told, by series, and by target where there are several; nothing of those without a warning."""
    ids = [str(name) for name in found.ids]
    if found.targets is not None:
        ids = [f"{name}, {target}" for name, target in zip(ids, found.targets, strict=True)]
    return {name: texts for name, texts in zip(ids, found.warnings, strict=True) if texts}


def key_columns(ids: Array, targets: Array | None, horizon: int) -> dict[str, pa.Array]:
    """[N · H] each id, and each target where there are several, for all its steps."""
    whole = np.issubdtype(ids.dtype, np.integer)
    keys = {"unique_id": pa.array(ids, pa.int64()) if whole else _names(ids)}
    if targets is not None:
        keys["target"] = _names(targets)
    rows = pa.array(np.repeat(np.arange(len(ids)), horizon))
    return {name: column.take(rows) for name, column in keys.items()}


def _names(names: Array) -> pa.Array:
    return pa.array([str(name) for name in names], pa.string())


def time_column(ds: Array, zone: str | None) -> pa.Array:
    """[N · H] timestamps or steps."""
    flat = ds.reshape(-1)
    return pa.array(flat) if flat.dtype.kind == "i" else pa.array(flat, pa.timestamp("us", zone))


def in_text(table: pa.Table) -> pa.Table:
    """A table whose timestamps are written as in JSON, with fractions of seconds only where there are any."""
    ds, place = table.column("ds"), table.column_names.index("ds")
    if not pa.types.is_timestamp(ds.type):
        return table
    mark = "Z" if ds.type.tz else ""
    plain = ds.cast(pa.timestamp("us"))
    seconds = plain.cast(pa.timestamp("s"), safe=False)
    whole = pc.all(pc.equal(seconds.cast(pa.timestamp("us")), plain)).as_py()
    return table.set_column(place, "ds", pc.strftime(seconds if whole else plain, format=f"%Y-%m-%dT%H:%M:%S{mark}"))


def level_probabilities(level: float) -> tuple[float, float]:
    """The two probabilities that bound a central interval of `level` percent; rounded, so that they compare equal."""
    tail = round((100 - level) / 200, 10)
    return tail, round(1 - tail, 10)


def check_finite(panel: Panel, found: FloatArray, series: IntArray | None = None) -> None:
    """Raise InputError naming the first series whose forecast is beyond 32-bit numbers.

    found: [W, ...] forecasts; series: [W] index into the panel, where they are not of all its series in turn
    """
    bad = ~np.isfinite(found).all(axis=tuple(range(1, found.ndim)))
    if bad.any():
        row = int(np.argmax(bad))
        index = row if series is None else int(series[row])
        raise InputError(
            "the forecast is beyond what a 32-bit number holds",
            series=panel.ids[index],
            field=panel.column(index),
            mend="divide the values by a constant",
        )


def check_levels(levels: Sequence[float], quantiles: Sequence[float]) -> None:
    """Raise InputError unless levels lie within 100 and quantiles within 1, off their edges, and each once."""
    for field, values, top in (("level", levels, 100), ("quantiles", quantiles, 1)):
        for value in values:
            if not top * _EDGE <= value <= top * (1 - _EDGE):
                limits = f"{top * _EDGE:g} to {top * (1 - _EDGE):g}"
                raise InputError(f"{value:g} is out of range", field=field, mend=f"give values from {limits}")
        if len({f"{value:g}" for value in values}) != len(values):
            raise InputError("a value occurs twice", field=field, mend="give each once")


def interpolate(grid: FloatArray, known: Sequence[float], wanted: Sequence[float], *, positive: bool) -> FloatArray:
    """[N, H, Q] quantiles at `known` probabilities to those at `wanted`: [N, H, len(wanted)].

    Linear in the normal deviate of the probability, which is exact for normal and, with `positive` (linear in the
    logarithm where all quantiles are above zero), for log-normal forecasts; tails are continued likewise.
    """
    weight = _weights(known, wanted)
    plain = grid @ weight
    if not positive:
        return _ordered(plain, wanted)
    above = (grid > 0).all(-1, keepdims=True)
    logged = np.exp(np.minimum(np.log(np.where(above, grid, 1)) @ weight, LARGEST_LOG))
    return _ordered(np.where(above, logged, plain).astype(np.float32), wanted)


def _ordered(quantiles: FloatArray, probabilities: Sequence[float]) -> FloatArray:
    """Rounding may swap quantiles that are all but equal: each is raised to the highest below it."""
    order = np.argsort(probabilities)
    quantiles[..., order] = np.maximum.accumulate(quantiles[..., order], axis=-1)
    return quantiles


def _weights(known: Sequence[float], wanted: Sequence[float]) -> FloatArray:
    """[len(known), len(wanted)] weights of piecewise linear interpolation in normal deviates."""
    grid = np.array([NormalDist().inv_cdf(p) for p in known])
    weight = np.zeros((len(known), len(wanted)), np.float32)
    for column, probability in enumerate(wanted):
        z = NormalDist().inv_cdf(probability)
        right = int(np.clip(np.searchsorted(grid, z), 1, len(grid) - 1))
        share = (z - grid[right - 1]) / (grid[right] - grid[right - 1])
        weight[right - 1, column], weight[right, column] = 1 - share, share
    return weight


def mean_of_quantiles(grid: FloatArray, known: Sequence[float]) -> FloatArray:
    """[N, H, Q] to [N, H]: the integral of the quantile function over the probability, by the trapezoid rule."""
    p = np.asarray(known)
    edges = np.concatenate([[0.0], (p[1:] + p[:-1]) / 2, [1.0]])
    return (grid @ np.diff(edges).astype(np.float32)).astype(np.float32)
