"""Local copies of models: downloaded aside, checked, and only then moved into place.

MODELS/<name>/<version>-<run>/   a copy of the artifact
MODELS/<name>/serving.json       which copy is served: what a restart begins with when the registry is away
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from forecaster.artifact import load_artifact, load_held_out
from forecaster.errors import ArtifactError
from forecaster.predictor import Predictor
from forecaster.store.incoming import incoming
from service.registry import Version

_SERVING = "serving.json"

logger = logging.getLogger(__name__)

Download = Callable[[Version, Path], Path]


@dataclass(frozen=True)
class Serving:
    """The version of a model that is served, and the one before."""

    current: Version
    previous: Version | None = None


class ModelCache:
    """The copies in one folder. Threads and processes may share it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def obtain(self, version: Version, download: Download) -> Predictor:
        """Load the local copy of `version`; where there is none, or it is damaged, fetch it first.

        Raises ArtifactError when the model is broken, and what `download` raises.
        """
        place = self._place(version)
        if place.is_dir():
            try:
                return load_artifact(place)
            except ArtifactError as error:
                logger.warning("the local copy of %s is damaged and is fetched anew: %s", version, error)
                shutil.rmtree(place, ignore_errors=True)
        with incoming(self._directory) as aside:
            fetched = download(version, aside)
            predictor = load_artifact(fetched)
            _move(fetched, place)
        return predictor

    def load(self, version: Version) -> Predictor:
        """Load the local copy. Raises ArtifactError."""
        return load_artifact(self._place(version))

    def load_held_out(self, version: Version, download: Download) -> Predictor | None:
        """The fit that has not seen the last steps, if it was kept. A copy that was dropped is fetched again.

        Raises ArtifactError, and what `download` raises.
        """
        if not self._place(version).is_dir():
            self.obtain(version, download)
        return load_held_out(self._place(version))

    def note(self, serving: Serving) -> None:
        """Remember what is served, and drop the copies that neither it nor a rollback needs."""
        folder = self._folder(serving.current.name)
        folder.mkdir(parents=True, exist_ok=True)
        kept = [version for version in (serving.current, serving.previous) if version is not None]
        with incoming(self._directory) as aside:
            note = aside / _SERVING
            note.write_text(json.dumps(asdict(serving), indent=1), encoding="utf-8")
            os.replace(note, folder / _SERVING)
        for copy in folder.iterdir():
            if copy.is_dir() and copy not in {self._place(version) for version in kept}:
                shutil.rmtree(copy, ignore_errors=True)

    def forget(self, name: str) -> None:
        """Nothing of this model is served any more."""
        (self._folder(name) / _SERVING).unlink(missing_ok=True)

    def noted(self, name: str) -> Serving | None:
        return _read(self._folder(name) / _SERVING)

    def all_noted(self) -> list[Serving]:
        notes = (_read(path) for path in sorted(self._directory.glob(f"*/{_SERVING}")))
        return [serving for serving in notes if serving is not None]

    def drop(self, version: Version) -> None:
        """Remove a copy, unless it is the one that is served or the one before."""
        serving = self.noted(version.name)
        if serving is None or version not in (serving.current, serving.previous):
            shutil.rmtree(self._place(version), ignore_errors=True)

    def _folder(self, name: str) -> Path:
        # A registered model may be called almost anything, `..` included.
        quoted = quote(name, safe=" ")
        return self._directory / (f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted)

    def _place(self, version: Version) -> Path:
        # The run, as well: a registry that was made anew counts versions from 1 again.
        return self._folder(version.name) / f"{version.version}-{(version.run_id or 'no-run')[:8]}"


def _move(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, place)
    except OSError:
        if not place.is_dir():  # another process was faster: its copy has passed the same check
            raise


def _read(path: Path) -> Serving | None:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return Serving(Version(**noted["current"]), Version(**noted["previous"]) if noted["previous"] else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read and is left aside: %s", path, error)
        return None
