"""Forecasts that add up: what is forecast of a total is made the sum of what is forecast of its parts.

Legend: N series of a forecast, R of them within the hierarchy, L of these without parts (leaves), H horizon steps.
Means are reconciled by hierarchicalforecast. Everything else that is forecast of a step (median, quantiles, paths)
moves with its mean: a quantile of a sum is not the sum of quantiles, and each series' own are calibrated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from forecaster.errors import InputError, first_line
from forecaster.forecast import Forecast
from forecaster.frequency import IntArray
from forecaster.panel import FloatArray
from forecaster.settings import ModelSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Reconciliation = Literal["structural", "ols", "bottom-up"]
Sums = Mapping[str, Sequence[str]]
_SUMS = TypeAdapter(dict[str, list[str | int]])
_MOST_MEMBERS = 2_000_000  # leaves of all totals together


@dataclass(frozen=True)
class Hierarchy:
    """rows: [R] indices of series, totals first; sums: [R, L] 1 where a leaf counts to a series"""

    rows: IntArray
    sums: csr_matrix

    @classmethod
    def of(cls, sums: Sums, ids: Sequence[Any] | npt.NDArray[Any]) -> Hierarchy:
        """sums: ids of the parts of each total, which may be totals themselves; ids: of the series that there are.

        Raises InputError naming the total and the mend.
        """
        from scipy.sparse import csr_matrix

        place = {str(name): row for row, name in enumerate(ids)}
        leaves = _leaves_of_totals(sums)
        order = list(dict.fromkeys(leaf for own in leaves.values() for leaf in own))
        for name in (*leaves, *order):
            if name not in place:
                mend = "give its series, or leave it out of the sums"
                raise InputError("a sum names a series that is not there", series=name, field="sums", mend=mend)
        column = {leaf: number for number, leaf in enumerate(order)}
        members = [[column[leaf] for leaf in own] for own in (*leaves.values(), *([leaf] for leaf in order))]
        row = np.repeat(np.arange(len(members)), [len(own) for own in members])
        columns = np.concatenate([np.asarray(own, np.int64) for own in members])
        matrix = csr_matrix((np.ones(len(row)), (row, columns)), shape=(len(members), len(order)))
        return cls(np.array([place[name] for name in (*leaves, *order)], np.int64), matrix)


def read_sums(text: str) -> Sums:
    """The parts of each total, written as JSON: `{"total": ["north", "south"]}`. Raises InputError."""
    try:
        found = _SUMS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        total = str(first["loc"][0]) if first["loc"] else None
        mend = 'write {"total": ["north", "south"]}'
        raise InputError(f"the sums cannot be read: {first['msg']}", series=total, field="sums", mend=mend) from error
    return {total: [str(part) for part in parts] for total, parts in found.items()}


def _leaves_of_totals(sums: Sums) -> dict[str, list[str]]:
    """The leaves that each total is the sum of, by way of other totals."""
    if not sums:
        raise InputError("there are no sums", field="sums", mend="give the parts of at least one total")
    try:
        order = list(TopologicalSorter(sums).static_order())
    except CycleError as error:
        name = error.args[1][0]
        raise InputError(
            "it is a part of itself", series=name, field="sums", mend="take it out of its parts"
        ) from error
    leaves: dict[str, list[str]] = {}
    counted = 0
    for name in order:
        if name not in sums:
            continue
        own = [leaf for part in sums[name] for leaf in leaves.get(part, [part])]
        if not own:
            raise InputError("the total has no parts", series=name, field="sums", mend="name them, or leave it out")
        if len(set(own)) < len(own):
            twice = next(leaf for leaf, count in Counter(own).items() if count > 1)
            raise InputError(f"{twice!r} would count twice", series=name, field="sums", mend="name each part once")
        leaves[name] = own
        counted += len(own)
        if counted > _MOST_MEMBERS:
            raise InputError(
                "the sums have too many parts", series=name, field="sums", mend="give fewer levels at once"
            )
    return leaves


def reconcile(forecast: Forecast, sums: Sums, how: Reconciliation, model: ModelSettings) -> Forecast:
    """The forecast with means that add up; series that no sum names stay as they are.

    how: `structural` and `ols` change all levels as little as need be, by least squares (MinT, Wickramasuriya et al.
        2019) in which a total may change by the number of its leaves, or all alike; `bottom-up` takes the leaves' means
    model: of the forecast: where it is one of logarithms, what else is forecast of a step moves by a factor
    Raises InputError, and where several targets are forecast reconciles each by itself.
    """
    floor, multiplicative = model.floor, model.transform == "log"
    targets: Sequence[Any] = [None] if forecast.targets is None else list(dict.fromkeys(forecast.targets.tolist()))
    for target in targets:
        own = np.arange(len(forecast.ids)) if target is None else np.flatnonzero(forecast.targets == target)
        hierarchy = Hierarchy.of(sums, forecast.ids[own])
        rows = own[hierarchy.rows]
        _check_steps(forecast, rows)
        before = forecast.mean[rows].astype(np.float64)
        positive = (floor is not None and floor >= 0) or (multiplicative and bool((before >= 0).all()))
        after = _reconciled(before, hierarchy.sums, how, nonnegative=positive)
        with np.errstate(over="ignore"):
            mean = after.astype(np.float32)
        if not np.isfinite(mean).all():
            mend = "divide the values by a constant"
            raise InputError("a sum is beyond what a 32-bit number holds", field="sums", mend=mend)
        forecast = _moved(forecast, rows, mean, floor, multiplicative)
    return forecast


def _check_steps(forecast: Forecast, rows: IntArray) -> None:
    other = np.flatnonzero((forecast.ds[rows] != forecast.ds[rows[0]]).any(1))
    if len(other):
        series, first = (forecast.ids[rows[row]] for row in (other[0], 0))
        mend = "give both up to the same step"
        raise InputError(
            f"it does not end when {first!r} does, its total or part", series=series, field="ds", mend=mend
        )


def _reconciled(
    mean: npt.NDArray[np.float64], sums: csr_matrix, how: Reconciliation, *, nonnegative: bool
) -> npt.NDArray[np.float64]:
    """[R, H] means that add up."""
    from hierarchicalforecast.methods import BottomUpSparse, MinTraceSparse  # takes seconds, and some 120 MB

    if how == "bottom-up":
        leaves = mean[-sums.shape[1] :]
    else:
        method = MinTraceSparse({"structural": "wls_struct", "ols": "ols"}[how], nonnegative=nonnegative)
        try:
            leaves = method.fit_predict(sums, mean)["mean"][-sums.shape[1] :]
        except Exception as error:  # its solver gives up, which the library tells by an exception of no kind
            problem = f"the means cannot be made to add up in this way ({first_line(error)})"
            raise InputError(problem, field="sums", mend="reconcile bottom-up") from error
    found = BottomUpSparse().fit_predict(sums, np.concatenate([mean[: -sums.shape[1]], leaves]))["mean"]
    return np.asarray(found, np.float64)


def _moved(forecast: Forecast, rows: IntArray, mean: FloatArray, floor: float | None, multiplicative: bool) -> Forecast:
    """The forecast with new means [R, H] of some rows, and all else of these steps moved likewise."""
    before = forecast.mean[rows]
    by_factor = (before > 0) & (mean >= 0) & multiplicative

    def moved(values: FloatArray, least: float | None = floor) -> FloatArray:
        changed: FloatArray = values.copy()
        own = values[rows]
        spread = (rows.size, *[1] * (values.ndim - 2), mean.shape[1])
        factor = np.where(by_factor, mean / np.where(by_factor, before, 1), 1).reshape(spread)
        step = np.where(by_factor, 0, mean - before).reshape(spread)
        changed[rows] = own * factor + step
        if least is not None:
            changed = np.maximum(changed, np.float32(least))
        return changed

    return replace(
        forecast,
        mean=moved(forecast.mean, None),  # as it adds up
        median=moved(forecast.median),
        quantiles={probability: moved(values) for probability, values in forecast.quantiles.items()},
        paths=moved(forecast.paths),
    )
