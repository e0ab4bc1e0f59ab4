"""Arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from forecaster.errors import InputError, NotFound

if TYPE_CHECKING:
    from forecaster.settings import CovariateSettings, RowSettings


class PresetChoice(StrEnum):
    fast = "fast"
    balanced = "balanced"
    best = "best"


class AggregationChoice(StrEnum):
    sum = "sum"
    mean = "mean"
    last = "last"


class DuplicatesChoice(StrEnum):
    error = "error"
    sum = "sum"
    mean = "mean"
    last = "last"


class PromoteChoice(StrEnum):
    if_better = "if-better"
    always = "always"
    never = "never"


class ReconciliationChoice(StrEnum):
    structural = "structural"
    ols = "ols"
    bottom_up = "bottom-up"


Data = Annotated[
    str,
    typer.Argument(
        help="CSV, Parquet or Arrow file (or fsspec URL) with the columns unique_id, ds, y.", show_default=False
    ),
]
Out = Annotated[
    str | None,
    typer.Option("--out", help="Write to this .parquet, .csv, .csv.gz or .arrow file (or fsspec URL)."),
]
Name = Annotated[str, typer.Option("--name", help="Name of the model in the registry.", show_default=False)]
Freq = Annotated[
    str | None,
    typer.Option(
        "--freq", help="One step of ds, as pandas writes it: 15min, h, D, B, W, MS, QS, YS …; read off ds if not given."
    ),
]
Horizon = Annotated[int, typer.Option("--horizon", help="Steps to forecast.", show_default=False)]
Season = Annotated[
    int | None,
    typer.Option("--season", help="Steps in the dominant season; what --freq implies when not given. 1 for none."),
]
Duplicates = Annotated[
    DuplicatesChoice,
    typer.Option("--duplicates", help="What several rows with one timestamp give; kept for the model's forecasts."),
]
Resample = Annotated[
    AggregationChoice | None,
    typer.Option(
        "--resample",
        help="For timestamps finer than --freq, or irregular: what the rows within one step give. Kept likewise.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--targets", help="Columns to forecast in place of y, e.g. `load,price`; may be repeated."),
]
Static = Annotated[
    list[str] | None,
    typer.Option("--static", help="Covariates with one value for each series, e.g. `region,store`; may be repeated."),
]
Past = Annotated[
    list[str] | None, typer.Option("--past", help="Covariates known up to the present only; may be repeated.")
]
Future = Annotated[
    list[str] | None,
    typer.Option(
        "--future", help="Covariates known beforehand, with a row for each step of the horizon; may be repeated."
    ),
]
Categorical = Annotated[
    list[str] | None,
    typer.Option("--categorical", help="Covariates whose numbers are names; those of text are anyway."),
]
Calendar = Annotated[
    bool,
    typer.Option("--calendar", help="Parts of the timestamp count too, such as hour and weekday, as --freq has them."),
]
Holidays = Annotated[
    str | None,
    typer.Option("--holidays", help="Public holidays count too: of a country (US) or a part of one (DE-BY)."),
]
Preset = Annotated[
    PresetChoice, typer.Option("--preset", help="How much time to spend: about one minute, up to five, or more.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A single setting, e.g. `fit.steps=2000` or `network.cell=lstm`; may be repeated."),
]
WarmStart = Annotated[str | None, typer.Option("--warm-start", help="Begin with the weights of this model (REF).")]
Promote = Annotated[PromoteChoice, typer.Option("--promote", help="When the new version becomes the champion.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all randomness.", min=0, max=2**32 - 1)]
Model = Annotated[
    str,
    typer.Option(
        "--model", help="name (its champion), name@alias, name/version, or a model directory.", show_default=False
    ),
]


def parse_changes(pairs: list[str] | None) -> dict[str, Any]:
    """`a.b=c` pairs to settings; values are read as YAML, so numbers, lists and true/false work."""
    changes: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputError(f"{pair!r} is not a setting", field="--set", mend="write name=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(
                f"{text!r} is not a value", field=name, mend="write a number, a word or a [list]"
            ) from error
        nested = isinstance(value, dict) and not any("." in str(key) for key in value)  # of a column with a point
        changes |= dotted({name: value}) if nested else {name: value}
    return changes


def dotted(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        found |= dotted(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def read_yaml(path: Path, option: str) -> Any:
    """What a YAML or JSON file holds."""
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML", field=option) from error


def row_settings(duplicates: DuplicatesChoice, resample: AggregationChoice | None) -> RowSettings:
    """How the rows of the data become steps."""
    from forecaster.settings import RowSettings

    if resample and duplicates != DuplicatesChoice.error:
        raise InputError(
            "all rows of a step are combined anyway", field="--duplicates", mend="leave it out beside --resample"
        )
    return RowSettings(duplicates=duplicates.value, resample=resample.value if resample else None)


def covariate_settings(
    targets: list[str] | None,
    static: list[str] | None,
    past: list[str] | None,
    future: list[str] | None,
    categorical: list[str] | None,
    holidays: str | None,
) -> CovariateSettings:
    """What is forecast, and what a forecast may rest on besides."""
    from pydantic import ValidationError

    from forecaster.settings import CovariateSettings

    try:
        return CovariateSettings(
            targets=_listed(targets),
            static=_listed(static),
            past=_listed(past),
            future=_listed(future),
            categorical=_listed(categorical),
            country=holidays,
            calendar=("holiday",) if holidays else (),
        )
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(problem, mend="see --targets, --static, --past, --future and --categorical") from error


def _listed(names: list[str] | None) -> tuple[str, ...]:
    return tuple(part.strip() for name in names or () for part in name.split(",") if part.strip())


def check_name(name: str) -> str:
    """Model and data-set names become folders and parts of URLs."""
    from forecaster.store.spec import NAME

    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a name", field="name", mend="use letters, digits, dot, dash and underscore, at most 128"
        )
    return name


def check_horizon(horizon: int) -> int:
    """Steps that a model can be trained for."""
    if not 1 <= horizon <= 10_000:
        raise InputError(f"{horizon} is out of range", field="horizon", mend="give 1 to 10000 steps")
    return horizon
