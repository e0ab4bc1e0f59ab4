"""Data that comes with the package, and loaders (`forecaster.data.public`) for public files you already have."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from forecaster.errors import NotFound

__all__ = ["bundled"]


def bundled(name: str = "new_york_weather") -> Path:
    """Path of a bundled data set: Parquet in long format (`unique_id`, `ds`, `y`), described in README.md here.

    Raises `NotFound` when no bundled data set has that name.
    """
    available = {path.stem: path for path in Path(str(files(__name__))).glob("*.parquet")}
    if name not in available:
        raise NotFound(f"there is no bundled data set {name!r}; there are: {', '.join(sorted(available))}")
    return available[name]
