"""`POST /v1/explain`: what a forecast is made of."""

from __future__ import annotations

from functools import partial

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from forecaster.errors import InputError
from forecaster.explanation import Explanation, explain
from forecaster.panel import Panel
from service import json_form
from service.engines import ServedModel
from service.errors import PlacedInputError, UnsupportedMedia
from service.media import content_type
from service.openapi import EXPLAIN
from service.question import Question, check_freq
from service.state import Needs, Parts

router = APIRouter(tags=["forecasts"])

_MOST_SERIES = 20  # each costs as much as some hundred forecasts


@router.post("/v1/explain", response_class=Response, summary="Say what forecasts are made of", **EXPLAIN)
async def explanations(request: Request, parts: Needs) -> Response:
    """The body of a forecast request, of few series; the answer has each median as a base and shares that add up to it.

    The base is what would be forecast of a series that always had this one's mean, if nothing else were known of it.
    """
    if content_type(request) != json_form.MEDIA_TYPE:
        raise UnsupportedMedia(f"send {json_form.MEDIA_TYPE}")
    body = await request.body()
    question = await parts.threads.run(partial(json_form.parse, body), len(body))
    model = await parts.resolver.resolve(question.model)
    # One at a time, and in no thread of forecasts, which take a thousandth of the time.
    return await parts.explainers.run(partial(_answer, question, model, parts), len(body))


def _answer(question: Question, model: ServedModel, parts: Parts) -> Response:
    """In the thread of explanations."""
    predictor, settings = model.predictor, model.predictor.info.settings
    if question.sums:
        error = InputError("what is explained is the forecast before it is made to add up", mend="leave the sums out")
        raise PlacedInputError(error, "sums")
    try:
        check_freq(question.freq, model)
        panel = question.panel(predictor.freq, settings, question.horizon or settings.horizon)
        _check_few(panel)
        found = explain(predictor, panel, horizon=question.horizon)
    except InputError as error:
        raise question.place(error) from error
    parts.metrics.forecasts.labels(model.name, str(model.version.version)).inc(len(found.ids))
    notes = question.notes(settings)
    document = {
        **json_form.answer_head(model),
        "explanations": [_one(found, notes, index) for index in range(len(found.ids))],
    }
    options = orjson.OPT_SERIALIZE_NUMPY
    if found.zone is not None:
        options |= orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    return Response(orjson.dumps(document, option=options), media_type=json_form.MEDIA_TYPE)


def _check_few(panel: Panel) -> None:
    if (count := len(np.unique(panel.owners))) > _MOST_SERIES:
        error = InputError(f"{count} series are too many", mend=f"ask for at most {_MOST_SERIES} at once")
        raise PlacedInputError(error, "series")


def _one(found: Explanation, notes: tuple[tuple[str, ...], ...], index: int) -> dict[str, object]:
    whole = np.ascontiguousarray
    return {
        **json_form.series_keys(found.ids, found.targets, index),
        "timestamps": whole(found.ds[index]),
        "median": whole(found.median[index]),
        "base": whole(found.base[index]),
        "parts": {part: whole(shares[index]) for part, shares in found.parts.items()},
        "warnings": [*found.warnings[index], *(notes[index] if notes else ())],
    }
