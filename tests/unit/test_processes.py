"""What `forecaster up` does with programs that end: real ones."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecaster.cli import processes
from forecaster.cli.processes import Processes, Program
from forecaster.errors import Unavailable


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(processes, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(processes, "_MOST_EARLY_ENDS", 2)
    before = signal.getsignal(signal.SIGTERM)
    with Processes(tmp_path / "logs") as started:
        yield started
    signal.signal(signal.SIGTERM, before)


def program(name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-S", "-c", f"import time; print('started', flush=True); {code}"], {})


def test_one_that_keeps_ending_is_given_up_and_does_not_hold_up_another(group: Processes) -> None:
    group.start(program("bad", "raise SystemExit(3)"))
    group.start(program("good", "time.sleep(60)"))
    bad_waits: list[bool] = []

    def tell(line: str) -> None:
        if line.startswith("good"):
            bad_waits.append(group._running["bad"].poll() is not None)

    # The bad one is started again after one second, and then again after two more: in that pause the good one dies.
    threading.Timer(2.0, group._running["good"].kill).start()
    with pytest.raises(Unavailable, match=r"bad ended with code 3 \(log: .*bad.log\)"):
        group.watch(tell)
    assert bad_waits == [True]
    assert group._running["good"].poll() is None
    assert (group.logs / "bad.log").read_text() == "started\n" * 3
    assert (group.logs / "good.log").read_text() == "started\n" * 2
