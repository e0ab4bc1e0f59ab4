"""One training run from data to a registered model.

read → profile and choose → fit without the last steps → backtest against baselines and champion → fit on all →
calibrate → save and check → log, register, promote.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from forecaster.artifact import load_artifact, save_artifact
from forecaster.backtest import held_out_steps
from forecaster.panel import Panel
from forecaster.predictor import ModelInfo, Predictor
from forecaster.promise import promise_broken
from forecaster.schema import VERSION
from forecaster.store.settings import StoreSettings
from training import champion, publishing
from training.evaluation import Evaluation, evaluate_training, training_backtest
from training.fit import CHECKPOINTS, FitResult
from training.lengths import keep_best, trials_of
from training.members import Fitter, members_of, processes_for
from training.memory import give_back
from training.planning import Prepared, plan_training
from training.profile import Profile
from training.progress import Progress
from training.quiet import quiet_libraries
from training.report import report
from training.request import Reporter, TrainRequest, TrainResult
from training.settings import TrainingSettings
from training.starting import Start, warm_start
from training.summary import describe_data, describe_settings
from training.templating import render
from training.tracking import Run, tracked_run

Guard = Callable[[], None]
_PLAN = "plan.txt"


def run_training(
    prepared: Prepared, settings: StoreSettings, reporter: Reporter, guard: Guard, began: float
) -> TrainResult:
    """Fit, evaluate, publish. `guard` is called before that and raises when the job is not ours any more.

    began: the performance counter's reading when the request came. Raises InputError and TrainingError; the champion is
    then what it was.
    """
    request, panel, profile, plan = prepared.request, prepared.panel, prepared.profile, prepared.plan
    quiet_libraries()
    with tracked_run(request, settings) as run, _workspace(request) as work:
        start = Start()
        if request.warm_start is not None:
            start = warm_start(run.client, request, work)
            plan = plan_training(request, panel, profile, start.model)
            reporter.say(describe_settings(plan))
        task = _Task(request, panel, profile, plan, start, work, run, reporter)
        made = _make(task)
        for doubt in made.doubts:
            reporter.note(doubt)
        guard()
        reporter.stage("publishing")
        told = report(panel, profile, plan)  # not before the fits: plotting takes memory that they want
        publishing.log_profile(run, told, panel, request)
        give_back()
        version, verdict = _publish(task, made)
        result = TrainResult(
            run_id=run.run_id,
            model=request.name,
            version=version,
            promoted=verdict.promoted,
            reason=verdict.reason,
            seconds=round(time.perf_counter() - began, 2),
            windows_per_second=round(made.fitted.windows_per_second, 1),
            metrics=made.evaluation.metrics,
            baselines=made.evaluation.baselines,
            targets=made.evaluation.targets,
            champion=verdict.champion,
            warnings=[*panel.notes, *made.doubts],
            findings=told.findings,
            preset=plan.preset,
            settings=made.plan.model_dump(mode="json"),
        )
        data = describe_data(profile, panel.freq)
        run.describe(render("run.md", result=result, data=data, settings=describe_settings(made.plan)))
        return result


@dataclass(frozen=True)
class _Made:
    directory: Path
    plan: TrainingSettings
    evaluation: Evaluation
    fitted: FitResult

    @property
    def doubts(self) -> list[str]:
        broken = promise_broken(self.evaluation.coverage)
        return [] if broken is None else [broken]


@dataclass(frozen=True)
class _Task:
    """All that the steps of one run share."""

    request: TrainRequest
    panel: Panel
    profile: Profile
    plan: TrainingSettings
    start: Start
    work: Path
    run: Run
    reporter: Reporter

    def tell(self, fit: str, progress: Progress) -> None:
        """An epoch of a fit, for those who watch and for the record."""
        self.reporter.progress(fit, progress)
        self.run.epoch(fit.replace(" ", "_"), progress)


def _make(task: _Task) -> _Made:
    """The fits, the backtest between them, and the checked model directory."""
    windows = training_backtest(task.panel, task.plan)  # fails here, before a fit, when the series are too short
    _keep_plan(task)
    plan = task.plan.backtest
    held_out = held_out_steps(plan.windows, plan.step, task.plan.model.horizon)
    info = _begin(task, held_out)
    trials = trials_of(task.plan, held_out, windows, task.start)
    processes = processes_for(trials.fits, task.panel)
    fitter = Fitter(task.panel, task.work, task.reporter, task.tell, processes)
    ahead = trials.fits_ahead(processes)
    task.reporter.plan(len(members_of(trials.fits)), processes)
    fitter.fit_ahead(ahead)
    kept = keep_best(trials, fitter, windows)
    # Of the final fits that are not made yet, only those of what is kept will be.
    task.reporter.plan(len(members_of([*ahead, kept.final])), processes)
    task.reporter.stage("backtest")
    info = info.model_copy(update={"settings": kept.plan.model})
    evaluation = evaluate_training(Predictor(kept.judged, info), windows, kept.plan)
    info = info.model_copy(update={"data": {**info.data, "coverage": evaluation.coverage}})
    publishing.log_evaluation(task.run, evaluation)
    give_back()
    final, fitted = kept.finish(fitter)
    for network in (kept.judged, final):
        evaluation.calibrate(network)
    task.reporter.stage("saving")
    directory = Path(tempfile.mkdtemp(dir=task.work)) / "model"
    save_artifact(directory, Predictor(final, info), kept.judged.state_dict())
    load_artifact(directory)  # what cannot be loaded is never published
    give_back()
    return _Made(directory, kept.plan, evaluation, fitted)


def _keep_plan(task: _Task) -> None:
    """Checkpoints are of a plan; where a further attempt at a job has another one, it begins anew.

    So it is with a new release, or when the model to start from is another by now.
    """
    kept, plan = task.work / _PLAN, _told(task)
    begun = any(task.work.iterdir())
    if begun and not (kept.exists() and kept.read_text(encoding="utf-8") == plan):
        task.reporter.say("other settings than in the attempt before: beginning anew")
        shutil.rmtree(task.work)
        task.work.mkdir()
    kept.write_text(plan, encoding="utf-8")


def _told(task: _Task) -> str:
    """All that what is kept of an attempt depends on."""
    began = "" if task.start.info is None else task.start.info.created_at
    return "\n".join(map(str, (version("forecaster"), VERSION, CHECKPOINTS, began, task.plan.model_dump_json())))


def _begin(task: _Task, held_out: int) -> ModelInfo:
    """Log what is known before the first fit; gives what the model will tell of itself."""
    request, plan = task.request, task.plan
    digest = publishing.panel_digest(task.panel)
    asked = {"warm_start": request.warm_start, "promote": request.promote}
    task.run.params({**plan.model_dump(mode="json"), **asked})
    publishing.log_dataset(request, digest, task.panel.covariates)
    last = int(task.panel.ends.max())
    if task.start.info is not None:  # what the model to start from has seen, this one has too
        last = max(last, int(task.start.info.data.get("last_ordinal", last)))
    data = {**task.profile.model_dump(), "digest": digest, "last_ordinal": last, "held_out": held_out}
    data["integer"] = task.panel.integer
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return ModelInfo(name=request.name, settings=plan.model, created_at=now, data=data)


def _publish(task: _Task, made: _Made) -> tuple[int, champion.Verdict]:
    """Pictures and tables, the verdict, and the registered version."""
    run, request, evaluation = task.run, task.request, made.evaluation
    publishing.log_artifacts(run, made.plan, evaluation)
    fitted = {"windows_per_second": made.fitted.windows_per_second, "fit_seconds": made.fitted.seconds}
    run.metrics({**fitted, "fit_steps": made.plan.fit.steps, "fit_correction": made.plan.fit.correction})
    score = evaluation.scores.metrics[champion.MEASURE]
    judge = partial(
        champion.judge, run.client, request.name, run.run_id, score, evaluation.windows, request.promote,
        made.plan.model.quantiles,
    )  # fmt: skip
    verdict = judge()
    version = publishing.register(run, request, made.directory, task.panel, made.plan.model, _told(task))
    while not champion.holds(verdict, run.client, request.name):  # an upload takes its time, and so does judging anew
        verdict = judge()
    champion.settle(run.client, request.name, version, verdict)
    run.tag("forecaster.verdict", verdict.reason)
    return version, verdict


@contextmanager
def _workspace(request: TrainRequest) -> Iterator[Path]:
    """Where checkpoints lie: the job's own folder, which outlives a crash, or a temporary one."""
    if request.work is not None:
        request.work.mkdir(parents=True, exist_ok=True)
        yield request.work
        shutil.rmtree(request.work)  # published: nothing here is needed again
        return
    with tempfile.TemporaryDirectory(prefix="forecaster-") as folder:
        yield Path(folder)
