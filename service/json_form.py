"""Forecast requests and answers as JSON. Numbers go between arrays and text without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pydantic import ValidationError
from pydantic_core import from_json

from forecaster.errors import InputError, TooLarge
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.panel import Panel, side_by_side
from forecaster.reading import panel_from_histories, read_panel
from forecaster.settings import ModelSettings, RowSettings
from service.engines import ServedModel
from service.errors import InvalidJson, InvalidRequest, PlacedInputError, pointer
from service.json_covariates import unused, with_covariates
from service.json_targets import check_targets
from service.question import Answer, Histories, Question
from service.schemas.fields import MOST_SERIES
from service.schemas.forecasts import ForecastRequest, SeriesIn, SeriesRequest

MEDIA_TYPE = "application/json"
Request = TypeVar("Request", bound=SeriesRequest)
_MOST_COMMAS = 5_000_000
_MOST_BRACKETS = 25 * MOST_SERIES
_MOST_MISTAKES = 10_000
_FIELDS = {"y": "values", "ds": "timestamps", "unique_id": "id"}
_MENDS = {
    "finite_number": "give a finite number, or null where a value is missing",
    "float_type": "give a number, or null where a value is missing",
}


def parse(body: bytes) -> Question:
    """Raises TooLarge, InvalidJson, InvalidRequest or InputError."""
    request = read(ForecastRequest, body)
    return Question(
        **vars(histories(request)),
        horizon=request.horizon,
        levels=tuple(request.level),
        quantiles=tuple(request.quantiles),
        paths=request.paths,
        sums={total: [str(part) for part in parts] for total, parts in request.sums.items()},
        reconcile=request.reconcile,
    )


def read(kind: type[Request], body: bytes) -> Request:
    """A body that holds series. Raises TooLarge, InvalidJson, InvalidRequest or InputError."""
    _check_weight(body)
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, body) from error
    _check_ids(request.series)
    return request


def histories(request: SeriesRequest) -> Histories:
    """The series of a body."""
    return Histories(
        model=request.model,
        freq=request.freq,
        panel=partial(_panel, request.series),
        place=partial(_place, {str(series.id): (i, series.targets or {}) for i, series in enumerate(request.series)}),
        notes=partial(_notes, request.series),
    )


def write(answer: Answer) -> bytes:
    """The body of a `ForecastResponse`."""
    head = orjson.dumps(answer_head(answer.model))
    return head[:-1] + b',"forecasts":[' + b",".join(_series(answer)) + b"]}"


def answer_head(model: ServedModel) -> dict[str, Any]:
    """Whose answer it is."""
    version = model.version
    about = {"name": version.name, "version": version.version, "run_id": version.run_id}
    return {"model": about, "freq": model.predictor.freq.name}


def _series(answer: Answer) -> Iterator[bytes]:
    """One series at a time: between two of them the event loop gets its turn."""
    forecast = answer.forecast
    rows = _Rows(forecast)
    options = orjson.OPT_SERIALIZE_NUMPY
    if forecast.zone is not None:
        options |= orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    for index in range(len(forecast.ids)):
        keys = series_keys(forecast.ids, forecast.targets, index)
        yield orjson.dumps({**keys, **rows.at(index), "warnings": answer.warnings(index)}, option=options)


class _Rows:
    """A forecast's arrays with each series' row in one piece, as the encoder wants them."""

    def __init__(self, forecast: Forecast) -> None:
        whole = np.ascontiguousarray
        self._timestamps = whole(forecast.ds)
        self._mean, self._median = whole(forecast.mean), whole(forecast.median)
        intervals = {f"{level:g}": forecast.interval(level) for level in forecast.levels}
        self._intervals = {level: (whole(low), whole(high)) for level, (low, high) in intervals.items()}
        self._paths = whole(forecast.paths)
        self._quantiles = {f"{probability:g}": whole(forecast.quantiles[probability]) for probability in forecast.asked}

    def at(self, index: int) -> dict[str, Any]:
        return {
            "timestamps": self._timestamps[index],
            "mean": self._mean[index],
            "median": self._median[index],
            "intervals": {k: {"lo": low[index], "hi": high[index]} for k, (low, high) in self._intervals.items()},
            "quantiles": {k: rows[index] for k, rows in self._quantiles.items()},
            **({"paths": self._paths[index]} if self._paths.shape[1] else {}),
        }


def series_keys(ids: npt.NDArray[Any], targets: npt.NDArray[Any] | None, index: int) -> dict[str, Any]:
    """What says whose forecast it is: the id, and the target where there are several."""
    name = ids[index]
    keys = {"id": name.item() if isinstance(name, np.generic) else name}
    return keys if targets is None else {**keys, "target": targets[index]}


def _panel(series: list[SeriesIn], freq: Frequency, settings: ModelSettings, horizon: int) -> Panel:
    targets = settings.covariates.targets
    check_targets(series, targets)
    _check_lengths(series)
    if not targets:
        panel = _histories(series, [one.values for one in series], freq, settings.rows)
        return with_covariates(panel, series, freq, settings, horizon)
    panels = [_target(series, target, freq, settings.rows) for target in targets]
    panels[0] = with_covariates(panels[0], series, freq, settings, horizon)
    return side_by_side(panels, targets)


def _target(series: list[SeriesIn], target: str, freq: Frequency, rows: RowSettings) -> Panel:
    try:
        return _histories(series, [(one.targets or {})[target] for one in series], freq, rows)
    except InputError as error:
        field = target if error.field in ("y", "values") else error.field
        raise InputError(error.problem, series=error.series, field=field, mend=error.mend) from error


def _histories(series: list[SeriesIn], values: list[list[float | None]], freq: Frequency, rows: RowSettings) -> Panel:
    dated = [one.timestamps is not None for one in series]
    if not any(dated):
        ids: list[Any] = [one.id for one in series]
        return panel_from_histories(ids, [one.start for one in series], values, freq)
    if not all(dated):
        raise InputError(
            "some series have timestamps and others do not",
            series=series[dated.index(False)].id,
            field="timestamps",
            mend="give timestamps for all series, or start for all",
        )
    return _dated_panel(series, values, freq, rows)


def _dated_panel(series: list[SeriesIn], values: list[list[float | None]], freq: Frequency, rows: RowSettings) -> Panel:
    """Placed on the grid by the reader of tables, where ids are texts."""
    stamps = [stamp for one in series for stamp in one.timestamps or ()]
    numbers = np.repeat(np.arange(len(series)), [len(own) for own in values])
    flat = np.array([value for own in values for value in own], np.float64)
    _check_one_kind(series)
    names = _texts(series)
    ids = pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(names))
    table = pa.table({"unique_id": ids, "ds": stamps, "y": pa.array(flat, from_pandas=True)})
    try:
        panel = read_panel(table, freq, rows)
    except InputError as error:
        named = series[names.index(error.series)].id if error.series is not None else None
        raise InputError(error.problem, series=named, field=error.field, mend=error.mend) from error
    return replace(panel, ids=np.array([one.id for one in series], object))


def _texts(series: list[SeriesIn]) -> list[str]:
    """Ids as texts that tell them apart: 1 and "1" may be two series."""
    plain = [str(one.id) for one in series]
    return plain if len(set(plain)) == len(plain) else [repr(one.id) for one in series]


def _check_ids(series: list[SeriesIn]) -> None:
    seen: set[str | int] = set()
    for index, one in enumerate(series):
        if one.id in seen:
            error = InputError("the id occurs twice", series=one.id, mend="give each series an id of its own")
            raise PlacedInputError(error, "series", index, "id")
        seen.add(one.id)


def _check_lengths(series: list[SeriesIn]) -> None:
    for one in series:
        if not one.steps():
            raise InputError("there are no values", series=one.id, field="values", mend="give at least one number")
        if one.timestamps is not None and len(one.timestamps) != one.steps():
            raise InputError(
                f"there are {len(one.timestamps)} timestamps for {one.steps()} values",
                series=one.id,
                field="timestamps",
                mend="give one for each value",
            )
        if one.timestamps is not None and one.start is not None:
            raise InputError(
                "both start and timestamps are given", series=one.id, field="start", mend="give one of them"
            )


def _check_one_kind(series: list[SeriesIn]) -> None:
    kind = type((series[0].timestamps or [None])[0])
    for one in series:
        if type((one.timestamps or [None])[0]) is not kind:
            raise InputError(
                "some series have timestamps and others whole steps",
                series=one.id,
                field="timestamps",
                mend="use one or the other",
            )


def _notes(series: list[SeriesIn], settings: ModelSettings) -> tuple[tuple[str, ...], ...]:
    wanted = settings.covariates
    notes = tuple(unused(one, wanted) for one in series for _ in wanted.values)
    return notes if any(notes) else ()


def _place(given: dict[str, tuple[int, dict[str, Any]]], error: InputError) -> InputError:
    """The words of tables to those of this form, and the place in the body. given: number and targets by id"""
    if isinstance(error, PlacedInputError):
        return error
    field = _FIELDS.get(error.field, error.field) if error.field else None
    if field == "sums":
        return PlacedInputError(error, "sums", *([error.series] if error.series else []))
    if error.series in given and error.series is not None:
        number, targets = given[error.series]
        place = ("targets", field) if field in targets else (field or "id",)
        return PlacedInputError(error, "series", number, *place)
    return PlacedInputError(error, *([field] if field else []))


def _check_weight(body: bytes) -> None:
    """Counted before it is parsed: each number and list costs far more memory, and time of all threads, than text."""
    if body.count(b",") > _MOST_COMMAS or body.count(b"[") + body.count(b"{") > _MOST_BRACKETS:
        raise TooLarge(f"the body has more than {_MOST_COMMAS} values; send fewer series at once, or send a table")


def _refusal(error: ValidationError, body: bytes) -> InvalidJson | InvalidRequest:
    if error.error_count() > _MOST_MISTAKES:  # unknown keys, most likely: each would be described before all are cut
        return InvalidRequest([{"pointer": "", "message": f"there are {error.error_count()} mistakes in the body"}])
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return InvalidJson(f"the body is not JSON: {found[0]['ctx']['error']}")
    named = _names(body)
    return InvalidRequest([_described(one["loc"], one["type"], one["msg"], named) for one in found])


def _described(location: tuple[int | str, ...], kind: str, message: str, named: list[Any]) -> dict[str, str]:
    wanted = _MENDS.get(kind, message)
    described = {"pointer": pointer(*location), "message": wanted}
    if len(location) > 1 and location[0] == "series" and isinstance(location[1], int) and location[1] < len(named):
        described["series"] = str(named[location[1]])[:256]
    return described


def _names(body: bytes) -> list[Any]:
    """The ids of a body that breaks the schema, as far as there are any."""
    document = from_json(body)
    series = document.get("series") if isinstance(document, dict) else None
    return [one.get("id") if isinstance(one, dict) else None for one in series] if isinstance(series, list) else []
