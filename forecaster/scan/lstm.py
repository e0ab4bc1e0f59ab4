"""An LSTM's steps, forth and back; the package says why, and what has been doubled.

Legend: S steps, B windows, I inputs of a step, D units of the state, T steps of a block; gates i, f, g, o.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from forecaster.scan.blocks import blocks, each


class LstmScan(Function):
    """[S, B, I] inputs to outputs [S, B, D], and the last output and cell state, from a state of zeros.

    weight [D, 4D] of the state, weight_in [I, 4D] of the inputs: all four gates
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_in: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (steps, batch, _), width = inputs.shape, len(weight)
        states = nn.functional.pad(inputs, (width, 0, 0, 0, 0, 1))  # [S + 1, B, D + I] output before, and inputs
        whole = torch.cat([weight, weight_in])
        gates = inputs.new_empty(steps, 4, batch, width)
        cells = inputs.new_zeros(steps + 1, batch, width)  # before each step, and after the last
        squashed = inputs.new_empty(steps, batch, width)  # tanh of the cell state
        found = inputs.new_empty(batch, 4 * width)
        parts, minus = found.view(batch, 4, width).transpose(0, 1), inputs.new_tensor(-1.0)
        outputs = states[1:, :, :width]
        for state, gate, i, f, g, o, c, c_after, t, h_after in each(
            states[:-1], gates, *gates.unbind(1), cells[:-1], cells[1:], squashed, outputs
        ):
            torch.mm(state, whole, out=found)
            torch.sigmoid(parts, out=gate)
            torch.add(minus, g, alpha=2, out=g)
            torch.mul(f, c, out=c_after).addcmul_(i, g)
            torch.add(c_after, c_after, out=t).sigmoid_()
            torch.add(minus, t, alpha=2, out=t)
            torch.mul(o, t, out=h_after)
        ctx.save_for_backward(states, gates, cells, squashed, weight_in, weight)
        ctx.set_materialize_grads(False)  # most decoders ask for the last state alone
        return outputs, outputs[-1].clone(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_outputs: Tensor | None, grad_last: Tensor | None, grad_cell: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        states, gates, cells, squashed, weight_in, weight = ctx.saved_tensors
        steps, batch, width = squashed.shape
        before, inputs = states[:-1, :, :width], states[:-1, :, width:]
        grad_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        grad_in, grad_weight, back = torch.zeros_like(weight_in), torch.zeros_like(weight), weight.t().contiguous()
        of_output = cells.new_zeros(batch, width) if grad_last is None else grad_last.clone()
        of_cell = cells.new_zeros(batch, width) if grad_cell is None else grad_cell.clone()
        for block in reversed(blocks(steps, batch * 5 * width)):
            through, at_gates = _factors(gates[block], cells[block], squashed[block])
            grads = cells.new_empty(len(through), batch, 4 * width)
            parts = grads.view(-1, batch, 4, width).transpose(1, 2)
            asked = each(grad_outputs[block]) if grad_outputs is not None else [()] * len(through)
            known = each(gates[block, 1], through, at_gates[:, :3], at_gates[:, 3], parts[:, :3], parts[:, 3], grads)
            for more, (f, to_cell, at_ifg, at_o, part, part_o, row) in reversed(list(zip(asked, known, strict=True))):
                for grad_output in more:
                    of_output.add_(grad_output)
                torch.mul(of_output, at_o, out=part_o)
                of_cell.addcmul_(of_output, to_cell)
                torch.mul(of_cell, at_ifg, out=part)
                of_cell.mul_(f)
                torch.mm(row, back, out=of_output)
            flat = grads.view(-1, 4 * width)
            grad_weight.addmm_(before[block].reshape(-1, width).t(), flat)
            grad_in.addmm_(inputs[block].reshape(len(flat), -1).t(), flat)
            if grad_inputs is not None:
                torch.matmul(grads, weight_in.t(), out=grad_inputs[block])
        return grad_inputs, grad_in, grad_weight


def _factors(gates: Tensor, cells: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """What gradients of a step become: [T, B, D] that of the output at the cell state; [T, 4, B, D] that of the cell
    state at i, f and g, and that of the output at o."""
    i, f, g, o = gates.unbind(1)
    factors = torch.empty_like(gates)
    at_i, at_f, at_g, at_o = factors.unbind(1)
    torch.ops.aten.sigmoid_backward(g, i, grad_input=at_i)
    torch.ops.aten.sigmoid_backward(cells, f, grad_input=at_f)
    torch.ops.aten.tanh_backward(0.5 * i, g, grad_input=at_g)  # halved: it sees 2x
    torch.ops.aten.sigmoid_backward(squashed, o, grad_input=at_o)
    return torch.ops.aten.tanh_backward(o, squashed), factors
