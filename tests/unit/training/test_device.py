"""A training step as a GPU runs it, where there is none: on torch's "meta" device, and in bf16 on the processor.

Meta tensors have shapes but no values: reading one on the host raises, and so does mixing it with the host's own.
A step that passes there neither waits for its device nor leaves anything behind on the host.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from forecaster.network import ForecastNetwork
from tests.fixtures_models import make_panel
from training.choose import choose_settings, override
from training.fit import LitForecaster
from training.loss import Objective
from training.preparation import build_network, build_objective, training_windows
from training.profile import profile_panel
from training.sampling import TrainingWindows
from training.settings import TrainingSettings
from training.watch import MovingAverage

HORIZON = 24
PANEL = make_panel(n=4, length=400, missing=0.1)
COUNTS = {"network.location": "zero", "network.scale": "size", "model.transform": "identity"}
VARIANTS: dict[str, dict[str, Any]] = {
    **{cell: {"network.cell": cell} for cell in ("rnn", "gru", "lstm", "lstm_peephole", "gru_reset_before")},
    "stepwise": {"network.segment": 1, "network.context": 72, "network.lags": [24], "network.highway": 48},
    "pmf": {"network.decoder": "pmf"},
    "autoregressive": {"network.decoder": "autoregressive"},
    "attention": {"network.attention": True},
    "auxiliary": {"fit.auxiliary_weight": 0.1},
    "normal": {"network.head": "normal", "fit.loss": "likelihood"},
    "student_t": {"network.head": "student_t", "fit.loss": "likelihood"},
    "counts": {"network.head": "negative_binomial", "fit.loss": "likelihood", **COUNTS},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def ready(variant: str) -> tuple[TrainingSettings, TrainingWindows, ForecastNetwork, Objective]:
    chosen = choose_settings(profile_panel(PANEL, HORIZON), PANEL.freq, HORIZON, "fast", 1)
    settings = override(chosen, VARIANTS[variant])
    windows = training_windows(PANEL, settings, 0, torch.device("cpu"))
    return settings, windows, build_network(settings, windows), build_objective(settings, windows)


def draw(settings: TrainingSettings, windows: TrainingWindows, generator: Any) -> Any:
    return windows.draw(16, settings.model.context, HORIZON, 0.5, 2, generator)


@each_variant
def test_a_step_stays_on_its_device_and_never_waits_for_it(variant: str) -> None:
    settings, windows, network, objective = ready(variant)
    away = TrainingWindows(**{n: t if t is None else t.to("meta") for n, t in vars(windows).items()})
    network.to("meta")
    objective.to("meta")
    if (loss := objective.quantile_loss) is not None:
        objective.quantile_loss = dataclasses.replace(loss, quantiles=loss.quantiles.to("meta"))
    weights = list(network.parameters())
    optimiser = torch.optim.AdamW(weights)
    objective(network, draw(settings, away, None)).backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimiser.step()
    assert all(weight.device.type == "meta" for weight in weights)
    assert any(weight.grad is not None for weight in weights)


def test_the_moving_average_never_waits_for_its_device() -> None:
    settings, _, network, objective = ready("gru")
    module = LitForecaster(network, objective, settings.fit).to("meta")
    average = MovingAverage(0.9)
    average.setup(SimpleNamespace(), module, "fit")
    for step in range(1, 4):
        average.on_train_batch_end(SimpleNamespace(global_step=step), module, None, None, step - 1)


@each_variant
def test_half_precision_changes_the_loss_little_and_its_gradients_are_numbers(variant: str) -> None:
    settings, windows, network, objective = ready(variant)
    batch = draw(settings, windows, torch.Generator().manual_seed(1))
    network.eval()  # no dropout, which would differ by itself
    full = objective(network, batch).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = objective(network, batch)
    half.backward()
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full, rel=0.03)
    assert half.item() != full
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
