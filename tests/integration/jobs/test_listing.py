"""Looking jobs up."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from forecaster.errors import NotFound
from forecaster.store.database import writing
from forecaster.store.jobs import JobStore, News, jobs
from tests.integration.jobs.conftest import spec


def test_list_pages_from_the_newest(store: JobStore) -> None:
    submitted = [store.submit(spec()).id for _ in range(5)]
    first = store.list(limit=2)
    second = store.list(limit=2, before=first[-1].id)
    third = store.list(limit=2, before=second[-1].id)
    assert [job.id for job in (*first, *second, *third)] == submitted[::-1]


def test_list_by_status_and_model(store: JobStore) -> None:
    store.submit(spec("a"))
    store.submit(spec("b"))
    store.submit(spec("a"))
    running = store.claim("w")
    assert [job.model for job in store.list(model="a")] == ["a", "a"]
    assert [job.id for job in store.list(status="running")] == [running.id if running else None]
    assert [job.model for job in store.list(status="queued", model="b")] == ["b"]


def test_list_leaves_logs_out(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.heartbeat(job.id, job.token, News(log_tail="words"))
    assert store.list()[0].log_tail == ""
    assert store.get(job.id).log_tail == "words"


@pytest.mark.parametrize("job_id", ["", "x", "\0", "../..", "a" * 32])
def test_unknown_job_is_not_found(store: JobStore, job_id: str) -> None:
    for ask in (store.get, store.cancel, lambda unknown: store.list(before=unknown)):
        with pytest.raises(NotFound):
            ask(job_id)


def test_job_with_a_setting_this_release_does_not_know_is_still_shown(store: JobStore, engine: sa.Engine) -> None:
    job = store.submit(spec())
    with writing(engine) as connection:
        older = job.spec.model_dump(mode="json") | {"retired": 1}
        connection.execute(sa.update(jobs).values(spec=older))
    assert store.get(job.id).spec == job.spec
