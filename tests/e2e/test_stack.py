"""The whole loop as a user meets it: `forecaster up`, data in, training, forecasts, retraining, failures."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.ports import free_port
from tests.waiting import wait_until
from training.tracking import JOB_TAG

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
QUICK = {"fit.steps": 60, "fit.batch": 64, "network.width": 16, "backtest.baseline_series": 0}


class Stack:
    """A running `forecaster up`, its client, and its home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port, self.mlflow_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "FORECASTER_HOME": str(home),
            "MLFLOW_TRACKING_URI": "",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "forecaster", "up", "--no-quickstart", "--json"]
        command += ["--port", str(self.port), "--mlflow-port", str(self.mlflow_port)]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def wait(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = b""
        while not text.rstrip().endswith(b"}"):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1].decode()[-2000:]
            text += line
        document: dict[str, Any] = json.loads(text)
        return document

    def command(self, *arguments: object) -> dict[str, Any]:
        environment = {**self.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow_port}"}
        done = subprocess.run(
            [sys.executable, "-m", "forecaster", *map(str, arguments), "--json"],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def submit(self, **changes: Any) -> str:
        spec = {"model": "shops", "dataset": "shops", "freq": "h", "horizon": 48, "preset": "fast", "settings": QUICK}
        answer = self.client.post("/v1/training-jobs", json={**spec, **changes})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(f"/v1/training-jobs/{job_id}").json()
        return document

    def ended(self, job_id: str, seconds: float = 180) -> dict[str, Any]:
        wait_until(lambda: self.job(job_id)["status"] in ("succeeded", "failed", "cancelled"), seconds)
        return self.job(job_id)

    def put(self, frame: pd.DataFrame, name: str = "shops") -> None:
        body = io.BytesIO()
        frame.to_parquet(body)
        headers = {"Content-Type": "application/vnd.apache.parquet"}
        assert self.client.put(f"/v1/datasets/{name}", content=body.getvalue(), headers=headers).is_success

    def served(self, model: str = "shops") -> int | None:
        found = self.client.get("/healthz/ready").json()["models"]
        return next((entry["version"] for entry in found if entry["name"] == model), None)


def shops(n: int = 20, length: int = 500, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    step = np.arange(length)
    parts = []
    for i in range(n):
        y = 100 + 10 * i + 30 * np.sin(2 * np.pi * (step + i) / 24) + generator.normal(scale=3, size=length)
        y[generator.random(length) < 0.05] = np.nan
        parts.append(
            pd.DataFrame(
                {"unique_id": f"shop-{i}", "ds": pd.date_range("2024-01-01", periods=length, freq="h"), "y": y}
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("stack"))
    addresses = running.wait()
    assert addresses["api"] == f"http://127.0.0.1:{running.port}"
    yield running
    running.process.send_signal(signal.SIGINT)
    running.client.close()
    running.process.communicate(timeout=40)
    assert running.process.returncode == 130


@pytest.fixture(scope="module")
def first(stack: Stack) -> dict[str, Any]:
    stack.put(shops())
    job = stack.ended(stack.submit())
    assert job["status"] == "succeeded", job
    wait_until(lambda: stack.served() == 1, 20)
    return job


def request_of(frame: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    series = [
        {"id": name, "start": str(part["ds"].iloc[0]), "values": [None if np.isnan(y) else y for y in part["y"]]}
        for name, part in frame.groupby("unique_id", sort=False)
    ]
    return {"model": "shops", "level": [80, 95], "series": series, **changes}


def test_a_job_tells_its_progress_and_result(stack: Stack, first: dict[str, Any]) -> None:
    assert first["result"]["promoted"]
    assert first["result"]["metrics"]["mase"] < first["result"]["baselines"]["naive"]["mase"]
    assert first["progress"]["epochs"] == 6
    assert "final fit" in first["log_tail"]


def test_four_ways_to_ask_agree_for_one_series_and_for_four_hundred(stack: Stack, first: dict[str, Any]) -> None:
    frame = shops(n=400, length=200, seed=3)
    frame.to_parquet(stack.home / "many.parquet")
    stack.command("predict", stack.home / "many.parquet", "--model", "shops", "--level", 80, "--level", 95,
                  "--out", stack.home / "cli.parquet")  # fmt: skip
    by_cli = pd.read_parquet(stack.home / "cli.parquet")
    parts = [frame[frame.unique_id.isin(names)] for names in (["shop-7"], [f"shop-{i}" for i in range(400)])]
    for part, by_pyfunc in zip(parts, ask_pyfunc(parts, stack), strict=True):
        answer = stack.client.post("/v1/forecast", json=request_of(part)).json()
        by_http = {entry["id"]: entry for entry in answer["forecasts"]}
        assert_agree(by_cli[by_cli.unique_id.isin(part.unique_id)], by_pyfunc, by_http)


def ask_pyfunc(parts: list[pd.DataFrame], stack: Stack) -> list[pd.DataFrame]:
    """Forecasts of each by a process that knows MLflow alone."""
    code = (
        "import sys, mlflow, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/shops@champion')\n"
        "for path in sys.argv[1:]:\n"
        "    model.predict(pd.read_parquet(path), params={'level': [80.0, 95.0]}).to_parquet(path)"
    )
    paths = [str(stack.home / f"part-{number}.parquet") for number in range(len(parts))]
    for part, path in zip(parts, paths, strict=True):
        part.to_parquet(path)
    environment = {**stack.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{stack.mlflow_port}"}
    subprocess.run([sys.executable, "-c", code, *paths], env=environment, check=True, capture_output=True, timeout=120)
    return [pd.read_parquet(path) for path in paths]


def assert_agree(expected: pd.DataFrame, by_pyfunc: pd.DataFrame, by_http: dict[str, Any]) -> None:
    for column in ("mean", "median", "lo-80", "hi-80", "lo-95", "hi-95"):
        np.testing.assert_allclose(by_pyfunc[column], expected[column], rtol=1e-4)
    for name, rows in expected.groupby("unique_id", sort=False):
        entry = by_http[str(name)]
        assert entry["timestamps"] == [stamp.isoformat() for stamp in rows["ds"]]
        np.testing.assert_allclose(entry["median"], rows["median"], rtol=1e-4)
        np.testing.assert_allclose(entry["mean"], rows["mean"], rtol=1e-4)
        for level in ("80", "95"):
            np.testing.assert_allclose(entry["intervals"][level]["lo"], rows[f"lo-{level}"], rtol=1e-4)
            np.testing.assert_allclose(entry["intervals"][level]["hi"], rows[f"hi-{level}"], rtol=1e-4)


def test_the_latency_benchmark_runs_and_memory_stays_within_its_limit(stack: Stack, first: dict[str, Any]) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "latency.py"
    command = [
        sys.executable,
        str(script),
        str(stack.client.base_url),
        "--model",
        "shops",
        "--requests",
        "80",
        "--json",
    ]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    assert 0 < report["median_ms"] <= report["p95_ms"]
    assert 100 < report["resident_mb"] <= 600


def test_retraining_moves_the_champion_under_two_thousand_requests_and_none_fails(
    stack: Stack, first: dict[str, Any]
) -> None:
    before = stack.served()
    stack.put(shops(n=30, length=700, seed=1))
    body = request_of(shops(n=1, length=120))
    answers: list[tuple[int, int]] = []
    enough, moved = threading.Event(), threading.Event()

    async def ask(client: httpx.AsyncClient) -> None:
        while not (moved.is_set() and len(answers) >= 2000):
            answer = await client.post("/v1/forecast", json=body)
            answers.append((answer.status_code, answer.json().get("model", {}).get("version", 0)))

    async def ask_all() -> None:
        async with httpx.AsyncClient(base_url=str(stack.client.base_url), timeout=60) as client:
            await asyncio.gather(*(ask(client) for _ in range(8)))
        enough.set()

    asking = threading.Thread(target=asyncio.run, args=(ask_all(),))
    asking.start()
    try:
        job = stack.ended(stack.submit(promote="always"))
        assert job["status"] == "succeeded", job
        wait_until(lambda: stack.served() == job["result"]["version"], 15)
    finally:
        moved.set()
        asking.join(120)
    assert enough.is_set()
    assert len(answers) >= 2000
    assert {status for status, _ in answers} == {200}
    versions = [version for _, version in answers]
    assert set(versions) == {before, job["result"]["version"]}


def test_a_worker_killed_in_mid_training_is_replaced_and_the_job_ends_well(stack: Stack, first: dict[str, Any]) -> None:
    job_id = stack.submit(settings={**QUICK, "fit.steps": 400}, promote="never")
    wait_until(lambda: (stack.job(job_id).get("progress") or {}).get("epoch", 0) >= 3, 90)
    pid = int(stack.job(job_id)["worker"].rpartition(":")[2])
    os.kill(pid, signal.SIGKILL)
    job = stack.ended(job_id, 240)
    assert job["status"] == "succeeded", job
    assert job["attempt"] == 2
    found = re.findall(r"backtest fit: epoch (\d+) of", job["log_tail"])
    assert found.count("1") == 1  # it went on from its checkpoint, not from the start


def test_a_failed_training_leaves_the_champion_and_says_why(stack: Stack, first: dict[str, Any]) -> None:
    before = stack.served()
    job = stack.ended(stack.submit(horizon=900))
    assert job["status"] == "failed"
    assert "long enough" in job["error"]
    assert stack.served() == before


def runs_of(stack: Stack, job_id: str) -> list[Run]:
    client = MlflowClient(f"http://127.0.0.1:{stack.mlflow_port}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`{JOB_TAG}` = '{job_id}'"))


def test_a_training_that_is_killed_fails_and_so_does_its_run(stack: Stack, first: dict[str, Any]) -> None:
    job_id = stack.submit(settings={**QUICK, "fit.steps": 100_000})
    wait_until(lambda: runs_of(stack, job_id), 60)
    worker = int(stack.job(job_id)["worker"].rpartition(":")[2])
    for process in psutil.Process(worker).children():
        process.kill()
    job = stack.ended(job_id, 40)
    assert job["status"] == "failed"
    assert "signal 9" in job["error"]
    wait_until(lambda: runs_of(stack, job_id)[0].info.status == "FAILED", 60)


def test_a_running_job_can_be_cancelled(stack: Stack, first: dict[str, Any]) -> None:
    job_id = stack.submit(settings={**QUICK, "fit.steps": 100_000})
    wait_until(lambda: stack.job(job_id)["status"] == "running", 60)
    wait_until(lambda: runs_of(stack, job_id), 60)
    assert stack.client.delete(f"/v1/training-jobs/{job_id}").is_success
    assert stack.ended(job_id, 40)["status"] == "cancelled"
    (run,) = runs_of(stack, job_id)
    assert run.info.status == "FAILED"
