"""`forecaster up`, `serve`, `worker` and `quickstart`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.output import Json, emit, prepare, set_environment, stderr, stdout
from forecaster.cli.processes import Processes, Program, python, require_free
from forecaster.errors import NotFound, OutdatedArtifact, TrainingError, Unavailable

if TYPE_CHECKING:
    from forecaster.store.jobs import Job, JobStore
    from forecaster.store.settings import StoreSettings
    from forecaster.store.spec import JobSpec
    from service.settings import ServiceSettings

QUICKSTART = "new-york-weather"
_QUICKSTART_HORIZON = 48
_START_SECONDS, _LOAD_SECONDS = 120.0, 30.0
_NO_START = 3  # uvicorn's exit code
_HISTORY = (
    3.3, 2.8, 2.2, 1.7, 1.1, 0.6, 0.6, 1.1, 2.8, 4.4, 5.6, 6.7,
    7.8, 8.3, 8.3, 7.8, 6.7, 5.6, 5.0, 4.4, 4.4, 3.9, 3.3, 2.8,
)  # fmt: skip
# Without the query MLflow 3 opens on its pages for language models; it remembers the choice.
_PAGE = "#/experiments?workflowType=machine_learning"

# No defaults here: what is not given comes from the environment or `.env`, as the API's other settings do.
Host = Annotated[
    str | None, typer.Option("--host", help="Address to listen on. [env: FORECASTER_HOST, else 127.0.0.1]")
]
Port = Annotated[
    int | None, typer.Option("--port", help="Port of the API. [env: FORECASTER_PORT, else 8000]", min=1, max=65535)
]
MlflowPort = Annotated[
    int | None,
    typer.Option(
        "--mlflow-port", help="Port of the MLflow UI. [env: FORECASTER_MLFLOW_PORT, else 5000]", min=1, max=65535
    ),
]


def up(
    host: Host = None,
    port: Port = None,
    mlflow_port: MlflowPort = None,
    quick: Annotated[
        bool,
        typer.Option("--quickstart/--no-quickstart", help="Train the example model unless one can be served."),
    ] = True,
    json: Json = False,
) -> None:
    """Start MLflow, a training worker and the API, here and in the foreground. Ctrl-C stops them all."""
    prepare(json)
    settings = _service_settings(host=host, port=port, mlflow_port=mlflow_port)
    host, port, mlflow_port = settings.host, settings.port, settings.mlflow_port
    require_free(host, port, "--port")
    own_mlflow = settings.tracking_uri.startswith("sqlite:")
    tracking = f"http://127.0.0.1:{mlflow_port}" if own_mlflow else settings.tracking_place
    variables = {**settings.environment(), "FORECASTER_HOST": host}
    if own_mlflow:
        variables["MLFLOW_TRACKING_URI"] = tracking
    variables |= {"FORECASTER_PORT": str(port), **_no_proxy()}
    address = _address(host, port)
    with Processes(settings.logs_dir) as processes:
        if own_mlflow:
            require_free("127.0.0.1", mlflow_port, "--mlflow-port")
            processes.start(_mlflow(settings, mlflow_port))
        processes.start(Program("api", python("-m", "forecaster", "serve"), variables))
        processes.start(Program("worker", python("-m", "forecaster", "worker"), variables))
        with stderr.status("starting MLflow, the worker and the API"):
            if own_mlflow:
                processes.wait_for(f"{tracking}/health", _START_SECONDS)
            processes.wait_for(f"{address}/healthz/live", _START_SECONDS)
        if quick:
            os.environ.update(variables)
            from forecaster.store.settings import StoreSettings

            try:
                _train_quickstart(StoreSettings(), lambda: processes.revive(_tell))
            except TrainingError as error:
                _tell(f"{error}; `forecaster quickstart` tries it again")
                quick = False
            else:
                _wait_for_quickstart(processes, address, settings)
        _welcome(address, tracking, settings, json, example=quick)
        processes.watch(_tell)


def _address(host: str, port: int) -> str:
    """Where the API answers on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _tell(text: str) -> None:
    stderr.print(text, markup=False)


def _no_proxy() -> dict[str, str]:
    """What keeps a proxy of the environment out of what the programs have to say to each other."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join([*([others] if others else []), "127.0.0.1", "localhost"]))


def _wait_for_quickstart(processes: Processes, address: str, settings: ServiceSettings) -> None:
    """Until the API has loaded the example model, but not for ever: it may have many others to load before."""
    seconds = _LOAD_SECONDS + 2 * settings.poll_seconds
    with stderr.status("waiting for the API to load the model"):
        try:
            processes.wait_for(f"{address}/healthz/ready", seconds, rf'"{QUICKSTART}","version":\d')
        except Unavailable as error:
            processes.check()
            stderr.print(f"{error}; it goes on trying", markup=False)


def _mlflow(settings: StoreSettings, port: int) -> Program:
    settings.home.mkdir(parents=True, exist_ok=True)
    # Artifacts stay plain files that both server and commands reach, so a command works with or without the server.
    command = python("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    command += ["--backend-store-uri", settings.tracking_uri, "--no-serve-artifacts"]
    command += ["--default-artifact-root", settings.artifacts_dir.as_uri()]
    command += ["--uvicorn-opts", "--no-access-log"]  # the API looks each second, and nobody else rotates the log
    # The server's own job runner takes eight more processes and two gigabytes, and nothing here uses it.
    return Program("mlflow", command, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def _welcome(address: str, tracking: str, settings: ServiceSettings, json: bool, *, example: bool) -> None:
    if json:
        emit({"api": address, "docs": f"{address}/docs", "mlflow": tracking, "home": str(settings.home)})
        sys.stdout.flush()
        return
    stdout.print("\n[bold]Forecaster is up.[/bold]")
    stdout.print(f"API docs  {address}/docs", soft_wrap=True)
    stdout.print(f"MLflow    {tracking}/{_PAGE}", soft_wrap=True)
    stdout.print(f"files     {settings.home}\n", soft_wrap=True)
    if example:
        with_key = bool(settings.api_keys)
        stdout.print(f"Try a forecast{', with KEY one of FORECASTER_API_KEYS' if with_key else ''}:\n")
        sys.stdout.write(example_request(address, with_key=with_key) + "\n\n")
    stdout.print("Ctrl-C stops everything; the next start takes seconds.")


def example_request(address: str, *, with_key: bool = False) -> str:
    """A `curl` that works against the quickstart model: a day of temperatures at JFK in, the next 12 hours out."""
    values = ",".join(f"{value:g}" for value in _HISTORY)
    key = '-H "X-API-Key: $KEY" ' if with_key else ""  # never printed itself
    return (
        f"curl -s {address}/v1/forecast {key}-H 'Content-Type: application/json' -d '\n"
        f'{{"model": "{QUICKSTART}", "horizon": 12, "level": [80], "series": [{{\n'
        f'  "id": "JFK/temperature", "start": "2013-12-30T19:00:00",\n'
        f'  "values": [{values}]}}]}}\''
    )


def quickstart(json: Json = False) -> None:
    """Train the example model on the bundled weather data, through the queue, unless one can be served."""
    prepare(json)
    from forecaster.store.settings import StoreSettings

    trained = _train_quickstart(StoreSettings())
    if json:
        emit({"model": QUICKSTART, "trained": trained})
    else:
        stdout.print(f"{QUICKSTART} {'has been trained' if trained else 'is there already'}")


def _train_quickstart(settings: StoreSettings, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Whether a training was needed, and done. meanwhile: is called again and again"""
    from forecaster.cli.jobs import follow, open_store
    from forecaster.data import bundled
    from forecaster.store.datasets import DatasetStore
    from forecaster.store.spec import JobSpec

    if _has_quickstart():
        return False
    stored = DatasetStore.of(settings).put(QUICKSTART, bundled())
    spec = JobSpec(
        model=QUICKSTART,
        dataset=stored.reference,
        freq="h",
        horizon=_QUICKSTART_HORIZON,
        preset="fast",
        started_by="cli",
    )
    stderr.print(f"training {QUICKSTART} on real weather data; later starts find it ready")
    store = open_store(settings)
    job = follow(store, (_begun(store, spec) or store.submit(spec)).id, meanwhile)
    if job.status != "succeeded":
        raise TrainingError(f"the quickstart training {job.status}{f': {job.error}' if job.error else ''}")
    return True


def _begun(store: JobStore, spec: JobSpec) -> Job | None:
    """The same training, which a start that was interrupted has left in the queue."""
    waiting = [*store.list(status="running", model=spec.model), *store.list(status="queued", model=spec.model)]
    return next((job for job in waiting if job.spec == spec), None)


def _has_quickstart() -> bool:
    """Whether the example model is there, and not of an earlier release whose models this one does not read."""
    from forecaster.cli.loading import model_directory
    from forecaster.schema import read_config

    try:
        with model_directory(QUICKSTART) as (directory, _):
            read_config(directory)
    except (NotFound, OutdatedArtifact):
        return False
    return True


def _service_settings(**given: Any) -> ServiceSettings:
    """Those of the environment, but for what is given (not None). Raises InputError."""
    from service.settings import ServiceSettings

    return ServiceSettings(**{name: value for name, value in given.items() if value is not None})


def serve(host: Host = None, port: Port = None, json: Json = False) -> None:
    """Run the API alone. With --json it says at once where it is going to be."""
    set_environment()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    from service.server import run

    settings = _service_settings(host=host, port=port)
    require_free(settings.host, settings.port, "--port")
    if json:
        address = _address(settings.host, settings.port)
        emit({"api": address, "docs": f"{address}/docs", "home": str(settings.home)})
        sys.stdout.flush()
    try:
        run(settings)
    except SystemExit as error:
        if error.code == _NO_START:
            raise Unavailable("the API could not start; the lines before this one say why") from error
        raise


def worker(json: Json = False) -> None:
    """Run a worker alone: it takes training jobs from the queue, one at a time. With --json it says first where."""
    set_environment()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    from forecaster.store.settings import StoreSettings
    from training.worker import run_worker

    settings = StoreSettings()
    if json:
        emit({"home": str(settings.home), "jobs": str(settings.jobs_dir)})
        sys.stdout.flush()
    run_worker(settings)
