"""`python lifeline.py COMMAND…` runs a command that ends, with all that it has started, when standard input does.

`forecaster up` holds the other end of that pipe, so that nothing outlives it even where it is killed outright. Run as a
file, of the standard library alone: there is one for each program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_GRACE_SECONDS = 10.0


def main(command: Sequence[str]) -> int:
    """The command's exit code, as a shell tells it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # meant for the whole group: when the program ends, so does this
    orphaned = threading.Event()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as program:
        threading.Thread(target=_watch, args=(orphaned,), daemon=True).start()
        code = program.wait()
    if orphaned.is_set():
        os.killpg(0, signal.SIGKILL)  # whatever the program may have left behind
    return code if code >= 0 else 128 - code


def _watch(orphaned: threading.Event) -> None:
    while os.read(0, 1):  # nothing is ever written: it returns when the other end is closed
        pass
    orphaned.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
