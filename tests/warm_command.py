"""The `forecaster` command from a process that has its libraries loaded: each command is a fork of it.

Loading takes most of a command's time, and a test of thirty commands would spend minutes on it.
As a program: reads an order a line (arguments, folder, environment, files for what it prints), runs it, and answers
with its exit code.
"""

# ruff: noqa: T201

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_HEAVY = (
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "training.compare",
    "training.run",
)


class WarmCommand:
    """Runs commands as `subprocess.run` does, seconds sooner."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_command"],
            cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def close(self) -> None:
        self._server.communicate(timeout=30)

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            print(json.dumps([arguments, str(cwd), dict(environment), str(out), str(err)]), file=self._server.stdin)
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _serve() -> None:
    from forecaster.cli import app

    for module in _HEAVY:
        importlib.import_module(module)
    assert threading.active_count() == 1, "a fork of a process with threads may hang"
    gc.freeze()  # collecting in a fork would copy all memory
    while line := sys.stdin.readline():
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        else:
            _become(*json.loads(line))
            os._exit(_exit_code(app.main))  # to take down what was loaded would copy all memory, too


def _exit_code(main: Callable[[], None]) -> int:
    """What a shell would be told; a traceback is printed, as the interpreter does."""
    try:
        main()
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _become(arguments: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    """Make this process what a shell would have started."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["forecaster", *arguments]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)


if __name__ == "__main__":
    _serve()
