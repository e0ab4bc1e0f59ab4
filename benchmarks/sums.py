"""Forecasts before and after they are made to add up: M5's sales by state, store, category and department.

    python benchmarks/sums.py FOLDER --seeds 2 --json benchmarks/results/sums-DATE.json

FOLDER holds the public file m5_aggregates.parquet (154 series of 419 days or more). One model is trained on all days
before day 392 and asked four times for the 28 days from there on; the rest is not looked at. Errors are scaled by those
of the weekly naive method within the days seen; lower is better. `off` is the largest difference between a total's mean
and the sum of its parts' means, against the total's.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scoring.commands import PRESETS, forecaster, train

from forecaster import metrics
from forecaster.reading import read_panel

_SEEN, _HORIZON, _SEASON = 391, 28, 7
_WAYS = ("as forecast", "structural", "ols", "bottom-up")
_MEASURES = ("mase", "msis-95", "coverage-95", "off")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", choices=list(PRESETS), default="balanced")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 to this")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.folder / "m5_aggregates.parquet").sort_values(["unique_id", "ds"])
    day = table.groupby("unique_id").cumcount()
    seen, truth = table[day < _SEEN], table[(day >= _SEEN) & (day < _SEEN + _HORIZON)]
    rows = [row for seed in range(1, arguments.seeds + 1) for row in _run(seen, truth, arguments.preset, seed)]
    print(_table(rows))
    if arguments.json:
        about = {"date": str(date.today()), "machine": platform.machine(), "python": platform.python_version()}
        versions = {name: version(name) for name in ("torch", "hierarchicalforecast")}
        arguments.json.write_text(json.dumps({**about, **versions, "rows": rows}, indent=1) + "\n")
    return 0


def sums_of(ids: list[str]) -> dict[str, list[str]]:
    """Of each aggregate the departments of stores that it is the sum of; ids say which (`store/dept:CA_1/FOODS_1`)."""
    sums: dict[str, list[str]] = {}
    for leaf in (name for name in ids if name.startswith("store/dept:")):
        store, dept = leaf.removeprefix("store/dept:").split("/")
        state, cat = store.split("_")[0], dept.rsplit("_", 1)[0]
        alone = {"total:Total", f"state:{state}", f"store:{store}", f"cat:{cat}", f"dept:{dept}"}
        for total in alone | {f"state/cat:{state}/{cat}", f"state/dept:{state}/{dept}", f"store/cat:{store}/{cat}"}:
            sums.setdefault(total, []).append(leaf)
    return {total: parts for total, parts in sums.items() if total in ids}


def _run(seen: pd.DataFrame, truth: pd.DataFrame, preset: str, seed: int) -> list[dict[str, Any]]:
    """A row for each way to add up."""
    panel = read_panel(seen, "D")
    sums, scale = sums_of([str(name) for name in panel.ids]), metrics.seasonal_errors(panel, _SEASON)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data, out, file = (Path(folder) / name for name in ("seen.parquet", "out.parquet", "sums.json"))
        seen.to_parquet(data, index=False)
        file.write_text(json.dumps(sums))
        train(Path(folder), data, "D", _HORIZON, preset, seed)
        for way in _WAYS:
            asked = ("--sums", file, "--reconcile", way) if way != _WAYS[0] else ()
            forecaster(Path(folder), "predict", data, "--model", "model", "--level", 95, *asked, "--out", out)
            forecast = pd.read_parquet(out).sort_values(["unique_id", "ds"])
            rows.append({"means": way, "seed": seed, **_scores(forecast, truth, scale), "off": _off(forecast, sums)})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _scores(forecast: pd.DataFrame, truth: pd.DataFrame, scale: np.ndarray) -> dict[str, float]:
    """Means over the series."""
    median, low, high = forecast[["median", "lo-95", "hi-95"]].to_numpy(np.float64).T.reshape(3, -1, _HORIZON)
    y = truth["y"].to_numpy(np.float64).reshape(-1, _HORIZON)
    found = {
        "mase": metrics.mase(y, median, scale),
        "msis-95": metrics.msis(y, low, high, scale),
        "coverage-95": metrics.coverage(y, low, high),
    }
    return {name: round(metrics.mean(values), 4) for name, values in found.items()}


def _off(forecast: pd.DataFrame, sums: dict[str, list[str]]) -> float:
    means = forecast.pivot(index="ds", columns="unique_id", values="mean")
    return round(
        max(float((means[parts].sum(axis=1) / means[total] - 1).abs().max()) for total, parts in sums.items()), 7
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds."""
    lines = ["| means | MASE | MSIS 95 | coverage 95 | off |", "|---|---|---|---|---|"]
    for way in dict.fromkeys(row["means"] for row in rows):
        own = [row for row in rows if row["means"] == way]
        mase, msis, coverage, off = (statistics.mean(row[name] for row in own) for name in _MEASURES)
        lines.append(f"| {way} | {mase:.3f} | {msis:.2f} | {coverage:.1%} | {off:.2%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
