"""The long-horizon benchmarks: the usual splits, each series in units of its training part's standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HORIZONS = (96, 192, 336, 720)


@dataclass(frozen=True)
class LongSet:
    """file: in the folder; freq and its minutes; ends: of the training, validation and test part, steps or shares"""

    file: str
    freq: str
    minutes: int
    ends: tuple[float, float, float]


SETS = {
    "ETTh1": LongSet("etth1.parquet", "h", 60, (8640, 11520, 14400)),
    "ETTm1": LongSet("ettm1.parquet", "15min", 15, (34560, 46080, 57600)),
    "Weather": LongSet("weather.parquet", "10min", 10, (0.7, 0.8, 1.0)),
}


def split(length: int, ends: tuple[float, float, float]) -> tuple[int, int, int]:
    """The parts' ends in steps. Shares are cut as the published code does: test and training rounded down."""
    if ends[2] > 1:
        return int(ends[0]), int(ends[1]), int(ends[2])
    return int(length * ends[0]), length - int(length * (1 - ends[1])), length


def write_parts(source: Path, settings: LongSet, folder: Path) -> tuple[Path, Path, int]:
    """Standardised training part and whole of all series as files, and the step at which the test part begins.

    Rows are put on the frequency's grid by their number, as in the published experiments: the weather data have a
    repeated and some missing time stamps.
    """
    table = pq.read_table(source).sort_by([("unique_id", "ascending"), ("ds", "ascending")])
    ids, first = np.unique(table["unique_id"].to_numpy().astype(str), return_index=True)
    columns = np.split(table["y"].to_numpy(), first[1:])
    train_end, test_begin, end = split(len(columns[0]), settings.ends)
    start = table["ds"][0].as_py()
    values = [(y[:end] - y[:train_end].mean()) / (y[:train_end].std() or 1.0) for y in columns]
    paths = folder / "train.parquet", folder / "whole.parquet"
    for path, length in zip(paths, (train_end, end), strict=True):
        steps = np.datetime64(start, "us") + np.arange(length) * np.timedelta64(settings.minutes * 60_000_000, "us")
        y = np.concatenate([series[:length] for series in values])
        pq.write_table(pa.table({"unique_id": ids.repeat(length), "ds": np.tile(steps, len(ids)), "y": y}), path)
    return paths[0], paths[1], test_begin
