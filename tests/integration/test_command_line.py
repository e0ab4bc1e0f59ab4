"""The `forecaster` command as a person or a program runs it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.warm_command import WarmCommand

pytestmark = pytest.mark.slow
TRAIN = ("train", "shops.csv", "--name", "shops", "--freq", "h", "--horizon", 24)
COMPARE = ("compare", *TRAIN[1:], "--cells")
QUICK = ("--set", "fit.steps=40", "--set", "fit.batch=64", "--set", "network.width=16")


class Command:
    """Commands in one folder; `cold` ones load everything for themselves."""

    def __init__(self, home: Path, warm: WarmCommand) -> None:
        self.home = home
        self.warm = warm
        unset = {"MLFLOW_TRACKING_URI": "", "FORECASTER_DATABASE_URL": ""}
        self.environment = {**os.environ, **unset, "FORECASTER_HOME": str(home / "var")}

    def __call__(self, *arguments: object, fails: int = 0) -> subprocess.CompletedProcess[str]:
        return self._checked(
            self.warm.run([str(argument) for argument in arguments], self.home, self.environment), fails
        )

    def cold(self, *arguments: object, fails: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "forecaster", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        return self._checked(done, fails)

    def _checked(self, done: subprocess.CompletedProcess[str], fails: int) -> subprocess.CompletedProcess[str]:
        assert done.returncode == fails, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: object) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self(*arguments, "--json").stdout)
        return document


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    home = tmp_path_factory.mktemp("cli")
    step = np.arange(400)
    frame = pd.concat(
        pd.DataFrame(
            {
                "unique_id": f"shop-{i}",
                "ds": pd.date_range("2024-01-01", periods=400, freq="h"),
                "y": 100 * (i + 1)
                + 20 * np.sin(2 * np.pi * (step + i) / 24)
                + np.random.default_rng(i).normal(size=400),
            }
        )
        for i in range(6)
    )
    frame.to_csv(home / "shops.csv", index=False)
    (home / "seeded.yaml").write_text("fit: {seed: 1}\nmodel: {rows: {resample: null}}\n")
    warm = WarmCommand()
    yield Command(home, warm)
    warm.close()


@pytest.fixture(scope="module")
def trained(command: Command) -> dict[str, Any]:
    done = command(*TRAIN, "--preset", "fast", *QUICK, "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_train_tells_run_version_metrics_and_baselines(trained: dict[str, Any]) -> None:
    for key in ("run_id", "model", "version", "promoted", "seconds", "windows_per_second", "metrics", "baselines"):
        assert key in trained
    assert trained["metrics"]["mase"] > 0
    assert {"naive", "seasonal_naive", "theta"} <= set(trained["baselines"])


def test_predict_writes_the_columns_that_were_asked_for(command: Command, trained: dict[str, Any]) -> None:
    arguments = ("predict", "shops.csv", "--model", "shops", "--level", 80, "--level", 95, "--quantile", 0.1)
    elsewhere = f"file://{command.home}/elsewhere.parquet"
    for out in ("f.parquet", "f.csv", "f.csv.gz", elsewhere):
        assert command.json(*arguments, "--out", out)["rows"] == 6 * 24
    table = pd.read_parquet(command.home / "f.parquet")
    columns = ["unique_id", "ds", "mean", "median", "lo-80", "hi-80", "lo-95", "hi-95", "q0.1"]
    assert list(table.columns) == columns
    assert table["ds"].min() == pd.Timestamp("2024-01-17 16:00")
    pd.testing.assert_frame_equal(pd.read_parquet(command.home / "elsewhere.parquet"), table)
    for name in ("f.csv", "f.csv.gz"):
        pd.testing.assert_frame_equal(pd.read_csv(command.home / name, parse_dates=["ds"]), table, check_dtype=False)
    inline = command.json(*arguments, "--horizon", 2)["forecasts"]
    assert len(inline) == 12
    assert inline[0]["median"] == pytest.approx(table["median"][0], rel=1e-5)


def test_predict_makes_sums_add_up(command: Command, trained: dict[str, Any]) -> None:
    (command.home / "sums.yaml").write_text("shop-0: [shop-1, shop-2]\n")
    arguments = ("predict", "shops.csv", "--model", "shops", "--horizon", 2, "--sums")
    mean = pd.DataFrame(command.json(*arguments, "sums.yaml")["forecasts"]).pivot_table("mean", "unique_id", "ds")
    np.testing.assert_allclose(mean.loc["shop-0"], mean.loc["shop-1"] + mean.loc["shop-2"], rtol=1e-5)
    (command.home / "bad.yaml").write_text("shop-0: shop-1\n")
    assert "holds no sums" in command(*arguments, "bad.yaml", fails=2).stderr
    (command.home / "far.yaml").write_text("shop-0: [shop-9]\n")
    assert "shop-9" in command(*arguments, "far.yaml", fails=2).stderr


def test_predict_shows_a_table_and_tells_warnings_to_a_person(command: Command, trained: dict[str, Any]) -> None:
    done = command("predict", "shops.csv", "--model", "shops@champion", "--horizon", 30)
    assert "lo-80" in done.stdout
    assert "more rows" in done.stdout
    assert "carried on from sample paths" in done.stderr


def test_explain_splits_each_median(command: Command, trained: dict[str, Any]) -> None:
    found = command.json("explain", "shops.csv", "--model", "shops", "--series", "shop-1", "--horizon", 3)[
        "explanations"
    ]
    assert len(found) == 3
    for row in found:
        assert row["base"] + row["history"] == pytest.approx(row["median"], rel=1e-3)
    assert "history" in command("explain", "shops.csv", "--model", "shops").stdout
    assert "no series 'x'" in command("explain", "shops.csv", "--model", "shops", "--series", "x", fails=2).stderr


def test_backtest_compares_with_the_naive_methods(command: Command, trained: dict[str, Any]) -> None:
    found = command.json("backtest", "shops.csv", "--model", "shops", "--windows", 2, "--step", 12)
    assert found["windows"] == 12
    assert len(found["error_by_step"]) == 24
    assert found["metrics"]["mase"] < found["baselines"]["naive"]["mase"]


def test_models_are_listed_shown_promoted_and_rolled_back(command: Command, trained: dict[str, Any]) -> None:
    command.json(*TRAIN, "--preset", "fast", *QUICK, "--promote", "never")
    listed = command.json("models", "list")["models"]
    assert listed == [{"name": "shops", "champion": 1, "challenger": 2, "versions": 2}]
    assert command.json("models", "show", "shops/2")["description"].startswith("not promoted")
    assert command.json("models", "promote", "shops@challenger")["version"] == 2
    told = command.json("models", "show", "shops/2")["description"]
    assert told.startswith("promoted by hand on 20")
    assert "its training said: not promoted" in told
    assert command.json("models", "rollback", "shops")["version"] == 1
    assert "shops" in command("models", "list").stdout


def test_datasets_and_jobs_are_kept_without_a_server(command: Command) -> None:
    stored = command.json("datasets", "put", "shops.csv", "--name", "shops")
    assert stored["reference"].startswith("shops@")
    assert list(command.json("datasets", "list")["datasets"]) == ["shops"]
    job = command.json("jobs", "submit", "shops", "--name", "shops", "--freq", "h", "--horizon", 24)
    assert job["status"] == "queued"
    assert command.json("jobs", "list", "--status", "queued")["jobs"][0]["id"] == job["id"]
    assert command.json("jobs", "logs", job["id"])["log"] == []
    assert command.json("jobs", "cancel", job["id"])["status"] == "cancelled"
    assert command.json("jobs", "show", job["id"])["status"] == "cancelled"


def test_compare_shows_a_table_or_tells_every_trial(command: Command) -> None:
    arguments = ("compare", "shops.csv", "--name", "cells", "--freq", "h", "--horizon", 24, "--cells", "rnn, gru")
    arguments = (*arguments, "--preset", "fast", *QUICK, "--set", "fit.processes=1", "--seeds")
    found = command.json(*arguments, 2)
    assert [(trial["cell"], trial["seed"]) for trial in found["trials"]] == [
        ("rnn", 1), ("gru", 1), ("rnn", 2), ("gru", 2),
    ]  # fmt: skip
    assert all(trial["metrics"]["mase"] > 0 for trial in found["trials"])
    assert "over 2 seeds" in found["verdict"]
    shown = command(*arguments, 1).stdout
    for told in ("MASE of baselines: naive", "one seed does not tell"):
        assert told in " ".join(shown.split())
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.startswith(("rnn", "gru"))}
    for cell in ("rnn", "gru"):
        trial = next(trial for trial in found["trials"] if (trial["cell"], trial["seed"]) == (cell, 1))
        assert rows[cell][1:3] == [str(trial["parameters"]), f"{trial['metrics']['mase']:.4g}"]


def test_a_profile_says_what_is_in_the_data_and_stores_nothing(command: Command) -> None:
    found = command.json("profile", "shops.csv", "--out", "profile.html")
    assert (found["freq"], found["horizon"], found["out"]) == ("h", 24, "profile.html")
    assert found["findings"][0]["topic"] == "size"
    assert found["settings"].startswith("settings: gru")
    assert found["findings"][0]["found"] in (command.home / "profile.html").read_text()
    shown = command("profile", "shops.csv", "--freq", "h", "--horizon", 30, "--resample", "mean").stdout
    assert "a forecast of 30 steps" in " ".join(shown.split())
    told = {one["topic"]: one["found"] for one in command.json("profile", "shops.csv", "--targets", "y")["findings"]}
    assert told["targets"] == "y, of each id"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("profile", "shops.csv", "--out", "profile.pdf"), ".html"),
        (("profile", "none.csv"), "none.csv"),
        (("profile", "shops.csv", "--resample", "mean"), "freq"),
        ((*TRAIN, "--resample", "mean", "--duplicates", "sum"), "--duplicates"),
        (("train", "none.csv", "--name", "x", "--freq", "h", "--horizon", 2), "none.csv"),
        ((*TRAIN[:4], "--freq", "fortnight", "--horizon", 2), "freq"),
        ((*TRAIN[:6], "--horizon", 0), "horizon"),
        ((*TRAIN, "--targets", "y,load"), "load"),
        ((*TRAIN, "--targets", "y,y"), "declared twice"),
        ((*TRAIN[:6], "--horizon", -4), "horizon"),
        ((*TRAIN, "--seed", 2**64), "--seed"),
        (("train", "shops.csv", "--name", "../x", "--freq", "h", "--horizon", 2), "name"),
        ((*TRAIN, "--set", "fit.stepz=1"), "fit.stepz"),
        ((*TRAIN, "--set", "nonsense"), "nonsense"),
        ((*TRAIN, "--preset", "turbo"), "'--preset': 'turbo' is not one of"),
        ((*TRAIN, "--config", "none.yaml"), "none.yaml"),
        (("predict", "shops.csv", "--model", "shops", "--reconcile", "ols"), "--sums"),
        (("jobs", "submit", "none.csv", "--name", "x", "--horizon", 2), "neither a file nor a stored data set"),
        (("jobs", "submit", "shops.csv", "--name", "x", "--horizon", 0), "horizon"),
        ((*TRAIN, "--config", "seeded.yaml", "--seed", 7), "'--seed': it is 7, but seeded.yaml says fit.seed: 1"),
        ((*TRAIN, "--config", "seeded.yaml", "--resample", "sum"), "'--resample': it is sum, but seeded.yaml says"),
        ((*TRAIN, "--warm-start", "nothing"), "nothing"),
        ((*COMPARE, "gru,transformer"), "transformer"),
        ((*COMPARE, "gru,lstm,gru"), "gru is given twice"),
        ((*COMPARE, ","), "no cell is given"),
        ((*COMPARE, "gru", "--seeds", 0), "seeds"),
        ((*COMPARE, "gru", "--set", "network.cell=rnn"), "network.cell"),
        ((*COMPARE[:-2], -1, "--cells", "gru"), "horizon"),
        (("predict", "shops.csv", "--model", "nothing"), "nothing"),
        (("predict", "shops.csv", "--model", "shops/99"), "shops/99"),
        (("predict", "shops.csv", "--model", "a b"), "a b"),
        (("predict", "shops.csv", "--model", "shops", "--horizon", 0), "horizon"),
        (("predict", "shops.csv", "--model", "shops", "--level", 100), "level"),
        (("predict", "shops.csv", "--model", "shops", "--out", "f.xlsx"), ".xlsx"),
        (("predict", "shops.csv", "--model", "shops", "--out", "nowhere://f.parquet"), "nowhere"),
        (("predict", "shops.csv"), "--model"),
        ((*TRAIN[:6], "--horizon", "soon"), "--horizon"),
        (("fly",), "fly"),
        (("backtest", "shops.csv", "--model", "shops", "--windows", 500), "long enough"),
        (("models", "show", "nothing"), "nothing"),
        (("models", "promote", "shops"), "version"),
        (("jobs", "show", "nothing"), "nothing"),
        (("jobs", "submit", "nothing", "--name", "x", "--freq", "h", "--horizon", 2), "nothing"),
        (("datasets", "put", "none.csv"), "none.csv"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    command: Command, trained: dict[str, Any], arguments: tuple[object, ...], told: str
) -> None:
    done = command(*arguments, fails=2)
    course = ("loading", "reading the data", "data: ", "settings: ")  # told before it is found
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(course)]
    assert told in lines[-1]
    assert len(lines) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "name",
    ["up", "train", "compare", "predict", "backtest", "models", "jobs", "datasets", "serve", "worker", "quickstart"],
)
def test_every_command_has_help(command: Command, name: str) -> None:
    assert "Usage: forecaster" in command.cold(name, "--help").stdout


def test_ctrl_c_ends_a_command_in_words() -> None:
    program = (
        "import os, signal, sys; from forecaster.cli import app\n"
        "@app.app.command()\n"
        "def interrupt(): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['forecaster', 'interrupt']; app.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "forecaster: stopped\n")


@pytest.mark.parametrize(
    ("name", "value", "asked"),
    [
        ("FORECASTER_PORT", "abc", ["serve"]),
        ("FORECASTER_THREADS", "0", ["serve"]),
        ("FORECASTER_DATABASE_URL", "mysql://x", ["serve"]),
        ("FORECASTER_DATASET_MAX_BYTES", "2GB", ["datasets", "list"]),
        ("FORECASTER_HOME", "~nobody-here/var", ["worker"]),
    ],
)
def test_settings_of_the_environment_that_are_wrong_are_told_in_a_line(
    command: Command, name: str, value: str, asked: list[str]
) -> None:
    wrong = Command(command.home, command.warm)
    wrong.environment = {**command.environment, name: value}
    lines = wrong.cold(*asked, fails=2).stderr.splitlines()
    assert len(lines) == 1
    assert name in lines[0]
