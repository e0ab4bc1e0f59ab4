"""The panel: many series of different lengths in one flat array.

Legend: N series, T values of all series together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.errors import InputError
from forecaster.frequency import Frequency, IntArray
from forecaster.mapped import flat_array, groups, parts
from forecaster.settings import CovariateSettings

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Covariates:
    """What is known of series besides their values (see `forecaster.covariates`).

    dynamic: [D, U] columns known beforehand, then those known up to the present; NaN = missing
    offsets: [N + 1] series i is `dynamic[:, offsets[i]:offsets[i + 1]]`, from its first step to its last known one
    static: [N, S]
    """

    settings: CovariateSettings
    dynamic: FloatArray
    offsets: IntArray
    static: FloatArray

    def select(self, index: IntArray) -> Covariates:
        """Those of the series at `index`, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        dynamic = flat_array((len(self.dynamic), int(offsets[-1])), np.float32, 0)
        for group in groups(offsets):  # temporaries of a part's size
            own = offsets[group.start : group.stop + 1]
            moved = np.repeat(self.offsets[index[group]] - own[:-1], lengths[group])
            dynamic[:, own[0] : own[-1]] = self.dynamic[:, np.arange(own[0], own[-1]) + moved]
        return Covariates(self.settings, dynamic, offsets, self.static[index])


@dataclass(frozen=True)
class Panel:
    """Series on a common grid, one after the other in `values`.

    ids: [N] strings or integers, as they were given, each once
    values: [T] float32; NaN = unobserved (missing, or absent from the table)
    offsets: [N + 1] int64; series i is `values[offsets[i]:offsets[i + 1]]`
    start: [N] ordinal of each series' first step on the grid of `freq`
    phase: [N] where within a step each series sits (see `Frequency`)
    integer: whether `ds` counts steps instead of being timestamps
    zone: `UTC` when timestamps had a zone and are kept as UTC instants, otherwise None
    notes: what was done to the data that its owner should know
    covariates: what else is known of the series; None where nothing is
    targets: [N] the column that each series comes from, where several are forecast: then an id occurs once for each
    """

    ids: npt.NDArray[Any]
    values: FloatArray
    offsets: IntArray
    start: IntArray
    phase: IntArray
    freq: Frequency
    integer: bool = False
    zone: str | None = None
    notes: tuple[str, ...] = ()
    covariates: Covariates | None = None
    targets: npt.NDArray[Any] | None = None

    @property
    def n_series(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> IntArray:
        """[N] steps of each series, unobserved ones included."""
        return np.diff(self.offsets)

    @property
    def ends(self) -> IntArray:
        """[N] ordinal of each series' last step."""
        return self.start + self.lengths - 1

    @property
    def owners(self) -> IntArray:
        """[N] numbers of the ids: neighbours that are targets of one id have the same."""
        if self.targets is None:
            return np.arange(self.n_series)
        return np.cumsum(np.append(0, self.ids[1:] != self.ids[:-1])) if self.n_series else self.start

    def column(self, index: int) -> str:
        """The column of one series' values."""
        return "y" if self.targets is None else str(self.targets[index])

    def label(self, index: int) -> str:
        """One series by name, for people."""
        return str(self.ids[index]) + ("" if self.targets is None else f", {self.targets[index]}")

    def series(self, index: int) -> FloatArray:
        """A view of one series' values."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def select(self, indices: npt.ArrayLike) -> Panel:
        """A panel of the series at `indices`, in that order; values are copied."""
        index = np.asarray(indices, np.int64)
        lengths = self.lengths[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.concatenate([self.series(i) for i in index]) if len(index) else self.values[:0]
        return replace(
            self,
            ids=self.ids[index],
            values=values,
            offsets=offsets,
            start=self.start[index],
            phase=self.phase[index],
            notes=(),
            covariates=self.covariates.select(index) if self.covariates else None,
            targets=None if self.targets is None else self.targets[index],
        )

    def future(self, horizon: int) -> npt.NDArray[Any]:
        """[N, horizon] the timestamps (or steps) that follow each series."""
        ordinal = self.ends[:, None] + np.arange(1, horizon + 1)
        return self.freq.from_grid(ordinal, self.phase[:, None], integer=self.integer)

    def timestamps(self, index: int) -> npt.NDArray[Any]:
        """[length] the timestamps (or steps) of one series."""
        ordinal = self.start[index] + np.arange(self.lengths[index])
        return self.freq.from_grid(ordinal, self.phase[index : index + 1], integer=self.integer)

    def observed_counts(self, last: int | None = None) -> IntArray:
        """[N] observed values of each series, or of its `last` steps only."""
        begin, end = self.offsets[:-1], self.offsets[1:]
        first = begin if last is None else np.maximum(begin, end - last)
        return self.observed_between(first, end)

    def observed_between(self, begin: IntArray, end: IntArray) -> IntArray:
        """[P] observed values from each of `begin` to before its `end`, places in the flat array."""
        before = _observed_before(self.values, np.concatenate([begin, end]))
        return before[len(begin) :] - before[: len(begin)]

    def require_observations(self) -> None:
        """Raise unless every series has at least one observed value."""
        if self.n_series == 0:
            raise InputError("there is no series in the data", mend="give at least one row")
        empty = np.flatnonzero(self.observed_counts() == 0)
        if len(empty):
            raise InputError(
                "no value is observed",
                series=self.ids[empty[0]],
                field=self.column(int(empty[0])),
                mend="give at least one number or leave the series out",
            )


def side_by_side(panels: Sequence[Panel], targets: Sequence[str]) -> Panel:
    """One panel of several targets of the same series, those of a series one after the other.

    panels: one for each target, alike in all but their values; covariates are taken from the first
    """
    first, count = panels[0], len(panels)
    owner, many = np.arange(first.n_series), np.arange(first.n_series * count)
    stacked = replace(
        first,
        ids=np.tile(first.ids, count),
        values=np.concatenate([panel.values for panel in panels]),
        offsets=np.concatenate([[0], np.cumsum(np.tile(first.lengths, count))]).astype(np.int64),
        start=np.tile(first.start, count),
        phase=np.tile(first.phase, count),
        targets=np.repeat(np.array(targets, object), first.n_series),
        covariates=None,
    )
    known = first.covariates.select(owner.repeat(count)) if first.covariates else None
    return replace(stacked.select(many.reshape(count, -1).T.reshape(-1)), notes=first.notes, covariates=known)


def _observed_before(values: FloatArray, places: IntArray) -> IntArray:
    """[P] how many values before each place are observed."""
    before, total = np.zeros(len(places), np.int64), 0
    for part in parts(len(values)):
        running = np.cumsum(~np.isnan(values[part]), dtype=np.int32)
        here = (places > part.start) & (places <= part.stop)
        before[here] = total + running[places[here] - part.start - 1]
        total += int(running[-1])
    return before
