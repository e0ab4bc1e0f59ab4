"""Tasks for `training.processes`. As a program: two tasks that never end, in two processes, whose ids it prints."""

# ruff: noqa: T201

from __future__ import annotations

import logging
import os
import time

import torch

from forecaster.errors import InputError
from training.processes import Hear, run_side_by_side


def tell(hear: Hear) -> None:
    print("a library's words")
    logging.getLogger("somebody").info("of no interest")
    logging.getLogger("somebody").warning("diverged in %s", "a task")
    for number in range(3):
        hear((os.getpid(), torch.get_num_threads(), number))


def hang(hear: Hear) -> None:
    hear(os.getpid())
    time.sleep(600)


def refuse(_: Hear) -> None:
    raise InputError("no value is observed", series="a", field="y", mend="leave it out")


if __name__ == "__main__":
    run_side_by_side([hang, hang], 2, lambda pid: print(pid, flush=True))
