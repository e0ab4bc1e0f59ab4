"""Columns of covariates to the arrays of a panel, batch by batch, beside the values.

Legend: N series, U steps of all series, R rows of a batch, D columns that change with time, S static columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from forecaster.columns import MISSING_WORDS, NameOf, is_text, names, numbers, without_words
from forecaster.combining import Gathering, gathering
from forecaster.errors import InputError
from forecaster.frequency import IntArray
from forecaster.mapped import flat_array, parts
from forecaster.panel import Covariates, FloatArray
from forecaster.settings import Aggregation, CovariateSettings

_MOST_CATEGORIES = 1000  # of a column, by name; the others count as unknown
_TOLD = 5
_NUMBER = re.compile(r"-?\d+(\.\d*)?")


class CovariateReader:
    """Second pass of reading: every row's covariates to their places."""

    def __init__(self, settings: CovariateSettings, steps: int, series: int, combine: Aggregation | None) -> None:
        """combine: how rows that share a step are, where there are such rows; categories are by their last"""
        self._settings = settings
        self._columns = {column: _Column(column, settings) for column in settings.columns}
        self._steps, self._combine = steps, combine
        self._changing: dict[str, Gathering] = {}
        self._static = {column: np.full(series, np.nan, np.float32) for column in settings.static}

    def add(self, batch: pa.RecordBatch, series: IntArray, place: IntArray, when: IntArray, name: NameOf) -> None:
        """series: [R] numbers; place: [R] among all steps; when: [R] order in time. Raises InputError."""
        for column, reader in self._columns.items():
            found = reader.read(batch.column(column), name)
            if column in self._static:
                self._note(column, series, found, name)
                continue
            if column not in self._changing:  # what it holds is known now
                how: Aggregation = "last" if reader.categorical or self._combine in (None, "last") else "mean"
                self._changing[column] = gathering(how, self._steps)
            self._changing[column].add(place, found, when)

    def finish(self, offsets: IntArray) -> tuple[Covariates, tuple[str, ...]]:
        """The covariates, with the categories that were found, and what their owner should know."""
        settings = self._settings
        arrays = {column: gathered.values() for column, gathered in self._changing.items()} | self._static
        self._changing.clear()  # a column's own array goes when it has been copied to its row
        categories, notes = dict(settings.categories), list[str]()
        for column, reader in self._columns.items():
            if reader.categorical:
                reader.sort_codes(arrays[column])
                categories[column] = reader.categories
                notes += reader.notes()
        changing = (*settings.future, *settings.past)
        dynamic = flat_array((len(changing), int(offsets[-1])), np.float32, np.nan)
        for row, column in enumerate(changing):
            dynamic[row] = arrays.pop(column)
        static = [arrays[column] for column in settings.static]
        covariates = Covariates(
            settings.model_copy(update={"categories": categories}),
            dynamic,
            offsets,
            np.stack(static, 1) if static else np.empty((len(offsets) - 1, 0), np.float32),
        )
        return covariates, tuple(notes)

    def _note(self, column: str, series: IntArray, found: FloatArray, name: NameOf) -> None:
        """A static column's values, which must be one for each series."""
        known = ~np.isnan(found)
        noted = self._static[column]
        fresh = known & np.isnan(noted[series])
        noted[series[fresh]] = found[fresh]
        changed = np.flatnonzero(known & (noted[series] != found))
        if len(changed):
            raise InputError(
                "a static value changes within the series",
                series=name(int(changed[0])),
                field=column,
                mend="give one value for each series, or declare the column as past or future",
            )


class _Column:
    """Numbers of a column: those of a model that has been trained are coded as it knows them."""

    def __init__(self, column: str, settings: CovariateSettings) -> None:
        self._name = column
        self._trained = column in settings.categories or column in settings.scales
        self._kind = self._declared(settings)
        self._codes = {name: code for code, name in enumerate(settings.categories.get(column, ()), 1)}
        self._declared_names = column in settings.categorical
        self._unknown: dict[str, None] = {}

    def _declared(self, settings: CovariateSettings) -> bool | None:
        if self._trained:
            return self._name in settings.categories
        if self._name in settings.categorical:
            return True
        return False if self._name in settings.targets else None  # a CSV's targets come as text

    @property
    def categorical(self) -> bool:
        return bool(self._kind)

    @property
    def categories(self) -> tuple[str, ...]:
        if self._trained:
            return tuple(self._codes)
        return tuple(sorted(self._codes.keys() - self._words())[:_MOST_CATEGORIES])

    def _words(self) -> set[str]:
        """Names such as `NA` among numbers, which say that there is none."""
        words = {name for name in self._codes if name.strip().lower() in MISSING_WORDS}
        return words if self._numbered(self._codes.keys() - words) else set()

    def _numbered(self, names: Iterable[str]) -> bool:
        """Whether the column was declared as one of numbers that are names, and these are such."""
        return self._declared_names and all(_NUMBER.fullmatch(name) for name in names)

    def read(self, column: pa.Array, name: NameOf) -> FloatArray:
        """[R] numbers, or codes in the order in which names came."""
        if self._kind is None and not pa.types.is_null(column.type):
            self._kind = is_text(column)
        if not self._kind:
            return numbers(column, name, self._name)
        if self._trained and self._numbered(self._codes) and is_text(column):
            column = without_words(column)
        found = names(column, self._name)
        codes = np.array([self._code(text) for text in found.dictionary.to_pylist()], np.float32)
        index = found.indices.to_numpy(zero_copy_only=False)
        missing = np.isnan(index) if index.dtype.kind == "f" else np.zeros(len(index), bool)
        if not len(codes):
            return np.full(len(index), np.nan, np.float32)
        return np.where(missing, np.nan, codes[np.where(missing, 0, index).astype(np.int64)]).astype(np.float32)

    def sort_codes(self, codes: FloatArray) -> None:
        """Make them codes by the order of names, so that the order of rows changes nothing."""
        if self._trained:
            return
        place = {name: code for code, name in enumerate(self.categories, 1)}
        words = self._words()
        table = np.array([0, *(np.nan if name in words else place.get(name, 0) for name in self._codes)], np.float32)
        for part in parts(len(codes)):
            own = codes[part]
            codes[part] = np.where(np.isnan(own), np.nan, table[np.nan_to_num(own).astype(np.int64)])

    def notes(self) -> Iterator[str]:
        if self._unknown:
            told = ", ".join(repr(name) for name in list(self._unknown)[:_TOLD])
            more = ", …" if len(self._unknown) > _TOLD else ""
            yield f"column {self._name!r} has values that training had not ({told}{more}): they count as unknown"
        if not self._trained and len(self._codes) > _MOST_CATEGORIES:
            yield f"column {self._name!r} has {len(self._codes)} values; all but {_MOST_CATEGORIES} count as unknown"

    def _code(self, name: str) -> int:
        if not self._trained:
            return self._codes.setdefault(_spelt(name), len(self._codes) + 1)
        code = self._codes.get(name) or self._codes.get(_spelt(name), 0)
        if not code and name.isdecimal():  # as models of the first releases know it
            code = self._codes.get(str(int(name)), 0)
        if not code:
            self._unknown[name] = None
        return code


def _spelt(name: str) -> str:
    """One spelling of what files write in several ways: 7 beside a missing value as 7.0, and truth with capitals."""
    whole, point, rest = name.partition(".")
    if point and rest.strip("0") == "" and whole.removeprefix("-").isdecimal():
        return whole
    return name.lower() if name.lower() in ("true", "false") else name
