"""The whole forecast as one ONNX graph, run by ONNX Runtime: several times as fast as torch for a few windows.

Legend: B windows, L context steps, H horizon steps, Q quantiles of the network.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from forecaster.errors import ArtifactError, first_line
from forecaster.network import ForecastNetwork
from forecaster.settings import ModelSettings

_OPSET = 17
_INPUTS, _OUTPUT = ("values", "observed", "covariates"), "quantiles"
_FUSED = ("rnn", "gru", "lstm")  # one node of the graph, whatever the number of segments
_MOST_ROUNDS = 64  # of a loop written out in the graph, which takes the longer to write and load
_QUIET = 3  # errors alone are logged


class Graph:
    """Called like the network. Changes nothing of itself, so any number of threads may share it."""

    def __init__(self, path: Path) -> None:
        """Raises ArtifactError when the file is no such graph."""
        import onnxruntime  # takes memory for which a training has no use before its end

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # requests run side by side instead
        options.log_severity_level = _QUIET
        try:
            content = path.read_bytes()  # not the path: a graph in memory cannot point to other files
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's errors have no other base
            raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from error

    def __call__(
        self,
        values: Float[Tensor, "batch context"],
        observed: Bool[Tensor, "batch context"],
        covariates: Float[Tensor, "batch steps numbers"] | None = None,
    ) -> Float[Tensor, "batch horizon quantiles"]:
        """[B, H, Q] quantiles in the units of the values."""
        given = (values, observed) if covariates is None else (values, observed, covariates)
        inputs = {name: tensor.numpy() for name, tensor in zip(_INPUTS, given, strict=False)}
        (found,) = self._session.run([_OUTPUT], inputs)
        return torch.from_numpy(found)


def has_graph(settings: ModelSettings) -> bool:
    """Whether the exporter knows every operation, and no loop of the network makes the graph too long."""
    if settings.transform == "asinh":  # the exporter has no hyperbolic sine
        return False
    return all(
        member.head != "negative_binomial"  # nor a binary search
        and (member.cell in _FUSED or member.input_segments * member.layers <= _MOST_ROUNDS)
        and (member.decoder == "mlp" or member.output_segments <= _MOST_ROUNDS)
        for member in settings.members
    )


def export_graph(network: ForecastNetwork, path: Path) -> None:
    """Write the graph of a network that is on the CPU, for any number of windows."""
    settings = network.settings
    windows = torch.linspace(1, 2, 2 * settings.context).reshape(2, -1)
    inputs: tuple[Tensor, ...] = (windows, torch.ones_like(windows, dtype=torch.bool))
    if settings.covariates.size:
        inputs += (torch.ones(2, settings.context + settings.horizon, settings.covariates.size),)
    names = _INPUTS[: len(inputs)]
    axes = {name: {0: "batch"} for name in (*names, _OUTPUT)}
    # With gradients, recurrent layers would take the path of `scan`, whose result the exporter takes for a constant.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecations; each load compares graph and network
        torch.onnx.export(
            network.eval(),
            inputs,
            str(path),
            dynamo=False,  # the newer exporter takes many seconds; this one writes a recurrent layer as one node
            dynamic_axes=axes,
            opset_version=_OPSET,
            input_names=list(names),
            output_names=[_OUTPUT],
        )
