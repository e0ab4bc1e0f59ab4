"""The optimiser that settings name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.optimiser import optimiser_of
from training.settings import FitSettings


@pytest.mark.parametrize(
    ("name", "plain"), [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD"), ("rmsprop", "RMSprop")]
)
def test_a_fused_optimiser_moves_weights_as_the_plain_one_does(name: str, plain: str) -> None:
    asked = FitSettings(optimiser=name, learning_rate=0.01)  # type: ignore[arg-type]
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2))
    fused = optimiser_of([ours], asked)
    reference = getattr(torch.optim, plain)([theirs], lr=0.01, weight_decay=asked.weight_decay)
    assert bool(fused.defaults.get("fused")) == (name != "rmsprop")
    for step in range(20):
        for weight, optimiser in ((ours, fused), (theirs, reference)):
            weight.grad = torch.cos(weight.detach() * step)
            optimiser.step()
    assert not torch.equal(ours, torch.linspace(-1, 1, 50))
    torch.testing.assert_close(ours, theirs)
