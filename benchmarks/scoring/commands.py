"""Running the `forecaster` command, and a peer's forecast in its own environment; one thread each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parents[1]
PRESETS = {name: ["--preset", name] for name in ("fast", "balanced", "best")}
PRESETS["quick"] = [
    "--preset",
    "fast",
    "--set",
    "fit.steps=20",
    "--set",
    "backtest.baseline_series=0",
]  # to see that it runs


def train(home: Path, data: Path, freq: str, horizon: int, preset: str, seed: int, *others: object) -> dict[str, Any]:
    """Train `model` with the defaults and what `others` declare; `seconds` in the result are the whole command's."""
    began = time.perf_counter()
    options = ["--freq", freq, "--horizon", horizon, *PRESETS[preset], "--seed", seed, *others]
    trained = forecaster(home, "train", data, "--name", "model", *options)
    return {**trained, "seconds": time.perf_counter() - began}


def predict(home: Path, data: Path, quantiles: tuple[float, ...], out: Path) -> None:
    """Forecast with `model`: median, the 95 % interval and quantiles to `out`."""
    asked = [argument for level in quantiles for argument in ("--quantile", level)]
    forecaster(home, "predict", data, "--model", "model", "--level", 95, *asked, "--out", out)


def forecaster(home: Path, *arguments: object) -> dict[str, Any]:
    """Run a command and read its JSON."""
    return run([sys.executable, "-m", "forecaster", *map(str, arguments), "--json"], ours(home))


def rolling(home: Path, *arguments: object) -> dict[str, Any]:
    """Run `rolling.py` on `model`."""
    return run([sys.executable, str(_FOLDER / "rolling.py"), *map(str, arguments)], ours(home))


def peer(python: str, **settings: object) -> dict[str, Any]:
    """Run `peer_forecast.py` in the environment of an interpreter."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NIXTLA_ID_AS_COL": "1"}
    environment.pop("PYTHONPATH", None)
    return run([python, str(_FOLDER / "peer_forecast.py"), json.dumps(settings, default=str)], environment)


def ours(home: Path) -> dict[str, str]:
    """The environment of our commands: an embedded store in `home`."""
    own = {"FORECASTER_HOME": str(home), "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    return {**os.environ, **own}


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The JSON document that a command prints last; its own words when it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document
