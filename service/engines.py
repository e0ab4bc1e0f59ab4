"""The models that are loaded, and the threads that compute with them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch

from forecaster.covariates import made_up_panel
from forecaster.predictor import Predictor
from service.errors import Busy
from service.registry import Version

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A loaded version. A request takes it once, and so ends on the version that it began with."""

    version: Version
    predictor: Predictor
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def name(self) -> str:
        return self.version.name


class ServedModels:
    """The champions in service: an immutable mapping, replaced as a whole. One thread writes; any may read."""

    def __init__(self) -> None:
        self.by_name: Mapping[str, ServedModel] = MappingProxyType({})

    def put(self, model: ServedModel) -> None:
        self.by_name = MappingProxyType({**self.by_name, model.name: model})

    def withdraw(self, name: str) -> None:
        self.by_name = MappingProxyType({other: model for other, model in self.by_name.items() if other != name})


class ForecastThreads:
    """A bounded number of threads behind a bounded queue. The event loop only hands over and waits."""

    def __init__(self, threads: int, limit: int, limit_bytes: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "forecast", initializer=use_one_core)
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._jobs = 0
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """Tasks that wait or run."""
        return self._jobs

    async def run(self, task: Callable[[], T], size: int = 0) -> T:
        """Run `task` in a thread. Raises Busy when too many tasks, or too many bytes of bodies, are waiting."""
        self._enter(size)
        try:
            running = self._executor.submit(task)
        except BaseException:
            self._leave(size)
            raise
        running.add_done_callback(lambda _: self._leave(size))
        return await _result(running)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _enter(self, size: int) -> None:
        with self._lock:
            # A request that is alone is never too large for an idle process.
            if self._jobs >= self._limit or (self._jobs and self._bytes + size > self._limit_bytes):
                raise Busy(f"{self._jobs} requests are waiting already; try again soon")
            self._jobs += 1
            self._bytes += size

    def _leave(self, size: int) -> None:
        with self._lock:
            self._jobs -= 1
            self._bytes -= size


def use_one_core() -> None:
    """For the calling thread: torch's own threads would wait for each other on shared cores."""
    torch.set_num_threads(1)


def warm_up(predictor: Predictor) -> None:
    """One forecast, so that no request pays for what the first one sets up."""
    values = np.arange(predictor.info.context, dtype=np.float32)[None]
    panel = made_up_panel(values, predictor.info.settings)
    # Not `predict`, which refuses a horizon without a future value: of those that are made up, some are missing.
    predictor.quantiles_at(panel, np.arange(1), panel.offsets[1:], predictor.info.horizon)


async def _result(running: Future[T]) -> T:
    return await asyncio.wrap_future(running)
