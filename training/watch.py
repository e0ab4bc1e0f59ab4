"""What Lightning calls between the steps of a fit: the watch over its loss, and the moving average of its weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from training.lightning import Callback, WeightAveraging, pl
from training.progress import Progress

Observer = Callable[[Progress], None]


class Diverged(Exception):
    """The loss is no number any more."""


class Watch(Callback):
    """Sums the loss on the device and looks at it once an epoch. A checkpoint holds its random numbers."""

    def __init__(self, batch: int, observer: Observer | None, generator: torch.Generator) -> None:
        self.batch, self.observer, self.generator = batch, observer, generator
        self.total: Tensor | float = 0.0
        self.steps = 0
        self.windows_per_second = 0.0
        self.loss = math.nan

    def on_train_epoch_start(self, *_: Any) -> None:
        self.total, self.steps, self.began = 0.0, 0, time.perf_counter()

    def on_train_batch_end(self, _trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self.total = self.total + outputs["loss"].detach()
        self.steps += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        loss = float(self.total) / self.steps
        if not math.isfinite(loss):
            raise Diverged
        self.loss = loss
        seconds = time.perf_counter() - self.began
        epoch, epochs = trainer.current_epoch + 1, int(trainer.max_epochs or 1)
        self.windows_per_second = self.steps * self.batch / seconds
        if self.observer:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.observer(Progress(epoch, epochs, loss, rate, seconds * (epochs - epoch), self.windows_per_second))

    def state_dict(self) -> dict[str, Any]:
        """Of the windows' generator, and of torch's own ones, which dropout draws from; and how the last epoch went."""
        on_device = torch.cuda.get_rng_state(self.generator.device) if self.generator.device.type == "cuda" else None
        return {
            "generator": self.generator.get_state(), "host": torch.get_rng_state(), "device": on_device,
            "loss": self.loss, "windows_per_second": self.windows_per_second,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.loss, self.windows_per_second = state["loss"], state["windows_per_second"]
        torch.set_rng_state(state["host"])
        if state["device"] is not None:
            torch.cuda.set_rng_state(state["device"], self.generator.device)


class MovingAverage(WeightAveraging):
    """Keeps the exponential moving average of the weights, from those after the first step on."""

    def __init__(self, decay: float) -> None:
        # Buffers are constants here; averaging would round the whole numbers among them.
        super().__init__(use_buffers=False)
        self._blend = get_ema_multi_avg_fn(decay)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """As Lightning has it, but without the copy of a counter to the device, which waits for that in each step."""
        if trainer.global_step <= self._latest_update_step:
            return
        assert self._average_model is not None
        averages, current = ([p.detach() for p in m.parameters()] for m in (self._average_model.module, pl_module))
        if self._latest_update_step:
            self._blend(averages, current, None)
        else:
            for average, weight in zip(averages, current, strict=True):
                average.copy_(weight)
        self._latest_update_step = trainer.global_step

    def on_fit_end(self, _trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What is resumed after its last epoch does not train, and so would end with the weights as they were last."""
        self._copy_average_to_current(pl_module)
