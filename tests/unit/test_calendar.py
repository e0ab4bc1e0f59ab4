"""Parts of timestamps, and public holidays, as codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecaster.calendar import calendar_table, category_count, resolve_calendar, usual_features
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.panel import Panel
from forecaster.reading import panel_from_histories
from forecaster.settings import CalendarFeature, CovariateSettings

EVERY: tuple[CalendarFeature, ...] = ("minute", "hour", "weekday", "day", "week", "month")


def one(start: str | int, freq: str, steps: int = 50) -> Panel:
    return panel_from_histories(["a"], [start], [np.arange(float(steps))], freq)


@pytest.mark.parametrize(
    ("freq", "steps", "found"),
    [
        ("15min", 10_000, ("minute", "hour", "weekday")),
        ("h", 20_000, ("hour", "weekday")),
        ("D", 400, ("weekday", "day")),
        ("D", 800, ("weekday", "day", "month")),
        ("B", 30, ("weekday",)),
        ("W", 60, ()),
        ("W", 150, ("week", "month")),
        ("MS", 60, ("month",)),
        ("QS", 60, ("month",)),
        ("YS", 60, ()),
    ],
)
def test_a_frequency_has_the_features_that_its_length_can_teach(freq: str, steps: int, found: tuple[str, ...]) -> None:
    assert usual_features(Frequency.parse(freq), steps) == found


@pytest.mark.parametrize(("freq", "start"), [("h", "2024-02-28T20:00:00"), ("D", "2023-12-25"), ("B", "2024-02-26")])
def test_codes_are_those_of_the_timestamps(freq: str, start: str) -> None:
    panel = one(start, freq)
    codes, first = calendar_table(panel, CovariateSettings(calendar=EVERY), 10)
    stamps = pd.date_range(start, periods=60, freq=freq)
    expected = [
        stamps.minute + 1, stamps.hour + 1, stamps.weekday + 1, stamps.day, stamps.isocalendar().week, stamps.month
    ]  # fmt: skip
    np.testing.assert_array_equal(codes[:, first[0] :], np.array(expected, np.float32))
    for feature, row in zip(EVERY, codes, strict=True):
        assert row.min() >= 1
        assert row.max() <= category_count(feature, CovariateSettings())


def test_series_far_apart_take_no_room_for_what_lies_between() -> None:
    starts = ["1924-01-01", "2024-01-03", "2024-01-01", "2024-01-01T00:00:30", "0024-01-01"]
    panel = panel_from_histories(list("abcde"), starts, [np.ones(5)] * 2 + [np.ones(5000)] + [np.ones(5)] * 2, "min")
    codes, first = calendar_table(panel, CovariateSettings(calendar=("minute",)), 3)
    assert codes.shape[1] < 5100
    for row in range(5):
        alone = panel_from_histories(["x"], [starts[row]], [np.ones(int(panel.lengths[row]))], "min")
        own, (begin,) = calendar_table(alone, CovariateSettings(calendar=("minute",)), 3)
        steps = int(panel.lengths[row]) + 3
        np.testing.assert_array_equal(codes[:, first[row] : first[row] + steps], own[:, begin : begin + steps])


def test_series_of_other_starts_and_phases_each_have_their_place() -> None:
    starts = ["2024-01-03T00:30:00", "2024-01-01T00:00:00"]
    panel = panel_from_histories(["a", "b"], starts, [np.ones(5), np.ones(60)], "h")
    settings = CovariateSettings(calendar=("minute", "weekday"))
    codes, first = calendar_table(panel, settings, 0)
    assert codes[:, first].T.tolist() == [[31, 3], [1, 1]]


def test_a_time_zone_turns_the_clock_with_its_summer_time() -> None:
    panel = one("2024-03-31T00:00:00Z", "h", 3)
    codes, first = calendar_table(panel, CovariateSettings(calendar=("hour",), zone="Europe/Berlin"), 0)
    assert (codes[0, first[0] :] - 1).tolist() == [1, 3, 4]


def test_holidays_are_known_by_name_and_in_years_to_come() -> None:
    panel = one("2023-12-20", "D", 14)
    settings = resolve_calendar(CovariateSettings(calendar=("holiday",), country="DE-BY"), panel)
    names = settings.categories["calendar:holiday"]
    assert "Epiphany" in names  # of Bavaria, not of Germany
    codes, first = calendar_table(panel, settings, 10)
    stamps = pd.date_range("2023-12-20", periods=24)
    days = {str(day.date()): int(code) for day, code in zip(stamps, codes[0], strict=True)}
    assert {day: names[code - 1] for day, code in days.items() if code} == {
        "2023-12-25": "Christmas Day", "2023-12-26": "Second Day of Christmas", "2024-01-01": "New Year's Day",
        "2024-01-06": "Epiphany",
    }  # fmt: skip
    assert first.tolist() == [0]


@pytest.mark.parametrize(
    ("panel", "country", "told"),
    [(one("2024-01-01", "D"), "ZZ", "ZZ"), (one(1, "D"), "US", "timestamps"), (one("2024-01-01", "MS"), "US", "day")],
)
def test_what_has_no_calendar_is_told(panel: Panel, country: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        resolve_calendar(CovariateSettings(calendar=("holiday",), country=country), panel)
