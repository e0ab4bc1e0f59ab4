"""How long to fit: beside the full fit a short one, and the held-out end says which is kept.

A small panel is learnt by heart in a long fit, or not yet learnt in a short one; which of them, its size does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecaster.backtest import BacktestWindows
from forecaster.network import ForecastNetwork
from forecaster.predictor import ModelInfo, Predictor
from training.champion import MEASURE
from training.evaluation import score_training
from training.members import Fitter, ModelFit
from training.settings import TrainingSettings
from training.starting import Start


@dataclass(frozen=True)
class Candidate:
    """A model's two fits: without the held-out end, to be judged, and on all data."""

    plan: TrainingSettings
    judged: ModelFit
    final: ModelFit


def candidates(plan: TrainingSettings, held_out: int, windows: BacktestWindows, start: Start) -> list[Candidate]:
    """The short one first, if there is one: it tells soonest how long the others will take."""
    full = _candidate(plan, "", held_out, windows, start)
    if not plan.fit.short_trial:
        return [full]
    steps = max(1, round(plan.fit.steps * plan.fit.short_trial))
    fit = plan.fit.model_copy(update={"steps": steps, "short_trial": 0.0})
    return [_candidate(plan.model_copy(update={"fit": fit}), "short ", held_out, windows, start), full]


def _candidate(plan: TrainingSettings, name: str, held_out: int, windows: BacktestWindows, start: Start) -> Candidate:
    return Candidate(
        plan,
        ModelFit(f"{name}backtest fit", plan, held_out, start.unseen(windows)),
        ModelFit(f"{name}final fit", plan, 0, start.final),
    )


def fit_best(
    tried: Sequence[Candidate], fitter: Fitter, windows: BacktestWindows, info: ModelInfo
) -> tuple[Candidate, ForecastNetwork]:
    """The candidate with the lowest error on the windows, and its judged fit."""
    if len(tried) == 1:
        return tried[0], fitter.fit(tried[0].judged)[0]
    networks = [fitter.fit(candidate.judged)[0] for candidate in tried]
    errors = [score_training(Predictor(network, info), windows)[1].metrics[MEASURE] for network in networks]
    best = errors.index(min(errors))
    told = " and ".join(f"{c.plan.fit.steps:,} steps {error:.4f}" for c, error in zip(tried, errors, strict=True))
    fitter.reporter.say(
        f"length of the fit: {tried[best].plan.fit.steps:,} steps ({MEASURE} on the held-out end: {told})"
    )
    return tried[best], networks[best]
