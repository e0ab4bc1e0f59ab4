"""A worker process with a short lease, whose children are stand-ins. Settings come from the environment."""

from __future__ import annotations

import logging
import sys

from forecaster.store.settings import StoreSettings
from training.worker import run_worker

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    run_worker(
        StoreSettings(),
        command=[sys.executable, "-m", "tests.stand_in_job"],
        ending=["true"],
        lease_seconds=float(sys.argv[1]),
    )
