"""Fitting a network with Lightning. Knows no tracking server: what it learns is told to an observer.

The network sees batches that were gathered on its device; no values are moved or copied to the host within a step.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from forecaster.errors import TrainingError
from forecaster.network import ForecastNetwork
from training.lightning import Callback, ModelCheckpoint, pl
from training.loss import Objective
from training.optimiser import optimiser_of, schedule_of
from training.recorded import BatchLoss, recorded_loss
from training.sampling import Batch, BatchStream, TrainingWindows
from training.settings import FitSettings
from training.shortcut import fit_shortcut
from training.watch import Diverged, MovingAverage, Observer, Watch

CHECKPOINTS = 4  # the form, the start and the name of what is kept of a fit; what has another is not gone on with
_FINISHED = "finished.safetensors"
_BEGUN = "begun"  # beside the weights: how much is kept of the fit is settled later
_MOST_EPOCHS, _FEWEST_STEPS = 20, 10  # the end of an epoch takes as long as a few small steps


class LitForecaster(pl.LightningModule):
    """A thin shell: the loss of a batch, and the optimiser. On a GPU all batches have the shapes of the first."""

    def __init__(self, network: ForecastNetwork, objective: Objective, settings: FitSettings) -> None:
        super().__init__()
        self.network, self.objective, self.settings = network, objective, settings
        self._loss: BatchLoss | None = None

    def training_step(self, batch: Batch, _: int) -> Tensor:
        if self._loss is None:  # not before the first step: what is recorded keeps this step's precision
            on_gpu = batch.error_scale.device.type == "cuda"
            here = partial(self.objective, self.network)
            self._loss = recorded_loss(self.network, self.objective, batch) if on_gpu else here
        return self._loss(batch)

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimiser = optimiser_of([*self.parameters()], s)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule_of(optimiser, s, max(2, s.steps)), "interval": "step"},
        }


@dataclass(frozen=True)
class FitResult:
    loss: float
    seconds: float
    windows_per_second: float


def summed(results: Sequence[FitResult]) -> FitResult:
    """Of fits that make one model: the last one's loss, the time of all, and their mean speed."""
    seconds = sum(result.seconds for result in results)
    speed = sum(result.windows_per_second * result.seconds for result in results) / seconds
    return FitResult(results[-1].loss, seconds, speed)


def fit(
    network: ForecastNetwork,
    windows: TrainingWindows,
    objective: Objective,
    settings: FitSettings,
    *,
    observer: Observer | None = None,
    checkpoint: Path | None = None,
) -> FitResult:
    """Fit `network` in place; its weights end as their moving average.

    checkpoint: a directory in which an interrupted fit is resumed, bit for bit on the same machine
    A fit that diverges is begun again once, at a quarter of the learning rate.
    """
    if checkpoint and (done := _finished(network, checkpoint)):
        return done
    if settings.linear_start:
        fit_shortcut(network, windows, objective.quantile_loss, settings.seed)
    network.only_member.begin()
    start, task = copy.deepcopy(network.state_dict()), copy.deepcopy(objective.state_dict())
    try:
        return _keep(_fit(network, windows, objective, settings, observer, checkpoint), network, checkpoint)
    except Diverged:
        logging.getLogger(__name__).warning(
            "training diverged: starting again at a learning rate of %g", settings.learning_rate / 4
        )
        network.load_state_dict(start)
        objective.load_state_dict(task)  # its auxiliary layer has seen the same gradients
        calmer = settings.model_copy(update={"learning_rate": settings.learning_rate / 4})
        if checkpoint:
            _forget(checkpoint)
    try:
        return _keep(_fit(network, windows, objective, calmer, observer, checkpoint), network, checkpoint)
    except Diverged as error:
        raise TrainingError("training diverged twice: the loss is not a number; lower fit.learning_rate") from error


def _keep(result: FitResult, network: ForecastNetwork, checkpoint: Path | None) -> FitResult:
    """Write a finished fit's weights beside its checkpoints: a run that is begun again takes them as they are."""
    if checkpoint:
        checkpoint.mkdir(parents=True, exist_ok=True)
        aside = checkpoint / ".finished"
        kept = {**network.state_dict(), _BEGUN: network.only_member.begun}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
        save_file(weights, aside, {"result": json.dumps(asdict(result))})
        os.replace(aside, checkpoint / _FINISHED)
    return result


def is_finished(checkpoint: Path) -> bool:
    """Whether a fit that was given this directory has come to its end."""
    return (checkpoint / _FINISHED).exists()


def _finished(network: ForecastNetwork, checkpoint: Path) -> FitResult | None:
    path = checkpoint / _FINISHED
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        result = FitResult(**json.loads(file.metadata()["result"]))
    weights = load_file(path)
    member = network.only_member
    member.begun = weights.pop(_BEGUN).to(member.highway.weight.device)
    network.load_state_dict(weights)
    network.eval()
    return result


def steps_of_epoch(steps: int) -> int:
    """How many of a fit's steps lie between two that are told of and kept as a checkpoint."""
    return max(_FEWEST_STEPS, math.ceil(steps / _MOST_EPOCHS))


def _fit(
    network: ForecastNetwork,
    windows: TrainingWindows,
    objective: Objective,
    settings: FitSettings,
    observer: Observer | None,
    checkpoint: Path | None,
) -> FitResult:
    began = time.perf_counter()
    device, model = windows.flat.device, network.settings
    generator = torch.Generator(device).manual_seed(settings.seed)
    in_epoch = steps_of_epoch(settings.steps)
    epochs = math.ceil(settings.steps / in_epoch)  # the last one may be shorter
    stream = BatchStream(
        windows, settings.batch, model.context, model.horizon, settings.truncate,
        min(model.context, 2 * model.season), generator, in_epoch, lambda: settings.steps - trainer.global_step,
    )  # fmt: skip
    watch = Watch(settings.batch, observer, generator)
    module = LitForecaster(network, objective, settings)
    trainer = _trainer(epochs, settings, [watch, *_callbacks(settings, checkpoint)], device)
    resume = checkpoint / "last.ckpt" if checkpoint and (checkpoint / "last.ckpt").exists() else None
    own_seeds = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with own_seeds, flushed_denormals(), _interruptible(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*AccumulateGrad node's stream.*")  # a recorded step has its own
        torch.manual_seed(settings.seed)
        trainer.fit(module, train_dataloaders=stream, ckpt_path=resume, weights_only=True)
    network.eval()
    return FitResult(watch.loss, time.perf_counter() - began, watch.windows_per_second)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Within it, numbers too small to have all their digits are zero: gradients that fade over hundreds of steps are
    full of them, and some processors take a hundred times as long for each."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends as such: Lightning makes an exit of it, and is deaf to any further one."""
    if threading.current_thread() is not threading.main_thread():  # signals are not its business
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


def _callbacks(settings: FitSettings, checkpoint: Path | None) -> list[Callback]:
    callbacks: list[Callback] = []
    if settings.average_decay:
        # A short fit is averaged over its last tenth: a longer memory would keep its first weights.
        decay = min(settings.average_decay, max(0.0, 1 - 10 / settings.steps))
        callbacks.append(MovingAverage(decay))
    if checkpoint:
        callbacks.append(
            ModelCheckpoint(checkpoint, filename="last", save_top_k=1, every_n_epochs=1, enable_version_counter=False)
        )
    return callbacks


def _trainer(epochs: int, settings: FitSettings, callbacks: list[Callback], device: torch.device) -> pl.Trainer:
    on_gpu = device.type == "cuda"
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        # In bf16 only matrix products: the loss and the statistics stay in float32.
        precision="bf16-mixed" if on_gpu and _in_half(settings) else "32-true",
        max_epochs=epochs,
        gradient_clip_val=settings.clip,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        barebones=False,
    )


def _in_half(settings: FitSettings) -> bool:
    """Whether a GPU computes matrix products in bf16: where it has that by itself, unless asked for otherwise."""
    if settings.precision == "auto":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return settings.precision == "bf16"


def _forget(checkpoint: Path) -> None:
    for file in checkpoint.glob("*.ckpt"):
        file.unlink()


def training_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
