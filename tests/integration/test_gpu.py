"""Training as it is on a GPU. Everything here is skipped where there is none; test_device.py is what runs then."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.data import bundled
from forecaster.network import ForecastNetwork
from forecaster.predictor import Predictor
from forecaster.reading import read_panel
from forecaster.store.settings import StoreSettings
from tests.fixtures_training import weather_request
from tests.unit.training.test_device import HORIZON, PANEL, VARIANTS, each_variant
from training.choose import choose_settings, override
from training.fit import FitResult, fit
from training.pipeline import train
from training.preparation import build_network, build_objective, training_windows
from training.profile import profile_panel
from training.progress import Progress
from training.recorded import recorded_loss
from training.request import TrainResult
from training.sampling import Batch
from training.settings import TrainingSettings
from training.watch import Observer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine"),
]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def plan(variant: str, **fit_changes: object) -> TrainingSettings:
    chosen = choose_settings(profile_panel(PANEL, HORIZON), PANEL.freq, HORIZON, "fast", 1)
    return override(chosen, {**VARIANTS[variant], **{f"fit.{name}": value for name, value in fit_changes.items()}})


def run(
    settings: TrainingSettings, device: torch.device, observer: Observer | None = None, checkpoint: Path | None = None
) -> tuple[ForecastNetwork, FitResult]:
    windows = training_windows(PANEL, settings, 0, device)
    network, objective = build_network(settings, windows), build_objective(settings, windows)
    result = fit(network, windows, objective, settings.fit, observer=observer, checkpoint=checkpoint)
    return network, result


@contextmanager
def waits() -> Iterator[list[warnings.WarningMessage]]:
    """Each time that the host waits for the device, as torch sees it."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield seen
        finally:
            torch.cuda.set_sync_debug_mode("default")
            seen[:] = [one for one in seen if "synchronizing CUDA operation" in str(one.message)]


@each_variant
def test_a_recorded_step_has_the_loss_and_gradients_of_the_plain_one(variant: str) -> None:
    settings = override(plan(variant), {"network.dropout": 0.0})  # which would differ by itself
    windows = training_windows(PANEL, settings, 0, GPU)
    network, objective = build_network(settings, windows), build_objective(settings, windows)
    weights = [*network.parameters(), *objective.parameters()]
    generator = torch.Generator(GPU).manual_seed(1)

    def draw() -> Batch:
        return windows.draw(16, settings.model.context, HORIZON, 0.5, 2, generator)

    def gradients(loss: torch.Tensor) -> list[torch.Tensor | None]:
        for weight in weights:
            weight.grad = None
        loss.backward()
        return [None if weight.grad is None else weight.grad.clone() for weight in weights]

    replay, batch = recorded_loss(network, objective, draw()), draw()  # other windows than those it was recorded with
    for _ in range(2):
        ours, plain = replay(batch), objective(network, batch)
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
        for got, wanted in zip(gradients(ours), gradients(plain), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-2, atol=1e-4)
        with torch.no_grad():  # as an optimiser does, in place
            torch._foreach_mul_([weight.detach() for weight in weights], 1.01)


@each_variant
def test_a_step_never_waits_for_the_device(variant: str) -> None:
    settings = plan(variant)
    windows = training_windows(PANEL, settings, 0, GPU)
    network, objective = build_network(settings, windows), build_objective(settings, windows)
    weights = list(network.parameters())
    optimiser = torch.optim.AdamW(weights)
    generator = torch.Generator(GPU).manual_seed(1)

    def step() -> None:
        batch = windows.draw(16, settings.model.context, HORIZON, 0.5, 2, generator)
        with torch.autocast("cuda", torch.bfloat16):
            loss = objective(network, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()

    step()  # what is made once may wait
    with waits() as seen:
        step()
    assert [f"{one.filename}:{one.lineno}" for one in seen] == []


def test_a_longer_fit_waits_no_more_often_than_a_short_one() -> None:
    """Both have as many epochs, at whose ends the loss is looked at."""

    def count(steps: int) -> int:
        settings = plan("gru", steps=steps, batch=16)
        run(settings, GPU)
        with waits() as seen:
            run(settings, GPU)
        return len(seen)

    few, many = count(40), count(200)
    assert few > 0  # or nothing was counted
    assert many <= few + 10


@each_variant
def test_a_fit_ends_about_where_one_on_the_processor_does(variant: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = plan(variant, steps=300, batch=32)
    (_, there), (network, here) = run(settings, CPU), run(settings, GPU)
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
    assert all(weight.isfinite().all() for weight in network.parameters())
    assert "CUDA graph" not in caplog.text  # it could be recorded
    assert here.loss == pytest.approx(there.loss, rel=0.15)  # other random numbers, and bf16


def test_an_interrupted_fit_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = override(plan("gru", steps=200, batch=32), {"network.dropout": 0.2})

    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.epoch == 10:
            raise Stop

    told: list[Progress] = []
    whole, _ = run(settings, GPU, told.append)
    with pytest.raises(Stop):
        run(settings, GPU, stop, tmp_path)
    resumed: list[Progress] = []
    network, _ = run(settings, GPU, resumed.append, tmp_path)
    assert resumed[0].epoch > 1
    losses = {progress.epoch: progress.loss for progress in told}
    for progress in resumed:  # the same windows and the same dropout; kernels add up in any order
        assert progress.loss == pytest.approx(losses[progress.epoch], rel=0.02)
    for ours, theirs in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.02)


def test_the_device_and_the_processor_give_the_same_forecasts() -> None:
    network, _ = run(plan("gru", steps=100, batch=32), GPU)
    windows = training_windows(PANEL, plan("gru"), 0, GPU)
    context = windows.draw(64, network.settings.context, HORIZON, 0.5, 2, torch.Generator(GPU).manual_seed(1)).context
    with torch.no_grad():
        there = network.to(GPU)(context.values, context.observed)
        here = network.to(CPU)(context.values.cpu(), context.observed.cpu())
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-3)


QUICK: dict[str, object] = {"fit.steps": 200, "fit.batch": 64, "network.width": 16, "backtest.baseline_series": 12}


@pytest.fixture(scope="module")
def first(settings: StoreSettings) -> TrainResult:
    return train(weather_request(QUICK), settings)


def test_a_whole_training_makes_a_champion_that_the_processor_serves(first: TrainResult, trained: Predictor) -> None:
    assert first.promoted
    assert first.metrics["skill"] > 0
    found = trained.predict(read_panel(bundled(), "h"), levels=[80.0]).to_table().to_pandas()
    assert np.isfinite(found.iloc[:, 2:].to_numpy()).all()
