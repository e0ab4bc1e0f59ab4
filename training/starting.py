"""The weights that a run begins with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from torch import Tensor

from forecaster.artifact import load_artifact, load_held_out
from forecaster.backtest import BacktestWindows, has_seen
from forecaster.predictor import ModelInfo
from forecaster.settings import ModelSettings
from forecaster.store.registry import Reference, download, resolve
from training.request import TrainRequest


@dataclass(frozen=True)
class Start:
    """Weights to begin with, for the fit that holds out the end and for the final fit; None begins afresh."""

    held_out: Mapping[str, Tensor] | None = None
    final: Mapping[str, Tensor] | None = None
    info: ModelInfo | None = None

    @property
    def model(self) -> ModelSettings | None:
        return self.info.settings if self.info else None

    def unseen(self, windows: BacktestWindows) -> Mapping[str, Tensor] | None:
        """The weights for the judged fit, unless they have seen steps that it is judged on."""
        if self.info is None or has_seen(self.info, windows, int(self.info.data.get("held_out", 0))):
            return None
        return self.held_out


def warm_start(client: MlflowClient, request: TrainRequest, work: Path) -> Start:
    """The weights of the model that the request names to begin with. Raises NotFound."""
    version = resolve(client, Reference.parse(request.warm_start))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        directory = download(version, Path(folder))
        final = load_artifact(directory)
        held_out = load_held_out(directory)
    return Start(held_out.network.state_dict() if held_out else None, final.network.state_dict(), final.info)
