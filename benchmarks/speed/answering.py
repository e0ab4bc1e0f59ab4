"""The measured side: a process that answers one task after the other, a JSON document a line each way.

Standard library only, and old syntax: peers' environments run it too. The data and the imports stay between tasks, so
that repeats of all libraries can take turns and each pays for its start once.
"""

import json
import os
import sys
import time
import traceback


def answer(tasks):
    """Answer lines on standard input until it ends. `tasks` maps a name to a function of the task's settings."""
    # Libraries print: their standard output becomes our standard error, and answers go out on a copy of the real one.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            reply = tasks[question["task"]](question["settings"])
        except Exception as error:  # noqa: BLE001 - told to whoever asked, who decides
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def timed_batches(batches, steps, warm_up):
    """Seconds that `steps` batches take after `warm_up` others."""
    batches = iter(batches)
    for _ in range(warm_up):
        next(batches)
    began = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return time.perf_counter() - began


def endless(loader):
    """A loader begun again whenever it ends, as a trainer's epochs do."""
    while True:
        yield from loader
