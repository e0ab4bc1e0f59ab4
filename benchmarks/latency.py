"""Latency of one series over HTTP, and the API process's memory, against a running service.

    python benchmarks/latency.py http://127.0.0.1:8000 --model new-york-weather --requests 1000

Prints median, 95th and 99th percentile at one client, requests per second at eight, and the resident memory that the
service itself reports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np


def body_of(model: str, horizon: int, length: int) -> dict[str, object]:
    """One hourly series with a daily season."""
    values = 100 + 10 * np.sin(2 * np.pi * np.arange(length) / 24) + np.random.default_rng(1).normal(size=length)
    series = {"id": "a", "start": "2024-01-01T00:00:00", "values": values.round(3).tolist()}
    return {"model": model, "horizon": horizon, "level": [95], "series": [series]}


def one_client(client: httpx.Client, body: bytes, requests: int) -> list[float]:
    """Milliseconds of each request."""
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        answer = client.post("/v1/forecast", content=body, headers={"Content-Type": "application/json"})
        times.append(1000 * (time.perf_counter() - began))
        answer.raise_for_status()
    return times


def many_clients(url: str, headers: dict[str, str], body: bytes, clients: int, requests: int) -> float:
    """Answers per second of all together."""

    def work(_: int) -> int:
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            return len(one_client(client, body, requests // clients))

    with ThreadPoolExecutor(clients) as threads:
        began = time.perf_counter()
        answers = sum(threads.map(work, range(clients)))
        return answers / (time.perf_counter() - began)


def resident_mb(client: httpx.Client) -> float:
    """From the service's own metrics."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("process_resident_memory_bytes"):
            return float(line.split()[1]) / 1e6
    return float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="new-york-weather")
    parser.add_argument("--horizon", type=int, default=48)
    parser.add_argument("--length", type=int, default=336)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    body = json.dumps(body_of(arguments.model, arguments.horizon, arguments.length)).encode()
    key = os.environ.get("FORECASTER_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=arguments.url, timeout=60, headers=headers) as client:
        one_client(client, body, 50)
        times = sorted(one_client(client, body, arguments.requests))
        report = {
            "requests": arguments.requests,
            "median_ms": round(statistics.median(times), 2),
            "p95_ms": round(times[int(0.95 * len(times))], 2),
            "p99_ms": round(times[int(0.99 * len(times))], 2),
            "requests_per_second_8_clients": round(many_clients(arguments.url, headers, body, 8, arguments.requests)),
            "resident_mb": round(resident_mb(client)),
        }
    print(json.dumps(report) if arguments.json else "\n".join(f"{k:32} {v}" for k, v in report.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
