"""The conventions that training, service and command line keep in MLflow's model registry.

`champion` is served, `challenger` is the newest version that did not win. Which version was champion before stands
in a tag, so that a promotion can be taken back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forecaster.errors import Conflict, InputError, NotFound
from forecaster.store.mlflow_client import MlflowClient, MlflowException, ModelVersion, Run, download_artifacts

CHAMPION, CHALLENGER = "champion", "challenger"
PREVIOUS_TAG = "forecaster.previous_champion"
_VERDICT = "; its training said: "
_REFERENCE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})(?:@([A-Za-z0-9._-]+)|/(\d{1,9}))?$")
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # an unknown alias is the latter


@dataclass(frozen=True)
class Reference:
    """`name`, `name@alias` or `name/version`; a bare name means its champion."""

    name: str
    alias: str | None
    version: int | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        match = _REFERENCE.match(text)
        if match is None:
            raise InputError(
                f"{text!r} is no model reference", field="model", mend="write name, name@alias or name/version"
            )
        name, alias, version = match.groups()
        if version is not None:
            return cls(name, None, int(version))
        return cls(name, alias or CHAMPION, None)

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.version is None else f"{self.name}/{self.version}"


def resolve(client: MlflowClient, reference: Reference) -> ModelVersion:
    """The registered version that a reference names. Raises NotFound."""
    try:
        if reference.version is not None:
            return client.get_model_version(reference.name, str(reference.version))
        return client.get_model_version_by_alias(reference.name, str(reference.alias))
    except MlflowException as error:
        if error.error_code in MISSING:
            raise NotFound(f"there is no model {reference}") from error
        raise


def download(version: ModelVersion, directory: Path) -> Path:
    """Copy a version's model directory to below `directory`; gives where it lies."""
    uri = f"models:/{version.name}/{version.version}"
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(directory)))


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that is served, if any."""
    try:
        return resolve(client, Reference(name, CHAMPION, None))
    except NotFound:
        return None


def make_champion(client: MlflowClient, name: str, version: int) -> ModelVersion:
    """Move the alias to a version and remember which it follows. Raises NotFound."""
    chosen = resolve(client, Reference(name, None, version))
    before = champion_of(client, name)
    if before is not None and before.version != chosen.version:
        client.set_registered_model_tag(name, PREVIOUS_TAG, str(before.version))
    client.set_registered_model_alias(name, CHAMPION, str(version))
    return chosen


def promote(client: MlflowClient, name: str, version: int, how: str = "promoted by hand") -> ModelVersion:
    """Make a version the champion on somebody's word, which its description tells beside the training's verdict."""
    chosen = make_champion(client, name, version)
    verdict = (chosen.description or "").rpartition(_VERDICT)[2] or "nothing"
    told = f"{how} on {datetime.now(UTC):%Y-%m-%d}{_VERDICT}{verdict}"
    client.update_model_version(name, str(version), told)
    return chosen


def rollback(client: MlflowClient, name: str) -> ModelVersion:
    """Make the champion before the present one champion again. Raises NotFound or Conflict."""
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in MISSING:
            raise NotFound(f"there is no model {name}") from error
        raise
    previous = model.tags.get(PREVIOUS_TAG)
    if not previous:
        raise Conflict(f"{name} has no earlier champion to go back to")
    return promote(client, name, int(previous), "champion again by a rollback")


def list_models(client: MlflowClient) -> list[dict[str, Any]]:
    """Every registered model: its name, champion, challenger and newest version."""
    found: list[dict[str, Any]] = []
    token = None
    while True:
        page = client.search_registered_models(max_results=100, page_token=token)
        for model in page:
            aliases = {alias: int(version) for alias, version in model.aliases.items()}
            newest = max((int(version.version) for version in model.latest_versions or ()), default=None)
            found.append(
                {
                    "name": model.name,
                    "champion": aliases.get(CHAMPION),
                    "challenger": aliases.get(CHALLENGER),
                    "versions": newest,
                }
            )
        token = page.token
        if not token:
            return found


def run_of(client: MlflowClient, version: ModelVersion) -> Run | None:
    """The run that made a version; None where it made none, or was deleted for good."""
    try:
        return client.get_run(version.run_id) if version.run_id else None
    except MlflowException as error:
        if error.error_code in MISSING:
            return None
        raise


def describe(client: MlflowClient, version: ModelVersion) -> dict[str, Any]:
    """A version with its aliases, the verdict in words, and its run's metrics."""
    run = run_of(client, version)
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "name": version.name,
        "version": int(version.version),
        "aliases": list(version.aliases),
        "description": version.description or "",
        "run_id": version.run_id,
        "created_at": created.isoformat(timespec="seconds"),
        "metrics": dict(run.data.metrics) if run else {},
        "tags": {key: value for key, value in version.tags.items() if not key.startswith("mlflow.")},
    }
