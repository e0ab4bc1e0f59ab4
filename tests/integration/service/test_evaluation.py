"""POST /v1/backtest and /v1/anomalies."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from forecaster.anomalies import judge
from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories
from forecaster.rolling import roll
from tests.fixtures_models import make_panel

HOURS = 200


def history(seed: int = 0) -> list[float | None]:
    return [float(x) for x in make_panel(1, HOURS, seed).values]


def series(count: int = 3) -> list[dict[str, Any]]:
    return [{"id": f"s{i}", "start": "2024-01-01", "values": history(i)} for i in range(count)]


def panel_of(given: list[dict[str, Any]]) -> Any:
    ids, values = [one["id"] for one in given], [one["values"] for one in given]
    return panel_from_histories(ids, ["2024-01-01"] * len(given), values, "h")


def ask(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_backtest_is_that_of_the_library(client: httpx.Client, toy: Predictor) -> None:
    given = series()
    given[1]["values"][-30] = None
    answer = ask(client, "/v1/backtest", series=given, windows=4, step=6)
    expected = roll(toy, panel_of(given), windows=4, step=6)
    assert answer["model"]["name"] == "toy"
    assert (answer["windows"], answer["horizon"]) == (12, 24)
    for name, value in expected.metrics.items():
        assert answer["metrics"][name] == pytest.approx(value, rel=1e-4), name
    assert answer["baselines"].keys() == {"naive", "seasonal_naive"}
    np.testing.assert_allclose(answer["error_by_step"], expected.error_by_step, rtol=1e-4)
    assert len(ask(client, "/v1/backtest", series=given, horizon=3)["error_by_step"]) == 3


def test_values_at_the_edge_of_32_bits_are_the_clients_mistake(client: httpx.Client) -> None:
    given = series(2)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], HOURS)
    given[1]["values"] = (3.3e38 * signs).tolist()
    refused = client.post("/v1/backtest", json={"series": given, "windows": 2})
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["pointer"].startswith("/series/1")


def test_a_point_that_hardly_any_forecast_expected_is_an_anomaly(client: httpx.Client, toy: Predictor) -> None:
    given = series(2)
    given[0]["values"][-5] *= 50
    given[1]["values"][-7] = None
    plain, spiked = ask(client, "/v1/anomalies", series=series(2)), ask(client, "/v1/anomalies", series=given)
    first, second = spiked["series"]
    assert spiked["level"] == 99
    assert first["timestamps"][-1] == "2024-01-09T07:00:00"
    assert len(first["anomaly"]) == 24
    assert first["anomaly"][-5]
    assert not plain["series"][0]["anomaly"][-5]
    assert first["lo"][:20] == plain["series"][0]["lo"][:20], "what came before a spike is judged as before"
    assert not second["anomaly"][-7], "a missing point is none"
    (expected, _) = judge(toy, panel_of(given), level=99, last=24, step=1)
    np.testing.assert_allclose(first["hi"], expected.high, rtol=1e-4)
    np.testing.assert_array_equal(first["anomaly"], expected.anomaly)


def test_a_point_that_follows_nothing_observed_is_not_judged(client: httpx.Client, toy: Predictor) -> None:
    context = toy.info.context
    given = series(1)
    given[0]["values"] = [5.0] + [None] * context + history()[:24]
    answer = ask(client, "/v1/anomalies", series=given, last=24)
    (one,) = answer["series"]
    assert one["median"][0] is one["lo"][0] is one["hi"][0] is None
    assert one["anomaly"][0] is False
    assert None not in one["median"][1:]
    assert f"points not judged, for none of the {context} steps before them is observed: 1" in answer["warnings"]


def test_how_much_is_judged_can_be_said(client: httpx.Client) -> None:
    given = series(1)
    wide = ask(client, "/v1/anomalies", series=given, last=50, step=24, level=50)["series"][0]
    assert len(wide["median"]) == 50
    assert 5 < sum(wide["anomaly"]) < 45, "about half of the points lie outside an interval of 50 %"
    young = [{"id": "young", "values": [1.0, 2.0, 1.0, 2.0, 90.0]}]
    assert len(ask(client, "/v1/anomalies", series=young)["series"][0]["anomaly"]) == 3


@pytest.mark.parametrize(
    ("path", "change", "pointer", "told"),
    [
        ("backtest", {"windows": 0}, "/windows", "greater"),
        ("backtest", {"step": -1}, "/step", "greater"),
        ("backtest", {"horizon": 190}, "", "no series is long enough"),
        ("backtest", {"windows": 100_000}, "/windows", "at most"),
        ("backtest", {"freq": "D"}, "/freq", "is not the frequency"),
        ("backtest", {"level": [80]}, "/level", "Extra"),
        ("anomalies", {"level": 100}, "/level", "less"),
        ("anomalies", {"step": 25}, "/step", "24"),
        ("anomalies", {"last": 0}, "/last", "greater"),
        ("anomalies", {"series": [{"id": "a", "values": [3e38, -3e38] * 40}]}, "/series/0/values", "32-bit"),
        ("anomalies", {"series": []}, "/series", "at least 1"),
        ("anomalies", {"series": [{"id": "a", "values": [None] * 40}]}, "/series/0/values", "observed"),
    ],
)
def test_mistakes_are_named(client: httpx.Client, path: str, change: dict[str, Any], pointer: str, told: str) -> None:
    response = client.post(f"/v1/{path}", json={"series": series(1), **change})
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["pointer"].startswith(pointer)
    assert told in error["message"], error


def test_only_json_is_taken(client: httpx.Client) -> None:
    for path in ("/v1/backtest", "/v1/anomalies"):
        assert client.post(path, content="unique_id,ds,y\n", headers={"Content-Type": "text/csv"}).status_code == 415


@pytest.mark.parametrize(("values", "points"), [([1.0, 2.0], 0), ([None, None, None, 5.0], 2)])
def test_where_no_point_can_be_judged_none_is(client: httpx.Client, values: list[float | None], points: int) -> None:
    (one,) = ask(client, "/v1/anomalies", series=[{"id": "a", "values": values}])["series"]
    assert one["anomaly"] == [False] * points
    assert one["median"] == [None] * points
