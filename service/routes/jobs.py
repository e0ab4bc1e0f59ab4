"""Training jobs: the queue as a resource."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from forecaster.errors import InputError, NotFound, Unavailable
from forecaster.store.jobs import Job, Status
from forecaster.store.spec import JobSpec, Name
from service.media import JSON_BODY
from service.state import Needs

router = APIRouter(prefix="/v1/training-jobs", tags=["training"])
logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_LOG_BYTES = 1 << 20
_Key = Annotated[str | None, Header(description="Any text of your own: a repeated request gives the same job.")]


class JobsOut(BaseModel):
    jobs: list[Job]


@router.post("", status_code=202, dependencies=[JSON_BODY], summary="Queue a training job")
def submit(parts: Needs, spec: JobSpec, response: Response, idempotency_key: _Key = None) -> Job:
    try:
        stored = parts.datasets.get(spec.dataset)
    except NotFound as error:
        raise InputError(str(error), field="dataset", mend=f"PUT it to /v1/datasets/{spec.dataset} first") from error
    # The version is pinned now: an attempt that resumes must not find other data.
    dataset = stored.reference
    before = parts.jobs.with_key(idempotency_key) if idempotency_key else None
    if before is not None and before.spec.dataset.startswith(f"{spec.dataset}@"):
        dataset = before.spec.dataset  # the same request again, though newer data may have come meanwhile
    pinned = spec.model_copy(update={"started_by": "api", "dataset": dataset})
    job = parts.jobs.submit(pinned, idempotency_key)
    response.headers["Location"] = f"/v1/training-jobs/{job.id}"
    return job


@router.get("", summary="Jobs, the newest first")
def list_jobs(
    parts: Needs,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    status: Status | None = None,
    model: Name | None = None,
    before: Annotated[str | None, Query(description="The last id of the page before.")] = None,
) -> JobsOut:
    return JobsOut(jobs=list(parts.jobs.list(limit=limit, status=status, model=model, before=before)))


def _find(parts: Needs, job_id: str) -> Job:
    return parts.jobs.get(job_id)


Found = Annotated[Job, Depends(_find)]


@router.get("/{job_id}", summary="One job: status, progress, result")
def show(job: Found) -> Job:
    return job


@router.get("/{job_id}/logs", response_class=PlainTextResponse, summary="The last mebibyte of the log")
def logs(parts: Needs, job: Found) -> PlainTextResponse:
    """The whole log where the worker's folder is at hand, otherwise the tail that it reported."""
    path = parts.settings.jobs_dir / job.id / "log.txt"
    return PlainTextResponse(_tail(path) if path.is_file() else job.log_tail)


@router.get("/{job_id}/events", response_class=EventSourceResponse, summary="Progress as it happens")
async def events(parts: Needs, job: Found) -> AsyncIterator[ServerSentEvent]:
    """`progress` whenever something has changed, at last `end`."""
    told = None
    while True:
        news = job.model_dump_json(exclude={"log_tail"})
        if job.ended:
            yield ServerSentEvent(event="end", raw_data=news)
            return
        if news != told:
            yield ServerSentEvent(event="progress", raw_data=news)
            told = news
        await asyncio.sleep(_POLL_SECONDS)
        try:
            job = await run_in_threadpool(parts.jobs.get, job.id)
        except Unavailable as error:  # the stream outlives a restart of the database
            logger.warning("%s", error)


@router.delete("/{job_id}", status_code=202, summary="Cancel a job")
def cancel(parts: Needs, job_id: str) -> Job:
    """A waiting job ends at once, a running one when its worker sees the request."""
    return parts.jobs.cancel(job_id)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return file.read(_LOG_BYTES).decode(errors="replace")
