"""Every mistake gets a problem document that names the place, and never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures_models import make_predictor
from tests.fixtures_service import is_ready, keep_copy, running, service_settings
from tests.waiting import wait_until

GOOD = {"id": "shop", "values": [1.0, 2.0, 3.0, 4.0]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for all: mistakes must leave no trace in it."""
    home: Path = tmp_path_factory.mktemp("home")
    keep_copy(home, make_predictor())
    with running(service_settings(home, max_forecast_points=1000)) as client:
        wait_until(lambda: is_ready(client))
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, complete and honest about its status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert {"type", "title", "status", "detail"} <= set(document)
    assert document["status"] == status
    assert "Traceback" not in response.text
    assert "\n" not in document["detail"]
    return dict(document)


def refused(client: httpx.Client, body: Any, status: int = 422) -> dict[str, Any]:
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return problem(client.post("/v1/forecast", content=content, headers={"Content-Type": "application/json"}), status)


def series(**changes: Any) -> dict[str, Any]:
    return {"series": [{**GOOD, **changes}]}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**series(), "horizon": 0}, "/horizon"),
        ({**series(), "horizon": -3}, "/horizon"),
        ({**series(), "horizon": 1.5}, "/horizon"),
        ({**series(), "horizon": "24"}, "/horizon"),
        ({**series(), "horizon": 10_001}, "/horizon"),
        ({**series(), "horizon": 5000}, "/horizon"),
        ({**series(), "horizn": 3}, "/horizn"),
        ({**series(), "level": [0.8]}, "/level/0"),
        ({**series(), "level": [80, 100]}, "/level/1"),
        ({**series(), "level": [80, 80]}, "/level"),
        ({**series(), "level": 80}, "/level"),
        ({**series(), "quantiles": [1.0]}, "/quantiles/0"),
        ({**series(), "quantiles": [0]}, "/quantiles/0"),
        ({**series(), "freq": "D"}, "/freq"),
        ({**series(), "freq": "fortnight"}, "/freq"),
        ({**series(), "model": "toy@"}, "/model"),
        ({**series(), "model": "../toy"}, "/model"),
        ({**series(), "model": 3}, "/model"),
        ({}, "/series"),
        ({"series": []}, "/series"),
        ({"series": {}}, "/series"),
        ({"series": [3]}, "/series/0"),
        ({"series": [{"values": [1]}]}, "/series/0/id"),
        ({"series": [{"id": "a"}]}, "/series/0/values"),
        (series(id=True), "/series/0/id"),
        (series(id=""), "/series/0/id"),
        (series(id=2**70), "/series/0/id"),
        (series(values=[]), "/series/0/values"),
        (series(values=None), "/series/0/values"),
        (series(values="1,2,3"), "/series/0/values"),
        (series(values=[1, "2"]), "/series/0/values/1"),
        (series(values=[1, True]), "/series/0/values/1"),
        (series(values=[1, [2]]), "/series/0/values/1"),
        (series(values=[None, None]), "/series/0/values"),
        (series(values=[1, 1e39]), "/series/0/values"),
        (series(start="yesterday"), "/series/0/start"),
        (series(start=1.5), "/series/0/start"),
        (series(start=True), "/series/0/start"),
        (series(timestamps=["2024-01-01"]), "/series/0/timestamps"),
        (series(timestamps=[1, 2, 3, 3]), "/series/0/timestamps"),
        (series(timestamps=["2024-01-01", "x", "y", "z"]), "/series/0/timestamps"),
        (series(timestamps=[1, 2, 3, 4], start=1), "/series/0/start"),
        (series(timestamps=["2024-01-01T00:00", "2024-01-01T00:30", "2024-01-01T02:00", "2024-01-01T03:00"]),
         "/series/0/timestamps"),
        ({"series": [GOOD, GOOD]}, "/series/1/id"),
        ({"series": [{**GOOD, "start": 1}, {"id": "b", "start": "2024-01-01", "values": [1]}]}, "/series/0/start"),
        ({"series": [{**GOOD, "timestamps": [1, 2, 3, 4]}, {"id": "b", "values": [1]}]}, "/series/1/timestamps"),
        ([], ""),
        (3, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_at_its_place(client: httpx.Client, body: Any, pointer: str) -> None:
    document = refused(client, body)
    assert document["type"] == "urn:forecaster:problem:invalid-input"
    assert [error["pointer"] for error in document["errors"]][:1] == [pointer]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_a_number_that_is_none_names_series_and_field(client: httpx.Client, literal: str) -> None:
    document = refused(client, f'{{"series": [{{"id": "shop", "values": [1, {literal}]}}]}}')
    (error,) = document["errors"]
    assert error["series"] == "shop"
    assert error["pointer"] == "/series/0/values/1"
    assert "null" in error["message"]
    assert "shop" in document["detail"]


def test_work_beyond_the_trained_horizon_is_bounded_too(client: httpx.Client) -> None:
    """1,000 values may be asked for: 24 trained steps and 30 rolled ones, at 32-fold, still fit."""
    assert client.post("/v1/forecast", json={**series(), "horizon": 54}).status_code == 200
    told = problem(client.post("/v1/forecast", json={**series(), "horizon": 56}), 422)
    assert "32-fold" in told["errors"][0]["message"]
    told = problem(client.post("/v1/forecast", json={**series(), "paths": 50}), 422)
    assert "50 sample paths" in told["errors"][0]["message"]


def test_so_are_many_levels_of_many_steps(client: httpx.Client) -> None:
    """Of 24 steps each, 1,000 values are 41 series, but 3 of so many levels."""
    many = {"series": [{"id": str(i), "values": [1.0, 2.0, 3.0]} for i in range(5)], "horizon": 24}
    assert client.post("/v1/forecast", json=many).status_code == 200
    told = problem(client.post("/v1/forecast", json={**many, "level": [50 + i / 2 for i in range(50)]}), 422)
    assert "counted 11-fold for so many levels and quantiles" in told["errors"][0]["message"]


@pytest.mark.parametrize("field", ["horizon", "level", "quantiles"])
def test_a_parameter_that_is_no_number_is_refused(client: httpx.Client, field: str) -> None:
    given = "NaN" if field == "horizon" else "[NaN]"
    refused(client, f'{{"series": [{{"id": "a", "values": [1]}}], "{field}": {given}}}')


def test_a_freq_that_is_not_the_models_names_both(client: httpx.Client) -> None:
    detail = refused(client, {**series(), "freq": "D"})["detail"]
    assert "'D'" in detail
    assert "'h'" in detail


@pytest.mark.parametrize("body", ["", "{", "[1,", '{"series": [1,]}', b"\xff\xfe", "[" * 5000, "nonsense"])
def test_what_is_not_json_is_400(client: httpx.Client, body: bytes | str) -> None:
    refused(client, body, 400)


def test_one_mistake_in_every_value_is_told_once_for_the_series(client: httpx.Client) -> None:
    document = refused(client, {"series": [{"id": str(i), "values": ["x"] * 1000} for i in range(100)]})
    assert len(document["errors"]) == 1
    assert len(json.dumps(document)) < 1000


def test_very_many_mistakes_are_counted_rather_than_described(client: httpx.Client) -> None:
    document = refused(client, {**series(), **{f"x{number}": 1 for number in range(20_000)}})
    assert "there are 20000 mistakes in the body" in document["detail"]
    assert len(document["errors"]) == 1


def test_the_input_is_not_echoed(client: httpx.Client) -> None:
    document = refused(client, series(values=["s3cret" * 1000]))
    assert "s3cret" not in json.dumps(document)


@pytest.mark.parametrize(
    ("media_type", "status"),
    [("application/xml", 415), ("", 415), ("application/json-seq", 415), ("multipart/form-data", 415)],
)
def test_another_content_type_is_415(client: httpx.Client, media_type: str, status: int) -> None:
    response = client.post("/v1/forecast", content=b"{}", headers={"Content-Type": media_type})
    assert "application/json" in problem(response, status)["detail"]


def test_a_compressed_body_is_415(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
    assert "zstd" in problem(client.post("/v1/forecast", content=b"x", headers=headers), 415)["detail"]


def test_an_answer_that_cannot_be_given_is_406(client: httpx.Client) -> None:
    problem(client.post("/v1/forecast", json=series(), headers={"Accept": "image/png"}), 406)


def test_an_unknown_model_is_503_while_the_registry_has_never_been_seen(client: httpx.Client) -> None:
    response = client.post("/v1/forecast", json={**series(), "model": "nobody"})
    problem(response, 503)
    assert int(response.headers["retry-after"]) >= 1


def test_a_body_of_50_mb_is_413(client: httpx.Client) -> None:
    body = b'{"series": [{"id": "a", "values": [' + b"1," * 25_000_000 + b"1]}]}"
    problem(client.post("/v1/forecast", content=body, headers={"Content-Type": "application/json"}), 413)


def test_a_body_that_grows_beyond_the_limit_is_413(client: httpx.Client) -> None:
    chunks = (b" " * (1 << 20) for _ in range(50))
    problem(client.post("/v1/forecast", content=chunks, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize("values", ["[" + "1," * 5_000_001 + "1]", "[" + "[]," * 300_000 + "1]"])
def test_a_body_that_would_fill_the_memory_is_413(client: httpx.Client, values: str) -> None:
    document = refused(client, f'{{"series": [{{"id": "a", "values": {values}}}]}}', 413)
    assert "a table" in document["detail"]


def test_a_small_call_takes_no_large_body(client: httpx.Client) -> None:
    problem(client.post("/v1/training-jobs", content=b" " * (2 << 20)), 413)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("unique_id,ds,value\na,2024-01-01,1\n", ["'y'", "missing"]),
        ("unique_id,ds,y\na,yesterday,1\n", ["'a'", "'ds'"]),
        ("unique_id,ds,y\na,2024-01-01,1\na,2024-01-01,2\n", ["'a'", "'ds'", "more than once"]),
        ("unique_id,ds,y\na,2024-01-01,one\n", ["'a'", "'y'"]),
        ("unique_id,ds,y\na,2024-01-01,inf\n", ["'a'", "'y'", "infinite"]),
        ("unique_id,ds,y\na,2024-01-01,\n", ["'a'", "'y'", "observed"]),
        ("unique_id,ds,y\n", ["no rows"]),
        ("", ["text/csv"]),
        ("unique_id,ds,y\na,2024-01-01\n", ["text/csv"]),
    ],
)
def test_a_wrong_table_is_refused(client: httpx.Client, table: str, told: list[str]) -> None:
    response = client.post("/v1/forecast", content=table, headers={"Content-Type": "text/csv"})
    detail = problem(response, 422)["detail"]
    for part in told:
        assert part in detail


@pytest.mark.parametrize("media_type", ["application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"])
def test_damaged_tables_are_refused(client: httpx.Client, media_type: str) -> None:
    for body in (b"", b"PAR1", b"\0" * 1000, b"{}"):
        response = client.post("/v1/forecast", content=body, headers={"Content-Type": media_type})
        assert media_type in problem(response, 422)["detail"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("horizon=0", "/query/horizon"),
        ("horizon=x", "/query/horizon"),
        ("level=80&level=101", "/query/level/1"),
        ("level=nan", "/query/level/0"),
        ("levels=80", "/query/levels"),
        ("quantile=2", "/query/quantile/0"),
    ],
)
def test_a_wrong_query_is_refused_at_its_place(client: httpx.Client, query: str, pointer: str) -> None:
    table = "unique_id,ds,y\na,2024-01-01,1\n"
    response = client.post(f"/v1/forecast?{query}", content=table, headers={"Content-Type": "text/csv"})
    assert problem(response, 422)["errors"][0]["pointer"] == pointer


def test_a_query_that_json_would_ignore_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/forecast?horizon=3", json=series())
    assert problem(response, 422)["errors"][0]["pointer"] == "/query/horizon"


def test_what_is_not_there_is_404_and_what_cannot_be_done_405(client: httpx.Client) -> None:
    assert "/v2/forecast" in problem(client.get("/v2/forecast"), 404)["detail"]
    response = client.get("/v1/forecast")
    assert "GET" in problem(response, 405)["detail"]
    assert response.headers["allow"] == "POST"
