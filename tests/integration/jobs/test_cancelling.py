"""Cancelling jobs that wait, run or have ended."""

from __future__ import annotations

import pytest

from forecaster.errors import Conflict
from forecaster.store.jobs import JobStore
from tests.integration.jobs.conftest import spec


def test_waiting_job_is_cancelled_at_once(store: JobStore) -> None:
    job = store.cancel(store.submit(spec()).id)
    assert (job.status, job.ended) == ("cancelled", True)
    assert store.claim("w") is None
    assert store.cancel(job.id) == job


def test_running_job_is_cancelled_by_its_worker(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    asked = store.cancel(job.id)
    assert (asked.status, asked.cancel_requested) == ("running", True)
    assert not store.is_current(job.id, job.token)
    assert store.heartbeat(job.id, job.token) is True
    store.fail(job.id, job.token, "ended by signal 15")
    seen = store.get(job.id)
    assert (seen.status, seen.error) == ("cancelled", None)


def test_cancelled_job_is_not_given_back(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.cancel(job.id)
    store.release(job.id, job.token)
    seen = store.get(job.id)
    assert seen.status == "cancelled"
    assert seen.finished_at is not None


def test_success_that_came_before_the_cancel_was_seen_stands(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.cancel(job.id)
    store.succeed(job.id, job.token, {"version": 1})
    assert store.get(job.id).status == "succeeded"


def test_job_of_a_lost_worker_is_cancelled_at_once(store: JobStore, lost: JobStore) -> None:
    store.submit(spec())
    job = lost.claim("w")
    assert job is not None
    assert store.cancel(job.id).status == "cancelled"


def test_worker_lost_after_a_cancel_leaves_a_cancelled_job(store: JobStore, lost: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w1")
    assert job is not None
    store.cancel(job.id)
    lost.heartbeat(job.id, job.token)
    assert store.claim("w2") is None
    assert store.get(job.id).status == "cancelled"


def test_ended_job_cannot_be_cancelled(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.succeed(job.id, job.token, {})
    with pytest.raises(Conflict, match="has succeeded"):
        store.cancel(job.id)
