"""Frequencies read off timestamps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecaster.data import bundled
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.inference import infer_freq
from forecaster.reading import read_panel
from forecaster.settings import RowSettings


def rows(*stamps: pd.DatetimeIndex) -> pd.DataFrame:
    """A series for each index, its rows in no order."""
    parts = [pd.DataFrame({"unique_id": f"s{i}", "ds": index, "y": 1.0}) for i, index in enumerate(stamps)]
    return pd.concat(parts).sample(frac=1, random_state=0)


@pytest.mark.parametrize(
    "name",
    ["YS", "YE", "QS", "QE", "2MS", "4ME", "MS", "ME", "W-SUN", "W-THU", "2W-TUE", "D", "2D", "B", "12h", "6h", "h",
     "30min", "15min", "min", "10s", "s", "100ms"],
)  # fmt: skip
def test_a_regular_index_with_gaps_has_its_own_frequency(name: str) -> None:
    index = pd.date_range("2022-02-03 00:00", periods=60, freq=name)
    gappy = index[np.random.default_rng(1).random(60) > 0.3]
    found = infer_freq(rows(index[5:40], gappy))
    assert Frequency.parse(found).same_step(Frequency.parse(name))
    assert found == name


def test_series_may_lie_on_different_phases_of_a_grid() -> None:
    early, late = (pd.date_range(f"2024-01-01 0{hour}:30", periods=30, freq="D") for hour in (1, 7))
    assert infer_freq(rows(early, late)) == "D"


def test_a_day_of_local_time_is_a_day_across_clock_changes() -> None:
    local = pd.date_range("2024-03-01", periods=60, freq="D", tz="Europe/Berlin")
    assert infer_freq(rows(local)) == "D"
    hours = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    assert infer_freq(rows(hours)) == "h"


def test_the_bundled_data_is_hourly() -> None:
    assert infer_freq(bundled()) == "h"


def test_what_cannot_be_told_is_told_with_examples() -> None:
    with pytest.raises(InputError, match=r"no series has two timestamps .*say what one step is"):
        infer_freq(rows(pd.DatetimeIndex(["2024-01-01"]), pd.DatetimeIndex(["2024-01-05"])))
    with pytest.raises(InputError, match=r"field 'freq'.*steps of what length"):
        infer_freq(rows(pd.date_range("2024-01-01", periods=9, freq="h")), RowSettings(resample="sum"))
    with pytest.raises(InputError, match="ds counts steps"):
        infer_freq(pd.DataFrame({"unique_id": "a", "ds": [1, 2, 3], "y": 1.0}))
    jitter = pd.date_range("2024-01-01", periods=50, freq="5min") + pd.to_timedelta(np.arange(50) % 7, "s")
    with pytest.raises(InputError, match=r"series 's0'.*regularly: most often after .*resample"):
        infer_freq(rows(jitter))
    both = rows(pd.date_range("2024-01-01", periods=300, freq="D"), pd.date_range("2024-01-01", periods=5, freq="h"))
    with pytest.raises(InputError, match=r"series 's1'.*most often after 1 day.* but 2024-01-01T00.* 2024-01-01T01"):
        infer_freq(both)


def test_hours_with_offsets_are_instants_when_the_clocks_change() -> None:
    hours = pd.date_range("2024-03-30T20:00", periods=12, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"unique_id": "a", "ds": [hour.isoformat() for hour in hours], "y": 1.0})
    assert infer_freq(frame) == "h"
    assert read_panel(frame, "h").lengths.tolist() == [12]


@pytest.mark.parametrize(
    ("season", "found"), [(24, "h"), (12, "MS"), (4, "QS"), (52, "W"), (7, "D"), (11, "D"), (1, "D")]
)
def test_counted_steps_are_as_long_as_those_that_have_such_a_season(season: int, found: str) -> None:
    counted = pd.DataFrame({"unique_id": "a", "ds": [1, 2, 3], "y": 1.0})
    assert infer_freq(counted, season=season) == found
