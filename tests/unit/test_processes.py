"""What `forecaster up` does with programs that end: real ones."""

from __future__ import annotations

import http.server
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from forecaster.cli import processes
from forecaster.cli.processes import Processes, Program, answers
from forecaster.errors import Unavailable
from tests.waiting import wait_until


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(processes, "_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(processes, "_MOST_EARLY_ENDS", 2)
    with Processes(tmp_path / "logs") as started:
        yield started


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


STACK = """
import sys, time
from pathlib import Path
from forecaster.cli import processes

processes._GRACE_SECONDS = 1.5
with processes.Processes(Path(sys.argv[1])) as group:
    group.start(processes.Program("one", [sys.executable, "-S", "-c", sys.argv[2]], {}))
    print(group._running["one"].pid, flush=True)
    time.sleep(60)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
OTHER = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_terminal_closes_or_someone_is_impatient(
    ending: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", STACK, str(tmp_path), DEAF], stdout=subprocess.PIPE) as stack:
        assert stack.stdout is not None
        child = psutil.Process(int(stack.stdout.readline()))
        wait_until(lambda: (tmp_path / "one.log").read_text() != "")
        stack.send_signal(ending)
        with pytest.raises(subprocess.TimeoutExpired):  # the child takes its time, and is given it
            stack.wait(0.5)
        stack.send_signal(signal.SIGINT)
        stack.wait(20)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_nothing_is_left_of_what_was_killed_outright(tmp_path: Path) -> None:
    code = f"{OTHER}; import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", STACK, str(tmp_path), code], stdout=subprocess.PIPE) as up:
        assert up.stdout is not None
        lifeline = psutil.Process(int(up.stdout.readline()))
        wait_until(lambda: (tmp_path / "one.log").read_text().endswith("\n"))
        started = [lifeline, *lifeline.children(recursive=True)]
        assert len(started) == 3
        up.kill()
    wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in started))


def test_what_a_program_has_left_behind_is_gone_before_it_is_started_again(group: Processes) -> None:
    group.start(program("parent", f"{OTHER}; raise SystemExit(3)"))
    with pytest.raises(Unavailable, match="parent ended with code 3"):
        group.watch(lambda _: None)
    left = [int(line) for line in (group.logs / "parent.log").read_text().split() if line != "started"]
    assert len(left) == 3
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in left[:2])


def test_a_proxy_of_the_environment_is_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert answers(f"http://127.0.0.1:{server.server_port}/")
