"""What holds for every panel: generated series of any length, size, kind and share of missing values.

Differences are measured against the largest value of the series, in which float32 rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from forecaster.forecast import Forecast
from forecaster.panel import Panel
from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories, read_panel
from tests.fixtures_models import make_predictor

PROBABILITIES = (0.001, 0.025, 0.3, 0.5, 0.9, 0.999)
PREDICTORS: dict[str, Predictor] = {
    "plain": make_predictor(),
    "change": make_predictor(seed=1, network={"scale": "change", "cell": "lstm"}),
    "log": make_predictor(seed=2, transform="log"),
    "variability": make_predictor(seed=4, network={"scale": "change", "variability": True}),
    "stepwise": make_predictor(seed=3, network={"segment": 1, "decoder": "pmf", "location": "mean"}),
}
each_predictor = pytest.mark.parametrize("name", PREDICTORS)
generated = settings(max_examples=15, deadline=None)


@dataclass(frozen=True)
class Recipe:
    """A series: so many steps of one kind of data, in some unit, of which a share is missing."""

    kind: str
    steps: int
    exponent: int
    missing: float
    seed: int

    def values(self) -> np.ndarray:
        generator = np.random.default_rng(self.seed)
        step = np.arange(self.steps)
        noise = generator.normal(size=self.steps)
        plain = {
            "constant": np.ones(self.steps),
            "zero": np.zeros(self.steps),
            "season": 5 + np.sin(2 * np.pi * step / 24) + 0.1 * noise,
            "walk": noise.cumsum(),
            "trend": 1 + 0.1 * step + 0.1 * noise,
            "counts": generator.poisson(0.3, self.steps).astype(float),
            "shift": np.where(step < self.steps // 2, 1.0, 100.0) + 0.1 * noise,
            "spike": np.where(step == self.steps // 3, 1000.0, 1.0) + 0.1 * noise,
        }[self.kind]
        gaps = generator.random(self.steps) < self.missing
        gaps[-1] = False  # a history has at least one observed value
        return np.where(gaps, np.nan, plain * 10.0**self.exponent)


VARYING = ["season", "walk", "trend", "shift", "spike"]
KINDS = ["constant", "zero", "counts", *VARYING]


def recipes(kinds: list[str], shortest: int = 1) -> st.SearchStrategy[list[Recipe]]:
    one = st.builds(
        Recipe,
        kind=st.sampled_from(kinds),
        steps=st.integers(shortest, 150),
        exponent=st.integers(-12, 12),
        missing=st.sampled_from([0.0, 0.1, 0.6]),
        seed=st.integers(0, 1000),
    )
    return st.lists(one, min_size=1, max_size=4)


panels = recipes(KINDS)
with_a_scale = recipes(VARYING, shortest=100)  # others have the panel's typical one, in units of their size


def panel_of(rows: list[np.ndarray]) -> Panel:
    return panel_from_histories([f"s{i}" for i in range(len(rows))], ["2024-01-01"] * len(rows), rows, "h")


def ask(name: str, panel: Panel, horizon: int = 24) -> Forecast:
    return PREDICTORS[name].predict(panel, horizon=horizon, quantiles=PROBABILITIES)


def numbers(forecast: Forecast) -> np.ndarray:
    """[N, H, 8] everything that was forecast."""
    return np.stack([forecast.mean, forecast.median, *(forecast.quantiles[p] for p in PROBABILITIES)], -1)


def assert_alike(found: Any, expected: Any, size: Any, tolerance: float = 1e-5) -> None:
    """found, expected: [N, …]; size: [N] of each series"""
    wide = np.asarray(size, float).reshape(-1, *[1] * (expected.ndim - 1))
    assert (np.abs(found - expected) / wide).max() <= tolerance


def sizes(forecast: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    """[N] the largest value seen or forecast; of a series of zeros, more than the 1e-30 that its scale is"""
    seen = np.array([np.nanmax(np.abs(row)) for row in rows])
    return np.maximum(np.maximum(seen, np.abs(forecast).max(axis=(1, 2))), 1e-20)


@each_predictor
@generated
@given(recipes=panels, horizon=st.integers(1, 60))
@example(recipes=[Recipe("constant", 70, -11, 0.0, 0)], horizon=50)  # logarithms of tiny numbers round coarsely
def test_forecasts_are_ordered_numbers(name: str, recipes: list[Recipe], horizon: int) -> None:
    found = ask(name, panel_of([recipe.values() for recipe in recipes]), horizon)
    assert np.isfinite(numbers(found)).all()
    table = np.stack([found.quantiles[p] for p in PROBABILITIES], -1)
    assert (np.diff(table) >= 0).all()


@each_predictor
@generated
@given(recipes=panels)
def test_company_order_of_rows_and_padding_change_nothing(name: str, recipes: list[Recipe]) -> None:
    rows = [recipe.values() for recipe in recipes]
    together = numbers(ask(name, panel_of(rows)))
    size = sizes(together, rows)
    alone = np.concatenate([numbers(ask(name, panel_of([row]))) for row in rows])
    assert_alike(alone, together, size)
    padded = numbers(ask(name, panel_of([np.concatenate([np.full(30, np.nan), row]) for row in rows])))
    assert_alike(padded, together, size)
    hours = [pd.date_range("2024-01-01", periods=len(row), freq="h") for row in rows]
    table = pd.concat([pd.DataFrame({"unique_id": i, "ds": hours[i], "y": row}) for i, row in enumerate(rows)])
    shuffled = read_panel(table.dropna().sample(frac=1, random_state=0), "h")
    assert_alike(numbers(ask(name, shuffled))[np.argsort(shuffled.ids)], together, size)


@each_predictor
@generated
@given(recipes=panels)
def test_values_at_unobserved_places_change_nothing(name: str, recipes: list[Recipe]) -> None:
    network = PREDICTORS[name].network
    context = network.settings.context
    for recipe in recipes:
        row = np.concatenate([np.full(context, np.nan), recipe.values()])[-context:]
        observed = torch.from_numpy(~np.isnan(row))[None]
        values = torch.from_numpy(np.nan_to_num(row)).float()[None]
        junk = torch.where(observed, values, 1e30 * torch.randn(values.shape))
        assert torch.equal(network(junk, observed), network(values, observed))


@each_predictor
@generated
@given(recipes=panels, exponent=st.integers(-6, 6))
def test_a_positive_factor_moves_the_forecast_alike(name: str, recipes: list[Recipe], exponent: int) -> None:
    assume(all(abs(recipe.exponent + exponent) <= 12 for recipe in recipes))
    rows = [recipe.values() for recipe in recipes]
    factor = 2.0**exponent
    plain = numbers(ask(name, panel_of(rows)))
    scaled = numbers(ask(name, panel_of([row * factor for row in rows])))
    assert_alike(scaled / factor, plain, sizes(plain, rows), 1e-4)


@pytest.mark.parametrize("name", [name for name in PREDICTORS if name not in ("log", "variability")])
@generated
@given(recipes=with_a_scale, steps=st.integers(-8, 8))
def test_a_constant_added_moves_the_forecast_alike(name: str, recipes: list[Recipe], steps: int) -> None:
    rows = [recipe.values() for recipe in recipes]
    context, season = PREDICTORS[name].info.context, PREDICTORS[name].info.season
    assume(all(np.isfinite(row[-context:]).sum() >= season for row in rows))  # enough for a scale of its own
    added = [steps * float(np.nanmax(np.abs(row))) for row in rows]
    plain = numbers(ask(name, panel_of(rows)))
    moved = numbers(ask(name, panel_of([row + more for row, more in zip(rows, added, strict=True)])))
    size = sizes(plain, rows) + np.abs(added)
    assert_alike(moved - np.array(added)[:, None, None], plain, size, 1e-4)


@each_predictor
@generated
@given(recipes=recipes(["season"], shortest=100), place=st.integers(1, 60), exponent=st.integers(4, 12))
def test_an_absurd_value_has_a_bounded_say(name: str, recipes: list[Recipe], place: int, exponent: int) -> None:
    """It moves its own series' forecast by less than 15 usual ranges, and that of another series not at all."""
    assume(recipes[-1].missing < 0.5)
    rows = [recipe.values() for recipe in recipes]
    plain = ask(name, panel_of(rows))
    spiked = [*rows[:-1], rows[-1].copy()]
    seen = rows[-1][-PREDICTORS[name].info.context :]
    spiked[-1][-place] = np.nanmean(seen) + 10.0**exponent * np.nanstd(seen)
    found = ask(name, panel_of(spiked))
    assert np.array_equal(found.median[:-1], plain.median[:-1])
    unit = np.log if name == "log" else np.positive
    usual_range = np.nanmax(np.abs(unit(seen) - np.nanmean(unit(seen))))
    moved = np.abs(unit(found.median[-1]) - unit(plain.median[-1]))
    assert moved.max() <= 15 * usual_range
