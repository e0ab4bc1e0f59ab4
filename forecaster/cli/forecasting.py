"""`forecaster predict` and `forecaster backtest`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli import options
from forecaster.cli.output import Json, emit, prepare, show_table, stderr, stdout
from forecaster.cli.writing import table_writer
from forecaster.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from forecaster.explanation import Explanation
    from forecaster.forecast import Forecast

_SHOWN_ROWS = 12
_SHOWN_WARNINGS = 5


def predict(
    data: options.Data,
    model: options.Model,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Steps; as trained when not given.")] = None,
    level: Annotated[
        list[float] | None, typer.Option("--level", help="Central interval in percent; may be repeated. Default 80.")
    ] = None,
    quantile: Annotated[list[float] | None, typer.Option("--quantile", help="Probability; may be repeated.")] = None,
    paths: Annotated[int, typer.Option("--paths", help="Sample paths to draw, as columns path-1, path-2, …")] = 0,
    sums: Annotated[
        Path | None,
        typer.Option("--sums", help="YAML or JSON of the parts of each total: make means add up.", exists=False),
    ] = None,
    how: Annotated[
        options.ReconciliationChoice | None,
        typer.Option("--reconcile", help="How forecasts are changed to add up; structural if not given."),
    ] = None,
    out: options.Out = None,
    json: Json = False,
) -> None:
    """Forecast the steps that follow each series of DATA."""
    prepare(json)
    write = table_writer(out)
    parts = _read_sums(sums)
    if how is not None and not parts:
        raise InputError("there are no sums to reconcile", field="--reconcile", mend="give --sums, or leave it out")
    levels = level if level is not None else ([] if quantile else [80.0])
    with loaded(model) as (predictor, version):
        forecast = predictor.predict(
            predictor.read(data), horizon=horizon, levels=levels, quantiles=quantile or [], paths=paths
        )
        if parts:
            from forecaster.hierarchy import reconcile

            forecast = reconcile(forecast, parts, how.value if how else "structural", predictor.info.settings)
    table = forecast.to_table()
    tell_warnings(forecast)
    if write is not None:
        write(table)
    if json:
        emit(_document(forecast, table, version, out))
    elif out is not None:
        stdout.print(f"{table.num_rows} rows for {len(forecast.ids)} series written to {out}")
    else:
        _show(table)


def backtest(
    data: options.Data,
    model: options.Model,
    windows: Annotated[int, typer.Option("--windows", help="Origins per series.", min=1, max=100_000)] = 3,
    step: Annotated[
        int | None, typer.Option("--step", help="Steps between origins; the horizon when not given.")
    ] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Steps; as trained when not given.")] = None,
    json: Json = False,
) -> None:
    """Evaluate a model at several past origins of DATA, against the naive methods."""
    prepare(json)
    from forecaster.cli.loading import model_directory

    with model_directory(model) as (directory, version):
        from forecaster.artifact import load_artifact, load_held_out
        from forecaster.rolling import roll

        served = load_artifact(directory)
        found = roll(
            served,
            served.read(data),
            windows=windows,
            step=step,
            horizon=horizon,
            held_out=lambda: load_held_out(directory),
        )
    for warning in found.warnings:
        stderr.print(f"warning: {warning}", markup=False)
    if json:
        emit({"model": version, **vars(found), "error_by_step": found.error_by_step.tolist()})
        return
    ours = {"this model": found.metrics, **{f"this model, {name}": own for name, own in found.targets.items()}}
    rows = [[name, *(own[m] for m in ("mase", "smape", "sql", "coverage-95"))] for name, own in ours.items()]
    rows += [
        [name.replace("_", " "), measures["mase"], measures["smape"], None, None]
        for name, measures in found.baselines.items()
    ]
    show_table(
        f"{found.windows} windows of {found.horizon} steps",
        ("", "MASE", "sMAPE", "quantile loss", "coverage 95 %"),
        rows,
    )


@contextmanager
def loaded(reference: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A predictor by reference, with what is registered about it."""
    from forecaster.artifact import load_artifact
    from forecaster.cli.loading import model_directory

    with model_directory(reference) as (directory, version):
        yield load_artifact(directory), version


def _read_sums(path: Path | None) -> dict[str, list[str]]:
    """A file of totals and their parts."""
    if path is None:
        return {}
    content = options.read_yaml(path, "--sums")
    parts = content.values() if isinstance(content, dict) else [None]
    if not content or not all(isinstance(own, list) for own in parts):
        raise InputError(f"{path} holds no sums", field="--sums", mend="write e.g. total: [north, south]")
    return {str(total): [str(part) for part in own] for total, own in content.items()}


def tell_warnings(found: Forecast | Explanation) -> None:
    """The first ones, on standard error."""
    from forecaster.forecast import warnings_by_series

    told = [f"{name}: {text}" for name, texts in warnings_by_series(found).items() for text in texts]
    for line in told[:_SHOWN_WARNINGS]:
        stderr.print(f"warning: {line}", markup=False)
    if len(told) > _SHOWN_WARNINGS:
        stderr.print(f"… and {len(told) - _SHOWN_WARNINGS} more warnings (all with --json)")


def _document(forecast: Forecast, table: pa.Table, version: dict[str, Any], out: str | None) -> dict[str, Any]:
    from forecaster.forecast import in_text, warnings_by_series

    document: dict[str, Any] = {
        "model": version,
        "series": len(forecast.ids),
        "rows": table.num_rows,
        "warnings": warnings_by_series(forecast),
    }
    if out is not None:
        return {**document, "out": out}
    return {**document, "forecasts": in_text(table).to_pylist()}


def _show(table: pa.Table) -> None:
    table = table.select([name for name in table.column_names if not name.startswith("path-")])  # for files only
    rows = [list(row.values()) for row in table.slice(0, _SHOWN_ROWS).to_pylist()]
    show_table("", table.column_names, rows)
    if table.num_rows > _SHOWN_ROWS:
        stdout.print(f"… {table.num_rows - _SHOWN_ROWS} more rows; write them all with --out forecasts.parquet")
