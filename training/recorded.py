"""A batch's loss and gradients as one CUDA graph, recorded once and then replayed.

A recurrent network's step is some hundreds of small kernels. A GPU is done with each sooner than the processor can hand
over the next, so that it idles nine tenths of the time at our batch sizes; a graph hands all of them over at once. What
it replays must be free of waits for the device and of choices by values, which tests see to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecaster.network import ForecastNetwork
from forecaster.windows import Context, Target
from training.loss import Objective
from training.sampling import Batch

BatchLoss = Callable[[Batch], Tensor]


def recorded_loss(network: ForecastNetwork, objective: Objective, batch: Batch) -> BatchLoss:
    """`objective(network, ·)` for CUDA batches of the shapes of this one, in the mixed precision that holds here.

    Weights must keep their places in memory. Where a graph cannot be recorded, each batch is computed step by step,
    which is told in the log.
    """
    device, given = batch.error_scale.device, _given(batch)
    loss = _LossOfTensors(network, objective, [part is not None for part in _parts(batch)])
    with torch.random.fork_rng([device]):  # recording tries the step out: its dropout is not the fit's
        try:
            replay: Callable[..., Tensor] = torch.cuda.make_graphed_callables(loss, given, allow_unused_input=True)
        except RuntimeError:
            logging.getLogger(__name__).warning("no CUDA graph of a training step, which is slower", exc_info=True)
            return lambda batch: objective(network, batch)
    return lambda batch: replay(*_given(batch))


class _LossOfTensors(nn.Module):
    """The loss of a batch as a function of its tensors alone, which is what can be recorded.

    there: which parts of a batch there are
    """

    def __init__(self, network: ForecastNetwork, objective: Objective, there: list[bool]) -> None:
        super().__init__()
        self.network, self.objective, self.there = network, objective, there

    def forward(self, *given: Tensor) -> Tensor:
        rest = iter(given)
        parts = [next(rest) if there else None for there in self.there]
        loss: Tensor = self.objective(self.network, _batch(parts))
        return loss


def _given(batch: Batch) -> tuple[Tensor, ...]:
    return tuple(part for part in _parts(batch) if part is not None)


def _parts(batch: Batch) -> list[Tensor | None]:
    return [*batch.context, *batch.target, batch.error_scale, batch.weight]


def _batch(parts: list[Tensor | None]) -> Batch:
    """What `_parts` has taken apart."""
    values, observed, covariates, truth, counted, error_scale, weight = parts
    assert values is not None
    assert observed is not None
    assert truth is not None
    assert counted is not None
    assert error_scale is not None
    return Batch(Context(values, observed, covariates), Target(truth, counted), error_scale, weight)
