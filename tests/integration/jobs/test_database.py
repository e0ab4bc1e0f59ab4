"""The job table's database: shared, transactional, or away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from forecaster.errors import Unavailable
from forecaster.store.database import connect, writing
from forecaster.store.jobs import JobStore, jobs
from tests.integration.jobs.conftest import spec


def test_processes_that_start_at_once_share_one_table(database_url: str) -> None:
    engines = [connect(database_url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda engine: JobStore(engine).submit(spec()), engines))
    assert len(JobStore(engines[0]).list()) == 8
    for engine in engines:
        engine.dispose()


def test_reader_waits_for_no_writer(store: JobStore, engine: sa.Engine) -> None:
    job = store.submit(spec())
    with writing(engine) as connection:
        connection.execute(sa.update(jobs).values(model="other"))
        assert store.get(job.id).model == "m"
    assert store.get(job.id).model == "other"


def test_failed_transaction_leaves_nothing(store: JobStore, engine: sa.Engine) -> None:
    job = store.submit(spec())

    def change_half() -> None:
        with writing(engine) as connection:
            connection.execute(sa.update(jobs).values(model="other"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_half()
    assert store.get(job.id).model == "m"


def test_unreachable_server_is_unavailable() -> None:
    engine = connect("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="the job database cannot be used now: "):
        JobStore(engine).list()
    engine.dispose()


def test_unusable_file_is_unavailable(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}")
    with pytest.raises(Unavailable, match="unable to open database file"):
        JobStore(engine).list()
    engine.dispose()


def test_damaged_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"this is no database. " * 500)
    engine = connect(f"sqlite:///{tmp_path / 'jobs.db'}")
    with pytest.raises(Unavailable, match="not a database"):
        JobStore(engine).list()
    engine.dispose()
