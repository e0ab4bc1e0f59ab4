"""The service follows the champion of a real registry, and goes on when that fails."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from forecaster.store.registry import CHAMPION
from tests.fixtures_mlflow import MlflowServer
from tests.fixtures_models import make_predictor
from tests.fixtures_service import Serve, is_ready
from tests.waiting import wait_until

ONE = {"series": [{"id": "a", "values": [1.0, 2.0, 3.0, 4.0]}], "model": "m"}


def version(client: httpx.Client, model: str = "m") -> int | None:
    response = client.post("/v1/forecast", json={**ONE, "model": model})
    return int(response.json()["model"]["version"]) if response.status_code == 200 else None


def serves(client: httpx.Client, number: int) -> bool:
    return version(client) == number


def ready(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/healthz/ready").json())


def state(client: httpx.Client, name: str = "m") -> dict[str, Any]:
    return next((model for model in ready(client)["models"] if model["name"] == name), {})


def test_an_empty_registry_is_ready_and_a_first_champion_is_picked_up(mlflow: MlflowServer, serve: Serve) -> None:
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: is_ready(client))
    assert ready(client)["models"] == []
    response = client.post("/v1/forecast", json={"series": ONE["series"]})
    assert response.status_code == 404
    assert "train one" in response.json()["detail"]
    assert "there is no model 'm'" in client.post("/v1/forecast", json=ONE).json()["detail"]
    mlflow.register("m", make_predictor("m"), champion=True)
    wait_until(lambda: version(client) == 1)


def test_a_new_champion_is_swapped_in_while_requests_go_on(mlflow: MlflowServer, serve: Serve) -> None:
    mlflow.register("m", make_predictor("m", seed=1), champion=True)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    old = client.post("/v1/forecast", json=ONE).json()["forecasts"]
    new: list[Any] = []
    done = threading.Event()
    answers: list[tuple[int, Any]] = []
    failures: list[str] = []

    def keep_asking() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            while not done.is_set():
                response = own.post("/v1/forecast", json=ONE)
                if response.status_code != 200:
                    failures.append(response.text)
                    return
                answer = response.json()
                answers.append((answer["model"]["version"], answer["forecasts"]))

    threads = [threading.Thread(target=keep_asking) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        mlflow.register("m", make_predictor("m", seed=2), champion=True)
        wait_until(lambda: version(client) == 2)
        new = client.post("/v1/forecast", json=ONE).json()["forecasts"]
        seen = len(answers)
        wait_until(lambda: len(answers) > seen + 100)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert old != new
    expected = {1: old, 2: new}
    assert all(forecasts == expected[number] for number, forecasts in answers)
    assert {number for number, _ in answers} == {1, 2}


def test_a_broken_champion_is_kept_out_until_the_alias_moves(
    mlflow: MlflowServer, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow.register("m", make_predictor("m"), champion=True)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    broken = tmp_path / "broken"
    shutil.copytree(mlflow.folder / "saved" / str(mlflow._saved), broken)
    golden = (broken / "golden.json").read_text()
    (broken / "golden.json").write_text(golden.replace('"quantiles": [\n', '"quantiles": [\n  [[0.0]],\n'))
    mlflow.register_files("m", broken, champion=True)
    wait_until(lambda: state(client)["wanted"] and "golden" in state(client)["wanted"]["reason"])
    assert state(client)["version"] == 1
    assert state(client)["wanted"]["version"] == 2
    assert is_ready(client)
    assert version(client) == 1
    assert 'forecaster_refused_model_info{model="m",version="2"} 1' in client.get("/metrics").text
    first = state(client)["wanted"]
    assert client.get("/v1/models/m").json()["wanted"] == first
    threading.Event().wait(1)  # several polls
    assert state(client)["wanted"] == first
    assert sum("m/2 is not served" in record.message for record in caplog.records) == 1
    mlflow.register("m", make_predictor("m", seed=3), champion=True)
    wait_until(lambda: version(client) == 3)
    assert state(client)["wanted"] is None


def test_a_model_that_is_none_of_ours_leaves_the_service_unready(
    mlflow: MlflowServer, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.pkl").write_bytes(b"pickled")
    mlflow.register_files("m", tmp_path / "other", champion=True)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: state(client).get("wanted"))
    assert not is_ready(client)
    assert "config.json" in state(client)["wanted"]["reason"]
    response = client.post("/v1/forecast", json=ONE)
    assert response.status_code == 503
    assert "config.json" in response.json()["detail"]


def test_forecasts_go_on_while_the_registry_is_stopped_and_reload_resumes(mlflow: MlflowServer, serve: Serve) -> None:
    mlflow.register("m", make_predictor("m"), champion=True)
    mlflow.register("m", make_predictor("m", seed=2))
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    mlflow.stop()
    try:
        wait_until(lambda: not ready(client)["registry"]["reachable"])
        assert is_ready(client)
        assert version(client) == 1
        shown = client.get("/v1/models/m").json()
        assert shown["aliases"] == {CHAMPION: 1}
        assert shown["versions"] is None
        response = client.post("/v1/models/m/promote", json={"version": 2})
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        restarted = serve(tracking_uri=mlflow.uri)
        wait_until(lambda: is_ready(restarted), 5)
        assert version(restarted) == 1
    finally:
        mlflow.start()
    assert client.post("/v1/models/m/promote", json={"version": 2}).json() == {
        "name": "m", "champion": 2, "previous": 1,
    }  # fmt: skip
    wait_until(lambda: version(client) == 2, 10)
    wait_until(lambda: version(restarted) == 2, 10)
    assert ready(client)["registry"] == {**ready(client)["registry"], "reachable": True, "message": None}


def test_an_artifact_that_cannot_be_fetched_is_tried_again(mlflow: MlflowServer, serve: Serve) -> None:
    mlflow.register("m", make_predictor("m"), champion=True)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    number = mlflow.register("m", make_predictor("m", seed=2))
    stored = mlflow.folder / "artifacts"
    away = mlflow.folder / "artifacts-away"
    stored.rename(away)
    try:
        mlflow.client.set_registered_model_alias("m", CHAMPION, str(number))
        wait_until(lambda: "downloaded" in str(state(client)["wanted"]))
        assert version(client) == 1
    finally:
        shutil.rmtree(stored, ignore_errors=True)
        away.rename(stored)
    wait_until(lambda: version(client) == 2)


def test_a_model_without_a_champion_is_no_longer_served(mlflow: MlflowServer, serve: Serve) -> None:
    mlflow.register("m", make_predictor("m"), champion=True)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    mlflow.client.delete_registered_model_alias("m", CHAMPION)
    wait_until(lambda: version(client) is None)
    response = client.post("/v1/forecast", json=ONE)
    assert response.status_code == 404
    assert "no champion" in response.json()["detail"]


def test_an_emptied_registry_does_not_end_the_forecasts(mlflow: MlflowServer, serve: Serve) -> None:
    mlflow.register("m", make_predictor("m"), champion=True)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    mlflow.forget_models()
    wait_until(lambda: "empty" in str(ready(client)["registry"]["message"]))
    assert version(client) == 1
    mlflow.register("m", make_predictor("m", seed=2), champion=True)  # version 1 again, of another run
    wait_until(lambda: state(client).get("run_id") == mlflow.client.get_model_version("m", "1").run_id)


def test_other_versions_and_aliases_are_loaded_when_asked_for(mlflow: MlflowServer, serve: Serve) -> None:
    for seed in range(4):
        mlflow.register("m", make_predictor("m", seed=seed), champion=seed == 0)
    mlflow.client.set_registered_model_alias("m", "challenger", "3")
    client = serve(tracking_uri=mlflow.uri, max_models=1)
    wait_until(lambda: version(client) == 1)
    assert [version(client, ref) for ref in ("m/2", "m@challenger", "m/1", "m@champion", "m/4", "m/2")] == [
        2, 3, 1, 1, 4, 2,
    ]  # fmt: skip
    missing = client.post("/v1/forecast", json={**ONE, "model": "m/9"})
    assert missing.status_code == 404
    assert client.post("/v1/forecast", json={**ONE, "model": "m/9"}).status_code == 404
    assert "challenger" in client.post("/v1/forecast", json={**ONE, "model": "m@nobody"}).json()["detail"]


def test_a_loaded_version_that_is_deleted_is_answered_no_more(
    mlflow: MlflowServer, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        mlflow.register("m", make_predictor("m", seed=seed), champion=seed == 0)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    assert version(client, "m/2") == 2
    mlflow.client.delete_model_version("m", "2")
    assert version(client, "m/2") == 2  # it was looked up a moment ago
    monkeypatch.setattr("service.resolver._LOOK_SECONDS", 0.0)
    assert client.post("/v1/forecast", json={**ONE, "model": "m/2"}).status_code == 404


def test_a_version_is_promoted_and_rolled_back(mlflow: MlflowServer, serve: Serve) -> None:
    for seed in range(2):
        mlflow.register("m", make_predictor("m", seed=seed), champion=seed == 0)
    client = serve(tracking_uri=mlflow.uri, poll_seconds=60)  # so that it is the promotion that makes it look
    wait_until(lambda: version(client) == 1)
    assert client.post("/v1/models/m/rollback").status_code == 409
    assert client.post("/v1/models/m/promote", json={"version": 2}).json()["champion"] == 2
    wait_until(lambda: version(client) == 2)
    assert client.post("/v1/models/m/rollback").json() == {"name": "m", "champion": 1, "previous": 2}
    wait_until(lambda: version(client) == 1)
    assert client.post("/v1/models/m/promote", json={"version": 7}).status_code == 404
    assert client.post("/v1/models/nobody/rollback").status_code == 404
    assert client.post("/v1/models/m/promote", json={"version": "2"}).status_code == 422
    assert client.post("/v1/models/m/promote", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_model_is_shown_with_its_versions_and_their_backtests(mlflow: MlflowServer, serve: Serve) -> None:
    for seed in range(2):
        mlflow.register("m", make_predictor("m", seed=seed), champion=seed == 0)
    client = serve(tracking_uri=mlflow.uri)
    wait_until(lambda: version(client) == 1)
    shown = client.get("/v1/models/m").json()
    assert [one["version"] for one in shown["versions"]] == [2, 1]
    assert shown["versions"][0]["metrics"] == {"backtest/mase": 0.8}
    assert shown["aliases"] == {CHAMPION: 1}
    assert shown["served"]["version"] == 1
    assert client.get("/v1/models").json()["registry"]["reachable"] is True
    assert client.get("/v1/models/nobody").status_code == 404


def test_old_copies_are_dropped(mlflow: MlflowServer, serve: Serve, tmp_path: Path) -> None:
    client = serve(tracking_uri=mlflow.uri)
    for seed in range(4):
        number = mlflow.register("m", make_predictor("m", seed=seed), champion=True)
        wait_until(partial(serves, client, number))
    copies = [path.name.split("-")[0] for path in (tmp_path / "models" / "m").iterdir() if path.is_dir()]
    assert sorted(copies) == ["3", "4"]
    assert list((tmp_path / "models" / ".incoming").iterdir()) == []
