"""Training speed on one GPU: windows per second by batch size, how busy the device is, bf16 against float32, and a
step as one CUDA graph, as `fit` has it, against its kernels handed over one by one.

Needs torch, Lightning, pydantic, pandas and jaxtyping, and neither MLflow nor any reader of files.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from speed.ours import BareStep, default_plan, drawn, fitting_on, prepared
from training.choose import override
from training.settings import Precision

BATCHES = (256, 1024, 4096, 16384)
_SETTINGS = {"data": None, "horizon": 48, "steps": 20}


def report(*, quick: bool = False, device: str = "cuda") -> dict[str, Any]:
    """Rows by batch size and precision of the bare loop, and of the whole fit."""
    where = torch.device(device)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    steps, batches = (4, BATCHES[:1]) if quick else (50, BATCHES)
    rows = [
        loop(where, batch, steps, half=half, recorded=recorded)
        for batch, half, recorded in itertools.product(batches, (False, True), recordings(where))
    ]
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    fits = [fitted(where, batch, 20 if quick else 200, one) for batch, one in itertools.product(batches, precisions)]
    name = torch.cuda.get_device_name() if where.type == "cuda" else "cpu"
    return {"name": name, "torch": torch.__version__, "cuda": torch.version.cuda, "loop": rows, "fit": fits}


def recordings(where: torch.device) -> tuple[bool, ...]:
    return (False, True) if where.type == "cuda" else (False,)


def loop(where: torch.device, batch: int, steps: int, *, half: bool, recorded: bool) -> dict[str, Any]:
    """The bare loop: its windows per second, and the share of its time in which the device had work."""
    plan = override(default_plan(_SETTINGS), {"fit.batch": batch})
    network, windows, loss = prepared(plan, None, where)
    step, batches = BareStep(network, loss, plan, half=half, recorded=recorded), drawn(windows, plan)

    def run(count: int) -> float:
        began = time.perf_counter()
        for one in itertools.islice(batches, count):
            step(one)
        wait(where)
        return time.perf_counter() - began

    run(5)
    seconds = run(steps)
    return {
        "batch": batch, "precision": "bf16" if half else "float32", "recorded": recorded,
        "windows_per_second": batch * steps / seconds, "busy": busy(where, run, steps, seconds),
    }  # fmt: skip


def busy(where: torch.device, run: Callable[[int], float], steps: int, seconds: float) -> float | None:
    """Seconds of kernels, as the profiler sees them, over the seconds that as many steps took without it.

    One stream: kernels do not overlap. The profiler slows the host, not the kernels.
    """
    if where.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        run(steps)
    kernels = [e for e in profiled.key_averages() if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    return sum(kernel.self_device_time_total for kernel in kernels) / 1e6 / seconds


def fitted(where: torch.device, batch: int, steps: int, precision: Precision) -> dict[str, Any]:
    """The whole fit, by Lightning, as a training run does it on this device."""
    plan = override(default_plan(_SETTINGS), {"fit.batch": batch, "fit.steps": steps, "fit.precision": precision})
    answer = fitting_on(where, plan, None)
    rate = answer["windows"] / answer["seconds"]
    return {"batch": batch, "precision": precision, "windows_per_second": rate}


def wait(where: torch.device) -> None:
    """Until the device has done all that it was given."""
    if where.type == "cuda":
        torch.cuda.synchronize()


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [f"{found['name']}, torch {found['torch']}", "", "| batch | precision | | windows/s | device busy |"]
    lines.append("|---|---|---|---|---|")
    for row in found["loop"]:
        share = "" if row["busy"] is None else f"{row['busy']:.0%}"
        how = "one graph" if row["recorded"] else "kernel by kernel"
        lines.append(f"| {row['batch']} | {row['precision']} | {how} | {row['windows_per_second']:.0f} | {share} |")
    lines += [
        f"| {row['batch']} | {row['precision']} | fit | {row['windows_per_second']:.0f} | |" for row in found["fit"]
    ]
    return "\n".join(lines)
