"""Real worker processes on real databases; only the training itself is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from forecaster.store.database import connect
from forecaster.store.jobs import Job, JobStore, LostLease
from forecaster.store.settings import StoreSettings
from forecaster.store.spec import JobSpec
from tests.waiting import wait_until
from training.child import WORK
from training.worker import Worker

if TYPE_CHECKING:
    from tests.fixtures_postgres import Postgres


ROOT = Path(__file__).parents[2]
STAND_IN = [sys.executable, "-m", "tests.stand_in_job"]
StartWorker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> StoreSettings:
    return StoreSettings(home=tmp_path, database_url=database_url)


@pytest.fixture
def store(settings: StoreSettings) -> Iterator[JobStore]:
    engine = connect(settings.database_url)
    yield JobStore(engine, lease_seconds=60)
    engine.dispose()


@pytest.fixture
def start_worker(settings: StoreSettings, store: JobStore) -> Iterator[StartWorker]:
    """Starts a worker whose lease is 1 s. Whatever still runs when the test ends is killed."""
    workers = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.stand_in_worker", "1"]
        workers.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | settings.environment()))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


@pytest.fixture
def worker(store: JobStore, settings: StoreSettings) -> Worker:
    """A worker in this process."""
    return Worker(store, settings, command=STAND_IN, ending=["true"])


def submit(store: JobStore, act: str) -> Job:
    settings = {"act": act}
    return store.submit(
        JobSpec.model_validate({"model": "m", "dataset": "d", "freq": "h", "horizon": 1, "settings": settings})
    )


def checkpoint(settings: StoreSettings, job: Job) -> Path:
    """A job's folder of what it would go on from, with something in it."""
    work = settings.jobs_dir / job.id / WORK
    work.mkdir(parents=True)
    (work / "last.ckpt").touch()
    return work


def child_of(settings: StoreSettings, job: Job, token: int = 1) -> psutil.Process:
    """The process of a job's attempt, once there is one."""
    noted = settings.jobs_dir / job.id / f"pid-{token}"
    wait_until(lambda: noted.exists() and noted.read_text())
    return psutil.Process(int(noted.read_text()))


def has_ended(process: psutil.Process) -> bool:
    # An orphan may stay a zombie where the machine's first process reaps none.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_no_job_no_work(worker: Worker) -> None:
    assert worker.run_one() is False


def test_job_succeeds_with_progress_and_log(worker: Worker, store: JobStore, settings: StoreSettings) -> None:
    job = submit(store, "succeed")
    assert worker.run_one() is True
    seen = store.get(job.id)
    assert (seen.status, seen.error) == ("succeeded", None)
    assert seen.result == {"model": "m", "version": 1, "token": 1}
    assert seen.progress == {"stage": "fit", "epoch": 3, "epochs": 3, "fraction": 1.0}
    assert seen.log_tail.splitlines()[:3] == ["epoch 1", "epoch 2", "epoch 3"]
    assert "a library's words" in seen.log_tail
    assert (settings.jobs_dir / job.id / "log.txt").read_text() == seen.log_tail


def test_progress_is_seen_while_the_job_runs(
    start_worker: StartWorker, store: JobStore, settings: StoreSettings
) -> None:
    job = submit(store, "hang")
    start_worker()
    wait_until(lambda: store.get(job.id).progress)
    assert store.get(job.id).progress == {"stage": "fit", "epoch": 1, "epochs": 9, "loss": None, "fraction": 0.1}


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("fail", "series 'a': no observed value"),
        ("crash", "the training process ended with exit code 1 and gave no result: RuntimeError: out of luck"),
        ("say nothing", "the training process ended with exit code 0 and gave no result: a library's words"),
    ],
)
def test_failed_job_says_why(worker: Worker, store: JobStore, settings: StoreSettings, act: str, reason: str) -> None:
    job = submit(store, act)
    work = checkpoint(settings, job)
    worker.run_one()
    assert not work.exists()
    seen = store.get(job.id)
    assert (seen.status, seen.error, seen.attempt) == ("failed", reason, 1)


def test_command_that_cannot_be_run_fails_the_job(store: JobStore, settings: StoreSettings) -> None:
    job = submit(store, "succeed")
    Worker(store, settings, command=["/nowhere/python"]).run_one()
    seen = store.get(job.id)
    assert seen.status == "failed"
    assert seen.error is not None
    assert seen.error.startswith("the worker cannot run the job: ")


def test_cancelled_waiting_job_is_never_run(worker: Worker, store: JobStore, settings: StoreSettings) -> None:
    job = submit(store, "succeed")
    store.cancel(job.id)
    assert worker.run_one() is False
    assert not (settings.jobs_dir / job.id).exists()


def test_cancelled_running_job_ends(start_worker: StartWorker, store: JobStore, settings: StoreSettings) -> None:
    job = submit(store, "hang")
    start_worker()
    child = child_of(settings, job)
    store.cancel(job.id)
    wait_until(lambda: store.get(job.id).ended)
    assert store.get(job.id).status == "cancelled"
    assert has_ended(child)


def test_job_of_a_killed_worker_ends_well_with_another(
    start_worker: StartWorker, store: JobStore, settings: StoreSettings
) -> None:
    job = submit(store, "hang once")
    worker = start_worker()
    child = child_of(settings, job)
    worker.kill()
    wait_until(lambda: has_ended(child), seconds=5)
    assert store.get(job.id).status == "running"
    start_worker()
    wait_until(lambda: store.get(job.id).ended)
    seen = store.get(job.id)
    assert (seen.status, seen.attempt, seen.token) == ("succeeded", 2, 2)
    assert seen.result is not None
    assert seen.result["token"] == 2
    with pytest.raises(LostLease):
        store.succeed(job.id, 1, {"version": 0})


def test_job_that_takes_its_workers_down_fails_in_the_end(
    start_worker: StartWorker, store: JobStore, settings: StoreSettings
) -> None:
    job = submit(store, "hang")
    for token in (1, 2, 3):
        worker = start_worker()
        child_of(settings, job, token)
        worker.kill()
    start_worker()
    wait_until(lambda: store.get(job.id).ended)
    seen = store.get(job.id)
    assert (seen.status, seen.attempt) == ("failed", 3)
    assert seen.error is not None
    assert "given up after 3 attempts" in seen.error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_told_to_end_gives_its_job_back(
    start_worker: StartWorker, store: JobStore, settings: StoreSettings, number: signal.Signals
) -> None:
    job = submit(store, "hang once")
    work = checkpoint(settings, job)
    worker = start_worker()
    child = child_of(settings, job)
    worker.send_signal(number)
    assert worker.wait(timeout=20) == 0
    assert has_ended(child)
    assert (store.get(job.id).status, store.get(job.id).attempt) == ("queued", 0)
    assert any(work.iterdir())
    start_worker()
    wait_until(lambda: store.get(job.id).ended)
    assert (store.get(job.id).status, store.get(job.id).attempt) == ("succeeded", 1)


def test_job_whose_tracking_server_is_away_waits_and_is_tried_again(
    worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.worker._AWAY_SECONDS", 0)
    job = submit(store, "miss the server once")
    assert worker.run_one() is True
    assert (store.get(job.id).status, store.get(job.id).attempt) == ("queued", 0)
    assert worker.run_one() is True
    assert (store.get(job.id).status, store.get(job.id).attempt) == ("succeeded", 1)


def test_idle_worker_told_to_end_does_so(start_worker: StartWorker, store: JobStore, settings: StoreSettings) -> None:
    job = submit(store, "succeed")
    worker = start_worker()
    wait_until(lambda: store.get(job.id).ended)
    worker.terminate()
    assert worker.wait(timeout=20) == 0


def test_worker_that_was_too_slow_leaves_the_job_to_its_successor(
    start_worker: StartWorker, store: JobStore, settings: StoreSettings
) -> None:
    job = submit(store, "hang once")
    slow = start_worker()
    child = child_of(settings, job)
    slow.send_signal(signal.SIGSTOP)
    wait_until(lambda: (claimed := store.claim("successor")) is not None and claimed.id == job.id)
    slow.send_signal(signal.SIGCONT)
    wait_until(lambda: has_ended(child))
    seen = store.get(job.id)
    assert (seen.status, seen.worker, seen.token) == ("running", "successor", 2)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_worker_outlives_its_database(
    start_worker: StartWorker, store: JobStore, settings: StoreSettings, postgres: Postgres
) -> None:
    running, waiting = submit(store, "wait for a file"), submit(store, "succeed")
    worker = start_worker()
    child = child_of(settings, running)
    postgres.stop()
    try:
        (settings.jobs_dir / running.id / "go").touch()
        wait_until(lambda: has_ended(child))
    finally:
        postgres.start()
    wait_until(lambda: store.get(waiting.id).ended)
    assert [store.get(job.id).status for job in (running, waiting)] == ["succeeded", "succeeded"]
    assert store.get(running.id).attempt == 1
    assert worker.poll() is None


def test_child_reads_the_settings_of_its_worker(store: JobStore, settings: StoreSettings, tmp_path: Path) -> None:
    job = submit(store, "succeed")
    script = "import json,sys;from forecaster.store.settings import StoreSettings as S;s=S();"
    script += "print(json.dumps({'event':'result','result':{'home':str(s.home),'database':s.database_url}}))"
    Worker(store, settings, command=[sys.executable, "-c", script]).run_one()
    expected: dict[str, Any] = {"home": str(tmp_path), "database": settings.database_url}
    assert store.get(job.id).result == expected


def test_what_a_job_left_that_was_ended_elsewhere_is_cleared(
    worker: Worker, store: JobStore, settings: StoreSettings
) -> None:
    cancelled, waiting = (checkpoint(settings, submit(store, "succeed")) for _ in range(2))
    strange = settings.jobs_dir / "not-of-this-database" / WORK
    strange.mkdir(parents=True)
    store.cancel(cancelled.parent.name)
    worker.stop()
    worker.run_forever()
    assert not cancelled.exists()
    assert waiting.exists()
    assert strange.exists()
