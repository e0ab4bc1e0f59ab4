"""The job queue, on real databases of both kinds. A lease of -1 s is one whose worker is already lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from forecaster.errors import Conflict, InputError, NotFound, Unavailable
from forecaster.store.database import connect, writing
from forecaster.store.jobs import JobStore, LostLease, News, jobs
from forecaster.store.spec import JobSpec


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: sa.Engine) -> JobStore:
    return JobStore(engine, lease_seconds=60)


@pytest.fixture
def lost(engine: sa.Engine) -> JobStore:
    """The store of a worker that dies as soon as it has claimed a job."""
    return JobStore(engine, lease_seconds=-1)


def spec(model: str = "m", **more: Any) -> JobSpec:
    return JobSpec.model_validate({"model": model, "dataset": "d", "freq": "h", "horizon": 24, **more})


def test_submitted_job_waits_in_the_queue(store: JobStore) -> None:
    job = store.submit(spec(settings={"fit.rate": 0.01, "cell": "gru"}))
    assert (job.status, job.attempt, job.max_attempts, job.model) == ("queued", 0, 3, "m")
    assert job.spec.settings == {"fit.rate": 0.01, "cell": "gru"}
    assert abs(job.created_at.timestamp() - time.time()) < 5
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


def test_job_that_takes_every_worker_down_fails_in_the_end(store: JobStore, lost: JobStore) -> None:
    job_id = store.submit(spec()).id
    assert [job and job.attempt for job in (lost.claim("w") for _ in range(4))] == [1, 2, 3, None]
    job = store.get(job_id)
    assert job.status == "failed"
    assert job.error == "given up after 3 attempts: each time its worker was lost (killed, or out of memory)"
    assert job.finished_at is not None


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
