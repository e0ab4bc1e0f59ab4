"""Kinds of fields that JSON bodies are made of, with their limits, and the strictness of what comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from forecaster.predictor import LONGEST_HORIZON, MOST_PATHS

MOST_SERIES = 10_000
MOST_VALUES = 1_000_000
MOST_PROBABILITIES = 50
MOST_TARGETS = 100
MOST_WINDOWS = 100_000


def _or_say(message: str) -> WrapValidator:
    """One message in place of one for each member of a union."""

    def validate(given: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(given)
        except ValidationError as error:
            raise PydanticCustomError("wrong_type", message) from error

    return WrapValidator(validate)


INT64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Id = Annotated[
    Annotated[str, Field(min_length=1, max_length=256)] | INT64,
    _or_say("give a string (1 to 256 characters) or a whole number"),
]
Start = Annotated[
    Annotated[str, Field(max_length=64)] | INT64 | None,
    _or_say("give a timestamp such as 2024-01-31T12:00:00, or a whole step"),
]
Timestamps = Annotated[  # Field: FailFast() cannot be part of a union
    Annotated[list[str], Field(fail_fast=True)] | Annotated[list[INT64], Field(fail_fast=True)] | None,
    _or_say("give a list of timestamps, or one of whole steps"),
]
Values = Annotated[list[float | None], FailFast(), Field(max_length=MOST_VALUES)]
Column = Annotated[str, Field(min_length=1, max_length=256)]
Known = Annotated[
    float | bool | Annotated[str, Field(max_length=256)] | None, _or_say("give a number, text, true, false or null")
]
Knowns = Annotated[list[Known], FailFast(), Field(max_length=MOST_VALUES + LONGEST_HORIZON)]
Level = Annotated[float, Field(ge=1, le=99.9)]
Quantile = Annotated[float, Field(gt=0, lt=1)]
Levels = Annotated[
    list[Level],
    Field(
        max_length=MOST_PROBABILITIES, description="Central intervals in percent: 80 spans the quantiles 0.1 to 0.9."
    ),
]
Quantiles = Annotated[list[Quantile], Field(max_length=MOST_PROBABILITIES, description="Quantiles, as probabilities.")]
Paths = Annotated[
    int,
    Field(ge=0, le=MOST_PATHS, description="Sample paths: possible futures with the dependence between steps."),
]
Part = Annotated[str | INT64, _or_say("give the id of a series")]
Sums = Annotated[
    dict[str, Annotated[list[Part], FailFast(), Field(max_length=MOST_SERIES)]],
    Field(
        max_length=MOST_SERIES,
        description="By id of a total, the ids of its parts, which may be totals too: means are then made to add up.",
    ),
]
Model = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=300,
        description="`NAME`, `NAME@ALIAS` or `NAME/VERSION`; the default model if left out.",
    ),
]
Horizon = Annotated[
    int | None,
    Field(
        ge=1,
        le=LONGEST_HORIZON,
        description="Steps; those the model was trained for if left out. Beyond them sample paths carry it on.",
    ),
]
Freq = Annotated[
    str | None, Field(max_length=32, description="One step, as pandas writes it. Only checked: it must be the model's.")
]


class Strict(BaseModel):
    """JSON as it is typed: no text for numbers, no unknown keys, no infinities."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)
