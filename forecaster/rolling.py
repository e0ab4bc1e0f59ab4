"""A model on past origins of a panel: `forecaster backtest`, and the API's call of that name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forecaster.backtest import (
    backtest_windows,
    forecast_windows,
    has_seen,
    score_points,
    score_quantiles,
    target_metrics,
)
from forecaster.baselines import seasonal_naive
from forecaster.errors import InputError
from forecaster.forecast import check_finite
from forecaster.panel import FloatArray, Panel
from forecaster.predictor import LONGEST_HORIZON, Predictor

_MOST_NUMBERS, _FEWEST_WINDOWS = 50_000_000, 1000  # quantiles that are held at once; windows
_FARTHEST_STEP = 1_000_000


@dataclass(frozen=True)
class Rolled:
    """windows: how many were scored; metrics: of the model, by target, and of the naive methods

    error_by_step: [H] mean scaled absolute error; warnings: what should be known of the scores
    """

    windows: int
    horizon: int
    metrics: dict[str, float]
    targets: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, float]]
    error_by_step: FloatArray
    warnings: list[str]


def roll(
    served: Predictor,
    panel: Panel,
    *,
    windows: int,
    step: int | None = None,
    horizon: int | None = None,
    held_out: Callable[[], Predictor | None] = lambda: None,
) -> Rolled:
    """Score `windows` origins of each series, `step` apart (the horizon if None), the last a horizon before the end.

    held_out: gives the model's fit that has not seen the last steps; asked for where the served one has
    Raises InputError.
    """
    info = served.info
    steps = info.horizon if horizon is None else horizon
    if not 1 <= steps <= LONGEST_HORIZON:
        raise InputError(f"{steps} is out of range", field="horizon", mend=f"give 1 to {LONGEST_HORIZON} steps")
    if step is not None and not 1 <= step <= _FARTHEST_STEP:
        raise InputError(f"{step} is out of range", field="step", mend=f"give 1 to {_FARTHEST_STEP} steps")
    found = backtest_windows(
        panel,
        horizon=steps,
        windows=windows,
        step=step or steps,
        season=info.season,
        context=info.settings.common_context,
        most=max(_FEWEST_WINDOWS, _MOST_NUMBERS // (steps * len(info.quantiles))),
    )
    other = held_out() if has_seen(info, found) else None
    grid = forecast_windows(other or served, found)
    check_finite(panel, grid, found.series)
    scores = score_quantiles(found, grid, info.quantiles, positive=info.settings.transform == "log")
    warnings = list(panel.notes)
    if other is not None:
        warnings.append(
            "the served weights have seen these steps: scores are those of the fit that held out the last "
            f"{info.data.get('held_out')}, whose intervals were calibrated there"
        )
    if has_seen(info, found, int(info.data.get("held_out", 0)) if other else 0):
        warnings.append("the model has been trained on some of the steps that it is tested on here: scores flatter it")
    arguments = (found.panel.values, found.begin, found.origin, steps)
    return Rolled(
        windows=len(found.series),
        horizon=steps,
        metrics=scores.metrics,
        targets=target_metrics(found, scores),
        baselines={
            "naive": score_points(found, seasonal_naive(*arguments, 1)).metrics,
            "seasonal_naive": score_points(found, seasonal_naive(*arguments, info.season)).metrics,
        },
        error_by_step=scores.by_step,
        warnings=warnings,
    )
