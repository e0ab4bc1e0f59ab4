"""What was found in the data and what was chosen for it, in a sentence each."""

from __future__ import annotations

from collections import Counter

from forecaster.frequency import Frequency
from training.profile import Profile
from training.settings import TrainingSettings


def describe_data(profile: Profile, freq: Frequency) -> str:
    """How many series of what length, what is missing, and whether a season was found."""
    lengths = f"{profile.longest:,}"
    if profile.shortest < profile.longest:
        lengths = f"{profile.shortest:,} to {lengths}"
    parts = [f"{profile.series:,} series of {lengths} steps ({freq})"]
    if profile.share_missing:
        parts.append(f"{profile.share_missing:.1%} missing")
    if profile.counts:
        parts.append("counts")
    elif profile.share_positive < 1:
        parts.append(f"{profile.share_positive:.0%} above zero")
    return f"data: {', '.join(parts)}; {_season(profile, freq)}"


def _season(profile: Profile, freq: Frequency) -> str:
    if freq.season == 1:
        return "no season"
    if profile.seasonal_skill is None:
        return f"no telling whether there is a season of {freq.season}"
    told = "more" if profile.seasonal_skill > 0 else "less"
    return (
        f"the last season ({freq.season} steps) tells {told} than the last value (skill {profile.seasonal_skill:.2f})"
    )


def describe_settings(plan: TrainingSettings) -> str:
    """The networks, what they see, and how long they are fitted."""
    network = plan.model.members[0]
    cells = Counter(member.cell for member in plan.model.members)
    named = " + ".join(f"{count} {cell}" if count > 1 else cell for cell, count in cells.items())
    logged = sum(member.logarithm for member in plan.model.members)
    named += f" ({logged} on logarithms)" if logged else ""
    named += "" if network.head == "quantile" else f" with a {network.head.replace('_', ' ')} head"
    read = f"{network.context:,} steps in segments of {network.segment}"
    scaled = f"{network.location}/{network.scale}"
    transform = "" if plan.model.transform == "identity" else f" of the {plan.model.transform}"
    origins = f"{plan.backtest.windows} origin{'s' if plan.backtest.windows > 1 else ''}"
    return (
        f"settings: {named}, width {network.width}, sees {read}, normalised by {scaled}{transform}; "
        f"{_describe_fit(plan)}; backtest at {origins}"
    )


def describe_steps(plan: TrainingSettings) -> str:
    """How many steps the members are fitted for."""
    lengths = sorted({plan.fit.steps_of(share) for share in plan.fit.shares or (1.0,)})
    return " and ".join(f"{length:,}" for length in lengths)


def _describe_fit(plan: TrainingSettings) -> str:
    shorter = ", ".join(f"{share:.3g}" for share in plan.fit.shorter)
    linear = "a linear start, then " if plan.fit.linear_start else ""
    trial = f" (and {shorter} of them)" if shorter else ""
    shares = plan.fit.corrections or ((plan.fit.correction,) if plan.fit.correction < 1 else ())
    told = " or ".join(f"{share:.0%}" for share in shares)
    kept = f", {told} of what a fit adds to its linear forecast kept" if shares else ""
    return f"{linear}{describe_steps(plan)} optimiser steps{trial} of {plan.fit.batch:,} windows{kept}"
