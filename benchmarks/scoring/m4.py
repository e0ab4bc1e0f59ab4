"""The M4 files of a folder, and a forecast's scores by the competition's measures.

Legend: N series, H horizon steps.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecaster import metrics
from forecaster.data.public import load_m4
from forecaster.errors import NotFound
from scoring.naive2 import naive2

Array = npt.NDArray[np.float64]
DECILES = tuple(round(0.1 * i, 1) for i in range(1, 10))


@dataclass(frozen=True)
class Rules:
    """freq: as pandas writes it; horizon: steps; season: M4's own, for MASE and Naive2; of: its series"""

    freq: str
    horizon: int
    season: int
    of: int


RULES = {
    "Yearly": Rules("YS", 6, 1, 23000),
    "Quarterly": Rules("QS", 8, 4, 24000),
    "Monthly": Rules("MS", 18, 12, 48000),
    "Weekly": Rules("W", 13, 1, 359),
    "Daily": Rules("D", 14, 1, 4227),
    "Hourly": Rules("h", 48, 24, 414),
}


@dataclass(frozen=True)
class M4Set:
    """One frequency: its training part, and the truth [N, H] in the order of `ids`."""

    frequency: str
    train: pa.Table
    ids: list[str]
    histories: list[Array]
    truth: Array

    @property
    def rules(self) -> Rules:
        return RULES[self.frequency]

    @classmethod
    def load(cls, folder: Path, frequency: str) -> M4Set:
        """Raises NotFound where the files are absent."""
        train, test = load_m4(folder, frequency)
        ids, histories = _split(train)
        test_ids, truths = _split(test)
        if ids != test_ids or {len(truth) for truth in truths} != {RULES[frequency].horizon}:
            raise ValueError(f"the test part of M4 {frequency} does not go with its training part")
        return cls(frequency, train, ids, histories, np.array(truths))

    def sample(self, number: int, seed: int) -> M4Set:
        """`number` of its series, drawn at random; all of them where it has no more."""
        chosen = sorted(np.random.default_rng(seed).permutation(len(self.ids))[:number].tolist())
        ids = [self.ids[row] for row in chosen]
        train = self.train.filter(pc.is_in(self.train["unique_id"].cast(pa.string()), pa.array(ids)))
        return M4Set(self.frequency, train, ids, [self.histories[row] for row in chosen], self.truth[chosen])

    def thinned(self, share: float, block: int, seed: int) -> M4Set:
        """Without a share of its training rows, in blocks of so many steps; a series' last row stays, without a value.

        Scores are of the same truth, in units of the whole histories.
        """
        generator = np.random.default_rng(seed)
        ordered = self.train.sort_by([("unique_id", "ascending"), ("ds", "ascending")])
        lengths = [len(history) for history in self.histories]
        removed = np.concatenate([np.repeat(generator.random(-(-n // block)) < share, block)[:n] for n in lengths])
        last = np.zeros(len(removed), bool)
        last[np.cumsum(lengths) - 1] = True
        place = ordered.column_names.index("y")
        emptied = ordered.set_column(place, "y", pc.if_else(pa.array(removed), None, ordered["y"]))
        return dataclasses.replace(self, train=emptied.filter(pa.array(~removed | last)))

    def scores(self, forecast: pa.Table) -> dict[str, float]:
        """Means over the series: smape, mase, owa; wql, msis and coverage where the forecast has their columns.

        forecast: `unique_id`, `ds` going on where the training part ends, `median`, and perhaps `lo-95`, `hi-95`
        and `q0.1` ... `q0.9`. Raises ValueError when a series or a step is absent.
        """
        table = self._aligned(forecast)
        scale = np.array([_seasonal_error(history, self.rules.season) for history in self.histories])
        base = np.array([naive2(history, self.rules.horizon, self.rules.season) for history in self.histories])
        points = [
            (metrics.smape(self.truth, f).mean(), metrics.mase(self.truth, f, scale).mean())
            for f in (table["median"], base)
        ]
        found = {"smape": points[0][0], "mase": points[0][1], "owa": metrics.owa(*points[0], *points[1])}
        if "lo-95" in table:
            low, high = table["lo-95"], table["hi-95"]
            found["msis"] = metrics.msis(self.truth, low, high, scale).mean()
            found["coverage"] = metrics.coverage(self.truth, low, high).mean()
        if "q0.1" in table:
            losses = [metrics.pinball(self.truth, table[f"q{level:g}"], level).sum() for level in DECILES]
            found["wql"] = 2 * np.mean(losses) / np.abs(self.truth).sum()
        return {name: float(value) for name, value in found.items()}

    def _aligned(self, forecast: pa.Table) -> dict[str, Array]:
        """[N, H] of each column, in the order of `ids` and steps."""
        ordered = forecast.sort_by([("unique_id", "ascending"), ("ds", "ascending")])
        steps = [len(history) + step for history in self.histories for step in range(1, self.rules.horizon + 1)]
        ids = [name for name in self.ids for _ in range(self.rules.horizon)]
        if ordered["unique_id"].to_pylist() != ids or ordered["ds"].to_pylist() != steps:
            raise ValueError(f"the forecast does not hold each series and step of M4 {self.frequency} once")
        names = [name for name in ordered.column_names if name not in ("unique_id", "ds")]
        return {name: ordered[name].to_numpy().astype(float).reshape(self.truth.shape) for name in names}


def present(folder: Path) -> list[str]:
    """Frequencies whose files, whole or sampled, lie in the folder."""
    found = []
    for frequency in RULES:
        try:
            load_m4(folder, frequency)
        except NotFound:
            continue
        found.append(frequency)
    return found


def _split(table: pa.Table) -> tuple[list[str], list[Array]]:
    ordered = table.sort_by([("unique_id", "ascending"), ("ds", "ascending")])
    ids, first = np.unique(ordered["unique_id"].to_numpy().astype(str), return_index=True)
    return ids.tolist(), np.split(ordered["y"].to_numpy(), first[1:])


def _seasonal_error(history: Array, season: int) -> float:
    """Mean absolute error of the seasonal naive method within the history."""
    return float(np.abs(history[season:] - history[:-season]).mean())
