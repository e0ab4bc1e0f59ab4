"""What holds for every panel with covariates: generated series, gaps in whatever may have gaps, any horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.forecast import Forecast
from forecaster.settings import CovariateSettings
from tests.fixtures_models import make_predictor

KNOWN = CovariateSettings(
    static=("region", "size"),
    past=("visits",),
    future=("price", "weather"),
    calendar=("hour", "weekday"),
    categories={"region": ("north", "south"), "weather": ("rain", "sun")},
    scales={"size": (10.0, 4.0), "visits": (50.0, 20.0), "price": (5.0, 2.0)},
)
PREDICTOR = make_predictor(seed=4, covariates=KNOWN)
HORIZON, LEVEL = 24, 90.0
generated = settings(max_examples=20, deadline=None)


@dataclass(frozen=True)
class Recipe:
    """A series of so many steps whose values and covariates lack a share; `exponent`: of the unit of its values.

    late: steps after the first day on which a series may begin
    """

    steps: int
    late: int
    exponent: int
    missing: float
    seed: int

    def rows(self, name: str) -> pd.DataFrame:
        """The history, and a horizon of rows for what is known beforehand."""
        draw, count = np.random.default_rng(self.seed), self.steps + HORIZON
        y = draw.normal(3, 1, count).cumsum() * 10.0**self.exponent
        y[self.steps :] = np.nan
        y[: self.steps - 1][draw.random(self.steps - 1) < self.missing] = np.nan
        weather = draw.choice(["sun", "rain", "frogs"], count)  # one that training has not seen
        price, visits = draw.gamma(4, 1, count), draw.gamma(9, 6, count)
        for column in (price, visits):
            column[: self.steps][draw.random(self.steps) < self.missing] = np.nan
        static = {"region": draw.choice(["north", "south", "moon"]), "size": draw.gamma(5, 2)}
        ds = pd.date_range(pd.Timestamp("2024-01-01") + pd.Timedelta(hours=self.late), periods=count, freq="h")
        return pd.DataFrame(
            {"unique_id": name, "ds": ds, "y": y, "price": price, "visits": visits, "weather": weather, **static}
        )


recipe = st.builds(
    Recipe,
    steps=st.integers(2, 150),
    late=st.integers(0, 400),
    exponent=st.integers(-9, 9),
    missing=st.sampled_from([0.0, 0.2, 0.6]),
    seed=st.integers(0, 1000),
)
tables = st.lists(recipe, min_size=1, max_size=4).map(lambda found: [one.rows(f"s{i}") for i, one in enumerate(found)])


def ask(parts: list[pd.DataFrame], horizon: int = HORIZON) -> Forecast:
    return PREDICTOR.predict(PREDICTOR.read(pd.concat(parts)), horizon=horizon, levels=[LEVEL])


def numbers(forecast: Forecast) -> np.ndarray:
    """[N, H, 4], by id"""
    low, high = forecast.quantiles.values()
    return np.stack([low, forecast.median, forecast.mean, high], -1)[np.argsort(forecast.ids)]


def assert_alike(found: Forecast, expected: Forecast, parts: list[pd.DataFrame]) -> None:
    """To 1e-5 of the largest value seen or forecast of each series."""
    size = np.maximum([np.nanmax(np.abs(part["y"])) for part in parts], np.abs(numbers(expected)).max((1, 2)))
    assert (np.abs(numbers(found) - numbers(expected)).max((1, 2)) / size).max() <= 1e-5


@generated
@given(parts=tables, horizon=st.integers(1, HORIZON))
def test_forecasts_are_ordered_numbers(parts: list[pd.DataFrame], horizon: int) -> None:
    found = numbers(ask(parts, horizon))
    assert found.shape[1] == horizon
    assert np.isfinite(found).all()
    assert (found[..., 0] <= found[..., 1]).all()
    assert (found[..., 1] <= found[..., 3]).all()


@generated
@given(parts=tables)
def test_company_and_the_order_of_rows_change_nothing(parts: list[pd.DataFrame]) -> None:
    together = ask(parts)
    assert_alike(ask([pd.concat(parts).sample(frac=1, random_state=0)]), together, parts)
    for number, part in enumerate(parts):
        alone = numbers(ask([part]))[0]
        np.testing.assert_allclose(
            alone, numbers(together)[number], rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(part["y"]))
        )


@generated
@given(parts=tables)
def test_what_nobody_can_know_or_lies_beyond_the_horizon_changes_nothing(parts: list[pd.DataFrame]) -> None:
    expected = ask(parts)
    told = [part.assign(visits=part["visits"].where(part.index < len(part) - HORIZON, 1e6)) for part in parts]
    assert_alike(ask(told), expected, parts)
    assert_alike(ask([pd.concat([part, later(part)]) for part in parts]), expected, parts)


def later(part: pd.DataFrame) -> pd.DataFrame:
    """Ten more rows of the future."""
    rows = part.tail(10)
    return rows.assign(ds=rows["ds"] + pd.Timedelta(hours=10), price=1e6, weather="rain")


@generated
@given(parts=tables)
def test_another_price_to_come_is_another_forecast(parts: list[pd.DataFrame]) -> None:
    dearer = [part.assign(price=part["price"].where(part["y"].notna(), 20.0)) for part in parts]
    first, second = numbers(ask(parts)), numbers(ask(dearer))
    assert (np.abs(first - second).max((1, 2)) > 0).all()
