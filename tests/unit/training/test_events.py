import json

import pytest

from training.job import EventReporter
from training.progress import Progress


def at(epoch: int, seconds_left: float) -> Progress:
    return Progress(epoch, 10, 0.5, 0.001, seconds_left, 100.0)


def test_all_fits_share_one_fraction_and_one_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = EventReporter()
    reporter.plan(4, 2)
    for fit, epoch, seconds in [("final fit 1", 5, 10.0), ("backtest fit 1", 5, 10.0), ("final fit 1", 10, 0.0)]:
        reporter.progress(fit, at(epoch, seconds))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["fraction"] for event in events] == [0.125, 0.25, 0.375]
    # A fit takes 20 s: 3.5, 3 and 2.5 of them are left, two at a time.
    assert [event["seconds_left"] for event in events] == [35.0, 30.0, 25.0]


def test_a_fit_that_an_earlier_attempt_finished_counts_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = EventReporter()
    reporter.plan(2, 1)
    for stage in ("reading the data", "backtest fit", "backtest", "final fit"):
        reporter.stage(stage)
    reporter.progress("final fit", at(5, 10.0))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["fraction"] == 0.75
