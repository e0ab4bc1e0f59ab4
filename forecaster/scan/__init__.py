"""GRU and LSTM over a sequence on a CPU, with their gradients written out, for training.

Legend: S steps, B windows, I inputs of a step, D units of the state, T steps of a block.
torch records a dozen operations for each step of a recurrent layer on a CPU and walks them back one by one. Here a step
is six or ten operations, and back three or six: what does not depend on the step after is computed for a block of steps
at once, which stays in the cache. The equations are torch's own (docs/model.md), the gates in its order, but for this:
tanh(x) is computed as 2 σ(2x) − 1, which takes a fifth of the time, so what goes into a gate's tanh is doubled first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forecaster.scan.gru import GruScan
from forecaster.scan.lstm import LstmScan

_SHORTEST = 8  # steps from which this pays,
_LARGE = 2**12  # and numbers of an LSTM's state, all windows together: on smaller ones torch's own is as fast


def pays(layers: nn.Module, inputs: Tensor) -> bool:
    """Whether `scan` is the faster way to train `layers` on [B, S, I] inputs; it keeps to full precision."""
    trained = torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    long = inputs.device.type == "cpu" and inputs.shape[1] >= _SHORTEST
    if not (trained and long and isinstance(layers, (nn.GRU, nn.LSTM)) and layers.num_layers == 1):
        return False
    return isinstance(layers, nn.GRU) or len(inputs) * layers.hidden_size >= _LARGE


def scan(layers: nn.GRU | nn.LSTM, embed: nn.Linear, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `layers(embed(inputs))` gives: outputs [B, S, D] and the last state, of tensors [1, B, D].

    Embedding and input product are both linear, so they are one product here, as wide as the inputs. Biases are the
    weights of one more input, which is always 1.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = layers.all_weights[0]
    known = nn.functional.pad(inputs.transpose(0, 1), (0, 1), value=1.0)
    own = torch.cat([(weight_ih @ embed.weight).t(), (weight_ih @ embed.bias + bias_ih)[None]])
    apply = _lstm if isinstance(layers, nn.LSTM) else _gru
    outputs, *last = apply(known, own, weight_hh.t(), bias_hh)
    return outputs.transpose(0, 1), tuple(part[None] for part in last)


def _gru(known: Tensor, own: Tensor, recurrent: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """own: [I, 3D]; recurrent: [D, 3D]; bias: [3D] of the state's product"""
    twice = _doubled(recurrent, [1.0, 1.0, 2.0])
    own, recurrent, bias = own * twice, recurrent * twice, bias * twice
    reset, keep, new = own.chunk(3, dim=1)
    of_product = torch.zeros_like(new)  # r scales what n sees of the state and its bias, but not of the inputs
    beside = nn.functional.pad(bias[None], (0, len(recurrent), len(own) - 1, 0))
    weight_in = torch.cat([reset, keep, of_product, new], dim=1) + beside
    found: tuple[Tensor, Tensor] = GruScan.apply(known, weight_in, recurrent)  # type: ignore[no-untyped-call]
    return found


def _lstm(known: Tensor, own: Tensor, recurrent: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """own: [I, 4D]; recurrent: [D, 4D]; bias: [4D]"""
    twice = _doubled(recurrent, [1.0, 1.0, 2.0, 1.0])
    weight_in = (own + nn.functional.pad(bias[None], (0, 0, len(own) - 1, 0))) * twice
    found: tuple[Tensor, Tensor, Tensor] = LstmScan.apply(known, weight_in, recurrent * twice)  # type: ignore[no-untyped-call]
    return found


def _doubled(recurrent: Tensor, gates: list[float]) -> Tensor:
    """[gates · D] a factor for each gate"""
    return recurrent.new_tensor(gates).repeat_interleave(len(recurrent))
