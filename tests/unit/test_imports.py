"""What processes are made of: the API without training; a mistake in a training without slow libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SERVICE = """
from service.app import create_app
from service.settings import ServiceSettings
import service.server, uvicorn
from mlflow import MlflowClient
create_app(ServiceSettings(_env_file=None)).openapi()
"""
_MISTAKE = """
from forecaster.errors import NotFound
from forecaster.store.settings import StoreSettings
from training.pipeline import train
from training.request import TrainRequest
try:
    train(TrainRequest(data="nothing.csv", name="shops", freq="h", horizon=3), StoreSettings())
except NotFound:
    pass
"""


def loaded_by(program: str, depth: int = 1) -> set[str]:
    """Modules, down to `depth` names, in a process of its own that ran the program."""
    told = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", told], cwd=root, capture_output=True, text=True, check=True)
    return {".".join(name.split(".")[:depth]) for name in json.loads(done.stdout)}


def test_the_service_loads_neither_lightning_nor_training() -> None:
    loaded = loaded_by(_SERVICE)
    training = {
        "polars",
        "scipy",
        "lightning",
        "pytorch_lightning",
        "lightning_fabric",
        "training",
        "statsforecast",
        "matplotlib",
    }
    assert not loaded & training
    assert {"service", "forecaster", "mlflow"} <= loaded


def test_a_mistake_is_told_before_libraries_are_loaded_that_take_seconds() -> None:
    loaded = loaded_by(_MISTAKE)
    assert not loaded & {"pytorch_lightning", "torch", "mlflow", "matplotlib"}
    assert "training" in loaded


def test_what_fits_loads_no_library_of_signals_and_leaves_it_to_others_whole() -> None:
    afterwards = "import scipy.signal\nassert scipy.signal.windows.hamming(3).sum() > 1"
    loaded = loaded_by(f"import training.fit, sys\nassert 'scipy.signal' not in sys.modules\n{afterwards}", depth=2)
    assert {"pytorch_lightning", "scipy.signal"} <= loaded
