"""What goes over the wire as JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from forecaster.hierarchy import Reconciliation
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
Timestamps = Annotated[list[str] | list[INT64] | None, _or_say("give a list of timestamps, or one of whole steps")]
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


class ForecastRequest(SeriesRequest):
    horizon: Horizon = None
    level: Levels = []
    quantiles: Quantiles = []
    paths: Paths = 0
    sums: Sums = {}
    reconcile: Reconciliation = Field(
        default="structural",
        description="How means are made to add up: by least squares in which a total may change by the number of its "
        "leaves (structural) or as much as any (ols), or from the leaves alone (bottom-up).",
    )


class ForecastParameters(BaseModel):
    """The same for columnar bodies, in the query."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    model: Model = None
    horizon: Horizon = None
    freq: Freq = None
    level: Levels = []
    quantile: Quantiles = []
    paths: Paths = 0


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


class ExplainResponse(BaseModel):
    model: ModelOut
    freq: str
    explanations: list[ExplanationOut]


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
    median: list[float]
    lo: list[float]
    hi: list[float]
    anomaly: list[bool]
    """Whether the point lies outside; a missing one does not."""


class AnomalyResponse(BaseModel):
    model: ModelOut
    freq: str
    level: float
    series: list[AnomalyOut]
    warnings: list[str]


class ProblemError(BaseModel):
    pointer: str
    message: str
    series: str | None = None


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] = []


class Wanted(BaseModel):
    """The champion of the registry, where another version is served."""

    version: int
    reason: str
    since: datetime | None


class ServedOut(BaseModel):
    version: int
    run_id: str | None
    since: datetime
    """When this process began to serve it."""
    freq: str
    horizon: int
    season: int
    context: int
    quantiles: list[float]
    data: dict[str, Any]
    """What it was trained on."""


class RegistryOut(BaseModel):
    reachable: bool
    since: datetime | None
    message: str | None = None


class RegisteredOut(BaseModel):
    """A model. What the registry alone knows is as it was last seen."""

    name: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]
    served: ServedOut | None
    wanted: Wanted | None


class ModelsOut(BaseModel):
    registry: RegistryOut
    models: list[RegisteredOut]


class VersionOut(BaseModel):
    version: int
    run_id: str | None
    created_at: datetime
    description: str
    tags: dict[str, str]
    metrics: dict[str, float]
    datasets: list[dict[str, str]]


class ModelDetailOut(RegisteredOut):
    registry: RegistryOut
    versions: list[VersionOut] | None
    """The newest, newest first; null while the registry is away."""


class PromoteRequest(Strict):
    version: int = Field(ge=1, lt=10**9)


class PromoteOut(BaseModel):
    name: str
    champion: int
    previous: int | None


class ReadyModel(BaseModel):
    name: str
    version: int | None
    run_id: str | None
    since: datetime | None
    wanted: Wanted | None


class Ready(BaseModel):
    status: Literal["ready", "starting"]
    registry: RegistryOut
    models: list[ReadyModel]
