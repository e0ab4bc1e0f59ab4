"""POST /v1/forecast: what is asked is what `Predictor` gives, whatever the form."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from forecaster.predictor import Predictor
from forecaster.reading import panel_from_histories, read_panel
from tests.fixtures_models import make_panel, make_predictor
from tests.fixtures_service import Serve, is_ready, keep_copy
from tests.waiting import wait_until

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def history(length: int = 120, seed: int = 0) -> list[float | None]:
    return [float(x) for x in make_panel(1, length, seed).values]


def ask(client: httpx.Client, series: list[dict[str, Any]], **parameters: Any) -> dict[str, Any]:
    response = client.post("/v1/forecast", json={"series": series, **parameters})
    assert response.status_code == 200, response.text
    return dict(response.json())


def frame(series: int = 2, length: int = 100) -> pd.DataFrame:
    hours = pd.date_range("2024-01-01", periods=length, freq="h")
    rows = [pd.DataFrame({"unique_id": f"s{i}", "ds": hours, "y": history(length, i)}) for i in range(series)]
    joined: pd.DataFrame = pd.concat(rows, ignore_index=True)
    return joined


def test_a_forecast_is_the_predictors(client: httpx.Client, toy: Predictor) -> None:
    values = history()
    values[7] = values[-3] = None
    answer = ask(client, [{"id": "a", "start": "2024-01-01", "values": values}], level=[80, 99.5], quantiles=[0.25])
    expected = toy.predict(
        panel_from_histories(["a"], ["2024-01-01"], [values], "h"), levels=[80, 99.5], quantiles=[0.25]
    )
    assert answer["model"] == {"name": "toy", "version": 1, "run_id": "1".ljust(32, "f")}
    assert answer["freq"] == "h"
    (one,) = answer["forecasts"]
    assert one["id"] == "a"
    assert one["timestamps"][:2] == ["2024-01-06T00:00:00", "2024-01-06T01:00:00"]
    assert len(one["timestamps"]) == 24
    np.testing.assert_allclose(one["median"], expected.median[0], rtol=1e-6)
    np.testing.assert_allclose(one["mean"], expected.mean[0], rtol=1e-6)
    for level in (80, 99.5):
        low, high = expected.interval(level)
        np.testing.assert_allclose(one["intervals"][f"{level:g}"]["lo"], low[0], rtol=1e-6)
        np.testing.assert_allclose(one["intervals"][f"{level:g}"]["hi"], high[0], rtol=1e-6)
    np.testing.assert_allclose(one["quantiles"]["0.25"], expected.quantiles[0.25][0], rtol=1e-6)
    assert one["warnings"] == []


def test_sample_paths_come_when_they_are_asked_for(client: httpx.Client, toy: Predictor) -> None:
    values = history()
    answer = ask(client, [{"id": "a", "start": "2024-01-01", "values": values}], paths=3, horizon=30)
    expected = toy.sample_paths(panel_from_histories(["a"], ["2024-01-01"], [values], "h"), 3, horizon=30)
    np.testing.assert_allclose(answer["forecasts"][0]["paths"], expected[0], rtol=1e-6)
    assert "paths" not in ask(client, [{"id": "a", "start": "2024-01-01", "values": values}])["forecasts"][0]


def test_a_batch_of_400_is_the_same_as_one_by_one(client: httpx.Client) -> None:
    series: list[dict[str, Any]] = [{"id": i, "start": 1, "values": history(60 + i % 50, i)} for i in range(400)]
    series[5]["values"][3] = None
    together = ask(client, series, horizon=5, level=[90])
    for index in (0, 5, 399):
        (alone,) = ask(client, [series[index]], horizon=5, level=[90])["forecasts"]
        one = together["forecasts"][index]
        assert one["id"] == index
        np.testing.assert_allclose(one["median"], alone["median"], rtol=1e-4)
        np.testing.assert_allclose(one["intervals"]["90"]["lo"], alone["intervals"]["90"]["lo"], rtol=1e-4)


def test_steps_are_counted_from_one_without_a_start(client: httpx.Client) -> None:
    (one,) = ask(client, [{"id": "a", "values": history(100)}], horizon=2)["forecasts"]
    assert one["timestamps"] == [101, 102]


def test_an_instant_is_answered_in_utc(client: httpx.Client) -> None:
    series = [{"id": "a", "start": "2024-01-01T00:00:00+02:00", "values": history(100)}]
    (one,) = ask(client, series, horizon=1)["forecasts"]
    assert one["timestamps"] == ["2024-01-05T02:00:00Z"]


def test_timestamps_are_placed_on_the_grid_in_any_order(client: httpx.Client) -> None:
    hours = pd.date_range("2024-01-01", periods=100, freq="h")
    values = history(100)
    kept = [i for i in range(100) if i != 50][::-1]
    dated: list[dict[str, Any]] = [
        {"id": 7, "timestamps": [str(hours[i]) for i in kept], "values": [values[i] for i in kept]},
        {"id": "7", "timestamps": [str(hour) for hour in hours], "values": values},
    ]
    gap = [*values[:50], None, *values[51:]]
    plain: list[dict[str, Any]] = [
        {"id": 7, "start": "2024-01-01", "values": gap},
        {"id": "7", "start": "2024-01-01", "values": values},
    ]
    assert ask(client, dated, horizon=3)["forecasts"] == ask(client, plain, horizon=3)["forecasts"]


def test_a_longer_horizon_is_rolled_forward_with_a_warning(client: httpx.Client) -> None:
    (one,) = ask(client, [{"id": "a", "values": history()}], horizon=60)["forecasts"]
    assert len(one["median"]) == 60
    assert "longer than the 24 steps trained" in one["warnings"][0]


@pytest.mark.parametrize(("values", "told"), [([5.0], "only 1 observed"), ([5.0] * 50, "constant")])
def test_a_history_that_says_little_is_answered_with_a_warning(
    client: httpx.Client, values: list[float], told: str
) -> None:
    (one,) = ask(client, [{"id": "a", "values": values}])["forecasts"]
    assert told in one["warnings"][0]
    assert np.isfinite(one["median"]).all()


def test_a_model_combines_the_rows_of_a_step_in_every_form_of_request(serve: Serve, tmp_path: Path) -> None:
    keep_copy(tmp_path, make_predictor(rows={"resample": "mean"}))
    client = serve(default_model="toy")
    wait_until(lambda: is_ready(client))
    quarters = pd.date_range("2024-01-01", periods=4 * 120, freq="15min")
    values = np.repeat(np.asarray(history(), float), 4) + np.tile([-3.0, 1.0, 1.0, 1.0], 120)
    stamps = [stamp.isoformat() for stamp in quarters]
    (fine,) = ask(client, [{"id": "a", "timestamps": stamps, "values": values.tolist()}])["forecasts"]
    (hours,) = ask(client, [{"id": "a", "start": "2024-01-01", "values": history()}])["forecasts"]
    np.testing.assert_allclose(fine["median"], hours["median"], rtol=1e-4)
    assert fine["timestamps"] == hours["timestamps"]
    assert fine["warnings"] == ["480 rows with values were combined into 120 steps, each by its mean"]
    table = pd.DataFrame({"unique_id": "a", "ds": quarters, "y": values})
    answer = client.post("/v1/forecast", content=written(table, "text/csv"), headers={"Content-Type": "text/csv"})
    np.testing.assert_allclose(pd.read_csv(io.StringIO(answer.text))["median"], hours["median"], rtol=1e-4)


def test_covariates_that_are_not_used_are_told_for_their_series(client: httpx.Client) -> None:
    told: dict[str, Any] = {"id": "a", "values": history(), "static": {"shop": 1}}
    series = [told, {"id": "b", "values": history()}]
    first, second = ask(client, series)["forecasts"]
    assert first["warnings"] == ["'shop' of static is not used by this model"]
    assert second["warnings"] == []


def test_means_are_made_to_add_up(client: httpx.Client) -> None:
    numbers = [{"id": name, "values": history(seed=seed)} for seed, name in enumerate(("all", 7, "b"))]
    plain = ask(client, numbers, level=[80])["forecasts"]
    total, *parts = ask(client, numbers, level=[80], sums={"all": [7, "b"]})["forecasts"]
    np.testing.assert_allclose(total["mean"], np.sum([one["mean"] for one in parts], 0), rtol=1e-4)
    moved = np.array(parts[0]["intervals"]["80"]["lo"]) - plain[1]["intervals"]["80"]["lo"]
    np.testing.assert_allclose(moved, np.array(parts[0]["mean"]) - plain[1]["mean"], atol=1e-3)
    bottom = ask(client, numbers, sums={"all": [7, "b"]}, reconcile="bottom-up")["forecasts"]
    np.testing.assert_allclose(bottom[2]["mean"], plain[2]["mean"], rtol=1e-5)


@pytest.mark.parametrize(
    ("sums", "pointer", "told"),
    [
        ({"all": ["a", "west"]}, "/sums/west", "not there"),
        ({"all": ["a", "a"]}, "/sums/all", "count twice"),
        ({"a": ["all"], "all": ["a"]}, "/sums/", "part of itself"),
        ({"all": "a"}, "/sums/all", "array"),
        ({"all": [1.5]}, "/sums/all/0", "id of a series"),
    ],
)
def test_sums_that_make_no_sense_are_named(client: httpx.Client, sums: Any, pointer: str, told: str) -> None:
    series = [{"id": name, "values": history()} for name in ("all", "a")]
    response = client.post("/v1/forecast", json={"series": series, "sums": sums})
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["pointer"].startswith(pointer)
    assert told in error["message"]


def test_another_spelling_of_the_models_frequency_is_accepted(client: httpx.Client) -> None:
    assert ask(client, [{"id": "a", "values": history()}], freq="60min")["freq"] == "h"


def written(table: pd.DataFrame, media_type: str) -> bytes:
    sink = io.BytesIO()
    if media_type == "text/csv":
        return table.to_csv(index=False).encode()
    if media_type == PARQUET:
        pa.parquet.write_table(pa.Table.from_pandas(table), sink)
    else:
        arrow = pa.Table.from_pandas(table)
        with pa.ipc.new_stream(sink, arrow.schema) as writer:
            writer.write_table(arrow)
    return sink.getvalue()


def read(body: bytes, media_type: str) -> Any:
    if media_type == "text/csv":
        return pd.read_csv(io.BytesIO(body), parse_dates=["ds"])
    if media_type == PARQUET:
        return pa.parquet.read_table(io.BytesIO(body)).to_pandas()
    return pa.ipc.open_stream(body).read_pandas()


@pytest.mark.parametrize("media_type", [ARROW, PARQUET, "text/csv"])
def test_a_table_is_answered_with_a_table(client: httpx.Client, toy: Predictor, media_type: str) -> None:
    response = client.post(
        "/v1/forecast?horizon=4&level=80&level=95&quantile=0.1",
        content=written(frame(), media_type),
        headers={"Content-Type": media_type},
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].split(";")[0] == media_type
    assert response.headers["x-forecaster-model"] == "toy/1"
    assert response.headers["x-forecaster-warnings"] == "0"
    got = read(response.content, media_type)
    assert list(got) == ["unique_id", "ds", "mean", "median", "lo-80", "hi-80", "lo-95", "hi-95", "q0.1"]
    expected = toy.predict(read_panel(frame(), "h"), horizon=4, levels=[80, 95], quantiles=[0.1])
    pd.testing.assert_frame_equal(got, expected.to_table().to_pandas(), rtol=1e-5, check_dtype=False)


def test_a_tables_sums_stand_in_the_query(client: httpx.Client) -> None:
    table = pd.concat([frame(), frame()[lambda rows: rows.unique_id == "s0"].assign(unique_id="all")])
    sent = {"content": written(table, "text/csv"), "headers": {"Content-Type": "text/csv"}}
    answer = client.post("/v1/forecast", params={"sums": '{"all": ["s0", "s1"]}', "reconcile": "bottom-up"}, **sent)
    assert answer.status_code == 200, answer.text
    mean = read(answer.content, "text/csv").pivot_table("mean", "ds", "unique_id")
    np.testing.assert_allclose(mean["all"], mean.s0 + mean.s1, rtol=1e-4)
    plain = read(client.post("/v1/forecast", **sent).content, "text/csv").pivot_table("mean", "ds", "unique_id")
    np.testing.assert_allclose(mean.s0, plain.s0, rtol=1e-5)
    for sums, told in (
        ("[1]", "cannot be read"),
        ('{"all": ["west"]}', "not there"),
        ('{"all": [0.5]}', "all"),
        ("", ""),
    ):
        refused = client.post("/v1/forecast", params={"sums": sums}, **sent)
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["pointer"] == "/sums"
        assert told in refused.text


def test_accept_chooses_the_form_of_the_answer(client: httpx.Client) -> None:
    body = written(frame().assign(price=1), "text/csv")
    headers = {"Content-Type": "text/csv", "Accept": "application/xml, application/json;q=0.5"}
    answer = client.post("/v1/forecast?horizon=2", content=body, headers=headers).json()
    assert [one["id"] for one in answer["forecasts"]] == ["s0", "s1"]
    assert answer["forecasts"][0]["warnings"] == ["column 'price' is not used by this model"]
    series = [{"id": "a", "start": "2024-01-01T00:00:00Z", "values": history(100)}]
    table = client.post("/v1/forecast", json={"series": series, "horizon": 2}, headers={"Accept": "text/csv"}).text
    assert table.splitlines()[1].startswith('"a","2024-01-05T04:00:00Z",')


def test_warnings_of_a_table_are_counted_and_told_in_headers(client: httpx.Client) -> None:
    response = client.post(
        "/v1/forecast?horizon=30", content=written(frame(), "text/csv"), headers={"Content-Type": "text/csv"}
    )
    assert response.headers["x-forecaster-warnings"] == "2"
    assert response.headers["x-forecaster-warning"].startswith("2 series: horizon 30 is longer")


def test_a_body_of_megabytes_is_answered(client: httpx.Client) -> None:
    series = [{"id": f"s{i}", "start": "2024-01-01", "values": history(2000, i)} for i in range(40)]
    assert len(ask(client, series, horizon=2)["forecasts"]) == 40
