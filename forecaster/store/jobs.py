"""The queue of training jobs: one table that is also what the API shows.

A worker claims a job under a lease, which it renews while it works. When the worker dies the lease runs out and
another claims the job. Every claim gives the job a new `token`, and whatever is written about a running job names
the token it was claimed with: a worker that was only slow, or cut off, cannot disturb its successor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from forecaster.errors import Conflict, ForecasterError, InputError, NotFound
from forecaster.store.database import now, reading, writing
from forecaster.store.spec import JobSpec

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Document = dict[str, Any]

LEASE_SECONDS = 15.0  # how long after its worker's death a job is taken up again
MAX_ATTEMPTS = 3  # a job that takes its worker down with it must not do so for ever
_LONGEST_WAIT, _DOUBLINGS = 300.0, 5  # seconds before a job is tried again for which something was away

_ID = re.compile("[0-9a-f]{32}")
_SCHEMA_LOCK = 7_262_003  # any number, the same in every process
_DOCUMENT = sa.JSON(none_as_null=True)

_metadata = sa.MetaData()
jobs = sa.Table(
    "training_jobs",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),  # the order of submission
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("status", sa.String(16), nullable=False, default="queued"),
    sa.Column("spec", _DOCUMENT, nullable=False),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("created_at", sa.Double, nullable=False, default=now()),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("max_attempts", sa.Integer, nullable=False, default=MAX_ATTEMPTS),
    sa.Column("token", sa.Integer, nullable=False, default=0),
    sa.Column("lease_until", sa.Double),  # of a queued job: not to be claimed before
    sa.Column("worker", sa.Text),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("progress", _DOCUMENT),
    sa.Column("result", _DOCUMENT),
    sa.Column("error", sa.Text),
    sa.Column("log_tail", sa.Text, nullable=False, default=""),
    sa.Index("ix_training_jobs_status_number", "status", "number"),
)
_BRIEFLY = [column for column in jobs.c if column.name != "log_tail"]

_queued = jobs.c.status == "queued"
_due = sa.and_(_queued, sa.or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= now()))
_running = jobs.c.status == "running"
_abandoned = sa.and_(_running, jobs.c.lease_until < now())
_beyond_hope = sa.or_(jobs.c.cancel_requested, jobs.c.attempt >= jobs.c.max_attempts)


class LostLease(ForecasterError):
    """The job is no longer this worker's: another has claimed it, or it has ended."""


class Job(BaseModel):
    """A training job as it stands. `model_dump(mode="json")` is what the API shows."""

    model_config = ConfigDict(frozen=True)

    id: str
    model: str
    status: Status
    spec: JobSpec
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    """When its latest attempt began."""
    finished_at: AwareDatetime | None
    attempt: int
    """Attempts used, the present one included; one that the worker gave back in good order does not count."""
    max_attempts: int
    token: int = Field(exclude=True)
    """How often it was claimed; names the present claim in every write."""
    worker: str | None
    cancel_requested: bool
    progress: Document | None
    result: Document | None
    error: str | None
    """Why it failed; or, while it waits to be tried again, what was away."""
    log_tail: str = ""
    """The log's last lines; left empty in lists."""

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")


@dataclass(frozen=True)
class News:
    """What a worker has to tell of its job, along with any other write. None is: nothing new."""

    progress: Document | None = None
    log_tail: str | None = None

    def columns(self) -> dict[str, Any]:
        told = {"progress": self.progress, "log_tail": None if self.log_tail is None else _text(self.log_tail)}
        return {name: value for name, value in told.items() if value is not None}


NO_NEWS = News()


class JobStore:
    """The jobs of one database. Safe to share between threads and processes.

    Every method raises Unavailable while the database cannot be used.
    """

    def __init__(self, engine: sa.Engine, lease_seconds: float = LEASE_SECONDS) -> None:
        self.lease_seconds = lease_seconds
        self._engine = engine
        self._ready = False

    def submit(self, spec: JobSpec, idempotency_key: str | None = None) -> Job:
        """Queue a job; a repeated key gives the job it gave before, or Conflict if that one's spec differs."""
        _check_key(idempotency_key)
        values = {
            "id": uuid4().hex,
            "model": spec.model,
            "spec": spec.model_dump(mode="json"),
            "idempotency_key": idempotency_key,
        }
        try:
            with self._writing() as connection:
                return _job(connection.execute(sa.insert(jobs).values(values).returning(jobs)).one())
        except sa.exc.IntegrityError:
            known = self.with_key(idempotency_key) if idempotency_key else None
            if known is None:
                raise
        if known.spec != spec:
            raise Conflict(f"the idempotency key {idempotency_key!r} already belongs to job {known.id}, which differs")
        return known

    def get(self, job_id: str) -> Job:
        """The job, with the tail of its log. Raises NotFound."""
        with self._reading() as connection:
            return _job(_find(connection, sa.select(jobs), job_id))

    def list(
        self, *, limit: int = 50, status: Status | None = None, model: str | None = None, before: str | None = None
    ) -> Sequence[Job]:
        """The newest first, without their logs. `before`: the id of the last job of the page before this one."""
        query = sa.select(*_BRIEFLY).order_by(jobs.c.number.desc()).limit(limit)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if model is not None:
            query = query.where(jobs.c.model == model)
        with self._reading() as connection:
            if before is not None:
                query = query.where(jobs.c.number < _find(connection, sa.select(jobs.c.number), before).number)
            return [_job(row) for row in connection.execute(query)]

    def cancel(self, job_id: str) -> Job:
        """End a waiting job; ask the worker of a running one to end it. Raises Conflict when it has ended otherwise."""
        with self._writing() as connection:
            query = sa.select(jobs.c.status, _abandoned.label("abandoned")).with_for_update()
            found = _find(connection, query, job_id)
            if found.status == "queued" or found.abandoned:
                ended = {"status": "cancelled", "finished_at": now(), "lease_until": None, "error": None}
                values = {"cancel_requested": True, **ended}
            elif found.status in ("running", "cancelled"):
                values = {"cancel_requested": True}
            else:
                raise Conflict(f"job {job_id} has {found.status}; it can no longer be cancelled")
            change = sa.update(jobs).where(jobs.c.id == job_id).values(values).returning(jobs)
            return _job(connection.execute(change).one())

    def claim(self, worker: str) -> Job | None:
        """The job that has waited longest, or whose worker was lost, now leased to `worker`."""
        with self._writing() as connection:
            _bury(connection)
            # A lease may run out after the burial: the next claim buries that job.
            lost = sa.and_(_abandoned, ~_beyond_hope)
            waiting = sa.select(jobs.c.id).where(sa.or_(_due, lost)).order_by(jobs.c.number).limit(1)
            # Two workers never wait for, nor get, the same row. SQLite has no such clause and needs none.
            job_id = connection.execute(waiting.with_for_update(skip_locked=True)).scalar()
            if job_id is None:
                return None
            claimed = sa.update(jobs).where(jobs.c.id == job_id).values(
                status="running",
                worker=worker,
                attempt=jobs.c.attempt + 1,
                token=jobs.c.token + 1,
                started_at=now(),
                lease_until=now() + self.lease_seconds,
                error=None,
            )  # fmt: skip
            return _job(connection.execute(claimed.returning(jobs)).one())

    def heartbeat(self, job_id: str, token: int, news: News = NO_NEWS) -> bool:
        """Renew the lease; tells whether the job shall be cancelled. Raises LostLease, as do the four below."""
        return self._write(job_id, token, news, lease_until=now() + self.lease_seconds)

    def succeed(self, job_id: str, token: int, result: Document, news: News = NO_NEWS) -> None:
        """End the job well."""
        self._write(job_id, token, news, status="succeeded", result=result, finished_at=now(), lease_until=None)

    def fail(self, job_id: str, token: int, error: str, news: News = NO_NEWS) -> None:
        """End the job as failed, or as cancelled where that was asked for."""
        self._write(job_id, token, news, **_cancelled_or_failed(error))

    def release(self, job_id: str, token: int, news: News = NO_NEWS) -> None:
        """Give the job back to the queue, its attempt not used; end it where a cancel was asked for."""
        self._give_back(job_id, token, news, None, None)

    def postpone(self, job_id: str, token: int, reason: str, seconds: float, news: News = NO_NEWS) -> None:
        """The same for a job that lacks what may come back: it says so, and lets others go before it.

        It is claimed after `seconds` at the soonest, after twice as many each time that it was claimed before.
        """
        wait = min(_LONGEST_WAIT, seconds * 2.0 ** min(token - 1, _DOUBLINGS))
        self._give_back(job_id, token, news, _text(reason), now() + wait)

    def _give_back(self, job_id: str, token: int, news: News, reason: str | None, due: Any) -> None:
        cancelled = jobs.c.cancel_requested
        self._write(
            job_id, token, news, status=_unless_cancelled("queued"), attempt=jobs.c.attempt - 1,
            finished_at=sa.case((cancelled, now()), else_=sa.null()),
            lease_until=None if due is None else sa.case((cancelled, sa.null()), else_=due),
            error=None if reason is None else sa.case((cancelled, sa.null()), else_=reason),
        )  # fmt: skip

    def is_current(self, job_id: str, token: int) -> bool:
        """Whether the claim still holds and nobody asked for the job's end: may its result be published?"""
        held = sa.select(jobs.c.id).where(_held(job_id, token), ~jobs.c.cancel_requested)
        with self._reading() as connection:
            return connection.execute(held).first() is not None

    def _write(self, job_id: str, token: int, news: News, **values: Any) -> bool:
        change = sa.update(jobs).where(_held(job_id, token)).values(values | news.columns())
        with self._writing() as connection:
            row = connection.execute(change.returning(jobs.c.cancel_requested)).one_or_none()
        if row is None:
            raise LostLease(f"job {job_id} is no longer held under claim {token}")
        return bool(row.cancel_requested)

    def with_key(self, idempotency_key: str) -> Job | None:
        """The job that was submitted with this key, if any."""
        with self._reading() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.idempotency_key == idempotency_key)).one_or_none()
        return None if row is None else _job(row)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        self._create_table()
        with writing(self._engine) as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        self._create_table()
        with reading(self._engine) as connection:
            yield connection

    def _create_table(self) -> None:
        """At the first use, not before: a service must start while its database is away."""
        if self._ready:
            return
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":  # two processes that create at once would collide
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            _metadata.create_all(connection)
        self._ready = True


def _job(row: sa.Row[Any]) -> Job:
    # "ignore": a job that an older release stored may have settings that this one no longer knows.
    return Job.model_validate(dict(row._mapping), extra="ignore")


def _find(connection: sa.Connection, query: sa.Select[Any], job_id: str) -> sa.Row[Any]:
    row = connection.execute(query.where(jobs.c.id == job_id)).one_or_none() if _ID.fullmatch(job_id) else None
    if row is None:
        raise NotFound(f"there is no training job {job_id!r}")
    return row


def _check_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise InputError("it must be 1 to 255 printable characters", field="Idempotency-Key", mend="a UUID will do")


def _held(job_id: str, token: int) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id == job_id, jobs.c.token == token, _running)


def _text(written: str) -> str:
    """What every database takes as text, of what a process may have printed."""
    return written.encode(errors="replace").decode().replace("\0", "")


def _unless_cancelled(status: Status) -> sa.ColumnElement[str]:
    return sa.case((jobs.c.cancel_requested, "cancelled"), else_=status)


def _cancelled_or_failed(error: str) -> dict[str, Any]:
    reason = sa.case((jobs.c.cancel_requested, sa.null()), else_=_text(error))
    return {"status": _unless_cancelled("failed"), "error": reason, "finished_at": now(), "lease_until": None}


def _bury(connection: sa.Connection) -> None:
    """End the jobs whose worker was lost and that nobody shall try again."""
    error = f"given up after {MAX_ATTEMPTS} attempts: each time its worker was lost (killed, or out of memory)"
    connection.execute(sa.update(jobs).where(_abandoned, _beyond_hope).values(_cancelled_or_failed(error)))
