"""What the API's description says of the calls whose bodies are read by hand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.columnar import ARROW, CSV, PARQUET
from service.schemas.evaluation import AnomalyRequest, AnomalyResponse, BacktestRequest, BacktestResponse
from service.schemas.forecasts import ExplainResponse, ForecastRequest, ForecastResponse
from service.schemas.problems import Problem

_REFERENCE = "#/components/schemas/{model}"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_EXAMPLE = {
    "horizon": 3,
    "level": [80],
    "series": [{"id": "shop-1", "start": "2024-01-01T00:00:00", "values": [12.0, 15.5, None, 14.2]}],
}
_ANSWER = {
    "model": {"name": "sales", "version": 3, "run_id": "5d1c…"},
    "freq": "h",
    "forecasts": [
        {
            "id": "shop-1",
            "timestamps": ["2024-01-01T04:00:00", "2024-01-01T05:00:00", "2024-01-01T06:00:00"],
            "mean": [14.1, 14.3, 14.6],
            "median": [14.0, 14.2, 14.5],
            "intervals": {"80": {"lo": [12.1, 12.0, 11.8], "hi": [16.2, 16.9, 17.5]}},
            "quantiles": {},
            "warnings": [],
        }
    ],
}
_CSV = "unique_id,ds,y\nshop-1,2024-01-01T00:00:00,12.0\nshop-1,2024-01-01T01:00:00,15.5\n"
_CSV_ANSWER = "unique_id,ds,mean,median,lo-80,hi-80\nshop-1,2024-01-01T02:00:00,14.1,14.0,12.1,16.2\n"


def _of(model: str) -> dict[str, Any]:
    return {"schema": {"$ref": _REFERENCE.format(model=model)}}


FORECAST: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {**_of("ForecastRequest"), "example": _EXAMPLE},
                CSV: {"schema": {"type": "string"}, "example": _CSV},
                ARROW: _BINARY,
                PARQUET: _BINARY,
            },
        }
    },
    "responses": {
        200: {
            "description": "Forecasts, in the form that Accept names; otherwise in that of the request",
            "content": {
                "application/json": {**_of("ForecastResponse"), "example": _ANSWER},
                CSV: {"schema": {"type": "string"}, "example": _CSV_ANSWER},
                ARROW: _BINARY,
                PARQUET: _BINARY,
            },
        },
    },
}


def _json_call(request: str, response: str, description: str, example: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {**_of(request), "example": example}}}
    answer = {"description": description, "content": {"application/json": _of(response)}}
    return {"openapi_extra": {"requestBody": body}, "responses": {200: answer}}


_SERIES = {"series": _EXAMPLE["series"]}
EXPLAIN = _json_call("ForecastRequest", "ExplainResponse", "Medians and their parts", _EXAMPLE)
BACKTEST = _json_call("BacktestRequest", "BacktestResponse", "Measures of all windows", {"windows": 5, **_SERIES})
ANOMALIES = _json_call("AnomalyRequest", "AnomalyResponse", "Each point and its interval", {"level": 99, **_SERIES})
_ANSWERS = (ForecastResponse, ExplainResponse, BacktestResponse, AnomalyResponse, Problem)
_PROBLEMS = {"4XX": "A mistake in the request; `errors` names series and field", "503": "Full, or not ready: try again"}
# In their place problems are answered.
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Let `app.openapi` add the schemas of that body, and problem documents to every call."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    inputs, outputs = (
        [(request, "validation") for request in (ForecastRequest, BacktestRequest, AnomalyRequest)],
        [(answer, "serialization") for answer in _ANSWERS],
    )
    _, schemas = models_json_schema([*inputs, *outputs], ref_template=_REFERENCE)  # type: ignore[list-item]
    known = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in _FRAMEWORKS_OWN:
        known.pop(unused, None)
    known.update(schemas["$defs"])
    for path in document["paths"].values():
        for call in path.values():
            call["responses"].pop("422", None)
            for status, text in _PROBLEMS.items():
                content = {"application/problem+json": _of("Problem")}
                call["responses"].setdefault(status, {"description": text, "content": content})
    return document
