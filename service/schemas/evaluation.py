"""What a model would have forecast: `/v1/backtest` and `/v1/anomalies`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from forecaster.predictor import LONGEST_HORIZON
from service.schemas.fields import MOST_VALUES, MOST_WINDOWS, Horizon, Level
from service.schemas.forecasts import ModelOut, SeriesRequest


class BacktestRequest(SeriesRequest):
    horizon: Horizon = None
    windows: int = Field(default=3, ge=1, le=MOST_WINDOWS, description="Origins of each series.")
    step: int | None = Field(
        default=None, ge=1, le=MOST_VALUES, description="Steps between origins; the horizon if left out."
    )


class AnomalyRequest(SeriesRequest):
    level: Level = Field(default=99, description="A point outside this central interval, in percent, is an anomaly.")
    last: int | None = Field(
        default=None,
        ge=1,
        le=MOST_VALUES,
        description="How many last steps of each series are judged; the trained horizon if left out.",
    )
    step: int = Field(
        default=1, ge=1, le=LONGEST_HORIZON, description="Steps that one forecast judges, from what came before them."
    )


class BacktestResponse(BaseModel):
    model: ModelOut
    freq: str
    windows: int
    """How many windows were scored."""
    horizon: int
    metrics: dict[str, float | None]
    targets: dict[str, dict[str, float | None]]
    """The same of each target, where the model has several."""
    baselines: dict[str, dict[str, float | None]]
    error_by_step: list[float | None]
    """Mean scaled absolute error of each step of the horizon."""
    warnings: list[str]


class AnomalyOut(BaseModel):
    id: str | int
    target: str | None = None
    timestamps: list[str] | list[int]
    median: list[float | None]
    """Null where the context before the point holds no value, as in `lo` and `hi`."""
    lo: list[float | None]
    hi: list[float | None]
    anomaly: list[bool]
    """Whether the point lies outside; a missing one does not."""


class AnomalyResponse(BaseModel):
    model: ModelOut
    freq: str
    level: float
    series: list[AnomalyOut]
    warnings: list[str]
