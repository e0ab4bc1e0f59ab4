"""The child process; what the worker makes of it is in tests/integration/test_worker.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until
from training.child import Child, start

Run = Callable[[str], AbstractContextManager[Child]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a line of Python; its argument is the job's folder."""
    return lambda code: start([sys.executable, "-c", code], tmp_path, os.environ)


def test_last_report_of_each_kind_is_known_at_the_end(run: Run) -> None:
    report = """print('{"event": "progress", "epoch": 1}\\n{"event": "progress", "epoch": 2, "loss": NaN}')"""
    result = """print('{"event": "result", "result": {"version": 4}}')"""
    with run(f"{report}\n{result}") as child:
        assert child.wait(30)
    assert child.progress == {"epoch": 2, "loss": None}
    assert child.result == {"version": 4}


def test_a_result_counts_however_the_process_ended_after_it(run: Run) -> None:
    with run("""print('{"event": "result", "result": {"version": 4}}'); raise SystemExit(4)""") as child:
        assert child.wait(30)
    assert child.result == {"version": 4}
    assert child.ending == "with exit code 4"


@pytest.mark.parametrize("line", ["Epoch 3", "[1]", "3", '{"event": "other"}', '{"event": "result"}', '{"event": 1}'])
def test_line_that_is_no_report_goes_to_the_log(run: Run, line: str) -> None:
    with run(f"print({line!r})") as child:
        assert child.wait(30)
    assert child.log_tail() == line + "\n"
    assert child.result is None


def test_process_that_was_killed_is_described(run: Run) -> None:
    with run("import os; os.kill(os.getpid(), 9)") as child:
        assert child.wait(30)
    assert child.failure() == "the training process ended by signal 9 (Killed) and gave no result"


def test_process_that_will_not_end_is_killed(run: Run, tmp_path: Path) -> None:
    stubborn = "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with run(f"{stubborn}; pathlib.Path(sys.argv[1], 'ready').touch(); time.sleep(600)") as child:
        while not (tmp_path / "ready").exists():
            assert not child.wait(0.05)
        child.stop(grace_seconds=0.2)
        assert not child.wait(0)
    assert "signal 9" in child.failure()


def test_nothing_that_the_process_started_outlives_it(run: Run, tmp_path: Path) -> None:
    code = "import pathlib, subprocess, sys; other = subprocess.Popen(['sleep', '600'])"
    with run(f"{code}; pathlib.Path(sys.argv[1], 'pid').write_text(str(other.pid)); other.returncode = 0") as child:
        assert child.wait(30)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_log_of_earlier_attempts_is_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("first attempt\n")
    with run("import sys; sys.stderr.write('second attempt\\n')") as child:
        assert child.wait(30)
    assert child.log_tail() == "first attempt\nsecond attempt\n"


def test_tail_has_the_last_lines_and_is_bounded(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with run("pass") as child:
        assert child.wait(30)
    log.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert child.log_tail().splitlines() == [f"line {n}" for n in range(800, 1000)]
    log.write_text("x" * 100_000)
    assert len(child.log_tail()) == 32 * 1024


def test_unchanged_log_is_not_told_twice(run: Run, tmp_path: Path) -> None:
    with run("pass") as child:
        assert child.wait(30)
    (tmp_path / "log.txt").write_text("words\n")
    assert child.fresh_log_tail() == "words\n"
    assert child.fresh_log_tail() is None
