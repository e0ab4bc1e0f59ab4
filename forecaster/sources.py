"""Where long-format data comes from, as Arrow record batches that can be read more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from forecaster.columns import without_words
from forecaster.errors import ForecasterError, InputError, NotFound, first_line
from forecaster.settings import COLUMNS

_BATCH_ROWS = 1 << 16
_TYPES = (pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us"))  # of a CSV's covariates, else text


class Wanted(NamedTuple):
    """Names of columns that are wanted: those of all series, and covariates, of which some are names."""

    own: Sequence[str]
    covariates: Sequence[str]
    names: Sequence[str] = ()

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys([*self.own, *self.covariates]))


@dataclass(frozen=True)
class Source:
    """columns: all that the data has; batches: gives the batches (of the columns asked for) anew at each call."""

    columns: Sequence[str]
    batches: Callable[[], Iterator[pa.RecordBatch]]


def open_source(
    source: Any, values: Sequence[str] = COLUMNS[2:], covariates: Sequence[str] = (), names: Sequence[str] = ()
) -> Source:
    """A path, URL, pyarrow Table, pandas or polars frame, or list of records as a `Source`.

    values, covariates: columns that are wanted besides `unique_id` and `ds`: numbers, and of any kind
    names: covariates whose values are names, whatever they look like
    """
    wanted = Wanted((*COLUMNS[:2], *values), covariates, names)
    if isinstance(source, (str, Path)):
        return _open_file(str(source), wanted)
    return _open_table(_to_table(source), wanted)


def _to_table(source: Any) -> pa.Table:
    try:
        if isinstance(source, pa.Table):
            return source
        if isinstance(source, (list, tuple)):
            return pa.Table.from_pylist(list(source))
        if hasattr(source, "__arrow_c_stream__"):  # pandas, polars, duckdb and other frames
            return pa.table(source)
    except (pa.ArrowException, TypeError, AttributeError) as error:
        raise InputError(
            f"the records cannot be read ({first_line(error)})", mend="give one type per column"
        ) from error
    raise InputError(
        f"cannot read data from a {type(source).__name__}",
        mend="give a path, an Arrow, pandas or polars table, or records",
    )


def _open_table(table: pa.Table, wanted: Wanted) -> Source:
    _require_columns(table.column_names, wanted)
    table = _drop_pandas_index(table)
    chosen = table.select(wanted.all)
    return Source(table.column_names, lambda: iter(chosen.to_batches(max_chunksize=_BATCH_ROWS)))


def _drop_pandas_index(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if not name.startswith("__index_level_")])


def _open_file(path: str, wanted: Wanted) -> Source:
    name = path.lower().split("?")[0]
    if name.endswith((".csv", ".csv.gz")):
        return _open_csv(path, "gzip" if name.endswith(".gz") else None, wanted)
    if name.endswith((".parquet", ".pq")):
        return _open_parquet(path, wanted)
    if name.endswith((".arrow", ".arrows", ".feather")):
        return _open_table(_read_arrow(path), wanted)
    raise InputError(f"{path} is not a CSV, Parquet or Arrow file", mend="use .csv, .csv.gz, .parquet or .arrow")


def _open_parquet(path: str, wanted: Wanted) -> Source:
    with _reading(path) as file:
        columns = pyarrow.parquet.ParquetFile(file).schema_arrow.names
    _require_columns(columns, wanted)

    def batches() -> Iterator[pa.RecordBatch]:
        with _reading(path) as file:
            # Unbuffered, a whole row group of every column would be held at once.
            reader = pyarrow.parquet.ParquetFile(
                file, read_dictionary=["unique_id"], pre_buffer=False, buffer_size=1 << 16
            )
            yield from reader.iter_batches(batch_size=_BATCH_ROWS, columns=wanted.all)
        pa.default_memory_pool().release_unused()

    return Source(columns, batches)


def _open_csv(path: str, compression: str | None, wanted: Wanted) -> Source:
    with _reading(path) as file, closing(_csv_reader(file, compression, None)) as opened:
        columns = opened.schema.names
    _require_columns(columns, wanted)

    def texts() -> Iterator[pa.RecordBatch]:
        # A column that nobody asked for is not read, nor is a type guessed: a later block may gainsay the first one.
        with _reading(path) as file, closing(_csv_reader(file, compression, wanted.all)) as opened:
            for batch in opened:
                yield batch.select(wanted.all)

    others = [column for column in wanted.covariates if column not in (*wanted.own, *wanted.names)]
    types = _types_of_text(texts(), others) if others else {}

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in texts():
            yield _typed(batch, types)

    return Source(columns, batches if types else texts)


def typed(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """A table of text with the columns of this name that can be read as something else so read, as those of a file."""
    there = [column for column in columns if table.column_names.count(column) == 1]
    types = _types_of_text(iter(table.to_batches()), there) if there and table.num_rows else {}
    return pa.Table.from_batches([_typed(batch, types) for batch in table.to_batches()]) if types else table


def _typed(batch: pa.RecordBatch, types: dict[str, pa.DataType]) -> pa.RecordBatch:
    for column, kind in types.items():
        values = without_words(batch.column(column)).cast(kind)
        batch = batch.set_column(batch.schema.get_field_index(column), column, values)
    return batch


def _csv_reader(file: Any, compression: str | None, only: list[str] | None) -> Any:
    """Of text alone: a cell that is no date or number can then be named with its series."""
    stream = pa.CompressedInputStream(file, compression) if compression else file
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(only or (), pa.string()),
        include_columns=only,
        strings_can_be_null=True,
        null_values=["", "null", "NULL"],
    )
    return pyarrow.csv.open_csv(stream, convert_options=options)


def _types_of_text(batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """Of each column of text that can be read as something else, the first type that all of it allows.

    A column that says nothing but `NA` stays text: to a model that was trained already it may be a category.
    """
    possible, valued, worded = {column: list(_TYPES) for column in columns}, set[str](), set[str]()
    for batch in batches:
        for column in columns:
            given = batch.column(column)
            text = without_words(given)
            possible[column] = [kind for kind in possible[column] if _can_be(text, kind)]
            valued |= {column} if text.null_count < len(text) else set()
            worded |= {column} if given.null_count < len(given) else set()
    return {column: kinds[0] for column, kinds in possible.items() if kinds and column not in worded - valued}


def _can_be(text: pa.Array, kind: pa.DataType) -> bool:
    try:
        text.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _read_arrow(path: str) -> pa.Table:
    with _reading(path) as file:
        data = file.read()
    opener = pa.ipc.open_file if data[:6] == b"ARROW1" else pa.ipc.open_stream
    try:
        table = opener(data).read_all()
        table.validate(full=True)  # its buffers' own offsets are not to be trusted: a false one ends the process
        return table
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)})", mend="write it as an Arrow stream") from error


class _reading:
    """An open binary file whose failures speak of the path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> Any:
        try:
            self._file = fsspec.open(self.path, "rb").open()
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {self.path}") from error
        except Exception as error:  # each kind of storage has errors of its own
            raise InputError(f"{self.path} cannot be opened ({first_line(error)})") from error
        return self._file

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._file.close()
        # zlib's complaints come as OSError; each kind of storage has errors of its own
        of_storage = "://" in self.path and isinstance(error, Exception) and not isinstance(error, ForecasterError)
        if of_storage or isinstance(error, (pa.ArrowException, EOFError, OSError, UnicodeDecodeError)):
            problem = f"{self.path} cannot be read ({first_line(error)})"
            raise InputError(problem, mend="check that the file is whole and of the type its name says") from error


def _require_columns(columns: Sequence[str], wanted: Wanted) -> None:
    for column in wanted.all:
        if column not in columns:
            found = ", ".join(columns[:12]) or "none"
            rename = f"rename the columns to {', '.join(wanted.own)}"
            own = rename if column in COLUMNS else f"{rename}, or forecast others"
            mend = "the model needs this covariate" if column in wanted.covariates else own
            raise InputError(f"the column is missing (found: {found})", field=column, mend=mend)
        if list(columns).count(column) > 1:
            raise InputError("the column occurs twice", field=column, mend="keep one of them")
