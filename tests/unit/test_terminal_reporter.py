"""What a terminal shows while networks are fitted."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress as Bars

from forecaster.cli.training_run import TerminalReporter
from training.progress import Progress


def at(epoch: int) -> Progress:
    return Progress(epoch, 10, 0.5, 0.001, 3.0, 100.0)


def test_one_bar_counts_the_networks_from_before_the_first_has_something_to_tell() -> None:
    with Bars(console=Console(file=io.StringIO())) as bars:
        reporter = TerminalReporter(bars)
        reporter.plan(6, 2)
        (overall,) = bars.tasks
        assert (overall.completed, overall.total, overall.started) == (0, 6, True)
        for fit, epoch in [("final fit 1", 5), ("backtest fit 1", 10), ("final fit 1", 10), ("final fit 2", 1)]:
            reporter.progress(fit, at(epoch))
        assert overall.completed == 2
        reporter.plan(4, 1)
        assert (overall.completed, overall.total) == (2, 4)
        assert [task.description for task in bars.tasks[1:]] == ["final fit 1", "backtest fit 1", "final fit 2"]
