"""`POST /v1/backtest` and `POST /v1/anomalies`: what a model would have forecast, beside what came."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from forecaster.anomalies import Judged, judge, windows_of
from forecaster.backtest import has_seen_some
from forecaster.errors import InputError
from forecaster.panel import Panel
from forecaster.paths import ROLLED_PATHS
from forecaster.rolling import roll
from service import json_form
from service.engines import ServedModel
from service.errors import UnsupportedMedia
from service.media import content_type
from service.openapi import ANOMALIES, BACKTEST
from service.question import Histories, check_freq
from service.schemas.evaluation import AnomalyRequest, BacktestRequest
from service.state import Needs, Parts

router = APIRouter(tags=["evaluation"])


@router.post("/v1/backtest", response_class=Response, summary="Score a model on past origins", **BACKTEST)
async def backtest(request: Request, parts: Needs) -> Response:
    """Rolling-origin errors of a model on the series of the body, beside those of the naive methods.

    Covariates known beforehand have one value for each of `values`: there is no horizon beyond them.
    """
    asked, given, size = await _read(BacktestRequest, request, parts)
    model = await parts.resolver.resolve(given.model)
    return await parts.threads.run(partial(_backtest, asked, given, model, parts), size)


@router.post("/v1/anomalies", response_class=Response, summary="Find points outside their interval", **ANOMALIES)
async def anomalies(request: Request, parts: Needs) -> Response:
    """Whether the last points of each series lie within the interval that was forecast from what came before them."""
    asked, given, size = await _read(AnomalyRequest, request, parts)
    model = await parts.resolver.resolve(given.model)
    return await parts.threads.run(partial(_anomalies, asked, given, model, parts), size)


async def _read(
    kind: type[json_form.Request], request: Request, parts: Parts
) -> tuple[json_form.Request, Histories, int]:
    if content_type(request) != json_form.MEDIA_TYPE:
        raise UnsupportedMedia(f"send {json_form.MEDIA_TYPE}")
    body = await request.body()
    asked = await parts.threads.run(partial(json_form.read, kind, body), len(body))
    return asked, json_form.histories(asked), len(body)


# What follows runs in a forecast thread.


def _backtest(asked: BacktestRequest, given: Histories, model: ServedModel, parts: Parts) -> Response:
    predictor = model.predictor
    try:
        panel = _panel(given, model)
        steps, trained = asked.horizon or predictor.info.horizon, predictor.info.horizon
        each = min(steps, trained) + ROLLED_PATHS * max(0, steps - trained)
        _check_work(panel.n_series * asked.windows * each, parts.settings.max_forecast_points, "windows")
        found = roll(
            predictor,
            panel,
            windows=asked.windows,
            step=asked.step,
            horizon=asked.horizon,
            held_out=lambda: parts.cache.load_held_out(model.version, parts.registry.download),
        )
    except InputError as error:
        raise given.place(error) from error
    return _answer(model, {**vars(found), "warnings": [*_notes(given, model), *found.warnings]})


def _anomalies(asked: AnomalyRequest, given: Histories, model: ServedModel, parts: Parts) -> Response:
    predictor = model.predictor
    last = asked.last or predictor.info.horizon
    try:
        panel = _panel(given, model)
        work = windows_of(panel, last, asked.step) * predictor.info.horizon
        _check_work(work, parts.settings.max_forecast_points, "last")
        found = judge(predictor, panel, level=asked.level, last=last, step=asked.step)
    except InputError as error:
        raise given.place(error) from error
    warnings = [*panel.notes, *_notes(given, model)]
    if has_seen_some(predictor.info, panel, last):
        warnings.append("the model was trained on some of these points: it may find them more usual than they were")
    unknown = sum(int(np.isnan(one.median).sum()) for one in found)
    if unknown:
        context = predictor.info.settings.common_context
        warnings.append(f"points not judged, for none of the {context} steps before them is observed: {unknown}")
    series = [_judged(panel, one) for one in found]
    return _answer(model, {"level": asked.level, "series": series, "warnings": warnings}, panel.zone)


def _panel(given: Histories, model: ServedModel) -> Panel:
    """Without any steps to come."""
    check_freq(given.freq, model)
    return given.panel(model.predictor.freq, model.predictor.info.settings, 0)


def _check_work(points: int, most: int, field: str) -> None:
    if points > most:
        problem = f"that is {points} values to forecast, and at most {most} are allowed"
        raise InputError(problem, field=field, mend="ask for fewer series or windows at once")


def _notes(given: Histories, model: ServedModel) -> list[str]:
    """What was ignored, each once."""
    return list(dict.fromkeys(text for texts in given.notes(model.predictor.info.settings) for text in texts))


def _judged(panel: Panel, one: Judged) -> dict[str, Any]:
    whole = np.ascontiguousarray
    return {
        **json_form.series_keys(panel.ids, panel.targets, one.index),
        "timestamps": whole(one.timestamps),
        "median": whole(one.median),
        "lo": whole(one.low),
        "hi": whole(one.high),
        "anomaly": whole(one.anomaly),
    }


def _answer(model: ServedModel, document: dict[str, Any], zone: str | None = None) -> Response:
    options = orjson.OPT_SERIALIZE_NUMPY
    if zone is not None:
        options |= orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    body = orjson.dumps({**json_form.answer_head(model), **document}, option=options)
    return Response(body, media_type=json_form.MEDIA_TYPE)
