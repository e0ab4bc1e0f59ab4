"""A model as a directory: settings and weights as data, and a golden forecast that every load reproduces.

`config.json` schema version, settings, calibration (for those who read; the weights hold what counts), origin;
`weights.safetensors`; `golden.json` an input (made up, no training data) and its forecast; `graph.onnx` the forecast as
a graph, which serves a few windows faster (not every network has one); `backtest.safetensors` the weights of the fit
that had not seen the last steps, with which a later training compares itself fairly. Nothing is pickled and no code is
loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from forecaster.covariates import made_up_panel
from forecaster.errors import ArtifactError, first_line
from forecaster.graph import Graph, export_graph, has_graph
from forecaster.network import ForecastNetwork
from forecaster.panel import FloatArray
from forecaster.predictor import ModelInfo, Predictor
from forecaster.schema import CONFIG, VERSION, read_config, read_json
from forecaster.settings import ModelSettings

WEIGHTS, GOLDEN, BACKTEST, GRAPH = "weights.safetensors", "golden.json", "backtest.safetensors", "graph.onnx"
_CALIBRATION = "calibration"
_TOLERANCE = 1e-3  # relative to the largest value: other processors round otherwise, damage is far larger
_GRAPH_TOLERANCE = 1e-4  # relative to the spread of the forecasts


def save_artifact(
    directory: Path, predictor: Predictor, backtest_weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the model to `directory`, which must not exist: aside first, then renamed into place."""
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        told = {**predictor.info.model_dump(mode="json"), _CALIBRATION: _calibration(predictor.network)}
        _write_json(aside / CONFIG, {"schema_version": VERSION, **told})
        save_file(_flat(predictor.network.state_dict()), aside / WEIGHTS)
        if backtest_weights is not None:
            save_file(_flat(backtest_weights), aside / BACKTEST)
        _write_json(aside / GOLDEN, _golden(predictor))
        if has_graph(predictor.info.settings):
            export_graph(_read_network(aside / WEIGHTS, predictor.info.settings), aside / GRAPH)
        aside.chmod(0o755)
        os.replace(aside, directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def load_artifact(directory: Path | str) -> Predictor:
    """Load a model on the CPU and check that it reproduces its golden forecast.

    Raises ArtifactError when files are missing or damaged, the schema is unknown, or the forecast differs.
    """
    directory = Path(directory)
    info = _read_info(directory)
    predictor = Predictor(_read_network(directory / WEIGHTS, info.settings), info)
    values, forecast = _check_golden(directory, predictor)
    if not (directory / GRAPH).exists():
        return predictor
    served = Predictor(predictor.network, info, Graph(directory / GRAPH))
    _check_graph(directory, served, values, forecast)
    return served


def load_held_out(directory: Path | str) -> Predictor | None:
    """The model's fit that had not seen the last steps (nothing golden to check), None where it was not kept.

    Raises ArtifactError when files are damaged.
    """
    info, weights = _read_info(Path(directory)), Path(directory) / BACKTEST
    return Predictor(_read_network(weights, info.settings), info) if weights.exists() else None


def _read_network(weights: Path, settings: ModelSettings) -> ForecastNetwork:
    network = ForecastNetwork(settings)
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ArtifactError(f"the weights in {weights} cannot be read: {first_line(error)}") from error
    return network


def _read_info(directory: Path) -> ModelInfo:
    config = read_config(directory)
    config.pop(_CALIBRATION, None)
    try:
        return ModelInfo.model_validate(config)
    except ValidationError as error:
        raise ArtifactError(f"{directory / CONFIG} is not valid: {first_line(error)}") from error


def _calibration(network: ForecastNetwork) -> dict[str, Any]:
    """What was learnt from held-out windows, to four decimals; docs of `ForecastNetwork` say what each is."""
    learnt = {
        "factors": network.calibration,
        "young_steps": network.young_steps,
        "young_stretch": network.young_stretch,
        "dependence": network.dependence,
    }
    return {name: np.round(tensor.double().numpy(), 4).tolist() for name, tensor in learnt.items()}


def _check_golden(directory: Path, predictor: Predictor) -> tuple[FloatArray, FloatArray]:
    """The golden input, and the network's forecast of it, which is as it should be."""
    golden = read_json(directory / GOLDEN)
    try:
        values = np.array(golden["values"], np.float32)
        expected = np.array(golden["quantiles"], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{directory / GOLDEN} is not valid: {first_line(error)}") from error
    actual = _forecast_rows(predictor, values)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        raise ArtifactError(f"the model in {directory} gives no forecast of the expected shape")
    difference = _largest_miss(predictor, actual, expected) / float(np.abs(expected).max())
    if difference > _TOLERANCE:
        raise ArtifactError(f"the model in {directory} misses its golden forecast by {difference:.1%}")
    return values, actual


def _check_graph(directory: Path, served: Predictor, values: FloatArray, expected: FloatArray) -> None:
    """Both computed here and now, so they are to agree far better than with what another machine wrote down."""
    actual = _forecast_rows(served, values)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        raise ArtifactError(f"{directory / GRAPH} gives no forecast of the expected shape")
    spread = max(float(np.ptp(expected)), float(np.finfo(np.float32).tiny))
    difference = _largest_miss(served, actual, expected) / spread
    if difference > _GRAPH_TOLERANCE:
        raise ArtifactError(f"{directory / GRAPH} misses the forecast of its own network by {difference:.1%}")


def _largest_miss(predictor: Predictor, actual: FloatArray, expected: FloatArray) -> float:
    """Between two computations of one forecast. Quantiles of counts are whole numbers before they are calibrated, so
    that the smallest difference may move one of them to the next."""
    network, counts = predictor.network, any(m.head == "negative_binomial" for m in predictor.info.settings.members)
    one = float(network.calibration.max() * network.young_stretch.max()) if counts else 0.0
    return max(0.0, float(np.abs(actual - expected).max()) - one)


def _golden(predictor: Predictor) -> dict[str, Any]:
    """A seasonal series with a trend and noise, one with gaps, and one that is short; all made up."""
    context, season = predictor.info.context, predictor.info.season
    step = np.arange(context)
    noise = np.random.default_rng(7).normal(size=(3, context))
    values = 100 + 0.1 * step + 10 * np.sin(2 * np.pi * step / max(2, season)) + noise
    values[1, 1::5] = np.nan
    values[2, : context // 2] = np.nan
    values = values.astype(np.float32)
    rows = [[None if np.isnan(x) else float(x) for x in row] for row in values]
    return {"values": rows, "quantiles": _forecast_rows(predictor, values).tolist()}


def _forecast_rows(predictor: Predictor, values: FloatArray) -> FloatArray:
    """[rows, context] to [rows, H, Q]."""
    panel = made_up_panel(values, predictor.info.settings)
    return predictor.quantiles_at(panel, np.arange(len(values)), panel.offsets[1:], predictor.info.horizon)


def _flat(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
