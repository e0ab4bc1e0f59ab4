"""Submitting training jobs, once for each key."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forecaster.errors import Conflict, InputError
from forecaster.store.jobs import JobStore
from tests.integration.jobs.conftest import spec


def test_submitted_job_waits_in_the_queue(store: JobStore) -> None:
    before = time.time()
    job = store.submit(spec(settings={"fit.rate": 0.01, "cell": "gru"}))
    after = time.time()
    assert (job.status, job.attempt, job.max_attempts, job.model) == ("queued", 0, 3, "m")
    assert job.spec.settings == {"fit.rate": 0.01, "cell": "gru"}
    assert before - 1 < job.created_at.timestamp() < after + 1  # the database's clock may count in seconds
    assert (job.started_at, job.finished_at, job.progress, job.result, job.error) == (None,) * 5
    assert store.get(job.id) == job


def test_job_as_json_holds_what_a_client_may_see(store: JobStore) -> None:
    shown = store.submit(spec()).model_dump(mode="json")
    assert shown["created_at"].endswith("Z")
    assert shown["spec"]["horizon"] == 24
    assert "token" not in shown


def test_repeated_key_gives_the_same_job(store: JobStore) -> None:
    first = store.submit(spec(), "key")
    assert store.submit(spec(), "key") == first
    assert len(store.list()) == 1


def test_repeated_key_with_another_spec_is_a_conflict(store: JobStore) -> None:
    store.submit(spec(), "key")
    with pytest.raises(Conflict, match="'key' already belongs to job"):
        store.submit(spec(horizon=48), "key")


def test_jobs_without_a_key_are_all_different(store: JobStore) -> None:
    assert store.submit(spec()).id != store.submit(spec()).id


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 256])
def test_unusable_key_is_refused(store: JobStore, key: str) -> None:
    with pytest.raises(InputError, match="Idempotency-Key"):
        store.submit(spec(), key)


def test_key_submitted_at_the_same_time_makes_one_job(store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        submitted = list(pool.map(lambda _: store.submit(spec(), "key").id, range(16)))
    assert len(set(submitted)) == 1
    assert len(store.list()) == 1
