"""Stands in for `training.job` where the worker is tested: does what the job's setting `act` says."""

# ruff: noqa: T201

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any


def main(directory: Path) -> None:
    Thread(target=_end_with_the_worker, daemon=True).start()
    order = json.loads((directory / "spec.json").read_text())
    (directory / f"pid-{order['token']}").write_text(str(os.getpid()))
    act = order["spec"]["settings"].get("act", "succeed")
    if act == "hang" or (act == "hang once" and order["token"] == 1):
        _say(event="progress", stage="fit", epoch=1, epochs=9, loss=float("nan"), fraction=0.1)
        time.sleep(600)
    if act == "wait for a file":
        while not (directory / "go").exists():
            time.sleep(0.05)
    if act == "fail":
        _say(event="error", kind="input", message="series 'a': no observed value")
        sys.exit(1)
    if act == "miss the server once" and order["token"] == 1:
        _say(event="error", kind="unavailable", message="the MLflow server does not answer")
        sys.exit(1)
    if act == "crash":
        raise RuntimeError("out of luck")
    for epoch in range(1, 4):
        print(f"epoch {epoch}", file=sys.stderr, flush=True)
        _say(event="progress", stage="fit", epoch=epoch, epochs=3, fraction=epoch / 3)
    print("a library's words", flush=True)
    if act != "say nothing":
        _say(event="result", result={"model": order["spec"]["model"], "version": 1, "token": order["token"]})


def _say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def _end_with_the_worker() -> None:
    os.read(0, 1)  # not sys.stdin.read(): its lock, held by this thread, crashes the interpreter as it shuts down
    os._exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
