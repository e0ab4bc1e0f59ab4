"""What a run will do: settings from data and request, and the weights that it begins with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from mlflow import MlflowClient
from torch import Tensor

from forecaster.artifact import load_artifact
from forecaster.backtest import BacktestWindows, has_seen
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.panel import Panel
from forecaster.predictor import ModelInfo
from forecaster.reading import read_panel
from forecaster.settings import ModelSettings
from forecaster.store.registry import Reference, download, resolve
from training.choose import choose_settings, override
from training.profile import Profile, profile_panel
from training.request import Reporter, TrainRequest
from training.settings import TrainingSettings

_WARM_RATE = 0.25  # of the learning rate: a warm start refines, it does not begin anew


@dataclass(frozen=True)
class Start:
    """Weights to begin with, for the fit that holds out the end and for the final fit; None begins afresh."""

    held_out: Mapping[str, Tensor] | None = None
    final: Mapping[str, Tensor] | None = None
    info: ModelInfo | None = None

    @property
    def model(self) -> ModelSettings | None:
        return self.info.settings if self.info else None

    def unseen(self, windows: BacktestWindows) -> Mapping[str, Tensor] | None:
        """The weights for the judged fit, unless they have seen steps that it is judged on."""
        if self.info is None or has_seen(self.info, windows, int(self.info.data.get("held_out", 0))):
            return None
        return self.held_out


def read_data(request: TrainRequest, reporter: Reporter) -> tuple[Panel, Profile]:
    """The request's data, and what it is like. Raises InputError."""
    reporter.stage("reading the data")
    pa.set_memory_pool(pa.system_memory_pool())  # the default pool keeps what reading took for itself
    panel = read_panel(request.data, Frequency.parse(request.freq, request.season))
    panel.require_observations()
    for note in panel.notes:
        reporter.note(note)
    return panel, profile_panel(panel)


def plan_training(request: TrainRequest, panel: Panel, profile: Profile, start: Start) -> TrainingSettings:
    """Settings chosen from the data, with what the request changes. Raises InputError."""
    plan = choose_settings(profile, panel.freq, request.horizon, request.preset, request.seed)
    if start.model is not None:
        if start.model.horizon != request.horizon:
            raise InputError(
                f"{request.warm_start} was trained for {start.model.horizon} steps, not {request.horizon}",
                field="warm_start",
                mend="use the same horizon or start afresh",
            )
        if not Frequency.parse(start.model.freq).same_step(panel.freq):
            raise InputError(
                f"{request.warm_start} was trained at {start.model.freq}, not {panel.freq}",
                field="warm_start",
                mend="start afresh",
            )
        if request.season not in (None, start.model.season):
            raise InputError(
                f"{request.warm_start} was trained for a season of {start.model.season} steps, not {request.season}",
                field="warm_start",
                mend="leave the season out, or start afresh",
            )
        calmer = plan.fit.model_copy(update={"learning_rate": plan.fit.learning_rate * _WARM_RATE})
        plan = plan.model_copy(update={"model": start.model, "fit": calmer})
    changed = override(plan, request.changes)
    if changed.model.horizon != request.horizon or not Frequency.parse(changed.model.freq).same_step(panel.freq):
        raise InputError(
            f"the settings say {changed.model.horizon} steps of {changed.model.freq}, the request {request.horizon} of "
            f"{panel.freq}",
            field="settings",
            mend="leave horizon and freq out of the settings",
        )
    return changed


def warm_start(client: MlflowClient, request: TrainRequest, work: Path) -> Start:
    """The weights that the request wants to begin with. Raises NotFound."""
    if request.warm_start is None:
        return Start()
    version = resolve(client, Reference.parse(request.warm_start))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        directory = download(version, Path(folder))
        final = load_artifact(directory)
        held_out = load_artifact(directory, backtest=True)
    return Start(held_out.network.state_dict(), final.network.state_dict(), final.info)
