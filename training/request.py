"""What a training run is asked for, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from forecaster.settings import CovariateSettings, RowSettings
from training.profile import Finding
from training.progress import Progress
from training.settings import Preset, Promotion


class TrainRequest(BaseModel):
    """One training run. `data` is whatever `read_panel` reads."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    data: Any
    name: str
    freq: str | None = None
    """One step of `ds`; read off the timestamps if None."""
    horizon: int = Field(ge=1, le=10_000)
    season: int | None = None
    """Steps in the dominant season; what `freq` implies if None."""
    rows: RowSettings = RowSettings()
    """How the rows of the data become steps."""
    covariates: CovariateSettings = CovariateSettings()
    """What is forecast, and what a forecast may rest on besides."""
    usual_calendar: bool = False
    """Whether parts of the timestamp count among it, as `freq` has them."""
    preset: Preset = "balanced"
    changes: dict[str, Any] = {}
    warm_start: str | None = None
    promote: Promotion = "if-better"
    seed: int = 1
    started_by: Literal["cli", "api", "schedule"] = "cli"
    data_name: str | None = None
    job_id: str | None = None
    work: Path | None = None
    """A folder for checkpoints, removed at the end: a run begun again there goes on where it was interrupted."""


class TrainResult(BaseModel):
    """What `train --json` prints."""

    run_id: str
    model: str
    version: int
    promoted: bool
    reason: str
    seconds: float
    windows_per_second: float
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    targets: dict[str, dict[str, float]] = {}
    """Metrics of each, where several are forecast."""
    champion: dict[str, float] | None = None
    warnings: list[str] = []
    findings: list[Finding] = []
    preset: str
    settings: dict[str, Any]


class Reporter(Protocol):
    """Who is told how a run goes: a progress bar, or the job's worker."""

    def plan(self, fits: int, at_once: int) -> None:
        """How many fits there will be, and how many of them at once."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, stage: str, progress: Progress) -> None:
        """An epoch of a fit has ended."""

    def say(self, text: str) -> None:
        """What was found or chosen."""

    def note(self, text: str) -> None:
        """Something that the person who started the run should know."""


class Silent:
    """Tells nobody."""

    def plan(self, fits: int, at_once: int) -> None: ...

    def stage(self, name: str) -> None: ...

    def progress(self, stage: str, progress: Progress) -> None: ...

    def say(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...
