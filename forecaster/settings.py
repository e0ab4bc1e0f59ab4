"""Settings of a model: one class per concern, saved beside the weights."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

COLUMNS = ("unique_id", "ds", "y")  # of every series
DEFAULT_QUANTILES = (0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995)

Cell = Literal["gru", "lstm", "rnn", "lstm_peephole", "gru_reset_before"]
Decoder = Literal["mlp", "pmf", "autoregressive"]
Head = Literal["quantile", "normal", "student_t", "negative_binomial"]
Transform = Literal["log", "asinh", "identity"]
Location = Literal["last", "mean", "zero"]
Scale = Literal["std", "change", "size", "robust"]
Aggregation = Literal["sum", "mean", "last"]
CalendarFeature = Literal["minute", "hour", "weekday", "day", "week", "month", "holiday"]


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NetworkSettings(Settings):
    """Architecture of one segment recurrent network. Lengths are in steps."""

    horizon: int = Field(ge=1, le=10_000)
    """Steps forecast in one pass."""

    context: int = Field(ge=1, le=100_000)
    """Last steps of a history that the network sees."""

    segment: int = Field(default=1, ge=1)
    """Steps per recurrent update; 1 is the plain stepwise network. Segments cut the recurrence 20-30 times."""

    season: int = Field(default=1, ge=1)
    """Dominant season; unobserved steps are filled from the same phase of the season."""

    lags: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Lags whose values the decoder sees for each forecast step; those in the future are moved back by whole lags."""

    highway: int = Field(default=1, ge=1)
    """Last steps that the linear shortcut to the forecast sees."""

    cell: Cell = "gru"
    """Recurrent cell; docs/model.md gives the equations of each."""

    width: int = Field(default=64, ge=1, le=4096)
    """Units of the recurrent state."""

    layers: int = Field(default=1, ge=1, le=8)
    """Recurrent layers."""

    attention: int = Field(default=0, ge=0, le=64)
    """Heads of attention from each output segment over all encoder states; 0 for none. Must divide `width`."""

    decoder: Decoder = "mlp"
    """All output segments at once (`mlp`), one cell step for each from the last state (`pmf`, SegRNN), or one after
    the other, each seeing the median of the one before (`autoregressive`)."""

    head: Head = "quantile"
    """The distribution of a step: free quantiles that cannot cross, or a parametric one."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in the decoder and between recurrent layers."""

    initialisation: Literal["orthogonal", "uniform"] = "orthogonal"
    """Recurrent weights at the start: orthogonal keeps the state's norm over many steps; uniform is torch's own."""

    forget_bias: float = 1.0
    """Bias of an LSTM's forget gate at the start: above zero, it remembers at first."""

    location: Location = "last"
    """What is subtracted from a window: its last observed value, its mean, or nothing."""

    scale: Scale = "std"
    """What a window is divided by: its standard deviation, its mean absolute one-step change, its mean size, or 1.4826
    times its median absolute deviation (`robust`)."""

    reach: float = Field(default=50.0, ge=1)
    """How far normalised values may lie, and a truth whose likelihood counts; what is farther counts as so far."""

    logarithm: bool = False
    """Whether this network works on logarithms, though the model has no transform; a window with a value of zero or
    less is then read as it is. Members that do and members that do not err differently."""

    variability: bool = False
    """Whether the decoder is told a window's scale relative to its size (of logarithms, the scale itself): how many per
    cent a usual change is. It then no longer follows a constant that is added to all values."""

    @model_validator(mode="after")
    def _fits_together(self) -> NetworkSettings:
        if self.segment > self.context:
            raise ValueError(f"segment {self.segment} is longer than context {self.context}")
        if self.highway > self.context:
            raise ValueError(f"highway {self.highway} is longer than context {self.context}")
        if self.lags and max(self.lags) > self.context:
            raise ValueError(f"lag {max(self.lags)} lies beyond context {self.context}")
        if self.season > self.context:  # no window would have enough values for a scale of its own
            raise ValueError(f"season {self.season} is longer than context {self.context}")
        if self.attention and self.width % self.attention:
            raise ValueError(f"attention {self.attention} does not divide width {self.width}")
        if self.head == "negative_binomial" and (self.location, self.scale) != ("zero", "size"):
            raise ValueError("head negative_binomial needs location zero and scale size: counts have no other unit")
        if self.head == "negative_binomial" and self.logarithm:
            raise ValueError("head negative_binomial cannot go with logarithm: logarithms of counts are no counts")
        return self

    @property
    def output_segments(self) -> int:
        return -(-self.horizon // self.segment)

    @property
    def input_segments(self) -> int:
        return -(-self.context // self.segment)


class RowSettings(Settings):
    """How the rows of a table become steps: when training, and alike for every forecast."""

    duplicates: Literal["error", "sum", "mean", "last"] = "error"
    """What several rows with one timestamp give: an error, or their sum, mean or last observed value."""

    resample: Aggregation | None = None
    """What the rows within one step give, whatever their timestamps; none when every timestamp lies on the grid."""

    @model_validator(mode="after")
    def _one_rule(self) -> RowSettings:
        if self.resample and self.duplicates != "error":
            raise ValueError("resample combines all rows of a step: leave duplicates out")
        return self

    @property
    def combine(self) -> Aggregation | None:
        """How rows that share a step are combined; None where that is an error."""
        return self.resample or (None if self.duplicates == "error" else self.duplicates)


class CovariateSettings(Settings):
    """What is forecast, and what a forecast may rest on besides: when training, and alike for every forecast."""

    targets: tuple[str, ...] = ()
    """Columns that are forecast, each as a series of its own that the network knows by its column; `y` if none."""

    static: tuple[str, ...] = ()
    """Columns with one value for each series."""

    past: tuple[str, ...] = ()
    """Columns known up to the present; targets too, if each is to see the others (not `y`, unless it is renamed)."""

    future: tuple[str, ...] = ()
    """Columns known beforehand: every step of the horizon needs its row."""

    calendar: tuple[CalendarFeature, ...] = ()
    """Parts of the timestamp; `holiday` is the name of the day's public holiday."""

    country: str | None = None
    """Whose public holidays: an ISO 3166 code, with a subdivision after a dash if need be (`US`, `DE-BY`)."""

    zone: str | None = None
    """Time zone of the calendar, where timestamps have a zone; UTC if none."""

    categorical: tuple[str, ...] = ()
    """Columns whose numbers are names; those of text are categorical anyway."""

    categories: dict[str, tuple[str, ...]] = {}
    """Values of each categorical column that training has seen; any other counts as unknown."""

    scales: dict[str, tuple[float, float]] = {}
    """Mean and standard deviation of each numeric column in training."""

    width: int = Field(default=4, ge=1, le=256)
    """Numbers that what is known of a step is summed up in for encoder and decoder."""

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (KeyError, ValueError, OSError) as error:  # unknown, no name of a file, or that of a folder
                raise ValueError(f"{zone!r} is no time zone: write one such as Europe/Madrid") from error
        return zone

    @model_validator(mode="after")
    def _each_once(self) -> CovariateSettings:
        columns, declared, targets = self.columns, Counter(self.columns), Counter(self.targets)
        known_ahead = {*self.future, *self.static}
        for target in self.targets:
            if target in COLUMNS[:2]:
                raise ValueError(f"{target} cannot be forecast: it says whose or when a value is")
            if target in known_ahead or targets[target] > 1:
                raise ValueError(
                    f"{target} is declared twice: a target may be a covariate of the past besides, no more"
                )
        for column in columns:
            if column in COLUMNS:
                raise ValueError(f"{column} cannot be a covariate: it is a column of the series; give it another name")
            if declared[column] > 1:
                raise ValueError(f"the covariate {column} is declared twice: name it as static, past or future")
        stray = [column for column in self.categorical if column not in declared]
        if stray:
            raise ValueError(f"{stray[0]} is called categorical and no covariate: declare it static, past or future")
        if ("holiday" in self.calendar) != (self.country is not None):
            raise ValueError("the calendar feature holiday and a country go together: give both")
        return self

    @property
    def values(self) -> tuple[str, ...]:
        """Columns of what is forecast."""
        return self.targets or COLUMNS[2:]

    @property
    def columns(self) -> tuple[str, ...]:
        """Covariates of the data, in the order in which a network has them."""
        return (*self.future, *self.past, *self.static)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of them whose values are known to be names, whatever they look like."""
        return tuple(column for column in self.columns if column in self.categories or column in self.categorical)

    @property
    def size(self) -> int:
        """Numbers known of a step: covariates of the data, calendar features, and which of several targets it is of."""
        return len(self.columns) + len(self.calendar) + (len(self.targets) > 1)


class ModelSettings(Settings):
    """A forecaster: the transform all members share, and its member networks."""

    freq: str
    """One step of `ds`, as pandas writes it."""

    season: int = Field(ge=1)
    """Dominant season in steps; the seasonal naive method and MASE use it."""

    transform: Transform = "identity"
    """`log` for positive, multiplicative data; a window with a value of zero or less is then left as it is. `asinh`, in
    units of the window's mean size, is like the logarithm for large values of either sign and linear near zero."""

    floor: float | None = None
    """Least value of a forecast: 0 for counts (whole numbers from zero on, some of them zero), otherwise none."""

    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = DEFAULT_QUANTILES
    """Quantiles that the head gives; others are interpolated."""

    rows: RowSettings = RowSettings()
    """How the rows of a table become steps."""

    covariates: CovariateSettings = CovariateSettings()
    """What is forecast, and what a forecast may rest on besides."""

    members: tuple[NetworkSettings, ...] = Field(min_length=1)
    """Networks whose quantiles are averaged."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelSettings:
        if sorted(set(self.quantiles)) != list(self.quantiles) or 0.5 not in self.quantiles[1:-1]:
            raise ValueError("quantiles must increase, with 0.5 and at least one on each side of it")
        if len({member.horizon for member in self.members}) != 1:
            raise ValueError("all members must have the same horizon")
        if self.transform != "identity" and any(member.logarithm for member in self.members):
            raise ValueError(f"logarithm needs transform identity: the transform is {self.transform}")
        if self.transform != "identity" and any(member.head == "negative_binomial" for member in self.members):
            raise ValueError("head negative_binomial needs transform identity: transformed counts are no counts")
        return self

    @property
    def horizon(self) -> int:
        return self.members[0].horizon

    @property
    def context(self) -> int:
        """Last steps of a history that any member sees."""
        return max(member.context for member in self.members)

    @property
    def counts(self) -> bool:
        """Whether the forecasts are distributions of counts."""
        return all(member.head == "negative_binomial" for member in self.members)

    @property
    def common_context(self) -> int:
        """Last steps that every member sees: one that sees no value would forecast nothing but zero."""
        return min(member.context for member in self.members)
