"""Forecast requests and answers as JSON. Numbers go between arrays and text without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pydantic import ValidationError
from pydantic_core import from_json

from forecaster.errors import InputError
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.panel import Panel
from forecaster.reading import panel_from_histories, read_panel
from service.errors import InvalidJson, InvalidRequest, PlacedInputError, pointer
from service.question import Answer, Question
from service.schemas import ForecastRequest, SeriesIn

MEDIA_TYPE = "application/json"
_UNUSED = ("static", "past", "future")
_UNION_TAGS = ("str", "int", "constrained-str", "constrained-int")


def parse(body: bytes) -> Question:
    """Raises InvalidJson, InvalidRequest or InputError."""
    try:
        request = ForecastRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, body) from error
    _check_ids(request.series)
    return Question(
        model=request.model,
        horizon=request.horizon,
        freq=request.freq,
        levels=tuple(request.level),
        quantiles=tuple(request.quantiles),
        panel=partial(_panel, request.series),
        place=partial(_place, {series.id: i for i, series in enumerate(request.series)}),
    )
