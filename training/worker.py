"""The worker: claims training jobs and sees each through in a child process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tenacity import Retrying, before_sleep_log, retry_if_exception_type, wait_exponential_jitter

from forecaster.errors import NotFound, Unavailable
from forecaster.store.database import connect
from forecaster.store.jobs import LEASE_SECONDS, Job, JobStore, LostLease, News
from forecaster.store.settings import StoreSettings
from training.child import WORK, Child, start

TRAINING_JOB = (sys.executable, "-m", "training.job")
ENDING = (sys.executable, "-m", "training.ending")

_POLL_SECONDS = 1.0
_BEAT_SECONDS = 1.0  # at most; so soon a cancel is noticed, and progress seen
_AWAY_SECONDS = 10.0  # before a job is tried again whose tracking server did not answer
_ENDING_SECONDS = 60.0  # at most, until MLflow knows that a run has ended
_GRACE_SECONDS = 10.0  # for a child that was asked to end; less than a lease, as there is no heartbeat meanwhile

logger = logging.getLogger(__name__)


class Worker:
    """Runs one job at a time. The thread that calls it supervises; a signal handler may call `stop`."""

    def __init__(
        self,
        store: JobStore,
        settings: StoreSettings,
        *,
        command: Sequence[str] = TRAINING_JOB,
        ending: Sequence[str] = ENDING,
    ) -> None:
        self._store = store
        self._settings = settings
        self._command, self._ending = command, ending
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._beat_seconds = min(_BEAT_SECONDS, store.lease_seconds / 5)
        self._stopping = False  # a plain flag: to set a threading.Event inside a signal handler can deadlock
        self._patiently = Retrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_exponential_jitter(max=5.0),
            stop=lambda _: self._stopping,
            before_sleep=before_sleep_log(logger, logging.WARNING),
            reraise=True,
        )

    def stop(self) -> None:
        """End soon; a job that is running goes back to the queue."""
        self._stopping = True

    def run_forever(self) -> None:
        """Run jobs as they come, until `stop`."""
        logger.info("worker %s waits for jobs", self._name)
        self._tidy()
        while not self._stopping:
            if not self.run_one():
                time.sleep(_POLL_SECONDS)
        logger.info("worker %s ends", self._name)

    def run_one(self) -> bool:
        """Run the next job to its end. False if none was waiting."""
        try:
            job = self._patiently(self._store.claim, self._name)
            if job is None:
                return False
            self._run(job)
            self._tidy()
        except LostLease as error:
            logger.warning("%s: its process was ended", error)
        except Unavailable as error:  # told to stop while the database is away: the lease will run out by itself
            logger.warning("%s", error)
        return True

    def _run(self, job: Job) -> None:
        logger.info("job %s (%s): attempt %d of %d", job.id, job.model, job.attempt, job.max_attempts)
        try:
            with start(self._command, self._prepare(job), os.environ | self._settings.environment()) as child:
                self._supervise(job, child)
            self._settle(job, child)
        except OSError as error:  # no such command, a full disk
            logger.exception("job %s: cannot be run", job.id)
            self._patiently(self._store.fail, job.id, job.token, f"the worker cannot run the job: {error}")

    def _prepare(self, job: Job) -> Path:
        directory = self._settings.jobs_dir / job.id
        directory.mkdir(parents=True, exist_ok=True)  # an earlier attempt may have left checkpoints to go on from
        order = {"id": job.id, "token": job.token, "spec": job.spec.model_dump(mode="json")}
        (directory / "spec.json").write_text(json.dumps(order, indent=2), encoding="utf-8")
        return directory

    def _supervise(self, job: Job, child: Child) -> None:
        while not child.wait(self._beat_seconds):
            if self._stopping or self._shall_cancel(job, child):
                child.stop(_GRACE_SECONDS)
                return

    def _shall_cancel(self, job: Job, child: Child) -> bool:
        try:
            return self._store.heartbeat(job.id, job.token, News(child.progress, child.fresh_log_tail()))
        except Unavailable as error:  # train on: whether the lease still holds, the next heartbeat will tell
            logger.warning("job %s: no heartbeat: %s", job.id, error)
            return False

    def _settle(self, job: Job, child: Child) -> None:
        news = News(child.progress, child.log_tail())
        if child.result is not None:  # its model is published, however the process ended after that
            self._patiently(self._store.succeed, job.id, job.token, child.result, news)
            logger.info("job %s: succeeded, its process ended %s", job.id, child.ending)
        elif child.told_to_stop and self._stopping:
            self._patiently(self._store.release, job.id, job.token, news)
            logger.info("job %s: given back to the queue", job.id)
        elif child.unavailable:
            self._patiently(self._store.postpone, job.id, job.token, child.failure(), _AWAY_SECONDS, news)
            logger.warning("job %s: given back to the queue: %s", job.id, child.failure())
        else:
            self._patiently(self._store.fail, job.id, job.token, child.failure(), news)
            if not child.killed or self._end_run(job):
                self._clear(job)
            logger.info("job %s: no result: %s", job.id, child.failure())

    def _tidy(self) -> None:
        """Clear what jobs left that were ended elsewhere: cancelled while they waited, or given up."""
        for work in self._settings.jobs_dir.glob(f"*/{WORK}"):
            try:
                job = self._store.get(work.parent.name)
            except (NotFound, Unavailable):  # not a job of this database, or one that is not known to have ended
                continue
            if job.status == "succeeded" or (job.ended and self._end_run(job)):
                self._clear(job)

    def _end_run(self, job: Job) -> bool:
        """In MLflow, for a process that was killed and could not: its run would be shown as running for good.

        False if that cannot be told now; then its checkpoints stay, and with them the memory that it is to be done.
        """
        command = [*self._ending, job.model, job.id]
        try:
            subprocess.run(
                command, env=os.environ | self._settings.environment(), timeout=_ENDING_SECONDS,
                check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("job %s: its run in MLflow is not ended: %s", job.id, getattr(error, "stderr", "") or error)
            return False
        return True

    def _clear(self, job: Job) -> None:
        """Remove what nobody goes on from any more."""
        work = self._settings.jobs_dir / job.id / WORK
        try:
            if work.exists():
                shutil.rmtree(work)
        except OSError as error:  # the job has ended all the same
            logger.warning("job %s: its checkpoints stay: %s", job.id, error)


def run_worker(
    settings: StoreSettings,
    *,
    command: Sequence[str] = TRAINING_JOB,
    ending: Sequence[str] = ENDING,
    lease_seconds: float = LEASE_SECONDS,
) -> None:
    """Work until SIGTERM or SIGINT. Call it in the main thread."""
    engine = connect(settings.database_url)
    worker = Worker(JobStore(engine, lease_seconds), settings, command=command, ending=ending)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        worker.run_forever()
    finally:
        engine.dispose()
