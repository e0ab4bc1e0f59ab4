"""What a training job is asked to do."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from forecaster.errors import InputError
from forecaster.frequency import LARGEST_SEASON, Frequency
from forecaster.settings import Aggregation, CovariateSettings, RowSettings

# Names become folders and parts of URLs: no separator, no leading dot.
_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_DIGEST = "[0-9a-f]{4,64}"

NAME = re.compile(_NAME)
DATASET_REFERENCE = re.compile(f"({_NAME})(?:@({_DIGEST}))?")


def _known(freq: str) -> str:
    try:
        Frequency.parse(freq)
    except InputError as error:
        raise ValueError(str(error)) from error
    return freq


Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
DatasetReference = Annotated[str, StringConstraints(pattern=f"^{_NAME}(@{_DIGEST})?$")]
ModelReference = Annotated[str, StringConstraints(pattern=f"^{_NAME}(@{_NAME}|/[0-9]{{1,9}})?$")]
SettingName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", max_length=128)]
Freq = Annotated[str, StringConstraints(max_length=32), AfterValidator(_known)]


def _storable(text: str) -> str:
    """Databases keep neither half a surrogate pair nor NUL."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the text is not valid Unicode") from error
    if "\0" in text:
        raise ValueError("the text holds a NUL character")
    return text


Text = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_storable)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_storable)]
Columns = Annotated[tuple[Column, ...], FailFast(), Field(max_length=1000)]
Scalar = bool | int | float | Text | None


class JobSpec(BaseModel):
    """A training job as it is submitted; the same through the API, the command line and a schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Name
    """The registered model to train."""

    dataset: DatasetReference
    """`name` (its newest version) or `name@digest`."""

    freq: Freq | None = None
    """What one step of `ds` is, as pandas writes it; read off the timestamps if left out."""

    horizon: int = Field(ge=1, le=10_000, strict=True)
    """Steps to forecast."""

    season: int | None = Field(default=None, ge=1, le=LARGEST_SEASON, strict=True)
    """Steps in the dominant season; what `freq` implies if left out."""

    duplicates: Literal["error", "sum", "mean", "last"] = "error"
    """What several rows with one timestamp give."""

    resample: Aggregation | None = None
    """What the rows within one step give, whatever their timestamps; for data finer than `freq`, and irregular data."""

    targets: Columns = ()
    """Columns to forecast in place of `y`."""

    static: Columns = ()
    """Covariates with one value for each series."""

    past: Columns = ()
    """Covariates known up to the present only."""

    future: Columns = ()
    """Covariates known beforehand: a forecast needs them for each step of its horizon."""

    categorical: Columns = ()
    """Covariates whose numbers are names; those of text are anyway."""

    calendar: bool = False
    """Whether parts of the timestamp count too, such as hour and weekday, as `freq` has them."""

    holidays: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,6})?$")] | None = None
    """Whose public holidays count too: a country (`US`) or a part of one (`DE-BY`)."""

    preset: Literal["fast", "balanced", "best"] = "balanced"
    """How much time to spend."""

    settings: dict[SettingName, Scalar | list[Scalar]] = {}
    """Single settings that differ from the preset, by dotted name."""

    warm_start: ModelReference | None = None
    """A model whose weights to begin with: `name`, `name@alias` or `name/version`."""

    promote: Literal["if-better", "always", "never"] = "if-better"
    """When the new version becomes the champion."""

    seed: int = Field(default=1, ge=0, lt=2**32)

    started_by: Literal["cli", "api", "schedule"] = "api"

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        try:
            _ = self.rows, self.covariates
        except ValidationError as error:
            raise ValueError(error.errors()[0]["ctx"]["error"]) from error
        return self

    @property
    def rows(self) -> RowSettings:
        """How the rows of the data become steps."""
        return RowSettings(duplicates=self.duplicates, resample=self.resample)

    @property
    def covariates(self) -> CovariateSettings:
        """What is forecast, and what a forecast may rest on besides."""
        return CovariateSettings(
            targets=self.targets,
            static=self.static,
            past=self.past,
            future=self.future,
            categorical=self.categorical,
            country=self.holidays,
            calendar=("holiday",) if self.holidays else (),
        )
