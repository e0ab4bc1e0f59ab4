"""Tables to files: Parquet, CSV or Arrow, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from forecaster.cli.output import replace_file
from forecaster.errors import InputError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[["pa.Table", IO[bytes]], Any]


def table_writer(out: str | None) -> Callable[[pa.Table], None] | None:
    """What writes a table to `out`. Raises InputError, before any work is done, when the name ends as no such file."""
    if out is None:
        return None
    write = _writer(out)
    if "://" in out:
        return lambda table: _upload(out, partial(write, table))
    return lambda table: replace_file(Path(out), lambda aside: _write_to(aside, partial(write, table)))


def _writer(out: str) -> Write:
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    from forecaster.forecast import in_text

    writers: dict[str, Write] = {
        ".parquet": pyarrow.parquet.write_table,
        ".csv": lambda table, file: pyarrow.csv.write_csv(in_text(table), file),
        ".csv.gz": _write_compressed,
        ".arrow": pyarrow.feather.write_feather,
    }
    for ending, write in writers.items():
        if out.lower().endswith(ending):
            return write
    ending = Path(out).suffix or "a file without a suffix"
    raise InputError(f"cannot write {ending}", field="--out", mend="use .parquet, .csv, .csv.gz or .arrow")


def _write_compressed(table: pa.Table, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.csv

    from forecaster.forecast import in_text

    with pa.CompressedOutputStream(file, "gzip") as compressed:
        pyarrow.csv.write_csv(in_text(table), compressed)


def _write_to(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    with path.open("wb") as file:
        write(file)


def write_text(out: str, text: str) -> None:
    """Write a page to a file or URL, whole or not at all."""
    if "://" in out:
        _upload(out, lambda file: file.write(text.encode()))
    else:
        replace_file(Path(out), lambda aside: aside.write_text(text, encoding="utf-8"))


def _upload(url: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Whole or not at all: what is not written to its end here is never sent."""
    import fsspec

    with tempfile.TemporaryFile() as aside:
        write(aside)
        aside.seek(0)
        try:
            with fsspec.open(url, "wb") as file:
                shutil.copyfileobj(aside, file)
        except OSError:
            raise
        except Exception as error:  # a protocol that is not known, and each kind of storage has errors of its own
            raise InputError(f"{url} cannot be written ({first_line(error)})", field="--out") from error
