"""The process that runs one attempt at a training job.

It is told nothing but its job's folder. It reports on its standard output, one JSON document a line, logs to its
standard error, and ends when its standard input does: that pipe closes even when the worker is killed outright.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

WORK = "work"  # of a job's directory: what a further attempt goes on from
_TAIL_LINES = 200
_TAIL_BYTES = 32 * 1024


class Child:
    """A process in a session of its own, what it has reported, and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.progress: dict[str, Any] | None = None
        self.result: dict[str, Any] | None = None
        self.error: str | None = None
        self.told_to_stop = False
        self.unavailable = False  # what it needs, such as the tracking server, did not answer
        self._process = process
        self._log = log
        self._log_seen = 0
        self._reader = Thread(target=self._read, name="job-events", daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def stop(self, grace_seconds: float) -> None:
        """Ask it to end, and wait for that a while. What is left then `close` kills."""
        self.told_to_stop = True
        self._signal(signal.SIGTERM)
        self.wait(grace_seconds)

    def close(self) -> None:
        """Leave nothing of it running, and take in the last that it said."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, so that it could put nothing in order."""
        return self._process.returncode < 0

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        return f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with exit code {code}"

    def failure(self) -> str:
        """Why there is no result, in words."""
        if self.error is not None:
            return self.error
        last_words = self.log_tail().strip().rsplit("\n", 1)[-1]
        told = f"the training process ended {self.ending} and gave no result"
        return told + (f": {last_words}" if last_words else "")

    def log_tail(self) -> str:
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-_TAIL_LINES:])

    def fresh_log_tail(self) -> str | None:
        """The tail if the log has grown since this was last asked: most often there is nothing to write anew."""
        size = self._log.stat().st_size
        if size == self._log_seen:
            return None
        self._log_seen = size
        return self.log_tail()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)  # whatever it has started too

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if not self._heed(line):
                # Some library printed it. A full disk must not end this thread: the child would block on its pipe.
                with suppress(OSError), self._log.open("ab") as log:
                    log.write(line)

    def _heed(self, line: bytes) -> bool:
        try:
            # NaN and infinity are no JSON; PostgreSQL refuses them.
            event: Any = json.loads(line, parse_constant=lambda _: None)
        except ValueError:
            return False
        match event:
            case {"event": "progress"}:
                self.progress = {name: value for name, value in event.items() if name != "event"}
            case {"event": "result", "result": dict(result)}:
                self.result = result
            case {"event": "error", "message": str(message), "kind": kind}:
                self.error, self.unavailable = message, kind == "unavailable"
            case _:
                return False
        return True


@contextmanager
def start(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Iterator[Child]:
    """Run `command DIRECTORY`. When the block ends the process has ended too, and all it said is known."""
    log = directory / "log.txt"
    with (
        log.open("ab") as stderr,
        subprocess.Popen(
            [*command, str(directory)],
            stdin=subprocess.PIPE,  # held open and never written to: see the head of this file
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the worker, which then ends the child in good order
        ) as process,
    ):
        child = Child(process, log)
        try:
            yield child
        finally:
            child.close()
