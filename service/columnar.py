"""Forecast requests and answers as tables: Arrow streams, Parquet, CSV."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pyarrow import compute

from forecaster.errors import InputError, first_line
from forecaster.forecast import in_text
from forecaster.frequency import Frequency
from forecaster.hierarchy import read_sums
from forecaster.panel import Panel
from forecaster.reading import read_panel
from forecaster.settings import ModelSettings
from forecaster.sources import typed
from forecaster.unpacking import unpacked_bytes
from service.errors import PlacedInputError
from service.question import Answer, Question
from service.schemas.forecasts import ForecastParameters

ARROW, PARQUET, CSV = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv"
# A small compressed body may hold far more than memory does.
MOST_ROWS, MOST_COLUMNS, MOST_BYTES = 20_000_000, 1000, 1 << 30
_VIEW_NUMBERS = 4  # of 32 bits in a view of a text
_BATCH_ROWS = 8192  # of a Parquet body, between two looks at how much it has become
_TOLD_WARNINGS = 10
_QUOTED = pyarrow.csv.ParseOptions(newlines_in_values=True)


def parse(media_type: str, parameters: ForecastParameters, body: bytes) -> Question:
    """Raises InputError."""
    table = read_table(media_type, body)
    return Question(
        model=parameters.model,
        horizon=parameters.horizon,
        freq=parameters.freq,
        levels=tuple(parameters.level),
        quantiles=tuple(parameters.quantile),
        paths=parameters.paths,
        sums={} if parameters.sums is None else read_sums(parameters.sums),
        reconcile=parameters.reconcile,
        panel=partial(_panel_of_text if media_type == CSV else _panel, table),
        place=_place,
    )


def _panel(table: pa.Table, freq: Frequency, settings: ModelSettings, _horizon: int) -> Panel:
    return read_panel(table, freq, settings.rows, settings.covariates)


def _panel_of_text(table: pa.Table, freq: Frequency, settings: ModelSettings, horizon: int) -> Panel:
    """What a column of text is, its model knows."""
    known = settings.covariates
    numeric = [column for column in known.columns if column not in (*known.names, *known.values)]
    return _panel(typed(table, numeric), freq, settings, horizon)


def read_table(media_type: str, body: bytes) -> pa.Table:
    try:
        table = _READERS[media_type](body)
        table.validate(full=True)  # its buffers' own offsets are not to be trusted: a false one ends the process
        _check_bytes(sum(_decoded_bytes(chunk) for column in table.columns for chunk in column.chunks))
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputError(f"the body cannot be read as {media_type}: {first_line(error)}") from error
    return table


def write_table(media_type: str, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    _WRITERS[media_type](table, sink)
    return sink.getvalue()


def headers(answer: Answer) -> dict[str, str]:
    """What a table cannot say: the model, how many series have warnings, and which (each once)."""
    version = answer.model.version
    told = Counter(text for i in range(len(answer.forecast.ids)) for text in answer.warnings(i))
    warned = sum(bool(answer.warnings(i)) for i in range(len(answer.forecast.ids)))
    sentences = (f"{count} series: {text}" for text, count in told.most_common(_TOLD_WARNINGS))
    return {
        "X-Forecaster-Model": quote(f"{version.name}/{version.version}"),
        "X-Forecaster-Run": quote(version.run_id or ""),
        "X-Forecaster-Warnings": str(warned),
        **({"X-Forecaster-Warning": _ascii(" | ".join(sentences))} if told else {}),
    }


def _ascii(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("ascii", "replace").decode()


def _place(error: InputError) -> InputError:
    field = {"quantiles": "quantile"}.get(str(error.field), error.field)  # as the query calls it
    return PlacedInputError(error, *([field] if field else []))


def _read_arrow(body: bytes) -> pa.Table:
    _check_bytes(unpacked_bytes(pa.py_buffer(body)))
    batches, rows = [], 0
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        _check_columns(len(reader.schema))
        for batch in reader:
            rows += batch.num_rows
            _check_rows(rows)
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def _read_parquet(body: bytes) -> pa.Table:
    """Texts are read as dictionaries, where one that is repeated lies once, until it is known how long they all are."""
    with pyarrow.parquet.ParquetFile(pa.BufferReader(body)) as file:
        _check_rows(file.metadata.num_rows)
        _check_columns(file.metadata.num_columns)
        schema = file.schema_arrow
    flat = pa.schema([field for field in schema if not pa.types.is_nested(field.type)])  # no other is ever asked for
    texts = [field.name for field in flat if _is_text(field.type)]
    batches, size = [], 0
    with pyarrow.parquet.ParquetFile(pa.BufferReader(body), read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=flat.names, use_threads=False):
            size += sum(_decoded_bytes(column) for column in batch.columns)
            _check_bytes(size)
            batches.append(batch)
    return pa.Table.from_batches(batches).cast(flat) if batches else flat.empty_table()


def _is_text(kind: pa.DataType) -> bool:
    return any(of(kind) for of in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)) or _is_view(kind)


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _decoded_bytes(column: pa.Array) -> int:
    """Of a column whose dictionary, or views of one text, are written out, as reading does."""
    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
        lengths = _lengths(column.dictionary).take(column.indices)
    elif _is_view(column.type):
        lengths = _lengths(column)
    else:
        return int(column.nbytes)
    return int(compute.sum(lengths).as_py() or 0)


def _lengths(texts: pa.Array) -> pa.Array:
    if not _is_view(texts.type):
        return compute.binary_length(texts).cast(pa.int64())
    views = np.frombuffer(texts.buffers()[1], np.int32).reshape(-1, _VIEW_NUMBERS)  # each begins with its length
    return pa.array(views[texts.offset : texts.offset + len(texts), 0].astype(np.int64))


def _read_csv(body: bytes) -> pa.Table:
    # All of it as text: a cell that is no date or number can then be named with its series.
    with pyarrow.csv.open_csv(pa.BufferReader(body), parse_options=_QUOTED) as opened:
        _check_columns(len(opened.schema))
        types = {field.name: pa.string() for field in opened.schema if not pa.types.is_binary(field.type)}
    blank = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=["", "null", "NULL"])
    # In one block, whose end no quoted line break can be taken for.
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=len(body) + 1)
    return pyarrow.csv.read_csv(pa.BufferReader(body), read_options=reading, convert_options=blank)


def _check_rows(rows: int) -> None:
    if rows > MOST_ROWS:
        raise InputError(f"the table has more than {MOST_ROWS} rows", mend="send fewer series at once")


def _check_columns(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise InputError(f"the table has more than {MOST_COLUMNS} columns", mend="send those that the model needs")


def _check_bytes(size: int) -> None:
    if size > MOST_BYTES:
        problem = f"the table takes more than {MOST_BYTES >> 20} MiB unpacked"
        raise InputError(problem, mend="send fewer series at once")


def _write_arrow(table: pa.Table, sink: io.BytesIO) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _write_parquet(table: pa.Table, sink: io.BytesIO) -> None:
    pyarrow.parquet.write_table(table, sink)


def _write_csv(table: pa.Table, sink: io.BytesIO) -> None:
    pyarrow.csv.write_csv(in_text(table), sink)


_READERS: dict[str, Callable[[bytes], pa.Table]] = {ARROW: _read_arrow, PARQUET: _read_parquet, CSV: _read_csv}
_WRITERS: dict[str, Callable[[pa.Table, io.BytesIO], None]] = {
    ARROW: _write_arrow,
    PARQUET: _write_parquet,
    CSV: _write_csv,
}
