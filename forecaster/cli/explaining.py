"""`forecaster explain`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from forecaster.cli import options
from forecaster.cli.forecasting import loaded, tell_warnings
from forecaster.cli.output import Json, emit, prepare, show_table, stdout
from forecaster.cli.writing import table_writer
from forecaster.errors import NotFound

_SHOWN_STEPS = 24


def explain(
    data: options.Data,
    model: options.Model,
    series: Annotated[list[str] | None, typer.Option("--series", help="Only these; may be repeated.")] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Steps; as trained when not given.")] = None,
    out: options.Out = None,
    json: Json = False,
) -> None:
    """Say what the forecasts of DATA are made of: a base, and shares of the history and of each covariate."""
    prepare(json)
    write = table_writer(out)
    with loaded(model) as (predictor, version):
        from forecaster.explanation import explain as shares_of
        from forecaster.forecast import in_text, warnings_by_series

        panel = predictor.read(data)
        if series:
            names = panel.ids.astype(str)
            unknown = [name for name in series if name not in names]
            if unknown:
                raise NotFound(f"there is no series {unknown[0]!r} in {data}")
            panel = panel.select(np.concatenate([np.flatnonzero(names == name) for name in series]))
        found = shares_of(predictor, panel, horizon=horizon)
    table = found.to_table()
    tell_warnings(found)
    if write is not None:
        write(table)
    if json:
        rows = {} if out is not None else {"explanations": in_text(table).to_pylist()}
        told = {"warnings": warnings_by_series(found), **({"out": out} if out else {})}
        emit({"model": version, "series": len(found.ids), **rows, **told})
    elif out is not None:
        stdout.print(f"{table.num_rows} rows for {len(found.ids)} series written to {out}")
    else:
        show_table("", table.column_names, [list(row.values()) for row in table.slice(0, _SHOWN_STEPS).to_pylist()])
        if table.num_rows > _SHOWN_STEPS:
            stdout.print(f"… {table.num_rows - _SHOWN_STEPS} more rows; write them all with --out shares.parquet")
