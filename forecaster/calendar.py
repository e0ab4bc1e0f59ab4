"""The calendar as covariates: parts of each step's timestamp, and public holidays by name.

Legend: K features, M steps.
A feature is a code from 1 on, as categories are; 0 is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache

import numpy as np
import pandas as pd

from forecaster.errors import InputError
from forecaster.frequency import DAY_US, Frequency, IntArray
from forecaster.panel import FloatArray, Panel
from forecaster.settings import CalendarFeature, CovariateSettings

HOLIDAY = "calendar:holiday"  # under which its names are kept among the categories
_SIZES: Mapping[str, int] = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "week": 53, "month": 12}
_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_YEARS_TO_LEARN, _MONTHS_TO_LEARN = 2, 6  # of data, before its parts of a year, or days of a month, tell anything
_YEAR_US, _MONTH_US = 365 * DAY_US, 30 * DAY_US


def resolve_calendar(settings: CovariateSettings, panel: Panel) -> CovariateSettings:
    """Settings whose calendar is usable for a panel: with the names of the country's holidays. Raises InputError."""
    if settings.calendar and panel.integer:
        raise InputError("whole steps have no calendar", field="calendar", mend="give timestamps, or leave it out")
    if "holiday" not in settings.calendar or HOLIDAY in settings.categories:
        return settings
    if panel.freq.kind == "month" or panel.freq.step > DAY_US:
        raise InputError(
            f"a step of {panel.freq} is longer than a day", field="holidays", mend="leave public holidays out"
        )
    return settings.model_copy(update={"categories": {**settings.categories, HOLIDAY: _names(panel, settings)}})


def usual_features(freq: Frequency, steps: float) -> tuple[CalendarFeature, ...]:
    """What of the calendar tells something at this frequency, to be learnt from series of so many steps."""
    step = freq.step * _MONTH_US if freq.kind == "month" else DAY_US * 7 // 5 if freq.kind == "business" else freq.step
    length, days = step * steps, step < 2 * DAY_US and freq.kind != "month"
    whole_days = days and step >= DAY_US  # within the day, the time of the year made loads harder to forecast
    wanted: dict[CalendarFeature, bool] = {
        "minute": step < _HOUR_US,
        "hour": step < DAY_US and freq.kind == "tick",
        "weekday": days,
        "day": whole_days and length >= _MONTHS_TO_LEARN * _MONTH_US,
        "week": not days and freq.kind == "tick" and length >= _YEARS_TO_LEARN * _YEAR_US,
        "month": DAY_US <= step < 6 * _MONTH_US and length >= _YEARS_TO_LEARN * _YEAR_US,
    }
    return tuple(feature for feature, useful in wanted.items() if useful)


def category_count(feature: CalendarFeature, settings: CovariateSettings) -> int:
    """How many codes a feature has."""
    return len(settings.categories.get(HOLIDAY, ())) if feature == "holiday" else _SIZES[feature]


def calendar_table(panel: Panel, settings: CovariateSettings, horizon: int) -> tuple[FloatArray, IntArray]:
    """[K, M] codes of the steps of all series and `horizon` beyond each, and [N] the place of each one's first.

    Series that overlap share a stretch of the table; those of other phases, and of other times, have their own: what
    lies between two series a century apart takes no room.
    """
    which = np.unique(panel.phase, return_inverse=True)[1]
    low, high = int(panel.start.min()), int(panel.ends.max()) + horizon
    line = which * (high - low + 2) - low  # all phases behind one another on one line, which stretches do not cross
    begin, end = panel.start + line, panel.ends + horizon + line
    order = np.argsort(begin, kind="stable")
    reach = np.maximum.accumulate(end[order])
    opens = np.append(True, begin[order][1:] > reach[:-1])  # a stretch
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(opens) - 1
    start = begin[order][opens]
    length = np.append(reach[:-1][opens[1:]], reach[-1]) - start + 1
    place = np.cumsum(length) - length
    own = order[opens]  # a series of each stretch: they are of one phase
    ordinal = np.arange(length.sum()) + np.repeat(start - line[own] - place, length)
    phase = np.repeat(panel.phase[own], length)
    codes = _codes(panel.freq.from_grid(ordinal, phase, integer=False), panel.zone, settings)
    first: IntArray = place[group] + begin - start[group]
    return codes, first


def _names(panel: Panel, settings: CovariateSettings) -> tuple[str, ...]:
    """Of the country's holidays in the years of a panel and some around them. Raises InputError."""
    first, last = panel.timestamps(int(panel.start.argmin()))[0], panel.timestamps(int(panel.ends.argmax()))[-1]
    years = tuple(range(_year(first) - 1, _year(last) + 3))
    return tuple(sorted(set(_public_holidays(settings.country or "", years).values())))


def _year(stamp: np.datetime64) -> int:
    return int(stamp.astype("datetime64[Y]").astype(int)) + 1970


def _codes(stamps: np.ndarray, zone: str | None, settings: CovariateSettings) -> FloatArray:
    index = pd.DatetimeIndex(stamps)
    if zone is not None and settings.zone is not None:
        index = index.tz_localize("UTC").tz_convert(settings.zone).tz_localize(None)
    return np.stack([_feature(feature, index, settings) for feature in settings.calendar])


def _feature(feature: CalendarFeature, index: pd.DatetimeIndex, settings: CovariateSettings) -> FloatArray:
    """[M] codes from 1 on."""
    if feature == "holiday":
        return _holiday_codes(index, settings)
    if feature == "week":
        return index.isocalendar().week.to_numpy(np.float32)
    from_zero = feature in ("minute", "hour", "weekday")
    return np.asarray(getattr(index, feature), np.float32) + from_zero


def _holiday_codes(index: pd.DatetimeIndex, settings: CovariateSettings) -> FloatArray:
    """[M] number of the day's holiday among the known names; a day without one is 0, and so is an unknown one."""
    known = {name: number for number, name in enumerate(settings.categories[HOLIDAY], 1)}
    years = tuple(np.unique(index.year).tolist())
    found = _public_holidays(settings.country or "", years)
    days = pd.Series({pd.Timestamp(day): known.get(name, 0) for day, name in found.items()}, dtype=np.float32)
    codes: FloatArray = days.reindex(index.normalize(), fill_value=0.0).to_numpy(np.float32)
    return codes


@lru_cache(maxsize=64)
def _public_holidays(country: str, years: tuple[int, ...]) -> Mapping[date, str]:
    import holidays  # what has no use for them does not pay for it

    name, _, subdivision = country.partition("-")
    try:
        return holidays.country_holidays(name.upper(), subdiv=subdivision or None, years=years, language="en_US")
    except NotImplementedError as error:
        raise InputError(
            f"no public holidays are known of {country!r}",
            field="holidays",
            mend="give an ISO 3166 code such as US, or DE-BY for a part of a country",
        ) from error
