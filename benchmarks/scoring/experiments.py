"""One result each: a preset of ours or a peer on an M4 frequency, a preset on a long-horizon set."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scoring import commands
from scoring.long_horizon import SETS, write_parts
from scoring.m4 import DECILES, M4Set

IN_OUR_ENVIRONMENT = ("statsforecast-autoets", "statsforecast-theta")
NEURAL = ("neuralforecast-lstm", "neuralforecast-gru", "neuralforecast-nhits", "gluonts-deepar")


def m4_ours(m4: M4Set, preset: str, seed: int) -> dict[str, Any]:
    """Train and predict by the command line, and score."""
    with tempfile.TemporaryDirectory() as folder:
        home, out = Path(folder), Path(folder) / "forecast.parquet"
        data = _write_train(m4, home)
        trained = commands.train(home / "var", data, m4.rules.freq, m4.rules.horizon, preset, seed)
        commands.predict(home / "var", data, DECILES, out)
        scores = m4.scores(pq.read_table(out))
    return {**scores, "series": len(m4.ids), **_told(trained)}


def m4_peer(m4: M4Set, model: str, seed: int, python: str | None, seconds: float, context: int) -> dict[str, Any]:
    """A peer with as much time and context as ours had."""
    interpreter = sys.executable if model in IN_OUR_ENVIRONMENT else python
    if interpreter is None:
        raise ValueError(f"{model} needs the interpreter of the peers' environment")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "forecast.parquet"
        told = commands.peer(
            interpreter, model=model, data=_write_train(m4, Path(folder)), freq=m4.rules.freq, horizon=m4.rules.horizon,
            season=m4.rules.season, context=context, seconds=seconds, seed=seed, out=out,
        )  # fmt: skip
        scores = m4.scores(pq.read_table(out))
    return {**scores, "series": len(m4.ids), "budget": seconds, **told}


def long_ours(source: Path, name: str, horizon: int, preset: str, seed: int) -> dict[str, Any]:
    """Train on the standardised training part, and forecast every window of the test part."""
    settings = SETS[name]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "var"
        train, whole, first = write_parts(source / settings.file, settings, Path(folder))
        trained = commands.train(home, train, settings.freq, horizon, preset, seed)
        errors = commands.rolling(home, whole, "model", settings.freq, horizon, first)
    return {**errors, **_told(trained)}


def _write_train(m4: M4Set, folder: Path) -> Path:
    """The training part alone: no command sees the test part."""
    path = folder / "train.parquet"
    pq.write_table(m4.train, path)
    return path


def _told(trained: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a training's own words."""
    members = trained["settings"]["model"]["members"]
    return {
        "seconds": trained["seconds"], "windows_per_second": trained["windows_per_second"],
        "context": max(member["context"] for member in members),
    }  # fmt: skip
