"""Forecasts of counts, most of them zero, against the methods that are made for them: M5's sales by item and store.

    python benchmarks/counts.py FOLDER --json benchmarks/results/counts-DATE.json

FOLDER holds the public files m5_train.parquet and m5_test.parquet (30,490 series of 419 days, then 28). The model is
trained by `forecaster train` as it chooses to be; Croston's method, ADIDA and the seasonal naive method are those of
statsforecast, the former with conformal intervals from four origins. The scaled quantile loss over nine deciles and the
95 % interval counts; lower is better. `--series` takes a sample of the series, the same for all.
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
from scoring.commands import PRESETS, peer, predict, train

from forecaster import metrics
from forecaster.reading import read_panel

_HORIZON, _SEASON = 28, 7
_DECILES = tuple(round(0.1 * i, 1) for i in range(1, 10))
_LEVELS = (0.025, *_DECILES, 0.975)
PEERS = ("seasonal-naive", "croston", "croston-sba", "adida")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, help="only so many, drawn at random; all if not given")
    parser.add_argument("--preset", choices=list(PRESETS), default="balanced")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 to this")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    seen, truth = (pd.read_parquet(arguments.folder / f"m5_{part}.parquet") for part in ("train", "test"))
    if arguments.series:
        ids = np.random.default_rng(0).permutation(np.sort(seen["unique_id"].unique()))[: arguments.series]
        seen, truth = (table[table["unique_id"].isin(ids)] for table in (seen, truth))
    rows = _run(_by_step(seen), truth, arguments)
    print(_table(rows))
    if arguments.json:
        about = {"date": str(date.today()), "machine": platform.machine(), "python": platform.python_version()}
        versions = {name: version(name) for name in ("torch", "statsforecast")}
        series = int(seen["unique_id"].nunique())
        arguments.json.write_text(json.dumps({**about, **versions, "series": series, "rows": rows}, indent=1) + "\n")
    return 0


def _by_step(table: pd.DataFrame) -> pd.DataFrame:
    """Days beside their numbers, which is all that the peers' script takes."""
    table = table.sort_values(["unique_id", "ds"])
    return table.assign(step=table.groupby("unique_id").cumcount() + 1)


def _run(seen: pd.DataFrame, truth: pd.DataFrame, asked_for: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each method, and seed of ours."""
    rows, preset = [], asked_for.preset
    with tempfile.TemporaryDirectory() as folder:
        dated, counted, out = (Path(folder) / f"{name}.parquet" for name in ("dated", "counted", "out"))
        seen[["unique_id", "ds", "y"]].to_parquet(dated, index=False)
        seen[["unique_id", "step", "y"]].rename(columns={"step": "ds"}).to_parquet(counted, index=False)
        scale = _error_scale(seen)
        for seed in range(1, asked_for.seeds + 1):
            home = Path(folder) / f"home-{seed}"
            trained = train(home, dated, "D", _HORIZON, preset, seed)
            predict(home, dated, _DECILES, out)
            head = trained["settings"]["model"]["members"][0]["head"]
            about = {"method": f"{preset} ({head})", "seed": seed, "seconds": round(trained["seconds"], 1)}
            rows.append({**about, **_scores(out, truth, scale)})
            print(rows[-1], file=sys.stderr, flush=True)
        for name in asked_for.peers:
            asked = {"data": counted, "freq": "D", "horizon": _HORIZON, "season": _SEASON, "out": out}
            told = peer(sys.executable, model=f"statsforecast-{name}", **asked)
            rows.append({"method": name, "seed": 0, "seconds": round(told["seconds"], 1), **_scores(out, truth, scale)})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _error_scale(seen: pd.DataFrame) -> pd.Series:
    """By series the error of the seasonal naive method within the training part."""
    panel = read_panel(seen[["unique_id", "ds", "y"]], "D")
    return pd.Series(metrics.seasonal_errors(panel, _SEASON), panel.ids)


def _scores(path: Path, truth: pd.DataFrame, scale: pd.Series) -> dict[str, float]:
    """Means over the series that vary."""
    forecast = pd.read_parquet(path).sort_values(["unique_id", "ds"])
    truth = truth.sort_values(["unique_id", "ds"])
    ids = truth["unique_id"].unique()
    levels = ["lo-95", *(f"q{level:g}" for level in _DECILES), "hi-95"]
    grid = forecast[levels].to_numpy(np.float64).reshape(len(ids), _HORIZON, len(levels))
    y = truth["y"].to_numpy(np.float64).reshape(len(ids), _HORIZON)
    own = scale.loc[ids].to_numpy(np.float64)
    found = {
        "sql": metrics.scaled_quantile_loss(y, grid, _LEVELS, own),
        "mase": metrics.mase(y, grid[:, :, levels.index("q0.5")], own),
        "msis-95": metrics.msis(y, grid[:, :, 0], grid[:, :, -1], own),
        "coverage-95": metrics.coverage(y, grid[:, :, 0], grid[:, :, -1]),
    }
    return {name: round(metrics.mean(values), 4) for name, values in found.items()}


def _table(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds."""
    lines = ["| | quantile loss | MASE | MSIS 95 | coverage 95 | seconds |", "|---|---|---|---|---|---|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        names = ("sql", "mase", "msis-95", "coverage-95", "seconds")
        mean = {name: statistics.mean(row[name] for row in own) for name in names}
        spread = f" ± {statistics.stdev(row['sql'] for row in own):.3f}" if len(own) > 1 else ""
        lines.append(
            f"| {method} | {mean['sql']:.3f}{spread} | {mean['mase']:.3f} | {mean['msis-95']:.2f} | "
            f"{mean['coverage-95']:.3f} | {mean['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
