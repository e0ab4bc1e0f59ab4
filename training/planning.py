"""What a run will do: its data, and settings from data and request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from forecaster.calendar import resolve_calendar, usual_features
from forecaster.covariates import covariates_for, learn_scales
from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.inference import infer_freq
from forecaster.panel import Panel
from forecaster.reading import read_panel
from forecaster.settings import CovariateSettings, ModelSettings
from training.choose import choose_settings, override
from training.following import fit_context, following, leaves_counts, leaves_linear_start, with_line
from training.memory import give_back
from training.profile import Profile, profile_panel
from training.request import Reporter, TrainRequest
from training.settings import Loss, TrainingSettings
from training.summary import describe_data, describe_settings

_LEARNT = ("scales", "categories")  # settings of covariates that nobody declares
_DECLARED = ("targets", "static", "past", "future", "categorical", "country")
_OF_FRESH_FITS = ("fit.linear_start", "fit.correction", "fit.corrections")
_WARM_RATE = 0.25  # of the learning rate: a warm start refines, it does not begin anew


@dataclass(frozen=True)
class Prepared:
    """All that a run needs before anything is fitted."""

    request: TrainRequest
    panel: Panel
    profile: Profile
    plan: TrainingSettings


def prepare(request: TrainRequest, reporter: Reporter) -> Prepared:
    """Read the data and choose the settings. Raises InputError."""
    request = _with_declared(request)
    panel, profile = _read_data(request, reporter)
    # What a warm start changes fits its model, which is not known yet.
    plan = plan_training(request if request.warm_start is None else _unchanged(request), panel, profile)
    reporter.say(describe_data(profile, panel.freq))
    if request.warm_start is None:
        reporter.say(describe_settings(plan))
        if (note := _shortened(request, profile, plan)) is not None:
            reporter.note(note)
            panel = replace(panel, notes=(*panel.notes, note))
    return Prepared(request, panel, profile, plan)


def _shortened(request: TrainRequest, profile: Profile, plan: TrainingSettings) -> str | None:
    """What to tell of a context that was asked for and is beyond all series."""
    asked = request.changes.get("network.context")
    if not isinstance(asked, int) or plan.model.context >= asked:
        return None
    return (
        f"no series is longer than {profile.longest:,} steps: the networks see {plan.model.context:,} of them, "
        f"not the {asked:,} that were asked for"
    )


def _unchanged(request: TrainRequest) -> TrainRequest:
    return request.model_copy(update={"changes": {}})


def _read_data(request: TrainRequest, reporter: Reporter) -> tuple[Panel, Profile]:
    """The request's data, and what it is like. Raises InputError."""
    reporter.stage("reading the data")
    pa.set_memory_pool(pa.system_memory_pool())  # the default pool keeps what reading took for itself
    freq = request.freq
    if freq is None:
        freq = infer_freq(request.data, request.rows, request.season)
    panel = read_panel(request.data, Frequency.parse(freq, request.season), request.rows, request.covariates)
    if request.freq is None:
        why = "for counted steps of such a season" if panel.integer else "as the timestamps follow each other"
        reporter.say(f"freq: {freq}, {why}")
    panel.require_observations()
    panel = _with_covariates(panel, request)
    for note in panel.notes:
        reporter.note(note)
    profile = profile_panel(panel, request.horizon)
    give_back()
    return panel, profile


def _with_declared(request: TrainRequest) -> TrainRequest:
    """Covariates that the settings declare as part of the request, which the data is read by."""
    prefix = "model.covariates."
    given = {name.removeprefix(prefix): value for name, value in request.changes.items() if name.startswith(prefix)}
    if not given:
        return request
    # A run's settings.yaml has what it learnt, too; this one learns it from its own data.
    declared = {name: value for name, value in given.items() if name.partition(".")[0] not in _LEARNT}
    try:
        covariates = CovariateSettings.model_validate({**request.covariates.model_dump(), **declared})
    except ValidationError as error:
        first = error.errors()[0]
        field = prefix + ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(problem, field=field.rstrip("."), mend="see docs/settings.md") from error
    for name in _DECLARED:
        asked = getattr(request.covariates, name)
        if asked and getattr(covariates, name) != asked:
            problem = f"the request declares {name} as {asked}, its settings as {getattr(covariates, name) or 'none'}"
            raise InputError(problem, field=prefix + name, mend="leave one of them out")
    rest = {name: value for name, value in request.changes.items() if not name.startswith(prefix)}
    return request.model_copy(update={"covariates": covariates, "changes": rest})


def _with_covariates(panel: Panel, request: TrainRequest) -> Panel:
    """The panel with all that a model will know of its covariates: categories, scales, and the calendar."""
    known = covariates_for(panel, request.covariates) if panel.covariates is None else panel.covariates
    settings = known.settings
    if request.usual_calendar:
        if panel.integer:
            mend = "give timestamps, or leave the calendar out"
            raise InputError("whole steps have no calendar", field="calendar", mend=mend)
        calendar = usual_features(panel.freq, float(np.median(panel.lengths)))
        settings = settings.model_copy(update={"calendar": (*calendar, *settings.calendar)})
    settings = resolve_calendar(settings, panel)
    return (
        replace(panel, covariates=learn_scales(replace(known, settings=settings)))
        if settings.size or settings.targets
        else panel
    )


def _loss_of(model: ModelSettings) -> Loss | None:
    """The only loss that a model's heads can be fitted by; None where either will do."""
    heads = {member.head for member in model.members}
    if "negative_binomial" in heads:
        return "likelihood"
    return "quantile" if "quantile" in heads else None


def plan_training(
    request: TrainRequest, panel: Panel, profile: Profile, model: ModelSettings | None = None
) -> TrainingSettings:
    """Settings chosen from the data or kept from a warm start's `model`, with what the request changes.

    Raises InputError.
    """
    changes = _in_reach(request.changes, profile) if model is None else request.changes
    rare_counts = not leaves_counts(changes)
    plan = choose_settings(
        profile, panel.freq, request.horizon, request.preset, request.seed,
        rare_counts=rare_counts, linear_start=not leaves_linear_start(changes),
    )  # fmt: skip
    if model is None:
        plan = fit_context(plan, changes)
    else:
        _check_warm_start(request, panel, model)
        plan = _warm(plan, profile, model)
        # A file of settings may have them, of the fresh fit that the model was made by.
        changes = {name: value for name, value in changes.items() if name not in _OF_FRESH_FITS}
    plan = _as_declared(plan, request, panel, fresh=model is None)
    if request.changes.get("preset", request.preset) != request.preset and "model.members" not in request.changes:
        raise InputError("it is more than a setting: all others follow from it", field="preset", mend="use --preset")
    follow: dict[str, Any] = {}
    if "fit.steps" in changes or "fit.shares" in changes:
        follow["fit.shorter"] = ()  # who names a length wants that one
    if "fit.correction" in changes:
        follow["fit.corrections"] = ()
    if model is None and "model.members" not in changes:
        follow |= following(changes)
    changed = with_line(override(plan, {**follow, **changes}), changes)
    _check_changed(changed, request, panel)
    if changes.get("model.transform") == "log" and not profile.share_positive:
        mend = "choose asinh or identity"
        raise InputError("no value is above zero, so none has a logarithm", field="model.transform", mend=mend)
    covariates_for(panel, changed.model.covariates)  # fails where the data lacks one
    return _with_counts(changed, profile)


def _in_reach(changes: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """A context beyond all series would be nothing but padding."""
    context = changes.get("network.context")
    if not isinstance(context, int) or context < profile.longest:
        return changes
    return {**changes, "network.context": max(1, profile.longest - 1)}


def _check_warm_start(request: TrainRequest, panel: Panel, model: ModelSettings) -> None:
    """Raise unless the model to begin with forecasts what the request asks for."""
    if model.horizon != request.horizon:
        raise InputError(
            f"{request.warm_start} was trained for {model.horizon} steps, not {request.horizon}",
            field="warm_start",
            mend="use the same horizon or start afresh",
        )
    if not Frequency.parse(model.freq).same_step(panel.freq):
        raise InputError(
            f"{request.warm_start} was trained at {model.freq}, not {panel.freq}",
            field="warm_start",
            mend="start afresh",
        )
    if request.season not in (None, model.season):
        raise InputError(
            f"{request.warm_start} was trained for a season of {model.season} steps, not {request.season}",
            field="warm_start",
            mend="leave the season out, or start afresh",
        )


def _warm(plan: TrainingSettings, profile: Profile, model: ModelSettings) -> TrainingSettings:
    """A calmer fit of the model as it is."""
    rate = plan.fit.learning_rate * _WARM_RATE
    loss = _loss_of(model) or plan.fit.loss
    fit = {"learning_rate": rate, "shorter": (), "linear_start": False, "corrections": (), "loss": loss}
    below = model.floor is not None and profile.smallest < model.floor
    kept = model.model_copy(update={"floor": None if below else model.floor})
    return plan.model_copy(update={"model": kept, "fit": plan.fit.model_copy(update=fit)})


def _as_declared(plan: TrainingSettings, request: TrainRequest, panel: Panel, *, fresh: bool) -> TrainingSettings:
    """With the rules for rows, the weights of targets and, for a fresh model, the covariates of the request."""
    read_by: dict[str, Any] = {"rows": request.rows}
    if fresh and panel.covariates is not None:
        read_by["covariates"] = panel.covariates.settings
    fit = plan.fit.model_copy(update={"target_weights": dict.fromkeys(request.covariates.targets, 1.0)})
    return plan.model_copy(update={"model": plan.model.model_copy(update=read_by), "fit": fit})


def _check_changed(plan: TrainingSettings, request: TrainRequest, panel: Panel) -> None:
    """Raise where changed settings contradict the request or the way in which the data was read."""
    targets = request.covariates.targets
    season = request.changes.get("model.season", panel.freq.season)
    if season != panel.freq.season:
        problem = f"the data was read for a season of {panel.freq.season} steps, not {season}"
        raise InputError(problem, field="model.season", mend="use --season (in a job: season)")
    if plan.fit.target_weights.keys() != set(targets):
        mend = f"give a weight to each of {', '.join(targets)}" if targets else "leave them out: y alone is forecast"
        raise InputError("weights and targets do not fit", field="fit.target_weights", mend=mend)
    if plan.model.horizon != request.horizon or not Frequency.parse(plan.model.freq).same_step(panel.freq):
        raise InputError(
            f"the settings say {plan.model.horizon} steps of {plan.model.freq}, the request {request.horizon} of "
            f"{panel.freq}",
            field="settings",
            mend="leave horizon and freq out of the settings",
        )
    if plan.model.rows != request.rows:
        raise InputError(
            "the data has been read by other rules", field="model.rows", mend="use --duplicates or --resample"
        )


def _with_counts(plan: TrainingSettings, profile: Profile) -> TrainingSettings:
    """A model of counts forecasts none below zero. Raises InputError where the values are none."""
    if not any(member.head == "negative_binomial" for member in plan.model.members):
        return plan
    if profile.smallest < 0 or profile.share_whole < 1:
        mend = "choose another head: values below zero or with a fraction are no counts"
        raise InputError("head negative_binomial is of whole numbers from zero on", field="network.head", mend=mend)
    floor = max(0.0, plan.model.floor or 0.0)
    return plan.model_copy(update={"model": plan.model.model_copy(update={"floor": floor})})
