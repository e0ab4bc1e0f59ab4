"""The commands and how they end: 0 done, 1 failed, 2 wrong input, and never a traceback for a user's mistake."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from forecaster.cli import compare, datasets, explaining, forecasting, jobs, models, profiling, stack, training_run
from forecaster.errors import ForecasterError

_INTERRUPTED = 130
app = typer.Typer(
    name="forecaster",
    help="Train, track and serve probabilistic time-series forecasts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.command("up")(stack.up)
app.command("profile")(profiling.profile)
app.command("train")(training_run.train)
app.command("compare")(compare.compare)
app.command("predict")(forecasting.predict)
app.command("explain")(explaining.explain)
app.command("backtest")(forecasting.backtest)
app.add_typer(models.app, name="models")
app.add_typer(jobs.app, name="jobs")
app.add_typer(datasets.app, name="datasets")
app.command("serve")(stack.serve)
app.command("worker")(stack.worker)
app.command("quickstart")(stack.quickstart)


def main() -> None:
    """Entry point of the `forecaster` command."""
    try:
        code = app(prog_name="forecaster", standalone_mode=False)
        if code == _INTERRUPTED:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except TyperException as error:
        _refuse(error)
    except typer.Abort:
        sys.exit(1)
    except ForecasterError as error:
        sys.stderr.write(f"forecaster: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("forecaster: stopped\n")
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone
        sys.exit(1)
    except OSError as error:  # a file that may not be read or written
        sys.stderr.write(f"forecaster: {error}\n")
        sys.exit(1)


def _refuse(error: TyperException) -> NoReturn:
    """One line for arguments that are wrong; nothing where there were none, which was answered with the help."""
    told, context = " ".join(error.format_message().split()).rstrip("."), getattr(error, "ctx", None)
    told = told.replace("Value error, ", "")
    mend = f"; see {context.command_path} --help" if context is not None else ""
    if told:
        sys.stderr.write(f"forecaster: {told}{mend}\n")
    sys.exit(error.exit_code)
