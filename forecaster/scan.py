"""A GRU over a long sequence on a CPU, with its gradients written out, for training.

Legend: S steps, B windows, I inputs of a step, D units of the state, T steps of a block.
torch records a dozen operations for each step of a recurrent layer on a CPU and walks them back one by one, over arrays
that no longer lie in the cache. Here steps are taken in blocks that do: what does not depend on the step before is
computed for a block at once, forward and back, and a step back is four operations. The equations are torch's own
(docs/model.md), the gates in its order r, z, n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_SHORTEST = 64  # steps from which this pays
_BLOCK = 2**17  # numbers of a block's gates: about the second-level cache of a core


def pays(layers: nn.Module, inputs: Tensor) -> bool:
    """Whether `scan` is the faster way to train `layers` on [B, S, I] inputs; it keeps to full precision."""
    trained = torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    long = inputs.device.type == "cpu" and inputs.shape[1] >= _SHORTEST
    return trained and long and isinstance(layers, nn.GRU) and layers.num_layers == 1


def scan(layers: nn.GRU, embed: nn.Linear, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What `layers(embed(inputs))` gives: outputs [B, S, D] and the last state [1, B, D].

    Embedding and input product are both linear, so they are one product here, as wide as the inputs.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = layers.all_weights[0]
    known = inputs.transpose(0, 1).contiguous(), weight_ih @ embed.weight, weight_ih @ embed.bias + bias_ih
    outputs: Tensor = _GruScan.apply(*known, weight_hh, bias_hh)  # type: ignore[no-untyped-call]
    return outputs.transpose(0, 1), outputs[-1:]


class _GruScan(Function):
    """[S, B, I] inputs, weights [3D, I] and [3D, D], biases [3D] to outputs [S, B, D], from a state of zeros."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_in: Tensor, bias_in: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        (steps, batch, _), width = inputs.shape, weight.shape[1]
        outputs = inputs.new_zeros(steps + 1, batch, width)  # the state before each step, and the last one
        gates = inputs.new_empty(steps, batch, 3 * width)  # r and z, and the recurrent product that n sees
        news = inputs.new_empty(steps, batch, width)
        opened, turned = 2 * width, weight.t()
        each_step = _steps(outputs[:-1], gates, gates[..., :opened], gates[..., opened:], news, outputs[1:])
        for block in _blocks(steps, batch * 3 * width):
            projected = torch.matmul(inputs[block], weight_in.t()).add_(bias_in)
            known = _steps(projected[..., :opened], projected[..., opened:])
            for (before, gate, opening, product, new, after), (to_open, to_new) in zip(
                each_step[block], known, strict=True
            ):
                torch.addmm(bias, before, turned, out=gate)
                reset, keep = opening.add_(to_open).sigmoid_().chunk(2, dim=1)
                torch.addcmul(to_new, reset, product, out=new).tanh_()
                torch.lerp(new, before, keep, out=after)
        ctx.save_for_backward(inputs, outputs, gates, news, weight_in, weight)
        return outputs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, outputs, gates, news, weight_in, weight = ctx.saved_tensors
        steps, batch, width = news.shape
        grad_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        grad_in, grad_recurrent = torch.zeros_like(weight_in), torch.zeros_like(weight)
        bias_in, bias_recurrent = weight.new_zeros(3 * width), weight.new_zeros(3 * width)
        carried = torch.zeros_like(outputs[0])
        for block in reversed(_blocks(steps, batch * 3 * width)):
            before, keep = outputs[block], gates[block][..., width : 2 * width]
            factors, new_share = _factors(gates[block], news[block], before)
            at_step, grads = torch.empty_like(new_share), torch.empty_like(factors)
            flat = grads.view(-1, 3 * width)
            each_step = _steps(grad_outputs[block], keep, factors, at_step, grads, flat.view(-1, batch, 3 * width))
            for grad_output, kept, factor, at, grad, row in reversed(each_step):
                torch.add(grad_output, carried, out=at)
                torch.mul(at[:, None], factor, out=grad)
                torch.mul(at, kept, out=carried).addmm_(row, weight)
            grad_recurrent.addmm_(flat.t(), before.reshape(-1, width))
            bias_recurrent += flat.sum(0)
            torch.mul(at_step, new_share, out=grads[:, :, 2])  # the input's share of n is not scaled by r
            grad_in.addmm_(flat.t(), inputs[block].reshape(len(flat), -1))
            bias_in += flat.sum(0)
            if grad_inputs is not None:
                torch.matmul(grads.view(*grads.shape[:2], -1), weight_in, out=grad_inputs[block])
        return grad_inputs, grad_in, bias_in, grad_recurrent, bias_recurrent


def _steps(*sequences: Tensor) -> list[tuple[Tensor, ...]]:
    """The sequences' views of each step."""
    return list(zip(*(tuple(sequence) for sequence in sequences), strict=True))


def _blocks(steps: int, numbers: int) -> list[slice]:
    """Slices of the steps, each as long as the cache allows for so many numbers of a step."""
    length = max(1, _BLOCK // numbers)
    return [slice(first, min(first + length, steps)) for first in range(0, steps, length)]


def _factors(gates: Tensor, news: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """[T, B, 3, D] what the gradient of a step's output becomes at the recurrent product of each gate.

    Also [T, B, D] what it becomes at n before its tanh.
    """
    reset, keep, product = gates.chunk(3, dim=2)
    new_share = (1 - keep).mul_(1 - news * news)
    factors = gates.new_empty(*news.shape[:2], 3, news.shape[2])
    torch.mul(new_share * product, reset * (1 - reset), out=factors[:, :, 0])
    torch.mul(before - news, keep * (1 - keep), out=factors[:, :, 1])
    torch.mul(new_share, reset, out=factors[:, :, 2])
    return factors, new_share
