"""Recurrent cells: torch's fused ones, and two that torch does not have. docs/model.md gives the equations.

Legend: B windows, S steps (segments), D units of the state.
Every cell maps a sequence [B, S, D] and a state to all outputs [B, S, D] and the state after the last step; a state is
a tuple of tensors [layers, B, D], one tensor for GRU and RNN, two (output, cell) for an LSTM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forecaster import scan
from forecaster.precision import full_precision
from forecaster.settings import NetworkSettings

State = tuple[Tensor, ...]


class FusedCell(nn.Module):
    """GRU (reset gate after the recurrent product, as cuDNN has it), LSTM or tanh RNN: one kernel for all steps."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[settings.cell]
        between = settings.dropout if settings.layers > 1 else 0.0
        self.layers = kind(settings.width, settings.width, settings.layers, batch_first=True, dropout=between)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        # Mixed precision takes cuDNN's layers to float16 (not to bf16), in which small gradients are zero.
        with full_precision(inputs.device.type):
            dtype = self.layers.weight_ih_l0.dtype
            inputs, known = inputs.to(dtype), None if state is None else tuple(part.to(dtype) for part in state)
            if isinstance(self.layers, nn.LSTM):
                outputs, after = self.layers(inputs, known)
                return outputs, after
            outputs, last = self.layers(inputs, None if known is None else known[0])
            return outputs, (last,)

    def read(self, embed: nn.Linear, segments: Tensor) -> tuple[Tensor, State]:
        """All outputs and the last state over embedded segments."""
        if scan.pays(self.layers, segments):
            return scan.scan(self.layers, embed, segments)
        outputs, last = self(embed(segments))
        return outputs, last


class SteppedCell(nn.Module):
    """Layers of a cell that torch has no kernel for, one step after the other."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        layer = {"lstm_peephole": PeepholeLayer, "gru_reset_before": ResetBeforeLayer}[settings.cell]
        self.layers = nn.ModuleList([layer(settings.width) for _ in range(settings.layers)])
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        finals = []
        for number, layer in enumerate(self.layers):
            before = None if state is None else tuple(part[number] for part in state)
            inputs, after = layer(self.dropout(inputs) if number else inputs, before)
            finals.append(after)
        return inputs, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))

    def read(self, embed: nn.Linear, segments: Tensor) -> tuple[Tensor, State]:
        """All outputs and the last state over embedded segments."""
        outputs, last = self(embed(segments))
        return outputs, last


class PeepholeLayer(nn.Module):
    """LSTM whose gates see the cell state (Gers and Schmidhuber 2000); gates in torch's order i, f, g, o."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_ih, self.weight_hh = _uniform(4 * width, width), _uniform(4 * width, width)
        self.bias = nn.Parameter(torch.zeros(4 * width))
        self.peephole = nn.Parameter(torch.zeros(3, width))  # of the input, forget and output gate

    def forward(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        projected = nn.functional.linear(inputs, self.weight_ih, self.bias)  # [B, S, 4D], one product for all steps
        blank = torch.zeros_like(inputs[:, 0])
        hidden, memory = state if state is not None else (blank, blank)
        see_in, see_forget, see_out = self.peephole
        outputs = []
        for step in projected.unbind(1):
            i, f, g, o = (step + hidden @ self.weight_hh.T).chunk(4, dim=1)
            kept = torch.sigmoid(f + see_forget * memory) * memory
            memory = kept + torch.sigmoid(i + see_in * memory) * torch.tanh(g)
            hidden = torch.sigmoid(o + see_out * memory) * torch.tanh(memory)
            outputs.append(hidden)
        return torch.stack(outputs, 1), (hidden, memory)


class ResetBeforeLayer(nn.Module):
    """GRU as first published (Cho et al. 2014): the reset gate acts before the recurrent product; gates r, z, n.

    As in torch, z is the share of the old state that is kept.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_ih, self.weight_hh = _uniform(3 * width, width), _uniform(3 * width, width)
        self.bias = nn.Parameter(torch.zeros(3 * width))

    def forward(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        width = inputs.shape[2]
        projected = nn.functional.linear(inputs, self.weight_ih, self.bias)
        hidden = state[0] if state is not None else torch.zeros_like(inputs[:, 0])
        gates_hh, new_hh = self.weight_hh[: 2 * width], self.weight_hh[2 * width :]
        outputs = []
        for step in projected.unbind(1):
            r, z = torch.sigmoid(step[:, : 2 * width] + hidden @ gates_hh.T).chunk(2, dim=1)
            new = torch.tanh(step[:, 2 * width :] + (r * hidden) @ new_hh.T)
            hidden = (1 - z) * new + z * hidden
            outputs.append(hidden)
        return torch.stack(outputs, 1), (hidden,)


def build_cell(settings: NetworkSettings) -> FusedCell | SteppedCell:
    """The cell that the settings name, initialised as they say."""
    cell = (FusedCell if settings.cell in ("gru", "lstm", "rnn") else SteppedCell)(settings)
    _initialise(cell, settings)
    return cell


def _uniform(rows: int, width: int) -> nn.Parameter:
    """torch's own initialisation of recurrent layers."""
    return nn.Parameter(torch.empty(rows, width).uniform_(-(width**-0.5), width**-0.5))


def _initialise(cell: nn.Module, settings: NetworkSettings) -> None:
    """Orthogonal recurrent weights, biases of zero, and a forget gate that is open at first."""
    forget = slice(settings.width, 2 * settings.width)
    for name, parameter in cell.named_parameters():
        if "weight_hh" in name and settings.initialisation == "orthogonal":
            for block in torch.split(parameter.data, settings.width):
                nn.init.orthogonal_(block)
        elif "bias" in name:
            nn.init.zeros_(parameter)
            if settings.cell.startswith("lstm") and "bias_hh" not in name:
                parameter.data[forget] = settings.forget_bias
