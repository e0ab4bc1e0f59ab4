"""Tasks side by side in processes of one thread each, which never outlive this one.

Each holds one end of a pipe, its lifeline: when that closes, because they are not wanted any more or because this
process was killed, they end at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from logging.handlers import QueueHandler
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch

from forecaster.errors import TrainingError

Hear = Callable[[Any], None]
Task = Callable[[Hear], None]  # is given whom to tell its news
_LOOK_SECONDS = 0.2  # between looks at the news


def run_side_by_side(tasks: Sequence[Task], processes: int, hear: Hear) -> None:
    """Run picklable tasks in at most `processes` processes; what they tell is heard here, in this thread.

    Raises what a task raises, and TrainingError when a process was killed; the other processes are ended then.
    """
    context = _context()
    news: SimpleQueue[Any] = context.SimpleQueue()
    with _pool(processes, context, news) as pool:
        with _interrupts_put_off():
            waiting = {pool.submit(_run, task) for task in tasks}
        while waiting:
            done, waiting = wait(waiting, _LOOK_SECONDS, FIRST_COMPLETED)
            while not news.empty():  # all that tasks in `done` have told is in here: written before they ended
                _heed(news.get(), hear)
            for future in done:
                future.result()


def _context() -> BaseContext:
    """How processes begin: as forks of one that has the libraries loaded and no threads, where the system can.

    A fork of this process, with the threads of torch and MLflow, may hang; each loading for itself takes seconds.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["training.fit"])  # the heaviest of what a task needs
    return context


@contextmanager
def _pool(processes: int, context: Any, news: SimpleQueue[Any]) -> Iterator[ProcessPoolExecutor]:
    theirs, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _begin, (news, theirs))
    try:
        yield pool
    except BaseException as error:
        lifeline.close()  # ends what still runs
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                "a process that fits members was killed or crashed, perhaps for want of memory; "
                "the others were ended, and fit.processes=1 needs the least memory"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        lifeline.close()
        theirs.close()


def _heed(news: Any, hear: Hear) -> None:
    if isinstance(news, logging.LogRecord):
        logging.getLogger(news.name).handle(news)
    else:
        hear(news)


@contextmanager
def _interrupts_put_off() -> Iterator[None]:
    """Processes that are started within ignore Ctrl-C, which a terminal sends them too: this process ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What follows runs in the processes.

_news: SimpleQueue[Any]


def _begin(news: SimpleQueue[Any], lifeline: Connection) -> None:
    global _news
    _news = news
    threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    torch.set_num_threads(1)
    sys.stdout = sys.stderr  # standard output is for the result of the command that this process belongs to
    logging.disable(logging.INFO)  # Lightning's chatter, once for each fit
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger().addHandler(_ToParent(news))


class _ToParent(QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.put(record)


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # nothing is ever sent: it is ready when it is closed
    os._exit(3)


def _run(task: Task) -> None:
    task(_news.put)
