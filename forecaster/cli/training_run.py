"""`forecaster train`: one training, here and now."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forecaster.cli import options
from forecaster.cli.output import Json, emit, prepare, show_table, stderr, stdout
from forecaster.errors import InputError, first_line

Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file of settings, nested as in a run's settings.yaml.", exists=False),
]


# What a file of settings calls options of the same meaning.
_IN_FILE = {
    "preset": "preset", "seed": "fit.seed", "season": "model.season",
    "duplicates": "model.rows.duplicates", "resample": "model.rows.resample",
}  # fmt: skip


def train(
    context: typer.Context,
    data: options.Data,
    name: options.Name,
    horizon: options.Horizon,
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
    config: Config = None,
    set_: options.Set = None,
    warm_start: options.WarmStart = None,
    promote: options.Promote = options.PromoteChoice.if_better,
    seed: options.Seed = 1,
    json: Json = False,
) -> None:
    """Train a model on DATA, compare it with baselines and the champion, and register it."""
    prepare(json)
    options.check_name(name)
    options.check_horizon(horizon)
    filed = _read_config(config)
    _refuse_contradictions(context, filed, config)
    rows = options.row_settings(*_rows(filed, duplicates, resample))
    if isinstance(filed.get("model.season"), int):
        season = filed["model.season"]
    covariates = options.covariate_settings(targets, static, past, future, categorical, holidays)
    changes = {**filed, **options.parse_changes(set_)}
    from forecaster.frequency import Frequency

    Frequency.parse(freq or "D", season)  # a mistake in either is told before anything is loaded
    with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the result alone
        result = _train(
            data=data,
            name=name,
            freq=freq,
            horizon=horizon,
            season=season,
            rows=rows,
            covariates=covariates,
            usual_calendar=calendar,
            preset=preset.value,
            changes=changes,
            warm_start=warm_start,
            promote=promote.value,
            seed=seed,
        )
    if json:
        emit(result)
    else:
        _show(result)


def _train(**arguments: Any) -> dict[str, Any]:
    from forecaster.store.settings import StoreSettings
    from training.pipeline import train as run
    from training.request import TrainRequest

    with TerminalReporter.shown() as reporter:
        result: dict[str, Any] = run(TrainRequest(**arguments), StoreSettings(), reporter).model_dump(mode="json")
    return result


def _read_config(path: Path | None) -> dict[str, Any]:
    """A YAML file of nested settings as dotted names."""
    if path is None:
        return {}
    content = options.read_yaml(path, "--config")
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds no settings", field="--config", mend="write names and values, e.g. fit: {steps: 500}"
        )
    return options.dotted(content)


def _refuse_contradictions(context: typer.Context, filed: dict[str, Any], path: Path | None) -> None:
    """Raise where an option was given and the file says otherwise: neither is to win in silence."""
    for option, setting in _IN_FILE.items():
        source, given = context.get_parameter_source(option), context.params[option]
        asked = getattr(given, "value", given)
        if setting in filed and source is not None and source.name == "COMMANDLINE" and filed[setting] != asked:
            problem = f"it is {asked}, but {path} says {setting}: {filed[setting]}"
            raise InputError(problem, field=f"--{option}", mend="leave one of them out")


def _rows(
    filed: dict[str, Any], duplicates: options.DuplicatesChoice, resample: options.AggregationChoice | None
) -> tuple[options.DuplicatesChoice, options.AggregationChoice | None]:
    """What the file says of rows, else the options: the data is read by it, before settings are looked at."""
    how = str(filed.get(_IN_FILE["duplicates"], duplicates.value))
    within = filed.get(_IN_FILE["resample"], resample)
    try:
        return options.DuplicatesChoice(how), options.AggregationChoice(within) if within else None
    except ValueError as error:
        raise InputError(first_line(error), field="--config", mend="give sum, mean or last") from error


class TerminalReporter:
    """A bar for all fits, one for each, and a line for each stage, on stderr."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.all: TaskID | None = None
        self.tasks: dict[str, TaskID] = {}

    @classmethod
    @contextlib.contextmanager
    def shown(cls) -> Iterator[TerminalReporter]:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"),
        )  # fmt: skip
        with Progress(*columns, console=stderr) as bars:
            yield cls(bars)

    def plan(self, fits: int, at_once: int) -> None:
        """A clock that runs while a fit has nothing to tell yet. Once lengths are chosen, fewer may be left to fit."""
        told = f"networks fitted, {at_once} at a time" if at_once > 1 else "networks fitted"
        if self.all is None:
            self.all = self.bars.add_task(told, total=fits, loss="")
        self.bars.update(self.all, description=told, total=fits)

    def stage(self, name: str) -> None:
        if " fit" not in name:
            self.bars.console.print(f"[dim]{name}[/dim]")

    def progress(self, stage: str, progress: Any) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(stage, total=progress.epochs, loss="")
        self.bars.update(self.tasks[stage], completed=progress.epoch, loss=f"loss {progress.loss:.4f}")
        if self.all is not None:
            fitted = sum(task.finished for task in self.bars.tasks if task.id != self.all)
            self.bars.update(self.all, completed=fitted)

    def say(self, text: str) -> None:
        self.bars.console.print(text, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self.bars.console.print(f"note: {text}", markup=False, soft_wrap=True)


def _show(result: dict[str, Any]) -> None:
    rows: list[list[Any]] = [["this model", *(result["metrics"].get(m) for m in ("mase", "smape", "sql"))]]
    for baseline, measures in result["baselines"].items():
        label = baseline.replace("_", " ")
        rows.append([label, measures.get("mase"), measures.get("smape"), None])
        if "model_mase" in measures:
            rows[-1][0] = (
                f"{label} ({measures['windows']:.0f} windows; this model there: MASE {measures['model_mase']:.4g})"
            )
    if result["champion"]:
        rows.append(["champion so far", *(result["champion"].get(m) for m in ("mase", "smape", "sql"))])
    for target, measures in result["targets"].items():
        rows.append([f"this model, {target}", *(measures.get(m) for m in ("mase", "smape", "sql"))])
    show_table("Backtest on held-out origins (lower is better)", ("", "MASE", "sMAPE", "quantile loss"), rows)
    measured = result["metrics"]
    stdout.print(
        f"coverage of the 80 % interval {measured['coverage-80']:.1%}, "
        f"of the 95 % interval {measured['coverage-95']:.1%}; "
        f"skill over seasonal naive {measured['skill']:.1%}"
    )
    stdout.print(f"{result['model']} version {result['version']}: {result['reason']}")
    stdout.print(f"run {result['run_id']}, {result['seconds']:.0f} s, {result['windows_per_second']:.0f} windows/s")
