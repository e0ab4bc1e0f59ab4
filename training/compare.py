"""Cells compared on the same data, with the same settings and seeds: a fit that holds out the end, and its backtest.

Nothing is registered. The record is one MLflow run, with a nested run for each cell and seed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from forecaster.backtest import BacktestWindows, held_out_steps
from forecaster.predictor import ModelInfo, Predictor
from forecaster.store.settings import StoreSettings
from training import publishing
from training.choose import override
from training.comparison import Comparison, Trial, conclude, summarise
from training.evaluation import score_baselines, score_training, training_backtest
from training.members import Fitter, ModelFit, processes_for, with_fit
from training.planning import Prepared
from training.plots import draw_comparison
from training.progress import Progress
from training.quiet import quiet_libraries
from training.request import Reporter, TrainRequest
from training.settings import TrainingSettings
from training.templating import render
from training.tracking import Run, flatten, tracked_run


def run_comparison(
    prepared: Prepared, cells: Sequence[str], seeds: int, settings: StoreSettings, reporter: Reporter
) -> Comparison:
    """Fit and score each cell with each of `seeds` seeds. Raises InputError and TrainingError."""
    request, panel, plan = prepared.request, prepared.panel, prepared.plan
    if plan.fit.shorter or plan.fit.corrections:
        plan = with_fit(plan, {"shorter": (), "corrections": ()})
        reporter.say(f"all cells are fitted for {plan.fit.steps:,} steps, and all of it is kept: `train` tries less")
    reporter.say(f"cells in their place: {', '.join(cells)}; seeds: {seeds}")
    quiet_libraries()
    windows = training_backtest(panel, plan)  # fails here, before a fit, when the series are too short
    with (
        tracked_run(request, settings, f"comparison of {', '.join(cells)}") as run,
        tempfile.TemporaryDirectory(prefix="forecaster-") as work,
    ):
        _log_question(run, request, plan, cells, seeds)
        publishing.log_dataset(request, publishing.panel_digest(panel), panel.covariates)
        with run.nested() as nested:
            entries = [
                _Entry(cell, model, nested.begin(f"{cell}, seed {model.plan.fit.seed}"))
                for cell, model in _models(plan, cells, seeds)
            ]
            fitter = _fitter(entries, windows, Path(work), reporter)
            fitter.fit_ahead([entry.model for entry in entries])
            trials = []
            for entry in entries:
                trials.append(_try(entry, fitter, windows))
                nested.end(entry.run)
        reporter.stage("backtest of the baselines")
        baselines = score_baselines(windows, plan)
        comparison = _comparison(run, request, windows, trials, baselines, fitter.processes)
        _log_answer(run, comparison)
        return comparison


@dataclass(frozen=True)
class _Entry:
    """A cell with one seed, and the run that keeps what comes of it."""

    cell: str
    model: ModelFit
    run: Run


def _models(plan: TrainingSettings, cells: Sequence[str], seeds: int) -> Iterator[tuple[str, ModelFit]]:
    """All fits, seed by seed, so that a machine that slows down does so for all cells.

    Each member of an ensemble has a seed of its own, so the next seed begins behind them.
    """
    members = len(plan.model.members)
    held_out = held_out_steps(plan.backtest.windows, plan.backtest.step, plan.model.horizon)
    for seed in range(plan.fit.seed, plan.fit.seed + seeds * members, members):
        for cell in cells:
            changed = override(plan, {"network.cell": cell, "fit.seed": seed})
            yield cell, ModelFit(f"{cell} fit {seed}", changed, held_out)


def _fitter(entries: Sequence[_Entry], windows: BacktestWindows, work: Path, reporter: Reporter) -> Fitter:
    """One that tells each fit's progress to its own run too."""
    curves = {
        member.name: (entry.run, f"fit_{number}" if len(entry.model.members) > 1 else "fit")
        for entry in entries
        for number, member in enumerate(entry.model.members, 1)
    }

    def tell(fit: str, progress: Progress) -> None:
        reporter.progress(fit, progress)
        run, curve = curves[fit]
        run.epoch(curve, progress)

    processes = processes_for([entry.model for entry in entries], windows.panel)
    reporter.plan(len(curves), processes)
    return Fitter(windows.panel, work, reporter, tell, processes)


def _try(entry: _Entry, fitter: Fitter, windows: BacktestWindows) -> Trial:
    plan = entry.model.plan
    entry.run.params(plan.model_dump(mode="json"))
    network, fitted = fitter.fit(entry.model)
    _, scores = score_training(Predictor(network, ModelInfo(name=entry.cell, settings=plan.model)), windows)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    entry.run.metrics(
        {
            **{f"backtest/{name}": value for name, value in scores.metrics.items()},
            "parameters": parameters,
            "fit_seconds": fitted.seconds,
            "windows_per_second": fitted.windows_per_second,
        }
    )
    return Trial(
        cell=entry.cell,
        seed=plan.fit.seed,
        run_id=entry.run.run_id,
        parameters=parameters,
        metrics=scores.metrics,
        seconds=fitted.seconds,
        windows_per_second=fitted.windows_per_second,
    )


def _comparison(
    run: Run,
    request: TrainRequest,
    windows: BacktestWindows,
    trials: list[Trial],
    baselines: dict[str, dict[str, float]],
    processes: int,
) -> Comparison:
    cells, seeds = summarise(trials), list(dict.fromkeys(trial.seed for trial in trials))
    return Comparison(
        run_id=run.run_id,
        model=request.name,
        freq=windows.panel.freq.name,
        horizon=request.horizon,
        preset=request.preset,
        seeds=seeds,
        windows=len(windows.series),
        processes=processes,
        cells=cells,
        baselines=baselines,
        verdict=conclude(cells, len(seeds)),
        trials=trials,
        warnings=list(windows.panel.notes),
    )


def _log_question(run: Run, request: TrainRequest, plan: TrainingSettings, cells: Sequence[str], seeds: int) -> None:
    common = flatten(plan.model_dump(mode="json"))
    shared = {name: value for name, value in common.items() if not name.endswith((".cell", ".seed"))}
    run.params({**shared, "cells": ",".join(cells), "seeds": seeds, "data": request.data_name or str(request.data)})


def _log_answer(run: Run, comparison: Comparison) -> None:
    """The table as CSV, everything as JSON, the plot, and the measures of the baselines."""
    for name, measures in comparison.baselines.items():
        run.metrics({f"backtest/{name}/{measure}": value for measure, value in measures.items()})
    run.tag("forecaster.verdict", comparison.verdict)
    run.describe(render("comparison.md", found=comparison))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "plots").mkdir()
        draw_comparison(comparison.cells, directory / "plots" / "accuracy_against_time.png")
        pyarrow.csv.write_csv(pa.Table.from_pylist(_rows(comparison)), directory / "comparison.csv")
        (directory / "comparison.json").write_text(json.dumps(comparison.model_dump(mode="json"), indent=1))
        run.artifacts(directory)


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each cell."""
    return [{**cell.model_dump(exclude={"metrics"}), **cell.metrics} for cell in comparison.cells]
