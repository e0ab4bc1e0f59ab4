"""Frequencies: what one step of `ds` is, and which season it implies.

A panel lies on a grid: every timestamp is an integer *ordinal* (the number of the step) plus a *phase* (where
within a step the series sits: Thursdays for a weekly series, half past for an hourly one). All date arithmetic
is done on whole arrays of ordinals, and pandas reads the frequency's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecaster.errors import InputError

IntArray = npt.NDArray[np.int64]
Kind = Literal["tick", "month", "business"]

_OLD_SPELLINGS = {
    "H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "M": "ME", "Q": "QE", "Y": "YE", "A": "YE",
    "AS": "YS", "BM": "ME", "BMS": "MS", "d": "D", "w": "W", "b": "B",
}  # fmt: skip
_CODES = {"ns", "us", "ms", "s", "min", "h", "D", "B", "W", "ME", "MS", "QE", "QS", "YE", "YS"}  # that pandas keeps
_NAME = re.compile(r"^\s*(\d{0,6})\s*([A-Za-z]+)(-[A-Za-z]{3})?\s*$")
_MONTHS = {"ME": 1, "MS": 1, "QE": 3, "QS": 3, "YE": 12, "YS": 12}
DAY_US = 86_400_000_000
_LONGEST_SEASON = 1440
LARGEST_SEASON = 10_080  # that may be asked for: a week of minutes
_THURSDAY = 3  # counted from Monday
_MONTH_END = 0  # the day of month that stands for "the last"


@dataclass(frozen=True)
class Frequency:
    """One step of a panel's grid.

    name: as pandas writes it, e.g. `15min`, `h`, `W-SUN`, `MS`
    kind: `tick` (a fixed duration), `month` (calendar months) or `business` (Monday to Friday)
    step: microseconds for a tick, months for a month, 1 for business
    season: steps in the dominant season; 1 when there is none
    anchor: phase of the timestamp that names a step: Thursday's for W-THU, February's for QS-FEB
    named_by_end: whether that is the step's last day (W, ME, QE, YE), not its beginning
    """

    name: str
    kind: Kind
    step: int
    season: int
    anchor: int = 0
    named_by_end: bool = False

    @classmethod
    def parse(cls, text: str, season: int | None = None) -> Frequency:
        """Read a pandas frequency name; old spellings (`H`, `M`, `Q`, `T`, …) are accepted."""
        match = _NAME.match(text) if isinstance(text, str) else None
        if match is None:
            raise _unknown(text)
        count, code, anchor = match.groups()
        code = _OLD_SPELLINGS.get(code, code)
        if code not in _CODES:
            raise _unknown(text)
        name = f"{count if count != '1' else ''}{code}{(anchor or '').upper()}"
        try:
            offset = pd.tseries.frequencies.to_offset(name)
        except (ValueError, KeyError, OverflowError) as error:
            raise _unknown(text) from error
        if offset is None or offset.n < 1:
            raise _unknown(text)
        return _from_offset(name, code, offset, season)

    def to_grid(self, ds: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
        """Timestamps (datetime64 or integer steps) to (ordinal, phase), each of the shape of `ds`."""
        if np.issubdtype(ds.dtype, np.integer):
            return ds.astype(np.int64), np.zeros(ds.shape, np.int64)
        micros = ds.astype("datetime64[us]")
        if self.kind == "tick":
            return np.divmod(micros.astype(np.int64), self.step)
        days = micros.astype("datetime64[D]")
        if self.kind == "business":
            return self._business_grid(micros, days)
        months = days.astype("datetime64[M]")
        ordinal, offset_in_step = np.divmod(months.astype(np.int64), self.step)
        day = day_of_month(days)
        last_day = (months + 1).astype("datetime64[D]") - 1
        day = np.where(days == last_day, _MONTH_END, day)
        return ordinal, offset_in_step * 32 + day

    def containing(self, ds: npt.NDArray[Any]) -> IntArray:
        """Ordinals of the steps of phase `anchor` that timestamps (or integer steps) fall in.

        A step reaches from its beginning to the next one's; a weekend is part of the Friday before it.
        """
        if np.issubdtype(ds.dtype, np.integer):
            return ds.astype(np.int64)
        micros = ds.astype("datetime64[us]")
        days = micros.astype("datetime64[D]")
        if self.kind == "business":
            friday = np.busday_offset(days, 0, roll="backward")
            return np.busday_count("1970-01-01", friday).astype(np.int64)
        if self.kind == "month":
            place = days.astype("datetime64[M]").astype(np.int64) - self.anchor // 32
        elif self.named_by_end:
            place = days.astype(np.int64) * DAY_US - self.anchor
        else:
            place = micros.astype(np.int64) - self.anchor
        return -(-place // self.step) if self.named_by_end else place // self.step

    def from_grid(self, ordinal: IntArray, phase: IntArray, *, integer: bool) -> npt.NDArray[Any]:
        """The inverse of `to_grid`; the arguments broadcast. Gives int64 steps or datetime64[us]."""
        if integer:
            return ordinal + 0 * phase
        if self.kind == "tick":
            return (ordinal * self.step + phase).astype("datetime64[us]")
        if self.kind == "business":
            day = np.busday_offset("1970-01-01", ordinal + 0 * phase, roll="forward")
            micros: npt.NDArray[Any] = day.astype("datetime64[us]") + phase.astype("timedelta64[us]")
            return micros
        offset_in_step, day = np.divmod(phase, 32)
        month = (ordinal * self.step + offset_in_step).astype("datetime64[M]")
        first, last = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]") - 1
        wanted = first + (day - 1).astype("timedelta64[D]")
        return np.where(day == _MONTH_END, last, np.minimum(wanted, last)).astype("datetime64[us]")

    def off_grid(self, phase: IntArray) -> npt.NDArray[np.bool_]:
        """Where a phase of `to_grid` is that of no step: weekends, where steps are business days."""
        return (phase >= DAY_US) & (self.kind == "business")

    def is_month_end(self, phase: IntArray) -> npt.NDArray[np.bool_]:
        """Where a phase of `to_grid` is the last day of a month, as the 28th to 30th of a short month are too."""
        return np.asarray((phase % 32 == _MONTH_END) & (self.kind == "month"))

    def same_step(self, other: Frequency) -> bool:
        """Whether a step is as long, whatever its name and phase."""
        return (self.kind, self.step) == (other.kind, other.step)

    def keeps_wall_clock(self) -> bool:
        """Whether steps follow the calendar (days and longer) rather than elapsed time."""
        return self.kind != "tick" or self.step >= DAY_US

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def _business_grid(micros: npt.NDArray[Any], days: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
        ordinal = np.busday_count("1970-01-01", days).astype(np.int64)
        phase = (micros - days.astype("datetime64[us]")).astype(np.int64)
        # A weekend lies off the grid: a phase that no business day can have makes the reader say so.
        return ordinal, np.where(np.is_busday(days), phase, DAY_US + phase)


def day_of_month(ds: npt.NDArray[Any]) -> IntArray:
    """From 1 on."""
    days = ds.astype("datetime64[D]")
    number: IntArray = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    return number


def _from_offset(name: str, code: str, offset: Any, season: int | None) -> Frequency:
    if season is not None and not 1 <= season <= LARGEST_SEASON:
        raise InputError(
            f"{season} is out of range", field="season", mend=f"give 1 (no season) to {LARGEST_SEASON} steps"
        )
    count = int(offset.n)
    if code in _MONTHS:
        months = _MONTHS[code] * count
        ends = code.endswith("E")
        first = getattr(offset, "startingMonth", getattr(offset, "month", 1)) - 1
        anchor = first % months * 32 + (_MONTH_END if ends else 1)
        return Frequency(name, "month", months, season or max(1, 12 // months), anchor, ends)
    if code == "B":
        if count != 1:
            raise _unknown(name)
        return Frequency(name, "business", 1, season or 5)
    if code == "W":
        anchor = (offset.weekday - _THURSDAY) % 7 * DAY_US  # weeks are counted from Thursday, 1 January 1970
        return Frequency(name, "tick", 7 * count * DAY_US, season or max(1, round(52 / count)), anchor, True)
    try:
        step = int(offset.nanos) // 1000
    except (AttributeError, ValueError) as error:  # pandas knows it, but its steps are of no fixed length
        raise _unknown(name) from error
    if step < 1:
        raise _unknown(name)
    return Frequency(name, "tick", step, season or _tick_season(step))


def _tick_season(step: int) -> int:
    """Steps in a week (for days), else in a day, an hour or a minute: the longest of at most a day of minutes."""
    if step % DAY_US == 0:
        return max(1, round(7 * DAY_US / step))
    for period in (DAY_US, DAY_US // 24, DAY_US // 1440):
        if step * 2 <= period and period // step <= _LONGEST_SEASON:
            return round(period / step)
    return 1


def _unknown(text: object) -> InputError:
    mend = "use a pandas frequency such as 15min, h, D, B, W, MS, QS or YS"
    if str(text).strip().isdigit():
        mend += "; where ds counts steps, leave freq out and say how many steps a season has (season)"
    return InputError(f"{text!r} is not a frequency", field="freq", mend=mend)
