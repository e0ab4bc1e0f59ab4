"""How long to fit, and how much of it to believe: the held-out end chooses.

A small panel is learnt by heart in a long fit, or not yet learnt in a short one. Which of them, its size does not tell,
and a held-out end of few series tells badly; the mean of two neighbouring lengths is about as good as the better one.
Of what a fit adds to the linear forecast that it begins from, a share may be better than all (docs/model.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

from torch import nn

from forecaster.backtest import BacktestWindows
from forecaster.errors import ArtifactError
from forecaster.network import ForecastNetwork
from forecaster.predictor import ModelInfo, Predictor
from training.champion import MEASURE
from training.evaluation import score_training
from training.fit import FitResult, summed
from training.members import Fitter, ModelFit
from training.settings import TrainingSettings
from training.starting import Start
from training.summary import describe_steps


@dataclass(frozen=True)
class Length:
    """A share of the steps and a model's two fits of it: without the held-out end, to be judged, and on all data."""

    share: float
    judged: ModelFit
    final: ModelFit

    @property
    def steps(self) -> int:
        return self.judged.plan.fit.steps


@dataclass(frozen=True)
class Kept:
    """The lengths that make the model, its settings, and their judged networks together, as much as is believed."""

    lengths: tuple[Length, ...]
    plan: TrainingSettings
    judged: ForecastNetwork

    def finish(self, fitter: Fitter) -> tuple[ForecastNetwork, FitResult]:
        """The model, fitted on all data."""
        kept = {"correction": self.plan.fit.correction}
        finals = [replace(length.final, plan=_with_fit(length.final.plan, kept)) for length in self.lengths]
        fitter.fit_ahead(finals)
        networks, results = zip(*map(fitter.fit, finals), strict=True)
        return _together(networks), summed(results)


def lengths_to_try(plan: TrainingSettings, held_out: int, windows: BacktestWindows, start: Start) -> list[Length]:
    """The shortest first; one, unless the plan asks for shorter fits."""
    steps = {plan.fit.steps_of(share): share for share in sorted({*plan.fit.shorter, 1.0})}
    return [
        _length(plan, share, "" if len(steps) == 1 else f"{count}-step ", held_out, windows, start)
        for count, share in steps.items()
    ]


def _length(
    plan: TrainingSettings, share: float, name: str, held_out: int, windows: BacktestWindows, start: Start
) -> Length:
    own = _with_fit(plan, {"steps": plan.fit.steps_of(share), "shorter": (), "corrections": ()})
    return Length(
        share,
        ModelFit(f"{name}backtest fit", own, held_out, start.unseen(windows)),
        ModelFit(f"{name}final fit", own, 0, start.final),
    )


def fits_ahead(tried: Sequence[Length], processes: int) -> list[ModelFit]:
    """What to fit before a choice, the longest first: final fits as well where they are made in any case, or where the
    judged ones of a length are fewer than `processes`, which would wait."""
    longest_first = tried[::-1]
    if len(tried) > 1 and len(tried[0].judged.members) >= processes:
        return [length.judged for length in longest_first]
    return [fit for length in longest_first for fit in (length.judged, length.final)]


def keep_best(tried: Sequence[Length], plan: TrainingSettings, fitter: Fitter, windows: BacktestWindows) -> Kept:
    """Of all neighbours the two (the one, if there is but one) and of `fit.corrections` the one, together, whose mean
    forecasts the windows best; the first of each if none is better."""
    judged = [fitter.fit(length.judged)[0] for length in tried]
    if len(tried) == 1 and not plan.fit.corrections:
        return Kept((tried[0],), tried[0].judged.plan, judged[0])
    alone = [_error(network, windows) for network in judged]
    sound = [number for number, error in enumerate(alone) if math.isfinite(error)] or list(range(len(tried)))
    neighbours = list(pairwise(sound)) or [tuple(sound)]
    choices = [
        (numbers, correction, _restrained(_together(judged[number] for number in numbers), correction))
        for numbers, correction in product(neighbours, plan.fit.corrections or (1.0,))
    ]
    errors = [_error(network, windows) for _, _, network in choices]
    numbers, correction, network = choices[errors.index(min(errors))]
    lengths = tuple(tried[number] for number in numbers)
    own = lengths[0].judged.plan if len(tried) == 1 else _plan_of(plan, lengths)
    if plan.fit.corrections:
        own = _with_fit(own, {"correction": correction, "corrections": ()})
    told = ", ".join(f"{length.steps:,} steps {error:.4f}" for length, error in zip(tried, alone, strict=True))
    share = f", {correction:.0%} of what a fit adds to its linear forecast" if plan.fit.corrections else ""
    kept = f"{describe_steps(own)} steps{share}"
    fitter.reporter.say(
        f"length of the fit: {kept} (quantile loss on the held-out end {min(errors):.4f}; alone: {told})"
    )
    return Kept(lengths, own, network)


def _restrained(network: ForecastNetwork, correction: float) -> ForecastNetwork:
    """A network of its own that keeps this share of what its fits have added."""
    own = copy.deepcopy(network)
    own.restrain(correction)
    return own


def _with_fit(plan: TrainingSettings, changes: dict[str, Any]) -> TrainingSettings:
    return plan.model_copy(update={"fit": plan.fit.model_copy(update=changes)})


def _plan_of(plan: TrainingSettings, lengths: Sequence[Length]) -> TrainingSettings:
    """Settings that make the same model anew: the members of each length, and the share of the steps of each."""
    members = plan.model.members * len(lengths)
    shares = tuple(length.share for length in lengths for _ in plan.model.members)
    whole = plan.model_copy(update={"model": plan.model.model_copy(update={"members": members})})
    return _with_fit(whole, {"shorter": (), "shares": shares})


def _together(networks: Iterable[ForecastNetwork]) -> ForecastNetwork:
    """One model of the members of all."""
    networks = list(networks)
    members = [member for network in networks for member in network.members]
    settings = networks[0].settings
    own = tuple(part for network in networks for part in network.settings.members)
    whole = ForecastNetwork(settings.model_copy(update={"members": own}))
    whole.members = nn.ModuleList(members)
    return whole.eval()


def _error(network: ForecastNetwork, windows: BacktestWindows) -> float:
    """Infinite where forecasts are no numbers: another length may do, and where none does, the evaluation says so."""
    try:
        predictor = Predictor(network, ModelInfo(name="", settings=network.settings))
        error = score_training(predictor, windows)[1].metrics[MEASURE]
    except ArtifactError:
        return math.inf
    return error if math.isfinite(error) else math.inf
