"""What a comparison of cells found: each trial, a line for each cell, and what may be concluded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

_COMMON = ("smape", "sql", "coverage-95")


class Trial(BaseModel):
    """One cell with one seed, fitted without the last steps and scored on them. seconds: of a fit with one thread"""

    cell: str
    seed: int
    run_id: str
    parameters: int
    metrics: dict[str, float]
    seconds: float
    windows_per_second: float


class CellSummary(BaseModel):
    """A cell over all seeds: means, and standard deviations where there are two seeds or more."""

    cell: str
    parameters: int
    mase: float
    mase_sd: float | None
    metrics: dict[str, float]
    seconds: float
    seconds_sd: float | None
    windows_per_second: float


class Comparison(BaseModel):
    """What `compare --json` prints."""

    run_id: str
    model: str
    freq: str
    horizon: int
    preset: str
    seeds: list[int]
    windows: int
    processes: int
    cells: list[CellSummary]
    baselines: dict[str, dict[str, float]]
    verdict: str
    trials: list[Trial]
    warnings: list[str] = []


def summarise(trials: Sequence[Trial]) -> list[CellSummary]:
    """A line for each cell, in the order in which they were tried."""
    return [
        _summary([trial for trial in trials if trial.cell == cell]) for cell in dict.fromkeys(t.cell for t in trials)
    ]


def _summary(trials: Sequence[Trial]) -> CellSummary:
    mase, mase_sd = _spread([trial.metrics["mase"] for trial in trials])
    seconds, seconds_sd = _spread([trial.seconds for trial in trials])
    return CellSummary(
        cell=trials[0].cell,
        parameters=trials[0].parameters,
        mase=mase,
        mase_sd=mase_sd,
        metrics={name: _spread([trial.metrics[name] for trial in trials])[0] for name in _COMMON},
        seconds=seconds,
        seconds_sd=seconds_sd,
        windows_per_second=_spread([trial.windows_per_second for trial in trials])[0],
    )


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def conclude(cells: Sequence[CellSummary], seeds: int) -> str:
    """One sentence: whether the best two cells differ by more than seeds do (their pooled standard deviation)."""
    if len(cells) < 2:
        return "There is one cell, and nothing to compare it with."
    best, second = sorted(cells, key=lambda cell: cell.mase)[:2]
    difference = f"The best two, {best.cell} and {second.cell}, differ by {second.mase - best.mase:.4f} in MASE"
    if best.mase_sd is None or second.mase_sd is None:
        return f"{difference}; one seed does not tell how much of that is chance."
    spread = math.sqrt((best.mase_sd**2 + second.mase_sd**2) / 2)
    more = "more than" if second.mase - best.mase > spread else "no more than"
    return f"{difference}, {more} the spread over {seeds} seeds (standard deviation {spread:.4f})."
