"""A forecast that is asked for, whatever form the request had; and its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from forecaster.errors import InputError
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.hierarchy import Reconciliation, Sums, reconcile
from forecaster.panel import Panel
from forecaster.paths import ROLLED_PATHS
from forecaster.settings import ModelSettings
from service.engines import ServedModel

_COLUMNS = 10  # bounds and quantiles of a step that weigh as much as its forecast


@dataclass(frozen=True, kw_only=True)
class Histories:
    """What is known of the series of a request.

    panel: reads the histories, once the model is known, at its frequency and by its settings, for a horizon.

    place: puts an error into the words of the request
    notes: what to tell of each series besides the forecast's own warnings; empty, or one tuple per series
    """

    model: str | None
    freq: str | None
    panel: Callable[[Frequency, ModelSettings, int], Panel]
    place: Callable[[InputError], InputError]
    notes: Callable[[ModelSettings], tuple[tuple[str, ...], ...]] = lambda _: ()


@dataclass(frozen=True, kw_only=True)
class Question(Histories):
    """sums, reconcile: the parts of each total, and how forecasts are made to add up; none for no sums"""

    horizon: int | None
    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    paths: int
    sums: Sums = field(default_factory=dict)
    reconcile: Reconciliation = "structural"


@dataclass(frozen=True)
class Answer:
    model: ServedModel
    forecast: Forecast
    notes: tuple[tuple[str, ...], ...]

    def warnings(self, index: int) -> list[str]:
        """What to tell of one series."""
        return [*self.forecast.warnings[index], *(self.notes[index] if self.notes else ())]


def answer(question: Question, model: ServedModel, most_points: int) -> Answer:
    """Compute the forecast. Raises InputError naming series and field as the request calls them."""
    predictor = model.predictor
    settings = predictor.info.settings
    try:
        check_freq(question.freq, model)
        if question.reconcile != "structural" and not question.sums:
            raise InputError("there are no sums to reconcile", field="reconcile", mend="give sums, or leave it out")
        panel = question.panel(predictor.freq, settings, question.horizon or settings.horizon)
        _check_size(question, panel.n_series, predictor.info.horizon, most_points)
        forecast = predictor.predict(
            panel,
            horizon=question.horizon,
            levels=question.levels,
            quantiles=question.quantiles,
            paths=question.paths,
        )
        if question.sums:
            forecast = reconcile(forecast, question.sums, question.reconcile, settings)
    except InputError as error:
        raise question.place(error) from error
    return Answer(model, forecast, question.notes(settings))


def check_freq(freq: str | None, model: ServedModel) -> None:
    """Raise InputError where a request names another frequency than the model's."""
    own = model.predictor.freq
    if freq is None:
        return
    asked = Frequency.parse(freq)
    if not asked.same_step(own):
        raise InputError(
            f"{freq!r} is not the frequency of model {model.name!r}, which is {own.name!r}",
            field="freq",
            mend=f"ask a model trained at {asked.name!r}, or leave freq out",
        )


def _check_size(question: Question, series: int, trained: int, most_points: int) -> None:
    """Bound the work: a step beyond the trained horizon is computed for many paths."""
    horizon = question.horizon or trained
    beyond = max(0, horizon - trained)
    columns = 1 + (2 * len(question.levels) + len(question.quantiles)) // _COLUMNS
    points = series * (columns * min(horizon, trained) + max(columns, ROLLED_PATHS) * beyond + question.paths * horizon)
    if points > most_points:
        counted = f" (each of the {beyond} beyond those trained counts {ROLLED_PATHS}-fold)" if beyond else ""
        drawn = f" and {question.paths} sample paths" if question.paths else ""
        wide = f" (counted {columns}-fold for so many levels and quantiles)" if columns > 1 else ""
        raise InputError(
            f"{series} series times {horizon} steps{wide}{counted}{drawn} are more than {most_points} values",
            field="horizon",
            mend="ask for fewer series, levels, quantiles or sample paths at once",
        )
