"""Claiming jobs, and the lease that a claim holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from forecaster.store.jobs import JobStore, LostLease, News
from tests.integration.jobs.conftest import spec


def test_oldest_job_is_claimed_first(store: JobStore) -> None:
    submitted = [store.submit(spec()).id for _ in range(3)]
    claimed = [store.claim("w") for _ in range(4)]
    assert [job.id if job else None for job in claimed] == [*submitted, None]


def test_claimed_job_is_running(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("host:1")
    assert job is not None
    assert (job.status, job.worker, job.attempt, job.token) == ("running", "host:1", 1, 1)
    assert job.started_at is not None
    assert job.started_at >= job.created_at


def test_no_two_workers_claim_the_same_job(store: JobStore) -> None:
    submitted = {store.submit(spec()).id for _ in range(24)}

    def claim_all(worker: int) -> list[str]:
        claimed = []
        while job := store.claim(f"w{worker}"):
            claimed.append(job.id)
        return claimed

    with ThreadPoolExecutor(6) as pool:
        claimed = [job for worker in pool.map(claim_all, range(6)) for job in worker]
    assert len(claimed) == len(submitted)
    assert set(claimed) == submitted


def test_job_of_a_lost_worker_is_claimed_again(store: JobStore, lost: JobStore) -> None:
    job_id = store.submit(spec()).id
    lost.claim("w1")
    again = store.claim("w2")
    assert again is not None
    assert (again.id, again.attempt, again.token, again.worker) == (job_id, 2, 2, "w2")
    assert store.claim("w3") is None


def test_heartbeat_renews_the_lease(store: JobStore, lost: JobStore) -> None:
    store.submit(spec())
    job = lost.claim("w1")
    assert job is not None
    assert store.heartbeat(job.id, job.token) is False
    assert store.claim("w2") is None


def test_progress_and_log_are_kept_until_there_is_news(store: JobStore) -> None:
    store.submit(spec())
    job = store.claim("w")
    assert job is not None
    store.heartbeat(job.id, job.token, News({"epoch": 1, "loss": None}, "línea\n"))
    store.heartbeat(job.id, job.token)
    seen = store.get(job.id)
    assert seen.progress == {"epoch": 1, "loss": None}
    assert seen.log_tail == "línea\n"


def test_writes_under_an_old_claim_are_refused(store: JobStore, lost: JobStore) -> None:
    store.submit(spec())
    old = lost.claim("w1")
    new = store.claim("w2")
    assert old is not None
    assert new is not None
    for write in (
        lambda: store.heartbeat(old.id, old.token, News({"epoch": 9})),
        lambda: store.succeed(old.id, old.token, {"version": 9}),
        lambda: store.fail(old.id, old.token, "no"),
        lambda: store.release(old.id, old.token),
    ):
        with pytest.raises(LostLease):
            write()
    assert store.get(new.id) == new
    assert not store.is_current(old.id, old.token)
    assert store.is_current(new.id, new.token)


def test_job_that_takes_every_worker_down_fails_in_the_end(store: JobStore, lost: JobStore) -> None:
    job_id = store.submit(spec()).id
    assert [job and job.attempt for job in (lost.claim("w") for _ in range(4))] == [1, 2, 3, None]
    job = store.get(job_id)
    assert job.status == "failed"
    assert job.error == "given up after 3 attempts: each time its worker was lost (killed, or out of memory)"
    assert job.finished_at is not None


def test_a_lease_that_runs_out_while_a_worker_claims_gives_no_attempt_too_many(
    store: JobStore, lost: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = store.submit(spec()).id
    for _ in range(3):
        lost.claim("w")
    with monkeypatch.context() as clock:
        clock.setattr("forecaster.store.jobs._bury", lambda _: None)  # at its time, the lease still held
        assert store.claim("w") is None
    assert store.claim("w") is None
    assert store.get(job_id).status == "failed"
