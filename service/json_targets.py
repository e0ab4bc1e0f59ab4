"""Several targets of a JSON request: whether each series has what the model forecasts."""

from __future__ import annotations

from collections.abc import Sequence

from forecaster.errors import InputError
from service.errors import PlacedInputError
from service.schemas.forecasts import SeriesIn


def check_targets(series: Sequence[SeriesIn], wanted: Sequence[str]) -> None:
    """wanted: the model's targets, none where it forecasts `values`. Raises InputError."""
    for row, one in enumerate(series):
        if not wanted:
            if one.targets is not None:
                raise _refusal("the model forecasts one column alone", "give its numbers as values", row, one)
            continue
        given = one.targets or {}
        missing = [target for target in wanted if target not in given]
        if missing:
            mend = f"give values of each of {', '.join(wanted)} under targets"
            raise _refusal(f"the model forecasts {missing[0]}, which is not given", mend, row, one)
        if one.values:
            raise _refusal("both values and targets are given", "leave values out", row, one)
        _check_lengths(row, one, given, wanted)


def _check_lengths(row: int, one: SeriesIn, given: dict[str, list[float | None]], wanted: Sequence[str]) -> None:
    steps = one.steps()
    for target in given:
        if target not in wanted:
            mend = f"give {', '.join(wanted)} alone"
            raise _refusal("the model does not forecast this", mend, row, one, target)
        if len(given[target]) != steps:
            mend = "give one value of each for every step, null where it is missing"
            problem = f"there are {len(given[target])} values, and {steps} of {next(iter(given))}"
            raise _refusal(problem, mend, row, one, target)


def _refusal(problem: str, mend: str, row: int, one: SeriesIn, *place: str) -> PlacedInputError:
    return PlacedInputError(InputError(problem, series=one.id, mend=mend), "series", row, "targets", *place)
