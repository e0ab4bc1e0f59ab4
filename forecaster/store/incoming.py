"""Files and folders are made whole aside and then renamed into place, so that nobody sees half of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

INCOMING = ".incoming"  # hidden: no name of a model or a data set begins with a dot


@contextmanager
def incoming(directory: Path) -> Iterator[Path]:
    """A temporary folder below `directory`, and so on its file system: from there one step moves into place."""
    parent = directory / INCOMING
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)
