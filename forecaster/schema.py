"""The form of an artifact's description, which can be read without the network's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forecaster.errors import ArtifactError, OutdatedArtifact, first_line

VERSION = 3
CONFIG = "config.json"


def read_config(directory: Path) -> dict[str, Any]:
    """What `config.json` says. Raises ArtifactError, OutdatedArtifact where it is of an earlier release."""
    config = read_json(directory / CONFIG)
    version = config.pop("schema_version", None)
    if version != VERSION:
        problem = f"{directory / CONFIG} has the schema version {version}; this release reads version {VERSION}"
        if isinstance(version, int) and version < VERSION:
            raise OutdatedArtifact(f"{problem}: train the model again")
        raise ArtifactError(problem)
    return config


def read_json(path: Path) -> dict[str, Any]:
    """An object. Raises ArtifactError."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is not valid: an object is expected")
    return content
