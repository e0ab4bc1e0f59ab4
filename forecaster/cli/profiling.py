"""`forecaster profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli import options
from forecaster.cli.output import Json, emit, prepare, show_table, stdout
from forecaster.cli.writing import write_text
from forecaster.errors import InputError


def profile(
    data: options.Data,
    freq: options.Freq = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Steps to forecast; a season if not given.")] = None,
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
    out: Annotated[
        str | None, typer.Option("--out", help="Write a page with a picture to this .html file (or fsspec URL).")
    ] = None,
    json: Json = False,
) -> None:
    """What is in DATA, and what a training would do about it. Nothing is trained or stored."""
    prepare(json)
    rows = options.row_settings(duplicates, resample)
    covariates = options.covariate_settings(targets, static, past, future, categorical, holidays)
    if out is not None and not out.lower().endswith(".html"):
        raise InputError(f"{out} is not a page", field="--out", mend="name a .html file")
    if horizon is not None:
        options.check_horizon(horizon)
    from forecaster.frequency import Frequency
    from forecaster.inference import infer_freq
    from forecaster.predictor import LONGEST_HORIZON
    from training.planning import prepare as read
    from training.report import page, report
    from training.request import Silent, TrainRequest

    step = Frequency.parse(freq or infer_freq(data, rows, season), season)
    usual = min(step.season, LONGEST_HORIZON) if step.season > 1 else 12
    request = TrainRequest(
        data=data, name="profile", freq=step.name, season=season, horizon=horizon or usual, rows=rows,
        covariates=covariates, usual_calendar=calendar,
    )  # fmt: skip
    prepared = read(request, Silent())
    found = report(prepared.panel, prepared.profile, prepared.plan)
    if out is not None:
        write_text(out, page(found, prepared.panel, Path(data).name))
    if json:
        emit({**found.model_dump(mode="json"), **({"out": out} if out else {})})
        return
    findings = [[finding.topic, finding.found, finding.done] for finding in found.findings]
    show_table(f"{data}: {found.span}, one step is {found.freq}", ("", "found", "what is done about it"), findings)
    stdout.print(found.settings)
    stdout.print(f"page written to {out}" if out else "a page with a picture: --out profile.html")
