"""Reading data into a panel: files, Arrow, pandas, polars, records or plain histories; one path for all.

A source is read twice in batches: once to learn where each series begins and ends, once to place every value on
its grid position. So rows may come in any order, memory stays near the size of the flat array, and an absent row
is an unobserved value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.errors import InputError
from forecaster.frequency import Frequency, IntArray
from forecaster.panel import FloatArray, Panel
from forecaster.sources import COLUMNS, Source, open_source

_EMPTY_GRID_FACTOR = 50  # a grid with this many times more steps than rows is a wrong `freq`, not gaps


def read_panel(source: Any, freq: str | Frequency) -> Panel:
    """Read long-format data (`unique_id, ds, y`) into a panel.

    source: a path or fsspec URL (`.parquet`, `.csv`, `.csv.gz`, `.arrow`), a pyarrow Table, a pandas or polars
        frame, or a list of records
    freq: one step of `ds`
    Raises InputError naming the series, the column and the mend.
    """
    frequency = freq if isinstance(freq, Frequency) else Frequency.parse(freq)
    opened = open_source(source)
    layout = _Layout(frequency)
    for batch in opened.batches():
        layout.add(*_decode(batch))
    if not layout.rows:
        raise InputError("the data holds no rows", mend="give at least one row of unique_id, ds, y")
    values, offsets = _place(opened, layout)
    return Panel(
        layout.ids(),
        values,
        offsets,
        layout.first,
        layout.phase,
        frequency,
        layout.integer,
        layout.zone,
        _notes(opened),
    )


def panel_from_histories(
    ids: Sequence[str],
    starts: Sequence[str | int | datetime | None],
    values: Sequence[Sequence[float | None] | npt.NDArray[Any]],
    freq: str | Frequency,
) -> Panel:
    """A panel of histories without gaps in time: each series is a start and a list of values.

    starts: the timestamp or step of each first value; None counts steps from 1
    values: numbers; None or NaN is unobserved
    """
    frequency = freq if isinstance(freq, Frequency) else Frequency.parse(freq)
    if len(set(ids)) != len(ids):
        repeated = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise InputError("the id occurs twice", series=repeated, field="id", mend="give each series an id of its own")
    arrays = [_history(name, history) for name, history in zip(ids, values, strict=True)]
    ds, zone = _parse_starts(ids, starts)
    ordinal, phase = frequency.to_grid(ds)
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    flat = np.concatenate(arrays) if arrays else np.zeros(0, np.float32)
    integer = bool(np.issubdtype(ds.dtype, np.integer))
    return Panel(np.asarray(ids, object), flat, offsets, ordinal, phase, frequency, integer, zone)


def _history(name: str, history: Any) -> FloatArray:
    try:
        array = np.asarray(history, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("a value is not a number", series=name, field="values", mend="give numbers or null") from error
    if array.ndim != 1:
        raise InputError("values are not a flat list", series=name, field="values", mend="give one number per step")
    return _to_float32(array, lambda _: name, "values")


def _parse_starts(ids: Sequence[str], starts: Sequence[Any]) -> tuple[npt.NDArray[Any], str | None]:
    given = [1 if start is None else start for start in starts]
    counts = [isinstance(start, (int, np.integer)) and not isinstance(start, bool) for start in given]
    if all(counts):
        return np.asarray(given, np.int64), None
    if any(counts) and not all(start is None or not isinstance(start, int) for start in starts):
        raise InputError(
            "some series start at a timestamp and some at a step",
            series=ids[counts.index(True)],
            field="start",
            mend="use one or the other",
        )
    if any(counts):
        raise InputError(
            "the start is missing",
            series=ids[counts.index(True)],
            field="start",
            mend="give the timestamp of the first value, as for the other series",
        )
    stamps = pd.to_datetime(pd.Series(given, dtype=object), errors="coerce", utc=True, format="ISO8601")
    if stamps.isna().any():
        bad = int(np.flatnonzero(stamps.isna())[0])
        raise InputError(
            f"{given[bad]!r} is not a timestamp",
            series=ids[bad],
            field="start",
            mend="write it as 2024-01-31 or 2024-01-31T12:00:00",
        )
    zoned = any(_has_zone(start) for start in given)
    return stamps.dt.tz_localize(None).to_numpy("datetime64[us]"), "UTC" if zoned else None


def _has_zone(start: Any) -> bool:
    if isinstance(start, datetime):
        return start.tzinfo is not None
    time_part = str(start)[10:]
    return time_part.endswith("Z") or "+" in time_part or "-" in time_part


class _Layout:
    """First pass: which series there are, and where each begins and ends on the grid."""

    def __init__(self, freq: Frequency) -> None:
        self.freq = freq
        self.index: dict[Any, int] = {}
        self.first: IntArray = np.zeros(0, np.int64)
        self.last: IntArray = np.zeros(0, np.int64)
        self.phase: IntArray = np.zeros(0, np.int64)
        self.rows = 0
        self.integer = False
        self.zone: str | None = None

    def ids(self) -> npt.NDArray[Any]:
        names = list(self.index)
        whole = all(isinstance(name, int) for name in names)
        return np.asarray(names, np.int64 if whole else object)

    def add(self, codes: pa.DictionaryArray, ds: npt.NDArray[Any], zone: str | None) -> None:
        series = self.number(codes)
        self._check_kind(ds, zone)
        ds = wall_clock(ds, zone, self.freq)
        ordinal, phase = self.freq.to_grid(ds)
        grow = len(self.index) - len(self.first)
        self.first = np.concatenate([self.first, np.full(grow, np.iinfo(np.int64).max)])
        self.last = np.concatenate([self.last, np.full(grow, np.iinfo(np.int64).min)])
        self.phase = np.concatenate([self.phase, np.full(grow, -1)])
        np.minimum.at(self.first, series, ordinal)
        np.maximum.at(self.last, series, ordinal)
        fresh = self.phase[series] < 0
        self.phase[series[fresh]] = phase[fresh]
        self._check_phase(series, phase, ds)
        self.rows += len(series)

    def number(self, codes: pa.DictionaryArray) -> IntArray:
        """Series numbers of a batch's rows; new names get the next number."""
        table = [self.index.setdefault(name, len(self.index)) for name in codes.dictionary.to_pylist()]
        numbers: IntArray = np.asarray(table, np.int64)[codes.indices.to_numpy(zero_copy_only=False)]
        return numbers

    def name(self, number: int) -> Any:
        return list(self.index)[number]

    def _check_kind(self, ds: npt.NDArray[Any], zone: str | None) -> None:
        integer = bool(np.issubdtype(ds.dtype, np.integer))
        if self.rows and integer != self.integer:
            raise InputError("ds mixes timestamps and integer steps", field="ds", mend="use one or the other")
        self.integer = integer
        self.zone = "UTC" if zone and not self.freq.keeps_wall_clock() else None

    def _check_phase(self, series: IntArray, phase: IntArray, ds: npt.NDArray[Any]) -> None:
        off = phase != self.phase[series]
        if self.freq.kind == "business":
            off |= phase >= 86_400_000_000
        if off.any():
            row = int(np.flatnonzero(off)[0])
            raise InputError(
                f"{ds[row]} does not lie on the {self.freq} grid of the series",
                series=self.name(int(series[row])),
                field="ds",
                mend="check the frequency, or move the timestamp to the grid",
            )


def _place(opened: Source, layout: _Layout) -> tuple[FloatArray, IntArray]:
    """Second pass: every value to its place in the flat array."""
    lengths = layout.last - layout.first + 1
    total = int(lengths.sum())
    if total > _EMPTY_GRID_FACTOR * layout.rows + 10_000:
        longest = int(np.argmax(lengths))
        raise InputError(
            f"at a frequency of {layout.freq} the series would have {int(lengths[longest])} steps, nearly all missing",
            series=layout.name(longest),
            field="ds",
            mend="give the frequency that the timestamps really have",
        )
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.full(total, np.nan, np.float32)
    filled = np.zeros(total, bool)
    for batch in opened.batches():
        codes, ds, zone = _decode(batch)
        series = layout.number(codes)
        ordinal, _ = layout.freq.to_grid(wall_clock(ds, zone, layout.freq))
        place = offsets[series] + ordinal - layout.first[series]
        _check_duplicates(place, filled, series, ds, layout)
        filled[place] = True
        values[place] = _numbers(batch, lambda row, s=series: layout.name(int(s[row])))
    return values, offsets


def _check_duplicates(
    place: IntArray, filled: npt.NDArray[np.bool_], series: IntArray, ds: npt.NDArray[Any], layout: _Layout
) -> None:
    again = filled[place]
    if not again.any():
        increasing = place[1:] > place[:-1]
        if increasing.all():
            return
        order = np.argsort(place, kind="stable")
        again[order[1:]] = place[order[1:]] == place[order[:-1]]
    if again.any():
        row = int(np.flatnonzero(again)[0])
        raise InputError(
            f"{ds[row]} occurs more than once",
            series=layout.name(int(series[row])),
            field="ds",
            mend="keep one row for each unique_id and ds",
        )


def _decode(batch: pa.RecordBatch) -> tuple[pa.DictionaryArray, npt.NDArray[Any], str | None]:
    """A batch's ids (dictionary encoded), `ds` (int64 or datetime64[us]) and the zone of `ds`."""
    ids = batch.column("unique_id")
    if ids.null_count:
        raise InputError("a row has no unique_id", field="unique_id", mend="name the series of every row")
    codes = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
    column = batch.column("ds")
    if column.null_count:
        raise _bad_ds(codes, column, "the timestamp is missing")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _parse_ds(column, codes)
    if pa.types.is_integer(column.type):
        return codes, column.to_numpy(zero_copy_only=False).astype(np.int64), None
    if pa.types.is_floating(column.type):
        steps = column.to_numpy(zero_copy_only=False)
        if not (np.isfinite(steps) & (steps == np.round(steps))).all():
            raise InputError("a step is not a whole number", field="ds", mend="give timestamps or whole steps")
        return codes, steps.astype(np.int64), None
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        zone = getattr(column.type, "tz", None)
        stamps = column.cast(pa.timestamp("us", zone), safe=False).to_numpy(zero_copy_only=False)
        return codes, stamps.astype("datetime64[us]"), zone
    raise InputError(f"ds has the type {column.type}", field="ds", mend="give timestamps or whole steps")


def _parse_ds(column: pa.Array, codes: pa.DictionaryArray) -> pa.Array:
    """Text to whole steps where all of it is that, otherwise to timestamps (ISO 8601)."""
    parsed = _parse_fast(column)
    return _parse_carefully(column, codes) if parsed is None else parsed


def _parse_fast(column: pa.Array) -> pa.Array | None:
    """Arrow's own parsers, a hundred times as fast; None where they refuse or the text has a zone or bare years."""
    if pc.any(pc.match_substring_regex(column, r"^\d{4}$|T.*[Zz+-]| .*[Zz+-]")).as_py():
        return None
    for kind in (pa.int64(), pa.timestamp("us")):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def _parse_carefully(column: pa.Array, codes: pa.DictionaryArray) -> pa.Array:
    """Zones, bare years and other spellings; names what is no timestamp."""
    text = column.to_pandas()
    steps = pd.to_numeric(text, errors="coerce")
    years = text.str.fullmatch(r"\d{4}", na=False).all() and steps.between(1800, 2200).all()
    if steps.notna().all() and not years and (steps == steps.round()).all():
        return pa.array(steps.astype("int64"))
    zoned = bool(text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True, na=False).any())
    stamps = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=zoned)
    if stamps.isna().any():
        row = int(np.flatnonzero(stamps.isna())[0])
        raise _bad_ds(codes, column, f"{text.iloc[row]!r} is not a timestamp", row)
    return pa.array(stamps)


def _bad_ds(codes: pa.DictionaryArray, column: pa.Array, problem: str, row: int | None = None) -> InputError:
    row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) if row is None else row
    mend = "write it as 2024-01-31, 2024-01-31T12:00:00 or a whole step"
    return InputError(problem, series=codes[row].as_py(), field="ds", mend=mend)


def wall_clock(ds: npt.NDArray[Any], zone: str | None, freq: Frequency) -> npt.NDArray[Any]:
    """UTC instants to local wall-clock time where steps follow the calendar; untouched otherwise."""
    if zone is None or not freq.keeps_wall_clock():
        return ds
    local = pd.DatetimeIndex(ds).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    stamps: npt.NDArray[Any] = local.to_numpy("datetime64[us]")
    return stamps


def _numbers(batch: pa.RecordBatch, name: Any) -> FloatArray:
    """The `y` of a batch as float32, null as NaN."""
    column = batch.column("y")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            return _to_float32(column.cast(pa.float64()).to_numpy(zero_copy_only=False), name, "y")
        except pa.ArrowInvalid:  # some cell is no number: find out which, or that it only says so in words
            pass
        text = column.to_pandas()
        parsed = pd.to_numeric(text.replace("", None), errors="coerce")
        wrong = parsed.isna() & text.notna() & ~text.fillna("").str.strip().str.lower().isin(["", "nan", "null", "na"])
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(f"{text.iloc[row]!r} is not a number", series=name(row), field="y", mend="give a number")
        return _to_float32(parsed.to_numpy(np.float64), name, "y")
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
    if not any(is_kind(column.type) for is_kind in numeric):
        raise InputError(f"y has the type {column.type}", field="y", mend="give numbers")
    return _to_float32(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), name, "y")


def _to_float32(numbers: npt.NDArray[Any], name: Any, field: str) -> FloatArray:
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.flatnonzero(infinite)[0])
        raise InputError(
            f"{numbers[row]} is infinite or beyond 3e38",
            series=name(row),
            field=field,
            mend="give a finite number or null",
        )
    return values


def _notes(opened: Source) -> tuple[str, ...]:
    unused = [column for column in opened.columns if column not in COLUMNS]
    return tuple(f"column {column!r} is not used by this model" for column in unused)
