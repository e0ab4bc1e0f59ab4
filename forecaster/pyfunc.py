"""The entry through which MLflow loads a model (`loader_module` of its MLmodel file).

MLflow calls `_load_pyfunc` with the artifact's directory: only this installed package runs, no code that came with
the artifact.
"""

from __future__ import annotations

import logging
from typing import Any, get_args

import pandas as pd

from forecaster.artifact import load_artifact
from forecaster.errors import InputError
from forecaster.forecast import warnings_by_series
from forecaster.hierarchy import Reconciliation, read_sums, reconcile
from forecaster.predictor import Predictor

logger = logging.getLogger(__name__)
_RECONCILIATIONS = get_args(Reconciliation)


class PyFuncForecaster:
    """`predict(long_frame, params)` as MLflow wants it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A frame of `unique_id, ds, y` to one of `unique_id, ds, mean, median, lo-80, …, q0.1, …`.

        What a forecast warns of is logged: a frame has no place for it.
        params: `horizon` steps, `level` percentages, `quantile` probabilities, `paths` to draw, `sums` as JSON of the
            parts of each total, and how to `reconcile` them; all optional
        """
        asked = params or {}
        horizon = asked.get("horizon")
        forecast = self.predictor.predict(
            self.predictor.read(model_input),
            horizon=None if horizon is None or int(horizon) == 0 else int(horizon),
            levels=[float(level) for level in asked.get("level") or ()],
            quantiles=[float(quantile) for quantile in asked.get("quantile") or ()],
            paths=int(asked.get("paths") or 0),
        )
        if asked.get("sums"):
            how = asked.get("reconcile", "structural")
            if how not in _RECONCILIATIONS:
                mend = f"give {', '.join(_RECONCILIATIONS)}"
                raise InputError(f"{how!r} is no way to reconcile", field="reconcile", mend=mend)
            forecast = reconcile(forecast, read_sums(asked["sums"]), how, self.predictor.info.settings)
        for name, warnings in warnings_by_series(forecast).items():
            logger.warning("%s: %s", name, "; ".join(warnings))
        frame: pd.DataFrame = forecast.to_table().to_pandas()
        return frame


def _load_pyfunc(path: str) -> PyFuncForecaster:
    return PyFuncForecaster(load_artifact(path))
