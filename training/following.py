"""Automatic settings that give way to those which a person names, so that one setting can be changed alone.

What contradicts each other among the settings that are named is left to the settings' own checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forecaster.settings import NetworkSettings
from training.settings import TrainingSettings

_OF_COUNTS = {
    "network.head": "negative_binomial",
    "fit.loss": "likelihood",
    "network.location": "zero",
    "network.scale": "size",
    "model.transform": "identity",
    "network.logarithm": False,
}


def leaves_counts(changes: Mapping[str, Any]) -> bool:
    """Whether something is named that a distribution of counts cannot have: rare counts are then taken as numbers."""
    return any(changes.get(name, value) != value for name, value in _OF_COUNTS.items())


def leaves_linear_start(changes: Mapping[str, Any]) -> bool:
    """Whether something is named that has none: the shortcut is then another one, and no correction is tried."""
    return changes.get("fit.linear_start") is False or changes.get("network.head") == "negative_binomial"


def following(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that follow from `changes`, which come after them, both by dotted names."""
    follow: dict[str, Any] = {}
    if changes.get("network.head") == "negative_binomial":
        follow |= _OF_COUNTS
    if changes.get("model.transform", "identity") != "identity":
        follow["network.logarithm"] = False
    if changes.get("network.logarithm"):
        follow["model.transform"] = "identity"
    return follow


def with_line(plan: TrainingSettings, changes: Mapping[str, Any]) -> TrainingSettings:
    """Without a linear start where what is named leaves it less than two seasons to see, unless it is named too: a map
    without the form of a season learns the panel by heart."""
    seasonal = all(member.season > 1 and member.highway >= 2 * member.season for member in plan.model.members)
    if seasonal or not plan.fit.linear_start or "fit.linear_start" in changes:
        return plan
    corrections = plan.fit.corrections if "fit.corrections" in changes else ()
    fit = plan.fit.model_copy(update={"linear_start": False, "corrections": corrections})
    return plan.model_copy(update={"fit": fit})


def fit_context(plan: TrainingSettings, changes: Mapping[str, Any]) -> TrainingSettings:
    """With segments, lags, shortcuts and season of each network that fit into the context that is named."""
    context = changes.get("network.context")
    if not isinstance(context, int) or context < 1:
        return plan
    members = tuple(_within(member, context) for member in plan.model.members)
    return plan.model_copy(update={"model": plan.model.model_copy(update={"members": members})})


def _within(member: NetworkSettings, context: int) -> NetworkSettings:
    return member.model_copy(
        update={
            "context": context,
            "segment": min(member.segment, context),
            "highway": min(member.highway, context),
            "lags": tuple(lag for lag in member.lags if lag <= context),
            "season": member.season if context >= 2 * member.season else 1,  # one season fills no gaps of another
        }
    )
