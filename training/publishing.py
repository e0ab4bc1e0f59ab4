"""A finished training in MLflow: pictures and tables of the run, and the registered model version."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.csv
import yaml
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.models import Model
from mlflow.types.schema import ColSpec, Schema

from forecaster.panel import Covariates, Panel
from forecaster.settings import CovariateSettings, ModelSettings
from training import flavor
from training.evaluation import Evaluation
from training.plots import draw_calibration, draw_error_by_step, draw_forecasts
from training.quiet import quiet
from training.report import DataReport, page
from training.request import TrainRequest
from training.settings import TrainingSettings
from training.tracking import JOB_TAG, Run, fit_names

_PLAN_TAG = "forecaster.plan"
_TARGET_LENGTH = 200  # of its name, as a part of a metric's


def panel_digest(panel: Panel) -> str:
    """Identifies the data: ids, starts, lengths and values."""
    digest = hashlib.sha256()
    for part in (panel.start, panel.phase, panel.offsets, panel.values):
        digest.update(np.ascontiguousarray(part).view(np.uint8).data)
    digest.update("\n".join(map(str, panel.ids)).encode())
    if panel.covariates is not None:
        digest.update(panel.covariates.settings.model_dump_json().encode())
        for part in (panel.covariates.dynamic, panel.covariates.offsets, panel.covariates.static):
            digest.update(np.ascontiguousarray(part).view(np.uint8).data)
    return digest.hexdigest()[:16]


def log_dataset(request: TrainRequest, digest: str, covariates: Covariates | None) -> None:
    """The data as an MLflow data set of the active run."""
    source = _source(request)
    values = CovariateSettings().values if covariates is None else covariates.settings.values
    columns = [ColSpec("string", "unique_id"), ColSpec("string", "ds"), *(ColSpec("double", name) for name in values)]
    if covariates is not None:
        names = covariates.settings.categories
        columns += [ColSpec("string" if c in names else "double", c) for c in covariates.settings.columns]
    schema = Schema(columns)
    dataset = MetaDataset(LocalArtifactDatasetSource(source), name=_title(request), digest=digest, schema=schema)
    mlflow.log_input(dataset, context="training")


def _source(request: TrainRequest) -> str:
    return str(request.data) if isinstance(request.data, (str, Path)) else "memory"


def _title(request: TrainRequest) -> str:
    """What a person calls the data."""
    return request.data_name or Path(_source(request)).name


def log_evaluation(run: Run, evaluation: Evaluation) -> None:
    """`backtest/<measure>`, the same by baseline and by target, and the error by step of the horizon."""
    values = {f"backtest/{name}": value for name, value in evaluation.metrics.items()}
    for baseline, measures in evaluation.baselines.items():
        values |= {f"backtest/{baseline}/{name}": value for name, value in measures.items()}
    for target, measures in fit_names(evaluation.targets, _TARGET_LENGTH).items():
        values |= {f"backtest/target/{target}/{measure}": value for measure, value in measures.items()}
    run.metrics(values)
    run.curve("backtest/error_by_step", evaluation.scores.by_step)


def log_artifacts(run: Run, settings: TrainingSettings, evaluation: Evaluation) -> None:
    """Plots, the per-series table and the settings."""
    quantiles = settings.model.quantiles
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "plots").mkdir()
        draw_forecasts(evaluation, quantiles, directory / "plots" / "forecasts.png")
        draw_calibration(evaluation, quantiles, directory / "plots" / "calibration.png")
        draw_error_by_step(evaluation.scores.by_step, directory / "plots" / "error_by_step.png")
        pyarrow.csv.write_csv(_per_series(evaluation), directory / "per_series.csv")
        (directory / "settings.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
        run.artifacts(directory)


def log_profile(run: Run, told: DataReport, panel: Panel, request: TrainRequest) -> None:
    """What is in the data, as a page and as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "profile.html").write_text(page(told, panel, _title(request)), encoding="utf-8")
        (directory / "profile.json").write_text(told.model_dump_json(indent=1))
        run.artifacts(directory)


def _per_series(evaluation: Evaluation) -> pa.Table:
    """One row per series: the mean of each measure over its origins."""
    windows = evaluation.windows
    series, row = np.unique(windows.series, return_inverse=True)
    columns: dict[str, pa.Array] = {"unique_id": pa.array([str(name) for name in windows.panel.ids[series]])}
    if windows.panel.targets is not None:
        columns["target"] = pa.array([str(name) for name in windows.panel.targets[series]])
    columns["windows"] = pa.array(np.bincount(row))
    for name, scores in evaluation.scores.by_window.items():
        known = np.isfinite(scores)
        total = np.bincount(row[known], scores[known], len(series))
        count = np.bincount(row[known], minlength=len(series))
        columns[name] = pa.array(np.divide(total, count, out=np.full(len(series), np.nan), where=count > 0))
    return pa.table(columns)


def register(run: Run, request: TrainRequest, directory: Path, panel: Panel, model: ModelSettings, plan: str) -> int:
    """Log the model directory to the run and register it; once for each run, however often a job is attempted, unless
    an earlier attempt had another plan: its version is another model."""
    own = hashlib.sha256(plan.encode()).hexdigest()[:16]
    found = run.client.search_model_versions(f"name = '{request.name}' and run_id = '{run.run_id}'")
    # Without the tag: the attempt ended before it could write it.
    if same := [int(one.version) for one in found if one.tags.get(_PLAN_TAG, own) == own]:
        return max(same)
    with quiet("forecaster.pyfunc"):  # what a forecast of the made-up example warns of is nobody's
        info = _log_model(run, request, directory, panel, model)
    version = int(info.registered_model_version)
    run.client.set_model_version_tag(request.name, str(version), _PLAN_TAG, own)
    if request.job_id:
        run.client.set_model_version_tag(request.name, str(version), JOB_TAG, request.job_id)
    return version


def _log_model(run: Run, request: TrainRequest, directory: Path, panel: Panel, model: ModelSettings) -> Any:
    return Model.log(
        artifact_path=None,
        name="model",
        flavor=flavor,
        run_id=run.run_id,
        registered_model_name=request.name,
        directory=directory,
        signature=flavor.signature_of(model.covariates),
        input_example=flavor.made_up_example(panel, model),
    )
