"""What stands out in a panel, and what will be done about it: for the person who owns the data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from forecaster.covariates import covariates_for
from forecaster.frequency import IntArray
from forecaster.mapped import groups
from forecaster.normalisation import tame
from forecaster.panel import FloatArray, Panel
from forecaster.settings import CovariateSettings
from forecaster.transforms import transform
from forecaster.windows import gather_context
from training.profile import Finding, Profile
from training.settings import TrainingSettings

_WINDOWS = 4000  # in which outliers are looked for


def find(panel: Panel, profile: Profile, plan: TrainingSettings) -> list[Finding]:
    """Findings in the order in which a person would want them; only what there is."""
    told = (
        *_rows(panel), *_lengths(panel, profile, plan), *_gaps(panel, profile, plan), *_ends(panel, plan),
        *_season(profile, plan), *_values(profile, plan), *_constants(profile), *_outliers(panel, plan),
        *_covariates(panel, plan),
    )  # fmt: skip
    return [Finding(topic=topic, found=found, done=done) for topic, found, done in told]


def plain(when: object) -> str:
    """A timestamp without the digits that say nothing."""
    return str(when).replace("T", " ").removesuffix(".000000").removesuffix(" 00:00:00")


_Told = Iterator[tuple[str, str, str]]


def _rows(panel: Panel) -> _Told:
    for note in panel.notes:
        yield "rows", note, "as said; the model reads what it is asked to forecast in the same way"


def _lengths(panel: Panel, profile: Profile, plan: TrainingSettings) -> _Told:
    context, horizon = plan.model.context, plan.model.horizon
    span = (
        f"{profile.shortest:,}"
        if profile.shortest == profile.longest
        else f"{profile.shortest:,} to {profile.longest:,}"
    )
    found = f"{profile.series:,} series of {span} steps, {profile.observed:,} values"
    yield "size", found, f"a forecast of {horizon:,} steps sees the last {context:,}"
    young = int((panel.lengths < min(context, 2 * plan.model.season) + horizon).sum())
    if young:
        found = f"{young:,} of {panel.n_series:,} series are shorter than two seasons and a horizon"
        yield "short series", found, "taught by the others; with fewer than three values, a forecast carries a warning"


def _gaps(panel: Panel, profile: Profile, plan: TrainingSettings) -> _Told:
    if not profile.share_missing:
        return
    longest, series = _longest_gap(panel)
    seasonal = plan.model.members[0].season > 1
    filled = "what other seasons have at its phase," if seasonal else "a straight line"
    gappy = f"{np.count_nonzero(panel.observed_counts() < panel.lengths):,} of {panel.n_series:,} series"
    yield (
        "gaps",
        f"{profile.share_missing:.1%} of all steps are missing, in {gappy}; the longest gap has {longest:,} "
        f"steps (series {panel.label(series)!r})",
        f"no statistic, loss or measure counts them; the network is told, and sees {filled} there",
    )


def _longest_gap(panel: Panel) -> tuple[int, int]:
    """How many steps it has, and in which series it is."""
    longest, series = 0, 0
    for group in groups(panel.offsets):
        own = panel.offsets[group.start : group.stop + 1]
        missing = own[0] + np.flatnonzero(np.isnan(panel.values[own[0] : own[-1]]))
        owner = np.searchsorted(own, missing, side="right") - 1
        begins = np.flatnonzero(np.append(len(missing) > 0, (np.diff(missing) > 1) | (np.diff(owner) > 0)))
        lengths = np.diff(np.append(begins, len(missing)))
        if lengths.max(initial=0) > longest:
            longest, series = int(lengths.max()), group.start + int(owner[begins[lengths.argmax()]])
    return longest, series


def _ends(panel: Panel, plan: TrainingSettings) -> _Told:
    behind: IntArray = panel.ends.max() - panel.ends
    late = np.flatnonzero(behind > plan.model.horizon)
    if len(late) and not panel.integer:
        found = (
            f"{len(late):,} of {panel.n_series:,} series end more than a horizon before the latest one "
            f"(series {panel.label(int(late[0]))!r})"
        )
        yield "ends", found, "each is forecast from its own end on"


def _season(profile: Profile, plan: TrainingSettings) -> _Told:
    season, skill = plan.model.season, profile.seasonal_skill
    if season == 1:
        return
    if skill is None:
        yield "season", f"too little is known to tell whether {season} steps are a season", "taken for one"
        return
    found = f"the last {season} steps tell {'more' if skill > 0 else 'less'} than the last one (skill {skill:.2f})"
    used = plan.model.members[0].season > 1
    done = f"steps {season} apart are read together" if used else "nothing is made of a season"
    yield "season", found, done


def _values(profile: Profile, plan: TrainingSettings) -> _Told:
    others = f"{1 - profile.share_positive:.2g} of them zero or below, from {profile.smallest:.4g} on"
    if profile.counts:
        rare = plan.model.members[0].head == "negative_binomial"
        done = "a distribution of counts is forecast" if rare else "no forecast is below zero"
        yield "values", f"counts, {profile.share_zero:.0%} of them zero", done
    elif plan.model.transform == "log" or any(member.logarithm for member in plan.model.members):
        found = "positive" if profile.share_positive == 1 else f"positive but for a share of {others}"
        whole = plan.model.transform == "log"
        done = "logarithms are forecast" if whole else "one network forecasts logarithms, another the values"
        yield "values", found, f"{done} (of windows that have them): swings grow with the level"
    elif not plan.fit.percentage_weight:
        yield "values", f"a share of {others}", "percentages mean nothing there: the loss goes by scaled errors"


def _constants(profile: Profile) -> _Told:
    if profile.constant_series:
        yield (
            "constants",
            f"{profile.constant_series:,} of {profile.series:,} series never change",
            "not learnt from; forecast as they are",
        )


def _outliers(panel: Panel, plan: TrainingSettings) -> _Told:
    """Values that a window will not take at their word, as the networks do it."""
    context = plan.model.context
    windows = np.maximum(1, panel.lengths // context)
    total = int(windows.sum())
    chosen = np.random.default_rng(0).choice(total, _WINDOWS, replace=False) if total > _WINDOWS else np.arange(total)
    series = np.searchsorted(windows.cumsum(), chosen, side="right")
    back = chosen - (windows.cumsum() - windows)[series]
    begin, origin = (torch.from_numpy(x) for x in (panel.offsets[series], panel.offsets[series + 1] - back * context))
    window = gather_context(torch.from_numpy(panel.values), begin, origin, context)
    values, _ = transform(plan.model.transform, window.values, window.observed)
    strange = (tame(values, window.observed) != values).numpy()
    if not strange.any():
        return
    row, step = np.argwhere(strange)[0]
    place = int(origin[row]) - context + int(step)
    one = int(series[row])
    when = panel.timestamps(one)[place - int(panel.offsets[one])]
    looked = "" if total <= _WINDOWS else f" in {_WINDOWS:,} of {total:,} windows"
    yield (
        "outliers",
        f"{int(strange.sum()):,} values{looked} lie more than ten usual ranges away "
        f"(series {panel.label(one)!r} at {plain(when)}: {panel.values[place]:.6g})",
        "a window takes them for ten usual ranges, so that none sets its scale; as targets they count as they are",
    )


def _covariates(panel: Panel, plan: TrainingSettings) -> _Told:
    """What else is known, and how much of it is missing within the series themselves."""
    settings = plan.model.covariates
    if settings.targets:
        yield (
            "targets",
            f"{', '.join(settings.targets)}, of each id",
            "series of their own, which one network tells apart",
        )
    if not settings.size:
        return
    if settings.columns:
        known = covariates_for(panel, settings)
        alone = np.arange(panel.n_series + 1)
        changing = zip((*settings.future, *settings.past), known.dynamic, strict=True)
        summaries = [(column, _summary(numbers, known.offsets, panel.lengths)) for column, numbers in changing]
        static = zip(settings.static, known.static.T, strict=True)
        summaries += [(column, _summary(numbers, alone, np.diff(alone))) for column, numbers in static]
        for column, summary in summaries:
            yield "covariate", _described(column, summary, settings), _use_of(column, settings)
    if settings.calendar:
        names = ", ".join(settings.calendar)
        yield "calendar", f"{names} of every step", "known beforehand, each value learnt by itself"


def _summary(numbers: FloatArray, offsets: IntArray, lengths: IntArray) -> tuple[float, float, float]:
    """The share that is missing, the smallest and the largest, of so many first numbers of each series."""
    known, low, high = 0, np.float32(np.nan), np.float32(np.nan)
    for group in groups(offsets):
        own = offsets[group.start : group.stop + 1]
        step = np.arange(own[-1] - own[0]) - np.repeat(own[:-1] - own[0], np.diff(own))
        found = numbers[own[0] : own[-1]][step < np.repeat(lengths[group], np.diff(own))]
        known += np.count_nonzero(~np.isnan(found))
        low, high = np.fmin(low, np.fmin.reduce(found)), np.fmax(high, np.fmax.reduce(found))
    return 1 - known / max(1, int(lengths.sum())), float(low), float(high)


def _described(column: str, summary: tuple[float, float, float], settings: CovariateSettings) -> str:
    missing, low, high = summary
    gaps = f", {missing:.1%} missing" if missing else ""
    if column in settings.categories:
        return f"{column!r} has {len(settings.categories[column]):,} categories{gaps}"
    return f"{column!r} has numbers from {low:.4g} to {high:.4g}{gaps}"


def _use_of(column: str, settings: CovariateSettings) -> str:
    if column in settings.static:
        return "the same for every step of a series; one that is missing or new counts as unknown"
    if column in settings.past:
        return "known up to the present: the network sees it beside the values"
    return "known beforehand: a forecast needs it for each step of its horizon, and goes by it"
