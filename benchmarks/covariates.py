"""What covariates are worth: the same trainings with and without them, scored on weeks that no training saw.

    python benchmarks/covariates.py FOLDER --seeds 3 --json benchmarks/results/covariates-DATE.json

FOLDER holds the public files gefcom2012.parquet (20 loads of one utility; the mean of its 11 temperatures is known
beforehand) and bike_sharing.parquet (rentals by hour, weather known beforehand); those that are there are run. Each
model is trained by `forecaster train` on all but the last 28 days and asked for every one of these days from the
midnight before (`forecaster backtest`). The scaled quantile loss counts; lower is better.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from scoring.commands import PRESETS, forecaster, train

_DAY, _DAYS = 24, 28
_MEASURES = ("sql", "mase", "msis-95", "coverage-95")
_CALENDAR = ["--calendar", "--holidays", "US"]


@dataclass(frozen=True)
class Set:
    """read: the table of a folder; declared: options of each variant"""

    file: str
    read: Callable[[pd.DataFrame], pd.DataFrame]
    declared: Mapping[str, Sequence[str]]


def loads(table: pd.DataFrame) -> pd.DataFrame:
    """Three years and a half of loads, beside the mean temperature."""
    wide = table[table["unique_id"].str.startswith("temp")].pivot(index="ds", columns="unique_id", values="y")
    load = table[
        table["unique_id"].str.startswith("load") & (table["ds"] >= "2005-01-01") & (table["ds"] < "2008-06-30")
    ]
    return load.merge(wide.mean(axis=1).rename("temperature"), left_on="ds", right_index=True)


WEATHER = "holiday,workingday,weather,temp,atemp,hum,windspeed"
SETS = {
    "load": Set(
        "gefcom2012.parquet",
        loads,
        {
            "alone": [],
            "calendar": _CALENDAR,
            "temperature": ["--future", "temperature"],
            "temperature, calendar": ["--future", "temperature", *_CALENDAR],
        },
    ),
    "bikes": Set(
        "bike_sharing.parquet",
        lambda table: table,
        {
            "alone": [],
            "calendar": _CALENDAR,
            "weather of the past": ["--past", WEATHER],
            "weather": ["--future", WEATHER],
            "weather, calendar": ["--future", WEATHER, *_CALENDAR],
        },
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--variants", nargs="+", help="of the sets named; all that they have if not given")
    parser.add_argument("--preset", choices=list(PRESETS), default="balanced")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 to this")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.sets:
        file = arguments.folder / SETS[name].file
        if file.exists():
            table = SETS[name].read(pd.read_parquet(file))
            wanted = arguments.variants or SETS[name].declared
            declared = {variant: options for variant, options in SETS[name].declared.items() if variant in wanted}
            rows += _run(name, declared, table, arguments.preset, arguments.seeds)
        else:
            print(f"{file} is not there: left out", file=sys.stderr)
    print(_table(rows))
    if arguments.json:
        about = {"preset": arguments.preset, "python": platform.python_version(), "torch": version("torch")}
        arguments.json.write_text(json.dumps({**about, "machine": platform.machine(), "rows": rows}, indent=1) + "\n")
    return 0


def _run(
    name: str, declared: Mapping[str, Sequence[str]], table: pd.DataFrame, preset: str, seeds: int
) -> list[dict[str, Any]]:
    """A row for each variant and seed."""
    last = table["ds"].max().normalize()
    table = table[table["ds"] < last]  # whole days
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        whole, seen = Path(folder) / "whole.parquet", Path(folder) / "seen.parquet"
        table.to_parquet(whole, index=False)
        table[table["ds"] < last - pd.Timedelta(days=_DAYS)].to_parquet(seen, index=False)
        for seed in range(1, seeds + 1):
            for variant, options in declared.items():
                home = Path(folder) / f"{seed}-{variant}"
                seconds = train(home, seen, "h", _DAY, preset, seed, *options)["seconds"]
                asked = ("--model", "model", "--windows", _DAYS, "--step", _DAY)
                found = forecaster(home, "backtest", whole, *asked)
                measures = {measure: found["metrics"][measure] for measure in _MEASURES}
                rows.append({"set": name, "variant": variant, "seed": seed, **measures, "seconds": round(seconds, 1)})
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds, and the loss against the series' own."""
    lines = [
        "| | | quantile loss | against alone | MASE | MSIS | coverage 95 % | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, variant in dict.fromkeys((row["set"], row["variant"]) for row in rows):
        own = [row for row in rows if (row["set"], row["variant"]) == (name, variant)]
        bare = [row["sql"] for row in rows if (row["set"], row["variant"]) == (name, "alone")]
        mean = {measure: statistics.mean(row[measure] for row in own) for measure in (*_MEASURES, "seconds")}
        spread = f" ± {statistics.stdev(row['sql'] for row in own):.3f}" if len(own) > 1 else ""
        against = f"{mean['sql'] / statistics.mean(bare) - 1:+.1%}" if bare else ""
        lines.append(
            f"| {name} | {variant} | {mean['sql']:.3f}{spread} | {against} | {mean['mase']:.3f} | "
            f"{mean['msis-95']:.2f} | {mean['coverage-95']:.1%} | {mean['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
