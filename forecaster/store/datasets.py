"""Training data, kept by name and by what is in it.

A version is a file `NAME/DIGEST.csv` (or `.csv.gz`, `.parquet`, `.arrow`) with a `NAME/DIGEST.json` beside it that
describes it. The description is written last: a version exists when its description does, and is never half there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import fsspec
import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from forecaster.errors import InputError, NotFound, TooLarge, first_line
from forecaster.settings import COLUMNS
from forecaster.sources import open_source
from forecaster.store.incoming import incoming
from forecaster.store.settings import MOST_DATASET_BYTES, StoreSettings
from forecaster.store.spec import DATASET_REFERENCE, NAME
from forecaster.unpacking import unpacked_bytes

DataFormat = Literal["csv", "csv.gz", "parquet", "arrow"]

_CHUNK = 1 << 20
_SETTING = "FORECASTER_DATASET_MAX_BYTES"
_DIGITS = 16  # of the digest, in file names
_ENDINGS: dict[str, DataFormat] = {
    "csv": "csv",
    "csv.gz": "csv.gz",
    "parquet": "parquet",
    "pq": "parquet",
    "arrow": "arrow",
    "arrows": "arrow",
    "feather": "arrow",
}


class DatasetVersion(BaseModel):
    """One version of a data set. `model_dump(mode="json")` is what the API shows."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    """SHA-256 of the file, in hexadecimal."""
    format: DataFormat
    bytes: int
    rows: int
    columns: tuple[str, ...]
    created_at: AwareDatetime
    """When it was last put: putting old content again makes it the newest."""
    path: Path = Field(exclude=True)

    @property
    def reference(self) -> str:
        """`name@digest`: this version, whatever is put later."""
        return f"{self.name}@{self.digest[:_DIGITS]}"


class DatasetStore:
    """The data sets in one folder. Safe to share between threads and processes."""

    def __init__(self, directory: Path, max_bytes: int = MOST_DATASET_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    @classmethod
    def of(cls, settings: StoreSettings) -> DatasetStore:
        return cls(settings.datasets_dir, settings.dataset_max_bytes)

    def put(self, name: str, source: BinaryIO | str | Path, format: str | None = None) -> DatasetVersion:
        """Keep the long-format table that `source` (a path, a URL, an open file) holds as the newest version.

        format: csv, csv.gz, parquet or arrow; taken from the path where there is one.
        Raises InputError, TooLarge, NotFound (no such file).
        """
        if not NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot name a data set", field="name", mend="use letters, digits and . _ -")
        kind = _format(format, source)
        with incoming(self._directory) as aside:
            path = aside / f"data.{kind}"
            with _opened(source) as stream:
                digest = self._copy(stream, path)
            columns, rows = _inspect(path, name, self._max_bytes)
            version = DatasetVersion(
                name=name,
                digest=digest,
                format=kind,
                bytes=path.stat().st_size,
                rows=rows,
                columns=columns,
                created_at=datetime.now(UTC),
                path=self._directory / name / f"{digest[:_DIGITS]}.{kind}",
            )
            _publish(version, path)
        return version

    def get(self, reference: str) -> DatasetVersion:
        """`name` is its newest version; `name@digest` the one whose digest begins so. Raises NotFound."""
        match = DATASET_REFERENCE.fullmatch(reference)
        name, digest = match.groups() if match else (None, None)
        versions = self._versions(name) if name else []
        chosen = [version for version in versions if version.digest.startswith(digest or "")]
        if not chosen:
            raise NotFound(f"there is no data set {reference!r}")
        if digest and len(chosen) > 1:
            raise InputError(f"{reference!r} fits several versions", field="dataset", mend="give more of the digest")
        return chosen[0]

    def list(self) -> Mapping[str, Sequence[DatasetVersion]]:
        """Every data set's versions by its name, the newest first."""
        names = sorted(entry.name for entry in self._directory.glob("*") if NAME.fullmatch(entry.name))
        return {name: versions for name in names if (versions := self._versions(name))}

    def _versions(self, name: str) -> Sequence[DatasetVersion]:
        described = (_described(path) for path in (self._directory / name).glob("*.json"))
        return sorted(described, key=lambda version: version.created_at, reverse=True)

    def _copy(self, stream: BinaryIO, path: Path) -> str:
        digest, size = hashlib.sha256(), 0
        with path.open("wb") as file:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > self._max_bytes:
                    raise TooLarge(f"a data set may have at most {self._max_bytes} bytes: {_SETTING} says how many")
                digest.update(chunk)
                file.write(chunk)
            _flush(file)
        return digest.hexdigest()


def _format(format: str | None, source: Any) -> DataFormat:
    if format is not None:
        given = format.lower().removeprefix(".")
    else:
        file_name = str(source if isinstance(source, (str, Path)) else "").split("?")[0].lower()
        given = next((ending for ending in _ENDINGS if file_name.endswith(f".{ending}")), "")
    if given not in _ENDINGS:
        raise InputError("the file format is unknown", field="format", mend="use csv, csv.gz, parquet or arrow")
    return _ENDINGS[given]


@contextmanager
def _opened(source: BinaryIO | str | Path) -> Iterator[BinaryIO]:
    if not isinstance(source, (str, Path)):
        yield source
        return
    try:
        opened = fsspec.open(str(source), "rb").open()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {source}") from error
    except Exception as error:  # each kind of storage has errors of its own
        raise InputError(f"{source} cannot be opened ({first_line(error)})") from error
    with opened as stream:
        yield stream


def _inspect(path: Path, name: str, most_bytes: int) -> tuple[Sequence[str], int]:
    """Read all of it once, in batches: a file that is torn or has a bad row is refused now, not in training."""
    try:
        if path.suffix == ".arrow":
            _check_unpacked(path, most_bytes)
        columns = open_source(path, values=()).columns
        if not set(columns) - set(COLUMNS[:2]):
            mend = "give a column of values, y by name unless trainings call it a target"
            raise InputError("there is nothing to forecast", field="y", mend=mend)
        source = open_source(path, values=[column for column in COLUMNS[2:] if column in columns])
        rows = sum(batch.num_rows for batch in source.batches())
    except InputError as error:
        # Whoever put it knows it by its name, not by where it lay aside.
        problem = error.problem.replace(str(path), f"data set {name!r}")
        raise InputError(problem, field=error.field, mend=error.mend) from error
    except (pa.ArrowException, ValueError, OSError, EOFError) as error:
        problem = f"data set {name!r} cannot be read ({first_line(error)})"
        raise InputError(problem, mend="check that the file is whole") from error
    if rows == 0:
        raise InputError(f"data set {name!r} has no rows", field="y", mend="give at least one observation")
    return columns, rows


def _check_unpacked(path: Path, most_bytes: int) -> None:
    """An Arrow file is read as a whole: a small compressed one may hold far more than memory does."""
    with pa.memory_map(str(path)) as mapped:
        if unpacked_bytes(mapped.read_buffer()) > most_bytes:
            problem = f"it takes more than {most_bytes >> 20} MiB unpacked"
            raise InputError(problem, mend="write it as Parquet, which is read in parts")


def _publish(version: DatasetVersion, path: Path) -> None:
    description = path.with_name("description.json")
    with description.open("wb") as file:
        file.write(version.model_dump_json(indent=2).encode())
        _flush(file)
    version.path.parent.mkdir(exist_ok=True)
    os.replace(path, version.path)
    os.replace(description, version.path.with_name(f"{version.digest[:_DIGITS]}.json"))


def _described(description: Path) -> DatasetVersion:
    known = json.loads(description.read_text(encoding="utf-8"))
    return DatasetVersion(**known, path=description.with_suffix(f".{known['format']}"))


def _flush(file: Any) -> None:
    """To the disk, not only to the system: a description must not outlive a power cut that its data did not."""
    file.flush()
    os.fsync(file.fileno())
