"""Training speed on one GPU: windows per second by batch size, how busy the device is, bf16 against float32.

Needs torch, Lightning, pydantic, pandas and jaxtyping, and neither MLflow nor any reader of files.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from speed.ours import BareStep, default_plan, drawn, fitting_on, prepared
from training.choose import override

BATCHES = (256, 1024, 4096, 16384)
_SETTINGS = {"data": None, "horizon": 48, "steps": 20}


def report(*, quick: bool = False, device: str = "cuda") -> dict[str, Any]:
    """Rows by batch size and precision of the bare loop, and of the whole fit."""
    where = torch.device(device)
    steps, batches = (4, BATCHES[:1]) if quick else (50, BATCHES)
    rows = [loop(where, batch, half, steps) for batch in batches for half in (False, True)]
    fits = [fitted(where, batch, 20 if quick else 400) for batch in batches]
    name = torch.cuda.get_device_name() if where.type == "cuda" else "cpu"
    return {"name": name, "torch": torch.__version__, "cuda": torch.version.cuda, "loop": rows, "fit": fits}


def loop(where: torch.device, batch: int, half: bool, steps: int) -> dict[str, Any]:
    """The bare loop: its windows per second, and the share of its time in which the device had work."""
    plan = override(default_plan(_SETTINGS), {"fit.batch": batch})
    network, windows, loss = prepared(plan, None, where)
    step, batches = BareStep(network, loss, plan, half=half), drawn(windows, plan)

    def run(count: int) -> float:
        began = time.perf_counter()
        for one in itertools.islice(batches, count):
            step(one)
        wait(where)
        return time.perf_counter() - began

    run(5)
    seconds = run(steps)
    return {
        "batch": batch, "precision": "bf16" if half else "float32",
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


def fitted(where: torch.device, batch: int, steps: int) -> dict[str, Any]:
    """The whole fit, by Lightning, as a training run does it on this device."""
    plan = override(default_plan(_SETTINGS), {"fit.batch": batch, "fit.steps": steps})
    answer = fitting_on(where, plan, None)
    return {"batch": batch, "windows_per_second": answer["windows"] / answer["seconds"]}


def wait(where: torch.device) -> None:
    """Until the device has done all that it was given."""
    if where.type == "cuda":
        torch.cuda.synchronize()


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [f"{found['name']}, torch {found['torch']}", "", "| batch | precision | windows/s | device busy |"]
    lines.append("|---|---|---|---|")
    for row in found["loop"]:
        share = "" if row["busy"] is None else f"{row['busy']:.0%}"
        lines.append(f"| {row['batch']} | {row['precision']} | {row['windows_per_second']:.0f} | {share} |")
    lines += [f"| {row['batch']} | fit | {row['windows_per_second']:.0f} | |" for row in found["fit"]]
    return "\n".join(lines)
