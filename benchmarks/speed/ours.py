"""This project's side of the speed comparison: drawing batches, fitting, and the loop that fitting cannot beat."""

from __future__ import annotations

import functools
import itertools
import logging
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning
import torch
from torch import Tensor

from forecaster.frequency import Frequency
from forecaster.network import ForecastNetwork
from forecaster.panel import Panel
from training.choose import choose_settings, override
from training.fit import fit, flushed_denormals, steps_of_epoch
from training.loss import Objective
from training.optimiser import optimiser_of
from training.preparation import build_network, build_objective, training_windows
from training.profile import profile_panel
from training.recorded import BatchLoss, recorded_loss
from training.sampling import Batch, TrainingWindows
from training.settings import TrainingSettings

Settings = dict[str, Any]


@functools.cache
def panel_of(path: str | None) -> Panel:
    """The series in a file, or as many generated ones as M4 Hourly has: it needs no library that reads files."""
    if path is not None:
        from forecaster.reading import read_panel

        return read_panel(path, "h")
    series, steps = 414, 960
    generator = np.random.default_rng(1)
    daily = np.sin(2 * np.pi * (np.arange(steps) + generator.integers(0, 24, (series, 1))) / 24)
    values = (generator.uniform(10, 1000, (series, 1)) * (2 + daily + generator.normal(0, 0.1, daily.shape))).ravel()
    ids, offsets = np.array([f"H{i}" for i in range(series)]), np.arange(series + 1) * steps
    zeros = np.zeros(series, np.int64)
    return Panel(ids, values.astype(np.float32), offsets, zeros, zeros, Frequency.parse("h"), integer=True)


def default_plan(s: Settings) -> TrainingSettings:
    """What is chosen for the data when nobody says anything."""
    panel = panel_of(s["data"])
    plan = choose_settings(profile_panel(panel, s["horizon"]), panel.freq, s["horizon"], "balanced", 1)
    return override(plan, {"fit.steps": s["steps"]} if s.get("steps") else {})


def stepwise_plan(s: Settings) -> TrainingSettings:
    """A plain recurrent network, one update a step, without what peers have not: lagged inputs and a long shortcut."""
    changes = {
        "fit.steps": s["steps"], "fit.batch": s["batch"], "network.segment": 1, "network.lags": [],
        "network.highway": 1, "network.width": s["width"], "network.layers": s["layers"], "network.cell": s["cell"],
        "network.context": s["context"],
    }  # fmt: skip
    return override(default_plan(s), changes)


PLANS = {"default": default_plan, "stepwise": stepwise_plan}


def drawing(s: Settings) -> dict[str, Any]:
    """Batches alone."""
    windows = training_windows(panel_of(s["data"]), default_plan(s), 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    began = 0.0
    for step in range(s["warm_up"] + s["batches"]):
        if step == s["warm_up"]:
            began = time.perf_counter()
        windows.draw(s["batch"], s["context"], s["horizon"], 0.0, 1, generator)
    return {"windows": s["batches"] * s["batch"], "seconds": time.perf_counter() - began}


def fitting(s: Settings) -> dict[str, Any]:
    """Our `fit` on the CPU."""
    return fitting_on(torch.device("cpu"), PLANS[s["plan"]](s), s["data"])


def fitting_on(device: torch.device, plan: TrainingSettings, data: str | None) -> dict[str, Any]:
    """Our `fit`, by Lightning, between the end of its first epoch and the end of its last."""
    network, windows, loss = prepared(plan, data, device)
    ends: list[float] = []
    fit(network, windows, loss, plan.fit, observer=lambda _: ends.append(time.perf_counter()))
    first = steps_of_epoch(plan.fit.steps)
    return {"windows": (plan.fit.steps - first) * plan.fit.batch, "seconds": ends[-1] - ends[0]}


def bare_loop(s: Settings) -> dict[str, Any]:
    """Forward, loss, backward, clip and optimiser step on batches drawn alike, without Lightning.

    Denormals are flushed here too: what is left between the two is what Lightning and the records cost.
    """
    plan = PLANS[s["plan"]](s)
    network, windows, loss = prepared(plan, s["data"], torch.device("cpu"))
    step = BareStep(network, loss, plan)
    batches = drawn(windows, plan)
    with flushed_denormals():
        for batch in itertools.islice(batches, s["warm_up"]):
            step(batch)
        began = time.perf_counter()
        for batch in itertools.islice(batches, plan.fit.steps):
            step(batch)
        seconds = time.perf_counter() - began
    return {"windows": plan.fit.steps * plan.fit.batch, "seconds": seconds}


class BareStep:
    """One step of training in plain torch.

    half: matrix products in bf16, as `fit` has them on a GPU; recorded: the loss as a CUDA graph, as `fit` has it there
    """

    def __init__(
        self,
        network: ForecastNetwork,
        loss: Objective,
        plan: TrainingSettings,
        *,
        half: bool = False,
        recorded: bool = False,
    ) -> None:
        self.network, self.loss, self.clip, self.recorded = network, loss.train(), plan.fit.clip, recorded
        self.weights = [*network.train().parameters(), *loss.parameters()]
        kind = network.calibration.device.type
        self.half = torch.autocast(kind, torch.bfloat16, enabled=half, cache_enabled=False)
        self.optimiser = optimiser_of(self.weights, plan.fit)
        self.replay: BatchLoss | None = None

    def __call__(self, batch: Batch) -> None:
        with self.half:
            loss = self._of(batch)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimiser.step()

    def _of(self, batch: Batch) -> Tensor:
        if not self.recorded:
            loss: Tensor = self.loss(self.network, batch)
            return loss
        self.replay = self.replay or recorded_loss(self.network, self.loss, batch)
        return self.replay(batch)


def drawn(windows: TrainingWindows, plan: TrainingSettings) -> Iterator[Batch]:
    """Endless batches, drawn as `fit` draws them."""
    generator = torch.Generator(windows.flat.device).manual_seed(plan.fit.seed)
    model, shortest = plan.model, min(plan.model.context, 2 * plan.model.season)
    while True:
        yield windows.draw(plan.fit.batch, model.context, model.horizon, plan.fit.truncate, shortest, generator)


def prepared(
    plan: TrainingSettings, data: str | None, device: torch.device
) -> tuple[ForecastNetwork, TrainingWindows, Objective]:
    """Network, windows and loss, all on the device."""
    windows = training_windows(panel_of(data), plan, 0, device)
    return build_network(plan, windows), windows, build_objective(plan, windows)


def about(s: Settings) -> dict[str, Any]:
    """Versions, and what the default settings are for this data."""
    plan = default_plan(s)
    return {
        "python": platform.python_version(), "torch": torch.__version__,
        "pytorch-lightning": pytorch_lightning.__version__, "threads": torch.get_num_threads(),
        "quantiles": list(plan.model.quantiles), "default": plan.model.members[0].model_dump(mode="json"),
        "default_batch": plan.fit.batch,
    }  # fmt: skip


if __name__ == "__main__":
    from answering import answer

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    answer({"about": about, "drawing": drawing, "fitting": fitting, "bare_loop": bare_loop})
    sys.exit(0)
