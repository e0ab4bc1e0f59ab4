"""One training run from data to a registered model.

read → profile and choose → fit without the last steps → backtest against baselines and champion → fit on all →
calibrate → save and check → log, register, promote.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from forecaster.artifact import load_artifact, save_artifact
from forecaster.backtest import BacktestWindows, has_seen, held_out_steps
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.network import ForecastNetwork
from forecaster.panel import Panel
from forecaster.predictor import ModelInfo, Predictor
from forecaster.reading import read_panel
from forecaster.settings import ModelSettings
from forecaster.store.registry import Reference, download, resolve
from forecaster.store.settings import StoreSettings
from training import champion, publishing
from training.choose import choose_settings, override
from training.evaluation import Evaluation, evaluate_training, training_backtest
from training.fit import FitResult, Observer, Progress, fit, training_device
from training.preparation import build_loss, build_network, member_weights, training_windows
from training.profile import Profile, profile_panel
from training.request import Reporter, Silent, TrainRequest, TrainResult
from training.settings import TrainingSettings
from training.tracking import Run, tracked_run

Guard = Callable[[], None]
_WARM_RATE = 0.25  # of the learning rate: a warm start refines, it does not begin anew
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Start:
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


def train(
    request: TrainRequest,
    settings: StoreSettings,
    reporter: Reporter | None = None,
    guard: Guard = lambda: None,
) -> TrainResult:
    """Run a training. `guard` is called before anything is published and raises when the job is not ours any more.

    Raises InputError and TrainingError; the champion is then what it was.
    """
    reporter = reporter or Silent()
    began = time.perf_counter()
    reporter.stage("reading the data")
    pa.set_memory_pool(pa.system_memory_pool())  # the default pool keeps what reading took for itself
    panel = read_panel(request.data, request.freq)
    panel.require_observations()
    for note in panel.notes:
        reporter.note(note)
    profile = profile_panel(panel)
    plan = _plan(request, panel, profile, _Start())  # what is wrong with the settings is told before a run begins
    with tracked_run(request, settings) as run, _workspace(request) as work:
        start = _warm_start(run, request, work)
        plan = _plan(request, panel, profile, start) if request.warm_start else plan
        reporter.plan(len(plan.model.members))
        digest = publishing.panel_digest(panel)
        run.params({**plan.model_dump(mode="json"), "warm_start": request.warm_start, "promote": request.promote})
        publishing.log_dataset(request, digest)
        made = _make(request, panel, profile, digest, plan, start, work, run, reporter)
        guard()
        reporter.stage("publishing")
        version, verdict = _publish(run, request, panel, profile, plan, made)
        return TrainResult(
            run_id=run.run_id,
            model=request.name,
            version=version,
            promoted=verdict.promoted,
            reason=verdict.reason,
            seconds=round(time.perf_counter() - began, 2),
            windows_per_second=round(made.fitted.windows_per_second, 1),
            metrics=made.evaluation.metrics,
            baselines=made.evaluation.baselines,
            champion=verdict.champion,
            warnings=list(panel.notes),
            preset=plan.preset,
            settings=plan.model_dump(mode="json"),
        )


@dataclass(frozen=True)
class _Made:
    directory: Path
    evaluation: Evaluation
    fitted: FitResult


def _plan(request: TrainRequest, panel: Panel, profile: Profile, start: _Start) -> TrainingSettings:
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


def _warm_start(run: Run, request: TrainRequest, work: Path) -> _Start:
    if request.warm_start is None:
        return _Start()
    version = resolve(run.client, Reference.parse(request.warm_start))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        directory = download(version, Path(folder))
        final = load_artifact(directory)
        held_out = load_artifact(directory, backtest=True)
    return _Start(held_out.network.state_dict(), final.network.state_dict(), final.info)


def _make(
    request: TrainRequest,
    panel: Panel,
    profile: Profile,
    digest: str,
    plan: TrainingSettings,
    start: _Start,
    work: Path,
    run: Run,
    reporter: Reporter,
) -> _Made:
    """Both fits, the backtest between them, and the checked model directory."""
    held_out = held_out_steps(plan.backtest.windows, plan.backtest.step, plan.model.horizon)
    windows = training_backtest(panel, plan)  # fails here, before the fit, when the series are too short
    data = {**profile.model_dump(), "digest": digest, "last_ordinal": int(panel.ends.max()), "held_out": held_out}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    info = ModelInfo(name=request.name, settings=plan.model, created_at=now, data=data)

    judged, _ = _fit(panel, plan, held_out, start.unseen(windows), "backtest fit", work, run, reporter)
    reporter.stage("backtest")
    evaluation = evaluate_training(Predictor(judged, info), windows, plan)
    publishing.log_evaluation(run, evaluation)
    final, fitted = _fit(panel, plan, 0, start.final, "final fit", work, run, reporter)
    for network in (judged, final):
        network.calibration.copy_(evaluation.calibration)
    reporter.stage("saving")
    directory = Path(tempfile.mkdtemp(dir=work)) / "model"
    save_artifact(directory, Predictor(final, info), judged.state_dict())
    load_artifact(directory)  # what cannot be loaded is never published
    return _Made(directory, evaluation, fitted)


def _fit(
    panel: Panel,
    plan: TrainingSettings,
    held_out: int,
    weights: Mapping[str, Tensor] | None,
    stage: str,
    work: Path,
    run: Run,
    reporter: Reporter,
) -> tuple[ForecastNetwork, FitResult]:
    """Fit each member by itself, so that their errors differ, and put them together."""
    windows = training_windows(panel, plan, held_out, training_device())
    whole = ForecastNetwork(plan.model)
    results = []
    for number, member in enumerate(plan.model.members):
        alone = plan.model_copy(
            update={
                "model": plan.model.model_copy(update={"members": (member,)}),
                "fit": plan.fit.model_copy(update={"seed": plan.fit.seed + number}),
            }
        )
        name = stage if len(plan.model.members) == 1 else f"{stage} {number + 1}"
        reporter.stage(name)
        network = build_network(alone, windows, member_weights(weights, number))
        observer = _observer(name, run, reporter)
        checkpoint = work / name.replace(" ", "_")
        loss = build_loss(alone, windows)
        results.append(fit(network, windows, loss, alone.fit, observer=observer, checkpoint=checkpoint))
        whole.members[number] = network.members[0].to("cpu")
    seconds = sum(result.seconds for result in results)
    speed = sum(result.windows_per_second * result.seconds for result in results) / seconds
    return whole.eval(), FitResult(results[-1].loss, seconds, speed)


def _observer(stage: str, run: Run, reporter: Reporter) -> Observer:
    def observe(progress: Progress) -> None:
        reporter.progress(stage, progress)
        run.epoch(stage.replace(" ", "_"), progress)

    return observe


def _publish(
    run: Run, request: TrainRequest, panel: Panel, profile: Profile, plan: TrainingSettings, made: _Made
) -> tuple[int, champion.Verdict]:
    publishing.log_artifacts(run, plan, profile, made.evaluation)
    run.metrics({"windows_per_second": made.fitted.windows_per_second, "fit_seconds": made.fitted.seconds})
    evaluation = made.evaluation
    score = evaluation.scores.metrics[champion.MEASURE]
    verdict = champion.judge(run.client, request.name, run.run_id, score, evaluation.windows, request.promote)
    version = publishing.register(run, request, made.directory, panel)
    champion.settle(run.client, request.name, version, verdict)
    run.tag("forecaster.verdict", verdict.reason)
    return version, verdict


@contextmanager
def _workspace(request: TrainRequest) -> Iterator[Path]:
    """Where checkpoints lie: the job's own directory, which outlives a crash, or a temporary one."""
    if request.work is not None:
        work = request.work / "work"
        work.mkdir(parents=True, exist_ok=True)
        yield work
        shutil.rmtree(work)  # published: nothing here is needed again
        return
    with tempfile.TemporaryDirectory(prefix="forecaster-") as folder:
        yield Path(folder)


def quiet_libraries() -> None:
    """Keep the chatter of libraries out of a person's terminal; warnings of ours are logged."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("pytorch_lightning", "lightning.pytorch", "mlflow", "alembic", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
