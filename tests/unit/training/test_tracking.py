"""What an error of the tracking server means for a run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import mlflow
import pytest

from forecaster.errors import TrainingError, Unavailable
from forecaster.store.settings import StoreSettings
from tests.fixtures_training import weather_request
from training import tracking
from training.tracking import Run, fit_names, tracked_run

pytestmark = pytest.mark.filterwarnings("ignore")


def test_what_the_server_refuses_fails_the_run(settings: StoreSettings) -> None:
    with pytest.raises(TrainingError, match="refuses"), tracked_run(weather_request({}), settings) as run:
        run.tag("no\0name", "x" * 10**6)


def test_a_server_that_is_away_may_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    away = StoreSettings(home=tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="does not answer"), tracked_run(weather_request({}), away):
        pass
    mlflow.set_tracking_uri(before)


def test_a_database_that_cannot_be_used_may_come_back_too(tmp_path: Path) -> None:
    before = mlflow.get_tracking_uri()
    (tmp_path / "mlflow.db").write_text("This is no database. " * 100)
    away = StoreSettings(home=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(Unavailable, match="does not answer"), tracked_run(weather_request({}), away):
        pass
    mlflow.set_tracking_uri(before)


def test_settings_are_logged_by_names_that_mlflow_takes(settings: StoreSettings) -> None:
    scales = {"load (MW)": [1, 2], "load [MW]": [3, 4], "T °C %": [5, 6], "x" * 300: [7, 8], "x" * 301: [9, 0]}
    found = fit_names(scales)
    assert list(found.values()) == list(scales.values())
    assert list(found)[:3] == ["load _MW_", "load _MW_ 2", "T _C _"]
    assert max(map(len, found)) == 250
    with tracked_run(weather_request({}), settings) as run:
        run.params({"model": {"scales": scales}})


def test_a_further_attempt_with_other_settings_goes_on_in_the_same_run(
    settings: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    request = weather_request({}, "again", job_id="f" * 32)
    with tracked_run(request, settings) as run:
        run.params({"fit": {"steps": 10}})
    with tracked_run(request, settings) as again:
        again.params({"fit": {"steps": 20, "batch": 5}})
        assert again.run_id == run.run_id
    assert run.client.get_run(run.run_id).data.params == {"fit.steps": "10", "fit.batch": "5"}
    assert "other settings (fit.steps)" in caplog.text


def test_what_is_finished_below_a_run_stays_so_when_the_next_one_fails(settings: StoreSettings) -> None:
    begun: list[Run] = []

    def one_of_two(run: Run) -> None:
        with run.nested() as nested:
            begun.extend([nested.begin("done"), nested.begin("torn")])
            nested.end(begun[0])
            raise KeyboardInterrupt

    with tracked_run(weather_request({}), settings) as run, pytest.raises(KeyboardInterrupt):
        one_of_two(run)
    assert [run.client.get_run(one.run_id).info.status for one in begun] == ["FINISHED", "FAILED"]


def test_the_commit_is_that_of_this_code_not_of_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "tracking.py"
    installed.touch()
    monkeypatch.setattr(tracking, "__file__", str(installed))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y.z"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], cwd=tmp_path, check=True)
    assert tracking._git_commit() is None
    subprocess.run([*git, "add", "tracking.py"], cwd=tmp_path, check=True)
    commit = tracking._git_commit()
    assert commit is not None
    assert re.fullmatch("[0-9a-f]{40}", commit)
