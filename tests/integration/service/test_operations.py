"""Health, metrics, keys, limits: what whoever runs the service relies on."""

from __future__ import annotations

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

from forecaster.predictor import Predictor
from forecaster.store.registry import describe
from service import json_form
from service.environment import _VARIABLES
from tests.fixtures_models import make_predictor
from tests.fixtures_service import Serve, copy_of, is_ready, keep_copy, running, service_settings
from tests.waiting import wait_until

ONE = {"series": [{"id": "a", "values": [1.0, 2.0, 3.0, 4.0]}]}


def metric(client: httpx.Client, line: str) -> float:
    """The value of the sample whose name and labels are `line`."""
    for sample in client.get("/metrics").text.splitlines():
        if sample.startswith(f"{line} "):
            return float(sample.rsplit(" ", 1)[1])
    return 0.0


def test_it_is_live_before_it_is_ready(serve: Serve) -> None:
    client = serve()
    assert client.get("/healthz/live").json() == {"status": "live"}
    response = client.get("/healthz/ready")
    assert response.status_code == 503
    assert response.json()["status"] == "starting"
    assert int(response.headers["retry-after"]) >= 1
    assert client.post("/v1/forecast", json=ONE).status_code == 503


def test_a_local_copy_is_served_while_the_registry_is_away_and_ready_says_so(client: httpx.Client) -> None:
    wait_until(lambda: "local copies" in str(client.get("/healthz/ready").json()["registry"]["message"]))
    ready = client.get("/healthz/ready").json()
    assert ready["status"] == "ready"
    assert ready["registry"]["reachable"] is False
    assert ready["registry"]["since"] is not None
    (model,) = ready["models"]
    assert (model["name"], model["version"], model["wanted"]) == ("toy", 1, None)
    assert client.post("/v1/forecast", json=ONE).status_code == 200


def test_a_registry_that_never_answers_holds_up_neither_forecasts_nor_the_end(tmp_path: Path, toy: Predictor) -> None:
    keep_copy(tmp_path, toy)
    patience = float(_VARIABLES["MLFLOW_HTTP_REQUEST_TIMEOUT"])  # with the registry: nothing waits for even one try
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running(service_settings(tmp_path, tracking_uri=uri)) as client:
            wait_until(lambda: is_ready(client), 5)
            assert client.post("/v1/forecast", json=ONE).status_code == 200
            assert client.get("/v1/models/toy").elapsed.total_seconds() < patience
            began = time.monotonic()
        assert time.monotonic() - began < patience


def test_models_are_listed_while_the_registry_is_away(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["registry"]["reachable"] is False
    (model,) = listed["models"]
    assert model["served"]["version"] == 1
    assert (model["served"]["freq"], model["served"]["horizon"], model["served"]["season"]) == ("h", 24, 24)
    shown = client.get("/v1/models/toy").json()
    assert shown["versions"] is None
    assert shown["served"] == model["served"]


def test_a_damaged_copy_gives_way_to_the_one_before(tmp_path: Path, toy: Predictor, serve: Serve) -> None:
    before = keep_copy(tmp_path, toy, 1)
    after = keep_copy(tmp_path, make_predictor(seed=1), 2, before)
    (copy_of(tmp_path, after) / "weights.safetensors").write_bytes(b"damaged")
    client = serve()
    wait_until(lambda: is_ready(client))
    assert client.post("/v1/forecast", json=ONE).json()["model"]["version"] == 1


def test_the_default_model_is_the_one_of_the_settings(tmp_path: Path, serve: Serve) -> None:
    for name in ("first", "second", "third"):
        keep_copy(tmp_path, make_predictor(name))
    client = serve(default_model="second")
    wait_until(lambda: len(client.get("/v1/models").json()["models"]) == 3)
    assert client.post("/v1/forecast", json=ONE).json()["model"]["name"] == "second"
    assert client.post("/v1/forecast", json={**ONE, "model": "third"}).json()["model"]["name"] == "third"


def test_requests_and_forecasts_are_counted_by_route_and_model(client: httpx.Client) -> None:
    client.post("/v1/forecast", json={"series": [{"id": str(i), "values": [1, 2, 3]} for i in range(7)]})
    client.post("/v1/forecast", json={})
    client.get("/no/such/path/12345")
    client.get("/v1/models/unknown-model")
    assert metric(client, 'forecaster_http_requests_total{method="POST",route="/v1/forecast",status="200"}') == 1
    assert metric(client, 'forecaster_http_requests_total{method="POST",route="/v1/forecast",status="422"}') == 1
    assert metric(client, 'forecaster_http_requests_total{method="GET",route="none",status="404"}') == 1
    assert metric(client, 'forecaster_http_request_seconds_count{method="GET",route="/v1/models/{name}"}') == 1
    assert metric(client, 'forecaster_forecasts_total{model="toy",version="1"}') == 7
    run = "1".ljust(32, "f")
    assert metric(client, f'forecaster_served_model_info{{model="toy",run_id="{run}",version="1"}}') == 1
    assert metric(client, "forecaster_queue_length") == 0
    assert metric(client, "forecaster_registry_reachable") == 0
    assert metric(client, "process_resident_memory_bytes") > 50e6
    text = client.get("/metrics").text
    assert "12345" not in text
    assert "unknown-model" not in text


def test_a_full_queue_is_503_and_says_when_to_try_again(tmp_path: Path, toy: Predictor, serve: Serve) -> None:
    keep_copy(tmp_path, toy)
    client = serve(threads=1, queue_limit=1)
    wait_until(lambda: is_ready(client))
    # Long in the work but short enough to be parsed in place: a large body enters the queue twice, with a gap between.
    slow = {"horizon": 48, "series": [{"id": i, "values": [1.0, 2.0, 3.0]} for i in range(1_200)]}
    with ThreadPoolExecutor(1) as other:
        first = other.submit(client.post, "/v1/forecast", json=slow)
        wait_until(lambda: metric(client, "forecaster_queue_length") == 1)
        response = client.post("/v1/forecast", json=ONE)
        assert client.get("/healthz/live").status_code == 200
        assert not first.done()
        assert first.result().status_code == 200
    assert response.status_code == 503
    assert response.json()["type"] == "urn:forecaster:problem:busy"
    assert int(response.headers["retry-after"]) >= 1
    assert client.post("/v1/forecast", json=ONE).status_code == 200


def test_a_bug_is_500_without_a_word_of_it_and_a_traceback_in_the_log(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> bytes:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(json_form, "write", fault)
    with caplog.at_level(logging.ERROR):
        response = client.post("/v1/forecast", json=ONE)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    wait_until(lambda: "RuntimeError: secret detail" in caplog.text)


def test_keys_guard_everything_but_health(tmp_path: Path, toy: Predictor, serve: Serve) -> None:
    keep_copy(tmp_path, toy)
    client = serve(api_keys="first-key, second-key")
    wait_until(lambda: is_ready(client))
    described = client.get("/openapi.json", headers={"X-API-Key": "first-key"}).json()["paths"]
    guarded = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in described.items()
        for method in methods
        if not path.startswith("/healthz")
    ]
    assert len(guarded) > 15
    for method, path in [*guarded, ("GET", "/metrics")]:
        response = client.request(method, path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["status"] == 401
        assert client.request(method, path, headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert client.post("/v1/forecast", json=ONE, headers={"Authorization": "Bearer second-key"}).status_code == 200
    assert client.get("/v1/models", headers={"X-API-Key": "first-key"}).status_code == 200
    assert client.get("/healthz/live").status_code == 200


def test_browsers_of_the_named_origins_may_call(serve: Serve) -> None:
    client = serve(cors_origins="https://plan.example")
    response = client.get("/healthz/live", headers={"Origin": "https://plan.example"})
    assert response.headers["access-control-allow-origin"] == "https://plan.example"
    assert "access-control-allow-origin" not in client.get("/healthz/live", headers={"Origin": "https://other"}).headers


def test_the_description_is_complete(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/forecast"]["post"]["requestBody"]["content"]
    assert set(body) == {
        "application/json", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet",
    }  # fmt: skip
    assert client.post("/v1/forecast", json=body["application/json"]["example"]).status_code == 200
    assert client.get("/docs").status_code == 200
    _check_references(document, document)
    assert "HTTPValidationError" not in document["components"]["schemas"], "mistakes are answered as Problem"


def _check_references(node: object, document: dict[str, object]) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            found: object = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]  # type: ignore[index]
        for child in node.values():
            _check_references(child, document)
    if isinstance(node, list):
        for child in node:
            _check_references(child, document)


@pytest.mark.filterwarnings("ignore")  # MLflow's tables are defined in this process
def test_a_version_whose_run_is_gone_for_good_is_still_told_of(tmp_path: Path, serve: Serve) -> None:
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = MlflowClient(database, database)
    registry.create_registered_model("gone")
    registry.create_model_version("gone", str(tmp_path / "nowhere"), run_id="0" * 32)
    client = serve(tracking_uri=database)
    wait_until(lambda: client.get("/v1/models/gone").status_code == 200)
    (version,) = client.get("/v1/models/gone").json()["versions"]
    assert (version["version"], version["metrics"]) == (1, {})
    assert describe(registry, registry.get_model_version("gone", "1"))["metrics"] == {}


def test_other_pages_may_not_roll_back(client: httpx.Client) -> None:
    for origin in ("https://other.example", "null"):
        response = client.post("/v1/models/toy/rollback", headers={"Origin": origin})
        assert response.status_code == 403
        assert "FORECASTER_CORS_ORIGINS" in response.json()["detail"]
    own = f"http://{client.base_url.netloc.decode()}"
    assert client.post("/v1/models/toy/rollback", headers={"Origin": own}).status_code != 403
    assert client.post("/v1/models/toy/rollback").status_code != 403


@pytest.mark.parametrize("path", ["/v1/forecast", "/v1/datasets/half"])
def test_a_client_that_leaves_in_the_middle_is_no_bug(client: httpx.Client, path: str) -> None:
    address = client.base_url.host, client.base_url.port or 0
    method = "PUT" if "datasets" in path else "POST"
    line = f'forecaster_http_requests_total{{method="{method}",route="{path.replace("half", "{name}")}",status="400"}}'
    with socket.create_connection(address) as leaving:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\nunique_id"
        leaving.sendall(head.encode())
        time.sleep(0.3)
    wait_until(lambda: metric(client, line) == 1)
    assert 'status="500"' not in client.get("/metrics").text
