"""Several targets of one table: trained together, forecast each by itself, by every way to ask."""

from __future__ import annotations

import io
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from forecaster.errors import InputError
from forecaster.predictor import Predictor
from forecaster.settings import CovariateSettings
from forecaster.store.settings import StoreSettings
from training.pipeline import train
from training.request import TrainRequest, TrainResult

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
QUICK = {"fit.steps": 300, "fit.batch": 64, "network.width": 16, "backtest.baseline_series": 0}
DECLARED = CovariateSettings(targets=("load", "price"), past=("load",), future=("holiday",))
HORIZON, LENGTH, PLANTS = 6, 240, 5


def plants() -> pd.DataFrame:
    """Loads that a holiday halves, and prices that it doubles, with the holidays to come."""
    draw = np.random.default_rng(0)
    parts = []
    for plant in range(PLANTS):
        step = np.arange(LENGTH + HORIZON)
        holiday = (draw.random(len(step)) < 0.3).astype(float)
        season = 1 + 0.3 * np.sin(2 * np.pi * step / 7)
        noise = draw.lognormal(0, 0.05, (2, len(step)))
        load, price = 100 * season * 0.5**holiday * noise[0], 5 / season * 2.0**holiday * noise[1]
        load[LENGTH:], price[LENGTH:] = np.nan, np.nan
        load[50:53], price[120] = np.nan, np.nan
        ds = pd.date_range("2023-01-01", periods=len(step))
        parts.append(
            pd.DataFrame({"unique_id": f"plant-{plant}", "ds": ds, "load": load, "price": price, "holiday": holiday})
        )
    return pd.concat(parts, ignore_index=True)


TABLE = plants()


def request(**changes: Any) -> TrainRequest:
    plain = {"data": TABLE, "name": "plants", "freq": "D", "horizon": HORIZON, "preset": "fast", "changes": QUICK}
    return TrainRequest.model_validate({**plain, "covariates": DECLARED, **changes})


@pytest.fixture(scope="module")
def first(settings: StoreSettings) -> TrainResult:
    return train(request(), settings)


def test_each_target_is_told_by_itself(first: TrainResult, tracking: MlflowClient) -> None:
    assert list(first.targets) == ["load", "price"]
    naive = min(measures["mase"] for measures in first.baselines.values())
    assert all(measures["mase"] < 0.6 * naive for measures in first.targets.values())
    logged = tracking.get_run(first.run_id).data.metrics
    assert logged["backtest/target/price/sql"] == pytest.approx(first.targets["price"]["sql"])


def test_each_target_heeds_the_future_in_its_own_way(trained: Predictor) -> None:
    def median(holiday: float) -> np.ndarray:
        table = TABLE.assign(
            holiday=TABLE["holiday"].where(TABLE["ds"] < TABLE["ds"].max() - pd.Timedelta("5D"), holiday)
        )
        return trained.predict(trained.read(table)).median

    ratio = median(1.0) / median(0.0)
    assert (ratio[::2] < 0.75).all(), "holidays halve the load"
    assert (ratio[1::2] > 1.4).all(), "and double the price"


def test_a_table_of_forecasts_says_which_target_each_is(trained: Predictor) -> None:
    found = trained.predict(trained.read(TABLE), levels=[80]).to_table()
    assert found.column_names[:4] == ["unique_id", "target", "ds", "mean"]
    assert found["target"].to_pylist()[: 2 * HORIZON] == ["load"] * HORIZON + ["price"] * HORIZON
    assert found["unique_id"].to_pylist()[: 2 * HORIZON] == ["plant-0"] * (2 * HORIZON)


def as_series(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as a JSON request has it."""
    series = []
    for name, part in table.groupby("unique_id", sort=False):
        seen = part[part["ds"] < "2023-08-29"]
        assert len(seen) == LENGTH
        targets = {column: seen[column].replace({np.nan: None}).tolist() for column in ("load", "price")}
        future = {"holiday": part["holiday"].tolist()}
        series.append({"id": name, "start": str(part["ds"].iloc[0]), "targets": targets, "future": future})
    return series


def test_every_way_to_ask_gives_the_same_forecasts(trained: Predictor, serving: httpx.Client) -> None:
    expected = trained.predict(trained.read(TABLE)).median
    found = mlflow.pyfunc.load_model("models:/plants@champion").predict(TABLE, params={"horizon": HORIZON})
    np.testing.assert_allclose(found["median"], expected.ravel(), rtol=1e-4)
    answer = serving.post("/v1/forecast", json={"series": as_series(TABLE)})
    assert answer.status_code == 200, answer.text
    forecasts = answer.json()["forecasts"]
    assert [(one["id"], one["target"]) for one in forecasts[:2]] == [("plant-0", "load"), ("plant-0", "price")]
    np.testing.assert_allclose([one["median"] for one in forecasts], expected, rtol=1e-4)
    answer = serving.post("/v1/forecast", content=TABLE.to_csv(index=False), headers={"Content-Type": "text/csv"})
    np.testing.assert_allclose(pd.read_csv(io.StringIO(answer.text))["median"], expected.ravel(), rtol=1e-4)


def test_dated_values_in_any_order_are_the_same(serving: httpx.Client) -> None:
    plain, dated = as_series(TABLE)[:2], as_series(TABLE)[:2]
    for one in dated:
        one["timestamps"] = pd.date_range(one.pop("start"), periods=LENGTH).astype(str).tolist()[::-1]
        one["targets"] = {name: values[::-1] for name, values in one["targets"].items()}
        holiday = one["future"]["holiday"]
        one["past"] = {"holiday": holiday[:LENGTH][::-1]}
        one["future"] = {"holiday": holiday[LENGTH:]}
    first, second = (serving.post("/v1/forecast", json={"series": given}).json() for given in (plain, dated))
    assert second == first


def test_an_explanation_is_of_each_target(serving: httpx.Client) -> None:
    answer = serving.post("/v1/explain", json={"series": as_series(TABLE)[:1]})
    assert answer.status_code == 200, answer.text
    load, price = answer.json()["explanations"]
    assert (load["target"], price["target"]) == ("load", "price")
    for one in (load, price):
        np.testing.assert_allclose(np.sum([one["base"], *one["parts"].values()], axis=0), one["median"], rtol=1e-3)
    holidays = TABLE["holiday"].to_numpy()[LENGTH : LENGTH + HORIZON] > 0
    assert all((np.array(one["parts"]["holiday"])[holidays] != 0).all() for one in (load, price))


@pytest.mark.parametrize(
    ("change", "pointer", "told"),
    [
        ({"targets": {"load": [1.0, 2.0]}}, "/series/0/targets", "price"),
        ({"targets": None, "values": [1.0, 2.0]}, "/series/0/targets", "load"),
        ({"values": [1.0]}, "/series/0/targets", "leave values out"),
        (
            {"targets": {"load": [1.0, 2.0], "price": [1.0]}},
            "/series/0/targets/price",
            "there are 1 values, and 2 of load",
        ),
        ({"targets": {"load": [1.0], "price": [1.0], "wind": [1.0]}}, "/series/0/targets/wind", "does not forecast"),
        ({"targets": {"load": [1e300] * LENGTH, "price": [1.0] * LENGTH}}, "/series/0/targets/load", "beyond 3e38"),
        ({"targets": {"load": [1.0] * LENGTH, "price": [None] * LENGTH}}, "/series/0/targets/price", "observed"),
        ({"targets": {"load": ["a"], "price": [1.0]}}, "/series/0/targets/load/0", "number"),
        ({"targets": {"load": [], "price": []}}, "/series/0/values", "no values"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    serving: httpx.Client, change: dict[str, Any], pointer: str, told: str
) -> None:
    series = {**as_series(TABLE)[0], **change}
    answer = serving.post("/v1/forecast", json={"series": [series]})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert told in error["message"]
    assert error["series"] == "plant-0"


def test_a_table_without_a_target_is_refused(trained: Predictor) -> None:
    with pytest.raises(InputError) as caught:
        trained.read(TABLE.drop(columns="price"))
    assert caught.value.field == "price"
    assert "unique_id, ds, load, price" in str(caught.value.mend)


def test_weights_are_for_targets_and_a_champion_of_y_is_not_judged(settings: StoreSettings, first: TrainResult) -> None:
    with pytest.raises(InputError, match="weights and targets") as caught:
        train(request(changes={**QUICK, "fit.target_weights": {"load": 1.0, "wind": 2.0}}), settings)
    assert caught.value.field == "fit.target_weights"
    alone = TABLE.rename(columns={"load": "y"}).drop(columns=["price", "holiday"])
    few = {**QUICK, "fit.steps": 5, "fit.percentage_weight": 0.0}
    found = train(request(data=alone, covariates=CovariateSettings(), changes=few), settings)
    assert "could not be judged" in found.reason
    assert not found.promoted
    again = train(
        request(warm_start="plants@champion", changes={"fit.steps": 5, "fit.target_weights.price": 4.0}), settings
    )
    assert again.settings["fit"]["target_weights"] == {"load": 1.0, "price": 4.0}
