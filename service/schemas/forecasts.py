"""Forecasts and what they are asked with."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field

from forecaster.hierarchy import Reconciliation
from service.schemas.fields import (
    MOST_SERIES,
    MOST_TARGETS,
    Column,
    Freq,
    Horizon,
    Id,
    Known,
    Knowns,
    Levels,
    Model,
    Paths,
    Quantiles,
    Start,
    Strict,
    Sums,
    Timestamps,
    Values,
)

Reconcile = Annotated[
    Reconciliation,
    Field(
        description="How means are made to add up: by least squares in which a total may change by the number of its "
        "leaves (structural) or as much as any (ols), or from the leaves alone (bottom-up).",
    ),
]


class SeriesIn(Strict):
    """One series: `values` (or `targets`) from `start` on without gaps, or a value for each of `timestamps`."""

    id: Id
    values: Values = Field(default=[], description="Numbers; null is a missing value.")
    targets: dict[Column, Values] | None = Field(
        default=None,
        max_length=MOST_TARGETS,
        description="In place of `values`, for a model of several targets: the values of each, all of one length.",
    )
    start: Start = Field(default=None, description="When the first value was observed; steps from 1 if left out.")
    timestamps: Timestamps = Field(default=None, description="When each value was observed; in any order.")
    static: dict[Column, Known] | None = Field(default=None, description="By covariate, one value for the series.")
    past: dict[Column, Knowns] | None = Field(
        default=None, description="By covariate that is known up to the present, a value for each of `values`."
    )
    future: dict[Column, Knowns] | None = Field(
        default=None,
        description="By covariate that is known beforehand, a value for each of `values` and for each step of the "
        "horizon; or for the horizon alone, and the others under `past`.",
    )

    def steps(self) -> int:
        """How many values are given."""
        return len(self.values if self.targets is None else next(iter(self.targets.values()), ()))


class SeriesRequest(Strict):
    model: Model = None
    freq: Freq = None
    series: Annotated[list[SeriesIn], FailFast(), Field(min_length=1, max_length=MOST_SERIES)]


class ForecastRequest(SeriesRequest):
    horizon: Horizon = None
    level: Levels = Field(default=[])
    quantiles: Quantiles = Field(default=[])
    paths: Paths = 0
    sums: Sums = Field(default={})
    reconcile: Reconcile = "structural"


class ForecastParameters(BaseModel):
    """The same for columnar bodies, in the query."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    model: Model = None
    horizon: Horizon = None
    freq: Freq = None
    level: Levels = []
    quantile: Quantiles = []
    paths: Paths = 0
    sums: str | None = Field(
        default=None,
        description='The parts of each total as JSON, `{"total": ["north", "south"]}`: means are then made to add up.',
    )
    reconcile: Reconcile = "structural"


class ModelOut(BaseModel):
    name: str
    version: int
    run_id: str | None


class Interval(BaseModel):
    lo: list[float]
    hi: list[float]


class ForecastOut(BaseModel):
    id: str | int
    target: str | None = None
    """Which target of the series, where the model has several: then there is a forecast of each."""
    timestamps: list[str] | list[int]
    mean: list[float]
    median: list[float]
    intervals: dict[str, Interval]
    quantiles: dict[str, list[float]]
    paths: list[list[float]] | None = None
    """Sample paths, where some were asked for."""
    warnings: list[str]


class ForecastResponse(BaseModel):
    model: ModelOut
    freq: str
    forecasts: list[ForecastOut]


class ExplanationOut(BaseModel):
    id: str | int
    target: str | None = None
    timestamps: list[str] | list[int]
    median: list[float]
    base: list[float]
    """What would be forecast of a series that always had this one's mean, if nothing else were known of it."""
    parts: dict[str, list[float]]
    """Shares of the history and of each covariate; with `base` they add up to `median`."""
    warnings: list[str]


class ExplainResponse(BaseModel):
    model: ModelOut
    freq: str
    explanations: list[ExplanationOut]
