"""Child processes of `forecaster up`: started together, watched together, stopped together."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from forecaster.cli import lifeline
from forecaster.errors import Conflict, Unavailable

_GRACE_SECONDS = 12.0
_POLL_SECONDS = 0.1
_WATCH_SECONDS = 0.5
_SHORTEST_LIFE_SECONDS = 10.0
_MOST_EARLY_ENDS = 10  # what dies so often so soon would only die again
_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
# A proxy of the environment is for other machines.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True)
class Program:
    """name: also of its log file; command: argv; variables: added to the environment"""

    name: str
    command: Sequence[str]
    variables: Mapping[str, str]


class Processes:
    """A set of programs, each with its log under `logs`. Leaving the block stops them all, newest first."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._programs: dict[str, tuple[Program, float]] = {}
        self._early_ends: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDINGS)}

    def __enter__(self) -> Processes:
        self.logs.mkdir(parents=True, exist_ok=True)
        # A polite request to end, or a terminal that closes, is to be answered as Ctrl-C is: by stopping the children.
        for number in _ENDINGS:
            if self._handlers[number] != signal.SIG_IGN:  # nohup: it shall outlive the terminal
                signal.signal(number, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._handlers:  # an impatient second Ctrl-C would leave programs behind
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self._running.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _clear(process)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's

    def start(self, program: Program) -> None:
        """Start a program in a session of its own, so that Ctrl-C reaches it through us and in good order."""
        self._programs[program.name] = program, time.monotonic()
        with (self.logs / f"{program.name}.log").open("ab") as log:
            self._running[program.name] = subprocess.Popen(
                [sys.executable, "-S", lifeline.__file__, *program.command],
                env={**os.environ, **program.variables},
                stdin=subprocess.PIPE,  # held open and never written to: it closes with this process
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise when one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise Unavailable(self._ending(name))

    def wait_for(self, url: str, seconds: float, said: str = "") -> None:
        """Wait until a URL answers 200, and the answer matches `said`, while all processes live."""
        deadline = time.monotonic() + seconds
        while not answers(url, said):
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{url} did not answer within {seconds:.0f} s; see the logs in {self.logs}")
            time.sleep(_POLL_SECONDS)

    def watch(self, tell: Callable[[str], None]) -> None:
        """Return never. What ends is started again; raise when it cannot stay up."""
        while True:
            self.revive(tell)
            time.sleep(_WATCH_SECONDS)

    def revive(self, tell: Callable[[str], None]) -> None:
        """Start again what has ended; raise when it cannot stay up."""
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                self._revive(name, tell)

    def _revive(self, name: str, tell: Callable[[str], None]) -> None:
        """Start what has ended, after a pause in which the others are still watched over."""
        program, began = self._programs[name]
        now = time.monotonic()
        if name not in self._due:
            self._early_ends[name] = self._early_ends.get(name, 0) + 1 if now - began < _SHORTEST_LIFE_SECONDS else 0
            if self._early_ends[name] > _MOST_EARLY_ENDS:
                raise Unavailable(self._ending(name))
            tell(f"{self._ending(name)}; starting it again")
            self._due[name] = now + self._early_ends[name]  # longer each time, for what it needs to come back
        if now >= self._due[name]:
            del self._due[name]
            _clear(self._running[name])  # what it has left behind may hold its port
            self.start(program)

    def _ending(self, name: str) -> str:
        return f"{name} ended with code {self._running[name].returncode} (log: {self.logs / f'{name}.log'})"


def _clear(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it, nor of what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def answers(url: str, said: str = "") -> bool:
    """Whether a URL on this machine answers 200, with a body that matches `said`."""
    try:
        with _open(url, timeout=2) as response:
            return bool(response.status == 200) and re.search(said, response.read().decode()) is not None
    except (urllib.error.URLError, OSError):
        return False


def require_free(host: str, port: int, option: str) -> None:
    """Raise when the port is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"port {port} of {host} is taken; stop what runs there or choose another with {option}"
            ) from error


def python(*arguments: str) -> list[str]:
    """A command of this same interpreter."""
    return [sys.executable, *arguments]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
