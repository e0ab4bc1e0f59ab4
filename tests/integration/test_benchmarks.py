"""Quick forms of the benchmarks that train: they run, and what they write is whole. Peers are not here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoring import commands

from tests.warm_command import WarmCommand

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmCommand]:
    server = WarmCommand()
    yield server
    server.close()


@pytest.fixture
def measure(
    warm: WarmCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a benchmark in this process, the `forecaster` commands of which are warm ones; gives what it prints."""
    cold = commands.run

    def run_warm(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
        if command[1:3] != ["-m", "forecaster"]:
            return cold(command, dict(environment))
        done = warm.run(command[3:], tmp_path, environment)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    monkeypatch.setattr(commands, "run", run_warm)

    def call(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        assert importlib.import_module(name).main() == 0
        return capsys.readouterr().out

    return call


def test_recurrent_layers_are_timed_beside_torchs_own(tmp_path: Path) -> None:
    run("recurrence.py", "--repeats", 1, "--json", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["cell"] for row in rows} == {"gru", "lstm"}
    assert all(row["ratio"] == pytest.approx(row["torch_ms"] / row["ours_ms"], rel=0.01) for row in rows)


def test_training_speed_is_measured_against_the_bare_loop(tmp_path: Path) -> None:
    printed = run("train.py", "--quick", "--json", tmp_path / "train.json").stdout
    document = json.loads((tmp_path / "train.json").read_text())
    names = [row["name"] for row in document["rows"]]
    assert names == ["fit over the bare loop, stepwise", "fit over the bare loop, default"]
    for row in document["rows"]:
        assert row["ratio"] == pytest.approx(row["ours_median"] / row["theirs_median"])
        assert row["ratio"] > 0
        assert f"| {row['name']} | the bare loop |" in printed
    assert document["versions"]["ours"]["threads"] == 1


def test_engines_are_compared_on_the_same_windows() -> None:
    printed = run("engines.py", "--windows", 1, 3, "--turns", 2, "--calls", 3, "--json").stdout
    one, three = json.loads(printed)
    assert (one["windows"], three["windows"]) == (1, 3)
    assert 0 < one["lowest_ratio"] <= one["ratio"] <= one["highest_ratio"]
    assert one["largest_difference"] < 1e-3


def test_training_needs_no_tracking_server() -> None:
    forbid = "import sys; sys.modules['mlflow'] = None"
    modules = "training.fit, training.sampling, training.preparation, training.choose, speed.on_device"
    command = [sys.executable, "-c", f"{forbid}; sys.path.insert(0, {str(BENCHMARKS)!r}); import {modules}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def write_m4(folder: Path) -> None:
    """Six hourly series as the competition publishes them."""
    generator = np.random.default_rng(1)
    wave = 50 + 20 * np.sin(2 * np.pi * np.arange(348) / 24) + generator.normal(0, 1, (6, 348))
    for name, part in (("train", wave[:, :300]), ("test", wave[:, 300:])):
        lines = [",".join(f'"V{i + 1}"' for i in range(part.shape[1] + 1))]
        lines += [",".join([f'"H{row + 1}"', *(f"{value:.3f}" for value in part[row])]) for row in range(6)]
        (folder / f"Hourly-{name}.csv").write_text("\n".join(lines) + "\n")


def test_accuracy_is_measured_once_and_written_up(tmp_path: Path, measure: Callable[..., str]) -> None:
    write_m4(tmp_path)
    out, document = tmp_path / "accuracy-2026-01-01.json", tmp_path / "accuracy.md"
    arguments = [tmp_path, "--preset", "quick", "--peers", "statsforecast-theta", "--out", out, "--document", document]
    told = measure("accuracy", *arguments)
    assert "model='quick'" in told
    found = {result["model"]: result for result in json.loads(out.read_text())["results"]}
    assert set(found) == {"quick", "statsforecast-theta"}
    assert 0 < found["quick"]["mase"] < 5
    assert found["quick"]["series"] == 6
    assert 0 <= found["quick"]["coverage"] <= 1
    assert found["statsforecast-theta"]["wql"] > 0
    assert "| statsforecast-theta | 1 |" in document.read_text()
    before = out.read_bytes()
    assert measure("accuracy", *arguments) == ""  # all is known: nothing is computed again
    assert out.read_bytes() == before


def test_what_covariates_are_worth_is_measured(tmp_path: Path, measure: Callable[..., str]) -> None:
    hours = pd.date_range("2012-01-01", periods=60 * 24 + 5, freq="h")
    shares = {"holiday": False, "workingday": True, "weather": "clear", "temp": 1.0, "atemp": 2.0, "hum": 3.0}
    wave = 50 + 20 * np.sin(2 * np.pi * np.arange(len(hours)) / 24) + np.random.default_rng(1).normal(size=len(hours))
    table = pd.DataFrame({"unique_id": "bikes", "ds": hours, "y": wave, **shares, "windspeed": wave})
    table.to_parquet(tmp_path / "bike_sharing.parquet")
    wanted = ("--variants", "weather, calendar", "--preset", "quick", "--json", tmp_path / "found.json")
    printed = measure("covariates", tmp_path, *wanted)
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["variant"] for row in rows] == ["weather, calendar"]
    assert "| bikes | weather, calendar |" in printed


def test_counts_are_forecast_beside_the_methods_that_are_made_for_them(
    tmp_path: Path, measure: Callable[..., str]
) -> None:
    draw, days = np.random.default_rng(0), pd.date_range("2015-01-01", periods=200)
    sold = [pd.DataFrame({"unique_id": f"item-{i}", "ds": days, "y": draw.poisson(0.5, 200) * 1.0}) for i in range(6)]
    table = pd.concat(sold)
    for part, rows in (("train", table["ds"] < days[-28]), ("test", table["ds"] >= days[-28])):
        table[rows].to_parquet(tmp_path / f"m5_{part}.parquet")
    wanted = ("--preset", "quick", "--series", 5, "--peers", "croston", "--json", tmp_path / "found.json")
    printed = measure("counts", tmp_path, *wanted)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["series"] == 5
    assert [row["method"] for row in found["rows"]] == ["quick (negative_binomial)", "croston"]
    assert all(0 < row["sql"] < 5 and 0.5 < row["coverage-95"] <= 1 for row in found["rows"])
    assert "| croston |" in printed


def test_sums_are_compared_before_and_after_they_add_up(tmp_path: Path, measure: Callable[..., str]) -> None:
    draw, days = np.random.default_rng(0), pd.date_range("2015-01-01", periods=419)
    sold = {f"store/dept:CA_{shop}/FOODS_1": draw.gamma(20, 1, 419) for shop in (1, 2)}
    sold |= {f"store:CA_{shop}": sold[f"store/dept:CA_{shop}/FOODS_1"] for shop in (1, 2)}
    sold["total:Total"] = sold["store:CA_1"] + sold["store:CA_2"]
    table = pd.concat([pd.DataFrame({"unique_id": name, "ds": days, "y": y}) for name, y in sold.items()])
    table.to_parquet(tmp_path / "m5_aggregates.parquet")
    printed = measure("sums", tmp_path, "--preset", "quick", "--json", tmp_path / "found.json")
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["means"] for row in rows] == ["as forecast", "structural", "ols", "bottom-up"]
    assert rows[0]["off"] > 1e-4
    assert max(row["off"] for row in rows[1:]) < 1e-5
    assert "| structural |" in printed
