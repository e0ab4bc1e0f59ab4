"""How a claimed job ends: with a result, an error, or back in the queue."""

from __future__ import annotations

import pytest

from forecaster.store.jobs import JobStore, LostLease, News
from tests.integration.jobs.conftest import spec


def test_log_and_error_may_hold_any_bytes_a_process_prints(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.fail(job.id, job.token, "a\0b \ud800", News(log_tail="c\0d"))
    seen = store.get(job.id)
    assert (seen.error, seen.log_tail) == ("ab ?", "cd")


def test_succeeded_job_has_its_result(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.succeed(job.id, job.token, {"version": 3, "metrics": {"mase": 0.7}})
    seen = store.get(job.id)
    assert (seen.status, seen.result, seen.ended) == ("succeeded", {"version": 3, "metrics": {"mase": 0.7}}, True)
    assert seen.finished_at is not None
    assert store.claim("w") is None


def test_failed_job_says_why_and_is_not_run_again(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.fail(job.id, job.token, "series 'a' is empty")
    assert (store.get(job.id).status, store.get(job.id).error) == ("failed", "series 'a' is empty")
    assert store.claim("w") is None


def test_ended_job_is_written_no_more(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.succeed(job.id, job.token, {})
    with pytest.raises(LostLease):
        store.heartbeat(job.id, job.token)
    assert not store.is_current(job.id, job.token)


def test_released_job_waits_again_with_its_attempt_unused(store: JobStore) -> None:
    store.submit(spec())
    for claim in range(1, 6):  # more often than there are attempts
        job = store.claim("w")
        assert job is not None
        assert (job.attempt, job.token) == (1, claim)
        store.release(job.id, job.token)
        assert (store.get(job.id).status, store.get(job.id).attempt) == ("queued", 0)
        with pytest.raises(LostLease):
            store.succeed(job.id, job.token, {})
