"""From Arrow columns of any sensible type to the arrays of a panel: names, grid timestamps, float32 values.

What cannot be read is named with its series, and nothing is guessed: no mixed zones, no dates written as numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from forecaster.errors import InputError
from forecaster.frequency import Frequency, IntArray
from forecaster.panel import FloatArray

LARGEST_STEP = 2**53  # what JSON and floats carry exactly
MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none")  # beside numbers
_ZONE = r"(?:[Zz]|[+-]\d\d:?(?:\d\d)?)$"
_FIRST, _LAST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")

NameOf = Callable[[int], Any]


def decode(batch: pa.RecordBatch, freq: Frequency) -> tuple[pa.DictionaryArray, npt.NDArray[Any], str | None]:
    """A batch's ids (dictionary encoded), `ds` (int64 or datetime64[us]) and the zone of `ds`."""
    codes = _names(batch.column("unique_id"))
    column = _plain(batch.column("ds"))

    def name(row: int) -> Any:
        return codes[row].as_py()

    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise _bad_timestamp("the timestamp is missing", name(row), "ds")
    if _is_text(column.type):
        steps = _steps_in_text(column)
        if steps is None:
            return codes, *parse_timestamps(column, name, "ds", freq)
        column = steps
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return codes, _whole_steps(column.to_numpy(zero_copy_only=False), name), None
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        zone = getattr(column.type, "tz", None)
        return codes, _micros(column, zone, name), zone
    raise InputError(f"ds has the type {column.type}", field="ds", mend="give timestamps or whole steps")


def numbers(given: pa.Array, name: NameOf, field: str = "y") -> FloatArray:
    """A column of numbers as float32, null as NaN."""
    column = _plain(given)
    if _is_text(column.type):
        try:
            return to_float32(column.cast(pa.float64()).to_numpy(zero_copy_only=False), name, field)
        except pa.ArrowInvalid:
            return to_float32(_numbers_in_text(column.to_pandas(), name, field), name, field)
    numeric = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null, pa.types.is_boolean)
    if not any(is_kind(column.type) for is_kind in numeric) or (field == "y" and pa.types.is_boolean(column.type)):
        raise InputError(f"{field} has the type {column.type}", field=field, mend="give numbers")
    return to_float32(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), name, field)


def without_words(text: pa.Array) -> pa.Array:
    """Trimmed text, null where it says in words that there is no number (`NA`)."""
    trimmed = pc.utf8_trim_whitespace(text)
    words = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING_WORDS))
    return pc.if_else(words, None, trimmed)


def is_text(column: pa.Array) -> bool:
    """Whether a column's values are names."""
    return _is_text(_plain(column).type)


def names(given: pa.Array, field: str) -> pa.DictionaryArray:
    """A column of names, dictionary encoded; whole numbers are spelt without a point."""
    column = _plain(given)
    if pa.types.is_floating(column.type):
        whole = column.cast(pa.int64(), safe=False)
        if pc.all(pc.equal(whole.cast(column.type), column)).as_py() is not False:
            column = whole
    if pa.types.is_nested(column.type):
        raise InputError(f"{field} has the type {column.type}", field=field, mend="give text or numbers")
    return column.cast(pa.string()).dictionary_encode()


def parse_timestamps(
    column: pa.Array, name: NameOf, field: str, freq: Frequency
) -> tuple[npt.NDArray[Any], str | None]:
    """ISO 8601 text to datetime64[us], and `UTC` where it has a zone. All of it must have one, or none.

    Where steps follow the calendar, a day is the one that is written, whatever the offset beside it.
    """
    column = pc.utf8_trim_whitespace(column)
    shaped = pc.match_substring_regex(column, r"^\d{4}(-|\d{2,4}|$)").to_numpy(zero_copy_only=False)
    if not shaped.all():
        row = int(np.flatnonzero(~shaped)[0])
        raise _bad_timestamp(f"{column[row].as_py()!r} is not a timestamp", name(row), field)
    zoned = pc.match_substring_regex(column, "[T ].*" + _ZONE).to_numpy(zero_copy_only=False)
    if zoned.any() and not zoned.all():
        row = int(np.flatnonzero(~zoned)[0])
        problem = f"{column[row].as_py()!r} has no time zone, other timestamps have one"
        raise InputError(problem, series=name(row), field=field, mend="give all of them a zone, or none")
    zone = "UTC" if zoned.any() else None
    if zone and freq.keeps_wall_clock():
        column, zone = pc.replace_substring_regex(column, _ZONE, ""), None
    try:
        stamps = column.cast(pa.timestamp("us", zone))  # Arrow's own parser, a hundred times as fast
    except pa.ArrowInvalid:
        stamps = _other_spellings(column, zone, name, field)
    return _within_calendar(stamps.to_numpy(zero_copy_only=False), name, field), zone


def wall_clock(ds: npt.NDArray[Any], zone: str | None, freq: Frequency) -> npt.NDArray[Any]:
    """UTC instants to local wall-clock time where steps follow the calendar; untouched otherwise."""
    if zone is None or not freq.keeps_wall_clock():
        return ds
    try:
        local = pd.DatetimeIndex(ds).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    except (KeyError, ValueError) as error:
        mend = "use a name such as Europe/Berlin, or UTC"
        raise InputError(f"there is no time zone {zone!r}", field="ds", mend=mend) from error
    stamps: npt.NDArray[Any] = local.to_numpy("datetime64[us]")
    return stamps


def to_float32(wide: npt.NDArray[Any], name: NameOf, field: str) -> FloatArray:
    """Numbers as float32; raises where one is infinite or too large for that."""
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.flatnonzero(infinite)[0])
        mend = "give a finite number or null"
        raise InputError(f"{wide[row]} is infinite or beyond 3e38", series=name(row), field=field, mend=mend)
    return values


def _names(ids: pa.Array) -> pa.DictionaryArray:
    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    signed = pa.types.is_integer(kind) and (pa.types.is_signed_integer(kind) or kind.bit_width < 64)
    if not (signed or _is_text(kind) or pa.types.is_string_view(kind)):
        raise InputError(f"unique_id has the type {kind}", field="unique_id", mend="give strings or integers")
    hidden = pa.types.is_dictionary(ids.type) and ids.dictionary.null_count > 0  # a null among the names themselves
    if ids.null_count or (hidden and ids.dictionary_decode().null_count):
        raise InputError("a row has no unique_id", field="unique_id", mend="name the series of every row")
    if pa.types.is_dictionary(ids.type):
        return ids
    return _plain(ids).dictionary_encode()


def _plain(column: pa.Array) -> pa.Array:
    """Dictionaries and views of text as what they stand for."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if pa.types.is_string_view(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _steps_in_text(column: pa.Array) -> pa.Array | None:
    """Text of which all is whole numbers, and not all of it bare years."""
    if pc.all(pc.match_substring_regex(column, r"^\s*[12]\d{3}\s*$")).as_py():
        return None
    if not pc.all(pc.match_substring_regex(column, r"^\s*-?\d+(\.0*)?\s*$")).as_py():
        return None
    return pc.utf8_trim_whitespace(column).cast(pa.float64())


def _whole_steps(steps: npt.NDArray[Any], name: NameOf) -> IntArray:
    """Whole steps, unless they are dates written as numbers, whose distances mean nothing."""
    wide = steps.astype(np.float64)
    wrong = ~np.isfinite(wide) | (wide != np.round(wide)) | (np.abs(wide) > LARGEST_STEP)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        problem = f"{steps[row]} is not a whole step within 2**53"
        raise InputError(
            problem, series=name(row), field="ds", mend="give timestamps, or count steps from a later start"
        )
    whole = wide.astype(np.int64)
    months, day = (whole, 1) if (whole < 1_000_000).all() else np.divmod(whole, 100)
    year, month = np.divmod(months, 100)
    if (
        len(whole) > 1
        and ((year >= 1800) & (year < 2200) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all()
    ):
        raise InputError(
            f"{whole[0]} looks like a date, not a step", series=name(0), field="ds", mend="write 2024-01-31"
        )
    return whole


def _micros(column: pa.Array, zone: str | None, name: NameOf) -> npt.NDArray[Any]:
    finer = getattr(column.type, "unit", "us") == "ns"  # what is finer than a microsecond is cut off
    try:
        stamps = column.cast(pa.timestamp("us", zone), safe=not finer).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise _bad_timestamp("a timestamp is far outside the calendar", name(0), "ds") from error
    return _within_calendar(stamps.astype("datetime64[us]"), name, "ds")


def _within_calendar(stamps: npt.NDArray[Any], name: NameOf, field: str) -> npt.NDArray[Any]:
    outside = (stamps < _FIRST) | (stamps > _LAST)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise _bad_timestamp("the timestamp is outside the years 1 to 9999", name(row), field)
    return stamps


def _other_spellings(column: pa.Array, zone: str | None, name: NameOf, field: str) -> pa.Array:
    """Bare years, weeks and the like; names what is no timestamp."""
    for begin, rest in (("", "-01-01"), (r"-\d\d", "-01")):  # years and months, of any century
        column = pc.replace_substring_regex(column, rf"^(\d{{4}}{begin})$", rf"\1{rest}")
    with suppress(pa.ArrowInvalid):
        return column.cast(pa.timestamp("us", zone))
    text = column.to_pandas()
    stamps = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=zone is not None)
    if stamps.isna().any():
        row = int(np.flatnonzero(stamps.isna())[0])
        raise _bad_timestamp(f"{text.iloc[row]!r} is not a timestamp", name(row), field)
    return pa.array(stamps).cast(pa.timestamp("us", zone), safe=False)  # what is finer is cut off


def _bad_timestamp(problem: str, series: Any, field: str) -> InputError:
    return InputError(
        problem, series=series, field=field, mend="write it as 2024-01-31, 2024-01-31T12:00:00 or a whole step"
    )


def _numbers_in_text(text: pd.Series[str], name: NameOf, field: str) -> npt.NDArray[np.float64]:
    """Some cell is no number: find out which, or that it only says so in words."""
    parsed = pd.to_numeric(text.replace("", None), errors="coerce")
    blank = text.fillna("").str.strip().str.lower().isin(MISSING_WORDS)
    wrong = parsed.isna() & ~blank
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{text.iloc[row]!r} is not a number", series=name(row), field=field, mend="give a number")
    return parsed.to_numpy(np.float64)
