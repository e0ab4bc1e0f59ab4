"""A trained model on every window of a test part: MSE of its mean and MAE of its median.

    python rolling.py DATA.parquet MODEL FREQ HORIZON FIRST

DATA holds whole series; a window's origin is at step FIRST (counted from 0) or later, and its context may reach back
before it, as is usual for these sets.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from forecaster.artifact import load_artifact
from forecaster.cli.loading import model_directory
from forecaster.forecast import mean_of_quantiles
from forecaster.panel import Panel
from forecaster.predictor import Predictor
from forecaster.reading import read_panel

_WINDOWS = 2048  # at once


def rolling_errors(predictor: Predictor, panel: Panel, horizon: int, first: int) -> dict[str, float]:
    """Mean errors over all steps of all windows of all series."""
    known = predictor.info.quantiles
    middle = known.index(0.5)
    squared, absolute, windows = 0.0, 0.0, 0
    for series in range(panel.n_series):
        begin, end = panel.offsets[series], panel.offsets[series + 1]
        origins = np.arange(begin + first, end - horizon + 1)
        truth = np.lib.stride_tricks.sliding_window_view(panel.values, horizon)
        for low in range(0, len(origins), _WINDOWS):
            origin = origins[low : low + _WINDOWS]
            grid = predictor.quantiles_at(panel, np.full_like(origin, series), origin, horizon)
            squared += float(((mean_of_quantiles(grid, known) - truth[origin]) ** 2).sum(dtype=np.float64))
            absolute += float(np.abs(grid[:, :, middle] - truth[origin]).sum(dtype=np.float64))
            windows += len(origin)
    return {"mse": squared / windows / horizon, "mae": absolute / windows / horizon, "windows": windows}


def main(data: str, model: str, freq: str, horizon: str, first: str) -> None:
    with model_directory(model) as (directory, _):
        predictor = load_artifact(directory)
    print(json.dumps(rolling_errors(predictor, read_panel(data, freq), int(horizon), int(first))))


if __name__ == "__main__":
    main(*sys.argv[1:])
