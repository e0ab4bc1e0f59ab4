from __future__ import annotations

from pathlib import Path

import pytest

from forecaster.store.settings import StoreSettings


@pytest.fixture(autouse=True)
def _bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORECASTER_HOME", "FORECASTER_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_is_embedded_under_var_by_default(tmp_path: Path) -> None:
    settings = StoreSettings()
    assert settings.home == tmp_path / "var"
    assert settings.database_url == f"sqlite:///{tmp_path}/var/jobs.db"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/var/mlflow.db"
    folders = (settings.jobs_dir, settings.models_dir, settings.datasets_dir, settings.logs_dir, settings.artifacts_dir)
    assert [folder.name for folder in folders] == ["jobs", "models", "datasets", "logs", "artifacts"]
    assert {folder.parent for folder in folders} == {settings.home}


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECASTER_HOME", "/srv/forecaster")
    monkeypatch.setenv("FORECASTER_DATABASE_URL", "postgresql://u@db/jobs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    settings = StoreSettings()
    assert settings.jobs_dir == Path("/srv/forecaster/jobs")
    assert settings.database_url == "postgresql://u@db/jobs"
    assert settings.tracking_uri == "http://mlflow:5000"


def test_settings_are_read_from_a_dotenv_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FORECASTER_HOME=elsewhere\nUNRELATED=1\n")
    assert StoreSettings().home == tmp_path / "elsewhere"


def test_empty_variable_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECASTER_DATABASE_URL", "")
    assert StoreSettings(home=tmp_path).database_url == f"sqlite:///{tmp_path}/jobs.db"


def test_another_process_reads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StoreSettings(home=tmp_path, database_url="postgresql://u@db/jobs", tracking_uri="http://mlflow:5000")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert StoreSettings() == settings


def test_password_stays_out_of_logs() -> None:
    assert "secret" not in repr(StoreSettings(database_url="postgresql://u:secret@db/jobs"))


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://u:se@cret@mlflow:5000/a@b", "http://mlflow:5000/a@b"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("sqlite:////srv/a@b/mlflow.db", "sqlite:////srv/a@b/mlflow.db"),
    ],
)
def test_where_runs_are_kept_is_told_without_the_password(uri: str, told: str) -> None:
    assert StoreSettings(tracking_uri=uri).tracking_place == told
