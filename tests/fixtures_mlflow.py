"""A real MLflow server for the tests, started once; its registry is emptied after each test that used it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

from forecaster.predictor import Predictor
from forecaster.store.registry import make_champion
from tests.fixtures_models import save_model
from tests.ports import free_port
from tests.waiting import wait_until


class MlflowServer:
    """SQLite and files in one folder, on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._saved = 0
        self.start()
        self.client = MlflowClient(self.uri, self.uri)

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | lean, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._answers, 120)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def register(self, name: str, predictor: Predictor, *, champion: bool = False) -> int:
        """A new version of a model, logged and registered as training does; gives its number."""
        self._saved += 1
        directory = self.folder / "saved" / str(self._saved)
        save_model(directory, predictor)
        return self.register_files(name, directory, champion=champion)

    def register_files(self, name: str, directory: Path, *, champion: bool = False) -> int:
        """The same for any folder, be it a model or not."""
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        run = self.client.create_run(experiment)
        self.client.log_artifacts(run.info.run_id, str(directory), "model")
        self.client.log_metric(run.info.run_id, "backtest/mase", 0.8)
        self.client.set_terminated(run.info.run_id)
        if not self.client.search_registered_models(f"name='{name}'"):
            self.client.create_registered_model(name)
        version = self.client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
        if champion:
            make_champion(self.client, name, int(version.version))
        return int(version.version)

    def forget_models(self) -> None:
        for model in self.client.search_registered_models():
            self.client.delete_registered_model(model.name)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log.txt").read_text()
        try:
            return httpx.get(f"{self.uri}/health", timeout=2).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture
def mlflow(mlflow_server: MlflowServer) -> Iterator[MlflowServer]:
    """The server, with an empty registry."""
    yield mlflow_server
    mlflow_server.forget_models()
