"""`python -m training.job DIRECTORY`: one attempt at a training job, run by a worker.

Standard output holds one JSON event a line, standard error the log. When standard input ends the worker is gone,
and so is this process.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from forecaster.errors import ForecasterError, TrainingError, Unavailable
from forecaster.store.database import connect
from forecaster.store.datasets import DatasetStore
from forecaster.store.jobs import JobStore
from forecaster.store.settings import StoreSettings
from forecaster.store.spec import JobSpec
from training.child import WORK
from training.progress import Progress

logger = logging.getLogger("training")


class EventReporter:
    """Progress as events for the worker; all fits share one estimate of the time that is left."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._fits, self._at_once = 1, 1
        self._shares: dict[str, float] = {}  # how much of each fit is done, from 0 to 1
        self._seconds = 0.0  # that a whole fit takes

    def plan(self, fits: int, at_once: int) -> None:
        self._fits, self._at_once = fits, at_once

    def stage(self, name: str) -> None:
        logger.info("%s", name)
        self._shares = dict.fromkeys(self._shares, 1.0)  # what was told of before has ended
        if " fit" in name:
            self._shares[name] = 0.0  # or it is found finished, and tells nothing
        self._tell(stage=name)

    def progress(self, stage: str, progress: Progress) -> None:
        self._shares[stage] = progress.epoch / progress.epochs
        if progress.epoch < progress.epochs:
            self._seconds = progress.seconds_left / (1 - self._shares[stage])
        left = self._fits - sum(self._shares.values())
        self._tell(
            stage=stage,
            epoch=progress.epoch,
            epochs=progress.epochs,
            loss=progress.loss,
            windows_per_second=round(progress.windows_per_second, 1),
            seconds_left=round(self._seconds * left / self._at_once, 1),
            fraction=round(1 - left / self._fits, 4),
        )
        logger.info("%s: epoch %d of %d, loss %.4f", stage, progress.epoch, progress.epochs, progress.loss)

    def say(self, text: str) -> None:
        logger.info("%s", text)

    def note(self, text: str) -> None:
        logger.warning("%s", text)

    def _tell(self, **news: Any) -> None:
        """Each event tells all that is known: the last one is what a reader of the job sees."""
        self._known |= news
        emit("progress", **self._known)


def emit(event: str, **content: Any) -> None:
    """One line of JSON to the worker."""
    sys.stdout.write(json.dumps({"event": event, **content}) + "\n")
    sys.stdout.flush()


def main(directory: Path) -> int:
    """Run the job whose spec lies in `directory`; gives the exit code."""
    _end_with_the_worker()
    signal.signal(signal.SIGTERM, _end_in_order)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        result = _run(directory)
    except ForecasterError as error:
        logger.error("%s", error)
        emit("error", message=str(error), kind=_kind(error))
        return error.exit_code
    except Exception as error:
        logger.exception("the training failed")
        emit("error", message=f"{type(error).__name__}: {error}", kind="failed")
        return 1
    emit("result", result=result)
    return 0


def _kind(error: ForecasterError) -> str:
    if isinstance(error, Unavailable):
        return "unavailable"
    return "input" if error.exit_code == 2 else "failed"


def _run(directory: Path) -> dict[str, Any]:
    from training.pipeline import train  # not above: processes that fit members import this module too
    from training.request import TrainRequest

    task = json.loads((directory / "spec.json").read_text())
    spec = JobSpec.model_validate(task["spec"])
    settings = StoreSettings()
    jobs = JobStore(connect(settings.database_url))

    def guard() -> None:
        if not jobs.is_current(task["id"], task["token"]):
            raise TrainingError("this attempt is no longer the current one; nothing was published")

    version = DatasetStore.of(settings).get(spec.dataset)
    request = TrainRequest(
        data=str(version.path),
        data_name=version.reference,
        name=spec.model,
        freq=spec.freq,
        horizon=spec.horizon,
        season=spec.season,
        rows=spec.rows,
        covariates=spec.covariates,
        usual_calendar=spec.calendar,
        preset=spec.preset,
        changes=spec.settings,
        warm_start=spec.warm_start,
        promote=spec.promote,
        seed=spec.seed,
        started_by=spec.started_by,
        job_id=task["id"],
        work=directory / WORK,
    )
    return train(request, settings, EventReporter(), guard).model_dump(mode="json")


def _end_in_order(number: int, _: object) -> NoReturn:
    """Told to stop: leave all that was begun, so that the MLflow run is not left running for good."""
    raise SystemExit(128 + number)


def _end_with_the_worker() -> None:
    def watch() -> None:
        while os.read(0, 1):  # os.read: a buffered reader would hold a lock that the interpreter needs to exit
            pass  # nothing is ever written; the read returns when the worker's end is closed
        os._exit(3)

    threading.Thread(target=watch, name="worker-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
