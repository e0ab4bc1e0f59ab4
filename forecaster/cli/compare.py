"""`forecaster compare`: which recurrent cell suits the data, over several seeds."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any

import typer

from forecaster.cli import options
from forecaster.cli.output import Json, emit, figure, prepare, show_table, stdout
from forecaster.cli.training_run import TerminalReporter

_COLUMNS = ("cell", "weights", "MASE", "± sd", "sMAPE", "quantile loss", "in 95 %", "seconds")


def compare(
    data: options.Data,
    name: options.Name,
    horizon: options.Horizon,
    cells: Annotated[str, typer.Option("--cells", help="Cells, e.g. `rnn,lstm,gru`.", show_default=False)],
    seeds: Annotated[int, typer.Option("--seeds", help="Fits of each cell, each with a seed of its own.")] = 3,
    freq: options.Freq = None,
    season: options.Season = None,
    duplicates: options.Duplicates = options.DuplicatesChoice.error,
    resample: options.Resample = None,
    targets: options.Targets = None,
    static: options.Static = None,
    past: options.Past = None,
    future: options.Future = None,
    categorical: options.Categorical = None,
    calendar: options.Calendar = False,
    holidays: options.Holidays = None,
    preset: options.Preset = options.PresetChoice.balanced,
    set_: options.Set = None,
    json: Json = False,
) -> None:
    """Fit each cell on the same data with the same settings and seeds, and compare accuracy and time."""
    prepare(json)
    options.check_name(name)
    options.check_horizon(horizon)
    arguments = {
        "data": data, "name": name, "freq": freq, "horizon": horizon, "season": season,
        "rows": options.row_settings(duplicates, resample), "preset": preset.value,
        "covariates": options.covariate_settings(targets, static, past, future, categorical, holidays),
        "usual_calendar": calendar,
        "changes": options.parse_changes(set_),
    }  # fmt: skip
    named = [cell.strip() for cell in cells.split(",") if cell.strip()]
    with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the result alone
        result = _compare(named, seeds, arguments)
    if json:
        emit(result)
    else:
        _show(result)


def _compare(cells: list[str], seeds: int, arguments: dict[str, Any]) -> dict[str, Any]:
    from forecaster.store.settings import StoreSettings
    from training.pipeline import compare as run
    from training.request import TrainRequest

    with TerminalReporter.shown() as reporter:
        found = run(TrainRequest(**arguments), cells, seeds, StoreSettings(), reporter)
    result: dict[str, Any] = found.model_dump(mode="json")
    return result


def _show(result: dict[str, Any]) -> None:
    rows = [
        [
            cell["cell"], cell["parameters"], cell["mase"], cell["mase_sd"],
            *(cell["metrics"][name] for name in ("smape", "sql")), f"{cell['metrics']['coverage-95']:.1%}",
            round(cell["seconds"], 1),
        ]
        for cell in result["cells"]
    ]  # fmt: skip
    seeds = len(result["seeds"])
    title = f"{result['windows']} held-out windows, " + (f"means of {seeds} seeds" if seeds > 1 else "one seed")
    show_table(title, _COLUMNS, rows)
    stdout.print(f"MASE of baselines: {', '.join(_baseline(*item) for item in result['baselines'].items())}")
    stdout.print(result["verdict"])
    stdout.print(
        f"run {result['run_id']}: accuracy against time (plots/accuracy_against_time.png) and this table "
        "(comparison.csv) are among its artifacts",
        soft_wrap=True,
    )


def _baseline(name: str, measures: dict[str, float]) -> str:
    on = f" (on {measures['windows']:.0f} windows)" if "windows" in measures else ""
    return f"{name.replace('_', ' ')} {figure(measures['mase'])}{on}"
