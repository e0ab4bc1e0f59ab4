"""What a panel is like: lengths, gaps, sign and zeros. Settings are chosen from it, and the run keeps it."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

from forecaster.panel import Panel


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
    first: str
    last: str

    @property
    def counts(self) -> bool:
        """Whether the values are whole numbers from zero on, some of them zero."""
        return self.smallest == 0 and self.share_whole == 1


def profile_panel(panel: Panel) -> Profile:
    """Read off a panel in a few passes over its flat array."""
    values, lengths = panel.values, panel.lengths
    count = int(panel.observed_counts().sum())
    bounds = panel.offsets[:-1]
    low = np.fmin.reduceat(values, bounds)
    high = np.fmax.reduceat(values, bounds)
    return Profile(
        series=panel.n_series,
        steps=len(values),
        observed=count,
        shortest=int(lengths.min()),
        median_length=float(np.median(lengths)),
        longest=int(lengths.max()),
        share_missing=1 - count / len(values),
        share_positive=float((values > 0).sum() / max(1, count)),
        share_zero=float((values == 0).sum() / max(1, count)),
        share_whole=float((values == np.rint(values)).sum() / max(1, count)),
        constant_series=int((low == high).sum()),
        smallest=float(np.fmin.reduce(low)),
        largest=float(np.fmax.reduce(high)),
        first=str(min(panel.freq.from_grid(panel.start, panel.phase, integer=panel.integer))),
        last=str(max(panel.freq.from_grid(panel.ends, panel.phase, integer=panel.integer))),
    )
