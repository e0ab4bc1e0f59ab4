"""Files and folders are made whole aside and then renamed into place, so that nobody sees half of one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

INCOMING = ".incoming"  # hidden: no name of a model or a data set begins with a dot
_ABANDONED_SECONDS = 86_400.0


@contextmanager
def incoming(directory: Path) -> Iterator[Path]:
    """A temporary folder below `directory`, and so on its file system: from there one step moves into place."""
    parent = directory / INCOMING
    parent.mkdir(parents=True, exist_ok=True)
    _tidy(parent)
    with TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


def _tidy(parent: Path) -> None:
    """Remove what processes that were killed left behind."""
    for aside in parent.iterdir():
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - aside.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)
