"""What a panel is like: lengths, gaps, sign, zeros and season. Settings are chosen from it, and the run keeps it."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

from forecaster import metrics
from forecaster.mapped import parts
from forecaster.panel import FloatArray, Panel

_SAMPLE = 1000  # series whose season is looked at
_FARTHEST = 1000  # steps of a longer season that are looked at
_FEWEST_ORIGINS, _WINDOWS = 3, 400  # at which it is looked at: of each series, and of all together


class Profile(BaseModel):
    """Figures of a panel; lengths in steps, shares from 0 to 1."""

    series: int
    steps: int
    observed: int
    shortest: int
    median_length: float
    longest: int
    share_missing: float
    share_positive: float
    share_zero: float
    share_whole: float
    constant_series: int
    smallest: float
    largest: float
    seasonal_skill: float | None
    """1 − error of the seasonal naive method / error of the naive one, over a season at most; None where too little is
    known to tell."""
    first: str
    last: str

    @property
    def counts(self) -> bool:
        """Whether the values are whole numbers from zero on, some of them zero."""
        return self.smallest == 0 and self.share_whole == 1


class Finding(BaseModel):
    """One thing about the data: what was found, and what is done about it, in a sentence each."""

    topic: str
    found: str
    done: str


def profile_panel(panel: Panel, horizon: int) -> Profile:
    """Read off a panel in a few passes over its flat array.

    horizon: steps that are to be forecast
    """
    values, lengths = panel.values, panel.lengths
    count = int(panel.observed_counts().sum())
    bounds = panel.offsets[:-1]
    low = np.fmin.reduceat(values, bounds)
    high = np.fmax.reduceat(values, bounds)
    positive, zero, whole = _counted(values)
    return Profile(
        series=panel.n_series,
        steps=len(values),
        observed=count,
        shortest=int(lengths.min()),
        median_length=float(np.median(lengths)),
        longest=int(lengths.max()),
        share_missing=1 - count / len(values),
        share_positive=positive / max(1, count),
        share_zero=zero / max(1, count),
        share_whole=whole / max(1, count),
        constant_series=int((low == high).sum()),
        smallest=float(np.fmin.reduce(low)),
        largest=float(np.fmax.reduce(high)),
        seasonal_skill=_seasonal_skill(panel, horizon),
        first=str(panel.freq.from_grid(panel.start, panel.phase, integer=panel.integer).min()),
        last=str(panel.freq.from_grid(panel.ends, panel.phase, integer=panel.integer).max()),
    )


def _counted(values: FloatArray) -> tuple[int, int, int]:
    """How many values are above zero, zero, and whole numbers."""
    found = np.zeros(3, np.int64)
    for part in parts(len(values)):
        own = values[part]
        found += [np.count_nonzero(own > 0), np.count_nonzero(own == 0), np.count_nonzero(own == np.rint(own))]
    positive, zero, whole = found.tolist()
    return positive, zero, whole


def _seasonal_skill(panel: Panel, horizon: int) -> float | None:
    """Whether the last season tells more of what comes than the last value does, on origins before the last horizon.

    Over one season at most: farther ahead neither tells anything of a random walk, and they come out alike. Earlier
    windows of a backtest may be among the origins: what is read off them is one choice of two, by naive methods alone.
    """
    if panel.freq.season == 1:
        return None
    values, season = panel.values, panel.freq.season
    chosen = np.random.default_rng(0).permutation(panel.n_series)[:_SAMPLE]
    origins = max(_FEWEST_ORIGINS, -(-_WINDOWS // len(chosen)))
    begin, end = (np.tile(bound[chosen], origins) for bound in (panel.offsets[:-1], panel.offsets[1:]))
    horizons_back = np.arange(2, 2 + origins)  # the last horizon is left out
    origin = end - np.repeat(horizons_back, len(chosen)) * horizon
    scale = np.tile(metrics.seasonal_errors(panel, 1)[chosen], origins)
    usable = (origin - begin > season) & (scale > 0)
    origin, scale = origin[usable], scale[usable]
    steps = np.arange(min(horizon, season, _FARTHEST))
    truth = values[origin[:, None] + steps]
    last, season_ago = (values[origin[:, None] + back] for back in (-1, steps - season))
    naive, seasonal = (metrics.mean(metrics.mase(truth, forecast, scale)) for forecast in (last, season_ago))
    if not (naive > 0 and np.isfinite(seasonal)):  # too short, too gappy, or constant
        return None
    return 1 - seasonal / naive
