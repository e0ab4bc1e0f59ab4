"""A step as a CUDA graph, as far as a machine without a GPU can tell; the rest is in integration/test_gpu.py."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import pytest
import torch

from tests.unit.training.test_device import draw, ready
from training.recorded import recorded_loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_what_is_recorded_is_the_loss_of_any_batch(
    monkeypatch: pytest.MonkeyPatch, weighted: bool, known: bool
) -> None:
    settings, windows, network, objective = ready("gru")
    given: list[int] = []

    def record(loss: torch.nn.Module, sample: tuple[torch.Tensor, ...], **_: object) -> torch.nn.Module:
        given.append(len(sample))
        return loss

    monkeypatch.setattr("torch.cuda.make_graphed_callables", record)
    monkeypatch.setattr("torch.random.fork_rng", lambda _: nullcontext())
    generator = torch.Generator().manual_seed(1)
    first, second = (draw(settings, windows, generator) for _ in range(2))
    network.eval()
    alike = objective(network, second).item()
    if weighted:
        first, second = (batch._replace(weight=torch.arange(1.0, 17)) for batch in (first, second))
    if known:  # covariates that this network does not look at
        blank = torch.zeros(16, settings.model.context + settings.model.horizon, 1)
        first, second = (batch._replace(context=batch.context._replace(covariates=blank)) for batch in (first, second))
    found = recorded_loss(network, objective, first)(second)
    assert given == [5 + weighted + known]
    assert found.item() == objective(network, second).item()
    assert (found.item() == alike) is not weighted


def test_what_cannot_be_recorded_is_computed_step_by_step_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings, windows, network, objective = ready("gru")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("torch.cuda.make_graphed_callables", refuse)
    monkeypatch.setattr("torch.random.fork_rng", lambda _: nullcontext())
    batch = draw(settings, windows, torch.Generator().manual_seed(1))
    network.eval()
    with caplog.at_level(logging.WARNING):
        found = recorded_loss(network, objective, batch)(batch)
    assert found.item() == objective(network, batch).item()
    assert "no CUDA graph" in caplog.text
