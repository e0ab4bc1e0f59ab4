import socket
from pathlib import Path

import pytest

from forecaster.cli.stack import _address, _begun, _no_proxy, _service_settings, _welcome, serve
from forecaster.errors import Conflict
from forecaster.store.database import connect
from forecaster.store.jobs import JobStore
from forecaster.store.spec import JobSpec
from service.settings import ServiceSettings


@pytest.mark.parametrize("example", [True, False])
def test_the_example_is_told_where_its_model_is_trained(example: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _welcome("http://127.0.0.1:1", "http://127.0.0.1:2", ServiceSettings(), json=False, example=example)
    told = capsys.readouterr().out
    assert "http://127.0.0.1:1/docs" in told
    assert "http://127.0.0.1:2/#/experiments" in told
    assert ("curl" in told) == example
    assert "X-API-Key" not in told


def test_where_keys_are_asked_for_the_example_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = ServiceSettings(api_keys="secret,other")
    _welcome("http://127.0.0.1:1", "http://127.0.0.1:2", settings, json=False, example=True)
    told = capsys.readouterr().out
    assert "with KEY one of FORECASTER_API_KEYS" in told
    assert '-H "X-API-Key: $KEY"' in told
    assert "secret" not in told


def test_where_to_listen_is_said_by_option_then_environment_then_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FORECASTER_HOST", "FORECASTER_PORT", "FORECASTER_MLFLOW_PORT"):
        monkeypatch.delenv(name, raising=False)
    plain = _service_settings(host=None, port=None)
    assert (plain.host, plain.port, plain.mlflow_port) == ("127.0.0.1", 8000, 5000)
    (tmp_path / ".env").write_text("FORECASTER_PORT=9000\nFORECASTER_MLFLOW_PORT=5001\n")
    found = _service_settings(host=None, port=None)
    assert (found.port, found.mlflow_port) == (9000, 5001)
    monkeypatch.setenv("FORECASTER_PORT", "9001")
    assert _service_settings(port=None).port == 9001
    assert _service_settings(host="0.0.0.0", port=9002).port == 9002


def test_programs_talk_to_each_other_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert _no_proxy() == {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    monkeypatch.setenv("NO_PROXY", "intern.example")
    assert _no_proxy()["no_proxy"] == "intern.example,127.0.0.1,localhost"


def test_a_first_start_that_was_interrupted_goes_on_with_its_own_training(tmp_path: Path) -> None:
    store = JobStore(connect(f"sqlite:///{tmp_path / 'jobs.db'}"))
    spec = JobSpec(model="m", dataset="d", freq="h", horizon=48, preset="fast")
    assert _begun(store, spec) is None
    store.submit(JobSpec(model="m", dataset="d", freq="h", horizon=24, preset="fast"))
    assert _begun(store, spec) is None
    job = store.submit(spec)
    assert _begun(store, spec) == store.get(job.id).model_copy(update={"log_tail": ""})


def test_a_port_that_is_taken_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict, match="choose another with --port"):
        serve(host="127.0.0.1", port=taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"),
     ("::", "http://[::1]:80"), ("api.example", "http://api.example:80")],
)  # fmt: skip
def test_addresses_can_be_asked(host: str, address: str) -> None:
    assert _address(host, 80) == address
