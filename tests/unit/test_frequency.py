import numpy as np
import pandas as pd
import pytest

from forecaster.errors import InputError
from forecaster.frequency import Frequency


@pytest.mark.parametrize(
    ("old", "new"),
    [("H", "h"), ("M", "ME"), ("Q", "QE"), ("Y", "YE"), ("A", "YE"), ("T", "min"), ("5T", "5min"), ("W", "W")],
)
def test_old_spellings_are_accepted(old: str, new: str) -> None:
    assert Frequency.parse(old).name == new


@pytest.mark.parametrize(
    ("name", "season"),
    [("h", 24), ("2h", 12), ("15min", 96), ("min", 1440), ("10s", 360), ("D", 7), ("B", 5), ("W", 52), ("W-THU", 52),
     ("MS", 12), ("QE", 4), ("YS", 1), ("YE-JUN", 1)],
)  # fmt: skip
def test_season_follows_from_the_frequency(name: str, season: int) -> None:
    assert Frequency.parse(name).season == season


@pytest.mark.parametrize("name", ["", "foo", "0h", "-1h", "3B", "h h", "1.5h", None, 7, "BME", "BQE", "C", "bh", "SME"])
def test_nonsense_is_refused_with_a_mend(name: object) -> None:
    with pytest.raises(InputError, match="use a pandas frequency"):
        Frequency.parse(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["1", 7])
def test_a_bare_number_is_refused_with_the_way_to_count_steps(name: object) -> None:
    with pytest.raises(InputError, match="where ds counts steps, leave freq out"):
        Frequency.parse(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "start"),
    [("h", "2024-03-30T21:30"), ("15min", "2024-02-28T23:15"), ("D", "2024-02-27"), ("B", "2024-02-28"),
     ("W-THU", "2024-02-22"), ("2W", "2024-02-22"), ("MS", "2023-11-01"), ("ME", "2023-11-30"), ("QS", "2023-10-01"),
     ("QE", "2023-09-30"), ("2MS", "2023-12-01"), ("YS", "2019-01-01"), ("YE", "2019-12-31"), ("YE-JUN", "2019-06-30"),
     ("10s", "2024-12-31T23:59:40")],
)  # fmt: skip
def test_the_grid_agrees_with_pandas_across_month_ends_and_leap_years(name: str, start: str) -> None:
    freq = Frequency.parse(name)
    expected = pd.date_range(start, periods=40, freq=name).to_numpy("datetime64[us]")
    ordinal, phase = freq.to_grid(expected)
    assert (np.diff(ordinal) == 1).all()
    assert len(set(phase)) == 1
    steps = ordinal[0] + np.arange(40)
    assert (freq.from_grid(steps, phase[:1], integer=False) == expected).all()


def test_a_fixed_day_of_month_is_kept_and_clamped_to_short_months() -> None:
    freq = Frequency.parse("MS")
    ordinal, phase = freq.to_grid(np.array(["2024-01-15"], "datetime64[us]"))
    following = freq.from_grid(ordinal + np.arange(1, 3), phase, integer=False)
    assert [str(day)[:10] for day in following] == ["2024-02-15", "2024-03-15"]


def test_integer_steps_are_their_own_ordinals() -> None:
    ordinal, phase = Frequency.parse("h").to_grid(np.array([5, 9]))
    assert ordinal.tolist() == [5, 9]
    assert phase.tolist() == [0, 0]


@pytest.mark.parametrize(
    "name",
    ["15min", "h", "D", "B", "W", "W-THU", "MS", "ME", "QS", "QS-FEB", "QE", "QE-NOV", "2MS", "YS", "YS-APR", "YE",
     "YE-JUN"],
)  # fmt: skip
def test_the_step_that_a_timestamp_falls_in_is_the_one_of_pandas(name: str) -> None:
    freq = Frequency.parse(name)
    stamps = pd.date_range("2023-11-03 01:00", "2025-03-08", freq="17h")
    ordinal = freq.containing(stamps.to_numpy())
    names = freq.from_grid(ordinal, np.array([freq.anchor]), integer=False)
    assert freq.to_grid(names)[0].tolist() == ordinal.tolist()
    expected = pd.Series(1, index=stamps).resample(name).sum()
    found = pd.Series(1, index=pd.DatetimeIndex(names)).groupby(level=0).sum()
    pd.testing.assert_series_equal(found, expected[expected > 0], check_freq=False, check_index_type=False)
