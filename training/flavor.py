"""How a model directory becomes an MLflow model: a pyfunc whose loader is the installed package, and no pickle."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, ParamSchema, ParamSpec, Schema

from forecaster.panel import Panel
from forecaster.settings import COLUMNS, CovariateSettings, ModelSettings

_REQUIREMENTS = (
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "onnxruntime",
    "jaxtyping",
    "fsspec",
    "holidays",
)
_EXAMPLE_STEPS = 48


def save_model(path: str, mlflow_model: Model, *, directory: Path, signature: ModelSignature, **extra: Any) -> None:
    """Called by `mlflow.models.Model.log`: write MLmodel and our files side by side to `path`."""
    mlflow.pyfunc.save_model(
        path,
        loader_module="forecaster.pyfunc",
        mlflow_model=mlflow_model,
        signature=signature,
        pip_requirements=[f"forecaster=={version('forecaster')}", *(f"{n}=={version(n)}" for n in _REQUIREMENTS)],
        **extra,
    )
    shutil.copytree(directory, path, dirs_exist_ok=True)


def signature_of(settings: CovariateSettings) -> ModelSignature:
    """The columns of long data, covariates included; parameters: horizon (0: as trained), level, quantile, paths, sums.

    Columns have any type: MLflow would refuse whole numbers for a double, or text for a timestamp, while the reader
    takes both and names the series and the mend where it cannot.
    """
    inputs = Schema([ColSpec(AnyType(), name) for name in (*COLUMNS[:2], *settings.values, *settings.columns)])
    params = ParamSchema(
        [
            ParamSpec("horizon", "long", 0),
            ParamSpec("level", "double", [80.0, 95.0], (-1,)),
            ParamSpec("quantile", "double", [], (-1,)),
            ParamSpec("paths", "long", 0),
            ParamSpec("sums", "string", ""),
            ParamSpec("reconcile", "string", "structural"),
        ]
    )
    return ModelSignature(inputs=inputs, params=params)


def made_up_example(panel: Panel, settings: ModelSettings) -> pd.DataFrame:
    """A long frame of the right types that holds no training data."""
    covariates = settings.covariates
    step = np.arange(_EXAMPLE_STEPS + (settings.horizon if covariates.future else 0))
    start = panel.freq.to_grid(np.array(["2024-01-01"], "datetime64[us]"))[0] if not panel.integer else np.array([1])
    ds = panel.freq.from_grid(start[0] + step, panel.phase[:1], integer=panel.integer)
    y = 100 + 10 * np.sin(2 * np.pi * step / max(2, panel.freq.season))
    y[_EXAMPLE_STEPS:] = np.nan  # what is to come
    name: Any = 1 if np.issubdtype(panel.ids.dtype, np.integer) else "example"
    known = {column: _example_of(column, covariates) for column in covariates.columns}
    values = dict.fromkeys(covariates.values, y.round(3))
    return pd.DataFrame({"unique_id": [name] * len(step), "ds": ds, **values, **known})


def _example_of(column: str, settings: CovariateSettings) -> str | float:
    """A category that is no one's, or the mean."""
    return "example" if column in settings.categories else round(settings.scales[column][0], 3)
