"""What a forecast is made of: each covariate's share of it, and the history's.

Legend: N series, H horizon steps, F parts.
Shapley values (Lundberg & Lee 2017) over what is known: the forecast's median is the sum of a base and the parts. The
base is what would be forecast of a series that always had this one's mean, if nothing else were known of it. A part is
what its being known changes, on average over random orders in which the parts become known one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from forecaster.errors import InputError
from forecaster.forecast import key_columns, time_column
from forecaster.network import ForecastNetwork
from forecaster.panel import FloatArray, Panel
from forecaster.predictor import Predictor
from forecaster.settings import CovariateSettings
from forecaster.windows import Context

HISTORY = "history"
_COLUMNS = ("unique_id", "target", "ds", "median", "base", HISTORY)  # of an explanation anyway
_ORDERS = 24  # in which the parts become known
_AT_ONCE = 64  # windows
_ORDERS_OF_ONE = Lock()  # orders are drawn from the process's only generator


@dataclass(frozen=True)
class Explanation:
    """ids, targets, warnings: [N], as of a Forecast; ds, median, base: [N, H]; parts: by name, [N, H].

    `median` is `base` and all parts together.
    """

    ids: npt.NDArray[Any]
    targets: npt.NDArray[Any] | None
    ds: npt.NDArray[Any]
    zone: str | None
    median: FloatArray
    base: FloatArray
    parts: dict[str, FloatArray]
    warnings: list[list[str]]

    def to_table(self) -> pa.Table:
        """Long format: `unique_id`, `target` if there are several, `ds, median, base`, and a column for each part."""
        columns = {"median": self.median, "base": self.base, **self.parts}
        keys, ds = key_columns(self.ids, self.targets, self.ds.shape[1]), time_column(self.ds, self.zone)
        return pa.table({**keys, "ds": ds, **{name: column.reshape(-1) for name, column in columns.items()}})


def explain(predictor: Predictor, panel: Panel, *, horizon: int | None = None) -> Explanation:
    """Explain the medians of the steps that follow each series; the same input gives the same answer.

    Raises InputError as `Predictor.predict` does, and for a horizon beyond the trained one.
    """
    steps = predictor.info.horizon if horizon is None else horizon
    if steps > predictor.info.horizon:
        mend = f"ask for at most {predictor.info.horizon}"
        raise InputError("steps beyond the trained horizon are not explained", field="horizon", mend=mend)
    forecast = predictor.predict(panel, horizon=horizon)
    groups = _groups(predictor.info.settings.covariates)
    found = np.stack([_shares(predictor.network, context, groups) for context in predictor.contexts(panel)])[
        ..., :steps
    ]
    base = forecast.median - found.sum(1)
    parts = {name: found[:, number] for number, name in enumerate(groups)}
    return Explanation(
        ids=panel.ids,
        targets=panel.targets,
        ds=forecast.ds,
        zone=panel.zone,
        median=forecast.median,
        base=base,
        parts=parts,
        warnings=forecast.warnings,
    )


def _groups(settings: CovariateSettings) -> dict[str, list[int]]:
    """[F] parts by name, and which numbers of a step belong to each; the calendar is one, holidays another."""
    groups: dict[str, list[int]] = {HISTORY: []}
    parts = ["holiday" if feature == "holiday" else "calendar" for feature in settings.calendar]
    for number, column in enumerate(settings.columns):
        groups[f"covariate {column}" if column in (*_COLUMNS, *parts) else column] = [number]
    for number, part in enumerate(parts, len(settings.columns)):
        groups.setdefault(part, []).append(number)
    return groups


def _shares(network: ForecastNetwork, context: Context, groups: dict[str, list[int]]) -> FloatArray:
    """[F, H] of one window."""
    from captum.attr import ShapleyValueSampling  # takes seconds, and memory, for which nothing else has a use

    def median(known: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(*_with(context, known, list(groups.values())))[..., network.median]
        return found

    with _ORDERS_OF_ONE, torch.random.fork_rng():
        torch.manual_seed(0)
        method = ShapleyValueSampling(median)
        found = method.attribute(torch.ones(1, len(groups)), 0.0, n_samples=_ORDERS, perturbations_per_eval=_AT_ONCE)
    shares: FloatArray = found.reshape(-1, len(groups)).T.numpy().astype(np.float32)
    return shares


def _with(context: Context, known: Tensor, groups: list[list[int]]) -> Context:
    """A window as it would be if only some of it were known. known: [B, F] 0 or 1, the history first"""
    (values, observed, covariates), rows = context, len(known)
    mean = (values * observed).sum() / observed.sum()
    flat = torch.where(observed, mean, 0.0)
    values = torch.where(known[:, :1] > 0, values, flat)
    if covariates is not None:
        hidden = torch.zeros(rows, 1, covariates.shape[2], dtype=torch.bool)
        for number, group in enumerate(groups):
            hidden[:, 0, group] = known[:, number, None] == 0
        covariates = torch.where(hidden, torch.nan, covariates)
    return Context(values, observed.expand(rows, -1), covariates)
