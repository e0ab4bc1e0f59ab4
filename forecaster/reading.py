"""Reading data into a panel: files, Arrow, pandas, polars, records or plain histories; one path for all.

A source is read twice in batches: once to learn where each series begins and ends, once to place every value on
its grid position. So rows may come in any order, memory stays near the size of the flat array, and an absent row
is an unobserved value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecaster.columns import LARGEST_STEP, decode, numbers, parse_timestamps, to_float32, wall_clock
from forecaster.combining import RepeatedRow, gathering
from forecaster.covariate_reading import CovariateReader
from forecaster.errors import InputError
from forecaster.frequency import Frequency, IntArray, day_of_month
from forecaster.mapped import flat_array, groups
from forecaster.panel import Covariates, FloatArray, Panel
from forecaster.settings import COLUMNS, CovariateSettings, RowSettings
from forecaster.sources import Source, open_source

_NAMED = 5  # of the columns that are not used
_WHOLE_STEP = 0.5  # of a series' usual rows in a step: with fewer its last one may not be over
_EMPTY_GRID_FACTOR = 50  # a grid with this many times more steps than rows is a wrong `freq`, not gaps


def read_panel(
    source: Any,
    freq: str | Frequency,
    rows: RowSettings | None = None,
    covariates: CovariateSettings | None = None,
) -> Panel:
    """Read long-format data (`unique_id, ds, y`, covariates) into a panel.

    source: a path or fsspec URL (`.parquet`, `.csv`, `.csv.gz`, `.arrow`), a pyarrow Table, a pandas or polars
        frame, or a list of records
    freq: one step of `ds`
    rows: how rows become steps; one row for each step if None
    covariates: columns to read beside `y`, or in its place. Where some of them are known beforehand, a series ends
        with its last observed value, and later rows are its future
    Raises InputError naming the series, the column and the mend.
    """
    frequency = freq if isinstance(freq, Frequency) else Frequency.parse(freq)
    declared = covariates or CovariateSettings()
    opened = open_source(source, declared.values, declared.columns, declared.names)
    layout = _Layout(frequency, rows or RowSettings())
    for batch in opened.batches():
        layout.add(*decode(batch, frequency))
    if not layout.rows:
        raise InputError("the data holds no rows", mend="give at least one row of unique_id, ds, y")
    values, offsets, known, notes = _place(opened, layout, declared)
    count = len(declared.values)
    if declared.future:
        values, offsets = _history(values, offsets, count)
    ids = layout.ids()
    series = np.repeat(np.arange(len(ids)), count)
    return Panel(
        ids[series],
        values,
        offsets,
        layout.first[series],
        layout.phase[series],
        frequency,
        layout.integer,
        layout.zone,
        _unused(opened, declared) + notes,
        known,
        np.tile(np.array(declared.targets, object), len(ids)) if declared.targets else None,
    )


def _history(values: FloatArray, offsets: IntArray, together: int) -> tuple[FloatArray, IntArray]:
    """Each series up to its last observed value; of one without any, the first step. `values` is overwritten.

    together: neighbouring series that end together
    """
    ends = [0]
    for group in groups(offsets[::together]):
        own = offsets[group.start * together : group.stop * together + 1]
        part, lengths = values[own[0] : own[-1]], np.diff(own)
        step = np.arange(len(part)) - np.repeat(own[:-1] - own[0], lengths)
        known = np.maximum.reduceat(np.where(np.isnan(part), 0, step), own[:-1] - own[0]) + 1
        known = known.reshape(-1, together).max(1).repeat(together)
        kept = part[step < np.repeat(known, lengths)]
        values[ends[-1] : ends[-1] + len(kept)] = kept  # nothing before has yet to be read
        ends += (ends[-1] + np.cumsum(known)).tolist()
    return values[: ends[-1]], np.array(ends, np.int64)


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
        repeated = Counter(ids).most_common(1)[0][0]
        raise InputError("the id occurs twice", series=repeated, field="id", mend="give each series an id of its own")
    arrays = [_numbers(name, history) for name, history in zip(ids, values, strict=True)]
    ds, zone = _parse_starts(ids, starts, frequency)
    ordinal, phase = frequency.to_grid(ds)
    if (off := frequency.off_grid(phase)).any():
        row = int(np.flatnonzero(off)[0])
        problem = f"{ds[row]} does not lie on the {frequency} grid"
        raise InputError(problem, series=ids[row], field="start", mend="start at the first business day")
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
    flat = np.concatenate(arrays) if arrays else np.zeros(0, np.float32)
    integer = bool(np.issubdtype(ds.dtype, np.integer))
    return Panel(np.asarray(ids, object), flat, offsets, ordinal, phase, frequency, integer, zone)


def _numbers(name: str, history: Any) -> FloatArray:
    try:
        array = np.asarray(history, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("a value is not a number", series=name, field="values", mend="give numbers or null") from error
    if array.ndim != 1:
        raise InputError("values are not a flat list", series=name, field="values", mend="give one number per step")
    return to_float32(array, lambda _: name, "values")


def _parse_starts(ids: Sequence[str], starts: Sequence[Any], freq: Frequency) -> tuple[npt.NDArray[Any], str | None]:
    given = [1 if start is None else start for start in starts]
    counted = [isinstance(start, (int, np.integer)) and not isinstance(start, bool) for start in given]
    if all(counted):
        far = [row for row, start in enumerate(given) if abs(start) > LARGEST_STEP]
        if far:
            mend = "count from a later start"
            raise InputError("the step is beyond 2**53", series=ids[far[0]], field="start", mend=mend)
        return np.asarray(given, np.int64), None
    if any(counted):
        row = counted.index(True)
        problem = "the start is missing" if starts[row] is None else "some series start at a timestamp, some at a step"
        raise InputError(problem, series=ids[row], field="start", mend="give each series a timestamp, or each a step")
    text = pa.array([start.isoformat() if isinstance(start, datetime) else str(start) for start in given])
    return parse_timestamps(text, lambda row: ids[row], "start", freq)


class _Layout:
    """First pass: which series there are, and where each begins and ends on the grid."""

    def __init__(self, freq: Frequency, rules: RowSettings) -> None:
        self.freq, self.rules = freq, rules
        self.index: dict[Any, int] = {}
        self.first: IntArray = np.zeros(0, np.int64)
        self.last: IntArray = np.zeros(0, np.int64)
        self.phase: IntArray = np.zeros(0, np.int64)
        self.longest: IntArray = np.zeros(0, np.int64)  # of the months on whose last day a series has rows, in days
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
        ordinal, phase = self.grid(ds, zone)
        grow = len(self.index) - len(self.first)
        self.first = np.concatenate([self.first, np.full(grow, np.iinfo(np.int64).max)])
        self.last = np.concatenate([self.last, np.full(grow, np.iinfo(np.int64).min)])
        self.phase = np.concatenate([self.phase, np.full(grow, -1)])
        self.longest = np.concatenate([self.longest, np.zeros(grow, np.int64)])
        np.minimum.at(self.first, series, ordinal)
        np.maximum.at(self.last, series, ordinal)
        fresh = self.phase[series] < 0
        self.phase[series[fresh]] = phase[fresh]
        if self.freq.kind == "month" and not self.integer:
            self._settle_day(series, phase, wall_clock(ds, zone, self.freq))
        self._check_phase(series, phase, ds)
        self.rows += len(series)

    def grid(self, ds: npt.NDArray[Any], zone: str | None) -> tuple[IntArray, IntArray]:
        """Ordinals and phases of a batch's timestamps."""
        local = wall_clock(ds, zone, self.freq)
        if self.rules.resample is None:
            return self.freq.to_grid(local)
        ordinal = self.freq.containing(local)
        return ordinal, np.full_like(ordinal, 0 if np.issubdtype(ds.dtype, np.integer) else self.freq.anchor)

    def number(self, codes: pa.DictionaryArray) -> IntArray:
        """Series numbers of a batch's rows; new names get the next number."""
        used, place = np.unique(codes.indices.to_numpy(zero_copy_only=False), return_inverse=True)
        by_appearance = np.argsort(np.unique(place, return_index=True)[1], kind="stable")
        names = codes.dictionary.take(pa.array(used[by_appearance])).to_pylist()
        table = np.empty(len(used), np.int64)
        table[by_appearance] = [self.index.setdefault(name, len(self.index)) for name in names]
        numbers: IntArray = table[place]
        return numbers

    def name(self, number: int) -> Any:
        return list(self.index)[number]

    def _check_kind(self, ds: npt.NDArray[Any], zone: str | None) -> None:
        integer = bool(np.issubdtype(ds.dtype, np.integer))
        if self.rows and integer != self.integer:
            raise InputError("ds mixes timestamps and integer steps", field="ds", mend="use one or the other")
        self.integer = integer
        self.zone = "UTC" if zone and not self.freq.keeps_wall_clock() else None

    def _settle_day(self, series: IntArray, phase: IntArray, local: npt.NDArray[Any]) -> None:
        """The 30th of each month is February's last day: the other months tell which day is meant."""
        ends, own = self.freq.is_month_end(phase), self.phase[series]
        told = ~ends & self.freq.is_month_end(own) & (phase // 32 == own // 32)
        self.phase[series[told]] = phase[told]
        np.maximum.at(self.longest, series[ends], day_of_month(local[ends]))

    def _check_phase(self, series: IntArray, phase: IntArray, ds: npt.NDArray[Any]) -> None:
        own = self.phase[series]
        off = (phase != own) | self.freq.off_grid(phase)
        if self.freq.kind == "month":
            longest = self.longest[series]
            short = self.freq.is_month_end(phase) & (phase // 32 == own // 32) & (longest <= own % 32)
            late = ~self.freq.is_month_end(own) & (longest > own % 32)  # the last day of a month that has this day too
            off = (off & ~short) | late
        if off.any():
            row = int(np.flatnonzero(off)[0])
            raise InputError(
                f"{ds[row]} does not lie on the {self.freq} grid of the series",
                series=self.name(int(series[row])),
                field="ds",
                mend="check the frequency, move the timestamp to the grid, or resample (sum, mean or last)",
            )


def _place(
    opened: Source, layout: _Layout, declared: CovariateSettings
) -> tuple[FloatArray, IntArray, Covariates | None, tuple[str, ...]]:
    """Second pass: every value to its place in the flat array; and what was done to rows on the way.

    A series' targets are series themselves, one after the other.
    """
    lengths = layout.last - layout.first + 1
    # As a float: a few timestamps from one end of the calendar to the other are more steps than an integer holds.
    if lengths.sum(dtype=np.float64) > _EMPTY_GRID_FACTOR * layout.rows + 10_000:
        longest = int(np.argmax(lengths))
        raise InputError(
            f"at a frequency of {layout.freq} the series would have {int(lengths[longest])} steps, nearly all missing",
            series=layout.name(longest),
            field="ds",
            mend="give the frequency that the timestamps really have",
        )
    total = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = len(declared.values)
    steps = gathering(layout.rules.combine, count * total)
    others = CovariateReader(declared, total, len(lengths), layout.rules.combine) if declared.columns else None
    told = flat_array(total, np.int32, 0) if layout.rules.combine else None
    for batch in opened.batches():
        codes, ds, zone = decode(batch, layout.freq)
        series = layout.number(codes)
        ordinal, _ = layout.grid(ds, zone)
        within = ordinal - layout.first[series]
        place = offsets[series] + within
        name, when = partial(_name_of_row, layout, series), ds.view(np.int64)
        observed = np.zeros(len(ds), bool)
        try:
            for number, column in enumerate(declared.values):
                own = count * offsets[series] + number * lengths[series] + within
                read = numbers(batch.column(column), name, column)
                observed |= ~np.isnan(read)
                steps.add(own, read, when)
        except RepeatedRow as error:
            raise InputError(
                f"{ds[error.row]} occurs more than once",
                series=layout.name(int(series[error.row])),
                field="ds",
                mend="keep one row for each unique_id and ds, or say what several give (duplicates: sum, mean or last)",
            ) from error
        if others is not None:
            others.add(batch, series, place, when, name)
        if told is not None:
            np.add.at(told, place[observed], 1)
    known, notes = others.finish(offsets) if others is not None else (None, ())
    combined = () if told is None else tuple(_combined(told, offsets, layout))
    if count > 1:
        offsets = np.concatenate([[0], np.cumsum(np.repeat(lengths, count))]).astype(np.int64)
        known = known.select(np.repeat(np.arange(len(lengths)), count)) if known else None
    return steps.values(), offsets, known, combined + notes


def _combined(rows: npt.NDArray[np.int32], offsets: IntArray, layout: _Layout) -> Iterator[str]:
    """What was done to the rows of steps. rows: [T] of each step, those alone in which something is observed"""
    filled, all_rows = int(np.count_nonzero(rows)), int(rows.sum())
    if all_rows > filled:
        word = {"last": "last value"}.get(str(layout.rules.combine), layout.rules.combine)
        yield f"{all_rows} rows with values were combined into {filled} steps, each by its {word}"
    bounds = (offsets[group.start : group.stop + 1] for group in groups(offsets))  # temporaries of a part's size
    last, usual = (np.concatenate(part) for part in zip(*(_last_and_usual(rows, own) for own in bounds), strict=True))
    short = np.flatnonzero(last < _WHOLE_STEP * usual)
    if layout.rules.resample and len(short):
        one = int(short[0])
        example = f"series {layout.name(one)!r}: {last[one]}, usually {usual[one]:.0f}"
        yield (
            f"the last step of {len(short)} series has far fewer rows than usual ({example}): "
            "if it was not over yet, leave its rows out"
        )


def _last_and_usual(rows: npt.NDArray[np.int32], offsets: IntArray) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """[N] rows of the last step that has some, and of the mean one, of the series between these offsets."""
    first = offsets[:-1] - offsets[0]
    part = rows[offsets[0] : offsets[-1]]
    has = part > 0
    place = np.maximum.reduceat(np.where(has, np.arange(len(part)), 0), first)
    steps = np.maximum(np.add.reduceat(has, first, dtype=np.int64), 1)
    return part[place].astype(np.int64), np.add.reduceat(part, first) / steps


def _name_of_row(layout: _Layout, series: IntArray, row: int) -> Any:
    return layout.name(int(series[row]))


def _unused(opened: Source, declared: CovariateSettings) -> tuple[str, ...]:
    used = (*COLUMNS[:2], *declared.values, *declared.columns)
    unused = [repr(column) for column in opened.columns if column not in used]
    if len(unused) < 2:
        return tuple(f"column {column} is not used by this model" for column in unused)
    others = f" and {len(unused) - _NAMED} others" if len(unused) > _NAMED else ""
    return (f"columns {', '.join(unused[:_NAMED])}{others} are not used by this model",)
