"""Peak memory of a training on a generated panel, against the claim: raw float32 panel × 3 + 700 MB.

    python benchmarks/memory.py --series 100000 --steps 200

Writes the panel as Parquet, trains on it with the `forecaster train` command in a process of its own, and reads that
process's peak resident memory from the kernel. A large panel is mapped to a file, and the kernel counts what of it is
in memory: what the process cannot do without shows under a limit, for which `--within` gives the command.

    python benchmarks/memory.py --series 100000 --steps 10000 --within "systemd-run --scope -p MemoryMax=4G"
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_ROWS_AT_A_TIME = 2_000_000


def write_panel(path: Path, series: int, steps: int, seed: int) -> None:
    """Daily series with a level, a weekly pattern and noise."""
    generator = np.random.default_rng(seed)
    days = np.datetime64("2000-01-01", "us") + np.arange(steps) * np.timedelta64(86_400_000_000, "us")
    schema = pa.schema([("unique_id", pa.string()), ("ds", pa.timestamp("us")), ("y", pa.float64())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        at_once = max(1, _ROWS_AT_A_TIME // steps)
        for first in range(0, series, at_once):
            rows = min(at_once, series - first)
            level = generator.uniform(50, 500, (rows, 1))
            weekly = 1 + 0.2 * np.sin(2 * np.pi * (np.arange(steps) + generator.integers(0, 7, (rows, 1))) / 7)
            y = level * weekly * generator.lognormal(0, 0.05, (rows, steps))
            names = pa.array([f"series-{first + i:07d}" for i in range(rows)])
            ids = names.take(pa.array(np.repeat(np.arange(rows), steps)))
            writer.write_table(pa.table([ids, np.tile(days, rows), y.reshape(-1)], schema=schema))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", action="append", default=[], help="A setting of the training, e.g. fit.steps=50.")
    parser.add_argument("--within", default="", help="A command that runs the training within a limit of memory.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.parquet"
        write_panel(path, arguments.series, arguments.steps, seed=1)
        file_mb = path.stat().st_size / 1e6
        command = [*shlex.split(arguments.within), sys.executable, "-m", "forecaster", "train", str(path)]
        command += ["--name", "memory", "--freq", "D"]
        command += ["--horizon", "14", "--preset", arguments.preset, "--json"]
        command += [part for setting in arguments.set for part in ("--set", setting)]
        began = time.perf_counter()
        environment = {**os.environ, "FORECASTER_HOME": folder, "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            return 1
    raw = arguments.series * arguments.steps * 4 / 1e6
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    report = {
        "series": arguments.series, "steps": arguments.steps, "preset": arguments.preset, "file_mb": round(file_mb, 1),
        "panel_mb": round(raw, 1),
        "peak_mb": round(peak, 1), "claimed_mb": round(3 * raw + 700, 1), "holds": peak <= 3 * raw + 700,
        "seconds": round(seconds, 1),
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(report))
    else:
        print("\n".join(f"{key:12} {value}" for key, value in report.items()))
    return 0 if report["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
