"""Loaders for the public M4 and ETT files from a folder on this machine; nothing is downloaded.

Both accept the files as their publishers lay them out (CSV, wide) and as long-format Parquet, and return long format:
`unique_id` string, `ds` (M4: integer step, 1 is the first; ETT: timestamp without zone), `y` float64, null if missing.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from forecaster.errors import InputError, NotFound

M4_FREQUENCIES = ("Yearly", "Quarterly", "Monthly", "Weekly", "Daily", "Hourly")
M4_MISSING = ("", "NA")
ETT_NAMES = ("ETTh1", "ETTh2", "ETTm1", "ETTm2")
ETT_COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def load_m4(folder: str | Path, frequency: str) -> tuple[pa.Table, pa.Table]:
    """Train and test table of one M4 frequency, e.g. "Hourly". A test series goes on at the step where its train ends.

    Looks in `folder` for Hourly-train.csv (or Train/Hourly-train.csv), m4_hourly_train.parquet and
    m4_hourly_sample_train.parquet, in this order, and for the test file likewise; a sample holds some series only.
    Raises `NotFound` for an absent file and `InputError` for one that is not in the layout of M4.
    """
    _known(frequency, M4_FREQUENCIES, field="frequency")
    train_path = _find(folder, _m4_names(frequency, "train"))
    test_path = _find(folder, _m4_names(frequency, "test"))
    train = _read_m4(train_path, {})
    return train, _read_m4(test_path, _lengths(train) if test_path.suffix == ".csv" else {})


def load_ett(folder: str | Path, name: str) -> pa.Table:
    """The seven series (`HUFL` ... `OT`) of "ETTh1", "ETTh2", "ETTm1" or "ETTm2".

    Looks in `folder` for ETTh1.csv (or ETT-small/ETTh1.csv) and etth1.parquet, in this order.
    Raises `NotFound` for an absent file and `InputError` for one that is not in the layout of ETT.
    """
    _known(name, ETT_NAMES, field="name")
    path = _find(folder, [f"{name}.csv", f"ETT-small/{name}.csv", f"{name.lower()}.parquet"])
    return _read_ett_csv(path) if path.suffix == ".csv" else _read_long_parquet(path, pa.timestamp("us"))


def _known(value: str, choices: Sequence[str], *, field: str) -> None:
    if value not in choices:
        raise InputError(f"{value!r} is unknown", field=field, mend=f"use one of {', '.join(choices)}")


def _m4_names(frequency: str, part: str) -> list[str]:
    csv_name, prefix = f"{frequency}-{part}.csv", f"m4_{frequency.lower()}"
    return [csv_name, f"{part.title()}/{csv_name}", f"{prefix}_{part}.parquet", f"{prefix}_sample_{part}.parquet"]


def _find(folder: str | Path, names: Sequence[str]) -> Path:
    for name in names:
        if (path := Path(folder) / name).is_file():
            return path
    raise NotFound(f"{folder} holds none of {', '.join(names)}")


def _read_m4(path: Path, steps_before: dict[str, int]) -> pa.Table:
    return _read_m4_csv(path, steps_before) if path.suffix == ".csv" else _read_long_parquet(path, pa.int64())


def _read_m4_csv(path: Path, steps_before: dict[str, int]) -> pa.Table:
    """One line per series, id in V1, then its values; `steps_before` is the train length of a test file's series."""
    ids: list[str] = []
    lengths, values = array("q"), array("d")  # flat: the widest file would need a gigabyte as a rectangle
    for series, numbers in _m4_lines(path):
        ids.append(series)
        lengths.append(len(numbers))
        values.extend(numbers)
    if len(set(ids)) != len(ids):
        twice = next(series for series in ids if ids.count(series) > 1)
        raise InputError(f"there is more than one line in {path.name}", series=twice, field="V1")
    if steps_before and (unknown := set(ids) - set(steps_before)):
        raise InputError(f"{path.name} has it, the train file has not", series=min(unknown), field="V1")
    first = np.array([steps_before.get(series, 0) + 1 for series in ids], dtype=np.int64)
    return _long(ids, np.array(lengths), _steps(first, np.array(lengths)), np.array(values))


def _m4_lines(path: Path) -> Iterator[tuple[str, list[float]]]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        if next(lines, [])[:1] != ["V1"]:
            raise InputError(f"{path.name} does not begin with a header V1, V2, ...", field="V1")
        for line in lines:
            # Short series are padded to the width of the longest; the padding is not part of the series.
            while len(line) > 1 and line[-1] in M4_MISSING:
                line.pop()
            if line:
                yield line[0], [_m4_number(text, line[0], f"V{i}") for i, text in enumerate(line[1:], start=2)]


def _m4_number(text: str, series: str, field: str) -> float:
    try:
        return math.nan if text in M4_MISSING else float(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a number", series=series, field=field) from error


def _steps(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1, ... for lengths[0] steps, then the same for the next series."""
    starts = np.cumsum(lengths) - lengths
    steps: np.ndarray = np.arange(lengths.sum()) + np.repeat(first - starts, lengths)
    return steps


def _lengths(train: pa.Table) -> dict[str, int]:
    last = train.group_by("unique_id").aggregate([("ds", "max")])
    return {str(row["unique_id"]): int(row["ds_max"]) for row in last.to_pylist()}


def _read_ett_csv(path: Path) -> pa.Table:
    types = {"date": pa.timestamp("us"), **dict.fromkeys(ETT_COLUMNS, pa.float64())}
    options = pa_csv.ConvertOptions(column_types=types)
    try:
        wide = pa_csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path.name} cannot be read: {_one_line(error)}") from error
    _require(path, wide.column_names, ["date", *ETT_COLUMNS])
    values = np.concatenate([wide[column].to_numpy() for column in ETT_COLUMNS])
    lengths = np.full(len(ETT_COLUMNS), wide.num_rows)
    return _long(ETT_COLUMNS, lengths, np.tile(wide["date"].to_numpy(), len(ETT_COLUMNS)), values)


def _read_long_parquet(path: Path, ds: pa.DataType) -> pa.Table:
    try:
        table = pq.read_table(path)
        _require(path, table.column_names, ["unique_id", "ds", "y"])
        schema = pa.schema({"unique_id": pa.string(), "ds": ds, "y": pa.float64()})
        table = table.select(schema.names).cast(schema).replace_schema_metadata()
    except pa.ArrowException as error:
        raise InputError(f"{path.name} cannot be read: {_one_line(error)}") from error
    observed = pc.if_else(pc.is_nan(table["y"]), None, table["y"])
    return table.set_column(2, "y", observed)


def _require(path: Path, present: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in present:
            raise InputError(f"{path.name} has no such column", field=column, mend=f"it has {', '.join(present)}")


def _long(ids: Sequence[str], lengths: np.ndarray, ds: np.ndarray, values: np.ndarray) -> pa.Table:
    series = np.repeat(np.arange(len(ids), dtype=np.int32), lengths)
    unique_id = pa.DictionaryArray.from_arrays(series, pa.array(ids, pa.string())).dictionary_decode()
    return pa.table({"unique_id": unique_id, "ds": pa.array(ds), "y": pa.array(values, from_pandas=True)})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
