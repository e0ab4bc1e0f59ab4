"""Settings chosen from the data, its frequency and the horizon alone.

The table of segment, context and lags per season follows what was measured on M4 and the long-horizon sets
(docs/model.md); everything else is derived from the panel's profile.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from forecaster.errors import InputError
from forecaster.frequency import DAY_US, Frequency
from forecaster.settings import Cell, ModelSettings, NetworkSettings, Scale, Transform
from training.profile import Profile
from training.settings import BacktestSettings, FitSettings, Loss, Preset, TrainingSettings

_LONGEST_CONTEXT = 1024
_WINDOWS_WANTED = 400
_USUAL_ORIGINS, _MOST_ORIGINS = 4, 24
_LARGEST_SHARE = 0.1
_RECENCY = 1.0  # where levels drift, the late windows are most like what comes,
_MANY_SERIES = 250  # and of so many series late windows are enough: those of a few all show the same weeks
_FEW_SERIES = 50  # up to so many, segments of half a day beat those of a whole one
_PASSES = 15  # over the observed values in a fit, at most: small panels are soon learnt by heart
_TARGET_PASSES = 720  # and as targets: windows of a long horizon overlap
_FEWEST_STEPS = 100  # and as many again where there is a season to learn
_SHORTER = (0.125, 0.35)  # shares of a fit's steps that are tried besides,
_CORRECTIONS = (1.0, 0.75, 0.5, 0.25)  # shares that are tried of what a fit adds to its linear start
_VALUES_PER_WEIGHT = 200  # of each step that it sees, from which a linear map forecasts what it was not fitted to
_LONG_FIT, _OFTEN_SEEN = 200, 6  # where it has more steps than this, and more passes over the values;
_USUAL_HORIZON = 48  # with a longer horizon windows overlap more, and passes count for more
_SEASONLESS = -0.1  # skill of the seasonal naive method against the naive one below which nothing is made of a season
_INTERMITTENT = 0.1  # share of zeros from which a distribution of counts forecasts them better than free quantiles
_USUAL_REACH, _FAR = 50.0, 1000.0  # of normalised values
_WEIGHTS = "fit.target_weights."
_POSITIVE = 0.99  # share of values above zero from which percentages and logarithms mean something


@dataclass(frozen=True)
class _Shape:
    """What was measured to work for one kind of season (docs/model.md).

    Segment, context and lags in steps; width of the state; optimiser steps and batch of a balanced fit
    cells: of a balanced model's members; multiplicative: whether the logarithm pays for positive data; both: whether it
    pays to have it in one member and not in the other; dropout
    """

    segment: int
    context: int
    lags: tuple[int, ...]
    width: int
    steps: int
    batch: int
    cells: tuple[Cell, ...] = ("gru", "lstm")
    multiplicative: bool = False
    both: bool = False
    dropout: float = 0.1


# A long fit of one network gains more on hourly data than two shorter ones.
_DAY_OF_HOURS = _Shape(24, 336, (24, 48, 168, 336), 96, 2400, 256, cells=("gru",), multiplicative=True, dropout=0.0)
_SHAPES = {
    "hourly": _DAY_OF_HOURS,
    "yearly": _Shape(3, 30, (6, 12), 64, 800, 1024, cells=("gru", "gru"), both=True),
    "quarterly": _Shape(4, 40, (4, 8, 12), 64, 900, 1024, cells=("gru", "gru"), both=True),
    "monthly": _Shape(6, 72, (12, 24, 36), 96, 650, 768, multiplicative=True),
    "weekly": _Shape(13, 156, (13, 52, 104), 64, 800, 512),
    "daily": _Shape(7, 112, (7, 14, 28), 64, 900, 768),
}
_NO_SEASON = _Shape(8, 128, (8, 16), 64, 1000, 256)
_WIDEST_SEGMENT, _NARROWEST_SEGMENT = 48, 5
_FAST_SHARE, _LONGEST_FAST = 0.3, 400  # of a balanced fit's steps, and steps: about a minute on two cores
_LONGER = 1.5  # context of a member of the best preset
_LONG_SEGMENT = 24


def choose_settings(
    profile: Profile,
    freq: Frequency,
    horizon: int,
    preset: Preset,
    seed: int,
    *,
    rare_counts: bool = True,
    linear_start: bool = True,
) -> TrainingSettings:
    """Working settings for a panel; nothing is tuned by hand for one data set.

    rare_counts: whether such data may have a distribution of counts; linear_start: whether there may be one
    """
    shape = _shape(freq)
    often = _passes(shape.steps, shape, horizon, profile) > _OFTEN_SEEN
    network = _network(shape, freq, horizon, profile, preset, often)
    late = (network.season == 1 or not _calm(freq)) and profile.series >= _MANY_SERIES
    positive = profile.share_positive >= _POSITIVE
    loss: Loss = "quantile"
    if rare_counts and profile.counts and profile.share_zero >= _INTERMITTENT:
        loss = "likelihood"
        network = network.model_copy(update={"head": "negative_binomial", "location": "zero", "scale": "size"})
    steps = _steps(shape, preset, horizon, network.season > 1, profile)
    tried = preset != "fast" and steps > _LONG_FIT and _passes(steps, shape, horizon, profile) > _OFTEN_SEEN
    linear = linear_start and often and loss == "quantile" and _linear(network, profile)
    if linear:  # fitted alone to all windows, the map of hours may see two weeks
        network = network.model_copy(update={"highway": max(network.highway, *network.lags)})
    fit = FitSettings(
        steps=steps,
        shorter=_SHORTER if tried else (),
        linear_start=linear,
        corrections=_CORRECTIONS if linear else (),
        batch=shape.batch,
        loss=loss,
        percentage_weight=0.5 if positive else 0.0,
        shortest_target=1 if late or network.season == 1 else min(horizon, freq.season),
        recency=_RECENCY if late else 0.0,
        # Cut windows teach young series; where nothing is seasonal, a short window says as much as a long one.
        truncate=0.5 if freq.season > 1 and profile.shortest < network.context + horizon else 0.0,
        seed=seed,
    )
    logarithm = shape.both and positive and loss == "quantile"
    long = len(shape.cells) == 1 and not often
    members = _members(network, shape.cells, logarithm, preset, freq, profile, long=long)
    transform: Transform = "log" if positive and shape.multiplicative else "identity"
    floor = 0.0 if profile.counts else None
    model = ModelSettings(freq=freq.name, season=freq.season, transform=transform, floor=floor, members=members)
    return TrainingSettings(preset=preset, model=model, fit=fit, backtest=_backtest(profile, horizon))


def _steps(shape: _Shape, preset: Preset, horizon: int, seasonal: bool, profile: Profile) -> int:
    """What was measured on large panels, less for a small one."""
    usual = min(int(shape.steps * _FAST_SHARE), _LONGEST_FAST) if preset == "fast" else shape.steps
    passes = min(_PASSES, _TARGET_PASSES / horizon)
    enough = max(int(passes * profile.observed) // shape.batch, _FEWEST_STEPS * (1 + seasonal))
    return min(usual, enough)


def _passes(steps: int, shape: _Shape, horizon: int, profile: Profile) -> float:
    """How often such a fit sees each value; more for a long horizon, whose windows overlap."""
    return steps * shape.batch / profile.observed * max(1, horizon / _USUAL_HORIZON)


def _linear(network: NetworkSettings, profile: Profile) -> bool:
    """Whether a linear map forecasts what it was not fitted to (docs/model.md); of hours, one of a week is asked."""
    return network.season > 1 and profile.observed >= _VALUES_PER_WEIGHT * network.highway


def _calm(freq: Frequency) -> bool:
    """Whether levels change little from step to step: within the day."""
    return freq.kind == "tick" and freq.step < DAY_US


def _shape(freq: Frequency) -> _Shape:
    """The measured shape whose season is most like this one's, for the length of the season at hand."""
    season = freq.season
    if season == 1:
        return _SHAPES["yearly"] if freq.kind == "month" else _NO_SEASON
    if freq.kind == "month":
        return _rescaled(_SHAPES["monthly"], season, 12) if season >= 12 else _rescaled(_SHAPES["quarterly"], season, 4)
    days = freq.step / DAY_US
    if freq.kind == "business" or 1 <= days < 6:
        return _rescaled(_SHAPES["daily"], season, 7)
    return _rescaled(_SHAPES["weekly"], season, 52) if days >= 6 else _rescaled(_DAY_OF_HOURS, season, 24)


def _rescaled(shape: _Shape, season: int, of: int) -> _Shape:
    """The same shape for another length of the season; a very long season is seen for fewer seasons."""
    if season == of:
        return shape
    factor = season / of
    context = min(round(shape.context * factor), max(_LONGEST_CONTEXT, 4 * season))
    lags = tuple(lag for lag in (round(lag * factor) for lag in shape.lags) if 0 < lag <= context)
    return replace(shape, segment=_segment(season), context=context, lags=lags)


def _segment(season: int) -> int:
    """A whole share of the season, at most 48 steps: about as wide as an embedding can use; 24 where there is none."""
    longest = min(season, _WIDEST_SEGMENT)
    divisors = (size for size in range(longest, _NARROWEST_SEGMENT, -1) if season % size == 0)
    return next(divisors, min(longest, 24))


def _network(
    shape: _Shape, freq: Frequency, horizon: int, profile: Profile, preset: Preset, often: bool
) -> NetworkSettings:
    """Fit the shape to the data: no context longer than the series, none too short for the horizon.

    often: whether a fit sees all values often. Within the day, a scale that follows the changes then forecasts better
    than one that follows the season, and so do segments of half a day where the series are few (docs/model.md). What a
    per cent is to a series is learnt from many.
    """
    # Three horizons of months or days hold a season; of hours they only make the fit longer (docs/model.md).
    wanted = shape.context if _calm(freq) else max(shape.context, min(3 * horizon, _LONGEST_CONTEXT))
    context = max(1, min(wanted, profile.longest - 1))
    lags = tuple(sorted({lag for lag in shape.lags if lag <= context}))
    telling = profile.seasonal_skill is None or profile.seasonal_skill > _SEASONLESS
    seasonal = freq.season > 1 and context >= 2 * freq.season and telling
    whole_day = _calm(freq) and shape.segment >= max(freq.season, _LONG_SEGMENT)
    halved = often and whole_day and profile.series <= _FEW_SERIES
    scale: Scale = "std" if seasonal and _calm(freq) and not often else "change"
    width = {"fast": min(shape.width, 64)}.get(preset, shape.width)
    return NetworkSettings(
        horizon=horizon,
        context=context,
        segment=min(shape.segment // 2 if halved else shape.segment, context),
        season=freq.season if seasonal else 1,
        lags=lags,
        highway=min(context, 168 if freq.season == 24 else max(lags, default=1)),
        width=width,
        dropout=shape.dropout,
        scale=scale,
        reach=_reach(seasonal, scale),
        variability=profile.share_positive >= _POSITIVE and not often,
    )


def _reach(seasonal: bool, scale: Scale) -> float:
    """Where a season rules, all of its curve is to be seen, however smooth: by the minute, a day's wave is 720 of its
    mean changes high. Where none does, what is so far from the last value is long gone."""
    return _FAR if seasonal and scale == "change" else _USUAL_REACH


def _members(
    network: NetworkSettings,
    cells: tuple[Cell, ...],
    logarithm: bool,
    preset: Preset,
    freq: Frequency,
    profile: Profile,
    *,
    long: bool,
) -> tuple[NetworkSettings, ...]:
    """Those of the best preset read the window in different ways: their errors differ more than those of seeds do.

    logarithm: whether the last one, and the best preset's LSTM, work on logarithms
    long: whether the fits are so long that an LSTM is not worth its own (docs/model.md)
    """
    if preset == "fast":
        return (network.model_copy(update={"cell": cells[0]}),)
    if preset == "balanced":
        *members, last = (network.model_copy(update={"cell": cell}) for cell in cells)
        return (*members, last.model_copy(update={"logarithm": logarithm}))
    segment = network.segment
    segment = segment // 2 if segment % 2 == 0 and segment >= _LONG_SEGMENT else 2 * segment
    longer = min(int(_LONGER * network.context), profile.longest - 1)
    swapped: dict[Scale, Scale] = {"std": "change", "change": "std"} if freq.season > 1 else {}
    scale = swapped.get(network.scale, network.scale)
    lstm = network.model_copy(update={"cell": "lstm", "logarithm": logarithm})
    resegmented = network.model_copy(update={"segment": min(segment, network.context)})
    reaching = network.model_copy(update={"context": max(network.context, longer)})
    other: dict[str, Any] = {"scale": scale, "reach": _reach(network.season > 1, scale), "logarithm": logarithm}
    rescaled = network.model_copy(update=other)
    return (network, *(() if long else (lstm,)), resegmented, reaching, rescaled)


def _backtest(profile: Profile, horizon: int) -> BacktestSettings:
    """Four origins over the last one and a half horizons when there are many long series, one when they are short.

    Calibration wants some hundred windows that differ: few series get more origins, farther apart, from at most
    the last tenth of their length.
    """
    spare = profile.median_length - 3 * horizon
    wanted = math.ceil(_WINDOWS_WANTED / profile.series)
    if wanted <= _USUAL_ORIGINS:
        step = max(1, horizon // 6)
        return BacktestSettings(windows=int(min(_USUAL_ORIGINS, max(0, spare) // step + 1)), step=step)
    step = max(1, horizon // 2)
    room = min(max(profile.median_length * _LARGEST_SHARE, horizon), max(spare, 0))
    return BacktestSettings(windows=int(min(wanted, _MOST_ORIGINS, room // step + 1)), step=step)


def override(settings: TrainingSettings, changes: dict[str, Any]) -> TrainingSettings:
    """Settings with dotted names replaced, e.g. `fit.steps` or `network.width` (all members)."""
    from pydantic import ValidationError

    data = settings.model_dump(mode="json")
    for name, value in changes.items():
        parts = name.split(".")
        targets = data["model"]["members"] if parts[0] == "network" else [data]
        path = parts[1:] if parts[0] == "network" else parts
        for target in targets:
            for part in path[:-1]:
                target = target.get(part) if isinstance(target, dict) else None
            if not isinstance(target, dict) or not path or path[-1] not in target:
                if name.startswith(_WEIGHTS):
                    problem = f"there is no target {name.removeprefix(_WEIGHTS)!r}"
                    raise InputError(problem, field=name, mend="name it in --targets (in a job: targets)")
                raise InputError(
                    "there is no such setting", field=name, mend="see `forecaster train --help` and docs/settings.md"
                )
            target[path[-1]] = value
    try:
        return TrainingSettings.model_validate(data)
    except ValidationError as error:
        raise _refused(error.errors()[0]) from error


def _refused(error: Any) -> InputError:
    """A setting's own words, with the name by which a person gives it."""
    place = ".".join(str(part) for part in error["loc"])
    field = re.sub(r"^model\.members\.\d+", "network", place)
    if error["type"] == "tuple_type":
        return InputError("it is a list", field=field, mend="write [12,24], with as many values as you like")
    problem = error["msg"].removeprefix("Value error, ")
    together = error["type"] == "value_error" and field in ("", "model", "network")
    mend = "change one of them" if together else "change the setting"
    return InputError(problem, field=field or "settings", mend=mend)
