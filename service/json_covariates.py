"""Covariates of a JSON request, as those of a table: one reader knows what their numbers and names mean.

Legend: n values of a series, H steps of the horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from forecaster.columns import parse_timestamps
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.panel import Panel
from forecaster.reading import read_panel
from forecaster.settings import CovariateSettings, ModelSettings
from service.errors import PlacedInputError
from service.schemas.forecasts import SeriesIn

ROLES = ("static", "past", "future")


def with_covariates(
    panel: Panel, series: Sequence[SeriesIn], freq: Frequency, settings: ModelSettings, horizon: int
) -> Panel:
    """The panel of the series' values with what else the model wants of them. Raises InputError."""
    wanted = settings.covariates.model_copy(update={"targets": ()})
    if not wanted.columns:
        return panel
    ahead = horizon if wanted.future else 0
    columns = {column: _column(column, series, wanted, ahead) for column in wanted.columns}  # future ones first
    rows = [one.steps() + ahead for one in series]
    table = pa.table(
        {
            "unique_id": np.repeat(np.arange(len(series)), rows),
            "ds": _timestamps(panel, series, ahead),
            "y": pa.nulls(sum(rows), pa.float32()),
            **columns,
        }
    )
    try:
        known = read_panel(table, freq, settings.rows, wanted)
    except InputError as error:
        raise _placed(error, series, wanted) from error
    own = replace(known.covariates, settings=settings.covariates) if known.covariates else None
    return replace(panel, covariates=own, notes=panel.notes + known.notes)


def unused(series: SeriesIn, wanted: CovariateSettings) -> tuple[str, ...]:
    """What is given of a series and not asked for by the model."""
    asked = {"static": wanted.static, "past": (*wanted.past, *wanted.future), "future": wanted.future}
    return tuple(
        f"{name!r} of {role} is not used by this model"
        for role in ROLES
        for name in getattr(series, role) or {}
        if name not in asked[role]
    )


def _timestamps(panel: Panel, series: Sequence[SeriesIn], horizon: int) -> pa.Array:
    """Of each series' values, and of the horizon after them."""
    ahead = panel.future(horizon)
    if series[0].timestamps is None:
        parts = [np.concatenate([panel.timestamps(row), ahead[row]]) for row in range(len(series))]
        return pa.array(np.concatenate(parts))
    flat = pa.array([stamp for one in series for stamp in one.timestamps or ()])
    if pa.types.is_integer(flat.type):
        given, zone = flat.to_numpy(), None
    else:
        given, zone = parse_timestamps(flat, lambda _: None, "timestamps", panel.freq)
    ends = np.cumsum([one.steps() for one in series])[:-1]
    parts = [part for row, own in enumerate(np.split(given, ends)) for part in (own, ahead[row])]
    joined = np.concatenate(parts)
    return pa.array(joined) if joined.dtype.kind == "i" else pa.array(joined, pa.timestamp("us", zone))


def _column(column: str, series: Sequence[SeriesIn], wanted: CovariateSettings, horizon: int) -> pa.Array:
    """Each series' values and the horizon's, one after the other; the reader makes numbers or codes of them."""
    place = {name: role for role in ROLES for name in getattr(wanted, role)}[column]
    read = {"static": _static, "past": _past, "future": _future}[place]
    flat: list[Any] = []
    for row, one in enumerate(series):
        flat.extend(read(column, row, one, horizon))
    if column in wanted.categories:
        return pa.array([None if value is None else _name(value) for value in flat], pa.string())
    text = next((number for number, value in enumerate(flat) if isinstance(value, str)), None)
    if text is not None:
        ends = np.cumsum([one.steps() + horizon for one in series])
        row = int(np.searchsorted(ends, text, side="right"))
        raise _refusal(f"{flat[text]!r} is not a number", "give a number or null", row, series[row], place, column)
    return pa.array(flat, pa.float64())


def _static(column: str, row: int, one: SeriesIn, horizon: int) -> list[Any]:
    if column not in (one.static or {}):
        raise _refusal("the model needs this covariate", "give its value, or null", row, one, "static", column)
    return [(one.static or {})[column]] * (one.steps() + horizon)


def _past(column: str, row: int, one: SeriesIn, horizon: int) -> list[Any]:
    given, known = (one.past or {}).get(column, (one.targets or {}).get(column)), one.steps()
    if given is None:
        mend = "give one value for each of the series"
        raise _refusal("the model needs this covariate", mend, row, one, "past", column)
    if len(given) != known:
        problem = f"there are {len(given)} values for the {known} of the series"
        raise _refusal(problem, "give one for each, null where it is missing", row, one, "past", column)
    return [*given, *[None] * horizon]


def _future(column: str, row: int, one: SeriesIn, horizon: int) -> list[Any]:
    """Of the horizon, or of the history and the horizon; the history's may stand under `past` too."""
    given, before = (one.future or {}).get(column), (one.past or {}).get(column)
    known = one.steps()
    if given is None:
        mend = "give one value for each of the series and one for each step of the horizon"
        raise _refusal("the model needs this covariate", mend, row, one, "future", column)
    if len(given) == known + horizon and before is None:
        return list(given)
    if len(given) != horizon or (before is not None and len(before) != known):
        problem = f"there are {len(given)} values for {known} of the series and {horizon} of the horizon"
        mend = f"give {known + horizon}; or {horizon}, and the series' {known} under past"
        raise _refusal(problem, mend, row, one, "future", column)
    return [*(before if before is not None else [None] * known), *given]


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _refusal(problem: str, mend: str, row: int, one: SeriesIn, role: str, column: str) -> PlacedInputError:
    return PlacedInputError(InputError(problem, series=one.id, mend=mend), "series", row, role, column)


def _placed(error: InputError, series: Sequence[SeriesIn], wanted: CovariateSettings) -> InputError:
    """An error of the table's reader in the words of the request."""
    if error.series is None:
        return error
    row = int(error.series)
    named = InputError(error.problem, series=series[row].id, field=error.field, mend=error.mend)
    role = next((role for role in ROLES if error.field in getattr(wanted, role)), None)
    return named if role is None else PlacedInputError(named, "series", row, role, error.field)
