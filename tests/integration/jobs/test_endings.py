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


def test_a_job_that_lacks_something_says_so_and_lets_others_go_first(store: JobStore) -> None:
    first, second = store.submit(spec()), store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.postpone(job.id, job.token, "the MLflow server does not answer", 60)
    seen = store.get(first.id)
    assert (seen.status, seen.attempt, seen.error) == ("queued", 0, "the MLflow server does not answer")
    other = store.claim("w")
    assert other is not None
    assert other.id == second.id
    assert store.claim("w") is None
    assert store.cancel(first.id).error is None


def test_a_postponed_job_is_tried_again_and_forgets_why_it_waited(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.postpone(job.id, job.token, "away", 0)
    again = store.claim("w")
    assert again is not None
    assert (again.id, again.token, again.attempt, again.error) == (job.id, 2, 1, None)
    store.succeed(again.id, again.token, {})
    assert store.get(job.id).error is None


def test_a_postponed_job_of_which_a_cancel_was_asked_ends(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.cancel(job.id)
    store.postpone(job.id, job.token, "away", 60)
    seen = store.get(job.id)
    assert (seen.status, seen.error) == ("cancelled", None)
    assert seen.finished_at is not None
