"""Writes docs/settings.md from the settings classes, whose docstrings are the only source. `--check` compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from forecaster.settings import CovariateSettings, ModelSettings, NetworkSettings, RowSettings
from forecaster.store.settings import StoreSettings
from service.settings import ServiceSettings
from training.settings import BacktestSettings, FitSettings

PAGE = Path(__file__).with_name("settings.md")
_HEAD = """# All settings

This page is made by `python docs/make_settings.py` from the settings classes.

Settings of a training are given by `--set NAME=VALUE`, by `--config FILE.yaml`, or as `settings` of a training job.
`forecaster train` chooses what depends on the data, the frequency and the horizon (see [model.md](model.md)) and prints
it: of a network horizon, context, segment, season, lags, highway, width, cell, head, dropout, location, scale, reach,
variability and logarithm; the model's frequency, season, transform and floor; of a fit steps, shorter, linear_start,
corrections, batch, loss, percentage_weight, shortest_target, recency, truncate and seed; the backtest's origins.
Otherwise the defaults hold.
"""
_GROUPS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("The network (all members)", "network.", NetworkSettings),
    ("The model", "model.", ModelSettings),
    ("The rows of the data (`--duplicates`, `--resample`)", "model.rows.", RowSettings),
    ("Covariates (`--static`, `--past`, `--future`, …)", "model.covariates.", CovariateSettings),
    ("The fit", "fit.", FitSettings),
    ("The backtest", "backtest.", BacktestSettings),
)


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, prefix, settings in _GROUPS:
        fields = {name: field for name, field in settings.model_fields.items() if not _is_group(field)}
        rows = [(f"`{prefix}{name}`", _default(field), _text(field)) for name, field in fields.items()]
        parts.append(f"## {title}\n\n{_table('setting', rows)}")
    parts.append("## Store and service\n\nFrom the environment, or a `.env` file in the working directory.\n")
    parts.append(_table("variable", [_variable(name, field) for name, field in _service_fields().items()]))
    return "\n".join(parts)


def _is_group(field: Any) -> bool:
    """Whether these are settings that have a table of their own."""
    return isinstance(field.default, BaseModel)


def _service_fields() -> dict[str, Any]:
    return {**StoreSettings.model_fields, **ServiceSettings.model_fields}


def _variable(name: str, field: Any) -> tuple[str, str, str]:
    variable = field.validation_alias if isinstance(field.validation_alias, str) else f"FORECASTER_{name.upper()}"
    return f"`{variable}`", _default(field), _text(field).removeprefix(f"{variable}: ")


def _default(field: Any) -> str:
    if field.default is PydanticUndefined or name_of(field) == "quantiles":
        return ""
    return f"`{field.default}`"


def name_of(field: Any) -> str:
    """Long defaults are told in words, not in the table."""
    return "quantiles" if isinstance(field.default, tuple) and len(field.default) > 3 else ""


def _text(field: Any) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _table(head: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [f"| {head} | default | meaning |", "|---|---|---|"]
    lines += [f"| {name} | {default} | {text} |" for name, default, text in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == page() else "docs/settings.md is stale: run `python docs/make_settings.py`")
    PAGE.write_text(page())
