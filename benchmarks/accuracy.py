"""M4 with the defaults: train, forecast and score by the competition's measures, through the `forecaster` command.

    python benchmarks/accuracy.py FOLDER --scorer m4_metrics.py --frequencies Hourly Weekly Yearly

FOLDER holds the M4 files as Parquet; the scorer is a script that takes `--forecasts FILE --col median`. Settings are
chosen from the training part alone; the test part is read by the scorer only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_M4 = {
    "Hourly": ("h", 48), "Weekly": ("W", 13), "Yearly": ("YS", 6), "Quarterly": ("QS", 8), "Monthly": ("MS", 18),
    "Daily": ("D", 14),
}  # fmt: skip


def forecaster(home: str, *arguments: object) -> dict[str, Any]:
    """Run a command and read its JSON."""
    command = [sys.executable, "-m", "forecaster", *map(str, arguments), "--json"]
    environment = {**os.environ, "FORECASTER_HOME": home, "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def run(folder: Path, scorer: Path, frequency: str, preset: str, seed: int) -> dict[str, Any]:
    """One frequency, one seed."""
    freq, horizon = _M4[frequency]
    names = [f"m4_{frequency.lower()}{part}_train.parquet" for part in ("", "_sample")]
    data = next(folder / name for name in names if (folder / name).exists())
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        trained = forecaster(
            home,
            "train",
            data,
            "--name",
            "m4",
            "--freq",
            freq,
            "--horizon",
            horizon,
            "--preset",
            preset,
            "--seed",
            seed,
        )
        seconds = time.perf_counter() - began
        out = Path(home) / "forecasts.parquet"
        forecaster(home, "predict", data, "--model", "m4", "--level", 95, "--out", out)
        command = [sys.executable, str(scorer), "--forecasts", str(out), "--col", "median", "--freq", frequency]
        scored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    scores = dict(zip(scored[0].split(), scored[1].split(), strict=True))
    kept = {name: float(scores[name]) for name in ("smape", "mase", "owa", "msis-95", "cover-95")}
    return {
        "frequency": frequency, "preset": preset, "seed": seed, **kept, "seconds": round(seconds, 1),
        "windows_per_second": trained["windows_per_second"],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scorer", type=Path, required=True)
    parser.add_argument("--frequencies", nargs="+", choices=list(_M4), default=["Hourly", "Weekly", "Yearly"])
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=Path, help="write all results as JSON")
    arguments = parser.parse_args()
    results = []
    for frequency in arguments.frequencies:
        for seed in arguments.seeds:
            results.append(run(arguments.folder, arguments.scorer, frequency, arguments.preset, seed))
            print(json.dumps(results[-1]), flush=True)
    if arguments.out:
        machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
        arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
