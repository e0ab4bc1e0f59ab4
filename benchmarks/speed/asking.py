"""The asking side of `answering.py`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parents[1]


class Library:
    """A process in which one library answers tasks."""

    def __init__(self, name: str, python: str, program: str, threads: int, *, ours: bool = False) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment.pop("PYTHONPATH", None)  # a peer must not see our environment's packages
        if ours:
            environment["PYTHONPATH"] = str(_ROOT)
        self._process = subprocess.Popen(
            [python, str(_FOLDER / program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, task: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Its answer; `error` in it says that it could not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"task": task, "settings": settings}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}'s process ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it: its input ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
