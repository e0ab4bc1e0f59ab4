"""Small models and panels for tests. An untrained network is a seasonal naive forecaster."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from forecaster.artifact import save_artifact
from forecaster.network import ForecastNetwork
from forecaster.panel import Panel
from forecaster.predictor import ModelInfo, Predictor
from forecaster.reading import panel_from_histories
from forecaster.settings import ModelSettings, NetworkSettings


def network_settings(**changes: object) -> NetworkSettings:
    """An hourly network that is small and fast."""
    plain = {"horizon": 24, "context": 96, "segment": 12, "season": 24, "lags": (24, 48), "highway": 48, "width": 8}
    return NetworkSettings.model_validate({**plain, **changes})


def model_settings(**changes: object) -> ModelSettings:
    """A model of one such network; `network` holds changes of it."""
    network = changes.pop("network", {})
    members = (network_settings(**network),)  # type: ignore[arg-type]
    return ModelSettings.model_validate({"freq": "h", "season": 24, "members": members, **changes})


def make_predictor(name: str = "toy", seed: int = 0, trained: bool = True, **changes: object) -> Predictor:
    """A predictor with random weights (`trained`, so that every part of the network matters) or fresh ones."""
    torch.manual_seed(seed)
    network = ForecastNetwork(model_settings(**changes))
    if trained:
        for parameter in network.parameters():
            parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return Predictor(network, ModelInfo(name=name, settings=network.settings))


def save_model(directory: Path, predictor: Predictor) -> None:
    """`save_artifact`; a model that was saved before is copied, since writing its graph takes half a second."""
    told = hashlib.sha256(predictor.info.model_dump_json().encode())
    for tensor in predictor.network.state_dict().values():
        told.update(tensor.numpy().tobytes())
    kept = Path(_saved_models().name) / told.hexdigest()
    if not kept.exists():
        save_artifact(kept, predictor)
    shutil.copytree(kept, directory)


@cache
def _saved_models() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def make_panel(n: int = 5, length: int = 200, seed: int = 0, missing: float = 0.0, freq: str = "h") -> Panel:
    """Positive seasonal series with noise; a share `missing` of the values is unobserved."""
    generator = np.random.default_rng(seed)
    step = np.arange(length)
    values = [
        50 * (i + 1) + 10 * (i + 1) * np.sin(2 * np.pi * step / 24 + i) + generator.normal(size=length)
        for i in range(n)
    ]
    for row in values:
        row[generator.random(length) < missing] = np.nan
    starts = ["2024-01-01"] * n
    return panel_from_histories([f"s{i}" for i in range(n)], starts, values, freq)


@pytest.fixture
def public_data() -> Path:
    """The folder of public data sets; tests that want it are skipped where it is absent."""
    import os

    folder = Path(os.environ.get("FORECASTER_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public data in {folder}; set FORECASTER_TEST_DATA to a folder that has them")
    return folder


@pytest.fixture
def official(public_data: Path) -> ModuleType:
    """The competition's measures, as another program states them."""
    script = public_data.parent / "eval" / "m4_metrics.py"
    if not script.exists():
        pytest.skip("the competition's scoring script is not here")
    spec = importlib.util.spec_from_file_location("m4_metrics", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
