"""Where everything that outlives a process is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from forecaster.errors import InputError

MOST_DATASET_BYTES = 2 << 30


def _job_database(settings: dict[str, Any]) -> str:
    return f"sqlite:///{settings['home'] / 'jobs.db'}"


def _tracking_database(settings: dict[str, Any]) -> str:
    return f"sqlite:///{settings['home'] / 'mlflow.db'}"


class StoreSettings(BaseSettings):
    """Read from the environment (`FORECASTER_*`, `MLFLOW_TRACKING_URI`) or from a `.env` file.

    Raises InputError, which names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="FORECASTER_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    home: Path = Path("var")
    """FORECASTER_HOME: the folder of all that is embedded. Made absolute, so that child processes agree on it."""

    database_url: str = Field(default_factory=_job_database, repr=False)
    """FORECASTER_DATABASE_URL: the job database, SQLite or PostgreSQL. Kept out of logs: it may hold a password."""

    tracking_uri: str = Field(default_factory=_tracking_database, validation_alias="MLFLOW_TRACKING_URI", repr=False)
    """MLFLOW_TRACKING_URI: runs and registered models, an MLflow server or its database."""

    dataset_max_bytes: int = Field(default=MOST_DATASET_BYTES, ge=1)
    """FORECASTER_DATASET_MAX_BYTES: the largest data set that can be stored."""

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            field = name if name.isupper() else f"FORECASTER_{name.upper()}"
            problem = first["msg"].removeprefix("Value error, ")
            raise InputError(problem, field=field, mend="see docs/settings.md") from error

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            return home.expanduser().resolve()
        except RuntimeError as error:  # of `~name`, where there is nobody of that name
            raise ValueError(str(error)) from error

    @property
    def tracking_place(self) -> str:
        """The address of `tracking_uri` without user and password."""
        scheme, separator, rest = self.tracking_uri.partition("://")
        authority, slash, path = rest.partition("/")
        return scheme + separator + authority.rpartition("@")[2] + slash + path

    @property
    def jobs_dir(self) -> Path:
        """One folder for each job: its spec, checkpoints and log."""
        return self.home / "jobs"

    @property
    def models_dir(self) -> Path:
        """Local copies of the models that are served."""
        return self.home / "models"

    @property
    def datasets_dir(self) -> Path:
        return self.home / "datasets"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def artifacts_dir(self) -> Path:
        """What MLflow keeps as files when it runs embedded."""
        return self.home / "artifacts"

    def environment(self) -> dict[str, str]:
        """The variables from which another process reads these same settings."""
        return {
            "FORECASTER_HOME": str(self.home),
            "FORECASTER_DATABASE_URL": self.database_url,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
        }
