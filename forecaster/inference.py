"""The frequency that timestamps have, read off their distances.

Legend: R rows that are looked at, P pairs of rows of one series that follow each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.columns import decode, wall_clock
from forecaster.errors import InputError
from forecaster.frequency import DAY_US, Frequency, IntArray, day_of_month
from forecaster.settings import RowSettings
from forecaster.sources import Source, open_source

_MOST_ROWS = 2_000_000  # that are looked at, from the beginning on
_FEWEST_FILLED = 0.2  # of the steps between first and last row: with fewer, the common step is chance
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_EPOCH_WEEKDAY = 3  # 1 January 1970 was a Thursday
_UNITS = (("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1))
_CALENDAR, _BUSINESS, _ELAPSED = (Frequency.parse(name) for name in ("MS", "B", "h"))
_MONTHS = {1: "M", 3: "Q", 12: "Y"}
_OF_SEASON = {4: "QS", 12: "MS", 24: "h", 52: "W"}  # steps that have such a season by themselves; others as days
_COUNTED = "say how many steps a season has (season), or what one step is (freq)"
_MEND = "say what one step is (freq), and what the rows within a step give if they are irregular (resample)"


def infer_freq(source: Any, rows: RowSettings | None = None, season: int | None = None) -> str:
    """The longest step that all timestamps of the source lie on, as pandas writes it.

    source, rows: what `read_panel` reads; season: of steps that are counted, which are then taken for such as usually
    have it. Raises InputError, with examples, where there is no such step or too little to tell.
    """
    if rows is not None and rows.resample:
        mend = "name the step that the rows are to be combined into"
        raise InputError("resample does not say into steps of what length", field="freq", mend=mend)
    names, series, ds = _rows(open_source(source, values=()))
    if np.issubdtype(ds.dtype, np.integer):
        if season is None:
            raise InputError("ds counts steps, which do not say how long they are", field="freq", mend=_COUNTED)
        return _OF_SEASON.get(season, "D")
    order = np.lexsort((ds, series))
    series, ds = series[order], ds[order]
    follows = (series[1:] == series[:-1]) & (ds[1:] > ds[:-1])
    if not follows.any():
        raise InputError("no series has two timestamps to read the frequency from", field="freq", mend=_MEND)
    freq = _by_months(series, ds, follows) or _by_ticks(ds, follows)
    _check_filled(freq, names, series, ds, follows)
    return freq


def _rows(opened: Source) -> tuple[list[Any], IntArray, npt.NDArray[Any]]:
    """Names of the series, and [R] series and timestamps; local ones where all rows are at one time of the day.

    Where steps are counted, some of them as they are.
    """
    index: dict[Any, int] = {}
    parts, rows = [], 0
    for batch in opened.batches():
        codes, ds, _ = decode(batch, _ELAPSED)
        if np.issubdtype(ds.dtype, np.integer):
            return [], np.zeros(len(ds), np.int64), ds
        _, days, zone = decode(batch, _CALENDAR)
        numbers = np.array([index.setdefault(name, len(index)) for name in codes.dictionary.to_pylist()], np.int64)
        parts.append((numbers[codes.indices.to_numpy(zero_copy_only=False)], ds, wall_clock(days, zone, _CALENDAR)))
        rows += len(ds)
        if rows >= _MOST_ROWS:
            break
    if not rows:
        raise InputError("the data holds no rows", mend="give at least one row of unique_id, ds, y")
    series, instants, local = (np.concatenate(part) for part in zip(*parts, strict=True))
    time_of_day = local - local.astype("datetime64[D]")
    return list(index), series, local if (time_of_day == time_of_day[0]).all() else instants


def _by_months(series: IntArray, ds: npt.NDArray[Any], follows: npt.NDArray[np.bool_]) -> str | None:
    """Rows on one day of the month, or its last day, at most one a month."""
    months, day = _CALENDAR.to_grid(ds)
    apart = np.diff(months)[follows]
    first = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
    # The 28th to 30th are the last day of short months: the longest day of a series is the one that is meant.
    written = day_of_month(ds)
    own_day = np.repeat(np.maximum.reduceat(written, first), np.diff(np.append(first, len(series))))
    if not ((written == own_day) | (day == 0)).all() or not (apart > 0).all():
        return None
    step = int(np.gcd.reduce(apart))
    ends = "E" if (day == 0).all() else "S"
    return f"{_MONTHS[step]}{ends}" if step in _MONTHS else f"{step}M{ends}"


def _by_ticks(ds: npt.NDArray[Any], follows: npt.NDArray[np.bool_]) -> str:
    step = int(np.gcd.reduce(np.diff(ds).astype(np.int64)[follows]))
    if step % DAY_US:
        name, unit = next((name, unit) for name, unit in _UNITS if step % unit == 0)
        return f"{step // unit if step > unit else ''}{name}"
    days = step // DAY_US
    weekday = (ds.astype("datetime64[D]").astype(np.int64) + _EPOCH_WEEKDAY) % 7
    if days % 7 == 0 and (weekday == weekday[0]).all():
        return f"{days // 7 if days > 7 else ''}W-{_WEEKDAYS[weekday[0]]}"
    if days == 1 and (weekday < 5).all() and _spans_weekends(ds, follows):
        return "B"
    return f"{days if days > 1 else ''}D"


def _spans_weekends(ds: npt.NDArray[Any], follows: npt.NDArray[np.bool_]) -> bool:
    """Whether a Friday is followed by a Monday as a rule, not by chance."""
    business, _ = _BUSINESS.to_grid(ds)
    over = (np.diff(ds)[follows] == np.timedelta64(3, "D")) & (np.diff(business)[follows] == 1)
    return bool(over.sum() >= 2)


def _check_filled(
    freq: str, names: list[Any], series: IntArray, ds: npt.NDArray[Any], follows: npt.NDArray[np.bool_]
) -> None:
    """Raise when most steps of the grid would be empty: jitter, events, or series of several frequencies."""
    ordinal, _ = Frequency.parse(freq).to_grid(ds)
    steps = np.diff(ordinal)
    if follows.sum() >= _FEWEST_FILLED * steps[follows].sum():
        return
    sizes, counts = np.unique(np.diff(ds)[follows].astype(np.int64), return_counts=True)
    usual = np.timedelta64(int(sizes[counts.argmax()]), "us").astype("timedelta64[s]")
    row = int(np.flatnonzero(follows)[np.argmin(np.diff(ds)[follows])])
    raise InputError(
        f"the timestamps do not follow each other regularly: most often after {usual.item()} "
        f"({counts.max() / counts.sum():.0%}), but {ds[row]} is followed by {ds[row + 1]}; all of them lie on "
        f"{freq} only",
        series=names[int(series[row])],
        field="freq",
        mend=_MEND,
    )
