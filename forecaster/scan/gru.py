"""A GRU's steps, forth and back; the package says why, and what has been doubled.

Legend: S steps, B windows, I inputs of a step, D units of the state, T steps of a block; gates r, z, n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from forecaster.scan.blocks import blocks, each


class GruScan(Function):
    """[S, B, I] inputs to outputs [S, B, D] and the last of them, from a state of zeros.

    weight [D, 3D] of the state: r, z and the product that r scales; weight_in [I, 4D] of the inputs: these and n
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_in: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        (steps, batch, _), width = inputs.shape, len(weight)
        states = nn.functional.pad(inputs, (width, 0, 0, 0, 0, 1))  # [S + 1, B, D + I] the state before, and the inputs
        whole = torch.cat([nn.functional.pad(weight, (0, width)), weight_in])
        gates = inputs.new_empty(steps, 2, batch, width)  # r and z
        products, news = inputs.new_empty(2, steps, batch, width)  # r times the product, and n
        found = inputs.new_empty(batch, 4 * width)
        parts = found.view(batch, 4, width).transpose(0, 1)
        to_open, product, to_new, minus = parts[:2], parts[2], parts[3], inputs.new_tensor(-1.0)
        before, (reset, keep) = states[..., :width], gates.unbind(1)
        for state, h, gate, r, z, scaled, n, after in each(
            states[:-1], before[:-1], gates, reset, keep, products, news, before[1:]
        ):
            torch.mm(state, whole, out=found)
            torch.sigmoid(to_open, out=gate)
            torch.mul(r, product, out=scaled)
            torch.add(to_new, scaled, out=n).sigmoid_()
            torch.add(minus, n, alpha=2, out=n)
            torch.lerp(n, h, z, out=after)
        ctx.save_for_backward(states, gates, products, news, weight_in, weight)
        ctx.set_materialize_grads(False)  # most decoders ask for the last state alone
        return before[1:], before[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        states, gates, products, news, weight_in, weight = ctx.saved_tensors
        steps, batch, width = news.shape
        before, inputs = states[:-1, :, :width], states[:-1, :, width:]
        grad_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        grad_in, grad_weight, back = torch.zeros_like(weight_in), torch.zeros_like(weight), weight.t().contiguous()
        carried = news.new_zeros(batch, width) if grad_last is None else grad_last.clone()
        for block in reversed(blocks(steps, batch * 4 * width)):
            factors = _factors(gates[block], products[block], news[block], before[block])
            grads = news.new_empty(len(factors), batch, 4 * width)
            parts = grads.view(-1, batch, 4, width).transpose(1, 2)
            of_state = grads[..., : 3 * width]
            asked = each(grad_outputs[block]) if grad_outputs is not None else [()] * len(factors)
            each_step = zip(asked, each(gates[block, 1], factors, parts, of_state), strict=True)
            for more, (z, factor, part, row) in reversed(list(each_step)):
                for grad_output in more:
                    carried.add_(grad_output)
                torch.mul(carried, factor, out=part)
                carried.mul_(z).addmm_(row, back)
            flat = grads.view(-1, 4 * width)
            grad_weight.addmm_(before[block].reshape(-1, width).t(), flat[:, : 3 * width])
            grad_in.addmm_(inputs[block].reshape(len(flat), -1).t(), flat)
            if grad_inputs is not None:
                torch.matmul(grads, weight_in.t(), out=grad_inputs[block])
        return grad_inputs, grad_in, grad_weight


def _factors(gates: Tensor, products: Tensor, news: Tensor, before: Tensor) -> Tensor:
    """[T, 4, B, D] what the gradient of a step's output becomes at r, z, the product that r scales, and n."""
    reset, keep = gates.unbind(1)
    factors = news.new_empty(len(news), 4, *news.shape[1:])
    at_reset, at_keep, at_product, at_new = factors.unbind(1)
    torch.ops.aten.tanh_backward(torch.rsub(keep, 0.5, alpha=0.5), news, grad_input=at_new)  # halved: it sees 2x
    torch.mul(at_new, reset, out=at_product)
    opened = at_new * products
    torch.addcmul(opened, opened, reset, value=-1, out=at_reset)  # products hold r, and σ' = r (1 − r)
    torch.ops.aten.sigmoid_backward(before - news, keep, grad_input=at_keep)
    return factors
