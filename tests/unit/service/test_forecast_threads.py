"""The queue before the forecast threads is bounded, in number and in bytes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import torch

from service.engines import ForecastThreads
from service.errors import Busy


@pytest.fixture
def threads() -> Iterator[ForecastThreads]:
    threads = ForecastThreads(threads=1, limit=2, limit_bytes=100)
    yield threads
    threads.close()


def test_a_task_runs_on_one_core(threads: ForecastThreads) -> None:
    assert asyncio.run(threads.run(torch.get_num_threads)) == 1
    assert threads.waiting == 0


def test_more_tasks_than_the_limit_are_refused(threads: ForecastThreads) -> None:
    async def scenario() -> None:
        go_on = threading.Event()
        running = [asyncio.create_task(threads.run(go_on.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 requests"):
            await threads.run(go_on.wait)
        go_on.set()
        assert await asyncio.gather(*running) == [True, True]
        assert await threads.run(lambda: 7) == 7

    asyncio.run(scenario())


def test_more_bytes_than_the_limit_are_refused_unless_nothing_else_waits(threads: ForecastThreads) -> None:
    async def scenario() -> None:
        go_on = threading.Event()
        running = asyncio.create_task(threads.run(go_on.wait, 500))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await threads.run(go_on.wait, 1)
        go_on.set()
        await running

    asyncio.run(scenario())


def test_a_client_that_leaves_frees_its_place(threads: ForecastThreads) -> None:
    async def scenario() -> None:
        go_on = threading.Event()
        running = asyncio.create_task(threads.run(go_on.wait))
        waiting = asyncio.create_task(threads.run(go_on.wait))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert threads.waiting == 1
        go_on.set()
        await running
        assert threads.waiting == 0

    asyncio.run(scenario())


def test_an_error_is_the_callers(threads: ForecastThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(threads.run(lambda: 1 // 0))
    assert threads.waiting == 0
