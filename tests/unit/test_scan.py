"""GRU and LSTM as they are trained give torch's outputs, and gradients that hold by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from forecaster import scan
from forecaster.cells import FusedCell, build_cell
from forecaster.scan import blocks
from tests.fixtures_models import network_settings

WIDTH, BATCH = 6, 4


both = pytest.mark.parametrize("kind", ["gru", "lstm"])


def parts(
    steps: int, kind: str, width: int = WIDTH, dtype: torch.dtype = torch.float64
) -> tuple[FusedCell, nn.Linear, Tensor]:
    torch.manual_seed(2)
    cell = build_cell(network_settings(cell=kind, width=width)).to(dtype)
    assert isinstance(cell, FusedCell)
    for parameter in cell.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, dtype=dtype)
    return cell, nn.Linear(2, width, dtype=dtype), torch.randn(BATCH, steps, 2, dtype=dtype)


def gradients(outputs: Tensor, last: tuple[Tensor, ...], modules: list[nn.Module], inputs: Tensor) -> list[Tensor]:
    loss = (outputs * torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)).sum()
    wanted = [inputs, *(p for module in modules for p in module.parameters())]
    return list(torch.autograd.grad(loss + sum(part.cos().sum() for part in last), wanted))


@both
@pytest.mark.parametrize("block", [1, 5 * BATCH * 4 * WIDTH, 2**20])
def test_outputs_and_gradients_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, block: int, kind: str) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", block)  # one step, some with a rest, and all steps at a time
    cell, embed, inputs = parts(23, kind)
    inputs.requires_grad_()
    ours = scan.scan(cell.layers, embed, inputs)
    theirs = cell(embed(inputs))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(*ours, [cell, embed], inputs), gradients(*theirs, [cell, embed], inputs))


@both
def test_outputs_or_a_last_state_may_be_asked_for_alone(kind: str) -> None:
    cell, embed, inputs = parts(23, kind)
    wanted = [*cell.parameters(), *embed.parameters()]

    def asked(found: tuple[Tensor, tuple[Tensor, ...]]) -> list[Tensor]:
        return [found[0], *found[1]]

    for which in range(3 if kind == "lstm" else 2):
        ours = asked(scan.scan(cell.layers, embed, inputs))[which].cos().sum()
        theirs = asked(cell(embed(inputs)))[which].cos().sum()
        torch.testing.assert_close(torch.autograd.grad(ours, wanted), torch.autograd.grad(theirs, wanted))


@both
def test_gradients_hold_by_finite_differences(kind: str) -> None:
    cell, embed, inputs = parts(7, kind)
    weights = list(cell.layers.parameters())

    def forward(inputs: Tensor, *_weights: Tensor) -> tuple[Tensor, ...]:
        outputs, last = scan.scan(cell.layers, embed, inputs)
        return outputs, *last

    assert torch.autograd.gradcheck(forward, (inputs.requires_grad_(), *weights))


@both
def test_a_sequence_is_scanned_only_where_it_is_trained(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(scan, "_LARGE", 1)
    scanned: list[int] = []
    original = scan.scan
    monkeypatch.setattr(scan, "scan", lambda *known: scanned.append(known[2].shape[1]) or original(*known))
    cell, embed, inputs = parts(100, kind, dtype=torch.float32)
    trained, _ = cell.read(embed, inputs)
    cell.read(embed, inputs[:, :4])
    with torch.no_grad():
        served, _ = cell.read(embed, inputs)
    assert scanned == [100]
    torch.testing.assert_close(trained, served)


def test_other_cells_and_layers_are_left_to_torch() -> None:
    long = torch.zeros(1, 1000, 2)
    assert scan.pays(nn.GRU(2, 4), long)
    assert not scan.pays(nn.LSTM(2, 4), long)
    assert scan.pays(nn.LSTM(2, 64), long.expand(64, -1, -1))
    assert not scan.pays(nn.RNN(2, 4), long)
    assert not scan.pays(nn.GRU(2, 4, num_layers=2), long)
