import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from forecaster.errors import InputError, TrainingError
from tests import stand_in_tasks
from tests.children import fitting
from tests.waiting import wait_until
from training.processes import run_side_by_side

ROOT = Path(__file__).parents[3]


def test_what_tasks_tell_is_heard_here_and_their_warnings_are_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    run_side_by_side([stand_in_tasks.tell] * 4, 2, heard.append)
    pids = {pid for pid, _, _ in heard}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert {threads for _, threads, _ in heard} == {1}
    assert sorted(number for _, _, number in heard) == [0] * 4 + [1] * 4 + [2] * 4
    assert [record.getMessage() for record in caplog.records if record.name == "somebody"] == ["diverged in a task"] * 4
    assert capfd.readouterr().out == ""  # where the result of a command goes
    assert not fitting()


def test_the_error_of_a_task_is_raised_here_and_ends_the_others() -> None:
    with pytest.raises(InputError, match="series 'a', field 'y': no value is observed; leave it out") as caught:
        run_side_by_side([stand_in_tasks.hang, stand_in_tasks.refuse], 2, lambda _: None)
    assert caught.value.field == "y"
    assert not fitting()


def test_a_process_that_is_killed_is_an_error_and_leaves_none_behind() -> None:
    def kill_the_first(pid: int) -> None:
        if not heard:
            os.kill(pid, signal.SIGKILL)
        heard.append(pid)

    heard: list[int] = []
    with pytest.raises(TrainingError, match="killed or crashed"):
        run_side_by_side([stand_in_tasks.hang] * 3, 2, kill_the_first)
    assert heard
    assert not fitting()


def test_what_fails_while_listening_ends_the_tasks() -> None:
    def fail(_: Any) -> None:
        raise ConnectionError("the tracking server is away")

    with pytest.raises(ConnectionError):
        run_side_by_side([stand_in_tasks.hang] * 2, 2, fail)
    assert not fitting()


@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGKILL, False)]
)
def test_the_processes_end_with_their_parent(number: signal.Signals, whole_group: bool) -> None:
    command = [sys.executable, "-m", "tests.stand_in_tasks"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        children = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        assert all(parent.pid in [above.pid for above in child.parents()] for child in children)
        if whole_group:  # as a terminal's Ctrl-C, and as a worker that cancels a job
            os.killpg(parent.pid, number)
        else:
            parent.kill()
        wait_until(lambda: not any(child.is_running() for child in children))
        told = parent.stderr.read()
    assert parent.returncode == -number
    assert told.count("Traceback") == (1 if number == signal.SIGINT else 0)  # the parent's own


def test_processes_that_fit_need_no_tracking_server() -> None:
    # `training.job` is the main module of a job, which its processes import again.
    script = "import sys, training.job, training.members; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
