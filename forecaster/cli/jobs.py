"""`forecaster jobs`: the queue of training jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from forecaster.cli import options
from forecaster.cli.output import Json, emit, prepare, show_table, stderr, stdout
from forecaster.errors import InputError, NotFound, TrainingError

if TYPE_CHECKING:
    from forecaster.store.datasets import DatasetStore, DatasetVersion
    from forecaster.store.jobs import Job, JobStore
    from forecaster.store.settings import StoreSettings

app = typer.Typer(help="Training jobs: a worker runs them one after the other.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(help="Id of the job.", show_default=False)]
_POLL_SECONDS = 0.5
_USUAL_SECONDS = 10.0  # within which a worker takes a job, if one is free


def open_store(settings: StoreSettings | None = None) -> JobStore:
    """The queue that the settings name."""
    from forecaster.store.database import connect
    from forecaster.store.jobs import JobStore
    from forecaster.store.settings import StoreSettings

    return JobStore(connect((settings or StoreSettings()).database_url))


@app.command("submit")
def submit(
    data: Annotated[
        str,
        typer.Argument(help="A stored data set (name or name@digest), or a file, which is stored under its name."),
    ],
    name: options.Name,
    horizon: options.Horizon,
    freq: options.Freq = None,
    season: options.Season = None,
    duplicates: options.Duplicates = options.DuplicatesChoice.error,
    resample: options.Resample = None,
    targets: options.Targets = None,
    static: options.Static = None,
    past: options.Past = None,
    future: options.Future = None,
    categorical: options.Categorical = None,
    calendar: options.Calendar = False,
    holidays: options.Holidays = None,
    preset: options.Preset = options.PresetChoice.balanced,
    set_: options.Set = None,
    warm_start: options.WarmStart = None,
    promote: options.Promote = options.PromoteChoice.if_better,
    seed: options.Seed = 1,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress and end when the job has ended.")] = False,
    json: Json = False,
) -> None:
    """Queue a training."""
    prepare(json)
    rows = options.row_settings(duplicates, resample)
    covariates = options.covariate_settings(targets, static, past, future, categorical, holidays)
    from forecaster.store.datasets import DatasetStore
    from forecaster.store.settings import StoreSettings
    from forecaster.store.spec import NAME, JobSpec

    datasets = DatasetStore.of(StoreSettings())
    a_file = "://" in data or Path(data).is_file()
    try:
        spec = JobSpec(
            model=name, dataset=name if a_file else data, freq=freq, horizon=horizon, season=season,
            duplicates=rows.duplicates, resample=rows.resample, targets=covariates.targets,
            static=covariates.static, past=covariates.past, future=covariates.future,
            categorical=covariates.categorical, calendar=calendar, holidays=holidays,
            preset=preset.value, settings=options.parse_changes(set_), warm_start=warm_start,
            promote=promote.value, seed=seed, started_by="cli",
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            first["msg"], field=".".join(map(str, first["loc"])), mend="see `forecaster jobs submit --help`"
        ) from error
    stem = Path(data).name.split(".")[0]
    kept_as = stem if NAME.fullmatch(stem) else name
    stored = datasets.put(kept_as, data) if a_file else _stored(datasets, data)
    store = open_store()
    job = store.submit(spec.model_copy(update={"dataset": stored.reference}))
    if wait:
        job = follow(store, job.id)
    _tell(job, json)
    if wait and job.status != "succeeded":
        raise TrainingError(f"job {job.id} {job.status}: {job.error or 'no reason was given'}")


def _stored(datasets: DatasetStore, reference: str) -> DatasetVersion:
    try:
        return datasets.get(reference)
    except NotFound as error:
        raise NotFound(f"{reference!r} is neither a file nor a stored data set") from error


def follow(store: JobStore, job_id: str, meanwhile: Callable[[], object] = lambda: None) -> Job:
    """Show a job's progress until it has ended. meanwhile: is called again and again"""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=stderr) as bars:
        task = bars.add_task("waiting for a worker", total=1.0)
        began = time.monotonic()
        while True:
            meanwhile()
            job = store.get(job_id)
            if job.status == "queued" and time.monotonic() - began > _USUAL_SECONDS:
                why = job.error or "is one running? `forecaster worker` starts one"
                bars.update(task, description=f"waiting for a worker ({why})")
            progress = job.progress or {}
            left = f", {progress['seconds_left']:.0f} s left" if progress.get("seconds_left") else ""
            if progress:
                bars.update(
                    task, description=f"{progress.get('stage', job.status)}{left}", completed=progress.get("fraction")
                )
            if job.ended:
                bars.update(task, description=job.status, completed=1.0)
                return job
            time.sleep(_POLL_SECONDS)


@app.command("list")
def list_jobs(
    status: Annotated[
        str | None, typer.Option("--status", help="queued, running, succeeded, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many, newest first.", min=1, max=500)] = 20,
    json: Json = False,
) -> None:
    """The newest jobs."""
    prepare(json)
    known = ("queued", "running", "succeeded", "failed", "cancelled")
    if status is not None and status not in known:
        raise InputError(f"{status!r} is no status", field="status", mend=f"give one of {', '.join(known)}")
    jobs = open_store().list(limit=limit, status=status)  # type: ignore[arg-type]  # checked just above
    if json:
        emit({"jobs": [job.model_dump(mode="json") for job in jobs]})
    else:
        rows = [[job.id, job.model, job.status, str(job.created_at)[:19], (job.error or "")[:60]] for job in jobs]
        show_table("Training jobs", ("id", "model", "status", "created (UTC)", "error"), rows)


@app.command("show")
def show(job: JobId, json: Json = False) -> None:
    """One job: status, progress and result."""
    prepare(json)
    _tell(open_store().get(job), json)


@app.command("logs")
def logs(job: JobId, json: Json = False) -> None:
    """The last lines of a job's log."""
    prepare(json)
    tail = open_store().get(job).log_tail
    if json:
        emit({"id": job, "log": tail.splitlines()})
    else:
        stdout.print(tail, markup=False, end="")


@app.command("cancel")
def cancel(job: JobId, json: Json = False) -> None:
    """Cancel a job that waits or runs."""
    prepare(json)
    store = open_store()
    store.cancel(job)
    _tell(store.get(job), json)


def _tell(job: Job, json: bool) -> None:
    if json:
        emit(job.model_dump(mode="json"))
        return
    stdout.print(f"{job.id}  {job.model}  {job.status}")
    details: dict[str, Any] = {**(job.progress or {}), **({"error": job.error} if job.error else {})}
    if job.result:
        details = {key: job.result[key] for key in ("version", "promoted", "reason", "run_id", "seconds")}
    for key, value in details.items():
        stdout.print(f"  {key}: {value}", markup=False)
