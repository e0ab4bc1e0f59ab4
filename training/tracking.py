"""A training run in MLflow: parameters, metrics, artifacts, and the data set it used."""

from __future__ import annotations

import itertools
import logging
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource  # noqa: F401  (registers its source type)
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from sqlalchemy.exc import SQLAlchemyError

from forecaster.errors import ForecasterError, TrainingError, Unavailable, first_line
from forecaster.store.mlflow_client import tracking_client
from forecaster.store.settings import StoreSettings
from training.progress import Progress
from training.request import TrainRequest

T = TypeVar("T")

JOB_TAG = "forecaster.job_id"
_PARAM_LENGTH, _NOTE_LENGTH, _KEY_LENGTH = 6000, 8000, 250
_UNFIT = re.compile(r"[^\w\-. :]")  # for a part of the name of a metric or parameter
_OF_MLFLOW = (MlflowException, SQLAlchemyError)  # the latter where the address is that of a database
logger = logging.getLogger(__name__)


class Run:
    """One MLflow run; every call goes out at once."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def params(self, settings: Mapping[str, Any]) -> None:
        """Those of an earlier attempt at the same job stay as they are: MLflow changes none."""
        known = self.client.get_run(self.run_id).data.params
        told = {name: str(value)[:_PARAM_LENGTH] for name, value in fit_names(flatten(settings)).items()}
        if other := [name for name, value in told.items() if known.get(name, value) != value]:
            names = ", ".join(other[:5])
            logger.warning("the attempt before this one had other settings (%s); settings.yaml has those of now", names)
        self.client.log_batch(
            self.run_id, params=[Param(name, text) for name, text in told.items() if name not in known]
        )

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        known = [Metric(name, float(value), now, step) for name, value in values.items() if math.isfinite(value)]
        if known:
            self.client.log_batch(self.run_id, metrics=known)

    def epoch(self, stage: str, progress: Progress) -> None:
        self.metrics(
            {
                f"{stage}/loss": progress.loss,
                f"{stage}/learning_rate": progress.learning_rate,
                f"{stage}/windows_per_second": progress.windows_per_second,
            },
            progress.epoch,
        )

    def curve(self, name: str, values: Any) -> None:
        """A metric by step of the horizon."""
        now = int(time.time() * 1000)
        points = [Metric(name, float(v), now, step) for step, v in enumerate(values, 1) if math.isfinite(v)]
        self.client.log_batch(self.run_id, metrics=points)

    def artifacts(self, directory: Path) -> None:
        self.client.log_artifacts(self.run_id, str(directory))

    def tag(self, name: str, value: str) -> None:
        self.client.set_tag(self.run_id, name, value)

    def describe(self, markdown: str) -> None:
        """What the run's page says first; text too long for a tag is cut."""
        self.tag(MLFLOW_RUN_NOTE, markdown[:_NOTE_LENGTH])

    @contextmanager
    def nested(self) -> Iterator[NestedRuns]:
        """Runs below this one; those that have not ended with the block end as FAILED."""
        runs = NestedRuns(self)
        try:
            yield runs
        finally:
            runs.give_up()


class NestedRuns:
    """Runs below another one. None of them is the active one, so many may be open at once."""

    def __init__(self, parent: Run) -> None:
        self._parent = parent
        self._open: set[str] = set()

    def begin(self, name: str) -> Run:
        client, tags = self._parent.client, {MLFLOW_PARENT_RUN_ID: self._parent.run_id}
        experiment = client.get_run(self._parent.run_id).info.experiment_id
        run = Run(client, client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        self._open.add(run.run_id)
        return run

    def end(self, run: Run) -> None:
        self._parent.client.set_terminated(run.run_id, "FINISHED")
        self._open.discard(run.run_id)

    def give_up(self) -> None:
        """End what is open as FAILED."""
        for run_id in self._open:
            self._parent.client.set_terminated(run_id, "FAILED")


@contextmanager
def tracked_run(request: TrainRequest, settings: StoreSettings, kind: str | None = None) -> Iterator[Run]:
    """The run of a request: a new one, or that of the same job's earlier attempt. Ends as FINISHED or FAILED.

    kind: ends the name of the run, instead of the preset
    """
    try:
        client = tracking_client(settings, retries=2, timeout=20)
        experiment = _experiment(client, request.name, settings)
        run_id = _earlier_attempt(client, experiment, request.job_id)
        name = f"{request.name} {time.strftime('%Y-%m-%d %H:%M:%S')} {kind or request.preset}"
        active = mlflow.start_run(
            run_id=run_id,
            experiment_id=experiment,
            run_name=None if run_id else name,
            tags=_tags(request),
            log_system_metrics=True,
        )
    except _OF_MLFLOW as error:
        raise _failure(error, f"the MLflow server at {settings.tracking_place} does not answer") from error
    try:
        with active:
            yield Run(client, active.info.run_id)
    except _OF_MLFLOW as error:
        raise _failure(error, "the MLflow server failed during the run") from error


def _failure(error: Exception, away: str) -> ForecasterError:
    """A server that is away may come back, and a job waits for it; what it refuses it will refuse again."""
    if isinstance(error, MlflowException) and error.get_http_status_code() < 500:
        return TrainingError(f"the MLflow server refuses: {first_line(error)}")
    return Unavailable(f"{away}: {first_line(error)}")


def _experiment(client: MlflowClient, name: str, settings: StoreSettings) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    embedded = settings.tracking_uri.startswith("sqlite:")
    location = (settings.artifacts_dir / name).as_uri() if embedded else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another run may have made it in the meantime
        if found is None:
            raise
        return str(found.experiment_id)


def _earlier_attempt(client: MlflowClient, experiment: str, job_id: str | None) -> str | None:
    if job_id is None:
        return None
    runs = client.search_runs([experiment], f"tags.`{JOB_TAG}` = '{job_id}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def end_lost_run(settings: StoreSettings, model: str, job_id: str) -> None:
    """End the run of a job as FAILED if it is still called running. Raises Unavailable, TrainingError."""
    try:
        client = tracking_client(settings, retries=2, timeout=20)
        experiment = client.get_experiment_by_name(model)
        run_id = _earlier_attempt(client, experiment.experiment_id, job_id) if experiment else None
        if run_id and client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "FAILED")
    except _OF_MLFLOW as error:
        raise _failure(error, f"the MLflow server at {settings.tracking_place} does not answer") from error


def _tags(request: TrainRequest) -> dict[str, str]:
    tags = {
        "forecaster.version": version("forecaster"),
        "forecaster.started_by": request.started_by,
        "forecaster.preset": request.preset,
    }
    if request.job_id:
        tags[JOB_TAG] = request.job_id
    commit = _git_commit()
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def _git_commit() -> str | None:
    """That of this code; None where it is installed, be it within someone else's repository."""
    return _git("rev-parse", "HEAD") if _git("ls-files", Path(__file__).name) else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git here: the package's version says enough
    return done.stdout.strip() or None


def fit_names(values: Mapping[str, T], longest: int = _KEY_LENGTH) -> dict[str, T]:
    """By names that MLflow takes, of metrics and parameters; those that it would take for the same are numbered.

    A column may be called `load (MW)`, and another one `load [MW]`.
    """
    found: dict[str, T] = {}
    for name, value in values.items():
        plain = _UNFIT.sub("_", name)[:longest]
        key = plain
        for number in itertools.count(2):
            if key not in found:
                break
            key = f"{plain[: longest - 6]} {number}"
        found[key] = value
    return found


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names; members are numbered."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            flat |= flatten({str(i): item for i, item in enumerate(value)}, f"{name}.")
        else:
            flat[name] = value
    return flat
