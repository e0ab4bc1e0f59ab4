"""How long to fit: beside the full fit some shorter ones, and the held-out end says which is kept.

A small panel is learnt by heart in a long fit, or not yet learnt in a short one; which of them, its size does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from forecaster.backtest import BacktestWindows
from forecaster.errors import ArtifactError
from forecaster.network import ForecastNetwork
from forecaster.predictor import ModelInfo, Predictor
from training.champion import MEASURE
from training.evaluation import score_training
from training.members import Fitter, ModelFit
from training.settings import TrainingSettings
from training.starting import Start

_ABOUT = 0.01  # worse than the best, and still as good: what was learnt by heart looks a little better than it is


@dataclass(frozen=True)
class Candidate:
    """A model's two fits: without the held-out end, to be judged, and on all data."""

    plan: TrainingSettings
    judged: ModelFit
    final: ModelFit


def candidates(plan: TrainingSettings, held_out: int, windows: BacktestWindows, start: Start) -> list[Candidate]:
    """One for each length, the shortest first."""
    shorter = sorted({max(1, round(plan.fit.steps * share)) for share in plan.fit.shorter} - {plan.fit.steps})
    tried = [_candidate(_of_length(plan, steps), f"{steps}-step ", held_out, windows, start) for steps in shorter]
    return [*tried, _candidate(_of_length(plan, plan.fit.steps), "", held_out, windows, start)]


def fits_ahead(tried: Sequence[Candidate]) -> list[ModelFit]:
    """What is fitted side by side before a length is chosen, the longest first.

    All of it but the final fit of the full length, which takes as long as the shorter ones together.
    """
    *shorter, full = tried
    if not shorter:
        return [full.judged, full.final]
    return [full.judged, *(fit for candidate in reversed(shorter) for fit in (candidate.judged, candidate.final))]


def _of_length(plan: TrainingSettings, steps: int) -> TrainingSettings:
    return plan.model_copy(update={"fit": plan.fit.model_copy(update={"steps": steps, "shorter": ()})})


def _candidate(plan: TrainingSettings, name: str, held_out: int, windows: BacktestWindows, start: Start) -> Candidate:
    return Candidate(
        plan,
        ModelFit(f"{name}backtest fit", plan, held_out, start.unseen(windows)),
        ModelFit(f"{name}final fit", plan, 0, start.final),
    )


def fit_best(
    tried: Sequence[Candidate], fitter: Fitter, windows: BacktestWindows, info: ModelInfo
) -> tuple[Candidate, ForecastNetwork]:
    """The shortest candidate whose error on the windows is about the lowest, and its judged fit."""
    if len(tried) == 1:
        return tried[0], fitter.fit(tried[0].judged)[0]
    networks = [fitter.fit(candidate.judged)[0] for candidate in tried]
    errors = [_error(Predictor(network, info), windows) for network in networks]
    best = next(number for number, error in enumerate(errors) if error <= min(errors) * (1 + _ABOUT))
    told = ", ".join(f"{c.plan.fit.steps:,} steps {error:.4f}" for c, error in zip(tried, errors, strict=True))
    fitter.reporter.say(
        f"length of the fit: {tried[best].plan.fit.steps:,} steps (quantile loss on the held-out end: {told})"
    )
    return tried[best], networks[best]


def _error(predictor: Predictor, windows: BacktestWindows) -> float:
    """Infinite where forecasts are no numbers: another length may do, and where none does, the evaluation says so."""
    try:
        error = score_training(predictor, windows)[1].metrics[MEASURE]
    except ArtifactError:
        return math.inf
    return error if math.isfinite(error) else math.inf
