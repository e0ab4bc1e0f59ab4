"""Covariates from a table to forecasts that heed them, by every way to ask."""

from __future__ import annotations

import io
import re
from pathlib import Path
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
from forecaster.store.registry import Reference, download, resolve
from forecaster.store.settings import StoreSettings
from training.pipeline import train
from training.request import TrainRequest, TrainResult

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
QUICK = {"fit.steps": 150, "fit.batch": 64, "network.width": 16, "backtest.baseline_series": 0}
DECLARED = CovariateSettings(static=("region",), past=("visits",), future=("promotion", "weather"))
HORIZON, LENGTH, SHOPS = 7, 300, 6


def sales() -> pd.DataFrame:
    """Shops whose sales a promotion doubles, with a week of promotions to come."""
    draw = np.random.default_rng(0)
    parts = []
    for shop in range(SHOPS):
        step = np.arange(LENGTH + HORIZON)
        promotion = (draw.random(len(step)) < 0.25).astype(float)
        sold = 50 * (1 + 0.3 * np.sin(2 * np.pi * step / 7)) * (1 + promotion) * draw.lognormal(0, 0.05, len(step))
        sold[LENGTH:] = np.nan
        part = {"unique_id": f"shop-{shop}", "ds": pd.date_range("2023-01-01", periods=len(step)), "y": sold}
        weather = np.where(draw.random(len(step)) < 0.5, "rain", "sun")
        known = {"region": "ns"[shop % 2], "visits": sold * 3, "promotion": promotion, "weather": weather}
        parts.append(pd.DataFrame({**part, **known}))
    return pd.concat(parts, ignore_index=True)


TABLE = sales()


def request(**changes: Any) -> TrainRequest:
    plain = {"data": TABLE, "name": "sales", "freq": "D", "horizon": HORIZON, "preset": "fast", "covariates": DECLARED}
    return TrainRequest.model_validate({**plain, "usual_calendar": True, "changes": QUICK, **changes})


@pytest.fixture(scope="module")
def first(settings: StoreSettings) -> TrainResult:
    return train(request(), settings)


def promoted(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """The same with promotions on all days to come, or on none."""
    return table.assign(promotion=table["promotion"].where(table["y"].notna(), share))


def test_what_a_promotion_does_is_learnt(first: TrainResult) -> None:
    assert first.metrics["mase"] < 0.4 * min(naive["mase"] for naive in first.baselines.values())
    assert first.settings["model"]["covariates"]["calendar"] == ["weekday", "day"]


def test_another_future_gives_another_forecast(trained: Predictor) -> None:
    none, all_days = (trained.predict(trained.read(promoted(TABLE, share))).median for share in (0.0, 1.0))
    assert 1.6 < (all_days / none).mean() < 2.4


def as_series(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as a JSON request has it."""
    series = []
    for name, part in table.groupby("unique_id", sort=False):
        seen = part[part["y"].notna()]
        series.append(
            {
                "id": name,
                "start": str(part["ds"].iloc[0]),
                "values": seen["y"].tolist(),
                "static": {"region": part["region"].iloc[0]},
                "past": {"visits": seen["visits"].tolist()},
                "future": {column: part[column].tolist() for column in ("promotion", "weather")},
            }
        )
    return series


def test_every_way_to_ask_gives_the_same_forecast(trained: Predictor, serving: httpx.Client) -> None:
    expected = trained.predict(trained.read(TABLE)).median
    found = mlflow.pyfunc.load_model("models:/sales@champion").predict(TABLE, params={"horizon": HORIZON})
    np.testing.assert_allclose(found["median"], expected.ravel(), rtol=1e-4)
    answer = serving.post("/v1/forecast", json={"series": as_series(TABLE)})
    assert answer.status_code == 200, answer.text
    forecasts = answer.json()["forecasts"]
    np.testing.assert_allclose([one["median"] for one in forecasts], expected, rtol=1e-4)
    assert all(not one["warnings"] for one in forecasts)
    text = TABLE.to_csv(index=False)
    answer = serving.post("/v1/forecast", content=text, headers={"Content-Type": "text/csv"})
    np.testing.assert_allclose(pd.read_csv(io.StringIO(answer.text))["median"], expected.ravel(), rtol=1e-4)


def test_a_series_may_be_dated_and_its_history_stand_under_past(serving: httpx.Client) -> None:
    plain = as_series(TABLE)[:2]
    dated = as_series(TABLE)[:2]
    for one in dated:
        known = len(one["values"])
        stamps = pd.date_range(one.pop("start"), periods=known).astype(str).tolist()
        one["timestamps"] = stamps[::-1]
        one["values"] = one["values"][::-1]
        one["past"] = {"visits": one["past"]["visits"][::-1]}
        for column in ("promotion", "weather"):
            one["past"][column] = one["future"][column][:known][::-1]
            one["future"][column] = one["future"][column][known:]
    first, second = (serving.post("/v1/forecast", json={"series": given}).json() for given in (plain, dated))
    assert second == first


def test_a_history_that_is_not_known_is_missing_and_a_longer_horizon_goes_on(serving: httpx.Client) -> None:
    (one,) = as_series(TABLE)[:1]
    one["future"] = {column: values[-HORIZON:] for column, values in one["future"].items()}
    (told,) = serving.post("/v1/forecast", json={"series": [one]}).json()["forecasts"]
    assert told["warnings"] == [
        f"covariate {column!r} is missing in the recent history" for column in ("promotion", "weather")
    ]
    one["future"] = {"promotion": [None, *[1] * 13], "weather": ["snow"] * 14}
    answer = serving.post("/v1/forecast", json={"series": [one], "horizon": 14, "level": [80]})
    (told,) = answer.json()["forecasts"]
    assert len(told["median"]) == 14
    assert any("'weather' has values that training had not ('snow')" in text for text in told["warnings"])


@pytest.mark.parametrize(
    ("change", "pointer", "told"),
    [
        ({"future": {"promotion": [1] * 7}}, "/series/0/future/weather", "needs this covariate"),
        ({"future": {"promotion": [1] * 6, "weather": ["sun"] * 7}}, "/series/0/future/promotion", "6 values"),
        ({"future": {"promotion": [None] * 7, "weather": ["sun"] * 7}}, "/promotion", "are missing"),
        ({"future": {"promotion": ["much"] * 7, "weather": ["sun"] * 7}}, "/series/0/future/promotion", "not a number"),
        ({"future": {"promotion": [[1]] * 7, "weather": ["sun"] * 7}}, "/series/0/future/promotion/0", "give a number"),
        ({"future": [1]}, "/series/0/future", "object"),
        ({"past": {}}, "/series/0/past/visits", "needs this covariate"),
        ({"past": {"visits": [1, 2]}}, "/series/0/past/visits", "2 values for the 300"),
        ({"static": {}}, "/series/0/static/region", "needs this covariate"),
        ({"static": {"region": {"a": 1}}}, "/series/0/static/region", "give a number, text"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_its_place(
    serving: httpx.Client, change: dict[str, Any], pointer: str, told: str
) -> None:
    answer = serving.post("/v1/forecast", json={"series": [{**as_series(TABLE)[0], **change}]})
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["pointer"].endswith(pointer)
    assert told in error["message"]
    assert error["series"] == "shop-0"


def test_an_explanation_adds_up_and_tells_what_promotions_do(trained: Predictor, serving: httpx.Client) -> None:
    answer = serving.post("/v1/explain", json={"series": as_series(TABLE)[:2]})
    assert answer.status_code == 200, answer.text
    for one, name in zip(answer.json()["explanations"], ("shop-0", "shop-1"), strict=True):
        promotion = TABLE[(TABLE["unique_id"] == name) & TABLE["y"].isna()]["promotion"].to_numpy()
        part = np.array(one["parts"]["promotion"])
        assert part[promotion == 1].min(initial=np.inf) > part[promotion == 0].max(initial=-np.inf)
        assert set(one["parts"]) == {"history", "promotion", "weather", "visits", "region", "calendar"}
        np.testing.assert_allclose(np.sum([one["base"], *one["parts"].values()], axis=0), one["median"], rtol=1e-3)
        assert len(one["timestamps"]) == HORIZON
    many = [{**as_series(TABLE)[0], "id": number} for number in range(21)]
    assert serving.post("/v1/explain", json={"series": many}).status_code == 422
    assert serving.post("/v1/explain", json={"series": many[:1], "horizon": 8}).status_code == 422
    other = serving.post("/v1/explain", json={"series": many[:1], "freq": "W"})
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/freq")
    assert serving.post("/v1/explain", content="x", headers={"Content-Type": "text/csv"}).status_code == 415


def test_a_table_that_lacks_what_the_model_needs_is_refused(trained: Predictor) -> None:
    with pytest.raises(
        InputError, match=r"series 'shop-0', field 'promotion': there are 0 future rows of promotion, weather"
    ):
        trained.predict(trained.read(TABLE[TABLE["y"].notna()]))
    with pytest.raises(InputError, match="'visits'"):
        trained.read(TABLE.drop(columns="visits"))


def test_what_a_model_does_not_use_changes_nothing_but_a_warning(serving: httpx.Client) -> None:
    one = as_series(TABLE)[0]
    more = {**one, "static": {**one["static"], "size": 3}}
    first, second = (
        serving.post("/v1/forecast", json={"series": [given]}).json()["forecasts"][0] for given in (one, more)
    )
    assert second.pop("warnings") == ["'size' of static is not used by this model"]
    first.pop("warnings")
    assert second == first


def test_a_warm_start_keeps_the_covariates_and_other_data_may_have_other_categories(
    first: TrainResult, settings: StoreSettings
) -> None:
    again = train(request(data=TABLE.replace("sun", "fog"), warm_start="sales", usual_calendar=False), settings)
    assert again.settings["model"]["covariates"] == first.settings["model"]["covariates"]


def test_whole_steps_have_no_calendar(settings: StoreSettings) -> None:
    counted = TABLE.assign(ds=TABLE.groupby("unique_id").cumcount())
    with pytest.raises(InputError, match="whole steps have no calendar"):
        train(request(data=counted), settings)


def test_settings_may_declare_them_and_a_champion_that_needs_more_is_not_judged(
    first: TrainResult, settings: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {**QUICK, "fit.steps": 5, "model.covariates.future": ["promotion"], "model.covariates.width": 2}
    result = train(request(covariates=CovariateSettings(), usual_calendar=False, changes=changes), settings)
    assert result.settings["model"]["covariates"]["future"] == ["promotion"]
    assert result.settings["model"]["covariates"]["width"] == 2
    assert not result.promoted
    told = (
        r"not promoted: the champion, version \d, could not be judged: it needs what this training does not read \(.*\)"
    )
    assert re.fullmatch(f"{told}; `--promote always` takes its place", result.reason)
    assert "example" not in caplog.text, "what is made up for MLflow's example is no matter of this run"


def test_an_artifact_with_covariates_holds_no_one_s_data(
    first: TrainResult, tracking: MlflowClient, tmp_path: Path
) -> None:
    folder = download(resolve(tracking, Reference.parse(f"sales/{first.version}")), tmp_path)
    assert (folder / "graph.onnx").exists()
    assert "shop-" not in "".join(path.read_text(errors="ignore") for path in folder.rglob("*") if path.is_file())
