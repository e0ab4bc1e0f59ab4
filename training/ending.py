"""`python -m training.ending MODEL JOB`: ends the MLflow run of a job whose process was killed.

A process of its own: a worker that had loaded MLflow would keep that in memory while it waits.
"""

from __future__ import annotations

import sys

from forecaster.errors import ForecasterError
from forecaster.store.settings import StoreSettings
from training.tracking import end_lost_run

if __name__ == "__main__":
    try:
        end_lost_run(StoreSettings(), *sys.argv[1:])
    except ForecasterError as error:
        sys.exit(str(error))
