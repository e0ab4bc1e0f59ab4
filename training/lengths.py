"""How long to fit, and how much of it to believe: the held-out end chooses.

A small panel is learnt by heart in a long fit, or not yet learnt in a short one. Which of them, its size does not tell,
and a held-out end of few series tells badly; networks of two neighbouring lengths together are about as good as those
of the better one. Of what a fit adds to the linear forecast that it begins from, a share may be better than all
(docs/model.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from forecaster.backtest import BacktestWindows
from forecaster.errors import ArtifactError
from forecaster.network import ForecastNetwork
from forecaster.predictor import ModelInfo, Predictor
from training.champion import MEASURE
from training.evaluation import score_training
from training.fit import FitResult
from training.members import Fitter, ModelFit, member_weights, members_of, with_fit
from training.settings import TrainingSettings
from training.starting import Start
from training.summary import describe_steps

_FEW_MEMBERS = 2  # each is fitted for both lengths of a pair; of more, every second one for the same length


@dataclass(frozen=True)
class Trial:
    """A model that may be kept, and its two fits: without the held-out end, to be judged, and on all data."""

    judged: ModelFit
    final: ModelFit

    @property
    def plan(self) -> TrainingSettings:
        return self.judged.plan


@dataclass(frozen=True)
class Trials:
    """The models to choose from, those of the shortest fits first, and the shares of what a fit adds.

    models: networks of two neighbouring lengths each, or one model, if there is but one length
    alone: those of one length each, for when no model's forecasts are numbers
    """

    models: tuple[Trial, ...]
    alone: tuple[Trial, ...]
    corrections: tuple[float, ...]

    @property
    def fits(self) -> list[ModelFit]:
        """All that may be fitted."""
        return [fit for trial in self.models for fit in (trial.judged, trial.final)]

    def fits_ahead(self, processes: int) -> list[ModelFit]:
        """What to fit before the choice: final fits as well where they are made in any case, or where the longest
        judged ones are fewer than `processes`, which would wait."""
        judged = [trial.judged for trial in self.models]
        steps = [member.plan.fit.steps for member in members_of(judged)]
        return judged if len(judged) > 1 and steps.count(max(steps)) >= processes else self.fits


@dataclass(frozen=True)
class Kept:
    """The settings of the model that is kept, its judged network, as much of it as is believed, and its final fit."""

    plan: TrainingSettings
    judged: ForecastNetwork
    final: ModelFit

    def finish(self, fitter: Fitter) -> tuple[ForecastNetwork, FitResult]:
        """The model, fitted on all data."""
        fitter.fit_ahead([self.final])
        return fitter.fit(self.final)


def trials_of(plan: TrainingSettings, held_out: int, windows: BacktestWindows, start: Start) -> Trials:
    """One model, unless the plan asks for shorter fits."""
    own = with_fit(plan, {"shorter": (), "corrections": ()})
    unseen = start.unseen(windows)
    lengths = _lengths(plan)
    if len(lengths) == 1:
        only = Trial(ModelFit("backtest fit", own, held_out, unseen), ModelFit("final fit", own, 0, start.final))
        return Trials((only,), (), plan.fit.corrections)

    def trial(*lengths: _Length) -> Trial:
        numbers = [number for length in lengths for number in length.members]
        model = own.model.model_copy(update={"members": tuple(own.model.members[number] for number in numbers)})
        shares = tuple(length.share for length in lengths for _ in length.members)
        of_these = with_fit(own.model_copy(update={"model": model}), {"shares": shares})
        return Trial(
            ModelFit("backtest fit", of_these, held_out, _weights_of(unseen, numbers)),
            ModelFit("final fit", of_these, 0, _weights_of(start.final, numbers)),
        )

    pairs = tuple(trial(*pair) for pair in pairwise(lengths))
    return Trials(pairs, tuple(map(trial, lengths)), plan.fit.corrections)


@dataclass(frozen=True)
class _Length:
    """A share of the steps, and the numbers of the plan's members that are fitted so long."""

    share: float
    members: range


def _lengths(plan: TrainingSettings) -> list[_Length]:
    """The shortest first; of many members every second one, beginning with the first for the longest fit, with the next
    for the one before, and so on, so that neighbours have all members between them."""
    shares = list({plan.fit.steps_of(share): share for share in sorted({*plan.fit.shorter, 1.0})}.values())
    count = len(plan.model.members)
    if count <= _FEW_MEMBERS or len(shares) == 1:
        return [_Length(share, range(count)) for share in shares]
    return [_Length(share, range(place % 2, count, 2)) for place, share in enumerate(shares[::-1])][::-1]


def _weights_of(weights: Mapping[str, Tensor] | None, numbers: Sequence[int]) -> Mapping[str, Tensor] | None:
    """Those of the members of these numbers, in this order."""
    if weights is None:
        return None
    found: dict[str, Tensor] = {}
    for place, number in enumerate(numbers):
        for name, tensor in member_weights(weights, number).items():
            found[name.replace("members.0.", f"members.{place}.", 1)] = tensor
    return found


def keep_best(trials: Trials, fitter: Fitter, windows: BacktestWindows) -> Kept:
    """Of all models and shares those that, together, forecast the windows best; the first of each if none is better."""
    if len(trials.models) == 1 and not trials.corrections:
        (only,) = trials.models
        return Kept(only.plan, fitter.fit(only.judged)[0], only.final)
    judged = [_judge(trial, trials.corrections, fitter, windows) for trial in trials.models]
    if not any(math.isfinite(found.error) for found in judged) and trials.alone:
        judged = [_judge(trial, trials.corrections, fitter, windows) for trial in trials.alone]
    best = min(judged, key=lambda found: found.error)
    share = f", {best.plan.fit.correction:.0%} of what a fit adds to its linear forecast" if trials.corrections else ""
    told = ", ".join(f"{describe_steps(found.plan)} steps {found.error:.4f}" for found in judged)
    fitter.reporter.say(
        f"length of the fit: {describe_steps(best.plan)} steps{share} (quantile loss on the held-out end: {told})"
    )
    return Kept(best.plan, best.network, replace(best.trial.final, plan=best.plan))


@dataclass(frozen=True)
class _Judged:
    """A model with the best share of what its fit adds."""

    trial: Trial
    plan: TrainingSettings
    network: ForecastNetwork
    error: float


def _judge(trial: Trial, corrections: Sequence[float], fitter: Fitter, windows: BacktestWindows) -> _Judged:
    network, _ = fitter.fit(trial.judged)
    if not corrections:
        return _Judged(trial, trial.plan, network, _error(network, windows))
    restrained = [_restrained(network, share) for share in corrections]
    errors = [_error(network, windows) for network in restrained]
    best = errors.index(min(errors))
    return _Judged(trial, with_fit(trial.plan, {"correction": corrections[best]}), restrained[best], errors[best])


def _restrained(network: ForecastNetwork, correction: float) -> ForecastNetwork:
    """A network of its own that keeps this share of what its fits have added."""
    own = copy.deepcopy(network)
    own.restrain(correction)
    return own


def _error(network: ForecastNetwork, windows: BacktestWindows) -> float:
    """Infinite where forecasts are no numbers: another length may do, and where none does, the evaluation says so."""
    try:
        predictor = Predictor(network, ModelInfo(name="", settings=network.settings))
        error = score_training(predictor, windows)[1].metrics[MEASURE]
    except ArtifactError:
        return math.inf
    return error if math.isfinite(error) else math.inf
