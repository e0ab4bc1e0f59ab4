from __future__ import annotations

from pathlib import Path

import pytest

from forecaster.errors import InputError
from forecaster.store.database import connect


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_any_postgresql_url_means_psycopg_3(scheme: str) -> None:
    engine = connect(f"{scheme}://user@host/name")
    assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")


def test_sqlite_file_gets_its_folder(tmp_path: Path) -> None:
    connect(f"sqlite:///{tmp_path}/new/jobs.db")
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("url", ["jobs.db", "mysql://user:secret@host/name", "sqlite:////dev/null/jobs.db"])
def test_url_that_cannot_work_names_the_setting_and_no_password(url: str) -> None:
    with pytest.raises(InputError, match="FORECASTER_DATABASE_URL") as raised:
        connect(url)
    assert "secret" not in str(raised.value)
