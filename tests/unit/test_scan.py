"""The GRU that trains over long sequences gives torch's outputs, and gradients that hold by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from forecaster import scan
from forecaster.cells import FusedCell, build_cell
from tests.fixtures_models import network_settings

WIDTH, BATCH = 6, 4


def parts(steps: int, width: int = WIDTH, dtype: torch.dtype = torch.float64) -> tuple[FusedCell, nn.Linear, Tensor]:
    torch.manual_seed(2)
    cell = build_cell(network_settings(cell="gru", width=width)).to(dtype)
    assert isinstance(cell, FusedCell)
    for parameter in cell.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, dtype=dtype)
    return cell, nn.Linear(2, width, dtype=dtype), torch.randn(BATCH, steps, 2, dtype=dtype)


def gradients(outputs: Tensor, last: Tensor, modules: list[nn.Module], inputs: Tensor) -> list[Tensor]:
    loss = (outputs * torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)).sum()
    wanted = [inputs, *(p for module in modules for p in module.parameters())]
    return list(torch.autograd.grad(loss + last.cos().sum(), wanted))


@pytest.mark.parametrize("block", [1, 5 * BATCH * 4 * WIDTH, 2**20])
def test_outputs_and_gradients_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(scan, "_BLOCK", block)  # one step, some with a rest, and all steps at a time
    cell, embed, inputs = parts(steps=23)
    inputs.requires_grad_()
    ours = scan.scan(cell.layers, embed, inputs)
    outputs, (last,) = cell(embed(inputs))
    torch.testing.assert_close(ours, (outputs, last))
    torch.testing.assert_close(gradients(*ours, [cell, embed], inputs), gradients(outputs, last, [cell, embed], inputs))


def test_outputs_or_the_last_state_may_be_asked_for_alone() -> None:
    cell, embed, inputs = parts(steps=23)
    wanted = [*cell.parameters(), *embed.parameters()]
    for which in (0, 1):  # outputs alone, the last state alone
        ours = scan.scan(cell.layers, embed, inputs)[which].cos().sum()
        outputs, (last,) = cell(embed(inputs))
        theirs = (outputs, last)[which].cos().sum()
        torch.testing.assert_close(torch.autograd.grad(ours, wanted), torch.autograd.grad(theirs, wanted))


def test_gradients_hold_by_finite_differences() -> None:
    cell, embed, inputs = parts(steps=7)
    weights = list(cell.layers.parameters())

    def forward(inputs: Tensor, *_weights: Tensor) -> tuple[Tensor, Tensor]:
        return scan.scan(cell.layers, embed, inputs)

    assert torch.autograd.gradcheck(forward, (inputs.requires_grad_(), *weights))


def test_a_long_sequence_is_scanned_only_where_it_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[int] = []
    original = scan.scan
    monkeypatch.setattr(scan, "scan", lambda *known: scanned.append(known[2].shape[1]) or original(*known))
    cell, embed, inputs = parts(steps=100, dtype=torch.float32)
    trained, _ = cell.read(embed, inputs)
    cell.read(embed, inputs[:, :10])
    with torch.no_grad():
        served, _ = cell.read(embed, inputs)
    assert scanned == [100]
    torch.testing.assert_close(trained, served)


def test_other_cells_and_layers_are_left_to_torch() -> None:
    long = torch.zeros(1, 1000, 2)
    assert scan.pays(nn.GRU(2, 4), long)
    assert not scan.pays(nn.LSTM(2, 4), long)
    assert not scan.pays(nn.GRU(2, 4, num_layers=2), long)
