"""Rows to their places in the flat array of a panel; several rows of one step are an error, or combined.

Legend: T steps of all series together, R rows of a batch.
Rows come in batches, in any order. Unobserved values (NaN) take no part in what is combined.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forecaster.frequency import IntArray
from forecaster.mapped import flat_array, parts
from forecaster.panel import FloatArray
from forecaster.settings import Aggregation

_BEFORE_ALL = np.iinfo(np.int64).min


class Gathering(Protocol):
    """Takes rows and gives the flat array."""

    def add(self, place: IntArray, values: FloatArray, when: IntArray, /) -> None:
        """place: [R] in the flat array; values: [R]; when: [R] an order in time of rows that share a place"""

    def values(self) -> FloatArray:
        """[T], NaN where nothing was observed."""


def gathering(how: Aggregation | None, steps: int) -> Gathering:
    """What brings rows to `steps` places; None takes one row for each and raises RepeatedRow at another."""
    if how is None:
        return _Single(steps)
    return _Last(steps) if how == "last" else _Sums(steps, mean=how == "mean")


class RepeatedRow(Exception):
    """A place that is taken; `row` is the number of the row within its batch."""

    def __init__(self, row: int) -> None:
        self.row = row


class _Single:
    def __init__(self, steps: int) -> None:
        self._values = flat_array(steps, np.float32, np.nan)
        self._filled = flat_array(steps, bool, False)

    def add(self, place: IntArray, values: FloatArray, _when: IntArray, /) -> None:
        again = self._filled[place]
        if again.any() or not (place[1:] > place[:-1]).all():
            order = np.argsort(place, kind="stable")
            again[order[1:]] |= place[order[1:]] == place[order[:-1]]
        if again.any():
            raise RepeatedRow(int(np.flatnonzero(again)[0]))
        self._filled[place] = True
        self._values[place] = values

    def values(self) -> FloatArray:
        return self._values


class _Sums:
    def __init__(self, steps: int, *, mean: bool) -> None:
        self._mean = mean
        self._sums = flat_array(steps, np.float64, 0)
        self._counts = flat_array(steps, np.int32, 0)

    def add(self, place: IntArray, values: FloatArray, _when: IntArray, /) -> None:
        observed = ~np.isnan(values)
        np.add.at(self._sums, place[observed], values[observed])
        np.add.at(self._counts, place[observed], 1)

    def values(self) -> FloatArray:
        values = flat_array(len(self._sums), np.float32, np.nan)
        for part in parts(len(values)):
            sums, counts = self._sums[part], self._counts[part]
            np.divide(sums, counts if self._mean else 1, out=values[part], where=counts > 0, casting="same_kind")
        return values


class _Last:
    """The last in time, and of rows of one time the last to come."""

    def __init__(self, steps: int) -> None:
        self._values = flat_array(steps, np.float32, np.nan)
        self._when = flat_array(steps, np.int64, _BEFORE_ALL)

    def add(self, place: IntArray, values: FloatArray, when: IntArray, /) -> None:
        observed = ~np.isnan(values)
        place, values, when = place[observed], values[observed], when[observed]
        order = np.lexsort((when, place))
        ends: npt.NDArray[Any] = order[np.append(np.diff(place[order]) != 0, True)[: len(order)]]
        later = ends[when[ends] >= self._when[place[ends]]]
        self._values[place[later]] = values[later]
        self._when[place[later]] = when[later]

    def values(self) -> FloatArray:
        return self._values
