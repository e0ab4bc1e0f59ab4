"""What is known of a panel's series besides their values.

Legend: N series, H horizon steps, D columns that change with time, S static columns, U steps of all series together,
known future ones included.
A number is a value of a numeric column, or the code of a category: 1 for the first in its list, 0 for one that is not
in it. NaN is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from forecaster.errors import InputError
from forecaster.frequency import Frequency
from forecaster.mapped import parts
from forecaster.panel import Covariates, FloatArray, Panel
from forecaster.settings import CovariateSettings, ModelSettings

_MADE_UP_START = 100  # a step within any calendar


def covariates_for(panel: Panel, settings: CovariateSettings) -> Covariates:
    """The covariates of a panel in the columns, and with the codes, of a model. Raises InputError."""
    _check_targets(panel, settings)
    own = panel.covariates
    if own is None:
        if settings.columns:
            raise InputError(
                "the model needs this covariate", field=settings.columns[0], mend="give its column with the series"
            )
        return Covariates(
            settings, np.empty((0, 0), np.float32), panel.offsets, np.empty((panel.n_series, 0), np.float32)
        )
    if own.settings == settings:
        return own
    known = _by_column(own)
    missing = [column for column in settings.columns if column not in known]
    if missing:
        raise InputError("the model needs this covariate", field=missing[0], mend="give its column with the series")
    found = {column: _recoded(known[column], column, own.settings, settings) for column in settings.columns}
    dynamic = [found[column] for column in (*settings.future, *settings.past)]
    static = [found[column] for column in settings.static]
    return Covariates(
        settings,
        np.stack(dynamic) if dynamic else np.empty((0, own.dynamic.shape[1]), np.float32),
        own.offsets,
        np.stack(static, 1) if static else np.empty((panel.n_series, 0), np.float32),
    )


def _check_targets(panel: Panel, settings: CovariateSettings) -> None:
    if (panel.targets is None) == (not settings.targets):
        return
    if settings.targets:
        wanted = ", ".join(settings.targets)
        raise InputError(f"the model forecasts {wanted}", field=settings.targets[0], mend="give each of these columns")
    raise InputError("the model forecasts y alone", field=panel.column(0), mend="give it as the column y")


def target_codes(panel: Panel, settings: CovariateSettings) -> npt.NDArray[np.float32]:
    """[N] which of the model's targets each series is, from 1 on; 0 where it is `y`. Raises InputError."""
    _check_targets(panel, settings)
    codes = np.zeros(panel.n_series, np.float32)
    if panel.targets is None:
        return codes
    for code, target in enumerate(settings.targets, 1):
        codes[panel.targets == target] = code
    if not codes.all():
        stranger = panel.column(int(np.flatnonzero(codes == 0)[0]))
        wanted = ", ".join(settings.targets)
        raise InputError("the model does not forecast this", field=stranger, mend=f"give {wanted}")
    return codes


def _by_column(covariates: Covariates) -> dict[str, FloatArray]:
    settings = covariates.settings
    changing = dict(zip((*settings.future, *settings.past), covariates.dynamic, strict=True))
    return {**changing, **dict(zip(settings.static, covariates.static.T, strict=True))}


def _recoded(
    numbers: FloatArray, column: str, given: CovariateSettings, wanted: CovariateSettings
) -> npt.NDArray[np.float32]:
    """A column's numbers, or its codes in the order of another model's categories."""
    before, after = given.categories.get(column), wanted.categories.get(column)
    if (before is None) != (after is None):
        kind = "categories" if after is not None else "numbers"
        raise InputError(f"the model knows {kind} here", field=column, mend="give what it was trained on")
    if before is None or after is None:
        return numbers
    place = {name: code for code, name in enumerate(after, 1)}
    table = np.array([0, *(place.get(name, 0) for name in before)], np.float32)
    return np.where(np.isnan(numbers), np.nan, table[np.nan_to_num(numbers).astype(np.int64)]).astype(np.float32)


def require_future(panel: Panel, settings: CovariateSettings, steps: int) -> None:
    """Raise InputError unless every step of the horizon has its row of each column that is known beforehand."""
    if not settings.future:
        return
    own = covariates_for(panel, settings)
    ahead = np.diff(own.offsets) - panel.lengths
    names = ", ".join(settings.future)
    if (ahead < steps).any():
        index = int(np.flatnonzero(ahead < steps)[0])
        raise InputError(
            f"there are {max(0, ahead[index])} future rows of {names} for a horizon of {steps} steps",
            series=panel.ids[index],
            field=settings.future[0],
            mend="give one for each step of the horizon, or ask for a shorter one",
        )
    place = own.offsets[:-1, None] + panel.lengths[:, None] + np.arange(steps)
    for row, column in enumerate(settings.future):
        absent = np.isnan(own.dynamic[row][place]).all(1)
        if absent.any():
            raise InputError(
                f"all of its {steps} future values are missing",
                series=panel.ids[int(np.flatnonzero(absent)[0])],
                field=column,
                mend="give those of the horizon",
            )


def missing_notes(panel: Panel, settings: CovariateSettings, context: int) -> Iterator[tuple[int, str]]:
    """Series of a panel, and what is missing of each altogether. context: steps of it that are looked at"""
    if not settings.columns:
        return
    own = covariates_for(panel, settings)
    for column, numbers in zip(settings.static, own.static.T, strict=True):
        for index in np.flatnonzero(np.isnan(numbers)):
            yield int(index), f"covariate {column!r} is missing"
    ends = own.offsets[:-1] + panel.lengths
    begins = np.maximum(own.offsets[:-1], ends - context)
    for column, numbers in zip((*settings.future, *settings.past), own.dynamic, strict=True):
        known = np.concatenate([[0], np.cumsum(~np.isnan(numbers))])
        for index in np.flatnonzero(known[ends] == known[begins]):
            yield int(index), f"covariate {column!r} is missing in the recent history"


def made_up_panel(values: FloatArray, settings: ModelSettings) -> Panel:
    """A panel of histories [N, steps] as a model wants it, with covariates that are no one's data."""
    rows, length = values.shape
    freq, targets = Frequency.parse(settings.freq, settings.season), settings.covariates.targets
    return Panel(
        ids=np.arange(rows),
        values=values.reshape(-1),
        offsets=np.arange(rows + 1) * length,
        start=np.full(rows, _MADE_UP_START),
        phase=np.full(rows, freq.anchor),
        freq=freq,
        covariates=_made_up(settings, rows, length),
        targets=np.resize(np.array(targets, object), rows) if targets else None,
    )


def _made_up(settings: ModelSettings, series: int, steps: int) -> Covariates | None:
    """Of so many series of `steps` steps and a horizon; some numbers are missing."""
    own = settings.covariates
    if not own.columns:
        return None
    total = steps + settings.horizon
    wave = np.sin(np.arange(series * total) / 3)
    wave[::7] = np.nan
    rows = [_made_up_numbers(own, column, wave) for column in (*own.future, *own.past)]
    static = [_made_up_numbers(own, column, np.linspace(-1, 1, series)) for column in own.static]
    return Covariates(
        own,
        np.stack(rows) if rows else np.empty((0, series * total), np.float32),
        np.arange(series + 1) * total,
        np.stack(static, 1) if static else np.empty((series, 0), np.float32),
    )


def _made_up_numbers(settings: CovariateSettings, column: str, wave: npt.NDArray[np.float64]) -> FloatArray:
    """Numbers about a column's mean, or codes of its categories. wave: from −1 to 1"""
    if column in settings.categories:
        return np.rint((wave + 1) / 2 * len(settings.categories[column])).astype(np.float32)
    mean, deviation = settings.scales[column]
    return (mean + deviation * wave).astype(np.float32)


def learn_scales(covariates: Covariates) -> Covariates:
    """The mean and standard deviation of each numeric column, noted in its settings."""
    settings = covariates.settings
    scales: Mapping[str, tuple[float, float]] = {
        column: _scale(numbers)
        for column, numbers in _by_column(covariates).items()
        if column not in settings.categories
    }
    return replace(covariates, settings=settings.model_copy(update={"scales": dict(scales)}))


def _scale(numbers: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation, in two walks: squares of large numbers alone would lose what they differ by."""
    count = sum(np.count_nonzero(~np.isnan(numbers[part])) for part in parts(len(numbers)))
    if not count:
        return 0.0, 1.0
    mean = sum(np.nansum(numbers[part], dtype=np.float64) for part in parts(len(numbers))) / count
    square = sum(np.nansum((numbers[part] - mean) ** 2, dtype=np.float64) for part in parts(len(numbers))) / count
    return float(mean), float(np.sqrt(square)) or 1.0
