"""What the API process is made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import json, sys
from service.app import create_app
from service.settings import ServiceSettings
import service.server, uvicorn
from mlflow import MlflowClient
create_app(ServiceSettings(_env_file=None)).openapi()
print(json.dumps(sorted(sys.modules)))
"""


def test_the_service_loads_neither_lightning_nor_training(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=root, capture_output=True, text=True, check=True, timeout=120
    )
    modules = set(json.loads(done.stdout))
    loaded = {name.split(".")[0] for name in modules}
    assert not loaded & {
        "lightning",
        "pytorch_lightning",
        "lightning_fabric",
        "training",
        "statsforecast",
        "matplotlib",
    }
    assert {"service", "forecaster", "mlflow"} <= loaded
