"""Each cell against a plain statement of its equations (docs/model.md), in NumPy, step by step."""

import numpy as np
import pytest
import torch

from forecaster.cells import build_cell
from tests.fixtures_models import network_settings

WIDTH, STEPS = 8, 5


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cell_with_random_weights(name: str, layers: int = 1) -> torch.nn.Module:
    torch.manual_seed(3)
    cell = build_cell(network_settings(cell=name, width=WIDTH, layers=layers))
    for parameter in cell.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape)
    return cell


def inputs() -> torch.Tensor:
    return torch.randn(3, STEPS, WIDTH, generator=torch.Generator().manual_seed(1))


def weights(cell: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name.split(".")[-1].removesuffix("_l0"): p.detach().double().numpy() for name, p in cell.named_parameters()}


def stated(name: str, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """[B, S, D] outputs by the equations."""
    h = c = np.zeros((len(x), WIDTH))
    wx = np.split(w["weight_ih"], len(w["weight_ih"]) // WIDTH)
    wh = np.split(w["weight_hh"], len(w["weight_hh"]) // WIDTH)
    bx = np.split(w.get("bias_ih", w.get("bias")), len(wx))
    bh = np.split(w.get("bias_hh", np.zeros(WIDTH * len(wx))), len(wx))
    outputs = []
    for t in range(x.shape[1]):
        a = [x[:, t] @ wx[k].T + bx[k] for k in range(len(wx))]
        r = [h @ wh[k].T + bh[k] for k in range(len(wh))]
        if name == "rnn":
            h = np.tanh(a[0] + r[0])
        elif name == "gru":
            reset, update = sigmoid(a[0] + r[0]), sigmoid(a[1] + r[1])
            h = (1 - update) * np.tanh(a[2] + reset * r[2]) + update * h
        elif name == "gru_reset_before":
            reset, update = sigmoid(a[0] + r[0]), sigmoid(a[1] + r[1])
            h = (1 - update) * np.tanh(a[2] + (reset * h) @ wh[2].T) + update * h
        else:
            peep = w.get("peephole", np.zeros((3, WIDTH)))
            i, f = sigmoid(a[0] + r[0] + peep[0] * c), sigmoid(a[1] + r[1] + peep[1] * c)
            c = f * c + i * np.tanh(a[2] + r[2])
            h = sigmoid(a[3] + r[3] + peep[2] * c) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


CELLS = ["rnn", "gru", "lstm", "lstm_peephole", "gru_reset_before"]


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_computes_its_equations(name: str) -> None:
    cell = cell_with_random_weights(name)
    outputs, state = cell(inputs())
    expected = stated(name, weights(cell), inputs().double().numpy())
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state[0][-1].detach().numpy(), expected[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_in_two_parts_gives_what_it_gives_in_one(name: str, layers: int) -> None:
    cell = cell_with_random_weights(name, layers)
    whole, end = cell(inputs())
    first, state = cell(inputs()[:, :2])
    second, last = cell(inputs()[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-5, atol=1e-6)
    for a, b in zip(last, end, strict=True):
        assert a.shape == (layers, 3, WIDTH)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_weights_begin_orthogonal_and_forget_gates_open(name: str) -> None:
    start = {
        n.split(".")[-1]: p for n, p in build_cell(network_settings(cell=name, forget_bias=2.0)).named_parameters()
    }
    recurrent = next(p for n, p in start.items() if n.startswith("weight_hh"))
    for block in torch.split(recurrent, WIDTH):
        torch.testing.assert_close(block @ block.T, torch.eye(WIDTH), rtol=0, atol=1e-5)
    biases = sum(p for n, p in start.items() if n.startswith("bias"))
    expected = torch.zeros_like(biases)
    if name.startswith("lstm"):
        expected[WIDTH : 2 * WIDTH] = 2.0
    assert torch.equal(biases, expected)


def test_uniform_initialisation_leaves_torch_its_own() -> None:
    cell = build_cell(network_settings(initialisation="uniform"))
    recurrent = dict(cell.named_parameters())["layers.weight_hh_l0"]
    assert recurrent.abs().max() <= 8**-0.5
    block = recurrent[:WIDTH]
    assert (block @ block.T - torch.eye(WIDTH)).abs().max() > 0.1
