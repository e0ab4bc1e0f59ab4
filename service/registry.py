"""The model registry, as far as the service needs it: MLflow with the project's errors.

Every call may take as long as MLflow's time-outs (some 12 s when the server's host is silent), so none is made on
the event loop, and none while a forecast waits for a champion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from forecaster.errors import NotFound, Unavailable, first_line
from forecaster.store.mlflow_client import MlflowClient, MlflowException, download_artifacts
from forecaster.store.registry import CHAMPION, MISSING, PREVIOUS_TAG, promote, rollback, run_of
from service.environment import prepare_environment

T = TypeVar("T")

_PATIENCE = 15.0  # seconds an API call waits for the registry
_SHOWN_VERSIONS = 20
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class RegisteredModel:
    """A model by name: its aliases (name -> version), tags and description."""

    name: str
    aliases: Mapping[str, int]
    tags: Mapping[str, str]
    description: str

    @property
    def champion(self) -> int | None:
        return self.aliases.get(CHAMPION)


@dataclass(frozen=True)
class Version:
    """One registered version."""

    name: str
    version: int
    run_id: str | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Promotion:
    """champion: the version that is champion now; previous: the one that a rollback goes to."""

    name: str
    champion: int
    previous: int | None


class Registry:
    """Raises NotFound and Unavailable. Threads may share it."""

    def __init__(self, tracking_uri: str) -> None:
        prepare_environment()
        self._uri = tracking_uri

    def models(self) -> Sequence[RegisteredModel]:
        """All registered models, with one request for each thousand."""
        if self._not_made_yet():
            return []
        found: list[RegisteredModel] = []
        token = None
        with _translated():
            while True:
                page = self._client.search_registered_models(max_results=1000, page_token=token)
                found += [_registered(model) for model in page]
                token = page.token
                if not token:
                    return found

    def version(self, name: str, version: int) -> Version:
        with _translated():
            found = self._client.get_model_version(name, str(version))
        return Version(found.name, int(found.version), found.run_id or None)

    def versions(self, name: str) -> Sequence[Mapping[str, Any]]:
        """What is known of a model's newest versions, the newest first."""
        quote = '"' if "'" in name else "'"
        with _translated():
            found = self._client.search_model_versions(
                f"name={quote}{name}{quote}", max_results=_SHOWN_VERSIONS, order_by=["version_number DESC"]
            )
            return [self._described(version) for version in found]

    def promote(self, name: str, version: int) -> Promotion:
        with _translated():
            promote(self._client, name, version)
            return self._promotion(name)

    def rollback(self, name: str) -> Promotion:
        """Raises Conflict, too, when there is nothing to go back to."""
        with _translated():
            rollback(self._client, name)
            return self._promotion(name)

    def download(self, version: Version, folder: Path) -> Path:
        """Put the artifact of `version` under `folder`; gives its directory."""
        with _translated():
            source = self._location(version)
        try:
            return Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri))
        except Exception as error:  # each kind of storage has exceptions of its own
            raise Unavailable(f"{version} cannot be downloaded: {first_line(error)}") from error

    @cached_property
    def _client(self) -> Any:
        return MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def _not_made_yet(self) -> bool:
        """A database that does not exist is for the training to make, not for a process that only reads it."""
        return self._uri.startswith(_SQLITE) and not Path(self._uri.removeprefix(_SQLITE)).exists()

    def _location(self, version: Version) -> str:
        source = str(self._client.get_model_version_download_uri(version.name, str(version.version)))
        if source.startswith("models:/m-"):  # MLflow would look this up at its global tracking URI
            return str(self._client.get_logged_model(source.removeprefix("models:/")).artifact_location)
        return source

    def _promotion(self, name: str) -> Promotion:
        model = self._client.get_registered_model(name)
        previous = model.tags.get(PREVIOUS_TAG)
        return Promotion(name, int(model.aliases[CHAMPION]), int(previous) if previous else None)

    def _described(self, version: Any) -> Mapping[str, Any]:
        run = run_of(self._client, version)
        used = [one.dataset for one in run.inputs.dataset_inputs] if run else []
        return {
            "version": int(version.version),
            "run_id": version.run_id or None,
            "created_at": datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
            "description": version.description or "",
            "tags": {name: value for name, value in version.tags.items() if not name.startswith("mlflow.")},
            "metrics": _backtest(run.data.metrics) if run else {},
            "datasets": [{"name": dataset.name, "digest": dataset.digest} for dataset in used],
        }


class RegistryThreads:
    """Calls of the registry for API requests: a few at a time, each with a time limit."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(4, thread_name_prefix="registry")

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        try:
            return await asyncio.wait_for(running, _PATIENCE)
        except TimeoutError as error:
            raise Unavailable("the model registry did not answer in time") from error

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _registered(model: Any) -> RegisteredModel:
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
    tags = {name: value for name, value in model.tags.items() if not name.startswith("mlflow.")}
    return RegisteredModel(model.name, aliases, tags, model.description or "")


def _backtest(metrics: Mapping[str, float]) -> dict[str, float]:
    """What tells how good a model is; not the course of its training, nor a curve's last point."""
    return {
        name: value for name, value in sorted(metrics.items()) if name.startswith("backtest/") and "_by_" not in name
    }


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code in MISSING:
            raise NotFound(first_line(error)) from error
        raise Unavailable(f"the model registry cannot be used now: {first_line(error)}") from error
    except (OSError, SQLAlchemyError) as error:  # of a connection, be it to a database, where MLflow lets it through
        raise Unavailable(f"the model registry cannot be used now: {first_line(error)}") from error
