"""The model registry, as far as the service needs it: MLflow behind bounded time-outs and the project's errors.

Every call may take as long as MLflow's time-outs (some 12 s when the server's host is silent), so none is made on
the event loop, and none while a forecast waits for a champion.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from forecaster.errors import NotFound, Unavailable
from service.promotion import CHAMPION

T = TypeVar("T")

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PATIENCE = 15.0  # seconds an API call waits for the registry
_SHOWN_VERSIONS = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegisteredModel:
    """A model by name: its aliases (name -> version), tags and description."""

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    description: str

    @property
    def champion(self) -> str | None:
        return self.aliases.get(CHAMPION)


@dataclass(frozen=True)
class Version:
    """One registered version."""

    name: str
    version: str
    run_id: str | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


class Registry:
    """Raises NotFound and Unavailable. Threads may share it."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._made: Any = None

    def models(self) -> Sequence[RegisteredModel]:
        """All registered models, with one request for each thousand."""
        if self._not_made_yet():
            return []
        found, token = [], None
        with _translated():
            while True:
                page = self.client.search_registered_models(max_results=1000, page_token=token)
                found += [_registered(model) for model in page]
                token = page.token
                if not token:
                    return found

    def version(self, name: str, version: str) -> Version:
        with _translated():
            return _version(self.client.get_model_version(name, version))

    def versions(self, name: str) -> Sequence[Mapping[str, Any]]:
        """What is known of a model's newest versions, the newest first."""
        with _translated():
            query = f"name='{name}'" if "'" not in name else f'name="{name}"'
            found = self.client.search_model_versions(query, max_results=_SHOWN_VERSIONS, order_by=["version_number DESC"])
            return [self._described(version) for version in found]

    def download(self, version: Version, folder: Path) -> Path:
        """Put the artifact of `version` under `folder`; gives its directory."""
        from mlflow.artifacts import download_artifacts

        with _translated():
            source = self._location(version)
            try:
                return Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri))
            except Exception as error:  # each kind of storage has exceptions of its own
                raise Unavailable(f"{version} cannot be downloaded: {_first_line(error)}") from error

    def change(self, action: Callable[..., T], *arguments: Any) -> T:
        """`action(client, *arguments)`, with the errors of this class."""
        with _translated():
            return action(self.client, *arguments)

    @property
    def client(self) -> Any:
        """The MlflowClient; importing MLflow takes a second or two, so it is done by the first to need it."""
        if self._made is None:
            for variable, value in _ENVIRONMENT.items():
                os.environ.setdefault(variable, value)
            from mlflow import MlflowClient

            self._made = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._made

    def _not_made_yet(self) -> bool:
        """A database that does not exist is for the training to make, not for a process that only reads it."""
        return self._uri.startswith("sqlite:///") and not Path(self._uri.removeprefix("sqlite:///")).exists()

    def _location(self, version: Version) -> str:
        source = str(self.client.get_model_version_download_uri(version.name, version.version))
        if source.startswith("models:/m-"):  # MLflow would look this up at its global tracking URI
            return str(self.client.get_logged_model(source.removeprefix("models:/")).artifact_location)
        return source

    def _described(self, version: Any) -> Mapping[str, Any]:
        run = self.client.get_run(version.run_id) if version.run_id else None
        return {
            "version": str(version.version),
            "run_id": version.run_id,
            "created_at": datetime.fromtimestamp(version.creation_timestamp / 1000, timezone.utc),
            "description": version.description or "",
            "tags": dict(version.tags),
            "metrics": _metrics(run.data.metrics) if run else {},
            "datasets": [
                {"name": one.dataset.name, "digest": one.dataset.digest} for one in (run.inputs.dataset_inputs if run else [])
            ],
        }


class RegistryThreads:
    """Calls of the registry for API requests: a few at a time, each with a time limit."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(4, thread_name_prefix="registry")

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        try:
            return await asyncio.wait_for(running, _PATIENCE)
        except asyncio.TimeoutError as error:
            raise Unavailable("the model registry did not answer in time") from error

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _registered(model: Any) -> RegisteredModel:
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    return RegisteredModel(model.name, aliases, dict(model.tags), model.description or "")


def _version(version: Any) -> Version:
    return Version(version.name, str(version.version), version.run_id or None)


def _metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """What tells how good a model is: not the machine's load, nor the course of the training."""
    return {name: value for name, value in sorted(metrics.items()) if name.startswith("backtest/")}


@contextmanager
def _translated() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in _MISSING:
            raise NotFound(_first_line(error)) from error
        raise Unavailable(f"the model registry cannot be used now: {_first_line(error)}") from error
    except OSError as error:  # the connection, where MLflow lets it through
        raise Unavailable(f"the model registry cannot be used now: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
